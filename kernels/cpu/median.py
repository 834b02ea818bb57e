"""Stage 6 of 8: median and median absolute deviation of each segment.

    stripe -> batches of segments of like size; lane -> one segment of the batch

The answer is defined by order statistics, not by how they are found. Members that are NaN are left
out. With the m others in the order of IEEE 754, -0 read as +0, the median is the middle one, or
`middle` of the two middle ones; it is never -0. The MAD is the same median of the float32 values
|member - median|, and what is NaN there (infinity less itself) is left out again. No members give
NaN twice.

Up to NETWORK_ROWS members, LANES segments are sorted side by side by one network of comparators,
which is the same work in every lane. Larger ones are selected by three counts of their key's
digits. Sorted members have deviations that fall and then rise, so that merging sorts them again.
"""

import math

import numpy as np
from numpy.typing import NDArray

from kernels.laws.order import float_of_key, middle, order_key

LANES = 16
NETWORK_ROWS = 512
BUCKETS = 2048
DIGITS = 3  # of 11, 11 and 10 bits
LOWEST_KEY = 1 << 31  # added to an order key to make it a natural number
HIGHEST_KEY = 1 << 32
ZERO, INF, NAN = np.float32(0), np.float32(np.inf), np.float32(np.nan)


def segment_median_mad(
    stripe: int, stripes: int,
    values: NDArray[np.float32], start: NDArray[np.int64], order: NDArray[np.int32],
    lanes: NDArray[np.float32], count: NDArray[np.int32], median: NDArray[np.float32],
    mad: NDArray[np.float32],
) -> None:  # fmt: skip
    """Fill `median` and `mad`, float32[segment], of values[start[g]] to values[start[g + 1]].

    order: int32[segment], a permutation. Any is right; by ascending size is fast.
    lanes: float32[stripe, (NETWORK_ROWS + 1) * LANES], count: int32[stripe, BUCKETS]; working
        memory.
    """
    median_mad_stripe(
        values, start, order, stripe, stripes, lanes[stripe], count[stripe], median, mad
    )


def median_mad_stripe(
    values: NDArray[np.float32], start: NDArray[np.int64], order: NDArray[np.int32], stripe: int,
    stripes: int, lanes: NDArray[np.float32], count: NDArray[np.int32],
    median: NDArray[np.float32], mad: NDArray[np.float32],
) -> None:  # fmt: skip
    """Answer every stripes-th batch, and every stripes-th of the segments too large for one."""
    segments = order.size
    for first in range(stripe * LANES, segments, stripes * LANES):
        last = min(first + LANES, segments)
        batch_median_mad(values, start, order[first:last], lanes, count, median, mad)
    for k in range(stripe, segments, stripes):
        g = order[k]
        if start[g + 1] - start[g] > NETWORK_ROWS:
            members = values[start[g] : start[g + 1]]
            median[g] = middle_of(members, False, ZERO, count)
            mad[g] = middle_of(members, True, median[g], count)


def batch_median_mad(
    values: NDArray[np.float32], start: NDArray[np.int64], batch: NDArray[np.int32],
    lanes: NDArray[np.float32], count: NDArray[np.int32], median: NDArray[np.float32],
    mad: NDArray[np.float32],
) -> None:  # fmt: skip
    """Answer up to LANES segments at once, one a lane; those too large for a lane are passed by."""
    rows = 0
    for g in batch:
        rows = max(rows, rows_in_lane(start, g))
    for lane in range(LANES):
        first, size = 0, 0
        if lane < batch.size:
            first, size = start[batch[lane]], rows_in_lane(start, batch[lane])
        count[lane] = fill_lane(values[first : first + size], lane, rows, lanes)
    order_lanes(rows, lanes)
    centre = lanes[NETWORK_ROWS * LANES :]
    for lane in range(batch.size):
        g = batch[lane]
        centre[lane] = middle_of_lane(lane, count[lane], lanes)
        if start[g + 1] - start[g] <= NETWORK_ROWS:
            median[g] = centre[lane]
            mad[g] = mad_without_centre(lane, count[lane], centre[lane], lanes)
    deviate(rows, centre, lanes)
    merge_lanes(rows, lanes)
    for lane in range(batch.size):
        if math.isfinite(centre[lane]):
            mad[batch[lane]] = middle_of_lane(lane, count[lane], lanes)


def rows_in_lane(start: NDArray[np.int64], g: int) -> int:
    """Rows that a segment takes in a lane, none if it is too large for one."""
    size = start[g + 1] - start[g]
    return size if size <= NETWORK_ROWS else 0


def fill_lane(
    members: NDArray[np.float32], lane: int, rows: int, lanes: NDArray[np.float32]
) -> int:
    """Copy the members into a lane, infinity for NaN and beyond them; returns how many count."""
    count = 0
    column = lanes[lane : rows * LANES + lane]
    for row in range(members.size):
        x = members[row]
        there = not math.isnan(x)
        count += there
        column[row * LANES] = x + ZERO if there else INF  # -0 + 0 is +0
    for row in range(members.size, rows):
        column[row * LANES] = INF
    return count


def order_lanes(rows: int, lanes: NDArray[np.float32]) -> None:
    """Sort every lane ascending by Batcher's merge exchange (Knuth, volume 3, algorithm 5.2.2M)."""
    top = 1
    while 2 * top < rows:
        top *= 2
    run = top
    while run > 0:
        step, apart, offset = top, run, 0
        while True:
            for row in range(offset, rows - apart, 2 * run):
                exchange(row, row + apart, min(run, rows - apart - row), lanes)
            if step == run:
                break
            apart, offset = step - run, run
            step //= 2
        run //= 2


def merge_lanes(rows: int, lanes: NDArray[np.float32]) -> None:
    """Sort the lower half of lanes that fall and then rise, as far as their middle members.

    Batcher's bitonic merger; rows beyond the last count as infinite, and what its first step puts
    into the upper half is not wanted.
    """
    half = 1
    while half <= rows // 2:
        half *= 2
    if rows > half:
        exchange(0, half, rows - half, lanes)
    else:
        lanes[rows * LANES : half * LANES] = INF
    apart = half // 2
    while apart > 0:
        for row in range(0, half, 2 * apart):
            exchange(row, row + apart, apart, lanes)
        apart //= 2


def exchange(low: int, high: int, rows: int, lanes: NDArray[np.float32]) -> None:
    """Leave the smaller of each pair in the low rows and the larger in the high ones."""
    # Natural numbers: an index that may be negative is counted from the end, and no loop that
    # asks for it is vectorised.
    first, second = np.uint64(low * LANES), np.uint64(high * LANES)
    for k in range(np.uint64(rows * LANES)):
        a, b = lanes[first + k], lanes[second + k]
        ordered = a < b
        lanes[first + k] = a if ordered else b
        lanes[second + k] = b if ordered else a


def deviate(rows: int, centre: NDArray[np.float32], lanes: NDArray[np.float32]) -> None:
    """Replace every member by its distance from the centre of its lane."""
    for row in range(rows):
        members = lanes[row * LANES : (row + 1) * LANES]
        for lane in range(LANES):
            members[lane] = abs(members[lane] - centre[lane])


def middle_of_lane(lane: int, count: int, lanes: NDArray[np.float32]) -> float:
    """Median of the first `count` rows of a sorted lane."""
    if count == 0:
        return NAN
    return middle(lanes[(count - 1) // 2 * LANES + lane], lanes[count // 2 * LANES + lane])


def mad_without_centre(lane: int, count: int, centre: float, lanes: NDArray[np.float32]) -> float:
    """MAD of a sorted lane around an infinite median: members elsewhere are infinitely far."""
    if not math.isinf(centre):
        return NAN
    elsewhere = lanes[lane] != centre or lanes[(count - 1) * LANES + lane] != centre
    return INF if elsewhere else NAN


def middle_of(
    members: NDArray[np.float32], deviations: bool, centre: float, count: NDArray[np.int32]
) -> float:
    """Median of the members, or of their distances from the centre, by the digits of their keys."""
    prefix, rank, total, bucket = 0, 0, 0, 0
    for digit in range(DIGITS):
        in_digit = count_digit(members, deviations, centre, digit, prefix, count)
        if digit == 0:
            total = in_digit
            if total == 0:
                return NAN
            rank = (total - 1) // 2
        bucket = 0
        while count[bucket] <= rank:
            rank -= count[bucket]
            bucket += 1
        prefix = (prefix << (10 if digit == 2 else 11)) | bucket
    low = float_of_key(np.int32(prefix - LOWEST_KEY))
    if total % 2 == 1 or rank + 1 < count[bucket]:
        return low
    return middle(low, next_above(members, deviations, centre, prefix))


def count_digit(
    members: NDArray[np.float32], deviations: bool, centre: float, digit: int, prefix: int,
    count: NDArray[np.int32],
) -> int:  # fmt: skip
    """Count the values whose key begins with the digits found, by their next digit."""
    count[:BUCKETS] = 0
    total = 0
    above = 32 if digit == 0 else (21 if digit == 1 else 10)
    shift = 21 if digit == 0 else (10 if digit == 1 else 0)
    mask = BUCKETS - 1 if digit < 2 else BUCKETS // 2 - 1
    for k in range(members.size):
        x = abs(members[k] - centre) if deviations else members[k]
        key = order_key(x) + LOWEST_KEY
        counts = (x == x) & (key >> above == prefix)  # noqa: PLR0124 - a number
        count[(key >> shift) & mask] += counts  # No jump: whether it counts is a coin's toss.
        total += counts
    return total


def next_above(members: NDArray[np.float32], deviations: bool, centre: float, key: int) -> float:
    """Smallest value above the one of a key; there is one."""
    least = HIGHEST_KEY
    for k in range(members.size):
        x = abs(members[k] - centre) if deviations else members[k]
        other = order_key(x) + LOWEST_KEY
        above = (x == x) & (other > key)  # noqa: PLR0124 - a number
        least = min(least, other if above else HIGHEST_KEY)
    return float_of_key(np.int32(least - LOWEST_KEY))
