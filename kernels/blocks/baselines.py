"""Stage 6 of 8: a block's features against their baselines, and their 60 s means."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Common
from kernels.blocks import layout as at
from kernels.laws.baseline import huber_clip, learning_rate, standardise, variance_after
from kernels.laws.decay import decay, time_weighted
from kernels.rows.score import ELIGIBLE_AFTER, PRIOR_COUNT, SMOOTH_RATE, Z_CLIP, has_prior

ZERO, ONE = np.float32(0), np.float32(1)
NAN = np.float32(np.nan)


def take_priors(n: int, common: Common, s: NDArray[np.float32], t: NDArray[np.int32]) -> None:
    """Start empty baselines from the checkpoint's, where it has them."""
    for f in range(c.FEATURE_COUNT):
        if not has_prior(common, f):
            continue
        for j in range(f * at.BLOCK, f * at.BLOCK + n):
            if s[at.COUNT + j] == ZERO:
                stratum = t[at.STRATUM + j - f * at.BLOCK]
                s[at.MEAN + j] = common.prior[0, stratum, f]
                s[at.VARIANCE + j] = common.prior[1, stratum, f]
                s[at.COUNT + j] = PRIOR_COUNT


def learn(n: int, s: NDArray[np.float32], t: NDArray[np.int32]) -> None:
    """Score every value against its baseline, then learn it; z is NaN where not eligible."""
    for f in range(c.FEATURE_COUNT):
        for k in range(n):
            j = f * at.BLOCK + k
            x, mean = s[at.VALUE + j], s[at.MEAN + j]
            variance, count = s[at.VARIANCE + j], s[at.COUNT + j]
            number = x == x  # noqa: PLR0124 - NaN is not equal to itself
            starts = number & (count == ZERO)
            learns = number & (count != ZERO)
            eligible = learns & (not count < ELIGIBLE_AFTER)
            residual = x - mean
            z = standardise(residual, variance)
            clipped = huber_clip(residual, variance)
            a = learning_rate(s[at.RATE + k], count + ONE)
            learned = variance_after(variance, clipped, a)
            s[at.COMPARED + j] = mean if count > ZERO else NAN
            s[at.MEAN + j] = mean + a * clipped if learns else (x if starts else mean)
            s[at.VARIANCE + j] = learned if learns else (ZERO if starts else variance)
            s[at.COUNT + j] = count + ONE if learns else (ONE if starts else count)
            s[at.Z + j] = z if eligible else NAN
            t[at.ELIGIBLE + j] = np.int32(eligible)


def smooth(n: int, s: NDArray[np.float32], t: NDArray[np.int32]) -> None:
    """Fold z into its 60 s mean, standardise that, and learn its scale."""
    last = decay(ONE, SMOOTH_RATE)
    slow = c.FEATURE_COUNT * at.BLOCK
    for f in range(c.FEATURE_COUNT):
        for k in range(n):
            j = f * at.BLOCK + k
            z, before, variance = s[at.Z + j], s[at.SMOOTHED + j], s[at.SMOOTHED_VARIANCE + j]
            count, z_before = s[at.SMOOTHED_COUNT + j], s[at.Z_BEFORE + j]
            eligible = t[at.ELIGIBLE + j] != 0
            zc = Z_CLIP if z > Z_CLIP else max(-Z_CLIP, z)
            mean = time_weighted(time_weighted(before, z_before, s[at.HELD + k]), zc, last)
            y = standardise(mean, variance)
            clipped = huber_clip(mean, variance)
            learned = variance_after(variance, clipped, learning_rate(s[at.RATE + k], count + ONE))
            scored = eligible & (not count < ELIGIBLE_AFTER)
            s[at.Z + slow + j] = y if scored else NAN
            s[at.SMOOTHED + j] = mean if eligible else before
            s[at.Z_BEFORE + j] = zc if eligible else z_before
            s[at.SMOOTHED_VARIANCE + j] = learned if eligible else variance
            s[at.SMOOTHED_COUNT + j] = count + ONE if eligible else count
