"""Kernels whose sources were changed in one place, compiled beside the product's own.

The whole package is copied and imported a second time under its own name: a change of a law thus
reaches every kernel that calls it, while the CPU's twins stay those of the product.
"""

import importlib
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import kernels
from tests.gpu.emulated import CAPABILITY

SOURCES = Path(kernels.__file__).parent


def mutant_ptx(folder, kernel, file, before, after):
    """PTX of a kernel after one text of one source was replaced.

    Args:
        folder: an empty one, for the copy.
        kernel: its name.
        file: below kernels/.
        before: text that occurs there exactly once.
        after: what stands there instead.
    """
    shutil.copytree(SOURCES, folder / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    source = folder / "kernels" / file
    text = source.read_text()
    assert text.count(before) == 1, f"{file}: {before!r} occurs {text.count(before)} times"
    source.write_text(text.replace(before, after))
    with _another_package(folder) as compile_cuda:
        return compile_cuda.ptx_of(kernel, CAPABILITY)


@contextmanager
def _another_package(folder):
    """Import kernels from another folder, and let the rest of the process forget it afterwards."""
    from numba.cuda.cudadrv import nvvm

    mine = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    compile_ir = nvvm.compile_ir
    for name in mine:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        with mock.patch.object(sys, "path", [str(folder), *sys.path]):
            yield importlib.import_module("kernels.compile_cuda")
    finally:
        nvvm.compile_ir = compile_ir
        for name in [name for name in sys.modules if _is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(mine)


def _is_ours(name):
    return name == "kernels" or name.startswith("kernels.")
