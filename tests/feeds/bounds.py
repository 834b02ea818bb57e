"""Byte scanners over damaged frames: addresses know no bounds, so the bounds are checked here."""

from contextlib import ExitStack
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import strategies as st

from feeds.bytescan import grammar, names, quoted, rows, scanner
from feeds.bytescan.scanner import ByteScanner
from feeds.columns import Ints
from feeds.events import FRAME, TICKER
from feeds.symbols import Symbols

BYTE_AT, WORD_AT = grammar.byte_at, grammar.word_at
PUT_INT, PUT_FLOAT = grammar.put_int, grammar.put_float
PIECES = [b"", b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"0", b"-", b"9" * 20, b"e9", b"\n",
          b"\x00", b"\xff", b'"bids":[]', b"]]", b"null"]  # fmt: skip


class Bounds:
    """Memory primitives that refuse an address outside the text or the rooms of one scan."""

    def __init__(self, scans: ByteScanner, module: ModuleType) -> None:
        self.scans, self.modules = scans, (grammar, names, quoted, module)
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
        self.writable = ((rooms[0], rooms[1]), (rooms[2], rooms[3]), (rooms[4], rooms[5]))
        self.readable = ((first, first + self.text_bytes), *self.writable)
        return self.scans.scan(kinds, *places)

    def over(self, frames: list[bytes], ids: dict[str, int]) -> None:
        """Scan frames in plain Python, and make rows; what is out of bounds is an error."""
        symbols = Symbols(ids)
        self.text_bytes = sum(map(len, frames)) + len(frames) + len(scanner._PADDING)
        primitives = ("byte_at", "word_at", "put_int", "put_float")
        watched = {name: getattr(self, name) for name in primitives}
        with ExitStack() as stack:
            for module in self.modules:
                own = {name: of for name, of in watched.items() if hasattr(module, name)}
                stack.enter_context(mock.patch.multiple(module, **own))
            stack.enter_context(np.errstate(over="ignore"))
            found = self.scans.found(self.scan, frames)
            self.readable += tuple(
                (area.ctypes.data, area.ctypes.data + area.nbytes) for area in symbols.areas
            )
            self.rows_of(found, symbols)

    def rows_of(self, found: scanner.Found, symbols: Symbols) -> None:
        """Write rows into arrays of just the room they need, whose indexes numpy checks."""
        table = symbols.table
        received = np.zeros(len(found.kinds), np.int64)
        kept, levels, *_ = rows.listed_updates(
            *table, found.updates, found.rows, received, self.scans.prints_within_ns
        )
        updates, levels = found.updates[:kept], found.rows[:levels]
        rows.write_updates(
            updates, levels, levels.view(np.float64), received, 0,
            np.empty(len(levels), rows.CODED_EVENT), np.empty(kept, FRAME), *empty(2, kept),
        )  # fmt: skip
        tickers, kept = found.tickers, len(found.tickers)
        rows.write_tickers(
            *table, tickers, tickers.view(np.float64), received, True, np.empty(kept, TICKER),
            *empty(1, kept),
        )  # fmt: skip


def empty(count: int, length: int) -> Ints:
    return np.empty((count, length), np.int64)


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
