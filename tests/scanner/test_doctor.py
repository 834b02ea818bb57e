"""What doctor finds, on machines made of text."""

import ctypes
import re

import pytest

from scanner import doctor
from scanner.commands import doctor as command
from scanner.doctor import (
    ROOF_BYTES,
    Check,
    Cuda,
    available_bytes,
    check_compiler,
    check_cpu,
    check_cuda,
    check_device,
    check_disk,
    check_memory,
    check_memory_roof,
    check_open_files,
    check_packages,
    check_python,
    copy_rate,
    cpu_model,
    cuda_devices,
    driver_version,
    examine,
    existing_parent,
    memory_limit,
)

MEMINFO = "MemTotal:       32877012 kB\nMemFree:  100 kB\nMemAvailable:    2000000 kB\n"
NO_GPU = Cuda((), "no NVIDIA driver (libcuda.so.1) on this machine", ())


class Driver:
    """A CUDA driver that answers as told; the calls are those of the driver API."""

    def __init__(self, names=(), init=0, count=0):
        self.names, self.init, self.count = names, init, count

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = 12_090
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        value._obj.value = {75: 8, 76: device.value}[attribute]
        return 0

    def cuDeviceTotalMem_v2(self, memory, device):  # noqa: N802
        memory._obj.value = 24_000_000_000
        return 0

    def cuInit(self, flags):  # noqa: N802 - the driver's own name
        return self.init

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = len(self.names)
        return self.count

    def cuDeviceGet(self, device, ordinal):  # noqa: N802
        device._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name, length, device):  # noqa: N802
        ctypes.memmove(name, self.names[device.value] + b"\0", len(self.names[device.value]) + 1)
        return 0


def no_library(name):
    raise OSError(f"{name}: cannot open shared object file")


@pytest.mark.parametrize(
    ("version", "status"),
    [((3, 10), "fail"), ((3, 11), "pass"), ((3, 13), "pass"), ((3, 14), "fail")],
)
def test_python_outside_the_tested_range_fails(version, status):
    check = check_python(version)
    assert check.status == status
    assert (check.advice == "use Python 3.11 to 3.13") == (status == "fail")


def test_missing_package_fails_by_name():
    check = check_packages(["numpy<2.5,>=2", "not-there[x]>=1; python_version > '3'"])
    assert check == Check("packages", "fail", "missing: not-there", "run make setup")


def test_packages_of_extras_are_not_required():
    check = check_packages(["numpy>=2", 'not-there; extra == "gpu"'])
    assert check.status == "pass"
    assert check.found.startswith("numpy 2.")


def test_scanner_that_runs_from_its_sources_alone_is_a_warning():
    assert check_packages([]).status == "warn"


def test_one_core_or_a_small_quota_is_a_warning():
    assert check_cpu("X", 1, None).status == "warn"
    assert check_cpu("X", 8, 1.5).status == "warn"
    assert check_cpu("X", 8, 1.5).found == "X, 8 cores, limited to 1.5 by its container"
    assert check_cpu("X", 2, None) == Check("cpu", "pass", "X, 2 cores")


def test_cpu_model_is_read_from_cpuinfo():
    assert cpu_model("processor\t: 0\nmodel name\t: A CPU @ 2: GHz\n") == "A CPU @ 2: GHz"
    assert cpu_model("") != ""


def test_available_memory_is_the_lesser_of_machine_and_container():
    assert available_bytes(MEMINFO, None) == 2_048_000_000
    assert available_bytes(MEMINFO, 1_000) == 1_000
    assert available_bytes(MEMINFO, 10**12) == 2_048_000_000
    assert available_bytes("", None) is None


def test_container_grants_its_limit_less_what_is_used():
    files = {"/sys/fs/cgroup/memory.max": "1000\n", "/sys/fs/cgroup/memory.current": "400\n"}
    assert memory_limit(files.__getitem__) == 600
    assert memory_limit((files | {"/sys/fs/cgroup/memory.max": "max\n"}).__getitem__) is None
    assert memory_limit(lambda path: "") is None


def test_memory_below_two_gigabytes_is_a_warning():
    assert check_memory(1_999_999_999).status == "warn"
    assert check_memory(2_000_000_000) == Check("memory", "pass", "2.0 GB available")
    assert check_memory(None).status == "warn"


def test_disk_below_ten_gigabytes_is_a_warning(tmp_path):
    assert check_disk(tmp_path, 9_999_999_999).status == "warn"
    assert check_disk(tmp_path, 10_000_000_000).status == "pass"


def test_open_files_below_1024_are_a_warning():
    assert check_open_files(1_023).advice == "ulimit -n 1024"
    assert check_open_files(1_024).status == "pass"
    assert check_open_files(-1) == Check("open files", "pass", "no limit")


def test_machine_without_a_driver_says_so_and_passes():
    trouble = "no NVIDIA driver (libcuda.so.1) on this machine"
    assert cuda_devices(no_library) == ((), trouble, (0, 0))
    assert check_cuda(NO_GPU) == Check(
        "cuda",
        "pass",
        "not usable: no NVIDIA driver (libcuda.so.1) on this machine; packages: none",
    )


def test_driver_names_its_gpus_in_order_and_the_newest_cuda_it_takes():
    devices, trouble, newest = cuda_devices(lambda name: Driver((b"NVIDIA L4", b"NVIDIA A100")))
    assert devices == (
        "NVIDIA L4 (capability 8.0, 24.0 GB)", "NVIDIA A100 (capability 8.1, 24.0 GB)",
    )  # fmt: skip
    assert (trouble, newest) == ("", (12, 9))


@pytest.mark.parametrize(
    ("driver", "trouble"),
    [
        (Driver(init=100), "the NVIDIA driver does not start (cuInit says 100)"),
        (Driver(count=3), "the NVIDIA driver cannot count its GPUs (error 3)"),
        (Driver(), "the NVIDIA driver shows no GPU"),
    ],
)
def test_driver_in_trouble_says_which(driver, trouble):
    assert cuda_devices(lambda name: driver)[:2] == ((), trouble)


def test_gpu_that_stays_idle_is_a_warning():
    idle = check_device(Cuda(("NVIDIA L4",), "", ()))
    assert (idle.status, idle.advice) == ("warn", "NVIDIA L4 stays idle")
    assert idle.found.startswith("auto chooses cpu: ")
    assert check_device(NO_GPU).status == "pass"


def test_gpu_is_told_with_its_driver():
    cuda = Cuda(("NVIDIA L4",), "", ("numba-cuda 0.30.4",), "580.65.06", (13, 0))
    assert check_cuda(cuda).found == (
        "NVIDIA L4; driver 580.65.06, CUDA 13.0; packages: numba-cuda 0.30.4"
    )


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27\n", "580.65.06"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57  Release\n", "575.57"),
        ("", ""),
    ],
)
def test_driver_s_version_is_read_from_the_kernel_s_file(text, version):
    assert driver_version(text) == version


def test_compiler_that_is_not_there_is_no_fault():
    check = check_compiler(NO_GPU)
    assert (check.status, check.advice) == ("pass", "")
    assert check.found.startswith("none: ")


@pytest.mark.parametrize(
    ("isa", "newest", "status"),
    [((9, 0), (13, 0), "pass"), ((9, 0), (12, 9), "warn"), ((8, 8), (12, 9), "pass")],
)
def test_compiler_newer_than_the_driver_is_a_warning(isa, newest, status):
    cuda = Cuda(("NVIDIA L4",), "", ("cupy-cuda13x 14", "numba-cuda 0.30.4"), "", newest, isa)
    check = check_compiler(cuda)
    assert check.status == status
    assert check.found == f"numba-cuda 0.30.4, PTX ISA {isa[0]}.{isa[1]}"
    assert ("gpu-cu12" in check.advice) == (status == "warn")


def test_memory_roof_counts_bytes_read_and_written(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 1.5, 1.5, 3.5, 4.0, 5.0, 5.0, 6.0])
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(clock))
    assert copy_rate(2) == 2 * ROOF_BYTES / 0.5  # The best of five.


def test_memory_roof_says_that_it_was_measured_now():
    check = check_memory_roof(2)
    assert check.status == "pass"
    rates = re.match(r"([\d.]+) GB/s on 1 thread, ([\d.]+) on 2, measured now: ", check.found)
    assert all(float(rate) > 0 for rate in rates.groups())


def test_nearest_existing_parent_is_found(tmp_path):
    assert existing_parent(tmp_path / "a" / "b") == tmp_path
    assert existing_parent(tmp_path) == tmp_path


def test_this_machine_is_fit(tmp_path):
    checks = {check.name: check for check in examine(tmp_path / "recordings")}
    assert [check for check in checks.values() if check.status == "fail"] == []
    assert "threads" in checks["threads"].found
    assert all(check.advice for check in checks.values() if check.status != "pass")


def test_kernel_cache_is_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("SCANNER_KERNEL_CACHE", str(tmp_path))
    checks = {check.name: check for check in examine(tmp_path)}
    assert checks["kernel cache"].found.startswith(str(tmp_path))
    assert checks["kernel cache"].found.endswith(", cold")


def test_failed_check_is_exit_code_1_and_its_advice_is_printed(monkeypatch, capsys, tmp_path):
    checks = (Check("one", "pass", "fine"), Check("two", "fail", "broken", "mend it"))
    monkeypatch.setattr(command, "examine", lambda folder: checks)
    assert command.doctor(tmp_path, as_json=False) == 1
    assert capsys.readouterr().out == (
        "pass  one  fine\nfail  two  broken\n           mend it\n1 pass, 0 warn, 1 fail\n"
    )
