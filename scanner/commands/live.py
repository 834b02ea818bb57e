"""Stages 1 to 8 of 8: what `run`, `record` and `demo` share: a live run that shows itself."""

import asyncio
import signal
import sys
from pathlib import Path

from scanner.alert import Alert, encode
from scanner.checkpoint import Checkpoint
from scanner.commands.progress import warm_up
from scanner.config import ScanConfig
from scanner.pipeline import Pipeline
from scanner.run import LiveHooks, LiveRun
from scanner.sinks import jsonl
from scanner.view import LiveView
from scanner.view_model import ViewModel, view_model

ALERTS_NAME = "alerts.jsonl"


def picture_of(run: LiveRun) -> ViewModel:
    """What the views show of a run's last scan; call it between ticks."""
    pipeline = run.pipeline
    assert pipeline.last_scan is not None
    return view_model(
        pipeline.last_scan, pipeline.book, pipeline.listing_of, pipeline.underlying_name,
        run.health, run.rates,
    )  # fmt: skip


class Shown:
    """Hooks of a run that draws a live page, or prints alerts as JSON lines.

    Attributes:
        scored_ns: grid time of the first scan with a ranked row, 0 before it.
        last: the last picture, None before the first scan or with JSON.
        alerts: every message of the run, for the commands that want them.
    """

    def __init__(self, view: LiveView | None) -> None:
        self._view = view
        self.scored_ns = 0
        self.last: ViewModel | None = None
        self.alerts: list[Alert] = []
        self.scored = asyncio.Event()

    def on_scan(self, run: LiveRun, alerts: list[Alert]) -> None:
        """Take one scan."""
        result = run.pipeline.last_scan
        assert result is not None
        if not self.scored_ns and any(len(top) for top in result.top.values()):
            self.scored_ns = result.now_ns
            self.scored.set()
        self.alerts.extend(alert for alert in alerts if alert.state == "open")
        if self._view is not None:
            self.last = picture_of(run)
            self._view.show(self.last)
            return
        for alert in alerts:
            sys.stdout.write(encode(alert).decode() + "\n")
        sys.stdout.flush()


def prepare(config: ScanConfig) -> Pipeline:
    """A pipeline whose kernels are compiled, so that no tick waits for a compiler."""
    pipeline = Pipeline(config)
    warm_up(pipeline.scanner)
    return pipeline


def live_run(
    config: ScanConfig, shown: Shown, *, pipeline: Pipeline, record_to: Path | None = None,
    checkpoint: Checkpoint | None = None,
) -> LiveRun:  # fmt: skip
    """A run that shows itself and, where it records, keeps its alerts beside the log."""
    sinks = [] if record_to is None else [jsonl.open_sink(str(record_to / ALERTS_NAME))]
    hooks = LiveHooks(on_scan=shown.on_scan, sinks=sinks)
    return LiveRun(
        config, record_to=record_to, checkpoint=checkpoint, hooks=hooks, pipeline=pipeline
    )


def stop_on_signals(run: LiveRun) -> None:
    """Let Ctrl-C and SIGTERM end the run in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stop)
