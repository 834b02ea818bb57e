"""Stage 1 of 8, simulated: who trades what, and how much of the book it takes.

Orders arrive by a self-exciting (Hawkes) process of each listing and sign: total rates have a mean
of 25, 4, 0.5, 0.05 an hour by activity class, 3,000 for perpetuals, 60 for futures and spot,
times a lognormal factor (deviation 1.0) between options, so most contracts trade less than once an
hour. A trade raises the rate of its own sign (branching 0.65) and of the other (0.05), fading with
a half-life of 3 s.
The factors are habits (market.py), all else is of the seed.
Sizes are lognormal (deviation 1.2, median a quarter of the class's median level). An order takes
up to three levels, best first; the rest is cancelled. Each trade moves the listing's volatility
pressure by a twentieth of its class's half-spread (makers.py) in the direction of the trade.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import ListingKind
from feeds.emulator.books import ASK, BID, Books
from feeds.emulator.draws import Draws
from feeds.emulator.makers import PERP_CLASS, Makers
from feeds.emulator.pricing import Floats
from feeds.emulator.universe import Universe
from feeds.events import Flag

_PER_HOUR: Final = np.array([25.0, 4.0, 0.5, 0.05, 3000.0])
_QUIETER_SHARE: Final = 0.02  # of a perpetual's rate, for what is none and has its makers
_RATE_DEVIATION: Final = 1.0
_BRANCH_SAME, _BRANCH_OTHER = 0.65, 0.05
_EXCITED_HALF_LIFE_S: Final = 3.0
_SIZE_DEVIATION: Final = 1.2
_SIZE_SHARE: Final = 0.25
_LEVELS_TAKEN: Final = 3
_IMPACT_IV: Final = np.array([1.1e-4, 3e-4, 8e-4, 2e-3, 0.0])
_OPEN_INTEREST_LOTS: Final = np.array([3000.0, 1500.0, 400.0, 80.0, 1e7])
_FIRST_TRADE_ID: Final = 10_000_000
BUY, SELL = 0, 1


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill. side: +1 buy aggressor, -1 sell aggressor. tick, lots: as in books.py."""

    listing: int
    tick: int
    lots: int
    side: int
    trade_seq: int
    trade_id: int
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """An aggressive order: listing, sign (+1 buys) and lots; a block does not touch the book."""

    listing: int
    side: int
    lots: int
    block: bool = False


class Flow:
    """Draws orders and executes them.

    extra: float64[sign, listing], orders a second added by planted events. open_interest:
    float64[listing], native size.
    """

    def __init__(
        self,
        universe: Universe,
        books: Books,
        makers: Makers,
        draws: Draws,
        dt_s: float,
        habits: Draws,
    ) -> None:
        """Draw rates; the excitation starts at its mean."""
        self._books, self._makers, self._draws, self._dt_s = books, makers, draws, dt_s
        self._lot_size = universe.lot_size
        count = len(universe.listings)
        every = np.arange(count)
        self._parts = [
            (generator, every[draws.is_spot == apart])
            for generator, apart in ((draws.main, False), (draws.spots, True))
        ]
        group = makers.group
        normal = habits.of(every, lambda rng, ids: rng.standard_normal(len(ids)))
        factor = np.exp(_RATE_DEVIATION * normal - 0.5 * _RATE_DEVIATION**2)
        factor[group == PERP_CLASS] = 1.0
        quieter = np.isin(universe.kind, (ListingKind.FUTURE, ListingKind.SPOT))
        factor[quieter] = _QUIETER_SHARE
        # A hidden spare has a rate too; its orders find no book until it is listed.
        has_book = universe.kind != ListingKind.INDEX
        rate = np.where(has_book, _PER_HOUR[group] / 3600.0 * factor, 0.0)
        self._decay = 2.0 ** (-dt_s / _EXCITED_HALF_LIFE_S)
        # Each trade adds mass whose integral is the branching ratio.
        per_trade = float(np.log(2.0)) / _EXCITED_HALF_LIFE_S
        self._same, self._other = _BRANCH_SAME * per_trade, _BRANCH_OTHER * per_trade
        branching = _BRANCH_SAME + _BRANCH_OTHER
        self._base: Floats = 0.5 * rate * (1.0 - branching) * np.ones((2, 1))
        self._excited: Floats = 0.5 * rate * branching * np.ones((2, 1))
        self.mean_rate: Floats = rate
        self.extra: Floats = np.zeros((2, count))
        spread = np.exp(draws.of(every, lambda rng, ids: rng.standard_normal(len(ids))))
        # Rounded as a venue prints it: 2172 lots of 0.1 are 217.2, and not 217.20000000000002.
        self.open_interest: Floats = np.round(
            np.round(_OPEN_INTEREST_LOTS[group] * spread) * universe.lot_size, 9
        )
        self.last_tick = np.zeros(count, np.int64)
        self.volume = np.zeros(count)
        self._trade_seq = np.zeros(count, np.int64)
        self._trade_ids = [_FIRST_TRADE_ID, _FIRST_TRADE_ID]  # of the others, of spots

    def draw(self) -> list[Order]:
        """Orders of this step, in random order of arrival, in spots last; fades the excitation."""
        self._excited *= self._decay
        rates = self._base + self._excited + self.extra
        return [
            order
            for rng, ids in self._parts
            if len(ids)
            for order in self._arrivals(rng, ids, rates[:, ids].ravel())
        ]

    def _arrivals(
        self, rng: np.random.Generator, ids: NDArray[np.int64], rates: Floats
    ) -> list[Order]:
        """Orders of some listings; rates: float64[sign x listing], buys first."""
        number = int(rng.poisson(float(rates.sum()) * self._dt_s))
        if number == 0:
            return []
        ladder = np.cumsum(rates)
        picks = np.searchsorted(ladder, rng.random(number) * ladder[-1], side="right")
        count = len(ids)
        return [
            self._order(rng, int(ids[pick % count]), 1 if pick < count else -1)
            for pick in np.minimum(picks, 2 * count - 1).tolist()
        ]

    def execute(self, order: Order) -> list[Trade]:
        """Fill an order against the standing book; empty where the side shows nothing."""
        listing = order.listing
        if order.block:
            tick = self._middle_tick(listing)
            fills = [(tick, order.lots)] if tick > 0 else []
        else:
            side = ASK if order.side > 0 else BID
            fills = self._books.take(listing, side, order.lots, _LEVELS_TAKEN)
        flags = int(Flag.BLOCK) if order.block else 0
        trades = [self._trade(order, tick, lots, flags) for tick, lots in fills]
        if trades and not order.block:
            self._excite(listing, order.side)
        return trades

    def stop(self, ids: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> None:
        """No more orders for expired listings."""
        for rates in (self._base, self._excited, self.extra):
            rates[:, ids] = 0.0

    def median_trade_lots(self, listing: int) -> float:
        """Median order of a listing, lots."""
        return max(1.0, _SIZE_SHARE * float(self._makers.median_lots[listing]))

    def _order(self, rng: np.random.Generator, listing: int, side: int) -> Order:
        """Draw the size of one order."""
        spread = float(np.exp(_SIZE_DEVIATION * rng.standard_normal()))
        return Order(listing, side, max(1, round(self.median_trade_lots(listing) * spread)))

    def _trade(self, order: Order, tick: int, lots: int, flags: int) -> Trade:
        """Number a fill and book its open interest."""
        listing = order.listing
        of = int(self._draws.is_spot[listing])
        self._trade_ids[of] += 1
        self._trade_seq[listing] += 1
        self.last_tick[listing] = tick
        size = lots * float(self._lot_size[listing])
        self.volume[listing] += size
        # Opens, closes or changes hands: one third each.
        opened = size * float(self._draws.generator(listing).integers(-1, 2))
        self.open_interest[listing] = max(0.0, round(self.open_interest[listing] + opened, 9))
        seq = int(self._trade_seq[listing])
        return Trade(listing, tick, lots, order.side, seq, self._trade_ids[of], flags)

    def _excite(self, listing: int, side: int) -> None:
        """Raise the rates after a trade and press on the listing's volatility."""
        own, other = (BUY, SELL) if side > 0 else (SELL, BUY)
        self._excited[own, listing] += self._same
        self._excited[other, listing] += self._other
        self._makers.iv_shift[listing] += side * _IMPACT_IV[self._makers.group[listing]]

    def _middle_tick(self, listing: int) -> int:
        """Tick between the best prices, or the one best price there is; 0 for an empty book."""
        best = [int(t) for t in self._books.ticks[listing, :, 0] if t > 0]
        return sum(best) // len(best) if best else 0
