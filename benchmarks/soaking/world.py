"""All emulated venues over one market and one `LiveRun` on real sockets, in a time of its own.

Time moves by whole quanta. In each the markets step, everything that was sent arrives, and only
then sleepers wake: sessions, the tick, the scan. What a run decides is therefore decided at the
same simulated times however slow the machine is.
"""

import asyncio
import contextlib
import heapq
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from feeds.emulator import server as emulator_server
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.profiles import PROFILES, Profile
from feeds.emulator.server import Connection, VenueServer
from feeds.emulator.servers import SERVERS
from feeds.emulator.venues.coincall import Account
from feeds.links import LinkState
from feeds.record import Record, RecordType
from feeds.venue import Signer
from feeds.venues import VENUES
from scanner.commands.live import ALERTS_NAME
from scanner.config import ScanConfig, load
from scanner.pipeline import Pipeline
from scanner.run import LiveHooks, LiveRun, SystemClock
from scanner.sinks import jsonl

START_NS: Final = 1_790_000_000_000_000_000  # 2026-09-21 14:13:20 UTC, a Monday
OPTIONS: Final = 30  # About how many a market lists over ten expiries,
EXPIRIES: Final = 2  # of which these are listed.
QUANTUM_STEPS: Final = 5
SECOND_STEPS: Final = 10
QUANTUM_NS: Final = QUANTUM_STEPS * STEP_NS
SECOND_QUANTA: Final = 10**9 // QUANTUM_NS
# Venues allow frames of up to 8 MB; a smaller bound lets one that is too large be a small one.
FRAME_BYTES_MAX: Final = 1 << 20
# A request passes through some five turns of the loop before its answer is queued.
IDLE_TURNS: Final = 16
SETTLE_S: Final = 30.0  # Of real time; a healthy machine takes milliseconds.
LOST_BY_FAULT: Final = ("gap", "silence", "reorder", "truncate", "huge", "retype", "wrong_types")
SLOW_READER_BYTES: Final = 32_000


class NotSettledError(RuntimeError):
    """What was sent did not arrive: a frame was lost between server and journal."""


class SimulatedClock(SystemClock):
    """A time that moves by hand; sleepers wake in the order in which they are due."""

    def __init__(self, start_ns: int) -> None:
        self.ns = start_ns
        self.steps_ns = []
        self._sleepers: list[tuple[int, int, str, asyncio.Future[None]]] = []
        self._count = 0
        self._changed = asyncio.Event()

    def now_ns(self) -> int:
        """Simulated nanoseconds since the Unix epoch."""
        return self.ns

    def look_for_step(self) -> int:
        """There is no wall clock that could step."""
        return 0

    async def sleep(self, seconds: float) -> None:
        """Wait until the time has been moved by some seconds."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.current_task()
        self._count += 1
        entry = (self.ns + round(seconds * 1e9), self._count, task.get_name() if task else "", wake)
        heapq.heappush(self._sleepers, entry)
        self._changed.set()
        await wake

    def wake(self) -> None:
        """Wake whoever is due."""
        while self._sleepers and self._sleepers[0][0] <= self.ns:
            wake = heapq.heappop(self._sleepers)[3]
            if not wake.done():  # Whoever was cancelled sleeps no more.
                wake.set_result(None)

    async def asleep(self, name: str) -> None:
        """Wait until the task of a name sleeps."""
        while not any(entry[2] == name and not entry[3].done() for entry in self._sleepers):
            self._changed.clear()
            await self._changed.wait()


class Observed(VenueServer):
    """A server that keeps account of what its faults took from whom.

    Attributes:
        doubts: channels whose last frame was lost or spoiled, so that a client may be behind
            without being able to know it; over with the next whole frame, and with the connection.
        slow_until_ns: until then a reader counts as slow that is SLOW_READER_BYTES behind.
        asked: requests that came, over HTTP and over sockets.
    """

    # Windows that the adapter orders by the venue's clock: when it goes back, the first is taken
    # for an old one, and the book is behind until the second.
    ORDERED_BY_CLOCK: ClassVar[frozenset[str]] = frozenset({"derive", "coincall"})

    def __init__(self, market: Market, seed: int) -> None:
        super().__init__(market, seed)
        self.doubts: set[str] = set()
        self.slow_until_ns = 0
        self.asked = 0
        self._clock_ms = 0
        self._deaf: list[Connection] = []
        self._set_back: dict[str, int] = {}  # channel -> step of the first frame since, 0 for none

    def deliver(self, channel: str, content: bytes) -> None:
        """Deliver a frame, and note whether its subscribers have it whole."""
        before, late = self._harm(), self.faults.holds(channel)
        super().deliver(channel, content)
        deaf = any(channel in connection.channels for connection in self._deaf)
        if late or deaf or self._harm() > before or self._dropped_as_old(channel):
            self.doubts.add(channel)
        else:
            self.doubts.discard(channel)

    def _dropped_as_old(self, channel: str) -> bool:
        """Whether a frame is the first since the clock went back."""
        first = self._set_back.get(channel)
        if first is None:
            return False
        if first in (0, self.market.index):
            self._set_back[channel] = self.market.index
            return True
        del self._set_back[channel]
        return False

    def _harm(self) -> int:
        struck = self.faults.struck
        return sum(struck[kind] for kind in LOST_BY_FAULT if kind in struck)

    def unsubscribe(self, connection: Connection, names: Sequence[str]) -> list[str]:
        """The client starts anew where it subscribes again: what it missed no longer matters."""
        left = super().unsubscribe(connection, names)
        self.doubts.difference_update(left)
        return left

    def publish(self, step: Step) -> None:
        """Send what a step changed, with the eyes of this step."""
        clock_ms, self._clock_ms = self._clock_ms, self.skew_ms
        if self.skew_ms < clock_ms and self.market.universe.profile.venue in self.ORDERED_BY_CLOCK:
            self._set_back = dict.fromkeys(self.listened, 0)
        now_ns = self.market.now_ns
        self._deaf = [one for one in self.connections if one.muted_until_ns > now_ns]
        allowed = emulator_server.OUT_BYTES_MAX
        if now_ns < self.slow_until_ns:
            emulator_server.OUT_BYTES_MAX = SLOW_READER_BYTES
        try:
            super().publish(step)
        finally:
            emulator_server.OUT_BYTES_MAX = allowed

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Count a request, and answer it."""
        self.asked += 1
        super().receive(connection, text)

    @web.middleware
    async def _disturb(self, request: Any, handler: Any) -> Any:
        self.asked += 1
        response = await super()._disturb(request, handler)
        self.asked += 1
        return response


class SoakMarket(Market):
    """A market whose tickers come together, once a second: they cost by the call."""

    def _ticker_schedule(self) -> list[NDArray[np.int64]]:
        spread = super()._ticker_schedule()
        nobody = np.zeros(0, np.int64)
        return [
            np.concatenate(spread[n : n + SECOND_STEPS]) if n % SECOND_STEPS == 0 else nobody
            for n in range(len(spread))
        ]


def _small(name: str) -> Profile:
    """A venue that lists its nearest expiries alone: hours are to pass in minutes."""
    return replace(PROFILES[name], expiries=EXPIRIES)


def observed(name: str, market: Market, seed: int) -> Observed:
    """The server of a venue, observed."""
    made: Observed = type(f"Observed{name}", (Observed, SERVERS[name]), {})(market, seed)
    return made


@dataclass
class Journaled:
    """Frames that reached the journal: of the present socket of each connection, and of all."""

    present: dict[int, int] = field(default_factory=dict)
    total: int = 0

    def count(self, record: Record) -> None:
        """Count a record."""
        if record.type is RecordType.FRAME:
            self.present[record.connection] += 1
            self.total += 1
        elif record.type is RecordType.CONNECTION and record.name == "open":
            self.present[record.connection] = 0


class SoakWorld:
    """Servers, one market, one run; `step` moves all of it by a quantum.

    Attributes:
        servers, live, clock: the parts.
        journaled: by venue.
    """

    SETTINGS: ClassVar[dict[str, object]] = {
        "engine.tick_ms": QUANTUM_NS // 1_000_000,
        "engine.listings_capacity": 1024,
        "engine.depth_slots_capacity": 1024,
        "engine.threads": 1,
        "engine.device": "cpu",
        "scoring.p_on": 0.01,  # Many alerts: their bytes are compared.
        "scoring.p_off": 0.1,
        "alerts.cooldowns_max": 256,
        # Tables that fill while the run warms up: growth after that is no table's.
        "limits.trade_keys": 4096,
        "record.segment_mb": 64,
    }

    def __init__(
        self, venues: Sequence[str], seed: int, folder: Path, settings: Mapping[str, object]
    ) -> None:
        """Build the markets.

        Args:
            venues: names.
            seed: decides the market and the jitter of the sessions.
            folder: takes the recording, and must not hold one.
            settings: beside SETTINGS, keys of the configuration.
        """
        self.folder, self.seed, self._settings = folder, seed, settings
        self.servers = {
            name: observed(name, SoakMarket(seed, START_NS, OPTIONS, profile=_small(name)), seed)
            for name in venues
        }
        self._first = next(iter(self.servers.values()))
        self.journaled = {name: Journaled() for name in venues}
        self.alerts = 0
        self.overruns = 0

    async def __aenter__(self) -> Self:
        for server in self.servers.values():
            await server.start()
        self.clock = SimulatedClock(self._first.market.now_ns)
        self.config = self._config()
        pipeline = Pipeline(self.config)
        pipeline.scanner.warm_up()
        self.live = LiveRun(
            self.config,
            record_to=self.folder,
            hooks=LiveHooks(
                self._on_scan, lambda _venue, _trouble: None,
                [jsonl.open_sink(str(self.folder / ALERTS_NAME))],
            ),
            pipeline=pipeline,
            clock=self.clock,
        )  # fmt: skip
        for name, session in self.live.sessions.items():
            session.rng = random.Random(f"{self.seed} {name}")
            session.limits = replace(session.limits, frame_bytes_max=FRAME_BYTES_MAX)
            recorder = session.recorder
            recorder.deliver = self._counting(name, recorder.deliver)
        self._task = asyncio.create_task(self.live.run(), name="run")
        await self.clock.asleep("ticks")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.overruns = self.live.overruns
        self.live.stop()
        for _ in range(2 * SECOND_QUANTA):  # Whoever sleeps sees that it is over, within a second.
            self.clock.ns += QUANTUM_NS
            self.clock.wake()
            await asyncio.wait({self._task}, timeout=0.02)
        for server in self.servers.values():
            await server.stop()
        await self._task

    def _config(self) -> ScanConfig:
        values = self.SETTINGS | dict(self._settings)
        values["limits.connect_state_file"] = str(self.folder / "connects.json")
        for name, server in self.servers.items():
            addresses = server.addresses("127.0.0.1")
            values |= {
                f"venues.{name}.underlyings": ["BTC", "ETH", "SOL"],
                f"venues.{name}.rest_url": addresses["rest_url"],
                f"venues.{name}.ws_url": addresses["ws_url"],
                f"venues.{name}.experimental": True,
            }
            if isinstance(VENUES[name], Signer):
                values[f"venues.{name}.key_file"] = str(self._key_file())
        return load(None, values)

    def _key_file(self) -> Path:
        """The emulated account, in a file of ours alone."""
        path = self.folder / "keys.toml"
        account = Account()
        path.touch(mode=0o600)
        path.write_text(f'key = "{account.key}"\nsecret = "{account.secret}"\n')
        return path

    def _counting(self, name: str, deliver: Any) -> Any:
        journaled = self.journaled[name]

        def counted(records: Sequence[Record]) -> None:
            for record in records:
                journaled.count(record)
            deliver(records)

        return counted

    def _on_scan(self, _run: LiveRun, alerts: Sequence[Any]) -> None:
        self.alerts += len(alerts)

    @property
    def now_s(self) -> float:
        """Simulated seconds since the start."""
        return (self.clock.ns - START_NS) / 1e9

    @property
    def index(self) -> int:
        """Steps of the market so far."""
        return self._first.market.index

    async def step(self) -> None:
        """Move by one quantum: markets, then all that was sent, then timers, ticks and scans.

        Raises:
            NotSettledError: something that a server sent did not reach the journal.
        """
        for _ in range(QUANTUM_STEPS):
            self.clock.ns += STEP_NS
            for server in self.servers.values():
                await server.advance()
        await self._settle()
        self.clock.wake()
        await self._ticked()
        await self._settle()

    async def _ticked(self) -> None:
        """Wait for the tick of this quantum; a run that failed says why."""
        asleep = asyncio.create_task(self.clock.asleep("ticks"), name="soak waits")
        await asyncio.wait({asleep, self._task}, return_when=asyncio.FIRST_COMPLETED)
        asleep.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asleep
        if self._task.done():
            await self._task

    async def _settle(self) -> None:
        """Let the sockets do all they can do in no time."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + SETTLE_S
        idle, seen = 0, self._activity()
        while idle < IDLE_TURNS:
            await asyncio.sleep(0)
            now = self._activity()
            idle = idle + 1 if now == seen and not self._behind() else 0
            seen = now
            if loop.time() > give_up:
                raise NotSettledError(f"did not settle: {self._behind()}")

    def _activity(self) -> tuple[int, ...]:
        """Anything that changes when bytes move."""
        counts: Counter[str] = Counter()
        for session in self.live.sessions.values():
            told = session.counts
            counts["frames"] += told.frames
            counts["did"] += told.requests + told.pings + told.replies
            counts["sockets"] += told.connects + told.connect_failures + told.disconnects
            counts["discovered"] += told.discoveries + told.discovery_failures
        return (*counts.values(), sum(server.asked for server in self.servers.values()))

    def _behind(self) -> str:
        """Which venue's sockets are under way, or hold frames that were sent and have not come."""
        for name, server in self.servers.items():
            links = self.live.sessions[name].links
            if any(link.state is LinkState.CONNECTING for link in links):
                return f"{name} is connecting"
            opened = [link.connection for link in links if link.state is LinkState.OPEN]
            sent = sum(connection.taken for connection in server.connections)
            came = sum(self.journaled[name].present[number] for number in opened)
            if len(opened) != len(server.connections) or sent != came:
                return (
                    f"{name} sent {sent} frames on {len(server.connections)} connections, "
                    f"{came} came on {len(opened)}"
                )
        return ""
