"""The kernel calling convention of numba-cuda: how Python values become PTX parameters."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.gpu.ptx.memory import Allocation, Memory


def numba_arguments(memory: Memory, values: Sequence[Any]) -> tuple[list[Any], list[Allocation]]:
    """Flatten values as numba-cuda 0.30.4 does; arrays are put into memory.

    An array becomes (0, 0, size, itemsize, pointer, shape..., strides in bytes...), a tuple its
    members, a scalar itself. A handle from `memory.put` stands for the array that it holds.

    Returns:
        The flat arguments, and the handles of the arrays in the order in which they came.
    """
    flat: list[Any] = []
    handles: list[Allocation] = []
    for value in values:
        if isinstance(value, tuple):
            inner, more = numba_arguments(memory, value)
            flat += inner
            handles += more
        elif isinstance(value, np.ndarray | Allocation):
            handle = memory.put(value) if isinstance(value, np.ndarray) else value
            flat += _array_arguments(handle)
            handles.append(handle)
        else:
            flat.append(value)
    return flat, handles


def _array_arguments(handle: Allocation) -> list[int]:
    assert handle.dtype is not None, f"{handle.name} is no array"
    itemsize, shape = handle.dtype.itemsize, handle.shape
    strides = [itemsize * int(np.prod(shape[k + 1 :])) for k in range(len(shape))]
    size = int(np.prod(shape))
    return [0, 0, size, itemsize, handle.pointer, *shape, *strides]
