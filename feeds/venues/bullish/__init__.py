"""Stages 1 and 2 of 8: Bullish. What is subscribed, decoded and why: docs/venues/bullish.md.

universe.py   markets -> listings
plan.py       listings -> subscription requests within the limits; session frames
wire.py       the shapes of the messages
decode.py     a batch of frames -> blocks of columns, by family
"""

from feeds.venues.bullish.decode import decode
from feeds.venues.bullish.plan import (
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
from feeds.venues.bullish.universe import NAME, REST_URL, discovery, instruments

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
]
