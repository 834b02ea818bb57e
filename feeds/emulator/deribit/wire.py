"""Stage 1 of 8, simulated: the market in Deribit's own messages.

Shapes follow recorded frames (feeds/venues/deribit reads the same ones). Oddities kept on purpose:
a side without orders is price 0.0, amount 0.0 and volatility 0.0; tickers carry volatilities in
percent, `markprice.options` in fractions; a deleted level has amount 0.0; times are milliseconds.
`min_price`, `max_price` and `stats` are placeholders of the right shape.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np

from feeds.contract import ListingKind
from feeds.emulator.books import ASK, BID, Block, Ids
from feeds.emulator.flow import Trade
from feeds.emulator.ladders import ladders, standing
from feeds.emulator.market import STEP_NS, Market, side_levels
from feeds.emulator.profiles import DERIBIT, Terms
from feeds.emulator.server import VenueServer
from feeds.events import Flag, ListingState

NS_PER_MS: Final = 1_000_000
_FRIDAY: Final = 4
PERPETUAL_EXPIRY_MS: Final = 32_503_708_800_000
# As in rows.py: trades of a step stand before the books at its end.
_TRADE_OFFSET_NS: Final = STEP_NS * 9 // 10
_BOOK_OFFSET_NS: Final = STEP_NS // 10
# The venue's words for its books since 2026-01-13 (docs.deribit.com, book state).
STATE_WORDS: Final = {
    ListingState.LISTED: "inactive",
    ListingState.LIVE: "open",
    ListingState.HALTED: "halted",
    ListingState.EXPIRED: "delivered",
}

# The venue's kinds; a perpetual is a future.
KINDS_OF: Final = {
    ListingKind.OPTION: "option", ListingKind.PERP: "future", ListingKind.SPOT: "spot",
}  # fmt: skip

Fields = dict[str, Any]
Level = tuple[str, float, float]

_encode: Final = msgspec.json.Encoder().encode


def frame(channel: str, content: Any) -> bytes:
    """One subscription notification, keys in the venue's order."""
    head = f'{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":'
    return head.encode() + _encode(content) + b"}}"


class Wire:
    """Builds messages from the market as it stands."""

    def __init__(self, market: Market, server: VenueServer) -> None:
        """Take the market, whose universe is fixed, and the server, which may shift times."""
        self.market = market
        self._server = server
        self.symbols = [listing.symbol for listing in market.universe.listings]
        self._specs: list[Terms] = [DERIBIT.terms[u] for u in market.universe.underlying.tolist()]

    def time_ms(self, before_ns: int = 0) -> int:
        """Venue time of something that happened `before_ns` ago."""
        return (self.market.now_ns - before_ns) // NS_PER_MS + self._server.skew_ms

    def spec(self, listing: int) -> Terms:
        """Underlying of a listing."""
        return self._specs[listing]

    def currencies(self, listing: int) -> tuple[str, ...]:
        """Currencies that an instrument is filed under: of a spot both, which is a guess."""
        item = self.market.universe.listings[listing]
        if item.kind == ListingKind.SPOT:
            return (item.underlying, item.price_ccy)
        return (self._specs[listing].currency,)

    def is_routed(self, listing: int) -> bool:
        """Whether a spot is matched on another exchange, whose prints the venue has not."""
        item = self.market.universe.listings[listing]
        return item.kind == ListingKind.SPOT and item.price_ccy == "USDC"

    def instrument(self, listing: int) -> Fields:
        """One entry of get_instruments."""
        universe, spec = self.market.universe, self._specs[listing]
        item = universe.listings[listing]
        if item.kind == ListingKind.SPOT:
            return self._spot(listing)
        option = item.kind == ListingKind.OPTION
        kind = "linear" if spec.linear else "reversed"
        state = ListingState(int(self.market.state[listing]))
        fields: Fields = {
            "price_index": spec.index,
            "kind": "option" if option else "future",
            "instrument_name": item.symbol,
            "maker_commission": 0.0003 if option else 0.0,
            "taker_commission": 0.0003 if option else 0.0005,
            "instrument_type": kind,
            "expiration_timestamp": PERPETUAL_EXPIRY_MS,
            "creation_timestamp": universe.start_ns // NS_PER_MS - 86_400_000,
            "is_active": state == ListingState.LIVE,
            "state": STATE_WORDS[state],
            "tick_size": item.tick,
            "tick_size_steps": [
                {"above_price": above, "tick_size": tick} for above, tick in item.tick_table
            ],
            "contract_size": item.lot if not option else 1.0,
            "instrument_id": 100_000 + listing,
            "min_trade_amount": item.lot,
            "settlement_currency": spec.currency,
            "settlement_period": "perpetual",
            "base_currency": item.underlying,
            "counter_currency": "USDC" if spec.linear else "USD",
            "quote_currency": item.price_ccy,
        }
        if item.expiry_ns is None:
            fields["future_type"] = kind
            return fields
        fields["expiration_timestamp"] = item.expiry_ns // NS_PER_MS
        fields["settlement_period"] = _period(item.expiry_ns)
        fields["option_type"] = "call" if item.right == "C" else "put"
        fields["strike"] = float(universe.strike[listing])
        return fields

    def _spot(self, listing: int) -> Fields:
        """An entry of get_instruments that neither expires nor settles."""
        item = self.market.universe.listings[listing]
        state = ListingState(int(self.market.state[listing]))
        fields: Fields = {
            "price_index": item.symbol.lower(),
            "kind": "spot",
            "instrument_name": item.symbol,
            "maker_commission": 0.0,
            "taker_commission": 0.0005,
            "creation_timestamp": self.market.universe.start_ns // NS_PER_MS - 86_400_000,
            "is_active": state == ListingState.LIVE,
            "state": STATE_WORDS[state],
            "tick_size": item.tick,
            "tick_size_steps": [],
            "contract_size": item.lot,
            "instrument_id": 100_000 + listing,
            "min_trade_amount": item.lot,
            "base_currency": item.underlying,
            "counter_currency": item.price_ccy,
            "quote_currency": item.price_ccy,
        }
        return fields | ({"is_cbe_routed": True, "is_csr": True} if self.is_routed(listing) else {})

    def snapshot(self, listing: int) -> Fields:
        """First frame of book.{i}.100ms."""
        return {
            "type": "snapshot",
            "timestamp": self.time_ms(_BOOK_OFFSET_NS),
            "instrument_name": self.symbols[listing],
            "change_id": int(self.market.books.change_id[listing]),
            "bids": [("new", *level) for level in side_levels(self.market.books, listing, BID)],
            "asks": [("new", *level) for level in side_levels(self.market.books, listing, ASK)],
        }

    def changes(self, ids: Ids, old_ticks: Block, old_lots: Block) -> list[list[list[Level]]]:
        """Levels of each listing that differ from an older book, [listing][side]."""
        books = self.market.books
        old, new = ladders(books, ids, old_ticks, old_lots), standing(books, ids)
        return [
            [_difference(dict(before[side]), dict(after[side])) for side in (BID, ASK)]
            for before, after in zip(old, new, strict=True)
        ]

    def change(
        self, listing: int, sides: Sequence[Sequence[Level]], previous_id: int, change_id: int
    ) -> Fields:
        """A later frame of book.{i}.100ms."""
        return {
            "type": "change",
            "timestamp": self.time_ms(_BOOK_OFFSET_NS),
            "prev_change_id": previous_id,
            "instrument_name": self.symbols[listing],
            "change_id": change_id,
            "bids": sides[BID],
            "asks": sides[ASK],
        }

    def window(self, listing: int, depth: int) -> Fields:
        """Any frame of book.{i}.none.{depth}.100ms."""
        books = self.market.books
        return {
            "timestamp": self.time_ms(_BOOK_OFFSET_NS),
            "instrument_name": self.symbols[listing],
            "change_id": int(books.change_id[listing]),
            "bids": side_levels(books, listing, BID)[:depth],
            "asks": side_levels(books, listing, ASK)[:depth],
        }

    def quote(self, listing: int) -> Fields:
        """Any frame of quote.{i}."""
        return {
            "timestamp": self.time_ms(_BOOK_OFFSET_NS),
            "instrument_name": self.symbols[listing],
            **self.bests(np.array([listing]))[0],
        }

    def tickers(self, ids: Ids) -> list[Fields]:
        """ticker.{i}.100ms of listings, in their order."""
        rows = self.market.tickers(ids)
        names = rows.dtype.names or ()
        columns = [rows[name].tolist() for name in names]
        return [
            self._ticker(listing, dict(zip(names, values, strict=True))) | best
            for listing, best, *values in zip(ids.tolist(), self.bests(ids), *columns, strict=True)
        ]

    def order_book(self, listing: int, depth: int) -> Fields:
        """Result of get_order_book: the ticker and the book."""
        ticker = self.tickers(np.array([listing], np.int64))[0]
        window = self.window(listing, depth)
        return ticker | {name: window[name] for name in ("change_id", "bids", "asks")}

    def summary(self, listing: int, ticker: Fields) -> Fields:
        """One entry of get_book_summary_by_currency."""
        bid, ask = ticker["best_bid_price"] or None, ticker["best_ask_price"] or None
        fields = {
            "volume": ticker["stats"]["volume"],
            "quote_currency": self.market.universe.listings[listing].price_ccy,
            "price_change": None,
            "open_interest": ticker.get("open_interest"),
            "mid_price": None if bid is None or ask is None else (bid + ask) / 2.0,
            "mark_price": ticker["mark_price"],
            "low": None,
            "last": ticker["last_price"],
            "instrument_name": self.symbols[listing],
            "high": None,
            "estimated_delivery_price": ticker.get("estimated_delivery_price"),
            "creation_timestamp": self.time_ms(),
            "bid_price": bid,
            "base_currency": self.market.universe.listings[listing].underlying,
            "ask_price": ask,
        }
        if "underlying_price" in ticker:
            fields |= {
                name: ticker[name]
                for name in ("underlying_price", "underlying_index", "interest_rate")
            }
        return fields

    def trades(self, trades: Iterable[Trade]) -> list[Fields]:
        """Entries of a trades channel, in order."""
        return [self._trade(trade) for trade in trades]

    def marks(self, index: str) -> list[Fields]:
        """markprice.options.{index}: every live option of an index."""
        universe = self.market.universe
        live = (self.market.state == ListingState.LIVE) & (universe.kind == ListingKind.OPTION)
        number = [spec.index for spec in DERIBIT.terms].index(index)
        ids = np.flatnonzero(live & (universe.underlying == number))
        marks, _, _ = self.market.prices.fair(ids, np.zeros(len(ids)))
        ivs = self.market.prices.iv(ids)
        now_ms = self.time_ms()
        return [
            {
                "timestamp": now_ms,
                "mark_price": round(mark, 8),
                "iv": round(iv, 4),
                "instrument_name": self.symbols[listing],
            }
            for listing, mark, iv in zip(ids.tolist(), marks.tolist(), ivs.tolist(), strict=True)
        ]

    def price_index(self, index: str) -> Fields:
        """Any frame of deribit_price_index.{index}."""
        return {
            "timestamp": self.time_ms(),
            "price": self.index_price(index),
            "index_name": index,
        }

    def index_price(self, index: str) -> float:
        """Index as published, 4 decimals."""
        number = [spec.index for spec in DERIBIT.terms].index(index)
        return round(float(self.market.prices.spot[number]), 4)

    def state(self, listing: int, word: str) -> Fields:
        """A frame of instrument.state.{kind}.{currency}."""
        return {
            "timestamp": self.time_ms(),
            "state": word,
            "instrument_name": self.symbols[listing],
        }

    def bests(self, ids: Ids) -> list[Fields]:
        """Best prices and amounts of listings, 0.0 where a side is empty."""
        books = self.market.books
        prices = np.nan_to_num(books.prices(ids, books.ticks[ids, :, 0])).tolist()
        sizes = books.sizes(ids, books.lots[ids, :, 0]).tolist()
        return [
            {
                "best_bid_price": price[BID],
                "best_bid_amount": size[BID],
                "best_ask_price": price[ASK],
                "best_ask_amount": size[ASK],
            }
            for price, size in zip(prices, sizes, strict=True)
        ]

    def _ticker(self, listing: int, row: Fields) -> Fields:
        """One ticker from its row."""
        index = round(row["index"], 4)
        mark = row["mark"]
        fields: Fields = {
            "timestamp": self.time_ms(),
            "stats": {
                "volume": round(float(self.market.flow.volume[listing]), 4),
                "price_change": None,
                "low": None,
                "high": None,
            },
            "state": STATE_WORDS[ListingState(int(self.market.state[listing]))],
            "open_interest": row["open_interest"],
            "min_price": round(0.2 * mark, 4),
            "max_price": round(3.0 * mark + 0.01, 4),
            "mark_price": round(mark, 8),
            "last_price": self._last_price(listing),
            "instrument_name": self.symbols[listing],
            "index_price": index,
            "estimated_delivery_price": index,
        }
        if self.market.universe.kind[listing] == ListingKind.OPTION:
            return fields | self._option_part(listing, row)
        if self.market.universe.kind[listing] == ListingKind.SPOT:
            del fields["open_interest"], fields["estimated_delivery_price"]
            return fields
        return fields | {"funding_8h": 0.0, "current_funding": 0.0, "interest_value": 0.0}

    def _option_part(self, listing: int, row: Fields) -> Fields:
        """What only an option's ticker has."""
        universe = self.market.universe
        forward, expiry = row["forward"], self.symbols[listing].rsplit("-", 2)[0]
        years = float(self.market.prices.years[universe.slice[listing]])
        premium = row["mark"] * (forward if universe.inverse[listing] else 1.0)
        return {
            "underlying_price": round(forward, 4),
            "underlying_index": expiry,
            "interest_rate": 0.0,
            "mark_iv": round(100.0 * row["iv_mark"], 2),
            "bid_iv": _percent(row["iv_bid"]),
            "ask_iv": _percent(row["iv_ask"]),
            "greeks": {
                "vega": round(row["vega"], 5),
                "theta": round(row["theta"], 5),
                "rho": round((row["delta"] * forward - premium) * years * 0.01, 5),
                "gamma": round(row["gamma"], 5),
                "delta": round(row["delta"], 5),
            },
        }

    def _last_price(self, listing: int) -> float | None:
        """Price of the last trade, None before the first."""
        tick = int(self.market.flow.last_tick[listing])
        return self._price(listing, tick) if tick > 0 else None

    def _price(self, listing: int, tick: int) -> float:
        """Native price of one tick number."""
        ids, ticks = np.array([listing]), np.array([tick], np.int32)
        return float(self.market.books.prices(ids, ticks)[0])

    def _trade(self, trade: Trade) -> Fields:
        """One entry of a trades channel."""
        listing, spec = trade.listing, self._specs[trade.listing]
        ids, lots = np.array([listing]), np.array([trade.lots], np.int32)
        price = self._price(listing, trade.tick)
        prefix = "" if spec.currency == "BTC" else f"{spec.currency}-"
        if self.market.universe.kind[listing] == ListingKind.SPOT:
            prefix = f"{self.symbols[listing]}-"
        fields: Fields = {
            "trade_seq": trade.trade_seq,
            "trade_id": f"{prefix}{trade.trade_id}",
            "timestamp": self.time_ms(_TRADE_OFFSET_NS),
            "tick_direction": 0 if trade.side > 0 else 2,
            "price": price,
            "instrument_name": self.symbols[listing],
            "index_price": self.index_price(spec.index),
            "direction": "buy" if trade.side > 0 else "sell",
            "amount": float(self.market.books.sizes(ids, lots)[0]),
        }
        if self.market.universe.kind[listing] == ListingKind.OPTION:
            mark, _, _ = self.market.prices.fair(ids, np.zeros(1))
            fields["mark_price"] = round(float(mark[0]), 8)
            fields["iv"] = _percent(self.market.best_iv(listing, price))
        else:
            fields["mark_price"] = round(float(self.market.prices.spot[
                self.market.universe.underlying[listing]]), 4)  # fmt: skip
        if trade.flags & Flag.BLOCK:
            fields |= {"block_trade_id": f"BLOCK-{trade.trade_id}", "block_trade_leg_count": 1}
        return fields


def _period(expiry_ns: int) -> str:
    """Settlement period of an expiry: month for the last Friday of one, other Fridays week."""
    when = datetime.fromtimestamp(expiry_ns // (1000 * NS_PER_MS), UTC)
    if when.weekday() != _FRIDAY:
        return "day"
    return "week" if (when + timedelta(days=7)).month == when.month else "month"


def _percent(iv: float) -> float:
    """Volatility as tickers write it; 0.0 where there is none."""
    return 0.0 if math.isnan(iv) else round(100.0 * iv, 2)


def _difference(old: dict[float, float], new: dict[float, float]) -> list[Level]:
    """Actions that turn one side into another."""
    levels: list[Level] = [("delete", price, 0.0) for price in old if price not in new]
    for price, size in new.items():
        before = old.get(price)
        if before is None:
            levels.append(("new", price, size))
        elif before != size:
            levels.append(("change", price, size))
    return levels
