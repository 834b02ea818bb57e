"""Stage 6 of 8: how active and how deep every listing is, for the liquidity classes."""

import numpy as np

from kernels import columns as c
from kernels.arrays import Columns
from kernels.laws.decay import decay, seconds
from kernels.rows.features import past_expiry, spread_and_means, units_of

NAN = np.float32(np.nan)
SLOW_RATE = np.float32(1 / 300)
E6 = np.float32(1e-6)


def activity_of(i: int, now_ns: int, columns: Columns) -> float:
    """Decayed updates x mean top depth in USD; NaN where the row is not regular or has no USD."""
    if columns.validity[i] & c.NOT_REGULAR or past_expiry(i, now_ns, columns):
        return NAN
    f32 = columns.f32
    updates = f32[c.UPDATES, i] * decay(seconds(now_ns, columns.i64[c.COUNT_NS, i]), SLOW_RATE)
    _, _, depth = spread_and_means(i, now_ns, columns)
    usd = f32[c.STRIKE, i]
    if columns.i64[c.FORWARD_E6, i] != c.NO_FORWARD:
        usd = np.float32(columns.i64[c.FORWARD_E6, i]) * E6
    elif f32[c.INDEX, i] > 0:
        usd = f32[c.INDEX, i]
    return updates * depth * units_of(i, columns) * usd
