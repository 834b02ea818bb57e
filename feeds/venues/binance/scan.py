"""Stage 2 of 8: Binance's chains, windows, best prices and prints, scanned byte by byte.

What is refused here (blocks, spaces, rare streams and fields) is left to msgspec, which gives the
same rows of everything that is accepted here. Plain Python, compiled by feeds.bytescan.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.bytescan.grammar import (
    CLOSE_LIST,
    CLOSE_OBJECT,
    DOT,
    EIGHT,
    LINE_FEED,
    MINUS,
    ONE,
    OPEN_LIST,
    OPEN_OBJECT,
    REFUSED,
    TWO,
    ZERO,
    Place,
    byte_at,
    closed,
    digits,
    integer,
    keys_of,
    line_end,
    match,
    member,
    put_float,
    put_int,
    quoted_number,
    skip_member,
    skip_text,
    string,
    text,
    words_of,
)
from feeds.bytescan.quoted import levels, put_key, put_quote
from feeds.bytescan.records import (
    AMOUNT_MAX,
    ID_BEGIN,
    LEFT,
    NAME_BEGIN,
    OF_TICKER,
    PRICE_MAX,
    ROW_BYTES,
    ROW_WORDS,
    TICKER,
    TICKER_BYTES,
    TICKER_NAME_BEGIN,
    TICKER_TIME,
    TICKER_VALUES,
    TIMESTAMP_MAX,
    UPDATE_BYTES,
    UPDATES,
    WORDS,
)
from feeds.columns import (
    ASK,
    ASK_ROWS,
    BID,
    BID_ROWS,
    BOOK_WINDOW_CODE,
    CODE,
    EX_NS,
    LAST,
    NO_PREVIOUS,
    NS_PER_MS,
    SEQ,
    SEQ_PREV,
    SIDE_BITS,
    TICKER_FIELDS,
    TICKER_VALUE_MAX,
    TRADE_CODE,
)
from feeds.grammar import GRAMMARS

# Word of a ticker's record: the forward is the index times e to the power of this.
EXPONENT: Final = TICKER_VALUES + TICKER_FIELDS.index("forward")
EXPONENT_MAX: Final = 700.0  # far from where a float64 ends
YEAR_NS: Final = 365 * 86_400 * 10**9
# The venue's solver ends here where no volatility gives the price, as below intrinsic value.
IV_FLOOR: Final = 1e-6

_AT: Final = 64
_EXCLAMATION: Final = 33
_UNUSED: Final = -1
_PREFIX, _DATA, _BOOK, _CHAIN, _QUOTES, _TRADES, _MARKET, _BUY, _SELL, _CALL, _PUT = range(11)
_TEXTS: Final = words_of(
    '{"stream":"', ',"data":', "@depth", "@optionMarkPrice", "@bookTicker", "@optionTrade",
    '"MARKET"', '"BUY"', '"SELL"', '-C"', '-P"',
)  # fmt: skip

# Names of options.
_LETTER_A, _LETTER_Z = 65, 90
_ROOT_MAX: Final = 16
_SEVEN: Final = np.uint64(7)
_DATE_DIGITS: Final = 6
_STRIKE_WHOLE_MAX: Final = 10**9 - 1
_STRIKE_DECIMALS_MAX: Final = 9
_DAYS_BEFORE: Final = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365)  # no leap year
_DAYS_TO_2000: Final = 10_957  # since 1970
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_HOUR_OF_EXPIRY: Final = GRAMMARS["binance"].hour

# Keys in the order in which the venue sends them; those without a use are skipped soonest so.
_BOOK_KEYS: Final = keys_of("e", "E", "T", "s", "U", "u", "pu", "b", "a")
_BOOK_TIME, _BOOK_NAME, _BOOK_ID, _BIDS, _ASKS = 2, 3, 5, 7, 8
_BOOK_NEEDED: Final = 2**_BOOK_TIME + 2**_BOOK_NAME + 2**_BOOK_ID + 2**_BIDS + 2**_ASKS

_MARK_WORDS: Final = (
    "s", "mp", "E", "e", "i", "P", "bo", "ao", "bq", "aq", "b", "a", "hl", "ll", "vo", "rf", "d",
    "t", "g", "v",
)  # fmt: skip
_MARK_KEYS: Final = keys_of(*_MARK_WORDS)
_MARK_NAME, _MARK_TIME, _BID, _ASK = 0, 2, 6, 7
_MARK_NEEDED: Final = sum(
    2 ** _MARK_WORDS.index(word)
    for word in ("s", "mp", "E", "i", "bo", "ao", "bq", "aq", "b", "a", "vo")
)
_RATE: Final = _MARK_WORDS.index("rf")
_IV_MAX: Final = 1e6
_RATE_MAX: Final = 10.0
# Where a value belongs, a column of TICKER_FIELDS or behind them a word of the rows of the quote;
# the least and the most it may be; up to which it says that there is none.
_QUOTE: Final = len(TICKER_FIELDS)
_NEVER: Final = -np.inf
_USE_OF: Final = {
    "mp": (TICKER_FIELDS.index("mark"), 0.0, PRICE_MAX, _NEVER),
    "i": (TICKER_FIELDS.index("index"), 0.0, PRICE_MAX, _NEVER),
    "bo": (_QUOTE, 0.0, PRICE_MAX, 0.0),
    "ao": (_QUOTE + ROW_WORDS, 0.0, PRICE_MAX, 0.0),
    "bq": (_QUOTE + 1, 0.0, AMOUNT_MAX, 0.0),
    "aq": (_QUOTE + ROW_WORDS + 1, 0.0, AMOUNT_MAX, 0.0),
    "b": (TICKER_FIELDS.index("iv_bid"), -1.0, _IV_MAX, IV_FLOOR),
    "a": (TICKER_FIELDS.index("iv_ask"), -1.0, _IV_MAX, IV_FLOOR),
    "vo": (TICKER_FIELDS.index("iv_mark"), -1.0, _IV_MAX, IV_FLOOR),
    "rf": (TICKER_FIELDS.index("forward"), -_RATE_MAX, _RATE_MAX, _NEVER),  # an exponent, soon
    "d": (TICKER_FIELDS.index("delta"), -TICKER_VALUE_MAX, TICKER_VALUE_MAX, _NEVER),
    "t": (TICKER_FIELDS.index("theta"), -TICKER_VALUE_MAX, TICKER_VALUE_MAX, _NEVER),
    "g": (TICKER_FIELDS.index("gamma"), -TICKER_VALUE_MAX, TICKER_VALUE_MAX, _NEVER),
    "v": (TICKER_FIELDS.index("vega"), -TICKER_VALUE_MAX, TICKER_VALUE_MAX, _NEVER),
}
_COLUMNS: tuple[int, ...]
_COLUMNS, _LEAST, _MOST, _NONE_UP_TO = zip(
    *(_USE_OF.get(word, (_UNUSED, 0.0, 0.0, _NEVER)) for word in _MARK_WORDS), strict=True
)

_QUOTE_KEYS: Final = keys_of("e", "u", "s", "b", "B", "a", "A", "T", "E")
_QUOTE_ID, _QUOTE_NAME, _QUOTE_BID, _, _QUOTE_ASK, _, _QUOTE_TIME = range(1, 8)
_QUOTE_NEEDED: Final = sum(2**key for key in range(1, 8))
# Of prices and sizes from the bid's price on: the word of the rows, and the most it may be.
_QUOTE_WORDS: Final = (0, 1, ROW_WORDS, ROW_WORDS + 1)
_QUOTE_MOST: Final = (PRICE_MAX, AMOUNT_MAX, PRICE_MAX, AMOUNT_MAX)
_TRADE_KEYS: Final = keys_of("e", "E", "T", "s", "t", "p", "q", "X", "S", "m")
(
    _TRADE_TIME, _TRADE_NAME, _TRADE_ID, _TRADE_PRICE, _TRADE_SIZE, _TRADE_KIND, _TRADE_SIDE,
) = range(2, 9)  # fmt: skip
_TRADE_NEEDED: Final = sum(2**key for key in range(2, 9)) - 2**_TRADE_KIND


def scan(
    kinds: NDArray[np.int8], first: Place, update: Place, updates_end: Place,
    row: Place, rows_end: Place, ticker: Place, tickers_end: Place,
) -> tuple[Place, Place, Place, Place]:  # fmt: skip
    """Scan a batch of frames; arguments and result as those of feeds/venues/deribit/scan.py."""
    end = first - ONE
    for frame in range(len(kinds)):
        kinds[frame] = LEFT
        begin = end + ONE
        family, at = _family(begin)
        next_update, next_row, next_ticker = update, row, ticker
        if family == _CHAIN:
            at, next_update, next_row, next_ticker = _chain(
                at, update, updates_end, row, rows_end, ticker, tickers_end
            )
        elif family and update != updates_end:
            at, next_row = _single(at, family, update, row, rows_end)
            next_update = update + UPDATE_BYTES
        if at == REFUSED or byte_at(at) != CLOSE_OBJECT or byte_at(at + ONE) != LINE_FEED:
            end = line_end(begin)
            continue
        end = at + ONE
        kinds[frame] = TICKER if family == _CHAIN else UPDATES
        row = next_row
        while update != next_update:
            put_int(update, frame)
            update += UPDATE_BYTES
        while ticker != next_ticker:
            put_int(ticker, frame)
            ticker += TICKER_BYTES
    return end, update, row, ticker


def _family(at: Place) -> tuple[int, Place]:
    """Which family a frame belongs to, and where its data begin."""
    at = match(at, _TEXTS, _PREFIX)
    if at == REFUSED or byte_at(at) == _EXCLAMATION:
        return 0, REFUSED
    end = string(at - ONE)
    while at < end and byte_at(at) != _AT:
        at += ONE
    data = match(end + ONE, _TEXTS, _DATA) if end != REFUSED else REFUSED
    for family in (_BOOK, _CHAIN, _QUOTES, _TRADES):
        behind = match(at, _TEXTS, family)
        if behind != REFUSED:
            # A depth without a number is a stream of increments.
            fits = 0 <= byte_at(behind) - ZERO <= 9 if family == _BOOK else behind == end
            return (family, data) if fits and data != REFUSED else (0, REFUSED)
    return 0, REFUSED


def _single(
    at: Place, family: int, update: Place, row: Place, rows_end: Place
) -> tuple[Place, Place]:
    """Scan an object that is one update; returns the places behind it and its rows."""
    if byte_at(at) != OPEN_OBJECT:
        return REFUSED, row
    if family == _BOOK:
        return _book(at, update, row, rows_end)
    if rows_end - row < TWO * ROW_BYTES:
        return REFUSED, row
    if family == _QUOTES:
        return _quote(at, update, row)
    return _trade(at, update, row), row + ROW_BYTES


def _book(at: Place, update: Place, row: Place, rows_end: Place) -> tuple[Place, Place]:
    """Scan a window."""
    seen, guess, last_code = 0, 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _BOOK_KEYS, guess)
        if found == _BIDS or found == _ASKS:
            side = BOOK_WINDOW_CODE & ~SIDE_BITS | (BID if found == _BIDS else ASK)
            # Asks before bids would have to be moved behind them.
            at, end = levels(at if seen < 2**_ASKS else REFUSED, row, rows_end, side)
            put_int(update + WORDS[BID_ROWS + found - _BIDS], (end - row) // ROW_BYTES)
            last_code = side if end != row else last_code
            row = end
        elif found == _BOOK_NAME:
            at = text(at, update + WORDS[NAME_BEGIN])
        elif found == _BOOK_TIME:
            time, at = _time(at)
            put_int(update + WORDS[EX_NS], time)
        elif found == _BOOK_ID:
            number, at = integer(at)
            put_int(update + WORDS[SEQ], number)
        else:
            at = skip_member(at)
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit:
            return REFUSED, row
        seen |= bit
        guess = found + 1
    put_int(update + WORDS[SEQ_PREV], NO_PREVIOUS)
    put_int(update + WORDS[CODE], BOOK_WINDOW_CODE)
    if last_code:
        put_int(row - EIGHT, last_code | LAST)
    return (at + ONE if seen & _BOOK_NEEDED == _BOOK_NEEDED else REFUSED), row


def _time(at: Place) -> tuple[np.int64, Place]:
    time, at = integer(at)
    return time, at if time <= TIMESTAMP_MAX else REFUSED


def _chain(
    at: Place, update: Place, updates_end: Place, row: Place, rows_end: Place,
    ticker: Place, tickers_end: Place,
) -> tuple[Place, Place, Place, Place]:  # fmt: skip
    """Scan a chain; returns the places behind it, its updates, its rows and its tickers."""
    if byte_at(at) != OPEN_LIST:
        return REFUSED, update, row, ticker
    while byte_at(at) != CLOSE_LIST:
        full = update == updates_end or ticker == tickers_end or rows_end - row < TWO * ROW_BYTES
        if full or byte_at(at + ONE) != OPEN_OBJECT:
            return REFUSED, update, row, ticker
        at, row = _mark(at + ONE, update, row, ticker)
        at = closed(at, CLOSE_LIST)
        if at == REFUSED:
            return REFUSED, update, row, ticker
        update += UPDATE_BYTES
        ticker += TICKER_BYTES
    return at + ONE, update, row, ticker


def _mark(at: Place, update: Place, row: Place, ticker: Place) -> tuple[Place, Place]:
    """Scan an option of a chain, a quote and a ticker; returns the places behind it, its rows."""
    for field in range(len(TICKER_FIELDS)):
        put_float(ticker + WORDS[TICKER_VALUES + field], np.nan)
    rate, expiry_ms, time = np.nan, np.int64(0), np.int64(0)
    seen, none, guess, fits = 0, 0, 0, True
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _MARK_KEYS, guess)
        if found == _MARK_NAME:
            expiry_ms, at = _option(at, update, ticker)
        elif found == _MARK_TIME:
            time, at = _time(at)
        elif found < 0 or _COLUMNS[found] == _UNUSED:
            at = skip_member(at) if found < 0 else skip_text(at)
        else:
            value, at = quoted_number(at)
            fits = _LEAST[found] <= value <= _MOST[found]
            rate = value if found == _RATE else rate
            none |= bit if value <= _NONE_UP_TO[found] else 0
            put_float(_value_place(found, ticker, row), np.nan if none & bit else value)
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit or not fits:
            return REFUSED, row
        seen |= bit
        guess = found + 1
    left_ms = expiry_ms - time if expiry_ms > time else np.int64(0)
    exponent = rate * (left_ms * NS_PER_MS / YEAR_NS)
    if seen & _MARK_NEEDED != _MARK_NEEDED or exponent > EXPONENT_MAX:
        return REFUSED, row
    put_float(ticker + WORDS[EXPONENT], exponent)
    put_int(ticker + WORDS[TICKER_TIME], time)
    put_int(update + WORDS[EX_NS], time)
    put_int(update + WORDS[SEQ], 0)
    row = put_quote(update, row, none & 2**_BID != 0, none & 2**_ASK != 0, OF_TICKER)
    return at + ONE, row


def _value_place(key: int, ticker: Place, row: Place) -> Place:
    """Where the value of an option's key belongs."""
    column = _COLUMNS[key]
    if column < _QUOTE:
        return ticker + WORDS[TICKER_VALUES + column]
    return row + WORDS[column - _QUOTE]


def _option(at: Place, update: Place, ticker: Place) -> tuple[np.int64, Place]:
    """Scan the name of an option, ROOT-YYMMDD-STRIKE-RIGHT; returns its expiry in ms, too.

    Narrower than feeds/grammar.py, which reads what is refused here: nine digits of a strike before
    its dot at most, and nine behind it.
    """
    text(at, update + WORDS[NAME_BEGIN])
    end = text(at, ticker + WORDS[TICKER_NAME_BEGIN])
    at += ONE
    begin = at
    while _is_digit(at) or _LETTER_A <= byte_at(at) <= _LETTER_Z:
        at += ONE
    if end == REFUSED or not ONE <= at - begin <= _ROOT_MAX or byte_at(at) != MINUS:
        return np.int64(0), REFUSED
    expiry_ms = _expiry_ms(at + ONE)
    at = _strike(at + EIGHT) if expiry_ms >= 0 and byte_at(at + _SEVEN) == MINUS else REFUSED
    for right in (_CALL, _PUT):
        if at != REFUSED and match(at, _TEXTS, right) == end:
            return np.int64(expiry_ms), end
    return np.int64(0), REFUSED


def _is_digit(at: Place) -> bool:
    return 0 <= byte_at(at) - ZERO <= 9


def _expiry_ms(at: Place) -> int:
    """08:00 UTC of the day that six digits say, -1 if they are none."""
    if digits(at) - at != _DATE_DIGITS:
        return -1
    year, month, day = _two_digits(at), _two_digits(at + TWO), _two_digits(at + TWO + TWO)
    if not 1 <= month <= 12:
        return -1
    leap = year % 4 == 0
    first, after = _DAYS_BEFORE[month - 1], _DAYS_BEFORE[month]
    first, after = first + (leap and month > 2), after + (leap and month >= 2)
    if not 1 <= day <= after - first:
        return -1
    days = _DAYS_TO_2000 + 365 * year + (year + 3) // 4 + first + day - 1
    return days * _DAY_MS + _HOUR_OF_EXPIRY * _HOUR_MS


def _two_digits(at: Place) -> int:
    return 10 * (byte_at(at) - ZERO) + byte_at(at + ONE) - ZERO


def _strike(at: Place) -> Place:
    """Place behind the strike that begins here, which is not 0."""
    whole, at = integer(at)
    if at == REFUSED or whole > _STRIKE_WHOLE_MAX:
        return REFUSED
    if byte_at(at) != DOT:
        return at if whole else REFUSED
    begin = at + ONE
    end = digits(begin)
    at = begin
    while byte_at(at) == ZERO:
        at += ONE
    return end if ONE <= end - begin <= _STRIKE_DECIMALS_MAX and (whole or at < end) else REFUSED


def _quote(at: Place, update: Place, row: Place) -> tuple[Place, Place]:
    """Scan best prices."""
    seen, none, guess, fits = 0, 0, 0, True
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _QUOTE_KEYS, guess)
        if _QUOTE_BID <= found < _QUOTE_TIME:
            value, at = quoted_number(at)
            fits = 0.0 <= value <= _QUOTE_MOST[found - _QUOTE_BID]
            none |= bit if value == 0.0 else 0
            place = row + WORDS[_QUOTE_WORDS[found - _QUOTE_BID]]
            put_float(place, np.nan if none & bit else value)
        elif found == _QUOTE_NAME:
            at = text(at, update + WORDS[NAME_BEGIN])
        elif found == _QUOTE_TIME:
            time, at = _time(at)
            put_int(update + WORDS[EX_NS], time)
        elif found == _QUOTE_ID:
            number, at = integer(at)
            put_int(update + WORDS[SEQ], number)
        else:
            at = skip_member(at)
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit or not fits:
            return REFUSED, row
        seen |= bit
        guess = found + 1
    row = put_quote(update, row, none & 2**_QUOTE_BID != 0, none & 2**_QUOTE_ASK != 0, 0)
    return (at + ONE if seen & _QUOTE_NEEDED == _QUOTE_NEEDED else REFUSED), row


def _trade(at: Place, update: Place, row: Place) -> Place:
    """Scan a print."""
    put_int(update + WORDS[CODE], TRADE_CODE)
    put_int(update + WORDS[SEQ_PREV], NO_PREVIOUS)
    seen, guess = 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _TRADE_KEYS, guess)
        used = _TRADE_TIME <= found <= _TRADE_SIDE
        at = _trade_field(at, found, update, row) if used else skip_member(at)
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit:
            return REFUSED
        seen |= bit
        guess = found + 1
    if seen & _TRADE_NEEDED != _TRADE_NEEDED:
        return REFUSED
    put_key(update)
    return at + ONE


def _trade_field(at: Place, found: int, update: Place, row: Place) -> Place:
    if found == _TRADE_TIME:
        time, at = _time(at)
        put_int(update + WORDS[EX_NS], time)
        return at
    if found == _TRADE_NAME:
        return text(at, update + WORDS[NAME_BEGIN])
    if found == _TRADE_ID:
        number, behind = integer(at)
        put_int(update + WORDS[SEQ], number)
        put_int(update + WORDS[ID_BEGIN], at)
        put_int(update + WORDS[ID_BEGIN + 1], behind)
        return behind
    if found == _TRADE_KIND:
        return match(at, _TEXTS, _MARKET)
    if found == _TRADE_SIDE:
        return _side(at, update, row)
    value, at = quoted_number(at)
    put_float(row + WORDS[found - _TRADE_PRICE], value)
    return at if 0.0 < value <= (PRICE_MAX if found == _TRADE_PRICE else AMOUNT_MAX) else REFUSED


def _side(at: Place, update: Place, row: Place) -> Place:
    bought = match(at, _TEXTS, _BUY)
    behind = bought if bought != REFUSED else match(at, _TEXTS, _SELL)
    put_int(update + WORDS[BID_ROWS], bought != REFUSED)
    put_int(update + WORDS[ASK_ROWS], bought == REFUSED)
    put_int(row + WORDS[2], TRADE_CODE | LAST | (BID if bought != REFUSED else ASK))
    return behind
