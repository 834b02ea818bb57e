"""What venues unlike each other need of a session: pages, paths, pings, ages, answers by name."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest
from aiohttp import web

from feeds.budget import ConnectBudget
from feeds.channels import ChannelLedger
from feeds.links import Link, place
from feeds.record import RecordType
from feeds.session import VenueSession
from feeds.venue import ChannelOptions, Control, HttpRequest, Request
from tests.feeds.toy_venue import (
    LIMITS,
    POLICY,
    FamilyToy,
    PagedToy,
    Server,
    SigningToy,
    SplitToy,
    Toy,
    World,
    running,
)


async def test_discovery_follows_the_pages_of_a_list_and_posts_where_there_is_a_body():
    world = World()
    world.server.bodies = [(200, b'["A1","page-2+"]'), (200, b'["B1","page-3+"]'), (200, b'["C1"]')]
    async with running(world, PagedToy()):
        await world.accepted("book.A1", "book.B1", "book.C1")
    assert world.server.posted == [b"page-2+", b"page-3+"]
    assert [r.payload for r in world.inbox.of(RecordType.HTTP)] == [
        b'["A1","page-2+"]',
        b'["B1","page-3+"]',
        b'["C1"]',
    ]


async def test_discovery_asks_whatever_an_answer_leads_to_in_order():
    world = World()
    world.server.bodies = [(200, b'["?A","?B"]'), (200, b'["A1","A2"]'), (200, b'["B1"]')]
    async with running(world, FamilyToy()):
        await world.accepted("book.A1", "book.A2", "book.B1")
    assert world.server.asked == ["of=", "family=A", "family=B"]
    purposes = [r.name for r in world.inbox.of(RecordType.HTTP)]
    assert purposes == ["instruments:all", "instruments:A", "instruments:B"]


async def test_page_that_fails_fails_its_list_and_pages_without_end_are_cut():
    world = World()
    world.server.bodies = [(200, b'["A1","page-2+"]'), (500, b"")]
    async with running(world, PagedToy()):
        await world.until(lambda: world.session.counts.discovery_failures == 1)
        assert world.session.listings == {}
    world = World()
    world.server.bodies = [(200, b'["A1","page+"]')] * 9
    async with running(world, PagedToy(), policy=replace(POLICY, discovery_pages_max=3)):
        await world.until(lambda: world.session.counts.discovery_failures == 1)
        assert "more than 3 pages" in world.session.problem
    assert len(world.server.asked) == 3


async def test_connections_have_paths_of_their_own_and_new_listings_go_to_theirs():
    world = World()
    async with running(world, SplitToy()):
        await world.accepted("book.A1", "trades.all")
        world.server.symbols = ["A1", "A2"]
        world.session.request_discovery()
        await world.pass_s(POLICY.discovery_min_s)
        await world.accepted("book.A2")
    books, trades = sorted(world.server.sockets, key=lambda socket: socket.path)
    assert (books.path, trades.path) == ("/ws/books", "/ws/trades")
    assert books.channels() == ["book.A1", "book.A2"]
    assert set(trades.channels()) == {"trades.all"}


async def test_venue_is_pinged_at_its_period_and_no_ping_waits_for_an_answer():
    world = World()
    async with running(world, SplitToy(), limits=replace(LIMITS, ping_s=20.0)):
        await world.accepted("book.A1", "trades.all")
        await world.pass_s(19.5)
        assert world.session.counts.pings == 0
        await world.pass_s(0.5)
        await world.until(lambda: world.session.counts.pings == 2)
        await world.until(
            lambda: all(s.received[-1] == {"op": "ping"} for s in world.server.sockets)
        )
        assert all(not link.ledger.pending for link in world.session.links)
        await world.pass_s(19.5)
        await world.until(lambda: world.session.counts.pings == 4)
    assert world.session.counts.requests == 2


async def test_connection_is_renewed_before_its_age_limit_each_a_little_earlier():
    world = World()
    limits = replace(LIMITS, connection_s=1000.0, silence_s=5000.0)
    async with running(world, SplitToy(), limits=replace(limits, ping_s=4000.0)):
        await world.accepted("book.A1", "trades.all")
        await world.pass_s(939.5)
        assert world.session.counts.renewals == 0
        await world.pass_s(0.5)
        await world.until(lambda: world.session.counts.renewals == 1)
        await world.until(lambda: world.session.counts.disconnects == 1)
        close = world.inbox.of(RecordType.CONNECTION, "close")[0]
        assert close.connection == 1
        await world.pass_s(9.5)
        await world.until(lambda: world.session.counts.renewals == 2)


async def test_channels_answered_for_by_name_are_recorded_when_all_are():
    class Naming(Toy):
        def control(self, frame: bytes) -> Control | None:
            message = json.loads(frame)
            if "ok" not in message:
                return None
            return Control(accepted=tuple(message["ok"]), denied=("ticker.A1",))

    world = World()
    world.server.unknown = {"ticker.A1"}
    async with running(world, Naming()):
        await world.accepted("trades.all", "book.A1")
        await world.until(lambda: world.inbox.channels("missing"))
    assert world.inbox.channels("missing") == ["ticker.A1"]


async def test_instruments_alone_are_given_once_although_two_answers_name_them():
    class Twice(Toy):
        def discovery(self, underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
            return super().discovery(underlyings) * 2

    world = World()
    world.server.bodies = [(200, b'["A1","A2"]'), (200, b'["A2","A3"]')]
    async with world.server.start() as server:
        session = VenueSession(
            Twice(), rest_url=str(server.make_url("")), ws_url="", journal=world.journal,
            clock=world.time, options=ChannelOptions(), limits=LIMITS,
            budget=ConnectBudget(None, world.time, 100, 60.0), deliver=world.inbox.deliver,
            underlyings=(), rng=random.Random(5), policy=POLICY, sleep=world.time.sleep,
        )  # fmt: skip
        listings = await session.discover_once()
    assert [listing.symbol for listing in listings] == ["A1", "A2", "A3"]


class FailingToy(Toy):
    """Says of some books that it could not send them: `{"fails": [...]}`."""

    def control(self, frame: bytes) -> Control | None:
        message = json.loads(frame)
        if "fails" in message:
            return Control(resync=tuple(message["fails"]))
        return super().control(frame)


async def test_venue_asks_for_a_book_to_be_asked_for_again_each_time_at_a_longer_wait():
    world = World()
    world.server.symbols = ["A1", "B1"]
    async with running(world, FailingToy()):
        await world.accepted("ticker.B1")
        await world.push('{"fails":["B1","Z9"]}')
        await world.until(lambda: world.inbox.channels("accepted").count("book.B1") == 2)
        await world.push('{"fails":["B1"]}')
        await world.pass_s(POLICY.resync_base_s - 0.5)
        assert world.session.counts.resyncs == 1
        await world.pass_s(0.5)
        await world.until(lambda: world.inbox.channels("accepted").count("book.B1") == 3)
    assert world.inbox.channels("unsubscribe") == ["book.B1", "book.B1"]
    assert (world.session.counts.resyncs, world.session.counts.resyncs_unknown) == (2, 1)


async def test_failure_of_a_book_that_is_being_asked_for_is_not_taken_for_a_repetition():
    world = World()
    async with running(world, FailingToy()):
        await world.accepted("ticker.A1")
        world.server.mute = True
        world.session.request_resync(["A1"])
        await world.until(lambda: world.session.counts.resyncs == 1)
        await world.push('{"fails":["A1"]}')
        assert world.session.counts.resyncs_duplicate == 0
        await world.pass_s(POLICY.resync_base_s)
        await world.until(lambda: world.session.counts.resyncs == 2)


def test_plan_is_placed_on_a_connection_of_its_path_however_full():
    links = [Link(n, ChannelLedger(Toy()), path) for n, path in enumerate(["/books", "/trades"])]
    links[1].ledger.carry(Request(1, ("trades.all", "trades.A"), "text"))
    assert place(links, "/trades", {"trades.B"}, 10) is links[1]
    assert place(links, "/trades", {"trades.B"}, 2) is None
    assert place(links, "/books", {"trades.all"}, 10) is links[0]


async def test_instruments_are_asked_for_again_after_a_while_without_any_notice():
    world = World()
    limits = replace(LIMITS, silence_s=10_000.0)
    async with running(world, limits=limits):
        await world.accepted("book.A1")
        world.server.symbols = ["A1", "A2"]
        await world.pass_s(POLICY.discovery_every_s - 1.0)
        assert len(world.server.asked) == 1
        await world.pass_s(1.0)
        await world.accepted("book.A2")
    assert len(world.server.asked) == 2


class Account(NamedTuple):
    key: str = "who/+=="
    secret: str = "hush"  # noqa: S105 - of nobody


async def test_signed_venue_gets_a_signature_of_the_moment_that_nobody_is_shown():
    world = World()
    async with running(world, SigningToy(), credentials=Account()):
        await world.accepted("book.A1")
        first_ns = world.time.ns
        await world.pass_s(5.0)
        await world.server.sockets[0].ws.close()
        await world.back_off()
        await world.opened(2)
        second_ns = world.time.ns
    queries = [socket.query for socket in world.server.sockets]
    assert queries[0] == f"by=who/+==&at={first_ns}&with=hush"
    assert first_ns < int(queries[1].split("&")[1].removeprefix("at=")) <= second_ns
    said = [(record.name, record.payload) for record in world.inbox.records]
    assert not any("hush" in name or b"hush" in payload for name, payload in said)


async def test_signature_stays_out_of_what_is_said_of_a_connection_that_fails():
    world = World()
    nowhere = "ws://127.0.0.1:1/ws"
    async with running(world, SigningToy(), credentials=Account(), ws_url=nowhere):
        await world.until(lambda: world.session.counts.connect_failures == 1)
        assert nowhere in world.session.trouble
        assert "hush" not in world.session.trouble


class DeafServer(Server):
    """Refuses every socket."""

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        raise web.HTTPForbidden


async def test_signature_stays_out_of_what_is_said_of_a_refused_socket():
    world = World()
    world.server = DeafServer(world.time.changed)
    async with running(world, SigningToy(), credentials=Account()):
        await world.until(lambda: world.session.counts.connect_failures == 1)
        trouble = world.session.trouble
    assert "403" in trouble
    assert not any(part in trouble for part in ("hush", "who", "with="))


@dataclass
class ElsewhereServer(Server):
    """Sends every socket on to an address."""

    elsewhere: str = ""

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        location = f"{self.elsewhere}?{request.query_string}"  # web.HTTPFound would look at it.
        return web.Response(status=302, headers={"Location": location})


async def test_socket_sent_on_is_a_failure_without_the_signature():
    for elsewhere in ("ftp://venue/ws", "ws://venue:99999/ws", "ws:///ws", "ws://127.0.0.1:1/ws"):
        world = World()
        world.server = ElsewhereServer(world.time.changed, elsewhere=elsewhere)
        async with running(world, SigningToy(), credentials=Account()):
            await world.until(lambda world=world: world.session.counts.connect_failures == 1)
            trouble = world.session.trouble
        assert "1 of 1 connections down" in trouble
        assert "was redirected (302)" in trouble
        assert not any(part in trouble for part in ("hush", "who", "with="))


@dataclass
class MovedServer(Server):
    """Sends what is asked for at one address on to another of its own."""

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        if request.path == "/ws":
            raise web.HTTPTemporaryRedirect(f"/ws/moved?{request.query_string}")
        return await super().websocket(request)

    async def instruments(self, request: web.Request) -> web.Response:
        if "moved" not in request.query:
            raise web.HTTPFound("/instruments?moved=1")
        return await super().instruments(request)


async def test_no_socket_is_sent_on_to_another_address_though_instruments_may_be():
    for venue, keys in ((SigningToy(), Account()), (Toy(), None)):
        world = World()
        world.server = MovedServer(world.time.changed)
        async with running(world, venue, credentials=keys):
            await world.until(lambda world=world: world.session.counts.connect_failures == 1)
            trouble = world.session.trouble
        assert trouble.endswith("/ws: was redirected (307), which no socket follows")
        assert (world.server.asked, world.server.sockets) == (["moved=1"], [])


async def test_signed_venue_without_keys_is_not_knocked_at_and_says_what_is_missing():
    world = World()
    budget = ConnectBudget(None, world.time, 100, 60.0)
    limits = replace(LIMITS, channels_per_connection=2)  # Two connections.
    policy = replace(POLICY, discovery_every_s=1e6)
    async with running(world, SigningToy(), budget=budget, limits=limits, policy=policy):
        await world.until(lambda: world.inbox.of(RecordType.HTTP))
        await world.pass_s(POLICY.check_s)
        told = world.session.trouble
        assert told.startswith("2 of 2 connections down: ")
        assert "no keys" in told
        for _ in range(20):
            await world.pass_s(POLICY.retry_cap_s)
        assert world.session.trouble == told
        # The instruments took one connect; nothing is spent on what can never be.
        assert (budget.counts.granted, world.session.counts.connect_failures) == (1, 0)
    assert world.server.sockets == []


async def test_venue_that_answers_nothing_has_accepted_what_was_sent():
    world = World()
    world.server.mute = True
    async with running(world, limits=replace(LIMITS, answers=False)):
        await world.accepted("book.A1", "trades.all")
        await world.pass_s(POLICY.ack_s)
        counts = world.session.counts
        assert (counts.unanswered, counts.missing, counts.given_up) == (0, 0, 0)


@pytest.mark.parametrize("says", [{"answers": False}, {"accepts_anything": True}])
async def test_book_that_stays_silent_on_such_a_venue_is_asked_for_again_and_nothing_else_is(
    says: dict[str, bool],
):
    world = World()
    world.server.mute = not says.get("answers", True)
    async with running(world, limits=replace(LIMITS, **says)):
        await world.accepted("book.A1", "trades.all")
        await world.pass_s(POLICY.first_data_s)
        await world.until(lambda: world.server.sockets[0].channels().count("book.A1") == 2)
        socket = world.server.sockets[0]
        assert socket.channels("unsubscribe") == ["book.A1"]
        assert socket.channels().count("trades.all") == 1
        assert world.session.counts.resyncs == 1
