"""Stage 2 of 8: listing ids of the names of a scan, from the table of `feeds.symbols`."""

from typing import Final

import numpy as np

from feeds.bytescan.grammar import EIGHT, ONE, Place, word_at
from feeds.symbols import HASH_FACTOR, ID_OFFSET, SLOT_FREE, SLOT_GONE, SLOT_WORDS

UNLISTED: Final = np.int64(-1)
_FACTOR: Final = np.uint64(HASH_FACTOR)
_HALF: Final = np.uint64(32)
_THREE: Final = np.uint64(3)
_SLOT_BYTES: Final = np.uint64(8 * SLOT_WORDS)
_BEGIN: Final = np.uint64(8)
_LENGTH: Final = np.uint64(16)
_KEPT: Final = np.uint64(24)
_NO_START: Final = np.uint64(0)
_FREE: Final = np.uint64(SLOT_FREE)
_GONE: Final = np.uint64(SLOT_GONE)
_OFFSET: Final = np.uint64(ID_OFFSET)


def listing_of(slots: Place, mask: Place, texts: Place, begin: Place, end: Place) -> np.int64:
    """Listing id of the name between two places, or UNLISTED.

    Args:
        slots: `Symbols.table`, its first part.
        mask: its second.
        texts: its third.
        begin: address of the name.
        end: address behind it; eight bytes more may be read.
    """
    key = name_hash(begin, end, _NO_START)
    number = key & mask
    while True:
        slot = slots + number * _SLOT_BYTES
        kept = word_at(slot + _KEPT)
        if kept == _FREE:
            return UNLISTED
        alike = word_at(slot) == key and word_at(slot + _LENGTH) == end - begin
        if alike and _same(texts + word_at(slot + _BEGIN), begin, end):
            return np.int64(kept - _OFFSET) if kept != _GONE else UNLISTED
        number = (number + ONE) & mask


def name_hash(at: Place, end: Place, start: np.uint64) -> np.uint64:
    """Hash of the name between two places, as `feeds.symbols.name_hash`; eight bytes more are read.

    Args:
        at: address of the name.
        end: address behind it.
        start: the hash of what came before it, 0 if nothing.
    """
    key = start + (end - at)
    while at < end:
        word = word_at(at)
        if end - at < EIGHT:
            word &= _low_bytes(end - at)
        key = _mixed(key ^ word)
        at += EIGHT
    return _mixed(key)


def _mixed(key: np.uint64) -> np.uint64:
    key *= _FACTOR
    return np.uint64(key ^ key >> _HALF)


def _low_bytes(count: np.uint64) -> np.uint64:
    """Mask of the first bytes of a word, of seven at most."""
    return np.uint64((ONE << (count << _THREE)) - ONE)


def _same(kept: Place, at: Place, end: Place) -> bool:
    while at < end:
        different = word_at(kept) ^ word_at(at)
        if end - at < EIGHT:
            different &= _low_bytes(end - at)
        if different:
            return False
        at += EIGHT
        kept += EIGHT
    return True
