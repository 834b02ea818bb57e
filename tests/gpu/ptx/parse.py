"""Reads PTX text into kernels: parameters, registers, variables, instructions, labels.

Source: NVIDIA, Parallel Thread Execution ISA 9.0, sections 4 (syntax), 5 (state spaces), 6
(operands).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.gpu.ptx.errors import PtxError, UnsupportedPtx

TYPES: dict[str, np.dtype[Any]] = {
    "pred": np.dtype(np.bool_),
    **{
        f"{letter}{bits}": np.dtype(f"u{bits // 8}")
        for letter in ("b", "u")
        for bits in (8, 16, 32, 64)
    },
    **{f"s{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
}
SPECIAL_REGISTERS = {
    *(f"%{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz"),
    *(f"%lanemask_{name}" for name in ("eq", "le", "lt", "ge", "gt")),
    "%laneid",
    "%warpid",
    "%nwarpid",
    "%dynamic_smem_size",
}

_NAME = r"[A-Za-z_$%.][\w$%.]*"
_LABEL = re.compile(rf"({_NAME})\s*:(?!:)")
_GUARD = re.compile(r"@(!?)([\w$%.]+)\s+")
_VARIABLE = re.compile(
    r"(?P<extern>\.extern\s+)?(?:\.(?:visible|common|weak)\s+)*\.(?P<space>shared|const|global|local|param)\s+"
    r"(?P<options>(?:\.(?:align\s+\d+|managed|attribute\s*\([^)]*\)|ptr|shared|global|const|local)\s*)*)"
    r"\.(?P<type>[busf]\d+)\s+(?:\.ptr\s+(?:\.\w+\s+)*(?:\.align\s+\d+\s+)?)?"
    rf"(?P<name>{_NAME})\s*(?P<dimensions>(?:\[\s*\d*\s*\]\s*)*)(?:=\s*(?P<values>.*))?$",
    re.DOTALL,
)
_OPERAND = re.compile(r"\s*((?:\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,{}\[\]()])+)")


@dataclass(frozen=True)
class Register:
    """A declared register; `type` is the one of its declaration."""

    name: str
    type: str


@dataclass(frozen=True)
class Special:
    """A read-only register of the machine, such as %tid.x."""

    name: str


@dataclass(frozen=True)
class Constant:
    """A literal: an integer, or the bits of a float together with the width in which they stand."""

    value: int
    float_width_bits: int = 0


@dataclass(frozen=True)
class Symbol:
    """The address of a variable or parameter, or a label."""

    name: str
    offset: int = 0


@dataclass(frozen=True)
class Address:
    """What stands in square brackets: base + offset."""

    base: "Operand"
    offset: int


@dataclass(frozen=True)
class Vector:
    """Registers in braces."""

    items: tuple["Operand", ...]


@dataclass(frozen=True)
class Pair:
    """Two destinations: `%r1|%p1`."""

    first: "Operand"
    second: "Operand"


@dataclass(frozen=True)
class Negated:
    """A predicate source with `!` before it."""

    register: Register


@dataclass(frozen=True)
class Sink:
    """The destination `_`, which keeps nothing."""


Operand = Register | Special | Constant | Symbol | Address | Vector | Pair | Negated | Sink


@dataclass(frozen=True)
class Variable:
    """A declared variable: its space, layout in bytes, and the bytes it starts with, if any."""

    name: str
    space: str
    type: str
    align_bytes: int
    size_bytes: int
    initial: bytes | None = None
    extern: bool = False


@dataclass(frozen=True)
class Instruction:
    """One instruction with its operands resolved to what they name."""

    index: int
    text: str
    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: Register | None = None
    guard_is_negated: bool = False

    @property
    def type(self) -> str:
        """The last modifier, which is the operand type of almost every instruction."""
        return self.modifiers[-1] if self.modifiers else ""


@dataclass
class Kernel:
    """One entry point, and how often each of its instructions was executed in all launches.

    counts: int64[instruction], threads for which the instruction's guard held.
    """

    name: str
    parameters: dict[str, Variable]
    module_variables: dict[str, Variable]
    registers: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    branch_tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    program: Any = None  # The decoded form, made by the first launch.

    def unreached(self) -> list[tuple[int, str]]:
        """Instructions that no thread of any launch executed, with their index."""
        return [(i.index, i.text) for i in self.instructions if not self.counts[i.index]]

    def executed(self) -> dict[str, int]:
        """Threads that executed each opcode with its modifiers, over all launches."""
        totals: dict[str, int] = {}
        for instruction in self.instructions:
            key = ".".join((instruction.opcode, *instruction.modifiers))
            totals[key] = totals.get(key, 0) + int(self.counts[instruction.index])
        return {key: total for key, total in totals.items() if total}

    def all_variables(self) -> dict[str, Variable]:
        """The module's variables and the kernel's own."""
        return {**self.module_variables, **self.variables}


@dataclass
class Module:
    """A PTX text: its kernels and the variables outside them."""

    kernels: dict[str, Kernel]
    variables: dict[str, Variable]

    def kernel(self, name: str | None = None) -> Kernel:
        """The kernel of that name; without a name, the only one.

        Raises:
            PtxError: No such kernel, or several and no name.
        """
        if name is None and len(self.kernels) == 1:
            return next(iter(self.kernels.values()))
        if name not in self.kernels:
            raise PtxError(f"kernel {name!r}: expected one of {sorted(self.kernels)}")
        return self.kernels[name]


def parse(text: str) -> Module:
    """Read a PTX text.

    Raises:
        UnsupportedPtx: A statement that is not understood.
        PtxError: No kernel in it.
    """
    rest, functions = _split_functions(_without_comments(text))
    variables = {}
    for statement in _split_top_level(rest):
        variable = _variable(statement)
        variables[variable.name] = variable
    kernels = {}
    for head, body in functions:
        match = re.match(rf"\.entry\s+({_NAME})\s*(?:\((.*?)\))?", head, re.DOTALL)
        if match is None:
            continue  # A .func: only a call would need it, and calls are refused.
        kernels[match[1]] = _kernel(match[1], match[2] or "", body, variables)
    if not kernels:
        raise PtxError("the text holds no .entry")
    return Module(kernels, variables)


def _without_comments(text: str) -> str:
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"//.*", "", text)
    text = re.sub(r"(?m)^\s*\.(loc|file|version|target|address_size)\b.*$", "", text)
    return re.sub(r"\.section\s+\S+\s*\{[^}]*\}", "", text)


def _split_functions(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Cut out functions and kernels: the text without them, and (head, body) of each."""
    functions, kept, position = [], [], 0
    linkage = r"(?:\.(?:visible|weak|extern)\s+)*"
    for start in re.finditer(rf"{linkage}(\.entry|\.func)\b", text):
        if start.start() < position:
            continue
        kept.append(text[position : start.start()])
        opening = re.compile(r"[{;]").search(text, start.end())
        assert opening is not None, "a function without an end"
        position = opening.end()
        if opening[0] == "{":
            position = _closing_brace(text, opening.start()) + 1
            functions.append(
                (text[start.start(1) : opening.start()], text[opening.end() : position - 1])
            )
    return "".join([*kept, text[position:]]), functions


def _closing_brace(text: str, opening: int) -> int:
    depth = 0
    for brace in re.compile(r"[{}]").finditer(text, opening):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    raise PtxError("a function's braces do not close")


def _split_top_level(text: str) -> Iterator[str]:
    for statement in text.split(";"):
        if statement.strip():
            yield statement.strip()


def _variable(statement: str) -> Variable:
    match = _VARIABLE.match(statement)
    if match is None or match["type"] not in TYPES:
        raise UnsupportedPtx(f"declaration not understood: {statement[:200]!r}")
    item = TYPES[match["type"]]
    lengths = [int(n or "0") for n in re.findall(r"\[\s*(\d*)\s*\]", match["dimensions"])]
    align = re.search(r"\.align\s+(\d+)", statement)
    size = item.itemsize * int(np.prod(lengths, dtype=np.int64))
    initial = None
    if match["values"] is not None:
        initial = _initial_bytes(match["values"], match["type"], size)
    return Variable(
        name=match["name"],
        space=match["space"],
        type=match["type"],
        align_bytes=int(align[1]) if align else item.itemsize,
        size_bytes=size,
        initial=initial,
        extern=match["extern"] is not None,
    )


def _initial_bytes(values: str, kind: str, size_bytes: int) -> bytes:
    words = [word for word in re.split(r"[{},\s]+", values) if word]
    item = TYPES[kind]
    filled = bytearray()
    for word in words:
        literal = _literal(word)
        if literal is None:
            raise UnsupportedPtx(f"initialiser {word!r} is no literal")
        filled += (literal.value & ((1 << 8 * item.itemsize) - 1)).to_bytes(item.itemsize, "little")
    return bytes(filled.ljust(size_bytes, b"\0"))


def _kernel(name: str, head: str, body: str, variables: dict[str, Variable]) -> Kernel:
    parameters = [_variable(" ".join(p.split())) for p in head.split(",") if p.strip()]
    kernel = Kernel(name, {p.name: p for p in parameters}, variables)
    pending: list[tuple[str, str]] = []
    for kind, text in _body_statements(body):
        if kind == "label":
            if text in kernel.labels:
                raise UnsupportedPtx(f"{name}: label {text} stands twice")
            kernel.labels[text] = len(pending)
        elif text.startswith(".branchtargets"):
            table = next(reversed(kernel.labels))
            kernel.branch_tables[table] = tuple(re.split(r"[,\s]+", text)[1:])
        elif text.startswith(".reg"):
            _declare_registers(kernel, text)
        elif text.startswith((".shared", ".local", ".param")):
            variable = _variable(text)
            kernel.variables[variable.name] = variable
        elif not text.startswith(".pragma"):
            pending.append((kind, text))
    for index, (_, text) in enumerate(pending):
        kernel.instructions.append(_instruction(kernel, index, text))
    kernel.counts = np.zeros(len(pending), np.int64)
    return kernel


def _body_statements(body: str) -> Iterator[tuple[str, str]]:
    """("label", name) and ("statement", text) in order; scope braces are dropped."""
    position, gap = 0, re.compile(r"[\s{};]*")
    while True:
        position = gap.match(body, position).end()  # type: ignore[union-attr]
        if position == len(body):
            return
        label = _LABEL.match(body, position)
        if label:
            yield "label", label[1]
            position = label.end()
            continue
        end = body.find(";", position)
        if end < 0:
            raise UnsupportedPtx(f"statement without an end: {body[position : position + 80]!r}")
        yield "statement", " ".join(body[position:end].split())
        position = end


def _declare_registers(kernel: Kernel, text: str) -> None:
    match = re.match(r"\.reg\s+\.(\w+)\s+(.*)$", text)
    if match is None or match[1] not in TYPES:
        raise UnsupportedPtx(f"register declaration not understood: {text!r}")
    for name in re.split(r"\s*,\s*", match[2]):
        many = re.match(r"(.*?)<(\d+)>$", name)
        names = [f"{many[1]}{k}" for k in range(int(many[2]))] if many else [name]
        for single in names:
            if kernel.registers.setdefault(single, match[1]) != match[1]:
                raise UnsupportedPtx(f"register {single} is declared with two types")


def _instruction(kernel: Kernel, index: int, text: str) -> Instruction:
    rest, guard, negated = text, None, False
    match = _GUARD.match(text)
    if match:
        guard, negated = _operand(kernel, match[2]), match[1] == "!"
        rest = text[match.end() :]
        if not isinstance(guard, Register):
            raise UnsupportedPtx(f"guard of {text!r} is no register")
    opcode, _, arguments = rest.partition(" ")
    parts = opcode.split(".")
    operands = tuple(_operand(kernel, m[1].strip()) for m in _OPERAND.finditer(arguments))
    return Instruction(index, text, parts[0], tuple(parts[1:]), operands, guard, negated)


def _operand(kernel: Kernel, text: str) -> Operand:
    if text in kernel.registers:
        return Register(text, kernel.registers[text])
    if text.startswith("["):
        return _address(kernel, text[1:-1].strip())
    if text.startswith("{"):
        return Vector(tuple(_operand(kernel, item.strip()) for item in text[1:-1].split(",")))
    if "|" in text:
        first, second = text.split("|")
        return Pair(_operand(kernel, first.strip()), _operand(kernel, second.strip()))
    if text.startswith("!") and text[1:] in kernel.registers:
        return Negated(Register(text[1:], kernel.registers[text[1:]]))
    return Sink() if text == "_" else _name_or_literal(text)


def _name_or_literal(text: str) -> Operand:
    if text in SPECIAL_REGISTERS:
        return Special(text)
    if text == "WARP_SZ":
        return Constant(32)
    literal = _literal(text)
    if literal is not None:
        return literal
    match = re.fullmatch(rf"({_NAME})\s*(?:([+-])\s*(\d+))?", text)
    if match is None or text.startswith("%"):
        raise UnsupportedPtx(f"operand {text!r} is not understood")
    return Symbol(match[1], int((match[2] or "+") + (match[3] or "0")))


def _address(kernel: Kernel, text: str) -> Address:
    match = re.fullmatch(r"(.+?)\s*(?:\+\s*(-?\w+)|(-\s*\d+))?", text)
    assert match is not None
    base = _operand(kernel, match[1].strip())
    return Address(base, int((match[2] or match[3] or "0").replace(" ", ""), 0))


def _literal(text: str) -> Constant | None:
    bits = re.fullmatch(r"0(?:[fF]([0-9a-fA-F]{8})|[dD]([0-9a-fA-F]{16}))", text)
    if bits:
        return Constant(int(bits[1] or bits[2], 16), 32 if bits[1] else 64)
    match = re.fullmatch(r"(-?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9]\d*)U?", text)
    if match is None:
        return None
    digits = match[2]
    value = int(digits, 8 if re.fullmatch(r"0[0-7]+", digits) else 0)
    return Constant(-value if match[1] else value)
