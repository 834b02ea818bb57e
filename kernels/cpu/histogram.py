"""Stage 6 of 8: integer counts of a scan's rows, cumulated tables, and the common scales."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Common, Marks
from kernels.rows.histogram import fold_scale


def count_marks(
    row_count: int, marks: Marks, hour_1: NDArray[np.int64], hour_2: NDArray[np.int64],
    total_1: NDArray[np.int64], total_2: NDArray[np.int64], common: Common,
) -> None:  # fmt: skip
    """Add the rows of one scan to the current hour, the totals and the common scales' sums.

    hour_1, total_1: int64[stratum, driver, bin]; hour_2, total_2: int64[stratum, list, bin].
    """
    for r in range(row_count):
        s = marks.stratum[r]
        if s < 0:
            continue
        for k in range(c.DRIVER_COUNT):
            b = marks.bin_1[r, k]
            if b >= 0:
                hour_1[s, k, b] += 1
                total_1[s, k, b] += 1
                common.fold_sum[s, k] += marks.fold[r, k]
                common.fold_count[s, k] += 1
        for li in range(c.LIST_COUNT):
            b = marks.bin_2[r, li]
            hour_2[s, li, b] += 1
            total_2[s, li, b] += 1


def cumulate(total: NDArray[np.int64], above: NDArray[np.int64]) -> None:
    """Suffix sums: above[a, b, j] = sum of total[a, b, j:], integers, exact in any order."""
    rows = total.shape[0] * total.shape[1]
    # Serial: 82,000 adds cost less than waking a second thread.
    for row in range(rows):
        a, b = row // total.shape[1], row % total.shape[1]
        running = np.int64(0)
        for j in range(total.shape[2] - 1, -1, -1):
            running += total[a, b, j]
            above[a, b, j] = running


def fold_scales(now_ns: int, common: Common) -> None:
    """Fold what has accumulated since the last fold into the common scales."""
    for s in range(c.STRATUM_COUNT):
        for k in range(c.DRIVER_COUNT):
            fold_scale(s, k, now_ns, common)
