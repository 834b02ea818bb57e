"""Bullish's markets, what is asked of it, its session frames, and the handler on a log of it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from feeds.contract import Listing, ListingKind
from feeds.errors import FrameError, SessionError
from feeds.events import Kind
from feeds.handler import VenueHandler
from feeds.record import Record, RecordType
from feeds.venue import ChannelNamer, ChannelOptions, Control, Pinger, Unsubscriber
from feeds.venues import bullish
from tests.feeds.bullish_frames import (
    CALL,
    INDEX,
    PERP,
    PUT,
    book,
    index,
    quote,
    tick,
    trade,
    trades,
)
from tests.feeds.deribit_frames import tuples

EVERYTHING = ChannelOptions(quotes=True)


def market(symbol: str, **changes: Any) -> dict[str, Any]:
    """A market in the shape of the venue's specification."""
    option = symbol[-2:] in ("-C", "-P")
    return {
        "symbol": symbol,
        "marketType": "OPTION" if option else "PERPETUAL",
        "marketEnabled": True,
        "underlyingBaseSymbol": "BTC",
        "underlyingQuoteSymbol": "USDC",
        "tickSize": "0.1000",
        "minQuantityLimit": "0.10000000",
        "contractMultiplier": None if option else "1",
        "expiryDatetime": "2027-01-29T08:00:00.000Z" if option else None,
        "optionStrikePrice": "70000.0000" if option else None,
        "optionType": {"C": "CALL", "P": "PUT"}.get(symbol[-1]) if option else None,
    } | changes


def body(*markets: dict[str, Any]) -> bytes:
    return json.dumps(markets).encode()


def listings(*symbols: str) -> list[Listing]:
    return bullish.instruments(body(*map(market, symbols))).listings


# ---- universe ---------------------------------------------------------------------------------


def test_markets_become_listings_and_each_underlying_an_index():
    call, perp, asset = bullish.instruments(body(market(CALL), market(PERP))).listings
    assert str(call.contract) == "BTC-20270129T0800Z-70000-C"
    assert (call.multiplier, call.price_per, call.tick, call.lot) == (1.0, 1.0, 0.1, 0.1)
    assert (call.price_ccy, call.settle, call.style) == ("USDC", "linear", "european")
    assert (perp.kind, perp.expiry_ns, perp.multiplier) == (ListingKind.PERP, None, 1.0)
    assert (asset.symbol, asset.kind, asset.price_ccy) == ("BTC", ListingKind.INDEX, "USD")


def test_a_future_expires_and_a_multiplier_is_kept():
    changes = {"marketType": "DATED_FUTURE", "expiryDatetime": "2027-09-01T08:00:00.000Z"}
    odd = market("BTC-USDC-20270901") | changes | {"contractMultiplier": "1000"}
    future = bullish.instruments(body(odd)).listings[0]
    assert (future.kind, future.expiry_ns) == (ListingKind.FUTURE, 1819785600 * 10**9)
    assert future.multiplier == 1000.0


def test_a_strike_is_read_from_its_digits():
    name = "XRP-USDC-20270129-0.4-P"
    put = market(name, underlyingBaseSymbol="XRP", optionStrikePrice="0.4000")
    found = bullish.instruments(body(put))
    assert (found.listings[0].strike_e9, found.conflicts) == (400_000_000, [])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"marketType": "SPOT"}, "SPOT"),
        ({"marketEnabled": False}, "disabled"),
        ({"optionStrikePrice": 70000}, "malformed"),
        ({"optionStrikePrice": None}, "malformed"),
        ({"optionStrikePrice": "9e99"}, "malformed"),
        ({"optionType": "BOTH"}, "malformed"),
        ({"expiryDatetime": None}, "malformed"),
        ({"expiryDatetime": "soon"}, "malformed"),
        ({"tickSize": "0"}, "malformed"),
        ({"underlyingBaseSymbol": ""}, "malformed"),
        ({"marketType": "DATED_FUTURE", "expiryDatetime": "2300-01-01T00:00:00Z"}, "malformed"),
    ],
)
def test_what_is_no_listing_is_counted_by_reason(changes, reason):
    found = bullish.instruments(body(market(CALL) | changes, market(PUT)))
    assert found.left_out == {reason: 1}
    assert [listing.symbol for listing in found.listings] == [PUT, "BTC"]


@pytest.mark.parametrize(
    "changes",
    [
        {"optionStrikePrice": "70001.0000"},
        {"expiryDatetime": "2027-01-30T08:00:00.000Z"},
        {"optionType": "PUT"},
        {"underlyingBaseSymbol": "ETH"},
        {"underlyingQuoteSymbol": "USD"},
    ],
)
def test_a_name_that_contradicts_the_fields_is_reported(changes):
    found = bullish.instruments(body(market(CALL) | changes))
    assert len(found.conflicts) == 1
    assert found.conflicts[0].startswith(f"bullish {CALL}: fields say")
    assert bullish.instruments(body(market(CALL))).conflicts == []


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"errorCode":96000}', b"[" * 5000])
def test_a_body_that_is_no_list_of_markets_is_refused(answer):
    with pytest.raises(FrameError, match="markets"):
        bullish.instruments(answer)


def test_discovery_asks_for_each_kind():
    assert [request.path for request in bullish.discovery(["BTC"])] == [
        "/v1/markets?marketType=OPTION",
        "/v1/markets?marketType=PERPETUAL",
        "/v1/markets?marketType=DATED_FUTURE",
    ]


# ---- plan -------------------------------------------------------------------------------------


def test_each_path_has_connections_of_its_own_the_cheap_ones_first():
    plans = bullish.subscriptions(listings(CALL, PERP), EVERYTHING, bullish.LIMITS)
    assert [(plan.connection, plan.path, plan.channels) for plan in plans] == [
        (0, "/trading-api/v1/index-data", ("indexPrice:BTC",)),
        (1, "/trading-api/v1/market-data/tick", (f"tick:{CALL}", f"tick:{PERP}")),
        (
            2,
            "/trading-api/v1/market-data/trades",
            (f"anonymousTrades:{CALL}", f"anonymousTrades:{PERP}"),
        ),
        (
            3,
            "/trading-api/v1/market-data/orderbook",
            (
                f"l2Orderbook:{CALL}",
                f"l1Orderbook:{CALL}",
                f"l2Orderbook:{PERP}",
                f"l1Orderbook:{PERP}",
            ),
        ),
    ]
    assert json.loads(plans[3].requests[0].text) == {
        "jsonrpc": "2.0",
        "type": "command",
        "method": "subscribe",
        "params": {"topic": "l2Orderbook", "symbol": CALL},
        "id": "1",
    }
    assert json.loads(plans[0].requests[0].text)["params"] == {
        "topic": "indexPrice",
        "assetSymbol": "BTC",
    }


def test_a_request_asks_for_one_channel_whatever_the_limits_say():
    found = listings(*(f"BTC-USDC-20270129-{strike}-C" for strike in range(1, 301)))
    many = replace(bullish.LIMITS, channels_per_request=50)
    plans = bullish.subscriptions(found, EVERYTHING, many)
    assert {len(request.channels) for plan in plans for request in plan.requests} == {1}
    for plan in plans:
        assert len(plan.channels) <= 200
        ids = [request.request_id for request in plan.requests]
        assert ids == list(range(1, len(ids) + 1))
    assert bullish.subscriptions(found[::-1], EVERYTHING, many) == plans
    with pytest.raises(SessionError, match="connections"):
        bullish.subscriptions(found, EVERYTHING, replace(many, connections_max=3))
    assert bullish.subscriptions([], EVERYTHING, many) == ()


def test_the_venue_has_one_form_of_a_book():
    plans = bullish.subscriptions(listings(CALL), ChannelOptions(book="window"), bullish.LIMITS)
    assert plans[-1].channels == (f"l2Orderbook:{CALL}",)
    none = ChannelOptions(book="none", tickers=False, marks=False, trades=False, index=False)
    assert bullish.subscriptions(listings(CALL), none, bullish.LIMITS) == ()


@pytest.mark.parametrize(
    ("options", "channel"),
    [(EVERYTHING, "l2Orderbook"), (ChannelOptions(book="none", quotes=True), "l1Orderbook")],
)
def test_a_resync_gives_the_book_back_before_it_asks_again(options, channel):
    first, second = bullish.resync(CALL, options, 70)
    methods = [json.loads(request.text)["method"] for request in (first, second)]
    assert methods == ["unsubscribe", "subscribe"]
    assert first.channels == second.channels == (f"{channel}:{CALL}",)
    assert (first.request_id, second.request_id) == (70, 71)
    assert bullish.resync(CALL, ChannelOptions(book="none"), 70) == ()


def test_channels_are_given_back_one_by_one():
    asked = bullish.unsubscribe([f"tick:{CALL}", f"l2Orderbook:{PUT}"], bullish.LIMITS, 9)
    assert [(request.request_id, request.channels) for request in asked] == [
        (9, (f"tick:{CALL}",)),
        (10, (f"l2Orderbook:{PUT}",)),
    ]
    for kind in (Unsubscriber, ChannelNamer, Pinger):
        assert isinstance(bullish, kind)


# ---- session frames ---------------------------------------------------------------------------


def test_an_answer_is_for_the_one_channel_of_its_request():
    text = '{"jsonrpc":"2.0","id":"17","result":{"responseCode":"200","message":"Successfully"}}'
    assert bullish.control(text.encode()) == Control(ack=(17, None))


def test_a_refusal_says_why():
    text = (
        '{"jsonrpc":"2.0","id":"12","error":{"code":"-32602","errorCode":"29013",'
        '"errorCodeName":"\'NOPE\' is not a valid symbol"}}'
    )
    assert bullish.control(text.encode()) == Control(
        refused=(12, "29013 'NOPE' is not a valid symbol")
    )
    assert bullish.control(text.replace('"12"', '""').encode()) == Control(
        notice="29013 'NOPE' is not a valid symbol"
    )


def test_pings_are_answered_by_a_number_of_their_own():
    ping = json.loads(bullish.ping())
    assert (ping["method"], ping["id"]) == ("keepalivePing", "0")
    pong = b'{"jsonrpc":"2.0","id":"0","result":{"responseCode":200,"message":"Keep alive pong"}}'
    assert bullish.control(pong) == Control()
    assert bullish.hello() == ()
    assert bullish.LIMITS.ping_s == 20.0


def test_market_frames_give_no_control_and_name_their_channel():
    frames = {
        "l2Orderbook": book("snapshot", 1, 1),
        "l1Orderbook": quote(),
        "anonymousTrades": trades(trade()),
        "tick": tick(),
    }
    for topic, message in frames.items():
        assert bullish.control(message) is None
        assert bullish.channel_of(message) == f"{topic}:{CALL}"
        assert bullish.symbol_of_channel(f"{topic}:{CALL}") == CALL
    assert bullish.channel_of(index()) == f"indexPrice:{INDEX}"
    for rubbish in (b"?", b"[" * 5000, b'{"id":"1"}', b'{"type":"update","dataType":"V1TAHeart"}'):
        assert bullish.control(rubbish) is None
        assert bullish.channel_of(rubbish) is None


# ---- handler ----------------------------------------------------------------------------------


def test_a_gap_clears_the_book_and_a_fresh_snapshot_brings_it_back():
    channel = json.dumps([f"l2Orderbook:{CALL}"]).encode()
    steps = [
        (RecordType.HTTP, "instruments:markets OPTION", body(market(CALL))),
        (RecordType.SUBSCRIPTION, "accepted", channel),
        (RecordType.FRAME, "", book("update", 8, 9, ["1", "1"])),  # before any snapshot
        (RecordType.FRAME, "", book("snapshot", 10, 10, ["50", "3"])),
        (RecordType.FRAME, "", book("snapshot", 12, 14, ["51", "4"])),  # a jump loses nothing
        (RecordType.FRAME, "", book("update", 15, 17, ["51", "5"])),
        (RecordType.FRAME, "", book("update", 15, 17, ["51", "9"])),  # a copy
        (RecordType.FRAME, "", book("update", 19, 20, ["52", "6"])),  # 18 is missing
        (RecordType.FRAME, "", book("update", 21, 22, ["53", "7"])),
        (RecordType.SUBSCRIPTION, "unsubscribe", channel),
        (RecordType.SUBSCRIPTION, "accepted", channel),
        (RecordType.FRAME, "", book("snapshot", 2, 2, ["54", "8"])),
        (RecordType.FRAME, "", book("snapshot", 3, 3)),
    ]
    log = [
        Record(1_790_000_000_000_000_000 + at, kind, "bullish", 0, name, payload)
        for at, (kind, name, payload) in enumerate(steps)
    ]
    ids: list[str] = []

    def allocate(listing: Listing) -> int:
        ids.append(listing.symbol)
        return len(ids) - 1

    out = VenueHandler(bullish, ChannelOptions(), allocate, lambda *_: None).consume(log)
    assert ids == [CALL, INDEX]
    assert tuples(out.rows, "kind", "size") == [
        (Kind.BOOK_SNAPSHOT, 3.0),
        (Kind.BOOK_SNAPSHOT, 4.0),
        (Kind.BOOK_DELTA, 5.0),
        (Kind.CLEAR, 0.0),
        (Kind.BOOK_SNAPSHOT, 8.0),
        (Kind.BOOK_SNAPSHOT, 0.0),  # known to be empty
    ]
    assert out.resync == [CALL]
    assert (out.counts["gaps"], out.counts["duplicates"], out.counts["resyncs"]) == (1, 1, 1)
