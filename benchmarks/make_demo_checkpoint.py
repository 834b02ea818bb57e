"""Make scanner/demo_checkpoint.npz: what the demonstration starts from instead of a cold start.

Fourteen quiet runs of the emulated market, ten minutes each, of other seeds than the
demonstration's and over all its venues, pass through the engine at one scan a second; each goes on from what the one
before has learned. They begin on different weekdays and hours, because expiries lie relative to
the start: with one start for all, a demonstration on another weekday met other spreads and
depths, and fired 10 to 60 times as often as asked (measured). Nothing in the file was measured on
a real market, and its notes say so. Equal arguments and equal versions give equal bytes.

    .venv/bin/python benchmarks/make_demo_checkpoint.py
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import E9
from feeds.emulator.market import Market
from feeds.emulator.profiles import PROFILES
from feeds.emulator.rows import RowSimulation
from scanner import __version__
from scanner.checkpoint import Checkpoint, capture, emulated_names
from scanner.commands.demo import VENUES
from scanner.engine import Scanner

OUT: Final = Path(__file__).resolve().parent.parent / "scanner" / "demo_checkpoint.npz"
START_NS: Final = 1_767_787_200 * E9  # 2026-01-07 12:00 UTC, a Wednesday
# One weekday and seven hours on: 14 runs see every weekday twice, and every part of the day.
APART_NS: Final = (24 + 7) * 3600 * E9
SEED: Final = 20_260_107  # of the first run; the demonstration's default is 1
BYTES_MAX: Final = 3_000_000  # it lies in the package


def learn(seed: int, runs: int, minutes: float, listings: int) -> Checkpoint:
    """Simulate and scan; the checkpoint names listings by their place (`emulated_names`)."""
    learned: Checkpoint | None = None
    for run in range(runs):
        began = time.perf_counter()
        start_ns = START_NS + run * APART_NS
        learned = _go_on(learned, seed + run, start_ns, round(60 * minutes), listings)
        sys.stderr.write(f"run {run + 1} of {runs}: {time.perf_counter() - began:.0f} s\n")
    assert learned is not None
    return learned


def _go_on(
    learned: Checkpoint | None, seed: int, start_ns: int, seconds: int, listings: int
) -> Checkpoint:
    """One run, from what was learned before; None starts cold."""
    simulations = [
        RowSimulation(
            Market(seed, start_ns, listings, profile=PROFILES[name]), seconds, E9, frozenset()
        )
        for name in VENUES
    ]
    members = [listing for simulation in simulations for listing in simulation.listings]
    names = emulated_names(members)
    scanner = Scanner()
    scanner.add(members)
    if learned is not None:
        today = {place: symbol for symbol, place in names.items()}
        learned.renamed(today).into(scanner, start_ns)
    firsts = np.cumsum([0, *(len(one.listings) for one in simulations)])
    for seconds_of in zip(*simulations, strict=True):
        rows = _joined([rows for _, rows, _ in seconds_of], firsts)
        tickers = _joined([tickers for _, _, tickers in seconds_of], firsts)
        scanner.apply(rows, tickers)
        scanner.scan(seconds_of[0][0])
    return capture(scanner).renamed(names)


def _joined(parts: list[NDArray[Any]], firsts: NDArray[np.int64]) -> NDArray[Any]:
    """Rows of all venues in the order of their receipt, the ids of each from its first on."""
    for rows, first in zip(parts, firsts.tolist(), strict=False):
        rows["listing_id"] += first
    joined = np.concatenate(parts)
    return joined[np.argsort(joined["rx_ns"], kind="stable")]


def main() -> None:
    """Learn, write, and say what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=14, help="simulated runs, at least 1")
    parser.add_argument("--minutes", type=float, default=10.0, help="simulated minutes of each")
    parser.add_argument("--listings", type=int, default=1_000, help="about how many options")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first run, then counting")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    notes = {
        "kind": "simulated: feeds.emulator, quiet market, no planted events",
        "script": "benchmarks/make_demo_checkpoint.py",
        "seeds": f"{options.seed} to {options.seed + options.runs - 1}",
        "minutes": f"{options.runs} times {options.minutes:g}",
        "listings": str(options.listings),
        "venues": " ".join(VENUES),
        "version": __version__,
    }
    learned = learn(options.seed, max(1, options.runs), options.minutes, options.listings)
    learned.annotated(notes).write(options.out)
    size = options.out.stat().st_size
    count = int(learned.tables["lists"][:, :, 0].sum())
    print(
        f"{options.out.name}: {size:,} bytes, {len(learned.memory.place):,} listings, "
        f"{count:,} scored rows in the reference"
    )
    if size > BYTES_MAX:
        raise SystemExit(f"{options.out.name}: {size} bytes, expected at most {BYTES_MAX}")


if __name__ == "__main__":
    main()
