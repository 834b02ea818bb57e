"""What the emulated platforms of Delta say, each in its dialect: the market in documented words."""

import json
from typing import Any

import numpy as np
import pytest

from feeds.contract import ListingKind
from feeds.emulator.ladders import Sides, print_of, standing
from feeds.emulator.market import STEP_NS, Market
from feeds.emulator.profiles import PROFILES
from feeds.emulator.servers import SERVERS
from feeds.emulator.venues.delta import DeltaServer
from feeds.emulator.venues.delta_dialects import SHORT
from feeds.events import DecodeOut, Kind, ListingState
from feeds.venue import ChannelOptions
from feeds.venues import VENUES
from tests.feeds.delta_frames import (
    INDIA,
    entry,
    frame,
    long_book,
    long_trade,
    short_book,
    short_quote,
    short_ticker,
    short_trade,
    v2_ticker,
)
from tests.feeds.emulator_client import START_NS
from tests.feeds.test_venue_battery import busy
from tests.feeds.venue_world import VenueWorld

EXACT = ("mark", "index", "open_interest")
ROUNDED = ("iv_bid", "iv_ask", "iv_mark", "delta", "gamma", "vega", "theta")
NAMES = ["delta", INDIA]
both = pytest.mark.parametrize("name", NAMES)
# Messages in the shape of the documentation, of the channels that both dialects have.
DOCUMENTED = {
    "delta": [long_book("update", 5), long_trade("taker", "maker"), v2_ticker()],
    INDIA: [
        short_book("update", 5),
        short_trade(),
        short_ticker(entry()),
        short_quote(),
        frame(a=[], b=[], lts=1, sy="X", ts=1, type="ob_l2"),
        frame(p="5", sy="MARK:X", ts=1, type="mark_price"),
        frame(p="5", sy=".X", ts=1, type="spot_price"),
    ],
}


class Spoken:
    """A server without sockets that is asked for all it has, and what it said since."""

    def __init__(self, name: str, **options: Any) -> None:
        self.market = Market(3, START_NS, 60, profile=PROFILES[name])
        server = SERVERS[name](self.market, 3)
        assert isinstance(server, DeltaServer)
        self.server, self.venue, self.said = server, VENUES[name], list[bytes]()
        server.deliver = lambda _, content: self.said.append(content)  # type: ignore[method-assign]
        listings = self.market.universe.listings[: self.market.universe.public]
        wanted = ChannelOptions(**({"quotes": True} | options))
        plans = self.venue.subscriptions(listings, wanted, self.venue.LIMITS)
        self.channels = [channel for plan in plans for channel in plan.channels]
        self.ids = {listing.symbol: n for n, listing in enumerate(listings)}
        assert all(map(server.exists, self.channels))
        server.listened = dict.fromkeys(self.channels, 1)

    def first(self) -> DecodeOut:
        return self.decoded([text for name in self.channels for text in self.server.first(name)])

    def decoded(self, frames: list[bytes]) -> DecodeOut:
        out = DecodeOut()
        self.venue.decode(frames, [START_NS] * len(frames), self.ids, out)
        assert out.errors == []
        return out


def sides_of(rows: np.ndarray, listing: int) -> list[list[tuple[float, float]]]:
    """Levels of the rows of one listing, bids and asks."""
    own = rows[rows["listing_id"] == listing]
    own = own[~np.isnan(own["price"])]
    return [
        [(round(float(r["price"]), 9), float(r["size"])) for r in own if r["side"] == side]
        for side in (1, -1)
    ]


def true_sides(market: Market, listing: int) -> list[list[tuple[float, float]]]:
    sides = standing(market.books, np.array([listing]))[0]
    return [[(round(price, 9), float(np.float32(size))) for price, size in s] for s in sides]


@both
def test_tickers_say_what_the_market_says_of_each_instrument(name: str):
    spoken = Spoken(name)
    rows = spoken.first().tickers.view()
    ids = np.array([n for n, kind in enumerate(spoken.market.universe.kind[: len(spoken.ids)])
                    if kind != ListingKind.INDEX])  # fmt: skip
    assert sorted(rows["listing_id"].tolist()) == ids.tolist()
    rows = rows[np.argsort(rows["listing_id"])]
    true = spoken.market.tickers(ids)
    for field in EXACT:
        np.testing.assert_allclose(rows[field], true[field], rtol=0, atol=1e-6, err_msg=field)
    for field in ROUNDED:
        np.testing.assert_allclose(rows[field], true[field], rtol=1e-6, atol=1e-6, err_msg=field)
    assert np.isfinite(rows["delta"]).sum() > 20
    assert set(rows["ex_ns"].tolist()) == {spoken.market.now_ns // 1000 * 1000}


@both
@pytest.mark.parametrize("book", ["delta", "window"])
def test_first_books_and_quotes_are_the_market_s(name: str, book: str):
    spoken = Spoken(name, book=book)
    rows = spoken.first().rows.view()
    books, quotes = rows[rows["kind"] == Kind.BOOK_SNAPSHOT], rows[rows["kind"] == Kind.QUOTE]
    live = np.flatnonzero(spoken.market.state == ListingState.LIVE).tolist()
    traded = [n for n in live if spoken.market.universe.kind[n] != ListingKind.INDEX]
    one_sided = 0
    for listing in traded:
        true = true_sides(spoken.market, listing)
        assert sides_of(books, listing) == true
        assert sides_of(quotes, listing) == [side[:1] for side in true]
        one_sided += not all(true)
    changed_ns = (spoken.market.now_ns - STEP_NS // 10) // 1000 * 1000
    assert set(rows["ex_ns"].tolist()) == {changed_ns}  # Not when it was published.
    assert one_sided  # One side without orders is null in a quote.


@both
def test_prints_marks_and_indexes_are_those_of_their_step(name: str):
    spoken = Spoken(name, book="none")
    market, prints, marks, indexes = spoken.market, 0, 0, 0
    coins = {terms.index: n for n, terms in enumerate(market.universe.profile.terms)}
    of_index = {spoken.ids[symbol]: coin for symbol, coin in coins.items()}
    for _ in range(200):
        spoken.said.clear()
        step = market.step()
        spoken.server.publish(step)
        out = spoken.decoded(spoken.said)
        rows = out.rows.view()
        rows = rows[rows["kind"] == Kind.TRADE]
        true = [(t.listing, *print_of(market.books, t), t.side) for t in step.trades]
        assert [
            (int(r["listing_id"]), round(float(r["price"]), 9), float(r["size"]), int(r["side"]))
            for r in rows
        ] == [(listing, round(price, 9), size, side) for listing, price, size, side in true]
        assert len(set(out.trade_keys)) == len(true)
        lags_ns = market.now_ns - rows["ex_ns"]
        assert ((lags_ns > STEP_NS // 2) & (lags_ns < STEP_NS)).all()  # Published later.
        prints += len(true)
        for row in out.tickers.view():
            listing = int(row["listing_id"])
            if listing in of_index:
                spot = market.prices.spot[of_index[listing]]
                assert (row["mark"], row["index"]) == pytest.approx((spot, spot), abs=1e-6)
                indexes += 1
            elif np.isnan(row["index"]):  # A mark alone: tickers say the index, too.
                mark = market.tickers(np.array([listing]))[0]["mark"]
                assert row["mark"] == pytest.approx(mark, abs=1e-6)
                marks += 1
    assert prints > 20
    assert marks >= 10 * len(market.universe.options_of("BTC-20260922T1200Z"))
    assert indexes == 20 * len(coins)


@both
async def test_windows_are_followed_to_the_tick(name: str):
    async with VenueWorld(name, book="window") as world:
        await world.live()
        for _ in range(10):
            await world.run(5)
            assert world.wrong() == []
        assert world.counts.get("frame_errors", 0) == 0


@both
async def test_windows_are_right_again_with_the_second_after_the_clock_went_back(name: str):
    async with VenueWorld(name, book="window") as world:
        await world.live()
        symbol = busy(world)
        await world.run(5)
        before = world.counts["snapshots"]
        await world.fault(0, kind="clock_step", ms=-30_000, seconds=60.0)
        await world.run(10)
        assert world.counts["snapshots"] > before
        assert symbol not in world.wrong()
        # The short dialect's windows have no number but their time.
        assert bool(world.counts.get("duplicates")) == (name == INDIA)


@both
def test_messages_have_the_documented_fields_and_no_others(name: str):
    spoken = Spoken(name)
    spoken.server.listened |= dict.fromkeys(Spoken(name, book="window").channels, 1)
    for _ in range(100):
        spoken.server.publish(spoken.market.step())
    messages = [json.loads(text) for text in spoken.said]
    for documented in map(json.loads, DOCUMENTED[name]):
        same = [m for m in messages if m["type"] == documented["type"]]
        assert same, documented["type"]
        if documented["type"] == "v2/ticker":  # Of some forty fields the sample has those we use.
            parts = [(m, documented) for m in same]
            parts += [(m["quotes"], documented["quotes"]) for m in same]
            assert all(set(ours) <= set(theirs) for ours, theirs in parts)
            continue
        assert {frozenset(m) for m in same} == {frozenset(documented)}
        if documented["type"] == "mark_price":
            assert all(m["sy"].startswith("MARK:") for m in same)
        if documented["type"] == "ticker":
            (theirs,) = documented["d"]
            for ours in (e for m in same for e in m["d"]):
                assert set(ours) <= set(theirs)
                assert {k: len(ours[k]) for k in ("g", "oi", "qiv")} == {
                    k: len(theirs[k]) for k in ("g", "oi", "qiv")
                }


async def test_whoever_missed_the_end_of_a_maintenance_hears_it_with_the_next_connection():
    async with VenueWorld(INDIA) as world:
        await world.live()
        assert world.session.counts.maintenance_notices == 1
        assert not world.session.in_maintenance
        world.session.upkeep.notice(world.time.ns, down=True)
        assert world.session.in_maintenance
        await world.fault(1, kind="disconnect")
        for _ in range(60):  # Whoever is down on purpose is not hurried.
            await world.run(10)
            if not world.session.in_maintenance:
                break
        assert world.session.counts.maintenance_notices == 2
        assert not world.session.in_maintenance  # Without it, for a quarter of an hour.


def test_windows_of_the_short_dialect_have_fifteen_levels_at_most():
    many = [(float(n), 1.0) for n in range(1, 21)]
    window = SHORT.window("X", Sides(many[::-1], many), 1, 2, 3)
    assert [len(window["b"]), len(window["a"])] == [15, 15]
    assert (window["b"][0][0], window["a"][0][0]) == ("20.00", "1.00")


def test_dialects_share_no_channel_but_that_of_marks():
    channels = {name: {c.partition(":")[0] for c in Spoken(name).channels} for name in NAMES}
    assert channels["delta"] & channels[INDIA] == {"mark_price"}
    for name, other in (NAMES, NAMES[::-1]):
        server = Spoken(name).server
        refused = [c for c in Spoken(other).channels if not server.exists(c)]
        assert {c.partition(":")[0] for c in refused} == channels[other] - {"mark_price"}
