"""Run what measures the product beside its peers, in the environment that has them.

Scans and books are asked by the harness that lies beside the repository. It is not copied; where it
or the environment is absent, the answer says why. Feeds are asked by scripts of our own.
"""

import json
import math
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
HARNESS = Path(os.environ.get("SCANNER_SHARED", ROOT.parent / "shared")) / "bench_peers"
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
ADAPTER = ROOT / "benchmarks" / "peers" / "adapter.py"
SCANS = (("10000,100000", 15), ("1600000", 7))  # listings, rounds
TOP = 50
THREADS = 2  # Of the harness where it is told of none.
TIE = 1e-5  # Relative; scores of float32 and float64 differ by some 2e-6.


def peers() -> dict[str, Any]:
    """Scan, book and median rows with everything the harness measured; or why there are none."""
    if not (HARNESS / "bench_scan.py").exists():
        return {"skipped": "the harness bench_peers is not present beside the repository"}
    if not PYTHON.exists():
        return {"skipped": "there is no .venv-bench; `make bench` creates it"}
    seed = random.SystemRandom().randrange(1 << 31)
    scans = []
    for listings, rounds in SCANS:
        scans += harness("bench_scan.py", seed, ["--n", listings, "--rounds", str(rounds)])
    books = harness("bench_books.py", seed, ["--rounds", "15"])
    parts = run(["-m", "benchmarks.peers.parts", str(seed)])
    for row in [*scans, *books]:
        if row["engine"].startswith("product"):
            said = f"{row['engine']} was {row['check']} with seed {seed}"
            assert right(row) or tied(row, seed), f"{said}, expected the peers' answer"
    return {"seed": seed, "scan": scans, "books": books, **json.loads(parts)}


def feeds(module: str, *arguments: str) -> dict[str, Any]:
    """What a module of our own that prints JSON has measured."""
    found: dict[str, Any] = json.loads(run(["-m", module, *arguments]))
    return found


def right(row: dict[str, Any]) -> bool:
    """Whether the harness found the answer equal; it lets NaN scores pass, which this does not."""
    found = row["check"]
    if row["bench"] == "books":
        return bool(found == "agrees")
    return found.startswith("agrees") and "nan" not in found and f"{TOP}/{TOP}" in found


def tied(row: dict[str, Any], seed: int) -> bool:
    """Whether scores agree, and listings but for ties of the last place, of which the row then tells."""
    if row["bench"] != "scan" or not row["check"].startswith("agrees") or "nan" in row["check"]:
        return False
    asked = ["-m", "benchmarks.peers.ties", str(row["n"]), str(seed), str(THREADS)]
    apart = json.loads(run(asked))["apart"]
    farthest: float = max(apart, default=math.inf)
    row["check"] += f", the others within {farthest:.1e} of the last place"
    return farthest <= TIE


def harness(script: str, seed: int, arguments: list[str]) -> list[dict[str, Any]]:
    """Rows of one script of the harness."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        run([str(HARNESS / script), "--product", str(ADAPTER), "--seed", str(seed),
             "--json", str(rows), *arguments])  # fmt: skip
        return [json.loads(line) for line in rows.read_text().splitlines()]


def run(arguments: list[str]) -> str:
    """Standard output of the peers' Python, run with the harness and the product on its path.

    Where the peers' environment is absent it is our own Python: the product runs, and says who is missing.
    """
    python = PYTHON if PYTHON.exists() else Path(sys.executable)
    path = os.pathsep.join((str(ROOT), str(HARNESS)))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [str(python), *arguments], check=True, stdout=subprocess.PIPE, cwd=ROOT, env=environment
    )
    return done.stdout.decode()
