"""Integer and bit instructions on NumPy arrays, each with the width of its operands.

Source: NVIDIA, PTX ISA 9.0, sections 9.7.1 (integer), 9.7.8 (logic and shift), 9.7.9.7 (prmt).
"""

import numpy as np

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def bits_of(dtype: np.dtype) -> int:
    """The width of a type in bits."""
    return 8 * dtype.itemsize


def unsigned(dtype: np.dtype) -> np.dtype:
    """The unsigned type of the same width."""
    return np.dtype(f"u{dtype.itemsize}")


def doubled(dtype: np.dtype) -> np.dtype:
    """The type of twice the width."""
    return np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")


def multiply_high(a: np.ndarray, b: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The upper half of the product of twice the width."""
    if dtype.itemsize < 8:
        wide = doubled(dtype)
        return (np.asarray(a, wide) * np.asarray(b, wide) >> wide.type(bits_of(dtype))).astype(
            dtype
        )
    x, y = (np.asarray(v).astype(np.uint64) for v in (a, b))
    high = _multiply_high_u64(x, y)
    if dtype.kind == "i":
        # Two's complement: a negative factor counts 2**64 too much.
        high = (
            high
            - np.where(np.asarray(a) < 0, y, np.uint64(0))
            - np.where(np.asarray(b) < 0, x, np.uint64(0))
        )
    return high.astype(dtype)


def _multiply_high_u64(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x_low, x_high, y_low, y_high = x & _LOW, x >> _HALF, y & _LOW, y >> _HALF
    middle = x_high * y_low + (x_low * y_low >> _HALF)
    other = x_low * y_high + (middle & _LOW)
    return x_high * y_high + (middle >> _HALF) + (other >> _HALF)


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quotient rounded towards zero; no divisor is zero."""
    quotient = a // b
    rest = a - quotient * b
    return quotient + ((rest != 0) & ((a < 0) != (b < 0))).astype(quotient.dtype)


def shift_left(a: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """`a` shifted up; an amount of the width or more leaves zero."""
    width = bits_of(a.dtype)
    shifted = a << np.minimum(amount, width - 1).astype(a.dtype)
    return np.where(amount >= width, a.dtype.type(0), shifted)


def shift_right(a: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """`a` shifted down, filled with its sign if it has one; the amount is clamped to the width."""
    width = bits_of(a.dtype)
    shifted = a >> np.minimum(amount, width - 1).astype(a.dtype)
    return shifted if a.dtype.kind == "i" else np.where(amount >= width, a.dtype.type(0), shifted)


def funnel_shift(
    low: np.ndarray, high: np.ndarray, amount: np.ndarray, *, left: bool
) -> np.ndarray:
    """32 bits of (high, low) shifted by at most 32: the upper word left, the lower one right."""
    pair = (np.asarray(high, np.uint64) << _HALF) | np.asarray(low, np.uint64)
    amount = np.asarray(amount, np.uint64)
    shifted = pair << amount >> _HALF if left else pair >> amount
    return shifted.astype(np.uint32)


def count_leading_zeros(a: np.ndarray) -> np.ndarray:
    """Zero bits above the highest one; the width for zero."""
    smeared = np.asarray(a)
    for shift in (1, 2, 4, 8, 16, 32):
        if shift < bits_of(smeared.dtype):
            smeared = smeared | smeared >> smeared.dtype.type(shift)
    return np.asarray(
        bits_of(smeared.dtype) - np.bitwise_count(smeared).astype(np.int64), np.uint32
    )


def find_leading_bit(a: np.ndarray, *, as_shift: bool) -> np.ndarray:
    """The position of the most significant bit that is not sign; 0xffffffff if there is none.

    as_shift: the amount by which it must be shifted left to become the top bit instead.
    """
    a = np.asarray(a)
    plain = (np.where(a < 0, ~a, a) if a.dtype.kind == "i" else a).astype(unsigned(a.dtype))
    zeros = count_leading_zeros(plain)
    position = zeros if as_shift else np.uint32(bits_of(a.dtype) - 1) - zeros
    return np.where(plain == 0, np.uint32(0xFFFFFFFF), position)


def reverse_bits(a: np.ndarray) -> np.ndarray:
    """The bits of `a` in the opposite order."""
    a = np.ascontiguousarray(a)
    octets = a.view(np.uint8).reshape(*a.shape, a.dtype.itemsize)
    flipped = np.packbits(np.unpackbits(octets, axis=-1)[..., ::-1], axis=-1)
    # Big-endian bits of little-endian bytes, reversed as a whole, are again the little-endian word.
    return np.ascontiguousarray(flipped).view(a.dtype)[..., 0]


def extract_field(a: np.ndarray, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """`length` bits of `a` from bit `start`, with the field's sign if the type has one (bfe)."""
    a = np.asarray(a)
    width = bits_of(a.dtype)
    start, length = (np.asarray(v, np.int64) & 0xFF for v in (start, length))
    plain = a.astype(unsigned(a.dtype))
    mask = _low_bits(length, width, plain.dtype)
    field = shift_right(plain, start) & mask
    if a.dtype.kind == "i":
        top = np.minimum(start + length - 1, width - 1)
        negative = (shift_right(plain, top) & plain.dtype.type(1)).astype(bool) & (length > 0)
        field = np.where(negative, field | ~mask | _above(start, width, plain.dtype), field)
    return field.astype(a.dtype)


def _low_bits(length: np.ndarray, width: int, dtype: np.dtype) -> np.ndarray:
    ones = dtype.type(2**width - 1)
    return ~shift_left(np.broadcast_to(ones, np.shape(length)), length)


def _above(start: np.ndarray, width: int, dtype: np.dtype) -> np.ndarray:
    """The bits of a field that lie beyond the top of the word: they too repeat the sign."""
    ones = np.broadcast_to(dtype.type(2**width - 1), np.shape(start))
    return ~shift_right(ones, start)


def insert_field(a: np.ndarray, b: np.ndarray, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """`b` with its `length` bits from bit `start` replaced by the lowest ones of `a` (bfi)."""
    b = np.asarray(b)
    start, length = (np.asarray(v, np.int64) & 0xFF for v in (start, length))
    mask = shift_left(_low_bits(length, bits_of(b.dtype), b.dtype), start)
    return (b & ~mask) | (shift_left(np.asarray(a, b.dtype), start) & mask)


def permute_bytes(a: np.ndarray, b: np.ndarray, selector: np.ndarray) -> np.ndarray:
    """prmt: each nibble picks a byte of (b, a); its top bit asks for its sign, eight times."""
    pair = (np.asarray(b, np.uint64) << _HALF) | np.asarray(a, np.uint64)
    selector = np.asarray(selector, np.uint64)
    result: np.ndarray = np.uint64(0)  # type: ignore[assignment]
    for k in range(4):
        nibble = selector >> np.uint64(4 * k)
        byte = pair >> (np.uint64(8) * (nibble & np.uint64(7))) & np.uint64(0xFF)
        sign = np.where(byte & np.uint64(0x80), np.uint64(0xFF), np.uint64(0))
        byte = np.where(nibble & np.uint64(8), sign, byte)
        result = result | byte << np.uint64(8 * k)
    return np.asarray(result).astype(np.uint32)


def logic_of_three(a: np.ndarray, b: np.ndarray, c: np.ndarray, table: int) -> np.ndarray:
    """lop3: bit (4a + 2b + c) of `table` for each triple of bits."""
    result = np.zeros_like(a | b | c)
    for row in range(8):
        if table >> row & 1:
            result |= (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
    return result


def saturating_cast(value: np.ndarray, target: np.dtype) -> np.ndarray:
    """An integer clamped to the range of another integer type."""
    limits, own = np.iinfo(target), np.iinfo(value.dtype)
    low, high = max(limits.min, own.min), min(limits.max, own.max)
    return np.clip(value, value.dtype.type(low), value.dtype.type(high)).astype(target)
