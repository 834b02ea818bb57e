"""Stages 4 to 6 of 8: one CUDA device: memory, copies through pinned blocks, graphs.

The host never waits inside the driver: where it needs an answer it asks an event, so that a tick
makes no synchronising call. Uses cuda.core; the copies of parts are cuda.bindings'.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.compile_cuda import KERNELS, cubin_of, cubin_path
from kernels.cuda_compilers import COMPILERS, NumbaCuda, chosen
from kernels.device_array import DeviceArray, borrow
from kernels.errors import DeviceError
from kernels.gpu.program import Clear, Launch, Node

BLOCK_BYTES: Final = 8 << 20  # Of each pinned block: the rows of a tick of 200,000 go in one.
ALIGN: Final = 16
POLL_S: Final = 20e-6
CAPABILITY_MIN: Final = (8, 0)

Pairs = Iterable[tuple[DeviceArray, NDArray[Any]]]


class CudaDevice:
    """A GPU that runs captured graphs on one stream of its own; used from one thread at a time.

    Attributes:
        name: "cuda".
        reason: why this device was chosen, for people.
        capability: of the device, (major, minor).
    """

    name = "cuda"

    def __init__(self, reason: str) -> None:
        """Open device 0.

        Raises:
            DeviceError: there is no driver or no device, or it is too old.
        """
        from cuda.bindings import driver  # noqa: PLC0415 - nothing else needs CUDA
        from cuda.core import Device, LegacyPinnedMemoryResource  # noqa: PLC0415

        self._driver, self.reason = driver, reason
        with _telling("device was 'cuda'"):
            self._device = Device(0)
            self._thread = 0
            self._enter()
            major, minor = self._device.compute_capability
            self._stream = self._device.create_stream()
        self.capability = (int(major), int(minor))
        if self.capability < CAPABILITY_MIN:
            raise DeviceError(
                f"device was 'cuda': its compute capability is {major}.{minor}, expected at least "
                f"{CAPABILITY_MIN[0]}.{CAPABILITY_MIN[1]}"
            )
        pinned = LegacyPinnedMemoryResource()
        # Two for the way in: the host fills one while the other still flies.
        self._in = [_Block(pinned.allocate(BLOCK_BYTES), self._device) for _ in range(2)]
        self._out = _Block(pinned.allocate(BLOCK_BYTES), self._device)

    def _enter(self) -> None:
        """Make the device that of the calling thread, where it is not: ticks run in a worker."""
        if self._thread != threading.get_ident():
            self._device.set_current()
            self._thread = threading.get_ident()

    def compiled_before(self) -> bool:
        """Whether every kernel is in the cache for this device."""
        return all(cubin_path(name, self.capability).exists() for name in KERNELS)

    def warm_up(self) -> None:
        """Compile every kernel that is not in the cache for this device."""
        for name in KERNELS:
            cubin_of(name, self.capability)

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Allocate an array; its contents are undefined."""
        self._enter()
        dtype = np.dtype(dtype)
        nbytes = max(ALIGN, int(np.prod(shape)) * dtype.itemsize)
        with _telling(f"device memory: {nbytes} bytes"):
            memory = self._device.allocate(nbytes, stream=self._stream)
        return DeviceArray(int(memory.handle), tuple(shape), dtype, memory)

    def borrow(self, array: Any, dtype: Any) -> DeviceArray:
        """Read somebody else's array on this GPU (a CuPy array, say) as ours, without a copy.

        What is launched here afterwards waits on the device, not on the host, for what was queued
        before on the stream that the array's owner names.

        Args:
            array: has `__cuda_array_interface__`, C-contiguous; it is held.
            dtype: that its elements must have.

        Raises:
            DeviceError: the object is no array on a device.
            LayoutError: its dtype is another, or it is not C-contiguous.
        """
        self._enter()
        from cuda.core import Stream  # noqa: PLC0415 - as above

        found, stream = borrow(array, dtype)
        if stream is not None:
            with _telling("array of another stream"):
                self._stream.wait(Stream.from_handle(stream))
        return found

    def upload(self, pairs: Pairs) -> None:
        """Queue copies of host arrays to the fronts of device arrays.

        The host arrays are read before this returns, and may then change.
        """
        self._enter()
        for parts in _blockfuls(pairs):
            block = self._in[0]
            self._in.reverse()
            block.wait()
            for pointer, host, at in parts:
                block.host[at : at + host.nbytes] = host
                self._call(
                    self._driver.cuMemcpyHtoDAsync(
                        pointer, block.address + at, host.nbytes, self._stream.handle
                    )
                )
            self._stream.record(block.event)

    def fetch(self, pairs: Pairs) -> None:
        """Copy the fronts of device arrays into host arrays, and wait until they are there."""
        self._enter()
        for parts in _blockfuls(pairs):
            for pointer, host, at in parts:
                self._call(
                    self._driver.cuMemcpyDtoHAsync(
                        self._out.address + at, pointer, host.nbytes, self._stream.handle
                    )
                )
            self._stream.record(self._out.event)
            self._out.wait()
            for _, host, at in parts:
                host[:] = self._out.host[at : at + host.nbytes]

    def graph(self, nodes: Sequence[Node]) -> Any:
        """Capture launches as one graph; compiles what is not in the cache."""
        self._enter()
        from cuda.core import LaunchConfig, ObjectCode, launch  # noqa: PLC0415

        compiler = chosen()
        names = {node.kernel for node in nodes if isinstance(node, Launch)}
        kernels = {
            name: ObjectCode.from_cubin(cubin_of(name, self.capability, compiler)).get_kernel(name)
            for name in sorted(names)
        }
        with _telling("graph"):
            builder = self._stream.create_graph_builder()
            builder.begin_building()
            for node in nodes:
                if isinstance(node, Clear):
                    node.array.memory.fill(0, stream=builder)
                else:
                    config = LaunchConfig(grid=node.grid, block=node.threads)
                    launch(
                        builder, config, kernels[node.kernel], *flattened(node.arguments, compiler)
                    )
            graph = builder.end_building().complete()
            graph.upload(self._stream)
        return graph

    def launch(self, graph: Any) -> None:
        """Queue a graph."""
        self._enter()
        with _telling("graph"):
            graph.launch(self._stream)

    def _call(self, answer: tuple[Any, ...]) -> None:
        if int(answer[0]) != 0:
            raise DeviceError(f"copy: the driver answered {answer[0].name}")


class _Block:
    """Pinned host memory, and the event after which it may be touched again."""

    def __init__(self, memory: Any, device: Any) -> None:
        self._memory = memory
        self.address = int(memory.handle)
        self.host: NDArray[np.uint8] = np.from_dlpack(memory).view(np.uint8)
        self.event = device.create_event()

    def wait(self) -> None:
        """Ask the event until it has happened; an event that was never recorded has."""
        with _telling("waiting for the device"):
            while not self.event.is_done:
                time.sleep(POLL_S)


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn the driver's errors into ours, which say where."""
    from cuda.core._utils.cuda_utils import CUDAError  # noqa: PLC0415 - its only home; pinned

    try:
        yield
    except (RuntimeError, CUDAError) as error:
        raise DeviceError(f"{what}: {error}") from error


Part = tuple[int, NDArray[np.uint8], int]  # Device pointer, host bytes, offset in the block.


def _blockfuls(pairs: Pairs) -> Iterator[list[Part]]:
    """Cut copies into lists of parts that fit a pinned block together."""
    parts: list[Part] = []
    used = 0
    for array, host in pairs:
        if host.nbytes > array.nbytes:
            raise DeviceError(
                f"copy: the host has {host.nbytes} bytes, expected at most {array.nbytes}"
            )
        flat = host.reshape(-1).view(np.uint8)
        start = 0
        while start < flat.nbytes:
            size = min(flat.nbytes - start, BLOCK_BYTES - used)
            parts.append((array.pointer + start, flat[start : start + size], used))
            start += size
            used += -(-size // ALIGN) * ALIGN
            if used >= BLOCK_BYTES:
                yield parts
                parts, used = [], 0
    if parts:
        yield parts


def flattened(arguments: Sequence[Any], compiler: str = NumbaCuda.name) -> list[Any]:
    """Arguments as a compiler's kernels take them; a named tuple is its fields in order.

    Args:
        arguments: arrays, and named tuples of them.
        compiler: name in kernels.cuda_compilers.
    """
    flat: list[Any] = []
    for argument in arguments:
        if isinstance(argument, tuple):
            flat += flattened(argument, compiler)
            continue
        words = COMPILERS[compiler].array_words(
            argument.pointer, argument.shape, argument.dtype.itemsize
        )
        flat += [np.intp(word) for word in words]
    return flat
