"""Stage 1 of 8, simulated: a server that speaks Delta's long dialect over the market.

GET /v2/products in pages, a WebSocket at /. Channels are named `name:symbol`, the symbol being an
instrument or a word for all of a kind. An answer lists what was accepted and says nothing of the
rest. Book frames of a listing count up by one; sizes are whole contracts; times are microseconds.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from aiohttp import web

from feeds.contract import E9, Listing, ListingKind
from feeds.emulator.books import Ids
from feeds.emulator.ladders import Level, Sides, changes, ladders, print_of, standing
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.server import Connection, VenueServer
from feeds.events import ListingState

NS_PER_US: Final = 1_000
HEARTBEAT_NS: Final = 5 * E9
MARK_STEPS: Final = 20
SECOND_STEPS: Final = 10
OF_INSTRUMENT: Final = ("l1_orderbook", "l2_updates", "l2_orderbook", "v2/ticker")
OF_KIND: Final = ("all_trades", "mark_price")
KINDS: Final = {"call_options": "C", "put_options": "P", "perpetual_futures": None}
_encode: Final = msgspec.json.Encoder(order="sorted").encode  # as the venue's keys stand


class _Channel(msgspec.Struct):
    name: str
    symbols: list[str] = []


class _Payload(msgspec.Struct):
    channels: list[_Channel] = []


class _Call(msgspec.Struct):
    type: str
    payload: _Payload = msgspec.field(default_factory=_Payload)


_read_call: Final = msgspec.json.Decoder(_Call).decode


class DeltaServer(VenueServer):
    """The emulated Delta."""

    WS_PATH: ClassVar[str] = "/"
    KIND_FIELD: ClassVar[str] = "contract_type"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        listings = market.universe.listings
        self._numbers = {x.symbol: n for n, x in enumerate(listings)}
        self._kinds = [_kind_of(x) for x in listings]
        self._sequence = np.ones(len(listings), np.int64)

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [web.get("/v2/products", self._products)]

    def restarted(self) -> None:
        """Books count their frames from the start again."""
        self._sequence[:] = 1

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer subscribe, unsubscribe and enable_heartbeat."""
        now_ns = self.market.now_ns
        try:
            call = _read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.put(connection, b'{"message":"bad request","type":"error"}', now_ns)
            return
        names = [
            f"{channel.name}:{symbol}" if symbol else channel.name
            for channel in call.payload.channels
            for symbol in channel.symbols or [""]
        ]
        if call.type == "enable_heartbeat":
            connection.heartbeat_ns = HEARTBEAT_NS
            connection.next_beat_ns = now_ns + HEARTBEAT_NS
        elif call.type == "unsubscribe":
            self.unsubscribe(connection, names)
        elif call.type == "subscribe":
            accepted, first = self.subscribe(connection, names)
            self.put(connection, _encode(_answer(accepted)), now_ns)
            for content in first:
                self.put(connection, content, now_ns)

    def beat(self, connection: Connection, now_ns: int) -> None:
        """Send a heartbeat where one was asked for and is due."""
        if connection.heartbeat_ns and now_ns >= connection.next_beat_ns:
            connection.next_beat_ns = now_ns + connection.heartbeat_ns
            self.put(connection, b'{"type":"heartbeat"}', now_ns)

    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""
        name, _, what = channel.partition(":")
        if name in OF_KIND and what in KINDS:
            return True
        number = self._numbers.get(what, -1)
        if number < 0:
            return name == "product_updates"
        if self._kinds[number] is None:
            return name == "v2/spot_price"
        return name in OF_INSTRUMENT and bool(self.market.state[number] == ListingState.LIVE)

    def first(self, channel: str) -> Sequence[bytes]:
        """Books and tickers as they stand."""
        name, _, what = channel.partition(":")
        number = self._numbers.get(what, -1)
        if name == "v2/ticker":
            return [_encode(self._tickers(np.array([number], np.int64))[0])]
        if name not in OF_INSTRUMENT:
            return ()
        sides = standing(self.market.books, np.array([number]))[0]
        if name == "l2_updates":
            return [_encode(self._book(number, "snapshot", sides))]
        if name == "l1_orderbook":  # Whether the venue begins with one is not known.
            return [_encode(self._top(number, sides))]
        return [_encode(self._window(number, sides))]

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        self._sequence[step.touched] += 1
        self._publish_trades(step)
        self._publish_books(step)
        self._publish_tickers(step)
        if step.index % SECOND_STEPS == 0:
            for coin, terms in enumerate(self.market.universe.profile.terms):
                price = f"{float(self.market.prices.spot[coin]):.6f}"
                self._send(f"v2/spot_price:{terms.index}", {
                    "type": "v2/spot_price", "symbol": terms.index, "price": price,
                    "timestamp": self._now_us(),
                })  # fmt: skip
        if step.index % MARK_STEPS == 0:
            self._publish_marks()

    def _publish_trades(self, step: Step) -> None:
        for trade in step.trades:
            item = self.market.universe.listings[trade.listing]
            price, size = print_of(self.market.books, trade)
            roles = ("taker", "maker") if trade.side > 0 else ("maker", "taker")
            self._send(f"all_trades:{self._kinds[trade.listing]}", {
                "type": "all_trades", "symbol": item.symbol, "price": f"{price:.2f}",
                "size": round(size), "buyer_role": roles[0], "seller_role": roles[1],
                # The venue's times are unique; its prints have no other identity.
                "timestamp": self._now_us(STEP_NS * 9 // 10) + trade.trade_id % 997,
            })  # fmt: skip

    def _publish_books(self, step: Step) -> None:
        books = self.market.books
        old = ladders(books, step.touched, step.old_ticks, step.old_lots)
        new = standing(books, step.touched)
        for number, before, after in zip(step.touched.tolist(), old, new, strict=True):
            symbol = self.market.universe.listings[number].symbol
            if f"l2_updates:{symbol}" in self.listened:
                moved = changes(before, after)
                self._send(f"l2_updates:{symbol}", self._book(number, "update", moved))
            if f"l1_orderbook:{symbol}" in self.listened and _best(before) != _best(after):
                self._send(f"l1_orderbook:{symbol}", self._top(number, after))
            if f"l2_orderbook:{symbol}" in self.listened:
                self._send(f"l2_orderbook:{symbol}", self._window(number, after))

    def _publish_tickers(self, step: Step) -> None:
        listings = self.market.universe.listings
        names = [f"v2/ticker:{listings[n].symbol}" for n in step.tickers.tolist()]
        heard = np.array([name in self.listened for name in names], bool)
        ids = step.tickers[heard]
        if len(ids):
            for content in self._tickers(ids):
                self._send(f"v2/ticker:{content['symbol']}", content)

    def _publish_marks(self) -> None:
        if not any(name.startswith("mark_price:") for name in self.listened):
            return
        ids = np.flatnonzero(self.market.state == ListingState.LIVE)
        for number, row in zip(ids.tolist(), self.market.tickers(ids), strict=True):
            symbol = self.market.universe.listings[number].symbol
            self._send(f"mark_price:{self._kinds[number]}", {
                "type": "mark_price", "symbol": f"MARK:{symbol}", "price": f"{row['mark']:.6f}",
                "timestamp": self._now_us(),
            })  # fmt: skip

    def _send(self, channel: str, content: dict[str, Any]) -> None:
        if channel not in self.listened:
            return
        frame = _encode(content)
        for _ in range(self.faults.burst_factor(channel)):
            self.deliver(channel, frame)

    def _now_us(self, before_ns: int = 0) -> int:
        return (self.market.now_ns - before_ns) // NS_PER_US + self.skew_ms * 1000

    def _book(self, number: int, action: str, sides: Sides) -> dict[str, Any]:
        return {
            "type": "l2_updates", "action": action, "cs": 0,
            "symbol": self.market.universe.listings[number].symbol,
            "asks": _texts(sides.asks), "bids": _texts(sides.bids),
            "sequence_no": int(self._sequence[number]),
            "timestamp": self._now_us(STEP_NS // 10),
        }  # fmt: skip

    def _top(self, number: int, sides: Sides) -> dict[str, Any]:
        (bid, bid_size), (ask, ask_size) = (
            _texts(side)[0] if side else (None, None) for side in (sides.bids, sides.asks)
        )
        return {
            "type": "l1_orderbook", "symbol": self.market.universe.listings[number].symbol,
            "best_bid": bid, "bid_qty": bid_size, "best_ask": ask, "ask_qty": ask_size,
            "last_sequence_no": int(self.market.books.change_id[number]),
            "last_updated_at": self._now_us(STEP_NS // 10), "timestamp": self._now_us(),
        }  # fmt: skip

    def _window(self, number: int, sides: Sides) -> dict[str, Any]:
        buy, sell = (
            [{"limit_price": price, "size": round(float(size))} for price, size in _texts(side)]
            for side in sides
        )
        return {
            "type": "l2_orderbook", "symbol": self.market.universe.listings[number].symbol,
            "buy": buy, "sell": sell, "last_sequence_no": int(self.market.books.change_id[number]),
            "last_updated_at": self._now_us(STEP_NS // 10), "timestamp": self._now_us(),
        }  # fmt: skip

    def _tickers(self, ids: Ids) -> list[dict[str, Any]]:
        now_us = self._now_us()
        return [
            {
                "type": "v2/ticker", "symbol": self.market.universe.listings[n].symbol,
                "timestamp": now_us, "mark_price": f"{row['mark']:.6f}",
                "spot_price": f"{row['index']:.6f}", "oi": "0",
                "oi_contracts": f"{row['open_interest']:.0f}", "greeks": _greeks(row),
                "quotes": {
                    "ask_iv": _iv(row["iv_ask"]), "bid_iv": _iv(row["iv_bid"]),
                    "mark_iv": _iv(row["iv_mark"]),
                },
            }
            for n, row in zip(ids.tolist(), self.market.tickers(ids), strict=True)
        ]  # fmt: skip

    async def _products(self, request: web.Request) -> web.Response:
        """One page of live products, from the place that `after` names."""
        universe = self.market.universe
        live = np.flatnonzero(self.market.state == ListingState.LIVE).tolist()
        found = [n for n in live if self._kinds[n] is not None]
        begin, size = int(request.query.get("after") or 0), 100
        end = begin + size
        body = {
            "success": True,
            "meta": {"after": str(end) if end < len(found) else None, "before": None},
            "result": [self._product(universe.listings[n], n) for n in found[begin:end]],
        }
        return web.Response(body=_encode(body), content_type="application/json")

    def _product(self, item: Listing, number: int) -> dict[str, Any]:
        terms = self.market.universe.profile.terms[int(self.market.universe.underlying[number])]
        fields: dict[str, Any] = {
            "symbol": item.symbol, "contract_type": self._kinds[number], "state": "live",
            "underlying_asset": {"symbol": item.underlying},
            "quoting_asset": {"symbol": item.price_ccy}, "spot_index": {"symbol": terms.index},
            "contract_value": f"{item.multiplier:g}", "tick_size": f"{item.tick:g}",
            "notional_type": "vanilla", "is_quanto": False,
        }  # fmt: skip
        if item.expiry_ns is not None and item.strike_e9 is not None:
            moment = datetime.fromtimestamp(item.expiry_ns // E9, UTC)
            fields["settlement_time"] = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
            fields["strike_price"] = f"{item.strike_e9 / E9:g}"
        return fields


def _kind_of(item: Listing) -> str | None:
    """The venue's word for a kind; None for an index."""
    if item.kind == ListingKind.OPTION:
        return "call_options" if item.right == "C" else "put_options"
    return "perpetual_futures" if item.kind == ListingKind.PERP else None


def _answer(accepted: Sequence[str]) -> dict[str, Any]:
    """What was accepted, by channel."""
    found: dict[str, list[str]] = {}
    for channel in accepted:
        name, _, symbol = channel.partition(":")
        found.setdefault(name, []).extend([symbol] if symbol else [])
    named = [
        {"name": name, "symbols": symbols} if symbols else {"name": name}
        for name, symbols in found.items()
    ]
    return {"type": "subscriptions", "channels": named}


def _best(sides: Sides) -> Sides:
    return Sides(sides.bids[:1], sides.asks[:1])


def _texts(levels: list[Level]) -> list[list[str]]:
    return [[f"{price:.2f}", f"{size:.0f}"] for price, size in levels]


def _greeks(row: Any) -> dict[str, str] | None:
    if np.isnan(row["delta"]):
        return None
    return {name: f"{row[name]:.8f}" for name in ("delta", "gamma", "theta", "vega")}


def _iv(value: float) -> str | None:
    return None if np.isnan(value) else f"{value:.6f}"
