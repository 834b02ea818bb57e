"""Gate's decoder on the frames of its documentation, and on frames of their shape.

No recorded frame of these sockets is known. Expected values are typed in from the text of the
examples, which lie beside the repository (fixtures/gateio) and are never copied here whole.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import DecodeOut, Flag, FrameKind, Kind
from feeds.sequence import SequenceTracker, Turn
from feeds.trade_keys import trade_key
from feeds.venues import gate
from tests.feeds.gate_frames import (
    AT_MS,
    AT_S,
    CALL,
    IDS,
    INDEX,
    PUT,
    answer,
    book,
    changes,
    message,
    price,
    quote,
    ticker,
    trade,
    trades,
)
from tests.feeds.venue_frames import RX_NS, clean, decoded, f32, fixture, same, tuples

EXAMPLES = "gateio/ws_docexamples_options.jsonl"
MS = 1_000_000
VALUES = (
    "mark", "iv_bid", "iv_ask", "iv_mark", "delta", "gamma", "vega", "theta", "forward", "index",
    "open_interest",
)  # fmt: skip
LEVEL = ("kind", "side", "price", "size", "flags", "level")


def examples(channel: str) -> list[bytes]:
    """Documented frames of one channel."""
    return [f for f in fixture(EXAMPLES) if f'"options.{channel}"'.encode() in f]


def values(row: np.ndarray) -> list[float]:
    return [float(row[name]) for name in VALUES]


# ---- the documentation's examples --------------------------------------------------------------


def test_documented_book_is_whole_and_best_first():
    out = clean(gate, examples("order_book"), {CALL: 5})
    at = 1541500161123 * MS
    assert tuples(out.rows.view(), *LEVEL, "ex_ns", "listing_id") == [
        (Kind.BOOK_SNAPSHOT, 1, 97.2, 2245.0, Flag.SNAPSHOT_START, 0, at, 5),
        (Kind.BOOK_SNAPSHOT, 1, 97.1, 2245.0, 0, 1, at, 5),
        (Kind.BOOK_SNAPSHOT, -1, 97.1, 2245.0, 0, 0, at, 5),
        (Kind.BOOK_SNAPSHOT, -1, 97.2, 2245.0, Flag.LAST, 1, at, 5),
    ]
    # Its number is 93973511, counted one higher.
    assert out.frames.view().tolist() == [
        (5, FrameKind.SNAPSHOT, 93973512, 93973512, -1, RX_NS, 0, 4)
    ]


def test_documented_print_is_a_hundred_contracts_sold():
    ids = {"BTC_USDT-20211231-59800-C": 9}
    out = clean(gate, examples("ul_trades"), ids)
    fields = ("kind", "listing_id", "side", "price", "size", "flags", "ex_ns", "seq", "aux")
    assert tuples(out.rows.view(), *fields) == [
        (Kind.TRADE, 9, -1, 997.8, 100.0, Flag.LAST, 1639144526597 * MS, 0, 0)
    ]
    assert out.trade_keys == [trade_key("BTC_USDT-20211231-59800-C 12279")]


def test_documented_ticker_gives_values_and_no_prices_to_trade_at():
    out = clean(gate, examples("contract_tickers"), IDS)
    (row,) = out.tickers.view()
    nan = math.nan
    ivs, greeks = (0.65481, 0.88145, 0.86695), (-0.78311, 0.00003, 34.8731, -72.80588)
    assert same(values(row), [11170.19, *map(f32, ivs), *map(f32, greeks), nan, nan, 993.0])
    at = 1630576352 * 1000 * MS
    assert (row["listing_id"], row["ex_ns"], row["oi_ns"], row["rx_ns"]) == (1, at, at, RX_NS)
    assert out.rows.count == 0


def test_documented_index_price_is_the_mark_of_the_index():
    out = clean(gate, examples("ul_price"), IDS)
    (row,) = out.tickers.view()
    assert (row["listing_id"], row["mark"], row["index"]) == (2, 49653.24, 49653.24)
    assert (row["ex_ns"], row["oi_ns"]) == (1639143988931 * MS, 0)


def test_documented_channels_that_nobody_asks_for_are_skipped():
    out = clean(gate, fixture(EXAMPLES), {})
    # ul_tickers, settlements, contracts and order_book_update; the other four are of no listing.
    assert out.skipped == {"other_channel": 4, "unknown_symbol": 4}
    assert out.rows.count == out.tickers.count == 0


def test_documented_greeks_are_black_scholes_per_coin_per_point_and_per_day():
    """The worked example of the page: the forward is taken from the delta, all else follows."""
    (row,) = clean(gate, examples("contract_tickers"), IDS).tickers.view()
    strike, iv = 59_800.0, 0.86695
    # From the time of the index price in the same examples to 2021-12-31 08:00 UTC.
    years = (1640937600 - 1639143988.931) / (365 * 86_400)
    deviation = iv * math.sqrt(years)
    forward = 49_784.0
    d1 = math.log(forward / strike) / deviation + deviation / 2
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)

    def below(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    assert row["delta"] == pytest.approx(-below(-d1), abs=5e-4)
    assert row["gamma"] == pytest.approx(density / (forward * deviation), abs=5e-6)
    assert row["vega"] == pytest.approx(forward * density * math.sqrt(years) / 100, rel=1e-3)
    per_day = -forward * density * iv / (2 * math.sqrt(years)) / 365
    assert row["theta"] == pytest.approx(per_day, rel=1e-3)
    mark = strike * below(deviation - d1) - forward * below(-d1)  # USDT for one coin
    assert row["mark"] == pytest.approx(mark, rel=1e-3)


# ---- books -------------------------------------------------------------------------------------


def test_empty_book_is_a_frame_without_rows():
    out = clean(gate, [book(5)], IDS)
    assert out.rows.count == 0
    assert out.frames.view().tolist() == [(0, FrameKind.SNAPSHOT, 6, 6, -1, RX_NS, 0, 0)]


def test_change_of_a_book_sets_both_sides_of_its_price():
    out = clean(gate, [changes((6, "97.0", -3), (7, "96.9", 12), (8, "95", 0))], IDS)
    assert tuples(out.rows.view(), *LEVEL, "ex_ns") == [
        (Kind.BOOK_DELTA, 1, 97.0, 0.0, 0, 0, AT_S * 10**9),
        (Kind.BOOK_DELTA, 1, 96.9, 12.0, 0, 0, AT_S * 10**9),
        (Kind.BOOK_DELTA, 1, 95.0, 0.0, 0, 0, AT_S * 10**9),
        (Kind.BOOK_DELTA, -1, 97.0, 3.0, 0, 0, AT_S * 10**9),
        (Kind.BOOK_DELTA, -1, 96.9, 0.0, 0, 0, AT_S * 10**9),
        (Kind.BOOK_DELTA, -1, 95.0, 0.0, Flag.LAST, 0, AT_S * 10**9),
    ]
    # Numbers 6 to 8 follow 5; each counted one higher.
    assert out.frames.view().tolist() == [(0, FrameKind.DELTA, 9, 9, 6, RX_NS, 0, 6)]


def turns(*frames: bytes) -> list[Turn]:
    out = clean(gate, frames, IDS)
    tracker = SequenceTracker()
    return [turn for _, _, turn in tracker.accept(out.frames.view(), out.rows.view()).changes]


def test_whole_books_and_changes_that_follow_keep_a_book_live():
    assert turns(book(5), changes((6, "97", 1)), book(6), changes((7, "97", 0), (8, "96", 2))) == [
        Turn.LIVE,
        Turn.EMPTY,
        Turn.EMPTY,
    ]


@pytest.mark.parametrize("late", [changes((7, "97", 1)), book(4, [("96", 1)])])
def test_a_change_that_skips_and_a_book_that_is_older_are_gaps(late):
    assert turns(book(5, [("96", 1)]), late)[-1] == Turn.GAP


def test_a_change_opens_no_book_not_even_the_first_of_all():
    assert turns(changes((1, "97", 1)), changes((2, "97", 2))) == []


# ---- quotes, tickers, prints -------------------------------------------------------------------


def test_quote_is_both_sides_with_the_venue_s_number():
    out = clean(gate, [quote()], IDS)
    assert tuples(out.rows.view(), "kind", "side", "price", "size", "flags", "seq", "ex_ns") == [
        (Kind.QUOTE, 1, 54696.6, 37000.0, 0, 9, AT_MS * MS),
        (Kind.QUOTE, -1, 54696.7, 47061.0, Flag.LAST, 9, AT_MS * MS),
    ]
    assert out.frames.count == 0


@pytest.mark.parametrize("nothing", [{"b": "", "B": 0}, {"b": "0", "B": 5}, {"b": "3", "B": 0}])
def test_side_without_orders_has_neither_price_nor_size(nothing):
    bid, ask = clean(gate, [quote(**nothing)], IDS).rows.view()
    assert same([bid["price"], bid["size"]], [math.nan, math.nan])
    assert same([ask["price"], ask["size"]], [54696.7, 47061.0])


def test_ticker_says_nothing_where_nothing_is_and_0_where_0_is_a_value():
    frames = [
        ticker(mark_price="0", index_price="", mark_iv="0", bid_iv="", position_size=0, delta="0"),
        ticker(),
    ]
    first, second = clean(gate, frames, IDS).tickers.view()
    nan = math.nan
    assert same(values(first), [nan, nan, nan, nan, 0.0, nan, nan, nan, nan, nan, 0.0])
    assert same(values(second), [nan] * 11)
    assert (first["oi_ns"], second["oi_ns"]) == (AT_S * 10**9, 0)


def test_milliseconds_of_a_message_are_taken_where_it_has_them():
    late = message("contract_tickers", "update", {"name": CALL}, time_ms=AT_S * 1000 + 250)
    (row,) = clean(gate, [late], IDS).tickers.view()
    assert row["ex_ns"] == AT_S * 10**9 + 250 * MS


def test_prints_of_a_message_are_updates_of_their_own():
    out = clean(gate, [trades(trade(), trade(contract=PUT, id=3, size="7", price="1.5"))], IDS)
    assert tuples(out.rows.view(), "listing_id", "side", "price", "size", "flags") == [
        (0, -1, 997.8, 100.0, Flag.LAST),
        (1, 1, 1.5, 7.0, Flag.LAST),
    ]
    assert out.trade_keys == [trade_key(f"{CALL} 12279"), trade_key(f"{PUT} 3")]


def test_print_of_a_stranger_leaves_the_others():
    out = clean(gate, [trades(trade(contract="X"), trade())], IDS)
    assert tuples(out.rows.view(), "listing_id", "side") == [(0, -1)]
    assert out.skipped == {"unknown_symbol": 1}


def test_index_of_a_stranger_is_skipped_and_counted():
    out = clean(gate, [price(underlying="DOGE_USDT"), price()], IDS)
    assert out.tickers.view()["listing_id"].tolist() == [IDS[INDEX]]
    assert out.skipped == {"unknown_symbol": 1}


# ---- what carries no rows, and what is wrong ---------------------------------------------------


def test_session_frames_are_skipped_under_their_names():
    pong = message("pong", "", None)
    out = clean(gate, [answer(), answer(None, {"code": 1, "message": "x"}), pong], IDS)
    assert out.skipped == {"answer": 2, "heartbeat": 1}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"[]",
        b'"x"',
        b"\xff",
        b"[" * 100_000,
        message("order_book", "all", None),
        book(-1),
        book(2**63 - 1),
        book(5, t=-1),
        book(5, [("97.1", 1), ("97.1", 1)]),  # the documentation's own example has this twice
        book(5, [("97.1", 1), ("97.2", 1)]),
        book(5, (), [("97.2", 1), ("97.1", 1)]),
        book(5, [("97.1", 0)]),
        book(5, [("0", 1)]),
        book(5, [("nan", 1)]),
        book(5, [("1e400", 1)]),
        book(5, [("97.1", "inf")]),
        book(5, name=""),
        message("order_book", "update", []),
        changes((0, "97", 1)),
        changes((6, "97", 1), (5, "96", 1)),
        message("order_book", "update", [{"p": "1", "s": 1, "c": n, "id": 6} for n in (CALL, PUT)]),
        quote(b=None),
        quote(b="-1"),
        quote(B=-1),
        quote(u="x"),
        ticker(mark_iv="-0.1"),
        ticker(position_size=-1),
        ticker(delta="inf"),
        ticker(name=""),
        trades(trade(size=0)),
        trades(trade(price=0)),
        trades(trade(create_time_ms="soon")),
        trades("x"),
        price(price=0),
        price(time_ms=2**63),
    ],
)
def test_bad_frame_is_counted_once_and_spoils_no_other(bad):
    good = book(5, [("96", 1)])
    out = decoded(gate, [good, bad, good], IDS)
    assert out.error_count == 1
    assert bad.startswith(out.errors[0].frame)
    assert out.rows.count == out.frames.count == 2
    assert out.tickers.count == 0
    assert out.trade_keys == []


SIDE = st.dictionaries(
    st.integers(1, 10**6), st.integers(1, 10**6), max_size=8
)  # tenths of a USDT -> contracts


@given(bids=SIDE, asks=SIDE)
def test_any_book_comes_back_level_by_level(bids, asks):
    ordered = [sorted(bids.items(), reverse=True), sorted(asks.items())]
    written = [[(f"{ticks / 10:.1f}", size) for ticks, size in side] for side in ordered]
    out = DecodeOut()
    gate.decode([book(7, *written)], [RX_NS], IDS, out)
    assert out.errors == []
    rows = out.rows.view()
    for side, wanted in zip((1, -1), ordered, strict=True):
        own = rows[rows["side"] == side]
        found = tuples(own, "price", "size", "level")
        assert found == [(t / 10, f32(s), n) for n, (t, s) in enumerate(wanted)]
