"""Stages 1 to 8 of 8: the asyncio joint: sessions, journal, ticks, sinks; the only reader of time.

The event loop receives and decodes. Ticks run one at a time in one worker thread, which alone owns
the parallel kernels. While it works the inbox fills; the loop decodes between two ticks only, so
the universe never changes under a tick. It decodes in bounded steps, and lets sockets and timers
have their turn after each. A full inbox makes the loop wait for the tick that runs and decode a
step on the spot: sockets are not read meanwhile, TCP holds the venue back, nothing is lost.
"""

import asyncio
import functools
import gc
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from feeds.budget import ConnectBudget
from feeds.contract import Listing
from feeds.daily import DailyWindow
from feeds.journal import Journal, JournalLimits
from feeds.links import LinkState, SessionPolicy
from feeds.record import Record, RecordType
from feeds.session import VenueSession
from feeds.transport import open_transport
from feeds.venues import VENUES
from scanner import __version__
from scanner.access import access_of
from scanner.alert import Alert, Sink
from scanner.checkpoint import Checkpoint
from scanner.config import ScanConfig, VenueSettings, config_hash, effective
from scanner.depth import DepthChooser, candidates
from scanner.engine import MS_NS
from scanner.intake import MEGABYTE, Intake, Wishes, channel_tiers
from scanner.pipeline import Pipeline, grid_after
from scanner.view_model import Rates, VenueHealth

TROUBLE_EVERY_NS: Final = 5_000 * MS_NS
CLOCK_STEP_NS: Final = 250 * MS_NS  # NTP slews by less than this between two looks.
CHECKPOINT_NAME: Final = "checkpoint.npz"
_log: Final = structlog.get_logger()


class SystemClock:
    """Wall time at the start, carried on by the monotonic clock.

    A run waits by it too: who overrides all three methods drives a run in a time of its own.

    Attributes:
        steps_ns: steps of the wall clock seen since; they are events, never jumps of this clock.
    """

    def __init__(self) -> None:
        """Anchor now."""
        self._anchor_ns = time.time_ns() - time.monotonic_ns()
        self._last_ns = 0
        self._offset_ns = 0
        self.steps_ns: list[int] = []

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC, never less than the last answer."""
        now_ns = self._anchor_ns + time.monotonic_ns()
        if now_ns > self._last_ns:  # noqa: PLR1730 - asked for every frame: a third of max()
            self._last_ns = now_ns
        return self._last_ns

    def look_for_step(self) -> int:
        """Compare with the wall clock; returns a step in ns since the last look, 0 for none."""
        offset_ns = time.time_ns() - time.monotonic_ns() - self._anchor_ns
        step_ns = offset_ns - self._offset_ns
        self._offset_ns = offset_ns
        return step_ns if abs(step_ns) > CLOCK_STEP_NS else 0

    async def sleep(self, seconds: float) -> None:
        """Wait some seconds."""
        await asyncio.sleep(seconds)


def _log_trouble(venue: str, trouble: str) -> None:
    if trouble:
        _log.warning("feed in trouble", venue=venue, trouble=trouble)
    else:
        _log.warning("feed whole again", venue=venue)


@dataclass(slots=True)
class LiveHooks:
    """What a command wants to be told; each is called on the event loop.

    on_scan: after every scan, before the next tick: results may be read.
    on_trouble: when a venue's trouble changes: its name, and one line, empty once it is over.
    """

    on_scan: Callable[["LiveRun", list[Alert]], None] = lambda _run, _alerts: None
    on_trouble: Callable[[str, str], None] = _log_trouble
    sinks: Sequence[Sink] = ()


@dataclass(slots=True)
class Meter:
    """Rates between two scans."""

    at_ns: int = 0
    frames: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    scan_ms: float = float("nan")


class LiveRun:
    """One run over the configured venues.

    Attributes:
        pipeline, intake, journal, sessions: the stages.
        overruns: grid times that passed while a tick was running.
        forced_drains: times that the inbox was full.
        health, rates: what the views show.
    """

    def __init__(
        self, config: ScanConfig, *, record_to: Path | None = None,
        checkpoint: Checkpoint | None = None, hooks: LiveHooks | None = None,
        pipeline: Pipeline | None = None, scanning: bool = True, clock: SystemClock | None = None,
    ) -> None:  # fmt: skip
        """Set everything up; nothing is opened before `run`.

        Args:
            config: settings.
            record_to: folder of the raw recording, which must not hold one; None records nothing.
            checkpoint: baselines to start from; None starts cold.
            hooks: callbacks and sinks.
            pipeline: one that is warmed up already.
            scanning: False records the same log and scans nothing.
            clock: the one clock of the run; the system's where None.

        Raises:
            JournalError: the folder holds a recording.
            SessionError: a venue's transport is not installed.
            SecretError, ConfigError: as `access_of`, of a venue.
        """
        self.config = config
        self.clock = clock or SystemClock()
        self.hooks = hooks or LiveHooks()
        self.pipeline = pipeline or Pipeline(config)
        self.intake = Intake(config, self.pipeline)
        self.journal = Journal(self.clock, record_to, _journal_limits(config))
        self._record_to = record_to
        self._scanning = scanning
        self._checkpoint = checkpoint
        budget = ConnectBudget(
            config.limits.connect_state_file, self.clock, config.limits.connect_budget,
            config.limits.connect_window_s,
        )  # fmt: skip
        self.sessions = {
            name: self._session(name, settings, budget)
            for name, settings in config.venues.items()
            if settings.enabled
        }
        self._choosers = {
            name: DepthChooser(settings.depth_listings)
            for name, settings in config.venues.items()
            if settings.enabled and settings.depth_listings is not None
        }
        self.overruns = 0
        self.forced_drains = 0
        self.health: list[VenueHealth] = []
        self.rates = Rates()
        self._meter = Meter()
        self._worker = ThreadPoolExecutor(1, "tick")
        self._running: Future[Any] | None = None
        self._stopping = asyncio.Event()
        self._tick_ns = config.engine.tick_ms * MS_NS
        self._drained = 0  # records of the last call, until a TICK record says how many

    def stop(self) -> None:
        """End the run after the tick that runs now."""
        self._stopping.set()

    async def run(self, seconds: float | None = None) -> None:
        """Scan until stopped, or for some seconds."""
        self._begin()
        try:
            async with asyncio.TaskGroup() as group:
                for name, session in self.sessions.items():
                    group.create_task(session.run(), name=f"session.{name}")
                group.create_task(self._ticks(), name="ticks")
                group.create_task(self._watch(), name="watch")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), seconds)
                self._stopping.set()
                for session in self.sessions.values():
                    session.stop()
            self._note_drain()
            self.intake.drain()  # What came behind the last tick is counted, as in a replay.
        finally:
            gc.unfreeze()
            self._worker.shutdown()
            self.journal.close()
            for sink in self.hooks.sinks:
                with suppress(TimeoutError):
                    await asyncio.wait_for(sink.close(), self.config.limits.sink_timeout_s)

    def _begin(self) -> None:
        """The first records of the log, and the checkpoint.

        What is there by now stays, and is left out of garbage collections: one of it all would hold
        the interpreter, and every socket and timer with it, for some 30 ms.
        """
        gc.collect()
        gc.freeze()
        start = {
            "version": __version__,
            "config_hash": config_hash(self.config),
            "checkpoint": CHECKPOINT_NAME if self._checkpoint else "cold",
        }
        record = self._note(RecordType.START, "", start)
        self._note(RecordType.CONFIG, "", effective(self.config, identity_only=True))
        if self._checkpoint is not None:
            if self._record_to is not None:
                self._checkpoint.write(self._record_to / CHECKPOINT_NAME)
            self._checkpoint.into(self.pipeline.scanner, record.rx_ns)

    def _note(self, record_type: RecordType, name: str, payload: dict[str, Any]) -> Record:
        return self.journal.append(record_type, "", -1, name, json.dumps(payload).encode())

    async def discover(self) -> list[Listing]:
        """Listings of all venues, by REST alone.

        Raises:
            SessionError: a venue did not answer as expected.
        """
        return [one for session in self.sessions.values() for one in await session.discover_once()]

    def _session(self, name: str, settings: VenueSettings, budget: ConnectBudget) -> VenueSession:
        venue, limits = VENUES[name], self.config.limits
        tiers = channel_tiers(name, settings)
        access = access_of(self.config, name)
        policy = SessionPolicy(
            http_s=limits.http_timeout_s,
            http_bytes_max=limits.http_body_mb * MEGABYTE,
            retry_base_s=limits.connect_backoff_s,
            retry_cap_s=limits.connect_backoff_max_s,
            resync_base_s=limits.resync_backoff_s,
            resync_cap_s=limits.resync_backoff_max_s,
            resync_under_way_max=limits.resync_inflight_max,
        )
        return VenueSession(
            venue,
            rest_url=settings.rest_url or venue.REST_URL,
            ws_url=settings.ws_url or venue.WS_URL,
            journal=self.journal,
            clock=self.clock,
            options=tiers.base,
            depth=tiers.depth,
            limits=venue.LIMITS,
            budget=budget,
            deliver=self._deliver,
            underlyings=settings.underlyings,
            rng=random.Random(),  # noqa: S311 - jitter
            policy=policy,
            transport=open_transport(settings.transport, access.network),
            maintenance=[DailyWindow.read(text) for text in settings.maintenance],
            credentials=access.credentials,
            network=access.network,
            redact=access.redact,
            sleep=self.clock.sleep,
        )

    def _deliver(self, records: Sequence[Record]) -> None:
        if self.intake.deliver(records):
            self._make_room()

    def _make_room(self) -> None:
        while self.intake.full:
            self.forced_drains += 1
            if self._running is not None:
                self._running.result()
            self._decode(self.intake.step())

    def _decode(self, count: int) -> None:
        """Decode the oldest records; a TICK record tells it before anything else is decoded."""
        self._note_drain()
        self._drained = count
        self._grant(self.intake.drain(count))

    async def _drain(self, until_ns: int) -> None:
        """Decode what was received up to a grid time; what came later waits for the next tick.

        So this ends, however fast records come.
        """
        while count := self.intake.step(until_ns):
            self._decode(count)
            await asyncio.sleep(0)

    async def _ticks(self) -> None:
        """Close every grid time that has something to do; late ones merge into the last."""
        done_ns = grid_after(self.clock.now_ns(), self._tick_ns)
        while not self._stopping.is_set():
            await self.clock.sleep((done_ns + self._tick_ns - self.clock.now_ns()) * 1e-9)
            latest_ns = self.clock.now_ns() // self._tick_ns * self._tick_ns
            if latest_ns <= done_ns:
                continue
            merged = (latest_ns - done_ns) // self._tick_ns - 1
            self.overruns += merged
            await self._close(done_ns, latest_ns, merged)
            done_ns = latest_ns

    async def _close(self, done_ns: int, latest_ns: int, merged: int) -> None:
        """Drain, then scan the last scan time in (done, latest], then tick what lies behind it."""
        await self._drain(latest_ns)
        period_ns = self.pipeline.scan_ns
        scan_ns = latest_ns // period_ns * period_ns
        if scan_ns > done_ns and self.pipeline.due(scan_ns):
            self._note_tick("scan", scan_ns, merged, await self._batch_hash(scan_ns))
            started = time.perf_counter()
            if not self._scanning:
                self.pipeline.skip(scan_ns)
                return
            alerts = await self._work(self.pipeline.scan, scan_ns)
            self._measure((time.perf_counter() - started) * 1e3)
            self._grant(Wishes(resync=self._truncated()))
            await self._choose_depth(scan_ns)
            self.hooks.on_scan(self, alerts)
            await self._hand_over(alerts)
        elif self._scanning and self.pipeline.scanner.has_pending:
            self._note_tick("tick", latest_ns, merged, await self._batch_hash(latest_ns))
            await self._work(self.pipeline.tick, latest_ns)

    async def _choose_depth(self, scan_ns: int) -> None:
        """Let the venues with two tiers follow what the scan says matters."""
        due = {
            name: self.sessions[name].depth_refused
            for name, chooser in self._choosers.items()
            if chooser.due(scan_ns)
        }
        if due:
            chosen = await self._work(functools.partial(self._chosen, due), scan_ns)
            for name, symbols in chosen.items():
                self.sessions[name].follow_depth(symbols)

    def _chosen(
        self, refused: Mapping[str, frozenset[str]], scan_ns: int
    ) -> dict[str, Mapping[str, str]]:
        result, universe = self.pipeline.last_scan, self.pipeline.universe
        assert result is not None
        return {
            name: self._choosers[name].choose(candidates(result, universe, name, out), scan_ns)
            for name, out in refused.items()
        }

    def _note_tick(self, name: str, grid_ns: int, merged: int, batch_hash: str = "") -> None:
        payload = {
            "grid_ns": grid_ns,
            "batch_hash": batch_hash,
            "merged": merged,
            "records": self._drained,
        }
        self._drained = 0
        self._note(RecordType.TICK, name, payload)

    def _note_drain(self) -> None:
        """Log the last call of the intake by itself, where no tick has followed it.

        A replay makes the same calls: what a call takes of several venues, it orders.
        """
        if self._drained:
            self._note_tick("drain", 0, 0)

    async def _batch_hash(self, grid_ns: int) -> str:
        """Hash of what a tick will apply, made where it holds nobody up.

        It costs a pass over the rows; a run that records nothing has no use for it.
        """
        if self._record_to is None:
            return ""
        found: str = await self._work(self.pipeline.scanner.due_hash, grid_ns)
        return found

    async def _work(self, step: Callable[[int], Any], grid_ns: int) -> Any:
        self._running = self._worker.submit(step, grid_ns)
        try:
            return await asyncio.wrap_future(self._running)
        finally:
            self._running = None

    async def _hand_over(self, alerts: list[Alert]) -> None:
        if not alerts:
            return
        for sink in self.hooks.sinks:
            await sink.deliver(alerts)

    def _grant(self, wishes: Wishes) -> None:
        """Pass the wishes of a drain on to the sessions."""
        for venue, symbols in wishes.resync.items():
            self.sessions[venue].request_resync(symbols)
        for venue in wishes.discover:
            self.sessions[venue].request_discovery()

    def _truncated(self) -> dict[str, list[str]]:
        """Listings whose truncated book ran out, by venue."""
        wanted: dict[str, list[str]] = {}
        for row in self.pipeline.scanner.take_resyncs():
            listing = self.pipeline.listing_of(row)
            if listing is not None:
                wanted.setdefault(listing.venue, []).append(listing.symbol)
        return wanted

    async def _watch(self) -> None:
        """Look once a second for steps of the wall clock and for trouble with a feed."""
        told: dict[str, tuple[int, str]] = {}
        while not self._stopping.is_set():
            await self.clock.sleep(1.0)
            step_ns = self.clock.look_for_step()
            if step_ns:
                self.clock.steps_ns.append(step_ns)
                self._note(RecordType.CLOCK_STEP, "", {"step_ns": step_ns})
                _log.warning("wall clock stepped", step_ms=step_ns // MS_NS)
            if not self._stopping.is_set():  # Connections that we closed are no trouble.
                self._tell_troubles(told)

    def _tell_troubles(self, told: dict[str, tuple[int, str]]) -> None:
        """Tell what changed, of one venue at most every TROUBLE_EVERY_NS: feeds may flap."""
        now_ns = self.clock.now_ns()
        for name, session in self.sessions.items():
            if session.in_maintenance:  # Neither new trouble, nor whole again.
                continue
            told_ns, text = told.get(name, (0, ""))
            if session.trouble != text and now_ns - told_ns >= TROUBLE_EVERY_NS:
                told[name] = now_ns, session.trouble
                self.hooks.on_trouble(name, session.trouble)

    def _measure(self, scan_ms: float) -> None:
        """Rates since the scan before, and the health of the venues."""
        now_ns, meter = self.clock.now_ns(), self._meter
        seconds = max((now_ns - meter.at_ns) * 1e-9, 1e-9) if meter.at_ns else float("nan")
        frames = {name: session.counts.frames for name, session in self.sessions.items()}
        rows = self.pipeline.counts.events
        per_s = {name: (n - meter.frames.get(name, 0)) / seconds for name, n in frames.items()}
        self.rates = Rates(sum(per_s.values()), (rows - meter.rows) / seconds, scan_ms)
        self.health = [self._health_of(name, per_s[name]) for name in self.sessions]
        self._meter = Meter(now_ns, frames, rows, scan_ms)

    def _health_of(self, name: str, messages_per_s: float) -> VenueHealth:
        session, counts = self.sessions[name], self.intake.counts[name]
        clock = self.intake.clocks[name]
        open_links = sum(link.state is LinkState.OPEN for link in session.links)
        return VenueHealth(
            venue=name,
            connections=open_links,
            connections_planned=sum(bool(link.ledger.wanted) for link in session.links),
            deep=None if session.subscriber.tier is None else len(session.subscriber.tier.symbols),
            messages_per_s=messages_per_s,
            gaps=counts["gaps"],
            resyncs=session.counts.resyncs,
            rejected=counts["rejected_rows"] + counts["frame_errors"],
            lag_ms=clock.lag_ns * 1e-6,
            offset_ms=clock.offset_ns * 1e-6,
            maintenance=session.in_maintenance,
            recovering=sum(link.recovering for link in session.links),
        )

    def summary(self) -> dict[str, Any]:
        """Counts of the run."""
        return self.pipeline.summary(
            {
                "feed": self.intake.totals(),
                "overruns": self.overruns,
                "forced_drains": self.forced_drains,
                "clock_steps": len(self.clock.steps_ns),
                "journal_lost": self.journal.lost,
            }
        )


def _journal_limits(config: ScanConfig) -> JournalLimits:
    limits = config.limits
    return JournalLimits(
        flush_records=limits.journal_flush_records,
        flush_bytes=limits.journal_flush_mb * MEGABYTE,
        flush_s=limits.journal_flush_s,
        segment_bytes=config.record.segment_mb * MEGABYTE,
        queue_batches=limits.journal_queue_batches,
    )
