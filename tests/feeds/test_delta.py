"""Delta's decoder and universe on recorded data; expected values are typed in from its text.

The data lies beside the repository (fixtures/delta) and is never copied here.
"""

import json
import math
from collections import Counter

import numpy as np
import pytest

from feeds.contract import ListingKind
from feeds.errors import FrameError
from feeds.events import Flag, FrameKind, Kind
from feeds.grammar import default_contract, parse, print_symbol
from feeds.venues import VENUES
from tests.conftest import shared
from tests.feeds.delta_frames import (
    PRODUCTS,
    SAMPLES,
    STREAM,
    TICKER,
    clean,
    of_type,
    recorded,
)
from tests.feeds.deribit_frames import f32, tuples

DELTA = VENUES["delta"]
WINDOWS = (
    "C-BNB-540-031221",
    "C-BNB-560-031221",
    "C-ETH-4000-250322",
    "C-ETH-4450-301121",
    "P-BNB-600-291121",
    "P-ETH-3500-280122",
    "P-ETH-5600-311221",
)
WINDOW_IDS = {symbol: index for index, symbol in enumerate(WINDOWS)}


# ---- recorded stream of 2021 ------------------------------------------------------------------


def test_recorded_window_rows_are_the_levels_of_the_text_best_first():
    frame = of_type(recorded(STREAM), "l2_orderbook")[0]
    out = clean([frame], WINDOW_IDS)
    bids = [
        (3.13, 369),
        (3.06, 528),
        (2.97, 205),
        (2.89, 248),
        (2.78, 299),
        (2.62, 360),
        (2.39, 434),
        (2.04, 523),
        (1.55, 630),
        (0.83, 759),
    ]
    asks = [
        (3.97, 410),
        (4.56, 587),
        (5.38, 228),
        (6.07, 275),
        (7.07, 332),
        (8.53, 400),
        (10.65, 482),
        (13.72, 581),
        (18.17, 700),
        (24.64, 843),
    ]
    rows = out.rows.view()
    assert tuples(rows, "side", "level", "price", "size") == [
        *((1, level, price, size) for level, (price, size) in enumerate(bids)),
        *((-1, level, price, size) for level, (price, size) in enumerate(asks)),
    ]
    assert rows["flags"].tolist() == [Flag.SNAPSHOT_START, *[0] * 18, Flag.LAST]
    assert set(rows["listing_id"].tolist()) == {4}
    # The book's own time (last_updated_at), not that of its publication.
    assert set(rows["ex_ns"].tolist()) == {1638147281687000000}
    assert out.frames.view().tolist() == [
        (4, FrameKind.WINDOW, 1638147281806966, 1638147281806966, -1, 1000, 0, 20)
    ]


def test_every_recorded_window_has_the_levels_of_its_text():
    frames = of_type(recorded(STREAM), "l2_orderbook")
    out = clean(frames, WINDOW_IDS)
    expected = []
    for frame in frames:
        message = json.loads(frame)
        for side, levels in ((1, message["buy"]), (-1, message["sell"])):
            expected += [
                (WINDOW_IDS[message["symbol"]], side, float(level["limit_price"]), level["size"])
                for level in levels
            ]
    assert tuples(out.rows.view(), "listing_id", "side", "price", "size") == expected
    assert len(frames) == out.frames.count == 216


def test_recorded_windows_of_a_listing_come_in_rising_order():
    frames = clean(of_type(recorded(STREAM), "l2_orderbook"), WINDOW_IDS).frames.view()
    steps = [
        np.diff(frames["seq_last"][frames["listing_id"] == listing])
        for listing in WINDOW_IDS.values()
    ]
    assert sum(map(len, steps)) == 209
    assert all((step > 0).all() for step in steps)


def test_the_whole_stream_decodes_and_only_answer_and_candles_are_left_out():
    out = clean(recorded(STREAM), WINDOW_IDS)
    assert out.skipped == {"answer": 1, "other_channel": 7}


# ---- recorded single frames -------------------------------------------------------------------


def test_recorded_snapshot_starts_the_chain_and_its_change_follows_by_one():
    frames = of_type(recorded(SAMPLES), "l2_updates")
    out = clean(frames, {"C-ETH-1900-280423": 6})
    fields = ("kind", "side", "level", "price", "size", "flags", "ex_ns")
    snapshot, delta = Kind.BOOK_SNAPSHOT, Kind.BOOK_DELTA
    at, then = 1680307203021223000, 1680307203771239000
    assert tuples(out.rows.view(), *fields) == [
        (snapshot, 1, 0, 87.0, 900.0, Flag.SNAPSHOT_START, at),
        (snapshot, 1, 1, 86.55, 3500.0, 0, at),
        (snapshot, -1, 0, 89.6, 1164.0, Flag.LAST, at),
        (delta, 1, 0, 668.3, 0.0, 0, then),
        (delta, -1, 0, 704.8, 1836.0, Flag.LAST, then),
    ]
    assert out.frames.view().tolist() == [
        (6, FrameKind.SNAPSHOT, 3660223, 3660223, -1, 1000, 0, 3),
        (6, FrameKind.DELTA, 3660224, 3660224, 3660223, 1001, 3, 5),
    ]


def test_recorded_quote_is_a_bid_row_and_an_ask_row_at_the_time_of_the_book():
    out = clean(of_type(recorded(SAMPLES), "l1_orderbook"), {"P-BTC-33000-210423": 1})
    fields = ("kind", "side", "price", "size", "flags", "ex_ns")
    assert tuples(out.rows.view(), *fields) == [
        (Kind.QUOTE, 1, 4802.0, 4356.0, 0, 1680307203784000000),
        (Kind.QUOTE, -1, 4964.5, 1950.0, Flag.LAST, 1680307203784000000),
    ]


def test_recorded_print_between_two_takers_has_no_side():
    out = clean(of_type(recorded(SAMPLES), "all_trades"), {"DETO_USDT": 3})
    fields = ("kind", "side", "price", "size", "flags", "ex_ns")
    assert tuples(out.rows.view(), *fields) == [
        (Kind.TRADE, 0, 0.2, f32(215.45), Flag.LAST, 1617199499982823000)
    ]
    assert len(out.trade_keys) == 1


def test_recorded_windows_of_2020_may_lack_their_times():
    out = clean(of_type(recorded(SAMPLES), "l2_orderbook"), {"BTCUSD": 0})
    assert tuples(out.rows.view(), "side", "price", "size", "ex_ns", "seq") == [
        (1, 9522.0, 449313.0, 1592351999719000000, 1592351999728324),
        (-1, 9522.5, 11100.0, 1592351999719000000, 1592351999728324),
        (1, 85.0, 1.0, 0, 96542791),
        (-1, 12536.5, 8.0, 0, 96542791),
    ]


def test_recorded_marks_belong_to_the_instrument_behind_the_prefix():
    out = clean(of_type(recorded(SAMPLES), "mark_price"), {"BTCUSDT": 2, "BTCUSD": 3})
    assert tuples(out.tickers.view(), "listing_id", "mark", "ex_ns") == [
        (2, 9524.170821, 1592351997873000000),
        (3, 11536.746127, 1602585252946976000),
    ]
    assert np.isnan(out.tickers.view()["index"]).all()


def test_recorded_ticker_of_a_perpetual_has_mark_and_index():
    (row,) = clean(of_type(recorded(SAMPLES), "v2/ticker"), {"BTCUSD": 3}).tickers.view()
    assert (row["mark"], row["index"]) == (11537.538898, 11537.623333333331)
    assert row["ex_ns"] == 1602585247446827000
    assert math.isnan(row["iv_mark"])
    assert (math.isnan(row["open_interest"]), row["oi_ns"]) == (True, 0)


def test_recorded_ticker_of_an_option_keeps_fractions_and_drops_the_floor():
    out = clean(recorded(TICKER), {"C-BTC-79500-250926": 5})
    assert out.rows.count == 0  # Its best prices are not read: they are up to 5 s old.
    (row,) = out.tickers.view()
    assert (row["mark"], row["index"]) == (4522.51410849, 84020.0)
    assert math.isnan(row["forward"])
    assert math.isnan(row["iv_bid"])  # 0.000005 is what the venue says where there is none
    assert row["iv_ask"] == np.float32(1.17031194)
    assert row["iv_mark"] == np.float32(0.85322924)
    assert row["delta"] == np.float32(0.99539805)
    assert row["gamma"] == np.float32(0.0000075)
    assert row["vega"] == np.float32(0.28100099)
    assert row["theta"] == np.float32(-53.09022913)
    # Its author trimmed oi_contracts away; `oi` is in coins and not in the unit of sizes.
    assert math.isnan(row["open_interest"])
    assert row["ex_ns"] == 1790318040249114000


def test_recorded_greeks_are_black_scholes_in_usd_a_point_and_a_day():
    """Computed from the recorded spot, strike, volatility and time; settlement is 12:00 UTC."""
    spot, strike, iv = 84020.0, 79500.0, 0.85322924
    years = (1790337600.0 - 1790318040.249114) / (365 * 86400)
    deviation = iv * math.sqrt(years)
    d1 = math.log(spot / strike) / deviation + deviation / 2
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    assert 0.5 * math.erfc(-d1 / math.sqrt(2)) == pytest.approx(0.99539805, abs=2e-4)
    assert spot * density * math.sqrt(years) / 100 == pytest.approx(0.28100099, rel=0.03)
    assert -spot * density * iv / (2 * math.sqrt(years)) / 365 == pytest.approx(-53.09, rel=0.03)
    assert density / (spot * deviation) == pytest.approx(0.0000075, rel=0.03)


def test_recorded_single_frames_leave_nothing_unaccounted():
    frames = recorded(SAMPLES)
    ids = {json.loads(frame).get("symbol", "").removeprefix("MARK:"): 0 for frame in frames}
    out = clean(frames, ids)
    # An answer; the ticker and recent_trade of 2020 and the funding rates are no channels of ours.
    assert out.skipped == {"answer": 1, "other_channel": 7}
    assert (out.frames.count, out.tickers.count, len(out.trade_keys)) == (4, 3, 1)
    assert clean(frames, {}).skipped["unknown_symbol"] == 4 + 3 + 1 + 1  # and one quote


# ---- universe ---------------------------------------------------------------------------------


def products() -> bytes:
    return shared(PRODUCTS).read_bytes()


def test_recorded_products_become_listings_and_the_rest_is_counted():
    found = DELTA.instruments(products())
    kinds = Counter(listing.kind for listing in found.listings)
    assert kinds == {
        ListingKind.OPTION: 367,
        ListingKind.PERP: 92,
        ListingKind.FUTURE: 15,
        ListingKind.INDEX: 92,
    }
    assert found.left_out == {
        "move_options": 3,
        "spot": 2,
        "spreads": 1,
        "interest_rate_swaps": 1,
        "quoted in BTC": 15,
    }
    assert found.conflicts == []
    assert found.following is None


def test_recorded_option_has_its_strike_expiry_and_contract_value():
    listings = {listing.symbol: listing for listing in DELTA.instruments(products()).listings}
    call = listings["C-BTC-59000-301121"]
    assert str(call.contract) == "BTC-20211130T1200Z-59000-C"
    assert (call.multiplier, call.tick, call.price_ccy, call.settle) == (
        0.001,
        0.5,
        "USDT",
        "linear",
    )
    assert (call.style, call.lot, call.settle_window_s) == ("european", 1.0, 1800.0)
    assert listings["P-ADA-1.52-291121"].strike_e9 == 1_520_000_000
    assert listings["P-XRP-0.93-291121"].right == "P"
    assert listings["C-SOL-230-301121"].multiplier == 1.0


def test_recorded_inverse_future_counts_dollars_and_an_index_is_listed_once():
    listings = {listing.symbol: listing for listing in DELTA.instruments(products()).listings}
    future = listings["BTCUSD_25Mar"]
    assert (future.kind, future.settle, future.multiplier) == (ListingKind.FUTURE, "inverse", 1.0)
    assert future.expiry_ns == 1648189800 * 10**9  # 2022-03-25 06:30 UTC
    perpetual = listings["BTCUSD"]
    assert (perpetual.kind, perpetual.expiry_ns) == (ListingKind.PERP, None)
    index = listings[".DEXBTUSDT"]
    assert (index.kind, index.underlying, index.price_ccy) == (ListingKind.INDEX, "BTC", "USDT")


def test_recorded_names_round_trip_and_say_the_fields():
    options = [
        listing
        for listing in DELTA.instruments(products()).listings
        if listing.kind == ListingKind.OPTION
    ]
    for listing in options:
        parsed = parse("delta", listing.symbol)
        assert print_symbol(parsed) == listing.symbol
        assert default_contract(parsed) == listing.contract
    assert {print_symbol(parse("delta", symbol)) for symbol in WINDOWS} == set(WINDOWS)


def test_the_worked_example_of_the_page():
    """docs/venues/delta.md: 4,356 contracts of 0.001 BTC bid at 4,802 USDT a BTC."""
    quote = clean(of_type(recorded(SAMPLES), "l1_orderbook"), {"P-BTC-33000-210423": 1})
    bid = quote.rows.view()[0]
    values = {
        listing.multiplier
        for listing in DELTA.instruments(products()).listings
        if listing.kind == ListingKind.OPTION and listing.underlying == "BTC"
    }
    assert values == {0.001}
    coins = float(bid["size"]) * values.pop()
    assert coins == pytest.approx(4.356)
    assert coins * float(bid["price"]) == pytest.approx(20917.512)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"success":false,"error":{"code":"x"}}', b'{"result":5}', b"[" * 5000]
)
def test_a_body_that_is_no_list_of_products_is_refused(body):
    with pytest.raises(FrameError, match="products"):
        DELTA.instruments(body)
