"""Stage 1 of 8: what a session takes down: cleaned of secrets, journaled, delivered, in one step.

Nothing is awaited in it, so the order of the log is the order in which the pipeline gets records.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from feeds.journal import Journal
from feeds.record import Record, RecordType, Redactor


@dataclass(slots=True)
class Recorder:
    """The records of one venue.

    Attributes:
        venue: its name.
        journal: every record goes here first.
        deliver: takes records right after the journal; must not block.
        redact: replaces secrets in what was received and in words.
    """

    venue: str
    journal: Journal
    deliver: Callable[[Sequence[Record]], object]
    redact: Redactor | None = None

    def take(self, record_type: RecordType, connection: int, name: str, payload: bytes) -> Record:
        """Take one record down."""
        if self.redact is not None:
            payload = self.redact(payload)
        record = self.journal.append(record_type, self.venue, connection, name, payload)
        self.deliver((record,))
        return record

    def take_frames(self, connection: int, frames: Sequence[bytes]) -> Record:
        """Take frames down that arrived together, one at least; returns the last one's record."""
        if self.redact is not None:
            frames = list(map(self.redact, frames))
        records = self.journal.append_frames(self.venue, connection, frames)
        self.deliver(records)
        return records[-1]

    def take_channels(self, connection: int, name: str, channels: Sequence[str]) -> None:
        """Take down what became of subscriptions."""
        self.take(RecordType.SUBSCRIPTION, connection, name, msgspec.json.encode(channels))

    def clean(self, words: str) -> str:
        """Words without secrets, for people."""
        return words if self.redact is None else self.redact.text(words)
