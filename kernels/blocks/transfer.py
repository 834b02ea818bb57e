"""Stage 6 of 8: a block's columns into working memory and back; nothing is computed here.

Rows that follow one another move as one piece, others one by one.
"""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Blocks, Columns, Scores
from kernels.blocks import layout as at

SPREAD_ROWS = -1  # `first` of rows that do not follow one another.


def take(
    n: int, first: int, rows: NDArray[np.uint32], column: NDArray[np.generic],
    memory: NDArray[np.generic], place: int,
) -> None:  # fmt: skip
    """Copy n rows of a column to memory[place:]."""
    into = memory[place : place + n]
    if first == SPREAD_ROWS:
        for j in range(n):
            into[j] = column[rows[j]]
    else:
        part = column[first : first + n]
        for j in range(n):
            into[j] = part[j]


def give(
    n: int, first: int, rows: NDArray[np.uint32], memory: NDArray[np.generic], place: int,
    column: NDArray[np.generic],
) -> None:  # fmt: skip
    """Copy memory[place:] to n rows of a column."""
    part = memory[place : place + n]
    if first == SPREAD_ROWS:
        for j in range(n):
            column[rows[j]] = part[j]
    else:
        into = column[first : first + n]
        for j in range(n):
            into[j] = part[j]


def take_block(
    n: int, first: int, rows: NDArray[np.uint32], thread: int, columns: Columns, scores: Scores,
    blocks: Blocks,
) -> None:  # fmt: skip
    """Read all that scoring a block needs, but books."""
    s, t, w = blocks.f32[thread], blocks.i32[thread], blocks.i64[thread]
    f32, i64 = columns.f32, columns.i64
    take(n, first, rows, f32[c.BID_SIZE], s, at.BID_SIZE)
    take(n, first, rows, f32[c.ASK_SIZE], s, at.ASK_SIZE)
    take(n, first, rows, f32[c.OFI_BUY + 2], s, at.OFI_BUY)
    take(n, first, rows, f32[c.OFI_SELL + 2], s, at.OFI_SELL)
    take(n, first, rows, f32[c.SPREAD_SUM], s, at.SPREAD_SUM)
    take(n, first, rows, f32[c.DEPTH_SUM], s, at.DEPTH_SUM)
    take(n, first, rows, f32[c.REGULAR_WEIGHT], s, at.WEIGHT)
    take(n, first, rows, f32[c.TICK], s, at.TICK)
    take(n, first, rows, f32[c.PRICE_PER], s, at.PRICE_PER)
    take(n, first, rows, f32[c.MULTIPLIER], s, at.MULTIPLIER)
    take(n, first, rows, f32[c.DELTA], s, at.DELTA)
    take(n, first, rows, f32[c.VEGA], s, at.VEGA)
    take(n, first, rows, f32[c.INDEX], s, at.INDEX)
    take(n, first, rows, f32[c.USD], s, at.USD)
    take(n, first, rows, i64[c.UPDATE_NS], w, at.UPDATE_NS)
    take(n, first, rows, i64[c.OFI_NS], w, at.OFI_NS)
    take(n, first, rows, i64[c.OBSERVED_NS], w, at.OBSERVED_NS)
    take(n, first, rows, i64[c.FORWARD_E6], w, at.FORWARD_E6)
    take(n, first, rows, i64[c.FORWARD_BEFORE_E6], w, at.FORWARD_BEFORE_E6)
    take(n, first, rows, i64[c.EXPIRY_NS], w, at.EXPIRY_NS)
    take(n, first, rows, i64[c.SETTLE_WINDOW_NS], w, at.SETTLE_WINDOW_NS)
    take(n, first, rows, columns.i32[c.BID], t, at.BID)
    take(n, first, rows, columns.i32[c.ASK], t, at.ASK)
    take(n, first, rows, columns.i32[c.MID2_OBSERVED], t, at.MID2_BEFORE)
    take(n, first, rows, columns.i32[c.SLOT], t, at.SLOT)
    take(n, first, rows, columns.i32[c.OWN_COUNT], t, at.OWN_COUNT)
    take(n, first, rows, columns.u8[c.IS_OPTION], t, at.IS_OPTION)
    take(n, first, rows, columns.u8[c.IS_INVERSE], t, at.IS_INVERSE)
    for word in range(c.BASELINE_COUNT):
        for f in range(c.FEATURE_COUNT):
            place = at.BASELINE + (word * c.FEATURE_COUNT + f) * at.BLOCK
            take(n, first, rows, scores.baseline[word, f], s, place)
    if first == SPREAD_ROWS:
        touch_outputs(n, first, rows, thread, columns, scores, blocks)


def touch_outputs(
    n: int, first: int, rows: NDArray[np.uint32], thread: int, columns: Columns, scores: Scores,
    blocks: Blocks,
) -> None:  # fmt: skip
    """Read what is only written, for the sake of the caches: loads wait for one another less.

    A store that misses holds up the stores behind it. What is read here is overwritten.

    first: SPREAD_ROWS, handed on: a literal would have `take` compiled apart.
    """
    s, w = blocks.f32[thread], blocks.i64[thread]
    for k in range(c.DRIVER_COUNT):
        take(n, first, rows, scores.z[k], s, at.Z + k * at.BLOCK)
        take(n, first, rows, scores.p_feature[k], s, at.P + k * at.BLOCK)
    for f in range(c.FEATURE_COUNT):
        take(n, first, rows, scores.value[f], s, at.VALUE + f * at.BLOCK)
        take(n, first, rows, scores.mean[f], s, at.COMPARED + f * at.BLOCK)
    for li in range(c.LIST_COUNT):
        take(n, first, rows, scores.statistic[li], s, at.STATISTIC + li * at.BLOCK)
        take(n, first, rows, scores.p[li], s, at.P_LIST + li * at.BLOCK)
        take(n, first, rows, scores.score[li], s, at.SCORE + li * at.BLOCK)
        take(n, first, rows, scores.key[li], w, at.KEY + li * at.BLOCK)
    take(n, first, rows, columns.f32[c.PRESSURE], s, at.PRESSURE)


def give_block(
    n: int, first: int, rows: NDArray[np.uint32], thread: int, columns: Columns, scores: Scores,
    blocks: Blocks,
) -> None:  # fmt: skip
    """Write all that scoring a block has found."""
    s, t, w = blocks.f32[thread], blocks.i32[thread], blocks.i64[thread]
    for word in range(c.BASELINE_COUNT):
        for f in range(c.FEATURE_COUNT):
            place = at.BASELINE + (word * c.FEATURE_COUNT + f) * at.BLOCK
            give(n, first, rows, s, place, scores.baseline[word, f])
    for k in range(c.DRIVER_COUNT):
        give(n, first, rows, s, at.Z + k * at.BLOCK, scores.z[k])
        give(n, first, rows, s, at.P + k * at.BLOCK, scores.p_feature[k])
    for f in range(c.FEATURE_COUNT):
        give(n, first, rows, s, at.VALUE + f * at.BLOCK, scores.value[f])
        give(n, first, rows, s, at.COMPARED + f * at.BLOCK, scores.mean[f])
    for li in range(c.LIST_COUNT):
        give(n, first, rows, s, at.STATISTIC + li * at.BLOCK, scores.statistic[li])
        give(n, first, rows, s, at.P_LIST + li * at.BLOCK, scores.p[li])
        give(n, first, rows, s, at.SCORE + li * at.BLOCK, scores.score[li])
        give(n, first, rows, w, at.KEY + li * at.BLOCK, scores.key[li])
    give(n, first, rows, s, at.USD, columns.f32[c.USD])
    give(n, first, rows, s, at.PRESSURE, columns.f32[c.PRESSURE])
    give(n, first, rows, w, at.OBSERVED_NS, columns.i64[c.OBSERVED_NS])
    give(n, first, rows, w, at.FORWARD_E6, columns.i64[c.FORWARD_BEFORE_E6])
    give(n, first, rows, t, at.MID2_BEFORE, columns.i32[c.MID2_OBSERVED])
    give(n, first, rows, t, at.OWN_COUNT, columns.i32[c.OWN_COUNT])
    give(n, first, rows, t, at.STRATUM, columns.u8[c.STRATUM])
    give(n, first, rows, t, at.SCORED, columns.u8[c.SCORED])
