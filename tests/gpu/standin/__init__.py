"""A recording stand-in for the CUDA driver: host code runs, kernels compute nothing.

A test builds the library, runs a module-level function of its own in a process that finds it in
the driver's place, and looks at the calls that the function recorded:

    def two_replays() -> list[str]:       # In the process with the stand-in.
        graph, stream = ...
        return recorded(lambda: (graph.launch(stream), graph.launch(stream)))

    def test_a_replay_is_one_call(driver):
        assert counted(run(two_replays, driver)) == {"cuGraphLaunch": 2}

What driver.c does not model it refuses, so a test cannot pass by a guess of the stand-in.
"""

import ctypes
import functools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
LIBRARY: Final = "libcuda.so.1"
_SOURCE: Final = Path(__file__).with_name("driver.c")
_SECONDS_MAX: Final = 600  # A hang is found; a busy machine takes two minutes for what is slow.
_CHILD: Final = """
import importlib, json, sys
module, name = sys.argv[1:]
print(json.dumps(getattr(importlib.import_module(module), name)()))
"""


class Launch(NamedTuple):
    """One kernel that ran: by itself, or as a node of a replayed graph."""

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared_bytes: int


def build(folder: Path) -> Path:
    """Compile the stand-in into a folder; skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler: the stand-in driver cannot be built")
    library = folder / LIBRARY
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]
    shared = ["-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}", "-o", str(library), str(_SOURCE)]
    subprocess.run([compiler, *flags, *shared, "-ldl", "-lpthread"], check=True)
    return library


def run(function: Callable[[], Any], driver: Path, fail: str = "") -> Any:
    """Call a module-level function in a process whose CUDA driver is the stand-in.

    Args:
        function: Takes nothing, returns what JSON can carry (tuples arrive as lists).
        driver: What `build` returned.
        fail: Errors to inject, `name:k:code` with commas between: the k-th call of the named
            function, counted from 1 over the whole process, returns the CUDA error code.

    Returns:
        What the function returned.

    Raises:
        RuntimeError: The process failed; the message ends with what it wrote.
    """
    paths = {"LD_LIBRARY_PATH": str(driver.parent), "PYTHONPATH": str(ROOT), "STANDIN_FAIL": fail}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, function.__module__, function.__qualname__],
        cwd=ROOT, env={**os.environ, **paths}, capture_output=True, text=True, check=False,
        timeout=_SECONDS_MAX,
    )  # fmt: skip
    if done.returncode:
        message = f"{function.__qualname__}: exit status {done.returncode}\n{done.stderr}"
        raise RuntimeError(message)
    return json.loads(done.stdout.splitlines()[-1])


def recorded(work: Callable[[], object]) -> list[str]:
    """Driver calls that `work` makes, in order; only in a process started by `run`.

    A line is the function's name, then what it moved or launched, if anything: nodes separated by
    blanks, after the word `captured` where nothing ran yet.
    """
    library = _library()
    library.standin_clear()
    work()
    return str(library.standin_log().decode()).splitlines()


def counted(lines: Iterable[str]) -> dict[str, int]:
    """Number of calls of each driver function."""
    return dict(Counter(line.split()[0] for line in lines))


def launches(lines: Iterable[str]) -> list[Launch]:
    """Kernels that ran, in order, those of replayed graphs among them."""
    nodes = [node for line in lines if " captured " not in line for node in line.split()[1:]]
    parts = [node.rsplit(",", 7) for node in nodes if node.count(",") >= 7]
    return [
        Launch(name, (int(a), int(b), int(c)), (int(d), int(e), int(f)), int(shared))
        for name, a, b, c, d, e, f, shared in parts
    ]


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(LIBRARY)
    library.standin_log.restype = ctypes.c_char_p
    return library
