"""Derive frames written by hand in the shape of its documentation, broken ones included."""

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import DecodeOut, Flag, FrameKind, Kind
from feeds.venues import derive
from tests.feeds.both_ways import contents
from tests.feeds.deribit_frames import tuples
from tests.feeds.derive_frames import (
    AT_MS,
    CALL,
    book,
    clean,
    decoded,
    notification,
    spot,
    ticker,
    trade,
    trades,
)

PUT = "HYPE-20260904-77_5-P"
IDS = {CALL: 11, PUT: 12, "ETH-USD": 13, "BTC-USD": 14, "ETH-PERP": 15}
AT_NS = AT_MS * 1_000_000
LEVELS = ("side", "level", "price", "size")

# ---- books ------------------------------------------------------------------------------------


def test_a_window_is_best_first_on_either_side():
    bids = [["340", "0.4"], ["320", "1"], ["280", "0.70343"]]
    out = clean([book(bids, [["420", "0.5"], ["520", "2"]])], IDS)
    assert tuples(out.rows.view(), "side", "level", "price") == [
        (1, 0, 340.0),
        (1, 1, 320.0),
        (1, 2, 280.0),
        (-1, 0, 420.0),
        (-1, 1, 520.0),
    ]
    assert out.rows.view()["size"].tolist() == [
        np.float32(size) for size in (0.4, 1.0, 0.70343, 0.5, 2.0)
    ]
    assert out.rows.view()["flags"].tolist() == [Flag.SNAPSHOT_START, 0, 0, 0, Flag.LAST]
    assert set(out.rows.view()["ex_ns"].tolist()) == {AT_NS}
    assert out.frames.view().tolist() == [(11, FrameKind.WINDOW, AT_MS, AT_MS, -1, 1000, 0, 5)]


def test_one_sided_empty_and_crossed_books_pass_through():
    frames = [book([["5", "1"]], []), book([], [["6", "2"]]), book([], [])]
    crossed = book([["7", "1"]], [["6", "2"]])
    out = clean([*frames, crossed], IDS)
    assert tuples(out.rows.view(), *LEVELS) == [
        (1, 0, 5.0, 1.0),
        (-1, 0, 6.0, 2.0),
        (1, 0, 7.0, 1.0),
        (-1, 0, 6.0, 2.0),
    ]
    assert tuples(out.frames.view(), "row_begin", "row_end") == [(0, 1), (1, 2), (2, 2), (2, 4)]


def test_a_fractional_strike_is_a_name_like_any_other():
    out = clean([book([["0.85", "100"]], [], name=PUT), ticker(name=PUT)], IDS)
    assert tuples(out.rows.view(), "listing_id", "price") == [(12, 0.85)]
    assert out.tickers.view()["listing_id"].tolist() == [12]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("first", [{}, {"jsonrpc": "2.0"}])
def test_another_layout_decodes_with_the_same_result(separators, first):
    data = {"timestamp": AT_MS, "instrument_name": CALL, "bids": [["5", "1"]], "asks": []}
    frame = notification(f"orderbook.{CALL}.1.10", data, separators, **first)
    later = {"depth": 10, **data}  # a field unknown to us
    out = clean([frame, notification(f"orderbook.{CALL}.1.10", later)], IDS)
    assert tuples(out.rows.view(), *LEVELS) == [(1, 0, 5.0, 1.0)] * 2


def test_numbers_that_are_no_text_decode_with_the_same_result():
    plain, text = book([[5, 1.5]], []), book([["5", "1.5"]], [])
    assert contents(clean([plain], IDS)) == contents(clean([text], IDS))


# ---- tickers ----------------------------------------------------------------------------------


def test_ticker_of_an_option():
    (row,) = clean([ticker()], IDS).tickers.view()
    assert (row["listing_id"], row["ex_ns"], row["rx_ns"]) == (11, AT_NS, 1000)
    assert (row["mark"], row["forward"], row["index"]) == (364.0, 71067.0, 71078.0)
    ivs = [row[name].item() for name in ("iv_bid", "iv_mark", "iv_ask")]
    assert ivs == [np.float32(iv) for iv in (0.68323, 0.70513, 0.75013)]
    greeks = [row[name].item() for name in ("delta", "gamma", "vega", "theta")]
    assert greeks == [np.float32(g) for g in (-0.24967, 0.00013192, 10.84014, -453.85103)]
    assert (row["open_interest"], row["oi_ns"]) == (1.5, AT_NS)


def test_ticker_of_a_perpetual_has_no_model():
    frame = ticker(name="ETH-PERP", option_pricing=None, f="0.000012500", stats=None)
    (row,) = clean([frame], IDS).tickers.view()
    assert (row["listing_id"], row["mark"], row["index"]) == (15, 364.0, 71078.0)
    missing = ("forward", "delta", "gamma", "vega", "theta", "iv_mark", "iv_bid", "open_interest")
    assert all(math.isnan(row[name]) for name in missing)
    assert row["oi_ns"] == 0


def test_only_the_ticker_that_follows_them_brings_quotes():
    out = clean([ticker(1000), ticker(100), ticker(1000)], IDS)
    assert tuples(out.rows.view(), "kind", "side", "price", "rx_ns", "flags") == [
        (Kind.QUOTE, 1, 341.0, 1001, 0),
        (Kind.QUOTE, -1, 414.0, 1001, Flag.LAST),
    ]
    assert out.rows.view()["size"].tolist() == [np.float32(0.5), np.float32(0.4)]
    assert out.tickers.view()["rx_ns"].tolist() == [1000, 1001, 1002]


@pytest.mark.parametrize("side", [{"b": "0", "B": "0"}, {"b": "0", "B": "3"}, {"b": None}])
def test_a_side_without_a_price_has_neither_price_nor_size(side):
    bid, ask = clean([ticker(100, **side)], IDS).rows.view()
    assert math.isnan(bid["price"])
    assert math.isnan(bid["size"])
    assert (bid["side"], ask["side"], ask["price"]) == (1, -1, 414.0)


def test_marks_and_volatilities_of_0_are_none_and_greeks_of_0_are_values():
    model = {"d": "0", "t": "0", "g": "0", "v": "0", "i": "0", "f": "0", "bi": "0", "ai": "0"}
    frame = ticker(M="0", I="0", option_pricing=model, stats={"oi": "0"})
    (row,) = clean([frame], IDS).tickers.view()
    none = ("mark", "index", "forward", "iv_mark", "iv_bid", "iv_ask")
    assert all(math.isnan(row[name]) for name in none)
    assert all(row[name] == 0 for name in ("delta", "gamma", "vega", "theta", "open_interest"))


# ---- prints and spot feeds --------------------------------------------------------------------


def test_prints_have_the_side_of_the_taker():
    sold = trade(trade_id="2", direction="sell", trade_price="2485.1", trade_amount="3")
    out = clean([trades(trade(), sold)], IDS)
    assert tuples(out.rows.view(), "kind", "side", "price", "flags", "aux", "ex_ns") == [
        (Kind.TRADE, 1, 2485.2, Flag.LAST, 0, AT_NS),
        (Kind.TRADE, -1, 2485.1, Flag.LAST, 0, AT_NS),
    ]
    assert out.rows.view()["size"].tolist() == [np.float32(0.1), 3.0]
    assert len(set(out.trade_keys)) == 2
    assert out.frames.count == 0


def test_the_half_of_the_maker_is_left_out():
    maker = trade(direction="sell", liquidity_role="maker")
    out = clean([trades(maker, trade(liquidity_role="taker")), trades(maker)], IDS)
    assert tuples(out.rows.view(), "side", "rx_ns") == [(1, 1000)]
    assert (len(out.trade_keys), out.skipped) == (1, {"maker_side": 2})


def test_prints_of_one_request_for_quote_share_a_structure_number():
    legs = trade(rfq_id="r"), trade(instrument_name=PUT, rfq_id="r", quote_id="q")
    out = clean([trades(*legs), trades(trade(trade_id="3", quote_id="q"), trade())], IDS)
    rows = out.rows.view()
    rfq = Flag.LAST | Flag.RFQ
    assert rows["flags"].tolist() == [rfq, rfq, rfq, Flag.LAST]
    first, second, third, single = rows["aux"].tolist()
    assert first == second != third
    assert (single, 0 in (first, third)) == (0, False)
    assert rows["side"].tolist() == [1, 1, 1, 1]
    # Legs with one id on two instruments are two prints; the same print again has the same key.
    assert out.trade_keys[0] == out.trade_keys[3] != out.trade_keys[1]


def test_spot_prices_mark_the_index_listings():
    out = clean([spot(ETH="1991.701234567890123456", DOGE="0.1", BTC="71078")], IDS)
    assert tuples(out.tickers.view(), "listing_id", "mark", "index", "ex_ns") == [
        (13, 1991.7012345678902, 1991.7012345678902, AT_NS),
        (14, 71078.0, 71078.0, AT_NS),
    ]
    assert np.isnan(out.tickers.view()["forward"]).all()
    assert out.skipped == {"unknown_symbol": 1}


# ---- what is skipped, what is broken ----------------------------------------------------------


def test_what_carries_nothing_for_us_is_counted_by_reason():
    out = clean(
        [
            b'{"id":1001,"result":{"status":{},"current_subscriptions":[]}}',
            b'{"id":5,"error":{"code":-32000,"message":"Rate limit exceeded"}}',
            notification("margin.watch", [{"a": 1}]),
            notification("ticker.ETH-PERP.100", {}),
            notification("30769.orders", {}),
            book([["5", "1"]], [], name="SOL-20260627-100-C"),
            ticker(name="SOL-20260627-100-C"),
            trades(trade(instrument_name="SOL-20260627-100-C")),
        ],
        IDS,
    )
    assert out.skipped == {"answer": 2, "other_channel": 3, "unknown_symbol": 3}
    assert (out.rows.count, out.tickers.count, out.frames.count) == (0, 0, 0)


BAD_FRAMES = {
    "negative size": book([["5", "-1"]], []),
    "negative price": book([["-5", "1"]], []),
    "price of nothing": book([["0", "1"]], []),
    "level without size": book([["5", "0"]], []),
    "level of one number": book([["5"]], []),
    "unordered": book([["5", "1"], ["6", "1"]], []),
    "level twice": book([], [["5", "1"], ["5", "2"]]),
    "infinite price": book([["inf", "1"]], []),
    "price that is no number": book([["nan", "1"]], []),
    "price with an underscore": book([["5_5", "1"]], []),
    "price beyond float64": book([["1e999", "1"]], []),
    "huge price": book([["1e13", "1"]], []),
    "no price": book([[None, "1"]], []),
    "time before 1970": book([], [], -1),
    "time beyond int64": book([], [], 2**60),
    "book without a side": notification(
        f"orderbook.{CALL}.1.10", {"timestamp": 1, "instrument_name": CALL, "bids": []}
    ),
    "ticker without values": notification(f"ticker_slim.{CALL}.100", {"timestamp": 1}),
    "ticker without interval": ticker().replace(b".1000", b""),
    "ticker of nobody": ticker().replace(CALL.encode(), b""),
    "negative mark": ticker(M="-1"),
    "negative volatility": ticker(option_pricing={"i": "-0.5"}),
    "huge delta": ticker(option_pricing={"d": "1e30"}),
    "endless theta": ticker(option_pricing={"t": "-inf"}),
    "negative interest": ticker(stats={"oi": "-1"}),
    "empty price": ticker(100, b=""),
    "negative bid": ticker(100, b="-1"),
    "negative bid amount": ticker(100, B="-1"),
    "trade without side": trades(trade(), trade(direction="up")),
    "trade of nothing": trades(trade(), trade(trade_amount="0")),
    "trade at no price": trades(trade(), trade(trade_price="0")),
    "trade without id": trades(trade(trade_id=None)),
    "one trade": notification("trades.option.ETH", trade()),
    "spot price of nothing": spot(ETH="0"),
    "spot without price": notification("spot_feed.ETH", {"timestamp": 1, "feeds": {"ETH": {}}}),
    "channel that is no text": notification("orderbook.X.1.10", {}).replace(
        b'"orderbook.X.1.10"', b"5"
    ),
    "cut short": book([["5", "1"]], [])[:-9],
    "no JSON": b"\x00\xff\xfe",
    "empty": b"",
    "a list": b"[1,2,3]",
    "deep": b"[" * 5000,
    "deep data": book([], []).replace(b'"bids":[]', b'"bids":' + b"[" * 5000),
    "no subscription": b'{"method":"dance","params":{"channel":"orderbook.X.1.10"}}',
    "nothing": b"{}",
    "bad UTF-8": book([], []).replace(CALL.encode(), b"\xff\xfe"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_counted_and_leaves_its_neighbours_alone(name):
    out = decoded([book([["5", "1"]], [["6", "3"]]), BAD_FRAMES[name], trades(trade())], IDS)
    assert out.error_count == 1
    assert out.errors[0].frame == BAD_FRAMES[name][:512]
    assert str(out.errors[0]).startswith("derive: ")
    assert tuples(out.rows.view(), "kind", "side", "price", "rx_ns") == [
        (Kind.BOOK_SNAPSHOT, 1, 5.0, 1000),
        (Kind.BOOK_SNAPSHOT, -1, 6.0, 1000),
        (Kind.TRADE, 1, 2485.2, 1002),
    ]
    assert out.frames.view()["row_end"].tolist() == [2]
    assert len(out.trade_keys) == 1
    assert out.tickers.count == 0


SHAPES = [
    json.loads(frame)
    for frame in (
        book([["5", "1"], ["4", "2"]], [["6", "3"]]),
        book([], [], name=PUT),
        ticker(100),
        ticker(1000, option_pricing=None),
        trades(trade(), trade(trade_id="7", rfq_id="3", direction="sell", liquidity_role="maker")),
        spot(ETH="1991.7", DOGE="1"),
        b'{"id":7,"result":{"status":{"a":"ok","b":"no"}}}',
        b'{"id":7,"error":{"code":1,"message":"no","data":[1]}}',
    )
]
NUMBERS = st.sampled_from([-1, 0, 1, 2**31, 2**63, 2**70, -0.5, 1e300, 1e-300])
TEXTS = st.sampled_from(
    ["", "0", "-1", "nan", "inf", "1e5", "1e999", "1_0", "buy", "maker", CALL, "ETH"]
)
WORDS = NUMBERS | TEXTS | st.sampled_from([None, True])
VALUES = (
    WORDS | st.lists(WORDS, max_size=3) | st.dictionaries(st.text(max_size=3), WORDS, max_size=2)
)
# Names by which a mutation retags what it finds.
NAMES = st.sampled_from(["timestamp", "A", "a", "b", "d", "i", "I", "M", "oi", "bids", "ETH", "id"])


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node if isinstance(node, list) else ())
    )
    for key, value in items:
        found += paths(value, (*path, key))
    return found


def mutate(draw: st.DrawFn, shape: Any) -> None:
    *parents, key = draw(st.sampled_from(paths(shape)))
    node = shape
    for parent in parents:
        node = node[parent]
    how = draw(st.sampled_from(["replace", "drop", "retag", "number", "nest"]))
    if how == "replace":
        node[key] = draw(VALUES)
    elif how == "nest":
        node[key] = [[node[key]]]
    elif how == "number" and isinstance(node[key], str) and node[key].replace(".", "", 1).isdigit():
        node[key] = float(node[key])
    else:
        value = node.pop(key)
        if how == "retag" and isinstance(node, dict):
            node[draw(NAMES)] = value


@st.composite
def broken_frames(draw: st.DrawFn) -> bytes:
    shape = copy.deepcopy(draw(st.sampled_from(SHAPES)))
    for _ in range(draw(st.integers(0, 2))):
        mutate(draw, shape)
        if not paths(shape):
            break
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    frame = json.dumps(shape, separators=separators).encode()
    how = draw(st.sampled_from(["whole", "whole", "cut", "flip", "random"]))
    if how == "cut":
        return frame[: draw(st.integers(0, len(frame)))]
    if how == "flip":
        at = draw(st.integers(0, len(frame) - 1))
        return frame[:at] + draw(st.binary(min_size=1, max_size=3)) + frame[at + 1 :]
    return draw(st.binary(max_size=80)) if how == "random" else frame


@given(st.lists(broken_frames(), max_size=6))
def test_any_bytes_give_rows_or_counted_errors_and_nothing_else(frames):
    out = decoded(frames, IDS)
    rows, tables = out.rows.view(), out.frames.view()
    assert out.error_count <= len(frames)
    assert len(out.trade_keys) == int((rows["kind"] == Kind.TRADE).sum())
    assert all(0 <= key < 2**64 for key in out.trade_keys)
    assert np.isin(rows["kind"], [Kind.QUOTE, Kind.BOOK_SNAPSHOT, Kind.TRADE]).all()
    quotes = rows["kind"] == Kind.QUOTE
    assert np.isfinite(rows["price"][~quotes]).all()
    assert (rows["size"][~quotes] > 0).all()
    assert not (rows["price"] <= 0).any()
    assert not np.isinf(rows["size"]).any()
    assert (tables["kind"] == FrameKind.WINDOW).all()
    assert (tables["row_begin"] <= tables["row_end"]).all()
    assert (tables["row_end"] <= len(rows)).all()
    tickers = out.tickers.view()
    names = ("mark", "iv_bid", "iv_mark", "delta", "vega", "theta", "open_interest", "forward")
    assert not np.isinf([tickers[name] for name in names]).any()
    for frame in frames:
        derive.control(frame)


@given(st.lists(broken_frames(), max_size=8))
def test_decoding_all_is_decoding_each(frames):
    whole = decoded(frames, IDS)
    parts = [decoded([frame], IDS, 1000 + at) for at, frame in enumerate(frames)]
    assert whole.rows.view().tobytes() == b"".join(p.rows.view().tobytes() for p in parts)
    assert whole.tickers.view().tobytes() == b"".join(p.tickers.view().tobytes() for p in parts)
    assert whole.trade_keys == [key for p in parts for key in p.trade_keys]
    assert whole.error_count == sum(p.error_count for p in parts)
    assert sum(whole.skipped.values()) == sum(sum(p.skipped.values()) for p in parts)
    sizes = [(p.frames.view()["row_end"] - p.frames.view()["row_begin"]).tolist() for p in parts]
    ranges = whole.frames.view()["row_end"] - whole.frames.view()["row_begin"]
    assert ranges.tolist() == [size for part in sizes for size in part]


def test_decode_appends_to_what_is_there():
    out = DecodeOut()
    for _ in range(2):
        derive.decode([book([["5", "1"]], [])], [5], IDS, out)
    assert tuples(out.frames.view(), "row_begin", "row_end") == [(0, 1), (1, 2)]
