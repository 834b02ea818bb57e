"""Stage 4 of 8: a tick's updates, in order per listing, into books, flow and decayed sums.

    thread -> segments of touched listings; loop -> updates of one listing, in order

A listing's updates are one chain: nothing is shared between listings, so segments run in
parallel, and where a batch is cut does not change a bit.
"""

import math

import numpy as np
from numba import get_thread_id, prange
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Batch, Books, Columns, PerThread
from kernels.laws.anchored_flow import beyond_drift
from kernels.laws.book import event_ofi
from kernels.laws.decay import decay, seconds, time_weighted
from kernels.rows.features import step_at
from kernels.rows.trades import apply_trade, count_one

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
NAN = np.float32(np.nan)
RATES = tuple(np.float32(1 / h) for h in (1, 5, 30, 300))
SLOW_RATE = np.float32(1 / 300)

# Event kinds and flags of feeds.events, written again because kernels do not know feeds;
# tests/test_architecture.py holds the two together.
QUOTE, BOOK_SNAPSHOT, BOOK_DELTA, TRADE, CLEAR, STATE_CHANGE = 1, 2, 3, 4, 5, 6
LAST, SNAPSHOT_START, REJECTED = 1, 2, 4
LIVE, HALTED, EXPIRED = 1, 2, 3


def apply(
    batch: Batch, columns: Columns, books: Books, bar: NDArray[np.float64],
    per_thread: PerThread,
) -> None:  # fmt: skip
    """Apply one batch.

    bar: float64[listing or 0, level], sums of event OFI since the bar began; 0 rows = not wanted.
    """
    for s in prange(batch.listing.size):
        thread = get_thread_id()
        apply_listing(
            batch.listing[s], batch.start[s], batch.start[s + 1], batch, columns, books, bar,
            per_thread.counters[thread], per_thread.old_price[thread], per_thread.old_size[thread],
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
        end = k
        while (
            end + 1 < stop
            and batch.flags[end] & LAST == 0
            and same_group(kind, batch.kind[end + 1])
        ):
            end += 1
        count[c.ROWS_APPLIED] += end + 1 - k
        if kind == TRADE:
            for row in range(k, end + 1):
                apply_trade(i, row, batch, columns, count)
        elif kind == STATE_CHANGE:
            change_state(i, batch.level[end], batch.rx_ns[end], columns)
        elif (kind == QUOTE or kind == c.VOIDED_QUOTE) and columns.u8[c.HAS_BOOK, i] != 0:
            count[c.QUOTES_SUPERSEDED] += 1
        elif kind != CLEAR or columns.u8[c.HAS_STATE, i] != 0:
            update_book(i, k, end + 1, batch, columns, books, bar, count, old_price, old_size)
        k = end + 1


def same_group(first: int, other: int) -> bool:
    """Whether a row of kind `other` may belong to the update that `first` began."""
    if first == BOOK_SNAPSHOT or first == BOOK_DELTA:
        return other == BOOK_SNAPSHOT or other == BOOK_DELTA
    return first == other


def change_state(i: int, state: int, rx_ns: int, columns: Columns) -> None:
    """Take a venue's halt, end or return to life."""
    halted = columns.u8[c.HALTED, i]
    if state == EXPIRED:
        halted = 2  # For good: a venue's word that an instrument ended is not taken back.
    elif halted != 2:
        halted = 1 if state == HALTED else 0
    columns.u8[c.HALTED, i] = halted
    before = columns.validity[i]
    after = before & ~np.uint16(c.EXPIRED)
    if columns.u8[c.HALTED, i] != 0 or expired(i, rx_ns, columns):
        after |= np.uint16(c.EXPIRED)
    if after != before:
        columns.validity[i] = after
        columns.u8[c.FRESH, i] = 1


def expired(i: int, now_ns: int, columns: Columns) -> bool:
    """Whether the clock has reached the listing's expiry, whatever the venue says."""
    expiry_ns = columns.i64[c.EXPIRY_NS, i]
    return bool(expiry_ns != 0 and now_ns >= expiry_ns)


def update_book(
    i: int, k: int, stop: int, batch: Batch, columns: Columns, books: Books,
    bar: NDArray[np.float64], count: NDArray[np.int64], old_price: NDArray[np.int32],
    old_size: NDArray[np.float32],
) -> None:  # fmt: skip
    """Take one atomic quote or book update and evaluate everything that hangs on it once."""
    slot = columns.i32[c.SLOT, i]
    if slot != c.NO_SLOT and columns.u8[c.HAS_BOOK, i] == 0:
        # A batch gives its books their slots beforehand; until one comes, quotes are the top.
        first = batch.kind[k]
        if first == BOOK_SNAPSHOT or first == BOOK_DELTA or first == c.VOIDED_BOOK:
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
    t = batch.rx_ns[stop - 1]
    before = columns.validity[i]
    after = validity_of(i, slot, gap, zero_size, t, columns, books)
    columns.validity[i] = after
    weigh_means(i, before, t, columns, old_price, old_size)
    measure_flow(i, t, before, after, columns, old_price, old_size)
    if bar.shape[0] > 0:
        measure_bar(
            i, slot, before, after, columns, books, bar, old_bids, old_asks, old_price, old_size
        )
    note_quote_state(i, batch.ex_ns[stop - 1], columns, old_bids, old_asks, old_price)
    changed = used_book_changed(i, slot, columns, books, old_bids, old_asks, old_price, old_size)
    if changed:
        columns.i64[c.CHANGE_NS, i] = t
    if changed or after != before:
        columns.u8[c.FRESH, i] = 1
    columns.i64[c.UPDATE_NS, i] = t
    columns.u8[c.HAS_STATE, i] = 1
    kind = batch.kind[stop - 1]
    if kind == QUOTE or kind == BOOK_SNAPSHOT or kind == BOOK_DELTA:
        count_one(i, c.UPDATES, ONE, t, columns)


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


def quote_rows(i: int, k: int, stop: int, batch: Batch, columns: Columns) -> tuple[bool, bool]:
    """Set the sides a quote update or a gap names; says (gap, a price came without size)."""
    zero_size = False
    for row in range(k, stop):
        if batch.kind[row] == CLEAR or batch.kind[row] == c.VOIDED_QUOTE:
            columns.i32[c.BID, i] = c.NO_PRICE
            columns.i32[c.ASK, i] = c.NO_PRICE
            columns.f32[c.BID_SIZE, i] = ZERO
            columns.f32[c.ASK_SIZE, i] = ZERO
            return True, False
        there = batch.ticks[row] != c.NO_PRICE and batch.size[row] > ZERO
        zero_size = zero_size or (batch.ticks[row] != c.NO_PRICE and not there)
        price = batch.ticks[row] if there else np.int32(c.NO_PRICE)
        size = batch.size[row] if there else ZERO
        if batch.side[row] > 0:
            columns.i32[c.BID, i] = price
            columns.f32[c.BID_SIZE, i] = size
        else:
            columns.i32[c.ASK, i] = price
            columns.f32[c.ASK_SIZE, i] = size
    return False, zero_size


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


def validity_of(
    i: int, slot: int, gap: bool, zero_size: bool, t: int, columns: Columns, books: Books
) -> int:
    """Validity bits after an update."""
    bits = np.uint16(0)
    bid, ask = columns.i32[c.BID, i], columns.i32[c.ASK, i]
    if bid == c.NO_PRICE:
        bits |= np.uint16(c.NO_BID)
    if ask == c.NO_PRICE:
        bits |= np.uint16(c.NO_ASK)
    if bits == 0 and bid == ask:
        bits |= np.uint16(c.LOCKED)
    if bits == 0 and bid > ask:
        bits |= np.uint16(c.CROSSED)
    if zero_size:
        bits |= np.uint16(c.ZERO_SIZE)
    if gap:
        bits |= np.uint16(c.GAP)
    if columns.u8[c.HALTED, i] != 0 or expired(i, t, columns):
        bits |= np.uint16(c.EXPIRED)
    if slot != c.NO_SLOT:
        bits |= truncation_of(i, slot, columns, books)
    return bits


def truncation_of(i: int, slot: int, columns: Columns, books: Books) -> int:
    """TRUNCATED where a level was pushed out; GAP too once that may have reached the used book."""
    bits = np.uint16(0)
    for side in range(2):
        if books.truncated[slot, side]:
            bits |= np.uint16(c.TRUNCATED)
            if books.levels[slot, side] < c.LEVELS_USED:
                bits |= np.uint16(c.GAP)
                columns.u8[c.NEEDS_RESYNC, i] = 1
    return bits


def weigh_means(
    i: int, before: int, t: int, columns: Columns, old_price: NDArray[np.int32],
    old_size: NDArray[np.float32],
) -> None:  # fmt: skip
    """Fold the state that stood until now into the time-weighted means."""
    if before & c.NOT_REGULAR:
        return
    d = decay(seconds(t, columns.i64[c.UPDATE_NS, i]), SLOW_RATE)
    f32 = columns.f32
    spread = np.float32(old_price[1, 0] - old_price[0, 0])
    depth = (old_size[0, 0] + old_size[1, 0]) * HALF
    f32[c.SPREAD_SUM, i] = time_weighted(f32[c.SPREAD_SUM, i], spread, d)
    f32[c.DEPTH_SUM, i] = time_weighted(f32[c.DEPTH_SUM, i], depth, d)
    f32[c.REGULAR_WEIGHT, i] = time_weighted(f32[c.REGULAR_WEIGHT, i], ONE, d)


def measure_flow(
    i: int, t: int, before: int, after: int, columns: Columns, old_price: NDArray[np.int32],
    old_size: NDArray[np.float32],
) -> None:  # fmt: skip
    """Decayed order-flow imbalances of the top, plain and anchored, and the withdrawals."""
    if (before | after) & c.NOT_TWO_SIDED == 0:
        count_reduction(i, t, columns, old_price, old_size)
    if after & c.NOT_REGULAR:
        return
    if before & c.NOT_REGULAR:
        set_anchor(i, 0, columns)
        set_anchor(i, 1, columns)
        return
    e = event_ofi(
        columns.i32[c.BID, i], columns.f32[c.BID_SIZE, i],
        columns.i32[c.ASK, i], columns.f32[c.ASK_SIZE, i],
        old_price[0, 0], old_size[0, 0], old_price[1, 0], old_size[1, 0],
    )  # fmt: skip
    anchored = ZERO
    if columns.u8[c.IS_OPTION, i] != 0:
        anchored = anchored_event(i, columns, old_size)
    if e == ZERO and anchored == ZERO:
        return
    dt = seconds(t, columns.i64[c.OFI_NS, i])
    columns.i64[c.OFI_NS, i] = t
    for h in range(c.HALF_LIFE_COUNT):
        d = decay(dt, RATES[h])
        add_flow(i, c.OFI_BUY + h, c.OFI_SELL + h, e, d, columns)
        add_flow(i, c.IV_OFI_BUY + h, c.IV_OFI_SELL + h, anchored, d, columns)


def add_flow(i: int, buy: int, sell: int, e: float, d: float, columns: Columns) -> None:
    """Decay a pair of sums, and add an event to the one its sign belongs to."""
    columns.f32[buy, i] = columns.f32[buy, i] * d + (max(ZERO, e))
    columns.f32[sell, i] = columns.f32[sell, i] * d + (-e if e < ZERO else ZERO)


def count_reduction(
    i: int, t: int, columns: Columns, old_price: NDArray[np.int32], old_size: NDArray[np.float32]
) -> None:
    """Count an update that withdrew liquidity from the top."""
    bid, ask = columns.i32[c.BID, i], columns.i32[c.ASK, i]
    qb, qa = columns.f32[c.BID_SIZE, i], columns.f32[c.ASK_SIZE, i]
    pb, pa, qb0, qa0 = old_price[0, 0], old_price[1, 0], old_size[0, 0], old_size[1, 0]
    if bid < pb or ask > pa or (bid == pb and qb < qb0) or (ask == pa and qa < qa0):
        count_one(i, c.REDUCTIONS, ONE, t, columns)


def anchored_event(i: int, columns: Columns, old_size: NDArray[np.float32]) -> float:
    """Event OFI of an option's top beyond what its forward and time explain; moves anchors."""
    moved_bid, moved_ask = 0, 0
    for side in range(2):
        drift = columns.f32[c.DRIFT_BID + side, i]
        if math.isnan(drift):
            set_anchor(i, 0, columns)
            set_anchor(i, 1, columns)
            return ZERO
    for side in range(2):
        price = columns.i32[c.BID + side, i]
        moved = beyond_drift(
            np.float32(price - columns.i32[c.ANCHOR_BID + side, i]),
            columns.f32[c.DRIFT_BID + side, i],
            max(
                step_at(i, 2 * np.int64(price), columns),
                step_at(i, 2 * np.int64(columns.i32[c.ANCHOR_BID + side, i]), columns),
            ),
        )
        if moved != 0:
            set_anchor(i, side, columns)
        if side == 0:
            moved_bid = moved
        else:
            moved_ask = moved
    return event_ofi(
        moved_bid, columns.f32[c.BID_SIZE, i], moved_ask, columns.f32[c.ASK_SIZE, i],
        0, old_size[0, 0], 0, old_size[1, 0],
    )  # fmt: skip


def set_anchor(i: int, side: int, columns: Columns) -> None:
    """Count a side's drift from its price now; there is none without greeks and a forward."""
    columns.i32[c.ANCHOR_BID + side, i] = columns.i32[c.BID + side, i]
    forward = ZERO if columns.i64[c.FORWARD_E6, i] != c.NO_FORWARD else NAN
    unknown = math.isnan(columns.f32[c.DELTA, i] + columns.f32[c.THETA, i] + forward)
    columns.f32[c.DRIFT_BID + side, i] = NAN if unknown else ZERO


def measure_bar(
    i: int, slot: int, before: int, after: int, columns: Columns, books: Books,
    bar: NDArray[np.float64], old_bids: int, old_asks: int, old_price: NDArray[np.int32],
    old_size: NDArray[np.float32],
) -> None:  # fmt: skip
    """Plain sums of event OFI per level; locked and crossed states count, absent levels do not."""
    if (before | after) & c.BREAKS_BAR:
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


def note_quote_state(
    i: int, ex_ns: int, columns: Columns, old_bids: int, old_asks: int, old_price: NDArray[np.int32]
) -> None:
    """Keep the state before this one for the quote rule; one-sided states read NO_PRICE."""
    two_sided = old_bids > 0 and old_asks > 0
    columns.i32[c.BID_BEFORE, i] = old_price[0, 0] if two_sided else np.int32(c.NO_PRICE)
    columns.i32[c.ASK_BEFORE, i] = old_price[1, 0] if two_sided else np.int32(c.NO_PRICE)
    columns.i64[c.QUOTE_EX_BEFORE_NS, i] = columns.i64[c.QUOTE_EX_NS, i]
    columns.i64[c.QUOTE_EX_NS, i] = ex_ns


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
