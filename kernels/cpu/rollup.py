"""Stage 6 of 8: what the members of a group say together, for any way of grouping."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Columns, Scores
from kernels.rows import group as g
from kernels.rows.group import is_counted, signed_pressure_of, strength_of


def rollup(
    listing_count: int, now_ns: int, window_ns: int, columns: Columns, scores: Scores,
    group: NDArray[np.int32], sums: NDArray[np.int64], best: NDArray[np.uint64],
) -> None:  # fmt: skip
    """Sum the members scored within the window, and keep the best rank key of each list.

    group: int32[listing], -1 = in none. sums: int64[sum of kernels.rows.group, group] and
    best: uint64[list, group], both 0 before.
    """
    for i in range(listing_count):
        at = group[i]
        if at < 0 or not is_counted(i, now_ns, window_ns, columns):
            continue
        sums[g.MEMBERS, at] += 1
        sums[g.STRENGTH, at] += strength_of(i, scores)
        sums[g.OBSERVED_NOW, at] += columns.i64[c.OBSERVED_NS, i] == now_ns
        pressure = columns.f32[c.PRESSURE, i]
        if pressure == pressure:  # noqa: PLR0124 - a number
            sums[g.PRESSURE, at] += signed_pressure_of(i, columns)
            sums[g.WITH_PRESSURE, at] += 1
        for li in range(c.LIST_COUNT):
            best[li, at] = max(best[li, at], scores.key[li, i])
