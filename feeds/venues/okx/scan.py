"""Stage 2 of 8: OKX's books, best prices, summaries and prints, scanned byte by byte.

What is refused here (spaces, words without a number, rare fields and channels) is left to msgspec,
which gives the same rows of everything that is accepted here. Plain Python, compiled by
feeds.bytescan.

Asks stand before bids on this wire and behind them among the rows: they are written downwards from
the end of the room, and moved when the bids are there.
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
    REFUSED,
    TWO,
    Place,
    byte_at,
    closed,
    find,
    integer,
    key,
    keys_of,
    line_end,
    match,
    member,
    put_float,
    put_int,
    quoted_integer,
    quoted_number,
    skip,
    skip_member,
    skip_text,
    text,
    word_at,
    words_of,
)
from feeds.bytescan.names import name_hash
from feeds.bytescan.records import (
    AMOUNT_MAX,
    ID_BEGIN,
    LEFT,
    NAME_BEGIN,
    PRICE_MAX,
    ROW_BYTES,
    TICKER,
    TICKER_BYTES,
    TICKER_FRAME,
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
    BOOK_CHAINED_CODE,
    BOOK_SNAPSHOT_CODE,
    BOOK_WINDOW_CODE,
    CODE,
    EX_NS,
    FRAME_INDEX,
    KEY,
    LAST,
    NO_PREVIOUS,
    QUOTE_CODE,
    SEQ,
    SEQ_PREV,
    SIDE_BITS,
    TICKER_FIELDS,
    TICKER_VALUE_MAX,
    TRADE_CODE,
)
from feeds.venues.okx import wire

_PREFIX: Final = words_of(wire.PREFIX.decode())
_BOOKS, _WINDOWS, _TOUCHES, _SUMMARIES, _FIRST_PRINTS = range(5)
_CHANNELS: Final = words_of(
    'books"', 'books5"', 'bbo-tbt"', 'opt-summary"', 'option-trades"', 'trades"', 'trades-all"'
)
_SNAPSHOT, _UPDATE, _EMPTY, _NONE, _NO_LONGER_USED, _BUY, _SELL = range(7)
_TEXTS: Final = words_of('"snapshot"', '"update"', '""', "-1", ',"0",', '"buy"', '"sell"')
_NOTHING: Final = np.uint64(0)

# Keys in the order in which the venue sends them; those without a use are skipped soonest so.
_ARG_KEYS: Final = keys_of("instId", "instFamily", "uly", "instType")
_MESSAGE_KEYS: Final = keys_of("action", "data", "arg")
_ACTION, _DATA, _ARG = range(3)
_BOOK_KEYS: Final = keys_of("asks", "bids", "ts", "checksum", "prevSeqId", "seqId", "instId")
_ASKS, _BIDS, _TIME, _, _PREVIOUS, _SEQUENCE = range(6)
_BOOK_NEEDED: Final = 2**_ASKS + 2**_BIDS + 2**_TIME
_BIDS_BIT: Final = 2**_BIDS
_DOWN: Final = np.uint64(2**64 - int(ROW_BYTES))

_SUMMARY_WORDS: Final = (
    "instType", "instId", "uly", "delta", "gamma", "vega", "theta", "lever",
    "markVol", "bidVol", "askVol", "realVol", "deltaBS", "gammaBS", "thetaBS", "vegaBS", "ts",
    "fwdPx", "volLv", "instFamily",
)  # fmt: skip
_SUMMARY_KEYS: Final = keys_of(*_SUMMARY_WORDS)
_SUMMARY_NAME: Final = _SUMMARY_WORDS.index("instId")
_SUMMARY_TIME: Final = _SUMMARY_WORDS.index("ts")
_FIELD_OF: Final = {
    "markVol": "iv_mark", "bidVol": "iv_bid", "askVol": "iv_ask", "deltaBS": "delta",
    "gammaBS": "gamma", "thetaBS": "theta", "vegaBS": "vega", "fwdPx": "forward",
}  # fmt: skip
_UNUSED: Final = -1
# Column of TICKER_FIELDS by key.
_SUMMARY_COLUMNS: Final = tuple(
    TICKER_FIELDS.index(_FIELD_OF[word]) if word in _FIELD_OF else _UNUSED
    for word in _SUMMARY_WORDS
)
_SUMMARY_NEEDED: Final = (
    sum(2 ** _SUMMARY_WORDS.index(word) for word in _FIELD_OF if word != "fwdPx")
    + 2**_SUMMARY_NAME
    + 2**_SUMMARY_TIME
)

_TRADE_KEYS: Final = keys_of(
    "instId", "instFamily", "tradeId", "px", "sz", "side", "ts", "count", "seqId", "optType",
    "fillVol", "fwdPx", "idxPx", "markPx",
)  # fmt: skip
_TRADE_NAME, _, _TRADE_ID, _PRICE, _AMOUNT, _SIDE, _TRADE_TIME, _, _TRADE_SEQUENCE = range(9)
_TRADE_NEEDED: Final = (
    2**_TRADE_NAME + 2**_TRADE_ID + 2**_PRICE + 2**_AMOUNT + 2**_SIDE + 2**_TRADE_TIME
)


def scan(
    kinds: NDArray[np.int8], first: Place, update: Place, updates_end: Place,
    row: Place, rows_end: Place, ticker: Place, tickers_end: Place,
) -> tuple[Place, Place, Place, Place]:  # fmt: skip
    """Scan a batch of frames, a line each; arguments and answer as feeds/venues/deribit/scan.py."""
    end = first - ONE
    for frame in range(len(kinds)):
        kinds[frame] = LEFT
        begin = end + ONE
        channel, at = _channel(begin)
        next_update, next_row, next_ticker = update, row, ticker
        if channel == _SUMMARIES:
            at, next_ticker = _summaries(at, ticker, tickers_end)
        elif channel >= _FIRST_PRINTS:
            at, next_update, next_row = _trades(at, update, updates_end, row, rows_end)
        elif channel >= 0 and update != updates_end:
            at, next_row = _book(at, channel, update, row, rows_end)
            next_update = update + UPDATE_BYTES
        else:
            at = REFUSED
        if at == REFUSED or byte_at(at) != LINE_FEED:
            end = line_end(begin)
            continue
        end = at
        kinds[frame] = TICKER if channel == _SUMMARIES else UPDATES
        row = next_row
        while update != next_update:
            put_int(update + WORDS[FRAME_INDEX], frame)
            update += UPDATE_BYTES
        while ticker != next_ticker:
            put_int(ticker + WORDS[TICKER_FRAME], frame)
            ticker += TICKER_BYTES
    return end, update, row, ticker


def _channel(at: Place) -> tuple[int, Place]:
    """Which channel a frame is of, and the place behind its name."""
    at = match(at, _PREFIX, 0)
    return find(at, _CHANNELS, 0) if at != REFUSED else (-1, REFUSED)


def _arg(at: Place, name: Place) -> Place:
    """Scan the rest of `arg` behind the channel; returns the place behind it.

    Notes at `name` where the instrument's name is; what has none is refused.
    """
    named, guess = 0, 0
    at = closed(at, CLOSE_OBJECT)
    while at != REFUSED and byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _ARG_KEYS, guess)
        if found == 0:
            at = text(at, name) if at != REFUSED and not named else REFUSED
            named = bit
        else:
            at = skip_member(at)
        at = closed(at, CLOSE_OBJECT)
        guess = found + 1
    return closed(at + ONE, CLOSE_OBJECT) if at != REFUSED and named else REFUSED


def _book(
    at: Place, channel: int, update: Place, row: Place, rows_end: Place
) -> tuple[Place, Place]:
    """Scan a book's message from behind its channel; returns the places behind it and its rows."""
    at = _arg(at, update + WORDS[NAME_BEGIN])
    code = BOOK_WINDOW_CODE if channel == _WINDOWS else QUOTE_CODE
    seen, guess = 0, 0
    while at != REFUSED and byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _MESSAGE_KEYS, guess)
        if at == REFUSED or seen & bit or found == _ARG:
            return REFUSED, row  # a second arg would be the one that counts
        if found == _ACTION and channel == _BOOKS:
            action, at = find(at, _TEXTS, _SNAPSHOT)
            if action > _UPDATE:
                return REFUSED, row
            code = BOOK_SNAPSHOT_CODE if action == _SNAPSHOT else BOOK_CHAINED_CODE
        elif found == _DATA:
            if channel == _BOOKS and not seen:
                return REFUSED, row  # its action says what it is
            at, row = _entry(at, code, update, row, rows_end)
        else:
            at = skip(at)
        at = closed(at, CLOSE_OBJECT)
        guess = found + 1
        seen |= bit
    return (at + ONE if at != REFUSED and seen & 2**_DATA else REFUSED), row


def _entry(at: Place, code: int, update: Place, row: Place, rows_end: Place) -> tuple[Place, Place]:
    """Scan the list of one book; returns the places behind it and its rows."""
    if byte_at(at) != OPEN_LIST or byte_at(at + ONE) != OPEN_OBJECT:
        return REFUSED, row
    put_int(update + WORDS[SEQ], 0)
    put_int(update + WORDS[SEQ_PREV], NO_PREVIOUS)
    put_int(update + WORDS[CODE], code)
    at += ONE
    if code == QUOTE_CODE:
        at, row = _touch(at, update, row, rows_end)
    else:
        at, row = _sides(at, code, update, row, rows_end)
        if at != REFUSED and code != BOOK_CHAINED_CODE:
            put_int(update + WORDS[SEQ_PREV], NO_PREVIOUS)
        if code == BOOK_WINDOW_CODE:
            put_int(update + WORDS[SEQ], np.int64(word_at(update + WORDS[EX_NS])))
    return (at + ONE if at != REFUSED and byte_at(at) == CLOSE_LIST else REFUSED), row


def _sides(at: Place, code: int, update: Place, row: Place, rows_end: Place) -> tuple[Place, Place]:
    """Scan a book's object; returns the places behind it and its rows, bids first."""
    side_code = code & ~SIDE_BITS
    seen, guess = 0, 0
    bids, asks, moved = _NOTHING, _NOTHING, _NOTHING  # bytes of rows
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _BOOK_KEYS, guess)
        if at == REFUSED or seen & bit:
            return REFUSED, row
        if found == _BIDS:
            room = np.int64(rows_end - row - moved)
            at, bids = _levels(at, row, ROW_BYTES, room, side_code | BID)
        elif found == _ASKS and seen & _BIDS_BIT:
            room = np.int64(rows_end - row - bids)
            at, asks = _levels(at, row + bids, ROW_BYTES, room, side_code | ASK)
        elif found == _ASKS:
            room = np.int64(rows_end - row)
            at, asks = _levels(at, rows_end - ROW_BYTES, _DOWN, room, side_code | ASK)
            moved = asks
        else:
            at = _book_field(at, found, update)
        at = closed(at, CLOSE_OBJECT)
        guess = found + 1
        seen |= bit
        if at == REFUSED:
            return REFUSED, row
    if seen & _BOOK_NEEDED != _BOOK_NEEDED or bids + moved + moved > rows_end - row:
        return REFUSED, row  # moving would overwrite what is yet to be moved
    _move_down(rows_end, row + bids, moved)
    put_int(update + WORDS[BID_ROWS], bids // ROW_BYTES)
    put_int(update + WORDS[ASK_ROWS], asks // ROW_BYTES)
    row += bids + asks
    if bids or asks:
        put_int(row - EIGHT, side_code | (ASK if asks else BID) | LAST)
    return at + ONE, row


def _book_field(at: Place, found: int, update: Place) -> Place:
    if found == _TIME:
        time, at = quoted_integer(at)
        put_int(update + WORDS[EX_NS], time)
        return REFUSED if time > TIMESTAMP_MAX else at
    if found == _SEQUENCE:
        number, at = integer(at)
        put_int(update + WORDS[SEQ], number)
        return at
    if found == _PREVIOUS:
        behind = match(at, _TEXTS, _NONE)
        if behind != REFUSED:
            return behind  # written already
        number, at = integer(at)
        put_int(update + WORDS[SEQ_PREV], number)
        return at
    return skip(at)


def _levels(
    at: Place, row: Place, step: np.uint64, room: np.int64, code: int
) -> tuple[Place, np.uint64]:
    """Scan a list of levels into rows upwards or downwards; returns the place behind it, bytes.

    Args:
        at: place of the list.
        row: address of the first row.
        step: from a row to the next.
        room: bytes there are for rows.
        code: of each.
    """
    if byte_at(at) != OPEN_LIST:
        return REFUSED, _NOTHING
    if byte_at(at + ONE) == CLOSE_LIST:
        return at + TWO, _NOTHING
    written = _NOTHING
    while byte_at(at) != CLOSE_LIST:
        if np.int64(written + ROW_BYTES) > room:
            return REFUSED, written
        price, size, at = _level(at + ONE)
        if at == REFUSED or price == 0.0:
            return REFUSED, written
        put_float(row, price)
        put_float(row + WORDS[1], size)
        put_int(row + WORDS[2], code)
        row += step
        written += ROW_BYTES
        at = closed(at, CLOSE_LIST)
        if at == REFUSED:
            return REFUSED, written
    return at + ONE, written


def _level(at: Place) -> tuple[float, float, Place]:
    """Price and size of the level that begins here, and the place behind it."""
    if byte_at(at) != OPEN_LIST:
        return 0.0, 0.0, REFUSED
    price, at = quoted_number(at + ONE)
    if at == REFUSED or byte_at(at) != COMMA or not 0.0 <= price <= PRICE_MAX:
        return 0.0, 0.0, REFUSED
    size, at = quoted_number(at + ONE)
    if at == REFUSED or not 0.0 <= size <= AMOUNT_MAX:
        return 0.0, 0.0, REFUSED
    at = match(at, _TEXTS, _NO_LONGER_USED)
    orders, at = quoted_integer(at) if at != REFUSED else (np.int64(0), at)
    if at == REFUSED or orders > AMOUNT_MAX or byte_at(at) != CLOSE_LIST:
        return 0.0, 0.0, REFUSED
    return price, size, at + ONE


def _move_down(rows_end: Place, row: Place, length: np.uint64) -> None:
    """Move rows that were written downwards from the end to a place below them, upwards."""
    source = rows_end
    while source != rows_end - length:
        source -= ROW_BYTES
        for word in range(3):
            put_int(row + WORDS[word], np.int64(word_at(source + WORDS[word])))
        row += ROW_BYTES


def _touch(at: Place, update: Place, row: Place, rows_end: Place) -> tuple[Place, Place]:
    """Scan the object of best prices; returns the places behind it and its two rows."""
    if rows_end - row < ROW_BYTES + ROW_BYTES:
        return REFUSED, row
    put_int(update + WORDS[BID_ROWS], 1)
    put_int(update + WORDS[ASK_ROWS], 1)
    seen, guess = 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _BOOK_KEYS, guess)
        if at == REFUSED or seen & bit:
            return REFUSED, row
        if found == _BIDS:
            at = _best(at, row, QUOTE_CODE | BID)
        elif found == _ASKS:
            at = _best(at, row + ROW_BYTES, QUOTE_CODE | ASK | LAST)
        else:
            at = _book_field(at, found, update) if found != _PREVIOUS else skip(at)
        at = closed(at, CLOSE_OBJECT)
        if at == REFUSED:
            return REFUSED, row
        guess = found + 1
        seen |= bit
    complete = seen & _BOOK_NEEDED == _BOOK_NEEDED
    return (at + ONE if complete else REFUSED), row + ROW_BYTES + ROW_BYTES


def _best(at: Place, row: Place, code: int) -> Place:
    """Scan a list of at most one level into a row; what is missing is NaN."""
    if byte_at(at) != OPEN_LIST:
        return REFUSED
    price, size, at = 0.0, 0.0, at + ONE
    if byte_at(at) != CLOSE_LIST:
        price, size, at = _level(at)
        if at == REFUSED or byte_at(at) != CLOSE_LIST:
            return REFUSED
    put_float(row, price if price != 0.0 else np.nan)
    put_float(row + WORDS[1], size if price != 0.0 and size != 0.0 else np.nan)
    put_int(row + WORDS[2], code)
    return at + ONE


def _summaries(at: Place, ticker: Place, tickers_end: Place) -> tuple[Place, Place]:
    """Scan summaries from behind the channel; returns the places behind the message, tickers."""
    at = _list_behind(at)
    while at != REFUSED and byte_at(at) != CLOSE_LIST:
        if ticker == tickers_end:
            return REFUSED, ticker
        at = closed(_summary(at + ONE, ticker), CLOSE_LIST)
        if at == REFUSED:
            return REFUSED, ticker
        ticker += TICKER_BYTES
    return _end_of_list(at), ticker


def _list_behind(at: Place) -> Place:
    """Place of the list of data, from behind the channel's name; nobody reads the rest of `arg`."""
    at = closed(at, CLOSE_OBJECT)
    while at != REFUSED and byte_at(at) != CLOSE_OBJECT:
        at = closed(skip_member(key(at + ONE)), CLOSE_OBJECT)
    if at == REFUSED or byte_at(at + ONE) != COMMA:
        return REFUSED
    found, _, at = member(at + ONE, _MESSAGE_KEYS, _DATA)
    return at if found == _DATA and byte_at(at) == OPEN_LIST else REFUSED


def _end_of_list(at: Place) -> Place:
    """Place behind a message whose list of data is closed here."""
    return at + TWO if at != REFUSED and byte_at(at + ONE) == CLOSE_OBJECT else REFUSED


def _summary(at: Place, ticker: Place) -> Place:
    if byte_at(at) != OPEN_OBJECT:
        return REFUSED
    for field in range(len(TICKER_FIELDS)):
        put_float(ticker + WORDS[TICKER_VALUES + field], np.nan)
    seen, guess = 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _SUMMARY_KEYS, guess)
        if at == REFUSED or seen & bit:
            return REFUSED
        at = closed(_summary_field(at, found, ticker), CLOSE_OBJECT)
        if at == REFUSED:
            return REFUSED
        guess = found + 1
        seen |= bit
    return at + ONE if seen & _SUMMARY_NEEDED == _SUMMARY_NEEDED else REFUSED


def _summary_field(at: Place, found: int, ticker: Place) -> Place:
    if found == _SUMMARY_NAME:
        return text(at, ticker + WORDS[TICKER_NAME_BEGIN])
    if found == _SUMMARY_TIME:
        time, at = quoted_integer(at)
        put_int(ticker + WORDS[TICKER_TIME], time)
        return REFUSED if time > TIMESTAMP_MAX else at
    column = _SUMMARY_COLUMNS[found] if found >= 0 else _UNUSED
    if column == _UNUSED:
        return skip_text(at)
    value, behind = quoted_number(at)
    if behind == REFUSED:
        return match(at, _TEXTS, _EMPTY)  # none
    put_float(ticker + WORDS[TICKER_VALUES + column], value)
    # The venue has words for none that are numbers beyond this.
    return behind if abs(value) <= TICKER_VALUE_MAX else REFUSED


def _trades(
    at: Place, update: Place, updates_end: Place, row: Place, rows_end: Place
) -> tuple[Place, Place, Place]:
    """Scan prints from behind the channel; returns the places behind the message, updates, rows."""
    at = _list_behind(at)
    while at != REFUSED and byte_at(at) != CLOSE_LIST:
        if update == updates_end or row + ROW_BYTES > rows_end:
            return REFUSED, update, row
        at = closed(_trade(at + ONE, update, row), CLOSE_LIST)
        if at == REFUSED:
            return REFUSED, update, row
        update += UPDATE_BYTES
        row += ROW_BYTES
    return _end_of_list(at), update, row


def _trade(at: Place, update: Place, row: Place) -> Place:
    if byte_at(at) != OPEN_OBJECT:
        return REFUSED
    put_int(update + WORDS[CODE], TRADE_CODE)
    put_int(update + WORDS[SEQ], 0)
    put_int(update + WORDS[SEQ_PREV], NO_PREVIOUS)
    seen, guess = 0, 0
    while byte_at(at) != CLOSE_OBJECT:
        found, bit, at = member(at, _TRADE_KEYS, guess)
        if at == REFUSED or seen & bit:
            return REFUSED
        at = closed(_trade_field(at, found, update, row), CLOSE_OBJECT)
        if at == REFUSED:
            return REFUSED
        guess = found + 1
        seen |= bit
    if seen & _TRADE_NEEDED != _TRADE_NEEDED:
        return REFUSED
    # As feeds.trade_keys.key_within.
    name, trade_id = update + WORDS[NAME_BEGIN], update + WORDS[ID_BEGIN]
    hashed = name_hash(word_at(name), word_at(name + EIGHT), _NOTHING)
    hashed = name_hash(word_at(trade_id), word_at(trade_id + EIGHT), hashed)
    put_int(update + WORDS[KEY], np.int64(hashed))
    return at + ONE


def _trade_field(at: Place, found: int, update: Place, row: Place) -> Place:
    if found == _TRADE_NAME:
        return text(at, update + WORDS[NAME_BEGIN])
    if found == _TRADE_ID:
        return text(at, update + WORDS[ID_BEGIN])
    if found == _PRICE or found == _AMOUNT:
        value, at = quoted_number(at)
        put_float(row + WORDS[0 if found == _PRICE else 1], value)
        return at if 0.0 < value <= (PRICE_MAX if found == _PRICE else AMOUNT_MAX) else REFUSED
    if found == _SIDE:
        side, at = find(at, _TEXTS, _BUY)
        if side < _BUY:
            return REFUSED
        put_int(update + WORDS[BID_ROWS], side == _BUY)
        put_int(update + WORDS[ASK_ROWS], side == _SELL)
        put_int(row + WORDS[2], TRADE_CODE | LAST | (BID if side == _BUY else ASK))
        return at
    if found == _TRADE_TIME:
        time, at = quoted_integer(at)
        put_int(update + WORDS[EX_NS], time)
        return REFUSED if time > TIMESTAMP_MAX else at
    if found == _TRADE_SEQUENCE:
        number, at = integer(at)
        put_int(update + WORDS[SEQ], number)
        return at
    return skip_text(at)
