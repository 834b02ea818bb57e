"""Stage 4 of 8: the clock ends what has expired, whatever the venue still says."""

from kernels.arrays import Columns
from kernels.rows.expire import expire_row


def expire(listing_count: int, now_ns: int, columns: Columns) -> None:
    """Mark every row whose expiry has come."""
    for i in range(listing_count):
        expire_row(i, now_ns, columns)
