"""Aevo's decoder and checksum on frames of its documented shape, broken ones included.

Nothing of this venue was ever recorded: expected values are typed in from its documentation, and
the documentation's own example of the checksum is the oracle of ours.
"""

import math
import zlib
from statistics import NormalDist

import numpy as np
import pytest

from feeds.events import BookCheck, Flag, FrameKind, Kind
from feeds.venues import aevo
from tests.feeds.aevo_frames import (
    AT,
    CALL,
    FRAMES,
    IDS,
    INDEX,
    PERP,
    PUT,
    TICKER,
    TICKER_NS,
    book,
    crc,
    index,
    message,
    quote,
    quotes,
    tickers,
    trade,
)
from tests.feeds.venue_frames import RX_NS, clean, contents, decoded, f32, fixture, frame, tuples

EXPIRY_NS = 1680249600 * 10**9  # 31 March 2023, 08:00 UTC
NORMAL = NormalDist()


# ---- the checksum -----------------------------------------------------------------------------


def test_checksum_of_the_venue_s_own_example():
    assert aevo.checksum([("9", "2")], [("10", "1")]) == 1226559413


@pytest.mark.parametrize(
    ("bids", "asks", "preimage"),
    [
        ([("9", "2"), ("8.5", "4")], [("10", "1")], "9:2:10:1:8.5:4"),
        ([("9", "2")], [("10", "1"), ("11", "0.30")], "9:2:10:1:11:0.30"),
        ([], [("10", "1"), ("11", "3")], "10:1:11:3"),
        ([("9", "2")], [], "9:2"),
        ([], [], ""),
    ],
)
def test_checksum_takes_bids_and_asks_by_turns_as_they_are_written(bids, asks, preimage):
    assert aevo.checksum(bids, asks) == zlib.crc32(preimage.encode())


def test_checksum_takes_a_hundred_levels_a_side():
    bids = [(str(1000 - n), "1") for n in range(101)]
    asks = [(str(2000 + n), "2") for n in range(150)]
    words = [f"{1000 - n}:1:{2000 + n}:2" for n in range(100)]
    assert aevo.checksum(bids, asks) == zlib.crc32(":".join(words).encode())


# ---- books ------------------------------------------------------------------------------------


def test_documented_book_update_and_quotes():
    update, top = fixture("aevo/ws_docexamples_options.jsonl")[::-1]
    out = clean(aevo, [update, top], IDS)
    assert tuples(out.rows.view(), "kind", "side", "price", "size", "flags", "ex_ns", "rx_ns") == [
        (Kind.BOOK_DELTA, 1, 1.0, 10.0, 0, AT, RX_NS),
        (Kind.BOOK_DELTA, -1, 10.0, 1.0, Flag.LAST, AT, RX_NS),
        (Kind.QUOTE, 1, 2.0, 10.0, 0, TICKER_NS, RX_NS + 1),
        (Kind.QUOTE, -1, 10.0, 1.0, Flag.LAST, TICKER_NS, RX_NS + 1),
    ]
    assert out.frames.view().tolist() == [(0, FrameKind.CHAINED, AT, AT, -1, RX_NS, 0, 2)]
    assert out.checks == [BookCheck([("1", "10")], [("10", "1")], 1321749405)]


def test_snapshot_has_levels_in_place_and_text_for_its_checksum():
    out = clean(aevo, FRAMES[:2], IDS)
    assert tuples(out.rows.view(), "kind", "side", "level", "price", "size", "flags") == [
        (Kind.BOOK_SNAPSHOT, 1, 0, 9.0, 2.0, Flag.SNAPSHOT_START),
        (Kind.BOOK_SNAPSHOT, 1, 1, 8.5, 4.0, 0),
        (Kind.BOOK_SNAPSHOT, -1, 0, 10.0, 1.0, Flag.LAST),
        (Kind.BOOK_DELTA, 1, 0, 9.0, 0.0, 0),
        (Kind.BOOK_DELTA, -1, 0, 10.0, 3.0, Flag.LAST),
    ]
    assert tuples(out.frames.view(), "kind", "seq_last", "seq_prev") == [
        (FrameKind.SNAPSHOT, AT, -1),
        (FrameKind.CHAINED, AT + 1, -1),
    ]
    assert out.checks == [
        BookCheck([("9", "2"), ("8.5", "4")], [("10", "1")], zlib.crc32(b"9:2:10:1:8.5:4")),
        BookCheck([("9", "0")], [("10", "3")], zlib.crc32(b"8.5:4:10:3")),
    ]


def test_levels_of_perpetuals_have_two_elements():
    sent = book("snapshot", [["1936.75", "4.58"]], [["1937.07", "3.65"]], "x", PERP)
    out = clean(aevo, [sent], IDS)
    assert tuples(out.rows.view(), "listing_id", "side", "price", "size") == [
        (2, 1, 1936.75, f32(4.58)),
        (2, -1, 1937.07, f32(3.65)),
    ]


def test_empty_book_is_a_frame_without_rows():
    out = clean(aevo, [book("snapshot")], IDS)
    assert tuples(out.frames.view(), "kind", "row_begin", "row_end") == [(FrameKind.SNAPSHOT, 0, 0)]
    assert out.checks == [BookCheck([], [], 0)]


def test_checks_stay_with_their_frames_where_one_between_is_bad():
    good, more = book("snapshot", [["9", "2"]]), book("snapshot", [["7", "3"]], symbol=PUT)
    bad = book("snapshot", [["8", "1"], ["9", "1"]], symbol=PERP)  # out of order
    out = decoded(aevo, [good, bad, quotes(TICKER), more], IDS)
    assert out.error_count == 1
    assert out.frames.view()["listing_id"].tolist() == [0, 1]
    assert [check.bids for check in out.checks] == [[("9", "2")], [("7", "3")]]


def test_checks_of_unknown_instruments_are_left_out_with_their_frames():
    out = clean(aevo, [book("snapshot", symbol="X"), book("snapshot", [["9", "2"]])], IDS)
    assert out.skipped == {"unknown_symbol": 1}
    assert [check.bids for check in out.checks] == [[("9", "2")]]


# ---- quotes, tickers, prints, index -----------------------------------------------------------


def test_side_that_nobody_quotes_has_no_price_and_no_size():
    zero = {"price": "0", "amount": "0"}
    out = clean(aevo, [quotes(quote({}, zero), quote({"price": "3", "amount": "0.5"}, {}, PUT))],
                IDS)  # fmt: skip
    rows = out.rows.view()
    assert tuples(rows, "listing_id", "side") == [(0, 1), (0, -1), (1, 1), (1, -1)]
    assert rows["price"].tolist()[2] == 3.0
    assert rows["size"].tolist()[2] == 0.5
    assert np.isnan(rows["price"][[0, 1, 3]]).all()
    assert np.isnan(rows["size"][[0, 1, 3]]).all()


def test_documented_ticker():
    out = clean(aevo, [tickers(TICKER)], IDS)
    (row,) = out.tickers.view()
    assert (row["listing_id"], row["ex_ns"], row["oi_ns"]) == (0, TICKER_NS, 0)
    assert row["mark"] == 140.007862
    assert row["iv_mark"] == f32(0.5898161402416873)
    assert row["iv_bid"] == f32(0.026280592178461275)
    assert row["iv_ask"] == f32(0.06281820373274899)
    assert row["delta"] == f32(0.540531375408708)
    assert row["gamma"] == f32(0.0010828257944813621)
    assert row["vega"] == f32(2.466304065911212)
    assert row["theta"] == f32(-0.9224266733203602)
    assert np.isnan([row["forward"], row["index"], row["open_interest"]]).all()
    assert out.rows.count == 0  # its best prices come late: quotes have a channel of their own


def test_documented_greeks_are_black_s_per_point_and_per_day_at_eight_utc():
    """Undiscounted Black on one forward of 1337, the same for mark, bid and ask."""
    years = (EXPIRY_NS - TICKER_NS) / (365 * 86_400e9)
    for side in ("mark", "bid", "ask"):
        said = {name: float(value) for name, value in TICKER[side].items()}
        deviation = said["iv"] * math.sqrt(years)
        d1 = NORMAL.inv_cdf(said["delta"])
        forward = 1350 * math.exp(d1 * deviation - deviation**2 / 2)
        density = forward * NORMAL.pdf(d1)
        assert forward == pytest.approx(1337.0, abs=1e-4)
        assert said["gamma"] == pytest.approx(density / (forward**2 * deviation), rel=1e-6)
        per_day = -density * said["iv"] / (2 * math.sqrt(years)) / 365
        assert said["theta"] == pytest.approx(per_day, rel=1e-6)
        if side == "mark":
            assert said["vega"] == pytest.approx(density * math.sqrt(years) / 100, rel=1e-6)
        else:  # The example repeats the mark's vega on both sides.
            worth = forward * said["delta"] - 1350 * NORMAL.cdf(d1 - deviation)
            assert worth == pytest.approx(said["price"], abs=1e-5)


def test_ticker_of_a_perpetual_has_a_mark_alone():
    entry = {"instrument_name": PERP, "mark": {"price": "1337.2"}, "funding_rate": "0.1"}
    whole = tickers(entry, channel="ticker-500ms:ETH-PERP")
    (row,) = clean(aevo, [whole], IDS).tickers.view()
    assert (row["listing_id"], row["mark"]) == (2, 1337.2)
    assert np.isnan([row["delta"], row["iv_mark"], row["iv_bid"], row["index"]]).all()


def test_answer_on_the_shorter_name_of_the_documented_table():
    out = clean(aevo, [tickers(TICKER, channel="ticker:ETH:OPTION")], IDS)
    assert out.tickers.view()["mark"].tolist() == [140.007862]


def test_documented_print_of_an_option():
    out = clean(aevo, [trade(), trade(side="buy", instrument_name=CALL)], IDS)
    assert tuples(out.rows.view(), "kind", "listing_id", "side", "price", "size", "flags",
                  "ex_ns") == [
        (Kind.TRADE, 1, -1, 0.58, 1.5, Flag.LAST, 1674118637229190091),
        (Kind.TRADE, 0, 1, 0.58, 1.5, Flag.LAST, 1674118637229190091),
    ]  # fmt: skip
    assert out.frames.count == 0


def test_prints_of_one_transaction_are_told_apart_and_copies_are_not():
    out = clean(aevo, [trade(), trade(), trade(price="0.6"), trade(amount="2"),
                       trade(created_timestamp="1674118637229190092"), trade(trade_id="y")],
                IDS)  # fmt: skip
    assert out.trade_keys[0] == out.trade_keys[1]
    assert len(set(out.trade_keys)) == 5


def test_documented_index_is_a_mark_of_the_index_listing():
    (row,) = clean(aevo, [index()], IDS).tickers.view()
    assert (row["listing_id"], row["mark"], row["index"]) == (IDS[INDEX], 1337.16, 1337.16)
    assert row["ex_ns"] == 1673438070391698947
    assert clean(aevo, [index(asset="BTC")], IDS).skipped == {"unknown_symbol": 1}


# ---- what is not market data, what is broken --------------------------------------------------


def test_other_frames_are_skipped_by_reason():
    refusal = frame({"error": "RATE_LIMIT_EXCEEDED", "data": {"retry_after": "4406000000"}})
    out = clean(aevo, [*FRAMES[-2:], message("orders", {}), refusal], IDS)
    assert out.skipped == {"answer": 2, "other_channel": 1, "refusal": 1}


def test_spaces_and_another_order_of_fields_change_nothing():
    plain = clean(aevo, FRAMES, IDS)
    spaced = [content.replace(b'{"channel"', b'{ "channel"') for content in FRAMES]
    assert contents(clean(aevo, spaced, IDS)) == contents(plain)


SIDE = {"price": "2", "amount": "1"}
BAD_FRAMES = {
    "negative size": book("update", [["9", "-1"]]),
    "price of nothing": book("update", [["0.00", "1"]]),
    "price in words": book("update", [["nan", "1"]]),
    "size in words": book("update", [["9", "inf"]]),
    "exponent": book("update", [["9e2", "1"]]),
    "number, not text": book("update", [[9, 1]]),
    "huge price": book("update", [["1" * 13, "1"]]),
    "level of one": book("update", [["9"]]),
    "line behind a price": book("update", [["9\n", "1"]]),
    "unknown kind": book("partial"),
    "level twice": book("snapshot", [["9", "1"], ["9.0", "1"]]),
    "snapshot level without size": book("snapshot", [["9", "0"]]),
    "no checksum": book("update", checksum=None),
    "checksum of 33 bits": book("update", checksum=str(2**32)),
    "time beyond int64": book("update", at=2**63),
    "negative time": book("update", at=-1),
    "price without amount": quotes(quote({"price": "2"}, SIDE)),
    "amount without price": quotes(quote(SIDE, {"amount": "1"})),
    "negative quote": quotes(quote({"price": "-2", "amount": "1"}, SIDE)),
    "ticker without mark": tickers(quote(SIDE, SIDE)),
    "volatility in words": tickers(TICKER | {"mark": {"price": "1", "iv": "high"}}),
    "huge greek": tickers(TICKER | {"mark": {"price": "1", "vega": "1e16"}}),
    "trade without side": trade(side="none"),
    "trade of nothing": trade(amount="0"),
    "trade without price": trade(price="0"),
    "trade without id": trade(trade_id=""),
    "misspelt time of the example": message("trades:ETH", {"created_ttimestamp": "1"}),
    "index of nothing": index("0"),
    "cut short": book("update", [["9", "1"]])[:-9],
    "no JSON": b"\x00\xff\xfe",
    "empty": b"",
    "a list": b"[1,2,3]",
    "deep": b"[" * 5000,
    "deep data": b'{"channel":"orderbook-100ms:X","data":' + b"[" * 5000,
    "no message": b'{"op":"dance"}',
    "channel of no word": b'{"channel":"',
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_counted_and_leaves_its_neighbours_alone(name):
    before = book("update", [["9", "2"]], [["10", "1"]])
    out = decoded(aevo, [before, BAD_FRAMES[name], trade(), tickers(TICKER)], IDS)
    assert out.error_count == 1
    assert out.errors[0].frame == BAD_FRAMES[name][:512]
    assert str(out.errors[0]).startswith("aevo: ")
    assert tuples(out.rows.view(), "kind", "side", "price", "rx_ns") == [
        (Kind.BOOK_DELTA, 1, 9.0, RX_NS),
        (Kind.BOOK_DELTA, -1, 10.0, RX_NS),
        (Kind.TRADE, -1, 0.58, RX_NS + 2),
    ]
    assert [check.checksum for check in out.checks] == [int(crc(""))]
    assert out.tickers.view()["rx_ns"].tolist() == [RX_NS + 3]


def test_fields_we_do_not_know_change_nothing():
    plain = [book("update", [["9", "2"]]), trade()]
    more = [book("update", [["9", "2"]], news={"a": [1]}), trade(news=[None])]
    assert contents(clean(aevo, plain, IDS)) == contents(clean(aevo, more, IDS))
