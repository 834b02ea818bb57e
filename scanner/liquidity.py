"""Stage 6 of 8: liquidity classes, a label for people: quarters of the universe by activity."""

import numpy as np
from numpy.typing import NDArray


def classes_after(activity: NDArray[np.float32], held: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Classes 1 (least active) to 4 after a new ranking.

    A class is a quarter of the ranked rows; whoever is in it stays for a twentieth beyond.

    Args:
        activity: float32[listing]; NaN is not ranked and keeps its class.
        held: uint8[listing], the classes until now, 0 = none yet.

    Returns:
        uint8[listing].

    >>> classes_after(np.float32([5, 1, 9, np.nan, 7]), np.uint8([0, 2, 0, 3, 0])).tolist()
    [2, 1, 4, 3, 3]
    """
    ranked = np.flatnonzero(~np.isnan(activity))
    order = ranked[np.argsort(activity[ranked], kind="stable")]
    position, count = np.arange(len(order)), len(order)
    before = held[order].astype(np.int64)
    # position / count against the edges of a class, times 20: whole numbers know what is equal.
    kept = before > 0
    kept &= 20 * position >= (5 * (before - 1) - 1) * count
    kept &= 20 * position < (5 * before + 1) * count
    after = held.copy()
    after[order] = np.where(kept, before, 4 * position // max(count, 1) + 1)
    return after
