"""Stage 1 of 8, simulated: a server that speaks Binance's option protocol over the market.

GET /eapi/v1/exchangeInfo beside the sockets of binance_sockets.py.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from aiohttp import web

from feeds.contract import E9, ListingKind
from feeds.emulator.books import ASK, BID, Ids
from feeds.emulator.flow import Trade
from feeds.emulator.ladders import print_of
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.venues.binance_sockets import (
    NS_PER_MS,
    SECOND_STEPS,
    TOP_STREAMS,
    BinanceSockets,
)
from feeds.events import Flag, ListingState

OPEN_INTEREST_STEPS: Final = 600
YEAR_NS: Final = 365 * 86_400 * 10**9
# Streams of the market path, by what follows the first @; the retired name of the open interest is
# not among them, so that it stays silent.
_MARKET: Final = ("optionMarkPrice", "openInterest", "arr", "")
_NEW_SYMBOLS: Final = "!optionSymbol"
_encode: Final = msgspec.json.Encoder().encode


class BinanceServer(BinanceSockets):
    """The emulated options of Binance."""

    KIND_FIELD: ClassVar[str] = "side"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        universe = market.universe
        self._terms = universe.profile.terms
        self._options = {
            x.symbol.lower(): n
            for n, x in enumerate(universe.listings)
            if x.kind == ListingKind.OPTION
        }

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [web.get("/eapi/v1/exchangeInfo", self._exchange_info)]

    def exists(self, channel: str) -> bool:
        """Say whether a stream can be subscribed now; whole chains always."""
        name, _, tail = channel.partition("@")
        number = self._options.get(name, -1)
        if number < 0:
            return name in ("!index", _NEW_SYMBOLS) or tail.startswith(("option", "openInterest"))
        alive = self.market.state[number] == ListingState.LIVE
        return bool(alive) and tail in TOP_STREAMS

    def is_of_market(self, stream: str) -> bool:
        """Whole chains, indexes and notices."""
        return stream.partition("@")[2].partition("@")[0] in _MARKET

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        self._publish_new(step)
        self._publish_trades(step)
        self.publish_books(step.touched, step)
        if step.index % SECOND_STEPS == 0:
            self._publish_chains()
        if step.index % OPEN_INTEREST_STEPS == 0:
            self._publish_open_interest()

    def _publish_new(self, step: Step) -> None:
        """Tell what was listed."""
        listings = self.market.universe.listings
        for number, state in step.states:
            listing = listings[number]
            if state == ListingState.LIVE and listing.kind == ListingKind.OPTION:
                self.send(_NEW_SYMBOLS, {
                    "e": "optionSymbol", "E": self.now_ms(), "s": listing.symbol,
                    "ps": self._pair(number), "qa": listing.price_ccy,
                    "d": "CALL" if listing.right == "C" else "PUT",
                    "sp": f"{(listing.strike_e9 or 0) / E9:.3f}",
                    "dt": (listing.expiry_ns or 0) // NS_PER_MS, "u": 1, "cs": "TRADING",
                })  # fmt: skip

    def _publish_trades(self, step: Step) -> None:
        for trade in step.trades:
            number = trade.listing
            if self.market.universe.kind[number] != ListingKind.OPTION:
                continue
            pair = self._pair(number)
            name = f"{pair.lower()}@optionTrade"
            if name in self.listened:
                self.send(name, self._trade(trade))

    def _publish_chains(self) -> None:
        """The marks of every pair, and the indexes."""
        for number, terms in enumerate(self._terms):
            name = f"{terms.currency.lower()}@optionMarkPrice"
            if name in self.listened:
                self.send(name, self._marks(number))
        if "!index@arr" in self.listened:
            self.send("!index@arr", [
                {"e": "indexPrice", "E": self.now_ms(), "s": terms.currency,
                 "p": f"{spot:.8f}"}
                for terms, spot in zip(self._terms, self.market.prices.spot.tolist(), strict=True)
            ])  # fmt: skip

    def _publish_open_interest(self) -> None:
        universe, flow = self.market.universe, self.market.flow
        for name in [n for n in self.listened if "@openInterest@" in n]:
            pair, _, tail = name.partition("@")
            day = tail.rpartition("@")[2]
            numbers = [
                n
                for n in self._live_options().tolist()
                if self._pair(n).lower() == pair and _day(universe.expiry_ns[n]) == day
            ]
            self.send(name, [
                {"e": "openInterest", "E": self.now_ms(), "s": universe.listings[n].symbol,
                 "o": f"{flow.open_interest[n]:.2f}", "h": "0"}
                for n in numbers
            ])  # fmt: skip

    def _live_options(self) -> Ids:
        live = self.market.state == ListingState.LIVE
        return np.flatnonzero(live & (self.market.universe.kind == ListingKind.OPTION))

    def _pair(self, number: int) -> str:
        return self._terms[int(self.market.universe.underlying[number])].currency

    def _marks(self, coin: int) -> list[dict[str, Any]]:
        universe, books = self.market.universe, self.market.books
        ids = self._live_options()
        ids = ids[universe.underlying[ids] == coin]
        rows = self.market.tickers(ids)
        prices = np.nan_to_num(books.prices(ids, books.ticks[ids, :, 0]))
        sizes = books.sizes(ids, books.lots[ids, :, 0])
        now_ms = self.now_ms()
        years = np.maximum(universe.expiry_ns[ids] - now_ms * NS_PER_MS, NS_PER_MS) / YEAR_NS
        rates = np.log(rows["forward"] / rows["index"]) / years
        return [
            {
                "s": universe.listings[n].symbol, "mp": f"{row['mark']:.4f}", "E": now_ms,
                "e": "markPrice", "i": f"{row['index']:.8f}", "P": "0.000",
                "bo": f"{price[BID]:.3f}", "ao": f"{price[ASK]:.3f}",
                "bq": f"{size[BID]:.2f}", "aq": f"{size[ASK]:.2f}",
                "b": _iv(row["iv_bid"]), "a": _iv(row["iv_ask"]), "hl": "0", "ll": "0",
                "vo": f"{row['iv_mark']:.4f}", "rf": f"{rate:.8f}",
                "d": f"{row['delta']:.8f}", "t": f"{row['theta']:.6f}",
                "g": f"{row['gamma']:.9f}", "v": f"{row['vega']:.8f}",
            }
            for n, row, rate, price, size in zip(
                ids.tolist(), rows, rates.tolist(), prices.tolist(), sizes.tolist(), strict=True
            )
        ]  # fmt: skip

    def _trade(self, trade: Trade) -> dict[str, Any]:
        price, size = print_of(self.market.books, trade)
        now_ms = self.now_ms(STEP_NS * 9 // 10)
        return {
            "e": "trade", "E": now_ms, "T": now_ms,
            "s": self.market.universe.listings[trade.listing].symbol, "t": trade.trade_seq,
            "p": f"{price:.3f}", "q": f"{size:.2f}",
            "X": "BLOCK" if trade.flags & Flag.BLOCK else "MARKET",
            "S": "BUY" if trade.side > 0 else "SELL", "m": trade.side < 0,
        }  # fmt: skip

    async def _exchange_info(self, _: web.Request) -> web.Response:
        """Every live option."""
        listings = [self.market.universe.listings[n] for n in self._live_options().tolist()]
        body = {
            "timezone": "UTC",
            "serverTime": self.now_ms(),
            "optionSymbols": [
                {
                    "symbol": x.symbol, "side": "CALL" if x.right == "C" else "PUT",
                    "underlying": f"{x.underlying}{x.price_ccy}", "quoteAsset": x.price_ccy,
                    "strikePrice": f"{(x.strike_e9 or 0) / E9:.3f}", "unit": 1,
                    "expiryDate": (x.expiry_ns or 0) // NS_PER_MS, "minQty": f"{x.lot:.2f}",
                    "filters": [{"filterType": "PRICE_FILTER", "tickSize": f"{x.tick:.2f}"}],
                    "status": "TRADING",
                }
                for x in listings
            ],
        }  # fmt: skip
        return web.Response(body=_encode(body), content_type="application/json")


def _day(expiry_ns: int) -> str:
    return f"{datetime.fromtimestamp(int(expiry_ns) // E9, UTC):%y%m%d}"


def _iv(value: float) -> str:
    """A fraction, -1.0 for none."""
    return "-1.0" if np.isnan(value) else f"{value:.8f}"
