"""Stage 1 of 8: recordings read back. What session.py handed over live comes again, in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np

from feeds.errors import JournalError
from feeds.record import Record, RecordType
from feeds.segments import COMPACTED, Tail, read_folder

_TYPES: Final = {int(kind): kind for kind in RecordType}
_DBN_MAGIC: Final = {".dbn": b"DBN", ".zst": b"\x28\xb5\x2f\xfd"}


@dataclass(slots=True)
class JournalSummary:
    """What reading a journal found so far; whole once the records are exhausted."""

    records: int = 0
    payload_bytes: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    closed: bool = False  # the last record is END: the run stopped in order
    truncated: bool = False  # the last segment ends in the middle of a batch
    lost_bytes: int = 0  # bytes of that piece


class JournalReader(Iterator[Record]):
    """The records of one journal, one batch in memory at a time; `summary` fills meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.summary = JournalSummary()
        self._records = self._read(folder)

    def __iter__(self) -> Iterator[Record]:  # noqa: PYI034
        """Give the generator itself, which saves a call per record."""
        return self._records

    def __next__(self) -> Record:
        """Give the next record, in the order of the log."""
        return next(self._records)

    def _read(self, folder: Path) -> Iterator[Record]:
        tail = Tail()
        for path, batch in read_folder(folder, tail):
            if batch.num_rows:
                yield from self._records_of(path, batch)
        self.summary.lost_bytes = tail.lost_bytes
        self.summary.truncated = tail.lost_bytes > 0

    def _records_of(self, path: Path, batch: Any) -> Iterator[Record]:
        summary = self.summary
        rx_ns, types, venues, connections, names, payloads = (
            column.to_numpy(zero_copy_only=False) for column in batch.columns
        )
        _check_order(path, rx_ns, summary)
        kinds = _checked_types(path, types.tolist(), summary.records)
        # Counted before they are handed out, so that nothing is counted per record.
        summary.records += len(rx_ns)
        summary.payload_bytes += sum(map(len, payloads))
        summary.first_ns = int(rx_ns[0]) if summary.first_ns is None else summary.first_ns
        summary.last_ns = int(rx_ns[-1])
        summary.closed = kinds[-1] is RecordType.END
        return map(
            Record,
            rx_ns.tolist(),
            kinds,
            venues.tolist(),
            connections.tolist(),
            names.tolist(),
            payloads.tolist(),
        )


def _check_order(path: Path, rx_ns: Any, summary: JournalSummary) -> None:
    before = rx_ns[0] if summary.last_ns is None else summary.last_ns
    steps = np.diff(rx_ns, prepend=before)
    if steps.min() < 0:
        row = int(np.argmax(steps < 0))
        last = int(rx_ns[row] - steps[row])
        raise JournalError(
            f"{path}: rx_ns of record {summary.records + row + 1} was {int(rx_ns[row])}, "
            f"expected at least {last}, the one before"
        )


def _checked_types(path: Path, types: list[int], before: int) -> list[RecordType]:
    try:
        return [_TYPES[value] for value in types]
    except KeyError as error:
        row = next(row for row, value in enumerate(types) if value not in _TYPES)
        raise JournalError(
            f"{path}: type of record {before + row + 1} was {types[row]}, "
            f"expected 1 to {max(_TYPES)}: written by a newer version?"
        ) from error


def read_journal(folder: Path) -> JournalReader:
    """Read a raw recording, segments or compacted, in the order of the log.

    A journal whose end is cut (a killed run) yields all its whole batches, and then its summary
    says `truncated` and how many bytes were lost.

    Raises:
        JournalError: while iterating: no journal, damaged, an unknown record type, or stamps
            that decrease; the message says file, record and value.
    """
    return JournalReader(folder)


class SourceKind(StrEnum):
    """What a SOURCE on the command line can be."""

    JOURNAL = "raw recording"
    TABLES = "table recording"
    DBN = "DBN file"


def journal_kind(path: Path) -> SourceKind:
    """Tell a raw recording from a table recording from DBN files, reading at most 4 bytes.

    Raises:
        JournalError: nothing there, or none of the three; the message says what was found.
    """
    if path.is_dir():
        if (path / COMPACTED).exists() or any(path.glob("segment-*.arrows")):
            return SourceKind.JOURNAL
        if any(path.glob("listings*.parquet")):
            return SourceKind.TABLES
        if dbn_paths(path):
            return SourceKind.DBN
        raise JournalError(
            f"{path}: holds neither a raw recording (segment-000001.arrows or {COMPACTED}) "
            "nor a table recording (listings.parquet) nor DBN files (.dbn, .dbn.zst)"
        )
    if not path.exists():
        raise JournalError(f"{path}: does not exist")
    return _file_kind(path)


def dbn_paths(folder: Path) -> list[Path]:
    """DBN files of a folder, by name; those of folders below it are not looked for."""
    return sorted(p for p in folder.iterdir() if p.name.endswith((".dbn", ".dbn.zst")))


def _file_kind(path: Path) -> SourceKind:
    if not path.name.endswith((".dbn", ".dbn.zst")):
        raise JournalError(
            f"{path}: is a file, expected the folder of a recording, or a .dbn or .dbn.zst file"
        )
    magic = _DBN_MAGIC[path.suffix]
    try:
        with path.open("rb") as file:
            head = file.read(len(magic))
    except OSError as error:
        raise JournalError(f"{path}: cannot be read: {error.strerror}") from error
    if head != magic:
        raise JournalError(f"{path}: begins with {head!r}, expected {magic!r}: not a DBN file")
    return SourceKind.DBN
