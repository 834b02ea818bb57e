"""Stages 1 to 8 of 8: is this machine fit to scan? Looks at it, changes nothing.

Every check has an answer of pass, warn or fail, what was found, and what to do about it. A
machine without a GPU is fit; a half-installed GPU is worth a warning.
"""

import ctypes
import os
import platform
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kernels.errors import KernelError
from kernels.threads import usable_cores

DISTRIBUTION: Final = "cross-market-scanner"
PYTHON_RANGE: Final = ((3, 11), (3, 14))  # from, and below: as in pyproject.toml
GB: Final = 1_000_000_000
MEMORY_GB_MIN: Final = 2  # the compiler's 0.4, the crypto universe's state, and room for storms
DISK_GB_MIN: Final = 10  # a day of raw frames of the crypto universe
OPEN_FILES_MIN: Final = 1_024  # sockets of all venues, segments, clients of the page
GPU_PACKAGES: Final = ("numba-cuda", "cupy-cuda12x", "cupy-cuda13x", "cuda-core")
ROOF_BYTES: Final = 64 << 20  # Beyond the caches of most machines; a tenth of a second to copy.
ROOF_REPEATS: Final = 5
ISA_BEFORE_CUDA: Final = 4  # CUDA 13 writes PTX ISA 9, CUDA 12 wrote 8.
# CUdevice_attribute of cuda.h.
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
# The smallest module that NVVM compiles: what it answers names the PTX ISA it writes.
EMPTY_MODULE: Final = b"""target triple = "nvptx64-nvidia-cuda"
target datalayout = "e-p:64:64:64-i1:8:8-i8:8:8-i16:16:16-i32:32:32-i64:64:64-i128:128:128-\
f32:32:32-f64:64:64-v16:16:16-v32:32:32-v64:64:64-v128:128:128-n16:32:64"
define void @k() { ret void }
!nvvmir.version = !{!0}
!0 = !{i32 2, i32 0}
"""

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
        devices: names of the GPUs the driver shows, with compute capability and memory.
        trouble: why the driver shows none; empty where it does.
        packages: installed CUDA packages with versions.
        driver: version of the driver; empty where it does not say.
        newest: newest CUDA version that the driver takes, (major, minor).
        isa: PTX ISA version that the compiler writes, (major, minor); None without a compiler.
    """

    devices: tuple[str, ...]
    trouble: str
    packages: tuple[str, ...]
    driver: str = ""
    newest: tuple[int, int] = (0, 0)
    isa: tuple[int, int] | None = None


def examine(folder: Path) -> tuple[Check, ...]:
    """Run all checks, the cheap ones first; one to two seconds, half of it importing numba.

    Args:
        folder: where recordings would go; need not exist.
    """
    cuda = find_cuda()
    return (
        check_python(sys.version_info[:2]),
        check_packages(requirements()),
        check_cpu(cpu_model(_text("/proc/cpuinfo")), usable_cores(), cpu_quota()),
        check_memory(available_bytes(_text("/proc/meminfo"), memory_limit(_text))),
        check_disk(folder, shutil.disk_usage(existing_parent(folder)).free),
        check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        check_time_zones(),
        check_threads(),
        check_memory_roof(usable_cores()),
        check_kernel_cache(),
        check_cuda(cuda),
        check_compiler(cuda),
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


def requirements() -> list[str]:
    """What the installed scanner requires; empty where it runs from its sources alone."""
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


def check_packages(requirements: list[str]) -> Check:
    """Name the version of every required package, and those that are missing."""
    if not requirements:
        found = f"{DISTRIBUTION} is not installed, so what it requires is unknown"
        return Check("packages", "warn", found, "run make setup")
    return _check_installed(requirements)


def _check_installed(requirements: list[str]) -> Check:
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
    """Name the compiler, the threads that a tick may use, and what starts them."""
    try:
        import numba  # noqa: PLC0415 - half a second, wanted here only
    except ImportError as error:
        return Check("threads", "fail", f"numba: {error}", "run make setup")
    from kernels.device import open_device  # noqa: PLC0415 - as above

    threads = open_device("cpu").threads
    found = f"numba {numba.__version__}, {threads} threads of our own (no threading layer of numba)"
    return Check("threads", "pass", found)


def check_memory_roof(cores: int) -> Check:
    """Measure how fast this machine copies memory now: what a scan cannot outrun."""
    single, all_cores = copy_rate(1), copy_rate(cores)
    found = (
        f"{single / GB:.1f} GB/s on 1 thread, {all_cores / GB:.1f} on {cores}, measured now: "
        f"copies of {ROOF_BYTES >> 20} MiB, bytes read and written, best of {ROOF_REPEATS}"
    )
    return Check("memory roof", "pass", found)


def copy_rate(threads: int) -> float:
    """Bytes read and written per second by so many threads that copy."""
    import numpy as np  # noqa: PLC0415 - 0.1 s

    sources = np.array_split(np.ones(ROOF_BYTES, np.uint8), threads)
    targets = np.array_split(np.ones(ROOF_BYTES, np.uint8), threads)  # Written: it has its pages.
    best_s = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(ROOF_REPEATS):
            began = time.perf_counter()
            list(pool.map(np.copyto, targets, sources))  # numpy lets go of the interpreter.
            best_s = min(best_s, time.perf_counter() - began)
    return 2 * ROOF_BYTES / best_s


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
        driver = f"; driver {cuda.driver or 'of unknown version'}, CUDA {_dotted(cuda.newest)}"
        return Check("cuda", "pass", f"{', '.join(cuda.devices)}{driver}{packages}")
    return Check("cuda", "pass", f"not usable: {cuda.trouble}{packages}")


def check_compiler(cuda: Cuda) -> Check:
    """Say what compiles GPU kernels, and whether the driver can take what it writes."""
    name = next((one for one in cuda.packages if one.startswith("numba-cuda ")), "")
    if not name or cuda.isa is None:
        return Check("cuda compiler", "pass", "none: GPU kernels cannot be compiled here")
    found = f"{name}, PTX ISA {_dotted(cuda.isa)}"
    family = cuda.isa[0] + ISA_BEFORE_CUDA
    if cuda.devices and cuda.newest[0] < family:
        advice = (
            f"the driver takes CUDA {_dotted(cuda.newest)}: use the extra gpu-cu12, or a driver"
        )
        return Check("cuda compiler", "warn", found, f"{advice} of CUDA {family}")
    return Check("cuda compiler", "pass", found)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


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
    """Ask the driver, the installed packages, and NVVM for what it writes."""
    devices, trouble, newest = cuda_devices(ctypes.CDLL)
    packages = []
    for name in GPU_PACKAGES:
        try:
            packages.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    driver = driver_version(_text("/proc/driver/nvidia/version"))
    return Cuda(devices, trouble, tuple(packages), driver, newest, ptx_isa())


def cuda_devices(load: Callable[[str], Any]) -> tuple[tuple[str, ...], str, tuple[int, int]]:
    """GPUs the NVIDIA driver shows, or why there are none, and the newest CUDA it takes.

    Args:
        load: opens a shared library by name; raises OSError where there is none.
    """
    try:
        driver = load("libcuda.so.1")
    except OSError:
        return (), "no NVIDIA driver (libcuda.so.1) on this machine", (0, 0)
    if code := driver.cuInit(0):
        return (), f"the NVIDIA driver does not start (cuInit says {code})", (0, 0)
    version, count = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))  # 13000 is CUDA 13.0.
    newest = (version.value // 1000, version.value % 1000 // 10)
    if code := driver.cuDeviceGetCount(ctypes.byref(count)):
        return (), f"the NVIDIA driver cannot count its GPUs (error {code})", newest
    names = [_describe(driver, ordinal) for ordinal in range(count.value)]
    return tuple(names), "" if names else "the NVIDIA driver shows no GPU", newest


def _describe(driver: Any, ordinal: int) -> str:
    """Name, compute capability and memory of one GPU."""
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    major, minor, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(device), ordinal)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    words = name.value.decode(errors="replace")
    return f"{words} (capability {major.value}.{minor.value}, {memory.value / GB:.1f} GB)"


def driver_version(text: str) -> str:
    """Version of the driver in the text of /proc/driver/nvidia/version; empty where none is."""
    found = re.search(r"NVRM version:.*?\s(\d{3}\.\d+(?:\.\d+)?)\s", text)
    return found[1] if found else ""


def ptx_isa() -> tuple[int, int] | None:
    """PTX ISA version that the installed compiler writes, by compiling nothing with it."""
    try:
        from cuda.bindings import nvvm  # noqa: PLC0415
    except ImportError:
        return None
    try:
        program = nvvm.create_program()
        nvvm.add_module_to_program(program, EMPTY_MODULE, len(EMPTY_MODULE), "empty")
        nvvm.compile_program(program, 1, ["-arch=compute_80"])
        text = bytearray(nvvm.get_compiled_result_size(program))
        nvvm.get_compiled_result(program, text)
    except (RuntimeError, nvvm.nvvmError):
        return None  # No library, or one that is broken; a scanner on cuda says which.
    found = re.search(rb"\.version (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def cpu_model(cpuinfo: str) -> str:
    """Model name in the text of /proc/cpuinfo, else the machine's architecture."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


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
