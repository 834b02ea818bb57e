"""Stage 1 of 8: one venue's sockets: when they are opened, what is asked, what came.

What arrives, and what the session decides on its own (connections, timers, subscriptions), is
stamped, journaled and delivered in one synchronous step: a replay sees what was seen live.

    run ─┬─ discovery    instruments over HTTP, again when asked
         ├─ watch        silence, first frames, late answers, retries, resyncs
         └─ link 0..n    budget -> connect -> hello ─┬─ read   frames, replies
                                                     └─ send   requests, paced
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Final

import aiohttp
import msgspec

from feeds.budget import ConnectBudget, TokenBucket, backoff_s
from feeds.channels import Answer, Asked, ChannelLedger, Order, Purpose, ResyncQueue
from feeds.clock import Clock
from feeds.contract import Listing
from feeds.discovery import NETWORK_ERRORS, Discoverer, words_of
from feeds.errors import SessionError, SocketClosedError
from feeds.journal import Journal
from feeds.links import (
    Link,
    LinkState,
    SessionCounts,
    SessionPolicy,
    carrier,
    host_of,
    place,
    renewal_ns,
)
from feeds.record import Record, RecordType
from feeds.transport import AiohttpTransport, Socket, Transport
from feeds.venue import (
    ChannelOptions,
    Limits,
    Pinger,
    Request,
    Unsubscriber,
    Venue,
)

FIRST_OWN_REQUEST_ID: Final = 1_000_000  # Above the ids of any plan, below 10 digits for years.
TROUBLE_CHARS_MAX: Final = 240


@dataclass(slots=True, eq=False)
class VenueSession:
    """Keeps one venue's channels flowing into the journal and the pipeline.

    Args:
        venue: the venue's module; rest_url and ws_url say where it is.
        journal: every record goes here first; it uses the same clock.
        options: channels per listing, planned within `limits`.
        budget: connections per host, shared by all sessions.
        deliver: takes each record right after the journal; must not block.
        underlyings: which to subscribe; empty takes all that discovery gives.
        rng, policy: jitter, and our own limits.
        redact: replaces secrets in what was received, before anybody keeps it.
        transport: opens the WebSockets.
        sleep: waits some seconds; tests put their own time here.
    """

    venue: Venue
    _: KW_ONLY
    rest_url: str
    ws_url: str
    journal: Journal
    clock: Clock
    options: ChannelOptions
    limits: Limits
    budget: ConnectBudget
    deliver: Callable[[Record], None]
    underlyings: Sequence[str]
    rng: random.Random
    policy: SessionPolicy = field(default_factory=SessionPolicy)
    redact: Callable[[bytes], bytes] | None = None
    transport: Transport = field(default_factory=AiohttpTransport)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    counts: SessionCounts = field(init=False, default_factory=SessionCounts)
    links: list[Link] = field(init=False, default_factory=list)
    listings: dict[str, Listing] = field(init=False, default_factory=dict)
    given_up: set[str] = field(init=False, default_factory=set)  # channels, until a new socket
    discoverer: Discoverer = field(init=False)
    resyncs: ResyncQueue = field(init=False)
    _bucket: TokenBucket = field(init=False)
    _next_id: int = field(init=False, default=FIRST_OWN_REQUEST_ID)
    _stopping: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _discovery_wanted: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _discovered_ns: int = field(init=False, default=0)
    _tasks: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _group: asyncio.TaskGroup = field(init=False)
    _http: aiohttp.ClientSession = field(init=False)

    def __post_init__(self) -> None:
        self._bucket = TokenBucket(self.limits.requests_per_s, self.limits.request_burst)
        self.resyncs = self.policy.resync_queue()
        self.discoverer = Discoverer(
            self.venue, self.rest_url, self.underlyings, self.policy, self.counts,
            log=lambda name, body: self._log(RecordType.HTTP, -1, name, body),
            pace=self._pace, redact=self.redact,
        )  # fmt: skip

    async def run(self) -> None:
        """Discover, subscribe and receive until stopped or cancelled; call once.

        Raises:
            ExceptionGroup: with a SessionError where the venue's plan does not fit its limits at
                the start, or with whatever was our own bug. Network failures never get here.
        """
        # No limit in the connector: there it would make a connection wait in silence.
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector) as self._http,
            asyncio.TaskGroup() as self._group,
        ):
            self._start(self._discoveries(), "discovery")
            self._start(self._watch(), "watch")
            await self._stopping.wait()
            for task in self._tasks:
                task.cancel()

    async def discover_once(self) -> list[Listing]:
        """Fetch the instruments and nothing else, each once; opens no socket, subscribes nothing.

        Raises:
            SessionError: a body did not come or could not be read.
        """
        async with aiohttp.ClientSession() as http:
            found, complete = await self.discoverer.ask(http)
        if not complete:
            raise SessionError(self.problem)
        return list(found.values())

    def stop(self) -> None:
        """Make `run` close all connections and return."""
        self._stopping.set()

    def request_discovery(self) -> None:
        """Ask for the instruments again, soon; repeated calls make one question."""
        self._discovery_wanted.set()

    def request_resync(self, symbols: Iterable[str]) -> None:
        """Ask for fresh snapshots of listings, each at its own backoff; bounded, never waits."""
        now_ns = self.clock.now_ns()
        for symbol in symbols:
            outcome = self.resyncs.ask(symbol, now_ns)
            self.counts.resyncs_duplicate += outcome is Asked.DUPLICATE
            self.counts.resyncs_dropped += outcome is Asked.FULL
        self._start_resyncs(now_ns)

    def _start(self, work: Coroutine[object, object, None], name: str) -> None:
        task = self._group.create_task(work, name=f"{self.venue.NAME}.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _log(self, record_type: RecordType, connection: int, name: str, payload: bytes) -> Record:
        """Journal and deliver in one synchronous step: log order is the pipeline's order."""
        record = self.journal.append(record_type, self.venue.NAME, connection, name, payload)
        self.deliver(record)
        return record

    def _log_channels(self, link: Link, name: str, channels: Sequence[str]) -> None:
        payload = msgspec.json.encode(channels)
        self._log(RecordType.SUBSCRIPTION, link.connection, name, payload)

    def _later_ns(self, seconds: float) -> int:
        return self.clock.now_ns() + round(seconds * 1e9)

    def _backoff_s(self, attempt: int) -> float:
        return backoff_s(self.rng, attempt, self.policy.retry_base_s, self.policy.retry_cap_s)

    async def _admit(self, url: str) -> None:
        """Wait until the connect budget of a host grants a connection."""
        while (wait_ns := self.budget.take(host_of(url))) > 0:
            self.counts.budget_waits += 1
            await self.sleep(wait_ns / 1e9)

    async def _pace(self) -> None:
        """Wait for the next place among the venue's requests a second."""
        wait_ns = self._bucket.reserve(self.clock.now_ns())
        if wait_ns:
            await self.sleep(wait_ns / 1e9)

    # Discovery

    async def _discoveries(self) -> None:
        failures = 0
        while True:
            self._discovery_wanted.clear()
            if await self._discover():
                failures = 0
                await self._discovery_wanted.wait()
                since_s = (self.clock.now_ns() - self._discovered_ns) / 1e9
                if since_s < self.policy.discovery_min_s:
                    await self.sleep(self.policy.discovery_min_s - since_s)
            else:
                await self.sleep(self._backoff_s(failures))
                failures += 1

    async def _discover(self) -> bool:
        """Fetch all instruments and follow what changed; False if any of it failed."""
        await self._admit(self.rest_url)
        found, complete = await self.discoverer.ask(self._http)
        self._discovered_ns = self.clock.now_ns()
        if complete:
            self._delist([symbol for symbol in self.listings if symbol not in found])
        self._list([found[symbol] for symbol in found if symbol not in self.listings])
        return complete

    def _list(self, listings: list[Listing]) -> None:
        """Subscribe new listings on connections with room, or on new ones."""
        if not listings:
            return
        existing = list(self.links)
        try:
            plans = self.venue.subscriptions(listings, self.options, self.limits)
        except SessionError as error:
            if not existing:
                raise
            self.discoverer.problem = str(error)
            self.counts.no_room += len(listings)
            return
        self.listings.update((listing.symbol, listing) for listing in listings)
        self.counts.listed += len(listings)
        for plan in plans:
            room = self.limits.channels_per_connection
            link = place(existing, plan.path, set(plan.channels), room) or self._add_link(plan.path)
            if link is None:
                self.counts.no_room += len(plan.channels)
                self._log(
                    RecordType.SUBSCRIPTION, -1, "missing", msgspec.json.encode(plan.channels)
                )
                continue
            for request in plan.requests:
                link.ledger.carry(request)
                if link.state is LinkState.OPEN:
                    link.outbox.put_nowait(Order(request))

    def _add_link(self, path: str) -> Link | None:
        if len(self.links) >= self.limits.connections_max:
            return None
        link = Link(len(self.links), ChannelLedger(self.venue), path)
        self.links.append(link)
        self._start(self._run_link(link), f"link-{link.connection}")
        return link

    def _delist(self, symbols: list[str]) -> None:
        """Give back the channels of listings that ended."""
        if not symbols:
            return
        gone = set(symbols)
        for symbol in symbols:
            del self.listings[symbol]
            self.resyncs.forget(symbol)
        self.counts.delisted += len(symbols)
        for link in self.links:
            channels = sorted(
                c for c in link.ledger.wanted if self.venue.symbol_of_channel(c) in gone
            )
            if channels:
                link.ledger.forget(channels)
                self._unsubscribe(link, channels)

    def _unsubscribe(self, link: Link, channels: list[str]) -> None:
        if link.state is not LinkState.OPEN:
            return
        if not isinstance(self.venue, Unsubscriber):
            self._log_channels(link, "unsubscribe", channels)  # Nothing to send; ours from here.
            return
        for request in self.venue.unsubscribe(channels, self.limits, self._next_id):
            self._next_id = max(self._next_id, request.request_id + 1)
            link.outbox.put_nowait(Order(request, Purpose.UNSUBSCRIBE))

    # Connections

    @property
    def problem(self) -> str:
        """Failure of the last discovery or of the plan for what it found, "" if none."""
        return self.discoverer.problem

    @property
    def trouble(self) -> str:
        """What last went wrong and has not been mended, in one short line; "" if nothing has."""
        text = self.problem
        down = [link for link in self.links if link.state is not LinkState.OPEN and link.problem]
        if down:
            text = f"{len(down)} of {len(self.links)} connections down: {down[0].problem}"
        # The words may be the venue's: no control character reaches a terminal.
        return "".join(c if c.isprintable() else " " for c in text[:TROUBLE_CHARS_MAX])

    async def _run_link(self, link: Link) -> None:
        """Connect and serve for ever; each failure is counted and backs off."""
        try:
            while True:
                link.state = LinkState.WAITING
                await self._admit(self.ws_url)
                link.state = LinkState.CONNECTING
                socket = await self._connect(link)
                if socket is None:
                    self.counts.connect_failures += 1
                    link.failures += 1
                else:
                    await self._serve(link, socket)
                    lived_s = (self.clock.now_ns() - link.opened_ns) / 1e9
                    link.failures = 1 if lived_s >= self.policy.stable_s else link.failures + 1
                link.state = LinkState.BACKOFF
                await self.sleep(self._backoff_s(link.failures - 1))
        finally:
            link.state = LinkState.CLOSED

    async def _connect(self, link: Link) -> Socket | None:
        url = self.ws_url + link.path
        try:
            async with asyncio.timeout(self.policy.connect_s):
                return await self.transport.connect(
                    url,
                    self._http,
                    frame_bytes_max=self.limits.frame_bytes_max,
                    close_s=self.policy.close_s,
                )
        except NETWORK_ERRORS as error:
            link.problem = f"{url}: {words_of(error)}"
            return None

    async def _serve(self, link: Link, socket: Socket) -> None:
        """Move frames and requests until the connection ends, then close it."""
        self._open(link)
        name = f"{self.venue.NAME}.link-{link.connection}"
        link.reader = asyncio.create_task(self._read(link, socket), name=f"{name}.read")
        sender = asyncio.create_task(self._send(link, socket), name=f"{name}.send")
        reason = "stopped"
        try:
            done, _ = await asyncio.wait((link.reader, sender), return_when=asyncio.FIRST_COMPLETED)
            first = link.reader if link.reader in done else sender
            reason = link.drop_reason if first.cancelled() else first.result()
        finally:
            self._close(link, reason)
            link.reader.cancel()
            sender.cancel()
            try:
                await asyncio.gather(link.reader, sender, return_exceptions=True)
            finally:  # The session may be stopped meanwhile, and the socket is closed all the same.
                with contextlib.suppress(*NETWORK_ERRORS):
                    await socket.close()

    def _open(self, link: Link) -> None:
        opened = self._log(RecordType.CONNECTION, link.connection, "open", b"")
        self.counts.connects += 1
        self.given_up -= link.ledger.wanted
        link.begin(opened.rx_ns)

    def _close(self, link: Link, reason: str) -> None:
        self.counts.disconnects += 1
        self._log(RecordType.CONNECTION, link.connection, "close", reason.encode())
        for order in link.end(reason):
            self.resyncs.finish(order.symbol)  # The next socket begins with a snapshot.

    async def _read(self, link: Link, socket: Socket) -> str:
        """Receive until the socket ends; returns why it did."""
        while True:
            try:
                frames = await socket.receive()
            except SocketClosedError as closed:
                return str(closed)
            for frame in frames:
                reply = self._on_frame(link, frame)
                if reply is not None:
                    try:
                        await socket.send_str(reply)
                    except NETWORK_ERRORS as error:
                        return f"reply failed: {words_of(error)}"

    def _on_frame(self, link: Link, frame: bytes) -> str | None:
        """Journal, deliver and obey one frame, in one synchronous step; returns a reply."""
        kept = frame if self.redact is None else self.redact(frame)
        link.last_frame_ns = self._log(RecordType.FRAME, link.connection, "", kept).rx_ns
        counts = self.counts
        counts.frames += 1
        counts.bytes += len(frame)
        control = self.venue.control(frame)
        if control is None:
            if link.ledger.awaiting:
                link.ledger.heard(frame)
            return None
        if control.ack is not None:
            self._answered(link, *control.ack)
        elif control.refused is not None:
            self.counts.refused += self._answered(link, control.refused[0], ())
        if control.accepted or control.denied:
            due_ns = self._later_ns(self.policy.first_data_s)
            for answer in link.ledger.named(control.accepted, control.denied, due_ns):
                self._follow(link, answer)
        counts.notices += control.notice is not None
        counts.replies += control.reply is not None
        return control.reply

    async def _send(self, link: Link, socket: Socket) -> str:
        """Send hellos, then what the outbox holds, paced; returns why it ended."""
        try:
            for text in self.venue.hello():
                await self._pace()
                await socket.send_str(text)
            while True:
                order = await link.outbox.get()
                await self._pace()
                self._sent(link, order)
                await socket.send_str(order.request.text)
        except NETWORK_ERRORS as error:
            return f"send failed: {words_of(error)}"

    def _sent(self, link: Link, order: Order) -> None:
        if order.purpose is Purpose.PING:
            self.counts.pings += 1
            return
        self.counts.requests += 1
        link.ledger.sent(replace(order, due_ns=self._later_ns(self.policy.ack_s)))
        unsubscribes = order.purpose is Purpose.UNSUBSCRIBE
        name = "unsubscribe" if unsubscribes else "subscribe"
        self._log_channels(link, name, order.request.channels)

    def _answered(self, link: Link, request_id: int, accepted: Sequence[str] | None) -> bool:
        """Follow an answer to a request; False where no such request waits."""
        due_ns = self._later_ns(self.policy.first_data_s)
        answer = link.ledger.answered(request_id, accepted, due_ns)
        if answer is not None:
            self._follow(link, answer)
        return answer is not None

    def _follow(self, link: Link, answer: Answer) -> None:
        """Record what an answer gave, and ask again for what it did not."""
        order = answer.order
        if order.symbol:
            self.resyncs.finish(order.symbol)
            self._start_resyncs(self.clock.now_ns())
        if answer.accepted:
            self.counts.accepted += len(answer.accepted)
            self._log_channels(link, "accepted", answer.accepted)
        if not answer.missing:
            return
        self.counts.missing += len(answer.missing)
        self._log_channels(link, "missing", answer.missing)
        attempt = order.attempt + 1
        if attempt >= self.policy.subscribe_attempts:
            self.counts.given_up += len(answer.missing)
            self.given_up.update(answer.missing)
            return
        # The whole request again: only the venue can word one, and repeats change nothing.
        again = replace(order, attempt=attempt, symbol="")
        link.retries.append((self._later_ns(self._backoff_s(attempt)), again))

    # Timers

    async def _watch(self) -> None:
        while True:
            await self.sleep(self.policy.check_s)
            now_ns = self.clock.now_ns()
            for link in self.links:
                if link.state is LinkState.OPEN:
                    self._check(link, now_ns)
            self._start_resyncs(now_ns)
            if now_ns - self._discovered_ns >= round(self.policy.discovery_every_s * 1e9):
                self.request_discovery()

    def _check(self, link: Link, now_ns: int) -> None:
        if now_ns - link.last_frame_ns >= round(self.limits.silence_s * 1e9):
            self.counts.silence_timers += 1
            self._log(RecordType.TIMER, link.connection, "silence", b"")
            self._drop(link, f"no frame for {self.limits.silence_s} s")
            return
        if now_ns - link.opened_ns >= renewal_ns(link.connection, self.limits):
            self.counts.renewals += 1
            self._drop(link, "renewed before the venue's limit of age")
            return
        self._ping(link, now_ns)
        for channel in link.ledger.silent(now_ns):
            self.counts.first_data_timers += 1
            self._log(RecordType.TIMER, link.connection, "first_data", channel.encode())
        for answer in link.ledger.overdue(now_ns):
            self.counts.unanswered += 1
            self._follow(link, answer)
        link.retry(now_ns)

    def _ping(self, link: Link, now_ns: int) -> None:
        """Queue the ping that is due, where the venue wants any."""
        period_s = self.limits.ping_s
        if period_s is None or now_ns - link.pinged_ns < round(period_s * 1e9):
            return
        assert isinstance(self.venue, Pinger)
        link.pinged_ns = now_ns
        link.outbox.put_nowait(Order(Request(0, (), self.venue.ping()), Purpose.PING))

    def _drop(self, link: Link, reason: str) -> None:
        """End a connection from outside; its task closes the socket and connects again."""
        link.drop_reason = reason
        link.state = LinkState.BACKOFF
        if link.reader is not None:
            link.reader.cancel()

    # Resyncs

    def _start_resyncs(self, now_ns: int) -> None:
        for symbol in self.resyncs.start(now_ns):
            requests = self.venue.resync(symbol, self.options, self._next_id)
            link = carrier(self.links, requests)
            if link is None:
                self.counts.resyncs_unknown += 1
                self.resyncs.finish(symbol)
                continue
            self.counts.resyncs += 1
            self._next_id += len(requests)
            for request in requests[:-1]:
                link.outbox.put_nowait(Order(request, Purpose.UNSUBSCRIBE))
            link.outbox.put_nowait(Order(requests[-1], symbol=symbol))
