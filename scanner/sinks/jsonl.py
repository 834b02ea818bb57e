"""Stage 8 of 8: alerts appended to a file, one JSON object a line.

A line is either whole or absent: what a failing disk took in part is cut off again, and so is a
last line that a killed process left behind. The file may be renamed or removed at any time
(rotation); the next batch then goes to a new file of the same name.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from scanner.alert import Alert, SinkCounts, encode

QUEUE_MAX: Final = 10_000  # Alerts, about 20 MB: an hour of a dead disk in a storm.
BATCH_MAX: Final = 256  # Alerts per write: bounds what a failure has to repeat.
RETRY_FIRST_S: Final = 0.5
RETRY_MOST_S: Final = 30.0  # The longest silence after the disk is well again.
CLOSE_ATTEMPTS: Final = 3
TAIL_MAX: Final = 1 << 20  # Bytes searched for the last newline; no alert comes near it.
OUR_LINE: Final = b'{"schema_version":'  # How every line begins that this sink wrote.


class JsonlSink:
    """Appends alerts to a file.

    The queue holds at most queue_max alerts. When it is full the oldest update goes, and where
    there is none the oldest alert: an open or a close says more than an update. Retries go on for
    as long as the sink is open, at growing distances; only the queue bounds what is kept.
    """

    def __init__(
        self,
        path: Path,
        queue_max: int = QUEUE_MAX,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.counts = SinkCounts()
        self._path = path
        self._queue_max = queue_max
        self._pause = pause
        self._queue: deque[Alert] = deque()
        self._file: int | None = None
        self._opened_before = False
        self._writer: asyncio.Task[None] | None = None
        self._closed = False

    async def deliver(self, alerts: Sequence[Alert]) -> None:
        """Queue the alerts and return; a task writes them.

        Raises:
            RuntimeError: the sink is closed.
        """
        if self._closed:
            raise RuntimeError(f"jsonl sink {self._path}: deliver after close")
        for alert in alerts:
            if len(self._queue) >= self._queue_max:
                self._drop_one()
            self._queue.append(alert)
        self.counts.queued = len(self._queue)
        if self._queue and (self._writer is None or self._writer.done()):
            self._writer = asyncio.create_task(self._drain(), name=f"jsonl sink {self._path}")

    async def close(self) -> None:
        """Write what is queued, at most CLOSE_ATTEMPTS times; the rest is counted as dropped."""
        self._closed = True
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        attempts = 0
        while self._queue and attempts < CLOSE_ATTEMPTS:
            attempts += not await self._write_batch()
        self.counts.dropped += len(self._queue)
        self._queue.clear()
        self.counts.queued = 0
        self._release()

    async def _drain(self) -> None:
        """Write until the queue is empty, pausing longer after each failure in a row."""
        delay_s = RETRY_FIRST_S
        while self._queue:
            if await self._write_batch():
                delay_s = RETRY_FIRST_S
            else:
                await self._pause(delay_s)
                delay_s = min(2.0 * delay_s, RETRY_MOST_S)

    async def _write_batch(self) -> bool:
        """Try to write the head of the queue; False where the disk refused.

        The write runs in a thread and is shielded: a cancelled wait would not stop it, and a batch
        that was written must not be written again.
        """
        batch = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
        text = b"".join(encode(alert) + b"\n" for alert in batch)
        writing = asyncio.ensure_future(asyncio.to_thread(self._append, text))
        try:
            error = await asyncio.shield(writing)
        except asyncio.CancelledError:
            self._settle(batch, await writing)
            raise
        return self._settle(batch, error)

    def _settle(self, batch: list[Alert], error: str) -> bool:
        """Count a written batch, or put a refused one back to the head of the queue."""
        if error:
            self.counts.failures += 1
            self.counts.last_error = error
            self._queue.extendleft(reversed(batch))
            while len(self._queue) > self._queue_max:
                self._drop_one()
        else:
            self.counts.delivered += len(batch)
        self.counts.queued = len(self._queue)
        return not error

    def _drop_one(self) -> None:
        updates = (k for k, alert in enumerate(self._queue) if alert.state == "update")
        del self._queue[next(updates, 0)]
        self.counts.dropped += 1

    def _append(self, text: bytes) -> str:
        """Append the whole text or nothing; returns what went wrong, empty where nothing did."""
        try:
            file = self._current_file()
            end = os.lseek(file, 0, os.SEEK_END)
            try:
                _write_all(file, text)
            except OSError:
                os.ftruncate(file, end)
                raise
        except OSError as error:
            self._release()
            return f"{self._path}: {error.strerror or error}"
        return ""

    def _current_file(self) -> int:
        """The open file, opened again where the path no longer leads to it."""
        if self._file is not None and _same_file(self._file, self._path):
            return self._file
        self._release()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        _mend_tail(self._file)
        self.counts.reopened += self._opened_before
        self._opened_before = True
        return self._file

    def _release(self) -> None:
        if self._file is not None:
            # A network disk may report here what it lost before; the batch was counted already.
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None


def open_sink(target: str, queue_max: int = QUEUE_MAX) -> JsonlSink:
    """Sink that appends to the file `target`; nothing is opened before the first alert."""
    return JsonlSink(Path(target), queue_max)


def _write_all(file: int, text: bytes) -> None:
    """Write every byte; the system may take a part at a time."""
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(file, rest) :]


def _same_file(file: int, path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(file)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


def _mend_tail(file: int) -> None:
    """Cut a last line without its newline if it is one of ours; give others' their newline."""
    size = os.fstat(file).st_size
    start = max(0, size - TAIL_MAX)
    tail = os.pread(file, size - start, start)
    torn = tail[tail.rfind(b"\n") + 1 :]
    if not torn:
        return
    if torn.startswith(OUR_LINE) or OUR_LINE.startswith(torn):
        os.ftruncate(file, size - len(torn))
    else:
        _write_all(file, b"\n")
