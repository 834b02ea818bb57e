"""Stage 1 of 8, simulated: what can go wrong on a wire, on request and repeatable.

| kind       | what it does                                                         | reads   |
|------------|----------------------------------------------------------------------|---------|
| gap        | drops the next `count` frames of matching channels                   | channel |
| duplicate  | sends the next `count` frames twice                                  | channel |
| reorder    | holds the next frame back until after the one that follows, `count` x | channel |
| truncate   | cuts the next `count` frames to a random part                        | channel |
| unknown    | adds a field nobody documented to the next `count` frames             | channel |
| retype     | makes the bids of the next `count` frames a number                   | channel |
| huge       | pads the next `count` frames to `bytes`                              | channel |
| garbage    | sends `count` frames of random text to every connection              |         |
| disconnect | drops every connection without a closing handshake                   |         |
| restart    | as disconnect, and books count their changes from 1 again            |         |
| silence    | sends nothing on matching channels for `seconds`                     | channel |
| half_open  | connections of this moment neither send nor answer for `seconds`     |         |
| refuse     | leaves matching channels out of the next `count` acknowledgements    | channel |
| skew       | adds `ms` to every venue time stamp from now on                      |         |
| burst      | `factor` frames where one would be, on book and ticker channels, for | channel |
|            | `seconds`; book chains stay whole and end at the true book           |         |
| expire     | ends option `symbol` now                                             | symbol  |
| list       | lists a hidden spare instrument now                                  |         |

`channel` is a prefix (`book.BTC-27MAR26-100000-C.`); `symbol` alone means `book.{symbol}.`; with
neither, every book channel. A fault begins with the first step whose number is at least `at_step`
(the next one without it), counts frames of channels and not of connections, and draws from a
generator of (seed, step), so a run with the same seed, requests and steps repeats it.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
import numpy as np

from feeds.contract import E9

FaultKind = Literal[
    "gap", "duplicate", "reorder", "truncate", "garbage", "disconnect", "silence", "half_open",
    "refuse", "skew", "burst", "expire", "list", "unknown", "retype", "huge", "restart",
]  # fmt: skip
FAULTS_MAX: Final = 1_000  # waiting or active at a time; more are refused
FRAME_FAULTS: Final = frozenset(
    {"gap", "duplicate", "reorder", "truncate", "unknown", "retype", "huge"}
)
# The words of venues for the bids of a book or a quote.
_BIDS: Final = re.compile(rb'"(bids|b|buy)":(\[|")')
_GARBAGE_BYTES: Final = 200


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

    @property
    def prefix(self) -> str:
        """Start of the channels it concerns."""
        if self.channel is not None:
            return self.channel
        return "book." if self.symbol is None else f"book.{self.symbol}."


@dataclass(slots=True)
class _Active:
    """A fault under way. until_ns: simulated time at which it ends; left: frames still to hit."""

    fault: Fault
    until_ns: int
    left: int


@dataclass(slots=True)
class Faults:
    """Faults of one server; counts how often each kind struck."""

    seed: int
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
        never = np.iinfo(np.int64).max
        for fault in begun:
            if fault.kind in FRAME_FAULTS or fault.kind == "refuse":
                self._active.append(_Active(fault, never, fault.count))
            elif fault.kind in ("silence", "burst"):
                until_ns = now_ns + int(fault.seconds * E9)
                self._active.append(_Active(fault, until_ns, never))
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
            if active.left > 0 and channel.startswith(active.fault.prefix):
                frames = self._strike(active, channel, frames)
        return frames if held is None else [*frames, held]

    def refused(self, channel: str) -> bool:
        """Say whether a channel is to be left out of an acknowledgement, and count it."""
        for active in self._active:
            if active.fault.kind != "refuse" or active.left <= 0:
                continue
            if channel.startswith(active.fault.prefix):
                active.left -= 1
                self._count("refuse")
                return True
        return False

    def burst_factor(self, channel: str) -> int:
        """Frames to send where one would be."""
        factors = [
            active.fault.factor
            for active in self._active
            if active.fault.kind == "burst" and channel.startswith(active.fault.prefix)
        ]
        return max(factors, default=1)

    def garbage(self) -> bytes:
        """Printable text that is no message."""
        size = int(self._rng.integers(1, _GARBAGE_BYTES))
        return self._rng.integers(32, 127, size, dtype=np.uint8).tobytes()

    def _strike(self, active: _Active, channel: str, frames: list[bytes]) -> list[bytes]:
        """Apply one active fault to the frames of a channel."""
        kind = active.fault.kind
        if not frames or (kind not in FRAME_FAULTS and kind != "silence"):
            return frames
        active.left -= 1
        self._count(kind)
        if kind == "reorder":
            self._held[channel] = frames[-1]
            return frames[:-1]
        if kind in ("gap", "silence"):
            return []
        if kind == "duplicate":
            return [content for content in frames for _ in range(2)]
        return [self._altered(active.fault, content) for content in frames]

    def _altered(self, fault: Fault, content: bytes) -> bytes:
        """One frame, damaged or unusual."""
        if fault.kind == "truncate":
            return content[: int(self._rng.integers(1, len(content)))]
        if fault.kind == "unknown":
            return content[:-1] + b',"zz":[1,{"a":null}]}'
        if fault.kind == "retype":
            return _BIDS.sub(rb'"\1":7,"\1x":\2', content, count=1)
        return content.ljust(fault.bytes)

    def _count(self, kind: str) -> None:
        """Count a strike."""
        self.struck[kind] = self.struck.get(kind, 0) + 1
