"""Stages 1 and 2 of 8: Binance's USD-M perpetuals and futures: docs/venues/binance_futures.md.

universe.py   instruments -> listings
plan.py       listings -> subscription requests within the limits
wire.py       the shapes of the messages that options have not
decode.py     a batch of frames -> blocks of columns

Sockets, windows and best prices are those of feeds/venues/binance, and come from there.
"""

from feeds.venues.binance.protocol import MARKET_HEADS, WS_URL, control, hello, ping
from feeds.venues.binance_futures.decode import decode
from feeds.venues.binance_futures.plan import (
    LIMITS,
    owes_first_frame,
    resync,
    subscriptions,
    symbol_of_channel,
    unsubscribe,
)
from feeds.venues.binance_futures.universe import NAME, REST_URL, discovery, instruments

EXPERIMENTAL: bool = True

__all__ = [
    "EXPERIMENTAL",
    "LIMITS",
    "MARKET_HEADS",
    "NAME",
    "REST_URL",
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
