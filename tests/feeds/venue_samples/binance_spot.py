"""Frames of Binance's spot market, in the shape of its documentation."""

import json

PAIR = "BTCUSDT"
IDS = {PAIR: 0}


def _stream(name: str, data: object) -> bytes:
    return json.dumps({"stream": name, "data": data}, separators=(",", ":")).encode()


FRAMES = [
    _stream("btcusdt@depth10@100ms", {
        "lastUpdateId": 160, "bids": [["65433.79", "0.52000000"], ["65433.00", "1.20000000"]],
        "asks": [["65433.80", "0.30000000"]]}),
    _stream("btcusdt@bookTicker", {
        "u": 400900217, "s": PAIR, "b": "65433.79", "B": "31.21000000", "a": "65433.80",
        "A": "40.66000000"}),
    _stream("btcusdt@trade", {
        "e": "trade", "E": 1672515782136, "s": PAIR, "t": 12345, "p": "65433.80", "q": "0.00500000",
        "T": 1672515782130, "m": True, "M": True}),
    b'{"result":null,"id":1001}',
]  # fmt: skip

BODIES = [
    json.dumps(
        {"symbols": [{
        "symbol": PAIR, "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
        "isSpotTradingAllowed": True, "permissionSets": [],
        "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
                    {"filterType": "LOT_SIZE", "minQty": "0.00001000", "stepSize": "0.00001000"}]}]}
    ).encode()
]  # fmt: skip
