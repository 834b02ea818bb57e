"""Stage 6 of 8: every fresh row scored.

thread -> one row; the rows that are not fresh leave at once and write one byte
"""

from numba import cuda

from kernels import columns as c
from kernels.arrays import Books, Columns, Common, I64x1, Marks, Scores
from kernels.gpu import words
from kernels.rows.score import visit_row

HELD = -2  # marks.stratum of a row that was not fresh.


def observe(
    tick: I64x1, columns: Columns, books: Books, scores: Scores, common: Common, marks: Marks
) -> None:
    """Score the fresh rows at the grid time and clear their fresh flag.

    marks: what the rows add to the histograms and common scales, filled for every fresh row.
    """
    for i in range(cuda.grid(1), tick[words.ROW_COUNT], cuda.gridsize(1)):
        if columns.u8[c.FRESH, i] == 0:
            marks.stratum[i] = HELD
        else:
            visit_row(i, i, tick[words.NOW_NS], columns, books, scores, common, marks)
