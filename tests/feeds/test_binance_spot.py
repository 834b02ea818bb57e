"""Binance's spot pairs: frames, listings, plan, handler, and a session."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.contract import ListingKind
from feeds.errors import FrameError, SessionError
from feeds.events import Flag, Kind
from feeds.handler import VenueHandler
from feeds.record import Record, RecordType
from feeds.venue import ChannelOptions
from feeds.venues import binance
from feeds.venues import binance_spot as venue
from tests.feeds.venue_frames import clean, decoded, f32, frame, tuples
from tests.feeds.venue_samples import binance as options
from tests.feeds.venue_samples.binance_spot import BODIES, FRAMES, IDS, PAIR
from tests.feeds.venue_world import VenueWorld

MS = 1_000_000


def stream(name: str, **data: object) -> bytes:
    return frame({"stream": name, "data": data})


def depth(symbol: str = PAIR, last: int = 5, bids=(("1", "1"),), asks=(("2", "1"),)) -> bytes:
    return stream(f"{symbol.lower()}@depth10@100ms", lastUpdateId=last, bids=bids, asks=asks)


def printed(symbol: str = PAIR, number: int = 3, **other: object) -> bytes:
    data = {"e": "trade", "E": 9, "s": symbol, "t": number, "p": "15", "q": "2", "T": 8,
            "m": False, "M": True} | other  # fmt: skip
    return stream(f"{symbol.lower()}@trade", **data)


def entry(symbol: str = PAIR, **other: object) -> dict[str, object]:
    return {
        "symbol": symbol, "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
        "isSpotTradingAllowed": True,
        "filters": [{"filterType": "LOT_SIZE", "minQty": "0.00001000", "stepSize": "1"},
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"}],
    } | other  # fmt: skip


def body(*entries: dict[str, object]) -> bytes:
    return json.dumps({"symbols": entries}).encode()


# Frames


def test_frames_have_their_values():
    out = clean(venue, FRAMES, IDS)
    assert tuples(out.rows.view(), "kind", "side", "price", "size", "ex_ns", "seq") == [
        (Kind.BOOK_SNAPSHOT, 1, 65433.79, f32(0.52), 0, 160),
        (Kind.BOOK_SNAPSHOT, 1, 65433.00, f32(1.2), 0, 160),
        (Kind.BOOK_SNAPSHOT, -1, 65433.80, f32(0.3), 0, 160),
        (Kind.QUOTE, 1, 65433.79, f32(31.21), 0, 400_900_217),
        (Kind.QUOTE, -1, 65433.80, f32(40.66), 0, 400_900_217),
        (Kind.TRADE, -1, 65433.80, f32(0.005), 1_672_515_782_130 * MS, 12_345),
    ]  # fmt: skip
    assert out.rows.view()["listing_id"].tolist() == [0] * 6
    assert out.tickers.count == 0
    assert out.skipped == {"answer": 1}


def test_a_window_is_of_the_pair_in_the_name_of_its_stream():
    out = clean(venue, [depth("ETHUSDT"), depth(), depth("DOGEUSDT")], {PAIR: 0, "ETHUSDT": 1})
    assert out.rows.view()["listing_id"].tolist() == [1, 1, 0, 0]
    assert out.skipped == {"unknown_symbol": 1}


def test_the_taker_sold_where_the_buyer_was_the_maker_and_ids_are_of_a_pair():
    frames = [printed(m=True), printed(m=False, number=4), printed("ETHUSDT"), printed()]
    out = clean(venue, frames, {PAIR: 0, "ETHUSDT": 1})
    assert tuples(out.rows.view(), "side", "flags") == [
        (-1, Flag.LAST), (1, Flag.LAST), (1, Flag.LAST), (1, Flag.LAST)
    ]  # fmt: skip
    assert out.trade_keys[0] == out.trade_keys[3]
    assert len(set(out.trade_keys)) == 3


def test_a_side_without_orders_has_no_price():
    quote = stream("btcusdt@bookTicker", u=9, s=PAIR, b="0.00000000", B="0", a="7", A="3")
    bid, ask = clean(venue, [quote], IDS).rows.view()
    assert np.isnan([bid["price"], bid["size"]]).all()
    assert (ask["side"], ask["price"], ask["size"]) == (-1, 7.0, 3.0)


def test_other_streams_are_counted():
    frames = [stream("btcusdt@depth@100ms", s=PAIR), stream("!serverShutdown", e="serverShutdown"),
              stream("btcusdt@blockTrade", s=PAIR)]  # fmt: skip
    assert clean(venue, frames, IDS).skipped == {"other_channel": 3}


@pytest.mark.parametrize(
    "broken",
    [
        b"", b"{}", b"[]", b"\xff", b'{"stream":7}', depth()[:-1], depth(last=-1),
        depth(bids=[["1", "1"], ["2", "1"]]), depth(asks=[["2", "1"], ["1", "1"]]),
        depth(bids=[["0", "1"]]), depth(bids=7), depth(bids=[["1"]]), printed(q="0"),
        printed(p="-1"), printed(m=3), printed(t=-1),
        b'{"stream":"btcusdt@trade","data":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)  # fmt: skip
def test_broken_frame_is_counted_alone_and_leaves_no_row(broken: bytes):
    good = [depth(), printed()]
    out = decoded(venue, [*good, broken, *good], IDS)
    assert (out.error_count, out.rows.count) == (1, 6)
    assert str(out.errors[0]).startswith("binance_spot: ")


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


def test_a_pair_is_spot_of_the_underlying_that_the_options_have():
    (pair,) = venue.instruments(BODIES[0]).listings
    assert (pair.venue, pair.symbol, pair.kind, pair.underlying, pair.price_ccy) == (
        "binance_spot", "BTCUSDT", ListingKind.SPOT, "BTC", "USDT",
    )  # fmt: skip
    assert (pair.multiplier, pair.price_per, pair.settle, pair.tick, pair.lot) == (
        1.0, 1.0, "linear", 0.01, 0.00001,
    )  # fmt: skip
    assert (pair.expiry_ns, pair.settle_window_s, pair.contract) == (None, None, None)
    (option, *_) = binance.instruments(options.BODIES[0]).listings
    assert option.underlying == pair.underlying


def test_worked_example_of_units():
    # docs/venues/binance_spot.md: 0.52 BTC at 65,433.79 are 34,025.57 USDT.
    (pair,) = venue.instruments(BODIES[0]).listings
    best = clean(venue, FRAMES[:1], IDS).rows.view()[0]
    coins = float(best["size"]) * pair.multiplier
    assert coins * best["price"] / pair.price_per == pytest.approx(34_025.57, abs=0.01)


def test_what_is_not_listed_is_counted_by_reason_and_odd_names_are_told():
    found = venue.instruments(
        body(
            entry(status="BREAK"), entry(status=""), entry(isSpotTradingAllowed=False),
            entry(quoteAsset="BTC"), entry(quoteAsset="TRY"), entry(filters=[]),
            entry(baseAsset=""), entry(isSpotTradingAllowed="yes"),
            entry("BTCUSDC", quoteAsset="USDC"), entry("XBTUSDT"),
        )
    )  # fmt: skip
    assert found.left_out == {
        "break": 1, "no status": 1, "no spot": 1, "quoted in BTC": 1, "quoted in TRY": 1,
        "malformed": 3,
    }  # fmt: skip
    assert [listing.symbol for listing in found.listings] == ["BTCUSDC", "XBTUSDT"]
    assert found.conflicts == ["binance_spot XBTUSDT: its fields make it BTCUSDT"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"symbols":5}', b"\xff", b"{}"])
def test_body_that_is_no_list_of_pairs_is_a_frame_error(content: bytes):
    with pytest.raises(FrameError):
        venue.instruments(content)


# Plan


def listings(count: int = 1) -> list[Any]:
    return venue.instruments(
        body(*(entry(f"C{k:03}USDT", baseAsset=f"C{k:03}") for k in range(count)))
    ).listings


@pytest.mark.parametrize(
    ("chosen", "streams"),
    [
        ({}, ("btcusdt@trade", "btcusdt@depth10@100ms")),
        ({"trades": False, "book_depth": 5}, ("btcusdt@depth5@100ms",)),
        ({"book": "none"}, ("btcusdt@trade",)),
        ({"book": "none", "quotes": True}, ("btcusdt@trade", "btcusdt@bookTicker")),
    ],
)
def test_plan_has_what_was_asked_for_on_the_one_path(
    chosen: dict[str, Any], streams: tuple[str, ...]
):
    (plan,) = venue.subscriptions(
        venue.instruments(BODIES[0]).listings, ChannelOptions(**chosen), venue.LIMITS
    )
    assert (plan.path, plan.channels) == ("/stream", streams)
    assert {venue.symbol_of_channel(channel) for channel in plan.channels} == {PAIR}
    assert json.loads(plan.requests[0].text) == {
        "method": "SUBSCRIBE", "params": list(streams), "id": 1001,
    }  # fmt: skip


def test_plan_keeps_the_limits_and_does_not_depend_on_the_order():
    many = listings(450)
    plans = venue.subscriptions(many, ChannelOptions(), venue.LIMITS)
    assert plans == venue.subscriptions(many[::-1], ChannelOptions(), venue.LIMITS)
    assert [len(plan.channels) for plan in plans] == [400, 400, 100]
    assert all(len(r.channels) <= 100 for plan in plans for r in plan.requests)
    with pytest.raises(SessionError, match="binance_spot: "):
        venue.subscriptions(listings(2100), ChannelOptions(), venue.LIMITS)
    assert venue.subscriptions([], ChannelOptions(), venue.LIMITS) == ()


def test_a_book_is_asked_for_again():
    asked = venue.resync(PAIR, ChannelOptions(book_depth=20), 5)
    assert [(r.request_id, json.loads(r.text)["method"], r.channels) for r in asked] == [
        (5, "UNSUBSCRIBE", ("btcusdt@depth20@100ms",)),
        (6, "SUBSCRIBE", ("btcusdt@depth20@100ms",)),
    ]
    assert venue.resync(PAIR, ChannelOptions(book="none"), 5) == ()


# The log, and the emulator


def test_an_older_window_is_dropped_and_prints_that_come_twice_count_once():
    at = iter(range(1_789_953_404_000 * MS, 1_789_953_405_000 * MS))
    names: list[str] = []
    handler = VenueHandler(
        venue, ChannelOptions(), lambda one: names.append(one.symbol) or 0, lambda _i, _at: None
    )

    def record(kind: RecordType, name: str, payload: bytes) -> Record:
        return Record(next(at), kind, venue.NAME, 0, name, payload)

    accepted = frame(["btcusdt@depth10@100ms", "btcusdt@trade"])
    frames = [depth(last=7), depth(last=6, bids=[["3", "9"]]), printed(), printed(),
              depth(last=8, bids=[["1.5", "2"]], asks=[])]  # fmt: skip
    out = handler.consume([
        record(RecordType.HTTP, "instruments:x", BODIES[0]),
        record(RecordType.SUBSCRIPTION, "accepted", accepted),
        *(record(RecordType.FRAME, "", content) for content in frames),
        record(RecordType.CONNECTION, "close", b""),
    ])  # fmt: skip
    assert names == [PAIR]
    assert (out.counts["duplicates"], out.counts["duplicate_trades"]) == (1, 1)
    assert tuples(out.rows, "kind", "side", "seq") == [
        (Kind.BOOK_SNAPSHOT, 1, 7), (Kind.BOOK_SNAPSHOT, -1, 7), (Kind.TRADE, 1, 3),
        (Kind.BOOK_SNAPSHOT, 1, 8), (Kind.CLEAR, 0, 0),
    ]  # fmt: skip


async def test_with_two_tiers_all_pairs_have_depth():
    async with VenueWorld("binance_spot", two=True) as world:
        await world.live()
        await world.run(30)
        assert {symbol: book.quoted for symbol, book in world.books.items()} == {
            "BTCUSDT": False, "ETHUSDT": False, "SOLUSDT": False,
        }  # fmt: skip
        assert world.wrong() == []


async def test_without_books_best_prices_follow_the_market():
    async with VenueWorld("binance_spot", book="none", quotes=True) as world:
        await world.live()
        await world.run(30)
        books = world.server.market.books
        ids = np.arange(3)
        best = books.prices(ids, books.ticks[ids, :, 0])
        ours = [[round(side[0][0], 9) for side in book.best()] for book in world.books.values()]
        assert sorted(ours) == sorted(best.tolist())
