"""Stage 6 of 8: the six scored features of a block of rows."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Books, Columns
from kernels.blocks import layout as at
from kernels.laws.baseline import rate_by_time
from kernels.laws.book import imbalance
from kernels.laws.decay import decay, mean_now, seconds
from kernels.laws.elementary import log2
from kernels.laws.stabilise import asinh, atanh_share
from kernels.rows.features import (
    HALF_LIFE_30,
    RATES,
    SLOW_RATE,
    anchored_since,
    depth_of,
    settles_within,
)
from kernels.rows.score import GAP_EDGES_S, SMOOTH_RATE

HALF, ONE = np.float32(0.5), np.float32(1)


def read_clocks(
    n: int, now_ns: int, s: NDArray[np.float32], t: NDArray[np.int32], w: NDArray[np.int64]
) -> None:
    """Elapsed times, what has decayed in them, and the gap class of each row."""
    for j in range(n):
        dt = seconds(now_ns, w[at.OBSERVED_NS + j])
        s[at.DT + j] = dt
        s[at.TO_UPDATE + j] = decay(seconds(now_ns, w[at.UPDATE_NS + j]), SLOW_RATE)
        d = decay(seconds(now_ns, w[at.OFI_NS + j]), RATES[HALF_LIFE_30])
        s[at.FLOW + j] = (s[at.OFI_BUY + j] - s[at.OFI_SELL + j]) * d
    for j in range(n):
        dt = s[at.DT + j]
        s[at.RATE + j] = rate_by_time(dt)
        s[at.HELD + j] = decay(max(ONE, dt) - ONE, SMOOTH_RATE)
        stratum = np.int32(0)
        for edge in GAP_EDGES_S:
            stratum += np.int32(dt > edge)
        t[at.STRATUM + j] = stratum


def read_means(n: int, s: NDArray[np.float32], t: NDArray[np.int32]) -> None:
    """Mean spread and mean top depth, the imbalance of the touch, and the spread."""
    for j in range(n):
        spread = np.float32(np.int64(t[at.ASK + j]) - np.int64(t[at.BID + j]))
        qb, qa = s[at.BID_SIZE + j], s[at.ASK_SIZE + j]
        weight, d = s[at.WEIGHT + j], s[at.TO_UPDATE + j]
        s[at.MEAN_SPREAD + j] = mean_now(s[at.SPREAD_SUM + j], weight, spread, d)
        s[at.MEAN_DEPTH + j] = mean_now(s[at.DEPTH_SUM + j], weight, (qb + qa) * HALF, d)
        s[at.VALUE + 2 * at.BLOCK + j] = log2(spread)
    for j in range(n):
        qb, qa = s[at.BID_SIZE + j], s[at.ASK_SIZE + j]
        share = imbalance(qb, qa)
        s[at.VALUE + j] = atanh_share(share)
        s[at.DEPTH_SHARE + j] = share
        s[at.DEPTH + j] = qb + qa


def read_books(
    n: int, rows: NDArray[np.uint32], columns: Columns, books: Books, s: NDArray[np.float32],
    t: NDArray[np.int32],
) -> None:  # fmt: skip
    """Put the used book in the place of the touch where a row has one."""
    for j in range(n):
        if t[at.SLOT + j] != c.NO_SLOT:
            share, depth = depth_of(np.int64(rows[j]), s[at.MEAN_SPREAD + j], columns, books)
            s[at.DEPTH_SHARE + j] = share
            s[at.DEPTH + j] = depth


def stabilise_depth(n: int, s: NDArray[np.float32]) -> None:
    """Imbalance and size of the used book, and flow over mean depth, as features."""
    for j in range(n):
        s[at.VALUE + at.BLOCK + j] = atanh_share(s[at.DEPTH_SHARE + j])
        s[at.VALUE + 3 * at.BLOCK + j] = log2(s[at.DEPTH + j])
    for j in range(n):
        s[at.VALUE + 5 * at.BLOCK + j] = asinh(s[at.FLOW + j] / s[at.MEAN_DEPTH + j])


def anchor(
    n: int, now_ns: int, s: NDArray[np.float32], t: NDArray[np.int32], w: NDArray[np.int64]
) -> None:
    """Anchored move of the mid, and what the next one is measured from."""
    for j in range(n):
        mid2 = np.int64(t[at.BID + j]) + np.int64(t[at.ASK + j])
        settles = settles_within(w[at.EXPIRY_NS + j], now_ns, w[at.SETTLE_WINDOW_NS + j])
        s[at.VALUE + 4 * at.BLOCK + j] = anchored_since(
            mid2, np.int64(t[at.MID2_BEFORE + j]), s[at.TICK + j], s[at.PRICE_PER + j],
            s[at.MEAN_SPREAD + j], s[at.DELTA + j], w[at.FORWARD_E6 + j],
            w[at.FORWARD_BEFORE_E6 + j], t[at.IS_OPTION + j] != 0, t[at.IS_INVERSE + j] != 0,
            settles,
        )  # fmt: skip
    for j in range(n):
        mid2 = np.int64(t[at.BID + j]) + np.int64(t[at.ASK + j])
        t[at.MID2_BEFORE + j] = np.int32(mid2)
        t[at.OWN_COUNT + j] += 1
        w[at.OBSERVED_NS + j] = now_ns
