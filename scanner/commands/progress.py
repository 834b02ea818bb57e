"""Stage 8 of 8: making a long command ready, and one line on stderr that says how far it is."""

import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scanner.engine import Scanner

REDRAW_S: Final = 0.2
_COMPILE_SCANS: Final = (
    "import gc; gc.disable(); from scanner import Scanner; from scanner.config import load; "
    'Scanner(load(None, {"engine.device": "cpu"})).warm_up(rows=False)'
)


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


def warm_up(scanner: "Scanner", venues: Collection[str] = ()) -> None:
    """Load or compile what is compiled, and say so where it takes long enough to wonder.

    Args:
        scanner: its kernels are made ready.
        venues: those whose frames will be read, by name; tables of rows need none.
    """
    from feeds import venues as of_feeds  # noqa: PLC0415 - not paid by --help

    started = time.monotonic()
    cached = scanner.compiled_before() and of_feeds.compiled_before(venues)
    if not cached:
        sys.stderr.write("compiling the kernels for this machine, once: 15 to 60 s ...\n")
        sys.stderr.flush()
    with _scans_beside() if _worth_a_process(scanner) else nullcontext():
        scanner.warm_up(scans=False)
        of_feeds.warm_up(venues)
    scanner.warm_up(rows=False)
    if not cached:
        sys.stderr.write(
            f"compiled in {time.monotonic() - started:.0f} s, kept for the next start\n"
        )


def _worth_a_process(scanner: "Scanner") -> bool:
    """Whether what a scan needs is to be compiled, a second core is there, and a cache to share."""
    from kernels.compile import cache_is_writable  # noqa: PLC0415
    from kernels.threads import usable_cores  # noqa: PLC0415

    fresh = scanner.device.name == "cpu" and not scanner.compiled_before()
    return fresh and usable_cores() > 1 and cache_is_writable()


@contextmanager
def _scans_beside() -> Iterator[None]:
    """Compile the kernels of a scan in another process meanwhile; the cache carries them over.

    Half of all compiling, and numba compiles on one core. If the process fails, nothing is lost:
    who needs a kernel that the cache does not hold compiles it.
    """
    child = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", _COMPILE_SCANS],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
        child.wait()
    finally:
        child.kill()
        child.wait()
