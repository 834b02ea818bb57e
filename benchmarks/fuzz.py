"""`make fuzz`: every decoder against inputs that are changed further wherever they reach new lines.

    .venv/bin/python benchmarks/fuzz.py [--inputs 5000] [--seed 7] [--venues deribit,okx]

Begins with frames and discovery bodies of the emulators (of Databento's format with whole files), changes them
by bytes and by structure, and keeps what takes a new step from line to line of the decoder (traced in plain Python, a byte scanner
uncompiled), or makes it say something new. Any bytes must give rows or a counted FrameError, the same
by msgspec alone and scanned, alone and between other frames. A search is repeated by its seed and
number of inputs. It ends with 1 where a rule was broken, and prints the shortened inputs. With the
defaults, raw results go to benchmarks/results/fuzz.json, and docs/FUZZ.md is brought up to date.
"""

import argparse
import json
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.fuzzing import dbn, report  # noqa: E402
from benchmarks.fuzzing.dbn import DbnTrials  # noqa: E402
from benchmarks.fuzzing.guided import Makes, Search, Target  # noqa: E402
from benchmarks.fuzzing.seeds import seeds_of  # noqa: E402
from benchmarks.fuzzing.stretch import Growth, growth_of  # noqa: E402
from benchmarks.fuzzing.trial import Result, Trials  # noqa: E402
from feeds.venues import VENUES  # noqa: E402

RESULTS: Final = ROOT / "benchmarks" / "results" / "fuzz.json"
INPUTS: Final = 5_000
LIMIT_S: Final = 20.0  # of one input: some ten thousand times what one takes


class Watched:
    """A target whose trials end after LIMIT_S, as an exception, which is a fault."""

    def __init__(self, target: Target) -> None:
        self.target, self.seeds = target, target.seeds
        self.files, self.own = target.files, target.own
        signal.signal(signal.SIGALRM, _too_long)

    def mutator(self, rng: random.Random) -> Makes:
        """As the target's."""
        return self.target.mutator(rng)

    def trial(self, kind: str, content: bytes, rng: random.Random) -> Result:
        """As the target's, as long as it may take."""
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            return self.target.trial(kind, content, rng)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def keep(self, kind: str, content: bytes) -> None:
        """As the target's."""
        self.target.keep(kind, content)

    def timed(self, kind: str, content: bytes) -> float:
        """As the target's."""
        return self.target.timed(kind, content)


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"an input took longer than {LIMIT_S} s")


def search_of(name: str, seed: int) -> Search:
    """A search that has not begun."""
    target: Target = DbnTrials() if name == dbn.NAME else Trials(VENUES[name], seeds_of(name))
    return Search(name, Watched(target), seed)


def run(names: list[str], inputs: int, seed: int) -> dict[str, tuple[Search, Growth]]:
    """Search through targets, one after the other."""
    found = {}
    for name in names:
        search = search_of(name, seed)
        search.run(inputs)
        found[name] = (search, growth_of(search))
        report.tell(search)
    return found


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--inputs", type=int, default=INPUTS, help="of each venue, beside the seeds"
    )
    parser.add_argument("--seed", type=int, default=7, help="decides every input")
    targets = ",".join((*VENUES, dbn.NAME))
    parser.add_argument("--venues", default=targets, help="comma separated")
    parser.add_argument(
        "--write", action="store_true", help="write the results with other settings, too"
    )
    return parser.parse_args()


def main() -> None:
    """Run as the command line says; exits with 1 where a rule was broken."""
    asked = arguments()
    began = perf_counter()
    found = run(asked.venues.split(","), asked.inputs, asked.seed)
    options: Mapping[str, Any] = {"inputs": asked.inputs, "seed": asked.seed}
    summary = report.summary(found, options, perf_counter() - began)
    print("\n".join(report.page(summary)))
    findings = [(name, f) for name, (search, _) in found.items() for f in search.findings]
    for name, finding in findings:
        print(
            f"FINDING {name} {finding.kind} after {finding.at_input}: {finding.fault}\n    {finding.content!r}"
        )
    if asked.write or len(sys.argv) == 1:
        RESULTS.write_text(json.dumps(summary, indent=1) + "\n")
        report.write(summary, ROOT / "docs" / "FUZZ.md")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
