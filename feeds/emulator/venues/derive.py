"""Stage 1 of 8, simulated: a server that speaks Derive's protocol over the market.

POST /public/get_all_instruments in pages, JSON-RPC over WebSocket at /ws. Books are whole windows,
sent when they change and once a second otherwise; times are milliseconds, numbers are text.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from aiohttp import web

from feeds.contract import E9, Listing, ListingKind
from feeds.emulator.books import ASK, BID, Ids
from feeds.emulator.ladders import Level, print_of, standing
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.server import Connection, VenueServer
from feeds.events import Flag, ListingState

NS_PER_MS: Final = 1_000_000
DEPTHS: Final = ("1", "10", "20", "100")
INTERVALS: Final = ("100", "1000")
SECOND_STEPS: Final = 10
_encode: Final = msgspec.json.Encoder().encode


class _Call(msgspec.Struct):
    method: str
    id: int
    params: dict[str, Any] = {}


_read_call: Final = msgspec.json.Decoder(_Call).decode


class DeriveServer(VenueServer):
    """The emulated Derive."""

    WS_PATH: ClassVar[str] = "/ws"
    KIND_FIELD: ClassVar[str] = "instrument_type"
    NAME_FIELD: ClassVar[str] = "instrument_name"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        self._numbers = {
            x.symbol: n
            for n, x in enumerate(market.universe.listings)
            if x.kind != ListingKind.INDEX
        }

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [web.post("/public/get_all_instruments", self._instruments)]

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer subscribe, unsubscribe and whatever else is asked."""
        now_ns = self.market.now_ns
        try:
            call = _read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            error = {"code": -32700, "message": "Parse error"}
            self.put(connection, _encode({"id": None, "error": error}), now_ns)
            return
        names = call.params.get("channels", [])
        result: Any = self._now_ms()
        first: list[bytes] = []
        if call.method == "subscribe":
            accepted, first = self.subscribe(connection, names)
            status = {name: "ok" if name in accepted else "not found" for name in names}
            result = {"status": status, "current_subscriptions": sorted(connection.channels)}
        elif call.method == "unsubscribe":
            self.unsubscribe(connection, names)
            result = {"status": dict.fromkeys(names, "ok")}
        self.put(connection, _encode({"id": call.id, "result": result}), now_ns)
        for content in first:
            self.put(connection, content, now_ns)

    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""
        word, *parts = channel.split(".")
        if word in ("spot_feed", "trades"):
            return True
        number = self._numbers.get(parts[0] if parts else "", -1)
        if number < 0 or self.market.state[number] != ListingState.LIVE:
            return False
        if word == "orderbook":
            return parts[1:2] == ["1"] and parts[2] in DEPTHS
        return word == "ticker_slim" and parts[1] in INTERVALS

    def first(self, channel: str) -> Sequence[bytes]:
        """Books and tickers as they stand."""
        word, *parts = channel.split(".")
        if word == "orderbook":
            return [self._frame(channel, self._book(self._numbers[parts[0]], int(parts[2])))]
        if word == "ticker_slim":
            ids = np.array([self._numbers[parts[0]]], np.int64)
            return [self._frame(channel, self._tickers(ids)[0])]
        return ()

    def publish(self, step: Step) -> None:
        """Send what a step changed, and once a second what did not, to those who listen."""
        self._publish_trades(step)
        whole = step.index % SECOND_STEPS == 0
        self._publish_books(None if whole else set(step.touched.tolist()))
        self._publish_tickers(step, whole=whole)
        if whole:
            for coin, spot in enumerate(self.market.prices.spot.tolist()):
                name = self.market.universe.profile.terms[coin].currency
                self._send(f"spot_feed.{name}", {
                    "timestamp": self._now_ms(),
                    "feeds": {name: {"price": f"{spot:.8f}", "confidence": "1"}},
                })  # fmt: skip

    def _publish_trades(self, step: Step) -> None:
        grouped: dict[str, list[Any]] = {}
        for trade in step.trades:
            item = self.market.universe.listings[trade.listing]
            kind = "option" if item.kind == ListingKind.OPTION else "perp"
            name = f"trades.{kind}.{item.underlying}"
            grouped.setdefault(name, []).append(self._trade(item, trade))
        for name, trades in grouped.items():
            self._send(name, trades)

    def _publish_books(self, touched: set[int] | None) -> None:
        for name in [n for n in self.listened if n.startswith("orderbook.")]:
            _, symbol, _, depth = name.split(".")
            number = self._numbers[symbol]
            alive = self.market.state[number] == ListingState.LIVE
            if alive and (touched is None or number in touched):
                self._send(name, self._book(number, int(depth)))

    def _publish_tickers(self, step: Step, *, whole: bool) -> None:
        due = step.tickers.tolist()
        symbols = [self.market.universe.listings[n].symbol for n in due]
        for interval in INTERVALS if whole else INTERVALS[:1]:
            names = [f"ticker_slim.{symbol}.{interval}" for symbol in symbols]
            heard = [(n, name) for n, name in zip(due, names, strict=True) if name in self.listened]
            if heard:
                ids = np.array([n for n, _ in heard], np.int64)
                for (_, name), content in zip(heard, self._tickers(ids), strict=True):
                    self._send(name, content)

    def _send(self, channel: str, content: Any) -> None:
        if channel not in self.listened:
            return
        frame = self._frame(channel, content)
        for _ in range(self.faults.burst_factor(channel)):
            self.deliver(channel, frame)

    def _frame(self, channel: str, content: Any) -> bytes:
        head = f'{{"method":"subscription","params":{{"channel":"{channel}","data":'
        return head.encode() + _encode(content) + b"}}"

    def _now_ms(self, before_ns: int = 0) -> int:
        return (self.market.now_ns - before_ns) // NS_PER_MS + self.skew_ms

    def _book(self, number: int, depth: int) -> dict[str, Any]:
        bids, asks = standing(self.market.books, np.array([number]))[0]
        return {
            "timestamp": self._now_ms(STEP_NS // 10),
            "instrument_name": self.market.universe.listings[number].symbol,
            "publish_id": int(self.market.books.change_id[number]),
            "bids": _texts(bids[:depth]), "asks": _texts(asks[:depth]),
        }  # fmt: skip

    def _tickers(self, ids: Ids) -> list[dict[str, Any]]:
        books, rows = self.market.books, self.market.tickers(ids)
        prices = np.nan_to_num(books.prices(ids, books.ticks[ids, :, 0])).tolist()
        sizes = books.sizes(ids, books.lots[ids, :, 0]).tolist()
        now_ms = self._now_ms()
        return [
            {
                "timestamp": now_ms,
                "instrument_ticker": {
                    "t": now_ms, "A": f"{size[ASK]:.2f}", "a": f"{price[ASK]:.2f}",
                    "B": f"{size[BID]:.2f}", "b": f"{price[BID]:.2f}", "f": None,
                    "option_pricing": None if np.isnan(row["delta"]) else _pricing(row),
                    "I": f"{row['index']:.8f}", "M": f"{row['mark']:.6f}",
                    "stats": {"oi": f"{row['open_interest']:.4f}", "c": "0", "v": "0"},
                },
            }
            for row, price, size in zip(rows, prices, sizes, strict=True)
        ]  # fmt: skip

    def _trade(self, item: Listing, trade: Any) -> dict[str, Any]:
        price, size = print_of(self.market.books, trade)
        return {
            "trade_id": f"{trade.trade_id:032x}", "instrument_name": item.symbol,
            "timestamp": self._now_ms(STEP_NS * 9 // 10), "trade_price": f"{price:.2f}",
            "trade_amount": f"{size:.2f}", "direction": "buy" if trade.side > 0 else "sell",
            "quote_id": None, "rfq_id": f"{trade.trade_id}" if trade.flags & Flag.BLOCK else None,
        }  # fmt: skip

    async def _instruments(self, request: web.Request) -> web.Response:
        """One page of live instruments of a type."""
        asked = await request.json()
        kind = ListingKind.OPTION if asked["instrument_type"] == "option" else ListingKind.PERP
        universe = self.market.universe
        live = (self.market.state == ListingState.LIVE) & (universe.kind == kind)
        entries = [self._instrument(universe.listings[n]) for n in np.flatnonzero(live).tolist()]
        size, page = int(asked["page_size"]), int(asked["page"])
        result = {
            "instruments": entries[(page - 1) * size : page * size],
            "pagination": {"count": len(entries), "num_pages": -(-len(entries) // size)},
        }
        return web.Response(body=_encode({"result": result}), content_type="application/json")

    def _instrument(self, item: Listing) -> dict[str, Any]:
        option = item.kind == ListingKind.OPTION
        details = {
            "index": f"{item.underlying}-USD", "expiry": (item.expiry_ns or 0) // E9,
            "strike": f"{(item.strike_e9 or 0) / E9:g}", "option_type": item.right,
            "settlement_price": None,
        }  # fmt: skip
        return {
            "instrument_name": item.symbol, "instrument_type": "option" if option else "perp",
            "is_active": True, "tick_size": f"{item.tick:g}", "amount_step": f"{item.lot:g}",
            "minimum_amount": f"{item.lot:g}", "base_currency": item.underlying,
            "quote_currency": item.price_ccy,
            "option_details": details if option else None,
            "perp_details": None if option else {"index": f"{item.underlying}-USD"},
        }  # fmt: skip


def _pricing(row: Any) -> dict[str, str]:
    return {
        "d": f"{row['delta']:.6f}", "t": f"{row['theta']:.6f}", "g": f"{row['gamma']:.9f}",
        "v": f"{row['vega']:.6f}", "i": f"{row['iv_mark']:.6f}", "f": f"{row['forward']:.4f}",
        "bi": f"{np.nan_to_num(row['iv_bid']):.6f}", "ai": f"{np.nan_to_num(row['iv_ask']):.6f}",
    }  # fmt: skip


def _texts(levels: list[Level]) -> list[list[str]]:
    return [[f"{price:.2f}", f"{size:.2f}"] for price, size in levels]
