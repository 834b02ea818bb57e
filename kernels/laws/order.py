"""Stage 5 of 8: the order of floats, and the middle of two order statistics."""

import numpy as np

from kernels.laws.bits import bits_float, float_bits
from kernels.laws.scalars import f32, i32

HALF = f32(0.5)
SIGN = np.int32(-(1 << 31))


def order_key(x: float) -> int:
    """Integer that orders as the float does: a < b makes a smaller key, -0 and +0 the same one.

    NaN has no place in the order; its keys lie beyond those of the infinities.

    >>> int(order_key(f32(-0.0))), int(order_key(f32(1.0))), int(order_key(f32(-1.0)))
    (0, 1065353216, -1065353216)

    Source: IEEE 754 binary32, whose magnitudes are ordered as their bits.
    """
    bits = float_bits(x)
    return bits if bits >= 0 else i32(SIGN - bits)


def float_of_key(key: int) -> float:
    """Float of an order key; key 0 is +0.

    >>> float(float_of_key(order_key(f32(-2.5)))), float(float_of_key(order_key(f32(-0.0))))
    (-2.5, 0.0)

    Source: inverse of order_key.
    """
    return bits_float(key if key >= 0 else i32(SIGN - key))


def middle(low: float, high: float) -> float:
    """Mean of the two middle members of an even count; an odd count passes its middle twice.

    Halved before they are added, so that no finite pair overflows; -inf and inf have no middle.

    >>> float(middle(f32(1), f32(4))), float(middle(f32(3e38), f32(3.2e38))) < 3.3e38
    (2.5, True)
    >>> float(middle(f32(np.inf), f32(np.inf))), float(middle(f32(1), f32(np.inf)))
    (inf, inf)

    Source: definition of the median.
    """
    return low if low == high else HALF * low + HALF * high
