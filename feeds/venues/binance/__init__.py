"""Stages 1 and 2 of 8: Binance options. What is subscribed and why: docs/venues/binance.md.

universe.py   instruments -> listings
plan.py       listings -> subscription requests within the limits
protocol.py   requests, answers and windows, as on the sockets of futures
wire.py       the shapes of the messages
decode.py     a batch of frames -> the byte scanner, blocks of columns
families.py   the families of frames that the sockets of futures have as well
scan.py       the byte scanner: chains, windows, best prices, prints
"""

from feeds.venues.binance.decode import decode, warm_up
from feeds.venues.binance.plan import (
    CHAIN_OPTION,
    LIMITS,
    owes_first_frame,
    quoted_chain,
    resync,
    subscriptions,
    symbol_of_channel,
    unsubscribe,
)
from feeds.venues.binance.protocol import MARKET_HEADS, WS_URL, control, hello, ping
from feeds.venues.binance.universe import NAME, REST_URL, discovery, instruments

__all__ = [
    "CHAIN_OPTION",
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
    "quoted_chain",
    "resync",
    "subscriptions",
    "symbol_of_channel",
    "unsubscribe",
    "warm_up",
]
