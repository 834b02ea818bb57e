"""Bybit's instruments, subscription plan, session frames, and whole logs through the handler."""

import dataclasses
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.channels import ChannelLedger, Order
from feeds.contract import Contract, Listing, ListingKind
from feeds.errors import FrameError, SessionError, SymbolError
from feeds.events import Flag, Kind
from feeds.grammar import parse, print_symbol
from feeds.handler import HandlerOut, VenueHandler
from feeds.record import Record, RecordType
from feeds.venue import ChannelOptions, Control, HttpRequest, Pinger, Unsubscriber
from feeds.venues import bybit
from tests.conftest import shared
from tests.feeds.bybit_frames import (
    CALL,
    INDEX,
    PERP,
    PUT,
    SAMPLES,
    body,
    book,
    entry,
    frame,
    perpetual,
    recorded,
    ticker,
    trade,
    trades,
    tuples,
)

BYTEX = "ws_rest_bytex_2026-09-26.jsonl"
EXPIRY_NS = 1_813_910_400_000_000_000  # 2027-06-25 08:00 UTC


# ---- instruments ------------------------------------------------------------------------------


def test_recorded_options_take_their_strikes_from_their_names():
    found = bybit.instruments(recorded(BYTEX, "http")[0])
    assert (found.left_out, found.conflicts, found.following) == ({}, [], None)
    put, call, ripple = found.listings
    assert put == Listing(
        venue="bybit",
        symbol=PUT,
        kind=ListingKind.OPTION,
        underlying="BTC",
        multiplier=1.0,
        price_ccy="USDT",
        settle="linear",
        tick=5.0,
        expiry_ns=EXPIRY_NS,
        strike_e9=106_000_000_000_000,
        right="P",
        style="european",
        lot=0.01,
        settle_window_s=1800.0,
    )
    assert call.right == "C"
    assert ripple.contract == Contract("XRP", 1_793_347_200_000_000_000, 400_000_000, "P")
    assert (ripple.tick, ripple.lot) == (0.0001, 10.0)


def test_every_recorded_symbol_reads_and_prints_back():
    symbols = set()
    for path in shared("fixtures/bybit").iterdir():
        for word in path.read_text().replace('"', " ").replace(".", " .").split():
            name = word.lstrip(".")
            if name.count("-") in (3, 4) and ("-C" in name or "-P" in name):
                symbols.add(name)
    texts = [json.loads(f) for f in recorded("ws_samples_tardis_2023-04.jsonl") + recorded(BYTEX)]
    topics = {t["topic"] for t in texts} | {"tickers.XRP-30OCT26-0.4-P-USDT"}
    symbols |= {s for t in topics if (s := bybit.symbol_of_channel(t)) is not None}
    assert {CALL, PUT, "SOL-28APR23-30-C", "BTC-28APR23-29500-C"} <= symbols
    for symbol in symbols:
        try:
            parsed = parse("bybit", symbol)
        except SymbolError:  # message ids end in numbers
            assert symbol.rsplit("-", 1)[1].isdecimal()
        else:
            assert print_symbol(parsed) == symbol


def test_a_perpetual_brings_its_index_and_a_future_its_expiry():
    found = bybit.instruments(
        body(
            perpetual(),
            perpetual("BTCPERP", settleCoin="USDC", quoteCoin="USD"),
            perpetual("BTC-26JUN27", contractType="LinearFutures", deliveryTime="1813996800000"),
            perpetual("BTCUSD", contractType="InversePerpetual", settleCoin="BTC"),
            category="linear",
        )
    )
    perp, usdc, future, index, usdc_index = found.listings
    assert (perp.kind, perp.expiry_ns, perp.settle_window_s) == (ListingKind.PERP, None, None)
    assert (perp.underlying, perp.price_ccy, perp.tick, perp.lot) == ("BTC", "USDT", 0.1, 0.001)
    assert (usdc.price_ccy, usdc.settle) == ("USDC", "linear")
    assert (future.kind, future.expiry_ns) == (ListingKind.FUTURE, 1_813_996_800_000_000_000)
    assert (index.symbol, index.kind, index.price_ccy) == (INDEX, ListingKind.INDEX, "USDT")
    assert usdc_index.symbol == "BTCPERP/INDEX"
    assert found.left_out == {"InversePerpetual": 1}


def test_older_options_without_a_suffix_are_quoted_in_the_coin_they_settle_in():
    found = bybit.instruments(body(entry("BTC-25JUN27-106000-C", quoteCoin="USD",
                                         settleCoin="USDC", optionsType="Call")))  # fmt: skip
    assert (found.listings[0].price_ccy, found.conflicts) == ("USDC", [])


@pytest.mark.parametrize(
    "changes",
    [
        {"optionsType": "Put"},
        {"baseCoin": "ETH"},
        {"settleCoin": "USDC"},
        {"deliveryTime": "1813996800000"},
    ],
)
def test_a_name_that_contradicts_the_fields_is_reported(changes):
    found = bybit.instruments(body(entry(**changes), entry()))
    assert len(found.listings) == 2
    (conflict,) = found.conflicts
    assert conflict.startswith(f"bybit {CALL}: fields say ")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"symbol": "BTC-25JUN27-C"}, "malformed"),
        ({"symbol": 5}, "malformed"),
        ({"optionsType": None}, "malformed"),
        ({"optionsType": "Straddle"}, "malformed"),
        ({"deliveryTime": "soon"}, "malformed"),
        ({"deliveryTime": "0"}, "malformed"),
        ({"deliveryTime": str(2**53)}, "malformed"),
        ({"priceFilter": {"tickSize": "0"}}, "malformed"),
        ({"lotSizeFilter": {}}, "malformed"),
        ({"status": "PreLaunch"}, "prelaunch"),
        ({"status": "Delivering"}, "delivering"),
    ],
)
def test_an_instrument_that_cannot_be_listed_is_left_out_alone(changes, reason):
    found = bybit.instruments(body(entry() | changes, entry(PUT)))
    assert [one.symbol for one in found.listings] == [PUT]
    assert found.left_out == {reason: 1}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"retCode":0,"result":{}}',
        b'{"retCode":0}',
        b'{"retCode":10001,"retMsg":"params error","result":{}}',
        body(category="inverse"),
        body({}, cursor="more"),
    ],
)
def test_a_body_that_lists_nothing_is_refused(bad):
    with pytest.raises(FrameError, match="bybit instruments-info: "):
        bybit.instruments(bad)


def test_pages_follow_their_cursor_with_the_coin_of_the_page():
    cursor = "first%3DBTC%26last%3D9"
    found = bybit.instruments(body(entry(), cursor=cursor))
    assert found.following == HttpRequest(
        "instruments BTC option",
        "/v5/market/instruments-info?category=option&baseCoin=BTC&limit=1000"
        "&cursor=first%3DBTC%26last%3D9",
    )
    linear = bybit.instruments(body(perpetual(baseCoin="SOL"), category="linear", cursor="a&b c"))
    assert linear.following is not None
    assert linear.following.path.endswith(
        "?category=linear&baseCoin=SOL&limit=1000&cursor=a%26b%20c"
    )
    assert bybit.instruments(body(entry())).following is None
    assert bybit.instruments(body(cursor=cursor)).following is None  # an empty page is the last


def test_discovery_asks_for_options_and_linear_contracts_of_each_coin_once():
    requests = bybit.discovery(["SOL", "BTC", "SOL"])
    assert [r.purpose for r in requests] == [
        "instruments SOL option",
        "instruments SOL linear",
        "instruments BTC option",
        "instruments BTC linear",
        "instruments spot",
    ]
    assert requests[-1].path == "/v5/market/instruments-info?category=spot"
    assert requests[0].path == (
        "/v5/market/instruments-info?category=option&baseCoin=SOL&limit=1000"
    )
    coins = {r.purpose.split()[1] for r in bybit.discovery([])[:-1]}
    assert coins == {"BTC", "ETH", "SOL", "XRP"}


# ---- subscription plan ------------------------------------------------------------------------


def listings() -> list[Listing]:
    options = bybit.instruments(body(entry(), entry(PUT))).listings
    return options + bybit.instruments(body(perpetual(), category="linear")).listings


def channels(options: ChannelOptions) -> list[tuple[str, tuple[str, ...]]]:
    plans = bybit.subscriptions(listings(), options, bybit.LIMITS)
    assert [plan.connection for plan in plans] == list(range(len(plans)))
    return [(plan.path, plan.channels) for plan in plans]


def test_plan_has_trades_first_then_tickers_then_books_on_two_paths():
    assert channels(ChannelOptions()) == [
        (
            "/option",
            (
                "publicTrade.BTC",
                f"tickers.{CALL}",
                f"tickers.{PUT}",
                f"orderbook.25.{CALL}",
                f"orderbook.25.{PUT}",
            ),
        ),
        ("/linear", ("publicTrade.BTCUSDT", "tickers.BTCUSDT", "orderbook.50.BTCUSDT")),
    ]


def test_plan_without_books_takes_quotes_where_they_are():
    options = ChannelOptions(book="none", quotes=True, tickers=False, trades=False, marks=False,
                             index=False)  # fmt: skip
    assert channels(options) == [
        ("/option", (f"tickers.{CALL}", f"tickers.{PUT}")),
        ("/linear", ("orderbook.1.BTCUSDT",)),
    ]
    alone = dataclasses.replace(options, quotes=False, index=True)
    assert channels(alone) == [("/linear", ("tickers.BTCUSDT",))]
    marks = dataclasses.replace(options, quotes=False, marks=True)
    assert channels(marks) == [("/option", (f"tickers.{CALL}", f"tickers.{PUT}"))]


def test_a_deep_book_and_a_window_take_the_deep_channel_and_the_changes():
    options = ChannelOptions(book="window", book_depth=60, tickers=False, trades=False,
                             marks=False, index=False)  # fmt: skip
    assert channels(options) == [
        ("/option", (f"orderbook.100.{CALL}", f"orderbook.100.{PUT}")),
        ("/linear", ("orderbook.200.BTCUSDT",)),
    ]


def test_request_texts():
    (plan, _) = bybit.subscriptions(listings()[:1] + listings()[2:], ChannelOptions(), bybit.LIMITS)
    (request,) = plan.requests
    assert json.loads(request.text) == {
        "req_id": "1001",
        "op": "subscribe",
        "args": ["publicTrade.BTC", f"tickers.{CALL}", f"orderbook.25.{CALL}"],
    }
    first, second = bybit.resync(CALL, ChannelOptions(), 7)
    assert json.loads(first.text) == {
        "req_id": "7", "op": "unsubscribe", "args": [f"orderbook.25.{CALL}"],
    }  # fmt: skip
    assert json.loads(second.text) == {
        "req_id": "8", "op": "subscribe", "args": [f"orderbook.25.{CALL}"],
    }  # fmt: skip


def test_resync_asks_for_what_brings_the_best_prices():
    none = ChannelOptions(book="none")
    assert bybit.resync(CALL, none, 1)[1].channels == (f"tickers.{CALL}",)
    assert bybit.resync(PERP, none, 1) == ()
    quotes = ChannelOptions(book="none", quotes=True)
    assert bybit.resync(PERP, quotes, 1)[1].channels == ("orderbook.1.BTCUSDT",)
    assert bybit.resync(PERP, ChannelOptions(), 1)[1].channels == ("orderbook.50.BTCUSDT",)
    nothing = ChannelOptions(book="none", tickers=False, marks=False)
    assert bybit.resync(CALL, nothing, 1) == ()


def many(count: int) -> list[Listing]:
    """Options with the longest names that the venue has."""
    model = bybit.instruments(body(entry())).listings[0]
    return [
        dataclasses.replace(model, symbol=f"DOGE-25JUN27-0.{10000 + n}-C-USDT", underlying="DOGE")
        for n in range(count)
    ]


def test_plan_stays_within_the_limits_with_the_longest_names():
    plans = bybit.subscriptions(many(1000), ChannelOptions(book_depth=100), bybit.LIMITS)
    assert [len(plan.channels) for plan in plans] == [450, 450, 450, 450, 201]
    assert [plan.connection for plan in plans] == [0, 1, 2, 3, 4]
    for plan in plans:
        args = [json.loads(request.text)["args"] for request in plan.requests]
        assert sum(len(json.dumps(part, separators=(",", ":"))) for part in args) < 21_000
        assert all(len(r.text.encode()) <= 20_900 for r in plan.requests)
        back = bybit.unsubscribe(plan.channels, bybit.LIMITS, 9)
        assert [r.channels for r in back] == [r.channels for r in plan.requests]


def test_more_than_the_venue_allows_is_refused():
    limits = dataclasses.replace(bybit.LIMITS, connections_max=4)
    with pytest.raises(SessionError, match="need 5 connections, expected at most 4"):
        bybit.subscriptions(many(1000), ChannelOptions(), limits)


@given(st.permutations(range(4)))
def test_plan_does_not_depend_on_the_order_of_listings(order):
    some = listings()
    expected = bybit.subscriptions(some, ChannelOptions(quotes=True), bybit.LIMITS)
    shuffled = [some[k] for k in order]
    assert bybit.subscriptions(shuffled, ChannelOptions(quotes=True), bybit.LIMITS) == expected


def test_nothing_is_asked_for_an_empty_universe():
    assert bybit.subscriptions([], ChannelOptions(), bybit.LIMITS) == ()


def test_every_channel_names_its_symbol_and_what_it_owes():
    plans = bybit.subscriptions(listings(), ChannelOptions(quotes=True), bybit.LIMITS)
    named = {c: bybit.symbol_of_channel(c) for plan in plans for c in plan.channels}
    assert named.pop("publicTrade.BTC") is None
    assert set(named.values()) == {CALL, PUT, PERP}
    assert [bybit.owes_first_frame(c) for c in (f"orderbook.25.{CALL}", "publicTrade.BTCUSDT")] == [
        True,
        False,
    ]
    assert bybit.symbol_of_channel("kline.1.BTCUSDT") is None


# ---- session frames ---------------------------------------------------------------------------


def test_the_module_offers_what_a_session_looks_for():
    assert isinstance(bybit, Pinger)
    assert isinstance(bybit, Unsubscriber)
    assert json.loads(bybit.ping()) == {"op": "ping"}
    assert bybit.LIMITS.ping_s == 20.0
    assert bybit.hello() == ()


def answer(**fields: Any) -> Control | None:
    return bybit.control(frame({"conn_id": "x"} | fields))


def test_option_socket_answers_by_name():
    data = {"failTopics": ["tickers.X"], "successTopics": ["publicTrade.BTC"]}
    assert answer(success=True, data=data, type="COMMAND_RESP") == Control(
        accepted=("publicTrade.BTC",), denied=("tickers.X",)
    )


def test_linear_socket_answers_by_request():
    assert answer(success=True, ret_msg="", req_id="1001", op="subscribe") == Control(
        ack=(1001, None)
    )
    words = "error:handler not found,topic:tickers.X"
    assert answer(success=False, ret_msg=words, req_id="1001", op="subscribe") == Control(
        refused=(1001, words)
    )
    assert answer(success=False, ret_msg="no", req_id="", op="subscribe") == Control(notice="no")
    assert answer(success=True, ret_msg="", op="auth") == Control()


@pytest.mark.parametrize(
    "pong",
    [
        {"success": True, "ret_msg": "pong", "conn_id": "x", "req_id": "", "op": "ping"},
        {"args": ["1672916271846"], "op": "pong"},
    ],
)
def test_pongs_are_signs_of_life_alone(pong):
    assert bybit.control(frame(pong)) == Control()


@pytest.mark.parametrize(
    "content",
    [
        *SAMPLES[:7],
        b'{"id": "1", "topic": "tickers.X", "data": {}}',
        b"",
        b"\xff",
        b"[1]",
        b"[" * 5000,
        b'{"op":"dance"}',
        b'{"success":true,"type":"COMMAND_RESP","data":{"failTopics":5}}',
    ],
)
def test_market_data_and_rubbish_are_no_session_frames(content):
    assert bybit.control(content) is None


def test_named_answers_settle_the_request_they_belong_to():
    (plan, _) = bybit.subscriptions(listings(), ChannelOptions(), bybit.LIMITS)
    ledger = ChannelLedger(bybit)
    for request in plan.requests:
        ledger.carry(request)
    for order in ledger.opened():
        ledger.sent(order)
    assert ledger.awaiting.keys() == {c.encode() for c in plan.channels[1:]}
    ledger.heard(book("snapshot", 5))  # may come before the answer
    assert f"orderbook.25.{CALL}".encode() not in ledger.awaiting
    data = {"failTopics": [f"tickers.{PUT}"], "successTopics": list(plan.channels[:2])}
    control = answer(success=True, data=data, type="COMMAND_RESP")
    assert control is not None
    assert ledger.named(control.accepted, control.denied, 10) == []
    (settled,) = ledger.named(plan.channels[3:], (), 10)
    assert settled.order == Order(plan.requests[0])
    assert settled.missing == (f"tickers.{PUT}",)


# ---- whole logs -------------------------------------------------------------------------------

START_NS = 1_790_000_000 * 10**9
BOOK = f"orderbook.25.{CALL}"


class Log:
    """Records of the venue, 1 ms apart: a listed option (0), a perpetual (1), its index (2)."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        for page in (body(entry()), body(perpetual(), category="linear")):
            self.add(RecordType.HTTP, "instruments:instruments BTC option", page, -1)
        self.subscription("subscribe", BOOK, f"tickers.{CALL}", "publicTrade.BTC")
        self.subscription("accepted", BOOK)

    def add(self, kind: RecordType, name: str, payload: bytes, connection: int = 0) -> "Log":
        at = START_NS + len(self.records) * 1_000_000
        self.records.append(Record(at, kind, "bybit", connection, name, payload))
        return self

    def subscription(self, name: str, *channels: str) -> "Log":
        return self.add(RecordType.SUBSCRIPTION, name, json.dumps(channels).encode())

    def frames(self, *frames: bytes) -> "Log":
        for content in frames:
            self.add(RecordType.FRAME, "", content)
        return self


def consumed(log: Log, cut: int = 0) -> HandlerOut:
    """Run a log through a handler, whole or in two calls that must say the same."""
    numbers = itertools.count()
    handler = VenueHandler(
        bybit, ChannelOptions(), lambda _: next(numbers), lambda *_: None, underlyings={"BTC"}
    )
    if cut:
        handler.consume(log.records[:cut])
        return handler.consume(log.records[cut:])
    return handler.consume(log.records)


def test_log_of_a_gap_and_its_mending():
    log = Log().frames(
        book("snapshot", 10, [["20", "1"]], [["30", "1"]]),
        book("delta", 11, [["20", "2"]]),
        book("delta", 13, [["20", "9"]]),  # 12 is lost
        book("delta", 14, [["20", "8"]]),
        trades(trade()),
    )
    out = consumed(log)
    assert out.resync == [CALL]
    fields = ("kind", "listing_id", "side", "price", "size", "rx_ns")
    told = tuples(out.rows, *fields)
    assert told[:3] == [
        (Kind.BOOK_SNAPSHOT, 0, 1, 20.0, 1.0, START_NS + 4_000_000),
        (Kind.BOOK_SNAPSHOT, 0, -1, 30.0, 1.0, START_NS + 4_000_000),
        (Kind.BOOK_DELTA, 0, 1, 20.0, 2.0, START_NS + 5_000_000),
    ]
    assert (told[3][0], told[3][1], told[3][5]) == (Kind.CLEAR, 0, START_NS + 6_000_000)
    assert [row[0] for row in told[4:]] == [Kind.TRADE]
    assert (out.counts["gaps"], out.counts["rejected"]) == (1, 2)

    log.subscription("unsubscribe", BOOK).frames(book("delta", 15, [["20", "7"]]))
    log.subscription("subscribe", BOOK)
    log.frames(book("snapshot", 16, [["21", "5"]]), book("delta", 17, [["21", "6"]]))
    mended = consumed(log).rows[len(out.rows) :]
    assert tuples(mended, "kind", "price", "size") == [
        (Kind.BOOK_SNAPSHOT, 21.0, 5.0),
        (Kind.BOOK_DELTA, 21.0, 6.0),
    ]
    assert consumed(log).counts["resyncs"] == 1
    for cut in range(4, len(log.records)):
        assert consumed(log, cut).rows.tobytes() in consumed(log).rows.tobytes()


def test_log_of_copies_and_of_changes_out_of_order():
    start = book("snapshot", 10, [["20", "1"]])
    out = consumed(Log().frames(start, book("delta", 11), book("delta", 11), book("delta", 12)))
    assert (out.counts["duplicates"], out.counts["gaps"], out.resync) == (1, 0, [])
    out = consumed(Log().frames(start, book("delta", 12), book("delta", 11)))
    assert (out.counts["gaps"], out.resync) == (1, [CALL])


def test_log_of_a_restart_of_the_venue_goes_on_without_a_gap():
    log = Log().frames(
        book("snapshot", 90_000, [["20", "1"]]),
        book("snapshot", 1, [["22", "3"]]),
        book("delta", 2, [["22", "4"]]),
    )
    out = consumed(log)
    assert (out.counts["gaps"], out.resync) == (0, [])
    assert tuples(out.rows, "kind", "price", "size", "flags")[1:] == [
        (Kind.BOOK_SNAPSHOT, 22.0, 3.0, Flag.SNAPSHOT_START | Flag.LAST),
        (Kind.BOOK_DELTA, 22.0, 4.0, Flag.LAST),
    ]


def test_log_of_an_older_snapshot_with_another_number_is_in_doubt():
    log = Log().frames(book("snapshot", 90, [["20", "1"]]), book("snapshot", 80, [["22", "3"]]))
    out = consumed(log)
    assert out.resync == [CALL]
    assert out.rows["kind"].tolist() == [Kind.BOOK_SNAPSHOT, Kind.CLEAR]


def test_log_of_an_empty_book_and_its_first_order():
    out = consumed(Log().frames(book("snapshot", 0), book("delta", 1, [["20", "2"]])))
    assert tuples(out.rows, "kind", "side", "size") == [
        (Kind.BOOK_SNAPSHOT, 0, 0.0),
        (Kind.BOOK_DELTA, 1, 2.0),
    ]
    assert out.counts["gaps"] == 0


@pytest.mark.parametrize("update", [0, 1, 2, 50])
def test_no_change_stands_on_a_book_that_nobody_sent(update):
    out = consumed(Log().frames(book("delta", update, [["20", "2"]])))
    assert len(out.rows) == 0
    assert out.counts["rejected"] == 1


def test_log_of_quotes_tickers_and_a_trade_sent_twice():
    quoted = {"bidPrice": "20", "bidSize": "1", "askPrice": "30", "askSize": "2"}
    log = Log().frames(ticker(**quoted, markPrice="25"), trades(trade()), trades(trade()))
    log.frames(ticker(PERP, markPrice="81000", indexPrice="81001"))
    out = consumed(log)
    assert out.rows["kind"].tolist() == [Kind.QUOTE, Kind.QUOTE, Kind.TRADE]
    assert out.counts["duplicate_trades"] == 1
    assert tuples(out.tickers, "listing_id", "mark") == [(0, 25.0), (1, 81000.0), (2, 81001.0)]


def test_log_of_a_lost_connection_clears_the_books_it_carried():
    log = Log().frames(book("snapshot", 10, [["20", "1"]]))
    out = consumed(log.add(RecordType.CONNECTION, "close", b"gone"))
    assert out.rows["kind"].tolist() == [Kind.BOOK_SNAPSHOT, Kind.CLEAR]
