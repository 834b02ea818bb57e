"""Decodes the instructions that compute: one function per family, one table at the end.

Each returns a handler that does the work for the active threads. A modifier that is not understood
is refused.
Source: NVIDIA, PTX ISA 9.0, section 9.7.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.gpu.ptx import floats, integers
from tests.gpu.ptx.decode import Decoder, Handler, Modifiers
from tests.gpu.ptx.errors import UnsupportedPtx
from tests.gpu.ptx.parse import TYPES, Constant, Instruction

Build = Callable[[Instruction, Decoder, Modifiers], Handler]
Function = Callable[..., Any]


def apply(
    i: Instruction, decoder: Decoder, function: Function, kinds: tuple[str, ...], result: str
) -> Handler:
    """A handler: operand 0 = function(operands 1...), each read as the type named in `kinds`."""
    if len(i.operands) != len(kinds) + 1:
        raise UnsupportedPtx(f"{i.text!r}: expected {len(kinds) + 1} operands")
    put = decoder.store(i.operands[0], result)
    fetches = [decoder.fetch(o, kind) for o, kind in zip(i.operands[1:], kinds, strict=True)]
    if len(fetches) == 1:
        (only,) = fetches
        return lambda m, w: put(m, w, function(only(m, w)))
    if len(fetches) == 2:
        first, second = fetches
        return lambda m, w: put(m, w, function(first(m, w), second(m, w)))
    return lambda m, w: put(m, w, function(*[fetch(m, w) for fetch in fetches]))


def nearest(modifiers: Modifiers, kind: str, *, required: bool = False) -> None:
    """Consume the rounding of a float instruction, which must be to nearest even.

    Raises:
        UnsupportedPtx: Another rounding, an approximation, flushing of denormals.
    """
    if not kind.startswith("f"):
        return
    given = modifiers.has("rn")
    if required and not given:
        raise UnsupportedPtx(
            f"{modifiers.instruction.text!r}: only .rn is exact, other bits are not promised"
        )


def _float_operation(function: Function, count: int, *, rounding_required: bool) -> Build:
    def build(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
        kind = modifiers.type()
        nearest(modifiers, kind, required=rounding_required)
        clamp = kind == "f32" and modifiers.has("sat")
        modifiers.done()

        def compute(*operands: Any) -> Any:
            value = floats.canonical(function(*operands))
            return floats.saturated(value) if clamp else value

        return apply(i, decoder, compute, (kind,) * count, kind)

    return build


def _integer_operation(function: Function, count: int) -> Build:
    def build(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
        kind = modifiers.type()
        modifiers.done()
        return apply(i, decoder, function, (kind,) * count, kind)

    return build


def _by_kind(for_floats: Build, for_integers: Build) -> Build:
    def build(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
        return (for_floats if i.type.startswith("f") else for_integers)(i, decoder, modifiers)

    return build


def _add_or_subtract(function: Function, name: str) -> Build:
    def integer(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
        kind = modifiers.type()
        if modifiers.has("cc"):
            modifiers.done()
            return _with_carry(i, decoder, name, kind, reads=False, writes=True)
        saturate = kind == "s32" and modifiers.has("sat")
        modifiers.done()
        if not saturate:
            return apply(i, decoder, function, (kind, kind), kind)

        def compute(a: Any, b: Any) -> Any:
            wide = function(np.asarray(a, np.int64), np.asarray(b, np.int64))
            return integers.saturating_cast(wide, np.dtype(np.int32))

        return apply(i, decoder, compute, (kind, kind), kind)

    return _by_kind(_float_operation(function, 2, rounding_required=False), integer)


def _carried(name: str) -> Build:
    def build(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
        kind = modifiers.type()
        writes = modifiers.has("cc")
        modifiers.done()
        return _with_carry(i, decoder, name, kind, reads=True, writes=writes)

    return build


def _with_carry(
    i: Instruction, decoder: Decoder, name: str, kind: str, *, reads: bool, writes: bool
) -> Handler:
    """add.cc, addc, sub.cc, subc: the carry (or borrow) flag lives beside the registers."""
    word = integers.unsigned(TYPES[kind])
    kind = f"u{8 * word.itemsize}"
    put = decoder.store(i.operands[0], kind)
    first, second = (decoder.fetch(o, kind) for o in i.operands[1:])

    def run(m: Any, w: Any) -> None:
        a, b = first(m, w), second(m, w)
        flag = m.carry[w].astype(word) if reads else word.type(0)
        if name == "add":
            total = a + b
            result = total + flag
            out = (total < a) | (result < total)
        else:
            total = a - b
            result = total - flag
            out = (a < b) | (total < flag)
        if writes:
            m.carry[w] = out
        put(m, w, result)

    return run


def _multiply(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    part = modifiers.take("lo", "hi", "wide")
    modifiers.done()
    function, result = _product(part, kind, i)
    return apply(i, decoder, function, (kind, kind), result)


def _multiply_add(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    part = modifiers.take("lo", "hi", "wide")
    modifiers.done()
    product, result = _product(part, kind, i)
    return apply(i, decoder, lambda a, b, c: product(a, b) + c, (kind, kind, result), result)


def _product(part: str, kind: str, i: Instruction) -> tuple[Function, str]:
    dtype = TYPES[kind]
    if part == "lo":
        return np.multiply, kind
    if part == "hi":
        return (lambda a, b: integers.multiply_high(a, b, dtype)), kind
    if dtype.itemsize == 8:
        raise UnsupportedPtx(f"{i.text!r}: a product of 128 bits")
    wide = integers.doubled(dtype)
    return (lambda a, b: np.asarray(a, wide) * np.asarray(b, wide)), f"{kind[0]}{8 * wide.itemsize}"


def _divide(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    function = integers.divide if i.opcode == "div" else np.fmod
    modifiers.done()
    put = decoder.store(i.operands[0], kind)
    first, second = (decoder.fetch(o, kind) for o in i.operands[1:])

    def run(m: Any, w: Any) -> None:
        divisor = second(m, w)
        if not np.all(divisor):
            m.fault("integer division by zero", w, divisor == 0)
        put(m, w, function(first(m, w), divisor))

    return run


def _min_or_max(for_floats: Function, for_integers: Function) -> Build:
    def floating(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
        kind = modifiers.type()
        keep_nan = modifiers.has("NaN")
        modifiers.done()
        if not keep_nan:
            return apply(i, decoder, for_floats, (kind, kind), kind)

        def compute(a: Any, b: Any) -> Any:
            return floats.with_nan(for_floats(a, b), a, b)

        return apply(i, decoder, compute, (kind, kind), kind)

    return _by_kind(floating, _integer_operation(for_integers, 2))


def _sign_operation(clears: bool) -> Build:
    """abs and neg: of a float only the sign bit changes, NaN included."""

    def build(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
        kind = modifiers.type()
        modifiers.done()
        if not kind.startswith("f"):
            return apply(i, decoder, np.abs if clears else np.negative, (kind,), kind)
        word = f"b{kind[1:]}"
        sign = TYPES[word].type(1 << (int(kind[1:]) - 1))
        compute = (lambda a: a & ~sign) if clears else (lambda a: a ^ sign)
        return apply(i, decoder, compute, (word,), word)

    return build


def _copy_sign(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    modifiers.done()
    return apply(i, decoder, lambda a, b: np.copysign(b, a), (kind, kind), kind)


def _shift(function: Function) -> Build:
    def build(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
        kind = modifiers.type()
        modifiers.done()
        return apply(i, decoder, function, (kind, "u32"), kind)

    return build


def _funnel(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    modifiers.take("b32")
    left = modifiers.take("l", "r") == "l"
    wraps = modifiers.take("wrap", "clamp") == "wrap"
    modifiers.done()

    def compute(low: Any, high: Any, amount: Any) -> Any:
        amount = amount & np.uint32(31) if wraps else np.minimum(amount, np.uint32(32))
        return integers.funnel_shift(low, high, amount, left=left)

    return apply(i, decoder, compute, ("b32", "b32", "u32"), "b32")


def _count_bits(function: Function) -> Build:
    def build(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
        kind = modifiers.type()
        as_shift = i.opcode == "bfind" and modifiers.has("shiftamt")
        modifiers.done()
        compute = function
        if i.opcode == "bfind":

            def compute(a: Any) -> Any:
                return function(a, as_shift=as_shift)

        return apply(i, decoder, compute, (kind,), "u32")

    return build


def _field(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    modifiers.done()
    if i.opcode == "bfe":
        return apply(i, decoder, integers.extract_field, (kind, "u32", "u32"), kind)
    return apply(i, decoder, integers.insert_field, (kind, kind, "u32", "u32"), kind)


def _permute(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    modifiers.take("b32")
    modifiers.done()
    return apply(i, decoder, integers.permute_bytes, ("b32", "b32", "b32"), "b32")


def _three_way_logic(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    modifiers.take("b32")
    modifiers.done()
    table = i.operands[-1]
    if not isinstance(table, Constant) or len(i.operands) != 5:
        raise UnsupportedPtx(f"{i.text!r}: expected a literal table")
    plain = Instruction(i.index, i.text, i.opcode, i.modifiers, i.operands[:-1])

    def function(a: Any, b: Any, c: Any) -> Any:
        return integers.logic_of_three(a, b, c, table.value)

    return apply(plain, decoder, function, ("b32", "b32", "b32"), "b32")


def _logic(function: np.ufunc) -> Build:
    return _integer_operation(function, 2)


ARITHMETIC: dict[str, Build] = {
    "add": _add_or_subtract(np.add, "add"),
    "sub": _add_or_subtract(np.subtract, "sub"),
    "addc": _carried("add"),
    "subc": _carried("sub"),
    "mul": _by_kind(_float_operation(np.multiply, 2, rounding_required=False), _multiply),
    "mad": _by_kind(_float_operation(floats.fma, 3, rounding_required=True), _multiply_add),
    "fma": _float_operation(floats.fma, 3, rounding_required=True),
    "div": _by_kind(_float_operation(np.divide, 2, rounding_required=True), _divide),
    "rem": _divide,
    "sqrt": _float_operation(np.sqrt, 1, rounding_required=True),
    "rcp": _float_operation(lambda a: a.dtype.type(1) / a, 1, rounding_required=True),
    "min": _min_or_max(floats.minimum, np.minimum),
    "max": _min_or_max(floats.maximum, np.maximum),
    "abs": _sign_operation(clears=True),
    "neg": _sign_operation(clears=False),
    "copysign": _copy_sign,
    "and": _logic(np.bitwise_and),
    "or": _logic(np.bitwise_or),
    "xor": _logic(np.bitwise_xor),
    "not": _integer_operation(np.invert, 1),
    "cnot": _integer_operation(lambda a: (a == 0).astype(a.dtype), 1),
    "shl": _shift(integers.shift_left),
    "shr": _shift(integers.shift_right),
    "shf": _funnel,
    "popc": _count_bits(lambda a: np.bitwise_count(a).astype(np.uint32)),
    "clz": _count_bits(integers.count_leading_zeros),
    "bfind": _count_bits(integers.find_leading_bit),
    "brev": _integer_operation(integers.reverse_bits, 1),
    "bfe": _field,
    "bfi": _field,
    "prmt": _permute,
    "lop3": _three_way_logic,
}
