"""The engine beside the plain-Python oracle, which shares no code with it, on random markets."""

import math

import pytest

from scanner.config import load
from scanner.engine import Scanner
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings, static
from tests.oracles.metrics import OracleListing
from tests.oracles.scoring import OracleScanner

# float32 sums against float64 ones: a relative error of a few 1e-6 after thousands of updates,
# times the cancellation of a difference of two sums.
METRIC = {"rel": 3e-4, "abs": 3e-4}
# z divides by small scales, which multiplies what the sums lost.
Z = {"rel": 5e-3, "abs": 5e-3}


def engine_and_oracle(count):
    members = listings(count)
    # The oracle knows no tick but the second that it is given.
    scanner = Scanner(load(None, {"engine.tick_ms": 1000}), bars=True)
    scanner.add(members)
    oracle = OracleScanner([OracleListing(static(one, i)) for i, one in enumerate(members)])
    return members, scanner, oracle


def feed(seed, count, seconds):
    """Yield both sides' scans second by second."""
    members, scanner, oracle = engine_and_oracle(count)
    market = ToyMarket(members, seed)
    for k in range(1, seconds + 1):
        t = START_NS + k * SECOND
        rows, tickers = market.second(t)
        scanner.apply(rows, tickers)
        oracle.tickers(tickers)
        oracle.apply(rows)
        yield t, scanner, oracle, scanner.scan(t), oracle.scan(t)


def same(mine, theirs, tolerance):
    if math.isnan(theirs):
        return math.isnan(mine)
    return mine == pytest.approx(theirs, **tolerance)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_metric_equals_the_oracle(seed):
    wrong = []
    for t, _, oracle, result, _ in feed(seed, 21, 120):
        for i, listing in oracle.listings.items():
            if not listing.has_state:
                continue
            for name, theirs in listing.metrics(t).items():
                mine = float(result.metrics[name][i])
                if not same(mine, theirs, METRIC):
                    wrong.append((t - START_NS, i, name, mine, theirs))
            assert result.validity[i] == listing.state.bits, (i, t - START_NS)
    assert not wrong, wrong[:5]


def test_level_order_flow_equals_the_oracle():
    scanner = None
    for t, scanner, oracle, _, _ in feed(3, 12, 60):
        for i, listing in oracle.listings.items():
            mine = scanner.state.bar[i]
            assert mine == pytest.approx(listing.ofi_bar(10), rel=1e-5, abs=1e-3), (i, t)
    assert scanner is not None


@pytest.fixture(scope="module")
def long_run():
    """Outputs of both sides over 900 scans of 21 listings."""
    kept = []
    for t, scanner, _, result, expected in feed(5, 21, 900):
        rows = [expected.rows[i] for i in range(21)]
        kept.append(
            {
                "t": t,
                "fresh": result.fresh.copy(),
                "z": result.z.copy(),
                "p_feature": result.p_feature.copy(),
                "p": result.p.copy(),
                "stratum": result.stratum.copy(),
                "value": result.value.copy(),
                "baseline": result.baseline.copy(),
                "statistic": result.statistic.copy(),
                "reference": result.reference_count.copy(),
                "top": {name: ids.copy() for name, ids in result.top.items()},
                "groups": {
                    (scanner.universe.underlyings.keys[u], int(e)): (int(m), float(g), float(p))
                    for u, e, m, g, p in zip(
                        result.groups.underlying, result.groups.expiry_ns,
                        result.groups.member_count, result.groups.statistic, result.groups.p,
                        strict=True,
                    )
                },
                "scale": scanner.state.common.scale.copy(),
                "oracle": expected,
                "oracle_rows": [
                    (list(r.z), list(r.p_feature), list(r.p), r.stratum, list(r.value),
                     list(r.baseline), list(r.statistic), r.observed_ns)
                    for r in rows
                ],
            }
        )  # fmt: skip
    return kept


def test_the_same_rows_are_observed_in_the_same_strata(long_run):
    seen = set()
    for scan in long_run:
        observed = {i for i, r in enumerate(scan["oracle_rows"]) if r[7] == scan["t"]}
        assert observed <= set(scan["fresh"].tolist())
        for i in observed:
            assert scan["stratum"][i] == scan["oracle_rows"][i][3]
            seen.add(int(scan["stratum"][i]))
    assert seen == {0, 1, 2, 3, 4}  # Every stratum is exercised.


def test_values_and_baselines_equal_the_oracle(long_run):
    compared = 0
    for scan in long_run:
        for i, row in enumerate(scan["oracle_rows"]):
            if row[7] != scan["t"]:
                continue
            for f in range(6):
                assert same(float(scan["value"][f, i]), row[4][f], METRIC), (scan["t"], i, f)
                assert same(float(scan["baseline"][f, i]), row[5][f], METRIC), (scan["t"], i, f)
                compared += 1
    assert compared > 10_000


def test_standardised_values_equal_the_oracle(long_run):
    compared, wrong = 0, []
    for scan in long_run:
        for i, row in enumerate(scan["oracle_rows"]):
            if row[7] != scan["t"]:
                continue
            for k in range(12):
                mine, theirs = float(scan["z"][k, i]), row[0][k]
                assert math.isnan(mine) == math.isnan(theirs), (scan["t"], i, k)
                if math.isnan(theirs):
                    continue
                compared += 1
                # A constant history ends in a clip or in rounding noise: no number to compare.
                if abs(theirs) < 1000 and not same(mine, theirs, Z):
                    wrong.append((scan["t"] - START_NS, i, k, mine, theirs))
    assert compared > 20_000
    assert len(wrong) < compared * 1e-3, wrong[:10]


def test_p_and_statistics_equal_the_oracle_up_to_bin_edges(long_run):
    compared = {"p_feature": 0, "statistic": 0, "p": 0}
    far = {"p_feature": 0, "statistic": 0, "p": 0}
    for scan in long_run:
        for i, row in enumerate(scan["oracle_rows"]):
            if row[7] != scan["t"]:
                continue
            for name, position in (("p_feature", 1), ("p", 2), ("statistic", 6)):
                for k, theirs in enumerate(row[position]):
                    mine = float(scan[name][k, i])
                    assert math.isnan(mine) == math.isnan(theirs), (name, scan["t"], i, k)
                    if math.isnan(theirs):
                        continue
                    compared[name] += 1
                    far[name] += abs(mine - theirs) > 0.02 * max(abs(theirs), 0.02)
    assert all(count > 2_000 for count in compared.values())
    # A value on a bin's edge falls to either side of it in float32; that moves single counts.
    for name, count in compared.items():
        assert far[name] < 0.02 * count, (name, far, compared)


def test_reference_counts_and_common_scales_equal_the_oracle(long_run):
    for scan in long_run:
        assert scan["reference"].tolist() == scan["oracle"].reference_count
    assert long_run[-1]["reference"].min() > 0


def test_groups_equal_the_oracle(long_run):
    compared, far = 0, 0
    for scan in long_run:
        for key in scan["oracle"].groups_fresh:  # The others hold what they were.
            members, g, p = scan["oracle"].groups[key]
            mine = scan["groups"][key]
            assert mine[0] == members, (scan["t"], key)
            assert mine[1] == pytest.approx(g, rel=0.05, abs=0.05)
            far += abs(mine[2] - p) > 0.05 * p  # The next bin, from a G on an edge.
            compared += 1
    assert compared > 100
    assert far < 0.05 * compared


def test_rankings_agree_except_at_bin_edges(long_run):
    equal = sum(
        list(scan["top"][name]) == scan["oracle"].top[name]
        for scan in long_run[-300:]
        for name in ("spike", "broad")
    )
    same_sets = [
        set(scan["top"][name].tolist()) == set(scan["oracle"].top[name])
        for scan in long_run
        for name in ("spike", "broad")
    ]
    assert all(same_sets)
    assert equal > 300  # Half of the orders to the last place; ties at bin edges move neighbours.
