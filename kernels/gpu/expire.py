"""Stage 4 of 8: the clock ends what has expired, whatever the venue still says.

thread -> one row
"""

from numba import cuda

from kernels.arrays import Columns, I64x1
from kernels.gpu import words
from kernels.rows.expire import expire_row


def expire(tick: I64x1, columns: Columns) -> None:
    """Mark every row whose expiry has come."""
    for i in range(cuda.grid(1), tick[words.ROW_COUNT], cuda.gridsize(1)):
        expire_row(i, tick[words.NOW_NS], columns)
