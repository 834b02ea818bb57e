"""Stage 2 of 8: values of the subset of JSON that byte scanners understand.

Every function takes the place where a value must begin and gives the place behind it, or REFUSED.
No function looks at where the bytes end: behind every frame stands a line feed, which is no part of
any value, and behind the last one a few more, so that no word reaches beyond them.

A place is an address, and what is found is written at addresses: one word says where everything is,
and nothing is handed along beside it. Names are compared and searched eight bytes at a time. Signed
and unsigned numbers together would become a float, hence the typed constants.
"""

import ctypes
from typing import Any, Final

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
_ZEROS: Final = np.uint64(0x3030303030303030)
_TO_TOP_BIT: Final = np.uint64(0x7676767676767676)  # a byte above 9 gets its top bit by adding it
_DOTS: Final = np.uint64(0x1E1E1E1E1E1E1E1E)  # a dot less the zero that every byte is less there
_BYTE: Final = np.uint64(0xFF)
_TO_TOP_BYTE: Final = np.uint64(56)
_SEVEN: Final = np.uint64(7)
_TENS: Final = np.uint64(10)
_PAIRS: Final = np.uint64(0x000000FF000000FF)
_FIRST_PAIRS: Final = np.uint64(0x000F424000000064)  # 10**6 and 100
_SECOND_PAIRS: Final = np.uint64(0x0000271000000001)  # 10**4 and 1
_THREE: Final = np.uint64(3)
_SIXTEEN: Final = np.uint64(16)
_TWENTY_FOUR: Final = np.uint64(24)
_HALF: Final = np.uint64(32)
_WHOLE_POWERS: Final = np.array([10**power for power in range(19)])

TEXT_MAX: Final = 32
PADDING: Final = 40  # line feeds behind the last frame


def byte_at(at: Place) -> int:
    """Byte at an address; its compiled version is in compile.py."""
    return ctypes.c_uint8.from_address(int(at)).value


def word_at(at: Place) -> np.uint64:
    """Eight bytes at an address, the first one lowest; its compiled version is in compile.py."""
    return np.uint64(int.from_bytes(ctypes.string_at(int(at), 8), "little"))


def first_byte(marked: np.uint64) -> np.uint64:
    """Number of the first byte of a word whose top bit is set; its compiled version as above."""
    bits = int(marked)
    return np.uint64((bits & -bits).bit_length() - 1 >> 3)


def put_int(at: Place, value: int | np.integer[Any]) -> None:
    """Write a signed word at an address; its compiled version is in compile.py."""
    ctypes.c_int64.from_address(int(at)).value = int(value)


def put_float(at: Place, value: float) -> None:
    """Write a float64 at an address; its compiled version is in compile.py."""
    ctypes.c_double.from_address(int(at)).value = float(value)


def words_of(*texts: str) -> Words:
    """Texts of 1 to 32 bytes for `find` and `match`, [length, four words and their masks; text].

    A mask has the bits of the bytes that count.
    """
    table = np.zeros((9, len(texts)), np.uint64)
    for number, text in enumerate(texts):
        assert 1 <= len(text) <= TEXT_MAX, text
        table[0, number] = len(text)
        table[1:5, number] = np.frombuffer(text.encode().ljust(TEXT_MAX, b"\0"), np.uint64)
        table[5:, number] = np.frombuffer((b"\xff" * len(text)).ljust(TEXT_MAX, b"\0"), np.uint64)
    return table


def keys_of(*keys: str) -> Words:
    """Keys for `member`, with their quotes and colon."""
    return words_of(*(f'"{key}":' for key in keys))


def match(at: Place, table: Words, number: int) -> Place:
    """Place behind text `number` of a table, which must stand here."""
    column = np.uint64(number)  # what is signed may count from the end, which takes instructions
    if word_at(at) & table[5, column] != table[1, column]:
        return REFUSED
    if table[0, column] > EIGHT:
        different = (
            (word_at(at + EIGHT) & table[6, column] ^ table[2, column])
            | (word_at(at + _SIXTEEN) & table[7, column] ^ table[3, column])
            | (word_at(at + _TWENTY_FOUR) & table[8, column] ^ table[4, column])
        )
        if different:
            return REFUSED
    return np.uint64(at + table[0, column])


def find(at: Place, table: Words, guess: int) -> tuple[int, Place]:
    """Number of the text that stands here, -1 if none, and the place behind it.

    `guess` is tried first and the others after it in their order: what comes in that order, with
    gaps, is found soon.
    """
    count = table.shape[1]
    for step in range(count):
        number = guess + step
        if number >= count:
            number -= count
        behind = match(at, table, number)
        if behind != REFUSED:
            return number, behind
    return -1, REFUSED


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
            at += first_byte(marked)
            return at if byte_at(at) == QUOTE else REFUSED
        at += EIGHT


def line_end(at: Place) -> Place:
    """Place of the next line feed."""
    while True:
        feeds = word_at(at) ^ _LINE_FEEDS
        marked = (feeds - _ONES) & ~feeds & _TOPS
        if marked:
            return at + first_byte(marked)
        at += EIGHT


def key(at: Place) -> Place:
    """Place behind the key that begins here and its colon."""
    at = string(at)
    return at + TWO if at != REFUSED and byte_at(at + ONE) == COLON else REFUSED


def member(at: Place, keys: Words, guess: int) -> tuple[int, int, Place]:
    """Number and bit (-1 and 0 if unknown) of the key behind a brace or comma; place of its value.

    A refused key is -1, 0, REFUSED. `guess` is as for `find`, and may be one behind the last.
    """
    found, behind = find(at + ONE, keys, guess)
    if found < 0:
        return -1, 0, key(at + ONE)
    return found, 1 << found, behind


def skip_member(at: Place) -> Place:
    """Place behind the value of an unknown key, whose place `member` gave."""
    return skip(at) if at != REFUSED else REFUSED


def skip_text(at: Place) -> Place:
    """As `skip`, soonest where a string begins."""
    if byte_at(at) != QUOTE:
        return skip(at)
    at = string(at)
    return at + ONE if at != REFUSED else REFUSED


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
    while True:
        others = _no_digits(word_at(at))
        if others:
            return at + first_byte(others)
        at += EIGHT


def _no_digits(word: np.uint64) -> np.uint64:
    """Top bits of the bytes that are no digits; what is marked beyond the first one may be one."""
    digits = word ^ _ZEROS
    return (digits + _TO_TOP_BIT | digits) & _TOPS


def _digits_of(word: np.uint64) -> tuple[np.int64, np.uint64]:
    """Value of the digits that a word begins with, and how many they are, eight at most."""
    others = _no_digits(word)
    count = first_byte(others) if others else EIGHT
    if count == REFUSED:
        return np.int64(0), count
    return _eight_digits((word ^ _ZEROS) << ((EIGHT - count) << _THREE)), count


def _eight_digits(digits: np.uint64) -> np.int64:
    """Whole number of eight digits, the first in the lowest byte, by pairs and fours."""
    digits = digits * _TENS + (digits >> EIGHT)
    value = (digits & _PAIRS) * _FIRST_PAIRS + (digits >> _SIXTEEN & _PAIRS) * _SECOND_PAIRS
    return np.int64(value >> _HALF)


def _whole(at: Place) -> tuple[np.int64, Place]:
    """Value of the digits that begin here, right if they are at most eighteen; place behind."""
    value, count = _digits_of(word_at(at))
    at += count
    while count == EIGHT:
        more, count = _digits_of(word_at(at))
        value = value * _WHOLE_POWERS[count] + more
        at += count
    return value, at


def integer(at: Place) -> tuple[np.int64, Place]:
    """Whole number >= 0 of at most 18 digits that begins here, and the place behind it."""
    value, end = _whole(at)
    if not _is_whole(at, end) or end - at > INT_DIGITS:
        return np.int64(0), REFUSED
    return value, end


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
    mantissa, at = _whole(at)
    if not _is_whole(begin, at):
        return 0.0, REFUSED
    length = at - begin
    power = np.int64(0)
    if byte_at(at) == DOT:
        begin = at + ONE
        part, at = _whole(begin)
        length += at - begin
        # More than eighteen digits may have wrapped around.
        if at == begin or length > INT_DIGITS:
            return 0.0, REFUSED
        mantissa = mantissa * _WHOLE_POWERS[at - begin] + part
        power = -np.int64(at - begin)
    if byte_at(at) == _SMALL_E or byte_at(at) == _LARGE_E:
        shift, at = _exponent(at)
        power += shift
    if at == REFUSED or length > INT_DIGITS or mantissa > MANTISSA_MAX or abs(power) > POWER_MAX:
        return 0.0, REFUSED
    if negative and mantissa == 0:
        return 0.0, REFUSED
    value = mantissa / POWERS[-power] if power < 0 else mantissa * POWERS[power]
    return -value if negative else value, at


def quoted_number(at: Place) -> tuple[float, Place]:
    """Number in quotes that begins here, read as `number` reads it, and the place behind them."""
    if byte_at(at) != QUOTE:
        return 0.0, REFUSED
    begin = at + ONE
    negative = byte_at(begin) == MINUS
    if negative:
        begin += ONE
    first, second, length = _bytes_to_quote(begin)
    first, second, whole = _dot_taken(first, second, length)
    count = length if whole == length else length - ONE
    odd = (first | (first + _TO_TOP_BIT) | second | (second + _TO_TOP_BIT)) & _TOPS
    mantissa = _digits_in(first, second, count)
    # Too long, an E, no digit before or behind a dot, needless zeros, minus zero: read with care.
    if odd or not whole or (whole == count and whole != length) or (
        (first & _BYTE) == 0 and (whole != ONE or (negative and not mantissa))
    ):  # fmt: skip
        return _rare_number(at)
    value = mantissa / POWERS[count - whole]
    return -value if negative else value, begin + length + ONE


def _rare_number(at: Place) -> tuple[float, Place]:
    """As `quoted_number`, by `number`; the quote stands."""
    value, behind = number(at + ONE)
    if behind == REFUSED or byte_at(behind) != QUOTE:
        return 0.0, REFUSED
    return value, behind + ONE


def _bytes_to_quote(at: Place) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Up to fifteen bytes before a quote, each less a zero, and how many; no more are looked at."""
    first, second = word_at(at), REFUSED
    quotes = first ^ _QUOTES
    marked = (quotes - _ONES) & ~quotes & _TOPS
    if marked:
        return (first ^ _ZEROS) & _below(marked), second, first_byte(marked)
    second = word_at(at + EIGHT)
    quotes = second ^ _QUOTES
    marked = (quotes - _ONES) & ~quotes & _TOPS
    if marked:
        return first ^ _ZEROS, (second ^ _ZEROS) & _below(marked), EIGHT + first_byte(marked)
    return REFUSED, REFUSED, REFUSED


def _dot_taken(
    first: np.uint64, second: np.uint64, length: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64]:
    """The same bytes without the first dot, and how many stand before it: all if there is none."""
    dots = first ^ _DOTS
    marked = (dots - _ONES) & ~dots & _TOPS
    if marked:
        below = _below(marked)
        moved = (first >> EIGHT) | (second << _TO_TOP_BYTE)
        return (first & below) | (moved & ~below), second >> EIGHT, first_byte(marked)
    dots = second ^ _DOTS
    marked = (dots - _ONES) & ~dots & _TOPS
    if marked:
        below = _below(marked)
        second = (second & below) | ((second >> EIGHT) & ~below)
        return first, second, EIGHT + first_byte(marked)
    return first, second, length


def _below(marked: np.uint64) -> np.uint64:
    """Mask of the bytes of a word before the first whose top bit is set."""
    return np.uint64(((marked & (~marked + ONE)) >> _SEVEN) - ONE)


def _digits_in(first: np.uint64, second: np.uint64, count: np.uint64) -> np.int64:
    """Whole number of up to fifteen digits, one a byte."""
    if count <= EIGHT:
        return _eight_digits(first << ((EIGHT - count) << _THREE)) if count else np.int64(0)
    rest = count - EIGHT
    low = _eight_digits(second << ((EIGHT - rest) << _THREE))
    return np.int64(_eight_digits(first) * _WHOLE_POWERS[rest] + low)


def quoted_integer(at: Place) -> tuple[np.int64, Place]:
    """Whole number >= 0 in quotes that begins here, and the place behind it."""
    value, behind = integer(at + ONE)
    if behind == REFUSED or byte_at(at) != QUOTE or byte_at(behind) != QUOTE:
        return np.int64(0), REFUSED
    return value, behind + ONE


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
    value, behind = number(at)
    if behind == REFUSED:
        return np.nan, match(at, _LITERALS, 0)
    return value, behind


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
