"""Decoding by msgspec alone and with the byte scanner first, which must never differ."""

from types import ModuleType
from typing import Any
from unittest import mock

from feeds.events import DecodeOut


def decoded(
    venue: ModuleType, frames: list[bytes], symbols: dict[str, int], first_rx: int = 1000
) -> DecodeOut:
    """What both ways give."""
    venue.warm_up()
    plain, scanned = DecodeOut(), DecodeOut()
    rx_ns = list(range(first_rx, first_rx + len(frames)))
    with mock.patch.object(venue.decode.__globals__["SCANNER"], "compiled", None):
        venue.decode(frames, rx_ns, symbols, plain)
    venue.decode(frames, rx_ns, symbols, scanned)
    assert contents(plain) == contents(scanned)
    return scanned


def contents(out: DecodeOut) -> tuple[Any, ...]:
    """Everything a decoder said, as values that compare; NaN equals itself."""
    arrays = [table.view().tobytes() for table in (out.rows, out.tickers, out.frames)]
    errors = [(str(error), error.frame) for error in out.errors]
    said = (out.trade_keys, out.checks, out.lifecycle, out.error_count, errors, out.skipped)
    return *arrays, *said
