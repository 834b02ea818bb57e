"""Stage 1 of 8, simulated: a server that speaks Thalex's protocol over the market.

GET /api/v2/public/instruments, WebSocket at /ws/api/v2. Books are a snapshot and changes, each with
the total amounts of the book after it; times are seconds with a fraction, numbers are numbers.
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

SECOND_STEPS: Final = 10
KINDS: Final = {ListingKind.OPTION: "option", ListingKind.PERP: "perpetual"}
OWN: Final = ("book", "ticker", "lwt")
WIDE: Final = ("lwt_options", "recent_trades", "price_index")
_encode: Final = msgspec.json.Encoder().encode


class _Params(msgspec.Struct):
    channels: list[str] = []


class _Call(msgspec.Struct):
    method: str
    id: int | None = None
    params: _Params = msgspec.field(default_factory=_Params)


_read_call: Final = msgspec.json.Decoder(_Call).decode


class ThalexServer(VenueServer):
    """The emulated Thalex."""

    REST_PATH: ClassVar[str] = "/api/v2"
    WS_PATH: ClassVar[str] = "/ws/api/v2"
    BOOK_WORDS: ClassVar[tuple[str, ...]] = ("book.",)
    KIND_FIELD: ClassVar[str] = "type"
    NAME_FIELD: ClassVar[str] = "instrument_name"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        listings = market.universe.listings
        self._numbers = {x.symbol: n for n, x in enumerate(listings) if x.kind in KINDS}
        self._indexes = [terms.index for terms in market.universe.profile.terms]
        self._due: set[int] = set()  # tickers that wait for their second

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [web.get("/api/v2/public/instruments", self._instruments)]

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer subscribe, unsubscribe and whatever else is asked."""
        now_ns = self.market.now_ns
        try:
            call = _read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            error = {"code": 0, "message": "malformed request"}
            self.put(connection, _encode({"id": None, "error": error}), now_ns)
            return
        result: Any = {"environment": "emulated"}
        first: list[bytes] = []
        if call.method == "public/subscribe":
            result, first = self.subscribe(connection, call.params.channels)
        elif call.method == "unsubscribe":
            result = self.unsubscribe(connection, call.params.channels)
        self.put(connection, _encode({"id": call.id, "result": result}), now_ns)
        for content in first:
            self.put(connection, content, now_ns)

    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""
        word, *parts = channel.split(".")
        if word in WIDE:
            return parts[0] in self._indexes
        number = self._numbers.get(parts[0] if parts else "", -1)
        live = number >= 0 and self.market.state[number] == ListingState.LIVE
        return word in OWN and live if parts else word in ("instruments", "system")

    def first(self, channel: str) -> Sequence[bytes]:
        """What there is now: books, marks, the last trades (none), all instruments."""
        word, *parts = channel.split(".")
        if word in OWN:
            return [self._first_own(channel, word, self._numbers[parts[0]])]
        if word == "lwt_options":
            live = np.flatnonzero(self.market.state == ListingState.LIVE)
            return [self._frame(channel, {"tickers": self._options(live).get(parts[0], {})})]
        if word == "price_index":
            return [self._frame(channel, self._index(parts[0]))]
        if word == "system":
            return ()
        active = [{"added": x} for x in self._active()] if word == "instruments" else []
        return [self._frame(channel, active, snapshot=True)]

    def _first_own(self, channel: str, word: str, number: int) -> bytes:
        if word != "book":
            return self._frame(channel, self._OWN[word](self, np.array([number]))[0])
        (sides,) = standing(self.market.books, np.array([number]))
        return self._frame(channel, self._book(sides, sides), snapshot=True)

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        for number, state in step.states:
            word = "removed" if state == ListingState.EXPIRED else "added"
            entry = _instrument(self.market.universe.listings[number])
            self._send("instruments", [{word: entry}])
        self._publish_trades(step)
        self._publish_books(step)
        for name, tickers in self._options(step.touched).items():
            for delay in ("100ms", "1000ms"):
                self._send(f"lwt_options.{name}.all.{delay}", {"tickers": tickers})
        self._publish_own("lwt", step.touched, "100ms")
        self._due.update(step.tickers.tolist())
        if step.index % SECOND_STEPS == 0:
            self._publish_own("ticker", np.array(sorted(self._due), np.int64), "1000ms")
            self._due.clear()
            for name in self._indexes:
                self._send(f"price_index.{name}", self._index(name))

    def _publish_trades(self, step: Step) -> None:
        grouped: dict[str, list[Any]] = {}
        for trade in step.trades:
            item = self.market.universe.listings[trade.listing]
            name = f"recent_trades.{item.underlying}{item.price_ccy}.all"
            grouped.setdefault(name, []).append(self._trade(item, trade))
        for name, trades in grouped.items():
            self._send(name, trades)

    def _publish_books(self, step: Step) -> None:
        old = ladders(self.market.books, step.touched, step.old_ticks, step.old_lots)
        new = standing(self.market.books, step.touched)
        for number, before, after in zip(step.touched.tolist(), old, new, strict=True):
            name = f"book.{self.market.universe.listings[number].symbol}.none.all.100ms"
            self._send(name, self._book(changes(before, after), after))

    def _publish_own(self, word: str, ids: Ids, delay: str) -> None:
        """Send what is due of channels of one instrument."""
        listings = self.market.universe.listings
        named = {f"{word}.{listings[n].symbol}.{delay}": n for n in ids.tolist()}
        heard = [name for name in named if name in self.listened]
        if heard:
            contents = self._OWN[word](self, np.array([named[name] for name in heard], np.int64))
            for name, content in zip(heard, contents, strict=True):
                self._send(name, content)

    def _send(self, channel: str, content: Any) -> None:
        if channel in self.listened:
            for _ in range(self.faults.burst_factor(channel)):
                self.deliver(channel, self._frame(channel, content))

    def _frame(self, channel: str, content: Any, *, snapshot: bool = False) -> bytes:
        message = {"channel_name": channel, "notification": content}
        return _encode(message | ({"snapshot": True} if snapshot else {}))

    def _now(self, before_ns: int = 0) -> float:
        return (self.market.now_ns - before_ns) / E9 + self.skew_ms / 1000

    def _book(self, sent: Sides, whole: Sides) -> dict[str, Any]:
        """What is sent of a book; `whole` is the book after it."""
        total = [round(sum(size for _, size in side), 6) for side in whole]
        return {
            "trades": [], "bid_changes": _levels(sent.bids), "ask_changes": _levels(sent.asks),
            "total_bid_amount": total[BID], "total_ask_amount": total[ASK],
            "time": self._now(STEP_NS // 10),
        }  # fmt: skip

    def _tops(self, ids: Ids) -> list[list[tuple[float, float]]]:
        """Best bid and ask of each, size 0 where there is none."""
        books = self.market.books
        prices = np.nan_to_num(books.prices(ids, books.ticks[ids, :, 0]))
        sizes = books.sizes(ids, books.lots[ids, :, 0])
        return [
            [(_number(p), _number(q)) for p, q in zip(of_price, of_size, strict=True)]
            for of_price, of_size in zip(prices.tolist(), sizes.tolist(), strict=True)
        ]

    def _tickers(self, ids: Ids) -> list[dict[str, Any]]:
        found = []
        tops = self._tops(ids)
        for row, (bid, ask) in zip(self.market.tickers(ids), tops, strict=True):
            ticker = {
                "best_bid_price": bid[0] if bid[1] else None,
                "best_bid_amount": bid[1] or None,
                "best_ask_price": ask[0] if ask[1] else None,
                "best_ask_amount": ask[1] or None,
                "last_price": None, "mark_price": _number(row["mark"]),
                "mark_timestamp": self._now(), "index": _number(row["index"]), "delta": 1,
                "open_interest": _number(row["open_interest"]),
            }  # fmt: skip
            if not np.isnan(row["delta"]):
                ticker |= {
                    "iv": _number(row["iv_mark"]), "delta": _number(row["delta"]),
                    "forward": _number(row["forward"]),
                }  # fmt: skip
            found.append(ticker)
        return found

    def _lwt(self, ids: Ids) -> list[dict[str, Any]]:
        found = []
        for row, sides in zip(self.market.tickers(ids), self._tops(ids), strict=True):
            entry: dict[str, Any] = {"m": _number(row["mark"])}
            entry |= {
                word: [*side, side[1]] for word, side in zip("ba", sides, strict=True) if side[1]
            }
            found.append(entry)
        return found

    def _options(self, ids: Ids) -> dict[str, dict[str, Any]]:
        """Options by index: time, mark, index, forward, volatility, best prices, last trade."""
        listings, now = self.market.universe.listings, self._now()
        ids = np.array([n for n in ids.tolist() if listings[n].contract is not None], np.int64)
        found: dict[str, dict[str, Any]] = {}
        for n, row, sides in zip(
            ids.tolist(), self.market.tickers(ids), self._tops(ids), strict=True
        ):
            item = listings[n]
            bid, ask = (list(side) if side[1] else [] for side in sides)
            found.setdefault(f"{item.underlying}{item.price_ccy}", {})[item.symbol] = [
                now, _number(row["mark"]), _number(row["index"]), _number(row["forward"]),
                _number(row["iv_mark"]), bid, ask, None,
            ]  # fmt: skip
        return found

    def _trade(self, item: Listing, trade: Any) -> list[Any]:
        price, size = print_of(self.market.books, trade)
        side = "buy" if trade.side > 0 else "sell"
        # Prints of one step are told apart by their microsecond.
        time = self._now(STEP_NS * 9 // 10 - trade.trade_id % 1000 * 1000)
        implied = bool(trade.flags & Flag.COMBO_LEG)
        return [_number(price), _number(size), side, time, item.symbol, implied]

    def _index(self, name: str) -> dict[str, Any]:
        spot = self.market.prices.spot[self._indexes.index(name)]
        return {"index_name": name, "price": _number(spot), "timestamp": self._now()}

    def _active(self) -> list[dict[str, Any]]:
        live = np.flatnonzero(self.market.state == ListingState.LIVE).tolist()
        listings = self.market.universe.listings
        return [_instrument(listings[n]) for n in live if listings[n].kind in KINDS]

    async def _instruments(self, request: web.Request) -> web.Response:  # noqa: ARG002 - all of them
        """All live instruments."""
        body = _encode({"result": self._active()})
        return web.Response(body=body, content_type="application/json")

    _OWN: ClassVar[dict[str, Any]] = {"ticker": _tickers, "lwt": _lwt}


def _instrument(item: Listing) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "instrument_name": item.symbol, "product": f"X{item.underlying}{item.price_ccy}",
        "tick_size": item.tick, "volume_tick_size": item.lot, "min_order_amount": item.lot,
        "underlying": f"{item.underlying}{item.price_ccy}", "type": KINDS[item.kind],
        "base_currency": item.price_ccy, "create_time": 1631250800.103645,
    }  # fmt: skip
    if item.kind == ListingKind.OPTION:
        strike = (item.strike_e9 or 0) / E9
        fields |= {
            "option_type": "call" if item.right == "C" else "put",
            "expiration_timestamp": (item.expiry_ns or 0) // E9, "strike_price": _number(strike),
        }  # fmt: skip
    return fields


def _levels(levels: list[Level]) -> list[list[float]]:
    """Price, amount and outright amount: nothing is implied here."""
    return [[_number(price), _number(size), _number(size)] for price, size in levels]


def _number(value: float) -> float:
    """As the venue writes: whole numbers without a fraction."""
    rounded = round(float(value), 9)
    return int(rounded) if rounded.is_integer() else rounded
