"""Stages 1 and 2 of 8: OKX. What is subscribed, decoded and why: docs/venues/okx.md.

universe.py   instruments -> listings
plan.py       listings -> subscription requests within the limits; session frames
wire.py       the shapes of the messages
decode.py     a batch of frames -> families of channels; rare messages
scan.py       the most frequent messages -> records, compiled
families.py   the messages of a family -> blocks of columns
"""

from feeds.venues.okx.decode import decode, warm_up
from feeds.venues.okx.plan import (
    LIMITS,
    MARKET_HEADS,
    WS_URL,
    channel_of,
    control,
    hello,
    owes_first_frame,
    ping,
    resync,
    subscriptions,
    symbol_of_channel,
    unsubscribe,
)
from feeds.venues.okx.universe import NAME, REST_URL, discovery, instruments

__all__ = [
    "LIMITS",
    "MARKET_HEADS",
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
    "subscriptions",
    "symbol_of_channel",
    "unsubscribe",
    "warm_up",
]
