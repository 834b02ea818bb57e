"""Stage 2 of 8: Binance frames to event rows, ticker rows and the frame table.

The family of a frame is in the name of its stream. Numbers and times were checked when the message
was read (wire.py); one comprehension a column, as in Python the loop over messages is the cost.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_WINDOW_CODE,
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
from feeds.events import DecodeOut, Flag
from feeds.trade_keys import structure_code, trade_keys
from feeds.venues.binance import wire
from feeds.venues.binance.universe import NAME

_STREAM: Final = re.compile(rb'\s*\{\s*"stream"\s*:\s*"([ -!#-?A-~]*)@([a-zA-Z]*)([0-9]*)')
_ANSWER: Final = (b'{"result"', b'{"id"', b'{"error"', b'{"code"')
BLOCK: Final = "BLOCK"

Family = Callable[[list[int], Batch], None]


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames without rows for us are skipped as `answer` (to a request of ours) and `other_channel`;
    entries of instruments that `symbols` lacks as `unknown_symbol`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    by_family: defaultdict[str, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        stream = _STREAM.match(frame)
        if stream is not None:
            family = _family_of(stream[1], stream[2].decode(), stream[3])
            if family in FAMILIES:
                by_family[family].append(index)
            else:
                batch.skip("other_channel")
        elif frame.lstrip().startswith(_ANSWER):
            batch.skip("answer")
        else:
            batch.failures.append((index, "message was neither of a stream nor an answer"))
    for family, indexes in by_family.items():
        FAMILIES[family](indexes, batch)
    batch.write(out)


def _family_of(head: bytes, kind: str, depth: bytes) -> str:
    """Name of a stream without its instrument and settings; a diff of depth has no number."""
    if kind == "depth" and not depth:
        return "diff"
    return f"{head.decode()}@{kind}" if head.startswith(b"!") else kind


def _add_marks(indexes: list[int], batch: Batch) -> None:
    """Add a whole chain: best prices and ticker of every option."""
    messages, indexes = _read(wire.read_marks, indexes, batch)
    marks, frames, listings = _flat(messages, indexes, batch)
    ex_ns = _times_ns(marks)
    block = batch.block(frames, listings, ex_ns)
    block[SEQ], block[SEQ_PREV], block[CODE] = 0, NO_PREVIOUS, QUOTE_CODE
    _add_quote_rows(block, marks, batch)
    values = floats(
        [m.mark for m in marks] + [m.iv_bid for m in marks] + [m.iv_ask for m in marks]
        + [m.iv_mark for m in marks]
        + [np.nan] * len(marks)  # The chain carries no forward.
        + [m.index for m in marks]
        + [np.nan] * len(marks)
        + [m.delta for m in marks] + [m.gamma for m in marks] + [m.vega for m in marks]
        + [m.theta for m in marks]
    ).reshape(len(TICKER_FIELDS), -1)  # fmt: skip
    ivs = values[1:4]
    ivs[ivs < 0] = np.nan  # -1 is none
    batch.add_tickers(frames, listings, ex_ns, values)


def _add_quotes(indexes: list[int], batch: Batch) -> None:
    """Add best bids and offers."""
    quotes, indexes = _read(wire.read_quote, indexes, batch)
    quotes, frames, listings = batch.known(quotes, ints(indexes))
    block = batch.block(frames, listings, _times_ns(quotes))
    block[SEQ] = ints([q.last_id for q in quotes])
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, QUOTE_CODE
    _add_quote_rows(block, quotes, batch)


def _add_quote_rows(block: Ints, quotes: Sequence[Any], batch: Batch) -> None:
    """A bid row and an ask row each; price 0 is a side without a price."""
    block[BID_ROWS] = block[ASK_ROWS] = 1
    prices = floats([p for q in quotes for p in (q.bid, q.ask)])
    sizes = floats([s for q in quotes for s in (q.bid_size, q.ask_size)])
    sizes[(prices == 0) | (sizes == 0)] = np.nan
    prices[prices == 0] = np.nan
    batch.add_updates(block, prices, sizes)


def _add_windows(indexes: list[int], batch: Batch) -> None:
    """Add the best levels of books, whole each time."""
    books, indexes = _read(wire.read_depth, indexes, batch)
    books, frames, listings = batch.known(books, ints(indexes))
    block = batch.block(frames, listings, _times_ns(books))
    block[SEQ] = ints([b.last_id for b in books])
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, BOOK_WINDOW_CODE
    block[BID_ROWS] = ints([len(b.bids) for b in books])
    block[ASK_ROWS] = ints([len(b.asks) for b in books])
    flat: list[float] = []
    for book in books:
        for level in book.bids:
            flat += level
        for level in book.asks:
            flat += level
    prices, sizes = floats(flat).reshape(-1, 2).T
    batch.add_updates(block, prices, sizes)


def _add_trades(indexes: list[int], batch: Batch) -> None:
    """Add prints."""
    trades, indexes = _read(wire.read_trade, indexes, batch)
    trades, frames, listings = batch.known(trades, ints(indexes))
    block = batch.block(frames, listings, _times_ns(trades))
    block[SEQ] = ints([t.trade_id for t in trades])
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, TRADE_CODE
    for at, trade in enumerate(trades):
        if trade.kind == BLOCK:
            # The venue does not say which prints are legs of one block: each stands alone.
            block[CODE, at] |= structure_code(Flag.BLOCK, _trade_name(trade))
    bought = np.array([t.side is wire.Side.BUY for t in trades], np.bool_)
    block[BID_ROWS], block[ASK_ROWS] = bought, ~bought
    block[KEY] = trade_keys([_trade_name(t) for t in trades])
    prices, sizes = floats([t.price for t in trades]), floats([t.size for t in trades])
    batch.add_updates(block, prices, sizes)


def _trade_name(trade: wire.Trade) -> str:
    """Ids are counted per instrument."""
    return f"{trade.instrument_name}:{trade.trade_id}"


def _add_open_interest(indexes: list[int], batch: Batch) -> None:
    """Add the open interest of an expiry."""
    messages, indexes = _read(wire.read_open_interest, indexes, batch)
    entries, frames, listings = _flat(messages, indexes, batch)
    values = _no_values(len(entries))
    values[TICKER_FIELDS.index("open_interest")] = floats([e.contracts for e in entries])
    batch.add_tickers(frames, listings, _times_ns(entries), values)


def _add_indexes(indexes: list[int], batch: Batch) -> None:
    """Add index prices, as marks of the index listings."""
    messages, indexes = _read(wire.read_indexes, indexes, batch)
    entries, frames, listings = _flat(messages, indexes, batch)
    values = _no_values(len(entries))
    values[TICKER_FIELDS.index("mark")] = floats([e.price for e in entries])
    values[TICKER_FIELDS.index("index")] = values[TICKER_FIELDS.index("mark")]
    batch.add_tickers(frames, listings, _times_ns(entries), values)


def _no_values(count: int) -> Floats:
    return np.full((len(TICKER_FIELDS), count), np.nan)


def _times_ns(entries: Sequence[Any]) -> Ints:
    return ints([entry.time_ms for entry in entries]) * NS_PER_MS


def _read(
    reader: Callable[[bytes], Any], indexes: list[int], batch: Batch
) -> tuple[list[Any], list[int]]:
    """Read frames and count the bad ones; returns the data of the good ones, their indexes."""
    found, good = [], []
    for index in indexes:
        try:
            found.append(reader(batch.frames[index]).data)
        except (ValueError, RecursionError) as error:
            batch.failures.append((index, str(error)))
        else:
            good.append(index)
    return found, good


def _flat(
    messages: Sequence[list[Any]], indexes: list[int], batch: Batch
) -> tuple[list[Any], Ints, Ints]:
    """Entries of whole messages about listings of ours, their frames and their listing ids."""
    frames = np.repeat(ints(indexes), ints(list(map(len, messages))))
    return batch.known(list(chain.from_iterable(messages)), frames)


FAMILIES: Final[dict[str, Family]] = {
    "optionMarkPrice": _add_marks,
    "depth": _add_windows,
    "bookTicker": _add_quotes,
    "optionTrade": _add_trades,
    "optionOpenInterest": _add_open_interest,
    "openInterest": _add_open_interest,  # the documentation's other spelling
    "!index@arr": _add_indexes,
}
