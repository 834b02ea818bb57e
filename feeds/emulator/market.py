"""Stage 1 of 8, simulated: the market as a stepper; one step is 100 ms of simulated time.

`Market.step` moves prices, lets orders trade against the standing books and the makers requote
behind them, and says what changed. It asks no clock and opens nothing: the server (server.py) and
the rows path (rows.py) drive the same market, so equal seeds and start times give equal markets on
both. Every random number comes from generators seeded with (seed, purpose) or, for the habits of a
listing's makers and traders, with (habits, purpose); a client cannot change the market, only
planted events, lifecycle calls and faults can. Spots draw from generators of their own (draws.py),
so that a market without them has the same options.

Habits are the same for every seed unless asked for, as the universe is: a listing is then as wide,
deep and busy under one seed as under another, and baselines learned under one hold under another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import ListingKind
from feeds.emulator.books import Block, Books, Ids
from feeds.emulator.draws import Draws
from feeds.emulator.flow import Flow, Trade
from feeds.emulator.makers import Makers
from feeds.emulator.planted import Plant, Planter
from feeds.emulator.prices import LatePrices, Prices, Smiles
from feeds.emulator.pricing import Floats, greeks, implied_volatility
from feeds.emulator.profiles import DERIBIT, Profile
from feeds.emulator.universe import Universe, build_universe
from feeds.errors import SymbolError
from feeds.events import TICKER, ListingState, TickerRows

STEP_NS: Final = 100_000_000
STEP_S: Final = STEP_NS * 1e-9
HABITS: Final = 1
# Seconds between the tickers of one listing are these, by activity class and for perpetuals, spots.
_TICKER_STEPS: Final = np.array([10, 10, 20, 40, 10])
_TICKER_CYCLE: Final = 40
_PURPOSE_OF_SPOTS: Final = 4  # beyond that of the others, for a generator's seed
_PRESSURE_STEPS: Final = 10
_PRESSURE_FADE: Final = 2.0 ** (-_PRESSURE_STEPS * STEP_S / 300.0)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step changed.

    touched: listing ids whose books changed, ascending; old_ticks, old_lots: their books before
    the step (copies); previous_change_id: theirs before the step. tickers: listings whose ticker
    is due. states: listings that were listed or expired. now_ns: end of the step.
    """

    index: int
    now_ns: int
    touched: Ids
    old_ticks: Block
    old_lots: Block
    previous_change_id: Ids
    trades: tuple[Trade, ...]
    tickers: Ids
    states: tuple[tuple[int, ListingState], ...]


class Market:
    """One simulated venue: universe, prices, books, makers, flow and planted events."""

    def __init__(
        self,
        seed: int,
        start_ns: int,
        options: int = 1_000,
        plants: Sequence[Plant] = (),
        habits: int = HABITS,
        profile: Profile = DERIBIT,
        *,
        spots: bool = True,
    ) -> None:
        """Open the market at start_ns, cut to a whole step.

        Prices are drawn from the seed alone: all venues of a seed share their path. What makers
        and traders do is drawn for each venue. Without `spots` it lists none.

        Raises:
            SymbolError: a plant has an unknown target.
        """
        self.now_ns = start_ns - start_ns % STEP_NS
        self.index = 0
        self.universe: Universe = build_universe(self.now_ns, options, profile, spots=spots)
        own = () if profile is DERIBIT else tuple(profile.venue.encode())
        is_spot = self.universe.is_beside

        def draws(root: int, purpose: int) -> Draws:
            of_spots = purpose + _PURPOSE_OF_SPOTS
            main, apart = (np.random.default_rng([root, n, *own]) for n in (purpose, of_spots))
            return Draws(main, apart, is_spot)

        self.prices = Prices(self.universe, np.random.default_rng([seed, 0]), STEP_S)
        self._late = LatePrices(self.prices, profile.lag_steps) if profile.lag_steps else None
        seen: Smiles = self.prices if self._late is None else self._late
        self.books = Books(self.universe)
        self.makers = Makers(self.universe, seen, self.books, draws(seed, 1), draws(habits, 3))
        self.flow = Flow(
            self.universe, self.books, self.makers, draws(seed, 2), STEP_S, draws(habits, 4)
        )
        self.planter = Planter(self.universe, self.books, self.makers, self.flow)
        self.state: NDArray[np.int8] = np.full(
            len(self.universe.listings), ListingState.LIVE, np.int8
        )
        self.state[self.universe.public :] = ListingState.LISTED
        self._tick_due = self._ticker_schedule()
        self._to_list: list[int] = []
        self._to_expire: list[int] = []
        self._next_expiry_ns = self.universe.expiries_ns[0]
        self.makers.open_market(self.now_ns)
        self.books.number_anew()
        for plant in plants:
            self.planter.add(plant)

    def step(self) -> Step:
        """Move the market by STEP_NS and say what changed."""
        self.index += 1
        self.now_ns += STEP_NS
        now_ns = self.now_ns
        self.prices.step(now_ns)
        if self._late is not None:
            self._late.follow()
        if self.index % _PRESSURE_STEPS == 0:
            self.makers.decay_pressure(_PRESSURE_FADE)
        states = self._lifecycle()
        orders = self.planter.step(now_ns) + self.flow.draw()
        due = self.makers.due(now_ns)
        involved = self._involved(due, [o.listing for o in orders], [i for i, _ in states])
        old_ticks, old_lots = self.books.ticks[involved], self.books.lots[involved]
        self.books.clear(np.array([i for i, s in states if s == ListingState.EXPIRED], np.int64))
        trades = tuple(trade for order in orders for trade in self.flow.execute(order))
        if trades:
            self.makers.hurry(np.unique([trade.listing for trade in trades]), now_ns)
        self.makers.wake(due, now_ns)
        return self._changes(involved, old_ticks, old_lots, trades, states)

    def run_until(self, until_ns: int) -> list[Step]:
        """Steps up to the last one that ends at or before until_ns."""
        steps = []
        while self.now_ns + STEP_NS <= until_ns:
            steps.append(self.step())
        return steps

    def list_spare(self) -> str:
        """List a hidden instrument at the next step and name it.

        Raises:
            SymbolError: no spare instrument is left.
        """
        for number in range(self.universe.public, len(self.universe.listings)):
            if self.state[number] == ListingState.LISTED and number not in self._to_list:
                self._to_list.append(number)
                return self.universe.listings[number].symbol
        raise SymbolError("list: 0 spare instruments are left, expected at least 1")

    def expire(self, symbol: str) -> None:
        """End an option or a future at the next step, as its expiry would.

        Raises:
            SymbolError: nothing live of that name has an expiry.
        """
        number = self.universe.ids.get(symbol, -1)
        alive = number >= 0 and self.state[number] == ListingState.LIVE
        if not alive or not self.universe.expiry_ns[number]:
            raise SymbolError(
                f"expire: instrument was {symbol!r}, expected a live option or future"
            )
        self._to_expire.append(number)

    def tickers(self, ids: Ids) -> TickerRows:
        """Ticker rows of listings (rx_ns, ex_ns and seq are left 0); missing values are NaN."""
        universe = self.universe
        rows = np.zeros(len(ids), TICKER)
        rows["listing_id"] = ids
        rows["index"] = self.prices.spot[universe.underlying[ids]]
        rows["mark"] = rows["index"]
        for name in ("iv_bid", "iv_ask", "iv_mark", "delta", "gamma", "vega", "theta", "forward"):
            rows[name] = np.nan
        rows["open_interest"] = self.flow.open_interest[ids]
        rows["oi_ns"] = self.now_ns
        uncounted = np.isin(universe.kind[ids], (ListingKind.INDEX, ListingKind.SPOT))
        rows["open_interest"][uncounted] = np.nan
        rows["oi_ns"][uncounted] = 0
        option = universe.kind[ids] == ListingKind.OPTION
        if option.any():
            rows[option] = self._option_tickers(ids[option], rows[option])
        return rows

    def _option_tickers(self, ids: Ids, rows: TickerRows) -> TickerRows:
        """Fill mark, volatilities and greeks of options."""
        universe, prices = self.universe, self.prices
        of = universe.slice[ids]
        forward, strike, years = prices.forward[of], universe.strike[ids], prices.years[of]
        is_call, iv = universe.is_call[ids], np.maximum(prices.iv(ids), 0.02)
        mark, _, _ = prices.fair(ids, np.zeros(len(ids)))
        found = greeks(forward, strike, iv, years, is_call)
        rows["mark"], rows["iv_mark"], rows["forward"] = mark, iv, forward
        rows["delta"], rows["gamma"] = found.delta, found.gamma
        rows["vega"], rows["theta"] = found.vega, found.theta
        best = self.books.prices(ids, self.books.ticks[ids, :, 0])
        usd = best * self._usd_per_price(ids)[:, None]
        # One call for bids and asks halves the fixed cost of numpy.
        rows["iv_bid"], rows["iv_ask"] = implied_volatility(
            usd.T.ravel(),
            np.tile(forward, 2),
            np.tile(strike, 2),
            np.tile(years, 2),
            np.tile(is_call, 2),
            np.tile(iv, 2),
        ).reshape(2, len(ids))
        return rows

    def best_iv(self, listing: int, price: float) -> float:
        """Implied volatility of one native option price, fraction; NaN where there is none."""
        universe, of = self.universe, int(self.universe.slice[listing])
        forward = self.prices.forward[of : of + 1]
        usd = price * self._usd_per_price(np.array([listing]))
        at = slice(listing, listing + 1)
        found: Floats = implied_volatility(
            usd, forward, universe.strike[at], self.prices.years[of : of + 1], universe.is_call[at]
        )
        return float(found[0])

    def _usd_per_price(self, ids: Ids) -> Floats:
        """Undiscounted premium in one unit of a native option price, USD for one coin."""
        return self.prices.usd_per_price(ids) / self.universe.price_per[ids]

    def _lifecycle(self) -> tuple[tuple[int, ListingState], ...]:
        """List and expire what is due in this step."""
        if self.now_ns >= self._next_expiry_ns:
            live = (self.state == ListingState.LIVE) & (self.universe.expiry_ns > 0)
            gone = live & (self.universe.expiry_ns <= self.now_ns)
            self._to_expire += np.flatnonzero(gone).tolist()
            later = [t for t in self.universe.expiries_ns if t > self.now_ns]
            self._next_expiry_ns = later[0] if later else np.iinfo(np.int64).max
        if not self._to_list and not self._to_expire:
            return ()
        expired = sorted(set(self._to_expire))
        states = [(i, ListingState.LIVE) for i in self._to_list]
        states += [(i, ListingState.EXPIRED) for i in expired]
        for number, state in states:
            self.state[number] = state
        self.makers.start(np.array(self._to_list, np.int64))
        self.makers.stop(np.array(expired, np.int64))
        self.flow.stop(np.array(expired, np.int64))
        self._to_list, self._to_expire = [], []
        return tuple(states)

    def _involved(self, due: Ids, traded: list[int], changed_state: list[int]) -> Ids:
        """Listings whose books may change in this step, ascending."""
        if not traded and not changed_state:
            return due
        return np.union1d(due, np.array(traded + changed_state, np.int64))

    def _changes(
        self,
        involved: Ids,
        old_ticks: Block,
        old_lots: Block,
        trades: tuple[Trade, ...],
        states: tuple[tuple[int, ListingState], ...],
    ) -> Step:
        """Compare the books with what they were."""
        differs = (self.books.ticks[involved] != old_ticks) | (
            self.books.lots[involved] != old_lots
        )
        levels = differs.sum(axis=(1, 2))
        really = levels > 0
        touched = involved[really]
        return Step(
            index=self.index,
            now_ns=self.now_ns,
            touched=touched,
            old_ticks=old_ticks[really],
            old_lots=old_lots[really],
            previous_change_id=self.books.number_changes(touched, levels[really]),
            trades=trades,
            tickers=self._tickers_due(),
            states=states,
        )

    def _tickers_due(self) -> Ids:
        """Live listings whose ticker is due in this step."""
        due = self._tick_due[self.index % _TICKER_CYCLE]
        live: Ids = due[self.state[due] == ListingState.LIVE]
        return live

    def _ticker_schedule(self) -> list[Ids]:
        """Listings due at each step of a cycle, spread evenly over their period."""
        is_spot = self.universe.is_beside
        number = np.arange(len(is_spot))
        period = _TICKER_STEPS[self.makers.group]
        phase = (number - np.cumsum(is_spot)) % period  # what stands behind spots, as without them
        return [number[cycle % period == phase] for cycle in range(_TICKER_CYCLE)]


def side_levels(books: Books, listing: int, side: int) -> list[tuple[float, float]]:
    """(price, size) of one side, best first, native units."""
    at = np.array([listing])
    ticks, lots = books.ticks[at, side], books.lots[at, side]
    prices, sizes = books.prices(at, ticks)[0], books.sizes(at, lots)[0]
    return [
        (price, size)
        for price, size in zip(prices.tolist(), sizes.tolist(), strict=True)
        if size > 0
    ]
