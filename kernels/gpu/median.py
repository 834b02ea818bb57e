"""Stage 6 of 8: median and median absolute deviation of each segment.

    block -> one segment after another; thread -> its members, then one bucket of a digit

The middle member is selected by four counts of its key's digits, eight bits at a time: integer
counts in shared memory, so the threads' order does not show. The answer is that of
kernels/cpu/median.py, which finds it by sorting.
"""

import numpy as np
from numba import cuda

from kernels.arrays import F32x1, I32x1, I64x1
from kernels.laws.order import float_of_key, middle, order_key

THREADS = 256  # One a bucket.
DIGIT_BITS = 8
DIGITS = 4
LOWEST_KEY = 1 << 31  # added to an order key to make it a natural number
ZERO, NAN = np.float32(0), np.float32(np.nan)
# Words of what the threads of a block agree on.
BUCKET, RANK, IN_BUCKET, NEXT_KEY = range(4)
SHARED_WORDS = 4


def segment_median_mad(values: F32x1, start: I64x1, median: F32x1, mad: F32x1) -> None:
    """Fill `median` and `mad`, float32[segment], of values[start[g]] to values[start[g + 1]].

    Members that are NaN are left out; no members give NaN.
    """
    count = cuda.shared.array(THREADS, np.int32)
    agreed = cuda.shared.array(SHARED_WORDS, np.int64)
    for g in range(cuda.blockIdx.x, median.size, cuda.gridDim.x):
        first, last = start[g], start[g + 1]
        centre = middle_of(values, first, last, False, ZERO, count, agreed)
        spread = middle_of(values, first, last, True, centre, count, agreed)
        if cuda.threadIdx.x == 0:
            median[g], mad[g] = centre, spread


def middle_of(
    values: F32x1, first: int, last: int, deviations: bool, centre: float, count: I32x1,
    agreed: I64x1,
) -> float:  # fmt: skip
    """Median of the members, or of their distances from the centre; the whole block."""
    prefix, rank, total = np.int64(0), np.int64(0), np.int64(0)
    for digit in range(DIGITS):
        shift = DIGIT_BITS * (DIGITS - 1 - digit)
        count[cuda.threadIdx.x] = 0
        cuda.syncthreads()
        for k in range(first + cuda.threadIdx.x, last, THREADS):
            key = key_of(values[k], deviations, centre)
            if key >= 0 and key >> (shift + DIGIT_BITS) == prefix:
                cuda.atomic.add(count, (key >> shift) & (THREADS - 1), 1)
        cuda.syncthreads()
        own = np.int64(count[cuda.threadIdx.x])
        below = counted_through(count) - own
        if digit == 0:
            total = np.int64(count[THREADS - 1])
            rank = (total - 1) // 2
        if below <= rank < below + own:  # One thread at most: its bucket holds the rank.
            agreed[BUCKET] = cuda.threadIdx.x
            agreed[RANK] = rank - below
            agreed[IN_BUCKET] = own
        cuda.syncthreads()
        if total == 0:
            return NAN
        prefix = (prefix << DIGIT_BITS) | agreed[BUCKET]
        rank = agreed[RANK]
    low = float_of_key(np.int32(prefix - LOWEST_KEY))
    if total % 2 == 1 or rank + 1 < agreed[IN_BUCKET]:
        return low
    return middle(low, next_above(values, first, last, deviations, centre, prefix, agreed))


def key_of(x: float, deviations: bool, centre: float) -> int:
    """Key of a member or of its distance from the centre, 0 to 2**32 - 1; -1 for NaN."""
    if deviations:
        x = abs(x - centre)
    if x != x:  # noqa: PLR0124 - NaN
        return np.int64(-1)
    return np.int64(order_key(x)) + LOWEST_KEY


def counted_through(count: I32x1) -> int:
    """Members up to and with the thread's own bucket (Hillis and Steele's scan, in place)."""
    step = 1
    while step < THREADS:
        before = count[cuda.threadIdx.x - step] if cuda.threadIdx.x >= step else np.int32(0)
        cuda.syncthreads()
        count[cuda.threadIdx.x] += before
        cuda.syncthreads()
        step *= 2
    return np.int64(count[cuda.threadIdx.x])


def next_above(
    values: F32x1, first: int, last: int, deviations: bool, centre: float, key: int, agreed: I64x1
) -> float:
    """Smallest value above the one of a key; there is one."""
    if cuda.threadIdx.x == 0:
        agreed[NEXT_KEY] = np.int64(1) << 32
    cuda.syncthreads()
    for k in range(first + cuda.threadIdx.x, last, THREADS):
        other = key_of(values[k], deviations, centre)
        if other > key:
            cuda.atomic.min(agreed, NEXT_KEY, other)
    cuda.syncthreads()
    return float_of_key(np.int32(agreed[NEXT_KEY] - LOWEST_KEY))
