"""Stage 1 of 8, simulated: what is planted by request, on one venue or across several.

A target may name its venue (`okx:BTC-USD-260327-100000-C`); without a name it is on the venue that
was asked. Two kinds need a second venue and become one plant on each:

- crossed: the makers of one contract move up on the target's venue and down on the one named by
  `against` (side -1 the other way round), so that the bid there stands above the ask here;
- lead: the volatility of a slice moves on the target's venue, and `follow_s` later on every other
  venue that lists it; they go back together.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from feeds.contract import E9
from feeds.emulator.market import Market
from feeds.emulator.planted import Kind, Plant, Truth
from feeds.errors import SymbolError


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
