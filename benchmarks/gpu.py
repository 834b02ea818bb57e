"""`make gpu`: is the GPU's answer the CPU's, bit for bit, and how long does it take?

    .venv-gpu-check/bin/python benchmarks/gpu.py [--json FILE] [--bits-only] [--sizes 33,1000] [--bytes]

Needs a GPU, and exits with 1 where there is none; `--bytes` alone, which counts what kernels move
and predicts floors from it, needs none. Bits come first: nothing is timed on a device
that computes something else. Raw results go to benchmarks/results/gpu.json; the tables that this
prints are those of docs/GPU.md. Nothing here can make a number that no GPU made.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
SIZES = (1, 33, 128, 1_000, 10_000)
SANITIZED_SIZE = 33
SCANS = 24
STEP_S = 4  # Between scans: liquidity classes are assigned after a minute.
SEGMENTS = (0, 1, 2, 31, 32, 33, 257, 1_000)  # Members of a segment of the median.
SANITIZER_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
SANITIZER_ERROR = 99
PUBLISHED_GB_S = 2_900  # Device copy of an H100 as others measured it; not by us, not here.
FLOOR_LISTINGS = (10_000, 100_000, 1_600_000)
VERSIONS = ("numpy", "numba", "numba-cuda", "cuda-core", "nvidia-nvvm", "nvidia-nvjitlink")


def main(arguments: list[str] | None = None) -> int:
    """Run everything; returns the exit code."""
    from kernels.device import open_device
    from kernels.errors import DeviceError

    options = _parser().parse_args(arguments)
    if options.bytes:
        print(floors_table())
        return 0
    try:
        device = open_device("cuda")
    except DeviceError as error:
        sys.stderr.write(f"gpu: {error}; nothing was run\n")
        return 1
    results: dict[str, Any] = {"machine": machine()}
    print(json.dumps(results["machine"], indent=1))
    results["bits"] = [bits(size, device) for size in options.sizes] + [median_bits(device)]
    differing = {name for one in results["bits"] for name in one["differing"]}
    print(bits_table(results["bits"]))
    if differing:
        sys.stderr.write(f"gpu: {len(differing)} arrays differ from the CPU's; nothing was timed\n")
        return 1
    if options.bits_only:
        return 0
    results["sanitizer"] = sanitize()
    print(json.dumps(results["sanitizer"], indent=1))
    from benchmarks import gpu_times

    results["times"] = gpu_times.measure(device)
    print(gpu_times.tables(results["times"]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1))
    return 1 if "failed" in results["sanitizer"].values() else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the raw results go")
    parser.add_argument("--bits-only", action="store_true", help="compare bits, time nothing")
    parser.add_argument("--bytes", action="store_true", help="count bytes, predict floors, no GPU")
    parser.add_argument(
        "--sizes", type=lambda text: [int(size) for size in text.split(",")], default=list(SIZES),
        help="listings of the markets that are compared",
    )  # fmt: skip
    return parser


def machine() -> dict[str, Any]:
    """Where and with what this runs."""
    from scanner.doctor import cpu_model, find_cuda

    cuda = find_cuda()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "gpu": cuda.devices[:1],
        "driver": cuda.driver,
        "newest_cuda": cuda.newest,
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONS},
    }


def bits(size: int, device: Any, scans: int = SCANS) -> dict[str, Any]:
    """Scan one market on both devices; says which arrays differ, in any scan or at the end."""
    from scanner.config import load
    from scanner.engine import Scanner
    from tests.kernels.market import SECOND, START_NS, ToyMarket, listings

    members = listings(size)
    config = load(None, {"engine.listings_capacity": max(128, size)})
    both = [Scanner(config, device=one) for one in ("cpu", device)]
    market = ToyMarket(members, 3)
    for scanner in both:
        scanner.add(members)
    differing: set[str] = set()
    compared = 0
    for k in range(1, scans + 1):
        now_ns = START_NS + k * STEP_S * SECOND
        rows, tickers = market.second(now_ns)
        for scanner in both:
            scanner.apply(rows, tickers)
        here, there = (of_result(scanner.scan(now_ns)) for scanner in both)
        differing |= differences(here, there)
        compared += len(here)
    here, there = (of_state(scanner) for scanner in both)
    differing |= differences(here, there)
    return {
        "what": f"{size:,} listings, {scans} scans", "compared": compared + len(here),
        "differing": sorted(differing),
    }  # fmt: skip


def median_bits(device: Any) -> dict[str, Any]:
    """The one kernel that is in no tick, beside the oracle: medians of ragged segments."""
    from kernels.gpu.program import Launch
    from tests.oracles.median import median_and_mad

    rng = np.random.default_rng(5)
    start = np.concatenate([[0], np.cumsum(SEGMENTS)]).astype(np.int64)
    values = rng.normal(0, 100, start[-1]).astype(np.float32)
    values[rng.random(values.size) < 0.1] = np.nan
    pieces = [values[a:b].tolist() for a, b in itertools.pairwise(start)]
    here = [
        np.array(column, np.float32) for column in zip(*map(median_and_mad, pieces), strict=True)
    ]
    arrays = [device.allocate(a.shape, a.dtype) for a in (values, start, *here)]
    device.upload(zip(arrays[:2], (values, start), strict=True))
    node = Launch("segment_median_mad", (len(SEGMENTS), 1), 256, tuple(arrays))
    device.launch(device.graph([node]))
    there = [np.empty_like(a) for a in here]
    device.fetch(zip(arrays[2:], there, strict=True))
    names = ("median", "mad")
    found = differences(dict(zip(names, here, strict=True)), dict(zip(names, there, strict=True)))
    return {
        "what": f"medians of {len(SEGMENTS)} segments",
        "compared": 2,
        "differing": sorted(found),
    }


def of_result(result: Any) -> dict[str, np.ndarray]:
    """Every array of a ScanResult by name."""
    found = {f"result.{f.name}": getattr(result, f.name) for f in fields(result)}
    found |= {f"groups.{f.name}": getattr(result.groups, f.name) for f in fields(result.groups)}
    found |= {f"top.{name}": ids for name, ids in result.top.items()}
    found |= {f"metric.{name}": column for name, column in result.metrics.items()}
    for scope, rollup in result.rollups.items():
        found |= {f"{scope}.{f.name}": getattr(rollup, f.name) for f in fields(rollup)}
    found |= {f"market.{name}": np.array(value) for name, value in result.market.items()}
    return {name: np.array(a) for name, a in found.items() if isinstance(a, np.ndarray)}


def of_state(scanner: Any) -> dict[str, np.ndarray]:
    """Every array that kernels write, at home."""
    state = scanner.state
    bundles = {
        "columns": state.columns,
        "books": state.books,
        "scores": state.scores,
        "common": state.common,
    }
    found = {
        f"{b}.{name}": a for b, bundle in bundles.items() for name, a in bundle._asdict().items()
    }
    for owner in ("reference", "groups"):
        held = {
            f.name: getattr(getattr(state, owner), f.name) for f in fields(getattr(state, owner))
        }
        found |= {f"{owner}.{name}": a for name, a in held.items() if isinstance(a, np.ndarray)}
    found["counters"] = state.per_thread.counters.sum(axis=0)
    return found


def differences(here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> set[str]:
    """Names of arrays whose bits differ; a NaN equals a NaN, whatever its payload."""
    assert here.keys() == there.keys()
    return {name for name in here if _bytes(here[name]) != _bytes(there[name])}


def _bytes(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    return array.dtype.str, array.shape, array.tobytes()


def bits_table(rows: list[dict[str, Any]]) -> str:
    """What was compared and what differs, as lines of Markdown."""
    lines = ["| compared with the CPU, bit for bit | arrays | differing |", "|---|--:|---|"]
    lines += [
        f"| {row['what']} | {row['compared']:,} | {', '.join(row['differing']) or 'none'} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def floors_table() -> str:
    """Bytes that each kernel moves, counted in the interpreter, and floors, as Markdown."""
    from tests.gpu.traffic import counted_traffic

    traffic = counted_traffic()
    lines = ["| kernel | read, B a listing | written | tables, B a launch |", "|---|--:|--:|--:|"]
    lines += [
        f"| `{name}` | {t.listing_read:.0f} | {t.listing_written:.0f} | {t.table_read + t.table_written:,} |"
        for name, t in traffic.items()
    ]
    scanned = [t for name, t in traffic.items() if name not in ("metrics", "activity")]
    lines += [
        "",
        f"| listings, all at once | moved | floor at {PUBLISHED_GB_S:,} GB/s, predicted |",
        "|--:|--:|--:|",
    ]
    for count in FLOOR_LISTINGS:
        moved = sum(t.predicted(count) for t in scanned)
        lines.append(
            f"| {count:,} | {moved / 1e6:,.1f} MB | {moved / PUBLISHED_GB_S / 1e3:,.1f} us |"
        )
    return "\n".join(lines) + "\n"


def sanitizer_path() -> str | None:
    """compute-sanitizer on the path, in this environment, or where CUDA is usually installed."""
    beside = [
        Path(sysconfig.get_paths()["purelib"]) / "nvidia" / "cu13" / "bin",
        Path("/usr/local/cuda/bin"),
    ]
    return shutil.which(
        "compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, beside)])
    )


def sanitize() -> dict[str, str]:
    """Run every tool of compute-sanitizer over one small comparison of bits."""
    tool = sanitizer_path()
    if tool is None:
        return dict.fromkeys(SANITIZER_TOOLS, "not run: compute-sanitizer was not found")
    found = {}
    for name in SANITIZER_TOOLS:
        command = [tool, "--tool", name, "--error-exitcode", str(SANITIZER_ERROR), sys.executable,
                   str(Path(__file__).resolve()), "--bits-only", "--sizes", str(SANITIZED_SIZE)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode:
            sys.stderr.write(done.stdout[-4000:] + done.stderr[-4000:])
        found[name] = "failed" if done.returncode else "clean"
    return found


if __name__ == "__main__":
    sys.exit(main())
