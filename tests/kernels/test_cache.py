"""The cache of compiled code: an edited kernel never runs stale."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernels import compile as factory
from kernels import compile_cuda

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "kernels").rglob("*.py"))
# One row whose expiry is now: is it marked?
EXPIRE_ONE = """
import numpy as np
from kernels import columns as c
from kernels.arrays import Columns
from kernels.device import open_device
columns = Columns(
    np.zeros((c.I64_COUNT, 128), np.int64), np.zeros((c.I32_COUNT, 128), np.int32),
    np.zeros((c.U8_COUNT, 128), np.uint8), np.zeros(128, np.uint16),
    np.zeros((c.F32_COUNT, 128), np.float32),
)
columns.i64[c.EXPIRY_NS, 0] = 7
ids, states = np.zeros(1, np.uint32), np.zeros(2, np.int64)
open_device("cpu", 1).find_fresh(1, 7, columns, ids, states)
print(columns.validity[0] & c.EXPIRED != 0)
"""


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the kernels that can be edited, and is what the hash is taken of."""
    monkeypatch.setattr(factory, "_ROOT", copy_kernels(tmp_path))
    return tmp_path / "kernels"


def copy_kernels(folder):
    """Copy the kernels into a folder; returns their new root."""
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(ROOT / "kernels", folder / "kernels", ignore=ignored)


def source_hash():
    return factory.source_hash.__wrapped__()  # The process keeps its first answer.


def test_every_edited_added_renamed_or_lost_source_gives_another_hash(copied):
    seen = {source_hash()}
    for source in SOURCES:
        path = copied / source.relative_to(ROOT / "kernels")
        path.write_text(path.read_text() + "\n")
        seen.add(source_hash())
    (copied / "laws" / "another.py").write_text("")
    seen.add(source_hash())
    (copied / "laws" / "another.py").rename(copied / "laws" / "yet_another.py")
    seen.add(source_hash())
    (copied / "gpu" / "words.py").unlink()
    seen.add(source_hash())
    assert len(seen) == 1 + len(SOURCES) + 3


def test_same_sources_give_the_same_hash(copied):
    assert source_hash() == factory.source_hash()


def printed(script, tmp_path):
    """What a process prints that finds the kernels of a folder, and its cache beside them."""
    environment = {
        **os.environ, "PYTHONPATH": str(tmp_path),
        "SCANNER_KERNEL_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def without_the_last_instant(folder):
    """Edit what a row function does; its caller's file stays as it is."""
    path = folder / "rows" / "expire.py"
    text = path.read_text()
    assert "expiry_ns <= now_ns" in text
    path.write_text(text.replace("expiry_ns <= now_ns", "expiry_ns < now_ns"))


def test_an_edited_row_function_does_not_run_stale_on_the_cpu(copied, tmp_path):
    assert [printed(EXPIRE_ONE, tmp_path) for _ in range(2)] == ["True", "True"]
    assert list((tmp_path / "cache").rglob("*.nbi"))
    without_the_last_instant(copied)
    assert printed(EXPIRE_ONE, tmp_path) == "False"


def toolchain_with(monkeypatch, versions):
    monkeypatch.setattr(compile_cuda, "_version", lambda name: versions.get(name, "1"))
    return compile_cuda._toolchain.__wrapped__()


def test_every_version_of_the_toolchain_is_in_the_key_of_machine_code(monkeypatch):
    keys = {toolchain_with(monkeypatch, {name: "2"}) for name in compile_cuda.TOOLCHAIN}
    assert len(keys | {toolchain_with(monkeypatch, {})}) == len(compile_cuda.TOOLCHAIN) + 1


def test_machine_code_is_filed_by_source_toolchain_kernel_and_architecture(monkeypatch):
    monkeypatch.setattr(compile_cuda, "_toolchain", lambda: "tools")
    path = compile_cuda.cubin_path("observe", (12, 0))
    assert path == factory.cache_folder() / "cuda" / "tools" / "observe.sm_120.cubin"
    assert path.parts[-4] == factory.source_hash()
