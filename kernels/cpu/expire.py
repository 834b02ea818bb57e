"""Stages 4 and 6 of 8: the clock ends what has expired, and the fresh rows are found."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Columns
from kernels.rows.expire import expire_row

CHUNK = 64  # Rows looked at together: most have nothing to say.


def find_fresh(
    listing_count: int, now_ns: int, columns: Columns, ids: NDArray[np.uint32],
    states: NDArray[np.int64],
) -> int:  # fmt: skip
    """Mark every row whose expiry has come, and collect the fresh rows, ascending.

    ids: uint32[listing or more], filled from the front; returns how many there are.
    states: int64[2], rows with a state and those of them with one side, added to.
    """
    count = 0
    for start in range(0, listing_count, CHUNK):
        rows = min(CHUNK, listing_count - start)
        expiry_ns = columns.i64[c.EXPIRY_NS, start : start + rows]
        validity = columns.validity[start : start + rows]
        fresh = columns.u8[c.FRESH, start : start + rows]
        due, stateful, one_sided = 0, 0, 0
        for j in range(rows):
            passed = (expiry_ns[j] != 0) & (expiry_ns[j] <= now_ns)
            due += passed & (validity[j] & c.EXPIRED == 0)
            known = validity[j] & c.NO_STATE == 0
            stateful += known
            one_sided += known & ((validity[j] & c.NO_BID == 0) != (validity[j] & c.NO_ASK == 0))
        states[0] += stateful
        states[1] += one_sided
        if due:
            for i in range(start, start + rows):
                expire_row(i, now_ns, columns)
        found = 0
        for j in range(rows):
            found += fresh[j] != 0
        if found:
            for j in range(rows):
                if fresh[j] != 0:
                    ids[count] = start + j
                    count += 1
    return count
