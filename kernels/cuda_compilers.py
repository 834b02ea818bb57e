"""Stages 4 to 6 of 8: what differs between the two CUDA compilers; nothing else imports either.

numba-cuda is the one in use; numba-cuda-mlir is its successor, which reads the same kernels
(docs/decisions/0012-two-cuda-compilers.md says how far). Their answers go the same way from here:
PTX to machine code without contraction, launches by cuda.core.
"""

import functools
import importlib.metadata
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final, Protocol

from kernels.cuda_mlir import NumbaCudaMlir
from kernels.errors import DeviceError

VARIABLE: Final = "SCANNER_CUDA_COMPILER"


class Compiler(Protocol):
    """One of the two. Opening it imports it.

    Attributes:
        name: of the package.
        cuda: module that kernels call `cuda`.
        types: of numba's type system; NamedTuple among them.
        libdevice: functions of CUDA's own.
    """

    name: str
    cuda: Any
    types: Any
    libdevice: Any

    @staticmethod
    def array_words(pointer: int, shape: Sequence[int], itemsize: int) -> list[int]:
        """Arguments of a kernel that one C-contiguous array becomes."""

    def ptx(self, kernel: Any, signature: Any, capability: tuple[int, int]) -> str:
        """Compile a kernel without a device."""


class NumbaCuda:
    """numba-cuda 0.30: NVVM reads the LLVM code of numba's own lowering."""

    name = "numba-cuda"

    def __init__(self) -> None:
        """Import it, with contraction switched off."""
        from numba import cuda  # noqa: PLC0415
        from numba.cuda import libdevice  # noqa: PLC0415
        from numba.cuda.cudadrv import nvvm  # noqa: PLC0415

        self.cuda, self.types, self.libdevice = cuda, cuda.types, libdevice
        # numba-cuda 0.30 has no keyword for it; this is its one door to NVVM.
        nvvm.compile_ir = functools.partial(nvvm.compile_ir, fma=False)

    @staticmethod
    def array_words(pointer: int, shape: Sequence[int], itemsize: int) -> list[int]:
        """(0, 0, elements, item bytes, pointer, shape..., strides in bytes...)."""
        strides = [itemsize * stride for stride in _strides(shape)]
        return [0, 0, math.prod(shape), itemsize, pointer, *shape, *strides]

    def ptx(self, kernel: Any, signature: Any, capability: tuple[int, int]) -> str:
        """Compile a kernel without a device."""
        with _answering(capability):
            return str(self.cuda.compile_ptx(kernel, signature, cc=capability)[0])


COMPILERS: Final[dict[str, Any]] = {
    compiler.name: compiler for compiler in (NumbaCuda, NumbaCudaMlir)
}


def chosen() -> str:
    """Name of the compiler in use: the one in SCANNER_CUDA_COMPILER, else numba-cuda.

    Raises:
        DeviceError: there is no compiler of that name.
    """
    name = os.environ.get(VARIABLE) or NumbaCuda.name
    if name not in COMPILERS:
        raise DeviceError(f"{VARIABLE} was {name!r}, expected one of {', '.join(COMPILERS)}")
    return name


@functools.cache
def open_compiler(name: str) -> Compiler:
    """Import a compiler, once.

    Raises:
        DeviceError: it is not installed.
    """
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise DeviceError(
            f"CUDA compiler: {name} is not installed, expected one of the extras gpu-cu12, gpu-cu13"
            if name == NumbaCuda.name
            else f"CUDA compiler: {name} is not installed, expected "
            f"'{name}[cu13]' beside the extra gpu-cu13"
        ) from error
    opened: Compiler = COMPILERS[name]()
    return opened


@contextmanager
def _answering(capability: tuple[int, int]) -> Iterator[None]:
    """Answer for a device's capability while numba-cuda compiles device functions without one."""
    from numba.cuda import dispatcher  # noqa: PLC0415

    held: Callable[[], Any] = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = held


def _strides(shape: Sequence[int]) -> list[int]:
    """Elements from one index of an axis to the next."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
