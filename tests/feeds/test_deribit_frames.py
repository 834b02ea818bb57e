"""Deribit frames written by hand in the shape of its documentation, broken ones included."""

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import DecodeOut, Flag, FrameKind, Kind, LifecycleNotice, ListingState
from feeds.venues import deribit
from tests.feeds.deribit_frames import clean, decoded, f32, frame_of, tuples

OPTION = "BTC-27MAR26-100000-C"
IDS = {OPTION: 11, "BTC-27MAR26-90000-P": 12, "btc_usd": 13, "BTC-PERPETUAL": 14}


def book(kind: str | None, change: int, previous: int | None, bids: Any, asks: Any) -> bytes:
    data = {"timestamp": 1700000000123, "instrument_name": OPTION, "change_id": change}
    data |= {"bids": bids, "asks": asks}
    data |= {} if kind is None else {"type": kind}
    data |= {} if previous is None else {"prev_change_id": previous}
    return frame_of(f"book.{OPTION}.100ms", data)


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "timestamp": 1700000000123,
        "instrument_name": OPTION,
        "trade_id": "1001",
        "trade_seq": 5,
        "price": 0.05,
        "amount": 2.5,
        "direction": "buy",
        "index_price": 90000.0,
        "iv": 55.0,
    } | changes


def trades(*entries: dict[str, Any]) -> bytes:
    return frame_of("trades.option.BTC.100ms", list(entries))


def test_first_change_of_a_new_instrument_names_no_previous_one():
    out = clean([book("change", 9, 0, [["new", 0.019, 93.0]], [["new", 0.037, 92.0]])], IDS)
    assert out.frames.view()["seq_prev"].tolist() == [0]
    assert out.frames.view()["kind"].tolist() == [FrameKind.DELTA]


def test_delete_removes_the_level_whatever_amount_it_names():
    out = clean([book("change", 9, 8, [["delete", 0.019, 93.0]], [])], IDS)
    assert tuples(out.rows.view(), "price", "size") == [(0.019, 0.0)]


@pytest.mark.parametrize("kind", ["snapshot", None])
def test_empty_snapshot_is_a_frame_without_rows(kind):
    out = clean([book(kind, 9, None, [], [])], IDS)
    assert out.rows.count == 0
    assert out.frames.view().tolist() == [(11, FrameKind.SNAPSHOT, 9, 9, -1, 1000, 0, 0)]


def test_empty_window_is_a_window_and_no_change():
    data = {"timestamp": 1, "instrument_name": OPTION, "change_id": 9, "bids": [], "asks": []}
    frame = frame_of(f"book.{OPTION}.none.10.100ms", data)
    assert clean([frame], IDS).frames.view()["kind"].tolist() == [FrameKind.WINDOW]


def test_windows_and_changes_may_be_mixed_in_one_batch():
    data = {"timestamp": 1, "instrument_name": OPTION, "change_id": 9, "bids": [], "asks": []}
    window = frame_of(f"book.{OPTION}.none.10.100ms", data | {"bids": [[0.05, 1.0]]})
    empty_change = book("change", 10, 9, [], [])
    out = clean([window, empty_change, window], IDS)
    assert out.frames.view()["kind"].tolist() == [
        FrameKind.WINDOW,
        FrameKind.DELTA,
        FrameKind.WINDOW,
    ]


def test_window_of_another_grouping_is_found_by_its_channel():
    data = {"timestamp": 1, "instrument_name": OPTION, "change_id": 9, "asks": []}
    frame = frame_of(f"book.{OPTION}.5.10.100ms", data | {"bids": [[0.05, 1.0]]})
    assert tuples(clean([frame], IDS).rows.view(), "side", "price") == [(1, 0.05)]


def test_missing_side_of_a_quote_is_nan():
    data = {
        "timestamp": 1700000000123,
        "instrument_name": OPTION,
        "best_bid_price": 0.0,
        "best_bid_amount": 0.0,
        "best_ask_price": 0.05,
        "best_ask_amount": 3.0,
    }
    bid, ask = clean([frame_of(f"quote.{OPTION}", data)], IDS).rows.view()
    assert math.isnan(bid["price"])
    assert math.isnan(bid["size"])
    assert (bid["side"], ask["side"], ask["price"], ask["size"]) == (1, -1, 0.05, 3.0)


def test_prints_of_one_block_share_a_structure_number():
    out = clean(
        [
            trades(
                trade(block_trade_id="77"),
                trade(trade_id="1002", block_trade_id="77", direction="sell"),
                trade(trade_id="1003", block_trade_id="78"),
                trade(trade_id="1004"),
            )
        ],
        IDS,
    )
    rows = out.rows.view()
    block = Flag.LAST | Flag.BLOCK
    assert rows["flags"].tolist() == [block, block, block, Flag.LAST]
    first, second, third, single = rows["aux"].tolist()
    assert first == second != third
    assert (single, 0 in (first, third)) == (0, False)
    assert rows["side"].tolist() == [1, -1, 1, 1]


def test_legs_of_one_combination_share_a_structure_number_and_the_combination_is_left_out():
    combo = "BTC-CS-27MAR26-90000_100000"
    leg = {"combo_id": combo, "combo_trade_id": "2000"}
    whole = trade(instrument_name=combo, trade_id="2000", legs=[trade(**leg)])
    put = "BTC-27MAR26-90000-P"
    out = clean(
        [trades(whole), trades(trade(**leg), trade(trade_id="8", instrument_name=put, **leg))], IDS
    )
    rows = out.rows.view()
    assert rows["listing_id"].tolist() == [11, 12]
    assert rows["flags"].tolist() == [Flag.LAST | Flag.COMBO_LEG] * 2
    assert rows["aux"][0] == rows["aux"][1] != 0
    assert out.skipped == {"combo": 1}


def test_a_block_by_request_for_quote_says_both():
    out = clean([trades(trade(block_rfq_id=939, block_trade_id="5"))], IDS)
    assert out.rows.view()["flags"].tolist() == [Flag.LAST | Flag.BLOCK | Flag.RFQ]


def test_trade_ids_with_a_prefix_are_hashed_and_kept_apart_from_bare_ones():
    out = clean([trades(trade(trade_id="ETH-1001"), trade(trade_id="1001"))], IDS)
    hashed, bare = out.trade_keys
    assert bare == 1001
    assert hashed != 1001
    assert 0 <= hashed < 2**64


def test_index_price_marks_the_index_listing():
    data = {"timestamp": 1700000000123, "price": 90123.45, "index_name": "btc_usd"}
    (row,) = clean([frame_of("deribit_price_index.btc_usd", data)], IDS).tickers.view()
    assert (row["listing_id"], row["mark"], row["index"]) == (13, 90123.45, 90123.45)
    assert row["ex_ns"] == 1700000000123000000
    assert math.isnan(row["forward"])


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("created", ListingState.LISTED),
        ("started", ListingState.LIVE),
        ("closed", ListingState.EXPIRED),
        ("settled", ListingState.EXPIRED),
        ("terminated", ListingState.EXPIRED),
        ("open", ListingState.LIVE),
        ("locked", ListingState.HALTED),
        ("settlement", ListingState.HALTED),
        ("inactive", ListingState.HALTED),
        ("halted", ListingState.HALTED),
        ("delivered", ListingState.EXPIRED),
        ("archivized", ListingState.EXPIRED),
    ],
)
def test_instrument_states_of_both_vocabularies(word, state):
    data = {"timestamp": 1, "state": word, "instrument_name": OPTION}
    out = clean([frame_of("instrument.state.option.BTC", data)], IDS)
    assert out.lifecycle == [LifecycleNotice(1000, OPTION, state)]


def test_a_settled_perpetual_trades_on():
    data = {"timestamp": 1, "state": "settled", "instrument_name": "BTC-PERPETUAL"}
    out = clean([frame_of("instrument.state.future.BTC", data)], IDS)
    assert out.lifecycle == []
    assert out.skipped == {"settlement": 1}


def test_an_unknown_state_is_an_error():
    data = {"timestamp": 1, "state": "sleeping", "instrument_name": OPTION}
    out = decoded([frame_of("instrument.state.option.BTC", data)], IDS)
    assert out.error_count == 1
    assert "'sleeping'" in str(out.errors[0])


BAD_FRAMES = {
    "negative size": book("change", 9, 8, [["new", 0.019, -1.0]], []),
    "negative price": book("change", 9, 8, [["new", -0.019, 1.0]], []),
    "price of nothing": book("change", 9, 8, [["new", 0.0, 1.0]], []),
    "unknown action": book("change", 9, 8, [["move", 0.019, 1.0]], []),
    "change without previous": book("change", 9, None, [["new", 0.019, 1.0]], []),
    "unordered snapshot": book("snapshot", 9, None, [["new", 0.01, 1.0], ["new", 0.02, 1.0]], []),
    "level twice": book("snapshot", 9, None, [], [["new", 0.01, 1.0], ["new", 0.01, 2.0]]),
    "snapshot level without size": book("snapshot", 9, None, [["new", 0.01, 0.0]], []),
    "change id beyond int64": book("change", 2**63, 8, [], []),
    "change id as text": book("change", "9", 8, [], []),
    "infinite price": book("change", 9, 8, [], []).replace(
        b'"asks":[]', b'"asks":[["new",1e999,1]]'
    ),
    "NaN price": book("change", 9, 8, [], []).replace(b'"asks":[]', b'"asks":[["new",NaN,1]]'),
    "trade without side": trades(trade(), trade(direction="up")),
    "trade of nothing": trades(trade(), trade(amount=0.0)),
    "trade at a negative price": trades(trade(), trade(price=-0.05)),
    "negative mark": frame_of(
        f"ticker.{OPTION}.100ms", {"timestamp": 1, "instrument_name": OPTION, "mark_price": -1.0}
    ),
    "cut short": book("change", 9, 8, [["new", 0.019, 1.0]], [])[:-9],
    "no JSON": b"\x00\xff\xfe",
    "empty": b"",
    "a list": b"[1,2,3]",
    "deep": b"[" * 5000,
    "no subscription": b'{"jsonrpc":"2.0","method":"dance","params":{}}',
    "bad UTF-8": book("change", 9, 8, [], []).replace(OPTION.encode(), b"\xff\xfe", 2),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_counted_and_leaves_its_neighbours_alone(name):
    before = book("change", 2, 1, [["new", 0.019, 1.0]], [["new", 0.02, 3.0]])
    after = trades(trade())
    out = decoded([before, BAD_FRAMES[name], after], IDS)
    assert out.error_count == 1
    assert out.errors[0].frame == BAD_FRAMES[name][:512]
    fields = ("kind", "side", "price", "size", "rx_ns")
    assert tuples(out.rows.view(), *fields) == [
        (Kind.BOOK_DELTA, 1, 0.019, 1.0, 1000),
        (Kind.BOOK_DELTA, -1, 0.02, 3.0, 1000),
        (Kind.TRADE, 1, 0.05, 2.5, 1002),
    ]
    assert out.frames.view()["row_end"].tolist() == [2]
    assert out.trade_keys == [1001]
    assert out.tickers.count == 0


def test_errors_beyond_those_kept_are_still_counted():
    out = decoded([b"?"] * 40, IDS)
    assert (out.error_count, len(out.errors)) == (40, 16)


SHAPES = [
    json.loads(frame)
    for frame in (
        book("snapshot", 5, None, [["new", 0.02, 1.0], ["new", 0.01, 4.0]], [["new", 0.03, 2.0]]),
        book("change", 6, 5, [["change", 0.02, 7.0]], [["delete", 0.03, 0.0]]),
        trades(trade(), trade(trade_id="ETH-7", block_trade_id="3", direction="sell")),
        frame_of(
            f"quote.{OPTION}",
            {
                "timestamp": 1,
                "instrument_name": OPTION,
                "best_bid_price": 0.01,
                "best_bid_amount": 1.0,
                "best_ask_price": 0.02,
                "best_ask_amount": 2.0,
            },
        ),
        frame_of(
            f"ticker.{OPTION}.100ms",
            {
                "timestamp": 1,
                "instrument_name": OPTION,
                "mark_price": 0.015,
                "mark_iv": 55.0,
                "open_interest": 3.0,
                "greeks": {"delta": 0.4, "gamma": 0.1, "vega": 1.0, "theta": -2.0},
            },
        ),
        frame_of(
            "markprice.options.btc_usd",
            [{"timestamp": 1, "instrument_name": OPTION, "mark_price": 0.01, "iv": 0.5}],
        ),
        frame_of(
            "deribit_price_index.btc_usd", {"timestamp": 1, "price": 5.0, "index_name": "btc_usd"}
        ),
        frame_of("instrument.state.option.BTC", {"state": "open", "instrument_name": OPTION}),
        frame_of(
            f"book.{OPTION}.none.10.100ms",
            {
                "timestamp": 1,
                "instrument_name": OPTION,
                "change_id": 4,
                "bids": [[0.01, 2.0]],
                "asks": [[0.02, 2.0]],
            },
        ),
        b'{"jsonrpc":"2.0","id":7,"result":["a","b"]}',
        b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}',
    )
]
WORDS = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        2**31,
        2**63,
        2**70,
        -0.5,
        1e300,
        1e-300,
        "",
        "new",
        "buy",
        OPTION,
        "1e5",
    ]
)
VALUES = (
    WORDS | st.lists(WORDS, max_size=3) | st.dictionaries(st.text(max_size=3), WORDS, max_size=2)
)


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


@st.composite
def broken_frames(draw: st.DrawFn) -> bytes:
    shape = copy.deepcopy(draw(st.sampled_from(SHAPES)))
    for _ in range(draw(st.integers(0, 2))):
        *parents, key = draw(st.sampled_from(paths(shape)))
        node = shape
        for parent in parents:
            node = node[parent]
        if draw(st.booleans()):
            node[key] = draw(VALUES)
        else:
            del node[key]
        if not paths(shape):
            break
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    frame = json.dumps(shape, separators=separators).encode()
    how = draw(st.sampled_from(["whole", "cut", "flip", "random"]))
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
    assert np.isin(
        rows["kind"], [Kind.QUOTE, Kind.BOOK_SNAPSHOT, Kind.BOOK_DELTA, Kind.TRADE]
    ).all()
    quotes = rows["kind"] == Kind.QUOTE
    assert np.isfinite(rows["price"][~quotes]).all()
    assert (rows["price"][~quotes] > 0).all()
    assert (rows["size"][~quotes] >= 0).all()
    assert not (rows["price"] <= 0).any()
    assert not np.isinf(rows["size"]).any()
    assert (tables["row_begin"] <= tables["row_end"]).all()
    assert (tables["row_end"] <= len(rows)).all()
    assert not np.isinf([out.tickers.view()[f] for f in ("mark", "iv_mark", "delta", "vega")]).any()
    for frame in frames:
        deribit.control(frame)


@given(st.lists(broken_frames(), max_size=8), st.integers(0, 8))
def test_decoding_does_not_depend_on_the_cuts(frames, cut):
    whole = decoded(frames, IDS)
    left, right = decoded(frames[:cut], IDS), decoded(frames[cut:], IDS, 1000 + len(frames[:cut]))
    assert whole.rows.view().tobytes() == left.rows.view().tobytes() + right.rows.view().tobytes()
    assert whole.tickers.view().tobytes() == (
        left.tickers.view().tobytes() + right.tickers.view().tobytes()
    )
    assert whole.trade_keys == left.trade_keys + right.trade_keys
    assert whole.lifecycle == left.lifecycle + right.lifecycle
    assert whole.error_count == left.error_count + right.error_count
    ends = whole.frames.view()["row_end"].tolist()
    moved = (right.frames.view()["row_end"] + left.rows.count).tolist()
    assert ends == left.frames.view()["row_end"].tolist() + moved


def test_decode_appends_to_what_is_there():
    out = DecodeOut()
    for _ in range(2):
        deribit.decode([book("change", 2, 1, [["new", 0.019, 1.0]], [])], [5], IDS, out)
    assert tuples(out.frames.view(), "row_begin", "row_end") == [(0, 1), (1, 2)]


# ---- spots ------------------------------------------------------------------------------------

# The levels and prices of an answer of get_order_book that others published (2026-10-08).
SPOT_BIDS = [[82457.66, 4.923e-05], [82455.76, 1.4e-05], [82451.11, 0.00623526]]
SPOT_ASKS = [[82457.67, 0.30284909], [82457.79, 0.023]]
SPOT = "BTC_USDC"
SPOT_MS = 1791434519816


def spot_book(change: int, previous: int | None, bids: Any, asks: Any) -> bytes:
    data = {
        "type": "snapshot" if previous is None else "change",
        "timestamp": SPOT_MS,
        "instrument_name": SPOT,
        "change_id": change,
        "bids": [["new", *level] for level in bids],
        "asks": [["delete" if level[1] == 0 else "new", *level] for level in asks],
    }
    data |= {} if previous is None else {"prev_change_id": previous}
    return frame_of(f"book.{SPOT}.100ms", data)


def test_a_spot_s_book_is_in_coins_down_to_the_eighth_decimal():
    frames = [
        spot_book(9528167774, None, SPOT_BIDS, SPOT_ASKS),
        spot_book(9528167790, 9528167774, [[82457.66, 5e-05]], [[82457.79, 0.0]]),
    ]
    out = clean(frames, {SPOT: 21, "BTC_USDC-PERPETUAL": 22, "btc_usdc": 23})
    assert tuples(out.rows.view(), "listing_id", "side", "level", "price", "size") == [
        (21, 1, 0, 82457.66, f32(4.923e-05)),
        (21, 1, 1, 82455.76, f32(1.4e-05)),
        (21, 1, 2, 82451.11, f32(0.00623526)),
        (21, -1, 0, 82457.67, f32(0.30284909)),
        (21, -1, 1, 82457.79, f32(0.023)),
        (21, 1, 0, 82457.66, f32(5e-05)),
        (21, -1, 0, 82457.79, 0.0),
    ]
    assert out.frames.view()["kind"].tolist() == [FrameKind.SNAPSHOT, FrameKind.DELTA]
    assert out.frames.view()["seq_prev"].tolist() == [-1, 9528167774]


def test_a_spot_s_ticker_has_a_mark_and_an_index_and_no_open_interest():
    data = {
        "timestamp": SPOT_MS,
        "stats": {"high": 84365.25, "low": 82161.31, "price_change": -1.9132, "volume": 7075.57},
        "state": "open",
        "index_price": 82471.6,
        "instrument_name": SPOT,
        "last_price": 82500.0,
        "min_price": 80822.16,
        "max_price": 84121.04,
        "mark_price": 82471.6,
        "best_ask_price": 82457.67,
        "best_bid_price": 82457.66,
        "best_ask_amount": 0.30284909,
        "best_bid_amount": 4.923e-05,
    }
    out = clean([frame_of(f"ticker.{SPOT}.100ms", data)], {SPOT: 21, "btc_usdc": 23})
    (row,) = out.tickers.view()
    assert (row["listing_id"], row["mark"], row["index"]) == (21, 82471.6, 82471.6)
    assert row["oi_ns"] == 0
    for name in ("open_interest", "forward", "iv_mark", "delta", "vega"):
        assert np.isnan(row[name])


def test_a_spot_s_prints_come_on_a_channel_of_its_own():
    entry = {
        "timestamp": SPOT_MS,
        "instrument_name": "BTC_USDT",
        "trade_id": "BTC_USDT-18820350",
        "trade_seq": 18009,
        "price": 82457.66,
        "amount": 0.2505,
        "contracts": 2505,
        "direction": "sell",
        "index_price": 82471.6,
        "mark_price": 82471.6,
        "tick_direction": 3,
    }
    again = entry | {"trade_id": "BTC_USDT-18820351", "direction": "buy"}
    out = clean([frame_of("trades.BTC_USDT.100ms", [entry, again])], {"BTC_USDT": 21})
    assert tuples(out.rows.view(), "side", "price", "size", "seq") == [
        (-1, 82457.66, f32(0.2505), 18009),
        (1, 82457.66, f32(0.2505), 18009),
    ]
    assert len(set(out.trade_keys)) == 2
