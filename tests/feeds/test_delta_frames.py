"""Delta frames written by hand in the documented shapes of both dialects, broken ones included."""

import math
import zlib

import numpy as np
import pytest

from feeds.events import Flag, FrameKind, Kind, LifecycleNotice, ListingState
from tests.feeds.delta_frames import (
    AT_US,
    CALL,
    CHANGE,
    IDS,
    INDEX,
    INDIA,
    PERP,
    PUT,
    SNAPSHOT,
    clean,
    decoded,
    entry,
    frame,
    long_book,
    long_trade,
    short_book,
    short_quote,
    short_ticker,
    short_trade,
    v2_ticker,
)
from tests.feeds.deribit_frames import tuples

BOOKS = pytest.mark.parametrize(
    ("venue", "book"), [("delta", long_book), (INDIA, short_book)], ids=["long", "short"]
)


def checksum(book: dict[int, dict[str, str]]) -> int:
    """Oracle: the venue's recipe, asks then bids, ten levels, prices and sizes as on the wire."""
    sides = [sorted(book[-1].items(), key=lambda level: float(level[0]))]
    sides.append(sorted(book[1].items(), key=lambda level: -float(level[0])))
    text = "|".join(",".join(f"{price}:{size}" for price, size in side[:10]) for side in sides)
    return zlib.crc32(text.encode())


@BOOKS
def test_the_documented_books_have_the_documented_checksums(venue, book):
    """The book is kept from our rows; its texts are those of the frames with equal numbers."""
    texts = {
        float(text): text
        for part in (SNAPSHOT, CHANGE)
        for side in ("asks", "bids")
        for level in part[side]
        for text in level
    }
    frames = [book("snapshot", 6199, **SNAPSHOT), book("update", 6200, **CHANGE)]
    kept: dict[int, dict[str, str]] = {1: {}, -1: {}}
    out = clean(frames, IDS, venue)
    ends = out.frames.view()["row_end"].tolist()
    for begin, end, part in zip([0, ends[0]], ends, (SNAPSHOT, CHANGE), strict=True):
        for row in out.rows.view()[begin:end]:
            side = kept[int(row["side"])]
            side[texts[float(row["price"])]] = texts[float(row["size"])]
            if row["size"] == 0:
                del side[texts[float(row["price"])]]
        assert checksum(kept) == part["cs"]


@BOOKS
def test_a_change_follows_the_number_before_its_own(venue, book):
    out = clean([book("snapshot", 6199, **SNAPSHOT), book("update", 6200, **CHANGE)], IDS, venue)
    assert tuples(out.frames.view(), "listing_id", "kind", "seq_last", "seq_prev") == [
        (11, FrameKind.SNAPSHOT, 6199, -1),
        (11, FrameKind.DELTA, 6200, 6199),
    ]
    assert set(out.rows.view()["ex_ns"].tolist()) == {AT_US * 1000}


@BOOKS
def test_a_change_with_number_one_does_not_claim_that_nothing_came_before(venue, book):
    out = clean([book("update", 1, **CHANGE)], IDS, venue)
    assert out.frames.view()["seq_prev"].tolist() == [-1]


@BOOKS
def test_books_that_are_empty_one_sided_or_crossed_come_through(venue, book):
    crossed = {"asks": [["5.0", "1"]], "bids": [["6.0", "2"]]}
    frames = [
        book("snapshot", 4),
        book("snapshot", 5, bids=[["6.0", "2"]]),
        book("snapshot", 6, **crossed),
    ]
    out = clean(frames, IDS, venue)
    assert tuples(out.frames.view(), "row_begin", "row_end") == [(0, 0), (0, 1), (1, 3)]
    assert tuples(out.rows.view(), "side", "price") == [(1, 6.0), (1, 6.0), (-1, 5.0)]


def test_a_time_in_milliseconds_is_told_by_its_size():
    late = long_book("snapshot", 5, **SNAPSHOT).replace(b"1775037882748105", b"1775037882748")
    assert set(clean([late], IDS).rows.view()["ex_ns"].tolist()) == {1775037882748000000}


def test_a_snapshot_that_failed_is_counted():
    failed = frame(action="error", msg="Snapshot load failed.", symbol=CALL, type="l2_updates")
    assert clean([failed], IDS).skipped == {"book_error": 1}


def test_short_window_is_of_the_time_when_the_book_changed():
    window = frame(
        a=[["68525.0", "3313"], ["68525.5", "3009"]],
        b=[["68524.0", "2452"]],
        lts=1775038313132415,
        sy=CALL,
        ts=1775038313632092,
        type="ob_l2",
    )
    out = clean([window], IDS, INDIA)
    assert tuples(out.rows.view(), "side", "price", "size", "ex_ns") == [
        (1, 68524.0, 2452.0, 1775038313132415000),
        (-1, 68525.0, 3313.0, 1775038313132415000),
        (-1, 68525.5, 3009.0, 1775038313132415000),
    ]
    assert tuples(out.frames.view(), "kind", "seq_last") == [(FrameKind.WINDOW, 1775038313632092)]


def test_short_quote_has_its_sides_in_place():
    rows = clean([short_quote()], IDS, INDIA).rows.view()
    assert tuples(rows, "side", "price", "size", "ex_ns") == [
        (1, 68518.0, 2452.0, 1775037882675402000),
        (-1, 68519.0, 285.0, 1775037882675402000),
    ]


@pytest.mark.parametrize("price", [None, "0", 0])
def test_a_side_without_a_price_is_nan(price):
    bid, ask = clean([short_quote(bp=price)], IDS, INDIA).rows.view()
    assert math.isnan(bid["price"])
    assert math.isnan(bid["size"])
    assert (ask["price"], ask["size"]) == (68519.0, 285.0)


def test_the_taker_is_the_aggressor():
    frames = [long_trade("taker", "maker"), long_trade("maker", "taker")]
    assert tuples(clean(frames, IDS).rows.view(), "side", "price", "size", "flags") == [
        (1, 25816.5, 100.0, Flag.LAST),
        (-1, 25816.5, 100.0, Flag.LAST),
    ]
    out = clean([short_trade(), short_trade(r="t")], IDS, INDIA)
    assert tuples(out.rows.view(), "side", "price", "size", "ex_ns") == [
        (-1, 72141.5, 1.0, AT_US * 1000),
        (1, 72141.5, 1.0, AT_US * 1000),
    ]


def test_a_print_is_known_by_all_that_it_says():
    once = short_trade()
    others = [short_trade(**change) for change in ({"p": "1"}, {"s": 2}, {"t": 5}, {"sy": PUT})]
    others.append(short_trade(r="t"))
    keys = clean([once, once, *others], IDS, INDIA).trade_keys
    assert keys[0] == keys[1]
    assert len(set(keys)) == 6
    # When it was published again is no part of it.
    assert clean([short_trade(ts=1)], IDS, INDIA).trade_keys == keys[:1]


def test_the_prints_sent_after_a_subscription_are_left_out():
    old = frame(symbol=CALL, trades=[{"price": "25816.5"}], type="all_trades_snapshot")
    assert clean([old], IDS).skipped == {"trade_snapshot": 1}


@pytest.mark.parametrize(
    ("venue", "ticker"), [("delta", v2_ticker()), (INDIA, short_ticker(entry()))]
)
def test_tickers_of_both_dialects_say_the_same(venue, ticker):
    (row,) = clean([ticker], IDS, venue).tickers.view()
    assert (row["listing_id"], row["mark"], row["index"]) == (12, 2616.58595291, 79777.3)
    assert row["iv_bid"] == np.float32(0.34382519)
    assert row["iv_ask"] == np.float32(0.35119024)
    assert row["iv_mark"] == np.float32(0.34751911)
    assert row["delta"] == np.float32(-0.49848053)
    assert row["gamma"] == np.float32(0.00006364)
    assert row["vega"] == np.float32(71.96112211)
    assert row["theta"] == np.float32(-67.00638062)
    assert math.isnan(row["forward"])
    # In contracts, as sizes are; `oi` is in coins.
    assert (row["open_interest"], row["oi_ns"]) == (18947.0, 1788725363377966000)


def test_the_basis_of_a_perpetual_is_no_volatility():
    nothing = {"g": [None] * 5, "qiv": [None, None, "-0.38617139"], "oi": ["876853", "1"]}
    (row,) = clean([short_ticker(entry(PERP, **nothing))], IDS, INDIA).tickers.view()
    assert math.isnan(row["iv_mark"])
    assert (row["open_interest"], math.isnan(row["delta"])) == (876853.0, True)
    long = v2_ticker(PERP, greeks=None, quotes={"mark_iv": "-0.38617139"})
    assert math.isnan(clean([long], IDS).tickers.view()[0]["iv_mark"])


def test_a_ticker_of_an_expiry_gives_a_row_for_each_of_its_listings():
    ticker = short_ticker(entry(), entry("P-BTC-1-250926"), entry(CALL, m="5"))
    late = short_ticker(entry(m="6"), ts=AT_US, sp="80000")
    out = clean([short_trade(), ticker, late], IDS, INDIA)
    assert tuples(out.tickers.view(), "listing_id", "mark", "rx_ns", "index", "ex_ns") == [
        (12, 2616.58595291, 1001, 79777.3, 1788725363377966000),
        (11, 5.0, 1001, 79777.3, 1788725363377966000),
        (12, 6.0, 1002, 80000.0, AT_US * 1000),
    ]
    assert out.skipped == {"unknown_symbol": 1}


def test_index_prices_of_both_dialects_mark_the_index():
    long = frame(price="79777.3", symbol=INDEX, timestamp=AT_US, type="v2/spot_price")
    short = frame(p=79777.3, sy=INDEX, ts=None, type="spot_price")
    for venue, message, at in (("delta", long, AT_US * 1000), (INDIA, short, 0)):
        (row,) = clean([message], IDS, venue).tickers.view()
        assert (row["listing_id"], row["mark"], row["index"]) == (14, 79777.3, 79777.3)
        assert row["ex_ns"] == at


def test_marks_of_both_dialects_belong_to_the_instrument_behind_the_prefix():
    long = frame(price="1275.63", symbol=f"MARK:{CALL}", timestamp=AT_US, type="mark_price")
    short = frame(p="1275.63", sy=f"MARK:{CALL}", ts=AT_US, type="mark_price")
    for venue, message in (("delta", long), (INDIA, short)):
        (row,) = clean([message], IDS, venue).tickers.view()
        assert (row["listing_id"], row["mark"], row["ex_ns"]) == (11, 1275.63, AT_US * 1000)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("operational", ListingState.LIVE),
        ("disrupted_cancel_only", ListingState.HALTED),
        ("disrupted_post_only", ListingState.HALTED),
    ],
)
def test_disruptions_and_auctions_halt_a_listing(word, state):
    product = {"id": 17, "symbol": CALL, "trading_status": word}
    out = clean([frame(product=product, timestamp=AT_US, type="product_updates")], IDS)
    assert out.lifecycle == [LifecycleNotice(1000, CALL, state)]


BAD_FRAMES = {
    "negative size": long_book("update", 9, bids=[["0.019", "-1"]]),
    "price of nothing": long_book("update", 9, bids=[["0", "1"]]),
    "price that is no number": long_book("update", 9, bids=[["nan", "1"]]),
    "infinite price": long_book("update", 9, asks=[["1e999", "1"]]),
    "level of one": long_book("update", 9, asks=[["5"]]),
    "unknown action": long_book("replace", 9),
    "unordered snapshot": long_book("snapshot", 9, bids=[["1", "1"], ["2", "1"]]),
    "level twice": long_book("snapshot", 9, asks=[["1", "1"], ["1", "2"]]),
    "snapshot level without size": long_book("snapshot", 9, asks=[["1", "0"]]),
    "number beyond int64": long_book("update", 2**63),
    "number of text": long_book("update", 9).replace(b'"sequence_no":9', b'"sequence_no":"x"'),
    "time beyond int64": long_book("update", 9).replace(b"1775037882748105", b"9" * 19),
    "trade without role": long_trade("taker", "somebody"),
    "trade of nothing": long_trade("taker", "maker", size=0),
    "negative mark": v2_ticker(mark_price="-1"),
    "infinite greek": v2_ticker(greeks={"vega": "inf"}),
    "negative volatility": v2_ticker(quotes={"bid_iv": "-0.5"}),
    "unknown state": frame(
        product={"symbol": CALL, "trading_status": "sleeping"}, type="product_updates"
    ),
    "no type": frame(symbol=CALL),
    "type of number": frame(symbol=CALL, type=5),
    "cut short": long_book("update", 9, **CHANGE)[:-9],
    "no JSON": b"\x00\xff\xfe",
    "empty": b"",
    "a list": b"[1,2,3]",
    "deep": b"[" * 5000,
    "deep in a message": b'{"asks":' + b"[" * 5000,
    "bad UTF-8": long_book("update", 9).replace(CALL.encode(), b"\xff\xfe"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_counted_and_leaves_its_neighbours_alone(name):
    before = long_book("update", 2, bids=[["0.019", "1"]], asks=[["0.02", "3"]])
    out = decoded([before, BAD_FRAMES[name], long_trade("taker", "maker")], IDS)
    assert out.error_count == 1
    assert out.errors[0].frame == BAD_FRAMES[name][:512]
    assert tuples(out.rows.view(), "kind", "side", "price", "size", "rx_ns") == [
        (Kind.BOOK_DELTA, 1, 0.019, 1.0, 1000),
        (Kind.BOOK_DELTA, -1, 0.02, 3.0, 1000),
        (Kind.TRADE, 1, 25816.5, 100.0, 1002),
    ]
    assert out.frames.view()["row_end"].tolist() == [2]
    assert (len(out.trade_keys), out.tickers.count, out.lifecycle) == (1, 0, [])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (frame(type="heartbeat"), "heartbeat"),
        (frame(type="pong"), "heartbeat"),
        (frame(channels=[], type="subscriptions"), "answer"),
        (frame(message="Subscription forbidden", type="error"), "answer"),
        (frame(symbol=CALL, type="candlestick_1m"), "other_channel"),
        (frame(status="live", type="system_status"), "other_channel"),
    ],
)
def test_what_is_no_market_data_is_counted_by_reason(message, reason):
    assert clean([message], IDS).skipped == {reason: 1}
