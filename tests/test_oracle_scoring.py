"""The oracle of the scores, against values worked by hand or published in the method notes."""

import math

import numpy as np
import pytest

from tests.oracles.evidence import (
    HistogramRing,
    MeanRing,
    acat_p,
    acat_strength,
    driver_bin,
    fisher_statistic,
    fixed_point,
)
from tests.oracles.rows import NAN, SECOND, START, at, listing, quote, ticker
from tests.oracles.scoring import (
    HUBER,
    Baseline,
    CommonScale,
    OracleRow,
    OracleScanner,
    learning_rate,
    rank_key,
    standardised,
    stratum_of,
)

HOUR = 3600 * SECOND

# --- baselines ----------------------------------------------------------------------------


def test_huber_constant_is_the_mean_of_the_clipped_square():
    k = 3.0
    density = math.exp(-k * k / 2) / math.sqrt(2 * math.pi)
    inside = math.erf(k / math.sqrt(2))
    assert inside - 2 * k * density + k * k * (1 - inside) == pytest.approx(HUBER, abs=1e-7)


@pytest.mark.parametrize(
    ("dt_s", "stratum"),
    [(0.1, 0), (1, 0), (1.1, 1), (4, 1), (5, 2), (15, 2), (16, 3), (60, 3), (60.1, 4), (9e9, 4)],
)
def test_strata_include_their_upper_edge(dt_s, stratum):
    assert stratum_of(dt_s) == stratum


def test_without_a_variance_only_no_difference_is_usual():
    assert [standardised(r, 0.0) for r in (0.0, 1e-9, -1e-9)] == [0, 65535, -65535]
    assert standardised(-1.0, 1e-9) == -65535
    assert standardised(-1.0, 0.5) == -2


def test_learning_rate_is_one_over_n_then_by_time_then_capped():
    by_time = 1 - 2 ** (-1800 / 3600)
    assert learning_rate(1.0, 4) == 0.25
    assert learning_rate(1800.0, 10) == pytest.approx(by_time)
    assert learning_rate(1800.0, 50) == pytest.approx(by_time)
    assert learning_rate(1800.0, 51) == 0.02


def test_second_observation_moves_the_whole_difference_into_an_empty_variance():
    baseline = Baseline()
    baseline.start(1.0)
    assert math.isnan(baseline.judge(3.0, 1.0))
    assert (baseline.m, baseline.n) == (2.0, 2)
    assert baseline.v == pytest.approx(0.5 * 4 / HUBER)


def test_outlier_is_judged_whole_and_learned_clipped():
    baseline = Baseline(m=10.0, v=4.0, n=60)
    assert baseline.judge(110.0, 0.0) == 50
    assert baseline.m == pytest.approx(10 + 6 / 61)  # r clipped at three deviations.
    assert baseline.v == pytest.approx(4 + (36 / HUBER - 4) / 61)


def test_smoothed_score_holds_the_previous_z_over_the_gap():
    baseline = Baseline(s=0.0, z_before=2.0)
    baseline.smooth(0.0, 61.0)
    assert baseline.s == pytest.approx(0.5 * 2.0 * 2 ** (-1 / 60))
    assert baseline.z_before == 0


def test_smoothed_score_contains_the_new_z_clipped_at_ten():
    baseline = Baseline()
    assert math.isnan(baseline.smooth(-50.0, 0.1))
    assert baseline.s == pytest.approx(-10 * (1 - 2 ** (-1 / 60)))
    assert baseline.vs == pytest.approx(baseline.s**2 / HUBER)
    assert baseline.z_before == -10


def test_common_scale_folds_only_at_32_entries():
    scale = CommonScale()
    for _ in range(31):
        scale.add(-1.0)
    scale.fold(at(0))
    assert (scale.g, scale.count) == (1.0, 31)
    scale.add(1.0)
    scale.fold(at(1))
    assert scale.g == pytest.approx(1 / 0.778)
    assert (scale.units, scale.count) == (0, 0)


def test_common_scale_follows_with_a_half_life_of_30_s_and_clips_at_three():
    scale = CommonScale(g=1.0, folded_ns=at(0))
    for _ in range(40):
        scale.add(500.0)
    scale.fold(at(30))
    assert scale.g == pytest.approx(0.5 + 0.5 * 3 / 0.778)


def test_common_scale_never_falls_below_a_fifth():
    scale = CommonScale()
    for _ in range(32):
        scale.add(0.01)
    scale.fold(at(0))
    assert scale.g == 0.2


# --- evidence -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p_values", "combined"),
    [([0.001] * 3, 0.001), ([1e-6, 0.5, 0.5, 0.5], 4.0e-6), ([0.01, 0.2, 0.5], 0.0286877)],
)
def test_cauchy_combination_of_the_published_vectors(p_values, combined):
    assert acat_p(p_values) == pytest.approx(combined, rel=1e-5)


def test_cauchy_combination_clips_large_p_and_keeps_tiny_ones():
    assert acat_p([0.001, 0.9999]) == pytest.approx(0.00223, abs=1e-4)
    assert acat_strength([1e-30] * 12) == pytest.approx(30)


def test_missing_p_is_neutral():
    assert acat_p([0.01, NAN]) == pytest.approx(acat_p([0.01, 0.5]))
    assert fisher_statistic([NAN] * 3) == 6
    assert fisher_statistic([math.exp(-1.5), NAN]) == pytest.approx(5)


def test_fisher_statistic_of_the_published_vector_has_its_chi_square_tail():
    half = fisher_statistic([0.01, 0.2, 0.5]) / 2
    tail = math.exp(-half) * (1 + half + half**2 / 2)  # Chi-square with 6 degrees of freedom.
    assert tail == pytest.approx(0.0317663, abs=1e-7)


def test_bins_grow_with_the_logarithm_and_end():
    assert [driver_bin(z) for z in (0.0, 1.0, -1.0, 3.0, 65535.0, 3e5)] == [
        0,
        64,
        64,
        128,
        1023,
        1023,
    ]


def test_fixed_point_rounds_down():
    assert fixed_point(1.0) == 2**20
    assert fixed_point(2.9 / 2**20) == 2


def test_ties_count_against_the_row_and_a_scan_does_not_read_itself():
    ring = HistogramRing(1024)
    ring.roll(START)
    assert ring.p("k", 5) == 1
    for bin_ in (1, 5, 5, 9):
        ring.count("k", bin_)
    assert ring.p("k", 5) == 1
    ring.roll(START + SECOND)
    assert [ring.p("k", b) for b in (0, 5, 6, 10)] == [1, 0.8, 0.4, 0.2]
    assert ring.p("other", 0) == 1
    assert ring.largest("k") == 9
    assert ring.largest("other") is None


def test_ring_forgets_an_hour_25_hours_later():
    ring = HistogramRing(1024)
    last_moment = START // HOUR * HOUR + HOUR - 1
    ring.roll(last_moment)
    ring.count("k", 3)
    ring.roll(last_moment + 24 * HOUR)
    assert ring.total("k") == 1
    ring.count("k", 3)
    ring.roll(last_moment + 24 * HOUR + 1)
    assert ring.total("k") == 1
    ring.roll(last_moment + 49 * HOUR)
    assert ring.total("k") == 0


def test_mean_of_members_is_assumed_until_there_are_a_thousand():
    ring = MeanRing()
    ring.roll(START)
    for _ in range(999):
        ring.add(2**20)
    assert ring.mean(1000, 0.42) == 0.42
    ring.add(2**20)
    assert ring.mean(1000, 0.42) == 1
    ring.roll(START + 25 * HOUR)
    assert ring.mean(1000, 0.42) == 0.42


# --- features and scans -------------------------------------------------------------------


def test_anchored_mid_of_a_linear_option_is_the_move_beyond_delta_times_forward():
    one = listing(is_option=True, expiry_ns=at(9e6), tick=0.5)
    scanner = OracleScanner([one])
    scanner.tickers([ticker(delta=0.5, forward=100.0)])
    scanner.apply(quote(0, 9.5, 5, 10.5, 5))
    assert math.isnan(scanner.scan(at(1)).rows[0].value[4])
    scanner.tickers([ticker(forward=102.0)])
    scanner.apply(quote(2, 11, 5, 12, 5))
    # The mid rose by 1.5, of which 0.5 x 2 is the forward's; the spread was always 1.
    assert scanner.scan(at(2)).rows[0].value[4] == pytest.approx(0.5)


def test_anchored_mid_of_an_inverse_option_is_the_move_of_its_usd_value():
    one = listing(is_option=True, expiry_ns=at(9e6), tick=0.0005, inverse=True)
    scanner = OracleScanner([one])
    scanner.tickers([ticker(delta=0.4, forward=60000.0)])
    scanner.apply(quote(0, 0.0495, 5, 0.0505, 5))
    scanner.scan(at(1))
    scanner.tickers([ticker(forward=61000.0)])
    scanner.apply(quote(2, 0.0505, 5, 0.0515, 5))
    usd = (0.051 * 61000 - 0.05 * 60000) - 0.4 * 1000
    assert scanner.scan(at(2)).rows[0].value[4] == pytest.approx(usd / (0.001 * 61000))


@pytest.mark.parametrize("missing", ["delta", "forward"])
def test_anchored_mid_needs_delta_and_forward_of_an_option_only(missing):
    greeks = {"delta": 0.5, "forward": 100.0}
    del greeks[missing]
    option = listing(0, is_option=True, expiry_ns=at(9e6))
    scanner = OracleScanner([option, listing(1)])
    scanner.tickers([ticker(0, **greeks), ticker(1, **greeks)])
    for second in (1, 2):
        for i in (0, 1):
            scanner.apply(quote(second, 100 + second, 5, 102 + second, 5, listing_id=i))
        scan = scanner.scan(at(second))
    assert math.isnan(scan.rows[0].value[4])
    assert scan.rows[1].value[4] == pytest.approx(0.5)


def alternating(scanner, second, listing_ids=(0,)):
    """One update a second and listing: 5 on the bid, then 9, against 5."""
    for i in listing_ids:
        scanner.apply(quote(second, 100, (5, 9)[second % 2], 101, 5, listing_id=i))
    return scanner.scan(at(second))


def test_first_observation_fills_the_baseline_and_scores_nothing():
    scanner = OracleScanner([listing()])
    scan = alternating(scanner, 0)
    assert scan.rows[0].observed
    assert math.isnan(scan.rows[0].score[0])
    assert scan.rows[0].p == [1, 1]
    assert scan.own_observations == {0: 1}
    baseline = scanner.tracks[0].baselines[2]
    assert (baseline.m, baseline.v, baseline.n) == (0, 0, 1)


def test_drivers_appear_after_30_observations_of_their_own():
    scanner = OracleScanner([listing()])
    numbers = []
    for second in range(64):
        z = alternating(scanner, second).rows[0].z
        numbers.append([not math.isnan(one) for one in z])
    first_seen = [[seen[k] for seen in numbers].index(True) for k in range(12)]
    # The anchored mid has no value at the first observation, so all of it comes one later.
    assert first_seen == [30, 30, 30, 30, 31, 30, 60, 60, 60, 60, 61, 60]


def test_prior_comes_with_the_second_observation_as_20():
    prior = {(0, 0): (0.5, 4.0), (1, 0): (9.0, 9.0)}
    scanner = OracleScanner([listing()], prior=prior)
    alternating(scanner, 0)
    assert scanner.tracks[0].baselines[0].n == 0
    assert scanner.tracks[0].baselines[2].n == 1
    row = alternating(scanner, 1).rows[0]
    assert row.baseline[0] == 0.5
    assert math.isnan(row.z[0])
    assert scanner.tracks[0].baselines[0].n == 21
    r = math.atanh(0.98 * 4 / 14) - 0.5
    assert scanner.tracks[0].baselines[0].m == pytest.approx(0.5 + r / 21)


def test_scan_holds_what_is_not_fresh():
    scanner = OracleScanner([listing()])
    for second in range(40):
        before = alternating(scanner, second).rows[0]
    after = scanner.scan(at(41)).rows[0]
    assert before.observed
    assert not after.observed
    assert after.score == before.score
    assert after.z == pytest.approx(before.z, nan_ok=True)


def test_row_that_stops_being_regular_loses_score_and_rank_and_keeps_its_baseline():
    scanner = OracleScanner([listing()])
    for second in range(40):
        scan = alternating(scanner, second)
    assert scan.top == {"spike": [0], "broad": [0]}
    learned = list(scanner.tracks[0].baselines)
    scanner.apply(quote(40, 101, 5, 101, 5))
    scan = scanner.scan(at(40))
    assert math.isnan(scan.rows[0].score[0])
    assert scan.rows[0].p == [1, 1]
    assert scan.top == {"spike": [], "broad": []}
    assert scanner.tracks[0].baselines == learned
    alternating(scanner, 50)
    assert scanner.tracks[0].row.stratum == 2  # 11 s since second 39.


def test_score_leaves_after_300_s_without_observation():
    scanner = OracleScanner([listing()])
    for second in range(40):
        alternating(scanner, second)
    held = scanner.scan(at(39 + 300))
    assert held.top["spike"] == [0]
    gone = scanner.scan(at(39 + 301))
    assert gone.top["spike"] == []
    assert math.isnan(gone.rows[0].score[0])


def test_expiry_by_the_clock_ends_the_score():
    one = listing(is_option=True, expiry_ns=at(50))
    scanner = OracleScanner([one])
    for second in range(40):
        alternating(scanner, second)
    assert not math.isnan(scanner.scan(at(49)).rows[0].score[0])
    assert math.isnan(scanner.scan(at(50)).rows[0].score[0])


def random_market(seed, mirror):
    """60 scans of 5 listings; mirrored, every bid is an ask at the negative price."""
    rng = np.random.default_rng(seed)
    scanner = OracleScanner([listing(i) for i in range(5)])
    scans = []
    for second in range(70):
        for i in range(5):
            bid, spread, qb, qa = (int(x) for x in rng.integers([95, 1, 1, 1], [105, 4, 50, 50]))
            values = (bid, qb, bid + spread, qa)
            if mirror:
                values = (-bid - spread, qa, -bid, qb)
            if rng.random() < 0.7:
                scanner.apply(quote(second, *values, listing_id=i))
        scans.append(scanner.scan(at(second)))
    return scans


def test_mirrored_market_has_the_same_scores_and_opposite_directions():
    signed = np.array([-1, -1, 1, 1, -1, -1] * 2)
    for scan, mirrored in zip(random_market(7, False), random_market(7, True), strict=True):
        for i in range(5):
            assert scan.rows[i].z == pytest.approx(signed * mirrored.rows[i].z, nan_ok=True)
            assert scan.rows[i].score == pytest.approx(mirrored.rows[i].score, nan_ok=True)


def test_unusual_row_ranks_first():
    scanner = OracleScanner([listing(i) for i in range(4)])
    rng = np.random.default_rng(3)
    for second in range(80):
        for i in range(4):
            qb, qa = (int(x) for x in rng.integers(20, 30, 2))
            depth = 1 if (second, i) == (79, 2) else qb
            scanner.apply(quote(second, 100, depth, 101, qa, listing_id=i))
        scan = scanner.scan(at(second))
    assert scan.top["spike"][0] == 2
    assert scan.rows[2].z[0] < -3
    assert scan.rows[2].excess[0] > 0


# --- groups and ranks ---------------------------------------------------------------------


def scored_row(score, observed_s, *, observed=True):
    return OracleRow(
        p=[10**-score, 1.0],
        score=[score, 0.0],
        statistic=[score, 0.0],
        observed=observed,
        observed_ns=at(observed_s),
    )


def option_market(count, **row_values):
    options = [listing(i, is_option=True, expiry_ns=at(9e6)) for i in range(count)]
    scanner = OracleScanner(options)
    for i, option in enumerate(options):
        option.apply(quote(0, 100, 5, 101, 5, listing_id=i))
        scanner.tracks[i].row = scored_row(**row_values)
    return scanner


def test_group_of_eight_sums_what_is_above_the_mean():
    scanner = option_market(8, score=1.42, observed_s=0)
    assert scanner._score_groups(at(0)) == {("X", at(9e6)), ("X", 0)}
    m_, g, p = scanner.groups["X", 0]
    assert (m_, p) == (8, 1)
    assert g == pytest.approx(8 / math.sqrt(8), abs=1e-5)


def test_group_member_counts_at_most_four():
    scanner = option_market(9, score=7.0, observed_s=0)
    scanner._score_groups(at(0))
    assert scanner.groups["X", at(9e6)][1] == pytest.approx(3.58 * 3, abs=1e-5)


def test_group_needs_eight_recent_members_and_one_observed_now():
    assert option_market(7, score=1.0, observed_s=0)._score_groups(at(0)) == set()
    assert option_market(8, score=1.0, observed_s=0)._score_groups(at(60)) == set()
    stale = option_market(8, score=1.0, observed_s=0, observed=False)
    assert stale._score_groups(at(59)) == set()
    stale.tracks[3].row = scored_row(1.0, 59)
    assert stale._score_groups(at(59)) == {("X", at(9e6)), ("X", 0)}


def test_group_compares_with_the_mean_over_all_scored_rows():
    scanner = option_market(8, score=2.0, observed_s=0)
    scanner.member_mean.roll(at(0))
    for _ in range(1000):
        scanner.member_mean.add(2**20 // 2)
    scanner._score_groups(at(0))
    assert scanner.groups["X", 0][1] == pytest.approx(1.5 * math.sqrt(8), abs=1e-5)


def test_rank_key_orders_by_score_then_usd_then_smaller_id():
    keys = [
        rank_key(2.001, 0, 0.0, 9),
        rank_key(2.0004, 0, 1000.0, 9),
        rank_key(2.0009, 0, 10.0, 3),
        rank_key(2.0, 0, 10.0, 4),
    ]
    assert keys == sorted(keys, reverse=True)
    assert len(set(keys)) == 4


def test_rank_key_packs_its_three_parts():
    key = rank_key(1.5, 7, 1.0, 5)
    assert key >> 42 == 1507
    assert key >> 21 & (2**21 - 1) == 65536
    assert key & (2**21 - 1) == 2**21 - 1 - 5
    assert rank_key(9e9, 0, 1e30, 0) == 2**64 - 1


def test_equal_rows_rank_by_listing_id():
    scanner = OracleScanner([listing(i) for i in (2, 0, 1)])
    for second in range(40):
        scan = alternating(scanner, second, (0, 1, 2))
    assert scan.top["spike"] == [0, 1, 2]
