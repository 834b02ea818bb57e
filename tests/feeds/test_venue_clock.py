"""A venue's clock against ours: offset and lag from receive and venue times."""

import math
import random

import numpy as np
import pytest

from feeds.venue_clock import BUCKET_NS, BUCKETS, FUTURE_NS_MAX, VenueClock

MS = 1_000_000
T0 = 1_700_000_000 * 10**9


def ints(*values):
    return np.array(values, np.int64)


def clock_of(*rows):
    """A clock that saw rows of (receive time, how far behind it the venue's time is), ns."""
    clock = VenueClock()
    for rx_ns, behind_ns in rows:
        clock.observe(ints(rx_ns), ints(rx_ns - behind_ns))
    return clock


def test_nothing_is_known_before_a_row_has_a_venue_time():
    clock = VenueClock()
    assert not clock.observe(ints(T0), ints(0))
    assert not clock.observe(ints(), ints())
    assert math.isnan(clock.offset_ns)
    assert math.isnan(clock.lag_ns)


@pytest.mark.parametrize("offset_ms", [-3_600, -130, 0, 42, 5_000])
def test_offset_is_the_least_and_lag_what_is_above_it_whatever_the_clocks(offset_ms):
    clock = VenueClock()
    rx_ns = T0 + np.arange(5, dtype=np.int64) * 100 * MS
    behind = (np.array([7, 3, 30, 3, 9]) + offset_ms) * MS
    assert clock.observe(rx_ns, rx_ns - behind)
    assert clock.offset_ns == (3 + offset_ms) * MS
    assert clock.lag_ns == 4 * MS  # Median 7 above 3.


def test_lag_is_that_of_the_last_call_against_all_that_was_seen():
    clock = clock_of((T0, 20 * MS), (T0 + 1, 170 * MS))
    assert (clock.offset_ns, clock.lag_ns) == (20 * MS, 150 * MS)


def test_lag_of_an_even_number_of_rows_is_the_middle_of_the_middle_two():
    clock = VenueClock()
    rx_ns = T0 + np.arange(4, dtype=np.int64)
    clock.observe(rx_ns, rx_ns - np.array([9, 1, 5, 4]) * MS)
    assert clock.lag_ns == 3.5 * MS  # 4.5 above 1.


def test_a_row_that_is_refused_takes_no_other_into_its_bucket():
    clock = VenueClock()
    rx_ns = T0 + np.array([0, BUCKET_NS * BUCKETS, BUCKET_NS * BUCKETS + 1])
    behind = ints(-FUTURE_NS_MAX - 1, 8 * MS, 9 * MS)
    assert clock.observe(rx_ns, rx_ns - behind)
    assert (clock.offset_ns, clock.refused) == (8 * MS, 1)


def test_lag_is_never_negative_when_the_clock_steps_forward():
    clock = clock_of((T0, 20 * MS), (T0 + 1, -900 * MS))
    assert (clock.offset_ns, clock.lag_ns) == (-900 * MS, 0)


def test_offset_forgets_what_left_the_window():
    window_ns = BUCKET_NS * BUCKETS
    early, late = (T0, 5 * MS), (T0 + window_ns - BUCKET_NS, 50 * MS)
    assert clock_of(early, late).offset_ns == 5 * MS
    assert clock_of(early, (T0 + window_ns, 50 * MS)).offset_ns == 50 * MS


def test_venue_time_far_in_the_future_sets_nothing_and_is_counted():
    clock = clock_of((T0, 10 * MS), (T0 + 1, -FUTURE_NS_MAX - 1))
    assert (clock.offset_ns, clock.refused) == (10 * MS, 1)
    assert clock_of((T0, -FUTURE_NS_MAX)).offset_ns == -FUTURE_NS_MAX


def test_old_snapshot_is_lag_and_no_offset():
    clock = clock_of((T0, 10 * MS), (T0 + 1, 3_600 * 10**9))
    assert clock.offset_ns == 10 * MS


@pytest.mark.parametrize("seed", range(5))
def test_cuts_change_no_offset_and_it_is_that_of_a_plain_minimum(seed):
    rng = random.Random(seed)
    rx_ns = T0 + np.cumsum([rng.randrange(BUCKET_NS // 4) for _ in range(600)]).astype(np.int64)
    behind = np.array([rng.randrange(-500, 500) * MS for _ in rx_ns], np.int64)
    whole, cut = VenueClock(), VenueClock()
    whole.observe(rx_ns, rx_ns - behind)
    at = 0
    while at < len(rx_ns):
        step = rng.randrange(1, 40)
        cut.observe(rx_ns[at : at + step], (rx_ns - behind)[at : at + step])
        at += step
    window = rx_ns // BUCKET_NS > rx_ns[-1] // BUCKET_NS - BUCKETS
    assert whole.offset_ns == cut.offset_ns == behind[window].min(), f"seed {seed}"
