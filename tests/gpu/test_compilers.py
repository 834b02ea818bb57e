"""The two CUDA compilers behind one door: the same kernels, the same bits, neither needed."""

import importlib.metadata

import numpy as np
import pytest

from kernels import columns as c
from kernels.compile_cuda import KERNELS, ptx_of
from kernels.cuda_compilers import COMPILERS, NumbaCuda, NumbaCudaMlir, chosen, open_compiler
from kernels.errors import DeviceError
from scanner.config import load
from scanner.engine import Scanner
from tests.gpu.emulated import EmulatedDevice, kernel
from tests.gpu.ptx import Memory, launch, mlir_arguments, numba_arguments, parse
from tests.gpu.static import faults, measure
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings
from tests.oracles.median import median_and_mad

MLIR = NumbaCudaMlir.name
ARGUMENTS = {NumbaCuda.name: numba_arguments, MLIR: mlir_arguments}


def installed(name):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_mlir = pytest.mark.skipif(not installed(MLIR), reason=f"{MLIR} is not installed")
pytestmark = pytest.mark.gpu_check


# Which one.


def test_numba_cuda_compiles_unless_another_is_asked_for(monkeypatch):
    monkeypatch.delenv("SCANNER_CUDA_COMPILER", raising=False)
    assert chosen() == "numba-cuda"
    monkeypatch.setenv("SCANNER_CUDA_COMPILER", "numba-cuda-mlir")
    assert chosen() == "numba-cuda-mlir"


def test_a_compiler_that_nobody_knows_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("SCANNER_CUDA_COMPILER", "nvcc")
    words = "SCANNER_CUDA_COMPILER was 'nvcc', expected one of numba-cuda, numba-cuda-mlir"
    with pytest.raises(DeviceError, match=words):
        chosen()


@pytest.mark.parametrize("name", list(COMPILERS))
def test_a_compiler_that_is_missing_is_told_by_name(monkeypatch, name):
    def missing(_):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(DeviceError, match=f"{name} is not installed, expected "):
        open_compiler.__wrapped__(name)


@pytest.mark.parametrize("compiler", list(COMPILERS))
def test_arrays_become_the_words_that_the_interpreter_s_convention_has(compiler):
    memory = Memory()
    handle = memory.put(np.zeros((2, 3, 5), np.int16))
    flat, _ = ARGUMENTS[compiler](memory, [handle])
    assert COMPILERS[compiler].array_words(handle.pointer, (2, 3, 5), 2) == flat


# What the successor makes of small kernels; each of the first three was wrong before it was mended.

F32, I32 = np.float32, np.int32


def executed(body, *arrays, threads=32, capability=(9, 0)):
    """Compile a function over vectors with the successor, run one block, return the vectors."""
    opened = open_compiler(MLIR)
    kinds = [opened.types.Array(getattr(opened.types, a.dtype.name), 1, "C") for a in arrays]
    ptx = opened.ptx(body(opened.cuda), opened.types.void(*kinds), capability)
    memory = Memory()
    flat, handles = mlir_arguments(memory, arrays)
    launch(parse(ptx).kernel(), 1, threads, flat, memory)
    return [memory.read(handle) for handle in handles]


def comparing(cuda):
    def kernel(x, y):
        i = cuda.grid(1)
        y[i] = (1 if x[i] != x[i] else 0) + (2 if x[i] == x[i] else 0)

    return kernel


@needs_mlir
def test_nan_is_unequal_to_itself():
    x = np.full(32, np.nan, F32)
    x[::2] = 1
    _, y = executed(comparing, x, np.zeros(32, I32))
    assert y.tolist() == [2, 1] * 16


def counting(cuda):
    @cuda.jit(device=True)
    def count(bins, i):
        cuda.atomic.add(bins, i % 4, 1)

    def kernel(y):
        bins = cuda.shared.array(4, I32)
        t = cuda.threadIdx.x
        if t < 4:
            bins[t] = 0
        cuda.syncthreads()
        count(bins, t)
        cuda.syncthreads()
        if t < 4:
            y[t] = bins[t]

    return kernel


@needs_mlir
def test_a_shared_array_may_be_counted_in_by_a_function():
    (y,) = executed(counting, np.zeros(4, I32))
    assert y.tolist() == [8] * 4


def product_and_sum(cuda):
    def kernel(x, y):
        i = cuda.grid(1)
        y[i] = x[i] * x[i] + y[i]

    return kernel


@needs_mlir
def test_a_product_and_a_sum_are_rounded_twice():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 32)).astype(F32)
    fused = (x.astype(np.float64) * x + y).astype(F32)
    _, found = executed(product_and_sum, x, y.copy())
    assert found.tolist() == (x * x + y).tolist()
    assert found.tolist() != fused.tolist()


# The product's kernels.


@needs_mlir
@pytest.mark.slow
def test_a_scanner_on_the_successor_s_kernels_leaves_the_bytes_of_the_cpu():
    device = EmulatedDevice(MLIR)
    config = load(None, {"engine.tick_ms": 1000, "engine.listings_capacity": 128,
                         "engine.depth_slots_capacity": 16})  # fmt: skip
    scanners = [Scanner(config, device="cpu"), Scanner(config, device=device)]
    members = listings(12)
    markets = [ToyMarket(members, 3) for _ in scanners]
    for scanner in scanners:
        scanner.add(members)
    # Liquidity classes come after a minute.
    for second in (*range(1, 12), 95):
        if second == 5:  # Baselines are read after 30 observations: as if they had been made.
            for scanner in scanners:
                baseline = scanner.state.scores.baseline
                baseline[[c.COUNT, c.SMOOTHED_COUNT]] += 40
        now_ns = START_NS + second * SECOND
        for scanner, market in zip(scanners, markets, strict=True):
            scanner.apply(*market.second(now_ns))
        cpu, gpu = (scanner.scan(now_ns) for scanner in scanners)
        assert cpu.fresh.tolist() == gpu.fresh.tolist()
        assert {k: v.tolist() for k, v in cpu.top.items()} == {
            k: v.tolist() for k, v in gpu.top.items()
        }
    assert np.isfinite(cpu.z).any(axis=1).all()
    assert np.isfinite(cpu.score).any()
    assert [
        name for name in cpu.metrics if bits(cpu.metrics[name]) != bits(gpu.metrics[name])
    ] == []
    assert set(device.launched) == set(KERNELS) - {"segment_median_mad"}
    for bundle in ("columns", "books", "scores", "common"):
        pairs = zip(*(getattr(scanner.state, bundle) for scanner in scanners), strict=True)
        assert [k for k, (mine, other) in enumerate(pairs) if bits(mine) != bits(other)] == [], (
            bundle
        )


def bits(array):
    """Bytes of an array; all NaN alike, for IEEE leaves to the machine which of them comes out."""
    if array.dtype == F32:
        array = np.where(np.isnan(array), F32(np.nan), array)
    return array.tobytes()


@needs_mlir
def test_the_successor_s_median_is_that_of_sorting():
    rng = np.random.default_rng(2)
    segments = [rng.standard_normal(n).astype(F32) for n in (0, 1, 2, 300, 301)]
    start = np.cumsum([0, *map(len, segments)]).astype(np.int64)
    memory = Memory()
    arrays = [np.concatenate(segments), start, *np.zeros((2, 5), F32)]
    flat, handles = mlir_arguments(memory, arrays)
    launch(kernel("segment_median_mad", MLIR), 2, 256, flat, memory)
    expected = [median_and_mad([float(x) for x in segment]) for segment in segments]
    found = np.array([memory.read(handle) for handle in handles[2:]]).T
    assert bits(found) == bits(np.array(expected, F32))


@needs_mlir
@pytest.mark.slow
@pytest.mark.parametrize("capability", [(9, 0), (10, 0)])  # The last of its first way to NVVM.
@pytest.mark.parametrize("name", list(KERNELS))
def test_the_successor_leaves_nothing_to_assemblers(name, capability):
    ptx = ptx_of(name, capability, MLIR)
    assert faults(ptx) == []
    assert measure(ptx, capability).spill_store_bytes == 0
