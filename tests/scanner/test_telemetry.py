"""What the log looks like."""

import io
import json
import logging

import pytest
import structlog

from scanner.errors import RunError
from scanner.telemetry import set_up_logging


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
