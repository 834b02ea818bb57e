"""A market in which everything happens at once: every listing fresh, quoted and regular.

What kernels cost is counted and timed on it, at any size: a state of random numbers, all options,
no book below the touch, and one quote update of two rows for each listing.
"""

import numpy as np

from kernels import columns as c
from kernels.arrays import Batch, Tickers
from kernels.rows.updates import LAST, QUOTE
from tests.kernels.scored_rows import NOW_NS, SECOND, random_state

LISTINGS_PER_UNDERLYING = 400
EXPIRIES = 8


def full_state(count):
    """State of `count` regular listings in groups, before a scan at NOW_NS."""
    state = random_state(count, 1)
    col = state.columns
    col.u8[c.IS_OPTION, :count] = 1
    col.u8[c.SCORED, :count] = 1
    # Observed, yet not so long ago that a group would not count it.
    col.i64[c.OBSERVED_NS, :count] = NOW_NS - SECOND
    col.i64[c.FORWARD_E6, :count] = 1_000_000_000
    col.i64[c.EXPIRY_NS, :count] = NOW_NS + 86_400 * SECOND
    row = np.arange(count)
    underlying, expiry = row // LISTINGS_PER_UNDERLYING, row % EXPIRIES
    for u in range(int(underlying[-1]) + 1):
        for k in range(1 + EXPIRIES):  # The underlying, then its expiries.
            state.groups.of(u, NOW_NS + k if k else 0)
    col.i32[c.UNDERLYING_GROUP, :count] = underlying * (1 + EXPIRIES)
    col.i32[c.EXPIRY_GROUP, :count] = underlying * (1 + EXPIRIES) + 1 + expiry
    return state


def one_quote_each(state, count, size):
    """Batch of one update a listing: both sides at the prices that stand, with a new size."""
    touch = state.columns.i32[[c.BID, c.ASK], :count]
    rows = 2 * count
    sizes = np.full(rows, size, np.float32)
    return Batch(
        rx_ns=np.full(rows, NOW_NS, np.int64),
        ex_ns=np.full(rows, NOW_NS, np.int64),
        ticks=np.ascontiguousarray(touch.T).reshape(-1),
        size=sizes,
        kind=np.full(rows, QUOTE, np.uint8),
        side=np.tile(np.array([1, -1], np.int8), count),
        flags=np.tile(np.array([0, LAST], np.uint16), count),
        level=np.zeros(rows, np.uint16),
        listing=np.arange(count, dtype=np.int32),
        start=np.arange(count + 1, dtype=np.int64) * 2,
    )


def one_ticker_each(count):
    """Tickers that say every field, one a listing."""
    return Tickers(
        rx_ns=np.full(count, NOW_NS, np.int64),
        forward_e6=np.full(count, 1_000_000_000, np.int64),
        value=np.full((count, len(c.TICKER_FIELDS)), 0.5, np.float32),
        listing=np.arange(count, dtype=np.int32),
        start=np.arange(count + 1, dtype=np.int64),
    )
