"""Realised over asked alert rates on the emulator's quiet market.

A calibrated p is at most 0.01 in one scored row of a hundred. The market is simulated, nothing is
planted, and one scan a second is judged; the first hour fills the reference and does not count.
Prints a table, keeps the numbers in benchmarks/results/calibration.json and writes
docs/CALIBRATION.md from them.

    .venv/bin/python benchmarks/calibrate.py --hours 4 --listings 1000 --seed 101
"""

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import E9
from feeds.emulator.rows import simulate_rows
from kernels import columns as c
from scanner.alert import RULES, Alert
from scanner.config import ScanConfig
from scanner.pipeline import Pipeline
from scanner.result import ScanResult
from scanner.state import GROUP_KINDS

ROOT: Final = Path(__file__).resolve().parent.parent
RESULT: Final = ROOT / "benchmarks" / "results" / "calibration.json"
PAGE: Final = ROOT / "docs" / "CALIBRATION.md"
START_NS: Final = 1_767_225_600 * E9  # 2026-01-01 00:00 UTC: a first expiry 32 hours away
LEVELS: Final = (1e-2, 1e-3, 1e-4)
LISTS: Final = ("spike", "broad", "headline")
STRATA: Final = ("up to 1 s", "up to 4 s", "up to 15 s", "up to 60 s", "above 60 s")
HOUR_S: Final = 3_600
BLOCK_S: Final = 300  # Blocks of the bootstrap: five half-lives of the slow drivers.
DRAWS: Final = 2_000
INTERVAL: Final = (5.0, 95.0)  # percentiles
FEW: Final = 10  # Hits asked for; with fewer the deviation of a ratio is above a third.
PACKAGES: Final = ("numpy", "numba")

Counts = NDArray[np.int64]
Ratio = dict[str, float]


@dataclass
class Tally:
    """Counts of hits (p at most the level) and of rows in which the level could be reached.

    A level cannot be reached while the reference is so short that the smallest p lies above it.
    Listings: [block, stratum, list, level]; groups: [block, kind, level].
    """

    blocks: int
    rows: Counts = field(init=False)
    hits: Counts = field(init=False)
    reachable: Counts = field(init=False)
    group_hits: Counts = field(init=False)
    group_reachable: Counts = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.blocks, c.STRATUM_COUNT, len(LISTS), len(LEVELS))
        self.rows = np.zeros(shape[:2], np.int64)
        self.hits, self.reachable = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        groups = (self.blocks, len(GROUP_KINDS), len(LEVELS))
        self.group_hits, self.group_reachable = (
            np.zeros(groups, np.int64),
            np.zeros(groups, np.int64),
        )

    def add(self, block: int, result: ScanResult) -> None:
        """Count one scan."""
        fresh = result.fresh[~np.isnan(result.score[0][result.fresh])]
        stratum = result.stratum[fresh]
        entries = result.reference_count[stratum]
        p = result.p[:, fresh].astype(np.float64)
        headline = np.minimum(1.0, 2.0 * p.min(axis=0))
        np.add.at(self.rows[block], stratum, 1)
        # The smallest p of a list is 1 / (1 + entries); the headline doubles it.
        for which, (values, smallest) in enumerate(((p[0], 1), (p[1], 1), (headline, 2))):
            for at, level in enumerate(LEVELS):
                np.add.at(self.hits[block, :, which, at], stratum, values <= level)
                can = (1 + entries) * level >= smallest
                np.add.at(self.reachable[block, :, which, at], stratum, can)
        self._add_groups(block, result)

    def _add_groups(self, block: int, result: ScanResult) -> None:
        groups = result.groups
        fresh = groups.fresh & ~np.isnan(groups.score)
        kind = (groups.expiry_ns[fresh] == 0).astype(np.intp)
        for at, level in enumerate(LEVELS):
            np.add.at(self.group_hits[block, :, at], kind, groups.p[fresh] <= level)
            can = (1 + groups.reference_count[fresh]) * level >= 1
            np.add.at(self.group_reachable[block, :, at], kind, can)


@dataclass
class Run:
    """One simulated run, judged from the end of its warm-up on."""

    seed: int
    hours: int
    warm_up_hours: int
    listings: int
    tally: Tally
    opened: Counter[str] = field(default_factory=Counter)
    opened_by: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0

    @property
    def judged_hours(self) -> int:
        """Hours after the warm-up."""
        return self.hours - self.warm_up_hours


def calibrate(seed: int, hours: int, warm_up_hours: int, listings: int) -> Run:
    """Simulate, scan and count."""
    simulation = simulate_rows(seed, START_NS, hours * HOUR_S, listings)
    pipeline = Pipeline(ScanConfig())
    pipeline.scanner.add(simulation.listings)
    run = Run(
        seed, hours, warm_up_hours, len(simulation.listings), Tally(hours * HOUR_S // BLOCK_S)
    )
    began = time.perf_counter()
    for now_ns, rows, tickers in simulation:
        pipeline.apply(rows, tickers)
        alerts = pipeline.scan(now_ns)
        second = (now_ns - START_NS) // E9
        # A grid time belongs to the block that ends with it.
        run.tally.add(max(0, second - 1) // BLOCK_S, _last(pipeline))
        if second > warm_up_hours * HOUR_S:
            _count_opened(alerts, run)
        if second and second % 600 == 0:
            _tell(f"{second // 60} min simulated in {time.perf_counter() - began:.0f} s")
    run.took_s = time.perf_counter() - began
    return run


def _last(pipeline: Pipeline) -> ScanResult:
    assert pipeline.last_scan is not None
    return pipeline.last_scan


def _count_opened(alerts: Sequence[Alert], run: Run) -> None:
    for alert in alerts:
        if alert.state == "open":
            run.opened[alert.list] += 1
            strongest = alert.drivers[0].feature if alert.drivers else "none named"
            run.opened_by[f"{alert.list}: {strongest}"] += 1


def summarise(run: Run) -> dict[str, Any]:
    """All numbers of the page."""
    per_hour = HOUR_S // BLOCK_S
    first = run.warm_up_hours * per_hour
    tally = run.tally
    hits, reachable = tally.hits[first:], tally.reachable[first:]
    by_hour = tuple(
        x.reshape(run.judged_hours, per_hour, *x.shape[1:]).sum(axis=1) for x in (hits, reachable)
    )
    group_hits, group_reachable = tally.group_hits[first:], tally.group_reachable[first:]
    scale = 24.0 / run.judged_hours * 10_000.0 / run.listings
    return {
        "what": "realised over asked rates on the emulator's quiet market (simulated)",
        "machine": machine(),
        "seed": run.seed,
        "hours": run.hours,
        "warm_up_hours": run.warm_up_hours,
        "listings": run.listings,
        "took_s": round(run.took_s, 1),
        "rules": RULES,
        "levels": list(LEVELS),
        "scored_rows": int(tally.rows[first:].sum()),
        "overall": _named(hits.sum((0, 1)), reachable.sum((0, 1))),
        "interval": _intervals(hits.sum(1), reachable.sum(1), run.seed),
        "strata": {
            name: {
                "rows": int(tally.rows[first:, s].sum()),
                **_named(hits[:, s].sum(0), reachable[:, s].sum(0)),
            }
            for s, name in enumerate(STRATA)
        },
        "by_hour": {
            str(run.warm_up_hours + h): _named(by_hour[0][h].sum(0), by_hour[1][h].sum(0))
            for h in range(run.judged_hours)
        },
        "groups": {
            kind: {
                "scored": int(group_reachable[:, k, 0].sum()),
                "ratios": _ratios(group_hits[:, k].sum(0), group_reachable[:, k].sum(0)),
            }
            for k, kind in enumerate(GROUP_KINDS)
        },
        "opened": {name: run.opened[name] for name in ("spike", "broad", "group")},
        "opened_per_day_10k": {
            name: round(run.opened[name] * scale, 1) for name in ("spike", "broad", "group")
        },
        "opened_by": dict(run.opened_by.most_common()),
    }


def _ratios(hits: Counts, reachable: Counts) -> list[Ratio]:
    """Hits realised and asked at each level."""
    return [
        {"hits": int(h), "asked": round(int(n) * level, 2)}
        for h, n, level in zip(hits, reachable, LEVELS, strict=True)
    ]


def _named(hits: Counts, reachable: Counts) -> dict[str, list[Ratio]]:
    return {name: _ratios(hits[k], reachable[k]) for k, name in enumerate(LISTS)}


def _intervals(hits: Counts, reachable: Counts, seed: int) -> dict[str, list[list[float]]]:
    """Percentiles of the overall ratios over resampled blocks, [list][level]."""
    drawn = np.random.default_rng(seed).integers(0, len(hits), (DRAWS, len(hits)))
    asked = reachable[drawn].sum(1) * np.array(LEVELS)
    ratios = hits[drawn].sum(1) / np.maximum(asked, 1e-9)
    bounds = np.percentile(ratios, INTERVAL, axis=0)
    return {
        name: [[round(float(b), 3) for b in bounds[:, k, at]] for at in range(len(LEVELS))]
        for k, name in enumerate(LISTS)
    }


def machine() -> dict[str, str]:
    """Where and with what it ran."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "cross-market-scanner": version("cross-market-scanner"),
    }


def page(found: dict[str, Any]) -> str:
    """docs/CALIBRATION.md; every number in it is from the run."""
    return "\n".join([*_introduction(found), *_overall(found), *_details(found), *_alerts(found)])


def _introduction(found: dict[str, Any]) -> list[str]:
    parts = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    return [
        "# Calibration",
        "",
        "Written by `benchmarks/calibrate.py`; do not edit. **The market is simulated**: the",
        "emulator's quiet market, without planted events. It says that the machinery keeps what it",
        "promises on data that it was not fitted to, and nothing about a real market.",
        "",
        f"- run: seed {found['seed']}, {found['listings']:,} listings, {found['hours']} simulated",
        "  hours, one scan a second; the warm-up, which fills the reference and does not count, is",
        f"  {found['warm_up_hours']} h; {found['scored_rows']:,} scored rows count",
        f"- rules: {found['rules']}",
        f"- machine: {parts}; {found['took_s']:.0f} s",
        "",
        "Each number is a realised rate over the asked one: 1 is exact, 2 is twice as many as",
        "asked. Rows count for a level from when the reference was long enough to reach it. The",
        "headline is what an alert shows: min(1, 2 min(p spike, p broad)); it asks for less than",
        "its level, because both lists often name the same rows. A ratio in square brackets had",
        f"fewer than {FEW} hits to ask for and says little; - had none.",
        "",
    ]


def _overall(found: dict[str, Any]) -> list[str]:
    lines = ["## Overall", "", _head("list"), _rule()]
    for name in LISTS:
        cells = [
            f"{_cell(ratio)} ({low:.2f} to {high:.2f})"
            for ratio, (low, high) in zip(
                found["overall"][name], found["interval"][name], strict=True
            )
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for kind, group in found["groups"].items():
        cells = [_cell(ratio) for ratio in group["ratios"]]
        lines.append(f"| group, by {kind} | {' | '.join(cells)} |")
    low, high = (f"{x:g}" for x in INTERVAL)
    lines += [
        "",
        f"In brackets: the {low}th to {high}th percentile over {DRAWS:,} resamplings of blocks of",
        f"{BLOCK_S // 60} minutes, because neighbouring rows are not independent.",
        "",
    ]
    return lines


def _details(found: dict[str, Any]) -> list[str]:
    lines = ["## By stratum and by hour", ""]
    lines += ["Stratum: the time since the listing's previous observation.", ""]
    head = " | ".join(f"{name} {level:g}" for name in LISTS for level in LEVELS)
    width = len(LISTS) * len(LEVELS)
    lines += [f"| stratum | rows | {head} |", "|---|--:|" + "--:|" * width]
    for name, one in found["strata"].items():
        lines.append(f"| {name} | {one['rows']:,} | {_row(one)} |")
    lines += ["", f"| hour | {head} |", "|---|" + "--:|" * width]
    lines += [f"| {hour} | {_row(one)} |" for hour, one in found["by_hour"].items()]
    return [*lines, ""]


def _alerts(found: dict[str, Any]) -> list[str]:
    lines = [
        "## Alerts of a market without planted events",
        "",
        "Episodes that opened after the warm-up, with the default thresholds. Underlyings jump at",
        "random in this market (feeds/emulator/prices.py), which is an event that nobody planted:",
        "the alerts that anchored_mid leads mostly open within seconds of a jump.",
        "",
        "| list | opened | per day and 10,000 listings |",
        "|---|--:|--:|",
    ]
    for name, count in found["opened"].items():
        lines.append(f"| {name} | {count} | {found['opened_per_day_10k'][name]:,.0f} |")
    lines += ["", "| list and strongest driver at the opening | opened |", "|---|--:|"]
    lines += [f"| {name} | {count} |" for name, count in found["opened_by"].items()]
    return [*lines, ""]


def _head(first: str) -> str:
    return f"| {first} | " + " | ".join(f"{level:g}" for level in LEVELS) + " |"


def _rule() -> str:
    return "|---|" + "--:|" * len(LEVELS)


def _row(one: dict[str, Any]) -> str:
    return " | ".join(_cell(ratio) for name in LISTS for ratio in one[name])


def _cell(ratio: Ratio) -> str:
    """Realised over asked; in brackets where it says little, a dash where none could be."""
    if not ratio["asked"]:
        return "-"
    text = f"{ratio['hits'] / ratio['asked']:.2f}"
    return text if ratio["asked"] >= FEW else f"[{text}]"


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hours", type=int, default=4, help="simulated hours, warm-up included")
    parser.add_argument("--warm-up", type=int, default=1, help="hours that do not count")
    parser.add_argument("--listings", type=int, default=1_000, help="about how many options")
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--no-page", action="store_true", help="leave docs/CALIBRATION.md alone")
    options = parser.parse_args()
    if not 1 <= options.warm_up < options.hours:
        parser.error(f"--warm-up was {options.warm_up}, expected 1 to {options.hours - 1}")
    found = summarise(calibrate(options.seed, options.hours, options.warm_up, options.listings))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    text = page(found)
    if not options.no_page:
        PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
