"""Each detector of the static checks finds what was planted for it, and nothing elsewhere."""

import functools
import inspect
import math
import re
from dataclasses import replace
from unittest import mock

import pytest
from numba import cuda, float32, types
from numba.cuda.cudadrv import nvvm

from tests.gpu.budgets import Budget, excess
from tests.gpu.static import CAPABILITIES, Figures, faults, measure, opcodes, table

pytest.importorskip("numba_cuda", reason="make gpu-check installs the CUDA packages")
pytestmark = pytest.mark.gpu_check

HOPPER = (9, 0)


def ptx_of(function, capability=HOPPER, *, fma=False, **options) -> str:
    """PTX of a kernel over as many float32[::1] arrays as it takes."""
    count = len(inspect.signature(function).parameters)
    signature = types.void(*[types.Array(float32, 1, "C")] * count)
    compile_ir = functools.partial(nvvm.compile_ir, fma=fma)
    with mock.patch.object(nvvm, "compile_ir", compile_ir):
        ptx, _ = cuda.compile_ptx(function, signature, cc=capability, **options)
    return ptx


# Planted kernels.


def clean(x, y):
    i = cuda.grid(1)
    if i < x.shape[0]:
        y[i] = x[i] * y[i] - (x[i] + y[i]) / math.sqrt(x[i])


def fused(x, y):
    i = cuda.grid(1)
    y[i] = cuda.fma(x[i], y[i], x[i])


def exponential(x, y):
    i = cuda.grid(1)
    y[i] = math.exp(x[i])


def literal(x, y):
    i = cuda.grid(1)
    y[i] = x[i] * 1.1


def float_sum(x, y):
    cuda.atomic.add(y, 0, x[cuda.grid(1)])


def counter(x, y):
    bins = cuda.shared.array(32, types.int32)
    i = cuda.threadIdx.x
    bins[i] = 0
    cuda.syncthreads()
    cuda.atomic.add(bins, types.int32(x[i]), 1)
    cuda.syncthreads()
    y[i] = float32(bins[i])


def local_array(x, y):
    held = cuda.local.array(16, float32)
    for i in range(16):
        held[i] = float32(0)
    for i in range(64):
        held[types.int32(x[i]) & 15] += x[i]
    y[0] = held[types.int32(x[0]) & 15]


def many_live_values(count):
    """A kernel that loads `count` values before a barrier and stores them after it."""
    loads = "".join(f"    a{i} = x[{i}]\n" for i in range(count))
    stores = "".join(f"    y[{count - 1 - i}] = a{i}\n" for i in range(count))
    text = f"def kernel(x, y):\n{loads}    cuda.syncthreads()\n{stores}"
    names = {"cuda": cuda}
    exec(text, names)  # noqa: S102 - sixty-four lines that differ in a number
    return names["kernel"]


# What PTX must not hold.


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_clean_kernel_has_no_fault_on_any_architecture(capability):
    ptx = ptx_of(clean, capability)
    assert faults(ptx) == []
    arithmetic = {"add.rn.f32", "sub.rn.f32", "mul.rn.f32", "div.rn.f32", "sqrt.rn.f32"}
    assert arithmetic <= set(opcodes(ptx))


def test_arithmetic_left_to_contraction_is_a_fault():
    rule = "rounding is not fixed to nearest"
    assert faults(ptx_of(clean, fma=True)) == [
        f"{opcode}: {rule}" for opcode in ("mul.f32", "add.f32", "sub.f32")
    ]


def test_line_information_hides_no_instruction():
    plain, with_lines = (faults(ptx_of(clean, fma=True, lineinfo=flag)) for flag in (False, True))
    assert set(plain) == set(with_lines)


def test_a_fused_product_and_sum_is_a_fault():
    assert faults(ptx_of(fused)) == ["fma.rn.f32: a product and a sum are fused"]


def test_fast_division_and_root_are_faults():
    found = " ".join(faults(ptx_of(clean, fastmath=True)))
    assert "div.approx.ftz.f32: the result is approximate" in found
    assert "sqrt.approx.ftz.f32: denormals are flushed" in found


def test_a_library_exponential_is_a_fault():
    assert [f for f in faults(ptx_of(exponential)) if f.startswith("ex2.approx")]


def test_a_literal_that_makes_double_precision_is_a_fault_unless_declared():
    ptx = ptx_of(literal)
    assert [f for f in faults(ptx) if f.endswith("double precision")]
    assert faults(ptx, double_allowed=True) == []
    assert measure(ptx, HOPPER).double > 0


def test_a_float_summed_atomically_is_a_fault_and_a_count_is_none():
    (found,) = [f for f in faults(ptx_of(float_sum)) if "atomically" in f]
    assert found.startswith(("atom.", "red."))
    assert faults(ptx_of(counter)) == []


def test_a_version_that_drivers_may_not_know_is_a_fault():
    ptx = re.sub(r"\.version \S+", ".version 10.1", ptx_of(clean))
    assert faults(ptx) == ["PTX ISA 10 is too new"]


# What the machine code holds.


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_clean_kernel_loads_and_stores_what_it_says(capability):
    found = measure(ptx_of(clean, capability), capability)
    assert (found.global_loads, found.global_stores) == (2, 1)
    assert 0 < found.registers <= 32
    assert found.instructions > 10
    spared = ("shared_bytes", "shared_accesses", "atomics", "double", "local_accesses",
              "stack_bytes", "spill_store_bytes", "spill_load_bytes")  # fmt: skip
    assert [name for name in spared if getattr(found, name)] == []


def test_an_array_indexed_at_run_time_is_seen_in_local_memory():
    found = measure(ptx_of(local_array), HOPPER)
    assert found.stack_bytes == 64
    assert found.local_accesses > 0


def test_spilled_registers_are_seen():
    function = many_live_values(64)
    roomy, cramped = (ptx_of(function, launch_bounds=bounds) for bounds in ((128,), (1024, 2)))
    assert measure(roomy, HOPPER).spill_store_bytes == 0
    found = measure(cramped, HOPPER)
    assert found.registers <= 32
    assert min(found.spill_store_bytes, found.spill_load_bytes, found.local_accesses) > 0
    assert (found.global_loads, found.global_stores) == (64, 64)


def test_shared_memory_and_atomics_are_counted():
    found = measure(ptx_of(counter), HOPPER)
    assert found.shared_bytes >= 32 * 4
    assert found.shared_accesses >= 2
    assert found.atomics == 1


def test_a_module_of_two_kernels_is_refused():
    ptx = ptx_of(clean)
    with pytest.raises(ValueError, match="one kernel expected in a module"):
        measure(ptx + ptx[ptx.index(".visible") :], HOPPER)


def test_what_the_assembler_refuses_is_told_in_its_words():
    with pytest.raises(ValueError, match=r"ptxas refuses the kernel: .*frobnicate"):
        measure(ptx_of(clean).replace("add.rn.f32", "frobnicate.f32"), HOPPER)


# Budgets and the table.

FIGURES = Figures(
    registers=30, stack_bytes=0, spill_store_bytes=0, spill_load_bytes=0, shared_bytes=0,
    instructions=100, global_loads=3, global_stores=1, local_accesses=0, shared_accesses=0,
    atomics=0, double=0,
)  # fmt: skip
BUDGET = Budget(registers=30, global_loads=3, global_stores=1, instructions=100)


def test_a_kernel_at_its_bounds_is_within_its_budget():
    assert excess(FIGURES, BUDGET) == {}


@pytest.mark.parametrize(
    ("name", "found", "allowed"),
    [("registers", 31, 30), ("global_loads", 4, 3), ("global_stores", 2, 1),
     ("instructions", 101, 100), ("shared_bytes", 4, 0), ("atomics", 1, 0), ("double", 1, 0),
     ("stack_bytes", 8, 0), ("spill_store_bytes", 4, 0), ("spill_load_bytes", 4, 0),
     ("local_accesses", 1, 0)],
)  # fmt: skip
def test_one_more_than_the_budget_is_told(name, found, allowed):
    assert excess(replace(FIGURES, **{name: found}), BUDGET) == {name: (found, allowed)}


def test_the_table_holds_every_kernel_by_every_architecture():
    spilled = replace(FIGURES, spill_store_bytes=8, spill_load_bytes=4)
    lines = table({("b", (8, 0)): FIGURES, ("a", (9, 0)): spilled}).splitlines()
    assert lines[0].split() == ["kernel", "per", "thread", "sm_80", "sm_90"]
    assert lines[1].split() == ["a", "registers", "-", "30"]
    assert lines[2].split() == ["spilled", "bytes", "-", "12"]
    assert lines[6].split() == ["b", "registers", "30", "-"]
