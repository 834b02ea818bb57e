"""Stage 1 of 8, simulated: the emulator's process, `python -m feeds.emulator --port 0 --seed 7`.

Prints one JSON line with its addresses when it is ready, then serves until its standard input
closes or SIGTERM or SIGINT arrives; a parent that holds the other end of a pipe therefore never
leaves it behind, however the parent dies. This process makes its own clock: simulated time starts
at the wall clock (or --start-ns) and runs with the monotonic clock, --speed times as fast.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final

from feeds.contract import E9
from feeds.emulator.deribit import DeribitServer
from feeds.emulator.market import STEP_NS, Market
from feeds.emulator.planted import demo_schedule

# A process that was stopped for longer than this does not replay the time it missed.
_CATCH_UP_STEPS: Final = 100


class MonotonicClock:
    """Wall time at the start, carried on by the monotonic clock; `speed` times as fast."""

    def __init__(self, start_ns: int, speed: float) -> None:
        """Start now."""
        self._start_ns, self._speed = start_ns, speed
        self._origin_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Simulated ns since the Unix epoch, never less than the last answer."""
        return self._start_ns + int((time.monotonic_ns() - self._origin_ns) * self._speed)

    def skip(self, ns: int) -> None:
        """Take simulated time back that the market did not live through."""
        self._start_ns -= ns


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m feeds.emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument(
        "--seed", type=int, default=7, help="decides everything but the universe and habits"
    )
    parser.add_argument("--listings", type=int, default=1_000, help="about how many options")
    parser.add_argument("--start-ns", type=int, default=0, help="simulated start; 0 is now")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds a second")
    parser.add_argument(
        "--events",
        choices=("none", "demo"),
        default="none",
        help="demo: plant the demonstration's events 20 to 40 s after the start",
    )
    return parser.parse_args(argv)


async def serve(options: argparse.Namespace) -> None:
    """Serve until told to stop."""
    start_ns = options.start_ns or time.time_ns()
    market = Market(options.seed, start_ns, options.listings)
    if options.events == "demo":
        for plant in demo_schedule(market.universe, market.books, market.now_ns):
            market.planter.add(plant)
    server = DeribitServer(market, options.seed)
    await server.start(options.host, options.port)
    stopped = asyncio.Event()
    _stop_with_parent(stopped)
    clock = MonotonicClock(start_ns, options.speed)
    base = f"{options.host}:{server.port}"
    ready = {
        "venue": "deribit",
        "simulated": True,
        "port": server.port,
        "rest_url": f"http://{base}/api/v2",
        "ws_url": f"ws://{base}/ws/api/v2",
        "control_url": f"http://{base}/emulator",
        "listings": market.universe.public,
        "seed": options.seed,
        "start_ns": market.universe.start_ns,
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    pump = asyncio.create_task(_pump(server, clock, options.speed), name="emulator pump")
    waiter = asyncio.create_task(stopped.wait(), name="emulator stop")
    try:
        # A pump that fails ends the process: a silent market would look like a quiet one.
        await asyncio.wait({pump, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if pump.done():
            pump.result()
    finally:
        pump.cancel()
        waiter.cancel()
        await server.stop()


async def _pump(server: DeribitServer, clock: MonotonicClock, speed: float) -> None:
    """Keep the market at the clock."""
    while True:
        behind = (clock.now_ns() - server.market.now_ns) // STEP_NS
        if behind > _CATCH_UP_STEPS:
            server.count("time_skipped")
            clock.skip((behind - _CATCH_UP_STEPS) * STEP_NS)
            behind = _CATCH_UP_STEPS
        await server.advance(max(0, behind))
        due_ns = server.market.now_ns + STEP_NS - clock.now_ns()
        await asyncio.sleep(max(0.0, due_ns / E9 / speed))


def _stop_with_parent(stopped: asyncio.Event) -> None:
    """Set the event on SIGTERM, SIGINT, or the end of standard input."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def watch() -> None:
        # os.read, because a thread inside sys.stdin's lock would break the interpreter's exit.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        with contextlib.suppress(RuntimeError):  # The loop is closed: it stopped otherwise.
            loop.call_soon_threadsafe(stopped.set)

    threading.Thread(target=watch, name="emulator stdin", daemon=True).start()


def main() -> None:
    """Run the process."""
    asyncio.run(serve(arguments()))


if __name__ == "__main__":
    main()
