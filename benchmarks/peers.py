"""The peer of the decode question: msgspec typed decode to float64 columns, what a user would type."""

from typing import Any

import msgspec
import numpy as np


class Book(msgspec.Struct):
    """A book change."""

    timestamp: int
    instrument_name: str
    bids: list[tuple[str, float, float]]
    asks: list[tuple[str, float, float]]


class Greeks(msgspec.Struct):
    """Greeks of a ticker."""

    delta: float
    gamma: float
    vega: float
    theta: float


class Ticker(msgspec.Struct):
    """The fields of a ticker that a scanner needs."""

    timestamp: int
    instrument_name: str
    open_interest: float
    mark_price: float
    mark_iv: float
    bid_iv: float
    ask_iv: float
    underlying_price: float
    index_price: float
    best_bid_price: float
    best_bid_amount: float
    best_ask_price: float
    best_ask_amount: float
    greeks: Greeks


class Trade(msgspec.Struct):
    """One print."""

    timestamp: int
    instrument_name: str
    price: float
    amount: float
    iv: float
    index_price: float
    direction: str


def _decoder(data: Any) -> Any:
    params = msgspec.defstruct("Params", [("data", data)])
    return msgspec.json.Decoder(msgspec.defstruct("Message", [("params", params)])).decode


_BOOK, _TICKER, _TRADES = (_decoder(kind) for kind in (Book, Ticker, list[Trade]))


def book_columns(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """[level, (row, side, price, size, timestamp)]."""
    out: list[tuple[float, ...]] = []
    for frame in frames:
        d = _BOOK(frame).params.data
        row, ts = rows[d.instrument_name], d.timestamp
        out.extend([(row, 0.0, price, size, ts) for _, price, size in d.bids])
        out.extend([(row, 1.0, price, size, ts) for _, price, size in d.asks])
    return np.array(out)


def ticker_columns(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """[frame, 17 fields]."""
    out = []
    for frame in frames:
        d = _TICKER(frame).params.data
        g = d.greeks
        out.append((
            rows[d.instrument_name], d.timestamp, d.open_interest, d.mark_price, d.best_bid_price,
            d.best_bid_amount, d.best_ask_price, d.best_ask_amount, d.mark_iv, d.bid_iv, d.ask_iv,
            d.underlying_price, d.index_price, g.delta, g.gamma, g.vega, g.theta,
        ))  # fmt: skip
    return np.array(out)


def trade_columns(frames: list[bytes], rows: dict[str, int]) -> np.ndarray:
    """[print, (row, price, amount, iv, index, timestamp, side)]."""
    return np.array([
        (rows[d.instrument_name], d.price, d.amount, d.iv, d.index_price, d.timestamp,
         1.0 if d.direction == "buy" else -1.0)
        for frame in frames
        for d in _TRADES(frame).params.data
    ])  # fmt: skip
