"""Stage 2 of 8: Bybit's books, tickers of options and prints, scanned byte by byte.

What is refused here (best prices of perpetuals, their tickers, blocks, spaces, rare fields) is left
to msgspec, which gives the same rows of everything that is accepted here. Plain Python, compiled by
feeds.bytescan.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.bytescan.grammar import (
    CLOSE_LIST,
    CLOSE_OBJECT,
    EIGHT,
    LINE_FEED,
    ONE,
    OPEN_LIST,
    OPEN_OBJECT,
    REFUSED,
    TWO,
    Place,
    byte_at,
    closed,
    find,
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
    word_at,
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
    TICKER_TEXT,
    TICKER_TIME,
    TICKER_VALUES,
    TICKER_WORDS,
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
    BOOK_DELTA_CODE,
    BOOK_SNAPSHOT_CODE,
    CODE,
    EX_NS,
    LAST,
    NO_PREVIOUS,
    SEQ,
    SEQ_PREV,
    SIDE_BITS,
    TICKER_FIELDS,
    TICKER_VALUE_MAX,
    TRADE_CODE,
)
from feeds.sequence import NO_PREVIOUS as COUNTS_ANEW
from feeds.venues.bybit.universe import index_symbol

# A row's number is the update id and one: 0 before a change would say that nothing came before it
# (sequence.py), and here no change stands without a snapshot, not even that of update id 1.
SEQ_OF_UPDATE_0: Final = 1
RESTARTED_AT: Final = 1  # a snapshot with this update id, or 0, says that the venue counts anew

_INDEX_SUFFIX_BYTES: Final = np.uint64(len(index_symbol("")))
_INDEX_SUFFIX: Final = np.uint64(int.from_bytes(index_symbol("").encode(), "little"))
_INDEX_OWNER_MAX: Final = EIGHT * np.uint64(TICKER_WORDS - TICKER_TEXT) - _INDEX_SUFFIX_BYTES
_TWO_BYTES: Final = np.uint64(16)  # what a word has beside the suffix
_WORD: Final = np.uint64(64)

_UNUSED: Final = -1

_PREFIX, _BOOK, _TOP, _TICKER, _TRADES, _BUY, _SELL, _NO_BLOCK = range(8)
_TEXTS: Final = words_of(
    '{"topic":"', "orderbook.", "orderbook.1.", "tickers.", "publicTrade.", '"Buy"', '"Sell"',
    "false",
)  # fmt: skip
_TYPES: Final = words_of('"delta"', '"snapshot"')
_DELTA, _SNAPSHOT = range(2)
# No index stands behind what is named so: it need not be looked for.
_OPTION_ENDS: Final = words_of('-C-USDT"', '-P-USDT"', '-C"', '-P"', '-C-USDC"', '-P-USDC"')

# Keys in the order in which the venue sends them; those without a use are skipped soonest so.
_MESSAGE_KEYS: Final = keys_of("type", "ts", "data", "cts")
_TYPE, _TS, _DATA, _CTS = range(4)
_MESSAGE_NEEDED: Final = 2**_TYPE + 2**_TS + 2**_DATA
_BOOK_KEYS: Final = keys_of("s", "b", "a", "u", "seq")
_BOOK_NAME, _BIDS, _ASKS, _UPDATE_ID = range(4)
_BOOK_NEEDED: Final = 2**4 - 1

_TICKER_WORDS: Final = (
    "symbol", "bidPrice", "bidSize", "bidIv", "askPrice", "askSize", "askIv", "lastPrice",
    "highPrice24h", "lowPrice24h", "markPrice", "indexPrice", "markPriceIv", "underlyingPrice",
    "openInterest", "turnover24h", "volume24h", "totalVolume", "totalTurnover", "delta", "gamma",
    "vega", "theta", "predictedDeliveryPrice", "change24h",
)  # fmt: skip
_TICKER_KEYS: Final = keys_of(*_TICKER_WORDS)
_TICKER_NAME, _BID, _BID_SIZE, _, _ASK, _ASK_SIZE = range(6)
_INDEX: Final = _TICKER_WORDS.index("indexPrice")
_MARK_FIELD, _INDEX_FIELD = TICKER_FIELDS.index("mark"), TICKER_FIELDS.index("index")
_QUOTE_KEYS: Final = 2**_BID + 2**_BID_SIZE + 2**_ASK + 2**_ASK_SIZE
_IV_MAX: Final = 1e6
# Where a value belongs, a column of TICKER_FIELDS or behind them a word of the rows of the quote;
# the least and the most it may be; up to which it says that there is none.
_QUOTE: Final = len(TICKER_FIELDS)
_NEVER: Final = -np.inf
_USE_OF: Final = {
    "bidPrice": (_QUOTE, 0.0, PRICE_MAX, 0.0),
    "bidSize": (_QUOTE + 1, 0.0, AMOUNT_MAX, 0.0),
    "bidIv": (TICKER_FIELDS.index("iv_bid"), 0.0, _IV_MAX, _NEVER),
    "askPrice": (_QUOTE + ROW_WORDS, 0.0, PRICE_MAX, 0.0),
    "askSize": (_QUOTE + ROW_WORDS + 1, 0.0, AMOUNT_MAX, 0.0),
    "askIv": (TICKER_FIELDS.index("iv_ask"), 0.0, _IV_MAX, _NEVER),
    "markPrice": (TICKER_FIELDS.index("mark"), 0.0, PRICE_MAX, _NEVER),
    "indexPrice": (TICKER_FIELDS.index("index"), 0.0, PRICE_MAX, _NEVER),
    "markPriceIv": (TICKER_FIELDS.index("iv_mark"), 0.0, _IV_MAX, _NEVER),
    "underlyingPrice": (TICKER_FIELDS.index("forward"), 0.0, PRICE_MAX, _NEVER),
    "openInterest": (TICKER_FIELDS.index("open_interest"), 0.0, AMOUNT_MAX, _NEVER),
    "delta": (TICKER_FIELDS.index("delta"), -TICKER_VALUE_MAX, TICKER_VALUE_MAX, _NEVER),
    "gamma": (TICKER_FIELDS.index("gamma"), -TICKER_VALUE_MAX, TICKER_VALUE_MAX, _NEVER),
    "vega": (TICKER_FIELDS.index("vega"), -TICKER_VALUE_MAX, TICKER_VALUE_MAX, _NEVER),
    "theta": (TICKER_FIELDS.index("theta"), -TICKER_VALUE_MAX, TICKER_VALUE_MAX, _NEVER),
}
_COLUMNS: tuple[int, ...]
_COLUMNS, _LEAST, _MOST, _NONE_UP_TO = zip(
    *(_USE_OF.get(word, (_UNUSED, 0.0, 0.0, _NEVER)) for word in _TICKER_WORDS), strict=True
)

_TRADE_KEYS: Final = keys_of("i", "T", "p", "v", "S", "seq", "s", "BT", "mP", "iP", "mIv", "iv")
_ID, _TIME, _PRICE, _SIZE, _SIDE, _CROSS_SEQUENCE, _TRADE_NAME, _IS_BLOCK = range(8)
_TRADE_NEEDED: Final = 2**8 - 1 - 2**_CROSS_SEQUENCE


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
        # A quote has two rows, and a perpetual's index a ticker of its own.
        room = rows_end - row >= TWO * ROW_BYTES and tickers_end - ticker >= TWO * TICKER_BYTES
        if update == updates_end or (family == _TICKER and not room):
            at = REFUSED
        if at != REFUSED:
            at, next_update, next_row, next_ticker = _message(
                at, family, update, updates_end, row, rows_end, ticker
            )
        if at == REFUSED or byte_at(at) != LINE_FEED:
            end = line_end(begin)
            continue
        end = at
        kinds[frame] = TICKER if family == _TICKER else UPDATES
        row = next_row
        while update != next_update:
            put_int(update, frame)
            update += UPDATE_BYTES
        while ticker != next_ticker:
            put_int(ticker, frame)
            ticker += TICKER_BYTES
    return end, update, row, ticker


def _family(at: Place) -> tuple[int, Place]:
    """Which family a frame belongs to, and the place behind its topic."""
    at = match(at, _TEXTS, _PREFIX)
    if at == REFUSED or match(at, _TEXTS, _TOP) != REFUSED:
        return 0, REFUSED
    for family in (_BOOK, _TICKER, _TRADES):
        if match(at, _TEXTS, family) != REFUSED:
            at = string(at - ONE)
            return family, closed(at + ONE if at != REFUSED else at, CLOSE_OBJECT)
    return 0, REFUSED


def _message(
    at: Place, family: int, update: Place, updates_end: Place, row: Place, rows_end: Place,
    ticker: Place,
) -> tuple[Place, Place, Place, Place]:  # fmt: skip
    """Scan what follows a topic; returns the places behind it, its updates, rows and tickers."""
    next_update, next_row, next_ticker = update, row, ticker
    seen, guess, kind = 0, 0, -1
    ts, cts = np.int64(0), np.int64(0)
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _MESSAGE_KEYS, guess)
        if found == _DATA:
            at, next_update, next_row, next_ticker = _data(
                at, family, kind, update, updates_end, row, rows_end, ticker
            )
        elif found == _TYPE:
            kind, at = find(at, _TYPES, _DELTA)
        elif found == _TS:
            ts, at = _time(at)
        elif found == _CTS:
            cts, at = _time(at)
        else:
            at = skip_member(at)
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit:
            return REFUSED, update, row, ticker
        seen |= bit
        guess = found + 1
    if seen & _MESSAGE_NEEDED != _MESSAGE_NEEDED:
        return REFUSED, update, row, ticker
    if family == _BOOK:
        # The matching engine's time where it is given, else the system's.
        put_int(update + WORDS[EX_NS], cts if seen & 2**_CTS else ts)
    elif family == _TICKER:
        _put_time(ts, update, next_update, ticker, next_ticker)
    return at + ONE, next_update, next_row, next_ticker


def _time(at: Place) -> tuple[np.int64, Place]:
    time, at = integer(at)
    return time, at if time <= TIMESTAMP_MAX else REFUSED


def _put_time(
    time: np.int64, update: Place, next_update: Place, ticker: Place, next_ticker: Place
) -> None:
    """Write the time of a ticker, of its quote and of the index behind it."""
    if next_update != update:
        put_int(update + WORDS[EX_NS], time)
    put_int(ticker + WORDS[TICKER_TIME], time)
    if next_ticker - ticker > TICKER_BYTES:
        put_int(ticker + TICKER_BYTES + WORDS[TICKER_TIME], ~time)


def _data(
    at: Place, family: int, kind: int, update: Place, updates_end: Place, row: Place,
    rows_end: Place, ticker: Place,
) -> tuple[Place, Place, Place, Place]:  # fmt: skip
    """Scan the data of a message whose type is known."""
    next_update, next_row = update, row
    if at == REFUSED or kind < 0 or (family == _TRADES and kind != _SNAPSHOT):
        return REFUSED, update, row, ticker
    if family == _TICKER:
        return _ticker(at, update, row, ticker)
    if family == _BOOK:
        at, next_update, next_row = _book(at, kind == _DELTA, update, row, rows_end)
    else:
        at, next_update, next_row = _trades(at, update, updates_end, row, rows_end)
    return at, next_update, next_row, ticker


def _book(
    at: Place, change: bool, update: Place, row: Place, rows_end: Place
) -> tuple[Place, Place, Place]:
    """Scan the levels of a book; returns the places behind them, their update and their rows."""
    if byte_at(at) != OPEN_OBJECT:
        return REFUSED, update, row
    code = BOOK_DELTA_CODE if change else BOOK_SNAPSHOT_CODE
    seen, guess, last_code = 0, 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _BOOK_KEYS, guess)
        if found == _BIDS or found == _ASKS:
            side = code & ~SIDE_BITS | (BID if found == _BIDS else ASK)
            # Asks before bids would have to be moved behind them.
            at, end = levels(at if seen < 2**_ASKS else REFUSED, row, rows_end, side)
            put_int(update + WORDS[BID_ROWS + found - _BIDS], (end - row) // ROW_BYTES)
            last_code = side if end != row else last_code
            row = end
        elif found == _UPDATE_ID:
            update_id, at = integer(at)
            put_int(update + WORDS[SEQ], update_id + SEQ_OF_UPDATE_0)
            put_int(update + WORDS[SEQ_PREV], _before(update_id, change))
        elif found == _BOOK_NAME:
            at = text(at, update + WORDS[NAME_BEGIN])
        else:
            at = skip_member(at)
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit:
            return REFUSED, update, row
        seen |= bit
        guess = found + 1
    put_int(update + WORDS[CODE], code)
    if last_code:
        put_int(row - EIGHT, last_code | LAST)
    whole = seen & _BOOK_NEEDED == _BOOK_NEEDED
    return (at + ONE if whole else REFUSED), update + UPDATE_BYTES, row


def _before(update_id: np.int64, change: bool) -> int | np.int64:
    """Number of the row before those of an update."""
    if change:
        return update_id - 1 + SEQ_OF_UPDATE_0 if update_id > 0 else NO_PREVIOUS
    return COUNTS_ANEW if update_id <= RESTARTED_AT else NO_PREVIOUS


def _ticker(
    at: Place, update: Place, row: Place, ticker: Place
) -> tuple[Place, Place, Place, Place]:
    """Scan a ticker, its quote and its index; returns the places behind it and what it became."""
    if byte_at(at) != OPEN_OBJECT:
        return REFUSED, update, row, ticker
    for field in range(len(TICKER_FIELDS)):
        put_float(ticker + WORDS[TICKER_VALUES + field], np.nan)
    seen, none, guess, index = 0, 0, 0, np.nan
    name, name_end, fits = REFUSED, REFUSED, True
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _TICKER_KEYS, guess)
        if found == _TICKER_NAME:
            name = at + ONE
            text(at, update + WORDS[NAME_BEGIN])
            at = text(at, ticker + WORDS[TICKER_NAME_BEGIN])
            name_end = at - ONE
        elif found < 0 or _COLUMNS[found] == _UNUSED:
            at = skip_member(at) if found < 0 else skip_text(at)
        else:
            value, at = quoted_number(at)
            fits = _LEAST[found] <= value <= _MOST[found]
            index = value if found == _INDEX else index
            none |= bit if value <= _NONE_UP_TO[found] else 0
            put_float(_value_place(found, ticker, row), np.nan if none & bit else value)
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit or not fits:
            return REFUSED, update, row, ticker
        seen |= bit
        guess = found + 1
    quoted = seen & _QUOTE_KEYS
    if not seen & 2**_TICKER_NAME or (quoted and quoted != _QUOTE_KEYS):
        return REFUSED, update, row, ticker
    if quoted:
        put_int(update + WORDS[SEQ], 0)
        row = put_quote(update, row, none & 2**_BID != 0, none & 2**_ASK != 0, OF_TICKER)
        update += UPDATE_BYTES
    next_ticker = _index(ticker + TICKER_BYTES, name, name_end, index)
    return (at + ONE if next_ticker != REFUSED else REFUSED), update, row, next_ticker


def _value_place(key: int, ticker: Place, row: Place) -> Place:
    """Where the value of a ticker's key belongs."""
    column = _COLUMNS[key]
    if column < _QUOTE:
        return ticker + WORDS[TICKER_VALUES + column]
    return row + WORDS[column - _QUOTE]


def _is_option(name: Place, end: Place) -> bool:
    """Whether a name ends as those of options do; `end` is the place of its closing quote."""
    for number in range(_OPTION_ENDS.shape[1]):
        begin = end + ONE - _OPTION_ENDS[0, number]
        if begin > name and match(begin, _OPTION_ENDS, number) != REFUSED:
            return True
    return False


def _index(ticker: Place, name: Place, end: Place, price: float) -> Place:
    """Write the ticker of the index behind a perpetual, if there is one; the place behind it.

    Its name is the perpetual's with a suffix (universe.py), and stands in its own record.
    """
    if np.isnan(price) or _is_option(name, end):
        return ticker
    if end - name > _INDEX_OWNER_MAX:
        return REFUSED
    own = ticker + WORDS[TICKER_TEXT]
    put_int(ticker + WORDS[TICKER_NAME_BEGIN], own)
    put_int(ticker + WORDS[TICKER_NAME_BEGIN + 1], own + (end - name) + _INDEX_SUFFIX_BYTES)
    for field in range(len(TICKER_FIELDS)):
        put_float(ticker + WORDS[TICKER_VALUES + field], np.nan)
    for field in (_MARK_FIELD, _INDEX_FIELD):
        put_float(ticker + WORDS[TICKER_VALUES + field], price)
    while end - name >= EIGHT:
        put_int(own, word_at(name))
        own += EIGHT
        name += EIGHT
    shift = (end - name) * EIGHT
    kept = word_at(name) & ((ONE << shift) - ONE)
    put_int(own, kept | (_INDEX_SUFFIX << shift))
    if shift > _TWO_BYTES:
        put_int(own + EIGHT, _INDEX_SUFFIX >> (_WORD - shift))
    return ticker + TICKER_BYTES


def _trades(
    at: Place, update: Place, updates_end: Place, row: Place, rows_end: Place
) -> tuple[Place, Place, Place]:
    """Scan a list of prints; returns the places behind it, its updates and its rows."""
    if byte_at(at) != OPEN_LIST:
        return REFUSED, update, row
    while byte_at(at) != CLOSE_LIST:
        if update == updates_end or row == rows_end:
            return REFUSED, update, row
        at = closed(_trade(at + ONE, update, row), CLOSE_LIST)
        if at == REFUSED:
            return REFUSED, update, row
        update += UPDATE_BYTES
        row += ROW_BYTES
    return at + ONE, update, row


def _trade(at: Place, update: Place, row: Place) -> Place:
    if byte_at(at) != OPEN_OBJECT:
        return REFUSED
    put_int(update + WORDS[CODE], TRADE_CODE)
    put_int(update + WORDS[SEQ], 0)
    put_int(update + WORDS[SEQ_PREV], NO_PREVIOUS)
    seen, guess = 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _TRADE_KEYS, guess)
        used = 0 <= found <= _IS_BLOCK
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
    if found == _ID:
        behind = text(at, update + WORDS[ID_BEGIN])
        return behind if behind - at > TWO else REFUSED  # an empty id is none
    if found == _PRICE or found == _SIZE:
        value, at = quoted_number(at)
        put_float(row + WORDS[found - _PRICE], value)
        return at if 0.0 < value <= (PRICE_MAX if found == _PRICE else AMOUNT_MAX) else REFUSED
    if found == _SIDE:
        return _side(at, update, row)
    if found == _TRADE_NAME:
        return text(at, update + WORDS[NAME_BEGIN])
    if found == _IS_BLOCK:
        return match(at, _TEXTS, _NO_BLOCK)
    number, at = integer(at)
    put_int(update + WORDS[EX_NS if found == _TIME else SEQ], number)
    return REFUSED if found == _TIME and number > TIMESTAMP_MAX else at


def _side(at: Place, update: Place, row: Place) -> Place:
    bought = match(at, _TEXTS, _BUY)
    behind = bought if bought != REFUSED else match(at, _TEXTS, _SELL)
    put_int(update + WORDS[BID_ROWS], bought != REFUSED)
    put_int(update + WORDS[ASK_ROWS], bought == REFUSED)
    put_int(row + WORDS[2], TRADE_CODE | LAST | (BID if bought != REFUSED else ASK))
    return behind
