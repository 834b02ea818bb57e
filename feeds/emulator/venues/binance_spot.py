"""Stage 1 of 8, simulated: a server that speaks the protocol of Binance's spot market.

GET /api/v3/exchangeInfo beside the requests of binance_sockets.py, on one path. Windows name
neither their pair nor a time; best prices have no time.
"""

from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from aiohttp import web

from feeds.contract import Listing
from feeds.emulator.flow import Trade
from feeds.emulator.ladders import Level, print_of
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.venues.binance_sockets import TOP_STREAMS, BinanceSockets
from feeds.events import ListingState

TRADES: Final = "trade"
_encode: Final = msgspec.json.Encoder().encode


class BinanceSpotServer(BinanceSockets):
    """The emulated spot market of Binance."""

    WS_PATHS: ClassVar[tuple[str, ...]] = ("/stream",)
    KIND_FIELD: ClassVar[str] = "status"
    SIZE_DECIMALS: ClassVar[int] = 8

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        self._numbers = {x.symbol.lower(): n for n, x in enumerate(market.universe.listings)}

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [web.get("/api/v3/exchangeInfo", self._exchange_info)]

    def exists(self, channel: str) -> bool:
        """Say whether a stream can be subscribed now."""
        name, _, tail = channel.partition("@")
        return name in self._numbers and (tail in TOP_STREAMS or tail == TRADES)

    def is_of_market(self, stream: str) -> bool:  # noqa: ARG002 - there is one path
        """Nothing is: there is one path."""
        return False

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        for trade in step.trades:
            name = f"{self.market.universe.listings[trade.listing].symbol.lower()}@{TRADES}"
            if name in self.listened:
                self.send(name, self._trade(trade))
        self.publish_books(step.touched, step)

    def depth(self, number: int, bids: list[Level], asks: list[Level]) -> dict[str, Any]:
        """A window."""
        return {
            "lastUpdateId": int(self.market.books.change_id[number]),
            "bids": self.texts(bids), "asks": self.texts(asks),
        }  # fmt: skip

    def ticker(self, number: int, bids: list[Level], asks: list[Level]) -> dict[str, Any]:
        """Best prices."""
        said = super().ticker(number, bids, asks)
        return {name: said[name] for name in ("u", "s", "b", "B", "a", "A")}

    def _trade(self, trade: Trade) -> dict[str, Any]:
        price, size = print_of(self.market.books, trade)
        now_ms = self.now_ms(STEP_NS * 9 // 10)
        return {
            "e": "trade", "E": now_ms, "s": self.market.universe.listings[trade.listing].symbol,
            "t": trade.trade_seq, "p": f"{price:.3f}", "q": f"{size:.8f}", "T": now_ms,
            "m": trade.side < 0, "M": True,
        }  # fmt: skip

    async def _exchange_info(self, _: web.Request) -> web.Response:
        """Every live pair, and one that is quoted in a coin."""
        universe = self.market.universe
        live = np.flatnonzero(self.market.state == ListingState.LIVE).tolist()
        symbols = [_symbol(universe.listings[n]) for n in live]
        in_coin = symbols[0] | {"symbol": "ETHBTC", "baseAsset": "ETH", "quoteAsset": "BTC"}
        body = {
            "timezone": "UTC", "serverTime": self.now_ms(), "rateLimits": [],
            "exchangeFilters": [], "symbols": [*symbols, in_coin],
        }  # fmt: skip
        return web.Response(body=_encode(body), content_type="application/json")


def _symbol(item: Listing) -> dict[str, Any]:
    return {
        "symbol": item.symbol, "status": "TRADING", "baseAsset": item.underlying,
        "quoteAsset": item.price_ccy, "isSpotTradingAllowed": True, "permissions": [],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0", "maxPrice": "0",
             "tickSize": f"{item.tick:.8f}"},
            {"filterType": "LOT_SIZE", "minQty": f"{item.lot:.8f}", "stepSize": f"{item.lot:.8f}"},
        ],
    }  # fmt: skip
