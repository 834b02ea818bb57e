"""The product without a CUDA package: everything imports, a CPU is found, a demanded GPU is not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# numba brings a numba.cuda of its own; what runs on a GPU must not depend on which one it gets.
CHILD = """
import importlib, json, pkgutil, sys

BLOCKED = ("cuda", "cudf", "cupy", "numba.cuda", "numba_cuda", "numba_cuda_mlir", "pylibcudf")

class Absent:
    def find_spec(self, name, path=None, target=None):
        if any(name == blocked or name.startswith(blocked + ".") for blocked in BLOCKED):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for blocked in BLOCKED:
    sys.modules.pop(blocked, None)

import feeds, kernels, scanner
names = ["scanner"]
for package in (scanner, kernels, feeds):
    names += [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
NEED_CUDA = ("kernels.gpu", "kernels.compile_cuda", "kernels.cuda_device", "scanner.resident")
NEED_EXTRA = ("feeds.fast_ws",)  # picows
names = [name for name in names if not name.startswith(NEED_CUDA + NEED_EXTRA)]
for name in names:
    importlib.import_module(name)

from kernels.device import open_device
from kernels.errors import DeviceError
try:
    open_device("cuda", 1)
    refusal = None
except DeviceError as error:
    refusal = str(error)
print(json.dumps({"modules": names, "auto": open_device("auto", 1).name, "refusal": refusal}))
"""


@pytest.fixture(scope="module")
def bare():
    """What a process finds in which no CUDA package can be imported."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_module_imports_without_a_cuda_package(bare):
    assert {"scanner", "scanner.engine", "kernels.device", "feeds.session"} <= set(bare["modules"])


def test_without_a_cuda_package_the_cpu_is_chosen(bare):
    assert bare["auto"] == "cpu"


def test_a_demanded_gpu_without_packages_is_an_error_that_says_so(bare):
    assert bare["refusal"].startswith("device was 'cuda': ")
