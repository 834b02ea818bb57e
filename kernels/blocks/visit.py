"""Stage 6 of 8: one block of fresh rows, scored stage by stage.

What is computed is what kernels.rows.score.visit_row computes row by row, to the last bit; the
order of the stages is that of docs/SCORING.md, section 4.
"""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Blocks, Books, Columns, Common, Scores
from kernels.blocks import layout as at
from kernels.blocks.baselines import learn, smooth, take_priors
from kernels.blocks.evidence import combine, press, rank, scale_drivers, tally, weigh
from kernels.blocks.features import anchor, read_books, read_clocks, read_means, stabilise_depth
from kernels.blocks.transfer import SPREAD_ROWS, give_block, take_block
from kernels.rows.score import clear_outputs, is_scorable, observe_first


def visit_block(
    b: int, thread: int, ids: NDArray[np.uint32], now_ns: int, columns: Columns, books: Books,
    scores: Scores, common: Common, blocks: Blocks,
) -> None:  # fmt: skip
    """Score block b of the fresh rows `ids` and clear their fresh flags."""
    rows = blocks.rows[thread]
    n = set_aside(b * at.BLOCK, thread, ids, now_ns, columns, books, scores, common, blocks)
    if n == 0:
        return
    first = np.int64(rows[0])
    together = np.int64(rows[n - 1]) - first == n - 1
    step = n if together else at.PIECE
    # One call in the text: a second one, with another type of number, is compiled again.
    for start in range(0, n, step):
        piece = rows[start : min(start + step, n)]
        score_rows(
            piece.size, first if together else SPREAD_ROWS, piece, thread, now_ns, columns, books,
            scores, common, blocks,
        )  # fmt: skip


def score_rows(
    n: int, first: int, rows: NDArray[np.uint32], thread: int, now_ns: int, columns: Columns,
    books: Books, scores: Scores, common: Common, blocks: Blocks,
) -> None:  # fmt: skip
    """Score n regular rows that were observed before.

    first: the first of rows that follow one another, SPREAD_ROWS for others.
    """
    s, t, w = blocks.f32[thread], blocks.i32[thread], blocks.i64[thread]
    take_block(n, first, rows, thread, columns, scores, blocks)
    read_clocks(n, now_ns, s, t, w)
    read_means(n, s, t)
    read_books(n, rows, columns, books, s, t)
    stabilise_depth(n, s)
    anchor(n, now_ns, s, t, w)
    take_priors(n, common, s, t)
    learn(n, s, t)
    # Numbers and not literals, each of which would be a type of its own and compiled apart.
    scale_drivers(n, np.int64(0), common, s, t)
    smooth(n, s, t)
    scale_drivers(n, np.int64(c.FEATURE_COUNT), common, s, t)
    press(n, s, t)
    combine(n, common, s, t)
    weigh(n, s, t, w)
    rank(n, rows, common, s, t, w)
    give_block(n, first, rows, thread, columns, scores, blocks)
    tally(
        n, t, blocks.count_1[thread], blocks.count_2[thread], blocks.fold_sum[thread],
        blocks.fold_count[thread], blocks.last_1[thread], blocks.last_2[thread],
    )  # fmt: skip


def set_aside(
    start: int, thread: int, ids: NDArray[np.uint32], now_ns: int, columns: Columns, books: Books,
    scores: Scores, common: Common, blocks: Blocks,
) -> int:  # fmt: skip
    """Note the regular rows that were observed before, and do the others here; returns how many."""
    rows = blocks.rows[thread]
    n = 0
    for r in range(start, min(start + at.BLOCK, ids.size)):
        i = np.int64(ids[r])
        columns.u8[c.FRESH, i] = 0
        if not is_scorable(i, now_ns, columns):
            clear_outputs(i, columns, scores)
        elif columns.i64[c.OBSERVED_NS, i] == c.NEVER:
            observe_first(i, now_ns, columns, books, scores, common)
        else:
            rows[n] = ids[r]
            n += 1
    return n
