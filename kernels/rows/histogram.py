"""Stage 6 of 8: one common scale, folded from what its rows have shown."""

import numpy as np

from kernels import columns as c
from kernels.arrays import Common
from kernels.laws.decay import decay, seconds, time_weighted

FOLD_COUNT_MIN = 32
FOLD_MEAN = np.float32(0.778)
FOLD_RATE = np.float32(1 / 30)
SCALE_MIN = np.float32(0.2)
INV_FOLD_UNIT = np.float32(1 / (1 << 20))


def fold_scale(s: int, k: int, now_ns: int, common: Common) -> None:
    """Fold what has accumulated since the last fold into one common scale, 30 s half-life."""
    count = common.fold_count[s, k]
    if count < FOLD_COUNT_MIN:
        return
    mean = np.float32(common.fold_sum[s, k]) * INV_FOLD_UNIT / np.float32(count) / FOLD_MEAN
    if common.fold_ns[s, k] != c.NEVER:
        d = decay(seconds(now_ns, common.fold_ns[s, k]), FOLD_RATE)
        mean = time_weighted(common.scale[s, k], mean, d)
    common.scale[s, k] = max(SCALE_MIN, mean)
    common.fold_ns[s, k] = now_ns
    common.fold_sum[s, k] = 0
    common.fold_count[s, k] = 0
