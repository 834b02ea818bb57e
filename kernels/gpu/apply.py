"""Stage 4 of 8: a tick's updates, in order per listing, into books, flow and decayed sums.

    warp -> one touched listing; loop -> its updates, in order; lane -> one level of each side

A busy listing holds up no other: each has a warp of its own. Its levels stay in registers, one a
lane, so a level is found, put in or taken out by a vote and a shuffle, whatever its depth. What
hangs on an update is done by lane 0, by the same functions as on the CPU, in the same order:
where a batch is cut does not change a bit (docs/decisions/0010-order-on-a-gpu.md).
"""

import numpy as np
from numba import cuda

from kernels import columns as c
from kernels.arrays import Batch, Books, Columns, I64x1, I64x2
from kernels.gpu import words
from kernels.rows.trades import apply_trade
from kernels.rows.updates import (
    BOOK_DELTA,
    BOOK_SNAPSHOT,
    CLEAR,
    SNAPSHOT_START,
    STATE_CHANGE,
    TRADE,
    begins_book,
    change_state,
    finish_update,
    gives_book_back,
    is_quote,
    last_row,
    quote_rows,
)

ALL_LANES = 0xFFFFFFFF
ZERO = np.float32(0)
NO_PRICE = np.int32(c.NO_PRICE)


def apply(tick: I64x1, batch: Batch, columns: Columns, books: Books, counters: I64x2) -> None:
    """Apply one batch.

    counters: int64[warp, counter] of kernels.columns.COUNTER_NAMES, added to.
    """
    warp = cuda.grid(1) // 32
    for s in range(warp, tick[words.SEGMENTS], cuda.gridsize(1) // 32):
        apply_listing(
            batch.listing[s], batch.start[s], batch.start[s + 1], batch, columns, books,
            counters[warp],
        )  # fmt: skip


def plain_update(
    i: int, k: int, end: int, batch: Batch, columns: Columns, books: Books, count: I64x1
) -> None:
    """Take one update that moves no level: prints, a change of state, a quote; one lane."""
    kind = batch.kind[k]
    if kind == TRADE:
        for row in range(k, end + 1):
            apply_trade(i, row, batch, columns, count)
    elif kind == STATE_CHANGE:
        change_state(i, batch.level[end], batch.rx_ns[end], columns)
    elif is_quote(kind) and columns.u8[c.HAS_BOOK, i] != 0:
        count[c.QUOTES_SUPERSEDED] += 1
    elif kind != CLEAR or columns.u8[c.HAS_STATE, i] != 0:
        old_bid, old_ask = columns.i32[c.BID, i], columns.i32[c.ASK, i]
        old_bid_size, old_ask_size = columns.f32[c.BID_SIZE, i], columns.f32[c.ASK_SIZE, i]
        gap, zero_size = quote_rows(i, k, end + 1, batch, columns)
        changed = (
            columns.i32[c.BID, i] != old_bid
            or columns.f32[c.BID_SIZE, i] != old_bid_size
            or columns.i32[c.ASK, i] != old_ask
            or columns.f32[c.ASK_SIZE, i] != old_ask_size
        )
        finish_update(
            i, np.int32(c.NO_SLOT), gap, zero_size, changed, end,
            old_bid != c.NO_PRICE and old_ask != c.NO_PRICE,
            old_bid, old_bid_size, old_ask, old_ask_size, batch, columns, books,
        )  # fmt: skip


def apply_listing(
    i: int, start: int, stop: int, batch: Batch, columns: Columns, books: Books, count: I64x1
) -> None:
    """Walk one listing's rows update by update; the whole warp."""
    lane = np.int32(cuda.laneid)
    slot = columns.i32[c.SLOT, i]
    has_book = slot != c.NO_SLOT and columns.u8[c.HAS_BOOK, i] != 0
    has_state = columns.u8[c.HAS_STATE, i] != 0
    bid, bid_size, bids = NO_PRICE, ZERO, np.int32(0)
    ask, ask_size, asks = NO_PRICE, ZERO, np.int32(0)
    if slot != c.NO_SLOT:
        bid, bid_size = books.price[slot, 0, lane], books.size[slot, 0, lane]
        ask, ask_size = books.price[slot, 1, lane], books.size[slot, 1, lane]
        bids, asks = books.levels[slot, 0], books.levels[slot, 1]
    cuda.syncwarp()
    k = start
    while k < stop:
        end = last_row(k, stop, batch)
        kind = batch.kind[k]
        has_book = has_book or (slot != c.NO_SLOT and begins_book(kind))
        moves_levels = kind != TRADE and kind != STATE_CHANGE and not is_quote(kind)
        if lane == 0:
            count[c.ROWS_APPLIED] += end + 1 - k
            if has_book:
                columns.u8[c.HAS_BOOK, i] = 1
            if not has_book or not moves_levels:
                plain_update(i, k, end, batch, columns, books, count)
        if has_book and moves_levels and (kind != CLEAR or has_state):
            bid, bid_size, bids, ask, ask_size, asks = book_update(
                i, slot, k, end, lane, bid, bid_size, bids, ask, ask_size, asks, batch, columns,
                books, count,
            )  # fmt: skip
        has_state = has_state or is_quote(kind) or begins_book(kind)
        if gives_book_back(kind, batch.level[end]):
            has_book = False
            if lane == 0:
                columns.u8[c.HAS_BOOK, i] = 0
        k = end + 1
    if slot != c.NO_SLOT:
        books.price[slot, 0, lane], books.size[slot, 0, lane] = bid, bid_size
        books.price[slot, 1, lane], books.size[slot, 1, lane] = ask, ask_size


def book_update(
    i: int, slot: int, k: int, end: int, lane: int, bid: int, bid_size: float, bids: int,
    ask: int, ask_size: float, asks: int, batch: Batch, columns: Columns, books: Books,
    count: I64x1,
) -> tuple[int, float, int, int, float, int]:  # fmt: skip
    """Take one atomic book update; returns the lane's levels and the counts of levels."""
    cuda.syncwarp()  # Every lane reads what lane 0 wrote for the update before.
    old_bid, old_bid_size, old_bids = bid, bid_size, min(bids, c.LEVELS_USED)
    old_ask, old_ask_size, old_asks = ask, ask_size, min(asks, c.LEVELS_USED)
    if bids == 0 and asks == 0:
        # A listing's first book: what stood before is its last quote, if it had one.
        old_bid, old_bid_size = columns.i32[c.BID, i], columns.f32[c.BID_SIZE, i]
        old_ask, old_ask_size = columns.i32[c.ASK, i], columns.f32[c.ASK_SIZE, i]
        old_bids = np.int32(0 if old_bid == c.NO_PRICE else 1)
        old_asks = np.int32(0 if old_ask == c.NO_PRICE else 1)
    elif lane == 0:
        old_bid, old_bid_size = top_or_none(bid, bid_size, bids)
        old_ask, old_ask_size = top_or_none(ask, ask_size, asks)
    gap = columns.validity[i] & c.GAP != 0
    cut_bid, cut_ask = books.truncated[slot, 0] != 0, books.truncated[slot, 1] != 0
    cuda.syncwarp()  # Every lane has read what lane 0 writes below.
    bid, bid_size, bids, cut_bid, ask, ask_size, asks, cut_ask, gap, zero_size = book_rows(
        i, k, end, lane, gap, bid, bid_size, bids, cut_bid, ask, ask_size, asks, cut_ask, batch,
        columns, count,
    )  # fmt: skip
    bids_used, asks_used = min(bids, c.LEVELS_USED), min(asks, c.LEVELS_USED)
    other_bid = lane < bids_used and (bid != old_bid or bid_size != old_bid_size)
    other_ask = lane < asks_used and (ask != old_ask or ask_size != old_ask_size)
    changed = bids_used != old_bids or asks_used != old_asks
    changed = changed or cuda.ballot_sync(ALL_LANES, other_bid or other_ask) != 0
    if lane == 0:
        books.levels[slot, 0], books.levels[slot, 1] = bids, asks
        books.truncated[slot, 0], books.truncated[slot, 1] = cut_bid, cut_ask
        columns.i32[c.BID, i], columns.f32[c.BID_SIZE, i] = top_or_none(bid, bid_size, bids)
        columns.i32[c.ASK, i], columns.f32[c.ASK_SIZE, i] = top_or_none(ask, ask_size, asks)
        finish_update(
            i, slot, gap, zero_size, changed, end, old_bids > 0 and old_asks > 0,
            old_bid, old_bid_size, old_ask, old_ask_size, batch, columns, books,
        )  # fmt: skip
    return bid, bid_size, bids, ask, ask_size, asks


def book_rows(
    i: int, k: int, end: int, lane: int, gap: bool, bid: int, bid_size: float, bids: int,
    cut_bid: bool, ask: int, ask_size: float, asks: int, cut_ask: bool, batch: Batch,
    columns: Columns, count: I64x1,
) -> tuple[int, float, int, bool, int, float, int, bool, bool, bool]:  # fmt: skip
    """Apply the rows of one book update to the levels; `cut` says that a side lost a level.

    Returns both sides, whether the book is unknown, and whether a level came without a size.
    """
    zero_size = False
    for row in range(k, end + 1):
        kind, ticks, size = batch.kind[row], batch.ticks[row], batch.size[row]
        if kind == c.VOIDED_BOOK:
            kind = np.uint8(CLEAR)
            if lane == 0:  # The feed believes the book; we lost a piece of it.
                columns.u8[c.NEEDS_RESYNC, i] = 1
        if kind == CLEAR or (kind == BOOK_SNAPSHOT and batch.flags[row] & SNAPSHOT_START):
            gap = kind == CLEAR
            bids, asks, cut_bid, cut_ask = np.int32(0), np.int32(0), False, False
        there = kind != CLEAR and ticks != c.NO_PRICE
        # The feed refuses changes in a gap; a second lock costs nothing.
        refused = there and kind == BOOK_DELTA and gap
        empty = there and kind == BOOK_SNAPSHOT and not size > ZERO
        zero_size = zero_size or empty
        pushed = False
        if there and not refused and not empty:
            if batch.side[row] > 0:
                better = lane < bids and bid > ticks
                bid, bid_size, bids, pushed = set_level(
                    lane, better, ticks, size, bid, bid_size, bids
                )
                cut_bid = cut_bid or pushed
            else:
                better = lane < asks and ask < ticks
                ask, ask_size, asks, pushed = set_level(
                    lane, better, ticks, size, ask, ask_size, asks
                )
                cut_ask = cut_ask or pushed
        if lane == 0:
            count[c.DELTAS_IN_GAP] += refused
            count[c.LEVELS_PUSHED_OUT] += pushed
    return bid, bid_size, bids, cut_bid, ask, ask_size, asks, cut_ask, gap, zero_size


def top_or_none(price: int, size: float, levels: int) -> tuple[int, float]:
    """Best level of a side; NO_PRICE and 0 where there is none."""
    there = levels > 0
    return (price if there else NO_PRICE), (size if there else ZERO)


def set_level(
    lane: int, better: bool, ticks: int, size: float, price: int, level_size: float, levels: int
) -> tuple[int, float, int, bool]:
    """Set one level of a side to an absolute size, 0 removes it.

    Returns the lane's level, the levels in use, and whether one fell off the end. Lanes beyond the
    levels in use keep what they held: the CPU leaves it in memory, too.
    """
    at = np.int32(cuda.popc(cuda.ballot_sync(ALL_LANES, better)))
    found = cuda.ballot_sync(ALL_LANES, lane < levels and price == ticks) != 0
    next_price = cuda.shfl_down_sync(ALL_LANES, price, 1)
    next_size = cuda.shfl_down_sync(ALL_LANES, level_size, 1)
    price_before = cuda.shfl_up_sync(ALL_LANES, price, 1)
    size_before = cuda.shfl_up_sync(ALL_LANES, level_size, 1)
    if found and size > ZERO:
        return price, (size if lane == at else level_size), levels, False
    if found:
        moves = at <= lane < levels - 1
        return (
            (next_price if moves else price), (next_size if moves else level_size),
            np.int32(levels - 1), False,
        )  # fmt: skip
    if not size > ZERO:
        return price, level_size, levels, False
    full = levels == c.LEVELS_KEPT
    if full and at == levels:
        return price, level_size, levels, True
    moves = at < lane <= (levels - 1 if full else levels)
    price = ticks if lane == at else (price_before if moves else price)
    level_size = size if lane == at else (size_before if moves else level_size)
    return price, level_size, (levels if full else np.int32(levels + 1)), full
