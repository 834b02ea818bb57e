"""Episodes, scopes and messages, against hand-counted scans."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.columns import Validity
from scanner.alert import encode
from scanner.alerts import AlertRules
from tests.scanner.scans import (
    CALM,
    EXPIRY,
    HIT,
    LISTINGS,
    MISS,
    PLENTY,
    SECOND,
    T0,
    Group,
    Scans,
    book_of,
    opened,
    states,
)

# Beginnings.


def test_one_hit_opens_nothing(book, scans):
    assert book.update(scans.at(0, spike={0: HIT})) == []
    assert book.update(scans.at(1, spike={0: CALM})) == []
    assert book.update(scans.at(2, spike={0: CALM})) == []


def test_two_hits_in_a_row_open_at_the_second(book, scans):
    alerts = opened(book, scans)
    assert states(alerts) == [("open", "BTC-20260327T0800Z-90000-C", "spike")]
    assert alerts[0].start_ns == alerts[0].ts_ns == T0 + SECOND


def test_two_hits_around_a_miss_open(book, scans):
    for second, p in enumerate((HIT, MISS)):
        assert book.update(scans.at(second, spike={0: p})) == []
    assert len(book.update(scans.at(2, spike={0: HIT}))) == 1


def test_two_hits_with_two_misses_between_open_nothing(book, scans):
    for second, p in enumerate((HIT, MISS, MISS, HIT)):
        assert book.update(scans.at(second, spike={0: p})) == []


def test_scans_without_the_row_are_not_observations(book, scans):
    book.update(scans.at(0, spike={0: HIT}))
    for second in (1, 2, 3, 4):
        assert book.update(scans.at(second, spike={2: CALM})) == []
    assert len(book.update(scans.at(5, spike={0: HIT}))) == 1


@pytest.mark.parametrize(("p", "count"), [(0.5e-4, 1), (0.51e-4, 0)])
def test_a_single_list_has_half_the_budget(book, scans, p, count):
    assert len(opened(book, scans, p=p)) == count


@pytest.mark.parametrize(("entries", "count"), [(59_999, 1), (59_998, 0)])
def test_nothing_opens_before_the_reference_can_reach_a_third_of_p_on(book, scans, entries, count):
    # 2 / (1 + n) <= 1e-4 / 3 from n = 59,999 on.
    scans.reference_count[:] = 0
    scans.reference_count[3] = entries
    scans.stratum[0] = 3
    assert len(opened(book, scans)) == count
    assert book.counts.held == 1 - count


def test_held_wish_opens_when_the_reference_is_long_enough(book, scans):
    scans.reference_count[:] = 100
    assert opened(book, scans) == []
    scans.reference_count[:] = PLENTY
    assert len(book.update(scans.at(2, spike={0: HIT}))) == 1
    assert book.counts.held == 1


def test_held_wish_does_not_open_at_a_miss(book, scans):
    scans.reference_count[:] = 100
    opened(book, scans)
    scans.reference_count[:] = PLENTY
    assert book.update(scans.at(2, spike={0: MISS})) == []


def test_recovering_venue_opens_nothing(book, scans):
    scans.validity[0] = Validity.RECOVERING
    assert opened(book, scans) == []
    assert book.counts.held == 1


def test_warming_row_alerts_and_says_so(book, scans):
    scans.warming[0] = True
    assert [alert.calibration for alert in opened(book, scans)] == ["warming"]


def test_settled_row_is_calibrated(book, scans):
    assert [alert.calibration for alert in opened(book, scans)] == ["ok"]


def test_row_the_universe_does_not_know_is_counted(book):
    scans = Scans(len(LISTINGS) + 1)
    assert opened(book, scans, row=len(LISTINGS)) == []
    assert book.counts.unknown_listing == 1


# Ends.


def test_alert_closes_after_sixty_seconds_above_p_off(book, scans):
    opened(book, scans)
    fell = book.update(scans.at(12, spike={0: CALM}))
    assert [a.state for a in fell] == ["update"]
    assert book.update(scans.at(71.9)) == []
    closed = book.update(scans.at(72))
    assert [(a.state, a.reason, a.duration_s, a.p) for a in closed] == [("close", "quiet", 71, 1.0)]
    assert book.open_alerts == []


def test_between_p_on_and_p_off_nothing_closes(book, scans):
    opened(book, scans)
    for second in range(2, 200):
        alerts = book.update(scans.at(second, spike={0: 5e-3}))  # headline: p_off itself
        assert all(alert.state == "update" for alert in alerts)
    assert len(book.open_alerts) == 1


def test_one_observation_below_p_off_restarts_the_sixty_seconds(book, scans):
    opened(book, scans)
    book.update(scans.at(10, spike={0: CALM}))
    book.update(scans.at(60, spike={0: MISS}))
    book.update(scans.at(65, spike={0: CALM}))
    assert all(a.state == "update" for a in book.update(scans.at(100)))
    assert [a.reason for a in book.update(scans.at(125))] == ["quiet"]


def test_unobserved_row_closes_after_the_hold_time(book, scans):
    opened(book, scans)
    assert book.update(scans.at(300.9)) == []
    closed = book.update(scans.at(301))
    assert [(a.state, a.reason, a.p) for a in closed] == [("close", "unobserved", 2 * HIT)]


def test_row_without_score_and_without_invalid_bit_is_unobserved(book, scans):
    opened(book, scans)
    scans.lost[0] = True
    scans.validity[0] = Validity.TRUNCATED
    assert [a.reason for a in book.update(scans.at(2))] == ["unobserved"]


def test_invalid_row_closes_at_once_without_a_number(book, scans):
    opened(book, scans)
    scans.lost[0] = True
    scans.validity[0] = Validity.GAP
    closed = book.update(scans.at(2))
    assert [(a.state, a.reason, a.score, a.p, a.rank) for a in closed] == [
        ("close", "invalid", None, None, None)
    ]
    assert closed[0].validity == ("gap",)
    assert closed[0].peak_score == pytest.approx(5.69897, abs=1e-5)


def test_invalid_bit_with_a_score_closes_nothing(book, scans):
    opened(book, scans)
    scans.validity[0] = Validity.TRUNCATED
    assert book.update(scans.at(2)) == []


def test_end_of_the_log_closes_nothing(book, scans):
    opened(book, scans)
    assert len(book.open_alerts) == 1


def test_forgotten_listing_closes_and_its_history_is_gone(book, scans):
    opened(book, scans)
    book.forget([0])
    assert [(a.reason, a.p) for a in book.update(scans.at(2))] == [("delisted", None)]
    assert book.update(scans.at(100, spike={0: HIT})) == []
    assert len(book.update(scans.at(101, spike={0: HIT}))) == 1


def test_forgotten_row_without_episode_loses_its_hit(book, scans):
    book.update(scans.at(0, spike={0: HIT}))
    book.forget([0, 5])
    assert book.update(scans.at(1, spike={0: HIT})) == []
    assert len(book.update(scans.at(2, spike={0: HIT}))) == 1


def test_closed_row_needs_two_new_hits(book, scans):
    opened(book, scans)
    assert [a.reason for a in book.update(scans.at(301))] == ["unobserved"]
    assert book.update(scans.at(400, spike={0: HIT})) == []
    assert [a.state for a in book.update(scans.at(401, spike={0: HIT}))] == ["open"]


# Scopes.


def test_contract_on_two_venues_is_one_alert_with_two_listings(book, scans):
    scans.metrics = {"ofi_30s_usd_vega": [100.0, 20.0, 7.0, 7.0, 7.0, math.nan]}
    book.update(scans.at(0, spike={0: HIT, 1: 1e-7, 5: HIT}))
    alerts = book.update(scans.at(1, spike={0: HIT, 1: 1e-7, 5: HIT}))
    assert states(alerts) == [("open", "BTC-20260327T0800Z-90000-C", "spike")]
    assert alerts[0].identity.listings == (
        "bybit:BTC-27MAR26-90000-C",
        "deribit:BTC-27MAR26-90000-C",
        "okx:BTC-27MAR26-90000-C",
    )
    assert alerts[0].p == 2e-7  # the strongest listing speaks
    assert alerts[0].magnitude_usd_vega == 120.0
    assert alerts[0].magnitude_usd_delta is None


def test_first_listing_opens_and_last_listing_closes(book, scans):
    first = opened(book, scans)[0]
    book.update(scans.at(5, spike={1: HIT}))
    joined = book.update(scans.at(6, spike={1: HIT}))
    assert joined == []
    scans.lost[0], scans.validity[0] = True, Validity.GAP
    assert all(a.state != "close" for a in book.update(scans.at(7)))
    scans.lost[1], scans.validity[1] = True, Validity.EXPIRED
    closed = book.update(scans.at(8))
    assert [(a.id, a.state, a.reason, len(a.identity.listings)) for a in closed] == [
        (first.id, "close", "invalid", 2)
    ]


def test_lists_alert_on_their_own(book, scans):
    both = {"spike": {0: HIT}, "broad": {0: 1e-7}}
    book.update(scans.at(0, **both))
    alerts = book.update(scans.at(1, **both))
    assert [alert.list for alert in alerts] == ["broad", "spike"]  # stronger first
    assert len({alert.id for alert in alerts}) == 2


def test_listing_that_is_no_option_has_listing_scope(book, scans):
    alert = opened(book, scans, row=3)[0]
    assert (alert.scope_kind, alert.scope) == ("listing", "deribit:BTC-PERPETUAL")
    assert (alert.identity.strike, alert.identity.right, alert.direction_vol) == (None, None, 0)


def test_identity_of_an_option_is_spelled_out(book, scans):
    who = opened(book, scans, row=2)[0].identity
    assert (who.underlying, who.expiry, who.expiry_ns) == ("BTC", "2026-03-27T08:00:00Z", EXPIRY)
    assert (who.strike, who.right) == ("95000", "P")


def test_alerts_come_strongest_first_then_by_scope(book, scans):
    p = {0: HIT, 2: 1e-7, 4: HIT}
    book.update(scans.at(0, spike=p))
    scopes = [alert.scope for alert in book.update(scans.at(1, spike=p))]
    assert scopes == [
        "BTC-20260327T0800Z-95000-P",
        "BTC-20260327T0800Z-100000-C",
        "BTC-20260327T0800Z-90000-C",
    ]
    assert [alert.scope for alert in book.open_alerts] == scopes


# Groups.


def test_group_alert_names_scope_and_members(book, scans):
    scans.groups = [Group(0, EXPIRY, 9e-5, members=(4, 0)), Group(1, 0, 0.3)]
    assert book.update(scans.at(0)) == []
    alert = book.update(scans.at(1))[0]
    assert (alert.scope_kind, alert.scope, alert.list) == ("expiry", "BTC-20260327T0800Z", "group")
    assert alert.identity.listings == (
        "deribit:BTC-27MAR26-100000-C",
        "deribit:BTC-27MAR26-90000-C",
    )
    assert (alert.p, alert.rank) == (9e-5, 1)  # a list of its own: p as it is


def test_whole_underlying_is_a_scope(book, scans):
    scans.groups = [Group(1, 0, HIT)]
    book.update(scans.at(0))
    alert = book.update(scans.at(1))[0]
    assert (alert.scope_kind, alert.scope, alert.identity.expiry) == ("underlying", "ETH", None)


def test_held_group_score_is_not_an_observation(book, scans):
    scans.groups = [Group(0, EXPIRY, HIT)]
    book.update(scans.at(0))
    scans.groups = [Group(0, EXPIRY, HIT, fresh=False)]
    assert book.update(scans.at(1)) == []


@pytest.mark.parametrize(("entries", "count"), [(29_999, 1), (29_998, 0)])
def test_group_reference_must_reach_a_third_of_p_on(book, scans, entries, count):
    scans.groups = [Group(0, EXPIRY, 9e-5, reference_count=entries)]
    book.update(scans.at(0))
    assert len(book.update(scans.at(1))) == count


def test_group_that_moves_to_another_row_keeps_its_episode(book, scans):
    scans.groups = [Group(0, EXPIRY, HIT), Group(1, EXPIRY, 0.5)]
    book.update(scans.at(0))
    first = book.update(scans.at(1))[0]
    scans.groups = [Group(0, 0, 0.5), Group(1, EXPIRY, 0.5), Group(0, EXPIRY, 1e-8)]
    moved = book.update(scans.at(11))
    assert [(a.id, a.state, a.scope) for a in moved] == [(first.id, "update", first.scope)]


def test_group_hit_follows_its_group_to_another_row(book, scans):
    scans.groups = [Group(0, EXPIRY, HIT), Group(1, EXPIRY, 0.5)]
    book.update(scans.at(0))
    scans.groups = [Group(1, EXPIRY, HIT), Group(0, EXPIRY, HIT)]
    assert [a.scope for a in book.update(scans.at(1))] == ["BTC-20260327T0800Z"]


def test_group_that_vanishes_closes(book, scans):
    scans.groups = [Group(0, EXPIRY, HIT)]
    book.update(scans.at(0))
    book.update(scans.at(1))
    scans.groups = []
    assert [(a.state, a.reason) for a in book.update(scans.at(2))] == [("close", "unobserved")]


def test_group_without_a_score_closes(book, scans):
    scans.groups = [Group(0, EXPIRY, HIT)]
    book.update(scans.at(0))
    book.update(scans.at(1))
    scans.groups = [Group(0, EXPIRY, HIT, fresh=False, lost=True)]
    assert [a.reason for a in book.update(scans.at(2))] == ["unobserved"]


def test_group_drivers_are_the_mean_shares_of_its_members(book, scans):
    # Member 0 speaks through log_depth at 60 s alone, member 2 through obi at once alone.
    scans.p_feature[9, 0], scans.z[9, 0] = 1e-6, -5.0
    scans.p_feature[0, 2], scans.z[0, 2] = 1e-3, 3.0
    scans.groups = [Group(0, EXPIRY, HIT, members=(0, 2), direction=-0.7)]
    book.update(scans.at(0))
    alert = book.update(scans.at(1))[0]
    assert [(d.feature, d.scale, d.z, d.share) for d in alert.drivers] == [
        ("obi", "instant", 3.0, 0.5),
        ("log_depth", "60s", -5.0, 0.5),
    ]
    assert alert.families == {"imbalance": 0.5, "liquidity": 0.5}
    assert (alert.direction, alert.liquidity) == (-1, None)


def test_group_without_named_members_has_no_drivers(book, scans):
    scans.groups = [Group(0, EXPIRY, HIT)]
    book.update(scans.at(0))
    alert = book.update(scans.at(1))[0]
    assert (alert.drivers, alert.families, alert.identity.listings) == ((), {}, ())


# Messages.


def test_update_waits_ten_seconds_and_then_tells_the_score_of_the_moment(book, scans):
    opened(book, scans)
    assert book.update(scans.at(2, spike={0: 1e-7})) == []
    assert book.next_deadline_ns == T0 + 11 * SECOND
    assert book.update(scans.at(10.9)) == []
    update = book.update(scans.at(11))
    assert [(a.state, a.seq, a.score) for a in update] == [("update", 2, 6.69897)]
    assert book.counts.updates == 1


@pytest.mark.parametrize(("p", "count"), [(HIT / 3.1, 0), (HIT / 3.2, 1)])
def test_score_must_move_by_half(book, scans, p, count):
    # log10(3.1) = .491, log10(3.2) = .505
    opened(book, scans)
    assert len(book.update(scans.at(20, spike={0: p}))) == count


def test_change_of_rank_is_an_update(book, scans):
    scans.top = {"spike": [2, 0]}
    assert opened(book, scans)[0].rank == 2
    scans.top = {"spike": [0, 2]}
    assert [(a.state, a.rank) for a in book.update(scans.at(20))] == [("update", 1)]
    scans.top = {"spike": []}
    assert [(a.state, a.rank) for a in book.update(scans.at(40))] == [("update", None)]


def test_delivery_keys_count_from_one(book, scans):
    keys = [a.key for a in opened(book, scans)]
    keys += [a.key for a in book.update(scans.at(20, spike={0: 1e-9}))]
    keys += [a.key for a in book.update(scans.at(400))]
    identity = keys[0].split(".")[0]
    assert keys == [f"{identity}.{seq}" for seq in (1, 2, 3)]


def test_persistence_is_the_part_of_observations_below_p_off(book, scans):
    opened(book, scans)  # one observation of the episode: 1 of 1
    book.update(scans.at(12, spike={0: CALM}))
    book.update(scans.at(13, spike={0: CALM}))
    update = book.update(scans.at(30, spike={0: MISS}))
    assert [a.persistence for a in update] == [0.5]  # 2 of 4


def test_ended_listing_still_counts_in_persistence(book, scans):
    for second in (0, 1):
        book.update(scans.at(second, spike={0: HIT, 1: HIT}))
    book.update(scans.at(5, spike={1: CALM}))
    scans.lost[1], scans.validity[1] = True, Validity.GAP
    book.update(scans.at(6))
    update = book.update(scans.at(20, spike={0: 1e-8}))
    assert [a.persistence for a in update] == [0.75]  # two of two, one of two


def test_deadlines_are_the_first_of_quiet_and_hold(book, scans):
    assert book.next_deadline_ns is None
    opened(book, scans)
    assert book.next_deadline_ns == T0 + 301 * SECOND
    book.update(scans.at(20, spike={0: CALM}))
    assert book.next_deadline_ns == T0 + 80 * SECOND
    book.update(scans.at(80))
    assert book.next_deadline_ns is None


def test_recent_keeps_opens_and_closes_but_no_updates(book, scans):
    opened(book, scans)
    book.update(scans.at(20, spike={0: 1e-9}))
    book.update(scans.at(400))
    assert [alert.state for alert in book.recent] == ["open", "close"]


def test_same_scans_give_the_same_bytes():
    def run():
        book, scans, lines = book_of(), Scans(len(LISTINGS)), []
        random = np.random.default_rng(7)
        scans.p_feature[:] = random.uniform(1e-9, 1, scans.p_feature.shape)
        for second in range(200):
            p = {row: float(10 ** -random.uniform(0, 7)) for row in range(len(LISTINGS))}
            lines += [encode(a) for a in book.update(scans.at(second, spike=p, broad=p))]
        return lines

    first = run()
    assert len(first) > 20
    assert first == run()


# Storms.


def test_closed_scope_stays_silent_for_the_cooldown(book, scans):
    opened(book, scans)
    book.update(scans.at(301))
    for second in (310, 311, 312):
        assert book.update(scans.at(second, spike={0: HIT})) == []
    assert book.counts.suppressed_cooldown == 1  # one wish, counted once
    assert [a.state for a in book.update(scans.at(361, spike={0: HIT}))] == ["open"]


def test_stronger_return_breaks_the_cooldown(book, scans):
    opened(book, scans)
    book.update(scans.at(301))
    book.update(scans.at(310, spike={0: 1e-7}))
    assert [a.state for a in book.update(scans.at(311, spike={0: 1e-7}))] == ["open"]


def test_when_full_the_strongest_open_and_the_rest_is_counted(scans):
    book = book_of(open_max=2)
    p = {0: 1e-6, 2: 1e-8, 4: 1e-7}
    book.update(scans.at(0, spike=p))
    assert [a.p for a in book.update(scans.at(1, spike=p))] == [2e-8, 2e-7]
    book.update(scans.at(2, spike=p))
    assert book.counts.suppressed_limit == 1


def test_stronger_newcomer_takes_the_place_of_the_weakest(scans):
    book = book_of(open_max=2)
    for second in (0, 1):
        book.update(scans.at(second, spike={0: 1e-6, 4: 1e-7}))
    book.update(scans.at(2, spike={2: 1e-8}))
    alerts = book.update(scans.at(3, spike={2: 1e-8}))
    assert [(a.state, a.reason, a.p) for a in alerts] == [
        ("open", None, 2e-8),
        ("close", "displaced", 2e-6),
    ]
    assert book.counts.displaced == 1


def test_weaker_newcomer_is_suppressed_when_full(scans):
    book = book_of(open_max=1)
    opened(book, scans, p=1e-8)
    book.update(scans.at(2, spike={2: HIT}))
    assert book.update(scans.at(3, spike={2: HIT})) == []
    assert book.counts.suppressed_limit == 1


def test_newcomer_that_is_hardly_stronger_displaces_nobody(scans):
    book = book_of(open_max=1)
    opened(book, scans, p=1e-6)
    book.update(scans.at(2, spike={2: 1e-6 / 3.1}))  # log10(3.1) = .491
    assert book.update(scans.at(3, spike={2: 1e-6 / 3.1})) == []
    assert book.counts.suppressed_limit == 1


def test_two_newcomers_cannot_displace_one_another(scans):
    book = book_of(open_max=1)
    opened(book, scans, row=3, p=1e-5)
    p = {0: 1e-7, 2: 1e-8}
    book.update(scans.at(2, spike=p))
    alerts = book.update(scans.at(3, spike=p))
    assert [(a.state, a.p) for a in alerts] == [("open", 2e-8), ("close", 2e-5)]
    assert book.counts.suppressed_limit == 1


def test_cooldowns_are_bounded(scans):
    book = book_of(cooldowns_max=1)
    for second in (0, 1):
        book.update(scans.at(second, spike={0: HIT, 2: HIT}))
    book.update(scans.at(301))
    assert book.counts.cooldowns_dropped == 1


@pytest.mark.parametrize(
    "rules", [{"p_on": 0.0}, {"p_on": 0.1}, {"open_max": 0}, {"cooldowns_max": 0}]
)
def test_rules_that_cannot_work_are_refused(rules):
    with pytest.raises(ValueError, match="alert rules"):
        AlertRules(**rules)


# An oracle of the episode rule: one row, plain lists, no arrays.


def oracle(observations, until):
    """Seconds at which a row opens and closes; p None = invalid; cooldown and updates left out."""
    opens, closes, last3, is_open, quiet, seen = [], [], [], False, None, None
    by_second = dict(observations)
    lost = False
    for second in range(until):
        p = by_second.get(second, "none")
        if p is None:
            lost = True
        elif p != "none":
            lost, seen = False, second
            last3 = [*last3, p <= 1e-4][-3:]
            if is_open and p > 1e-2:
                quiet = second if quiet is None else quiet
            elif is_open:
                quiet = None
        if is_open and (
            lost or second - seen >= 300 or (quiet is not None and second - quiet >= 60)
        ):
            closes.append(second)
            is_open, quiet, last3 = False, None, []
        elif not is_open and p not in ("none", None) and last3[-1] and sum(last3) >= 2:
            opens.append(second)
            is_open, quiet = True, None
    return opens, closes


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, 30, 59, 60, 61, 299, 300, 301]),
            st.sampled_from([2e-6, 2e-6, 2e-6, 2e-3, 0.5, None]),
        ),
        max_size=25,
    )
)
def test_episodes_equal_the_plain_rule(steps):
    observations, second = [], 0
    for gap, p in steps:
        second += gap
        observations.append((second, p))
    by_second, until = dict(observations), second + 310
    book, scans = book_of(cooldown_s=0.0, update_every_s=1e6), Scans(1)
    opens, closes, waiting = [], [], sorted(by_second)
    # Scans stand only where an observation is or a deadline is due: so deadlines are tested too.
    while True:
        due = [book.next_deadline_ns] if book.next_deadline_ns is not None else []
        due += [T0 + waiting[0] * SECOND] if waiting else []
        if not due or min(due) >= T0 + until * SECOND:
            break
        now = (min(due) - T0) // SECOND
        p = by_second[waiting.pop(0)] if waiting and waiting[0] == now else "none"
        if p is None:
            scans.lost[0] = True
        scans.validity[0] = Validity.GAP if p is None or (p == "none" and scans.lost[0]) else 0
        result = scans.at(now, spike={0: p / 2} if isinstance(p, float) else {})
        for alert in book.update(result):
            (opens if alert.state == "open" else closes).append(now)
    assert (opens, closes) == oracle(observations, until)
