"""Stage 1 of 8, simulated: the JSON-RPC methods that answer over REST and WebSocket alike."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from feeds.contract import ListingKind
from feeds.emulator.deribit.wire import KINDS_OF, NS_PER_MS, Fields, Wire
from feeds.emulator.market import Market
from feeds.emulator.profiles import DERIBIT
from feeds.errors import SessionError
from feeds.events import ListingState

CURRENCIES: Final = ("BTC", "ETH", "USDC", "USDT", "EURR", "any")
KINDS: Final = ("option", "future", "spot", "future_combo", "option_combo", "any")
_DEPTH_DEFAULT: Final = 5
_DEPTH_MAX: Final = 10_000

INVALID_PARAMS: Final = -32602
METHOD_NOT_FOUND: Final = -32601
PARSE_ERROR: Final = -32700
NOT_FOUND: Final = 13020  # instrument_not_found
TOO_MANY_REQUESTS: Final = 10028
RAW_REFUSED: Final = 13778

_encode: Final = msgspec.json.Encoder().encode


class RpcError(SessionError):
    """A request the venue refuses, with its error code."""

    def __init__(self, code: int, message: str, **data: str) -> None:
        """Keep the code and what the error's `data` says."""
        super().__init__(message)
        self.code = code
        self.data = data


class Call(msgspec.Struct):
    """One JSON-RPC request."""

    method: str
    id: int | float | str | None = None
    params: dict[str, Any] = {}


read_call: Final = msgspec.json.Decoder(Call).decode


class Methods:
    """Public methods about instruments and prices; `call` answers one of them."""

    def __init__(self, market: Market, wire: Wire) -> None:
        """Take the market and its messages."""
        self._market, self._wire = market, wire
        self._table: dict[str, Callable[[Fields], Any]] = {
            "public/test": lambda _: {"version": "1.2.26"},
            "public/get_time": lambda _: wire.time_ms(),
            "public/get_instruments": self._instruments,
            "public/get_instrument": lambda p: wire.instrument(self._known(p)),
            "public/get_order_book": self._order_book,
            "public/ticker": lambda p: wire.tickers(np.array([self._known(p)], np.int64))[0],
            "public/get_index_price": self._index_price,
            "public/get_book_summary_by_currency": self._summaries,
        }

    def call(self, method: str, params: Fields) -> Any:
        """Answer a method.

        Raises:
            RpcError: unknown method, or parameters it refuses.
        """
        answer = self._table.get(method)
        if answer is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found")
        return answer(params)

    def _instruments(self, params: Fields) -> list[Fields]:
        """get_instruments: currency, kind, expired."""
        state = ListingState.EXPIRED if _truth(params.get("expired")) else ListingState.LIVE
        return [self._wire.instrument(number) for number in self._selected(params, state)]

    def _summaries(self, params: Fields) -> list[Fields]:
        """get_book_summary_by_currency: currency, kind."""
        numbers = self._selected(params, ListingState.LIVE)
        tickers = self._wire.tickers(np.array(numbers, np.int64))
        return [self._wire.summary(n, t) for n, t in zip(numbers, tickers, strict=True)]

    def _order_book(self, params: Fields) -> Fields:
        """get_order_book: instrument_name, depth."""
        text = str(params.get("depth", _DEPTH_DEFAULT))
        if not text.isdecimal() or not 1 <= int(text) <= _DEPTH_MAX:
            raise RpcError(INVALID_PARAMS, "Invalid params", param="depth", reason="wrong format")
        return self._wire.order_book(self._known(params), int(text))

    def _index_price(self, params: Fields) -> Fields:
        """get_index_price: index_name."""
        name = params.get("index_name")
        if name not in [spec.index for spec in DERIBIT.terms]:
            raise RpcError(
                INVALID_PARAMS, "Invalid params", param="index_name", reason="wrong format"
            )
        price = self._wire.index_price(name)
        return {"index_price": price, "estimated_delivery_price": price}

    def _selected(self, params: Fields, state: ListingState) -> list[int]:
        """Instruments of a currency and kind in a state, by number."""
        currency, kind = params.get("currency", "any"), params.get("kind", "any")
        for name, value, known in (("currency", currency, CURRENCIES), ("kind", kind, KINDS)):
            if value not in known:
                raise RpcError(INVALID_PARAMS, "Invalid params", param=name, reason="wrong format")
        universe = self._market.universe
        wanted = (self._market.state == state) & (universe.kind != ListingKind.INDEX)
        if kind != "any":
            wanted &= np.isin(universe.kind, [one for one, of in KINDS_OF.items() if of == kind])
        numbers = np.flatnonzero(wanted).tolist()
        return [n for n in numbers if currency in ("any", *self._wire.currencies(n))]

    def _known(self, params: Fields) -> int:
        """Number of an instrument that was listed."""
        number: int = self._market.universe.ids.get(str(params.get("instrument_name")), -1)
        listed = number >= 0 and self._market.state[number] != ListingState.LISTED
        if not listed or self._market.universe.kind[number] == ListingKind.INDEX:
            raise RpcError(NOT_FOUND, "instrument_not_found")
        return number


def result_text(call_id: Any, result: Any, now_ns: int) -> bytes:
    """An answer; the emulator says that it is no real market."""
    now_us = now_ns // (NS_PER_MS // 1000)
    return _encode(
        {
            "jsonrpc": "2.0",
            "id": call_id,
            "result": result,
            "usIn": now_us,  # codespell:ignore
            "usOut": now_us,
            "usDiff": 0,
            "testnet": True,
        }
    )


def error_text(call_id: Any, error: RpcError) -> bytes:
    """A refusal."""
    body = {"code": error.code, "message": str(error), "data": error.data or None}
    return _encode({"jsonrpc": "2.0", "id": call_id, "error": body, "testnet": True})


def _truth(value: Any) -> bool:
    """A boolean parameter, which REST gives as text."""
    return value is True or value == "true"
