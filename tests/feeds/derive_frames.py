"""What the tests of Derive's decoder share: frames of its shape, and short ways to look."""

import json
from collections.abc import Mapping
from typing import Any

from feeds.events import DecodeOut
from feeds.venues import derive
from tests.conftest import shared

CALL = "ETH-20260627-3500-C"
AT_MS = 1_700_000_000_123


def fixture(name: str) -> Any:
    return json.loads(shared(f"fixtures/derive/nautilus_{name}.json").read_bytes())


def notification(
    channel: str, data: Any, separators: tuple[str, str] = (",", ":"), **first: Any
) -> bytes:
    params = {"channel": channel, "data": data}
    message = {**first, "method": "subscription", "params": params}
    return json.dumps(message, separators=separators).encode()


def book(bids: Any, asks: Any, at_ms: int = AT_MS, name: str = CALL) -> bytes:
    data = {"timestamp": at_ms, "instrument_name": name, "publish_id": 56593}
    return notification(f"orderbook.{name}.1.10", data | {"bids": bids, "asks": asks})


def ticker(interval: int = 1000, name: str = CALL, **changes: Any) -> bytes:
    values = {
        "t": AT_MS,
        "A": "0.4",
        "a": "414",
        "B": "0.5",
        "b": "341",
        "f": None,
        "option_pricing": {
            "d": "-0.24967",
            "t": "-453.85103",
            "g": "0.00013192",
            "v": "10.84014",
            "i": "0.70513",
            "r": "0.84114",
            "f": "71067",
            "m": "364",
            "df": "1",
            "bi": "0.68323",
            "ai": "0.75013",
        },
        "I": "71078",
        "M": "364",
        "stats": {"c": "1.3", "n": 2, "oi": "1.5", "p": "-0.465"},
        "minp": "4",
        "maxp": "1968",
    }
    data = {"timestamp": AT_MS, "instrument_ticker": values | changes}
    return notification(f"ticker_slim.{name}.{interval}", data)


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "trade_id": "f69d1a1d-5c4f-4f7b-b66a-1234838364ee",
        "instrument_name": CALL,
        "timestamp": AT_MS,
        "trade_price": "2485.2",
        "trade_amount": "0.1",
        "mark_price": "2485.268140596208468195982277393341064453125",
        "index_price": "2485.170961678356",
        "direction": "buy",
        "quote_id": None,
        "rfq_id": None,
    } | changes


def trades(*prints: Any) -> bytes:
    return notification("trades.option.ETH", list(prints))


def spot(**prices: Any) -> bytes:
    feeds = {
        name: {"price": price, "confidence": "1", "price_prev_daily": "99"}
        for name, price in prices.items()
    }
    return notification("spot_feed.ETH", {"timestamp": AT_MS, "feeds": feeds})


def decoded(frames: list[bytes], symbols: Mapping[str, int], first_rx: int = 1000) -> DecodeOut:
    out = DecodeOut()
    derive.decode(frames, list(range(first_rx, first_rx + len(frames))), symbols, out)
    return out


def clean(frames: list[bytes], symbols: Mapping[str, int]) -> DecodeOut:
    out = decoded(frames, symbols)
    assert out.errors == []
    return out
