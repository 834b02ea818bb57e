"""Stage 2 of 8: the records that byte scanners write, in words of eight bytes.

An update has the columns of columns.py, then where its instrument's name and its trade's id begin
and end; a row has price, size and code; a ticker has frame index, time, where the name begins and
ends, and the TICKER_FIELDS as floats. Times are in the milliseconds of the wire.
"""

from typing import Final

import numpy as np

LEFT: Final = 0  # what became of a frame: left to msgspec,
UPDATES: Final = 1  # book messages or prints,
TICKER: Final = 2  # a ticker

UPDATE_WORDS: Final = 16
ROW_WORDS: Final = 3
TICKER_WORDS: Final = 16
NAME_BEGIN: Final = 9
ID_BEGIN: Final = 11
TICKER_NAME_BEGIN: Final = 2
TICKER_VALUES: Final = 4
# Offsets of the words of a record, and the sizes of records, in bytes.
WORDS: Final = tuple(np.uint64(8 * word) for word in range(UPDATE_WORDS))
UPDATE_BYTES: Final = np.uint64(8 * UPDATE_WORDS)
ROW_BYTES: Final = np.uint64(8 * ROW_WORDS)
TICKER_BYTES: Final = np.uint64(8 * TICKER_WORDS)

TIMESTAMP_MAX: Final = (2**63 - 1) // 1_000_000
PRICE_MAX: Final = 1e12
AMOUNT_MAX: Final = 1e15
NO_KEY: Final = -1  # the trade id is no plain number: its text decides
