"""The consolidated book beside what a hand calculation of three venues gives."""

import numpy as np
import pytest

from feeds.contract import Listing, ListingKind
from feeds.events import EVENT, TICKER, Flag, Kind
from kernels import columns as c
from scanner.config import load
from scanner.engine import Scanner
from scanner.result import NO_LISTING

S = 1_000_000_000
NOW_NS = 1_790_000_000 * S
EXPIRY_NS = NOW_NS + 86_400 * S
STRIKE_E9 = 100_000 * 10**9


def option(venue: str, **changes: object) -> Listing:
    given = {
        "venue": venue, "symbol": f"{venue}-C", "kind": ListingKind.OPTION, "underlying": "BTC",
        "multiplier": 1.0, "price_ccy": "BTC", "settle": "inverse", "tick": 0.0005,
        "expiry_ns": EXPIRY_NS, "strike_e9": STRIKE_E9, "right": "C", "style": "european",
    }  # fmt: skip
    return Listing(**{**given, **changes})


INVERSE = option("deribit")
CONTRACTS = option("okx", multiplier=0.01)
LINEAR = option("bybit", price_ccy="USDT", settle="linear", tick=5.0)
PER_UNIT = option("binance", price_ccy="USDT", settle="linear", tick=1.0, price_per=100.0,
                  multiplier=100.0)  # fmt: skip
USDT = Listing("deribit", "usdt_usd", ListingKind.INDEX, "USDT", 1.0, "USD", "linear", 0.0001)


class Desk:
    """A scanner to which single quotes are said by hand."""

    def __init__(self, *members: Listing) -> None:
        self.scanner = Scanner(load(None, {"engine.tick_ms": 1000}), device="cpu")
        self.ids = dict(zip(members, self.scanner.add(members), strict=True))
        self.now_ns = NOW_NS
        self.seq = 0

    def quote(self, listing: Listing, bid: float, bid_size: float, ask: float, ask_size: float):
        rows = np.zeros(2, EVENT)
        self.now_ns += S
        self.seq += 1
        rows["rx_ns"], rows["ex_ns"], rows["seq"] = self.now_ns, self.now_ns, self.seq
        rows["listing_id"], rows["kind"] = self.ids[listing], int(Kind.QUOTE)
        rows["price"], rows["size"], rows["side"] = (bid, ask), (bid_size, ask_size), (1, -1)
        rows["flags"][1] = int(Flag.LAST)
        self.scanner.apply(rows)

    def ticker(self, listing: Listing, **values: float) -> None:
        row = np.zeros(1, TICKER)
        for name in TICKER.names[4:-1]:
            row[name] = np.nan
        row["rx_ns"], row["listing_id"] = self.now_ns, self.ids[listing]
        for name, value in values.items():
            row[name] = value
        self.scanner.apply(np.zeros(0, EVENT), row)

    def clear(self, listing: Listing) -> None:
        row = np.zeros(1, EVENT)
        self.now_ns += S
        row["rx_ns"], row["listing_id"], row["kind"] = (
            self.now_ns, self.ids[listing], int(Kind.CLEAR),
        )  # fmt: skip
        row["price"], row["flags"] = np.nan, int(Flag.LAST)
        self.scanner.apply(row)

    def book(self):
        self.scanner.tick(self.now_ns)
        return self.scanner.consolidated(self.now_ns)


def test_best_sides_come_from_the_venues_that_quote_them_in_one_currency_and_size():
    desk = Desk(INVERSE, CONTRACTS, LINEAR)
    desk.quote(INVERSE, 0.0200, 3.0, 0.0230, 4.0)
    desk.quote(CONTRACTS, 0.0205, 500.0, 0.0240, 100.0)
    desk.quote(LINEAR, 1990.0, 2.0, 2250.0, 1.5)
    desk.ticker(INVERSE, index=100_000.0, forward=101_000.0)
    desk.ticker(CONTRACTS, index=100_200.0, forward=101_000.0)
    book = desk.book()
    assert len(book.contract_id) == 1
    assert book.venue_count.tolist() == [3]
    # Bids: 2000, 0.0205 x 100,200 = 2054.1, 1990. Asks: 2300, 2404.8, 2250.
    assert book.price_usd[:, 0] == pytest.approx([2054.1, 2250.0], rel=1e-6)
    assert book.listing_id[:, 0].tolist() == [desk.ids[CONTRACTS], desk.ids[LINEAR]]
    assert book.size[:, 0] == pytest.approx([5.0, 1.5])
    assert book.age_ns[:, 0].tolist() == [1 * S, 0]
    assert book.assumed_rate[:, 0].tolist() == [False, True]
    assert not book.crossed[0]
    assert not book.locked[0]


def test_price_that_covers_many_units_is_divided_and_a_live_rate_is_used():
    desk = Desk(PER_UNIT, USDT)
    desk.quote(PER_UNIT, 300.0, 7.0, 310.0, 8.0)
    desk.ticker(USDT, mark=0.998)
    book = desk.book()
    assert book.price_usd[:, 0] == pytest.approx([3.0 * 0.998, 3.1 * 0.998], rel=1e-6)
    assert book.size[:, 0] == pytest.approx([700.0, 800.0])
    assert not book.assumed_rate.any()


def test_crossed_and_locked_contracts_are_told_with_both_listings():
    desk = Desk(LINEAR, option("derive", price_ccy="USDC", settle="linear", tick=5.0))
    derive = list(desk.ids)[1]
    desk.quote(LINEAR, 2000.0, 1.0, 2010.0, 1.0)
    desk.quote(derive, 2015.0, 1.0, 2030.0, 1.0)
    book = desk.book()
    assert (book.crossed.tolist(), book.locked.tolist()) == ([True], [False])
    assert book.listing_id[:, 0].tolist() == [desk.ids[derive], desk.ids[LINEAR]]
    desk.quote(derive, 2010.0, 1.0, 2030.0, 1.0)
    book = desk.book()
    assert (book.crossed.tolist(), book.locked.tolist()) == ([False], [True])


def test_one_venue_that_is_crossed_with_itself_is_no_cross_of_venues():
    desk = Desk(LINEAR)
    desk.quote(LINEAR, 2020.0, 1.0, 2010.0, 1.0)
    book = desk.book()
    assert book.price_usd[:, 0].tolist() == [2020.0, 2010.0]
    assert not book.crossed[0]


def test_a_gap_takes_a_venue_out_and_an_empty_contract_has_no_sides():
    desk = Desk(LINEAR)
    desk.quote(LINEAR, 2000.0, 1.0, 2010.0, 1.0)
    assert desk.book().listing_id[:, 0].tolist() == [0, 0]
    desk.clear(LINEAR)
    book = desk.book()
    assert np.isnan(book.price_usd).all()
    assert book.listing_id[:, 0].tolist() == [NO_LISTING, NO_LISTING]
    assert book.age_ns[:, 0].tolist() == [-1, -1]
    assert book.venue_count.tolist() == [0]


def test_premium_in_coin_without_an_index_is_not_converted():
    desk = Desk(INVERSE, LINEAR)
    desk.quote(INVERSE, 0.0300, 3.0, 0.0310, 4.0)
    desk.quote(LINEAR, 2000.0, 1.0, float("nan"), float("nan"))
    book = desk.book()
    assert book.listing_id[:, 0].tolist() == [desk.ids[LINEAR], NO_LISTING]
    assert book.venue_count.tolist() == [1]


def test_of_equal_prices_the_larger_size_wins_and_no_option_means_no_row():
    other = option("derive", price_ccy="USDC", settle="linear", tick=5.0)
    desk = Desk(LINEAR, other, USDT)
    desk.quote(LINEAR, 2000.0, 1.0, 2010.0, 3.0)
    desk.quote(other, 2000.0, 2.0, 2010.0, 1.0)
    assert desk.book().listing_id[:, 0].tolist() == [desk.ids[other], desk.ids[LINEAR]]
    assert len(Desk(USDT).book().contract_id) == 0


def test_quotes_of_halted_listings_and_of_gaps_do_not_hold():
    desk = Desk(LINEAR)
    desk.quote(LINEAR, 2000.0, 1.0, 2010.0, 1.0)
    assert desk.book().venue_count.tolist() == [1]
    columns = desk.scanner.state.columns
    for array, word, value in ((columns.u8[c.HALTED], 0, 1), (columns.validity, 0, c.GAP)):
        before, array[word] = array[word], value
        assert np.isnan(desk.scanner.consolidated(desk.now_ns).price_usd).all()
        array[word] = before
    assert desk.scanner.consolidated(desk.now_ns).venue_count.tolist() == [1]


def spot(underlying: str, price_ccy: str) -> Listing:
    symbol = f"{underlying}_{price_ccy}"
    return Listing("deribit", symbol, ListingKind.SPOT, underlying, 1.0, price_ccy, "linear", 0.01)


def test_a_spot_is_no_index_of_an_option_no_contract_and_no_rate_of_a_stablecoin():
    pairs = [spot("BTC", "USDC"), spot("BTC", "USDT"), spot("BTC", "USD")]
    desk = Desk(INVERSE, LINEAR, *pairs)
    desk.quote(INVERSE, 0.0200, 3.0, 0.0230, 4.0)
    desk.quote(LINEAR, 1990.0, 2.0, 2250.0, 1.5)
    for pair in pairs:
        desk.quote(pair, 99_999.0, 1.0, 100_001.0, 1.0)
        desk.ticker(pair, mark=100_000.0, index=100_000.0)
    book = desk.book()
    # The premium in coin is not converted: only the option's own index would do.
    assert book.contract_id.tolist() == [0]
    assert book.venue_count.tolist() == [1]
    assert book.price_usd[:, 0].tolist() == [1990.0, 2250.0]
    assert book.assumed_rate[:, 0].tolist() == [True, True]
    index = desk.scanner.state.columns.f32[c.INDEX]
    assert np.isnan(index[desk.ids[INVERSE]])


def test_a_spot_counts_coins_and_its_prints_dollars_as_a_linear_perpetual_does():
    linear = Listing("bybit", "BTCUSDT", ListingKind.PERP, "BTC", 1.0, "USDT", "linear", 0.01)
    pair = spot("BTC", "USDT")
    desk = Desk(INVERSE, linear, pair)
    for one in (linear, pair):
        desk.quote(one, 82_457.66, 0.5, 82_457.67, 0.25)
    desk.book()  # groups are told at a tick
    columns = desk.scanner.state.columns
    ids = [desk.ids[linear], desk.ids[pair]]
    for column in (c.IS_OPTION, c.IS_INVERSE):
        assert columns.u8[column, ids].tolist() == [0, 0]
    for column in (c.EXPIRY_GROUP, c.UNDERLYING_GROUP):
        of_pair, of_linear, of_option = (
            columns.i32[column, desk.ids[one]] for one in (pair, linear, INVERSE)
        )
        assert of_pair == of_linear != of_option
    assert columns.f32[c.MULTIPLIER, ids].tolist() == [1.0, 1.0]
    assert columns.i32[c.BID, ids].tolist() == [8_245_766] * 2
    assert columns.i64[c.EXPIRY_NS, ids].tolist() == [0, 0]
