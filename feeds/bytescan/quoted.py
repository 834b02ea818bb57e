"""Stage 2 of 8: parts of messages of venues that write their numbers as text: levels, quotes."""

from typing import Final

import numpy as np

from feeds.bytescan.grammar import (
    CLOSE_LIST,
    COMMA,
    EIGHT,
    ONE,
    OPEN_LIST,
    REFUSED,
    TWO,
    Place,
    byte_at,
    closed,
    put_float,
    put_int,
    quoted_number,
    word_at,
)
from feeds.bytescan.names import name_hash
from feeds.bytescan.records import AMOUNT_MAX, ID_BEGIN, NAME_BEGIN, PRICE_MAX, ROW_BYTES, WORDS
from feeds.columns import (
    ASK,
    ASK_ROWS,
    BID,
    BID_ROWS,
    CODE,
    KEY,
    LAST,
    NO_PREVIOUS,
    QUOTE_CODE,
    SEQ_PREV,
)

_NOTHING: Final = np.uint64(0)


def levels(at: Place, row: Place, rows_end: Place, code: int) -> tuple[Place, Place]:
    """Scan a list of [price, size], both as text; returns the places behind it and its rows."""
    if at == REFUSED or byte_at(at) != OPEN_LIST:
        return REFUSED, row
    if byte_at(at + ONE) == CLOSE_LIST:
        return at + TWO, row
    while byte_at(at) != CLOSE_LIST:
        at = closed(_level(at + ONE, row, code), CLOSE_LIST) if row != rows_end else REFUSED
        if at == REFUSED:
            return REFUSED, row
        row += ROW_BYTES
    return at + ONE, row


def _level(at: Place, row: Place, code: int) -> Place:
    if byte_at(at) != OPEN_LIST:
        return REFUSED
    # Limits are branches, here and elsewhere: a place that hangs on a value waits for its division.
    price, at = quoted_number(at + ONE)
    if not 0.0 < price <= PRICE_MAX or byte_at(at) != COMMA:
        return REFUSED
    size, at = quoted_number(at + ONE)
    if at == REFUSED or not 0.0 <= size <= AMOUNT_MAX or byte_at(at) != CLOSE_LIST:
        return REFUSED
    put_float(row, price)
    put_float(row + WORDS[1], size)
    put_int(row + WORDS[2], code)
    return at + ONE


def put_key(update: Place) -> None:
    """Write the key of a print whose id counts within its instrument: `trade_keys.key_within`."""
    name, trade_id = update + WORDS[NAME_BEGIN], update + WORDS[ID_BEGIN]
    hashed = name_hash(word_at(name), word_at(name + EIGHT), _NOTHING)
    hashed = name_hash(word_at(trade_id), word_at(trade_id + EIGHT), hashed)
    put_int(update + WORDS[KEY], hashed)


def put_quote(update: Place, row: Place, no_bid: bool, no_ask: bool, key: int) -> Place:
    """Write a quote but for its frame, time, number and name; returns the place behind its rows.

    Args:
        update: address of its record.
        row: address of its rows, where prices and sizes stand already.
        no_bid: there is no bid price, so no size either.
        no_ask: as for the bid.
        key: OF_TICKER or anything else.
    """
    put_int(update + WORDS[SEQ_PREV], NO_PREVIOUS)
    put_int(update + WORDS[BID_ROWS], 1)
    put_int(update + WORDS[ASK_ROWS], 1)
    put_int(update + WORDS[CODE], QUOTE_CODE)
    put_int(update + WORDS[KEY], key)
    put_int(row + WORDS[2], QUOTE_CODE | BID)
    if no_bid:
        put_float(row + WORDS[1], np.nan)
    row += ROW_BYTES
    put_int(row + WORDS[2], QUOTE_CODE | ASK | LAST)
    if no_ask:
        put_float(row + WORDS[1], np.nan)
    return row + ROW_BYTES
