"""Which Binance frames the byte scanner takes, which it leaves to msgspec, and in what order.

Values are compared in every test of the decoder: tests/feeds/venue_frames.py decodes both ways.
"""

import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.columns import Batch
from feeds.events import Flag, FrameKind, Kind
from feeds.trade_keys import key_within
from feeds.venues import binance
from feeds.venues.binance import scan
from feeds.venues.binance.decode import SCANNER, _expiry_ns
from tests.feeds.bounds import Bounds, damaged
from tests.feeds.venue_frames import RX_NS, clean, decoded, fixture, frame, same, tuples

CALL, PUT, DOGE = "BTC-261225-92000-C", "BTC-261225-92000-P", "DOGE-261225-0.06-P"
IDS = {CALL: 0, PUT: 1, DOGE: 2}
MS = 1_000_000
YEAR_MS = 365 * 86_400_000
BIDS, ASKS = [["765.000", "0.05"], ["755.000", "2.27"]], [["915.000", "1.98"]]


def of_stream(stream: str, data: Any) -> bytes:
    return frame({"stream": stream, "data": data})


def depth(stream: str = "btc-261225-92000-c@depth10@100ms", **changes: Any) -> bytes:
    data = {
        "e": "depthUpdate", "E": 1789953408596, "T": 1789953408491, "s": CALL, "U": 39895623802,
        "u": 39895623805, "pu": 39895614552, "b": BIDS, "a": ASKS,
    }  # fmt: skip
    return of_stream(stream, without_none(data | changes))


def mark(**changes: Any) -> dict[str, Any]:
    return without_none({
        "s": CALL, "mp": "2982.946", "E": 1789953404883, "e": "markPrice", "i": "81760.36521739",
        "P": "0.000", "bo": "3020.000", "ao": "3055.000", "bq": "2.25", "aq": "5.44",
        "b": "0.37346244", "a": "0.37578404", "hl": "5365.000", "ll": "600.000", "vo": "0.371",
        "rf": "0.0535", "d": "0.32489797", "t": "-29.553143", "g": "0.000023", "v": "150.32834259",
    } | changes)  # fmt: skip


def chain(*entries: Any) -> bytes:
    return of_stream("btcusdt@optionMarkPrice", entries)


def quote(**changes: Any) -> bytes:
    data = {"e": "bookTicker", "u": 39895660660, "s": CALL, "b": "765.000", "B": "2.32",
            "a": "915.000", "A": "1.98", "T": 1789953422973, "E": 1789953422973}  # fmt: skip
    return of_stream("btc-261225-92000-c@bookTicker", without_none(data | changes))


def trade(**changes: Any) -> bytes:
    data = {"e": "trade", "E": 1789953406025, "T": 1789953406026, "s": CALL, "t": 2159,
            "p": "15.000", "q": "0.19", "X": "MARKET", "S": "SELL", "m": True}  # fmt: skip
    return of_stream("btcusdt@optionTrade", without_none(data | changes))


def without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def left(*frames: bytes) -> list[int]:
    """Indexes of the frames that the scanner leaves to msgspec."""
    SCANNER.warm_up()
    return list(SCANNER.take(Batch("binance", frames, range(len(frames)), IDS)))


TAKEN = {
    "window": depth(),
    "window of one side": depth(b=[]),
    "empty window": depth(b=[], a=[]),
    "window without what is not used": depth(e=None, E=None, U=None, pu=None),
    "window out of order": depth(b=BIDS[::-1]),
    "window with an empty level": depth(b=[["765.000", "0"]]),
    "chain": chain(mark(), mark(s=PUT, d="-0.67510203"), mark(s=DOGE, i="0.0712")),
    "chain with an unlisted option": chain(mark(s="ETH-261225-4000-C"), mark()),
    "option without prices": chain(mark(bo="0.000", bq="0.00", ao="0", aq="3", b="-1.0", a="-1",
                                        mp="0", vo="0.00000060", d="0.00000000")),
    "option without a size": chain(mark(bq="0")),
    "option with a bid alone": chain(mark(ao="0.000", aq="0.00")),
    "option with an ask alone": chain(mark(bo="0.000", bq="0.00")),
    "option without what is not needed": chain(
        mark(e=None, P=None, hl=None, ll=None, rf=None, d=None, t=None, g=None, v=None)),
    "quote": quote(),
    "quote of one side": quote(b="0", B="0"),
    "trade": trade(),
    "trade of no kind": trade(X=None, S="BUY"),
    "trade of an unlisted option": trade(s="ETH-261225-4000-C"),
}  # fmt: skip
LEFT = {
    "increments": depth("btc-261225-92000-c@depth@100ms"),
    "another stream": depth("btc-261225-92000-c@kline_1m"),
    "stream of all": depth("!x@depth10"),
    "a kind with more letters": of_stream("btcusdt@optionMarkPriceX", [mark()]),
    "a kind with a setting": of_stream("btcusdt@optionMarkPrice@1s", [mark()]),
    "stream without a kind": depth("depth10"),
    "index": of_stream("!index@arr", [{"E": 5, "s": "BTCUSDT", "p": "81760.3"}]),
    "no time": depth(T=None),
    "time beyond int64": depth(T=10**13),
    "time as text": depth(T="1789953408491"),
    "no name": depth(s=None),
    "no update id": depth(u=None),
    "no bids": depth(b=None),
    "asks before bids": of_stream("x@depth10", {"T": 1, "s": CALL, "u": 5, "a": ASKS, "b": BIDS}),
    "three of a level": depth(b=[["1", "1", "1"]]),
    "price of nothing": depth(b=[["0", "1"]]),
    "negative size": depth(b=[["1", "-1"]]),
    "chain that is none": of_stream("btcusdt@optionMarkPrice", mark()),
    "empty chain": chain(),
    "option of an odd name": chain(mark(), mark(s="ODD")),
    "option without a mark": chain(mark(mp=None)),
    "option without a size of a side": chain(mark(aq=None)),
    "option without a volatility": chain(mark(vo=None)),
    "option without a time": chain(mark(E=None)),
    "option without a name": chain(mark(s=None)),
    "negative price": chain(mark(bo="-1")),
    "price beyond sense": chain(mark(ao="1000000000001")),
    "size beyond sense": chain(mark(bq="1000000000000001")),
    "volatility below none": chain(mark(b="-1.1")),
    "volatility beyond sense": chain(mark(a="1000001")),
    "rate beyond sense": chain(mark(rf="10.5")),
    "rate below sense": chain(mark(rf="-10.5")),
    "rate for too long": chain(mark(s="BTC-991225-92000-C", rf="10", E=0)),
    "greek beyond sense": chain(mark(t="-1000000000000001")),
    "text that is no number": chain(mark(d="nan")),
    "quote without a side": quote(a=None),
    "quote without a time": quote(T=None),
    "quote of a negative price": quote(b="-1"),
    "quote of a size beyond sense": quote(A="1000000000000001"),
    "block": trade(X="BLOCK"),
    "trade of no side": trade(S="BOTH"),
    "trade without a side": trade(S=None),
    "trade of nothing": trade(q="0"),
    "trade for nothing": trade(p="0.000"),
    "trade without an id": trade(t=None),
    "trade of a negative id": trade(t=-1),
    "spaces": json.dumps(json.loads(depth())).encode(),
    "escape": depth(s=CALL + "\n"),
    "key twice": depth().replace(b'"u":39', b'"u":5,"u":39'),
    "more behind it": depth() + b" ",
    "more in it": depth()[:-1] + b',"x":1}',
    "cut short": depth()[:-1],
    "answer": b'{"result":null,"id":7}',
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_the_scanner_takes_the_frequent_messages(name):
    assert left(TAKEN[name]) == []
    out = decoded(binance, [TAKEN[name]], IDS)
    faulty = ("window out of order", "window with an empty level")
    assert out.error_count == (name in faulty)


@pytest.mark.parametrize("name", LEFT)
def test_the_scanner_leaves_what_it_does_not_fully_understand(name):
    assert left(depth(), LEFT[name], depth()) == [1]
    decoded(binance, [depth(), LEFT[name], depth()], IDS)


def test_recorded_frames_are_taken_but_for_the_indexes():
    frames = fixture("binance/ws_recorded_gct_fstream_2026-09-21.jsonl")
    assert left(*frames) == [0]


def test_scanned_windows_and_quotes_have_their_sides_numbers_and_times():
    out = clean(binance, [depth(), quote(), quote(b="0", B="5")], IDS)
    assert tuples(out.frames.view(), "kind", "seq_last", "seq_prev", "row_begin", "row_end") == [
        (FrameKind.WINDOW, 39895623805, -1, 0, 3)
    ]
    rows = out.rows.view()
    assert tuples(rows[:3], "kind", "side", "price", "size", "level", "flags", "ex_ns") == [
        (Kind.BOOK_SNAPSHOT, 1, 765.0, np.float32(0.05), 0, Flag.SNAPSHOT_START,
         1789953408491 * MS),
        (Kind.BOOK_SNAPSHOT, 1, 755.0, np.float32(2.27), 1, 0, 1789953408491 * MS),
        (Kind.BOOK_SNAPSHOT, -1, 915.0, np.float32(1.98), 0, Flag.LAST, 1789953408491 * MS),
    ]  # fmt: skip
    assert tuples(rows[3:5], "kind", "side", "price", "size", "seq", "flags", "ex_ns") == [
        (Kind.QUOTE, 1, 765.0, np.float32(2.32), 39895660660, 0, 1789953422973 * MS),
        (Kind.QUOTE, -1, 915.0, np.float32(1.98), 39895660660, Flag.LAST, 1789953422973 * MS),
    ]
    assert same(rows["price"][5:], [math.nan, 915.0])
    assert same(rows["size"][5:], [math.nan, np.float32(1.98)])


def test_scanned_chains_quote_every_option_and_say_its_values():
    out = clean(binance, [chain(mark(), mark(s=PUT, d="-0.6", bo="8060", rf=None))], IDS)
    assert tuples(out.rows.view(), "listing_id", "kind", "side", "price", "flags", "seq") == [
        (0, Kind.QUOTE, 1, 3020.0, 0, 0), (0, Kind.QUOTE, -1, 3055.0, Flag.LAST, 0),
        (1, Kind.QUOTE, 1, 8060.0, 0, 0), (1, Kind.QUOTE, -1, 3055.0, Flag.LAST, 0),
    ]  # fmt: skip
    assert set(out.rows.view()["ex_ns"].tolist()) == {1789953404883 * MS}
    call, put = out.tickers.view()
    values = [call[n] for n in ("iv_bid", "iv_ask", "iv_mark", "delta", "gamma", "vega", "theta")]
    assert values == [
        np.float32(v)
        for v in (0.37346244, 0.37578404, 0.371, 0.32489797, 0.000023, 150.32834259, -29.553143)
    ]
    assert (call["mark"], call["index"], call["ex_ns"]) == (
        2982.946, 81760.36521739, 1789953404883 * MS,
    )  # fmt: skip
    # The worked example of docs/venues/binance.md.
    assert call["forward"] == pytest.approx(82_910.22, abs=0.01)
    assert np.isnan(put["forward"])
    assert (put["listing_id"], put["delta"]) == (1, np.float32(-0.6))


def test_what_a_scanned_chain_says_is_none_is_none():
    out = clean(binance, [TAKEN["option without prices"], TAKEN["option without a size"]], IDS)
    rows, (bare, _) = out.rows.view(), out.tickers.view()
    assert np.isnan(rows["price"]).tolist() == [True, True, False, False]
    assert np.isnan(rows["size"]).tolist() == [True, True, True, False]
    assert np.isnan([bare[n] for n in ("mark", "iv_bid", "iv_ask", "iv_mark")]).all()
    assert (bare["delta"], bare["oi_ns"]) == (0.0, 0)


def test_scanned_and_read_messages_keep_the_order_of_their_frames():
    frames = [chain(mark()), LEFT["block"], depth(), LEFT["option of an odd name"], trade()]
    out = clean(binance, frames, IDS | {"ODD": 5})
    assert tuples(out.rows.view(), "rx_ns", "listing_id", "kind") == [
        (RX_NS, 0, Kind.QUOTE), (RX_NS, 0, Kind.QUOTE), (RX_NS + 1, 0, Kind.TRADE),
        *[(RX_NS + 2, 0, Kind.BOOK_SNAPSHOT)] * 3, *[(RX_NS + 3, 0, Kind.QUOTE)] * 2,
        *[(RX_NS + 3, 5, Kind.QUOTE)] * 2, (RX_NS + 4, 0, Kind.TRADE),
    ]  # fmt: skip
    assert tuples(out.tickers.view(), "rx_ns", "listing_id") == [
        (RX_NS, 0), (RX_NS + 3, 0), (RX_NS + 3, 5),
    ]  # fmt: skip


def test_keys_of_scanned_trades_are_of_option_and_number():
    out = clean(binance, [trade(), trade(s=PUT), trade(t=0, X=None)], IDS)
    assert out.trade_keys == [key_within(CALL, "2159"), key_within(PUT, "2159"),
                              key_within(CALL, "0")]  # fmt: skip
    assert tuples(out.rows.view(), "side", "price", "size", "seq", "ex_ns") == [
        (-1, 15.0, np.float32(0.19), 2159, 1789953406026 * MS),
        (-1, 15.0, np.float32(0.19), 2159, 1789953406026 * MS),
        (-1, 15.0, np.float32(0.19), 0, 1789953406026 * MS),
    ]


def test_unlisted_options_leave_no_row_and_are_counted_once_an_entry():
    other = "ETH-261225-4000-C"
    frames = [chain(mark(s=other), mark(), mark(s=other)), depth(s=other), trade(s=other), quote()]
    out = clean(binance, [*frames, quote(s=other)], IDS)
    assert out.skipped == {"unknown_symbol": 5}
    assert out.rows.view()["rx_ns"].tolist() == [RX_NS, RX_NS, RX_NS + 3, RX_NS + 3]
    assert out.tickers.view()["listing_id"].tolist() == [0]
    assert (out.frames.count, out.trade_keys) == (0, [])


# Expiries in names.


def expiry_of(name: str) -> int | None:
    """Expiry in ns that the scanner reads in the name of a chain's option, None if it refuses.

    At a rate of one, the exponent is the years since E.
    """
    SCANNER.warm_up()
    found = SCANNER.found(SCANNER.compiled, [chain(mark(s=name, rf="1", E=0))])
    if not len(found.tickers):
        return None
    return round(float(found.tickers.view(float)[0, scan.EXPONENT]) * YEAR_MS) * MS


def test_every_day_of_the_century_expires_where_the_grammar_says():
    day = date(2000, 1, 1)
    while day.year < 2100:
        at = datetime(day.year, day.month, day.day, 8, tzinfo=UTC).timestamp()
        assert expiry_of(f"BTC-{day:%y%m%d}-92000-C") == int(at) * 10**9
        day += timedelta(days=1)


@pytest.mark.parametrize(
    "name",
    ["BTC-260229-9-C", "BTC-260431-9-C", "BTC-261301-9-C", "BTC-260001-9-C", "BTC-260100-9-C",
     "BTC-260132-9-C", "BTC-26010-9-C", "BTC-2601010-9-C", "btc-260101-9-C", "-260101-9-C",
     "A" * 17 + "-260101-9-C", "BTC-260101-9-X", "BTC-260101-9-C-", "BTC-260101-09-C",
     "BTC-260101-0-C", "BTC-260101-0.0-C", "BTC-260101-9.-C", "BTC-260101-.9-C", "BTC-260101--C",
     "BTC-260101-9e1-C", "BTC-260101-1234567890-C", "BTC-260101-0.1234567890-C", "BTC", ""],
)  # fmt: skip
def test_names_that_are_no_plain_option_are_refused(name: str):
    assert expiry_of(name) is None
    decoded(binance, [chain(mark(s=name))], {name: 0})


@given(st.from_regex(r"[A-Z0-9]{1,3}-2[46]0[0-3][0-3][0-9]-[0-9]{1,2}([.][0-9]{1,2})?-[CP]",
                     fullmatch=True))  # fmt: skip
def test_an_expiry_that_is_read_is_the_grammar_s(name: str):
    found = expiry_of(name)
    assert found is None or found == _expiry_ns(name)


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
    frames = [TAKEN[name] for name in ("window", "chain", "quote", "trade", "chain")]
    for least, size in enumerate(SCANNER.bytes_per):
        for factor in range(1, 60):
            rooms = [*SCANNER.bytes_per]
            rooms[least] = size * factor
            with mock.patch.object(SCANNER, "bytes_per", tuple(rooms)):
                Bounds(SCANNER, scan).over(frames, IDS)
                decoded(binance, frames, IDS)
    assert left(*frames) == []


@given(damaged(WHOLE))
def test_damaged_frames_decode_alike_with_and_without_the_scanner(frames):
    decoded(binance, frames, IDS)
