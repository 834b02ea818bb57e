"""Memory of the machine: named allocations far apart, which know their written bytes.

A space (global, shared, local, const) is a list of allocations with unmapped bytes between them,
so that an access beside one is noticed even where hardware would find the neighbour. Shared
variables exist once per block and local ones once per thread: an allocation then holds `copies` of
its bytes, one after another.
"""

from bisect import bisect_right
from typing import Any

import numpy as np

from tests.gpu.ptx.errors import PtxError

GLOBAL_BASE = 0x7F00_0000_0000
CONST_BASE = 0x7E00_0000_0000
GENERIC_WINDOWS = {"shared": 0x7D00_0000_0000, "local": 0x7C00_0000_0000}  # Added by cvta.
WINDOW_BYTES = 1 << 36
REDZONE_BYTES = 256
POISON = 0xCD


class Allocation:
    """Bytes under one name.

    bytes: uint8[copies * stride]; written: uint8[copies * stride], 1 where a byte has a value, or
    None when all have. granule_bytes: the unit in which races are looked for.
    """

    def __init__(
        self,
        name: str,
        start: int,
        size_bytes: int,
        *,
        copies: int = 1,
        granule_bytes: int = 4,
        readonly: bool = False,
        dtype: np.dtype[Any] | None = None,
        shape: tuple[int, ...] = (),
    ) -> None:
        self.name, self.start, self.size_bytes = name, start, size_bytes
        self.end = start + size_bytes
        self.stride = -(-size_bytes // 16) * 16
        self.granule_bytes, self.readonly = granule_bytes, readonly
        self.dtype, self.shape = dtype, shape
        self.bytes = np.full(copies * self.stride, POISON, np.uint8)
        self.written: np.ndarray | None = np.zeros(copies * self.stride, np.uint8)
        self._views: dict[Any, np.ndarray] = {}

    @property
    def pointer(self) -> int:
        """The address of the first byte."""
        return self.start

    def fill(self, content: bytes | np.ndarray) -> None:
        """Give all bytes of the (only) copy their first values."""
        self.bytes[: self.size_bytes] = np.frombuffer(content, np.uint8)
        self.written = None

    def view(self, dtype: np.dtype[Any]) -> np.ndarray:
        """All bytes as elements of `dtype`."""
        found = self._views.get(dtype)
        if found is None:
            found = self._views[dtype] = self.bytes.view(dtype)
        return found

    def unwritten(self, index: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray | None:
        """Which elements hold a byte that nobody wrote: bool[...]; None when none does."""
        if self.written is None:
            return None
        missing = self.written.view(_flag_type(dtype))[index] != _all_written(dtype)
        return missing if missing.any() else None

    def mark_written(self, index: np.ndarray, dtype: np.dtype[Any]) -> None:
        """Note that these elements now have values."""
        if self.written is not None:
            self.written.view(_flag_type(dtype))[index] = _all_written(dtype)

    def describe(self, address: int) -> str:
        """Where an address lies, in words."""
        offset = address - self.start
        if not 0 <= offset < self.size_bytes:
            beyond = address - self.end
            place = f"{beyond} bytes past the end" if beyond >= 0 else f"{-offset} bytes before"
            return f"{place} of '{self.name}' ({self.size_bytes} bytes)"
        if self.dtype is not None and self.dtype.itemsize:
            return f"'{self.name}' element {offset // self.dtype.itemsize}"
        return f"'{self.name}' byte {offset}"


def _flag_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"u{dtype.itemsize}")


def _all_written(dtype: np.dtype[Any]) -> Any:
    return _flag_type(dtype).type(int.from_bytes(b"\1" * dtype.itemsize, "little"))


class Space:
    """Allocations in the order of their addresses."""

    def __init__(self, name: str, base: int) -> None:
        self.name = name
        self.allocations: list[Allocation] = []
        self._starts: list[int] = []
        self._next = base

    def add(self, name: str, size_bytes: int, align_bytes: int = 16, **options: Any) -> Allocation:
        """Make an allocation after the last one, with a redzone between."""
        align = max(align_bytes, 16)
        start = -(-self._next // align) * align
        allocation = Allocation(name, start, size_bytes, **options)
        self.allocations.append(allocation)
        self._starts.append(start)
        self._next = allocation.end + REDZONE_BYTES
        return allocation

    def find(self, address: int) -> Allocation | None:
        """The allocation that holds the address, or None."""
        nearest = self.nearest(address)
        return nearest if nearest is not None and address < nearest.end else None

    def nearest(self, address: int) -> Allocation | None:
        """The last allocation that starts at or before the address."""
        position = bisect_right(self._starts, address)
        return self.allocations[position - 1] if position else None


class Memory:
    """Global memory: arrays put in by the host, and the variables of the modules that ran on it."""

    def __init__(self) -> None:
        self.space = Space("global", GLOBAL_BASE)
        self.constants = Space("const", CONST_BASE)
        self.module_variables: dict[tuple[int, str], Allocation] = {}
        self.modules: list[Any] = []  # Keeps alive what the keys above identify.

    def put(
        self, array: np.ndarray, *, readonly: bool = False, init: bool = True, name: str = ""
    ) -> Allocation:
        """Copy an array into memory, in C order.

        Args:
            array: any shape and dtype.
            readonly: A write to it from a kernel is then a fault.
            init: False for memory whose contents no kernel may read before writing them.
            name: used in messages.
        """
        array = np.asarray(array)
        allocation = self.space.add(
            name or f"array {len(self.space.allocations)}",
            array.nbytes,
            256,
            granule_bytes=_granule(array.dtype),
            readonly=readonly,
            dtype=array.dtype,
            shape=array.shape,
        )
        if init:
            allocation.fill(np.ascontiguousarray(array).tobytes())
        return allocation

    def read(self, handle: Allocation) -> np.ndarray:
        """A copy of the array as it is now; bytes nobody wrote are 0xCD."""
        assert handle.dtype is not None, f"{handle.name} is no array"
        content = handle.bytes[: handle.size_bytes]
        return content.view(handle.dtype).reshape(handle.shape).copy()

    def get(self, pointer: int) -> np.ndarray:
        """A copy of the array that starts at `pointer`.

        Raises:
            PtxError: No array starts there.
        """
        handle = self.space.find(pointer) or self.space.nearest(pointer)
        if handle is None or handle.start != pointer:
            raise PtxError(f"address {pointer:#x}: expected the start of an array")
        return self.read(handle)

    def written(self, handle: Allocation) -> np.ndarray:
        """Which elements have all their bytes written: bool, the shape of the array."""
        assert handle.dtype is not None, f"{handle.name} is no array"
        if handle.written is None:
            return np.ones(handle.shape, bool)
        flags = handle.written[: handle.size_bytes].reshape(-1, handle.dtype.itemsize)
        return flags.all(axis=1).reshape(handle.shape)


def _granule(dtype: np.dtype[Any]) -> int:
    """The unit of race detection: the element, or a byte where elements have parts of their own."""
    if dtype.kind == "c":
        return dtype.itemsize // 2
    return dtype.itemsize if dtype.itemsize in {1, 2, 4, 8} and dtype.fields is None else 1
