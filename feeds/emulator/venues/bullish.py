"""Stage 1 of 8, simulated: a server that speaks Bullish's protocol over the market.

GET /trading-api/v1/markets, a WebSocket on each of four paths, whose topics are the path's own. A
request names one channel, here `topic:symbol`, and is answered by its number; one for a channel
that the connection has already is not answered at all. Every book frame is a whole book, as all
recorded ones are; numbers and times are text, levels lie flat. Documented and not told here: the
ticks' theta, whose unit is unknown, and heartbeats, to which nobody subscribes.
"""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from aiohttp import web

from feeds.contract import E9, Listing, ListingKind
from feeds.emulator.books import ASK, BID, Ids
from feeds.emulator.flow import Trade
from feeds.emulator.ladders import Level, Sides, ladders, print_of, standing
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.server import Connection, VenueServer
from feeds.events import Flag, ListingState

NS_PER_MS: Final = 1_000_000
SECOND_STEPS: Final = 10
IDLE_NS: Final = 60 * E9  # Documented as 5 minutes; the one end that was seen came this soon.
PRINTS: Final = 100  # What a new subscriber is told of the past.
INDEX_PATH: Final = "/trading-api/v1/index-data"
DATA_PATH: Final = "/trading-api/v1/market-data"
TOPICS: Final = {
    INDEX_PATH: ("indexPrice",),
    f"{DATA_PATH}/tick": ("tick",),
    f"{DATA_PATH}/trades": ("anonymousTrades",),
    f"{DATA_PATH}/orderbook": ("l2Orderbook", "l1Orderbook"),
}
DATA_TYPES: Final = {
    "indexPrice": "V1TAIndexPrice",
    "tick": "V1TATickerResponse",
    "anonymousTrades": "V1TAAnonymousTradeUpdate",
    "l2Orderbook": "V1TALevel2",
    "l1Orderbook": "V1TALevel1",
}
KINDS: Final = {ListingKind.OPTION: "OPTION", ListingKind.PERP: "PERPETUAL"}
NOTHING: Final = (0.0, 0.0)  # a side of a quote without orders
_encode: Final = msgspec.json.Encoder().encode


class _Call(msgspec.Struct):
    method: str
    id: str = ""
    params: dict[str, str] = {}


_read_call: Final = msgspec.json.Decoder(_Call).decode


class BullishServer(VenueServer):
    """The emulated Bullish."""

    REST_PATH: ClassVar[str] = "/trading-api"
    WS_PATH: ClassVar[str] = ""
    WS_PATHS: ClassVar[tuple[str, ...]] = tuple(TOPICS)
    KIND_FIELD: ClassVar[str] = "marketType"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        self._prints: dict[str, deque[dict[str, Any]]] = {}

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [web.get(f"{self.REST_PATH}/v1/markets", self._markets)]

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer subscribe, unsubscribe and keepalivePing."""
        now_ns = self.market.now_ns
        connection.next_beat_ns = now_ns + IDLE_NS
        try:
            call = _read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.put(connection, _refusal("", "Invalid request"), now_ns)
            return
        topic = call.params.get("topic", "")
        channel = f"{topic}:{call.params.get('symbol') or call.params.get('assetSymbol')}"
        if call.method == "keepalivePing":
            self.put(connection, _result(call.id, "Keep alive pong"), now_ns)
        elif call.method == "subscribe":
            self._begin(connection, call.id, channel)
        elif call.method == "unsubscribe" and self.unsubscribe(connection, [channel]):
            self.put(connection, _result(call.id, "Successfully unsubscribed"), now_ns)
        else:
            self.put(connection, _refusal(call.id, f"nothing to {call.method}"), now_ns)

    def _begin(self, connection: Connection, request_id: str, channel: str) -> None:
        """Answer a subscription with what is known first, or with why there is none."""
        now_ns = self.market.now_ns
        if channel in connection.channels:
            self.count("asked_twice")
            return
        topic, _, name = channel.partition(":")
        here = [channel] if topic in TOPICS[connection.path] else []
        accepted, first = self.subscribe(connection, here)
        answer = _result(request_id, "Successfully subscribed")
        if not accepted:
            answer = _refusal(request_id, f"'{name}' is not a valid symbol")
        for content in (answer, *first):
            self.put(connection, content, now_ns)

    def beat(self, connection: Connection, now_ns: int) -> None:
        """End a connection on which nothing was asked for too long."""
        if not connection.next_beat_ns:
            connection.next_beat_ns = now_ns + IDLE_NS
        elif now_ns >= connection.next_beat_ns and not connection.finished:
            self.count("idle_ended")
            connection.finish()

    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""
        topic, _, name = channel.partition(":")
        number = self.market.universe.ids.get(name, -1)
        if number < 0 or self.market.state[number] != ListingState.LIVE:
            return False
        index = self.market.universe.kind[number] == ListingKind.INDEX
        return bool(index == (topic == "indexPrice"))

    def first(self, channel: str) -> Sequence[bytes]:
        """What the channel is about as it stands; of trades the last ones."""
        topic, _, name = channel.partition(":")
        ids = np.array([self.market.universe.ids[name]], np.int64)
        if topic == "anonymousTrades":
            data = self._printed(name, list(self._prints.get(name, ())))
        elif topic == "tick":
            data = self._ticks(ids)[0]
        elif topic == "indexPrice":
            data = self._index(int(ids[0]))
        else:
            sides = standing(self.market.books, ids)[0]
            data = (self._book if topic == "l2Orderbook" else self._quote)(int(ids[0]), sides)
        return [_frame(topic, "snapshot", data)]

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        self._publish_trades(step)
        self._publish_books(step)
        listings = self.market.universe.listings
        heard = [f"tick:{listings[n].symbol}" in self.listened for n in step.tickers.tolist()]
        ids = step.tickers[np.array(heard, bool)]
        for data in self._ticks(ids) if len(ids) else ():
            self._send("tick", data["symbol"], "update", data)
        if step.index % SECOND_STEPS == 0:
            for number in np.flatnonzero(self.market.universe.kind == ListingKind.INDEX).tolist():
                self._send("indexPrice", listings[number].symbol, "update", self._index(number))

    def _publish_trades(self, step: Step) -> None:
        grouped: dict[str, list[dict[str, Any]]] = {}
        for trade in step.trades:
            name = self.market.universe.listings[trade.listing].symbol
            grouped.setdefault(name, []).append(self._trade(name, trade))
        for name, trades in grouped.items():
            self._prints.setdefault(name, deque(maxlen=PRINTS)).extend(trades)
            self._send("anonymousTrades", name, "update", self._printed(name, trades))

    def _publish_books(self, step: Step) -> None:
        old = ladders(self.market.books, step.touched, step.old_ticks, step.old_lots)
        new = standing(self.market.books, step.touched)
        for number, before, after in zip(step.touched.tolist(), old, new, strict=True):
            name = self.market.universe.listings[number].symbol
            self._send("l2Orderbook", name, "snapshot", self._book(number, after))
            if _best(before) != _best(after):
                self._send("l1Orderbook", name, "snapshot", self._quote(number, after))

    def _send(self, topic: str, name: str, kind: str, data: dict[str, Any]) -> None:
        channel = f"{topic}:{name}"
        if channel not in self.listened:
            return
        frame = _frame(topic, kind, data)
        for _ in range(self.faults.burst_factor(channel)):
            self.deliver(channel, frame)

    def _ms(self, before_ns: int = 0) -> str:
        return str((self.market.now_ns - before_ns) // NS_PER_MS + self.skew_ms)

    def _book(self, number: int, sides: Sides) -> dict[str, Any]:
        change = int(self.market.books.change_id[number])
        return {
            "timestamp": self._ms(STEP_NS // 10),
            "bids": _flat(sides.bids), "asks": _flat(sides.asks),
            "publishedAtTimestamp": self._ms(), "sequenceNumberRange": [change, change],
            "symbol": self.market.universe.listings[number].symbol,
        }  # fmt: skip

    def _quote(self, number: int, sides: Sides) -> dict[str, Any]:
        bid, ask = _best(sides)
        return {
            "timestamp": self._ms(STEP_NS // 10), "bid": _flat([bid]), "ask": _flat([ask]),
            "publishedAtTimestamp": self._ms(),
            "sequenceNumber": str(self.market.books.change_id[number]),
            "symbol": self.market.universe.listings[number].symbol,
        }  # fmt: skip

    def _ticks(self, ids: Ids) -> list[dict[str, Any]]:
        books = self.market.books
        best = np.nan_to_num(books.prices(ids, books.ticks[ids, :, 0])).tolist()
        return [
            {
                "symbol": self.market.universe.listings[n].symbol, "type": "ticker",
                "createdAtTimestamp": self._ms(), "publishedAtTimestamp": self._ms(),
                "bestBid": f"{price[BID]:.4f}", "bestAsk": f"{price[ASK]:.4f}",
                "markPrice": f"{row['mark']:.4f}", "openInterest": f"{row['open_interest']:.8f}",
                **_greeks(row),
            }
            for n, row, price in zip(ids.tolist(), self.market.tickers(ids), best, strict=True)
        ]  # fmt: skip

    def _index(self, number: int) -> dict[str, Any]:
        spot = self.market.prices.spot[self.market.universe.underlying[number]]
        return {
            "price": f"{spot:.4f}", "updatedAtTimestamp": self._ms(),
            "assetSymbol": self.market.universe.listings[number].symbol,
        }  # fmt: skip

    def _printed(self, name: str, trades: list[dict[str, Any]]) -> dict[str, Any]:
        return {"symbol": name, "createdAtTimestamp": self._ms(), "trades": trades}

    def _trade(self, name: str, trade: Trade) -> dict[str, Any]:
        """A print as told by the taker's order, or every second time by the maker's."""
        price, size = print_of(self.market.books, trade)
        taker = trade.trade_id % 2 == 0
        match = {"otcMatchId": str(trade.trade_id)} if trade.flags & Flag.BLOCK else {}
        return {
            "symbol": name, "tradeId": f"{trade.trade_id:018d}", "price": f"{price:.4f}",
            "quantity": f"{size:.8f}", "side": "BUY" if (trade.side > 0) == taker else "SELL",
            "isTaker": taker, "createdAtTimestamp": self._ms(STEP_NS * 9 // 10), **match,
        }  # fmt: skip

    async def _markets(self, request: web.Request) -> web.Response:
        """All live markets of a type."""
        asked = request.query.get("marketType")
        live = np.flatnonzero(self.market.state == ListingState.LIVE).tolist()
        found = [self.market.universe.listings[n] for n in live]
        body = [_market(x) for x in found if KINDS.get(x.kind, "") == asked]
        return web.Response(body=_encode(body), content_type="application/json")


def _market(item: Listing) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "symbol": item.symbol, "marketType": KINDS[item.kind], "marketEnabled": True,
        "underlyingBaseSymbol": item.underlying, "underlyingQuoteSymbol": item.price_ccy,
        "tickSize": f"{item.tick:.4f}", "minQuantityLimit": f"{item.lot:.8f}",
    }  # fmt: skip
    if item.expiry_ns is None or item.strike_e9 is None:
        return fields | {"contractMultiplier": f"{item.multiplier:g}"}
    moment = datetime.fromtimestamp(item.expiry_ns // E9, UTC)
    return fields | {
        "contractMultiplier": None, "expiryDatetime": f"{moment:%Y-%m-%dT%H:%M:%S}.000Z",
        "optionStrikePrice": f"{Decimal(item.strike_e9).scaleb(-9):.4f}",
        "optionType": "CALL" if item.right == "C" else "PUT",
    }  # fmt: skip


def _frame(topic: str, kind: str, data: dict[str, Any]) -> bytes:
    return _encode({"type": kind, "dataType": DATA_TYPES[topic], "data": data})


def _result(request_id: str, message: str) -> bytes:
    result = {"responseCode": "200", "message": message}
    return _encode({"jsonrpc": "2.0", "id": request_id, "result": result})


def _refusal(request_id: str, reason: str) -> bytes:
    error = {"code": "-32602", "errorCode": "29013", "errorCodeName": reason}
    return _encode({"jsonrpc": "2.0", "id": request_id, "error": error})


def _best(sides: Sides) -> tuple[Level, Level]:
    bid, ask = (side[0] if side else NOTHING for side in sides)
    return bid, ask


def _flat(levels: list[Level]) -> list[str]:
    """Price and size in turn."""
    return list(chain.from_iterable((f"{price:.4f}", f"{size:.8f}") for price, size in levels))


def _greeks(row: Any) -> dict[str, str]:
    """Of an option; a perpetual's tick has no such fields."""
    if np.isnan(row["delta"]):
        return {}
    return {
        "delta": f"{row['delta']:.8f}", "gamma": f"{row['gamma']:.8f}",
        "vega": f"{row['vega']:.4f}", "impliedVolatility": f"{row['iv_mark']:.4f}",
    }  # fmt: skip
