"""Stage 1 of 8, simulated: which instruments the emulated market lists.

The universe is a function of the start time and the asked size only, never of the seed: two runs
with different seeds list the same contracts. What a venue calls them, and how it sizes and prices
them, is its profile; the expiries in days from the start and the strike grid are constants here, so
that venues list the same contracts, each those nearest the money.

- Expiries lie at the venue's hour, mostly 08:00 UTC: dailies, then the first Friday on or after
  each later offset (weekly, monthly, quarterly). There are 10 up to 3,000 listings, 16 above.
- Strikes lie on a round step about the nominal price, out to about 2.2 standard deviations,
  never below a quarter of it; steps below 1 give fractional strikes (`147d5`).
- Each underlying has a perpetual, an index and, where the venue has any, a spot; two spare options
  an underlying, with strikes above the grid, are hidden until a test lists them during the run.
- A venue of futures has one of each expiry in place of options, and a spare one of the last; a
  venue of spot has nothing but a pair of each coin.
- The activity class (0 hot, 3 asleep) of an option is its quantile of a liquidity index made of
  moneyness in standard deviations, expiry and underlying: 10, 20, 30 and 40 percent of options.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import E9, Listing, ListingKind
from feeds.emulator.profiles import COINS, DERIBIT, Coin, Pair, Profile, Terms
from feeds.grammar import print_symbol, symbol_of

DAY_NS: Final = 86_400_000_000_000
INDEX_TICK: Final = 0.0001
CLASS_SHARES: Final = (0.10, 0.20, 0.30, 0.40)

_DAYS: Final = (1, 2, 3, 7, 14, 28, 56, 91, 182, 273)
_DAYS_LARGE: Final = (1, 2, 3, 4, 7, 14, 21, 28, 35, 56, 70, 91, 126, 182, 273, 364)
_LARGE_FROM: Final = 3_000
_DAILY_UP_TO: Final = 4
_FRIDAY: Final = 4


@dataclass(frozen=True, slots=True)
class Universe:
    """All instruments of a run and the columns the market computes with.

    profile: of the venue. listings: options or futures, perpetuals, indexes, spots, then the
    spares; listing_id is the position. public: how many of them are listed at the start.
    expiries_ns: all of the simulated world, also where the venue lists fewer. Columns have one
    entry a listing: strike is NaN, is_call False and activity 0 where there is no option; slice
    numbers (coin, expiry), and what has no expiry has the slice of its coin's spot. lot_size:
    native size of one lot. per_unit: ticks in one unit of price. knee, price_per: as in Terms.
    """

    start_ns: int
    profile: Profile
    listings: tuple[Listing, ...]
    public: int
    expiries_ns: tuple[int, ...]
    underlying: NDArray[np.int64]
    slice: NDArray[np.int64]
    kind: NDArray[np.int8]
    strike: NDArray[np.float64]
    is_call: NDArray[np.bool_]
    expiry_ns: NDArray[np.int64]
    activity: NDArray[np.int8]
    lot_size: NDArray[np.float64]
    per_unit: NDArray[np.float64]
    knee: NDArray[np.int64]
    inverse: NDArray[np.bool_]
    price_per: NDArray[np.float64]
    ids: dict[str, int]

    @property
    def expiry_count(self) -> int:
        """Expiries of each coin in the simulated world."""
        return len(self.expiries_ns)

    @property
    def is_beside(self) -> NDArray[np.bool_]:
        """Spots of a venue that lists more than them, bool[listing]: they draw apart (draws.py)."""
        spots: NDArray[np.bool_] = self.kind == ListingKind.SPOT
        return np.zeros_like(spots) if self.profile.lists == "spot" else spots

    def options_of(self, target: str) -> NDArray[np.int64]:
        """Options of a slice or a contract, ascending, spares left out; empty where unknown.

        target: a canonical text (`BTC-20260327T0800Z`, `BTC-20260327T0800Z-100000-C`), which is the
        same on every venue, or how the venue's names of a slice begin (`BTC-27MAR26`).
        """
        head = f"{target}-"
        found = [
            number
            for number, listing in enumerate(self.listings[: self.public])
            if listing.kind == ListingKind.OPTION
            and (listing.symbol.startswith(head) or f"{listing.contract}-".startswith(head))
        ]
        return np.array(found, np.int64)


def expiry_times(start_ns: int, count_asked: int, hour: int = 8) -> tuple[int, ...]:
    """Expiry instants at an hour UTC, ns, ascending; the nearest is at least 8 hours away."""
    start = datetime.fromtimestamp(start_ns // E9, UTC)
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    times = []
    for days in _DAYS if count_asked < _LARGE_FROM else _DAYS_LARGE:
        day = midnight + timedelta(days=days, hours=hour)
        if days > _DAILY_UP_TO:
            day += timedelta(days=(_FRIDAY - day.weekday()) % 7)
        times.append(int(day.timestamp()) * E9)
    return tuple(sorted(set(times)))


def build_universe(
    start_ns: int, options: int = 1_000, profile: Profile = DERIBIT, *, spots: bool = True
) -> Universe:
    """List a venue's share of about `options` options, and each coin's perpetual, index, spot.

    A venue of futures lists those of its expiries instead, a venue of spot each coin's pair.

    spots: False leaves the spots beside them out, which changes nothing else.
    """
    expiries = expiry_times(start_ns, options, profile.hour)
    listings: list[Listing] = []
    spares: list[Listing] = []
    pairs = tuple(zip(COINS, profile.terms, strict=True))
    if profile.lists == "spot":
        listings = [
            replace(_perpetual(profile, coin, terms), kind=ListingKind.SPOT)
            for coin, terms in pairs
        ]
        return _columns(start_ns, profile, expiries, listings, spares)
    for coin, terms in pairs:
        if profile.lists == "futures":
            listed = [*expiries[:-1][: profile.expiries], expiries[-1]]
            *own, spare = [_future(profile, coin, terms, expiry_ns) for expiry_ns in listed]
            listings += own
            spares.append(spare)
            continue
        count = max(2, round(options * coin.weight / (2 * len(expiries))))
        grids = [
            _strikes_e9(coin, (expiry_ns - start_ns) / (365.0 * DAY_NS), count)
            for expiry_ns in expiries
        ]
        for expiry_ns, grid in list(zip(expiries, grids, strict=True))[: profile.expiries]:
            near = _nearest(grid, coin, profile.share)
            listings += [
                _option(profile, coin, terms, expiry_ns, k, right) for k in near for right in "CP"
            ]
        above = 2 * grids[-1][-1] - grids[-1][-2]
        spares += [_option(profile, coin, terms, expiries[-1], above, right) for right in "CP"]
    listings += [_perpetual(profile, coin, terms) for coin, terms in pairs]
    listings += [_index(profile, coin, terms) for coin, terms in pairs]
    if spots:
        listings += [_spot(profile, coin, t.spot) for coin, t in pairs if t.spot is not None]
    return _columns(start_ns, profile, expiries, listings, spares)


def _nearest(grid: list[int], coin: Coin, share: float) -> list[int]:
    """The share of a grid's strikes that lies nearest the money, ascending."""
    middle = round(coin.nominal * E9)
    kept = sorted(grid, key=lambda strike_e9: abs(strike_e9 - middle))
    return sorted(kept[: max(2, round(share * len(grid)))])


def _strikes_e9(coin: Coin, years: float, count: int) -> list[int]:
    """Strikes on a round step about the nominal price, ascending, 1e-9 fixed."""
    reach = 2.2 * coin.vol * years**0.5 * coin.nominal
    step = _round_step(max(2.0 * reach / count, coin.strike_step / 4.0))
    step_e9 = round(step * E9)
    middle = round(coin.nominal / step)
    floor = max(1, int(0.25 * coin.nominal / step))
    lowest = max(floor, middle - count // 2)
    return [step_e9 * (lowest + i) for i in range(count)]


def _round_step(step: float) -> float:
    """Smallest of 1, 2.5, 5 times a power of ten that is not below `step`."""
    decade = 10.0 ** np.floor(np.log10(step))
    for mantissa in (1.0, 2.5, 5.0, 10.0):
        if step <= mantissa * decade * 1.000001:
            return float(mantissa * decade)
    raise AssertionError(f"no round step for {step}")


def _option(
    profile: Profile, coin: Coin, terms: Terms, expiry_ns: int, strike_e9: int, right: str
) -> Listing:
    """One European option."""
    tick = 1.0 / terms.option_per_unit
    coarse = (terms.knee / terms.option_per_unit, 5.0 / terms.option_per_unit)
    day = datetime.fromtimestamp(expiry_ns // E9, UTC).date()
    name = symbol_of(profile.venue, terms.root, day, strike_e9, right, terms.suffix)
    return Listing(
        venue=profile.venue,
        symbol=print_symbol(name),
        kind=ListingKind.OPTION,
        underlying=coin.name,
        multiplier=terms.multiplier,
        price_ccy=terms.price_ccy,
        settle="linear" if terms.linear else "inverse",
        tick=tick,
        expiry_ns=expiry_ns,
        strike_e9=strike_e9,
        right=right,
        style="european",
        price_per=terms.price_per,
        lot=terms.lot,
        tick_table=(coarse,) if terms.knee else (),
        settle_window_s=profile.settle_window_s,
    )


def _perpetual(profile: Profile, coin: Coin, terms: Terms) -> Listing:
    """The perpetual of a coin; an inverse one is sized in USD."""
    return Listing(
        venue=profile.venue,
        symbol=terms.perpetual,
        kind=ListingKind.PERP,
        underlying=coin.name,
        multiplier=terms.perp_multiplier,
        price_ccy=terms.perp_ccy,
        settle="linear" if terms.linear else "inverse",
        tick=1.0 / terms.perp_per_unit,
        lot=terms.perp_lot,
    )


def _future(profile: Profile, coin: Coin, terms: Terms, expiry_ns: int) -> Listing:
    """A delivery future of a coin, in the terms of its perpetual."""
    day = datetime.fromtimestamp(expiry_ns // E9, UTC)
    return replace(
        _perpetual(profile, coin, terms),
        symbol=f"{terms.root}_{day:%y%m%d}",
        kind=ListingKind.FUTURE,
        expiry_ns=expiry_ns,
        settle_window_s=profile.settle_window_s,
    )


def _index(profile: Profile, coin: Coin, terms: Terms) -> Listing:
    """The index of a coin; it has tickers and no book."""
    return Listing(
        venue=profile.venue,
        symbol=terms.index,
        kind=ListingKind.INDEX,
        underlying=coin.name,
        multiplier=1.0,
        price_ccy=terms.perp_ccy,
        settle="linear",
        tick=INDEX_TICK,
    )


def _spot(profile: Profile, coin: Coin, pair: Pair) -> Listing:
    """The coin itself, for the pair's other currency; sized in coins."""
    return Listing(
        venue=profile.venue,
        symbol=pair.symbol,
        kind=ListingKind.SPOT,
        underlying=coin.name,
        multiplier=1.0,
        price_ccy=pair.price_ccy,
        settle="linear",
        tick=1.0 / pair.per_unit,
        lot=pair.lot,
    )


def _columns(
    start_ns: int,
    profile: Profile,
    expiries: tuple[int, ...],
    listings: list[Listing],
    spares: list[Listing],
) -> Universe:
    """Lay the listings out as columns."""
    every = (*listings, *spares)
    owner = {coin.name: number for number, coin in enumerate(COINS)}
    underlying = np.array([owner[x.underlying] for x in every], np.int64)
    kind = np.array([x.kind for x in every], np.int8)
    expiry = np.array([x.expiry_ns or 0 for x in every], np.int64)
    strike = np.array([np.nan if x.strike_e9 is None else x.strike_e9 / E9 for x in every])
    is_option = kind == ListingKind.OPTION
    specs = [profile.terms[u] for u in underlying]
    position = np.searchsorted(np.array(expiries), expiry)
    # The last slice of each underlying is its spot: time zero, no smile.
    spot_slice = underlying * (len(expiries) + 1) + len(expiries)
    per_unit = np.where(
        is_option, [s.option_per_unit for s in specs], [s.perp_per_unit for s in specs]
    )
    for number in np.flatnonzero(kind == ListingKind.SPOT).tolist():
        pair = specs[number].spot
        if pair is not None:  # a venue of spot has its pairs in place of perpetuals
            per_unit[number] = pair.per_unit
    return Universe(
        start_ns=start_ns,
        profile=profile,
        listings=every,
        public=len(listings),
        expiries_ns=expiries,
        underlying=underlying,
        slice=np.where(expiry > 0, underlying * (len(expiries) + 1) + position, spot_slice),
        kind=kind,
        strike=strike,
        is_call=np.array([x.right == "C" for x in every]),
        expiry_ns=expiry,
        activity=_activity(start_ns, underlying, strike, expiry, is_option),
        lot_size=np.array([1.0 if x.lot is None else x.lot for x in every]),
        per_unit=per_unit.astype(np.float64),
        knee=np.where(is_option, [s.knee for s in specs], 0).astype(np.int64),
        inverse=np.array([x.settle == "inverse" for x in every]),
        price_per=np.array([x.price_per for x in every]),
        ids={x.symbol: number for number, x in enumerate(every)},
    )


def _activity(
    start_ns: int,
    underlying: NDArray[np.int64],
    strike: NDArray[np.float64],
    expiry_ns: NDArray[np.int64],
    is_option: NDArray[np.bool_],
) -> NDArray[np.int8]:
    """Activity class of each listing by its quantile of the liquidity index."""
    years = np.maximum(expiry_ns - start_ns, DAY_NS // 3) / (365.0 * DAY_NS)
    nominal = np.array([coin.nominal for coin in COINS])[underlying]
    vol = np.array([coin.vol for coin in COINS])[underlying]
    with np.errstate(invalid="ignore"):
        away = np.abs(np.log(strike / nominal)) / (vol * np.sqrt(years))
    # Near the money, up to a month and BTC is where desks trade; the weights order, nothing else.
    coldness = away + 0.5 * np.abs(np.log(years * 365.0 / 10.0)) + 0.35 * underlying
    order = np.argsort(np.where(is_option, coldness, -1.0), kind="stable")
    rank = np.empty(len(order))
    rank[order] = np.arange(len(order))
    share = (rank - (~is_option).sum()) / max(1, int(is_option.sum()))
    edges = np.cumsum(CLASS_SHARES)[:-1]
    return np.where(is_option, np.searchsorted(edges, share, side="right"), 0).astype(np.int8)
