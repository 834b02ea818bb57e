"""Stage 1 of 8, simulated: underlyings, forwards and volatility smiles, and fair values from them.

Parameters (all stationary at the start; half-lives of Ornstein-Uhlenbeck processes in seconds):

- log price: diffusion with volatility = the underlying's yearly volatility x exp(v), v an OU with
  half-life 1,800 s and deviation 0.35 (stochastic volatility); compensated jumps, 1.5 an hour,
  deviation 0.15 %; 60 % of the diffusion is common to all coins.
- basis: yearly 5 % with an OU of half-life 3,600 s and deviation 0.5 %; F = S exp(basis x years).
  It is the interest of the dollar or of the coin (profiles.Coin), so a premium in coin at the index
  is the premium in dollars, for every expiry.
- smile of a slice: iv = atm (1 + skew z + curvature z^2), z = ln(K/F) / (atm sqrt(years)) cut at
  +-4. atm = base(years) x exp(common + own): common per underlying, OU 3,600 s, 5 %, and it falls
  by 2.5 times the log return (leverage); own per slice, OU 600 s, 0.6 %. skew: OU 900 s about
  -0.04, 0.006. curvature: OU 900 s about 0.025, 0.003.
- the starting price is the nominal one times exp(1 % x normal), so seeds differ from the start.
"""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import ListingKind
from feeds.emulator.pricing import Floats, price_delta_vega
from feeds.emulator.profiles import COINS
from feeds.emulator.universe import Universe

Ids = NDArray[np.int64]

YEAR_S: Final = 365.0 * 86_400.0
# Fair values are held at half an hour to go: the venue settles to an average over it, and the
# makers of this market stop quoting sharper gamma than that.
YEARS_MIN: Final = 1800.0 / YEAR_S
Z_CUT: Final = 4.0

_DOLLARS_EARN: Final = np.array([coin.interest == "dollar" for coin in COINS])
_JUMPS_PER_S: Final = 1.5 / 3600.0
_JUMP_DEVIATION: Final = 0.0015
_COMMON_SHARE: Final = 0.6
_LEVERAGE: Final = -2.5
_VOL_HALF_LIFE_S, _VOL_DEVIATION = 1800.0, 0.35
_BASIS_MEAN, _BASIS_HALF_LIFE_S, _BASIS_DEVIATION = 0.05, 3600.0, 0.005
_ATM_HALF_LIFE_S, _ATM_DEVIATION = 3600.0, 0.05
_OWN_HALF_LIFE_S, _OWN_DEVIATION = 600.0, 0.006
_SHAPE_HALF_LIFE_S: Final = 900.0
_SKEW_MEAN, _SKEW_DEVIATION = -0.04, 0.006
_CURVATURE_MEAN, _CURVATURE_DEVIATION = 0.025, 0.003


def _ou(half_life_s: float, deviation: float, dt_s: float) -> tuple[float, float]:
    """Decay and shock of an exact OU step of dt_s."""
    decay = 2.0 ** (-dt_s / half_life_s)
    return decay, deviation * float(np.sqrt(1.0 - decay * decay))


class Smiles:
    """Spots, forwards and smiles of one instant, and fair values from them.

    spot: float64[coin], USD. forward, atm, skew, curvature, years, root: float64[slice], a slice
    being (coin, expiry); the last slice of each coin is its spot. Arrays are replaced, never
    written into, so that a past instant can be kept by reference.
    """

    universe: Universe
    spot: Floats
    years: Floats
    root: Floats
    forward: Floats
    atm: Floats
    skew: Floats
    curvature: Floats

    def iv(self, ids: Ids) -> Floats:
        """Fair volatility of options, fraction, without any pressure on a single listing."""
        of = self.universe.slice[ids]
        atm = self.atm[of]
        z = np.log(self.universe.strike[ids] / self.forward[of]) / (atm * self.root[of])
        np.clip(z, -Z_CUT, Z_CUT, out=z)
        return atm * (1.0 + z * (self.skew[of] + self.curvature[of] * z))

    def fair(self, ids: Ids, iv_shift: Floats) -> tuple[Floats, Floats, Floats]:
        """Fair price, delta and vega in native quotation; iv_shift: fraction, added to the smile.

        Delta is the change of the native price per USD of forward (of an inverse option the
        premium-adjusted delta over the forward); vega is native per 0.01. A perpetual is worth
        its spot, a future its forward. Where a price covers several coins, so do all three.
        """
        universe = self.universe
        of = universe.slice[ids]
        forward = self.forward[of]
        option = universe.kind[ids] == ListingKind.OPTION
        if not option.all():
            value, delta, vega = forward.copy(), np.ones(len(ids)), np.zeros(len(ids))
            value[option], delta[option], vega[option] = self.fair(ids[option], iv_shift[option])
            return value, delta, vega
        iv = np.maximum(self.iv(ids) + iv_shift, 0.02)
        value, delta, vega = price_delta_vega(
            forward, universe.strike[ids], iv, self.years[of], universe.is_call[ids]
        )
        coins, unit = universe.price_per[ids], 1.0 / self.usd_per_price(ids)
        # A price in coin falls by its own size over the forward when the coin rises: the index
        # moves with the forward.
        adjusted = delta - np.where(universe.inverse[ids], value * (1.0 / forward), 0.0)
        return value * unit * coins, adjusted * unit * coins, vega * unit * coins

    def usd_per_price(self, ids: Ids) -> Floats:
        """Undiscounted Black-76 premium in one unit of an option's native price, USD for one coin.

        A premium is paid today and Black-76 counts in dollars of the expiry: profiles.Coin says
        which interest lies between. In cash, a price in coin at the index, all venues agree.
        """
        universe = self.universe
        forward, spot = self.forward[universe.slice[ids]], self.spot[universe.underlying[ids]]
        dollars_earn = _DOLLARS_EARN[universe.underlying[ids]]
        per_coin = np.where(dollars_earn, forward, spot)
        per_dollar = np.where(dollars_earn, forward / spot, 1.0)
        return np.where(universe.inverse[ids], per_coin, per_dollar)


class Prices(Smiles):
    """The world's own prices; `step` moves them by one fixed time step.

    What is drawn depends on the coins and on the number of expiries and on nothing of a venue, so
    universes of equal start and size have equal paths from equal generators: spots always,
    forwards and smiles where the hour of expiry is the same.
    """

    def __init__(self, universe: Universe, rng: np.random.Generator, dt_s: float) -> None:
        """Draw the stationary start."""
        count = len(COINS)
        self.universe = universe
        self._rng = rng
        self._dt_s = dt_s
        self._slices = count * (universe.expiry_count + 1)
        self._owner = np.repeat(np.arange(count), universe.expiry_count + 1)
        never = np.iinfo(np.int64).max // 2
        self._expiry_ns = np.tile(np.array([*universe.expiries_ns, never], np.int64), count)
        self._is_spot = self._expiry_ns == never
        self._diffusion = np.array([s.vol for s in COINS]) * np.sqrt(dt_s / YEAR_S)
        self._base_vol = np.array([s.vol for s in COINS])[self._owner]
        nominal = np.array([s.nominal for s in COINS])
        self.spot = nominal * np.exp(0.01 * rng.standard_normal(count))
        self._vol = _VOL_DEVIATION * rng.standard_normal(count)
        self._basis = _BASIS_DEVIATION * rng.standard_normal(count)
        self._common = _ATM_DEVIATION * rng.standard_normal(count)
        self._own = _OWN_DEVIATION * rng.standard_normal(self._slices)
        self._skew = _SKEW_DEVIATION * rng.standard_normal(self._slices)
        self._curvature = _CURVATURE_DEVIATION * rng.standard_normal(self._slices)
        self._vol_step = _ou(_VOL_HALF_LIFE_S, _VOL_DEVIATION, dt_s)
        self._basis_step = _ou(_BASIS_HALF_LIFE_S, _BASIS_DEVIATION, dt_s)
        self._atm_step = _ou(_ATM_HALF_LIFE_S, _ATM_DEVIATION, dt_s)
        self._own_step = _ou(_OWN_HALF_LIFE_S, _OWN_DEVIATION, dt_s)
        self._skew_step = _ou(_SHAPE_HALF_LIFE_S, _SKEW_DEVIATION, dt_s)
        self._curvature_step = _ou(_SHAPE_HALF_LIFE_S, _CURVATURE_DEVIATION, dt_s)
        self._derive(universe.start_ns)

    def step(self, now_ns: int) -> None:
        """Move everything by one time step and derive the slices at its end, `now_ns`."""
        count = len(self.spot)
        shock = self._rng.standard_normal(4 * count + 3 * self._slices)
        price, vol, basis, common = shock[: 4 * count].reshape(4, count)
        own, skew, curvature = shock[4 * count :].reshape(3, self._slices)
        mixed = np.sqrt(_COMMON_SHARE) * price[0] + np.sqrt(1.0 - _COMMON_SHARE) * price
        mixed[0] = price[0]
        sigma = self._diffusion * np.exp(self._vol)
        moved = sigma * mixed - 0.5 * sigma * sigma + self._jumps(count)
        self.spot = self.spot * np.exp(moved)
        self._vol = self._vol_step[0] * self._vol + self._vol_step[1] * vol
        self._basis = self._basis_step[0] * self._basis + self._basis_step[1] * basis
        self._common = self._atm_step[0] * self._common + self._atm_step[1] * common
        self._common += _LEVERAGE * moved
        self._own = self._own_step[0] * self._own + self._own_step[1] * own
        self._skew = self._skew_step[0] * self._skew + self._skew_step[1] * skew
        self._curvature = (
            self._curvature_step[0] * self._curvature + self._curvature_step[1] * curvature
        )
        self._derive(now_ns)

    def _jumps(self, count: int) -> Floats:
        """Log jumps of this step; almost always zero."""
        number = int(self._rng.poisson(count * _JUMPS_PER_S * self._dt_s))
        jumps = np.zeros(count)
        for _ in range(number):
            jumps[int(self._rng.integers(count))] += _JUMP_DEVIATION * self._rng.standard_normal()
        return jumps

    def _derive(self, now_ns: int) -> None:
        """Forwards and smiles of all slices from the processes."""
        owner = self._owner
        seconds = (self._expiry_ns - now_ns) * 1e-9
        self.years = np.where(self._is_spot, 0.0, np.maximum(seconds / YEAR_S, YEARS_MIN))
        self.root = np.sqrt(self.years)
        self.forward = self.spot[owner] * np.exp((_BASIS_MEAN + self._basis[owner]) * self.years)
        term = 1.0 + 0.08 * (np.sqrt(np.minimum(self.years, 1.0)) - 0.3)
        self.atm = self._base_vol * term * np.exp(self._common[owner] + self._own)
        self.skew = _SKEW_MEAN + self._skew
        self.curvature = _CURVATURE_MEAN + self._curvature


class LatePrices(Smiles):
    """Prices as they were some steps ago, for makers who see them late; `follow` once a step."""

    def __init__(self, prices: Prices, lag_steps: int) -> None:
        """Start with the prices of now."""
        self.universe = prices.universe
        self._prices = prices
        self._past: deque[tuple[Floats, ...]] = deque(maxlen=lag_steps + 1)
        self.follow()

    def follow(self) -> None:
        """Remember the prices of now and take those of `lag_steps` steps ago, or the oldest."""
        now = self._prices
        self._past.append(
            (now.spot, now.years, now.root, now.forward, now.atm, now.skew, now.curvature)
        )
        (
            self.spot, self.years, self.root, self.forward, self.atm, self.skew, self.curvature,
        ) = self._past[0]  # fmt: skip
