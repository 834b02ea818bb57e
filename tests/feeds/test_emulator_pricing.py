"""The emulator's own pricing against published and hand-computed values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.emulator.pricing import (
    black76,
    greeks,
    implied_volatility,
    normal_cdf,
    price_delta_vega,
)

# methods.md M9: F=60000, K=65000, s=0.55, T=30/365.
FORWARD, STRIKE = np.array([60_000.0]), np.array([65_000.0])
IV, YEARS = np.array([0.55]), np.array([30 / 365])
CALL, PUT = np.array([True]), np.array([False])


def test_call_and_put_have_the_published_premiums() -> None:
    assert black76(FORWARD, STRIKE, IV, YEARS, CALL)[0] == pytest.approx(1921.593106, abs=5e-7)
    assert black76(FORWARD, STRIKE, IV, YEARS, PUT)[0] == pytest.approx(6921.593106, abs=5e-7)


def test_greeks_have_the_published_values() -> None:
    found = greeks(FORWARD, STRIKE, IV, YEARS, CALL)
    assert found.delta[0] == pytest.approx(0.3340390646, abs=1e-10)
    assert found.gamma[0] == pytest.approx(3.846428e-5, abs=5e-12)
    assert found.vega[0] == pytest.approx(62.59666, abs=5e-6)
    # Without rates theta a day is -gamma F^2 s^2 / 2 / 365.
    by_gamma = -3.846428e-5 * 60_000.0**2 * 0.55**2 / 2.0 / 365.0
    assert found.theta[0] == pytest.approx(by_gamma, rel=1e-6)
    assert greeks(FORWARD, STRIKE, IV, YEARS, PUT).delta[0] == pytest.approx(
        -0.6659609354, abs=1e-9
    )


def test_one_pass_gives_the_same_premium_delta_and_vega() -> None:
    premium, delta, vega = price_delta_vega(FORWARD, STRIKE, IV, YEARS, PUT)
    assert premium[0] == pytest.approx(6921.593106, abs=5e-7)
    assert delta[0] == pytest.approx(-0.6659609354, abs=1e-9)
    assert vega[0] == pytest.approx(62.59666, abs=5e-6)


def test_at_the_money_premium_has_its_published_value() -> None:
    hundred, one = np.array([100.0]), np.array([1.0])
    found = black76(hundred, hundred, np.array([0.2]), one, CALL)
    assert found[0] == pytest.approx(7.965567455405804, abs=1e-12)


def test_expired_options_are_worth_their_intrinsic_value() -> None:
    nothing = np.array([0.0])
    assert black76(FORWARD, STRIKE, IV, nothing, PUT)[0] == 5_000.0
    assert black76(FORWARD, STRIKE, IV, nothing, CALL)[0] == 0.0


def test_normal_distribution_agrees_with_erfc_as_stated() -> None:
    x = np.linspace(-40.0, 40.0, 8_001)
    exact = np.array([0.5 * math.erfc(-v / math.sqrt(2.0)) for v in x])
    assert float(np.abs(normal_cdf(x) - exact).max()) < 1e-14


def test_normal_distribution_of_nan_is_nan() -> None:
    assert np.isnan(normal_cdf(np.array([np.nan]))[0])


@given(
    moneyness=st.floats(-0.8, 0.8),
    iv=st.floats(0.2, 2.0),
    days=st.floats(1.0, 400.0),
    is_call=st.booleans(),
)
def test_implied_volatility_inverts_the_premium(
    moneyness: float, iv: float, days: float, is_call: bool
) -> None:
    strike = np.array([60_000.0 * math.exp(moneyness)])
    years, right = np.array([days / 365.0]), np.array([is_call])
    premium, _, vega = price_delta_vega(FORWARD, strike, np.array([iv]), years, right)
    if vega[0] > 1e-2:
        found = implied_volatility(premium, FORWARD, strike, years, right)
        assert found[0] == pytest.approx(iv, abs=2e-6)


def test_implied_volatility_is_nan_outside_the_possible_prices() -> None:
    premium = np.array([5_000.0, 4_999.0, 65_000.0, np.nan, 0.0])
    n = len(premium)
    found = implied_volatility(
        premium, np.full(n, 60_000.0), np.full(n, 65_000.0), np.full(n, 0.1), np.zeros(n, bool)
    )
    assert np.isnan(found).all()
