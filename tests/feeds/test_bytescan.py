"""The byte scanners' subset of JSON, against Python's own reading of numbers and JSON."""

import ctypes
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.bytescan import grammar
from feeds.bytescan.compile import compiled
from feeds.bytescan.scanner import ByteScanner

REFUSED = "refused"
SKIP = compiled(grammar.skip)
NUMBER = compiled(grammar.number)
INTEGER = compiled(grammar.integer)
QUOTED = compiled(grammar.quoted_number)


def scan(function: Callable[..., Any], text: str | bytes) -> Any:
    """What a scanner gives for a text that it must take whole: its value, True, or REFUSED."""
    data = text.encode() if isinstance(text, str) else text
    buffer = ctypes.create_string_buffer(data + b"\n" * grammar.PADDING)
    begin = ctypes.addressof(buffer)
    answer = function(np.uint64(begin))
    value, at = answer if isinstance(answer, tuple) else (True, answer)
    return value if at == begin + len(data) else REFUSED


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        ("0.0005", 0.0005),
        ("-12.5", -12.5),
        ("93211.45", 93211.45),
        ("1e-05", 0.00001),
        ("1.25E+3", 1250.0),
        ("9007199254740992", 2.0**53),
        ("0.1", 0.1),
        ("123456789012345e-22", 123456789012345e-22),
    ],
)
def test_numbers_are_read_as_python_reads_them(text, value):
    assert scan(NUMBER, text) == value


@pytest.mark.parametrize(
    "text",
    ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "1e123", "1_0", "0x1", "NaN", "-0", "-0.0",
     "9007199254740993", "1234567890123456789012", "1e23", "1e-23", " 1", "1 "],
)  # fmt: skip
def test_numbers_that_are_none_or_not_exactly_so_are_refused(text):
    assert scan(NUMBER, text) == REFUSED


@given(st.integers(0, 10**15), st.integers(-22, 6), st.sampled_from(["", "-"]))
def test_every_decimal_of_fifteen_digits_is_rounded_as_python_rounds(mantissa, power, sign):
    digits = str(mantissa)
    whole, _, part = f"{digits[:-4] or '0'}.{digits[-4:]}".partition(".")
    text = f"{sign}{whole}.{part}e{power + 4}" if power + 4 else f"{sign}{whole}.{part}"
    found = scan(NUMBER, text)
    assert found == float(text) or (found == REFUSED and (mantissa == 0 or abs(power) > 22))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_is_read_exactly_or_refused(value):
    found = scan(NUMBER, repr(value))
    assert found == REFUSED or (
        found == value and math.copysign(1, found) == math.copysign(1, value)
    )


def test_prices_and_sizes_of_a_venue_are_not_refused():
    for ticks in range(1, 4000, 7):
        assert scan(NUMBER, repr(ticks * 5 / 10_000)) == ticks * 5 / 10_000
        assert scan(NUMBER, f"{ticks * 12.5:.2f}") == ticks * 12.5


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("33195894355", 33195894355), ("9" * 18, 10**18 - 1), ("9" * 19, REFUSED),
     ("007", REFUSED), ("-1", REFUSED), ("", REFUSED), ("1.0", REFUSED)],
)  # fmt: skip
def test_integers_have_at_most_eighteen_digits_and_no_sign(text, value):
    assert scan(INTEGER, text) == value


@pytest.mark.parametrize(
    "text",
    ["0", "0.0", "5", "12345678", "1234567.8", "12345678.9", "0.00000001", "123456789012345",
     "1234567890.12345", "12345678901234.5", "1234567890123456", "-0.32489797", "-1.0", "1e-05",
     "-12.5E+3", "81760.36521739", "0.123456789012345678", "9007199254740993", "-0", "-0.00", "00",
     "01", "-01.5", "1.", ".5", "-", "-.5", "1.2.3", "12345678.1.2", "1-2", "1e", "", "nan", "inf",
     " 1", "1 ", "+1", "1,5", "0x1", "\u0661", "1\x00", "123456789\u00e9"],
)  # fmt: skip
def test_a_number_in_quotes_is_read_as_one_without(text):
    assert scan(QUOTED, f'"{text}"') == scan(NUMBER, text)
    assert scan(QUOTED, f'"{text}') == REFUSED
    assert scan(QUOTED, text + '"') == REFUSED
    with np.errstate(over="ignore"):
        assert scan(grammar.quoted_number, f'"{text}"') == scan(NUMBER, text)


@given(st.from_regex(r"-?[0-9]{1,10}([.][0-9]{0,10})?(e-?[0-9])?", fullmatch=True))
def test_any_number_in_quotes_is_read_as_one_without(text):
    assert scan(QUOTED, f'"{text}"') == scan(NUMBER, text)


@pytest.mark.parametrize("text", ['"1.5', '"12\xb9"', '"1.5,', '"1e5x"', "1.5", '"-1x"'])
def test_a_number_that_is_refused_has_no_value(text):
    """Callers check its limits first, and read on behind it."""
    buffer = ctypes.create_string_buffer(text.encode() + b"\n" * grammar.PADDING)
    assert QUOTED(np.uint64(ctypes.addressof(buffer))) == (0.0, grammar.REFUSED)


PLAIN_TEXT = st.text(
    st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters='"\\')
)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.decimals(-(10**9), 10**9, places=4).map(float)
    | PLAIN_TEXT
)
ANY = PLAIN | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


@given(nested(PLAIN, PLAIN_TEXT))
def test_plain_json_is_skipped_whole(value):
    assert scan(SKIP, json.dumps(value, separators=(",", ":"))) is True


@given(
    nested(ANY, st.text(max_size=9)), st.integers(0, 200), st.binary(max_size=3), st.integers(0, 3)
)
def test_what_is_skipped_whole_is_json(value, place, added, dropped):
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    data = data[:place] + added + data[place + dropped :]
    if b"\n" not in data and scan(SKIP, data) is True:
        json.loads(data)


@pytest.mark.parametrize(
    "text",
    ["[1,]", "{,}", '{"a"}', '{"a":}', "[1 ,2]", '"\\n"', '"é"', "tr", "nu", "[", "]", "{]", "[}",
     '{"a":1', "[" * 17 + "]" * 17, "1,2", "", '{"a":1]', '["a":1]', "[1]]"],
)  # fmt: skip
def test_what_is_no_plain_json_is_refused(text):
    assert scan(SKIP, text) == REFUSED


@pytest.mark.parametrize(
    "function", [grammar.skip, grammar.number, grammar.integer, grammar.string]
)
@pytest.mark.parametrize(
    "text",
    ['{"a":[1,{"b":"c"}]}', "12.5e1", "12", '"x"', '"', "", "-", "1.e", "0." + "1" * 30, "1" * 30],
)
def test_the_python_of_a_scanner_does_what_is_compiled_from_it(function, text):
    with np.errstate(over="ignore"):
        assert scan(function, text) == scan(compiled(function), text)


COMPILE_WITHOUT_A_CACHE = """
import numpy as np
from feeds.bytescan import compile as bytescan, grammar
from kernels import compile as kernels
from kernels.laws.book import imbalance
digits = bytescan.compiled(grammar.closed)
law = kernels.compiled(imbalance)
assert law(np.float32(3), np.float32(1)) == 0.5
for one in (digits, law):
    assert type(one._cache).__name__ == "NullCache"
"""


def test_without_a_place_for_a_cache_every_start_compiles():
    place = {"SCANNER_KERNEL_CACHE": "/dev/null/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE_WITHOUT_A_CACHE],
        env=os.environ | place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_threads_batches_share_their_room_unless_it_is_large():
    scanner = ByteScanner(lambda *_places: (), bytes_per=(64, 16, 128))
    room = scanner._kept_room(1_000)
    assert np.shares_memory(room, scanner._kept_room(900))
    with ThreadPoolExecutor(1) as other:
        assert not np.shares_memory(room, other.submit(scanner._kept_room, 900).result())
    large = scanner._kept_room(1 << 20)
    assert len(large) == 1 << 20
    assert np.shares_memory(room, scanner._kept_room(900))
