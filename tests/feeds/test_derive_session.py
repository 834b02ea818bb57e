"""Derive's subscription plan and session frames; expected values typed in by hand."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.channels import ChannelLedger, Order
from feeds.contract import Listing, ListingKind
from feeds.errors import SessionError
from feeds.venue import ChannelNamer, ChannelOptions, Control, Limits, Pinger, Unsubscriber
from feeds.venues import derive
from tests.feeds.derive_frames import AT_MS, CALL, book, spot, ticker, trade, trades

ROOMY = Limits(500, 32_768, 3.0, 10, 1000, 24, 2**22, 30.0, 70.0)
PERPETUAL = Listing("derive", "ETH-PERP", ListingKind.PERP, "ETH", 1.0, "USDC", "linear", 0.01)
INDEX = Listing("derive", "ETH-USD", ListingKind.INDEX, "ETH", 1.0, "USD", "linear", 0.01)


def option(symbol: str = CALL, underlying: str = "ETH") -> Listing:
    return Listing(
        venue="derive",
        symbol=symbol,
        kind=ListingKind.OPTION,
        underlying=underlying,
        multiplier=1.0,
        price_ccy="USDC",
        settle="linear",
        tick=0.1,
        expiry_ns=10**18,
        strike_e9=10**12,
        right="C",
    )


# ---- subscription plan ------------------------------------------------------------------------


def test_plan_asks_for_whole_currencies_first():
    listings = [option(), PERPETUAL, option("BTC-20260627-90000-P", "BTC"), INDEX]
    (plan,) = derive.subscriptions(listings, ChannelOptions(), derive.LIMITS)
    assert plan.channels == (
        "spot_feed.BTC",
        "spot_feed.ETH",
        "trades.option.BTC",
        "trades.option.ETH",
        "trades.perp.ETH",
        "orderbook.BTC-20260627-90000-P.1.10",
        "ticker_slim.BTC-20260627-90000-P.1000",
        f"orderbook.{CALL}.1.10",
        f"ticker_slim.{CALL}.1000",
        "orderbook.ETH-PERP.1.10",
        "ticker_slim.ETH-PERP.1000",
    )
    (request,) = plan.requests
    sent = json.loads(request.text)
    assert (sent["method"], sent["id"]) == ("subscribe", request.request_id)
    assert sent["params"] == {"channels": list(plan.channels)}


@pytest.mark.parametrize(
    ("options", "channels"),
    [
        ({"book": "none"}, ["ticker_slim.{}.1000"]),
        ({"book": "none", "quotes": True}, ["ticker_slim.{}.100"]),
        ({"quotes": True}, ["orderbook.{}.1.10", "ticker_slim.{}.100"]),
        ({"quotes": True, "tickers": False}, ["orderbook.{}.1.10", "ticker_slim.{}.100"]),
        ({"tickers": False}, ["orderbook.{}.1.10"]),
        ({"book": "none", "tickers": False}, []),
    ],
)
def test_options_choose_the_channels(options, channels):
    chosen = ChannelOptions(**({"trades": False, "index": False} | options))
    plans = derive.subscriptions([option()], chosen, ROOMY)
    asked = [channel for plan in plans for channel in plan.channels]
    assert asked == [channel.format(CALL) for channel in channels]


@pytest.mark.parametrize("mode", ["delta", "window"])
@pytest.mark.parametrize(("asked", "offered"), [(1, 1), (2, 10), (11, 20), (21, 100), (500, 100)])
def test_depth_is_one_that_the_venue_has(mode, asked, offered):
    (request, _) = derive.resync("X", ChannelOptions(book=mode, book_depth=asked), 5)
    assert request.channels == (f"orderbook.X.1.{offered}",)


def test_nothing_is_asked_for_no_listings():
    assert derive.subscriptions([], ChannelOptions(), ROOMY) == ()


def test_a_whole_universe_fits_the_limits():
    listings = [option(f"ETH-20260627-{strike}-C") for strike in range(1, 2501)]
    plans = derive.subscriptions(listings, ChannelOptions(), derive.LIMITS)
    assert [len(plan.channels) for plan in plans] == [2000, 2000, 1002]


def test_a_universe_beyond_the_connections_is_refused():
    small = Limits(5, 4000, 3.0, 10, 5, 2, 2**22, 30.0, 70.0)
    with pytest.raises(SessionError, match="need 3 connections, expected at most 2"):
        derive.subscriptions([option(f"O{n}") for n in range(5)], ChannelOptions(), small)


def test_a_channel_longer_than_a_request_is_refused():
    tiny = Limits(5, 80, 3.0, 10, 50, 2, 2**22, 30.0, 70.0)
    with pytest.raises(SessionError, match="expected at most 80"):
        derive.subscriptions([option()], ChannelOptions(), tiny)


@given(
    names=st.sets(st.text("ABC-0123456789_", min_size=1, max_size=12), min_size=1, max_size=40),
    per_request=st.integers(1, 30),
    per_connection=st.integers(1, 50),
    request_bytes=st.integers(160, 2000),
    quotes=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_plan_holds_every_channel_once_and_breaks_no_limit(
    names, per_request, per_connection, request_bytes, quotes, order
):
    listings = [option(name) for name in names] + [PERPETUAL, INDEX]
    options = ChannelOptions(quotes=quotes)
    limits = Limits(per_request, request_bytes, 3.0, 10, per_connection, 10**6, 2**22, 30.0, 70.0)
    plans = derive.subscriptions(listings, options, limits)
    channels = [channel for plan in plans for channel in plan.channels]
    wanted = {"spot_feed.ETH", "trades.option.ETH", "trades.perp.ETH"}
    for name in [*names, "ETH-PERP"]:
        wanted |= {f"orderbook.{name}.1.10", f"ticker_slim.{name}.{100 if quotes else 1000}"}
    assert sorted(channels) == sorted(wanted)
    for plan in plans:
        assert len(plan.channels) <= per_connection
        ids = [request.request_id for request in plan.requests]
        assert len(ids) == len(set(ids))
        for request in plan.requests:
            assert 0 < len(request.channels) <= per_request
            assert len(request.text.encode()) <= request_bytes
            assert tuple(json.loads(request.text)["params"]["channels"]) == request.channels
    order.shuffle(listings)
    assert derive.subscriptions(listings, options, limits) == plans


def test_resync_unsubscribes_first():
    leave, join = derive.resync(CALL, ChannelOptions(), 41)
    assert (leave.request_id, join.request_id) == (41, 42)
    assert json.loads(leave.text)["method"] == "unsubscribe"
    assert json.loads(join.text)["method"] == "subscribe"
    assert leave.channels == join.channels == (f"orderbook.{CALL}.1.10",)


def test_resync_without_books_asks_for_quotes_or_nothing():
    quotes = derive.resync(CALL, ChannelOptions(book="none", quotes=True), 1)
    assert quotes[1].channels == (f"ticker_slim.{CALL}.100",)
    assert derive.resync(CALL, ChannelOptions(book="none"), 1) == ()


def test_channels_are_given_back_in_order_in_as_many_requests_as_it_takes():
    channels = (f"orderbook.{CALL}.1.10", "spot_feed.ETH", f"ticker_slim.{CALL}.1000")
    limits = Limits(2, 4000, 3.0, 10, 50, 2, 2**22, 30.0, 70.0)
    first, second = derive.unsubscribe(channels, limits, 1_000_041)
    assert (first.request_id, first.channels) == (1_000_041, channels[:2])
    assert (second.request_id, second.channels) == (1_000_042, channels[2:])
    assert json.loads(second.text)["method"] == "unsubscribe"
    assert derive.unsubscribe((), limits, 5) == ()


def fits(call: Any, *arguments: Any) -> bool:
    try:
        call(*arguments)
    except SessionError:
        return False
    return True


def test_what_may_be_asked_for_may_be_given_back():
    # The word for giving back is two bytes longer than the one for asking.
    chosen = ChannelOptions(tickers=False, trades=False, index=False)
    channels = (f"orderbook.{CALL}.1.10",)
    asked, given_back = [], []
    for request_bytes in range(100, 140):
        limits = Limits(1, request_bytes, 3.0, 10, 50, 9, 2**22, 30.0, 70.0)
        asked.append(fits(derive.subscriptions, [option()], chosen, limits))
        given_back.append(fits(derive.unsubscribe, channels, limits, 5))
    assert asked == given_back
    assert (asked[0], asked[-1]) == (False, True)


def test_what_the_venue_offers_beside_its_protocol():
    assert isinstance(derive, Unsubscriber)
    assert isinstance(derive, Pinger)
    assert not isinstance(derive, ChannelNamer)
    assert derive.hello() == ()


# ---- session frames ---------------------------------------------------------------------------


def answer(**fields: Any) -> Control:
    found = derive.control(json.dumps(fields).encode())
    assert found is not None
    return found


def test_an_answer_acknowledges_the_channels_that_are_ok():
    status = {"orderbook.ETH-PERP.1.10": "ok", "trades.spot.ETH": "{'instrument_type': [...]}"}
    found = answer(id=1001, result={"status": status, "current_subscriptions": []})
    assert found == Control(ack=(1001, ("orderbook.ETH-PERP.1.10",)))


def test_a_refusal_names_code_message_and_data():
    error = {"code": -32000, "message": "Rate limit exceeded", "data": "Retry after 10 ms"}
    reason = '-32000 Rate limit exceeded "Retry after 10 ms"'
    assert answer(id=1002, error=error) == Control(refused=(1002, reason))
    assert answer(id=None, error=error) == Control(notice=reason)
    long = answer(id=3, error={"code": 13000, "message": "x" * 5000}).refused
    assert long is not None
    assert len(long[1]) == 512


def test_pings_are_answered_with_nothing_to_do():
    sent = json.loads(derive.ping())
    assert sent["method"] == "public/get_time"
    assert answer(id=sent["id"], result=AT_MS) == Control()
    # A version without that method refuses it, which is a sign of life as well.
    assert answer(id=sent["id"], error={"code": -32601, "message": "?"}).refused is not None


@pytest.mark.parametrize(
    "frame",
    [book([], []), ticker(), trades(trade()), spot(ETH="1"), book([], []).replace(b":", b": ")],
)
def test_market_data_is_no_session_frame(frame):
    assert derive.control(frame) is None


@pytest.mark.parametrize("frame", [b"", b"\xff", b"{}", b"[" * 5000, b'{"id":1}', b'{"result":'])
def test_rubbish_is_no_session_frame(frame):
    assert derive.control(frame) is None


@pytest.mark.parametrize(
    ("channel", "symbol"),
    [
        ("orderbook.ETH-20260627-2400_5-C.1.10", "ETH-20260627-2400_5-C"),
        ("ticker_slim.ETH-PERP.1000", "ETH-PERP"),
        ("spot_feed.ETH", "ETH-USD"),
        ("trades.option.ETH", None),
        ("trades.perp.ETH", None),
        ("orderbook", None),
        ("spot_feed", None),
        ("", None),
    ],
)
def test_symbol_of_channel(channel, symbol):
    assert derive.symbol_of_channel(channel) == symbol


@pytest.mark.parametrize(
    ("channel", "owes"),
    [
        ("orderbook.ETH-PERP.1.10", True),
        ("ticker_slim.ETH-PERP.100", True),
        ("trades.option.ETH", False),
        ("spot_feed.ETH", False),
    ],
)
def test_books_and_tickers_owe_a_first_frame(channel, owes):
    assert derive.owes_first_frame(channel) is owes


def test_the_first_frame_of_a_channel_is_heard_by_its_name():
    (plan,) = derive.subscriptions([option()], ChannelOptions(), ROOMY)
    ledger = ChannelLedger(derive)
    for request in plan.requests:
        ledger.carry(request)
        ledger.sent(Order(request))
    assert ledger.answered(plan.requests[0].request_id, plan.channels, 100) is not None
    ledger.heard(book([], []))
    assert ledger.silent(200) == [f"ticker_slim.{CALL}.1000"]
