"""`make bench`: baselines, printed with machine, versions and the memory roof of the run.

    .venv/bin/python benchmarks/run.py [decode venues loopback burst scan replay goog cold dbn own_scan universe peers]

Raw results go to benchmarks/results/bench.json, and docs/PERFORMANCE.md is written from them. Named
questions replace their earlier answers there; answers of another machine or version are not kept.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import report  # noqa: E402
from benchmarks.peers.run import feeds, peers  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "bench.json"
START_NS = 1_767_787_200_000_000_000


def machine() -> dict[str, Any]:
    """Where and with what this runs; the memory roof is a copy of 256 MB arrays, best of 5."""
    source = np.zeros(1 << 25)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - began)
    cpu = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor(),
    )  # fmt: skip
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "copy_gb_per_s": round(2 * source.nbytes / best / 1e9, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "numba", "msgspec", "pyarrow")},
    }


def decode() -> dict[str, Any]:
    """Processor time of Deribit's frames to event rows, beside decoders and whole handlers."""
    return feeds("benchmarks.wire", "decode")


def venues() -> dict[str, Any]:
    """As `decode`, for the other venues' frequent messages as their emulators send them."""
    return feeds("benchmarks.wire", "venues")


def loopback() -> dict[str, Any]:
    """Receive, decode and apply over a local socket, beside cryptofeed's handler without one."""
    return feeds("benchmarks.loopback")


def burst() -> dict[str, Any]:
    """For how long 50,000 frames at once hold up the event loop."""
    return feeds("benchmarks.burst")


def scan() -> list[dict[str, Any]]:
    """Ticks and scans of the simulated market at one scan a second, and scans of every listing."""
    from feeds.emulator.rows import simulate_rows
    from kernels import columns as c
    from scanner.engine import Scanner

    found = []
    for listings, seconds in ((1_000, 90), (10_000, 45)):
        simulation = simulate_rows(5, START_NS, seconds, listings)
        scanner = Scanner()
        scanner.warm_up()
        scanner.add(simulation.listings)
        ticks, scans, row_counts, fresh, now_ns = [], [], [], [], START_NS
        for now_ns, rows, tickers in simulation:
            scanner.apply(rows, tickers)
            t0 = time.perf_counter()
            scanner.tick(now_ns)
            t1 = time.perf_counter()
            result = scanner.scan(now_ns)
            ticks.append(t1 - t0)
            scans.append(time.perf_counter() - t1)
            row_counts.append(len(rows))
            fresh.append(len(result.fresh))
        full = []
        for k in range(1, 31):
            scanner.state.columns.u8[c.FRESH, : scanner.universe.row_count] = 1
            began = time.perf_counter()
            scanner.scan(now_ns + k * 1_000_000_000)
            full.append(time.perf_counter() - began)
        found.append({
            "listings": scanner.universe.row_count, "fresh": statistics.median(fresh[5:]),
            "rows": statistics.median(row_counts[5:]), "threads": scanner.device.threads,
            **_quantiles("tick", ticks[5:]), **_quantiles("scan", scans[5:]),
            **_quantiles("full", full),
        })  # fmt: skip
    return found


def _quantiles(name: str, seconds: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return {f"{name}_ms_p50": float(p50), f"{name}_ms_p99": float(p99)}


def replay() -> dict[str, Any]:
    """A recorded minute of the demonstration, wire frames to alerts."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "recording"
        demo = [sys.executable, "-m", "scanner", "demo", "--seconds", "30", "--json",
                "--record", str(folder)]  # fmt: skip
        subprocess.run(demo, check=True, capture_output=True, cwd=ROOT)
        lines, seconds = _timed_replay(folder)
    summary = json.loads(lines[-1])["summary"]
    messages = summary["feed"]["frames"]
    return {"frames": messages, "scans": summary["scans"], "alerts": len(lines) - 1,
            "seconds": seconds, "messages_per_s": messages / seconds}  # fmt: skip


def _timed_replay(source: Path) -> tuple[list[bytes], float]:
    """Output lines of a replay and the seconds it took after warm-up, as it says itself."""
    command = [sys.executable, "-m", "scanner", "replay", str(source), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    seconds = float(done.stderr.decode().rsplit(" in ", 1)[1].split(" s")[0])
    return done.stdout.splitlines(), seconds


def goog() -> dict[str, Any] | None:
    """The real GOOG chain of 2015-12-24, where the data lies beside the repository."""
    shared = Path(os.environ.get("SCANNER_SHARED", ROOT.parent / "shared"))
    source = shared / "data" / "tables" / "goog_20151224"
    if not source.exists():
        return None
    lines, seconds = _timed_replay(source)
    return {"seconds": seconds, **json.loads(lines[-1])["summary"]}


def cold() -> dict[str, Any]:
    """A fresh process from start to its first scan of 1,000 listings, with and without a cache."""
    script = (
        "import time; t = time.perf_counter()\n"
        "from feeds.emulator.rows import simulate_rows\n"
        "from scanner import Scanner\n"
        "from scanner.commands.progress import warm_up\n"
        f"s = simulate_rows(5, {START_NS}, 1, 1000)\n"
        "u = time.perf_counter(); x = Scanner(); x.add(s.listings)\n"
        "warm_up(x)\n"
        "for now, rows, tickers in s:\n    x.apply(rows, tickers); x.scan(now)\n"
        "print(time.perf_counter() - u)\n"
    )
    found: dict[str, Any] = {}
    scripts = {"": script, "venues_": "from feeds.venues import warm_up; warm_up()"}
    with tempfile.TemporaryDirectory() as cache:
        for name, text in scripts.items():
            for when in ("nothing_s", "warm_cache_s"):
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-c", text], check=True, capture_output=True, cwd=ROOT,
                    env=os.environ | {"SCANNER_KERNEL_CACHE": cache},
                )  # fmt: skip
                found[name + when] = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-c", _COMPILE_TIMES], check=True, capture_output=True, cwd=ROOT,
            env=os.environ | {"SCANNER_KERNEL_CACHE": cache},
        )  # fmt: skip
    return found | {"parts": json.loads(done.stdout)}


# Seconds to the end of the first call of each launch shape, one after the other in one process.
_COMPILE_TIMES = """
import json, time
from kernels.device import CpuDevice
from scanner import Scanner
build, spent = CpuDevice.__getattr__, {}

def timed(device, name):
    shape = build(device, name)

    def first(*args):
        began = time.perf_counter()
        answer = shape(*args)
        spent.setdefault(name, time.perf_counter() - began)
        return answer

    vars(device)[name] = first
    return first

scanner = Scanner()
CpuDevice.__getattr__ = timed
scanner.warm_up()
print(json.dumps(dict(sorted(spent.items(), key=lambda item: -item[1]))))
"""


def own_scan() -> dict[str, Any]:
    """The product's own scan of every listing and of 2 % of them, by benchmarks/scan.py."""
    from benchmarks import scan as own

    return {
        "same_bytes": own.changed_equals_full(),
        "rows": [own.measure(count) for count in own.LISTINGS],
        "parts": {
            f"{count:,} listings, {share:.0%} fresh": own.parts(count, share)
            for count in own.LISTINGS[:2]
            for share in (1.0, own.SHARE)
        },
    }


def universe() -> list[dict[str, Any]]:
    """Memory and times of large universes, each in a process of its own."""
    found = []
    for size in ("100k", "1600k", "100k-depth"):
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / "universe.py"), "--here", size],
            check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        found.append(json.loads(done.stdout))
    return found


def dbn() -> dict[str, Any]:
    """Five million records of a generated DBN file, by benchmarks/dbn.py."""
    from benchmarks import dbn as own

    return own.measure()


QUESTIONS: dict[str, Callable[[], Any]] = {
    "decode": decode, "venues": venues, "loopback": loopback, "burst": burst, "scan": scan, "replay": replay, "goog": goog, "cold": cold,
    "dbn": dbn, "own_scan": own_scan, "universe": universe, "peers": peers,
}  # fmt: skip


def main() -> None:
    """Ask the questions named on the command line, all of them without names."""
    wanted = sys.argv[1:] or list(QUESTIONS)
    here = machine()
    results = {} if len(wanted) == len(QUESTIONS) else _earlier(here)
    results = {"machine": here, "apart": {}} | results
    print(json.dumps(here))
    for name in wanted:
        print(f"{name} ...", flush=True)
        if len(wanted) < len(QUESTIONS):
            results["apart"][name] = {"date": here["date"], "load": round(os.getloadavg()[0], 2)}
        results[name] = QUESTIONS[name]()
        print(json.dumps(results[name], indent=1))
    if results.keys() >= QUESTIONS.keys():
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1))
        report.write(results, ROOT / "docs" / "PERFORMANCE.md")


def _earlier(here: dict[str, Any]) -> dict[str, Any]:
    """Earlier answers, if a machine with the same processor and versions gave them."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    varying = {"date": "", "load": 0.0, "copy_gb_per_s": 0.0}
    return found if found.get("machine", {}) | varying == here | varying else {}


if __name__ == "__main__":
    main()
