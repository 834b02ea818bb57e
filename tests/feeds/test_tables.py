"""Table recordings read: values, order, and the real ones beside the repository."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feeds.errors import TableError
from feeds.events import Flag
from feeds.tables import TableRecording, TableWriter, read_tables
from tests.conftest import shared
from tests.feeds.recordings import (
    BOOK,
    BOOKS,
    COIN,
    GREEKS,
    INTEREST,
    LAST,
    LISTINGS,
    NAN,
    OPTION,
    QUOTE,
    QUOTES,
    SHARE,
    START,
    TRADE,
    TRADES,
    assert_rows,
    events,
    new_recording,
    save,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_recording(tmp_path)


def test_listings_carry_the_files_fields_and_ids(folder: Path) -> None:
    recording = read_tables(folder)
    assert recording.listings == [OPTION, SHARE]
    assert recording.listing_ids.tolist() == [7, 3]
    assert recording.notes == {}
    assert list(recording.chunks()) == []


def test_quote_is_a_bid_row_and_a_closing_ask_row(folder: Path) -> None:
    save(folder, "quotes", QUOTES, ex_ns=[9, None], seq=pa.array([4, 5], pa.uint64()))
    assert_rows(
        read_tables(folder).rows,
        events(
            (10, 9, 4, 1.05, 11.0, 7, QUOTE, 1, 0, 0),
            (10, 9, 4, 1.1, 12.0, 7, QUOTE, -1, LAST, 0),
            (20, 0, 5, 480.01, 300.0, 3, QUOTE, 1, 0, 0),
            (20, 0, 5, 480.02, 400.0, 3, QUOTE, -1, LAST, 0),
        ),
    )


def test_missing_side_has_no_price_and_no_size(folder: Path) -> None:
    sides = {
        "bid": [NAN, 0.0],
        "bid_size": [NAN, 0.0],
        "ask": [NAN, 480.02],
        "ask_size": [9.0, NAN],
    }
    save(folder, "quotes", QUOTES, **sides)
    recording = read_tables(folder)
    np.testing.assert_array_equal(recording.rows["price"], [NAN, NAN, NAN, 480.02])
    np.testing.assert_array_equal(recording.rows["size"], [0, 0, 0, NAN])
    assert recording.notes == {"zero_price": 1, "size_without_price": 1}


def test_trade_is_one_closing_row_with_the_files_flags(folder: Path) -> None:
    save(folder, "trades", TRADES, flags=[int(Flag.BLOCK)], ex_ns=[8], seq=[3])
    assert_rows(
        read_tables(folder).rows,
        events((10, 8, 3, 1.1, 5.0, 7, TRADE, -1, LAST | int(Flag.BLOCK), 0)),
    )


def test_book_snapshots_start_where_the_best_bid_comes_again(folder: Path) -> None:
    save(
        folder,
        "books",
        {
            "rx_ns": [10, 10, 10, 10, 10, 20],
            "seq": [1, 1, 1, 2, 2, 3],
            "listing_id": [7, 7, 7, 7, 7, 3],
            "side": [1, 1, -1, 1, -1, 1],
            "level": [0, 1, 0, 0, 0, 0],
            "price": [1.05, 1.04, 1.1, 1.06, 1.1, 480.01],
            "size": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        },
    )
    assert_rows(
        read_tables(folder).rows,
        events(
            (10, 0, 1, 1.05, 1.0, 7, BOOK, 1, START, 0),
            (10, 0, 1, 1.04, 2.0, 7, BOOK, 1, 0, 1),
            (10, 0, 1, 1.1, 3.0, 7, BOOK, -1, LAST, 0),
            (10, 0, 2, 1.06, 4.0, 7, BOOK, 1, START, 0),
            (10, 0, 2, 1.1, 5.0, 7, BOOK, -1, LAST, 0),
            (20, 0, 3, 480.01, 6.0, 3, BOOK, 1, START | LAST, 0),
        ),
    )


def test_levels_may_alternate_between_the_sides(folder: Path) -> None:
    save(folder, "books", {
        "rx_ns": [10] * 4, "listing_id": [7] * 4, "side": [1, -1, 1, -1], "level": [0, 0, 1, 1],
        "price": [1.05, 1.1, 1.04, 1.11], "size": [1.0, 2.0, 3.0, 4.0],
    })  # fmt: skip
    rows = read_tables(folder).rows
    assert rows["price"].tolist() == [1.05, 1.1, 1.04, 1.11]
    assert rows["flags"].tolist() == [START, 0, 0, LAST]


def test_book_without_bids_starts_with_a_bid_of_no_price(folder: Path) -> None:
    save(folder, "books", BOOKS, price=[NAN, NAN, 1.1], size=[NAN, NAN, 3.0])
    recording = read_tables(folder)
    assert_rows(
        recording.rows,
        events(
            (10, 0, 1, NAN, 0.0, 7, BOOK, 1, START, 0), (10, 0, 1, 1.1, 3.0, 7, BOOK, -1, LAST, 0)
        ),
    )
    assert recording.notes == {"padding_levels": 1}


def test_greeks_and_open_interest_are_ticker_rows_with_nan_elsewhere(folder: Path) -> None:
    save(folder, "greeks", GREEKS, delta=[None], forward=[481.5])
    save(folder, "open_interest", INTEREST)
    tickers = read_tables(folder).tickers
    assert tickers["rx_ns"].tolist() == [10, 10]
    assert tickers["listing_id"].tolist() == [7, 7]
    assert tickers["seq"].tolist() == [1, 2]
    np.testing.assert_array_equal(tickers["iv_mark"], [0.25, NAN])
    np.testing.assert_array_equal(tickers["forward"], [481.5, NAN])
    np.testing.assert_array_equal(tickers["open_interest"], [NAN, 0.0])
    assert tickers["oi_ns"].tolist() == [0, 10]
    for name in ("mark", "iv_bid", "iv_ask", "delta", "gamma", "vega", "theta", "index"):
        assert np.isnan(tickers[name]).all()


def test_price_is_rounded_to_the_decimal_of_its_tick(folder: Path) -> None:
    widened = float(np.float32(1.05))  # 1.0499999523162842: 5e-6 ticks off
    save(folder, "quotes", QUOTES, bid=[widened, 480.01009], ask=[1.1 + 2e-16, 480.01995])
    assert read_tables(folder).rows["price"].tolist() == [1.05, 1.1, 480.01, 480.02]


@pytest.mark.parametrize("bid", [0.0049, 0.005, 0.0055, 1.0005])
def test_tick_table_sets_the_grid_of_its_band(tmp_path: Path, bid: float) -> None:
    with TableWriter(tmp_path, [COIN]):
        pass
    quote = {"rx_ns": [1], "listing_id": [0], "bid_size": [1.0], "ask": [NAN], "ask_size": [NAN]}
    save(tmp_path, "quotes-0001", quote, bid=[bid])
    assert read_tables(tmp_path).rows["price"][0] == bid


@pytest.mark.parametrize(("bid", "tick"), [(0.00495, "0.0001"), (0.0051, "0.0005")])
def test_price_between_the_ticks_of_its_band_is_refused(
    tmp_path: Path, bid: float, tick: str
) -> None:
    with TableWriter(tmp_path, [COIN]):
        pass
    quote = {"rx_ns": [1], "listing_id": [0], "bid_size": [1.0], "ask": [NAN], "ask_size": [NAN]}
    save(tmp_path, "quotes-0001", quote, bid=[bid])
    with pytest.raises(
        TableError, match=rf"quotes-0001.parquet: column bid, row 0: .* tick {tick}$"
    ):
        read_tables(tmp_path)


@pytest.mark.parametrize("flag", [Flag.BLOCK, Flag.COMBO_LEG, Flag.RFQ])
def test_negotiated_print_keeps_a_price_off_the_grid(folder: Path, flag: Flag) -> None:
    save(folder, "trades", TRADES, price=[1.1025], flags=[int(flag)])
    assert read_tables(folder).rows["price"].tolist() == [1.1025]


@pytest.mark.parametrize("table", ["[[0.005, 0.0005]]", '[{"above_price": 0.005, "tick": 0.0005}]'])
def test_tick_table_may_be_json_text(folder: Path, table: str) -> None:
    save(folder, "listings", LISTINGS, tick_table=[table, None])
    assert [one.tick_table for one in read_tables(folder).listings] == [((0.005, 0.0005),), ()]


def test_tick_table_may_be_a_list_of_pairs(folder: Path) -> None:
    save(folder, "listings", LISTINGS, tick_table=[[[0.005, 0.0005]], None])
    assert read_tables(folder).listings[0].tick_table == ((0.005, 0.0005),)


def test_other_types_are_read_as_long_as_the_values_fit(folder: Path) -> None:
    save(
        folder,
        "listings",
        LISTINGS,
        listing_id=pa.array([7, 3], pa.int64()),
        venue=pa.array(["OPRA", "OPRA"]).dictionary_encode(),
        symbol=pa.array([OPTION.symbol, "SPY"], pa.large_string()),
        tick=pa.array([0.01, 0.01], pa.float64()),
        multiplier=pa.array([100, 1], pa.int16()),
        lot=pa.nulls(2),
        settle_window_s=pa.array([NAN, None]),
    )
    save(
        folder,
        "quotes",
        QUOTES,
        listing_id=pa.array([7, 3], pa.uint8()),
        bid_size=pa.array([11, 300], pa.int32()),
        ask_size=pa.array([12, 400], pa.float32()),
        seq=pa.array([4, 5], pa.int8()),
    )
    recording = read_tables(folder)
    assert recording.listings == [OPTION, SHARE]
    assert recording.rows["size"].tolist() == [11, 12, 300, 400]
    assert recording.rows["seq"].tolist() == [4, 4, 5, 5]


def test_rows_with_seq_come_first_by_seq_whatever_their_file(folder: Path) -> None:
    save(folder, "books", BOOKS, seq=[2, 2, 2])
    save(folder, "quotes", QUOTES, rx_ns=[10, 10], seq=[3, 1])
    save(folder, "trades", TRADES, seq=pa.array([None], pa.uint64()))
    rows = read_tables(folder).rows
    assert rows["kind"].tolist() == [QUOTE] * 2 + [BOOK] * 3 + [QUOTE] * 2 + [TRADE]
    assert rows["listing_id"].tolist() == [3, 3, 7, 7, 7, 7, 7, 7]
    assert rows["seq"].tolist() == [1, 1, 2, 2, 2, 3, 3, 4]  # the trade is the fourth update


def test_rows_without_seq_follow_as_books_quotes_trades(folder: Path) -> None:
    save(folder, "trades", TRADES)
    save(folder, "quotes", QUOTES, rx_ns=[10, 10])
    save(folder, "books", BOOKS)
    rows = read_tables(folder).rows
    assert rows["kind"].tolist() == [BOOK] * 3 + [QUOTE] * 4 + [TRADE]
    assert rows["listing_id"].tolist() == [7, 7, 7, 7, 7, 3, 3, 7]
    assert rows["seq"].tolist() == [1, 1, 1, 2, 2, 3, 3, 4]


def test_a_row_with_seq_precedes_one_without_only_at_equal_time(folder: Path) -> None:
    save(folder, "quotes", QUOTES, rx_ns=[9, 10])
    save(folder, "trades", {key: value * 2 for key, value in TRADES.items()}, seq=[90, 80])
    rows = read_tables(folder).rows
    assert rows["kind"].tolist() == [QUOTE, QUOTE, TRADE, TRADE, QUOTE, QUOTE]
    assert rows["seq"].tolist() == [1, 1, 80, 90, 4, 4]


def test_equal_seq_falls_back_to_books_quotes_trades_and_file_order(folder: Path) -> None:
    save(folder, "trades", {key: value * 2 for key, value in TRADES.items()}, seq=[1, 1],
         size=[5.0, 6.0])  # fmt: skip
    save(folder, "books", BOOKS, seq=[1, 1, 1])
    rows = read_tables(folder).rows
    assert rows["kind"].tolist() == [BOOK] * 3 + [TRADE] * 2
    assert rows["size"].tolist() == [1, 2, 3, 5, 6]


def test_times_that_go_back_within_a_file_are_sorted(folder: Path) -> None:
    save(folder, "quotes", QUOTES, rx_ns=[20, 10])
    rows = read_tables(folder).rows
    assert rows["rx_ns"].tolist() == [10, 10, 20, 20]
    assert rows["listing_id"].tolist() == [3, 3, 7, 7]


def test_parts_are_read_in_the_order_of_their_names(folder: Path) -> None:
    for number, size in ((2, 2.0), (10, 10.0), (1, 1.0)):
        save(folder, f"trades-{number:04d}", TRADES, size=[size])
    save(folder, "trades", TRADES, size=[0.5])
    assert read_tables(folder).rows["size"].tolist() == [0.5, 1.0, 2.0, 10.0]


def test_greeks_precede_open_interest_at_equal_time(folder: Path) -> None:
    save(folder, "open_interest", INTEREST | {"rx_ns": [10]})
    save(folder, "greeks", {key: value * 2 for key, value in GREEKS.items()}, rx_ns=[10, 9])
    tickers = read_tables(folder).tickers
    assert tickers["rx_ns"].tolist() == [9, 10, 10]
    assert np.isnan(tickers["open_interest"]).tolist() == [True, True, False]


def stretched(folder: Path) -> TableRecording:
    """Three snapshots of three rows at 10, 20, 30 and tickers at 5, 20, 20, 40."""
    save(folder, "books", {key: value * 3 for key, value in BOOKS.items()},
         rx_ns=[10] * 3 + [20] * 3 + [30] * 3)  # fmt: skip
    save(folder, "greeks", {"rx_ns": [5, 20, 20, 40], "listing_id": [7] * 4, "iv_mark": [0.1] * 4})
    return read_tables(folder)


@pytest.mark.parametrize(
    ("rows_max", "wanted"),
    [
        (1, [(0, [5]), (3, []), (0, [20]), (0, [20]), (3, []), (0, [40])]),
        (2, None),
        (3, [(3, [5]), (3, [20, 20]), (3, [40])]),
        (5, [(3, [5]), (3, [20, 20]), (3, [40])]),
        (6, [(6, [5, 20, 20]), (3, [40])]),
        (100, [(9, [5, 20, 20, 40])]),
    ],
)
def test_chunks_hold_whole_updates_and_tickers_at_their_time(
    folder: Path, rows_max: int, wanted: list[tuple[int, list[int]]] | None
) -> None:
    recording = stretched(folder)
    chunks = list(recording.chunks(rows_max))
    assert_rows(np.concatenate([chunk.rows for chunk in chunks]), recording.rows)
    assert_rows(np.concatenate([chunk.tickers for chunk in chunks]), recording.tickers)
    latest = 0
    for rows, tickers in chunks:
        assert len(tickers) <= rows_max
        assert len(rows) <= max(rows_max, 3)
        assert not len(rows) or rows["flags"][-1] & LAST
        times = [*rows["rx_ns"].tolist(), *tickers["rx_ns"].tolist()]
        assert times
        assert min(times) >= latest
        latest = max(times)
    if rows_max >= 3 and wanted is not None:
        shapes = [(len(chunk.rows), chunk.tickers["rx_ns"].tolist()) for chunk in chunks]
        assert shapes == wanted


def test_chunk_size_below_one_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="rows_max was 0"):
        next(stretched(folder).chunks(0))


@pytest.mark.parametrize(
    ("name", "listings", "quotes", "trades", "books", "tickers"),
    [
        ("goog_20151224", 2_193, 275_812, 1_185, 0, 2_016 + 2_058),
        ("twx_20140605", 185, 30_944, 477, 0, 184),
        ("foxa_20130702", 187, 16_813, 404, 0, 0),
        ("bac_20131011", 1, 481_536, 112_177, 0, 0),
        ("ibm_20131007", 1, 109_067, 24_293, 0, 0),
        ("msft_lobster_1000", 1, 1_000, 115, 20_000, 0),
    ],
)
def test_real_recording_is_read_whole(
    name: str, listings: int, quotes: int, trades: int, books: int, tickers: int
) -> None:
    recording = read_tables(shared(f"data/tables/{name}"))
    rows = recording.rows
    assert len(recording.listings) == listings
    assert [int((rows["kind"] == kind).sum()) for kind in (QUOTE, TRADE, BOOK)] == [
        2 * quotes, trades, books,
    ]  # fmt: skip
    assert len(recording.tickers) == tickers
    assert recording.notes == {}
    assert (np.diff(rows["rx_ns"]) >= 0).all()
    # The files number their updates over all kinds, so merged order is the order of seq.
    assert (np.diff(rows["seq"].astype(np.int64)) >= 0).all()
    assert sum(len(chunk.rows) for chunk in recording.chunks()) == len(rows)


def test_first_msft_snapshot_is_that_of_the_book_file() -> None:
    rows = read_tables(shared("data/tables/msft_lobster_1000")).rows
    assert (rows["seq"][:20] == 1).all()
    assert rows["flags"][:20].tolist() == [START, *[0] * 18, LAST]
    bids, asks = rows[:10], rows[10:20]
    assert bids["price"].tolist() == [
        30.88,
        30.87,
        30.86,
        30.85,
        30.84,
        30.83,
        30.82,
        30.81,
        30.8,
        30.79,
    ]
    assert asks["price"].tolist() == [
        30.89,
        30.9,
        30.91,
        30.92,
        30.93,
        30.94,
        30.95,
        30.96,
        30.97,
        30.98,
    ]
    assert bids["size"][:2].tolist() == [5345, 3325]
    assert asks["size"][0] == 1855
    assert (bids["side"] == 1).all()
    assert (asks["side"] == -1).all()
    quote = rows[20:22]
    assert quote["kind"].tolist() == [QUOTE, QUOTE]
    assert quote["price"].tolist() == [30.88, 30.89]
    assert quote["size"].tolist() == [5345, 1855]


@pytest.mark.parametrize("kind", [QUOTE, BOOK])
def test_msft_order_flow_in_event_order_is_the_published_figure(kind: int) -> None:
    """Best-level order-flow imbalance, Cont, Kukanov and Stoikov (2014), eq. 2: -70,014 shares."""
    rows = read_tables(shared("data/tables/msft_lobster_1000")).rows
    best = rows[(rows["kind"] == kind) & (rows["level"] == 0)]
    bid, ask = best[best["side"] == 1], best[best["side"] == -1]
    flow = 0.0
    for i in range(1, len(bid)):
        flow += float(bid["size"][i]) * (bid["price"][i] >= bid["price"][i - 1])
        flow -= float(bid["size"][i - 1]) * (bid["price"][i] <= bid["price"][i - 1])
        flow -= float(ask["size"][i]) * (ask["price"][i] <= ask["price"][i - 1])
        flow += float(ask["size"][i - 1]) * (ask["price"][i] >= ask["price"][i - 1])
    assert flow == -70_014


def test_first_bac_quotes_are_those_of_the_file() -> None:
    rows = read_tables(shared("data/tables/bac_20131011")).rows[:4]
    np.testing.assert_array_equal(rows["price"], [14.12, NAN, 14.12, 14.25])
    assert rows["size"].tolist() == [700, 0, 700, 100]
    assert rows["rx_ns"].tolist() == [1_381_478_400_499_000_000] * 4


@pytest.mark.parametrize(
    ("file", "table", "column", "values"),
    [
        ("quotes", "QUOTES", "rx_ns", [0, 20]),
        ("quotes", "QUOTES", "rx_ns", [-5, 20]),
        ("quotes", "QUOTES", "rx_ns", [2**63 - 1, 20]),
        ("quotes", "QUOTES", "bid_size", [1e30, 1.0]),
        ("listings", "LISTINGS", "multiplier", [1e308, 1.0]),
        ("listings", "LISTINGS", "tick_table", ["[" * 5000, None]),
    ],
)
def test_values_that_nothing_can_be_counted_with_are_refused(folder, file, table, column, values):
    base = {"QUOTES": QUOTES, "LISTINGS": LISTINGS}[table]
    save(folder, file, base, **{column: values})
    with pytest.raises(TableError, match=rf"{file}.parquet: column {column}, row 0: "):
        read_tables(folder)


def test_one_listing_under_two_ids_is_refused(folder):
    save(folder, "listings", LISTINGS, symbol=["SPY", "SPY"], venue=["OPRA", "OPRA"])
    with pytest.raises(TableError, match=r"listings.parquet: column symbol, row 1: 'SPY', expect"):
        read_tables(folder)


def test_an_error_of_parquet_is_one_line(folder):
    path = folder / "quotes.parquet"
    data = bytearray(path.read_bytes())
    said = []
    for at in range(8, len(data) - 12, 3):
        broken = bytearray(data)
        broken[at] ^= 0xFF
        path.write_bytes(broken)
        try:
            read_tables(folder)
        except TableError as error:
            said.append(str(error))
    assert len(said) > 50
    assert [text for text in said if "\n" in text] == []
