"""Stage 2 of 8: books that are chained by checksums, for venues that number nothing.

Such an update says what the checksum of the book is after it. So the book is kept here as text,
and where the checksum is right, the update followed the one before it: it is linked to it in the
frame table, by which feeds/sequence.py judges. Where it is wrong, something was missed, and the
frame is linked to nothing. A late copy may be right in itself: the last few updates are remembered,
so that it is dropped. Decision 0016.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from feeds.events import BookCheck, FrameKind, FrameRows, TextLevel
from feeds.sequence import NO_PREVIOUS as COUNTS_ANEW

# Levels a side that a book may have. A larger one is a gap, for ever: no venue has such.
LEVELS_MAX: Final = 10_000
COPIES_WITHIN: Final = 16  # updates of a book among which a copy is known for one
FOLLOWS_NOTHING: Final = -1
_DELTA: Final = int(FrameKind.DELTA)
_SNAPSHOT: Final = int(FrameKind.SNAPSHOT)
_CHAINED: Final = int(FrameKind.CHAINED)

Checksum = Callable[[Sequence[TextLevel], Sequence[TextLevel]], int]


class CheckedBooks:
    """Books of one venue's listings as text; one of each listing that is right, none of others.

    Args:
        checksum: of a book, both sides best first.
    """

    __slots__ = ("_books", "_checksum", "failures")

    def __init__(self, checksum: Checksum) -> None:
        self.failures = 0  # frames whose checksum was not that of the book
        self._checksum = checksum
        self._books: dict[int, _Book] = {}

    def link(self, frames: FrameRows, checks: Sequence[BookCheck]) -> None:
        """Link the frames of a batch, in order: kind and numbers are updated in place.

        Args:
            frames: FRAME table of one batch: snapshots, and chained changes.
            checks: one a frame.
        """
        columns = zip(
            frames["listing_id"].tolist(),
            frames["kind"].tolist(),
            frames["seq_last"].tolist(),
            strict=True,
        )
        for index, (listing, kind, seq) in enumerate(columns):
            check, known = checks[index], self._books.get(listing)
            if kind == _CHAINED and known is not None and (seq, check.checksum) in known.recent:
                # A change not newer than the last, which is dropped.
                frames["kind"][index], frames["seq_last"][index] = _DELTA, known.seq
                continue
            # A snapshot older than the book may be a late copy: it is in doubt, as everywhere.
            doubtful = known is None if kind == _CHAINED else known is not None and seq < known.seq
            book = _Book() if kind == _SNAPSHOT or known is None else known
            if doubtful or not self._is_right(book, check):
                self._books.pop(listing, None)
                frames["kind"][index], frames["seq_prev"][index] = _CHAINED, FOLLOWS_NOTHING
                continue
            frames["seq_prev"][index] = COUNTS_ANEW if kind == _SNAPSHOT else book.seq
            book.seq = seq
            book.recent.append((seq, check.checksum))
            self._books[listing] = book

    def forget(self, listing_id: int) -> None:
        """Drop a book: the next snapshot starts it anew."""
        self._books.pop(listing_id, None)

    def _is_right(self, book: "_Book", check: BookCheck) -> bool:
        """Change a book, and say whether it is now what the venue says."""
        book.bids.take(check.bids)
        book.asks.take(check.asks)
        right = self._checksum(book.bids.levels(), book.asks.levels()) == check.checksum
        self.failures += not right
        return right and max(len(book.bids), len(book.asks)) <= LEVELS_MAX


class _Side:
    """One side of a book, best first; `sign` is -1 for bids."""

    __slots__ = ("_keys", "_levels", "_sign")

    def __init__(self, sign: float) -> None:
        self._sign = sign
        self._keys: list[float] = []  # ascending: the best price has the least
        self._levels: dict[float, TextLevel] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, levels: Sequence[TextLevel]) -> None:
        """Set levels, or remove those of size 0."""
        for level in levels:
            key = self._sign * float(level[0])
            if float(level[1]) > 0:
                if key not in self._levels:
                    insort(self._keys, key)
                self._levels[key] = level
            elif self._levels.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def levels(self) -> list[TextLevel]:
        """All levels, best first."""
        return [self._levels[key] for key in self._keys]


class _Book:
    """A book; number and checksum of the last frames that went into it."""

    __slots__ = ("asks", "bids", "recent", "seq")

    def __init__(self) -> None:
        self.bids, self.asks, self.seq = _Side(-1.0), _Side(1.0), 0
        self.recent: deque[tuple[int, int]] = deque(maxlen=COPIES_WITHIN)
