"""Stage 1 of 8: which listings are subscribed, and on which connections; no I/O of its own."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

import msgspec

from feeds.budget import HourBudget
from feeds.channels import ChannelLedger, Order, Purpose, ResyncQueue
from feeds.contract import Listing
from feeds.errors import SessionError
from feeds.links import Link, LinkState, SessionCounts, place
from feeds.record import Record, RecordType
from feeds.tiers import DepthTier, Refusal
from feeds.venue import ChannelOptions, ConnectionPlan, Limits, Unsubscriber, Venue

FIRST_OWN_REQUEST_ID: Final = 1_000_000  # Above the ids of any plan, below 10 digits for years.


@dataclass(slots=True, eq=False)
class Subscriber:
    """Keeps the channels of one venue's listings on its connections.

    Args:
        venue, options, depth, limits, counts, links, resyncs: the session's.
        log: journals a record.
        start: begins to run a connection that was added to `links`.
        resync: asks for fresh snapshots of listings.

    Attributes:
        listings: what is subscribed, by symbol.
        tier: which of them have depth; None where all have what `options` says.
        next_id: of the next request that is in no plan.
    """

    venue: Venue
    options: ChannelOptions
    depth: ChannelOptions | None
    limits: Limits
    counts: SessionCounts
    links: list[Link]
    resyncs: ResyncQueue
    _: KW_ONLY
    log: Callable[[RecordType, int, str, bytes], Record]
    start: Callable[[Link], None]
    resync: Callable[[Iterable[str]], None]
    listings: dict[str, Listing] = field(init=False, default_factory=dict)
    tier: DepthTier | None = field(init=False, default=None)
    next_id: int = field(init=False, default=FIRST_OWN_REQUEST_ID)

    def __post_init__(self) -> None:
        if self.depth is not None:
            self.tier = DepthTier(self.venue, self.depth, self.limits)

    def add(self, listings: list[Listing]) -> str:
        """Subscribe new listings on connections with room, or on new ones.

        Returns:
            What is wrong with the plan for them, "" if nothing is.

        Raises:
            SessionError: the very first plan does not fit the venue's limits.
        """
        if not listings:
            return ""
        try:
            plans = self.venue.subscriptions(listings, self.options, self.limits)
        except SessionError as error:
            if not self.links:
                raise
            self.counts.no_room += len(listings)
            return str(error)
        self.listings.update((listing.symbol, listing) for listing in listings)
        self.counts.listed += len(listings)
        self._place(plans, deep=False)
        return "" if self.tier is None else self._grow(self.tier.always(listings))

    def word(self, link: Link) -> None:
        """Word the requests of a connection anew for its next socket, where they may be old."""
        if self.tier is None or not link.deep:
            return
        named = {self.venue.symbol_of_channel(channel) for channel in link.ledger.wanted}
        carried = [
            self.listings[s] for s in sorted(self.tier.symbols & named) if s in self.listings
        ]
        link.ledger.requests = self.tier.requests(carried, link.path)

    def follow_depth(self, wanted: Mapping[str, str]) -> str:
        """Give exactly these options depth, as far as connections go.

        Args:
            wanted: symbol -> why, for the journal. What is not listed is left out.

        Returns:
            What is wrong with the plan for them, "" if nothing is.
        """
        assert self.tier is not None, "a session with one tier has all the depth it will have"
        grown, given_back = self.tier.difference(wanted, self.listings)
        if not grown and not given_back:
            return ""
        change = {"grown": {one.symbol: wanted[one.symbol] for one in grown}}
        payload = msgspec.json.encode(change | {"given_back": given_back})
        self.log(RecordType.DEPTH, -1, "depth", payload)
        self._give_back(given_back)
        problem = self._grow(grown)
        for link in self.links:
            # Each change adds a request, which stays while anything in it is wanted again.
            if len(link.ledger.requests) > len(link.ledger.wanted):
                self.word(link)
        return problem

    def options_of(self, symbol: str) -> ChannelOptions:
        """Channels of a listing, what its best prices come from among them."""
        deep = self.tier is not None and symbol in self.tier.symbols
        return self.depth if self.depth is not None and deep else self.options

    def book_of(self, channel: str) -> list[str]:
        """The listing whose best prices come from a channel, where it is of one."""
        symbol = self.venue.symbol_of_channel(channel)
        if symbol is None:
            return []
        again = self.venue.resync(symbol, self.options_of(symbol), 0)
        return [symbol] if any(channel in request.channels for request in again) else []

    def _place(self, plans: Iterable[ConnectionPlan], *, deep: bool) -> list[str]:
        """Carry plans on connections with room, or on new ones; returns channels without any."""
        missing: list[str] = []
        existing = [link for link in self.links if link.deep == deep]
        for plan in plans:
            room = self.limits.channels_per_connection
            link = place(existing, plan.path, set(plan.channels), room)
            link = link or self._add_link(plan.path, deep=deep)
            if link is None:
                self.counts.no_room += len(plan.channels)
                self.log(RecordType.SUBSCRIPTION, -1, "missing", msgspec.json.encode(plan.channels))
                missing += plan.channels
                continue
            for request in plan.requests:
                link.ledger.carry(request)
                if link.state is LinkState.OPEN:
                    link.outbox.put_nowait(Order(request))
        return missing

    def _grow(self, listings: list[Listing]) -> str:
        """Ask for the depth of listings; what finds no place stays in the lower tier."""
        assert self.tier is not None
        if not listings:
            return ""
        try:
            plans = self.tier.plans(listings)
        except SessionError as error:
            self.counts.no_room += len(listings)
            return str(error)
        self.tier.symbols.update(listing.symbol for listing in listings)
        missing = {self.venue.symbol_of_channel(c) for c in self._place(plans, deep=True)}
        self.tier.symbols -= missing
        self.counts.depth_grown += len(listings) - len(missing)
        return f"depth of {len(missing)} listings found no place on any connection" * bool(missing)

    def _give_back(self, symbols: list[str]) -> None:
        """Let the depth of listings go; their best prices begin anew with a resync.

        Not before the depth has ended: what a request on its way still brings would take their
        place, and end after it. Where it is to be ended, the session says so (`ended`).
        """
        assert self.tier is not None
        self.tier.symbols.difference_update(symbols)
        self.counts.depth_given_back += len(symbols)
        self._end_depth(symbols)

    def refuse(self, channels: Iterable[str], refusal: Refusal) -> None:
        """Let the depth go that no attempt brought: others may have the places.

        It is ended as any depth: a channel that the venue never answered for may be subscribed.
        """
        assert self.tier is not None
        named = {self.venue.symbol_of_channel(channel) for channel in channels}
        symbols = sorted(self.tier.symbols & named)
        change = {"grown": {}, "given_back": [], "refused": symbols}
        self.log(RecordType.DEPTH, -1, "depth", msgspec.json.encode(change))
        self.tier.refuse(symbols, refusal)
        self.counts.depth_refused += len(symbols)
        self._end_depth(symbols)

    def ask_again(self, now_ns: int) -> str:
        """Ask for the refused depth of those that always have it, when the time of it has come.

        Options wait for the next choice.

        Returns:
            What is wrong with the plan for them, "" if nothing is.
        """
        if self.tier is None:
            return ""
        over = [self.listings[symbol] for symbol in self.tier.admitted(now_ns)]
        return self._grow(self.tier.always(over))

    def closed(self, link: Link) -> None:
        """Follow the end of a connection: what it never answered for, another may."""
        if self.tier is not None:
            self.tier.ended(link.connection)

    def _end_depth(self, symbols: list[str]) -> None:
        """Give the channels of depth back, and begin the best prices anew where that is all."""
        ending = self._forget(symbols, [link for link in self.links if link.deep])
        self._begin_anew(symbol for symbol in symbols if symbol not in ending)

    def sent(self, link: Link, order: Order) -> None:
        """Follow a request that goes out."""
        if order.purpose is Purpose.UNSUBSCRIBE:
            self.ended(link, order)
        elif order.attempt:
            # Sent again as it was worded, it may ask for what was given back meanwhile.
            unwanted = sorted(set(order.request.channels) - link.ledger.wanted)
            if unwanted:
                self._unsubscribe(link, unwanted)

    def ended(self, link: Link, order: Order) -> None:
        """Begin the best prices of given back listings anew, now that their depth has ended."""
        if link.deep and order.purpose is Purpose.UNSUBSCRIBE:
            assert self.tier is not None
            symbols = map(self.venue.symbol_of_channel, order.request.channels)
            self._begin_anew(
                s for s in symbols if s in self.listings and s not in self.tier.symbols
            )

    def _begin_anew(self, symbols: Iterable[str]) -> None:
        """Ask for best prices, although the book may have been asked for just before."""
        for symbol in symbols:
            self.resyncs.finish(symbol)
            self.resync([symbol])

    def _add_link(self, path: str, *, deep: bool) -> Link | None:
        if len(self.links) >= self.limits.connections_max:
            return None
        hour = HourBudget(self.limits.requests_per_hour)
        link = Link(len(self.links), ChannelLedger(self.venue), path, deep=deep, hour=hour)
        self.links.append(link)
        self.start(link)
        return link

    def remove(self, symbols: list[str]) -> None:
        """Give back the channels of listings that ended."""
        if not symbols:
            return
        for symbol in symbols:
            del self.listings[symbol]
            self.resyncs.forget(symbol)
        self.counts.delisted += len(symbols)
        if self.tier is not None:
            self.tier.forget(symbols)
        self._forget(symbols, self.links)

    def _forget(self, symbols: Iterable[str], links: Iterable[Link]) -> set[str | None]:
        """Give back the channels of instruments on some connections.

        Returns:
            Symbols of channels whose end is still to be sent.
        """
        gone = set(symbols)
        ending: set[str | None] = set()
        for link in links:
            channels = sorted(
                c for c in link.ledger.wanted if self.venue.symbol_of_channel(c) in gone
            )
            if channels:
                link.ledger.forget(channels)
                if self._unsubscribe(link, channels):
                    ending.update(map(self.venue.symbol_of_channel, channels))
        return ending

    def _unsubscribe(self, link: Link, channels: list[str]) -> bool:
        """End channels; returns whether there is anything to send for it."""
        if link.state is not LinkState.OPEN:
            return False
        if not isinstance(self.venue, Unsubscriber):
            # Nothing to send; ours from here.
            payload = msgspec.json.encode(channels)
            self.log(RecordType.SUBSCRIPTION, link.connection, "unsubscribe", payload)
            return False
        for request in self.venue.unsubscribe(channels, self.limits, self.next_id):
            self.next_id = max(self.next_id, request.request_id + 1)
            link.outbox.put_nowait(Order(request, Purpose.UNSUBSCRIBE))
        return True
