"""Executes PTX without a GPU: real kernels, exact arithmetic, and every access checked.

Start with `parse`, `Memory.put` and `launch`.
"""

from tests.gpu.ptx.abi import mlir_arguments, numba_arguments
from tests.gpu.ptx.errors import MachineFault, PtxError, UnsupportedPtx
from tests.gpu.ptx.machine import launch
from tests.gpu.ptx.memory import Allocation, Memory
from tests.gpu.ptx.parse import Kernel, Module, parse

__all__ = [
    "Allocation",
    "Kernel",
    "MachineFault",
    "Memory",
    "Module",
    "PtxError",
    "UnsupportedPtx",
    "launch",
    "mlir_arguments",
    "numba_arguments",
    "parse",
]
