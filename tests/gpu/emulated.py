"""A device whose kernels run in the PTX interpreter: the CUDA path without a GPU.

It stands where kernels.cuda_device.CudaDevice stands and takes the same programs; what it runs is
the PTX that a GPU would get. Kernels and their coverage are shared by all tests of a run.
"""

import functools

import numpy as np

from kernels.compile_cuda import ptx_of
from kernels.cuda_compilers import NumbaCuda, NumbaCudaMlir
from kernels.device_array import DeviceArray
from kernels.gpu.program import Clear
from tests.gpu.ptx import Memory, launch, mlir_arguments, numba_arguments, parse

CAPABILITY = (9, 0)
BLOCKS_MAX = 4  # Kernels stride over the grid; few blocks make them do it, and save time.
ARGUMENTS = {NumbaCuda.name: numba_arguments, NumbaCudaMlir.name: mlir_arguments}


@functools.cache
def kernel(name, compiler=NumbaCuda.name):
    """The parsed kernel, once for all tests."""
    return parse(ptx_of(name, CAPABILITY, compiler)).kernel()


class EmulatedDevice:
    """Memory and launches of kernels.cuda_device.CudaDevice, executed by the interpreter."""

    name = "cuda"
    reason = "emulated"
    threads = 1

    def __init__(self, compiler=NumbaCuda.name):
        self.compiler = compiler
        self.memory = Memory()
        self.launched = []

    def compiled_before(self):
        return True

    def warm_up(self):
        pass

    def allocate(self, shape, dtype):
        return self.memory.put(np.empty(shape, dtype), init=False)

    def upload(self, pairs):
        for array, host in pairs:
            flat = np.ascontiguousarray(host).reshape(-1)
            index = np.arange(flat.size)
            array.view(flat.dtype)[: flat.size] = flat
            array.mark_written(index, flat.dtype)

    def fetch(self, pairs):
        for array, host in pairs:
            flat = host.reshape(-1)
            # A row of an allocation holds it, and points into it.
            held = array.memory if isinstance(array, DeviceArray) else array
            first = (array.pointer - held.pointer) // flat.itemsize
            flat[:] = held.view(flat.dtype)[first : first + flat.size]

    def graph(self, nodes):
        return list(nodes)

    def launch(self, graph):
        for node in graph:
            if isinstance(node, Clear):
                node.array.bytes[: node.array.size_bytes] = 0
                node.array.written = None
                continue
            grid = (min(node.grid[0], BLOCKS_MAX), node.grid[1])
            if node.kernel in ("cumulate", "top_k", "block_top_k"):
                grid = node.grid
            flat, _ = ARGUMENTS[self.compiler](self.memory, node.arguments)
            self.launched.append(node.kernel)
            launch(kernel(node.kernel, self.compiler), grid, node.threads, flat, self.memory)
