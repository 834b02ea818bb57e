"""Stage 2 of 8: the one list of venues."""

from feeds.venue import Venue
from feeds.venues import deribit

VENUES: dict[str, Venue] = {"deribit": deribit}
