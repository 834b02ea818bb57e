"""Stages 1 and 2 of 8: the bytes of Databento's live sessions as rows, decoded as files are.

Never run against the live service from here: what follows is its documented behaviour, tested with
DBN bytes written by the tests (docs/venues/databento.md).

A session is a head and then records of all schemas, in which definitions and symbol mappings come
along with the data. What a session loses cannot be told listing by listing, so every quote that it
gave is followed by a gap: behind its end, and where the gateway says that it skipped records.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.dbn.definitions import DAY_NS, NEVER_DAY, OPRA, Allocate, Instruments
from feeds.dbn.layout import (
    DEFINITION_V3,
    ERROR,
    HEADER_BYTES,
    SYMBOL_MAPPING,
    SYSTEM,
    RType,
)
from feeds.dbn.metadata import PREFIX_BYTES, Mapping, Metadata, read_metadata, read_prefix
from feeds.dbn.rows import LAST, NO_ROWS, Decoder
from feeds.dbn.source import number
from feeds.dbn.stream import Run, run_at
from feeds.errors import DbnError
from feeds.events import EVENT, Kind
from feeds.tables import Chunk

MESSAGES_KEPT: Final = 16
METADATA_BYTES_MAX: Final = 64 << 20  # A length that lies must not make us wait for ever.
VERSION: Final = 3
# Names of the format's ErrorCode and SystemCode (databento-dbn 0.70).
ERRORS: Final = {
    1: "auth_failed", 2: "key_deactivated", 3: "connection_limit", 4: "symbol_resolution",
    5: "invalid_subscription", 6: "internal", 7: "skipped_records", 8: "replay_aged_out",
}  # fmt: skip
SYSTEMS: Final = {
    0: "heartbeat", 1: "subscription_ack", 2: "slow_reader_warning", 3: "replay_completed",
    4: "end_of_interval", 5: "unsubscribe_ack",
}  # fmt: skip
SKIPPED_RECORDS: Final = 7
# Connecting again would be answered the same.
HOPELESS: Final = frozenset({1, 2, 5})


class LiveDecoder:
    """Rows of one dataset over all its sessions, `seq` counting updates as in DbnSource.

    Attributes:
        counts: records and the gateway's messages, and what gave no rows, by reason.
        messages: the gateway's last words, errors alone.
        fault: why the session's bytes cannot be read on; None while they can.
        hopeless: an error of the session that no other would be spared.
        last_ns: rx_ns that all sessions have come to.
    """

    def __init__(self, dataset: str, allocate: Allocate) -> None:
        self.counts: Counter[str] = Counter()
        self.messages: deque[str] = deque(maxlen=MESSAGES_KEPT)
        self.fault: str | None = None
        self.hopeless: str | None = None
        self.last_ns = 0
        self._dataset = dataset
        self._instruments = Instruments(dataset)
        self._instruments.list_all(allocate)
        self._defined_anew = False
        self._quoted = np.empty(0, np.bool_)  # by listing id
        self._updates = self._tickers = 0
        self._decoder: Decoder | None = None
        self._rest = b""
        self._day = 0

    def begin(self, now_ns: int) -> None:
        """Expect a new session's head; what ids mean is told anew, as of today."""
        self._decoder, self._rest, self.fault = None, b"", None
        self._day = now_ns // DAY_NS
        self._instruments.forget_before(self._day - 1)  # Replayed records may be of yesterday.
        self._defined_anew = True

    @property
    def begun(self) -> bool:
        """Whether the session has sent its head."""
        return self._decoder is not None

    @property
    def outlived(self) -> bool:
        """Whether the data have come to a day for which the session's ids do not hold.

        Ids of OPRA are given out anew each day; no document says that a running session is told.
        """
        return self._dataset == OPRA and self.last_ns // DAY_NS > self._day

    @property
    def done(self) -> bool:
        """Whether nothing more should be read of the session."""
        return self.fault is not None or self.hopeless is not None or self.outlived

    def feed(self, data: bytes) -> list[Chunk]:
        """Rows of the next bytes of a session, however cut. Any bytes give rows, counts or `fault`.

        Nothing is read behind a fault: where records begin is unknown from there on.
        """
        if self.fault is not None:
            return []
        self._rest += data
        if self._decoder is None:
            self._read_head()
            if self._decoder is None:
                return []
        found, used = [], 0
        while (run := run_at(self._rest, used)) is not None:
            used += run.raw.size
            found.append(self._rows_of(run))
        self._rest = self._rest[used:]
        if self._rest and self._rest[0] * 4 < HEADER_BYTES:
            self._break(f"a record of {self._rest[0] * 4} bytes, expected {HEADER_BYTES} or more")
        return [chunk for chunk in found if len(chunk.rows) or len(chunk.tickers)]

    def lose(self) -> Chunk:
        """Gaps (CLEAR) of every listing that has a quote, at the time that the data came to."""
        alive = self._instruments.alive(self.last_ns)
        alive = alive[alive < len(self._quoted)]
        lost = np.unique(alive[self._quoted[alive]])
        self._quoted[:] = False
        self.counts["invalidated"] += len(lost)
        rows = np.zeros(len(lost), EVENT)
        rows["rx_ns"], rows["listing_id"], rows["kind"] = self.last_ns, lost, Kind.CLEAR
        rows["price"], rows["flags"] = np.nan, LAST
        return self._numbered(Chunk(rows, NO_ROWS.tickers))

    def _read_head(self) -> None:
        if len(self._rest) < PREFIX_BYTES:
            return
        name = f"live session of {self._dataset}"
        try:
            version, length = read_prefix(name, self._rest[:PREFIX_BYTES])
            end = PREFIX_BYTES + length
            if length > METADATA_BYTES_MAX or version != VERSION:
                self._break(f"head of version {version} and {length} bytes, expected version 3")
            elif len(self._rest) >= end:
                metadata = read_metadata(name, version, self._rest[PREFIX_BYTES:end], length)
                self._rest = self._rest[end:]
                self._start(metadata)
        except DbnError as error:
            self._break(str(error))

    def _start(self, metadata: Metadata) -> None:
        if metadata.dataset != self._dataset:
            self._break(f"dataset was {metadata.dataset!r}, expected {self._dataset}")
            return
        # A session may outlast any range that its head could name.
        whole = replace(metadata, end_ns=2**63 - 1)
        self._decoder = Decoder(whole, self._instruments, self.counts)
        self._decoder.last_ns = self.last_ns

    def _break(self, what: str) -> None:
        self.fault = what
        self.counts["damaged_sessions"] += 1

    def _rows_of(self, run: Run) -> Chunk:
        if run.rtype in _OWN:
            layout = _OWN[run.rtype]
            if run.raw.shape[1] != layout.itemsize:
                self.counts["malformed"] += len(run.raw)
                return NO_ROWS
            return self._hear(run.rtype, run.records(layout))
        if self._defined_anew:
            self._instruments.list_new()
            self._defined_anew = False
        assert self._decoder is not None
        chunk = self._decoder.decode(run)
        self.last_ns = self._decoder.last_ns
        self._remember(chunk.rows["listing_id"][chunk.rows["kind"] == Kind.QUOTE])
        return self._numbered(chunk)

    def _hear(self, rtype: int, records: NDArray[Any]) -> Chunk:
        """Take definitions, mappings and the gateway's messages."""
        if rtype == RType.ERROR:
            return self._errors(records)
        if rtype == RType.SYSTEM:
            for code in records["code"].tolist():
                self.counts[f"system_{SYSTEMS.get(code, 'other')}"] += 1
            return NO_ROWS
        before = self._instruments.left_out.copy()
        if rtype == RType.DEFINITION:
            self.counts["definitions"] += len(records)
            self._instruments.define(records)
        else:
            self.counts["mappings"] += len(records)
            self._instruments.remap(self._mappings(records))
        for reason, count in (self._instruments.left_out - before).items():
            self.counts[f"left_out_{reason}"] += count
        self._defined_anew = True
        return NO_ROWS

    def _mappings(self, records: NDArray[Any]) -> Iterator[Mapping]:
        """What ids mean from now on; of OPRA until the day ends, whatever else a message says."""
        day = max(self._day, self.last_ns // DAY_NS)
        end_day = day + 1 if self._dataset == OPRA else NEVER_DAY
        names, ids = records["stype_out_symbol"].tolist(), records["instrument_id"].tolist()
        for name, instrument_id in zip(names, ids, strict=True):
            symbol = name.partition(b"\0")[0].decode("ascii", "replace")
            yield Mapping(symbol, instrument_id, day, end_day)

    def _errors(self, records: NDArray[Any]) -> Chunk:
        for code, text in zip(records["code"].tolist(), records["err"].tolist(), strict=True):
            words = text.partition(b"\0")[0].decode("ascii", "replace")
            self.counts[f"error_{ERRORS.get(code, 'other')}"] += 1
            self.messages.append(words)
            if code in HOPELESS:
                self.hopeless = words or ERRORS[code]
        return self.lose() if (records["code"] == SKIPPED_RECORDS).any() else NO_ROWS

    def _remember(self, ids: NDArray[np.uint32]) -> None:
        if not len(ids):
            return
        most = int(ids.max())
        if most >= len(self._quoted):
            grown = np.zeros(2 * most + 1, np.bool_)
            grown[: len(self._quoted)] = self._quoted
            self._quoted = grown
        self._quoted[ids] = True

    def _numbered(self, chunk: Chunk) -> Chunk:
        self._updates = number(chunk.rows, self._updates)
        count = len(chunk.tickers)
        chunk.tickers["seq"] = np.arange(self._tickers + 1, self._tickers + 1 + count)
        self._tickers += count
        return chunk


_OWN: Final = {
    int(RType.DEFINITION): DEFINITION_V3,
    int(RType.ERROR): ERROR,
    int(RType.SYMBOL_MAPPING): SYMBOL_MAPPING,
    int(RType.SYSTEM): SYSTEM,
}
