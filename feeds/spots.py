"""Stages 1 and 2 of 8: which spot pairs are followed; one rule for sessions and handlers.

A venue lists hundreds of pairs. Those that have to do with options are pairs of an underlying that
has options there, quoted in dollars or in a stablecoin that premiums are paid in. Pairs quoted
otherwise (ETH_BTC, BTC-EUR) say nothing that the chains do not, and are left out by the readers of
the venues' instruments as OTHER_QUOTE.

A venue may also list nothing but spots, beside another one that has the options (Binance): of those
the rule about options says nothing.

A spot is followed as a linear perpetual is: its own book, prints and scores. It is never the index
of an option, which only the venue's own index is.
"""

from collections.abc import Collection, Iterable
from typing import Final

from feeds.contract import Listing, ListingKind
from feeds.venue import Venue

SPOT_QUOTES: Final = frozenset({"USD", "USDC", "USDT"})
OTHER_QUOTE: Final = "other_quote"  # reasons why a pair is left out
WITHOUT_OPTIONS: Final = "spot_without_options"


def lists_spot_alone(venue: Venue) -> bool:
    """Whether a venue says that it has spots and nothing else, whose options are another venue.

    Which of its pairs are followed, its reader of instruments and the named underlyings say.
    """
    return bool(getattr(venue, "SPOT_ALONE", False))


def underlyings_with_options(listings: Iterable[Listing]) -> set[str]:
    """Underlyings of the options among some listings."""
    return {one.underlying for one in listings if one.kind == ListingKind.OPTION}


def is_followed(listing: Listing, with_options: Collection[str]) -> bool:
    """Whether a listing is no spot, or one of an underlying with options.

    Args:
        listing: of one venue.
        with_options: underlyings that have options there; none of them where no spot is wanted.
    """
    return listing.kind != ListingKind.SPOT or listing.underlying in with_options
