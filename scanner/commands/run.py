"""Stages 1 to 8 of 8: `scanner run`: scan the configured venues."""

import asyncio
import sys
from pathlib import Path

from scanner import __version__
from scanner.checkpoint import Checkpoint, save
from scanner.checkpoint import load as load_checkpoint
from scanner.commands.arguments import write_json, write_line
from scanner.commands.live import Shown, compact_recording, live_run, prepare, stop_on_signals
from scanner.config import ScanConfig, config_hash, load
from scanner.errors import CheckpointError
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
    make_room(settings.checkpoint.save_file)
    live = asyncio.run(_run(settings, seconds, record_to, as_json=as_json))
    report(live, record_to, as_json=as_json)
    # First what is quick: a second Ctrl-C while a long recording is compacted loses nothing.
    keep_checkpoint(live, settings.checkpoint.save_file)
    compact_recording(settings, live.journal, record_to)
    return 0


async def _run(
    settings: ScanConfig, seconds: float | None, record_to: Path | None, *, as_json: bool
) -> LiveRun:
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
    return live


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


def make_room(save_file: Path | None) -> None:
    """Make the folder of a checkpoint to come: a wrong path must fail before the run, not after.

    Raises:
        CheckpointError: the folder cannot be made, or the path is that of a folder.
    """
    if save_file is None:
        return
    if save_file.is_dir():
        raise CheckpointError(f"{save_file}: was a folder, expected a place for a checkpoint")
    try:
        save_file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{save_file}: {error}, expected a place for a checkpoint") from error


def keep_checkpoint(live: LiveRun, save_file: Path | None) -> None:
    """Leave what a run that has ended learned, where the configuration says so.

    A run without a scan learned nothing, and must not replace what an earlier one left.

    Raises:
        CheckpointError: the file cannot be written.
    """
    if save_file is None:
        return
    if not live.pipeline.scanner.state.scan_count:
        sys.stderr.write(f"{save_file}: no checkpoint written, since nothing was scanned\n")
        return
    notes = {"kind": "scanner run", "version": __version__, "config_hash": config_hash(live.config)}
    save(live.pipeline.scanner, save_file, notes)
    sys.stderr.write(f"{save_file}: checkpoint written\n")
