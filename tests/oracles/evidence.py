"""Stage 6 of 8, checked: p-values, their combinations, and the ring of histograms.

docs/SCORING.md section 4, steps 6, 7 and 9, as plain functions and dictionaries in float64.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import accumulate

HOUR_NS = 3600 * 10**9
SLOTS = 25
FIXED_POINT = 2**20  # Fixed-point sums drop what is below one unit.
DRIVER_BINS = 1024
STRENGTH_BINS = 2048


def driver_bin(z: float) -> int:
    """Bin of |z|, also of a group's G."""
    return min(math.floor(64 * math.log2(1 + abs(z))), DRIVER_BINS - 1)


def acat_bin(strength: float) -> int:
    return min(math.floor(128 * strength), STRENGTH_BINS - 1)


def fisher_bin(statistic: float) -> int:
    return min(math.floor(8 * statistic), STRENGTH_BINS - 1)


def cauchy_term(p: float) -> float:
    """`cot(pi min(p, 0.99))`, in the form that keeps its digits for small p."""
    if p < 1e-8:
        return 1 / (math.pi * p)
    return 1 / math.tan(math.pi * min(p, 0.99))


def acat_p(p_values: Sequence[float]) -> float:
    """Cauchy combination; a NaN adds 0 to the sum and still counts as one of them."""
    total = sum(cauchy_term(p) for p in p_values if not math.isnan(p)) / len(p_values)
    if total > 1e8:
        return 1 / (math.pi * total)
    return 0.5 - math.atan(total) / math.pi


def acat_strength(p_values: Sequence[float]) -> float:
    """`s_A = -log10 p_A`."""
    return -math.log10(acat_p(p_values))


def fisher_statistic(p_values: Sequence[float]) -> float:
    """`T_F = -2 sum ln p`; a NaN adds 2, the mean of one term."""
    return sum(2.0 if math.isnan(p) else -2 * math.log(p) for p in p_values)


def fixed_point(x: float) -> int:
    """Units of 2^-20, rounded down."""
    return math.floor(x * FIXED_POINT)


class HistogramRing:
    """Histograms by key in hourly slots; what is read is the current hour and the 24 before.

    `roll` first, then read all, then `count`: a scan never reads its own entries.
    """

    def __init__(self, bins: int) -> None:
        self.bins = bins
        self.hour = 0
        self.slots: dict[int, dict[Hashable, Counter[int]]] = {}
        self._suffix: dict[Hashable, list[int]] = {}
        self._counted: set[Hashable] = set()

    def roll(self, now_ns: int) -> None:
        """Move to the hour of a grid time and forget what is older than 24 hours before it."""
        hour = now_ns // HOUR_NS
        if hour != self.hour:
            self.hour = hour
            self.slots = {h: slot for h, slot in self.slots.items() if h > hour - SLOTS}
            self._suffix = {}
        for key in self._counted:
            self._suffix.pop(key, None)
        self._counted = set()

    def count(self, key: Hashable, bin_: int) -> None:
        slot = self.slots.setdefault(self.hour, {})
        slot.setdefault(key, Counter())[bin_] += 1
        self._counted.add(key)

    def at_or_above(self, key: Hashable, bin_: int) -> int:
        """Entries in this bin and all higher ones."""
        if key not in self._suffix:
            self._suffix[key] = self._sums_from_above(key)
        return self._suffix[key][bin_]

    def total(self, key: Hashable) -> int:
        return self.at_or_above(key, 0)

    def p(self, key: Hashable, bin_: int) -> float:
        """`(1 + entries at or above) / (1 + entries)`: ties count against the row."""
        return (1 + self.at_or_above(key, bin_)) / (1 + self.total(key))

    def largest(self, key: Hashable) -> int | None:
        """Highest bin that holds an entry."""
        if not self.total(key):
            return None
        return max(b for slot in self.slots.values() for b in slot.get(key, ()))

    def _sums_from_above(self, key: Hashable) -> list[int]:
        counts = [0] * self.bins
        for slot in self.slots.values():
            for bin_, entries in slot.get(key, {}).items():
                counts[bin_] += entries
        return list(accumulate(reversed(counts)))[::-1]


class MeanRing:
    """Mean of fixed-point numbers over the same 25 slots."""

    def __init__(self) -> None:
        self.slots: dict[int, tuple[int, int]] = {}
        self.hour = 0

    def roll(self, now_ns: int) -> None:
        self.hour = now_ns // HOUR_NS
        self.slots = {h: slot for h, slot in self.slots.items() if h > self.hour - SLOTS}

    def add(self, units: int) -> None:
        total, count = self.slots.get(self.hour, (0, 0))
        self.slots[self.hour] = (total + units, count + 1)

    def mean(self, fewest: int, otherwise: float) -> float:
        """Mean of all entries; `otherwise` while there are fewer than `fewest`."""
        total = sum(slot[0] for slot in self.slots.values())
        count = sum(slot[1] for slot in self.slots.values())
        return total / count / FIXED_POINT if count >= fewest else otherwise
