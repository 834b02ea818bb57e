"""Connections that log in, and a venue that says back whatever it was told."""

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web

from feeds.links import LinkState
from feeds.record import RecordType, Redactor
from feeds.secrets import Credentials
from feeds.venue import ChannelOptions, Control, Request
from tests.feeds.toy_venue import LIMITS, POLICY, Server, Socket, Toy, World, running

KEY, SECRET = "canary-key-0001", 'canary/secret"0002'
ACCOUNT = Credentials(KEY, SECRET)
LOGGED_IN: dict[str, Any] = {
    "options": ChannelOptions(authenticated=True),
    "credentials": ACCOUNT,
    "redact": Redactor(ACCOUNT.hidden()),
}


class LoginToy(Toy):
    HELLO = ('{"op":"hello"}',)

    def login(self, credentials: Credentials) -> Request:
        text = {"op": "login", "id": 7, "key": credentials.key, "secret": credentials.secret}
        return Request(7, (), json.dumps(text))

    def control(self, frame: bytes) -> Control | None:
        control = super().control(frame)
        if control is not None and control.ack == (7, ()):
            return Control(ack=(7, None))
        return control


@dataclass
class LoginServer(Server):
    """Answers a login as it is told to; channels are for those that are logged in."""

    login: str | None = '{"id":7,"ok":[]}'

    async def answer(self, socket: Socket, message: dict[str, Any]) -> None:
        if message["op"] != "login":
            await super().answer(socket, message)
            return
        socket.received.append(message)
        self.changed.set()
        if self.login is not None:
            await socket.ws.send_str(self.login)


def world_with(login: str | None, folder=None) -> World:
    world = World(folder)
    world.server = LoginServer(world.time.changed, login=login)
    return world


async def told(world: World) -> None:
    """Wait until hello and login have reached the venue."""
    sockets = world.server.sockets
    await world.until(lambda: sockets and len(sockets[0].received) == 2)


async def test_channels_are_asked_for_after_the_login_was_accepted():
    world = world_with(None)
    async with running(world, LoginToy(), **LOGGED_IN):
        await world.until(
            lambda: world.server.sockets and len(world.server.sockets[0].received) == 2
        )
        await world.push('{"id":8,"ok":[]}')  # The answer to something else.
        assert [m["op"] for m in world.server.sockets[0].received] == ["hello", "login"]
        await world.push('{"id":7,"ok":[]}')
        await world.accepted("book.A1")
    _, login, *rest = world.server.sockets[0].received
    assert login == {"op": "login", "id": 7, "key": KEY, "secret": SECRET}
    assert [m["op"] for m in rest] == ["subscribe"]
    assert (world.session.counts.logins, world.session.counts.logins_failed) == (1, 0)


@pytest.mark.parametrize("changes", [{"options": ChannelOptions()}, {"credentials": None}])
async def test_nothing_is_told_where_no_login_is_wanted(changes):
    world = world_with(None)
    async with running(world, LoginToy(), **{**LOGGED_IN, **changes}):
        await world.accepted("book.A1")
    assert [m["op"] for m in world.server.sockets[0].received] == ["hello", "subscribe"]


async def test_refused_login_ends_the_connection_and_is_tried_again_later():
    world = world_with('{"id":7,"err":"unknown client"}')
    async with running(world, LoginToy(), **LOGGED_IN):
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.until(lambda: world.session.links[0].state is LinkState.BACKOFF)
        assert "login refused: unknown client" in world.session.trouble
        world.server.login = '{"id":7,"ok":[]}'
        await world.back_off()
        await world.accepted("book.A1")
    assert (world.session.counts.logins, world.session.counts.logins_failed) == (2, 1)
    assert [m["op"] for m in world.server.sockets[0].received] == ["hello", "login"]


async def test_login_is_one_of_the_connection_s_requests_an_hour():
    world = world_with('{"id":7,"ok":[]}')
    limits = replace(LIMITS, requests_per_hour=1, silence_s=10_000.0)
    async with running(world, LoginToy(), **LOGGED_IN, limits=limits):
        await world.frames(1)  # The answer to the login.
        await world.pass_s(3599)
        assert [m["op"] for m in world.server.sockets[0].received] == ["hello", "login"]
        await world.pass_s(1)
        await world.accepted("book.A1")
    assert world.session.counts.hour_waits == 1


async def test_login_without_an_answer_is_given_up():
    world = world_with(None)
    async with running(world, LoginToy(), **LOGGED_IN):
        await world.until(
            lambda: world.server.sockets and len(world.server.sockets[0].received) == 2
        )
        await world.pass_s(POLICY.ack_s - 0.5)
        assert world.session.counts.logins_failed == 0
        await world.pass_s(0.5)
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
    close = world.inbox.of(RecordType.CONNECTION, "close")[0]
    assert close.payload == b"no answer to the login"


@dataclass
class EchoServer(LoginServer):
    """Says back what it was told: in bodies, answers, refusals, frames and reasons to close."""

    failing: int = 1

    async def instruments(self, request: web.Request) -> web.Response:
        self.failing -= 1
        self.changed.set()
        if self.failing >= 0:
            return web.Response(status=401, reason=f"{KEY} no", text=SECRET)
        return web.json_response(["A1", KEY])

    async def answer(self, socket: Socket, message: dict[str, Any]) -> None:
        told = json.dumps({"channel": "echo", "of": message, "key": KEY, "secret": SECRET})
        await socket.ws.send_str(told)
        if message["op"] == "subscribe" and len(self.sockets) == 1:
            socket.received.append(message)
            await socket.ws.send_str(json.dumps({"id": message["id"], "err": f"{KEY} {SECRET}"}))
            await socket.ws.close(code=4001, message=f"{KEY} {SECRET}".encode())
            return
        await super().answer(socket, message)


async def test_no_output_holds_what_an_echoing_venue_says_back(tmp_path, capfd):
    world = World(tmp_path)
    world.server = EchoServer(world.time.changed, login=f'{{"id":7,"ok":[],"for":"{KEY}"}}')
    seen: list[str] = []
    async with running(world, LoginToy(), **LOGGED_IN):
        await world.until(lambda: world.session.counts.discovery_failures == 1)
        seen += [world.session.problem, world.session.trouble]
        await world.until(lambda: len(world.time.sleepers) == 2)
        await world.pass_s(POLICY.retry_base_s)
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.until(lambda: world.session.links[0].state is LinkState.BACKOFF)
        seen += [world.session.trouble, world.session.links[0].problem]
        await world.back_off()
        await world.opened(2)
        await world.until(lambda: world.session.counts.accepted)
        seen += [repr(world.session.credentials), repr(world.session.counts)]
    assert world.session.counts.refused == 1
    assert "4001 [redacted] [redacted]" in seen[2]
    assert "status was 401" in seen[0]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    records = [record.payload + record.name.encode() for record in world.inbox.records]
    shown = [text.encode() for text in (*seen, *capfd.readouterr())]
    assert any(b"[redacted]" in payload for payload in files)
    assert [text for text in (*files, *records, *shown) if b"canary" in text] == []


async def test_secret_is_in_no_record_though_its_text_was_sent():
    world = world_with('{"id":7,"ok":[]}')
    async with running(world, LoginToy(), **{**LOGGED_IN, "redact": None}):
        await world.accepted("book.A1")
    # Nothing was redacted here: what is sent is not journaled, channels alone are.
    assert not any(b"canary" in record.payload for record in world.inbox.records)
    assert world.inbox.channels("subscribe") == ["trades.all", "book.A1", "ticker.A1"]


async def test_login_takes_no_place_of_the_hour_between_the_two_halves_of_a_resync():
    world = world_with('{"id":7,"ok":[]}')
    # The instruments take the burst: the hello waits 100 s for its place, the others behind it.
    limits = replace(
        LIMITS, requests_per_hour=3, requests_per_s=0.01, request_burst=1, silence_s=10_000.0
    )
    policy = replace(POLICY, discovery_every_s=1e6)
    async with running(world, LoginToy(), **LOGGED_IN, limits=limits, policy=policy):
        await world.opened()
        world.session.request_resync(["A1"])  # The plan leaves two of three, and then one logs in.
        assert world.session.counts.resyncs == 1
        socket = world.server.sockets[0]
        for sent in (1, 2, 3, 4):
            await world.pass_s(100)
            await world.until(lambda sent=sent: len(socket.received) == sent)
            await world.frames(sent - 1)  # Everything but the hello is answered.
        halves = [(m["op"], m["args"]) for m in socket.received[2:]]
        assert halves == [("unsubscribe", ["book.A1"]), ("subscribe", ["book.A1"])]
        assert world.session.counts.hour_waits == 1  # It is the plan that waits.
        assert (world.session.links[0].placed, world.session.resyncs.under_way) == (0, set())
