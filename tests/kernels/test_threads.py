"""Shares of a launch shape: every row once, the bytes of one thread, no error lost."""

import os
import threading
from unittest import mock

import numpy as np
import pytest

from feeds.emulator.rows import simulate_rows
from kernels import columns as c
from kernels.device import PARALLEL_ROWS_MIN, open_device
from kernels.threads import Threads, is_striped, share
from scanner import Scanner

START_NS = 1_767_787_200_000_000_000


def scanned(threads):
    """What a State holds and the last scan says after five simulated seconds."""
    with mock.patch.dict(PARALLEL_ROWS_MIN, dict.fromkeys(PARALLEL_ROWS_MIN, 0)):
        scanner = Scanner(device=open_device("cpu", threads))
        simulation = simulate_rows(5, START_NS, 5, 300)
        scanner.add(simulation.listings)
        for now_ns, rows, tickers in simulation:
            scanner.apply(rows, tickers)
            result = scanner.scan(now_ns)
        state = scanner.state
        held = [*state.columns, *state.scores, *state.common, *state.books]
        held += [result.metrics[name] for name in result.metrics]
    return [array.tobytes() for array in held], scanner.row_counts(), state.per_thread.counters


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads_leaves_the_bytes_of_one(threads):
    held, row_counts, _ = scanned(threads)
    expected, expected_counts, _ = scanned(1)
    assert held == expected
    assert row_counts == expected_counts


def test_each_stripe_counts_the_rows_it_applied_for_itself():
    # Counts that two threads added to one place would be lost now and then, and seldom be seen.
    *_, counters = scanned(2)
    _, row_counts, _ = scanned(1)
    applied = counters[:, c.ROWS_APPLIED]
    assert (applied > 0).all()
    assert applied.sum() == row_counts["rows_applied"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 1001])
def test_shares_follow_one_another_and_differ_by_one_row_at_most(count):
    for stripes in (1, 2, 3, 7):
        shares = [share(stripe, stripes, count) for stripe in range(stripes)]
        assert [row for ends in shares for row in range(*ends)] == list(range(count))
        sizes = [stop - first for first, stop in shares]
        assert max(sizes) - min(sizes) <= 1


def test_every_stripe_runs_once_and_the_first_on_the_callers_thread():
    ran = {}

    def note(stripe, stripes, word):
        ran[stripe] = (stripes, word, threading.get_ident())

    Threads(3).run(note, 3, "word")
    assert sorted(ran) == [0, 1, 2]
    assert {(stripes, word) for stripes, word, _ in ran.values()} == {(3, "word")}
    assert ran[0][2] == threading.get_ident()
    assert threading.get_ident() not in {ran[1][2], ran[2][2]}


def test_one_stripe_starts_no_thread():
    before = threading.active_count()
    counts = []
    Threads(4).run(lambda *_: counts.append(threading.active_count()), 1)
    assert counts == [before]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_a_stripe_is_raised_after_all_have_ended(failing):
    ended = np.zeros(2, np.bool_)

    def fail(stripe, _):
        if stripe == failing:
            raise OSError(f"stripe {stripe}")
        ended[stripe] = True

    with pytest.raises(OSError, match=f"stripe {failing}"):
        Threads(2).run(fail, 2)
    assert ended[1 - failing]


def test_a_device_uses_the_cores_it_may_run_on():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with mock.patch.object(os, "cpu_count", return_value=999):
        assert open_device("cpu").threads == cores
    assert open_device("cpu", 3).threads == 3


def test_a_shape_with_stripes_is_known_by_its_parameters():
    assert is_striped(lambda stripe, stripes, rows: (stripe, stripes, rows))
    assert not is_striped(lambda rows, stripe, stripes: (stripe, stripes, rows))
