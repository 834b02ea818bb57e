"""Stages 1 to 8 of 8: `scanner run`: scan the configured venues."""

import asyncio
from pathlib import Path

from scanner.checkpoint import Checkpoint
from scanner.checkpoint import load as load_checkpoint
from scanner.commands.arguments import write_json, write_line
from scanner.commands.live import Shown, live_run, prepare, stop_on_signals
from scanner.config import ScanConfig, load
from scanner.run import LiveRun
from scanner.telemetry import set_up_logging
from scanner.view import LiveView


def run(
    config: Path | None, *, seconds: float | None, device: str | None, record_to: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Scan until Ctrl-C, or for some seconds; alerts as a live page or as JSON lines."""
    settings = load(config, {"engine.device": device})
    set_up_logging("warning")
    asyncio.run(_run(settings, seconds, record_to, as_json=as_json))
    return 0


async def _run(
    settings: ScanConfig, seconds: float | None, record_to: Path | None, *, as_json: bool
) -> None:
    pipeline = prepare(settings)
    view = None if as_json else LiveView(rows=settings.view.rows)
    shown = Shown(view)
    live = live_run(
        settings, shown, pipeline=pipeline, record_to=record_to, checkpoint=_start(settings)
    )
    stop_on_signals(live)
    if view is None:
        await live.run(seconds)
    else:
        with view:
            await live.run(seconds)
    report(live, record_to, as_json=as_json)


def _start(settings: ScanConfig) -> Checkpoint | None:
    start = settings.checkpoint.start
    return None if start == "cold" else load_checkpoint(Path(start))


def report(live: LiveRun, record_to: Path | None, *, as_json: bool) -> None:
    """The counts of a run that has ended."""
    if as_json:
        write_json({"summary": live.summary()})
        return
    for name, value in live.summary().items():
        write_line(f"{name:>22}  {value}")
    if record_to is not None:
        write_line(f"recorded in {record_to}; scanner replay {record_to} gives the same alerts")
