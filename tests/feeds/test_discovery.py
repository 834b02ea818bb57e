"""Instruments that cannot be read: they end no listing that was there, nor keep the others."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.contract import Listing, ListingKind
from feeds.discovery import Discoverer
from feeds.emulator.servers import SERVERS
from feeds.links import SessionCounts
from feeds.record import RecordType
from feeds.venue import Discovery
from feeds.venues import VENUES
from tests.feeds.toy_venue import LIMITS, POLICY, Toy, UnsubscribingToy, World, running
from tests.feeds.venue_world import VenueWorld

NOW_NS = 1_700_000_000 * 10**9
HOUR_NS = 3600 * 10**9


class BrokenToy(UnsubscribingToy):
    """What is no text in its list of instruments cannot be read."""

    def instruments(self, body: bytes) -> Discovery:
        entries = json.loads(body)
        found = super().instruments(json.dumps([e for e in entries if isinstance(e, str)]).encode())
        for entry in entries:
            if not isinstance(entry, str):
                found.fail(json.dumps(entry).encode())
        return found


def discoverer() -> Discoverer:
    async def pace() -> None:
        raise AssertionError("nothing is asked for here")

    return Discoverer(
        Toy(), "", (), POLICY, SessionCounts(), log=lambda *_: pytest.fail("nothing is logged"),
        pace=pace, clean=str,
    )  # fmt: skip


def option(symbol: str, expiry_ns: int = NOW_NS + 10**18) -> Listing:
    return Listing(
        "toy", symbol, ListingKind.OPTION, "A", 1.0, "USD", "linear", 0.5,
        expiry_ns=expiry_ns, strike_e9=10**9, right="C",
    )  # fmt: skip


def index(symbol: str) -> Listing:
    return replace(Toy().listing(symbol), kind=ListingKind.INDEX)


LISTINGS = {
    "found": option("found"),
    "named": option("named"),
    "hidden": option("hidden"),
    "expired": option("expired", NOW_NS),
    "index": index("index"),
}
ENTRY = b'{"id":7,"name":"named","tick":null}'


def ended(of: Discoverer, now_ns: int = NOW_NS) -> list[str]:
    return of.ended(LISTINGS, {"found"}, now_ns)


def test_listings_that_are_missing_have_ended_where_every_entry_was_read():
    of = discoverer()
    assert ended(of) == ["named", "hidden", "expired", "index"]
    assert (of.problem, of.counts.listings_kept) == ("", 0)


def test_missing_listings_stay_where_an_entry_may_be_theirs_and_expired_ones_do_not():
    of = discoverer()
    of.unread = [ENTRY]
    assert ended(of) == ["expired"]
    assert of.problem == (
        "toy: instruments that cannot be read: 1; listings kept that may be among them: 3"
    )
    assert of.counts.listings_kept == 3


def test_one_bad_entry_keeps_its_own_listing_and_the_others_an_hour_at_most():
    of = discoverer()
    of.unread = [ENTRY]
    ended(of)
    assert ended(of, NOW_NS + HOUR_NS - 1) == ["expired"]
    assert ended(of, NOW_NS + HOUR_NS) == ["hidden", "expired"]
    of.unread = [b'{"name":null}']
    assert ended(of, NOW_NS + HOUR_NS) == ["named", "hidden", "expired"]


def test_name_must_stand_in_an_entry_as_a_text_of_its_own():
    of = discoverer()
    of.unread = [b'{"name":"named-too","kind":"named?"}', b"\xff", b'{named: "hidden"}']
    ended(of)
    assert ended(of, NOW_NS + HOUR_NS) == ["named", "expired"]


def test_a_name_of_ours_is_held_by_the_venue_s_in_the_entry():
    of = discoverer()
    of.unread = [b'{"symbol":"BTCUSDT","status":"Trading","priceFilter":null}']
    pairs = {
        name: replace(Toy().listing(name), kind=ListingKind.SPOT)
        for name in ("BTCUSDT/SPOT", "ETHUSDT/SPOT")
    }
    assert of.ended(pairs, (), NOW_NS) == []
    assert of.ended(pairs, (), NOW_NS + HOUR_NS) == ["ETHUSDT/SPOT"]


def test_hour_begins_anew_when_a_listing_was_found_or_everything_could_be_read():
    for readable in (True, False):
        of = discoverer()
        of.unread = [b"[]"]
        ended(of)
        of.unread = [] if readable else [b"[]"]
        assert of.ended(LISTINGS, LISTINGS, NOW_NS + HOUR_NS // 2) == []
        of.unread = [b"[]"]
        assert "hidden" not in ended(of, NOW_NS + HOUR_NS)
        assert "hidden" in ended(of, NOW_NS + 2 * HOUR_NS)


@given(
    st.sets(st.sampled_from(sorted(LISTINGS))),
    st.lists(st.sampled_from([ENTRY, b'{"name":"hidden"}', b"{}"]), max_size=3),
    st.lists(st.integers(0, 2 * HOUR_NS), min_size=1, max_size=6),
)
def test_nothing_found_ever_ends_and_nothing_unnamed_outlives_its_time(found, unread, times):
    of = discoverer()
    for now_ns in sorted(NOW_NS + t for t in times):
        of.unread = list(unread)
        gone = set(of.ended(LISTINGS, found, now_ns))
        assert not gone & found
        since_ns = now_ns - (NOW_NS + min(times))
        named = {s for s in LISTINGS if any(f'"{s}"'.encode() in entry for entry in unread)}
        if unread and since_ns < HOUR_NS:
            assert gone <= {"expired"}
        if not unread or since_ns >= HOUR_NS:
            assert gone >= set(LISTINGS) - found - named - {"index"}


async def test_listing_whose_entry_cannot_be_read_goes_on_as_if_nothing_were():
    world = World()
    world.server.symbols = ["A1", "A2", "A3"]
    limits = replace(LIMITS, silence_s=1e6)
    policy = replace(POLICY, discovery_every_s=1e6)
    async with running(world, BrokenToy(), limits=limits, policy=policy):
        await world.accepted("book.A1", "book.A3", "ticker.A3")

        async def discovered(*symbols: Any) -> None:
            world.server.symbols = list(symbols)
            before = world.session.counts.discoveries
            world.session.request_discovery()
            await world.pass_s(POLICY.discovery_min_s)
            await world.until(lambda: world.session.counts.discoveries > before)
            await world.pass_s(0)

        await discovered("A1", {"name": "A2", "tick": None})
        assert set(world.session.listings) == {"A1", "A2", "A3"}
        assert world.session.trouble == (
            "toy: instruments that cannot be read: 1; listings kept that may be among them: 2"
        )
        world.time.advance(POLICY.unread_keep_s)
        await discovered("A1", {"name": "A2", "tick": None})
        await world.until(lambda: world.inbox.channels("unsubscribe") == ["book.A3", "ticker.A3"])
        assert set(world.session.listings) == {"A1", "A2"}
        await discovered("A1", "A2")
        assert world.session.trouble == ""
        await discovered("A1")
        assert set(world.session.listings) == {"A1"}
        counts = world.session.counts
        assert (counts.listed, counts.delisted, counts.listings_kept) == (3, 2, 3)


async def test_a_slip_of_the_venue_is_asked_about_again_soon_and_ever_later():
    world = World()
    world.server.symbols = ["A1", "A2"]
    limits = replace(LIMITS, silence_s=1e6)
    async with running(world, BrokenToy(), limits=limits):
        await world.accepted("book.A1", "book.A2")
        counts = world.session.counts

        async def passed(seconds: float, discoveries: int) -> None:
            await world.pass_s(seconds)
            await world.until(lambda: counts.discoveries >= discoveries)
            await world.pass_s(0)
            assert counts.discoveries == discoveries

        world.server.symbols = ["A1", {"name": "A2"}]
        world.session.request_discovery()
        await passed(POLICY.discovery_min_s, 2)
        assert world.session.trouble.endswith("kept that may be among them: 1")
        world.server.symbols = ["A1", "A2"]
        await passed(POLICY.unread_again_s - 5, 2)
        await passed(5, 3)
        assert world.session.trouble == ""
        world.server.symbols = ["A1", {"name": "A2"}]
        await passed(POLICY.discovery_every_s, 4)
        asked, wait_s = 4, POLICY.unread_again_s
        while wait_s < POLICY.discovery_every_s:
            assert world.session.discoverer.every_s == wait_s
            await passed(wait_s - 5, asked)
            asked += 1
            await passed(5, asked)
            wait_s *= 2
        assert (wait_s, asked) == (960, 8)  # Another asking comes after the usual time now.
        assert world.session.discoverer.every_s == POLICY.discovery_every_s
        await passed(POLICY.discovery_every_s - 5, 8)
        world.server.symbols = ["A1", "A2"]
        await passed(5, 9)
        assert world.session.trouble == ""
        await passed(POLICY.unread_again_s, 9)  # No slip any more: it waits for its turn.
        await passed(POLICY.discovery_every_s, 10)


def entries_of(body: Any) -> list[dict[str, Any]]:
    """The longest list of objects anywhere in a body."""
    if isinstance(body, dict):
        return max((entries_of(value) for value in body.values()), key=len, default=[])
    return body if isinstance(body, list) and body and isinstance(body[0], dict) else []


@pytest.mark.parametrize("name", SERVERS)
async def test_every_venue_keeps_what_it_cannot_read_and_the_name_stands_in_it(name: str):
    async with VenueWorld(name) as world:
        await world.until(lambda: bool(world.session.listings))
        listed = [one for one in world.session.listings.values() if one.kind != ListingKind.INDEX]
        # An option or a future, where there are any: a perpetual's name stands in a future's entry.
        symbol = min(listed, key=lambda one: one.expiry_ns is None).symbol
        bodies = [r.payload for r in world.records if r.type is RecordType.HTTP]
    body = json.loads(next(body for body in bodies if f'"{symbol}"'.encode() in body))
    (entry,) = [one for one in entries_of(body) if symbol in one.values()]
    entry |= {key: value if value == symbol else [] for key, value in entry.items()}
    found = VENUES[name].instruments(json.dumps(body).encode())
    assert found.left_out["malformed"] == 1
    assert [json.loads(one) for one in found.unread] == [entry]
    assert symbol not in {one.symbol for one in found.listings}
    of = discoverer()
    of.unread = found.unread
    listings = world.session.listings
    there = {s for s in listings if s != symbol}
    assert of.ended(listings, there, NOW_NS) == []
    assert of.ended(listings, there, NOW_NS + 2 * HOUR_NS) == []
