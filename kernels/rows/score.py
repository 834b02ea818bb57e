"""Stage 6 of 8: z, common scale, smoothing, conformal p and rank key of one fresh row.

docs/SCORING.md, section 4, is the text this follows step by step.
"""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Books, Columns, Common, Marks, Scores
from kernels.laws.baseline import (
    Z_MAX,
    huber_clip,
    learning_rate,
    rate_by_time,
    standardise,
    variance_after,
)
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
from kernels.laws.decay import decay, seconds, time_weighted
from kernels.laws.elementary import log2
from kernels.rows.features import features_of_row, mid2_of, past_expiry, units_of, usd_factor

ZERO, HALF, ONE, TWO, THREE = (np.float32(x) for x in (0, 0.5, 1, 2, 3))
NAN = np.float32(np.nan)
RATE_30 = np.float32(1 / 30)
SMOOTH_RATE = np.float32(1 / 60)
ELIGIBLE_AFTER = np.float32(30)
PRIOR_COUNT = np.float32(20)
Z_CLIP = np.float32(10)
FOLD_UNIT = np.float32(1 << 20)
INV_DRIVERS = np.float32(1 / 12)
GAP_EDGES_S = (np.float32(1), np.float32(4), np.float32(15), np.float32(60))
THOUSAND = np.float32(1000)
SCORE_LAST = (1 << 22) - 1
USD_LAST = (1 << 21) - 1
ID_LAST = (1 << 21) - 1
BEYOND_LAST = 99
USD_STEPS = np.float32(65536)


def visit_row(
    r: int, i: int, now_ns: int, columns: Columns, books: Books, scores: Scores, common: Common,
    marks: Marks,
) -> None:  # fmt: skip
    """Score a fresh row if it is regular, else clear what it showed."""
    marks.stratum[r] = -1
    columns.u8[c.FRESH, i] = 0
    if not is_scorable(i, now_ns, columns):
        clear_outputs(i, columns, scores)
        return
    before_ns = columns.i64[c.OBSERVED_NS, i]
    features_of_row(i, now_ns, columns, books, scores.value)
    stamp(i, now_ns, columns)
    if before_ns == c.NEVER:
        start_baselines(i, scores, common)
    else:
        observe_row(r, i, before_ns, now_ns, columns, scores, common, marks)


def is_scorable(i: int, now_ns: int, columns: Columns) -> bool:
    """Whether a row is regular and its expiry has not come."""
    regular = columns.validity[i] & c.NOT_REGULAR == 0
    return bool(regular and not past_expiry(i, now_ns, columns))


def clear_outputs(i: int, columns: Columns, scores: Scores) -> None:
    """Take a row out of the ranking; its baselines stay."""
    columns.u8[c.SCORED, i] = 0
    columns.f32[c.PRESSURE, i] = NAN
    for f in range(c.FEATURE_COUNT):
        scores.value[f, i] = NAN
        scores.mean[f, i] = NAN
    for k in range(c.DRIVER_COUNT):
        scores.z[k, i] = NAN
        scores.p_feature[k, i] = NAN
    for li in range(c.LIST_COUNT):
        unscored(i, li, scores)


def unscored(i: int, li: int, scores: Scores) -> None:
    """Leave one list: no score, no rank."""
    scores.statistic[li, i] = NAN
    scores.p[li, i] = ONE
    scores.score[li, i] = NAN
    scores.key[li, i] = 0


def observe_row(
    r: int, i: int, before_ns: int, now_ns: int, columns: Columns, scores: Scores, common: Common,
    marks: Marks,
) -> None:  # fmt: skip
    """One regular fresh row observed before, its features known: baselines, p, score."""
    dt = seconds(now_ns, before_ns)
    stratum = stratum_of(dt)
    columns.u8[c.STRATUM, i] = stratum
    eligible = 0
    for f in range(c.FEATURE_COUNT):
        eligible += standardise_feature(r, i, f, dt, stratum, scores, common, marks)
    set_pressure(i, columns, scores)
    if eligible == 0:
        columns.u8[c.SCORED, i] = 0
        for li in range(c.LIST_COUNT):
            unscored(i, li, scores)
        return
    marks.stratum[r] = stratum
    combine(r, i, stratum, scores, common, marks)
    rank_keys(r, i, now_ns, stratum, columns, scores, common, marks)
    columns.u8[c.SCORED, i] = 1


def stratum_of(dt: float) -> int:
    """Gap class of the time since the previous observation."""
    s = 0
    for edge in GAP_EDGES_S:
        if dt > edge:
            s += 1
    return s


def stamp(i: int, now_ns: int, columns: Columns) -> None:
    """Hold what the next observation is compared with."""
    columns.i64[c.OBSERVED_NS, i] = now_ns
    columns.i64[c.FORWARD_BEFORE_E6, i] = columns.i64[c.FORWARD_E6, i]
    columns.i32[c.MID2_OBSERVED, i] = np.int32(mid2_of(i, columns))
    columns.i32[c.OWN_COUNT, i] += 1


def observe_first(
    i: int, now_ns: int, columns: Columns, books: Books, scores: Scores, common: Common
) -> None:
    """One regular row that was never observed before."""
    features_of_row(i, now_ns, columns, books, scores.value)
    stamp(i, now_ns, columns)
    start_baselines(i, scores, common)


def start_baselines(i: int, scores: Scores, common: Common) -> None:
    """Start empty baselines at the first value; without a gap nothing can be scored."""
    for f in range(c.FEATURE_COUNT):
        x = scores.value[f, i]
        if scores.baseline[c.COUNT, f, i] == ZERO and x == x and not has_prior(common, f):  # noqa: PLR0124
            scores.baseline[c.MEAN, f, i] = x
            scores.baseline[c.VARIANCE, f, i] = ZERO
            scores.baseline[c.COUNT, f, i] = ONE
        scores.mean[f, i] = NAN
    for k in range(c.DRIVER_COUNT):
        scores.z[k, i] = NAN
        scores.p_feature[k, i] = NAN


def has_prior(common: Common, f: int) -> bool:
    """Whether a checkpoint supplied stratum means for this feature."""
    m = common.prior[0, 0, f]
    return bool(m == m)  # noqa: PLR0124 - NaN is not equal to itself


def standardise_feature(
    r: int, i: int, f: int, dt: float, stratum: int, scores: Scores, common: Common, marks: Marks
) -> int:
    """Steps 2 to 6 of one feature; returns how many of its two drivers are eligible."""
    b = scores.baseline
    slow = f + c.FEATURE_COUNT
    x = scores.value[f, i]
    if b[c.COUNT, f, i] == ZERO and has_prior(common, f):
        b[c.MEAN, f, i] = common.prior[0, stratum, f]
        b[c.VARIANCE, f, i] = common.prior[1, stratum, f]
        b[c.COUNT, f, i] = PRIOR_COUNT
    set_driver(r, i, f, NAN, stratum, scores, common, marks)
    set_driver(r, i, slow, NAN, stratum, scores, common, marks)
    scores.mean[f, i] = b[c.MEAN, f, i] if b[c.COUNT, f, i] > ZERO else NAN
    if x != x:  # noqa: PLR0124 - NaN
        return 0
    if b[c.COUNT, f, i] == ZERO:
        b[c.MEAN, f, i] = x
        b[c.VARIANCE, f, i] = ZERO
        b[c.COUNT, f, i] = ONE
        return 0
    count = b[c.COUNT, f, i]
    z = update_baseline(i, f, x, dt, b)
    if count < ELIGIBLE_AFTER:
        return 0
    z = set_driver(r, i, f, z, stratum, scores, common, marks)
    smooth(i, f, z, dt, b)
    eligible = 1
    if b[c.SMOOTHED_COUNT, f, i] >= ELIGIBLE_AFTER:
        y = standardise(b[c.SMOOTHED, f, i], b[c.SMOOTHED_VARIANCE, f, i])
        set_driver(r, i, slow, y, stratum, scores, common, marks)
        eligible = 2
    update_smoothed_scale(i, f, dt, b)
    return eligible


def update_baseline(i: int, f: int, x: float, dt: float, b: NDArray[np.float32]) -> float:
    """Score a value against its baseline, then learn it; returns z."""
    residual = x - b[c.MEAN, f, i]
    variance = b[c.VARIANCE, f, i]
    z = standardise(residual, variance)
    count = b[c.COUNT, f, i] + ONE
    a = learning_rate(rate_by_time(dt), count)
    clipped = huber_clip(residual, variance)
    b[c.COUNT, f, i] = count
    b[c.MEAN, f, i] += a * clipped
    b[c.VARIANCE, f, i] = variance_after(variance, clipped, a)
    return z


def smooth(i: int, f: int, z: float, dt: float, b: NDArray[np.float32]) -> None:
    """Fold the clipped z into its 60 s time-weighted mean; the new value stands for one second."""
    zc = Z_CLIP if z > Z_CLIP else (max(-Z_CLIP, z))
    k = max(ONE, dt)
    held = decay(k - ONE, SMOOTH_RATE)
    last = decay(ONE, SMOOTH_RATE)
    s = time_weighted(b[c.SMOOTHED, f, i], b[c.Z_BEFORE, f, i], held)
    b[c.SMOOTHED, f, i] = time_weighted(s, zc, last)
    b[c.Z_BEFORE, f, i] = zc


def update_smoothed_scale(i: int, f: int, dt: float, b: NDArray[np.float32]) -> None:
    """Learn the scale of the smoothed z, mean zero."""
    variance = b[c.SMOOTHED_VARIANCE, f, i]
    count = b[c.SMOOTHED_COUNT, f, i] + ONE
    a = learning_rate(rate_by_time(dt), count)
    clipped = huber_clip(b[c.SMOOTHED, f, i], variance)
    b[c.SMOOTHED_COUNT, f, i] = count
    b[c.SMOOTHED_VARIANCE, f, i] = variance_after(variance, clipped, a)


def set_driver(
    r: int, i: int, k: int, z: float, stratum: int, scores: Scores, common: Common, marks: Marks
) -> float:
    """Divide by the common scale, read p, and mark the bins; a NaN z is neutral. Returns z / g."""
    if z != z:  # noqa: PLR0124 - NaN
        scores.z[k, i] = NAN
        scores.p_feature[k, i] = NAN
        marks.bin_1[r, k] = -1
        marks.fold[r, k] = -1
        return NAN
    size = -z if z < ZERO else z
    marks.fold[r, k] = np.int32((min(THREE, size)) * FOLD_UNIT)
    z = z / common.scale[stratum, k]
    z = Z_MAX if z > Z_MAX else (max(-Z_MAX, z))
    b = z_bin(z)
    scores.z[k, i] = z
    scores.p_feature[k, i] = empirical_p(
        common.above_1[stratum, k, b], common.above_1[stratum, k, 0]
    )
    marks.bin_1[r, k] = np.int16(b)
    return z


def set_pressure(i: int, columns: Columns, scores: Scores) -> None:
    """Mean signed 60 s z of the imbalance family: OBI, depth-weighted OBI, OFI."""
    total, count = ZERO, ZERO
    for f in (0, 1, 5):
        z = scores.z[f + c.FEATURE_COUNT, i]
        if z == z:  # noqa: PLR0124 - a number
            total += z
            count += ONE
    columns.f32[c.PRESSURE, i] = total / count if count > ZERO else NAN


def combine(r: int, i: int, stratum: int, scores: Scores, common: Common, marks: Marks) -> None:
    """Both combinations of the drivers' p, recalibrated."""
    cauchy, fisher = ZERO, ZERO
    for k in range(c.DRIVER_COUNT):
        p = scores.p_feature[k, i]
        if p == p:  # noqa: PLR0124 - a number
            cauchy += cauchy_term(p)
            fisher += fisher_term(p)
        else:
            fisher += TWO
    strength = minus_log10(cauchy_p(cauchy * INV_DRIVERS))
    scores.statistic[0, i] = strength
    scores.statistic[1, i] = fisher
    for li in range(c.LIST_COUNT):
        b = strength_bin(strength) if li == 0 else fisher_bin(fisher)
        marks.bin_2[r, li] = np.int16(b)
        scores.p[li, i] = empirical_p(
            common.above_2[stratum, li, b], common.above_2[stratum, li, 0]
        )


def rank_keys(
    r: int, i: int, now_ns: int, stratum: int, columns: Columns, scores: Scores, common: Common,
    marks: Marks,
) -> None:  # fmt: skip
    """Unique 64-bit keys: score, then size in USD, then the lower listing id."""
    usd = magnitude_usd(i, now_ns, columns)
    columns.f32[c.USD, i] = usd
    usd_part = usd_steps(usd)
    for li in range(c.LIST_COUNT):
        scores.score[li, i] = minus_log10(scores.p[li, i])
        thousandths = np.int64(THOUSAND * scores.score[li, i])
        thousandths += beyond_reference(common.above_2[stratum, li], np.int64(marks.bin_2[r, li]))
        scores.key[li, i] = key_of(thousandths, usd_part, i)


def usd_steps(usd: float) -> int:
    """Size of a key: 65536 steps to a doubling of 1 + usd."""
    return min(np.int64(USD_STEPS * log2(ONE + usd)), USD_LAST)


def key_of(thousandths: int, usd_part: int, i: int) -> int:
    """Rank key of thousandths of a score; the larger, the higher the rank."""
    score_part = np.uint64(min(thousandths, SCORE_LAST))
    return (
        (score_part << np.uint64(42))
        | (np.uint64(usd_part) << np.uint64(21))
        | np.uint64(ID_LAST - i)
    )


def beyond_reference(above: NDArray[np.int64], b: int) -> int:
    """Bins between a statistic and the largest reference value, at most 99."""
    e = 0
    if above[0] == 0:
        return e
    while e < BEYOND_LAST and b - e >= 0 and above[b - e] == 0:
        e += 1
    return e


def magnitude_usd(i: int, now_ns: int, columns: Columns) -> float:
    """|OFI over 30 s| in USD vega, else in USD premium; 0 where neither is known."""
    f32 = columns.f32
    dt = seconds(now_ns, columns.i64[c.OFI_NS, i])
    flow = (f32[c.OFI_BUY + 2, i] - f32[c.OFI_SELL + 2, i]) * decay(dt, RATE_30)
    size = flow * units_of(i, columns)
    mid = np.float32(mid2_of(i, columns)) * (HALF * f32[c.TICK, i])
    return usd_of(size, f32[c.VEGA, i], mid, usd_factor(i, columns), f32[c.PRICE_PER, i])


def usd_of(size: float, vega: float, mid: float, factor: float, price_per: float) -> float:
    """Absolute USD vega of a size in underlying units, else its USD premium, else 0."""
    usd = size * vega
    if usd != usd:  # noqa: PLR0124 - NaN
        usd = size * mid * (factor / price_per)
    if usd != usd:  # noqa: PLR0124 - NaN
        return ZERO
    return -usd if usd < ZERO else usd
