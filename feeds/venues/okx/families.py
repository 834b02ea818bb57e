"""Stage 2 of 8: the messages of one OKX channel family in a batch, to one block of columns.

One list comprehension per column, as on Deribit: the loop over messages is what decoding costs.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, compress
from typing import Any, Final, Protocol

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_CHAINED_CODE,
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
    Entry,
    Floats,
    Ints,
    floats,
    ints,
)
from feeds.events import LifecycleNotice, ListingState
from feeds.trade_keys import keys_within
from feeds.venues.okx import wire
from feeds.venues.okx.universe import why_left_out

STATES: Final = {
    "preopen": ListingState.LISTED,
    "live": ListingState.LIVE,
    "post_only": ListingState.LIVE,
    "suspend": ListingState.HALTED,
    "rebase": ListingState.HALTED,
    "settling": ListingState.HALTED,
    "expired": ListingState.EXPIRED,
}

# The first frame of a subscription may be a print from before it, of any age. One from within the
# last minute is news; if it came before, the handler knows its key.
CACHED_AFTER_NS: Final = 60 * 10**9

# What the venue writes where there is no number; the number is its infinity at expiry.
_MISSING: Final = dict.fromkeys(
    ("", "∞", "-∞", "4611686018427388", "-4611686018427388"),
    "null",
)
_NO_NUMBER: Final = float("inf")
_MARK, _INDEX = TICKER_FIELDS.index("mark"), TICKER_FIELDS.index("index")


class _Timed(Protocol):
    ts: int


class _Valued(Entry, _Timed, Protocol):
    """Entry of a ticker channel."""


def read(
    reader: Callable[[bytes], Any], indexes: list[int], batch: Batch
) -> tuple[list[Any], list[int]]:
    """Read frames and count the bad ones; returns the good messages and their indexes.

    A deeply nested frame ends in a RecursionError; all other complaints are ValueErrors.
    """
    frames = batch.frames
    try:
        return [reader(frames[index]) for index in indexes], indexes
    except (ValueError, RecursionError):
        pass
    messages: list[Any] = []
    good: list[int] = []
    for index in indexes:
        try:
            messages.append(reader(frames[index]))
            good.append(index)
        except (ValueError, RecursionError) as error:
            batch.failures.append((index, str(error)))
    return messages, good


def _entries(
    reader: Callable[[bytes], Any], indexes: list[int], batch: Batch
) -> tuple[list[Any], Ints]:
    """Entries of all messages, and the frame of each."""
    messages, indexes = read(reader, indexes, batch)
    entries = list(chain.from_iterable(m.data for m in messages))
    return entries, batch.frames_of(indexes, [len(m.data) for m in messages])


def _times_ns(entries: Sequence[_Timed]) -> Ints:
    return ints([entry.ts for entry in entries]) * NS_PER_MS


def _levels(books: Sequence[wire.Book | wire.Touch], block: Ints) -> tuple[Floats, Floats]:
    """Prices and sizes of all levels, bids before asks; writes how many each book has."""
    block[BID_ROWS] = ints([len(b.bids) for b in books])
    block[ASK_ROWS] = ints([len(b.asks) for b in books])
    levels = chain.from_iterable(chain(b.bids, b.asks) for b in books)
    prices, sizes, _, _ = floats(list(chain.from_iterable(levels))).reshape(-1, 4).T
    return prices, np.abs(sizes)  # no size is -0


def add_books(indexes: list[int], batch: Batch) -> None:
    """Add snapshots and changes; a change without levels is a sign of life, with its numbers."""
    messages, indexes = read(wire.read_book, indexes, batch)
    messages, frames, listings = batch.known(messages, ints(indexes))
    books = [m.data[0] for m in messages]
    block = batch.block(frames, listings, _times_ns(books))
    snapshot = np.array([m.action == "snapshot" for m in messages], np.bool_)
    block[SEQ] = ints([b.seq_id for b in books])
    block[SEQ_PREV] = np.where(snapshot, NO_PREVIOUS, ints([b.prev_seq_id for b in books]))
    block[CODE] = np.where(snapshot, BOOK_SNAPSHOT_CODE, BOOK_CHAINED_CODE)
    batch.add_updates(block, *_levels(books, block))


def add_windows(indexes: list[int], batch: Batch) -> None:
    """Add whole windows, in the order of their times: `seqId` may begin anew, and has no chain."""
    messages, indexes = read(wire.read_window, indexes, batch)
    messages, frames, listings = batch.known(messages, ints(indexes))
    books = [m.data[0] for m in messages]
    block = batch.block(frames, listings, _times_ns(books))
    block[SEQ] = ints([b.ts for b in books])
    block[SEQ_PREV] = NO_PREVIOUS
    block[CODE] = BOOK_WINDOW_CODE
    batch.add_updates(block, *_levels(books, block))


def add_touches(indexes: list[int], batch: Batch) -> None:
    """Add best bids and offers as quotes; the size of a side without a price means nothing."""
    messages, indexes = read(wire.read_touch, indexes, batch)
    messages, frames, listings = batch.known(messages, ints(indexes))
    touches = [m.data[0] for m in messages]
    block = batch.block(frames, listings, _times_ns(touches))
    block[SEQ] = ints([t.seq_id for t in touches])
    block[SEQ_PREV] = NO_PREVIOUS
    block[BID_ROWS] = block[ASK_ROWS] = 1
    block[CODE] = QUOTE_CODE
    sides = [side[0] if side else (0.0, 0.0) for t in touches for side in (t.bids, t.asks)]
    prices, sizes = floats([side[0] for side in sides]), floats([side[1] for side in sides])
    sizes[(prices == 0) | (sizes == 0)] = np.nan
    prices[prices == 0] = np.nan
    batch.add_updates(block, prices, sizes)


def add_trades(indexes: list[int], batch: Batch) -> None:
    """Add the prints of all messages, but for the old one that a subscription may begin with."""
    trades, frames = _entries(wire.read_trades, indexes, batch)
    trades, frames, listings = batch.known(trades, frames)
    times = _times_ns(trades)
    news = batch.received[frames] - times <= CACHED_AFTER_NS
    for _ in range(len(trades) - int(news.sum())):
        batch.skip("cached_trade")
    trades = list(compress(trades, news.tolist()))
    block = batch.block(frames[news], listings[news], times[news])
    block[SEQ] = ints([t.seq_id for t in trades])
    block[SEQ_PREV] = NO_PREVIOUS
    block[CODE] = TRADE_CODE
    sides, prices, sizes = floats(
        [1.0 if t.side == "buy" else -1.0 for t in trades]
        + [t.px for t in trades]
        + [t.sz for t in trades]
    ).reshape(3, -1)
    block[BID_ROWS] = sides > 0
    block[ASK_ROWS] = sides < 0
    # Ids count within an instrument.
    block[KEY] = keys_within([(t.instrument_name, t.trade_id) for t in trades])
    batch.add_updates(block, prices, sizes)


def add_summaries(indexes: list[int], batch: Batch) -> None:
    """Add volatilities, forwards and greeks of whole families."""
    entries, frames = _entries(wire.read_summaries, indexes, batch)
    entries, frames, listings = batch.known(entries, frames)
    columns = {
        "iv_mark": [s.mark_vol for s in entries],
        "iv_bid": [s.bid_vol for s in entries],
        "iv_ask": [s.ask_vol for s in entries],
        "forward": [s.fwd_px for s in entries],
        "delta": [s.delta for s in entries],
        "gamma": [s.gamma for s in entries],
        "vega": [s.vega for s in entries],
        "theta": [s.theta for s in entries],
    }
    _add_values(entries, frames, listings, columns, batch)


def add_open_interests(indexes: list[int], batch: Batch) -> None:
    """Add open interests, in contracts."""
    entries, frames = _entries(wire.read_open_interests, indexes, batch)
    entries, frames, listings = batch.known(entries, frames)
    _add_values(entries, frames, listings, {"open_interest": [e.oi for e in entries]}, batch)


def add_mark_prices(indexes: list[int], batch: Batch) -> None:
    """Add mark prices."""
    entries, frames = _entries(wire.read_mark_prices, indexes, batch)
    entries, frames, listings = batch.known(entries, frames)
    _add_values(entries, frames, listings, {"mark": [e.mark_px for e in entries]}, batch)


def add_index_tickers(indexes: list[int], batch: Batch) -> None:
    """Add index prices: a mark of the index listing, the index of every listing settled to it.

    No other channel tells the index behind an option.
    """
    entries, frames = _entries(wire.read_index_tickers, indexes, batch)
    entries, frames, listings = batch.known(entries, frames)
    prices, times = floats([e.idx_px for e in entries]), _times_ns(entries)
    own = np.full((len(TICKER_FIELDS), len(entries)), np.nan)
    own[[_MARK, _INDEX]] = prices
    batch.add_tickers(frames, listings, times, own)
    settled = {e.index: _settled_to(e.index, batch.symbols) for e in entries}
    groups = [ints([]), *(settled[e.index] for e in entries)]
    sizes = ints([len(group) for group in groups[1:]])
    shared = np.full((len(TICKER_FIELDS), sizes.sum()), np.nan)
    shared[_INDEX] = np.repeat(prices, sizes)
    batch.add_tickers(
        np.repeat(frames, sizes), np.concatenate(groups), np.repeat(times, sizes), shared
    )


def _settled_to(index: str, symbols: Mapping[str, int]) -> Ints:
    """Ids of the listings of an index's family, ascending: BTC-USD-SWAP is of BTC-USD."""
    family = index + "-"
    return np.sort(ints([i for symbol, i in symbols.items() if symbol.startswith(family)]))


def add_instruments(indexes: list[int], batch: Batch) -> None:
    """Add notices of what was listed, halted or ended, where it is or should be one of ours."""
    entries, frames = _entries(wire.read_instrument_states, indexes, batch)
    for entry, frame in zip(entries, frames.tolist(), strict=True):
        name, state = entry.instrument_name, STATES.get(entry.state)
        if why_left_out(entry) is not None:
            batch.skip("left_out")
        elif name not in batch.symbols and entry.uly + wire.INDEX_SUFFIX not in batch.symbols:
            batch.skip("unknown_symbol")
        elif state is None:
            words = ", ".join(STATES)
            batch.failures.append(
                (frame, f"{name[:64]} state was {entry.state[:32]!r}, not {words}")
            )
        else:
            batch.lifecycle.append(LifecycleNotice(int(batch.received[frame]), name, state))


def _add_values(
    entries: Sequence[_Valued],
    frames: Ints,
    listings: Ints,
    columns: Mapping[str, list[str]],
    batch: Batch,
) -> None:
    """Add tickers of some fields; entries with a text that is no number are failures."""
    read_values = numbers(list(chain.from_iterable(columns.values()))).reshape(len(columns), -1)
    bad = (read_values == _NO_NUMBER).any(axis=0)
    for at in np.flatnonzero(bad).tolist():
        texts = ", ".join(f"{field} {column[at][:32]!r}" for field, column in columns.items())
        message = f"{entries[at].instrument_name[:64]} had {texts}, expected decimal numbers"
        batch.failures.append((int(frames[at]), message))
    values = np.full((len(TICKER_FIELDS), len(entries)), np.nan)
    values[[TICKER_FIELDS.index(field) for field in columns]] = read_values
    good = ~bad
    times = _times_ns(entries)
    batch.add_tickers(frames[good], listings[good], times[good], values[:, good])


def numbers(texts: list[str]) -> Floats:
    """Column of decimal texts: NaN where the venue has no number, infinity for other words.

    Read all at once as a JSON list, which takes a third of float() of each.
    """
    words = [_MISSING.get(text, text) for text in texts]
    try:
        found = wire.read_numbers("[" + ",".join(words) + "]")
    except ValueError:
        found = []
    if len(found) != len(texts):  # a text may hold a comma
        found = [_number(word) for word in words]
    return floats(found)


def _number(word: str) -> float | None:
    try:
        (found,) = wire.read_numbers(f"[{word}]")
    except ValueError:
        return _NO_NUMBER
    return found
