"""Kernels that numba-cuda compiles, in the interpreter; needs the gpu-check extra, no device."""

import math

import numpy as np
import pytest

from tests.gpu.ptx import Kernel, MachineFault, Memory, launch, numba_arguments, parse

pytestmark = pytest.mark.gpu_check

pytest.importorskip("numba_cuda", reason="needs the gpu-check extra: numba-cuda is not installed")
numba = pytest.importorskip("numba")
cuda = pytest.importorskip("numba.cuda", reason="needs the gpu-check extra")

FLOATS, WORDS = numba.float32[::1], numba.uint64[::1]
TABLE = np.array([0.5, 0.25, 0.125, 4.0], np.float32)
ONE, TEN = np.float32(1.0), np.float32(10.0)


def compiled(function, *types) -> Kernel:
    text, _ = cuda.compile_ptx(function, numba.void(*types), cc=(9, 0))
    return parse(text).kernel()


def execute(kernel: Kernel, grid: int, block: int, *values, **options) -> list[np.ndarray]:
    memory = Memory()
    flat, handles = numba_arguments(memory, values)
    launch(kernel, grid, block, flat, memory, **options)
    return [memory.read(handle) for handle in handles]


def mirror(x, y, synchronised):
    tile = cuda.shared.array(64, numba.float32)
    t = cuda.threadIdx.x
    tile[t] = x[cuda.grid(1)]
    if synchronised:
        cuda.syncthreads()
    y[cuda.grid(1)] = tile[63 - t]


def test_shared_memory_and_a_barrier():
    kernel = compiled(mirror, FLOATS, FLOATS, numba.boolean)
    x = np.random.default_rng(1).random(256).astype(np.float32)
    _, y = execute(kernel, 4, 64, x, np.zeros_like(x), True)
    assert y.tolist() == x.reshape(4, 64)[:, ::-1].ravel().tolist()
    with pytest.raises(MachineFault, match="race"):
        execute(kernel, 4, 64, x, np.zeros_like(x), False)


def shuffled_sum(x, y):
    value = x[cuda.grid(1)]
    for distance in (16, 8, 4, 2, 1):
        value += cuda.shfl_down_sync(0xFFFFFFFF, value, distance)
    ballot = cuda.ballot_sync(0xFFFFFFFF, x[cuda.grid(1)] > ONE)
    if cuda.laneid == 0:
        y[cuda.grid(1) // 32] = value + numba.float32(cuda.popc(ballot))


def test_a_tree_of_shuffles_has_the_bits_of_its_order():
    x = np.random.default_rng(2).standard_normal(128).astype(np.float32)
    _, y = execute(compiled(shuffled_sum, FLOATS, FLOATS), 2, 64, x, np.zeros(4, np.float32))
    tree = x.reshape(4, 32)
    for distance in (16, 8, 4, 2, 1):
        tree = tree[:, :distance] + tree[:, distance : 2 * distance]
    above = (x.reshape(4, 32) > 1).sum(axis=1).astype(np.float32)
    assert y.tolist() == (tree[:, 0] + above).tolist()


def histogram(x, counts):
    i = cuda.grid(1)
    if i < x.size:
        cuda.atomic.add(counts, int(x[i] * TEN), np.uint64(1))


def test_integer_atomics_make_a_histogram():
    x = np.random.default_rng(3).random(1000).astype(np.float32)
    kernel = compiled(histogram, FLOATS, WORDS)
    _, counts = execute(kernel, 8, 128, x, np.zeros(10, np.uint64))
    expected = np.bincount((x * np.float32(10)).astype(int), minlength=10)
    assert counts.tolist() == expected.tolist()
    assert kernel.unreached() == []


def branches(x, y):
    i = cuda.grid(1)
    if i >= x.size:
        return
    value, steps = x[i], np.uint64(0)
    while value > ONE:
        value = math.sqrt(value) if steps % np.uint64(3) == np.uint64(2) else value / TEN
        steps += np.uint64(1)
    y[i] = steps * np.uint64(1 << 32) + np.uint64(i % 7)


def test_divergent_loops_with_division_and_root_equal_numpy():
    x = (10 ** np.random.default_rng(4).uniform(-1, 30, 500)).astype(np.float32)
    _, y = execute(compiled(branches, FLOATS, WORDS), 4, 128, x, np.zeros(500, np.uint64))
    assert y.tolist() == [_steps(v) << 32 | i % 7 for i, v in enumerate(x)]


def _steps(value: np.float32) -> int:
    steps = 0
    while value > 1:
        value = np.sqrt(value) if steps % 3 == 2 else value / np.float32(10)
        steps += 1
    return steps


def matrix(x, pair, out):
    table = cuda.const.array_like(TABLE)
    dynamic = cuda.shared.array(0, numba.float32)
    row, column = cuda.blockIdx.y, cuda.threadIdx.x
    first, second = pair
    dynamic[column] = x[row, column] - first[column]
    cuda.syncthreads()
    best = dynamic[0]
    for k in range(1, x.shape[1]):
        best = max(best, dynamic[k])
    out[row, column] = min(best, second) * table[column % 4]


def test_matrices_tuples_constants_and_dynamic_shared_memory():
    x = np.random.default_rng(5).standard_normal((3, 40)).astype(np.float32)
    first = np.linspace(0, 1, 40).astype(np.float32)
    pair = numba.types.Tuple((FLOATS, numba.float32))
    kernel = compiled(matrix, numba.float32[:, ::1], pair, numba.float32[:, ::1])
    memory = Memory()
    flat, handles = numba_arguments(memory, [x, (first, np.float32(1.5)), np.zeros_like(x)])
    launch(kernel, (1, 3), 40, flat, memory, dynamic_shared=160)
    best = np.minimum((x - first).max(axis=1, keepdims=True), np.float32(1.5))
    assert memory.read(handles[2]).tolist() == (best * np.tile(TABLE, 10)).tolist()


def beyond(x, y):
    y[cuda.grid(1) + 1] = x[cuda.grid(1)]


def test_an_index_beyond_the_array_is_a_fault():
    with pytest.raises(MachineFault, match="0 bytes past the end of 'array 1'"):
        execute(
            compiled(beyond, FLOATS, FLOATS),
            1,
            32,
            np.zeros(32, np.float32),
            np.zeros(32, np.float32),
        )


def sum_of_floats(x, total):
    cuda.atomic.add(total, 0, x[cuda.grid(1)])


def test_a_float_atomic_is_a_fault():
    with pytest.raises(MachineFault, match="float atomics"):
        execute(
            compiled(sum_of_floats, FLOATS, FLOATS),
            1,
            32,
            np.ones(32, np.float32),
            np.zeros(1, np.float32),
        )


CUDA_C = """
struct Scale { float factor; int shift; double offset; };
__constant__ float weights[4] = {1.0f, 2.0f, 3.0f, 4.0f};
extern "C" __global__ void k(const float4* __restrict__ x, double* y, int n, Scale scale) {
    __shared__ float tile[64];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float4 v = i < n ? x[i] : make_float4(0.f, 0.f, 0.f, 0.f);
    tile[threadIdx.x] = fmaf(v.x, weights[i & 3], v.y) + v.z / (v.w * scale.factor);
    __syncthreads();
    if (i >= n) return;
    switch (i % 3) {
        case 0: y[i] = tile[threadIdx.x ^ 1] + scale.offset; break;
        case 1: y[i] = (double)__brev(i + scale.shift); break;
        default: y[i] = __double2int_rn(tile[threadIdx.x] * 100.f) * scale.offset;
    }
}
"""


def nvrtc_text(source: str) -> str:
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="needs the gpu-check extra")
    _, program = nvrtc.nvrtcCreateProgram(source.encode(), b"k.cu", 0, [], [])
    options = [b"-arch=compute_90", b"-fmad=false"]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    assert status == nvrtc.nvrtcResult.NVRTC_SUCCESS
    _, size = nvrtc.nvrtcGetPTXSize(program)
    text = b" " * size
    nvrtc.nvrtcGetPTX(program, text)
    return text.rstrip(b"\0").decode()


def test_cuda_c_with_structs_vectors_and_constants():
    kernel = parse(nvrtc_text(CUDA_C)).kernel()
    n, f = 200, np.float32
    x = np.random.default_rng(6).uniform(1, 2, (n, 4)).astype(f)
    memory = Memory()
    source, target = memory.put(x, readonly=True), memory.put(np.zeros(n), init=False)
    scale = np.array([(1.5, 3, 0.25)], "f4, i4, f8").tobytes()
    launch(kernel, 4, 64, [source.pointer, target.pointer, n, scale], memory)
    assert kernel.unreached() == []
    weights = np.array([1, 2, 3, 4], f)[np.arange(n) % 4]
    products = x[:, 0].astype(float) * weights + x[:, 1]  # Exact in float64 for such weights.
    tile = products.astype(f) + x[:, 2] / (x[:, 3] * f(1.5))
    i = np.arange(n)
    mirrored = tile[i ^ 1].astype(float) + 0.25
    reversed_ = np.array([int(f"{k + 3:032b}"[::-1], 2) for k in i], float)
    rounded = np.rint((tile * f(100)).astype(float)) * 0.25
    expected = np.choose(i % 3, [mirrored, reversed_, rounded])
    assert memory.read(target).tolist() == expected.tolist()
