"""What the tests of Delta's decoder share: recorded frames, and short ways to decode."""

import json
from typing import Any

from feeds.events import DecodeOut
from feeds.venues import VENUES
from tests.conftest import shared

FOLDER = "fixtures/delta"
SAMPLES = f"{FOLDER}/ws_samples_tardis_2020-2023.jsonl"
STREAM = f"{FOLDER}/ws_stream_2021-11-29_options_l2_orderbook.jsonl"
TICKER = f"{FOLDER}/ws_recorded_v2_ticker_2026-09-25_trimmed.jsonl"
PRODUCTS = f"{FOLDER}/rest_v2_products_2021-11-29.json"


CALL, PUT, PERP, INDEX = "C-BTC-69500-150426", "P-BTC-80000-250926", "BTCUSD", ".DEXBTUSD"
IDS = {CALL: 11, PUT: 12, PERP: 13, INDEX: 14}
INDIA = "delta_india"
AT_US = 1775037882748105

# The venue's own example of its book channel, in the words of either dialect.
SNAPSHOT = {
    "asks": [["16919.0", "1087"], ["16919.5", "1193"], ["16920.0", "510"]],
    "bids": [["16918.0", "602"], ["16917.5", "1792"], ["16917.0", "2039"]],
    "cs": 2178756498,
}
CHANGE = {
    "asks": [["16919.0", "0"], ["16919.5", "710"]],
    "bids": [["16918.5", "304"]],
    "cs": 3409694612,
}


def recorded(path: str) -> list[bytes]:
    """Frames as received, cut out of the lines as text: nothing is parsed and printed again."""
    return [
        line[line.index('"msg":') + len('"msg":') : -1].strip().encode()
        for line in shared(path).read_text().splitlines()
        if '"dir":"in"' in line[:120]
    ]


def of_type(frames: list[bytes], *words: str) -> list[bytes]:
    return [frame for frame in frames if json.loads(frame)["type"] in words]


def decoded(
    frames: list[bytes], symbols: dict[str, int], first_rx: int = 1000, venue: str = "delta"
) -> DecodeOut:
    out = DecodeOut()
    rx_ns = list(range(first_rx, first_rx + len(frames)))
    VENUES[venue].decode(frames, rx_ns, symbols, out)
    return out


def clean(frames: list[bytes], symbols: dict[str, int], venue: str = "delta") -> DecodeOut:
    out = decoded(frames, symbols, venue=venue)
    assert out.errors == []
    return out


def frame(**fields: Any) -> bytes:
    """A frame as the venue lays it out: keys in alphabetical order, no spaces."""
    return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()


def long_book(action: str, sequence: int, **sides: Any) -> bytes:
    fields = {"asks": [], "bids": [], "cs": 0} | sides
    return frame(
        action=action,
        sequence_no=sequence,
        symbol=CALL,
        timestamp=AT_US,
        type="l2_updates",
        **fields,
    )


def short_book(action: str, sequence: int, **sides: Any) -> bytes:
    a, b = sides.get("asks", []), sides.get("bids", [])
    cs = sides.get("cs", 0)
    return frame(a=a, action=action, b=b, cs=cs, seq=sequence, sy=CALL, ts=AT_US, type="ob_updates")


def short_quote(**changes: Any) -> bytes:
    fields = {"ap": "68519.0", "as": "285", "bp": "68518.0", "bs": "2452", "type": "ob_l1"}
    return frame(**fields | {"lts": 1775037882675402, "sy": CALL, "ts": AT_US} | changes)


def long_trade(buyer: str, seller: str, **changes: Any) -> bytes:
    fields = {"buyer_role": buyer, "seller_role": seller, "symbol": CALL, "type": "all_trades"}
    return frame(**fields | {"price": "25816.5", "size": 100, "timestamp": AT_US} | changes)


def short_trade(**changes: Any) -> bytes:
    fields = {"p": "72141.5", "r": "m", "s": 1.0, "sy": CALL, "t": AT_US, "type": "trades"}
    return frame(**fields | {"ts": AT_US + 5} | changes)


def v2_ticker(symbol: str = PUT, **changes: Any) -> bytes:
    """A ticker in the shape of September 2026."""
    fields = {
        "greeks": {
            "delta": "-0.49848053",
            "gamma": "0.00006364",
            "rho": "-21.66828721",
            "theta": "-67.00638062",
            "vega": "71.96112211",
        },
        "mark_price": "2616.58595291",
        "oi": "18.9470",
        "oi_contracts": "18947",
        "quotes": {"ask_iv": "0.35119024", "bid_iv": "0.34382519", "mark_iv": "0.34751911"},
        "spot_price": "79777.3",
        "symbol": symbol,
        "timestamp": 1788725363377966,
        "type": "v2/ticker",
    }
    return frame(**fields | changes)


def short_ticker(*entries: dict[str, Any], **changes: Any) -> bytes:
    fields = {"d": entries, "sp": "79777.3", "sy": PUT, "ts": 1788725363377966, "type": "ticker"}
    return frame(**fields | changes)


def entry(symbol: str = PUT, **changes: Any) -> dict[str, Any]:
    return {
        "g": ["-0.49848053", "0.00006364", "-21.66828721", "-67.00638062", "71.96112211"],
        "m": "2616.58595291",
        "oi": ["18947", "52014.5400"],
        "q": ["2643", "5794", "2590", "6044", None],
        "qiv": ["0.35119024", "0.34382519", "0.34751911"],
        "s": symbol,
    } | changes
