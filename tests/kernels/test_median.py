"""Median and MAD per segment, bit for bit against plain sorting."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.cpu.median import BUCKETS, LANES, NETWORK_ROWS
from kernels.device import open_device
from tests.oracles.median import median_and_mad

INF, NAN = math.inf, math.nan
LARGEST = float(np.finfo(np.float32).max)
TINIEST = float(np.finfo(np.float32).smallest_subnormal)
SIZES = (0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 127, 128, 129, 511, 512, 513, 514, 1000, 5001)
SHAPED = {
    "sorted": np.arange,
    "falling": lambda n: -np.arange(n),
    "alike": lambda n: np.full(n, -2.5),
    "zeros": lambda n: np.where(np.arange(n) % 2, -0.0, 0.0),
    "tied": lambda n: np.arange(n) % 3 - 1.0,
    "organ pipe": lambda n: np.minimum(np.arange(n), np.arange(n)[::-1]),
    "alternating": lambda n: np.where(np.arange(n) % 2, 1e30, -1e-30),
    "neighbours": lambda n: 1.0 + (np.arange(n) * 7919 % max(n, 1)) * 2.0**-23,
    "powers": lambda n: 2.0 ** (np.arange(n) * 37 % 250 - 125),
    "one outlier": lambda n: np.where(np.arange(n) == 0, LARGEST, 0.1),
    "subnormal": lambda n: (np.arange(n) * 7 % 11 - 5) * TINIEST,
    "half missing": lambda n: np.where(np.arange(n) % 2, NAN, np.arange(n)),
    "missing": lambda n: np.full(n, NAN),
    "infinite ends": lambda n: np.where(np.arange(n) % 2, INF, -INF),
    "mostly infinite": lambda n: np.where(np.arange(n) % 3, INF, 1.0),
}  # fmt: skip


def answered(
    segments: Sequence[Sequence[float]], order: Sequence[int] | None = None, stripes: int = 1
) -> np.ndarray:
    """Median and MAD of each segment, float32[segment, 2], from poisoned memory."""
    sizes = [len(segment) for segment in segments]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    values = np.array([x for segment in segments for x in segment], np.float32)
    before = values.copy()
    by_size = np.argsort(sizes, kind="stable") if order is None else order
    found = np.full((2, len(segments)), -77, np.float32)
    open_device("cpu").segment_median_mad(
        values, start, np.array(by_size, np.int32),
        np.full((stripes, (NETWORK_ROWS + 1) * LANES), -55, np.float32),
        np.full((stripes, BUCKETS), -33, np.int32), found[0], found[1],
    )  # fmt: skip
    assert values.tobytes() == before.tobytes()
    return found.T


def asked(segments: Sequence[Sequence[float]]) -> np.ndarray:
    singles = [[float(np.float32(x)) for x in segment] for segment in segments]
    return np.array([median_and_mad(s) for s in singles], np.float32).reshape(-1, 2)


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.isnan(found).tolist() == np.isnan(expected).tolist()
    there = ~np.isnan(expected)
    assert found[there].view(np.int32).tolist() == expected[there].view(np.int32).tolist()


def test_an_odd_count_gives_its_middle_and_an_even_one_the_mean_of_two():
    found = answered([[5, 1, 2], [1, 2, 4, 9], [7], []])
    assert found[:3].tolist() == [[2, 1], [3, 1.5], [7, 0]]
    assert np.isnan(found[3]).all()


def test_members_that_are_missing_are_left_out():
    assert answered([[NAN, 1, NAN, 3, NAN]]).tolist() == [[2, 1]]
    assert np.isnan(answered([[NAN, NAN]])).all()


def test_no_median_is_a_negative_zero():
    found = answered(
        [[-0.0], [-0.0, 0.0], [-0.0, -TINIEST, TINIEST], [-TINIEST, 0.0], [-0.0] * 600]
    )
    assert not np.signbit(found).any()


def test_no_pair_of_finite_members_overflows():
    assert answered([[LARGEST, LARGEST], [LARGEST / 2, LARGEST]])[:, 0].tolist() == [
        LARGEST,
        np.float32(LARGEST * 0.75),
    ]


@pytest.mark.parametrize("copies", [1, 300])
def test_an_infinite_median_has_members_infinitely_far_or_none(copies):
    found = answered([s * copies for s in ([INF, INF], [1, INF, INF], [-INF, INF], [1, 2, INF])])
    assert np.array_equal(found, [[INF, NAN], [INF, INF], [NAN, NAN], [2, 1]], equal_nan=True)


@pytest.mark.parametrize("shape", SHAPED)
def test_every_shape_at_every_size_gives_the_bits_of_sorting(shape):
    segments = [SHAPED[shape](n).astype(np.float32).tolist() for n in SIZES]
    assert_same_bits(answered(segments), asked(segments))


@pytest.mark.parametrize("seed", range(3))
def test_random_segments_of_mixed_sizes_give_the_bits_of_sorting(seed):
    rng = np.random.default_rng(seed)
    sizes = [*rng.integers(0, 130, 70), 600, 2000]
    draw: list[Callable[[int], np.ndarray]] = [
        rng.standard_normal,
        rng.standard_cauchy,
        lambda n: np.round(rng.standard_normal(n), 1),
        lambda n: np.where(rng.random(n) < 0.2, NAN, rng.standard_normal(n)),
    ]
    segments = [draw[k % len(draw)](n).astype(np.float32).tolist() for k, n in enumerate(sizes)]
    assert_same_bits(answered(segments), asked(segments))


@given(
    st.lists(
        st.lists(st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, INF, -INF]), max_size=40),
        min_size=1,
        max_size=20,
    )
)
def test_any_floats_give_the_bits_of_sorting(segments):
    assert_same_bits(answered(segments), asked(segments))


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=24))
def test_the_network_sorts_zeros_and_ones(members):
    # A network that sorts these sorts everything (the zero-one principle).
    assert_same_bits(answered([members]), asked([members]))


@pytest.mark.parametrize("rows", [*range(1, 70), 100, 127, 128, 129, 255, 256, 300, 511, 512])
def test_every_place_of_a_lane_reaches_its_rank(rows):
    # Member 0 is in turn the smallest and the largest, which a lost comparator leaves in place.
    rng = np.random.default_rng(rows)
    segments = [rng.permutation(rows).astype(float).tolist() for _ in range(LANES)]
    assert_same_bits(answered(segments), asked(segments))


def test_neither_order_nor_stripes_change_a_bit():
    rng = np.random.default_rng(11)
    segments = [rng.standard_normal(n).tolist() for n in (*rng.integers(0, 90, 60), 700, 513, 900)]
    expected = answered(segments)
    for stripes in (1, 2, 3, 64):
        order = rng.permutation(len(segments)).tolist()
        assert_same_bits(answered(segments, order, stripes), expected)
