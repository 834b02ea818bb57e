"""The fault battery, for every emulated venue: wrong at no time, and right again soon after.

Where a venue sends changes that form a chain, no known book is ever wrong. Where it sends windows,
a lost one shows in nothing: the book is right again with the next.
"""

from typing import Any

import numpy as np
import pytest

from feeds.emulator.planted import Plant
from feeds.emulator.servers import SERVERS
from feeds.record import RecordType
from feeds.venues import VENUES
from tests.feeds.venue_world import SILENCE_S, VenueWorld

WINDOWED = {"binance", "derive"}
WHOLE = {"bullish"}  # Numbered whole books: as with windows, but an older one is a gap.
CHAINED = {"okx"}  # Its numbers may fall or stay: a copy is no news, and no link of the chain.
ASTRAY = ["gap", "duplicate", "reorder", "truncate", "unknown", "retype", "silence"]
every_venue = pytest.mark.parametrize("name", list(SERVERS))


def busy(world: VenueWorld) -> str:
    """A two-sided option whose book moves often, made so by a stream of orders."""
    universe, books = world.server.market.universe, world.server.market.books
    two_sided = (books.lots[:, :, 0] > 0).all(axis=1)
    symbol = next(
        x.symbol
        for n, x in enumerate(universe.listings)
        if x.contract is not None and two_sided[n] and universe.activity[n] == 0
    )
    start_ns = world.server.market.now_ns
    world.server.market.planter.add(Plant("sweep", symbol, start_ns, 600.0, 200.0, 1))
    return symbol


def book_channel(world: VenueWorld, symbol: str) -> str:
    return VENUES[world.name].resync(symbol, world.channels, 1)[-1].channels[0]


def harmless(name: str) -> set[str]:
    """What may happen to frames of a book and leave it known."""
    if name in WINDOWED:
        return set(ASTRAY)
    if name in WHOLE:
        return set(ASTRAY) - {"reorder"}
    return {"unknown"} if name in CHAINED else {"duplicate", "unknown"}


async def watch(world: VenueWorld, steps: int, spare: str = "") -> None:
    """Run, and look at every known book but one after every step."""
    for _ in range(steps):
        await world.run(1)
        if world.name not in WINDOWED:
            assert set(world.wrong()) <= {spare}


async def lost(world: VenueWorld) -> None:
    """Run until the session has noticed that a connection is gone."""
    for _ in range(20):
        if world.session.counts.disconnects:
            return
        await world.run(1)
    raise AssertionError("no connection was lost")


async def healed(world: VenueWorld) -> None:
    """Run until every book is known, and see that all are right."""
    for _ in range(60):
        if not world.unknown():
            break
        await watch(world, 5)
    assert world.unknown() == []
    for _ in range(60):  # The next window of a quiet book may take its time.
        if not world.wrong():
            return
        await world.run(10)
    assert world.wrong() == []


@every_venue
async def test_quiet_market_is_followed_to_the_tick(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        busy(world)
        for _ in range(10):
            await world.run(10)
            assert world.wrong() == []
            assert world.unknown() == []
        assert world.counts.get("frame_errors", 0) == 0
        assert world.counts.get("skipped.unknown_symbol", 0) == 0
        assert world.trades
        assert {side for _, _, _, side in world.trades} <= {1, -1}
        assert world.tickers


@every_venue
async def test_trades_are_the_market_s_with_its_aggressors(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = busy(world)
        listing = world.server.market.universe.ids[symbol]
        true: list[tuple[float, int]] = []
        step, books = world.server.market.step, world.server.market.books

        def noted() -> Any:
            found = step()
            for trade in found.trades:
                if trade.listing == listing:
                    tick = np.array([trade.tick], np.int32)
                    price = float(books.prices(np.array([listing]), tick)[0])
                    true.append((round(price, 9), trade.side))
            return found

        world.server.market.step = noted
        before = len(world.trades)
        await world.run(60)
        ours = [
            (round(price, 9), side) for s, price, _, side in world.trades[before:] if s == symbol
        ]
        assert ours == true
        assert len(true) > 20


@every_venue
@pytest.mark.parametrize("kind", ASTRAY)
async def test_frames_that_go_astray_touch_their_own_listing_alone(name: str, kind: str):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = busy(world)
        await watch(world, 10)
        world.ever_unknown.clear()
        channel = book_channel(world, symbol)
        await world.fault(0, kind=kind, channel=channel, count=3, seconds=1.0)
        # A lost frame shows in the one that follows it; until then its own book is behind.
        await watch(world, 12, spare=symbol)
        await watch(world, 20)
        assert world.server.faults.struck[kind] >= 1
        assert world.ever_unknown <= {symbol}
        counts = world.counts
        if kind in ("truncate", "retype"):
            assert counts["frame_errors"] >= 1
        else:
            assert counts.get("frame_errors", 0) == 0
        if kind in harmless(name):
            assert symbol not in world.ever_unknown
        else:
            assert symbol in world.ever_unknown
            assert counts["gaps"] >= 1
            assert world.session.counts.resyncs >= 1
        await healed(world)


@every_venue
async def test_garbage_is_counted_and_changes_nothing(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        busy(world)
        world.ever_unknown.clear()
        links = world.open_links
        await world.fault(20, kind="garbage", count=5)
        assert world.counts["frame_errors"] == 5 * links
        assert world.ever_unknown == set()
        assert world.unknown() == []


@every_venue
@pytest.mark.parametrize("kind", ["disconnect", "restart", "huge"])
async def test_lost_connections_make_books_unknown_at_once_and_come_back(name: str, kind: str):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = busy(world)
        await watch(world, 5)
        opened = world.session.counts.connects
        channel = book_channel(world, symbol)
        await world.fault(1, kind=kind, channel=channel, count=1, bytes=1 << 21)
        await lost(world)
        assert symbol in world.unknown() or symbol in world.ever_unknown
        await healed(world)
        assert world.session.counts.connects > opened


@every_venue
async def test_half_open_connection_is_noticed_by_its_silence(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        busy(world)
        await world.fault(1, kind="half_open", seconds=1000.0)
        await world.run(int(SILENCE_S * 10) + 20)
        assert world.session.counts.silence_timers >= 1
        names = [r.name for r in world.records if r.type is RecordType.TIMER]
        assert "silence" in names
        await healed(world)


@every_venue
async def test_refused_channel_is_asked_for_again(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = busy(world)
        channel = book_channel(world, symbol)
        await world.fault(1, kind="refuse", channel=channel, count=1)
        await world.fault(1, kind="disconnect")
        await lost(world)
        await healed(world)
        assert world.server.faults.struck["refuse"] == 1


@every_venue
@pytest.mark.parametrize("ms", [2000, -2000])
async def test_skewed_venue_clock_changes_times_and_nothing_else(name: str, ms: int):
    async with VenueWorld(name) as world:
        await world.live()
        busy(world)
        world.ever_unknown.clear()
        await world.fault(1, kind="skew", ms=ms)
        await watch(world, 30)
        lag_ms = (int(world.tickers[-1]["rx_ns"]) - int(world.tickers[-1]["ex_ns"])) / 1e6
        assert abs(lag_ms + ms) < 500
        assert world.ever_unknown == set()
        await healed(world)


@every_venue
async def test_burst_of_a_hundredfold_ends_at_the_true_book(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = busy(world)
        frames = world.counts["frames"]
        channel = book_channel(world, symbol)
        await world.fault(1, kind="burst", channel=channel, factor=100, seconds=2.0)
        await watch(world, 30)
        assert world.counts["frames"] - frames > 1000
        assert world.session.counts.disconnects == 0
        await healed(world)


@every_venue
async def test_options_come_and_go_while_running(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = busy(world)
        before = len(world.followed())
        await world.fault(1, kind="expire", symbol=symbol)
        await world.fault(1, kind="list")
        for _ in range(60):
            await watch(world, 5)
            if len(world.followed()) == before and not world.unknown():
                break
        spare = world.server.market.universe.listings[world.server.market.universe.public].symbol
        assert spare in world.followed()
        assert symbol not in world.session.listings
        await healed(world)
