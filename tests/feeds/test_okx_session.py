"""OKX's instruments, subscription plan and session frames; expected values typed in by hand."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.channels import ChannelLedger, Order, Purpose
from feeds.contract import Contract, Listing, ListingKind
from feeds.errors import FrameError, SessionError
from feeds.venue import ChannelNamer, ChannelOptions, HttpRequest, Pinger, Unsubscriber
from feeds.venues import okx
from tests.conftest import shared
from tests.feeds.okx_frames import (
    EXPIRY_MS,
    FOLDER,
    OPTION,
    PERP,
    PUT,
    RECORDED,
    STREAM,
    SWAP,
    TARDIS,
    TARDIS_2023,
    body,
    book,
    entry,
    of_channel,
    recorded,
)

LINEAR_SWAP = entry(
    "BTC-USDT-SWAP", instType="SWAP", uly="BTC-USDT", instFamily="BTC-USDT", settleCcy="USDT",
    ctVal="0.01", ctMult="1", ctType="linear", optType="", stk="", expTime="", tickSz="0.1",
)  # fmt: skip
FUTURES = entry(
    "BTC-USD-260925", instType="FUTURES", ctVal="100", ctMult="1", ctValCcy="USD",
    ctType="inverse", optType="", stk="", tickSz="0.1",
)  # fmt: skip


def listings(*entries: Any) -> dict[str, Listing]:
    found = okx.instruments(body(*entries))
    assert (found.left_out, found.conflicts) == ({}, [])
    return {listing.symbol: listing for listing in found.listings}


# ---- instruments ------------------------------------------------------------------------------


def test_recorded_option_of_2022():
    found = okx.instruments(
        shared(FOLDER + "rest_instruments_OPTION_BTC-USD_2022-05-13.json").read_bytes()
    )
    assert (len(found.listings), found.left_out, found.conflicts) == (347, {}, [])
    assert found.listings[0] == Listing(
        venue="okx",
        symbol="BTC-USD-220514-22000-C",
        kind=ListingKind.OPTION,
        underlying="BTC",
        multiplier=0.1,
        price_ccy="BTC",
        settle="inverse",
        tick=0.0005,
        expiry_ns=1652515200_000_000_000,
        strike_e9=22_000_000_000_000,
        right="C",
        style="european",
        lot=1.0,
        settle_window_s=1800.0,
    )
    assert found.listings[-1] == Listing(
        "okx", "BTC-USD/INDEX", ListingKind.INDEX, "BTC", 1.0, "USD", "linear", 0.01
    )
    last = found.listings[-2]
    assert (last.symbol, last.right) == ("BTC-USD-220930-120000-P", "P")
    assert last.contract == Contract("BTC", 1664524800_000_000_000, 120_000 * 10**9, "P")


def test_multiplier_is_the_one_of_the_body():
    ether = "rest_instruments_OPTION_ETH-USD_2022-05-13.json"
    later = "nautilus_http_get_instruments_option.json"
    of_2022 = okx.instruments(shared(FOLDER + ether).read_bytes()).listings[0]
    of_2024 = okx.instruments(shared(FOLDER + later).read_bytes()).listings[0]
    assert (of_2022.symbol, of_2022.multiplier) == ("ETH-USD-220514-1300-C", 1.0)
    assert (of_2024.symbol, of_2024.multiplier) == ("BTC-USD-241217-92000-C", 0.01)
    # 0.1 x 0.1 is 0.01, not the 0.010000000000000002 of floats.
    assert listings(entry(ctVal="0.1", ctMult="0.1"))[OPTION].multiplier == 0.01


def test_perpetuals_and_futures():
    found = listings(SWAP, LINEAR_SWAP, FUTURES)
    inverse, linear, future = found[PERP], found["BTC-USDT-SWAP"], found["BTC-USD-260925"]
    assert inverse == Listing(
        "okx", PERP, ListingKind.PERP, "BTC", 100.0, "USD", "inverse", 0.1, lot=1.0
    )
    assert linear == Listing(
        "okx", "BTC-USDT-SWAP", ListingKind.PERP, "BTC", 0.01, "USDT", "linear", 0.1, lot=1.0
    )
    assert (future.kind, future.expiry_ns) == (ListingKind.FUTURE, EXPIRY_MS * 10**6)
    assert (future.multiplier, future.price_ccy, future.settle) == (100.0, "USD", "inverse")
    assert [s for s in found if s.endswith("/INDEX")] == ["BTC-USD/INDEX", "BTC-USDT/INDEX"]


# An answer of the venue that others published, shortened by its limits of orders.
SPOT = {
    "alias": "", "baseCcy": "BTC", "category": "1", "contTdSwTime": "1704876947000", "ctMult": "",
    "ctType": "", "ctVal": "", "ctValCcy": "", "expTime": "", "groupId": "1", "instFamily": "",
    "instId": "BTC-USDT", "instType": "SPOT", "lever": "10", "listTime": "1606468572000",
    "lotSz": "0.00000001", "minSz": "0.00001", "optType": "", "openType": "call_auction",
    "preMktSwTime": "", "quoteCcy": "USDT", "settleCcy": "", "state": "live", "stk": "",
    "tickSz": "0.1", "uly": "",
}  # fmt: skip


def test_a_spot_is_sized_in_coins_has_no_end_and_brings_no_index():
    assert okx.instruments(body(SPOT)).listings == [
        Listing(
            "okx", "BTC-USDT", ListingKind.SPOT, "BTC", 1.0, "USDT", "linear", 0.1, lot=1e-8
        )
    ]  # fmt: skip


def test_spots_in_dollars_are_kept_beside_the_index_of_their_name():
    pairs = [
        SPOT | {"instId": f"BTC-{quote}", "quoteCcy": quote}
        for quote in ("USD", "USDC", "USDT", "EUR", "BRL")
    ]
    found = okx.instruments(body(entry(), *pairs))
    assert [one.symbol for one in found.listings] == [
        OPTION, "BTC-USD", "BTC-USDC", "BTC-USDT", "BTC-USD/INDEX",
    ]  # fmt: skip
    assert found.left_out == {"other_quote": 2}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "test"}, "test"),
        ({"ruleType": "pre_market"}, "pre_market"),
        ({"baseCcy": ""}, "malformed"),
        ({"tickSz": ""}, "malformed"),
        ({"state": "preopen", "lotSz": ""}, "preopen"),
    ],
)
def test_a_spot_that_cannot_be_one_is_left_out(changes, reason):
    found = okx.instruments(body(SPOT | changes))
    assert (found.listings, found.left_out) == ([], {reason: 1})


def test_a_perpetual_that_will_be_delisted_is_still_one():
    assert listings(SWAP | {"expTime": str(EXPIRY_MS)})[PERP].expiry_ns is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instType": "MARGIN"}, "MARGIN"),
        ({"instType": "SPOT"}, "other_quote"),
        ({"instType": "EVENTS"}, "EVENTS"),
        ({"instType": ""}, "no_type"),
        ({"state": "test"}, "test"),
        ({"ruleType": "pre_market"}, "pre_market"),
        ({"instFamily": "BTC-USD_UM"}, "other_family"),
        ({"settleCcy": "USDC"}, "linear_option"),
        ({"state": "preopen", "ctVal": "", "tickSz": ""}, "preopen"),
        ({"stk": ""}, "malformed"),
        ({"stk": 100000}, "malformed"),
        ({"stk": "1e-10"}, "malformed"),
        ({"stk": "0"}, "malformed"),
        ({"optType": ""}, "malformed"),
        ({"expTime": ""}, "malformed"),
        ({"expTime": "9300000000000"}, "malformed"),
        ({"expTime": "soon"}, "malformed"),
        ({"ctVal": ""}, "malformed"),
        ({"ctMult": "0"}, "malformed"),
        ({"ctValCcy": "USD"}, "malformed"),
        ({"tickSz": "0"}, "malformed"),
        ({"instId": None}, "malformed"),
    ],
)
def test_an_instrument_that_is_none_of_ours_is_left_out_alone(changes, reason):
    found = okx.instruments(body(entry() | changes, entry(PUT)))
    assert [listing.symbol for listing in found.listings] == [PUT, "BTC-USD/INDEX"]
    assert (found.left_out, found.conflicts) == ({reason: 1}, [])


def test_a_future_without_expiry_and_a_swap_without_type_are_left_out():
    found = okx.instruments(body(FUTURES | {"expTime": ""}, SWAP | {"ctType": ""}, "text", [1]))
    assert (found.listings, found.left_out) == ([], {"malformed": 4})


def test_strikes_are_read_from_their_digits():
    (option, _) = listings(entry("BTC-USD-260925-0.45-C", stk="0.45")).values()
    assert option.strike_e9 == 450_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"stk": "90000"},
        {"optType": "P"},
        {"expTime": str(EXPIRY_MS + 86_400_000)},
        {"instId": "BTC-100000"},
    ],
)
def test_fields_are_trusted_over_a_name_that_contradicts_them(changes):
    found = okx.instruments(body(entry() | changes))
    option = found.listings[0]
    assert found.conflicts == [f"okx {option.symbol}: fields say {option.contract}"]
    assert option.strike_e9 == int((entry() | changes)["stk"]) * 10**9


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"code":"0"}',
        b'{"code":"0","data":{}}',
        b'{"code":"0","data":[[1]]}',
        b"{" * 9,
        b'{"code":"0","data":' + b"[" * 100_000,
        body(code="51001", msg="Instrument family doesn't exist"),
        body(entry(), code="50011", msg="Too many requests"),
    ],
)
def test_a_body_that_lists_nothing_is_refused(answer):
    with pytest.raises(FrameError, match="okx instruments"):
        okx.instruments(answer)


FAMILIES_OF_BTC = [
    ("BTC-USD OPTION", "/public/instruments?instType=OPTION&instFamily=BTC-USD"),
    ("BTC-USD SWAP", "/public/instruments?instType=SWAP&instFamily=BTC-USD"),
    ("BTC-USDT SWAP", "/public/instruments?instType=SWAP&instFamily=BTC-USDT"),
    ("BTC-USD FUTURES", "/public/instruments?instType=FUTURES&instFamily=BTC-USD"),
    ("BTC-USDT FUTURES", "/public/instruments?instType=FUTURES&instFamily=BTC-USDT"),
]


SPOTS = ("SPOT", "/public/instruments?instType=SPOT")


def test_discovery_asks_for_the_families_of_the_coins_that_have_options():
    asked = okx.discovery(["BTC", "SOL", "BTC"])
    wanted = [*FAMILIES_OF_BTC, SPOTS]
    assert [(r.purpose, r.path, r.body) for r in asked] == [(*f, None) for f in wanted]
    both = [r.purpose for r in okx.discovery(["ETH", "BTC"])]
    assert both[:2] == ["ETH-USD OPTION", "ETH-USD SWAP"]
    assert (both[-1], both.count("SPOT")) == ("SPOT", 1)
    assert okx.discovery(["SOL"]) == ()


def test_where_no_coin_is_named_the_list_of_underlyings_leads_to_the_families():
    path = "/public/underlying?instType=OPTION"
    assert okx.discovery([]) == (HttpRequest("underlyings OPTION", path),)
    found = okx.instruments(body(["BTC-USD", "ETH-USD"]))
    assert (found.listings, found.following) == ([], None)
    assert [(r.purpose, r.path) for r in found.further[:5]] == FAMILIES_OF_BTC
    assert [r.purpose for r in found.further[5:]] == [
        *(f[0].replace("BTC", "ETH") for f in FAMILIES_OF_BTC), "SPOT",
    ]  # fmt: skip


# ---- subscription plan ------------------------------------------------------------------------


def option(symbol: str) -> Listing:
    return replace(listings(entry())[OPTION], symbol=symbol)


MIXED = list(listings(entry(), SWAP, LINEAR_SWAP, FUTURES).values())
WIDE = (
    "index-tickers:BTC-USD",
    "index-tickers:BTC-USDT",
    "instruments:FUTURES",
    "instruments:OPTION",
    "instruments:SWAP",
    "opt-summary:BTC-USD",
    "option-trades:BTC-USD",
)


def test_plan_asks_for_whole_families_first_then_for_each_instrument():
    wide, own = okx.subscriptions(MIXED, ChannelOptions(), okx.LIMITS)
    assert (wide.connection, own.connection, wide.path, own.path) == (0, 1, "", "")
    assert wide.channels == WIDE
    assert own.channels == (
        "books:BTC-USD-260925",
        "open-interest:BTC-USD-260925",
        "mark-price:BTC-USD-260925",
        "trades:BTC-USD-260925",
        f"books:{OPTION}",
        f"open-interest:{OPTION}",
        f"mark-price:{OPTION}",
        f"books:{PERP}",
        f"open-interest:{PERP}",
        f"mark-price:{PERP}",
        f"trades:{PERP}",
        "books:BTC-USDT-SWAP",
        "open-interest:BTC-USDT-SWAP",
        "mark-price:BTC-USDT-SWAP",
        "trades:BTC-USDT-SWAP",
    )


def test_plan_of_a_spot_has_its_book_and_prints_and_the_notices_of_its_kind():
    (pair,) = okx.instruments(body(SPOT)).listings
    wide, own = okx.subscriptions([pair], ChannelOptions(quotes=True), okx.LIMITS)
    assert wide.channels == ("instruments:SPOT",)
    assert own.channels == ("books:BTC-USDT", "bbo-tbt:BTC-USDT", "trades:BTC-USDT")
    first, second = okx.resync("BTC-USDT", ChannelOptions(), 5)
    assert first.channels == second.channels == ("books:BTC-USDT",)
    assert okx.symbol_of_channel("trades:BTC-USDT") == "BTC-USDT"
    assert okx.symbol_of_channel("instruments:SPOT") is None


def test_a_request_words_each_channel_as_the_venue_does():
    (request,) = okx.subscriptions(MIXED, ChannelOptions(), okx.LIMITS)[0].requests
    assert json.loads(request.text) == {
        "id": str(request.request_id),
        "op": "subscribe",
        "args": [
            {"channel": "index-tickers", "instId": "BTC-USD"},
            {"channel": "index-tickers", "instId": "BTC-USDT"},
            {"channel": "instruments", "instType": "FUTURES"},
            {"channel": "instruments", "instType": "OPTION"},
            {"channel": "instruments", "instType": "SWAP"},
            {"channel": "opt-summary", "instFamily": "BTC-USD"},
            {"channel": "option-trades", "instType": "OPTION", "instFamily": "BTC-USD"},
        ],
    }
    (leave,) = okx.unsubscribe([f"books:{OPTION}"], okx.LIMITS, 9)
    assert json.loads(leave.text) == {
        "id": "9",
        "op": "unsubscribe",
        "args": [{"channel": "books", "instId": OPTION}],
    }


def test_options_choose_the_channels():
    chosen = ChannelOptions(
        book="window", quotes=True, tickers=False, trades=False, marks=False, index=False
    )
    wide, own = okx.subscriptions(MIXED[:1], chosen, okx.LIMITS)
    assert wide.channels == ("instruments:OPTION",)
    assert own.channels == (f"books5:{OPTION}", f"bbo-tbt:{OPTION}")
    none = ChannelOptions(book="none", tickers=False, trades=False, marks=False, index=False)
    (wide,) = okx.subscriptions(MIXED, none, okx.LIMITS)
    assert set(wide.channels) == {f"instruments:{kind}" for kind in ("FUTURES", "OPTION", "SWAP")}


def test_a_chain_of_1500_options_fits_with_a_hundred_books_to_a_connection():
    chain = [option(f"BTC-USD-260925-{strike}-C") for strike in range(1000, 2500)]
    plans = okx.subscriptions(chain, ChannelOptions(), okx.LIMITS)
    books = [sum(c.startswith("books:") for c in plan.channels) for plan in plans]
    assert books == [0, *[100] * 15]
    assert [plan.connection for plan in plans] == list(range(16))
    assert {len(plan.requests) for plan in plans[1:]} == {3}
    assert max(len(r.text.encode()) for plan in plans for r in plan.requests) < 65_536


def test_limits_are_the_documented_ones():
    limits = okx.LIMITS
    assert limits.request_bytes_max == 64 * 1024
    assert limits.ping_s is not None
    assert limits.ping_s < 30.0  # idle for 30 s a connection is cut
    assert limits.silence_s > limits.ping_s
    # Pings pass through the same bucket.
    assert limits.requests_per_s > limits.connections_max / limits.ping_s


def test_nothing_is_asked_for_no_listings():
    assert okx.subscriptions([], ChannelOptions(), okx.LIMITS) == ()


def test_a_universe_beyond_the_connections_is_refused():
    small = replace(okx.LIMITS, connections_max=1)
    with pytest.raises(SessionError, match="need 2 connections, expected at most 1"):
        okx.subscriptions(MIXED, ChannelOptions(), small)


def test_a_channel_longer_than_a_request_is_refused():
    tiny = replace(okx.LIMITS, request_bytes_max=90)
    with pytest.raises(SessionError, match="expected at most 90"):
        okx.subscriptions(MIXED, ChannelOptions(), tiny)


@given(
    names=st.sets(st.text("ABC-0123456789_", min_size=1, max_size=12), min_size=1, max_size=40),
    per_request=st.integers(1, 30),
    per_connection=st.integers(1, 50),
    request_bytes=st.integers(160, 2000),
    mode=st.sampled_from(["delta", "window", "none"]),
    order=st.randoms(use_true_random=False),
)
def test_plan_holds_every_channel_once_and_breaks_no_limit(
    names, per_request, per_connection, request_bytes, mode, order
):
    universe = [option(name) for name in names] + MIXED
    options = ChannelOptions(book=mode, quotes=True)
    limits = replace(
        okx.LIMITS,
        channels_per_request=per_request,
        request_bytes_max=request_bytes,
        channels_per_connection=per_connection,
        connections_max=10**6,
    )
    plans = okx.subscriptions(universe, options, limits)
    channels = [channel for plan in plans for channel in plan.channels]
    assert len(channels) == len(set(channels))
    for listing in universe:
        if listing.kind == ListingKind.INDEX:
            continue
        wanted = {f"{c}:{listing.symbol}" for c in ("bbo-tbt", "open-interest", "mark-price")}
        if mode != "none":
            wanted.add(f"{'books' if mode == 'delta' else 'books5'}:{listing.symbol}")
        assert wanted <= set(channels)
    assert [plan.connection for plan in plans] == list(range(len(plans)))
    for plan in plans:
        assert len(plan.channels) <= per_connection
        ids = [request.request_id for request in plan.requests]
        assert len(ids) == len(set(ids))
        for request in plan.requests:
            assert 0 < len(request.channels) <= per_request
            assert len(request.text.encode()) <= request_bytes
            sent = json.loads(request.text)["args"]
            names_sent = tuple(f"{a['channel']}:{list(a.values())[-1]}" for a in sent)
            assert names_sent == request.channels
            (leave,) = okx.unsubscribe(request.channels, limits, request.request_id)
            assert len(leave.text.encode()) <= request_bytes
    order.shuffle(universe)
    assert okx.subscriptions(universe, options, limits) == plans


def test_resync_unsubscribes_first():
    leave, join = okx.resync(OPTION, ChannelOptions(), 41)
    assert (leave.request_id, join.request_id) == (41, 42)
    assert leave.channels == join.channels == (f"books:{OPTION}",)
    assert [json.loads(r.text)["op"] for r in (leave, join)] == ["unsubscribe", "subscribe"]


@pytest.mark.parametrize(
    ("chosen", "channels"),
    [
        (ChannelOptions(book="delta", quotes=True), ["books"]),
        (ChannelOptions(book="window", quotes=True), ["books5"]),
        (ChannelOptions(book="none", quotes=True), ["bbo-tbt"]),
        (ChannelOptions(book="none"), []),
    ],
)
def test_resync_asks_for_what_the_best_prices_come_from(chosen, channels):
    asked = [request.channels for request in okx.resync(OPTION, chosen, 1)]
    assert asked == [(f"{name}:{OPTION}",) for name in channels] * 2
    assert okx.resync("BTC-USD/INDEX", chosen, 1) == ()


# ---- session frames ---------------------------------------------------------------------------


def test_the_client_pings_and_the_pong_is_a_sign_of_life():
    assert isinstance(okx, Pinger)
    assert isinstance(okx, Unsubscriber)
    assert isinstance(okx, ChannelNamer)
    assert (okx.ping(), okx.hello()) == ("ping", ())
    control = okx.control(b"pong")
    assert control is not None
    assert (control.reply, control.notice) == (None, None)


def test_recorded_answers_accept_channels_by_name():
    acks = [frame for frame in recorded(STREAM) if frame.startswith(b'{"event"')]
    accepted = [control.accepted for frame in acks if (control := okx.control(frame))]
    assert len(accepted) == 12
    assert {name for names in accepted for name in names} == {
        f"{channel}:{symbol}"
        for channel in ("tickers", "trades", "books")
        for symbol in ("BTC-USD-220527", "BTC-USDT")
    }


def answer(**fields: Any) -> Any:
    return okx.control(json.dumps({"connId": "a4d3ae55", **fields}).encode())


def test_answers_name_the_channel_they_are_about():
    arg = {"channel": "option-trades", "instType": "OPTION", "instFamily": "BTC-USD"}
    assert answer(id="7", event="subscribe", arg=arg).accepted == ("option-trades:BTC-USD",)
    arg = {"channel": "instruments", "instType": "SWAP"}
    assert answer(id="7", event="subscribe", arg=arg).accepted == ("instruments:SWAP",)
    gone = answer(id="9", event="unsubscribe", arg={"channel": "books", "instId": OPTION})
    assert (gone.ack, gone.accepted) == ((9, ()), ())


@pytest.mark.parametrize(
    ("msg", "denied"),
    [
        ("channel:index-tickers,instId:X-Y doesn't exist", "index-tickers:X-Y"),
        (
            "Wrong URL or channel:books,instId:X doesn't exist. Please use the correct URL.",
            "books:X",
        ),
        ("channel:estimated-price,instType:FUTURES doesn't exist", "estimated-price:FUTURES"),
        (
            "channel:option-trades,instType:OPTION,instFamily:X-USD doesn't exist",
            "option-trades:X-USD",
        ),
    ],
)
def test_a_refusal_that_names_its_channel_denies_that_alone(msg, denied):
    control = answer(id="1001", event="error", code="60018", msg=msg)
    assert (control.denied, control.refused) == ((denied,), None)


def test_other_refusals_are_of_the_request_or_a_notice():
    refused = answer(id="1001", event="error", code="60012", msg="Invalid request")
    assert refused.refused == (1001, "60012 Invalid request")
    assert answer(event="error", code="60014", msg="Too fast").notice == "60014 Too fast"
    for odd in ("x", "9" * 5000, "\u0664"):
        assert answer(id=odd, event="error", code="60012", msg="no") is not None


def test_service_upgrades_are_notices_and_other_events_are_nothing():
    upgrade = answer(event="notice", code="64008", msg="Please reconnect.")
    assert (upgrade.notice, upgrade.maintenance) == ("64008 Please reconnect.", True)
    assert answer(event="notice", code="64009", msg="Hello.").maintenance is None
    count = answer(event="channel-conn-count", channel="orders", connCount="2")
    assert (count.notice, count.reply, count.accepted) == (None, None, ())


@pytest.mark.parametrize("file", RECORDED)
def test_recorded_market_data_is_no_session_frame(file):
    for frame in recorded(file):
        if not frame.startswith(b'{"event"'):
            assert okx.control(frame) is None


@pytest.mark.parametrize("frame", [b"", b"[1]", b"\xff", b"{}", b"ping", b"{" * 5000, b"[" * 5000])
def test_rubbish_is_no_session_frame(frame):
    assert okx.control(frame) is None
    assert okx.channel_of(frame) is None


def test_channel_of_recorded_frames():
    (summary,) = of_channel(recorded(TARDIS_2023), "opt-summary")
    wire_form = json.dumps(json.loads(summary), separators=(",", ":")).encode()
    assert okx.channel_of(wire_form) == "opt-summary:BTC-USD"
    (snapshot,) = of_channel(recorded(TARDIS_2023), "books")
    assert okx.channel_of(snapshot) == "books:ETH-USD-240628-1400-P"
    of_2021 = json.loads(of_channel(recorded(TARDIS), "opt-summary")[0])
    old = json.dumps(of_2021, separators=(",", ":")).encode()
    assert okx.channel_of(old) == "opt-summary:ETH-USD"  # it said uly then
    assert okx.channel_of(b'{"arg":{"channel":"books","instId":5},"data":[]}') is None
    assert okx.channel_of(b'{"arg":{"channel":"books","more":' + b"[" * 100_000 + b"}") is None


def test_what_channels_are_about():
    for channel in WIDE[2:]:
        assert okx.symbol_of_channel(channel) is None
    assert okx.symbol_of_channel("index-tickers:BTC-USD") == "BTC-USD/INDEX"
    for name in ("books", "books5", "bbo-tbt", "open-interest", "mark-price", "trades"):
        assert okx.symbol_of_channel(f"{name}:{PERP}") == PERP
        assert okx.owes_first_frame(f"{name}:{PERP}") == name.startswith("b")
    assert okx.symbol_of_channel("nonsense") is None
    assert not any(okx.owes_first_frame(channel) for channel in WIDE)


def test_a_ledger_follows_answers_by_name_and_hears_the_first_frame():
    ledger = ChannelLedger(okx)
    _, join = okx.resync(OPTION, ChannelOptions(), 41)
    wrong = okx.unsubscribe(["books:X", f"books:{PERP}"], okx.LIMITS, 43)[0]
    for request in (join, wrong):
        ledger.carry(request)
        ledger.sent(Order(request, Purpose.SUBSCRIBE))
    arg = {"channel": "books", "instId": OPTION}
    ack = answer(id="42", event="subscribe", arg=arg)
    (done,) = ledger.named(ack.accepted, ack.denied, 99)
    assert (done.accepted, done.missing) == ((f"books:{OPTION}",), ())
    ledger.heard(book("snapshot", 1, -1, [], []))
    assert f"books:{OPTION}".encode() not in ledger.awaiting
    denial = answer(event="error", code="60018", msg="channel:books,instId:X doesn't exist")
    assert ledger.named(denial.accepted, denial.denied, 99) == []
    (settled,) = ledger.named((f"books:{PERP}",), (), 99)
    assert (settled.accepted, settled.missing) == ((f"books:{PERP}",), ("books:X",))
