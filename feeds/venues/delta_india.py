"""Stages 1 and 2 of 8: Delta Exchange India: the code of feeds/venues/delta, other addresses.

Its long dialect was announced to end on 2026-07-31; the short one has an address of its own.
"""

from typing import Final

from feeds.venues.delta.dialect import SHORT
from feeds.venues.delta.exchange import DeltaExchange

VENUE: Final = DeltaExchange(
    NAME="delta_india",
    REST_URL="https://api.india.delta.exchange",
    WS_URL="wss://public-socket.india.delta.exchange",
    dialect=SHORT,
)
