"""Stage 1 of 8, simulated: books of listings as lists of levels, and what changed in them."""

from typing import Any, NamedTuple

import numpy as np

from feeds.emulator.books import ASK, BID, Block, Books, Ids
from feeds.emulator.flow import Trade

Level = tuple[float, float]  # price, size; native


class Sides(NamedTuple):
    """Levels of both sides, best first."""

    bids: list[Level]
    asks: list[Level]


def ladders(books: Books, ids: Ids, ticks: Block, lots: Block) -> list[Sides]:
    """Books of listings from their ticks and lots, in the order of `ids`."""
    prices = books.prices(ids, ticks).tolist()
    sizes = books.sizes(ids, lots).tolist()
    return [
        Sides(*(_levels(p, s) for p, s in zip(of_listing, its_sizes, strict=True)))
        for of_listing, its_sizes in zip(prices, sizes, strict=True)
    ]


def standing(books: Books, ids: Ids) -> list[Sides]:
    """Books as they stand."""
    return ladders(books, ids, books.ticks[ids], books.lots[ids])


def changes(old: Sides, new: Sides) -> Sides:
    """Levels that differ, with their new sizes; 0 where a level is gone."""
    return Sides(*(_changed(dict(old[side]), dict(new[side])) for side in (BID, ASK)))


def print_of(books: Books, trade: Trade) -> Level:
    """Price and size of a print."""
    at = np.array([trade.listing])
    price = books.prices(at, np.array([trade.tick], np.int32))[0]
    size = books.sizes(at, np.array([trade.lots], np.int32))[0]
    return float(price), float(size)


def _levels(prices: list[Any], sizes: list[Any]) -> list[Level]:
    return [(p, q) for p, q in zip(prices, sizes, strict=True) if q > 0.0]


def _changed(old: dict[float, float], new: dict[float, float]) -> list[Level]:
    gone = [(price, 0.0) for price in old if price not in new]
    return gone + [(price, size) for price, size in new.items() if old.get(price) != size]
