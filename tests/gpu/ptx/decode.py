"""Turns operands into functions that fetch or store values for the active threads of a launch.

Registers live as one array per register; each use of one as a certain type is a view, found at
decode time and known by its slot. `where` selects the active threads: a slice where they are
neighbours, else their indices.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.gpu.ptx.errors import UnsupportedPtx
from tests.gpu.ptx.parse import (
    TYPES,
    Address,
    Constant,
    Instruction,
    Kernel,
    Negated,
    Operand,
    Pair,
    Register,
    Sink,
    Special,
    Symbol,
    Vector,
)

if TYPE_CHECKING:
    from tests.gpu.ptx.machine import Machine

Where = slice | np.ndarray
Fetch = Callable[["Machine", Where], Any]
Store = Callable[["Machine", Where, Any], None]
Handler = Callable[["Machine", Where], None]


@dataclass(frozen=True)
class View:
    """A register seen as a type; `step` > 1 where only its lowest bytes are seen."""

    register: str
    dtype: np.dtype[Any]
    step: int = 1


@dataclass
class Modifiers:
    """The modifiers of one instruction, each of which must be understood by somebody."""

    instruction: Instruction
    left: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # "shared::cta" is the long form of "shared"; other sub-spaces stay, and are refused.
        self.left = [name.removesuffix("::cta") for name in self.instruction.modifiers]

    def take(self, *allowed: str, default: str | None = None) -> str:
        """Remove and return the one modifier among `allowed`."""
        for name in self.left:
            if name in allowed:
                self.left.remove(name)
                return name
        if default is None:
            raise UnsupportedPtx(f"{self.instruction.text!r}: expected one of {allowed}")
        return default

    def has(self, name: str) -> bool:
        """Remove a modifier if it is there."""
        present = name in self.left
        if present:
            self.left.remove(name)
        return present

    def type(self) -> str:
        """Remove and return the last modifier, which must be a type."""
        if not self.left or self.left[-1] not in TYPES:
            raise UnsupportedPtx(f"{self.instruction.text!r}: expected a type last")
        return self.left.pop()

    def done(self) -> None:
        """Refuse an instruction of which a modifier was not understood."""
        if self.left:
            raise UnsupportedPtx(
                f"{self.instruction.text!r}: modifier .{self.left[0]} is not modelled"
            )


class Decoder:
    """Collects the views that the instructions of one kernel need."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.views: dict[View, int] = {}

    def fetch(self, operand: Operand, kind: str, *, narrow: bool = False) -> Fetch:
        """A function that returns the operand's values as a type.

        Args:
            operand: a source.
            kind: the PTX type to read it as.
            narrow: Whether a register may be wider than the type (cvt and st).
        """
        if isinstance(operand, Register):
            slot = self._slot(operand.name, operand.type, kind, narrow=narrow)
            return lambda m, w: m.views[slot][w]
        if isinstance(operand, Negated):
            slot = self._slot(operand.register.name, operand.register.type, kind)
            return lambda m, w: ~m.views[slot][w]
        if isinstance(operand, Special):
            slot = self._slot(operand.name, "b32", kind, narrow=narrow)
            return lambda m, w: m.views[slot][w]
        if isinstance(operand, Constant):
            value = constant(operand, kind)
            return lambda m, w: value
        if isinstance(operand, Symbol) and kind != "pred":
            name, offset, word = operand.name, operand.offset, TYPES[kind]
            self.check_symbol(name)
            return lambda m, w: word.type(m.symbols[name] + offset)
        raise UnsupportedPtx(f"operand {operand} cannot be read as .{kind}")

    def store(self, operand: Operand, kind: str, *, widen: bool = False) -> Store:
        """A function that stores values of a type into a register.

        Args:
            operand: a destination.
            kind: the PTX type of the values.
            widen: Whether the register may be wider (cvt, ld, atom): it then gets the sign or
            zeros.
        """
        if isinstance(operand, Sink):
            return lambda m, w, value: None
        if not isinstance(operand, Register):
            raise UnsupportedPtx(f"destination {operand} is no register")
        own = TYPES[operand.type]
        target = TYPES[kind]
        if widen and own.itemsize > target.itemsize and target.kind in "iu":
            target = np.dtype(f"{target.kind}{own.itemsize}")
            slot = self._slot_of(View(operand.name, target))
        else:
            slot = self._slot(operand.name, operand.type, kind)

        def put(m: "Machine", where: Where, value: Any) -> None:
            m.views[slot][where] = value

        return put

    def check_symbol(self, name: str) -> None:
        if name not in self.kernel.all_variables() and name not in self.kernel.parameters:
            raise UnsupportedPtx(f"symbol {name!r} names no variable")

    def _slot(self, name: str, declared: str, kind: str, *, narrow: bool = False) -> int:
        own, target = TYPES[declared], TYPES[kind]
        if (own.kind == "b") != (target.kind == "b"):
            raise UnsupportedPtx(f"register {name} (.{declared}) used as .{kind}")
        if own.itemsize == target.itemsize:
            return self._slot_of(View(name, target))
        if not narrow or own.itemsize < target.itemsize:
            raise UnsupportedPtx(f"register {name} (.{declared}) used as .{kind}")
        return self._slot_of(View(name, target, own.itemsize // target.itemsize))

    def _slot_of(self, view: View) -> int:
        return self.views.setdefault(view, len(self.views))


def constant(operand: Constant, kind: str) -> Any:
    """A literal as a NumPy scalar of a PTX type.

    Raises:
        UnsupportedPtx: A float literal of another width, or a decimal one for a float type.
    """
    dtype = TYPES[kind]
    if kind == "pred":
        return np.bool_(operand.value != 0)
    if operand.float_width_bits:
        if operand.float_width_bits != 8 * dtype.itemsize:
            raise UnsupportedPtx(f"float literal of {operand.float_width_bits} bits for .{kind}")
    elif dtype.kind == "f":
        raise UnsupportedPtx(f"integer literal {operand.value} for .{kind}")
    bits = operand.value & ((1 << 8 * dtype.itemsize) - 1)
    return np.dtype(f"u{dtype.itemsize}").type(bits).view(dtype)


def sources(operand: Operand) -> tuple[Operand, ...]:
    """The items of a vector operand, or the operand itself."""
    return operand.items if isinstance(operand, Vector) else (operand,)


def pair(operand: Operand) -> tuple[Operand, Operand]:
    """The two destinations of `a|b`; the second is a sink if only one is named."""
    if isinstance(operand, Pair):
        return operand.first, operand.second
    return operand, Sink()


def address(decoder: Decoder, operand: Operand) -> Fetch:
    """A function that returns the addresses in brackets: int64, one or one per thread."""
    if not isinstance(operand, Address):
        raise UnsupportedPtx(f"operand {operand} is no address")
    base, offset = operand.base, operand.offset
    if isinstance(base, Symbol):
        decoder.check_symbol(base.name)
        return lambda m, w: np.int64(m.symbols[base.name] + base.offset + offset)
    if isinstance(base, Constant):
        return lambda m, w: np.int64(base.value + offset)
    if not isinstance(base, Register):
        raise UnsupportedPtx(f"operand {operand} is no address")
    kind = "s64" if TYPES[base.type].itemsize == 8 else "u32"
    fetch = decoder.fetch(base, kind)
    if kind == "u32":
        return lambda m, w: fetch(m, w).astype(np.int64) + offset
    return (lambda m, w: fetch(m, w) + offset) if offset else fetch
