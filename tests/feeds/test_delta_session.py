"""What is asked of Delta, how its session frames are read, and the handler on a log of it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from feeds.channels import ChannelLedger, Order
from feeds.contract import Listing
from feeds.errors import SessionError
from feeds.events import Kind
from feeds.handler import VenueHandler
from feeds.record import Record, RecordType
from feeds.venue import ChannelNamer, ChannelOptions, Control, HttpRequest, Unsubscriber
from feeds.venues import VENUES
from tests.feeds.delta_frames import frame
from tests.feeds.deribit_frames import tuples

DELTA, INDIA = VENUES["delta"], VENUES["delta_india"]
CALL, PUT = "C-BTC-90000-310127", "P-BTC-90000-310127"
EVERYTHING = ChannelOptions(quotes=True)


def product(symbol: str, **changes: Any) -> dict[str, Any]:
    option = symbol.startswith(("C-", "P-"))
    return {
        "symbol": symbol,
        "contract_type": {"C-": "call_options", "P-": "put_options"}.get(
            symbol[:2], "perpetual_futures"
        ),
        "state": "live",
        "underlying_asset": {"symbol": "BTC"},
        "quoting_asset": {"symbol": "USDT"},
        "spot_index": {"symbol": ".DEXBTUSDT"},
        "contract_value": "0.001",
        "tick_size": "0.5",
        "notional_type": "vanilla",
        "is_quanto": False,
        "strike_price": "90000" if option else None,
        "settlement_time": "2027-01-31T12:00:00Z" if option else None,
    } | changes


def page(*products: dict[str, Any], after: str | None = None) -> bytes:
    return json.dumps({"meta": {"after": after}, "result": products, "success": True}).encode()


def listings(*symbols: str) -> list[Listing]:
    return DELTA.instruments(page(*map(product, symbols))).listings


# ---- universe ---------------------------------------------------------------------------------


def test_pages_follow_the_venue_s_cursor():
    (first,) = DELTA.discovery(["BTC"])
    found = DELTA.instruments(page(product(CALL), after="g3QAAAAB==&x"))
    assert found.following == HttpRequest("products", first.path + "&after=g3QAAAAB%3D%3D%26x")
    assert DELTA.instruments(page(product(CALL))).following is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"contract_type": "move_options"}, "move_options"),
        ({"contract_type": "binary_call_options"}, "binary_call_options"),
        ({"state": "expired"}, "state expired"),
        ({"is_quanto": True}, "quanto"),
        ({"quoting_asset": {"symbol": "BTC"}}, "quoted in BTC"),
        ({"strike_price": 90000}, "malformed"),
        ({"strike_price": "9e99"}, "malformed"),
        ({"settlement_time": None}, "malformed"),
        ({"settlement_time": "9999-01-01T00:00:00Z"}, "malformed"),
        ({"contract_value": "0"}, "malformed"),
        ({"contract_value": None}, "malformed"),
        ({"tick_size": None}, "malformed"),
        ({"notional_type": "odd"}, "malformed"),
        ({"underlying_asset": None}, "malformed"),
    ],
)
def test_what_is_no_listing_is_counted_by_reason(changes, reason):
    found = DELTA.instruments(page(product(CALL) | changes, product(PUT)))
    assert found.left_out == {reason: 1}
    assert [listing.symbol for listing in found.listings] == [PUT, ".DEXBTUSDT"]


def test_a_future_beyond_2262_is_no_listing():
    far = {"contract_type": "futures", "settlement_time": "2300-01-01T00:00:00Z"}
    assert DELTA.instruments(page(product("BTCUSDT_X") | far)).left_out == {"malformed": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"strike_price": "90001"},
        {"settlement_time": "2027-01-30T12:00:00Z"},
        {"contract_type": "put_options"},
        {"underlying_asset": {"symbol": "ETH"}},
    ],
)
def test_a_name_that_contradicts_the_fields_is_reported_and_the_fields_hold(changes):
    found = DELTA.instruments(page(product(CALL) | changes))
    assert len(found.conflicts) == 1
    assert found.conflicts[0].startswith(f"delta {CALL}: fields say")
    assert DELTA.instruments(page(product(CALL))).conflicts == []


def test_a_strike_with_decimals_is_read_from_its_digits():
    found = INDIA.instruments(page(product("C-BTC-0.0000123-310127", strike_price="0.0000123")))
    assert (found.listings[0].strike_e9, found.listings[0].venue) == (12300, "delta_india")


# ---- plan -------------------------------------------------------------------------------------


def test_the_plan_asks_for_whole_kinds_first_and_books_on_connections_of_their_own():
    light, depth = DELTA.subscriptions(listings(CALL, PUT, "BTCUSDT"), EVERYTHING, DELTA.LIMITS)
    assert light.channels == (
        "all_trades:call_options",
        "all_trades:perpetual_futures",
        "all_trades:put_options",
        "mark_price:call_options",
        "mark_price:perpetual_futures",
        "mark_price:put_options",
        "product_updates",
        "v2/spot_price:.DEXBTUSDT",
        "l1_orderbook:BTCUSDT",
        "v2/ticker:BTCUSDT",
        f"l1_orderbook:{CALL}",
        f"v2/ticker:{CALL}",
        f"l1_orderbook:{PUT}",
        f"v2/ticker:{PUT}",
    )
    assert depth.channels == ("l2_updates:BTCUSDT", f"l2_updates:{CALL}", f"l2_updates:{PUT}")
    assert [plan.connection for plan in (light, depth)] == [0, 1]
    (request,) = depth.requests
    assert json.loads(request.text) == {
        "type": "subscribe",
        "payload": {"channels": [{"name": "l2_updates", "symbols": ["BTCUSDT", CALL, PUT]}]},
    }
    named = json.loads(light.requests[0].text)["payload"]["channels"]
    assert {"name": "product_updates"} in named


def test_india_is_asked_in_the_short_dialect():
    light, depth = INDIA.subscriptions(listings(CALL), EVERYTHING, INDIA.LIMITS)
    assert depth.channels == (f"ob_updates:{CALL}",)
    assert light.channels == (
        "mark_price:call_options",
        "mark_price:put_options",
        "spot_price:.DEXBTUSDT",
        "system_status",
        "trades:call_options",
        "trades:put_options",
        f"ob_l1:{CALL}",
        f"ticker:{CALL}",
    )


def many(count: int) -> list[Listing]:
    return listings(*(f"C-BTC-{strike}-310127" for strike in range(1, count + 1)))


@pytest.mark.parametrize(("book", "largest"), [("delta", 100), ("window", 20)])
def test_no_connection_carries_more_books_than_the_venue_allows(book, largest):
    options = ChannelOptions(book=book, tickers=False, trades=False, marks=False, index=False)
    _, *depth = DELTA.subscriptions(many(250), options, DELTA.LIMITS)
    counts = [len(plan.channels) for plan in depth]
    assert (max(counts), sum(counts)) == (largest, 250)
    assert all(len(request.text) <= 16_384 for plan in depth for request in plan.requests)


def test_the_plan_does_not_depend_on_the_order_and_stays_within_limits():
    found = many(130)
    plans = DELTA.subscriptions(found, EVERYTHING, DELTA.LIMITS)
    assert DELTA.subscriptions(found[::-1], EVERYTHING, DELTA.LIMITS) == plans
    assert [plan.connection for plan in plans] == list(range(len(plans)))
    assert all(len(plan.channels) <= 100 for plan in plans)
    tight = replace(DELTA.LIMITS, channels_per_request=7, request_bytes_max=300)
    for plan in DELTA.subscriptions(found, EVERYTHING, tight):
        assert all(len(r.channels) <= 7 and len(r.text) <= 300 for r in plan.requests)
    with pytest.raises(SessionError, match="connections"):
        DELTA.subscriptions(found, EVERYTHING, replace(DELTA.LIMITS, connections_max=2))
    assert DELTA.subscriptions([], EVERYTHING, DELTA.LIMITS) == ()


@pytest.mark.parametrize(
    ("options", "channel"),
    [
        (ChannelOptions(), "l2_updates"),
        (ChannelOptions(book="window"), "l2_orderbook"),
        (ChannelOptions(book="none", quotes=True), "l1_orderbook"),
    ],
)
def test_a_resync_gives_the_book_back_before_it_asks_again(options, channel):
    first, second = DELTA.resync(CALL, options, 70)
    assert [json.loads(request.text)["type"] for request in (first, second)] == [
        "unsubscribe",
        "subscribe",
    ]
    assert first.channels == second.channels == (f"{channel}:{CALL}",)
    assert (first.request_id, second.request_id) == (70, 71)


def test_there_is_nothing_to_resync_without_books_or_quotes():
    assert DELTA.resync(CALL, ChannelOptions(book="none"), 70) == ()


def test_channels_say_what_they_are_about():
    assert DELTA.symbol_of_channel(f"mark_price:{CALL}") == CALL
    assert DELTA.symbol_of_channel("v2/spot_price:.DEXBTUSDT") == ".DEXBTUSDT"
    for wide in ("product_updates", "mark_price:put_options", "all_trades:futures"):
        assert DELTA.symbol_of_channel(wide) is None
    owing = ("l2_updates", "ob_l2", "ticker", "ob_l1", "trades", "mark_price")
    assert [DELTA.owes_first_frame(f"{name}:{CALL}") for name in owing] == [True] * 3 + [False] * 3


def test_market_frames_name_their_channel_and_give_no_control():
    book = frame(action="update", asks=[], bids=[], symbol=CALL, type="l2_updates")
    ticker = frame(symbol=CALL, type="v2/ticker")
    assert DELTA.channel_of(book) == f"l2_updates:{CALL}"
    assert DELTA.channel_of(ticker) == f"v2/ticker:{CALL}"
    assert INDIA.channel_of(frame(d=[], sp="1", sy=CALL, ts=1, type="ticker")) == f"ticker:{CALL}"
    assert DELTA.channel_of(b"?") is None
    assert DELTA.channel_of(frame(type="heartbeat")) is None
    for message in (book, ticker, b"?", b"[" * 5000, frame(type="candlestick_1m")):
        assert DELTA.control(message) is None


def test_both_platforms_can_give_channels_back_and_name_them():
    for venue in (DELTA, INDIA):
        assert isinstance(venue, Unsubscriber)
        assert isinstance(venue, ChannelNamer)
        (request,) = venue.unsubscribe([f"trades:{CALL}"], venue.LIMITS, 9)
        assert json.loads(request.text)["type"] == "unsubscribe"
        assert [json.loads(text) for text in venue.hello()] == [{"type": "enable_heartbeat"}]


# ---- session frames ---------------------------------------------------------------------------


def test_an_acknowledgement_names_channels_and_a_refusal_only_its_name():
    answer = frame(
        channels=[
            {"name": "l2_updates", "symbols": [CALL, PUT]},
            {"name": "system_status"},
            {"name": "product_updates", "error": "subscription forbidden on this invalid channel"},
        ],
        type="subscriptions",
    )
    assert DELTA.control(answer) == Control(
        accepted=(f"l2_updates:{CALL}", f"l2_updates:{PUT}", "system_status"),
        denied=("product_updates",),
        notice="product_updates: subscription forbidden on this invalid channel",
    )


def test_an_acknowledgement_settles_the_request_it_answers():
    _, depth = DELTA.subscriptions(listings(CALL, PUT), EVERYTHING, DELTA.LIMITS)
    ledger = ChannelLedger(DELTA)
    ledger.carry(depth.requests[0])
    ledger.sent(Order(depth.requests[0]))
    answer = frame(channels=[{"name": "l2_updates", "symbols": [PUT, CALL]}], type="subscriptions")
    control = DELTA.control(answer)
    assert control is not None
    (done,) = ledger.named(control.accepted, control.denied, 5)
    assert (set(done.accepted), done.missing) == (set(depth.channels), ())
    ledger.heard(frame(action="snapshot", asks=[], bids=[], symbol=CALL, type="l2_updates"))
    assert ledger.silent(5) == [f"l2_updates:{PUT}"]


@pytest.mark.parametrize("kind", ["heartbeat", "pong"])
def test_signs_of_life_ask_for_nothing(kind):
    assert DELTA.control(frame(type=kind)) == Control()


def test_what_an_operator_should_know_is_a_notice():
    refusal = frame(message="Subscription forbidden: Invalid channel array", type="error")
    assert DELTA.control(refusal) == Control(notice="Subscription forbidden: Invalid channel array")
    status = frame(event="maintenance_started", status="maintenance", type="system_status")
    control = INDIA.control(status)
    assert control is not None
    assert "maintenance_started" in (control.notice or "")
    assert control.maintenance is True
    over = INDIA.control(frame(event="maintenance_finished", status="live", type="system_status"))
    later = INDIA.control(frame(event="maintenance_scheduled", type="system_status"))
    assert over is not None
    assert later is not None
    assert (over.maintenance, later.maintenance) == (False, None)


@pytest.mark.parametrize(
    ("event", "status", "down"),
    [
        ("snapshot", "maintenance", True),
        ("snapshot", "live", False),
        ("snapshot", "degraded_mode", False),
        ("app_status_update", "degraded_mode", None),
    ],
)
def test_the_first_status_of_a_subscription_says_whether_the_venue_is_down(event, status, down):
    control = INDIA.control(frame(event=event, status=status, timestamp=1, type="system_status"))
    assert control is not None
    assert control.maintenance is down


def test_a_book_that_could_not_be_sent_is_asked_for_again():
    failed = frame(action="error", msg="Snapshot load failed.", symbol=CALL, type="l2_updates")
    assert DELTA.control(failed) == Control(resync=(CALL,), notice="Snapshot load failed.")
    short = frame(action="error", msg="Snapshot load failed.", sy=CALL, type="ob_updates")
    assert INDIA.control(short) == Control(resync=(CALL,), notice="Snapshot load failed.")


# ---- handler ----------------------------------------------------------------------------------


def book(action: str, sequence: int, bid: str, size: str) -> bytes:
    return frame(
        action=action,
        asks=[],
        bids=[[bid, size]],
        cs=0,
        sequence_no=sequence,
        symbol=CALL,
        timestamp=1780000000000000,
        type="l2_updates",
    )


def test_a_gap_clears_the_book_and_a_fresh_snapshot_brings_it_back():
    channel = json.dumps([f"l2_updates:{CALL}"]).encode()
    steps = [
        (RecordType.HTTP, "instruments:products", page(product(CALL))),
        (RecordType.SUBSCRIPTION, "accepted", channel),
        (RecordType.FRAME, "", book("update", 9, "1", "1")),  # before any snapshot
        (RecordType.FRAME, "", book("snapshot", 10, "50.5", "3")),
        (RecordType.FRAME, "", book("update", 11, "51", "4")),
        (RecordType.FRAME, "", book("update", 11, "51", "9")),  # a copy
        (RecordType.FRAME, "", book("update", 13, "52", "5")),  # 12 is missing
        (RecordType.FRAME, "", book("update", 14, "53", "6")),
        (RecordType.SUBSCRIPTION, "unsubscribe", channel),
        (RecordType.SUBSCRIPTION, "accepted", channel),
        (RecordType.FRAME, "", book("snapshot", 20, "54", "7")),
        (RecordType.FRAME, "", book("update", 21, "54", "0")),
    ]
    log = [
        Record(1_780_000_000_000_000_000 + at, kind, "delta", 0, name, payload)
        for at, (kind, name, payload) in enumerate(steps)
    ]
    ids: list[str] = []

    def allocate(listing: Listing) -> int:
        ids.append(listing.symbol)
        return len(ids) - 1

    handler = VenueHandler(DELTA, ChannelOptions(), allocate, lambda *_: None)
    out = handler.consume(log)
    assert ids == [CALL, ".DEXBTUSDT"]
    rows = out.rows
    assert rows["kind"].tolist() == [
        Kind.BOOK_SNAPSHOT,
        Kind.BOOK_DELTA,
        Kind.CLEAR,
        Kind.BOOK_SNAPSHOT,
        Kind.BOOK_DELTA,
    ]
    assert tuples(rows[rows["kind"] != Kind.CLEAR], "price", "size") == [
        (50.5, 3.0),
        (51.0, 4.0),
        (54.0, 7.0),
        (54.0, 0.0),
    ]
    assert out.resync == [CALL]
    assert (out.counts["gaps"], out.counts["duplicates"], out.counts["resyncs"]) == (1, 1, 1)
