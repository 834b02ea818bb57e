"""Stage 3 of 8: what identifies listings, interned: names, contracts and terms.

A million listings are a million names and contracts, but a few thousand sets of terms. None of it
is kept as Python objects, of which a listing would need a dozen (700 bytes): names are one buffer
of bytes, contracts and the indexes over both are numpy arrays.
"""

from array import array
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from feeds.contract import Contract, Listing, ListingKind
from kernels.errors import CapacityError

NONE: Final = -1  # no such number
SECOND_NS: Final = 1_000_000_000
TEXT_MAX: Final = (1 << 32) - 1  # bytes of all names: their places are uint32
_NO_TEXT: Final = TEXT_MAX  # place of a row without a name
_END: Final = b"\xff"  # no byte of UTF-8
_EMPTY, _GRAVE = -1, -2
_SLOTS_MIN: Final = 64

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Numbering(Generic[Key]):
    """Keys to dense numbers in the order of their first appearance; never reused."""

    what: str
    limit: int
    number: dict[Key, int] = field(default_factory=dict)
    keys: list[Key] = field(default_factory=list)

    def of(self, key: Key) -> int:
        """Number of a key, a new one on its first appearance.

        Raises:
            CapacityError: all numbers are taken.
        """
        found = self.number.get(key)
        if found is None:
            found = len(self.keys)
            if found >= self.limit:
                raise CapacityError(f"{self.what} {key}: {found} are known, expected fewer")
            self.number[key] = found
            self.keys.append(key)
        return found

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys)


class Index(Generic[Key]):
    """Numbers by key, like a dict whose keys lie elsewhere: 8 to 16 bytes a number.

    Open addressing in one array of int32 that is at most half full. The order of nothing depends
    on it, so Python's hashes, which differ from process to process, will do.
    """

    def __init__(self, key_of: Callable[[int], Key], capacity: int) -> None:
        """Make room for some numbers; grows by doubling.

        Args:
            key_of: key of a number that is in the index.
            capacity: numbers to make room for.
        """
        self._key_of = key_of
        self._slots = _empty_slots(capacity)
        self._filled = 0  # slots with a number or a grave
        self._count = 0

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return self._slots.itemsize * len(self._slots)

    def find(self, key: Key) -> int:
        """Number of a key, NONE where it has none."""
        at = self._slot_of(key)
        return NONE if at == NONE else self._slots[at]

    def put(self, key: Key, number: int) -> None:
        """Give a key a number, in place of any it had."""
        at = self._slot_of(key)
        if at == NONE:
            self.add(key, number)
        else:
            self._slots[at] = number

    def add(self, key: Key, number: int) -> None:
        """Give a key that has no number one."""
        if 2 * self._filled >= len(self._slots):
            self._rebuild()
        self._filled += 1
        self._count += 1
        _lay(self._slots, hash(key), number)

    def remove(self, key: Key) -> None:
        """Forget a key that has a number."""
        self._slots[self._slot_of(key)] = _GRAVE
        self._count -= 1

    def _slot_of(self, key: Key) -> int:
        """Slot of a key, NONE where it has no number."""
        slots, key_of = self._slots, self._key_of
        mask = len(slots) - 1
        at = hash(key) & mask
        while (number := slots[at]) != _EMPTY:
            if number != _GRAVE and key_of(number) == key:
                return at
            at = (at + 1) & mask
        return NONE

    def _rebuild(self) -> None:
        """Leave the graves behind, in a larger array where it is needed."""
        slots = _empty_slots(2 * self._count)
        for number in self._slots:
            if number >= 0:
                _lay(slots, hash(self._key_of(number)), number)
        self._slots, self._filled = slots, self._count


def _empty_slots(capacity: int) -> "array[int]":
    return array("i", (_EMPTY,)) * max(_SLOTS_MIN, 1 << (2 * capacity - 1).bit_length())


def _lay(slots: "array[int]", key_hash: int, number: int) -> None:
    """Put a number into the first empty slot from that of its hash on."""
    mask = len(slots) - 1
    at = key_hash & mask
    while slots[at] != _EMPTY:
        at = (at + 1) & mask
    slots[at] = number


class Names:
    """Rows to (venue, symbol) and back; a name belongs to one row, the last that took it."""

    def __init__(self, capacity: int) -> None:
        """Make room for the places of some names."""
        self._text = bytearray()
        self._place = np.full(capacity, _NO_TEXT, np.uint32)
        self._dropped = 0  # bytes of names that are gone
        self._index: Index[bytes] = Index(self._key, capacity)

    @property
    def nbytes(self) -> int:
        """Bytes allocated, those of the text included."""
        return self._place.nbytes + self._index.nbytes + len(self._text)

    def find(self, venue_id: int, symbol: str) -> int:
        """Row of a name, NONE where it has none."""
        return self._index.find(_key_of(venue_id, symbol))

    def put(self, row: int, venue_id: int, symbol: str) -> None:
        """Name a row that has no name; whatever had the name before is not found by it any more.

        Raises:
            CapacityError: all names together are too long.
        """
        key = _key_of(venue_id, symbol)
        if len(self._text) + len(key) > TEXT_MAX:
            raise CapacityError(
                f"names: {len(self._text)} bytes are in use, expected at most {TEXT_MAX}"
            )
        self._place[row] = len(self._text)
        self._text += key
        self._index.put(key, row)

    def remove(self, row: int) -> None:
        """Take a row's name away; a row that took the name later keeps it."""
        key = self._key(row)
        if self._index.find(key) == row:
            self._index.remove(key)
        self._place[row] = _NO_TEXT
        self._dropped += len(key)
        if 2 * self._dropped > len(self._text):
            self._pack()

    def symbol(self, row: int) -> str:
        """Symbol of a row that has a name."""
        return self._key(row)[1:-1].decode("utf-8", "surrogatepass")

    def rows(self, venue_id: int) -> Iterator[int]:
        """Rows that a venue's names stand for."""
        for row in np.flatnonzero(self._place != _NO_TEXT).tolist():
            key = self._key(row)
            if key[0] == venue_id and self._index.find(key) == row:
                yield row

    def grow(self, capacity: int) -> None:
        """Make room for more rows."""
        place = np.full(capacity, _NO_TEXT, np.uint32)
        place[: len(self._place)] = self._place
        self._place = place

    def _key(self, row: int) -> bytes:
        begin = self._place.item(row)
        return bytes(self._text[begin : self._text.index(_END, begin + 1) + 1])

    def _pack(self) -> None:
        """Leave the names behind that are gone."""
        packed = bytearray()
        for row in np.flatnonzero(self._place != _NO_TEXT).tolist():
            key = self._key(row)
            self._place[row] = len(packed)
            packed += key
        self._text, self._dropped = packed, 0


def _key_of(venue_id: int, symbol: str) -> bytes:
    return bytes((venue_id,)) + symbol.encode("utf-8", "surrogatepass") + _END


@dataclass(frozen=True, slots=True, eq=False)
class VenueSymbols(Mapping[str, int]):
    """Symbol to row of one venue; always as the names are now."""

    venue: str
    venues: Numbering[str]
    names: Names

    def __getitem__(self, symbol: str) -> int:
        """Row of a symbol."""
        venue_id = self.venues.number.get(self.venue)
        row = NONE if venue_id is None else self.names.find(venue_id, symbol)
        if row == NONE:
            raise KeyError(symbol)
        return row

    def __iter__(self) -> Iterator[str]:
        venue_id = self.venues.number.get(self.venue)
        if venue_id is not None:
            yield from map(self.names.symbol, self.names.rows(venue_id))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Contracts(Sequence[Contract]):
    """Contracts to dense numbers in the order of their first appearance; never reused.

    Attributes:
        groups: numbers of (underlying, expiry_ns).
    """

    def __init__(self, limit: int, groups: Numbering[tuple[str, int]], capacity: int) -> None:
        """Make room for some contracts; grows by doubling."""
        self.groups = groups
        self._limit = limit
        self._count = 0
        self._group = np.zeros(capacity, np.int32)
        self._strike_e9 = np.zeros(capacity, np.int64)  # negative of a put
        self._index: Index[tuple[int, int]] = Index(self._key, capacity)

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return self._group.nbytes + self._strike_e9.nbytes + self._index.nbytes

    @property
    def keys(self) -> "Contracts":
        """The contracts by number, as `Numbering.keys`."""
        return self

    @property
    def group_id(self) -> NDArray[np.int32]:
        """Group of every contract; borrowed until the next one is added."""
        return self._group[: self._count]

    @property
    def signed_strike_e9(self) -> NDArray[np.int64]:
        """Strike of every contract in 1e-9, negative of a put; borrowed like `group_id`."""
        return self._strike_e9[: self._count]

    def of(self, option: Listing) -> int:
        """Number of an option's contract, a new one on its first appearance.

        Raises:
            CapacityError: all numbers of contracts or groups are taken.
        """
        assert option.expiry_ns is not None
        key = self.groups.of((option.underlying, option.expiry_ns)), _signed(option)
        found = self._index.find(key)
        if found != NONE:
            return found
        if self._count >= self._limit:
            raise CapacityError(
                f"contract {option.contract}: {self._count} are known, expected fewer"
            )
        if self._count == len(self._group):
            self._group = np.concatenate([self._group, np.zeros_like(self._group)])
            self._strike_e9 = np.concatenate([self._strike_e9, np.zeros_like(self._strike_e9)])
        number = self._count
        self._group[number], self._strike_e9[number] = key
        self._count += 1
        self._index.add(key, number)
        return number

    def is_number_of(self, number: int, option: Listing) -> bool:
        """Whether an option's contract has this number; gives out none."""
        assert option.expiry_ns is not None
        group = self.groups.number.get((option.underlying, option.expiry_ns))
        return self._key(number) == (group, _signed(option))

    @overload
    def __getitem__(self, at: int) -> Contract: ...

    @overload
    def __getitem__(self, at: slice) -> list[Contract]: ...

    def __getitem__(self, at: int | slice) -> Contract | list[Contract]:
        """Contract of a number."""
        if isinstance(at, slice):
            return [self[n] for n in range(*at.indices(self._count))]
        group, strike_e9 = self._key(range(self._count)[at])
        underlying, expiry_ns = self.groups.keys[group]
        return Contract(underlying, expiry_ns, abs(strike_e9), "C" if strike_e9 > 0 else "P")

    def __len__(self) -> int:
        return self._count

    def _key(self, number: int) -> tuple[int, int]:
        return self._group.item(number), self._strike_e9.item(number)


def _signed(option: Listing) -> int:
    assert option.strike_e9 is not None
    return option.strike_e9 if option.right == "C" else -option.strike_e9


class Terms(NamedTuple):
    """All of a listing but its symbol and, of an option, its expiry, strike and right."""

    venue: str
    kind: ListingKind
    underlying: str
    multiplier: float | None  # None = unknown: a NaN would not be equal to another
    price_ccy: str
    settle: str
    tick: float
    expiry_ns: int | None
    style: str | None
    price_per: float
    lot: float | None
    tick_table: tuple[tuple[float, float], ...]
    settle_window_s: float | None


def terms_of(listing: Listing) -> Terms:
    """Terms of a listing."""
    multiplier = listing.multiplier
    return Terms(
        listing.venue, listing.kind, listing.underlying,
        multiplier if multiplier == multiplier else None,  # noqa: PLR0124 - NaN
        listing.price_ccy, listing.settle, listing.tick,
        None if listing.kind == ListingKind.OPTION else listing.expiry_ns,
        listing.style, listing.price_per, listing.lot, listing.tick_table, listing.settle_window_s,
    )  # fmt: skip


def listing_of(terms: Terms, symbol: str, contract: Contract | None) -> Listing:
    """The listing again; of an option its contract is needed."""
    named = terms._asdict()
    if terms.multiplier is None:
        named["multiplier"] = np.nan
    if contract is not None:
        named |= {
            "expiry_ns": contract.expiry_ns,
            "strike_e9": contract.strike_e9,
            "right": contract.right,
        }
    return Listing(symbol=symbol, **named)


# What the engine reads of terms: name -> dtype. Meanings stand at scanner.universe.ListingColumns.
TERM_COLUMNS: Final = {
    "underlying_id": "u2", "venue_id": "u1", "kind": "u1", "settle": "u1", "expiry_ns": "i8",
    "settle_window_ns": "i8", "tick": "f8", "multiplier": "f8", "price_per": "f8",
    "coarse_from": "f8", "coarse_tick": "f8",
}  # fmt: skip


class TermTable:
    """Sets of terms to dense numbers, and their columns."""

    def __init__(self, limit: int) -> None:
        self.numbers: Numbering[Terms] = Numbering("terms", limit)
        self._columns = np.zeros(_SLOTS_MIN, list(TERM_COLUMNS.items()))

    def of(self, terms: Terms, venue_id: int, underlying_id: int) -> int:
        """Number of some terms, a new one on their first appearance.

        Raises:
            CapacityError: all numbers are taken.
        """
        known = len(self.numbers)
        number = self.numbers.of(terms)
        if number < known:
            return number
        if known == len(self._columns):
            self._columns = np.concatenate([self._columns, np.zeros_like(self._columns)])
        table = terms.tick_table
        self._columns[number] = (
            underlying_id, venue_id, terms.kind, terms.settle == "inverse", terms.expiry_ns or 0,
            round((terms.settle_window_s or 0) * SECOND_NS), terms.tick,
            np.nan if terms.multiplier is None else terms.multiplier, terms.price_per,
            table[0][0] if table else 0.0, max(tick for _, tick in table) if table else terms.tick,
        )  # fmt: skip
        return number

    def column(self, name: str, numbers: NDArray[np.uint32]) -> NDArray[Any]:
        """A column of TERM_COLUMNS for some numbers."""
        found: NDArray[Any] = self._columns[name][numbers]
        return found
