"""Stage 1 of 8, simulated: the emulator as a child process, and its control from the parent."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from feeds.errors import SessionError

READY_LINE_MAX: Final = 4096


class EmulatorProcess:
    """Local venue servers in a process of their own; it ends with the `with` block or its parent.

    Attributes:
        venues: name -> rest_url, ws_url: what takes the place of the venue's own; listings.
        start_ns: simulated start, which decides the universe's expiries.
    """

    def __init__(
        self,
        *,
        seed: int,
        listings: int,
        venues: Sequence[str] = ("deribit",),
        speed: float = 1.0,
        start_ns: int = 0,
    ) -> None:
        """Start the process and wait for its addresses.

        Raises:
            SessionError: the process ended before it was ready.
        """
        options: Sequence[str] = (
            "--venues", ",".join(venues), "--seed", str(seed), "--listings", str(listings),
            "--speed", str(speed), "--start-ns", str(start_ns),
        )  # fmt: skip
        # Its own standard input is the life line: it ends when this end is closed.
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "feeds.emulator", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline(READY_LINE_MAX)
        if not line:
            raise SessionError(f"emulator: ended with {self._process.wait()} before it was ready")
        ready = json.loads(line)
        self.venues: dict[str, dict[str, Any]] = ready["venues"]
        self.start_ns: int = ready["start_ns"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()

    def stop(self) -> None:
        """End the process; a second call does nothing."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    async def get(self, venue: str, path: str) -> Any:
        """GET /emulator/`path` of a venue: status, books or truth."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.venues[venue]['control_url']}/{path}") as answer,
        ):
            return await answer.json()

    async def post(self, venue: str, path: str, body: Any) -> Any:
        """POST /emulator/`path` of a venue: plant, mark or fault."""
        async with (
            aiohttp.ClientSession(raise_for_status=True) as http,
            http.post(f"{self.venues[venue]['control_url']}/{path}", json=body) as answer,
        ):
            return await answer.json()
