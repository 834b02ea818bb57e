"""Stage 3 of 8: packed event rows to batch columns, stable by listing, prices in ticks."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from feeds.events import EVENT, EventRows, Flag, Kind, TickerRows, taken
from kernels import columns as c
from kernels.arrays import Batch, Tickers
from kernels.device import CpuDevice
from scanner.state import TICK_TOLERANCE, TICKS_MAX, State

REASONS = ("rows_rejected", "rows_unknown_listing", "rows_off_grid", "rows_bad_size")
FORWARD_MAX = 9e12  # USD; 1e-6 of it fits int64.
_NEGOTIATED = np.uint16(Flag.BLOCK | Flag.COMBO_LEG | Flag.RFQ)


def build_batch(
    rows: EventRows, row_count: int, state: State, device: CpuDevice, counts: Counter[str]
) -> tuple[Batch, EventRows]:
    """Sort rows by listing and turn prices into ticks.

    Refused rows are counted: REJECTED by the feed, an unknown listing, a price off its grid or a
    size that is no size. A bad book or quote row makes its listing a gap, because what it would
    have changed is unknown; nothing else is touched.

    Returns:
        The batch, and the rows of updates whose last row has not come (they wait).
    """
    rows = _known(rows, row_count, counts)
    order = np.empty(len(rows), np.int64)
    listing = np.empty(len(rows), np.int32)
    start = np.empty(len(rows) + 1, np.int64)
    ids = np.ascontiguousarray(rows["listing_id"])
    segments = device.sort_by_listing(ids, state.seen, order, listing, start)
    open_rows = _open_tail(rows["flags"], order, start[: segments + 1])
    if len(open_rows):
        keep = np.ones(len(rows), np.bool_)
        keep[open_rows] = False
        batch, _ = build_batch(taken(rows, keep), row_count, state, device, counts)
        return batch, taken(rows, np.sort(open_rows))
    rows = taken(rows, order)
    for row in _without_book(rows, state):
        state.slot_for(int(row))
    ticks, kind = _ticks_and_kinds(rows, state, counts)
    return Batch(
        rx_ns=np.ascontiguousarray(rows["rx_ns"]),
        ex_ns=np.ascontiguousarray(rows["ex_ns"]),
        ticks=ticks,
        size=np.ascontiguousarray(rows["size"]),
        kind=kind,
        side=np.ascontiguousarray(rows["side"]),
        flags=np.ascontiguousarray(rows["flags"]),
        level=np.ascontiguousarray(rows["level"]),
        listing=listing[:segments],
        start=start[: segments + 1],
    ), rows[:0]


def _known(rows: EventRows, row_count: int, counts: Counter[str]) -> EventRows:
    rejected = (rows["flags"] & Flag.REJECTED) != 0
    unknown = rows["listing_id"] >= row_count
    refused = rejected | unknown
    if not refused.any():
        return rows
    counts["rows_rejected"] += int(rejected.sum())
    counts["rows_unknown_listing"] += int((unknown & ~rejected).sum())
    return taken(rows, ~refused)


def _open_tail(
    flags: NDArray[np.uint16], order: NDArray[np.int64], start: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Row numbers after the last LAST of segments that end inside an update."""
    ends = start[1:] - 1
    unfinished = np.flatnonzero((flags[order[ends]] & Flag.LAST) == 0) if len(ends) else ends
    tails: list[NDArray[np.int64]] = []
    for s in unfinished:
        segment = order[start[s] : start[s + 1]]
        last = np.flatnonzero(flags[segment] & Flag.LAST)
        tails.append(segment[last[-1] + 1 :] if len(last) else segment)
    return np.concatenate(tails) if tails else np.empty(0, np.int64)


def build_tickers(rows: TickerRows, row_count: int, state: State, device: CpuDevice) -> Tickers:
    """Sort tickers by listing, as columns; those of an unknown listing are left out."""
    known = rows["listing_id"] < row_count
    rows = rows if known.all() else taken(rows, known)
    order = np.empty(len(rows), np.int64)
    listing = np.empty(len(rows), np.int32)
    start = np.empty(len(rows) + 1, np.int64)
    ids = np.ascontiguousarray(rows["listing_id"])
    segments = device.sort_by_listing(ids, state.seen, order, listing, start)
    value = np.empty((len(rows), len(c.TICKER_FIELDS)), np.float32)
    for field, name in enumerate(c.TICKER_FIELDS):
        value[:, field] = rows[name][order]
    forward = rows["forward"][order]
    forward_e6 = np.full(len(rows), c.NO_FORWARD, np.int64)
    sound = (forward > 0) & (forward < FORWARD_MAX)
    forward_e6[sound] = np.rint(forward[sound] * 1e6)
    return Tickers(
        rows["rx_ns"][order], forward_e6, value, listing[:segments], start[: segments + 1]
    )


def _is_book(kind: NDArray[np.uint8]) -> NDArray[np.bool_]:
    book: NDArray[np.bool_] = (kind == Kind.BOOK_SNAPSHOT) | (kind == Kind.BOOK_DELTA)
    return book


def _without_book(rows: EventRows, state: State) -> NDArray[np.uint32]:
    """Listings with book rows that have no book yet, ascending; hardly ever any."""
    ids = rows["listing_id"]
    homeless = _is_book(rows["kind"]) & (state.columns.i32[c.SLOT][ids] == c.NO_SLOT)
    found: NDArray[np.uint32] = np.unique(ids[homeless])
    return found


def _ticks_and_kinds(
    rows: EventRows, state: State, counts: Counter[str]
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Prices in ticks, and the kinds with updates with a bad row voided."""
    kind = np.ascontiguousarray(rows["kind"])
    with np.errstate(invalid="ignore"):  # Infinite prices: refused below.
        exact = rows["price"] / state.tick_f64[rows["listing_id"]]
        nearest = np.rint(exact)
        missing = np.isnan(exact)
        off = ~missing & ~(np.abs(exact - nearest) <= TICK_TOLERANCE)
        off |= np.abs(nearest) > TICKS_MAX
    # A negotiated print may lie between ticks; it enters the block premium alone.
    off &= ~((kind == Kind.TRADE) & ((rows["flags"] & _NEGOTIATED) != 0))
    size = rows["size"]
    bad_size = (size < 0) | np.isinf(size)
    if off.any() or bad_size.any():
        counts["rows_off_grid"] += int(off.sum())
        counts["rows_bad_size"] += int((bad_size & ~off).sum())
        bad = off | bad_size
        missing |= bad
        voided = _updates_with(bad, rows["flags"])
        book = _is_book(kind)
        kind[voided & (kind == Kind.QUOTE)] = c.VOIDED_QUOTE
        kind[voided & book] = c.VOIDED_BOOK
    ticks = np.where(missing, c.NO_PRICE, np.where(missing, 0, nearest)).astype(np.int32)
    return ticks, kind


def _updates_with(bad: NDArray[np.bool_], flags: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """All rows of the updates that hold a bad one: half an update is none."""
    last = (flags & Flag.LAST) != 0
    update = np.cumsum(last) - last
    some_bad = np.zeros(len(bad), np.bool_)
    some_bad[update[bad]] = True
    return np.asarray(some_bad[update])


def empty_rows() -> EventRows:
    """No rows."""
    return np.empty(0, EVENT)
