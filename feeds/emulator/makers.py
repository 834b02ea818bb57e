"""Stage 1 of 8, simulated: the market makers who keep the books.

One maker a listing. It wakes at random (exponential; mean 0.5, 2.5, 12, 110 s by activity class,
0.25 s for perpetuals, delivery futures and spot, which are one class here), sooner when the forward
has moved its fair value by more than 0.6 of its half-spread (after a latency of 0.1, 0.25, 0.8, 4 s
by class, lognormal) and after its book was traded against. Awake, it places a ladder around its
fair value, rounded outwards to ticks:

- half-spread: 0.22, 0.6, 1.6, 4 volatility points by class, lognormal 0.25 between listings, plus
  3 basis points of the delta-weighted forward, never below 0.55 tick;
- 10, 8, 5, 3 levels by class at most (perpetuals, spots 10), some listings fewer, equally spaced;
- level sizes: lognormal (deviation 0.7) about the class's median lots, growing by a quarter a
  level, tilted by the listing's lean, an OU in log size (half-life 90 s, deviation 0.5). A level
  whose price stays keeps its size, or is redrawn with probability 0.10, 0.15, 0.3, 0.5 by class.

1 percent of options have no maker. Where fair value minus half-spread is below one tick there is
no bid; other one-sided options are chosen among the two quiet classes until 14 percent of options
show one side only.

A venue's profile may widen all half-spreads, deepen its options and let its makers see prices late
(profiles.py).

What stays with a listing for good (half-spread, median lots, number of levels, which sides it
shows) is drawn from the generator of the habits, all else from that of the seed.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import ListingKind
from feeds.emulator.books import ASK, BID, LEVELS, Block, Books, Ids
from feeds.emulator.draws import Draws
from feeds.emulator.prices import Smiles
from feeds.emulator.pricing import Floats
from feeds.emulator.universe import Universe

PERP_CLASS: Final = 4  # After the four activity classes of options; also futures and spot.
_WAKE_S: Final = np.array([0.5, 2.5, 12.0, 110.0, 0.25])
_LATENCY_S: Final = np.array([0.1, 0.25, 0.8, 4.0, 0.1])
_POINTS: Final = np.array([0.22, 0.6, 1.6, 4.0, 0.0])
_MEDIAN_LOTS: Final = np.array([60.0, 40.0, 20.0, 10.0, 2000.0])
_LEVELS: Final = np.array([10, 8, 5, 3, 10])
_REDRAW: Final = np.array([0.10, 0.15, 0.30, 0.50, 0.10])
_MOVE_TRIGGER: Final = 0.6  # of a half-spread
_FORWARD_COST: Final = 3e-4
_LEAN_HALF_LIFE_S, _LEAN_DEVIATION = 90.0, 0.5
_SIZE_DEVIATION: Final = 0.7
_UNMADE_SHARE: Final = 0.01
ONE_SIDED_SHARE: Final = 0.14
NEVER: Final = np.iinfo(np.int64).max

Bools = NDArray[np.bool_]


class Makers:
    """Quotes of all listings; `wake` moves the books of the listings that are due.

    iv_shift: float64[listing], volatility added to the smile by trades (fraction), decays.
    iv_push: the same by a planted event. shift: float64[listing], half-spreads added to fair value
    by a planted event. push: float64[listing], log-size tilt added to the lean by a planted event.
    keep: float64[listing, side], share of the depth that is left by a planted event. hidden,
    crossed: bool[listing], a fault empties the book or puts its best bid above its best ask.
    """

    def __init__(
        self,
        universe: Universe,
        prices: Smiles,
        books: Books,
        draws: Draws,
        habits: Draws,
    ) -> None:
        """Draw the makers' habits; `open_market` fills the books."""
        count = len(universe.listings)
        every = np.arange(count)
        self._universe, self._prices, self._books, self._draws = universe, prices, books, draws
        self._habits = habits.main  # of the one-sided options
        is_perp = ~np.isin(universe.kind, (ListingKind.OPTION, ListingKind.INDEX))
        self.group = np.where(is_perp, PERP_CLASS, universe.activity).astype(np.int64)
        self.iv_shift = np.zeros(count)
        self.iv_push = np.zeros(count)
        self.shift = np.zeros(count)
        self.push = np.zeros(count)
        self.keep = np.ones((count, 2))
        self.hidden: Bools = np.zeros(count, bool)
        self.crossed: Bools = np.zeros(count, bool)
        self.open_side: Bools = np.ones((count, 2), bool)
        self.quoted: Bools = is_perp | (universe.kind == ListingKind.OPTION)
        self.quoted[universe.public :] = False
        unmade = habits.of(every, _uniform) < _UNMADE_SHARE
        self.open_side[unmade & ~is_perp] = False
        self._redraw_all: Bools = np.zeros(count, bool)
        self._points = _POINTS[self.group] * np.exp(0.25 * habits.of(every, _normal))
        self._points *= universe.profile.width
        factor = np.exp(0.4 * habits.of(every, _normal))
        self.median_lots = _MEDIAN_LOTS[self.group] * factor
        self.median_lots[~is_perp] *= universe.profile.depth
        most = 1 + _LEVELS[self.group] // 3
        fewer = habits.of(every, lambda rng, ids: rng.integers(0, most[ids], len(ids)))
        self._levels = np.where(is_perp, LEVELS, np.maximum(1, _LEVELS[self.group] - fewer))
        self._spacing = np.ones(count, np.int64)
        self._lean = _LEAN_DEVIATION * draws.of(every, _normal)
        self._woke_ns = np.full(count, universe.start_ns, np.int64)
        self.wake_ns = np.full(count, NEVER, np.int64)
        self._quoted_forward = np.zeros(count)
        self._sensitivity = np.zeros(count)  # share of the trigger a USD of forward uses up
        self._rungs = np.arange(LEVELS)

    def open_market(self, now_ns: int) -> None:
        """Quote everything, then choose the one-sided options."""
        ids = np.flatnonzero(self.quoted)
        value, delta, vega = self._prices.fair(ids, self.iv_shift[ids])
        half = self._half_spread(ids, value, delta, vega)
        tick = self._books.tick_size(ids, value)
        per_level = np.maximum(1, np.round(0.6 * half / tick)).astype(np.int64)
        self._spacing[ids] = np.where(self.group[ids] == PERP_CLASS, 1, per_level)
        self.wake(ids, now_ns)
        self._choose_one_sided(now_ns)

    def due(self, now_ns: int) -> Ids:
        """Listings whose makers act now, ascending."""
        forward = self._prices.forward[self._universe.slice]
        moved = np.abs(forward - self._quoted_forward) * self._sensitivity > 1.0
        if moved.any():
            late = np.flatnonzero(moved)
            self.hurry(late, now_ns)
        return np.flatnonzero(self.wake_ns <= now_ns)

    def hurry(self, ids: Ids, now_ns: int) -> None:
        """Wake makers after their latency, unless they wake sooner anyway."""
        latency = _LATENCY_S[self.group[ids]] * np.exp(0.5 * self._draws.of(ids, _normal))
        soon = now_ns + (latency * 1e9).astype(np.int64)
        self.wake_ns[ids] = np.where(self.quoted[ids], np.minimum(self.wake_ns[ids], soon), NEVER)

    def at_once(self, ids: Ids) -> None:
        """Wake makers in this step and let them redraw every level (planted events)."""
        alive = ids[self.quoted[ids]]
        self.wake_ns[alive] = 0
        self._redraw_all[alive] = True

    def decay_pressure(self, factor: float) -> None:
        """Let the volatility pressure of past trades fade."""
        self.iv_shift *= factor

    def wake(self, ids: Ids, now_ns: int) -> None:
        """Requote listings and set their next wake."""
        if not len(ids):
            return
        value, delta, vega = self._prices.fair(ids, self.iv_shift[ids] + self.iv_push[ids])
        half = self._half_spread(ids, value, delta, vega)
        middle = value + self.shift[ids] * half
        bid = self._books.tick_below(ids, middle - half)
        ask = np.maximum(self._books.tick_above(ids, middle + half), np.maximum(bid, 0) + 1)
        bid = np.where(self.crossed[ids], ask + 1, bid)
        away = self._spacing[ids, None] * self._rungs
        ticks = np.stack([bid[:, None] - away, ask[:, None] + away], axis=1)
        sides = self.open_side[ids] & ~self.hidden[ids, None]
        shown = (self._rungs < self._levels[ids, None])[:, None, :] & sides[:, :, None]
        shown = shown & (ticks >= 1)
        self._place(ids, np.where(shown, ticks, 0).astype(np.int32), now_ns)
        forward = self._prices.forward[self._universe.slice[ids]]
        self._quoted_forward[ids] = forward
        self._sensitivity[ids] = np.abs(delta) / (_MOVE_TRIGGER * half)
        pause = _WAKE_S[self.group[ids]] * self._draws.of(ids, _exponential)
        self.wake_ns[ids] = now_ns + (pause * 1e9).astype(np.int64)
        self._woke_ns[ids] = now_ns

    def stop(self, ids: Ids) -> None:
        """End the makers of expired or halted listings."""
        self.quoted[ids] = False
        self.wake_ns[ids] = NEVER
        self._sensitivity[ids] = 0.0

    def start(self, ids: Ids) -> None:
        """Let makers of newly listed instruments quote in this step."""
        self.quoted[ids] = True
        self.at_once(ids)

    def _half_spread(self, ids: Ids, value: Floats, delta: Floats, vega: Floats) -> Floats:
        """Half-spread in native price, > 0."""
        forward = self._prices.forward[self._universe.slice[ids]]
        cost = np.where(self.group[ids] == PERP_CLASS, 0.0, _FORWARD_COST * np.abs(delta) * forward)
        floor = 0.55 * self._books.tick_size(ids, value)
        return np.maximum(self._points[ids] * vega + cost, floor)

    def _place(self, ids: Ids, ticks: Block, now_ns: int) -> None:
        """Write new ladders; sizes stay where prices stay, except the levels redrawn."""
        old_ticks, old_lots = self._books.ticks[ids], self._books.lots[ids]
        same = (ticks[:, :, :, None] == old_ticks[:, :, None, :]) & (ticks > 0)[:, :, :, None]
        kept = np.where(same, old_lots[:, :, None, :], 0).sum(axis=3)
        chance = np.where(self._redraw_all[ids], 1.0, _REDRAW[self.group[ids]])
        chances = self._draws.of(ids, lambda rng, some: rng.random((len(some), *ticks.shape[1:])))
        redraw = (chances < chance[:, None, None]) | (kept == 0)
        drawn = self._draw_sizes(ids, ticks.shape[1:], now_ns)
        lots = np.where(redraw, drawn, kept)
        self._books.ticks[ids] = ticks
        self._books.lots[ids] = np.where(ticks > 0, lots, 0)
        self._redraw_all[ids] = False

    def _draw_sizes(self, ids: Ids, levels: tuple[int, ...], now_ns: int) -> Block:
        """Lots of every level, at least 1; moves the lean to now."""
        elapsed_s = (now_ns - self._woke_ns[ids]) * 1e-9
        decay = np.exp2(-elapsed_s / _LEAN_HALF_LIFE_S)
        noise = _LEAN_DEVIATION * np.sqrt(1.0 - decay * decay)
        lean = self._lean[ids] * decay + noise * self._draws.of(ids, _normal)
        self._lean[ids] = lean
        tilt = 0.5 * (lean + self.push[ids])
        middle = self.median_lots[ids, None] * (1.0 + 0.25 * self._rungs)
        side = np.exp(np.stack([tilt, -tilt], axis=1)) * self.keep[ids]
        drawn_of = self._draws.of(ids, lambda rng, some: rng.standard_normal((len(some), *levels)))
        spread = np.exp(_SIZE_DEVIATION * drawn_of)
        lots = np.rint(middle[:, None, :] * side[:, :, None] * spread)
        drawn: Block = np.clip(lots, 1.0, 1e8).astype(np.int32)
        return drawn

    def _choose_one_sided(self, now_ns: int) -> None:
        """Close one side of quiet options until the asked share shows one side only."""
        option = np.flatnonzero(self.quoted & (self._universe.kind == ListingKind.OPTION))
        there = self._books.lots[option][:, :, 0] > 0
        one_sided = int((there[:, BID] != there[:, ASK]).sum())
        wanted = round(ONE_SIDED_SHARE * len(option)) - one_sided
        both = option[there.all(axis=1) & (self._universe.activity[option] >= 2)]
        chosen = self._habits.permutation(both)[: max(0, wanted)]
        side = self._habits.choice([BID, ASK], size=len(chosen), p=[0.7, 0.3])
        self.open_side[chosen, side] = False
        self._redraw_all[chosen] = True
        self.wake(np.sort(chosen), now_ns)


def _uniform(rng: np.random.Generator, ids: Ids) -> Floats:
    return rng.random(len(ids))


def _normal(rng: np.random.Generator, ids: Ids) -> Floats:
    return rng.standard_normal(len(ids))


def _exponential(rng: np.random.Generator, ids: Ids) -> Floats:
    return rng.standard_exponential(len(ids))
