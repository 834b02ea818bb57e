"""Stage 2 of 8: per listing, which book updates follow each other: waiting, live, gapped; no I/O.

    waiting -> live     a snapshot, a window, or a change whose seq_prev is 0
    live    -> live     a change whose seq_prev is the last seq_last; a newer snapshot or window
    live    -> gapped   a newer change that does not follow, or a snapshot older than the last;
                        any chained change that does not follow
    gapped  -> live     a snapshot not older than anything seen since the gap
    any     -> live     a snapshot whose seq_prev is 0: the venue counts anew from there
    any     -> waiting  wait(): the channel was given up, the connection was lost, silence
    any     -> closed   close(): no book is asked for, and whatever still comes of one is refused
    closed  -> waiting  open(): it is asked for

A change not newer than the last, or an older window, is dropped as a duplicate and is no gap. An
older snapshot may be a late copy or a venue that began to count anew: the book is in doubt, so it
is a gap, and the resync that follows settles it. Older windows of which a second, not broken by one
that is newer, goes on from the first are no copies: the venue's count, or its clock, went back, and
its windows hold from there.

A venue may begin to count anew in the middle of a chain, or repeat its last number as a sign of
life. Its changes are chained: whether one is newer says nothing, only whether it follows, so a copy
of one is a gap too, and none starts from an empty book (decision 0014).

The levels themselves live in the kernels' state; here only sequence numbers are kept, one integer
per listing.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from feeds.events import EventRows, Flag, FrameKind, FrameRows

# "Nothing came before": said by the first change of an instrument that never had a book, and by the
# snapshot of a venue that restarted, which does not compare with what was seen until then.
NO_PREVIOUS: Final = 0
_DELTA: Final = int(FrameKind.DELTA)
_SNAPSHOT: Final = int(FrameKind.SNAPSHOT)
_WINDOW: Final = int(FrameKind.WINDOW)
_CHAINED: Final = int(FrameKind.CHAINED)
_CHANGES: Final = (_DELTA, _CHAINED)
_NOT_LIVE: Final = -2  # no frame has it as seq_prev, which is -1 where the venue gives none


class SequenceState(IntEnum):
    """Where a listing's chain of updates stands."""

    WAITING = 0  # nothing is known; a snapshot is expected
    LIVE = 1  # every update since the last snapshot was seen
    GAPPED = 2  # at least one is missing; a snapshot must be asked for


class Turn(IntEnum):
    """What happened to a listing at a frame."""

    GAP = 1  # its book is unknown from here: put a CLEAR row before the frame's rows
    LIVE = 2  # its book is known from here
    EMPTY = 3  # its book is known to be empty before the frame's rows


class Change(NamedTuple):
    """One turn; `frame` is the index in the frame table given to `accept`."""

    frame: int
    listing_id: int
    turn: Turn


@dataclass(slots=True)
class SequenceCounts:
    """Frames by outcome, since the tracker was made."""

    snapshots: int = 0  # accepted snapshots and windows
    gaps: int = 0  # listings that became gapped
    duplicates: int = 0  # older than what was accepted: dropped, no gap
    rejected: int = 0  # frames that showed a gap, and changes while waiting or gapped
    resyncs: int = 0  # gapped listings that became live again
    unasked: int = 0  # of listings whose book was given back


@dataclass(slots=True)
class Accepted:
    """Answer of `accept`: the turns in frame order, and whether any row was rejected.

    unasked_rows: of the rejected rows, those of listings whose book was given back.
    """

    changes: list[Change] = field(default_factory=list)
    any_rejected: bool = False
    unasked_rows: int = 0


class SequenceTracker:
    """The chains of all listings of one venue.

    A few tables hold everything, each with at most one small entry per listing; `forget`
    takes a listing out of all.
    """

    __slots__ = ("_broken", "_closed", "_last", "_newest", "_older", "counts")

    def __init__(self) -> None:
        self.counts = SequenceCounts()
        self._last: dict[int, int] = {}  # live listing -> seq_last of the last accepted frame
        self._newest: dict[int, int] = {}  # gapped listing -> newest seq seen
        self._older: dict[int, int] = {}  # live listing -> seq of the window just dropped as old
        self._broken: set[int] = set()  # had a gap and was not live since
        self._closed: set[int] = set()

    def accept(self, frames: FrameRows, rows: EventRows) -> Accepted:
        """Judge a batch of frames in order; rows of refused frames get REJECTED, in place.

        Args:
            frames: FRAME table of one batch; the row ranges index `rows`.
            rows: EVENT rows of the batch, updated in place.
        """
        answer = Accepted()
        last = self._last
        columns = zip(
            frames["listing_id"].tolist(),
            frames["kind"].tolist(),
            frames["seq_last"].tolist(),
            frames["seq_prev"].tolist(),
            (frames["row_begin"] == frames["row_end"]).tolist(),
            strict=True,
        )
        for index, (listing, kind, seq, previous, empty) in enumerate(columns):
            # Nearly every frame ends here.
            if previous == last.get(listing, _NOT_LIVE) and (
                seq > previous if kind == _DELTA else kind == _CHAINED
            ):
                last[listing] = seq
                continue
            live = Change(index, listing, Turn.LIVE)
            if not self._turn(answer.changes, live, (kind, seq, previous)):
                answer.any_rejected = True
                refused = _reject(rows, frames, index)
                answer.unasked_rows += refused if listing in self._closed else 0
            elif empty and kind != _DELTA:
                answer.changes.append(Change(index, listing, Turn.EMPTY))
        return answer

    def state(self, listing_id: int) -> SequenceState:
        """Where a listing's chain stands; an unknown listing is waiting."""
        if listing_id in self._last:
            return SequenceState.LIVE
        gapped = listing_id in self._newest
        return SequenceState.GAPPED if gapped else SequenceState.WAITING

    def wait(self, listing_id: int) -> None:
        """Forget what was seen: the next snapshot of the listing starts a new chain."""
        self._last.pop(listing_id, None)
        self._newest.pop(listing_id, None)
        self._older.pop(listing_id, None)

    def close(self, listing_id: int) -> None:
        """Refuse all frames of a listing from here: its channel was given back; some come late."""
        self.wait(listing_id)
        self._closed.add(listing_id)

    def open(self, listing_id: int) -> None:
        """Take frames of a listing again; one that is open stays as it is."""
        self._closed.discard(listing_id)

    def forget(self, listing_id: int) -> None:
        """Drop a listing that is gone, so that its id may be used again."""
        self.wait(listing_id)
        self._closed.discard(listing_id)
        self._broken.discard(listing_id)

    def _turn(self, changes: list[Change], live: Change, update: tuple[int, int, int]) -> bool:
        """Judge a frame that does not plainly follow; says whether its rows hold."""
        kind, seq, previous = update
        if live.listing_id in self._closed:
            self.counts.unasked += 1
            return False
        anew = kind == _SNAPSHOT and previous == NO_PREVIOUS
        last = self._last.get(live.listing_id)
        if last is not None:
            return self._while_live(changes, live, (kind, seq), seq if anew else last)
        if kind in _CHANGES:
            return self._change_while_not_live(changes, live, update)
        newest = self._newest.get(live.listing_id)
        if newest is not None and seq < newest and not anew:
            self.counts.duplicates += 1  # A snapshot from before the gap cannot close it.
            return False
        self.counts.snapshots += 1
        self._go_live(changes, live, seq)
        return True

    def _change_while_not_live(
        self, changes: list[Change], live: Change, update: tuple[int, int, int]
    ) -> bool:
        kind, seq, previous = update
        listing = live.listing_id
        newest = self._newest.get(listing)
        if newest is None and previous == NO_PREVIOUS and kind == _DELTA:
            changes.append(Change(live.frame, listing, Turn.EMPTY))
            self._go_live(changes, live, seq)
            return True
        if newest is not None:
            self._newest[listing] = max(newest, seq)
        self.counts.rejected += 1
        return False

    def _while_live(
        self, changes: list[Change], live: Change, update: tuple[int, int], last: int
    ) -> bool:
        kind, seq = update
        listing = live.listing_id
        if kind == _WINDOW:
            stale = seq < last and seq <= self._older.get(listing, seq)
        else:
            stale = kind == _DELTA and seq <= last
        if stale:
            if kind == _WINDOW:
                self._older[listing] = seq
            self.counts.duplicates += 1
            return False
        self._older.pop(listing, None)
        if kind in _CHANGES or (seq < last and kind != _WINDOW):
            del self._last[listing]
            self._newest[listing] = max(seq, last)
            self._broken.add(listing)
            self.counts.gaps += 1
            self.counts.rejected += 1
            changes.append(Change(live.frame, listing, Turn.GAP))
            return False
        self._last[listing] = seq
        self.counts.snapshots += 1
        return True

    def _go_live(self, changes: list[Change], live: Change, seq: int) -> None:
        self._last[live.listing_id] = seq
        self._newest.pop(live.listing_id, None)
        if live.listing_id in self._broken:
            self._broken.discard(live.listing_id)
            self.counts.resyncs += 1
        changes.append(live)


def _reject(rows: EventRows, frames: FrameRows, index: int) -> int:
    """Mark the rows of a frame; returns how many it has."""
    begin, end = int(frames["row_begin"][index]), int(frames["row_end"][index])
    rows["flags"][begin:end] |= int(Flag.REJECTED)
    return end - begin
