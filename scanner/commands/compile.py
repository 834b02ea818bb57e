"""Stages 1 to 8 of 8: `scanner compile`: fills the cache of compiled kernels, and runs nothing.

What a container image does while it is built, so that a first tick is seconds away and not a
minute. CPU code is that of the machine it is compiled on; GPU code names its architecture, so no
GPU is needed.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from kernels.compile import cache_folder
from kernels.threads import usable_cores
from scanner.commands.arguments import write_json, write_line
from scanner.commands.progress import Progress
from scanner.doctor import existing_parent
from scanner.errors import InputError, RunError

CAPABILITY_MIN: Final = (8, 0)  # As kernels.cuda_device, which only a GPU machine imports.
WORKERS_MAX: Final = 8  # Each holds a compiler of some 0.4 GB.

Capability = tuple[int, int]
Work = tuple[float, bool]  # Seconds, and whether something had to be compiled.


@dataclass(frozen=True, slots=True)
class Filled:
    """What one target got.

    Attributes:
        target: cpu, venues (their byte scanners), or cuda with a compute capability.
        compiled: functions compiled now; 0 where all were there.
        seconds: of compiling and looking, added up over the processes that did it.
    """

    target: str
    compiled: int
    seconds: float


def fill_cache(capabilities: Sequence[str], *, as_json: bool) -> int:
    """Compile everything for this CPU, and the GPU kernels for the given capabilities.

    Args:
        capabilities: such as 9.0; none for the CPU alone.
        as_json: one JSON object a target, then a summary.

    Raises:
        InputError: a capability is none, or older than the kernels.
        DeviceError: GPU kernels are wanted and the compiler is not installed or refuses them.
        RunError: the cache cannot be written.
    """
    wanted = sorted({capability_of(text) for text in capabilities})
    folder = cache_folder()
    if not os.access(existing_parent(folder), os.W_OK | os.X_OK):
        raise RunError(
            f"{folder} cannot be written, expected SCANNER_KERNEL_CACHE to name a folder that can"
        )
    started = time.monotonic()
    progress = Progress("compiling")
    targets = []
    for filled in _fill(wanted, progress):
        targets.append(filled)
        if as_json:
            write_json(asdict(filled))
        else:
            what = f"{filled.compiled} compiled" if filled.compiled else "all there"
            write_line(f"{filled.target}: {what}, {filled.seconds:.1f} s")
    seconds = time.monotonic() - started
    progress.done(f"{sum(t.compiled for t in targets)} functions in {seconds:.1f} s")
    if as_json:
        write_json({"summary": {"seconds": round(seconds, 1), "folder": str(folder.parent)}})
    else:
        write_line(f"kept in {folder.parent}")
    return 0


def capability_of(text: str) -> Capability:
    """Read a compute capability, such as 9.0.

    Raises:
        InputError: another form, or an older architecture than the kernels are made for.
    """
    match = re.fullmatch(r"([0-9]{1,2})\.([0-9])", text, re.ASCII)
    found = (int(match[1]), int(match[2])) if match else (0, 0)
    if found < CAPABILITY_MIN:
        raise InputError(
            f"--capability was {text!r}, expected a compute capability from "
            f"{CAPABILITY_MIN[0]}.{CAPABILITY_MIN[1]} on, such as 9.0"
        )
    return found


def _fill(wanted: Sequence[Capability], progress: Progress) -> Iterator[Filled]:
    """Compile in this process for the CPU, and beside it in others for GPUs."""
    if not wanted:
        yield from _fill_host(progress)
        return
    # Imports numba's CUDA target.
    from kernels.compile_cuda import KERNELS, require_compiler  # noqa: PLC0415

    require_compiler()
    workers = min(max(1, usable_cores() - 1), WORKERS_MAX, len(wanted) * len(KERNELS))
    # A process each: the compiler holds the interpreter. Spawned, as numba's threads do not fork.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        works = {
            capability: [pool.submit(compile_for_gpu, name, capability) for name in KERNELS]
            for capability in wanted
        }
        yield from _fill_host(progress)
        for capability, futures in works.items():
            yield _gather(capability, futures, progress)


def compile_for_gpu(name: str, capability: Capability) -> Work:
    """Compile one kernel into the cache, in a process of its own."""
    from kernels.compile_cuda import cubin_of, cubin_path  # noqa: PLC0415

    began = time.monotonic()
    missing = not cubin_path(name, capability).exists()
    cubin_of(name, capability)
    return time.monotonic() - began, missing


def _gather(
    capability: Capability, futures: Sequence["Future[Work]"], progress: Progress
) -> Filled:
    target = f"cuda {capability[0]}.{capability[1]}"
    done: list[Work] = []
    for future in futures:
        progress.show(f"{target}, {len(done)} of {len(futures)}")
        done.append(future.result())
    seconds = round(sum(seconds for seconds, _ in done), 2)
    return Filled(target, sum(missing for _, missing in done), seconds)


def _fill_host(progress: Progress) -> Iterator[Filled]:
    """Compile the CPU kernels and the venues' byte scanners by running them on nothing."""
    from feeds.venues import warm_up as warm_up_venues  # noqa: PLC0415 - numba, 0.6 s
    from scanner.engine import Scanner  # noqa: PLC0415

    base = cache_folder().parent
    targets: dict[str, Callable[[], None]] = {
        "cpu": Scanner(device="cpu").warm_up,
        "venues": warm_up_venues,
    }
    for target, run in targets.items():
        progress.show(target)
        before, began = _indexes(base), time.monotonic()
        run()
        new = _indexes(base) - before
        yield Filled(target, len(new), round(time.monotonic() - began, 2))


def _indexes(base: Path) -> set[Path]:
    """Index files of numba's cache: one a compiled function."""
    return set(base.glob("**/*.nbi"))
