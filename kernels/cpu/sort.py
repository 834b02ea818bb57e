"""Stage 3 of 8: stable counting sort of a tick's rows by listing; its cost is that of the rows."""

import numpy as np
from numpy.typing import NDArray


def sort_by_listing(
    listing_id: NDArray[np.uint32], seen: NDArray[np.int32], order: NDArray[np.int64],
    listing: NDArray[np.int32], start: NDArray[np.int64],
) -> int:  # fmt: skip
    """Fill `order` with row numbers, stable by listing; returns the number of segments.

    Segments come in order of first appearance. seen: int32[capacity], all 0 before and after.
    listing, start: one entry per segment (room for a segment per row), start has one more.
    """
    segments = 0
    for row in range(listing_id.size):
        i = listing_id[row]
        if seen[i] == 0:
            listing[segments] = i
            segments += 1
        seen[i] += 1
    running = 0
    for s in range(segments):
        start[s] = running
        rows = seen[listing[s]]
        seen[listing[s]] = running
        running += rows
    start[segments] = running
    for row in range(listing_id.size):
        i = listing_id[row]
        order[seen[i]] = row
        seen[i] += 1
    for s in range(segments):
        seen[listing[s]] = 0
    return segments
