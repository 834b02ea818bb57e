"""Stage 5 of 8: exp2, log2, tan and atan of our own, the same bits on every device.

Library versions differ between libm and libdevice in the last bit; these use only adds,
multiplies, divides and bit casts, which IEEE 754 fixes.
"""

import numpy as np

from kernels.laws.bits import bits_float, float_bits
from kernels.laws.scalars import f32, i32

ZERO, HALF, ONE, TWO = f32(0), f32(0.5), f32(1), f32(2)
NAN = f32(np.nan)
PI = f32(np.pi)
INV_PI = f32(1 / np.pi)
QUARTER = f32(0.25)
HALF_PI = f32(np.pi / 2)
QUARTER_PI = f32(np.pi / 4)

EXP2_LOW = f32(-126)  # Below it 2**x leaves the normal numbers; the answer stays 2**-126.
ROUND = f32(12582912)  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits.
E6, E5, E4, E3, E2, E1 = (
    f32(c)
    for c in (1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3,
              5.550332471162809e-2, 2.402264791363012e-1, 6.931472028550421e-1)
)  # fmt: skip
SHIFT = i32(23)

MANTISSA = i32(0x007FFFFF)
EXPONENT_OF_HALF = i32(0x3F000000)
BIAS = i32(126)
SQRT_HALF = f32(0.70710678118654752)
LOG2_E = f32(1.4426950408889634)
SMALLEST_NORMAL = f32(1.17549435e-38)
L9, L8, L7, L6, L5, L4, L3, L2, L1 = (
    f32(c)
    for c in (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
              -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)
)  # fmt: skip
LN_2 = f32(0.69314718055994531)
LOG10_2 = f32(0.30102999566398120)

T6, T5, T4, T3, T2, T1 = (
    f32(c)
    for c in (9.38540185543e-3, 3.11992232697e-3, 2.44301354525e-2,
              5.34112807005e-2, 1.33387994085e-1, 3.33331568548e-1)
)  # fmt: skip
A4, A3, A2, A1 = (
    f32(c)
    for c in (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)
)  # fmt: skip
TAN_3_PI_8 = f32(2.414213562373095)
TAN_PI_8 = f32(0.4142135623730950)


def exp2_neg(x: float) -> float:
    """2**x for x <= 0, relative error below 2e-7; x below -126 counts as -126; NaN gives 2**-126.

    >>> float(exp2_neg(f32(-1.0))), round(float(exp2_neg(f32(-0.5))), 6)
    (0.5, 0.707107)

    Source: Cephes exp2f.c (Moshier), polynomial on [-1/2, 1/2].
    """
    x = x if x > EXP2_LOW else EXP2_LOW
    rounded = x + ROUND
    f = x - (rounded - ROUND)
    p = E6
    p = p * f + E5
    p = p * f + E4
    p = p * f + E3
    p = p * f + E2
    p = p * f + E1
    p = p * f + ONE
    # The integer part goes straight into the exponent field; the shift drops ROUND's own bits.
    return bits_float(i32(float_bits(p) + (i32(float_bits(rounded)) << SHIFT)))


def log2(x: float) -> float:
    """log2 of a positive normal float32, absolute error below 2e-7 + 1e-7 |log2 x|; NaN elsewhere.

    >>> float(log2(f32(8.0))), round(float(log2(f32(10.0))), 6)
    (3.0, 3.321928)

    Source: Cephes logf.c (Moshier).
    """
    if not x >= SMALLEST_NORMAL:
        return NAN
    i = float_bits(x)
    e = f32((i >> SHIFT) - BIAS)
    m = bits_float(i32((i & MANTISSA) | EXPONENT_OF_HALF))
    if m < SQRT_HALF:
        e = e - ONE
        m = m + m
    f = m - ONE
    z = f * f
    p = L9
    p = p * f + L8
    p = p * f + L7
    p = p * f + L6
    p = p * f + L5
    p = p * f + L4
    p = p * f + L3
    p = p * f + L2
    p = p * f + L1
    y = f * z * p
    y = y - HALF * z
    return (f + y) * LOG2_E + e


def tan_small(x: float) -> float:
    """Tan of x in [0, pi/4], relative error below 3e-7.

    >>> round(float(tan_small(f32(0.5))), 6)
    0.546302

    Source: Cephes tanf.c (Moshier).
    """
    z = x * x
    p = T6
    p = p * z + T5
    p = p * z + T4
    p = p * z + T3
    p = p * z + T2
    p = p * z + T1
    return p * z * x + x


def cot_pi(p: float) -> float:
    """cot(pi p) for p in (0, 1): the strength of one p-value in the Cauchy combination.

    >>> round(float(cot_pi(f32(0.25))), 6), round(float(cot_pi(f32(0.75))), 6)
    (1.0, -1.0)

    Source: Liu and Xie 2020, equation 2 (tan(pi (1/2 - p))).
    """
    q = ONE - p if p > HALF else p
    steep = q <= QUARTER
    tangent = tan_small(PI * (q if steep else HALF - q))
    c = ONE / tangent if steep else tangent
    return -c if p > HALF else c


def atan(x: float) -> float:
    """Arc tangent, relative error below 3e-7.

    >>> round(float(atan(f32(1.0))), 6), round(float(atan(f32(-5.0))), 6)
    (0.785398, -1.373401)

    Source: Cephes atanf.c (Moshier).
    """
    a = -x if x < ZERO else x
    base = ZERO
    if a > TAN_3_PI_8:
        base = HALF_PI
        a = -(ONE / a)
    elif a > TAN_PI_8:
        base = QUARTER_PI
        a = (a - ONE) / (a + ONE)
    z = a * a
    p = A4
    p = p * z + A3
    p = p * z + A2
    p = p * z + A1
    y = base + (p * z * a + a)
    return -y if x < ZERO else y
