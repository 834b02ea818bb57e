"""Stage 5 of 8: every metric of every row, for export.

thread -> one row; all loads and stores of a warp are neighbours
"""

from numba import cuda

from kernels.arrays import Books, Columns, F32x2, I64x1
from kernels.gpu import words
from kernels.rows.features import metrics_of_row


def metrics(tick: I64x1, columns: Columns, books: Books, out: F32x2) -> None:
    """Compute every metric of all rows at the grid time.

    out: float32[metric, row], order of METRIC_NAMES; NaN where a metric has no value.
    """
    for i in range(cuda.grid(1), tick[words.ROW_COUNT], cuda.gridsize(1)):
        metrics_of_row(i, i, tick[words.NOW_NS], columns, books, out)
