"""Float arithmetic with the roundings that PTX promises, vectorised.

NumPy's add, subtract, multiply, divide and square root round once, to nearest even, denormals
included; what it lacks is a fused multiply-add, PTX's minimum and maximum, and conversions that
clamp.
Source: NVIDIA, PTX ISA 9.0, section 9.7.3; Boldo and Melquiond, "Emulation of a FMA and correctly
rounded
sums: proved algorithms using rounding to odd", IEEE Transactions on Computers 57 (2008).
"""

from fractions import Fraction

import numpy as np

CANONICAL_NAN = np.uint32(0x7FFFFFFF).view(np.float32)  # The one NaN that f32 instructions produce.
_SPLITTER = np.float64(2**27 + 1)  # Dekker's constant for 53 bits.
_BELOW_TIE = np.uint64(2**28 - 1)
_BITS = {4: np.uint32, 8: np.uint64}


def canonical(value: np.ndarray) -> np.ndarray:
    """`value` with every float32 NaN as 0x7fffffff; a float64 keeps the NaN that it got.

    The hardware passes the payload of a double's NaN through, as the CPU does.
    """
    if value.dtype != np.float32:
        return value
    wrong = value != value  # noqa: PLR0124 - only NaN differs from itself
    if not np.any(wrong):
        return value
    return np.where(wrong, CANONICAL_NAN, value)


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c with one rounding; all float32 or all float64."""
    if np.result_type(a) == np.float32:
        return _fma_f32(np.asarray(a, np.float64) * b, np.asarray(c, np.float64))
    return _fma_f64(*np.broadcast_arrays(a, b, c))


def _fma_f32(product: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The float32 nearest to product + c; the product of two float32 is exact in float64.

    A second rounding can only go wrong from a tie of float32, whose low 28 bits in float64 are
    zero.
    """
    total = np.atleast_1d(product + c)
    doubtful = np.atleast_1d((total.view(np.uint64) & _BELOW_TIE) == 0)
    if doubtful.any():
        wide, term = (np.broadcast_to(v, total.shape)[doubtful] for v in (product, c))
        total[doubtful] = _rounded_to_odd(wide, term)
    return total.astype(np.float32).reshape(np.broadcast_shapes(product.shape, c.shape))


def _two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rounded sum and its exact error (Knuth)."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def _two_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rounded product and its exact error (Dekker); magnitudes must be moderate."""
    product = a * b
    a_high = a * _SPLITTER - (a * _SPLITTER - a)
    b_high = b * _SPLITTER - (b * _SPLITTER - b)
    a_low, b_low = a - a_high, b - b_high
    error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    return product, error


def _rounded_to_odd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b in float64, rounded to odd, so that a second rounding to fewer bits is the only one."""
    total, error = _two_sum(a, b)
    even = (np.asarray(total).view(np.uint64) & np.uint64(1)) == 0
    doubtful = even & (error != 0) & np.isfinite(error)
    if not np.any(doubtful):
        return total
    towards = np.nextafter(total, np.copysign(np.float64(np.inf), error))
    return np.where(doubtful, towards, total)


def _fma_f64(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    product, product_error = _two_product(a, b)
    high, low = _two_sum(c, product_error)
    sum_high, sum_low = _two_sum(product, high)
    result = np.atleast_1d(sum_high + _rounded_to_odd(low, sum_low))
    plain = np.atleast_1d(a * b + c)
    # Outside these exponents a partial product may overflow or lose bits below the smallest
    # denormal.
    moderate = (
        _within(a, 1e-120, 1e120)
        & _within(b, 1e-120, 1e120)
        & ((c == 0) | _within(c, 1e-240, 1e240))
    )
    for k in np.nonzero(np.atleast_1d(~moderate))[0]:
        operands = [float(np.atleast_1d(v)[k]) for v in (a, b, c)]
        result[k] = _exact_fma(*operands, otherwise=float(plain[k]))
    return result.reshape(np.shape(a))


def _within(value: np.ndarray, low: float, high: float) -> np.ndarray:
    magnitude = np.abs(value)
    return (magnitude > low) & (magnitude < high)


def _exact_fma(a: float, b: float, c: float, otherwise: float) -> float:
    """By rational arithmetic; `otherwise` where a NaN, an infinity or a zero's sign decides."""
    if not (np.isfinite(a) and np.isfinite(b)):
        return otherwise
    if not np.isfinite(c):
        return c  # Also where a * b alone would overflow.
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return 0.0 if a and b else otherwise
    try:
        rounded = float(exact)
    except OverflowError:
        return np.inf if exact > 0 else -np.inf
    return rounded or (0.0 if exact > 0 else -0.0)


def minimum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smaller; the other where one is NaN; -0 is smaller than +0."""
    return _extreme(a, b, np.fmin, np.bitwise_or)


def maximum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The larger; the other where one is NaN; +0 is larger than -0."""
    return _extreme(a, b, np.fmax, np.bitwise_and)


def _extreme(a: np.ndarray, b: np.ndarray, choose: np.ufunc, join_bits: np.ufunc) -> np.ndarray:
    chosen = choose(a, b)
    zero = chosen == 0
    if np.any(zero):
        # NumPy takes either zero; their bits differ in the sign alone. Where one operand is no
        # zero, or is NaN, the zero chosen is the other operand, whatever its sign.
        word = _BITS[chosen.dtype.itemsize]
        joined = join_bits(np.asarray(a).view(word), np.asarray(b).view(word)).view(chosen.dtype)
        chosen = np.where(zero & (a == b), joined, chosen)
    return canonical(chosen)


def with_nan(extreme: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The `.NaN` form of a minimum or maximum: NaN where either operand is."""
    return canonical(
        np.where(np.isnan(a) | np.isnan(b), np.asarray(np.nan, extreme.dtype), extreme)
    )


def to_integer(value: np.ndarray, target: np.dtype) -> np.ndarray:
    """An already integral float as `target`, clamped to its range.

    NaN becomes 0 from f32 into up to 32 bits, else the number with only its top bit set
    (PTX ISA 9.0, cvt, "NaN input").
    """
    limits = np.iinfo(target)
    value = np.asarray(value)
    wide = value.astype(np.float64)
    above, below = wide >= float(limits.max), wide <= float(limits.min)
    nan = np.isnan(wide)
    inside = np.where(above | below | nan, 0.0, wide).astype(target)
    clamped = np.where(
        above, target.type(limits.max), np.where(below, target.type(limits.min), inside)
    )
    top_bit = limits.min or 1 << (8 * target.itemsize - 1)
    is_zero = value.dtype == np.float32 and target.itemsize < 8
    return np.where(nan, target.type(0 if is_zero else top_bit), clamped)


def saturated(value: np.ndarray) -> np.ndarray:
    """Clamped to [0, 1], NaN as +0: the `.sat` of a float result."""
    one, zero = value.dtype.type(1), value.dtype.type(0)
    return np.where(value > zero, np.where(value < one, value, one), zero)
