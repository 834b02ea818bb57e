"""Stage 2 of 8: the one list of venues."""

from feeds.venue import Venue
from feeds.venues import bullish, deribit

VENUES: dict[str, Venue] = {
    "deribit": deribit,
    "bullish": bullish,
}


def warm_up() -> None:
    """Compile or load what venues compile, so that no frame waits for a compiler."""
    deribit.warm_up()
