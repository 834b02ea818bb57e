"""Stage 6 of 8: prequential, Huberised, exponentially weighted standardisation."""

import math

from kernels.laws.decay import decay
from kernels.laws.scalars import f32

ZERO, ONE, THREE = f32(0), f32(1), f32(3)
H0_RATE = f32(1 / 3600)
FULL_COUNT = f32(50)
RATE_CAP = f32(1 / 50)
CONSISTENCY = f32(0.9950073)  # E[min(Z**2, 9)] of a standard normal Z.
Z_MAX = f32(65535)


def standardise(residual: float, variance: float) -> float:
    """Residual over sqrt(variance), within +-65535; any move after a constant history is the clip.

    >>> float(standardise(f32(3), f32(4)))
    1.5
    >>> float(standardise(f32(1), f32(0)))
    65535.0

    Source: methods of the project, 7.1 B.
    """
    if variance > ZERO:
        z = residual / f32(math.sqrt(variance))
        if z > Z_MAX:
            return Z_MAX
        return z if z > -Z_MAX else -Z_MAX
    if residual > ZERO:
        return Z_MAX
    return -Z_MAX if residual < ZERO else ZERO


def rate_by_time(dt_s: float) -> float:
    """Weight of an observation after a silence of dt_s seconds, half-life one hour.

    >>> float(rate_by_time(f32(3600)))
    0.5

    Source: methods of the project, section 00.3 B.
    """
    return ONE - decay(dt_s, H0_RATE)


def learning_rate(by_time: float, count: float) -> float:
    """Weight of the newest observation from its rate by time and the count including it.

    >>> float(learning_rate(f32(0.001), f32(4)))
    0.25
    >>> round(float(learning_rate(f32(0.5), f32(51))), 6)
    0.02

    Source: methods of the project, section 00.3 B.
    """
    by_count = ONE / count
    a = by_time if by_time > by_count else by_count
    if count > FULL_COUNT and a > RATE_CAP:
        return RATE_CAP
    return a


def huber_clip(residual: float, variance: float) -> float:
    """Residual clipped to three standard deviations; unclipped while the variance is 0.

    >>> float(huber_clip(f32(-10), f32(4)))
    -6.0
    >>> float(huber_clip(f32(5), f32(0)))
    5.0

    Source: Huber 1964; k = 3.
    """
    if not variance > ZERO:
        return residual
    limit = THREE * f32(math.sqrt(variance))
    if residual > limit:
        return limit
    return residual if residual > -limit else -limit


def variance_after(variance: float, clipped: float, a: float) -> float:
    """Next variance after one clipped residual.

    >>> round(float(variance_after(f32(1), f32(1), f32(0.5))), 6)
    1.002509

    Source: methods of the project, 7.1 B.
    """
    return variance + a * (clipped * clipped / CONSISTENCY - variance)
