"""Stages 3 and 4 of 8: the bundles of arrays that launch shapes take.

Named tuples, because compiled code reads their fields by name at no cost. Every array is
C-contiguous, on the device that runs the kernel.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c


class Columns(NamedTuple):
    """State of every listing, [column, listing]; rows of kernels.columns.COLUMNS."""

    i64: NDArray[np.int64]
    i32: NDArray[np.int32]
    u8: NDArray[np.uint8]
    validity: NDArray[np.uint16]  # [listing]
    f32: NDArray[np.float32]


class Books(NamedTuple):
    """Depth, [slot, side, level]; side 0 bids, 1 asks, best level first."""

    price: NDArray[np.int32]  # ticks
    size: NDArray[np.float32]  # native
    levels: NDArray[np.int32]  # [slot, side] levels in use
    truncated: NDArray[np.uint8]  # [slot, side] a level was pushed out


class Batch(NamedTuple):
    """A tick's rows, stable by listing; segment s is rows start[s] to start[s + 1]."""

    rx_ns: NDArray[np.int64]
    ex_ns: NDArray[np.int64]
    ticks: NDArray[np.int32]  # price in ticks of the listing, NO_PRICE where there is none
    size: NDArray[np.float32]  # native
    kind: NDArray[np.uint8]
    side: NDArray[np.int8]
    flags: NDArray[np.uint16]
    level: NDArray[np.uint16]
    listing: NDArray[np.int32]  # [segment]
    start: NDArray[np.int64]  # [segment + 1]


class Tickers(NamedTuple):
    """A tick's ticker rows, stable by listing; segment s is rows start[s] to start[s + 1]."""

    rx_ns: NDArray[np.int64]
    forward_e6: NDArray[np.int64]  # NO_FORWARD = no news
    value: NDArray[np.float32]  # [field of kernels.columns.TICKER_FIELDS, row], NaN = no news
    listing: NDArray[np.int32]  # [segment]
    start: NDArray[np.int64]  # [segment + 1]


class PerThread(NamedTuple):
    """What each thread of the apply shape keeps for itself, first axis the thread."""

    counters: NDArray[np.int64]  # [thread, counter] of kernels.columns.COUNTER_NAMES, added to
    old_price: NDArray[np.int32]  # [thread, side, level] used book before an update
    old_size: NDArray[np.float32]  # [thread, side, level]


class Scores(NamedTuple):
    """Scoring state and held outputs, last axis the listing."""

    baseline: NDArray[np.float32]  # [word, feature, listing]
    z: NDArray[np.float32]  # [driver, listing], NaN = neutral
    p_feature: NDArray[np.float32]  # [driver, listing], NaN = neutral
    value: NDArray[np.float32]  # [feature, listing]
    mean: NDArray[np.float32]  # [feature, listing] what the value was compared with
    statistic: NDArray[np.float32]  # [list, listing]
    p: NDArray[np.float32]  # [list, listing], 1 where there is no score
    score: NDArray[np.float32]  # [list, listing] -log10 p, NaN where there is no score
    key: NDArray[np.uint64]  # [list, listing], 0 = no rank


class Common(NamedTuple):
    """Common scales and the tables a scan reads; nothing here is indexed by listing."""

    scale: NDArray[np.float32]  # [stratum, driver] g
    fold_sum: NDArray[np.int64]  # [stratum, driver], units of 2**-20
    fold_count: NDArray[np.int64]  # [stratum, driver]
    fold_ns: NDArray[np.int64]  # [stratum, driver] last fold, 0 = never
    above_1: NDArray[np.int64]  # [stratum, driver, bin] entries at or above the bin
    above_2: NDArray[np.int64]  # [stratum, list, bin]
    prior: NDArray[np.float32]  # [2, stratum, feature] mean and variance; NaN = no prior


class Marks(NamedTuple):
    """What the observed rows of one scan add to the histograms, first axis as `ids`."""

    stratum: NDArray[np.int8]  # -1 = enters no histogram
    bin_1: NDArray[np.int16]  # [row, driver], -1 = none
    bin_2: NDArray[np.int16]  # [row, list], -1 = none
    fold: NDArray[np.int32]  # [row, driver] min(|z|, 3) in units of 2**-20, -1 = none


def padded(count: int) -> int:
    """Smallest multiple of the padding that holds `count`."""
    return -(-count // c.PAD) * c.PAD
