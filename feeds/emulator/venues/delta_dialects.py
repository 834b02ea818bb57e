"""Stage 1 of 8, simulated: the words of Delta's messages, in the long dialect and in the short one.

Both dialects say the same of the market and differ in the names of channels and fields. What the
short one says more (when a print or a window was published, the state of the system) and less (the
seller's role, numbers of windows) follows the venue's documentation. Prices and sizes are text,
sizes are whole contracts, times are microseconds.
"""

import abc
from typing import Any, ClassVar, Final

import numpy as np

from feeds.emulator.ladders import Level, Sides

Message = dict[str, Any]
WINDOW_LEVELS: Final = 15  # of a window of the short dialect, each side


class Dialect(abc.ABC):
    """Names of the channels, by what they carry, and how each message is spelled."""

    BOOK: ClassVar[str]
    WINDOW: ClassVar[str]
    QUOTE: ClassVar[str]
    TICKER: ClassVar[str]
    TRADE: ClassVar[str]
    INDEX: ClassVar[str]
    STATUS: ClassVar[str]
    MARK: ClassVar[str] = "mark_price"

    @property
    def of_instrument(self) -> tuple[str, ...]:
        """Channels that are about one traded instrument."""
        return (self.QUOTE, self.BOOK, self.WINDOW, self.TICKER)

    @property
    def of_kind(self) -> tuple[str, ...]:
        """Channels that take a word for all instruments of a kind."""
        return (self.TRADE, self.MARK)

    @abc.abstractmethod
    def book(self, symbol: str, action: str, sides: Sides, sequence: int, at_us: int) -> Message:
        """A whole book (`snapshot`), or its levels that changed (`update`)."""

    @abc.abstractmethod
    def window(
        self, symbol: str, sides: Sides, sequence: int, changed_us: int, now_us: int
    ) -> Message:
        """The best levels of a book that changed at a time."""

    @abc.abstractmethod
    def quote(
        self, symbol: str, sides: Sides, sequence: int, changed_us: int, now_us: int
    ) -> Message:
        """The best level of each side; null for one without orders."""

    @abc.abstractmethod
    def trade(self, symbol: str, printed: Level, side: int, at_us: int, now_us: int) -> Message:
        """One print; side is the aggressor's: +1 bought, -1 sold."""

    @abc.abstractmethod
    def ticker(self, symbol: str, row: Any, now_us: int) -> Message:
        """Mark, index, volatilities, greeks and open interest of a row of the market's tickers."""

    @abc.abstractmethod
    def mark(self, symbol: str, price: float, now_us: int) -> Message:
        """A mark price."""

    @abc.abstractmethod
    def index(self, symbol: str, price: float, now_us: int) -> Message:
        """A price of an index."""

    @abc.abstractmethod
    def status(self, now_us: int) -> Message | None:
        """What a new subscriber of the status channel is told at once; None for nothing."""


class _Long(Dialect):
    BOOK = "l2_updates"
    WINDOW = "l2_orderbook"
    QUOTE = "l1_orderbook"
    TICKER = "v2/ticker"
    TRADE = "all_trades"
    INDEX = "v2/spot_price"
    STATUS = "product_updates"

    def book(self, symbol: str, action: str, sides: Sides, sequence: int, at_us: int) -> Message:
        return {
            "type": self.BOOK, "action": action, "cs": 0, "symbol": symbol,
            "asks": _texts(sides.asks), "bids": _texts(sides.bids),
            "sequence_no": sequence, "timestamp": at_us,
        }  # fmt: skip

    def window(
        self, symbol: str, sides: Sides, sequence: int, changed_us: int, now_us: int
    ) -> Message:
        buy, sell = (
            [{"limit_price": price, "size": round(float(size))} for price, size in _texts(side)]
            for side in sides
        )
        return {
            "type": self.WINDOW, "symbol": symbol, "buy": buy, "sell": sell,
            "last_sequence_no": sequence, "last_updated_at": changed_us, "timestamp": now_us,
        }  # fmt: skip

    def quote(
        self, symbol: str, sides: Sides, sequence: int, changed_us: int, now_us: int
    ) -> Message:
        (bid, bid_size), (ask, ask_size) = (_top(side) for side in sides)
        return {
            "type": self.QUOTE, "symbol": symbol,
            "best_bid": bid, "bid_qty": bid_size, "best_ask": ask, "ask_qty": ask_size,
            "last_sequence_no": sequence, "last_updated_at": changed_us, "timestamp": now_us,
        }  # fmt: skip

    def trade(
        self, symbol: str, printed: Level, side: int, at_us: int, now_us: int  # noqa: ARG002
    ) -> Message:  # fmt: skip
        price, size = printed
        roles = ("taker", "maker") if side > 0 else ("maker", "taker")
        return {
            "type": self.TRADE, "symbol": symbol, "price": f"{price:.2f}", "size": round(size),
            "buyer_role": roles[0], "seller_role": roles[1], "timestamp": at_us,
        }  # fmt: skip

    def ticker(self, symbol: str, row: Any, now_us: int) -> Message:
        greeks = None if np.isnan(row["delta"]) else {
            name: f"{row[name]:.8f}" for name in ("delta", "gamma", "theta", "vega")
        }  # fmt: skip
        return {
            "type": self.TICKER, "symbol": symbol, "timestamp": now_us,
            "mark_price": f"{row['mark']:.6f}", "spot_price": f"{row['index']:.6f}", "oi": "0",
            "oi_contracts": f"{row['open_interest']:.0f}", "greeks": greeks,
            "quotes": {name: _decimal(row[field], 6) for name, field in (
                ("ask_iv", "iv_ask"), ("bid_iv", "iv_bid"), ("mark_iv", "iv_mark"),
            )},
        }  # fmt: skip

    def mark(self, symbol: str, price: float, now_us: int) -> Message:
        return {
            "type": self.MARK, "symbol": f"MARK:{symbol}", "price": f"{price:.6f}",
            "timestamp": now_us,
        }  # fmt: skip

    def index(self, symbol: str, price: float, now_us: int) -> Message:
        return {
            "type": self.INDEX, "symbol": symbol, "price": f"{price:.6f}", "timestamp": now_us,
        }  # fmt: skip

    def status(self, now_us: int) -> Message | None:  # noqa: ARG002 - the other dialect's
        return None


class _Short(Dialect):
    BOOK = "ob_updates"
    WINDOW = "ob_l2"
    QUOTE = "ob_l1"
    TICKER = "ticker"
    TRADE = "trades"
    INDEX = "spot_price"
    STATUS = "system_status"

    def book(self, symbol: str, action: str, sides: Sides, sequence: int, at_us: int) -> Message:
        return {
            "type": self.BOOK, "action": action, "cs": 0, "sy": symbol,
            "a": _texts(sides.asks), "b": _texts(sides.bids), "seq": sequence, "ts": at_us,
        }  # fmt: skip

    def window(
        self, symbol: str, sides: Sides, sequence: int, changed_us: int, now_us: int  # noqa: ARG002
    ) -> Message:  # fmt: skip
        return {
            "type": self.WINDOW, "sy": symbol, "a": _texts(sides.asks[:WINDOW_LEVELS]),
            "b": _texts(sides.bids[:WINDOW_LEVELS]), "lts": changed_us, "ts": now_us,
        }  # fmt: skip

    def quote(
        self, symbol: str, sides: Sides, sequence: int, changed_us: int, now_us: int  # noqa: ARG002
    ) -> Message:  # fmt: skip
        (bid, bid_size), (ask, ask_size) = (_top(side) for side in sides)
        return {
            "type": self.QUOTE, "sy": symbol, "bp": bid, "bs": bid_size, "ap": ask,
            "as": ask_size, "lts": changed_us, "ts": now_us,
        }  # fmt: skip

    def trade(self, symbol: str, printed: Level, side: int, at_us: int, now_us: int) -> Message:
        price, size = printed
        return {
            "type": self.TRADE, "sy": symbol, "p": f"{price:.2f}", "s": float(round(size)),
            "r": "t" if side > 0 else "m", "t": at_us, "ts": now_us,
        }  # fmt: skip

    def ticker(self, symbol: str, row: Any, now_us: int) -> Message:
        greeks = {name: _decimal(row[name], 8) for name in ("delta", "gamma", "theta", "vega")}
        entry = {
            "s": symbol, "m": f"{row['mark']:.6f}",
            "oi": [f"{row['open_interest']:.0f}", None],  # The change of it is not simulated.
            "g": [greeks["delta"], greeks["gamma"], None, greeks["theta"], greeks["vega"]],
            "qiv": [_decimal(row[name], 6) for name in ("iv_ask", "iv_bid", "iv_mark")],
        }  # fmt: skip
        return {
            "type": self.TICKER, "sy": symbol, "d": [entry], "sp": f"{row['index']:.6f}",
            "ts": now_us,
        }  # fmt: skip

    def mark(self, symbol: str, price: float, now_us: int) -> Message:
        return {"type": self.MARK, "sy": f"MARK:{symbol}", "p": f"{price:.6f}", "ts": now_us}

    def index(self, symbol: str, price: float, now_us: int) -> Message:
        return {"type": self.INDEX, "sy": symbol, "p": f"{price:.6f}", "ts": now_us}

    def status(self, now_us: int) -> Message | None:
        return {"type": self.STATUS, "event": "snapshot", "status": "live", "timestamp": now_us}


LONG: Final = _Long()
SHORT: Final = _Short()


def _texts(levels: list[Level]) -> list[list[str]]:
    return [[f"{price:.2f}", f"{size:.0f}"] for price, size in levels]


def _top(levels: list[Level]) -> list[str] | tuple[None, None]:
    return _texts(levels[:1])[0] if levels else (None, None)


def _decimal(value: float, places: int) -> str | None:
    return None if np.isnan(value) else f"{value:.{places}f}"
