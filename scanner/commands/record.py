"""Stages 1 to 3 of 8: `scanner record`: the configured venues to disk."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from scanner.commands.arguments import write_json, write_line
from scanner.commands.live import compact_recording, stop_on_signals
from scanner.commands.tables_of import write_tables
from scanner.config import ScanConfig, load
from scanner.run import LiveRun, SystemClock
from scanner.telemetry import set_up_logging


def record(
    config: Path | None, out: Path, *, seconds: float | None, tables: bool, as_json: bool
) -> int:
    """Record until Ctrl-C, or for some seconds.

    Args:
        config: TOML file; None for the defaults.
        out: folder that gets one folder per run, named by its start.
        seconds: how long.
        tables: also write a table recording (Parquet), into `tables` beside the log.
        as_json: print the closing counts as one JSON object.
    """
    settings = load(config)
    set_up_logging("warning")
    started = datetime.fromtimestamp(SystemClock().now_ns() // 10**9, UTC)
    folder = out / started.strftime("%Y%m%dT%H%M%SZ")
    live = asyncio.run(_record(settings, folder, seconds))
    if tables:
        write_tables(folder, folder / "tables", settings)
    summary = {"folder": str(folder), "records": live.journal.counts.records} | live.summary()
    if as_json:
        write_json({"summary": summary})
    else:
        write_line(", ".join(f"{name} {value}" for name, value in summary.items()))
    compact_recording(settings, live.journal, folder)
    return 0 if not live.journal.lost else 1


async def _record(settings: ScanConfig, folder: Path, seconds: float | None) -> LiveRun:
    live = LiveRun(settings, record_to=folder, scanning=False)
    stop_on_signals(live)
    await live.run(seconds)
    return live
