"""Stage 2 of 8: the one list of venues."""

from feeds.venue import Venue
from feeds.venues import (
    aevo,
    binance,
    bullish,
    bybit,
    coincall,
    delta,
    delta_india,
    deribit,
    derive,
    gate,
    okx,
    thalex,
)

VENUES: dict[str, Venue] = {
    "deribit": deribit,
    "binance": binance,
    "okx": okx,
    "bybit": bybit,
    "derive": derive,
    "delta": delta.VENUE,
    "delta_india": delta_india.VENUE,
    "bullish": bullish,
    "aevo": aevo,
    "thalex": thalex,
    "gate": gate,
    "coincall": coincall,
}


def warm_up() -> None:
    """Compile or load what venues compile, so that no frame waits for a compiler."""
    deribit.warm_up()
