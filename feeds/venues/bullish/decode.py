"""Stage 2 of 8: Bullish frames to event rows, ticker rows and the frame table."""

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
    CODE,
    FLAGS_SHIFT,
    KEY,
    LAST,
    NO_PREVIOUS,
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
from feeds.events import DecodeOut, Flag
from feeds.trade_keys import structure_code, trade_keys
from feeds.venues.bullish import wire
from feeds.venues.bullish.plan import TOPICS
from feeds.venues.bullish.universe import NAME

# A time so small would be of 1970 in microseconds, and one so small of that year in nanoseconds.
MS_BELOW: Final = 9 * 10**12
US_BELOW: Final = 9 * 10**15
MARK, MARK_IV, INDEX, INTEREST, DELTA, GAMMA, VEGA = map(
    TICKER_FIELDS.index,
    ("mark", "iv_mark", "index", "open_interest", "delta", "gamma", "vega"),
)

# Takes the data of one family and their frames' indexes, in ascending order.
Family = Callable[[list[Any], list[int], Batch], None]


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames that are not market data are counted as skipped: `heartbeat`, `answer` (to a request of
    ours), `no_data`, `other_channel`. The last prints that follow a subscription are
    `trade_snapshot`: most of them are older than the connection. An instrument that `symbols`
    lacks is `unknown_symbol`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    taken: defaultdict[Family, tuple[list[Any], list[int]]] = defaultdict(lambda: ([], []))
    for index, frame in enumerate(frames):
        try:
            message = wire.read(frame)
        except (ValueError, RecursionError) as error:
            _rare(index, str(error), batch)
            continue
        if message.data is None:
            batch.skip("no_data")
            continue
        family = FAMILIES.get((type(message), message.type))
        if family is None:
            batch.skip("trade_snapshot")
            continue
        found, indexes = taken[family]
        found.append(message.data)
        indexes.append(index)
    for family, (found, indexes) in taken.items():
        family(found, indexes, batch)
    batch.write(out)


def _rare(index: int, complaint: str, batch: Batch) -> None:
    """Count a frame that is no message of the channels we know, or is not sound."""
    try:
        envelope = wire.read_envelope(batch.frames[index])
    except (ValueError, RecursionError):
        batch.failures.append((index, complaint))
        return
    if envelope.data_type == "V1TAHeartbeat":
        batch.skip("heartbeat")
    elif envelope.data_type in TOPICS:
        batch.failures.append((index, complaint))
    elif envelope.data_type:
        batch.skip("other_channel")
    elif envelope.result is not None or envelope.error is not None:
        batch.skip("answer")
    else:
        batch.failures.append((index, complaint))


def _ns(times: Sequence[int]) -> Ints:
    """Venue's times as nanoseconds, whatever their unit."""
    column = ints(times)
    unit = np.where(column < MS_BELOW, 1_000_000, np.where(column < US_BELOW, 1000, 1))
    return column * unit


def _add_snapshots(books: list[wire.Level2], indexes: list[int], batch: Batch) -> None:
    """Add whole books; each starts the chain anew at the last number it covers."""
    books, frames, listings = batch.known(books, ints(indexes))
    block = _book_block(books, frames, listings, batch)
    block[CODE], block[SEQ_PREV] = BOOK_SNAPSHOT_CODE, NO_PREVIOUS
    batch.add_updates(block, *_levels(books))


def _add_changes(books: list[wire.Level2], indexes: list[int], batch: Batch) -> None:
    """Add changed levels; they follow the number before the first they cover."""
    books, frames, listings = batch.known(books, ints(indexes))
    block = _book_block(books, frames, listings, batch)
    block[CODE] = BOOK_DELTA_CODE
    previous = ints([b.sequences[0] for b in books]) - 1
    # 0 would say that nothing came before, which this venue never says: it sends a snapshot.
    block[SEQ_PREV] = np.where(previous > 0, previous, NO_PREVIOUS)
    batch.add_updates(block, *_levels(books))


def _book_block(books: list[wire.Level2], frames: Ints, listings: Ints, batch: Batch) -> Ints:
    block = batch.block(frames, listings, _ns([b.time for b in books]))
    block[SEQ] = ints([b.sequences[1] for b in books])
    block[BID_ROWS] = ints([len(b.bids) // 2 for b in books])
    block[ASK_ROWS] = ints([len(b.asks) // 2 for b in books])
    return block


def _levels(books: list[wire.Level2]) -> tuple[Floats, Floats]:
    """Prices and sizes of all levels, bids before asks."""
    flat = list(chain.from_iterable(side for b in books for side in (b.bids, b.asks)))
    prices, sizes = floats(flat).reshape(-1, 2).T
    return prices, sizes


def _add_quotes(quotes: list[wire.Level1], indexes: list[int], batch: Batch) -> None:
    """Add best bids and offers; a side without price or size is NaN, both."""
    quotes, frames, listings = batch.known(quotes, ints(indexes))
    block = batch.block(frames, listings, _ns([q.time for q in quotes]))
    block[SEQ], block[SEQ_PREV] = 0, NO_PREVIOUS
    block[BID_ROWS] = block[ASK_ROWS] = 1
    block[CODE] = QUOTE_CODE
    prices = floats([price for q in quotes for price in (q.bid[0], q.ask[0])])
    sizes = floats([size for q in quotes for size in (q.bid[1], q.ask[1])])
    sizes[(prices == 0) | (sizes == 0)] = np.nan
    prices[prices == 0] = np.nan
    batch.add_updates(block, prices, sizes)


def _add_trades(found: list[wire.Trades], indexes: list[int], batch: Batch) -> None:
    """Add the prints of all messages."""
    trades = [trade for message in found for trade in message.trades]
    owners = batch.frames_of(indexes, [len(message.trades) for message in found])
    trades, frames, listings = batch.known(trades, owners)
    block = batch.block(frames, listings, _ns([t.time for t in trades]))
    block[SEQ], block[SEQ_PREV] = 0, NO_PREVIOUS
    block[BID_ROWS], block[ASK_ROWS] = 1, 0  # one row each, whatever its side
    block[CODE] = ints([_code(t) for t in trades])
    block[KEY] = trade_keys([t.trade_id for t in trades])
    sides = ints([t.side for t in trades]) << SIDE_SHIFT & SIDE_BITS
    prices, sizes = floats([t.price for t in trades]), floats([t.size for t in trades])
    batch.add_updates(block, prices, sizes, block[CODE] | LAST | sides)


def _code(trade: wire.Trade) -> int:
    """Code of a print: an OTC match is a block, and a maker's print has its side worked out."""
    code = TRADE_CODE
    if not trade.taker and trade.auction_id is None:
        code |= int(Flag.AGGRESSOR_INFERRED) << FLAGS_SHIFT
    if trade.otc_id is not None:
        code |= structure_code(Flag.BLOCK, f"otc {trade.otc_id}")
    return code


def _add_ticks(ticks: list[wire.Tick], indexes: list[int], batch: Batch) -> None:
    """Add ticks; the venue gives no volatility of bid and ask, no forward and no index here."""
    ticks, frames, listings = batch.known(ticks, ints(indexes))
    values = np.full((len(TICKER_FIELDS), len(ticks)), np.nan)
    values[MARK] = floats([t.mark_price for t in ticks])
    values[MARK_IV] = floats([t.mark_iv for t in ticks])
    values[INTEREST] = floats([t.open_interest for t in ticks])
    values[DELTA] = floats([t.delta for t in ticks])
    values[GAMMA] = floats([t.gamma for t in ticks])
    values[VEGA] = floats([t.vega for t in ticks])
    batch.add_tickers(frames, listings, _ns([t.time for t in ticks]), values)


def _add_indexes(prices: list[wire.Index], indexes: list[int], batch: Batch) -> None:
    """Add index prices, as marks of the index listings."""
    prices, frames, listings = batch.known(prices, ints(indexes))
    values = np.full((len(TICKER_FIELDS), len(prices)), np.nan)
    values[MARK] = values[INDEX] = floats([p.price for p in prices])
    batch.add_tickers(frames, listings, _ns([p.time for p in prices]), values)


# By the message and its type. The last prints of a market, sent as a snapshot, have none.
FAMILIES: Final[dict[tuple[type, str], Family]] = {
    (wire.Level2Message, "snapshot"): _add_snapshots,
    (wire.Level2Message, "update"): _add_changes,
    (wire.Level1Message, "snapshot"): _add_quotes,
    (wire.Level1Message, "update"): _add_quotes,
    (wire.TradesMessage, "update"): _add_trades,
    (wire.TickMessage, "snapshot"): _add_ticks,
    (wire.TickMessage, "update"): _add_ticks,
    (wire.IndexMessage, "snapshot"): _add_indexes,
    (wire.IndexMessage, "update"): _add_indexes,
}
