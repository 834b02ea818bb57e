"""Drivers, shares, direction, size and book of an alert, by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.columns import Validity
from scanner.evidence import acat_shares, family_shares, fisher_shares, validity_names
from tests.scanner.scans import (
    HIT,
    opened,
)


def test_acat_shares_by_hand():
    # tan(pi .4) = 3.0777, tan(pi .25) = 1; p above 1/2 pulls down and has no share.
    shares = acat_shares([0.1, 0.25, 0.9, math.nan])
    assert shares == pytest.approx([3.0777 / 4.0777, 1 / 4.0777, 0, 0], abs=1e-4)


def test_acat_share_of_an_extreme_p_is_its_reciprocal():
    assert acat_shares([1e-12, 3e-12]) == pytest.approx([0.75, 0.25])
    assert acat_shares([0.0, 0.1])[0] == pytest.approx(1.0)


def test_fisher_shares_by_hand():
    assert fisher_shares([1e-4, 1e-1, 1.0, math.nan]) == pytest.approx([0.8, 0.2, 0, 0])


def test_nothing_unusual_has_no_shares():
    assert acat_shares([0.6, 0.99, 1.0, math.nan]) == [0, 0, 0, 0]
    assert fisher_shares([1.0, math.nan]) == [0, 0]
    assert family_shares([0.0] * 12) == {}


@given(st.lists(st.floats(1e-12, 1) | st.just(math.nan), min_size=12, max_size=12))
def test_family_shares_sum_to_one_or_are_absent(p):
    for shares in (acat_shares(p), fisher_shares(p)):
        total = math.fsum(family_shares(shares).values())
        assert total == pytest.approx(1.0) or total == 0.0
        assert all(0.0 <= share <= 1.0 for share in shares)


def test_drivers_are_the_six_largest_with_their_numbers(book, scans):
    scans.p_feature[:, 0] = [1e-5, 0.3, 0.9, 1e-3, math.nan, 0.2, 1e-2, 0.1, 0.15, 0.25, 0.4, 0.45]
    scans.z[0, 0], scans.value[0, 0], scans.baseline[0, 0] = -4.4, -1.5, 0.25
    alert = opened(book, scans)[0]
    names = [(d.feature, d.scale) for d in alert.drivers]
    assert names == [
        ("obi", "instant"),
        ("log_depth", "instant"),
        ("obi", "60s"),
        ("depth_obi", "60s"),
        ("log_spread", "60s"),
        ("ofi_30s", "instant"),
    ]
    first = alert.drivers[0]
    assert (first.value, first.baseline, first.z) == (-1.5, 0.25, -4.4)
    assert first.p == pytest.approx(1e-5, rel=1e-5)
    assert math.fsum(alert.families.values()) == pytest.approx(1.0, abs=1e-5)
    assert list(alert.families) == ["imbalance", "liquidity", "price"]


def test_broad_alert_uses_fisher_shares(book, scans):
    scans.p_feature[0, 0], scans.p_feature[2, 0] = 1e-3, 1e-1
    for second in (0, 1):
        alerts = book.update(scans.at(second, broad={0: HIT}))
    assert [d.share for d in alerts[0].drivers] == pytest.approx([0.75, 0.25], abs=1e-4)


@pytest.mark.parametrize(
    ("pressure", "delta", "direction", "direction_vol"),
    [
        (1.2, 0.4, 1, 1),
        (1.2, -0.4, -1, 1),  # buying puts: volatility up, underlying down
        (-1.2, -0.4, 1, -1),
        (0.4, 0.4, 0, 0),
        (math.nan, 0.4, 0, 0),
        (-0.5, math.nan, 0, -1),
        (0.9, 0.0, 0, 1),
    ],
)
def test_direction_is_pressure_weighted_by_delta(
    book, scans, pressure, delta, direction, direction_vol
):
    scans.metrics = {"pressure": [pressure] * 6, "delta": [delta] * 6}
    alert = opened(book, scans)[0]
    assert (alert.direction, alert.direction_vol) == (direction, direction_vol)


def test_missing_metric_columns_are_null(book, scans):
    alert = opened(book, scans)[0]
    assert (alert.direction, alert.premium_usd, alert.magnitude_usd_vega) == (0, None, None)
    assert (alert.liquidity.mid, alert.liquidity.spread_rel) == (None, None)


def test_liquidity_is_the_strongest_listings_own(book, scans):
    scans.metrics = {
        "mid": [0.02] * 6,
        "spread_rel": [0.05, 0.5, 1, 1, 1, 1],
        "depth_underlying": [3, 4, 1, 1, 1, 1],
        "quote_age_s": [0.25, 9, 1, 1, 1, 1],
        "spread_vol": [1, 2.5, 1, 1, 1, 1],
        "depth_usd_vega": [1, 700, 1, 1, 1, 1],
        "liquidity_class": [math.nan, 2, 1, 1, 1, 1],
    }
    scans.validity[1] = Validity.NO_BID
    for second in (0, 1):
        alerts = book.update(scans.at(second, spike={0: HIT, 1: 1e-8}))
    book_seen = alerts[0].liquidity
    assert (book_seen.spread_rel, book_seen.depth_underlying) == (0.5, 4.0)
    assert (book_seen.quote_age_s, book_seen.one_sided) == (9.0, True)
    assert (book_seen.spread_vol, book_seen.depth_usd_vega) == (2.5, 700.0)
    assert book_seen.liquidity_class == 2
    assert alerts[0].validity == ("no_bid",)


def test_validity_names_unite_rows_in_bit_order(scans):
    scans.validity[0], scans.validity[2] = Validity.SETTLING, Validity.NO_ASK
    result = scans.at(0)
    assert validity_names(result, [0, 2, 99]) == ("no_ask", "settling")
