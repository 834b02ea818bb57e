"""Stages 4 to 6 of 8: launch shapes to CUDA code, by one of the two compilers.

Nobody else types cuda.jit flags; what differs between the compilers stands in
kernels/cuda_compilers.py. No device and no driver are needed: what is compiled here runs in the PTX
interpreter of the test-suite and on a GPU alike.

The factory is that of kernels.compile: a kernel's globals are re-bound to the device versions of
what it calls, so each law and each row function has one source. No contraction (`fma=0`): every
float add, sub and mul of the PTX says `.rn`, and nothing downstream may fuse what says so
(docs/decisions/0001-same-bits.md).
"""

import functools
import hashlib
import importlib.metadata
import inspect
import os
import re
import tempfile
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

import numpy as np

from kernels.compile import PREFIX, cache_folder
from kernels.cuda_compilers import NumbaCuda, chosen, open_compiler
from kernels.errors import DeviceError
from kernels.gpu import (
    apply,
    expire,
    features,
    group,
    histogram,
    liquidity,
    median,
    rank,
    rollup,
    score,
    tickers,
)
from kernels.laws import bits

# Distributions that decide the machine code beside our sources, of CUDA 13 and of CUDA 12.
TOOLCHAIN: Final = (
    "numba-cuda", "numba-cuda-mlir", "llvmlite", "cuda-core", "nvidia-nvvm", "nvidia-nvjitlink",
    "nvidia-cuda-nvcc-cu12", "nvidia-nvjitlink-cu12",
)  # fmt: skip
# Kernels by name. A name that kernels.cpu has, too, is the same launch shape.
KERNELS: Final[Mapping[str, Callable[..., None]]] = {
    function.__name__: function
    for function in (
        apply.apply,
        tickers.apply_tickers,
        expire.expire,
        features.metrics,
        score.observe,
        group.group_sums,
        group.group_scores,
        rank.block_top_k,
        rank.top_k,
        rollup.rollup,
        histogram.count_marks,
        histogram.cumulate,
        liquidity.activity,
        median.segment_median_mad,
    )
}


def ptx_of(name: str, capability: tuple[int, int], compiler: str | None = None) -> str:
    """PTX of a kernel, its entry named as the kernel.

    Args:
        name: of the kernel.
        capability: of the device that will run it, (major, minor).
        compiler: name in kernels.cuda_compilers, None for the one in use.

    Raises:
        DeviceError: the compiler is not installed.
    """
    compiler = compiler or chosen()
    opened, kernel = open_compiler(compiler), KERNELS[name]
    kinds = (_numba_type(kind, opened.types) for kind in parameters(kernel).values())
    ptx = opened.ptx(_rebound(kernel, compiler), opened.types.void(*kinds), capability)
    # The compiler numbers its names by process: neither a cache key nor a test could hold them.
    (mangled,) = re.findall(r"\.entry (\S+)\(", ptx)
    return ptx.replace(mangled, name)


def cubin_of(name: str, capability: tuple[int, int], compiler: str | None = None) -> bytes:
    """Machine code of a kernel, from the cache or compiled into it.

    Args:
        name: of the kernel.
        capability: of the device that will run it, (major, minor).
        compiler: name in kernels.cuda_compilers, None for the one in use.

    Raises:
        DeviceError: the compiler is not installed, or it does not know the capability.
    """
    compiler = compiler or chosen()
    path = cubin_path(name, capability, compiler)
    if path.exists():
        return path.read_bytes()
    ptx = ptx_of(name, capability, compiler)
    from cuda.bindings.nvjitlink import nvJitLinkError  # noqa: PLC0415
    from cuda.core import Linker, LinkerOptions, ObjectCode  # noqa: PLC0415

    major, minor = capability
    options = LinkerOptions(arch=f"sm_{major}{minor}", fma=False)
    try:
        linker = Linker(ObjectCode.from_ptx(ptx.encode(), name=name), options=options)
        code = bytes(linker.link("cubin").code)
    except nvJitLinkError as error:
        raise DeviceError(
            f"CUDA compiler: {name} for capability {major}.{minor}: {error}"
        ) from error
    _write_whole(path, code)
    return code


def cubin_path(name: str, capability: tuple[int, int], compiler: str | None = None) -> Path:
    """File of a kernel's machine code: of these sources, this compiler, this architecture."""
    compiler = compiler or chosen()
    stem = name if compiler == NumbaCuda.name else f"{name}.{compiler}"
    major, minor = capability
    return cache_folder() / "cuda" / _toolchain() / f"{stem}.sm_{major}{minor}.cubin"


def require_compiler() -> None:
    """Find out at once whether there is a compiler, not after minutes.

    Raises:
        DeviceError: it is not installed.
    """
    open_compiler(chosen())


def parameters(kernel: Callable[..., None]) -> dict[str, Any]:
    """Annotated types of a kernel's parameters, by name, in order."""
    hints = typing.get_type_hints(kernel, include_extras=True)
    return {name: hints[name] for name in inspect.signature(kernel).parameters}


def _numba_type(annotation: Any, types: Any) -> Any:
    """Type of numba for a named tuple of arrays or an array of kernels.arrays."""
    if typing.get_origin(annotation) is typing.Annotated:
        array, axes = typing.get_args(annotation)
        (element,) = typing.get_args(typing.get_args(array)[1])
        return types.Array(getattr(types, np.dtype(element).name), axes, "C")
    hints = typing.get_type_hints(annotation, include_extras=True)
    fields = [_numba_type(hints[name], types) for name in annotation._fields]
    return types.NamedTuple(fields, annotation)


@functools.cache
def _device_function(function: Callable[..., Any], compiler: str) -> Any:
    jit = functools.partial(open_compiler(compiler).cuda.jit, device=True, forceinline=True)
    if function in (bits.float_bits, bits.bits_float):
        return jit(_bit_casts(compiler)[function.__name__])
    return jit(_rebound(function, compiler))


def _rebound(function: Callable[..., Any], compiler: str) -> Callable[..., Any]:
    """Copy a function whose globals hold the device versions of the kernels it calls."""
    assert isinstance(function, FunctionType)
    names: dict[str, Any] = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = names.get(name)
        if isinstance(value, FunctionType) and value.__module__.startswith(PREFIX):
            names[name] = _device_function(value, compiler)
        elif isinstance(value, ModuleType) and value.__name__ == "numba.cuda":
            names[name] = open_compiler(compiler).cuda
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    copy.__module__ = function.__module__
    copy.__qualname__ = function.__qualname__
    return copy


@functools.cache
def _bit_casts(compiler: str) -> dict[str, Callable[..., Any]]:
    """Reinterpret the 32 bits of a float as an integer and back, without a conversion."""
    libdevice = open_compiler(compiler).libdevice

    def float_bits(x: float) -> int:
        return libdevice.float_as_int(x)  # type: ignore[no-any-return]

    def bits_float(i: int) -> float:
        return libdevice.int_as_float(i)  # type: ignore[no-any-return]

    return {"float_bits": float_bits, "bits_float": bits_float}


@functools.cache
def _toolchain() -> str:
    """Hash of the versions that decide the machine code beside our sources."""
    text = " ".join(f"{name} {_version(name)}" for name in TOOLCHAIN)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"  # A system-wide toolkit; its version is that of the driver's machine.


def _write_whole(path: Path, code: bytes) -> None:
    """Write a cache entry so that no reader ever sees half of it; a full disk is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(code)
        os.replace(part.name, path)
    except OSError:
        return
