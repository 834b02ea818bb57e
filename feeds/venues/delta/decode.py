"""Stage 2 of 8: Delta frames to event rows, ticker rows and the frame table.

One comprehension per column, whatever the dialect: fields that mean the same have one name.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_DELTA_CODE,
    BOOK_SNAPSHOT_CODE,
    BOOK_WINDOW_CODE,
    CODE,
    IVS,
    KEY,
    LAST,
    NO_PREVIOUS,
    NS_PER_MS,
    QUOTE_CODE,
    SEQ,
    SEQ_PREV,
    SIDE_BITS,
    SIDE_SHIFT,
    TICKER_FIELDS,
    TRADE_CODE,
    Batch,
    Floats,
    Ints,
    floats,
    ints,
)
from feeds.events import DecodeOut, LifecycleNotice, ListingState
from feeds.trade_keys import trade_key
from feeds.venues.delta import wire
from feeds.venues.delta.dialect import Dialect

NS_PER_US: Final = 1000
# Times are in microseconds, but one recorded frame has milliseconds: a time so small would be of
# 1970 in microseconds, and one so large of 2255 in milliseconds.
MS_BELOW: Final = 9 * 10**12

# What the venue says where it finds no volatility, as it does for prices below intrinsic value.
IV_FLOOR: Final = 0.000005
MARK, INDEX, INTEREST = (TICKER_FIELDS.index(f) for f in ("mark", "index", "open_interest"))

STATES: Final = {
    "operational": ListingState.LIVE,
    "disrupted_cancel_only": ListingState.HALTED,
    "disrupted_post_only": ListingState.HALTED,
}

Book = wire.L2Updates | wire.ObUpdates
Window = wire.L2Orderbook | wire.ObL2
# Takes the messages of one family and their frames' indexes, in ascending order.
Family = Callable[[list[Any], list[int], Batch], None]


def decode(
    venue: str,
    dialect: Dialect,
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames that are not market data are counted as skipped: `heartbeat`, `answer` (to a request of
    ours), `book_error` (a snapshot that the venue failed to send), `other_channel`. The last
    prints that follow a subscription are `trade_snapshot`: without ids they cannot be told from
    those seen. An instrument that `symbols` lacks is `unknown_symbol`.
    """
    batch = Batch(venue, frames, rx_ns, symbols)
    taken: defaultdict[Family, tuple[list[Any], list[int]]] = defaultdict(lambda: ([], []))
    for index, frame in enumerate(frames):
        try:
            message = dialect.read(frame)
        except (ValueError, RecursionError) as error:
            _rare(index, str(error), dialect, batch)
            continue
        messages, indexes = taken[FAMILIES[type(message)]]
        messages.append(message)
        indexes.append(index)
    for family, (messages, indexes) in taken.items():
        family(messages, indexes, batch)
    batch.write(out)


def _rare(index: int, complaint: str, dialect: Dialect, batch: Batch) -> None:
    """Count a frame that is no message of the channels we know, or is not sound."""
    try:
        envelope = wire.read_envelope(batch.frames[index])
    except (ValueError, RecursionError):
        batch.failures.append((index, complaint))
        return
    if envelope.action == "error":
        batch.skip("book_error")
    elif envelope.type in ("heartbeat", "pong"):
        batch.skip("heartbeat")
    elif envelope.type in ("subscriptions", "error"):
        batch.skip("answer")
    elif envelope.type == "all_trades_snapshot":
        batch.skip("trade_snapshot")
    elif not envelope.type or envelope.type in dialect.types:
        batch.failures.append((index, complaint))
    else:
        batch.skip("other_channel")


def _ns(times: Sequence[int | None]) -> Ints:
    """Venue's times as nanoseconds; none is 0."""
    column = ints([time or 0 for time in times])
    return column * np.where(column < MS_BELOW, NS_PER_MS, NS_PER_US)


def _add_books(messages: list[Book], indexes: list[int], batch: Batch) -> None:
    """Add snapshots and changes; each change follows the number before its own."""
    messages, frames, listings = batch.known(messages, ints(indexes))
    block = batch.block(frames, listings, _ns([m.time for m in messages]))
    block[SEQ] = ints([m.sequence for m in messages])
    snapshot = np.array([m.action == "snapshot" for m in messages], np.bool_)
    block[CODE] = np.where(snapshot, BOOK_SNAPSHOT_CODE, BOOK_DELTA_CODE)
    previous = block[SEQ] - 1
    # 0 would say that nothing came before, which this venue never says: it sends a snapshot.
    block[SEQ_PREV] = np.where(snapshot | (previous == 0), NO_PREVIOUS, previous)
    batch.add_updates(block, *_levels([(m.bids, m.asks) for m in messages], block))


def _add_windows(messages: list[Window], indexes: list[int], batch: Batch) -> None:
    """Add whole windows of books."""
    messages, frames, listings = batch.known(messages, ints(indexes))
    block = batch.block(frames, listings, _ns([m.time for m in messages]))
    block[SEQ] = ints([m.sequence for m in messages])
    block[SEQ_PREV] = NO_PREVIOUS
    block[CODE] = BOOK_WINDOW_CODE
    batch.add_updates(block, *_levels([(m.bids, m.asks) for m in messages], block))


def _levels(
    sides: Sequence[tuple[list[wire.Level], list[wire.Level]]], block: Ints
) -> tuple[Floats, Floats]:
    """Prices and sizes of all levels, bids before asks; writes how many each message has."""
    block[BID_ROWS] = ints([len(bids) for bids, _ in sides])
    block[ASK_ROWS] = ints([len(asks) for _, asks in sides])
    levels = [level for bids, asks in sides for level in chain(bids, asks)]
    return floats([price for price, _ in levels]), floats([size for _, size in levels])


def _add_quotes(
    messages: list[wire.L1Orderbook | wire.ObL1], indexes: list[int], batch: Batch
) -> None:
    """Add best bids and offers; a side without price or size is NaN, both."""
    messages, frames, listings = batch.known(messages, ints(indexes))
    block = batch.block(frames, listings, _ns([m.time for m in messages]))
    block[SEQ], block[SEQ_PREV] = 0, NO_PREVIOUS
    block[BID_ROWS] = block[ASK_ROWS] = 1
    block[CODE] = QUOTE_CODE
    prices = floats([price for m in messages for price in (m.bid, m.ask)])
    sizes = floats([size for m in messages for size in (m.bid_size, m.ask_size)])
    absent = ~(prices > 0) | ~(sizes > 0)
    prices[~(prices > 0)] = np.nan
    sizes[absent] = np.nan
    batch.add_updates(block, prices, sizes)


def _add_trades(
    messages: list[wire.AllTrades | wire.Trades], indexes: list[int], batch: Batch
) -> None:
    """Add prints. They have no id: what a print says is what it is known by."""
    messages, frames, listings = batch.known(messages, ints(indexes))
    block = batch.block(frames, listings, _ns([m.time for m in messages]))
    block[SEQ], block[SEQ_PREV] = 0, NO_PREVIOUS
    block[CODE] = TRADE_CODE
    block[BID_ROWS], block[ASK_ROWS] = 1, 0  # one row each, whatever its side
    texts = [f"{m.instrument_name} {m.time} {m.price} {m.size} {m.side}" for m in messages]
    block[KEY] = np.array([trade_key(text) for text in texts], np.uint64).view(np.int64)
    sides = ints([m.side for m in messages]) << SIDE_SHIFT & SIDE_BITS
    prices, sizes = floats([m.price for m in messages]), floats([m.size for m in messages])
    batch.add_updates(block, prices, sizes, TRADE_CODE | LAST | sides)


def _add_v2_tickers(messages: list[wire.V2Ticker], indexes: list[int], batch: Batch) -> None:
    """Add tickers of the long dialect."""
    messages, frames, listings = batch.known(messages, ints(indexes))
    greeks = [m.greeks or wire.NO_GREEKS for m in messages]
    quotes = [m.quotes or wire.NO_QUOTES for m in messages]
    values = floats(
        [m.mark_price for m in messages]
        + [q.bid_iv for q in quotes]
        + [q.ask_iv for q in quotes]
        + [q.mark_iv for q in quotes]
        + [None] * len(messages)
        + [m.spot_price for m in messages]
        + [m.oi_contracts for m in messages]
        + [g.delta for g in greeks]
        + [g.gamma for g in greeks]
        + [g.vega for g in greeks]
        + [g.theta for g in greeks]
    ).reshape(len(TICKER_FIELDS), -1)
    _drop_volatilities(values, [m.instrument_name for m in messages])
    batch.add_tickers(frames, listings, _ns([m.time for m in messages]), values)


def _add_tickers(messages: list[wire.Ticker], indexes: list[int], batch: Batch) -> None:
    """Add tickers of the short dialect, each of one or many instruments."""
    counts = [len(m.entries) for m in messages]
    owners = batch.frames_of(list(range(len(messages))), counts)
    entries = [entry for message in messages for entry in message.entries]
    entries, owners, listings = batch.known(entries, owners)
    times = _ns([m.time for m in messages])[owners]
    spots = floats([m.spot_price for m in messages])[owners]
    values = floats(
        [e.mark_price for e in entries]
        + [e.ivs[1] for e in entries]
        + [e.ivs[0] for e in entries]
        + [e.ivs[2] for e in entries]
        + [None] * len(entries)
        + spots.tolist()
        + [e.interest[0] for e in entries]
        + [e.greeks[0] for e in entries]
        + [e.greeks[1] for e in entries]
        + [e.greeks[4] for e in entries]
        + [e.greeks[3] for e in entries]
    ).reshape(len(TICKER_FIELDS), -1)
    _drop_volatilities(values, [e.instrument_name for e in entries])
    batch.add_tickers(ints(indexes)[owners], listings, times, values)


def _drop_volatilities(values: Floats, names: Sequence[str]) -> None:
    """Make NaN, in place, what is no volatility: the venue's floor, and its basis of futures."""
    option = np.array([name.startswith(("C-", "P-")) for name in names], np.bool_)
    volatilities = values[IVS]
    volatilities[(volatilities == IV_FLOOR) | ~option] = np.nan


def _add_marks(
    messages: list[wire.LongMarkPrice | wire.ShortMarkPrice], indexes: list[int], batch: Batch
) -> None:
    """Add mark prices."""
    messages, frames, listings = batch.known(messages, ints(indexes))
    values = np.full((len(TICKER_FIELDS), len(messages)), np.nan)
    values[MARK] = floats([m.price for m in messages])
    batch.add_tickers(frames, listings, _ns([m.time for m in messages]), values)


def _add_indexes(
    messages: list[wire.V2SpotPrice | wire.SpotPrice], indexes: list[int], batch: Batch
) -> None:
    """Add index prices, as marks of the index listings."""
    messages, frames, listings = batch.known(messages, ints(indexes))
    values = np.full((len(TICKER_FIELDS), len(messages)), np.nan)
    values[MARK] = values[INDEX] = floats([m.price for m in messages])
    batch.add_tickers(frames, listings, _ns([m.time for m in messages]), values)


def _add_states(messages: list[wire.ProductUpdates], indexes: list[int], batch: Batch) -> None:
    """Add what the venue says of the life of products."""
    for message, index in zip(messages, indexes, strict=True):
        name, word = message.product.symbol, message.product.trading_status
        state = STATES.get(word)
        if state is None:
            complaint = f"{name[:64]} trading_status was {word[:32]!r}, expected {list(STATES)}"
            batch.failures.append((index, complaint))
            continue
        rx_ns = int(batch.received[index])
        batch.lifecycle.append(LifecycleNotice(rx_ns, name, state))


FAMILIES: Final[dict[type, Family]] = {
    wire.L2Updates: _add_books,
    wire.ObUpdates: _add_books,
    wire.L2Orderbook: _add_windows,
    wire.ObL2: _add_windows,
    wire.L1Orderbook: _add_quotes,
    wire.ObL1: _add_quotes,
    wire.AllTrades: _add_trades,
    wire.Trades: _add_trades,
    wire.V2Ticker: _add_v2_tickers,
    wire.Ticker: _add_tickers,
    wire.LongMarkPrice: _add_marks,
    wire.ShortMarkPrice: _add_marks,
    wire.V2SpotPrice: _add_indexes,
    wire.SpotPrice: _add_indexes,
    wire.ProductUpdates: _add_states,
}
