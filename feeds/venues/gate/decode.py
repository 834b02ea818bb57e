"""Stage 2 of 8: Gate frames to event rows, ticker rows and the frame table.

A frame says its channel and event around its result, which is read by the channel's own shape
(wire.py).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_DELTA_CODE,
    BOOK_SNAPSHOT_CODE,
    CODE,
    KEY,
    NO_PREVIOUS,
    NS_PER_MS,
    QUOTE_CODE,
    SEQ,
    SEQ_PREV,
    TICKER_FIELDS,
    TRADE_CODE,
    Batch,
    Floats,
    Ints,
    floats,
    ints,
)
from feeds.events import DecodeOut
from feeds.trade_keys import trade_keys
from feeds.venues.gate import plan, wire
from feeds.venues.gate.universe import NAME, index_symbol

# A row's number is the venue's and one: 0 before a change would say that nothing came before it
# (sequence.py), and here no change stands without a whole book, not even that of number 1.
SEQ_OF_NUMBER_0: Final = 1
ROUTES: Final = {
    (plan.BOOK, "all"): "book",
    (plan.BOOK, "update"): "changes",
    (plan.QUOTES, "update"): "quotes",
    (plan.TICKERS, "update"): "tickers",
    (plan.TRADES, "update"): "trades",
    (plan.INDEX, "update"): "index",
}
ANSWERS: Final = ("subscribe", "unsubscribe")
_MARK, _INDEX = TICKER_FIELDS.index("mark"), TICKER_FIELDS.index("index")


class _Framed(NamedTuple):
    """The result of a frame, and what its envelope says."""

    frame: int
    envelope: wire.Envelope


class _Changes(NamedTuple):
    """All entries of one update of a book."""

    instrument_name: str
    entries: list[wire.BookChange]


# Takes the frames of one family, in ascending order.
Family = Callable[[list[_Framed], Batch], None]


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames that are not market data are skipped as `answer` (to a request of ours), `heartbeat` and
    `other_channel`; messages and prints of instruments that `symbols` lacks as `unknown_symbol`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    by_family: defaultdict[str, list[_Framed]] = defaultdict(list)
    for index, frame in enumerate(frames):
        try:
            envelope = wire.read_envelope(frame)
        except (ValueError, RecursionError) as error:
            batch.failures.append((index, str(error)))
            continue
        family = ROUTES.get((envelope.channel, envelope.event))
        if family is not None:
            by_family[family].append(_Framed(index, envelope))
        elif envelope.channel == plan.PONG:
            batch.skip("heartbeat")
        else:
            batch.skip("answer" if envelope.event in ANSWERS else "other_channel")
    for family, framed in by_family.items():
        FAMILIES[family](framed, batch)
    batch.write(out)


def _add_books(framed: list[_Framed], batch: Batch) -> None:
    """Add whole books."""
    books, framed = _read(wire.read_book, framed, batch)
    books, frames, listings = batch.known(books, _indexes(framed))
    block = batch.block(frames, listings, ints([b.time_ms for b in books]) * NS_PER_MS)
    block[SEQ] = ints([b.number for b in books]) + SEQ_OF_NUMBER_0
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, BOOK_SNAPSHOT_CODE
    block[BID_ROWS] = ints([len(b.bids) for b in books])
    block[ASK_ROWS] = ints([len(b.asks) for b in books])
    levels = list(chain.from_iterable(chain(b.bids, b.asks) for b in books))
    batch.add_updates(block, floats([x.p for x in levels]), floats([x.s for x in levels]))


def _add_changes(framed: list[_Framed], batch: Batch) -> None:
    """Add changes of books. A price has one signed size: what is a bid there is no ask.

    The numbers of an update rise one by one, so the update before ended below its first.
    """
    found, framed = _read(_read_changes, framed, batch)
    found, frames, listings = batch.known(found, _indexes(framed))
    at_ms = {one.frame: one.envelope.at_ms for one in framed}
    block = batch.block(frames, listings, ints([at_ms[i] for i in frames.tolist()]) * NS_PER_MS)
    block[SEQ] = ints([c.entries[-1].number for c in found]) + SEQ_OF_NUMBER_0
    block[SEQ_PREV] = ints([c.entries[0].number for c in found]) - 1 + SEQ_OF_NUMBER_0
    block[CODE] = BOOK_DELTA_CODE
    block[BID_ROWS] = block[ASK_ROWS] = ints([len(c.entries) for c in found])
    sided = [(x.p, max(way * x.s, 0.0)) for c in found for way in (1, -1) for x in c.entries]
    prices, sizes = floats(list(chain.from_iterable(sided))).reshape(-1, 2).T
    batch.add_updates(block, prices, sizes)


def _read_changes(result: msgspec.Raw) -> _Changes:
    """Read an update of a book.

    Raises:
        ValueError: also where its entries are of several contracts, or their numbers fall.
    """
    entries = wire.read_changes(result)
    names = {entry.instrument_name for entry in entries}
    numbers = [entry.number for entry in entries]
    if len(names) > 1 or numbers != sorted(numbers):
        raise ValueError("update of a book was of several contracts, or its numbers fell")
    return _Changes(entries[0].instrument_name, entries)


def _add_quotes(framed: list[_Framed], batch: Batch) -> None:
    """Add best prices; a side without a price has no size."""
    quotes, framed = _read(wire.read_quote, framed, batch)
    quotes, frames, listings = batch.known(quotes, _indexes(framed))
    block = batch.block(frames, listings, ints([q.time_ms for q in quotes]) * NS_PER_MS)
    block[SEQ] = ints([q.number for q in quotes])
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, QUOTE_CODE
    block[BID_ROWS] = block[ASK_ROWS] = 1
    prices = _numbers([p for q in quotes for p in (q.bid, q.ask)])
    sizes = floats([size for q in quotes for size in (q.bid_size, q.ask_size)])
    nothing = ~(prices > 0) | (sizes == 0)
    prices[nothing] = sizes[nothing] = np.nan
    batch.add_updates(block, prices, sizes)


def _add_tickers(framed: list[_Framed], batch: Batch) -> None:
    """Add tickers, whose only time is that of the message."""
    tickers, framed = _read(wire.read_ticker, framed, batch)
    tickers, frames, listings = batch.known(tickers, _indexes(framed))
    at_ms = {one.frame: one.envelope.at_ms for one in framed}
    nothing = [np.nan] * len(tickers)
    values = _numbers(
        [t.mark for t in tickers] + [t.iv_bid for t in tickers] + [t.iv_ask for t in tickers]
        + [t.iv_mark for t in tickers] + nothing + [t.index for t in tickers]
        + [t.open_interest for t in tickers] + [t.delta for t in tickers]
        + [t.gamma for t in tickers] + [t.vega for t in tickers] + [t.theta for t in tickers]
    ).reshape(len(TICKER_FIELDS), -1)  # fmt: skip
    ex_ns = ints([at_ms[index] for index in frames.tolist()]) * NS_PER_MS
    batch.add_tickers(frames, listings, ex_ns, values)


def _add_trades(framed: list[_Framed], batch: Batch) -> None:
    """Add prints; a negative size is a taker that sold."""
    prints, framed = _read(wire.read_trades, framed, batch)
    frames = batch.frames_of(_indexes(framed).tolist(), [len(some) for some in prints])
    trades, frames, listings = batch.known(list(chain.from_iterable(prints)), frames)
    block = batch.block(frames, listings, ints([t.time_ms for t in trades]) * NS_PER_MS)
    block[SEQ], block[SEQ_PREV], block[CODE] = 0, NO_PREVIOUS, TRADE_CODE
    sizes = floats([t.size for t in trades])
    block[BID_ROWS], block[ASK_ROWS] = sizes > 0, sizes < 0
    # Nothing says that an id names one print of all contracts.
    block[KEY] = trade_keys([f"{t.instrument_name} {t.trade_id}" for t in trades])
    batch.add_updates(block, floats([t.price for t in trades]), np.abs(sizes))


def _add_index(framed: list[_Framed], batch: Batch) -> None:
    """Add index prices, as marks of the index listings."""
    prices, framed = _read(wire.read_price, framed, batch)
    owners = ints([batch.symbols.get(index_symbol(p.underlying), -1) for p in prices])
    for _ in range(int((owners < 0).sum())):
        batch.skip("unknown_symbol")
    values = np.full((len(TICKER_FIELDS), len(prices)), np.nan)
    values[_MARK] = values[_INDEX] = floats([p.price for p in prices])
    ex_ns, ours = ints([p.time_ms for p in prices]) * NS_PER_MS, owners >= 0
    batch.add_tickers(_indexes(framed)[ours], owners[ours], ex_ns[ours], values[:, ours])


def _read(
    reader: Callable[[msgspec.Raw], Any], framed: list[_Framed], batch: Batch
) -> tuple[list[Any], list[_Framed]]:
    """Read results and count the bad ones; returns the good ones and their frames."""
    found, good = [], []
    for one in framed:
        try:
            found.append(reader(one.envelope.result))
        except (ValueError, RecursionError) as error:
            batch.failures.append((one.frame, str(error)))
        else:
            good.append(one)
    return found, good


def _indexes(framed: list[_Framed]) -> Ints:
    return ints([one.frame for one in framed])


def _numbers(values: list[float | str]) -> Floats:
    """Column of numbers; an empty text is none."""
    return floats([np.nan if value == "" else value for value in values])  # type: ignore[misc]


FAMILIES: Final[dict[str, Family]] = {
    "book": _add_books,
    "changes": _add_changes,
    "quotes": _add_quotes,
    "tickers": _add_tickers,
    "trades": _add_trades,
    "index": _add_index,
}
