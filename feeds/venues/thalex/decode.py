"""Stage 2 of 8: Thalex frames to event rows, ticker rows and the frame table.

A frame's family is in the first word of its channel. Updates of a book have no number: they are
chained by the total amounts of its sides, which feeds/checksums.py compares.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Final

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_CHAINED_CODE,
    BOOK_SNAPSHOT_CODE,
    CODE,
    FLAGS_SHIFT,
    KEY,
    NO_PREVIOUS,
    QUOTE_CODE,
    SEQ,
    SEQ_PREV,
    TICKER_FIELDS,
    TRADE_CODE,
    Batch,
    Ints,
    floats,
    ints,
)
from feeds.events import BookCheck, DecodeOut, Flag, LifecycleNotice, ListingState
from feeds.trade_keys import trade_keys
from feeds.venues.thalex import wire
from feeds.venues.thalex.universe import KINDS, NAME

# A usual frame begins so.
PREFIX: Final = b'{"channel_name":"'
_LEG: Final = int(Flag.COMBO_LEG) << FLAGS_SHIFT
_NONE: Final = (np.nan, np.nan)


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames that are not market data are skipped as `answer` (to a request or ping of ours),
    `refusal` and `other_channel`; entries of instruments that `symbols` lacks as `unknown_symbol`;
    trades from before the subscription as `older_trades`, the list of all instruments as
    `instruments`, and those that come and go of kinds we do not list as `other_kind`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    by_word: defaultdict[str, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        word: str | None = ""
        if frame.startswith(PREFIX):
            head = frame[len(PREFIX) : len(PREFIX) + WORD_BYTES_MAX]
            word = head.partition(b'"')[0].partition(b".")[0].decode("latin-1")
        if word not in FAMILIES:
            word = _word_of(index, batch)
        if word is not None:
            by_word[word].append(index)
    for word, indexes in by_word.items():
        FAMILIES[word](sorted(indexes), batch)
    batch.write(out)


def _word_of(index: int, batch: Batch) -> str | None:
    """Read the envelope of a frame without the usual beginning; says its word, if we use it."""
    try:
        envelope = wire.read_envelope(batch.frames[index])
    except (ValueError, RecursionError) as error:
        batch.failures.append((index, str(error)))
        return None
    if envelope.channel_name is not None:
        word = envelope.channel_name.partition(".")[0]
        if word in FAMILIES:
            return word
        batch.skip("other_channel")
    elif envelope.error is not None:
        batch.skip("refusal")
    elif bytes(envelope.result):
        batch.skip("answer")
    else:
        batch.failures.append((index, "message was neither of a channel nor an answer"))
    return None


def _add_books(indexes: list[int], batch: Batch) -> None:
    """Add snapshots and changes, each with what the totals are compared with.

    Rows have the outright amounts, without what combinations imply; the totals are of all. A level
    that is implied alone is none.
    """
    messages, indexes = batch.messages(wire.read_book, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    times = ints([m.time_ns for m in messages])
    block = batch.block(frames, listings, times)
    block[SEQ], block[SEQ_PREV] = times, NO_PREVIOUS
    whole = np.array([m.snapshot for m in messages], np.bool_)
    block[CODE] = np.where(whole, BOOK_SNAPSHOT_CODE, BOOK_CHAINED_CODE)
    books = [m.notification for m in messages]
    bids = [_outright(m.notification.bid_changes, -m.snapshot) for m in messages]
    asks = [_outright(m.notification.ask_changes, +m.snapshot) for m in messages]
    block[BID_ROWS], block[ASK_ROWS] = ints(list(map(len, bids))), ints(list(map(len, asks)))
    levels = chain.from_iterable(chain.from_iterable(zip(bids, asks, strict=True)))
    prices, sizes = floats(list(chain.from_iterable(levels))).reshape(-1, 2).T
    batch.add_updates(block, prices, sizes)
    batch.add_checks(
        frames,
        [BookCheck(_texts(b.bid_changes), _texts(b.ask_changes), b.totals) for b in books],
    )


def _outright(levels: list[wire.Level], best_first: int) -> list[tuple[float, float]]:
    """Prices and outright amounts: of a snapshot those that are there, in order; or all changes.

    best_first: -1 for the bids of a snapshot, 1 for its asks, 0 for changes. Nothing says in which
    order the venue lists the levels of a snapshot.
    """
    found = [(price, outright) for price, _, outright in levels if outright or not best_first]
    return sorted(found, key=lambda level: best_first * level[0])


def _texts(levels: list[wire.Level]) -> list[tuple[str, str]]:
    return [(repr(price), repr(amount)) for price, amount, _ in levels]


def _add_tickers(indexes: list[int], batch: Batch) -> None:
    """Add marks, volatilities, deltas, forwards, indexes and open interest."""
    messages, indexes = batch.messages(wire.read_ticker, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    tickers = [m.notification for m in messages]
    none = [np.nan] * len(tickers)
    values = floats(
        [t.mark_price for t in tickers] + none + none + [t.iv for t in tickers]
        + [t.forward for t in tickers] + [t.index for t in tickers]
        + [t.open_interest for t in tickers] + [t.delta for t in tickers] + none + none + none
    ).reshape(len(TICKER_FIELDS), -1)  # fmt: skip
    times = ints([wire.nanoseconds(t.mark_timestamp) for t in tickers])
    batch.add_tickers(frames, listings, times, values)


def _add_options(indexes: list[int], batch: Batch) -> None:
    """Add best prices and marks of whole chains."""
    messages, indexes = batch.messages(wire.read_options, indexes)
    entries = [
        wire.NamedOption(name, option)
        for m in messages
        for name, option in m.notification.tickers.items()
    ]
    counts = [len(m.notification.tickers) for m in messages]
    entries, frames, listings = batch.known(entries, batch.frames_of(indexes, counts))
    options = [entry.content for entry in entries]
    times = ints([wire.nanoseconds(option.time) for option in options])
    sides = [side or _NONE for option in options for side in (option.bid, option.ask)]
    _add_quotes(sides, batch.block(frames, listings, times), batch)
    none = [np.nan] * len(options)
    values = floats(
        [o.mark for o in options] + none + none + [o.iv for o in options]
        + [o.forward for o in options] + [o.index for o in options] + none * 5
    ).reshape(len(TICKER_FIELDS), -1)  # fmt: skip
    batch.add_tickers(frames, listings, times, values)


def _add_tops(indexes: list[int], batch: Batch) -> None:
    """Add best prices of futures and perpetuals, which come without a time."""
    messages, indexes = batch.messages(wire.read_tops, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    sides = [
        (level[0], level[2]) if level else _NONE
        for m in messages
        for level in (m.notification.b, m.notification.a)
    ]
    _add_quotes(sides, batch.block(frames, listings, ints([0] * len(messages))), batch)


def _add_quotes(sides: Sequence[Sequence[float]], block: Ints, batch: Batch) -> None:
    """Add quote rows of (price, size), a bid and an ask each; without both there is neither."""
    block[SEQ], block[SEQ_PREV], block[CODE] = 0, NO_PREVIOUS, QUOTE_CODE
    block[BID_ROWS] = block[ASK_ROWS] = 1
    prices, sizes = floats(list(chain.from_iterable(sides))).reshape(-1, 2).T
    nothing = ~(prices > 0) | ~(sizes > 0)
    prices[nothing] = sizes[nothing] = np.nan
    batch.add_updates(block, prices, sizes)


def _add_trades(indexes: list[int], batch: Batch) -> None:
    """Add prints, but for those of before the subscription."""
    messages, indexes = batch.messages(wire.read_trades, indexes)
    batch.skip("older_trades", sum(message.snapshot for message in messages))
    new = [(index, m) for index, m in zip(indexes, messages, strict=True) if not m.snapshot]
    frames = batch.frames_of([index for index, _ in new], [len(m.notification) for _, m in new])
    trades = [trade for _, message in new for trade in message.notification]
    keys = [key for _, message in new for key in _keys(message.notification)]
    keyed = [wire.KeyedTrade(t.instrument_name, t, k) for t, k in zip(trades, keys, strict=True)]
    keyed, found, listings = batch.known(keyed, frames)
    prints = [one.content for one in keyed]
    block = batch.block(found, listings, ints([wire.nanoseconds(t.time) for t in prints]))
    block[SEQ], block[SEQ_PREV] = 0, NO_PREVIOUS
    block[CODE] = ints([TRADE_CODE | _LEG if t.implied else TRADE_CODE for t in prints])
    block[BID_ROWS] = ints([t.side == "buy" for t in prints])
    block[ASK_ROWS] = 1 - block[BID_ROWS]
    block[KEY] = trade_keys([one.key for one in keyed])
    batch.add_updates(block, floats([t.price for t in prints]), floats([t.amount for t in prints]))


def _keys(trades: list[wire.Trade]) -> list[str]:
    """The venue numbers no trade: content, and which of the equal ones of its message it is."""
    seen: Counter[str] = Counter()
    keys = []
    for t in trades:
        key = f"{t.instrument_name} {t.time} {t.price} {t.amount} {t.side} {t.implied}"
        keys.append(f"{key} {seen[key]}")
        seen[key] += 1
    return keys


def _add_indexes(indexes: list[int], batch: Batch) -> None:
    """Add index prices, as marks of the index listings."""
    messages, indexes = batch.messages(wire.read_index, indexes)
    prices, frames, listings = batch.known([m.notification for m in messages], ints(indexes))
    values = np.full((len(TICKER_FIELDS), len(prices)), np.nan)
    values[TICKER_FIELDS.index("mark")] = floats([one.price for one in prices])
    values[TICKER_FIELDS.index("index")] = values[TICKER_FIELDS.index("mark")]
    times = ints([wire.nanoseconds(one.timestamp) for one in prices])
    batch.add_tickers(frames, listings, times, values)


def _add_turns(indexes: list[int], batch: Batch) -> None:
    """Note instruments that came and went; all that are active are discovery's."""
    messages, indexes = batch.messages(wire.read_turns, indexes)
    for index, message in zip(indexes, messages, strict=True):
        if message.snapshot:
            batch.skip("instruments")
            continue
        if not any(turn.added or turn.removed for turn in message.notification):
            batch.skip("no_entries")
        rx_ns = int(batch.received[index])
        for turn in message.notification:
            for named, state in (
                (turn.added, ListingState.LIVE), (turn.removed, ListingState.EXPIRED),
            ):  # fmt: skip
                if named is not None and named.type not in KINDS:
                    batch.skip("other_kind")
                elif named is not None:
                    notice = LifecycleNotice(rx_ns, named.instrument_name, state)
                    batch.lifecycle.append(notice)


# By the first word of a channel.
FAMILIES: Final[dict[str, Callable[[list[int], Batch], None]]] = {
    "book": _add_books,
    "ticker": _add_tickers,
    "lwt_options": _add_options,
    "lwt": _add_tops,
    "recent_trades": _add_trades,
    "price_index": _add_indexes,
    "instruments": _add_turns,
}
WORD_BYTES_MAX: Final = 64
