"""The sequence rule, on frame tables written by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import EVENT, FRAME, Flag, FrameKind
from feeds.sequence import Change, SequenceCounts, SequenceState, SequenceTracker, Turn
from tests.oracles.sequence import Chain

SNAPSHOT, DELTA, WINDOW = FrameKind.SNAPSHOT, FrameKind.DELTA, FrameKind.WINDOW
CHAINED = FrameKind.CHAINED
WAITING, LIVE, GAPPED = SequenceState.WAITING, SequenceState.LIVE, SequenceState.GAPPED

type_of = {"s": SNAPSHOT, "d": DELTA, "w": WINDOW, "c": CHAINED}


def tables(*updates: tuple[int, FrameKind, int, int], rows_each: int = 1):
    """Frame table and rows of (listing, kind, seq, seq_prev), with `rows_each` rows a frame."""
    frames = np.zeros(len(updates), FRAME)
    rows = np.zeros(len(updates) * rows_each, EVENT)
    for index, (listing, kind, seq, previous) in enumerate(updates):
        begin = index * rows_each
        frames[index] = (listing, kind, seq, seq, previous, 0, begin, begin + rows_each)
        rows["listing_id"][begin : begin + rows_each] = listing
    return frames, rows


def accept(tracker: SequenceTracker, *updates: tuple[int, FrameKind, int, int]):
    """The turns, and which updates were rejected."""
    frames, rows = tables(*updates)
    accepted = tracker.accept(frames, rows)
    rejected = (rows["flags"] & Flag.REJECTED).astype(bool).tolist()
    assert accepted.any_rejected == any(rejected)
    return accepted.changes, rejected


def test_a_chain_after_its_snapshot_is_live():
    tracker = SequenceTracker()
    changes, rejected = accept(
        tracker, (1, SNAPSHOT, 10, -1), (1, DELTA, 15, 10), (1, DELTA, 16, 15)
    )
    assert changes == [Change(0, 1, Turn.LIVE)]
    assert rejected == [False, False, False]
    assert tracker.state(1) == LIVE


def test_changes_before_the_snapshot_are_rejected_without_a_gap():
    tracker = SequenceTracker()
    changes, rejected = accept(tracker, (1, DELTA, 9, 8), (1, SNAPSHOT, 10, -1), (1, DELTA, 11, 10))
    assert changes == [Change(1, 1, Turn.LIVE)]
    assert rejected == [True, False, False]
    assert tracker.counts == SequenceCounts(snapshots=1, rejected=1)


def test_a_missing_change_gaps_the_listing_until_a_snapshot():
    tracker = SequenceTracker()
    changes, rejected = accept(
        tracker,
        (1, SNAPSHOT, 10, -1),
        (1, DELTA, 13, 12),  # 11 and 12 are missing
        (1, DELTA, 14, 13),
        (1, SNAPSHOT, 14, -1),
        (1, DELTA, 20, 14),
    )
    assert changes == [Change(0, 1, Turn.LIVE), Change(1, 1, Turn.GAP), Change(3, 1, Turn.LIVE)]
    assert rejected == [False, True, True, False, False]
    assert tracker.counts == SequenceCounts(snapshots=2, gaps=1, rejected=2, resyncs=1)


def test_a_gap_of_one_listing_leaves_the_others_alone():
    tracker = SequenceTracker()
    accept(tracker, (1, SNAPSHOT, 10, -1), (2, SNAPSHOT, 10, -1))
    changes, rejected = accept(tracker, (1, DELTA, 13, 12), (2, DELTA, 11, 10))
    assert changes == [Change(0, 1, Turn.GAP)]
    assert rejected == [True, False]
    assert (tracker.state(1), tracker.state(2), tracker.state(3)) == (GAPPED, LIVE, WAITING)


@pytest.mark.parametrize("copy", [(11, 10), (12, 11), (9, 8)])
def test_a_copy_of_an_old_change_is_dropped_and_is_no_gap(copy):
    tracker = SequenceTracker()
    accept(tracker, (1, SNAPSHOT, 10, -1), (1, DELTA, 11, 10), (1, DELTA, 12, 11))
    changes, rejected = accept(tracker, (1, DELTA, *copy), (1, DELTA, 13, 12))
    assert changes == []
    assert rejected == [True, False]
    assert (tracker.counts.duplicates, tracker.counts.gaps) == (1, 0)


def test_a_snapshot_from_before_the_gap_does_not_close_it():
    tracker = SequenceTracker()
    accept(tracker, (1, SNAPSHOT, 10, -1), (1, DELTA, 13, 12), (1, DELTA, 14, 13))
    _, rejected = accept(tracker, (1, SNAPSHOT, 13, -1))
    assert rejected == [True]
    assert tracker.state(1) == GAPPED
    accept(tracker, (1, SNAPSHOT, 14, -1))
    assert tracker.state(1) == LIVE


def test_an_older_snapshot_of_a_live_listing_puts_it_in_doubt():
    tracker = SequenceTracker()
    accept(tracker, (1, SNAPSHOT, 10, -1))
    changes, rejected = accept(tracker, (1, SNAPSHOT, 1, -1))
    assert (changes, rejected) == ([Change(0, 1, Turn.GAP)], [True])
    tracker.wait(1)  # the resync gave the channel up
    accept(tracker, (1, SNAPSHOT, 1, -1), (1, DELTA, 2, 1))
    assert tracker.state(1) == LIVE
    assert tracker.counts.resyncs == 1


def test_a_newer_snapshot_of_a_live_listing_restarts_the_chain():
    tracker = SequenceTracker()
    changes, rejected = accept(
        tracker, (1, SNAPSHOT, 10, -1), (1, SNAPSHOT, 20, -1), (1, DELTA, 21, 20)
    )
    assert changes == [Change(0, 1, Turn.LIVE)]
    assert rejected == [False, False, False]


def test_a_snapshot_that_counts_anew_replaces_a_live_book_without_a_gap():
    tracker = SequenceTracker()
    changes, rejected = accept(
        tracker, (1, SNAPSHOT, 90, -1), (1, SNAPSHOT, 2, 0), (1, DELTA, 3, 2), (1, DELTA, 91, 90)
    )
    assert changes == [Change(0, 1, Turn.LIVE), Change(3, 1, Turn.GAP)]
    assert rejected == [False, False, False, True]
    assert tracker.counts == SequenceCounts(snapshots=2, gaps=1, rejected=1)


def test_a_snapshot_that_counts_anew_closes_a_gap_however_low_it_counts():
    tracker = SequenceTracker()
    accept(tracker, (1, SNAPSHOT, 90, -1), (1, DELTA, 93, 92))
    changes, rejected = accept(tracker, (1, SNAPSHOT, 2, 0), (1, DELTA, 3, 2))
    assert (changes, rejected) == ([Change(0, 1, Turn.LIVE)], [False, False])
    assert tracker.counts.resyncs == 1


def test_first_change_after_listing_starts_from_an_empty_book():
    tracker = SequenceTracker()
    changes, rejected = accept(tracker, (1, DELTA, 50, 0), (1, DELTA, 51, 50))
    assert changes == [Change(0, 1, Turn.EMPTY), Change(0, 1, Turn.LIVE)]
    assert rejected == [False, False]


def test_a_gapped_listing_does_not_start_from_an_empty_book():
    tracker = SequenceTracker()
    accept(tracker, (1, SNAPSHOT, 10, -1), (1, DELTA, 13, 12))
    _, rejected = accept(tracker, (1, DELTA, 20, 0))
    assert rejected == [True]


def test_empty_snapshots_and_windows_say_so():
    tracker = SequenceTracker()
    frames, rows = tables(
        (1, SNAPSHOT, 10, -1), (2, WINDOW, 4, -1), (2, WINDOW, 5, -1), rows_each=0
    )
    assert tracker.accept(frames, rows).changes == [
        Change(0, 1, Turn.LIVE),
        Change(0, 1, Turn.EMPTY),
        Change(1, 2, Turn.LIVE),
        Change(1, 2, Turn.EMPTY),
        Change(2, 2, Turn.EMPTY),
    ]


def test_windows_need_no_chain_and_older_ones_are_dropped():
    tracker = SequenceTracker()
    _, rejected = accept(
        tracker, (1, WINDOW, 10, -1), (1, WINDOW, 40, -1), (1, WINDOW, 39, -1), (1, WINDOW, 40, -1)
    )
    assert rejected == [False, False, True, False]
    assert tracker.counts == SequenceCounts(snapshots=3, duplicates=1)


def test_windows_whose_count_went_back_hold_from_the_second_that_goes_on():
    tracker = SequenceTracker()
    _, rejected = accept(
        tracker, (1, WINDOW, 90, -1), (1, WINDOW, 10, -1), (1, WINDOW, 10, -1), (1, WINDOW, 11, -1),
        (1, WINDOW, 12, -1), (2, WINDOW, 11, -1),
    )  # fmt: skip
    assert rejected == [False, True, True, False, False, False]
    assert tracker.counts == SequenceCounts(snapshots=4, duplicates=2)


def test_old_windows_between_newer_ones_are_copies_however_they_go_on():
    tracker = SequenceTracker()
    _, rejected = accept(
        tracker, (1, WINDOW, 90, -1), (1, WINDOW, 80, -1), (1, WINDOW, 91, -1), (1, WINDOW, 85, -1),
        (1, WINDOW, 84, -1), (1, WINDOW, 92, -1),
    )  # fmt: skip
    assert rejected == [False, True, False, True, True, False]


def test_a_window_dropped_on_one_connection_says_nothing_of_the_next():
    tracker = SequenceTracker()
    accept(tracker, (1, WINDOW, 90, -1), (1, WINDOW, 10, -1))
    tracker.wait(1)
    _, rejected = accept(tracker, (1, WINDOW, 90, -1), (1, WINDOW, 20, -1))
    assert rejected == [False, True]


def test_waiting_forgets_the_chain_and_accepts_any_snapshot():
    tracker = SequenceTracker()
    accept(tracker, (1, SNAPSHOT, 10, -1))
    tracker.wait(1)
    assert tracker.state(1) == WAITING
    _, rejected = accept(tracker, (1, DELTA, 11, 10), (1, SNAPSHOT, 3, -1), (1, DELTA, 4, 3))
    assert rejected == [True, False, False]


def test_a_forgotten_listing_leaves_nothing_to_its_successor():
    tracker = SequenceTracker()
    accept(tracker, (1, SNAPSHOT, 10, -1), (1, DELTA, 13, 12))
    tracker.forget(1)
    accept(tracker, (1, SNAPSHOT, 2, -1))
    assert tracker.state(1) == LIVE
    assert tracker.counts.resyncs == 0


def test_only_the_rows_of_the_refused_frame_are_marked():
    tracker = SequenceTracker()
    frames, rows = tables(
        (1, SNAPSHOT, 10, -1), (1, DELTA, 13, 12), (2, SNAPSHOT, 1, -1), rows_each=2
    )
    rows["flags"] = Flag.LAST
    tracker.accept(frames, rows)
    kept, refused = int(Flag.LAST), int(Flag.LAST | Flag.REJECTED)
    assert rows["flags"].tolist() == [kept, kept, refused, refused, kept, kept]


def test_a_chain_follows_where_its_numbers_stay_or_begin_anew():
    tracker = SequenceTracker()
    # The example of OKX's documentation: an update, a sign of life, a reset, an update.
    chain = ((15, 10), (15, 15), (3, 15), (5, 3))
    changes, rejected = accept(
        tracker, (1, SNAPSHOT, 10, -1), *((1, CHAINED, seq, previous) for seq, previous in chain)
    )
    assert changes == [Change(0, 1, Turn.LIVE)]
    assert rejected == [False] * 5
    assert tracker.counts == SequenceCounts(snapshots=1)


@pytest.mark.parametrize("stray", [(5, 3), (15, 15), (10, 9), (12, 11)])
def test_a_chained_change_that_does_not_follow_is_a_gap_whatever_its_number(stray):
    tracker = SequenceTracker()
    accept(tracker, (1, SNAPSHOT, 10, -1))
    changes, rejected = accept(tracker, (1, CHAINED, *stray), (1, CHAINED, 11, 10))
    assert changes == [Change(0, 1, Turn.GAP)]
    assert rejected == [True, True]


def test_a_chained_change_never_starts_from_an_empty_book():
    tracker = SequenceTracker()
    changes, rejected = accept(tracker, (1, CHAINED, 4, 0))
    assert (changes, rejected) == ([], [True])


def test_a_sign_of_life_does_not_say_that_the_book_is_empty():
    tracker = SequenceTracker()
    frames, rows = tables((1, SNAPSHOT, 10, -1), (1, CHAINED, 10, 10), rows_each=0)
    assert tracker.accept(frames, rows).changes == [
        Change(0, 1, Turn.LIVE),
        Change(0, 1, Turn.EMPTY),
    ]


UPDATES = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from("sdddccw"), st.integers(1, 8), st.integers(-1, 7)),
    max_size=30,
)


@given(UPDATES, st.lists(st.integers(0, 30), max_size=4))
def test_any_updates_cut_anywhere_are_judged_as_the_oracle_does(updates, cuts):
    chains = {listing: Chain() for listing in (1, 2, 3)}
    expected = [not chains[n].accepts(kind, seq, prev) for n, kind, seq, prev in updates]
    tracker, judged = SequenceTracker(), []
    edges = [0, *sorted(min(cut, len(updates)) for cut in cuts), len(updates)]
    for begin, end in itertools.pairwise(edges):
        part = [(n, type_of[kind], seq, prev) for n, kind, seq, prev in updates[begin:end]]
        judged += accept(tracker, *part)[1]
    assert judged == expected
    for listing, chain in chains.items():
        assert tracker.state(listing).name.lower() == chain.state
