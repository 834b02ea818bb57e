"""Stages 1 to 8 of 8: is this machine fit to scan? Looks at it, changes nothing.

Every check has an answer of pass, warn or fail, what was found, and what to do about it. A
machine without a GPU is fit; a half-installed GPU is worth a warning.
"""

import ctypes
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kernels.errors import KernelError

DISTRIBUTION: Final = "cross-market-scanner"
PYTHON_RANGE: Final = ((3, 11), (3, 14))  # from, and below: as in pyproject.toml
GB: Final = 1_000_000_000
MEMORY_GB_MIN: Final = 2  # the compiler's 0.4, the crypto universe's state, and room for storms
DISK_GB_MIN: Final = 10  # a day of raw frames of the crypto universe
OPEN_FILES_MIN: Final = 1_024  # sockets of all venues, segments, clients of the page
GPU_PACKAGES: Final = ("numba-cuda", "cupy-cuda12x", "cupy-cuda13x", "cuda-core")

Status = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One answer. `advice` is empty where there is nothing to do."""

    name: str
    status: Status
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Cuda:
    """What there is of CUDA.

    Attributes:
        devices: names of the GPUs the driver shows.
        trouble: why the driver shows none; empty where it does.
        packages: installed CUDA packages with versions.
    """

    devices: tuple[str, ...]
    trouble: str
    packages: tuple[str, ...]


def examine(folder: Path) -> tuple[Check, ...]:
    """Run all checks, the cheap ones first; about a second, most of it importing numba.

    Args:
        folder: where recordings would go; need not exist.
    """
    cuda = find_cuda()
    return (
        check_python(sys.version_info[:2]),
        check_packages(metadata.requires(DISTRIBUTION) or []),
        check_cpu(cpu_model(_text("/proc/cpuinfo")), usable_cores(), cpu_quota()),
        check_memory(available_bytes(_text("/proc/meminfo"), memory_limit(_text))),
        check_disk(folder, shutil.disk_usage(existing_parent(folder)).free),
        check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        check_time_zones(),
        check_threads(),
        check_kernel_cache(),
        check_cuda(cuda),
        check_device(cuda),
    )


def check_python(version: tuple[int, int]) -> Check:
    """Say whether this Python is one of those the scanner is tested on."""
    found = f"{platform.python_implementation()} {platform.python_version()}"
    low, above = PYTHON_RANGE
    if low <= version < above:
        return Check("python", "pass", found)
    return Check(
        "python", "fail", found, f"use Python {low[0]}.{low[1]} to {above[0]}.{above[1] - 1}"
    )


def check_packages(requirements: list[str]) -> Check:
    """Name the version of every required package, and those that are missing."""
    found, missing = [], []
    for requirement in requirements:
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0].split("[")[0]
        name = name[: next((i for i, c in enumerate(name) if c in " <>=!~("), len(name))]
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "fail", f"missing: {', '.join(missing)}", "run make setup")
    return Check("packages", "pass", ", ".join(sorted(found)))


def check_cpu(model: str, cores: int, quota: float | None) -> Check:
    """Describe the processor; one core alone must share it between the loop and the tick."""
    limit = "" if quota is None else f", limited to {quota:g} by its container"
    found = f"{model}, {cores} cores{limit}"
    if min(cores, quota or cores) < 2:
        return Check("cpu", "warn", found, "two cores keep receiving and scoring apart")
    return Check("cpu", "pass", found)


def check_memory(available: int | None) -> Check:
    """Say how much memory can be taken without swapping."""
    if available is None:
        return Check("memory", "warn", "unknown on this system", f"have {MEMORY_GB_MIN} GB free")
    found = f"{available / GB:.1f} GB available"
    if available < MEMORY_GB_MIN * GB:
        return Check("memory", "warn", found, f"have {MEMORY_GB_MIN} GB free")
    return Check("memory", "pass", found)


def check_disk(folder: Path, free: int) -> Check:
    """Say how much a recording could take."""
    found = f"{free / GB:.1f} GB free for {folder}"
    if free < DISK_GB_MIN * GB:
        return Check("disk", "warn", found, f"have {DISK_GB_MIN} GB free before recording")
    return Check("disk", "pass", found)


def check_open_files(limit: int) -> Check:
    """Say how many files and sockets the process may have open."""
    unlimited = limit == resource.RLIM_INFINITY
    found = "no limit" if unlimited else f"at most {limit}"
    if not unlimited and limit < OPEN_FILES_MIN:
        return Check("open files", "warn", found, f"ulimit -n {OPEN_FILES_MIN}")
    return Check("open files", "pass", found)


def check_time_zones() -> Check:
    """Say whether expiries in New York time can be computed."""
    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        return Check("time zones", "fail", "America/New_York is unknown", "run make setup")
    return Check("time zones", "pass", "America/New_York is known")


def check_threads() -> Check:
    """Start numba's threads and name their layer: this is what a tick would run on."""
    try:
        import numba  # noqa: PLC0415 - half a second, wanted here only

        threads = numba.get_num_threads()
        layer = numba.threading_layer()
    except (ImportError, ValueError) as error:  # numba says "no threading layer" by ValueError
        return Check("threads", "fail", f"numba: {error}", "run make setup")
    return Check("threads", "pass", f"numba {numba.__version__}, {layer}, {threads} threads")


def check_kernel_cache() -> Check:
    """Say where compiled kernels are kept, and whether they can be."""
    from kernels.compile import cache_folder  # noqa: PLC0415 - imports numpy

    folder = cache_folder()
    parent = existing_parent(folder)
    if not os.access(parent, os.W_OK | os.X_OK):
        advice = "set SCANNER_KERNEL_CACHE to a folder that can be written: each start compiles"
        return Check("kernel cache", "warn", f"{folder} cannot be written", advice)
    state = "warm" if folder.is_dir() and any(folder.rglob("*.nbi")) else "cold"
    return Check("kernel cache", "pass", f"{folder}, {state}")


def check_cuda(cuda: Cuda) -> Check:
    """Say what there is of CUDA; a machine without any is as fit as another."""
    packages = f"; packages: {', '.join(cuda.packages) or 'none'}"
    if cuda.devices:
        return Check("cuda", "pass", f"{', '.join(cuda.devices)}{packages}")
    return Check("cuda", "pass", f"not usable: {cuda.trouble}{packages}")


def check_device(cuda: Cuda) -> Check:
    """Say what `device = "auto"` comes to; a GPU that stays idle is worth a warning."""
    from kernels.device import open_device  # noqa: PLC0415 - imports numba

    try:
        device = open_device("auto")
    except (KernelError, ImportError) as error:
        return Check("device", "fail", str(error), "set engine.device to cpu")
    found = f"auto chooses {device.name}: {device.reason}"
    if device.name == "cpu" and cuda.devices:
        return Check("device", "warn", found, f"{cuda.devices[0]} stays idle")
    return Check("device", "pass", found)


def find_cuda() -> Cuda:
    """Ask the driver and the installed packages; loads no CUDA package."""
    devices, trouble = cuda_devices(ctypes.CDLL)
    packages = []
    for name in GPU_PACKAGES:
        try:
            packages.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return Cuda(devices, trouble, tuple(packages))


def cuda_devices(load: Callable[[str], Any]) -> tuple[tuple[str, ...], str]:
    """Names of the GPUs the NVIDIA driver shows, or why there are none.

    Args:
        load: opens a shared library by name; raises OSError where there is none.
    """
    try:
        driver = load("libcuda.so.1")
    except OSError:
        return (), "no NVIDIA driver (libcuda.so.1) on this machine"
    if code := driver.cuInit(0):
        return (), f"the NVIDIA driver does not start (cuInit says {code})"
    count = ctypes.c_int()
    if code := driver.cuDeviceGetCount(ctypes.byref(count)):
        return (), f"the NVIDIA driver cannot count its GPUs (error {code})"
    names = []
    for ordinal in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        if driver.cuDeviceGet(ctypes.byref(device), ordinal) == 0:
            driver.cuDeviceGetName(name, len(name), device)
            names.append(name.value.decode(errors="replace"))
    return tuple(names), "" if names else "the NVIDIA driver shows no GPU"


def cpu_model(cpuinfo: str) -> str:
    """Model name in the text of /proc/cpuinfo, else the machine's architecture."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota() -> float | None:
    """Cores' worth of time its control group grants; None where there is no limit."""
    parts = _text("/sys/fs/cgroup/cpu.max").split()
    if len(parts) != 2 or parts[0] == "max":
        return None
    return int(parts[0]) / int(parts[1])


def memory_limit(text_of: Callable[[str], str]) -> int | None:
    """Bytes the control group still grants; None where there is no limit."""
    limit = text_of("/sys/fs/cgroup/memory.max").strip()
    used = text_of("/sys/fs/cgroup/memory.current").strip()
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None


def available_bytes(meminfo: str, limit: int | None) -> int | None:
    """Memory that can be taken: what /proc/meminfo calls available, or less where limited."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024  # the file says kB and means KiB
            return available if limit is None else min(available, limit)
    return limit


def existing_parent(path: Path) -> Path:
    """The path itself, or its nearest parent that exists."""
    path = path.absolute()
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""  # not this system's way of saying it
