"""Every kernel has the bits of its twin on the CPU, at every size and in any company."""

import numpy as np
import pytest

from kernels import columns as c
from kernels.arrays import padded
from kernels.gpu import histogram, median, rank, words
from kernels.rows.group import SUM_COUNT
from tests.gpu.batches import Rows, middle_of, tickers_of
from tests.gpu.cases import (
    KINDS_OF_KEYS,
    book_given_back,
    first_book,
    full_sides,
    keys_of,
    marked,
    of_rows,
    summed,
    to_apply,
    to_rank,
    updates_of,
    with_books,
)
from tests.gpu.worlds import GROUPS, NOW_NS, empty_world, random_bits, words_of, world

pytest.importorskip("numba_cuda", reason="make gpu-check installs the CUDA packages")
pytestmark = pytest.mark.gpu_check

from kernels.compile_cuda import KERNELS  # noqa: E402 - after the skip
from tests.gpu.emulated import kernel  # noqa: E402
from tests.gpu.reach import OUT_OF_REACH, unreached_effects  # noqa: E402
from tests.gpu.twins import check  # noqa: E402

ROWS = (0, 1, 31, 32, 33, 127, 128, 129, 1000)
CASES: dict[str, set[str]] = {}  # Kernel to the tests that hold it.


def holds(*kernels):
    """Note which kernels a test holds to their twins."""

    def noted(test):
        for name in kernels:
            CASES.setdefault(name, set()).add(test.__name__)
        return test

    return noted


def exact(rows, threads=128):
    """As many blocks as the product would launch."""
    return max(1, -(-rows // threads)), threads


def strided(rows):
    """One block, whose threads go round the rows."""
    return 1, (128 if rows > 500 else 32)


def test_every_kernel_has_a_case():
    assert set(CASES) == set(KERNELS)


def test_every_effect_of_every_kernel_was_reached(reached, pytestconfig):
    """Runs last (conftest); an effect that no case had is a case that is missing."""
    if pytestconfig.option.keyword or any("::" in argument for argument in pytestconfig.args):
        pytest.skip("only some of the cases were run")
    reached.update({name: kernel(name) for name in KERNELS})
    for name, one in reached.items():
        allowed, _ = OUT_OF_REACH.get(name, (0, ""))
        missed = unreached_effects(one)
        assert len(missed) <= allowed, (name, missed)


# One thread a row.


BY_ROW = ("expire", "activity", "metrics", "observe", "group_sums")


@holds(*BY_ROW)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", BY_ROW)
def test_ailing_rows_side_by_side(name, rows):
    check(name, of_rows(name, world(rows), rows, 0), *exact(rows))
    if rows in (33, 1000):
        check(name, of_rows(name, world(rows, 1), rows, 1), *strided(rows))


@pytest.mark.parametrize("name", BY_ROW)
def test_rows_that_were_never_heard_of(name):
    check(name, of_rows(name, empty_world(33), 33, 2), *exact(33))


@pytest.mark.parametrize("name", BY_ROW)
def test_rows_of_the_market_itself(name):
    made = world(129, ailing=False)
    made["columns"].u8[c.FRESH] = 1
    check(name, of_rows(name, made, 129, 3), *exact(129))
    made["columns"].f32[c.VEGA] *= 10  # So that all of a book is near its mid.
    check(name, of_rows(name, made, 129, 4), *exact(129))


# Groups.


@holds("group_scores")
@pytest.mark.parametrize("groups", [0, 1, 63, 64, 65, GROUPS])
def test_groups_of_few_members_or_none_now_hold(groups):
    for members_min in (1, 8):
        made = summed(1)
        made["tick"] = words_of(1, group_count=groups, members_min=members_min)
        check("group_scores", made, 1, 64)
    check("group_scores", made, 3, 64)


# Ranking.


@holds("block_top_k")
@pytest.mark.parametrize("rows", ROWS)
def test_the_best_of_all_rows_however_many_are_wanted(rows):
    for blocks, k in ((1, 50), (2, 1), (3, 256)):
        made = to_rank(rows, blocks)
        made["tick"] = words_of(rows, top_k=k)
        check("block_top_k", made, (blocks, c.LIST_COUNT), rank.THREADS)


@pytest.mark.parametrize("kind", KINDS_OF_KEYS)
@pytest.mark.parametrize("k", [1, 50, 256])
def test_the_best_of_more_rows_than_a_buffer_holds(kind, k):
    made = to_rank(1024, 1, kind)
    made["columns"].i64[c.OBSERVED_NS] = NOW_NS  # All are within the hold time.
    made["tick"] = words_of(1024, top_k=k)
    check("block_top_k", made, (1, c.LIST_COUNT), rank.THREADS)


def test_a_row_seen_just_when_the_hold_time_began_has_a_rank():
    made = to_rank(128, 1)
    made["tick"] = words_of(128, top_k=256)
    edge = made["tick"][words.HOLD_AFTER_NS]
    made["columns"].i64[c.OBSERVED_NS, :128] = edge + np.resize([-1, 0, 1], 128)
    check("block_top_k", made, (1, c.LIST_COUNT), rank.THREADS)


@holds("top_k")
@pytest.mark.parametrize("kind", KINDS_OF_KEYS)
@pytest.mark.parametrize("k", [1, 50, 256])
def test_the_best_of_the_best_of_all_blocks(kind, k):
    for blocks in (1, 5):
        made = to_rank(1, blocks)
        shape = (c.LIST_COUNT, blocks * rank.K_MAX)
        keys = keys_of(kind, shape, np.random.default_rng(k))
        keys[:, ::7] = 0
        made["ranking"] = made["ranking"]._replace(block_best=keys)
        made["tick"] = words_of(1, top_k=k)
        check("top_k", made, c.LIST_COUNT, rank.THREADS)


# Medians.


@holds("segment_median_mad")
@pytest.mark.parametrize("seed", range(3))
def test_every_segment_has_its_median_and_deviation(seed):
    rng = np.random.default_rng(seed)
    sizes = [*ROWS, 2, 3, 0, 513, 5, 7]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    values = rng.normal(0, 3, start[-1]).astype(np.float32)
    odd = np.float32([0, -0.0, np.nan, np.inf, -np.inf, 1, 1, 1, 3e38, -3e38, 1e-40])
    values = np.where(rng.random(start[-1]) < 0.3 * seed, rng.choice(odd, start[-1]), values)
    values[start[4] : start[5]] = np.nan if seed else 2.5
    made = {"values": values, "start": start}
    made |= {name: random_bits(len(sizes), rng) for name in ("median", "mad")}
    check("segment_median_mad", made, 3, median.THREADS)


# Rollups.


@holds("rollup")
@pytest.mark.parametrize("rows", ROWS)
def test_every_group_is_rolled_up(rows):
    made, rng = world(rows), np.random.default_rng(rows)
    groups = max(1, rows // 7)
    made["group"] = rng.integers(-1, groups, padded(max(rows, 1))).astype(np.int32)
    made["group"][: rows // 2] = 0  # Many rows in one group.
    made["sums"] = np.zeros((SUM_COUNT, groups), np.int64)
    made["best"] = np.zeros((c.LIST_COUNT, groups), np.uint64)
    check("rollup", made, 2, 64)


# Histograms.


@holds("count_marks")
@pytest.mark.parametrize("rows", ROWS)
def test_counts_of_the_rows_that_enter_a_histogram(rows):
    for blocks in (1, 2) if rows in (33, 1000) else (1,):
        check("count_marks", marked(rows), (blocks, histogram.COLUMN_COUNT), histogram.THREADS)


@pytest.mark.parametrize("stratum", range(-2, c.STRATUM_COUNT))
def test_counts_where_all_rows_are_of_one_stratum(stratum):
    made = marked(128)
    made["marks"].stratum[:] = stratum
    made["marks"].bin_1[:, ::2] = -1
    check("count_marks", made, (1, histogram.COLUMN_COUNT), histogram.THREADS)


@holds("cumulate")
@pytest.mark.parametrize("seed", [0, 1])
def test_tables_are_summed_from_their_ends_and_scales_folded(seed):
    made = world(33, seed)
    check("cumulate", made, histogram.TABLE_ROWS, histogram.THREADS)


# Tickers.


@holds("apply_tickers")
@pytest.mark.parametrize("count", ROWS)
def test_the_tickers_of_so_many_listings(count):
    made, rng = world(max(count, 1)), np.random.default_rng(count)
    made["tick"] = words_of(count, ticker_segments=count)
    made["tickers"] = tickers_of(rng.permutation(count), count)
    check("apply_tickers", made, *exact(count))
    if count in (33, 1000):
        check("apply_tickers", made, *strided(count))


# Rows.


@holds("apply")
@pytest.mark.parametrize("count", ROWS)
def test_updates_of_every_kind_for_so_many_listings(count):
    made = with_books(world(max(count, 1)), count)
    order = np.random.default_rng(count).permutation(count).tolist()
    updates = {0: 0, 1: 40, 31: 12, 32: 4, 33: 4, 1000: 1}.get(count, 2)
    rows_of = {i: updates_of(made, i, updates, i) for i in order}
    blocks, threads = max(1, -(-count // 4)), 128
    check("apply", to_apply(rows_of, made, 4 * blocks), blocks, threads)


def test_one_busy_listing_among_quiet_ones():
    made = with_books(world(129))
    book = int(np.flatnonzero(made["columns"].u8[c.HAS_BOOK] != 0)[0])
    busy = Rows(1, middle_of(made, book))
    busy.snapshot(32)
    for _ in range(200):
        busy.delta(1)
    rows_of = {i: updates_of(made, i, 1, i) for i in range(20) if i != book}
    check("apply", to_apply(rows_of | {book: busy.rows}, made, 8), 2, 128)


def test_quotes_and_books_of_options_whose_drift_is_known():
    """Prices move beyond their drift and within it, on both sides of a coarser step."""
    made, rng = with_books(world(33, ailing=False)), np.random.default_rng(1)
    col = made["columns"]
    col.u8[c.IS_OPTION], col.i32[c.STEP], col.i64[c.FORWARD_E6] = 1, 3, 10**9
    for column in (c.DRIFT_BID, c.DRIFT_ASK, c.DELTA, c.THETA):
        col.f32[column] = rng.normal(0, 2, col.validity.size)
    rows_of = {}
    for i in range(33):
        middle = middle_of(made, i)
        col.i32[c.COARSE_FROM, i] = middle + rng.integers(-3, 4)
        rows = Rows(i, middle)
        for k in range(12):
            rows.middle = middle + int(rng.integers(-6, 7))
            begun = len(rows.rows)
            rows.snapshot(1 + k % 3) if col.u8[c.HAS_BOOK, i] else rows.quotes()
            rows.rows[begun:] = [
                (*row[:3], max(row[3], 1.0), *row[4:]) for row in rows.rows[begun:]
            ]
        rows_of[i] = rows.rows
    check("apply", to_apply(rows_of, made, 36), 9, 128)


def test_warps_that_go_round_the_grid():
    made = with_books(world(33))
    rows_of = {i: updates_of(made, i, 2, i) for i in range(33)}
    check("apply", to_apply(rows_of, made, 8), 2, 128)


def test_updates_for_listings_that_were_never_heard_of():
    made = empty_world(33)
    for array, value in zip(made["books"], (c.NO_PRICE, 0, 0, 0), strict=True):
        array[:] = value
    made["columns"].i32[c.SLOT, :20] = np.arange(20)
    rows_of = {i: updates_of(made, i, 4, i) for i in range(33)}
    check("apply", to_apply(rows_of, made, 36), 9, 128)


@pytest.mark.parametrize("before", ["quote", "state_change", "clear"])
def test_a_first_book_sees_what_one_lane_wrote_before_it(before):
    """The top, the state and the gap are written by one lane and read by all."""
    check("apply", first_book(before), 1, 32)


@pytest.mark.parametrize("level", [0, c.BOOK_GIVEN_BACK])
def test_quotes_after_a_gap_count_where_the_book_was_given_back(level):
    check("apply", book_given_back(level), 1, 32)


def test_a_side_is_filled_beyond_its_end_and_emptied():
    check("apply", full_sides(), 1, 128)
