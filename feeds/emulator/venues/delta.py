"""Stage 1 of 8, simulated: a server that speaks one of Delta's dialects over the market.

GET /v2/products in pages, a WebSocket at /. Channels are named `name:symbol`, the symbol being an
instrument or a word for all of a kind. An answer lists what was accepted and says nothing of the
rest. Book frames of a listing count up by one. How all of it is spelled: delta_dialects.py.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from aiohttp import web

from feeds.contract import E9, Listing, ListingKind
from feeds.emulator.books import Ids
from feeds.emulator.ladders import Sides, changes, ladders, print_of, standing
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.server import Connection, VenueServer
from feeds.emulator.venues.delta_dialects import LONG, SHORT, Dialect, Message
from feeds.events import ListingState

NS_PER_US: Final = 1_000
HEARTBEAT_NS: Final = 5 * E9
MARK_STEPS: Final = 20
SECOND_STEPS: Final = 10
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
    """The emulated Delta, global: long words."""

    WS_PATH: ClassVar[str] = "/"
    KIND_FIELD: ClassVar[str] = "contract_type"
    BOOK_WORDS: ClassVar[tuple[str, ...]] = (LONG.BOOK, LONG.WINDOW, LONG.QUOTE)
    DIALECT: ClassVar[Dialect] = LONG

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
        if name in self.DIALECT.of_kind and what in KINDS:
            return True
        number = self._numbers.get(what, -1)
        if number < 0:
            return name == self.DIALECT.STATUS
        if self._kinds[number] is None:
            return name == self.DIALECT.INDEX
        live = self.market.state[number] == ListingState.LIVE
        return name in self.DIALECT.of_instrument and bool(live)

    def first(self, channel: str) -> Sequence[bytes]:
        """Books and tickers as they stand, the status where it is told."""
        name, _, what = channel.partition(":")
        number = self._numbers.get(what, -1)
        content: Message | None = None
        if name == self.DIALECT.STATUS:
            content = self.DIALECT.status(self._now_us())
        elif name == self.DIALECT.TICKER:
            content = self._tickers(np.array([number], np.int64))[0]
        elif name in self.DIALECT.of_instrument:
            sides = standing(self.market.books, np.array([number]))[0]
            if name == self.DIALECT.BOOK:
                content = self._book(number, "snapshot", sides)
            elif name == self.DIALECT.QUOTE:  # Whether the venue begins with one is not known.
                content = self._quote(number, sides)
            else:
                content = self._window(number, sides)
        return () if content is None else [_encode(content)]

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        self._sequence[step.touched] += 1
        self._publish_trades(step)
        self._publish_books(step)
        self._publish_tickers(step)
        if step.index % SECOND_STEPS == 0:
            self._publish_indexes()
        if step.index % MARK_STEPS == 0:
            self._publish_marks()

    def _publish_trades(self, step: Step) -> None:
        for trade in step.trades:
            symbol = self.market.universe.listings[trade.listing].symbol
            printed = print_of(self.market.books, trade)
            # The venue's times are unique; its prints have no other identity.
            at_us = self._now_us(STEP_NS * 9 // 10) + trade.trade_id % 997
            content = self.DIALECT.trade(symbol, printed, trade.side, at_us, self._now_us())
            self._send(f"{self.DIALECT.TRADE}:{self._kinds[trade.listing]}", content)

    def _publish_books(self, step: Step) -> None:
        books, words = self.market.books, self.DIALECT
        old = ladders(books, step.touched, step.old_ticks, step.old_lots)
        new = standing(books, step.touched)
        for number, before, after in zip(step.touched.tolist(), old, new, strict=True):
            symbol = self.market.universe.listings[number].symbol
            if f"{words.BOOK}:{symbol}" in self.listened:
                moved = changes(before, after)
                self._send(f"{words.BOOK}:{symbol}", self._book(number, "update", moved))
            if f"{words.QUOTE}:{symbol}" in self.listened and _best(before) != _best(after):
                self._send(f"{words.QUOTE}:{symbol}", self._quote(number, after))
            if f"{words.WINDOW}:{symbol}" in self.listened:
                self._send(f"{words.WINDOW}:{symbol}", self._window(number, after))

    def _publish_tickers(self, step: Step) -> None:
        listings = self.market.universe.listings
        names = [f"{self.DIALECT.TICKER}:{listings[n].symbol}" for n in step.tickers.tolist()]
        heard = [k for k, name in enumerate(names) if name in self.listened]
        if heard:
            for k, content in zip(heard, self._tickers(step.tickers[heard]), strict=True):
                self._send(names[k], content)

    def _publish_indexes(self) -> None:
        for coin, terms in enumerate(self.market.universe.profile.terms):
            price = float(self.market.prices.spot[coin])
            content = self.DIALECT.index(terms.index, price, self._now_us())
            self._send(f"{self.DIALECT.INDEX}:{terms.index}", content)

    def _publish_marks(self) -> None:
        prefix = f"{self.DIALECT.MARK}:"
        if not any(name.startswith(prefix) for name in self.listened):
            return
        ids = np.flatnonzero(self.market.state == ListingState.LIVE)
        for number, row in zip(ids.tolist(), self.market.tickers(ids), strict=True):
            symbol = self.market.universe.listings[number].symbol
            content = self.DIALECT.mark(symbol, row["mark"], self._now_us())
            self._send(f"{prefix}{self._kinds[number]}", content)

    def _send(self, channel: str, content: Message) -> None:
        if channel not in self.listened:
            return
        frame = _encode(content)
        for _ in range(self.faults.burst_factor(channel)):
            self.deliver(channel, frame)

    def _now_us(self, before_ns: int = 0) -> int:
        return (self.market.now_ns - before_ns) // NS_PER_US + self.skew_ms * 1000

    def _book(self, number: int, action: str, sides: Sides) -> Message:
        symbol = self.market.universe.listings[number].symbol
        sequence = int(self._sequence[number])
        return self.DIALECT.book(symbol, action, sides, sequence, self._now_us(STEP_NS // 10))

    def _quote(self, number: int, sides: Sides) -> Message:
        return self.DIALECT.quote(*self._top_of(number, sides))

    def _window(self, number: int, sides: Sides) -> Message:
        return self.DIALECT.window(*self._top_of(number, sides))

    def _top_of(self, number: int, sides: Sides) -> tuple[str, Sides, int, int, int]:
        """What quotes and windows are about: name, levels, number and both times."""
        symbol = self.market.universe.listings[number].symbol
        sequence = int(self.market.books.change_id[number])
        return symbol, sides, sequence, self._now_us(STEP_NS // 10), self._now_us()

    def _tickers(self, ids: Ids) -> list[Message]:
        listings, now_us = self.market.universe.listings, self._now_us()
        return [
            self.DIALECT.ticker(listings[n].symbol, row, now_us)
            for n, row in zip(ids.tolist(), self.market.tickers(ids), strict=True)
        ]

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


class DeltaIndiaServer(DeltaServer):
    """The emulated Delta India: the same in short words."""

    BOOK_WORDS: ClassVar[tuple[str, ...]] = (SHORT.BOOK, SHORT.WINDOW, SHORT.QUOTE)
    DIALECT: ClassVar[Dialect] = SHORT


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
