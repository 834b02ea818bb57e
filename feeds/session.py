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
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace

import aiohttp

from feeds.budget import ConnectBudget, TokenBucket, backoff_s
from feeds.channels import Answer, Order, Purpose, ResyncQueue
from feeds.clock import Clock
from feeds.contract import Listing
from feeds.daily import DailyWindow
from feeds.discovery import NETWORK_ERRORS, Discoverer, words_of
from feeds.errors import SessionError, SocketClosedError
from feeds.journal import Journal
from feeds.links import (
    Link,
    LinkState,
    Login,
    SessionCounts,
    SessionPolicy,
    host_of,
    renewal_ns,
    shut_out,
    signature,
    trouble_of,
    worded,
)
from feeds.network import Network
from feeds.receiver import Receiver
from feeds.record import Record, RecordType, Redactor
from feeds.recorder import Recorder
from feeds.resyncs import Resyncer
from feeds.secrets import Credentials
from feeds.subscriber import Subscriber
from feeds.tiers import Refusal
from feeds.transport import AiohttpTransport, Socket, Transport
from feeds.upkeep import Upkeep
from feeds.venue import (
    Authenticator,
    ChannelOptions,
    Control,
    Limits,
    Pinger,
    Request,
    Venue,
)


@dataclass(slots=True, eq=False)
class VenueSession:
    """Keeps one venue's channels flowing into the journal and the pipeline.

    Args:
        venue: the venue's module; rest_url and ws_url say where it is.
        journal: every record goes here first; it uses the same clock.
        options: channels per listing, planned within `limits`.
        depth: channels of the second tier, for the listings that `follow_depth` names; None where
            `options` has everything.
        budget: connections per host, shared by all sessions.
        deliver: takes records right after the journal; must not block.
        underlyings: which to subscribe; empty takes all that discovery gives.
        rng, policy: jitter, and our own limits.
        credentials: log every connection in, where `options.authenticated` and the venue knows how,
            and sign its address, where the venue wants that even for public data.
        network: which proxy to take, and whose certificates to believe.
        maintenance: when the venue is down every day.
        redact: replaces secrets in what was received and in words, before anybody keeps them.
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
    deliver: Callable[[Sequence[Record]], object]
    underlyings: Sequence[str]
    rng: random.Random
    depth: ChannelOptions | None = None
    policy: SessionPolicy = field(default_factory=SessionPolicy)
    credentials: Credentials | None = None
    network: Network = field(default_factory=Network)
    maintenance: Sequence[DailyWindow] = ()
    redact: Redactor | None = None
    transport: Transport = field(default_factory=AiohttpTransport)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    recorder: Recorder = field(init=False)
    receiver: Receiver = field(init=False)
    counts: SessionCounts = field(init=False, default_factory=SessionCounts)
    links: list[Link] = field(init=False, default_factory=list)
    subscriber: Subscriber = field(init=False)
    given_up: set[str] = field(init=False, default_factory=set)  # until a new socket; no depth
    discoverer: Discoverer = field(init=False)
    resyncs: ResyncQueue = field(init=False)
    upkeep: Upkeep = field(init=False)
    _resyncer: Resyncer = field(init=False)
    _bucket: TokenBucket = field(init=False)
    _stopping: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _discovery_wanted: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _discovered_ns: int = field(init=False, default=0)
    _tasks: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _group: asyncio.TaskGroup = field(init=False)
    _http: aiohttp.ClientSession = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.venue.NAME, self.journal, self.deliver, self.redact)
        self.receiver = Receiver(self.venue, self.recorder, self.counts, self._obey)
        self._bucket = TokenBucket(self.limits.requests_per_s, self.limits.request_burst)
        self.resyncs = self.policy.resync_queue()
        self.subscriber = Subscriber(
            self.venue, self.options, self.depth, self.limits, self.counts, self.links,
            self.resyncs, log=self.recorder.take, start=self._start_link,
            resync=self.request_resync,
        )  # fmt: skip
        self.upkeep = Upkeep(self.limits, self.policy, self.rng, self.maintenance)
        self._resyncer = Resyncer(
            self.venue, self.subscriber.options_of, self.policy, self.counts, self.links,
            self.resyncs, self.upkeep,
        )  # fmt: skip
        self.discoverer = Discoverer(
            self.venue, self.rest_url, self.underlyings, self.policy, self.counts,
            log=lambda name, body: self.recorder.take(RecordType.HTTP, -1, name, body),
            pace=self._pace, clean=self.recorder.clean, proxy_headers=self.network.proxy_headers,
            spots=self.options.spots,
        )  # fmt: skip

    async def run(self) -> None:
        """Discover, subscribe and receive until stopped or cancelled; call once.

        Raises:
            ExceptionGroup: with a SessionError where the venue's plan does not fit its limits at
                the start, or with whatever was our own bug. Network failures never get here.
        """
        async with self.network.open() as self._http, asyncio.TaskGroup() as self._group:
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
        async with self.network.open() as http:
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

    def follow_depth(self, wanted: Mapping[str, str]) -> None:
        """Give exactly these options depth, as far as connections go; never waits.

        Args:
            wanted: symbol -> why, for the journal. What is not listed is left out. Say it again
                and again: what finds no request of the hour, or no place, is only then followed.
        """
        if self._stopping.is_set():  # A connection begun now would outlive the others.
            return
        now_ns = self.clock.now_ns()
        kept = self.upkeep.kept_requests(now_ns)
        if not all(link.has_spare(now_ns, kept) for link in self.links):
            self.counts.depth_postponed += 1
            return
        self.discoverer.problem = self.subscriber.follow_depth(wanted) or self.problem

    @property
    def depth_refused(self) -> frozenset[str]:
        """Symbols whose depth the venue would not give: not to be wanted for now."""
        tier = self.subscriber.tier
        return frozenset() if tier is None else frozenset(tier.refused)

    def request_resync(self, symbols: Iterable[str]) -> None:
        """Ask for fresh snapshots of listings, each at its own backoff; bounded, never waits."""
        now_ns = self.clock.now_ns()
        self._resyncer.ask(symbols, now_ns)
        self._start_resyncs(now_ns)

    def _start(self, work: Coroutine[object, object, None], name: str) -> None:
        task = self._group.create_task(work, name=f"{self.venue.NAME}.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _later_ns(self, seconds: float) -> int:
        return self.clock.now_ns() + round(seconds * 1e9)

    def _backoff_s(self, attempt: int) -> float:
        base_s, cap_s = self.policy.retry_base_s, self.policy.retry_cap_s
        if self.in_maintenance:
            base_s, cap_s = self.policy.maintenance_base_s, self.policy.maintenance_cap_s
        return backoff_s(self.rng, attempt, base_s, cap_s)

    async def _admit(self, url: str, *, spare: bool = False) -> None:
        """Wait until the connect budget of a host grants a connection; `spare` leaves the reserve.

        Before listings change the reserve is for what will be listed.
        """
        host = host_of(url)
        while True:
            now_ns = self.clock.now_ns()
            kept = self.upkeep.kept_connects(now_ns) if spare else 0
            wait_ns = self.budget.take(host, kept)
            if not wait_ns:
                return
            self.counts.budget_waits += 1
            until_ns = self.upkeep.until_change_ns(now_ns)  # From then on nothing is kept.
            await self.sleep((min(wait_ns, until_ns) if kept else wait_ns) / 1e9)

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
        self._discovered_ns = self.clock.now_ns()  # Or the watch would ask again while this does.
        await self._admit(self.rest_url)
        found, complete = await self.discoverer.ask(self._http)
        self._discovered_ns = self.clock.now_ns()
        if complete:
            self.subscriber.remove(self.discoverer.ended(self.listings, found, self._discovered_ns))
        new = [found[symbol] for symbol in found if symbol not in self.listings]
        self.discoverer.problem = self.subscriber.add(new) or self.problem
        return complete

    @property
    def listings(self) -> dict[str, Listing]:
        """What is subscribed, by symbol."""
        return self.subscriber.listings

    @property
    def problem(self) -> str:
        """Failure of the last discovery or of the plan for what it found, "" if none."""
        return self.discoverer.problem

    # Connections

    def _start_link(self, link: Link) -> None:
        self._start(self._run_link(link), f"link-{link.connection}")

    @property
    def trouble(self) -> str:
        """What last went wrong and has not been mended, in one short line; "" if nothing has.

        What is missing while the venue is down on purpose is no trouble.
        """
        return "" if self.in_maintenance else trouble_of(self.links, self.problem)

    @property
    def in_maintenance(self) -> bool:
        """Whether the venue is down on purpose, or will be: silence is no trouble then."""
        return self.upkeep.down(self.clock.now_ns())

    async def _run_link(self, link: Link) -> None:
        """Connect and serve for ever; each failure is counted and backs off."""
        try:
            # No keys come during a run: to ask the connect budget would spend it for nothing.
            if shut_out(self.venue, self.credentials):
                url = self.ws_url + link.path
                link.problem = f"{url}: is for accounts alone, and there are no keys of one"
                return
            while True:
                link.state = LinkState.WAITING
                while not link.ledger.wanted:  # All its listings ended or were given back.
                    self._look_recovered(link, self.clock.now_ns())
                    await self.sleep(self.policy.check_s)
                await self._admit(self.ws_url, spare=True)
                if not link.ledger.wanted:  # Given back meanwhile.
                    continue
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
        signed = signature(self.venue, self.credentials, self.clock.now_ns())
        try:
            async with asyncio.timeout(self.policy.connect_s):
                return await self.transport.connect(
                    url + signed,
                    self._http,
                    self.network,
                    frame_bytes_max=self.limits.frame_bytes_max,
                    close_s=self.policy.close_s,
                )
        except NETWORK_ERRORS as error:
            link.problem = self.recorder.clean(f"{url}: {words_of(error)}")
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
        path = link.path.encode()
        opened = self.recorder.take(RecordType.CONNECTION, link.connection, "open", path)
        self.counts.connects += 1
        self.given_up -= link.ledger.wanted
        self.subscriber.word(link)
        link.begin(opened.rx_ns)

    def _close(self, link: Link, reason: str) -> None:
        self.counts.disconnects += 1
        reason = self.recorder.clean(reason)
        link.recovering = not self._stopping.is_set()
        self.recorder.take(RecordType.CONNECTION, link.connection, "close", reason.encode())
        for order in link.end(reason):
            self.resyncs.finish(order.symbol)  # The next socket begins with a snapshot.
            self.subscriber.ended(link, order)
        self.subscriber.closed(link)

    async def _read(self, link: Link, socket: Socket) -> str:
        """Receive until the socket ends; returns why it did."""
        while True:
            try:
                frames = await socket.receive()
            except SocketClosedError as closed:
                return str(closed)
            for reply in self.receiver.take(link, frames):
                try:
                    await socket.send_str(reply)
                except NETWORK_ERRORS as error:
                    return f"reply failed: {words_of(error)}"

    def _obey(self, link: Link, control: Control) -> None:
        """Follow what a frame says about the session."""
        if link.login is not None:
            link.login.heed(control)
        if control.ack is not None:
            self._answered(link, *control.ack)
        elif control.refused is not None:
            self.counts.refused += self._answered(link, control.refused[0], ())
        if control.accepted or control.denied:
            due_ns = self._later_ns(self.policy.first_data_s)
            for answer in link.ledger.named(control.accepted, control.denied, due_ns):
                self._follow(link, answer)
        if control.resync:
            now_ns = self.clock.now_ns()
            self._resyncer.failed(control.resync, self.listings, now_ns)
            self._start_resyncs(now_ns)
        if control.maintenance is not None:
            self.counts.maintenance_notices += 1
            self.upkeep.notice(self.clock.now_ns(), down=control.maintenance)

    async def _send(self, link: Link, socket: Socket) -> str:
        """Send hellos, then what the outbox holds, paced; returns why it ended."""
        try:
            for text in self.venue.hello():
                await self._pace()
                await socket.send_str(text)
            if failure := await self._log_in(link, socket):
                return failure
            while True:
                order = await link.outbox.get()
                if link.defer(order, self.clock.now_ns()):
                    self.counts.hour_waits += 1
                    continue
                link.sending = order  # It dies with the socket, too, while it waits for its place.
                await self._pace()
                link.sending = None
                self._sent(link, order)
                await socket.send_str(worded(self.venue, order, self.clock.now_ns()))
        except NETWORK_ERRORS as error:
            return f"send failed: {words_of(error)}"

    async def _log_in(self, link: Link, socket: Socket) -> str:
        """Log in where that is wanted, since what follows may need it; returns why it failed."""
        if self.credentials is None or not self.options.authenticated:
            return ""
        assert isinstance(self.venue, Authenticator)
        request = self.venue.login(self.credentials)
        await self._pace()
        link.login = Login(request.request_id, self._later_ns(self.policy.ack_s))
        link.hour.reserve(self.clock.now_ns())
        self.counts.logins += 1
        await socket.send_str(request.text)  # Sent and never journaled: it holds the secret.
        await link.login.done.wait()
        self.counts.logins_failed += bool(link.login.problem)
        return link.login.problem

    def _sent(self, link: Link, order: Order) -> None:
        if order.purpose is Purpose.PING:
            self.counts.pings += 1
            return
        self.counts.requests += 1
        due_ns = self._later_ns(self.policy.ack_s)
        link.ledger.sent(replace(order, due_ns=due_ns, paid=False))
        unsubscribes = order.purpose is Purpose.UNSUBSCRIBE
        name = "unsubscribe" if unsubscribes else "subscribe"
        self.recorder.take_channels(link.connection, name, order.request.channels)
        self.subscriber.sent(link, order)
        if not self.limits.answers:
            self._answered(link, order.request.request_id, None)

    def _answered(self, link: Link, request_id: int, accepted: Sequence[str] | None) -> bool:
        """Follow an answer to a request; False where no such request waits."""
        due_ns = self._later_ns(self.policy.first_data_s)
        answer = link.ledger.answered(request_id, accepted, due_ns)
        if answer is not None:
            self._follow(link, answer)
        return answer is not None

    def _follow(self, link: Link, answer: Answer, *, heard: bool = True) -> None:
        """Record what an answer gave, and ask again for what it did not; not `heard`: none came."""
        order = answer.order
        if order.symbol:
            self.resyncs.finish(order.symbol)
            self._start_resyncs(self.clock.now_ns())
        if answer.accepted:
            self.counts.accepted += len(answer.accepted)
            self.recorder.take_channels(link.connection, "accepted", answer.accepted)
        if not answer.missing:
            return
        self.counts.missing += len(answer.missing)
        self.recorder.take_channels(link.connection, "missing", answer.missing)
        attempt = order.attempt + 1
        if attempt >= self.policy.subscribe_attempts:
            self.counts.given_up += len(answer.missing)
            if link.deep:
                until_ns = self._later_ns(self.policy.depth_refused_s)
                refusal = Refusal(until_ns, None if heard else link.connection)
                self.subscriber.refuse(answer.missing, refusal)
            else:
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
            self.discoverer.problem = self.subscriber.ask_again(now_ns) or self.problem
            since_s = (now_ns - self._discovered_ns) / 1e9
            if self.upkeep.asks(now_ns) or since_s >= self.discoverer.every_s:
                self.request_discovery()

    def _check(self, link: Link, now_ns: int) -> None:
        if now_ns - link.last_frame_ns >= round(self.limits.silence_s * 1e9):
            self.counts.silence_timers += 1
            self.recorder.take(RecordType.TIMER, link.connection, "silence", b"")
            self._drop(link, f"no frame for {self.limits.silence_s} s")
            return
        if now_ns - link.opened_ns >= renewal_ns(link.connection, self.limits):
            self.counts.renewals += 1
            self._drop(link, "renewed before the venue's limit of age")
            return
        if link.login is not None:
            link.login.look(now_ns)
        self._ping(link, now_ns)
        for channel in link.ledger.silent(now_ns):
            self.counts.first_data_timers += 1
            self.recorder.take(RecordType.TIMER, link.connection, "first_data", channel.encode())
            if not self.limits.answers or self.limits.accepts_anything:
                self.request_resync(self.subscriber.book_of(channel))
        for answer in link.ledger.overdue(now_ns):
            self.counts.unanswered += 1
            self._follow(link, answer, heard=False)
        link.retry(now_ns)
        self._look_recovered(link, now_ns)

    def _look_recovered(self, link: Link, now_ns: int) -> None:
        """Say in the log when a connection is as it was before it was lost, or has had its time."""
        how = link.recovered(now_ns, self.given_up, self.policy.recovering_max_s)
        if how is not None:
            self.counts.recoveries += 1
            self.counts.recoveries_cut += how == b"limit"
            self.recorder.take(RecordType.TIMER, link.connection, "recovered", how)

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
        self.subscriber.next_id = self._resyncer.start(now_ns, self.subscriber.next_id)
