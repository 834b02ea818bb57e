"""Binance's perpetuals and futures: frames, listings, plan, handler, and sessions."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.contract import ListingKind
from feeds.emulator.faults import Fault
from feeds.errors import FrameError, SessionError
from feeds.events import TICKER, Flag, Kind, ListingState
from feeds.handler import VenueHandler
from feeds.record import Record, RecordType
from feeds.venue import ChannelOptions, Control
from feeds.venues import binance
from feeds.venues import binance_futures as venue
from tests.feeds.venue_frames import RX_NS, clean, decoded, f32, frame, tuples
from tests.feeds.venue_samples import binance as options
from tests.feeds.venue_samples.binance_futures import BODIES, FRAMES, FUTURE, IDS, INDEX, PERP
from tests.feeds.venue_world import VenueWorld

MS = 1_000_000
EXPIRY_MS = 1_798_185_600_000  # 2026-12-25 08:00 UTC
OTHER = "ETHUSDT"


def stream(name: str, **data: object) -> bytes:
    return frame({"stream": name, "data": data})


def mark(symbol: str = PERP, at_ms: int = 5, **other: object) -> bytes:
    data = {"e": "markPriceUpdate", "E": at_ms, "s": symbol, "p": "100.5", "i": "100.25",
            "r": "", "T": 0} | other  # fmt: skip
    return stream(f"{symbol.lower()}@markPrice@1s", **data)


def depth(symbol: str = PERP, last: int = 5, bids=(("1", "1"),), asks=(("2", "1"),)) -> bytes:
    data = {"e": "depthUpdate", "T": 1, "s": symbol, "u": last, "b": bids, "a": asks}
    return stream(f"{symbol.lower()}@depth10@100ms", **data)


def printed(symbol: str = PERP, number: int = 3, **other: object) -> bytes:
    data = {"e": "aggTrade", "E": 9, "a": number, "s": symbol, "p": "15", "q": "2", "f": 1,
            "l": 2, "T": 8, "m": False} | other  # fmt: skip
    return stream(f"{symbol.lower()}@aggTrade", **data)


def contract(status: str, symbol: str = FUTURE, **other: object) -> bytes:
    data = {"e": "contractInfo", "E": 1, "s": symbol, "ct": "CURRENT_QUARTER", "dt": EXPIRY_MS,
            "cs": status} | other  # fmt: skip
    return stream("!contractInfo", **data)


def entry(symbol: str = PERP, **other: object) -> dict[str, object]:
    return {
        "symbol": symbol, "pair": "BTCUSDT", "contractType": "PERPETUAL", "status": "TRADING",
        "deliveryDate": 4_133_404_800_000, "baseAsset": "BTC", "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "filters": [{"filterType": "LOT_SIZE", "minQty": "0.001", "stepSize": "0.001"},
                    {"filterType": "PRICE_FILTER", "tickSize": "0.10"}],
    } | other  # fmt: skip


def future(symbol: str = FUTURE, **other: object) -> dict[str, object]:
    return entry(symbol, **{"contractType": "NEXT_QUARTER", "deliveryDate": EXPIRY_MS} | other)


def body(*entries: dict[str, object]) -> bytes:
    return json.dumps({"symbols": entries}).encode()


# Frames


def test_frames_have_their_values():
    out = clean(venue, FRAMES, IDS)
    assert tuples(out.rows.view(), "listing_id", "kind", "side", "price", "size", "ex_ns") == [
        (0, Kind.BOOK_SNAPSHOT, 1, 85606.30, f32(16.972), 1_790_046_434_000 * MS),
        (0, Kind.BOOK_SNAPSHOT, 1, 85606.20, f32(0.049), 1_790_046_434_000 * MS),
        (0, Kind.BOOK_SNAPSHOT, -1, 85606.40, f32(0.094), 1_790_046_434_000 * MS),
        (1, Kind.QUOTE, 1, 25.3519, f32(31.21), 1_568_014_460_891 * MS),
        (1, Kind.QUOTE, -1, 25.3652, f32(40.66), 1_568_014_460_891 * MS),
        (0, Kind.TRADE, -1, 68005.00, f32(2.695), 1_771_263_510_041 * MS),
    ]  # fmt: skip
    assert out.rows.view()["seq"].tolist()[::3] == [11_622_543_895_639, 400_900_217]
    # The perpetual's mark, then the index by itself.
    assert tuples(out.tickers.view(), "listing_id", "mark", "index", "ex_ns") == [
        (0, 76986.40, 77014.725, 1_789_467_508_000 * MS),
        (2, 77014.725, 77014.725, 1_789_467_508_000 * MS),
    ]
    (notice,) = out.lifecycle
    assert (notice.symbol, notice.state, notice.rx_ns) == (FUTURE, ListingState.LIVE, RX_NS + 4)
    assert out.skipped == {"answer": 1}


def test_a_mark_says_nothing_else():
    said = clean(venue, [mark()], {PERP: 0}).tickers.view()
    numbers = [name for name in TICKER.names or () if TICKER[name].kind == "f"]
    assert {name for name in numbers if not np.isnan(said[name][0])} == {"mark", "index"}
    assert said["oi_ns"][0] == 0


def test_an_index_is_its_perpetual_s_alone_and_zero_is_none():
    out = clean(venue, [mark(FUTURE), mark(i="0.00000000", at_ms=6), mark(at_ms=7)], IDS)
    said = tuples(out.tickers.view(), "listing_id", "mark", "index", "ex_ns")
    assert said[0] == (1, 100.5, 100.25, 5 * MS)
    assert said[1][:2] == (0, 100.5)
    assert np.isnan(said[1][2])
    assert said[2] == (0, 100.5, 100.25, 7 * MS)
    assert said[3:] == [(2, 100.25, 100.25, 7 * MS)]


def test_the_taker_sold_where_the_buyer_was_the_maker():
    out = clean(venue, [printed(m=True), printed(number=4, m=False)], IDS)
    assert tuples(out.rows.view(), "side", "seq", "flags") == [
        (-1, 3, Flag.LAST), (1, 4, Flag.LAST)
    ]  # fmt: skip


def test_ids_of_prints_are_keys_of_their_instrument():
    out = clean(venue, [printed(), printed(FUTURE), printed()], IDS)
    assert out.trade_keys[0] == out.trade_keys[2] != out.trade_keys[1]


def test_a_side_without_orders_has_no_price():
    quote = {"e": "bookTicker", "u": 9, "T": 2, "s": PERP, "b": "0", "B": "0", "a": "7", "A": "3"}
    out = clean(venue, [stream("btcusdt@bookTicker", **quote)], IDS)
    bid, ask = out.rows.view()
    assert np.isnan([bid["price"], bid["size"]]).all()
    assert (ask["price"], ask["size"], ask["seq"]) == (7.0, 3.0, 9)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PENDING_TRADING", ListingState.LISTED), ("TRADING", ListingState.LIVE),
        ("PRE_DELIVERING", ListingState.HALTED), ("DELIVERING", ListingState.HALTED),
        ("PRE_SETTLE", ListingState.HALTED), ("SETTLING", ListingState.HALTED),
        ("DELIVERED", ListingState.EXPIRED), ("CLOSE", ListingState.EXPIRED),
    ],
)  # fmt: skip
def test_notices_tell_the_life_of_a_contract(status: str, state: ListingState):
    (notice,) = clean(venue, [contract(status, bks=[{"bs": 1}])], IDS).lifecycle
    assert (notice.symbol, notice.state) == (FUTURE, state)


def test_notices_of_what_is_not_listed_are_skipped():
    frames = [contract("TRADING", "TSLAUSDT", ct="TRADIFI_PERPETUAL"),
              contract("TRADING", "BTCUSD_PERP", ct="PERPETUAL", st=2)]  # fmt: skip
    out = clean(venue, frames, IDS)
    assert out.lifecycle == []
    assert out.skipped == {"other_contract": 2}


def test_other_streams_and_unknown_instruments_are_counted():
    out = clean(
        venue,
        [stream("btcusdt@depth@100ms", s=PERP), stream("!markPrice@arr@1s"), mark(OTHER)],
        IDS,
    )
    assert out.skipped == {"other_channel": 2, "unknown_symbol": 1}
    assert out.rows.count == out.tickers.count == 0


@pytest.mark.parametrize(
    "broken",
    [
        b"", b"{}", b"[]", b"\xff", b'{"stream":7}', mark()[:-1], mark(p="0"), mark(p="-1"),
        mark(p="nan"), mark(E=-1), mark(i=""), printed(q="0"), printed(m="maybe"), printed(a=-1),
        contract("DREAMING"), contract("TRADING", st=3), depth(last=-5),
        depth(bids=[["1", "1"], ["2", "1"]]), depth(asks=[["2", "1"], ["1", "1"]]),
        depth(bids=[["0", "1"]]), depth(bids=7),
        b'{"stream":"btcusdt@markPrice@1s","data":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)  # fmt: skip
def test_broken_frame_is_counted_alone_and_leaves_no_row(broken: bytes):
    good = [depth(), mark()]
    out = decoded(venue, [*good, broken, *good], IDS)
    assert out.error_count == 1
    assert (out.rows.count, out.tickers.count) == (4, 4)
    assert str(out.errors[0]).startswith("binance_futures: ")


_LEVEL = st.tuples(st.integers(1, 10**7), st.integers(1, 10**9))


@given(
    bids=st.lists(_LEVEL, max_size=20, unique_by=lambda level: level[0]),
    asks=st.lists(_LEVEL, max_size=20, unique_by=lambda level: level[0]),
    last=st.integers(0, 2**63 - 1),
)
def test_any_window_becomes_its_levels_best_first(
    bids: list[tuple[int, int]], asks: list[tuple[int, int]], last: int
):
    bids, asks = sorted(bids, reverse=True), sorted(asks)

    def texts(side: list[tuple[int, int]]) -> list[list[str]]:
        return [[f"{tick // 10}.{tick % 10}", f"{lot}"] for tick, lot in side]

    out = clean(venue, [depth(last=last, bids=texts(bids), asks=texts(asks))], IDS)
    expected = [(1, tick / 10, float(np.float32(lot))) for tick, lot in bids]
    expected += [(-1, tick / 10, float(np.float32(lot))) for tick, lot in asks]
    assert tuples(out.rows.view(), "side", "price", "size") == expected
    (said,) = out.frames.view()
    assert (said["seq_last"], said["row_end"] - said["row_begin"]) == (last, len(expected))


# Instruments


def test_instruments_give_listings_and_an_index_of_each_perpetual():
    found = venue.instruments(body(entry(), future()))
    perp, delivered, index = found.listings
    assert (perp.symbol, perp.kind, perp.expiry_ns, perp.settle_window_s) == (
        PERP, ListingKind.PERP, None, None,
    )  # fmt: skip
    assert (delivered.symbol, delivered.kind, delivered.expiry_ns, delivered.settle_window_s) == (
        FUTURE, ListingKind.FUTURE, EXPIRY_MS * MS, 1800.0,
    )  # fmt: skip
    for listing in (perp, delivered):
        assert (listing.venue, listing.underlying, listing.price_ccy, listing.settle) == (
            "binance_futures", "BTC", "USDT", "linear",
        )  # fmt: skip
        assert (listing.multiplier, listing.price_per, listing.tick, listing.lot) == (
            1.0, 1.0, 0.1, 0.001,
        )  # fmt: skip
    assert (index.symbol, index.kind, index.underlying) == (INDEX, ListingKind.INDEX, "BTC")
    assert (found.left_out, found.conflicts) == ({}, [])


def test_the_perpetual_is_of_the_same_underlying_as_the_options():
    (perp, *_) = venue.instruments(BODIES[0]).listings
    (option, *_) = binance.instruments(options.BODIES[0]).listings
    assert option.kind == ListingKind.OPTION
    assert perp.underlying == option.underlying
    assert perp.price_ccy == option.price_ccy


def test_what_is_not_listed_is_counted_by_reason():
    found = venue.instruments(
        body(
            entry(status="SETTLING"), entry(contractType="TRADIFI_PERPETUAL"),
            entry(contractType=""), entry(quoteAsset="USD", marginAsset="BTC"),
            entry(marginAsset="BNB"), entry(filters=[]), entry(deliveryDate=-1),
            future(deliveryDate=0), entry(baseAsset=""), entry(filters=[{
                "filterType": "PRICE_FILTER", "tickSize": "0"}]),
            entry("BTCUSDC", pair="BTCUSDC", quoteAsset="USDC", marginAsset="USDC"),
        )
    )  # fmt: skip
    assert found.left_out == {
        "settling": 1, "tradifi_perpetual": 1, "no type": 1, "quoted in USD": 1,
        "paid in BNB": 1,
        "malformed": 5,
    }  # fmt: skip
    assert [listing.symbol for listing in found.listings] == ["BTCUSDC", "BTCUSDC/INDEX"]


def test_names_that_contradict_the_fields_are_told_and_the_fields_are_trusted():
    later = EXPIRY_MS + 86_400_000
    found = venue.instruments(
        body(future(deliveryDate=later), entry("BTCUSDT", pair="ETHUSDT"), entry("XBTUSDT"))
    )
    assert [listing.underlying for listing in found.listings] == ["BTC"] * 5
    assert found.listings[0].expiry_ns == later * MS
    assert found.conflicts == [
        "binance_futures BTCUSDT_261225: pair was 'BTCUSDT', and its fields make it BTCUSDT_261226",
        "binance_futures BTCUSDT: pair was 'ETHUSDT', and its fields make it BTCUSDT",
        "binance_futures XBTUSDT: pair was 'BTCUSDT', and its fields make it BTCUSDT",
    ]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"symbols":5}', b"\xff", b"{}"])
def test_body_that_is_no_list_of_instruments_is_a_frame_error(content: bytes):
    with pytest.raises(FrameError):
        venue.instruments(content)


def test_worked_example_of_units():
    # docs/venues/binance_futures.md: 2.695 BTC at 68,005.00 are 183,273.475 USDT.
    out = clean(venue, FRAMES[3:4], IDS)
    (perp, *_) = venue.instruments(BODIES[0]).listings
    (trade,) = out.rows.view()
    coins = float(trade["size"]) * perp.multiplier
    assert coins * trade["price"] / perp.price_per == pytest.approx(183_273.475, abs=0.02)


# Plan


def listings(count: int = 1) -> list[Any]:
    entries = [
        entry(f"C{k:03}USDT", pair=f"C{k:03}USDT", baseAsset=f"C{k:03}") for k in range(count)
    ]
    return venue.instruments(body(*entries)).listings


def test_plan_has_marks_and_prints_on_the_market_path_and_books_on_the_public_one():
    plans = venue.subscriptions(
        venue.instruments(body(entry(), future())).listings, ChannelOptions(), venue.LIMITS
    )
    assert [(plan.path, plan.channels) for plan in plans] == [
        ("/market/stream", (
            "!contractInfo", "btcusdt@markPrice@1s", "btcusdt@aggTrade",
            "btcusdt_261225@markPrice@1s", "btcusdt_261225@aggTrade")),
        ("/public/stream", ("btcusdt@depth10@100ms", "btcusdt_261225@depth10@100ms")),
    ]  # fmt: skip
    assert json.loads(plans[1].requests[0].text) == {
        "method": "SUBSCRIBE", "params": list(plans[1].channels), "id": 1001,
    }  # fmt: skip
    assert plans[1].connection == 1


@pytest.mark.parametrize(
    ("chosen", "channels"),
    [
        ({"trades": False, "notices": False}, {"markPrice@1s", "depth10@100ms"}),
        ({"book_depth": 5}, {"", "markPrice@1s", "aggTrade", "depth5@100ms"}),
        ({"book": "window", "book_depth": 11}, {"", "markPrice@1s", "aggTrade", "depth20@100ms"}),
        ({"book_depth": 128, "quotes": True}, {"", "markPrice@1s", "aggTrade", "depth20@100ms"}),
        ({"book": "none"}, {"", "markPrice@1s", "aggTrade"}),
        ({"book": "none", "quotes": True}, {"", "markPrice@1s", "aggTrade", "bookTicker"}),
        ({"tickers": False, "marks": False}, {"", "markPrice@1s", "aggTrade", "depth10@100ms"}),
        ({"tickers": False, "marks": False, "index": False}, {"", "aggTrade", "depth10@100ms"}),
    ],
)  # fmt: skip
def test_plan_has_what_was_asked_for(chosen: dict[str, Any], channels: set[str]):
    plans = venue.subscriptions(listings(), ChannelOptions(**chosen), venue.LIMITS)
    found = [channel for plan in plans for channel in plan.channels]
    assert {channel.partition("@")[2] for channel in found} == channels
    assert len(found) == len(channels)


def test_plan_keeps_the_limits_and_does_not_depend_on_the_order():
    many = listings(250)
    plans = venue.subscriptions(many, ChannelOptions(), venue.LIMITS)
    assert plans == venue.subscriptions(many[::-1], ChannelOptions(), venue.LIMITS)
    assert [len(plan.channels) for plan in plans] == [200, 200, 101, 200, 50]
    assert [plan.connection for plan in plans] == [0, 1, 2, 3, 4]
    for plan in plans:
        for request in plan.requests:
            assert len(request.channels) <= 100
            assert len(request.text.encode()) <= 8192
    with pytest.raises(SessionError, match="binance_futures: "):
        venue.subscriptions(listings(700), ChannelOptions(), venue.LIMITS)


def test_an_empty_universe_and_an_index_ask_for_nothing():
    assert venue.subscriptions([], ChannelOptions(), venue.LIMITS) == ()
    assert venue.subscriptions(listings()[1:], ChannelOptions(), venue.LIMITS) == ()


def test_a_book_is_asked_for_again_and_an_index_has_none():
    asked = venue.resync(FUTURE, ChannelOptions(book_depth=20), 5)
    assert [(r.request_id, json.loads(r.text)["method"], r.channels) for r in asked] == [
        (5, "UNSUBSCRIBE", ("btcusdt_261225@depth20@100ms",)),
        (6, "SUBSCRIBE", ("btcusdt_261225@depth20@100ms",)),
    ]
    assert venue.resync(INDEX, ChannelOptions(), 5) == ()
    assert venue.resync(PERP, ChannelOptions(book="none"), 5) == ()


def test_what_a_stream_is_about_is_read_from_its_name():
    for options_ in (ChannelOptions(), ChannelOptions(book="none", quotes=True)):
        plans = venue.subscriptions(listings(3), options_, venue.LIMITS)
        named = [venue.symbol_of_channel(c) for plan in plans for c in plan.channels]
        assert named[0] is None
        assert set(named[1:]) == {"C000USDT", "C001USDT", "C002USDT"}
        assert len(named) == 1 + 3 * 3


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b'{"stream":"x","data":{}}', None),
        (b'{"result":null,"id":1001}', Control(ack=(1001, None))),
        (b'{"result":["a@depth"],"id":1}', Control()),
        (b'{"error":{"code":2,"msg":"Invalid"},"id":9}', Control(refused=(9, "2 Invalid"))),
        (b"rubbish", None),
    ],
)
def test_session_frames(content: bytes, wanted: Control | None):
    assert venue.control(content) == wanted


# The log


class Log:
    """A handler of this venue, and records for it, a nanosecond apart."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.retired: list[int] = []
        self.at = iter(range(1_789_953_404_000 * MS, 1_789_953_405_000 * MS))
        self.handler = VenueHandler(
            venue, ChannelOptions(), self.allocate, lambda i, _at: self.retired.append(i),
            underlyings=("BTC",),
        )  # fmt: skip

    def allocate(self, listing: Any) -> int:
        self.names.append(listing.symbol)
        return len(self.names) - 1

    def record(self, kind: RecordType, name: str, payload: bytes, connection: int = 0) -> Record:
        return Record(next(self.at), kind, venue.NAME, connection, name, payload)

    def listed(self, *entries: dict[str, object]) -> Record:
        return self.record(RecordType.HTTP, "instruments:x", body(*entries), -1)

    def accepted(self, connection: int, *streams: str) -> Record:
        return self.record(RecordType.SUBSCRIPTION, "accepted", frame(streams), connection)

    def frame(self, payload: bytes, connection: int = 0) -> Record:
        return self.record(RecordType.FRAME, "", payload, connection)


def test_a_window_replaces_the_book_an_older_one_is_dropped_and_a_lost_connection_clears():
    log = Log()
    out = log.handler.consume([
        log.listed(entry()),
        log.accepted(1, "btcusdt@depth10@100ms"),
        log.frame(depth(last=7), 1),
        log.frame(depth(last=6, bids=[["3", "9"]]), 1),
        log.frame(depth(last=9, bids=[["1.5", "2"]], asks=[]), 1),
        log.record(RecordType.CONNECTION, "close", b"", 1),
        log.frame(depth(last=2), 1),  # the next connection may count anew
    ])  # fmt: skip
    assert (out.counts["duplicates"], out.counts["gaps"], out.resync) == (1, 0, [])
    assert tuples(out.rows, "kind", "side", "price", "seq") == [
        (Kind.BOOK_SNAPSHOT, 1, 1.0, 7), (Kind.BOOK_SNAPSHOT, -1, 2.0, 7),
        (Kind.BOOK_SNAPSHOT, 1, 1.5, 9), (Kind.CLEAR, 0, pytest.approx(np.nan, nan_ok=True), 0),
        (Kind.BOOK_SNAPSHOT, 1, 1.0, 2), (Kind.BOOK_SNAPSHOT, -1, 2.0, 2),
    ]  # fmt: skip


def test_a_lost_mark_stream_leaves_the_book():
    log = Log()
    out = log.handler.consume([
        log.listed(entry()),
        log.accepted(0, "btcusdt@markPrice@1s"),
        log.accepted(1, "btcusdt@depth10@100ms"),
        log.frame(depth(), 1),
        log.record(RecordType.CONNECTION, "close", b"", 0),
    ])  # fmt: skip
    assert set(out.rows["kind"].tolist()) == {Kind.BOOK_SNAPSHOT}


def test_prints_that_come_twice_count_once():
    log = Log()
    out = log.handler.consume([log.listed(entry()), log.frame(printed()), log.frame(printed())])
    assert (out.rows["kind"].tolist(), out.counts["duplicate_trades"]) == ([Kind.TRADE], 1)


def test_notices_ask_for_what_is_new_and_end_what_was_delivered():
    log = Log()
    eth = entry(OTHER, pair=OTHER, baseAsset="ETH")
    later = contract("TRADING", "BTCUSDT_270326")
    out = log.handler.consume([
        log.listed(entry(), future(), eth),
        log.frame(later),
        log.frame(contract("TRADING", OTHER, ct="PERPETUAL")),  # of an underlying left out
        log.frame(contract("SETTLING")),
        log.frame(contract("DELIVERED")),
        log.frame(depth(FUTURE)),
    ])  # fmt: skip
    assert log.names == [PERP, FUTURE, INDEX]
    assert out.discover == ["BTCUSDT_270326"]
    assert tuples(out.rows, "listing_id", "kind", "level") == [
        (1, Kind.STATE_CHANGE, ListingState.HALTED), (1, Kind.STATE_CHANGE, ListingState.EXPIRED)
    ]  # fmt: skip
    assert log.retired == [1]
    assert out.counts["skipped.unknown_symbol"] == 1


# The emulator


async def test_with_two_tiers_all_of_a_venue_without_options_has_depth():
    async with VenueWorld("binance_futures", two=True) as world:
        await world.live()
        await world.run(30)
        assert {book.quoted for name, book in world.books.items() if "/" not in name} == {False}
        assert world.wrong() == []
        assert world.counts.get("frame_errors", 0) == 0


async def test_marks_that_stay_away_are_told_and_leave_the_book_alone():
    world = VenueWorld("binance_futures")
    world.server.faults.add(Fault("silence", channel="btcusdt@markPrice", seconds=30.0))
    await world.server.advance()
    async with world:
        await world.live()
        world.ever_unknown.clear()
        await world.run(80)
        timers = [r.payload for r in world.records if r.name == "first_data"]
        assert timers == [b"btcusdt@markPrice@1s"]
        assert world.session.counts.resyncs == 0
        assert world.ever_unknown == set()


async def test_without_books_best_prices_follow_the_market():
    async with VenueWorld("binance_futures", book="none", quotes=True) as world:
        await world.live()
        await world.run(30)
        books = world.server.market.books
        for symbol in world.followed():
            number = np.array([world.server.market.universe.ids[symbol]])
            best = books.prices(number, books.ticks[number, :, 0])[0]
            assert [round(side[0][0], 9) for side in world.books[symbol].best()] == best.tolist()
        assert len(world.followed()) == 9
        assert world.counts.get("frame_errors", 0) == 0


async def test_marks_are_the_market_s_and_the_index_is_its_spot():
    async with VenueWorld("binance_futures") as world:
        await world.live()
        await world.run(20)
        market = world.server.market
        last = {world.ids[int(t["listing_id"])].symbol: t for t in world.tickers}
        assert set(last) == {x.symbol for x in world.ids}
        spot = {terms.perpetual: number for number, terms in
                enumerate(market.universe.profile.terms)}  # fmt: skip
        for symbol, number in spot.items():
            # Sent at the last whole second, and prices move by some millionths a step.
            true = pytest.approx(market.prices.spot[number], rel=1e-3)
            assert last[symbol]["index"] == last[f"{symbol}/INDEX"]["mark"] == true
