"""`make soak`: hours of all venues in a time of its own, with everything that can go wrong.

    .venv/bin/python benchmarks/soak.py [--hours 2] [--seed 7] [--venues deribit,okx] [--intensity 1]

The product's own run (sessions on real sockets, journal, decoders, books, scans, alerts) follows
the emulators of all venues over one market, while faults are planted at random from the seed. It
fails, with the seed and the simulated time, where a book that is held for known is not the
market's, a book stays unknown, a task, socket or file is left, memory grows, counts do not add up,
or a replay of the journal says anything else. With the defaults, raw results go to
benchmarks/results/soak.json, and docs/SOAK.md is brought up to date from them.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.soaking import ends, report  # noqa: E402
from benchmarks.soaking.checks import Violation, Watch  # noqa: E402
from benchmarks.soaking.plan import KINDS, deal  # noqa: E402
from benchmarks.soaking.world import NotSettledError, SoakWorld  # noqa: E402
from feeds.emulator.servers import SERVERS  # noqa: E402
from feeds.venues import warm_up  # noqa: E402

RESULTS: Final = ROOT / "benchmarks" / "results" / "soak.json"
LIVE_S: Final = 120.0  # Simulated: until every book of every venue is known for the first time.
CALM_S: Final = 600.0  # Simulated: at the end without new faults; every book must be right then.
VIOLATIONS_MAX: Final = 20  # More say nothing new.
SAMPLE_S: Final = 60.0
TELL_S: Final = 300.0


@dataclass(slots=True)
class Options:
    """What to run; settings: keys of the configuration beside the soak's own."""

    seconds: float = 7200.0
    seed: int = 7
    venues: Sequence[str] = tuple(SERVERS)
    intensity: float = 1.0
    calm_s: float = CALM_S
    kinds: Sequence[str] = KINDS
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What a soak came to."""

    options: Options
    world: SoakWorld
    watch: Watch
    samples: ends.Samples
    violations: list[Violation]
    struck: dict[str, dict[str, int]] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)  # the run's own summary
    wall_s: dict[str, float] = field(default_factory=dict)
    audit: ends.Audit = field(default_factory=ends.Audit)
    processor_s: float = 0.0
    segments: int = 0
    journal_bytes: int = 0


async def become_live(world: SoakWorld, watch: Watch) -> None:
    """Run until every book is known."""
    while world.now_s < LIVE_S:
        await world.step()
        looks = {name: check.look() for name, check in watch.checks.items()}
        if all(look.compared and not len(look.unknown) for look in looks.values()):
            for check in watch.checks.values():
                check.expect_what_is_listed()
            return
    for name, look in looks.items():
        if not look.compared or len(look.unknown):
            trouble = world.live.sessions[name].trouble
            watch.fail(name, f"{len(look.unknown)} books are unknown after {LIVE_S} s: {trouble}")


async def disturb(world: SoakWorld, watch: Watch, options: Options, outcome: Outcome) -> None:
    """Plant faults and check every quantum, until the time is over and all is whole again."""
    plans = deal(list(world.servers), options.seed, options.intensity, options.kinds)
    sampled_s = told_s = -1e9
    began = time.monotonic()
    while world.now_s < options.seconds and len(watch.violations) < VIOLATIONS_MAX:
        await world.step()
        watch.look()
        if world.now_s - sampled_s >= SAMPLE_S:
            sampled_s = world.now_s
            outcome.samples.take(sampled_s)
        if world.now_s - told_s >= TELL_S:
            told_s = world.now_s
            report.tell(outcome, time.monotonic() - began)
        if world.now_s < options.seconds - options.calm_s:
            watch.plant_due(plans)
    for name in world.servers:
        if not watch.whole[name]:
            watch.fail(name, f"not whole at the end: {watch.state_of(name)}")


async def run(options: Options, folder: Path) -> Outcome:
    """The run itself; its tasks are over when it returns."""
    async with SoakWorld(options.venues, options.seed, folder, options.settings) as world:
        watch = Watch(world)
        outcome = Outcome(options, world, watch, ends.Samples(), watch.violations)
        try:
            await become_live(world, watch)
            if not watch.violations:
                await disturb(world, watch, options, outcome)
        except NotSettledError as error:
            watch.fail("", str(error))
        outcome.struck = {name: dict(s.faults.struck) for name, s in world.servers.items()}
    outcome.told = world.live.summary()
    for _ in range(100):  # Sockets are closed in the turns that follow.
        await asyncio.sleep(0)
    left = sorted(task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()})
    if left:
        watch.fail("", f"tasks are left: {left[:5]}")
    return outcome


def soak(options: Options, folder: Path) -> Outcome:
    """Run, and check what is left and what was recorded; violations are in the outcome."""
    warm_up()
    held = ends.Held.now()
    outcome, wall_s = _timed(lambda: asyncio.run(run(options, folder)))
    outcome.wall_s["run"], outcome.processor_s = wall_s, time.process_time()
    fail = outcome.watch.fail
    for what in [
        *held.left_by(ends.Held.now()),
        *outcome.samples.faults(),
        *ends.journal_faults(folder, outcome.world.config),
    ]:
        fail("", what)
    segments = [path.stat().st_size for path in folder.glob("segment-*")]
    outcome.segments, outcome.journal_bytes = len(segments), sum(segments)
    outcome.audit, outcome.wall_s["audit"] = _timed(lambda: ends.audit(folder))
    for what in ends.count_faults(outcome.audit, outcome.world):
        fail("", what)
    told = outcome.told
    wrong, outcome.wall_s["replay"] = _timed(
        lambda: ends.replay_faults(folder, outcome.world.config, told)
    )
    for what in wrong:
        fail("", what)
    return outcome


def _timed(what: Callable[[], Any]) -> tuple[Any, float]:
    began = time.monotonic()
    found = what()
    return found, time.monotonic() - began


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=2.0, help="simulated hours")
    parser.add_argument("--seed", type=int, default=7, help="decides market, faults and jitter")
    parser.add_argument("--venues", default=",".join(SERVERS), help="comma separated")
    parser.add_argument(
        "--intensity", type=float, default=1.0, help="faults come so many times as often"
    )
    parser.add_argument("--folder", type=Path, help="keep the recording here")
    parser.add_argument(
        "--write", action="store_true", help="write the results with other settings, too"
    )
    return parser.parse_args()


def main() -> None:
    """Run as the command line says; exits with 1 where anything was violated."""
    asked = arguments()
    options = Options(
        asked.hours * 3600.0, asked.seed, tuple(asked.venues.split(",")), asked.intensity
    )
    options.calm_s = min(CALM_S, options.seconds / 4)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        outcome = soak(options, folder)
    finally:
        if asked.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    found = report.summary(outcome)
    print("\n".join(report.page(found)))
    for violation in outcome.violations:
        print(
            f"VIOLATION seed {options.seed} at {violation.at_s:.1f} s {violation.venue}: {violation.what}"
        )
    if asked.write or len(sys.argv) == 1:
        RESULTS.write_text(json.dumps(found, indent=1))
        report.write(found, ROOT / "docs" / "SOAK.md")
    sys.exit(1 if outcome.violations else 0)


if __name__ == "__main__":
    main()
