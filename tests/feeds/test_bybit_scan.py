"""Which Bybit frames the byte scanner takes, which it leaves to msgspec, and in what order.

Values are compared in every test of the decoder: tests/feeds/bybit_frames.py decodes both ways.
"""

import json
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given

from feeds.columns import Batch
from feeds.events import Flag, FrameKind, Kind
from feeds.trade_keys import key_within
from feeds.venues.bybit import scan
from feeds.venues.bybit.decode import SCANNER
from tests.feeds.bounds import Bounds, damaged
from tests.feeds.bybit_frames import (
    CALL,
    IDS,
    INDEX,
    PERP,
    PUT,
    RX_NS,
    book,
    clean,
    decoded,
    frame,
    message,
    recorded,
    ticker,
    trade,
    trades,
    tuples,
)

BIDS, ASKS = [["20", "1"], ["15", "4.25"]], [["30", "2"]]
CTS = {"cts": 1790373954401}
VALUES = {
    "bidPrice": "20", "bidSize": "1", "bidIv": "0.4", "askPrice": "30.5", "askSize": "2.5",
    "askIv": "0.5", "lastPrice": "0", "markPrice": "21.5", "indexPrice": "81760.36521739",
    "markPriceIv": "0.41", "underlyingPrice": "81800", "openInterest": "3", "turnover24h": "0",
    "delta": "-0.4", "gamma": "0.1", "vega": "1", "theta": "-2", "predictedDeliveryPrice": "0",
}  # fmt: skip


def changed(content: bytes, **data: Any) -> bytes:
    """A frame with some fields of its data changed, or without them where they are None."""
    tree = json.loads(content)
    tree["data"] = {k: v for k, v in (tree["data"] | data).items() if v is not None}
    return frame(tree)


def reordered(content: bytes, *keys: str) -> bytes:
    """A frame with its keys in another order."""
    tree = json.loads(content)
    return frame({key: tree[key] for key in keys})


def left(*frames: bytes) -> list[int]:
    """Indexes of the frames that the scanner leaves to msgspec."""
    SCANNER.warm_up()
    return list(SCANNER.take(Batch("bybit", frames, range(len(frames)), IDS)))


TAKEN = {
    "snapshot": book("snapshot", 5, BIDS, ASKS, **CTS),
    "change": book("delta", 6, BIDS, ASKS, **CTS),
    "change of one side": book("delta", 6, [], ASKS),
    "removal": book("delta", 6, [["20", "0"]]),
    "empty change": book("delta", 6),
    "change without a change before": book("delta", 0, BIDS),
    "restart": book("snapshot", 1, BIDS, ASKS),
    "empty book": book("snapshot", 0),
    "book of a perpetual": book("delta", 6, BIDS, ASKS, PERP, **CTS),
    "book out of order": book("snapshot", 5, BIDS[::-1]),
    "time after data": reordered(
        book("delta", 6, BIDS, **CTS), "topic", "type", "data", "ts", "cts"
    ),
    "time of the engine first": reordered(
        book("delta", 6, BIDS, **CTS), "topic", "cts", "type", "data", "ts"
    ),
    "ticker": ticker(**VALUES),
    "ticker of an older name": ticker("BTC-28JUN24-60000-P", **VALUES),
    "ticker without prices": ticker(**VALUES | {
        "bidPrice": "0", "bidSize": "0", "bidIv": "0", "askPrice": "0.00", "askSize": "3",
        "markPrice": "0", "openInterest": "0"}),
    "ticker without a size": ticker(**VALUES | {"bidSize": "0"}),
    "short ticker": ticker(bidPrice="20", bidSize="1", askPrice="30", askSize="2"),
    "ticker of an option that changes": ticker(CALL, "delta", **VALUES),
    "ticker without a side": ticker(markPrice="21.5"),
    "ticker of a perpetual": ticker(PERP, markPrice="81770.5", indexPrice="81760.3",
                                    openInterest="7", bid1Price="81770", bid1Size="1"),
    "ticker of a perpetual that changes": ticker(PERP, "delta", indexPrice="81761.3"),
    "ticker of a perpetual without an index": ticker(PERP, "delta", markPrice="81771.5"),
    "ticker of a perpetual whose index is none": ticker(PERP, "delta", indexPrice="0"),
    "ticker of an unlisted perpetual": ticker("ETHUSDT", indexPrice="4000"),
    "ticker of an index": ticker(INDEX, indexPrice="4000"),
    "trade": trades(trade()),
    "trades": trades(trade(), trade(s=PUT, S="Sell", i="x"), trade(seq=1)),
    "trade without a number": trades({k: v for k, v in trade().items() if k != "seq"}),
    "trade of an unlisted instrument": trades(trade(s="ETH-25JUN27-4000-C-USDT")),
}  # fmt: skip
LEFT = {
    "top of a book": message("orderbook.1.BTCUSDT", "snapshot",
                             {"s": PERP, "b": [["1", "2"]], "a": [], "u": 9, "seq": 3}),
    "another type": book("replace", 5, BIDS),
    "another topic": message("kline.5.BTCUSDT", "snapshot", []),
    "data before its type": reordered(book("delta", 6, BIDS), "topic", "ts", "data", "type"),
    "no type": reordered(book("delta", 6, BIDS), "topic", "ts", "data"),
    "no time": reordered(book("delta", 6, BIDS), "topic", "type", "data"),
    "no data": reordered(book("delta", 6, BIDS), "topic", "type", "ts"),
    "time of nothing": book("delta", 6, BIDS, cts=None),
    "time beyond int64": book("delta", 6, BIDS, cts=10**13),
    "no update id": changed(book("delta", 6, BIDS), u=None),
    "no bids": changed(book("delta", 6, BIDS, ASKS), b=None),
    "no name": changed(book("delta", 6, BIDS), s=None),
    "asks before bids": message("orderbook.25.X", "delta",
                                {"s": CALL, "a": ASKS, "b": BIDS, "u": 6}),
    "number as a number": book("delta", 6, [[20, "1"]]),
    "three of a level": book("delta", 6, [["20", "1", "1"]]),
    "one of a level": book("delta", 6, [["20"]]),
    "price of nothing": book("delta", 6, [["0", "1"]]),
    "price beyond sense": book("delta", 6, [["1000000000001", "1"]]),
    "negative size": book("delta", 6, [["20", "-1"]]),
    "size beyond sense": book("delta", 6, [["20", "1000000000000001"]]),
    "text that is no number": book("delta", 6, [["20", "nan"]]),
    "empty text": book("delta", 6, [["20", ""]]),
    "seventeen digits": book("delta", 6, [["20", "0.12345678901234567"]]),
    "negative update id": book("delta", -1, BIDS),
    "update id of nineteen digits": book("delta", 10**18, BIDS),
    "ticker with one side": ticker(askPrice="30", askSize="2"),
    "ticker without a size of a side": changed(ticker(**VALUES), bidSize=None),
    "ticker with an empty text": ticker(**VALUES | {"markPrice": ""}),
    "ticker with a negative volatility": ticker(**VALUES | {"bidIv": "-0.1"}),
    "ticker with a volatility beyond sense": ticker(**VALUES | {"markPriceIv": "1000001"}),
    "ticker with a greek beyond sense": ticker(**VALUES | {"theta": "-1000000000000001"}),
    "ticker with a price beyond sense": ticker(**VALUES | {"askPrice": "1000000000001"}),
    "ticker with a negative size": ticker(**VALUES | {"askSize": "-2"}),
    "block": trades(trade(BT=True)),
    "trade without a word of a block": trades({k: v for k, v in trade().items() if k != "BT"}),
    "trade without an id": trades(trade(i="")),
    "trade of nothing": trades(trade(v="0")),
    "trade for nothing": trades(trade(p="0")),
    "trade of no side": trades(trade(S="None")),
    "no trade": trades(),
    "spaces": json.dumps(json.loads(book("delta", 6, BIDS))).encode(),
    "escape": book("delta", 6, BIDS, symbol=CALL + "\n"),
    "key twice": book("delta", 6, BIDS).replace(b'"u":6', b'"u":6,"u":6'),
    "known key of the message twice": book("delta", 6, BIDS, **CTS).replace(b'"cts"', b'"ts"'),
    "more behind it": book("delta", 6, BIDS) + b" ",
    "cut short": book("delta", 6, BIDS)[:-1],
    "frame of 2023": frame({"id": "x"} | json.loads(book("delta", 6, BIDS))),
    "answer": frame({"success": True, "conn_id": "x", "ret_msg": "", "op": "subscribe"}),
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_the_scanner_takes_the_frequent_messages(name):
    assert left(TAKEN[name]) == []
    out = decoded([TAKEN[name]])
    assert out.error_count == (name == "book out of order")


@pytest.mark.parametrize("name", LEFT)
def test_the_scanner_leaves_what_it_does_not_fully_understand(name):
    good = TAKEN["change"]
    assert left(good, LEFT[name], good) == [1]
    decoded([good, LEFT[name], good])


def test_recorded_frames_of_options_are_taken_but_for_blocks_changes_and_old_envelopes():
    names = ["ws_recorded_gct_ticker_2024-05.jsonl", "ws_rest_bytex_2026-09-26.jsonl"]
    frames = [frame(json.loads(text)) for name in names for text in recorded(name)]
    assert [bytes(frames[k]).split(b'"type":')[1][:7] for k in left(*frames)] == [b'"delta"']


def test_scanned_books_have_their_numbers_sides_and_times():
    out = clean([TAKEN["snapshot"], TAKEN["change of one side"], TAKEN["restart"]])
    assert tuples(out.frames.view(), "kind", "seq_last", "seq_prev", "row_begin", "row_end") == [
        (FrameKind.SNAPSHOT, 6, -1, 0, 3), (FrameKind.DELTA, 7, 6, 3, 4),
        (FrameKind.SNAPSHOT, 2, 0, 4, 7),
    ]  # fmt: skip
    rows = out.rows.view()
    assert tuples(rows[:4], "kind", "side", "price", "size", "level", "flags") == [
        (Kind.BOOK_SNAPSHOT, 1, 20.0, 1.0, 0, Flag.SNAPSHOT_START),
        (Kind.BOOK_SNAPSHOT, 1, 15.0, 4.25, 1, 0),
        (Kind.BOOK_SNAPSHOT, -1, 30.0, 2.0, 0, Flag.LAST),
        (Kind.BOOK_DELTA, -1, 30.0, 2.0, 0, Flag.LAST),
    ]
    ms = [1790373954401, 1790373954406]  # cts, where there is none ts
    assert (
        rows["ex_ns"].tolist()
        == [t * 10**6 for t in (ms[0], ms[0], ms[0], ms[1])] + [ms[1] * 10**6] * 3
    )


def test_scanned_tickers_quote_both_sides_and_keep_the_order_of_their_frames():
    frames = [TAKEN["ticker"], LEFT["ticker with one side"], TAKEN["trade"], TAKEN["ticker"]]
    out = clean([*frames, TAKEN["change"]])
    assert tuples(out.rows.view(), "rx_ns", "kind", "side", "price", "size") == [
        (RX_NS, Kind.QUOTE, 1, 20.0, 1.0), (RX_NS, Kind.QUOTE, -1, 30.5, 2.5),
        (RX_NS + 1, Kind.QUOTE, -1, 30.0, 2.0),
        (RX_NS + 2, Kind.TRADE, 1, 240.0, np.float32(0.1)),
        (RX_NS + 3, Kind.QUOTE, 1, 20.0, 1.0), (RX_NS + 3, Kind.QUOTE, -1, 30.5, 2.5),
        (RX_NS + 4, Kind.BOOK_DELTA, 1, 20.0, 1.0), (RX_NS + 4, Kind.BOOK_DELTA, 1, 15.0, 4.25),
        (RX_NS + 4, Kind.BOOK_DELTA, -1, 30.0, 2.0),
    ]  # fmt: skip
    tickers = out.tickers.view()
    assert tickers["rx_ns"].tolist() == [RX_NS, RX_NS + 1, RX_NS + 3]
    fields = ("iv_bid", "iv_ask", "iv_mark", "delta", "gamma", "vega", "theta")
    assert tuples(tickers[:1], "mark", "forward", "index", "open_interest") == [
        (21.5, 81800.0, 81760.36521739, 3.0)
    ]
    assert tuples(tickers[:1], *fields) == [
        tuple(float(np.float32(v)) for v in (0.4, 0.5, 0.41, -0.4, 0.1, 1.0, -2.0))
    ]


def test_a_scanned_side_without_a_price_has_no_size():
    out = clean([TAKEN["ticker without prices"], TAKEN["ticker without a size"]])
    rows = out.rows.view()
    assert np.isnan(rows["price"]).tolist() == [True, True, False, False]
    assert np.isnan(rows["size"]).tolist() == [True, True, True, False]


def test_keys_of_scanned_trades_are_of_instrument_and_id():
    out = clean([TAKEN["trades"]])
    assert out.trade_keys == [
        key_within(CALL, trade()['i']), key_within(PUT, "x"),
        key_within(CALL, trade()['i']),
    ]  # fmt: skip
    assert out.rows.view()["side"].tolist() == [1, -1, 1]
    assert out.rows.view()["seq"].tolist() == [76572340339, 76572340339, 1]


def test_unlisted_instruments_leave_no_row_and_are_counted_once_a_message():
    other = "ETH-25JUN27-4000-C-USDT"
    frames = [ticker(other, **VALUES), TAKEN["ticker"], book("delta", 3, BIDS, symbol=other)]
    out = clean([*frames, trades(trade(s=other), trade(), trade(s=other, i="y"))])
    assert out.skipped == {"unknown_symbol": 4}
    assert out.rows.view()["rx_ns"].tolist() == [RX_NS + 1, RX_NS + 1, RX_NS + 3]
    assert out.tickers.view()["rx_ns"].tolist() == [RX_NS + 1]
    assert len(out.trade_keys) == 1
    assert out.frames.count == 0


def test_an_index_is_told_by_its_perpetual_where_both_are_listed():
    frames = [TAKEN["ticker of a perpetual"], TAKEN["ticker"]]
    for ids, rows in (
        (IDS, [(PERP, 81770.5), (INDEX, 81760.3), (CALL, 21.5)]),
        ({PERP: 2, CALL: 0}, [(PERP, 81770.5), (CALL, 21.5)]),
        ({INDEX: 3, CALL: 0}, [(CALL, 21.5)]),
    ):
        out = clean(frames, ids)
        wanted = [(ids[name], mark) for name, mark in rows]
        assert tuples(out.tickers.view(), "listing_id", "mark") == wanted
        assert out.skipped == ({} if PERP in ids else {"unknown_symbol": 1})


def test_python_and_compiled_scanner_give_the_same():
    frames = [*TAKEN.values(), *LEFT.values()]
    SCANNER.warm_up()
    with np.errstate(over="ignore"):
        plain = SCANNER.found(scan.scan, frames)
    compiled = SCANNER.found(SCANNER.compiled, frames)
    assert plain.kinds.tolist() == compiled.kinds.tolist()
    assert plain.rows.tolist() == compiled.rows.tolist()
    assert plain.updates[:, :4].tolist() == compiled.updates[:, :4].tolist()
    assert plain.tickers[:, :2].tolist() == compiled.tickers[:, :2].tolist()


# Memory. Addresses know no bounds, so the bounds are checked here, on damaged frames.

WHOLE = [*TAKEN.values(), *LEFT.values()]


@given(damaged(WHOLE))
def test_no_frame_makes_the_scanner_read_or_write_beyond_its_bounds(frames):
    Bounds(SCANNER, scan).over(frames, IDS)


def test_the_bounds_are_those_of_the_rooms():
    names = ("change", "ticker", "ticker of a perpetual", "trades", "snapshot")
    frames = [TAKEN[name] for name in names]
    assert left(*frames) == []
    for least, size in enumerate(SCANNER.bytes_per):
        for factor in range(1, 60):
            rooms = [*SCANNER.bytes_per]
            rooms[least] = size * factor
            with mock.patch.object(SCANNER, "bytes_per", tuple(rooms)):
                Bounds(SCANNER, scan).over(frames, IDS)
                decoded(frames)
        assert left(*frames) == []


@given(damaged(WHOLE))
def test_damaged_frames_decode_alike_with_and_without_the_scanner(frames):
    decoded(frames)
