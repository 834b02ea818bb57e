"""Frames of Binance's perpetuals and futures: two of its documentation, and as of 2026."""

import json

PERP, FUTURE, INDEX = "BTCUSDT", "BTCUSDT_261225", "BTCUSDT/INDEX"
IDS = {PERP: 0, FUTURE: 1, INDEX: 2}


def _stream(name: str, data: object) -> bytes:
    return json.dumps({"stream": name, "data": data}, separators=(",", ":")).encode()


FRAMES = [
    _stream("btcusdt@markPrice@1s", {
        "e": "markPriceUpdate", "E": 1789467508000, "s": PERP, "p": "76986.40000000",
        "ap": "76986.40000000", "P": "76996.91044964", "i": "77014.72500000", "r": "0.00010000",
        "T": 1789488000000, "st": 1}),
    _stream("btcusdt@depth10@100ms", {
        "e": "depthUpdate", "E": 1790046434001, "T": 1790046434000, "s": PERP, "ps": "BTCUSDT",
        "U": 11622543872680, "u": 11622543895639, "pu": 11622543872538,
        "b": [["85606.30", "16.972"], ["85606.20", "0.049"]], "a": [["85606.40", "0.094"]],
        "st": 1}),
    _stream("btcusdt_261225@bookTicker", {
        "e": "bookTicker", "u": 400900217, "E": 1568014460893, "T": 1568014460891, "s": FUTURE,
        "b": "25.35190000", "B": "31.21000000", "a": "25.36520000", "A": "40.66000000"}),
    _stream("btcusdt@aggTrade", {
        "e": "aggTrade", "E": 1771263510195, "a": 3141966230, "s": PERP, "p": "68005.00",
        "q": "2.695", "nq": "2.695", "f": 7297376181, "l": 7297376207, "T": 1771263510041,
        "m": True}),
    _stream("!contractInfo", {
        "e": "contractInfo", "E": 1669356423908, "s": FUTURE, "ps": "BTCUSDT",
        "ct": "CURRENT_QUARTER", "dt": 1798185600000, "ot": 1569398400000, "cs": "TRADING",
        "st": 1}),
    b'{"result":null,"id":1001}',
]  # fmt: skip


def _symbol(name: str, contract_type: str, delivery_ms: int) -> dict[str, object]:
    return {
        "symbol": name, "pair": "BTCUSDT", "contractType": contract_type,
        "deliveryDate": delivery_ms, "onboardDate": 1569398400000, "status": "TRADING",
        "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT", "underlyingType": "COIN",
        "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.10"},
                    {"filterType": "LOT_SIZE", "minQty": "0.001", "stepSize": "0.001"}],
    }  # fmt: skip


BODIES = [
    json.dumps(
        {"symbols": [_symbol(PERP, "PERPETUAL", 4133404800000),
                     _symbol(FUTURE, "CURRENT_QUARTER", 1798185600000)]}
    ).encode()
]  # fmt: skip
