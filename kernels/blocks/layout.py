"""Stage 6 of 8: where each number of a block stands in the flat working memory of a thread.

One array per dtype and constant places, so that a compiler sees how far apart two fields are: it
need not ask at run time whether they overlap, and each inner loop becomes packed instructions.
"""

from typing import Final

from kernels import columns as c

BLOCK: Final = 512  # Rows of a block: all fields of all its rows stay in a core's own cache.
PIECE: Final = 64  # Rows at a time where they are spread: each has a cache line in every column.

# float32: what is read from columns
BID_SIZE, ASK_SIZE, OFI_BUY, OFI_SELL, SPREAD_SUM, DEPTH_SUM, WEIGHT = range(0, 7 * BLOCK, BLOCK)
TICK, PRICE_PER, MULTIPLIER, DELTA, VEGA, INDEX, USD = range(7 * BLOCK, 14 * BLOCK, BLOCK)
# float32: what lives within a block
DT, HELD, RATE, TO_UPDATE, FLOW, MEAN_SPREAD, MEAN_DEPTH = range(14 * BLOCK, 21 * BLOCK, BLOCK)
DEPTH_SHARE, DEPTH, SCALE, CAUCHY, FISHER, PRESSURE = range(21 * BLOCK, 27 * BLOCK, BLOCK)
# float32: several fields each
VALUE: Final = 27 * BLOCK  # [feature]
COMPARED: Final = VALUE + c.FEATURE_COUNT * BLOCK  # [feature] mean the value is compared with
Z: Final = COMPARED + c.FEATURE_COUNT * BLOCK  # [driver]
P: Final = Z + c.DRIVER_COUNT * BLOCK  # [driver]
STATISTIC: Final = P + c.DRIVER_COUNT * BLOCK  # [list]
P_LIST: Final = STATISTIC + c.LIST_COUNT * BLOCK  # [list]
SCORE: Final = P_LIST + c.LIST_COUNT * BLOCK  # [list]
BASELINE: Final = SCORE + c.LIST_COUNT * BLOCK  # [word, feature]
F32_SIZE: Final = BASELINE + c.BASELINE_COUNT * c.FEATURE_COUNT * BLOCK

_WORD: Final = c.FEATURE_COUNT * BLOCK
MEAN: Final = BASELINE + c.MEAN * _WORD  # [feature], as are the next ones
VARIANCE: Final = BASELINE + c.VARIANCE * _WORD
COUNT: Final = BASELINE + c.COUNT * _WORD
SMOOTHED: Final = BASELINE + c.SMOOTHED * _WORD
SMOOTHED_VARIANCE: Final = BASELINE + c.SMOOTHED_VARIANCE * _WORD
SMOOTHED_COUNT: Final = BASELINE + c.SMOOTHED_COUNT * _WORD
Z_BEFORE: Final = BASELINE + c.Z_BEFORE * _WORD

# int32
BID, ASK, MID2_BEFORE, SLOT, OWN_COUNT = range(0, 5 * BLOCK, BLOCK)
IS_OPTION, IS_INVERSE, STRATUM, SCORED = range(5 * BLOCK, 9 * BLOCK, BLOCK)
ELIGIBLE: Final = 9 * BLOCK  # [feature]
BIN: Final = ELIGIBLE + c.FEATURE_COUNT * BLOCK  # [driver]
FOLD: Final = BIN + c.DRIVER_COUNT * BLOCK  # [driver]
BIN_LIST: Final = FOLD + c.DRIVER_COUNT * BLOCK  # [list]
I32_SIZE: Final = BIN_LIST + c.LIST_COUNT * BLOCK

# int64
UPDATE_NS, OFI_NS, OBSERVED_NS, FORWARD_E6, FORWARD_BEFORE_E6 = range(0, 5 * BLOCK, BLOCK)
EXPIRY_NS, SETTLE_WINDOW_NS, USD_STEPS = range(5 * BLOCK, 8 * BLOCK, BLOCK)
KEY: Final = 8 * BLOCK  # [list]
I64_SIZE: Final = KEY + c.LIST_COUNT * BLOCK
