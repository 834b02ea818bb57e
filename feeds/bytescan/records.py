"""Stage 2 of 8: the records that byte scanners write, in words of eight bytes.

An update has the columns of columns.py, then where its instrument's name and its trade's id begin
and end; a row has price, size and code; a ticker has frame index, time, where the name begins and
ends, the TICKER_FIELDS as floats, a word for the venue's own use and four for a name that stands
nowhere in the text. Times are in the milliseconds of the wire. A ticker of the time ~t is of what
stands behind the ticker before it, as an index does behind a perpetual: it goes where that goes.
"""

from typing import Final

import numpy as np

LEFT: Final = 0  # what became of a frame: left to msgspec,
UPDATES: Final = 1  # book messages or prints,
TICKER: Final = 2  # a ticker

UPDATE_WORDS: Final = 16
ROW_WORDS: Final = 3
TICKER_WORDS: Final = 20
NAME_BEGIN: Final = 9
ID_BEGIN: Final = 11
TICKER_FRAME: Final = 0
TICKER_TIME: Final = 1
TICKER_NAME_BEGIN: Final = 2
TICKER_VALUES: Final = 4
TICKER_TEXT: Final = 16
# Offsets of the words of a record, and the sizes of records, in bytes.
WORDS: Final = tuple(np.uint64(8 * word) for word in range(TICKER_WORDS))
UPDATE_BYTES: Final = np.uint64(8 * UPDATE_WORDS)
ROW_BYTES: Final = np.uint64(8 * ROW_WORDS)
TICKER_BYTES: Final = np.uint64(8 * TICKER_WORDS)

TIMESTAMP_MAX: Final = (2**63 - 1) // 1_000_000
PRICE_MAX: Final = 1e12
AMOUNT_MAX: Final = 1e15
NO_KEY: Final = -1  # the trade id is no plain number: its text decides
OF_TICKER: Final = -2  # in a quote's place of a key: its ticker counts its name if it is not listed
