"""Stages 1 and 2 of 8: Delta Exchange. What is subscribed, decoded and why: docs/venues/delta.md.

universe.py   products -> listings
plan.py       listings -> subscription requests within the limits; session frames
dialect.py    names of the channels, and what reads their messages
wire.py       the shapes of the messages, in both of the venue's dialects
decode.py     a batch of frames -> blocks of columns, by family
exchange.py   one exchange: its name, its addresses, its dialect, and all of the above

The exchange has two platforms with books of their own: this one, open to most of the world, and
feeds/venues/delta_india.py. They differ in their addresses and in how they spell the same messages.
"""

from typing import Final

from feeds.venues.delta.dialect import LONG
from feeds.venues.delta.exchange import DeltaExchange

VENUE: Final = DeltaExchange(
    NAME="delta",
    REST_URL="https://api.delta.exchange",
    WS_URL="wss://socket.delta.exchange",
    dialect=LONG,
)
