"""Stage 2 of 8, by hand: listings, event rows and ticker rows for tests, one short line each.

Times are seconds after `START`; prices and sizes are native; each function that returns a list
returns whole updates, closed by LAST.
"""

import math
from typing import Any

from tests.oracles import metrics as m
from tests.oracles.metrics import OracleListing, Row

SECOND = 10**9
START = 1_700_000_000 * SECOND
NAN = math.nan
GREEKS = ("delta", "vega", "theta", "iv_mark", "forward", "index", "open_interest")
Rows = list[Row]


def listing(listing_id: int = 0, **static: Any) -> OracleListing:
    """A linear share with a tick of 1, except where `static` says otherwise."""
    usual: dict[str, Any] = {
        "tick": 1.0,
        "multiplier": 1.0,
        "price_per": 1.0,
        "inverse": False,
        "is_option": False,
        "expiry_ns": None,
        "settle_window_s": None,
        "underlying": "X",
        "listing_id": listing_id,
    }
    return OracleListing(usual | static)


def row(
    at_s: float,
    kind: int,
    price: float = NAN,
    size: float = 0.0,
    side: int = 0,
    flags: int = 0,
    *,
    level: int = 0,
    ex_s: float | None = None,
    listing_id: int = 0,
) -> Row:
    """One event row; the exchange saw it at `ex_s`, or when we did."""
    rx_ns = START + round(at_s * SECOND)
    ex_ns = rx_ns if ex_s is None else START + round(ex_s * SECOND)
    return Row(rx_ns, ex_ns, 0, price, size, listing_id, kind, side, flags, level, 0)


def quote(
    at_s: float,
    bid: float,
    bid_size: float,
    ask: float,
    ask_size: float,
    *,
    ex_s: float | None = None,
    listing_id: int = 0,
) -> Rows:
    return [
        row(at_s, m.QUOTE, bid, bid_size, 1, ex_s=ex_s, listing_id=listing_id),
        row(at_s, m.QUOTE, ask, ask_size, -1, m.LAST, ex_s=ex_s, listing_id=listing_id),
    ]


def trade(
    at_s: float,
    price: float,
    size: float = 1.0,
    side: int = 0,
    flags: int = 0,
    *,
    ex_s: float | None = None,
) -> Rows:
    return [row(at_s, m.TRADE, price, size, side, flags | m.LAST, ex_s=ex_s)]


def book(
    at_s: float, kind: int, levels: list[tuple[int, float, float]], *, start: bool = False
) -> Rows:
    """levels: (side, price, size); the first row starts a snapshot, the last closes it."""
    last = len(levels) - 1
    return [
        row(at_s, kind, price, size, side, m.SNAPSHOT_START * (start and i == 0) + (i == last))
        for i, (side, price, size) in enumerate(levels)
    ]


def snapshot(at_s: float, levels: list[tuple[int, float, float]]) -> Rows:
    return book(at_s, m.BOOK_SNAPSHOT, levels, start=True)


def delta(at_s: float, *levels: tuple[int, float, float]) -> Rows:
    return book(at_s, m.BOOK_DELTA, list(levels))


def clear(at_s: float) -> Rows:
    return [row(at_s, m.CLEAR, flags=m.LAST)]


def state_change(at_s: float, state: int) -> Rows:
    return [row(at_s, m.STATE_CHANGE, flags=m.LAST, level=state)]


def ticker(listing_id: int = 0, at_s: float = 0.0, **values: float) -> dict[str, float]:
    """A ticker row with news of `values` only."""
    identity = {"listing_id": listing_id, "rx_ns": START + round(at_s * SECOND)}
    return identity | dict.fromkeys(GREEKS, NAN) | values


def at(at_s: float) -> int:
    """Grid time in ns."""
    return START + round(at_s * SECOND)


def applied(*updates: Rows, **static: Any) -> OracleListing:
    """A listing after these updates."""
    one = listing(**static)
    for update in updates:
        one.apply(update)
    return one
