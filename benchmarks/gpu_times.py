# ruff: noqa: SLF001 - it times the insides of the product
"""How long copies, kernels and scans take on a GPU; asked by benchmarks/gpu.py alone.

Device times are taken by events. Each kernel is timed twice: cold, after a fill that is larger
than the L2 cache has pushed its arrays out, and warm, at once after itself. The bytes beside are
predicted: those that the kernel's PTX touches on the same market (tests/gpu/traffic.py).
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels import columns as c
from kernels.compile_cuda import cubin_of
from kernels.device import CpuDevice
from kernels.gpu import program, words
from kernels.gpu.program import Clear, Launch
from scanner.resident import Resident
from scanner.tick import scan
from tests.gpu.full_market import NOW_NS, SECOND, full_state, one_quote_each, one_ticker_each

LISTINGS = (10_000, 100_000, 1_600_000)
REPEATS = 21
COPY_BYTES = 1 << 30
PINNED_BYTES = tuple(4**k << 10 for k in range(1, 9))  # 4 KiB to 64 MiB
LAUNCHES = 100  # In a row, for the host's share: fewer than a stream holds before it blocks.
SETTINGS = {"top_k": 50, "hold_ns": 300 * SECOND, "members_min": 8, "window_ns": 60 * SECOND}


class Clock:
    """Microseconds between two events on the stream of a device."""

    def __init__(self, device: Any) -> None:
        from cuda.core import Device, EventOptions

        self.card, self.stream = Device(0), device._stream
        options = EventOptions(timing_enabled=True)
        self._first, self._last = (self.card.create_event(options) for _ in range(2))

    def us(self, work: Callable[[], object]) -> float:
        """Of what `work` queues."""
        self.stream.record(self._first)
        work()
        self.stream.record(self._last)
        self._last.sync()
        return 1e3 * (self._last - self._first)


def median_us(
    clock: Clock, work: Callable[[], object], before: Callable[[], object] | None = None
) -> float:
    """Median over the repeats; `before` runs ahead of each, outside the clock."""
    times = []
    for _ in range(REPEATS):
        if before is not None:
            before()
        times.append(clock.us(work))
    return statistics.median(times)


def measure(
    device: Any, listings: tuple[int, ...] = LISTINGS, copy_bytes: int = COPY_BYTES
) -> dict[str, Any]:
    """Copies first, then every size."""
    from tests.gpu.traffic import counted_traffic

    clock = Clock(device)
    traffic = counted_traffic()
    copies = copy_rates(clock, copy_bytes)
    return {
        "copies": copies,
        "empty_us": median_us(clock, lambda: None),
        "sizes": [
            of_size(count, device, clock, traffic, copies["device_gb_s"]) for count in listings
        ],
    }


def copy_rates(clock: Clock, copy_bytes: int) -> dict[str, Any]:
    """GB/s, bytes read and written counted on the device, bytes moved on the bus."""
    from cuda.core import Buffer, LegacyPinnedMemoryResource

    source, target = (clock.card.allocate(copy_bytes, stream=clock.stream) for _ in range(2))
    source.fill(1, stream=clock.stream)
    us = median_us(clock, lambda: source.copy_to(target, stream=clock.stream))
    found: dict[str, Any] = {
        "device_gb_s": 2 * copy_bytes / us / 1e3,
        "host_to_device_gb_s": {},
        "device_to_host_gb_s": {},
    }
    for size in (size for size in PINNED_BYTES if size <= copy_bytes):
        pinned = LegacyPinnedMemoryResource().allocate(size)
        part = Buffer.from_handle(int(target.handle), size, owner=target)
        for name, work in (
            ("host_to_device_gb_s", part.copy_from),
            ("device_to_host_gb_s", part.copy_to),
        ):
            found[name][size] = (
                size / median_us(clock, lambda w=work, p=pinned: w(p, stream=clock.stream)) / 1e3
            )
    return found


def of_size(
    count: int, device: Any, clock: Clock, traffic: dict[str, Any], roof_gb_s: float
) -> dict[str, Any]:
    """Kernels one by one, a whole scan as one graph, its launch, and the scan as its caller waits."""
    market = Market(count, device, clock)
    kernels = {}
    for node in market.nodes():
        if isinstance(node, Clear):
            continue
        work, predicted = market.launcher(node), traffic[node.kernel].predicted(count)
        cold = median_us(clock, work, lambda: (market.prepare(), market.flush()))
        kernels[node.kernel] = {
            "cold_us": cold, "warm_us": median_us(clock, work, market.prepare),
            "bytes": predicted, "share_of_copy": predicted / cold / 1e3 / roof_gb_s,
        }  # fmt: skip
    graph = device.graph(market.nodes())
    return {
        "listings": count, "kernels": kernels,
        "graph_us": median_us(clock, lambda: device.launch(graph), lambda: (market.prepare(), market.flush())),
        "graph_bytes": sum(one["bytes"] for one in kernels.values()),
        "host_us_per_launch": market.host_us(graph),
        "scan_ms": market.scan_ms(), "cpu_scan_ms": cpu_scan_ms(count), "cpu_threads": market.host.threads,
    }  # fmt: skip


class Market:
    """A full market on the device, and what brings it back to where a repeat begins."""

    def __init__(self, count: int, device: Any, clock: Clock) -> None:
        self.count, self.device, self.clock = count, device, clock
        self.host = CpuDevice(0, "beside a GPU")
        self.state = full_state(count)
        self.resident = Resident(self.state, device, self.host)
        # Rows first: an inbox that grows for them forgets the tickers.
        self.resident.apply(one_quote_each(self.state, count, 7.0))
        self.resident.apply_tickers(one_ticker_each(count))
        self.arrays = self.resident._placed
        self.now_ns, self.turn = NOW_NS, 0
        other = one_quote_each(self.state, count, 9.0).size
        # Sizes that take turns, so that every repeat of apply finds news.
        self._sizes = (
            self.arrays.batch.size,
            device.allocate(self.arrays.batch.size.shape, np.float32),
        )
        device.upload([(self._sizes[1], other)])
        self._fresh = self._row_of(self.arrays.columns.u8, c.FRESH)
        self._ones = self._buffer(np.ones(self._fresh.size, np.uint8))
        level2 = clock.card.properties.l2_cache_size
        self._flushed = clock.card.allocate(max(16, 2 * level2), stream=clock.stream)

    def _row_of(self, array: Any, row: int) -> Any:
        from cuda.core import Buffer

        size = array.shape[1] * array.dtype.itemsize
        return Buffer.from_handle(array.pointer + row * size, size, owner=array.memory)

    def _buffer(self, values: np.ndarray) -> Any:
        held = self.device.allocate(values.shape, values.dtype)
        self.device.upload([(held, values)])
        return held.memory

    def nodes(self) -> list[Any]:
        """A tick and a scan."""
        return [*program.apply_program(self.arrays), *program.scan_program(self.arrays)]

    def prepare(self) -> None:
        """Make every listing fresh again, a second later."""
        self.now_ns += SECOND
        tick = self.resident._words
        self.resident._set_words(self.now_ns, self.count, **SETTINGS)
        tick[[words.SEGMENTS, words.TICKER_SEGMENTS]] = self.count
        self.device.upload([(self.arrays.tick, tick)])
        self._fresh.copy_from(self._ones, stream=self.clock.stream)

    def flush(self) -> None:
        """Push everything else out of the L2 cache."""
        self._flushed.fill(self.turn % 2, stream=self.clock.stream)

    def launcher(self, node: Launch) -> Callable[[], None]:
        """Launch of one kernel by itself; its batch takes turns, where it has one."""
        from cuda.core import LaunchConfig, ObjectCode, launch

        from kernels.cuda_device import flattened

        kernel = ObjectCode.from_cubin(cubin_of(node.kernel, self.device.capability)).get_kernel(
            node.kernel
        )
        config = LaunchConfig(grid=node.grid, block=node.threads)
        turns = [
            flattened(
                [a._replace(size=size) if a is self.arrays.batch else a for a in node.arguments]
            )
            for size in self._sizes
        ]

        def work() -> None:
            self.turn += 1
            launch(self.clock.stream, config, kernel, *turns[self.turn % 2])

        return work

    def host_us(self, graph: Any) -> float:
        """The host's time to queue one launch of a graph, while the device is busy with others."""
        self.clock.us(lambda: None)
        began = time.perf_counter()
        for _ in range(LAUNCHES):
            self.device.launch(graph)
        return 1e6 * (time.perf_counter() - began) / LAUNCHES

    def scan_ms(self) -> float:
        """What a caller waits for a scan: words up, the graph, every column of the result down."""
        self.clock.us(lambda: None)
        times = []
        for _ in range(REPEATS):
            self.prepare()
            self.clock.us(lambda: None)
            began = time.perf_counter()
            self.resident.scan(self.now_ns + 1, self.count, **SETTINGS)
            times.append(1e3 * (time.perf_counter() - began))
        return statistics.median(times)


def cpu_scan_ms(count: int) -> float:
    """The same scan on this machine's CPU, all threads."""
    state, host = full_state(count), CpuDevice(0, "beside a GPU")
    times = []
    for k in range(1, REPEATS + 1):
        state.columns.u8[c.FRESH, :count] = 1
        began = time.perf_counter()
        scan(NOW_NS + k * SECOND, count, state, host, **SETTINGS)
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def tables(times: dict[str, Any]) -> str:
    """Results as lines of Markdown, each table with what it was printed by."""
    copies = times["copies"]
    lines = [
        "Printed by `benchmarks/gpu.py`.", "",
        f"Device copy {copies['device_gb_s']:,.0f} GB/s (read and written); two events alone {times['empty_us']:.1f} us.", "",
        "| pinned copy | to the device GB/s | from it GB/s |", "|--:|--:|--:|",
    ]  # fmt: skip
    for size, rate in copies["host_to_device_gb_s"].items():
        lines.append(
            f"| {int(size) >> 10:,} KiB | {rate:.1f} | {copies['device_to_host_gb_s'][size]:.1f} |"
        )
    lines += [
        "", "| listings | kernel | cold us | warm us | predicted MB | share of the copy rate |",
        "|--:|---|--:|--:|--:|--:|",
    ]  # fmt: skip
    for one in times["sizes"]:
        lines += [
            f"| {one['listings']:,} | `{name}` | {k['cold_us']:.1f} | {k['warm_us']:.1f} | "
            f"{k['bytes'] / 1e6:,.2f} | {k['share_of_copy']:.0%} |"
            for name, k in one["kernels"].items()
        ]
    lines += [
        "", "| listings | tick and scan as one graph us | predicted MB | launch, host us | scan, caller ms | CPU scan ms (threads) |",
        "|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    lines += [
        f"| {one['listings']:,} | {one['graph_us']:.1f} | {one['graph_bytes'] / 1e6:,.1f} | {one['host_us_per_launch']:.2f} | "
        f"{one['scan_ms']:.2f} | {one['cpu_scan_ms']:.2f} ({one['cpu_threads']}) |"
        for one in times["sizes"]
    ]
    return "\n".join(lines) + "\n"
