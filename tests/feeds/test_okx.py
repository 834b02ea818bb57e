"""OKX's decoder on recorded frames; expected values are typed in from their text.

The frames lie beside the repository (fixtures/okx) and are never copied here.
"""

import json
import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from feeds.contract import Listing
from feeds.events import Flag, FrameKind, Kind
from feeds.grammar import default_expiry_ns, parse, print_symbol
from feeds.venues import okx
from tests.conftest import shared
from tests.feeds.deribit_frames import f32, tuples
from tests.feeds.okx_frames import (
    FOLDER,
    MSGPARSER,
    MSGPARSER_V3,
    RECORDED,
    STREAM,
    TARDIS,
    TARDIS_2023,
    clean,
    decoded,
    of_channel,
    recorded,
)

CHECKSUM_LEVELS = 25
FUTURE, SPOT = "BTC-USD-220527", "BTC-USDT"
ROW = ("kind", "side", "level", "price", "size", "flags")


# ---- books ------------------------------------------------------------------------------------


def test_recorded_snapshot_of_2023_is_a_book_with_its_sequence_number():
    out = clean(of_channel(recorded(TARDIS_2023), "books"), {"ETH-USD-240628-1400-P": 3})
    rows = out.rows.view()
    assert tuples(rows, "side", "level", "price", "size") == [
        (1, 0, 0.035, 1550.0),
        (1, 1, 0.031, 200.0),
        (1, 2, 0.0305, 2888.0),
        (1, 3, 0.0285, 1500.0),
        (1, 4, 0.026, 500.0),
        (-1, 0, 0.038, 200.0),
        (-1, 1, 0.0385, 1550.0),
        (-1, 2, 0.0395, 2888.0),
        (-1, 3, 0.0435, 1500.0),
    ]
    assert rows["flags"].tolist() == [Flag.SNAPSHOT_START, *[0] * 7, Flag.LAST]
    assert set(rows["kind"].tolist()) == {Kind.BOOK_SNAPSHOT}
    assert set(rows["ex_ns"].tolist()) == {1701388800300_000_000}
    assert set(rows["seq"].tolist()) == {7966474}
    assert out.frames.view().tolist() == [(3, FrameKind.SNAPSHOT, 7966474, 7966474, -1, 1000, 0, 9)]


def test_recorded_change_of_2021_has_no_number_and_follows_nothing():
    out = clean(of_channel(recorded(TARDIS), "books-l2-tbt"), {"ETH-USD-220128-3500-C": 3})
    assert tuples(out.rows.view(), *ROW) == [
        (Kind.BOOK_DELTA, -1, 0, 0.1795, 500.0, 0),
        (Kind.BOOK_DELTA, -1, 0, 0.18, 0.0, Flag.LAST),
    ]
    assert set(out.rows.view()["ex_ns"].tolist()) == {1640001600039_000_000}
    assert out.frames.view().tolist() == [(3, FrameKind.CHAINED, 0, 0, -1, 1000, 0, 2)]


def test_recorded_window_with_no_bid():
    out = clean(of_channel(recorded(MSGPARSER), "books5"), {"BTC-USD-220624-50000-C": 5})
    assert tuples(out.rows.view(), *ROW) == [
        (Kind.BOOK_SNAPSHOT, -1, 0, 0.001, 606.0, Flag.SNAPSHOT_START),
        (Kind.BOOK_SNAPSHOT, -1, 1, 0.0015, 330.0, 0),
        (Kind.BOOK_SNAPSHOT, -1, 2, 0.002, 10.0, Flag.LAST),
    ]
    at_ms = 1654387553361
    assert set(out.rows.view()["ex_ns"].tolist()) == {at_ms * 1_000_000}
    assert out.frames.view().tolist() == [(5, FrameKind.WINDOW, at_ms, at_ms, -1, 1000, 0, 3)]


def test_recorded_touch_with_no_bid_is_a_quote_without_one():
    out = clean(of_channel(recorded(MSGPARSER), "bbo-tbt"), {"BTC-USD-220624-50000-C": 5})
    bid, ask = out.rows.view()
    assert (bid["kind"], bid["side"], bid["flags"]) == (Kind.QUOTE, 1, 0)
    assert math.isnan(bid["price"])
    assert math.isnan(bid["size"])
    assert (ask["kind"], ask["side"], ask["flags"]) == (Kind.QUOTE, -1, Flag.LAST)
    assert (ask["price"], ask["size"], ask["ex_ns"]) == (0.0015, 8.0, 1654033343415_000_000)
    assert out.frames.count == 0


@pytest.mark.parametrize(
    "name", ["nautilus_ws_books_snapshot.json", "nautilus_ws_books_update.json"]
)
def test_documented_books_carry_the_chain(name):
    out = clean([shared(FOLDER + name).read_bytes()], {SPOT: 1})
    kind, seq, prev = (
        (FrameKind.SNAPSHOT, 123456, -1)
        if "snapshot" in name
        else (FrameKind.CHAINED, 123457, 123456)
    )
    assert out.frames.view().tolist() == [(1, kind, seq, seq, prev, 1000, 0, 16)]
    rows = out.rows.view()
    assert tuples(rows, "side", "price", "size")[0] == (1, 8476.97, 256.0)
    assert tuples(rows, "side", "price", "size")[8] == (-1, 8476.98, 415.0)
    assert tuples(rows, "side", "price", "size")[15] == (-1, 8506.96, 100.0)


def test_documented_touch_has_both_sides_and_a_number():
    out = clean([shared(FOLDER + "nautilus_ws_bbo_tbt.json").read_bytes()], {SPOT: 1})
    assert tuples(out.rows.view(), "side", "price", "size", "seq") == [
        (1, 8476.97, 256.0, 123456),
        (-1, 8476.98, 415.0, 123456),
    ]


# ---- the checksum, an oracle of the recorded stream ----------------------------------------------


class TextBook:
    """Oracle: a book of the wire's own texts."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}

    def take(self, message: dict[str, Any]) -> None:
        if message["action"] == "snapshot":
            self.sides = {"bids": {}, "asks": {}}
        for name, side in self.sides.items():
            for price, size, *_ in message["data"][0][name]:
                side[price] = size
                if float(size) == 0:
                    del side[price]

    def top(self) -> Iterator[list[tuple[str, str]]]:
        """The best 25 of each side, bids first."""
        for name, sign in (("bids", -1), ("asks", 1)):
            ordered = sorted(self.sides[name].items(), key=lambda level: sign * float(level[0]))
            yield ordered[:CHECKSUM_LEVELS]


def checksum(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> int:
    """CRC-32 of price:size, bids and asks in turn, as a signed int (the venue's documentation)."""
    words = []
    for place in range(CHECKSUM_LEVELS):
        words += [":".join(side[place]) for side in (bids, asks) if place < len(side)]
    crc = zlib.crc32(":".join(words).encode())
    return crc - 2**32 if crc >= 2**31 else crc


def number_text(value: float) -> str:
    """Shortest decimal of a number, as the venue writes it."""
    return repr(value).removesuffix(".0")


def test_book_built_from_decoded_rows_has_the_venues_checksum_after_every_message():
    """All 197 messages; texts of the future's book come from the rows alone.

    Sizes of the spot pair have more digits than a row's float32 holds, so there each level is
    compared with that of the text book, whose checksum is right.
    """
    books: dict[str, dict[int, dict[float, float]]] = {}
    texts = {FUTURE: TextBook(), SPOT: TextBook()}
    checked = {FUTURE: 0, SPOT: 0}
    for frame in of_channel(recorded(STREAM), "books"):
        message = json.loads(frame)
        symbol, expected = message["arg"]["instId"], message["data"][0]["checksum"]
        book = books.setdefault(symbol, {1: {}, -1: {}})
        for row in clean([frame], {FUTURE: 0, SPOT: 1}).rows.view():
            if row["flags"] & Flag.SNAPSHOT_START:
                book[1], book[-1] = {}, {}
            book[int(row["side"])][float(row["price"])] = float(row["size"])
            if row["size"] == 0:
                del book[int(row["side"])][float(row["price"])]
        texts[symbol].take(message)
        best = [sorted(book[1].items(), reverse=True), sorted(book[-1].items())]
        if symbol == FUTURE:
            sides = [[(number_text(p), number_text(s)) for p, s in side] for side in best]
            assert checksum(*sides) == expected
        bids, asks = texts[symbol].top()
        assert checksum(bids, asks) == expected
        for side, text in zip(best, (bids, asks), strict=True):
            assert side[:CHECKSUM_LEVELS] == [(float(p), f32(float(s))) for p, s in text]
        checked[symbol] += 1
    assert checked == {FUTURE: 99, SPOT: 98}


def test_recorded_stream_decodes_to_the_numbers_of_its_text():
    out = decoded(recorded(STREAM), {FUTURE: 0, SPOT: 1})
    assert (out.error_count, out.skipped) == (0, {"answer": 12, "other_channel": 27})
    rows = out.rows.view()
    of_future = rows[rows["listing_id"] == 0]
    trades = of_future[of_future["kind"] == Kind.TRADE]
    assert tuples(trades[:3], "side", "price", "size", "ex_ns") == [
        (1, 30218.8, 1.0, 1652459199958_000_000),
        (1, 30217.7, 2.0, 1652459234339_000_000),
        (1, 30217.9, 2.0, 1652459234340_000_000),
    ]
    book = of_future[of_future["kind"] != Kind.TRADE]
    assert tuples(book[:1], *ROW) == [(Kind.BOOK_SNAPSHOT, 1, 0, 30233.6, 3.0, Flag.SNAPSHOT_START)]
    # 72 bids and 64 offers; the change after them has one bid and three offers, one of them gone.
    assert tuples(book[72:73], *ROW) == [(Kind.BOOK_SNAPSHOT, -1, 0, 30238.8, 2.0, 0)]
    assert tuples(book[136:140], *ROW) == [
        (Kind.BOOK_DELTA, 1, 0, 30182.6, 452.0, 0),
        (Kind.BOOK_DELTA, -1, 0, 30249.4, 0.0, 0),
        (Kind.BOOK_DELTA, -1, 0, 30261.0, 4.0, 0),
        (Kind.BOOK_DELTA, -1, 0, 30310.3, 19.0, Flag.LAST),
    ]


def test_spot_book_is_not_taken_for_the_index_of_the_same_name():
    out = clean(of_channel(recorded(STREAM), "books"), {"BTC-USDT/INDEX": 1})
    assert (out.rows.count, out.frames.count) == (0, 0)
    assert out.skipped == {"unknown_symbol": 197}


def test_an_index_price_is_no_mark_of_the_spot_of_its_name_nor_of_anything_quoted_otherwise():
    entry = {"instId": "BTC-USD", "idxPx": "30200.5", "ts": "1652459225000"}
    frame = {"arg": {"channel": "index-tickers", "instId": "BTC-USD"}, "data": [entry]}
    ids = {"BTC-USD": 1, "BTC-USDT": 2, "BTC-USD/INDEX": 3, "BTC-USD-220527": 4}
    text = json.dumps(frame, separators=(",", ":")).encode()
    assert clean([text], ids).tickers.view()["listing_id"].tolist() == [3, 4]


def test_recorded_spot_is_in_coins():
    stream = recorded(STREAM)
    snapshot = next(
        frame for frame in of_channel(stream, "books") if b"BTC-USDT" in frame and b"shot" in frame
    )
    rows = clean([snapshot], {SPOT: 1}).rows.view()
    asks = rows[rows["side"] == -1]
    assert tuples(asks[:3], "level", "price", "size") == [
        (0, 30243.5, f32(1.44679)),
        (1, 30244.0, f32(0.08)),
        (2, 30246.1, f32(0.05426064)),
    ]
    prints = clean(of_channel(stream, "trades"), {SPOT: 1}).rows.view()
    assert tuples(prints[:1], "side", "price", "size", "ex_ns") == [
        (1, 30236.0, f32(0.0002), 1652459224818 * 10**6)
    ]


# ---- prints -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "channel", "symbol", "row"),
    [
        (TARDIS_2023, "trades-all", "BTC-USD-231229-42000-C", (0.0195, 50.0, 1701388808817)),
        (TARDIS, "trades", "BTC-USD-211224-56000-C", (0.0005, 1.0, 1640001607045)),
        (MSGPARSER, "trades", "BTC-USD-220304-32000-P", (0.001, 85.0, 1646138219181)),
    ],
)
def test_recorded_option_prints_are_bought(file, channel, symbol, row):
    out = clean(of_channel(recorded(file), channel), {symbol: 4})
    price, size, at_ms = row
    fields = ("kind", "listing_id", "side", "price", "size", "ex_ns", "flags", "aux")
    assert tuples(out.rows.view(), *fields) == [
        (Kind.TRADE, 4, 1, price, size, at_ms * 1_000_000, Flag.LAST, 0)
    ]
    assert len(out.trade_keys) == 1
    assert out.frames.count == 0


def test_recorded_prints_of_the_stream_have_keys_of_their_own():
    out = clean(of_channel(recorded(STREAM), "trades"), {FUTURE: 0, SPOT: 1})
    assert (len(out.trade_keys), len(set(out.trade_keys))) == (73, 73)
    sides = out.rows.view()["side"].tolist()
    frames = of_channel(recorded(STREAM), "trades")
    assert sides == [1 if b'"side":"buy"' in frame else -1 for frame in frames]
    assert sorted(set(sides)) == [-1, 1]


# ---- tickers ------------------------------------------------------------------------------------

TICKER = ("iv_mark", "iv_bid", "iv_ask", "forward", "delta", "gamma", "vega", "theta")


def by_listing(frames: list[bytes], symbols: dict[str, int]) -> dict[int, Any]:
    return {int(row["listing_id"]): row for row in clean(frames, symbols).tickers.view()}


def assert_ticker(row: Any, *expected: float) -> None:
    for field, value in zip(TICKER, expected, strict=True):
        stored = value if field == "forward" else f32(value)
        assert np.array_equal(row[field], stored, equal_nan=True), field
    assert all(math.isnan(row[field]) for field in ("mark", "index", "open_interest"))
    assert row["oi_ns"] == 0


def test_recorded_summary_of_2023_gives_the_greeks_of_black_scholes_in_usd():
    names = {
        "BTC-USD-231229-40000-P": 1,
        "BTC-USD-231201-44000-C": 2,
        "BTC-USD-231208-36500-C": 3,
        "BTC-USD-231229-40000-C": 4,
        "BTC-USD-240329-90000-P": 5,
        "BTC-USD-231201-48000-P": 6,
        "BTC-USD-231201-32000-P": 7,
        "BTC-USD-240628-60000-C": 8,
    }
    rows = by_listing(of_channel(recorded(TARDIS_2023), "opt-summary"), names)
    none = math.nan
    near, far = 37728.5916503342, 38026.372899316
    assert_ticker(
        rows[1], 0.4686517873, 0.4611296832, 0.4895109741, far,
        -0.6261794835, 0.0000768666, 39.7986007518, -25.384564876,
    )  # fmt: skip
    assert_ticker(rows[2], 0.6553139462, none, 2.4218801562, near, 0, 0, 0, 0)
    assert_ticker(
        rows[3], 0.4052029232, 0.3753754602, 0.4193206848, 37804.9875020763,
        0.7388620369, 0.0001499623, 17.375531255, -55.455997925,
    )  # fmt: skip
    assert_ticker(
        rows[4], 0.4686517873, 0.4647917852, 0.469674588, far,
        0.373516991, 0.0000768666, 39.7986007518, -36.5170251108,
    )  # fmt: skip
    assert_ticker(
        rows[5], 0.7721124559, none, none, 38825.4999072088,
        -0.9538701465, 0.0000058057, 20.85829012, 13.9550107872,
    )  # fmt: skip
    assert_ticker(rows[6], 0.6553192998, none, 5, near, -1, 0, 0, 3.5515402961)
    assert_ticker(rows[7], 0.6240517212, none, 2.1093807812, near, 0, 0, 0, 0)
    assert_ticker(
        rows[8], 0.6489103097, 0.6407252713, 0.6506434643, 39566.4074709356,
        0.274603727, 0.0000179424, 95.4895464383, -16.5117438537,
    )  # fmt: skip
    assert {int(row["ex_ns"]) for row in rows.values()} == {1701388800085_000_000}


def test_recorded_greeks_are_of_a_point_of_volatility_and_a_day():
    """Black-Scholes of strike 40,000 by hand: spot from gamma, carry from spot and forward."""
    forward, strike, iv = 38026.372899316, 40000.0, 0.4686517873
    years = (1703836800000 - 1701388800085) / (365 * 86_400_000)
    deviation = iv * math.sqrt(years)
    d1 = math.log(forward / strike) / deviation + deviation / 2
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    spot = density / (0.0000768666 * deviation)
    rate = math.log(forward / spot) / years
    assert spot == pytest.approx(37737, abs=40)
    assert 0.5 * math.erfc(-d1 / math.sqrt(2)) == pytest.approx(0.373516991, abs=5e-4)
    assert spot * density * math.sqrt(years) / 100 == pytest.approx(39.7986, rel=2e-3)
    call = 0.5 * math.erfc(-(d1 - deviation) / math.sqrt(2))
    decay = -spot * density * iv / (2 * math.sqrt(years))
    carry = rate * strike * math.exp(-rate * years) * call
    assert (decay - carry) / 365 == pytest.approx(-36.517, rel=1e-2)


def test_recorded_summary_of_2021_has_no_forward_and_no_bid():
    names = {"ETH-USD-211222-4000-C": 1, "ETH-USD-211231-9600-C": 2}
    rows = by_listing(of_channel(recorded(TARDIS), "opt-summary"), names)
    none = math.nan
    assert_ticker(
        rows[1], 0.7794507758, 0.7421960156, 0.8203208593, none,
        0.2038286081, 0.0013437829, 0.7647227087, -16.4798150221,
    )  # fmt: skip
    assert_ticker(
        rows[2], 1.8880399194, none, 1.9531310937, none,
        0.0037586392, 0.0000090065, 0.0733893466, -0.6403023344,
    )  # fmt: skip
    assert (rows[1]["ex_ns"], rows[2]["ex_ns"]) == (1640001659301_000_000, 1640001659181_000_000)


def test_recorded_open_interest_is_in_contracts():
    frames = of_channel(recorded(TARDIS), "open-interest")
    row = by_listing(frames, {"ETH-USD-211231-9600-C": 2})[2]
    # 36 contracts were 3.6 ETH: a multiplier of 0.1 then.
    assert (row["open_interest"], row["oi_ns"]) == (36.0, 1640183217591_000_000)
    assert json.loads(frames[0])["data"][0]["oiCcy"] == "3.6"
    assert all(math.isnan(row[field]) for field in ("mark", "iv_mark", "delta", "forward"))


def test_recorded_index_marks_its_listing_and_tells_the_options_their_index():
    symbols = {
        "ETH-USD-211231-9600-C": 2,
        "ETH-USD/INDEX": 7,
        "ETH-USDT-SWAP": 4,
        "BTC-USD-SWAP": 5,
    }
    out = clean(of_channel(recorded(TARDIS), "index-tickers"), symbols)
    rows = out.tickers.view()
    assert tuples(rows, "listing_id", "index", "ex_ns") == [
        (7, 3814.05, 1640001659508_000_000),
        (2, 3814.05, 1640001659508_000_000),
    ]
    assert rows["mark"][0] == 3814.05
    assert math.isnan(rows["mark"][1])


def test_worked_example_of_the_docs_page():
    """The offer of ETH-USD-220128-3500-C, the index of that minute, the multiplier of that week."""
    frames = recorded(TARDIS)
    offer = clean(of_channel(frames, "books-l2-tbt"), {"ETH-USD-220128-3500-C": 3}).rows.view()[0]
    symbols = {"ETH-USD-220128-3500-C": 3, "ETH-USD/INDEX": 7}
    index = by_listing(of_channel(frames, "index-tickers"), symbols)[3]["index"]
    (interest,) = json.loads(of_channel(frames, "open-interest")[0])["data"]
    multiplier = float(interest["oiCcy"]) / float(interest["oi"])
    assert (multiplier, index) == (0.1, 3814.05)
    coins = float(offer["size"]) * multiplier
    assert (offer["price"], offer["size"], coins) == (0.1795, 500.0, 50.0)
    assert float(offer["price"]) * index == pytest.approx(684.62, abs=0.005)
    assert float(offer["price"]) * index * coins == pytest.approx(34_231.10, abs=0.005)


# ---- what is not read ---------------------------------------------------------------------------


def test_frames_of_version_3_and_rest_bodies_are_counted_errors():
    for name, errors in ((TARDIS, 8), (MSGPARSER_V3, 2), (MSGPARSER, 1)):
        out = decoded(recorded(name), {})
        assert out.error_count == errors
        assert {str(error) for error in out.errors} == {
            "okx: message had neither an arg nor an event"
        }


def test_recorded_instruments_of_other_families_are_no_notices():
    frame = shared(FOLDER + "nautilus_ws_instruments.json").read_bytes()
    assert clean([frame], {}).skipped == {"unknown_symbol": 1}
    (notice,) = clean([frame], {"BTC-USDT-SWAP": 1}).lifecycle
    assert (notice.symbol, notice.state.name) == ("BTC-USDT-SWAP", "LIVE")


def listings_of(name: str) -> list[Listing]:
    found = okx.instruments(shared(f"{FOLDER}{name}").read_bytes())
    assert (found.left_out, found.conflicts) == ({}, [])
    return found.listings


def test_every_recorded_option_name_reads_and_prints_back():
    names = {
        listing.symbol
        for file in (
            "rest_instruments_OPTION_BTC-USD_2022-05-13.json",
            "rest_instruments_OPTION_ETH-USD_2022-05-13.json",
            "nautilus_http_get_instruments_option.json",
        )
        for listing in listings_of(file)
        if listing.right is not None
    }
    for file in RECORDED:
        for frame in recorded(file):
            entries = [json.loads(frame).get("arg", {}), *json.loads(frame).get("data", [])]
            found = [e.get("instId", e.get("instrument_id", "")) for e in entries]
            names |= {name for name in found if name.count("-") == 4}
    assert len(names) == 436
    for name in names:
        parsed = parse("okx", name)
        assert print_symbol(parsed) == name
        assert default_expiry_ns(parsed) % (86_400 * 10**9) == 8 * 3600 * 10**9


def test_names_of_families_stand_in_questions_as_an_address_has_them():
    """`make fuzz` found one that did not."""
    found = okx.instruments('{"code":"0","data":[["BTC-USD","\u00e9&x=1"]]}'.encode())
    paths = [question.path for question in found.further]
    assert any(path.endswith("instFamily=BTC-USD") for path in paths)
    assert any(path.endswith("instFamily=%C3%A9%26x%3D1") for path in paths)
    assert all(path.isascii() for path in paths)
