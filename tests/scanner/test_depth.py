"""Which options get depth: by rank, with patience, within bounds."""

import math
from dataclasses import replace

import numpy as np
import pytest

from feeds.contract import ListingKind
from feeds.events import EVENT, TICKER, Flag, Kind
from scanner.config import EngineSettings, ScanConfig
from scanner.depth import (
    EVERY_NS,
    FLAGGED,
    GIVEN_BACK_MAX,
    HOLD_NS,
    KEPT,
    NEAR,
    TRADED,
    Candidates,
    DepthChooser,
    candidates,
    ranked,
)
from scanner.engine import Scanner
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings

NAN = float("nan")
NOW_NS = 1_700_000_000 * 10**9
YEAR_NS = 31_557_600 * 10**9  # 365.25 days
SMALL = ScanConfig(engine=EngineSettings(listings_capacity=128, depth_slots_capacity=64))


def market(**options: tuple[float, float, float]) -> Candidates:
    """Options by name: (score, distance, trades a second)."""
    score, distance, traded = zip(*options.values(), strict=True)
    return Candidates(
        list(options), np.array(score, np.float32), np.array(distance), np.array(traded, np.float32)
    )


def near(count: int, first: int = 0) -> Candidates:
    """Options d0, d1, ... in the order of their distance, beginning with number `first`."""
    names = [f"d{n}" for n in range(count)]
    return market(**{name: (0.0, abs(n - first) + 0.1, 0.0) for n, name in enumerate(names)})


def test_flagged_come_first_then_three_near_the_money_for_one_that_is_traded():
    options = {
        "a": (0.0, 0.5, 0.0), "b": (NAN, 0.1, 3.0), "c": (5.0, NAN, 0.0), "d": (9.0, 2.0, 0.0),
        "e": (0.0, 0.2, 0.0), "f": (0.0, 0.9, 1.0), "g": (3.9, 0.8, 2.0), "h": (0.0, NAN, 0.0),
    }  # fmt: skip
    order = ranked(market(**options))
    assert list(order.items()) == [
        ("d", FLAGGED), ("c", FLAGGED), ("b", NEAR), ("e", NEAR), ("a", NEAR), ("g", NEAR),
        ("f", NEAR),
    ]  # fmt: skip
    assert ranked(market(a=(0.0, NAN, 0.1), b=(0.0, NAN, 0.2))) == {"b": TRADED, "a": TRADED}


def test_places_are_filled_at_once_and_who_has_one_keeps_it_while_it_is_near_enough():
    chooser = DepthChooser(4)
    assert list(chooser.choose(near(9), NOW_NS)) == ["d0", "d1", "d2", "d3"]
    later_ns = NOW_NS + HOLD_NS
    # d0 is fifth now: not the fourth place any more, but within a quarter behind it.
    assert set(chooser.choose(near(9, 2), later_ns)) == {"d0", "d1", "d2", "d3"}
    moved = chooser.choose(near(9, 4), later_ns + EVERY_NS)
    assert set(moved) == {"d2", "d3", "d4", "d5"}


def test_nobody_loses_a_place_it_just_got_but_to_what_is_flagged():
    chooser = DepthChooser(2)
    chooser.choose(near(9), NOW_NS)
    early_ns = NOW_NS + HOLD_NS - 1
    assert set(chooser.choose(near(9, 8), early_ns)) == {"d0", "d1"}
    flagged = market(x=(4.0, NAN, 0.0), d0=(0.0, 0.1, 0.0), d1=(0.0, 0.2, 0.0))
    assert chooser.choose(flagged, early_ns) == {"x": FLAGGED, "d0": NEAR}
    # Flagged against flagged: who is there stays.
    more = market(x=(4.0, NAN, 0.0), d0=(4.5, 0.1, 0.0), y=(9.0, NAN, 0.0))
    assert set(chooser.choose(more, early_ns)) == {"x", "d0"}


def test_at_most_so_many_places_change_hands_at_a_time():
    chooser = DepthChooser(3 * GIVEN_BACK_MAX)
    before = set(chooser.choose(near(200), NOW_NS))
    assert len(before) == 3 * GIVEN_BACK_MAX
    now_ns = NOW_NS + HOLD_NS
    for turn in range(1, 4):
        after = set(chooser.choose(near(200, 150), now_ns))
        assert len(before - after) == turn * GIVEN_BACK_MAX
        assert len(after) == 3 * GIVEN_BACK_MAX
        now_ns += EVERY_NS


def test_what_is_listed_no_more_frees_its_place_and_what_is_unknown_keeps_it():
    chooser = DepthChooser(2)
    chooser.choose(near(2), NOW_NS)
    unknown = market(d1=(0.0, NAN, 0.0), d7=(0.0, 0.3, 0.0), d8=(0.0, 0.2, 0.0))
    assert chooser.choose(unknown, NOW_NS + 1) == {"d1": KEPT, "d8": NEAR}


def test_it_is_due_every_five_seconds():
    chooser = DepthChooser(2)
    assert chooser.due(NOW_NS)
    chooser.choose(near(2), NOW_NS)
    assert not chooser.due(NOW_NS + EVERY_NS - 1)
    assert chooser.due(NOW_NS + EVERY_NS)


def test_candidates_are_the_options_of_the_scan_that_are_still_listed():
    members = listings(40)
    market, scanner = ToyMarket(members, 5), Scanner(SMALL)
    scanner.add(members)
    now_ns = START_NS + SECOND
    scanner.apply(*market.second(now_ns))
    result = scanner.scan(now_ns)
    options = [one for one in members if one.kind == ListingKind.OPTION]
    venue = options[0].venue
    before = candidates(result, scanner.universe, venue)
    expected = {one.symbol for one in options if one.venue == venue}
    assert set(before.symbols) == expected
    # An inbox that was full during the scan is drained behind it: some options end, some come.
    ended = options[0].symbol
    scanner.universe.retire(scanner.universe.symbols(venue)[ended], now_ns)
    scanner.add([replace(options[0], symbol="new")])
    after = candidates(result, scanner.universe, venue)
    assert set(after.symbols) == expected - {ended}
    without = candidates(result, scanner.universe, venue, {after.symbols[1], "of another"})
    assert without.symbols == [after.symbols[0], *after.symbols[2:]]
    assert np.array_equal(without.distance, np.delete(after.distance, 1), equal_nan=True)
    at = [before.symbols.index(symbol) for symbol in after.symbols]
    assert np.array_equal(after.distance, before.distance[at], equal_nan=True)
    assert np.array_equal(after.score, before.score[at], equal_nan=True)


def test_distance_is_the_log_moneyness_over_the_root_of_the_years_left():
    members = listings(40)
    option = next(one for one in members if one.kind == ListingKind.OPTION)
    scanner = Scanner(SMALL)
    scanner.add([replace(option, strike_e9=110_000 * 10**9, expiry_ns=START_NS + YEAR_NS // 4)])
    ticker = np.zeros(1, TICKER)
    for field in TICKER.names:
        if ticker.dtype[field].kind == "f":
            ticker[field] = NAN
    ticker["rx_ns"], ticker["forward"] = START_NS + SECOND // 2, 100_000.0
    at_ns = START_NS + SECOND // 2
    quote = [
        (at_ns, 0, 0, price, 5.0, 0, Kind.QUOTE, side, flags, 0, 0)
        for price, side, flags in ((0.05, 1, 0), (0.052, -1, Flag.LAST))
    ]
    scanner.apply(np.array(quote, EVENT), ticker)
    result = scanner.scan(START_NS + SECOND)
    (distance,) = candidates(result, scanner.universe, option.venue).distance
    assert distance == pytest.approx(math.log(1.1) / math.sqrt(0.25), rel=1e-5)
