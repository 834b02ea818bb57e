"""Stage 6 of 8: integer counts of a scan's rows, cumulated tables, and the common scales.

count_marks: block -> (one driver or list, a share of the rows); counts gather in shared memory
cumulate:    block -> one row of a table; thread -> a run of bins; a scan over the threads' sums
"""

import numpy as np
from numba import cuda

from kernels import columns as c
from kernels.arrays import Common, GroupColumns, I64x1, Marks, Tables
from kernels.gpu import words
from kernels.rows.histogram import fold_scale

THREADS = 256
STAGE_1_BINS, STAGE_2_BINS = 1024, 2048
SHARED_BINS = c.STRATUM_COUNT * STAGE_2_BINS
FOLD_WORDS = 2 * c.STRATUM_COUNT  # Sum and count of every stratum.
COLUMN_COUNT = c.DRIVER_COUNT + c.LIST_COUNT  # Blocks of count_marks in y.
DRIVER_ROWS = c.STRATUM_COUNT * c.DRIVER_COUNT
LIST_ROWS = c.STRATUM_COUNT * c.LIST_COUNT
TABLE_ROWS = DRIVER_ROWS + LIST_ROWS + 2  # Blocks of cumulate.


def count_marks(tick: I64x1, marks: Marks, tables: Tables, common: Common) -> None:
    """Add the rows of one scan to the current hour, the totals and the common scales' sums."""
    count = cuda.shared.array(SHARED_BINS, np.int32)
    fold = cuda.shared.array(FOLD_WORDS, np.int64)
    column = cuda.blockIdx.y
    bins = STAGE_1_BINS if column < c.DRIVER_COUNT else STAGE_2_BINS
    for at in range(cuda.threadIdx.x, c.STRATUM_COUNT * bins, cuda.blockDim.x):
        count[at] = 0
    if cuda.threadIdx.x < FOLD_WORDS:
        fold[cuda.threadIdx.x] = 0
    cuda.syncthreads()
    for i in range(cuda.grid(1), tick[words.ROW_COUNT], cuda.gridsize(1)):
        s = marks.stratum[i]
        if s >= 0:
            if column < c.DRIVER_COUNT:
                b = np.int32(marks.bin_1[i, column])
                if b >= 0:
                    cuda.atomic.add(fold, 2 * s, np.int64(marks.fold[i, column]))
                    cuda.atomic.add(fold, 2 * s + 1, 1)
            else:
                b = np.int32(marks.bin_2[i, column - c.DRIVER_COUNT])
            if b >= 0:
                cuda.atomic.add(count, s * bins + b, 1)
    cuda.syncthreads()
    add_counts(tick[words.HOUR], column, bins, count, tables)
    if column < c.DRIVER_COUNT and cuda.threadIdx.x < c.STRATUM_COUNT:
        s = cuda.threadIdx.x
        if fold[2 * s + 1] != 0:
            cuda.atomic.add(common.fold_sum, (s, column), fold[2 * s])
            cuda.atomic.add(common.fold_count, (s, column), fold[2 * s + 1])


def add_counts(hour: int, column: int, bins: int, count: I64x1, tables: Tables) -> None:
    """Add a block's counts to the tables."""
    for at in range(cuda.threadIdx.x, c.STRATUM_COUNT * bins, cuda.blockDim.x):
        n = np.int64(count[at])
        if n != 0:
            s, b = at // bins, at % bins
            if column < c.DRIVER_COUNT:
                cuda.atomic.add(tables.hours_1, (hour, s, column, b), n)
                cuda.atomic.add(tables.total_1, (s, column, b), n)
            else:
                li = column - c.DRIVER_COUNT
                cuda.atomic.add(tables.hours_2, (hour, s, li, b), n)
                cuda.atomic.add(tables.total_2, (s, li, b), n)


def cumulate(tick: I64x1, tables: Tables, groups: GroupColumns, common: Common) -> None:
    """Suffix sums of one table row a block; a driver's block folds its common scale, too."""
    sums = cuda.shared.array(THREADS, np.int64)
    row = cuda.blockIdx.x
    if row < DRIVER_ROWS:
        s, k = row // c.DRIVER_COUNT, row % c.DRIVER_COUNT
        if cuda.threadIdx.x == 0:
            fold_scale(s, k, tick[words.NOW_NS], common)
        suffix_sums(tables.total_1[s, k], common.above_1[s, k], sums)
    elif row < DRIVER_ROWS + LIST_ROWS:
        s, li = (row - DRIVER_ROWS) // c.LIST_COUNT, (row - DRIVER_ROWS) % c.LIST_COUNT
        suffix_sums(tables.total_2[s, li], common.above_2[s, li], sums)
    else:
        kind = row - DRIVER_ROWS - LIST_ROWS
        suffix_sums(tables.total_group[kind], groups.above[kind], sums)


def suffix_sums(total: I64x1, above: I64x1, sums: I64x1) -> None:
    """above[j] = sum of total[j:], by one block of THREADS threads, which share `sums`."""
    t = cuda.threadIdx.x
    run = total.size // THREADS
    own = np.int64(0)
    for j in range(t * run, (t + 1) * run):
        own += total[j]
    sums[t] = own
    cuda.syncthreads()
    step = 1
    while step < THREADS:  # Hillis and Steele's scan, from the end.
        behind = sums[t + step] if t + step < THREADS else np.int64(0)
        cuda.syncthreads()
        sums[t] += behind
        cuda.syncthreads()
        step *= 2
    running = sums[t] - own
    for back in range(run):
        j = (t + 1) * run - 1 - back
        running += total[j]
        above[j] = running
