"""Stages 4 to 6 of 8: the values of one tick, int64 words in device memory.

A captured graph freezes the arguments of its kernels, so what differs from tick to tick is read
from an array that each tick's upload refreshes.
"""

from typing import Final

(
    NOW_NS, ROW_COUNT, SEGMENTS, TICKER_SEGMENTS, WINDOW_NS, HOLD_AFTER_NS, MEMBERS_MIN,
    GROUP_COUNT, HOUR, TOP_K, POOLED_MEAN_BITS,
) = range(11)  # fmt: skip
WORD_COUNT: Final = 11
