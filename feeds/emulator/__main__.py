"""Stage 1 of 8, simulated: the emulator's process, `python -m feeds.emulator --venues deribit,okx`.

Serves every venue on a port of its own over one simulated market: their prices are the same, their
makers and traders are not. Prints one JSON line with the addresses when it is ready, then serves
until its standard input closes or SIGTERM or SIGINT arrives; a parent that holds the other end of a
pipe therefore never leaves it behind, however the parent dies. This process makes its own clock:
simulated time starts at the wall clock (or --start-ns) and runs with the monotonic clock, --speed
times as fast.
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
from feeds.emulator.market import STEP_NS, Market
from feeds.emulator.planted import demo_schedule
from feeds.emulator.profiles import PROFILES
from feeds.emulator.server import VenueServer
from feeds.emulator.servers import SERVERS

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
    parser.add_argument(
        "--venues", default="deribit", help=f"comma separated, of {', '.join(SERVERS)}"
    )
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
    found = parser.parse_args(argv)
    found.venues = found.venues.split(",")
    unknown = sorted(set(found.venues) - SERVERS.keys())
    if unknown:
        known = ", ".join(SERVERS)
        parser.error(f"--venues: there is no {', '.join(unknown)}, expected of {known}")
    return found


async def serve(options: argparse.Namespace) -> None:
    """Serve until told to stop."""
    start_ns = options.start_ns or time.time_ns()
    servers = [_server(name, options, start_ns) for name in options.venues]
    markets = dict(zip(options.venues, (server.market for server in servers), strict=True))
    for server in servers:
        server.peers = markets
        await server.start(options.host)
    stopped = asyncio.Event()
    _stop_with_parent(stopped)
    clock = MonotonicClock(start_ns, options.speed)
    ready = {
        "simulated": True,
        "seed": options.seed,
        "start_ns": servers[0].market.universe.start_ns,
        "venues": {
            name: server.addresses(options.host) | {"listings": server.market.universe.public}
            for name, server in zip(options.venues, servers, strict=True)
        },
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    pump = asyncio.create_task(_pump(servers, clock, options.speed), name="emulator pump")
    waiter = asyncio.create_task(stopped.wait(), name="emulator stop")
    try:
        # A pump that fails ends the process: a silent market would look like a quiet one.
        await asyncio.wait({pump, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if pump.done():
            pump.result()
    finally:
        pump.cancel()
        waiter.cancel()
        for server in servers:
            await server.stop()


def _server(name: str, options: argparse.Namespace, start_ns: int) -> VenueServer:
    """One venue over its market, with the demonstration's events planted where asked."""
    market = Market(options.seed, start_ns, options.listings, profile=PROFILES[name])
    if options.events == "demo":
        for plant in demo_schedule(market.universe, market.books, market.now_ns):
            market.planter.add(plant)
    return SERVERS[name](market, options.seed)


async def _pump(servers: Sequence[VenueServer], clock: MonotonicClock, speed: float) -> None:
    """Keep the markets at the clock, in step with each other."""
    first = servers[0]
    while True:
        behind = (clock.now_ns() - first.market.now_ns) // STEP_NS
        if behind > _CATCH_UP_STEPS:
            first.count("time_skipped")
            clock.skip((behind - _CATCH_UP_STEPS) * STEP_NS)
            behind = _CATCH_UP_STEPS
        for _ in range(max(0, behind)):
            for server in servers:
                await server.advance()
        due_ns = first.market.now_ns + STEP_NS - clock.now_ns()
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
