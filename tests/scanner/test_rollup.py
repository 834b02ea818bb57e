"""Rollups beside sums made by hand from the rows of the same scan."""

import math

import numpy as np
import pytest

from feeds.venues import binance, binance_futures
from scanner.config import load
from scanner.engine import Scanner
from scanner.result import LISTS, NO_LISTING, SCOPES
from scanner.rollup import Groupings
from tests.feeds.venue_samples import binance as options
from tests.feeds.venue_samples import binance_futures as futures
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings

WINDOW_S = 60


@pytest.fixture(scope="module")
def scanned():
    """A scanner, its listings, and the last of 80 scans."""
    members = listings(60)
    scanner = Scanner(load(None, {"engine.tick_ms": 1000}), device="cpu")
    scanner.add(members)
    market = ToyMarket(members, 7)
    result = None
    for k in range(1, 81):
        scanner.apply(*market.second(START_NS + k * SECOND))
        result = scanner.scan(START_NS + k * SECOND)
    return scanner, members, result


def key_of(listing, scope):
    if scope == "venue":
        return listing.venue
    if scope == "underlying":
        return listing.underlying
    if listing.strike_e9 is None:
        return None
    return {
        "contract": (listing.underlying, listing.expiry_ns, listing.strike_e9, listing.right),
        "strike": (listing.underlying, listing.strike_e9),
        "expiry": (listing.underlying, listing.expiry_ns),
    }[scope]


def by_hand(scanner, members, result, scope):
    """Members of every group: key -> listing ids scored within the window."""
    groups = {}
    recent = result.observed_ns > result.now_ns - WINDOW_S * SECOND
    for i, listing in enumerate(members):
        key = key_of(listing, scope)
        if key is not None:
            groups.setdefault(key, [])
            if recent[i] and not math.isnan(result.score[0, i]):
                groups[key].append(i)
    return groups


@pytest.mark.parametrize("scope", SCOPES)
def test_a_rollup_counts_and_averages_its_members(scanned, scope):
    scanner, members, result = scanned
    rollup = result.rollups[scope]
    groups = by_hand(scanner, members, result, scope)
    keys = [key_of(members[i], scope) for i in rollup.listing]
    assert sorted(keys, key=str) == sorted(groups, key=str)
    pressure, delta = result.metrics["pressure"], result.metrics["delta"]
    for at, key in enumerate(keys):
        inside = groups[key]
        assert rollup.member_count[at] == len(inside)
        assert rollup.observed_count[at] == sum(
            result.observed_ns[i] == result.now_ns for i in inside
        )
        strengths = [min(4.0, -math.log10(result.p[0, i])) for i in inside]
        if not inside:
            assert math.isnan(rollup.strength[at])
            assert rollup.best[0, at] == NO_LISTING
            continue
        assert rollup.strength[at] == pytest.approx(np.mean(strengths), abs=1e-5)
        signed = [
            (-1 if delta[i] < 0 else 1) * min(10, max(-10, float(pressure[i])))
            for i in inside
            if not math.isnan(pressure[i])
        ]
        mean = sum(signed) / len(signed) if signed else math.nan
        assert rollup.pressure[at] == pytest.approx(mean, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("scope", SCOPES)
def test_the_best_member_pays_for_the_number_of_members(scanned, scope):
    scanner, members, result = scanned
    rollup = result.rollups[scope]
    groups = by_hand(scanner, members, result, scope)
    for at, i in enumerate(rollup.listing):
        inside = groups[key_of(members[i], scope)]
        for li in range(len(LISTS)):
            if not inside:
                assert math.isnan(rollup.score[li, at])
                continue
            best = max(result.score[li, j] for j in inside)
            # The key has thousandths; of equal ones the larger magnitude in USD comes first.
            assert result.score[li, rollup.best[li, at]] == pytest.approx(best, abs=1e-3)
            expected = max(0.0, best - math.log10(len(inside)))
            assert rollup.score[li, at] == pytest.approx(expected, abs=1.1e-3)


def test_rollups_know_their_scopes_and_no_others(scanned):
    _, _, result = scanned
    assert tuple(result.rollups) == SCOPES
    assert len(result.rollups) == len(SCOPES)
    with pytest.raises(KeyError):
        result.rollups["planet"]


def test_a_group_of_nothing_is_no_group():
    scanner = Scanner(load(None, {"engine.tick_ms": 1000}), device="cpu")
    result = scanner.scan(START_NS)
    assert all(len(result.rollups[scope].listing) == 0 for scope in SCOPES)


def test_perpetuals_of_a_companion_venue_are_in_the_roll_up_of_the_options_underlying():
    members = binance.instruments(options.BODIES[0]).listings
    members += binance_futures.instruments(futures.BODIES[0]).listings
    assert [listing.symbol for listing in members] == [
        "BTC-261225-92000-C", "BTCUSDT/INDEX", "BTCUSDT", "BTCUSDT_261225", "BTCUSDT/INDEX",
    ]  # fmt: skip
    scanner = Scanner(load(None, {}), device="cpu")
    assert len(set(scanner.add(members))) == 5
    groupings = Groupings(scanner.universe)
    assert groupings.of("underlying").group.tolist() == [0] * 5
    assert groupings.of("venue").group.tolist() == [0, 0, 1, 1, 1]
    assert groupings.of("expiry").group.tolist() == [0, -1, -1, -1, -1]
