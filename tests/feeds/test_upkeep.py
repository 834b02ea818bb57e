"""A venue's day: when to ask, what to keep, when silence was announced."""

import random
from datetime import UTC, datetime

import pytest

from feeds.budget import HOUR_NS, SECOND_NS, ConnectBudget, HourBudget
from feeds.daily import DAY_NS, DailyWindow
from feeds.links import SessionPolicy
from feeds.upkeep import Upkeep
from feeds.venues import VENUES
from tests.feeds.toy_venue import LIMITS, HandTime

POLICY = SessionPolicy(change_delay_s=(5.0, 25.0), change_lead_s=300.0)


def at(clock, day=26):
    hours, minutes, seconds = map(int, clock.split(":"))
    moment = datetime(2026, 3, day, hours, minutes, seconds, tzinfo=UTC)
    return int(moment.timestamp()) * SECOND_NS


def upkeep(*windows, seed=1):
    found = [DailyWindow.read(text) for text in windows]
    return Upkeep(LIMITS, POLICY, random.Random(seed), found)


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("06:00-06:30", ["06:00:00", "06:29:59"], ["05:59:59", "06:30:00", "18:15:00"]),
        ("23:30-00:15", ["23:30:00", "00:00:00", "00:14:59"], ["23:29:59", "00:15:00", "12:00:00"]),
    ],
)
def test_window_holds_every_day_from_its_begin_to_before_its_end(window, inside, outside):
    one = DailyWindow.read(window)
    assert [one.holds(at(clock, day)) for clock in inside for day in (1, 26)] == [True] * (
        2 * len(inside)
    )
    assert [one.holds(at(clock)) for clock in outside] == [False] * len(outside)


@pytest.mark.parametrize(
    "text", ["", "06:00", "6:00-07:00", "06:00-24:00", "06:60-07:00", "06:00-06:00", "0a:00-07:00"]
)
def test_window_that_is_none_says_what_it_was(text):
    with pytest.raises(ValueError, match=f"was '{text}', expected HH:MM-HH:MM"):
        DailyWindow.read(text)


def asked_at(one, begin_ns, end_ns, step_s=1):
    return [now for now in range(begin_ns, end_ns, step_s * SECOND_NS) if one.asks(now)]


@pytest.mark.parametrize("seed", range(8))
def test_instruments_are_asked_for_once_soon_after_eight_each_day(seed):
    asked = asked_at(upkeep(seed=seed), at("07:00:00"), at("09:00:00", 28), 5)
    assert len(asked) == 3
    for day, now in enumerate(asked, start=26):
        assert 5 <= (now - at("08:00:00", day)) / SECOND_NS <= 30


def test_not_all_ask_at_the_same_second():
    begin, end = at("07:59:00"), at("08:01:00")
    times = {asked_at(upkeep(seed=seed), begin, end)[0] for seed in range(8)}
    assert len(times) > 3


def test_reserve_is_kept_in_the_minutes_before_the_change_alone():
    one = upkeep()
    kept = {
        clock: (one.kept_connects(at(clock)), one.kept_requests(at(clock)))
        for clock in ("07:54:59", "07:55:00", "07:59:59", "08:00:00", "20:00:00")
    }
    reserve = POLICY.change_connects, POLICY.change_requests
    assert kept == {
        "07:54:59": (0, 0), "07:55:00": reserve, "07:59:59": reserve, "08:00:00": (0, 0),
        "20:00:00": (0, 0),
    }  # fmt: skip


def test_venue_s_own_change_of_listings_counts():
    limits = VENUES["delta"].LIMITS
    one = Upkeep(limits, POLICY, random.Random(1))
    assert one.kept_requests(at("07:59:00")) == 0
    assert one.kept_requests(at("11:59:00")) == POLICY.change_requests


def test_notice_holds_until_its_end_or_for_a_while():
    one = upkeep()
    now = at("10:00:00")
    assert not one.down(now)
    one.notice(now, down=True)
    assert one.down(now + round(POLICY.notice_s * 1e9) - 1)
    assert not one.down(now + round(POLICY.notice_s * 1e9))
    one.notice(now, down=False)
    assert not one.down(now)


def test_instruments_are_asked_for_after_a_maintenance_ends():
    (asked,) = asked_at(upkeep("10:00-10:30"), at("09:00:00"), at("12:00:00"))
    assert 5 <= (asked - at("10:30:00")) / SECOND_NS <= 27
    one = upkeep()
    begin = at("09:00:00")
    assert asked_at(one, begin, begin + 60 * SECOND_NS) == []
    one.notice(begin + 60 * SECOND_NS, down=True)
    assert asked_at(one, begin + 61 * SECOND_NS, begin + 120 * SECOND_NS) == []
    one.notice(begin + 120 * SECOND_NS, down=False)
    (asked,) = asked_at(one, begin + 120 * SECOND_NS, begin + 600 * SECOND_NS)
    assert 5 <= (asked - begin) / SECOND_NS - 120 <= 27


def test_window_of_one_venue_is_none_of_another():
    assert upkeep("10:00-10:30").down(at("10:15:00"))
    assert not upkeep().down(at("10:15:00"))


# Budgets.


def test_hour_has_room_for_its_count_and_then_in_order():
    hour = HourBudget(3)
    assert [hour.reserve(n * SECOND_NS) for n in range(3)] == [0, 0, 0]
    now = 10 * SECOND_NS
    assert hour.left(now) == 0
    # The first place comes free an hour after the first request, the next a second later.
    waits = [hour.reserve(now) for _ in range(4)]
    first = HOUR_NS - 10 * SECOND_NS
    assert waits == [first, first + SECOND_NS, first + 2 * SECOND_NS, first + HOUR_NS]


def test_hour_never_holds_more_than_its_count():
    rng, hour, sent, now = random.Random(3), HourBudget(5), [], 0
    for _ in range(200):
        now += rng.randrange(0, HOUR_NS // 3)
        sent.append(now + hour.reserve(now))
    assert sent == sorted(sent)
    assert max(sum(t <= s < t + HOUR_NS for s in sent) for t in sent) == 5


def test_hour_comes_back_and_without_a_count_has_no_end():
    hour = HourBudget(2)
    assert (hour.reserve(0), hour.reserve(0), hour.left(HOUR_NS - 1)) == (0, 0, 0)
    assert hour.left(HOUR_NS) == 2
    endless = HourBudget()
    assert {endless.reserve(0) for _ in range(1000)} == {0}
    assert endless.left(0) == float("inf")


def test_reserve_of_connects_is_left_by_those_who_must_and_granted_to_others():
    time = HandTime()
    budget = ConnectBudget(None, time, 5, 100.0)
    assert [budget.take("a", 2) for _ in range(3)] == [0, 0, 0]
    assert budget.take("a", 2) == 100 * SECOND_NS
    assert [budget.take("a") for _ in range(2)] == [0, 0]
    assert budget.take("a") == 100 * SECOND_NS
    time.advance(100)
    assert budget.take("a", 2) == 0


def test_reserve_never_takes_the_last_connect_of_a_small_budget():
    budget = ConnectBudget(None, HandTime(), 2, 100.0)
    assert budget.take("a", 4) == 0
    assert budget.take("a", 4) > 0


def test_day_has_its_length():
    assert at("00:00:00", 27) - at("00:00:00", 26) == DAY_NS
