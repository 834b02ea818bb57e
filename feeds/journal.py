"""Stage 1 of 8: the journal, one totally ordered log of what came in and what was decided."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from feeds.clock import Clock
from feeds.errors import JournalError
from feeds.record import JournalCounts, Record, RecordType

if TYPE_CHECKING:
    from feeds.segments import SegmentWriter


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """Bounds of the journal in memory and on disk.

    Memory waiting for the disk is at most queue_batches * (flush_bytes + one read of a socket).
    """

    flush_records: int = 2048  # About 1 ms of the writer thread holding the interpreter.
    flush_bytes: int = 1 << 20
    flush_s: float = 1.0  # What a kill may cost; decided from record stamps.
    segment_bytes: int = 256 << 20  # What a power cut may cost, since a closed segment is fsynced.
    queue_batches: int = 128  # 128 MB: a disk may stand still for seconds while it syncs.
    close_s: float = 30.0  # How long close() waits for a slow disk before it gives up.


class Journal:
    """Stamps records in one total order and stores them without ever blocking its caller.

    With a folder, records go in batches to one background thread, which writes Arrow IPC stream
    segments (feeds/segments.py). Each batch is handed to the operating system whole, so a killed
    process loses at most `flush_s` of records; each segment is fsynced when it is closed, so a
    power cut loses at most the open segment. A folder holds one run.

    When a write fails or the queue is full, the journal is `broken` for good: what it holds
    stays a readable prefix of the run, everything after is counted as lost, and the caller goes
    on. Without a folder nothing is stored.

    All methods belong to one thread, that of the event loop.
    """

    def __init__(
        self,
        clock: Clock,
        folder: Path | None,
        limits: JournalLimits | None = None,
        *,
        on_broken: Callable[[str], None] | None = None,
        open_file: Callable[[Path], BinaryIO] | None = None,
    ) -> None:
        """Open a journal.

        Args:
            clock: the one clock.
            folder: created where absent; None stores nothing.
            limits: bounds; the defaults where None.
            on_broken: called once, on the caller's thread, with the reason.
            open_file: opens a new segment for writing (tests make it fail).

        Raises:
            JournalError: the folder cannot be made, holds a recording, or is being written.
        """
        self.counts = JournalCounts()
        self.broken: str | None = None
        self._clock = clock
        self._limits = limits or JournalLimits()
        self._on_broken = on_broken
        self._last_ns = 0
        self._flush_ns = round(self._limits.flush_s * 1e9)
        self._buffer: list[Record] = []
        self._buffer_bytes = 0
        self._failure: str | None = None  # Set by the thread, made public by the caller's.
        self._queue: queue.Queue[list[Record] | None] = queue.Queue(self._limits.queue_batches)
        self._writer: SegmentWriter | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        if folder is not None:
            self._start(folder, open_file)

    def _start(self, folder: Path, open_file: Callable[[Path], BinaryIO] | None) -> None:
        # Imported here because pyarrow costs 50 to 150 ms, which a run that stores nothing saves.
        from feeds.segments import SegmentWriter  # noqa: PLC0415

        self._writer = SegmentWriter(folder, self._limits.segment_bytes, self.counts, open_file)
        self._thread = threading.Thread(
            target=self._work, args=(self._writer,), name="journal", daemon=True
        )
        self._thread.start()

    @property
    def lost(self) -> int:
        """Records that will not be found on disk; 0 unless the journal is broken."""
        if self.broken is None or self._writer is None:
            return 0
        return self.counts.records - self.counts.records_written

    def append(
        self, record_type: RecordType, venue: str, connection: int, name: str, payload: bytes
    ) -> Record:
        """Stamp one record, keep it, and give it back for the live pipeline.

        Nothing is awaited between the stamp and the place in the log: log order is rx_ns order.
        A clock that went back (it promises not to) is counted and its stamp raised.

        Raises:
            JournalError: the journal is closed.
        """
        if self._closed:
            raise JournalError(f"append of {record_type.name} {name!r} to a closed journal")
        record = Record(self._stamp(), record_type, venue, connection, name, payload)
        self._store((record,), len(payload))
        return record

    def append_frames(
        self, venue: str, connection: int, payloads: Sequence[bytes]
    ) -> Sequence[Record]:
        """As `append`, the frames of one read of a socket: they arrived together, at one stamp.

        Raises:
            JournalError: the journal is closed.
        """
        if self._closed:
            raise JournalError(f"append of {len(payloads)} frames to a closed journal")
        rx_ns, kind = self._stamp(), RecordType.FRAME
        records = [Record(rx_ns, kind, venue, connection, "", payload) for payload in payloads]
        self._store(records, sum(map(len, payloads)))
        return records

    def _stamp(self) -> int:
        rx_ns = self._clock.now_ns()
        if rx_ns < self._last_ns:
            self.counts.clamped += 1
            return self._last_ns
        self._last_ns = rx_ns
        return rx_ns

    def _store(self, records: Sequence[Record], size: int) -> None:
        """Count records of one stamp, and buffer them where there is a folder."""
        self.counts.records += len(records)
        self.counts.payload_bytes += size
        if self._thread is None:
            return
        if self._failure is not None:
            self._break(self._failure)
        if self.broken is not None:
            return
        buffer = self._buffer
        buffer += records
        self._buffer_bytes += size
        if (
            len(buffer) >= self._limits.flush_records
            or self._buffer_bytes >= self._limits.flush_bytes
            or self._last_ns - buffer[0].rx_ns >= self._flush_ns
        ):
            self.flush()

    def flush(self) -> None:
        """Hand what is buffered to the thread; returns at once, before it is written."""
        if self._failure is not None:
            self._break(self._failure)
        if not self._buffer:
            return
        batch, self._buffer, self._buffer_bytes = self._buffer, [], 0
        if self.broken is not None:
            return
        try:
            self._queue.put_nowait(batch)
        except queue.Full:
            self._break(f"the disk is {self._limits.queue_batches} batches behind: queue full")

    def drain(self) -> None:
        """Flush, and block until the operating system has all of it; not for the event loop."""
        self.flush()
        self._queue.join()
        if self._failure is not None:
            self._break(self._failure)

    def close(self) -> None:
        """Append END, write everything, fsync and stop the thread; a second call does nothing.

        Blocks for up to `close_s`; a disk that takes longer leaves the journal broken.
        """
        if self._closed:
            return
        self.append(RecordType.END, "", -1, "", b"")
        self.flush()
        self._closed = True
        if self._thread is None:
            return
        try:
            self._queue.put(None, timeout=self._limits.close_s)
        except queue.Full:
            self._break(f"the disk did not take a batch within {self._limits.close_s} s of closing")
            return
        self._thread.join(self._limits.close_s)
        if self._thread.is_alive():
            self._break(f"the disk did not finish within {self._limits.close_s} s of closing")
        elif self._failure is not None:
            self._break(self._failure)

    def _break(self, reason: str) -> None:
        if self.broken is not None:
            return
        self.broken = reason
        self._buffer = []
        self._buffer_bytes = 0
        if self._on_broken is not None:
            self._on_broken(reason)

    def _work(self, writer: "SegmentWriter") -> None:
        """Write batches until None arrives; after a failure only empty the queue."""
        failure: str | None = "the journal's thread ended early, see its traceback"
        try:
            while (batch := self._queue.get()) is not None:
                if self._failure is None:
                    self._failure = writer.write(batch)
                self._queue.task_done()
            failure = writer.close()
            self._queue.task_done()
        finally:
            self._failure = self._failure or failure
