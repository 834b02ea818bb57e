"""Frames of Binance."""

import json

CALL = "BTC-261225-92000-C"
IDS = {CALL: 0, "BTCUSDT/INDEX": 1}


def _stream(name: str, data: object) -> bytes:
    return json.dumps({"stream": name, "data": data}, separators=(",", ":")).encode()


FRAMES = [
    _stream("btcusdt@optionMarkPrice", [{
        "s": CALL, "mp": "2982.946", "E": 1789953404883, "e": "markPrice", "i": "81760.36521739",
        "bo": "3020.000", "ao": "3055.000", "bq": "2.25", "aq": "5.44", "b": "0.37", "a": "0.38",
        "vo": "0.371", "rf": "0.0535", "d": "0.32", "t": "-29.5", "g": "0.00002", "v": "150.3"}]),
    _stream("btc-261225-92000-c@depth10@100ms", {
        "e": "depthUpdate", "T": 1789953408491, "s": CALL, "U": 5, "u": 7, "pu": 4,
        "b": [["765.000", "0.05"], ["755.000", "2.27"]], "a": [["915.000", "1.98"]]}),
    _stream("btc-261225-92000-c@bookTicker", {
        "e": "bookTicker", "u": 9, "s": CALL, "b": "765.000", "B": "2.32", "a": "0", "A": "0",
        "T": 1789953422973}),
    _stream("btcusdt@optionTrade", {
        "e": "trade", "T": 1789953406025, "s": CALL, "t": 2159, "p": "15.000", "q": "0.19",
        "X": "MARKET", "S": "SELL", "m": True}),
    _stream("btcusdt@optionOpenInterest@261225", [
        {"e": "openInterest", "E": 1765983420500, "s": CALL, "o": "123.45", "h": "1.5"}]),
    _stream("!index@arr", [
        {"e": "indexPrice", "E": 1789953404989, "s": "BTCUSDT", "p": "81760.36521739"}]),
    _stream("!optionSymbol", {"e": "optionSymbol", "s": CALL, "cs": "TRADING"}),
    b'{"result":null,"id":1001}',
]  # fmt: skip

BODIES = [
    json.dumps(
        {"optionSymbols": [{
        "expiryDate": 1798185600000, "symbol": CALL, "side": "CALL", "strikePrice": "92000.000",
        "underlying": "BTCUSDT", "unit": 1, "minQty": "0.01", "quoteAsset": "USDT",
        "filters": [{"filterType": "PRICE_FILTER", "tickSize": "5"}], "status": "TRADING"}]}
    ).encode()
]  # fmt: skip
