"""Stage 6 of 8: integer counts of a scan's rows, cumulated tables, and the common scales."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Blocks, Common
from kernels.rows.histogram import fold_scale


def count_blocks(
    blocks: Blocks, hour_1: NDArray[np.int64], hour_2: NDArray[np.int64],
    total_1: NDArray[np.int64], total_2: NDArray[np.int64], common: Common,
) -> None:  # fmt: skip
    """Move a scan's counts to the current hour, the totals, their suffix sums and common scales.

    hour_1, total_1: int64[stratum, driver, bin]; hour_2, total_2: int64[stratum, list, bin].
    """
    for thread in range(blocks.rows.shape[0]):
        for s in range(c.STRATUM_COUNT):
            for k in range(c.DRIVER_COUNT):
                stop = blocks.last_1[thread, s, k] + 1
                if stop == 0:
                    continue
                common.fold_sum[s, k] += blocks.fold_sum[thread, s, k]
                common.fold_count[s, k] += blocks.fold_count[thread, s, k]
                blocks.fold_sum[thread, s, k] = 0
                blocks.fold_count[thread, s, k] = 0
                blocks.last_1[thread, s, k] = -1
                move_counts(stop, blocks.count_1[thread, s, k], hour_1[s, k], total_1[s, k])
                sum_above(stop, total_1[s, k], common.above_1[s, k])
            for li in range(c.LIST_COUNT):
                stop = blocks.last_2[thread, s, li] + 1
                blocks.last_2[thread, s, li] = -1
                move_counts(stop, blocks.count_2[thread, s, li], hour_2[s, li], total_2[s, li])
                sum_above(stop, total_2[s, li], common.above_2[s, li])


def move_counts(
    stop: int, counts: NDArray[np.int32], hour: NDArray[np.int64], total: NDArray[np.int64]
) -> None:
    """Add the counts of the bins before `stop` to two tables, and set them to 0."""
    for b in range(stop):
        hour[b] += counts[b]
        total[b] += counts[b]
    for b in range(stop):
        counts[b] = 0


def sum_above(stop: int, total: NDArray[np.int64], above: NDArray[np.int64]) -> None:
    """Suffix sums, above[j] = sum of total[j:], where only bins before `stop` have changed."""
    running = above[stop] if stop < above.size else np.int64(0)
    for j in range(stop - 1, -1, -1):
        running += total[j]
        above[j] = running


def cumulate(total: NDArray[np.int64], above: NDArray[np.int64]) -> None:
    """Suffix sums along the last axis of int64[a, b, bin]."""
    for a in range(total.shape[0]):
        for b in range(total.shape[1]):
            sum_above(total.shape[2], total[a, b], above[a, b])


def fold_scales(now_ns: int, common: Common) -> None:
    """Fold what has accumulated since the last fold into the common scales."""
    for s in range(c.STRATUM_COUNT):
        for k in range(c.DRIVER_COUNT):
            fold_scale(s, k, now_ns, common)
