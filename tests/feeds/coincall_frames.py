"""What the tests of Coincall share: frames in the documented shape."""

from typing import Any

from tests.feeds.venue_frames import RX_NS, frame

CALL, PUT = "BTCUSD-4JUL23-27000-C", "BTCUSD-4JUL23-27000-P"
INDEX = "BTCUSD/INDEX"
IDS = {CALL: 0, PUT: 1, INDEX: 2}
AT_MS = RX_NS // 1_000_000 - 50  # a moment before the frame is received


def message(kind: int, data: Any, **more: Any) -> bytes:
    return frame({"dt": kind, "c": 20, "d": data} | more)


def book(
    bids: Any = (), asks: Any = (), at_ms: int = AT_MS, name: str = CALL, **more: Any
) -> bytes:
    sides = {
        "asks": [{"pr": p, "sz": s} for p, s in asks],
        "bids": [{"pr": p, "sz": s} for p, s in bids],
    }
    return message(5, {"s": name, "ts": at_ms} | sides | more)


def values(name: str = CALL, **said: Any) -> bytes:
    return message(3, {"s": name, "ts": AT_MS} | said)


def entry(name: str = CALL, **said: Any) -> dict[str, Any]:
    return {"s": name, "ts": AT_MS, "bid": 3.5, "bs": 2, "ask": 4, "as": 1} | said


def chain(*entries: Any) -> bytes:
    return message(4, entries)


def trade(**changed: Any) -> dict[str, Any]:
    return {"q": "1", "sd": 1, "pr": "2757.03", "s": CALL, "ts": AT_MS} | changed


def trades(*prints: Any) -> bytes:
    return message(6, prints)


def instrument(**changed: Any) -> dict[str, Any]:
    """The first of the documented example."""
    return {
        "baseCurrency": "BTC", "expirationTimestamp": 1694678400000, "strike": 22500.0,
        "symbolName": "BTCUSD-14SEP23-22500-C", "isActive": True, "minQty": 0.01, "tickSize": 0.1,
    } | changed  # fmt: skip


def body(*entries: Any, **more: Any) -> bytes:
    return frame({"code": 0, "msg": "Success", "i18nArgs": None, "data": entries} | more)
