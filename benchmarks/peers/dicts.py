"""The second peer of the decode questions: orjson to dictionaries, typed by hand to float64 columns.

Columns and their order are those of decode.py and venues.py. Numbers that are text on the wire go
through `float`; everything else is as there: one flat list, one array per batch.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import orjson

Rows = dict[str, int]
Peer = Callable[[list[bytes], Rows], np.ndarray]
Book = tuple[int, Any, Any, float]  # row, bids, asks, venue time


def _text_levels(books: Callable[[Any, Rows], Iterable[Book]]) -> Peer:
    """[level, (row, side, price, size, time)] of levels that begin with price and size as text."""

    def columns(frames: list[bytes], rows: Rows) -> np.ndarray:
        out: list[float] = []
        put = out.extend
        for frame in frames:
            for row, bids, asks, ts in books(orjson.loads(frame), rows):
                for level in bids:
                    put((row, 0.0, float(level[0]), float(level[1]), ts))
                for level in asks:
                    put((row, 1.0, float(level[0]), float(level[1]), ts))
        return np.array(out, np.float64).reshape(-1, 5)

    return columns


def _okx_books(message: Any, rows: Rows) -> Iterable[Book]:
    row = rows[message["arg"]["instId"]]
    return [(row, d["bids"], d["asks"], float(d["ts"])) for d in message["data"]]


def _bybit_book(message: Any, rows: Rows) -> Iterable[Book]:
    d = message["data"]
    return ((rows[d["s"]], d["b"], d["a"], message["cts"]),)


def _binance_depth(message: Any, rows: Rows) -> Iterable[Book]:
    d = message["data"]
    return ((rows[d["s"]], d["b"], d["a"], d["T"]),)


def _fields(entries: Callable[[Any], Any], name: str, fields: tuple[str, ...]) -> Peer:
    """[entry, (row, fields...)]; a field that is absent is NaN."""

    def columns(frames: list[bytes], rows: Rows) -> np.ndarray:
        out: list[float] = []
        put, nan = out.extend, np.nan
        for frame in frames:
            for d in entries(orjson.loads(frame)):
                get = d.get
                put([rows[d[name]], *[float(get(field, nan)) for field in fields]])
        return np.array(out, np.float64).reshape(-1, 1 + len(fields))

    return columns


def _bybit_ticker(message: Any) -> Any:
    d = message["data"]
    d["ts"] = message["ts"]
    return (d,)


def okx_trades(frames: list[bytes], rows: Rows) -> np.ndarray:
    """[print, (row, price, size, side, time)] of OKX."""
    out: list[float] = []
    for frame in frames:
        for d in orjson.loads(frame)["data"]:
            side = 1.0 if d["side"] == "buy" else -1.0
            out.extend((rows[d["instId"]], float(d["px"]), float(d["sz"]), side, float(d["ts"])))
    return np.array(out, np.float64).reshape(-1, 5)


def deribit_book(frames: list[bytes], rows: Rows) -> np.ndarray:
    """[level, (row, side, price, size, timestamp)]."""
    out: list[float] = []
    put = out.extend
    for frame in frames:
        d = orjson.loads(frame)["params"]["data"]
        row, ts = rows[d["instrument_name"]], d["timestamp"]
        for _, price, size in d["bids"]:
            put((row, 0.0, price, size, ts))
        for _, price, size in d["asks"]:
            put((row, 1.0, price, size, ts))
    return np.array(out, np.float64).reshape(-1, 5)


def deribit_ticker(frames: list[bytes], rows: Rows) -> np.ndarray:
    """[frame, 17 fields]."""
    out: list[float] = []
    put = out.extend
    for frame in frames:
        d = orjson.loads(frame)["params"]["data"]
        g = d["greeks"]
        put((
            rows[d["instrument_name"]], d["timestamp"], d["open_interest"], d["mark_price"],
            d["best_bid_price"], d["best_bid_amount"], d["best_ask_price"], d["best_ask_amount"],
            d["mark_iv"], d["bid_iv"], d["ask_iv"], d["underlying_price"], d["index_price"],
            g["delta"], g["gamma"], g["vega"], g["theta"],
        ))  # fmt: skip
    return np.array(out, np.float64).reshape(-1, 17)


def deribit_trades(frames: list[bytes], rows: Rows) -> np.ndarray:
    """[print, (row, price, amount, iv, timestamp, side)]."""
    out: list[float] = []
    put = out.extend
    for frame in frames:
        for d in orjson.loads(frame)["params"]["data"]:
            side = 1.0 if d["direction"] == "buy" else -1.0
            put(
                (rows[d["instrument_name"]], d["price"], d["amount"], d["iv"], d["timestamp"], side)
            )
    return np.array(out, np.float64).reshape(-1, 6)


_SUMMARY: Final = (
    "markVol", "bidVol", "askVol", "deltaBS", "gammaBS", "vegaBS", "thetaBS", "fwdPx", "ts",
)  # fmt: skip
_TICKER: Final = (
    "markPrice", "bidIv", "askIv", "markPriceIv", "underlyingPrice", "indexPrice", "openInterest",
    "delta", "gamma", "vega", "theta", "bidPrice", "bidSize", "askPrice", "askSize", "ts",
)  # fmt: skip
_MARK: Final = ("mp", "i", "bo", "ao", "bq", "aq", "b", "a", "vo", "d", "t", "g", "v", "E")

PEERS: Final[dict[str, Peer]] = {
    "book change": deribit_book,
    "ticker": deribit_ticker,
    "trades": deribit_trades,
    "okx books": _text_levels(_okx_books),
    "okx books5": _text_levels(_okx_books),
    "okx bbo-tbt": _text_levels(_okx_books),
    "okx opt-summary": _fields(lambda message: message["data"], "instId", _SUMMARY),
    "okx option-trades": okx_trades,
    "bybit orderbook.25": _text_levels(_bybit_book),
    "bybit ticker": _fields(_bybit_ticker, "symbol", _TICKER),
    "binance depth10": _text_levels(_binance_depth),
    "binance chain": _fields(lambda message: message["data"], "s", _MARK),
}
