"""Stage 2 of 8: compiles byte scanners; the only file of feeds that knows numba or types its flags.

Compilation takes seconds where nothing is cached, so nobody scans before `warm_up` of the venue's
scanner was called. A cached scanner is found again only by the same sources and versions.
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

from feeds.bytescan import grammar

_FEEDS: Final = Path(__file__).resolve().parent.parent
# Constants of other files are compiled in.
_SOURCES: Final = (
    "events.py", "columns.py", "grammar.py", "sequence.py", "symbols.py", "bytescan/*.py",
    "venues/**/*.py",
)  # fmt: skip

_PRIMITIVES: Final = (
    grammar.byte_at, grammar.word_at, grammar.first_byte, grammar.put_int, grammar.put_float,
)  # fmt: skip

# A call takes longer than most of what grammar.py does; `skip` is large, the others are rare.
_CALLED: Final = ("skip", "_exponent", "_rare_number")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a scanner, serial and without the interpreter lock, with all functions it calls."""
    return _build(function)


def compiled_before(venue: str) -> bool:
    """Whether a venue's scanner, of exactly these sources, was compiled on this machine before."""
    import numba  # noqa: PLC0415

    folder = _cache_folder(numba.__version__)
    return bool(folder) and any(Path(folder).glob(f"{venue}_*/scan.scan-*.nbi"))


@functools.cache
def _build(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba  # noqa: PLC0415 - 0.6 s, not paid by `scanner --help`

    if function in _PRIMITIVES:
        return _memory()[function.__name__]
    bound = _rebound(function)
    # Callers hold every array: counting references to them took longer than the scanning
    # (docs/decisions/0008-no-reference-counts.md).
    folder = _cache_folder(numba.__version__)
    flags: dict[str, Any] = {
        "error_model": "numpy", "nogil": True, "cache": bool(folder), "_nrt": False,
        "forceinline": _is_inlined(function),
    }  # fmt: skip
    before = numba.config.CACHE_DIR
    # numba asks for the folder when a function is wrapped; the kernels have another one.
    numba.config.CACHE_DIR = str(folder) or before
    try:
        return numba.njit(**flags)(bound)  # type: ignore[no-any-return]
    finally:
        numba.config.CACHE_DIR = before


def _is_inlined(function: Callable[..., Any]) -> bool:
    """Whether it is of grammar.py, or takes one member of an object, as a loop asks it to."""
    name = function.__name__
    return name.endswith("_field") or (
        function.__module__ == grammar.__name__ and name not in _CALLED
    )


def _rebound(function: Callable[..., Any]) -> Callable[..., Any]:
    """Copy a function whose globals hold the compiled versions of the scanners it calls."""
    assert isinstance(function, FunctionType)
    names: dict[str, Any] = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = names.get(name)
        if isinstance(value, FunctionType) and value.__module__.startswith("feeds."):
            names[name] = _build(value)
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    copy.__module__ = function.__module__
    copy.__qualname__ = function.__qualname__
    return copy


@functools.cache
def _memory() -> dict[str, Callable[..., Any]]:
    """Read one byte or eight at an address that need not be aligned, and write eight at one."""
    import numba  # noqa: PLC0415
    from llvmlite import ir  # noqa: PLC0415
    from numba.extending import intrinsic  # noqa: PLC0415

    def load(builder: Any, at: Any, bits: int) -> Any:
        pointer = builder.inttoptr(at, ir.PointerType(ir.IntType(bits)))
        return builder.load(pointer, align=1)

    def store(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        at, value = args
        builder.store(value, builder.inttoptr(at, ir.PointerType(value.type)), align=8)
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator]
    def byte_at(_context: Any, _at: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builder.zext(load(builder, args[0], 8), ir.IntType(64))

        return numba.int64(numba.uint64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def word_at(_context: Any, _at: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return load(builder, args[0], 64)

        return numba.uint64(numba.uint64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def put_int(_context: Any, _at: Any, _value: Any) -> Any:
        return numba.void(numba.uint64, numba.int64), store

    @intrinsic  # type: ignore[untyped-decorator]
    def put_float(_context: Any, _at: Any, _value: Any) -> Any:
        return numba.void(numba.uint64, numba.float64), store

    return {
        "byte_at": byte_at,
        "word_at": word_at,
        "put_int": put_int,
        "put_float": put_float,
        "first_byte": _first_byte(),
    }


def _first_byte() -> Callable[..., Any]:
    """First byte of a word whose top bit is set, in one instruction."""
    import numba  # noqa: PLC0415
    from llvmlite import ir  # noqa: PLC0415
    from numba.extending import intrinsic  # noqa: PLC0415

    @intrinsic  # type: ignore[untyped-decorator]
    def first_byte(_context: Any, _marked: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            bit = builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))
            return builder.lshr(bit, ir.Constant(ir.IntType(64), 3))

        return numba.uint64(numba.uint64), generate

    return first_byte  # type: ignore[no-any-return]


@functools.cache
def _cache_folder(numba_version: str) -> Path | str:
    """Folder of the compiled code of exactly these sources, "" where none can be made."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{sys.version_info} {numba_version} {np.__version__}".encode())
    for path in sorted(path for pattern in _SOURCES for path in _FEEDS.glob(pattern)):
        digest.update(path.relative_to(_FEEDS).as_posix().encode())
        digest.update(path.read_bytes())
    base = os.environ.get("SCANNER_KERNEL_CACHE")
    cache = os.environ.get("XDG_CACHE_HOME")
    user = (Path(cache) if cache else Path.home() / ".cache") / "cross-market-scanner"
    folder = (Path(base) if base else user) / f"bytescan-{digest.hexdigest()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""  # A read-only home: every start compiles.
    return folder if os.access(folder, os.W_OK) else ""
