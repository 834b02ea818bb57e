"""Stage 1 of 8, simulated: a venue's server without its words: sockets, subscribers, faults, steps.

A venue's emulator is a subclass that brings its wire: which paths, which channels, what each says.
The server has no clock: `advance` moves the market by whole steps and sends what changed, so tests
drive it step by step and __main__.py drives it in real time.

Limits: CONNECTIONS_MAX sockets (more are answered 429), OUT_BYTES_MAX waiting bytes a connection
(a slower reader is cut, as venues do), REQUEST_BYTES_MAX a request. All are counted.
"""

import abc
import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Final

from aiohttp import WSCloseCode, WSMsgType, web

from feeds.contract import E9
from feeds.emulator.control import control_routes
from feeds.emulator.faults import BOOK_WORDS, Fault, Faults, is_book
from feeds.emulator.market import Market, Step
from feeds.errors import SymbolError

CONNECTIONS_MAX: Final = 32
OUT_BYTES_MAX: Final = 32 << 20
REQUEST_BYTES_MAX: Final = 1 << 20


class Connection:
    """One WebSocket: its subscriptions, its heartbeat and its bounded queue of frames.

    taken: frames queued so far; a client that has received as many is behind in nothing.
    """

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, path: str
    ) -> None:
        """Start without subscriptions or heartbeat."""
        self.channels: set[str] = set()
        self.socket = socket
        self.path = path
        self.muted_until_ns = 0
        self.heartbeat_ns = 0
        self.next_beat_ns = 0
        self.heard = False
        self.asked = False
        self.taken = 0
        self._transport = transport
        self._out: deque[bytes] = deque()
        self._out_bytes = 0
        self._ready = asyncio.Event()
        self._last = False
        self._dropped = False

    def put(self, content: bytes, now_ns: int) -> bool:
        """Queue a frame; False where the reader is too slow. A muted connection drops it."""
        if now_ns < self.muted_until_ns or self._last:
            return True
        self.taken += 1
        self._out.append(content)
        self._out_bytes += len(content)
        self._ready.set()
        return self._out_bytes <= OUT_BYTES_MAX

    @property
    def finished(self) -> bool:
        """Whether it is closing: nothing more is sent."""
        return self._last

    def finish(self) -> None:
        """Close once everything queued is sent."""
        self._last = True
        self._ready.set()

    def cut(self) -> None:
        """Drop the socket without a closing handshake."""
        self._last = self._dropped = True
        self._out.clear()
        self._transport.abort()
        self._ready.set()

    async def write(self) -> None:
        """Send what is queued until the connection ends."""
        with contextlib.suppress(ConnectionError):
            while True:
                await self._ready.wait()
                self._ready.clear()
                while self._out:
                    content = self._out.popleft()
                    self._out_bytes -= len(content)
                    await self.socket.send_frame(content, WSMsgType.TEXT)
                if self._dropped:
                    return
                if self._last:
                    await self.socket.close(code=WSCloseCode.POLICY_VIOLATION)
                    return


class VenueServer(abc.ABC):
    """One emulated venue.

    Attributes:
        REST_PATH, WS_PATH: what follows host and port in the addresses a client is given.
        WS_PATHS: paths below WS_PATH that are served, "" for WS_PATH itself.
        counters: what happened, for /emulator/status and tests.
        listened: channel -> number of subscriptions.
        skew_ms: added to every venue time stamp.
        peers: markets of all venues of the run, for events planted across them.
        BOOK_WORDS: words by which channels that carry books are known.
        KIND_FIELD, NAME_FIELD: where an instrument in a discovery answer says what it is.
    """

    REST_PATH: ClassVar[str] = ""
    WS_PATH: ClassVar[str]
    WS_PATHS: ClassVar[tuple[str, ...]] = ("",)
    BOOK_WORDS: ClassVar[tuple[str, ...]] = BOOK_WORDS
    KIND_FIELD: ClassVar[str] = "kind"
    NAME_FIELD: ClassVar[str] = "symbol"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        self.market = market
        self.peers: Mapping[str, Market] = {market.universe.profile.venue: market}
        self.faults = Faults(seed, partial(is_book, words=self.BOOK_WORDS))
        self.connections: set[Connection] = set()
        self.counters: dict[str, int] = {}
        self.listened: dict[str, int] = {}
        self.skew_ms = 0
        self._lasting_skew_ms = 0
        self._away_until_ns = 0
        self._subscribers: dict[str, set[Connection]] = {}
        self._runner: web.AppRunner | None = None
        self.port = 0

    @abc.abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """REST routes of the venue."""

    @abc.abstractmethod
    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer one request of a client."""

    @abc.abstractmethod
    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""

    @abc.abstractmethod
    def first(self, channel: str) -> Sequence[bytes]:
        """What a new subscriber gets at once."""

    @abc.abstractmethod
    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""

    def beat(self, connection: Connection, now_ns: int) -> None:  # noqa: B027 - few venues do
        """Do what a venue does at its own times; called once a step."""

    def restarted(self) -> None:  # noqa: B027 - few venues count on their own
        """Begin the counts that the venue keeps of its own anew."""

    def admits(self, request: web.Request) -> bool:  # noqa: ARG002 - for venues
        """Whether a client may have a socket; few venues ask who it is."""
        return True

    def limit(self, connection: Connection, text: str | bytes) -> None:  # noqa: ARG002 - for venues
        """Refuse a request as one too many; a venue that says so by a message says it here."""
        connection.finish()

    def limited_body(self) -> bytes:
        """What an answer 429 over REST says."""
        return b'{"error":"too many requests"}'

    def addresses(self, host: str) -> dict[str, str]:
        """What takes the place of the venue's own addresses."""
        base = f"{host}:{self.port}"
        return {
            "rest_url": f"http://{base}{self.REST_PATH}",
            "ws_url": f"ws://{base}{self.WS_PATH}",
            "control_url": f"http://{base}/emulator",
        }

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 chooses a free one, which `port` then says."""
        app = web.Application(client_max_size=REQUEST_BYTES_MAX, middlewares=[self._disturb])
        for path in self.WS_PATHS:
            app.router.add_get(self.WS_PATH + path, self._websocket)
        app.router.add_routes([*self.routes(), *control_routes(self)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Cut every connection and close the port."""
        for connection in tuple(self.connections):
            connection.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def advance(self, steps: int = 1) -> None:
        """Move the market by steps and send what changed; lets the sockets breathe after each."""
        for _ in range(steps):
            for fault in self.faults.begin_step(self.market.index + 1, self.market.now_ns):
                self._act(fault)
            self.skew_ms = self._lasting_skew_ms + self.faults.clock_ms()
            step = self.market.step()
            if self.listened:
                self.publish(step)
            for connection in tuple(self.connections):
                self.beat(connection, step.now_ns)
            await asyncio.sleep(0)

    def count(self, name: str) -> None:
        """Count something that happened."""
        self.counters[name] = self.counters.get(name, 0) + 1

    def deliver(self, channel: str, content: bytes) -> None:
        """Queue a frame for the subscribers of its channel, after the faults had their say."""
        now_ns = self.market.now_ns
        for delivered in self.faults.deliver(channel, content):
            for connection in tuple(self._subscribers.get(channel, ())):
                self.put(connection, delivered, now_ns)

    def put(self, connection: Connection, content: bytes, now_ns: int) -> None:
        """Queue a frame; a reader that is too slow is cut and counted."""
        if not connection.put(content, now_ns):
            self.count("slow_reader_cut")
            connection.cut()

    def subscribe(
        self, connection: Connection, names: Sequence[str]
    ) -> tuple[list[str], list[bytes]]:
        """Accept the channels that exist; returns them, and the first frames of the new ones."""
        accepted = [
            name
            for name in dict.fromkeys(names)
            if self.exists(name) and not self.faults.refused(name)
        ]
        first: list[bytes] = []
        for name in accepted:
            if name in connection.channels:
                continue
            connection.channels.add(name)
            self._subscribers.setdefault(name, set()).add(connection)
            self.listened[name] = self.listened.get(name, 0) + 1
            first += self.first(name)
        return accepted, first

    def unsubscribe(self, connection: Connection, names: Sequence[str]) -> list[str]:
        """Take a connection off channels; returns those it had."""
        left = [name for name in names if name in connection.channels]
        for name in left:
            connection.channels.discard(name)
            self._forget(connection, name)
        return left

    def _forget(self, connection: Connection, name: str) -> None:
        remaining = self.listened.get(name, 0) - 1
        if remaining > 0:
            self.listened[name] = remaining
        else:
            self.listened.pop(name, None)
        listeners = self._subscribers.get(name, set())
        listeners.discard(connection)
        if not listeners:
            self._subscribers.pop(name, None)

    def _act(self, fault: Fault) -> None:
        """Do what a fault asks of the market, the server or its connections."""
        until_ns = self.market.now_ns + int(fault.seconds * E9)
        try:
            self._act_on_market(fault, until_ns)
        except SymbolError:
            self.count("fault_without_target")
        if fault.kind == "skew":
            self._lasting_skew_ms = fault.ms
        elif fault.kind == "restart":
            self._away_until_ns = until_ns
        if fault.kind in ("disconnect", "restart"):
            self.faults.lose_held()
        for connection in tuple(self.connections):
            if fault.kind in ("disconnect", "restart"):
                connection.cut()
            elif fault.kind == "half_open":
                connection.muted_until_ns = until_ns
            elif fault.kind == "garbage":
                for _ in range(fault.count):
                    self.put(connection, self.faults.garbage(), self.market.now_ns)

    def _act_on_market(self, fault: Fault, until_ns: int) -> None:
        """Change listings, books or their numbers.

        Raises:
            SymbolError: the fault has no such target.
        """
        if fault.kind == "list":
            self.market.list_spare()
        elif fault.kind == "expire":
            self.market.expire(fault.symbol or "")
        elif fault.kind in ("empty_book", "crossed_book"):
            self.market.planter.disturb(fault.kind, fault.symbol or "", until_ns)
        elif fault.kind == "restart":
            self.market.books.number_anew()
            self.restarted()

    @web.middleware
    async def _disturb(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Let the faults have their say about everything but the control."""
        if request.path.startswith("/emulator/"):
            return await handler(request)
        if self.market.now_ns < self._away_until_ns:
            return web.Response(status=503)
        if self.faults.limited(request.path):
            return _json(self.limited_body(), 429)
        response = await handler(request)
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            return response
        body = self.faults.answer(request.path, response.body, self.KIND_FIELD, self.NAME_FIELD)
        return response if body is response.body else _json(body, response.status)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until either side ends it; a half-open one hears nothing."""
        if len(self.connections) >= CONNECTIONS_MAX or request.transport is None:
            self.count("connection_refused")
            return web.Response(status=429)
        if not self.admits(request):
            self.count("connection_forbidden")
            return web.Response(status=403)
        socket = web.WebSocketResponse(compress=False, max_msg_size=REQUEST_BYTES_MAX, timeout=1.0)
        await socket.prepare(request)
        path = request.path.removeprefix(self.WS_PATH)
        connection = Connection(socket, request.transport, path)
        self.connections.add(connection)
        self.count("connections")
        writer = asyncio.create_task(connection.write(), name="emulator writer")
        try:
            async for message in socket:
                deaf = self.market.now_ns < connection.muted_until_ns
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY) or deaf:
                    continue
                if self.faults.limited(None):
                    self.limit(connection, message.data)
                else:
                    self.receive(connection, message.data)
        finally:
            self.connections.discard(connection)
            self.unsubscribe(connection, tuple(connection.channels))
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        return socket


def _json(body: bytes, status: int) -> web.Response:
    """A JSON answer."""
    return web.Response(body=body, status=status, content_type="application/json")
