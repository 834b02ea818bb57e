"""What the tests of Bullish's decoder share: recorded frames, hand-written ones, short ways."""

import json
from typing import Any

from feeds.events import DecodeOut
from feeds.venues import bullish
from tests.conftest import shared

SAMPLES = "fixtures/bullish/ws_samples_tardis_2026-04.jsonl"
CALL, PUT, PERP, INDEX = (
    "BTC-USDC-20270129-70000-C",
    "BTC-USDC-20270129-70000-P",
    "BTC-USDC-PERP",
    "BTC",
)
IDS = {CALL: 11, PUT: 12, PERP: 13, INDEX: 14}
AT_MS = 1790126894741


def recorded() -> list[bytes]:
    """Frames as received, cut out of the lines as text: nothing is parsed and printed again."""
    return [
        line[line.index('"msg":') + len('"msg":') : -1].strip().encode()
        for line in shared(SAMPLES).read_text().splitlines()
    ]


def of_type(frames: list[bytes], word: str) -> list[bytes]:
    return [frame for frame in frames if json.loads(frame)["dataType"] == word]


def decoded(frames: list[bytes], symbols: dict[str, int], first_rx: int = 1000) -> DecodeOut:
    out = DecodeOut()
    bullish.decode(frames, list(range(first_rx, first_rx + len(frames))), symbols, out)
    return out


def clean(frames: list[bytes], symbols: dict[str, int]) -> DecodeOut:
    out = decoded(frames, symbols)
    assert out.errors == []
    return out


def frame(kind: str, data_type: str, data: Any) -> bytes:
    message = {"type": kind, "dataType": data_type, "data": data}
    return json.dumps(message, separators=(",", ":")).encode()


def book(kind: str, first: int, last: int, bids: Any = (), asks: Any = (), **more: Any) -> bytes:
    data = {"symbol": CALL, "bids": bids, "asks": asks, "timestamp": str(AT_MS)}
    return frame(kind, "V1TALevel2", data | {"sequenceNumberRange": [first, last]} | more)


def quote(bid: Any = ("5.5", "2"), ask: Any = ("6.5", "3")) -> bytes:
    data = {"symbol": CALL, "bid": bid, "ask": ask, "sequenceNumber": "7"}
    return frame("update", "V1TALevel1", data | {"timestamp": str(AT_MS)})


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "symbol": CALL,
        "tradeId": "100069000000063765",
        "price": "8133.6",
        "quantity": "0.25",
        "side": "BUY",
        "isTaker": True,
        "createdAtTimestamp": str(AT_MS),
    } | changes


def trades(*entries: dict[str, Any], kind: str = "update") -> bytes:
    return frame(kind, "V1TAAnonymousTradeUpdate", {"symbol": CALL, "trades": entries})


def tick(**changes: Any) -> bytes:
    data = {
        "symbol": CALL,
        "createdAtTimestamp": str(AT_MS),
        "markPrice": "8133.6",
        "openInterest": "2.5",
        "delta": "0.99",
        "gamma": "0.0000003",
        "theta": "-93.2",
        "vega": "0.0247",
        "impliedVolatility": "0.7045",
        "bestBid": "1",
    }
    return frame("update", "V1TATickerResponse", data | changes)


def index(price: Any = "78032.25") -> bytes:
    data = {"price": price, "assetSymbol": INDEX, "updatedAtTimestamp": str(AT_MS)}
    return frame("update", "V1TAIndexPrice", data)
