"""Stage 1 of 8, simulated: a server that speaks Gate's options protocol over the market.

GET /api/v4/options/underlyings and /contracts, a WebSocket at /v4/ws. A request has one channel
word, a list of subjects and its time, and is answered by its number. Whole books come at each
change, sooner than the venue's 250 ms. A price that nobody offers is an empty text in quotes and
"0" in tickers.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from aiohttp import web

from feeds.contract import E9, Listing, ListingKind, format_e9
from feeds.emulator.books import ASK, BID, Ids
from feeds.emulator.flow import Trade
from feeds.emulator.ladders import Level, Sides, ladders, print_of, standing
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.server import Connection, VenueServer
from feeds.events import ListingState

NS_PER_MS: Final = 1_000_000
SECOND_STEPS: Final = 10
BOOK: Final = "options.order_book"
OF_INSTRUMENT: Final = (BOOK, "options.book_ticker", "options.contract_tickers")
OF_UNDERLYING: Final = ("options.ul_trades", "options.ul_price")
LEVELS: Final = ("5", "10", "20")
_encode: Final = msgspec.json.Encoder().encode


class _Call(msgspec.Struct):
    time: int
    channel: str
    event: str = ""
    payload: list[str] = []
    id: int | None = None


_read_call: Final = msgspec.json.Decoder(_Call).decode


class GateServer(VenueServer):
    """The emulated Gate."""

    WS_PATH: ClassVar[str] = "/v4/ws"
    KIND_FIELD: ClassVar[str] = "is_call"
    NAME_FIELD: ClassVar[str] = "name"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        universe = market.universe
        self._coins = {terms.currency: n for n, terms in enumerate(universe.profile.terms)}
        self._numbers = {
            x.symbol: n for n, x in enumerate(universe.listings) if x.kind == ListingKind.OPTION
        }

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [
            web.get("/api/v4/options/underlyings", self._underlyings),
            web.get("/api/v4/options/contracts", self._contracts),
        ]

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer options.ping, subscribe and unsubscribe."""
        try:
            call = _read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._tell(connection, _Call(0, ""), (1, "invalid argument struct"))
            return
        if call.time <= 0:  # Any time does: the market's may run faster than its clients'.
            self._tell(connection, call, (1, "invalid argument struct"))
        elif call.channel == "options.ping":
            self._tell(connection, _Call(call.time, "options.pong"), None)
        elif call.event == "unsubscribe":
            self.unsubscribe(connection, _names(call))
            self._tell(connection, call, None)
        else:
            self._begin(connection, call)

    def _begin(self, connection: Connection, call: _Call) -> None:
        """Accept all that a request names, or nothing."""
        names = _names(call)
        missing = [name for name in names if not self.exists(name)]
        if missing or self.faults.refused(names[0]):
            self._tell(connection, call, (2, "invalid argument"))
            return
        _, first = self.subscribe(connection, names)
        self._tell(connection, call, None)
        for content in first:
            self.put(connection, content, self.market.now_ns)

    def _tell(self, connection: Connection, call: _Call, error: tuple[int, str] | None) -> None:
        """Answer a request; its number comes back where it had one."""
        said = self._envelope(call.channel, call.event) | {"error": None, "result": None}
        if call.id is not None:
            said["id"] = call.id
        if error is not None:
            said["error"] = {"code": error[0], "message": error[1]}
        elif call.event:
            said["result"] = {"status": "success"}
        self.put(connection, _encode(said), self.market.now_ns)

    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""
        word, _, subject = channel.partition(":")
        if word in OF_UNDERLYING:
            return subject in self._coins
        number = self._numbers.get(subject, -1)
        alive = number >= 0 and self.market.state[number] == ListingState.LIVE
        return word in OF_INSTRUMENT and bool(alive)

    def first(self, channel: str) -> Sequence[bytes]:
        """What the channel is about as it stands; nothing of the past."""
        word, _, subject = channel.partition(":")
        if word == "options.ul_price":
            return [self._frame(word, self._price(subject))]
        if word not in OF_INSTRUMENT:
            return ()
        ids = np.array([self._numbers[subject]], np.int64)
        if word == "options.contract_tickers":
            return [self._frame(word, self._tickers(ids)[0])]
        sides = standing(self.market.books, ids)[0]
        if word == BOOK:
            return [self._frame(word, self._book(int(ids[0]), sides), "all")]
        return [self._frame(word, self._quote(int(ids[0]), sides))]

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        self._publish_trades(step)
        self._publish_books(step)
        listings = self.market.universe.listings
        word = "options.contract_tickers"
        heard = [f"{word}:{listings[n].symbol}" in self.listened for n in step.tickers.tolist()]
        ids = step.tickers[np.array(heard, bool)]
        for ticker in self._tickers(ids) if len(ids) else ():
            self._send(word, ticker["name"], ticker)
        if step.index % SECOND_STEPS == 0:
            for name in self._coins:
                self._send("options.ul_price", name, self._price(name))

    def _publish_trades(self, step: Step) -> None:
        grouped: dict[str, list[dict[str, Any]]] = {}
        for trade in step.trades:
            item = self.market.universe.listings[trade.listing]
            if item.kind == ListingKind.OPTION:
                told = self._trade(item, trade)
                grouped.setdefault(told["underlying"], []).append(told)
        for name, trades in grouped.items():
            self._send("options.ul_trades", name, trades)

    def _publish_books(self, step: Step) -> None:
        old = ladders(self.market.books, step.touched, step.old_ticks, step.old_lots)
        new = standing(self.market.books, step.touched)
        for number, before, after in zip(step.touched.tolist(), old, new, strict=True):
            name = self.market.universe.listings[number].symbol
            self._send(BOOK, name, self._book(number, after), "all")
            if [side[:1] for side in before] != [side[:1] for side in after]:
                self._send("options.book_ticker", name, self._quote(number, after))

    def _send(self, word: str, subject: str, result: Any, event: str = "update") -> None:
        channel = f"{word}:{subject}"
        if channel not in self.listened:
            return
        frame = self._frame(word, result, event)
        for _ in range(self.faults.burst_factor(channel)):
            self.deliver(channel, frame)

    def _envelope(self, word: str, event: str) -> dict[str, Any]:
        now_ms = self._ms()
        return {"time": now_ms // 1000, "time_ms": now_ms, "channel": word, "event": event}

    def _frame(self, word: str, result: Any, event: str = "update") -> bytes:
        return _encode(self._envelope(word, event) | {"result": result})

    def _ms(self, before_ns: int = 0) -> int:
        return (self.market.now_ns - before_ns) // NS_PER_MS + self.skew_ms

    def _book(self, number: int, sides: Sides) -> dict[str, Any]:
        return {
            "t": self._ms(STEP_NS // 10),
            "contract": self.market.universe.listings[number].symbol,
            "id": int(self.market.books.change_id[number]),
            "asks": _levels(sides.asks), "bids": _levels(sides.bids),
        }  # fmt: skip

    def _quote(self, number: int, sides: Sides) -> dict[str, Any]:
        (bid, bids), (ask, asks) = (
            (f"{side[0][0]:.4f}", int(side[0][1])) if side else ("", 0) for side in sides
        )
        return {
            "t": self._ms(STEP_NS // 10), "u": int(self.market.books.change_id[number]),
            "s": self.market.universe.listings[number].symbol,
            "b": bid, "B": bids, "a": ask, "A": asks,
        }  # fmt: skip

    def _tickers(self, ids: Ids) -> list[dict[str, Any]]:
        books, listings = self.market.books, self.market.universe.listings
        best = np.nan_to_num(books.prices(ids, books.ticks[ids, :, 0])).tolist()
        sizes = books.sizes(ids, books.lots[ids, :, 0]).tolist()
        return [
            {
                "name": listings[n].symbol, "last_price": "0", "mark_price": f"{row['mark']:.4f}",
                "index_price": f"{row['index']:.4f}", "position_size": int(row["open_interest"]),
                "bid1_price": f"{price[BID]:.4f}", "bid1_size": int(size[BID]),
                "ask1_price": f"{price[ASK]:.4f}", "ask1_size": int(size[ASK]),
                "vega": f"{row['vega']:.5f}", "theta": f"{row['theta']:.5f}", "rho": "0",
                "gamma": f"{row['gamma']:.8f}", "delta": f"{row['delta']:.5f}",
                "mark_iv": f"{row['iv_mark']:.5f}", "leverage": "1",
                "bid_iv": f"{np.nan_to_num(row['iv_bid']):.5f}",
                "ask_iv": f"{np.nan_to_num(row['iv_ask']):.5f}",
            }
            for n, row, price, size in zip(
                ids.tolist(), self.market.tickers(ids), best, sizes, strict=True
            )
        ]  # fmt: skip

    def _price(self, name: str) -> dict[str, Any]:
        now_ms = self._ms()
        spot = float(self.market.prices.spot[self._coins[name]])
        return {
            "underlying": name, "price": round(spot, 4), "time": now_ms // 1000, "time_ms": now_ms,
        }  # fmt: skip

    def _trade(self, item: Listing, trade: Trade) -> dict[str, Any]:
        """A print; its size is negative where the taker sold."""
        price, size = print_of(self.market.books, trade)
        at_ms = self._ms(STEP_NS * 9 // 10)
        return {
            "contract": item.symbol, "create_time": at_ms // 1000, "id": trade.trade_id,
            "price": round(price, 4), "size": int(size) * trade.side, "create_time_ms": at_ms,
            "underlying": _underlying(item), "is_call": item.right == "C",
        }  # fmt: skip

    async def _underlyings(self, _: web.Request) -> web.Response:
        spot = self.market.prices.spot.tolist()
        body = [{"name": name, "index_price": f"{spot[n]:.2f}"} for name, n in self._coins.items()]
        return web.Response(body=_encode(body), content_type="application/json")

    async def _contracts(self, request: web.Request) -> web.Response:
        """All live contracts of an underlying."""
        universe, asked = self.market.universe, request.query.get("underlying")
        live = (self.market.state == ListingState.LIVE) & (universe.kind == ListingKind.OPTION)
        found = [universe.listings[n] for n in np.flatnonzero(live).tolist()]
        body = [_contract(item) for item in found if _underlying(item) == asked]
        return web.Response(body=_encode(body), content_type="application/json")


def _names(call: _Call) -> list[str]:
    """Channels of a request: a book's payload is its contract, its depth and its precision."""
    if call.channel != BOOK:
        return [f"{call.channel}:{subject}" for subject in call.payload]
    contract, depth, accuracy = (*call.payload, "", "", "")[:3]
    sound = len(call.payload) == 3 and depth in LEVELS and accuracy == "0"
    return [f"{BOOK}:{contract if sound else ''}"]


def _underlying(item: Listing) -> str:
    return f"{item.underlying}_{item.price_ccy}"


def _contract(item: Listing) -> dict[str, Any]:
    assert item.expiry_ns is not None
    assert item.strike_e9 is not None
    return {
        "name": item.symbol, "tag": "WEEK", "create_time": 0,
        "expiration_time": item.expiry_ns // E9, "is_call": item.right == "C",
        "strike_price": format_e9(item.strike_e9), "underlying": _underlying(item),
        "multiplier": f"{item.multiplier:g}", "order_price_round": f"{item.tick:g}",
        "mark_price_round": f"{item.tick:g}", "order_size_min": int(item.lot or 0),
        "order_size_max": 100_000, "maker_fee_rate": "0.0003", "taker_fee_rate": "0.0003",
    }  # fmt: skip


def _levels(levels: list[Level]) -> list[dict[str, Any]]:
    return [{"p": f"{price:.4f}", "s": int(size)} for price, size in levels]
