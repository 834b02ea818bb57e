"""Stage 5 of 8: exponential decay by half-lives in seconds, read lazily."""

from kernels.laws.elementary import exp2_neg
from kernels.laws.scalars import f32

ZERO, ONE = f32(0), f32(1)
NS = f32(1e-9)
DT_MAX = f32(36_000)  # Ten hours: longer silences decay everything to nothing anyway.


def seconds(later_ns: int, earlier_ns: int) -> float:
    """Elapsed seconds, clamped to [0, 36000]: a late event never increases old mass.

    >>> float(seconds(3_000_000_000, 1_000_000_000)), float(seconds(0, 5))
    (2.0, 0.0)

    Source: methods of the project, clock convention.
    """
    dt = f32(later_ns - earlier_ns) * NS
    if dt < ZERO:
        return ZERO
    return dt if dt < DT_MAX else DT_MAX


def decay(dt_s: float, rate: float) -> float:
    """2**(-dt_s * rate), rate = 1 / half-life.

    >>> float(decay(f32(10), f32(0.1)))
    0.5

    Source: exponentially weighted sums; decay(a) decay(b) = decay(a + b).
    """
    return exp2_neg(-dt_s * rate)


def time_weighted(total: float, x: float, d: float) -> float:
    """Next decayed sum of a value x that stood for the elapsed time; with x = 1 the weight itself.

    >>> float(time_weighted(f32(4), f32(2), f32(0.5)))
    3.0

    Source: time-weighted exponential mean on irregular samples (Mueller 1991, previous-point form).
    """
    return total * d + x * (ONE - d)


def mean_now(total: float, weight: float, x: float, d: float) -> float:
    """Time-weighted mean including the value x that stands since the last update.

    x itself while nothing has been weighed.

    >>> float(mean_now(f32(2), f32(0.5), f32(8), f32(0.5)))
    6.666666507720947
    >>> float(mean_now(f32(0), f32(0), f32(8), f32(1)))
    8.0

    Source: bias-corrected exponential mean: decayed sum over decayed weight.
    """
    weighed = time_weighted(weight, ONE, d)
    if not weighed > ZERO:
        return x
    return time_weighted(total, x, d) / weighed
