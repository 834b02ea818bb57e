"""Stage 1 of 8: DBN files, plain or zstd, as runs of records; one block in memory at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feeds.dbn.layout import HEADER_BYTES
from feeds.dbn.metadata import PREFIX_BYTES, Metadata, read_metadata, read_prefix
from feeds.errors import DbnError

BLOCK_BYTES: Final = 1 << 20  # Small enough for a core's cache, large enough for few calls.
SALVAGE_BYTES: Final = 64  # Smaller than a record with a quote, so none is lost beside damage.


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one kind and length that stand one behind another; borrowed until the next.

    rtype: kind of the records.
    raw: uint8[record, byte].
    """

    rtype: int
    raw: NDArray[np.uint8]

    def records(self, layout: np.dtype[Any]) -> NDArray[Any]:
        """View as records; what a record has beyond the layout is left out."""
        return np.ndarray(len(self.raw), layout, buffer=self.raw.data, strides=(self.raw.shape[1],))


class DbnFile:
    """One file.

    Attributes:
        path: the file.
        metadata: its head.
        fault: why the records end before the file does; None while they do not.
        lost_bytes: bytes behind the last whole record, where that is known.
    """

    def __init__(self, path: Path, block_bytes: int = BLOCK_BYTES) -> None:
        """Read the head.

        Raises:
            DbnError: cannot be read, no DBN file, another version, or a damaged head.
        """
        self.path = path
        self.fault: str | None = None
        self.lost_bytes = 0
        self._block_bytes = block_bytes
        with _open(path) as source:
            try:
                version, length = read_prefix(str(path), _read(source, PREFIX_BYTES))
                body = _read(source, length)
            except OSError as error:
                raise DbnError(f"{path}: cannot be read: {error}") from error
        self._begin = PREFIX_BYTES + length
        self.metadata: Metadata = read_metadata(str(path), version, body, length)

    def runs(self) -> Iterator[Run]:
        """Every whole record, in file order. Afterwards `fault` says whether that was all."""
        self.fault, self.lost_bytes = None, 0
        rest, at = b"", self._begin
        blocks = self._blocks()
        for block in blocks:
            data = rest + block
            used = 0
            while (run := run_at(data, used)) is not None:
                used += run.raw.size
                yield run
            at += used
            rest = data[used:]
            if rest and rest[0] * 4 < HEADER_BYTES:
                lost = len(rest) + sum(map(len, blocks))
                self._break(f"a record of {rest[0] * 4} bytes", at, lost)
                return
        if rest and self.fault is None:
            self._break("the end of the file within a record", at, len(rest))
        self.lost_bytes = len(rest)

    def _break(self, what: str, at: int, lost: int) -> None:
        self.fault = f"{self.path}: {what} at byte {at} of the records' stream, expected a record"
        self.lost_bytes = lost

    def _blocks(self) -> Iterator[bytes]:
        """The bytes behind the head; those before damage, then an end, with `fault` set."""
        done = self._begin
        try:
            with _open(self.path) as source:
                _skip(source, done)
                while block := source.read(self._block_bytes):
                    done += len(block)
                    yield block
        except OSError as error:
            self.fault = f"{self.path}: damaged behind byte {done} of the records' stream: {error}"
            yield from self._salvage(done)

    def _salvage(self, done: int) -> Iterator[bytes]:
        """What can still be read of the block that failed, in small pieces."""
        try:
            with _open(self.path) as source:
                _skip(source, done)
                while block := source.read(SALVAGE_BYTES):
                    yield block
        except OSError:
            return  # The fault is known already.


def _open(path: Path) -> "IO[bytes]":
    """Open for reading, decompressed; files of several zstd frames are read as one."""
    try:
        if path.suffix == ".zst":
            found: IO[bytes] = pa.input_stream(str(path), compression="zstd")
            return found
        return path.open("rb")
    except OSError as error:
        raise DbnError(f"{path}: cannot be read: {error}") from error


def _read(source: "IO[bytes]", count: int) -> bytes:
    """Up to `count` bytes; a length that lies takes no more memory than the file has bytes."""
    parts: list[bytes] = []
    while count > 0 and (part := source.read(min(count, BLOCK_BYTES))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _skip(source: "IO[bytes]", count: int) -> None:
    while count > 0 and (part := source.read(min(count, BLOCK_BYTES))):
        count -= len(part)


def run_at(data: bytes, at: int) -> Run | None:
    """The records from a place on that have one kind and length; None if no whole one is there."""
    length = data[at] * 4 if at < len(data) else 0
    whole = (len(data) - at) // length if length >= HEADER_BYTES else 0
    if not whole:
        return None
    raw = np.frombuffer(data, np.uint8, whole * length, at).reshape(whole, length)
    # Looked at in growing stretches: a file of mixed kinds must not be looked at over and over.
    first, step = 1, 64
    while first < whole:
        stretch = raw[first : first + step]
        same = (stretch[:, 0] == data[at]) & (stretch[:, 1] == data[at + 1])
        if not same.all():
            first += int(same.argmin())
            break
        first, step = first + len(stretch), step * 4
    return Run(data[at + 1], raw[: min(first, whole)])
