"""Sums over the members of groups, against sums worked by hand."""

import numpy as np
import pytest

from kernels import columns as c
from kernels.cpu.group import group_sums
from scanner.state import State

NOW_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
UNIT = 1 << 20
EXPIRY, UNDERLYING = 0, 1  # the groups of every member here


def summed(members: list[dict[str, float]]) -> np.ndarray:
    """Sums of both groups, in units: members, strength, observed now, pressure, with pressure."""
    state = State(len(members), 1, 1)
    col = state.columns
    for i, member in enumerate(members):
        col.u8[c.SCORED, i] = col.u8[c.IS_OPTION, i] = 1
        col.i64[c.OBSERVED_NS, i] = NOW_NS - int(member.get("age_s", 0) * SECOND)
        col.i32[c.EXPIRY_GROUP, i], col.i32[c.UNDERLYING_GROUP, i] = EXPIRY, UNDERLYING
        col.f32[c.DELTA, i] = member.get("delta", np.nan)
        col.f32[c.PRESSURE, i] = member.get("pressure", np.nan)
        state.scores.p[0, i] = member["p"]
    sums = np.full((5, 2), -7, np.int64)
    group_sums(len(members), NOW_NS, 60 * SECOND, col, state.scores, sums, np.zeros(2, np.int64))
    assert sums[:, EXPIRY].tolist() == sums[:, UNDERLYING].tolist()
    return sums[:, EXPIRY] / np.array([1, UNIT, 1, UNIT, 1])


def test_pressure_on_a_put_speaks_of_the_underlying_with_the_other_sign():
    call = {"p": 0.1, "delta": 0.4, "pressure": 2.0}
    put = {"p": 0.1, "delta": -0.6, "pressure": 0.5}
    assert summed([call, put])[3:].tolist() == [1.5, 2]
    assert summed([put, put])[3:].tolist() == [-1.0, 2]


def test_pressure_is_clipped_and_an_unknown_one_is_no_member_of_the_mean():
    huge = {"p": 0.1, "delta": 0.4, "pressure": 400.0}
    silent = {"p": 0.1, "delta": 0.4}
    assert summed([huge, silent])[3:].tolist() == [10.0, 1]


def test_strength_is_clipped_at_four_and_old_members_are_left_out():
    fresh, older, gone = {"p": 1e-2}, {"p": 1e-7, "age_s": 59}, {"p": 1e-7, "age_s": 60}
    members, strength, now = summed([fresh, older, gone])[:3]
    assert (members, now) == (2, 1)
    assert strength == pytest.approx(2 + 4, abs=1e-5)
