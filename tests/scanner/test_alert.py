"""The Alert: its schema, its bytes, its words."""

import doctest
import hashlib
import json
import math

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import alert, evidence, view_model
from scanner.alert import (
    NO_SKILL,
    Alert,
    Driver,
    Identity,
    Liquidity,
    alert_id,
    alert_schema,
    decode,
    encode,
    explain,
    iso_utc,
    six_digits,
)
from tests.conftest import ROOT
from tests.scanner.scans import EXPIRY, T0

IDENTITY = Identity(
    underlying="BTC",
    expiry="2026-03-27T08:00:00Z",
    expiry_ns=EXPIRY,
    strike="90000",
    right="C",
    listings=("deribit:BTC-27MAR26-90000-C", "okx:BTC-USD-260327-90000-C"),
)
SPREAD = Driver(
    feature="log_spread",
    scale="60s",
    family="liquidity",
    value=-1.25,
    baseline=-3.5,
    z=8.12,
    p=3e-7,
    share=0.71,
)
PLAIN = Alert(
    id="0" * 32,
    seq=1,
    key="0" * 32 + ".1",
    state="open",
    ts_ns=T0,
    start_ns=T0,
    scope_kind="contract",
    scope="BTC-20260327T0800Z-90000-C",
    list="spike",
    identity=IDENTITY,
    score=5.0,
    p=1e-5,
    rank=1,
    peak_score=5.5,
    direction=-1,
    direction_vol=1,
    magnitude_usd_vega=-1234.0,
    magnitude_usd_delta=None,
    premium_usd=500.0,
    duration_s=42.0,
    persistence=0.75,
    impact=NO_SKILL,
    liquidity=Liquidity(
        mid=0.02,
        spread_rel=0.05,
        spread_vol=1.75,
        depth_underlying=12.5,
        depth_usd_vega=1234.4,
        quote_age_s=0.4,
        one_sided=False,
        liquidity_class=3,
    ),
    drivers=(SPREAD,),
    families={"liquidity": 0.71, "imbalance": 0.29},
    validity=(),
    calibration="ok",
    config="c0ffee",
)


def test_published_schema_is_the_generated_one():
    assert (ROOT / "docs" / "alert.schema.json").read_bytes() == alert_schema()


def test_encoded_alert_satisfies_the_published_schema():
    schema = json.loads(alert_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(json.loads(encode(PLAIN)))
    group = msgspec.structs.replace(PLAIN, liquidity=None, score=None, p=None, drivers=())
    validator.validate(json.loads(encode(group)))


@pytest.mark.parametrize(
    ("field", "wrong"), [("direction", 2), ("list", "shock"), ("seq", 0), ("id", "0" * 31)]
)
def test_schema_refuses_a_wrong_value(field, wrong):
    message = json.loads(encode(PLAIN)) | {field: wrong}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(message, json.loads(alert_schema()))


def test_alert_survives_json():
    assert decode(encode(PLAIN)) == PLAIN


def test_line_of_another_shape_is_refused():
    with pytest.raises(msgspec.ValidationError, match="direction"):
        decode(encode(PLAIN).replace(b'"direction":-1', b'"direction":7'))


def test_encoded_alert_is_one_line():
    odd = msgspec.structs.replace(PLAIN, scope="a\nb")
    assert b"\n" not in encode(odd)


def test_id_is_the_first_128_bits_of_blake2b():
    text = b"BTC-20260327T0800Z-90000-C|spike|1774526400000000000|scoring-1"
    whole = hashlib.blake2b(text, digest_size=64).digest()
    assert alert_id("BTC-20260327T0800Z-90000-C", "spike", T0) == whole[:16].hex()


def test_id_differs_by_list_and_start():
    ids = {alert_id("BTC", name, start) for name in ("spike", "broad") for start in (T0, T0 + 1)}
    assert len(ids) == 4


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_six_digits_stays_within_half_a_unit_of_the_sixth(number):
    rounded = six_digits(number)
    assert rounded is not None
    assert abs(rounded - number) <= 0.5001e-5 * abs(number) or abs(number) < 1e-300
    assert six_digits(rounded) == rounded


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_unknown_number_is_null(number):
    assert six_digits(number) is None


def test_minus_zero_is_written_as_zero():
    assert msgspec.json.encode(six_digits(-0.0)) == b"0.0"


def test_instant_is_written_to_the_nanosecond():
    assert iso_utc(EXPIRY) == "2026-03-27T08:00:00Z"
    assert iso_utc(EXPIRY + 1) == "2026-03-27T08:00:00.000000001Z"


def test_explanation_names_what_when_why_and_how_sure():
    text = explain(PLAIN)
    assert text.splitlines()[0] == "BTC-20260327T0800Z-90000-C: spike alert, open"
    assert "2026-03-26T12:00:00Z, lasting 42 s, unusual in 75 % of observations" in text
    assert "score 5.00, peak 5.50, rank 1; p = 1e-05, about 1 in 100,000" in text
    assert "underlying down, volatility up" in text
    assert "-1,234 USD vega, unknown delta, +500 USD premium" in text
    assert "no skill measured" in text
    assert "spread 5 % of mid or 1.75 vol points, depth 12.5 underlying (1,234 USD vega " in text
    assert "within 2 vol points), quote age 0.4 s, liquidity class 3 of 4" in text
    assert "liquidity 71 %, imbalance 29 %" in text
    assert "z +8.1, value -1.25 against -3.5, p 3e-07" in text


def test_explanation_of_an_invalid_end_says_so_and_shows_no_number():
    end = msgspec.structs.replace(
        PLAIN,
        state="close",
        reason="invalid",
        score=None,
        p=None,
        rank=None,
        liquidity=None,
        families={},
        drivers=(),
        validity=("gap", "no_bid"),
        calibration="warming",
        magnitude_usd_vega=None,
    )
    text = explain(end)
    assert "closed: its book became invalid" in text
    assert "no score now; peak score 5.50 (warming: not yet calibrated)" in text
    assert "read with care: gap, no_bid" in text
    assert "unknown vega" in text


def test_explanation_of_a_group_gives_mean_z_and_leaves_out_what_has_no_share():
    mean = msgspec.structs.replace(SPREAD, value=None, baseline=None, p=None, share=0.995, z=-14.3)
    noise = msgspec.structs.replace(mean, share=0.005, feature="obi")
    text = explain(msgspec.structs.replace(PLAIN, drivers=(mean, noise)))
    assert "log_spread 60s (liquidity): z -14.3, the members' mean" in text
    assert "obi" not in text


def test_explanation_marks_missing_parts():
    bare = Liquidity(
        mid=None,
        spread_rel=None,
        spread_vol=None,
        depth_underlying=None,
        depth_usd_vega=None,
        quote_age_s=None,
        one_sided=True,
        liquidity_class=None,
    )
    driver = msgspec.structs.replace(SPREAD, value=None, baseline=None, z=None)
    text = explain(
        msgspec.structs.replace(PLAIN, liquidity=bare, drivers=(driver,), state="update", seq=3)
    )
    assert "spread unknown, depth unknown, quote age unknown, one-sided" in text
    assert "z -, value - against -, p 3e-07" in text
    assert "open, message 3" in text


@pytest.mark.parametrize("module", [alert, evidence, view_model])
def test_examples_in_docstrings_hold(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
