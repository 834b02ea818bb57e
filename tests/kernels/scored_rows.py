"""Columns of listings in every condition that scoring knows, and the scan of them row by row."""

import numpy as np

from kernels import columns as c
from kernels.compile import compiled
from kernels.rows.score import visit_row
from scanner.state import State, empty_marks

SECOND = 1_000_000_000
NOW_NS = 1_767_787_200 * SECOND
GAPS_S = (0.5, 1, 2, 4, 9, 15, 40, 60, 300, 40_000)  # both sides of every stratum's edge
FLAWS = (c.NO_BID, c.NO_ASK, c.LOCKED, c.CROSSED, c.ZERO_SIZE, c.EXPIRED, c.GAP, c.SETTLING,
         c.TRUNCATED, c.NO_STATE, c.NO_BID | c.NO_ASK)  # fmt: skip


def by_rows(ids, now_ns, columns, books, scores, common, marks):
    for r in range(ids.size):
        visit_row(r, np.int64(ids[r]), now_ns, columns, books, scores, common, marks)


def observe_by_rows(ids, now_ns, state):
    """Score fresh rows one by one; returns the marks they leave."""
    marks = empty_marks(max(1, len(ids)))
    compiled(by_rows)(
        ids, now_ns, state.columns, state.books, state.scores, state.common, marks
    )  # fmt: skip
    return marks


def random_state(count, seed, *, flaws=0.0, holes=0.0, deep=0.0, first=0.0, prior=False):
    """State of `count` listings before a scan at NOW_NS.

    flaws: share of rows that are not regular. holes: share of numbers that are NaN, infinite or 0.
    deep: share of rows with a book. first: share of rows never observed. prior: there is one.
    """
    rng = np.random.default_rng(seed)
    state = State(max(1, count), max(1, count), 2)
    _listings(state, count, rng, flaws, first)
    _numbers(state, count, rng, holes)
    _tables(state, rng, prior=prior)
    for i in np.flatnonzero(rng.random(count) < deep):
        _book(state, int(i), rng)
    return state


def _listings(state, n, rng, flaws, first):
    col = state.columns
    bid = rng.integers(-3, 400, n)
    col.i32[c.BID, :n], col.i32[c.ASK, :n] = bid, bid + rng.choice([1, 2, 3, 50], n)
    col.validity[:n] = np.where(rng.random(n) < flaws, rng.choice(FLAWS, n), 0)
    col.u8[c.FRESH, :n] = 1
    col.u8[c.HAS_STATE, :n] = 1
    col.u8[c.SCORED, :n] = rng.integers(0, 2, n)
    col.u8[c.IS_OPTION, :n] = rng.random(n) < 0.8
    col.u8[c.IS_INVERSE, :n] = rng.random(n) < 0.5
    col.i32[c.MID2_OBSERVED, :n] = 2 * bid + rng.integers(-4, 5, n)
    col.i32[c.OWN_COUNT, :n] = rng.integers(0, 60, n)
    gap = rng.choice(GAPS_S, n) * SECOND
    col.i64[c.OBSERVED_NS, :n] = np.where(rng.random(n) < first, c.NEVER, NOW_NS - gap)
    for word in (c.UPDATE_NS, c.OFI_NS):
        col.i64[word, :n] = NOW_NS - rng.integers(-SECOND, 600 * SECOND, n)
    forward = rng.integers(900_000_000, 1_100_000_000, n)
    before = forward + rng.integers(-3_000_000, 3_000_000, n)
    col.i64[c.FORWARD_E6, :n] = np.where(rng.random(n) < 0.05, c.NO_FORWARD, forward)
    col.i64[c.FORWARD_BEFORE_E6, :n] = np.where(rng.random(n) < 0.05, c.NO_FORWARD, before)
    left_s = rng.choice([-1, 0, 60, 3600, 86_400], n, p=[0.05, 0.05, 0.1, 0.4, 0.4])
    col.i64[c.EXPIRY_NS, :n] = np.where(rng.random(n) < 0.1, 0, NOW_NS + left_s * SECOND)
    col.i64[c.SETTLE_WINDOW_NS, :n] = rng.choice([0, 1800 * SECOND], n)


def _numbers(state, n, rng, holes):
    """Fill every float32 column and the baselines; some numbers are none."""
    col, base = state.columns, state.scores.baseline
    col.f32[:, :n] = np.exp2(rng.uniform(-6, 8, (c.F32_COUNT, n)))
    col.f32[c.DELTA, :n] = rng.uniform(-1, 1, n)
    col.f32[c.PRICE_PER, :n] = rng.choice([1, 10], n)
    base[..., :n] = rng.normal(0, 1, base[..., :n].shape)
    for word in (c.VARIANCE, c.SMOOTHED_VARIANCE):
        base[word, :, :n] = rng.choice([0, 0.01, 1, 40], (c.FEATURE_COUNT, n))
    for word in (c.COUNT, c.SMOOTHED_COUNT):
        base[word, :, :n] = rng.choice([0, 1, 29, 30, 31, 49, 50, 51, 9000], (c.FEATURE_COUNT, n))
    for numbers in (col.f32, base):
        bad = rng.random(numbers.shape) < holes
        numbers[bad] = rng.choice([np.nan, np.inf, 0], int(bad.sum()))
    whole = base[c.COUNT]  # A count is always a number.
    whole[~np.isfinite(whole)] = 30
    whole = base[c.SMOOTHED_COUNT]
    whole[~np.isfinite(whole)] = 30


def _tables(state, rng, *, prior):
    common, ref = state.common, state.reference
    ref.hour = NOW_NS // (3600 * SECOND)
    for total, above in ((ref.total_1, common.above_1), (ref.total_2, common.above_2)):
        filled = rng.random(total.shape[:2]) < 0.9
        last = rng.integers(1, total.shape[-1], total.shape[:2])
        inside = np.arange(total.shape[-1]) < last[..., None]
        total[:] = np.where(inside & filled[..., None], rng.integers(0, 1000, total.shape), 0)
        above[:] = np.cumsum(total[..., ::-1], axis=-1)[..., ::-1]
    common.scale[:] = rng.uniform(0.2, 2, common.scale.shape)
    if prior:
        common.prior[0] = rng.normal(0, 1, common.prior[0].shape)
        common.prior[1] = rng.uniform(0, 2, common.prior[1].shape)
        common.prior[:, :, 2] = np.nan  # One feature has none.


def _book(state, i, rng):
    state.slot_for(i)
    slot = state.columns.i32[c.SLOT, i]
    books = state.books
    for side, touch, step in ((0, c.BID, -1), (1, c.ASK, 1)):
        levels = int(rng.choice([0, 1, 2, 9, 10, 11, c.LEVELS_KEPT]))
        gaps = np.cumsum(rng.integers(1, 4, c.LEVELS_KEPT)) - 1
        books.price[slot, side] = state.columns.i32[touch, i] + step * gaps
        books.size[slot, side] = np.round(rng.uniform(0.1, 50, c.LEVELS_KEPT), 1)
        books.levels[slot, side] = levels
