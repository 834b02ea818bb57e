"""The oracle of a listing, against values worked by hand or published in the method notes."""

import math

import numpy as np
import pytest

from feeds.events import EVENT, Flag, Kind, ListingState
from tests.oracles import metrics as m
from tests.oracles.book import ASK, BID, DictionaryBook
from tests.oracles.metrics import DecayedSum, OracleListing, Row
from tests.oracles.rows import (
    NAN,
    SECOND,
    applied,
    at,
    clear,
    delta,
    listing,
    quote,
    snapshot,
    state_change,
    ticker,
    trade,
)

# --- vocabulary ---------------------------------------------------------------------------


def test_constants_written_down_again_are_those_of_the_events():
    kinds = [m.QUOTE, m.BOOK_SNAPSHOT, m.BOOK_DELTA, m.TRADE, m.CLEAR, m.STATE_CHANGE]
    flags = [m.LAST, m.SNAPSHOT_START, m.REJECTED, m.BLOCK, m.COMBO_LEG, m.RFQ]
    assert kinds == list(Kind)
    assert flags == list(Flag)[:6]
    states = [ListingState.LIVE, ListingState.HALTED, ListingState.EXPIRED]
    assert states == [m.LIVE, m.HALTED, m.EXPIRED_STATE]
    assert Row._fields == EVENT.names


def test_rows_of_a_structured_array_and_tuples_give_the_same_state():
    rows = quote(0, 100, 5, 101, 2)
    packed = np.array([tuple(one) for one in rows], EVENT)
    assert applied(packed).state == applied(rows).state
    assert applied(rows).state.bids == ((100, 5.0),)


def test_rows_after_the_last_flag_wait_for_their_update_to_close():
    bid, ask = quote(1, 100, 5, 101, 2)
    one = applied([bid])
    assert one.validity(at(1)) == m.NO_STATE
    one.apply([ask])
    assert one.validity(at(1)) == 0


def test_rejected_rows_are_counted_and_change_nothing():
    one = applied(quote(0, 100, 5, 101, 2))
    one.apply(r._replace(flags=r.flags | m.REJECTED) for r in quote(1, 90, 1, 91, 1))
    assert one.rejected_rows == 2
    assert one.state.bids == ((100, 5.0),)


# --- book ---------------------------------------------------------------------------------


def test_book_orders_bids_down_and_asks_up():
    levels = DictionaryBook[int]()
    for side, price in ((BID, 9), (BID, 10), (ASK, 12), (ASK, 11)):
        levels.set(side, price, float(price))
    assert levels.levels(BID) == [(10, 10.0), (9, 9.0)]
    assert levels.levels(ASK, 1) == [(11, 11.0)]


def test_delta_book_equals_the_snapshot_it_leads_to():
    by_delta = applied(
        snapshot(0, [(1, 100, 5), (1, 98, 7), (-1, 101, 2)]),
        delta(1, (1, 99, 4), (1, 98, 0), (-1, 101, 3)),
    )
    by_snapshot = applied(snapshot(1, [(1, 100, 5), (1, 99, 4), (-1, 101, 3)]))
    assert by_delta.state == by_snapshot.state


def test_snapshot_forgets_the_old_book():
    one = applied(snapshot(0, [(1, 100, 5), (-1, 101, 2)]), snapshot(1, [(1, 90, 1), (-1, 95, 1)]))
    assert one.state.bids == ((90, 1.0),)
    assert one.state.asks == ((95, 1.0),)


def test_level_33_is_pushed_out_and_says_truncated():
    levels = [(1, 100 - i, 1.0) for i in range(32)] + [(-1, 101, 1.0)]
    one = applied(snapshot(0, levels))
    assert one.validity(at(0)) == 0
    one.apply(delta(1, (1, 50, 1.0)))
    assert one.validity(at(1)) == m.TRUNCATED
    assert min(one.book.sides[BID]) == 69
    assert len(one.state.bids) == 10


def test_truncated_side_with_nine_levels_is_a_gap_until_the_next_snapshot():
    bids = [(1, 100 - i, 1.0) for i in range(33)]
    one = applied(snapshot(0, [*bids, (-1, 101, 1.0)]))
    one.apply(delta(1, *[(1, 100 - i, 0.0) for i in range(22)]))
    assert one.validity(at(1)) == m.TRUNCATED  # 10 left.
    one.apply(delta(2, (1, 78, 0.0)))
    assert one.validity(at(2)) == m.TRUNCATED | m.GAP
    one.apply(delta(3, (1, 78, 1.0)))
    assert one.validity(at(3)) == m.TRUNCATED | m.GAP
    one.apply(snapshot(4, [(1, 100, 5), (-1, 101, 2)]))
    assert one.validity(at(4)) == 0


def test_quotes_of_a_listing_with_a_book_are_counted_and_ignored():
    one = applied(snapshot(0, [(1, 100, 5), (-1, 101, 2)]), quote(1, 1, 1, 2, 1))
    assert one.ignored_quotes == 2
    assert one.state.bids == ((100, 5.0),)
    assert one.counts["updates"].value == 1


# --- validity and freshness ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("update", "bits"),
    [
        (quote(0, 100, 5, 101, 2), 0),
        (quote(0, 101, 5, 101, 2), m.LOCKED),
        (quote(0, 102, 5, 101, 2), m.CROSSED),
        (quote(0, NAN, 0, 101, 2), m.NO_BID),
        (quote(0, 100, 5, NAN, 0), m.NO_ASK),
        (quote(0, 100, 0, 101, 2), m.NO_BID | m.ZERO_SIZE),
        (quote(0, 100, 5, 101, NAN), m.NO_ASK | m.ZERO_SIZE),
        (quote(0, NAN, NAN, NAN, NAN), m.NO_BID | m.NO_ASK),
        (clear(0), m.NO_STATE),
    ],
)
def test_each_state_carries_its_bits(update, bits):
    assert applied(update).validity(at(0)) == bits


def test_a_gap_empties_the_book():
    one = applied(quote(0, 100, 5, 101, 2), clear(1))
    assert one.validity(at(1)) == m.GAP | m.NO_BID | m.NO_ASK


def test_halted_is_lifted_by_live_and_expired_is_not():
    one = applied(quote(0, 100, 5, 101, 2), state_change(1, m.HALTED))
    assert one.validity(at(1)) == m.EXPIRED
    one.apply(state_change(2, m.LIVE))
    assert one.validity(at(2)) == 0
    one.apply(state_change(3, m.EXPIRED_STATE) + state_change(4, m.LIVE))
    assert one.validity(at(4)) == m.EXPIRED


def test_settling_begins_a_window_before_the_expiry_which_ends_all():
    one = applied(quote(0, 100, 5, 101, 2), is_option=True, expiry_ns=at(100), settle_window_s=30.0)
    assert [one.validity(at(t)) for t in (69, 70, 99, 100)] == [0, m.SETTLING, m.SETTLING, 128]
    assert one.regular(at(99))
    assert not one.regular(at(100))


def test_fresh_needs_a_changed_used_book_or_validity():
    one = applied(quote(0, 100, 5, 101, 2))
    assert one.fresh
    one.clear_fresh()
    one.apply(quote(1, 100, 5, 101, 2) + trade(2, 101, 3))
    assert not one.fresh
    one.apply(quote(3, 100, 6, 101, 2))
    assert one.fresh
    one.clear_fresh()
    one.apply(clear(4))
    assert one.fresh


def test_level_eleven_is_not_in_the_used_book():
    bids = [(1, 100 - i, 1.0) for i in range(10)]
    one = applied(snapshot(0, [*bids, (-1, 101, 1.0)]))
    one.clear_fresh()
    one.apply(delta(1, (1, 80, 5.0)))
    assert not one.fresh
    assert one.metrics(at(2))["quote_age_s"] == pytest.approx(2)
    assert one.metrics(at(2))["update_rate"] == pytest.approx(
        (2 ** (-2 / 300) + 2 ** (-1 / 300)) * math.log(2) / 300
    )


# --- order-flow imbalance -----------------------------------------------------------------

M5 = [
    (10, 5, 10.1, 7),
    (10, 8, 10.1, 7),
    (10, 8, 10.1, 3),
    (10.1, 4, 10.2, 6),
    (10, 9, 10.2, 6),
    (10, 9, 10.1, 2),
]


def bar_steps(one: OracleListing, quotes) -> list[float]:
    steps, before = [], 0.0
    for second, values in enumerate(quotes):
        one.apply(quote(second, *values))
        steps.append(one.ofi_bar(1)[0] - before)
        before = one.ofi_bar(1)[0]
    return steps[1:]


def test_event_flow_of_the_published_vector():
    one = listing(tick=0.1)
    assert bar_steps(one, M5) == [3, 4, 7, -4, -2]
    assert one.ofi_bar(1) == [8]


def test_event_flow_of_the_mirrored_vector_is_its_negative():
    mirrored = [(-ask, ask_size, -bid, bid_size) for bid, bid_size, ask, ask_size in M5]
    assert bar_steps(listing(tick=0.1), mirrored) == [-3, -4, -7, 4, 2]


def test_decayed_flow_keeps_buying_and_selling_apart():
    one = listing(tick=0.1)
    bar_steps(one, M5)  # e = 3, 4, 7, -4, -2 at 1 .. 5 s.
    bought = 3 * 2 ** (-4 / 5) + 4 * 2 ** (-3 / 5) + 7 * 2 ** (-2 / 5)
    sold = 4 * 2 ** (-1 / 5) + 2
    assert one.buying[5].read(at(5)) == pytest.approx(bought, rel=1e-12)
    assert one.selling[5].read(at(5)) == pytest.approx(sold, rel=1e-12)
    assert one.ofi(at(10), 5) == pytest.approx((bought - sold) / 2, rel=1e-12)


def test_one_sided_state_breaks_the_pair_on_both_of_its_sides():
    one = applied(quote(0, 100, 5, 102, 5), quote(1, 101, 9, NAN, 0), quote(2, 101, 9, 102, 1))
    assert one.ofi_bar(1) == [0]
    one.apply(quote(3, 101, 12, 102, 1))
    assert one.ofi_bar(1) == [3]


def test_gap_drops_the_first_difference():
    one = applied(quote(0, 100, 5, 102, 5), clear(1), quote(2, 101, 50, 102, 5))
    assert one.validity(at(2)) == 0
    assert one.ofi_bar(1) == [0]
    one.apply(quote(3, 101, 53, 102, 5))
    assert one.ofi_bar(1) == [3]
    assert one.ofi(at(3), 30) == 3


def test_gap_closed_inside_one_update_drops_the_difference_all_the_same():
    gap = clear(1)[0]._replace(flags=0)
    again = snapshot(1, [(1, 101, 50), (-1, 102, 5)])
    one = applied(snapshot(0, [(1, 100, 5), (-1, 102, 5)]), [gap, *again])
    assert one.validity(at(1)) == 0
    assert one.ofi_bar(1) == [0]


def test_locked_state_counts_in_the_bar_and_not_in_the_decayed_sums():
    one = applied(quote(0, 100, 5, 102, 5), quote(1, 102, 4, 102, 5), quote(2, 102, 6, 103, 5))
    # Up to the ask: +4. Then the size difference 2, and the ask moved away: +5.
    assert one.ofi_bar(1) == [11]
    assert one.ofi(at(2), 300) == 0


def test_levels_have_a_flow_of_their_own_where_both_sides_have_them():
    one = applied(
        snapshot(0, [(1, 100, 5), (1, 99, 10), (-1, 101, 5)]),
        snapshot(1, [(1, 100, 5), (1, 99, 14), (-1, 101, 4), (-1, 102, 3)]),
    )
    assert one.ofi_bar(3) == [1, 0, 0]
    one.apply(delta(2, (1, 99, 20), (-1, 102, 4)))
    assert one.ofi_bar(3) == [1, 5, 0]


def test_bar_says_whether_it_began_with_a_state():
    one = listing()
    one.reset_bar()
    one.apply(quote(0, 100, 5, 101, 5))
    assert not one.bar_began_with_state
    one.reset_bar()
    assert one.bar_began_with_state
    assert one.ofi_bar() == [0] * 10


# --- metrics ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("qb", "qa", "obi"), [(5, 2, 3 / 7), (1048, 234, 0.634945), (2, 5, -3 / 7)]
)
def test_queue_imbalance_of_the_published_vectors(qb, qa, obi):
    one = applied(quote(0, 100, qb, 101, qa))
    assert one.metrics(at(0))["obi"] == pytest.approx(obi, abs=1e-6)


def test_microprice_is_the_mid_plus_its_offset():
    offset = applied(quote(0, 100, 5, 101, 2)).metrics(at(0))["microprice_offset"]
    assert 100.5 + offset == pytest.approx(100.7142857, abs=1e-7)


M3 = [(1, 100, 5), (1, 99, 10), (1, 98, 20), (-1, 101, 2), (-1, 102, 8), (-1, 103, 30)]


def test_depth_imbalance_at_a_mean_spread_of_one_tick_is_the_published_value():
    assert applied(snapshot(0, M3)).metrics(at(9))["depth_obi"] == pytest.approx(
        0.0526316, abs=1e-7
    )


def test_depth_imbalance_measures_distance_in_mean_spreads():
    # A spread of 3 ticks stood for all of the past: d = 1/6, 1/2, 5/6.
    one = applied(snapshot(0, [(1, 99, 5), (-1, 102, 5)]), snapshot(300, M3))
    assert one.mean_spread_at(at(300)) == pytest.approx(3)
    assert one.metrics(at(300))["depth_obi"] == pytest.approx(-0.0324375, abs=1e-6)


def test_means_weigh_values_by_the_time_they_stood():
    one = applied(quote(0, 99, 4, 102, 8), quote(300, 100, 3, 101, 3))
    # 3 ticks for the older half-life, 1 tick for the younger: (3/4 + 1/2) / (3/4).
    assert one.mean_spread_at(at(600)) == pytest.approx(5 / 3)
    assert one.mean_depth_at(at(600)) == pytest.approx((6 / 4 + 3 / 2) / (3 / 4))


def test_means_do_not_learn_while_the_row_is_not_regular():
    one = applied(quote(0, 99, 4, 102, 8), clear(300), quote(900, 100, 3, 101, 3))
    assert one.mean_spread_at(at(900)) == pytest.approx(3)


def test_mean_with_no_time_behind_it_is_the_current_value():
    assert applied(quote(0, 99, 4, 102, 8)).mean_spread_at(at(0)) == 3


def test_trade_flow_of_the_published_vector():
    bought, sold = DecayedSum(10), DecayedSum(10)
    bought.add(0, 4)
    sold.add(10 * SECOND, 1)
    bought.add(15 * SECOND, 2)
    b, s = bought.read(20 * SECOND), sold.read(20 * SECOND)
    assert b - s == pytest.approx(1.9142136, abs=1e-7)
    assert (b - s) / (b + s) == pytest.approx(0.6568542, abs=1e-7)
    assert (b - s) * math.log(2) / 10 == pytest.approx(0.1326832, abs=1e-7)


def test_trade_flow_outlives_validity_and_the_book_does_not():
    one = applied(quote(0, 100, 5, 101, 2), trade(1, 101, 3, 1), trade(1, 100, 1, -1), clear(2))
    values = one.metrics(at(2))
    assert values["tfi_30s"] == pytest.approx(0.5)
    assert values["flow_30s"] == pytest.approx((3 - 1) * 2 ** (-1 / 30), rel=1e-6)
    assert math.isnan(values["obi"])
    assert values["trade_rate"] > 0


def test_an_inverse_perpetual_counts_usd():
    one = applied(quote(0, 100, 5, 101, 2), trade(0, 101, 3, 1), multiplier=10.0, inverse=True)
    values = one.metrics(at(0))
    assert values["flow_1s"] == pytest.approx(30 / 100.5)  # 30 USD over the mid.
    assert values["depth_underlying"] == pytest.approx(70 / 100.5)
    assert values["premium_usd"] == pytest.approx(30)


def test_flow_is_in_underlying_units():
    one = applied(quote(0, 100, 5, 101, 2), trade(0, 101, 3, 1), multiplier=100.0)
    assert one.metrics(at(1))["flow_1s"] == pytest.approx(150)
    assert one.metrics(at(1))["depth_underlying"] == pytest.approx(700)


def test_flagged_prints_enter_only_the_block_premium():
    one = applied(quote(0, 100, 5, 101, 2), multiplier=10.0)
    for flag in (m.BLOCK, m.COMBO_LEG, m.RFQ):
        one.apply(trade(0, 101, 2, 1, flag))
    values = one.metrics(at(300))
    assert values["block_premium_usd"] == pytest.approx(3 * 101 * 2 * 10 / 2)
    assert [values[name] for name in ("trades", "contracts", "premium_usd")] == [0, 0, 0]
    assert math.isnan(values["tfi_300s"])
    assert one.trade_price is None


def test_premium_of_an_inverse_listing_is_cash_at_the_index():
    one = applied(
        quote(0, 100, 5, 110, 2), trade(0, 110, 4, 1), tick=0.0005, inverse=True, is_option=True
    )
    assert math.isnan(one.metrics(at(0))["premium_usd"])
    one = listing(tick=0.0005, inverse=True, is_option=True)
    one.apply(quote(0, 0.05, 5, 0.055, 2) + trade(0, 0.055, 4, 1))
    one.ticker(ticker(index=60000.0, forward=61000.0, vega=50.0))
    values = one.metrics(at(0))
    assert values["premium_usd"] == pytest.approx(0.055 * 4 * 60000)
    assert values["spread_vol"] == pytest.approx(0.005 * 61000 / 50)  # As in its volatility.
    assert values["ofi_30s_usd_premium"] == 0


def test_ticker_without_news_keeps_the_old_value():
    one = listing()
    one.ticker(ticker(delta=0.4, open_interest=7.0))
    one.ticker(ticker(delta=NAN, open_interest=0.0))
    assert one.metrics(at(0))["delta"] == 0.4
    assert one.metrics(at(0))["open_interest"] == 0


def test_reductions_are_losses_of_the_top():
    one = applied(quote(0, 100, 5, 102, 5))
    gains = [(100, 6, 102, 6), (101, 1, 102, 6), (101, 1, 102, 6)]
    losses = [(100, 9, 102, 6), (100, 9, 103, 9), (100, 8, 103, 9), (100, 8, 103, 7)]
    for values in gains:
        one.apply(quote(0, *values))
    assert one.counts["reductions"].value == 0
    for values in losses:
        one.apply(quote(0, *values))
    assert one.counts["reductions"].value == 4
    assert one.counts["updates"].value == 8


# --- aggressor ----------------------------------------------------------------------------


def sides(*updates) -> tuple[float, float, int]:
    one = applied(*updates)
    return one.bought[300].value, one.sold[300].value, one.sides_unknown


def test_feed_aggressor_wins_over_the_quote_rule():
    assert sides(quote(0, 100, 5, 102, 5), trade(0, 102, 3, -1)) == (0, 3, 0)


def test_quote_rule_compares_with_the_mid():
    standing = quote(0, 100, 5, 102, 5)
    assert sides(standing, trade(0, 102, 3, ex_s=1)) == (3, 0, 0)
    assert sides(standing, trade(0, 100, 3, ex_s=1)) == (0, 3, 0)


def test_quote_rule_takes_the_quote_before_the_one_of_the_same_exchange_time():
    old, new = quote(0, 100, 5, 102, 5, ex_s=0), quote(1, 103, 5, 105, 5, ex_s=1)
    assert sides(old, new, trade(1, 103, 2, ex_s=1)) == (2, 0, 0)  # Above 101.
    assert sides(old, new, trade(1, 103, 2, ex_s=1.5)) == (0, 2, 0)  # Below 104.


def test_trade_without_exchange_time_is_judged_by_the_current_quote():
    old, new = quote(0, 100, 5, 102, 5, ex_s=0), quote(1, 103, 5, 105, 5, ex_s=1)
    unknown_time = [trade(1, 103, 2)[0]._replace(ex_ns=0)]
    assert sides(old, new, unknown_time) == (0, 2, 0)


def test_tick_rule_decides_at_the_mid_and_repeats_the_last_side_on_equal_prices():
    standing = quote(0, 100, 5, 102, 5)
    first = sides(standing, trade(0, 101, 4, ex_s=1))
    assert first == (0, 0, 1)
    falling = [trade(0, 102, 1, 1, ex_s=1), trade(0, 101, 4, ex_s=1), trade(0, 101, 8, ex_s=1)]
    assert sides(standing, *falling) == (1, 12, 0)


def test_tick_rule_decides_where_the_quote_was_one_sided():
    one_sided = quote(0, 100, 5, NAN, 0)
    assert sides(one_sided, trade(0, 90, 1, -1, ex_s=1), trade(0, 91, 2, ex_s=1)) == (2, 1, 0)
