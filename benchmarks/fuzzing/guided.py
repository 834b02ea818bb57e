"""The search itself: inputs that reach something new are kept, and changed further."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Final, Protocol

from benchmarks.fuzzing.arcs import lines_of
from benchmarks.fuzzing.trial import Feature, Result

POOL_MAX: Final = 4000  # inputs kept of a target; more are not, and that is counted
ANSWERS_MAX: Final = 2000  # features beside arcs: messages could be of endless variety
FINDINGS_MAX: Final = 20
RARE_SHARE: Final = 0.15  # of the inputs: those of other kinds than the first
NEWEST: Final = 64  # half of the inputs are made of the newest so many
SOUND_SHARE: Final = 0.7  # of the inputs that are made of one that was not refused
SOUND: Final = ("carried", "read")
LOOKS: Final = (0.01, 0.03, 0.1, 0.3, 1.0)  # shares of the inputs after which progress is noted
SHRINKS_MAX: Final = 400
TIMED_AGAIN: Final = 5
FINDING_CHARS: Final = 60


class Makes(Protocol):
    """Makes an input of two others."""

    def mutated(self, text: bytes, other: bytes) -> bytes:
        """A changed text."""
        ...


class Target(Protocol):
    """What inputs are tried on: a venue's decoder, or another reader."""

    seeds: Mapping[str, tuple[bytes, ...]]
    files: tuple[Path, ...]
    own: tuple[Path, ...]

    def mutator(self, rng: random.Random) -> Makes:
        """What makes new inputs."""
        ...

    def trial(self, kind: str, content: bytes, rng: random.Random) -> Result:
        """Run an input."""
        ...

    def keep(self, kind: str, content: bytes) -> None:
        """Take note of an input that is kept."""
        ...

    def timed(self, kind: str, content: bytes) -> float:
        """Processor time that an input takes, alone and untraced."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that an input broke, and the input, shortened as long as it broke it."""

    fault: str
    kind: str
    content: bytes
    at_input: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search was after so many inputs, the seeds among them."""

    inputs: int
    arcs: int
    lines: int
    kept: int
    seconds: float


@dataclass(slots=True)
class Search:
    """A search through one target; equal names and seeds give equal searches.

    Attributes:
        pools: inputs that are kept, by kind.
        sound: those of them that were not refused.
        told: broken rules, by how often; findings has the first of each.
        slowest: seconds, kind and bytes of the input that took longest.
    """

    name: str
    target: Target
    seed: int
    pools: dict[str, list[bytes]] = field(init=False)
    sound: dict[str, list[bytes]] = field(init=False)
    reached: set[Feature] = field(default_factory=set)
    answers: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    inputs: int = 0
    not_kept: int = 0
    slowest: tuple[float, str, bytes] = (0.0, "", b"")
    _rng: random.Random = field(init=False)
    _began: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._rng = random.Random(f"{self.seed} {self.name}")
        self.pools = {kind: [] for kind in self.target.seeds}
        self.sound = {kind: [] for kind in self.target.seeds}

    def run(self, inputs: int) -> None:
        """Try the seeds, then so many inputs."""
        self._began = perf_counter()
        makes = self.target.mutator(self._rng)
        for kind, texts in self.target.seeds.items():
            for text in texts:
                self.try_one(kind, text, seed=True)
        self._note()
        first, *others = [kind for kind in self.pools if self.pools[kind]] or [""]
        inputs = inputs if first else 0  # No seed is sound: there is nothing to change.
        looks = {max(1, int(share * inputs)) for share in LOOKS}
        for number in range(1, inputs + 1):
            rare = others and self._rng.random() < RARE_SHARE
            kind = self._rng.choice(others) if rare else first
            self.try_one(kind, makes.mutated(self._pick(kind), self._pick(kind)))
            if number in looks:
                self._note()

    def try_one(self, kind: str, content: bytes, *, seed: bool = False) -> None:
        """Run one input; keep it where it reached something new, note what is wrong."""
        result = self.target.trial(kind, content, self._rng)
        self.inputs += 1
        self.outcomes[f"{kind} {result.outcome or 'silent'}"] += 1
        for fault in result.faults:
            self._found(kind, content, fault)
        if result.faults:
            return
        if result.seconds > self.slowest[0]:
            # The least of some times: what the others took longer was not for this input.
            seconds = min(self.target.timed(kind, content) for _ in range(TIMED_AGAIN))
            self.slowest = max(self.slowest, (seconds, kind, content))
        new = {f for f in result.features - self.reached if is_arc(f) or self.answers < ANSWERS_MAX}
        if new or seed:
            self.reached |= new
            self.answers += sum(not is_arc(feature) for feature in new)
            self._keep(kind, content, result)

    def digest(self) -> str:
        """Hash of all inputs kept, in order: equal where a search repeats another."""
        told = blake2b(digest_size=8)
        for kind, pool in self.pools.items():
            for content in pool:
                told.update(b"%b %d %b" % (kind.encode(), len(content), content))
        return told.hexdigest()

    def _keep(self, kind: str, content: bytes, result: Result) -> None:
        if len(self.pools[kind]) >= POOL_MAX:
            self.not_kept += 1
            return
        self.pools[kind].append(content)
        self.target.keep(kind, content)
        if result.outcome in SOUND:
            self.sound[kind].append(content)

    def _pick(self, kind: str) -> bytes:
        """An input to change: most that are refused differ from others in the message alone."""
        pool = (self._rng.random() < SOUND_SHARE and self.sound[kind]) or self.pools[kind]
        return self._rng.choice(pool[-NEWEST:] if self._rng.random() < 0.5 else pool)

    def _found(self, kind: str, content: bytes, fault: str) -> None:
        rule = fault[:FINDING_CHARS] if fault.startswith("raised") else fault.partition(": ")[0]
        self.told[rule] += 1
        if self.told[rule] == 1 and len(self.findings) < FINDINGS_MAX:
            state = self._rng.getstate()
            shrunk = self._shrunk(kind, content, rule)
            self._rng.setstate(state)
            self.findings.append(Finding(fault, kind, shrunk, self.inputs))

    def _shrunk(self, kind: str, content: bytes, rule: str) -> bytes:
        """The input without the parts that the rule is broken without, after some tries."""
        tries, size = 0, max(1, len(content) // 2)
        while size and tries < SHRINKS_MAX:
            at = 0
            while at < len(content) and tries < SHRINKS_MAX:
                shorter = content[:at] + content[at + size :]
                faults = self.target.trial(kind, shorter, self._rng).faults
                tries += 1
                if any(fault.startswith(rule) for fault in faults):
                    content = shorter
                else:
                    at += size
            size //= 2
        return content

    def _note(self) -> None:
        arcs = {feature for feature in self.reached if is_arc(feature)}
        kept = sum(map(len, self.pools.values()))
        seconds = perf_counter() - self._began
        self.progress.append(Progress(self.inputs, len(arcs), len(lines_of(arcs)), kept, seconds))


def is_arc(feature: Feature) -> bool:
    """Whether a feature is a step between lines, and no answer."""
    return len(feature) == 3 and isinstance(feature[1], int) and str(feature[0]).endswith(".py")
