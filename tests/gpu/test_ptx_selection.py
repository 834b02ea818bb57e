"""Comparisons, selections and special registers of the interpreter."""

import numpy as np
import pytest

from tests.gpu.ptx_texts import evaluate, run

pytestmark = pytest.mark.gpu_check

NAN, INF = np.nan, np.inf
LEFT, RIGHT = [1.0, 2.0, 2.0, NAN, 1.0, -0.0, INF], [2.0, 1.0, 2.0, 1.0, NAN, 0.0, INF]
ORDERED = {
    "eq": [0, 0, 1, 0, 0, 1, 1],
    "ne": [1, 1, 0, 0, 0, 0, 0],
    "lt": [1, 0, 0, 0, 0, 0, 0],
    "le": [1, 0, 1, 0, 0, 1, 1],
    "gt": [0, 1, 0, 0, 0, 0, 0],
    "ge": [0, 1, 1, 0, 0, 1, 1],
    "num": [1, 1, 1, 0, 0, 1, 1],
    "nan": [0, 0, 0, 1, 1, 0, 0],
}
HAS_NAN = [0, 0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("name", ORDERED)
def test_ordered_comparisons_are_false_for_nan(name):
    got = evaluate(f"setp.{name}.f32 %d, %a, %b", "pred", a=("f32", LEFT), b=("f32", RIGHT))
    assert got.tolist() == ORDERED[name]


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_unordered_comparisons_are_true_for_nan(name):
    got = evaluate(f"setp.{name}u.f64 %d, %a, %b", "pred", a=("f64", LEFT), b=("f64", RIGHT))
    assert got.tolist() == [x | y for x, y in zip(ORDERED[name], HAS_NAN, strict=True)]


def test_integer_comparisons_know_their_sign():
    values = {"a": ("b32", [0xFFFFFFFF, 1]), "b": ("b32", [1, 1])}
    assert evaluate("setp.lt.s32 %d, %a, %b", "pred", **values).tolist() == [1, 0]
    assert evaluate("setp.lt.u32 %d, %a, %b", "pred", **values).tolist() == [0, 0]
    for name, expected in (("lo", [0, 0]), ("ls", [0, 1]), ("hi", [1, 0]), ("hs", [1, 1])):
        assert evaluate(f"setp.{name}.u32 %d, %a, %b", "pred", **values).tolist() == expected


def test_a_comparison_joins_another_predicate():
    values = {"a": ("s32", [1, 1, 5, 5]), "b": ("s32", [2, 2, 2, 2]), "c": ("pred", [0, 1, 0, 1])}
    assert evaluate("setp.lt.and.s32 %d, %a, %b, %c", "pred", **values).tolist() == [0, 1, 0, 0]
    assert evaluate("setp.lt.or.s32 %d, %a, %b, %c", "pred", **values).tolist() == [1, 1, 0, 1]
    assert evaluate("setp.lt.xor.s32 %d, %a, %b, !%c", "pred", **values).tolist() == [0, 1, 1, 0]
    assert evaluate("setp.lt.and.s32 %p1|%d, %a, %b, %c", "pred", **values).tolist() == [0, 0, 0, 1]


def test_set_gives_all_ones_or_one():
    values = {"a": ("f32", [1.0, 3.0]), "b": ("f32", [2.0, 2.0])}
    assert evaluate("set.lt.u32.f32 %d, %a, %b", "u32", **values).tolist() == [0xFFFFFFFF, 0]
    assert evaluate("set.lt.f32.f32 %d, %a, %b", "f32", **values).tolist() == [1.0, 0.0]


def test_selections_choose_by_predicate_or_sign():
    values = {"a": ("f32", [1.0, 2.0]), "b": ("f32", [3.0, 4.0])}
    assert evaluate("selp.f32 %d, %a, %b, %c", "f32", c=("pred", [1, 0]), **values).tolist() == [
        1.0,
        4.0,
    ]
    assert evaluate(
        "slct.f32.s32 %d, %a, %b, %c", "f32", c=("s32", [0, -1]), **values
    ).tolist() == [1.0, 4.0]


def test_testp_classifies_floats():
    values = {"a": ("f32", [0.0, 1e-45, 1.0, INF, NAN])}
    expected = {
        "finite": [1, 1, 1, 0, 0],
        "infinite": [0, 0, 0, 1, 0],
        "number": [1, 1, 1, 1, 0],
        "notanumber": [0, 0, 0, 0, 1],
        "normal": [0, 0, 1, 0, 0],
        "subnormal": [0, 1, 0, 0, 0],
    }
    for name, truth in expected.items():
        assert evaluate(f"testp.{name}.f32 %d, %a", "pred", **values).tolist() == truth


def test_a_false_guard_leaves_the_register_alone():
    got = evaluate(
        "mov.u32 %d, 9; @%a mov.u32 %d, 1; @!%a add.u32 %d, %d, 1", "u32", a=("pred", [0, 1])
    )
    assert got.tolist() == [10, 1]


def test_special_registers_of_a_grid_with_two_dimensions():
    # Place in the grid from all coordinates, x fastest; each thread writes its own coordinates
    # there.
    body = """
        mov.u32 %r4, %tid.x; mov.u32 %r5, %tid.y; mov.u32 %r6, %ctaid.x; mov.u32 %r7, %ctaid.y;
        mov.u32 %r8, %ntid.x; mov.u32 %r9, %ntid.y; mov.u32 %r10, %nctaid.x;
        mad.lo.u32 %r11, %r7, %r10, %r6;
        mad.lo.u32 %r11, %r11, %r9, %r5;
        mad.lo.u32 %r11, %r11, %r8, %r4;
        mad.wide.u32 %rd1, %r11, 4, %rd0;
        shl.b32 %r12, %r7, 24; shl.b32 %r13, %r6, 16; shl.b32 %r14, %r5, 8;
        or.b32 %r12, %r12, %r13; or.b32 %r12, %r12, %r14; or.b32 %r12, %r12, %r4;
        st.global.u32 [%rd1], %r12;
    """
    (got,) = run(body, np.zeros(2 * 3 * 4 * 5, np.uint32), grid=(2, 3), block=(4, 5))
    expected = [
        cy << 24 | cx << 16 | ty << 8 | tx
        for cy in range(3) for cx in range(2) for ty in range(5) for tx in range(4)
    ]  # fmt: skip
    assert sorted(got.tolist()) == sorted(expected)
    assert len(set(expected)) == 120


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("laneid", lambda t: t % 32),
        ("warpid", lambda t: t // 32),
        ("lanemask_eq", lambda t: 1 << t % 32),
        ("lanemask_lt", lambda t: (1 << t % 32) - 1),
        ("lanemask_le", lambda t: (2 << t % 32) - 1),
        ("lanemask_gt", lambda t: 0xFFFFFFFF & ~((2 << t % 32) - 1)),
        ("lanemask_ge", lambda t: 0xFFFFFFFF & ~((1 << t % 32) - 1)),
    ],
)
def test_special_registers_of_a_lane(name, expected):
    body = f"mov.u32 %r5, %{name}; add.s64 %rd0, %rd0, %rd20; st.global.u32 [%rd0], %r5;"
    (got,) = run(body, np.zeros(96, np.uint32), grid=2, block=48)
    assert got.tolist() == [expected(t) for t in range(48)] * 2
