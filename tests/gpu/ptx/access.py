"""Decodes loads, stores and atomics, with every check that memory allows.

Source: NVIDIA, PTX ISA 9.0, sections 9.7.9.8 (ld) to 9.7.9.12 (st), 9.7.13 (atom, red).
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.gpu.ptx.arithmetic import Build
from tests.gpu.ptx.decode import Decoder, Handler, Modifiers, Where, address, sources
from tests.gpu.ptx.errors import UnsupportedPtx
from tests.gpu.ptx.memory import CONST_BASE, GENERIC_WINDOWS, GLOBAL_BASE, Allocation
from tests.gpu.ptx.parse import TYPES, Instruction

if TYPE_CHECKING:
    from tests.gpu.ptx.machine import Machine

Piece = tuple[Allocation, np.ndarray, Where]

_CACHE_HINTS = ("ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc")
_SCOPES = ("cta", "cluster", "gpu", "sys")
_SPACES = ("global", "shared", "const", "local", "param")


def _pieces(m: "Machine", where: Where, space: str, at: Any, size_bytes: int) -> Iterator[Piece]:
    """The allocations that one access touches, with offsets in bytes and the threads of each."""
    threads = m.ids[where]
    if np.ndim(at) == 0:
        at = np.full(len(threads), at, np.int64)
    if int(np.bitwise_or.reduce(at)) & (size_bytes - 1):
        m.fault(f"misaligned access of {size_bytes} bytes", where, at & (size_bytes - 1) != 0)
    low, high = int(at.min()), int(at.max())
    name, window = _space_of(space, low)
    allocation = m.spaces[name].find(low - window)
    if allocation is not None and high - window + size_bytes <= allocation.end:
        yield allocation, m.offsets(name, allocation, at - window, threads), where
        return
    left = np.ones(len(threads), bool)
    while left.any():
        low = int(at[left].min())
        name, window = _space_of(space, low)
        allocation = m.spaces[name].find(low - window)
        if allocation is None or low - window + size_bytes > allocation.end:
            nearest = m.spaces[name].nearest(low - window)
            place = nearest.describe(low - window) if nearest else f"at {low:#x}"
            m.fault(f"{size_bytes} bytes out of bounds: {place}", where, at == low)
        inside = left & (at <= allocation.end + window - size_bytes)
        local = at[inside] - window
        yield allocation, m.offsets(name, allocation, local, threads[inside]), threads[inside]
        left &= ~inside


def _space_of(space: str, at: int) -> tuple[str, int]:
    """The space of an address, and what cvta added to it; 0 for the address of a named space."""
    if space:
        return space, 0
    if at >= GLOBAL_BASE:
        return "global", 0
    if at >= CONST_BASE:
        return "const", 0
    for name, window in GENERIC_WINDOWS.items():
        if at >= window:
            return name, window
    return "global", 0  # Nothing lies there, and the fault says so.


def _check(
    m: "Machine",
    kind: str,
    piece: Piece,
    dtype: np.dtype[Any],
    *,
    reads: bool,
) -> None:
    """Look for unwritten bytes, writes to read-only memory, and races; note the access."""
    allocation, offset, where = piece
    if kind != "read" and allocation.readonly:
        m.fault(
            f"write to read-only {allocation.describe(int(offset[0]) + allocation.start)}", where
        )
    if reads:
        missing = allocation.unwritten(offset // dtype.itemsize, dtype)
        if missing is not None:
            first = int(offset[np.argmax(missing)]) % max(allocation.stride, 1)
            place = allocation.describe(first + allocation.start)
            m.fault(f"read of bytes that nobody wrote: {place}", where, missing)
    shadow = m.shadow(allocation)
    if shadow is None:
        return
    race = shadow.access(kind, m.order, offset, dtype.itemsize, m.ids[where])
    if race is not None:
        first = int(offset[race.position]) % max(allocation.stride, 1)
        done = {"write": "wrote", "read": "read", "atomic": "changed atomically"}[race.earlier]
        place = allocation.describe(first + allocation.start)
        doing = {"write": "writes", "read": "reads", "atomic": "changes atomically"}[kind]
        message = f"race on {place}: {doing} what {race.other} {done}, unordered"
        m.fault(message, where, np.arange(len(offset)) == race.position)


def _vector_length(modifiers: Modifiers) -> int:
    return int(modifiers.take("v2", "v4", default="v1")[1:])


def _strength(modifiers: Modifiers, plain: str, *orders: str) -> str:
    """ "atomic" for the strong forms, which do not race with each other; else `plain`."""
    if modifiers.take("volatile", *orders, "weak", default="weak") == "weak":
        return plain
    modifiers.take(*_SCOPES, default="sys")
    return "atomic"


def _load(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    dtype, count = TYPES[kind], _vector_length(modifiers)
    space = modifiers.take(*_SPACES, default="")
    strength = _strength(modifiers, "read", "relaxed", "acquire")
    while modifiers.take(*_CACHE_HINTS, "L2::128B", "L2::64B", "L2::256B", default=""):
        pass  # Hints to the caches change no value.
    modifiers.done()
    stores = [decoder.store(o, kind, widen=True) for o in sources(i.operands[0])]
    if len(stores) != count:
        raise UnsupportedPtx(f"{i.text!r}: expected {count} registers")
    at = address(decoder, i.operands[1])
    if space == "param":
        return _load_parameter(at, stores, dtype)

    def run(m: "Machine", w: Where) -> None:
        for allocation, offset, part in _pieces(m, w, space, at(m, w), dtype.itemsize * count):
            for k, put in enumerate(stores):
                place = offset + k * dtype.itemsize if k else offset
                _check(m, strength, (allocation, place, part), dtype, reads=True)
                put(m, part, allocation.view(dtype)[place // dtype.itemsize])

    return run


def _load_parameter(at: Any, stores: list[Any], dtype: np.dtype[Any]) -> Handler:
    def run(m: "Machine", w: Where) -> None:
        start = np.atleast_1d(at(m, w))
        if start.min() < 0 or start.max() + dtype.itemsize * len(stores) > len(m.parameters):
            m.fault("read beyond the parameters", w)
        for k, put in enumerate(stores):
            octets = (start + k * dtype.itemsize)[:, None] + np.arange(dtype.itemsize)
            put(m, w, m.parameters[octets].view(dtype)[:, 0])

    return run


def _store(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    dtype, count = TYPES[kind], _vector_length(modifiers)
    space = modifiers.take("global", "shared", "local", default="")
    strength = _strength(modifiers, "write", "relaxed", "release")
    modifiers.take(*_CACHE_HINTS, default="")
    modifiers.done()
    fetches = [decoder.fetch(o, kind, narrow=True) for o in sources(i.operands[1])]
    if len(fetches) != count:
        raise UnsupportedPtx(f"{i.text!r}: expected {count} registers")
    at = address(decoder, i.operands[0])

    def run(m: "Machine", w: Where) -> None:
        for allocation, offset, part in _pieces(m, w, space, at(m, w), dtype.itemsize * count):
            for k, fetch in enumerate(fetches):
                place = offset + k * dtype.itemsize if k else offset
                _check(m, strength, (allocation, place, part), dtype, reads=False)
                index = place // dtype.itemsize
                allocation.view(dtype)[index] = fetch(m, part)
                allocation.mark_written(index, dtype)

    return run


_UPDATES: dict[str, Callable[..., int]] = {
    "add": lambda old, x: old + x,
    "min": min,
    "max": max,
    "and": lambda old, x: old & x,
    "or": lambda old, x: old | x,
    "xor": lambda old, x: old ^ x,
    "exch": lambda old, x: x,
    "cas": lambda old, expected, x: x if old == expected else old,
    "inc": lambda old, top: 0 if old >= top else old + 1,
    "dec": lambda old, top: top if old == 0 or old > top else old - 1,
}


def _atomic(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    kind = modifiers.type()
    dtype = TYPES[kind]
    modifiers.take("relaxed", "acquire", "release", "acq_rel", default="")
    modifiers.take(*_SCOPES, default="")
    space = modifiers.take("global", "shared", default="")
    name = modifiers.take(*_UPDATES)
    modifiers.done()
    if dtype.kind == "f" and name not in {"add", "exch"}:
        raise UnsupportedPtx(i.text)
    keeps = i.opcode == "atom"
    operands = i.operands[1:] if keeps else i.operands
    at = address(decoder, operands[0])
    fetches = [decoder.fetch(o, kind) for o in operands[1:]]
    if len(fetches) != (2 if name == "cas" else 1):
        raise UnsupportedPtx(f"{i.text!r}: wrong number of operands")
    put = decoder.store(i.operands[0], kind, widen=True) if keeps else None
    wrap = _wrap(dtype)
    is_float_sum = dtype.kind == "f" and name == "add"
    update = _UPDATES[name]

    def run(m: "Machine", w: Where) -> None:
        if is_float_sum and not m.float_atomics:
            m.fault(
                "float atomics: the order of the additions, and so their sum, is not defined", w
            )
        for allocation, offset, part in _pieces(m, w, space, at(m, w), dtype.itemsize):
            _check(m, "atomic", (allocation, offset, part), dtype, reads=name != "exch")
            values = [np.broadcast_to(fetch(m, part), len(offset)).tolist() for fetch in fetches]
            cells, index = allocation.view(dtype), offset // dtype.itemsize
            old = np.empty(len(offset), dtype)
            for k, cell in enumerate(index.tolist()):  # In the order of the threads.
                old[k] = cells[cell]
                cells[cell] = wrap(update(cells[cell].item(), *(v[k] for v in values)))
            allocation.mark_written(index, dtype)
            if put is not None:
                put(m, part, old)

    return run


def _wrap(dtype: np.dtype[Any]) -> Callable[[Any], Any]:
    """Bring a Python number back into the range of the type."""
    if dtype.kind == "f":
        return dtype.type
    span = 1 << 8 * dtype.itemsize
    low = int(np.iinfo(dtype).min)
    return lambda value: (value - low) % span + low


ACCESS: dict[str, Build] = {
    "ld": _load,
    "ldu": _load,
    "st": _store,
    "atom": _atomic,
    "red": _atomic,
}
