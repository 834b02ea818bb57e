"""Stage 2 of 8: values of the subset of JSON that byte scanners understand.

Every function takes the place where a value must begin and gives the place behind it, or REFUSED.
No function looks at where the bytes end: behind every frame stands a line feed, which is no part of
any value, and behind the last one a few more, so that no word reaches beyond them.

A place is an address, and what is found is written at addresses: one word says where everything is,
and nothing is handed along beside it. Names are compared and searched eight bytes at a time. Signed
and unsigned numbers together would become a float, hence the typed constants.
"""

import ctypes
from typing import Final

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Place = np.uint64

REFUSED: Final = np.uint64(0)  # Nothing ends before the first byte.
ONE: Final = np.uint64(1)
TWO: Final = np.uint64(2)
EIGHT: Final = np.uint64(8)
QUOTE: Final = 34
COMMA: Final = 44
COLON: Final = 58
MINUS: Final = 45
PLUS: Final = 43
DOT: Final = 46
ZERO: Final = 48
OPEN_LIST: Final = 91
CLOSE_LIST: Final = 93
OPEN_OBJECT: Final = 123
CLOSE_OBJECT: Final = 125
LINE_FEED: Final = 10
_SMALL_E: Final = 101
_LARGE_E: Final = 69

INT_DIGITS: Final = np.uint64(18)  # always fits int64
DEPTH_MAX: Final = 16
SKIPPED_DIGITS_MAX: Final = np.uint64(32)
# A mantissa up to 2**53 and a power of ten up to 10**22 are exact, so that one division or
# multiplication of them is rounded once, as the exact value would be (Clinger 1990).
MANTISSA_MAX: Final = 2**53
POWER_MAX: Final = 22
POWERS: Final = np.array([float(10**power) for power in range(POWER_MAX + 1)])

# The same byte eight times, for searching a word.
_ONES: Final = np.uint64(0x0101010101010101)
_TOPS: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES: Final = np.uint64(0x2020202020202020)
_LINE_FEEDS: Final = np.uint64(0x0A0A0A0A0A0A0A0A)
_PLACES: Final = np.uint64(0x0001020304050607)
_SEVEN: Final = np.uint64(7)
_TO_TOP_BYTE: Final = np.uint64(56)

TEXT_MAX: Final = 16
PADDING: Final = 16  # line feeds behind the last frame


def byte_at(at: Place) -> int:
    """Byte at an address; its compiled version is in compile.py."""
    return ctypes.c_uint8.from_address(int(at)).value


def word_at(at: Place) -> np.uint64:
    """Eight bytes at an address, the first one lowest; its compiled version is in compile.py."""
    return np.uint64(int.from_bytes(ctypes.string_at(int(at), 8), "little"))


def put_int(at: Place, value: int | np.uint64) -> None:
    """Write a signed word at an address; its compiled version is in compile.py."""
    ctypes.c_int64.from_address(int(at)).value = int(value)


def put_float(at: Place, value: float) -> None:
    """Write a float64 at an address; its compiled version is in compile.py."""
    ctypes.c_double.from_address(int(at)).value = float(value)


def words_of(*texts: str) -> Words:
    """Texts of 1 to 16 bytes for `find` and `match`, [length, two words and their masks; text]."""
    table = np.zeros((5, len(texts)), np.uint64)
    for number, text in enumerate(texts):
        assert 1 <= len(text) <= TEXT_MAX, text
        table[0, number] = len(text)
        table[1:3, number] = np.frombuffer(text.encode().ljust(TEXT_MAX, b"\0"), np.uint64)
        table[3:, number] = np.frombuffer((b"\xff" * len(text)).ljust(TEXT_MAX, b"\0"), np.uint64)
    return table


def match(at: Place, table: Words, number: int) -> Place:
    """Place behind text `number` of a table, which must stand here."""
    if word_at(at) & table[3, number] != table[1, number]:
        return REFUSED
    if word_at(at + EIGHT) & table[4, number] != table[2, number]:
        return REFUSED
    return np.uint64(at + table[0, number])


def find(begin: Place, end: Place, table: Words, guess: int) -> int:
    """Number of the text that stands between two places, -1 if none; `guess` is tried first."""
    length = end - begin
    count = table.shape[1]
    if guess < count and table[0, guess] == length and match(begin, table, guess):
        return guess
    for number in range(count):
        if table[0, number] == length and match(begin, table, number):
            return number
    return -1


def string(at: Place) -> Place:
    """Place of the closing quote of the string that begins here: printable ASCII, no escapes."""
    if byte_at(at) != QUOTE:
        return REFUSED
    at += ONE
    while True:
        word = word_at(at)
        quotes, backslashes = word ^ _QUOTES, word ^ _BACKSLASHES
        # The top bit of each byte that is a quote, a backslash, below a space or beyond ASCII. A
        # borrow may mark a byte too many, but never below the first one that is marked rightly.
        marked = (
            ((quotes - _ONES) & ~quotes)
            | ((backslashes - _ONES) & ~backslashes)
            | ((word - _SPACES) & ~word)
            | word
        ) & _TOPS
        if marked:
            at += _first_byte(marked)
            return at if byte_at(at) == QUOTE else REFUSED
        at += EIGHT


def line_end(at: Place) -> Place:
    """Place of the next line feed."""
    while True:
        feeds = word_at(at) ^ _LINE_FEEDS
        marked = (feeds - _ONES) & ~feeds & _TOPS
        if marked:
            return at + _first_byte(marked)
        at += EIGHT


def _first_byte(marked: np.uint64) -> np.uint64:
    """Number of the first byte of a word whose top bit is set."""
    lowest = (marked & (~marked + ONE)) >> _SEVEN
    return np.uint64((lowest * _PLACES) >> _TO_TOP_BYTE)


def key(at: Place) -> Place:
    """Place behind the key that begins here and its colon."""
    at = string(at)
    return at + TWO if at != REFUSED and byte_at(at + ONE) == COLON else REFUSED


def member(at: Place, keys: Words, guess: int) -> tuple[int, int, Place]:
    """Number and bit (-1 and 0 if unknown) of the key behind a brace or comma; place of its value.

    A refused key is -1, 0, REFUSED.
    """
    begin = at + ONE
    at = key(begin)
    if at == REFUSED:
        return -1, 0, REFUSED
    found = find(begin + ONE, at - TWO, keys, guess)
    return found, 1 << found + 1 >> 1, at


def skip_member(at: Place) -> Place:
    """Place behind the value of an unknown key, whose place `member` gave."""
    return skip(at) if at != REFUSED else REFUSED


def text(at: Place, begin_at: Place) -> Place:
    """Note at `begin_at` and the word behind it where the text of a string begins and ends."""
    end = string(at)
    if end == REFUSED:
        return REFUSED
    put_int(begin_at, at + ONE)
    put_int(begin_at + EIGHT, end)
    return end + ONE


def closed(at: Place, close: int) -> Place:
    """The same place, if a comma or the closing bracket stands there."""
    if at == REFUSED:
        return REFUSED
    c = byte_at(at)
    return at if c == COMMA or c == close else REFUSED


def digits(at: Place) -> Place:
    """Place behind the digits that begin here, if any."""
    while 0 <= byte_at(at) - ZERO <= 9:
        at += ONE
    return at


def integer(at: Place) -> tuple[int, Place]:
    """Whole number >= 0 of at most 18 digits that begins here, and the place behind it."""
    begin = at
    value = 0
    digit = byte_at(at) - ZERO
    while 0 <= digit <= 9:
        value = value * 10 + digit
        at += ONE
        digit = byte_at(at) - ZERO
    if not _is_whole(begin, at) or at - begin > INT_DIGITS:
        return 0, REFUSED
    return value, at


def _is_whole(begin: Place, end: Place) -> bool:
    """Say whether digits are a whole number: there are some, and no needless zero before them."""
    return end == begin + ONE or (end != begin and byte_at(begin) != ZERO)


def number(at: Place) -> tuple[float, Place]:
    """Number that begins here, rounded as its exact value would be, and the place behind it.

    Negative zero is refused: readers differ in whether it keeps its sign.
    """
    negative = byte_at(at) == MINUS
    if negative:
        at += ONE
    begin = at
    mantissa = np.int64(0)
    digit = byte_at(at) - ZERO
    while 0 <= digit <= 9:
        mantissa = mantissa * 10 + digit
        at += ONE
        digit = byte_at(at) - ZERO
    if not _is_whole(begin, at):
        return 0.0, REFUSED
    length = at - begin
    power = np.int64(0)
    if byte_at(at) == DOT:
        at += ONE
        begin = at
        digit = byte_at(at) - ZERO
        while 0 <= digit <= 9:
            mantissa = mantissa * 10 + digit
            at += ONE
            digit = byte_at(at) - ZERO
        if at == begin:
            return 0.0, REFUSED
        length += at - begin
        power = -np.int64(at - begin)
    if byte_at(at) == _SMALL_E or byte_at(at) == _LARGE_E:
        shift, at = _exponent(at)
        power += shift
    # More than eighteen digits may have wrapped around.
    if at == REFUSED or length > INT_DIGITS or mantissa > MANTISSA_MAX or abs(power) > POWER_MAX:
        return 0.0, REFUSED
    if negative and mantissa == 0:
        return 0.0, REFUSED
    value = mantissa / POWERS[-power] if power < 0 else mantissa * POWERS[power]
    return -value if negative else value, at


def _exponent(at: Place) -> tuple[int, Place]:
    """Exponent of at most two digits whose E stands here, and the place behind it."""
    at += ONE
    negative = byte_at(at) == MINUS
    if negative or byte_at(at) == PLUS:
        at += ONE
    end = digits(at)
    if end == at or end - at > TWO:
        return 0, REFUSED
    value = byte_at(at) - ZERO
    if end - at == TWO:
        value = value * 10 + byte_at(at + ONE) - ZERO
    return -value if negative else value, end


def number_or_null(at: Place) -> tuple[float, Place]:
    """Number or null, which is NaN, that begins here, and the place behind it."""
    behind = match(at, _LITERALS, 0)
    return (np.nan, behind) if behind != REFUSED else number(at)


_LITERALS: Final = words_of("null", "true", "false")


def skip(at: Place) -> Place:
    """Place behind the value that begins here, whatever it is."""
    depth = 0
    objects = REFUSED  # one bit a level, the lowest the innermost: 1 is an object
    while True:
        c = byte_at(at)
        if c == OPEN_OBJECT or c == OPEN_LIST:
            depth += 1
            if depth > DEPTH_MAX:
                return REFUSED
            inside_object = c == OPEN_OBJECT
            objects = objects << ONE | np.uint64(inside_object)
            at += ONE
            if byte_at(at) != (CLOSE_OBJECT if inside_object else CLOSE_LIST):
                at = key(at) if inside_object else at
                if at == REFUSED:
                    return REFUSED
                continue
        else:
            at = _skip_scalar(at)
        if at != REFUSED:
            at, depth, objects = _close(at, depth, objects)
        if at == REFUSED or depth == 0:
            return at


def _close(at: Place, depth: int, objects: Place) -> tuple[Place, int, Place]:
    """Place of the next value behind a whole one, leaving what ends here."""
    while depth:
        inside_object = objects & ONE
        if byte_at(at) == COMMA:
            at += ONE
            return (key(at) if inside_object else at), depth, objects
        if byte_at(at) != (CLOSE_OBJECT if inside_object else CLOSE_LIST):
            return REFUSED, depth, objects
        at += ONE
        depth -= 1
        objects = objects >> ONE
    return at, depth, objects


def _skip_scalar(at: Place) -> Place:
    c = byte_at(at)
    if c == QUOTE:
        at = string(at)
        return at + ONE if at != REFUSED else REFUSED
    if c == MINUS or 0 <= c - ZERO <= 9:
        return _skip_number(at)
    for literal in range(3):
        behind = match(at, _LITERALS, literal)
        if behind != REFUSED:
            return behind
    return REFUSED


def _skip_number(at: Place) -> Place:
    first = at
    if byte_at(at) == MINUS:
        at += ONE
    end = digits(at)
    if not _is_whole(at, end):
        return REFUSED
    at = end
    if byte_at(at) == DOT:
        end = digits(at + ONE)
        if end == at + ONE:
            return REFUSED
        at = end
    if byte_at(at) == _SMALL_E or byte_at(at) == _LARGE_E:
        _, at = _exponent(at)
    return at if at - first <= SKIPPED_DIGITS_MAX else REFUSED
