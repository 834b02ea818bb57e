"""Stage 6 of 8: every fresh row scored.

stripe -> blocks of fresh rows; tables of the scans before are only read, counting comes afterwards
"""

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import Blocks, Books, Columns, Common, Scores
from kernels.blocks.layout import BLOCK
from kernels.blocks.visit import visit_block
from kernels.threads import share


def observe(
    stripe: int, stripes: int, ids: NDArray[np.uint32], now_ns: int, columns: Columns,
    books: Books, scores: Scores, common: Common, blocks: Blocks,
) -> None:  # fmt: skip
    """Score the fresh rows `ids` (ascending) at grid time now_ns and clear their fresh flag.

    blocks: working memory; its counts are what the rows add to histograms and common scales.
    """
    first, stop = share(stripe, stripes, (ids.size + BLOCK - 1) // BLOCK)
    for b in range(first, stop):
        visit_block(b, stripe, ids, now_ns, columns, books, scores, common, blocks)
