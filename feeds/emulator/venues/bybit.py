"""Stage 1 of 8, simulated: a server that speaks Bybit's v5 protocol over the market.

GET /v5/market/instruments-info in pages, WebSockets at /v5/public/option, /linear and /spot. The
option socket answers a request with the topics it took and those it did not, the others with a word
for all. `u` of a book rises by one with each of its frames.

A perpetual and a spot have one name on the wire. Inside, a spot's topics and its listing end in
SPOT: whatever goes in or out at the spot socket loses or gains it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from aiohttp import web

from feeds.contract import E9, Listing, ListingKind
from feeds.emulator.books import ASK, BID, Ids
from feeds.emulator.ladders import Level, Sides, changes, ladders, print_of, standing
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.server import Connection, VenueServer
from feeds.events import Flag, ListingState

NS_PER_MS: Final = 1_000_000
PAGE_MAX: Final = 1000
TOP: Final = "1"  # depth whose frames are whole each time
LINEAR_BOOKS: Final = (TOP, "50", "200")
BOOKS: Final = {"/option": ("25", "100"), "/linear": LINEAR_BOOKS, "/spot": LINEAR_BOOKS}
KINDS: Final = {
    "/option": ListingKind.OPTION, "/linear": ListingKind.PERP, "/spot": ListingKind.SPOT,
}  # fmt: skip
SPOT: Final = "/SPOT"
SPOT_ARGS_MAX: Final = 10
PERPETUAL: Final = "LinearPerpetual"
_encode: Final = msgspec.json.Encoder().encode


class _Call(msgspec.Struct):
    op: str
    req_id: str = ""
    args: list[str] = []


_read_call: Final = msgspec.json.Decoder(_Call).decode


class BybitServer(VenueServer):
    """The emulated Bybit."""

    WS_PATH: ClassVar[str] = "/v5/public"
    WS_PATHS: ClassVar[tuple[str, ...]] = tuple(BOOKS)
    KIND_FIELD: ClassVar[str] = "optionsType"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        self._numbers = {
            x.symbol: n for n, x in enumerate(market.universe.listings) if x.kind in KINDS.values()
        }
        self._update = np.ones(len(market.universe.listings), np.int64)

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [web.get("/v5/market/instruments-info", self._instruments)]

    def restarted(self) -> None:
        """Books count their updates from the start again."""
        self._update[:] = 1

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer subscribe, unsubscribe and ping."""
        now_ns = self.market.now_ns
        try:
            call = _read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.put(connection, b'{"success":false,"ret_msg":"Invalid request"}', now_ns)
            return
        answer: dict[str, Any] = {"success": True, "conn_id": "emulated", "op": call.op}
        first: list[bytes] = []
        spot = connection.path == "/spot"
        topics = [name + SPOT for name in call.args] if spot else call.args
        if spot and len(topics) > SPOT_ARGS_MAX:
            answer = self._answer(connection, call, [], ["args size >10"])
        elif call.op == "subscribe":
            here = [name for name in topics if self._is_of(name, connection.path)]
            accepted, first = self.subscribe(connection, here)
            failed = [_on_wire(name) for name in topics if name not in accepted]
            answer = self._answer(connection, call, accepted, failed)
        elif call.op == "unsubscribe":
            self.unsubscribe(connection, topics)
            answer = self._answer(connection, call, topics, [])
        elif call.op == "ping":
            answer |= {"op": "pong", "ret_msg": "pong", "req_id": call.req_id}
        self.put(connection, _encode(answer), now_ns)
        for content in first:
            self.put(connection, content, now_ns)

    def _answer(
        self, connection: Connection, call: _Call, accepted: Sequence[str], failed: list[str]
    ) -> dict[str, Any]:
        if connection.path == "/option":
            data = {"failTopics": failed, "successTopics": list(accepted)}
            return {"success": True, "conn_id": "emulated", "data": data, "type": "COMMAND_RESP"}
        return {
            "success": not failed, "ret_msg": ",".join(failed), "conn_id": "emulated",
            "req_id": call.req_id, "op": call.op,
        }  # fmt: skip

    def _is_of(self, topic: str, path: str) -> bool:
        """Whether a topic belongs to a socket."""
        word, _, rest = topic.partition(".")
        symbol = rest.partition(".")[2] if word == "orderbook" else rest
        number = self._numbers.get(symbol, -1)
        if number < 0:
            return word == "publicTrade" and path == "/option"
        return bool(self.market.universe.kind[number] == KINDS[path])

    def exists(self, channel: str) -> bool:
        """Say whether a topic can be subscribed now."""
        word, *parts = channel.split(".", 2)
        number = self._numbers.get(parts[-1], -1)
        if number < 0:
            coins = {x.underlying for x in self.market.universe.listings}
            return word == "publicTrade" and parts[-1] in coins
        if self.market.state[number] != ListingState.LIVE:
            return False
        kind = self.market.universe.kind[number]
        if word == "orderbook":
            return parts[0] in next(BOOKS[path] for path, of in KINDS.items() if of == kind)
        if word == "tickers":
            return bool(kind != ListingKind.SPOT)  # the venue has some, without a mark
        return bool(word == "publicTrade" and kind != ListingKind.OPTION)

    def first(self, channel: str) -> Sequence[bytes]:
        """The book's snapshot, the present ticker."""
        word, *parts = channel.split(".", 2)
        number = self._numbers.get(parts[-1], -1)
        if word == "orderbook":
            sides = standing(self.market.books, np.array([number]))[0]
            whole = _tops(sides) if parts[0] == TOP else sides
            return [self._book(channel, number, "snapshot", *whole)]
        if word == "tickers":
            return [self._ticker_frame(channel, self._tickers(np.array([number]))[0])]
        return ()

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        self._update[step.touched] += 1
        self._publish_trades(step)
        self._publish_books(step)
        symbols = [self.market.universe.listings[n].symbol for n in step.tickers.tolist()]
        heard = np.array([f"tickers.{symbol}" in self.listened for symbol in symbols], bool)
        ids = step.tickers[heard]
        if len(ids):
            for number, content in zip(ids.tolist(), self._tickers(ids), strict=True):
                name = f"tickers.{self.market.universe.listings[number].symbol}"
                self._send(name, self._ticker_frame(name, content))

    def _publish_trades(self, step: Step) -> None:
        grouped: dict[str, list[Any]] = {}
        for trade in step.trades:
            item = self.market.universe.listings[trade.listing]
            of = item.underlying if item.kind == ListingKind.OPTION else item.symbol
            grouped.setdefault(f"publicTrade.{of}", []).append(self._trade(item, trade))
        for name, trades in grouped.items():
            if name in self.listened:
                self._send(name, self._frame(name, "snapshot", trades))

    def _publish_books(self, step: Step) -> None:
        books = self.market.books
        old = ladders(books, step.touched, step.old_ticks, step.old_lots)
        new = standing(books, step.touched)
        for number, before, after in zip(step.touched.tolist(), old, new, strict=True):
            symbol = self.market.universe.listings[number].symbol
            for depth in dict.fromkeys(d for depths in BOOKS.values() for d in depths):
                name = f"orderbook.{depth}.{symbol}"
                if name not in self.listened:
                    continue
                if depth != TOP:
                    self._send(name, self._book(name, number, "delta", *changes(before, after)))
                elif _tops(before) != _tops(after):
                    self._send(name, self._book(name, number, "snapshot", *_tops(after)))

    def _send(self, channel: str, frame: bytes) -> None:
        for _ in range(self.faults.burst_factor(channel)):
            self.deliver(channel, frame)

    def _frame(self, topic: str, kind: str, data: Any, **more: Any) -> bytes:
        head = {"topic": _on_wire(topic), "ts": self._now_ms(), "type": kind, "data": data}
        return _encode(head | more)

    def _now_ms(self, before_ns: int = 0) -> int:
        return (self.market.now_ns - before_ns) // NS_PER_MS + self.skew_ms

    def _book(
        self, topic: str, number: int, kind: str, bids: list[Level], asks: list[Level]
    ) -> bytes:
        update = int(self._update[number])
        item = self.market.universe.listings[number]
        data = {
            "s": _on_wire(item.symbol), "b": _texts(item, bids),
            "a": _texts(item, asks), "u": update, "seq": int(self.market.books.change_id[number]),
        }  # fmt: skip
        return self._frame(topic, kind, data, cts=self._now_ms(STEP_NS // 10))

    def _ticker_frame(self, topic: str, data: dict[str, Any]) -> bytes:
        return self._frame(topic, "snapshot", data)

    def _tickers(self, ids: Ids) -> list[dict[str, Any]]:
        books, rows = self.market.books, self.market.tickers(ids)
        prices = np.nan_to_num(books.prices(ids, books.ticks[ids, :, 0])).tolist()
        sizes = books.sizes(ids, books.lots[ids, :, 0]).tolist()
        listings = self.market.universe.listings
        return [
            _option_ticker(listings[n].symbol, row, price, size)
            if listings[n].kind == ListingKind.OPTION
            else _linear_ticker(listings[n].symbol, row, price, size)
            for n, row, price, size in zip(ids.tolist(), rows, prices, sizes, strict=True)
        ]

    def _trade(self, item: Listing, trade: Any) -> dict[str, Any]:
        price, size = print_of(self.market.books, trade)
        return {
            "i": f"{trade.trade_id:032x}", "T": self._now_ms(STEP_NS * 9 // 10),
            "p": f"{price:.2f}", "v": _size(item, size), "S": "Buy" if trade.side > 0 else "Sell",
            "seq": trade.trade_id, "s": _on_wire(item.symbol), "BT": bool(trade.flags & Flag.BLOCK),
        }  # fmt: skip

    async def _instruments(self, request: web.Request) -> web.Response:
        """One page of live instruments of a category, from the place the cursor names."""
        asked = request.query
        kind = KINDS[f"/{asked.get('category', 'option')}"]
        universe = self.market.universe
        live = (self.market.state == ListingState.LIVE) & (universe.kind == kind)
        coin = asked.get("baseCoin", "BTC" if kind == ListingKind.OPTION else "")
        found = [universe.listings[n] for n in np.flatnonzero(live).tolist()]
        found = [x for x in found if x.underlying == coin or not coin]
        begin = int(asked.get("cursor") or 0)
        end = begin + min(int(asked.get("limit", 500)), PAGE_MAX)
        result = {
            "category": asked.get("category", "option"),
            "nextPageCursor": str(end) if end < len(found) else "",
            "list": [_instrument(x) for x in found[begin:end]],
        }
        body = {"retCode": 0, "retMsg": "OK", "result": result, "time": self._now_ms()}
        return web.Response(body=_encode(body), content_type="application/json")


def _on_wire(name: str) -> str:
    return name.removesuffix(SPOT)


def _instrument(item: Listing) -> dict[str, Any]:
    if item.kind == ListingKind.SPOT:
        return {
            "symbol": _on_wire(item.symbol), "status": "Trading", "baseCoin": item.underlying,
            "quoteCoin": item.price_ccy, "innovation": "0", "marginTrading": "utaOnly",
            "priceFilter": {"tickSize": f"{item.tick:g}"},
            "lotSizeFilter": {"basePrecision": f"{item.lot:.6f}", "minOrderQty": f"{item.lot:.6f}"},
        }  # fmt: skip
    fields: dict[str, Any] = {
        "symbol": item.symbol, "status": "Trading", "baseCoin": item.underlying,
        "quoteCoin": item.price_ccy, "settleCoin": item.price_ccy,
        "priceFilter": {"minPrice": "1", "maxPrice": "1000000", "tickSize": f"{item.tick:g}"},
        "lotSizeFilter": {"minOrderQty": f"{item.lot:g}", "qtyStep": f"{item.lot:g}"},
        "deliveryTime": str((item.expiry_ns or 0) * 1000 // E9), "launchTime": "0",
    }  # fmt: skip
    if item.kind == ListingKind.OPTION:
        return fields | {"optionsType": "Call" if item.right == "C" else "Put"}
    return fields | {"contractType": PERPETUAL}


def _option_ticker(symbol: str, row: Any, price: Any, size: Any) -> dict[str, Any]:
    return {
        "symbol": symbol, "bidPrice": f"{price[BID]:.2f}", "bidSize": f"{size[BID]:.2f}",
        "bidIv": _iv(row["iv_bid"]), "askPrice": f"{price[ASK]:.2f}",
        "askSize": f"{size[ASK]:.2f}", "askIv": _iv(row["iv_ask"]),
        "markPrice": f"{row['mark']:.8f}", "indexPrice": f"{row['index']:.2f}",
        "markPriceIv": f"{row['iv_mark']:.4f}", "underlyingPrice": f"{row['forward']:.8f}",
        "openInterest": f"{row['open_interest']:.2f}", "delta": f"{row['delta']:.8f}",
        "gamma": f"{row['gamma']:.8f}", "vega": f"{row['vega']:.8f}",
        "theta": f"{row['theta']:.8f}", "predictedDeliveryPrice": "0",
    }  # fmt: skip


def _linear_ticker(symbol: str, row: Any, price: Any, size: Any) -> dict[str, Any]:
    return {
        "symbol": symbol, "markPrice": f"{row['mark']:.2f}", "indexPrice": f"{row['index']:.2f}",
        "openInterest": f"{row['open_interest']:.3f}", "bid1Price": f"{price[BID]:.2f}",
        "bid1Size": f"{size[BID]:.3f}", "ask1Price": f"{price[ASK]:.2f}",
        "ask1Size": f"{size[ASK]:.3f}",
    }  # fmt: skip


def _tops(sides: Sides) -> Sides:
    return Sides(sides.bids[:1], sides.asks[:1])


def _texts(item: Listing, levels: list[Level]) -> list[list[str]]:
    return [[f"{price:.2f}", _size(item, size)] for price, size in levels]


def _size(item: Listing, size: float) -> str:
    return f"{size:.6f}" if item.kind == ListingKind.SPOT else f"{size:.3f}"


def _iv(value: float) -> str:
    return "0" if np.isnan(value) else f"{value:.4f}"
