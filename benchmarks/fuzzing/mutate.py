"""Texts of a venue changed at random, by their bytes and by their structure.

JSON is edited as text and not as a tree, so that keys may stand twice, numbers be of any length and
what is already damaged be damaged further. Equal generators make equal texts.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

BYTES_MAX: Final = 4096  # of an input: more says little that fewer do not, and takes its time
ROUNDS: Final = (1, 1, 1, 1, 1, 1, 2, 2, 3, 5)  # changes of an input
DEPTHS: Final = (1, 2, 15, 16, 17, 100, 3000)
# Between these, whether msgspec takes a text depends on how deep its caller stands in Python's
# stack, and nothing can be compared.
DOUBTFUL_DEPTHS: Final = range(200, 2000)
TIMES: Final = (1, 2, 3, 10, 40)
_TOKEN: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*"|[-+]?[0-9][0-9.eE+-]*|[a-zA-Z_]+|[\[\]{},:]', re.DOTALL
)
STRANGE: Final = (
    b"null", b"true", b"false", b"{}", b"[]", b"[[]]", b"[null]", b'""', b'"0"', b'"-0"', b'"nan"',
    b'"inf"', b'"-1"', b'"1e5"', b'" 1"', b'"1_0"', b'"1."', b'".5"', b'"\\u0031"', b'"\xc3\xa9"', b'"\\ud800"',
    b'"\\u0000"', b'"9999999999999999999999"', b"0", b"-0", b"-0.0", b"1", b"-1", b"0.1", b"1e-400", b"1e400",
    b"1e308", b"5e-324", b"NaN", b"Infinity", b"01", b"1.", b".5", b"1e", b"9007199254740993",
    b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"18446744073709551616",
    b"4294967296", b"9223372036854", b"9223372036855", b"1e12", b"1e15", b"1.0000000000000001e15",
    b"0.30000000000000004", b"123456789012345678", b"1234567890123456789",
)  # fmt: skip
PIECES: Final = (
    b"", b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"0", b"-", b".", b"e9", b"E+2", b"\n", b"\r\n", b" ",
    b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf0\x9f\x92\xa9", b"9" * 20, b"0" * 40, b"null",
    b"\\u00e9", b"\\ud800", b"\\n", b"]]", b"}}", b",,", b'"":',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Part:
    """A place of a text: a value, or a member of an object with its key."""

    begin: int
    end: int
    key_end: int = -1  # behind the key and its colon; -1 of what has none


class Mutator:
    """Makes texts of texts.

    Args:
        rng: decides everything.
        words: JSON strings that the decoder knows, quotes included: keys, kinds, states.
    """

    def __init__(self, rng: random.Random, words: Sequence[bytes]) -> None:
        self.rng = rng
        self.words = (*words, b'"x"')
        self._of_structure = (
            self._replace, self._replace, self._take_over, self._take_over, self._drop, self._double, self._rename,
            self._number, self._number, self._swap, self._wrap, self._requote, self._add, self._escape, self._repeat,
        )  # fmt: skip
        self._of_bytes = (self._cut, self._flip, self._piece, self._piece, self._splice)

    def mutated(self, text: bytes, other: bytes) -> bytes:
        """The text with some changes; `other` lends it parts. What makes it too long is left out."""
        rng = self.rng
        for _ in range(rng.choice(ROUNDS)):
            parts = _parts(text) if rng.random() < 0.85 else []
            if parts:
                changed = rng.choice(self._of_structure)(text, parts, other)
            else:
                changed = rng.choice(self._of_bytes)(text, other)
            if len(changed) <= BYTES_MAX and _depth(changed) not in DOUBTFUL_DEPTHS:
                text = changed
        return text

    # Structure.

    def _replace(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        """Put another value in a place, more often than not of the kind that stands there."""
        leaves = [p for p in map(_value_of, parts) if text[p.begin : p.begin + 1] not in b"[{"]
        at = (
            self.rng.choice(leaves)
            if leaves and self.rng.random() < 0.7
            else _value_of(self.rng.choice(parts))
        )
        words = STRANGE if self.rng.random() < 0.7 else self.words
        if self.rng.random() < 0.6:
            kind = _kind(text[at.begin : at.begin + 1])
            words = [word for word in words if _kind(word[:1]) == kind] or words
        return _with(text, at, self.rng.choice(words))

    def _take_over(self, text: bytes, parts: list[_Part], other: bytes) -> bytes:
        """Put a value, or a member, of the other text in a place of this one."""
        at, of = self.rng.choice(parts), self.rng.choice(_parts(other) or parts)
        if at.key_end < 0 or of.key_end < 0:
            at, of = _value_of(at), _value_of(of)
        source = other if _parts(other) else text
        return _with(text, at, source[of.begin : of.end])

    def _drop(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        at = self.rng.choice(parts)
        end = at.end + (text[at.end : at.end + 1] == b",")
        begin = at.begin - (end == at.end and text[at.begin - 1 : at.begin] == b",")
        return text[:begin] + text[end:]

    def _double(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        at = self.rng.choice(parts)
        return text[: at.end] + b"," + text[at.begin :]

    def _repeat(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        at = self.rng.choice(parts)
        return repeated(text, at.begin, at.end, self.rng.choice(TIMES))

    def _rename(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        keyed = [part for part in parts if part.key_end >= 0]
        if not keyed:
            return text
        at = self.rng.choice(keyed)
        return text[: at.begin] + self.rng.choice(self.words) + text[at.key_end - 1 :]

    def _add(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        """Put a member of a known name beside another."""
        at = self.rng.choice(parts)
        value = self.rng.choice((*STRANGE, *self.words))
        added = self.rng.choice(self.words) + b":" + value if at.key_end >= 0 else value
        return text[: at.end] + b"," + added + text[at.end :]

    def _swap(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        one, two = sorted(self.rng.choices(parts, k=2), key=lambda part: part.begin)
        if one.end > two.begin:
            return text
        return (
            text[: one.begin] + text[two.begin : two.end] + text[one.end : two.begin]
            + text[one.begin : one.end] + text[two.end :]
        )  # fmt: skip

    def _wrap(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        at, depth = _value_of(self.rng.choice(parts)), self.rng.choice(DEPTHS)
        left, right = self.rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"[", b"")))
        return _with(text, at, left * depth + text[at.begin : at.end] + right * depth)

    def _requote(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        """Write a number as text, or a text as what stands in it."""
        at = _value_of(self.rng.choice(parts))
        value = text[at.begin : at.end]
        return _with(text, at, value[1:-1] if value[:1] == b'"' else b'"' + value + b'"')

    def _escape(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        """Write one character of a text as an escape: the same JSON in other bytes."""
        texts = [p for p in map(_value_of, parts) if text[p.begin : p.begin + 1] == b'"']
        texts = [part for part in texts if part.end - part.begin > 2]
        if not texts:
            return text
        part = self.rng.choice(texts)
        at = self.rng.randrange(part.begin + 1, part.end - 1)
        return text[:at] + b"\\u%04x" % text[at] + text[at + 1 :]

    def _number(self, text: bytes, parts: list[_Part], _other: bytes) -> bytes:
        """Change a number a little: its last digits, its sign, its length, its point, its power."""
        numbers = list(re.finditer(rb"-?[0-9]+(?:\.[0-9]+)?", text))
        if not numbers:
            return self._replace(text, parts, text)
        found = self.rng.choice(numbers)
        value, rng = found[0], self.rng
        if rng.random() < 0.3:
            small = rng.choice((b"0", b"-" + value, value + b"e300"))
            return text[: found.start()] + small + text[found.end() :]
        changed = rng.choice((
            b"-" + value, b"0" + value, value + b"0", value + b"1", value + b".5", value + b".", value + b"e2",
            value + b"e-7", value + b"E+30", value[:-1], b"0", value * 2, value[:1], b"0." + value, value + b"." + b"0" * 20,
            b"%d" % (int(value.split(b".")[0]) + rng.choice((-1, 1, -1000, 1000, 2**31, 2**63))),
            b"%d" % rng.randrange(10 ** rng.randrange(1, 20)),
        ))  # fmt: skip
        return text[: found.start()] + changed + text[found.end() :]

    # Bytes.

    def _cut(self, text: bytes, _other: bytes) -> bytes:
        return text[: self.rng.randrange(len(text) + 1)]

    def _flip(self, text: bytes, _other: bytes) -> bytes:
        if not text:
            return text
        at = self.rng.randrange(len(text))
        return text[:at] + bytes([text[at] ^ 1 << self.rng.randrange(8)]) + text[at + 1 :]

    def _piece(self, text: bytes, _other: bytes) -> bytes:
        at, gone = self.rng.randrange(len(text) + 1), self.rng.choice((0, 0, 1, 2, 8, 400))
        return text[:at] + self.rng.choice(PIECES) + text[at + gone :]

    def _splice(self, text: bytes, other: bytes) -> bytes:
        at, of = self.rng.randrange(len(text) + 1), self.rng.randrange(len(other) + 1)
        return text[:at] + other[of:]


def repeated(text: bytes, begin: int, end: int, times: int) -> bytes:
    """The text with so many more copies of a part behind it."""
    return text[:end] + (b"," + text[begin:end]) * times + text[end:]


def elements_of(text: bytes) -> list[tuple[int, int]]:
    """Where the values, and the members with their keys, of a text stand."""
    return [(part.begin, part.end) for part in _parts(text)]


def _depth(text: bytes) -> int:
    """How many lists and objects are open at the most, strings counted as if they were none."""
    if text.count(b"[") + text.count(b"{") < DOUBTFUL_DEPTHS.start:
        return 0
    steps = (1 if byte in b"[{" else -1 for byte in text if byte in b"[]{}")
    return max(accumulate(steps))


def _kind(first: bytes) -> str:
    """Kind of a JSON value by its first byte: of a literal that byte."""
    if first in b"-0123456789.":
        return "number"
    return first.decode(errors="replace")


def _value_of(part: _Part) -> _Part:
    return part if part.key_end < 0 else _Part(part.key_end, part.end)


def _with(text: bytes, at: _Part, value: bytes) -> bytes:
    return text[: at.begin] + value + text[at.end :]


def _parts(text: bytes) -> list[_Part]:
    """Values and members of a text, as far as it looks like JSON."""
    found: list[_Part] = []
    open_at: list[tuple[int, int]] = []  # where a container's part began, and behind its key
    key: tuple[int, int] | None = (
        None  # where the key before the next value began, and its colon's end
    )
    last: tuple[int, int] | None = None
    for token in _TOKEN.finditer(text):
        word, begin, end = token[0], token.start(), token.end()
        if word in (b"[", b"{"):
            open_at.append(key or (begin, -1))
        elif word in (b"]", b"}") and open_at:
            start, key_end = open_at.pop()
            found.append(_Part(start, end, key_end))
        elif word == b":" and last is not None:
            key = (last[0], end)
            if found and found[-1].end == last[1]:
                found.pop()  # That was no value.
            continue
        elif word not in (b",", b":", b"]", b"}"):
            start, key_end = key or (begin, -1)
            found.append(_Part(start, end, key_end))
            last = (begin, end)
        key = None
    return found
