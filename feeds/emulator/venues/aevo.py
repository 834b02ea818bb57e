"""Stage 1 of 8, simulated: a server that speaks Aevo's protocol over the market.

GET /markets, WebSocket at /. Books are a snapshot and changes, each with the checksum of the book
after it; quotes and tickers of a whole asset come on one channel. Times are nanoseconds as text.
"""

import zlib
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
from feeds.events import ListingState

NS_PER_MS: Final = 1_000_000
SECOND_STEPS: Final = 10
TICKER_STEPS: Final = 5
LEVELS_CHECKED: Final = 100
TYPES: Final = {ListingKind.OPTION: "OPTION", ListingKind.PERP: "PERPETUAL"}
_encode: Final = msgspec.json.Encoder().encode


class _Call(msgspec.Struct):
    op: str
    id: int | None = None
    data: list[str] = []


_read_call: Final = msgspec.json.Decoder(_Call).decode


class AevoServer(VenueServer):
    """The emulated Aevo."""

    WS_PATH: ClassVar[str] = "/"
    BOOK_WORDS: ClassVar[tuple[str, ...]] = ("orderbook",)
    KIND_FIELD: ClassVar[str] = "instrument_type"
    NAME_FIELD: ClassVar[str] = "instrument_name"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        listings = market.universe.listings
        self._numbers = {x.symbol: n for n, x in enumerate(listings) if x.kind in TYPES}
        self._assets = {x.underlying for x in listings}
        self._due: set[int] = set()  # tickers that wait for the half second

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [web.get("/markets", self._markets)]

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer subscribe, unsubscribe and ping."""
        now_ns = self.market.now_ns
        try:
            call = _read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.put(connection, b'{"error":"INVALID_REQUEST"}', now_ns)
            return
        answer: dict[str, Any] = {"id": call.id}
        first: list[bytes] = []
        if call.op == "subscribe":
            answer["data"], first = self.subscribe(connection, call.data)
        elif call.op == "unsubscribe":
            answer["data"] = self.unsubscribe(connection, call.data)
        elif call.op == "ping":
            answer["data"] = {"success": True, "timestamp": self._now()}
        else:
            answer["error"] = "UNKNOWN_OPERATION"
        self.put(connection, _encode(answer), now_ns)
        for content in first:
            self.put(connection, content, now_ns)

    def limit(self, connection: Connection, text: str | bytes) -> None:
        """Refuse a request, naming none; whether the venue closes then is not documented."""
        refusal = {
            "status": "error", "timestamp": self._now(), "error": "RATE_LIMIT_EXCEEDED",
            "data": {"retry_after": "4406000000"},
        }  # fmt: skip
        self.put(connection, _encode(refusal), self.market.now_ns)
        super().limit(connection, text)

    def limited_body(self) -> bytes:
        """The error of a caller who asked too often."""
        return b'{"error":"RATE_LIMIT_EXCEEDED","retry_after":"4406000000"}'

    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""
        word, _, rest = channel.partition(":")
        if word in ("trades", "index"):
            return rest in self._assets
        if word in ("book-ticker", "ticker-500ms") and ":" in rest:
            asset, _, kind = rest.partition(":")
            return asset in self._assets and kind in TYPES.values()
        number = self._numbers.get(rest, -1)
        live = number >= 0 and self.market.state[number] == ListingState.LIVE
        return live and word in ("orderbook-100ms", "book-ticker", "ticker-500ms")

    def first(self, channel: str) -> Sequence[bytes]:
        """The snapshot of a book; what a channel of quotes, tickers or an index has now."""
        word, _, rest = channel.partition(":")
        if word == "orderbook-100ms":
            number = self._numbers[rest]
            (sides,) = standing(self.market.books, np.array([number]))
            return [self._book(channel, number, "snapshot", sides, sides)]
        if word == "book-ticker":
            return [self._frame(channel, self._quotes(self._of(rest)))]
        if word == "ticker-500ms":
            return [self._frame(channel, self._tickers(self._of(rest)))]
        return [self._index(rest)] if word == "index" else ()

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        for trade in step.trades:
            item = self.market.universe.listings[trade.listing]
            self._send(f"trades:{item.underlying}", self._trade(item, trade))
        self._publish_books(step)
        self._publish_entries("book-ticker", step.touched, self._quotes)
        self._due.update(step.tickers.tolist())
        if step.index % TICKER_STEPS == 0:
            due = np.array(sorted(self._due), np.int64)
            self._due.clear()
            self._publish_entries("ticker-500ms", due, self._tickers)
        if step.index % SECOND_STEPS == 0:
            for asset in sorted(self._assets):
                if f"index:{asset}" in self.listened:
                    self.deliver(f"index:{asset}", self._index(asset))

    def _publish_books(self, step: Step) -> None:
        old = ladders(self.market.books, step.touched, step.old_ticks, step.old_lots)
        new = standing(self.market.books, step.touched)
        for number, before, after in zip(step.touched.tolist(), old, new, strict=True):
            name = f"orderbook-100ms:{self.market.universe.listings[number].symbol}"
            if name in self.listened:
                frame = self._book(name, number, "update", changes(before, after), after)
                self._repeat(name, frame)

    def _publish_entries(self, word: str, ids: Ids, content: Any) -> None:
        """Send quotes or tickers of instruments, by asset and kind, and one by one."""
        listings, grouped = self.market.universe.listings, dict[str, list[int]]()
        for number in ids.tolist():
            item = listings[number]
            if item.kind in TYPES:
                for rest in (f"{item.underlying}:{TYPES[item.kind]}", item.symbol):
                    grouped.setdefault(f"{word}:{rest}", []).append(number)
        for name, numbers in grouped.items():
            if name in self.listened:
                self._send(name, content(np.array(numbers, np.int64)))

    def _send(self, channel: str, data: Any) -> None:
        if channel in self.listened:
            self._repeat(channel, self._frame(channel, data))

    def _repeat(self, channel: str, frame: bytes) -> None:
        for _ in range(self.faults.burst_factor(channel)):
            self.deliver(channel, frame)

    def _frame(self, channel: str, data: Any) -> bytes:
        return _encode({"channel": channel, "data": data})

    def _now(self, before_ns: int = 0) -> str:
        return str(self.market.now_ns - before_ns + self.skew_ms * NS_PER_MS)

    def _of(self, rest: str) -> Ids:
        """Live instruments of `ETH:OPTION`, or the one of a name."""
        if ":" not in rest:
            return np.array([self._numbers[rest]], np.int64)
        asset, _, kind = rest.partition(":")
        listings = self.market.universe.listings
        live = np.flatnonzero(self.market.state == ListingState.LIVE).tolist()
        found = [
            n
            for n in live
            if listings[n].underlying == asset and TYPES.get(listings[n].kind) == kind
        ]
        return np.array(found, np.int64)

    def _book(self, channel: str, number: int, kind: str, sent: Sides, whole: Sides) -> bytes:
        """A frame of a book; `whole` is the book after it."""
        item = self.market.universe.listings[number]
        return self._frame(channel, {
            "type": kind, "instrument_id": str(number), "instrument_name": item.symbol,
            "instrument_type": TYPES[item.kind], "bids": _texts(sent.bids),
            "asks": _texts(sent.asks), "last_updated": self._now(STEP_NS // 10),
            "checksum": _checksum(_texts(whole.bids), _texts(whole.asks)),
        })  # fmt: skip

    def _quotes(self, ids: Ids) -> dict[str, Any]:
        return self._entries(ids, marks=False)

    def _tickers(self, ids: Ids) -> dict[str, Any]:
        return self._entries(ids, marks=True)

    def _entries(self, ids: Ids, *, marks: bool) -> dict[str, Any]:
        books, rows, listings = (
            self.market.books,
            self.market.tickers(ids),
            self.market.universe.listings,
        )
        prices = np.nan_to_num(books.prices(ids, books.ticks[ids, :, 0])).tolist()
        sizes = books.sizes(ids, books.lots[ids, :, 0]).tolist()
        entries = [
            {
                "instrument_id": number, "instrument_name": listings[number].symbol,
                "instrument_type": TYPES[listings[number].kind],
                "bid": _side(price[BID], size[BID], row["iv_bid"]),
                "ask": _side(price[ASK], size[ASK], row["iv_ask"]),
            } | ({"mark": _mark(row)} if marks else {})
            for number, row, price, size in zip(ids.tolist(), rows, prices, sizes, strict=True)
        ]  # fmt: skip
        return {"timestamp": self._now(), "tickers": entries}

    def _trade(self, item: Listing, trade: Any) -> dict[str, Any]:
        price, size = print_of(self.market.books, trade)
        return {
            "trade_id": f"0x{trade.trade_id:064x}", "instrument_id": str(trade.listing),
            "instrument_name": item.symbol, "instrument_type": TYPES[item.kind],
            "side": "buy" if trade.side > 0 else "sell", "price": _text(price),
            "amount": _text(size), "created_timestamp": self._now(STEP_NS * 9 // 10),
        }  # fmt: skip

    def _index(self, asset: str) -> bytes:
        coin = [terms.currency for terms in self.market.universe.profile.terms].index(asset)
        price = f"{self.market.prices.spot[coin]:.2f}"
        return self._frame(f"index:{asset}", {"price": price, "timestamp": self._now()})

    async def _markets(self, request: web.Request) -> web.Response:
        """Live instruments, of an asset and a type where they are named."""
        asked, listings = request.query, self.market.universe.listings
        live = np.flatnonzero(self.market.state == ListingState.LIVE).tolist()
        body = [
            _instrument(n, listings[n])
            for n in live
            if listings[n].kind in TYPES
            and asked.get("asset", listings[n].underlying) == listings[n].underlying
            and asked.get("instrument_type", TYPES[listings[n].kind]) == TYPES[listings[n].kind]
        ]
        return web.Response(body=_encode(body), content_type="application/json")


def _instrument(number: int, item: Listing) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "instrument_id": str(number), "instrument_name": item.symbol,
        "instrument_type": TYPES[item.kind], "underlying_asset": item.underlying,
        "quote_asset": item.price_ccy, "price_step": f"{item.tick:g}",
        "amount_step": f"{item.lot:g}", "is_active": True,
    }  # fmt: skip
    if item.kind == ListingKind.OPTION:
        fields |= {
            "option_type": "call" if item.right == "C" else "put", "expiry": str(item.expiry_ns),
            "strike": f"{(item.strike_e9 or 0) / E9:g}",
        }  # fmt: skip
    return fields


def _checksum(bids: list[list[str]], asks: list[list[str]]) -> str:
    """CRC-32 of prices and sizes, bid and ask by turns, as long as there are any."""
    words: list[str] = []
    for place in range(min(max(len(bids), len(asks)), LEVELS_CHECKED)):
        for side in (bids, asks):
            if place < len(side):
                words += side[place][:2]
    return str(zlib.crc32(":".join(words).encode()))


def _side(price: float, amount: float, iv: float) -> dict[str, str]:
    if not amount:
        return {}
    return {"price": _text(price), "amount": _text(amount), "iv": f"{np.nan_to_num(iv):.6f}"}


def _mark(row: Any) -> dict[str, str]:
    mark = {"price": f"{row['mark']:.6f}"}
    if not np.isnan(row["delta"]):
        mark |= {name: f"{row[name]:.9f}" for name in ("delta", "theta", "gamma", "vega")}
        mark["iv"] = f"{row['iv_mark']:.6f}"
    return mark


def _texts(levels: list[Level]) -> list[list[str]]:
    return [[_text(price), _text(size), "0.5"] for price, size in levels]


def _text(value: float) -> str:
    """Shortest decimal, as the venue's examples write theirs."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
