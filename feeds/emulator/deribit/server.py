"""Stage 1 of 8, simulated: a server that speaks Deribit's protocol over the simulated market.

REST under /api/v2/public/... and JSON-RPC over WebSocket at /ws/api/v2. Heartbeats and credits run
on the market's clock.
"""

from typing import Any, ClassVar, Final

import msgspec
from aiohttp import web

from feeds.contract import E9
from feeds.emulator.deribit import rpc
from feeds.emulator.deribit.channels import Channels, is_raw
from feeds.emulator.deribit.credits import Pool
from feeds.emulator.deribit.rpc import Methods, RpcError, error_text, result_text
from feeds.emulator.deribit.wire import Wire
from feeds.emulator.market import Market, Step
from feeds.emulator.server import Connection, VenueServer

HEARTBEAT_MIN_S: Final = 10
_HEARTBEAT: Final = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}'
_TEST_REQUEST: Final = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'


class DeribitServer(VenueServer):
    """The emulated Deribit."""

    REST_PATH: ClassVar[str] = "/api/v2"
    WS_PATH: ClassVar[str] = "/ws/api/v2"
    NAME_FIELD: ClassVar[str] = "instrument_name"

    def __init__(self, market: Market, seed: int) -> None:
        """Take a market; `start` opens the port."""
        super().__init__(market, seed)
        self.wire = Wire(market, self)
        self.channels = Channels(market, self.wire, self)
        self.methods = Methods(market, self.wire)
        self._subscribe_pool = Pool.full(30_000.0, 3_000.0, market.now_ns)
        self._pool = Pool.full(50_000.0, 500.0, market.now_ns)

    def routes(self) -> list[web.RouteDef]:
        """Public methods over REST."""
        return [web.get("/api/v2/{method:public/.+}", self._rest)]

    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""
        return self.channels.exists(channel)

    def first(self, channel: str) -> list[bytes]:
        """What a new subscriber gets at once."""
        content = self.channels.first(channel)
        return [] if content is None else [content]

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        self.channels.publish(step)

    def beat(self, connection: Connection, now_ns: int) -> None:
        """Ask a quiet client for a sign of life, and cut one that gives none."""
        if connection.heartbeat_ns == 0 or now_ns < connection.next_beat_ns:
            return
        connection.next_beat_ns = now_ns + connection.heartbeat_ns
        if connection.asked:
            self.count("heartbeat_cut")
            connection.cut()
            return
        connection.asked = not connection.heard
        self.put(connection, _TEST_REQUEST if connection.asked else _HEARTBEAT, now_ns)
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

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer one request of a client."""
        now_ns = self.market.now_ns
        connection.heard, connection.asked = True, False
        try:
            call = rpc.read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            error = RpcError(rpc.PARSE_ERROR, "parse_error")
            self.put(connection, error_text(None, error), now_ns)
            return
        subscribes = call.method == "public/subscribe"
        pool = self._subscribe_pool if subscribes else self._pool
        try:
            if call.method != "public/test":
                self._pay(pool)
            result, first = self._answer(connection, call)
        except RpcError as error:
            self._refuse(connection, call.id, error)
            return
        self.put(connection, result_text(call.id, result, now_ns), now_ns)
        for content in first:
            self.put(connection, content, now_ns)

    def limit(self, connection: Connection, text: str | bytes) -> None:
        """Refuse a request as one without credits."""
        call_id = rpc.read_call(text).id
        self._refuse(connection, call_id, RpcError(rpc.TOO_MANY_REQUESTS, "too_many_requests"))

    def limited_body(self) -> bytes:
        """The error of a caller without credits."""
        return error_text(None, RpcError(rpc.TOO_MANY_REQUESTS, "too_many_requests"))

    def _refuse(self, connection: Connection, call_id: Any, error: RpcError) -> None:
        """Answer with an error; a caller without credits loses its session (docs, rate limits)."""
        self.put(connection, error_text(call_id, error), self.market.now_ns)
        if error.code == rpc.TOO_MANY_REQUESTS:
            connection.finish()

    def _answer(self, connection: Connection, call: rpc.Call) -> tuple[Any, list[bytes]]:
        """Result of a request, and the frames that follow it at once."""
        if call.method == "public/subscribe":
            return self._subscribe(connection, _channels(call))
        if call.method == "public/unsubscribe":
            return self.unsubscribe(connection, _channels(call)), []
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
        return self.subscribe(connection, names)

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
