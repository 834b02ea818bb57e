"""Passes over all listings beside plain numpy: expiry, fresh rows, best keys, strongest members."""

import numpy as np
import pytest

from kernels import columns as c
from kernels.cpu.expire import find_fresh
from kernels.cpu.group import group_sums, name_members
from kernels.cpu.histogram import count_blocks
from kernels.cpu.rank import top_k
from scanner.state import State, empty_blocks, empty_common
from tests.kernels.scored_rows import NOW_NS, SECOND, random_state

COUNTS = (0, 1, 63, 64, 65, 300)


@pytest.mark.parametrize("count", COUNTS)
def test_fresh_rows_are_found_after_the_clock_ended_some(count):
    state = random_state(count, 3, flaws=0.5)
    col = state.columns
    col.u8[c.FRESH, :count] = np.random.default_rng(4).random(count) < 0.1
    expiry, validity = col.i64[c.EXPIRY_NS, :count], col.validity[:count].copy()
    ends = (expiry != 0) & (expiry <= NOW_NS) & (validity & c.EXPIRED == 0)
    expected = np.flatnonzero(ends | (col.u8[c.FRESH, :count] != 0))
    ids, states = np.zeros(count + 1, np.uint32), np.zeros(2, np.int64)
    found = find_fresh(count, NOW_NS, col, ids, states)
    assert ids[:found].tolist() == expected.tolist()
    assert col.validity[:count].tolist() == (validity | np.where(ends, c.EXPIRED, 0)).tolist()
    known = validity & c.NO_STATE == 0
    one_sided = known & ((validity & c.NO_BID != 0) != (validity & c.NO_ASK != 0))
    assert states.tolist() == [known.sum(), one_sided.sum()]


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
@pytest.mark.parametrize("k", [1, 7, 50])
def test_best_keys_are_those_of_a_sort(count, k):
    rng = np.random.default_rng(count)
    keys = rng.permutation(count * 9)[:count].astype(np.uint64)  # Unique; 0 may be among them.
    observed_ns = NOW_NS - rng.integers(0, 600, count) * SECOND
    after_ns = NOW_NS - 300 * SECOND
    best = np.zeros(k, np.uint64)
    found = top_k(count, after_ns, keys, observed_ns, best)
    there = (keys > 0) & (observed_ns >= after_ns)
    assert best[:found].tolist() == sorted(keys[there].tolist(), reverse=True)[:k]


def grouped(count, groups_apart):
    """State with listings in 3 expiries of 2 underlyings, apart or mixed."""
    state = random_state(count, 9)
    rng = np.random.default_rng(count)
    col = state.columns
    of = np.sort(rng.integers(0, 3, count)) if groups_apart else rng.integers(0, 3, count)
    col.i32[c.EXPIRY_GROUP, :count] = of
    col.i32[c.UNDERLYING_GROUP, :count] = 3 + of // 2
    state.scores.p[0, :count] = rng.choice([0.5, 0.01, 0.001, 1e-6], count)
    state.scores.score[0, :count] = np.where(
        rng.random(count) < 0.1, np.nan, -np.log10(state.scores.p[0, :count])
    )
    return state, of


@pytest.mark.parametrize("apart", [True, False], ids=["apart", "mixed"])
@pytest.mark.parametrize("count", [1, 64, 500])
def test_group_sums_are_those_of_their_rows_one_by_one(count, apart):
    whole, _ = grouped(count, apart)
    sums, pooled = np.full((5, 5), -7, np.int64), np.zeros(2, np.int64)
    whole.columns.i64[c.OBSERVED_NS, : count // 3] = NOW_NS
    group_sums(count, NOW_NS, 60 * SECOND, whole.columns, whole.scores, sums, pooled)
    expected, pool = np.zeros((5, 5), np.int64), np.zeros(2, np.int64)
    for i in range(count):  # Each row alone, in the place of the first.
        one = State(1, 1, 1)
        for mine, theirs in zip(
            (*one.columns, *one.scores), (*whole.columns, *whole.scores), strict=True
        ):
            mine[..., 0] = theirs[..., i]
        alone = np.zeros((5, 5), np.int64)
        group_sums(1, NOW_NS, 60 * SECOND, one.columns, one.scores, alone, pool)
        expected += alone
    assert sums.tolist() == expected.tolist()
    assert pooled.tolist() == pool.tolist()
    assert expected[0].sum() > 0 or count == 1


@pytest.mark.parametrize("apart", [True, False], ids=["apart", "mixed"])
@pytest.mark.parametrize("count", [0, 1, 64, 500])
def test_members_named_are_the_strongest_then_the_first(count, apart):
    state, of = grouped(count, apart)
    col, score = state.columns, state.scores.score[0]
    after_ns = NOW_NS - 60 * SECOND
    wanted = np.array([True, False, True, True, False])
    named = np.full((5, 8), -1, np.int32)
    name_members(count, after_ns, 2.0, col, score, wanted, named)
    live = (col.u8[c.SCORED, :count] != 0) & (col.i64[c.OBSERVED_NS, :count] > after_ns)
    live &= (col.u8[c.IS_OPTION, :count] != 0) & (score[:count] > 2.0)
    for group in range(5):
        rows = np.flatnonzero(live & ((of == group) | (3 + of // 2 == group)))
        strongest = rows[np.lexsort((rows, -score[rows]))][:8].tolist() if wanted[group] else []
        assert named[group].tolist() == strongest + [-1] * (8 - len(strongest))


def test_counts_move_to_every_table_and_leave_nothing_behind():
    rng, blocks, common = np.random.default_rng(1), empty_blocks(2), empty_common()
    hours = [np.zeros(common.above_1.shape, np.int64), np.zeros(common.above_2.shape, np.int64)]
    totals = [rng.integers(0, 9, hour.shape) for hour in hours]
    before = [total.copy() for total in totals]
    added = [np.zeros_like(hour) for hour in hours]
    for total, above in zip(totals, (common.above_1, common.above_2), strict=True):
        above[:] = np.cumsum(total[..., ::-1], axis=-1)[..., ::-1]
    for thread in range(2):
        for s, last in ((0, 0), (3, 5), (4, 1023)):
            for table, lasts, sums in (
                (blocks.count_1, blocks.last_1, added[0]), (blocks.count_2, blocks.last_2, added[1])
            ):  # fmt: skip
                counts = rng.integers(0, 5, table[thread, s].shape)
                counts[..., last + 1 :] = 0
                table[thread, s] += counts.astype(np.int32)
                lasts[thread, s] = last
                sums[s] += counts
        blocks.fold_sum[thread, 3], blocks.fold_count[thread, 3] = 700, 2
    count_blocks(blocks, *hours, *totals, common)
    for hour, total, old, new in zip(hours, totals, before, added, strict=True):
        assert np.array_equal(hour, new)
        assert np.array_equal(total, old + new)
    for total, above in zip(totals, (common.above_1, common.above_2), strict=True):
        assert np.array_equal(above, np.cumsum(total[..., ::-1], axis=-1)[..., ::-1])
    assert common.fold_sum[3].tolist() == [1400] * 12
    assert common.fold_count.sum() == 4 * 12
    empty = empty_blocks(2)
    assert all(np.array_equal(a, b) for a, b in zip(blocks, empty, strict=True))
