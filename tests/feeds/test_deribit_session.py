"""Deribit's instruments, subscription plan and session frames; expected values typed in by hand."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.contract import Contract, Listing, ListingKind, tick_at
from feeds.errors import FrameError, SessionError
from feeds.events import DecodeOut
from feeds.secrets import Credentials
from feeds.venue import ChannelOptions, Control, Limits, Unsubscriber
from feeds.venues import deribit
from tests.conftest import shared

OPTION = "BTC-27MAR26-100000-C"


def notification(channel: str, data: Any, separators: tuple[str, str] = (",", ":")) -> bytes:
    params = {"channel": channel, "data": data}
    message = {"jsonrpc": "2.0", "method": "subscription", "params": params}
    return json.dumps(message, separators=separators).encode()


# ---- instruments ------------------------------------------------------------------------------


def listings_of(name: str) -> dict[str, Listing]:
    body = shared(f"fixtures/deribit/rest_get_instruments_{name}.json").read_bytes()
    found = deribit.instruments(body)
    assert (found.left_out, found.conflicts) == ({}, [])
    return {listing.symbol: listing for listing in found.listings}


def test_recorded_inverse_option_of_2021_lacks_the_newer_fields():
    assert listings_of("BTC")["BTC-24SEP21-40000-P"] == Listing(
        venue="deribit",
        symbol="BTC-24SEP21-40000-P",
        kind=ListingKind.OPTION,
        underlying="BTC",
        multiplier=1.0,
        price_ccy="BTC",
        settle="inverse",
        tick=0.0005,
        expiry_ns=1632470400_000_000_000,
        strike_e9=40_000_000_000_000,
        right="P",
        style="european",
        lot=0.1,
        settle_window_s=1800.0,
    )


def test_recorded_futures_and_perpetuals():
    btc = listings_of("BTC")
    future, perpetual = btc["BTC-25MAR22"], btc["BTC-PERPETUAL"]
    assert (future.kind, future.price_ccy, future.settle) == (ListingKind.FUTURE, "USD", "inverse")
    assert (future.tick, future.lot, future.expiry_ns) == (0.5, 10.0, 1648195200_000_000_000)
    assert (perpetual.kind, perpetual.expiry_ns) == (ListingKind.PERP, None)
    linear = listings_of("USDC")["UNI_USDC-PERPETUAL"]
    assert (linear.underlying, linear.price_ccy, linear.settle) == ("UNI", "USDC", "linear")


def test_recorded_solana_option_has_its_own_tick_and_lot():
    option = listings_of("SOL")["SOL-10JUN22-28-P"]
    assert (option.tick, option.lot, option.price_ccy) == (0.001, 1.0, "SOL")
    assert str(option.contract) == "SOL-20220610T0800Z-28-P"


def test_every_underlying_brings_its_index():
    index = listings_of("BTC")["btc_usd"]
    assert (index.kind, index.underlying, index.price_ccy) == (ListingKind.INDEX, "BTC", "USD")
    usdc = listings_of("USDC")
    indices = sorted(s for s, listing in usdc.items() if listing.kind == ListingKind.INDEX)
    assert indices[0] == "ada_usdc"
    assert usdc["uni_usdc"].price_ccy == "USDC"


def test_recorded_combinations_are_left_out_and_counted():
    path = shared("fixtures/deribit/nautilus_http_get_instruments_option_combo.json")
    found = deribit.instruments(path.read_bytes())
    assert (found.listings, found.left_out) == ([], {"option_combo": 6})


def instrument(**changes: Any) -> dict[str, Any]:
    return {
        "instrument_name": "MATIC_USDC-9MAR24-1d02-C",
        "kind": "option",
        "instrument_type": "linear",
        "option_type": "call",
        "strike": 1.02,
        "base_currency": "MATIC",
        "quote_currency": "USDC",
        "settlement_currency": "USDC",
        "settlement_period": "day",
        "contract_size": 1000,
        "tick_size": 0.0005,
        "tick_size_steps": [{"above_price": 0.01, "tick_size": 0.001}],
        "min_trade_amount": 1000,
        "expiration_timestamp": 1709971200000,
    } | changes


def body_of(*entries: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "result": list(entries)}).encode()


def test_linear_option_with_a_fractional_strike_and_tick_steps():
    option, index = deribit.instruments(body_of(instrument())).listings
    assert option.contract == Contract("MATIC", 1709971200_000_000_000, 1_020_000_000, "C")
    assert (option.settle, option.multiplier, option.price_ccy) == ("linear", 1.0, "USDC")
    assert [tick_at(option, price) for price in (0.005, 0.01, 0.5)] == [0.0005, 0.001, 0.001]
    assert index.symbol == "matic_usdc"


@pytest.mark.parametrize(
    ("text", "strike_e9"),
    [("2.2e3", 2_200_000_000_000), ("0.123456789", 123_456_789), ("100000.0", 10**14)],
)
def test_strikes_are_read_from_their_digits(text, strike_e9):
    body = body_of(instrument()).replace(b"1.02", text.encode())
    assert deribit.instruments(body).listings[0].strike_e9 == strike_e9


def test_a_tick_that_shrinks_above_a_price_keeps_both_bands():
    steps = [{"above_price": 1.0, "tick_size": 0.0001}]
    option = deribit.instruments(body_of(instrument(tick_size_steps=steps))).listings[0]
    assert option.tick == 0.0001
    assert [tick_at(option, price) for price in (0.5, 1.0)] == [0.0005, 0.0001]


def test_fields_are_trusted_over_a_name_that_contradicts_them():
    found = deribit.instruments(body_of(instrument(strike=1.03), instrument(option_type="put")))
    assert [o.strike_e9 for o in found.listings[:2]] == [1_030_000_000, 1_020_000_000]
    assert [text.split(":")[0] for text in found.conflicts] == [
        "deribit MATIC_USDC-9MAR24-1d02-C"
    ] * 2


SPOT_ENTRY = {
    "instrument_name": "BTC_USDC",
    "kind": "spot",
    "base_currency": "BTC",
    "quote_currency": "USDC",
    "counter_currency": "USDC",
    "price_index": "btc_usdc",
    "contract_size": 0.0001,
    "tick_size": 0.01,
    "tick_size_steps": [],
    "min_trade_amount": 0.0001,
    "is_active": True,
    "is_cbe_routed": True,
}


def test_a_spot_is_sized_in_coins_has_no_end_and_brings_no_index():
    found = deribit.instruments(body_of(SPOT_ENTRY))
    assert found.listings == [
        Listing(
            venue="deribit",
            symbol="BTC_USDC",
            kind=ListingKind.SPOT,
            underlying="BTC",
            multiplier=1.0,
            price_ccy="USDC",
            settle="linear",
            tick=0.01,
            lot=0.0001,
        )
    ]
    # Words that are of no use to a spot do not keep it out.
    odd = SPOT_ENTRY | {"instrument_type": "spot", "expiration_timestamp": 32_503_708_800_000}
    assert deribit.instruments(body_of(odd)).listings == found.listings


def test_a_spot_that_bears_the_index_s_name_takes_nothing_from_the_option_s_index():
    _, spot, index = deribit.instruments(
        body_of(
            instrument(),
            SPOT_ENTRY | {"instrument_name": "MATIC_USDC", "base_currency": "MATIC"},
        )
    ).listings
    assert (spot.symbol, spot.kind) == ("MATIC_USDC", ListingKind.SPOT)
    assert (index.symbol, index.kind) == ("matic_usdc", ListingKind.INDEX)


def test_spots_in_other_currencies_than_dollars_are_left_out():
    entries = [
        SPOT_ENTRY | {"instrument_name": f"BTC_{quote}", "quote_currency": quote}
        for quote in ("USD", "USDC", "USDT", "EURR", "USDE", "BTC")
    ]
    found = deribit.instruments(body_of(*entries))
    assert [one.price_ccy for one in found.listings] == ["USD", "USDC", "USDT"]
    assert found.left_out == {"other_quote": 3}


@pytest.mark.parametrize(
    "changes",
    [
        {"strike": -1.0},
        {"strike": "1.02"},
        {"strike": 0},
        {"option_type": None},
        {"tick_size": 0.0},
        {"expiration_timestamp": None},
        {"base_currency": ""},
        {"instrument_name": 5},
        {"kind": "future", "expiration_timestamp": 2**53},
        {"instrument_type": "quanto"},
        {"kind": "spot", "min_trade_amount": 0.0},
        {"kind": "spot", "base_currency": ""},
    ],
)
def test_an_instrument_that_cannot_be_one_is_left_out_alone(changes):
    found = deribit.instruments(body_of(instrument(**changes), instrument()))
    assert [x.symbol for x in found.listings] == ["MATIC_USDC-9MAR24-1d02-C", "matic_usdc"]
    assert found.left_out == {"malformed": 1}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"result":5}', b'{"error":{"code":1}}', b"\xff"])
def test_a_body_that_lists_nothing_is_refused(body):
    with pytest.raises(FrameError, match="deribit get_instruments"):
        deribit.instruments(body)


def test_discovery_asks_for_coins_and_stablecoins():
    requests = deribit.discovery(["BTC", "SOL"])
    assert [r.purpose for r in requests] == [
        "instruments BTC option",
        "instruments BTC future",
        "instruments USDC option",
        "instruments USDC future",
        "instruments USDT option",
        "instruments USDT future",
        "instruments any spot",
    ]
    assert requests[-1].path == "/public/get_instruments?currency=any&kind=spot&expired=false"
    assert requests[0].path == "/public/get_instruments?currency=BTC&kind=option&expired=false"
    assert [r.purpose for r in deribit.discovery([])] == [
        "instruments any option",
        "instruments any future",
        "instruments any spot",
    ]


# ---- subscription plan ------------------------------------------------------------------------

ROOMY = Limits(500, 32_768, 3.0, 10, 1000, 24, 2**22, 30.0, 70.0)


def option(symbol: str) -> Listing:
    return Listing(
        venue="deribit",
        symbol=symbol,
        kind=ListingKind.OPTION,
        underlying="BTC",
        multiplier=1.0,
        price_ccy="BTC",
        settle="inverse",
        tick=0.0001,
        expiry_ns=10**18,
        strike_e9=10**14,
        right="C",
    )


PERPETUAL = Listing("deribit", "BTC-PERPETUAL", ListingKind.PERP, "BTC", 1.0, "USD", "inverse", 0.5)
LINEAR = Listing(
    "deribit", "SOL_USDC-PERPETUAL", ListingKind.PERP, "SOL", 1.0, "USDC", "linear", 0.5
)


def test_plan_of_an_option_and_two_perpetuals():
    listings = [option("BTC-27MAR26-100000-C"), PERPETUAL, LINEAR]
    (plan,) = deribit.subscriptions(listings, ChannelOptions(), deribit.LIMITS)
    assert plan.channels == (
        "deribit_price_index.btc_usd",
        "deribit_price_index.sol_usdc",
        "instrument.state.future.BTC",
        "instrument.state.future.USDC",
        "instrument.state.option.BTC",
        "markprice.options.btc_usd",
        "platform_state",
        "trades.future.BTC.100ms",
        "trades.future.USDC.100ms",
        "trades.option.BTC.100ms",
        "book.BTC-27MAR26-100000-C.100ms",
        "ticker.BTC-27MAR26-100000-C.100ms",
        "book.BTC-PERPETUAL.100ms",
        "ticker.BTC-PERPETUAL.100ms",
        "book.SOL_USDC-PERPETUAL.100ms",
        "ticker.SOL_USDC-PERPETUAL.100ms",
    )
    (request,) = plan.requests
    sent = json.loads(request.text)
    assert (sent["method"], sent["id"]) == ("public/subscribe", request.request_id)
    assert tuple(sent["params"]["channels"]) == plan.channels


def spot(quote: str) -> Listing:
    return Listing("deribit", f"BTC_{quote}", ListingKind.SPOT, "BTC", 1.0, quote, "linear", 0.01)


def test_plan_of_spots_has_books_tickers_prints_of_each_and_no_index():
    listings = [spot("USDC"), spot("USDT")]
    (plan,) = deribit.subscriptions(listings, ChannelOptions(), deribit.LIMITS)
    assert plan.channels == (
        "instrument.state.spot.any",
        "platform_state",
        "book.BTC_USDC.100ms",  # whose prints the venue has not
        "ticker.BTC_USDC.100ms",
        "book.BTC_USDT.100ms",
        "ticker.BTC_USDT.100ms",
        "trades.BTC_USDT.100ms",
    )
    assert deribit.symbol_of_channel("trades.BTC_USDT.100ms") == "BTC_USDT"
    assert deribit.symbol_of_channel("instrument.state.spot.any") is None
    silent = ChannelOptions(book="none", tickers=False, trades=False, notices=False)
    assert deribit.subscriptions(listings, silent, deribit.LIMITS) == ()
    first, second = deribit.resync("BTC_USDT", ChannelOptions(), 5)
    assert first.channels == second.channels == ("book.BTC_USDT.100ms",)


def test_options_choose_the_channels():
    chosen = ChannelOptions(
        book="window", quotes=True, tickers=False, trades=False, marks=False, index=False
    )
    (plan,) = deribit.subscriptions([PERPETUAL], chosen, deribit.LIMITS)
    assert plan.channels[2:] == ("book.BTC-PERPETUAL.none.10.100ms", "quote.BTC-PERPETUAL")
    raw = ChannelOptions(tickers=False, authenticated=True)
    assert deribit.subscriptions([PERPETUAL], raw, ROOMY)[0].channels[-2:] == (
        "trades.future.BTC.raw",
        "book.BTC-PERPETUAL.raw",
    )


@pytest.mark.parametrize(("asked", "given_depth"), [(1, 1), (2, 10), (11, 20), (50, 20)])
def test_window_depth_is_one_the_venue_has(asked, given_depth):
    chosen = ChannelOptions(book="window", book_depth=asked)
    (request, _) = deribit.resync("X", chosen, 5)
    assert request.channels == (f"book.X.none.{given_depth}.100ms",)


def test_nothing_is_asked_for_no_listings():
    assert deribit.subscriptions([], ChannelOptions(), ROOMY) == ()


def test_a_universe_beyond_the_connections_is_refused():
    small = Limits(5, 4000, 3.0, 10, 5, 2, 2**22, 30.0, 70.0)
    with pytest.raises(SessionError, match="need 3 connections, expected at most 2"):
        deribit.subscriptions([option(f"O{n}") for n in range(4)], ChannelOptions(), small)


def test_a_channel_longer_than_a_request_is_refused():
    tiny = Limits(5, 100, 3.0, 10, 50, 2, 2**22, 30.0, 70.0)
    with pytest.raises(SessionError, match="expected at most 100"):
        deribit.subscriptions([option("O")], ChannelOptions(), tiny)


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
    listings = [option(name) for name in names] + [PERPETUAL]
    options = ChannelOptions(book=mode, quotes=True)
    limits = Limits(per_request, request_bytes, 3.0, 10, per_connection, 10**6, 2**22, 30.0, 70.0)
    plans = deribit.subscriptions(listings, options, limits)
    channels = [channel for plan in plans for channel in plan.channels]
    assert len(channels) == len(set(channels))
    for listing in listings:
        wanted = {f"quote.{listing.symbol}", f"ticker.{listing.symbol}.100ms"}
        if mode != "none":
            wanted.add(f"book.{listing.symbol}.{'none.10.' if mode == 'window' else ''}100ms")
        assert wanted <= set(channels)
    for plan in plans:
        assert len(plan.channels) <= per_connection
        ids = [request.request_id for request in plan.requests]
        assert len(ids) == len(set(ids))
        for request in plan.requests:
            assert 0 < len(request.channels) <= per_request
            assert len(request.text.encode()) <= request_bytes
            assert tuple(json.loads(request.text)["params"]["channels"]) == request.channels
    order.shuffle(listings)
    assert deribit.subscriptions(listings, options, limits) == plans


def test_resync_unsubscribes_first():
    leave, join = deribit.resync(OPTION, ChannelOptions(), 41)
    assert (leave.request_id, join.request_id) == (41, 42)
    assert json.loads(leave.text)["method"] == "public/unsubscribe"
    assert json.loads(join.text)["method"] == "public/subscribe"
    assert leave.channels == join.channels == (f"book.{OPTION}.100ms",)


def test_resync_without_books_asks_for_quotes_or_nothing():
    quotes = deribit.resync(OPTION, ChannelOptions(book="none", quotes=True), 1)
    assert quotes[0].channels == (f"quote.{OPTION}",)
    assert deribit.resync(OPTION, ChannelOptions(book="none"), 1) == ()


def test_the_venue_can_give_channels_back():
    assert isinstance(deribit, Unsubscriber)


def test_channels_are_given_back_in_order_in_as_many_requests_as_it_takes():
    channels = (f"book.{OPTION}.100ms", f"quote.{OPTION}", f"ticker.{OPTION}.100ms")
    limits = Limits(2, 4000, 3.0, 10, 50, 2, 2**22, 30.0, 70.0)
    first, second = deribit.unsubscribe(channels, limits, 1_000_041)
    assert (first.request_id, first.channels) == (1_000_041, channels[:2])
    assert (second.request_id, second.channels) == (1_000_042, channels[2:])
    assert json.loads(first.text) == {
        "jsonrpc": "2.0",
        "id": 1_000_041,
        "method": "public/unsubscribe",
        "params": {"channels": list(channels[:2])},
    }
    assert json.loads(second.text)["params"] == {"channels": [channels[2]]}


def test_no_channels_need_no_request_to_give_them_back():
    assert deribit.unsubscribe((), ROOMY, 5) == ()


@given(
    names=st.lists(st.text("ABC-0123456789_", min_size=1, max_size=40), max_size=60),
    per_request=st.integers(1, 30),
    request_bytes=st.integers(160, 2000),
)
def test_giving_back_holds_every_channel_once_and_breaks_no_limit(
    names, per_request, request_bytes
):
    channels = [f"book.{name}.100ms" for name in names]
    limits = Limits(per_request, request_bytes, 3.0, 10, 50, 2, 2**22, 30.0, 70.0)
    requests = deribit.unsubscribe(channels, limits, 10**9)
    assert [channel for request in requests for channel in request.channels] == channels
    assert [r.request_id for r in requests] == list(range(10**9, 10**9 + len(requests)))
    for request in requests:
        assert 0 < len(request.channels) <= per_request
        assert len(request.text.encode()) <= request_bytes


def fits(call, *arguments):
    try:
        call(*arguments)
    except SessionError:
        return False
    return True


def test_what_may_be_asked_for_may_be_given_back():
    # The word for giving back is two bytes longer than the one for asking.
    chosen = ChannelOptions(tickers=False, trades=False, marks=False, index=False)
    channels = (f"book.{OPTION}.100ms",)
    asked, given_back = [], []
    for request_bytes in range(100, 140):
        limits = Limits(1, request_bytes, 3.0, 10, 50, 9, 2**22, 30.0, 70.0)
        asked.append(fits(deribit.subscriptions, [option(OPTION)], chosen, limits))
        given_back.append(fits(deribit.unsubscribe, channels, limits, 5))
    assert asked == given_back
    assert (asked[0], asked[-1]) == (False, True)


# ---- session frames ---------------------------------------------------------------------------


def test_login_names_client_and_secret_and_its_answer_is_an_ack_or_a_refusal():
    request = deribit.login(Credentials("client-one", 'se"cret-two'))
    assert (request.request_id, request.channels) == (3, ())
    assert json.loads(request.text) == {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "public/auth",
        "params": {
            "grant_type": "client_credentials",
            "client_id": "client-one",
            "client_secret": 'se"cret-two',
        },
    }
    granted = b'{"jsonrpc":"2.0","id":3,"result":{"token_type":"bearer","scope":"connection"}}'
    assert deribit.control(granted) == Control(ack=(3, ()))
    refused = b'{"jsonrpc":"2.0","id":3,"error":{"code":13004,"message":"invalid_credentials"}}'
    assert deribit.control(refused) == Control(refused=(3, "13004 invalid_credentials"))


def test_hello_asks_for_heartbeats():
    (text,) = deribit.hello()
    assert json.loads(text)["method"] == "public/set_heartbeat"
    assert json.loads(text)["params"] == {"interval": 30}


def test_recorded_test_request_is_answered():
    frame = shared("fixtures/deribit/nautilus_ws_test_request.json").read_bytes()
    answer = deribit.control(frame)
    assert answer is not None
    assert answer.reply is not None
    assert json.loads(answer.reply)["method"] == "public/test"


def test_plain_heartbeat_needs_no_answer():
    frame = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}'
    answer = deribit.control(frame)
    assert answer is not None
    assert answer.reply is None


def test_recorded_answer_names_the_accepted_channels():
    frame = shared("fixtures/deribit/nautilus_ws_subscribe_response.json").read_bytes()
    answer = deribit.control(frame)
    assert answer is not None
    assert answer.ack == (1, ("trades.BTC-PERPETUAL.100ms", "book.BTC-PERPETUAL.100ms"))


def test_refusal_names_code_and_message():
    frame = shared("fixtures/deribit/nautilus_ws_error.json").read_bytes()
    answer = deribit.control(frame)
    assert answer is not None
    assert answer.refused == (1, "10028 too_many_requests")


def test_answers_to_our_own_tests_ask_for_nothing():
    for result in ('"ok"', '{"version":"1.2.26"}'):
        frame = f'{{"jsonrpc":"2.0","id":2,"result":{result},"testnet":false}}'.encode()
        answer = deribit.control(frame)
        assert answer is not None
        assert (answer.ack, answer.refused, answer.reply) == (None, None, None)


def test_platform_state_is_a_notice_and_no_market_data():
    frame = notification("platform_state", {"maintenance": True})
    answer = deribit.control(frame)
    assert answer is not None
    assert (answer.notice, answer.maintenance) == ('{"maintenance":true}', True)
    back = deribit.control(notification("platform_state", {"maintenance": False}))
    locked = deribit.control(notification("platform_state", {"price_index": "x", "locked": True}))
    odd = deribit.control(notification("platform_state", {"maintenance": "perhaps"}))
    assert back is not None
    assert locked is not None
    assert odd is not None
    assert (back.maintenance, locked.maintenance, odd.maintenance) == (False, None, None)
    out = DecodeOut()
    deribit.decode([frame], [1], {}, out)
    assert (out.error_count, out.skipped) == (0, {"other_channel": 1})


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(
    "channel",
    [
        "book.BTC-PERPETUAL.100ms",
        "ticker.BTC-PERPETUAL.100ms",
        "trades.option.BTC.100ms",
        "quote.BTC-PERPETUAL",
        "markprice.options.btc_usd",
        "deribit_price_index.btc_usd",
        "instrument.state.option.BTC",
    ],
)
def test_market_data_is_no_session_frame(channel, separators):
    assert deribit.control(notification(channel, {"timestamp": 1}, separators)) is None


@pytest.mark.parametrize("frame", [b"", b"\xff", b"{}", b"[" * 5000])
def test_rubbish_is_no_session_frame(frame):
    assert deribit.control(frame) is None


@pytest.mark.parametrize(
    ("channel", "symbol"),
    [
        ("book.BTC-27MAR26-100000-C.100ms", "BTC-27MAR26-100000-C"),
        ("book.BTC-PERPETUAL.none.10.100ms", "BTC-PERPETUAL"),
        ("quote.BTC-PERPETUAL", "BTC-PERPETUAL"),
        ("ticker.BTC-PERPETUAL.raw", "BTC-PERPETUAL"),
        ("trades.BTC-PERPETUAL.raw", "BTC-PERPETUAL"),
        ("deribit_price_index.btc_usd", "btc_usd"),
        ("trades.option.BTC.100ms", None),
        ("instrument.state.option.BTC", None),
        ("markprice.options.btc_usd", None),
        ("platform_state", None),
    ],
)
def test_symbol_of_channel(channel, symbol):
    assert deribit.symbol_of_channel(channel) == symbol
