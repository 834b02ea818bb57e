"""Listing ids by symbol: the table that compiled code reads says what the dict says."""

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.bytescan import names
from feeds.bytescan.compile import compiled
from feeds.events import DecodeOut
from feeds.symbols import HASH_FACTOR, Symbols, name_hash
from feeds.venues import deribit
from tests.feeds.deribit_frames import frame_of

LISTING_OF = compiled(names.listing_of)
# Names that share words, and ends that only a mask tells apart.
NAMES = st.text(st.sampled_from("AB-1"), max_size=20)


def looked_up(symbols: Symbols, name: str, look_up=LISTING_OF) -> int:
    """Id by the table; what stands behind the name must not matter."""
    data = name.encode()
    buffer = ctypes.create_string_buffer(data + b"ABAB-1\xff\xff")
    begin = ctypes.addressof(buffer)
    places = (*symbols.table, begin, begin + len(data))
    return int(look_up(*map(np.uint64, places)))


@given(st.lists(st.tuples(NAMES, st.integers(-1, 2**31)), max_size=300), st.lists(NAMES))
def test_the_table_says_what_the_dict_says(changes, others):
    symbols = Symbols()
    for name, listing_id in changes:
        if listing_id >= 0:
            symbols[name] = listing_id
        elif name in symbols:
            del symbols[name]
    for name in [*others, *(name for name, _ in changes)]:
        assert looked_up(symbols, name) == symbols.get(name, -1)


def test_ten_thousand_names_come_and_go():
    listed = [f"BTC-{day}JAN26-{strike}-C" for day in range(1, 26) for strike in range(400)]
    symbols = Symbols({name: number for number, name in enumerate(listed)})
    for name in listed[::2]:
        del symbols[name]
    for number, name in enumerate(listed[::4]):
        symbols[name] = 20_000 + number
    assert [looked_up(symbols, name) for name in listed] == [symbols.get(n, -1) for n in listed]
    assert looked_up(symbols, listed[0]) == 20_000
    assert looked_up(symbols, listed[2]) == -1
    assert 2 * len(symbols) <= len(symbols.areas[0])


def test_names_longer_than_any_room_are_found():
    symbols = Symbols({"A" * 9_000: 1, "A" * 8_999 + "B": 2, "": 3})
    assert [looked_up(symbols, name) for name in symbols] == [1, 2, 3]


def test_names_of_one_hash_are_told_apart():
    first = b"BTC-1JAN26-100-C"
    for number in range(100_000):
        begin = f"{number:08}".encode()[::-1]
        # The second word that brings the hash to where the first name has it.
        change = after_a_word(begin) ^ after_a_word(first[:8])
        second = begin + (int.from_bytes(first[8:], "little") ^ change).to_bytes(8, "little")
        if second.isascii():
            break
    one, other = first.decode(), second.decode()
    assert name_hash(first) == name_hash(second)
    symbols = Symbols({one: 1})
    assert looked_up(symbols, other) == -1
    symbols[other] = 2
    assert (looked_up(symbols, one), looked_up(symbols, other)) == (1, 2)
    del symbols[one]
    assert (looked_up(symbols, one), looked_up(symbols, other)) == (-1, 2)


def after_a_word(word: bytes) -> int:
    """State of the hash behind the first of two words."""
    state = ((16 ^ int.from_bytes(word, "little")) * HASH_FACTOR) % 2**64
    return state ^ state >> 32


def test_names_that_differ_at_their_ends_are_spread():
    symbols = Symbols({f"BTC-{n:04}": n for n in range(10_000)})
    slots = symbols.areas[0]
    taken = slots[:, 3] != 0
    home = slots[taken, 0] & np.uint64(len(slots) - 1)
    moved = (np.flatnonzero(taken) - home.astype(np.int64)) % len(slots)
    assert moved.max() < 20


def test_a_name_beyond_ascii_is_of_the_dict_alone():
    symbols = Symbols({"BTC-é": 1, "BTC": 2})
    assert symbols["BTC-é"] == 1
    assert looked_up(symbols, "BTC-é") == -1
    del symbols["BTC-é"]
    assert looked_up(symbols, "BTC") == 2


def test_python_and_compiled_search_give_the_same():
    symbols = Symbols({"BTC-27MAR26-90000-P": 4, "BTC": 0})
    del symbols["BTC"]
    with np.errstate(over="ignore"):
        for name in ("BTC-27MAR26-90000-P", "BTC-27MAR26-90000-C", "BTC", ""):
            plain = looked_up(symbols, name, names.listing_of)
            assert plain == looked_up(symbols, name) == symbols.get(name, -1)


@pytest.mark.parametrize("change", ["clear", "pop", "popitem", "setdefault", "update", "__ior__"])
def test_a_change_that_the_table_would_miss_is_refused(change):
    symbols = Symbols({"A": 1})
    with pytest.raises(NotImplementedError):
        getattr(symbols, change)({"B": 2})
    assert dict(symbols) == {"A": 1}


def test_of_copies_other_mappings_and_keeps_its_own():
    symbols = Symbols({"A": 1})
    assert Symbols.of(symbols) is symbols
    assert looked_up(Symbols.of({"A": 7}), "A") == 7


def test_a_scan_sees_what_was_listed_or_ended_since_the_last():
    name = "BTC-27MAR26-90000-P"
    frame = frame_of(f"ticker.{name}.100ms", {"timestamp": 1700000000123, "instrument_name": name})
    deribit.warm_up()
    symbols = Symbols()
    found = []
    for change in (None, 5, 6, None):
        if change is not None:
            symbols[name] = change
        elif name in symbols:
            del symbols[name]
        out = DecodeOut()
        deribit.decode([frame], [1000], symbols, out)
        found.append((out.tickers.view()["listing_id"].tolist(), out.skipped))
    unknown = ([], {"unknown_symbol": 1})
    assert found == [unknown, ([5], {}), ([6], {}), unknown]
