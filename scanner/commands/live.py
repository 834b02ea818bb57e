"""Stages 1 to 8 of 8: what `run`, `record` and `demo` share: a live run that shows itself."""

import asyncio
import signal
import sys
from dataclasses import replace
from pathlib import Path

from feeds.errors import JournalError
from feeds.journal import Journal
from feeds.segments import compact
from feeds.venues import compiled_before
from scanner.alert import Alert, encode
from scanner.checkpoint import Checkpoint
from scanner.commands.progress import warm_up
from scanner.config import ScanConfig
from scanner.consolidated import Consolidated
from scanner.pipeline import Pipeline
from scanner.run import LiveHooks, LiveRun
from scanner.sinks import jsonl
from scanner.view import LiveView
from scanner.view_model import Across, ViewModel, across_venues, view_model

ALERTS_NAME = "alerts.jsonl"


def picture_of(run: LiveRun) -> ViewModel:
    """What the views show of a run's last scan; call it between ticks."""
    pipeline = run.pipeline
    assert pipeline.last_scan is not None
    return view_model(
        pipeline.last_scan, pipeline.book, pipeline.listing_of, pipeline.underlying_name,
        run.health, run.rates, _across(run),
    )  # fmt: skip


def consolidated_of(run: LiveRun) -> Consolidated | None:
    """The contracts over all venues; None for one venue, and where a GPU holds the quotes."""
    scanner, result = run.pipeline.scanner, run.pipeline.last_scan
    if len(run.sessions) < 2 or scanner.device.name != "cpu" or result is None:
        return None
    return scanner.consolidated(result.now_ns)


def _across(run: LiveRun) -> Across | None:
    book = consolidated_of(run)
    return None if book is None else across_venues(book, run.pipeline.listing_of)


class Shown:
    """Hooks of a run that draws a live page, or prints alerts as JSON lines.

    Attributes:
        scored_ns: grid time of the first scan with a ranked row, 0 before it.
        last: the last picture, None before the first scan or with JSON.
        fullest: the picture with the most to see, for a screenshot: one with crossed contracts, of
            these the first with the most open alerts.
    """

    def __init__(self, view: LiveView | None) -> None:
        self._view = view
        self.scored_ns = 0
        self.last: ViewModel | None = None
        self.fullest: ViewModel | None = None
        self.scored = asyncio.Event()

    def on_scan(self, run: LiveRun, alerts: list[Alert]) -> None:
        """Take one scan."""
        result = run.pipeline.last_scan
        assert result is not None
        if not self.scored_ns and any(len(top) for top in result.top.values()):
            self.scored_ns = result.now_ns
            self.scored.set()
        if self._view is not None:
            self.last = replace(picture_of(run), note=self.note(result.now_ns))
            self._view.show(self.last)
            if self.fullest is None or _fullness(self.last) > _fullness(self.fullest):
                self.fullest = self.last
            return
        for alert in alerts:
            sys.stdout.write(encode(alert).decode() + "\n")
        sys.stdout.flush()

    def note(self, now_ns: int) -> str:  # noqa: ARG002 - what a demonstration overrides
        """A line for the page at grid time now_ns; "" for none."""
        return ""

    def on_trouble(self, venue: str, trouble: str) -> None:
        """Take what became of a venue's feed."""
        if self._view is not None:
            self._view.trouble(venue, trouble)
        else:
            _say(f"feed {venue}: {trouble or 'whole again'}")


def _fullness(model: ViewModel) -> tuple[bool, int]:
    crossed = model.across is not None and model.across.crossed_count > 0
    return crossed, sum(alert.open for alert in model.alerts)


def prepare(config: ScanConfig, *, at_once: bool = False) -> Pipeline:
    """A pipeline whose kernels are compiled, so that no tick waits for a compiler.

    Args:
        config: settings.
        at_once: byte scanners are taken where the cache has them, and no time is spent on others:
            msgspec reads the same rows of their frames, slower.
    """
    pipeline = Pipeline(config)
    venues = [name for name in config.venues if not at_once or compiled_before([name])]
    warm_up(pipeline.scanner, venues)
    return pipeline


def live_run(
    config: ScanConfig, shown: Shown, *, pipeline: Pipeline, record_to: Path | None = None,
    checkpoint: Checkpoint | None = None,
) -> LiveRun:  # fmt: skip
    """A run that shows itself and, where it records, keeps its alerts beside the log."""
    sinks = []
    if record_to is not None:
        waiting_max = config.limits.sink_queue_alerts
        sinks.append(jsonl.open_sink(str(record_to / ALERTS_NAME), waiting_max))
    hooks = LiveHooks(shown.on_scan, shown.on_trouble, sinks)
    return LiveRun(
        config, record_to=record_to, checkpoint=checkpoint, hooks=hooks, pipeline=pipeline
    )


def stop_on_signals(run: LiveRun) -> None:
    """Let Ctrl-C and SIGTERM end the run in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stop)


def compact_recording(config: ScanConfig, journal: Journal, folder: Path | None) -> None:
    """Turn the recording of a run that has ended into one file, where the configuration says so.

    A journal that broke keeps its segments, because the disk that failed it is no place for a
    second copy. A failure here is told and is none of the run: the segments can be replayed too.

    Args:
        config: settings of the run.
        journal: its log, closed.
        folder: of the recording; None where the run recorded nothing.
    """
    if folder is None or not config.record.compact:
        return
    if journal.broken is not None:
        _say(f"{folder}: not compacted, since its recording broke: {journal.broken}")
        return
    try:
        _say(f"{folder}: compacted into {compact(folder).name}")
    except JournalError as error:
        _say(f"not compacted, the segments are kept: {error}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
