"""Stages 3 to 6 of 8: `Scanner`, what a notebook, the command line and a run all use."""

import hashlib
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from feeds.contract import Listing
from feeds.events import EVENT, TICKER, EventRows, TickerRows, joined
from kernels import columns as c
from kernels.compile import cache_folder
from kernels.device import CpuDevice, open_device
from scanner.batch import REASONS, build_batch, build_tickers, empty_rows
from scanner.consolidated import Consolidated, consolidate
from scanner.result import ScanResult
from scanner.rollup import Grouping, Groupings, Rollups, rollup_here
from scanner.state import State
from scanner.tick import (
    MEMBER_STRENGTH_MIN,
    MEMBERS_NAMED,
    apply_batch,
    apply_tickers,
    cumulate,
    export_metrics,
    scan,
)
from scanner.universe import Universe

if TYPE_CHECKING:
    from scanner.config import ScanConfig
    from scanner.resident import Device, Resident

SECOND_NS: Final = 1_000_000_000
MS_NS: Final = 1_000_000
_NO_TICKERS: Final = np.empty(0, TICKER)


class Scanner:
    """The engine: rows in, scored listings out. Single-threaded; one tick or scan at a time.

        scanner = Scanner()
        scanner.add(listings)
        scanner.apply(rows, tickers)
        result = scanner.scan(now_ns)

    Attributes:
        universe: listings and their numbers.
        counts: rows refused, by reason.
        device: what the kernels run on.
    """

    def __init__(
        self,
        config: "ScanConfig | None" = None,
        *,
        bars: bool = False,
        device: "str | Device | None" = None,
    ) -> None:
        """Allocate everything for the configured capacity.

        Args:
            config: settings; None for the defaults.
            bars: also keep plain order-flow sums per bar (`scanner features`).
            device: overrides the configured device, by name or as one that was opened.

        Raises:
            DeviceError: the device is not there.
        """
        if config is None:
            from scanner.config import ScanConfig  # noqa: PLC0415 - pydantic costs 0.1 s

            config = ScanConfig()
        engine, limits = config.engine, config.limits
        self.config = config
        wanted = device or engine.device
        if bars and wanted == "auto":
            wanted = "cpu"  # Bars are sums in double precision, which a GPU does not keep.
        self.device: Any = (
            open_device(wanted, engine.threads) if isinstance(wanted, str) else wanted
        )
        # Rows are sorted on the host, whatever device they go to.
        self._host = (
            self.device
            if isinstance(self.device, CpuDevice)
            else CpuDevice(engine.threads, "for what the host does beside a GPU")
        )
        grace_ns = int(limits.retire_grace_s * SECOND_NS)
        self.universe = Universe(engine.listings_capacity, grace_ns)
        self._state = State(
            engine.listings_capacity, engine.depth_slots_capacity, self._host.threads, bars=bars
        )
        self._resident = self._send_away()
        self.counts: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self._tick_ns = engine.tick_ms * MS_NS
        self._groupings = Groupings(self.universe)
        self._pending: deque[EventRows] = deque()
        self._tickers: deque[TickerRows] = deque()
        self._open: EventRows = empty_rows()
        self.tick_count = 0

    def _send_away(self) -> "Resident | None":
        """Let a GPU hold the state, where one was chosen."""
        if self._host is self.device:
            return None
        from scanner.resident import Resident  # noqa: PLC0415 - imports numba's CUDA target

        return Resident(self._state, self.device, self._host)

    @property
    def state(self) -> State:
        """Columns and tables, on the host; borrowed between ticks."""
        self._state.home()
        return self._state

    def add(self, listings: Iterable[Listing]) -> list[int]:
        """Take listings into the universe; returns their listing ids, in order."""
        return [self.universe.add(listing) for listing in listings]

    def apply(self, rows: EventRows, tickers: TickerRows | None = None) -> None:
        """Hand over rows in the order of their receipt; they are applied at the next tick."""
        if len(rows):
            self._pending.append(rows)
        if tickers is not None and len(tickers):
            self._tickers.append(tickers)

    def take_pending(self) -> tuple[EventRows, TickerRows]:
        """Take what waits for a tick away, for those who record and do not scan."""
        forever_ns = np.iinfo(np.int64).max
        tickers = _due(self._tickers, forever_ns, TICKER)
        return _due(self._pending, forever_ns, EVENT), tickers

    @property
    def pending_rows(self) -> int:
        """Event rows waiting for a tick."""
        return sum(len(rows) for rows in self._pending)

    @property
    def has_pending(self) -> bool:
        """Whether event rows or tickers wait for a tick."""
        return bool(self._pending or self._tickers)

    def tick(self, now_ns: int) -> int:
        """Apply all pending rows received at or before now_ns; returns how many.

        A tick that spans several tick periods (late in a run, or from a table) stops at each that
        has tickers: a quote is measured against the greeks of its own time.
        """
        self._state.sync(self.universe)
        return sum(self._step(step_ns) for step_ns in [*self._ticker_times(now_ns), now_ns])

    def _ticker_times(self, now_ns: int) -> list[int]:
        """Beginnings and ends of the tick periods before now_ns in which tickers came."""
        if not self._tickers:
            return []
        firsts = [queue[0]["rx_ns"][0] for queue in (self._tickers, self._pending) if queue]
        if min(firsts) > now_ns - self._tick_ns:
            return []  # The usual case: the tick is one period long.
        times = []
        for rows in self._tickers:
            times.append(rows["rx_ns"][: np.searchsorted(rows["rx_ns"], now_ns, side="right")])
            if len(times[-1]) < len(rows):
                break
        ends = -(-np.concatenate(times) // self._tick_ns) * self._tick_ns
        steps = np.union1d(ends - self._tick_ns, ends)
        return [int(t) for t in steps if min(firsts) <= t < now_ns]

    def _step(self, now_ns: int) -> int:
        count = self.universe.row_count
        news = _due(self._tickers, now_ns, TICKER)
        tickers = build_tickers(news, count, self._state, self._host)
        if self._resident is not None:
            self._resident.apply_tickers(tickers)
        else:
            apply_tickers(tickers, self._state, self._host)
        rows = _due(self._pending, now_ns, EVENT)
        if not len(rows):
            return 0
        if len(self._open):
            rows = joined([self._open, rows], EVENT)
        batch, self._open = build_batch(rows, count, self._state, self._host, self.counts)
        if self._resident is not None:
            self._resident.apply(batch)
        else:
            apply_batch(batch, self._state, self._host)
        self.tick_count += 1
        return len(rows)

    def scan(self, now_ns: int) -> ScanResult:
        """Apply what is due and score at grid time now_ns.

        Raises:
            ValueError: now_ns is not after the scan before.
        """
        self.tick(now_ns)
        scoring = self.config.scoring
        run = self._resident.scan if self._resident is not None else self._scan_here
        window_ns = int(scoring.group_window_s * SECOND_NS)
        result = run(
            now_ns, self.universe.row_count,
            top_k=self.config.engine.top_k,
            hold_ns=int(scoring.score_hold_s * SECOND_NS),
            members_min=scoring.group_members_min,
            window_ns=window_ns,
        )  # fmt: skip
        if self._resident is not None:
            compute = partial(self._resident.rollup, now_ns=now_ns, window_ns=window_ns)
        else:
            compute = partial(
                rollup_here, now_ns=now_ns, window_ns=window_ns, state=self._state,
                device=self._host,
            )  # fmt: skip
        return replace(result, rollups=Rollups(self._groupings, compute, result.score))

    def _scan_here(self, now_ns: int, row_count: int, **settings: int) -> ScanResult:
        return scan(now_ns, row_count, self._state, self._host, **settings)

    def consolidated(self, now_ns: int) -> Consolidated:
        """Best bid and offer of every contract over all venues, as the last tick left them."""
        return consolidate(now_ns, self.state, self.universe)

    def due_hash(self, now_ns: int) -> str:
        """64-bit hash of the rows and tickers that a tick at now_ns would apply, hex."""
        digest = hashlib.blake2b(digest_size=8)
        for queue in (self._pending, self._tickers):
            for rows in queue:
                stop = int(np.searchsorted(rows["rx_ns"], now_ns, side="right"))
                digest.update(np.ascontiguousarray(rows[:stop]).view(np.uint8).data)
                if stop < len(rows):
                    break
        return digest.hexdigest()

    def compiled_before(self) -> bool:
        """Whether the kernels of exactly these sources were compiled on this machine before."""
        here = any(cache_folder().glob("**/*.nbi"))
        return here and (self._resident is None or self.device.compiled_before())

    def warm_up(self, *, rows: bool = True, scans: bool = True) -> None:
        """Compile or load every kernel: those of the host by running them all on nothing.

        Args:
            rows: those that rows go through, and those that somebody asks for now and then.
            scans: those of a scan, half of all the work.
        """
        scratch = State(1, 1, self._host.threads, bars=bool(len(self._state.bar)))
        if rows:
            self._warm_up_rows(scratch)
        if not scans:
            return
        if self._resident is None:
            scan(1, 0, scratch, self._host)
        else:
            cumulate(scratch, self._host)  # All else that is left to the host, once an hour.
            self.device.warm_up()

    def _warm_up_rows(self, scratch: State) -> None:
        batch, _ = build_batch(empty_rows(), 0, scratch, self._host, Counter())
        tickers = build_tickers(_NO_TICKERS, 0, scratch, self._host)
        # Called for notable groups alone, of which nothing has none.
        self._host.name_members(
            0, 0, MEMBER_STRENGTH_MIN, scratch.columns, scratch.scores.score[0],
            np.empty(0, np.bool_), np.empty((0, MEMBERS_NAMED), np.int32),
        )  # fmt: skip
        if self._resident is not None:
            return
        self._host.apply_tickers(tickers, scratch.columns)
        self._host.activity(0, 1, scratch.columns, np.empty(0, np.float32))
        self._host.apply(batch, scratch.columns, scratch.books, scratch.bar, scratch.per_thread)
        export_metrics(1, 0, scratch, self._host)
        nothing = Grouping(np.empty(0, np.int32), np.empty(0, np.uint32))
        rollup_here(nothing, 1, 1, scratch, self._host)

    def take_resyncs(self) -> list[int]:
        """Listings whose truncated book ran out since the last call; their feeds must resync."""
        # On a GPU the mirror is as old as the last scan; it comes home only if there is one.
        flags = self._state.columns.u8[c.NEEDS_RESYNC, : self.universe.row_count]
        wanted = np.flatnonzero(flags)
        if len(wanted):
            self._state.home()
            wanted = np.flatnonzero(flags)
            flags[wanted] = 0
        return [int(row) for row in wanted]

    def row_counts(self) -> dict[str, int]:
        """Counters of rows, by name: applied, refused by reason, inferred sides."""
        kernel = dict(
            zip(c.COUNTER_NAMES, self.state.per_thread.counters.sum(axis=0).tolist(), strict=True)
        )
        return kernel | dict(self.counts)


def _due(queue: "deque[Any]", now_ns: int, dtype: "np.dtype[Any]") -> EventRows:
    """Take the rows with rx_ns <= now_ns off a queue of arrays in the order of receipt."""
    due: list[EventRows] = []
    while queue:
        rows = queue[0]
        stop = int(np.searchsorted(rows["rx_ns"], now_ns, side="right"))
        if stop == len(rows):
            due.append(queue.popleft())
            continue
        if stop:
            due.append(rows[:stop])
            queue[0] = rows[stop:]
        break
    return joined(due, dtype)
