"""Stages 1 and 2 of 8: Gate options. What is subscribed, decoded and why: docs/venues/gate.md.

universe.py   underlyings and contracts -> listings
plan.py       listings -> subscription requests within the limits; session frames
wire.py       the shapes of the messages
decode.py     a batch of frames -> blocks of columns
"""

from feeds.venues.gate.decode import decode
from feeds.venues.gate.plan import (
    LIMITS,
    WS_URL,
    channel_of,
    control,
    hello,
    owes_first_frame,
    ping,
    resync,
    stamped,
    subscriptions,
    symbol_of_channel,
    unsubscribe,
)
from feeds.venues.gate.universe import NAME, REST_URL, discovery, instruments

EXPERIMENTAL: bool = True

__all__ = [
    "EXPERIMENTAL",
    "LIMITS",
    "NAME",
    "REST_URL",
    "WS_URL",
    "channel_of",
    "control",
    "decode",
    "discovery",
    "hello",
    "instruments",
    "owes_first_frame",
    "ping",
    "resync",
    "stamped",
    "subscriptions",
    "symbol_of_channel",
    "unsubscribe",
]
