"""Every client of WebSockets gives a session the same; picows where its package is installed."""

import asyncio
import contextlib
import inspect
import sys
from importlib.util import find_spec

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from feeds import transport
from feeds.errors import SessionError, SocketClosedError
from feeds.network import Network
from tests.feeds import test_session, test_session_ways, toy_venue

if find_spec("picows"):
    import picows
needs_picows = pytest.mark.skipif(
    not find_spec("picows"), reason="the extra fast-ws is not installed: aiohttp was tested alone"
)
ALONE = {"tmp_path", "venue", "told", "says"}  # Tests with these are left to aiohttp.
SESSIONS = [
    test
    for module in (test_session, test_session_ways)
    for name, test in vars(module).items()
    if name.startswith("test_")
    and inspect.iscoroutinefunction(test)
    and not ALONE & inspect.signature(test).parameters.keys()
]
FRAME_BYTES_MAX = 1 << 20


@needs_picows
@pytest.mark.parametrize("test", SESSIONS, ids=lambda test: test.__name__.removeprefix("test_"))
async def test_session_on_picows(test, monkeypatch):
    monkeypatch.setattr(toy_venue, "TRANSPORT", "picows")
    await test()


@contextlib.asynccontextmanager
async def connected(name, talk):
    """A socket to a server that runs `talk` on its own end."""

    async def serve(request):
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        await talk(ws)
        return ws

    app = web.Application()
    app.router.add_get("/", serve)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        url = str(server.make_url("/")).replace("http", "ws", 1)
        socket = await transport.open_transport(name, Network()).connect(
            url, http, Network(), frame_bytes_max=FRAME_BYTES_MAX, close_s=0.05
        )
        try:
            async with asyncio.timeout(5):
                yield socket
        finally:
            await socket.close()


async def received(socket, count):
    """The next frames, that many."""
    frames = []
    while len(frames) < count:
        frames += await socket.receive()
    return frames


each_client = pytest.mark.parametrize(
    "name", ["aiohttp", pytest.param("picows", marks=needs_picows)]
)


@each_client
async def test_frames_come_whole_and_in_order_and_the_end_says_why(name):
    async def talk(ws):
        for k in range(3):
            await ws.send_str(f"frame {k}")
        await ws.send_bytes(b"\xff\x00")
        await ws.close(code=4000, message=b"enough")

    async with connected(name, talk) as socket:
        frames = await received(socket, 4)
        with pytest.raises(SocketClosedError, match=r"^venue closed with 4000 enough$"):
            await socket.receive()
    assert frames == [b"frame 0", b"frame 1", b"frame 2", b"\xff\x00"]


@each_client
async def test_ping_is_answered_while_somebody_receives(name):
    async def talk(ws):
        await ws.ping(b"there?")
        answer = await ws.receive()
        await ws.send_str(f"{answer.type is WSMsgType.PONG} {bytes(answer.data).decode()}")
        await ws.receive()

    async with connected(name, talk) as socket:
        assert await received(socket, 1) == [b"True there?"]


@each_client
async def test_text_goes_out_as_text(name):
    async def talk(ws):
        message = await ws.receive()
        await ws.send_str(f"{message.type is WSMsgType.TEXT} {message.data}")
        await ws.receive()

    async with connected(name, talk) as socket:
        await socket.send_str("grüße")
        assert await received(socket, 1) == ["True grüße".encode()]


@each_client
async def test_cut_connection_ends_and_takes_nothing_more(name):
    async def talk(ws):
        ws._req.transport.abort()

    async with connected(name, talk) as socket:
        with pytest.raises(SocketClosedError, match=r"1006|broken"):
            await socket.receive()
        with pytest.raises((OSError, aiohttp.ClientError)):
            await socket.send_str("anybody?")


@each_client
async def test_address_that_nobody_serves_is_a_network_failure(name):
    async with aiohttp.ClientSession() as http:
        with pytest.raises((OSError, aiohttp.ClientError)):
            await transport.open_transport(name, Network()).connect(
                "ws://127.0.0.1:1/", http, Network(), frame_bytes_max=1024, close_s=0.05
            )


@each_client
async def test_answer_that_is_no_handshake_is_a_network_failure(name):
    app = web.Application()
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        url = str(server.make_url("/nowhere")).replace("http", "ws", 1)
        with pytest.raises((OSError, aiohttp.ClientError)):
            await transport.open_transport(name, Network()).connect(
                url, http, Network(), frame_bytes_max=1024, close_s=0.05
            )


@each_client
async def test_what_nobody_receives_is_held_back_and_none_of_it_is_lost(name):
    count, sent = 4_000, 0
    payload = "x" * 4_000

    async def talk(ws):
        nonlocal sent
        for k in range(count):
            await ws.send_str(f"{k:06d}{payload}")
            sent += 1
        await ws.receive()

    async with connected(name, talk) as socket:
        frames = await received(socket, 1)
        assert frames[0] == f"{0:06d}{payload}".encode()
        before = -1
        while sent != before:  # Until the server stands still.
            before = sent
            for _ in range(1_000):
                await asyncio.sleep(0)
        assert sent < count
        frames += await received(socket, count - len(frames))
    assert [int(frame[:6]) for frame in frames] == list(range(count))


class Wire:
    """What a PicowsSocket needs of picows's connection."""

    is_disconnected = False
    close_handshake = None

    def __init__(self):
        self.underlying_transport = self
        self.calls = []

    def __getattr__(self, name):
        return lambda *_: self.calls.append(name)


def fast_socket(frame_bytes_max=FRAME_BYTES_MAX):
    from feeds.fast_ws import PicowsSocket

    socket, wire = PicowsSocket(frame_bytes_max, 0.05), Wire()
    socket.on_ws_connected(wire)
    return socket, wire


def part(kind, payload, *, fin):
    return picows.picows._make_test_ws_frame(picows.WSMsgType[kind], payload, fin, False)


@needs_picows
async def test_picows_joins_a_frame_that_comes_in_parts():
    socket, wire = fast_socket()
    socket.on_ws_frame(wire, part("TEXT", b"ab", fin=False))
    socket.on_ws_frame(wire, part("CONTINUATION", b"c", fin=False))
    socket.on_ws_frame(wire, part("CONTINUATION", b"d", fin=True))
    socket.on_ws_frame(wire, part("TEXT", b"e", fin=True))
    assert await socket.receive() == [b"abcd", b"e"]


@needs_picows
async def test_picows_ends_a_connection_whose_parts_grow_beyond_the_limit():
    socket, wire = fast_socket(frame_bytes_max=3)
    socket.on_ws_frame(wire, part("TEXT", b"ab", fin=False))
    socket.on_ws_frame(wire, part("CONTINUATION", b"cd", fin=False))
    assert wire.calls == ["disconnect"]
    with pytest.raises(SocketClosedError, match="4 bytes, expected at most 3"):
        await socket.receive()


@needs_picows
async def test_picows_stops_reading_at_its_bound_and_goes_on_when_all_is_taken():
    from feeds.fast_ws import WAITING_BYTES_MAX

    socket, wire = fast_socket()
    eighth = b"x" * (WAITING_BYTES_MAX // 8)
    for _ in range(10):
        socket.on_ws_frame(wire, part("TEXT", eighth, fin=True))
    assert wire.calls == ["pause_reading"]
    assert await socket.receive() == [eighth] * 10
    assert wire.calls == ["pause_reading", "resume_reading"]
    socket.on_ws_frame(wire, part("TEXT", eighth, fin=True))
    assert await socket.receive() == [eighth]
    assert wire.calls == ["pause_reading", "resume_reading"]


def test_transport_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "feeds.fast_ws", None)
    with pytest.raises(SessionError, match="fast-ws"):
        transport.open_transport("picows", Network())


@needs_picows
def test_picows_refuses_the_proxy_that_it_would_not_take():
    with pytest.raises(SessionError, match="no proxy"):
        transport.open_transport("picows", Network(proxy="http://proxy:3128"))


async def test_aiohttp_gives_what_has_arrived_in_reads_of_a_bounded_size(monkeypatch):
    monkeypatch.setattr(transport, "READ_BYTES_MAX", 10)
    data = [b"%d-----" % n for n in range(5)]
    closed = aiohttp.WSMessage(WSMsgType.CLOSE, 1000, "bye")
    messages = [*(aiohttp.WSMessage(WSMsgType.TEXT, one, None) for one in data), closed]

    class Arrived:
        send_str = None

        async def receive(self):
            return messages.pop(0)

    socket = transport.AiohttpSocket(Arrived())
    assert [await socket.receive() for _ in range(3)] == [data[:2], data[2:4], data[4:]]
    for _ in range(2):
        with pytest.raises(SocketClosedError, match=r"^venue closed with 1000 bye$"):
            await socket.receive()
