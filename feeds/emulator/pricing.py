"""Stage 1 of 8, simulated: Black-76 prices, greeks and implied volatility over whole columns.

Own code, numpy only, float64. An undiscounted Black-76 premium on the forward, as the simulated
venues count volatility and greeks; what of it is paid today says prices.py. The normal distribution
function is Hart's rational approximation in the form of West, "Better approximations to cumulative
normal functions" (Wilmott, 2005), with an absolute error below 1e-14 (tested against math.erfc from
-40 to 40).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_NUMERATOR: Final = (
    3.52624965998911e-02,
    0.700383064443688,
    6.37396220353165,
    33.912866078383,
    112.079291497871,
    221.213596169931,
    220.206867912376,
)
_DENOMINATOR: Final = (
    8.83883476483184e-02,
    1.75566716318264,
    16.064177579207,
    86.7807322029461,
    296.564248779674,
    637.333633378831,
    793.826512519948,
    440.413735824752,
)
# Beyond this the rational form loses to the continued fraction (West, page 71).
_RATIONAL_UP_TO: Final = 7.07106781186547
_SQRT_2PI: Final = 2.506628274631
_INV_SQRT_2PI: Final = 0.3989422804014327

IV_MIN: Final = 1e-3
IV_MAX: Final = 9.99
_IV_STEPS: Final = 32  # Enough for bisection alone to pass the tolerance.


@dataclass(frozen=True, slots=True)
class Greeks:
    """Undiscounted Black-76 sensitivities, one entry an option.

    delta: with respect to the forward, not premium-adjusted. gamma: per USD. vega: USD per 0.01
    of volatility. theta: USD per day.
    """

    delta: Floats
    gamma: Floats
    vega: Floats
    theta: Floats


def normal_cdf(x: Floats) -> Floats:
    """Standard normal distribution function; NaN stays NaN."""
    z = np.abs(x)
    np.minimum(z, 37.0, out=z)
    weight = np.exp(-0.5 * z * z)
    above = _NUMERATOR[0] * z
    for coefficient in _NUMERATOR[1:-1]:
        above += coefficient
        above *= z
    above += _NUMERATOR[-1]
    below = _DENOMINATOR[0] * z
    for coefficient in _DENOMINATOR[1:-1]:
        below += coefficient
        below *= z
    below += _DENOMINATOR[-1]
    tail = weight * above / below
    far = z > _RATIONAL_UP_TO
    if far.any():
        y = z[far]
        fraction = y + 0.65
        for count in (4.0, 3.0, 2.0, 1.0):
            fraction = y + count / fraction
        tail[far] = weight[far] / (fraction * _SQRT_2PI)
    return np.where(x > 0.0, 1.0 - tail, tail)


def black76(forward: Floats, strike: Floats, iv: Floats, years: Floats, is_call: Bools) -> Floats:
    """Premium in the currency of the forward; intrinsic value where years or iv is 0.

    forward, strike: > 0. iv: fraction. years: Act/365 to expiry.
    """
    sign = np.where(is_call, 1.0, -1.0)
    total = iv * np.sqrt(years)
    with np.errstate(divide="ignore", invalid="ignore"):
        d1 = np.log(forward / strike) / total + 0.5 * total
    premium = sign * (forward * normal_cdf(sign * d1) - strike * normal_cdf(sign * (d1 - total)))
    intrinsic = np.maximum(sign * (forward - strike), 0.0)
    return np.where(total > 0.0, np.maximum(premium, intrinsic), intrinsic)


def price_delta_vega(
    forward: Floats, strike: Floats, iv: Floats, years: Floats, is_call: Bools
) -> tuple[Floats, Floats, Floats]:
    """Premium, delta and vega (per 0.01) in one pass; iv and years must be > 0."""
    root = np.sqrt(years)
    total = iv * root
    d1 = np.log(forward / strike) / total + 0.5 * total
    call_delta = normal_cdf(d1)
    call = forward * call_delta - strike * normal_cdf(d1 - total)
    put_shift = np.where(is_call, 0.0, 1.0)
    premium = np.maximum(call - put_shift * (forward - strike), 0.0)
    vega = (0.01 * _INV_SQRT_2PI) * forward * root * np.exp(-0.5 * d1 * d1)
    return premium, call_delta - put_shift, vega


def greeks(forward: Floats, strike: Floats, iv: Floats, years: Floats, is_call: Bools) -> Greeks:
    """Greeks of live options; iv and years must be > 0."""
    root = np.sqrt(years)
    total = iv * root
    d1 = np.log(forward / strike) / total + 0.5 * total
    density = _INV_SQRT_2PI * np.exp(-0.5 * d1 * d1)
    return Greeks(
        delta=normal_cdf(d1) - np.where(is_call, 0.0, 1.0),
        gamma=density / (forward * total),
        vega=0.01 * forward * root * density,
        theta=-forward * density * iv / (2.0 * root) / 365.0,
    )


def implied_volatility(
    premium: Floats,
    forward: Floats,
    strike: Floats,
    years: Floats,
    is_call: Bools,
    start: Floats | None = None,
) -> Floats:
    """Volatility that reproduces the premium, to 1e-6 where vega allows.

    NaN where the premium is NaN, at or below intrinsic value, at or above its upper bound, or
    outside [IV_MIN, IV_MAX]. Safeguarded Newton: a step that leaves the bracket is replaced by
    bisection. `start` is a guess, for instance the mark volatility; it saves steps only.
    """
    intrinsic = np.where(is_call, forward - strike, strike - forward)
    # The out-of-the-money twin has the same volatility and no large intrinsic part to cancel.
    use_call = strike >= forward
    target = np.where(use_call == is_call, premium, premium - intrinsic)
    bound = np.where(use_call, forward, strike)
    iv = np.full_like(premium, np.nan)
    at = np.flatnonzero((target > 1e-12 * forward) & (target < bound) & (years > 0.0))
    if start is None:
        # Manaster and Koehler: Newton converges monotonically from the inflection point.
        start = np.sqrt(2.0 * np.abs(np.log(forward / strike)) / np.maximum(years, 1e-9))
    guess = np.clip(start, 0.05, 5.0)
    low, high = np.full_like(premium, IV_MIN), np.full_like(premium, IV_MAX)
    for _ in range(_IV_STEPS):
        if not len(at):
            break
        now = guess[at]
        value, _, vega = price_delta_vega(forward[at], strike[at], now, years[at], use_call[at])
        # Newton on the logarithm of the premium: nearly straight where the premium itself is flat.
        value = np.maximum(value, 1e-300)
        gap = np.log(value / target[at])
        above = gap > 0.0
        high[at] = np.where(above, now, high[at])
        low[at] = np.where(above, low[at], now)
        moved = now - gap * value / np.maximum(100.0 * vega, 1e-300)
        # Below rounding of the forward the premium says nothing about the slope: bisect.
        inside = (moved > low[at]) & (moved < high[at]) & (value > 1e-13 * forward[at])
        following = np.where(inside, moved, 0.5 * (low[at] + high[at]))
        guess[at] = following
        done = np.abs(following - now) <= 1e-6
        iv[at[done]] = following[done]
        at = at[~done]
    found = (iv > IV_MIN * 1.01) & (iv < IV_MAX * 0.99)
    return np.where(found, iv, np.nan)
