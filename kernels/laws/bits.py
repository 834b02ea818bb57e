"""Stage 5 of 8: the two bit casts without a portable spelling; the factory swaps in its own."""

import numpy as np


def float_bits(x: float) -> int:
    """Reinterpret a float32 as the int32 of the same bits.

    >>> hex(float_bits(1.0))
    '0x3f800000'

    Source: IEEE 754 binary32.
    """
    return np.float32(x).view(np.int32)  # type: ignore[return-value]


def bits_float(i: int) -> float:
    """Reinterpret an int32 as the float32 of the same bits.

    >>> bits_float(0x40490FDB)
    np.float32(3.1415927)

    Source: IEEE 754 binary32.
    """
    return np.int32(i).view(np.float32)  # type: ignore[return-value]
