"""What the tests of Deribit's decoder share: frames of its shape, and short ways to look."""

import json
from typing import Any
from unittest import mock

import numpy as np

from feeds.bytescan import scanner
from feeds.events import DecodeOut
from feeds.venues import deribit


def decoded(frames: list[bytes], symbols: dict[str, int], first_rx: int = 1000) -> DecodeOut:
    """Decode by msgspec alone and with the byte scanner first: they must never differ."""
    deribit.warm_up()
    plain, scanned = DecodeOut(), DecodeOut()
    rx_ns = list(range(first_rx, first_rx + len(frames)))
    with mock.patch.object(scanner, "FRAMES_MIN", len(frames) + 1):
        deribit.decode(frames, rx_ns, symbols, plain)
    with mock.patch.object(scanner, "FRAMES_MIN", 0):
        deribit.decode(frames, rx_ns, symbols, scanned)
    assert contents(plain) == contents(scanned)
    return scanned


def contents(out: DecodeOut) -> tuple[Any, ...]:
    """Everything a decoder said, as values that compare; NaN equals itself."""
    arrays = [table.view().tobytes() for table in (out.rows, out.tickers, out.frames)]
    errors = [(str(error), error.frame) for error in out.errors]
    return *arrays, out.trade_keys, out.lifecycle, out.error_count, errors, out.skipped


def clean(frames: list[bytes], symbols: dict[str, int]) -> DecodeOut:
    out = decoded(frames, symbols)
    assert out.errors == []
    return out


def frame_of(channel: str, data: Any) -> bytes:
    text = json.dumps(data, separators=(",", ":"))
    return (
        '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"'
        + channel
        + '","data":'
        + text
        + "}}"
    ).encode()


def tuples(rows: np.ndarray, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(row[field].item() for field in fields) for row in rows]


def f32(value: float) -> float:
    return float(np.float32(value))
