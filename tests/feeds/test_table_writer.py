"""Table recordings written: what goes in comes out, and what cannot is counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.contract import Listing, ListingKind
from feeds.errors import TableError
from feeds.events import TICKER, Flag, Kind, ListingState
from feeds.tables import TableWriter, read_tables
from tests.conftest import shared
from tests.feeds.recordings import (
    BOOK,
    COIN,
    LAST,
    NAN,
    OPTION,
    QUOTE,
    SHARE,
    START,
    TRADE,
    assert_rows,
    events,
    new_recording,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_recording(tmp_path)


def quote(rx: int, seq: int, listing: int, bid: tuple[float, float], ask: tuple[float, float],
          ex: int = 0) -> list[tuple[Any, ...]]:  # fmt: skip
    return [
        (rx, ex, seq, *bid, listing, QUOTE, 1, 0, 0),
        (rx, ex, seq, *ask, listing, QUOTE, -1, LAST, 0),
    ]


def ticker(**values: float) -> np.ndarray:
    row = np.zeros(1, TICKER)
    for name in TICKER.names or ():
        row[name] = values.get(name, NAN if TICKER[name].kind == "f" else 0)
    return row


NO_TICKERS = np.empty(0, TICKER)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = events(
        *quote(10, 1, 0, (1.05, 11.0), (1.1, 12.0), ex=9),
        *quote(10, 2, 1, (480.01, 300.0), (NAN, 0.0)),
        (11, 8, 3, 1.1, 5.0, 0, TRADE, -1, LAST | int(Flag.AGGRESSOR_INFERRED), 0),
        (12, 0, 4, 0.005, 1.5, 2, BOOK, 1, START, 0),
        (12, 0, 4, 0.0049, 2.5, 2, BOOK, 1, 0, 1),
        (12, 0, 4, 0.0055, 3.5, 2, BOOK, -1, LAST, 0),
        (13, 0, 5, NAN, 0.0, 2, BOOK, 1, START | LAST, 0),
        (14, 0, 6, 0.0051, 0.25, 2, TRADE, 1, LAST | int(Flag.BLOCK), 0),
    )
    tickers = np.concatenate([
        ticker(rx_ns=12, seq=1, listing_id=2, iv_mark=0.5, delta=-0.25, forward=101_000.5),
        ticker(rx_ns=13, seq=2, listing_id=2, open_interest=0.0, oi_ns=13),
    ])  # fmt: skip
    with TableWriter(tmp_path, [OPTION, SHARE, COIN]) as writer:
        writer.write(rows[:4], tickers[:1])
        writer.write(rows[4:], tickers[1:])
    recording = read_tables(tmp_path)
    assert recording.listings == [OPTION, SHARE, COIN]
    assert recording.listing_ids.tolist() == [0, 1, 2]
    assert_rows(recording.rows, rows)
    assert_rows(recording.tickers, tickers)
    assert not writer.dropped


def test_deltas_are_written_as_whole_books(tmp_path: Path) -> None:
    delta = int(Kind.BOOK_DELTA)
    rows = events(
        (1, 0, 1, 1.05, 9.0, 0, delta, 1, LAST, 0),  # no snapshot yet
        (2, 0, 2, 1.05, 1.0, 0, BOOK, 1, START, 0),
        (2, 0, 2, 1.10, 2.0, 0, BOOK, -1, LAST, 0),
        (3, 0, 3, 1.06, 3.0, 0, delta, 1, 0, 0),  # a better bid, and the ask moves up
        (3, 0, 3, 1.10, 0.0, 0, delta, -1, 0, 0),
        (3, 0, 3, 1.11, 4.0, 0, delta, -1, LAST, 0),
        (4, 0, 4, 1.06, 0.0, 0, delta, 1, 0, 0),  # the bids go
        (4, 0, 4, 1.05, 0.0, 0, delta, 1, LAST, 0),
        (5, 0, 5, 0.0, 0.0, 0, int(Kind.CLEAR), 0, LAST, 0),
        (6, 0, 6, 1.05, 9.0, 0, delta, 1, LAST, 0),  # unknown book again
    )
    with TableWriter(tmp_path, [OPTION]) as writer:
        writer.write(rows, NO_TICKERS)
    assert_rows(
        read_tables(tmp_path).rows,
        events(
            (2, 0, 2, 1.05, 1.0, 0, BOOK, 1, START, 0),
            (2, 0, 2, 1.10, 2.0, 0, BOOK, -1, LAST, 0),
            (3, 0, 3, 1.06, 3.0, 0, BOOK, 1, START, 0),
            (3, 0, 3, 1.05, 1.0, 0, BOOK, 1, 0, 1),
            (3, 0, 3, 1.11, 4.0, 0, BOOK, -1, LAST, 0),
            (4, 0, 4, NAN, 0.0, 0, BOOK, 1, START, 0),
            (4, 0, 4, 1.11, 4.0, 0, BOOK, -1, LAST, 0),
        ),
    )
    assert writer.dropped == {"delta_without_snapshot": 2, "clear": 1}


def test_a_deep_book_is_written_to_its_thirty_second_level(tmp_path: Path) -> None:
    asks = [(1, 0, 1, round(2 + k / 100, 2), 1.0 + k, 0, BOOK, -1, 0, k) for k in range(40)]
    rows = events((1, 0, 1, 1.0, 7.0, 0, BOOK, 1, START, 0), *asks)
    rows["flags"][-1] |= LAST
    with TableWriter(tmp_path, [OPTION]) as writer:
        writer.write(rows, NO_TICKERS)
    read = read_tables(tmp_path).rows
    assert len(read) == 33
    assert read["price"][[0, 1, 32]].tolist() == [1.0, 2.0, 2.31]
    assert read["size"][[0, 1, 32]].tolist() == [7, 1, 32]


def test_rows_without_a_place_in_the_format_are_counted(tmp_path: Path) -> None:
    rejected = LAST | int(Flag.REJECTED)
    state = int(Kind.STATE_CHANGE)
    rows = events(
        (1, 0, 1, 1.1, 1.0, 0, TRADE, 1, rejected, 0),
        (2, 0, 2, 1.1, 1.0, 9, TRADE, 1, LAST, 0),
        (3, 0, 3, 1.1025, 1.0, 0, TRADE, 1, LAST, 0),
        (4, 0, 4, -1.0, 1.0, 0, TRADE, 1, LAST, 0),
        (5, 0, 5, NAN, 1.0, 0, TRADE, 1, LAST, 0),
        (6, 0, 6, 1.1, -1.0, 0, TRADE, 1, LAST, 0),
        (7, 0, 7, NAN, 0.0, 0, state, 0, LAST, int(ListingState.HALTED)),
        (8, 0, 8, 1.1, 1.0, 0, QUOTE, 1, LAST, 0),
        *quote(9, 9, 0, (1.0, 1.0), (0.0, 1.0)),
    )
    with TableWriter(tmp_path, [OPTION]) as writer:
        writer.write(rows, ticker(rx_ns=1, listing_id=0, mark=1.05))
    assert writer.dropped == {
        "rejected": 1, "unknown_listing": 1, "price": 4, "size": 1, "state_change": 1,
        "half_quote": 1, "empty_ticker": 1,
    }  # fmt: skip
    recording = read_tables(tmp_path)
    assert len(recording.rows) == len(recording.tickers) == 0


def test_listings_may_be_added_while_writing(tmp_path: Path) -> None:
    with TableWriter(tmp_path, [OPTION], [40]) as writer:
        writer.add_listings([SHARE], [2])
        writer.write(events(*quote(1, 1, 2, (480.01, 1.0), (480.02, 2.0))), NO_TICKERS)
        with pytest.raises(TableError, match="listing_id 40: in use"):
            writer.add_listings([SHARE], [40])
    recording = read_tables(tmp_path)
    assert recording.listings == [OPTION, SHARE]
    assert recording.listing_ids.tolist() == [40, 2]
    assert recording.rows["listing_id"].tolist() == [2, 2]


def test_parts_appear_whole_as_they_fill(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path, [OPTION], part_rows=2)
    for k in (1, 2, 3):
        writer.write(events(*quote(k, k, 0, (1.0, 1.0), (1.1, 1.0))), NO_TICKERS)
    # What a crash here would leave: one part of two quotes, the third not yet written.
    assert read_tables(tmp_path).rows["seq"].tolist() == [1, 1, 2, 2]
    assert not list(tmp_path.glob(".*"))
    writer.close()
    assert read_tables(tmp_path).rows["seq"].tolist() == [1, 1, 2, 2, 3, 3]


def test_crash_while_a_part_is_written_leaves_whole_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TableWriter(tmp_path, [OPTION])
    writer.write(events(*quote(1, 1, 0, (1.0, 1.0), (1.1, 1.0))), NO_TICKERS)

    def fail(table: Any, file: Any, **_: Any) -> None:
        file.write(b"PAR1 half a part")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        writer.flush()
    monkeypatch.undo()
    assert [path.name for path in tmp_path.glob(".*")] == [".quotes-0001.parquet.tmp"]
    assert len(read_tables(tmp_path).rows) == 0
    writer.close()  # The rows are still buffered, so a second try brings them.
    assert len(read_tables(tmp_path).rows) == 2


def test_writer_refuses_a_folder_that_holds_tables(folder: Path) -> None:
    with pytest.raises(TableError, match="expected a folder without"):
        TableWriter(folder, [OPTION])


def test_writer_refuses_a_listing_that_cannot_be(tmp_path: Path) -> None:
    bad = Listing("OPRA", "SPY", ListingKind.EQUITY, "SPY", 1.0, "USD", "linear", 0.0)
    with pytest.raises(TableError, match="tick was 0"):
        TableWriter(tmp_path, [bad])


def test_buffered_rows_do_not_borrow_from_the_caller(tmp_path: Path) -> None:
    rows = events(*quote(1, 1, 0, (1.0, 1.0), (1.1, 2.0)))
    with TableWriter(tmp_path, [OPTION]) as writer:
        writer.write(rows, NO_TICKERS)
        rows["price"] = 5.0
    assert read_tables(tmp_path).rows["price"].tolist() == [1.0, 1.1]


@pytest.mark.parametrize("name", ["msft_lobster_1000", "twx_20140605"])
def test_real_recording_survives_being_written_again(tmp_path: Path, name: str) -> None:
    first = read_tables(shared(f"data/tables/{name}"))
    with TableWriter(tmp_path, first.listings, first.listing_ids.tolist()) as writer:
        for rows, tickers in first.chunks(5_000):
            writer.write(rows, tickers)
    second = read_tables(tmp_path)
    assert not writer.dropped
    assert second.listings == first.listings
    assert_rows(second.rows, first.rows)
    assert_rows(second.tickers, first.tickers)


def test_a_book_beyond_its_bound_loses_its_farthest_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feeds.table_writer.KEPT_LEVELS", 2)
    bids = [(1, 0, 1, price, 1.0, 0, BOOK, 1, 0, k) for k, price in enumerate((1.3, 1.2, 1.1))]
    asks = [(1, 0, 1, price, 1.0, 0, BOOK, -1, 0, k) for k, price in enumerate((1.4, 1.5, 1.6))]
    rows = events(*bids, *asks)
    rows["flags"][[0, 5]] = [START, LAST]
    with TableWriter(tmp_path, [OPTION]) as writer:
        writer.write(rows, NO_TICKERS)
    assert read_tables(tmp_path).rows["price"].tolist() == [1.3, 1.2, 1.4, 1.5]
    assert writer.dropped == {"deep_levels": 2}


TICKS = st.one_of(st.just(None), st.integers(1, 10_000))
SIZES = st.integers(0, 1_000).map(lambda k: k / 4)


@st.composite
def updates(draw: st.DrawFn) -> np.ndarray:
    rows: list[tuple[Any, ...]] = []
    for seq in range(1, draw(st.integers(0, 12)) + 1):
        listing = draw(st.integers(0, 1))
        rx = 100 + seq // 3
        kind = draw(st.sampled_from([QUOTE, BOOK, TRADE]))
        if kind == QUOTE:
            sides = [
                (NAN, 0.0) if tick is None else (tick / 100, draw(SIZES))
                for tick in (draw(TICKS), draw(TICKS))
            ]
            rows += quote(rx, seq, listing, sides[0], sides[1], ex=draw(st.integers(0, 99)))
        elif kind == TRADE:
            price, side = draw(st.integers(1, 10_000)) / 100, draw(st.integers(-1, 1))
            rows.append((rx, 7, seq, price, draw(SIZES), listing, TRADE, side, LAST, 0))
        else:
            bids = sorted(draw(st.sets(st.integers(1, 500), max_size=4)), reverse=True)
            asks = sorted(draw(st.sets(st.integers(501, 999), max_size=4)))
            book: list[tuple[Any, ...]] = [
                (rx, 0, seq, tick / 100, 1.0 + level, listing, BOOK, 1, 0, level)
                for level, tick in enumerate(bids)
            ] or [(rx, 0, seq, NAN, 0.0, listing, BOOK, 1, 0, 0)]
            book += [
                (rx, 0, seq, tick / 100, 2.0 + level, listing, BOOK, -1, 0, level)
                for level, tick in enumerate(asks)
            ]
            made = events(*book)
            made["flags"][0] |= START
            made["flags"][-1] |= LAST
            rows += [tuple(row)[:-1] for row in made.tolist()]
    return events(*rows)


@settings(max_examples=25)
@given(updates(), st.integers(1, 20))
def test_any_stream_of_updates_survives_its_recording(
    tmp_path_factory: pytest.TempPathFactory, rows: np.ndarray, part_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("recording")
    with TableWriter(folder, [OPTION, SHARE], part_rows=part_rows) as writer:
        for end in np.flatnonzero(rows["flags"] & LAST) + 1:
            begin = 0 if end == 0 else np.flatnonzero(rows["flags"][: end - 1] & LAST)
            first = 0 if not np.size(begin) else int(begin[-1]) + 1
            writer.write(rows[first:end], NO_TICKERS)
    assert not writer.dropped
    assert_rows(read_tables(folder).rows, rows)
