"""Runs a kernel: all threads of the grid together, the group with the lowest instruction first.

Threads at one instruction form a group. The group with the smallest program counter runs, and
picks up others when it reaches where they stand: so divergent threads meet again after a branch or
a loop. A kernel in which threads spin until threads at a later instruction act does not end (no
progress is promised).
"""

import heapq
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from tests.gpu.ptx.access import ACCESS
from tests.gpu.ptx.arithmetic import ARITHMETIC
from tests.gpu.ptx.decode import Decoder, Fetch, Handler, Modifiers, View, Where
from tests.gpu.ptx.errors import MachineFault, PtxError, UnsupportedPtx
from tests.gpu.ptx.memory import POISON, Allocation, Memory, Space
from tests.gpu.ptx.parse import TYPES, Instruction, Kernel, Variable
from tests.gpu.ptx.races import Order, Shadow
from tests.gpu.ptx.selection import SELECTION
from tests.gpu.ptx.synchronise import CONTROL, SIMPLE, Control

MAX_STEPS = 1_000_000  # Issued instructions; about half a minute.
SHARED_START = 1024  # So that a null pointer is no shared address.
Dimensions = int | Sequence[int]
Step = tuple[Fetch | None, Handler | None, Control | None]

_PLAIN = {**ARITHMETIC, **SELECTION, **ACCESS, **SIMPLE}


class Program:
    """A kernel decoded once: a guard, and a handler or a control function, per instruction."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._decoder = Decoder(kernel)
        self.steps: list[Step] = [self._decode(i) for i in kernel.instructions]
        self.views: dict[View, int] = self._decoder.views
        sizes = [_access_bytes(i) for i in kernel.instructions]
        # Variables are declared as bytes, so the unit of their races is the smallest one used.
        self.granule_bytes = min([4, *(size for size in sizes if size)])

    def _decode(self, i: Instruction) -> Step:
        guard = None
        if i.guard is not None:
            fetch = self._decoder.fetch(i.guard, "pred")
            guard = (lambda m, w: ~fetch(m, w)) if i.guard_is_negated else fetch
        modifiers = Modifiers(i)
        if i.opcode in CONTROL:
            return guard, None, CONTROL[i.opcode](i, self._decoder, modifiers)
        if i.opcode not in _PLAIN:
            raise UnsupportedPtx(f"instruction {i.text!r} is not modelled")
        return guard, _PLAIN[i.opcode](i, self._decoder, modifiers), None


def _access_bytes(i: Instruction) -> int:
    if i.opcode not in ACCESS or i.modifiers[0] in {"param", "const"} or i.type not in TYPES:
        return 0
    return TYPES[i.type].itemsize


class Machine:
    """The state of one launch.

    ids: int64[thread] = 0, 1, 2, ...; carry: bool[thread]; existing_lanes, exited_lanes:
    uint32[warp].
    """

    def __init__(
        self,
        kernel: Kernel,
        grid: Dimensions,
        block: Dimensions,
        args: Sequence[Any],
        memory: Memory,
        *,
        dynamic_shared: int = 0,
        float_atomics: bool = False,
    ) -> None:
        if kernel.program is None:
            kernel.program = Program(kernel)
        self.kernel, self.program = kernel, kernel.program
        self.memory, self.float_atomics = memory, float_atomics
        self._grid, self._block = _three(grid), _three(block)
        self.threads_per_block = int(np.prod(self._block))
        self._blocks = int(np.prod(self._grid))
        if not 1 <= self.threads_per_block <= 1024 or self._blocks < 1:
            raise PtxError(f"launch of {grid} blocks of {block} threads: 1 to 1024 threads a block")
        count = self._blocks * self.threads_per_block
        self.ids = np.arange(count, dtype=np.int64)
        self.carry = np.zeros(count, bool)
        self._place_threads()
        self.pc = 0
        self.parameters = _parameter_bytes(kernel, args)
        self._shadows: dict[int, Shadow | None] = {}
        self._place_variables(dynamic_shared)
        self._dynamic_shared = dynamic_shared
        self.views = self._make_views()
        self._heap: list[int] = []
        self._waiting: dict[int, list[Where]] = {}
        self._parked: dict[int, np.ndarray] = {}
        self._barriers: dict[int, np.ndarray] = {}

    def _place_threads(self) -> None:
        per_block = self.threads_per_block
        block, inside = np.divmod(self.ids, per_block)
        warps_per_block = -(-per_block // 32)
        warp, lane = block * warps_per_block + inside // 32, inside % 32
        self.order = Order(block, warp, lane)
        self.inside = inside
        self.existing_lanes = np.zeros(self._blocks * warps_per_block, np.uint32)
        np.bitwise_or.at(self.existing_lanes, warp, np.uint32(1) << lane.astype(np.uint32))
        self.exited_lanes = np.zeros_like(self.existing_lanes)

    def _place_variables(self, dynamic_shared: int) -> None:
        self.spaces = {"global": self.memory.space, "const": self.memory.constants}
        self.spaces["shared"] = Space("shared", SHARED_START)
        self.spaces["local"] = Space("local", SHARED_START)
        self.symbols: dict[str, int] = {}
        offset = 0
        for parameter in self.kernel.parameters.values():
            offset = _aligned(offset, parameter.align_bytes)
            self.symbols[parameter.name] = offset
            offset += parameter.size_bytes
        dynamic: Allocation | None = None
        for variable in self.kernel.all_variables().values():
            if variable.space == "shared" and variable.extern:
                dynamic = dynamic or self._private(variable, self._blocks, dynamic_shared)
                self.symbols[variable.name] = dynamic.start
            elif variable.space in {"shared", "local"}:
                copies = self._blocks if variable.space == "shared" else len(self.ids)
                self.symbols[variable.name] = self._private(
                    variable, copies, variable.size_bytes
                ).start
            else:
                self.symbols[variable.name] = self._module_variable(variable).start

    def _private(self, variable: Variable, copies: int, size_bytes: int) -> Allocation:
        return self.spaces[variable.space].add(
            variable.name,
            size_bytes,
            variable.align_bytes,
            copies=copies,
            granule_bytes=self.program.granule_bytes,
        )

    def _module_variable(self, variable: Variable) -> Allocation:
        """A .global or .const variable lives as long as the memory, not the launch."""
        key = (id(self.kernel.module_variables), variable.name)
        known = self.memory.module_variables.get(key)
        if known is None:
            known = self.spaces[variable.space].add(
                variable.name,
                variable.size_bytes,
                variable.align_bytes,
                readonly=variable.space == "const",
                granule_bytes=self.program.granule_bytes,
            )
            known.fill(variable.initial or bytes(variable.size_bytes))
            self.memory.module_variables[key] = known
            self.memory.modules.append(self.kernel.module_variables)
        return known

    def _make_views(self) -> list[np.ndarray]:
        """The register arrays, poisoned, each seen as the types that the program uses."""
        registers: dict[str, np.ndarray] = {}
        views = []
        for view in self.program.views:
            if view.register not in registers:
                registers[view.register] = self._register(view.register)
            views.append(registers[view.register].view(view.dtype)[:: view.step])
        return views

    def _register(self, name: str) -> np.ndarray:
        if name not in self.kernel.registers:
            return np.ascontiguousarray(self._special(name)).astype(np.uint32)
        dtype = TYPES[self.kernel.registers[name]]
        if dtype.kind == "b":
            return np.zeros(len(self.ids), dtype)
        return np.full(len(self.ids) * dtype.itemsize, POISON, np.uint8).view(dtype)

    def _special(self, name: str) -> Any:
        count, lane = len(self.ids), self.order.lane
        axis = "xyz".find(name[-1])
        if name.startswith(("%ntid.", "%nctaid.")):
            return np.full(count, (self._block if name[2] == "t" else self._grid)[axis])
        if name.startswith(("%tid.", "%ctaid.")):
            tid = name[1] == "t"
            shape = self._block if tid else self._grid
            return _coordinate(self.inside if tid else self.order.block, shape, axis)
        if name.startswith("%lanemask_"):
            return _lane_mask(name.removeprefix("%lanemask_"), lane)
        uniform = {"%nwarpid": 32, "%dynamic_smem_size": self._dynamic_shared}
        if name in uniform:
            return np.full(count, uniform[name])
        return {"%laneid": lane, "%warpid": self.inside // 32}[name]

    # What handlers ask for.

    def offsets(
        self, space: str, allocation: Allocation, at: np.ndarray, threads: np.ndarray
    ) -> np.ndarray:
        """Offsets into an allocation's bytes: shared variables per block, local ones per thread."""
        offset = at - allocation.start
        if space == "shared":
            return offset + self.order.block[threads] * allocation.stride
        return offset + threads * allocation.stride if space == "local" else offset

    def shadow(self, allocation: Allocation) -> Shadow | None:
        """The race detector of an allocation; None where no race can be."""
        key = id(allocation)
        if key not in self._shadows:
            private = allocation in self.spaces["local"].allocations or allocation.readonly
            size = len(allocation.bytes)
            self._shadows[key] = None if private else Shadow(size, allocation.granule_bytes)
        return self._shadows[key]

    def fault(self, message: str, where: Where | None = None, mask: Any = None) -> NoReturn:
        """Raise a MachineFault that names the instruction and the first thread concerned."""
        thread = ""
        if where is not None:
            threads = self.ids[where]
            position = (
                int(np.argmax(np.broadcast_to(mask, threads.shape))) if mask is not None else 0
            )
            first = int(threads[position])
            thread = f", thread {first} (block {self.order.block[first]})"
        text = self.kernel.instructions[self.pc].text
        raise MachineFault(f"{self.kernel.name[:60]}, {self.pc}: {text!r}: {message}{thread}")

    def where(self, threads: np.ndarray) -> Where:
        """Sorted threads as a slice if they are neighbours, else as they are."""
        first, last = int(threads[0]), int(threads[-1])
        return slice(first, last + 1) if last - first + 1 == len(threads) else threads

    # Scheduling.

    def schedule(self, pc: int, where: Where) -> None:
        """Let a group go on at `pc`."""
        groups = self._waiting.get(pc)
        if groups is None:
            heapq.heappush(self._heap, pc)
            self._waiting[pc] = [where]
        else:
            groups.append(where)

    def park(self, pc: int, threads: np.ndarray) -> None:
        """Let threads wait at a warp-level instruction for the other lanes."""
        self._parked[pc] = threads

    def join_parked(self, pc: int, arriving: Where) -> Where:
        """Those arriving together with those that wait there."""
        parked = self._parked.pop(pc, None)
        return arriving if parked is None else self._merged([arriving, parked])

    def _merged(self, groups: list[Where]) -> Where:
        threads = np.concatenate([self.ids[group] for group in groups])
        threads.sort()
        return self.where(threads)

    def retire(self, where: Where) -> None:
        """End these threads."""
        threads = self.ids[where]
        bits = np.uint32(1) << self.order.lane[threads].astype(np.uint32)
        np.bitwise_or.at(self.exited_lanes, self.order.warp[threads], bits)

    def require_whole_block(self, expected: Any, where: Where) -> None:
        """Refuse a barrier for a part of the block: what it orders is not modelled."""
        if not np.all(np.asarray(expected) == self.threads_per_block):
            self.fault("a barrier for less than the block is not modelled", where)

    def arrive(
        self,
        name: int,
        pc: int,
        where: Where,
        *,
        aligned: bool,
        finish: Callable[["Machine", np.ndarray], None] | None = None,
    ) -> None:
        """Let threads wait at a barrier until their whole block is there."""
        if finish is None and _count(where) == len(self.ids):
            self.order.barrier(slice(None))
            self.schedule(pc + 1, where)
            return
        waiting = self._barriers.setdefault(name, np.full(len(self.ids), -1, np.int64))
        waiting[where] = pc
        rows = waiting.reshape(self._blocks, -1)
        blocks = np.unique(self.order.block[where])
        complete = blocks[(rows[blocks] >= 0).all(axis=1)]
        if not len(complete):
            return
        threads = self.ids.reshape(self._blocks, -1)[complete].ravel()
        stood = waiting[threads]
        if aligned or finish:
            self._require_alignment(threads, stood)
        waiting[threads] = -1
        self.order.barrier(complete)
        if finish is not None:
            finish(self, threads)
        for target in np.unique(stood):
            self.schedule(int(target) + 1, self.where(threads[stood == target]))

    def _require_alignment(self, threads: np.ndarray, stood: np.ndarray) -> None:
        """An aligned barrier must be the same instruction for all lanes of a warp."""
        warp = self.order.warp[threads]
        apart = (warp[1:] == warp[:-1]) & (stood[1:] != stood[:-1])
        if apart.any():
            self.fault("lanes of one warp meet at different barriers", threads[1:], apart)

    def run(self, max_steps: int) -> int:
        """Execute until all threads have ended.

        Returns:
            How many instructions were issued.
        """
        steps, counts = self.program.steps, self.kernel.counts
        end = len(steps)
        self.schedule(0, slice(0, len(self.ids)))
        issued = 0
        with np.errstate(all="ignore"):
            while self._heap:
                pc, where = self._next_group()
                while pc < end:
                    issued += 1
                    if issued > max_steps:
                        self.fault(
                            f"more than {max_steps} instructions issued: an endless loop?", where
                        )
                    self.pc = pc
                    self.order.clock = issued
                    guard, handler, control = steps[pc]
                    active: Where | None = where
                    if guard is not None:
                        active = self._guarded(guard, pc, where, splits=control is not None)
                    if active is not None:
                        counts[pc] += _count(active)
                        if handler is None:
                            assert control is not None
                            control(self, pc, active)
                        else:
                            handler(self, active)
                    if handler is None:
                        break
                    pc += 1
                    if self._heap and self._heap[0] == pc:
                        self.schedule(pc, where)
                        break
                else:
                    self.retire(where)
        self._require_end()
        return issued

    def _guarded(self, guard: Fetch, pc: int, where: Where, *, splits: bool) -> Where | None:
        """The threads whose guard holds, or None; before a control function the others go on."""
        holds = guard(self, where)
        if holds.all():
            return where
        threads = self.ids[where]
        if splits:
            self.schedule(pc + 1, self.where(threads[~holds]))
        return self.where(threads[holds]) if holds.any() else None

    def _next_group(self) -> tuple[int, Where]:
        pc = heapq.heappop(self._heap)
        groups = self._waiting.pop(pc)
        return pc, groups[0] if len(groups) == 1 else self._merged(groups)

    def _require_end(self) -> None:
        """Nobody may wait any more once no thread can run."""
        for pc, threads in self._parked.items():
            self.pc = pc
            self.fault("not every lane of the mask takes part: the others never come", threads)
        for name, waiting in self._barriers.items():
            stuck = np.nonzero(waiting >= 0)[0]
            if len(stuck):
                self.pc = int(waiting[stuck[0]])
                block = self.order.block[stuck[0]]
                count = int((self.order.block[stuck] == block).sum())
                missing = self.threads_per_block - count
                self.fault(
                    f"deadlock: {missing} threads of the block never come to barrier {name}", stuck
                )


def _count(where: Where) -> int:
    return where.stop - where.start if isinstance(where, slice) else len(where)


def _aligned(offset: int, align: int) -> int:
    return -(-offset // align) * align


def _three(dimensions: Dimensions) -> tuple[int, int, int]:
    given = [dimensions] if isinstance(dimensions, int | np.integer) else list(dimensions)
    x, y, z = (int(n) for n in (*given, 1, 1)[:3])
    return x, y, z


def _coordinate(linear: np.ndarray, shape: tuple[int, int, int], axis: int) -> np.ndarray:
    return linear // int(np.prod(shape[:axis])) % shape[axis]


def _lane_mask(which: str, lane: np.ndarray) -> np.ndarray:
    own = np.int64(1) << lane
    masks = {"eq": own, "lt": own - 1, "le": own * 2 - 1, "gt": ~(own * 2 - 1), "ge": ~(own - 1)}
    return masks[which] & 0xFFFFFFFF


def _parameter_bytes(kernel: Kernel, args: Sequence[Any]) -> np.ndarray:
    """The parameters as the kernel sees them: uint8[byte]."""
    if len(args) != len(kernel.parameters):
        raise PtxError(
            f"{kernel.name[:60]}: {len(args)} arguments, expected {len(kernel.parameters)}"
        )
    packed = bytearray()
    for parameter, value in zip(kernel.parameters.values(), args, strict=True):
        packed = packed.ljust(_aligned(len(packed), parameter.align_bytes), b"\0")
        packed += _argument_bytes(parameter, value)
    return np.frombuffer(bytes(packed), np.uint8)


def _argument_bytes(parameter: Variable, value: Any) -> bytes:
    dtype = TYPES[parameter.type]
    if isinstance(value, bytes):
        if len(value) != parameter.size_bytes:
            raise PtxError(f"{parameter.name}: {len(value)} bytes, expected {parameter.size_bytes}")
        return value
    if isinstance(value, np.generic) and parameter.type.startswith("b"):
        content = value.tobytes()
        if len(content) == parameter.size_bytes:
            return content
    is_float = isinstance(value, float | np.floating)
    if parameter.size_bytes != dtype.itemsize or is_float != (dtype.kind == "f"):
        kind = type(value).__name__
        raise PtxError(f"{parameter.name}: got {value!r} ({kind}), expected .{parameter.type}")
    if is_float:
        if isinstance(value, np.floating) and value.dtype != dtype:
            raise PtxError(f"{parameter.name}: got {value.dtype}, expected .{parameter.type}")
        return dtype.type(value).tobytes()
    bits = 8 * dtype.itemsize
    if not -(1 << (bits - 1)) <= int(value) < 1 << bits:
        raise PtxError(f"{parameter.name}: {value} does not fit .{parameter.type}")
    return (int(value) & ((1 << bits) - 1)).to_bytes(dtype.itemsize, "little")


def launch(
    kernel: Kernel,
    grid: Dimensions,
    block: Dimensions,
    args: Sequence[Any],
    memory: Memory,
    *,
    dynamic_shared: int = 0,
    max_steps: int = MAX_STEPS,
    float_atomics: bool = False,
) -> int:
    """Run a kernel to its end.

    Args:
        kernel: from `Module.kernel`; its coverage grows.
        grid: blocks, an int or up to three of them.
        block: threads per block, likewise.
        args: the PTX parameters in order: ints, NumPy scalars, floats, or bytes for a struct.
        memory: where the pointers among `args` point to.
        dynamic_shared: bytes of `.extern .shared` memory.
        max_steps: issued instructions after which the kernel counts as endless.
        float_atomics: Whether float atomic sums are allowed; they are added in the order of the
        threads.

    Returns:
        How many instructions were issued.

    Raises:
        MachineFault: The program did what none may do.
        UnsupportedPtx: It holds an instruction that is not modelled exactly.
        PtxError: The arguments do not fit the parameters.
    """
    machine = Machine(
        kernel,
        grid,
        block,
        args,
        memory,
        dynamic_shared=dynamic_shared,
        float_atomics=float_atomics,
    )
    return machine.run(max_steps)
