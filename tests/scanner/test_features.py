"""`scanner features`: reference figures on real data, and small recordings worked by hand."""

import math
import os
from statistics import mean

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.__main__ import main
from tests.conftest import shared
from tests.oracles import figures

SECOND = 1_000_000_000
LEVELS = [-70014, -62942, -61229, -63570, -44927, -36508, -40609, -36269, -27726, -20659]
BARS = ["ofi_bar", *(f"ofi_bar_{m}" for m in range(2, 11))]


def features(source, out, *options):
    assert main(["features", str(source), "--out", str(out), *options]) == 0
    return pq.read_table(out)


@pytest.mark.parametrize(
    ("folder", "day", "r2"),
    [("bac_20131011", (2013, 10, 11), 0.6890), ("ibm_20131007", (2013, 10, 7), 0.6912)],
)
def test_order_flow_explains_the_mid_as_published(tmp_path, folder, day, r2):
    source = shared(f"data/tables/{folder}")
    columns = "ts_ns,listing_id,mid,ofi_bar"
    features(source, tmp_path / "f.parquet", "--every", "10s", "--columns", columns)
    bars = figures.read_table(tmp_path / "f.parquet")
    windows = figures.half_hour_r_squared(bars, 0, figures.new_york_ns(*day, 9, 30))
    assert mean(windows) == pytest.approx(r2, abs=1e-4)


def test_option_flow_times_delta_explains_the_share_as_published(tmp_path):
    source = shared("data/tables/goog_20151224")
    features(source, tmp_path / "f.parquet", "--every", "60s")
    bars = figures.read_table(tmp_path / "f.parquet")
    greeks = figures.read_table(source / "greeks.parquet")
    deltas = dict(zip(greeks["listing_id"].tolist(), greeks["delta"].tolist(), strict=True))
    grid = figures.session_grid(figures.new_york_ns(2015, 12, 24, 9, 30), 210, 60)
    correlation, bar_count = figures.synthesis(bars, deltas, 0, grid)
    assert bar_count == 209
    assert correlation == pytest.approx(0.7248, abs=1e-4)


def test_ten_levels_of_order_flow_are_exact(tmp_path):
    table = features(
        shared("data/tables/msft_lobster_1000"), tmp_path / "f.parquet", "--every", "60s"
    )
    last = table.slice(table.num_rows - 1).to_pylist()[0]
    assert [last[name] for name in BARS] == LEVELS
    assert (last["bid"], last["ask"]) == (30.83, 30.85)


def row(table, symbol, second):
    for one in table.to_pylist():
        if one["symbol"] == symbol and one["ts_ns"] == second * SECOND:
            return one
    return None


def test_a_small_recording_gives_the_numbers_worked_by_hand(tmp_path, toy_recording):
    table = features(toy_recording, tmp_path / "f.parquet", "--every", "10s")
    first = row(table, "AAA-C", 1_000)
    assert (first["bid"], first["bid_size"], first["ask"], first["ask_size"]) == (1.0, 5, 1.1, 7)
    assert math.isnan(first["ofi_bar"])  # The bar's start has no state.
    second = row(table, "AAA-C", 1_010)
    # (1.0, 8, 1.1, 7) then (1.0, 8, 1.1, 3): +3 on the bid, +4 because the ask thinned.
    assert second["ofi_bar"] == 7
    assert second["mid"] == 1.05
    assert second["obi"] == pytest.approx((8 - 3) / (8 + 3))
    assert (second["right"], second["kind"], second["strike_e9"]) == ("C", "option", 100 * 10**9)
    assert second["validity"] == 0
    third = row(table, "AAA-C", 1_020)
    assert math.isnan(third["ask"])
    assert math.isnan(third["mid"])
    assert third["validity"] == 2  # no ask
    assert third["ofi_bar"] == 0  # A one-sided state breaks the pair.


def test_a_listing_without_a_state_has_no_row(tmp_path, toy_recording):
    table = features(toy_recording, tmp_path / "f.parquet", "--every", "10s")
    assert row(table, "SHARE", 1_000) is None
    share = row(table, "SHARE", 1_010)
    assert share["right"] is None
    assert share["expiry_ns"] is None
    assert share["contract_id"] is None


def test_columns_and_listings_can_be_chosen(tmp_path, toy_recording):
    table = features(
        toy_recording, tmp_path / "f.parquet", "--every", "10s", "--columns", "ask,ts_ns",
        "--listings", "toy:SHARE",
    )  # fmt: skip
    assert table.schema.names == ["ask", "ts_ns"]
    assert table.num_rows == 2  # 1010 and 1020.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--every", "150ms"], "--every was 150000000 ns, expected a multiple of the tick"),
        (["--columns", "bidd"], "--columns: 'bidd' is unknown"),
        (["--listings", "toy:NONE"], "--listings: 'toy:NONE' is not in the recording"),
    ],
)
def test_wrong_options_are_clear_errors(tmp_path, toy_recording, capsys, options, message):
    assert main(["features", str(toy_recording), "--out", str(tmp_path / "f"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "f").exists()


def test_a_grid_finer_than_the_data_repeats_the_state(tmp_path, toy_recording):
    table = features(toy_recording, tmp_path / "f.parquet", "--every", "1s")
    times = np.unique(table["ts_ns"].to_numpy()) // SECOND
    assert times.tolist() == list(range(1_000, 1_021))
    assert row(table, "AAA-C", 1_005)["bid_size"] == 8


def test_nothing_but_a_plain_file_outside_the_recording_is_replaced(
    tmp_path, toy_recording, capsys
):
    before = (toy_recording / "listings.parquet").read_bytes()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for out in (fifo, tmp_path, toy_recording / "listings.parquet"):
        assert main(["features", str(toy_recording), "--out", str(out)]) == 2
        assert f"--out: {out}" in capsys.readouterr().err
    assert (toy_recording / "listings.parquet").read_bytes() == before
    assert fifo.is_fifo()


def test_a_grid_of_too_many_times_is_refused(tmp_path, toy_recording, capsys):
    path = toy_recording / "quotes.parquet"
    table = pq.read_table(path)
    late = table["rx_ns"].to_pylist()
    late[-1] = 2**60
    table = table.set_column(table.column_names.index("rx_ns"), "rx_ns", pa.array(late, pa.int64()))
    pq.write_table(table, path)
    assert main(["features", str(toy_recording), "--out", str(tmp_path / "f.parquet")]) == 2
    assert "grid times, expected at most 10000000" in capsys.readouterr().err
