"""Every change that a kernel must not survive makes a check red; the same check is green without.

A mutation is a text of one source, replaced. Its check is the smallest that should notice: a twin
on one world, or a rule on the PTX or the machine code.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from kernels import columns as c
from kernels.gpu import histogram, rank
from tests.gpu import cases, worlds
from tests.gpu.batches import tickers_of

pytest.importorskip("numba_cuda", reason="make gpu-check installs the CUDA packages")
pytestmark = pytest.mark.gpu_check

from kernels.compile_cuda import ptx_of  # noqa: E402 - after the skip
from tests.gpu.emulated import CAPABILITY, kernel  # noqa: E402
from tests.gpu.mutants import mutant_ptx  # noqa: E402
from tests.gpu.ptx import MachineFault, parse  # noqa: E402
from tests.gpu.static import faults, measure  # noqa: E402
from tests.gpu.twins import check  # noqa: E402


@dataclass(frozen=True)
class Mutation:
    """One change of one source, and who must notice it.

    by: a name in WORLDS, "ptx" for the rules on the text, or "local" for local memory.
    told: what the check says; "differ" where bits of the twins do.
    """

    name: str
    kernel: str
    file: str
    before: str
    after: str
    by: str
    told: str = "differ"


def expiring():
    made = worlds.world(33)
    made["columns"].i64[c.EXPIRY_NS] = worlds.NOW_NS
    made["columns"].validity[:] = 0
    return made


def best_of_blocks():
    made = cases.to_rank(1, 2)
    keys = cases.keys_of("random", (c.LIST_COUNT, 2 * rank.K_MAX), np.random.default_rng(1))
    return made | {"ranking": made["ranking"]._replace(block_best=keys)}


def all_ranked():
    made = cases.to_rank(1000, 1, "ascending")
    made["columns"].i64[c.OBSERVED_NS] = worlds.NOW_NS - worlds.HOLD_NS
    return made


def with_tickers():
    made = worlds.world(64)
    made["tick"] = worlds.words_of(64, ticker_segments=64)
    return made | {"tickers": tickers_of(range(64), 1)}


def with_out(name):
    return lambda: cases.of_rows(name, worlds.world(1000), 1000, 0)


# World, grid and threads by the name of a check.
WORLDS = {
    "expire": (expiring, 1, 32),
    "activity": (with_out("activity"), 8, 128),
    "metrics": (with_out("metrics"), 8, 128),
    "observe": (lambda: worlds.world(1000), 8, 128),
    "group_sums": (lambda: worlds.world(1000), 8, 128),
    "group_scores": (lambda: cases.summed(1), 3, 64),
    "block_top_k": (all_ranked, (1, c.LIST_COUNT), rank.THREADS),
    "top_k": (best_of_blocks, c.LIST_COUNT, rank.THREADS),
    "count_marks": (lambda: cases.marked(33), (1, histogram.COLUMN_COUNT), histogram.THREADS),
    "cumulate": (lambda: worlds.world(1), histogram.TABLE_ROWS, histogram.THREADS),
    "apply_tickers": (with_tickers, 1, 64),
    "first book": (lambda: cases.first_book("quote"), 1, 32),
    "full sides": (cases.full_sides, 1, 128),
    "books": (lambda: cases.busy_books(8, 12), 2, 128),
}

# Texts too long for the table.
FIRST_BARRIER = """    cuda.syncwarp()  # Every lane reads what lane 0 wrote for the update before.
"""
CLEARED = """    cuda.syncthreads()
    for i in range(cuda.grid(1)"""
FILL = """    if cuda.threadIdx.x == 0:
        gathered[0] = 0
    cuda.syncthreads()


def gather"""
SUMMED = """    own = np.int64(0)
    for j in range(t * run, (t + 1) * run):
        own += total[j]
"""
LOCAL = """    held = cuda.local.array(4, np.int64)
    for j in range(4):
        held[j] = np.int64(0)
    for j in range(t * run, (t + 1) * run):
        held[j & 3] += total[j]
    own = held[0] + held[1] + held[2] + held[3]
"""

MUTATIONS = (
    # Synchronisation.
    Mutation("no barrier before a book is read", "apply", "gpu/apply.py",
             FIRST_BARRIER, "",
             "first book", "race"),
    Mutation("no barrier before lane 0 writes", "apply", "gpu/apply.py",
             "    cuda.syncwarp()  # Every lane has read what lane 0 writes below.\n", "",
             "first book", "race"),
    Mutation("no barrier after the counts are cleared", "count_marks", "gpu/histogram.py",
             CLEARED, CLEARED.split("\n")[1],
             "count_marks", "race"),
    Mutation("no barrier before the counts are read", "count_marks", "gpu/histogram.py",
             "    cuda.syncthreads()\n    add_counts", "    add_counts", "count_marks", "race"),
    Mutation("no barrier between reading and adding in a scan", "cumulate", "gpu/histogram.py",
             "        cuda.syncthreads()\n        sums[t] += behind", "        sums[t] += behind",
             "cumulate", "race"),
    Mutation("no barrier before the buffer's fill is read", "top_k", "gpu/rank.py",
             "    cuda.syncthreads()\n    full =", "    full =", "top_k", "race"),
    Mutation("no barrier between rounds of a sort", "top_k", "gpu/rank.py",
             "            cuda.syncthreads()\n            stride //= 2", "            stride //= 2",
             "top_k", "race"),
    Mutation("a barrier that a part of the block skips", "count_marks", "gpu/histogram.py",
             "    cuda.syncthreads()\n    add_counts",
             "    if cuda.threadIdx.x < 100:\n        cuda.syncthreads()\n    add_counts",
             "count_marks", "race"),
    # Atomics and first values.
    Mutation("members counted without an atomic", "group_sums", "gpu/group.py",
             "cuda.atomic.add(groups.sums, (MEMBERS, group), 1)",
             "groups.sums[MEMBERS, group] += 1", "group_sums", "race"),
    Mutation("bins counted without an atomic", "count_marks", "gpu/histogram.py",
             "cuda.atomic.add(count, s * bins + b, 1)", "count[s * bins + b] += 1",
             "count_marks", "race"),
    Mutation("a float summed atomically", "group_sums", "gpu/group.py",
             "cuda.atomic.add(groups.pooled, 1, 1)",
             "cuda.atomic.add(groups.p, 1, columns.f32[c.PRESSURE, i])", "ptx", "atomically"),
    Mutation("sums of a block not cleared", "count_marks", "gpu/histogram.py",
             "        fold[cuda.threadIdx.x] = 0\n", "        pass\n",
             "count_marks", "nobody wrote"),
    Mutation("a buffer's fill not cleared", "top_k", "gpu/rank.py",
             FILL, FILL.split("\n", 2)[2], "top_k", "nobody wrote"),
    Mutation("rows that are not fresh not marked", "observe", "gpu/score.py",
             "marks.stratum[i] = HELD", "pass", "observe"),
    # Bounds and lanes.
    Mutation("one row too many", "expire", "gpu/expire.py",
             "tick[words.ROW_COUNT], cuda", "tick[words.ROW_COUNT] + 1, cuda", "expire"),
    Mutation("no second round of the grid", "expire", "gpu/expire.py",
             "cuda.gridsize(1)", "1 << 40", "expire"),
    Mutation("no bound on the rows that are ranked", "block_top_k", "gpu/rank.py",
             "if i < row_count and columns", "if columns", "block_top_k"),
    Mutation("one rank too many", "top_k", "gpu/rank.py",
             "buffer[t] if t < tick", "buffer[t] if t <= tick", "top_k"),
    Mutation("a row at the edge of the hold time dropped", "block_top_k", "gpu/rank.py",
             ">= tick[words.HOLD_AFTER_NS]", "> tick[words.HOLD_AFTER_NS]", "block_top_k"),
    Mutation("a buffer that is taken for larger", "block_top_k", "gpu/rank.py",
             "GATHERED_MAX = BUFFER - K_MAX - THREADS", "GATHERED_MAX = BUFFER - K_MAX",
             "block_top_k", "past the end"),
    Mutation("a bin too far in a suffix sum", "cumulate", "gpu/histogram.py",
             "j = (t + 1) * run - 1 - back", "j = (t + 1) * run - back",
             "cumulate", "past the end"),
    Mutation("a level removed from one lane too many", "apply", "gpu/apply.py",
             "moves = at <= lane < levels - 1", "moves = at <= lane < levels", "books"),
    Mutation("levels shuffled the other way", "apply", "gpu/apply.py",
             "cuda.shfl_down_sync(ALL_LANES, price, 1)", "cuda.shfl_up_sync(ALL_LANES, price, 1)",
             "books"),
    Mutation("a shuffle of half the lanes", "apply", "gpu/apply.py",
             "up_sync(ALL_LANES, level_size, 1)", "up_sync(0xFFFF, level_size, 1)",
             "books", "mask"),
    Mutation("a level pushed out that is not counted", "apply", "gpu/apply.py",
             "return price, level_size, levels, True", "return price, level_size, levels, False",
             "full sides"),
    Mutation("sides swapped", "apply", "gpu/apply.py",
             "if batch.side[row] > 0:", "if batch.side[row] < 0:", "books"),
    Mutation("anchors of the sides swapped", "apply_tickers", "rows/tickers.py",
             "c.ANCHOR_BID + side", "c.ANCHOR_ASK - side", "apply_tickers"),
    # Laws.
    Mutation("< for <= at expiry", "expire", "rows/expire.py",
             "expiry_ns <= now_ns", "expiry_ns < now_ns", "expire"),
    Mutation("<= for < at the end of a window", "group_sums", "rows/group.py",
             "< window_ns", "<= window_ns", "group_sums"),
    Mutation("<= for < at the fewest members", "group_scores", "rows/group.py",
             "count < members_min", "count <= members_min", "group_scores"),
    Mutation("puts that keep their sign", "group_sums", "rows/group.py",
             "-clipped if delta < ZERO else clipped", "clipped", "group_sums"),
    Mutation("another half-life", "activity", "rows/liquidity.py",
             "np.float32(1 / 300)", "np.float32(1 / 30)", "activity"),
    Mutation("money at another half-life", "metrics", "rows/features.py",
             "if h == HALF_LIFE_30:", "if h == 3:", "metrics"),
    Mutation("a silence cut shorter", "activity", "laws/decay.py",
             "f32(36_000)", "f32(360)", "activity"),
    Mutation("a coefficient one digit shorter", "group_sums", "laws/elementary.py",
             "3.3333331174e-1", "3.3333e-1", "group_sums"),
    Mutation("a sum in another order", "activity", "laws/decay.py",
             "return total * d + x * (ONE - d)", "return total * d + (x - x * d)", "activity"),
    # What the compiler may make of it.
    Mutation("contraction switched on", "activity", "cuda_compilers.py",
             "partial(nvvm.compile_ir, fma=False)", "partial(nvvm.compile_ir, fma=True)",
             "ptx", "rounding"),
    Mutation("a literal of double precision", "activity", "rows/liquidity.py",
             "return updates * depth", "return updates * 1.0 * depth", "ptx", "double precision"),
    Mutation("a library function", "group_scores", "rows/group.py",
             "math.sqrt(members)", "math.exp(members)", "ptx", "approximate"),
    Mutation("an array indexed at run time", "cumulate", "gpu/histogram.py",
             SUMMED, LOCAL, "local", "local accesses"),
)  # fmt: skip


def seen(by, name, ptx, program):
    """What a check says of a kernel; empty where it is green."""
    if by == "ptx":
        return " ".join(faults(ptx))
    if by == "local":
        found = measure(ptx, CAPABILITY).local_accesses
        return f"{found} local accesses" if found else ""
    build, grid, threads = WORLDS[by]
    try:
        check(name, build(), grid, threads, program)
    except (AssertionError, MachineFault) as red:
        return str(red)
    return ""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_makes_its_check_red(mutation, tmp_path, mutants):
    one = mutation
    ptx = mutant_ptx(tmp_path, one.kernel, one.file, one.before, one.after)
    found = seen(one.by, one.kernel, ptx, parse(ptx).kernel())
    mutants[one.name] = (one.kernel, one.by, found)
    assert one.told in found, found or "every bit was right"


CHECKS = sorted({(mutation.by, mutation.kernel) for mutation in MUTATIONS})


@pytest.mark.parametrize(("by", "name"), CHECKS)
def test_the_same_check_is_green_without(by, name):
    ptx = ptx_of(name, CAPABILITY) if by in ("ptx", "local") else ""
    assert seen(by, name, ptx, kernel(name)) == ""
