"""Identity: exact decimals, canonical contracts, calendars, listings."""

import math
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.contract import (
    Contract,
    Listing,
    ListingKind,
    check_listing,
    exact_e9,
    exact_e9_of_number,
    expiry_ns,
    format_e9,
    listing_fault,
    occ_expiry_ns,
    occ_multiplier,
    tick_at,
    us_half_day,
)
from feeds.errors import SymbolError

# 2026-03-27 is 20,539 days after 1970-01-01: 56 years of 365 days, 14 leap days, then 85 days.
MARCH_27_2026_0800 = (20_539 * 86_400 + 8 * 3_600) * 10**9

OPTION = Listing(
    venue="deribit",
    symbol="BTC-27MAR26-100000-C",
    kind=ListingKind.OPTION,
    underlying="BTC",
    multiplier=1.0,
    price_ccy="BTC",
    settle="inverse",
    tick=0.0001,
    expiry_ns=MARCH_27_2026_0800,
    strike_e9=100_000 * 10**9,
    right="C",
    style="european",
    tick_table=((0.005, 0.0005),),
)
PERP = Listing("deribit", "BTC-PERPETUAL", ListingKind.PERP, "BTC", 1.0, "USD", "inverse", 0.5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100000", 100_000_000_000_000),
        ("0.4", 400_000_000),
        ("1d02", 1_020_000_000),
        ("8D6", 8_600_000_000),
        ("2400_5", 2_400_500_000_000),
        ("2.2e3", 2_200_000_000_000),
        ("5E-9", 5),
        ("0.000000001", 1),
        ("0", 0),
        ("92000.000", 92_000_000_000_000),
        ("0.1000000000000000", 100_000_000),
        ("9223372036.854775807", 2**63 - 1),
    ],
)
def test_decimal_text_becomes_the_exact_count(text: str, value: int) -> None:
    assert exact_e9(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", " 1", "1 ", "+1", "-1", ".5", "5.", "1.2.3", "1d2d3", "0x10", "nan", "inf", "∞", "1,5",
        "٣", "0.1234567891", "1e-10", "9223372036.854775808", "1e99", "9" * 5000, "1e999", "1\n",
    ],
)  # fmt: skip
def test_text_that_is_no_exact_decimal_is_refused(text: str) -> None:
    with pytest.raises(SymbolError, match=r"decimal number was .* expected"):
        exact_e9(text)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (100_000, 100_000_000_000_000),
        (100_000.0, 100_000_000_000_000),
        (0.4, 400_000_000),
        (1e-9, 1),
        (2.2e3, 2_200_000_000_000),
        (0, 0),
    ],
)
def test_json_number_becomes_the_exact_count(number: float, value: int) -> None:
    assert exact_e9_of_number(number) == value


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, -1, -0.5, -0.0, True, 0.1 + 0.2, 1e17, 2**63, 2**5000]
)
def test_json_number_that_is_not_exact_is_refused(number: float) -> None:
    with pytest.raises(SymbolError, match="expected"):
        exact_e9_of_number(number)


def test_format_is_the_shortest_decimal() -> None:
    assert [format_e9(n) for n in (0, 1, 400_000_000, 10**14, 1_020_000_000)] == [
        "0", "0.000000001", "0.4", "100000", "1.02",
    ]  # fmt: skip
    with pytest.raises(SymbolError, match="count of 1e-9 was -1"):
        format_e9(-1)


@given(st.integers(0, 2**63 - 1))
def test_every_count_survives_its_text(value: int) -> None:
    assert exact_e9(format_e9(value)) == value


def test_contract_has_the_canonical_text() -> None:
    contract = Contract("BTC", MARCH_27_2026_0800, 100_000 * 10**9, "C")
    assert str(contract) == "BTC-20260327T0800Z-100000-C"
    assert Contract.parse("BTC-20260327T0800Z-100000-C") == contract


@pytest.mark.parametrize(
    ("extra_ns", "text"),
    [
        (30 * 10**9, "XRP-20260327T080030Z-0.4-P"),
        (1, "XRP-20260327T080000.000000001Z-0.4-P"),
    ],
)
def test_expiry_off_the_minute_shows_its_seconds(extra_ns: int, text: str) -> None:
    contract = Contract("XRP", MARCH_27_2026_0800 + extra_ns, 400_000_000, "P")
    assert str(contract) == text
    assert Contract.parse(text) == contract


def test_underlying_may_hold_a_dash() -> None:
    contract = Contract("BRK-B", MARCH_27_2026_0800, 10**9, "P")
    assert Contract.parse(str(contract)) == contract


@pytest.mark.parametrize(
    "text",
    [
        "", "BTC", "BTC-20260327T0800Z-100000", "BTC-20260327T0800Z-100000-X",
        "-20260327T0800Z-100000-C", "BTC-20260327T0800-100000-C", "BTC-20261327T0800Z-100000-C",
        "BTC-20260327T0800Z-100000.0-C", "BTC-20260327T080000Z-100000-C",
        "BTC-20260327T0860Z-100000-C", "BTC-99990327T0800Z-100000-C", "BTC-20260327T0800Z-1d5-C",
    ],
)  # fmt: skip
def test_text_that_is_not_canonical_is_no_contract(text: str) -> None:
    with pytest.raises(SymbolError):
        Contract.parse(text)


@given(
    st.from_regex(r"[A-Z0-9.-]{1,10}", fullmatch=True),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.sampled_from("CP"),
)
def test_every_contract_survives_its_text(u: str, expiry: int, strike: int, right: str) -> None:
    contract = Contract(u, expiry, strike, right)
    assert Contract.parse(str(contract)) == contract


def test_listing_of_an_option_has_a_contract() -> None:
    assert OPTION.contract == Contract("BTC", MARCH_27_2026_0800, 100_000 * 10**9, "C")
    assert PERP.contract is None
    with pytest.raises(SymbolError, match="expected all three"):
        _ = replace(OPTION, strike_e9=None).contract


def test_tick_of_a_band_begins_at_its_price() -> None:
    listing = replace(OPTION, tick_table=((0.005, 0.0005), (0.1, 0.001)))
    ticks = [tick_at(listing, price) for price in (0.0, 0.0049, 0.005, 0.0999, 0.1, 7.0)]
    assert ticks == [0.0001, 0.0001, 0.0005, 0.0005, 0.001, 0.001]
    assert math.isnan(tick_at(listing, math.nan))
    assert tick_at(PERP, 60_000.0) == 0.5


@pytest.mark.parametrize(
    ("base", "change", "field"),
    [
        (OPTION, {"venue": ""}, "venue"),
        (OPTION, {"symbol": ""}, "symbol"),
        (OPTION, {"underlying": ""}, "underlying"),
        (OPTION, {"price_ccy": ""}, "price_ccy"),
        (OPTION, {"settle": "quanto"}, "settle"),
        (OPTION, {"style": "asian"}, "style"),
        (OPTION, {"multiplier": 0.0}, "multiplier"),
        (OPTION, {"multiplier": math.inf}, "multiplier"),
        (OPTION, {"price_per": math.nan}, "price_per"),
        (OPTION, {"tick": 0.0}, "tick"),
        (OPTION, {"tick": -0.1}, "tick"),
        (OPTION, {"lot": 0.0}, "lot"),
        (OPTION, {"settle_window_s": -1.0}, "settle_window_s"),
        (OPTION, {"tick_table": ((2.0, 0.1), (1.0, 0.2))}, "tick_table"),
        (OPTION, {"tick_table": ((1.0, 0.0),)}, "tick_table"),
        (OPTION, {"right": "call"}, "right"),
        (OPTION, {"right": None}, "right"),
        (OPTION, {"strike_e9": None}, "strike_e9"),
        (OPTION, {"strike_e9": 0}, "strike_e9"),
        (OPTION, {"strike_e9": 2**63}, "strike_e9"),
        (OPTION, {"expiry_ns": None}, "expiry_ns"),
        (PERP, {"strike_e9": 1}, "strike_e9"),
        (PERP, {"right": "C"}, "right"),
        (PERP, {"style": "european"}, "style"),
        (PERP, {"expiry_ns": 1}, "expiry_ns"),
        (PERP, {"kind": ListingKind.FUTURE}, "expiry_ns"),
    ],
)
def test_listing_that_cannot_be_is_refused(
    base: Listing, change: dict[str, Any], field: str
) -> None:
    fault = listing_fault(replace(base, **change))
    assert fault is not None
    assert fault.field == field
    with pytest.raises(SymbolError, match=rf"{field} was .* expected"):
        check_listing(replace(base, **change))


def test_sound_listings_pass() -> None:
    check_listing(OPTION)
    check_listing(PERP)
    check_listing(replace(OPTION, multiplier=math.nan))
    check_listing(replace(PERP, kind=ListingKind.FUTURE, expiry_ns=MARCH_27_2026_0800))


def test_new_york_expiry_follows_daylight_saving() -> None:
    day_ns = 86_400 * 10**9
    summer, winter = date(2026, 7, 17), date(2026, 1, 16)  # 20,651 and 20,469 days after 1970
    assert occ_expiry_ns("SPY", summer) == 20_651 * day_ns + 20 * 3_600 * 10**9  # 16:00 EDT
    assert occ_expiry_ns("SPY", winter) == 20_469 * day_ns + 21 * 3_600 * 10**9  # 16:00 EST
    assert occ_expiry_ns("SPX", winter) == 20_469 * day_ns + (14 * 60 + 30) * 60 * 10**9
    assert occ_expiry_ns("SPXW", winter) == occ_expiry_ns("SPY", winter)
    assert expiry_ns(date(2026, 3, 27)) == MARCH_27_2026_0800


def test_half_days_are_those_of_the_exchange_calendar() -> None:
    # Early closings published by the exchanges for 2023 to 2026, and days that look like them.
    half = [
        (2023, 7, 3), (2023, 11, 24), (2024, 7, 3), (2024, 11, 29), (2024, 12, 24),
        (2025, 7, 3), (2025, 11, 28), (2025, 12, 24), (2026, 11, 27), (2026, 12, 24),
    ]  # fmt: skip
    full = [(2026, 7, 2), (2026, 11, 20), (2025, 11, 21), (2024, 11, 22), (2024, 12, 23)]
    closed = [(2026, 7, 3), (2021, 12, 24)]  # Fridays on which the holiday itself is observed
    assert all(us_half_day(date(*day)) for day in half)
    assert not any(us_half_day(date(*day)) for day in full + closed)
    assert occ_expiry_ns("SPY", date(2024, 11, 29)) == expiry_ns(date(2024, 11, 29), 18)


def test_adjusted_root_has_no_guessed_multiplier() -> None:
    assert occ_multiplier("SPY") == 100.0
    assert math.isnan(occ_multiplier("AAPL1"))
