"""A session of two tiers: what depth that comes and goes leaves on its connections."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

from feeds.budget import ConnectBudget
from feeds.contract import Listing, ListingKind
from feeds.links import LinkState
from feeds.record import RecordType
from feeds.venue import ChannelOptions, ConnectionPlan, Limits, Request
from tests.feeds.toy_venue import CHECK_S, LIMITS, POLICY, UnsubscribingToy, World, running

BASE = ChannelOptions(book="none", quotes=True)
DEPTH = ChannelOptions(quotes=False)
QUIET = replace(POLICY, discovery_every_s=1e6)
PATIENT = replace(LIMITS, silence_s=10_000.0)


class TieredToy(UnsubscribingToy):
    """Options alone: `quote.X` at their best prices, `book.X` where they have depth."""

    def listing(self, symbol: str) -> Listing:
        return replace(super().listing(symbol), kind=ListingKind.OPTION)

    def channel(self, symbol: str, options: ChannelOptions) -> str:
        return f"quote.{symbol}" if options.quotes else f"book.{symbol}"

    def subscriptions(
        self, listings: Sequence[Listing], options: ChannelOptions, limits: Limits
    ) -> tuple[ConnectionPlan, ...]:
        channels = [self.channel(one.symbol, options) for one in listings]
        size = limits.channels_per_connection
        return tuple(
            ConnectionPlan(0, (self.request("subscribe", 100, channels[at : at + size]),))
            for at in range(0, len(channels), size)
        )

    def resync(self, symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
        channels = [self.channel(symbol, options)]
        return (
            self.request("unsubscribe", request_id, channels),
            self.request("subscribe", request_id + 1, channels),
        )


def tiers(**changes):
    return {"options": BASE, "depth": DEPTH, "limits": PATIENT, "policy": QUIET, **changes}


def follow(world: World, *symbols: str) -> None:
    world.session.follow_depth(dict.fromkeys(symbols, "test"))


async def grown(world: World, *symbols: str) -> None:
    follow(world, *symbols)
    await world.accepted(*(f"book.{symbol}" for symbol in symbols))


async def test_session_that_is_stopped_follows_no_depth():
    world = World()
    async with running(world, TieredToy(), **tiers()):
        await world.accepted("quote.A1")
        world.session.stop()
        follow(world, "A1")  # Here its tasks are yet to be cancelled,
        await asyncio.sleep(0)
        follow(world, "A1")  # and here a task more would outlive it.
    follow(world, "A1")
    assert len(world.session.links) == 1
    assert world.inbox.of(RecordType.DEPTH) == []


async def test_best_prices_begin_anew_although_a_resync_of_the_book_was_under_way():
    world = World()
    async with running(world, TieredToy(), **tiers()):
        await world.accepted("quote.A1")
        await grown(world, "A1")
        base, deep = world.server.sockets
        world.server.mute = True
        world.session.request_resync(["A1"])
        await world.until(lambda: deep.channels("unsubscribe") == ["book.A1"])
        follow(world)
        await world.until(lambda: deep.channels("unsubscribe") == ["book.A1"] * 2)
        await world.pass_s(1)  # The backoff of a listing that asks again.
        await world.until(lambda: base.channels("unsubscribe") == ["quote.A1"])
        await world.until(lambda: base.channels() == ["quote.A1"] * 2)


async def test_repeated_request_leaves_no_depth_that_was_given_back_meanwhile():
    world = World()
    world.server.symbols = ["A1", "A2", "A3"]
    world.server.unknown = {"book.A1", "book.A3"}
    async with running(world, TieredToy(), **tiers()):
        await world.accepted("quote.A3")
        follow(world, "A1", "A2")
        await world.until(lambda: "book.A1" in world.inbox.channels("missing"))
        follow(world, "A1", "A3")
        deep = world.server.sockets[1]
        await world.until(lambda: deep.channels("unsubscribe") == ["book.A2"])
        await world.pass_s(POLICY.retry_cap_s)  # The first request is sent again, with A2 in it.
        await world.until(lambda: deep.channels("subscribe").count("book.A2") == 2)
        await world.until(lambda: deep.channels("unsubscribe") == ["book.A2"] * 2)
        await world.until(lambda: "book.A3" in world.inbox.channels("missing"))
        before = deep.channels("subscribe").count("book.A3")
        follow(world, "A1")
        await world.until(lambda: "book.A3" in deep.channels("unsubscribe"))
        await world.pass_s(POLICY.retry_cap_s)
        # Nothing of that request is wanted any more: it is not sent again.
        assert deep.channels("subscribe").count("book.A3") == before


async def test_depth_without_a_place_is_said_and_asked_for_again_when_there_is_one():
    world = World()
    world.server.symbols = ["A1", "A2"]
    limits = replace(PATIENT, channels_per_connection=1, connections_max=3)
    async with running(world, TieredToy(), **tiers(limits=limits)):
        await world.accepted("quote.A1", "quote.A2")
        follow(world, "A1", "A2")
        await world.accepted("book.A1")
        assert world.session.subscriber.tier.symbols == {"A1"}
        assert (world.session.counts.depth_grown, world.session.counts.no_room) == (1, 1)
        assert world.session.problem == "depth of 1 listings found no place on any connection"
        follow(world, "A2")
        await world.accepted("book.A2")
        assert world.session.subscriber.tier.symbols == {"A2"}


async def test_depth_takes_half_of_an_hours_requests_and_leaves_the_rest_to_resyncs():
    world = World()
    world.server.symbols = ["A1", "A2"]
    limits = replace(PATIENT, requests_per_hour=8)
    async with running(world, TieredToy(), **tiers(limits=limits)):
        await world.accepted("quote.A2")
        deep = ("A1", "A2")
        for turn in range(20):
            follow(world, deep[turn % 2])
            await world.pass_s(5)
        link = world.session.links[1]
        assert link.hour.left(world.time.ns) >= 2
        assert (link.retries, world.session.counts.hour_waits) == ([], 0)
        assert world.session.counts.depth_postponed > 10
        await world.pass_s(3600)
        grown_before = world.session.counts.depth_grown
        held = next(iter(world.session.subscriber.tier.symbols))
        follow(world, *({"A1", "A2"} - {held}))
        assert world.session.counts.depth_grown == grown_before + 1


async def test_connection_that_carries_nothing_any_more_is_no_trouble():
    world = World()
    limits = replace(LIMITS, silence_s=60.0)
    async with running(world, TieredToy(), **tiers(limits=limits)):
        await world.accepted("quote.A1")
        await grown(world, "A1")
        follow(world)
        await world.until(lambda: world.server.sockets[1].channels("unsubscribe"))
        await world.server.sockets[1].ws.close()
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.pass_s(CHECK_S)
        assert world.session.trouble == ""


async def test_depth_that_wanders_leaves_no_more_requests_than_channels():
    world = World()
    names = world.server.symbols = [f"A{n}" for n in range(6)]
    async with running(world, TieredToy(), **tiers()):
        await world.accepted(*(f"quote.{name}" for name in names))
        await grown(world, *names[:4])
        ledger = world.session.links[1].ledger
        for turn in range(1, 30):
            held = [names[(2 * turn + n) % 6] for n in range(4)]
            if turn % 2:
                held = [names[(turn + n) % 6] for n in range(4)]
            follow(world, *held)
            assert ledger.wanted == {f"book.{name}" for name in held}
            assert {c for request in ledger.requests for c in request.channels} >= ledger.wanted
            assert len(ledger.requests) <= len(ledger.wanted)
        await world.server.sockets[1].ws.close()
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.back_off()
        await world.opened(3)
        await world.until(world.server.sockets[2].channels)
        assert sorted(world.server.sockets[2].channels()) == sorted(ledger.wanted)


async def test_connection_whose_depth_is_given_back_while_it_waits_is_not_opened():
    world = World()
    budget = ConnectBudget(None, world.time, 2, 60.0)  # The instruments and one socket.
    async with running(world, TieredToy(), **tiers(budget=budget)):
        await world.accepted("quote.A1")
        follow(world, "A1")
        await world.until(lambda: world.session.counts.budget_waits == 1)
        follow(world)
        await world.pass_s(60)
        await world.until(lambda: budget.counts.granted == 3)
        await world.pass_s(CHECK_S)
        assert world.session.links[1].state is LinkState.WAITING
        assert len(world.server.sockets) == 1


def tier_of(world: World) -> set[str]:
    return world.session.subscriber.tier.symbols


async def refused(world: World, channel: str) -> None:
    """Wait until a channel was asked for and refused as often as it is tried."""
    for attempt in (1, 2, 3):
        await world.until(lambda n=attempt: world.inbox.channels("missing").count(channel) == n)
        await world.pass_s(5)


async def test_depth_that_the_venue_refuses_leaves_the_tier_and_another_has_its_place():
    world = World()
    world.server.symbols = ["A1", "A2", "A3"]
    world.server.unknown = {"book.A1"}
    limits = replace(PATIENT, channels_per_connection=3, connections_max=2)
    async with running(world, TieredToy(), **tiers(limits=limits)):
        await world.accepted("quote.A3")
        base = world.server.sockets[0]
        follow(world, "A1", "A2")
        await refused(world, "book.A1")
        assert tier_of(world) == {"A2"}
        assert world.session.links[1].ledger.wanted == {"book.A2"}
        assert world.session.given_up == set()
        # What the venue does not know can hardly be ended; what it never answered for may be.
        deep = world.server.sockets[1]
        await world.until(lambda: deep.channels("unsubscribe") == ["book.A1"])
        # The book is gone, if ever there was one: best prices begin anew.
        await world.until(lambda: base.channels().count("quote.A1") == 2)
        counts = world.session.counts
        assert (counts.depth_grown, counts.depth_refused, counts.depth_given_back) == (2, 1, 0)
        said = [json.loads(r.payload) for r in world.inbox.of(RecordType.DEPTH)]
        assert said[1:] == [{"grown": {}, "given_back": [], "refused": ["A1"]}]
        follow(world, "A1", "A2", "A3")  # A1 is not asked for again, whoever wants it.
        await world.accepted("book.A3")
        assert (tier_of(world), deep.channels().count("book.A1")) == ({"A2", "A3"}, 3)


async def test_refused_depth_may_be_asked_for_again_after_its_time():
    world = World()
    world.server.unknown = {"book.A1"}
    async with running(world, TieredToy(), **tiers()):
        await world.accepted("quote.A1")
        follow(world, "A1")
        await refused(world, "book.A1")
        world.server.unknown = set()
        await world.server.sockets[1].ws.close()  # It was refused in so many words:
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.pass_s(QUIET.depth_refused_s - 20)  # a new socket makes no difference.
        follow(world, "A1")
        assert (tier_of(world), len(world.server.sockets)) == (set(), 2)
        await world.pass_s(20)
        assert tier_of(world) == set()  # An option waits for the next choice.
        follow(world, "A1")
        await world.pass_s(CHECK_S)  # Its connection looks whether there is anything to carry.
        await world.accepted("book.A1")
        assert tier_of(world) == {"A1"}
        assert world.session.counts.depth_refused == 1


async def test_depth_that_was_never_answered_for_is_refused_no_longer_than_its_connection_lives():
    world = World()
    async with running(world, TieredToy(), **tiers()):
        await world.accepted("quote.A1")
        world.server.mute = True
        follow(world, "A1")
        await world.until(lambda: len(world.server.sockets) == 2)
        deep = world.server.sockets[1]
        for attempt in (1, 2, 3):
            await world.until(lambda n=attempt: deep.channels().count("book.A1") == n)
            await world.pass_s(QUIET.ack_s)
            await world.pass_s(5)
        assert (tier_of(world), world.session.counts.depth_refused) == (set(), 1)
        follow(world, "A1")
        assert tier_of(world) == set()
        world.server.mute = False
        await deep.ws.close()
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.pass_s(QUIET.retry_cap_s)
        follow(world, "A1")
        await world.pass_s(CHECK_S)
        await world.accepted("book.A1")


class FutureToy(TieredToy):
    """Of its listings some always have depth: those whose names begin with F."""

    def listing(self, symbol: str) -> Listing:
        kind = ListingKind.PERP if symbol[0] == "F" else ListingKind.OPTION
        return replace(super().listing(symbol), kind=kind)


async def test_listing_that_always_has_depth_is_asked_for_again_although_nobody_chooses():
    world = World()
    world.server.symbols = ["A1", "F1"]
    world.server.unknown = {"book.F1"}
    async with running(world, FutureToy(), **tiers()):
        await refused(world, "book.F1")
        assert tier_of(world) == set()
        await world.pass_s(QUIET.depth_refused_s)
        await refused_again(world)
        world.server.unknown = set()
        await world.pass_s(QUIET.depth_refused_s)
        await world.accepted("book.F1")
        assert (tier_of(world), world.session.counts.depth_refused) == ({"F1"}, 2)


async def refused_again(world: World) -> None:
    """Wait until the one that always has depth was refused a second time."""
    for count in (4, 5, 6):
        await world.until(lambda n=count: world.inbox.channels("missing").count("book.F1") == n)
        await world.pass_s(5)


async def test_listing_that_ended_while_its_depth_was_refused_is_forgotten():
    world = World()
    world.server.symbols = ["A1", "F1"]
    world.server.unknown = {"book.F1"}
    async with running(world, FutureToy(), **tiers()):
        await refused(world, "book.F1")
        world.server.symbols = ["A1"]
        world.session.request_discovery()
        await world.pass_s(QUIET.discovery_min_s)
        await world.until(lambda: world.session.counts.delisted == 1)
        await world.pass_s(QUIET.depth_refused_s)
        assert world.session.subscriber.tier.refused == {}
        assert tier_of(world) == set()
