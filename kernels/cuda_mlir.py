"""Stages 4 to 6 of 8: numba-cuda-mlir 0.6, and what has to be mended in it.

Each repair is of a mistake that changes answers, and is named in
docs/decisions/0012-two-cuda-compilers.md with what shows it. Nothing else in the product reaches
into a compiler.
"""

import functools
import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any


class NumbaCudaMlir:
    """numba-cuda-mlir: numba's front, MLIR, then NVVM."""

    name = "numba-cuda-mlir"

    def __init__(self) -> None:
        """Import and mend it."""
        from numba_cuda_mlir import cuda  # noqa: PLC0415
        from numba_cuda_mlir.cuda import libdevice  # noqa: PLC0415
        from numba_cuda_mlir.numba_cuda import types  # noqa: PLC0415

        self.cuda, self.types, self.libdevice = cuda, types, libdevice
        _switch_contraction_off()
        _tell_shared_arrays_from_global_ones()
        _make_nan_unequal_to_itself()

    @staticmethod
    def array_words(pointer: int, shape: Sequence[int], itemsize: int) -> list[int]:  # noqa: ARG004
        """(pointer, pointer, offset, shape..., strides in elements...), a memref of MLIR."""
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return [pointer, pointer, 0, *shape, *strides]

    def ptx(self, kernel: Any, signature: Any, capability: tuple[int, int]) -> str:
        """Compile a kernel without a device, whose capability it asks for nevertheless."""
        from numba_cuda_mlir import tools  # noqa: PLC0415

        held, tools._cached_cc = tools._cached_cc, capability  # noqa: SLF001
        try:
            # From sm_100 on the text ends with C's NUL, which no assembler takes.
            return str(self.cuda.compile_ptx(kernel, signature, cc=capability)[0]).rstrip("\0")
        finally:
            tools._cached_cc = held  # noqa: SLF001


def _switch_contraction_off() -> None:
    """Give NVVM the option that the compiler has no keyword for, on every architecture."""
    from numba_cuda_mlir import mlir_optimization as last_steps  # noqa: PLC0415

    last_steps._nvvm_options = functools.partial(  # noqa: SLF001
        last_steps._nvvm_options,  # noqa: SLF001
        fma=False,
    )
    last_steps._call_llvm70_capi = functools.partial(  # noqa: SLF001
        _ptx_below_sm_100,
        last_steps,
        last_steps._call_llvm70_capi,  # noqa: SLF001
    )


def _ptx_below_sm_100(
    last_steps: Any, own: Callable[..., bytes], module: Any, target: dict[str, Any], **flags: bool
) -> bytes:
    """Compile where the compiler's own way to NVVM fuses products and sums and takes no option.

    The same intermediate code goes to NVVM the way that later architectures take.
    """
    if any(flags.values()):
        return own(module, target, **flags)
    from numba_cuda_mlir.numba_cuda.cudadrv.nvvm import LibDevice  # noqa: PLC0415

    capability = target["chip"].removeprefix("sm_")
    code = own(module, target, gen_llvmir=True)
    # NVVM refuses the text as it is: the layout leaves a type out (no kernel has it), and shared
    # arrays promise to begin as zeros, which no hardware keeps.
    code = code.replace(b"-i64:64:64-f32", b"-i64:64:64-i128:128:128-f32", 1)
    code = re.sub(rb"(addrspace\(3\) global \[[^]]*\]) zeroinitializer", rb"\1 undef", code)
    options = last_steps._nvvm_options(capability, target)  # noqa: SLF001
    ptx: bytes = last_steps._compile_to_ptx(code, capability, LibDevice(), options)  # noqa: SLF001
    return ptx


def _tell_shared_arrays_from_global_ones() -> None:
    """Make pointers of arrays that came as arguments generic, which is right for both.

    The compiler takes them for global, and an atomic on a shared one then updates address 0.
    """
    from numba_cuda_mlir import lowering_utilities  # noqa: PLC0415

    space = lowering_utilities.memref_llvm_address_space
    lowering_utilities.memref_llvm_address_space = lambda array: (
        0 if array.memory_space is None else space(array)
    )


def _make_nan_unequal_to_itself() -> None:
    """Let `!=` of floats be true of NaN, as everywhere else in Python."""
    from numba_cuda_mlir.lowering import math as operators  # noqa: PLC0415

    arith = operators.arith
    unequal = functools.partial(arith.cmpf, arith.CmpFPredicate.UNE)
    operators._operator_mapping()[operator.ne].float = unequal  # noqa: SLF001
