"""Stage 6 of 8, checked: the liquidity class, ranked over all listings, and the depth near a mid.

Follows docs/SCORING.md section 2. The edges of a class are compared in whole numbers, as a
quotient on an edge is no matter for floats.
"""

import math
from collections.abc import Iterable, Mapping

FIRST_NS = 60 * 10**9
AGAIN_NS = 600 * 10**9


def depth_near(levels: Iterable[tuple[int, float]], mid: float, reach: float) -> float:
    """Sum of the sizes at most `reach` ticks from the mid; NaN where the reach is."""
    if math.isnan(reach):
        return math.nan
    return math.fsum(size for price, size in levels if abs(price - mid) <= reach)


def class_of(position: int, count: int, held: int | None) -> int:
    """Class of one of `count` ranked rows, by its position from the least active; 0 is first."""
    if held is not None:
        # r = position/count against (held - 1)/4 - 1/20 and held/4 + 1/20, all times 20 count.
        low, high = (5 * (held - 1) - 1) * count, (5 * held + 1) * count
        if low <= 20 * position < high:
            return held
    return 4 * position // count + 1


class LiquidityClasses:
    """Who is in which class; assigned 60 s after the first scan, then every 600 s."""

    def __init__(self) -> None:
        self.classes: dict[int, int] = {}  # listing_id -> 1 (least) to 4
        self.first_ns: int | None = None
        self.assigned_ns: int | None = None

    def due(self, now_ns: int) -> bool:
        """Say whether this scan assigns; to be asked once a scan."""
        if self.first_ns is None:
            self.first_ns = now_ns
        if self.assigned_ns is None:
            return now_ns - self.first_ns >= FIRST_NS
        return now_ns - self.assigned_ns >= AGAIN_NS

    def assign(self, activity: Mapping[int, float], now_ns: int) -> None:
        """activity: listing_id -> `a`, NaN for those that are not ranked and keep what they have.

        A scan at which nothing can be ranked is an assignment all the same.
        """
        ranked = sorted((a, i) for i, a in activity.items() if not math.isnan(a))
        for position, (_, listing_id) in enumerate(ranked):
            held = self.classes.get(listing_id)
            self.classes[listing_id] = class_of(position, len(ranked), held)
        self.assigned_ns = now_ns
