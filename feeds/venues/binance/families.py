"""Stage 2 of 8: families of frames that Binance's sockets of options and of futures have in common.

A family is in the name of its stream: `btc-261225-92000-c@depth10@100ms` is of `depth`.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_WINDOW_CODE,
    CODE,
    NO_PREVIOUS,
    NS_PER_MS,
    QUOTE_CODE,
    SEQ,
    SEQ_PREV,
    TICKER_FIELDS,
    Batch,
    Floats,
    Ints,
    floats,
    ints,
)
from feeds.venues.binance import wire

# The name of a stream: its instrument, then perhaps its kind and its depth.
_STREAM: Final = re.compile(
    rb'\s*\{\s*"stream"\s*:\s*"([ -!#-?A-~]*)(?:@([a-zA-Z]*)([0-9]*))?[^"]*"'
)

# Takes frames of one family, by index.
Family = Callable[[list[int], Batch], None]


def add_families(indexes: Iterable[int], families: Mapping[str, Family], batch: Batch) -> None:
    """Add frames by their families.

    Those of no family are skipped as `other_channel`, answers to requests of ours as `answer`;
    whatever is neither is a failure.
    """
    by_family: defaultdict[str, list[int]] = defaultdict(list)
    for index in indexes:
        stream = _STREAM.match(batch.frames[index])
        if stream is None:
            _skip_answer(index, batch)
            continue
        family = _family_of(stream[1], stream[2], stream[3])
        if family in families:
            by_family[family].append(index)
        else:
            batch.skip("other_channel")
    for family, members in by_family.items():
        families[family](members, batch)


def _family_of(head: bytes, kind: bytes | None, depth: bytes) -> str:
    """Name of a stream without its instrument and settings; a diff of depth has no number."""
    if kind is None:
        return head.decode()
    if kind == b"depth" and not depth:
        return "diff"
    return (head + b"@" + kind if head.startswith(b"!") else kind).decode()


def _skip_answer(index: int, batch: Batch) -> None:
    """Count an answer to a request of ours; anything else is an error."""
    try:
        answer = wire.read_answer(batch.frames[index])
    except (ValueError, RecursionError) as error:
        batch.failures.append((index, str(error)))
        return
    if answer.id is None and answer.error is None and answer.code is None:
        batch.failures.append((index, "message was neither of a stream nor an answer"))
    else:
        batch.skip("answer")


def add_quotes(indexes: list[int], batch: Batch) -> None:
    """Add best bids and offers."""
    quotes, indexes = read(wire.read_quote, indexes, batch)
    quotes, frames, listings = batch.known(quotes, ints(indexes))
    block = batch.block(frames, listings, times_ns(quotes))
    block[SEQ] = ints([q.last_id for q in quotes])
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, QUOTE_CODE
    add_quote_rows(block, quotes, batch)


def add_quote_rows(block: Ints, quotes: Sequence[Any], batch: Batch) -> None:
    """A bid row and an ask row each; price 0 is a side without a price."""
    block[BID_ROWS] = block[ASK_ROWS] = 1
    prices = floats([p for q in quotes for p in (q.bid, q.ask)])
    sizes = floats([s for q in quotes for s in (q.bid_size, q.ask_size)])
    sizes[(prices == 0) | (sizes == 0)] = np.nan
    prices[prices == 0] = np.nan
    batch.add_updates(block, prices, sizes)


def add_windows(indexes: list[int], batch: Batch) -> None:
    """Add the best levels of books, whole each time."""
    books, indexes = read(wire.read_depth, indexes, batch)
    books, frames, listings = batch.known(books, ints(indexes))
    block = batch.block(frames, listings, times_ns(books))
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


def no_values(count: int) -> Floats:
    """Values of tickers, in the order of TICKER_FIELDS, none of which is known yet."""
    return np.full((len(TICKER_FIELDS), count), np.nan)


def times_ns(entries: Sequence[Any]) -> Ints:
    """The venue's times of entries, ns UTC."""
    return ints([entry.time_ms for entry in entries]) * NS_PER_MS


def read(
    reader: Callable[[bytes], Any], indexes: list[int], batch: Batch
) -> tuple[list[Any], list[int]]:
    """Read frames and count the bad ones; returns the data of the good ones, their indexes."""
    messages, good = batch.messages(reader, indexes)
    return [message.data for message in messages], good
