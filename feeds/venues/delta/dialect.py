"""Stages 1 and 2 of 8: how one of Delta's addresses spells its channels and its messages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from feeds.venues.delta import wire


@dataclass(frozen=True, slots=True)
class Dialect:
    """Names of the channels by what they carry, and what reads the messages."""

    book: str
    window: str
    windows_max: int  # on a connection
    quote: str
    ticker: str
    trade: str
    mark: str
    index: str
    status: str
    read: Callable[[bytes], Any]
    types: frozenset[str]  # what `read` takes


LONG: Final = Dialect(
    book="l2_updates",
    window="l2_orderbook",
    windows_max=20,
    quote="l1_orderbook",
    ticker="v2/ticker",
    trade="all_trades",
    mark="mark_price",
    index="v2/spot_price",
    status="product_updates",
    read=wire.read_long,
    types=wire.LONG_TYPES,
)
SHORT: Final = Dialect(
    book="ob_updates",
    window="ob_l2",
    windows_max=100,
    quote="ob_l1",
    ticker="ticker",
    trade="trades",
    mark="mark_price",
    index="spot_price",
    status="system_status",
    read=wire.read_short,
    types=wire.SHORT_TYPES,
)
