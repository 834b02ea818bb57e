"""The published figures of the shared tables, from the tables alone and through the oracles."""

import math
from pathlib import Path
from statistics import mean, median

import numpy as np
import pytest

from tests.conftest import shared
from tests.oracles import figures
from tests.oracles.metrics import (
    BOOK_SNAPSHOT,
    LAST,
    QUOTE,
    SNAPSHOT_START,
    OracleListing,
    Row,
)

CENT = 0.01
LEVELS = [-70014, -62942, -61229, -63570, -44927, -36508, -40609, -36269, -27726, -20659]


def tables(name: str) -> Path:
    return shared(f"data/tables/{name}")


def equity() -> OracleListing:
    static = dict.fromkeys(("expiry_ns", "settle_window_s"), None)
    return OracleListing(
        {
            **static,
            "tick": CENT,
            "multiplier": 1.0,
            "price_per": 1.0,
            "inverse": False,
            "is_option": False,
            "underlying": "X",
            "listing_id": 0,
        }
    )


@pytest.mark.parametrize(
    ("folder", "day", "mean_r2", "median_r2"),
    [
        ("bac_20131011", (2013, 10, 11), 0.6890, 0.6857),
        ("ibm_20131007", (2013, 10, 7), 0.6912, 0.7405),
    ],
)
def test_order_flow_explains_the_mid_as_published(folder, day, mean_r2, median_r2):
    open_ns = figures.new_york_ns(*day, 9, 30)
    grid = figures.session_grid(open_ns, 390, 10)
    quotes = figures.read_table(tables(folder) / "quotes.parquet")
    bars = figures.bars_of_quotes(quotes, grid, CENT)
    windows = figures.half_hour_r_squared(bars, 0, open_ns)
    assert mean(windows) == pytest.approx(mean_r2, abs=5e-5)
    assert median(windows) == pytest.approx(median_r2, abs=5e-5)


def test_option_flow_times_delta_explains_the_share_as_published():
    folder = tables("goog_20151224")
    grid = figures.session_grid(figures.new_york_ns(2015, 12, 24, 9, 30), 210, 60)
    bars = figures.bars_of_quotes(figures.read_table(folder / "quotes.parquet"), grid, CENT)
    greeks = figures.read_table(folder / "greeks.parquet")
    deltas = dict(zip(greeks["listing_id"].tolist(), greeks["delta"].tolist(), strict=True))
    correlation, bar_count = figures.synthesis(bars, deltas, 0, grid)
    assert bar_count == 209
    assert correlation == pytest.approx(0.7248, abs=5e-5)


def test_ten_levels_of_order_flow_are_exact():
    books = figures.read_table(tables("msft_lobster_1000") / "books.parquet")
    assert [figures.level_ofi(books, level, CENT) for level in range(10)] == LEVELS


def test_oracle_listing_gives_ten_levels_of_order_flow_exactly():
    books = figures.read_table(tables("msft_lobster_1000") / "books.parquet")
    names = ("rx_ns", "seq", "price", "size", "side", "level")
    rows = list(zip(*(books[name].tolist() for name in names), strict=True))
    begins = [side == 1 and level == 0 for *_, side, level in rows]
    ends = [*begins[1:], True]
    listing = equity()
    listing.apply(
        Row(t, t, seq, price, size, 0, BOOK_SNAPSHOT, side, SNAPSHOT_START * b + LAST * e, level, 0)
        for (t, seq, price, size, side, level), b, e in zip(rows, begins, ends, strict=True)
    )
    assert listing.ofi_bar() == LEVELS


def test_oracle_listing_gives_the_bars_of_the_vectors():
    quotes = figures.read_table(tables("ibm_20131007") / "quotes.parquet")
    open_ns = figures.new_york_ns(2013, 10, 7, 9, 30)
    grid = figures.session_grid(open_ns, 10, 10)
    expected = figures.bars_of_quotes(quotes, grid, CENT)
    listing = equity()
    names = ("rx_ns", "seq", "bid", "bid_size", "ask", "ask_size")
    rows = zip(*(quotes[name].tolist() for name in names), strict=True)
    bars: list[float] = []
    for t, seq, bid, bid_size, ask, ask_size in rows:
        while len(bars) < len(grid) and t > grid[len(bars)]:
            bars.append(listing.ofi_bar(1)[0] if bars else math.nan)
            listing.reset_bar()
        if len(bars) == len(grid):
            break
        bid_row = Row(t, t, seq, bid, bid_size, 0, QUOTE, 1, 0, 0, 0)
        ask_row = Row(t, t, seq, ask, ask_size, 0, QUOTE, -1, LAST, 0, 0)
        listing.apply((bid_row, ask_row))
    np.testing.assert_array_equal(np.array(bars), expected["ofi_bar"])
