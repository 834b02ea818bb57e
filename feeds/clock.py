"""Stage 1 of 8: the Clock that scanner.run makes once and injects; nothing else asks the time."""

from typing import Protocol


class Clock(Protocol):
    """Source of receive times."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC, never less than the last answer."""
        ...
