"""Stages 1 and 2 of 8: Coincall's options. What becomes of them and why: docs/venues/coincall.md.

universe.py   instruments -> listings
plan.py       listings -> subscription requests within the limits; session frames
sign.py       an account's keys and a moment -> what a connection adds to its address
wire.py       the shapes of the messages
decode.py     a batch of frames -> blocks of columns
"""

from feeds.venues.coincall.decode import decode
from feeds.venues.coincall.plan import (
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
from feeds.venues.coincall.sign import path
from feeds.venues.coincall.universe import NAME, REST_URL, discovery, instruments

EXPERIMENTAL: bool = True
ONE_TIER: bool = True

__all__ = [
    "EXPERIMENTAL",
    "LIMITS",
    "MARKET_HEADS",
    "NAME",
    "ONE_TIER",
    "REST_URL",
    "WS_URL",
    "channel_of",
    "control",
    "decode",
    "discovery",
    "hello",
    "instruments",
    "owes_first_frame",
    "path",
    "ping",
    "resync",
    "subscriptions",
    "symbol_of_channel",
    "unsubscribe",
]
