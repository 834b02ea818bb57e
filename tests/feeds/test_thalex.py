"""Thalex's decoder on frames of its documented shape, broken ones included.

Nothing of this venue was ever recorded: expected values are typed in from its documentation.
"""

import math

import numpy as np
import pytest

from feeds.events import Flag, FrameKind, Kind, LifecycleNotice, ListingState
from feeds.venues import thalex
from tests.feeds.thalex_frames import (
    AT,
    AT_NS,
    CALL,
    CHAIN,
    CHAIN_NS,
    FRAMES,
    FUTURE,
    IDS,
    INDEX,
    PUT,
    book,
    chain,
    entry,
    index,
    lwt,
    message,
    option,
    ticker,
    trade,
    trades,
    turns,
)
from tests.feeds.venue_frames import RX_NS, clean, contents, decoded, f32, frame, tuples

# ---- books ------------------------------------------------------------------------------------


def total(bids: float, asks: float) -> int:
    """Both totals in 1e-9, the bids 80 bits higher."""
    return (round(bids * 1e9) << 80) + round(asks * 1e9)


def test_documented_book_changes():
    """The example of the documentation, whose totals are not those of any book."""
    content = {
        "trades": [[9120.5, 15, "buy", 156789.103, False], [9121, 30, "buy", 156789.123, False]],
        "bid_changes": [[9120.5, 0, 0], [9121, 54, 53]], "total_bid_amount": 45,
        "total_ask_amount": 30, "time": 1683901254.785744,
    }  # fmt: skip
    out = clean(thalex, [message("book.BTC-PERPETUAL.none.all.1000ms", content)], IDS)
    assert tuples(out.rows.view(), "kind", "listing_id", "side", "price", "size", "flags") == [
        (Kind.BOOK_DELTA, 2, 1, 9120.5, 0.0, 0),
        (Kind.BOOK_DELTA, 2, 1, 9121.0, 53.0, Flag.LAST),
    ]
    assert out.frames.view().tolist() == [(2, FrameKind.CHAINED, AT_NS, AT_NS, -1, RX_NS, 0, 2)]
    (check,) = out.checks
    assert [(float(p), float(q)) for p, q in check.bids] == [(9120.5, 0.0), (9121.0, 54.0)]
    assert (check.asks, check.checksum) == ([], total(45, 30))


def test_rows_have_outright_amounts_and_the_totals_are_of_all():
    out = clean(thalex, FRAMES[:2], IDS)
    assert tuples(out.rows.view(), "kind", "side", "level", "price", "size", "flags") == [
        (Kind.BOOK_SNAPSHOT, 1, 0, 9000.0, 2.0, Flag.SNAPSHOT_START),
        (Kind.BOOK_SNAPSHOT, 1, 1, 8990.0, 0.5, 0),
        (Kind.BOOK_SNAPSHOT, -1, 0, 9010.0, 1.0, Flag.LAST),
        (Kind.BOOK_DELTA, 1, 0, 9000.0, 0.0, 0),
        (Kind.BOOK_DELTA, -1, 0, 9010.0, 2.0, Flag.LAST),
    ]
    assert tuples(out.frames.view(), "kind", "seq_last", "seq_prev") == [
        (FrameKind.SNAPSHOT, AT_NS, -1),
        (FrameKind.CHAINED, AT_NS + 100_000_000, -1),
    ]
    assert [check.checksum for check in out.checks] == [total(3.5, 1), total(1.5, 3)]
    amounts = [[float(amount) for _, amount in check.bids] for check in out.checks]
    assert amounts == [[2.0, 1.5], [0.0]]


def test_snapshot_is_put_in_order_and_levels_that_are_implied_alone_are_none():
    bids = [[8990, 1, 1], [9000, 2, 2], [8995, 3, 0]]
    out = clean(thalex, [book(bids, [[9020, 1, 1], [9010, 1, 1]], (6, 2), whole=True)], IDS)
    assert tuples(out.rows.view(), "side", "price", "level") == [
        (1, 9000.0, 0), (1, 8990.0, 1), (-1, 9010.0, 0), (-1, 9020.0, 1),
    ]  # fmt: skip
    assert [len(side) for side in out.checks[0][:2]] == [3, 2]
    implied = clean(thalex, [book([[8995, 3, 0]])], IDS)  # a change says that nothing outright is
    assert tuples(implied.rows.view(), "price", "size") == [(8995.0, 0.0)]


def test_totals_are_sums_of_both_sides_apart():
    bids, asks = [("9", "0.1"), ("8", "0.2")], [("10", "5.0")]
    assert thalex.checksum(bids, asks) == total(0.3, 5.0)
    assert thalex.checksum(asks, bids) != total(0.3, 5.0)
    assert thalex.checksum([], []) == 0


def test_empty_book_is_a_frame_without_rows():
    out = clean(thalex, [book(whole=True)], IDS)
    assert tuples(out.frames.view(), "kind", "row_begin", "row_end") == [(FrameKind.SNAPSHOT, 0, 0)]


# ---- quotes, tickers, prints, index, lifecycle ------------------------------------------------


def test_documented_chain_gives_best_prices_and_marks():
    ids = {name: number for number, name in enumerate(CHAIN, 7)}
    out = clean(thalex, [chain(CHAIN)], ids)
    rows = out.rows.view()
    fields = ("kind", "listing_id", "side", "price", "size", "flags", "ex_ns")
    assert tuples(rows, *fields)[:3] == [
        (Kind.QUOTE, 7, 1, 8725.0, 1.0, 0, CHAIN_NS),
        (Kind.QUOTE, 7, -1, 8750.0, 2.0, Flag.LAST, CHAIN_NS),
        (Kind.QUOTE, 8, 1, 3870.0, 1.0, 0, CHAIN_NS),
    ]
    assert np.isnan([rows["price"][3], rows["size"][3]]).all()
    first, second = out.tickers.view()
    assert (first["listing_id"], first["mark"], first["index"], first["forward"]) == (
        7, 8730.28, 78000.28, 79000.12,
    )  # fmt: skip
    assert (first["iv_mark"], first["ex_ns"]) == (f32(0.6069), CHAIN_NS)
    assert (second["mark"], second["forward"], second["iv_mark"]) == (
        3880.24,
        78500.12,
        f32(0.59156),
    )
    assert np.isnan([first[name] for name in ("iv_bid", "delta", "vega", "open_interest")]).all()


def test_ticker_of_an_option():
    (row,) = clean(thalex, [ticker()], IDS).tickers.view()
    assert (row["listing_id"], row["ex_ns"], row["oi_ns"]) == (0, AT_NS, AT_NS)
    assert (row["mark"], row["index"], row["forward"]) == (2000.5, 78000.28, 79000.12)
    assert (row["iv_mark"], row["delta"]) == (f32(0.6069), f32(0.25))
    assert row["open_interest"] == 123.456
    assert np.isnan([row[name] for name in ("iv_bid", "iv_ask", "gamma", "vega", "theta")]).all()


def test_documented_ticker_of_a_future_has_neither_volatility_nor_forward():
    content = {
        "mark_price": 47238.64, "mark_timestamp": 946684800, "best_bid_price": 47240,
        "best_bid_amount": 0.4, "best_ask_price": 47260, "best_ask_amount": 1, "delta": 1,
        "index": 47389.1, "volume_24h": 0, "value_24h": 0, "open_interest": 123.456,
    }  # fmt: skip
    out = clean(thalex, [message(f"ticker.{FUTURE}.1000ms", content)], IDS)
    (row,) = out.tickers.view()
    assert (row["listing_id"], row["mark"], row["delta"]) == (4, 47238.64, 1.0)
    assert row["ex_ns"] == 946684800 * 10**9
    assert np.isnan([row["iv_mark"], row["forward"]]).all()
    assert out.rows.count == 0  # its best prices come late: quotes have a channel of their own


def test_best_prices_of_a_perpetual_are_outright_and_without_a_time():
    out = clean(thalex, [lwt(b=[47240, 0.4, 0.3], a=[47260, 1, 0.9]), lwt(b=[47240, 0.4, 0])], IDS)
    rows = out.rows.view()
    assert tuples(rows, "kind", "listing_id", "side", "price", "size", "ex_ns")[:2] == [
        (Kind.QUOTE, 2, 1, 47240.0, f32(0.3), 0),
        (Kind.QUOTE, 2, -1, 47260.0, f32(0.9), 0),
    ]
    assert np.isnan(rows["price"][2:]).all()
    assert np.isnan(rows["size"][2:]).all()


def test_documented_print_and_one_that_a_combination_implied():
    out = clean(thalex, [trades(trade(), trade(p2="sell", p4=PUT, p5=True))], IDS)
    assert tuples(out.rows.view(), "kind", "listing_id", "side", "price", "size", "flags", "ex_ns",
                  "aux") == [
        (Kind.TRADE, 0, 1, 400.0, 1.0, Flag.LAST, 1652187265515000000, 0),
        (Kind.TRADE, 1, -1, 400.0, 1.0, Flag.LAST | Flag.COMBO_LEG, 1652187265515000000, 0),
    ]  # fmt: skip


def test_trades_from_before_the_subscription_are_left_out():
    out = clean(thalex, [trades(trade(), snapshot=True), trades(trade(p0=401))], IDS)
    assert out.rows.view()["price"].tolist() == [401.0]
    assert out.skipped == {"older_trades": 1}


def test_equal_prints_of_one_message_are_two_and_a_copy_of_the_message_is_none():
    twice = trades(trade(), trade(), trade(p1=2))
    out = clean(thalex, [twice, twice], IDS)
    assert out.trade_keys[:3] == out.trade_keys[3:]
    assert len(set(out.trade_keys)) == 3
    others = clean(thalex, [trades(trade(p4=PUT)), trades(trade(p2="sell")), trades(trade(p3=1.5))],
                   IDS)  # fmt: skip
    assert len({*out.trade_keys, *others.trade_keys}) == 6


def test_documented_index_is_a_mark_of_the_index_listing():
    (row,) = clean(thalex, [index()], IDS).tickers.view()
    assert (row["listing_id"], row["mark"]) == (IDS[INDEX], 47389.10833333334)
    assert (row["index"], row["ex_ns"]) == (47389.10833333334, 946684800 * 10**9)


def test_instruments_come_and_go_and_the_list_of_all_says_nothing_new():
    new = "BTC-27MAR26-110000-C"
    out = clean(thalex, [turns({"added": entry(PUT)}, snapshot=True),
                         turns({"added": entry(new)}, {"removed": entry()},
                               {"added": entry("ROLL", type="combination")})], IDS)  # fmt: skip
    assert out.lifecycle == [
        LifecycleNotice(RX_NS + 1, new, ListingState.LIVE),
        LifecycleNotice(RX_NS + 1, CALL, ListingState.EXPIRED),
    ]
    assert out.skipped == {"instruments": 1, "other_kind": 1}


# ---- what is not market data, what is broken --------------------------------------------------


def test_other_frames_are_skipped_by_reason():
    refusal = frame({"id": 7, "error": {"code": 3, "message": "throttle exceeded"}})
    system = message("system", {"event": "reconnect"})
    out = clean(thalex, [*FRAMES[-2:], system, message("banners", []), refusal], IDS)
    assert out.skipped == {"answer": 2, "other_channel": 2, "refusal": 1}


def test_spaces_change_nothing():
    plain = clean(thalex, FRAMES, IDS)
    spaced = [content.replace(b'{"channel_name"', b'{ "channel_name"') for content in FRAMES]
    assert contents(clean(thalex, spaced, IDS)) == contents(plain)


BAD_FRAMES = {
    "negative amount": book([[9000, -1, 1]]),
    "negative outright": book([[9000, 1, -1]]),
    "price of nothing": book([[0, 1, 1]]),
    "text, not a number": book([["9000", 1, 1]]),
    "huge price": book([[1e13, 1, 1]]),
    "level of two": book([[9000, 1]]),
    "level of four": book([[9000, 1, 1, 1]]),
    "level twice": book([[9000, 1, 1], [9000, 2, 2]], whole=True),
    "no totals": book(total_bid_amount=None),
    "no time": book(at=None),
    "time beyond int64": book(at=1e10),
    "flag in words": book().replace(b"}}", b'},"snapshot":"yes"}'),
    "negative mark": ticker(mark_price=-1),
    "ticker without index": ticker(index=None),
    "huge delta": ticker(delta=1e13),
    "volatility in words": ticker(iv="high"),
    "negative interest": ticker(open_interest=-1),
    "option of three": chain({CALL: [AT, 1, 2]}),
    "option without amount": option(p5=[1990]),
    "option of two best bids": option(p5=[1990, 1, 1]),
    "option with no best ask": option(p6=None),
    "negative forward": option(p3=-1),
    "top of two": lwt(b=[47240, 0.4]),
    "trade without side": trades(trade(), trade(p2="none")),
    "trade of nothing": trades(trade(p1=0)),
    "trade without price": trades(trade(p0=0)),
    "trade of five": trades(trade()[:5]),
    "index of nothing": message("price_index.BTCUSD", {"index_name": INDEX, "price": 0}),
    "turn without a name": turns({"added": {"type": "option"}}),
    "book of no instrument": message("book", {}),
    "cut short": book([[9000, 1, 1]])[:-9],
    "no JSON": b"\x00\xff\xfe",
    "empty": b"",
    "a list": b"[1,2,3]",
    "deep": b"[" * 5000,
    "deep data": b'{"channel_name":"book.X","notification":' + b"[" * 5000,
    "no message": b'{"method":"dance"}',
    "channel of no word": b'{"channel_name":"',
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_counted_and_leaves_its_neighbours_alone(name):
    before = book([[9000, 2, 2]], [[9010, 1, 1]])
    out = decoded(thalex, [before, BAD_FRAMES[name], trades(trade()), ticker()], IDS)
    assert out.error_count == 1
    assert out.errors[0].frame == BAD_FRAMES[name][:512]
    assert str(out.errors[0]).startswith("thalex: ")
    assert tuples(out.rows.view(), "kind", "side", "price", "rx_ns") == [
        (Kind.BOOK_DELTA, 1, 9000.0, RX_NS),
        (Kind.BOOK_DELTA, -1, 9010.0, RX_NS),
        (Kind.TRADE, 1, 400.0, RX_NS + 2),
    ]
    assert len(out.checks) == 1
    assert out.tickers.view()["rx_ns"].tolist() == [RX_NS + 3]


@pytest.mark.parametrize("word", ["book", "ticker", "lwt"])
def test_a_channel_that_names_no_instrument_is_about_an_unknown_one(word):
    """`make fuzz` found the first: nothing counted it, and the whole batch was gone."""
    of = {"book": book([[9000, 2, 2]], []), "ticker": ticker(), "lwt": b""}[word]
    bare = of[: of.index(b".")] + of[of.index(b'","notification') :] if of else None
    bare = bare or b'{"channel_name":"lwt","notification":{"b":[1,2,3],"a":null}}'
    out = decoded(thalex, [bare, book([[9000, 2, 2]], [])], IDS)
    assert out.rows.count == 1
    assert sum(out.skipped.values()) + out.error_count == 1


def test_fields_we_do_not_know_change_nothing():
    plain = [book([[9000, 2, 2]]), ticker()]
    more = [book([[9000, 2, 2]], news={"a": [1]}), ticker(news=[None])]
    assert contents(clean(thalex, plain, IDS)) == contents(clean(thalex, more, IDS))


def test_times_are_whole_microseconds():
    for at, wanted in ((AT, AT_NS), (0, 0), (946684800, 946684800 * 10**9)):
        assert clean(thalex, [ticker(mark_timestamp=at)], IDS).tickers.view()["ex_ns"] == [wanted]
    assert math.isclose(AT, AT_NS / 1e9)
