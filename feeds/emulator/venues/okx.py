"""Stage 1 of 8, simulated: a server that speaks OKX's v5 protocol over the market.

GET /api/v5/public/underlying and /instruments, a WebSocket at /ws/v5/public. Channels are objects
on the wire; here they are named `channel:what`, what being an instrument, a family or a type. An
answer names one channel each. The text `ping` is answered `pong`.
"""

from collections.abc import Sequence
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

NS_PER_MS: Final = 1_000_000
SECOND_STEPS: Final = 10
NO_CHANNEL: Final = "60018"
OF_INSTRUMENT: Final = (
    "books", "books5", "bbo-tbt", "mark-price", "open-interest", "trades", "tickers",
)  # fmt: skip
OF_FAMILY: Final = ("opt-summary", "option-trades")
OF_DERIVATIVES: Final = ("open-interest", "mark-price")
TYPES: Final = {
    ListingKind.OPTION: "OPTION", ListingKind.PERP: "SWAP", ListingKind.SPOT: "SPOT",
}  # fmt: skip
_encode: Final = msgspec.json.Encoder().encode

Arg = dict[str, str]


class _Call(msgspec.Struct):
    op: str
    args: list[Arg]
    id: str = ""


_read_call: Final = msgspec.json.Decoder(_Call).decode


class OkxServer(VenueServer):
    """The emulated OKX."""

    REST_PATH: ClassVar[str] = "/api/v5"
    WS_PATH: ClassVar[str] = "/ws/v5/public"
    KIND_FIELD: ClassVar[str] = "instType"
    NAME_FIELD: ClassVar[str] = "instId"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        self._terms = market.universe.profile.terms
        self._numbers = {
            x.symbol: n
            for n, x in enumerate(market.universe.listings)
            if x.kind != ListingKind.INDEX
        }
        self._args: dict[str, Arg] = {}

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [
            web.get("/api/v5/public/underlying", self._underlying),
            web.get("/api/v5/public/instruments", self._instruments),
        ]

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer ping, subscribe and unsubscribe."""
        now_ns = self.market.now_ns
        if text in ("ping", b"ping"):
            self.put(connection, b"pong", now_ns)
            return
        try:
            call = _read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._tell(connection, {"event": "error", "code": "60012", "msg": "Invalid request"})
            return
        for arg in call.args:
            name = _name_of(arg)
            self._args[name] = arg
            first: list[bytes] = []
            said: dict[str, Any] = {"id": call.id, "event": call.op, "arg": arg}
            if call.op == "unsubscribe":
                self.unsubscribe(connection, [name])
            else:
                accepted, first = self.subscribe(connection, [name])
                if not accepted:
                    named = ",".join(f"{key}:{value}" for key, value in arg.items())
                    words = f"Wrong URL or {named} doesn't exist."
                    said = {"id": call.id, "event": "error", "code": NO_CHANNEL, "msg": words}
            self._tell(connection, said)
            for content in first:
                self.put(connection, content, now_ns)

    def _tell(self, connection: Connection, said: dict[str, Any]) -> None:
        self.put(connection, _encode(said | {"connId": "emulated"}), self.market.now_ns)

    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""
        word, _, what = channel.partition(":")
        if word in OF_INSTRUMENT:
            number = self._numbers.get(what, -1)
            if word in OF_DERIVATIVES and self._is_spot(number):
                return False
            return number >= 0 and bool(self.market.state[number] == ListingState.LIVE)
        if word in OF_FAMILY or word == "index-tickers":
            return any(what == terms.currency for terms in self._terms)
        return word == "instruments"

    def _is_spot(self, number: int) -> bool:
        return bool(self.market.universe.kind[number] == ListingKind.SPOT)

    def first(self, channel: str) -> Sequence[bytes]:
        """Books, marks and open interest as they stand."""
        word, _, what = channel.partition(":")
        number = self._numbers.get(what, -1)
        if number < 0:
            return ()
        sides = standing(self.market.books, np.array([number]))[0]
        if word == "books":
            return [self._frame(channel, [self._book(number, sides, -1)], action="snapshot")]
        if word in ("books5", "bbo-tbt"):
            return [self._frame(channel, [self._window(word, number, sides)])]
        rows = self.market.tickers(np.array([number], np.int64))
        if word == "mark-price":
            return [self._frame(channel, [self._mark(number, rows[0])])]
        if word == "open-interest":
            return [self._frame(channel, [self._open_interest(number, rows[0])])]
        return ()

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        self._publish_states(step)
        self._publish_trades(step)
        self._publish_books(step)
        self._publish_tickers(step.tickers)
        if step.index % SECOND_STEPS == 0:
            self._publish_families()

    def _publish_states(self, step: Step) -> None:
        for number, state in step.states:
            item = self.market.universe.listings[number]
            name = "instruments:OPTION"
            if name in self.listened and item.kind == ListingKind.OPTION:
                word = "live" if state == ListingState.LIVE else "expired"
                self._send(name, [self._instrument(item) | {"state": word}])

    def _publish_trades(self, step: Step) -> None:
        for trade in step.trades:
            item = self.market.universe.listings[trade.listing]
            option = item.kind == ListingKind.OPTION
            name = f"option-trades:{self._family(trade.listing)}" if option else (
                f"trades:{item.symbol}"
            )  # fmt: skip
            if name in self.listened:
                self._send(name, [self._trade(item, trade)])

    def _publish_books(self, step: Step) -> None:
        books = self.market.books
        old = ladders(books, step.touched, step.old_ticks, step.old_lots)
        new = standing(books, step.touched)
        before_ids = step.previous_change_id.tolist()
        for number, before, after, previous in zip(
            step.touched.tolist(), old, new, before_ids, strict=True
        ):
            symbol = self.market.universe.listings[number].symbol
            name = f"books:{symbol}"
            if name in self.listened:
                moved = changes(before, after)
                self._send(name, [self._book(number, moved, previous)], action="update")
            if f"books5:{symbol}" in self.listened:
                self._send(f"books5:{symbol}", [self._window("books5", number, after)])
            best = (before.bids[:1], before.asks[:1]) != (after.bids[:1], after.asks[:1])
            if best and f"bbo-tbt:{symbol}" in self.listened:
                self._send(f"bbo-tbt:{symbol}", [self._window("bbo-tbt", number, after)])

    def _publish_tickers(self, ids: Ids) -> None:
        rows = self.market.tickers(ids)
        for number, row in zip(ids.tolist(), rows, strict=True):
            symbol = self.market.universe.listings[number].symbol
            for word, build in (("mark-price", self._mark), ("open-interest", self._open_interest)):
                name = f"{word}:{symbol}"
                if name in self.listened:
                    self._send(name, [build(number, row)])

    def _publish_families(self) -> None:
        for coin, terms in enumerate(self._terms):
            name = f"opt-summary:{terms.currency}"
            if name in self.listened:
                self._send(name, self._summary(coin))
            name = f"index-tickers:{terms.currency}"
            if name in self.listened:
                spot = float(self.market.prices.spot[coin])
                self._send(name, [
                    {"instId": terms.currency, "idxPx": f"{spot:.4f}", "ts": self._now_ms()}
                ])  # fmt: skip

    def _send(self, channel: str, data: list[Any], **more: Any) -> None:
        frame = self._frame(channel, data, **more)
        for _ in range(self.faults.burst_factor(channel)):
            self.deliver(channel, frame)

    def _frame(self, channel: str, data: list[Any], **more: Any) -> bytes:
        return _encode({"arg": self._args[channel]} | more | {"data": data})

    def _now_ms(self, before_ns: int = 0) -> str:
        return str((self.market.now_ns - before_ns) // NS_PER_MS + self.skew_ms)

    def _family(self, number: int) -> str:
        return self._terms[int(self.market.universe.underlying[number])].currency

    def _book(self, number: int, sides: Sides, previous: int) -> dict[str, Any]:
        return {
            "asks": self._texts(number, sides.asks), "bids": self._texts(number, sides.bids),
            "ts": self._now_ms(STEP_NS // 10), "checksum": 0, "prevSeqId": previous,
            "seqId": int(self.market.books.change_id[number]),
        }  # fmt: skip

    def _window(self, word: str, number: int, sides: Sides) -> dict[str, Any]:
        depth = 5 if word == "books5" else 1
        return {
            "asks": self._texts(number, sides.asks[:depth]),
            "bids": self._texts(number, sides.bids[:depth]),
            "ts": self._now_ms(STEP_NS // 10),
            "instId": self.market.universe.listings[number].symbol,
            "seqId": int(self.market.books.change_id[number]),
        }  # fmt: skip

    def _mark(self, number: int, row: Any) -> dict[str, Any]:
        item = self.market.universe.listings[number]
        kind = "OPTION" if item.kind == ListingKind.OPTION else "SWAP"
        return {
            "instType": kind, "instId": item.symbol, "markPx": f"{row['mark']:.8f}",
            "ts": self._now_ms(),
        }  # fmt: skip

    def _open_interest(self, number: int, row: Any) -> dict[str, Any]:
        item = self.market.universe.listings[number]
        kind = "OPTION" if item.kind == ListingKind.OPTION else "SWAP"
        return {
            "instType": kind, "instId": item.symbol, "oi": f"{row['open_interest']:.0f}",
            "oiCcy": f"{row['open_interest'] * item.multiplier:.4f}", "ts": self._now_ms(),
        }  # fmt: skip

    def _summary(self, coin: int) -> list[dict[str, Any]]:
        universe = self.market.universe
        live = (self.market.state == ListingState.LIVE) & (universe.kind == ListingKind.OPTION)
        ids = np.flatnonzero(live & (universe.underlying == coin))
        now_ms, family = self._now_ms(), self._terms[coin].currency
        return [
            {
                "instType": "OPTION", "instId": universe.listings[n].symbol, "uly": family,
                "delta": f"{row['delta'] - row['mark']:.8f}", "gamma": "0", "vega": "0",
                "theta": "0", "lever": "0", "markVol": f"{row['iv_mark']:.6f}",
                "bidVol": _iv(row["iv_bid"]), "askVol": _iv(row["iv_ask"]), "realVol": "",
                "deltaBS": f"{row['delta']:.8f}", "gammaBS": f"{row['gamma']:.10f}",
                "thetaBS": f"{row['theta']:.8f}", "vegaBS": f"{row['vega']:.8f}", "ts": now_ms,
                "fwdPx": f"{row['forward']:.6f}", "volLv": "0.5",
            }
            for n, row in zip(ids.tolist(), self.market.tickers(ids), strict=True)
        ]  # fmt: skip

    def _trade(self, item: Listing, trade: Any) -> dict[str, Any]:
        price, size = print_of(self.market.books, trade)
        spot = item.kind == ListingKind.SPOT
        return {
            "instId": item.symbol, "instFamily": "" if spot else self._family(trade.listing),
            "tradeId": str(trade.trade_id), "px": f"{price:.4f}",
            "sz": self._size(trade.listing, size),
            "side": "buy" if trade.side > 0 else "sell", "ts": self._now_ms(STEP_NS * 9 // 10),
            "optType": item.right or "", "fillVol": "0.5", "fwdPx": "0", "idxPx": "0",
            "markPx": "0", "count": "1",
        }  # fmt: skip

    async def _underlying(self, _: web.Request) -> web.Response:
        """Families that have options."""
        return _answer([[terms.currency for terms in self._terms]])

    async def _instruments(self, request: web.Request) -> web.Response:
        """Live instruments of a type and a family."""
        asked = request.query
        kind = next((k for k, name in TYPES.items() if name == asked.get("instType")), -1)
        family = asked.get("instFamily") or asked.get("uly")
        universe = self.market.universe
        live = (self.market.state == ListingState.LIVE) & (universe.kind == kind)
        found = [
            n for n in np.flatnonzero(live).tolist() if family in (None, self._family(n))
        ]  # fmt: skip
        return _answer([self._instrument(universe.listings[n]) for n in found])

    def _texts(self, number: int, levels: list[Level]) -> list[list[str]]:
        return [[f"{price:.4f}", self._size(number, size), "0", "1"] for price, size in levels]

    def _size(self, number: int, size: float) -> str:
        """Contracts, of a spot coins."""
        return f"{size:.8f}".rstrip("0").rstrip(".") if self._is_spot(number) else f"{size:.0f}"

    def _instrument(self, item: Listing) -> dict[str, Any]:
        if item.kind == ListingKind.SPOT:
            return _spot(item)
        option = item.kind == ListingKind.OPTION
        family = f"{item.underlying}-USD"
        return {
            "instType": "OPTION" if option else "SWAP", "instId": item.symbol, "uly": family,
            "instFamily": family, "settleCcy": item.underlying,
            # An option's contract is ctVal x ctMult coins, a swap's ctVal USD.
            "ctVal": "1" if option else f"{item.multiplier:g}",
            "ctMult": f"{item.multiplier:g}" if option else "1",
            "ctValCcy": item.underlying if option else "USD", "ctType": "" if option else "inverse",
            "optType": item.right or "",
            "stk": f"{item.strike_e9 / E9:g}" if item.strike_e9 else "",
            "listTime": "1600000000000",
            "expTime": str((item.expiry_ns or 0) // NS_PER_MS) if option else "",
            "tickSz": f"{item.tick:g}", "lotSz": f"{item.lot:g}", "minSz": f"{item.lot:g}",
            "state": "live",
        }  # fmt: skip


def _name_of(arg: Arg) -> str:
    what = arg.get("instId") or arg.get("instFamily") or arg.get("instType") or ""
    return f"{arg.get('channel')}:{what}"


def _answer(data: list[Any]) -> web.Response:
    body = {"code": "0", "msg": "", "data": data}
    return web.Response(body=_encode(body), content_type="application/json")


def _spot(item: Listing) -> dict[str, Any]:
    """An entry of public/instruments, blank where only derivatives have something."""
    derived = (
        "uly", "instFamily", "settleCcy", "ctVal", "ctMult", "ctValCcy", "ctType", "optType", "stk",
        "expTime",
    )  # fmt: skip
    return dict.fromkeys(derived, "") | {
        "instType": "SPOT", "instId": item.symbol, "baseCcy": item.underlying,
        "quoteCcy": item.price_ccy, "listTime": "1600000000000", "tickSz": f"{item.tick:g}",
        "lotSz": f"{item.lot:.8f}", "minSz": f"{item.lot:.8f}", "ruleType": "normal",
        "state": "live",
    }  # fmt: skip


def _iv(value: float) -> str:
    return "0" if np.isnan(value) else f"{value:.6f}"
