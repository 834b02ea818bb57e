"""Gate's discovery, subscription plan, session frames and emulator; expected values by hand."""

import json
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.channels import ChannelLedger, Order
from feeds.contract import E9, Contract, Listing, ListingKind
from feeds.emulator.market import Market
from feeds.emulator.profiles import PROFILES
from feeds.emulator.venues.gate import GateServer
from feeds.errors import FrameError, SessionError
from feeds.links import worded
from feeds.venue import (
    ChannelNamer,
    ChannelOptions,
    Control,
    HttpRequest,
    Limits,
    Pinger,
    Request,
    Stamper,
    Unsubscriber,
    is_experimental,
)
from feeds.venues import deribit, gate
from tests.feeds.emulator_client import START_NS
from tests.feeds.gate_frames import (
    CALL,
    PUT,
    answer,
    book,
    changes,
    contract,
    message,
    price,
    quote,
    ticker,
    trade,
    trades,
)
from tests.feeds.venue_frames import frame
from tests.feeds.venue_world import VenueWorld

NAME = "BTC_USDT-20211130-65000-C"


# ---- discovery ---------------------------------------------------------------------------------


def test_named_coins_are_asked_for_at_once_and_without_any_the_venue_says_which():
    assert gate.discovery(["BTC", "ETH", "BTC"]) == (
        HttpRequest("instruments BTC_USDT", "/api/v4/options/contracts?underlying=BTC_USDT"),
        HttpRequest("instruments ETH_USDT", "/api/v4/options/contracts?underlying=ETH_USDT"),
    )
    (question,) = gate.discovery([])
    assert question.path == "/api/v4/options/underlyings"
    body = frame([{"name": "BTC_USDT", "index_price": "70000"}, {"name": "a&b"}, {}])
    found = gate.instruments(body)
    assert found.further == gate.discovery(["BTC"])
    assert (found.listings, found.left_out) == ([], {"malformed": 2})


def test_an_underlying_that_is_named_over_and_over_is_asked_for_once():
    names = ["ETH_USDT", "BTC_USDT"] * 3
    found = gate.instruments(frame([{"name": name} for name in names]))
    assert found.further == gate.discovery(["ETH", "BTC"])


def test_documented_contract_is_a_listing_in_contracts_of_a_ten_thousandth_coin():
    found = gate.instruments(frame([contract()]))
    option, index = found.listings
    assert option == Listing(
        venue="gate", symbol=NAME, kind=ListingKind.OPTION, underlying="BTC", multiplier=0.0001,
        price_ccy="USDT", settle="linear", tick=0.1, expiry_ns=1638259200 * E9,
        strike_e9=65_000 * E9, right="C", style="european", lot=1.0, settle_window_s=1800.0,
    )  # fmt: skip
    assert option.contract == Contract.parse("BTC-20211130T0800Z-65000-C")
    assert (index.symbol, index.kind, index.price_ccy) == (
        "BTC_USDT/INDEX", ListingKind.INDEX, "USDT",
    )  # fmt: skip
    assert (found.left_out, found.conflicts, found.following) == ({}, [], None)


def test_worked_example_of_the_page_is_what_the_bid_s_premium_comes_to():
    """Bid of the documented ticker: 10,611.7 USDT a coin for 100 contracts."""
    (option, _) = gate.instruments(frame([contract()])).listings
    assert round(10_611.7 * 100 * option.multiplier, 4) == 106.117


@pytest.mark.parametrize(("strike", "strike_e9"), [("0.4", 400_000_000), (0.15, 150_000_000)])
def test_fractional_strikes_are_exact_as_text_and_as_numbers(strike, strike_e9):
    name = f"DOGE_USDT-20211130-{strike}-P"
    entry = contract(name=name, strike_price=strike, is_call=False, underlying="DOGE_USDT")
    found = gate.instruments(frame([entry]))
    assert (found.listings[0].strike_e9, found.listings[0].right) == (strike_e9, "P")
    assert found.conflicts == []


@pytest.mark.parametrize(
    "said",
    [
        {"expiration_time": 1637913600},  # as the documentation has it: four days before its name
        {"strike_price": "65001"},
        {"is_call": False},
        {"underlying": "ETH_USDT"},
        {"name": "BTC-65000"},
    ],
)
def test_fields_are_trusted_and_names_that_contradict_them_reported(said):
    found = gate.instruments(frame([contract(**said)]))
    assert len(found.conflicts) == 1
    option = found.listings[0]
    assert option.expiry_ns == said.get("expiration_time", 1638259200) * E9
    assert option.strike_e9 == int(said.get("strike_price", 65000)) * E9


@pytest.mark.parametrize(
    "said",
    [
        {"expiration_time": 0},
        {"expiration_time": 2**63},
        {"strike_price": "0"},
        {"strike_price": "0.0000000001"},
        {"strike_price": None},
        {"multiplier": "0"},
        {"multiplier": "inf"},
        {"order_price_round": "x"},
        {"order_size_min": 0},
        {"is_call": "yes"},
        {"underlying": "BTC"},
        {"underlying": "BTC_USD"},
        {"underlying": "_USDT"},
    ],
)
def test_contract_that_cannot_be_is_counted_and_the_rest_listed(said):
    found = gate.instruments(frame([contract(**said), contract()]))
    assert [x.symbol for x in found.listings] == [NAME, "BTC_USDT/INDEX"]
    assert found.left_out == {"malformed": 1}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"label":"TOO_MANY_REQUESTS"}', b"[" * 100_000])
def test_body_that_is_no_list_is_an_error(body):
    with pytest.raises(FrameError, match="gate options"):
        gate.instruments(body)


# ---- subscription plan -------------------------------------------------------------------------


def option(symbol: str = CALL, underlying: str = "BTC") -> Listing:
    return Listing(
        "gate", symbol, ListingKind.OPTION, underlying, 0.01, "USDT", "linear", 0.1,
        expiry_ns=10**18, strike_e9=10**12, right="C",
    )  # fmt: skip


ETH = "ETH_USDT-20211130-4000-C"
INDEX = Listing("gate", "BTC_USDT/INDEX", ListingKind.INDEX, "BTC", 1.0, "USDT", "linear", 1e-8)


def test_plan_asks_for_underlyings_then_tickers_then_books_each_by_itself():
    listings = [option(ETH, "ETH"), INDEX, option()]
    (plan,) = gate.subscriptions(listings, ChannelOptions(), gate.LIMITS)
    sent = [json.loads(request.text) for request in plan.requests]
    assert [(s["channel"], s["payload"]) for s in sent] == [
        ("options.ul_price", ["BTC_USDT", "ETH_USDT"]),
        ("options.ul_trades", ["BTC_USDT", "ETH_USDT"]),
        ("options.contract_tickers", [CALL, ETH]),
        ("options.order_book", [CALL, "20", "0"]),
        ("options.order_book", [ETH, "20", "0"]),
    ]
    assert {s["event"] for s in sent} == {"subscribe"}
    assert [s["id"] for s in sent] == [r.request_id for r in plan.requests]
    assert plan.requests[2].channels == (
        f"options.contract_tickers:{CALL}", f"options.contract_tickers:{ETH}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({}, ["contract_tickers", "order_book"]),
        ({"book": "window", "quotes": True}, ["contract_tickers", "order_book"]),
        ({"book": "none", "quotes": True}, ["contract_tickers", "book_ticker"]),
        ({"book": "none"}, ["contract_tickers"]),
        ({"book": "none", "tickers": False}, ["contract_tickers"]),
        ({"book": "none", "tickers": False, "marks": False}, []),
        ({"book": "none", "tickers": False, "marks": False, "trades": True}, ["ul_trades"]),
        ({"book": "none", "tickers": False, "marks": False, "index": True}, ["ul_price"]),
    ],
)
def test_options_choose_the_channels(chosen, words):
    options = ChannelOptions(**({"trades": False, "index": False} | chosen))
    plans = gate.subscriptions([option()], options, gate.LIMITS)
    asked = [channel.partition(":")[0] for plan in plans for channel in plan.channels]
    assert asked == [f"options.{word}" for word in words]


def test_a_universe_beyond_the_connections_is_refused():
    small = Limits(5, 4000, 3.0, 10, 2, 2, 2**22, 30.0, 70.0)
    with pytest.raises(SessionError, match="need 3 connections, expected at most 2"):
        gate.subscriptions([option(), option(PUT)], ChannelOptions(), small)


@given(
    names=st.sets(st.text("ABC-0123456789_", min_size=1, max_size=12), min_size=1, max_size=40),
    per_request=st.integers(1, 30),
    per_connection=st.integers(1, 50),
    request_bytes=st.integers(160, 2000),
    book=st.sampled_from(["delta", "none"]),
    order=st.randoms(use_true_random=False),
)
def test_plan_holds_every_channel_once_and_breaks_no_limit(
    names, per_request, per_connection, request_bytes, book, order
):
    limits = Limits(
        per_request, request_bytes, 3.0, 10, per_connection, 1000, 2**22, 30.0, 70.0
    )  # fmt: skip
    options = ChannelOptions(book=book, quotes=True)
    listings = [option(name) for name in sorted(names)]
    plans = gate.subscriptions(listings, options, limits)
    order.shuffle(listings)
    assert gate.subscriptions(listings, options, limits) == plans
    top = "order_book" if book == "delta" else "book_ticker"
    wanted = {f"options.{word}:{name}" for name in names for word in ("contract_tickers", top)}
    asked = [channel for plan in plans for channel in plan.channels]
    assert len(asked) == len(set(asked))
    assert set(asked) == wanted | {"options.ul_price:BTC_USDT", "options.ul_trades:BTC_USDT"}
    for plan in plans:
        assert 0 < len(plan.channels) <= per_connection
        ids = [request.request_id for request in plan.requests]
        assert ids == list(range(1001, 1001 + len(ids)))
        for request in plan.requests:
            assert len(request.text.encode()) <= request_bytes
            (word,) = {channel.partition(":")[0] for channel in request.channels}
            assert len(request.channels) <= (1 if word == "options.order_book" else per_request)
            given_back = gate.unsubscribe(request.channels, limits, 5)
            assert [c for r in given_back for c in r.channels] == list(request.channels)


def test_resync_gives_a_book_back_and_asks_for_it_again():
    first, second = gate.resync(CALL, ChannelOptions(), 5)
    assert (first.request_id, second.request_id) == (5, 6)
    assert first.channels == second.channels == (f"options.order_book:{CALL}",)
    assert json.loads(first.text)["event"] == "unsubscribe"
    assert json.loads(second.text)["payload"] == [CALL, "20", "0"]


def test_resync_takes_quotes_where_there_are_no_books_and_nothing_where_there_are_none():
    quotes = ChannelOptions(book="none", quotes=True)
    assert gate.resync(CALL, quotes, 5)[1].channels == (f"options.book_ticker:{CALL}",)
    assert gate.resync(CALL, ChannelOptions(book="none"), 5) == ()
    assert gate.resync("BTC_USDT/INDEX", ChannelOptions(), 5) == ()


def test_channels_of_several_kinds_are_given_back_kind_by_kind():
    names = [f"options.order_book:{CALL}", f"options.contract_tickers:{CALL}"]
    names += [f"options.order_book:{PUT}", f"options.contract_tickers:{PUT}"]
    requests = gate.unsubscribe(names, gate.LIMITS, 40)
    assert [(r.request_id, json.loads(r.text)["payload"]) for r in requests] == [
        (40, [CALL, PUT]), (41, [CALL, "20", "0"]), (42, [PUT, "20", "0"]),
    ]  # fmt: skip


# ---- session frames ----------------------------------------------------------------------------


def test_the_module_keeps_the_seams_it_means_to():
    for seam in (ChannelNamer, Pinger, Stamper, Unsubscriber):
        assert isinstance(gate, seam)
    assert is_experimental(gate)
    assert gate.hello() == ()


def test_requests_say_when_they_are_sent_and_those_of_other_venues_stay_as_they_are():
    (request, _) = gate.resync(CALL, ChannelOptions(), 5)
    sent = worded(gate, Order(request), 1_630_566_602_999_999_999)
    assert json.loads(sent) == json.loads(request.text) | {"time": 1_630_566_602}
    assert worded(deribit, Order(Request(1, (), "as is")), 7) == "as is"


def test_answers_accept_or_refuse_what_their_number_asked_for():
    assert gate.control(answer()) == Control(ack=(7, None))
    assert gate.control(answer(event="unsubscribe")) == Control(ack=(7, None))
    refusal = {"code": 2, "message": "invalid argument"}
    assert gate.control(answer(7, refusal)) == Control(refused=(7, "2 invalid argument"))
    assert gate.control(answer(None, refusal)) == Control(notice="2 invalid argument")
    assert gate.control(answer(None)) == Control()
    assert gate.control(message("pong", "", None)) == Control()


@pytest.mark.parametrize(
    "content", [book(5), changes((6, "1", 1)), quote(), trades(trade()), b"", b"[]", b'{"x":1}']
)
def test_market_data_and_rubbish_are_no_control(content):
    assert gate.control(content) is None


@pytest.mark.parametrize("content", [book(5), quote(), ticker()])
def test_frames_of_one_instrument_name_their_channel(content):
    word = json.loads(content)["channel"]
    assert gate.channel_of(content) == f"{word}:{CALL}"


@pytest.mark.parametrize("content", [changes((6, "1", 1)), price(), answer(), b"", b"{}"])
def test_other_frames_name_none(content):
    assert gate.channel_of(content) is None


def test_first_frame_ends_the_wait_for_it():
    ledger = ChannelLedger(gate)
    (_, request) = gate.resync(CALL, ChannelOptions(), 5)
    ledger.carry(request)
    ledger.sent(Order(request))
    ledger.heard(book(5, name=PUT))
    ledger.heard(answer(6))
    ledger.heard(price())
    ledger.answered(6, None, 1000)
    assert list(ledger.awaiting) == [f"options.order_book:{CALL}".encode()]
    ledger.heard(book(5))
    assert ledger.silent(1000) == []


# ---- the emulator ------------------------------------------------------------------------------


async def asked(server: GateServer, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """What an emulated venue answers to requests on one socket, one answer each."""
    await server.start()
    found = []
    try:
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(server.addresses("127.0.0.1")["ws_url"]) as socket,
        ):
            for request in requests:
                await socket.send_str(json.dumps(request))
                found.append(await socket.receive_json(timeout=5))
    finally:
        await server.stop()
    return found


@pytest.fixture
def server() -> GateServer:
    return GateServer(Market(3, START_NS, 30, profile=PROFILES["gate"]), 3)


async def test_emulator_refuses_what_the_venue_would(server):
    now_s = START_NS // E9
    call = next(x.symbol for x in server.market.universe.listings if x.contract is not None)
    one = {"time": now_s, "id": 3, "channel": "options.order_book", "event": "subscribe"}
    said = await asked(
        server,
        one | {"payload": [call, "20", "0"], "time": 0},
        one | {"payload": [call]},
        one | {"payload": ["X", "20", "0"]},
        one | {"payload": [call, "7", "0"]},
        one | {"payload": "x"},
        {"time": now_s, "channel": "options.ping"},
        one | {"payload": [call, "20", "0"]},
    )
    assert [s["error"] and s["error"]["code"] for s in said] == [1, 2, 2, 2, 1, None, None]
    assert [s.get("id") for s in said] == [3, 3, 3, 3, None, None, 3]
    assert said[5]["channel"] == "options.pong"


async def test_chain_is_quoted_without_books():
    async with VenueWorld("gate", book="none", quotes=True) as world:
        await world.live()
        for _ in range(10):
            await world.run(5)
            assert world.unknown() == []
        assert all(world.books[symbol].quoted for symbol in world.followed())
        words = {c.partition(":")[0] for r in world.session.links for c in r.ledger.wanted}
        assert "options.order_book" not in words
        assert world.counts.get("frame_errors", 0) == 0


async def test_quotes_of_the_market_are_the_best_of_its_books():
    async with VenueWorld("gate", book="none", quotes=True) as world:
        await world.live()
        await world.run(20)
        universe, books = world.server.market.universe, world.server.market.books
        for symbol in world.followed():
            number = universe.ids[symbol]
            for side, ours in enumerate(world.books[symbol].best()):
                ticks = int(books.ticks[number, side, 0])
                price_of = ticks / universe.per_unit[number]
                wanted = [(price_of, float(books.lots[number, side, 0]))] if ticks else []
                assert [(round(p, 9), q) for p, q in ours] == [(round(p, 9), q) for p, q in wanted]
