"""What the tests of Thalex share: frames of its documented shape."""

from collections.abc import Sequence
from typing import Any

from tests.feeds.venue_frames import frame

CALL, PUT = "BTC-27MAR26-100000-C", "BTC-27MAR26-100000-P"
PERP, FUTURE, INDEX = "BTC-PERPETUAL", "BTC-27MAR26", "BTCUSD"
IDS = {CALL: 0, PUT: 1, PERP: 2, INDEX: 3, FUTURE: 4}
AT = 1683901254.785744
AT_NS = 1683901254785744000

Levels = Sequence[Sequence[float]]


def message(channel: str, notification: Any, **more: Any) -> bytes:
    return frame({"channel_name": channel, "notification": notification} | more)


def book(
    bids: Levels = (),
    asks: Levels = (),
    totals: tuple[float, float] = (0, 0),
    symbol: str = CALL,
    at: float = AT,
    *,
    whole: bool = False,
    **more: Any,
) -> bytes:
    """A frame of a book; `totals` are of the book after it."""
    content = {
        "trades": [], "bid_changes": bids, "ask_changes": asks, "total_bid_amount": totals[0],
        "total_ask_amount": totals[1], "time": at,
    }  # fmt: skip
    flag = {"snapshot": True} if whole else {}
    return message(f"book.{symbol}.none.all.100ms", content | more, **flag)


# The documented example of lwt_options, its numbers and all.
CHAIN = {
    "BTC-25DEC26-120000-C": [1776176640.123457, 8730.28, 78000.28, 79000.12, 0.6069, [8725, 1],
                             [8750, 2], 8750],
    "BTC-24APR26-72000-C": [1776176640.123457, 3880.24, 78000.28, 78500.12, 0.59156, [3870, 1],
                            [], None],
}  # fmt: skip
CHAIN_NS = 1776176640123457000


def chain(tickers: Any) -> bytes:
    return message("lwt_options.BTCUSD.all.100ms", {"tickers": tickers})


def option(**changes: Any) -> bytes:
    """lwt_options of one option, parts of which are replaced by place: p0 to p7."""
    entry: list[Any] = [AT, 2000.5, 78000.28, 79000.12, 0.6, [1990, 1], [2010, 2], None]
    for place, value in changes.items():
        entry[int(place[1:])] = value
    return chain({CALL: entry})


def ticker(symbol: str = CALL, **changes: Any) -> bytes:
    content = {
        "mark_price": 2000.5, "mark_timestamp": AT, "best_bid_price": 1990,
        "best_bid_amount": 0.4, "best_ask_price": None, "best_ask_amount": None, "delta": 0.25,
        "index": 78000.28, "iv": 0.6069, "forward": 79000.12, "open_interest": 123.456,
        "volume_24h": 0, "value_24h": 0,
    } | changes  # fmt: skip
    return message(f"ticker.{symbol}.1000ms", content)


def lwt(symbol: str = PERP, **content: Any) -> bytes:
    return message(f"lwt.{symbol}.100ms", {"m": 65536.16} | content)


def trades(*prints: Any, **more: Any) -> bytes:
    return message("recent_trades.BTCUSD.all", prints, **more)


def trade(**changes: Any) -> list[Any]:
    """One print, parts of which are replaced by place: p0 to p5."""
    entry: list[Any] = [400, 1, "buy", 1652187265.515, CALL, False]
    for place, value in changes.items():
        entry[int(place[1:])] = value
    return entry


def index(name: str = INDEX) -> bytes:
    content = {"index_name": name, "price": 47389.10833333334, "timestamp": 946684800}
    return message(f"price_index.{name}", content)


def entry(symbol: str = CALL, **changes: Any) -> dict[str, Any]:
    """One option of public/instruments in the documented shape."""
    return {
        "instrument_name": symbol, "product": "OBTCUSD", "tick_size": 5, "volume_tick_size": 0.1,
        "min_order_amount": 0.1, "underlying": "BTCUSD", "type": "option",
        "option_type": "call" if symbol.endswith("C") else "put", "expiry_date": "2026-03-27",
        "expiration_timestamp": 1774598400, "strike_price": 100000, "base_currency": "USD",
        "create_time": 1631250800.103645,
    } | changes  # fmt: skip


def perpetual(**changes: Any) -> dict[str, Any]:
    return {
        "instrument_name": PERP, "product": "FBTCUSD", "tick_size": 1, "volume_tick_size": 0.001,
        "min_order_amount": 0.001, "underlying": "BTCUSD", "type": "perpetual",
        "base_currency": "USD", "create_time": 1631250800.103645,
    } | changes  # fmt: skip


def future(**changes: Any) -> dict[str, Any]:
    dated = {"expiry_date": "2026-03-27", "expiration_timestamp": 1774598400}
    return perpetual(instrument_name=FUTURE, type="future", **dated) | changes


def turns(*turned: Any, **more: Any) -> bytes:
    return message("instruments", turned, **more)


FRAMES = [
    book([[9000, 2, 2], [8990, 1.5, 0.5]], [[9010, 1, 1]], (3.5, 1), whole=True),
    book([[9000, 0, 0]], [[9010, 3, 2]], (1.5, 3), at=AT + 0.1),
    chain(CHAIN),
    option(),
    ticker(),
    lwt(b=[47240, 0.4, 0.3], a=[47260, 1, 0.9]),
    trades(trade(), trade(p2="sell", p4=PUT, p5=True)),
    index(),
    turns({"added": entry("BTC-27MAR26-110000-C")}, {"removed": entry()}),
    frame({"id": 1001, "result": ["instruments"]}),
    frame({"id": 1, "result": {"environment": "production"}}),
]
