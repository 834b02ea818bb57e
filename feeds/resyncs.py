"""Stage 1 of 8: books that are asked for again, each alone; no I/O."""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass

from feeds.channels import Asked, Order, Purpose, ResyncQueue
from feeds.links import Link, SessionCounts, SessionPolicy, carrier
from feeds.upkeep import Upkeep
from feeds.venue import ChannelOptions, Venue


@dataclass(slots=True, eq=False)
class Resyncer:
    """Turns wishes for fresh snapshots into requests on the connections that carry the books.

    Args:
        venue, policy, counts, links: the session's.
        options_of: channels of a listing, its best prices among them.
        queue: who waits, who is under way.
        upkeep: says what is kept of a connection's hour.
    """

    venue: Venue
    options_of: Callable[[str], ChannelOptions]
    policy: SessionPolicy
    counts: SessionCounts
    links: Sequence[Link]
    queue: ResyncQueue
    upkeep: Upkeep

    def ask(self, symbols: Iterable[str], now_ns: int) -> None:
        """Queue listings, each at its own backoff; bounded."""
        for symbol in symbols:
            outcome = self.queue.ask(symbol, now_ns)
            self.counts.resyncs_duplicate += outcome is Asked.DUPLICATE
            self.counts.resyncs_dropped += outcome is Asked.FULL

    def failed(self, symbols: Iterable[str], listed: Container[str], now_ns: int) -> None:
        """Queue books that the venue says it could not send; the tries before are over."""
        for symbol in symbols:
            if symbol in listed:
                self.queue.finish(symbol)
                self.ask([symbol], now_ns)
            else:
                self.counts.resyncs_unknown += 1

    def start(self, now_ns: int, request_id: int) -> int:
        """Send what may be sent now; returns the first id, from `request_id`, that is free then."""
        for symbol in self.queue.start(now_ns):
            requests = self.venue.resync(symbol, self.options_of(symbol), request_id)
            link = carrier(self.links, requests)
            if link is None:
                self.counts.resyncs_unknown += 1
                self.queue.finish(symbol)
                continue
            if link.left(now_ns) < len(requests) + self.upkeep.kept_requests(now_ns):
                self.counts.resyncs_postponed += 1
                self.queue.postpone(symbol, now_ns + round(self.policy.resync_cap_s * 1e9))
                continue
            self.counts.resyncs += 1
            request_id += len(requests)
            # A book that was given back must not wait for the other half of its resync.
            ends = [Order(request, Purpose.UNSUBSCRIBE) for request in requests[:-1]]
            link.queue_together([*ends, Order(requests[-1], symbol=symbol)], now_ns)
        return request_id
