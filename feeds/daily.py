"""Stage 1 of 8: stretches of every day."""

from dataclasses import dataclass
from typing import Final, Self

SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """A stretch of every day, UTC; it may pass midnight. Seconds of the day, end not included."""

    begin_s: int
    end_s: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `HH:MM-HH:MM`.

        >>> DailyWindow.read("23:30-00:15")
        DailyWindow(begin_s=84600, end_s=900)

        Raises:
            ValueError: the text is none, or the window is empty.
        """
        begin, dash, end = text.partition("-")
        if not dash or begin == end:
            raise ValueError(f"was {text!r}, expected HH:MM-HH:MM of two different times")
        return cls(_second_of_day(begin, text), _second_of_day(end, text))

    def holds(self, now_ns: int) -> bool:
        """Whether a time lies in it."""
        length_ns = (self.end_s - self.begin_s) * SECOND_NS % DAY_NS
        return (now_ns - self.begin_s * SECOND_NS) % DAY_NS < length_ns


def _second_of_day(clock: str, text: str) -> int:
    hours, colon, minutes = clock.partition(":")
    sound = colon and len(hours) == len(minutes) == 2 and (hours + minutes).isdecimal()
    if not sound or int(hours) > 23 or int(minutes) > 59:
        raise ValueError(f"was {text!r}, expected HH:MM-HH:MM")
    return int(hours) * 3600 + int(minutes) * 60
