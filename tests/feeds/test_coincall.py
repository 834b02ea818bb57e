"""Coincall's decoder on the frames of its documentation, and on frames of their shape.

No recorded frame of these sockets is known. Expected values are typed in from the text of the
examples, which lie beside the repository (fixtures/coincall) and are never copied here whole.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import DecodeOut, Flag, FrameKind, Kind
from feeds.trade_keys import trade_key
from feeds.venues import coincall
from tests.feeds.coincall_frames import (
    AT_MS,
    CALL,
    IDS,
    PUT,
    book,
    chain,
    entry,
    message,
    trade,
    trades,
    values,
)
from tests.feeds.venue_frames import RX_NS, clean, decoded, f32, fixture, frame, same, tuples

EXAMPLES = "coincall/ws_docexamples_options.jsonl"
MS = 1_000_000
MINUTE_MS = 60_000
VALUES = (
    "mark", "iv_bid", "iv_ask", "iv_mark", "delta", "gamma", "vega", "theta", "forward", "index",
    "open_interest",
)  # fmt: skip


def ticker(row: np.ndarray) -> list[float]:
    return [float(row[name]) for name in VALUES]


# ---- the documentation's examples --------------------------------------------------------------

INFO_IDS = {"BTCUSD-28JUL23-33000-C": 7, "BTCUSD/INDEX": 8}


def test_documented_values_are_a_ticker_and_an_index():
    out = clean(coincall, fixture(EXAMPLES), INFO_IDS)
    option, index = out.tickers.view()
    nan = math.nan
    assert same(
        ticker(option),
        [834.28262809, nan, nan, *map(f32, (0.4728, 0.34898, 0.0001, 29.70793, -29.14546)),
         31248.97, 31059.68, 1000.0],
    )  # fmt: skip
    at = 1688449285840 * MS
    assert (option["listing_id"], option["ex_ns"], option["oi_ns"]) == (7, at, at)
    assert (index["listing_id"], index["mark"], index["index"]) == (8, 31059.68, 31059.68)
    assert (index["ex_ns"], index["oi_ns"]) == (at, 0)
    # A candle, a sign of life, and a chain of options that are not ours.
    assert out.skipped == {"other_channel": 1, "heartbeat": 1, "unknown_symbol": 1}


def test_documented_chain_has_no_volatility_of_a_side_nobody_quotes_nor_at_the_floor():
    out = clean(coincall, fixture(EXAMPLES), {CALL: 5})
    (row,) = out.tickers.view()
    nan = math.nan
    assert same(ticker(row), [4038.5855, nan, nan, nan, 1, 0, 0, 0, 31038.5855, nan, 1.0])
    assert (row["listing_id"], row["ex_ns"]) == (5, 1688452774463 * MS)
    assert out.rows.count == 0


def test_documented_greeks_are_black_scholes_of_the_underlying_price_as_forward():
    """The worked example of the page: all of it follows from four numbers of the example."""
    (row, _) = clean(coincall, fixture(EXAMPLES), INFO_IDS).tickers.view()
    forward, strike, iv = 31_248.97, 33_000.0, 0.4728
    years = 2_081_914_160 / (365 * 86_400_000)  # `rt`, what remains
    deviation = iv * math.sqrt(years)
    d1 = math.log(forward / strike) / deviation + deviation / 2
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)

    def below(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    assert row["delta"] == pytest.approx(below(d1), abs=1e-5)
    assert row["gamma"] == pytest.approx(density / (forward * deviation), abs=5e-6)
    assert row["vega"] == pytest.approx(forward * density * math.sqrt(years) / 100, rel=1e-4)
    per_day = -forward * density * iv / (2 * math.sqrt(years)) / 365
    assert row["theta"] == pytest.approx(per_day, rel=1e-4)
    mark = forward * below(d1) - strike * below(d1 - deviation)  # USD for one coin
    assert row["mark"] == pytest.approx(mark, rel=1e-4)


# ---- books, chains, prints ---------------------------------------------------------------------


def test_book_is_a_whole_window_at_its_time():
    out = clean(coincall, [book([("1", "0.2"), ("0.5", 3)], [("4038.58", "1")])], IDS)
    assert tuples(out.rows.view(), "kind", "side", "price", "size", "flags", "level", "ex_ns") == [
        (Kind.BOOK_SNAPSHOT, 1, 1.0, f32(0.2), Flag.SNAPSHOT_START, 0, AT_MS * MS),
        (Kind.BOOK_SNAPSHOT, 1, 0.5, 3.0, 0, 1, AT_MS * MS),
        (Kind.BOOK_SNAPSHOT, -1, 4038.58, 1.0, Flag.LAST, 0, AT_MS * MS),
    ]
    assert out.frames.view().tolist() == [(0, FrameKind.WINDOW, AT_MS, AT_MS, -1, RX_NS, 0, 3)]


def test_empty_book_is_a_frame_without_rows():
    out = clean(coincall, [book()], IDS)
    assert out.rows.count == 0
    assert out.frames.count == 1


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"biv": 0.4, "aiv": "0.5"}, (0.4, 0.5)),
        ({"biv": 0.4, "aiv": 0.5, "bid": 0}, (math.nan, 0.5)),
        ({"biv": 0.4, "aiv": 0.5, "ask": None}, (0.4, math.nan)),
        ({"biv": 0.01, "aiv": 0.0101}, (math.nan, 0.0101)),
        ({"biv": None}, (math.nan, math.nan)),
    ],
)
def test_volatility_of_a_side_is_one_only_where_it_is_quoted_and_above_the_floor(said, wanted):
    (row,) = clean(coincall, [chain(entry(**said))], IDS).tickers.view()
    assert same([row["iv_bid"], row["iv_ask"]], [f32(x) for x in wanted])


def test_entries_of_a_chain_are_tickers_in_their_order_but_for_strangers():
    frames = [chain(entry(PUT, oi=2, mp=1), entry("X"), entry(mp=None, oi=0)), values(mp=7)]
    out = clean(coincall, frames, IDS)
    rows = out.tickers.view()
    assert tuples(rows, "listing_id", "open_interest")[:2] == [(1, 2.0), (0, 0.0)]
    assert same(rows["mark"], [1, math.nan, 7])
    assert out.skipped == {"unknown_symbol": 1}


def test_index_is_told_where_there_is_one_and_somebody_follows_it():
    frames = [values(ip=0), values(ip=None), values(), values(ip="3")]
    assert clean(coincall, frames, IDS).tickers.view()["listing_id"].tolist() == [0, 0, 0, 0, 2]
    assert clean(coincall, frames, {CALL: 0}).tickers.view()["listing_id"].tolist() == [0] * 4


def test_prints_come_oldest_first_each_an_update_of_its_own():
    early = trade(ts=AT_MS - 5, sd=2, q="0.19", pr=541.7)
    out = clean(coincall, [trades(trade(), trade(s=PUT, q=2), early)], IDS)
    fields = ("listing_id", "side", "price", "size", "flags", "ex_ns", "seq", "aux")
    assert tuples(out.rows.view(), *fields) == [
        (0, -1, 541.7, f32(0.19), Flag.LAST, (AT_MS - 5) * MS, 0, 0),
        (1, 1, 2757.03, 2.0, Flag.LAST, AT_MS * MS, 0, 0),
        (0, 1, 2757.03, 1.0, Flag.LAST, AT_MS * MS, 0, 0),
    ]
    assert out.trade_keys[0] == trade_key(f"{CALL} {AT_MS - 5} 541.7 0.19 2")
    assert len(set(out.trade_keys)) == 3


def test_prints_come_oldest_first_however_they_stand():
    early, late = trade(ts=AT_MS - 5), trade()
    for prints in ((early, late), (late, early)):
        rows = clean(coincall, [trades(*prints)], IDS).rows.view()
        assert rows["ex_ns"].tolist() == [(AT_MS - 5) * MS, AT_MS * MS]


def test_prints_alike_in_one_millisecond_have_one_key_and_others_their_own():
    others = [trade(q="2"), trade(sd=2), trade(pr="2757.04"), trade(ts=AT_MS - 1), trade(s=PUT)]
    keys = clean(coincall, [trades(trade(), trade(), *others)], IDS).trade_keys
    assert len(keys) == 7
    assert len(set(keys)) == 6


def test_prints_of_the_past_are_counted_and_left_out():
    just = RX_NS // MS - MINUTE_MS
    out = clean(coincall, [trades(trade(ts=just), trade(ts=just - 1))], IDS)
    assert out.rows.view()["ex_ns"].tolist() == [just * MS]
    assert len(out.trade_keys) == 1
    assert out.skipped == {"cached_trade": 1}


# ---- what carries no rows, and what is wrong ---------------------------------------------------


def test_session_frames_and_other_data_are_skipped_under_their_names():
    frames = [frame({"c": 11, "rc": 1}), frame({"c": 20, "rc": 0}), message(2, {"s": CALL})]
    out = clean(coincall, frames, IDS)
    assert out.skipped == {"heartbeat": 1, "answer": 1, "other_channel": 1}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"[]",
        b"{}",
        b'{"c":11}',
        b"\xff",
        b"[" * 100_000,
        message(5, None),
        message(5, []),
        book(at_ms=-1),
        book(at_ms=2**63),
        book([("1", 1), ("1", 1)]),
        book([("1", 1), ("2", 1)]),
        book((), [("2", 1), ("1", 1)]),
        book([("1", 0)]),
        book([("0", 1)]),
        book([("nan", 1)]),
        book([("1", "inf")]),
        book([("1", None)]),
        book(name=""),
        values(mp=-1),
        values(oi=-1),
        values(iv="-0.1"),
        values(delta="inf"),
        values(""),
        chain(entry(bid=-1)),
        chain(entry(), entry(ts=None)),
        trades(trade(q=0)),
        trades(trade(pr="0")),
        trades(trade(sd=3)),
        trades(trade(), trade(ts="soon")),
        message(6, trade()),
    ],
)
def test_bad_frame_is_counted_once_and_spoils_no_other(bad):
    good = book([("1", 1)])
    out = decoded(coincall, [good, bad, good], IDS)
    assert out.error_count == 1
    assert bad.startswith(out.errors[0].frame)
    assert out.rows.count == out.frames.count == 2
    assert out.tickers.count == 0
    assert out.trade_keys == []


SIDE = st.dictionaries(
    st.integers(1, 10**6), st.integers(1, 10**6), max_size=8
)  # tenths of a USD -> hundredths of a coin


@given(bids=SIDE, asks=SIDE)
def test_any_book_comes_back_level_by_level(bids, asks):
    ordered = [sorted(bids.items(), reverse=True), sorted(asks.items())]
    written = [[(f"{t / 10:.1f}", f"{s / 100:.2f}") for t, s in side] for side in ordered]
    out = DecodeOut()
    coincall.decode([book(*written)], [RX_NS], IDS, out)
    assert out.errors == []
    rows = out.rows.view()
    for side, wanted in zip((1, -1), ordered, strict=True):
        own = rows[rows["side"] == side]
        found = tuples(own, "price", "size", "level")
        assert found == [(t / 10, f32(s / 100), n) for n, (t, s) in enumerate(wanted)]
