"""A generated OPRA day in DBN: five million cmbp-1 records to event rows, and to scans.

    .venv/bin/python benchmarks/dbn.py [records]

Reading runs in a process of its own, so that its growth is what reading takes: the file is many
times larger. The market is random and seeded; each record is a quote of one of 4,000 contracts, or,
one time in sixteen, a print with a quote.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from feeds.dbn import DbnSource  # noqa: E402
from feeds.dbn.layout import DEFINITION_V3, QUOTE, RType, Schema  # noqa: E402

RECORDS = 5_000_000
CONTRACTS = 4_000
BLOCK = 250_000
SECOND = 1_000_000_000
DAY_NS = 1_767_571_200 * SECOND  # Monday 2026-01-05, UTC
OPEN_NS = DAY_NS + 52_200 * SECOND  # 09:30 New York
SESSION_NS = 300 * SECOND
OPRA = 30


def head(schema: int) -> bytes:
    """Head of a version 3 file without symbols."""
    body = struct.pack("<16sHQQQBBBH53x", b"OPRA.PILLAR", schema, DAY_NS, DAY_NS + 86_400 * SECOND,
                       0, 0, 0, 0, 71) + bytes(20)  # fmt: skip
    return b"DBN\x03" + struct.pack("<I", len(body)) + body


def write_definitions(path: Path) -> None:
    """Calls and puts of one root: 40 expiries, 50 strikes."""
    rows = np.zeros(CONTRACTS, DEFINITION_V3)
    raw = rows.view(np.uint8).reshape(CONTRACTS, -1)
    raw[:, 0], raw[:, 1] = DEFINITION_V3.itemsize // 4, RType.DEFINITION
    for k, row in enumerate(rows):
        day = np.datetime64("2026-01-09") + 7 * (k // 100)
        strike, right = 400 + k // 2 % 50, "CP"[k % 2]
        row["raw_symbol"] = (
            f"SPY   {str(day)[2:].replace('-', '')}{right}{strike * 1000:08d}".encode()
        )
        row["expiration"] = day.astype("datetime64[ns]").astype(np.uint64)
        row["strike_price"], row["instrument_class"] = strike * SECOND, right.encode()
    rows["instrument_id"] = 0x26000001 + 2 * np.arange(CONTRACTS)
    rows["publisher_id"], rows["ts_recv"] = OPRA, DAY_NS + 37_800 * SECOND
    path.write_bytes(head(Schema.DEFINITION) + rows.tobytes())


def write_quotes(path: Path, records: int) -> None:
    """Records of one session, evenly spread over it, BLOCK at a time."""
    rng = np.random.default_rng(1)
    bid = rng.integers(50, 4_000, CONTRACTS)  # cents
    with path.open("wb") as file:
        file.write(head(Schema.CMBP_1))
        for begin in range(0, records, BLOCK):
            count = min(BLOCK, records - begin)
            rows = np.zeros(count, QUOTE)
            raw = rows.view(np.uint8).reshape(count, -1)
            raw[:, 0], raw[:, 1] = QUOTE.itemsize // 4, RType.CMBP_1
            of = rng.integers(0, CONTRACTS, count)
            bid = np.maximum(1, bid + rng.integers(-1, 2, CONTRACTS))
            stamp = OPEN_NS + (begin + np.arange(count)) * SESSION_NS // records
            rows["publisher_id"] = rng.integers(20, 38, count)
            rows["instrument_id"] = 0x26000001 + 2 * of
            rows["ts_event"], rows["ts_recv"] = stamp - 20_000, stamp
            printed = rng.random(count) < 1 / 16
            rows["action"] = np.where(printed, ord("T"), ord("M"))
            rows["side"], rows["price"] = ord("N"), bid[of] * 10_000_000
            rows["size"] = rng.integers(1, 50, count)
            rows["bid_px"] = bid[of] * 10_000_000
            rows["ask_px"] = (bid[of] + rng.integers(1, 9, count)) * 10_000_000
            rows["bid_sz"], rows["ask_sz"] = rng.integers(1, 500, (2, count))
            file.write(rows.tobytes())


def to_rows(source: DbnSource) -> dict[str, Any]:
    """Only read."""
    rows = sum(len(chunk.rows) for chunk in source.chunks(lambda some: list(range(len(some)))))
    return {"event_rows": rows}


def to_scans(source: DbnSource) -> dict[str, Any]:
    """Read and scan, with alerts, as `scanner replay` does."""
    from scanner.config import load
    from scanner.pipeline import Pipeline, scan_chunks

    pipeline = Pipeline(load())
    pipeline.scanner.warm_up()
    before, began = _resident_mb("VmRSS"), time.perf_counter()
    scans = sum(1 for _ in scan_chunks(source.chunks(pipeline.scanner.add), pipeline))
    return {"scans": scans, "event_rows": pipeline.counts.events, "before_mb": before,
            "seconds": time.perf_counter() - began}  # fmt: skip


WAYS: dict[str, Callable[[DbnSource], dict[str, Any]]] = {"rows": to_rows, "scans": to_scans}


def _resident_mb(what: str) -> float:
    """VmRSS, now, or VmHWM, the most so far; what getrusage gives would be the parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def here(way: str, folder: Path) -> dict[str, Any]:
    """Measure one way in this process."""
    source = DbnSource(folder)
    before, began = _resident_mb("VmRSS"), time.perf_counter()
    found = {"before_mb": before} | WAYS[way](source)
    seconds = found.setdefault("seconds", time.perf_counter() - began)
    records = source.counts["records"]
    return {
        "way": way, "records": records, "records_per_s": records / seconds, **found,
        "growth_mb": _resident_mb("VmHWM") - found.pop("before_mb"),
    }  # fmt: skip


def measure(records: int = RECORDS) -> dict[str, Any]:
    """Generate a file and its definitions, and read them each way in a fresh process."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_definitions(folder / "definition.dbn")
        write_quotes(folder / "cmbp-1.dbn", records)
        file_mb = os.path.getsize(folder / "cmbp-1.dbn") / 2**20
        ways = []
        for way in WAYS:
            done = subprocess.run(
                [sys.executable, __file__, "--here", way, scratch],
                check=True, stdout=subprocess.PIPE,
            )  # fmt: skip
            ways.append(json.loads(done.stdout))
    return {"file_mb": file_mb, "contracts": CONTRACTS, "ways": ways}


def table(found: dict[str, Any]) -> str:
    """Rows of the page."""
    lines = ["| way | records | records/s | event rows | growth MB |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {r['way']} | {r['records']:,} | {r['records_per_s']:,.0f} | {r['event_rows']:,} | "
        f"{r['growth_mb']:.0f} |"
        for r in found["ways"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure as many records as the command line says."""
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(here(sys.argv[2], Path(sys.argv[3]))))
        return
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS)
    print(f"file of {found['file_mb']:.0f} MB, {found['contracts']:,} contracts")
    print(table(found))


if __name__ == "__main__":
    main()
