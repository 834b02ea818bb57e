"""Two tiers at every emulated venue: depth comes and goes, and no book is wrong meanwhile."""

import json
import random

import pytest

from feeds.contract import ListingKind
from feeds.emulator.servers import SERVERS
from feeds.errors import SessionError
from feeds.links import LinkState
from feeds.record import RecordType
from feeds.tiers import one_tier, tiers_of
from feeds.venue import ChainQuoter, ChannelOptions
from feeds.venues import VENUES
from tests.feeds.test_venue_battery import WINDOWED, busy, healed, watch
from tests.feeds.venue_world import VenueWorld

# Quotes come when they change, and asking again brings none: what gave its book back waits for the
# next one. (Asked for again, the one channel of a whole chain would make all of it unknown.)
QUOTED_ON_CHANGE = {"aevo", "thalex", "gate"}
# A venue without options has nothing to choose: all of it has depth (test_binance_futures.py,
# test_binance_spot.py).
WITHOUT_OPTIONS = {"binance_futures", "binance_spot"}
TIERED = [name for name in SERVERS if not one_tier(VENUES[name]) and name not in WITHOUT_OPTIONS]
every_venue = pytest.mark.parametrize("name", TIERED)


def options_of(world: VenueWorld) -> list[str]:
    return [x.symbol for x in world.ids if x.kind == ListingKind.OPTION]


def follow(world: VenueWorld, symbols: list[str]) -> None:
    world.session.follow_depth(dict.fromkeys(symbols, "test"))


def deep(world: VenueWorld) -> set[str]:
    """Options that the rows say have a book of their own."""
    return {s for s in options_of(world) if not world.books[s].quoted}


def unquoted(world: VenueWorld) -> list[str]:
    """What is unknown, and should not be for long."""
    unknown = world.unknown()
    return [s for s in unknown if s in deep(world)] if world.name in QUOTED_ON_CHANGE else unknown


async def whole_again(world: VenueWorld) -> None:
    if world.name in QUOTED_ON_CHANGE:
        await watch(world, 60)
        assert unquoted(world) == []
    else:
        await healed(world)


async def until_deep(world: VenueWorld, symbols: list[str]) -> None:
    for _ in range(100):
        await watch(world, 2)
        missing = set(symbols) ^ deep(world)
        if world.name in WINDOWED:  # No window comes before the book moves.
            missing = deep(world) - set(symbols)
        if not missing and not unquoted(world):
            return
    raise AssertionError(f"{sorted(missing)} {unquoted(world)}")


async def disconnect(world: VenueWorld) -> None:
    """Lose every connection, and run until the session has noticed."""
    noticed = world.session.counts.disconnects + world.open_links
    await world.fault(1, kind="disconnect")
    await world.until(lambda: world.session.counts.disconnects >= noticed)


@every_venue
async def test_options_begin_at_their_best_prices_and_what_they_hang_on_with_depth(name: str):
    async with VenueWorld(name, two=True) as world:
        await world.live()
        assert deep(world) == set()
        others = [x.symbol for x in world.ids if x.kind == ListingKind.PERP]
        assert all(not world.books[symbol].quoted for symbol in others)
        await watch(world, 30)
        assert world.counts.get("frame_errors", 0) == 0


@every_venue
async def test_depth_grows_and_is_given_back_and_nothing_else_is_touched(name: str):
    async with VenueWorld(name, two=True) as world:
        await world.live()
        names = options_of(world)
        first, then = names[:6], names[4:9]
        world.ever_unknown.clear()
        follow(world, first)
        await until_deep(world, first)
        assert world.ever_unknown == set()  # Best prices stand until the book is there.
        follow(world, then)
        await until_deep(world, then)
        assert world.ever_unknown <= set(names[:4])
        follow(world, [])
        await until_deep(world, [])
        counts = world.session.counts
        assert (counts.depth_given_back, counts.no_room) == (4 + 5, 0)
        changes = [json.loads(r.payload) for r in world.records if r.type is RecordType.DEPTH]
        assert [set(change["grown"]) for change in changes] == [set(first), set(names[6:9]), set()]
        assert [change["given_back"] for change in changes] == [[], sorted(names[:4]), sorted(then)]
        if world.name not in WINDOWED:
            assert world.wrong() == []


@every_venue
async def test_lost_depth_falls_back_to_best_prices_and_comes_back(name: str):
    async with VenueWorld(name, two=True) as world:
        await world.live()
        names = options_of(world)[:8]
        follow(world, names)
        await until_deep(world, names)
        follow(world, names[2:])
        await until_deep(world, names[2:])
        world.ever_unknown.clear()
        await disconnect(world)
        await whole_again(world)
        # The next sockets are asked for what is wanted now, not for what once was.
        await until_deep(world, names[2:])


@every_venue
async def test_gap_of_a_deep_book_leaves_the_best_prices(name: str):
    if name in WINDOWED:
        pytest.skip("windows show no gap")
    async with VenueWorld(name, two=True) as world:
        await world.live()
        symbol = busy(world)
        follow(world, [symbol])
        await until_deep(world, [symbol])
        assert world.tiers.depth is not None
        channel = VENUES[name].resync(symbol, world.tiers.depth, 1)[-1].channels[0]
        world.ever_unknown.clear()
        await world.fault(1, kind="gap", channel=channel, count=1)
        await watch(world, 10, spare=symbol)
        await whole_again(world)
        assert world.ever_unknown <= {symbol}
        await until_deep(world, [symbol])


@every_venue
async def test_depth_that_wanders_under_faults_is_never_wrong_and_right_in_the_end(
    name: str,
):
    chance = random.Random(1)
    async with VenueWorld(name, two=True) as world:
        await world.live()
        names = options_of(world)
        for _ in range(15):
            wanted = chance.sample(names, chance.randrange(8))
            follow(world, wanted)
            if chance.random() < 0.3:
                await disconnect(world)
            await watch(world, chance.randrange(1, 12))
        await whole_again(world)
        await until_deep(world, wanted)


@every_venue
async def test_connection_whose_listings_were_all_given_back_is_not_opened_again(name: str):
    async with VenueWorld(name, two=True) as world:
        await world.live()
        names = options_of(world)[:3]
        before = set(map(id, world.session.links))
        follow(world, names)
        await until_deep(world, names)
        own = [link for link in world.session.links if id(link) not in before]
        follow(world, [])
        await until_deep(world, [])
        await disconnect(world)
        await whole_again(world)
        await world.run(50)
        assert all(link.state is not LinkState.OPEN for link in own if not link.ledger.wanted)


@every_venue
def test_depth_is_of_books_alone_and_shares_no_channel_with_the_lower_tier(name: str):
    venue = VENUES[name]
    world = VenueWorld(name)
    listings = [x for x in world.server.market.universe.listings if x.contract is not None][:12]
    for book in ("delta", "window"):
        base, depth = tiers_of(venue, ChannelOptions(book=book), two=True)
        assert depth is not None

        def channels(options: ChannelOptions) -> set[str]:
            plans = venue.subscriptions(listings, options, venue.LIMITS)
            return {channel for plan in plans for channel in plan.channels}

        assert channels(base) & channels(depth) == set()
        of_resyncs = {
            channel
            for listing in listings
            for request in venue.resync(listing.symbol, depth, 1)
            for channel in request.channels
        }
        assert channels(depth) == of_resyncs
        assert {venue.symbol_of_channel(c) for c in of_resyncs} == {x.symbol for x in listings}
        quoted = [bool(venue.resync(listing.symbol, base, 1)) for listing in listings]
        assert all(quoted) or isinstance(venue, ChainQuoter)
        assert tiers_of(venue, ChannelOptions(book=book), two=False).depth is None


def test_venue_without_best_prices_beside_its_books_has_one_tier():
    untiered = [name for name in SERVERS if one_tier(VENUES[name])]
    assert untiered == ["coincall"]
    venue = VENUES["coincall"]
    assert tiers_of(venue, ChannelOptions(), two=False).depth is None
    with pytest.raises(SessionError, match=r"coincall: depth_listings .* no best prices but"):
        tiers_of(venue, ChannelOptions(), two=True)
