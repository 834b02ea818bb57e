"""Stage 3 of 8: listings, contracts, underlyings and groups to dense numbers, and back.

A listing's number is its row on the device. Rows come and go while running: a retired row is kept
for a grace time, in which late frames still find it, and is then given to a new listing under the
next generation. Contracts, underlyings, venues and groups keep their numbers for the whole run.

Single-threaded by contract: `add`, `retire` and `advance` are called between ticks only, and a
tick borrows `columns`. Growing replaces the arrays (amortised by doubling), so nobody keeps one
across a tick; the numbers stay.
"""

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from feeds.contract import Contract, Listing, ListingKind, check_listing
from kernels.errors import CapacityError
from scanner.errors import IdentityError

ROW_BLOCK: Final = 128  # device columns are padded to whole blocks
CAPACITY_MAX: Final = (1 << 21) - ROW_BLOCK  # a listing id has 21 bits in the ranking key
UNDERLYINGS_MAX: Final = 1 << 16
VENUES_MAX: Final = 1 << 8
GROUPS_MAX: Final = (1 << 31) - 1
CONTRACTS_MAX: Final = (1 << 32) - 1
NO_CONTRACT: Final = CONTRACTS_MAX  # contract_id of anything but an option
NO_GROUP: Final = -1
SECOND_NS: Final = 1_000_000_000

_SIGN: Final = {"C": 1, "P": -1, None: 0}
Key = TypeVar("Key", bound=Hashable)


class RowState(IntEnum):
    """Life of a row."""

    FREE = 0  # no listing, or one whose grace time has passed
    LIVE = 1
    RETIRED = 2  # in its grace time: it has a listing, and is not scanned


# Reading a member of an enum costs more than a numpy store in Python 3.11 (0.3 us of 10 per add).
_FREE, _LIVE, _RETIRED = int(RowState.FREE), int(RowState.LIVE), int(RowState.RETIRED)

# Name -> dtype, value of a free row. Meanings stand at ListingColumns.
_COLUMNS: Final[dict[str, tuple[str, Any]]] = {
    "state": ("u1", _FREE),
    "generation": ("u4", 0),
    "contract_id": ("u4", NO_CONTRACT),
    "underlying_id": ("u2", 0),
    "venue_id": ("u1", 0),
    "group_id": ("i4", NO_GROUP),
    "kind": ("u1", 0),
    "right": ("i1", 0),
    "settle": ("u1", 0),
    "expiry_ns": ("i8", 0),
    "strike_e9": ("i8", 0),
    "settle_window_ns": ("i8", 0),
    "tick": ("f8", np.nan),
    "multiplier": ("f8", np.nan),
    "price_per": ("f8", np.nan),
    "coarse_from": ("f8", 0.0),
    "coarse_tick": ("f8", np.nan),
}


@dataclass(slots=True)
class ListingColumns:
    """What the engine needs of every row, [capacity]; written by Universe alone.

    Where `state` is FREE the other columns but `generation` mean nothing.

    Attributes:
        state: RowState.
        generation: how many listings have had the row; 0 = none yet. (row, generation) is
            unique in a run.
        contract_id: one number for one contract on all venues; NO_CONTRACT for no option.
        underlying_id: dense, over all venues.
        venue_id: dense.
        group_id: dense number of (underlying, expiry) of options, NO_GROUP for others.
        kind: feeds.contract.ListingKind.
        right: +1 call, -1 put, 0 none.
        settle: 0 linear, 1 inverse.
        expiry_ns: expiry instant, ns UTC; 0 = never expires.
        strike_e9: strike in 1e-9; 0 where `right` is 0.
        settle_window_ns: averaging window before expiry, ns; 0 = none.
        tick: smallest tick, native price.
        multiplier: underlying units per unit of native size; NaN = unknown.
        price_per: underlying units one quoted price covers.
        coarse_from: price from which coarse_tick is counted, native price.
        coarse_tick: coarsest tick of the tick table, native price; `tick` where there is no table.
    """

    state: NDArray[np.uint8]
    generation: NDArray[np.uint32]
    contract_id: NDArray[np.uint32]
    underlying_id: NDArray[np.uint16]
    venue_id: NDArray[np.uint8]
    group_id: NDArray[np.int32]
    kind: NDArray[np.uint8]
    right: NDArray[np.int8]
    settle: NDArray[np.uint8]
    expiry_ns: NDArray[np.int64]
    strike_e9: NDArray[np.int64]
    settle_window_ns: NDArray[np.int64]
    tick: NDArray[np.float64]
    multiplier: NDArray[np.float64]
    price_per: NDArray[np.float64]
    coarse_from: NDArray[np.float64]
    coarse_tick: NDArray[np.float64]

    @classmethod
    def empty(cls, capacity: int) -> "ListingColumns":
        """Columns of free rows."""
        return cls(**{n: np.full(capacity, v, dtype) for n, (dtype, v) in _COLUMNS.items()})

    def grown(self, capacity: int) -> "ListingColumns":
        """Copy with more rows, the new ones free."""
        larger = ListingColumns.empty(capacity)
        for name in _COLUMNS:
            old = getattr(self, name)
            getattr(larger, name)[: len(old)] = old
        return larger


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


class Universe:
    """All listings of a run. Equal calls in equal order give equal numbers.

    Attributes:
        columns: borrowed until the next `add`; `changed_since` says which rows to upload.
        version: counts changes of any row.
        contracts: dense contract_id to Contract, over all venues.
        underlyings: dense underlying_id to name.
        venues: dense venue_id to name.
        groups: dense group_id to (underlying, expiry_ns).
    """

    def __init__(self, capacity: int, grace_ns: int = 300 * SECOND_NS) -> None:
        """Allocate rows.

        Args:
            capacity: rows to begin with, rounded up to 128; grows by doubling to CAPACITY_MAX.
            grace_ns: time a retired row is kept.

        Raises:
            CapacityError: the capacity is not in 1 to CAPACITY_MAX, or the grace is negative.
        """
        if not 1 <= capacity <= CAPACITY_MAX:
            raise CapacityError(f"universe: capacity was {capacity}, expected 1 to {CAPACITY_MAX}")
        if grace_ns < 0:
            raise CapacityError(f"universe: grace_ns was {grace_ns}, expected at least 0")
        rounded = -(-capacity // ROW_BLOCK) * ROW_BLOCK
        self.columns = ListingColumns.empty(rounded)
        self.version = 0
        self.contracts: Numbering[Contract] = Numbering("contract", CONTRACTS_MAX)
        self.underlyings: Numbering[str] = Numbering("underlying", UNDERLYINGS_MAX)
        self.venues: Numbering[str] = Numbering("venue", VENUES_MAX)
        self.groups: Numbering[tuple[str, int]] = Numbering("group", GROUPS_MAX)
        self._grace_ns = grace_ns
        self._now_ns = 0
        self._listings: list[Listing | None] = []
        self._rows: dict[str, dict[str, int]] = {}
        self._free: deque[int] = deque()
        # (instant the row is free, row, version of its retirement); instants never decrease. An
        # entry whose row was revived since is passed over: its stamp in `_changed` is newer.
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._changed = np.zeros(rounded, np.int64)
        # Live listings by expiry: a few hundred instants, so the earliest is found by min().
        self._expiries: Counter[int] = Counter()
        self._next_expiry_ns: int | None = None

    @property
    def capacity(self) -> int:
        """Rows allocated."""
        return len(self._changed)

    @property
    def row_count(self) -> int:
        """Rows ever used: ids lie below it, and arrays by listing have this length."""
        return len(self._listings)

    @property
    def live_count(self) -> int:
        """Rows in state LIVE."""
        return int(np.count_nonzero(self.columns.state[: self.row_count] == _LIVE))

    @property
    def generation(self) -> NDArray[np.uint32]:
        """Generation of every row, [capacity]; borrowed like `columns`."""
        return self.columns.generation

    @property
    def next_expiry_ns(self) -> int | None:
        """Earliest expiry of a live listing; None where none expires."""
        if self._next_expiry_ns is None and self._expiries:
            self._next_expiry_ns = min(self._expiries)
        return self._next_expiry_ns

    def add(self, listing: Listing) -> int:
        """Row of a listing; the same venue and symbol have the same row.

        Changed terms (tick, multiplier, ...) are taken over. A retired listing that comes back
        within its grace time gets its row back, in the same generation; a retired symbol that
        now names something else gets a row of its own.

        Raises:
            SymbolError: the listing breaks a rule of feeds.contract.check_listing.
            IdentityError: the symbol is live and names something else; retire it first.
            CapacityError: no number is left for the row, contract, underlying, venue or group.
        """
        row = self._rows.get(listing.venue, {}).get(listing.symbol)
        if row is None:
            check_listing(listing)
            return self._place(listing)
        known = self.listing(row)
        live = self.columns.state[row] == _LIVE
        if live and (known is listing or known == listing):
            return row  # The common case: discovery repeats itself.
        check_listing(listing)
        if _identity(known) == _identity(listing):
            self._write(row, listing, self._number(listing))
            return row
        if live:
            raise IdentityError(
                f"{listing.venue} {listing.symbol}: was {_identity(listing)}, expected "
                f"{_identity(known)} as it stands in row {row}"
            )
        return self._place(listing)

    def retire(self, listing_id: int, now_ns: int) -> None:
        """Take a listing out; its row is kept for the grace time. A second call does nothing.

        Args:
            listing_id: row of the listing.
            now_ns: grid time; never less than in the calls before.

        Raises:
            KeyError: the row has no listing.
        """
        self.listing(listing_id)
        self._step(now_ns)
        if self.columns.state[listing_id] != _LIVE:
            return
        self._forget_expiry(listing_id)
        self.columns.state[listing_id] = _RETIRED
        self._touch(listing_id)
        self._waiting.append((now_ns + self._grace_ns, listing_id, self.version))

    def advance(self, now_ns: int) -> int:
        """Free the rows whose grace time has passed; returns how many.

        From here on their symbols are unknown, and `add` may give the rows to others.
        """
        self._step(now_ns)
        freed = 0
        while self._waiting and self._waiting[0][0] <= now_ns:
            _, row, version = self._waiting.popleft()
            if self._changed[row] == version:
                self._release(row)
                freed += 1
        return freed

    def expired(self, now_ns: int) -> NDArray[np.uint32]:
        """Live rows whose expiry is at or before a grid time, ascending; retires none."""
        if self.next_expiry_ns is None or self.next_expiry_ns > now_ns:
            return np.empty(0, np.uint32)
        count, columns = self.row_count, self.columns
        expiry_ns = columns.expiry_ns[:count]
        due = (expiry_ns > 0) & (expiry_ns <= now_ns) & (columns.state[:count] == _LIVE)
        return np.flatnonzero(due).astype(np.uint32)

    def changed_since(self, version: int) -> NDArray[np.uint32]:
        """Rows written, retired or freed after a version, ascending."""
        if version >= self.version:
            return np.empty(0, np.uint32)
        return np.flatnonzero(self._changed[: self.row_count] > version).astype(np.uint32)

    def listing(self, listing_id: int) -> Listing:
        """Listing of a live or retired row.

        Raises:
            KeyError: the row has none.
        """
        found = self._listings[listing_id] if 0 <= listing_id < self.row_count else None
        if found is None:
            raise KeyError(f"listing {listing_id}: row is free, expected one in use")
        return found

    def symbols(self, venue: str) -> Mapping[str, int]:
        """Symbol to row of one venue, live and retired ones; borrows, kept current for ever."""
        return self._rows.setdefault(venue, {})

    def _place(self, listing: Listing) -> int:
        """Give a new listing a row: a freed one, else the next; grows where there is none."""
        row = self._free[0] if self._free else self.row_count
        if row == self.capacity:
            self._grow()
        numbers = self._number(listing)  # the last step that can fail
        if self._free:
            self._free.popleft()
        else:
            self._listings.append(None)
        self.columns.generation[row] += 1
        self._write(row, listing, numbers)
        self._rows.setdefault(listing.venue, {})[listing.symbol] = row
        return row

    def _number(self, listing: Listing) -> tuple[int, int, int, int]:
        """Numbers of venue, underlying, contract and group; all of them, or CapacityError."""
        contract = listing.contract
        venue_id = self.venues.of(listing.venue)
        underlying_id = self.underlyings.of(listing.underlying)
        if contract is None:
            return venue_id, underlying_id, NO_CONTRACT, NO_GROUP
        group_id = self.groups.of((contract.underlying, contract.expiry_ns))
        return venue_id, underlying_id, self.contracts.of(contract), group_id

    def _write(self, row: int, listing: Listing, numbers: tuple[int, int, int, int]) -> None:
        columns = self.columns
        venue_id, underlying_id, contract_id, group_id = numbers
        if columns.state[row] == _LIVE:
            self._forget_expiry(row)
        columns.state[row] = _LIVE
        columns.venue_id[row] = venue_id
        columns.underlying_id[row] = underlying_id
        columns.contract_id[row] = contract_id
        columns.group_id[row] = group_id
        columns.kind[row] = listing.kind
        columns.right[row] = _SIGN[listing.right]
        columns.settle[row] = listing.settle == "inverse"
        columns.expiry_ns[row] = listing.expiry_ns or 0
        columns.strike_e9[row] = listing.strike_e9 or 0
        columns.settle_window_ns[row] = round((listing.settle_window_s or 0) * SECOND_NS)
        columns.tick[row] = listing.tick
        columns.multiplier[row] = listing.multiplier
        columns.price_per[row] = listing.price_per
        table = listing.tick_table
        columns.coarse_from[row] = table[0][0] if table else 0.0
        columns.coarse_tick[row] = max(tick for _, tick in table) if table else listing.tick
        self._listings[row] = listing
        self._remember_expiry(row)
        self._touch(row)

    def _release(self, row: int) -> None:
        listing = self.listing(row)
        rows = self._rows[listing.venue]
        if rows.get(listing.symbol) == row:  # else the symbol names something else by now
            del rows[listing.symbol]
        self._listings[row] = None
        self.columns.state[row] = _FREE
        self._touch(row)
        self._free.append(row)

    def _touch(self, row: int) -> None:
        self.version += 1
        self._changed[row] = self.version

    def _step(self, now_ns: int) -> None:
        if now_ns < self._now_ns:
            raise ValueError(f"universe: now_ns was {now_ns}, expected at least {self._now_ns}")
        self._now_ns = now_ns

    def _grow(self) -> None:
        if self.capacity >= CAPACITY_MAX:
            raise CapacityError(
                f"universe: {self.row_count} listings are in use, expected at most {CAPACITY_MAX}"
            )
        capacity = min(2 * self.capacity, CAPACITY_MAX)
        changed = np.zeros(capacity, np.int64)
        changed[: len(self._changed)] = self._changed
        self.columns, self._changed = self.columns.grown(capacity), changed

    def _remember_expiry(self, row: int) -> None:
        expiry_ns = int(self.columns.expiry_ns[row])
        if expiry_ns:
            self._expiries[expiry_ns] += 1
            if self._next_expiry_ns is not None:
                self._next_expiry_ns = min(self._next_expiry_ns, expiry_ns)

    def _forget_expiry(self, row: int) -> None:
        expiry_ns = int(self.columns.expiry_ns[row])
        if not expiry_ns:
            return
        self._expiries[expiry_ns] -= 1
        if not self._expiries[expiry_ns]:
            del self._expiries[expiry_ns]
            self._next_expiry_ns = None


def _identity(listing: Listing) -> tuple[object, ...]:
    """What a symbol names; the other fields are terms that may change."""
    return (
        ListingKind(listing.kind).name,
        listing.underlying,
        listing.expiry_ns,
        listing.strike_e9,
        listing.right,
    )
