"""Stages 1 and 2 of 8: Binance's spot pairs. What becomes of them: docs/venues/binance_spot.md.

universe.py   instruments -> listings
plan.py       listings -> subscription requests within the limits
wire.py       the shapes of the messages
decode.py     a batch of frames -> blocks of columns

Requests and answers are those of feeds/venues/binance, and come from there.
"""

from feeds.venues.binance.protocol import MARKET_HEADS, control, hello, ping
from feeds.venues.binance_spot.decode import decode
from feeds.venues.binance_spot.plan import (
    LIMITS,
    WS_URL,
    owes_first_frame,
    resync,
    subscriptions,
    symbol_of_channel,
    unsubscribe,
)
from feeds.venues.binance_spot.universe import NAME, REST_URL, discovery, instruments

EXPERIMENTAL: bool = True
SPOT_ALONE: bool = True

__all__ = [
    "EXPERIMENTAL",
    "LIMITS",
    "MARKET_HEADS",
    "NAME",
    "REST_URL",
    "SPOT_ALONE",
    "WS_URL",
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
