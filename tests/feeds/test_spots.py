"""Spot pairs: which are followed, by session and handler alike, and what they leave untouched."""

import json
from typing import Any

import numpy as np
import pytest

from feeds.contract import Listing, ListingKind
from feeds.emulator.market import Market
from feeds.emulator.planted import Plant
from feeds.emulator.profiles import PROFILES
from feeds.handler import VenueHandler
from feeds.record import Record, RecordType
from feeds.spots import is_followed, lists_spot_alone, underlyings_with_options
from feeds.tiers import DepthTier, tiers_of
from feeds.venue import ChannelOptions
from feeds.venues import VENUES, deribit
from tests.feeds.emulator_client import START_NS
from tests.feeds.venue_world import VenueWorld

LISTING_SPOTS = [name for name, profile in PROFILES.items() if profile.terms[0].spot is not None]
with_spots = pytest.mark.parametrize("name", LISTING_SPOTS)


def listing(symbol: str, kind: ListingKind, underlying: str) -> Listing:
    return Listing("deribit", symbol, kind, underlying, 1.0, "USDC", "linear", 0.01)


def test_spots_are_followed_where_their_underlying_has_options_and_nothing_else_is_asked():
    known = [
        listing("BTC-X-1-C", ListingKind.OPTION, "BTC"),
        listing("SOL_USDC-PERPETUAL", ListingKind.PERP, "SOL"),
    ]
    found = underlyings_with_options(known)
    assert found == {"BTC"}
    assert is_followed(listing("BTC_USDC", ListingKind.SPOT, "BTC"), found)
    assert not is_followed(listing("SOL_USDC", ListingKind.SPOT, "SOL"), found)
    assert is_followed(known[1], found)
    assert is_followed(listing("doge_usdc", ListingKind.INDEX, "DOGE"), ())


def entry(name: str, kind: str, base: str) -> dict[str, Any]:
    """An instrument of Deribit with what every kind needs."""
    return {
        "instrument_name": name, "kind": kind, "instrument_type": "linear", "option_type": "call",
        "strike": 90_000.0, "base_currency": base, "quote_currency": "USDC", "tick_size": 0.01,
        "expiration_timestamp": START_NS // 1_000_000 + 86_400_000,
    }  # fmt: skip


def body(*entries: dict[str, Any]) -> Record:
    payload = json.dumps({"result": list(entries)}).encode()
    return Record(START_NS, RecordType.HTTP, "deribit", -1, "instruments", payload)


def state(symbol: str, word: str) -> Record:
    data = {"timestamp": 1, "state": word, "instrument_name": symbol}
    params = {"channel": "instrument.state.spot.any", "data": data}
    message = {"jsonrpc": "2.0", "method": "subscription", "params": params}
    text = json.dumps(message, separators=(",", ":")).encode()
    return Record(START_NS, RecordType.FRAME, "deribit", 0, "", text)


class Desk:
    """A handler and the symbols it gave ids to."""

    def __init__(self, **channels: Any) -> None:
        self.listed: list[str] = []
        self.ended: list[int] = []
        self.handler = VenueHandler(
            deribit, ChannelOptions(**channels), self._allocate, lambda i, _: self.ended.append(i)
        )

    def _allocate(self, one: Listing) -> int:
        self.listed.append(one.symbol)
        return len(self.listed) - 1


def test_the_handler_lists_the_spots_of_underlyings_that_have_options():
    desk = Desk()
    spots = body(entry("BTC_USDC", "spot", "BTC"), entry("DOGE_USDC", "spot", "DOGE"))
    out = desk.handler.consume([body(entry("BTC_USDC-X-90000-C", "option", "BTC")), spots])
    assert desk.listed == ["BTC_USDC-X-90000-C", "btc_usdc", "BTC_USDC"]
    assert out.counts["left_out.spot_without_options"] == 1
    # A notice about a pair that is not followed asks for nothing, and its options bring it.
    assert desk.handler.consume([state("DOGE_USDC", "open")]).discover == []
    desk.handler.consume([body(entry("DOGE_USDC-X-90000-C", "option", "DOGE")), spots])
    assert desk.listed[3:] == ["DOGE_USDC-X-90000-C", "doge_usdc", "DOGE_USDC"]


def test_a_spot_ends_with_the_venue_s_word_and_not_with_an_expiry():
    desk = Desk()
    found = [
        body(entry("BTC_USDC-X-90000-C", "option", "BTC")),
        body(entry("BTC_USDC", "spot", "BTC")),
    ]
    desk.handler.consume(found)
    late = found[1]
    late = Record(START_NS + 10**18, late.type, late.venue, -1, late.name, late.payload)
    desk.handler.consume([late])
    assert desk.ended == [0]  # the option
    desk.handler.consume([state("BTC_USDC", "closed")])
    assert desk.ended == [0, 2]


def test_of_a_venue_of_spot_alone_every_pair_is_followed():
    assert lists_spot_alone(VENUES["binance_spot"])
    assert [n for n, venue in VENUES.items() if lists_spot_alone(venue)] == ["binance_spot"]


def test_without_spots_the_handler_lists_none():
    desk = Desk(spots=False)
    desk.handler.consume(
        [
            body(entry("BTC_USDC-X-90000-C", "option", "BTC")),
            body(entry("BTC_USDC", "spot", "BTC")),
        ]
    )
    assert desk.listed == ["BTC_USDC-X-90000-C", "btc_usdc"]


@with_spots
async def test_session_and_handler_follow_the_same_spots(name: str):
    async with VenueWorld(name) as world:
        await world.live()
        universe = world.server.market.universe
        spots = {x.symbol for x in universe.listings if x.kind == ListingKind.SPOT}
        assert spots == {s for s, x in world.session.listings.items() if x.kind == ListingKind.SPOT}
        assert spots == {x.symbol for x in world.ids if x.kind == ListingKind.SPOT}
        assert len(spots) == 3
        assert all(world.books[symbol].known for symbol in spots)
        counts = world.session.counts
        assert (counts.missing, counts.given_up, counts.unanswered) == (0, 0, 0)
        # What owes a first frame is heard, also where the venue names it otherwise.
        assert counts.first_data_timers == 0
        assert all(not link.ledger.awaiting for link in world.session.links)
        market = world.server.market
        for symbol in spots:
            market.planter.add(Plant("sweep", symbol, market.now_ns, 600.0, 200.0, 1))
        await world.run(120)
        assert world.wrong() == []
        assert world.session.counts.first_data_timers == 0
        assert spots & {symbol for symbol, _, _, _ in world.trades}


@with_spots
async def test_without_spots_the_session_subscribes_none(name: str):
    async with VenueWorld(name, spots=False) as world:
        for _ in range(20):
            await world.run(5)
            if world.session.listings:
                break
        kinds = {x.kind for x in world.session.listings.values()}
        assert kinds == {ListingKind.OPTION, ListingKind.PERP, ListingKind.INDEX}
        assert {x.kind for x in world.ids} == kinds


@with_spots
def test_no_index_is_a_spot_s_and_its_units_are_coins(name: str):
    for one in Market(3, START_NS, 30, profile=PROFILES[name]).universe.listings:
        if one.kind == ListingKind.SPOT:
            assert (one.multiplier, one.price_per, one.settle) == (1.0, 1.0, "linear")
            assert one.contract is None


@with_spots
def test_a_spot_always_has_depth(name: str):
    venue = VENUES[name]
    depth = tiers_of(venue, ChannelOptions(), two=True).depth
    assert depth is not None
    tier = DepthTier(venue, depth, venue.LIMITS)
    market = Market(3, START_NS, 30, profile=PROFILES[name])
    spots = [one for one in market.universe.listings if one.kind == ListingKind.SPOT]
    assert tier.always(spots) == spots
    grown, given_back = tier.difference([one.symbol for one in spots], {x.symbol: x for x in spots})
    assert (grown, given_back) == ([], [])
    channels = [channel for plan in tier.plans(spots) for channel in plan.channels]
    assert {venue.symbol_of_channel(c) for c in channels} == {one.symbol for one in spots}
    assert len(channels) == len(spots)


@with_spots
def test_what_spots_draw_changes_nothing_of_other_listings(name: str):
    """Books, their numbers, prints and tickers, with a listing and an expiry on the way."""
    with_them, without = (
        Market(9, START_NS, 60, profile=PROFILES[name], spots=spots) for spots in (True, False)
    )
    apart = with_them.universe.kind == ListingKind.SPOT
    ids = np.cumsum(~apart) - 1  # of the others in the market without spots
    traded = 0
    for one in with_them.universe.listings:
        if one.kind == ListingKind.SPOT:
            with_them.planter.add(Plant("sweep", one.symbol, START_NS, 600.0, 200.0, 1))
    for number in range(80):
        if number == 20:
            for market in (with_them, without):
                market.list_spare()
                market.expire(market.universe.listings[3].symbol)
        ours, theirs = with_them.step(), without.step()
        others = ~apart[ours.touched]
        assert ids[ours.touched[others]].tolist() == theirs.touched.tolist()
        assert ours.previous_change_id[others].tolist() == theirs.previous_change_id.tolist()
        assert ids[ours.tickers[~apart[ours.tickers]]].tolist() == theirs.tickers.tolist()
        found = [
            (int(ids[t.listing]), t.tick, t.lots, t.side, t.trade_id)
            for t in ours.trades
            if not apart[t.listing]
        ]
        assert found == [(t.listing, t.tick, t.lots, t.side, t.trade_id) for t in theirs.trades]
        traded += len(ours.trades) - len(found)
    assert traded
    for block in ("ticks", "lots", "change_id"):
        assert (getattr(with_them.books, block)[~apart] == getattr(without.books, block)).all()
    assert (with_them.flow.open_interest[~apart] == without.flow.open_interest).all()
