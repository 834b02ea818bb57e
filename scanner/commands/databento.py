"""Stages 1 to 8 of 8: `scanner databento SYMBOL...`: options live from Databento's gateway.

Never run against the live service from here (docs/venues/databento.md). Grid times are those of the
records: a scan runs when a later row has come, as in a replay, so silence scans nothing.
"""

import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from feeds.budget import ConnectBudget
from feeds.dbn.gateway import LiveSource, Subscription, run_session
from feeds.secrets import read_credentials
from feeds.tables import Chunk
from scanner.commands.arguments import names
from scanner.commands.progress import warm_up
from scanner.commands.replay import print_alerts, print_summary
from scanner.config import ScanConfig, load
from scanner.pipeline import Pipeline, scan_chunks
from scanner.run import SystemClock


def subscription(dataset: str, schemas: str, symbols: Sequence[str], stype_in: str) -> Subscription:
    """What the command line asks for.

    Raises:
        DbnError: what is not read, or could not be.
    """
    wanted = names("--schemas", schemas) or ()
    return Subscription(dataset, tuple(wanted), tuple(symbols), stype_in)


def databento(
    wanted: Subscription, *, key_file: Path, config: Path | None, seconds: float | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Scan until Ctrl-C, or for some seconds; alerts, then a summary of counts.

    Args:
        wanted: the subscription.
        key_file: TOML file with the API key as its `secret`.
        config: TOML file; None for the defaults. Its venues are not opened.
        seconds: None for no end.
        as_json: alerts and summary as JSON lines.
    """
    settings = load(config)
    key = read_credentials(key_file).secret
    pipeline = Pipeline(settings)
    warm_up(pipeline.scanner)
    source = _source(wanted, key, settings, pipeline)
    _stop_on_signals(source)
    for _, alerts in scan_chunks(_told(source, seconds), pipeline):
        print_alerts(alerts, as_json=as_json)
        sys.stdout.flush()
    extra = {f"dbn_{name}": count for name, count in sorted(source.decoder.counts.items())}
    print_summary(pipeline, extra, as_json=as_json)
    return 0


def _source(wanted: Subscription, key: str, settings: ScanConfig, pipeline: Pipeline) -> LiveSource:
    limits, clock = settings.limits, SystemClock()
    return LiveSource(
        wanted,
        key,
        pipeline.scanner.add,
        clock=clock,
        budget=ConnectBudget(
            limits.connect_state_file, clock, limits.connect_budget, limits.connect_window_s
        ),
        retry_s=(limits.connect_backoff_s, limits.connect_backoff_max_s),
        rng=random.Random(),  # noqa: S311 - jitter
        run=run_session,
    )


def _told(source: LiveSource, seconds: float | None) -> Iterator[Chunk]:
    """The source's chunks until its time is over; what troubles it goes to stderr."""
    started, trouble = time.monotonic(), ""
    for chunk in source.chunks():
        yield chunk
        if source.trouble != trouble:
            trouble = source.trouble
            sys.stderr.write(f"feed databento: {trouble or 'whole again'}\n")
        if seconds is not None and time.monotonic() - started >= seconds:
            source.stop()


def _stop_on_signals(source: LiveSource) -> None:
    """Let Ctrl-C and SIGTERM end the run in order."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        source.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
