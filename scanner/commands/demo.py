"""Stages 1 to 8 of 8: `scanner demo`: local venue servers, scanned by the real feed handlers."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from feeds.emulator.process import EmulatorProcess
from feeds.emulator.profiles import PROFILES
from feeds.emulator.universe import build_universe
from scanner.checkpoint import Checkpoint, emulated_names
from scanner.checkpoint import load as load_checkpoint
from scanner.commands.arguments import write_json, write_line
from scanner.commands.live import Shown, compact_recording, live_run, prepare, stop_on_signals
from scanner.config import ScanConfig, load
from scanner.run import LiveRun
from scanner.telemetry import set_up_logging
from scanner.view import LiveView, export_svg

UNDERLYINGS: Final = ("BTC", "ETH", "SOL")
VENUES: Final = ("deribit", "binance", "okx", "bybit", "derive", "delta")
MARKED: Final = "deribit"  # where the events are planted
# The pulled slice is pulled here too, these seconds after the start of the events.
FOLLOWERS: Final = {"okx": 25.0, "bybit": 26.0}
FOLLOW_DURATION_S: Final = 13.0
CHECKPOINT_FILE: Final = "demo_checkpoint.npz"
CHECKPOINT_LISTINGS: Final = 1_000  # The checkpoint knows this universe; another starts cold.
CONNECT_TIMEOUT_S: Final = 60.0
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

    Events are planted 20 to 40 s after the first scored scan; the end says which were found.
    `picture` takes the page with the most open alerts as an SVG file.
    """
    set_up_logging("warning")
    _say(f"simulated market: local servers of {', '.join(venues)}; no network, no keys")
    with TemporaryDirectory(prefix="scanner-demo-") as scratch:
        base: dict[str, object] = {
            "engine.device": device,
            "limits.connect_state_file": str(Path(scratch) / "connects.json"),
        } | {f"venues.{name}.underlyings": list(UNDERLYINGS) for name in venues}
        pipeline = prepare(load(None, base), at_once=True)
        with EmulatorProcess(seed=seed, listings=listings_count, venues=venues) as emulator:
            urls: dict[str, object] = {
                f"venues.{name}.{key}": addresses[key]
                for name, addresses in emulator.venues.items()
                for key in ("rest_url", "ws_url")
            }
            settings = load(None, base | urls)
            checkpoint = _checkpoint(emulator.start_ns, listings_count, venues)
            show = _Demo(settings, emulator, seconds, seed, as_json=as_json)
            live, code = asyncio.run(show.run(pipeline, checkpoint, record_to))
        compact_recording(settings, live.journal, record_to)
        if picture is not None and show.shown.fullest is not None:
            export_svg(show.shown.fullest, picture, "scanner demo (simulated market)")
    return code


def _checkpoint(start_ns: int, listings_count: int, venues: Sequence[str]) -> Checkpoint | None:
    """Baselines of a simulated quiet market, under today's symbols of the simulated universe."""
    if listings_count != CHECKPOINT_LISTINGS:
        _say(f"cold start: the embedded checkpoint is for {CHECKPOINT_LISTINGS} listings")
        return None
    _say(
        "baselines: 2 h 20 min of simulated quiet market, other seeds (scanner/demo_checkpoint.npz)"
    )
    checkpoint = load_checkpoint(Path(str(files("scanner") / CHECKPOINT_FILE)))
    universes = (build_universe(start_ns, listings_count, PROFILES[name]) for name in venues)
    members = [listing for universe in universes for listing in universe.listings]
    return checkpoint.renamed({place: name for name, place in emulated_names(members).items()})


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


class _Demo:
    """One demonstration: run, plant, compare."""

    def __init__(
        self, settings: ScanConfig, emulator: EmulatorProcess, seconds: float | None, seed: int,
        *, as_json: bool,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._emulator = emulator
        self._seconds = seconds
        self._seed = seed
        self._as_json = as_json
        self._view = None if as_json else LiveView(rows=settings.view.rows)
        self.shown = Shown(self._view)

    async def run(
        self, pipeline: Any, checkpoint: Checkpoint | None, record_to: Path | None
    ) -> tuple[LiveRun, int]:
        """The run, which has ended, and the exit code."""
        view, shown = self._view, self.shown
        live = live_run(
            self._settings, shown, pipeline=pipeline, record_to=record_to, checkpoint=checkpoint
        )
        stop_on_signals(live)
        if view is None:
            truth = await self._scan(live, shown)
        else:
            with view:
                truth = await self._scan(live, shown)
        return live, self._report(live, shown, truth)

    async def _scan(self, live: LiveRun, shown: Shown) -> list[dict[str, Any]]:
        """Run, plant events after the first scored scan, and stop when the time is over."""
        async with asyncio.TaskGroup() as group:
            running = group.create_task(live.run(), name="live")
            conductor = group.create_task(self._conduct(live, shown), name="conductor")
            await running
            conductor.cancel()
        return [
            event | {"venue": venue}
            for venue in self._emulator.venues
            for event in await self._emulator.get(venue, "truth")
        ]

    async def _conduct(self, live: LiveRun, shown: Shown) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await shown.scored.wait()
        except TimeoutError:
            live.stop()
            return
        planted = await self._emulator.post(MARKED, "mark", {"in_s": 0})
        await self._follow(planted)
        if self._seconds is not None:
            await asyncio.sleep(self._seconds)
            live.stop()

    async def _follow(self, planted: list[dict[str, Any]]) -> None:
        """Pull the same slice on the venues that follow, a little later."""
        pull = next(event for event in planted if event["kind"] == "pull")
        names = ("kind", "target", "intensity", "side")
        again = {name: pull[name] for name in names} | {"duration_s": FOLLOW_DURATION_S}
        for venue, in_s in FOLLOWERS.items():
            if venue in self._emulator.venues:
                await self._emulator.post(venue, "plant", again | {"in_s": in_s})

    def _report(self, live: LiveRun, shown: Shown, truth: list[dict[str, Any]]) -> int:
        rows = [_judged(event, shown) for event in truth]
        if self._as_json:
            for row in rows:
                write_json({"planted": row})
            write_json({"summary": live.summary()})
            return 0 if shown.scored_ns else 1
        if not shown.scored_ns:
            write_line(
                f"no scored scan within {CONNECT_TIMEOUT_S:.0f} s; scanner doctor may know why"
            )
            return 1
        write_line("")
        for row in rows:
            where = f"{row['venue']:<8} {row['target']:<22}"
            write_line(f"  planted {row['event']:<11} {where} {_verdict(row)}")
        counts = live.summary()
        alerts = sum(counts["alerts"].values())
        write_line(
            f"  {counts['events']:,} events, {counts['scans']} scans of "
            f"{counts['listings']:,} listings, {alerts} alerts; simulated market, seed {self._seed}"
        )
        write_line("")
        for line in NEXT:
            write_line(line)
        return 0


def _judged(event: Mapping[str, Any], shown: Shown) -> dict[str, Any]:
    """Whether an alert opened on one of a planted event's listings while it lasted."""
    symbols = {f"{event['venue']}:{symbol}" for symbol in event["symbols"]}
    start_ns, end_ns = event["start_ns"], event["end_ns"] + 30 * 10**9
    hits = [
        alert
        for alert in shown.alerts
        if start_ns <= alert.ts_ns <= end_ns and (symbols & set(alert.identity.listings))
    ]
    first = min(hits, key=lambda alert: alert.ts_ns, default=None)
    return {
        "event": event["kind"],
        "venue": event["venue"],
        "target": event["target"],
        "found": first is not None,
        "after_s": (first.ts_ns - start_ns) * 1e-9 if first else None,
        "list": first.list if first else None,
        "scope": first.scope if first else None,
        "best_rank": shown.best_rank(symbols, start_ns, end_ns),
    }


def _verdict(row: Mapping[str, Any]) -> str:
    rank = row["best_rank"]
    ranked = f"ranked {rank} at best" if rank else "never ranked"
    if row["found"]:
        return f"alert after {row['after_s']:.0f} s by the {row['list']} list, {ranked}"
    return f"no alert, {ranked}"
