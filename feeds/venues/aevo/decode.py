"""Stage 2 of 8: Aevo frames to event rows, ticker rows and the frame table.

A frame's family is in the first word of its channel. Updates of a book have no number that rises
by one: they are chained by their checksums, which feeds/checksums.py compares.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_CHAINED_CODE,
    BOOK_SNAPSHOT_CODE,
    CODE,
    KEY,
    NO_PREVIOUS,
    QUOTE_CODE,
    SEQ,
    SEQ_PREV,
    TICKER_FIELDS,
    TRADE_CODE,
    Batch,
    floats,
    ints,
)
from feeds.events import BookCheck, DecodeOut
from feeds.trade_keys import trade_keys
from feeds.venues.aevo import wire
from feeds.venues.aevo.universe import NAME, index_symbol

# A usual frame begins so.
PREFIX: Final = b'{"channel":"'


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames that are not market data are skipped as `answer` (to a request or ping of ours),
    `refusal` and `other_channel`; entries of instruments that `symbols` lacks as `unknown_symbol`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    by_family: defaultdict[str, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        word = None
        if frame.startswith(PREFIX):
            word = frame[len(PREFIX) : frame.find(b":", len(PREFIX))].decode("latin-1")
        if word not in FAMILIES:
            word = _family_of(index, batch)
        if word is not None:
            by_family[FAMILIES[word]].append(index)
    for family, indexes in by_family.items():
        ADDERS[family](sorted(indexes), batch)
    batch.write(out)


def _family_of(index: int, batch: Batch) -> str | None:
    """Read the envelope of a frame without the usual beginning; says its word, if we use it."""
    try:
        envelope = wire.read_envelope(batch.frames[index])
    except (ValueError, RecursionError) as error:
        batch.failures.append((index, str(error)))
        return None
    if envelope.channel is not None:
        word = envelope.channel.partition(":")[0]
        if word in FAMILIES:
            return word
        batch.skip("other_channel")
    elif envelope.error is not None:
        batch.skip("refusal")
    elif bytes(envelope.data):
        batch.skip("answer")
    else:
        batch.failures.append((index, "message was neither of a channel nor an answer"))
    return None


def _add_books(indexes: list[int], batch: Batch) -> None:
    """Add snapshots and changes, each with what its checksum is compared with."""
    messages, indexes = batch.messages(wire.read_book, indexes)
    books, frames, listings = batch.known([m.data for m in messages], ints(indexes))
    times = ints([book.last_updated for book in books])
    block = batch.block(frames, listings, times)
    block[SEQ], block[SEQ_PREV] = times, NO_PREVIOUS
    changes = np.array([book.type == "update" for book in books], np.bool_)
    block[CODE] = np.where(changes, BOOK_CHAINED_CODE, BOOK_SNAPSHOT_CODE)
    block[BID_ROWS] = ints([len(book.bids) for book in books])
    block[ASK_ROWS] = ints([len(book.asks) for book in books])
    checks = [BookCheck(_texts(book.bids), _texts(book.asks), book.checksum) for book in books]
    flat = [float(text) for c in checks for level in chain(c.bids, c.asks) for text in level]
    prices, sizes = floats(flat).reshape(-1, 2).T
    batch.add_updates(block, prices, sizes)
    batch.add_checks(frames, checks)


def _texts(levels: list[wire.Level]) -> list[tuple[str, str]]:
    return [(level.price, level.amount) for level in levels]


def _add_quotes(indexes: list[int], batch: Batch) -> None:
    """Add best prices; a side without a price has no size."""
    messages, indexes = batch.messages(wire.read_quotes, indexes)
    quotes, frames, listings, times = _entries(messages, indexes, batch)
    block = batch.block(frames, listings, times)
    block[SEQ], block[SEQ_PREV], block[CODE] = 0, NO_PREVIOUS, QUOTE_CODE
    block[BID_ROWS] = block[ASK_ROWS] = 1
    sides = [side for quote in quotes for side in (quote.bid, quote.ask)]
    prices, sizes = floats([s.price for s in sides]), floats([s.amount for s in sides])
    sizes[~(prices > 0) | (sizes == 0)] = np.nan
    prices[prices == 0] = np.nan
    batch.add_updates(block, prices, sizes)


def _add_tickers(indexes: list[int], batch: Batch) -> None:
    """Add marks, volatilities and greeks; forwards and open interest are on no channel."""
    messages, indexes = batch.messages(wire.read_tickers, indexes)
    tickers, frames, listings, times = _entries(messages, indexes, batch)
    marks, none = [t.mark for t in tickers], [np.nan] * len(tickers)
    values = floats(
        [m.price for m in marks] + [t.bid.iv for t in tickers] + [t.ask.iv for t in tickers]
        + [m.iv for m in marks] + none + none + none
        + [m.delta for m in marks] + [m.gamma for m in marks] + [m.vega for m in marks]
        + [m.theta for m in marks]
    ).reshape(len(TICKER_FIELDS), -1)  # fmt: skip
    batch.add_tickers(frames, listings, times, values)


def _entries(
    messages: list[Any], indexes: list[int], batch: Batch
) -> tuple[list[Any], Any, Any, Any]:
    """Entries of all messages about listings of ours: they, their frames, listings and times."""
    counts = [len(m.data.tickers) for m in messages]
    times = dict(zip(indexes, (m.data.timestamp for m in messages), strict=True))
    found, frames, listings = batch.known(
        list(chain.from_iterable(m.data.tickers for m in messages)),
        batch.frames_of(indexes, counts),
    )
    return found, frames, listings, ints([times[frame] for frame in frames.tolist()])


def _add_trades(indexes: list[int], batch: Batch) -> None:
    """Add prints, one a frame."""
    messages, indexes = batch.messages(wire.read_trade, indexes)
    trades, frames, listings = batch.known([m.data for m in messages], ints(indexes))
    block = batch.block(frames, listings, ints([t.created_timestamp for t in trades]))
    block[SEQ], block[SEQ_PREV], block[CODE] = 0, NO_PREVIOUS, TRADE_CODE
    block[BID_ROWS] = ints([t.side == "buy" for t in trades])
    block[ASK_ROWS] = 1 - block[BID_ROWS]
    # The id is said to be a transaction's hash: whether that is one print is not documented.
    block[KEY] = trade_keys(
        [
            f"{t.instrument_name} {t.trade_id} {t.created_timestamp} {t.price} {t.amount}"
            for t in trades
        ]
    )
    batch.add_updates(block, floats([t.price for t in trades]), floats([t.amount for t in trades]))


def _add_indexes(indexes: list[int], batch: Batch) -> None:
    """Add index prices, as marks of the index listings."""
    messages, indexes = batch.messages(wire.read_index, indexes)
    prices, frames, listings = batch.known(
        [wire.IndexPrice(index_symbol(m.asset), m.data.price, m.data.timestamp) for m in messages],
        ints(indexes),
    )
    values = np.full((len(TICKER_FIELDS), len(prices)), np.nan)
    values[TICKER_FIELDS.index("mark")] = floats([one.price for one in prices])
    values[TICKER_FIELDS.index("index")] = values[TICKER_FIELDS.index("mark")]
    batch.add_tickers(frames, listings, ints([one.timestamp for one in prices]), values)


# By the first word of a channel. `orderbook` is the same without a throttle. The table of the
# venue's page writes `ticker` for answers on `ticker-500ms`, its example writes the whole name.
FAMILIES: Final = {
    "orderbook-100ms": "book",
    "orderbook": "book",
    "book-ticker": "quotes",
    "ticker-500ms": "tickers",
    "ticker": "tickers",
    "trades": "trades",
    "index": "index",
}
ADDERS: Final[dict[str, Callable[[list[int], Batch], None]]] = {
    "book": _add_books,
    "quotes": _add_quotes,
    "tickers": _add_tickers,
    "trades": _add_trades,
    "index": _add_indexes,
}
