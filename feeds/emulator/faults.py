"""Stage 1 of 8, simulated: what can go wrong on a wire, on request and repeatable.

| kind           | what it does                                                         | reads   |
|----------------|----------------------------------------------------------------------|---------|
| gap            | drops the next `count` frames of matching channels                   | channel |
| duplicate      | sends the next `count` frames twice                                  | channel |
| reorder        | holds the next frame back until after its follower, `count` times    | channel |
| truncate       | cuts the next `count` frames to a random part                        | channel |
| huge           | pads the next `count` frames to `bytes`                              | channel |
| unknown        | adds a field nobody documented to every object of the next `count`   | channel |
| retype         | makes the bids of the next `count` frames a number                   | channel |
| wrong_types    | gives any one value of each of the next `count` frames another type  | channel |
| garbage        | sends `count` frames of random text to every connection              |         |
| disconnect     | drops every connection without a closing handshake                   |         |
| restart        | drops every connection, is away for `seconds`, numbers begin anew    |         |
| silence        | sends nothing on matching channels for `seconds`                     | channel |
| half_open      | connections of this moment neither send nor answer for `seconds`     |         |
| refuse         | leaves matching channels out of the next `count` acknowledgements    | channel |
| limit          | refuses the next `count` requests as too many                        | path    |
| unknown_kind   | adds an instrument of an unknown kind to `count` discovery answers   | path    |
| skew           | adds `ms` to every venue time stamp from now on                      |         |
| clock_step     | adds `ms` more for `seconds`, then steps back                        |         |
| burst          | `factor` frames where one would be, on book and ticker channels, for | channel |
|                | `seconds`; book chains stay whole and end at the true book           |         |
| empty_book     | no maker quotes option `symbol` for `seconds`                        | symbol  |
| crossed_book   | its best bid stands above its best ask for `seconds`                 | symbol  |
| expire         | ends option `symbol` now                                             | symbol  |
| list           | lists a hidden spare instrument now                                  |         |

`channel` is a prefix (`book.BTC-27MAR26-100000-C.`); `symbol` alone means the books of one
instrument, and with neither every book channel. A channel that begins with `/` is the path of
answers over REST, which truncate, huge, unknown, retype and wrong_types alter too; limit without
one means requests over sockets, unknown_kind without one every answer. A fault begins with the
first step whose number is at least `at_step` (the next one without it), counts frames of channels
and not of connections, and draws from a generator of (seed, step), so a run with the same seed,
requests and steps repeats it.
"""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
import numpy as np

from feeds.contract import E9
from feeds.emulator.garble import with_strange_entry, with_unknown_fields, with_wrong_type

FaultKind = Literal[
    "gap", "duplicate", "reorder", "truncate", "huge", "unknown", "retype", "wrong_types",
    "garbage", "disconnect", "restart", "silence", "half_open", "refuse", "limit", "unknown_kind",
    "skew", "clock_step", "burst", "empty_book", "crossed_book", "expire", "list",
]  # fmt: skip
FAULTS_MAX: Final = 1_000  # waiting or active at a time; more are refused
ALTERING: Final = frozenset({"truncate", "huge", "unknown", "retype", "wrong_types"})
FRAME_FAULTS: Final = ALTERING | {"gap", "duplicate", "reorder"}
COUNTED: Final = FRAME_FAULTS | {"refuse", "limit", "unknown_kind"}
TIMED: Final = frozenset({"silence", "burst", "clock_step"})
BOOK_WORDS: Final = ("book", "depth")
# The words of venues for the bids of a book or a quote.
_BIDS: Final = re.compile(rb'"(bids|b|buy|bid_changes)":(\[|")')
_GARBAGE_BYTES: Final = 200
_NEVER: Final = int(np.iinfo(np.int64).max)


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """A request for one fault; see the table of the module."""

    kind: FaultKind
    channel: str | None = None
    symbol: str | None = None
    count: int = 1
    seconds: float = 0.0
    ms: int = 0
    factor: int = 100
    at_step: int = 0
    bytes: int = 1 << 21


def is_book(channel: str, symbol: str | None, words: tuple[str, ...] = BOOK_WORDS) -> bool:
    """Say whether a channel carries books, by words in its name; of one instrument, or of any.

    Channels may write symbols in either case.
    """
    text = channel.lower()
    if not any(word in text for word in words):
        return False
    if symbol is None:
        return True
    before, found, after = text.partition(symbol.lower())
    # `BTC-USD` is not what `books:BTC-USD-SWAP` is about.
    return bool(found) and not _goes_on(before[-1:]) and not _goes_on(after[:1])


@dataclass(slots=True)
class _Active:
    """A fault under way. until_ns: simulated time at which it ends; left: frames still to hit."""

    fault: Fault
    until_ns: int
    left: int


@dataclass(slots=True)
class Faults:
    """Faults of one server; counts how often each kind struck.

    is_book: says whether a channel carries the books of a symbol, or any books (None).
    """

    seed: int
    is_book: Callable[[str, str | None], bool] = is_book
    struck: dict[str, int] = field(default_factory=dict)
    _waiting: deque[Fault] = field(default_factory=deque)
    _active: list[_Active] = field(default_factory=list)
    _held: dict[str, bytes] = field(default_factory=dict)
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(self, fault: Fault) -> bool:
        """Queue a fault; False where the list is full."""
        if len(self._waiting) + len(self._active) >= FAULTS_MAX:
            return False
        self._waiting.append(fault)
        return True

    def begin_step(self, index: int, now_ns: int) -> list[Fault]:
        """Start and end faults; returns those the server itself must act on in this step."""
        if not self._waiting and not self._active:
            return []
        self._rng = np.random.default_rng([self.seed, index])
        self._active = [a for a in self._active if a.left > 0 and a.until_ns > now_ns]
        begun = [fault for fault in self._waiting if fault.at_step <= index]
        self._waiting = deque(fault for fault in self._waiting if fault.at_step > index)
        at_once = []
        for fault in begun:
            if fault.kind in COUNTED:
                self._active.append(_Active(fault, _NEVER, fault.count))
            elif fault.kind in TIMED:
                until_ns = now_ns + int(fault.seconds * E9)
                self._active.append(_Active(fault, until_ns, _NEVER))
            else:
                self._count(fault.kind)
                at_once.append(fault)
        return at_once

    def deliver(self, channel: str, content: bytes) -> list[bytes]:
        """What reaches the subscribers in place of one frame of a channel."""
        if not self._active and not self._held:
            return [content]
        held = self._held.pop(channel, None)
        frames = [content]
        for active in self._active:
            kind = active.fault.kind
            # A frame that lets an older one go is not held back itself: nothing would swap.
            if kind == "reorder" and held is not None:
                continue
            if active.left > 0 and self._concerns(active.fault, channel):
                frames = self._strike(active, channel, frames)
        return frames if held is None else [*frames, held]

    def holds(self, channel: str) -> bool:
        """Whether a frame of a channel waits for its follower."""
        return channel in self._held

    def lose_held(self) -> None:
        """Forget the frames held back: they were on connections that are gone."""
        self._held.clear()

    def refused(self, channel: str) -> bool:
        """Say whether a channel is to be left out of an acknowledgement, and count it."""
        return self._spend("refuse", lambda fault: self._concerns(fault, channel))

    def limited(self, path: str | None) -> bool:
        """Say whether a request is to be refused as one too many; path: of REST, None else."""
        return self._spend("limit", lambda fault: _of_path(fault, path))

    def answer(self, path: str, body: bytes, kind_field: str, name_field: str) -> bytes:
        """What is answered over REST in place of a body.

        kind_field, name_field: where the venue's instruments say what they are and their name.
        """
        for active in self._active:
            fault = active.fault
            if active.left <= 0 or not path.startswith(fault.channel or "/"):
                continue
            altered = body
            if fault.kind == "unknown_kind":
                altered = with_strange_entry(body, kind_field, name_field)
            elif fault.kind in ALTERING and fault.channel is not None:
                altered = self._altered(fault, body)
            if altered != body:
                active.left -= 1
                self._count(fault.kind)
                body = altered
        return body

    def clock_ms(self) -> int:
        """What the steps under way add to the venue's clock, ms."""
        return sum(a.fault.ms for a in self._active if a.fault.kind == "clock_step")

    def burst_factor(self, channel: str) -> int:
        """Frames to send where one would be."""
        factors = [
            active.fault.factor
            for active in self._active
            if active.fault.kind == "burst" and self._concerns(active.fault, channel)
        ]
        return max(factors, default=1)

    def garbage(self) -> bytes:
        """Printable text that is no message."""
        size = int(self._rng.integers(1, _GARBAGE_BYTES))
        return self._rng.integers(32, 127, size, dtype=np.uint8).tobytes()

    def _concerns(self, fault: Fault, channel: str) -> bool:
        """Say whether a fault is about a channel."""
        if fault.channel is not None:
            return channel.startswith(fault.channel)
        return self.is_book(channel, fault.symbol)

    def _spend(self, kind: str, concerns: Callable[[Fault], bool]) -> bool:
        """Use one strike of the first fitting fault of a kind; False where there is none."""
        for active in self._active:
            if active.fault.kind == kind and active.left > 0 and concerns(active.fault):
                active.left -= 1
                self._count(kind)
                return True
        return False

    def _strike(self, active: _Active, channel: str, frames: list[bytes]) -> list[bytes]:
        """Apply one active fault to the frames of a channel."""
        kind = active.fault.kind
        if not frames or (kind not in FRAME_FAULTS and kind != "silence"):
            return frames
        active.left -= 1
        self._count(kind)
        if kind in ("gap", "silence"):
            return []
        if kind == "duplicate":
            return [content for content in frames for _ in range(2)]
        if kind in ALTERING:
            return [self._altered(active.fault, content) for content in frames]
        self._held[channel] = frames[-1]
        return frames[:-1]

    def _altered(self, fault: Fault, content: bytes) -> bytes:
        """A text as a fault leaves it."""
        if fault.kind == "huge":
            return content.ljust(fault.bytes)
        if fault.kind == "unknown":
            return with_unknown_fields(content, self._rng)
        if fault.kind == "retype":
            return _BIDS.sub(rb'"\1":7,"\1x":\2', content, count=1)
        if fault.kind == "wrong_types":
            return with_wrong_type(content, self._rng)
        return content[: int(self._rng.integers(1, max(2, len(content))))]

    def _count(self, kind: str) -> None:
        """Count a strike."""
        self.struck[kind] = self.struck.get(kind, 0) + 1


def _of_path(fault: Fault, path: str | None) -> bool:
    """Say whether a limit is about requests of a path, or of sockets (None)."""
    if path is None or fault.channel is None:
        return path is None and fault.channel is None
    return path.startswith(fault.channel)


def _goes_on(character: str) -> bool:
    """Say whether a symbol goes on with a character."""
    return character.isalnum() or character == "-"
