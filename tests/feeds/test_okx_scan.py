"""Which OKX frames the byte scanner takes, and which it leaves to msgspec.

Values are compared in every test of the decoder: tests/feeds/okx_frames.py decodes both ways.
"""

import json
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.bytescan.grammar import PADDING
from feeds.columns import Batch
from feeds.events import Flag, Kind
from feeds.venues import okx
from feeds.venues.okx import scan
from feeds.venues.okx.decode import SCANNER
from tests.feeds.bounds import Bounds, damaged
from tests.feeds.deribit_frames import tuples
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
    summaries,
    summary,
    trade,
    trades,
)
from tests.feeds.venue_frames import f32

MS = 10**6
TIME = "1700000000123"


def window(bids: Any = (("0.01", "5"),), asks: Any = (("0.02", "7"),), **more: Any) -> bytes:
    data = {"asks": levels(*asks), "bids": levels(*bids), "instId": OPTION, "ts": TIME}
    return frame_of(f"books5:{OPTION}", data | {"seqId": 7} | more)


def touch(bids: Any = (("0.01", "5"),), asks: Any = (("0.02", "7"),), **more: Any) -> bytes:
    data = {"asks": levels(*asks), "bids": levels(*bids), "ts": TIME, "seqId": 7}
    return frame_of(f"bbo-tbt:{OPTION}", data | more)


def update(bids: Any = (("0.01", "5"),), asks: Any = (("0.02", "7"), ("0.03", "0"))) -> bytes:
    return book("update", 9, 8, bids, asks)


def bids_first(frame: bytes) -> bytes:
    message = json.loads(frame)
    (data,) = message["data"]
    message["data"] = [{"bids": data["bids"]} | data]
    return json.dumps(message, separators=(",", ":")).encode()


def left(frames: list[bytes]) -> list[int]:
    """Indexes of the frames that the scanner leaves to msgspec."""
    okx.warm_up()
    return list(SCANNER.take(Batch("okx", frames, range(len(frames)), IDS)))


TAKEN = {
    "snapshot": book("snapshot", 9, -1, [("0.02", "2"), ("0.01", "1")], [("0.03", "4")]),
    "snapshot with a previous number": book("snapshot", 9, 5, [("0.02", "2")], []),
    "change": update(),
    "change of bids alone": update(asks=()),
    "change of asks alone": update(bids=()),
    "sign of life": book("update", 9, 9, [], []),
    "bids before asks": bids_first(update()),
    "book without numbers": book("update", None, None, [("0.01", "1")], []),
    "window": window(),
    "window out of order": window(asks=(("0.03", "1"), ("0.02", "1"))),
    "touch": touch(),
    "touch without bid": touch(bids=()),
    "touch at price 0": touch(asks=(("0", "7"),)),
    "touch of size 0": touch(asks=(("0.02", "0"),)),
    "summaries": summaries(summary(), summary(instId=PUT, bidVol="", fwdPx="")),
    "summary without forward": summaries({k: v for k, v in summary().items() if k != "fwdPx"}),
    "summary of an unlisted option": summaries(summary(instId="X"), summary()),
    "summary with a negative volatility": summaries(summary(bidVol="-1")),
    "print": trades(trade()),
    "prints of a perpetual": frame_of(
        f"trades:{PERP}", trade(instId=PERP, seqId=4, count="2"), trade(side="buy", tradeId="x")
    ),
    "all prints": frame_of(f"trades-all:{PERP}", trade(instId=PERP)),
}
LEFT = {
    "spaces": json.dumps(json.loads(update())).encode(),
    "number that is no text": update().replace(b'"ts":"1700000000123"', b'"ts":1700000000123'),
    "third number that is used": update().replace(b'"0","1"]', b'"2","1"]'),
    "action behind the data": frame_of(f"books:{OPTION}").replace(
        b'"data":[]', b'"data":[{"asks":[],"bids":[],"ts":"1"}],"action":"update"'
    ),
    "other action": book("refresh", 9, 8, [], []),
    "no action": frame_of(f"books:{OPTION}", {"asks": [], "bids": [], "ts": "1"}),
    "two books": frame_of(
        f"books:{OPTION}", *[{"asks": [], "bids": [], "ts": "1"}] * 2, action="update"
    ),
    "book of nothing": frame_of(
        "books:", {"asks": [], "bids": [], "ts": "1"}, action="update"
    ).replace(b',"instId":""', b""),
    "arg twice": update().replace(b',"data"', b',"arg":{"instId":"%s"},"data"' % PUT.encode()),
    "instrument twice": update().replace(b'"},"action"', b'","instId":"X"},"action"'),
    "key twice": update().replace(b'"seqId":9', b'"seqId":9,"seqId":9'),
    "print's key twice": trades(trade()).replace(b'"px":', b'"px":"1","px":'),
    "window's key twice": window().replace(b'"seqId":7', b'"seqId":7,"seqId":7'),
    "touch's key twice": touch().replace(b'"seqId":7', b'"seqId":7,"seqId":7'),
    "summary's key twice": summaries(summary()).replace(
        b'"fwdPx":"61000.5"', b'"fwdPx":"61000.5","fwdPx":""'
    ),
    "no comma behind the arg": summaries(summary()).replace(b'},"data"', b'}+"data"'),
    "two best levels": touch(bids=(("0.02", "1"), ("0.01", "1"))),
    "price of nothing": update(bids=(("0", "1"),)),
    "negative size": window(bids=(("0.01", "-1"),)),
    "price beyond all": update(bids=(("1000000000001", "1"),)),
    "number below none": update().replace(b'"prevSeqId":8', b'"prevSeqId":-2'),
    "time beyond int64": touch(ts="9999999999999999"),
    "infinite volatility": summaries(summary(markVol="∞")),
    "number for nothing": summaries(summary(), summary(deltaBS="4611686018427388")),
    "word": summaries(summary(askVol="high")),
    "no entry": summaries(),
    "print without a side": trades(trade(side="none")),
    "print of nothing": trades(trade(sz="0")),
    "other channel": frame_of(f"mark-price:{OPTION}", {"instId": OPTION, "markPx": "1", "ts": "1"}),
    "tick by tick": update().replace(b'"books"', b'"books-l2-tbt"'),
    "version 3": b'{"table":"option/depth","data":[]}',
    "pong": b"pong",
    "more behind it": update() + b" ",
    "cut short": update()[:-1],
    "nothing": b"",
}


@pytest.mark.parametrize("name", TAKEN)
def test_the_scanner_takes_the_frequent_messages(name):
    assert left([TAKEN[name]]) == []
    decoded([TAKEN[name]], IDS)


@pytest.mark.parametrize("name", LEFT)
def test_the_scanner_leaves_what_it_does_not_fully_understand(name):
    assert left([update(), LEFT[name], update()]) == [1]
    decoded([update(), LEFT[name], update()], IDS)


def test_asks_stand_behind_bids_whatever_their_order_on_the_wire():
    bids, asks = (("0.02", "1"), ("0.01", "2")), (("0.03", "3"), ("0.04", "4"), ("0.05", "5"))
    expected = [
        (1, 0.02, 1.0, 0), (1, 0.01, 2.0, 0), (-1, 0.03, 3.0, 0), (-1, 0.04, 4.0, 0),
        (-1, 0.05, 5.0, Flag.LAST),
    ]  # fmt: skip
    for frame in (update(bids, asks), bids_first(update(bids, asks))):
        out = clean([frame], IDS)
        assert tuples(out.rows.view(), "side", "price", "size", "flags") == expected


def test_a_window_has_places_and_its_time_as_number():
    out = clean([window(asks=(("0.02", "7"), ("0.03", "8")))], IDS)
    assert tuples(out.rows.view(), "kind", "side", "price", "level", "flags") == [
        (Kind.BOOK_SNAPSHOT, 1, 0.01, 0, Flag.SNAPSHOT_START),
        (Kind.BOOK_SNAPSHOT, -1, 0.02, 0, 0),
        (Kind.BOOK_SNAPSHOT, -1, 0.03, 1, Flag.LAST),
    ]
    assert tuples(out.frames.view(), "seq_last", "seq_prev") == [(int(TIME), -1)]


def test_a_touch_is_two_rows_and_nothing_is_nan():
    out = clean([TAKEN["touch without bid"]], IDS)
    assert tuples(out.rows.view()[1:], "side", "price", "size", "seq") == [(-1, 0.02, 7.0, 7)]
    assert np.isnan(out.rows.view()["price"][0])
    assert np.isnan(out.rows.view()["size"][0])
    assert out.frames.count == 0


def test_books_out_of_order_and_volatilities_below_0_are_counted():
    out = decoded([TAKEN["window out of order"], TAKEN["summary with a negative volatility"]], IDS)
    assert [str(error)[:16] for error in out.errors] == [
        "okx: book levels",
        "okx: ticker had a"[:16],
    ]
    assert (out.rows.count, out.tickers.count) == (0, 0)


def test_a_size_that_is_nothing_in_a_row_is_no_level_of_a_snapshot():
    whole = book("snapshot", 9, -1, [("0.02", "2")], [("0.03", "1e-50")])
    out = decoded([whole, book("snapshot", 9, -1, [("0.02", "2")], [("0.03", "1e-40")])], IDS)
    assert [str(error)[:16] for error in out.errors] == ["okx: book levels"]
    assert tuples(out.rows.view(), "price", "size") == [(0.02, 2.0), (0.03, f32(1e-40))]


def test_a_whole_chain_in_a_frame():
    entries = [summary(instId=OPTION if n % 2 else PUT, markVol=f"0.{n + 1}") for n in range(500)]
    frame = summaries(*entries)
    assert left([frame]) == []
    out = clean([frame], IDS)
    assert out.tickers.view()["listing_id"].tolist() == [12, 11] * 250
    expected = np.float32([float(f"0.{n + 1}") for n in range(500)])
    assert out.tickers.view()["iv_mark"].tolist() == expected.tolist()


def test_old_prints_are_skipped_after_unlisted_ones():
    minute_ms = 60_000
    frame = trades(
        trade(tradeId="1", ts="1000"),
        trade(tradeId="2", ts=str(minute_ms)),
        trade(tradeId="3", ts="1000", instId="X"),
        trade(tradeId="4", ts=str(minute_ms + 1)),
    )
    out = decoded([frame], IDS, first_rx=2 * minute_ms * MS)
    assert out.rows.view()["ex_ns"].tolist() == [minute_ms * MS, (minute_ms + 1) * MS]
    assert out.skipped == {"cached_trade": 1, "unknown_symbol": 1}
    assert len(set(out.trade_keys)) == 2


TRADE_IDS = st.text(st.characters(codec="ascii", exclude_characters='"\\'), min_size=1, max_size=20)


@given(st.lists(TRADE_IDS, min_size=1, max_size=5, unique=True))
def test_keys_of_prints_differ_by_id_and_by_instrument(ids):
    out = decoded([trades(*(trade(tradeId=i, instId=s) for i in ids for s in (OPTION, PUT)))], IDS)
    assert len(set(out.trade_keys)) == 2 * len(ids)


def test_what_does_not_fit_the_room_of_a_batch_is_left():
    asks = [(f"0.{k + 1001}", "1") for k in range(300)]
    wide = book("snapshot", 9, -1, [("0.02", "2")], asks)
    prints = trades(*(trade(tradeId=str(k)) for k in range(60)))
    assert left([wide, prints, TAKEN["summaries"]]) == []
    with mock.patch.object(SCANNER, "bytes_per", (1_000, 60, 10_000)):
        assert left([wide]) == left([prints]) == left([TAKEN["summaries"]]) == [0]
        assert clean([wide, prints], IDS).rows.count == 301 + 60


@pytest.mark.parametrize("room", [8, 9, 12, 13, 14, 15])
def test_asks_that_wait_for_bids_are_never_overwritten(room):
    bids = [(f"0.00{k + 1}", "1") for k in range(4, 0, -1)]
    asks = [(f"0.02{k + 1}", "2") for k in range(5)]
    frame = book("snapshot", 9, -1, bids, asks)
    bytes_per_row = (len(frame) + 1 + PADDING) // room
    with mock.patch.object(SCANNER, "bytes_per", (64, bytes_per_row, 128)):
        # The asks once more, because they are copied downwards in reverse.
        assert left([frame]) == ([] if room >= len(bids) + 2 * len(asks) else [0])
        out = clean([frame], IDS)
    assert out.rows.view()["price"].tolist() == [float(price) for price, _ in bids + asks]


def test_python_and_compiled_scanner_give_the_same():
    frames = [*TAKEN.values(), *LEFT.values()]
    okx.warm_up()
    with np.errstate(over="ignore"):
        plain = SCANNER.found(scan.scan, frames)
    compiled = SCANNER.found(SCANNER.compiled, frames)
    assert plain.kinds.tolist() == compiled.kinds.tolist()
    assert plain.rows.tobytes() == compiled.rows.tobytes()
    assert plain.updates[:, :4].tolist() == compiled.updates[:, :4].tolist()
    assert plain.tickers[:, :2].tolist() == compiled.tickers[:, :2].tolist()


WHOLE = [*TAKEN.values(), *LEFT.values()]


@given(damaged(WHOLE))
def test_no_frame_makes_the_scanner_read_or_write_beyond_its_bounds(frames):
    Bounds(SCANNER, scan).over(frames, IDS)


def test_the_bounds_are_those_of_the_rooms():
    frames = [update(), *TAKEN.values()]
    for bytes_per in ((64, 16, 128), (64, 400, 128), (1_500, 16, 128), (64, 16, 10_000)):
        with mock.patch.object(SCANNER, "bytes_per", bytes_per):
            Bounds(SCANNER, scan).over(frames, IDS)


@given(damaged(WHOLE))
def test_damaged_frames_decode_alike_with_and_without_the_scanner(frames):
    decoded(frames, IDS)
