"""Stage 1 of 8, simulated: a server that speaks Coincall's options protocol over the market.

GET /open/option/getInstruments/{coin}, a WebSocket at /options whose address is signed with the
keys of an account that everybody knows. A request names one channel, here `dataType:symbol` or
`tOption:BTCUSD:1735286400000`; its answer says that something was done, and not what. Books are
whole windows, sent when they change and once a second otherwise, chains once a second; prints have
no numbers, and a subscription to them begins with the last ones.
"""

import hmac
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
import numpy as np
from aiohttp import web

from feeds.contract import E9, Listing, ListingKind
from feeds.emulator.books import ASK, BID, Ids
from feeds.emulator.flow import Trade
from feeds.emulator.ladders import Level, print_of, standing
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.server import Connection, VenueServer
from feeds.events import ListingState

NS_PER_MS: Final = 1_000_000
SECOND_STEPS: Final = 10
PRINTS: Final = 100  # What a new subscriber is told of the past.
TYPES: Final = {"bsInfo": 3, "tOption": 4, "orderBook": 5, "lastTrade": 6}
_encode: Final = msgspec.json.Encoder().encode


class Account(NamedTuple):
    """The one account of the emulated venue; its key is written as the venue writes them."""

    key: str = "ZW11bGF0ZWQ+a2V5/w=="
    secret: str = "emulated secret of nobody"  # noqa: S105 - opens nothing but this


class _Call(msgspec.Struct):
    action: str
    dataType: str = ""  # noqa: N815 - the wire's
    payload: dict[str, Any] = {}


_read_call: Final = msgspec.json.Decoder(_Call).decode


class CoincallServer(VenueServer):
    """The emulated Coincall."""

    WS_PATH: ClassVar[str] = "/options"
    KIND_FIELD: ClassVar[str] = "baseCurrency"
    NAME_FIELD: ClassVar[str] = "symbolName"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        self._prints: dict[str, deque[dict[str, Any]]] = {}
        self._numbers: dict[str, int] = {}
        self._chains: dict[str, list[int]] = {}
        for number, item in enumerate(market.universe.listings):
            if item.kind == ListingKind.OPTION:
                self._numbers[item.symbol] = number
                self._chains.setdefault(_chain(item), []).append(number)

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [web.get("/open/option/getInstruments/{coin}", self._instruments)]

    def admits(self, request: web.Request) -> bool:
        """Whether the address is signed by the account, in the venue's own words."""
        said = dict(
            part.split("=", 1) for part in request.rel_url.raw_query_string.split("&") if part
        )
        wanted = f"GET/users/self/verify?uuid={Account().key}&ts={said.get('ts')}"
        sign = hmac.new(Account().secret.encode(), wanted.encode(), "sha256").hexdigest()
        return (said.get("code"), said.get("apiKey"), said.get("sign")) == (
            "10", Account().key, sign.upper(),
        )  # fmt: skip

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer heartbeat, subscribe and unSubscribe."""
        try:
            call = _read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._tell(connection, 20, 0)
            return
        if call.action == "heartbeat":
            self._tell(connection, 11, 1)
            return
        end = f":{call.payload['end']}" if "end" in call.payload else ""
        name = f"{call.dataType}:{call.payload.get('symbol', '')}{end}"
        if call.action == "unSubscribe":
            self.unsubscribe(connection, [name])
            self._tell(connection, 20, 1)
            return
        accepted, first = self.subscribe(connection, [name])
        self._tell(connection, 20, len(accepted))
        for content in first:
            self.put(connection, content, self.market.now_ns)

    def _tell(self, connection: Connection, code: int, result: int) -> None:
        self.put(connection, _encode({"c": code, "rc": result}), self.market.now_ns)

    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""
        word, _, subject = channel.partition(":")
        if word == "tOption":
            return subject in self._chains
        number = self._numbers.get(subject, -1)
        alive = number >= 0 and self.market.state[number] == ListingState.LIVE
        return word in TYPES and bool(alive)

    def first(self, channel: str) -> Sequence[bytes]:
        """What the channel is about as it stands; of prints the last ones."""
        word, _, subject = channel.partition(":")
        if word == "tOption":
            return [_frame(word, self._chain(self._chains[subject]))]
        if word == "lastTrade":
            prints = list(self._prints.get(subject, ()))
            return [_frame(word, prints)] if prints else []
        number = self._numbers[subject]
        if word == "orderBook":
            return [_frame(word, self._book(number))]
        return [_frame(word, self._values(np.array([number], np.int64))[0])]

    def publish(self, step: Step) -> None:
        """Send what a step changed, and once a second what did not, to those who listen."""
        self._publish_trades(step)
        whole = step.index % SECOND_STEPS == 0
        touched = set(step.touched.tolist())
        for name in [n for n in self.listened if n.startswith("orderBook:")]:
            number = self._numbers[name.partition(":")[2]]
            if self.market.state[number] == ListingState.LIVE and (whole or number in touched):
                self._send(name, self._book(number))
        listings = self.market.universe.listings
        heard = [f"bsInfo:{listings[n].symbol}" in self.listened for n in step.tickers.tolist()]
        ids = step.tickers[np.array(heard, bool)]
        for values in self._values(ids) if len(ids) else ():
            self._send(f"bsInfo:{values['s']}", values)
        for name in [n for n in self.listened if whole and n.startswith("tOption:")]:
            self._send(name, self._chain(self._chains[name.partition(":")[2]]))

    def _publish_trades(self, step: Step) -> None:
        """The prints of each option, the newest first; each of a step has a moment of its own."""
        grouped: dict[str, list[dict[str, Any]]] = {}
        for place, trade in enumerate(step.trades):
            item = self.market.universe.listings[trade.listing]
            if item.kind == ListingKind.OPTION:
                grouped.setdefault(item.symbol, []).insert(0, self._trade(item, trade, place))
        for symbol, prints in grouped.items():
            self._prints.setdefault(symbol, deque(maxlen=PRINTS)).extendleft(reversed(prints))
            self._send(f"lastTrade:{symbol}", prints)

    def _send(self, channel: str, content: Any) -> None:
        if channel not in self.listened:
            return
        frame = _frame(channel.partition(":")[0], content)
        for _ in range(self.faults.burst_factor(channel)):
            self.deliver(channel, frame)

    def _ms(self, before_ns: int = 0) -> int:
        return (self.market.now_ns - before_ns) // NS_PER_MS + self.skew_ms

    def _book(self, number: int) -> dict[str, Any]:
        sides = standing(self.market.books, np.array([number]))[0]
        return {
            "s": self.market.universe.listings[number].symbol,
            "asks": _levels(sides.asks), "bids": _levels(sides.bids),
            "ts": self._ms(STEP_NS // 10),
        }  # fmt: skip

    def _values(self, ids: Ids) -> list[dict[str, Any]]:
        """What bsInfo says of options."""
        return [
            _common(self.market.universe.listings[n].symbol, row, self._ms()) | {
                "ip": f"{row['index']:.4f}", "iv": f"{row['iv_mark']:.5f}", "rt": 1, "cr": None,
            }
            for n, row in zip(ids.tolist(), self.market.tickers(ids), strict=True)
        ]  # fmt: skip

    def _chain(self, numbers: list[int]) -> list[dict[str, Any]]:
        """What tOption says of the live options of an expiry."""
        ids = np.array([n for n in numbers if self.market.state[n] == ListingState.LIVE], np.int64)
        books, listings = self.market.books, self.market.universe.listings
        best = np.nan_to_num(books.prices(ids, books.ticks[ids, :, 0])).tolist()
        sizes = books.sizes(ids, books.lots[ids, :, 0]).tolist()
        return [
            _common(listings[n].symbol, row, self._ms()) | {
                "bid": price[BID], "bs": size[BID], "ask": price[ASK], "as": size[ASK],
                "biv": round(float(np.nan_to_num(row["iv_bid"], nan=0.01)), 5),
                "aiv": round(float(np.nan_to_num(row["iv_ask"], nan=0.01)), 5), "upv": 0,
            }
            for n, row, price, size in zip(
                ids.tolist(), self.market.tickers(ids), best, sizes, strict=True
            )
        ]  # fmt: skip

    def _trade(self, item: Listing, trade: Trade, place: int) -> dict[str, Any]:
        price, size = print_of(self.market.books, trade)
        return {
            "q": f"{size:g}", "sd": 1 if trade.side > 0 else 2, "pr": f"{price:.4f}",
            "s": item.symbol, "ts": self._ms(STEP_NS * 9 // 10) + place,
        }  # fmt: skip

    async def _instruments(self, request: web.Request) -> web.Response:
        """All live options of a coin."""
        universe, coin = self.market.universe, request.match_info["coin"]
        live = (self.market.state == ListingState.LIVE) & (universe.kind == ListingKind.OPTION)
        found = [universe.listings[n] for n in np.flatnonzero(live).tolist()]
        data = [_instrument(item) for item in found if item.underlying == coin]
        body = {"code": 0, "msg": "Success", "i18nArgs": None, "data": data}
        return web.Response(body=_encode(body), content_type="application/json")


def _frame(word: str, content: Any) -> bytes:
    return _encode({"dt": TYPES[word], "c": 20, "d": content})


def _chain(item: Listing) -> str:
    """Root and expiry, ms, as a subscription to a chain names them."""
    return f"{item.underlying}USD:{(item.expiry_ns or 0) // NS_PER_MS}"


def _common(symbol: str, row: Any, at_ms: int) -> dict[str, Any]:
    """What both kinds of values say; numbers and texts stand side by side on the venue."""
    return {
        "s": symbol, "mp": f"{row['mark']:.6f}", "up": float(row["forward"]), "v": 0,
        "oi": float(row["open_interest"]), "delta": f"{row['delta']:.5f}",
        "gamma": f"{row['gamma']:.8f}", "vega": f"{row['vega']:.5f}",
        "theta": f"{row['theta']:.5f}", "lp": None, "ts": at_ms,
    }  # fmt: skip


def _instrument(item: Listing) -> dict[str, Any]:
    return {
        "baseCurrency": item.underlying, "expirationTimestamp": (item.expiry_ns or 0) // NS_PER_MS,
        "strike": (item.strike_e9 or 0) / E9, "symbolName": item.symbol, "isActive": True,
        "minQty": item.lot, "tickSize": item.tick,
    }  # fmt: skip


def _levels(levels: list[Level]) -> list[dict[str, str]]:
    return [{"pr": f"{price:.4f}", "sz": f"{size:g}"} for price, size in levels]
