"""One input through one venue's decoder, every way there is: what it reached, and what is wrong."""

import random
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from time import process_time
from typing import Any, Final

from benchmarks.fuzzing import checks
from benchmarks.fuzzing.arcs import Arcs
from benchmarks.fuzzing.mutate import Mutator
from benchmarks.fuzzing.seeds import Seeds
from benchmarks.venue_frames import START_NS
from feeds.bytescan.scanner import ByteScanner
from feeds.checksums import CheckedBooks
from feeds.errors import FrameError, SessionError
from feeds.events import DecodeOut
from feeds.sequence import SequenceTracker
from feeds.symbols import Symbols
from feeds.venue import ChannelNamer, Checksummer, Scanned, Venue
from tests.feeds.both_ways import contents
from tests.feeds.bounds import Bounds

RX_NS: Final = START_NS + 60 * 10**9  # of frames around an input; its own is one more
# Words of a message that say which check it was: without names, numbers and what was quoted.
_PLAIN: Final = re.compile(r"'[^']*'|\"[^\"]*\"|[^a-z`$.\[\] ]+")
MESSAGE_CHARS: Final = 80

Feature = tuple[Any, ...]


@dataclass(slots=True)
class Result:
    """What came of an input.

    features: arcs and answers; an input with a new one is kept.
    faults: rules that were broken.
    outcome: carried, skipped or failed; of a body read or refused.
    seconds: processor time of decoding it alone, by msgspec and untraced.
    out: what it became alone.
    """

    features: set[Feature] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    outcome: str = ""
    seconds: float = 0.0
    out: DecodeOut | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A frame beside another in a batch, and what it became alone at RX_NS."""

    content: bytes
    out: DecodeOut


class Trials:
    """Runs inputs of one venue, which are frames and discovery bodies.

    Attributes:
        seeds: where a search begins, by kind of input.
        files: those whose lines guide it; own: those that read what the venue sends.
    """

    def __init__(self, venue: Venue, found: Seeds) -> None:
        """Compile the venue's byte scanner where it has one."""
        self.venue = venue
        self.seeds = {"frame": found.frames, "body": found.bodies}
        self.files, self.own = found.files, found.own
        self.words = found.words
        self.ids = Symbols(found.ids)
        self.arcs = Arcs(found.files)
        self.scanner: ByteScanner | None = None
        self.bounds: Bounds | None = None
        if isinstance(venue, Scanned):
            venue.warm_up()
            scanner: ByteScanner = venue.decode.__globals__["SCANNER"]  # type: ignore[attr-defined]
            self.scanner = scanner
            self.bounds = Bounds(scanner, sys.modules[scanner.scan.__module__])
        self.neighbours = [self._neighbour(found.frames[0])]

    def mutator(self, rng: random.Random) -> Mutator:
        """What makes new inputs."""
        return Mutator(rng, self.words)

    def trial(self, kind: str, content: bytes, rng: random.Random) -> Result:
        """Run an input of a kind."""
        return self._frame(content, rng) if kind == "frame" else self._body(content)

    def keep(self, kind: str, content: bytes) -> None:
        """Let a frame stand beside others from now on."""
        if kind == "frame":
            self.neighbours.append(self._neighbour(content))

    def _frame(self, content: bytes, rng: random.Random) -> Result:
        """Decode a frame alone and between two others, by msgspec and scanned."""
        result, before, after = Result(), rng.choice(self.neighbours), rng.choice(self.neighbours)
        with caught(result.faults, "decode"):
            self._alone(content, result)
        if result.out is not None and not result.faults:
            with caught(result.faults, "batch"):
                self._between(content, result.out, before, after, result.faults)
        return result

    def _neighbour(self, content: bytes) -> Neighbour:
        out = DecodeOut()
        self._plain([content], [RX_NS], out)
        return Neighbour(content, out)

    def _body(self, content: bytes) -> Result:
        """Read a discovery body."""
        result = Result()
        self.arcs.taken = set()
        with caught(result.faults, "instruments"):
            result.seconds = self.timed("body", content)
            try:
                found = self.arcs.run(self.venue.instruments, content)
            except FrameError as error:
                result.outcome = "refused"
                result.features.add(("error", plain_words(error)))
            else:
                result.outcome = "read"
                result.features |= {("left out", plain_words(reason)) for reason in found.left_out}
                result.features |= {
                    ("listed", int(x.kind), x.right, x.settle) for x in found.listings
                }
                result.features |= {("conflict", plain_words(text)) for text in found.conflicts}
                self._ask_for(found, result)
        result.features |= self.arcs.taken
        return result

    def _ask_for(self, found: Any, result: Result) -> None:
        try:
            result.faults += checks.discovery_faults(self.venue, found)
        except SessionError as error:  # What a plan may say: a request would be too long.
            result.features.add(("error", plain_words(error)))

    def _alone(self, content: bytes, result: Result) -> None:
        """Decode one frame by msgspec, look at what it says, and scan it."""
        self.arcs.taken = set()
        out = DecodeOut()
        self.arcs.run(self._plain, [content], [RX_NS + 1], out)
        result.seconds = self.timed("frame", content)
        result.faults += checks.faults_of(out, [RX_NS + 1], len(self.ids))
        result.outcome = checks.outcome_of(out)
        if not result.outcome:
            result.faults.append("silent: the frame left no row, no count and no error")
        control = self.arcs.run(self.venue.control, content)
        channel = self.arcs.run(self.channel_of, content)
        result.faults += checks.control_faults(control, channel)
        if self.bounds is not None:
            self.arcs.run(self.bounds.over, [content], self.ids)
            scanned = DecodeOut()
            self.venue.decode([content], [RX_NS + 1], self.ids, scanned)
            result.faults += differences("scanned", contents(out), contents(scanned))
        result.features |= self.arcs.taken | set(answers_of(out, control))
        result.out = out

    def channel_of(self, content: bytes) -> str | None:
        """What a session asks about a frame's channel."""
        if not isinstance(self.venue, ChannelNamer):
            return None
        channel = self.venue.channel_of(content)
        if channel is not None:
            self.venue.symbol_of_channel(channel)
            self.venue.owes_first_frame(channel)
        return channel

    def _plain(self, frames: list[bytes], rx_ns: list[int], out: DecodeOut) -> None:
        with self.unscanned():
            self.venue.decode(frames, rx_ns, self.ids, out)

    @contextmanager
    def unscanned(self) -> Iterator[None]:
        """Leave everything to msgspec, as before the scanner is compiled."""
        if self.scanner is None:
            yield
            return
        compiled, self.scanner.compiled = self.scanner.compiled, None
        try:
            yield
        finally:
            self.scanner.compiled = compiled

    def timed(self, kind: str, content: bytes) -> float:
        """Processor time of decoding a frame by msgspec, or of reading a body."""
        out = DecodeOut()
        began = process_time()
        if kind == "frame":
            self._plain([content], [RX_NS + 1], out)
        else:
            with suppress(FrameError):
                self.venue.instruments(content)
        return process_time() - began

    def _between(
        self, content: bytes, out: DecodeOut, before: Neighbour, after: Neighbour, faults: list[str]
    ) -> None:
        """Decode a frame between two others, which must change in nothing, and let books take it."""
        frames, times = [before.content, content, after.content], [RX_NS, RX_NS + 1, RX_NS]
        wanted = contents(joined((before.out, out, after.out)))
        whole = DecodeOut()
        self._plain(frames, times, whole)
        faults += differences("neighbours", wanted, contents(whole))
        if self.scanner is not None:
            scanned = DecodeOut()
            self.venue.decode(frames, times, self.ids, scanned)
            faults += differences("scanned neighbours", wanted, contents(scanned))
        if isinstance(self.venue, Checksummer):
            CheckedBooks(self.venue.checksum).link(whole.frames.view(), whole.checks)
        SequenceTracker().accept(whole.frames.view(), whole.rows.view())


@contextmanager
def caught(faults: list[str], where: str) -> Iterator[None]:
    """Make a fault of any exception: none may leave a decoder."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = trace and f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        faults.append(f"raised: {type(error).__name__} in {where} at {place}: {str(error)[:200]}")


def plain_words(error: object) -> str:
    """The part of a message that does not depend on what the frame held."""
    return _PLAIN.sub("", str(error))[:MESSAGE_CHARS]


def answers_of(out: DecodeOut, control: Any) -> Iterable[Feature]:
    """What a decoder said, coarsely: kinds of rows, reasons, which fields were there."""
    for row in out.rows.view()[:64]:
        yield "row", *(int(row[name]) for name in ("kind", "side", "flags")), isnan(row["price"])
    for frame in out.frames.view():
        empty = bool(frame["row_begin"] == frame["row_end"])
        yield "frame", int(frame["kind"]), int(frame["seq_prev"]) < 0, empty
    for name in checks.FLOATS:
        for value in out.tickers.view()[name][:4].tolist():
            yield "ticker", name, isnan(value), value == 0
    for reason in out.skipped:
        yield "skipped", plain_words(reason)
    for error in out.errors:
        yield "error", plain_words(error)
    for notice in out.lifecycle:
        yield "notice", int(notice.state)
    if control is not None:
        yield ("control", *(bool(getattr(control, name)) for name in control.__dataclass_fields__))


def joined(parts: Iterable[DecodeOut]) -> DecodeOut:
    """What a batch must become whose frames became these."""
    whole = DecodeOut()
    for part in parts:
        frames = part.frames.view().copy()
        for name in ("row_begin", "row_end"):
            frames[name] += whole.rows.count
        whole.frames.extend(frames)
        whole.rows.extend(part.rows.view())
        whole.tickers.extend(part.tickers.view())
        whole.trade_keys += part.trade_keys
        whole.checks += part.checks
        whole.lifecycle += part.lifecycle
        whole.errors += part.errors[: whole.errors_kept - len(whole.errors)]
        whole.error_count += part.error_count
        for reason, count in part.skipped.items():
            whole.skipped[reason] = whole.skipped.get(reason, 0) + count
    return whole


PARTS: Final = (
    "rows", "tickers", "frames", "trade keys", "checks", "notices", "error count", "errors", "skipped",
)  # fmt: skip


def differences(what: str, wanted: tuple[Any, ...], found: tuple[Any, ...]) -> list[str]:
    """Names of the parts in which two contents differ."""
    return [
        f"{what}: other {part}" for part, a, b in zip(PARTS, wanted, found, strict=True) if a != b
    ]
