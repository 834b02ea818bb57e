"""The kernel calling conventions of the two compilers: how Python values become PTX parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.gpu.ptx.memory import Allocation, Memory

Arguments = tuple[list[Any], list[Allocation]]


def numba_arguments(memory: Memory, values: Sequence[Any]) -> Arguments:
    """Flatten values as numba-cuda 0.30.4 does; arrays are put into memory.

    An array becomes (0, 0, size, itemsize, pointer, shape..., strides in bytes...), a tuple its
    members, a scalar itself. A handle from `memory.put` stands for the array that it holds.

    Returns:
        The flat arguments, and the handles of the arrays in the order in which they came.
    """
    return _flat(memory, values, _numba_array)


def mlir_arguments(memory: Memory, values: Sequence[Any]) -> Arguments:
    """Flatten values as numba-cuda-mlir 0.6.0 does; arrays are put into memory.

    An array becomes (pointer, pointer, 0, shape..., strides in elements...), all else as with
    numba-cuda.
    """
    return _flat(memory, values, _mlir_array)


def _flat(
    memory: Memory, values: Sequence[Any], array: Callable[[Allocation], list[int]]
) -> Arguments:
    flat: list[Any] = []
    handles: list[Allocation] = []
    for value in values:
        if isinstance(value, tuple):
            inner, more = _flat(memory, value, array)
            flat += inner
            handles += more
        elif isinstance(value, np.ndarray | Allocation):
            handle = memory.put(value) if isinstance(value, np.ndarray) else value
            flat += array(handle)
            handles.append(handle)
        else:
            flat.append(value)
    return flat, handles


def _numba_array(handle: Allocation) -> list[int]:
    assert handle.dtype is not None, f"{handle.name} is no array"
    itemsize, shape = handle.dtype.itemsize, handle.shape
    strides = [itemsize * int(np.prod(shape[k + 1 :])) for k in range(len(shape))]
    size = int(np.prod(shape))
    return [0, 0, size, itemsize, handle.pointer, *shape, *strides]


def _mlir_array(handle: Allocation) -> list[int]:
    strides = [int(np.prod(handle.shape[k + 1 :])) for k in range(len(handle.shape))]
    return [handle.pointer, handle.pointer, 0, *handle.shape, *strides]
