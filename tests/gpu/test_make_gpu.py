"""`make gpu` as far as it goes without a GPU: it refuses; its host code runs on the stand-in."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from kernels import columns as c
from kernels.rows.features import METRIC_NAMES
from scanner.doctor import find_cuda
from tests.gpu.standin import run

ROOT = Path(__file__).resolve().parents[2]
SMALL = 96  # Listings: one padded row of columns.
KERNELS = ["apply_tickers", "apply", "expire", "observe", "group_sums", "group_scores",
           "block_top_k", "top_k", "count_marks", "cumulate"]  # fmt: skip


# Without anything of CUDA.


def test_without_a_gpu_it_fails_says_why_and_writes_nothing(tmp_path, monkeypatch, capsys):
    def no_device(name):
        from kernels.errors import DeviceError

        raise DeviceError("device was 'cuda': there is no driver")

    monkeypatch.setattr("kernels.device.open_device", no_device)
    assert gpu.main(["--json", str(tmp_path / "gpu.json")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "gpu: device was 'cuda': there is no driver; nothing was run\n"
    assert list(tmp_path.iterdir()) == []


def test_the_verb_fails_where_there_is_no_gpu():
    if find_cuda().devices:
        pytest.skip("there is a GPU")
    script = [sys.executable, "benchmarks/gpu.py", "--bits-only"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("gpu: device was 'cuda': ")


def test_a_nan_equals_a_nan_and_nothing_else_is_forgiven():
    payload = np.array([0x7FC00001], np.uint32).view(np.float32)
    plain = np.array([np.nan], np.float32)
    assert gpu.differences({"x": payload}, {"x": plain}) == set()
    zeros = [np.array([zero], np.float32) for zero in (0.0, -0.0)]
    assert gpu.differences({"x": zeros[0]}, {"x": zeros[1]}) == {"x"}
    one = np.array([1.0], np.float32)
    assert gpu.differences({"x": one}, {"x": np.nextafter(one, np.float32(2))}) == {"x"}
    assert gpu.differences({"x": one}, {"x": one.astype(np.float64)}) == {"x"}


def test_a_device_that_computes_something_else_is_timed_by_nobody(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("kernels.device.open_device", lambda name: object())
    monkeypatch.setattr(gpu, "machine", dict)
    bad = {"what": "5 listings", "compared": 9, "differing": ["scores.z"]}
    monkeypatch.setattr(gpu, "bits", lambda size, device: bad)
    monkeypatch.setattr(gpu, "median_bits", lambda device: bad)
    assert gpu.main(["--json", str(tmp_path / "gpu.json"), "--sizes", "5"]) == 1
    shown = capsys.readouterr()
    assert "| 5 listings | 9 | scores.z |" in shown.out
    assert shown.err == "gpu: 1 arrays differ from the CPU's; nothing was timed\n"
    assert list(tmp_path.iterdir()) == []


def test_a_sanitizer_that_is_not_there_is_told_of(monkeypatch):
    monkeypatch.setattr(gpu, "sanitizer_path", lambda: None)
    assert set(gpu.sanitize().values()) == {"not run: compute-sanitizer was not found"}


@pytest.mark.parametrize(("status", "word"), [(0, "clean"), (gpu.SANITIZER_ERROR, "failed")])
def test_each_tool_of_the_sanitizer_says_what_it_found(monkeypatch, tmp_path, status, word):
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f'#!/bin/sh\ntest "$1" = --tool || exit 7\nexit {status}\n')
    tool.chmod(0o755)
    monkeypatch.setattr(gpu, "sanitizer_path", lambda: str(tool))
    assert gpu.sanitize() == dict.fromkeys(gpu.SANITIZER_TOOLS, word)


def test_tables_hold_what_was_measured():
    from benchmarks import gpu_times

    kernel = {"cold_us": 12.34, "warm_us": 5.0, "bytes": 2_000_000, "share_of_copy": 0.5}
    size = {"listings": 10_000, "kernels": {"observe": kernel}, "graph_us": 40.0,
            "graph_bytes": 3_000_000, "host_us_per_launch": 1.5, "scan_ms": 2.0,
            "cpu_scan_ms": 6.0, "cpu_threads": 4}  # fmt: skip
    copies = {"device_gb_s": 2900.0, "host_to_device_gb_s": {4096: 1.0},
              "device_to_host_gb_s": {4096: 2.0}}  # fmt: skip
    text = gpu_times.tables({"copies": copies, "empty_us": 2.0, "sizes": [size]})
    assert "| 10,000 | `observe` | 12.3 | 5.0 | 2.00 | 50% |" in text
    assert "| 4 KiB | 1.0 | 2.0 |" in text
    assert "| 10,000 | 40.0 | 3.0 | 1.50 | 2.00 | 6.00 (4) |" in text
    assert "benchmarks/gpu.py" in text


# With the CUDA packages.


def opened():
    from kernels.device import open_device

    return open_device("cuda")


def timings_of_the_stand_in():
    from benchmarks import gpu_times
    from tests.gpu.traffic import Traffic

    device = opened()
    clock = gpu_times.Clock(device)
    traffic = dict.fromkeys(KERNELS, Traffic(10.0, 2.0, 5, 3))
    copies = gpu_times.copy_rates(clock, 1 << 20)
    sizes = [gpu_times.of_size(SMALL, device, clock, traffic, copies["device_gb_s"])]
    return {"copies": copies, "empty_us": 1.0, "sizes": sizes}


def bits_on_the_stand_in():
    return gpu.bits(SMALL, opened(), scans=2)


@pytest.mark.gpu_check
def test_timing_runs_every_kernel_of_a_scan_on_the_host_s_side(driver):
    pytest.importorskip("cuda.core", reason="make gpu-check installs the CUDA packages")
    from benchmarks import gpu_times

    found = run(timings_of_the_stand_in, driver)
    (size,) = found["sizes"]
    assert list(size["kernels"]) == KERNELS
    # On the stand-in any two events are a millisecond apart.
    assert {(k["cold_us"], k["warm_us"]) for k in size["kernels"].values()} == {(1000.0, 1000.0)}
    assert {k["bytes"] for k in size["kernels"].values()} == {12 * SMALL + 8}
    assert found["copies"]["device_gb_s"] == 2 * (1 << 20) / 1000 / 1e3
    assert "`cumulate`" in gpu_times.tables(found)


@pytest.mark.gpu_check
def test_a_device_on_which_nothing_computes_is_found_out(driver):
    pytest.importorskip("cuda.core", reason="make gpu-check installs the CUDA packages")
    differing = run(bits_on_the_stand_in, driver)["differing"]
    assert {"books.price", "columns.f32", "counters", "metric.obi"} <= set(differing)


@pytest.mark.gpu_check
def test_on_the_interpreter_every_array_is_the_cpu_s():
    pytest.importorskip("numba_cuda", reason="make gpu-check installs the CUDA packages")
    from tests.gpu.emulated import EmulatedDevice

    found = gpu.bits(20, EmulatedDevice(), scans=3)
    assert found["differing"] == []
    assert found["compared"] > 3 * len(METRIC_NAMES)
    assert gpu.median_bits(EmulatedDevice())["differing"] == []


@pytest.fixture(scope="module")
def traffic():
    pytest.importorskip("numba_cuda", reason="make gpu-check installs the CUDA packages")
    from tests.gpu.traffic import counted_traffic

    return counted_traffic()


@pytest.mark.gpu_check
def test_counted_bytes_are_those_of_the_columns_that_a_kernel_is_about(traffic):
    # By hand, per listing: what each kernel must read and write, from its source.
    assert traffic["expire"][:2] == (8 + 2, 0)  # expiry_ns, validity
    assert traffic["block_top_k"][:2] == (8 + c.LIST_COUNT * 8, 0)  # observed_ns, a key a list
    assert traffic["metrics"].listing_written == 4 * len(METRIC_NAMES)
    assert traffic["activity"].listing_written == 4
    row = 8 + 8 + 4 + 4 + 1 + 1 + 2  # of a batch, but its level: no book is spoken of
    assert traffic["apply"].listing_read > 2 * row + 4 + 8
    assert traffic["cumulate"][:2] == (0, 0)
    bins = c.STRATUM_COUNT * (c.DRIVER_COUNT * 1024 + c.LIST_COUNT * 2048) + 2 * 1024
    assert traffic["cumulate"].table_written >= 8 * bins


@pytest.mark.gpu_check
def test_predicted_bytes_grow_with_the_listings(traffic):
    kernel = traffic["observe"]
    per_listing = kernel.listing_read + kernel.listing_written
    assert kernel.predicted(2_000) - kernel.predicted(1_000) == pytest.approx(1_000 * per_listing)
    # A scored listing reads and writes its baseline of 7 words a feature, and its outputs.
    assert per_listing > 2 * 4 * c.BASELINE_COUNT * c.FEATURE_COUNT
