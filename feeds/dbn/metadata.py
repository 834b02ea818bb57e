"""Stage 1 of 8: the head of a DBN file: what it holds, and which id meant which symbol when."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from feeds.dbn.layout import UNDEF_TIME, VERSIONS
from feeds.errors import DbnError

PREFIX_BYTES: Final = 8  # "DBN", the version, the length of the rest
FIXED_BYTES: Final = 100
SYMBOL_BYTES_V1: Final = 22
STYPE_INSTRUMENT_ID: Final = 0
_EPOCH: Final = date(1970, 1, 1).toordinal()


class Mapping(NamedTuple):
    """One symbol had one id from `first_day` until before `end_day`, days since the Unix epoch."""

    symbol: str
    instrument_id: int
    first_day: int
    end_day: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """The head of one file.

    start_ns, end_ns: the range that was asked for, ns UTC; 0 and 2**63 - 1 where it is open.
    mappings: bytes of the symbol mappings, read on demand by `read_mappings`.
    """

    version: int
    dataset: str
    schema: int
    start_ns: int
    end_ns: int
    stype_out: int
    symbol_bytes: int
    mappings: bytes


def read_prefix(name: str, prefix: bytes) -> tuple[int, int]:
    """Version and length of the metadata, from the first 8 bytes of a file.

    Raises:
        DbnError: no DBN file, or a version that is not read here.
    """
    if prefix[:3] != b"DBN":
        raise DbnError(f"{name}: begins with {prefix[:3]!r}, expected b'DBN': not a DBN file")
    if len(prefix) < PREFIX_BYTES:
        raise DbnError(f"{name}: ends after {len(prefix)} bytes, expected the head of a DBN file")
    if prefix[3] not in VERSIONS:
        raise DbnError(f"{name}: format version was {prefix[3]}, expected 1 to {VERSIONS[-1]}")
    length: int = struct.unpack_from("<I", prefix, 4)[0]
    if length < FIXED_BYTES:
        raise DbnError(
            f"{name}: length of the metadata was {length}, expected {FIXED_BYTES} or more"
        )
    return prefix[3], length


def read_metadata(name: str, version: int, body: bytes, length: int) -> Metadata:
    """Read the metadata behind the prefix.

    Raises:
        DbnError: names the file and the field that cannot be read.
    """
    if len(body) < length:
        raise DbnError(f"{name}: metadata end after {len(body)} bytes, expected {length}")
    dataset = body[:16].rstrip(b"\0").decode("ascii", "replace")
    schema, start, end = struct.unpack_from("<HQQ", body, 16)
    at = 42 + (8 if version == 1 else 0)  # Version 1 has a record count here, which is not kept.
    stype_out = body[at + 1]
    symbol_bytes = SYMBOL_BYTES_V1
    if version > 1:
        symbol_bytes = struct.unpack_from("<H", body, at + 3)[0]
    if not 1 <= symbol_bytes <= 1024:
        raise DbnError(f"{name}: symbols of {symbol_bytes} bytes, expected 1 to 1024")
    cursor = _Cursor(name, body, FIXED_BYTES)
    cursor.skip(cursor.count())  # A schema definition, which no version has yet.
    for _ in ("symbols", "partial", "not_found"):
        cursor.skip(cursor.count() * symbol_bytes)
    end_ns = end if end != UNDEF_TIME and start < end < 2**63 else 2**63 - 1
    return Metadata(
        version, dataset, schema, start if start < 2**63 else 0, end_ns, stype_out, symbol_bytes,
        body[cursor.at :],
    )  # fmt: skip


def read_mappings(name: str, metadata: Metadata) -> Iterator[Mapping]:
    """Every interval in which a symbol had an id, in file order; none if ids are not the output.

    Raises:
        DbnError: while iterating; names the file and what cannot be read.
    """
    if metadata.stype_out != STYPE_INSTRUMENT_ID:
        return
    width = metadata.symbol_bytes
    interval = np.dtype([("start", "<u4"), ("end", "<u4"), ("id", f"S{width}")])
    cursor = _Cursor(name, metadata.mappings, 0)
    for _ in range(cursor.count()):
        symbol = cursor.take(width).rstrip(b"\0").decode("ascii", "replace")
        count = cursor.count()
        rows: Any = np.frombuffer(cursor.take(count * interval.itemsize), interval)
        for start, end, text in rows.tolist():
            if text.isdigit() and int(text) < 2**32:
                yield Mapping(symbol, int(text), _day(name, start), _day(name, end))


@lru_cache(maxsize=4096)
def _day(name: str, written: int) -> int:
    """Days since the Unix epoch of a date written as the number YYYYMMDD."""
    try:
        day = date(written // 10_000, written // 100 % 100, written % 100)
    except ValueError as error:
        raise DbnError(f"{name}: date of a mapping was {written}, expected YYYYMMDD") from error
    return day.toordinal() - _EPOCH


class _Cursor:
    """A place in the metadata that never leaves it."""

    def __init__(self, name: str, body: bytes, at: int) -> None:
        self.at = at
        self._name, self._body = name, body

    def take(self, count: int) -> bytes:
        start = self.at
        self.skip(count)
        return self._body[start : self.at]

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._body):
            raise DbnError(
                f"{self._name}: metadata speak of {self.at} bytes, expected at most "
                f"{len(self._body)}"
            )

    def count(self) -> int:
        found: int = struct.unpack("<I", self.take(4))[0]
        return found
