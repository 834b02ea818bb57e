"""What the time of day, a venue's notices and its requests an hour make of a session."""

import json
from dataclasses import replace

from feeds.budget import ConnectBudget
from feeds.daily import DailyWindow
from feeds.links import LinkState
from feeds.record import RecordType
from feeds.venue import Control
from tests.feeds.toy_venue import LIMITS, POLICY, SplitToy, Toy, World, running

# The hand-moved time begins at 2023-11-14 22:13:20 UTC.
DOWN = [DailyWindow.read("22:13-22:43")]
BEFORE_CHANGE = {"listing_change_s": (22 * 3600 + 14 * 60,)}  # 40 s after the start
FEW = replace(LIMITS, requests_per_hour=2, silence_s=10_000.0)
QUIET = replace(POLICY, discovery_every_s=1e6)


class NoticeToy(Toy):
    def control(self, frame: bytes) -> Control | None:
        message = json.loads(frame)
        if "down" in message:
            return Control(notice="service", maintenance=message["down"])
        return super().control(frame)


async def test_requests_beyond_the_hour_wait_in_their_order_and_are_sent_once():
    world = World()
    world.server.symbols = [f"A{n}" for n in range(6)]  # Thirteen channels, four requests.
    async with running(world, limits=FEW, policy=QUIET):
        await world.until(lambda: world.session.counts.hour_waits == 2)
        socket = world.server.sockets[0]
        await world.accepted("trades.all", "book.A3")
        await world.pass_s(3599)
        assert len(socket.received) == 2
        await world.pass_s(1)
        await world.accepted("book.A5", "ticker.A5")
        assert [m["id"] for m in socket.received] == [100, 104, 108, 112]
    assert world.session.counts.hour_waits == 2


async def test_new_connection_has_an_hour_of_its_own():
    world = World()
    world.server.symbols = [f"A{n}" for n in range(3)]  # Seven channels, two requests.
    async with running(world, limits=FEW, policy=QUIET):
        await world.accepted("ticker.A2")
        await world.server.sockets[0].ws.close()
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.back_off()
        await world.until(lambda: len(world.inbox.channels("accepted")) == 14)
    assert world.session.counts.hour_waits == 0


async def test_ping_never_waits_behind_the_hour():
    world = World()
    limits = replace(FEW, requests_per_hour=1, channels_per_request=1, ping_s=20.0)
    async with running(world, SplitToy(), limits=limits, policy=QUIET):
        await world.accepted("book.A1", "trades.all")
        world.session.request_resync(["A1"])
        await world.pass_s(20)
        await world.until(lambda: world.session.counts.pings == 2)
    assert world.session.counts.resyncs_postponed > 0


async def test_resync_without_room_in_the_hour_is_postponed_and_not_lost():
    world = World()
    async with running(world, limits=FEW, policy=QUIET):
        await world.accepted("book.A1")  # One of two requests; a resync takes two.
        world.session.request_resync(["A1"])
        await world.until(lambda: world.session.counts.resyncs_postponed == 1)
        assert (world.session.counts.resyncs, world.session.resyncs.under_way) == (0, set())
        await world.pass_s(3600)
        await world.until(lambda: world.session.counts.resyncs == 1)
        await world.until(lambda: "book.A1" in world.server.sockets[0].channels("unsubscribe"))


async def test_resyncs_that_begin_together_share_what_is_left_of_the_hour():
    world = World()
    world.server.symbols = ["A1", "A2"]  # Five channels, two requests of four.
    async with running(world, limits=replace(FEW, requests_per_hour=4), policy=QUIET):
        await world.accepted("book.A1", "ticker.A2")
        world.session.request_resync(["A1", "A2"])
        await world.until(lambda: "book.A1" in world.inbox.channels("unsubscribe"))
        await world.pass_s(1)
        counts = world.session.counts
        assert (counts.resyncs, counts.resyncs_postponed, counts.hour_waits) == (1, 1, 0)
        assert world.session.resyncs.under_way == set()


async def test_resyncs_that_wait_for_their_turn_take_each_place_of_the_hour_once():
    world = World()
    world.server.symbols = ["A1", "A2"]  # Five channels, two requests of four.
    # The instruments and the plan take the burst; everything else waits for its turn.
    limits = replace(FEW, requests_per_hour=6, requests_per_s=0.01, request_burst=3)
    async with running(world, limits=limits, policy=QUIET):
        await world.accepted("book.A1", "ticker.A2")
        world.session.request_resync(["A1"])
        assert world.session.links[0].left(world.time.ns) == 2
        world.session.request_resync(["A2"])
        assert world.session.links[0].left(world.time.ns) == 0
        assert (world.session.counts.resyncs, world.session.counts.resyncs_postponed) == (2, 0)
        await world.server.sockets[0].ws.close()
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        assert world.session.links[0].placed == 0


async def test_resyncs_leave_the_reserve_before_listings_change_and_take_it_after():
    world = World()
    limits = replace(FEW, requests_per_hour=8, **BEFORE_CHANGE)
    async with running(world, limits=limits, policy=replace(QUIET, change_requests=6)):
        await world.accepted("book.A1")
        world.session.request_resync(["A1"])
        await world.until(lambda: world.session.counts.resyncs_postponed == 1)
        assert world.session.counts.resyncs == 0
        await world.pass_s(POLICY.resync_cap_s)  # The change is over by then.
        await world.until(lambda: world.session.counts.resyncs == 1)


async def test_reconnects_leave_the_reserve_of_connects_and_discovery_takes_it():
    world = World()
    budget = ConnectBudget(None, world.time, 4, 3600.0)
    limits = replace(LIMITS, silence_s=10_000.0, **BEFORE_CHANGE)
    policy = replace(QUIET, change_connects=2, discovery_min_s=1.0)
    async with running(world, limits=limits, policy=policy, budget=budget):
        await world.accepted("book.A1")  # Two connects of four: instruments, and the socket.
        await world.server.sockets[0].ws.close()
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.back_off()
        await world.until(lambda: world.session.counts.budget_waits == 1)
        assert world.session.links[0].state is LinkState.WAITING
        world.session.request_discovery()
        await world.pass_s(1)
        await world.until(lambda: len(world.server.asked) == 2)
        assert len(world.server.sockets) == 1
        # The instruments took the third connect; after the change the fourth is the socket's.
        await world.pass_s(60)
        await world.opened(2)


async def test_instruments_are_asked_for_soon_after_listings_change():
    world = World()
    limits = replace(LIMITS, silence_s=10_000.0, **BEFORE_CHANGE)
    async with running(world, limits=limits, policy=QUIET):
        await world.accepted("book.A1")
        await world.pass_s(0)
        world.server.symbols = ["A1", "A2"]
        await world.pass_s(44)
        assert len(world.server.asked) == 1
        await world.pass_s(21)
        await world.accepted("book.A2")
    assert len(world.server.asked) == 2


async def test_silence_in_a_window_clears_the_books_and_is_no_trouble():
    world = World()
    async with running(world, maintenance=DOWN):
        await world.accepted("book.A1")
        await world.pass_s(LIMITS.silence_s)
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.until(lambda: world.session.links[0].state is LinkState.BACKOFF)
        assert world.inbox.of(RecordType.TIMER, "silence")
        assert world.session.links[0].problem == "no frame for 60.0 s"
        assert (world.session.in_maintenance, world.session.trouble) == (True, "")
        world.time.advance(1800)  # The window is over, and the connection is down still.
        assert (world.session.in_maintenance, world.session.trouble != "") == (False, True)


async def test_reconnects_back_off_gently_in_a_maintenance():
    policy = replace(QUIET, maintenance_base_s=1000.0, maintenance_cap_s=1000.0)
    waits = {}
    for windows in ((), DOWN):
        world = World()
        async with running(world, maintenance=windows, policy=policy):
            await world.accepted("book.A1")
            await world.server.sockets[0].ws.close()
            await world.until(lambda w=world: len(w.time.sleepers) == 2)
            waits[len(windows)] = (max(world.time.sleepers)[0] - world.time.ns) / 1e9
    assert waits[0] <= POLICY.retry_base_s < 10 < waits[1] <= 1000


async def test_notice_of_a_maintenance_quiets_until_the_venue_is_back_and_discovery_follows():
    world = World()
    limits = replace(LIMITS, silence_s=10_000.0)
    async with running(world, NoticeToy(), limits=limits, policy=QUIET):
        await world.accepted("book.A1")
        await world.push('{"down":true}')
        assert world.session.in_maintenance
        await world.pass_s(60)
        assert len(world.server.asked) == 1
        world.server.symbols = ["A1", "A2"]
        await world.push('{"down":false}')
        assert not world.session.in_maintenance
        await world.pass_s(0)
        await world.pass_s(30)
        await world.accepted("book.A2")
    assert world.session.counts.maintenance_notices == 2
    assert world.session.counts.notices == 2


async def test_resync_that_waited_for_its_place_on_a_lost_connection_is_over():
    world = World()
    # Instruments, subscription and the first half take the burst; the second half waits.
    limits = replace(LIMITS, requests_per_s=0.01, request_burst=3)
    async with running(world, limits=limits, policy=QUIET):
        await world.accepted("book.A1")
        world.session.request_resync(["A1"])
        await world.until(lambda: world.inbox.channels("unsubscribe") == ["book.A1"])
        assert world.session.resyncs.under_way == {"A1"}
        await world.server.sockets[0].ws.close()
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        assert world.session.resyncs.under_way == set()
