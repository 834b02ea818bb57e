"""Stage 6 of 8: deterministic top k on unique 64-bit keys."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Columns


def top_k(
    listing_count: int, hold_after_ns: int, keys: NDArray[np.uint64], columns: Columns,
    best: NDArray[np.uint64],
) -> int:  # fmt: skip
    """Collect the k largest keys of rows observed since hold_after_ns; returns how many there are.

    best: uint64[k], filled in descending order. A running minimum makes it one compare per row in
    the usual case; keys are unique, so ties cannot occur.
    """
    k = best.size
    count = 0
    for i in range(listing_count):
        key = keys[i]
        if key == 0 or (count == k and key <= best[k - 1]):
            continue
        if columns.i64[c.OBSERVED_NS, i] < hold_after_ns:
            continue
        at = count if count < k else k - 1
        while at > 0 and best[at - 1] < key:
            best[at] = best[at - 1]
            at -= 1
        best[at] = key
        if count < k:
            count += 1
    return count
