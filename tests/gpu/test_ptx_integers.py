"""Integer and bit instructions of the interpreter, against Python's integers."""

import numpy as np
import pytest

from tests.gpu.ptx import MachineFault, UnsupportedPtx
from tests.gpu.ptx_texts import evaluate

pytestmark = pytest.mark.gpu_check

LOW32, LOW64 = -(2**31), -(2**63)
EDGES32 = [0, 1, -1, 2**31 - 1, LOW32, 12345, -98765, 7]
EDGES64 = [0, 1, -1, 2**63 - 1, LOW64, 123456789012345, -987654321098765, 7]


def pairs(edges: list[int]) -> tuple[list[int], list[int]]:
    a = [x for x in edges for _ in edges]
    b = edges * len(edges)
    return a, b


def wrapped(value: int, kind: str) -> int:
    width = int(kind[1:])
    value %= 1 << width
    return value - (1 << width) if kind[0] == "s" and value >> (width - 1) else value


def quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def edges_of(kind: str) -> tuple[list[int], list[int]]:
    edges = EDGES64 if kind.endswith("64") else EDGES32
    if kind[1:] == "16":
        edges = [0, 1, -1, 2**15 - 1, -(2**15), 123, -7]
    return pairs([wrapped(e, kind) for e in edges])


BINARY = {
    "add": lambda a, b, w: a + b,
    "sub": lambda a, b, w: a - b,
    "mul.lo": lambda a, b, w: a * b,
    "mul.hi": lambda a, b, w: a * b >> w,
    "min": lambda a, b, w: min(a, b),
    "max": lambda a, b, w: max(a, b),
}


@pytest.mark.parametrize("kind", ["s16", "u16", "s32", "u32", "s64", "u64"])
@pytest.mark.parametrize("opcode", BINARY)
def test_integer_arithmetic_wraps_at_its_width(opcode, kind):
    a, b = edges_of(kind)
    got = evaluate(f"{opcode}.{kind} %d, %a, %b", kind, a=(kind, a), b=(kind, b))
    width = int(kind[1:])
    assert got.tolist() == [
        wrapped(BINARY[opcode](x, y, width), kind) for x, y in zip(a, b, strict=True)
    ]


@pytest.mark.parametrize("kind", ["s32", "u32", "s64", "u64"])
def test_division_rounds_towards_zero_and_the_rest_has_the_dividends_sign(kind):
    a, b = edges_of(kind)
    a, b = zip(*[(x, y) for x, y in zip(a, b, strict=True) if y], strict=True)
    operands = {"a": (kind, list(a)), "b": (kind, list(b))}
    expected = [quotient(x, y) for x, y in zip(a, b, strict=True)]
    rests = [x - q * y for x, y, q in zip(a, b, expected, strict=True)]
    assert evaluate(f"div.{kind} %d, %a, %b", kind, **operands).tolist() == [
        wrapped(q, kind) for q in expected
    ]
    assert evaluate(f"rem.{kind} %d, %a, %b", kind, **operands).tolist() == rests


@pytest.mark.parametrize("opcode", ["div.s32", "rem.u32"])
def test_division_by_zero_is_a_fault(opcode):
    kind = opcode[-3:]
    with pytest.raises(MachineFault, match=r"division by zero.*thread 1 "):
        evaluate(f"{opcode} %d, %a, %b", kind, a=(kind, [1, 1]), b=(kind, [1, 0]))


@pytest.mark.parametrize("kind", ["s16", "u16", "s32", "u32"])
def test_wide_products_have_all_bits(kind):
    a, b = edges_of(kind)
    wide = f"{kind[0]}{2 * int(kind[1:])}"
    got = evaluate(f"mul.wide.{kind} %d, %a, %b", wide, a=(kind, a), b=(kind, b))
    assert got.tolist() == [x * y for x, y in zip(a, b, strict=True)]


def test_multiply_add_takes_the_part_it_names():
    operands = {"a": ("s32", [LOW32, -3]), "b": ("s32", [LOW32, 5]), "c": ("s32", [1, 100])}
    assert evaluate("mad.lo.s32 %d, %a, %b, %c", "s32", **operands).tolist() == [1, 85]
    assert evaluate("mad.hi.s32 %d, %a, %b, %c", "s32", **operands).tolist() == [2**30 + 1, 99]
    wide = evaluate("cvt.s64.s32 %rd1, %c; mad.wide.s32 %d, %a, %b, %rd1", "s64", **operands)
    assert wide.tolist() == [2**62 + 1, 85]


def test_saturating_sum_stops_at_the_limits():
    got = evaluate(
        "add.sat.s32 %d, %a, %b", "s32", a=("s32", [2**31 - 1, LOW32, 1]), b=("s32", [1, -1, 2])
    )
    assert got.tolist() == [2**31 - 1, LOW32, 3]


def test_carry_passes_from_the_low_word_to_the_high_one():
    text = "add.cc.u32 %r10, %a, %b; addc.u32 %r11, %r10, 0; addc.u32 %d, 0, 0"
    assert evaluate(text, "u32", a=("u32", [2**32 - 1, 1]), b=("u32", [1, 1])).tolist() == [1, 0]
    text = "sub.cc.u32 %r10, %a, %b; subc.u32 %d, 5, 0"
    assert evaluate(text, "u32", a=("u32", [0, 1]), b=("u32", [1, 1])).tolist() == [4, 5]
    text = "add.cc.u32 %r10, %a, %b; addc.cc.u32 %r11, %a, %b; addc.u32 %d, 0, 0"
    assert evaluate(text, "u32", a=("u32", [2**32 - 1]), b=("u32", [2**32 - 1])).tolist() == [1]
    # The carry that comes in makes the next one go out.
    text = "add.cc.u32 %r10, %a, 1; addc.cc.u32 %r11, %a, 0; addc.u32 %d, 0, 0"
    assert evaluate(text, "u32", a=("u32", [2**32 - 1, 2**32 - 2])).tolist() == [1, 0]
    text = "sub.cc.u32 %r10, %a, 1; subc.cc.u32 %r11, %a, 0; subc.u32 %d, 5, 0"
    assert evaluate(text, "u32", a=("u32", [0, 1])).tolist() == [4, 5]


@pytest.mark.parametrize(
    ("opcode", "kind", "expected"),
    [
        ("shl", "b32", [0x80000001, 0x00000010, 0x80000000, 0, 0, 0]),
        ("shr", "u32", [0x80000001, 0x08000000, 1, 0, 0, 0]),
        ("shr", "s32", [wrapped(0x80000001, "s32"), wrapped(0xF8000000, "s32"), -1, -1, -1, -1]),
    ],
)
def test_shifts_clamp_their_amount_to_the_width(opcode, kind, expected):
    values = [wrapped(0x80000001, kind)] * 6
    amounts = ("u32", [0, 4, 31, 32, 63, 2**32 - 1])
    assert (
        evaluate(f"{opcode}.{kind} %d, %a, %b", kind, a=(kind, values), b=amounts).tolist()
        == expected
    )


def test_shifts_of_64_bits_keep_what_lies_beyond_32():
    got = evaluate("shl.b64 %d, %a, %b", "u64", a=("u64", [1, 1, 1]), b=("u32", [40, 63, 64]))
    assert got.tolist() == [2**40, 2**63, 0]


def test_funnel_shift_takes_bits_of_both_words():
    words = {
        "a": ("b32", [0x89ABCDEF] * 3),
        "b": ("b32", [0x01234567] * 3),
        "c": ("b32", [8, 32, 40]),
    }
    left, right = "shf.l.{}.b32 %d, %a, %b, %c", "shf.r.{}.b32 %d, %a, %b, %c"
    assert evaluate(left.format("wrap"), "b32", **words).tolist() == [
        0x23456789,
        0x01234567,
        0x23456789,
    ]
    assert evaluate(left.format("clamp"), "b32", **words).tolist() == [
        0x23456789,
        0x89ABCDEF,
        0x89ABCDEF,
    ]
    assert evaluate(right.format("wrap"), "b32", **words).tolist() == [
        0x6789ABCD,
        0x89ABCDEF,
        0x6789ABCD,
    ]
    assert evaluate(right.format("clamp"), "b32", **words).tolist() == [
        0x6789ABCD,
        0x01234567,
        0x01234567,
    ]


def test_logic_works_on_bits_and_on_predicates():
    bits = {"a": ("b32", [0b1100]), "b": ("b32", [0b1010])}
    for opcode, expected in (("and", 0b1000), ("or", 0b1110), ("xor", 0b0110)):
        assert evaluate(f"{opcode}.b32 %d, %a, %b", "b32", **bits).tolist() == [expected]
    truth = {"a": ("pred", [0, 0, 1, 1]), "b": ("pred", [0, 1, 0, 1])}
    for opcode, expected in (("and", [0, 0, 0, 1]), ("or", [0, 1, 1, 1]), ("xor", [0, 1, 1, 0])):
        assert evaluate(f"{opcode}.pred %d, %a, %b", "pred", **truth).tolist() == expected
    assert evaluate("not.pred %d, %a", "pred", **truth).tolist() == [1, 1, 0, 0]
    assert evaluate("not.b32 %d, %a", "b32", **bits).tolist() == [0xFFFFFFF3]
    assert evaluate("cnot.b32 %d, %a", "b32", a=("b32", [0, 5])).tolist() == [1, 0]


@pytest.mark.parametrize("table", [0x96, 0xE8, 0x1B, 0xFF, 0x00])
def test_lop3_looks_each_bit_up_in_its_table(table):
    rng = np.random.default_rng(8)
    a, b, c = (rng.integers(0, 2**32, 8).tolist() for _ in range(3))
    got = evaluate(
        f"lop3.b32 %d, %a, %b, %c, {table}", "b32", a=("b32", a), b=("b32", b), c=("b32", c)
    )
    expected = [
        sum(
            (table >> ((x >> k & 1) * 4 + (y >> k & 1) * 2 + (z >> k & 1)) & 1) << k
            for k in range(32)
        )
        for x, y, z in zip(a, b, c, strict=True)
    ]
    assert got.tolist() == expected


def test_bits_are_counted_found_and_reversed():
    values = [0, 1, 0x80000000, 0x00F00000, 0xFFFFFFFF]
    word = {"a": ("u32", values)}
    none = 0xFFFFFFFF
    assert evaluate("popc.b32 %d, %a", "u32", **word).tolist() == [0, 1, 1, 4, 32]
    assert evaluate("clz.b32 %d, %a", "u32", **word).tolist() == [32, 31, 0, 8, 0]
    assert evaluate("bfind.u32 %d, %a", "u32", **word).tolist() == [none, 0, 31, 23, 31]
    assert evaluate("bfind.shiftamt.u32 %d, %a", "u32", **word).tolist() == [none, 31, 0, 8, 0]
    assert evaluate("bfind.s32 %d, %a", "u32", a=("s32", [-1, -2, 5, LOW32])).tolist() == [
        none,
        0,
        2,
        30,
    ]
    assert evaluate("brev.b32 %d, %a", "u32", **word).tolist() == [
        0,
        0x80000000,
        1,
        0x00000F00,
        none,
    ]
    long = {"a": ("u64", [0, 1, 2**63, 2**40])}
    assert evaluate("popc.b64 %d, %a", "u32", **long).tolist() == [0, 1, 1, 1]
    assert evaluate("clz.b64 %d, %a", "u32", **long).tolist() == [64, 63, 0, 23]
    assert evaluate("brev.b64 %d, %a", "u64", **long).tolist() == [0, 2**63, 1, 2**23]


def extracted(value: int, start: int, length: int, width: int, *, signed: bool) -> int:
    """bfe, bit by bit as the manual writes it."""

    def bit(k):
        return value >> k & 1

    sign = bit(min(start + length - 1, width - 1)) if signed and length else 0
    bits = [bit(start + k) if k < length and start + k < width else sign for k in range(width)]
    return sum(b << k for k, b in enumerate(bits))


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_bit_fields_are_extracted_with_their_sign(kind):
    width = int(kind[1:])
    cases = [(s, n) for s in (0, 3, width - 1, width, 255) for n in (0, 1, 8, width, 255)]
    value = 0x8F0FA5C3_89ABCDEF % 2**width
    starts, lengths = zip(*cases, strict=True)
    got = evaluate(
        f"bfe.{kind} %d, %a, %b, %c", kind,
        a=(kind, [wrapped(value, kind)] * len(cases)), b=("u32", list(starts)), c=("u32",
        list(lengths)),
    )  # fmt: skip
    signed = kind[0] == "s"
    assert [wrapped(x, f"u{width}") for x in got.tolist()] == [
        extracted(value, s, n, width, signed=signed) for s, n in cases
    ]


def test_bit_fields_are_inserted_where_they_fit():
    cases = [(0, 8), (28, 8), (4, 0), (40, 4), (0, 32)]
    starts, lengths = zip(*cases, strict=True)
    got = evaluate(
        "bfi.b32 %d, %a, %e, %b, %c", "b32", a=("b32", [0xAB] * 5), e=("b32", [0x11111111] * 5),
        b=("u32", list(starts)), c=("u32", list(lengths)),
    )  # fmt: skip
    assert got.tolist() == [0x111111AB, 0xB1111111, 0x11111111, 0x11111111, 0xAB]


def test_prmt_picks_bytes_and_signs():
    words = {"a": ("b32", [0x83020100] * 3), "b": ("b32", [0x87060504] * 3)}
    got = evaluate("prmt.b32 %d, %a, %b, %c", "b32", c=("b32", [0x7654, 0x0123, 0xB8F0]), **words)
    assert got.tolist() == [0x87060504, 0x00010283, 0xFF00FF00]


def test_conversions_extend_truncate_and_saturate():
    values = {"a": ("s32", [-1, 300, -300, 127])}
    assert evaluate("cvt.s64.s32 %d, %a", "s64", **values).tolist() == [-1, 300, -300, 127]
    assert evaluate("cvt.u64.u32 %d, %a", "u64", **values).tolist() == [
        2**32 - 1,
        300,
        2**32 - 300,
        127,
    ]
    assert evaluate("cvt.s16.s32 %d, %a", "s16", **values).tolist() == [-1, 300, -300, 127]
    assert evaluate("cvt.s8.s32 %rs1, %a; cvt.s32.s16 %d, %rs1", "s32", **values).tolist() == [
        -1,
        44,
        -44,
        127,
    ]
    assert evaluate("cvt.u8.u32 %rs1, %a; cvt.u32.u16 %d, %rs1", "u32", **values).tolist() == [
        255,
        44,
        212,
        127,
    ]
    assert evaluate("cvt.sat.u8.s32 %rs1, %a; cvt.u32.u16 %d, %rs1", "u32", **values).tolist() == [
        0,
        255,
        0,
        127,
    ]
    long = {"a": ("s64", [2**40, -(2**40), 5])}
    assert evaluate("cvt.u32.u64 %d, %a", "u32", **long).tolist() == [0, 0, 5]
    assert evaluate("cvt.sat.s32.s64 %d, %a", "s32", **long).tolist() == [2**31 - 1, LOW32, 5]
    assert evaluate(
        "cvt.u16.u32 %rs1, %b; cvt.s32.s8 %d, %rs1", "s32", b=("u32", [0x1FF, 0x7F])
    ).tolist() == [-1, 127]


def test_moves_pack_and_unpack_words():
    words = {"a": ("b32", [1, 0xFFFFFFFF]), "b": ("b32", [2, 3])}
    assert evaluate("mov.b64 %d, {%a, %b}", "b64", **words).tolist() == [
        2 << 32 | 1,
        3 << 32 | 0xFFFFFFFF,
    ]
    assert evaluate("mov.b64 {_, %d}, %a", "b32", a=("b64", [5 << 32 | 7])).tolist() == [5]
    assert evaluate("mov.b64 {%d, %r9}, %a", "b32", a=("b64", [5 << 32 | 7])).tolist() == [7]
    assert evaluate(
        "mov.b32 {%rs1, %rs2}, %a; mov.b32 %d, {%rs2, %rs1}", "b32", a=("b32", [0x12345678])
    ).tolist() == [0x56781234]
    assert evaluate(
        "mov.b64 {%rs1, %rs2, %rs3, %rs4}, %a; cvt.u32.u16 %d, %rs3",
        "u32",
        a=("b64", [0x1111222233334444]),
    ).tolist() == [0x2222]


def test_literals_of_every_form_are_read():
    for literal, value in (
        ("-1", 2**32 - 1),
        ("0x1F", 31),
        ("0b101", 5),
        ("017", 15),
        ("7U", 7),
        ("WARP_SZ", 32),
    ):
        assert evaluate(f"add.u32 %d, %a, {literal}", "u32", a=("u32", [0])).tolist() == [value]
    assert evaluate("mov.f64 %d, 0dC000000000000000", "f64", a=("u32", [0])).tolist() == [-2.0]


@pytest.mark.parametrize(
    "text",
    ["mul24.lo.s32 %d, %a, %a", "sad.s32 %d, %a, %a, %a", "dp4a.s32.s32 %d, %a, %a, %a",
     "mad.lo.cc.s32 %d, %a, %a, %a",
     "prmt.b32.f4e %d, %a, %a, %a", "mul.wide.s64 %rd1, %rd2, %rd3", "mov.u32 %d, %clock",
     "add.s32 %d, %a, %rd1"],
)  # fmt: skip
def test_an_unknown_instruction_or_operand_is_refused(text):
    with pytest.raises(UnsupportedPtx):
        evaluate(text, "s32", a=("s32", [1]))
