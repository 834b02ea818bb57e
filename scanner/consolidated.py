"""Stage 6 of 8: the best bid and offer of every contract over all venues, and where they cross.

Prices are premiums in USD for one underlying unit, in the sense of cash: a premium paid in the coin
times the venue's own index, one paid in a stablecoin times its rate (docs/SEMANTICS.md). A crossed
or locked contract is told, never mended: the quotes are real, and often the reason is a late venue,
which the ages show.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import ListingKind
from kernels import columns as c
from scanner.result import NO_LISTING
from scanner.state import State
from scanner.universe import NO_CONTRACT, RowState, Universe

USD: Final = "USD"
STABLECOINS: Final = ("USDC", "USDT")
_UNKNOWN: Final = c.GAP | c.EXPIRED | c.NO_STATE


@dataclass(frozen=True, slots=True)
class Rates:
    """USD of one unit of each currency that premiums are paid in.

    usd: currency to rate. assumed: stablecoins without a live rate, taken as 1.
    """

    usd: dict[str, float]
    assumed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Consolidated:
    """One row a contract that is listed, in the order of contract_id; sides are [2, contract].

    Side 0 is the bid, 1 the ask. A side that no venue quotes is NaN, NO_LISTING and age -1.

    Attributes:
        contract_id: uint32[contract].
        venue_count: int32[contract], listings that quote at least one side.
        price_usd: float64, premium in USD for one underlying unit.
        size: float64, underlying units at that listing; NaN where its multiplier is unknown.
        listing_id: uint32; of equal prices the larger size wins, then the lower id.
        age_ns: int64, since that listing's last accepted update.
        assumed_rate: bool, whether the price rests on a stablecoin taken as one dollar.
        locked: bool[contract], best bid and ask equal, on two listings.
        crossed: bool[contract], best bid above the best ask, on two listings.
    """

    contract_id: NDArray[np.uint32]
    venue_count: NDArray[np.int32]
    price_usd: NDArray[np.float64]
    size: NDArray[np.float64]
    listing_id: NDArray[np.uint32]
    age_ns: NDArray[np.int64]
    assumed_rate: NDArray[np.bool_]
    locked: NDArray[np.bool_]
    crossed: NDArray[np.bool_]


def rates(state: State, universe: Universe) -> Rates:
    """Rates of the stablecoins, from indexes and spots that are priced in USD."""
    found = {USD: 1.0}
    count = universe.row_count
    columns = universe.columns.at(np.arange(count, dtype=np.uint32))
    quoting = (columns.kind == ListingKind.INDEX) | (columns.kind == ListingKind.SPOT)
    for row in np.flatnonzero(quoting & (columns.state == RowState.LIVE)).tolist():
        listing = universe.listing(row)
        mark = float(state.columns.f32[c.MARK, row])
        if listing.underlying in STABLECOINS and listing.price_ccy == USD and mark > 0:
            found[listing.underlying] = mark
    assumed = frozenset(STABLECOINS) - found.keys()
    return Rates(found | dict.fromkeys(assumed, 1.0), assumed)


def consolidate(now_ns: int, state: State, universe: Universe) -> Consolidated:
    """Best bid and offer of every contract, from the quotes that hold now.

    Args:
        now_ns: time that ages are counted to.
        state: on the host.
        universe: its live options; others are not looked at.

    Quotes of listings that are in a gap, halted, expired or without a state are left out, and so is
    what cannot be converted: a premium in coin without an index.
    """
    live = universe.columns.state[: universe.row_count] == RowState.LIVE
    option = universe.columns.contract_id[: universe.row_count] != NO_CONTRACT
    rows = np.flatnonzero(live & option).astype(np.uint32)
    contracts, place = np.unique(universe.columns.contract_id[rows], return_inverse=True)
    prices, assumed = _prices_usd(rows, state, universe)
    sizes = state.columns.f32[c.BID_SIZE : c.ASK_SIZE + 1, rows].astype(np.float64)
    sizes *= universe.columns.at(rows).multiplier
    best = np.stack([
        _best(place, -prices[0], sizes[0], len(contracts)),
        _best(place, prices[1], sizes[1], len(contracts)),
    ])  # fmt: skip
    quoted = best >= 0
    side = np.arange(2)[:, None]
    ages = np.broadcast_to(now_ns - state.columns.i64[c.UPDATE_NS, rows], (2, len(rows)))
    price = np.where(quoted, prices[side, best], np.nan)
    apart = quoted.all(axis=0) & (best[0] != best[1])
    either = ~np.isnan(prices).all(axis=0)
    return Consolidated(
        contract_id=contracts.astype(np.uint32),
        venue_count=np.bincount(place[either], minlength=len(contracts)).astype(np.int32),
        price_usd=price,
        size=np.where(quoted, sizes[side, best], np.nan),
        listing_id=np.where(quoted, rows[best], NO_LISTING).astype(np.uint32),
        age_ns=np.where(quoted, ages[side, best], -1),
        assumed_rate=quoted & assumed[best],
        locked=apart & (price[0] == price[1]),
        crossed=apart & (price[0] > price[1]),
    )


def _prices_usd(
    rows: NDArray[np.uint32], state: State, universe: Universe
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Best prices in USD, float64[2, row], NaN where a side does not hold; and assumed rates."""
    columns, known = state.columns, universe.columns.at(rows)
    ticks = columns.i32[c.BID : c.ASK + 1, rows]
    holds = (ticks != c.NO_PRICE) & (columns.validity[rows] & _UNKNOWN == 0)
    holds &= columns.u8[c.HALTED, rows] == 0
    rate = rates(state, universe)
    currencies = [terms.price_ccy for terms in known.terms.numbers]
    usd = np.array([rate.usd.get(currency, np.nan) for currency in currencies])
    taken = np.array([currency in rate.assumed for currency in currencies], np.bool_)
    inverse = columns.u8[c.IS_INVERSE, rows] != 0
    index = columns.f32[c.INDEX, rows].astype(np.float64)
    factor = np.where(inverse, index, usd[known.terms_id]) * known.tick / known.price_per
    factor = np.where(factor > 0, factor, np.nan)
    return np.where(holds, ticks * factor, np.nan), ~inverse & taken[known.terms_id]


def _best(
    place: NDArray[np.int64], cost: NDArray[np.float64], size: NDArray[Any], count: int
) -> NDArray[np.int64]:
    """Index of the cheapest row of each contract, of equals the largest; -1 where none quotes."""
    quoted = np.flatnonzero(~np.isnan(cost))
    ranked = quoted[np.lexsort((quoted, -np.nan_to_num(size[quoted]), cost[quoted]))]
    found = np.full(count, -1, np.int64)
    # Written from the worst to the best, so that the best stays.
    found[place[ranked[::-1]]] = ranked[::-1]
    return found
