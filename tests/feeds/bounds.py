"""Byte scanners over damaged frames: addresses know no bounds, so the bounds are checked here."""

from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import strategies as st

from feeds.bytescan import grammar, scanner
from feeds.bytescan.scanner import ByteScanner

BYTE_AT, WORD_AT = grammar.byte_at, grammar.word_at
PUT_INT, PUT_FLOAT = grammar.put_int, grammar.put_float
PIECES = [b"", b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"0", b"-", b"9" * 20, b"e9", b"\n",
          b"\x00", b"\xff", b'"bids":[]', b"]]", b"null"]  # fmt: skip


class Bounds:
    """Memory primitives that refuse an address outside the text or the rooms of one scan."""

    def __init__(self, scans: ByteScanner, module: ModuleType) -> None:
        self.scans, self.module = scans, module
        self.readable = self.writable = ((0, 0),)

    def inside(self, at: Any, width: int, places: tuple[tuple[int, int], ...]) -> None:
        assert any(begin <= int(at) and int(at) + width <= end for begin, end in places)

    def byte_at(self, at: Any) -> int:
        self.inside(at, 1, self.readable)
        return BYTE_AT(at)

    def word_at(self, at: Any) -> Any:
        self.inside(at, 8, self.readable)
        return WORD_AT(at)

    def put_int(self, at: Any, value: Any) -> None:
        self.inside(at, 8, self.writable)
        PUT_INT(at, value)

    def put_float(self, at: Any, value: Any) -> None:
        self.inside(at, 8, self.writable)
        PUT_FLOAT(at, value)

    def scan(self, kinds: Any, *places: Any) -> Any:
        first, *rooms = map(int, places)
        self.readable = ((first, first + self.text_bytes),)
        self.writable = ((rooms[0], rooms[1]), (rooms[2], rooms[3]), (rooms[4], rooms[5]))
        return self.scans.scan(kinds, *places)

    def over(self, frames: list[bytes]) -> None:
        """Scan frames in plain Python; an address out of bounds is an AssertionError."""
        self.text_bytes = sum(map(len, frames)) + len(frames) + len(scanner._PADDING)
        names = ("byte_at", "word_at", "put_int", "put_float")
        watched = {name: getattr(self, name) for name in names}
        own = {name: of for name, of in watched.items() if hasattr(self.module, name)}
        with (
            mock.patch.multiple(grammar, **watched),
            mock.patch.multiple(self.module, **own),
            np.errstate(over="ignore"),
        ):
            self.scans.found(self.scan, frames)


@st.composite
def damaged(draw: st.DrawFn, whole: list[bytes]) -> list[bytes]:
    """One to four frames of some whole ones, cut, spliced and overwritten."""
    frames = []
    for _ in range(draw(st.integers(1, 4))):
        frame = draw(st.sampled_from(whole))
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(frame)))
            gone = draw(st.sampled_from([0, 1, 1, 2, 8, 400]))
            frame = frame[:at] + draw(st.sampled_from(PIECES)) + frame[at + gone :]
        frames.append(frame)
    return frames
