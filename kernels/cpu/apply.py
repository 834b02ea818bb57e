"""Stage 4 of 8: a tick's updates, in order per listing, into books, flow and decayed sums.

    stripe -> segments of touched listings; loop -> updates of one listing, in order

A listing's updates are one chain: nothing is shared between listings, so segments run in
parallel, and where a batch is cut does not change a bit.
"""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Batch, Books, Columns, PerThread
from kernels.laws.book import event_ofi
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
from kernels.threads import share

ZERO = np.float32(0)


def apply(
    stripe: int, stripes: int, batch: Batch, columns: Columns, books: Books,
    bar: NDArray[np.float64], per_thread: PerThread,
) -> None:  # fmt: skip
    """Apply one batch.

    bar: float64[listing or 0, level], sums of event OFI since the bar began; 0 rows = not wanted.
    """
    first, stop = share(stripe, stripes, batch.listing.size)
    for s in range(first, stop):
        apply_listing(
            batch.listing[s], batch.start[s], batch.start[s + 1], batch, columns, books, bar,
            per_thread.counters[stripe], per_thread.old_price[stripe], per_thread.old_size[stripe],
        )  # fmt: skip


def apply_listing(
    i: int, start: int, stop: int, batch: Batch, columns: Columns, books: Books,
    bar: NDArray[np.float64], count: NDArray[np.int64], old_price: NDArray[np.int32],
    old_size: NDArray[np.float32],
) -> None:  # fmt: skip
    """Walk one listing's rows update by update; the last row of a segment closes an update."""
    k = start
    while k < stop:
        kind = batch.kind[k]
        end = last_row(k, stop, batch)
        count[c.ROWS_APPLIED] += end + 1 - k
        if kind == TRADE:
            for row in range(k, end + 1):
                apply_trade(i, row, batch, columns, count)
        elif kind == STATE_CHANGE:
            change_state(i, batch.level[end], batch.rx_ns[end], columns)
        elif is_quote(kind) and columns.u8[c.HAS_BOOK, i] != 0:
            count[c.QUOTES_SUPERSEDED] += 1
        elif kind != CLEAR or columns.u8[c.HAS_STATE, i] != 0:
            update_book(i, k, end + 1, batch, columns, books, bar, count, old_price, old_size)
        if gives_book_back(kind, batch.level[end]):
            columns.u8[c.HAS_BOOK, i] = 0
        k = end + 1


def update_book(
    i: int, k: int, stop: int, batch: Batch, columns: Columns, books: Books,
    bar: NDArray[np.float64], count: NDArray[np.int64], old_price: NDArray[np.int32],
    old_size: NDArray[np.float32],
) -> None:  # fmt: skip
    """Take one atomic quote or book update and evaluate everything that hangs on it once."""
    slot = columns.i32[c.SLOT, i]
    if slot != c.NO_SLOT and columns.u8[c.HAS_BOOK, i] == 0:
        # A batch gives its books their slots beforehand; until one comes, quotes are the top.
        if begins_book(batch.kind[k]):
            columns.u8[c.HAS_BOOK, i] = 1
        else:
            slot = np.int32(c.NO_SLOT)
    if slot == c.NO_SLOT:
        old_bids, old_asks = keep_top(i, columns, old_price, old_size)
        gap, zero_size = quote_rows(i, k, stop, batch, columns)
    else:
        if books.levels[slot, 0] == 0 and books.levels[slot, 1] == 0:
            # A listing's first book: what stood before is its last quote, if it had one.
            old_bids, old_asks = keep_top(i, columns, old_price, old_size)
        else:
            old_bids, old_asks = keep_levels(slot, books, old_price, old_size)
        gap, zero_size = book_rows(i, slot, k, stop, batch, columns, books, count)
        top_of(i, slot, columns, books)
    before = columns.validity[i]
    changed = used_book_changed(i, slot, columns, books, old_bids, old_asks, old_price, old_size)
    finish_update(
        i, slot, gap, zero_size, changed, stop - 1, old_bids > 0 and old_asks > 0,
        old_price[0, 0], old_size[0, 0], old_price[1, 0], old_size[1, 0], batch, columns, books,
    )  # fmt: skip
    if bar.shape[0] > 0:
        measure_bar(i, slot, before, columns, books, bar, old_bids, old_asks, old_price, old_size)


def keep_top(
    i: int, columns: Columns, old_price: NDArray[np.int32], old_size: NDArray[np.float32]
) -> tuple[int, int]:
    """Copy the top of book before an update; a side that is not there counts 0 levels."""
    old_price[0, 0] = columns.i32[c.BID, i]
    old_price[1, 0] = columns.i32[c.ASK, i]
    old_size[0, 0] = columns.f32[c.BID_SIZE, i]
    old_size[1, 0] = columns.f32[c.ASK_SIZE, i]
    bids = 0 if old_price[0, 0] == c.NO_PRICE else 1
    asks = 0 if old_price[1, 0] == c.NO_PRICE else 1
    return bids, asks


def keep_levels(
    slot: int, books: Books, old_price: NDArray[np.int32], old_size: NDArray[np.float32]
) -> tuple[int, int]:
    """Copy the used book before an update; absent tops read NO_PRICE and size 0."""
    for side in range(2):
        levels = min(books.levels[slot, side], c.LEVELS_USED)
        old_price[side, 0] = c.NO_PRICE
        old_size[side, 0] = ZERO
        for m in range(levels):
            old_price[side, m] = books.price[slot, side, m]
            old_size[side, m] = books.size[slot, side, m]
    return (
        min(books.levels[slot, 0], c.LEVELS_USED),
        min(books.levels[slot, 1], c.LEVELS_USED),
    )


def book_rows(
    i: int, slot: int, k: int, stop: int, batch: Batch, columns: Columns, books: Books,
    count: NDArray[np.int64],
) -> tuple[bool, bool]:  # fmt: skip
    """Apply the rows of one book update to the levels; says (gap, a level came without size)."""
    gap = columns.validity[i] & c.GAP != 0
    zero_size = False
    for row in range(k, stop):
        kind = batch.kind[row]
        if kind == c.VOIDED_BOOK:
            columns.u8[c.NEEDS_RESYNC, i] = 1  # The feed believes the book; we lost a piece of it.
            kind = CLEAR
        if kind == CLEAR or (kind == BOOK_SNAPSHOT and batch.flags[row] & SNAPSHOT_START):
            gap = kind == CLEAR
            for side in range(2):
                books.levels[slot, side] = 0
                books.truncated[slot, side] = 0
        if kind == CLEAR or batch.ticks[row] == c.NO_PRICE:
            continue
        if kind == BOOK_DELTA and gap:  # The feed refuses these; a second lock costs nothing.
            count[c.DELTAS_IN_GAP] += 1
            continue
        if kind == BOOK_SNAPSHOT and not batch.size[row] > ZERO:
            zero_size = True
            continue
        side = 0 if batch.side[row] > 0 else 1
        count[c.LEVELS_PUSHED_OUT] += set_level(
            books, slot, side, batch.ticks[row], batch.size[row]
        )
    return gap, zero_size


def set_level(books: Books, slot: int, side: int, ticks: int, size: float) -> int:
    """Set one level to an absolute size, 0 removes it; returns 1 if a level fell off the end.

    Linear search from the best: most changes are near the touch.
    """
    price, sizes = books.price[slot, side], books.size[slot, side]
    levels = books.levels[slot, side]
    at = 0
    if side == 0:
        while at < levels and price[at] > ticks:
            at += 1
    else:
        while at < levels and price[at] < ticks:
            at += 1
    if at < levels and price[at] == ticks:
        if size > ZERO:
            sizes[at] = size
        else:
            remove_level(books, slot, side, at)
        return 0
    return insert_level(books, slot, side, at, ticks, size) if size > ZERO else 0


def remove_level(books: Books, slot: int, side: int, at: int) -> None:
    """Take one level out and close the hole."""
    price, sizes = books.price[slot, side], books.size[slot, side]
    levels = books.levels[slot, side]
    for m in range(at, levels - 1):
        price[m] = price[m + 1]
        sizes[m] = sizes[m + 1]
    books.levels[slot, side] = levels - 1


def insert_level(books: Books, slot: int, side: int, at: int, ticks: int, size: float) -> int:
    """Put one level in at its place; returns 1 if the last one fell off a full side."""
    price, sizes = books.price[slot, side], books.size[slot, side]
    levels = books.levels[slot, side]
    pushed = 0
    if levels == c.LEVELS_KEPT:
        books.truncated[slot, side] = 1
        pushed = 1
        if at == levels:
            return pushed
        levels -= 1
    for m in range(levels, at, -1):
        price[m] = price[m - 1]
        sizes[m] = sizes[m - 1]
    price[at] = ticks
    sizes[at] = size
    books.levels[slot, side] = levels + 1
    return pushed


def top_of(i: int, slot: int, columns: Columns, books: Books) -> None:
    """Copy the best level of each side into the top-of-book columns."""
    for side in range(2):
        there = books.levels[slot, side] > 0
        columns.i32[c.BID + side, i] = books.price[slot, side, 0] if there else np.int32(c.NO_PRICE)
        columns.f32[c.BID_SIZE + side, i] = books.size[slot, side, 0] if there else ZERO


def measure_bar(
    i: int, slot: int, before: int, columns: Columns, books: Books,
    bar: NDArray[np.float64], old_bids: int, old_asks: int, old_price: NDArray[np.int32],
    old_size: NDArray[np.float32],
) -> None:  # fmt: skip
    """Plain sums of event OFI per level; locked and crossed states count, absent levels do not."""
    if (before | columns.validity[i]) & c.BREAKS_BAR:
        return
    old_levels = min(old_bids, old_asks)
    if slot == c.NO_SLOT:
        bid, ask = columns.i32[c.BID, i], columns.i32[c.ASK, i]
        if old_levels and bid != c.NO_PRICE and ask != c.NO_PRICE:
            bar[i, 0] += event_ofi(
                bid, columns.f32[c.BID_SIZE, i], ask, columns.f32[c.ASK_SIZE, i],
                old_price[0, 0], old_size[0, 0], old_price[1, 0], old_size[1, 0],
            )  # fmt: skip
        return
    levels = min(min(books.levels[slot, 0], books.levels[slot, 1]), old_levels)
    for m in range(levels):
        bar[i, m] += event_ofi(
            books.price[slot, 0, m], books.size[slot, 0, m],
            books.price[slot, 1, m], books.size[slot, 1, m],
            old_price[0, m], old_size[0, m], old_price[1, m], old_size[1, m],
        )  # fmt: skip


def used_book_changed(
    i: int, slot: int, columns: Columns, books: Books, old_bids: int, old_asks: int,
    old_price: NDArray[np.int32], old_size: NDArray[np.float32],
) -> bool:  # fmt: skip
    """Whether a price, a size or the number of levels of the used book is another than before."""
    if slot == c.NO_SLOT:
        for side in range(2):
            if columns.i32[c.BID + side, i] != old_price[side, 0]:
                return True
            if columns.f32[c.BID_SIZE + side, i] != old_size[side, 0]:
                return True
        return False
    for side in range(2):
        levels = min(books.levels[slot, side], c.LEVELS_USED)
        if levels != (old_bids if side == 0 else old_asks):
            return True
        for m in range(levels):
            if books.price[slot, side, m] != old_price[side, m]:
                return True
            if books.size[slot, side, m] != old_size[side, m]:
                return True
    return False
