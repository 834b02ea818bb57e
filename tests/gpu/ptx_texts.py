"""Small PTX texts for the interpreter's own tests, and the shortest way to run them."""

from typing import Any

import numpy as np

from tests.gpu.ptx import Kernel, Memory, launch, parse
from tests.gpu.ptx.parse import TYPES

HEAD = ".version 9.0\n.target sm_90\n.address_size 64\n"
REGISTERS = """
    .reg .pred %p<10>;
    .reg .b16 %rs<10>;
    .reg .b32 %r<40>;
    .reg .b64 %rd<40>;
    .reg .f32 %f<20>;
    .reg .f64 %fd<20>;
"""
# %r0 = thread of the grid, %r1 = thread of the block, %rd0.. = pointers, %rd20 = 4 * %r0, %rd21 =
# 4 * %r1.
PLACE = """
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mad.lo.s32 %r0, %r2, %r3, %r1;
    mul.wide.u32 %rd20, %r0, 4;
    mul.wide.u32 %rd21, %r1, 4;
"""


def kernel_of(body: str, pointers: int = 0, before: str = "", declarations: str = "") -> Kernel:
    """A kernel named k with `pointers` u64 parameters, loaded into %rd0, %rd1, ..."""
    parameters = ", ".join(f".param .u64 k_{i}" for i in range(pointers))
    loads = "".join(f"ld.param.u64 %rd{i}, [k_{i}];\n" for i in range(pointers))
    text = (
        f"{HEAD}{before}\n.visible .entry k({parameters})\n"
        f"{{{declarations}{REGISTERS}{loads}{PLACE}{body}\nret;\n}}"
    )
    return parse(text).kernel()


def run(
    body: str,
    *arrays: np.ndarray,
    grid: Any = 1,
    block: Any = 32,
    before: str = "",
    declarations: str = "",
    **options: Any,
) -> list[np.ndarray]:
    """Launch `body` on copies of the arrays and return what is in them afterwards."""
    kernel = kernel_of(body, len(arrays), before, declarations)
    memory = Memory()
    handles = [memory.put(array) for array in arrays]
    launch(kernel, grid, block, [h.pointer for h in handles], memory, **options)
    return [memory.read(h) for h in handles]


def evaluate(instruction: str, result: str, **operands: tuple[str, list[Any]]) -> np.ndarray:
    """What `instruction` leaves in %d, a register of the type `result`, for each set of operands.

    `operands` gives the PTX type and the values of %a, %b, ...;
    a predicate result comes back as 0 or 1.
    """
    names = list(operands)
    values = [np.array(v, TYPES[t] if t != "pred" else np.uint8) for t, v in operands.values()]
    count = len(values[0])
    declare = "".join(f".reg .{t} %{n};\n" for n, (t, _) in operands.items())
    body = [f".reg .{result} %d;\n{declare}"]
    for k, (name, (kind, _)) in enumerate(operands.items()):
        body.append(_load(name, kind, k + 1))
    is_predicate = result == "pred"
    size = 4 if is_predicate else TYPES[result].itemsize
    body.append(f"{instruction};\n")
    if is_predicate:
        body.append("selp.u32 %r30, 1, 0, %d;\n")
    target = "u32 [%rd30], %r30" if is_predicate else f"{result} [%rd30], %d"
    body.append(f"mad.wide.u32 %rd30, %r0, {size}, %rd0;\nst.global.{target};")
    out = np.zeros(count, np.uint32 if is_predicate else TYPES[result])
    assert names
    return run("".join(body), out, *values, block=count)[0]


def _load(name: str, kind: str, pointer: int) -> str:
    size = TYPES[kind].itemsize
    place = f"mad.wide.u32 %rd30, %r0, {size}, %rd{pointer};\n"
    if kind != "pred":
        return f"{place}ld.global.{kind} %{name}, [%rd30];\n"
    return f"{place}ld.global.u8 %rs0, [%rd30];\nsetp.ne.u16 %{name}, %rs0, 0;\n"
