"""Stage 1 of 8: what a session may spend on a venue: connections, requests, retries.

Venues ban an address that connects too often, and a crash loop does just that, so the connect
budget is kept on disk and survives restarts. Nothing here waits or reads a clock of its own.
"""

import contextlib
import fcntl
import math
import os
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from feeds.clock import Clock

ANY_HOST: Final = "*"  # Stamps assumed for hosts that a damaged file may have held.
SECOND_NS: Final = 1_000_000_000
HOUR_NS: Final = 3_600 * SECOND_NS


@dataclass(slots=True)
class BudgetCounts:
    """What became of the connect budget."""

    granted: int = 0
    refused: int = 0
    damaged: int = 0  # the file was not one of ours, or could not be read
    unsaved: int = 0  # the file could not be written
    stepped: int = 0  # stamps from the future: the clock went back between runs


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    hosts: dict[str, list[int]]


@dataclass(slots=True)
class ConnectBudget:
    """At most `connects` connections per host in any `window_s`, over restarts and processes.

    The stamp of a connection is on disk before the connection is granted. The file is read
    anew each time under a lock, so processes that share it share the budget.

    A damaged file counts as half the budget spent now, for every host. Where the file cannot
    be written, connections are spaced by window_s / connects, beginning one spacing after the
    first question: a crash loop then stays inside the budget without any memory.

    Attributes:
        path: JSON file, made where absent; None keeps the budget in memory (tests, loopback).
        clock: the one clock.
        connects: connections per host and window, at least 1.
        window_s: length of the window, seconds.
    """

    path: Path | None
    clock: Clock
    connects: int
    window_s: float
    counts: BudgetCounts = field(default_factory=BudgetCounts)
    _hosts: dict[str, list[int]] = field(default_factory=dict)
    _unsaved: dict[str, list[int]] = field(default_factory=dict)  # granted, not in the file
    _spaced_until_ns: dict[str, int] = field(default_factory=dict)
    _assumed: bool = False  # half the budget is taken off already for the damage found

    def take(self, host: str, kept: int = 0) -> int:
        """Spend one connection to a host, unless no more than `kept` are left of the window's.

        Returns:
            0 when granted, else nanoseconds after which to ask again; nothing is spent then.
        """
        now_ns = self.clock.now_ns()
        with self._locked() as locked:
            if locked:
                self._load(now_ns)
            stepped = self._prune(now_ns)
            wait_ns = self._spend(host, now_ns, max(1, self.connects - kept), locked=locked)
            if wait_ns and stepped and locked:
                self._save()  # Or the stamp would be in the future again at the next question.
        if wait_ns:
            self.counts.refused += 1
        else:
            self.counts.granted += 1
        return wait_ns

    def _spend(self, host: str, now_ns: int, connects: int, *, locked: bool) -> int:
        stamps = self._hosts.get(host, self._hosts.get(ANY_HOST, []))
        if len(stamps) >= connects:
            return stamps[-connects] + self._window_ns - now_ns
        self._hosts[host] = [*stamps, now_ns]
        if self.path is None or (locked and self._save()):
            return 0
        wait_ns = self._spacing(host, now_ns)
        if wait_ns:
            self._hosts[host].pop()
        else:
            self._unsaved[host] = [*self._unsaved.get(host, []), now_ns][-self.connects :]
        return wait_ns

    @property
    def _window_ns(self) -> int:
        return round(self.window_s * SECOND_NS)

    def _spacing(self, host: str, now_ns: int) -> int:
        """Nanoseconds until a connection that no file remembers is due; 0 spends it."""
        self.counts.unsaved += 1
        spacing_ns = -(-self._window_ns // self.connects)
        due_ns = self._spaced_until_ns.setdefault(host, now_ns + spacing_ns)
        if now_ns < due_ns:
            return due_ns - now_ns
        self._spaced_until_ns[host] = now_ns + spacing_ns
        return 0

    def _prune(self, now_ns: int) -> int:
        """Forget what left the window; a stamp from the future becomes now and ages from here.

        Returns:
            How many stamps were from the future.
        """
        oldest_ns = now_ns - self._window_ns
        stepped = 0
        for host, stamps in list(self._hosts.items()):
            stepped += sum(stamp > now_ns for stamp in stamps)
            kept = sorted(min(stamp, now_ns) for stamp in stamps if stamp > oldest_ns)
            if kept:
                self._hosts[host] = kept[-self.connects :]
            else:
                del self._hosts[host]
        self.counts.stepped += stepped
        return stepped

    def _load(self, now_ns: int) -> None:
        """Take over what the file says; what it cannot remember is added from memory."""
        if self.path is None:
            return
        try:
            file = msgspec.json.decode(self.path.read_bytes(), type=_File)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            self._assume_half(now_ns)
            return
        if file.version != 1:
            self._assume_half(now_ns)
            return
        self._assumed = False
        self._hosts = file.hosts
        for host, stamps in self._unsaved.items():
            self._hosts[host] = [*self._hosts.get(host, []), *stamps]

    def _assume_half(self, now_ns: int) -> None:
        """Count half the budget as spent now: once, however often the same file is read."""
        if self._assumed:
            return
        self._assumed = True
        self.counts.damaged += 1
        assumed = [now_ns] * (self.connects - self.connects // 2)
        for host, stamps in self._hosts.items():
            self._hosts[host] = [*stamps, *assumed]
        self._hosts[ANY_HOST] = assumed

    def _save(self) -> bool:
        """Write the file whole or not at all; no fsync, since a crash of ours keeps it."""
        if self.path is None:
            return False
        part = self.path.with_name(f"{self.path.name}.tmp")
        try:
            part.write_bytes(msgspec.json.encode(_File(1, self._hosts)))
            part.replace(self.path)
        except OSError:
            return False
        self._unsaved.clear()
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the lock file beside the budget; False where there is none to hold."""
        if self.path is None:
            yield False
            return
        with contextlib.ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                name = self.path.with_name(f"{self.path.name}.lock")
                lock = os.open(name, os.O_RDWR | os.O_CREAT)
                stack.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                locked = False
            else:
                locked = True
            yield locked


@dataclass(slots=True)
class TokenBucket:
    """Paces requests: `burst` at once, then `per_s` a second, in the order they are reserved."""

    per_s: float
    burst: int
    _empty_ns: int = 0  # when the bucket would have been (or will be) at zero tokens

    def reserve(self, now_ns: int) -> int:
        """Take the next place and return how many nanoseconds to wait for it, 0 for none."""
        step_ns = round(SECOND_NS / self.per_s)
        # A full bucket holds `burst` steps of idle time; more idle time than that is not saved.
        self._empty_ns = max(self._empty_ns, now_ns - self.burst * step_ns) + step_ns
        return max(0, self._empty_ns - now_ns)


@dataclass(slots=True)
class HourBudget:
    """At most `count` requests in any hour, in the order they are reserved; None has no limit."""

    count: int | None = None
    _stamps: deque[int] = field(default_factory=deque)  # when each was or will be sent

    def reserve(self, now_ns: int) -> int:
        """Take the next place and return how many nanoseconds to wait for it, 0 for none."""
        if self.count is None:
            return 0
        self._forget(now_ns)
        at_ns = now_ns
        if len(self._stamps) >= self.count:
            at_ns = self._stamps[-self.count] + HOUR_NS
        self._stamps.append(at_ns)
        return at_ns - now_ns

    def left(self, now_ns: int) -> float:
        """Places that nobody has taken, infinity without a limit."""
        if self.count is None:
            return math.inf
        self._forget(now_ns)
        return self.count - len(self._stamps)

    def _forget(self, now_ns: int) -> None:
        while self._stamps and self._stamps[0] <= now_ns - HOUR_NS:
            self._stamps.popleft()


def backoff_s(rng: random.Random, attempt: int, base_s: float, cap_s: float) -> float:
    """Full-jitter delay before retry `attempt` (0 = first): uniform in [0, min(cap, base 2^n)].

    Source: M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
    """
    return rng.uniform(0.0, min(cap_s, base_s * 2.0 ** min(attempt, 62)))
