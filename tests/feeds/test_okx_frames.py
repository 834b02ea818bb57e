"""OKX's decoder on frames in the documented shape, on rubbish, and behind the handler."""

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import DecodeOut, Flag, FrameKind, Kind, LifecycleNotice, ListingState
from feeds.venues import okx
from tests.feeds.deribit_frames import f32, tuples
from tests.feeds.okx_frames import (
    IDS,
    OPTION,
    PERP,
    PUT,
    book,
    clean,
    decoded,
    frame_of,
    levels,
    state,
    summaries,
    summary,
    trade,
    trades,
)

BOOK = ("kind", "side", "price", "size", "flags")
FRAME = ("kind", "seq_last", "seq_prev", "row_begin", "row_end")


# ---- books ------------------------------------------------------------------------------------


def test_snapshot_change_and_reset_carry_the_numbers_of_the_wire():
    out = clean(
        [
            book("snapshot", 10, -1, [("0.05", "3")], [("0.06", "4")]),
            book("update", 15, 10, [("0.05", "0")], [("0.061", "2")]),
            book("update", 15, 15, [], []),
            book("update", 3, 15, [], [("0.061", "7")]),
        ],
        IDS,
    )
    assert tuples(out.rows.view(), *BOOK) == [
        (Kind.BOOK_SNAPSHOT, 1, 0.05, 3.0, Flag.SNAPSHOT_START),
        (Kind.BOOK_SNAPSHOT, -1, 0.06, 4.0, Flag.LAST),
        (Kind.BOOK_DELTA, 1, 0.05, 0.0, 0),
        (Kind.BOOK_DELTA, -1, 0.061, 2.0, Flag.LAST),
        (Kind.BOOK_DELTA, -1, 0.061, 7.0, Flag.LAST),
    ]
    assert tuples(out.frames.view(), *FRAME) == [
        (FrameKind.SNAPSHOT, 10, -1, 0, 2),
        (FrameKind.CHAINED, 15, 10, 2, 4),
        (FrameKind.CHAINED, 15, 15, 4, 4),
        (FrameKind.CHAINED, 3, 15, 4, 5),
    ]


def test_a_lone_sign_of_life_is_a_frame_without_rows():
    out = clean([book("update", 15, 15, [], [])], IDS)
    assert out.rows.count == 0
    assert tuples(out.frames.view(), *FRAME) == [(FrameKind.CHAINED, 15, 15, 0, 0)]


def test_empty_one_sided_and_crossed_books_are_books():
    out = clean(
        [
            book("snapshot", 1, -1, [], []),
            book("snapshot", 2, -1, [("0.05", "3")], []),
            book("snapshot", 3, -1, [("0.06", "3")], [("0.05", "4")]),
        ],
        IDS,
    )
    assert tuples(out.rows.view(), "side", "price") == [(1, 0.05), (1, 0.06), (-1, 0.05)]
    assert tuples(out.frames.view(), "row_begin", "row_end") == [(0, 0), (0, 1), (1, 3)]


def test_a_number_that_is_no_text_and_another_layout_are_read_alike():
    frame = book("update", 15, 10, [("0.05", "1e1")], [])
    message = json.loads(frame)
    message["data"][0]["bids"] = [[0.05, 10, 0, 1]]
    message["data"][0]["ts"] = 1700000000123
    turned = dict(reversed(message.items()))
    whole = clean([frame, json.dumps(message).encode(), json.dumps(turned).encode()], IDS)
    rows = whole.rows.view()
    assert tuples(rows, *BOOK) == [(Kind.BOOK_DELTA, 1, 0.05, 10.0, Flag.LAST)] * 3
    assert set(rows["ex_ns"].tolist()) == {1700000000123_000_000}


def window(bids: Any, asks: Any, ts: str = "1700000000123") -> bytes:
    data = {"asks": levels(*asks), "bids": levels(*bids), "instId": OPTION, "ts": ts, "seqId": 7}
    return frame_of(f"books5:{OPTION}", data)


def test_windows_are_ordered_by_their_time_not_by_a_number_that_may_begin_anew():
    out = clean([window([("0.05", "3"), ("0.04", "1")], []), window([], [])], IDS)
    assert tuples(out.rows.view(), "kind", "side", "level", "price") == [
        (Kind.BOOK_SNAPSHOT, 1, 0, 0.05),
        (Kind.BOOK_SNAPSHOT, 1, 1, 0.04),
    ]
    at_ms = 1700000000123
    assert tuples(out.frames.view(), *FRAME) == [
        (FrameKind.WINDOW, at_ms, -1, 0, 2),
        (FrameKind.WINDOW, at_ms, -1, 2, 2),
    ]


def touch(bids: Any, asks: Any) -> bytes:
    data = {"asks": levels(*asks), "bids": levels(*bids), "ts": "1700000000123", "seqId": 9}
    return frame_of(f"bbo-tbt:{OPTION}", data)


def test_a_touch_is_a_bid_row_and_an_ask_row():
    out = clean([touch([("0.05", "3")], [("0.06", "0")]), touch([("0", "5")], [])], IDS)
    first, second, *empty = out.rows.view()
    assert (first["side"], first["price"], first["size"], first["seq"]) == (1, 0.05, 3.0, 9)
    assert (second["side"], second["price"]) == (-1, 0.06)
    assert math.isnan(second["size"])
    assert all(math.isnan(row["price"]) and math.isnan(row["size"]) for row in empty)
    assert [row["side"] for row in empty] == [1, -1]
    assert out.rows.view()["ex_ns"].tolist() == [1700000000123_000_000] * 4


# ---- prints -------------------------------------------------------------------------------------


def test_print_of_the_documentation_is_a_sale_of_two_contracts():
    data = trade(fillVol="0.5066", fwdPx="16469.7", idxPx="16537.2", markPx="0.0469", optType="C")
    (row,) = clean([trades(data)], IDS).rows.view()
    assert (row["kind"], row["side"], row["flags"]) == (Kind.TRADE, -1, Flag.LAST)
    assert (row["price"], row["size"], row["ex_ns"]) == (0.045, 2.0, 1700000000123_000_000)


def test_aggregated_print_of_a_perpetual_keeps_its_number():
    data = trade(instId=PERP, px="42219.9", side="buy", count="3", source="0", seqId=1234)
    (row,) = clean([frame_of(f"trades:{PERP}", data)], IDS).rows.view()
    assert (row["listing_id"], row["side"], row["seq"], row["price"]) == (14, 1, 1234, 42219.9)


def test_ids_of_prints_count_within_their_instrument():
    out = clean([trades(trade(), trade(instId=PUT), trade(tradeId="39")), trades(trade())], IDS)
    first, other, later, again = out.trade_keys
    assert len({first, other, later}) == 3
    assert again == first


def test_a_print_from_long_before_its_frame_is_history():
    minute_ns, at_ns = 60 * 10**9, 1700000000123_000_000
    out = DecodeOut()
    frames = [trades(trade())] * 2
    okx.decode(frames, [at_ns + minute_ns, at_ns + minute_ns + 1], IDS, out)
    assert out.rows.view()["rx_ns"].tolist() == [at_ns + minute_ns]
    assert out.skipped == {"cached_trade": 1}
    assert len(out.trade_keys) == 1


# ---- tickers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "∞", "-∞", "4611686018427388", "-4611686018427388"])
def test_words_for_nothing_are_missing(word):
    odd = summary(bidVol=word, fwdPx=word, deltaBS=word, vegaBS=word)
    (row,) = clean([summaries(odd)], IDS).tickers.view()
    assert all(math.isnan(row[field]) for field in ("iv_bid", "forward", "delta", "vega"))
    assert (row["iv_mark"], row["theta"], row["gamma"]) == (f32(0.55), -20.0, f32(0.0001))
    assert row["iv_ask"] == f32(0.56)


def test_volatility_and_forward_0_are_missing_and_greeks_0_are_values():
    (row,) = clean(
        [summaries(summary(bidVol="0", markVol="0", fwdPx="0", deltaBS="0", vegaBS="0"))], IDS
    ).tickers.view()
    assert all(math.isnan(row[field]) for field in ("iv_bid", "iv_mark", "forward"))
    assert (row["delta"], row["vega"]) == (0.0, 0.0)


@pytest.mark.parametrize("word", ["1,2", "NaN", "nan", "inf", "0x10", "1e999", "]", "true", "-"])
def test_a_text_that_is_no_number_loses_its_entry_alone(word):
    frames = [summaries(summary(markVol=word), summary(instId=PUT)), summaries(summary())]
    out = decoded(frames, IDS)
    assert tuples(out.tickers.view(), "listing_id", "rx_ns") == [(12, 1000), (11, 1001)]
    assert out.error_count == 1
    assert f"{OPTION} had iv_mark {word!r}" in str(out.errors[0])
    assert out.errors[0].frame == frames[0][:512]


def test_open_interest_0_is_a_value_and_none_is_none():
    entry = {"instId": OPTION, "instType": "OPTION", "oi": "0", "oiCcy": "0", "ts": "5"}
    frames = [frame_of(f"open-interest:{OPTION}", entry | {"oi": oi}) for oi in ("0", "12.5", "")]
    none, some, missing = clean(frames, IDS).tickers.view()
    assert (none["open_interest"], none["oi_ns"]) == (0.0, 5_000_000)
    assert (some["open_interest"], some["oi_ns"]) == (12.5, 5_000_000)
    assert math.isnan(missing["open_interest"])
    assert missing["oi_ns"] == 0


def test_mark_price_is_native():
    entry = {"instType": "OPTION", "instId": OPTION, "markPx": "0.0461", "ts": "1700000000123"}
    (row,) = clean([frame_of(f"mark-price:{OPTION}", entry)], IDS).tickers.view()
    assert (row["listing_id"], row["mark"], row["ex_ns"]) == (11, 0.0461, 1700000000123_000_000)
    assert math.isnan(row["index"])


def index(name: str, price: str, ts: str = "1700000000123") -> bytes:
    return frame_of(f"index-tickers:{name}", {"instId": name, "idxPx": price, "ts": ts})


def test_an_index_is_told_to_everything_settled_to_it_frame_by_frame():
    frames = [index("BTC-USD", "60000.5"), index("ETH-USD", "3000"), index("BTC-USD", "60001")]
    out = clean(frames, IDS)
    rows = out.tickers.view()
    assert tuples(rows, "rx_ns", "listing_id", "index") == [
        *((1000, i, 60000.5) for i in (13, 11, 12, 14)),
        *((1002, i, 60001.0) for i in (13, 11, 12, 14)),
    ]
    assert [m for m in rows["mark"].tolist() if not math.isnan(m)] == [60000.5, 60001.0]
    assert out.skipped == {"unknown_symbol": 1}


def test_an_index_without_a_price_is_an_error():
    out = decoded([index("BTC-USD", ""), index("BTC-USD", "-5")], IDS)
    assert (out.error_count, out.tickers.count) == (2, 0)


# ---- notices ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("preopen", ListingState.LISTED),
        ("live", ListingState.LIVE),
        ("post_only", ListingState.LIVE),
        ("suspend", ListingState.HALTED),
        ("rebase", ListingState.HALTED),
        ("settling", ListingState.HALTED),
        ("expired", ListingState.EXPIRED),
    ],
)
def test_states_of_instruments(word, expected):
    out = clean([frame_of("instruments:OPTION", state(OPTION, word))], IDS)
    assert out.lifecycle == [LifecycleNotice(1000, OPTION, expected)]


def test_a_new_instrument_is_told_where_its_index_is_ours_and_it_would_be_listed():
    new = "BTC-USD-261225-90000-P"
    entries = (
        state(new, "live"),
        state("SOL-USD-261225-200-C", "live", uly="SOL-USD", instFamily="SOL-USD", settleCcy="SOL"),
        state("BTC-USD_UM-SWAP", "live", instFamily="BTC-USD_UM"),
        state("BTC-USD-261225-90000-C", "live", settleCcy="USDC"),
        state("BTC-USD-301225", "live", ruleType="xperp"),
        state("BTC-USD", "live", instType="SPOT"),
        state(PUT, "test"),
    )
    out = clean([frame_of("instruments:OPTION", *entries)], IDS)
    assert [(n.symbol, n.state) for n in out.lifecycle] == [(new, ListingState.LIVE)]
    assert out.skipped == {"unknown_symbol": 1, "left_out": 5}


def test_of_all_spots_only_those_that_are_followed_are_told():
    """The first frame of the channel holds every pair, and a new one needs no discovery."""

    def spot(name: str, word: str) -> dict[str, Any]:
        base, quote = name.split("-")
        named = {"instType": "SPOT", "baseCcy": base, "quoteCcy": quote}
        return state(name, word, uly="", instFamily="", settleCcy="") | named

    entries = (
        spot("BTC-USDT", "suspend"), spot("ETH-USDT", "live"), spot("BTC-EUR", "live"),
        spot("BTC-USDT", "expired"),
    )  # fmt: skip
    out = clean([frame_of("instruments:SPOT", *entries)], IDS | {"BTC-USDT": 21})
    assert [(n.symbol, n.state) for n in out.lifecycle] == [
        ("BTC-USDT", ListingState.HALTED), ("BTC-USDT", ListingState.EXPIRED),
    ]  # fmt: skip
    assert out.skipped == {"unknown_symbol": 1, "left_out": 1}


def test_an_unknown_state_is_an_error_and_leaves_its_neighbours_alone():
    frame = frame_of("instruments:OPTION", state(OPTION, "sleeping"), state(PUT, "live"))
    out = decoded([frame], IDS)
    assert out.error_count == 1
    assert "'sleeping'" in str(out.errors[0])
    assert [notice.symbol for notice in out.lifecycle] == [PUT]


# ---- rubbish ------------------------------------------------------------------------------------


def test_session_frames_and_other_channels_are_skipped_by_reason():
    frames = [
        b"pong",
        b'{"id":"7","event":"subscribe","arg":{"channel":"books","instId":"X"},"connId":"a"}',
        b'{"event":"notice","code":"64008","msg":"soon","connId":"a"}',
        b'{"event":"error","code":"60012","msg":"no"}',
        frame_of("tickers:X", {"instId": "X", "last": "1"}),
        frame_of("books:X", {"asks": [], "bids": [], "ts": "1"}, action="snapshot"),
    ]
    out = clean(frames, IDS)
    assert out.skipped == {"heartbeat": 1, "answer": 3, "other_channel": 1, "unknown_symbol": 1}


def changed(frame: bytes, old: bytes, new: bytes) -> bytes:
    assert old in frame
    return frame.replace(old, new)


UPDATE = book("update", 9, 8, [("0.019", "1")], [])
BAD_FRAMES = {
    "negative size": book("update", 9, 8, [("0.019", "-1")], []),
    "negative price": book("update", 9, 8, [("-0.019", "1")], []),
    "price of nothing": book("update", 9, 8, [("0", "1")], []),
    "blank price": book("update", 9, 8, [("", "1")], []),
    "blank size": book("update", 9, 8, [("0.019", "")], []),
    "infinite price": book("update", 9, 8, [("inf", "1")], []),
    "infinite sign": book("update", 9, 8, [("∞", "1")], []),
    "price that is no number": book("update", 9, 8, [("nan", "1")], []),
    "huge price": book("update", 9, 8, [("1e13", "1")], []),
    "huge exponent": book("update", 9, 8, [("1e999", "1")], []),
    "hexadecimal price": book("update", 9, 8, [("0x1", "1")], []),
    "short level": changed(UPDATE, b'["0.019","1","0","1"]', b'["0.019","1"]'),
    "long level": changed(UPDATE, b'"0","1"]', b'"0","1","2"]'),
    "unknown action": book("dance", 9, 8, [], []),
    "no action": changed(UPDATE, b'"action":"update",', b""),
    "no instrument": changed(UPDATE, f',"instId":"{OPTION}"'.encode(), b""),
    "instrument as a number": changed(UPDATE, f'"{OPTION}"'.encode(), b"5"),
    "two books": frame_of(f"books:{OPTION}", *json.loads(UPDATE)["data"] * 2, action="update"),
    "no book": frame_of(f"books:{OPTION}", action="update"),
    "unordered snapshot": book("snapshot", 9, -1, [("0.01", "1"), ("0.02", "1")], []),
    "level twice": book("snapshot", 9, -1, [], [("0.01", "1"), ("0.010", "2")]),
    "snapshot level without size": book("snapshot", 9, -1, [("0.01", "0")], []),
    "number beyond int64": book("update", 2**63, 8, [], []),
    "negative number": book("update", -2, 8, [], []),
    "previous number below -1": book("update", 9, -2, [], []),
    "time as a word": changed(UPDATE, b'"1700000000123"', b'"now"'),
    "time beyond int64": changed(UPDATE, b'"1700000000123"', b'"9300000000000"'),
    "negative time": changed(UPDATE, b'"1700000000123"', b'"-1"'),
    "window out of order": window([], [("0.02", "1"), ("0.01", "1")]),
    "touch of two levels": touch([("0.05", "3"), ("0.04", "3")], []),
    "touch with a negative price": touch([("-0.05", "3")], []),
    "trade without side": trades(trade(), trade(side="up")),
    "trade of nothing": trades(trade(), trade(sz="0")),
    "trade at a negative price": trades(trade(), trade(px="-0.05")),
    "trade id as a number": trades(trade(tradeId=5)),
    "null volatility": summaries(summary(markVol=None)),
    "summary without greeks": changed(summaries(summary()), b'"deltaBS"', b'"deltaBs"'),
    "negative volatility": summaries(summary(markVol="-0.5")),
    "huge gamma": summaries(summary(gammaBS="1e16")),
    "negative mark": frame_of(
        f"mark-price:{OPTION}", {"instId": OPTION, "markPx": "-1", "ts": "1"}
    ),
    "data is no list": b'{"arg":{"channel":"trades","instId":"X"},"data":{}}',
    "cut short": UPDATE[:-9],
    "cut in the channel": UPDATE[:22],
    "no JSON": b"\x00\xff\xfe",
    "empty": b"",
    "a list": b"[1,2,3]",
    "deep": b"[" * 5000,
    "deep arg": b'{"arg":{"channel":"books","instId":' + b"[" * 100_000,
    "deep data": b'{"arg":{"channel":"trades"},"data":' + b"[" * 100_000,
    "nothing we know": b'{"op":"dance"}',
    "version 3": b'{"table":"option/depth","data":[]}',
    "bad UTF-8": changed(UPDATE, OPTION.encode(), b"\xff\xfe"),
    "ping is the client's": b"ping",
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_counted_and_leaves_its_neighbours_alone(name):
    before = book("update", 2, 1, [("0.019", "1")], [("0.02", "3")])
    out = decoded([before, BAD_FRAMES[name], trades(trade()), summaries(summary())], IDS)
    assert out.error_count == 1
    assert out.errors[0].frame == BAD_FRAMES[name][:512]
    fields = ("kind", "side", "price", "size", "rx_ns")
    assert tuples(out.rows.view(), *fields) == [
        (Kind.BOOK_DELTA, 1, 0.019, 1.0, 1000),
        (Kind.BOOK_DELTA, -1, 0.02, 3.0, 1000),
        (Kind.TRADE, -1, 0.045, 2.0, 1002),
    ]
    assert out.frames.view()["row_end"].tolist() == [2]
    assert len(out.trade_keys) == 1
    assert out.tickers.view()["rx_ns"].tolist() == [1003]


def test_unknown_fields_are_passed_over():
    more = changed(UPDATE, b'"checksum"', b'"news":[{"a":1}],"checksum"')
    assert clean([more], IDS).rows.count == 1


SHAPES = [
    json.loads(frame)
    for frame in (
        book("snapshot", 5, -1, [("0.02", "1"), ("0.01", "4")], [("0.03", "2")]),
        book("update", 6, 5, [("0.02", "7")], [("0.03", "0")]),
        window([("0.05", "3")], [("0.06", "1")]),
        touch([("0.05", "3")], []),
        trades(trade(), trade(tradeId="39", side="buy")),
        summaries(summary(), summary(instId=PUT, bidVol="")),
        frame_of(f"open-interest:{OPTION}", {"instId": OPTION, "oi": "3", "ts": "5"}),
        frame_of(f"mark-price:{PERP}", {"instId": PERP, "markPx": "60000", "ts": "5"}),
        index("BTC-USD", "60000.5"),
        frame_of("instruments:OPTION", state(OPTION, "live"), state(PUT, "expired")),
        b'{"id":"7","event":"subscribe","arg":{"channel":"books","instId":"X"},"connId":"a"}',
        b'{"id":"7","event":"error","code":"60018","msg":"channel:books,instId:X doesn\'t exist"}',
    )
]
WORDS = st.sampled_from([
    None, True, -1, 0, 1, 2**31, 2**63, 2**70, -0.5, 1e300, 1e-300, "", "∞", "-1", "0.5", "1e5",
    "1e300", "4611686018427388", "snapshot", "buy", OPTION, "BTC-USD", "trades", "9" * 30,
])  # fmt: skip
VALUES = (
    WORDS | st.lists(WORDS, max_size=4) | st.dictionaries(st.text(max_size=3), WORDS, max_size=2)
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
    frame = json.dumps(shape, separators=separators, ensure_ascii=False).encode()
    how = draw(st.sampled_from(["whole", "cut", "flip", "random", "nested"]))
    if how == "cut":
        return frame[: draw(st.integers(0, len(frame)))]
    if how == "flip":
        at = draw(st.integers(0, len(frame) - 1))
        return frame[:at] + draw(st.binary(min_size=1, max_size=3)) + frame[at + 1 :]
    if how == "nested":
        return frame.replace(b"[", b"[" * draw(st.sampled_from([2, 3, 3000])), 1)
    return draw(st.binary(max_size=80)) if how == "random" else frame


@given(st.lists(broken_frames(), max_size=6))
def test_any_bytes_give_rows_or_counted_errors_and_nothing_else(frames):
    out = decoded(frames, IDS)
    rows, tables = out.rows.view(), out.frames.view()
    assert out.error_count <= 2 * len(frames)  # two entries of one frame may fail
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
        okx.control(frame)
        okx.channel_of(frame)


@given(st.lists(broken_frames(), max_size=8), st.integers(0, 8))
def test_decoding_does_not_depend_on_the_cuts(frames, cut):
    whole = decoded(frames, IDS)
    left, right = decoded(frames[:cut], IDS), decoded(frames[cut:], IDS, 1000 + len(frames[:cut]))
    for table in ("rows", "tickers"):
        parts = [getattr(out, table).view().tobytes() for out in (whole, left, right)]
        assert parts[0] == parts[1] + parts[2]
    assert whole.trade_keys == left.trade_keys + right.trade_keys
    assert whole.lifecycle == left.lifecycle + right.lifecycle
    assert whole.error_count == left.error_count + right.error_count
    assert [str(e) for e in whole.errors] == [str(e) for e in [*left.errors, *right.errors]]
    skipped = dict(left.skipped)
    for reason, count in right.skipped.items():
        skipped[reason] = skipped.get(reason, 0) + count
    assert whole.skipped == skipped
    ends = whole.frames.view()["row_end"].tolist()
    moved = (right.frames.view()["row_end"] + left.rows.count).tolist()
    assert ends == left.frames.view()["row_end"].tolist() + moved


def test_decode_appends_to_what_is_there():
    out = DecodeOut()
    for _ in range(2):
        okx.decode([book("update", 15, 10, [("0.051", "1")], [])], [5], {OPTION: 1}, out)
    assert tuples(out.frames.view(), "row_begin", "row_end") == [(0, 1), (1, 2)]
