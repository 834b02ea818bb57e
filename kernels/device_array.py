"""Stages 4 to 6 of 8: arrays in device memory, ours and those that others lend us.

The CUDA Array Interface joins both: CuPy, cuDF, numba and PyTorch read ours through it, and theirs
are read here. Nothing in this file needs a CUDA package.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.errors import DeviceError, LayoutError


@dataclass(frozen=True, eq=False, slots=True)
class DeviceArray:
    """A C-contiguous array in device memory, readable by CuPy and others without a copy."""

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    memory: Any  # Held: the pointer lives as long as this.

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Description for CuPy, numba and PyTorch; the data may change at the next tick."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, True),
            "strides": None,
            "version": 3,
        }


def row_of(array: Any, row: int, count: int) -> DeviceArray:
    """First elements of one row of an array on a device, without a copy.

    Args:
        array: [..., element] with pointer, shape and dtype, C-contiguous; it is held.
        row: of the array seen as a matrix [row, element]; a vector is one row.
        count: elements from the row's beginning.
    """
    *outer, length = array.shape
    assert 0 <= row < math.prod(outer), f"row {row} of an array of shape {array.shape}"
    assert count <= length, f"{count} elements of a row of {length}"
    at = array.pointer + row * length * array.dtype.itemsize
    return DeviceArray(at, (count,), array.dtype, array)


def borrow(array: Any, dtype: Any) -> tuple[DeviceArray, int | None]:
    """Read somebody else's device array (a CuPy array, say) as ours, without a copy.

    Args:
        array: has `__cuda_array_interface__`, version 2 or 3; it is held, so its memory lives.
        dtype: that its elements must have.

    Returns:
        The array, and the handle of the stream on which its contents are being written, which
        whoever reads them must wait for; None where there is nothing to wait for.

    Raises:
        DeviceError: the object is no array on a device, or hides elements behind a mask.
        LayoutError: its dtype is another, or it is not C-contiguous.
    """
    said = getattr(array, "__cuda_array_interface__", None)
    if said is None:
        raise DeviceError(
            f"array was a {type(array).__name__}, expected one on a GPU "
            "(with __cuda_array_interface__)"
        )
    if said.get("version", 0) < 2 or said.get("mask") is not None:
        raise DeviceError(
            f"array: its interface has version {said.get('version', 0)} and "
            f"{'a' if said.get('mask') is not None else 'no'} mask, expected version 2 or 3 and "
            "no mask"
        )
    found, shape = np.dtype(said["typestr"]), tuple(int(n) for n in said["shape"])
    if found != np.dtype(dtype):
        raise LayoutError(f"array: its dtype was {found}, expected {np.dtype(dtype)}")
    strides = said.get("strides")
    if strides is not None and not _is_contiguous(shape, tuple(strides), found.itemsize):
        raise LayoutError(
            f"array: its shape was {shape} with strides {tuple(strides)}, expected C-contiguous"
        )
    return DeviceArray(int(said["data"][0]), shape, found, array), said.get("stream")


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    """Whether elements follow each other, the last axis fastest; an axis of one has no stride."""
    expected = itemsize
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length > 1 and stride != expected:
            return math.prod(shape) == 0
        expected *= length
    return True
