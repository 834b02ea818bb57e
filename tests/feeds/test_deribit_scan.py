"""Which Deribit frames the byte scanner takes, which it leaves to msgspec, and in what order.

Values are compared in every test of the decoder: tests/feeds/deribit_frames.py decodes both ways.
"""

import json
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given

from feeds.bytescan import scanner
from feeds.columns import Batch
from feeds.events import DecodeOut, Flag, Kind
from feeds.venues import deribit
from feeds.venues.deribit import scan
from feeds.venues.deribit.decode import SCANNER
from tests.feeds.bounds import Bounds, damaged
from tests.feeds.deribit_frames import clean, decoded, frame_of, tuples

OPTION, OTHER = "BTC-27MAR26-100000-C", "BTC-27MAR26-90000-P"
IDS = {OPTION: 11, OTHER: 12}


def book(changes: dict[str, Any] | None = None) -> bytes:
    data = {
        "type": "change",
        "timestamp": 1700000000123,
        "prev_change_id": 8,
        "instrument_name": OPTION,
        "change_id": 9,
        "bids": [["new", 0.019, 93.0], ["delete", 0.018, 0.0]],
        "asks": [["change", 0.02, 4.5]],
    }
    return frame_of(f"book.{OPTION}.100ms", data | (changes or {}))


def ticker(changes: dict[str, Any] | None = None) -> bytes:
    data = {
        "timestamp": 1700000000123,
        "stats": {"volume": 3.2, "price_change": None},
        "instrument_name": OPTION,
        "mark_price": 0.015,
        "bid_iv": 54.5,
        "open_interest": 3.0,
        "greeks": {"delta": 0.4, "gamma": 1e-05, "vega": 1.0, "theta": -2.0, "rho": 0.1},
    }
    return frame_of(f"ticker.{OPTION}.100ms", data | (changes or {}))


def trades(*changes: dict[str, Any]) -> bytes:
    entry = {
        "trade_seq": 5,
        "trade_id": "1001",
        "timestamp": 1700000000123,
        "price": 0.05,
        "iv": 55.0,
        "instrument_name": OPTION,
        "direction": "sell",
        "amount": 2.5,
    }
    return frame_of("trades.option.BTC.100ms", [entry | change for change in changes])


def without(frame: bytes, field: str) -> bytes:
    message = json.loads(frame)
    del message["params"]["data"][field]
    return json.dumps(message, separators=(",", ":")).encode()


def left(frames: list[bytes]) -> list[int]:
    """Indexes of the frames that the scanner leaves to msgspec."""
    deribit.warm_up()
    return list(SCANNER.take(Batch("deribit", frames, range(len(frames)), IDS)))


TAKEN = {
    "change": book(),
    "change of one side": book({"bids": []}),
    "deletion that names an amount": book({"bids": [["delete", 0.018, 7.0]]}),
    "empty change": book({"bids": [], "asks": []}),
    "ticker": ticker(),
    "ticker of a perpetual": without(without(ticker(), "greeks"), "bid_iv"),
    "ticker with null": ticker({"mark_price": None}),
    "trade": trades({}),
    "two trades": trades({}, {"trade_id": "ETH-7", "direction": "buy"}),
    "trade of an unlisted instrument": trades({"instrument_name": "XRP"}),
}
LEFT = {
    "snapshot": book({"type": "snapshot"}),
    "change without previous": without(book(), "prev_change_id"),
    "window": frame_of(
        f"book.{OPTION}.none.10.100ms",
        {"timestamp": 1, "instrument_name": OPTION, "change_id": 9,
         "bids": [[1.0, 2.0]], "asks": []},
    ),
    "asks before bids": frame_of(
        f"book.{OPTION}.100ms",
        {"type": "change", "timestamp": 1, "prev_change_id": 8, "instrument_name": OPTION,
         "change_id": 9, "asks": [["new", 0.03, 1.0]], "bids": [["new", 0.02, 1.0]]},
    ),
    "block trade": trades({"block_trade_id": "7"}),
    "leg of a combination": trades({"combo_id": "C", "combo_trade_id": "8"}),
    "no trade": frame_of("trades.option.BTC.100ms", []),
    "quote": frame_of(f"quote.{OPTION}", {"timestamp": 1, "instrument_name": OPTION}),
    "spaces": json.dumps(json.loads(book())).encode(),
    "escape": book({"instrument_name": OPTION + "\n"}),
    "beyond ASCII": ticker({"state": "\u00e9"}).replace(b"\\u00e9", "é".encode()),
    "key twice": book().replace(b'"change_id":9', b'"change_id":9,"change_id":9'),
    "seventeen digits": book({"asks": [["new", 0.03, 12345678901234567.0]]}),
    "negative size": book({"asks": [["new", 0.03, -1.0]]}),
    "price of nothing": book({"asks": [["new", 0.0, 1.0]]}),
    "time beyond int64": ticker({"timestamp": 10**13}),
    "more behind it": book() + b" ",
    "cut short": book()[:-1],
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_the_scanner_takes_the_frequent_messages(name):
    assert left([TAKEN[name]]) == []
    clean([TAKEN[name]], IDS)


@pytest.mark.parametrize("name", LEFT)
def test_the_scanner_leaves_what_it_does_not_fully_understand(name):
    assert left([book(), LEFT[name], book()]) == [1]
    decoded([book(), LEFT[name], book()], IDS)


def test_a_deleted_level_has_no_size_whatever_the_message_says():
    out = clean([TAKEN["deletion that names an amount"]], IDS)
    assert tuples(out.rows.view(), "price", "size") == [(0.018, 0.0), (0.02, 4.5)]


def test_scanned_and_read_messages_keep_the_order_of_their_frames():
    window, block = LEFT["window"], LEFT["block trade"]
    out = clean([window, book(), block, trades({}), book()], IDS)
    fields = ("rx_ns", "kind", "side", "price")
    delta = [(Kind.BOOK_DELTA, 1, 0.019), (Kind.BOOK_DELTA, 1, 0.018), (Kind.BOOK_DELTA, -1, 0.02)]
    assert tuples(out.rows.view(), *fields) == [
        (1000, Kind.BOOK_SNAPSHOT, 1, 1.0),
        *[(1001, *row) for row in delta],
        (1002, Kind.TRADE, -1, 0.05),
        (1003, Kind.TRADE, -1, 0.05),
        *[(1004, *row) for row in delta],
    ]
    assert out.rows.view()["size"].tolist()[1:4] == [93.0, 0.0, 4.5]
    last = out.rows.view()["flags"] & Flag.LAST
    assert last.tolist() == [1, 0, 0, 1, 1, 1, 0, 0, 1]
    assert tuples(out.frames.view(), "rx_ns", "row_begin", "row_end") == [
        (1000, 0, 1), (1001, 1, 4), (1004, 6, 9),
    ]  # fmt: skip
    assert len(out.trade_keys) == 2


def test_keys_of_scanned_trades_are_those_of_their_ids():
    ids = ["1001", "0", "9" * 18, "9" * 19, "007", "ETH-7"]
    keys = clean([trades(*({"trade_id": text} for text in ids))], IDS).trade_keys
    assert keys[:5] == [1001, 0, 10**18 - 1, 10**19 - 1, 7]
    assert keys[5] not in (7, 1001)


def test_unlisted_instruments_leave_no_row_and_no_key():
    frames = [trades({}, {"instrument_name": "XRP", "trade_id": "2"}, {"trade_id": "3"})]
    frames += [book({"instrument_name": "XRP"}), ticker({"instrument_name": "XRP"}), ticker()]
    out = clean(frames, IDS)
    assert out.trade_keys == [1001, 3]
    assert tuples(out.rows.view(), "listing_id", "rx_ns") == [(11, 1000), (11, 1000)]
    assert out.tickers.view()["rx_ns"].tolist() == [1003]
    assert out.frames.count == 0
    assert out.skipped == {"unknown_symbol": 3}


def test_a_frame_with_a_line_feed_does_not_shift_its_neighbours():
    split = book().replace(b',"asks"', b',\n"asks"')
    out = clean([book(), split, trades({})], IDS)
    assert out.frames.view()["rx_ns"].tolist() == [1000, 1001]
    assert out.rows.view()["rx_ns"].tolist() == [1000] * 3 + [1001] * 3 + [1002]
    assert left([book(), split]) == [0, 1]


def test_two_messages_on_two_lines_of_one_frame_are_an_error():
    out = decoded([book() + b"\n" + book(), trades({})], IDS)
    assert out.error_count == 1
    assert out.rows.view()["rx_ns"].tolist() == [1001]


def test_what_does_not_fit_the_room_of_a_batch_is_left():
    asks = [["new", (k + 1) / 10_000, 1.0] for k in range(400)]
    wide = book({"bids": asks[:1], "asks": asks})
    prints = trades(*({"trade_id": str(k)} for k in range(70)))
    assert left([wide, prints, ticker()]) == []
    with mock.patch.object(SCANNER, "bytes_per", (1_000, 40, 10_000)):
        assert left([wide]) == [0]
        assert left([prints]) == [0]
        assert left([ticker()]) == [0]
        assert clean([wide, prints, ticker()], IDS).rows.count == 401 + 70


def test_a_cold_scanner_leaves_everything_to_msgspec():
    frames = [book(), ticker()]
    with mock.patch.object(SCANNER, "compiled", None):
        batch = Batch("deribit", frames, range(len(frames)), IDS)
        assert list(SCANNER.take(batch)) == [0, 1]
        out = DecodeOut()
        deribit.decode(frames, range(len(frames)), IDS, out)
    assert (out.frames.count, out.tickers.count) == (1, 1)


def test_python_and_compiled_scanner_give_the_same():
    frames = [*TAKEN.values(), *LEFT.values()]
    deribit.warm_up()
    with np.errstate(over="ignore"):
        plain = SCANNER.found(scan.scan, frames)
    compiled = SCANNER.found(SCANNER.compiled, frames)
    assert plain.kinds.tolist() == compiled.kinds.tolist()
    # What words beyond the columns hold of a book's change is nobody's.
    assert plain.rows.tolist() == compiled.rows.tolist()
    assert plain.updates[:, :4].tolist() == compiled.updates[:, :4].tolist()
    assert plain.tickers[:, :2].tolist() == compiled.tickers[:, :2].tolist()


# Memory. Addresses know no bounds, so the bounds are checked here, on damaged frames.


WHOLE = [*TAKEN.values(), *LEFT.values()]


@given(damaged(WHOLE))
def test_no_frame_makes_the_scanner_read_or_write_beyond_its_bounds(frames):
    Bounds(SCANNER, scan).over(frames, IDS)


def test_the_bounds_are_those_of_the_rooms():
    asks = [["new", (k + 1) / 10_000, 1.0] for k in range(100)]
    prints = trades(*({"trade_id": str(k)} for k in range(20)))
    frames = [book({"bids": [], "asks": asks}), prints, ticker()]
    Bounds(SCANNER, scan).over(frames, IDS)
    for bytes_per in ((64, 80, 128), (1_500, 16, 128), (64, 16, 10_000)):
        with mock.patch.object(SCANNER, "bytes_per", bytes_per):
            Bounds(SCANNER, scan).over(frames, IDS)
            assert len(left(frames)) >= 1
    too_far = mock.patch.object(scanner, "_PADDING", b"")
    with too_far, pytest.raises(AssertionError):
        Bounds(SCANNER, scan).over([b'"'], IDS)


@given(damaged(WHOLE))
def test_damaged_frames_decode_alike_with_and_without_the_scanner(frames):
    decoded(frames, IDS)
