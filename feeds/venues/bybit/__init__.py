"""Stages 1 and 2 of 8: Bybit. What is subscribed, decoded and why: docs/venues/bybit.md.

universe.py   instruments -> listings
plan.py       listings -> subscription requests within the limits; session frames
wire.py       the shapes of the messages
decode.py     a batch of frames -> the byte scanner, blocks of columns
scan.py       the byte scanner: books, tickers of options, prints
"""

from feeds.venues.bybit.decode import decode, warm_up
from feeds.venues.bybit.plan import (
    LIMITS,
    MARKET_HEADS,
    NAMED_PATHS,
    WS_URL,
    control,
    hello,
    named,
    owes_first_frame,
    ping,
    resync,
    subscriptions,
    symbol_of_channel,
    unsubscribe,
)
from feeds.venues.bybit.universe import NAME, REST_URL, discovery, instruments

__all__ = [
    "LIMITS",
    "MARKET_HEADS",
    "NAME",
    "NAMED_PATHS",
    "REST_URL",
    "WS_URL",
    "control",
    "decode",
    "discovery",
    "hello",
    "instruments",
    "named",
    "owes_first_frame",
    "ping",
    "resync",
    "subscriptions",
    "symbol_of_channel",
    "unsubscribe",
    "warm_up",
]
