"""Stages 1 to 8 of 8: `scanner replay SOURCE`: a recording through the same engine as live."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from feeds.dbn import DbnSource
from feeds.replay import SourceKind, journal_kind
from feeds.tables import read_tables
from scanner.alert import Alert, encode, explain
from scanner.commands.arguments import write_json, write_line
from scanner.commands.progress import Progress, warm_up
from scanner.config import ScanConfig, from_effective, load
from scanner.pipeline import Pipeline, scan_chunks, scan_tables, take_tables
from scanner.replay import recorded_config, replay_journal


def replay(
    source: Path, *, config: Path | None, speed: float, device: str | None, as_json: bool
) -> int:
    """Print the alerts of a recording, then a summary of counts.

    Args:
        source: folder of a raw or a table recording or of DBN files, or one DBN file.
        config: TOML file; None for the defaults. A raw recording names the configuration it was
            made with; another one is told on stderr.
        speed: factor of real time, infinity for as fast as possible.
        device: overrides the configured device.
        as_json: alerts and summary as JSON lines; the same bytes for the same log.
    """
    kind = journal_kind(source)
    settings = _settings(source, kind, config, device)
    pipeline = Pipeline(settings)
    warm_up(pipeline.scanner, settings.venues if kind is SourceKind.JOURNAL else ())
    started = time.perf_counter()
    scans, extra = _open(source, kind, settings, pipeline)
    progress = Progress("replaying")
    first_ns = 0
    for now_ns, alerts in scans:
        first_ns = first_ns or now_ns
        _pace(now_ns - first_ns, speed, started)
        print_alerts(alerts, as_json=as_json)
        progress.show(
            f"{pipeline.counts.scans} scans, {len(pipeline.book.open_alerts)} alerts open"
        )
    progress.done(f"{pipeline.counts.scans} scans in {time.perf_counter() - started:.1f} s")
    print_summary(pipeline, extra, as_json=as_json)
    return 0


def _settings(
    source: Path, kind: SourceKind, config: Path | None, device: str | None
) -> ScanConfig:
    """The given configuration, else that of a raw recording, else the defaults."""
    overrides = {"engine.device": device}
    if config is None and kind is SourceKind.JOURNAL:
        return from_effective(recorded_config(source), overrides)
    return load(config, overrides)


def _open(
    source: Path, kind: SourceKind, settings: ScanConfig, pipeline: Pipeline
) -> tuple[Iterator[tuple[int, list[Alert]]], dict[str, object]]:
    """The scans of a source, and a mapping that holds the source's own counts when they end."""
    extra: dict[str, object] = {}
    if kind is SourceKind.TABLES:
        recording = read_tables(source)
        extra |= {f"table_{name}": count for name, count in sorted(recording.notes.items())}
        return scan_tables(*take_tables(recording, pipeline.scanner), pipeline), extra
    if kind is SourceKind.JOURNAL:
        return replay_journal(source, settings, pipeline, extra), extra
    return _scan_dbn(DbnSource(source), pipeline, extra), extra


def _scan_dbn(
    files: DbnSource, pipeline: Pipeline, extra: dict[str, object]
) -> Iterator[tuple[int, list[Alert]]]:
    """Scan DBN files; then tell what they counted, and on stderr where one of them is damaged."""
    yield from scan_chunks(files.chunks(pipeline.scanner.add), pipeline)
    extra |= {f"dbn_{name}": count for name, count in sorted(files.counts.items())}
    for fault in files.faults:
        sys.stderr.write(f"scanner: {fault}\n")


def print_alerts(alerts: Iterable[Alert], *, as_json: bool) -> None:
    """Alerts as JSON lines, or those that open in words."""
    for alert in alerts:
        if as_json:
            sys.stdout.write(encode(alert).decode() + "\n")
        elif alert.state == "open":
            write_line(explain(alert))


def print_summary(pipeline: Pipeline, extra: Mapping[str, object], *, as_json: bool) -> None:
    """The counts of what has been scanned, and a source's own."""
    summary = pipeline.summary(extra)
    if as_json:
        write_json({"summary": summary})
    else:
        write_line("summary: " + ", ".join(f"{name} {value}" for name, value in summary.items()))
    sys.stdout.flush()


def _pace(elapsed_ns: int, speed: float, started: float) -> None:
    """Wait until a paced replay has reached this scan."""
    ahead_s = elapsed_ns * 1e-9 / speed - (time.perf_counter() - started)
    if ahead_s > 0:
        time.sleep(ahead_s)
