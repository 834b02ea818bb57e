"""The connect budget holds over restarts, damage, full disks and clock steps."""

import random
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.budget import SECOND_NS, ConnectBudget, TokenBucket, backoff_s

START_NS = 1_700_000_000 * SECOND_NS
HOST = "www.example.org"


@dataclass
class HandClock:
    ns: int = START_NS

    def now_ns(self) -> int:
        return self.ns

    def pass_s(self, seconds: float) -> None:
        self.ns += round(seconds * SECOND_NS)


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def path(tmp_path: Path):
    return tmp_path / "budget.json"


def grants(budget: ConnectBudget, times: int, host: str = HOST) -> int:
    return sum(budget.take(host) == 0 for _ in range(times))


def test_window_grants_its_number_and_says_when_the_next_is_due(clock, path):
    budget = ConnectBudget(path, clock, connects=3, window_s=60)
    for _ in range(3):
        assert budget.take(HOST) == 0
        clock.pass_s(10)
    assert budget.take(HOST) == 30 * SECOND_NS  # The first was 30 s ago.
    clock.pass_s(30)
    assert budget.take(HOST) == 0
    assert budget.take(HOST) == 10 * SECOND_NS
    assert (budget.counts.granted, budget.counts.refused) == (4, 2)


def test_hosts_have_budgets_of_their_own(clock, path):
    budget = ConnectBudget(path, clock, connects=2, window_s=60)
    assert grants(budget, 5, "a") == 2
    assert grants(budget, 5, "b") == 2


def test_crash_loop_stays_inside_the_budget(clock, path):
    granted = 0
    for _ in range(100):
        granted += grants(ConnectBudget(path, clock, connects=5, window_s=300), 1)
        clock.pass_s(1)
    assert granted == 5


def test_two_processes_share_one_budget(clock, path):
    one = ConnectBudget(path, clock, connects=4, window_s=60)
    other = ConnectBudget(path, clock, connects=4, window_s=60)
    assert sum(budget.take(HOST) == 0 for _ in range(4) for budget in (one, other)) == 4


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"version":9,"hosts":{}}',
        b'{"version":1,"hosts":{"a":[1.5]}}',
    ],
)
def test_damaged_file_counts_as_half_spent_once(clock, path, damage):
    path.write_bytes(damage)
    budget = ConnectBudget(path, clock, connects=10, window_s=60)
    assert grants(budget, 20) == 5
    assert grants(budget, 20, "another host") == 5
    assert budget.counts.damaged == 1
    clock.pass_s(60)
    assert grants(budget, 20) == 10


def test_damage_is_repaired_so_that_a_restart_sees_what_was_spent(clock, path):
    path.write_bytes(b"rubbish")
    assert grants(ConnectBudget(path, clock, connects=10, window_s=60), 3) == 3
    after = ConnectBudget(path, clock, connects=10, window_s=60)
    assert grants(after, 20) == 2
    assert after.counts.damaged == 0


def test_unwritable_file_spaces_connections_even_in_a_crash_loop(clock, path):
    path.mkdir()  # Neither readable nor replaceable, also for a privileged user.
    granted = []
    for _ in range(3):
        budget = ConnectBudget(path, clock, connects=6, window_s=60)
        for _ in range(15):
            if budget.take(HOST) == 0:
                granted.append((clock.ns - START_NS) // SECOND_NS)
            clock.pass_s(1)
    # Each process waits 60 / 6 = 10 s first, then 10 s between; none lives for 20 s.
    assert granted == [10, 25, 40]
    assert budget.counts.unsaved > 0
    assert budget.counts.damaged == 1


def test_unwritable_file_never_stops_connections_for_good(clock, path):
    path.mkdir()
    budget = ConnectBudget(path, clock, connects=2, window_s=60)
    waits = []
    for _ in range(6):
        waits.append(budget.take(HOST))
        clock.ns += waits[-1]
    assert waits.count(0) == 3
    assert sum(waits) <= 120 * SECOND_NS


def test_stamps_from_the_future_age_from_now(clock, path):
    grants(ConnectBudget(path, clock, connects=2, window_s=60), 2)
    clock.pass_s(-86_400)
    budget = ConnectBudget(path, clock, connects=2, window_s=60)
    assert budget.take(HOST) == 60 * SECOND_NS
    assert budget.counts.stepped == 2
    clock.pass_s(60)
    assert grants(budget, 3) == 2


def test_stamp_is_on_disk_before_the_connection_is_granted(clock, path):
    ConnectBudget(path, clock, connects=2, window_s=60).take(HOST)
    assert msgspec.json.decode(path.read_bytes()) == {"version": 1, "hosts": {HOST: [START_NS]}}


def test_budget_without_a_file_counts_in_memory(clock):
    assert grants(ConnectBudget(None, clock, connects=3, window_s=1), 9) == 3


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=60),
    st.integers(1, 5),
    st.booleans(),
)
def test_no_window_ever_holds_more_than_the_budget(tmp_path_factory, gaps_s, connects, restarts):
    clock = HandClock()
    path = tmp_path_factory.mktemp("budget") / "b.json"
    budget = ConnectBudget(path, clock, connects, window_s=60)
    granted = []
    for gap_s in gaps_s:
        clock.pass_s(gap_s)
        if restarts:
            budget = ConnectBudget(path, clock, connects, window_s=60)
        if budget.take(HOST) == 0:
            granted.append(clock.ns)
    for first in granted:
        assert sum(first <= stamp < first + 60 * SECOND_NS for stamp in granted) <= connects


def test_bucket_gives_its_burst_and_then_its_rate():
    bucket = TokenBucket(per_s=4, burst=3)
    waits = [bucket.reserve(START_NS) for _ in range(5)]
    assert waits == [0, 0, 0, SECOND_NS // 4, SECOND_NS // 2]


def test_bucket_saves_no_more_than_its_burst():
    bucket = TokenBucket(per_s=10, burst=2)
    for _ in range(2):
        bucket.reserve(START_NS)
    later_ns = START_NS + 3600 * SECOND_NS
    assert [bucket.reserve(later_ns) for _ in range(3)] == [0, 0, SECOND_NS // 10]


def test_backoff_stays_under_its_doubling_roof_and_its_cap():
    rng = random.Random(7)
    roofs = [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    for attempt, roof in enumerate(roofs):
        delays = [backoff_s(rng, attempt, 0.5, 5.0) for _ in range(200)]
        assert 0 <= min(delays) < 0.1 * roof
        assert 0.9 * roof < max(delays) <= roof
    assert backoff_s(rng, 10_000, 0.5, 5.0) <= 5.0
