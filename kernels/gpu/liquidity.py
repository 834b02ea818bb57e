"""Stage 6 of 8: how active and how deep every listing is, for the liquidity classes.

thread -> one row
"""

from numba import cuda

from kernels.arrays import Columns, F32x1, I64x1
from kernels.gpu import words
from kernels.rows.liquidity import activity_of


def activity(tick: I64x1, columns: Columns, out: F32x1) -> None:
    """Decayed updates x mean top depth in USD of every row; NaN where the row is not regular.

    out: float32[listing].
    """
    for i in range(cuda.grid(1), tick[words.ROW_COUNT], cuda.gridsize(1)):
        out[i] = activity_of(i, tick[words.NOW_NS], columns)
