"""Stage 6 of 8: members' evidence summed per (underlying, expiry) and per underlying."""

import math

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Columns, Scores
from kernels.laws.conformal import empirical_p, minus_log10, z_bin

UNIT = np.float32(1 << 20)
STRENGTH_MAX = np.float32(4)
PRESSURE_MAX = np.float32(10)
ZERO = np.float32(0)


def group_sums(
    listing_count: int, now_ns: int, window_ns: int, columns: Columns, scores: Scores,
    sums: NDArray[np.int64], pooled: NDArray[np.int64],
) -> None:  # fmt: skip
    """Sum the spike strengths of the members scored within the window, in fixed point.

    sums: int64[column, group], cleared here; columns: members, strength, observed now, signed
        pressure, members with a pressure. Groups: first all (underlying, expiry), then underlyings.
    pooled: int64[2], strength and count of the rows observed in this very scan, added to.
    """
    sums[:] = 0
    for i in range(listing_count):
        if columns.u8[c.SCORED, i] == 0:
            continue
        observed_ns = columns.i64[c.OBSERVED_NS, i]
        if now_ns - observed_ns >= window_ns:
            continue
        s = minus_log10(scores.p[0, i])
        s = min(STRENGTH_MAX, s)
        fixed = np.int64(s * UNIT)
        now = observed_ns == now_ns
        if now:
            pooled[0] += fixed
            pooled[1] += 1
        if columns.u8[c.IS_OPTION, i] == 0:
            continue
        pressure = columns.f32[c.PRESSURE, i]
        for which in (c.EXPIRY_GROUP, c.UNDERLYING_GROUP):
            g = columns.i32[which, i]
            sums[0, g] += 1
            sums[1, g] += fixed
            sums[2, g] += now
            if pressure == pressure:  # noqa: PLR0124 - a number
                clipped = min(max(pressure, -PRESSURE_MAX), PRESSURE_MAX)
                delta = columns.f32[c.DELTA, i]
                sums[3, g] += np.int64((-clipped if delta < ZERO else clipped) * UNIT)
                sums[4, g] += 1


def group_scores(
    sums: NDArray[np.int64], kind: NDArray[np.uint8], mean: float, members_min: int,
    above: NDArray[np.int64], statistic: NDArray[np.float32], p: NDArray[np.float32],
    bins: NDArray[np.int16],
) -> None:  # fmt: skip
    """Score the groups in which a member was observed in this scan; the others hold.

    above: int64[kind, bin] of the scans before. bins: int16[group], -1 = not scored now.
    """
    for g in range(kind.size):
        bins[g] = -1
        count = sums[0, g]
        if count < members_min or sums[2, g] == 0:
            continue
        members = np.float32(count)
        excess = np.float32(sums[1, g]) / UNIT - mean * members
        statistic[g] = excess / np.float32(math.sqrt(members))
        b = z_bin(max(ZERO, statistic[g]))
        p[g] = empirical_p(above[kind[g], b], above[kind[g], 0])
        bins[g] = np.int16(b)
