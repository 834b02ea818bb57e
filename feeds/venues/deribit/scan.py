"""Stage 2 of 8: Deribit's changes of books, tickers and prints, scanned byte by byte.

What is refused here (snapshots, windows, blocks, spaces, rare fields) is left to msgspec, which
gives the same rows of everything that is accepted here. Plain Python, compiled by feeds.bytescan.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.bytescan.grammar import (
    CLOSE_LIST,
    CLOSE_OBJECT,
    COMMA,
    EIGHT,
    LINE_FEED,
    ONE,
    OPEN_LIST,
    OPEN_OBJECT,
    QUOTE,
    REFUSED,
    TWO,
    Place,
    byte_at,
    closed,
    integer,
    keys_of,
    line_end,
    match,
    member,
    number,
    number_or_null,
    put_float,
    put_int,
    skip,
    skip_member,
    string,
    text,
    words_of,
)
from feeds.bytescan.records import (
    AMOUNT_MAX,
    ID_BEGIN,
    LEFT,
    NAME_BEGIN,
    NO_KEY,
    PRICE_MAX,
    ROW_BYTES,
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
    BOOK_DELTA_CODE,
    CODE,
    EX_NS,
    KEY,
    LAST,
    SEQ,
    SEQ_PREV,
    SIDE_BITS,
    TICKER_FIELDS,
    TRADE_CODE,
)
from feeds.venues.deribit import wire

# The prefix in pieces of a word each: the shape is always the same, up to the channel's name.
_PREFIX: Final = words_of(
    *(wire.PREFIX.decode()[at : at + 8] for at in range(0, len(wire.PREFIX), 8))
)
_DATA, _END, _CHANGE, _NEW, _CHANGED, _DELETED, _BUY, _SELL, _BOOK, _TICKER, _TRADES = range(11)
_TEXTS: Final = words_of(
    ',"data":', "}}", '"change"', '["new",', '["change",', '["delete",', '"buy"', '"sell"',
    "book.", "ticker.", "trades.",
)  # fmt: skip

# Keys in the order in which the venue sends them; those without a use are skipped soonest so.
_BOOK_KEYS: Final = keys_of(
    "type", "timestamp", "prev_change_id", "instrument_name", "change_id", "bids", "asks"
)
_TYPE, _TIME, _, _NAME, _, _BIDS, _ASKS = range(7)
_BOOK_COLUMNS: Final = (-1, EX_NS, SEQ_PREV, -1, SEQ)
_DELTA: Final = BOOK_DELTA_CODE & ~SIDE_BITS
_ASKS_BIT: Final = 2**_ASKS  # the highest: no key before it makes as much
_BOOK_ALL: Final = 2**7 - 1

_TICKER_WORDS: Final = (
    "underlying_price", "underlying_index", "timestamp", "stats", "state", "settlement_price",
    "open_interest", "min_price", "max_price", "mark_price", "mark_iv", "last_price",
    "interest_rate", "instrument_name", "index_price", "greeks", "estimated_delivery_price",
    "bid_iv", "best_bid_price", "best_bid_amount", "best_ask_price", "best_ask_amount", "ask_iv",
)  # fmt: skip
_TICKER_KEYS: Final = keys_of(*_TICKER_WORDS)
_TICKER_TIME: Final = _TICKER_WORDS.index("timestamp")
_TICKER_NAME: Final = _TICKER_WORDS.index("instrument_name")
_TICKER_GREEKS: Final = _TICKER_WORDS.index("greeks")
_TICKER_NEEDED: Final = 2**_TICKER_TIME + 2**_TICKER_NAME
_FIELD_OF: Final = {
    "underlying_price": "forward", "open_interest": "open_interest", "mark_price": "mark",
    "mark_iv": "iv_mark", "index_price": "index", "bid_iv": "iv_bid", "ask_iv": "iv_ask",
}  # fmt: skip
_UNUSED: Final = -1
# Column of TICKER_FIELDS by key.
_TICKER_COLUMNS: Final = tuple(
    TICKER_FIELDS.index(_FIELD_OF[word]) if word in _FIELD_OF else _UNUSED for word in _TICKER_WORDS
)
_GREEK_KEYS: Final = keys_of("vega", "theta", "rho", "gamma", "delta")
_GREEK_COLUMNS: Final = tuple(
    TICKER_FIELDS.index(word) if word in TICKER_FIELDS else _UNUSED
    for word in ("vega", "theta", "rho", "gamma", "delta")
)

_TRADE_WORDS: Final = (
    "trade_seq", "trade_id", "timestamp", "tick_direction", "price", "mark_price", "iv",
    "instrument_name", "index_price", "direction", "contracts", "amount",
    # Of a structure: left to msgspec.
    "legs", "combo_id", "block_trade_id", "combo_trade_id", "block_rfq_id",
)  # fmt: skip
_TRADE_KEYS: Final = keys_of(*_TRADE_WORDS)
_FIRST_OF_STRUCTURE: Final = _TRADE_WORDS.index("legs")
_TRADE_SEQ, _TRADE_ID, _TRADE_TIME, _PRICE, _TRADE_NAME, _DIRECTION, _AMOUNT = (
    _TRADE_WORDS.index(word)
    for word in (
        "trade_seq", "trade_id", "timestamp", "price", "instrument_name", "direction", "amount",
    )
)  # fmt: skip
_TRADE_NEEDED: Final = (
    2**_TRADE_ID + 2**_TRADE_TIME + 2**_PRICE + 2**_TRADE_NAME + 2**_DIRECTION + 2**_AMOUNT
)


def scan(
    kinds: NDArray[np.int8], first: Place, update: Place, updates_end: Place,
    row: Place, rows_end: Place, ticker: Place, tickers_end: Place,
) -> tuple[Place, Place, Place, Place]:  # fmt: skip
    """Scan a batch of frames, a line each; what does not fit any more is left, too.

    Returns where the last line ends, and where the next update, row and ticker would be written. If
    the end is not where it should be, a frame was more than one line, and nothing that was written
    is true.

    Args:
        kinds: receives LEFT, UPDATES or TICKER for each frame.
        first: address of the first frame.
        update: address for updates.
        updates_end: address behind the room for them.
        row: address for rows.
        rows_end: address behind the room for them.
        ticker: address for tickers.
        tickers_end: address behind the room for them.
    """
    end = first - ONE
    for frame in range(len(kinds)):
        kinds[frame] = LEFT
        begin = end + ONE
        family, at = _family(begin)
        next_update, next_row = update, row
        if family == _BOOK:
            at, next_update, next_row = _book(at, update, updates_end, row, rows_end)
        elif family == _TRADES:
            at, next_update, next_row = _trades(at, update, updates_end, row, rows_end)
        elif family == _TICKER and ticker != tickers_end:
            at = _ticker(at, ticker)
        if at != REFUSED:
            at = match(at, _TEXTS, _END)
        if at == REFUSED or byte_at(at) != LINE_FEED:
            end = line_end(begin)
            continue
        end = at
        if family == _TICKER:
            put_int(ticker, frame)
            ticker += TICKER_BYTES
            kinds[frame] = TICKER
        else:
            kinds[frame] = UPDATES
        row = next_row
        while update != next_update:
            put_int(update, frame)
            update += UPDATE_BYTES
    return end, update, row, ticker


def _family(at: Place) -> tuple[int, Place]:
    """Which family a frame belongs to, and where its data begin."""
    for piece in range(_PREFIX.shape[1]):
        at = match(at, _PREFIX, piece)
        if at == REFUSED:
            return 0, REFUSED
    channel = at
    at = string(channel - ONE)  # the prefix ends with the quote that opens its name
    at = match(at + ONE, _TEXTS, _DATA) if at != REFUSED else at
    if at == REFUSED:
        return 0, REFUSED
    for family in (_BOOK, _TICKER, _TRADES):
        if match(channel, _TEXTS, family) != REFUSED:
            return family, at
    return 0, REFUSED


def _book(
    at: Place, update: Place, updates_end: Place, row: Place, rows_end: Place
) -> tuple[Place, Place, Place]:
    """Scan the data of a book's change; returns the places behind it, its update and its rows."""
    if byte_at(at) != OPEN_OBJECT or update == updates_end:
        return REFUSED, update, row
    seen, guess, code = 0, 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _BOOK_KEYS, guess)
        if found < 0:
            at = skip_member(at)
        elif found >= _BIDS:
            # Asks before bids would have to be moved behind them.
            side = _DELTA | (BID if found == _BIDS else ASK)
            at, end = _levels(at if seen < _ASKS_BIT else REFUSED, row, rows_end, side)
            put_int(update + WORDS[BID_ROWS + found - _BIDS], (end - row) // ROW_BYTES)
            code = side if end != row else code
            row, guess = end, found + 1
        else:
            at, guess = _book_field(at, found, update), found + 1
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit:
            return REFUSED, update, row
        seen |= bit
    put_int(update + WORDS[CODE], BOOK_DELTA_CODE)
    if code:
        put_int(row - EIGHT, code | LAST)
    return (at + ONE if seen == _BOOK_ALL else REFUSED), update + UPDATE_BYTES, row


def _book_field(at: Place, found: int, update: Place) -> Place:
    if found == _TYPE:
        return match(at, _TEXTS, _CHANGE)
    if found == _NAME:
        return text(at, update + WORDS[NAME_BEGIN])
    value, at = integer(at)
    put_int(update + WORDS[_BOOK_COLUMNS[found]], value)
    return REFUSED if found == _TIME and value > TIMESTAMP_MAX else at


def _levels(at: Place, row: Place, rows_end: Place, code: int) -> tuple[Place, Place]:
    """Scan a list of levels; returns the places behind it and its rows."""
    if at == REFUSED or byte_at(at) != OPEN_LIST:
        return REFUSED, row
    if byte_at(at + ONE) == CLOSE_LIST:
        return at + TWO, row
    while byte_at(at) != CLOSE_LIST:
        if row == rows_end:
            return REFUSED, row
        at, share = _action(at + ONE)
        price, at = number(at) if at != REFUSED else (0.0, at)
        if not 0.0 < price <= PRICE_MAX or byte_at(at) != COMMA:
            return REFUSED, row
        amount, at = number(at + ONE)
        if at == REFUSED or not 0.0 <= amount <= AMOUNT_MAX or byte_at(at) != CLOSE_LIST:
            return REFUSED, row
        at = closed(at + ONE, CLOSE_LIST)
        if at == REFUSED:
            return REFUSED, row
        put_float(row, price)
        put_float(row + WORDS[1], share * amount)
        put_int(row + WORDS[2], code)
        row += ROW_BYTES
    return at + ONE, row


def _action(at: Place) -> tuple[Place, float]:
    """Place of a level's price, and what its action leaves of its amount."""
    for action, share in ((_CHANGED, 1.0), (_NEW, 1.0), (_DELETED, 0.0)):
        behind = match(at, _TEXTS, action)
        if behind != REFUSED:
            return behind, share
    return REFUSED, 0.0


def _ticker(at: Place, ticker: Place) -> Place:
    """Scan the data of a ticker; returns the place behind it."""
    if byte_at(at) != OPEN_OBJECT:
        return REFUSED
    for field in range(len(TICKER_FIELDS)):
        put_float(ticker + WORDS[TICKER_VALUES + field], np.nan)
    seen, guess = 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _TICKER_KEYS, guess)
        if found < 0:
            at = skip_member(at)
        else:
            at, guess = _ticker_field(at, found, ticker), found + 1
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit:
            return REFUSED
        seen |= bit
    return at + ONE if seen & _TICKER_NEEDED == _TICKER_NEEDED else REFUSED


def _ticker_field(at: Place, found: int, ticker: Place) -> Place:
    if found == _TICKER_GREEKS:
        return _greeks(at, ticker)
    if found == _TICKER_NAME:
        return text(at, ticker + WORDS[TICKER_NAME_BEGIN])
    if found == _TICKER_TIME:
        time, at = integer(at)
        put_int(ticker + WORDS[TICKER_TIME], time)
        return REFUSED if time > TIMESTAMP_MAX else at
    column = _TICKER_COLUMNS[found]
    if column == _UNUSED:
        return skip(at)
    value, at = number_or_null(at)
    put_float(ticker + WORDS[TICKER_VALUES + column], value)
    return at


def _greeks(at: Place, ticker: Place) -> Place:
    if byte_at(at) != OPEN_OBJECT:
        return REFUSED
    seen, guess = 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _GREEK_KEYS, guess)
        if found < 0 or _GREEK_COLUMNS[found] == _UNUSED:
            at = skip_member(at)
        else:
            value, at = number_or_null(at)
            put_float(ticker + WORDS[TICKER_VALUES + _GREEK_COLUMNS[found]], value)
        guess = found + 1
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit:
            return REFUSED
        seen |= bit
    return at + ONE


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
    put_int(update + WORDS[SEQ_PREV], -1)
    seen, guess = 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _TRADE_KEYS, guess)
        if found < 0:
            at = skip_member(at)
        else:
            at, guess = _trade_field(at, found, update, row), found + 1
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED or seen & bit:
            return REFUSED
        seen |= bit
    return at + ONE if seen & _TRADE_NEEDED == _TRADE_NEEDED else REFUSED


def _trade_field(at: Place, found: int, update: Place, row: Place) -> Place:
    if found == _PRICE or found == _AMOUNT:
        value, at = number(at)
        put_float(row + WORDS[0 if found == _PRICE else 1], value)
        return at if 0.0 < value <= (PRICE_MAX if found == _PRICE else AMOUNT_MAX) else REFUSED
    if found == _DIRECTION:
        return _direction(at, update, row)
    if found == _TRADE_NAME:
        return text(at, update + WORDS[NAME_BEGIN])
    if found == _TRADE_ID:
        return _trade_id(at, update)
    if found == _TRADE_SEQ or found == _TRADE_TIME:
        whole, at = integer(at)
        put_int(update + WORDS[EX_NS if found == _TRADE_TIME else SEQ], whole)
        return REFUSED if found == _TRADE_TIME and whole > TIMESTAMP_MAX else at
    return skip(at) if found < _FIRST_OF_STRUCTURE else REFUSED


def _direction(at: Place, update: Place, row: Place) -> Place:
    bought = match(at, _TEXTS, _BUY)
    behind = bought if bought != REFUSED else match(at, _TEXTS, _SELL)
    put_int(update + WORDS[BID_ROWS], bought != REFUSED)
    put_int(update + WORDS[ASK_ROWS], bought == REFUSED)
    put_int(row + WORDS[2], TRADE_CODE | LAST | (BID if bought != REFUSED else ASK))
    return behind


def _trade_id(at: Place, update: Place) -> Place:
    if byte_at(at) != QUOTE:
        return REFUSED
    value, end = integer(at + ONE)
    plain = end != REFUSED and byte_at(end) == QUOTE
    put_int(update + WORDS[KEY], value if plain else NO_KEY)
    return text(at, update + WORDS[ID_BEGIN])
