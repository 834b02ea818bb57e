"""Stage 1 of 8: Databento's live gateway by its own client (extra `databento`), session by session.

Never run against the live service from here; docs/venues/databento.md says what was tested.

client's thread ──write──> Pipe ──read──> LiveDecoder ──> chunks
                    ^        │
                    └─ waits ┘  at PIPE_BYTES_MAX: the socket is not read, and the gateway skips
                                quotes, of which it tells (`error_skipped_records`)

`run_session` alone knows the package, which opens the connection itself: no other socket of feeds
is opened outside feeds/session.py. Reconnecting is ours, so that the connect budget holds.
"""

import math
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from feeds.budget import SECOND_NS, ConnectBudget, backoff_s
from feeds.clock import Clock
from feeds.dbn.definitions import Allocate
from feeds.dbn.layout import PUBLISHERS
from feeds.dbn.live import LiveDecoder
from feeds.dbn.rows import NO_ROWS
from feeds.errors import DbnError, SessionError
from feeds.record import Redactor
from feeds.tables import Chunk

PIPE_BYTES_MAX: Final = 64 << 20
POLL_S: Final = 0.25  # How soon a stop is noticed.
HEARTBEAT_S: Final = 10  # The client ends a session 10 s after a heartbeat that did not come.
# Schemas that are read, and whether they hold every print: two that do would count prints twice.
SCHEMAS: Final = {
    "definition": False, "statistics": False, "cbbo-1s": False, "cbbo-1m": False, "bbo-1s": False,
    "bbo-1m": False, "trades": True, "tcbbo": True, "cmbp-1": True, "tbbo": True, "mbp-1": True,
}  # fmt: skip
# Told once a day, before most sessions begin: what was told is asked for again.
REPLAYED: Final = frozenset({"definition", "statistics"})

Stop = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one session asks for.

    dataset: OPRA.PILLAR or GLBX.MDP3. schemas: of SCHEMAS. symbols: as stype_in has them, such as
    SPY.OPT for the parent of all SPY options. stype_in: parent, raw_symbol, ...
    """

    dataset: str
    schemas: tuple[str, ...]
    symbols: tuple[str, ...]
    stype_in: str = "parent"

    def __post_init__(self) -> None:
        """Refuse what could not be read.

        Raises:
            DbnError: an unknown dataset or schema, prints twice, or ids that nothing would explain.
        """
        if self.dataset not in PUBLISHERS:
            raise DbnError(f"dataset was {self.dataset!r}, expected {' or '.join(PUBLISHERS)}")
        unknown = [name for name in self.schemas if name not in SCHEMAS]
        if unknown:
            raise DbnError(f"schema was {unknown[0]!r}, expected of {', '.join(SCHEMAS)}")
        if "definition" not in self.schemas:
            raise DbnError("schemas were without definition, which says what ids mean")
        if sum(SCHEMAS[name] for name in set(self.schemas)) > 1:
            raise DbnError("more than one schema held all prints, expected one of them")
        if not self.symbols:
            raise DbnError("no symbol was given, expected one or more")

    @property
    def host(self) -> str:
        """Where the client connects, for the connect budget."""
        return f"{self.dataset.lower().replace('.', '-')}.lsg.databento.com"


class Pipe:
    """Bytes from the client's thread to the reader's, at most PIPE_BYTES_MAX and one record.

    Attributes:
        closed: whether the reader has gone; what is written then is dropped.
        waits: how often the writer had to wait for the reader.
    """

    def __init__(self, bytes_max: int = PIPE_BYTES_MAX) -> None:
        self.closed = False
        self.waits = 0
        self._bytes_max = bytes_max
        self._held = bytearray()
        self._ended = False
        self._changed = threading.Condition()

    def writable(self) -> bool:
        """What the client asks a stream before it takes it."""
        return True

    def write(self, data: bytes) -> int:
        """Append bytes; waits while the pipe is full."""
        with self._changed:
            self.waits += len(self._held) >= self._bytes_max and not self.closed
            self._changed.wait_for(lambda: len(self._held) < self._bytes_max or self.closed)
            if not self.closed:
                self._held += data
                self._changed.notify_all()
        return len(data)

    def flush(self) -> None:
        """What the client calls at its end; nothing waits here."""

    def close(self) -> None:
        """Say that nobody reads any more."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def end(self) -> None:
        """Say that nobody writes any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def read(self, timeout_s: float) -> bytes | None:
        """All bytes that wait, after some time none; None when no more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._held or self._ended, timeout_s)
            if not self._held and self._ended:
                return None
            data = bytes(self._held)
            self._held.clear()
            self._changed.notify_all()
            return data


RunSession = Callable[[Subscription, str, Pipe, Callable[[Stop], None]], None]


def run_session(wanted: Subscription, key: str, pipe: Pipe, opened: Callable[[Stop], None]) -> None:
    """Connect, subscribe, and write head and records to `pipe` until the session has ended.

    Args:
        wanted: what to subscribe to.
        key: the account's API key.
        pipe: takes the bytes.
        opened: is told how to end the session, from any thread.

    Raises:
        SessionError: no connection, no entry, or a session that broke; never with the key.
        ImportError: the package is not installed.
    """
    import databento  # noqa: PLC0415 - an extra, and pandas with it

    try:
        client = databento.Live(
            key=key,
            heartbeat_interval_s=HEARTBEAT_S,
            reconnect_policy="none",
            slow_reader_behavior="skip",
        )
        opened(client.terminate)
        client.add_stream(pipe)
        for schema in wanted.schemas:
            client.subscribe(
                dataset=wanted.dataset,
                schema=schema,
                symbols=list(wanted.symbols),
                stype_in=wanted.stype_in,
                start=0 if schema in REPLAYED else None,
            )
        client.start()
        if pipe.closed:  # A stop while it was connecting found nothing to end.
            client.terminate()
        client.block_for_close()
    except (databento.BentoError, ValueError, OSError) as error:
        raise SessionError(Redactor([key]).text(f"{type(error).__name__}: {error}")) from None


class LiveSource:
    """A subscription as an endless stream of chunks, over as many sessions as it takes.

    Attributes:
        decoder: of all sessions; its `counts` are those of the source, too.
        trouble: why the last session ended or could not begin; empty while one runs.
    """

    def __init__(
        self, wanted: Subscription, key: str, allocate: Allocate, *, clock: Clock,
        budget: ConnectBudget, retry_s: tuple[float, float] = (1.0, 60.0),
        rng: random.Random, run: RunSession = run_session,
    ) -> None:  # fmt: skip
        """Set up; nothing is opened before `chunks`.

        Args:
            wanted: what every session asks for.
            key: the account's API key.
            allocate: gives listings their ids.
            clock: the one clock: says on which day a session begins.
            budget: connections that may be opened.
            retry_s: mean wait before the second connection, and the longest.
            rng: jitter.
            run: runs one session.
        """
        self.decoder = LiveDecoder(wanted.dataset, allocate)
        self.trouble = ""
        self._wanted, self._key, self._run = wanted, key, run
        self._clock, self._budget, self._rng = clock, budget, rng
        self._retry_s = retry_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End `chunks` soon; from any thread and from a signal's handler."""
        self._stopping.set()

    def chunks(self) -> Iterator[Chunk]:
        """Rows as they come, and now and then none, so that the caller can look at the time.

        Raises:
            SessionError: no other session would fare better: the gateway said so, or its client is
                not installed.
        """
        attempt = 0
        with ThreadPoolExecutor(1, "databento") as threads:
            while not self._stopping.is_set():
                if attempt:
                    yield from self._pause(backoff_s(self._rng, attempt - 1, *self._retry_s))
                yield from self._take_budget()
                if self._stopping.is_set():
                    return
                yield from self._session(threads)
                if self.decoder.hopeless is not None:
                    raise SessionError(f"{self._wanted.host}: {self.decoder.hopeless}")
                attempt = 1 if self.decoder.begun else attempt + 1

    def _session(self, threads: ThreadPoolExecutor) -> Iterator[Chunk]:
        """One session from its head to its end, then gaps in the place of what was lost."""
        counts = self.decoder.counts
        counts["sessions"] += 1
        self.decoder.begin(self._clock.now_ns())
        pipe = Pipe()
        stops: list[Stop] = []
        ended = threads.submit(self._run_into, pipe, stops.append)
        try:
            while not self._stopping.is_set():
                data = pipe.read(POLL_S)
                if data is None:
                    break
                yield from self.decoder.feed(data) or [NO_ROWS]
                if self.decoder.begun:
                    self.trouble = ""
                counts["renewed_sessions"] += self.decoder.outlived
                if self.decoder.done:
                    break
        finally:
            pipe.close()
            for stop in stops:
                stop()
        try:
            ended.result()
        except ImportError as error:
            raise SessionError(
                f"{error}, expected the extra databento: "
                "pip install 'cross-market-scanner[databento]'"
            ) from error
        except SessionError as error:
            counts["failed_sessions"] += 1
            self.trouble = str(error)
        self.trouble = self.decoder.fault or self.trouble or "the session ended"
        counts["pipe_waits"] += pipe.waits
        yield self.decoder.lose()

    def _run_into(self, pipe: Pipe, opened: Callable[[Stop], None]) -> None:
        try:
            self._run(self._wanted, self._key, pipe, opened)
        finally:
            pipe.end()

    def _take_budget(self) -> Iterator[Chunk]:
        while not self._stopping.is_set():
            wait_ns = self._budget.take(self._wanted.host)
            if not wait_ns:
                return
            self.decoder.counts["budget_waits"] += 1
            yield from self._pause(wait_ns / SECOND_NS)

    def _pause(self, seconds: float) -> Iterator[Chunk]:
        for _ in range(math.ceil(seconds / POLL_S)):
            if self._stopping.wait(min(POLL_S, seconds)):
                return
            yield NO_ROWS
