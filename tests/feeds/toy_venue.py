"""A venue of five words, its server on the loopback, and a time that moves by hand."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from feeds.budget import ConnectBudget
from feeds.contract import Listing, ListingKind
from feeds.errors import FrameError, SessionError
from feeds.journal import Journal
from feeds.links import SessionPolicy
from feeds.network import Network
from feeds.record import Record, RecordType
from feeds.secrets import Credentials
from feeds.session import VenueSession
from feeds.transport import open_transport
from feeds.venue import (
    ChannelOptions,
    ConnectionPlan,
    Control,
    Discovery,
    HttpRequest,
    Limits,
    Request,
)

SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS

LIMITS = Limits(
    channels_per_request=4,
    request_bytes_max=10_000,
    requests_per_s=1000.0,
    request_burst=1000,
    channels_per_connection=100,
    connections_max=3,
    frame_bytes_max=10_000,
    heartbeat_s=30.0,
    silence_s=60.0,
)


class Toy:
    """`{"op","id","args"}` out; `{"id","ok"}`, `{"id","err"}`, `{"hb"}`, `{"channel"}` in."""

    NAME = "toy"
    REST_URL = "http://toy.example"
    WS_URL = "ws://toy.example/ws"
    LIMITS = LIMITS
    MARKET_HEADS: tuple[bytes, ...] = (b'{"bid"', b'{"ask"', b'{"channel"')
    HELLO: tuple[str, ...] = ()

    def discovery(self, underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
        return (HttpRequest("all", "/instruments?of=" + ",".join(underlyings)),)

    def instruments(self, body: bytes) -> Discovery:
        try:
            symbols = json.loads(body)
        except ValueError as error:
            raise FrameError("not a list of symbols", body) from error
        return Discovery([self.listing(symbol) for symbol in symbols])

    def listing(self, symbol: str) -> Listing:
        return Listing("toy", symbol, ListingKind.PERP, symbol[:1], 1.0, "USD", "linear", 0.5)

    def subscriptions(
        self, listings: Sequence[Listing], options: ChannelOptions, limits: Limits
    ) -> tuple[ConnectionPlan, ...]:
        channels = ["trades.all"]
        for listing in listings:
            channels += [f"book.{listing.symbol}", f"ticker.{listing.symbol}"]
        size = limits.channels_per_connection
        plans = []
        for number, begin in enumerate(range(0, len(channels), size)):
            share = channels[begin : begin + size]
            step = limits.channels_per_request
            requests = tuple(
                self.request("subscribe", 100 + at, share[at : at + step])
                for at in range(0, len(share), step)
            )
            plans.append(ConnectionPlan(number, requests))
        return tuple(plans)

    def request(self, op: str, request_id: int, channels: Sequence[str]) -> Request:
        text = json.dumps({"op": op, "id": request_id, "args": list(channels)})
        return Request(request_id, tuple(channels), text)

    def resync(self, symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
        channels = [f"book.{symbol}"]
        return (
            self.request("unsubscribe", request_id, channels),
            self.request("subscribe", request_id + 1, channels),
        )

    def hello(self) -> tuple[str, ...]:
        return self.HELLO

    def control(self, frame: bytes) -> Control | None:
        try:
            message = json.loads(frame)
        except ValueError:
            return None
        if "ok" in message:
            return Control(ack=(message["id"], tuple(message["ok"])))
        if "err" in message:
            return Control(refused=(message["id"], message["err"]))
        if "hb" in message:
            return Control(reply='{"op":"pong"}')
        return None

    def symbol_of_channel(self, channel: str) -> str | None:
        symbol = channel.partition(".")[2]
        return None if symbol == "all" else symbol

    def owes_first_frame(self, channel: str) -> bool:
        return self.symbol_of_channel(channel) is not None and not channel.startswith("quote")

    def decode(self, frames: Any, rx_ns: Any, symbols: Any, out: Any) -> None:
        raise AssertionError("a session never decodes")


class UnsubscribingToy(Toy):
    def unsubscribe(
        self, channels: Sequence[str], limits: Limits, request_id: int
    ) -> tuple[Request, ...]:
        return (self.request("unsubscribe", request_id, channels),)


class PagedToy(Toy):
    """Its list of instruments comes in pages; the next is asked for by POST."""

    def instruments(self, body: bytes) -> Discovery:
        found = super().instruments(body)
        last = found.listings[-1].symbol
        if last.endswith("+"):
            found.listings.pop()
            found.following = HttpRequest("more", "/instruments", last.encode())
        return found


class FamilyToy(Toy):
    """Its first answer names families (`?A`), each of which must be asked for its instruments."""

    def instruments(self, body: bytes) -> Discovery:
        found = super().instruments(body)
        names = [listing.symbol for listing in found.listings]
        found.listings = [listing for listing in found.listings if listing.symbol[0] != "?"]
        found.further = tuple(
            HttpRequest(name[1:], f"/instruments?family={name[1:]}")
            for name in names
            if name[0] == "?"
        )
        return found


class SigningToy(Toy):
    """Its sockets are for accounts alone."""

    def path(self, keys: Credentials, now_ns: int) -> str:
        return f"?by={keys.key}&at={now_ns}&with={keys.secret}"


class SplitToy(Toy):
    """Trades have a path of their own, and clients must ping."""

    def ping(self) -> str:
        return '{"op":"ping"}'

    def subscriptions(
        self, listings: Sequence[Listing], options: ChannelOptions, limits: Limits
    ) -> tuple[ConnectionPlan, ...]:
        books = [f"book.{listing.symbol}" for listing in listings]
        return (
            ConnectionPlan(0, (self.request("subscribe", 100, books),), "/books"),
            ConnectionPlan(1, (self.request("subscribe", 100, ["trades.all"]),), "/trades"),
        )


class CrampedToy(Toy):
    def subscriptions(self, *_: object) -> tuple[ConnectionPlan, ...]:
        raise SessionError("toy: 9 channels need 9 connections, expected at most 3")


@dataclass
class HandTime:
    """A clock and a sleep that move only when the test says so."""

    ns: int = START_NS
    sleepers: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def now_ns(self) -> int:
        return self.ns

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.ns + round(seconds * SECOND_NS), wake))
        self.changed.set()
        await wake

    def advance(self, seconds: float) -> None:
        self.ns += round(seconds * SECOND_NS)
        due = [wake for at_ns, wake in self.sleepers if at_ns <= self.ns]
        self.sleepers = [(at, wake) for at, wake in self.sleepers if at > self.ns]
        for wake in due:
            if not wake.done():
                wake.set_result(None)


@dataclass
class Socket:
    """The server's end of one connection."""

    ws: web.WebSocketResponse
    path: str = "/ws"
    query: str = ""
    received: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False

    def channels(self, op: str = "subscribe") -> list[str]:
        return [name for m in self.received if m["op"] == op for name in m["args"]]


@dataclass
class Server:
    """The venue's side; what it does wrong is set by the test."""

    changed: asyncio.Event
    symbols: list[str] = field(default_factory=lambda: ["A1"])
    unknown: set[str] = field(default_factory=set)  # channels silently left out of the answer
    refuses: bool = False
    mute: bool = False  # takes requests and says nothing
    stuck: bool = False  # stops reading: a half-open connection
    held: bool = False  # keeps the instruments back until it is released
    bodies: list[tuple[int, bytes]] = field(default_factory=list)  # given before the real ones
    asked: list[str] = field(default_factory=list)
    posted: list[bytes] = field(default_factory=list)
    sockets: list[Socket] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def instruments(self, request: web.Request) -> web.Response:
        self.asked.append(request.query_string)
        if request.method == "POST":
            self.posted.append(await request.read())
        status, body = 200, json.dumps(self.symbols).encode()
        if self.bodies:
            status, body = self.bodies.pop(0)
        self.changed.set()
        if self.held:
            await self.released.wait()
        return web.Response(status=status, body=body)

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        socket = Socket(ws, request.path, request.rel_url.raw_query_string)
        self.sockets.append(socket)
        self.changed.set()
        while not self.stuck:
            message = await ws.receive()
            if message.type is not WSMsgType.TEXT:
                break
            await self.answer(socket, json.loads(message.data))
        if self.stuck:
            await self.released.wait()
        socket.closed = True
        self.changed.set()
        return ws

    async def answer(self, socket: Socket, message: dict[str, Any]) -> None:
        socket.received.append(message)
        self.changed.set()
        if self.mute or "args" not in message:
            return
        if self.refuses:
            await socket.ws.send_str(json.dumps({"id": message["id"], "err": "no"}))
            return
        known = [name for name in message["args"] if name not in self.unknown]
        await socket.ws.send_str(json.dumps({"id": message["id"], "ok": known}))

    def start(self) -> TestServer:
        app = web.Application()
        app.router.add_route("*", "/instruments", self.instruments)
        app.router.add_get("/ws{path:.*}", self.websocket)
        return TestServer(app)


@dataclass
class Inbox:
    """Takes what the session delivers."""

    changed: asyncio.Event
    records: list[Record] = field(default_factory=list)

    def deliver(self, records: Sequence[Record]) -> None:
        self.records += records
        self.changed.set()

    def of(self, record_type: RecordType, name: str | None = None) -> list[Record]:
        return [r for r in self.records if r.type is record_type and name in (None, r.name)]

    def channels(self, name: str) -> list[str]:
        return [c for r in self.of(RecordType.SUBSCRIPTION, name) for c in json.loads(r.payload)]

    def frames(self) -> list[bytes]:
        return [record.payload for record in self.of(RecordType.FRAME)]


async def until(changed: asyncio.Event, holds: Callable[[], object]) -> None:
    """Wait for something that server, inbox or time make true; fail after 5 s."""
    async with asyncio.timeout(5):
        while not holds():
            changed.clear()
            await changed.wait()


POLICY = SessionPolicy(close_s=0.05, discovery_min_s=10.0)
CHECK_S = POLICY.check_s
TRANSPORT = "aiohttp"  # tests of other clients put theirs here


class World:
    """Server, session, time and inbox of one test."""

    def __init__(self, folder: Path | None = None) -> None:
        self.time = HandTime()
        changed = self.time.changed
        self.server = Server(changed)
        self.inbox = Inbox(changed)
        self.journal = Journal(self.time, folder)
        self.session: VenueSession

    async def until(self, holds: Any) -> None:
        await until(self.time.changed, holds)

    async def frames(self, count: int) -> None:
        await self.until(lambda: len(self.inbox.frames()) >= count)

    async def opened(self, count: int = 1) -> None:
        await self.until(lambda: len(self.inbox.of(RecordType.CONNECTION, "open")) >= count)

    async def accepted(self, *channels: str) -> None:
        await self.until(lambda: set(channels) <= set(self.inbox.channels("accepted")))

    async def push(self, text: str, socket: int = -1) -> None:
        """Send a frame and wait until it is through."""
        count = len(self.inbox.frames())
        await self.server.sockets[socket].ws.send_str(text)
        await self.frames(count + 1)

    async def pass_s(self, seconds: float) -> None:
        """Let time pass, and the watch look at it once it has."""
        self.time.advance(seconds)
        await self.until(self.watching)
        self.time.advance(CHECK_S)
        await self.until(self.watching)

    async def back_off(self) -> None:
        """Wait until a connection backs off, and let the first backoff pass."""
        await self.until(lambda: len(self.time.sleepers) == 2)  # The watch, and the backoff.
        await self.pass_s(POLICY.retry_base_s)

    def watching(self) -> bool:
        return any(at == self.time.ns + round(CHECK_S * 1e9) for at, _ in self.time.sleepers)


def websocket_url(server: TestServer) -> str:
    """Where the sockets are; aiohttp names plain HTTP to a proxy, and picows knows ws alone."""
    url = str(server.make_url("/ws"))
    return url.replace("http", "ws", 1) if TRANSPORT == "picows" else url


@contextlib.asynccontextmanager
async def running(world: World, venue: Toy | None = None, **changes: Any) -> AsyncIterator[World]:
    """Run a session on the world's server until the block ends."""
    async with world.server.start() as server:
        settings: dict[str, Any] = {
            "rest_url": str(server.make_url("")),
            "ws_url": websocket_url(server),
            "journal": world.journal,
            "clock": world.time,
            "options": ChannelOptions(),
            "limits": LIMITS,
            "budget": ConnectBudget(None, world.time, 100, 60.0),
            "deliver": world.inbox.deliver,
            "underlyings": (),
            "rng": random.Random(5),
            "policy": POLICY,
            "transport": open_transport(TRANSPORT, Network()),
            "sleep": world.time.sleep,
        }
        world.session = VenueSession(venue or Toy(), **{**settings, **changes})
        run = asyncio.create_task(world.session.run(), name="session")
        try:
            yield world
        finally:
            world.server.released.set()
            world.session.stop()
            async with asyncio.timeout(5):
                await run
            world.journal.close()
