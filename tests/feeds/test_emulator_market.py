"""Stylised facts of the simulated market, and its rows path."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from feeds.contract import E9, ListingKind, check_listing
from feeds.emulator.books import ASK, BID, Books
from feeds.emulator.market import Market
from feeds.emulator.planted import Plant, demo_schedule
from feeds.emulator.profiles import PROFILES
from feeds.emulator.rows import RowSimulation, Second, simulate_rows
from feeds.emulator.universe import build_universe, expiry_times
from feeds.errors import SymbolError
from feeds.events import EVENT, TICKER, EventRows, Flag, Kind, ListingState
from feeds.grammar import parse
from tests.feeds.emulator_client import START_NS

SECONDS = 150


@cache
def quiet_run() -> tuple[RowSimulation, list[Second]]:
    """One quiet run of the default size, shared by the tests that only read it."""
    run = simulate_rows(11, START_NS, SECONDS)
    return run, list(run)


def all_events() -> EventRows:
    return np.concatenate([events for _, events, _ in quiet_run()[1]])


def options_of(run: RowSimulation) -> NDArray[np.int64]:
    universe = run.market.universe
    return np.flatnonzero(universe.kind[: universe.public] == ListingKind.OPTION)


# Universe


def test_universe_holds_the_asked_number_and_does_not_ask_for_a_seed() -> None:
    universe = build_universe(START_NS, 1_000)
    kinds = [x.kind for x in universe.listings[: universe.public]]
    assert kinds.count(ListingKind.OPTION) == 1_000
    assert kinds.count(ListingKind.PERP) == kinds.count(ListingKind.INDEX) == 3
    assert kinds.count(ListingKind.SPOT) == 3
    without = build_universe(START_NS, 1_000, spots=False)
    assert [x for x in universe.listings if x.kind != ListingKind.SPOT] == list(without.listings)
    assert without.public == universe.public - 3
    other = Market(2, START_NS, 1_000).universe.listings
    assert Market(1, START_NS, 1_000).universe.listings == other == universe.listings


def test_large_universe_is_about_ten_thousand_with_unique_symbols() -> None:
    universe = build_universe(START_NS, 10_000)
    assert universe.public == pytest.approx(10_000, rel=0.02)
    assert len({x.symbol for x in universe.listings}) == len(universe.listings)


def test_expiries_lie_at_eight_utc_on_dailies_and_fridays() -> None:
    times = expiry_times(START_NS, 1_000)  # The start is Monday 2026-09-21, day 20717.
    days = [t // (86_400 * E9) for t in times]
    assert all(t % (86_400 * E9) == 8 * 3_600 * E9 for t in times)
    assert [d - 20_717 for d in days[:5]] == [1, 2, 3, 11, 18]
    assert all((d - 1) % 7 == 0 for d in days[3:])  # 1970-01-02 was a Friday.
    assert len(times) == 10


def test_strikes_are_written_with_d_for_the_point() -> None:
    universe = build_universe(START_NS, 1_000)
    fractional = [x.symbol for x in universe.listings if "d5-" in x.symbol]
    assert fractional
    assert all(symbol.startswith("SOL_USDC-") for symbol in fractional)


# Books


def test_ticks_change_their_size_at_the_knee() -> None:
    universe = build_universe(START_NS, 100)
    books = Books(universe)
    option = np.array([0])
    assert universe.listings[0].symbol.startswith("BTC-")
    ticks = np.array([[1], [49], [50], [51], [60]], np.int32)
    prices = [float(books.prices(option, t)[0]) for t in ticks]
    assert prices == [0.0001, 0.0049, 0.005, 0.0055, 0.01]
    between = np.array([0.0053])
    assert books.tick_below(option, between)[0] == 50
    assert books.tick_above(option, between)[0] == 51
    assert books.tick_below(option, np.array([0.00495]))[0] == 49
    assert books.tick_above(option, np.array([0.00495]))[0] == 50


def test_an_order_takes_the_best_levels_and_shifts_the_rest() -> None:
    books = Books(build_universe(START_NS, 100))
    books.ticks[3, ASK, :3], books.lots[3, ASK, :3] = [60, 61, 62], [5, 7, 9]
    books.ticks[3, BID, :1], books.lots[3, BID, :1] = [58], [4]
    assert books.take(3, ASK, 8, levels=3) == [(60, 5), (61, 3)]
    assert books.ticks[3, ASK, :3].tolist() == [61, 62, 0]
    assert books.lots[3, ASK, :3].tolist() == [4, 9, 0]
    assert books.lots[3, BID, 0] == 4


def test_an_order_beyond_the_book_empties_the_side_and_the_rest_is_cancelled() -> None:
    books = Books(build_universe(START_NS, 100))
    books.ticks[0, BID, :2], books.lots[0, BID, :2] = [9, 8], [1, 2]
    assert books.take(0, BID, 100, levels=3) == [(9, 1), (8, 2)]
    assert not books.lots[0].any()
    assert books.take(0, BID, 1, levels=3) == []


def test_books_are_never_crossed_and_levels_stand_in_order() -> None:
    market = Market(5, START_NS, 1_000)
    for _ in range(100):
        market.step()
        ticks, lots = market.books.ticks, market.books.lots
        there = lots > 0
        assert (there == (ticks > 0)).all()
        # An empty level is followed by empty levels only.
        assert not (there[:, :, 1:] & ~there[:, :, :-1]).any()
        falling = ticks[:, BID, 1:] < ticks[:, BID, :-1]
        rising = ticks[:, ASK, 1:] > ticks[:, ASK, :-1]
        assert falling[there[:, BID, 1:]].all()
        assert rising[there[:, ASK, 1:]].all()
        both = there[:, :, 0].all(axis=1)
        assert (ticks[both, BID, 0] < ticks[both, ASK, 0]).all()


def test_prices_and_sizes_lie_on_the_tick_table_of_their_listing() -> None:
    run, _ = quiet_run()
    events = all_events()
    for number in [0, 150, 399, 450, 700, 760, 999, 1_000, 1_001, 1_002]:
        listing = run.listings[number]
        rows = events[events["listing_id"] == number]
        assert listing.lot is not None
        above, coarse = listing.tick_table[0] if listing.tick_table else (np.inf, listing.tick)
        for price in np.unique(rows["price"][~np.isnan(rows["price"])]).tolist():
            tick = coarse if price > above else listing.tick
            assert abs(price / tick - round(price / tick)) < 1e-6, (listing.symbol, price)
            assert price == float(repr(round(price, 6)))  # Exact decimals, as a venue prints.
        lots = rows["size"][rows["size"] > 0] / np.float32(listing.lot)
        assert np.allclose(lots, np.rint(lots), rtol=1e-5), listing.symbol


# Facts


def test_one_sided_share_stays_between_ten_and_eighteen_percent() -> None:
    for seed in (1, 2, 3):
        market = Market(seed, START_NS, 1_000)
        market.run_until(START_NS + 20 * E9)
        universe = market.universe
        options = np.flatnonzero(universe.kind[: universe.public] == ListingKind.OPTION)
        there = market.books.lots[options][:, :, 0] > 0
        assert 0.10 <= float((there[:, BID] != there[:, ASK]).mean()) <= 0.18
        assert 0.0 < float((~there.any(axis=1)).mean()) < 0.04


def test_most_contracts_trade_less_than_once_an_hour_and_rates_are_skewed() -> None:
    run, _ = quiet_run()
    rate = run.market.flow.mean_rate[options_of(run)] * 3600.0
    assert float(np.median(rate)) < 0.5
    assert float(np.sort(rate)[-100:].sum() / rate.sum()) > 0.6
    events = all_events()
    trades = events[events["kind"] == Kind.TRADE]
    of_options = trades[trades["listing_id"] < 1_000]
    traded = np.unique(of_options["listing_id"])
    assert 40 <= len(of_options) <= 1_000
    assert len(traded) < 150


def test_trade_signs_cluster_in_perpetuals() -> None:
    events = all_events()
    products = []
    for perpetual in (1_000, 1_001, 1_002):
        mine = (events["kind"] == Kind.TRADE) & (events["listing_id"] == perpetual)
        signs = events["side"][mine].astype(float)
        assert set(signs.tolist()) == {-1.0, 1.0}
        products.append(signs[1:] * signs[:-1])
    assert float(np.concatenate(products).mean()) > 0.2


def test_aggressors_trade_at_the_side_they_hit() -> None:
    books: dict[int, dict[int, float]] = defaultdict(dict)
    seen = 0
    for row in all_events()[["listing_id", "kind", "side", "level", "price", "flags"]]:
        listing, kind = int(row["listing_id"]), int(row["kind"])
        if kind == Kind.BOOK_SNAPSHOT:
            if int(row["flags"]) & Flag.SNAPSHOT_START:
                books[listing] = {}
            if row["level"] == 0:
                books[listing][int(row["side"])] = float(row["price"])
        elif kind == Kind.TRADE and listing < 1_000:
            # A buy lifts the ask: at or above it, where an order takes several levels.
            best = books[listing].get(-int(row["side"]))
            if best is not None:
                seen += 1
                assert (float(row["price"]) - best) * int(row["side"]) >= 0.0
    assert seen > 30


def test_all_five_gap_strata_are_populated() -> None:
    last: dict[int, int] = {}
    strata = np.zeros(5, np.int64)
    for grid_ns, events, _ in quiet_run()[1]:
        second = grid_ns // E9
        for listing in np.unique(events["listing_id"][events["kind"] == Kind.BOOK_SNAPSHOT]):
            gap = second - last.get(int(listing), second)
            if gap > 0:
                strata[int(np.searchsorted([1, 4, 15, 60], gap))] += 1
            last[int(listing)] = second
    per_second = strata / SECONDS
    assert (per_second > [20.0, 10.0, 10.0, 2.0, 0.1]).all(), per_second


def test_mid_volatilities_of_calls_and_puts_agree() -> None:
    run, seconds = quiet_run()
    _, _, tickers = seconds[0]
    by_strike: dict[object, dict[str, float]] = defaultdict(dict)
    for row in tickers:
        listing = run.listings[int(row["listing_id"])]
        width = float(row["iv_ask"] - row["iv_bid"])
        if listing.kind == ListingKind.OPTION and width < 0.03:
            key = (listing.underlying, listing.expiry_ns, listing.strike_e9)
            by_strike[key][str(listing.right)] = float(row["iv_ask"] + row["iv_bid"]) / 2.0
    pairs = [ivs for ivs in by_strike.values() if len(ivs) == 2]
    gaps = np.array([ivs["C"] - ivs["P"] for ivs in pairs])
    assert len(pairs) > 20
    assert float(np.abs(np.median(gaps))) < 0.005
    assert float(np.abs(gaps).max()) < 0.03


def test_tickers_keep_bid_mark_and_ask_volatility_in_order() -> None:
    _, _, tickers = quiet_run()[1][60]
    full = tickers[~np.isnan(tickers["iv_bid"]) & ~np.isnan(tickers["iv_ask"])]
    assert len(full) > 300
    assert (full["iv_bid"] < full["iv_ask"]).all()
    inside = (full["iv_bid"] <= full["iv_mark"]) & (full["iv_mark"] <= full["iv_ask"])
    assert float(inside.mean()) > 0.9


def test_an_index_has_a_ticker_and_a_perpetual_no_volatility() -> None:
    run, seconds = quiet_run()
    _, _, tickers = seconds[0]
    by_symbol = {run.listings[int(r["listing_id"])].symbol: r for r in tickers}
    assert by_symbol["btc_usd"]["mark"] == by_symbol["BTC-PERPETUAL"]["index"]
    assert 50_000.0 < by_symbol["btc_usd"]["mark"] < 70_000.0
    assert np.isnan(by_symbol["btc_usd"]["open_interest"])
    assert np.isnan(by_symbol["BTC-PERPETUAL"]["iv_mark"])


# Rows


def test_rows_come_in_order_and_inside_their_period() -> None:
    before_ns, last_seq = START_NS - 1, 0
    for grid_ns, events, tickers in quiet_run()[1]:
        assert events.dtype == EVENT
        assert tickers.dtype == TICKER
        assert (np.diff(events["rx_ns"]) >= 0).all()
        assert (np.diff(events["seq"].astype(np.int64)) >= 0).all()
        for rows in (events, tickers):
            assert (rows["rx_ns"] > before_ns).all()
            assert (rows["rx_ns"] <= grid_ns).all()
            assert (rows["ex_ns"] < rows["rx_ns"]).all()
        assert int(events["seq"][0]) > last_seq
        before_ns, last_seq = grid_ns, int(events["seq"][-1])


def test_first_period_is_the_start_with_every_book_and_ticker() -> None:
    run, seconds = quiet_run()
    grid_ns, events, tickers = seconds[0]
    assert grid_ns == START_NS
    assert set(events["kind"].tolist()) == {int(Kind.BOOK_SNAPSHOT)}
    assert len(np.unique(events["listing_id"])) > 950
    assert sorted(tickers["listing_id"].tolist()) == list(range(run.market.universe.public))
    assert len(seconds) == SECONDS + 1


def test_each_update_opens_with_a_snapshot_start_and_closes_with_last() -> None:
    events = all_events()
    books = events[events["kind"] == Kind.BOOK_SNAPSHOT]
    starts = books["flags"] & int(Flag.SNAPSHOT_START) != 0
    lasts = books["flags"] & int(Flag.LAST) != 0
    new = np.concatenate([[True], books["seq"][1:] != books["seq"][:-1]])
    assert (starts == new).all()
    assert (lasts == np.roll(new, -1)).all()
    assert (books["listing_id"][1:] == books["listing_id"][:-1])[~new[1:]].all()


def test_rows_rebuild_the_market_s_own_books() -> None:
    run = simulate_rows(3, START_NS, 30, 200)
    books: dict[int, dict[tuple[int, int], tuple[float, float]]] = defaultdict(dict)
    for _, events, _ in run:
        for row in events[events["kind"] == Kind.BOOK_SNAPSHOT]:
            listing = int(row["listing_id"])
            if int(row["flags"]) & Flag.SNAPSHOT_START:
                books[listing] = {}
            key = (int(row["side"]), int(row["level"]))
            books[listing][key] = (float(row["price"]), float(row["size"]))
        gone = events[events["kind"] == Kind.BOOK_DELTA]["listing_id"]
        assert not len(gone)
    true = run.market.books
    every = np.arange(len(run.listings))
    prices, sizes = true.prices(every, true.ticks), true.sizes(every, true.lots)
    for listing, levels in books.items():
        for side, sign in ((BID, 1), (ASK, -1)):
            expected = [
                (price, float(np.float32(size)))
                for price, size in zip(prices[listing, side], sizes[listing, side], strict=True)
                if size > 0
            ]
            found = [levels[key] for key in sorted(levels) if key[0] == sign]
            assert found == expected, run.listings[listing].symbol


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_prices() -> None:
    def digest(seed: int) -> list[bytes]:
        run = simulate_rows(seed, START_NS, 8, 300)
        return [events.tobytes() + tickers.tobytes() for _, events, tickers in run]

    assert digest(4) == digest(4)
    assert all(a != b for a, b in zip(digest(4), digest(5), strict=True))


def test_a_shorter_period_cuts_the_same_run_finer() -> None:
    whole = np.concatenate([e for _, e, _ in simulate_rows(4, START_NS, 4, 100)])
    fine = list(simulate_rows(4, START_NS, 4, 100, period_ns=200_000_000))
    assert len(fine) == 21
    assert np.concatenate([e for _, e, _ in fine]).tobytes() == whole.tobytes()


def test_a_period_that_is_no_multiple_of_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="period_ns was 150000000"):
        simulate_rows(1, START_NS, 1, 100, period_ns=150_000_000)


def test_classes_without_depth_give_quotes_with_nan_for_an_empty_side() -> None:
    run = simulate_rows(6, START_NS, 20, 400, quote_activity=frozenset({2, 3}))
    events = np.concatenate([e for _, e, _ in run])
    activity = run.market.universe.activity[events["listing_id"]]
    option = events["listing_id"] < len(options_of(run))
    quotes = events[option & (activity >= 2) & (events["kind"] != Kind.TRADE)]
    assert set(quotes["kind"].tolist()) == {int(Kind.QUOTE)}
    assert (quotes["side"][::2] == 1).all()
    assert (quotes["side"][1::2] == -1).all()
    assert (quotes["seq"][::2] == quotes["seq"][1::2]).all()
    assert (quotes["flags"][1::2] == int(Flag.LAST)).all()
    empty = np.isnan(quotes["price"])
    assert empty.any()
    assert (empty == np.isnan(quotes["size"])).all()
    both = ~empty[::2] & ~empty[1::2]
    assert (quotes["price"][::2][both] < quotes["price"][1::2][both]).all()


def test_an_expiry_empties_the_book_and_says_so() -> None:
    market = Market(9, START_NS, 60)
    first_ns = market.universe.expiries_ns[0]
    market.now_ns = first_ns - 5 * 100_000_000  # Skip to the last half second before expiry.
    *before, last = market.run_until(first_ns)
    assert not any(step.states for step in before)
    ending = {i for i, x in enumerate(market.universe.listings) if x.expiry_ns == first_ns}
    assert {listing for listing, _ in last.states} == ending
    assert {state for _, state in last.states} == {ListingState.EXPIRED}
    assert not market.books.lots[sorted(ending)].any()
    assert len(ending & set(last.touched.tolist())) > len(ending) // 2


def test_an_emptied_book_is_deleted_level_by_level_in_rows() -> None:
    run = simulate_rows(9, START_NS, 3, 60)
    seconds = iter(run)
    _, opening, _ = next(seconds)
    hot = int(np.flatnonzero(run.market.universe.activity == 0)[0])
    run.market.expire(run.listings[hot].symbol)
    _, events, _ = next(seconds)
    mine = events[events["listing_id"] == hot]
    assert mine[0]["kind"] == Kind.STATE_CHANGE
    assert mine[0]["level"] == ListingState.EXPIRED
    assert set(mine[1:]["kind"].tolist()) == {int(Kind.BOOK_DELTA)}
    assert not mine[1:]["size"].any()
    assert (mine["flags"][1:] == [0] * (len(mine) - 2) + [int(Flag.LAST)]).all()
    shown = opening[opening["listing_id"] == hot]
    assert sorted(mine["price"][1:].tolist()) == sorted(shown["price"].tolist())


# Planted events


def planted(kind: str, **of: object) -> tuple[RowSimulation, EventRows, int]:
    """A run of 30 s with one event from 10 s to 20 s at a hot two-sided option."""
    market = Market(21, START_NS, 400)
    hot = (market.universe.activity == 0) & (market.books.lots[:, :, 0] > 0).all(axis=1)
    target = int(np.flatnonzero(hot)[0])
    symbol = market.universe.listings[target].symbol
    plant = Plant(kind, of.pop("target", symbol), START_NS + 10 * E9, 10.0, **of)  # type: ignore[arg-type]
    run = simulate_rows(21, START_NS, 30, 400, plants=[plant])
    return run, np.concatenate([e for _, e, _ in run]), target


def during(rows: EventRows, begin_s: int, end_s: int) -> EventRows:
    seconds = (rows["rx_ns"] - START_NS) / E9
    return rows[(seconds > begin_s) & (seconds <= end_s)]


def test_a_sweep_buys_one_contract_during_its_time_only() -> None:
    run, events, target = planted("sweep", intensity=10.0, side=1)
    trades = events[(events["kind"] == Kind.TRADE) & (events["listing_id"] == target)]
    inside = during(trades, 10, 20)
    assert len(inside) >= 4
    assert float((inside["side"] == 1).mean()) > 0.7
    assert len(inside) > 3 * len(during(trades, 0, 10))
    (truth,) = run.truth
    assert (truth.event, truth.symbols) == ("E1", (run.listings[target].symbol,))
    assert (truth.start_ns, truth.end_ns) == (START_NS + 10 * E9, START_NS + 20 * E9)


def bid_sizes(events: EventRows, target: int) -> EventRows:
    return events[
        (events["kind"] == Kind.BOOK_SNAPSHOT)
        & (events["listing_id"] == target)
        & (events["side"] == 1)
    ]


def test_a_pull_takes_the_depth_of_one_side_and_gives_it_back() -> None:
    _, events, target = planted("pull", intensity=4.0, side=1)
    bids = bid_sizes(events, target)
    before, inside = during(bids, 0, 10)["size"].mean(), during(bids, 11, 20)["size"].mean()
    after = during(bids, 21, 30)["size"].mean()
    assert inside < 0.15 * before  # 0.2 / 4 = 5 % is left, at least one lot a level.
    assert after > 0.5 * before
    asks = events[(events["listing_id"] == target) & (events["side"] == -1)]
    asks = asks[asks["kind"] == Kind.BOOK_SNAPSHOT]
    assert during(asks, 11, 20)["size"].mean() > 0.5 * during(asks, 0, 10)["size"].mean()


def test_a_pulled_slice_names_all_its_options() -> None:
    market = Market(21, START_NS, 400)
    slice_name = market.universe.listings[0].symbol.rsplit("-", 2)[0]
    run, _, _ = planted("pull", target=slice_name, intensity=4.0, side=0)
    (truth,) = run.truth
    members = [x.symbol for x in run.listings if x.symbol.startswith(f"{slice_name}-")]
    assert list(truth.symbols) == members
    assert len(members) == 16
    ids = [n for n, x in enumerate(run.listings) if x.symbol in members]
    plant = Plant("pull", slice_name, START_NS + 5 * E9, 10.0, 4.0, 0)
    pulled = Market(21, START_NS, 400, [plant])
    before = int(pulled.books.lots[ids].sum())
    pulled.run_until(START_NS + 6 * E9)
    assert int(pulled.books.lots[ids].sum()) < 0.12 * before
    pulled.run_until(START_NS + 16 * E9)
    assert int(pulled.books.lots[ids].sum()) > 0.6 * before


def test_a_dislocation_moves_both_quotes_up_and_back() -> None:
    market = Market(21, START_NS, 400)
    hot = (market.universe.activity == 0) & (market.books.lots[:, :, 0] > 0).all(axis=1)
    target = int(np.flatnonzero(hot)[0])
    symbol = market.universe.listings[target].symbol
    market.planter.add(Plant("dislocation", symbol, START_NS + 5 * E9, 10.0, 4.0, 1))
    market.run_until(START_NS + 5 * E9 - 1)
    bid, ask = market.books.ticks[target, :, 0].tolist()
    market.step()
    moved_bid, moved_ask = market.books.ticks[target, :, 0].tolist()
    # Four half-spreads up: the new bid stands at least as high as the old ask.
    assert moved_bid >= ask
    assert moved_ask > ask
    market.run_until(START_NS + 16 * E9)
    assert abs(market.books.ticks[target, BID, 0] - bid) < moved_bid - bid


def test_a_block_is_one_flagged_print_that_leaves_the_book_alone() -> None:
    run, events, target = planted("block", intensity=4.0, side=-1)
    blocks = events[(events["flags"] & int(Flag.BLOCK)) != 0]
    assert len(blocks) == 1
    assert int(blocks[0]["listing_id"]) == target
    assert int(blocks[0]["side"]) == -1
    assert int(blocks[0]["aux"]) > 0
    lots = float(blocks[0]["size"]) / float(run.listings[target].lot or 0)
    assert lots == pytest.approx(80 * run.market.flow.median_trade_lots(target), abs=1.0)


def test_pressure_tilts_calls_and_puts_of_a_slice_against_each_other() -> None:
    market = Market(21, START_NS, 400)
    slice_name = market.universe.listings[0].symbol.rsplit("-", 2)[0]
    run, events, _ = planted("pressure", target=slice_name, intensity=4.0, side=1)

    def imbalance(right: str) -> float:
        ids = [run.market.universe.ids[s] for s in run.truth[0].symbols if s.endswith(right)]
        rows = during(events, 12, 20)
        rows = rows[np.isin(rows["listing_id"], ids) & (rows["kind"] == Kind.BOOK_SNAPSHOT)]
        bid = float(rows["size"][rows["side"] == 1].sum())
        ask = float(rows["size"][rows["side"] == -1].sum())
        return (bid - ask) / (bid + ask)

    assert imbalance("-C") > 0.3
    assert imbalance("-P") < -0.3


def test_an_unknown_target_is_refused_with_its_name() -> None:
    plant = Plant("sweep", "BTC-1JAN20-1-C", START_NS)
    with pytest.raises(SymbolError, match="BTC-1JAN20-1-C"):
        Market(1, START_NS, 100, [plant])


def test_the_demo_schedule_falls_into_seconds_twenty_to_forty() -> None:
    market = Market(7, START_NS, 1_000)
    schedule = demo_schedule(market.universe, market.books, START_NS)
    assert {p.kind for p in schedule} == {"sweep", "pull", "dislocation", "block"}
    assert all(p.start_ns >= START_NS + 20 * E9 for p in schedule)
    assert all(p.end_ns <= START_NS + 40 * E9 for p in schedule)
    assert len([market.planter.add(p) for p in schedule]) == 5


def test_venues_of_one_seed_share_prices_and_contracts_and_nothing_else() -> None:
    markets = {
        name: Market(5, START_NS, 300, profile=profile) for name, profile in PROFILES.items()
    }
    for market in markets.values():
        for _ in range(20):
            market.step()
    first = markets["deribit"]
    contracts = {x.contract for x in first.universe.listings[: first.universe.public]}
    for name, market in markets.items():
        assert market.prices.spot.tobytes() == first.prices.spot.tobytes(), name
        public = market.universe.listings[: market.universe.public]
        own = {x.contract for x in public} - {None}
        if name in ("delta", "delta_india"):  # expires at another hour: other contracts
            assert not own & contracts
        else:
            assert own <= contracts, name
            assert market.prices.forward.tobytes() == first.prices.forward.tobytes(), name
    okx, bybit = markets["okx"], markets["bybit"]
    assert okx.makers.median_lots[:50].tolist() != bybit.makers.median_lots[:50].tolist()
    assert okx.universe.public < bybit.universe.public < first.universe.public


@pytest.mark.parametrize("name", PROFILES)
def test_listings_of_every_profile_hold_and_their_names_read_back(name: str) -> None:
    universe = build_universe(START_NS, 300, PROFILES[name])
    for listing in universe.listings:
        check_listing(listing)
        if listing.contract is not None:
            parsed = parse(name, listing.symbol)
            hour = timedelta(hours=PROFILES[name].hour)
            day = datetime.fromtimestamp(listing.expiry_ns // E9, UTC) - hour
            assert (parsed.day, parsed.strike_e9, parsed.right) == (
                day.date(), listing.strike_e9, listing.right,
            )  # fmt: skip
    assert len(universe.ids) == len(universe.listings)
