"""Counters against hand sums, and what the log looks like."""

import io
import json
import logging

import pytest
import structlog

from scanner.errors import RunError
from scanner.telemetry import LABELS_MAX, METRICS, Counters, Metric, set_up_logging

TWO = (
    Metric("frames", "counter", "1", "venue", "frames received"),
    Metric("ticks", "counter", "1", "", "ticks run"),
    Metric("lag_s", "gauge", "s", "venue", "lag"),
    Metric("tick_s", "gauge", "s", "", "wall time"),
)


def test_counters_add_up_by_label():
    counters = Counters(TWO)
    counters.add("frames", 3, "deribit")
    counters.add("frames", 4, "okx")
    counters.add("frames", 2, "deribit")
    counters.add("ticks")
    counters.set("lag_s", 0.5, "okx")
    counters.set("lag_s", 0.25, "okx")
    assert counters.total("frames") == 9
    assert counters.snapshot() == {
        "frames": {"deribit": 5, "okx": 4},
        "ticks": 1,
        "lag_s": {"okx": 0.25},
    }


def test_gauge_never_set_has_no_value_and_counter_begins_at_zero():
    assert Counters(TWO).snapshot() == {"frames": {}, "ticks": 0, "lag_s": {}}


def test_snapshot_does_not_change_afterwards():
    counters = Counters(TWO)
    before = counters.snapshot()
    counters.add("frames", 1, "okx")
    assert before["frames"] == {}


def test_labels_beyond_the_bound_are_counted_together():
    counters = Counters(TWO)
    for n in range(LABELS_MAX + 5):
        counters.add("frames", 1, f"v{n}")
    parts = counters.snapshot()["frames"]
    assert len(parts) == LABELS_MAX + 1
    assert parts["other"] == 5


@pytest.mark.parametrize(
    "misuse",
    [
        lambda c: c.add("tick_s"),
        lambda c: c.set("ticks", 1),
        lambda c: c.add("frames"),
        lambda c: c.add("ticks", 1, "okx"),
        lambda c: c.add("ticks", -1),
    ],
)
def test_misused_counter_is_a_value_error(misuse):
    with pytest.raises(ValueError, match="expected"):
        misuse(Counters(TWO))


def test_unknown_counter_is_a_key_error():
    with pytest.raises(KeyError):
        Counters(TWO).add("frame")


def test_table_of_metrics_has_each_name_once():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert Counters().describe() == METRICS


@pytest.fixture
def log_stream():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_log_is_json_off_a_terminal_for_both_loggers(log_stream):
    set_up_logging(stream=log_stream)
    structlog.get_logger("scanner").info("connected", venue="deribit")
    structlog.get_logger("scanner").debug("noise")
    logging.getLogger("aiohttp").warning("slow %s", "read")
    first, second = [json.loads(line) for line in log_stream.getvalue().splitlines()]
    assert (first["event"], first["venue"], first["level"]) == ("connected", "deribit", "info")
    assert (second["event"], second["logger"], second["level"]) == (
        "slow read",
        "aiohttp",
        "warning",
    )
    assert first["timestamp"].endswith("Z")


def connect(address):
    password = address[::-1]
    raise RunError(f"length {len(password)}")


def test_console_log_of_an_exception_shows_no_local_variables(log_stream):
    set_up_logging(as_json=False, stream=log_stream)
    try:
        connect("hsuh")
    except RunError:
        structlog.get_logger("scanner").exception("failed")
    shown = log_stream.getvalue()
    assert "RunError: length 4" in shown
    assert "hush" not in shown
