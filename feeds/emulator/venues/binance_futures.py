"""Stage 1 of 8, simulated: a server that speaks the protocol of Binance's USD-M futures.

GET /fapi/v1/exchangeInfo beside the sockets of binance_sockets.py. Each fill is a print of its own,
where the venue gathers those of 100 ms with one price and one aggressor. Beside the market's own
listings it names a perpetual on a share and one of the inverse family, which the scanner leaves
out.
"""

from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from aiohttp import web

from feeds.contract import Listing, ListingKind
from feeds.emulator.flow import Trade
from feeds.emulator.ladders import print_of
from feeds.emulator.market import STEP_NS, Market, Step
from feeds.emulator.venues.binance_sockets import (
    NS_PER_MS,
    SECOND_STEPS,
    TOP_STREAMS,
    BinanceSockets,
)
from feeds.events import ListingState

NEVER_MS: Final = 4_133_404_800_000  # what the venue says of a perpetual's delivery: 2100-12-25
FUNDING_MS: Final = 8 * 3_600_000
MARK: Final = "markPrice@1s"
TRADES: Final = "aggTrade"
CONTRACTS: Final = "!contractInfo"
QUARTERS: Final = ("CURRENT_QUARTER", "NEXT_QUARTER")
STATUS: Final = {ListingState.LIVE: "TRADING", ListingState.EXPIRED: "DELIVERED"}
_encode: Final = msgspec.json.Encoder().encode


class BinanceFuturesServer(BinanceSockets):
    """The emulated perpetuals and delivery futures of Binance."""

    KIND_FIELD: ClassVar[str] = "contractType"
    SIZE_DECIMALS: ClassVar[int] = 3

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        self._numbers = {
            x.symbol.lower(): n
            for n, x in enumerate(market.universe.listings)
            if x.kind != ListingKind.INDEX
        }

    def routes(self) -> list[web.RouteDef]:
        """Discovery."""
        return [web.get("/fapi/v1/exchangeInfo", self._exchange_info)]

    def exists(self, channel: str) -> bool:
        """Say whether a stream can be subscribed now."""
        name, _, tail = channel.partition("@")
        number = self._numbers.get(name, -1)
        if number < 0:
            return channel == CONTRACTS
        alive = self.market.state[number] == ListingState.LIVE
        return bool(alive) and (tail in TOP_STREAMS or tail in (MARK, TRADES))

    def is_of_market(self, stream: str) -> bool:
        """All but books and best prices."""
        return stream.partition("@")[2] not in TOP_STREAMS

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        for number, state in step.states:
            self.send(CONTRACTS, self._contract(self.market.universe.listings[number], state))
        self._publish_trades(step)
        self.publish_books(step.touched, step)
        if step.index % SECOND_STEPS == 0:
            for stem, number in self._numbers.items():
                if f"{stem}@{MARK}" in self.listened:
                    self.send(f"{stem}@{MARK}", self._mark(number))

    def _publish_trades(self, step: Step) -> None:
        for trade in step.trades:
            name = f"{self.market.universe.listings[trade.listing].symbol.lower()}@{TRADES}"
            if name in self.listened:
                self.send(name, self._aggregate(trade))

    def _aggregate(self, trade: Trade) -> dict[str, Any]:
        price, size = print_of(self.market.books, trade)
        return {
            "e": "aggTrade", "E": self.now_ms(), "a": trade.trade_seq,
            "s": self.market.universe.listings[trade.listing].symbol,
            "p": f"{price:.3f}", "q": f"{size:.3f}", "nq": f"{size:.3f}",
            "f": trade.trade_seq, "l": trade.trade_seq,
            "T": self.now_ms(STEP_NS * 9 // 10), "m": trade.side < 0,
        }  # fmt: skip

    def _mark(self, number: int) -> dict[str, Any]:
        """Mark and index; a future has neither a rate of funding nor a time of it."""
        universe = self.market.universe
        row = self.market.tickers(np.array([number], np.int64))[0]
        perpetual = universe.kind[number] == ListingKind.PERP
        now_ms = self.now_ms()
        return {
            "e": "markPriceUpdate", "E": now_ms, "s": universe.listings[number].symbol,
            "p": f"{row['mark']:.8f}", "ap": f"{row['mark']:.8f}", "P": f"{row['mark']:.8f}",
            "i": f"{row['index']:.8f}", "r": "0.00010000" if perpetual else "",
            "T": now_ms - now_ms % FUNDING_MS + FUNDING_MS if perpetual else 0,
        }  # fmt: skip

    def _contract(self, item: Listing, state: ListingState) -> dict[str, Any]:
        return {
            "e": "contractInfo", "E": self.now_ms(), "s": item.symbol, "ps": _pair(item),
            "ct": _contract_type(item, 0), "dt": _delivery_ms(item), "ot": 0,
            "cs": STATUS[state], "st": 1,
        }  # fmt: skip

    async def _exchange_info(self, _: web.Request) -> web.Response:
        """Every live listing, and others."""
        universe = self.market.universe
        live = np.flatnonzero(self.market.state == ListingState.LIVE).tolist()
        listed = [universe.listings[n] for n in live if universe.kind[n] != ListingKind.INDEX]
        place: dict[str, int] = {}  # how many futures of a pair there were
        symbols = []
        for item in sorted(listed, key=lambda item: item.expiry_ns or 0):
            nth = place[_pair(item)] = place.get(_pair(item), -1) + (item.expiry_ns is not None)
            symbols.append(_symbol(item, _contract_type(item, nth)))
        share = symbols[0] | {"symbol": "TSLAUSDT", "pair": "TSLAUSDT", "baseAsset": "TSLA",
                              "contractType": "TRADIFI_PERPETUAL"}  # fmt: skip
        inverse = symbols[0] | {"symbol": "BTCUSD_PERP", "pair": "BTCUSD", "quoteAsset": "USD",
                                "marginAsset": "BTC"}  # fmt: skip
        body = {
            "timezone": "UTC", "serverTime": self.now_ms(), "futuresType": "U_MARGINED",
            "rateLimits": [], "exchangeFilters": [], "assets": [],
            "symbols": [*symbols, share, inverse],
        }  # fmt: skip
        return web.Response(body=_encode(body), content_type="application/json")


def _pair(item: Listing) -> str:
    return f"{item.underlying}{item.price_ccy}"


def _contract_type(item: Listing, nth: int) -> str:
    return "PERPETUAL" if item.expiry_ns is None else QUARTERS[min(nth, 1)]


def _delivery_ms(item: Listing) -> int:
    return NEVER_MS if item.expiry_ns is None else item.expiry_ns // NS_PER_MS


def _symbol(item: Listing, contract_type: str) -> dict[str, Any]:
    return {
        "symbol": item.symbol, "pair": _pair(item), "contractType": contract_type,
        "deliveryDate": _delivery_ms(item), "onboardDate": 0, "status": "TRADING",
        "baseAsset": item.underlying, "quoteAsset": item.price_ccy, "marginAsset": item.price_ccy,
        "underlyingType": "COIN",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0", "maxPrice": "0",
             "tickSize": f"{item.tick:g}"},
            {"filterType": "LOT_SIZE", "stepSize": f"{item.lot:g}", "minQty": f"{item.lot:g}"},
        ],
    }  # fmt: skip
