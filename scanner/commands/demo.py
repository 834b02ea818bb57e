"""Stages 1 to 8 of 8: `scanner demo`: local venue servers, scanned by the real feed handlers."""

import asyncio
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from feeds.contract import Listing
from feeds.emulator.process import EmulatorProcess
from feeds.emulator.profiles import PROFILES
from feeds.emulator.universe import build_universe
from scanner.alert import SECOND_NS
from scanner.checkpoint import Checkpoint, emulated_names
from scanner.checkpoint import load as load_checkpoint
from scanner.commands.arguments import write_json, write_line
from scanner.commands.live import compact_recording, live_run, prepare, stop_on_signals
from scanner.commands.witness import Sighting, Witness, in_words, record_of, where
from scanner.config import ScanConfig, load
from scanner.pipeline import Pipeline
from scanner.run import LiveRun
from scanner.telemetry import set_up_logging
from scanner.view import LiveView, export_svg

UNDERLYINGS: Final = ("BTC", "ETH", "SOL")
VENUES: Final = ("deribit", "binance", "okx", "bybit", "derive", "delta")
MARKED: Final = "deribit"  # where the events are planted
CHECKPOINT_FILE: Final = "demo_checkpoint.npz"
CHECKPOINT_LISTINGS: Final = 1_000  # The checkpoint knows this universe; another starts cold.
CONNECT_TIMEOUT_S: Final = 60.0
LAG_TOLD_S: Final = 2.0  # A market that is farther behind is worth a word.
LEGEND: Final = (
    "the page: SCORE 4 is p 1e-04, one observation in 10,000; Δσ say which way price and",
    "      volatility are pressed; WHY is the leading family with its share, and its feature's z",
)
NEXT: Final = (
    "next: .venv/bin/scanner replay RECORDING      your own history (docs/SEMANTICS.md, tables)",
    "      .venv/bin/scanner run                   the live venues of scanner check-config",
    "      .venv/bin/scanner demo --record FOLDER  keep a demonstration, replay it byte for byte",
)


def demo(
    seconds: float | None, *, seed: int, listings_count: int, device: str | None,
    record_to: Path | None, picture: Path | None, as_json: bool,
    venues: Sequence[str] = VENUES,
) -> int:  # fmt: skip
    """Scan a simulated market for `seconds` after the first scored scan; None runs until Ctrl-C.

    Events are planted 20 to 52 s after the first scored scan; the end says of each when, where, and
    what the scanner said.
    `picture` takes the page with the most to see as an SVG file.
    """
    set_up_logging("warning")
    _say(f"simulated market: local servers of {', '.join(venues)}; no network, no keys")
    _say("20 quiet seconds, then planted events; a table at the end says what the scanner found")
    with TemporaryDirectory(prefix="scanner-demo-") as scratch:
        base = base_settings(Path(scratch), device, venues)
        pipeline = prepare(load(None, base), at_once=True)
        with EmulatorProcess(seed=seed, listings=listings_count, venues=venues) as emulator:
            urls: dict[str, object] = {
                f"venues.{name}.{key}": addresses[key]
                for name, addresses in emulator.venues.items()
                for key in ("rest_url", "ws_url")
            }
            settings = load(None, base | urls)
            members = [
                listing
                for name in venues
                for listing in build_universe(
                    emulator.start_ns, listings_count, PROFILES[name]
                ).listings
            ]
            checkpoint = _checkpoint(members, listings_count)
            by_key = {f"{listing.venue}:{listing.symbol}": listing for listing in members}
            show = _Demo(settings, emulator, seconds, seed, by_key, as_json=as_json)
            live, code = asyncio.run(show.run(pipeline, checkpoint, record_to))
        compact_recording(settings, live.journal, record_to)
        if picture is not None and show.shown.fullest is not None:
            export_svg(show.shown.fullest, picture, "scanner demo (simulated market)")
    return code


def base_settings(folder: Path, device: str | None, venues: Sequence[str]) -> dict[str, object]:
    """Settings of a demonstration, but for where its servers are.

    Spots are left out: the baselines were learned without any, and an option's is none for them.
    """
    found: dict[str, object] = {
        "engine.device": device,
        "limits.connect_state_file": str(folder / "connects.json"),
    }
    for name in venues:
        found |= {f"venues.{name}.underlyings": list(UNDERLYINGS), f"venues.{name}.spots": False}
    return found


def _checkpoint(members: Sequence[Listing], listings_count: int) -> Checkpoint | None:
    """Baselines of a simulated quiet market, under today's symbols of the simulated universe."""
    if listings_count != CHECKPOINT_LISTINGS:
        _say(f"cold start: the embedded checkpoint is for {CHECKPOINT_LISTINGS} listings")
        return None
    _say(
        "baselines: 2 h 20 min of simulated quiet market, other seeds (scanner/demo_checkpoint.npz)"
    )
    checkpoint = load_checkpoint(Path(str(files("scanner") / CHECKPOINT_FILE)))
    return checkpoint.renamed({place: name for name, place in emulated_names(members).items()})


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


class _Demo:
    """One demonstration: run, plant, compare."""

    def __init__(
        self, settings: ScanConfig, emulator: EmulatorProcess, seconds: float | None, seed: int,
        listings: Mapping[str, Listing], *, as_json: bool,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._emulator = emulator
        self._seconds = seconds
        self._seed = seed
        self._listings = listings
        self._as_json = as_json
        self._view = None if as_json else LiveView(rows=settings.view.rows)
        self.shown = Witness(self._view, settings.scoring.p_on)

    async def run(
        self, pipeline: Pipeline, checkpoint: Checkpoint | None, record_to: Path | None
    ) -> tuple[LiveRun, int]:
        """The run, which has ended, and the exit code."""
        live = live_run(
            self._settings, self.shown, pipeline=pipeline, record_to=record_to,
            checkpoint=checkpoint,
        )  # fmt: skip
        stop_on_signals(live)
        with nullcontext() if self._view is None else self._view:
            await self._scan(live)
        return live, self._report(live)

    async def _scan(self, live: LiveRun) -> None:
        """Run, plant events after the first scored scan, and stop when the time is over."""
        async with asyncio.TaskGroup() as group:
            running = group.create_task(live.run(), name="live")
            conductor = group.create_task(self._conduct(live), name="conductor")
            await running
            conductor.cancel()

    async def _conduct(self, live: LiveRun) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self.shown.scored.wait()
        except TimeoutError:
            live.stop()
            return
        planted = await self._emulator.post(MARKED, "mark", {"in_s": 0})
        await self._look_at_the_clocks(live)
        self.shown.watch(planted, self._listings)
        loop = asyncio.get_running_loop()
        end_s = loop.time() + (math.inf if self._seconds is None else self._seconds)
        while (left_s := end_s - loop.time()) > 0:
            await asyncio.sleep(min(1.0, left_s))
            await self._look_at_the_clocks(live)
        live.stop()

    async def _look_at_the_clocks(self, live: LiveRun) -> None:
        """See how far the simulated market is behind."""
        status = await self._emulator.get(MARKED, "status")
        self.shown.lag_ns = live.clock.now_ns() - status["now_ns"]

    def _report(self, live: LiveRun) -> int:
        shown, p_on = self.shown, self._settings.scoring.p_on
        scored = shown.scored_ns > 0
        if self._as_json:
            for one in shown.sightings:
                write_json({"planted": record_of(one, p_on)})
            write_json({"summary": live.summary()})
        elif scored:
            for line in closing_words(shown, p_on, live.summary(), self._seed):
                write_line(line)
        else:
            write_line(
                f"no scored scan within {CONNECT_TIMEOUT_S:.0f} s; scanner doctor may know why"
            )
        return 0 if scored else 1


def closing_words(
    shown: Witness, p_on: float, counts: Mapping[str, Any], seed: int
) -> Iterator[str]:
    """What was planted, where and when, and what the scanner said of it; then how to go on."""
    yield ""
    if not shown.sightings:
        yield "nothing was planted before the end: events begin 20 s after the first scored scan"
    else:
        yield "PLANTED, AND WHAT THE SCANNER SAID   (times UTC; simulated; thresholds as ever)"
    for one in shown.sightings:
        said, how = in_words(one, p_on)
        yield f"  {_clock(one)} {one.kind:<11} {one.target:<20} {where(one):<22} {said}"
        yield f"{'':>11}{how}"
    alerts = sum(counts["alerts"].values())
    yield (
        f"  {counts['events']:,} events, {counts['scans']} scans of {counts['listings']:,} "
        f"listings, {alerts} alerts; seed {seed}"
    )
    if shown.lag_ns > LAG_TOLD_S * SECOND_NS:
        yield (
            f"  the simulated market ended {shown.lag_ns / SECOND_NS:.0f} s behind the clock: "
            "this machine was busy"
        )
    yield ""
    yield from LEGEND
    yield from NEXT


def _clock(one: Sighting) -> str:
    if not one.began_ns:
        return "--:--:--"
    return datetime.fromtimestamp(one.began_ns // SECOND_NS, UTC).strftime("%H:%M:%S")
