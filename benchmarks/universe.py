"""A universe as large as all listed options of a country: bytes a listing, seconds a step.

    .venv/bin/python benchmarks/universe.py [10k 100k 1600k 1600k-reserved 100k-depth ...]

Each size runs in a process of its own, so that its resident growth is that of the universe alone:
kernels are loaded before the growth is counted. Listings are streamed and held by nobody else.
Seconds of adding and of taking over are those of the processor: one thread does both.
Baselines are set past their warm-up before the steady scans, so that these take the whole way.
"""

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SIZES = ("10k", "100k", "1600k", "1600k-reserved", "100k-depth")
EXPIRIES, STRIKES = 9, 15  # of an underlying; two rights make 270 options, 6,000 such 1.62 million
START_NS = 1_767_787_200_000_000_000
SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
CHUNK = 65_536
LEVELS = 10
STEADY_SCANS = 5
FRESH_SHARE = 0.02
MEGABYTE = 1 << 20


def listings(count: int) -> Iterator[Any]:
    """US-like options with OCC symbols: underlying by underlying, expiry by expiry."""
    from feeds.contract import Listing, ListingKind

    for n in range(count):
        chain, rest = divmod(n, 2 * EXPIRIES * STRIKES)
        expiry, rest = divmod(rest, 2 * STRIKES)
        strike, right = 5 * (rest // 2 + 1), "CP"[rest % 2]
        root = "".join(chr(65 + chain // 26**k % 26) for k in (3, 2, 1, 0))
        yield Listing(
            venue="opra", symbol=f"{root:<6}2603{expiry + 1:02d}{right}{strike * 1000:08d}",
            kind=ListingKind.OPTION, underlying=root, multiplier=100.0, price_ccy="USD",
            settle="linear", tick=0.01, expiry_ns=START_NS + (7 * expiry + 7) * DAY_NS,
            strike_e9=strike * 10**9, right=right, style="american",
            tick_table=((3.0, 0.05),),
        )  # fmt: skip


def quotes(ids: Any, now_ns: int, depth: int) -> Any:
    """An update a listing: a quote, or a snapshot of `depth` levels a side; mids walk."""
    from feeds.events import EVENT, Flag, Kind

    sides = max(depth, 1)
    per = 2 * sides
    rows = np.zeros(len(ids) * per, EVENT)
    at = np.repeat(ids, per)
    place = np.tile(np.arange(per), len(ids))
    side, level = np.where(place < sides, 1, -1), place % sides
    mid = 500 + at % 1000 + (at + now_ns // SECOND_NS) % 3
    rows["rx_ns"] = rows["ex_ns"] = now_ns
    rows["seq"] = now_ns // SECOND_NS
    rows["listing_id"], rows["side"], rows["level"] = at, side, level
    rows["price"] = np.round((mid - side * (5 + 5 * level)) // 5 * 5 * 0.01, 2)
    rows["size"] = 1 + (at * 7 + now_ns // SECOND_NS) % 40
    rows["kind"] = Kind.BOOK_SNAPSHOT if depth else Kind.QUOTE
    rows["flags"] = np.where(place == per - 1, int(Flag.LAST), 0)
    if depth:
        rows["flags"][::per] |= int(Flag.SNAPSHOT_START)
    return rows


def resident() -> int:
    """Resident bytes of this process, after what is free has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def peak() -> int:
    """Largest number of resident bytes so far."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def apply_all(scanner: Any, ids: Any, now_ns: int, depth: int) -> float:
    """Quotes of listings in chunks, a tick each; returns the seconds that the ticks took."""
    seconds = 0.0
    for first in range(0, len(ids), CHUNK):
        scanner.apply(quotes(ids[first : first + CHUNK], now_ns, depth))
        began = time.perf_counter()
        scanner.tick(now_ns)
        seconds += time.perf_counter() - began
    return seconds


def held(*bundles: Any) -> int:
    """Bytes of the arrays in some bundles."""
    return sum(array.nbytes for bundle in bundles for array in bundle)


def configured(name: str) -> tuple[Any, int, int]:
    """Configuration, listings and levels a side of a size."""
    from scanner.config import EngineSettings, ScanConfig

    count = int(name.split("k", maxsplit=1)[0]) * 1000
    engine = EngineSettings(listings_capacity=count) if name.endswith("-reserved") else None
    return (
        ScanConfig(engine=engine) if engine else ScanConfig(),
        count,
        LEVELS if name.endswith("-depth") else 0,
    )


def measure(name: str) -> dict[str, Any]:
    """Fill a scanner and scan it, in this process."""
    from scanner.engine import Scanner

    config, count, depth = configured(name)
    warm = Scanner(config)
    warm.warm_up()
    warm.add(listings(300))
    apply_all(warm, np.arange(300), START_NS, depth)
    warm.scan(START_NS)
    del warm
    begin, found = resident(), {"size": name, "listings": count}
    scanner = Scanner(config)
    tables = resident()
    began = time.process_time()
    for _ in listings(count):
        pass
    streaming = time.process_time() - began
    began = time.process_time()
    for listing in listings(count):
        scanner.universe.add(listing)
    found["add_s"] = time.process_time() - began - streaming
    universe = resident()
    began = time.process_time()
    scanner.tick(START_NS)
    found["sync_s"] = time.process_time() - began
    found |= seconds(scanner, count, depth)
    end, state = resident(), scanner.state
    bytes_of = {
        "universe": universe - tables,
        "columns": held(state.columns),
        "scores": held(state.scores),
        "blocks": held(state.blocks),
        "books": held(state.books) if depth else 0,
    }
    bytes_of["rest"] = end - begin - sum(bytes_of.values())
    found["bytes"] = {part: size / count for part, size in bytes_of.items()}
    found |= {"total": (end - begin) / count, "peak": (peak() - begin) / count}
    return found | {"threads": scanner.device.threads, "load": os.getloadavg()[0]}


def seconds(scanner: Any, count: int, depth: int) -> dict[str, float]:
    """Seconds of the first tick and scan of all listings, and of steady ones of all and of some."""
    from kernels import columns as c

    ids, now_ns = np.arange(count), START_NS + SECOND_NS
    found = {"apply_s": apply_all(scanner, ids, now_ns, depth)}
    began = time.perf_counter()
    scanner.scan(now_ns)
    found["first_scan_s"] = time.perf_counter() - began
    scanner.state.scores.baseline[[c.COUNT, c.SMOOTHED_COUNT]] = 40
    for part, chosen in (("full", ids), ("part", ids[:: round(1 / FRESH_SHARE)])):
        ticks, scans = [], []
        for _ in range(STEADY_SCANS):
            now_ns += SECOND_NS
            ticks.append(apply_all(scanner, chosen, now_ns, depth))
            began = time.perf_counter()
            result = scanner.scan(now_ns)
            scans.append(time.perf_counter() - began)
            assert len(result.fresh) == len(chosen)
            assert len(result.top["spike"]) == scanner.config.engine.top_k
            del result
        found |= {f"{part}_tick_s": np.median(ticks), f"{part}_scan_s": np.median(scans)}
    refused = {k: n for k, n in scanner.row_counts().items() if n and k != "rows_applied"}
    assert not refused, refused
    return found


def table(results: list[dict[str, Any]]) -> str:
    """Both tables, as they go into a page."""
    parts = list(results[0]["bytes"])
    lines = ["| listings | " + " | ".join(parts) + " | bytes a listing | peak |",
             "|---|" + "--:|" * (len(parts) + 2)]  # fmt: skip
    for r in results:
        cells = [f"{r['bytes'][part]:,.0f}" for part in parts]
        lines.append(
            f"| {r['size']} | " + " | ".join(cells) + f" | {r['total']:,.0f} | {r['peak']:,.0f} |"
        )
    names = (
        "add",
        "sync",
        "apply",
        "first_scan",
        "full_tick",
        "full_scan",
        "part_tick",
        "part_scan",
    )
    lines += ["", "| listings | " + " | ".join(n.replace("_", " ") + " s" for n in names) + " |",
              "|---|" + "--:|" * len(names)]  # fmt: skip
    for r in results:
        lines.append(f"| {r['size']} | " + " | ".join(f"{r[n + '_s']:.3f}" for n in names) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure the sizes named on the command line, all of them without names."""
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(measure(sys.argv[2])))
        return
    results = []
    for size in sys.argv[1:] or SIZES:
        done = subprocess.run(
            [sys.executable, __file__, "--here", size], check=True, stdout=subprocess.PIPE
        )
        results.append(json.loads(done.stdout))
        print(json.dumps(results[-1]), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
