"""Stage 3 of 8: listings, contracts, underlyings and groups to dense numbers, and back.

A listing's number is its row on the device. Rows come and go while running: a retired row is kept
for a grace time, in which late frames still find it, and is then given to a new listing under the
next generation. Contracts, underlyings, venues and groups keep their numbers for the whole run.

Single-threaded by contract: `add`, `retire` and `advance` are called between ticks only, and a
tick borrows `columns`. Growing replaces the arrays (amortised by doubling), so nobody keeps one
across a tick; the numbers stay.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import Contract, Listing, ListingKind, check_listing, identity_fault
from kernels.errors import CapacityError
from scanner.errors import IdentityError
from scanner.identity import (
    NONE,
    SECOND_NS,
    Contracts,
    Names,
    Numbering,
    Terms,
    TermTable,
    VenueSymbols,
    listing_of,
    terms_of,
)

ROW_BLOCK: Final = 128  # device columns are padded to whole blocks
CAPACITY_MAX: Final = (1 << 21) - ROW_BLOCK  # a listing id has 21 bits in the ranking key
UNDERLYINGS_MAX: Final = 1 << 16
VENUES_MAX: Final = 1 << 8
GROUPS_MAX: Final = (1 << 31) - 1
CONTRACTS_MAX: Final = (1 << 31) - 1
TERMS_MAX: Final = 1 << 22  # twice as many as listings: some change
NO_CONTRACT: Final = (1 << 32) - 1  # contract_id of anything but an option
NO_GROUP: Final = -1


class RowState(IntEnum):
    """Life of a row."""

    FREE = 0  # no listing, or one whose grace time has passed
    LIVE = 1
    RETIRED = 2  # in its grace time: it has a listing, and is not scanned


# Reading a member of an enum costs more than a numpy store in Python 3.11 (0.3 us of 10 per add).
_FREE, _LIVE, _RETIRED = int(RowState.FREE), int(RowState.LIVE), int(RowState.RETIRED)

# Kept of every row: name -> dtype, value of a free row. Meanings stand at ListingColumns.
_COLUMNS: Final[dict[str, tuple[str, Any]]] = {
    "state": ("u1", _FREE),
    "generation": ("u4", 0),
    "terms_id": ("u4", 0),
    "contract_id": ("u4", NO_CONTRACT),
}


@dataclass(slots=True)
class ListingColumns:
    """What the engine needs of every row, [capacity]; written by Universe alone.

    Four columns are kept; the others are looked up in the terms and the contract of every row, each
    time they are asked for, so ask for them of few rows (`at`) or once.
    Where `state` is FREE the other columns but `generation` mean nothing.

    Attributes:
        state: RowState.
        generation: how many listings have had the row; 0 = none yet. (row, generation) is
            unique in a run.
        terms_id: one number for listings that differ in name, expiry, strike and right alone.
        contract_id: one number for one contract on all venues; NO_CONTRACT for no option.
    """

    state: NDArray[np.uint8]
    generation: NDArray[np.uint32]
    terms_id: NDArray[np.uint32]
    contract_id: NDArray[np.uint32]
    terms: TermTable
    contracts: Contracts

    @classmethod
    def empty(cls, capacity: int, terms: TermTable, contracts: Contracts) -> "ListingColumns":
        """Columns of free rows."""
        kept = {n: np.full(capacity, v, dtype) for n, (dtype, v) in _COLUMNS.items()}
        return cls(**kept, terms=terms, contracts=contracts)

    def grown(self, capacity: int) -> "ListingColumns":
        """Copy with more rows, the new ones free."""
        larger = ListingColumns.empty(capacity, self.terms, self.contracts)
        for name in _COLUMNS:
            old = getattr(self, name)
            getattr(larger, name)[: len(old)] = old
        return larger

    def at(self, rows: NDArray[np.uint32]) -> "ListingColumns":
        """Copy of some rows, in their order."""
        kept = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return ListingColumns(**kept, terms=self.terms, contracts=self.contracts)

    @property
    def nbytes(self) -> int:
        """Bytes of the columns that are kept."""
        return sum(getattr(self, name).nbytes for name in _COLUMNS)

    @property
    def underlying_id(self) -> NDArray[np.uint16]:
        """Number of the underlying, dense, over all venues."""
        return self._of_terms("underlying_id")

    @property
    def venue_id(self) -> NDArray[np.uint8]:
        """Number of the venue, dense."""
        return self._of_terms("venue_id")

    @property
    def kind(self) -> NDArray[np.uint8]:
        """feeds.contract.ListingKind."""
        return self._of_terms("kind")

    @property
    def settle(self) -> NDArray[np.uint8]:
        """0 linear, 1 inverse."""
        return self._of_terms("settle")

    @property
    def settle_window_ns(self) -> NDArray[np.int64]:
        """Averaging window before expiry, ns; 0 = none."""
        return self._of_terms("settle_window_ns")

    @property
    def tick(self) -> NDArray[np.float64]:
        """Smallest tick, native price."""
        return self._of_terms("tick")

    @property
    def multiplier(self) -> NDArray[np.float64]:
        """Underlying units per unit of native size; NaN = unknown."""
        return self._of_terms("multiplier")

    @property
    def price_per(self) -> NDArray[np.float64]:
        """Underlying units one quoted price covers."""
        return self._of_terms("price_per")

    @property
    def coarse_from(self) -> NDArray[np.float64]:
        """Price from which coarse_tick is counted, native price."""
        return self._of_terms("coarse_from")

    @property
    def coarse_tick(self) -> NDArray[np.float64]:
        """Coarsest tick of the tick table, native price; `tick` where there is no table."""
        return self._of_terms("coarse_tick")

    @property
    def group_id(self) -> NDArray[np.int32]:
        """Number of (underlying, expiry) of options, dense; NO_GROUP for others."""
        return self._of_contract(self.contracts.group_id, NO_GROUP)

    @property
    def right(self) -> NDArray[np.int8]:
        """+1 call, -1 put, 0 none."""
        signed = self._of_contract(self.contracts.signed_strike_e9, 0)
        sign: NDArray[np.int8] = np.sign(signed).astype(np.int8)
        return sign

    @property
    def strike_e9(self) -> NDArray[np.int64]:
        """Strike in 1e-9; 0 where `right` is 0."""
        signed = self._of_contract(self.contracts.signed_strike_e9, 0)
        strike_e9: NDArray[np.int64] = np.abs(signed)
        return strike_e9

    @property
    def expiry_ns(self) -> NDArray[np.int64]:
        """Expiry instant, ns UTC; 0 = never expires."""
        of_group = [expiry_ns for _, expiry_ns in self.contracts.groups]
        expiry_ns = np.array([*of_group, 0], np.int64)[self.group_id]  # NO_GROUP is the last
        return np.where(expiry_ns != 0, expiry_ns, self._of_terms("expiry_ns"))

    def _of_terms(self, name: str) -> NDArray[Any]:
        return self.terms.column(name, self.terms_id)

    def _of_contract(self, values: NDArray[Any], none: int) -> NDArray[Any]:
        found = np.full(len(self.contract_id), none, values.dtype)
        option = self.contract_id != NO_CONTRACT
        found[option] = values[self.contract_id[option]]
        return found


class Universe:
    """All listings of a run. Equal calls in equal order give equal numbers.

    Attributes:
        columns: borrowed until the next `add`; `changed_since` says which rows to upload.
        version: counts changes of any row.
        contracts: dense contract_id to Contract, over all venues.
        underlyings: dense underlying_id to name.
        venues: dense venue_id to name.
        groups: dense group_id to (underlying, expiry_ns).
        terms: dense terms_id to what listings have in common.
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
        self.version = 0
        self.underlyings: Numbering[str] = Numbering("underlying", UNDERLYINGS_MAX)
        self.venues: Numbering[str] = Numbering("venue", VENUES_MAX)
        self.groups: Numbering[tuple[str, int]] = Numbering("group", GROUPS_MAX)
        self.contracts = Contracts(CONTRACTS_MAX, self.groups, rounded)
        self.terms = TermTable(TERMS_MAX)
        self.columns = ListingColumns.empty(rounded, self.terms, self.contracts)
        self._grace_ns = grace_ns
        self._now_ns = 0
        self._names = Names(rounded)
        self._row_count = 0
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
        return self._row_count

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
        row, terms = self._row_of(listing), terms_of(listing)
        terms_id = self.terms.numbers.number.get(terms)
        if terms_id is None or not listing.symbol or identity_fault(listing) is not None:
            check_listing(listing)  # Terms that are known have passed.
        if row == NONE:
            return self._place(listing, terms)
        live = self.columns.state.item(row) == _LIVE
        if not self._is(row, listing, terms):
            if not live:
                return self._place(listing, terms)
            raise IdentityError(
                f"{listing.venue} {listing.symbol}: was {_identity(listing)}, expected "
                f"{_identity(self.listing(row))} as it stands in row {row}"
            )
        if not live or self.columns.terms_id.item(row) != terms_id:
            self._write(row, listing, self._number(listing, terms))
        return row  # In the common case there is nothing to write: discovery repeats itself.

    def retire(self, listing_id: int, now_ns: int) -> None:
        """Take a listing out; its row is kept for the grace time. A second call does nothing.

        Args:
            listing_id: row of the listing.
            now_ns: grid time; never less than in the calls before.

        Raises:
            KeyError: the row has no listing.
        """
        self._demand(listing_id)
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
        self._demand(listing_id)
        terms, contract = self._terms_and_contract(listing_id)
        return listing_of(terms, self._names.symbol(listing_id), contract)

    def name(self, listing_id: int) -> str:
        """`venue:symbol` of a live or retired row.

        Raises:
            KeyError: the row has none.
        """
        self._demand(listing_id)
        venue = self._terms_and_contract(listing_id)[0].venue
        return f"{venue}:{self._names.symbol(listing_id)}"

    def symbols(self, venue: str) -> Mapping[str, int]:
        """Symbol to row of one venue, live and retired ones; kept current for ever."""
        return VenueSymbols(venue, self.venues, self._names)

    @property
    def nbytes(self) -> int:
        """Bytes of what grows with the listings, as allocated."""
        grown = self.columns.nbytes + self._changed.nbytes
        return grown + self.contracts.nbytes + self._names.nbytes

    def _row_of(self, listing: Listing) -> int:
        venue_id = self.venues.number.get(listing.venue)
        return NONE if venue_id is None else self._names.find(venue_id, listing.symbol)

    def _demand(self, row: int) -> None:
        if not 0 <= row < self._row_count or self.columns.state[row] == _FREE:
            raise KeyError(f"listing {row}: row is free, expected one in use")

    def _terms_and_contract(self, row: int) -> tuple[Terms, Contract | None]:
        contract_id = self.columns.contract_id.item(row)
        terms = self.terms.numbers.keys[self.columns.terms_id.item(row)]
        return terms, None if contract_id == NO_CONTRACT else self.contracts[contract_id]

    def _is(self, row: int, listing: Listing, terms: Terms) -> bool:
        """Whether a row's listing is of the same contract, or of no contract and the same kind."""
        contract_id = self.columns.contract_id.item(row)
        if terms.kind == ListingKind.OPTION:
            return contract_id != NO_CONTRACT and self.contracts.is_number_of(contract_id, listing)
        known = self._terms_and_contract(row)[0]
        same = (known.kind, known.underlying, known.expiry_ns)
        return same == (terms.kind, terms.underlying, terms.expiry_ns)

    def _place(self, listing: Listing, terms: Terms) -> int:
        """Give a new listing a row: a freed one, else the next; grows where there is none."""
        row = self._free[0] if self._free else self._row_count
        if row == self.capacity:
            self._grow()
        numbers = self._number(listing, terms)
        self._names.put(row, self.venues.number[listing.venue], listing.symbol)
        # Nothing from here on can fail.
        if self._free:
            self._free.popleft()
        else:
            self._row_count += 1
        self.columns.generation[row] += 1
        self._write(row, listing, numbers)
        return row

    def _number(self, listing: Listing, terms: Terms) -> tuple[int, int]:
        """Numbers of terms and contract, and those they stand on; all of them or CapacityError."""
        venue_id = self.venues.of(listing.venue)
        underlying_id = self.underlyings.of(listing.underlying)
        option = terms.kind == ListingKind.OPTION
        contract_id = self.contracts.of(listing) if option else NO_CONTRACT
        return self.terms.of(terms, venue_id, underlying_id), contract_id

    def _write(self, row: int, listing: Listing, numbers: tuple[int, int]) -> None:
        columns = self.columns
        was_live = columns.state.item(row) == _LIVE
        columns.state[row] = _LIVE
        columns.terms_id[row], columns.contract_id[row] = numbers
        if not was_live:  # Terms change, an expiry does not.
            self._remember_expiry(listing.expiry_ns)
        self._touch(row)

    def _release(self, row: int) -> None:
        self._names.remove(row)
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
        self._names.grow(capacity)

    def _remember_expiry(self, expiry_ns: int | None) -> None:
        if expiry_ns:
            self._expiries[expiry_ns] += 1
            if self._next_expiry_ns is not None:
                self._next_expiry_ns = min(self._next_expiry_ns, expiry_ns)

    def _forget_expiry(self, row: int) -> None:
        terms, contract = self._terms_and_contract(row)
        expiry_ns = terms.expiry_ns if contract is None else contract.expiry_ns
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
