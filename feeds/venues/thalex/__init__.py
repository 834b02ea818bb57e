"""Stages 1 and 2 of 8: Thalex. What is subscribed, decoded and why: docs/venues/thalex.md.

universe.py   instruments -> listings
plan.py       listings -> subscription requests within the limits; session frames
wire.py       the shapes of the messages, and the totals of a book
decode.py     a batch of frames -> blocks of columns
"""

from feeds.venues.thalex.decode import decode
from feeds.venues.thalex.plan import (
    CHAIN_OPTION,
    LIMITS,
    MARKET_HEADS,
    WS_URL,
    control,
    hello,
    owes_first_frame,
    ping,
    quoted_chain,
    resync,
    subscriptions,
    symbol_of_channel,
    unsubscribe,
)
from feeds.venues.thalex.universe import NAME, REST_URL, discovery, instruments
from feeds.venues.thalex.wire import checksum

EXPERIMENTAL: bool = True

__all__ = [
    "CHAIN_OPTION",
    "EXPERIMENTAL",
    "LIMITS",
    "MARKET_HEADS",
    "NAME",
    "REST_URL",
    "WS_URL",
    "checksum",
    "control",
    "decode",
    "discovery",
    "hello",
    "instruments",
    "owes_first_frame",
    "ping",
    "quoted_chain",
    "resync",
    "subscriptions",
    "symbol_of_channel",
    "unsubscribe",
]
