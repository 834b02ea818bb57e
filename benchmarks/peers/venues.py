"""The peer of the decode question for other venues: msgspec typed decode to float64 columns.

Numbers are text on these wires; msgspec turns them into numbers as it reads (`strict=False`), which
is faster than `float` in Python. One flat list, one array per batch, as in decode.py.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

Peer = Callable[[list[bytes], dict[str, int]], np.ndarray]


def _struct(name: str, fields: dict[str, Any]) -> Any:
    return msgspec.defstruct(name, list(fields.items()), gc=False)


def _decoder(fields: dict[str, Any]) -> Any:
    return msgspec.json.Decoder(_struct("Message", fields), strict=False).decode


_OKX_LEVEL = tuple[float, float, float, float]
_okx_books = _decoder({
    "arg": _struct("Arg", {"instId": str}),
    "data": list[_struct("Book", {"asks": list[_OKX_LEVEL], "bids": list[_OKX_LEVEL],
                                  "ts": float})],
})  # fmt: skip
_SUMMARY = ("markVol", "bidVol", "askVol", "deltaBS", "gammaBS", "vegaBS", "thetaBS", "fwdPx", "ts")
_okx_summary = _decoder({
    "data": list[_struct("Summary", {"instId": str} | dict.fromkeys(_SUMMARY, float))],
})  # fmt: skip
_okx_trades = _decoder({
    "data": list[_struct("Trade", {"instId": str, "px": float, "sz": float, "side": str,
                                   "ts": float})],
})  # fmt: skip
_PAIR = tuple[float, float]
_bybit_book = _decoder({
    "cts": float, "data": _struct("Book", {"s": str, "b": list[_PAIR], "a": list[_PAIR]}),
})  # fmt: skip
_TICKER = ("markPrice", "bidIv", "askIv", "markPriceIv", "underlyingPrice", "indexPrice",
           "openInterest", "delta", "gamma", "vega", "theta", "bidPrice", "bidSize", "askPrice",
           "askSize")  # fmt: skip
_bybit_ticker = _decoder({
    "ts": float,
    "data": msgspec.defstruct(
        "Ticker", [("symbol", str), *((name, float, np.nan) for name in _TICKER)], gc=False
    ),
})  # fmt: skip
_binance_depth = _decoder({
    "data": _struct("Depth", {"s": str, "T": float, "b": list[_PAIR], "a": list[_PAIR]}),
})  # fmt: skip
_bybit_trades = _decoder({
    "data": list[_struct("Trade", {"s": str, "p": float, "v": float, "S": str, "T": float})],
})  # fmt: skip
_binance_quote = _decoder({
    "data": _struct("Quote", {"s": str, "b": float, "B": float, "a": float, "A": float,
                              "T": float}),
})  # fmt: skip
_binance_trade = _decoder({
    "data": _struct("Trade", {"s": str, "p": float, "q": float, "S": str, "T": float}),
})  # fmt: skip
_MARK = ("mp", "i", "bo", "ao", "bq", "aq", "b", "a", "vo", "d", "t", "g", "v", "E")
_binance_chain = _decoder({
    "data": list[_struct("Mark", {"s": str} | dict.fromkeys(_MARK, float))],
})  # fmt: skip


def _levels(frames: list[bytes], books_of: Callable[[bytes], Any]) -> np.ndarray:
    """[level, (row, side, price, size, time)]."""
    out: list[float] = []
    put = out.extend
    for frame in frames:
        for row, bids, asks, ts in books_of(frame):
            for level in bids:
                put((row, 0.0, level[0], level[1], ts))
            for level in asks:
                put((row, 1.0, level[0], level[1], ts))
    return np.array(out, np.float64).reshape(-1, 5)


def okx_books(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """Levels of OKX's books."""

    def books(frame: bytes) -> Any:
        message = _okx_books(frame)
        row = rows[message.arg.instId]
        return [(row, d.bids, d.asks, d.ts) for d in message.data]

    return _levels(frames, books)


def okx_summary(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """[option, 10 fields] of OKX's summaries."""
    out: list[float] = []
    for frame in frames:
        for d in _okx_summary(frame).data:
            out.extend((
                rows[d.instId], d.markVol, d.bidVol, d.askVol, d.deltaBS, d.gammaBS, d.vegaBS,
                d.thetaBS, d.fwdPx, d.ts,
            ))  # fmt: skip
    return np.array(out, np.float64).reshape(-1, 10)


def okx_trades(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """[print, (row, price, size, side, time)] of OKX."""
    out: list[float] = []
    for frame in frames:
        for d in _okx_trades(frame).data:
            side = 1.0 if d.side == "buy" else -1.0
            out.extend((rows[d.instId], d.px, d.sz, side, d.ts))
    return np.array(out, np.float64).reshape(-1, 5)


def bybit_book(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """Levels of Bybit's books."""

    def books(frame: bytes) -> Any:
        message = _bybit_book(frame)
        d = message.data
        return ((rows[d.s], d.b, d.a, message.cts),)

    return _levels(frames, books)


def bybit_ticker(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """[frame, 17 fields] of Bybit's tickers."""
    out: list[float] = []
    for frame in frames:
        message = _bybit_ticker(frame)
        d = message.data
        out.extend((
            rows[d.symbol], d.markPrice, d.bidIv, d.askIv, d.markPriceIv, d.underlyingPrice,
            d.indexPrice, d.openInterest, d.delta, d.gamma, d.vega, d.theta, d.bidPrice, d.bidSize,
            d.askPrice, d.askSize, message.ts,
        ))  # fmt: skip
    return np.array(out, np.float64).reshape(-1, 17)


def bybit_trades(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """[print, (row, price, size, side, time)] of Bybit."""
    out: list[float] = []
    for frame in frames:
        for d in _bybit_trades(frame).data:
            out.extend((rows[d.s], d.p, d.v, 1.0 if d.S == "Buy" else -1.0, d.T))
    return np.array(out, np.float64).reshape(-1, 5)


def binance_quote(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """[frame, (row, bid, bid size, ask, ask size, time)] of Binance."""
    out: list[float] = []
    for frame in frames:
        d = _binance_quote(frame).data
        out.extend((rows[d.s], d.b, d.B, d.a, d.A, d.T))
    return np.array(out, np.float64).reshape(-1, 6)


def binance_trade(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """[print, (row, price, size, side, time)] of Binance."""
    out: list[float] = []
    for frame in frames:
        d = _binance_trade(frame).data
        out.extend((rows[d.s], d.p, d.q, 1.0 if d.S == "BUY" else -1.0, d.T))
    return np.array(out, np.float64).reshape(-1, 5)


def binance_depth(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """Levels of Binance's windows."""

    def books(frame: bytes) -> Any:
        d = _binance_depth(frame).data
        return ((rows[d.s], d.b, d.a, d.T),)

    return _levels(frames, books)


def binance_chain(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """[option, 15 fields] of Binance's chains."""
    out: list[float] = []
    for frame in frames:
        for d in _binance_chain(frame).data:
            out.extend((
                rows[d.s], d.mp, d.i, d.bo, d.ao, d.bq, d.aq, d.b, d.a, d.vo, d.d, d.t, d.g, d.v,
                d.E,
            ))  # fmt: skip
    return np.array(out, np.float64).reshape(-1, 15)


PEERS: Final[dict[str, Peer]] = {
    "okx books": okx_books,
    "okx books5": okx_books,
    "okx bbo-tbt": okx_books,
    "okx opt-summary": okx_summary,
    "okx small opt-summary": okx_summary,
    "okx option-trades": okx_trades,
    "bybit orderbook.25": bybit_book,
    "bybit ticker": bybit_ticker,
    "bybit publicTrade": bybit_trades,
    "binance depth10": binance_depth,
    "binance bookTicker": binance_quote,
    "binance optionTrade": binance_trade,
    "binance chain": binance_chain,
    "binance small chain": binance_chain,
}
