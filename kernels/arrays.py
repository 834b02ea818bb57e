"""Stages 3 and 4 of 8: the bundles of arrays that launch shapes take.

Named tuples, because compiled code reads their fields by name at no cost. Every array is
C-contiguous, on the device that runs the kernel. The name of a type has the dtype and the number
of axes: code for a GPU is compiled before there is an array to look at.
"""

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c

I8x1 = Annotated[NDArray[np.int8], 1]
U8x1 = Annotated[NDArray[np.uint8], 1]
U8x2 = Annotated[NDArray[np.uint8], 2]
I16x1 = Annotated[NDArray[np.int16], 1]
I16x2 = Annotated[NDArray[np.int16], 2]
U16x1 = Annotated[NDArray[np.uint16], 1]
I32x1 = Annotated[NDArray[np.int32], 1]
I32x2 = Annotated[NDArray[np.int32], 2]
I32x3 = Annotated[NDArray[np.int32], 3]
F32x1 = Annotated[NDArray[np.float32], 1]
F32x2 = Annotated[NDArray[np.float32], 2]
F32x3 = Annotated[NDArray[np.float32], 3]
I64x1 = Annotated[NDArray[np.int64], 1]
I64x2 = Annotated[NDArray[np.int64], 2]
I64x3 = Annotated[NDArray[np.int64], 3]
I64x4 = Annotated[NDArray[np.int64], 4]
U64x1 = Annotated[NDArray[np.uint64], 1]
U64x2 = Annotated[NDArray[np.uint64], 2]


class Columns(NamedTuple):
    """State of every listing, [column, listing]; rows of kernels.columns.COLUMNS."""

    i64: I64x2
    i32: I32x2
    u8: U8x2
    validity: U16x1  # [listing]
    f32: F32x2


class Books(NamedTuple):
    """Depth, [slot, side, level]; side 0 bids, 1 asks, best level first."""

    price: I32x3  # ticks
    size: F32x3  # native
    levels: I32x2  # [slot, side] levels in use
    truncated: U8x2  # [slot, side] a level was pushed out


class Batch(NamedTuple):
    """A tick's rows, stable by listing; segment s is rows start[s] to start[s + 1]."""

    rx_ns: I64x1
    ex_ns: I64x1
    ticks: I32x1  # price in ticks of the listing, NO_PRICE where there is none
    size: F32x1  # native
    kind: U8x1
    side: I8x1
    flags: U16x1
    level: U16x1
    listing: I32x1  # [segment]
    start: I64x1  # [segment + 1]


class Tickers(NamedTuple):
    """A tick's ticker rows, stable by listing; segment s is rows start[s] to start[s + 1]."""

    rx_ns: I64x1
    forward_e6: I64x1  # NO_FORWARD = no news
    value: F32x2  # [row, field of kernels.columns.TICKER_FIELDS], NaN = no news
    listing: I32x1  # [segment]
    start: I64x1  # [segment + 1]


class PerThread(NamedTuple):
    """What each thread of the apply shape keeps for itself, first axis the thread."""

    counters: I64x2  # [thread, counter] of kernels.columns.COUNTER_NAMES, added to
    old_price: I32x3  # [thread, side, level] used book before an update
    old_size: F32x3  # [thread, side, level]


class Scores(NamedTuple):
    """Scoring state and held outputs, last axis the listing."""

    baseline: F32x3  # [word, feature, listing]
    z: F32x2  # [driver, listing], NaN = neutral
    p_feature: F32x2  # [driver, listing], NaN = neutral
    value: F32x2  # [feature, listing]
    mean: F32x2  # [feature, listing] what the value was compared with
    statistic: F32x2  # [list, listing]
    p: F32x2  # [list, listing], 1 where there is no score
    score: F32x2  # [list, listing] -log10 p, NaN where there is no score
    key: U64x2  # [list, listing], 0 = no rank


class Common(NamedTuple):
    """Common scales and the tables a scan reads; nothing here is indexed by listing."""

    scale: F32x2  # [stratum, driver] g
    fold_sum: I64x2  # [stratum, driver], units of 2**-20
    fold_count: I64x2  # [stratum, driver]
    fold_ns: I64x2  # [stratum, driver] last fold, 0 = never
    above_1: I64x3  # [stratum, driver, bin] entries at or above the bin
    above_2: I64x3  # [stratum, list, bin]
    prior: F32x3  # [2, stratum, feature] mean and variance; NaN = no prior


class Marks(NamedTuple):
    """What the observed rows of one scan add to the histograms, first axis as `ids`."""

    stratum: I8x1  # -1 = enters no histogram
    bin_1: I16x2  # [row, driver], -1 = none
    bin_2: I16x2  # [row, list], -1 = none
    fold: I32x2  # [row, driver] min(|z|, 3) in units of 2**-20, -1 = none


class Tables(NamedTuple):
    """Integer histograms: hours of a ring and their totals."""

    hours_1: I64x4  # [hour, stratum, driver, bin]
    hours_2: I64x4  # [hour, stratum, list, bin]
    hours_group: I64x3  # [hour, kind, bin]
    total_1: I64x3
    total_2: I64x3
    total_group: I64x2


class GroupColumns(NamedTuple):
    """Held scores of groups, last axis the group."""

    kind: U8x1  # 0 expiry, 1 underlying
    sums: I64x2  # [sum, group], rows of kernels.rows.group
    pooled: I64x1  # [2] strength and count of the rows observed in this scan
    above: I64x2  # [kind, bin] entries at or above the bin
    statistic: F32x1
    p: F32x1
    bins: I16x1  # -1 = not scored in this scan


class Ranking(NamedTuple):
    """Largest keys, descending, 0 = none."""

    block_best: U64x2  # [list, block x K_MAX] of each block of rows
    best: U64x2  # [list, K_MAX]


class Blocks(NamedTuple):
    """What each thread of the observe shape keeps for itself, first axis the thread."""

    rows: NDArray[np.uint32]  # [thread, row of the block] listing
    f32: NDArray[np.float32]  # [thread, place] kernels.blocks.layout
    i32: NDArray[np.int32]
    i64: NDArray[np.int64]
    count_1: NDArray[np.int32]  # [thread, stratum, driver, bin] of the rows of one scan
    count_2: NDArray[np.int32]  # [thread, stratum, list, bin]
    fold_sum: NDArray[np.int64]  # [thread, stratum, driver]
    fold_count: NDArray[np.int64]  # [thread, stratum, driver]
    last_1: NDArray[np.int64]  # [thread, stratum, driver] largest bin counted, -1 = none
    last_2: NDArray[np.int64]  # [thread, stratum, list]


def padded(count: int) -> int:
    """Smallest multiple of the padding that holds `count`."""
    return -(-count // c.PAD) * c.PAD
