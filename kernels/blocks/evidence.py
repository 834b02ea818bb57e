"""Stage 6 of 8: a block's p-values, their combinations, scores and rank keys."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Common
from kernels.blocks import layout as at
from kernels.laws.baseline import Z_MAX
from kernels.laws.conformal import (
    cauchy_p,
    cauchy_term,
    empirical_p,
    fisher_bin,
    fisher_term,
    minus_log10,
    strength_bin,
    z_bin,
)
from kernels.rows.features import coins_per_usd
from kernels.rows.score import (
    FOLD_UNIT,
    INV_DRIVERS,
    THOUSAND,
    beyond_reference,
    key_of,
    usd_of,
    usd_steps,
)

ZERO, HALF, ONE, TWO, THREE = (np.float32(x) for x in (0, 0.5, 1, 2, 3))
NAN = np.float32(np.nan)


def scale_drivers(
    n: int, first: int, common: Common, s: NDArray[np.float32], t: NDArray[np.int32]
) -> None:
    """Six drivers from `first` on: divide by the common scale, find bins, and read p."""
    drivers, bins = s[at.Z + first * at.BLOCK :], t[at.BIN + first * at.BLOCK :]
    folds, ps = t[at.FOLD + first * at.BLOCK :], s[at.P + first * at.BLOCK :]
    for f in range(c.FEATURE_COUNT):
        scale, above = common.scale[:, first + f], common.above_1[:, first + f]
        for j in range(n):
            s[at.SCALE + j] = scale[t[at.STRATUM + j]]
        for j in range(n):
            raw = drivers[f * at.BLOCK + j]
            number = raw == raw  # noqa: PLR0124 - NaN is not equal to itself
            size = -raw if raw < ZERO else raw
            fold = np.int32((min(THREE, size)) * FOLD_UNIT)
            z = raw / s[at.SCALE + j]
            z = Z_MAX if z > Z_MAX else (max(-Z_MAX, z))
            found = np.int32(z_bin(z))
            drivers[f * at.BLOCK + j] = z if number else NAN
            folds[f * at.BLOCK + j] = fold if number else np.int32(0)
            bins[f * at.BLOCK + j] = found if number else np.int32(-1)
        for j in range(n):
            stratum, b = t[at.STRATUM + j], bins[f * at.BLOCK + j]
            p = empirical_p(above[stratum, max(b, 0)], above[stratum, 0])
            ps[f * at.BLOCK + j] = p if b >= 0 else NAN


def press(n: int, s: NDArray[np.float32], t: NDArray[np.int32]) -> None:
    """Mean signed 60 s z of the imbalance family, and whether any driver is eligible."""
    slow = at.Z + c.FEATURE_COUNT * at.BLOCK
    for j in range(n):
        total, count = ZERO, ZERO
        for f in (0, 1, 5):
            z = s[slow + f * at.BLOCK + j]
            number = z == z  # noqa: PLR0124
            total = total + z if number else total
            count = count + ONE if number else count
        s[at.PRESSURE + j] = total / count if count > ZERO else NAN
    for j in range(n):
        scored = np.int32(0)
        for f in range(c.FEATURE_COUNT):
            scored |= t[at.ELIGIBLE + f * at.BLOCK + j]
        t[at.SCORED + j] = scored


def combine(n: int, common: Common, s: NDArray[np.float32], t: NDArray[np.int32]) -> None:
    """Both combinations of the drivers' p, recalibrated."""
    for j in range(n):
        s[at.CAUCHY + j] = ZERO
        s[at.FISHER + j] = ZERO
    for k in range(c.DRIVER_COUNT):
        for j in range(n):
            p, cauchy, fisher = s[at.P + k * at.BLOCK + j], s[at.CAUCHY + j], s[at.FISHER + j]
            number = p == p  # noqa: PLR0124
            s[at.CAUCHY + j] = cauchy + cauchy_term(p) if number else cauchy
            s[at.FISHER + j] = fisher + (fisher_term(p) if number else TWO)
    for j in range(n):
        strength = minus_log10(cauchy_p(s[at.CAUCHY + j] * INV_DRIVERS))
        s[at.STATISTIC + j] = strength
        t[at.BIN_LIST + j] = np.int32(strength_bin(strength))
    for j in range(n):
        fisher = s[at.FISHER + j]
        s[at.STATISTIC + at.BLOCK + j] = fisher
        t[at.BIN_LIST + at.BLOCK + j] = np.int32(fisher_bin(fisher))
    for li in range(c.LIST_COUNT):
        for j in range(n):
            stratum, b = t[at.STRATUM + j], t[at.BIN_LIST + li * at.BLOCK + j]
            above = common.above_2[stratum, li, b]
            p = empirical_p(above, common.above_2[stratum, li, 0])
            s[at.P_LIST + li * at.BLOCK + j] = p


def weigh(n: int, s: NDArray[np.float32], t: NDArray[np.int32], w: NDArray[np.int64]) -> None:
    """Size of each row's flow in USD, and its steps in a key."""
    for j in range(n):
        option, inverse = t[at.IS_OPTION + j] != 0, t[at.IS_INVERSE + j] != 0
        mid2 = np.int64(t[at.BID + j]) + np.int64(t[at.ASK + j])
        tick, units = s[at.TICK + j], s[at.MULTIPLIER + j]
        coins = coins_per_usd(units, mid2, tick)
        units = coins if inverse & (not option) else units
        factor = s[at.INDEX + j] if inverse & option else ONE
        mid = np.float32(mid2) * (HALF * tick)
        usd = usd_of(s[at.FLOW + j] * units, s[at.VEGA + j], mid, factor, s[at.PRICE_PER + j])
        s[at.USD + j] = usd if t[at.SCORED + j] != 0 else s[at.USD + j]
    for j in range(n):
        w[at.USD_STEPS + j] = usd_steps(s[at.USD + j])


def rank(
    n: int, rows: NDArray[np.uint32], common: Common, s: NDArray[np.float32],
    t: NDArray[np.int32], w: NDArray[np.int64],
) -> None:  # fmt: skip
    """Scores and unique 64-bit keys; rows without an eligible driver leave both lists."""
    for li in range(c.LIST_COUNT):
        for j in range(n):
            k = li * at.BLOCK + j
            score = minus_log10(s[at.P_LIST + k])
            s[at.SCORE + k] = score
            w[at.KEY + k] = np.int64(THOUSAND * score)
        for j in range(n):
            k = li * at.BLOCK + j
            stratum, b = t[at.STRATUM + j], t[at.BIN_LIST + k]
            if common.above_2[stratum, li, b] == 0:  # Rare: beyond all that was seen.
                w[at.KEY + k] += beyond_reference(common.above_2[stratum, li], np.int64(b))
        for j in range(n):
            k = li * at.BLOCK + j
            scored = t[at.SCORED + j] != 0
            key = np.int64(key_of(w[at.KEY + k], w[at.USD_STEPS + j], np.int64(rows[j])))
            w[at.KEY + k] = key if scored else np.int64(0)
            s[at.STATISTIC + k] = s[at.STATISTIC + k] if scored else NAN
            s[at.P_LIST + k] = s[at.P_LIST + k] if scored else ONE
            s[at.SCORE + k] = s[at.SCORE + k] if scored else NAN


def tally(
    n: int, t: NDArray[np.int32], count_1: NDArray[np.int32], count_2: NDArray[np.int32],
    fold_sum: NDArray[np.int64], fold_count: NDArray[np.int64], last_1: NDArray[np.int64],
    last_2: NDArray[np.int64],
) -> None:  # fmt: skip
    """Count the bins of a block; the tables belong to one thread.

    count_1: int32[stratum, driver, bin]. count_2: int32[stratum, list, bin]. fold_sum,
    fold_count: int64[stratum, driver]. last_1, last_2: largest bins counted, -1 = none.
    """
    for k in range(c.DRIVER_COUNT):
        for j in range(n):
            b = t[at.BIN + k * at.BLOCK + j]
            if b >= 0:
                stratum = t[at.STRATUM + j]
                count_1[stratum, k, b] += 1
                fold_sum[stratum, k] += t[at.FOLD + k * at.BLOCK + j]
                fold_count[stratum, k] += 1
                last_1[stratum, k] = max(last_1[stratum, k], b)
    for li in range(c.LIST_COUNT):
        for j in range(n):
            if t[at.SCORED + j] != 0:
                stratum, b = t[at.STRATUM + j], t[at.BIN_LIST + li * at.BLOCK + j]
                count_2[stratum, li, b] += 1
                last_2[stratum, li] = max(last_2[stratum, li], b)
