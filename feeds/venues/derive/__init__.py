"""Stages 1 and 2 of 8: Derive. What is subscribed, decoded and why: docs/venues/derive.md.

universe.py   instruments -> listings
plan.py       listings -> subscription requests within the limits; session frames
wire.py       the shapes of the messages
decode.py     a batch of frames -> blocks of columns, by family of channels
"""

from feeds.venues.derive.decode import decode
from feeds.venues.derive.plan import (
    LIMITS,
    MARKET_HEADS,
    WS_URL,
    control,
    hello,
    owes_first_frame,
    ping,
    resync,
    subscriptions,
    symbol_of_channel,
    unsubscribe,
)
from feeds.venues.derive.universe import (
    NAME,
    REST_URL,
    discovery,
    index_listings,
    instruments,
)

__all__ = [
    "LIMITS",
    "MARKET_HEADS",
    "NAME",
    "REST_URL",
    "WS_URL",
    "control",
    "decode",
    "discovery",
    "hello",
    "index_listings",
    "instruments",
    "owes_first_frame",
    "ping",
    "resync",
    "subscriptions",
    "symbol_of_channel",
    "unsubscribe",
]
