"""Stage 2 of 8: the messages of one Deribit channel family in a batch, to one block of columns.

One list comprehension per column: in Python the loop over messages is what decoding costs, and a
comprehension is its cheapest form. Against flat lists filled message by message: 2.2 us in place of
2.5 a book change, 2.4 of 2.7 a ticker, 2.3 of 3.0 a message of prints, of which typed reading alone
takes 0.9, 1.2 and 0.9 (batches of 256, processor time, Python 3.11). Times, sequence numbers and
most numbers were checked when the messages were read (wire.py).
"""

from collections.abc import Sequence
from itertools import chain, compress
from typing import Final

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_DELTA_CODE,
    BOOK_SNAPSHOT_CODE,
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
from feeds.events import Flag
from feeds.trade_keys import structure_code, trade_keys
from feeds.venues.deribit import wire

WINDOW_PARTS: Final = 5  # book.{instrument}.{group}.{depth}.{interval}


def add_books(indexes: list[int], batch: Batch) -> None:
    """Add changes and snapshots, and windows that are found among them."""
    windows: list[int] = []
    if is_window(batch.frames[indexes[0]]):
        # A plan subscribes to windows or to changes, so that where one is, all are. One that comes
        # later is found by its levels, which are no changes; asking every frame costs 0.2 us.
        windows = [index for index in indexes if is_window(batch.frames[index])]
        indexes = sorted(set(indexes) - set(windows))
    messages, indexes, refused = batch.read(wire.read_book, indexes)
    for index, error in refused:
        if is_window(batch.frames[index]):
            windows.append(index)
        else:
            batch.failures.append((index, error))
    if windows:
        add_windows(sorted(windows), batch)
    if messages:
        _add_changes(messages, indexes, batch)


def _add_changes(messages: list[wire.Book], indexes: list[int], batch: Batch) -> None:
    messages, frames, listings = batch.known(messages, ints(indexes))
    odd = [at for at, m in enumerate(messages) if m.type != "change" or m.prev_change_id is None]
    broken = {int(frames[at]) for at in odd if messages[at].type == "change"}
    if broken:
        batch.failures += [(index, "book change had no prev_change_id") for index in broken]
        sound = [index not in broken for index in frames.tolist()]
        _add_changes(list(compress(messages, sound)), frames[np.array(sound)].tolist(), batch)
        return
    block = batch.block(frames, listings, _times_ns(messages))
    block[SEQ] = ints([m.change_id for m in messages])
    block[CODE] = BOOK_DELTA_CODE
    if odd:
        block[CODE, odd] = [_code_of(messages[at], batch.frames[frames[at]]) for at in odd]
        previous = [NO_PREVIOUS if m.prev_change_id is None else m.prev_change_id for m in messages]
        block[SEQ_PREV] = np.where(block[CODE] == BOOK_DELTA_CODE, ints(previous), NO_PREVIOUS)
    else:
        block[SEQ_PREV] = ints([m.prev_change_id for m in messages])  # type: ignore[misc]
    shares, prices, amounts = _levels(messages, block).reshape(-1, 3).T
    batch.add_updates(block, prices, np.abs(shares * amounts))  # no size is -0


def _times_ns(entries: Sequence[wire.Timed]) -> Ints:
    return ints([entry.timestamp for entry in entries]) * NS_PER_MS


def _levels(messages: Sequence[wire.Book | wire.Window], block: Ints) -> Floats:
    """Numbers of all levels, flat, bids before asks; writes how many rows each message has."""
    block[BID_ROWS] = ints([len(m.bids) for m in messages])
    block[ASK_ROWS] = ints([len(m.asks) for m in messages])
    flat: list[float] = []
    for message in messages:
        for level in message.bids:
            flat += level
        for level in message.asks:
            flat += level
    return floats(flat)


def _code_of(message: wire.Book, frame: bytes) -> int:
    """Code of a book message that is not plainly a change.

    Messages before 2020 have no type: a snapshot is one without prev_change_id. Later snapshots
    may carry a prev_change_id; they start the chain all the same.
    """
    if message.type == "snapshot":
        return BOOK_SNAPSHOT_CODE
    if not message.bids and not message.asks and is_window(frame):
        return BOOK_WINDOW_CODE  # an empty window has the shape of an old empty snapshot
    return BOOK_SNAPSHOT_CODE if message.prev_change_id is None else BOOK_DELTA_CODE


def is_window(frame: bytes) -> bool:
    """Say whether a frame of the usual layout is of a grouped book, by its channel's name."""
    begin = len(wire.PREFIX)
    parts = frame.count(b".", begin, frame.find(b'"', begin)) + 1
    return parts == WINDOW_PARTS and frame.startswith(wire.PREFIX)


def add_windows(indexes: list[int], batch: Batch) -> None:
    """Add whole windows of books."""
    messages, indexes = batch.read_or_fail(wire.read_window, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    block = batch.block(frames, listings, _times_ns(messages))
    block[SEQ] = ints([m.change_id for m in messages])
    block[SEQ_PREV] = NO_PREVIOUS
    block[CODE] = BOOK_WINDOW_CODE
    prices, amounts = _levels(messages, block).reshape(-1, 2).T
    batch.add_updates(block, prices, amounts)


def add_quotes(indexes: list[int], batch: Batch) -> None:
    """Add best bids and offers; price 0 is a side without a price, and its size means nothing."""
    messages, indexes = batch.read_or_fail(wire.read_quote, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    block = batch.block(frames, listings, _times_ns(messages))
    block[SEQ], block[SEQ_PREV] = 0, NO_PREVIOUS
    block[BID_ROWS] = block[ASK_ROWS] = 1
    block[CODE] = QUOTE_CODE
    prices = floats([p for m in messages for p in (m.best_bid_price, m.best_ask_price)])
    sizes = floats([s for m in messages for s in (m.best_bid_amount, m.best_ask_amount)])
    sizes[(prices == 0) | (sizes == 0)] = np.nan
    prices[prices == 0] = np.nan
    batch.add_updates(block, prices, sizes)


def add_trades(indexes: list[int], batch: Batch) -> None:
    """Add the prints of all messages."""
    messages, indexes = batch.read_or_fail(wire.read_trades, indexes)
    trades = list(chain.from_iterable(messages))
    frames = batch.frames_of(indexes, list(map(len, messages)))
    trades, frames, listings = batch.known(trades, frames, _why_unlisted)
    block = batch.block(frames, listings, _times_ns(trades))
    block[SEQ] = ints([t.trade_seq for t in trades])
    block[SEQ_PREV] = NO_PREVIOUS
    block[CODE] = TRADE_CODE
    for at in [
        at
        for at, t in enumerate(trades)
        if t.combo_id is not None
        or t.block_trade_id is not None
        or t.combo_trade_id is not None
        or t.block_rfq_id is not None
    ]:
        block[CODE, at] |= _structure(trades[at])
    directions, prices, amounts = floats(
        [t.direction for t in trades] + [t.price for t in trades] + [t.amount for t in trades]
    ).reshape(3, -1)
    block[BID_ROWS] = directions > 0
    block[ASK_ROWS] = directions < 0
    block[KEY] = trade_keys([t.trade_id for t in trades])
    batch.add_updates(block, prices, amounts)


def _why_unlisted(trade: wire.Trade) -> str:
    return "combo" if bytes(trade.legs) else "unknown_symbol"


def _structure(trade: wire.Trade) -> int:
    """Flags and structure number of a trade: all prints of one block, else of one combination."""
    flags, name = 0, ""
    if trade.combo_id is not None or trade.combo_trade_id is not None:
        flags |= Flag.COMBO_LEG
        name = f"combo {trade.combo_trade_id or (trade.combo_id, trade.timestamp)}"
    if trade.block_rfq_id is not None:
        flags |= Flag.RFQ | Flag.BLOCK
        name = f"rfq {trade.block_rfq_id}"
    if trade.block_trade_id is not None:
        flags |= Flag.BLOCK
        name = f"block {trade.block_trade_id}"
    return structure_code(flags, name)


def add_tickers(indexes: list[int], batch: Batch) -> None:
    """Add tickers; volatilities become fractions."""
    messages, indexes = batch.read_or_fail(wire.read_ticker, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    greeks = [m.greeks or wire.NO_GREEKS for m in messages]
    values = floats(
        [m.mark_price for m in messages]
        + [m.bid_iv for m in messages]
        + [m.ask_iv for m in messages]
        + [m.mark_iv for m in messages]
        + [m.underlying_price for m in messages]
        + [m.index_price for m in messages]
        + [m.open_interest for m in messages]
        + [g.delta for g in greeks]
        + [g.gamma for g in greeks]
        + [g.vega for g in greeks]
        + [g.theta for g in greeks]
    ).reshape(len(TICKER_FIELDS), -1)
    batch.add_tickers(frames, listings, _times_ns(messages), values, percent=True)


def add_marks(indexes: list[int], batch: Batch) -> None:
    """Add mark prices of whole option chains; volatilities are fractions already."""
    messages, indexes = batch.read_or_fail(wire.read_marks, indexes)
    marks = list(chain.from_iterable(messages))
    frames = batch.frames_of(indexes, list(map(len, messages)))
    marks, frames, listings = batch.known(marks, frames)
    values = np.full((len(TICKER_FIELDS), len(marks)), np.nan)
    values[TICKER_FIELDS.index("mark")] = floats([m.mark_price for m in marks])
    values[TICKER_FIELDS.index("iv_mark")] = floats([m.iv for m in marks])
    batch.add_tickers(frames, listings, _times_ns(marks), values)


def add_price_indexes(indexes: list[int], batch: Batch) -> None:
    """Add index prices, as marks of the index listings."""
    messages, indexes = batch.read_or_fail(wire.read_price_index, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    values = np.full((len(TICKER_FIELDS), len(messages)), np.nan)
    values[TICKER_FIELDS.index("mark")] = floats([m.price for m in messages])
    values[TICKER_FIELDS.index("index")] = values[TICKER_FIELDS.index("mark")]
    batch.add_tickers(frames, listings, _times_ns(messages), values)
