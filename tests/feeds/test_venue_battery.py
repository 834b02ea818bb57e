"""The fault battery, for every emulated venue: wrong at no time, and right again soon after.

Where a venue sends changes that form a chain, no known book is ever wrong. Where it sends windows,
a lost one shows in nothing: the book is right again with the next.
"""

import asyncio
from typing import Any

import numpy as np
import pytest

from feeds.contract import ListingKind
from feeds.emulator import server as emulator_server
from feeds.emulator.faults import Fault
from feeds.emulator.planted import Plant
from feeds.emulator.servers import SERVERS
from feeds.record import RecordType
from feeds.venues import VENUES
from tests.feeds.venue_world import SILENCE_S, VenueWorld

WINDOWED = {"binance", "binance_futures", "binance_spot", "derive", "coincall"}
WHOLE = {"bullish", "gate"}  # Numbered whole books: as with windows, but an older one is a gap.
# Their perpetuals stand under another host: those of Binance are a venue of their own.
OPTIONS_ALONE = {"binance", "gate", "coincall"}
SPOT_ALONE = {"binance_spot"}  # Pairs do not expire, and have no tickers.
CHAINED = {"okx"}  # Its numbers may fall or stay: a copy is no news, and no link of the chain.
ASTRAY = ["gap", "duplicate", "reorder", "truncate", "unknown", "retype", "silence"]
every_venue = pytest.mark.parametrize("name", list(SERVERS))


def two_sided(world: VenueWorld) -> str:
    """What has bids and asks whose makers quote often, and an expiry where anything has one."""
    universe, books = world.server.market.universe, world.server.market.books
    both = (books.lots[:, :, 0] > 0).all(axis=1)
    found = [x for n, x in enumerate(universe.listings) if both[n] and universe.activity[n] == 0]
    return min(found, key=lambda x: x.expiry_ns is None).symbol


def busy(world: VenueWorld) -> str:
    """The same option, its book moved by a stream of orders."""
    symbol = two_sided(world)
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


def carried_with(world: VenueWorld, channel: str) -> set[str]:
    """Listings with a channel on the connection that carries a channel."""
    (link,) = [link for link in world.session.links if channel in link.ledger.wanted]
    return {VENUES[world.name].symbol_of_channel(c) or "" for c in link.ledger.wanted}


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


def printed(world: VenueWorld, symbol: str) -> list[tuple[float, int]]:
    """Prices and aggressors of what the market trades in a listing from now on; it grows."""
    market = world.server.market
    listing, step = market.universe.ids[symbol], market.step
    true: list[tuple[float, int]] = []

    def noted() -> Any:
        found = step()
        for trade in found.trades:
            if trade.listing == listing:
                ticks = np.array([trade.tick], np.int32)
                price = float(market.books.prices(np.array([listing]), ticks)[0])
                true.append((round(price, 9), trade.side))
        return found

    market.step = noted
    return true


def received(world: VenueWorld, symbol: str, since: int) -> list[tuple[float, int]]:
    """Prices and aggressors of a listing's trade rows behind the first `since` of all."""
    return [(round(price, 9), side) for s, price, _, side in world.trades[since:] if s == symbol]


def last_lags_ms(world: VenueWorld, since: int = 0) -> list[float]:
    """How long tickers, or else prints, were on their way, by the venue's clock, from the n-th."""
    return [(rx_ns - ex_ns) / 1e6 for rx_ns, ex_ns in world.stamps[since:]]


def left_out(world: VenueWorld) -> int:
    """Instruments that discovery named and left out, for whatever reason."""
    return sum(n for name, n in world.counts.items() if name.startswith("left_out."))


async def without_time() -> None:
    """Let the sockets do what they do without a pause: a whole connection takes fewer turns."""
    for _ in range(500):
        await asyncio.sleep(0)


async def untroubled(world: VenueWorld) -> None:
    """Run until every connection is open and the last discovery was whole."""
    for _ in range(40):
        if not world.session.trouble:
            return
        await world.run(5)
    raise AssertionError(world.session.trouble)


async def discovered(world: VenueWorld) -> None:
    """Ask for the instruments again, and run until they came."""
    before = world.session.counts.discoveries
    world.session.request_discovery()
    for _ in range(20):
        await world.run(5)
        if world.session.counts.discoveries > before:
            break
    assert world.session.counts.discoveries > before
    await untroubled(world)


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
        assert bool(world.tickers) == (name not in SPOT_ALONE)


@every_venue
async def test_universe_is_the_emulator_s_each_listing_once(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        found = [listing.symbol for listing in world.ids]
        universe = world.server.market.universe
        listed = {x.symbol for x in universe.listings[: universe.public]}
        perpetuals = {x.symbol for x in universe.listings if x.kind == ListingKind.PERP}
        listed -= perpetuals if name in OPTIONS_ALONE else set()
        assert len(found) == len(set(found))
        assert set(found) == listed
        true = {x.contract for x in universe.listings[: universe.public]}
        assert {listing.contract for listing in world.ids} == true


@every_venue
async def test_trades_are_the_market_s_with_its_aggressors(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = busy(world)
        before, true = len(world.trades), printed(world, symbol)
        await world.run(60)
        assert received(world, symbol, before) == true
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
async def test_values_of_wrong_types_are_counted_and_touch_their_own_listing_alone(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = busy(world)
        await watch(world, 5)
        world.ever_unknown.clear()
        channel = book_channel(world, symbol)
        await world.fault(0, kind="wrong_types", channel=channel, count=12)
        await watch(world, 30, spare=symbol)
        assert world.server.faults.struck["wrong_types"] == 12
        # A value that no adapter reads may be of any type.
        assert 3 <= world.counts["frame_errors"] <= 12
        chained = name not in WINDOWED | WHOLE
        assert world.ever_unknown == ({symbol} if chained else set())
        assert not chained or world.counts["gaps"] >= 1
        await watch(world, 5)
        await healed(world)


@every_venue
async def test_values_of_wrong_types_on_every_channel_end_with_the_connection(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        busy(world)
        listings = set(world.session.listings)
        await world.fault(0, kind="wrong_types", channel="", count=100)
        for _ in range(60):
            await world.run(1)
            if world.server.faults.struck.get("wrong_types") == 100:
                break
        assert 25 <= world.counts["frame_errors"] <= 100
        # A quiet book whose last change was lost stays behind until its next one.
        await world.fault(1, kind="disconnect")
        await lost(world)
        await discovered(world)  # An answer over REST may have been hit, and an entry left out.
        await healed(world)
        assert set(world.session.listings) == listings


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
@pytest.mark.parametrize("kind", ["disconnect", "huge"])
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
async def test_restarted_venue_is_unknown_while_away_and_counts_anew(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        busy(world)
        counts, links = world.session.counts, len(world.session.links)
        gaps = world.counts.get("gaps", 0)
        await world.fault(0, kind="restart", seconds=3.0)
        await world.run(1)
        await world.until(lambda: counts.disconnects == links)
        await world.run(10)  # Longer than any first pause, and the venue is still away.
        assert set(world.unknown()) == set(world.followed())
        await world.until(lambda: counts.connect_failures >= links)
        assert counts.connects == links
        assert "503" in world.session.trouble
        await healed(world)
        await untroubled(world)
        assert counts.connects == 2 * links
        # Numbers below those from before are a new chain and no gap in the old one.
        assert world.counts.get("gaps", 0) == gaps


@every_venue
async def test_slow_reader_is_cut_and_heals(name: str, monkeypatch: pytest.MonkeyPatch):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = busy(world)
        await watch(world, 5)
        world.ever_unknown.clear()
        channel = book_channel(world, symbol)
        carried = carried_with(world, channel)
        opened = world.session.counts.connects
        with monkeypatch.context() as patch:
            # Frames of one step are queued before any is sent: a hundred of them are too many.
            patch.setattr(emulator_server, "OUT_BYTES_MAX", 32_000)
            await world.fault(1, kind="burst", channel=channel, factor=100, seconds=1.0)
            await lost(world)
        assert world.server.counters["slow_reader_cut"] >= 1
        assert symbol in world.ever_unknown
        assert world.ever_unknown <= carried
        await healed(world)
        assert world.ever_unknown <= carried
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
async def test_requests_beyond_a_limit_are_repeated_after_a_pause(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        busy(world)
        counts, links = world.session.counts, world.session.links
        await world.fault(1, kind="limit", count=3)
        await world.fault(1, kind="disconnect")
        await world.until(lambda: counts.disconnects == len(links))
        opened = counts.connects
        await without_time()
        assert counts.connects == opened
        await healed(world)
        await untroubled(world)
        assert world.server.faults.struck["limit"] == 3
        # Whoever is refused loses the connection; nothing is asked more often than that.
        assert len(links) < counts.disconnects <= len(links) + 3
        assert max(link.failures for link in links) >= 2  # The pause grows with it.
        assert counts.given_up == 0


@every_venue
async def test_discovery_beyond_a_limit_is_repeated_after_a_pause_and_ends_nothing(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        busy(world)
        world.ever_unknown.clear()
        listings, counts = dict(world.session.listings), world.session.counts
        await world.fault(1, kind="limit", channel="/", count=3)
        asked = counts.discoveries
        world.session.request_discovery()
        for _ in range(20):
            await world.run(1)
            await without_time()
            if counts.discoveries > asked:
                break
        # Repeated at once, others would have come by now.
        assert counts.discoveries == asked + 1
        assert "429" in world.session.trouble
        await untroubled(world)
        assert world.server.faults.struck["limit"] == 3
        assert counts.discovery_failures == 3
        assert (counts.delisted, counts.disconnects) == (0, 0)
        assert world.session.listings == listings
        assert world.ever_unknown == set()
        await healed(world)


@every_venue
async def test_instrument_of_an_unknown_kind_is_counted_and_the_rest_listed(name: str):
    world = VenueWorld(name)
    world.server.faults.add(Fault("unknown_kind"))
    await world.server.advance()
    async with world:
        await world.live()
        assert world.server.faults.struck["unknown_kind"] == 1
        assert world.session.counts.discovery_failures == 0
        strange, listed = left_out(world), world.counts["listed"]
        await discovered(world)
        # The same without it: it alone was left out, and nothing was missing beside it.
        assert left_out(world) - strange == strange - 1
        assert world.counts["listed"] == listed
        assert not any("MOON" in listing.symbol for listing in world.ids)
        assert world.counts.get("body_errors", 0) == 0
        await healed(world)


@every_venue
async def test_stepping_venue_clock_makes_no_gap_and_loses_no_row(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = busy(world)
        world.ever_unknown.clear()
        gaps, before, true = world.counts.get("gaps", 0), len(world.trades), printed(world, symbol)
        for ms in (-30_000, 30_000):
            seen = len(world.stamps)
            await world.fault(1, kind="clock_step", ms=ms, seconds=1.0)
            await watch(world, 25)
            lags_ms = last_lags_ms(world, seen)
            assert any(abs(lag_ms + ms) < 1500 for lag_ms in lags_ms)
            assert abs(lags_ms[-1]) < 1500
        assert received(world, symbol, before) == true
        assert len(true) > 10
        assert world.ever_unknown == set()
        assert world.counts.get("gaps", 0) == gaps
        assert world.counts.get("frame_errors", 0) == 0
        await healed(world)


@every_venue
@pytest.mark.parametrize("kind", ["empty_book", "crossed_book"])
async def test_empty_and_crossed_books_are_known_as_they_are(name: str, kind: str):
    async with VenueWorld(name) as world:
        await world.live()
        symbol = two_sided(world)  # Orders would take what crosses.
        world.ever_unknown.clear()
        await world.fault(12, kind=kind, symbol=symbol, seconds=2.0)
        assert world.wrong() == [] or name in WINDOWED
        book = world.books[symbol]
        bids, asks = book.best()
        assert book.known
        if kind == "empty_book":
            assert (bids, asks) == ([], [])
        else:
            assert bids[0][0] > asks[0][0]
        await watch(world, 20)
        bids, asks = book.best()
        assert bids[0][0] < asks[0][0]
        assert world.ever_unknown == set()
        assert world.counts.get("frame_errors", 0) == 0
        assert world.counts.get("gaps", 0) == 0
        await healed(world)


@every_venue
@pytest.mark.parametrize("ms", [2000, -2000])
async def test_skewed_venue_clock_changes_times_and_nothing_else(name: str, ms: int):
    async with VenueWorld(name) as world:
        await world.live()
        busy(world)
        world.ever_unknown.clear()
        await world.fault(1, kind="skew", ms=ms)
        await watch(world, 30)
        assert abs(last_lags_ms(world)[-1] + ms) < 500
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


@pytest.mark.parametrize("name", [name for name in SERVERS if name not in SPOT_ALONE])
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
