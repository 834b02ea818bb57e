"""Stages 1 to 8 of 8: what the program says about itself. Counters, and the log on stderr.

Standard output belongs to results; every log line goes to stderr.
"""

import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TextIO

import structlog

LABELS_MAX: Final = 256  # per counter: more venues or sinks than anybody has, and a bound
OTHER: Final = "other"  # takes what comes under further labels
NO_LABEL: Final = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number the program keeps about itself.

    Attributes:
        name: as in snapshots and on /metrics.
        kind: a counter only rises; a gauge is the last value.
        unit: of the value; "1" for a count.
        label: what its parts are told apart by, such as the venue; "" for one number.
        meaning: one sentence.
    """

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    label: str
    meaning: str


METRICS: Final = (
    Metric("frames", "counter", "1", "venue", "frames received"),
    Metric("frame_bytes", "counter", "bytes", "venue", "their payload"),
    Metric("frame_errors", "counter", "1", "venue", "frames that could not be read"),
    Metric("frames_skipped", "counter", "1", "venue", "valid frames that carry nothing for us"),
    Metric("events", "counter", "1", "venue", "event rows decoded"),
    Metric("ticker_rows", "counter", "1", "venue", "ticker rows decoded"),
    Metric("rejected", "counter", "1", "venue", "event rows the sequence rules refused"),
    Metric("conflated", "counter", "1", "venue", "quotes superseded under pressure"),
    Metric("trades_repeated", "counter", "1", "venue", "trades seen before, dropped"),
    Metric("gaps", "counter", "1", "venue", "sequence gaps: each made one book invalid"),
    Metric("resyncs", "counter", "1", "venue", "snapshots asked for"),
    Metric("resyncs_given_up", "counter", "1", "venue", "books left invalid after the last try"),
    Metric("connects", "counter", "1", "venue", "connections opened"),
    Metric("disconnects", "counter", "1", "venue", "connections lost"),
    Metric("connects_refused", "counter", "1", "venue", "connections the budget held back"),
    Metric("silences", "counter", "1", "venue", "subscriptions or connections found silent"),
    Metric("venue_lag_s", "gauge", "s", "venue", "receive time less venue time, last batch"),
    Metric("inbox_records", "gauge", "1", "venue", "frames received and not yet decoded"),
    Metric("listings", "gauge", "1", "", "listings that are live"),
    Metric("listings_left_out", "counter", "1", "venue", "instruments discovery could not use"),
    Metric("books_invalid", "gauge", "1", "venue", "listings whose book is invalid now"),
    Metric("clock_steps", "counter", "1", "", "steps of the wall clock noticed"),
    Metric("ticks", "counter", "1", "", "ticks run"),
    Metric("ticks_merged", "counter", "1", "", "ticks merged into a later one by overrun"),
    Metric("tick_s", "gauge", "s", "", "wall time of the last tick"),
    Metric("scans", "counter", "1", "", "scans run"),
    Metric("scan_s", "gauge", "s", "", "wall time of the last scan"),
    Metric("queue_rows", "gauge", "1", "", "event rows waiting for a tick"),
    Metric("alerts_opened", "counter", "1", "list", "alerts opened"),
    Metric("alerts_closed", "counter", "1", "list", "alerts closed"),
    Metric(
        "alerts_suppressed", "counter", "1", "list", "alerts held back by a cooldown or a limit"
    ),
    Metric("sink_delivered", "counter", "1", "sink", "messages delivered"),
    Metric("sink_failed", "counter", "1", "sink", "deliveries that failed and were tried again"),
    Metric("sink_dropped", "counter", "1", "sink", "messages dropped by a full queue"),
    Metric("sink_queue", "gauge", "1", "sink", "messages waiting"),
    Metric("journal_records", "counter", "1", "", "records appended to the journal"),
    Metric("journal_bytes", "counter", "bytes", "", "their payload"),
    Metric("journal_lost", "counter", "1", "", "records lost because the recording had ended"),
)


class Counters:
    """Numbers by name and label; the names are fixed by a table, the labels are bounded.

    Plain dictionaries of one thread: call once per batch, not per message.
    """

    def __init__(self, metrics: Iterable[Metric] = METRICS) -> None:
        self._metrics: dict[str, Metric] = {}
        self._values: dict[str, dict[str, float]] = {}
        for metric in metrics:
            self._metrics[metric.name] = metric
            # A counter without parts begins at 0; a part, or a gauge, appears with its first value.
            known = metric.kind == "counter" and not metric.label
            self._values[metric.name] = {NO_LABEL: 0} if known else {}

    def add(self, name: str, amount: float = 1, label: str = NO_LABEL) -> None:
        """Raise a counter.

        Raises:
            KeyError: the table has no such name.
            ValueError: it is a gauge, wants a label, has none, or the amount is negative.
        """
        if amount < 0:
            raise ValueError(f"{name}: amount was {amount}, expected at least 0 of a counter")
        parts = self._parts(name, "counter", label)
        part = _part(parts, label)
        parts[part] = parts.get(part, 0) + amount

    def set(self, name: str, value: float, label: str = NO_LABEL) -> None:
        """Note the last value of a gauge.

        Raises:
            KeyError: the table has no such name.
            ValueError: it is a counter, wants a label, or has none.
        """
        parts = self._parts(name, "gauge", label)
        parts[_part(parts, label)] = value

    def total(self, name: str) -> float:
        """Sum over all labels; 0 where nothing was counted.

        Raises:
            KeyError: the table has no such name.
        """
        return sum(self._values[name].values())

    def snapshot(self) -> dict[str, float | dict[str, float]]:
        """Copy of all numbers by name; those with a label as a mapping of their parts.

        A gauge that was never set is left out: it has no value, not 0.
        """
        return {
            name: dict(self._values[name]) if metric.label else self._values[name][NO_LABEL]
            for name, metric in self._metrics.items()
            if metric.label or self._values[name]
        }

    def describe(self) -> tuple[Metric, ...]:
        """The table, in its order."""
        return tuple(self._metrics.values())

    def _parts(self, name: str, kind: str, label: str) -> dict[str, float]:
        metric = self._metrics[name]
        if metric.kind != kind or bool(metric.label) != bool(label):
            raise ValueError(
                f"{name}: was used as {kind} with label {label!r}, "
                f"expected a {metric.kind} by {metric.label or 'no label'}"
            )
        return self._values[name]


def _part(parts: Mapping[str, float], label: str) -> str:
    return label if label in parts or len(parts) < LABELS_MAX else OTHER


def set_up_logging(
    level: str = "info", *, as_json: bool | None = None, stream: TextIO | None = None
) -> None:
    """Send structlog and the standard library's logging to stderr in one format.

    Args:
        level: debug, info, warning or error.
        as_json: one JSON object a line; None decides by whether the stream is a terminal.
        stream: in place of stderr.

    Raises:
        KeyError: the level is none of the four.
    """
    out = sys.stderr if stream is None else stream
    as_json = not out.isatty() if as_json is None else as_json
    threshold = LEVELS[level]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendered(as_json=as_json, colors=out.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)


LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def _rendered(*, as_json: bool, colors: bool) -> list[structlog.typing.Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # Plain tracebacks: rich's show local variables, and a local may hold a secret.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
