"""Blocks of rows beside the same rows one by one: not a bit of any output may differ."""

from unittest import mock

import numpy as np
import pytest

from kernels import columns as c
from kernels.device import PARALLEL_ROWS_MIN, open_device
from scanner.state import STAGE_2_BINS, Z_BINS
from tests.kernels.scored_rows import NOW_NS, observe_by_rows, random_state

SIZES = (0, 1, 31, 32, 33, 127, 128, 129, 1000)
MARKETS = {
    "regular": {},
    "with books": {"deep": 0.5},
    "irregular": {"flaws": 0.4, "first": 0.1},
    "full of holes": {"holes": 0.2, "deep": 0.2},
    "first observations": {"first": 1.0},
    "from a checkpoint": {"first": 0.3, "prior": True, "holes": 0.05},
    "one-sided": {"flaws": 1.0},
}


@pytest.fixture(scope="module", params=[1, 2], ids=["one thread", "two threads"])
def device(request):
    with mock.patch.dict(PARALLEL_ROWS_MIN, {"observe": 0}):
        device = open_device("cpu", request.param)
        assert callable(device.observe)  # Built here, with the bound of here.
    return device


def counted(marks):
    """Counts that marks stand for, as the blocks keep them."""
    rows = np.flatnonzero(marks.stratum >= 0)
    bins_1 = np.zeros((c.STRATUM_COUNT, c.DRIVER_COUNT, Z_BINS), np.int64)
    bins_2 = np.zeros((c.STRATUM_COUNT, c.LIST_COUNT, STAGE_2_BINS), np.int64)
    folds = np.zeros((2, c.STRATUM_COUNT, c.DRIVER_COUNT), np.int64)
    for r in rows:
        s = marks.stratum[r]
        for k in np.flatnonzero(marks.bin_1[r] >= 0):
            bins_1[s, k, marks.bin_1[r, k]] += 1
            folds[0, s, k] += marks.fold[r, k]
            folds[1, s, k] += 1
        for li in range(c.LIST_COUNT):
            bins_2[s, li, marks.bin_2[r, li]] += 1
    return bins_1, bins_2, folds[0], folds[1]


def bytes_of(state):
    arrays = {
        **{f"columns.{k}": v for k, v in state.columns._asdict().items()},
        **{f"scores.{k}": v for k, v in state.scores._asdict().items()},
        **{f"common.{k}": v for k, v in state.common._asdict().items()},
    }
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("market", MARKETS)
def test_blocks_leave_the_bytes_that_rows_leave(device, market, count):
    rng = np.random.default_rng(count)
    for fresh in (np.ones(count, bool), rng.random(count) < 0.3):
        ids = np.flatnonzero(fresh).astype(np.uint32)
        one, other = (random_state(count, 7, **MARKETS[market]) for _ in range(2))
        marks = observe_by_rows(ids, NOW_NS, one)
        device.observe(
            ids, NOW_NS, other.columns, other.books, other.scores, other.common, other.blocks
        )
        mine, theirs = bytes_of(other), bytes_of(one)
        assert [name for name in theirs if mine[name] != theirs[name]] == []
        expected = counted(marks)
        blocks = other.blocks
        names = ("count_1", "count_2", "fold_sum", "fold_count")
        for name, table in zip(names, expected, strict=True):
            assert np.array_equal(getattr(blocks, name).sum(axis=0), table), name
