"""Bybit's decoder on recorded frames and on frames of its shape, broken ones included.

Expected values are typed in from the text of the frames; the recorded ones lie beside the
repository (fixtures/bybit) and are never copied here.
"""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import DecodeOut, Flag, FrameKind, Kind
from feeds.trade_keys import key_within
from feeds.venues import bybit
from tests.conftest import shared
from tests.feeds.bybit_frames import (
    CALL,
    IDS,
    INDEX,
    PERP,
    PUT,
    RX_NS,
    SAMPLES,
    book,
    clean,
    contents,
    decoded,
    f32,
    frame,
    message,
    mutated,
    recorded,
    ticker,
    trade,
    trades,
    tuples,
)

TARDIS = "ws_samples_tardis_2023-04.jsonl"
GCT = "ws_recorded_gct_ticker_2024-05.jsonl"
BYTEX = "ws_rest_bytex_2026-09-26.jsonl"
MS = 1_000_000
VALUES = (
    "mark", "iv_bid", "iv_ask", "iv_mark", "delta", "gamma", "vega", "theta", "forward", "index",
    "open_interest",
)  # fmt: skip


def values(row: np.ndarray) -> list[float]:
    return [float(row[name]) for name in VALUES]


def wanted(mark: float, ivs: list[float], greeks: list[float], rest: list[float]) -> list[float]:
    """Values of a ticker: volatilities and greeks are kept in float32."""
    return [mark, *map(f32, ivs), *map(f32, greeks), *rest]


# ---- recorded frames --------------------------------------------------------------------------


def test_recorded_book_of_2023_is_a_snapshot_and_a_change_that_follows():
    ids = {"SOL-28APR23-30-C": 5}
    out = clean([f for f in recorded(TARDIS) if b"orderbook" in f], ids)
    fields = ("kind", "side", "price", "size", "flags", "level", "ex_ns", "rx_ns")
    at, then = 1680652786355 * MS, 1680652799661 * MS
    assert tuples(out.rows.view(), *fields) == [
        (Kind.BOOK_SNAPSHOT, 1, 0.01, 50.0, Flag.SNAPSHOT_START, 0, at, RX_NS),
        (Kind.BOOK_SNAPSHOT, -1, 1.74, 46.0, Flag.LAST, 0, at, RX_NS),
        (Kind.BOOK_DELTA, -1, 1.74, 0.0, 0, 0, then, RX_NS + 1),
        (Kind.BOOK_DELTA, -1, 1.75, 46.0, Flag.LAST, 0, then, RX_NS + 1),
    ]
    # Update ids 24641 and 24642, each counted one higher.
    assert out.frames.view().tolist() == [
        (5, FrameKind.SNAPSHOT, 24642, 24642, -1, RX_NS, 0, 2),
        (5, FrameKind.DELTA, 24643, 24643, 24642, RX_NS + 1, 2, 4),
    ]
    assert out.rows.view()["seq"].tolist() == [24642, 24642, 24643, 24643]


def test_recorded_trade_of_2023_sells_a_hundredth_of_a_coin():
    out = clean([f for f in recorded(TARDIS) if b"publicTrade" in f], {"BTC-28APR23-29500-C": 9})
    fields = ("kind", "listing_id", "side", "price", "size", "flags", "seq", "ex_ns", "aux")
    assert tuples(out.rows.view(), *fields) == [
        (Kind.TRADE, 9, -1, 985.0, f32(0.01), Flag.LAST, 0, 1680652922081 * MS, 0)
    ]
    trade_id = "0404c393-8419-5bac-95c3-5fea28404754"
    assert out.trade_keys == [key_within("BTC-28APR23-29500-C", trade_id)]


def test_recorded_ticker_of_2023_gives_values_and_best_prices():
    out = clean([f for f in recorded(TARDIS) if b"tickers" in f], {"SOL-28APR23-24-C": 4})
    at = 1680652810254 * MS
    assert tuples(out.rows.view(), "kind", "side", "price", "size", "flags", "ex_ns") == [
        (Kind.QUOTE, 1, 0.34, 10.0, 0, at),
        (Kind.QUOTE, -1, 3.11, 51.0, Flag.LAST, at),
    ]
    (row,) = out.tickers.view()
    assert values(row) == wanted(
        1.99054639,
        [0.6004, 2.0007, 1.4674],
        [0.42723543, 0.0505193, 0.02075941, -0.06527514],
        [20.93, 20.93, 20.0],
    )
    assert (row["listing_id"], row["ex_ns"], row["oi_ns"], row["rx_ns"]) == (4, at, at, RX_NS)


GCT_ID = {"BTC-28JUN24-60000-P": 3}


def test_recorded_ticker_of_2024_is_the_worked_example_of_the_page():
    out = clean(recorded(GCT), GCT_ID)
    bid, ask = out.rows.view()
    assert (bid["side"], bid["price"], bid["size"]) == (1, 3475.0, np.float32(10.14))
    assert (ask["side"], ask["price"], ask["size"]) == (-1, 3520.0, np.float32(2.5))
    assert round(float(bid["price"]) * 10.14, 2) == 35_236.5  # USDC: the premium of the bid
    (row,) = out.tickers.view()
    assert values(row) == wanted(
        3502.0715721,
        [0.5479, 0.5534, 0.5513],
        [-0.37596534, 0.00003161, 82.65324199, -51.54651685],
        [62588.50709846, 61912.8, 29.35],
    )
    assert row["ex_ns"] == 1715742949283 * MS


def test_recorded_greeks_are_black_scholes_per_point_and_per_day():
    """Worked out of the recorded forward, strike, volatility and time, in USD."""
    forward, strike, iv = 62588.50709846, 60000.0, 0.5513
    years = (1719561600000 - 1715742949283) / (365 * 86_400_000)
    deviation = iv * math.sqrt(years)
    d1 = math.log(forward / strike) / deviation + deviation / 2
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    (row,) = clean(recorded(GCT), GCT_ID).tickers.view()
    assert row["delta"] == pytest.approx(-0.5 * math.erfc(d1 / math.sqrt(2)), abs=1e-5)
    assert row["gamma"] == pytest.approx(density / (forward * deviation), rel=1e-3)
    assert row["vega"] == pytest.approx(forward * density * math.sqrt(years) / 100, rel=1e-4)
    per_day = -forward * density * iv / (2 * math.sqrt(years)) / 365
    assert row["theta"] == pytest.approx(per_day, rel=1e-4)


def test_recorded_frames_of_2026_and_the_change_of_one_side():
    out = clean(recorded(BYTEX))
    quotes = out.rows.view()[out.rows.view()["kind"] == Kind.QUOTE]
    assert tuples(quotes, "listing_id", "side", "price", "size", "flags", "rx_ns") == [
        (1, 1, 22915.0, f32(18.55), 0, RX_NS),
        (1, -1, 26205.0, f32(18.55), Flag.LAST, RX_NS),
        (1, -1, 26200.0, 20.0, Flag.LAST, RX_NS + 1),
    ]
    first, second = out.tickers.view()
    assert values(first) == wanted(
        24465.0, [0.3285, 0.4489, 0.3868], [-0.5, 0.00001, 100.0, -40.0], [86977.1, 83885.0, 0.0]
    )
    assert first["oi_ns"] == 1790373953406 * MS  # an open interest of 0 is a value
    assert second["iv_ask"] == np.float32(0.448)
    assert [name for name in VALUES if not math.isnan(second[name])] == ["iv_ask"]
    assert second["oi_ns"] == 0
    prints = out.rows.view()[out.rows.view()["kind"] == Kind.TRADE]
    assert tuples(prints, "listing_id", "side", "price", "size", "seq", "ex_ns") == [
        (0, 1, 240.0, f32(0.1), 76572340339, 1790373961369 * MS)
    ]
    assert out.skipped == {"unknown_symbol": 1}  # the second print, of another strike


def test_documented_ticker_without_a_bid():
    path = shared("fixtures/bybit/nautilus_docexample_ws_ticker_option.json")
    indented = path.read_bytes()
    out = clean([indented, frame(json.loads(indented))], {"BTC-6JAN23-17500-C": 0})
    assert out.rows.view()["price"].tolist()[1::2] == [10.0, 10.0]
    assert out.rows.view()["size"].tolist()[1::2] == [f32(5.1)] * 2
    assert np.isnan(out.rows.view()["price"][::2]).all()
    assert np.isnan(out.rows.view()["size"][::2]).all()
    for row in out.tickers.view():
        assert math.isnan(row["iv_bid"])
        assert row["iv_ask"] == np.float32(0.514)
        assert row["mark"] == 7.86976724
        assert row["vega"] == np.float32(0.81351067)
        assert (row["forward"], row["index"], row["open_interest"]) == (16815.1, 16823.73, 49.85)


@pytest.mark.parametrize("name", [TARDIS, GCT, BYTEX])
def test_no_recorded_frame_is_an_error_spaced_or_not(name):
    frames = recorded(name)
    out = decoded([*frames, *(frame(json.loads(f)) for f in frames)], {})
    assert out.errors == []
    assert out.skipped["unknown_symbol"] >= 2 * len(frames)


# ---- books ------------------------------------------------------------------------------------


def test_the_matching_engine_s_time_is_taken_where_it_is_given():
    out = clean([book("delta", 6, [["20", "7"]], cts=1790373954401), book("delta", 7)])
    assert out.rows.view()["ex_ns"].tolist() == [1790373954401 * MS]
    out = clean([book("delta", 6, [["20", "7"]])])
    assert out.rows.view()["ex_ns"].tolist() == [1790373954406 * MS]


def test_snapshots_of_update_0_and_1_count_anew_and_others_do_not():
    out = clean([book("snapshot", n) for n in (0, 1, 2, 10**15)])
    assert tuples(out.frames.view(), "kind", "seq_last", "seq_prev") == [
        (FrameKind.SNAPSHOT, 1, 0),
        (FrameKind.SNAPSHOT, 2, 0),
        (FrameKind.SNAPSHOT, 3, -1),
        (FrameKind.SNAPSHOT, 10**15 + 1, -1),
    ]


def test_changes_follow_the_update_before_and_that_of_number_0_follows_none():
    out = clean([book("delta", n) for n in (0, 1, 2)])
    assert tuples(out.frames.view(), "kind", "seq_last", "seq_prev") == [
        (FrameKind.DELTA, 1, -1),
        (FrameKind.DELTA, 2, 1),
        (FrameKind.DELTA, 3, 2),
    ]


def test_empty_one_sided_and_crossed_books_pass():
    frames = [
        book("snapshot", 4),
        book("snapshot", 5, [["20", "1"], ["15", "2"]]),
        book("snapshot", 6, [], [["30", "1"]]),
        book("snapshot", 7, [["31", "1"]], [["30", "1"]]),
    ]
    out = clean(frames)
    spans = tuples(out.frames.view(), "row_begin", "row_end")
    assert spans == [(0, 0), (0, 2), (2, 3), (3, 5)]
    assert tuples(out.rows.view(), "side", "level", "price", "flags") == [
        (1, 0, 20.0, Flag.SNAPSHOT_START),
        (1, 1, 15.0, Flag.LAST),
        (-1, 0, 30.0, Flag.SNAPSHOT_START | Flag.LAST),
        (1, 0, 31.0, Flag.SNAPSHOT_START),
        (-1, 0, 30.0, Flag.LAST),
    ]


def top(update: int, bids: object, asks: object, kind: str = "snapshot") -> bytes:
    data = {"s": PERP, "b": bids, "a": asks, "u": update, "seq": 3}
    return message("orderbook.1.BTCUSDT", kind, data, cts=1790373954400)


def test_books_of_one_level_are_quotes_and_stay_out_of_the_chain():
    out = clean([top(9, [["81000.1", "2"]], [["81000.2", "0.5"]]), top(9, [], [["81000.2", "1"]])])
    assert out.frames.count == 0
    rows = out.rows.view()
    assert set(rows["kind"].tolist()) == {Kind.QUOTE}
    assert tuples(rows, "side", "flags", "seq", "ex_ns")[0] == (1, 0, 9, 1790373954400 * MS)
    assert rows["price"][[0, 1, 3]].tolist() == [81000.1, 81000.2, 81000.2]
    assert rows["size"][[0, 1, 3]].tolist() == [2.0, 0.5, 1.0]
    assert np.isnan([rows["price"][2], rows["size"][2]]).all()


# ---- tickers of perpetuals, prints ------------------------------------------------------------


def test_a_perpetual_s_ticker_carries_its_index_and_changes_one_by_one():
    whole = ticker(
        PERP, markPrice="17217.33", indexPrice="17227.36", openInterest="68744.761",
        bid1Price="17215.50", bid1Size="84.489", fundingRate="", deliveryTime="",
    )  # fmt: skip
    out = clean([whole, ticker(PERP, "delta", bid1Price="17215.60"),
                 ticker(PERP, "delta", indexPrice="17228.00")])  # fmt: skip
    assert out.rows.count == 0
    by_frame = [[row for row in out.tickers.view() if row["rx_ns"] == RX_NS + k] for k in range(3)]
    perp, index = by_frame[0]
    assert (index["listing_id"], index["mark"], index["index"]) == (IDS[INDEX], 17227.36, 17227.36)
    assert math.isnan(index["open_interest"])
    assert (perp["listing_id"], perp["mark"], perp["index"]) == (IDS[PERP], 17217.33, 17227.36)
    assert perp["open_interest"] == 68744.761
    assert math.isnan(perp["forward"])
    (nothing_new,) = by_frame[1]
    assert all(math.isnan(nothing_new[name]) for name in VALUES)
    assert [row["index"] for row in by_frame[2]] == [17228.0, 17228.0]


def test_prints_carry_the_taker_s_side_and_block_trades_their_flag():
    out = clean([trades(trade(), trade(S="Sell", BT=True, p="241"), trade(s=PUT))])
    assert tuples(out.rows.view(), "listing_id", "side", "price", "flags", "aux") == [
        (0, 1, 240.0, Flag.LAST, 0),
        (0, -1, 241.0, Flag.LAST | Flag.BLOCK, 0),
        (1, 1, 240.0, Flag.LAST, 0),
    ]
    first, second, third = out.trade_keys
    assert first == second != third  # one id; another instrument is another print


# ---- what is not market data, what is broken --------------------------------------------------


def test_other_frames_are_skipped_by_reason():
    out = clean([*SAMPLES[-3:], message("kline.1.BTCUSDT", "snapshot", [])])
    assert out.skipped == {"answer": 2, "heartbeat": 1, "other_channel": 1}


QUOTED = {"bidPrice": "1", "bidSize": "1", "askPrice": "2", "askSize": "1"}
BAD_FRAMES = {
    "negative size": book("delta", 9, [["20", "-1"]]),
    "negative price": book("delta", 9, [["-20", "1"]]),
    "price of nothing": book("delta", 9, [["0", "1"]]),
    "not a number": book("delta", 9, [["nan", "1"]]),
    "size not a number": book("delta", 9, [["20", "nan"]]),
    "infinite price": book("delta", 9, [["inf", "1"]]),
    "huge price": book("delta", 9, [["1e400", "1"]]),
    "level of three": book("delta", 9, [["20", "1", "1"]]),
    "unknown kind": book("partial", 9),
    "unordered snapshot": book("snapshot", 9, [["15", "1"], ["20", "1"]]),
    "level twice": book("snapshot", 9, [], [["30", "1"], ["30", "2"]]),
    "snapshot level without size": book("snapshot", 9, [["20", "0"]]),
    "update beyond int64": book("delta", 2**63 - 1),
    "negative update": book("delta", -1),
    "time beyond int64": book("delta", 9, cts=2**60),
    "change of one level": top(9, [], [], "delta"),
    "one level of two": top(9, [["20", "1"], ["19", "1"]], []),
    "one level of two offers": top(9, [], [["20", "1"], ["21", "1"]]),
    "negative mark": ticker(**QUOTED, markPrice="-1"),
    "greek not a number": ticker(**QUOTED, delta="nan"),
    "huge greek": ticker(**QUOTED, vega="1e16"),
    "volatility in words": ticker(**QUOTED, markPriceIv="high"),
    "price without size": ticker(bidPrice="1", askPrice="2", askSize="1"),
    "size without price": ticker(bidPrice="1", bidSize="1", askSize="1"),
    "ticker of nobody": message(f"tickers.{CALL}", "snapshot", {}),
    "trade without side": trades(trade(), trade(S="None")),
    "trade of nothing": trades(trade(), trade(v="0")),
    "trade without id": trades(trade(), trade(i="")),
    "trade without price": trades(trade(p="0")),
    "trade of no instrument": trades({"i": "1"}),
    "cut short": book("delta", 9, [["20", "1"]])[:-9],
    "no JSON": b"\x00\xff\xfe",
    "empty": b"",
    "a list": b"[1,2,3]",
    "deep": b"[" * 5000,
    "deep data": b'{"topic":"orderbook.25.X","data":' + b"[" * 5000,
    "no message": b'{"op":"dance"}',
    "bad UTF-8": book("delta", 9).replace(CALL.encode(), b"\xff\xfe", 2),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_counted_and_leaves_its_neighbours_alone(name):
    before = book("delta", 2, [["20", "1"]], [["30", "2"]])
    out = decoded([before, BAD_FRAMES[name], trades(trade()), ticker(**QUOTED)])
    assert out.error_count == 1
    assert out.errors[0].frame == BAD_FRAMES[name][:512]
    assert str(out.errors[0]).startswith("bybit: ")
    assert tuples(out.rows.view(), "kind", "side", "price", "rx_ns") == [
        (Kind.BOOK_DELTA, 1, 20.0, RX_NS),
        (Kind.BOOK_DELTA, -1, 30.0, RX_NS),
        (Kind.TRADE, 1, 240.0, RX_NS + 2),
        (Kind.QUOTE, 1, 1.0, RX_NS + 3),
        (Kind.QUOTE, -1, 2.0, RX_NS + 3),
    ]
    assert out.frames.view()["row_end"].tolist() == [2]
    assert out.tickers.view()["rx_ns"].tolist() == [RX_NS + 3]


def test_fields_we_do_not_know_change_nothing():
    plain = [book("delta", 6, [["20", "7"]]), trades(trade())]
    more = [book("delta", 6, [["20", "7"]], xyz={"a": [1]}), trades(trade(RPI=True, mP="1"))]
    assert contents(clean(plain)) == contents(clean(more))


@given(st.lists(mutated(), max_size=6))
def test_any_bytes_give_rows_or_counted_errors_and_nothing_else(frames):
    out = decoded(frames)
    rows, tables = out.rows.view(), out.frames.view()
    assert out.error_count <= len(frames)
    assert len(out.trade_keys) == int((rows["kind"] == Kind.TRADE).sum())
    quotes = rows["kind"] == Kind.QUOTE
    assert np.isfinite(rows["price"][~quotes]).all()
    assert (rows["size"][~quotes] >= 0).all()
    assert not (rows["price"] <= 0).any()
    assert not np.isinf(rows["size"]).any()
    assert not (np.isnan(rows["price"]) & ~np.isnan(rows["size"])).any()
    assert (tables["row_begin"] <= tables["row_end"]).all()
    assert not np.isinf([out.tickers.view()[name] for name in VALUES]).any()
    for content in frames:
        bybit.control(content)


def test_decode_appends_to_what_is_there():
    out = DecodeOut()
    for _ in range(2):
        bybit.decode([book("delta", 2, [["20", "1"]])], [5], IDS, out)
    assert tuples(out.frames.view(), "row_begin", "row_end") == [(0, 1), (1, 2)]
