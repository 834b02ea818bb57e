"""Stage 1 of 8: two tiers of a venue: all listings at their best prices, some with depth; no I/O.

The lower tier is subscribed as any universe is. Depth has connections of its own, so that what
grows and shrinks there touches no best price. Listings that are no options (perpetuals, futures,
spots) always have depth: they are few, and everything hangs on them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from feeds.contract import Listing, ListingKind
from feeds.errors import SessionError
from feeds.venue import ChainQuoter, ChannelOptions, ConnectionPlan, Limits, Request, Venue


class Tiers(NamedTuple):
    """Channels of every listing, and those that depth adds; None where there is one tier."""

    base: ChannelOptions
    depth: ChannelOptions | None = None


def one_tier(venue: Venue) -> bool:
    """Whether a venue says that it has no best prices beside its books."""
    return bool(getattr(venue, "ONE_TIER", False))


def tiers_of(venue: Venue, options: ChannelOptions, *, two: bool) -> Tiers:
    """Cut what is wanted of each listing into tiers.

    The lower tier must have best prices: where whole chains are not quoted on one channel, the
    channel of each listing's is asked for.

    Args:
        venue: its module.
        options: what is wanted of a listing with depth.
        two: False leaves everything in one tier.

    Raises:
        SessionError: two were wanted of a venue that has one.
    """
    if not two:
        return Tiers(options)
    if one_tier(venue):
        raise SessionError(
            f"{venue.NAME}: depth_listings was given, and the venue has no best prices but those "
            "of whole books"
        )
    wanted = venue.CHAIN_OPTION if isinstance(venue, ChainQuoter) else "quotes"
    return Tiers(
        replace(options, book="none", **{wanted: True}),
        ChannelOptions(
            book=options.book,
            book_depth=options.book_depth,
            authenticated=options.authenticated,
            quotes=False,
            tickers=False,
            trades=False,
            marks=False,
            index=False,
            notices=False,
        ),
    )


class Refusal(NamedTuple):
    """Depth of a listing that no attempt brought.

    until_ns: it is not asked for again before.
    connection: whose silence it was; the end of that connection ends the wait. None where the
        venue refused in words.
    """

    until_ns: int
    connection: int | None


@dataclass(slots=True)
class DepthTier:
    """Which listings of a venue have depth, and the words for it.

    Args:
        venue: its module.
        options: channels of depth alone.
        limits: the venue's.

    Attributes:
        symbols: listings that depth was asked for.
        refused: those that left because they cannot have it now.
    """

    venue: Venue
    options: ChannelOptions
    limits: Limits
    symbols: set[str] = field(init=False, default_factory=set)
    refused: dict[str, Refusal] = field(init=False, default_factory=dict)

    def refuse(self, symbols: Iterable[str], refusal: Refusal) -> None:
        """Take listings out of the tier for a while."""
        for symbol in symbols:
            self.symbols.discard(symbol)
            self.refused[symbol] = refusal

    def ended(self, connection: int) -> None:
        """Let those be asked for again that a connection never answered for: it has ended."""
        for symbol, refusal in self.refused.items():
            if refusal.connection == connection:
                self.refused[symbol] = Refusal(0, None)

    def admitted(self, now_ns: int) -> list[str]:
        """Symbols that may be asked for again from now on; each is named once."""
        over = [symbol for symbol, refusal in self.refused.items() if refusal.until_ns <= now_ns]
        for symbol in over:
            del self.refused[symbol]
        return over

    def forget(self, symbols: Iterable[str]) -> None:
        """Drop listings that ended."""
        for symbol in symbols:
            self.symbols.discard(symbol)
            self.refused.pop(symbol, None)

    def always(self, listings: Iterable[Listing]) -> list[Listing]:
        """Those of some listings that have depth whatever the rule says."""
        return [one for one in listings if one.kind not in (ListingKind.OPTION, ListingKind.INDEX)]

    def difference(
        self, wanted: Collection[str], listings: dict[str, Listing]
    ) -> tuple[list[Listing], list[str]]:
        """Listings to grow by, and symbols to give back, so that just the wanted options remain.

        What is wanted and not listed, is no option, or was refused a while ago changes nothing.
        """
        grown = [
            listings[symbol]
            for symbol in wanted
            if symbol in listings
            and symbol not in self.symbols
            and symbol not in self.refused
            and listings[symbol].kind == ListingKind.OPTION
        ]
        kept = set(wanted)
        given_back = sorted(
            symbol
            for symbol in self.symbols
            if symbol not in kept
            and symbol in listings
            and listings[symbol].kind == ListingKind.OPTION
        )
        return grown, given_back

    def plans(self, listings: list[Listing]) -> tuple[ConnectionPlan, ...]:
        """Subscriptions of depth for listings.

        Raises:
            SessionError: they need more connections than the venue's limits allow.
        """
        return self.venue.subscriptions(listings, self.options, self.limits)

    def requests(self, listings: list[Listing], path: str) -> list[Request]:
        """The requests of a connection's present listings, worded anew for its next socket.

        Those it was given at first may name channels that were given back since.
        """
        plans = self.plans(listings) if listings else ()
        return [request for plan in plans if plan.path == path for request in plan.requests]
