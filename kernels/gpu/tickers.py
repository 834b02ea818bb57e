"""Stage 4 of 8: a tick's tickers into the held columns.

thread -> one touched listing; loop -> its tickers, in order
"""

from numba import cuda

from kernels.arrays import Columns, I64x1, Tickers
from kernels.gpu import words
from kernels.rows.tickers import apply_listing_tickers


def apply_tickers(tick: I64x1, tickers: Tickers, columns: Columns) -> None:
    """Hold the last word of every field, and roll the drifts of options once."""
    for s in range(cuda.grid(1), tick[words.TICKER_SEGMENTS], cuda.gridsize(1)):
        apply_listing_tickers(
            tickers.listing[s], tickers.start[s], tickers.start[s + 1], tickers, columns
        )
