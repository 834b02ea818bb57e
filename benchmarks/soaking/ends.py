"""What is checked once a run is over: what it left behind, what its journal says, its replay."""

import ctypes
import gc
import os
import re
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import pyarrow as pa

from benchmarks.fuzzing.checks import outcome_of
from feeds.errors import FrameError
from feeds.events import DecodeOut
from feeds.record import RecordType
from feeds.replay import read_journal
from feeds.venues import VENUES
from scanner.alert import encode
from scanner.commands.live import ALERTS_NAME
from scanner.config import ScanConfig
from scanner.pipeline import Pipeline
from scanner.replay import replay_journal

PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 1e6
WARM_UP_SHARE: Final = 0.25
# The least that is in use may rise so much an hour after the warm-up: a hundredth of the frames,
# kept, would be as much.
GROWTH_MB_PER_H_MAX: Final = 8.0
MEGABYTE: Final = 1 << 20
AUDITED: Final = 7  # Prime: no venue's rhythm hides a kind of frame from it.
LIVE_ONLY: Final = frozenset({"overruns", "forced_drains", "clock_steps", "journal_lost"})
REPLAY_ONLY: Final = frozenset(
    {"records", "truncated", "lost_bytes", "batch_mismatches", "same_config", "same_version"}
)


def resident_mb() -> float:
    """What the process holds in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MB


class _Mallinfo2(ctypes.Structure):
    """What glibc says of its heaps, bytes: mallinfo2(3)."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def in_use_mb() -> float:
    """What is allocated and not freed: of malloc, of Arrow, and of Python's own small blocks.

    Unlike what is resident it knows no holes, so that what swings is what is really held.
    """
    say = ctypes.CDLL(None).mallinfo2
    say.restype = _Mallinfo2
    heaps = say()
    return (heaps.uordblks + heaps.hblkhd + pa.total_allocated_bytes() + _python_bytes()) / 1e6


def _python_bytes() -> int:
    """Bytes in Python's allocated small blocks, which it tells to the error stream alone."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            sys._debugmallocstats()  # noqa: SLF001 - nothing public has it
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        (told,) = re.findall(rb"# bytes in allocated blocks\s*=\s*([\d,]+)", file.read())
    return int(told.replace(b",", b""))


def descriptors() -> int:
    """Open files and sockets of the process."""
    return len(os.listdir("/proc/self/fd")) - 1  # Without the one that lists them.


@dataclass(slots=True)
class Held:
    """What the process holds beside memory."""

    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> "Held":
        """What is held now, rubbish taken away."""
        gc.collect()
        return cls(descriptors(), threading.active_count())

    def left_by(self, after: "Held") -> list[str]:
        """What is there afterwards and was not before."""
        pairs = (
            ("descriptors", self.descriptors, after.descriptors),
            ("threads", self.threads, after.threads),
        )
        return [f"{b} {name}, expected {a} as before the run" for name, a, b in pairs if b > a]


@dataclass(slots=True)
class Samples:
    """Memory, resident and in use, and descriptors over simulated time."""

    at_s: list[float] = field(default_factory=list)
    mb: list[float] = field(default_factory=list)  # resident
    in_use: list[float] = field(default_factory=list)  # MB
    open: list[int] = field(default_factory=list)

    def take(self, at_s: float) -> None:
        """Add a sample of what is held: what is free is given back to the system before."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        pa.default_memory_pool().release_unused()
        self.at_s.append(at_s)
        self.mb.append(resident_mb())
        self.in_use.append(in_use_mb())
        self.open.append(descriptors())

    @property
    def warm(self) -> int:
        """Index of the first sample after the warm-up."""
        return int(len(self.mb) * WARM_UP_SHARE)

    @property
    def least_mb(self) -> tuple[float, float]:
        """Least in use in the first and in the second half of the time after the warm-up."""
        used, middle = self.in_use, (self.warm + len(self.in_use)) // 2
        return min(used[self.warm : middle], default=0.0), min(used[middle:], default=0.0)

    @property
    def growth_mb_per_h(self) -> float:
        """How the least in use rose from one half to the next, MB a simulated hour.

        What is held shows in the least: what bursts and waiting rows take comes and goes.
        """
        first, second = self.least_mb
        half_h = (self.at_s[-1] - self.at_s[self.warm]) / 7200.0
        return (second - first) / half_h if half_h else 0.0

    def faults(self) -> list[str]:
        """Why memory or descriptors are not flat."""
        if (
            not self.at_s or self.at_s[-1] < 1800.0
        ):  # A line through a few minutes says nothing of hours.
            return []
        found = []
        if self.growth_mb_per_h > GROWTH_MB_PER_H_MAX:
            found.append(
                f"the least memory in use grew by {self.growth_mb_per_h:.1f} MB a simulated hour, "
                f"expected at most {GROWTH_MB_PER_H_MAX}"
            )
        half = len(self.open) // 2
        if max(self.open[half:]) > max(self.open[:half]) + 8:
            found.append(
                f"descriptors grew from {max(self.open[:half])} to {max(self.open[half:])}"
            )
        return found


@dataclass(slots=True)
class Audit:
    """Frames of a journal, and what became of every AUDITED-th of them, decoded alone.

    A frame carries rows, or is skipped or failed with a count; `silent` ones do none of it.
    records: all frames, by venue.
    """

    records: Counter[str] = field(default_factory=Counter)
    carried: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    silent: list[str] = field(default_factory=list)


def audit(folder: Path) -> Audit:
    """Read a journal from its files and decode each frame by itself."""
    found = Audit()
    symbols: dict[str, dict[str, int]] = {name: {} for name in VENUES}
    for record in read_journal(folder):
        if record.type is RecordType.FRAME:
            found.records[record.venue] += 1
            if found.records[record.venue] % AUDITED == 0:
                _audit_frame(
                    record.venue, record.payload, record.rx_ns, symbols[record.venue], found
                )
        elif record.type is RecordType.HTTP and record.name.startswith("instruments"):
            known = symbols[record.venue]
            try:
                for listing in VENUES[record.venue].instruments(record.payload).listings:
                    known.setdefault(listing.symbol, len(known))
            except FrameError:
                found.records["bodies failed"] += 1
    return found


def _audit_frame(
    venue: str, frame: bytes, rx_ns: int, symbols: dict[str, int], found: Audit
) -> None:
    out = DecodeOut()
    VENUES[venue].decode([frame], [rx_ns], symbols, out)
    outcome = outcome_of(out)
    if outcome:
        counts: Counter[str] = getattr(found, outcome)
        counts[venue] += 1
    else:
        found.silent.append(f"{venue}: {frame[:200]!r}")


def count_faults(found: Audit, world: Any) -> list[str]:
    """Where the counts of sessions, journal, handlers and engine do not add up."""
    live, wrong = world.live, list(found.silent[:5])
    for name, session in live.sessions.items():
        counts = live.intake.counts[name]
        pairs = (
            ("the session's frames and those delivered", session.counts.frames, world.journaled[name].total),
            ("frames delivered and in the journal's files", world.journaled[name].total, found.records[name]),
            ("frames of the journal and of the handler", found.records[name], counts["frames"]),
            ("frames and their outcomes", found.records[name] // AUDITED,
             found.carried[name] + found.skipped[name] + found.failed[name]),
        )  # fmt: skip
        wrong += [f"{name}: {what} are {a} and {b}" for what, a, b in pairs if a != b]
    rows = live.pipeline.scanner.row_counts()
    refused = sum(
        rows[name]
        for name in ("rows_rejected", "rows_unknown_listing", "rows_off_grid", "rows_bad_size")
    )
    events = sum(counts["rows"] for counts in live.intake.counts.values())
    waiting = live.pipeline.scanner.pending_rows
    applied = rows["rows_applied"] + refused + waiting
    if not events == live.pipeline.counts.events == applied:
        wrong.append(
            f"rows of handlers, pipeline, engine are {events}, {live.pipeline.counts.events}, {applied}"
        )
    if live.journal.lost or world.overruns or refused:
        wrong.append(
            f"lost {live.journal.lost} records, missed {world.overruns} ticks, refused {refused} rows"
        )
    return wrong


def journal_faults(folder: Path, config: ScanConfig) -> list[str]:
    """Segments above their bound: the size at which one is closed, and a batch."""
    limits = config.limits
    batch_mb = 2 * limits.journal_flush_mb + config.record.segment_mb
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("segment-*"))}
    if not sizes:
        return ["no segment was written"]
    return [
        f"{name} has {size} bytes, expected at most {batch_mb} MB"
        for name, size in sizes.items()
        if size > batch_mb * MEGABYTE
    ]


def replay_faults(folder: Path, config: ScanConfig, told: dict[str, Any]) -> list[str]:
    """Where a replay of the journal says anything else than the run did."""
    pipeline, extra = Pipeline(config), {}
    lines = b""
    for _, alerts in replay_journal(folder, config, pipeline, extra):
        lines += b"".join(encode(alert) + b"\n" for alert in alerts)
    summary = pipeline.summary(extra)
    wrong = []
    written = folder / ALERTS_NAME  # Not there where there was no alert.
    if lines != (written.read_bytes() if written.exists() else b""):
        wrong.append("the replay's alerts are other bytes")
    if not lines:
        wrong.append("there were no alerts to compare")
    wrong += [
        f"replay: {key} was {summary[key]}, expected 0"
        for key in ("batch_mismatches", "lost_bytes")
        if summary[key]
    ]
    ours = {k: v for k, v in summary.items() if k not in REPLAY_ONLY}
    theirs = {k: v for k, v in told.items() if k not in LIVE_ONLY}
    wrong += [
        f"replay: {k} was {ours.get(k)}, expected {v}"
        for k, v in theirs.items()
        if ours.get(k) != v
    ]
    return wrong
