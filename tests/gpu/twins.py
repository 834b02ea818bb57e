"""One launch, twice: by the CPU's launch shape, and by the PTX of its twin in the interpreter.

Both work in place on a world (tests.gpu.worlds). NaN is equal to NaN: IEEE leaves the payload to
the processor, and nothing reads it.
"""

import numpy as np

from kernels import columns as c
from kernels.arrays import Batch, Tickers
from kernels.compile import compiled
from kernels.compile_cuda import KERNELS, parameters
from kernels.cpu.median import BUCKETS, LANES, NETWORK_ROWS
from kernels.device import CpuDevice
from kernels.gpu import rank, score, words
from kernels.laws.bits import bits_float
from scanner.state import empty_per_thread
from tests.gpu.emulated import kernel
from tests.gpu.ptx import Memory, launch, numba_arguments
from tests.kernels.scored_rows import by_rows

# What no kernel writes: a store to it is a fault.
INPUTS = {"tick", "batch", "tickers"}


def copied(world):
    """A world of one's own."""
    return {name: _mapped(np.array, value) for name, value in world.items()}


def emulate(name, world, grid, threads, program=None):
    """Run a kernel in the interpreter; program: its parsed PTX, if not the product's."""
    memory = Memory()
    wanted = list(parameters(KERNELS[name]))
    placed = {
        what: _mapped(lambda a, what=what: memory.put(a, readonly=what in INPUTS), world[what])
        for what in wanted
    }
    flat, _ = numba_arguments(memory, [placed[what] for what in wanted])
    launch(program or kernel(name), grid, threads, flat, memory)
    for what in wanted:
        for handle, array in zip(_leaves(placed[what]), _leaves(world[what]), strict=True):
            array[...] = memory.read(handle)


def run_on_cpu(name, world):
    """Run the CPU's launch shape of the same name, with the same effect on a world."""
    globals()[f"_{name}"](_DEVICE, world)


def differences(ours, theirs):
    """Where two worlds differ, a line per array."""
    found = []
    for name, value in ours.items():
        fields = getattr(value, "_fields", ("",))
        for field, a, b in zip(fields, _leaves(value), _leaves(theirs[name]), strict=True):
            differs = differing(a, b)
            if differs.any():
                at = tuple(int(x) for x in np.argwhere(differs)[0])
                found.append(f"{name}.{field}{at}: {a[at]!r}, {b[at]!r}; {differs.sum()} differ")
    return found


def differing(a, b):
    """Elements whose bits differ, but for the payload of NaN."""
    if a.dtype.kind != "f":
        return a != b
    bits = f"u{a.dtype.itemsize}"
    return (a.view(bits) != b.view(bits)) & ~(np.isnan(a) & np.isnan(b))


def check(name, world, grid, threads, program=None):
    """Hold the twins together on one world."""
    on_cpu, emulated = copied(world), copied(world)
    run_on_cpu(name, on_cpu)
    emulate(name, emulated, grid, threads, program)
    for one in (on_cpu, emulated):
        _forget_what_is_not_promised(name, one)
    found = differences(on_cpu, emulated)
    assert not found, f"{name}: CPU and GPU differ: {'; '.join(found)}"


def _forget_what_is_not_promised(name, world):
    if name == "apply":  # Which warp counted what.
        world["counters"] = world["counters"].sum(axis=0)
    if name == "block_top_k":  # A block's keys behind its k best.
        best = world["ranking"].block_best
        best.reshape(c.LIST_COUNT, -1, rank.K_MAX)[:, :, _word(world, "TOP_K") :] = 0


def _mapped(function, value):
    if isinstance(value, tuple):
        return type(value)(*(function(array) for array in value))
    return function(value)


def _leaves(value):
    return value if isinstance(value, tuple) else (value,)


def _word(world, name):
    return int(world["tick"][getattr(words, name)])


def _apply(device, world):
    segments = _word(world, "SEGMENTS")
    batch, held = world["batch"], empty_per_thread(1)
    used = Batch(*batch[:8], batch.listing[:segments], batch.start[: segments + 1])
    device.apply(used, world["columns"], world["books"], np.zeros((0, 10)), held)
    world["counters"][0] += held.counters[0]


def _apply_tickers(device, world):
    segments, tickers = _word(world, "TICKER_SEGMENTS"), world["tickers"]
    used = Tickers(*tickers[:3], tickers.listing[:segments], tickers.start[: segments + 1])
    device.apply_tickers(used, world["columns"])


def _expire(device, world):
    rows, columns = _word(world, "ROW_COUNT"), world["columns"]
    ids, states = np.empty(rows, np.uint32), np.zeros(2, np.int64)
    device.find_fresh(rows, _word(world, "NOW_NS"), columns, ids, states)


def _metrics(device, world):
    ids = np.arange(_word(world, "ROW_COUNT"), dtype=np.uint32)
    device.metrics(ids, _word(world, "NOW_NS"), world["columns"], world["books"], world["out"])


def _activity(device, world):
    rows, now_ns = _word(world, "ROW_COUNT"), _word(world, "NOW_NS")
    device.activity(rows, now_ns, world["columns"], world["out"])


def _observe(device, world):
    """Row by row, as tests/kernels/test_blocks.py holds the blocks of the CPU to it, too.

    Its marks stand in the order of the fresh rows; a GPU's, in that of all rows.
    """
    rows, marks = _word(world, "ROW_COUNT"), world["marks"]
    ids = np.flatnonzero(world["columns"].u8[c.FRESH, :rows]).astype(np.uint32)
    compact = type(marks)(*(np.ascontiguousarray(array[ids]) for array in marks))
    compiled(by_rows)(
        ids, _word(world, "NOW_NS"), world["columns"], world["books"], world["scores"],
        world["common"], compact,
    )  # fmt: skip
    marks.stratum[:rows] = score.HELD
    for array, of_fresh in zip(marks, compact, strict=True):
        array[ids] = of_fresh


def _group_sums(device, world):
    groups = world["groups"]
    device.group_sums(
        _word(world, "ROW_COUNT"), _word(world, "NOW_NS"), _word(world, "WINDOW_NS"),
        world["columns"], world["scores"], groups.sums, groups.pooled,
    )  # fmt: skip


def _group_scores(device, world):
    n, g, tables = _word(world, "GROUP_COUNT"), world["groups"], world["tables"]
    kind, bins = g.kind[:n], g.bins[:n]
    mean = bits_float(_word(world, "POOLED_MEAN_BITS"))
    device.group_scores(
        g.sums, kind, mean, _word(world, "MEMBERS_MIN"), g.above, g.statistic[:n], g.p[:n], bins
    )
    scored = bins >= 0
    np.add.at(tables.hours_group[_word(world, "HOUR")], (kind[scored], bins[scored]), 1)
    np.add.at(tables.total_group, (kind[scored], bins[scored]), 1)


def _block_top_k(device, world):
    """Every block has the rows of every so many runs of THREADS."""
    rows, k, ranking = _word(world, "ROW_COUNT"), _word(world, "TOP_K"), world["ranking"]
    blocks = ranking.block_best.shape[1] // rank.K_MAX
    block_of_row = np.arange(rows) // rank.THREADS % blocks
    for li in range(c.LIST_COUNT):
        for block in range(blocks):
            keys = np.where(block_of_row == block, world["scores"].key[li, :rows], 0)
            best = np.zeros(k, np.uint64)
            hold = _word(world, "HOLD_AFTER_NS")
            observed_ns = world["columns"].i64[c.OBSERVED_NS]
            device.top_k(rows, hold, keys.astype(np.uint64), observed_ns, best)
            ranking.block_best[li, block * rank.K_MAX : block * rank.K_MAX + k] = best


def _top_k(device, world):
    k, ranking = _word(world, "TOP_K"), world["ranking"]
    for li in range(c.LIST_COUNT):
        keys = ranking.block_best[li]
        best = np.zeros(k, np.uint64)
        device.top_k(keys.size, 0, keys, np.zeros(keys.size, np.int64), best)
        ranking.best[li] = 0
        ranking.best[li, :k] = best


def _count_marks(_device, world):
    """Counted by numpy: the CPU counts rows while it scores them."""
    hour, rows = _word(world, "HOUR"), _word(world, "ROW_COUNT")
    tables, marks, common = world["tables"], world["marks"], world["common"]
    counted = np.flatnonzero(marks.stratum[:rows] >= 0)
    s = marks.stratum[counted]
    for k in range(c.DRIVER_COUNT):
        there = marks.bin_1[counted, k] >= 0
        at = (s[there], np.full(there.sum(), k), marks.bin_1[counted, k][there])
        np.add.at(tables.hours_1[hour], at, 1)
        np.add.at(tables.total_1, at, 1)
        np.add.at(common.fold_sum, at[:2], marks.fold[counted, k][there])
        np.add.at(common.fold_count, at[:2], 1)
    for li in range(c.LIST_COUNT):
        at = (s, np.full(len(s), li), marks.bin_2[counted, li])
        np.add.at(tables.hours_2[hour], at, 1)
        np.add.at(tables.total_2, at, 1)


def _segment_median_mad(device, world):
    segments = len(world["median"])
    device.segment_median_mad(
        world["values"], world["start"], np.arange(segments, dtype=np.int32),
        np.empty((1, (NETWORK_ROWS + 1) * LANES), np.float32), np.empty((1, BUCKETS), np.int32),
        world["median"], world["mad"],
    )  # fmt: skip


def _rollup(device, world):
    device.rollup(
        _word(world, "ROW_COUNT"), _word(world, "NOW_NS"), _word(world, "WINDOW_NS"),
        world["columns"], world["scores"], world["group"], world["sums"], world["best"],
    )  # fmt: skip


def _cumulate(device, world):
    tables, common = world["tables"], world["common"]
    device.fold_scales(_word(world, "NOW_NS"), common)
    device.cumulate(tables.total_1, common.above_1)
    device.cumulate(tables.total_2, common.above_2)
    device.cumulate(tables.total_group[:, None, :], world["groups"].above[:, None, :])


_DEVICE = CpuDevice(1, "the reference")
