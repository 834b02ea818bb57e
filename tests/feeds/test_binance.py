"""Binance: recorded frames to rows worked out by hand, the plan, the session's frames, the log."""

import json
import math

import numpy as np
import pytest

from feeds.contract import ListingKind
from feeds.errors import FrameError, SessionError
from feeds.events import Flag, FrameKind, Kind, ListingState
from feeds.grammar import parse, print_symbol
from feeds.handler import VenueHandler
from feeds.record import Record, RecordType
from feeds.venue import ChannelOptions, Control
from feeds.venues import binance
from tests.feeds.venue_frames import clean, decoded, f32, fixture, frame, same, tuples

RECORDED = "binance/ws_recorded_gct_fstream_2026-09-21.jsonl"
SAMPLES = "binance/ws_samples_tardis_fstream_2025-12.jsonl"
MS = 1_000_000
CALL = "BTC-261225-92000-C"
EXPIRY_MS = 1_798_185_600_000  # 2026-12-25 08:00 UTC


def entry(symbol: str = CALL, **changes: object) -> dict[str, object]:
    """One option in the documented shape of exchangeInfo."""
    parsed = parse("binance", symbol)
    return {
        "contractId": 2, "expiryDate": EXPIRY_MS,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.2", "maxPrice": "80000", "tickSize": "5"},
            {"filterType": "LOT_SIZE", "minQty": "0.01", "maxQty": "100", "stepSize": "0.01"},
        ],
        "symbol": symbol, "side": "CALL" if parsed.right == "C" else "PUT",
        "strikePrice": symbol.split("-")[2] + ".000", "underlying": f"{parsed.root}USDT", "unit": 1,
        "minQty": "0.01", "quoteAsset": "USDT", "status": "TRADING",
    } | changes  # fmt: skip


def body(*entries: dict[str, object]) -> bytes:
    return frame({"timezone": "UTC", "optionSymbols": list(entries)})


# Frames


def test_recorded_frames_become_the_rows_their_text_says():
    frames = fixture(RECORDED)
    names = [
        "BTCUSDT/INDEX", CALL, "BTC-260925-68000-P", "BTC-260921-81000-C",
    ]  # fmt: skip
    ids = {name: k for k, name in enumerate(names)}
    out = clean(binance, frames, ids)
    index = out.tickers.view()[0]
    assert (index["listing_id"], index["mark"], index["index"]) == (
        0, 81760.36521739, 81760.36521739,
    )  # fmt: skip
    assert index["ex_ns"] == 1789953404989 * MS
    mark = out.tickers.view()[1]
    assert mark["listing_id"] == 1
    assert mark["ex_ns"] == 1789953404883 * MS
    assert same(
        [mark[n] for n in ("mark", "index", "open_interest")], [2982.946, 81760.36521739, math.nan]
    )
    assert same(
        [mark[n] for n in ("iv_bid", "iv_ask", "iv_mark", "delta", "gamma", "vega", "theta")],
        [f32(v) for v in (0.37346244, 0.37578404, 0.371, 0.32489797, 0.000023, 150.32834259,
                          -29.553143)],
    )  # fmt: skip
    rows = out.rows.view()
    of_mark = rows[rows["listing_id"] == 1]
    assert tuples(of_mark, "kind", "side", "price", "size", "flags") == [
        (Kind.QUOTE, 1, 3020.0, f32(2.25), 0),
        (Kind.QUOTE, -1, 3055.0, f32(5.44), Flag.LAST),
    ]
    trade = rows[rows["kind"] == Kind.TRADE]
    assert tuples(trade, "listing_id", "side", "price", "size", "seq", "ex_ns") == [
        (2, -1, 15.0, f32(0.19), 2159, 1789953406025 * MS)
    ]
    assert len(out.trade_keys) == 1


YEAR_MS = 365 * 86_400_000
# What the recorded chain says of each option: expiry, strike, right, rate, mark volatility, mark,
# delta, theta, gamma, vega. They were written at 1789953404883, the index was 81760.36521739.
RECORDED_MARKS = {
    "BTC-261225-92000-C": (1798185600000, 92000, 1, 0.0535, 0.371, 2982.946,
                           0.32489797, -29.553143, 0.000023, 150.32834259),
    "BTC-260923-78500-P": (1790150400000, 78500, -1, 0.053, 0.419, 137.335,
                           -0.10466962, -107.75425702, 0.00006698, 11.72344402),
    "BTC-261225-92000-P": (1798185600000, 92000, -1, 0.0535, 0.371, 11946.666,
                           -0.67510203, -29.34712558, 0.00002316, 150.32834259),
    "BTC-260922-78000-C": (1790064000000, 78000, 1, 0.053, 0.496, 3828.187,
                           0.94781022, -75.38822477, 0.00005901, 5.16691258),
    "BTC-261030-54000-P": (1793347200000, 54000, -1, 0.0548, 0.601, 76.611,
                           -0.01279315, -6.90654509, 0.00000201, 8.85489859),
}  # fmt: skip


def normal(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("number", range(5))
def test_recorded_marks_are_those_of_the_forward_and_greeks_are_ours(number: int):
    """Black's formula on the decoded forward gives the venue's own mark, to its rounding."""
    name = list(RECORDED_MARKS)[number]
    expiry_ms, strike, sign, rate, iv, mark, delta, theta, gamma, vega = RECORDED_MARKS[name]
    (row,) = clean(binance, fixture(RECORDED), {name: 0}).tickers.view()
    years = (expiry_ms - 1789953404883) / YEAR_MS
    forward, root = float(row["forward"]), math.sqrt(years)
    d1 = math.log(forward / strike) / (iv * root) + iv * root / 2
    worth = math.exp(-rate * years) * sign * (
        forward * normal(sign * d1) - strike * normal(sign * (d1 - iv * root))
    )  # fmt: skip
    assert worth == pytest.approx(mark, abs=0.01)
    assert row["mark"] == mark
    # Per 1 USD, per 0.01 of volatility, per day, of one coin.
    spot = 81760.36521739
    assert row["delta"] == np.float32(delta) == pytest.approx(sign * normal(sign * d1), abs=2e-5)
    assert row["vega"] == np.float32(vega) == pytest.approx(spot * density(d1) * root / 100)
    assert (row["gamma"], row["theta"]) == (np.float32(gamma), np.float32(theta))
    if name == "BTC-260922-78000-C":
        return  # A day from its expiry and in the money, its gamma and theta are a third off.
    assert gamma == pytest.approx(density(d1) / (spot * iv * root), rel=0.02)
    decay = spot * density(d1) * iv / (2 * root) / 365
    assert -theta == pytest.approx(decay, rel=0.05)  # Without what the rate earns.


def test_forward_is_the_index_carried_to_the_expiry_in_the_name():
    (row,) = clean(binance, fixture(RECORDED), {CALL: 0}).tickers.view()
    # 81760.36521739 x e^(0.0535 x 0.26104115), 8,232,195.117 s of 31,536,000.
    assert row["forward"] == pytest.approx(82910.2168, abs=1e-4)
    at_expiry = marks(mark(E=EXPIRY_MS, rf="0.5"), mark(E=EXPIRY_MS + 60_000, rf="0.5"))
    assert (
        clean(binance, [at_expiry], {CALL: 0}).tickers.view()["forward"].tolist() == [81760.3] * 2
    )
    unsaid = mark()
    del unsaid["rf"]
    odd = marks(mark(s="ODD"), mark(s="BTC-269999-92000-C"), mark(i="0.0"), unsaid)
    ids = {CALL: 0, "ODD": 1, "BTC-269999-92000-C": 2}
    assert np.isnan(clean(binance, [odd], ids).tickers.view()["forward"]).all()


def test_recorded_volatility_of_a_bid_below_intrinsic_value_is_none():
    (row,) = clean(binance, fixture(RECORDED), {"BTC-261225-92000-P": 0}).tickers.view()
    assert np.isnan(row["iv_bid"])  # "0.00000060" on the wire
    assert row["iv_ask"] == np.float32(0.64402342)


def test_recorded_depth_is_a_window_and_book_ticker_a_quote():
    out = clean(binance, fixture(RECORDED), {"BTC-260921-81000-C": 7})
    (window,) = out.frames.view()
    assert (window["kind"], window["listing_id"], window["seq_last"], window["seq_prev"]) == (
        FrameKind.WINDOW, 7, 39895623805, -1,
    )  # fmt: skip
    rows = out.rows.view()
    book = rows[rows["kind"] == Kind.BOOK_SNAPSHOT]
    assert tuples(book[:2], "side", "price", "size", "level", "ex_ns") == [
        (1, 765.0, f32(0.05), 0, 1789953408491 * MS),
        (1, 755.0, f32(2.27), 1, 1789953408491 * MS),
    ]
    asks = book[book["side"] == -1]
    assert (asks[0]["price"], asks[0]["level"]) == (915.0, 0)
    assert book[0]["flags"] == Flag.SNAPSHOT_START
    assert book[-1]["flags"] == Flag.LAST
    quote = rows[(rows["kind"] == Kind.QUOTE) & (rows["seq"] == 39895660660)]
    assert tuples(quote, "side", "price", "size", "ex_ns") == [
        (1, 765.0, f32(2.32), 1789953422973 * MS),
        (-1, 915.0, f32(1.98), 1789953422973 * MS),
    ]


def test_samples_of_2025_decode_with_buyers_and_open_interest():
    ids = {"BTC-251219-89000-C": 0, "BTC-251218-89000-P": 1, "ETH-251219-3100-C": 2}
    out = clean(binance, fixture(SAMPLES), ids)
    rows = out.rows.view()
    trades = rows[rows["kind"] == Kind.TRADE]
    assert tuples(trades, "listing_id", "side", "price", "size") == [
        (0, 1, 1420.0, f32(1.54)), (1, -1, 600.0, f32(3.90)),
    ]  # fmt: skip
    oi = out.tickers.view()[:2]
    assert tuples(oi, "listing_id", "open_interest", "oi_ns") == [
        (0, 123.45, 1765983420500 * MS), (1, 67.89, 1765983420500 * MS),
    ]  # fmt: skip
    assert np.isnan(oi["mark"]).all()
    eth = rows[rows["listing_id"] == 2]
    assert tuples(eth, "side", "price", "size") == [
        (1, 16.6, f32(150.23)), (1, 16.4, 10.0), (-1, 18.8, 70.0), (-1, 20.6, f32(240.88)),
    ]  # fmt: skip
    assert out.skipped == {"other_channel": 1}  # the 24 h ticker


@pytest.mark.parametrize(
    "stream", ["ethusdt@openInterest@260922", "btcusdt@optionMarkPrice", "!index@arr"]
)
def test_chains_without_entries_are_counted_as_such(stream: str):
    # What the venue sends once every option of an expiry has ended.
    empty = b'{"stream":"%s","data":[]}' % stream.encode()
    out = clean(binance, [empty, empty], {})
    assert out.skipped == {"no_entries": 2}
    assert (out.rows.count, out.tickers.count) == (0, 0)


def test_frames_of_the_retired_interface_are_counted_and_give_nothing():
    frames = fixture("binance/ws_samples_tardis_legacy_nbstream_2023-10.jsonl")
    out = decoded(binance, frames, {"BTC-240927-25000-P": 0, "BTC-231001-27500-C": 1})
    assert out.rows.count == 0
    # A book of an unlisted option has today's shape, too.
    assert (out.skipped, out.error_count) == ({"other_channel": 5, "unknown_symbol": 1}, 0)
    assert out.tickers.count == 2  # its open interest had today's shape


def mark(**changes: object) -> dict[str, object]:
    return {
        "s": CALL, "mp": "2982.946", "E": 1789953404883, "e": "markPrice", "i": "81760.3",
        "P": "0.000", "bo": "3020.000", "ao": "3055.000", "bq": "2.25", "aq": "5.44",
        "b": "0.37", "a": "0.38", "hl": "5365", "ll": "600", "vo": "0.371", "rf": "0.05",
        "d": "0.3", "t": "-29.5", "g": "0.00002", "v": "150.3",
    } | changes  # fmt: skip


def marks(*entries: dict[str, object]) -> bytes:
    return frame({"stream": "btcusdt@optionMarkPrice", "data": list(entries)})


def test_what_is_missing_is_nan_in_quotes_and_volatilities_and_not_in_greeks():
    bare = mark(bo="0.000", bq="0.00", b="-1.0", ao="0", aq="3", a="-1", d="0.00000000")
    out = clean(binance, [marks(bare)], {CALL: 4})
    rows = out.rows.view()
    assert same(rows["price"], [math.nan, math.nan])
    assert same(rows["size"], [math.nan, math.nan])
    ticker = out.tickers.view()[0]
    assert np.isnan(ticker["iv_bid"])
    assert np.isnan(ticker["iv_ask"])
    assert ticker["delta"] == 0.0


def test_unlisted_options_of_a_chain_are_counted_and_the_listed_kept():
    other = "BTC-261225-95000-P"
    out = clean(binance, [marks(mark(s=other), mark(), mark(s=other))], {CALL: 4})
    assert out.skipped == {"unknown_symbol": 2}
    assert out.tickers.view()["listing_id"].tolist() == [4]


@pytest.mark.parametrize(
    "broken",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"stream":"btcusdt@optionMarkPrice"}',
        b'{"stream":"btcusdt@optionMarkPrice","data":{}}',
        marks(mark(bo="-1")), marks(mark(bo="nan")), marks(mark(mp="1e13")),
        marks(mark(E="never")), marks(mark(b="-2")), marks(mark(bo="1e400")),
        marks(mark(rf="11")), marks(mark(rf="nan")),
        b'{"result"', b'{"id":"7"}', b'{"error":5}', b'{"result":null}', b'{"stream":"!optionSymb',
        frame({"stream": "!optionSymbol", "data": {"s": CALL, "cs": "SLEEPING"}}),
        frame({"stream": "!optionSymbol", "data": [{"s": CALL, "cs": "TRADING"}]}),
        frame({"stream": "btcusdt@optionTrade", "data": {
            "T": 1, "s": CALL, "t": 1, "p": "1", "q": "1", "S": "BUY", "X": "AUCTION"}}),
        b'{"stream":"x@optionMarkPrice","data":' + b"[" * 5000 + b"]" * 5000 + b"}",
        frame({"stream": "btcusdt@optionTrade", "data": {
            "T": 1, "s": CALL, "t": 1, "p": "1", "q": "1", "S": "BOTH"}}),
        frame({"stream": "btcusdt@optionTrade", "data": {
            "T": 1, "s": CALL, "t": 1, "p": "1", "q": "0", "S": "BUY"}}),
        frame({"stream": "b@depth10@100ms", "data": {
            "T": 1, "s": CALL, "u": 5, "b": [["1", "1"], ["2", "1"]], "a": []}}),
        frame({"stream": "b@depth10@100ms", "data": {
            "T": 1, "s": CALL, "u": -5, "b": [], "a": []}}),
    ],
)  # fmt: skip
def test_broken_frame_is_counted_alone_and_leaves_no_row(broken: bytes):
    good = marks(mark())
    out = decoded(binance, [good, broken, good], {CALL: 0})
    assert out.error_count == 1
    assert out.rows.count == 4
    assert out.tickers.count == 2
    assert str(out.errors[0]).startswith("binance: ")


def test_increments_of_depth_are_not_ours_and_blocks_are_marked():
    block = {"e": "trade", "T": 9, "s": CALL, "t": 3, "p": "15", "q": "2", "X": "BLOCK",
             "S": "BUY"}  # fmt: skip
    out = clean(
        binance,
        [
            frame(
                {"stream": "b@depth@100ms", "data": {"T": 1, "s": CALL, "u": 5, "b": [], "a": []}}
            ),
            frame({"stream": "btcusdt@optionTrade", "data": block}),
            b'{"result":null,"id":7}',
        ],
        {CALL: 0},
    )
    (trade,) = out.rows.view()
    assert trade["flags"] == Flag.LAST | Flag.BLOCK
    assert trade["aux"] > 0
    assert out.skipped == {"other_channel": 1, "answer": 1}


def test_ids_of_trades_are_keys_of_their_instrument():
    def trade(symbol: str) -> bytes:
        data = {"T": 9, "s": symbol, "t": 3, "p": "15", "q": "2", "X": "MARKET", "S": "BUY"}
        return frame({"stream": "btcusdt@optionTrade", "data": data})

    put = CALL[:-1] + "P"
    out = clean(binance, [trade(CALL), trade(put), trade(CALL)], {CALL: 0, put: 1})
    assert out.trade_keys[0] == out.trade_keys[2] != out.trade_keys[1]


# Instruments


def test_instruments_give_exact_listings_and_an_index_of_each_pair():
    doge = entry("DOGE-261225-0.06-P", strikePrice="0.06000000", unit=100)
    found = binance.instruments(body(entry(), doge))
    call, put, btc, dog = found.listings
    assert (call.symbol, call.strike_e9, call.right, call.expiry_ns) == (
        CALL, 92_000 * 10**9, "C", EXPIRY_MS * MS,
    )  # fmt: skip
    assert (call.underlying, call.price_ccy, call.settle, call.tick, call.lot) == (
        "BTC", "USDT", "linear", 5.0, 0.01,
    )  # fmt: skip
    assert (put.strike_e9, put.right, put.multiplier, put.price_per) == (
        60_000_000, "P", 100.0, 100.0,
    )  # fmt: skip
    assert (btc.symbol, btc.kind, dog.symbol) == (
        "BTCUSDT/INDEX", ListingKind.INDEX, "DOGEUSDT/INDEX",
    )  # fmt: skip
    assert found.conflicts == []


def test_odd_entries_are_counted_and_contradicting_names_told():
    found = binance.instruments(
        body(
            entry(status="HALT"), entry(unit=0), entry(strikePrice="1e-12"), entry(filters=[]),
            entry(quoteAsset="EUR"), entry(side="BOTH"), entry(strikePrice="93000"),
            entry(expiryDate=EXPIRY_MS + 3_600_000), entry(),
        )
    )  # fmt: skip
    assert found.left_out == {"halt": 1, "malformed": 5}
    assert found.listings[0].strike_e9 == 93_000 * 10**9
    assert "strike_e9 93000000000000" in found.conflicts[0]
    assert f"expiry_ns {(EXPIRY_MS + 3_600_000) * MS}" in found.conflicts[1]
    assert len(found.conflicts) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b'{"optionSymbols":5}', b"\xff"])
def test_body_that_is_no_list_of_instruments_is_a_frame_error(content: bytes):
    with pytest.raises(FrameError):
        binance.instruments(content)


@pytest.mark.parametrize("file", [RECORDED, SAMPLES])
def test_names_of_recorded_frames_read_back(file: str):
    text = b"".join(fixture(file)).decode()
    names = {word for word in text.split('"') if word.count("-") == 3 and word.isupper()}
    assert names
    assert all(print_symbol(parse("binance", name)) == name for name in names)


def test_worked_example_of_units():
    # docs/venues/binance.md: a DOGE option at 2.64 for 100 coins is 0.0264 USDT a coin, and five
    # contracts are 500 coins.
    (listing, _) = binance.instruments(
        body(entry("DOGE-261225-0.06-P", strikePrice="0.06", unit=100))
    ).listings
    assert 2.64 / listing.price_per == pytest.approx(0.0264)
    assert 5 * listing.multiplier == 500


# Plan


def listings(count: int = 3):
    return binance.instruments(
        body(*(entry(f"BTC-261225-{90_000 + 1_000 * k}-C") for k in range(count)))
    ).listings


def test_plan_has_chains_on_the_market_path_and_books_on_the_public_one():
    plans = binance.subscriptions(listings(2), ChannelOptions(), binance.LIMITS)
    assert [(plan.path, plan.channels) for plan in plans] == [
        ("/market/stream", ("!index@arr", "!optionSymbol", "btcusdt@openInterest@261225",
                            "btcusdt@optionMarkPrice", "btcusdt@optionOpenInterest@261225")),
        ("/public/stream", (
            "btcusdt@optionTrade",
            "btc-261225-90000-c@depth10@100ms", "btc-261225-91000-c@depth10@100ms")),
    ]  # fmt: skip
    assert json.loads(plans[0].requests[0].text) == {
        "method": "SUBSCRIBE", "params": list(plans[0].channels), "id": 1001,
    }  # fmt: skip


def test_best_prices_are_asked_for_only_where_no_book_brings_them():
    """An option whose prices came on two streams would keep them if one connection is lost."""
    quotes = ChannelOptions(quotes=True, trades=False)
    both = binance.subscriptions(listings(2), quotes, binance.LIMITS)
    assert both[1].channels == (
        "btc-261225-90000-c@depth10@100ms", "btc-261225-91000-c@depth10@100ms"
    )  # fmt: skip
    alone = ChannelOptions(book="none", quotes=True, trades=False)
    plans = binance.subscriptions(listings(2), alone, binance.LIMITS)
    assert plans[1].channels == ("btc-261225-90000-c@bookTicker", "btc-261225-91000-c@bookTicker")
    assert [r.channels for r in binance.resync(CALL, alone, 5)] == [
        (f"{CALL.lower()}@bookTicker",)
    ] * 2


def test_an_empty_universe_asks_for_nothing():
    assert binance.subscriptions([], ChannelOptions(), binance.LIMITS) == ()


def test_plan_keeps_the_limits_and_does_not_depend_on_the_order():
    many = listings(450)
    plans = binance.subscriptions(many, ChannelOptions(), binance.LIMITS)
    assert plans == binance.subscriptions(many[::-1], ChannelOptions(), binance.LIMITS)
    assert [len(plan.channels) for plan in plans] == [5, 200, 200, 51]
    for plan in plans:
        for request in plan.requests:
            assert len(request.channels) <= 100
            assert len(request.text.encode()) <= 8192
    with pytest.raises(SessionError, match="binance: "):
        binance.subscriptions(listings(450 * 14), ChannelOptions(), binance.LIMITS)


def test_without_books_the_whole_chain_is_one_connection_and_nothing_is_resynced():
    plain = ChannelOptions(book="none", trades=False)
    plans = binance.subscriptions(listings(9), plain, binance.LIMITS)
    assert [plan.path for plan in plans] == ["/market/stream"]
    assert binance.resync(CALL, plain, 5) == ()
    asked = binance.resync(CALL, ChannelOptions(book_depth=20), 5)
    assert [(r.request_id, json.loads(r.text)["method"], r.channels) for r in asked] == [
        (5, "UNSUBSCRIBE", ("btc-261225-92000-c@depth20@100ms",)),
        (6, "SUBSCRIBE", ("btc-261225-92000-c@depth20@100ms",)),
    ]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b'{"stream":"x","data":{}}', None),
        (b'{"result":null,"id":1001}', Control(ack=(1001, None))),
        (b'{"result":["a@depth"],"id":1}', Control()),
        (b'{"error":{"code":2,"msg":"Invalid"},"id":9}', Control(refused=(9, "2 Invalid"))),
        (b'{"code":3,"msg":"Too many requests"}', Control(notice="3 Too many requests")),
        (b"rubbish", None), (b"{}", None), (b'{"e":"x"}', None),
    ],
)  # fmt: skip
def test_session_frames(content: bytes, wanted: Control | None):
    assert binance.control(content) == wanted


# The log


class Log:
    """A handler of this venue, and records for it, a nanosecond apart."""

    def __init__(self, options: ChannelOptions) -> None:
        self.names: list[str] = []
        self.at = iter(range(1_789_953_404_000 * MS, 1_789_953_405_000 * MS))
        self.handler = VenueHandler(binance, options, self.allocate, lambda _i, _at: None)

    def allocate(self, listing) -> int:
        self.names.append(listing.symbol)
        return len(self.names) - 1

    def record(self, kind: RecordType, name: str, payload: bytes, connection: int = 0) -> Record:
        return Record(next(self.at), kind, "binance", connection, name, payload)

    def instruments(self, *entries: dict[str, object]) -> Record:
        return self.record(RecordType.HTTP, "instruments:x", body(*entries), -1)

    def channels(self, name: str, connection: int, *streams: str) -> Record:
        return self.record(RecordType.SUBSCRIPTION, name, frame(streams), connection)

    def frame(self, payload: bytes, connection: int = 0) -> Record:
        return self.record(RecordType.FRAME, "", payload, connection)

    def close(self, connection: int) -> Record:
        return self.record(RecordType.CONNECTION, "close", b"", connection)


def depth(symbol: str, last: int = 5, bids=(("1", "1"),), asks=(("2", "1"),)) -> bytes:
    data = {"T": 1, "s": symbol, "u": last, "b": bids, "a": asks}
    return frame({"stream": f"{symbol.lower()}@depth10@100ms", "data": data})


def test_chain_that_loses_its_connection_is_unknown_but_for_books_of_their_own():
    other = "BTC-261225-95000-C"
    log = Log(ChannelOptions())
    out = log.handler.consume([
        log.instruments(entry(), entry(other)),
        log.channels("accepted", 0, "btcusdt@optionMarkPrice"),
        log.channels("accepted", 1, f"{other.lower()}@depth10@100ms"),
        log.frame(marks(mark(), mark(s=other))),
        log.frame(depth(other), 1),
        log.close(0),
    ])  # fmt: skip
    assert log.names[:2] == [CALL, other]
    cleared = out.rows[out.rows["kind"] == Kind.CLEAR]
    assert cleared["listing_id"].tolist() == [0]
    # A connection of the same number that carries nothing yet takes nothing with it.
    assert len(log.handler.consume([log.close(0)]).rows) == 0
    out = log.handler.consume([
        log.channels("subscribe", 0, "btcusdt@optionMarkPrice"),
        log.record(RecordType.TIMER, "first_data", b"btcusdt@optionMarkPrice", 0),
    ])  # fmt: skip
    assert out.rows["kind"].tolist() == [Kind.CLEAR]
    out = log.handler.consume([log.channels("missing", 0, "btcusdt@optionMarkPrice")])
    assert out.rows["kind"].tolist() == [Kind.CLEAR]


def test_a_book_that_never_came_leaves_its_option_to_the_chain():
    """The venue accepts any stream without a word, so that being accepted proves no book."""
    log = Log(ChannelOptions())
    out = log.handler.consume([
        log.instruments(entry()),
        log.channels("accepted", 0, "btcusdt@optionMarkPrice"),
        log.channels("accepted", 1, f"{CALL.lower()}@depth10@100ms"),
        log.frame(marks(mark())),
        log.close(0),
    ])  # fmt: skip
    assert out.rows["kind"].tolist() == [Kind.QUOTE, Kind.QUOTE, Kind.CLEAR]


def test_a_window_replaces_the_book_an_older_one_is_dropped_and_an_empty_one_is_known():
    log = Log(ChannelOptions())
    out = log.handler.consume([
        log.instruments(entry()),
        log.channels("accepted", 1, f"{CALL.lower()}@depth10@100ms"),
        log.frame(depth(CALL, 7), 1),
        log.frame(depth(CALL, 6, bids=[["3", "9"]]), 1),
        log.frame(depth(CALL, 7, bids=[["4", "2"]], asks=[["3", "1"]]), 1),  # crossed
        log.frame(depth(CALL, 8, bids=[], asks=[["2", "5"]]), 1),
        log.frame(depth(CALL, 9, bids=[], asks=[]), 1),
        log.close(1),
        log.frame(depth(CALL, 2), 1),  # the next connection may count anew
    ])  # fmt: skip
    assert (out.counts["duplicates"], out.counts["gaps"], out.resync) == (1, 0, [])
    assert tuples(out.rows[:5], "side", "price", "size") == [
        (1, 1.0, 1.0), (-1, 2.0, 1.0), (1, 4.0, 2.0), (-1, 3.0, 1.0), (-1, 2.0, 5.0),
    ]  # fmt: skip
    empty, cleared, bid, _ = out.rows[5:]
    assert (empty["kind"], empty["flags"], empty["side"]) == (
        Kind.BOOK_SNAPSHOT, Flag.SNAPSHOT_START | Flag.LAST, 0,
    )  # fmt: skip
    assert np.isnan(empty["price"])
    assert cleared["kind"] == Kind.CLEAR
    assert (bid["price"], bid["seq"]) == (1.0, 2)


def test_a_notice_of_a_new_option_asks_for_discovery():
    log = Log(ChannelOptions())
    new = CALL.replace("92000", "96000")
    notices = [
        frame({"stream": "!optionSymbol", "data": {
            "e": "optionSymbol", "E": 1, "s": name, "ps": "BTCUSDT", "qa": "USDT", "d": "CALL",
            "sp": "96000", "dt": EXPIRY_MS, "u": 1, "cs": "TRADING"}})
        for name in (CALL, new)
    ]  # fmt: skip
    out = log.handler.consume([log.instruments(entry()), *map(log.frame, notices)])
    assert out.discover == [new]
    assert tuples(out.rows, "kind", "level") == [(Kind.STATE_CHANGE, ListingState.LIVE)]
