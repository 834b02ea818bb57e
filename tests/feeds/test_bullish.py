"""Bullish's decoder on the few recorded frames, and on frames in the documented shapes.

Expected values are typed in from the text of the frames, which lie beside the repository
(fixtures/bullish) and are never copied here. Its prints and index prices were made by hand.
"""

import math

import numpy as np
import pytest

from feeds.events import Flag, FrameKind, Kind
from feeds.grammar import default_contract, parse, print_symbol
from tests.feeds.bullish_frames import (
    AT_MS,
    CALL,
    IDS,
    INDEX,
    PERP,
    book,
    clean,
    decoded,
    frame,
    index,
    of_type,
    quote,
    recorded,
    tick,
    trade,
    trades,
)
from tests.feeds.deribit_frames import f32, tuples

OPTION = "BTC-USDC-20260425-70000-C"
RECORDED_IDS = {"AAVEUSDC": 0, "BTCUSD": 1, "AAVEAUSD": 2, "BTC": 3, OPTION: 4, PERP: 5}


# ---- recorded frames --------------------------------------------------------------------------


def test_recorded_book_is_a_flat_list_of_prices_and_sizes():
    first, empty = of_type(recorded(), "V1TALevel2")
    out = clean([first, empty], RECORDED_IDS)
    assert tuples(out.rows.view(), "side", "level", "price", "size") == [
        (1, 0, 94.519, f32(56.33894018)),
        (1, 1, 94.489, f32(53.7)),
        (1, 2, 94.467, 5.0),
        (1, 3, 94.466, f32(1.08)),
        (-1, 0, 94.973, f32(6.08)),
        (-1, 1, 94.984, f32(8.42081721)),
        (-1, 2, 94.985, f32(53.7)),
        (-1, 3, 95.078, 5.0),
    ]
    assert out.rows.view()["flags"].tolist() == [Flag.SNAPSHOT_START, *[0] * 6, Flag.LAST]
    # The engine's time, not that of the broadcast.
    assert set(out.rows.view()["ex_ns"].tolist()) == {1777035859490000000}
    assert out.frames.view().tolist() == [
        (0, FrameKind.SNAPSHOT, 428371450, 428371450, -1, 1000, 0, 8),
        (2, FrameKind.SNAPSHOT, 4536455, 4536455, -1, 1001, 8, 8),
    ]


def test_recorded_quotes_have_a_side_each_and_zero_is_none():
    out = clean(of_type(recorded(), "V1TALevel1"), RECORDED_IDS)
    rows = out.rows.view()
    assert tuples(rows[:2], "kind", "side", "price", "size", "ex_ns", "flags") == [
        (Kind.QUOTE, 1, 94.519, f32(56.33894018), 1777035859490000000, 0),
        (Kind.QUOTE, -1, 94.973, f32(6.08), 1777035859490000000, Flag.LAST),
    ]
    assert np.isnan(rows["price"][2:]).all()
    assert np.isnan(rows["size"][2:]).all()
    assert rows["listing_id"].tolist() == [0, 0, 2, 2]


def test_recorded_option_tick_has_its_mark_volatility_and_greeks():
    first, update, perpetual, _ = of_type(recorded(), "V1TATickerResponse")
    out = clean([first, update, perpetual], RECORDED_IDS)
    row, later, perp = out.tickers.view()
    assert (row["listing_id"], row["mark"], row["ex_ns"]) == (4, 8133.6201, 1777042732219000000)
    assert row["iv_mark"] == np.float32(0.7045)
    assert row["delta"] == np.float32(0.9998113)
    assert row["gamma"] == np.float32(0.0000003)
    assert row["vega"] == np.float32(0.0247)
    assert (row["open_interest"], row["oi_ns"]) == (0.0, 1777042732219000000)
    for field in ("theta", "iv_bid", "iv_ask", "forward", "index"):
        assert math.isnan(row[field]), field
    assert later["ex_ns"] == 1777042734219000000
    assert (perp["listing_id"], perp["mark"]) == (5, 78035.395)
    assert (perp["open_interest"], math.isnan(perp["delta"])) == (647.17244459, True)


def test_recorded_greeks_are_black_76_but_for_theta():
    """From the recorded mark, volatility and time to 08:00 UTC; the forward is that of the mark."""
    forward, strike, iv = 78133.5, 70000.0, 0.7045
    years = (1777104000 - 1777042732.219) / (365 * 86400)
    deviation = iv * math.sqrt(years)
    d1 = math.log(forward / strike) / deviation + deviation / 2
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    assert 0.5 * math.erfc(-d1 / math.sqrt(2)) == pytest.approx(0.9998113, abs=2e-7)
    assert forward * density * math.sqrt(years) / 100 == pytest.approx(0.0247, abs=5e-5)
    assert density / (forward * deviation) == pytest.approx(3e-7, abs=5e-9)
    # The venue says -93.2574: of no day, and of no other plain unit.
    assert -forward * density * iv / (2 * math.sqrt(years)) / 365 == pytest.approx(-1.23, abs=0.01)


def test_index_prices_mark_the_asset():
    out = clean(of_type(recorded(), "V1TAIndexPrice"), RECORDED_IDS)
    assert tuples(out.tickers.view(), "listing_id", "mark", "index", "ex_ns") == [
        (3, 78032.25, 78032.25, 1777042730000000000),
        (3, 78040.5, 78040.5, 1777042735000000000),
    ]


def test_prints_are_told_from_either_side_and_the_last_hundred_are_left_out():
    out = clean(of_type(recorded(), "V1TAAnonymousTradeUpdate"), RECORDED_IDS)
    inferred = Flag.LAST | Flag.AGGRESSOR_INFERRED
    assert tuples(out.rows.view(), "kind", "side", "price", "size", "flags") == [
        (Kind.TRADE, 1, 66250.5, f32(0.0042), Flag.LAST),
        (Kind.TRADE, -1, 66251.5, f32(0.0043), Flag.LAST),
        (Kind.TRADE, -1, 66252.5, f32(0.0044), inferred),  # a maker bought, so somebody sold
        (Kind.TRADE, 1, 66253.5, f32(0.0045), inferred),
    ]
    # These were written in nanoseconds.
    assert out.rows.view()["ex_ns"][0] == 1745457580258000000
    assert out.trade_keys == [100118000001462723 + at for at in range(4)]
    assert out.skipped == {"trade_snapshot": 1, "no_entries": 1}


def test_all_recorded_frames_are_accounted_for():
    out = clean(recorded(), RECORDED_IDS)
    wanted = {"trade_snapshot": 1, "heartbeat": 2, "no_data": 1, "no_entries": 1}
    assert out.skipped == wanted
    assert (out.frames.count, out.tickers.count, len(out.trade_keys)) == (2, 5, 4)
    assert clean(recorded(), {}).skipped["unknown_symbol"] == 2 + 2 + 5 + 4


def test_the_recorded_name_round_trips():
    parsed = parse("bullish", OPTION)
    assert print_symbol(parsed) == OPTION
    assert str(default_contract(parsed)) == "BTC-20260425T0800Z-70000-C"
    assert parsed.quote == "USDC"


def test_the_worked_example_of_the_page():
    """docs/venues/bullish.md: sizes are coins and prices USDC a coin, so nothing is multiplied."""
    best = clean(of_type(recorded(), "V1TALevel2")[:1], RECORDED_IDS).rows.view()[0]
    assert float(best["price"]) * float(best["size"]) == pytest.approx(5325.10, abs=0.01)


# ---- frames in the documented shapes ----------------------------------------------------------


def test_an_update_follows_the_number_before_its_first():
    frames = [
        book("snapshot", 40, 42, ["5", "1"], ["6", "2"]),
        book("update", 43, 45, ["5", "0"], ["6", "9"]),
    ]
    out = clean(frames, IDS)
    assert tuples(out.frames.view(), "kind", "seq_last", "seq_prev") == [
        (FrameKind.SNAPSHOT, 42, -1),
        (FrameKind.DELTA, 45, 42),
    ]
    assert tuples(out.rows.view()[2:], "kind", "side", "price", "size") == [
        (Kind.BOOK_DELTA, 1, 5.0, 0.0),
        (Kind.BOOK_DELTA, -1, 6.0, 9.0),
    ]


def test_an_update_with_number_one_does_not_claim_that_nothing_came_before():
    assert clean([book("update", 1, 1, ["5", "1"])], IDS).frames.view()["seq_prev"].tolist() == [-1]


def test_books_that_are_empty_one_sided_or_crossed_come_through():
    frames = [
        book("snapshot", 1, 1),
        book("snapshot", 2, 2, [], ["6", "2"]),
        book("snapshot", 3, 3, ["7", "1"], ["6", "2"]),
    ]
    out = clean(frames, IDS)
    assert tuples(out.frames.view(), "row_begin", "row_end") == [(0, 0), (0, 1), (1, 3)]
    assert tuples(out.rows.view(), "side", "price") == [(-1, 6.0), (1, 7.0), (-1, 6.0)]


@pytest.mark.parametrize("at", [str(AT_MS), AT_MS, AT_MS * 1000, str(AT_MS * 1_000_000)])
def test_a_time_is_told_by_its_size_and_may_be_a_number(at):
    out = clean([trades(trade(createdAtTimestamp=at))], IDS)
    assert out.rows.view()["ex_ns"].tolist() == [AT_MS * 1_000_000]


def test_an_otc_match_is_a_block_whose_prints_share_a_number():
    out = clean(
        [
            trades(
                trade(otcMatchId="10"),
                trade(otcMatchId="10", tradeId="7", side="SELL"),
                trade(otcMatchId="11", tradeId="8"),
                trade(tradeId="9"),
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


def test_a_print_of_an_auction_has_no_aggressor():
    out = clean([trades(trade(auctionId="397735387747975680", isTaker=False))], IDS)
    assert tuples(out.rows.view(), "side", "flags") == [(0, Flag.LAST)]


BAD_FRAMES = {
    "odd side": book("snapshot", 1, 1, ["5"]),
    "price of nothing": book("snapshot", 1, 1, ["0", "1"]),
    "negative price": book("snapshot", 1, 1, ["-5", "1"]),
    "negative size": book("snapshot", 1, 1, [], ["5", "-1"]),
    "price that is no number": book("snapshot", 1, 1, ["nan", "1"]),
    "unordered book": book("snapshot", 1, 1, ["5", "1", "6", "1"]),
    "level twice": book("snapshot", 1, 1, [], ["5", "1", "5", "1"]),
    "snapshot level without size": book("snapshot", 1, 1, ["5", "0"]),
    "range backwards": book("snapshot", 2, 1),
    "range of one": book("snapshot", 1, 1, sequenceNumberRange=[1]),
    "number beyond int64": book("snapshot", 1, 2**63),
    "no time": book("snapshot", 1, 1, timestamp=None),
    "nested levels": book("snapshot", 1, 1, [["5", "1"]]),
    "unknown type": book("replace", 1, 1),
    "quote of one": quote(bid=["5"]),
    "negative quote": quote(ask=["-6", "1"]),
    "print of nothing": trades(trade(), trade(quantity="0")),
    "print without side": trades(trade(side="UP")),
    "print that may be a taker": trades(trade(isTaker=None)),
    "negative mark": tick(markPrice="-1"),
    "negative volatility": tick(impliedVolatility="-0.1"),
    "infinite greek": tick(vega="inf"),
    "index of nothing": index("0"),
    "cut short": tick()[:-9],
    "no JSON": b"\x00\xff\xfe",
    "empty": b"",
    "a list": b"[1,2,3]",
    "nothing known": b'{"hello":1}',
    "deep": b"[" * 5000,
    "deep in a message": b'{"dataType":"V1TALevel2","data":' + b"[" * 5000,
    "bad UTF-8": tick().replace(CALL.encode(), b"\xff\xfe"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_counted_and_leaves_its_neighbours_alone(name):
    before = book("snapshot", 5, 5, ["5", "1"], ["6", "2"])
    out = decoded([before, BAD_FRAMES[name], trades(trade(side="SELL"))], IDS)
    assert out.error_count == 1
    assert out.errors[0].frame == BAD_FRAMES[name][:512]
    assert tuples(out.rows.view(), "kind", "side", "price", "size", "rx_ns") == [
        (Kind.BOOK_SNAPSHOT, 1, 5.0, 1.0, 1000),
        (Kind.BOOK_SNAPSHOT, -1, 6.0, 2.0, 1000),
        (Kind.TRADE, -1, 8133.6, 0.25, 1002),
    ]
    assert out.frames.view()["row_end"].tolist() == [2]
    assert (len(out.trade_keys), out.tickers.count) == (1, 0)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (frame("update", "V1TAHeartbeat", {"message": "heartbeat"}), "heartbeat"),
        (frame("update", "V1TATickerResponse", None), "no_data"),
        (frame("update", "V1TALevel2", None), "no_data"),
        (frame("update", "V1TAAuction", {"phase": 1}), "other_channel"),
        (b'{"jsonrpc":"2.0","id":"1","result":{"message":"Successfully subscribed"}}', "answer"),
        (b'{"jsonrpc":"2.0","id":"12","error":{"errorCode":29014}}', "answer"),
    ],
)
def test_what_is_no_market_data_is_counted_by_reason(message, reason):
    assert clean([message], IDS).skipped == {reason: 1}


def test_families_mixed_in_a_batch_keep_the_order_of_their_frames():
    frames = [
        trades(trade()),
        book("snapshot", 5, 5, ["5", "1"]),
        quote(),
        book("update", 6, 6, ["5", "2"]),
        trades(trade(tradeId="9")),
    ]
    rows = clean(frames, IDS).rows.view()
    assert rows["rx_ns"].tolist() == [1000, 1001, 1002, 1002, 1003, 1004]


def test_listings_of_the_tests_are_options_of_the_grammar():
    assert parse("bullish", CALL).strike_e9 == 70000 * 10**9
    assert parse("bullish", CALL).underlying == INDEX
