"""Decodes comparisons, selections, moves and conversions.

Source: NVIDIA, PTX ISA 9.0, sections 9.7.5 to 9.7.7 (comparison), 9.7.9 (mov, cvt, cvta, isspacep).
"""

from typing import Any

import numpy as np

from tests.gpu.ptx import floats, integers
from tests.gpu.ptx.arithmetic import Build, Function, apply
from tests.gpu.ptx.decode import Decoder, Handler, Modifiers, pair
from tests.gpu.ptx.errors import UnsupportedPtx
from tests.gpu.ptx.memory import CONST_BASE, GENERIC_WINDOWS, GLOBAL_BASE, WINDOW_BYTES
from tests.gpu.ptx.parse import TYPES, Instruction, Vector

_ORDERED = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_UNSIGNED = {"lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal}
_COMBINE = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def _comparison(modifiers: Modifiers, kind: str) -> Function:
    """The comparison that the modifiers name, with what its type says about NaN."""
    is_float = kind.startswith("f")
    unordered = [f"{name}u" for name in _ORDERED] if is_float else []
    extra = ["num", "nan"] if is_float else list(_UNSIGNED)
    name = modifiers.take(*_ORDERED, *unordered, *extra)
    if name in _UNSIGNED:
        return _UNSIGNED[name]
    if name == "num":
        return lambda a, b: ~(np.isnan(a) | np.isnan(b))
    if name == "nan":
        return lambda a, b: np.isnan(a) | np.isnan(b)
    if name in _ORDERED and not (is_float and name == "ne"):
        return _ORDERED[name]
    if name == "ne":  # NumPy calls NaN different from everything; .ne is false for it.
        return lambda a, b: np.not_equal(a, b) & ~(np.isnan(a) | np.isnan(b))
    base = _ORDERED[name[:-1]]
    return lambda a, b: base(a, b) | np.isnan(a) | np.isnan(b)


def _set_predicate(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    compare = _comparison(modifiers, kind)
    combine = modifiers.take(*_COMBINE, default="")
    modifiers.done()
    first, second = (decoder.fetch(o, kind) for o in i.operands[1:3])
    primary, secondary = (decoder.store(o, "pred") for o in pair(i.operands[0]))
    if len(i.operands) != (4 if combine else 3):
        raise UnsupportedPtx(f"{i.text!r}: wrong number of operands")
    third = decoder.fetch(i.operands[3], "pred") if combine else None

    def run(m: Any, w: Any) -> None:
        truth = compare(first(m, w), second(m, w))
        opposite = ~truth
        if third is not None:
            other = third(m, w)
            truth, opposite = _COMBINE[combine](truth, other), _COMBINE[combine](opposite, other)
        primary(m, w, truth)
        secondary(m, w, opposite)

    return run


def _set_value(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    result = modifiers.type()
    compare = _comparison(modifiers, kind)
    modifiers.done()
    word = TYPES[result]
    yes = word.type(1) if word.kind == "f" else word.type(-1 if word.kind == "i" else 0xFFFFFFFF)

    def function(a: Any, b: Any) -> Any:
        return np.where(compare(a, b), yes, word.type(0))

    return apply(i, decoder, function, (kind, kind), result)


def _select(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    modifiers.done()
    return apply(i, decoder, lambda a, b, p: np.where(p, a, b), (kind, kind, "pred"), kind)


def _select_by_sign(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    by = modifiers.type()
    kind = modifiers.type()
    modifiers.done()
    return apply(i, decoder, lambda a, b, c: np.where(c >= 0, a, b), (kind, kind, by), kind)


def _test_property(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    tiny = np.finfo(TYPES[kind]).tiny
    tests: dict[str, Function] = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda a: ~np.isnan(a),
        "notanumber": np.isnan,
        "normal": lambda a: np.isfinite(a) & (np.abs(a) >= tiny),
        "subnormal": lambda a: (np.abs(a) < tiny) & (a != 0),
    }
    function = tests[modifiers.take(*tests)]
    modifiers.done()
    return apply(i, decoder, function, (kind,), "pred")


def _move(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    modifiers.done()
    target, source = i.operands
    if isinstance(target, Vector):
        return _unpack(target, decoder.fetch(source, f"b{kind[1:]}"), decoder, kind)
    if isinstance(source, Vector):
        return _pack(decoder, target, source, kind)
    return apply(i, decoder, lambda a: a, (kind,), kind)


def _part_type(vector: Vector, kind: str) -> str:
    bits, rest = divmod(int(kind[1:]), len(vector.items))
    if rest or f"b{bits}" not in TYPES:
        raise UnsupportedPtx(f"mov.{kind} of {len(vector.items)} parts")
    return f"b{bits}"


def _pack(decoder: Decoder, target: Any, vector: Vector, kind: str) -> Handler:
    part = _part_type(vector, kind)
    word = integers.unsigned(TYPES[kind])
    put = decoder.store(target, f"b{kind[1:]}")
    fetches = [decoder.fetch(item, part) for item in vector.items]

    def run(m: Any, w: Any) -> None:
        value = word.type(0)
        for k, fetch in enumerate(fetches):
            value = value | np.asarray(fetch(m, w), word) << word.type(k * int(part[1:]))
        put(m, w, value)

    return run


def _unpack(vector: Vector, fetch: Any, decoder: Decoder, kind: str) -> Handler:
    part = _part_type(vector, kind)
    stores = [decoder.store(item, part) for item in vector.items]
    narrow, word = TYPES[part], integers.unsigned(TYPES[kind])

    def run(m: Any, w: Any) -> None:
        value = fetch(m, w)
        for k, put in enumerate(stores):
            put(m, w, (value >> word.type(k * int(part[1:]))).astype(narrow))

    return run


_TO_INTEGRAL: dict[str, Function] = {
    "rni": np.rint,
    "rzi": np.trunc,
    "rmi": np.floor,
    "rpi": np.ceil,
}


def _convert(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    source = modifiers.type()
    target = modifiers.type()
    function = _conversion(modifiers, TYPES[source], TYPES[target])
    modifiers.done()
    put = decoder.store(i.operands[0], target, widen=True)
    fetch = decoder.fetch(i.operands[1], source, narrow=True)
    return lambda m, w: put(m, w, function(fetch(m, w)))


def _conversion(modifiers: Modifiers, source: Any, target: Any) -> Function:
    saturate = modifiers.has("sat")
    if source.kind in "iu" and target.kind in "iu":
        if saturate:
            return lambda a: integers.saturating_cast(a, target)
        return lambda a: a.astype(target)
    if target.kind in "iu":
        to_integral = _TO_INTEGRAL[modifiers.take(*_TO_INTEGRAL)]
        return lambda a: floats.to_integer(to_integral(a), target)
    if source.kind in "iu":
        modifiers.take("rn")

        def convert(a: Any) -> Any:
            return a.astype(target)
    else:
        convert = _between_floats(modifiers, source, target)
    return (lambda a: floats.saturated(convert(a))) if saturate else convert


def _between_floats(modifiers: Modifiers, source: Any, target: Any) -> Function:
    if source.itemsize > target.itemsize:
        modifiers.take("rn")
        return lambda a: floats.canonical(a.astype(target))
    if source == target:
        name = modifiers.take(*_TO_INTEGRAL, default="")
        to_integral = _TO_INTEGRAL[name] if name else (lambda a: a)
        return lambda a: floats.canonical(to_integral(a))
    return lambda a: a.astype(target)


def _convert_address(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    """cvta: global and const addresses are generic; shared and local ones lie in windows."""
    kind = modifiers.type()
    to = modifiers.has("to")
    space = modifiers.take("global", "const", "shared", "local")
    modifiers.done()
    window = GENERIC_WINDOWS.get(space, 0)
    if window and kind != "u64":
        raise UnsupportedPtx(f"{i.text!r}: addresses of 32 bits")
    shift = TYPES[kind].type(window)
    function = (lambda a: a - shift) if to else (lambda a: a + shift)
    return apply(i, decoder, function, (kind,), kind)


def _is_in_space(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    space = modifiers.take("global", "const", "shared", "local")
    modifiers.done()
    start = {"global": GLOBAL_BASE, "const": CONST_BASE, **GENERIC_WINDOWS}[space]
    end = start + (GLOBAL_BASE - CONST_BASE if space in {"global", "const"} else WINDOW_BYTES)

    def inside(a: Any) -> Any:
        return (a >= np.uint64(start)) & (a < np.uint64(end))

    return apply(i, decoder, inside, ("u64",), "pred")


SELECTION: dict[str, Build] = {
    "setp": _set_predicate,
    "set": _set_value,
    "selp": _select,
    "slct": _select_by_sign,
    "testp": _test_property,
    "mov": _move,
    "cvt": _convert,
    "cvta": _convert_address,
    "isspacep": _is_in_space,
}
