"""Stage 1 of 8, simulated: what is planted by request, on one venue or across several.

A target may name its venue (`okx:BTC-USD-260327-100000-C`); without a name it is on the venue that
was asked. Two kinds need a second venue and become one plant on each:

- crossed: the makers of one contract move up on the target's venue and down on the one named by
  `against` (side -1 the other way round), so that the bid there stands above the ask here;
- lead: the volatility of a slice moves on the target's venue, and `follow_s` later on every other
  venue that lists it; they go back together.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from feeds.contract import E9
from feeds.emulator.market import Market
from feeds.emulator.planted import Kind, Plant, Truth, demo_schedule
from feeds.errors import SymbolError

# Of the demonstration: where the slice is pulled as well, and how many seconds after the start.
_PULLED_TOO: Final = (("okx", 25.0), ("bybit", 26.0))
_CROSSED_AT: Final = ("okx", "bybit")
_LEADER: Final = "okx"
_CROSSED_SLICE, _LEAD_SLICE = 2, 5  # expiries of BTC that the rest of the schedule leaves alone


class PlantRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A plant whose start is relative to now, simulated seconds."""

    kind: Kind
    target: str
    in_s: float = 0.0
    duration_s: float = 15.0
    intensity: float = 4.0
    side: Literal[-1, 0, 1] = 1
    against: str = ""
    follow_s: float = 3.0


def plant(markets: Mapping[str, Market], own: str, asked: PlantRequest) -> list[Truth]:
    """Plant an event; the truth of each venue it happens on, the target's first.

    Raises:
        SymbolError: an unknown target or venue, or too few venues that list the target.
    """
    venue, target = _split(markets, own, asked.target)
    market = markets[venue]
    if asked.kind == "crossed":
        return _plant_crossed(markets, venue, _contract(market, target), asked)
    if asked.kind == "lead":
        return _plant_lead(markets, venue, target, asked)
    return [market.planter.add(_plant(market, target, asked))]


def plant_demo(markets: Mapping[str, Market], own: str, in_s: float) -> list[Truth]:
    """Plant the demonstration: a venue's own schedule, and what takes several venues.

    One of the slices that the schedule pulls is pulled on two venues more, a contract crosses
    between the same two, and one of them leads the volatility of a slice. A venue that is not
    there, or has no such contract, is left out.

    Args:
        markets: all venues.
        own: the venue of the schedule.
        in_s: simulated seconds from now to the start; events happen 20 to 52 s after it.

    Returns:
        The truth of each venue and event; those of one event share kind and target.
    """
    market = markets[own]
    schedule = demo_schedule(market.universe, market.books, market.now_ns + int(in_s * E9))
    truths = [market.planter.add(event) for event in schedule]
    # A list, because a target is chosen by the books of now and not by what a plant does to them.
    for asked in list(_demo_across(markets, own, schedule)):
        later = msgspec.structs.replace(asked, in_s=in_s + asked.in_s)
        truths += plant(markets, own, later)
    return truths


def _demo_across(
    markets: Mapping[str, Market], own: str, schedule: Collection[Plant]
) -> Iterator[PlantRequest]:
    """What the demonstration plants across venues, seconds from its start."""
    slice_ = next(event for event in schedule if event.kind == "pull")
    for venue, at_s in _PULLED_TOO:
        if venue in markets and venue != own and len(_options(markets[venue], slice_.target)):
            yield PlantRequest(
                "pull", f"{venue}:{slice_.target}", at_s, 13.0, slice_.intensity, side=0
            )
    up, down = _CROSSED_AT
    if up in markets and down in markets:
        taken = {_contract(markets[own], event.target) for event in schedule}
        pair = _shared_contract(markets[up], markets[down], _CROSSED_SLICE, taken)
        if pair:
            yield PlantRequest("crossed", f"{up}:{pair}", 35.0, 10.0, 2.0, 1, against=down)
    target = _slice_text(markets[own], _LEAD_SLICE)
    if _LEADER in markets and sum(bool(len(_options(m, target))) for m in markets.values()) > 1:
        yield PlantRequest("lead", f"{_LEADER}:{target}", 40.0, 12.0, 6.0, 1, follow_s=3.0)


def _shared_contract(one: Market, other: Market, slice_number: int, taken: Collection[str]) -> str:
    """The contract of a slice nearest the money whose four sides are quoted; "" for none."""
    target = _slice_text(one, slice_number)
    ids = _options(one, target)
    distance = np.abs(one.universe.strike[ids] - one.prices.spot[one.universe.underlying[ids]])
    for number in ids[np.argsort(distance, kind="stable")].tolist():
        name = str(one.universe.listings[number].contract)
        there = other.universe.options_of(name)
        if name not in taken and len(there) == 1:
            sides = (one.books.lots[number, :, 0], other.books.lots[int(there[0]), :, 0])
            if all((side > 0).all() for side in sides):
                return name
    return ""


def _options(market: Market, target: str) -> NDArray[np.int64]:
    """Options of a slice on a venue; none where it does not list it."""
    return market.universe.options_of(target) if target else np.zeros(0, np.int64)


def _slice_text(market: Market, number: int) -> str:
    """Canonical text of a slice; "" where the venue lists nothing of it."""
    universe = market.universe
    ids = np.flatnonzero((universe.slice == number) & np.isfinite(universe.strike))
    return str(universe.listings[int(ids[0])].contract).rsplit("-", 2)[0] if len(ids) else ""


def _plant_crossed(
    markets: Mapping[str, Market], venue: str, target: str, asked: PlantRequest
) -> list[Truth]:
    """One venue up, the other down."""
    against = asked.against
    if against not in markets or against == venue or not asked.side:
        raise SymbolError(
            f"plant crossed {target}: against was {against!r} and side {asked.side}, expected "
            f"another venue of {', '.join(markets)} and +1 or -1"
        )
    sides = {venue: asked.side, against: -asked.side}
    for name in sides:
        if len(markets[name].universe.options_of(target)) != 1:
            raise SymbolError(f"plant crossed: target was {target}, expected a contract on {name}")
    return [
        markets[name].planter.add(
            msgspec.structs.replace(_plant(markets[name], target, asked), side=side)
        )
        for name, side in sides.items()
    ]


def _plant_lead(
    markets: Mapping[str, Market], venue: str, target: str, asked: PlantRequest
) -> list[Truth]:
    """One venue first, the others `follow_s` later."""
    followers = [
        name
        for name, market in markets.items()
        if name != venue and len(market.universe.options_of(target))
    ]
    if not followers or not asked.side or not 0.0 < asked.follow_s < asked.duration_s:
        raise SymbolError(
            f"plant lead {target}: {len(followers)} venues follow {venue} after "
            f"{asked.follow_s} s, side {asked.side}; expected a canonical target that another "
            f"venue lists, a time above 0 and below {asked.duration_s} s, and +1 or -1"
        )
    first = _plant(markets[venue], target, asked)
    later = msgspec.structs.replace(
        first,
        start_ns=first.start_ns + int(asked.follow_s * E9),
        duration_s=asked.duration_s - asked.follow_s,
    )
    truths = [markets[venue].planter.add(first)]
    return truths + [markets[name].planter.add(later) for name in followers]


def _plant(market: Market, target: str, asked: PlantRequest) -> Plant:
    """The plant of one venue."""
    return Plant(
        asked.kind,
        target,
        market.now_ns + int(asked.in_s * E9),
        asked.duration_s,
        asked.intensity,
        asked.side,
    )


def _split(markets: Mapping[str, Market], own: str, target: str) -> tuple[str, str]:
    """Venue and the rest of a target."""
    venue, colon, rest = target.partition(":")
    if not colon:
        return own, target
    if venue not in markets:
        raise SymbolError(f"plant: venue was {venue!r}, expected one of {', '.join(markets)}")
    return venue, rest


def _contract(market: Market, target: str) -> str:
    """Canonical text of a target that may be a symbol of the venue."""
    number = market.universe.ids.get(target)
    return target if number is None else str(market.universe.listings[number].contract)
