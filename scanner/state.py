"""Stage 4 of 8: the device columns of a universe, their capacity, and the scoring tables.

Knows kernels.columns and the universe, not venues. Growth happens between ticks only.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import ListingKind
from kernels import columns as c
from kernels.arrays import Blocks, Books, Columns, Common, Marks, PerThread, Scores, padded
from kernels.blocks import layout
from kernels.errors import CapacityError
from scanner.universe import NO_CONTRACT, ListingColumns, RowState, Universe

HOURS: Final = 25  # The current hour and the 24 before it.
Z_BINS: Final = 1024
STAGE_2_BINS: Final = 2048
HOUR_NS: Final = 3_600_000_000_000
POOLED_MIN: Final = 1000
POOLED_MEAN_AT_START: Final = 0.42  # About E[min(-log10 U, 4)] = .434; measured a little less.
GROUP_KINDS: Final = ("expiry", "underlying")
TICK_TOLERANCE: Final = 0.01  # Of a tick: a price farther off its grid is no price of a listing.
TICKS_MAX: Final = 2**31 - 2
ROWS_AT_ONCE: Final = 65_536  # Of listings taken over: bounds what is copied meanwhile.


def empty_columns(capacity: int) -> Columns:
    """Columns of rows that have seen nothing."""
    i64 = np.zeros((c.I64_COUNT, capacity), np.int64)
    i64[[c.FORWARD_E6, c.FORWARD_BEFORE_E6]] = c.NO_FORWARD
    i32 = np.zeros((c.I32_COUNT, capacity), np.int32)
    i32[[c.BID, c.ASK, c.BID_BEFORE, c.ASK_BEFORE, c.LAST_TRADE]] = c.NO_PRICE
    i32[[c.SLOT, c.EXPIRY_GROUP, c.UNDERLYING_GROUP]] = c.NO_SLOT
    u8 = np.zeros((c.U8_COUNT, capacity), np.uint8)
    u8[c.LAST_SIDE] = 1  # side 0
    f32 = np.zeros((c.F32_COUNT, capacity), np.float32)
    f32[c.DELTA : c.PRESSURE + 1] = np.nan
    return Columns(i64, i32, u8, np.full(capacity, c.NO_STATE, np.uint16), f32)


def empty_scores(capacity: int) -> Scores:
    """Baselines without a single observation, outputs without a score."""

    def nan(*shape: int) -> NDArray[np.float32]:
        return np.full((*shape, capacity), np.nan, np.float32)

    return Scores(
        baseline=np.zeros((c.BASELINE_COUNT, c.FEATURE_COUNT, capacity), np.float32),
        z=nan(c.DRIVER_COUNT),
        p_feature=nan(c.DRIVER_COUNT),
        value=nan(c.FEATURE_COUNT),
        mean=nan(c.FEATURE_COUNT),
        statistic=nan(c.LIST_COUNT),
        p=np.ones((c.LIST_COUNT, capacity), np.float32),
        score=nan(c.LIST_COUNT),
        key=np.zeros((c.LIST_COUNT, capacity), np.uint64),
    )


def empty_common() -> Common:
    """Tables of a run that has scored nothing."""
    grid = (c.STRATUM_COUNT, c.DRIVER_COUNT)
    return Common(
        scale=np.ones(grid, np.float32),
        fold_sum=np.zeros(grid, np.int64),
        fold_count=np.zeros(grid, np.int64),
        fold_ns=np.zeros(grid, np.int64),
        above_1=np.zeros((*grid, Z_BINS), np.int64),
        above_2=np.zeros((c.STRATUM_COUNT, c.LIST_COUNT, STAGE_2_BINS), np.int64),
        prior=np.full((2, c.STRATUM_COUNT, c.FEATURE_COUNT), np.nan, np.float32),
    )


def empty_books(slots: int) -> Books:
    """Depth slots with no levels; what lies beyond a book's levels is never read."""
    shape = (slots, 2, c.LEVELS_KEPT)
    return Books(
        np.zeros(shape, np.int32),
        np.zeros(shape, np.float32),
        np.zeros((slots, 2), np.int32),
        np.zeros((slots, 2), np.uint8),
    )


def empty_per_thread(threads: int) -> PerThread:
    """Counters at zero, and room for one used book a thread."""
    shape = (threads, 2, c.LEVELS_USED)
    return PerThread(
        np.zeros((threads, len(c.COUNTER_NAMES)), np.int64),
        np.full(shape, c.NO_PRICE, np.int32),
        np.zeros(shape, np.float32),
    )


def empty_blocks(threads: int) -> Blocks:
    """Working memory of the observe shape, and counts of nothing."""
    grid = (threads, c.STRATUM_COUNT, c.DRIVER_COUNT)
    return Blocks(
        rows=np.zeros((threads, layout.BLOCK), np.uint32),
        f32=np.zeros((threads, layout.F32_SIZE), np.float32),
        i32=np.zeros((threads, layout.I32_SIZE), np.int32),
        i64=np.zeros((threads, layout.I64_SIZE), np.int64),
        count_1=np.zeros((*grid, Z_BINS), np.int32),
        count_2=np.zeros((threads, c.STRATUM_COUNT, c.LIST_COUNT, STAGE_2_BINS), np.int32),
        fold_sum=np.zeros(grid, np.int64),
        fold_count=np.zeros(grid, np.int64),
        last_1=np.full(grid, -1, np.int64),
        last_2=np.full((threads, c.STRATUM_COUNT, c.LIST_COUNT), -1, np.int64),
    )


def empty_marks(rows: int) -> Marks:
    """What the rows of a scan on a GPU add to the tables; nothing yet."""
    return Marks(
        np.full(rows, -1, np.int8),
        np.full((rows, c.DRIVER_COUNT), -1, np.int16),
        np.full((rows, c.LIST_COUNT), -1, np.int16),
        np.full((rows, c.DRIVER_COUNT), -1, np.int32),
    )


@dataclass(slots=True)
class Reference:
    """Integer histograms of the last 25 hours and their totals (docs/SCORING.md, section 4.9)."""

    hour: int = -1
    hours_1: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((HOURS, c.STRATUM_COUNT, c.DRIVER_COUNT, Z_BINS), np.int64)
    )
    hours_2: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(
            (HOURS, c.STRATUM_COUNT, c.LIST_COUNT, STAGE_2_BINS), np.int64
        )
    )
    hours_group: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((HOURS, len(GROUP_KINDS), Z_BINS), np.int64)
    )
    hours_pooled: NDArray[np.int64] = field(default_factory=lambda: np.zeros((HOURS, 2), np.int64))
    total_1: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((c.STRATUM_COUNT, c.DRIVER_COUNT, Z_BINS), np.int64)
    )
    total_2: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((c.STRATUM_COUNT, c.LIST_COUNT, STAGE_2_BINS), np.int64)
    )
    total_group: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((len(GROUP_KINDS), Z_BINS), np.int64)
    )
    total_pooled: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))

    @property
    def slot(self) -> int:
        """Ring slot of the current hour."""
        return self.hour % HOURS

    def roll(self, now_ns: int) -> bool:
        """Move to the hour of now_ns and forget what is older than 24 hours; says if it moved."""
        hour = now_ns // HOUR_NS
        if hour <= self.hour:
            return False
        first = max(self.hour + 1, hour - HOURS + 1) if self.hour >= 0 else hour
        for passed in range(first, hour + 1):
            slot = passed % HOURS
            for total, hours in self.pairs():
                np.subtract(total, hours[slot], out=total)
                hours[slot] = 0
        self.hour = hour
        return True

    def pairs(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
        """(total, hours) of every table."""
        return (
            (self.total_1, self.hours_1),
            (self.total_2, self.hours_2),
            (self.total_group, self.hours_group),
            (self.total_pooled, self.hours_pooled),
        )

    @property
    def pooled_mean(self) -> float:
        """Mean of min(-log10 p, 4) over scored rows, for the group score."""
        total, count = (int(x) for x in self.total_pooled)
        return total / count / (1 << 20) if count >= POOLED_MIN else POOLED_MEAN_AT_START


@dataclass(frozen=True, slots=True)
class Memory:
    """Baselines of listings from an earlier run, the listing on the last axis; never written to.

    Attributes:
        place: venue:symbol to index on the last axis.
        baseline: [word, feature, listing], as in kernels.arrays.Scores.
        own_count: observations so far.
        stratum: gap class of the last one.
        seen_ns: grid time of the last one.
    """

    place: dict[str, int]
    baseline: NDArray[np.float32]
    own_count: NDArray[np.int32]
    stratum: NDArray[np.uint8]
    seen_ns: NDArray[np.int64]


@dataclass(slots=True)
class Groups:
    """Held scores of the groups; index = device group number, order of first appearance."""

    number: dict[tuple[int, int], int] = field(default_factory=dict)
    underlying: NDArray[np.uint16] = field(default_factory=lambda: np.zeros(64, np.uint16))
    expiry_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(64, np.int64))
    kind: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(64, np.uint8))
    sums: NDArray[np.int64] = field(default_factory=lambda: np.zeros((5, 64), np.int64))
    statistic: NDArray[np.float32] = field(default_factory=lambda: np.full(64, np.nan, np.float32))
    p: NDArray[np.float32] = field(default_factory=lambda: np.ones(64, np.float32))
    bins: NDArray[np.int16] = field(default_factory=lambda: np.full(64, -1, np.int16))
    above: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((len(GROUP_KINDS), 1, Z_BINS), np.int64)
    )

    @property
    def count(self) -> int:
        """Groups known."""
        return len(self.number)

    def of(self, underlying: int, expiry_ns: int) -> int:
        """Device group of (underlying, expiry); expiry 0 = the whole underlying."""
        key = (underlying, expiry_ns)
        found = self.number.get(key)
        if found is None:
            found = len(self.number)
            if found == len(self.kind):
                self._grow(2 * found)
            self.number[key] = found
            self.underlying[found], self.expiry_ns[found] = underlying, expiry_ns
            self.kind[found] = 0 if expiry_ns else 1
        return found

    def _grow(self, capacity: int) -> None:
        extra = capacity - len(self.kind)
        for name, fill in (
            ("underlying", 0), ("expiry_ns", 0), ("kind", 0), ("statistic", np.nan), ("p", 1),
            ("bins", -1),
        ):  # fmt: skip
            old = getattr(self, name)
            setattr(self, name, np.append(old, np.full(extra, fill, old.dtype)))
        self.sums = np.zeros((5, capacity), np.int64)


class State:
    """All that a tick reads and writes.

    Attributes:
        columns, books, scores, common: what the launch shapes take (kernels.arrays).
        reference, groups: histograms and group scores.
        bar: float64[listing, level] sums of event OFI since the bar began; no rows if not wanted.
        bar_had_state: which rows had a state when the bar began; no rows if not wanted.
        tick_f64: exact tick of every row, for turning prices into ticks.
        per_thread: counters and working memory of the apply shape.
        blocks: counts and working memory of the observe shape.
        fresh: room for the ids of the rows of one scan.
        memory: baselines that new listings start from, None after a cold start.
        last_scan_ns: grid time of the last scan, 0 before the first.
        scan_count: scans so far.
        class_due_ns: grid time from which liquidity classes are assigned again, 0 before any scan.
        home: call it before reading or changing what kernels write; a State that lives on a GPU
            comes back to these arrays.
    """

    def __init__(self, capacity: int, slots: int, threads: int, *, bars: bool = False) -> None:
        """Allocate for `capacity` listings and `slots` books."""
        size = padded(capacity)
        self.columns = empty_columns(size)
        self.scores = empty_scores(size)
        self.common = empty_common()
        self.books = empty_books(max(slots, 1))
        self.reference = Reference()
        self.groups = Groups()
        self.bar = np.zeros((size if bars else 0, c.LEVELS_USED))
        self.bar_had_state = np.zeros(len(self.bar), np.bool_)
        self.tick_f64 = np.full(size, np.nan)
        self.per_thread = empty_per_thread(max(threads, 1))
        self.blocks = empty_blocks(max(threads, 1))
        self.seen = np.zeros(size, np.int32)
        self.fresh = np.zeros(size, np.uint32)
        self.memory: Memory | None = None
        self.last_scan_ns = 0
        self.scan_count = 0
        self.class_due_ns = 0
        self.home: Callable[[], None] = _is_here
        self._slots_used = 0
        self._slots_free: list[int] = []
        self._generation = np.zeros(size, np.uint32)
        self._version = 0

    @property
    def capacity(self) -> int:
        """Rows allocated."""
        return len(self.tick_f64)

    def sync(self, universe: Universe) -> None:
        """Take over listings that were added, changed, retired or freed since the last call."""
        if universe.version == self._version:
            return
        self.home()
        if universe.row_count > self.capacity:
            quarter_more = self.capacity + self.capacity // 4
            self._grow(padded(max(universe.row_count, quarter_more)))
        self._take(universe.changed_since(self._version), universe)
        self._version = universe.version

    def remember(self, memory: Memory, universe: Universe) -> None:
        """Give listings their baselines of an earlier run: those known now, others as they come."""
        self.home()
        self.memory = memory
        count = min(universe.row_count, self.capacity)
        source = universe.columns
        live = source.state[:count] == RowState.LIVE
        taken = self._generation[:count] == source.generation[:count]
        for row in np.flatnonzero(live & taken):
            self._recall(int(row), memory, universe)

    def slot_for(self, row: int) -> None:
        """Give a listing a book; its quotes are superseded from here on.

        Raises:
            CapacityError: the pool has reached 2**21 books.
        """
        if self.columns.i32[c.SLOT, row] != c.NO_SLOT:  # The host alone writes slots.
            return
        self.home()
        if self._slots_free:
            slot = self._slots_free.pop()
        else:
            slot = self._slots_used
            if slot == len(self.books.levels):
                self._grow_books()
            self._slots_used += 1
        self.books.levels[slot] = 0
        self.books.truncated[slot] = 0
        self.columns.i32[c.SLOT, row] = slot

    def begin_bar(self) -> None:
        """Start a new bar: sums at 0, and remember which rows have a state."""
        self.bar[:] = 0
        self.bar_had_state[:] = self.columns.u8[c.HAS_STATE] != 0

    def _take(self, rows: NDArray[np.uint32], universe: Universe) -> None:
        """Take over what the universe says about some rows."""
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            self._take_rows(some, universe.columns.at(some), universe)
        self._take_groups(rows, universe)

    def _take_rows(
        self, rows: NDArray[np.uint32], source: ListingColumns, universe: Universe
    ) -> None:
        """Take over lives and terms; source: the universe's columns of these rows."""
        col = self.columns
        new = self._generation[rows] != source.generation
        for row in rows[new & (self._generation[rows] != 0)]:  # The first listing finds it blank.
            self._reset(int(row))
        self._generation[rows] = source.generation
        live = source.state == RowState.LIVE
        gone = rows[~live]
        col.u8[c.HALTED, gone] = 2
        col.validity[gone] |= np.uint16(c.EXPIRED)
        col.u8[c.FRESH, gone] = 1
        if self.memory is not None:
            for row in rows[live & new]:
                self._recall(int(row), self.memory, universe)
        rows = rows[live]
        # Retired and listed again within its grace time.
        col.u8[c.HALTED, rows[col.u8[c.HALTED, rows] == 2]] = 0
        self._take_terms(
            rows, source if live.all() else source.at(np.flatnonzero(live).astype(np.uint32))
        )

    def _take_terms(self, rows: NDArray[np.uint32], source: ListingColumns) -> None:
        """Copy the terms of live listings; source: the universe's columns of these rows."""
        col, tick = self.columns, source.tick
        self._void_books(rows[~np.isnan(self.tick_f64[rows]) & (self.tick_f64[rows] != tick)])
        self.tick_f64[rows] = tick
        col.f32[c.TICK, rows] = tick
        col.f32[c.MULTIPLIER, rows] = source.multiplier
        col.f32[c.PRICE_PER, rows] = source.price_per
        col.f32[c.STRIKE, rows] = np.where(source.right != 0, source.strike_e9 * 1e-9, np.nan)
        # A threshold a hair above a multiple of the tick is that multiple.
        coarse_from = np.ceil(source.coarse_from / tick - TICK_TOLERANCE)
        col.i32[c.COARSE_FROM, rows] = np.minimum(coarse_from, TICKS_MAX)
        step = np.rint(source.coarse_tick / tick)
        col.i32[c.STEP, rows] = np.clip(step, 1, TICKS_MAX)
        col.i64[c.EXPIRY_NS, rows] = source.expiry_ns
        col.i64[c.SETTLE_WINDOW_NS, rows] = source.settle_window_ns
        col.u8[c.IS_OPTION, rows] = source.kind == ListingKind.OPTION
        col.u8[c.IS_INVERSE, rows] = source.settle

    def _take_groups(self, rows: NDArray[np.uint32], universe: Universe) -> None:
        """Put live options into their groups: those by expiry first, then the underlyings."""
        source = universe.columns.at(rows)
        options = (source.contract_id != NO_CONTRACT) & (source.state == RowState.LIVE)
        group_id = source.group_id[options]
        known, first, place = np.unique(group_id, return_index=True, return_inverse=True)
        number = universe.underlyings.number
        keys = [universe.groups.keys[group] for group in known]
        of_expiry, of_underlying = np.empty((2, len(known)), np.int32)
        # In the order of the rows, so that the groups get the same numbers in every run.
        for n in np.argsort(first):
            of_expiry[n] = self.groups.of(number[keys[n][0]], keys[n][1])
        for n in np.argsort(first):
            of_underlying[n] = self.groups.of(number[keys[n][0]], 0)
        self.columns.i32[c.EXPIRY_GROUP, rows[options]] = of_expiry[place]
        self.columns.i32[c.UNDERLYING_GROUP, rows[options]] = of_underlying[place]

    def _void_books(self, rows: NDArray[np.uint32]) -> None:
        """Forget the prices of rows whose tick is another now: they were counted in the old one."""
        col = self.columns
        rows = rows[col.u8[c.HAS_STATE, rows] != 0]
        for price in (c.BID, c.ASK, c.BID_BEFORE, c.ASK_BEFORE, c.LAST_TRADE):
            col.i32[price, rows] = c.NO_PRICE
        # The mean spread is in ticks, and shares its weight with the mean depth.
        for word in (c.BID_SIZE, c.ASK_SIZE, c.SPREAD_SUM, c.DEPTH_SUM, c.REGULAR_WEIGHT):
            col.f32[word, rows] = 0
        for drift in (c.DRIFT_BID, c.DRIFT_ASK):
            col.f32[drift, rows] = np.nan
        col.i64[c.OBSERVED_NS, rows] = c.NEVER
        col.validity[rows] |= np.uint16(c.GAP | c.NO_BID | c.NO_ASK)
        col.u8[c.FRESH, rows] = 1
        deep = rows[col.i32[c.SLOT, rows] != c.NO_SLOT]
        col.u8[c.NEEDS_RESYNC, deep] = 1
        self.books.levels[col.i32[c.SLOT, deep]] = 0
        self.books.truncated[col.i32[c.SLOT, deep]] = 0

    def _recall(self, row: int, memory: Memory, universe: Universe) -> None:
        """Take over the baselines that a listing had in an earlier run."""
        at = memory.place.get(universe.name(row))
        if at is None:
            return
        self.scores.baseline[:, :, row] = memory.baseline[:, :, at]
        self.columns.i32[c.OWN_COUNT, row] = memory.own_count[at]
        self.columns.u8[c.STRATUM, row] = memory.stratum[at]

    def _reset(self, row: int) -> None:
        """Forget the listing that had the row before."""
        slot = int(self.columns.i32[c.SLOT, row])
        if slot != c.NO_SLOT:
            self._slots_free.append(slot)
        mine: tuple[NDArray[Any], ...] = (*self.columns, *self.scores)
        blank: tuple[NDArray[Any], ...] = (*empty_columns(1), *empty_scores(1))
        for array, value in zip(mine, blank, strict=True):
            array[..., row] = value[..., 0]

    def _grow(self, capacity: int) -> None:
        """Make room for more listings, one array after the other: the old one goes at once."""
        old = len(self.tick_f64)
        columns: list[NDArray[Any]] = list(self.columns)
        scores: list[NDArray[Any]] = list(self.scores)
        self.columns, self.scores = empty_columns(0), empty_scores(0)
        self.columns = Columns(*_widened(columns, empty_columns(1), capacity))
        self.scores = Scores(*_widened(scores, empty_scores(1), capacity))
        extra, bar_rows = capacity - old, len(self.bar)
        if bar_rows:
            self.bar = np.vstack([self.bar, np.zeros((extra, c.LEVELS_USED))])
            self.bar_had_state = np.append(self.bar_had_state, np.zeros(extra, np.bool_))
        self.tick_f64 = np.append(self.tick_f64, np.full(extra, np.nan))
        self.seen = np.zeros(capacity, np.int32)
        self.fresh = np.zeros(capacity, np.uint32)
        self._generation = np.append(self._generation, np.zeros(extra, np.uint32))

    def _grow_books(self) -> None:
        slots = len(self.books.levels)
        if slots >= 1 << 21:
            raise CapacityError(f"depth slots: {slots} are in use, expected fewer than 2**21")
        # Room that no book has yet costs no memory: it is never touched.
        arrays: list[NDArray[Any]] = list(self.books)
        self.books = empty_books(0)
        self.books = Books(*_lengthened(arrays, 2 * slots))


def _is_here() -> None:
    """A State of the CPU is always at home."""


def _lengthened(arrays: list[NDArray[Any]], slots: int) -> Iterator[NDArray[Any]]:
    """Copies with room for more books; takes the arrays out."""
    while arrays:
        old = arrays.pop(0)
        longer = np.zeros((slots, *old.shape[1:]), old.dtype)
        longer[: len(old)] = old
        yield longer


def _widened(
    arrays: list[NDArray[Any]], blank: Iterable[NDArray[Any]], capacity: int
) -> Iterator[NDArray[Any]]:
    """Copies with room for more listings, of which `blank` is one; takes the arrays out."""
    for one in blank:
        old = arrays.pop(0)
        count = old.shape[-1]
        wide = np.empty((*old.shape[:-1], capacity), old.dtype)
        wide[..., :count] = old
        wide[..., count:] = one
        yield wide
