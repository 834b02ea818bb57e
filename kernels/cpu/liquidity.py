"""Stage 6 of 8: how active and how deep every listing is, for the liquidity classes."""

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import Columns
from kernels.rows.liquidity import activity_of


def activity(row_count: int, now_ns: int, columns: Columns, out: NDArray[np.float32]) -> None:
    """Decayed updates x mean top depth in USD of every row; NaN where the row is not regular.

    out: float32[listing].
    """
    for i in range(row_count):
        out[i] = activity_of(i, now_ns, columns)
