"""Bybit's spots: a name of their own, a path of their own, frames that name the perpetual."""

import json
from typing import Any

import pytest
from hypothesis import given

from feeds.channels import ChannelLedger
from feeds.contract import Listing, ListingKind
from feeds.events import Kind
from feeds.handler import VenueHandler
from feeds.journal import Journal
from feeds.links import Link, SessionCounts
from feeds.receiver import Receiver
from feeds.record import Record, RecordType
from feeds.recorder import Recorder
from feeds.venue import ChannelOptions
from feeds.venues import bybit
from tests.feeds.bybit_frames import (
    CALL,
    INDEX,
    PERP,
    PUT,
    RX_NS,
    body,
    book,
    clean,
    decoded,
    entry,
    message,
    perpetual,
    ticker,
    trade,
    trades,
    tuples,
)
from tests.feeds.deribit_frames import f32
from tests.feeds.toy_venue import HandTime
from tests.feeds.venue_frames import mutated

# ---- instruments and plan -----------------------------------------------------------------------


def spot(symbol: str = "BTCUSDT", **changes: Any) -> dict[str, Any]:
    """One pair in the documented shape."""
    return {
        "symbol": symbol, "status": "Trading", "baseCoin": "BTC", "quoteCoin": symbol[3:],
        "innovation": "0", "marginTrading": "utaOnly",
        "lotSizeFilter": {"basePrecision": "0.000001", "quotePrecision": "0.0000001",
                          "minOrderQty": "0.000001", "maxOrderQty": "230", "minOrderAmt": "5"},
        "priceFilter": {"tickSize": "0.1"},
        "riskParameters": {"limitParameter": "0.01", "marketParameter": "0.01"},
    } | changes  # fmt: skip


def spots(*entries: Any, **more: Any) -> list[Listing]:
    return bybit.instruments(body(*entries, category="spot", **more)).listings


def test_a_spot_has_a_name_of_its_own_beside_the_perpetual_and_is_sized_in_coins():
    assert spots(spot()) == [
        Listing(
            "bybit", "BTCUSDT/SPOT", ListingKind.SPOT, "BTC", 1.0, "USDT", "linear", 0.1, lot=1e-6
        )
    ]  # fmt: skip
    perp, index = bybit.instruments(body(perpetual(), category="linear")).listings
    assert len({perp.symbol, index.symbol, spots(spot())[0].symbol}) == 3


def test_spots_in_other_currencies_or_that_do_not_trade_are_left_out():
    found = bybit.instruments(
        body(
            spot(), spot("BTCUSDC"), spot("BTCUSD"), spot("BTCEUR"), spot("BTCBRZ"),
            spot(status="Closed"), spot(priceFilter={"tickSize": "0"}), spot(baseCoin=""),
            category="spot",
        )
    )  # fmt: skip
    assert [one.price_ccy for one in found.listings] == ["USDT", "USDC", "USD"]
    assert found.left_out == {"other_quote": 2, "closed": 1, "malformed": 2}


def test_spots_come_in_one_page_whatever_a_cursor_says():
    found = bybit.instruments(body(spot(), category="spot", cursor="more"))
    assert (len(found.listings), found.following) == (1, None)


def derivatives() -> list[Listing]:
    options = bybit.instruments(body(entry(), entry(PUT))).listings
    return options + bybit.instruments(body(perpetual(), category="linear")).listings


def test_plan_of_spots_is_on_their_own_path_with_ten_channels_a_request():
    names = [f"{coin}USDT" for coin in ("ADA", "BTC", "ETH", "SOL", "XRP", "DOT")]
    pairs = spots(*(spot(name, quoteCoin="USDT", baseCoin=name[:-4]) for name in names))
    plans = bybit.subscriptions(derivatives() + pairs, ChannelOptions(), bybit.LIMITS)
    assert [(plan.connection, plan.path) for plan in plans] == [
        (0, "/option"), (1, "/linear"), (2, "/spot"),
    ]  # fmt: skip
    assert plans[2].channels == (
        *(f"publicTrade.{name}/SPOT" for name in sorted(names)),
        *(f"orderbook.50.{name}/SPOT" for name in sorted(names)),
    )
    assert [len(request.channels) for request in plans[2].requests] == [10, 2]
    assert json.loads(plans[2].requests[1].text)["args"] == [
        "orderbook.50.SOLUSDT", "orderbook.50.XRPUSDT",
    ]  # fmt: skip
    back = bybit.unsubscribe(plans[2].channels, bybit.LIMITS, 9)
    assert [request.channels for request in back] == [r.channels for r in plans[2].requests]
    assert plans[:2] == bybit.subscriptions(derivatives(), ChannelOptions(), bybit.LIMITS)


def test_resync_of_a_spot_names_it_as_the_venue_does():
    first, second = bybit.resync("BTCUSDT/SPOT", ChannelOptions(), 7)
    assert first.channels == second.channels == ("orderbook.50.BTCUSDT/SPOT",)
    assert [json.loads(one.text)["args"] for one in (first, second)] == [
        ["orderbook.50.BTCUSDT"]
    ] * 2
    quotes = ChannelOptions(book="none", quotes=True)
    assert bybit.resync("BTCUSDT/SPOT", quotes, 1)[1].channels == ("orderbook.1.BTCUSDT/SPOT",)


# ---- spots, whose frames name the perpetual -----------------------------------------------------

SPOT = "BTCUSDT/SPOT"
# Published by others who received it on the spot path on 2026-09-02.
SPOT_PRINT = (
    b'{"topic":"publicTrade.BTCUSDT","ts":1788335009483,"type":"snapshot","data":[{"i":'
    b'"2290000001202469355","T":1788335009482,"p":"77606.8","v":"0.000712","S":"Buy","seq":'
    b'113508069853,"s":"BTCUSDT","BT":false,"RPI":false}]}'
)
SPOT_SAMPLES = [
    SPOT_PRINT,
    book("snapshot", 5, [["77606.7", "0.014895"]], [["77606.8", "0.088149"]], symbol=PERP),
    book("delta", 6, [["77606.7", "0"]], symbol=PERP),
    message("orderbook.1.BTCUSDT", "snapshot",
            {"s": PERP, "b": [["77606.7", "2"]], "a": [], "u": 9, "seq": 3}),
    ticker(PERP, usdIndexPrice="77600.1", lastPrice="77606.8", indexPrice="77600.1"),
]  # fmt: skip


def test_a_frame_of_the_spot_path_names_the_spot_in_either_layout():
    loose = json.dumps(json.loads(SPOT_PRINT), indent=1).encode()
    for content in (SPOT_PRINT, loose):
        out = clean([bybit.named(content)], {PERP: 2, SPOT: 4})
        assert tuples(out.rows.view(), "listing_id", "side", "price", "size", "ex_ns") == [
            (4, 1, 77606.8, f32(0.000712), 1788335009482 * 10**6)
        ]
    snapshot, delta = (bybit.named(content) for content in SPOT_SAMPLES[1:3])
    out = clean([snapshot, delta], {PERP: 2, SPOT: 4})
    assert tuples(out.rows.view(), "listing_id", "kind", "side", "price", "size") == [
        (4, Kind.BOOK_SNAPSHOT, 1, 77606.7, f32(0.014895)),
        (4, Kind.BOOK_SNAPSHOT, -1, 77606.8, f32(0.088149)),
        (4, Kind.BOOK_DELTA, 1, 77606.7, 0.0),
    ]
    assert bybit.control(bybit.named(snapshot)) is None


@given(content=mutated(SPOT_SAMPLES))
def test_whatever_comes_on_the_spot_path_the_perpetual_and_its_index_hear_nothing(content):
    out = decoded([bybit.named(content)], {PERP: 2, INDEX: 3, CALL: 0})
    assert out.rows.count == out.tickers.count == out.frames.count == 0


def test_a_frame_with_an_escape_is_an_error_and_not_the_perpetual_s():
    hidden = SPOT_PRINT.replace(b'"s"', b'"\\u0073"')
    assert json.loads(hidden)["data"][0]["s"] == PERP
    out = decoded([bybit.named(hidden)], {PERP: 2, SPOT: 4})
    assert (out.rows.count, out.error_count) == (0, 1)


def test_the_handler_knows_by_its_connection_what_a_frame_is_about():
    universe: list[str] = []

    def allocate(listing: Listing) -> int:
        universe.append(listing.symbol)
        return len(universe) - 1

    handler = VenueHandler(bybit, ChannelOptions(), allocate, lambda *_: None)
    log: list[Record] = []

    def add(kind: RecordType, name: str, payload: bytes, connection: int) -> None:
        log.append(Record(RX_NS + len(log), kind, "bybit", connection, name, payload))

    for content in (
        body(entry()), body(perpetual(), category="linear"), body(spot(), category="spot"),
    ):  # fmt: skip
        add(RecordType.HTTP, "instruments", content, -1)
    add(RecordType.CONNECTION, "open", b"/linear", 1)
    add(RecordType.CONNECTION, "open", b"/spot", 2)
    of_perp = book("snapshot", 5, [["81000", "1"]], [["81001", "2"]], symbol=PERP)
    of_spot = book("snapshot", 8, [["80990", "3"]], [["80991", "4"]], symbol=PERP)
    for connection, content in ((1, of_perp), (2, of_spot), (1, of_perp), (2, SPOT_PRINT)):
        add(RecordType.FRAME, "", content, connection)
    # The next socket of that number is of another path, as after a restart of the process.
    add(RecordType.CONNECTION, "open", b"/linear", 2)
    add(RecordType.FRAME, "", trades(trade(s=PERP, i="1")), 2)
    rows = handler.consume(log).rows
    assert universe == [CALL, PERP, INDEX, SPOT]
    books = rows[rows["kind"] == Kind.BOOK_SNAPSHOT]
    assert tuples(books, "listing_id", "price") == [
        (1, 81000.0), (1, 81001.0), (3, 80990.0), (3, 80991.0), (1, 81000.0), (1, 81001.0),
    ]  # fmt: skip
    prints = rows[rows["kind"] == Kind.TRADE]
    assert tuples(prints, "listing_id", "price") == [(3, 77606.8), (1, 240.0)]


@pytest.mark.parametrize("frames", [SPOT_SAMPLES[1:2], [SPOT_PRINT, *SPOT_SAMPLES[1:3]]])
def test_a_first_frame_is_heard_alone_and_in_a_read_of_many(frames: list[bytes]):
    deaf = Recorder("bybit", Journal(HandTime(), None), lambda _: None)
    for path, waiting in (("/spot", set()), ("/linear", {b"orderbook.50.BTCUSDT/SPOT"})):
        receiver = Receiver(bybit, deaf, SessionCounts(), lambda *_: None)
        link = Link(0, ChannelLedger(bybit), path)
        link.ledger.awaiting = {b"orderbook.50.BTCUSDT/SPOT": None}
        assert receiver.take(link, frames) == []
        assert set(link.ledger.awaiting) == waiting
