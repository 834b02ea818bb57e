"""Stage 5 of 8: what a price of constant volatility does, and which quotes did something else."""

import numpy as np

from kernels.laws.scalars import f32

ZERO, HALF = f32(0), f32(0.5)
NAN = f32(np.nan)
PER_DAY = f32(1 / 86_400)
FORWARD_MOVE_MAX = f32(0.01)  # Of the forward: beyond it a mean of two deltas is no reprice.
BAND = f32(1.5)  # Steps: both prices are rounded, and a maker's forward is not our forward.


def constant_vol_move(
    delta_before: float, delta: float, theta_before: float, theta: float,
    forward_move: float, forward: float, elapsed_s: float,
) -> float:  # fmt: skip
    """Move of an option's value in USD, had its implied volatility stood still.

    The mean of the greeks at both ends is exact to second order, gamma included. NaN where one of
    them is unknown, or the forward moved by more than a hundredth.

    >>> float(constant_vol_move(f32(0.5), f32(0.75), f32(-8.64), f32(-8.64),
    ...                         f32(8), f32(1008), f32(5000)))
    4.5

    Source: methods of the project, section 00.1; trapezoidal rule on delta and theta.
    """
    limit = FORWARD_MOVE_MAX * (forward - forward_move)
    if not (forward_move <= limit and -forward_move <= limit):
        return NAN
    mean_theta = HALF * (theta_before + theta)
    return HALF * (delta_before + delta) * forward_move + mean_theta * (elapsed_s * PER_DAY)


def drift_after(
    drift: float, anchor: float, move: float, forward_move: float, forward: float,
    ticks_per_price: float, inverse: bool,
) -> float:  # fmt: skip
    """Drift of a price after the forward moved: ticks a price of constant volatility has gone.

    Args:
        drift: before, in ticks.
        anchor: price the drift is counted from, in ticks.
        move: of the option's value, USD per unit of the underlying.
        forward_move: of the forward, USD.
        forward: after its move, USD.
        ticks_per_price: ticks of one unit of price per unit of the underlying.
        inverse: prices are in the underlying, whose own value moved too.

    >>> float(drift_after(f32(1), f32(40), f32(2.5), f32(5), f32(1000), f32(20), False))
    51.0
    >>> float(drift_after(f32(0), f32(40), f32(2.5), f32(5), f32(1000), f32(2000), True))
    4.800000190734863

    Source: methods of the project, sections 00.1 and 00.10.
    """
    if inverse:
        return drift + (move * ticks_per_price - (anchor + drift) * forward_move) / forward
    return drift + move * ticks_per_price


def beyond_drift(moved_ticks: float, drift: float, step: float) -> int:
    """+1 where a quote rose beyond its drift, -1 where it fell, 0 where it stood.

    >>> beyond_drift(f32(7), f32(4), f32(2)), beyond_drift(f32(8), f32(4), f32(2))
    (0, 1)
    >>> beyond_drift(f32(-3), f32(0), f32(2)), beyond_drift(f32(-4), f32(0), f32(2))
    (0, -1)

    Source: methods of the project, section 00.1.
    """
    beyond = moved_ticks - drift
    if beyond > BAND * step:
        return 1
    return -1 if -beyond > BAND * step else 0
