"""Stage 4 of 8: a tick's tickers into the held columns.

thread -> segments of touched listings; loop -> tickers of one listing, in order
"""

from numba import prange

from kernels.arrays import Columns, Tickers
from kernels.rows.tickers import apply_listing_tickers


def apply_tickers(tickers: Tickers, columns: Columns) -> None:
    """Hold the last word of every field, and roll the drifts of options once."""
    for s in prange(tickers.listing.size):
        apply_listing_tickers(
            tickers.listing[s], tickers.start[s], tickers.start[s + 1], tickers, columns
        )
