"""Stage 5 of 8: every metric of listings, for export.

stripe -> rows of `ids`; nothing is shared between rows
"""

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import Books, Columns
from kernels.rows.features import metrics_of_row
from kernels.threads import share


def metrics(
    stripe: int, stripes: int, ids: NDArray[np.uint32], now_ns: int, columns: Columns,
    books: Books, out: NDArray[np.float32],
) -> None:  # fmt: skip
    """Compute every metric of the given rows at grid time now_ns.

    out: float32[metric, row], order of METRIC_NAMES; NaN where a metric has no value.
    """
    first, stop = share(stripe, stripes, ids.size)
    for r in range(first, stop):
        metrics_of_row(r, np.int64(ids[r]), now_ns, columns, books, out)
