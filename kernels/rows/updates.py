"""Stage 4 of 8: what one update of a listing does beside its levels: validity, flow, means.

Where the levels of a book are kept differs between devices; what hangs on a change of them does
not. An "old" price or size is that of the state before the update.
"""

import math

import numpy as np

from kernels import columns as c
from kernels.arrays import Batch, Books, Columns
from kernels.laws.anchored_flow import beyond_drift
from kernels.laws.book import event_ofi
from kernels.laws.decay import decay, seconds, time_weighted
from kernels.rows.features import step_at
from kernels.rows.trades import count_one

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
NAN = np.float32(np.nan)
RATES = tuple(np.float32(1 / h) for h in (1, 5, 30, 300))
SLOW_RATE = np.float32(1 / 300)

# Event kinds and flags of feeds.events, written again because kernels do not know feeds;
# tests/test_architecture.py holds the two together.
QUOTE, BOOK_SNAPSHOT, BOOK_DELTA, TRADE, CLEAR, STATE_CHANGE = 1, 2, 3, 4, 5, 6
LAST, SNAPSHOT_START, REJECTED = 1, 2, 4
LIVE, HALTED, EXPIRED = 1, 2, 3


def last_row(k: int, stop: int, batch: Batch) -> int:
    """Last row of the update that begins at row k."""
    first = batch.kind[k]
    end = k
    while (
        end + 1 < stop and batch.flags[end] & LAST == 0 and same_group(first, batch.kind[end + 1])
    ):
        end += 1
    return end


def same_group(first: int, other: int) -> bool:
    """Whether a row of kind `other` may belong to the update that `first` began."""
    if first == BOOK_SNAPSHOT or first == BOOK_DELTA:
        return other == BOOK_SNAPSHOT or other == BOOK_DELTA
    return first == other


def begins_book(kind: int) -> bool:
    """Whether rows of this kind give a listing a book, from which on quotes are superseded."""
    return kind == BOOK_SNAPSHOT or kind == BOOK_DELTA or kind == c.VOIDED_BOOK


def gives_book_back(kind: int, level: int) -> bool:
    """Whether a listing has no book from here on, so that quotes are its top again."""
    return kind == CLEAR and level == c.BOOK_GIVEN_BACK


def is_quote(kind: int) -> bool:
    """Whether rows of this kind set the top alone."""
    return kind == QUOTE or kind == c.VOIDED_QUOTE


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


def finish_update(
    i: int, slot: int, gap: bool, zero_size: bool, changed: bool, row: int, two_sided: bool,
    old_bid: int, old_bid_size: float, old_ask: int, old_ask_size: float, batch: Batch,
    columns: Columns, books: Books,
) -> None:  # fmt: skip
    """Evaluate once everything that hangs on one atomic update, after its rows were applied.

    `row` is the last of the update; `changed` says whether a price, a size or the number of levels
    of the used book is another than before; `zero_size`, whether a price came without a size.
    """
    t = batch.rx_ns[row]
    before = columns.validity[i]
    after = validity_of(i, slot, gap, zero_size, t, columns, books)
    columns.validity[i] = after
    weigh_means(i, before, t, columns, old_bid, old_bid_size, old_ask, old_ask_size)
    measure_flow(i, t, before, after, columns, old_bid, old_bid_size, old_ask, old_ask_size)
    note_quote_state(i, batch.ex_ns[row], columns, two_sided, old_bid, old_ask)
    if changed:
        columns.i64[c.CHANGE_NS, i] = t
    if changed or after != before:
        columns.u8[c.FRESH, i] = 1
    columns.i64[c.UPDATE_NS, i] = t
    columns.u8[c.HAS_STATE, i] = 1
    kind = batch.kind[row]
    if kind == QUOTE or kind == BOOK_SNAPSHOT or kind == BOOK_DELTA:
        count_one(i, c.UPDATES, ONE, t, columns)


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
    i: int, before: int, t: int, columns: Columns, old_bid: int, old_bid_size: float, old_ask: int,
    old_ask_size: float,
) -> None:  # fmt: skip
    """Fold the state that stood until now into the time-weighted means."""
    if before & c.NOT_REGULAR:
        return
    d = decay(seconds(t, columns.i64[c.UPDATE_NS, i]), SLOW_RATE)
    f32 = columns.f32
    spread = np.float32(old_ask - old_bid)
    depth = (old_bid_size + old_ask_size) * HALF
    f32[c.SPREAD_SUM, i] = time_weighted(f32[c.SPREAD_SUM, i], spread, d)
    f32[c.DEPTH_SUM, i] = time_weighted(f32[c.DEPTH_SUM, i], depth, d)
    f32[c.REGULAR_WEIGHT, i] = time_weighted(f32[c.REGULAR_WEIGHT, i], ONE, d)


def measure_flow(
    i: int, t: int, before: int, after: int, columns: Columns, old_bid: int, old_bid_size: float,
    old_ask: int, old_ask_size: float,
) -> None:  # fmt: skip
    """Decayed order-flow imbalances of the top, plain and anchored, and the withdrawals."""
    if (before | after) & c.NOT_TWO_SIDED == 0:
        count_reduction(i, t, columns, old_bid, old_bid_size, old_ask, old_ask_size)
    if after & c.NOT_REGULAR:
        return
    if before & c.NOT_REGULAR:
        set_anchor(i, 0, columns)
        set_anchor(i, 1, columns)
        return
    e = event_ofi(
        columns.i32[c.BID, i], columns.f32[c.BID_SIZE, i],
        columns.i32[c.ASK, i], columns.f32[c.ASK_SIZE, i],
        old_bid, old_bid_size, old_ask, old_ask_size,
    )  # fmt: skip
    anchored = ZERO
    if columns.u8[c.IS_OPTION, i] != 0:
        anchored = anchored_event(i, columns, old_bid_size, old_ask_size)
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
    i: int, t: int, columns: Columns, old_bid: int, old_bid_size: float, old_ask: int,
    old_ask_size: float,
) -> None:  # fmt: skip
    """Count an update that withdrew liquidity from the top."""
    bid, ask = columns.i32[c.BID, i], columns.i32[c.ASK, i]
    less_bid = bid == old_bid and columns.f32[c.BID_SIZE, i] < old_bid_size
    less_ask = ask == old_ask and columns.f32[c.ASK_SIZE, i] < old_ask_size
    if bid < old_bid or ask > old_ask or less_bid or less_ask:
        count_one(i, c.REDUCTIONS, ONE, t, columns)


def anchored_event(i: int, columns: Columns, old_bid_size: float, old_ask_size: float) -> float:
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
        0, old_bid_size, 0, old_ask_size,
    )  # fmt: skip


def set_anchor(i: int, side: int, columns: Columns) -> None:
    """Count a side's drift from its price now; there is none without greeks and a forward."""
    columns.i32[c.ANCHOR_BID + side, i] = columns.i32[c.BID + side, i]
    forward = ZERO if columns.i64[c.FORWARD_E6, i] != c.NO_FORWARD else NAN
    unknown = math.isnan(columns.f32[c.DELTA, i] + columns.f32[c.THETA, i] + forward)
    columns.f32[c.DRIFT_BID + side, i] = NAN if unknown else ZERO


def note_quote_state(
    i: int, ex_ns: int, columns: Columns, two_sided: bool, old_bid: int, old_ask: int
) -> None:
    """Keep the state before this one for the quote rule; one-sided states read NO_PRICE."""
    columns.i32[c.BID_BEFORE, i] = old_bid if two_sided else np.int32(c.NO_PRICE)
    columns.i32[c.ASK_BEFORE, i] = old_ask if two_sided else np.int32(c.NO_PRICE)
    columns.i64[c.QUOTE_EX_BEFORE_NS, i] = columns.i64[c.QUOTE_EX_NS, i]
    columns.i64[c.QUOTE_EX_NS, i] = ex_ns
