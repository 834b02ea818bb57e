"""Names, contracts and terms as columns: against dictionaries and the listings that went in."""

import gc
import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from feeds.contract import Listing, ListingKind
from feeds.errors import SymbolError
from kernels import columns as c
from kernels.errors import CapacityError
from scanner import identity
from scanner.identity import NONE, Index, Names
from scanner.state import State
from scanner.universe import Universe

S = 1_000_000_000
DAY = 86_400 * S
MARCH = 1_774_598_400 * S


def option(symbol, **changed):
    listing = Listing(
        venue="opra", symbol=symbol, kind=ListingKind.OPTION, underlying="AAA", multiplier=100.0,
        price_ccy="USD", settle="linear", tick=0.01, expiry_ns=MARCH, strike_e9=150 * S,
        right="C", style="american", tick_table=((3.0, 0.05), (9.0, 0.1)),
    )  # fmt: skip
    return replace(listing, **changed)


def future(symbol, expiry_ns):
    return Listing(
        "deribit", symbol, ListingKind.FUTURE, "BTC", 10.0, "USD", "inverse", 2.5,
        expiry_ns=expiry_ns, lot=10.0, settle_window_s=1800.0,
    )  # fmt: skip


words = st.text(min_size=1, max_size=6)


@given(st.lists(st.tuples(words, st.sampled_from("CP"), st.integers(1, 2**63 - 1)), max_size=20))
def test_a_listing_comes_back_as_it_went_in(drawn):
    universe = Universe(1)
    symbols = {}
    for n, (symbol, right, strike_e9) in enumerate(drawn):
        listing = option(symbol, right=right, strike_e9=strike_e9, lot=float(n % 3) or None)
        symbols.setdefault(symbol, listing)
        if symbols[symbol] is listing:
            assert universe.listing(universe.add(listing)) == listing
    for symbol, row in universe.symbols("opra").items():
        assert universe.listing(row) == symbols[symbol]
        assert universe.name(row) == f"opra:{symbol}"
    assert dict(universe.symbols("opra")).keys() == symbols.keys()


def test_a_future_keeps_its_expiry_and_has_no_contract():
    universe = Universe(1)
    near, far = future("F1", MARCH), future("F2", MARCH + DAY)
    rows = [universe.add(near), universe.add(far)]
    assert [universe.listing(row) for row in rows] == [near, far]
    assert universe.columns.expiry_ns[rows].tolist() == [MARCH, MARCH + DAY]
    assert universe.next_expiry_ns == MARCH
    universe.retire(rows[0], 0)
    assert universe.next_expiry_ns == MARCH + DAY


def test_unknown_multipliers_are_one_set_of_terms():
    universe = Universe(1)
    for n in range(3):
        universe.add(option(f"s{n}", multiplier=math.nan * 1.0, strike_e9=(n + 1) * S))
    assert len(universe.terms.numbers) == 1
    assert np.isnan(universe.columns.multiplier[:3]).all()
    assert math.isnan(universe.listing(2).multiplier)
    before = universe.version
    universe.add(option("s1", multiplier=float("nan"), strike_e9=2 * S))
    assert universe.version == before


def test_terms_that_a_known_set_has_do_not_hide_a_bad_contract():
    universe = Universe(1)
    universe.add(option("good"))
    with pytest.raises(SymbolError, match="bad: strike_e9 was None"):
        universe.add(option("bad", strike_e9=None))
    with pytest.raises(SymbolError, match="symbol was ''"):
        universe.add(option(""))
    assert universe.row_count == 1


def test_a_name_that_is_no_utf_8_is_a_name():
    universe = Universe(1)
    row = universe.add(option("a\ud800\x00\u00ff"))
    assert universe.listing(row).symbol == "a\ud800\x00\u00ff"
    assert universe.symbols("opra")["a\ud800\x00\u00ff"] == row


def test_symbols_of_a_venue_that_lists_later_are_found():
    universe = Universe(1)
    symbols = universe.symbols("opra")
    assert (len(symbols), symbols.get("x")) == (0, None)
    row = universe.add(option("x"))
    assert symbols == {"x": row}


def test_names_that_are_gone_give_their_bytes_back():
    universe = Universe(128, grace_ns=0)
    lengths = []
    for n in range(2_000):
        row = universe.add(option(f"symbol-{n:06d}", strike_e9=(n + 1) * S))
        lengths.append(universe._names.nbytes)
        universe.retire(row, n)
        universe.advance(n)
    assert max(lengths) - lengths[0] < 64  # at most as much again is waiting to be left behind
    assert universe.row_count == 1


def test_too_long_names_are_a_capacity_error_and_take_no_row(monkeypatch):
    universe = Universe(128)
    universe.add(option("12345678"))
    monkeypatch.setattr(identity, "TEXT_MAX", 19)  # each takes two bytes more
    with pytest.raises(CapacityError, match="names: 10 bytes are in use, expected at most 19"):
        universe.add(option("87654321", strike_e9=S))
    assert universe.row_count == 1
    assert dict(universe.symbols("opra")) == {"12345678": 0}


class Dictionary(RuleBasedStateMachine):
    """Random puts and removals; all keys share few hashes, so that probing matters."""

    @initialize()
    def begin(self):
        self.keys = []
        self.index = Index(self.keys.__getitem__, 1)
        self.expected = {}

    @rule(n=st.integers(0, 99), again=st.booleans())
    def put(self, n, again):
        key = Clash(n)
        if key in self.expected and not again:
            return
        self.keys.append(key)
        self.index.put(key, len(self.keys) - 1)
        self.expected[key] = len(self.keys) - 1

    @rule(n=st.integers(0, 99))
    def remove(self, n):
        if Clash(n) in self.expected:
            self.index.remove(Clash(n))
            del self.expected[Clash(n)]

    @rule()
    def many(self):
        for n in range(100):
            self.put(n, again=True)

    @invariant()
    def finds_what_a_dict_finds(self):
        for n in range(100):
            assert self.index.find(Clash(n)) == self.expected.get(Clash(n), NONE)


class Clash(int):
    def __hash__(self):
        return int(self) % 5


TestDictionary = Dictionary.TestCase


def test_an_index_that_is_filled_and_emptied_for_ever_does_not_grow():
    keys = {}
    index = Index(keys.__getitem__, 1)
    before = index.nbytes
    for n in range(10_000):
        keys[n] = f"key {n}"
        index.put(keys[n], n)
        index.remove(keys[n])
    assert index.nbytes == before
    assert index.find("key 9999") == NONE


def test_the_row_that_takes_a_name_last_has_it():
    names = Names(4)
    names.put(0, 7, "x")
    names.put(1, 7, "x")
    assert names.find(7, "x") == 1
    assert list(names.rows(7)) == [1]
    names.remove(0)
    assert names.find(7, "x") == 1
    assert names.find(8, "x") == NONE
    assert names.symbol(1) == "x"


def test_a_listing_more_costs_under_a_hundred_bytes_of_identity():
    """Symbols of 21 characters; the arrays are there from the start, Python objects would show."""
    universe = Universe(16_384)
    add_some(universe, 0, 6_000)
    gc.collect()
    tracemalloc.start()
    try:
        add_some(universe, 6_000, 16_000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] / 10_000
    finally:
        tracemalloc.stop()
    assert grown < 60  # the buffer of names, which was moved as a whole, and groups
    assert universe.nbytes / 16_000 < 100


def add_some(universe, first, last):
    for n in range(first, last):
        universe.add(
            option(f"AAA   260327C{n:08d}", strike_e9=(n + 1) * S, expiry_ns=MARCH + n // 500 * DAY)
        )


def test_state_grows_to_what_is_there_and_keeps_it():
    state, universe = State(128, 1, 1), Universe(128)
    add_some(universe, 0, 100)
    state.sync(universe)
    state.columns.i32[c.OWN_COUNT, :100] = np.arange(100)
    state.scores.baseline[:, :, :100] = 0.5
    add_some(universe, 100, 1_000)
    state.sync(universe)
    assert state.capacity == 1_024  # not 2,048: whole blocks of 128 that hold 1,000
    assert state.columns.i32[c.OWN_COUNT, :101].tolist() == [*range(100), 0]
    assert (state.scores.baseline[:, :, :100] == 0.5).all()
    assert (state.scores.p[:, 100:] == 1).all()
    assert (state.columns.i32[c.BID, 1_000:] == c.NO_PRICE).all()
    assert state.columns.f32[c.STRIKE, :1_000].tolist() == list(range(1, 1_001))
    add_some(universe, 1_000, 1_025)
    state.sync(universe)
    assert state.capacity == 1_280


def test_groups_are_numbered_in_the_order_of_the_rows():
    state, universe = State(128, 1, 1), Universe(128)
    for n, (underlying, day) in enumerate([("B", 2), ("A", 1), ("B", 1), ("B", 2)]):
        universe.add(
            option(str(n), underlying=underlying, expiry_ns=MARCH + day * DAY, strike_e9=(n + 1))
        )
    universe.add(future("F", MARCH))
    state.sync(universe)
    assert state.columns.i32[c.EXPIRY_GROUP, :5].tolist() == [0, 1, 2, 0, -1]
    assert state.columns.i32[c.UNDERLYING_GROUP, :5].tolist() == [3, 4, 3, 3, -1]
    assert state.groups.underlying[:5].tolist() == [0, 1, 0, 0, 1]
    assert state.groups.expiry_ns[:5].tolist() == [MARCH + 2 * DAY, MARCH + DAY, MARCH + DAY, 0, 0]


def test_a_book_keeps_its_levels_when_the_pool_grows():
    state, universe = State(128, 1, 1), Universe(128)
    add_some(universe, 0, 5)
    state.sync(universe)
    state.slot_for(0)
    state.books.price[0, 1] = np.arange(c.LEVELS_KEPT)
    state.books.levels[0] = 3
    for row in range(1, 5):
        state.slot_for(row)
    assert state.columns.i32[c.SLOT, :5].tolist() == [0, 1, 2, 3, 4]
    assert state.books.price[0, 1].tolist() == list(range(c.LEVELS_KEPT))
    assert state.books.levels[:5].tolist() == [[3, 3], [0, 0], [0, 0], [0, 0], [0, 0]]
