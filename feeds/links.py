"""Stage 1 of 8: what a session keeps: its limits, its counters, its connections; no I/O."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from feeds.budget import HourBudget
from feeds.channels import ChannelLedger, Order, Purpose, ResyncQueue
from feeds.secrets import Credentials
from feeds.venue import Control, Limits, PathNamer, Request, Signer, Stamper, Venue

RENEW_AT: Final = 0.95
RENEW_STEP: Final = 0.01
RENEW_STEPS: Final = 32
TROUBLE_CHARS_MAX: Final = 240


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """Our own limits, beside those of the venue; each has a reason."""

    first_data_s: float = 10.0  # 131 snapshots came within 0.62 s on one Deribit socket.
    ack_s: float = 10.0
    subscribe_attempts: int = 3  # A name that is refused three times is wrong, not unlucky.
    # Depth that was refused so often is asked for again after this: as patient as discovery.
    depth_refused_s: float = 900.0
    retry_base_s: float = 0.5  # Reconnects and repeated requests: full jitter from here,
    retry_cap_s: float = 60.0  # to here.
    stable_s: float = 30.0  # A connection that lived so long starts its backoff anew.
    recovering_max_s: float = 60.0  # Then a channel that still owes a frame holds up no alert.
    connect_s: float = 10.0
    close_s: float = 1.0  # How long a peer may take to answer our close.
    http_s: float = 30.0
    discovery_pages_max: int = 64  # Pages of one list of instruments; no venue has that many.
    http_bytes_max: int = 64 << 20  # The largest instruments body seen has some 10 MB.
    check_s: float = 0.25  # How late a timer may fire.
    # Not every venue tells what it lists; strikes are added a few times a day.
    discovery_every_s: float = 900.0
    # A missing listing where entries could not be read may be among them: it stays so long.
    unread_keep_s: float = 3600.0
    # Where entries could not be read, the first time; each further one doubles it.
    unread_again_s: float = 60.0
    discovery_min_s: float = 10.0  # New strikes are listed in groups; one question serves them.
    # The change of listings at 08:00 UTC: ask this long after it, a time between the two;
    change_delay_s: tuple[float, float] = (5.0, 25.0)
    change_lead_s: float = 300.0  # this long before it keep, for what will be listed,
    change_connects: int = 4  # so many connects to a host, and for each connection
    change_requests: int = 32  # so many requests of the hour: resyncs must leave them.
    notice_s: float = 900.0  # A maintenance without a word of its end is over after this.
    maintenance_base_s: float = 5.0  # Reconnects while a venue is down on purpose: from here,
    maintenance_cap_s: float = 180.0  # to here.
    resync_base_s: float = 1.0
    resync_cap_s: float = 60.0
    resync_waiting_max: int = 8192
    resync_under_way_max: int = 16

    def resync_queue(self) -> ResyncQueue:
        """An empty queue with these limits."""
        return ResyncQueue(
            self.resync_base_s,
            self.resync_cap_s,
            self.resync_waiting_max,
            self.resync_under_way_max,
        )


@dataclass(slots=True)
class SessionCounts:
    """What the session did and lost so far."""

    frames: int = 0
    bytes: int = 0
    connects: int = 0
    connect_failures: int = 0
    disconnects: int = 0
    budget_waits: int = 0  # times a connection had to wait for the connect budget
    requests: int = 0
    replies: int = 0
    notices: int = 0
    accepted: int = 0  # channels
    missing: int = 0  # channels asked for and not accepted, each time
    refused: int = 0  # requests answered with an error
    unanswered: int = 0  # requests without an answer in time
    depth_grown: int = 0  # listings that depth was asked for, and
    depth_given_back: int = 0  # those of which it is wanted no more
    depth_refused: int = 0  # those that left their tier because no attempt brought it, each time
    given_up: int = 0  # channels missing after all attempts
    no_room: int = 0  # channels that no connection could take
    silence_timers: int = 0
    first_data_timers: int = 0
    pings: int = 0
    recoveries: int = 0  # lost connections that came back
    recoveries_cut: int = 0  # of them, those given up after `recovering_max_s`
    logins: int = 0
    logins_failed: int = 0  # refused, or without an answer in time
    renewals: int = 0  # connections ended before the venue would cut them for their age
    resyncs: int = 0
    resyncs_duplicate: int = 0
    resyncs_dropped: int = 0  # queue full
    resyncs_postponed: int = 0  # too few requests are left in the connection's hour
    depth_postponed: int = 0  # changes for which too few requests were left in an hour
    hour_waits: int = 0  # requests that had to wait for the connection's requests an hour
    maintenance_notices: int = 0
    resyncs_unknown: int = 0  # not listed, or no open connection carries the listing
    discoveries: int = 0
    discovery_failures: int = 0  # bodies that did not come or could not be read
    listed: int = 0
    delisted: int = 0
    listings_kept: int = 0  # missing where an entry could not be read, each time


@dataclass(slots=True)
class Login:
    """A login on its way: nothing else is sent before it is answered."""

    request_id: int
    due_ns: int
    problem: str = ""  # why it failed
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def heed(self, control: Control) -> None:
        """End with the venue's answer, if this is it."""
        if control.ack is not None and control.ack[0] == self.request_id:
            self.done.set()
        elif control.refused is not None and control.refused[0] == self.request_id:
            self._fail(f"login refused: {control.refused[1]}")

    def look(self, now_ns: int) -> None:
        """End where the answer is overdue."""
        if now_ns >= self.due_ns and not self.done.is_set():
            self._fail("no answer to the login")

    def _fail(self, problem: str) -> None:
        self.problem = problem
        self.done.set()


class LinkState(StrEnum):
    """Where a connection is in its life."""

    WAITING = "waiting for the connect budget"
    CONNECTING = "connecting"
    OPEN = "open"
    BACKOFF = "backing off"
    CLOSED = "closed"


@dataclass(slots=True, eq=False)
class Link:
    """One connection: its channels, and the socket of the moment."""

    connection: int
    ledger: ChannelLedger
    path: str = ""  # added to the venue's address
    deep: bool = False  # carries depth of the second tier, and nothing else
    hour: HourBudget = field(default_factory=HourBudget)  # of the present socket
    state: LinkState = LinkState.WAITING
    # No bound of its own: it holds the plan's requests, their bounded retries, and the requests
    # of at most `resync_under_way_max` resyncs.
    outbox: asyncio.Queue[Order] = field(default_factory=asyncio.Queue)
    placed: int = 0  # orders in the outbox that have their place in the hour already
    sending: Order | None = None  # out of the outbox, and not yet on the wire
    retries: list[tuple[int, Order]] = field(default_factory=list)  # (not before ns, what)
    reader: asyncio.Task[str] | None = None
    drop_reason: str = ""
    recovering: bool = False  # lost, and not yet as it was before
    login: Login | None = None  # of the present socket
    opened_ns: int = 0
    last_frame_ns: int = 0
    pinged_ns: int = 0
    failures: int = 0  # connections in a row that did not last
    problem: str = ""  # why the last socket ended or did not open

    def begin(self, now_ns: int) -> None:
        """Start with a new socket: everything of the old one is forgotten, the plan is queued."""
        self.state = LinkState.OPEN
        self.drop_reason = ""
        self.login = None
        self.opened_ns = self.last_frame_ns = self.pinged_ns = now_ns
        self.retries = []
        self.hour = HourBudget(self.hour.count)
        self.outbox, self.placed = asyncio.Queue(), 0
        for order in self.ledger.opened():
            self.outbox.put_nowait(order)

    def end(self, reason: str) -> list[Order]:
        """Leave the socket; returns the orders that died with it, sent or not."""
        self.state = LinkState.BACKOFF
        self.problem = reason
        lost = [*self.ledger.pending, *(order for _, order in self.retries)]
        if self.sending is not None:
            lost.append(self.sending)
            self.sending = None
        while not self.outbox.empty():
            lost.append(self.outbox.get_nowait())
        self.placed = 0
        return lost

    def left(self, now_ns: int) -> float:
        """Requests of the hour that neither were sent nor wait to be; infinity without a limit."""
        return self.hour.left(now_ns) - (self.outbox.qsize() - self.placed)

    def has_spare(self, now_ns: int, kept: int) -> bool:
        """Whether more than half of an open connection's hour is left beside what is kept of it."""
        count = self.hour.count
        if count is None or self.state is not LinkState.OPEN:
            return True
        return self.left(now_ns) - kept > count / 2

    def queue_paid(self, order: Order) -> None:
        """Queue an order that has its place in the connection's hour already."""
        self.outbox.put_nowait(replace(order, paid=True))
        self.placed += 1

    def queue_together(self, orders: Iterable[Order], now_ns: int) -> None:
        """Queue orders of which none may wait for its place in the hour behind another.

        As many places must be `left`: they are taken at once, and nothing comes between them.
        """
        for order in orders:
            self.hour.reserve(now_ns)
            self.queue_paid(order)

    def defer(self, order: Order, now_ns: int) -> bool:
        """Put an order aside until its place in the connection's hour; pings never wait behind."""
        if order.paid:
            self.placed -= 1
            return False
        if order.purpose is Purpose.PING:
            return False
        wait_ns = self.hour.reserve(now_ns)
        if wait_ns:
            self.retries.append((now_ns + wait_ns, replace(order, paid=True)))
        return wait_ns > 0

    def recovered(self, now_ns: int, given_up: set[str], limit_s: float) -> bytes | None:
        """How a lost connection ends to recover, once: `whole`, or `limit`; None while it does."""
        if not self.recovering:
            return None
        whole = self.ledger.whole(given_up)
        self.recovering = not whole and now_ns - self.opened_ns < round(limit_s * 1e9)
        return None if self.recovering else b"whole" if whole else b"limit"

    def retry(self, now_ns: int) -> None:
        """Queue the orders whose time to be tried again has come, and which are still wanted."""
        waiting = []
        for due_ns, order in self.retries:
            if due_ns > now_ns:
                waiting.append((due_ns, order))
            elif not order.attempt or not self.ledger.wanted.isdisjoint(order.request.channels):
                if order.paid:
                    self.queue_paid(order)
                else:
                    self.outbox.put_nowait(order)
        self.retries = waiting


def place(links: Iterable[Link], path: str, channels: set[str], room: int) -> Link | None:
    """Connection of a path that can take a plan within `room` channels; None if there is none.

    The one that carries most of the channels already wins, then the emptiest, then the first.
    A plan for new listings names the channels of whole currencies again: on the socket that has
    them that changes nothing, on another it would bring each trade twice.
    """
    fitting = [
        link for link in links if link.path == path and len(link.ledger.wanted | channels) <= room
    ]
    return max(
        fitting,
        key=lambda link: (len(link.ledger.wanted & channels), -len(link.ledger.wanted)),
        default=None,
    )


def carrier(links: Iterable[Link], requests: Sequence[Request]) -> Link | None:
    """Open connection that carries what a resync asks for again; None if there is none."""
    channels = {channel for request in requests for channel in request.channels}
    for link in links:
        if link.state is LinkState.OPEN and not channels.isdisjoint(link.ledger.wanted):
            return link
    return None


def worded(venue: Venue, order: Order, now_ns: int) -> str:
    """Text of an order as it is sent at a time, which some venues want to be told."""
    text = order.request.text
    return venue.stamped(text, now_ns) if isinstance(venue, Stamper) else text


def named(venue: Venue, path: str, frame: bytes) -> bytes:
    """A frame of a path with the names of our channels, where the venue's stand for others too."""
    if isinstance(venue, PathNamer) and path in venue.NAMED_PATHS:
        return venue.named(frame)
    return frame


def shut_out(venue: Venue, keys: Credentials | None) -> bool:
    """Whether a venue's sockets are for accounts alone, and there are no keys of one."""
    return isinstance(venue, Signer) and keys is None


def signature(venue: Venue, keys: Credentials | None, now_ns: int) -> str:
    """What a connection adds to its address, often nothing; not for who is `shut_out`."""
    return "" if keys is None or not isinstance(venue, Signer) else venue.path(keys, now_ns)


def trouble_of(links: Sequence[Link], problem: str) -> str:
    """What keeps a venue's feed from being whole, in one short line, "" if nothing does.

    problem: what went wrong with the instruments; a connection that is down matters more.
    """
    down = [
        link
        for link in links
        if link.state is not LinkState.OPEN and link.problem and link.ledger.wanted
    ]
    if down:
        problem = f"{len(down)} of {len(links)} connections down: {down[0].problem}"
    # The words may be the venue's: no control character reaches a terminal.
    return "".join(c if c.isprintable() else " " for c in problem[:TROUBLE_CHARS_MAX])


def renewal_ns(connection: int, limits: Limits) -> float:
    """Age at which a connection is renewed; infinity where the venue sets no limit.

    A connection that the venue cuts at some age is renewed at RENEW_AT of it, each further one a
    little earlier again, so that no two of a venue are down at once.
    """
    if limits.connection_s is None:
        return math.inf
    return limits.connection_s * (RENEW_AT - RENEW_STEP * (connection % RENEW_STEPS)) * 1e9


def host_of(url: str) -> str:
    """Host of a URL, with its port where one is given, without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
