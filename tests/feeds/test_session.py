"""A session against a real server on the loopback, with a time that moves by hand."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from feeds.budget import ConnectBudget
from feeds.errors import SessionError
from feeds.journal import Journal
from feeds.links import LinkState
from feeds.record import RecordType, Redactor
from feeds.replay import read_journal
from feeds.session import VenueSession
from feeds.venue import ChannelOptions
from tests.feeds.toy_venue import (
    LIMITS,
    POLICY,
    CrampedToy,
    Toy,
    UnsubscribingToy,
    World,
    running,
)


async def test_discovery_leads_to_subscription_and_frames_in_one_order(tmp_path):
    world = World(tmp_path)
    async with running(world):
        await world.accepted("trades.all", "book.A1", "ticker.A1")
        await world.push('{"channel":"book.A1","bids":[[1,2]]}')
    names = [(r.type, r.connection, r.name) for r in world.inbox.records]
    assert names == [
        (RecordType.HTTP, -1, "instruments:all"),
        (RecordType.CONNECTION, 0, "open"),
        (RecordType.SUBSCRIPTION, 0, "subscribe"),
        (RecordType.FRAME, 0, ""),
        (RecordType.SUBSCRIPTION, 0, "accepted"),
        (RecordType.FRAME, 0, ""),
        (RecordType.CONNECTION, 0, "close"),
    ]
    assert world.inbox.records[0].payload == b'["A1"]'
    assert world.inbox.records[2].payload == b'["trades.all","book.A1","ticker.A1"]'
    assert world.inbox.records[-1].payload == b"stopped"
    stored = list(read_journal(tmp_path))
    assert stored[:-1] == world.inbox.records
    assert stored[-1].type is RecordType.END
    counts = world.session.counts
    assert (counts.connects, counts.disconnects, counts.accepted, counts.frames) == (1, 1, 3, 2)


async def test_underlyings_are_asked_for_and_others_left_out():
    world = World()
    world.server.symbols = ["A1", "B1", "C1"]
    async with running(world, underlyings=("A", "C")):
        await world.accepted("book.C1")
    assert world.server.asked == ["of=A,C"]
    assert set(world.server.sockets[0].channels()) == {
        "trades.all", "book.A1", "ticker.A1", "book.C1", "ticker.C1",
    }  # fmt: skip


async def test_channel_missing_from_the_answer_is_recorded_retried_and_given_up():
    world = World()
    world.server.unknown = {"book.A1"}
    async with running(world):
        await world.accepted("ticker.A1")
        for attempt in (2, 3):
            await world.pass_s(5)
            await world.until(lambda n=attempt: len(world.inbox.channels("missing")) == n)
        await world.pass_s(20)
        assert world.inbox.channels("missing") == ["book.A1"] * 3
        assert len(world.server.sockets[0].received) == 3
        assert world.session.given_up == {"book.A1"}
    counts = world.session.counts
    assert (counts.missing, counts.given_up, counts.refused) == (3, 1, 0)


async def test_refused_request_counts_all_its_channels_missing_and_may_succeed_later():
    world = World()
    world.server.refuses = True
    async with running(world):
        await world.until(lambda: len(world.inbox.channels("missing")) == 3)
        world.server.refuses = False
        await world.pass_s(5)
        await world.accepted("trades.all", "book.A1", "ticker.A1")
    assert world.session.counts.refused == 1
    assert world.session.given_up == set()


async def test_request_without_an_answer_is_asked_again():
    world = World()
    world.server.mute = True
    async with running(world):
        await world.until(lambda: world.server.sockets and world.server.sockets[0].received)
        world.server.mute = False
        await world.pass_s(POLICY.ack_s)
        assert world.inbox.channels("missing") == ["trades.all", "book.A1", "ticker.A1"]
        await world.pass_s(5)
        await world.accepted("book.A1")
    assert world.session.counts.unanswered == 1


async def test_closed_connection_is_opened_again_and_subscribed_anew():
    world = World()
    async with running(world):
        await world.accepted("book.A1")
        await world.server.sockets[0].ws.close(code=1012, message=b"restart")
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        assert world.session.links[0].state is LinkState.BACKOFF
        await world.back_off()
        await world.opened(2)
        await world.until(lambda: len(world.inbox.channels("accepted")) == 6)
    assert world.server.sockets[1].channels() == ["trades.all", "book.A1", "ticker.A1"]
    closes = [record.payload for record in world.inbox.of(RecordType.CONNECTION, "close")]
    assert closes == [b"venue closed with 1012 restart", b"stopped"]
    assert world.session.links[0].problem == "stopped"


async def test_silent_connection_is_recorded_dropped_and_replaced():
    world = World()
    async with running(world):
        await world.accepted("book.A1")
        await world.pass_s(30)
        await world.push('{"channel":"book.A1"}')
        await world.pass_s(59)
        assert world.inbox.of(RecordType.TIMER, "silence") == []
        await world.pass_s(1)
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.back_off()
        await world.opened(2)
    silence = world.inbox.of(RecordType.TIMER, "silence")
    assert [(r.connection, r.payload) for r in silence] == [(0, b"")]
    close = world.inbox.of(RecordType.CONNECTION, "close")[0]
    assert close.payload == b"no frame for 60.0 s"
    assert world.inbox.records.index(silence[0]) < world.inbox.records.index(close)


async def test_half_open_connection_is_given_up_although_the_peer_never_answers():
    world = World()
    world.server.stuck = True
    async with running(world):
        await world.opened()
        world.server.stuck = False
        await world.pass_s(LIMITS.silence_s)
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.until(lambda: world.session.links[0].state is LinkState.BACKOFF)
        await world.back_off()
        await world.accepted("book.A1")
    assert world.session.counts.silence_timers == 1
    assert world.server.sockets[1].channels() == ["trades.all", "book.A1", "ticker.A1"]


async def test_heartbeat_is_answered_at_once_even_while_requests_wait():
    world = World()
    world.server.symbols = ["A1", "A2", "A3"]  # Seven channels, two requests.
    async with running(world, limits=replace(LIMITS, requests_per_s=0.01, request_burst=2)):
        await world.accepted("book.A1")  # One token went to discovery, one to this request.
        await world.push('{"hb":1}')
        await world.until(lambda: len(world.server.sockets[0].received) == 2)
    assert world.server.sockets[0].received[1] == {"op": "pong"}
    assert world.session.counts.replies == 1


async def test_requests_are_paced_and_hellos_come_first():
    class Polite(Toy):
        HELLO = ('{"op":"hello"}',)

    world = World()
    world.server.symbols = [f"A{n}" for n in range(5)]  # Eleven channels, three requests.
    async with running(
        world, Polite(), limits=replace(LIMITS, requests_per_s=0.5, request_burst=3)
    ):
        await world.accepted("book.A0")
        socket = world.server.sockets[0]
        assert [m["op"] for m in socket.received] == ["hello", "subscribe"]
        await world.pass_s(1.5)
        assert len(socket.received) == 2
        await world.pass_s(0.5)
        await world.until(lambda: len(socket.received) == 3)
        await world.pass_s(2)
        await world.until(lambda: len(socket.received) == 4)
        await world.accepted("ticker.A4")
    assert [len(m["args"]) for m in socket.received[1:]] == [4, 4, 3]


async def test_garbage_is_journaled_untouched_and_hurts_nothing():
    world = World()
    garbage = ["not json", "", '{"id":999,"ok":["x"]}', '{"id":77,"err":"?"}', "\u0000\U0001f600"]
    async with running(world):
        await world.accepted("book.A1")
        for text in garbage:
            await world.push(text)
        await world.server.sockets[0].ws.send_bytes(b"\xff\xfe\x00")
        await world.frames(len(garbage) + 2)
    assert world.inbox.frames()[1:] == [*(text.encode() for text in garbage), b"\xff\xfe\x00"]
    assert world.session.counts.refused == 0
    assert world.session.counts.disconnects == 1  # The one at the end.


async def test_frame_above_the_limit_ends_the_connection_and_not_the_session():
    world = World()
    async with running(world):
        await world.accepted("book.A1")
        await world.server.sockets[0].ws.send_str("x" * (LIMITS.frame_bytes_max + 1))
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.back_off()
        await world.opened(2)
    assert len(world.inbox.frames()[0]) < 100
    limit = str(LIMITS.frame_bytes_max).encode()
    assert limit in world.inbox.of(RecordType.CONNECTION, "close")[0].payload


async def test_exhausted_connect_budget_waits_and_shows_it():
    world = World()
    budget = ConnectBudget(None, world.time, 1, 60.0)
    async with running(world, budget=budget):
        await world.until(lambda: world.session.counts.budget_waits)
        assert world.session.links[0].state is LinkState.WAITING
        assert world.server.sockets == []
        await world.pass_s(59)
        assert world.server.sockets == []
        await world.pass_s(1)
        await world.opened()
    assert budget.counts.granted == 2


async def test_accepted_channel_without_a_first_frame_is_told_once():
    world = World()
    async with running(world):
        await world.accepted("book.A1")
        await world.push('{"channel":"ticker.A1","mark":1}')
        await world.pass_s(POLICY.first_data_s - 1)
        assert world.inbox.of(RecordType.TIMER) == []
        await world.pass_s(1)
        await world.pass_s(POLICY.first_data_s)
    timers = [(r.name, r.connection, r.payload) for r in world.inbox.of(RecordType.TIMER)]
    assert timers == [("first_data", 0, b"book.A1")]  # Trades may rightly be silent.


async def test_resync_asks_again_for_one_listing_and_leaves_the_others():
    world = World()
    world.server.symbols = ["A1", "B1"]
    async with running(world):
        await world.accepted("ticker.B1")
        first = len(world.server.sockets[0].received)
        world.session.request_resync(["B1", "B1"])
        world.session.request_resync(["B1"])
        await world.until(lambda: world.inbox.channels("accepted").count("book.B1") == 2)
        received = world.server.sockets[0].received[first:]
    assert [(m["op"], m["args"]) for m in received] == [
        ("unsubscribe", ["book.B1"]),
        ("subscribe", ["book.B1"]),
    ]
    assert world.inbox.channels("unsubscribe") == ["book.B1"]
    counts = world.session.counts
    assert (counts.resyncs, counts.resyncs_duplicate) == (1, 2)


async def test_listing_that_gaps_again_waits_for_its_own_backoff():
    world = World()
    world.server.symbols = ["A1", "B1"]
    async with running(world):
        await world.accepted("ticker.B1")
        world.session.request_resync(["A1"])
        await world.until(lambda: not world.session.resyncs.under_way)
        world.session.request_resync(["A1", "B1"])
        await world.until(lambda: world.inbox.channels("unsubscribe") == ["book.A1", "book.B1"])
        await world.pass_s(POLICY.resync_base_s)
        await world.until(
            lambda: world.inbox.channels("unsubscribe") == ["book.A1", "book.B1", "book.A1"]
        )


async def test_resync_of_what_nobody_carries_is_counted_and_forgotten():
    world = World()
    async with running(world):
        await world.accepted("book.A1")
        world.session.request_resync(["Z9"])
        assert world.session.counts.resyncs_unknown == 1
        assert world.session.resyncs.under_way == set()


async def test_resync_queue_is_bounded_and_what_it_drops_is_counted():
    world = World()
    world.server.symbols = [f"A{n}" for n in range(6)]
    policy = replace(POLICY, resync_waiting_max=3, resync_under_way_max=1)
    async with running(world, policy=policy):
        await world.accepted("ticker.A5")
        world.server.mute = True
        world.session.request_resync([f"A{n}" for n in range(6)])
        assert world.session.counts.resyncs_dropped == 3
        assert world.session.resyncs.under_way == {"A0"}
        world.server.mute = False


async def test_refused_second_half_of_a_resync_is_tried_again():
    world = World()
    async with running(world):
        await world.accepted("book.A1")
        world.server.unknown = {"book.A1"}
        world.session.request_resync(["A1"])
        await world.until(lambda: world.inbox.channels("missing") == ["book.A1"])
        world.server.unknown = set()
        await world.pass_s(5)
        await world.until(lambda: world.inbox.channels("accepted").count("book.A1") == 2)


async def test_new_listing_is_subscribed_live_on_a_connection_with_room():
    world = World()
    async with running(world):
        await world.accepted("book.A1")
        world.server.symbols = ["A1", "A2"]
        world.session.request_discovery()
        world.session.request_discovery()
        await world.pass_s(POLICY.discovery_min_s)
        await world.accepted("book.A2", "ticker.A2")
    assert len(world.server.sockets) == 1
    assert len(world.server.asked) == 2
    assert world.session.counts.listed == 2
    again = [c for r in world.session.links[0].ledger.requests for c in r.channels]
    assert set(again) == {"trades.all", "book.A1", "ticker.A1", "book.A2", "ticker.A2"}


async def test_discovery_is_not_repeated_before_its_time():
    world = World()
    async with running(world):
        await world.accepted("book.A1")
        world.session.request_discovery()
        await world.pass_s(POLICY.discovery_min_s - 1)
        assert len(world.server.asked) == 1
        await world.pass_s(1)
        await world.until(lambda: len(world.server.asked) == 2)


async def test_discovery_that_takes_long_is_not_asked_for_again_meanwhile():
    world = World()
    world.server.released.clear()
    async with running(world):
        await world.accepted("book.A1")
        asked = len(world.server.asked)
        world.server.held = True
        await world.pass_s(POLICY.discovery_every_s)
        await world.until(lambda: len(world.server.asked) == asked + 1)
        await world.pass_s(1)  # The watch looks, and the answer is still to come.
        world.server.released.set()
        await world.until(lambda: world.session.counts.discoveries == asked + 1)
        assert not world.session._discovery_wanted.is_set()


async def test_new_listing_opens_a_new_connection_where_there_is_no_room():
    world = World()
    async with running(world, limits=replace(LIMITS, channels_per_connection=3)):
        await world.accepted("book.A1")
        world.server.symbols = ["A1", "A2"]
        world.session.request_discovery()
        await world.pass_s(POLICY.discovery_min_s)
        await world.accepted("book.A2", "ticker.A2")
    assert [socket.channels()[1] for socket in world.server.sockets] == ["book.A1", "book.A2"]


async def test_listings_beyond_all_connections_are_counted_and_recorded():
    world = World()
    world.server.symbols = ["A1", "A2", "A3"]
    async with running(world, limits=replace(LIMITS, channels_per_connection=2, connections_max=3)):
        await world.opened(3)
        await world.until(lambda: len(world.inbox.channels("accepted")) == 6)
    assert world.inbox.channels("missing") == ["ticker.A3"]
    assert world.session.counts.no_room == 1


@pytest.mark.parametrize(
    ("venue", "told"), [(Toy(), []), (UnsubscribingToy(), ["book.A3", "ticker.A3"])]
)
async def test_ended_listing_is_unsubscribed_and_not_asked_for_again(venue, told):
    world = World()
    world.server.symbols = ["A1", "A2", "A3"]
    async with running(world, venue):
        await world.accepted("book.A1", "book.A2", "ticker.A3")
        world.server.symbols = ["A1", "A2"]
        world.session.request_discovery()
        await world.pass_s(POLICY.discovery_min_s)
        await world.until(lambda: world.inbox.channels("unsubscribe") == ["book.A3", "ticker.A3"])
        await world.until(lambda: world.server.sockets[0].channels("unsubscribe") == told)
        await world.server.sockets[0].ws.close()
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        world.server.unknown = {"book.A3", "ticker.A3"}
        await world.back_off()
        await world.opened(2)
        await world.until(lambda: len(world.inbox.channels("accepted")) == 12)
    assert world.inbox.channels("missing") == []
    assert world.session.counts.delisted == 1


async def test_failed_discovery_is_tried_again_and_ends_no_subscription():
    world = World()
    world.server.bodies = [(500, b""), (200, b"not json"), (200, b"[]")]
    async with running(world):
        for failures in (1, 2, 3):
            await world.until(lambda n=failures: world.session.counts.discovery_failures == n)
            await world.until(lambda: len(world.time.sleepers) == 2)
            await world.pass_s(POLICY.retry_cap_s / 4)
        await world.accepted("book.A1")
        world.server.bodies = [(200, b"[]")]
        world.session.request_discovery()
        await world.pass_s(POLICY.discovery_min_s)
        await world.until(lambda: world.session.counts.discovery_failures == 4)
        assert set(world.session.listings) == {"A1"}
        assert world.session.problem == "toy: discovery gave no listings"
    bodies = [record.payload for record in world.inbox.of(RecordType.HTTP)]
    assert bodies == [b"not json", b"[]", b'["A1"]', b"[]"]


async def test_body_above_the_limit_is_a_failure_and_not_a_full_memory():
    world = World()
    world.server.bodies = [(200, b"[" + b" " * 5000 + b"]")]
    async with running(world, policy=replace(POLICY, http_bytes_max=4096)):
        await world.until(lambda: world.session.counts.discovery_failures)
        assert "more than 4096 bytes" in world.session.problem
        await world.back_off()
        await world.accepted("book.A1")


async def test_venue_that_cannot_be_reached_is_counted_and_tried_again():
    world = World()
    async with running(world, ws_url="ws://127.0.0.1:1/ws"):
        await world.until(lambda: world.session.counts.connect_failures == 1)
        await world.back_off()
        await world.until(lambda: world.session.counts.connect_failures == 2)
        assert "127.0.0.1:1" in world.session.links[0].problem
        assert world.session.trouble.startswith("1 of 1 connections down: ")
        # The words may be a venue's own, and end on a terminal.
        world.session.links[0].problem = "closed \x1b]0;pwned\n\x1b[2J" + "x" * 999
        assert world.session.trouble.isprintable()
        assert len(world.session.trouble) == 240
    assert world.inbox.of(RecordType.CONNECTION) == []


async def test_plan_that_does_not_fit_at_the_start_is_an_error():
    world = World()
    with pytest.raises(ExceptionGroup) as caught:
        async with running(world, CrampedToy()):
            await world.until(lambda: world.session.counts.discoveries)
    assert caught.group_contains(SessionError, match="9 channels need 9 connections")


async def test_cancelled_session_closes_its_sockets_and_leaves_no_task():
    world = World()
    async with world.server.start() as server:
        session = VenueSession(
            Toy(),
            rest_url=str(server.make_url("")),
            ws_url=str(server.make_url("/ws")),
            journal=world.journal,
            clock=world.time,
            options=ChannelOptions(),
            limits=LIMITS,
            budget=ConnectBudget(None, world.time, 9, 60.0),
            deliver=world.inbox.deliver,
            underlyings=(),
            rng=random.Random(5),
            policy=POLICY,
            sleep=world.time.sleep,
        )
        run = asyncio.create_task(session.run(), name="session")
        await world.accepted("book.A1")
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert {"toy.discovery", "toy.watch", "toy.link-0", "toy.link-0.read"} <= names
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await world.until(lambda: world.server.sockets[0].closed)
        assert not any(t.get_name().startswith("toy.") for t in asyncio.all_tasks())
    assert session.links[0].state is LinkState.CLOSED
    assert world.inbox.records[-1].payload == b"stopped"


async def test_secrets_reach_neither_journal_nor_pipeline(tmp_path):
    world = World(tmp_path)
    async with running(world, redact=Redactor(["hunter2"])):
        await world.accepted("book.A1")
        await world.push('{"channel":"book.A1","token":"hunter2"}')
        await world.push('{"hb":"hunter2"}')
        await world.until(lambda: {"op": "pong"} in world.server.sockets[0].received)
    kept = [*world.inbox.records, *read_journal(tmp_path)]
    assert not any(b"hunter2" in record.payload for record in kept)
    assert b'{"channel":"book.A1","token":"[redacted]"}' in world.inbox.frames()


async def test_broken_journal_does_not_stop_the_session(tmp_path):
    def refuse(path: Path):
        raise OSError(28, "No space left on device", str(path))

    world = World()
    world.journal = Journal(world.time, tmp_path, open_file=refuse)
    async with running(world):
        await world.accepted("book.A1")
        world.journal.drain()
        assert world.journal.broken is not None
        await world.push('{"channel":"book.A1"}')
        assert world.journal.lost == len(world.inbox.records)
