"""Stage 6 of 8: what the members of a group say together, for any way of grouping.

thread -> one row; sums and maxima of integers are the same in any order
"""

from numba import cuda

from kernels import columns as c
from kernels.arrays import Columns, I32x1, I64x1, I64x2, Scores, U64x2
from kernels.gpu import words
from kernels.rows import group as g
from kernels.rows.group import is_counted, signed_pressure_of, strength_of


def rollup(
    tick: I64x1, columns: Columns, scores: Scores, group: I32x1, sums: I64x2, best: U64x2
) -> None:
    """Sum the members scored within the window, and keep the best rank key of each list.

    group: int32[listing], -1 = in none. sums: int64[sum of kernels.rows.group, group] and
    best: uint64[list, group], both 0 before.
    """
    now_ns = tick[words.NOW_NS]
    for i in range(cuda.grid(1), tick[words.ROW_COUNT], cuda.gridsize(1)):
        at = group[i]
        if at >= 0 and is_counted(i, now_ns, tick[words.WINDOW_NS], columns):
            cuda.atomic.add(sums, (g.MEMBERS, at), 1)
            cuda.atomic.add(sums, (g.STRENGTH, at), strength_of(i, scores))
            if columns.i64[c.OBSERVED_NS, i] == now_ns:
                cuda.atomic.add(sums, (g.OBSERVED_NOW, at), 1)
            pressure = columns.f32[c.PRESSURE, i]
            if pressure == pressure:  # noqa: PLR0124 - a number
                cuda.atomic.add(sums, (g.PRESSURE, at), signed_pressure_of(i, columns))
                cuda.atomic.add(sums, (g.WITH_PRESSURE, at), 1)
            for li in range(c.LIST_COUNT):
                cuda.atomic.max(best, (li, at), scores.key[li, i])
