"""Float instructions of the interpreter, against exact rationals and hand values."""

from fractions import Fraction

import numpy as np
import pytest

from tests.gpu.ptx import UnsupportedPtx
from tests.gpu.ptx_texts import evaluate

pytestmark = pytest.mark.gpu_check

INF, NAN = np.inf, np.nan
DENORMAL = 1e-45  # The smallest positive float32.


def bits(values: np.ndarray) -> list[int]:
    return values.view(f"u{values.itemsize}").tolist()


def nearest(exact: Fraction, dtype: type[np.floating]) -> np.floating:
    """The float nearest to a rational, ties to even, by trying the neighbours of an estimate."""
    estimate = dtype(float(exact))
    down, up = (np.nextafter(estimate, dtype(side)) for side in (-INF, INF))
    finite = [v for v in (down, estimate, up) if np.isfinite(v)]
    word = f"u{estimate.itemsize}"
    return min(finite, key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(word)) & 1))


def fma(kind: str, *rows: tuple[float, float, float]) -> np.ndarray:
    a, b, c = (list(column) for column in zip(*rows, strict=True))
    return evaluate(f"fma.rn.{kind} %d, %a, %b, %c", kind, a=(kind, a), b=(kind, b), c=(kind, c))


def test_fma_f32_rounds_once_where_double_would_round_twice():
    # 1 + 2**-24 + 2**-54 lies just above a tie of float32, but float64 drops the last term.
    got = fma(
        "f32", (1 + 2**-23, 1 - 2**-23, 0.0), (2**-27, 2**-27, 1 + 2**-23), (1.0, 1.0, 2**-24)
    )
    assert got.tolist() == [1.0, 1 + 2**-23, 1.0]
    above_tie = (1 + 2.0**-12) * (1 + 2.0**-12)  # 1 + 2**-11 + 2**-24: a tie, even is below.
    assert above_tie == 1 + 2**-11 + 2**-24
    tie, above, below = fma(
        "f32",
        (1 + 2**-12, 1 + 2**-12, 0.0),
        (1 + 2**-12, 1 + 2**-12, 2.0**-80),
        (1 + 2**-12, 1 + 2**-12, -(2.0**-80)),
    )
    assert tie == below == np.float32(1 + 2**-11)
    assert above == np.float32(1 + 2**-11 + 2**-23)


@pytest.mark.parametrize(("kind", "dtype"), [("f32", np.float32), ("f64", np.float64)])
def test_fma_equals_the_exact_rational_rounded_once(kind, dtype):
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal(900).astype(dtype) for _ in range(2))
    # Cancel nearly all of the product, so that its low bits decide; and add far smaller terms.
    near = -(a * b) * (1 + rng.integers(-2, 3, 900) * np.finfo(dtype).eps).astype(dtype)
    tiny = (rng.standard_normal(900) * 2.0 ** rng.integers(-80, 3, 900)).astype(dtype)
    c = np.where(np.arange(900) % 2, near, tiny).astype(dtype)
    got = fma(kind, *zip(a, b, c, strict=True))
    exact = [
        Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        for x, y, z in zip(a, b, c, strict=True)
    ]
    assert got.tolist() == [nearest(e, dtype) for e in exact]


def test_fma_f64_is_exact_at_the_ends_of_the_exponent_range():
    big, small = 2.0**1000, 2.0**-1074
    got = fma("f64", (big, big, -INF), (big, 2.0**100, 0.0), (2.0**-600, 2.0**-600, small),
              (big, 2.0**24, -(2.0**1023)), (-(2.0**-600), 2.0**-600, 0.0),
               (3.0, small, small))  # fmt: skip
    assert got.tolist() == [-INF, INF, small, 2.0**1023, 0.0, 4 * small]
    assert np.signbit(got[4])


def test_fma_of_zeros_infinities_and_nan_follows_ieee():
    got = fma(
        "f32",
        (0.0, -1.0, 0.0),
        (0.0, -1.0, -0.0),
        (INF, 0.0, 1.0),
        (INF, 1.0, -INF),
        (1.0, 1.0, -1.0),
    )
    assert bits(got) == [0, 0x80000000, 0x7FFFFFFF, 0x7FFFFFFF, 0]
    long = fma("f64", (1.0, 1.0, INF), (-0.0, 1.0, -0.0), (1.0, 1.0, -1.0), (1.0, 1.0, NAN))
    assert bits(long)[:3] == [0x7FF0000000000000, 0x8000000000000000, 0]
    assert np.isnan(long[3])


def test_denormals_are_kept():
    pair = {"a": ("f32", [DENORMAL, 2**-126]), "b": ("f32", [DENORMAL, -(2**-127)])}
    assert bits(evaluate("add.rn.f32 %d, %a, %b", "f32", **pair)) == [2, 0x00400000]
    assert bits(evaluate("mul.f32 %d, %a, %b", "f32", **pair)) == [0, 0x80000000]


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize(
    ("opcode", "exact"),
    [
        ("add", lambda x, y: x + y),
        ("sub.rn", lambda x, y: x - y),
        ("mul.rn", lambda x, y: x * y),
        ("div.rn", lambda x, y: x / y),
    ],
)
def test_arithmetic_is_rounded_to_nearest(kind, opcode, exact):
    dtype = np.float32 if kind == "f32" else np.float64
    rng = np.random.default_rng(6)
    a, b = (rng.standard_normal(200).astype(dtype) for _ in range(2))
    got = evaluate(f"{opcode}.{kind} %d, %a, %b", kind, a=(kind, a), b=(kind, b))
    pairs = zip(a, b, strict=True)
    assert got.tolist() == [
        nearest(exact(Fraction(float(x)), Fraction(float(y))), dtype) for x, y in pairs
    ]


def test_square_root_and_reciprocal_are_rounded_to_nearest():
    values = [2.0, 4.0, 0.0, -0.0, -1.0, INF, 3.0]
    root = evaluate("sqrt.rn.f32 %d, %a", "f32", a=("f32", values))
    assert bits(root) == [0x3FB504F3, 0x40000000, 0, 0x80000000, 0x7FFFFFFF, 0x7F800000, 0x3FDDB3D7]
    inverse = evaluate("rcp.rn.f32 %d, %a", "f32", a=("f32", values))
    assert bits(inverse)[:4] == [0x3F000000, 0x3E800000, 0x7F800000, 0xFF800000]
    assert bits(inverse)[6] == 0x3EAAAAAB
    assert evaluate("sqrt.rn.f64 %d, %a", "f64", a=("f64", [2.0])).tolist() == [1.4142135623730951]


def test_every_f32_nan_is_the_canonical_one():
    got = evaluate("add.f32 %d, %a, %b", "f32", a=("f32", [NAN, INF]), b=("f32", [1.0, -INF]))
    assert bits(got) == [0x7FFFFFFF, 0x7FFFFFFF]


EXTREMES = {
    "a": ("f32", [NAN, 1.0, NAN, -0.0, 0.0, 2.0, -INF]),
    "b": ("f32", [1.0, NAN, NAN, 0.0, -0.0, 3.0, 5.0]),
}


def test_minimum_and_maximum_skip_nan_and_order_the_zeros():
    low = bits(evaluate("min.f32 %d, %a, %b", "f32", **EXTREMES))
    high = bits(evaluate("max.f32 %d, %a, %b", "f32", **EXTREMES))
    one, two, three, five, minus_inf = 0x3F800000, 0x40000000, 0x40400000, 0x40A00000, 0xFF800000
    assert low == [one, one, 0x7FFFFFFF, 0x80000000, 0x80000000, two, minus_inf]
    assert high == [one, one, 0x7FFFFFFF, 0, 0, three, five]


def test_a_zero_that_wins_keeps_its_sign():
    pairs = {"a": ("f32", [-0.0, 0.0, NAN, -0.0]), "b": ("f32", [NAN, 5.0, -0.0, 5.0])}
    assert bits(evaluate("min.f32 %d, %a, %b", "f32", **pairs)) == [
        0x80000000,
        0,
        *[0x80000000] * 2,
    ]
    pairs = {"a": ("f32", [-0.0, 0.0, NAN, -0.0]), "b": ("f32", [NAN, -5.0, 0.0, -5.0])}
    assert bits(evaluate("max.f32 %d, %a, %b", "f32", **pairs)) == [0x80000000, 0, 0, 0x80000000]


def test_minimum_with_nan_keeps_it():
    got = evaluate("min.NaN.f32 %d, %a, %b", "f32", **EXTREMES)
    assert np.isnan(got).tolist() == [True, True, True, False, False, False, False]


def test_sign_instructions_change_only_the_sign_bit():
    value = {"a": ("b32", [0x7FC00001, 0x80000000, 0x3F800000])}
    text = "mov.b32 %f1, %a; {}.f32 %f2, %f1; mov.b32 %d, %f2"
    assert evaluate(text.format("neg"), "b32", **value).tolist() == [0xFFC00001, 0, 0xBF800000]
    assert evaluate(text.format("abs"), "b32", **value).tolist() == [0x7FC00001, 0, 0x3F800000]
    got = evaluate("copysign.f32 %d, %a, %b", "f32", a=("f32", [-1.0, 1.0]), b=("f32", [2.0, -3.0]))
    assert got.tolist() == [-2.0, 3.0]


def test_saturated_sum_lies_between_zero_and_one():
    got = evaluate(
        "add.sat.f32 %d, %a, %b",
        "f32",
        a=("f32", [2.0, -2.0, NAN, 0.25]),
        b=("f32", [1.0, 1.0, 1.0, 0.5]),
    )
    assert got.tolist() == [1.0, 0.0, 0.0, 0.75]


@pytest.mark.parametrize(
    "text",
    ["div.approx.f32 %d, %a, %a", "div.full.f32 %d, %a, %a", "ex2.approx.f32 %d, %a",
     "add.ftz.f32 %d, %a, %a",
     "add.rz.f32 %d, %a, %a", "sqrt.approx.f32 %d, %a", "rcp.approx.ftz.f32 %d, %a",
     "fma.rm.f32 %d, %a, %a, %a",
     "mul.rp.f64 %fd1, %fd1, %fd1", "tanh.approx.f32 %d, %a", "cvt.rz.f32.f64 %d, %fd1"],
)  # fmt: skip
def test_an_instruction_without_promised_or_modelled_bits_is_refused_by_name(text):
    with pytest.raises(UnsupportedPtx, match=text.split()[0].replace(".", r"\.")):
        evaluate(text, "f32", a=("f32", [1.0]))


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("cvt.rzi.s32.f32", [1.9, -1.9, NAN, 3e9, -INF], [1, -1, 0, 2**31 - 1, -(2**31)]),
        ("cvt.rni.s32.f32", [0.5, 1.5, 2.5, -0.5, -2.5], [0, 2, 2, 0, -2]),
        ("cvt.rmi.s32.f32", [0.5, -0.5, -3.0, 7.9, -7.1], [0, -1, -3, 7, -8]),
        ("cvt.rpi.s32.f32", [0.5, -0.5, -3.0, 7.1, -7.9], [1, 0, -3, 8, -7]),
        ("cvt.rzi.u32.f32", [-1.0, 5e9, NAN, 4294967040.0, 2.9], [0, 2**32 - 1, 0, 4294967040, 2]),
        (
            "cvt.rzi.s64.f32",
            [NAN, 1e30, -1e30, 9.5, 2.0**40],
            [-(2**63), 2**63 - 1, -(2**63), 9, 2**40],
        ),
        (
            "cvt.rzi.s32.f64",
            [NAN, 1e30, 2147483646.9, -1e10, 0.0],
            [-(2**31), 2**31 - 1, 2147483646, -(2**31), 0],
        ),
        ("cvt.rzi.u64.f64", [NAN, 1e30, -5.0, 2.0**63, 7.5], [2**63, 2**64 - 1, 0, 2**63, 7]),
    ],
)
def test_floats_become_integers_clamped(text, values, expected):
    _, _, target, source = text.split(".")
    assert evaluate(f"{text} %d, %a", target, a=(source, values)).tolist() == expected


@pytest.mark.parametrize(
    ("kind", "target"),
    [("s64", "f32"), ("u64", "f32"), ("u32", "f32"), ("s64", "f64"), ("u64", "f64")],
)
def test_integers_become_the_nearest_float(kind, target):
    dtype = np.float32 if target == "f32" else np.float64
    bits_, signed = int(kind[1:]), kind[0] == "s"
    top = 2 ** (bits_ - signed) - 1
    values = [
        top,
        top - 1,
        2**24 + 1,
        2**24 + 3,
        top // 3,
        (2**24 + 1) << 7 | 1,
        (top >> 11) + 1,
        0,
    ]
    values += [-v for v in values] if signed else []
    got = evaluate(f"cvt.rn.{target}.{kind} %d, %a", target, a=(kind, values))
    assert got.tolist() == [nearest(Fraction(v), dtype) for v in values]


def test_floats_of_two_widths_convert_with_one_rounding():
    got = evaluate(
        "cvt.rn.f32.f64 %d, %a",
        "f32",
        a=("f64", [1 + 2**-24, 1 + 2**-24 + 2**-50, 1e300, 1e-46, NAN]),
    )
    assert bits(got) == [0x3F800000, 0x3F800001, 0x7F800000, 0, 0x7FFFFFFF]
    assert evaluate("cvt.f64.f32 %d, %a", "f64", a=("f32", [0.1])).tolist() == [
        float(np.float32(0.1))
    ]


def test_floats_round_to_integral_floats():
    values = {"a": ("f32", [2.5, -0.2, -1.5, 1e10])}
    assert evaluate("cvt.rni.f32.f32 %d, %a", "f32", **values).tolist() == [2.0, -0.0, -2.0, 1e10]
    assert evaluate("cvt.rmi.f32.f32 %d, %a", "f32", **values).tolist() == [2.0, -1.0, -2.0, 1e10]
    assert evaluate("cvt.sat.f32.f32 %d, %a", "f32", **values).tolist() == [1.0, 0.0, 0.0, 1.0]
