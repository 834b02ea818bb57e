"""Stage 4 of 8: a tick's tickers into the held columns.

stripe -> segments of touched listings; loop -> tickers of one listing, in order
"""

from kernels.arrays import Columns, Tickers
from kernels.rows.tickers import apply_listing_tickers
from kernels.threads import share


def apply_tickers(stripe: int, stripes: int, tickers: Tickers, columns: Columns) -> None:
    """Hold the last word of every field, and roll the drifts of options once."""
    first, stop = share(stripe, stripes, tickers.listing.size)
    for s in range(first, stop):
        apply_listing_tickers(
            tickers.listing[s], tickers.start[s], tickers.start[s + 1], tickers, columns
        )
