"""Stage 2 of 8: Bybit frames to event rows, ticker rows and the frame table.

The family of a frame is in its topic. Numbers and times were checked when the message was read
(wire.py); one comprehension a column, as in Python the loop over messages is the cost.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Final

import numpy as np

from feeds.bytescan.scanner import ByteScanner
from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_DELTA_CODE,
    BOOK_SNAPSHOT_CODE,
    CODE,
    FLAGS_SHIFT,
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
from feeds.sequence import NO_PREVIOUS as COUNTS_ANEW
from feeds.trade_keys import keys_within
from feeds.venues.bybit import scan, wire
from feeds.venues.bybit.scan import RESTARTED_AT, SEQ_OF_UPDATE_0
from feeds.venues.bybit.universe import NAME, index_symbol

# A usual frame begins so. Frames of 2023 begin with their id: their topic is read.
PREFIX: Final = b'{"topic":"'
# By the first letters of the topic; the first that fits.
ROUTES: Final = (
    ("orderbook.1.", "top"),
    ("orderbook.", "book"),
    ("tickers.", "ticker"),
    ("publicTrade.", "trades"),
)
_ROUTES_OF_BYTES: Final = tuple((PREFIX + head.encode(), family) for head, family in ROUTES)

_BLOCK: Final = int(Flag.BLOCK) << FLAGS_SHIFT
_MARK, _INDEX = TICKER_FIELDS.index("mark"), TICKER_FIELDS.index("index")

SCANNER: Final = ByteScanner(scan.scan, bytes_per=(64, 10, 48))
warm_up: Final = SCANNER.warm_up

# Takes the frames of one family, by their indexes in ascending order.
Family = Callable[[list[int], Batch], None]


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
    by_family: defaultdict[str, list[int]] = defaultdict(list)
    for index in SCANNER.take(batch):
        frame = frames[index]
        family = next((f for head, f in _ROUTES_OF_BYTES if frame.startswith(head)), None)
        if family is None:
            family = _family_of(index, batch)
        if family is not None:
            by_family[family].append(index)
    for family, indexes in by_family.items():
        FAMILIES[family](indexes, batch)
    batch.write(out)


def _family_of(index: int, batch: Batch) -> str | None:
    """Read the envelope of a frame without the usual beginning; says its family, if it has one."""
    try:
        envelope = wire.read_envelope(batch.frames[index])
    except (ValueError, RecursionError) as error:
        batch.failures.append((index, str(error)))
        return None
    if envelope.topic is not None:
        for head, family in ROUTES:
            if envelope.topic.startswith(head):
                return family
        batch.skip("other_channel")
    elif envelope.op in ("ping", "pong"):
        batch.skip("heartbeat")
    elif envelope.success is not None:
        batch.skip("answer")
    else:
        batch.failures.append((index, "message was neither of a topic, a heartbeat nor an answer"))
    return None


def _add_books(indexes: list[int], batch: Batch) -> None:
    """Add snapshots and changes; update ids rise by one, and start again at a snapshot with 1."""
    messages, indexes = batch.messages(wire.read_book, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    block = batch.block(frames, listings, ints([m.time_ms for m in messages]) * NS_PER_MS)
    updates = ints([m.data.update_id for m in messages])
    changes = np.array([m.type == "delta" for m in messages], np.bool_)
    anew, follows = ~changes & (updates <= RESTARTED_AT), changes & (updates > 0)
    block[SEQ] = updates + SEQ_OF_UPDATE_0
    block[SEQ_PREV] = np.select(
        [anew, follows], [COUNTS_ANEW, updates - 1 + SEQ_OF_UPDATE_0], NO_PREVIOUS
    )
    block[CODE] = np.where(changes, BOOK_DELTA_CODE, BOOK_SNAPSHOT_CODE)
    block[BID_ROWS] = ints([len(m.data.bids) for m in messages])
    block[ASK_ROWS] = ints([len(m.data.asks) for m in messages])
    flat: list[float] = []
    for message in messages:
        for level in message.data.bids:
            flat += level
        for level in message.data.asks:
            flat += level
    prices, sizes = floats(flat).reshape(-1, 2).T
    batch.add_updates(block, prices, sizes)


def _add_tops(indexes: list[int], batch: Batch) -> None:
    """Add best prices of perpetuals and futures; a side without a level has no price."""
    messages, indexes = batch.messages(wire.read_top, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    block = batch.block(frames, listings, ints([m.time_ms for m in messages]) * NS_PER_MS)
    block[SEQ] = ints([m.data.update_id for m in messages])
    none = (np.nan, np.nan)
    sides = [
        level for m in messages for level in (*(m.data.bids or [none]), *(m.data.asks or [none]))
    ]
    block[BID_ROWS] = block[ASK_ROWS] = 1
    _add_quotes(block, floats(list(chain.from_iterable(sides))), batch)


def _add_quotes(block: Ints, values: Floats, batch: Batch) -> None:
    """Add quote rows of (price, size); without a price there is no size."""
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, QUOTE_CODE
    prices, sizes = values.reshape(-1, 2).T
    sizes[(prices == 0) | (sizes == 0)] = np.nan
    prices[prices == 0] = np.nan
    batch.add_updates(block, prices, sizes)


def _add_tickers(indexes: list[int], batch: Batch) -> None:
    """Add tickers, the best prices of options in them, and the index of perpetuals."""
    messages, indexes = batch.messages(wire.read_ticker, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    ex_ns = ints([m.ts for m in messages]) * NS_PER_MS
    tickers = [m.data for m in messages]
    _add_ticker_quotes(tickers, batch.block(frames, listings, ex_ns), batch)
    values = floats(
        [t.mark for t in tickers] + [t.iv_bid for t in tickers] + [t.iv_ask for t in tickers]
        + [t.iv_mark for t in tickers] + [t.forward for t in tickers] + [t.index for t in tickers]
        + [t.open_interest for t in tickers] + [t.delta for t in tickers]
        + [t.gamma for t in tickers] + [t.vega for t in tickers] + [t.theta for t in tickers]
    ).reshape(len(TICKER_FIELDS), -1)  # fmt: skip
    batch.add_tickers(frames, listings, ex_ns, values)
    _add_indexes(tickers, frames, ex_ns, batch)


def _add_ticker_quotes(tickers: list[wire.Ticker], block: Ints, batch: Batch) -> None:
    """Add the sides that the tickers name: both in a snapshot, those that changed in a change."""
    sides = floats([v for t in tickers for v in (t.bid, t.bid_size, t.ask, t.ask_size)])
    named = ~np.isnan(sides[::2])
    block[BID_ROWS], block[ASK_ROWS] = named.reshape(-1, 2).T
    quoting = block[BID_ROWS] + block[ASK_ROWS] > 0
    block[SEQ] = 0
    _add_quotes(block[:, quoting], sides.reshape(-1, 2)[named], batch)


def _add_indexes(tickers: list[wire.Ticker], frames: Ints, ex_ns: Ints, batch: Batch) -> None:
    """Add index prices in tickers of perpetuals, as marks of the index listings."""
    id_of = batch.symbols.get
    owners = [id_of(index_symbol(t.instrument_name), -1) for t in tickers]
    prices = floats([t.index for t in tickers])
    listings = ints(owners)
    there = (listings >= 0) & ~np.isnan(prices)
    if there.any():
        values = np.full((len(TICKER_FIELDS), int(there.sum())), np.nan)
        values[_MARK] = values[_INDEX] = prices[there]
        batch.add_tickers(frames[there], listings[there], ex_ns[there], values)


def _add_trades(indexes: list[int], batch: Batch) -> None:
    """Add prints."""
    messages, indexes = batch.messages(wire.read_trades, indexes)
    frames = batch.frames_of(indexes, [len(m.data) for m in messages])
    trades, frames, listings = batch.known(
        list(chain.from_iterable(m.data for m in messages)), frames
    )
    block = batch.block(frames, listings, ints([t.time_ms for t in trades]) * NS_PER_MS)
    block[SEQ] = ints([t.cross_sequence for t in trades])
    block[SEQ_PREV] = NO_PREVIOUS
    # Nothing says which prints are legs of one block: they have no structure number.
    block[CODE] = ints([TRADE_CODE | _BLOCK if t.block else TRADE_CODE for t in trades])
    bought = np.array([t.side == "Buy" for t in trades], np.bool_)
    block[BID_ROWS], block[ASK_ROWS] = bought, ~bought
    # Whether an id may name prints of two instruments is not documented.
    block[KEY] = keys_within([(t.instrument_name, t.trade_id) for t in trades])
    batch.add_updates(block, floats([t.price for t in trades]), floats([t.size for t in trades]))


FAMILIES: Final[dict[str, Family]] = {
    "top": _add_tops,
    "book": _add_books,
    "ticker": _add_tickers,
    "trades": _add_trades,
}
