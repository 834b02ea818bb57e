"""Stage 2 of 8: frames of Binance's spot market to event rows and the frame table.

The family of a frame is in the name of its stream. Windows and best prices have no time of the
venue's; nothing here has a ticker.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_WINDOW_CODE,
    CODE,
    KEY,
    NO_PREVIOUS,
    QUOTE_CODE,
    SEQ,
    SEQ_PREV,
    TRADE_CODE,
    Batch,
    Ints,
    floats,
    ints,
)
from feeds.events import DecodeOut
from feeds.trade_keys import keys_within
from feeds.venues.binance.families import (
    Family,
    add_families,
    add_quote_rows,
    read,
    times_ns,
)
from feeds.venues.binance_spot import wire
from feeds.venues.binance_spot.universe import NAME


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames without rows for us are skipped as `answer` (to a request of ours) and `other_channel`;
    frames of pairs that `symbols` lacks as `unknown_symbol`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    add_families(range(len(frames)), FAMILIES, batch)
    batch.write(out)


def _add_windows(indexes: list[int], batch: Batch) -> None:
    """Add the best levels of books, whole each time."""
    windows, indexes = batch.messages(wire.read_window, indexes)
    windows, frames, listings = batch.known(windows, ints(indexes))
    books = [window.data for window in windows]
    block = _untimed_block(frames, listings, batch)
    block[SEQ] = ints([b.last_id for b in books])
    block[CODE] = BOOK_WINDOW_CODE
    block[BID_ROWS] = ints([len(b.bids) for b in books])
    block[ASK_ROWS] = ints([len(b.asks) for b in books])
    levels = list(chain.from_iterable(chain(b.bids, b.asks) for b in books))
    prices, sizes = floats(list(chain.from_iterable(levels))).reshape(-1, 2).T
    batch.add_updates(block, prices, sizes)


def _add_quotes(indexes: list[int], batch: Batch) -> None:
    """Add best bids and offers."""
    quotes, indexes = read(wire.read_quote, indexes, batch)
    quotes, frames, listings = batch.known(quotes, ints(indexes))
    block = _untimed_block(frames, listings, batch)
    block[SEQ] = ints([q.last_id for q in quotes])
    block[CODE] = QUOTE_CODE
    add_quote_rows(block, quotes, batch)


def _untimed_block(frames: Ints, listings: Ints, batch: Batch) -> Ints:
    block = batch.block(frames, listings, np.zeros(len(frames), np.int64))
    block[SEQ_PREV] = NO_PREVIOUS
    return block


def _add_prints(indexes: list[int], batch: Batch) -> None:
    """Add prints."""
    prints, indexes = read(wire.read_print, indexes, batch)
    prints, frames, listings = batch.known(prints, ints(indexes))
    block = batch.block(frames, listings, times_ns(prints))
    block[SEQ] = ints([p.trade_id for p in prints])
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, TRADE_CODE
    sold = np.array([p.bought_by_maker for p in prints], np.bool_)
    block[BID_ROWS], block[ASK_ROWS] = ~sold, sold
    # Ids are counted per pair.
    block[KEY] = keys_within([(p.instrument_name, str(p.trade_id)) for p in prints])
    batch.add_updates(block, floats([p.price for p in prints]), floats([p.size for p in prints]))


FAMILIES: Final[dict[str, Family]] = {
    "depth": _add_windows,
    "bookTicker": _add_quotes,
    "trade": _add_prints,
}
