"""What the tests of Bybit share: recorded frames, frames of its shape, short ways to look."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from feeds.events import DecodeOut
from feeds.venues import bybit
from tests.conftest import shared
from tests.feeds import both_ways
from tests.feeds.both_ways import contents

RX_NS = 1_790_000_000_000_000_000
CALL, PUT = "BTC-25JUN27-106000-C-USDT", "BTC-25JUN27-106000-P-USDT"
PERP, INDEX = "BTCUSDT", "BTCUSDT/INDEX"
IDS = {CALL: 0, PUT: 1, PERP: 2, INDEX: 3}


def recorded(name: str, direction: str = "in") -> list[bytes]:
    """Messages of a fixture file, cut out of the lines as text."""
    return [
        line[line.index('"msg":') + len('"msg":') : -1].strip().encode()
        for line in shared(f"fixtures/bybit/{name}").read_text().splitlines()
        if f'"dir":"{direction}"' in line[:40]
    ]


def frame(content: Any) -> bytes:
    """A message as the venue writes it."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def entry(symbol: str = CALL, **changes: Any) -> dict[str, Any]:
    """One option in the recorded shape."""
    return {
        "symbolId": 394577, "symbol": symbol, "status": "Trading", "baseCoin": "BTC",
        "quoteCoin": "USDT", "settleCoin": "USDT",
        "optionsType": "Call" if "-C-" in symbol else "Put",
        "launchTime": "1789950000000", "deliveryTime": "1813910400000",
        "deliveryFeeRate": "0.00015",
        "priceFilter": {"minPrice": "5", "maxPrice": "1110000", "tickSize": "5"},
        "lotSizeFilter": {"maxOrderQty": "500", "minOrderQty": "0.01", "qtyStep": "0.01"},
    } | changes  # fmt: skip


def perpetual(symbol: str = PERP, **changes: Any) -> dict[str, Any]:
    """One perpetual in the documented shape."""
    return {
        "symbol": symbol, "contractType": "LinearPerpetual", "status": "Trading",
        "baseCoin": "BTC", "quoteCoin": "USDT", "settleCoin": "USDT", "deliveryTime": "0",
        "priceFilter": {"tickSize": "0.10"},
        "lotSizeFilter": {"minOrderQty": "0.001", "qtyStep": "0.001"},
    } | changes  # fmt: skip


def body(*entries: Any, category: str = "option", cursor: str = "") -> bytes:
    result = {"category": category, "nextPageCursor": cursor, "list": entries}
    return frame({"retCode": 0, "retMsg": "OK", "result": result, "time": 1})


def message(topic: str, kind: str, data: Any, **more: Any) -> bytes:
    return frame({"topic": topic, "type": kind, "ts": 1790373954406, "data": data} | more)


def book(
    kind: str, update: int, bids: Any = (), asks: Any = (), symbol: str = CALL, **more: Any
) -> bytes:
    depth = 50 if symbol == PERP else 25
    data = {"s": symbol, "b": bids, "a": asks, "u": update, "seq": 7}
    return message(f"orderbook.{depth}.{symbol}", kind, data, **more)


def ticker(symbol: str = CALL, kind: str = "snapshot", **values: Any) -> bytes:
    return message(f"tickers.{symbol}", kind, {"symbol": symbol} | values)


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "i": "44f06f5c-3628-5a2d-9a1c-0142ddf5e2ab", "T": 1790373961369, "p": "240", "v": "0.1",
        "S": "Buy", "seq": 76572340339, "s": CALL, "BT": False,
    } | changes  # fmt: skip


def trades(*prints: Any) -> bytes:
    return message("publicTrade.BTC", "snapshot", prints)


def decoded(frames: Sequence[bytes], symbols: Mapping[str, int] = IDS) -> DecodeOut:
    """Decode frames at once, scanned and not, and see that one by one says the same."""
    out, parts = both_ways.decoded(bybit, frames, symbols, RX_NS), DecodeOut()
    for at, content in enumerate(frames, RX_NS):
        bybit.decode([content], [at], symbols, parts)
    assert contents(out) == contents(parts)
    return out


def clean(frames: Sequence[bytes], symbols: Mapping[str, int] = IDS) -> DecodeOut:
    out = decoded(frames, symbols)
    assert out.errors == []
    return out


def tuples(rows: np.ndarray, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(row[field].item() for field in fields) for row in rows]


def f32(value: float) -> float:
    return float(np.float32(value))


SAMPLES = [
    book("snapshot", 5, [["20", "1"], ["15", "4"]], [["30", "2"]], cts=1790373954401),
    book("delta", 6, [["20", "7.5"]], [["30", "0"]]),
    book("snapshot", 1, symbol=PERP),
    message("orderbook.1.BTCUSDT", "snapshot",
            {"s": PERP, "b": [["81000.1", "2"]], "a": [], "u": 9, "seq": 3}),
    ticker(bidPrice="20", bidSize="1", bidIv="0.4", askPrice="0", askSize="0", askIv="0",
           markPrice="21.5", indexPrice="81760.3", markPriceIv="0.41", underlyingPrice="81800",
           openInterest="3", delta="0.4", gamma="0.1", vega="1", theta="-2"),
    ticker(PERP, "delta", indexPrice="81760.3"),
    trades(trade(), trade(s=PUT, S="Sell", BT=True)),
    frame({"success": True, "conn_id": "x", "type": "COMMAND_RESP",
           "data": {"failTopics": [], "successTopics": ["tickers.BTCUSDT"]}}),
    frame({"success": True, "ret_msg": "", "conn_id": "x", "req_id": "7", "op": "subscribe"}),
    frame({"args": ["1672916271846"], "op": "pong"}),
]  # fmt: skip

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just([]),
    st.just({}), st.just([[[]]]),
    st.sampled_from(["", "0", "-1", "nan", "-inf", "1e400", "9" * 40, "delta", "Buy", PUT, 2**63]),
)  # fmt: skip


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every place of a tree: its container and its key."""
    found = []
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        found.append((tree, key))
        if isinstance(value, dict | list):
            found += _places(value)
    return found


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A frame with one or two parts dropped, replaced, renamed or wrapped; or cut; or scrambled."""
    tree = copy.deepcopy(json.loads(draw(st.sampled_from(SAMPLES))))
    for _ in range(draw(st.integers(0, 2))):
        places = _places(tree)
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["drop", "replace", "rename", "deepen", "retype"]))
        if how == "drop":
            del parent[key]
        elif how == "replace":
            parent[key] = draw(LEAVES)
        elif how == "deepen":
            parent[key] = [parent[key]]
        elif how == "retype":
            parent[key] = str(parent[key]) if isinstance(parent[key], int) else 0.5
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=4))] = parent.pop(key)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    text = json.dumps(tree, separators=separators).encode()
    how = draw(st.sampled_from(["whole", "whole", "cut", "flip", "random"]))
    if how == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if how == "flip" and text:
        at = draw(st.integers(0, len(text) - 1))
        return text[:at] + draw(st.binary(min_size=1, max_size=3)) + text[at + 1 :]
    return draw(st.binary(max_size=80)) if how == "random" else text
