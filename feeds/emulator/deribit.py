"""Stage 1 of 8, simulated: a server that speaks Deribit's protocol over the simulated market.

REST under /api/v2/public/..., JSON-RPC over WebSocket at /ws/api/v2, and the emulator's own
control at /emulator/... (control.py). The server has no clock: `advance` moves the market by whole
steps and sends what changed, so tests drive it step by step and __main__.py drives it in real
time. Heartbeats and credits run on the market's clock too.

Limits: CONNECTIONS_MAX sockets (more are answered 429), OUT_BYTES_MAX waiting bytes a connection
(a slower reader is cut, as the venue does), REQUEST_BYTES_MAX a request. All are counted.
"""

import asyncio
import contextlib
from collections import deque
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from feeds.contract import E9
from feeds.emulator import rpc
from feeds.emulator.channels import Channels, is_raw
from feeds.emulator.control import control_routes
from feeds.emulator.credits import Pool
from feeds.emulator.faults import Fault, Faults
from feeds.emulator.market import Market
from feeds.emulator.rpc import Methods, RpcError, error_text, result_text
from feeds.emulator.wire import Wire
from feeds.errors import SymbolError

CONNECTIONS_MAX: Final = 32
OUT_BYTES_MAX: Final = 32 << 20
REQUEST_BYTES_MAX: Final = 1 << 20
HEARTBEAT_MIN_S: Final = 10
_HEARTBEAT: Final = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}'
_TEST_REQUEST: Final = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'


class Connection:
    """One WebSocket: its subscriptions, its heartbeat and its bounded queue of frames."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        """Start without subscriptions or heartbeat."""
        self.channels: set[str] = set()
        self.socket = socket
        self.muted_until_ns = 0
        self.heartbeat_ns = 0
        self.next_beat_ns = 0
        self.heard = False
        self.asked = False
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
        self._out.append(content)
        self._out_bytes += len(content)
        self._ready.set()
        return self._out_bytes <= OUT_BYTES_MAX

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


class DeribitServer:
    """The emulated venue. counters: what happened, for /emulator/status and tests."""

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        self.market = market
        self.faults = Faults(seed)
        self.wire = Wire(market)
        self.channels = Channels(market, self.wire, self.faults, self._send)
        self.methods = Methods(market, self.wire)
        self.connections: set[Connection] = set()
        self.counters: dict[str, int] = {}
        self._subscribers: dict[str, set[Connection]] = {}
        self._subscribe_pool = Pool.full(30_000.0, 3_000.0, market.now_ns)
        self._pool = Pool.full(50_000.0, 500.0, market.now_ns)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 chooses a free one, which `port` then says."""
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_get("/ws/api/v2", self._websocket)
        app.router.add_get("/api/v2/{method:public/.+}", self._rest)
        app.router.add_routes(control_routes(self))
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
            step = self.market.step()
            self.channels.publish(step)
            for connection in tuple(self.connections):
                self._beat(connection, step.now_ns)
            await asyncio.sleep(0)

    def count(self, name: str) -> None:
        """Count something that happened."""
        self.counters[name] = self.counters.get(name, 0) + 1

    def _send(self, channel: str, content: bytes) -> None:
        """Queue a frame for the subscribers of its channel."""
        now_ns = self.market.now_ns
        for connection in tuple(self._subscribers.get(channel, ())):
            self._put(connection, content, now_ns)

    def _put(self, connection: Connection, content: bytes, now_ns: int) -> None:
        """Queue a frame; a reader that is too slow is cut and counted."""
        if not connection.put(content, now_ns):
            self.count("slow_reader_cut")
            connection.cut()

    def _act(self, fault: Fault) -> None:
        """Do what a fault asks of the server or the market."""
        now_ns = self.market.now_ns
        try:
            if fault.kind == "list":
                self.market.list_spare()
            elif fault.kind == "expire":
                self.market.expire(fault.symbol or "")
        except SymbolError:
            self.count("fault_without_target")
        if fault.kind == "skew":
            self.wire.skew_ms = fault.ms
        for connection in tuple(self.connections):
            if fault.kind == "disconnect":
                connection.cut()
            elif fault.kind == "half_open":
                connection.muted_until_ns = now_ns + int(fault.seconds * E9)
            elif fault.kind == "garbage":
                for _ in range(fault.count):
                    self._put(connection, self.faults.garbage(), now_ns)

    def _beat(self, connection: Connection, now_ns: int) -> None:
        """Ask a quiet client for a sign of life, and cut one that gives none."""
        if connection.heartbeat_ns == 0 or now_ns < connection.next_beat_ns:
            return
        connection.next_beat_ns = now_ns + connection.heartbeat_ns
        if connection.asked:
            self.count("heartbeat_cut")
            connection.cut()
            return
        connection.asked = not connection.heard
        self._put(connection, _TEST_REQUEST if connection.asked else _HEARTBEAT, now_ns)
        connection.heard = False

    def _pay(self, pool: Pool) -> None:
        """Draw a request's credits.

        Raises:
            RpcError: the pool is empty.
        """
        if not pool.draw(self.market.now_ns):
            self.count("too_many_requests")
            raise RpcError(rpc.TOO_MANY_REQUESTS, "too_many_requests")

    async def _rest(self, request: web.Request) -> web.Response:
        """Answer a GET of a public method."""
        now_ns = self.market.now_ns
        try:
            self._pay(self._pool)
            result = self.methods.call(request.match_info["method"], dict(request.query))
        except RpcError as error:
            status = 429 if error.code == rpc.TOO_MANY_REQUESTS else 400
            return _json(error_text(None, error), status)
        return _json(result_text(None, result, now_ns))

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until either side ends it."""
        if len(self.connections) >= CONNECTIONS_MAX or request.transport is None:
            self.count("connection_refused")
            return web.Response(status=429)
        socket = web.WebSocketResponse(compress=False, max_msg_size=REQUEST_BYTES_MAX, timeout=1.0)
        await socket.prepare(request)
        connection = Connection(socket, request.transport)
        self.connections.add(connection)
        self.count("connections")
        writer = asyncio.create_task(connection.write(), name="emulator writer")
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._receive(connection, message.data)
        finally:
            self.connections.discard(connection)
            for channel in connection.channels:
                self._forget(connection, channel)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        return socket

    def _receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer one request of a client; a half-open connection hears nothing."""
        now_ns = self.market.now_ns
        if now_ns < connection.muted_until_ns:
            return
        connection.heard, connection.asked = True, False
        try:
            call = rpc.read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            error = RpcError(rpc.PARSE_ERROR, "parse_error")
            self._put(connection, error_text(None, error), now_ns)
            return
        subscribes = call.method == "public/subscribe"
        pool = self._subscribe_pool if subscribes else self._pool
        try:
            if call.method != "public/test":
                self._pay(pool)
            result, first = self._answer(connection, call)
        except RpcError as error:
            self._put(connection, error_text(call.id, error), now_ns)
            if error.code == rpc.TOO_MANY_REQUESTS:
                # The venue ends the session of a caller without credits (docs, rate limits).
                connection.finish()
            return
        self._put(connection, result_text(call.id, result, now_ns), now_ns)
        for content in first:
            self._put(connection, content, now_ns)

    def _answer(self, connection: Connection, call: rpc.Call) -> tuple[Any, list[bytes]]:
        """Result of a request, and the frames that follow it at once."""
        if call.method == "public/subscribe":
            return self._subscribe(connection, _channels(call))
        if call.method == "public/unsubscribe":
            left = [name for name in _channels(call) if name in connection.channels]
            for name in left:
                connection.channels.discard(name)
                self._forget(connection, name)
            return left, []
        if call.method == "public/set_heartbeat":
            return self._set_heartbeat(connection, call), []
        if call.method == "public/disable_heartbeat":
            connection.heartbeat_ns = 0
            return "ok", []
        return self.methods.call(call.method, call.params), []

    def _subscribe(self, connection: Connection, names: list[str]) -> tuple[Any, list[bytes]]:
        """Accept the channels that exist; only new ones send a first frame."""
        if is_raw(names):
            raise RpcError(rpc.RAW_REFUSED, "raw_subscriptions_not_available_for_unauthorized")
        accepted = [
            name
            for name in dict.fromkeys(names)
            if self.channels.exists(name) and not self.faults.refused(name)
        ]
        first = []
        for name in accepted:
            if name in connection.channels:
                continue
            connection.channels.add(name)
            self._subscribers.setdefault(name, set()).add(connection)
            self.channels.listen(name)
            content = self.channels.first(name)
            if content is not None:
                first.append(content)
        return accepted, first

    def _forget(self, connection: Connection, name: str) -> None:
        """Take a connection off a channel."""
        self.channels.forget(name)
        listeners = self._subscribers.get(name, set())
        listeners.discard(connection)
        if not listeners:
            self._subscribers.pop(name, None)

    def _set_heartbeat(self, connection: Connection, call: rpc.Call) -> str:
        """Start heartbeats at an interval of at least 10 s."""
        interval = call.params.get("interval")
        if not isinstance(interval, (int, float)) or not HEARTBEAT_MIN_S <= interval <= 3600:
            raise RpcError(
                rpc.INVALID_PARAMS, "Invalid params", param="interval", reason="value too small"
            )
        connection.heartbeat_ns = int(interval * E9)
        connection.next_beat_ns = self.market.now_ns + connection.heartbeat_ns
        connection.heard, connection.asked = False, False
        return "ok"


def _channels(call: rpc.Call) -> list[str]:
    """Channel names of a request.

    Raises:
        RpcError: they are not a list of texts.
    """
    names = call.params.get("channels")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RpcError(
            rpc.INVALID_PARAMS, "Invalid params", param="channels", reason="wrong format"
        )
    return names


def _json(body: bytes, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=body, status=status, content_type="application/json")
