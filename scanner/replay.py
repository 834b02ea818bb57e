"""Stages 1 to 7 of 8: a raw recording through the same intake and pipeline, obeying the log.

The log says where ticks and drains stood, so nothing here decides; the promise is equal bytes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from feeds.errors import JournalError
from feeds.record import Record, RecordType
from feeds.replay import read_journal
from scanner import __version__
from scanner.alert import Alert
from scanner.checkpoint import load as load_checkpoint
from scanner.config import ScanConfig, config_hash
from scanner.intake import Intake
from scanner.pipeline import Pipeline


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """Payload of a START record."""

    version: str
    config_hash: str
    checkpoint: str  # "cold", or the file beside the log


class Tick(msgspec.Struct, frozen=True):
    """Payload of a TICK record."""

    grid_ns: int
    batch_hash: str  # of the rows applied; "" for a drain
    merged: int  # due ticks that this one stands for, beside itself
    records: int | None = None  # decoded since the record before this; without it, all there were


def recorded_config(folder: Path) -> dict[str, Any]:
    """The settings a recording was made with, as its CONFIG record holds them.

    Raises:
        JournalError: the log has no CONFIG record among its first.
    """
    for position, record in enumerate(read_journal(folder)):
        if record.type is RecordType.CONFIG:
            found: dict[str, Any] = msgspec.json.decode(record.payload, type=dict[str, Any])
            return found
        if position > 8:
            break
    raise JournalError(f"{folder}: no CONFIG record among the first, expected one after START")


def replay_journal(
    folder: Path, config: ScanConfig, pipeline: Pipeline, extra: dict[str, Any]
) -> Iterator[tuple[int, list[Alert]]]:
    """Replay a log; yields (grid time, alerts) of every scan.

    Args:
        folder: the recording.
        config: the settings; those of the recording for equal alerts.
        pipeline: a fresh one, made with the same settings.
        extra: filled with the counts of feeds and log when the log has ended.

    Raises:
        JournalError: the log cannot be read, or does not begin with START.
    """
    intake = Intake(config, pipeline)
    reader = read_journal(folder)
    mismatches = 0
    for record in reader:
        if record.type is RecordType.TICK:
            tick = msgspec.json.decode(record.payload, type=Tick)
            if (tick.records or 0) > len(intake):
                raise JournalError(
                    f"{folder}: the TICK record at {record.rx_ns} says that {tick.records} records "
                    f"were decoded, expected at most the {len(intake)} that were waiting"
                )
            intake.drain(tick.records)
            if record.name == "drain":
                continue
            mismatches += tick.batch_hash != pipeline.scanner.due_hash(tick.grid_ns)
            if record.name == "scan":
                yield tick.grid_ns, pipeline.scan(tick.grid_ns)
            else:
                pipeline.tick(tick.grid_ns)
        elif record.type is RecordType.START:
            _begin(record, folder, config, pipeline, extra)
        elif record.venue:
            intake.deliver((record,))
    intake.drain()  # As a live run does at its end.
    extra |= {
        "feed": intake.totals(),
        "records": reader.summary.records,
        "truncated": reader.summary.truncated,
        "lost_bytes": reader.summary.lost_bytes,
        "batch_mismatches": mismatches,
    }


def _begin(
    record: Record, folder: Path, config: ScanConfig, pipeline: Pipeline, extra: dict[str, Any]
) -> None:
    start = msgspec.json.decode(record.payload, type=Start)
    extra["same_config"] = start.config_hash == config_hash(config)
    extra["same_version"] = start.version == __version__
    if start.checkpoint != "cold":
        load_checkpoint(folder / start.checkpoint).into(pipeline.scanner, record.rx_ns)
