"""Stage 5 of 8: transforms that give bounded or heavy-tailed features a usable z."""

import math

import numpy as np

from kernels.laws.elementary import LN_2, log2

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
SHRINK = np.float32(0.98)
SMALL = np.float32(0.03)
SIXTH = np.float32(1 / 6)


def atanh_share(share: float) -> float:
    """atanh(0.98 share) of a share in [-1, 1]; the factor keeps the atoms at +-1 finite.

    >>> round(float(atanh_share(np.float32(0.5))), 5), round(float(atanh_share(np.float32(1.0))), 4)
    (0.53606, 2.2976)

    Source: Fisher's z transform of a bounded statistic.
    """
    x = SHRINK * share
    return HALF * LN_2 * log2((ONE + x) / (ONE - x))


def asinh(x: float) -> float:
    """Inverse hyperbolic sine, odd to the last bit; absolute error below 3e-7 (1 + |asinh x|).

    >>> round(float(asinh(np.float32(1.0))), 6), float(asinh(np.float32(0.0)))
    (0.881374, 0.0)

    Source: definition, ln(x + sqrt(x**2 + 1)); below 0.03 the series x - x**3 / 6.
    """
    a = -x if x < ZERO else x
    y = a - a * a * a * SIXTH if a < SMALL else LN_2 * log2(a + np.float32(math.sqrt(a * a + ONE)))
    return -y if x < ZERO else y
