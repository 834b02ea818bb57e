"""Stage 6 of 8: every fresh row scored.

thread -> fresh rows; tables of the previous scans are only read, counting comes afterwards
"""

import numpy as np
from numba import prange
from numpy.typing import NDArray

from kernels.arrays import Books, Columns, Common, Marks, Scores
from kernels.rows.score import visit_row


def observe(
    ids: NDArray[np.uint32], now_ns: int, columns: Columns, books: Books, scores: Scores,
    common: Common, marks: Marks,
) -> None:  # fmt: skip
    """Score the fresh rows `ids` at grid time now_ns and clear their fresh flag.

    marks: what the rows add to the histograms and common scales, filled for every row of ids.
    """
    # The body is one call: numba 0.68 drops stores into a named tuple's array that stand in the
    # body of a prange itself (tests/kernels/test_against_oracle.py fails on it).
    for r in prange(ids.size):
        visit_row(r, np.int64(ids[r]), now_ns, columns, books, scores, common, marks)
