"""Stage 6 of 8: deterministic top k on unique 64-bit keys."""

import numpy as np
from numpy.typing import NDArray

CHUNK = 256  # Rows looked at together: few hold a key of the best.


def top_k(
    listing_count: int, hold_after_ns: int, keys: NDArray[np.uint64],
    observed_ns: NDArray[np.int64], best: NDArray[np.uint64],
) -> int:  # fmt: skip
    """Collect the k largest keys of rows observed since hold_after_ns; returns how many there are.

    best: uint64[k], filled in descending order. Keys are unique, so ties cannot occur.
    """
    k = best.size
    count = np.int64(0)  # A literal would be a type of its own, compiled apart.
    for start in range(0, listing_count, CHUNK):
        rows = min(CHUNK, listing_count - start)
        part, observed = keys[start : start + rows], observed_ns[start : start + rows]
        bound = best[k - 1] if count == k else np.uint64(0)
        above = 0
        for j in range(rows):
            above += part[j] > bound
        if above == 0:
            continue
        for j in range(rows):
            key = part[j]
            if key > bound and observed[j] >= hold_after_ns:
                count = insert(key, count, best)
                bound = best[k - 1] if count == k else np.uint64(0)
    return count


def insert(key: int, count: int, best: NDArray[np.uint64]) -> int:
    """Put a key in its place among the best; returns how many there are now."""
    at = count if count < best.size else best.size - 1
    while at > 0 and best[at - 1] < key:
        best[at] = best[at - 1]
        at -= 1
    best[at] = key
    return min(count + 1, best.size)
