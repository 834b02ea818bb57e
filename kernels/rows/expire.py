"""Stage 4 of 8: the clock ends what has expired, whatever the venue still says."""

from kernels import columns as c
from kernels.arrays import Columns


def expire_row(i: int, now_ns: int, columns: Columns) -> None:
    """Mark a row whose expiry has come."""
    expiry_ns = columns.i64[c.EXPIRY_NS, i]
    if expiry_ns == 0 or columns.validity[i] & c.EXPIRED:
        return
    if expiry_ns <= now_ns:
        columns.validity[i] |= c.EXPIRED
        columns.u8[c.FRESH, i] = 1
