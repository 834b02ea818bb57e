"""Liquidity classes: quarters, their hysteresis, and when they are assigned."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels import columns as c
from scanner.engine import Scanner
from scanner.liquidity import classes_after
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings

NAN = np.nan


def after(activity: list[float], held: list[int] | None = None) -> list[int]:
    before = np.array(held or [0] * len(activity), np.uint8)
    return classes_after(np.array(activity, np.float32), before).tolist()


def test_the_first_assignment_is_by_quarters_and_ties_go_by_row():
    assert after([10, 20, 30, 40, 50, 60, 70, 80]) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert after([80, 70, 60, 50, 40, 30, 20, 10]) == [4, 4, 3, 3, 2, 2, 1, 1]
    assert after([5, 5, 5, 5]) == [1, 2, 3, 4]
    assert after([]) == []


def test_an_unranked_row_keeps_its_class():
    assert after([NAN, 1, 2, 3, 4, NAN], [3, 0, 0, 0, 0, 0]) == [3, 1, 2, 3, 4, 0]


def test_a_class_ends_a_twentieth_of_all_beyond_its_quarter():
    # Twenty ranked rows, a twentieth apart: r = position / 20.
    activity = list(range(20))
    assert after(activity, [2] * 20) == [
        1, 1, 1, 1,  # 0 to .15
        2, 2, 2, 2, 2, 2, 2,  # .20 = 1/4 - .05 is inside, and so is .50, below 1/2 + .05
        3, 3, 3, 3,  # .55 to .70
        4, 4, 4, 4, 4,
    ]  # fmt: skip


@given(st.lists(st.one_of(st.just(NAN), st.floats(0, 1e6, width=32)), max_size=40), st.data())
def test_classes_rise_with_activity_unless_hysteresis_holds_them(activity, data):
    held = data.draw(st.lists(st.integers(0, 4), min_size=len(activity), max_size=len(activity)))
    found = after(activity, held)
    for was, now, a in zip(held, found, activity, strict=True):
        assert now == was if np.isnan(a) else 1 <= now <= 4
    assert after(activity, found) == found  # The same ranking changes nothing again.


def test_classes_come_after_a_minute_and_then_every_ten():
    members = listings(8)
    scanner = Scanner()
    scanner.add(members)
    market = ToyMarket(members, 3)
    assigned = []
    for k in range(1, 1262, 10):
        scanner.state.columns.u8[c.LIQUIDITY] = 0
        t = START_NS + k * SECOND
        scanner.apply(*market.second(t))
        if np.isfinite(scanner.scan(t).metrics["liquidity_class"]).any():
            assigned.append(k)
    assert assigned == [61, 661, 1261]
