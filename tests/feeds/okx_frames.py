"""What the tests of OKX's decoder share: recorded frames, and frames of its shape."""

import json
from typing import Any

from feeds.events import DecodeOut
from feeds.venues import okx
from tests.conftest import shared
from tests.feeds import both_ways

FOLDER = "fixtures/okx/"
STREAM = "ws_stream_2022-05-13_futures_spot_books_checksum.jsonl"
TARDIS = "ws_samples_tardis_v3_v5.jsonl"
TARDIS_2023 = "ws_recorded_tardis_2023-12-01.jsonl"
MSGPARSER = "ws_rest_samples_cryptomsgparser_2022.jsonl"
MSGPARSER_V3 = "ws_samples_cryptomsgparser_v3_2021.jsonl"
RECORDED = (STREAM, TARDIS, TARDIS_2023, MSGPARSER, MSGPARSER_V3)

OPTION = "BTC-USD-260925-100000-C"
PUT = "BTC-USD-260925-100000-P"
PERP = "BTC-USD-SWAP"
IDS = {OPTION: 11, PUT: 12, PERP: 14, "BTC-USD/INDEX": 13, "BTC-USDT-SWAP": 15}


def recorded(name: str) -> list[bytes]:
    """Frames as received, cut out of the lines as text: nothing is parsed and printed again."""
    return [
        line[line.index('"msg":') + len('"msg":') : -1].encode()
        for line in shared(FOLDER + name).read_text().splitlines()
        if '"dir":"in"' in line[:120]
    ]


def of_channel(frames: list[bytes], channel: str) -> list[bytes]:
    """Market frames of a channel, in either layout."""
    names = (f'"channel":"{channel}"'.encode(), f'"channel": "{channel}"'.encode())
    return [f for f in frames if f.startswith(b'{"arg"') and any(n in f[:80] for n in names)]


def decoded(frames: list[bytes], symbols: dict[str, int], first_rx: int = 1000) -> DecodeOut:
    return both_ways.decoded(okx, frames, symbols, first_rx)


def clean(frames: list[bytes], symbols: dict[str, int]) -> DecodeOut:
    out = decoded(frames, symbols)
    assert out.errors == []
    return out


def frame_of(channel: str, *data: Any, action: str | None = None) -> bytes:
    """A frame of the wire's layout; `channel` is a name of ours, such as `books:X`."""
    name, _, subject = channel.partition(":")
    wide = {"instruments": "instType", "opt-summary": "instFamily", "option-trades": "instFamily"}
    message: dict[str, Any] = {"arg": {"channel": name, wide.get(name, "instId"): subject}}
    if action is not None:
        message["action"] = action
    message["data"] = list(data)
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def levels(*pairs: tuple[str, str]) -> list[list[str]]:
    return [[price, size, "0", "1"] for price, size in pairs]


def book(
    action: str, seq: int | None, prev: int | None, bids: Any, asks: Any, symbol: str = OPTION
) -> bytes:
    data: dict[str, Any] = {"asks": levels(*asks), "bids": levels(*bids), "ts": "1700000000123"}
    data["checksum"] = 0
    data |= {} if seq is None else {"seqId": seq}
    data |= {} if prev is None else {"prevSeqId": prev}
    return frame_of(f"books:{symbol}", data, action=action)


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "instId": OPTION,
        "tradeId": "38",
        "px": "0.045",
        "sz": "2",
        "side": "sell",
        "ts": "1700000000123",
    } | changes


def trades(*entries: dict[str, Any]) -> bytes:
    return frame_of("option-trades:BTC-USD", *entries)


def summary(**changes: Any) -> dict[str, Any]:
    return {
        "instType": "OPTION",
        "instId": OPTION,
        "uly": "BTC-USD",
        "delta": "-1.1",
        "gamma": "2.2",
        "vega": "0.1",
        "theta": "0.3",
        "lever": "8",
        "markVol": "0.55",
        "bidVol": "0.54",
        "askVol": "0.56",
        "realVol": "",
        "deltaBS": "0.4",
        "gammaBS": "0.0001",
        "thetaBS": "-20",
        "vegaBS": "30",
        "ts": "1700000000123",
        "fwdPx": "61000.5",
        "volLv": "0.5",
    } | changes


def summaries(*entries: dict[str, Any]) -> bytes:
    return frame_of("opt-summary:BTC-USD", *entries)


def state(name: str, word: str, **changes: Any) -> dict[str, Any]:
    """An instrument of the channel `instruments`, with the fields that matter there."""
    kind = {"P": "SWAP"}.get(name[-1:], "FUTURES") if name.count("-") < 4 else "OPTION"
    return {
        "instType": kind,
        "instId": name,
        "uly": "BTC-USD",
        "instFamily": "BTC-USD",
        "settleCcy": "BTC",
        "state": word,
        "ruleType": "normal",
    } | changes


EXPIRY_MS = 1790323200000  # 2026-09-25 08:00 UTC


def entry(name: str = OPTION, **changes: Any) -> dict[str, Any]:
    """An option of public/instruments, as documented in 2026."""
    return {
        "instType": "OPTION",
        "instId": name,
        "uly": "BTC-USD",
        "instFamily": "BTC-USD",
        "settleCcy": "BTC",
        "ctVal": "1",
        "ctMult": "0.01",
        "ctValCcy": "BTC",
        "optType": name[-1],
        "stk": "100000",
        "expTime": str(EXPIRY_MS),
        "tickSz": "0.0001",
        "lotSz": "1",
        "minSz": "1",
        "ctType": "",
        "ruleType": "normal",
        "state": "live",
    } | changes


SWAP = entry(
    PERP, instType="SWAP", ctVal="100", ctMult="1", ctValCcy="USD", ctType="inverse", optType="",
    stk="", expTime="", tickSz="0.1",
)  # fmt: skip


def body(*entries: Any, code: str = "0", msg: str = "") -> bytes:
    return json.dumps({"code": code, "data": list(entries), "msg": msg}).encode()
