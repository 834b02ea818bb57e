"""Marks of listings that are coming back, and what alerts make of them."""

from dataclasses import replace

import numpy as np
import pytest

from kernels.columns import Validity
from scanner.alerts import AlertBook, AlertRules
from scanner.config import load
from scanner.pipeline import Pipeline
from scanner.recovering import Recovering
from scanner.universe import Universe
from tests.scanner.scans import EXPIRY, SECOND, T0, Group, Scans, option, perp

LISTINGS = (option("deribit"), option("okx"), option("okx", underlying="ETH"), perp())
WINDOW_S = 60
HIT, MISS = 1e-9, 0.5


@pytest.fixture
def universe():
    universe = Universe(128, grace_ns=0)
    for listing in LISTINGS:
        universe.add(listing)
    return universe


@pytest.fixture
def recovering(universe):
    return Recovering(universe, WINDOW_S * SECOND)


def bits(result):
    return np.flatnonzero(result.validity & int(Validity.RECOVERING)).tolist()


def test_scan_without_any_is_given_back_as_it_is(recovering):
    result = Scans(4).at(0)
    assert recovering.mark(result) is result


def test_rows_carry_the_bit_until_they_end_to_recover(recovering):
    scans = Scans(4)
    recovering.begin(1)
    recovering.begin(3)
    assert bits(recovering.mark(scans.at(0))) == [1, 3]
    recovering.end(1, T0 + 1 * SECOND + 1)
    assert bits(recovering.mark(scans.at(1))) == [1, 3]  # It ends behind this grid time.
    assert bits(recovering.mark(scans.at(2))) == [3]
    recovering.forget(3)
    assert bits(recovering.mark(scans.at(3))) == []


def test_listing_that_ends_recovers_no_longer():
    pipeline = Pipeline(load(None, {"engine.listings_capacity": 128}))
    row = pipeline.universe.add(option("deribit"))
    pipeline.recovering.begin(row)
    pipeline.retire(row, T0)
    result = Scans(4).at(1)
    assert pipeline.recovering.mark(result) is result


def test_row_without_a_state_keeps_that_bit_alone_and_the_scan_s_own_array_is_untouched(recovering):
    scans = Scans(4)
    scans.validity[:] = Validity.NO_STATE
    scans.validity[0] = Validity.TRUNCATED
    result = scans.at(0)
    for row in range(2):
        recovering.begin(row)
    marked = recovering.mark(result)
    assert marked.validity.tolist() == [
        Validity.TRUNCATED | Validity.RECOVERING, Validity.NO_STATE, Validity.NO_STATE,
        Validity.NO_STATE,
    ]  # fmt: skip
    assert bits(result) == []


def test_group_of_a_member_is_held_and_so_is_its_underlying_for_the_window_after(recovering):
    scans = Scans(4)
    # Numbers of underlyings are in the order in which they were listed: BTC 0, ETH 1.
    scans.groups = [Group(0, EXPIRY, MISS), Group(0, 0, MISS), Group(1, EXPIRY, MISS)]
    recovering.begin(0)
    assert recovering.mark(scans.at(0)).groups.held.tolist() == [True, True, False]
    recovering.end(0, T0 + 5 * SECOND)
    held = recovering.mark(scans.at(5 + WINDOW_S - 1)).groups.held
    assert held.tolist() == [True, True, False]
    assert recovering.mark(scans.at(5 + WINDOW_S)).groups.held is None


def book():
    listing_of = dict(enumerate(LISTINGS)).get
    return AlertBook(AlertRules(), listing_of, lambda number: ("BTC", "ETH")[number])


def test_alert_of_what_was_seen_while_recovering_needs_two_new_hits(recovering):
    scans, alerts = Scans(4), book()
    recovering.begin(0)
    for second in range(3):
        assert alerts.update(recovering.mark(scans.at(second, spike={0: HIT}))) == []
    assert alerts.counts.held == 1
    recovering.end(0, T0 + 3 * SECOND)
    assert alerts.update(recovering.mark(scans.at(4, spike={0: HIT}))) == []
    (alert,) = alerts.update(recovering.mark(scans.at(5, spike={0: HIT})))
    assert (alert.state, alert.ts_ns) == ("open", T0 + 5 * SECOND)
    assert "recovering" not in alert.validity


def test_open_alert_of_a_listing_whose_book_stayed_goes_on_and_says_that_it_recovers(recovering):
    scans, alerts = Scans(4), book()
    alerts.update(scans.at(0, spike={0: HIT}))
    assert [a.state for a in alerts.update(scans.at(1, spike={0: HIT}))] == ["open"]
    recovering.begin(0)
    (update,) = alerts.update(recovering.mark(scans.at(20, spike={0: HIT / 1e3})))
    assert (update.state, update.validity) == ("update", ("recovering",))


def test_held_group_opens_nothing_and_free_it_needs_two_hits(recovering):
    scans, alerts = Scans(4), book()
    scans.groups = [Group(0, EXPIRY, HIT)]
    recovering.begin(1)
    for second in range(3):
        assert alerts.update(recovering.mark(scans.at(second))) == []
    recovering.end(1, T0 - WINDOW_S * SECOND)
    assert alerts.update(recovering.mark(scans.at(4))) == []
    assert [alert.list for alert in alerts.update(recovering.mark(scans.at(5)))] == ["group"]


def test_history_follows_groups_that_move(recovering):
    scans, alerts = Scans(4), book()
    scans.groups = [Group(0, EXPIRY, HIT)]
    recovering.begin(1)
    for second in range(2):
        alerts.update(recovering.mark(scans.at(second)))
    recovering.end(1, T0 - WINDOW_S * SECOND)
    scans.groups = [Group(1, EXPIRY, MISS), replace(scans.groups[0])]
    assert alerts.update(recovering.mark(scans.at(4))) == []
    assert len(alerts.update(recovering.mark(scans.at(5)))) == 1
