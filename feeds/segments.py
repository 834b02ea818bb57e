"""Stage 1 of 8: the journal's files.

Arrow IPC stream segments while a run is recorded, one Parquet file when it is compacted; both
hold the same columns in the same order. A folder holds one run:

    segment-000001.arrows ...   written batch by batch; readable to the last whole batch
    journal.parquet             zstd; stands only when complete, and then replaces all segments
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from feeds.errors import JournalError
from feeds.record import JournalCounts, Record

FORMAT: Final = {b"format": b"cross-market-scanner journal", b"version": b"1"}
SCHEMA: Final = pa.schema(
    [
        pa.field("rx_ns", pa.int64(), nullable=False),
        pa.field("type", pa.uint8(), nullable=False),
        pa.field("venue", pa.utf8(), nullable=False),
        pa.field("connection", pa.int32(), nullable=False),
        pa.field("name", pa.utf8(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
    ],
    metadata=FORMAT,
)
COMPACTED: Final = "journal.parquet"
LOST_BYTES: Final = b"lost_bytes"
ROW_GROUP_BYTES: Final = 16 << 20  # Bounds the memory of compaction and of reading it back.
CONTINUATION: Final = b"\xff\xff\xff\xff"  # Every Arrow IPC message begins so.
HEADER: Final = SCHEMA.serialize().to_pybytes()
HEADER_DAMAGE_BYTES: Final = 32  # Two layouts of the same fields differ in far more.
END_OF_STREAM: Final = CONTINUATION + bytes(4)
READ_ROWS: Final = 4096


def segment_path(folder: Path, number: int) -> Path:
    """Path of one segment; numbers begin at 1."""
    return folder / f"segment-{number:06d}.arrows"


def segment_paths(folder: Path) -> list[Path]:
    """Paths of the segments of a folder, in order.

    Raises:
        JournalError: a segment between the first and the last is not there.
    """
    found = sorted(folder.glob("segment-*.arrows"))
    for number, path in enumerate(found, 1):
        if path != segment_path(folder, number):
            raise JournalError(f"{folder}: found {path.name}, expected segment {number} there")
    return found


def lock_folder(folder: Path) -> int:
    """Take the folder for writing until the returned descriptor is closed or the process dies.

    Raises:
        JournalError: another writer has it, or it cannot be opened.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise JournalError(f"{folder}: cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise JournalError(f"{folder}: is still being written") from error
    return descriptor


def columns_of(records: list[Record]) -> Any:
    """Arrow record batch with the records as rows."""
    return pa.record_batch(
        [
            pa.array([record.rx_ns for record in records], pa.int64()),
            pa.array([int(record.type) for record in records], pa.uint8()),
            pa.array([record.venue for record in records], pa.utf8()),
            pa.array([record.connection for record in records], pa.int32()),
            pa.array([record.name for record in records], pa.utf8()),
            pa.array([record.payload for record in records], pa.binary()),
        ],
        schema=SCHEMA,
    )


def _open_new(path: Path) -> BinaryIO:
    return path.open("xb")


class SegmentWriter:
    """Appends batches to segments; used by the journal's thread alone once it runs."""

    def __init__(
        self,
        folder: Path,
        segment_bytes: int,
        counts: JournalCounts,
        open_file: Callable[[Path], BinaryIO] | None = None,
    ) -> None:
        """Take a folder for one run.

        Raises:
            JournalError: the folder cannot be made, holds a recording, or is being written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"{folder}: cannot be made: {error.strerror}") from error
        self._lock = lock_folder(folder)
        if segment_paths(folder) or (folder / COMPACTED).exists():
            os.close(self._lock)
            raise JournalError(f"{folder}: already holds a recording, expected an empty folder")
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._counts = counts
        self._open_file = open_file or _open_new
        codec = "lz4" if pa.Codec.is_available("lz4") else None
        self._options = pa.ipc.IpcWriteOptions(compression=codec)
        self._file: BinaryIO | None = None
        self._stream: Any = None

    def write(self, records: list[Record]) -> str | None:
        """Append one batch and give it to the operating system; returns what went wrong."""
        try:
            batch = columns_of(records)
            file = self._file or self._open_segment()
            before = file.tell()
            self._stream.write_batch(batch)
            file.flush()
            end = file.tell()
            self._counts.records_written += len(records)
            self._counts.batches_written += 1
            self._counts.bytes_written += end - before
            if end >= self._segment_bytes:
                self._close_segment(file)
        except (OSError, ValueError, pa.ArrowException) as error:
            self._abandon()
            return f"{segment_path(self._folder, self._counts.segments)}: {error}"
        return None

    def close(self) -> str | None:
        """End the open segment and release the folder; returns what went wrong."""
        failure = None
        try:
            if self._file is not None:
                self._close_segment(self._file)
        except (OSError, ValueError, pa.ArrowException) as error:
            self._abandon()
            failure = f"{segment_path(self._folder, self._counts.segments)}: {error}"
        os.close(self._lock)
        return failure

    def _open_segment(self) -> BinaryIO:
        path = segment_path(self._folder, self._counts.segments + 1)
        file = self._open_file(path)
        self._file = file
        self._counts.segments += 1
        self._stream = pa.ipc.new_stream(file, SCHEMA, options=self._options)
        os.fsync(self._lock)  # The folder's own entry for the new segment.
        return file

    def _close_segment(self, file: BinaryIO) -> None:
        self._stream.close()
        file.flush()
        os.fsync(file.fileno())
        file.close()
        self._file = self._stream = None

    def _abandon(self) -> None:
        """Leave the segment as the failure left it: readable to its last whole batch."""
        file, self._file, self._stream = self._file, None, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


@dataclass(slots=True)
class Tail:
    """What reading found at the end of a segment."""

    lost_bytes: int = 0  # bytes after the last whole batch
    ended: bool = False  # the segment was closed in order


def read_segment(path: Path, tail: Tail) -> Iterator[Any]:
    """Yield the whole batches of one segment and say in `tail` how it ended.

    A segment cut anywhere yields all batches before the cut; so does one whose end is zeros
    (a file system may have grown it before the power went).

    Raises:
        JournalError: not a segment, or damaged other than by being cut.
    """
    with pa.OSFile(str(path)) as file:
        whole = 0
        schema = None
        while True:
            try:
                message = pa.ipc.read_message(file)
            except EOFError:
                tail.ended = _ends_at(path, whole)
                if not tail.ended:
                    tail.lost_bytes = _cut_bytes(path, whole, "bytes after its end")
                return
            except (OSError, pa.ArrowException) as error:
                tail.lost_bytes = _cut_bytes(path, whole, str(error))
                return
            try:
                if schema is None:
                    schema = _read_header(path, message, file.tell())
                else:
                    batch = pa.ipc.read_record_batch(message, schema)
                    batch.validate(full=True)  # A damaged offset would read foreign memory.
                    yield batch
            except (OSError, ValueError, pa.ArrowException) as error:
                raise JournalError(f"{path}: damaged at byte {whole}: {error}") from error
            whole = file.tell()


def _ends_at(path: Path, offset: int) -> bool:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(len(END_OF_STREAM) + 1) == END_OF_STREAM


def _cut_bytes(path: Path, offset: int, what: str) -> int:
    """Size of what stands after the last whole batch: the beginning of a message, or zeros.

    Raises:
        JournalError: it is neither, so the segment was not cut but damaged.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(offset)
        head = file.read(len(CONTINUATION))
        if CONTINUATION.startswith(head):
            return size - offset
        while head and not any(head):
            head = file.read(1 << 20)
        if not head:
            return size - offset
    where = "not a segment of a journal" if offset == 0 else f"damaged at byte {offset}"
    raise JournalError(f"{path}: {where}: {what}")


def _read_header(path: Path, message: Any, size: int) -> Any:
    """Schema of the first message, which is `size` bytes long.

    Arrow does not check a schema message and may end the process on a damaged one (seen with
    random bytes, pyarrow 26.0.1). So ours is compared and not parsed, and one that differs from
    it in a few bytes is called damaged; other versions of Arrow may lay it out differently.
    """
    with path.open("rb") as file:
        header = file.read(size)
    if header == HEADER:
        return SCHEMA
    different = sum(a != b for a, b in zip(header, HEADER, strict=False))
    if len(header) == len(HEADER) and different <= HEADER_DAMAGE_BYTES:
        raise JournalError(
            f"{path}: damaged, or of another version: {different} bytes of its header differ"
        )
    return _checked_schema(path, pa.ipc.read_schema(message))


def _checked_schema(path: Path, schema: Any) -> Any:
    metadata = schema.metadata or {}
    if metadata.get(b"format") != FORMAT[b"format"]:
        raise JournalError(f"{path}: not a journal: its schema is {schema.names}")
    if metadata.get(b"version") != FORMAT[b"version"]:
        version = metadata.get(b"version")
        raise JournalError(f"{path}: journal version was {version!r}, expected b'1'")
    if not schema.equals(SCHEMA):
        raise JournalError(f"{path}: columns were {schema.names}, expected {SCHEMA.names}")
    return schema


def read_compacted(path: Path, tail: Tail) -> Iterator[Any]:
    """Yield the batches of a compacted journal, at most 4096 records each.

    Raises:
        JournalError: not a compacted journal, or damaged.
    """
    try:
        with pq.ParquetFile(str(path)) as file:
            _checked_schema(path, file.schema_arrow)
            tail.lost_bytes = int(file.metadata.metadata.get(LOST_BYTES, b"0"))
            tail.ended = True
            yield from file.iter_batches(READ_ROWS)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise JournalError(f"{path}: damaged: {error}") from error


def read_folder(folder: Path, tail: Tail) -> Iterator[tuple[Path, Any]]:
    """Yield (file, batch) of a recording, from whichever form it is in.

    A compacted file stands only when it is complete, so segments that a crash left beside it
    are not read.

    Raises:
        JournalError: no recording, a damaged one, or a segment cut before the last.
    """
    compacted = folder / COMPACTED
    if compacted.exists():
        for batch in read_compacted(compacted, tail):
            yield compacted, batch
        return
    paths = segment_paths(folder)
    if not paths:
        raise JournalError(f"{folder}: holds no recording, expected {segment_path(folder, 1).name}")
    for path in paths:
        tail.lost_bytes, tail.ended = 0, False
        for batch in read_segment(path, tail):
            yield path, batch
        if not tail.ended and path != paths[-1]:
            raise JournalError(f"{path}: is cut short although {paths[-1].name} follows")


def compact(folder: Path) -> Path:
    """Turn the segments of a finished recording into one Parquet file and remove them.

    The new file gets its name only after it is on disk and its rows are counted; a crash at any
    point leaves a readable recording, and calling again finishes. What a cut segment lost is
    kept in the file's metadata. Does nothing more where it is compacted already.

    Returns:
        The path of the Parquet file.

    Raises:
        JournalError: no recording, damaged, still being written, or the disk is full.
    """
    lock = lock_folder(folder)
    target = folder / COMPACTED
    try:
        if not target.exists():
            _write_compacted(folder, folder / f"{COMPACTED}.tmp")
            (folder / f"{COMPACTED}.tmp").rename(target)
            os.fsync(lock)
        for path in folder.glob("segment-*.arrows"):
            path.unlink()
    except (OSError, pa.ArrowException) as error:
        raise JournalError(f"{target}: cannot be written: {error}") from error
    finally:
        os.close(lock)
    return target


def _write_compacted(folder: Path, path: Path) -> None:
    tail = Tail()
    rows = 0
    with path.open("wb") as file:
        with pq.ParquetWriter(file, SCHEMA, compression="zstd", store_schema=True) as writer:
            for group in _row_groups(folder, tail):
                writer.write_table(group, row_group_size=max(1, group.num_rows))
                rows += group.num_rows
            # Footer metadata, not the schema's: what was lost is known only at the end.
            writer.add_key_value_metadata({LOST_BYTES.decode(): str(tail.lost_bytes)})
        file.flush()
        os.fsync(file.fileno())
    found = pq.read_metadata(str(path)).num_rows
    if found != rows:
        raise JournalError(f"{path}: holds {found} records, expected {rows}; segments are kept")


def _row_groups(folder: Path, tail: Tail) -> Iterator[Any]:
    batches: list[Any] = []
    waiting = 0
    for _, batch in read_folder(folder, tail):
        batches.append(batch)
        waiting += batch.nbytes
        if waiting >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(batches, SCHEMA)
            batches, waiting = [], 0
    yield pa.Table.from_batches(batches, SCHEMA)
