"""How venues differ over the one simulated market: names, units, shares, width, depth, lag."""

import hashlib
import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from feeds.contract import E9, Contract, ListingKind
from feeds.emulator.deribit.server import DeribitServer
from feeds.emulator.market import Market
from feeds.emulator.planted import demo_schedule
from feeds.emulator.profiles import (
    BINANCE,
    BINANCE_FUTURES,
    BINANCE_SPOT,
    BYBIT,
    DERIBIT,
    OKX,
    PROFILES,
)
from feeds.emulator.rows import simulate_rows
from feeds.emulator.universe import Universe, build_universe
from feeds.errors import SymbolError
from feeds.events import ListingState
from tests.feeds.emulator_client import START_NS


def contracts(universe: Universe) -> set[Contract]:
    listed = universe.listings[: universe.public]
    return {x.contract for x in listed if x.contract is not None}


# Deribit stays as it was


def test_deribit_s_rows_are_those_of_before_there_were_profiles() -> None:
    """The hashes were taken of the code that knew one venue.

    And again when open interest was rounded to what a venue prints, all else being equal; and of
    float32, since the last bit of an exponential is another with AVX-512 than without.
    """

    def digest(seconds: int, plants: tuple[object, ...] = ()) -> str:
        found = hashlib.blake2b(digest_size=16)
        for grid_ns, events, tickers in simulate_rows(7, START_NS, seconds, 300, plants=plants):  # type: ignore[arg-type]
            found.update(grid_ns.to_bytes(8, "little"))
            for rows in (events, tickers):
                for name in rows.dtype.names:
                    real = rows.dtype[name].kind == "f"
                    found.update(rows[name].astype(np.float32 if real else np.int64).tobytes())
        return found.hexdigest()

    assert digest(40) == "a2548e837528887ba2f023c3b6e87f7d"
    market = Market(7, START_NS, 300)
    plants = demo_schedule(market.universe, market.books, market.now_ns)
    assert digest(50, plants) == "29bdf83370c78e254d46961b65f0b4e2"


def test_deribit_s_messages_are_those_of_before_there_were_profiles() -> None:
    found = hashlib.blake2b(digest_size=16)

    class Heard(DeribitServer):
        def deliver(self, channel: str, content: bytes) -> None:
            del channel
            found.update(content)

    market = Market(7, START_NS, 200, spots=False)
    server = Heard(market, 7)
    named = [
        f"{head}.{symbol}{tail}"
        for symbol in server.wire.symbols
        for head, tail in (
            ("book", ".100ms"), ("quote", ""), ("ticker", ".100ms"), ("trades", ".100ms"),
            ("book", ".none.10.100ms"),
        )
    ]  # fmt: skip
    wide = ["platform_state"]
    for terms in DERIBIT.terms:
        wide += [f"markprice.options.{terms.index}", f"deribit_price_index.{terms.index}"]
        for kind in ("option", "future"):
            of = f"{kind}.{terms.currency}"
            wide += [f"trades.{of}.100ms", f"instrument.state.{of}", f"instrument.creation.{of}"]
    for name in filter(server.exists, named + sorted(wide)):
        server.listened[name] = 1
        found.update(b"".join(server.first(name)) or b"-")
    for currency in ("BTC", "ETH", "USDC"):
        for kind in ("option", "future"):
            params = {"currency": currency, "kind": kind}
            listed = server.methods.call("public/get_instruments", params)
            found.update(msgspec.json.encode(listed))
    market.expire(server.wire.symbols[3])
    market.list_spare()
    for _ in range(200):
        server.publish(market.step())
    assert found.hexdigest() == "80b0e52badc09054e82017e33af5753f"


# Listings


@pytest.mark.parametrize(
    ("venue", "option", "perp", "multiplier", "price_ccy", "settle"),
    [
        ("deribit", "BTC-22SEP26-60000-C", "BTC-PERPETUAL", 1.0, "BTC", "inverse"),
        ("okx", "BTC-USD-260922-60000-C", "BTC-USD-SWAP", 0.01, "BTC", "inverse"),
        ("bybit", "BTC-22SEP26-60000-C-USDT", "BTCUSDT", 1.0, "USDT", "linear"),
        ("binance", "BTC-260922-60000-C", "BTCUSDT", 1.0, "USDT", "linear"),
        ("derive", "BTC-20260922-60000-C", "BTC-PERP", 1.0, "USDC", "linear"),
        ("delta", "C-BTC-60000-220926", "BTCUSD", 0.001, "USD", "linear"),
        ("delta_india", "C-BTC-60000-220926", "BTCUSD", 0.001, "USD", "linear"),
        ("bullish", "BTC-USDC-20260922-60000-C", "BTC-USDC-PERP", 1.0, "USDC", "linear"),
        ("gate", "BTC_USDT-20260922-60000-C", "BTC_USDT", 0.01, "USDT", "linear"),
        ("coincall", "BTCUSD-22SEP26-60000-C", "BTCUSD", 1.0, "USD", "linear"),
    ],
)
def test_each_venue_spells_prices_and_sizes_in_its_own_way(
    venue: str, option: str, perp: str, multiplier: float, price_ccy: str, settle: str
) -> None:
    universe = build_universe(START_NS, 400, PROFILES[venue])
    listing = universe.listings[universe.ids[option]]
    assert (listing.multiplier, listing.price_ccy, listing.settle) == (
        multiplier, price_ccy, settle,
    )  # fmt: skip
    assert universe.listings[universe.ids[perp]].kind == ListingKind.PERP
    hour = 12 if venue in ("delta", "delta_india") else 8
    assert listing.expiry_ns == (20_718 * 24 + hour) * 3_600 * E9  # 2026-09-22


# A venue of futures


def test_a_venue_of_futures_has_one_of_each_expiry_in_place_of_options() -> None:
    universe = build_universe(START_NS, 400, BINANCE_FUTURES)
    public, spares = universe.listings[: universe.public], universe.listings[universe.public :]
    assert [x.symbol for x in public if x.underlying == "BTC"] == [
        "BTCUSDT_260922", "BTCUSDT_260923", "BTCUSDT", "BTCUSDT/INDEX",
    ]  # fmt: skip
    assert [x.expiry_ns for x in spares] == [universe.expiries_ns[-1]] * 3
    assert {x.kind for x in spares} == {ListingKind.FUTURE}
    assert len(public) == 3 * 4
    first = universe.listings[universe.ids["ETHUSDT_260922"]]
    assert (first.multiplier, first.price_ccy, first.settle, first.expiry_ns) == (
        1.0, "USDT", "linear", (20_718 * 24 + 8) * 3_600 * E9,
    )  # fmt: skip


def test_a_future_is_quoted_about_its_forward_and_trades_less_than_the_perpetual() -> None:
    market = Market(7, START_NS, 400, profile=replace(BINANCE_FUTURES, expiries=None))
    number, perpetual = (market.universe.ids[name] for name in ("BTCUSDT_270326", "BTCUSDT"))
    assert len(market.universe.ids) == len(market.universe.listings)
    ids = np.array([number, perpetual])
    middle = market.books.prices(ids, market.books.ticks[ids, :, 0]).mean(axis=1)
    forward, spot = market.prices.forward[market.universe.slice[number]], market.prices.spot[0]
    assert forward > 1.01 * spot  # Half a year at about 5 % a year.
    assert middle == pytest.approx([forward, spot], rel=1e-5)
    assert market.flow.mean_rate[ids] * 3600 == pytest.approx([60.0, 3000.0])


def test_a_future_expires_and_a_perpetual_does_not() -> None:
    market = Market(7, START_NS, 400, profile=BINANCE_FUTURES)
    number = market.universe.ids["BTCUSDT_260922"]
    market.expire("BTCUSDT_260922")
    assert market.step().states == ((number, ListingState.EXPIRED),)
    assert not market.books.lots[number].any()
    with pytest.raises(SymbolError, match="was 'BTCUSDT', expected a live option or future"):
        market.expire("BTCUSDT")


def test_a_demonstration_plants_nothing_where_there_are_no_options() -> None:
    market = Market(7, START_NS, 400, profile=BINANCE_FUTURES)
    assert demo_schedule(market.universe, market.books, market.now_ns) == ()


def test_a_venue_of_spot_has_a_pair_of_each_coin_about_its_price() -> None:
    market = Market(7, START_NS, 400, profile=BINANCE_SPOT)
    assert [(x.symbol, x.kind, x.expiry_ns) for x in market.universe.listings] == [
        (f"{coin}USDT", ListingKind.SPOT, None) for coin in ("BTC", "ETH", "SOL")
    ]  # fmt: skip
    ids = np.arange(3)
    middle = market.books.prices(ids, market.books.ticks[ids, :, 0]).mean(axis=1)
    assert middle == pytest.approx(market.prices.spot, rel=1e-4)
    assert not market.step().states


# Shares


def test_shares_of_strikes_and_expiries_leave_the_middle_and_the_nearest() -> None:
    small = replace(OKX, share=0.5, expiries=3)
    universe = build_universe(START_NS, 1_000, small)
    expiries = sorted({c.expiry_ns for c in contracts(universe)})
    assert expiries == list(universe.expiries_ns[:3])
    whole = build_universe(START_NS, 1_000)

    def strikes(of: Universe, coin: str) -> list[int]:
        of_slice = [c for c in contracts(of) if (c.underlying, c.expiry_ns) == (coin, expiries[0])]
        return sorted({c.strike_e9 for c in of_slice})

    assert strikes(universe, "BTC") == strikes(whole, "BTC")[5:15]  # 10 of 20
    assert strikes(universe, "ETH") == strikes(whole, "ETH")[4:12]  # 8 of 17


# Prices


def plain_black(forward: float, strike: float, iv: float, years: float, right: str) -> float:
    """Black-76 by the error function of the standard library, USD, undiscounted."""
    total = iv * math.sqrt(years)
    d1 = math.log(forward / strike) / total + total / 2.0
    sign = 1.0 if right == "C" else -1.0
    first, second = (0.5 * math.erfc(-sign * d / math.sqrt(2.0)) for d in (d1, d1 - total))
    return sign * (forward * first - strike * second)


@pytest.mark.parametrize("venue", [n for n, of in PROFILES.items() if of.lists == "options"])
def test_every_fair_price_has_one_value_in_cash(venue: str) -> None:
    """BTC and ETH are worth Black-76 times S/F, SOL is worth Black-76: whoever quotes them.

    A price in coin is worth the index, S; the far expiries carry more than 4 % of basis, so that
    the forward in its place, or a discount left out or doubled, is seen.
    """
    market = Market(7, START_NS, 400, profile=PROFILES[venue])
    universe, prices = market.universe, market.prices
    ids = np.flatnonzero(universe.kind == ListingKind.OPTION)
    value, _, _ = prices.fair(ids, np.zeros(len(ids)))
    ivs = prices.iv(ids)
    most_basis = 0.0
    for number, native, iv in zip(ids.tolist(), value.tolist(), ivs.tolist(), strict=True):
        listing, coin = universe.listings[number], int(universe.underlying[number])
        spot = float(prices.spot[coin])
        forward = float(prices.forward[universe.slice[number]])
        years = (int(universe.expiry_ns[number]) - market.now_ns) / (365 * 86_400 * E9)
        black = plain_black(forward, float(universe.strike[number]), iv, years, str(listing.right))
        worth = black if listing.underlying == "SOL" else black * spot / forward
        cash = native * spot if listing.settle == "inverse" else native
        assert cash == pytest.approx(worth, rel=1e-8, abs=1e-7 * spot), listing.symbol
        most_basis = max(most_basis, abs(forward / spot - 1.0))
    if universe.profile.expiries is None:
        assert most_basis > 0.04


@pytest.mark.parametrize("right", "CP")
@pytest.mark.parametrize("coin", [0, 2])  # BTC, SOL
@pytest.mark.parametrize(("venue", "settle"), [("okx", "inverse"), ("bybit", "linear")])
def test_the_native_delta_is_what_a_dollar_of_forward_changes(
    venue: str, settle: str, coin: int, right: str
) -> None:
    """By bumping the market a millionth up and down, the index with the forward."""
    market = Market(7, START_NS, 400, profile=PROFILES[venue])
    universe, prices = market.universe, market.prices
    is_call = np.isfinite(universe.strike) & (universe.is_call == (right == "C"))
    found = np.flatnonzero(is_call & (universe.underlying == coin))
    number = int(found[-len(found) // 16])  # of the farthest expiry, or of the one before it
    assert universe.listings[number].settle == settle
    ids, none = np.array([number]), np.zeros(1)
    value, delta, vega = prices.fair(ids, none)
    spots, forwards = prices.spot.copy(), prices.forward.copy()
    # The smile moves with the forward; here its volatility is to stay.
    iv = float(prices.iv(ids)[0])

    def bumped(factor: float) -> float:
        prices.spot, prices.forward = spots.copy(), forwards.copy()
        prices.spot[coin] *= factor
        prices.forward[universe.slice[number]] *= factor
        same_iv = np.array([iv - float(prices.iv(ids)[0])])
        return float(prices.fair(ids, same_iv)[0][0])

    h = 1e-6
    moved = 2.0 * h * forwards[universe.slice[number]]
    assert delta[0] == pytest.approx((bumped(1.0 + h) - bumped(1.0 - h)) / moved, rel=1e-5)
    prices.spot, prices.forward = spots, forwards
    up, down = (prices.fair(ids, np.array([d]))[0][0] for d in (1e-5, -1e-5))
    assert vega[0] == pytest.approx((up - down) / 2e-5 * 0.01, rel=1e-5)
    assert value[0] > 0.0


@pytest.mark.parametrize("venue", ["deribit", "okx", "bybit"])
def test_volatilities_of_quotes_stand_about_that_of_the_mark(venue: str) -> None:
    """Whoever quotes discounted prices undoes it for the volatilities that it publishes."""
    market = Market(7, START_NS, 400, profile=PROFILES[venue])
    universe = market.universe
    years = (universe.expiry_ns - market.now_ns) / (365 * 86_400 * E9)
    busy = (universe.kind == ListingKind.OPTION) & (universe.activity <= 2) & (years > 0.15)
    rows = market.tickers(np.flatnonzero(busy))
    both = ~np.isnan(rows["iv_bid"]) & ~np.isnan(rows["iv_ask"])
    mid = 0.5 * (rows["iv_bid"] + rows["iv_ask"])[both]
    assert both.sum() > 30
    # A discount of 1 % of a premium is about half a point of volatility, ten times this bound.
    assert float(np.median(mid - rows["iv_mark"][both])) == pytest.approx(0.0, abs=0.0005)
    number = int(np.flatnonzero(busy)[0])
    mark, _, _ = market.prices.fair(np.array([number]), np.zeros(1))
    assert market.best_iv(number, float(mark[0])) == pytest.approx(
        float(market.prices.iv(np.array([number]))[0]), abs=1e-5
    )


def test_a_price_for_a_hundred_coins_is_a_hundred_prices_and_the_same_volatility() -> None:
    hundred = tuple(replace(u, price_per=100.0) for u in BINANCE.terms)
    one = Market(7, START_NS, 400, profile=BINANCE)
    many = Market(7, START_NS, 400, profile=replace(BINANCE, terms=hundred))
    near = (one.universe.underlying == 2) & (np.abs(one.universe.strike - 148.0) < 4.0)
    number = int(np.flatnonzero(near & one.universe.is_call)[0])
    ids = np.array([number])
    assert many.universe.listings[number].price_per == 100.0
    single, each = one.tickers(ids)[0], many.tickers(ids)[0]
    assert each["mark"] == pytest.approx(100.0 * single["mark"])
    assert each["iv_mark"] == single["iv_mark"]
    assert each["delta"] == single["delta"]
    assert each["iv_bid"] == pytest.approx(single["iv_bid"], abs=0.05)
    assert each["iv_bid"] < each["iv_mark"] < each["iv_ask"]


def test_late_makers_quote_the_prices_of_some_steps_ago() -> None:
    """A perpetual's ladder stands about what its maker saw; the same draws at another lag."""

    def mids(lag_steps: int) -> np.ndarray:
        market = Market(7, START_NS, 60, profile=replace(BYBIT, lag_steps=lag_steps))
        perp = market.universe.ids["BTCUSDT"]
        found = []
        for _ in range(400):
            market.step()
            best = market.books.prices(np.array([perp]), market.books.ticks[perp : perp + 1, :, 0])
            found.append((float(best.mean()), float(market.prices.spot[0])))
        return np.array(found)

    def mean_error(found: np.ndarray, shift: int) -> float:
        quoted, spot = found[40:, 0], found[:, 1]
        return float(np.abs(quoted - spot[40 - shift : len(spot) - shift]).mean())

    late = mids(30)
    assert mean_error(late, 30) < 0.5 * mean_error(late, 0)
    prompt = mids(0)
    assert mean_error(prompt, 0) < 0.5 * mean_error(prompt, 30)


def test_width_and_depth_widen_and_deepen() -> None:
    narrow = Market(7, START_NS, 200, profile=replace(BYBIT, width=1.0))
    wide = Market(7, START_NS, 200, profile=replace(BYBIT, width=3.0))
    lots = wide.books.lots[:, :, 0] > 0
    both = (lots & (narrow.books.lots[:, :, 0] > 0)).all(axis=1)
    both &= wide.universe.kind == ListingKind.OPTION
    spread = [np.diff(m.books.ticks[both, :, 0], axis=1).mean() for m in (narrow, wide)]
    assert spread[1] > 2.0 * spread[0]
    shallow = Market(7, START_NS, 200, profile=replace(BYBIT, depth=1.0))
    factor = wide.makers.median_lots / shallow.makers.median_lots
    option = wide.universe.kind == ListingKind.OPTION
    assert factor[option] == pytest.approx(5.0)
    assert factor[wide.universe.kind == ListingKind.PERP] == pytest.approx(1.0)
