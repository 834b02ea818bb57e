"""The cache of machine code for GPUs: compiled once, never stale, keyed by what compiles it."""

import importlib.metadata

import pytest

from kernels.compile_cuda import TOOLCHAIN
from scanner.commands.compile import compile_for_gpu
from scanner.doctor import ptx_isa
from tests.kernels.test_cache import copy_kernels, printed, without_the_last_instant

pytest.importorskip("cuda.core", reason="make gpu-check installs the CUDA packages")
pytestmark = pytest.mark.gpu_check

CUBIN_OF_EXPIRE = """
import hashlib
from kernels.compile_cuda import cubin_of
print(hashlib.sha256(cubin_of("expire", (9, 0))).hexdigest())
"""


def test_one_kernel_is_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SCANNER_KERNEL_CACHE", str(tmp_path))
    works = [compile_for_gpu("expire", (9, 0)) for _ in range(2)]
    assert [compiled for _, compiled in works] == [True, False]
    assert [p.name for p in tmp_path.rglob("*.cubin")] == ["expire.sm_90.cubin"]


def test_an_edited_row_function_does_not_run_stale_on_a_gpu(tmp_path):
    folder = copy_kernels(tmp_path)
    before = printed(CUBIN_OF_EXPIRE, tmp_path)
    assert printed(CUBIN_OF_EXPIRE, tmp_path) == before
    without_the_last_instant(folder)
    assert printed(CUBIN_OF_EXPIRE, tmp_path) != before
    assert len(list((tmp_path / "cache").rglob("expire.sm_90.cubin"))) == 2


def test_every_installed_compiler_is_part_of_the_toolchain():
    installed = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    # What turns kernels into PTX and PTX into machine code; the other wheels are tools of tests.
    compilers = {
        name for name in installed
        if name.startswith(("nvidia-nvvm", "nvidia-nvjitlink")) or name == "numba-cuda"
    }  # fmt: skip
    assert len(compilers) == 3
    assert compilers <= set(TOOLCHAIN)


def test_compiler_says_which_ptx_it_writes():
    assert ptx_isa() == (9, 0)  # As pinned: drivers of CUDA 13.0 take it.
