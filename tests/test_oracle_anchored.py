"""The oracle in units of volatility, and its liquidity classes, against values worked by hand."""

import math

import numpy as np
import pytest

from tests.oracles.anchored import Anchor
from tests.oracles.liquidity import class_of
from tests.oracles.metrics import OracleListing
from tests.oracles.rows import NAN, applied, at, clear, listing, quote, snapshot, ticker, trade
from tests.oracles.scoring import OracleScanner

# --- anchored order flow ------------------------------------------------------------------

KNOWN = {"forward": 1000.0, "delta": 0.5, "theta": 0.0, "vega": 2.0}


def option(**static) -> OracleListing:
    return listing(is_option=True, expiry_ns=at(9e6), **static)


def told(one: OracleListing, at_s: float, **values: float) -> None:
    """A tick with one ticker."""
    one.ticker(ticker(at_s=at_s, **values))
    one.roll()


def anchored(static=None, quotes=(100, 5, 110, 3), **values) -> OracleListing:
    """An option told KNOWN but for `values`, then quoted, both at 0 s."""
    one = option(**(static or {}))
    told(one, 0, **(KNOWN | values))
    one.apply(quote(0, *quotes))
    return one


def flows(one: OracleListing, at_s: float) -> tuple[float, float]:
    """Anchored and price order flow."""
    return one.iv_ofi(at(at_s), 300), one.ofi(at(at_s), 300)


def test_requotes_that_follow_the_forward_are_no_anchored_flow():
    one = anchored()
    told(one, 1, forward=1008.0)
    one.apply(quote(1, 104, 5, 114, 3))  # Up by 0.5 x 8 on both sides.
    assert flows(one, 1) == (0, 5 + 3)
    assert one.anchors.bid == Anchor(100, 4.0)


def test_requotes_of_an_inverse_option_follow_its_value_in_coin():
    inverse = {"tick": 0.0005, "inverse": True}
    one = anchored(inverse, (0.05, 5, 0.052, 3), forward=50000.0)
    told(one, 1, forward=50400.0)
    # 0.05 x 50000 + 0.5 x 400 = 2700 USD, which is 107.14 ticks of 0.0005 at 50400.
    assert one.anchors.bid.drift == pytest.approx(2700 / 50400 / 0.0005 - 100)
    assert one.anchors.ask.drift == pytest.approx(2800 / 50400 / 0.0005 - 104)
    one.apply(quote(1, 0.0535, 5, 0.0555, 3))
    assert flows(one, 1) == (0, 5 + 3)
    told(one, 2, forward=50000.0)  # And back: from A + D, not from A.
    assert [a.drift for a in (one.anchors.bid, one.anchors.ask)] == pytest.approx([0, 0], abs=1e-9)


def test_drift_takes_the_mean_of_delta_and_theta_and_the_time_between_tickers():
    one = anchored({"price_per": 2.0, "tick": 0.5}, delta=0.4, theta=-86400.0)
    told(one, 0.5, forward=1008.0, delta=0.6, theta=-3 * 86400.0)
    # 0.5 x 8 - 2 USD/s x 0.5 s = 3 USD, doubled by price_per, in halves.
    assert one.anchors.bid.drift == pytest.approx(12)
    told(one, 1.0)  # No news but the time: 0.5 s at 3 USD/s.
    assert one.anchors.ask.drift == pytest.approx(12 - 6)


def test_anchors_roll_once_for_all_tickers_of_a_tick():
    one = anchored(delta=0.4)
    between, last = {"delta": 0.9, "forward": 1004.0}, {"delta": 0.6, "forward": 1008.0}
    OracleScanner([one]).tickers([ticker(at_s=1, **between), ticker(at_s=2, **last)])
    assert one.anchors.bid.drift == pytest.approx(0.5 * 8)


@pytest.mark.parametrize("sign", [1, -1])
def test_side_two_ticks_beyond_its_drift_counts_whole_sizes(sign):
    first, then = (100, 5, 110, 3), (106, 7, 114, 4)
    if sign < 0:  # Every bid an ask at the negative price.
        first, then = (-110, 3, -100, 5), (-114, 4, -106, 7)
    one = anchored(None, first, delta=sign * 0.5)
    told(one, 1, forward=1008.0)
    one.apply(quote(1, *then))
    assert flows(one, 1)[0] == sign * (7 - (4 - 3))  # The other side stood: its difference.
    moved, stood = (one.anchors.bid, one.anchors.ask)[::sign]
    assert (moved, stood) == (Anchor(sign * 106, 0.0), Anchor(sign * 110, sign * 4.0))


@pytest.mark.parametrize(
    ("forward", "bid", "e"),
    [(1001.0, 102, 0), (1000.998, 102, 5), (999.0, 98, 0), (999.002, 98, -5), (1001.0, 99, 0)],
)
def test_band_of_a_step_and_a_half_includes_its_edge(forward, bid, e):
    one = anchored()
    told(one, 1, forward=forward)  # A drift of 0.5, or 0.499.
    one.apply(quote(1, bid, 5, 110, 3))
    assert flows(one, 1)[0] == e


def test_stale_side_that_the_forward_left_behind_fell():
    one = anchored()
    told(one, 1, forward=1004.0)
    one.apply(trade(1, 110, 1, 1))
    assert flows(one, 1) == (0, 0)
    one.apply(quote(1, 100, 6, 110, 3))  # Both stand 2 ticks below: -5 of bids, -3 of asks.
    assert flows(one, 1) == (-5 - 3, 1)


def test_without_theta_there_is_no_event_until_the_update_after_it_was_known_twice():
    one = anchored(theta=NAN)
    quotes = iter([(101, 9, 110, 3), (101, 4, 110, 3), (101, 6, 110, 3)])
    for second, news, e in ((1, {}, 0), (2, {"theta": 0.0}, 0), (3, {}, 2 - 0)):
        told(one, second, **news)
        assert math.isnan(one.anchors.bid.drift) == (second < 3)
        one.apply(quote(second, *next(quotes)))
        assert one.anchors.bid.price == 101
        assert math.isnan(one.anchors.bid.drift) == (second < 2)
        assert flows(one, second)[0] == e
    assert math.isnan(anchored(theta=NAN).metrics(at(1))["iv_ofi_300s"])


@pytest.mark.parametrize(("forward", "drift"), [(1010.0, 5), (990.0, -5), (1010.5, NAN)])
def test_forward_that_jumps_by_more_than_a_hundredth_ends_the_drift(forward, drift):
    one = anchored()
    told(one, 1, forward=forward)
    assert one.anchors.bid.drift == pytest.approx(drift, nan_ok=True)
    one.apply(quote(1, 105, 5, 115, 3))
    if math.isnan(drift):
        assert flows(one, 1) == (0, 8)
        assert one.anchors.ask == Anchor(115, 0.0)


def test_gap_anchors_anew_and_is_no_event():
    one = anchored()
    one.apply(clear(1) + quote(1, 107, 5, 117, 3))
    assert flows(one, 1) == (0, 0)
    assert one.anchors.bid == Anchor(107, 0.0)


def test_step_is_the_coarsest_tick_from_the_first_threshold_on():
    table = ((0.005, 0.0002), (0.01, 0.0005))
    static = {"tick": 0.0001, "tick_table": table, "inverse": True}
    one = anchored(static, (0.0046, 5, 0.0053, 3), forward=50000.0, vega=25.0)
    assert [one.anchors.grid.step(ticks) for ticks in (49.5, 50, 100)] == [1, 5, 5]
    assert one.metrics(at(0))["vol_per_tick"] == pytest.approx(0.2)  # 5 USD of 25; mid 49.5.
    one.apply(quote(0, 0.0046, 5, 0.0060, 4))  # Up by 7 of 7.5: the ask stood.
    assert flows(one, 0)[0] == 3 - 4
    assert one.metrics(at(0))["vol_per_tick"] == pytest.approx(1.0)
    one.apply(quote(0, 0.0048, 5, 0.0061, 4))  # Up by 2 of 1.5, up by 8 of 7.5.
    assert flows(one, 0)[0] == -1 + 5 + 4


# --- in units of volatility, and classes --------------------------------------------------


def test_anchored_flow_is_shown_where_a_tick_does_not_hide_it():
    one = anchored()
    one.apply(quote(0, 102, 5, 110, 3))
    assert one.metrics(at(0))["iv_ofi_5s"] == pytest.approx(5 / 4)
    assert one.metrics(at(5))["iv_ofi_5s"] == pytest.approx(5 / 4 / 2)
    for vega, shown in ((0.67, True), (0.66, False), (0.0, False)):  # 1.49 and 1.52 points.
        told(one, 0, vega=vega)
        assert math.isnan(one.metrics(at(0))["iv_ofi_5s"]) != shown
    told(one, 0, vega=2.0)
    one.static |= {"settle_window_s": 10.0, "expiry_ns": at(10)}
    assert math.isnan(one.metrics(at(0))["iv_ofi_5s"])
    share = applied(quote(0, 100, 5, 102, 3))
    told(share, 0, **KNOWN)
    names = ("spread_vol", "vol_per_tick", "depth_usd_vega", "iv_ofi_5s")
    assert all(math.isnan(share.metrics(at(0))[name]) for name in names)


# Mid 100.5: sizes of 7, 18 and 50 at distances of 0.5, 1.5 and 2.5.
LEVELS = [(1, 100, 5), (1, 99, 10), (1, 98, 20), (-1, 101, 2), (-1, 102, 8), (-1, 103, 30)]


@pytest.mark.parametrize(("vega", "near"), [(0.75, 25), (0.74, 7), (0.2, 0), (9.0, 75)])
def test_depth_counts_what_rests_within_two_points_of_volatility(vega, near):
    one = option(multiplier=10.0)
    one.apply(snapshot(0, LEVELS))
    told(one, 0, vega=vega, delta=-0.4, forward=200.0)
    values = one.metrics(at(0))
    assert values["depth_usd_vega"] == pytest.approx(near * 10 * vega)
    assert values["depth_usd_delta"] == pytest.approx(near * 10 * 0.4 * 200)


def test_depth_of_an_inverse_option_needs_the_forward():
    one = option(tick=0.0005, inverse=True)
    one.apply(snapshot(0, [(side, price * 0.0005, size) for side, price, size in LEVELS]))
    told(one, 0, vega=23.0, delta=0.4, index=60000.0)
    assert math.isnan(one.metrics(at(0))["depth_usd_vega"])
    told(one, 0, forward=60000.0)  # A tick is 30 USD: 46 USD reach 1.53 ticks.
    assert one.metrics(at(0))["depth_usd_vega"] == pytest.approx(25 * 23)


@pytest.mark.parametrize(
    ("held", "position", "expected"),
    [(None, 4, 1), (None, 5, 2), (2, 4, 2), (2, 3, 1), (2, 10, 2), (2, 11, 3), (4, 14, 4),
     (4, 13, 3), (1, 5, 1), (1, 6, 2), (4, 19, 4), (1, 19, 4)],
)  # fmt: skip
def test_class_is_kept_within_a_twentieth_of_its_quarter(held, position, expected):
    assert class_of(position, 20, held) == expected


def classes(scanner: OracleScanner, at_s: float) -> list[float]:
    scanner.scan(at(at_s))
    return [one.metrics(at(at_s))["liquidity_class"] for one in scanner.listings.values()]


def test_classes_come_after_a_minute_and_then_every_ten():
    scanner = OracleScanner([listing(i, strike=50.0 if i == 4 else None) for i in range(6)])
    sizes = (4, 1, 2, 3, 0.5, 9)  # The last one has no price of its underlying in USD.
    for i, size in enumerate(sizes):
        scanner.apply(quote(0, 100, size, 102, size, listing_id=i))
    scanner.tickers([ticker(i, forward=10.0) for i in range(3)] + [ticker(3, index=10.0)])
    assert np.isnan(classes(scanner, 0) + classes(scanner, 59)).all()
    # Activity 40, 10, 20, 30 and 25: r = 4/5, 0, 1/5, 3/5, 2/5.
    assert classes(scanner, 60) == pytest.approx([4, 1, 1, 3, 2, NAN], nan_ok=True)
    scanner.apply(clear(61)[0]._replace(listing_id=i) for i in (0, 3))
    assert classes(scanner, 659)[2] == 1
    # Now 10, 20, 25: r = 0, 1/3, 2/3; those that are not regular keep what they had.
    assert classes(scanner, 660) == pytest.approx([4, 1, 2, 3, 3, NAN], nan_ok=True)
