"""What the tests of Deribit's decoder share: frames of its shape, and short ways to look."""

import json
from typing import Any

import numpy as np

from feeds.events import DecodeOut
from feeds.venues import deribit
from tests.feeds import both_ways


def decoded(frames: list[bytes], symbols: dict[str, int], first_rx: int = 1000) -> DecodeOut:
    return both_ways.decoded(deribit, frames, symbols, first_rx)


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
