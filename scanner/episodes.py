"""Stage 7 of 8: episodes. Thousands of rows are watched with arrays, a few open ones with objects.

A row opens when its p was at most p_on at 2 of its last 3 observations, and the latest of them is
one of the two; it closes when p has stood above p_off for a while, when nothing is heard of it, or
at once when it is invalid (methods.md 00.3a).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.columns import Validity
from scanner.alert import SECOND_NS, Reason
from scanner.result import GroupResult, ScanResult

Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

# A row with one of these and no score is invalid; the other bits only ask for care.
INVALID: Final = int(
    Validity.NO_BID
    | Validity.NO_ASK
    | Validity.LOCKED
    | Validity.CROSSED
    | Validity.STALE
    | Validity.ZERO_SIZE
    | Validity.EXPIRED
    | Validity.GAP
    | Validity.RECOVERING
    | Validity.SETTLING
    | Validity.NO_STATE
)
_TWO_OF_THREE: Final = np.array([bits.bit_count() >= 2 for bits in range(8)])


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When episodes begin and end; p are headline p, times are grid time."""

    p_on: float
    p_off: float
    off_ns: int
    hold_ns: int
    open_max: int


class Lane(Protocol):
    """What one scan says about the rows of one list. Rows in, arrays out, nothing kept."""

    @property
    def count(self) -> int:
        """Rows 0 to count - 1 exist."""
        ...

    def observed(self) -> Rows:
        """Rows scored in this scan, ascending."""
        ...

    def p(self, rows: Rows) -> Floats:
        """Headline p of each row's last observation."""
        ...

    def reach(self, rows: Rows) -> Floats:
        """Smallest headline p that each row's reference can give now."""
        ...

    def held(self, rows: Rows) -> Bools:
        """Whether alerts of each row are held back: its venue is just coming back."""
        ...

    def lost(self, rows: Rows) -> Bools:
        """Whether each row has no score now."""
        ...

    def invalid(self, rows: Rows) -> Bools:
        """Whether each row's validity forbids a score."""
        ...

    def warming(self, row: int) -> bool:
        """Whether the row's own baseline is still young."""
        ...


@dataclass(frozen=True, slots=True)
class ListingLane:
    """Lane of one listing list (0 spike, 1 broad): half of the budget each, hence 2 p."""

    result: ScanResult
    index: int

    @property
    def count(self) -> int:
        """Length of the universe."""
        return int(self.result.score.shape[1])

    def observed(self) -> Rows:
        """Fresh rows that have a score; an invalid row is not an observation."""
        fresh = self.result.fresh.astype(np.intp)
        return np.asarray(fresh[~np.isnan(self.result.score[self.index][fresh])])

    def p(self, rows: Rows) -> Floats:
        """min(1, 2 p) of the list."""
        p = self.result.p[self.index][rows].astype(np.float64)
        return np.asarray(np.minimum(2.0 * p, 1.0))

    def reach(self, rows: Rows) -> Floats:
        """2 / (1 + n), n of the stratum of the row's last observation."""
        entries = self.result.reference_count[self.result.stratum[rows]]
        return np.asarray(2.0 / (1.0 + entries))

    def held(self, rows: Rows) -> Bools:
        """Rows that are recovering."""
        return np.asarray((self.result.validity[rows] & int(Validity.RECOVERING)) != 0)

    def lost(self, rows: Rows) -> Bools:
        """Rows whose score is NaN."""
        return np.asarray(np.isnan(self.result.score[self.index][rows]))

    def invalid(self, rows: Rows) -> Bools:
        """Rows with a bit of INVALID."""
        return np.asarray((self.result.validity[rows] & INVALID) != 0)

    def warming(self, row: int) -> bool:
        """Fewer than 30 observations of its own."""
        return bool(self.result.warming[row])


@dataclass(frozen=True, slots=True)
class GroupLane:
    """Lane of the group list: a budget of its own, hence p as it is."""

    groups: GroupResult

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.groups.p)

    def observed(self) -> Rows:
        """Groups scored in this scan."""
        return np.flatnonzero(self.groups.fresh & ~np.isnan(self.groups.score))

    def p(self, rows: Rows) -> Floats:
        """The p of each group."""
        return self.groups.p[rows].astype(np.float64)

    def reach(self, rows: Rows) -> Floats:
        """1 / (1 + n), n of the group's kind."""
        return np.asarray(1.0 / (1.0 + self.groups.reference_count[rows]))

    def held(self, rows: Rows) -> Bools:
        """Groups of which a member recovers, or did so within the group window."""
        held = self.groups.held
        return np.zeros(len(rows), np.bool_) if held is None else held[rows]

    def lost(self, rows: Rows) -> Bools:
        """Groups without a score."""
        return np.isnan(self.groups.score[rows])

    def invalid(self, rows: Rows) -> Bools:
        """Never: a group is not a book."""
        return np.zeros(len(rows), np.bool_)

    def warming(self, row: int) -> bool:
        """Never: its members are, and only scored ones count."""
        del row
        return False


@dataclass(slots=True)
class Episode:
    """One open row of one list."""

    row: int
    scope: str  # canonical string of the alert it belongs to
    observed_ns: int
    p: float  # headline p of the last observation
    quiet_since_ns: int | None = None  # since when p has stood above p_off
    observations: int = 0
    notable: int = 0  # of them, with p <= p_off

    def observe(self, p: float, now_ns: int, p_off: float) -> None:
        """Take one observation in."""
        self.p = p
        self.observed_ns = now_ns
        self.observations += 1
        if p <= p_off:
            self.notable += 1
            self.quiet_since_ns = None
        elif self.quiet_since_ns is None:
            self.quiet_since_ns = now_ns

    def deadline_ns(self, rules: Thresholds) -> int:
        """Grid time at which the episode closes if nothing is heard of it until then."""
        hold = self.observed_ns + rules.hold_ns
        if self.quiet_since_ns is None:
            return hold
        return min(hold, self.quiet_since_ns + rules.off_ns)


class EpisodeList:
    """The rows of one list: history bits of all, episodes of the open ones."""

    def __init__(self, rules: Thresholds) -> None:
        self.rules = rules
        self.open: dict[int, Episode] = {}
        self._history = np.zeros(0, np.uint8)  # bits 0..2: the last three observations were hits
        self._is_open = np.zeros(0, np.bool_)
        self._was_held = np.zeros(0, np.bool_)  # at the row's last observation
        self._counted = np.zeros(0, np.bool_)  # the present wish to open was counted as suppressed

    def observe(self, lane: Lane, now_ns: int) -> Rows:
        """Take one scan in; returns the rows that wish to open, strongest first.

        Ties in p are in the order of row. Nothing is opened or closed here. What was seen while a
        row was held counts for nothing once it is not: it needs two new hits then.
        """
        self._grow(lane.count)
        rows = lane.observed()
        p = lane.p(rows)
        self._observe_open(rows, p, now_ns)
        hit = p <= self.rules.p_on
        held = lane.held(rows)
        self._history[rows[self._was_held[rows] & ~held]] = 0
        self._was_held[rows] = held
        bits = ((self._history[rows] << 1) | hit) & 7
        self._history[rows] = bits
        wish = _TWO_OF_THREE[bits] & hit
        self._counted[rows] &= wish
        wish &= ~self._is_open[rows]
        chosen = np.flatnonzero(wish)
        return rows[chosen[np.argsort(p[chosen], kind="stable")]]

    def endings(self, lane: Lane, now_ns: int) -> list[tuple[Episode, Reason]]:
        """Open episodes that end in this scan, ascending by row; they stay open until closed."""
        if not self.open:
            return []
        rows = np.fromiter(sorted(self.open), np.intp, len(self.open))
        lost, invalid = lane.lost(rows), lane.invalid(rows)
        found: list[tuple[Episode, Reason]] = []
        for k, row in enumerate(rows.tolist()):
            episode = self.open[row]
            reason = self._reason(episode, bool(lost[k]), bool(invalid[k]), now_ns)
            if reason is not None:
                found.append((episode, reason))
        return found

    def start(self, row: int, p: float, now_ns: int, scope: str) -> Episode:
        """Open a row; the observation that opened it is the episode's first."""
        episode = Episode(row, scope, now_ns, p)
        episode.observe(p, now_ns, self.rules.p_off)
        self.open[row] = episode
        self._is_open[row] = True
        self._counted[row] = False
        return episode

    def end(self, row: int) -> None:
        """Close a row; it needs two new hits to open again."""
        del self.open[row]
        self.forget(row)

    def forget(self, row: int) -> None:
        """Drop what is remembered of a row, whose id may now mean another listing."""
        if row < len(self._history):
            self._history[row] = 0
            self._is_open[row] = False
            self._was_held[row] = False
            self._counted[row] = False

    def count_suppressed(self, rows: Iterable[int]) -> int:
        """How many of these wishes were not counted yet; each wish counts once until it ends."""
        index = np.fromiter(rows, np.intp)
        new = int(np.count_nonzero(~self._counted[index]))
        self._counted[index] = True
        return new

    def weakest_first(self) -> list[Episode]:
        """Open episodes, largest p first; ties: the later row first."""
        return sorted(self.open.values(), key=lambda episode: (-episode.p, -episode.row))

    def remap(self, moved: Mapping[int, int], count: int) -> None:
        """Follow rows to new places (old row -> new row); rows not named are forgotten."""
        source = np.fromiter(moved.keys(), np.intp, len(moved))
        target = np.fromiter(moved.values(), np.intp, len(moved))
        for name in ("_history", "_is_open", "_was_held", "_counted"):
            old = getattr(self, name)
            fresh = np.zeros(count, old.dtype)
            fresh[target] = old[source]
            setattr(self, name, fresh)
        kept = {moved[row]: episode for row, episode in self.open.items() if row in moved}
        for row, episode in kept.items():
            episode.row = row
        self.open = kept

    def _observe_open(self, rows: Rows, p: Floats, now_ns: int) -> None:
        if not self.open or not len(rows):
            return
        wanted = np.fromiter(self.open, np.intp, len(self.open))
        place = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
        seen = rows[place] == wanted
        for row, value in zip(wanted[seen].tolist(), p[place[seen]].tolist(), strict=True):
            self.open[row].observe(value, now_ns, self.rules.p_off)

    def _reason(self, episode: Episode, lost: bool, invalid: bool, now_ns: int) -> Reason | None:
        if lost and invalid:
            return "invalid"
        # A score lost without an invalid bit was given up by the scorer, not refused.
        if lost or now_ns - episode.observed_ns >= self.rules.hold_ns:
            return "unobserved"
        quiet = episode.quiet_since_ns
        if quiet is not None and now_ns - quiet >= self.rules.off_ns:
            return "quiet"
        return None

    def _grow(self, count: int) -> None:
        missing = count - len(self._history)
        if missing > 0:
            self._history = np.pad(self._history, (0, missing))
            self._is_open = np.pad(self._is_open, (0, missing))
            self._was_held = np.pad(self._was_held, (0, missing))
            self._counted = np.pad(self._counted, (0, missing))


def seconds_ns(seconds: float) -> int:
    """Whole nanoseconds of a number of seconds."""
    return round(seconds * SECOND_NS)
