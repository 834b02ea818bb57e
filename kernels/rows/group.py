"""Stage 6 of 8: what one member adds to its groups, and the score of one group."""

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
# Rows of the sums of a group, int64[sum, group].
MEMBERS, STRENGTH, OBSERVED_NOW, PRESSURE, WITH_PRESSURE = range(5)
SUM_COUNT = 5


def is_counted(i: int, now_ns: int, window_ns: int, columns: Columns) -> bool:
    """Whether a row was scored within the window."""
    recent = now_ns - columns.i64[c.OBSERVED_NS, i] < window_ns
    return bool(columns.u8[c.SCORED, i] != 0 and recent)


def strength_of(i: int, scores: Scores) -> int:
    """Spike strength of a row, at most 4, in units of 2**-20: sums of integers have no order."""
    return strength_at(scores.p[0, i])


def strength_at(p: float) -> int:
    """Strength -log10 p, at most 4, in units of 2**-20."""
    s = minus_log10(p)
    return np.int64((min(STRENGTH_MAX, s)) * UNIT)


def signed_pressure_of(i: int, columns: Columns) -> int:
    """Pressure of a row on the underlying, within +-10, in units of 2**-20; puts turn the sign."""
    return signed_pressure(columns.f32[c.PRESSURE, i], columns.f32[c.DELTA, i])


def signed_pressure(pressure: float, delta: float) -> int:
    """Pressure within +-10, in units of 2**-20, with the other sign for a negative delta."""
    clipped = max(pressure, -PRESSURE_MAX)
    clipped = min(clipped, PRESSURE_MAX)
    return np.int64((-clipped if delta < ZERO else clipped) * UNIT)


def score_group(
    g: int, sums: NDArray[np.int64], kind: NDArray[np.uint8], mean: float, members_min: int,
    above: NDArray[np.int64], statistic: NDArray[np.float32], p: NDArray[np.float32],
    bins: NDArray[np.int16],
) -> None:  # fmt: skip
    """Score a group in which a member was observed in this scan; any other holds.

    above: int64[kind, bin] of the scans before. bins: int16[group], -1 = not scored now.
    """
    bins[g] = -1
    count = sums[MEMBERS, g]
    if count < members_min or sums[OBSERVED_NOW, g] == 0:
        return
    members = np.float32(count)
    excess = np.float32(sums[STRENGTH, g]) / UNIT - mean * members
    statistic[g] = excess / np.float32(math.sqrt(members))
    b = z_bin(max(ZERO, statistic[g]))
    p[g] = empirical_p(above[kind[g], b], above[kind[g], 0])
    bins[g] = np.int16(b)
