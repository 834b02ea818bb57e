"""Stage 1 of 8: one record of the journal, what is counted about it, and secrets kept out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import quote

import msgspec


class RecordType(IntEnum):
    """What a journal record holds; `payload` per type."""

    START = 1  # JSON: software version, config hash, checkpoint or "cold", tick period
    FRAME = 2  # the text frame as received
    HTTP = 3  # the body as received; name = purpose of the request
    CONNECTION = 4  # name = "open" or "close"; payload = its path (""), or the reason; UTF-8
    TIMER = 5  # name = "silence" or "first_data"; payload = channel or empty for the connection
    # name = "recovered"; payload = "whole" or "limit": a lost connection is as it was before
    SUBSCRIPTION = 6  # name = "subscribe", "unsubscribe", "accepted", "missing"; payload = JSON
    # list of channels
    # 7 is free: nothing is conflated (docs/decisions/0006-lossless-inbox.md).
    CONFIG = 8  # JSON
    TICK = 9  # name = "tick", "scan" or "drain"; payload = JSON {"grid_ns", "batch_hash",
    # "merged", "records"}, the last being how many one call decoded since the TICK record before
    CLOCK_STEP = 10  # JSON {"step_ns"}
    END = 11  # closed in order
    DEPTH = 12  # what the depth tier became; JSON {"grown": {symbol: why}, "given_back": [symbol]},
    # and "refused": [symbol] where no attempt brought what was grown


# A Struct and not a dataclass: one is made per frame, and 0.08 us stands against 0.91 us
# (measured); gc=False because a record refers to nothing that could refer back.
class Record(msgspec.Struct, frozen=True, gc=False):
    """One journal record. `rx_ns` never decreases along the log."""

    rx_ns: int
    type: RecordType
    venue: str  # "" where it concerns no venue
    connection: int  # -1 where it concerns no connection
    name: str
    payload: bytes


@dataclass(slots=True)
class JournalCounts:
    """What the journal did; the fields of the last block are written by its thread."""

    records: int = 0
    payload_bytes: int = 0
    clamped: int = 0  # stamps below their predecessor, raised to it

    records_written: int = 0
    batches_written: int = 0
    bytes_written: int = 0
    segments: int = 0


class Redactor:
    """Replaces known secrets before they reach the journal, the pipeline or anybody's eyes.

    Each secret is matched as it is, as it stands inside a JSON string and as it stands in a URL.
    Empty secrets are ignored. Only whole secrets are found: a venue that echoes part of one is
    not covered.
    """

    MARK = b"[redacted]"

    def __init__(self, secrets: Sequence[str]) -> None:
        found: set[bytes] = set()
        for secret in filter(None, secrets):
            plain = secret.encode()
            found |= {plain, msgspec.json.encode(secret)[1:-1], plain.replace(b"/", b"\\/")}
            found.add(quote(secret, safe="").encode())
        # Longest first, so that a secret inside another leaves no remainder of the longer one.
        self._secrets = tuple(sorted(found, key=lambda secret: (-len(secret), secret)))
        self.count = 0

    def __call__(self, payload: bytes) -> bytes:
        """Give back the payload, or a copy without the secrets; `count` counts such payloads."""
        clean = payload
        for secret in self._secrets:
            if secret in clean:
                clean = clean.replace(secret, self.MARK)
        self.count += clean is not payload
        return clean

    def text(self, text: str) -> str:
        """The same for words: why a connection closed, what a body said."""
        return self(text.encode(errors="replace")).decode()
