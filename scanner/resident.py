"""Stages 4 to 6 of 8: a State that lives on a GPU; the host's arrays are its mirror.

Either the host or the device holds the truth, never both. Whoever on the host wants to read or
change the state calls `State.home()` first, and the next tick sends it away again. A steady tick
sends rows, launches one graph and fetches what the scan says; the state stays.
"""

from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import (
    Batch,
    GroupColumns,
    Marks,
    Ranking,
    Tables,
    Tickers,
)
from kernels.device import CpuDevice
from kernels.device_array import row_of
from kernels.errors import DeviceError
from kernels.gpu import program, rank, score, words
from kernels.gpu.program import Arrays
from kernels.rows.features import METRIC_NAMES
from kernels.rows.group import SUM_COUNT
from scanner.liquidity import classes_after
from scanner.result import LISTS, ScanResult
from scanner.rollup import Grouping
from scanner.state import State, empty_marks
from scanner.tick import (
    CLASS_EVERY_NS,
    CLASS_FIRST_NS,
    Fresh,
    MetricColumns,
    cumulate,
    group_result,
    ids_of,
    scan_result,
)

INBOX_ROWS: Final = 16_384  # At first; it doubles when a tick brings more.
APPLY_WARPS: Final = 4_096


class Device(Protocol):
    """What a State needs of a device; kernels.cuda_device.CudaDevice is one."""

    def compiled_before(self) -> bool:
        """Whether every kernel was compiled for the device before."""

    def warm_up(self) -> None:
        """Compile what was not."""

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Allocate an array; its contents are undefined."""

    def upload(self, pairs: Any) -> None:
        """Queue copies of host arrays to the fronts of device arrays."""

    def fetch(self, pairs: Any) -> None:
        """Copy the fronts of device arrays into host arrays, and wait for them."""

    def graph(self, nodes: Any) -> Any:
        """Make a graph of launches."""

    def launch(self, graph: Any) -> None:
        """Queue a graph."""


class Resident:
    """Ticks and scans of one State on one device."""

    def __init__(self, state: State, device: Device, host: CpuDevice) -> None:
        """Take over a state; nothing is allocated before the first tick.

        Args:
            state: its arrays stay the mirror.
            device: that runs the graphs.
            host: for what is done once an hour.

        Raises:
            DeviceError: the state keeps bars, which are sums in double precision.
        """
        if len(state.bar):
            raise DeviceError("bars of order flow were asked for on 'cuda', expected 'cpu'")
        self._state, self._device, self._host = state, device, host
        self._away = False
        self._staged = False
        self._inbox_rows = INBOX_ROWS
        self._words = np.zeros(words.WORD_COUNT, np.int64)
        self._arrays: Arrays | None = None
        self._mirror: list[tuple[Any, NDArray[Any]]] = []
        state.home = self.come_home

    def apply_tickers(self, tickers: Tickers) -> None:
        """Send a tick's tickers; they are applied with its rows."""
        a = self._send(len(tickers.rx_ns))
        if self._staged:  # The tick before was no scan: it goes now.
            self._launch(self._ticking)
        self._words[words.SEGMENTS] = 0
        self._words[words.TICKER_SEGMENTS] = len(tickers.listing)
        self._staged = True
        if len(tickers.listing):
            self._device.upload(zip(a.tickers, tickers, strict=True))

    def apply(self, batch: Batch) -> None:
        """Send a tick's rows; they are applied at the next launch."""
        a = self._send(len(batch.rx_ns))
        self._words[words.SEGMENTS] = len(batch.listing)
        self._staged = True
        self._device.upload(zip(a.batch, batch, strict=True))

    def come_home(self) -> None:
        """Bring everything back to the host's arrays, which hold the truth from here on."""
        if not self._away:
            return
        if self._staged:
            self._launch(self._ticking)
        self._device.fetch(self._mirror)
        counters = np.empty(self._placed.counters.shape, np.int64)
        self._device.fetch([(self._placed.counters, counters)])
        self._state.per_thread.counters[0] += counters.sum(axis=0)
        self._away = False

    def scan(
        self, now_ns: int, row_count: int, *, top_k: int, hold_ns: int, members_min: int,
        window_ns: int,
    ) -> ScanResult:  # fmt: skip
        """Score what is fresh at grid time now_ns, rank, then learn from it.

        Raises:
            ValueError: now_ns is not after the scan before, or top_k is beyond 256.
        """
        state = self._state
        if now_ns <= state.last_scan_ns:
            raise ValueError(f"scan: now_ns was {now_ns}, expected more than {state.last_scan_ns}")
        if top_k > rank.K_MAX:
            raise ValueError(f"scan: top_k was {top_k}, expected at most {rank.K_MAX}")
        if now_ns // 3_600_000_000_000 > state.reference.hour:
            self.come_home()
            state.reference.roll(now_ns)
            cumulate(state, self._host)
        self._send(0)
        self._set_words(now_ns, row_count, top_k, hold_ns, members_min, window_ns)
        self._assign_classes(now_ns, row_count)
        reference_count = state.common.above_2[:, 0, 0].copy()
        group_reference = state.groups.above[:, 0, 0][state.groups.kind[: state.groups.count]]
        self._launch(self._scanning)
        fresh, top = self._fetch_result(row_count)
        groups = group_result(
            now_ns - window_ns, row_count, group_reference.copy(), state, self._host
        )
        state.last_scan_ns = now_ns
        state.scan_count += 1
        metrics = MetricColumns(lambda: self.export_metrics(now_ns, row_count))
        result = scan_result(now_ns, row_count, fresh, reference_count, top, groups, state, metrics)
        return replace(result, on_device=_result_arrays(self._placed))

    def export_metrics(self, now_ns: int, row_count: int) -> dict[str, NDArray[np.float32]]:
        """Every metric of every row at now_ns, [listing] each."""
        a = self._send(0)
        if self._staged:
            self._launch(self._ticking)
        self._words[[words.NOW_NS, words.ROW_COUNT]] = now_ns, row_count
        out = self._device.allocate((len(METRIC_NAMES), self._state.capacity), np.float32)
        self._launch(self._device.graph(program.metrics_program(a, out)))
        host = np.empty(out.shape, np.float32)
        self._device.fetch([(out, host)])
        return dict(zip(METRIC_NAMES, host[:, :row_count], strict=True))

    def rollup(
        self, grouping: Grouping, now_ns: int, window_ns: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Sums and best keys of a grouping (kernels.gpu.rollup)."""
        a = self._send(0)
        if self._staged:
            self._launch(self._ticking)
        self._words[[words.NOW_NS, words.ROW_COUNT]] = now_ns, len(grouping.group)
        self._words[words.WINDOW_NS] = window_ns
        sums = np.empty((SUM_COUNT, len(grouping.listing)), np.int64)
        best = np.empty((c.LIST_COUNT, len(grouping.listing)), np.uint64)
        there = [self._device.allocate(x.shape, x.dtype) for x in (grouping.group, sums, best)]
        self._device.upload([(there[0], grouping.group)])
        self._launch(self._device.graph(program.rollup_program(a, *there)))
        self._device.fetch(zip(there[1:], (sums, best), strict=True))
        return sums, best

    @property
    def _placed(self) -> Arrays:
        assert self._arrays is not None
        return self._arrays

    def _send(self, rows: int) -> Arrays:
        """Make the device hold the truth, with room for so many rows in the inbox."""
        if self._arrays is not None and rows > self._inbox_rows:
            self.come_home()
        if not self._away:
            if self._arrays is None or rows > self._inbox_rows or not self._fits():
                while self._inbox_rows < rows:
                    self._inbox_rows *= 2
                self._place()
            self._device.upload(self._mirror)
            zero = np.zeros(self._placed.counters.shape, np.int64)
            self._device.upload([(self._placed.counters, zero)])
            self._away = True
        return self._placed

    def _fits(self) -> bool:
        """Whether the host's arrays are still those of the mirror; growth replaces them."""
        return all(
            host.shape == array.shape
            for (array, _), host in zip(self._mirror, _state_arrays(self._state), strict=True)
        )

    def _place(self) -> None:
        """Allocate the device's arrays for the state as it is, and make the graphs."""
        allocate, state = self._device.allocate, self._state
        hosts = _state_arrays(state)
        arrays = [allocate(host.shape, host.dtype) for host in hosts]
        self._mirror = list(zip(arrays, hosts, strict=True))
        placed = iter(arrays)

        def take(bundle: Any, count: int) -> Any:
            return bundle(*(next(placed) for _ in range(count)))

        rows, n = self._inbox_rows, state.capacity
        columns, books = take(type(state.columns), 5), take(type(state.books), 4)
        scores, common = take(type(state.scores), 9), take(type(state.common), 7)
        groups, tables = take(GroupColumns, 7), take(Tables, 6)
        key_count = program.rank_blocks(n) * rank.K_MAX
        self._arrays = Arrays(
            tick=allocate((words.WORD_COUNT,), np.int64),
            batch=Batch(*(allocate((rows + more,), dtype) for dtype, more in _BATCH)),
            tickers=Tickers(
                allocate((rows,), np.int64), allocate((rows,), np.int64),
                allocate((rows, len(c.TICKER_FIELDS)), np.float32),
                allocate((rows,), np.int32), allocate((rows + 1,), np.int64),
            ),
            columns=columns,
            books=books,
            scores=scores,
            common=common,
            marks=Marks(*(allocate(a.shape, a.dtype) for a in empty_marks(n))),
            groups=groups,
            tables=tables,
            ranking=Ranking(
                allocate((c.LIST_COUNT, key_count), np.uint64),
                allocate((c.LIST_COUNT, rank.K_MAX), np.uint64),
            ),
            counters=allocate((APPLY_WARPS, len(c.COUNTER_NAMES)), np.int64),
        )  # fmt: skip
        apply = program.apply_program(self._arrays)
        self._ticking = self._device.graph(apply)
        self._scanning = self._device.graph(apply + program.scan_program(self._arrays))

    def _launch(self, graph: Any) -> None:
        """Send the words and run a graph; what was staged is then applied."""
        self._device.upload([(self._placed.tick, self._words)])
        self._device.launch(graph)
        self._words[[words.SEGMENTS, words.TICKER_SEGMENTS]] = 0
        self._staged = False

    def _set_words(
        self, now_ns: int, row_count: int, top_k: int, hold_ns: int, members_min: int,
        window_ns: int,
    ) -> None:  # fmt: skip
        state, w = self._state, self._words
        w[words.NOW_NS], w[words.ROW_COUNT] = now_ns, row_count
        w[words.WINDOW_NS], w[words.HOLD_AFTER_NS] = window_ns, now_ns - hold_ns
        w[words.MEMBERS_MIN], w[words.GROUP_COUNT] = members_min, state.groups.count
        w[words.HOUR], w[words.TOP_K] = state.reference.slot, top_k
        w[words.POOLED_MEAN_BITS] = np.float32(state.reference.pooled_mean).view(np.int32)

    def _assign_classes(self, now_ns: int, row_count: int) -> None:
        """Assign liquidity classes when they are due; the host alone writes them."""
        state = self._state
        if state.class_due_ns == 0:
            state.class_due_ns = now_ns + CLASS_FIRST_NS
        if now_ns < state.class_due_ns:
            return
        state.class_due_ns = now_ns + CLASS_EVERY_NS
        a = self._placed
        if self._staged:
            self._launch(self._ticking)
        out = self._device.allocate((state.capacity,), np.float32)
        self._launch(self._device.graph(program.activity_program(a, out)))
        activity = np.empty(state.capacity, np.float32)
        self._device.fetch([(out, activity), (a.columns.u8, state.columns.u8)])
        held = state.columns.u8[c.LIQUIDITY, :row_count]
        held[:] = classes_after(activity[:row_count], held)
        self._device.upload([(a.columns.u8, state.columns.u8)])

    def _fetch_result(self, row_count: int) -> tuple[Fresh, dict[str, NDArray[np.uint32]]]:
        """Bring what a ScanResult borrows to the mirror; returns fresh rows and ranked lists."""
        a, state = self._placed, self._state
        col, sc, g, common = state.columns, state.scores, state.groups, state.common
        pooled, best = np.empty(2, np.int64), np.empty(a.ranking.best.shape, np.uint64)
        stratum = np.empty(state.capacity, np.int8)
        above = np.empty(a.groups.above.shape, np.int64)
        self._device.fetch([
            (row_of(a.columns.i64, c.OBSERVED_NS, state.capacity), col.i64[c.OBSERVED_NS]),
            (row_of(a.columns.i32, c.OWN_COUNT, state.capacity), col.i32[c.OWN_COUNT]),
            (a.columns.u8, col.u8), (a.columns.validity, col.validity),
            (a.scores.z, sc.z), (a.scores.p_feature, sc.p_feature), (a.scores.value, sc.value),
            (a.scores.mean, sc.mean), (a.scores.statistic, sc.statistic), (a.scores.p, sc.p),
            (a.scores.score, sc.score), (a.groups.sums, g.sums),
            (a.groups.statistic, g.statistic), (a.groups.p, g.p), (a.groups.bins, g.bins),
            (a.groups.pooled, pooled), (a.groups.above, above), (a.common.scale, common.scale),
            (a.common.above_2, common.above_2), (a.ranking.best, best),
            (a.marks.stratum, stratum),
        ])  # fmt: skip
        g.above[:, 0, :] = above
        ref = state.reference
        ref.hours_pooled[ref.slot] += pooled
        ref.total_pooled += pooled
        validity = col.validity[:row_count]
        with_state = (validity & c.NO_STATE) == 0
        one_sided = ((validity & c.NO_BID) != 0) != ((validity & c.NO_ASK) != 0)
        fresh = Fresh(
            np.flatnonzero(stratum[:row_count] != score.HELD).astype(np.uint32),
            int(with_state.sum()),
            int((one_sided & with_state).sum()),
        )
        top = {name: ids_of(best[li][best[li] > 0]) for li, name in enumerate(LISTS)}
        return fresh, top


def _result_arrays(a: Arrays) -> dict[str, tuple[Any, int]]:
    """Where the device holds what a ScanResult says: attribute -> (array, its first row)."""
    return {
        "observed_ns": (a.columns.i64, c.OBSERVED_NS),
        "validity": (a.columns.validity, 0),
        "stratum": (a.columns.u8, c.STRATUM),
        "score": (a.scores.score, 0),
        "p": (a.scores.p, 0),
        "statistic": (a.scores.statistic, 0),
        "value": (a.scores.value, 0),
        "baseline": (a.scores.mean, 0),
        "z": (a.scores.z, 0),
        "p_feature": (a.scores.p_feature, 0),
    }


_BATCH: Final = (
    (np.int64, 0), (np.int64, 0), (np.int32, 0), (np.float32, 0), (np.uint8, 0), (np.int8, 0),
    (np.uint16, 0), (np.uint16, 0), (np.int32, 0), (np.int64, 1),
)  # fmt: skip


def _state_arrays(state: State) -> list[NDArray[Any]]:
    """Every array of a state that kernels read or write, bundle by bundle."""
    g, ref = state.groups, state.reference
    groups = (
        g.kind, g.sums, np.zeros(2, np.int64), g.above[:, 0, :], g.statistic, g.p, g.bins
    )  # fmt: skip
    tables = (
        ref.hours_1, ref.hours_2, ref.hours_group, ref.total_1, ref.total_2, ref.total_group
    )  # fmt: skip
    return [*state.columns, *state.books, *state.scores, *state.common, *groups, *tables]
