"""Stage 6 of 8: every fresh row scored.

thread -> fresh rows; tables of the previous scans are only read, counting comes afterwards
"""

import numpy as np
from numba import get_thread_id, prange
from numpy.typing import NDArray

from kernels.arrays import Blocks, Books, Columns, Common, Scores
from kernels.blocks.layout import BLOCK
from kernels.blocks.visit import visit_block


def observe(
    ids: NDArray[np.uint32], now_ns: int, columns: Columns, books: Books, scores: Scores,
    common: Common, blocks: Blocks,
) -> None:  # fmt: skip
    """Score the fresh rows `ids` (ascending) at grid time now_ns and clear their fresh flag.

    blocks: working memory; its counts are what the rows add to histograms and common scales.
    """
    # The body is one call: numba 0.68 drops stores into a named tuple's array that stand in the
    # body of a prange itself (tests/kernels/test_against_oracle.py fails on it).
    for b in prange((ids.size + BLOCK - 1) // BLOCK):
        visit_block(b, get_thread_id(), ids, now_ns, columns, books, scores, common, blocks)
