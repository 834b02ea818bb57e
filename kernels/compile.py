"""Stages 4 to 6 of 8: the one factory that compiles laws and launch shapes.

Nobody else types njit flags.

A law is a plain Python function; a launch shape is a plain Python function over arrays. `compiled`
builds each once per target, with its globals re-bound so that every function it calls is the
version of the same target. No contraction and no fastmath on either side: IEEE fixes the bits
(docs/decisions/0001-same-bits.md).

The cache of compiled code is keyed by the sources of ALL kernels: numba's own index looks at one
file's time stamp and serves stale code when a law inlined from another file was edited.
"""

import functools
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import numpy as np

from kernels.laws import bits

_ROOT: Final = Path(__file__).resolve().parent
PREFIX: Final = "kernels."


@functools.cache
def source_hash() -> str:
    """BLAKE2b over every kernel source, and the versions that decide the machine code."""
    import numba  # noqa: PLC0415 - 0.6 s, not paid by `scanner --help`

    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{sys.version_info} {numba.__version__} {np.__version__}".encode())
    for path in sorted(_ROOT.rglob("*.py")):
        digest.update(path.relative_to(_ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def cache_folder() -> Path:
    """Folder of the compiled code of exactly these sources; created on first use."""
    base = os.environ.get("SCANNER_KERNEL_CACHE")
    root = Path(base) if base else _user_cache() / "cross-market-scanner"
    return root / source_hash()


def cache_is_writable() -> bool:
    """Whether compiled code is kept for the next process."""
    import numba  # noqa: PLC0415

    return _use_cache(numba)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a launch shape for the CPU."""
    return _build(function, entry=True)


@functools.cache
def _build(function: Callable[..., Any], *, entry: bool) -> Callable[..., Any]:
    import numba  # noqa: PLC0415

    cached = _use_cache(numba)
    if function in (bits.float_bits, bits.bits_float):
        return _bit_casts()[function.__name__]
    flags: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    # Python calls launch shapes alone, and C calls none: what would unpack the bundles of arrays
    # for them is more code than the kernels, and was half of a first start. What cannot be called
    # stays out of the cache, whose entries do not tell the two apart.
    flags |= {"no_cfunc_wrapper": True, "no_cpython_wrapper": not entry, "cache": cached and entry}
    # Who calls holds every array, so nobody else counts references to them: the counts took
    # most of a scan, and threads fought over them (docs/decisions/0008-no-reference-counts.md).
    flags["_nrt"] = False
    # A call in an inner loop would keep it from becoming packed instructions.
    flags["forceinline"] = function.__module__.startswith("kernels.laws.")
    return numba.njit(**flags)(_rebound(function))  # type: ignore[no-any-return]


def _rebound(function: Callable[..., Any]) -> Callable[..., Any]:
    """Copy a function whose globals hold the compiled versions of the kernels it calls."""
    assert isinstance(function, FunctionType)
    names: dict[str, Any] = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = names.get(name)
        if isinstance(value, FunctionType) and value.__module__.startswith(PREFIX):
            names[name] = _build(value, entry=False)
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    copy.__module__ = function.__module__
    copy.__qualname__ = function.__qualname__
    return copy


@functools.cache
def _bit_casts() -> dict[str, Callable[..., Any]]:
    """Reinterpret the 32 bits of a float as an integer and back, without a conversion."""
    import numba  # noqa: PLC0415
    from llvmlite import ir  # noqa: PLC0415
    from numba.extending import intrinsic  # noqa: PLC0415

    @intrinsic  # type: ignore[untyped-decorator]
    def float_bits(_context: Any, _value: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], ir.IntType(32))

        return numba.int32(numba.float32), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def bits_float(_context: Any, _value: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], ir.FloatType())

        return numba.float32(numba.int32), generate

    return {"float_bits": float_bits, "bits_float": bits_float}


@functools.cache
def _use_cache(numba: Any) -> bool:
    """Name the folder of compiled code; says whether there is one to write to."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False  # A read-only home: every start compiles.
    if not os.access(folder, os.W_OK):
        return False
    numba.config.CACHE_DIR = str(folder)
    return True


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) if base else Path.home() / ".cache"
