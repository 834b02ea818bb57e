"""Stage 8 of 8: one line on stderr that says how far a long command has come."""

import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scanner.engine import Scanner

REDRAW_S: Final = 0.2


class Progress:
    """A line that redraws itself; silent where stderr is no terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._terminal = sys.stderr.isatty()
        self._shown = 0.0

    def show(self, text: str) -> None:
        """Draw the line, at most five times a second."""
        now = time.monotonic()
        if self._terminal and now - self._shown >= REDRAW_S:
            self._shown = now
            sys.stderr.write(f"\r\x1b[2K{self._what}: {text}")
            sys.stderr.flush()

    def done(self, text: str) -> None:
        """Leave the last word on its own line."""
        start = "\r\x1b[2K" if self._terminal else ""
        sys.stderr.write(f"{start}{self._what}: {text}\n")


def warm_up(scanner: "Scanner", *, venues: bool = True) -> None:
    """Load or compile what is compiled, and say so where it takes long enough to wonder.

    Args:
        scanner: its kernels are made ready.
        venues: the byte scanners of the venues, too; tables of rows need none.
    """
    from feeds.bytescan import compile as bytescan  # noqa: PLC0415 - not paid by --help
    from feeds.venues import warm_up as warm_up_venues  # noqa: PLC0415

    started = time.monotonic()
    cached = scanner.compiled_before() and (not venues or bytescan.compiled_before())
    if not cached:
        sys.stderr.write("compiling the kernels for this machine, once: 20 to 60 s ...\n")
        sys.stderr.flush()
    scanner.warm_up()
    if venues:
        warm_up_venues()
    if not cached:
        sys.stderr.write(
            f"compiled in {time.monotonic() - started:.0f} s, kept for the next start\n"
        )
