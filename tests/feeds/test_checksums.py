"""Books that are chained by checksums: linked where the checksum is right, and nowhere else."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feeds import checksums
from feeds.checksums import CheckedBooks
from feeds.events import EVENT, FRAME, BookCheck, FrameKind
from feeds.sequence import SequenceState, SequenceTracker

SNAPSHOT, DELTA, CHAINED = FrameKind.SNAPSHOT, FrameKind.DELTA, FrameKind.CHAINED
Text = Sequence[tuple[str, str]]


def checksum(bids: Text, asks: Text) -> int:
    """A checksum that no venue has: the order of everything counts."""
    return zlib.crc32(repr((list(bids), list(asks))).encode())


def frames(*rows: tuple[int, FrameKind, int]) -> Any:
    """FRAME rows of (listing, kind, seq)."""
    table = np.zeros(len(rows), FRAME)
    for row, (listing, kind, seq) in zip(table, rows, strict=True):
        row["listing_id"], row["kind"], row["seq_prev"] = listing, kind, -1
        row["seq_first"] = row["seq_last"] = seq
    return table


def check(bids: Text, asks: Text, after: tuple[Text, Text] | None = None) -> BookCheck:
    """Levels, and the checksum of the book after them; of the levels alone where none is given."""
    return BookCheck(bids, asks, checksum(*(after or (bids, asks))))


def links(table: Any) -> list[tuple[int, int]]:
    return [(int(row["kind"]), int(row["seq_prev"])) for row in table]


BOOK = [("9", "2"), ("8", "1")], [("10", "1")]


def test_changes_are_linked_to_the_frame_before_them():
    books = CheckedBooks(checksum)
    table = frames((4, SNAPSHOT, 50), (4, CHAINED, 70), (4, CHAINED, 60), (4, CHAINED, 61))
    books.link(
        table,
        [
            check(*BOOK),
            # One goes, one comes between, one changes; and the other side in its order.
            check([("8", "0"), ("8.5", "3"), ("9", "4")], [("9.5", "1")],
                  ([("9", "4"), ("8.5", "3")], [("9.5", "1"), ("10", "1")])),
            check([], [("9.5", "0.0")], ([("9", "4"), ("8.5", "3")], [("10", "1")])),
            check([], [("9.5", "0")], ([("9", "4"), ("8.5", "3")], [("10", "1")])),
        ],
    )  # fmt: skip
    assert links(table) == [(SNAPSHOT, 0), (CHAINED, 50), (CHAINED, 70), (CHAINED, 60)]
    assert books.failures == 0


def test_copies_of_the_last_updates_are_dropped_whatever_their_numbers():
    books, tracker = CheckedBooks(checksum), SequenceTracker()
    up = check([("9", "3")], [], ([("9", "3"), ("8", "1")], [("10", "1")]))
    down = check([("9", "2")], [], BOOK)
    # The venue's clock steps back between the two.
    table = frames((4, SNAPSHOT, 50), (4, CHAINED, 70), (4, CHAINED, 60), (4, CHAINED, 70),
                   (4, CHAINED, 60), (4, CHAINED, 61))  # fmt: skip
    books.link(table, [check(*BOOK), up, down, up, down, up])
    assert links(table)[3:] == [(DELTA, -1), (DELTA, -1), (CHAINED, 60)]
    tracker.accept(table, np.zeros(0, EVENT))
    assert (tracker.counts.duplicates, tracker.counts.gaps) == (2, 0)
    assert tracker.state(4) == SequenceState.LIVE


def test_wrong_checksum_breaks_the_chain_until_a_snapshot():
    books = CheckedBooks(checksum)
    wrong = BookCheck([("9", "3")], [], 7)
    table = frames((4, SNAPSHOT, 1), (4, CHAINED, 2), (4, CHAINED, 3), (4, SNAPSHOT, 1),
                   (4, CHAINED, 4))  # fmt: skip
    right = check([("9", "5")], [], ([("9", "5"), ("8", "1")], [("10", "1")]))
    books.link(table, [check(*BOOK), wrong, right, check(*BOOK), right])
    assert links(table) == [
        (SNAPSHOT, 0),
        (CHAINED, -1),
        (CHAINED, -1),
        (SNAPSHOT, 0),
        (CHAINED, 1),
    ]
    assert books.failures == 1  # The change while nothing was known is no failure of a checksum.


def test_change_without_a_snapshot_and_snapshot_with_a_wrong_checksum_follow_nothing():
    books = CheckedBooks(checksum)
    table = frames((4, CHAINED, 1), (4, SNAPSHOT, 2), (4, CHAINED, 3))
    books.link(table, [check(*BOOK), BookCheck(*BOOK, 7), check(*BOOK)])
    assert links(table) == [(CHAINED, -1)] * 3
    assert books.failures == 1


def test_snapshot_older_than_a_book_that_is_known_is_in_doubt():
    books = CheckedBooks(checksum)
    table = frames((4, SNAPSHOT, 5), (4, SNAPSHOT, 4), (4, SNAPSHOT, 4), (4, SNAPSHOT, 4))
    books.link(table, [check(*BOOK)] * 4)
    # The second one shows the doubt; the next is the answer to it, whatever its number.
    assert links(table) == [(SNAPSHOT, 0), (CHAINED, -1), (SNAPSHOT, 0), (SNAPSHOT, 0)]


def test_forgotten_book_begins_anew():
    books = CheckedBooks(checksum)
    books.link(frames((4, SNAPSHOT, 5)), [check(*BOOK)])
    books.forget(4)
    books.forget(9)
    table = frames((4, CHAINED, 6), (4, SNAPSHOT, 2))
    books.link(table, [check([], [], BOOK), check(*BOOK)])
    assert links(table) == [(CHAINED, -1), (SNAPSHOT, 0)]


def test_listings_do_not_touch_each_other():
    books = CheckedBooks(checksum)
    table = frames((4, SNAPSHOT, 5), (7, SNAPSHOT, 3), (4, CHAINED, 6), (7, CHAINED, 9))
    books.link(table, [check(*BOOK), check([], []), BookCheck([], [], 7), check([("1", "1")], [])])
    assert links(table) == [(SNAPSHOT, 0), (SNAPSHOT, 0), (CHAINED, -1), (CHAINED, 3)]


def test_book_beyond_its_bound_is_a_gap(monkeypatch):
    monkeypatch.setattr(checksums, "LEVELS_MAX", 2)
    books = CheckedBooks(checksum)
    more = [("9", "2"), ("8", "1"), ("7", "1")]
    table = frames((4, SNAPSHOT, 1), (4, CHAINED, 2), (4, CHAINED, 3))
    books.link(table, [check(*BOOK), check([("7", "1")], [], (more, BOOK[1])), check([], [])])
    assert links(table) == [(SNAPSHOT, 0), (CHAINED, -1), (CHAINED, -1)]


LEVELS = st.lists(st.tuples(st.sampled_from(["1", "2.5", "3", "11"]), st.sampled_from("012")),
                  max_size=4)  # fmt: skip
UPDATES = st.lists(st.tuples(LEVELS, LEVELS, st.booleans()), min_size=1, max_size=12)


@given(UPDATES)
def test_lost_update_is_a_gap_exactly_where_the_book_would_be_wrong(updates):
    """Against two dictionaries a side: what is sent, and what arrives."""
    books, tracker = CheckedBooks(checksum), SequenceTracker()
    sent: tuple[dict[str, str], dict[str, str]] = ({}, {})
    ours: tuple[dict[str, str], dict[str, str]] = ({}, {})
    start = frames((0, SNAPSHOT, 1))
    books.link(start, [check([], [])])
    tracker.accept(start, np.zeros(0, EVENT))
    for number, (bids, asks, lost) in enumerate(updates, 2):
        for side, levels in zip(sent, (bids, asks), strict=True):
            _apply(side, levels)
        if lost:
            continue
        for side, levels in zip(ours, (bids, asks), strict=True):
            _apply(side, levels)
        table = frames((0, CHAINED, number))
        books.link(table, [BookCheck(bids, asks, checksum(*_sorted(sent)))])
        tracker.accept(table, np.zeros(0, EVENT))
        assert (tracker.state(0) == SequenceState.LIVE) == (ours == sent)
        if ours != sent:
            return


def _apply(side: dict[str, str], levels: Text) -> None:
    for price, size in levels:
        side[price] = size
        if size == "0":
            del side[price]


def _sorted(book: tuple[dict[str, str], dict[str, str]]) -> tuple[Text, Text]:
    bids, asks = (sorted(side.items(), key=lambda level: float(level[0])) for side in book)
    return bids[::-1], asks
