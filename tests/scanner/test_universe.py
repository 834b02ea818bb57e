"""Rows, numbers and their lives: against hand calculations and a dictionary model."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from feeds.contract import Listing, ListingKind
from feeds.errors import SymbolError
from kernels.errors import CapacityError
from scanner.errors import IdentityError
from scanner.universe import (
    CAPACITY_MAX,
    NO_CONTRACT,
    NO_GROUP,
    Numbering,
    RowState,
    Universe,
)

MARCH = 1_774_598_400_000_000_000  # 2026-03-27 08:00 UTC
JUNE = 1_782_460_800_000_000_000  # 2026-06-26 08:00 UTC
S = 1_000_000_000


def option(
    symbol="BTC-27MAR26-100000-C",
    venue="deribit",
    strike_e9=100_000 * S,
    expiry_ns=MARCH,
    right="C",
    underlying="BTC",
):
    return Listing(
        venue=venue,
        symbol=symbol,
        kind=ListingKind.OPTION,
        underlying=underlying,
        multiplier=1.0,
        price_ccy="BTC",
        settle="inverse",
        tick=0.0001,
        expiry_ns=expiry_ns,
        strike_e9=strike_e9,
        right=right,
        style="european",
        settle_window_s=1800.0,
    )


def perpetual():
    return Listing("deribit", "BTC-PERPETUAL", ListingKind.PERP, "BTC", 1.0, "USD", "linear", 0.5)


def test_columns_hold_what_the_listing_says():
    universe = Universe(4)
    row = universe.add(replace(option(right="P"), multiplier=0.01, price_per=100.0))
    columns = universe.columns
    assert row == 0
    assert columns.state[row] == RowState.LIVE
    assert columns.right[row] == -1
    assert columns.settle[row] == 1
    assert columns.expiry_ns[row] == MARCH
    assert columns.strike_e9[row] == 100_000_000_000_000
    assert columns.settle_window_ns[row] == 1_800_000_000_000
    assert columns.tick[row] == 0.0001
    assert columns.multiplier[row] == 0.01
    assert columns.price_per[row] == 100.0
    assert columns.kind[row] == ListingKind.OPTION


def test_call_and_put_differ_in_right_and_contract_and_share_the_group():
    universe = Universe(4)
    call, put = universe.add(option("c")), universe.add(option("p", right="P"))
    columns = universe.columns
    assert list(columns.right[[call, put]]) == [1, -1]
    assert columns.contract_id[call] != columns.contract_id[put]
    assert columns.group_id[call] == columns.group_id[put]


def test_perpetual_has_no_contract_group_right_or_expiry():
    universe = Universe(4)
    row = universe.add(perpetual())
    columns = universe.columns
    assert columns.contract_id[row] == NO_CONTRACT
    assert columns.group_id[row] == NO_GROUP
    assert columns.right[row] == 0
    assert columns.expiry_ns[row] == 0
    assert columns.settle[row] == 0
    assert columns.kind[row] == ListingKind.PERP
    assert universe.next_expiry_ns is None


def test_one_contract_on_two_venues_has_one_number():
    universe = Universe(4)
    first = universe.add(option())
    second = universe.add(option("BTC-USD-260327-100000-C", venue="okx"))
    other = universe.add(option("BTC-27MAR26-100001-C", strike_e9=100_001 * S))
    contract_id = universe.columns.contract_id
    assert first != second
    assert contract_id[first] == contract_id[second] != contract_id[other]
    assert str(universe.contracts.keys[contract_id[first]]) == "BTC-20260327T0800Z-100000-C"


def test_strikes_one_e9_apart_are_two_contracts():
    universe = Universe(4)
    low = universe.add(option("a", strike_e9=9_007_199_254_740_992))
    high = universe.add(option("b", strike_e9=9_007_199_254_740_993))  # equal as float64
    assert universe.columns.contract_id[low] != universe.columns.contract_id[high]
    assert list(universe.columns.strike_e9[[low, high]]) == [
        9_007_199_254_740_992,
        9_007_199_254_740_993,
    ]


def test_same_venue_and_symbol_keep_their_row_and_version():
    universe = Universe(4)
    row, version = universe.add(option()), universe.version
    assert universe.add(option()) == row
    assert universe.version == version


def test_same_symbol_on_another_venue_has_another_row():
    universe = Universe(4)
    assert universe.add(option()) != universe.add(option(venue="okx"))


def test_changed_tick_is_taken_over_and_uploaded():
    universe = Universe(4)
    row, before = universe.add(option()), universe.version
    assert universe.add(replace(option(), tick=0.0005)) == row
    assert universe.columns.tick[row] == 0.0005
    assert list(universe.changed_since(before)) == [row]
    assert universe.columns.generation[row] == 1


def test_live_symbol_with_another_strike_is_refused_by_name():
    universe = Universe(4)
    universe.add(option())
    with pytest.raises(IdentityError, match=r"deribit BTC-27MAR26-100000-C: was .*90000"):
        universe.add(option(strike_e9=90_000 * S))


def test_listing_that_breaks_a_rule_takes_no_row():
    universe = Universe(4)
    with pytest.raises(SymbolError, match="tick was 0"):
        universe.add(replace(option(), tick=0.0))
    assert universe.row_count == 0
    assert len(universe.contracts) == 0


def test_retired_row_keeps_its_symbol_until_the_grace_time_is_over():
    universe = Universe(4, grace_ns=10 * S)
    row = universe.add(option())
    symbols = universe.symbols("deribit")
    universe.retire(row, now_ns=100 * S)
    assert universe.columns.state[row] == RowState.RETIRED
    assert universe.advance(110 * S - 1) == 0
    assert symbols == {"BTC-27MAR26-100000-C": row}
    assert universe.listing(row) == option()
    assert universe.advance(110 * S) == 1
    assert symbols == {}
    assert universe.columns.state[row] == RowState.FREE
    with pytest.raises(KeyError, match="row is free"):
        universe.listing(row)


def test_row_is_reused_after_the_grace_time_in_the_next_generation():
    universe = Universe(4, grace_ns=10 * S)
    row = universe.add(option())
    universe.retire(row, now_ns=100 * S)
    during = universe.add(option("b", strike_e9=S))
    assert (during, universe.generation[row]) == (1, 1)
    universe.advance(110 * S)
    assert universe.add(option("c", strike_e9=2 * S)) == row
    assert universe.generation[row] == 2
    assert universe.columns.strike_e9[row] == 2 * S
    assert universe.columns.contract_id[row] == 2  # contract 0 is never given out again


def test_listing_that_comes_back_in_its_grace_time_keeps_row_and_generation():
    universe = Universe(4, grace_ns=10 * S)
    row = universe.add(option())
    universe.retire(row, now_ns=100 * S)
    assert universe.next_expiry_ns is None
    assert universe.add(option()) == row
    assert universe.columns.state[row] == RowState.LIVE
    assert universe.generation[row] == 1
    assert universe.next_expiry_ns == MARCH
    assert universe.advance(200 * S) == 0
    assert universe.columns.state[row] == RowState.LIVE


def test_listing_retired_again_waits_the_whole_grace_time_anew():
    universe = Universe(4, grace_ns=10 * S)
    row = universe.add(option())
    universe.retire(row, now_ns=100 * S)
    universe.add(option())
    universe.retire(row, now_ns=105 * S)
    assert universe.advance(114 * S) == 0
    assert universe.advance(115 * S) == 1


def test_retired_symbol_that_names_another_contract_gets_its_own_row():
    universe = Universe(4, grace_ns=10 * S)
    old = universe.add(option())
    universe.retire(old, now_ns=100 * S)
    new = universe.add(option(expiry_ns=JUNE))
    assert new != old
    assert universe.symbols("deribit")["BTC-27MAR26-100000-C"] == new
    universe.advance(110 * S)
    assert universe.symbols("deribit")["BTC-27MAR26-100000-C"] == new


def test_retiring_twice_does_not_extend_the_grace_time():
    universe = Universe(4, grace_ns=10 * S)
    row = universe.add(option())
    universe.retire(row, now_ns=100 * S)
    universe.retire(row, now_ns=109 * S)
    assert universe.advance(110 * S) == 1


def test_retiring_a_row_without_listing_is_a_key_error():
    with pytest.raises(KeyError, match="listing 3"):
        Universe(4).retire(3, now_ns=0)


def test_time_that_goes_back_is_refused():
    universe = Universe(4)
    universe.advance(100)
    with pytest.raises(ValueError, match="now_ns was 99, expected at least 100"):
        universe.advance(99)


def test_next_expiry_is_the_earliest_of_the_live_ones():
    universe = Universe(4)
    june = universe.add(option("june", expiry_ns=JUNE))
    assert universe.next_expiry_ns == JUNE
    march = universe.add(option("march"))
    twin = universe.add(option("march-put", right="P"))
    assert universe.next_expiry_ns == MARCH
    universe.retire(march, 0)
    assert universe.next_expiry_ns == MARCH
    universe.retire(twin, 0)
    assert universe.next_expiry_ns == JUNE
    universe.retire(june, 0)
    assert universe.next_expiry_ns is None


def test_expired_names_live_rows_at_or_before_the_instant():
    universe = Universe(4)
    universe.add(option("june", expiry_ns=JUNE))
    march = universe.add(option("march"))
    universe.add(perpetual())
    gone = universe.add(option("march-put", right="P"))
    universe.retire(gone, 0)
    assert universe.expired(MARCH - 1).tolist() == []
    assert universe.expired(MARCH).tolist() == [march]


def test_growth_doubles_and_keeps_every_row():
    universe = Universe(1)
    rows = [universe.add(option(str(n), strike_e9=n * S)) for n in range(1, 300)]
    assert universe.capacity == 512  # 128, 256, 512
    assert rows == list(range(299))
    assert universe.columns.strike_e9[:299].tolist() == [n * S for n in range(1, 300)]
    assert universe.columns.state[299] == RowState.FREE
    assert universe.changed_since(298).tolist() == [298]


def test_full_universe_is_a_capacity_error(monkeypatch):
    monkeypatch.setattr("scanner.universe.CAPACITY_MAX", 128)
    universe = Universe(128)
    for n in range(1, 129):
        universe.add(option(str(n), strike_e9=n * S))
    with pytest.raises(CapacityError, match="128 listings are in use, expected at most 128"):
        universe.add(option("one more", strike_e9=S))
    assert universe.row_count == 128
    assert "one more" not in universe.symbols("deribit")


@pytest.mark.parametrize("capacity", [0, -1, CAPACITY_MAX + 1, 1 << 21])
def test_capacity_outside_the_range_is_refused(capacity):
    with pytest.raises(CapacityError, match=f"capacity was {capacity}"):
        Universe(capacity)


def test_largest_capacity_leaves_room_for_the_21_bits_of_an_id():
    assert CAPACITY_MAX == 2_097_024
    assert CAPACITY_MAX % 128 == 0


def test_numbering_says_which_number_is_missing():
    numbers = Numbering[str]("venue", 2)
    assert [numbers.of(name) for name in ("a", "b", "a")] == [0, 1, 0]
    with pytest.raises(CapacityError, match="venue c: 2 are known"):
        numbers.of("c")


contracts = st.tuples(
    st.sampled_from(["BTC", "ETH"]),
    st.sampled_from([MARCH, JUNE]),
    st.integers(1, 3).map(lambda n: n * S),
    st.sampled_from("CP"),
)
venue_names = st.sampled_from(["deribit", "okx", "bybit"])


@given(st.lists(st.tuples(venue_names, contracts), unique=True, max_size=20), st.randoms())
def test_listings_share_a_number_exactly_if_their_contracts_are_equal(listed, random):
    listed = list(listed)
    random.shuffle(listed)
    universe = Universe(8)
    rows = [
        universe.add(
            option(repr(terms), venue, terms[2], terms[1], right=terms[3], underlying=terms[0])
        )
        for venue, terms in listed
    ]
    contract_id, group_id = universe.columns.contract_id, universe.columns.group_id
    for i, (_, one) in zip(rows, listed, strict=True):
        for k, (_, two) in zip(rows, listed, strict=True):
            assert (contract_id[i] == contract_id[k]) == (one == two)
            assert (group_id[i] == group_id[k]) == (one[:2] == two[:2])
    known = {terms for _, terms in listed}
    assert set(contract_id[rows].tolist()) == set(range(len(known)))  # dense


class Life(RuleBasedStateMachine):
    """Random lives of listings against dictionaries that remember everything."""

    GRACE_NS = 5

    @initialize()
    def begin(self):
        self.universe = Universe(2, grace_ns=self.GRACE_NS)
        self.now_ns = 0
        self.live = {}  # symbol -> row
        self.retired = {}  # symbol -> (row, instant of retirement)
        self.occupants = set()  # every (row, generation) with its symbol
        self.uploaded = {}
        self.version = 0

    @rule(n=st.integers(1, 9))
    def add(self, n):
        symbol = f"s{n}"
        row = self.universe.add(option(symbol, strike_e9=n * S))
        if symbol in self.live:
            assert row == self.live[symbol]
        elif symbol in self.retired:
            assert row == self.retired.pop(symbol)[0]
        else:
            assert row not in self.live.values()
            assert row not in [taken for taken, _ in self.retired.values()]
            occupant = (row, int(self.universe.generation[row]))
            assert occupant not in self.occupants
            self.occupants.add(occupant)
        self.live[symbol] = row

    @rule(n=st.integers(1, 9), later=st.integers(0, 3))
    def retire(self, n, later):
        symbol = f"s{n}"
        self.now_ns += later
        if symbol in self.live:
            row = self.live.pop(symbol)
            self.universe.retire(row, self.now_ns)
            self.retired[symbol] = (row, self.now_ns)

    @rule(later=st.integers(0, 4))
    def advance(self, later):
        self.now_ns += later
        over = [s for s, (_, t) in self.retired.items() if t + self.GRACE_NS <= self.now_ns]
        assert self.universe.advance(self.now_ns) == len(over)
        for symbol in over:
            del self.retired[symbol]

    @rule()
    def upload(self):
        for row in self.universe.changed_since(self.version).tolist():
            self.uploaded[row] = self.picture(row)
        self.version = self.universe.version
        for row in range(self.universe.row_count):
            assert self.uploaded[row] == self.picture(row)

    def picture(self, row):
        columns = self.universe.columns
        return tuple(int(getattr(columns, n)[row]) for n in ("state", "generation", "strike_e9"))

    @invariant()
    def symbols_and_rows_are_a_bijection(self):
        expected = self.live | {symbol: row for symbol, (row, _) in self.retired.items()}
        assert dict(self.universe.symbols("deribit")) == expected
        assert len(set(expected.values())) == len(expected)
        for symbol, row in expected.items():
            assert self.universe.listing(row).symbol == symbol

    @invariant()
    def states_are_as_remembered(self):
        state = self.universe.columns.state
        assert set(np.flatnonzero(state == RowState.LIVE)) == set(self.live.values())
        assert self.universe.live_count == len(self.live)
        assert set(np.flatnonzero(state == RowState.RETIRED)) == {
            row for row, _ in self.retired.values()
        }


TestLife = Life.TestCase
