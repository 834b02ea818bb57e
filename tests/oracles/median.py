"""Stage 6 of 8, checked: median and MAD as kernels/cpu/median.py defines them, by sorting.

Plain floats; `single` rounds to the nearest float32 after every operation. Doubles hold more than
twice the digits, so rounding twice rounds as once.
"""

import math
import struct
from collections.abc import Sequence


def single(x: float) -> float:
    """Nearest float32; beyond the largest one, infinity."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


def median(values: Sequence[float]) -> float:
    """Middle of the values that are numbers; NaN without any."""
    members = sorted(x if x != 0 else 0.0 for x in values if not math.isnan(x))
    if not members:
        return math.nan
    low, high = members[(len(members) - 1) // 2], members[len(members) // 2]
    if low == high:
        return low
    return single(single(low / 2) + single(high / 2))


def median_and_mad(values: Sequence[float]) -> tuple[float, float]:
    """Median of the values, and of their distances from it."""
    centre = median(values)
    return centre, median([single(abs(x - centre)) for x in values])
