"""Stages 1 and 2 of 8: Deribit. What is subscribed, decoded and why: docs/venues/deribit.md.

universe.py   instruments -> listings
plan.py       listings -> subscription requests within the limits; session frames
wire.py       the shapes of the messages
decode.py     a batch of frames -> the byte scanner, families of channels; rare messages
scan.py       the byte scanner: book changes, tickers, prints
families.py   what msgspec read -> blocks of columns, by family
"""

from feeds.venues.deribit.decode import decode, warm_up
from feeds.venues.deribit.plan import (
    LIMITS,
    MARKET_HEADS,
    WS_URL,
    control,
    hello,
    login,
    owes_first_frame,
    resync,
    subscriptions,
    symbol_of_channel,
    unsubscribe,
)
from feeds.venues.deribit.universe import (
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
    "login",
    "owes_first_frame",
    "resync",
    "subscriptions",
    "symbol_of_channel",
    "unsubscribe",
    "warm_up",
]
