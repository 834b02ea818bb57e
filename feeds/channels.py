"""Stage 1 of 8: what each connection was asked for, was promised and has delivered; no I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from feeds.venue import ChannelNamer, Request, Venue

# A market frame names its channel in its first bytes, as a JSON string of its own
# (Deribit "channel", Bybit "topic", Binance "stream").
HEAD_BYTES: Final = 256


class Purpose(IntEnum):
    """Why a request is sent."""

    SUBSCRIBE = 1
    UNSUBSCRIBE = 2  # also the first part of a resync: its answer promises nothing
    PING = 3  # asks for a sign of life and has no channels


@dataclass(frozen=True, slots=True)
class Order:
    """One request on its way: to be sent, or sent and not yet answered."""

    request: Request
    purpose: Purpose = Purpose.SUBSCRIBE
    symbol: str = ""  # the listing whose resync this request ends
    attempt: int = 0
    due_ns: int = 0  # sent: its answer is overdue from here
    paid: bool = False  # has its place among the connection's requests an hour, and waited for it


@dataclass(frozen=True, slots=True)
class Answer:
    """What the venue said to one order, or its silence."""

    order: Order
    accepted: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(slots=True)
class ChannelLedger:
    """The channels of one connection.

    `requests` and `wanted` outlive the socket; the rest begins anew with each one.
    """

    venue: Venue
    requests: list[Request] = field(default_factory=list)
    wanted: set[str] = field(default_factory=set)
    pending: list[Order] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)  # by name, since they were last asked for
    # Channels that owe a first frame -> when it is overdue; None until the venue accepted them.
    awaiting: dict[bytes, int | None] = field(default_factory=dict)

    def carry(self, request: Request) -> None:
        """Add a request to what every new socket of this connection is sent."""
        self.requests.append(request)
        self.wanted.update(request.channels)

    def forget(self, channels: Iterable[str]) -> None:
        """Drop channels for good; a request all of whose channels are gone is not sent again."""
        for channel in channels:
            self.wanted.discard(channel)
            self.accepted.discard(channel)
            self.awaiting.pop(channel.encode(), None)
        self.requests = [
            request for request in self.requests if not self.wanted.isdisjoint(request.channels)
        ]

    def opened(self) -> list[Order]:
        """Begin a new socket; returns what to send on it."""
        self.pending = []
        self.accepted = set()
        self.denied = set()
        self.awaiting = {}
        return [Order(request) for request in self.requests]

    def sent(self, order: Order) -> None:
        """Note that a request is on the wire, before its answer or its first frame can be."""
        self.pending.append(order)
        self.denied.difference_update(order.request.channels)
        if order.purpose is Purpose.UNSUBSCRIBE:
            self.accepted.difference_update(order.request.channels)
            return
        for channel in order.request.channels:
            # What is subscribed already sends no second first frame when it is asked for again.
            if channel not in self.accepted and self.venue.owes_first_frame(channel):
                self.awaiting[channel.encode()] = None

    def answered(
        self, request_id: int, accepted: Sequence[str] | None, first_due_ns: int
    ) -> Answer | None:
        """Compare an acknowledgement (or, with nothing accepted, a refusal) with its request.

        Args:
            request_id: which request; the oldest one if several share the id.
            accepted: channels the venue named; None where it answered for all of them.
            first_due_ns: when the first frames of the accepted channels are overdue.

        Returns:
            None where no such request waits (answers to hellos and heartbeats).
        """
        found = next((o for o in self.pending if o.request.request_id == request_id), None)
        if found is None:
            return None
        self.pending.remove(found)
        named = found.request.channels if accepted is None else accepted
        return self._compare(found, named, first_due_ns)

    def named(
        self, accepted: Sequence[str], denied: Sequence[str], first_due_ns: int
    ) -> list[Answer]:
        """Note channels that the venue answered for by name.

        Returns:
            the answers of the requests that nothing is open of any more, oldest first. Until
            then a channel that the venue accepted counts as accepted.
        """
        self._accept([channel for channel in accepted if channel in self.wanted], first_due_ns)
        self.denied.update(denied)
        settled = self.accepted | self.denied
        done = [
            order
            for order in self.pending
            if order.purpose is Purpose.SUBSCRIBE
            and all(c in settled or c not in self.wanted for c in order.request.channels)
        ]
        self.pending = [order for order in self.pending if order not in done]
        return [
            self._compare(order, [c for c in order.request.channels if c in self.accepted], 0)
            for order in done
        ]

    def overdue(self, now_ns: int) -> list[Answer]:
        """Give up on answers that are late: all their channels count as missing."""
        late = [order for order in self.pending if order.due_ns <= now_ns]
        if not late:
            return []
        self.pending = [order for order in self.pending if order.due_ns > now_ns]
        return [self._compare(order, (), 0) for order in late]

    def _compare(self, order: Order, named: Sequence[str], first_due_ns: int) -> Answer:
        if order.purpose is Purpose.UNSUBSCRIBE:
            return Answer(order, (), ())
        got = set(named)
        asked = [channel for channel in order.request.channels if channel in self.wanted]
        accepted = tuple(channel for channel in asked if channel in got)
        # A channel accepted before stays so: a repeated request may name only what is new.
        missing = tuple(c for c in asked if c not in got and c not in self.accepted)
        self._accept(accepted, first_due_ns)
        for channel in missing:
            self.awaiting.pop(channel.encode(), None)
        return Answer(order, accepted, missing)

    def _accept(self, channels: Sequence[str], first_due_ns: int) -> None:
        """Note accepted channels, and when the first frames they owe are overdue."""
        self.accepted.update(channels)
        for channel in channels:
            key = channel.encode()
            if key in self.awaiting and self.awaiting[key] is None:
                self.awaiting[key] = first_due_ns

    def heard(self, frame: bytes) -> None:
        """Note which channel a frame is about; call only while `awaiting` is not empty."""
        if isinstance(self.venue, ChannelNamer):
            self.awaiting.pop((self.venue.channel_of(frame) or "").encode(), None)
            return
        for token in frame[:HEAD_BYTES].split(b'"'):
            if token in self.awaiting:
                del self.awaiting[token]
                return

    def whole(self, given_up: set[str]) -> bool:
        """Whether every channel was answered for, and has delivered what it owed at first."""
        return not self.awaiting and self.wanted <= self.accepted | given_up

    def silent(self, now_ns: int) -> list[str]:
        """Channels whose first frame is overdue; each is named once."""
        late = [key for key, due in self.awaiting.items() if due is not None and due <= now_ns]
        for key in late:
            del self.awaiting[key]
        return [key.decode() for key in late]


class Asked(IntEnum):
    """What became of a request for a resync."""

    QUEUED = 1
    DUPLICATE = 2  # one of the same listing waits or is under way
    FULL = 3  # dropped: the book stays invalid until it is asked for again


@dataclass(slots=True)
class ResyncQueue:
    """Which listings wait for a fresh snapshot, each with a backoff of its own.

    A listing that asks again soon after its last resync waits base_s, 2 base_s, ... up to cap_s;
    one that stayed quiet for `cap_s` after it may begin at once again. At most `waiting_max` wait
    and `under_way_max` run; memory is bounded by the listings that exist.
    """

    base_s: float
    cap_s: float
    waiting_max: int
    under_way_max: int
    waiting: dict[str, int] = field(default_factory=dict)  # symbol -> not before, ns
    under_way: set[str] = field(default_factory=set)
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)  # symbol -> (ns, attempts)

    def ask(self, symbol: str, now_ns: int) -> Asked:
        """Queue a listing, at its backoff."""
        if symbol in self.waiting or symbol in self.under_way:
            return Asked.DUPLICATE
        if len(self.waiting) >= self.waiting_max:
            return Asked.FULL
        started_ns, attempts = self._last.get(symbol, (0, 0))
        delay_ns = round(self._delay_s(attempts) * 1e9)
        if attempts and now_ns - started_ns - delay_ns > round(self.cap_s * 1e9):
            del self._last[symbol]
            delay_ns = 0
        self.waiting[symbol] = max(now_ns, started_ns + delay_ns)
        return Asked.QUEUED

    def _delay_s(self, attempts: int) -> float:
        return min(self.cap_s, self.base_s * 2.0 ** min(attempts - 1, 62)) if attempts else 0.0

    def start(self, now_ns: int) -> list[str]:
        """Listings whose turn it is, oldest first; they are under way from here."""
        room = self.under_way_max - len(self.under_way)
        if room <= 0 or not self.waiting:
            return []
        due = [symbol for symbol, due_ns in self.waiting.items() if due_ns <= now_ns][:room]
        for symbol in due:
            del self.waiting[symbol]
            self.under_way.add(symbol)
            attempts = self._last.get(symbol, (0, 0))[1]
            self._last[symbol] = (now_ns, attempts + 1)
        return due

    def postpone(self, symbol: str, due_ns: int) -> None:
        """Take back one that was started and for which there is no room now."""
        self.under_way.discard(symbol)
        self.waiting[symbol] = due_ns

    def finish(self, symbol: str) -> None:
        """End a resync: answered, overdue, or its connection is gone."""
        self.under_way.discard(symbol)

    def forget(self, symbol: str) -> None:
        """Drop a listing that no longer exists."""
        self.waiting.pop(symbol, None)
        self.under_way.discard(symbol)
        self._last.pop(symbol, None)
