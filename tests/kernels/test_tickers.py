"""Tickers and the drift of anchors, and the expiry of rows, against values worked by hand."""

import numpy as np
import pytest

from kernels import columns as c
from kernels.arrays import Tickers
from kernels.cpu.expire import find_fresh
from kernels.cpu.tickers import apply_tickers
from scanner.state import State

NOW_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
NAN = np.nan


def option(*, inverse: bool) -> State:
    """One option of 5,000 USD a tick (inverse: 0.1 coin), bid 2, ask 5 ticks, told at NOW."""
    state = State(1, 1, 1)
    col = state.columns
    col.u8[c.IS_OPTION, 0], col.u8[c.IS_INVERSE, 0] = 1, inverse
    col.f32[c.TICK, 0], col.f32[c.PRICE_PER, 0] = 0.1 if inverse else 5_000, 1
    col.i32[c.ANCHOR_BID, 0], col.i32[c.ANCHOR_ASK, 0] = 2, 5
    told(state, 0, forward=50_000, delta=0.4, theta=-864)
    col.f32[c.DRIFT_BID, 0] = col.f32[c.DRIFT_ASK, 0] = 0
    return state


def told(state: State, at_s: int, *, forward: float, delta: float, theta: float) -> list[float]:
    """Apply one ticker; gives both drifts."""
    value = np.full((1, len(c.TICKER_FIELDS)), np.nan, np.float32)
    value[0, c.TICKER_FIELDS.index("delta")] = delta
    value[0, c.TICKER_FIELDS.index("theta")] = theta
    forward_e6 = c.NO_FORWARD if np.isnan(forward) else round(forward * 1e6)
    tickers = Tickers(
        np.array([NOW_NS + at_s * SECOND]), np.array([forward_e6]), value,
        np.array([0], np.int32), np.array([0, 1]),
    )  # fmt: skip
    apply_tickers(0, 1, tickers, state.columns)
    return state.columns.f32[[c.DRIFT_BID, c.DRIFT_ASK], 0].tolist()


def test_both_drifts_of_a_linear_option_are_its_move_in_ticks():
    state = option(inverse=False)
    # (0.4 + 0.6)/2 x 400 USD - 864 USD a day for 100 s of it = 200 - 1.
    assert told(state, 100, forward=50_400, delta=0.6, theta=-864) == pytest.approx(
        [199 / 5000] * 2
    )


def test_each_side_of_an_inverse_option_drifts_by_its_own_price():
    state = option(inverse=True)
    # Worth 0.2 x 50,000 and 0.5 x 50,000 USD, plus 199; in coins at 50,400, less what they were.
    expected = [((10_000 + 199) / 50_400 - 0.2) / 0.1, ((25_000 + 199) / 50_400 - 0.5) / 0.1]
    assert expected[1] < 0.01 < expected[0]
    drifts = told(state, 100, forward=50_400, delta=0.6, theta=-864)
    assert drifts == pytest.approx(expected, rel=1e-4)
    # And back, without time: each price returns to its anchor, less the USD of theta.
    back = told(state, 100, forward=50_000, delta=0.4, theta=-864)
    assert back == pytest.approx([-1 / 50_000 / 0.1] * 2, abs=2e-5)


def test_what_a_ticker_leaves_out_is_held():
    state = option(inverse=False)
    assert told(state, 0, forward=50_100, delta=NAN, theta=NAN) == pytest.approx([40 / 5000] * 2)
    assert told(state, 0, forward=NAN, delta=0.6, theta=NAN) == pytest.approx([40 / 5000] * 2)
    assert state.columns.f32[[c.DELTA, c.THETA], 0].tolist() == pytest.approx([0.6, -864])
    assert state.columns.i64[c.FORWARD_E6, 0] == 50_100_000_000


@pytest.mark.parametrize(
    ("forward", "known"), [(50_500, True), (49_500, True), (50_501, False), (49_499, False)]
)
def test_a_jump_beyond_a_hundredth_of_the_forward_is_no_drift(forward, known):
    drifts = told(option(inverse=False), 1, forward=forward, delta=0.4, theta=-864)
    assert np.isnan(drifts).tolist() == [not known] * 2


def test_a_listing_expires_at_its_instant_and_not_before():
    state = State(2, 1, 1)
    state.columns.i64[c.EXPIRY_NS, :2] = NOW_NS, 0  # The second one never does.
    ids, states = np.empty(2, np.uint32), np.zeros(2, np.int64)
    find_fresh(2, NOW_NS - 1, state.columns, ids, states)
    assert not (state.columns.validity[:2] & c.EXPIRED).any()
    find_fresh(2, NOW_NS, state.columns, ids, states)
    assert (state.columns.validity[:2] & c.EXPIRED).tolist() == [c.EXPIRED, 0]
    assert state.columns.u8[c.FRESH, :2].tolist() == [1, 0]
