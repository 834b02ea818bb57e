"""Stage 2 of 8: the one list of venues."""

from collections.abc import Iterable

from feeds.bytescan import compile as bytescan
from feeds.venue import Scanned, Venue
from feeds.venues import (
    aevo,
    binance,
    binance_futures,
    binance_spot,
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
    "binance_futures": binance_futures,
    "binance_spot": binance_spot,
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


def warm_up(names: Iterable[str] = VENUES) -> None:
    """Compile or load what these venues compile, so that no frame waits for a compiler."""
    for name in names:
        venue = VENUES[name]
        if isinstance(venue, Scanned):
            venue.warm_up()


def compiled_before(names: Iterable[str] = VENUES) -> bool:
    """Whether `warm_up` would only load."""
    return all(bytescan.compiled_before(n) for n in names if isinstance(VENUES[n], Scanned))
