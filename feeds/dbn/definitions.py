"""Stage 1 of 8: definitions of a dataset as listings, and which listing an id meant on a day.

Ids of OPRA are given out anew every day, so a definition explains its id on its own UTC day and on
no other; ids of CME stay, so there a definition holds until the next one of the same id. Symbol
mappings in the head of a file say for which days they hold.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import (
    E9,
    INT64_MAX,
    Listing,
    ListingKind,
    listing_fault,
    occ_multiplier,
)
from feeds.dbn.layout import CONSOLIDATED, PUBLISHERS, UNDEF_PRICE
from feeds.dbn.metadata import Mapping
from feeds.errors import SymbolError
from feeds.grammar import default_expiry_ns, parse

Allocate = Callable[[Sequence[Listing]], list[int]]

DAY_NS: Final = 86_400 * E9
NEVER_DAY: Final = 2**31 - 1
DAYS_KEPT: Final = 4  # Tables of single days; files of one folder are read side by side.

OPRA: Final = "OPRA.PILLAR"
OPRA_TICK: Final = 0.01  # USD; no definition says one, and every quote is a whole number of cents.
# Index options that can be exercised at expiry alone (contract specifications of Cboe and Nasdaq);
# everything else of OPRA can be exercised on any day.
EUROPEAN_ROOTS: Final = frozenset(
    {"SPX", "SPXW", "XSP", "NDX", "NDXP", "XND", "RUT", "RUTW", "MRUT", "DJX", "VIX", "VIXW", "XEO"}
)
# Smallest Globex tick of the variable tick tables that need less than one unit of the Globex price
# (CME, "MDP 3.0 - CME Globex Pricing"); every other price is a whole number of units.
FINE_TICK_RULES: Final = {2: 0.5, 12: 0.25}
STYLES: Final = {"A": "american", "E": "european"}

_FIELDS: Final = (
    "instrument_id", "ts_recv", "raw_symbol", "instrument_class", "strike_price", "expiration",
    "min_price_increment", "display_factor", "unit_of_measure_qty", "currency", "asset", "cfi",
    "underlying", "security_update_action", "user_defined_instrument", "tick_rule",
)  # fmt: skip


class Instruments:
    """Everything one dataset defines.

    Attributes:
        dataset: OPRA.PILLAR or GLBX.MDP3.
        listings: one for each symbol, at the venue that stands for the whole dataset.
        left_out: definitions and symbols that became no listing, by reason.
    """

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.listings: list[Listing] = []
        self.left_out: Counter[str] = Counter()
        self._position: dict[str, int | str] = {}  # or the reason why there is none
        self._entries: list[tuple[int, int, int, int]] = []  # id, first day, end day, position
        self._days: dict[int, tuple[NDArray[np.uint32], NDArray[np.int64]]] = {}
        self._table = np.empty((0, 4), np.int64)
        self._expiry_ns = np.empty(0, np.int64)
        self._is_option = np.empty(0, np.bool_)
        self._ids: dict[int, NDArray[np.int64]] = {}  # publisher -> listing id by position
        self._allocate: Allocate | None = None

    def define(self, records: NDArray[Any]) -> None:
        """Take definition records, in file order: of two of one id and day the later one holds."""
        columns = [records[name].tolist() for name in _FIELDS]
        for values in zip(*columns, strict=True):
            definition = dict(zip(_FIELDS, values, strict=True))
            position = self._defined(definition)
            if position is None or not 0 < definition["ts_recv"] <= INT64_MAX:
                continue
            day = definition["ts_recv"] // DAY_NS
            end = day + 1 if self.dataset == OPRA else NEVER_DAY
            self._entries.append((definition["instrument_id"], day, end, position))

    def map(self, mappings: Iterator[Mapping]) -> None:
        """Take symbol mappings of a file's head, once all definitions are known.

        A name of OPRA says all there is to know; one of CME is taken where a definition has it.
        """
        self._entries[:0] = self._mapped(mappings)  # A definition of the same id and day holds.

    def remap(self, mappings: Iterator[Mapping]) -> None:
        """Take symbol mappings of a live session: what is told last holds."""
        self._entries += self._mapped(mappings)

    def _mapped(self, mappings: Iterator[Mapping]) -> list[tuple[int, int, int, int]]:
        found: list[tuple[int, int, int, int]] = []
        for symbol, instrument_id, first_day, end_day in mappings:
            if self.dataset != OPRA and symbol not in self._position:
                continue
            position = self._position_of(symbol, occ_listing)
            if position is not None:
                found.append((instrument_id, first_day, end_day, position))
        return found

    def list_all(self, allocate: Allocate) -> None:
        """Give every listing its id; those of single publishers follow when they are met."""
        self._allocate = allocate
        self._ids = {CONSOLIDATED[self.dataset]: np.empty(0, np.int64)}
        self.list_new()

    def list_new(self) -> None:
        """Give what was defined since `list_all` its ids, too: a live session defines all along."""
        whole = CONSOLIDATED[self.dataset]
        new = self.listings[len(self._ids[whole]) :]
        none = np.full(len(new), -1, np.int64)
        self._ids = {p: np.concatenate([ids, none]) for p, ids in self._ids.items()}
        if new and self._allocate is not None:
            self._ids[whole][-len(new) :] = self._allocate(new)
        self._table = np.array(self._entries, np.int64).reshape(-1, 4)
        self._expiry_ns = np.array([one.expiry_ns or INT64_MAX for one in self.listings], np.int64)
        self._is_option = np.array(
            [one.kind == ListingKind.OPTION for one in self.listings], np.bool_
        )
        self._days = {}

    def forget_before(self, day: int) -> None:
        """Drop what ids meant on earlier days, and what was told twice."""
        told = {one[:2]: one for one in self._entries}  # The last of one id and first day holds.
        self._entries = [one for one in told.values() if one[2] > day]

    def alive(self, now_ns: int) -> NDArray[np.int64]:
        """Ids of all listings, of single publishers too, that have not expired."""
        alive = self._expiry_ns > now_ns
        ids = np.concatenate([each[alive] for each in self._ids.values()])
        return ids[ids >= 0]

    def positions(self, instrument_ids: NDArray[np.uint32], day: int) -> NDArray[np.int64]:
        """Position in `listings` of each id on a day (since the Unix epoch), -1 where unknown."""
        if day not in self._days:
            while len(self._days) >= DAYS_KEPT:
                del self._days[next(iter(self._days))]
            self._days[day] = self._table_of(day)
        known, position = self._days[day]
        if not len(known):
            return np.full(len(instrument_ids), -1, np.int64)
        at = np.minimum(np.searchsorted(known, instrument_ids), len(known) - 1)
        return np.where(known[at] == instrument_ids, position[at], -1)

    def expiry_ns(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Expiry instants, ns UTC; positions of -1 give any."""
        return self._expiry_ns[positions]

    def is_option(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which positions are options."""
        return self._is_option[positions]

    def listing_ids(
        self, positions: NDArray[np.int64], publishers: NDArray[np.uint16] | None
    ) -> NDArray[np.int64]:
        """Listing ids of known positions; -1 where the publisher is not one of the dataset's.

        publishers: of each row; None for records that speak of the whole dataset.
        """
        whole = CONSOLIDATED[self.dataset]
        if publishers is None:
            return self._ids[whole][positions]
        found = np.full(len(positions), -1, np.int64)
        for publisher in np.unique(publishers).tolist():
            venue = PUBLISHERS[self.dataset].get(publisher)
            if venue is not None:
                rows = publishers == publisher
                found[rows] = self._ids_at(publisher, venue, positions[rows])
        return found

    def _ids_at(
        self, publisher: int, venue: str, positions: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        ids = self._ids.setdefault(publisher, np.full(len(self.listings), -1, np.int64))
        new = np.unique(positions[ids[positions] < 0])
        if len(new) and self._allocate is not None:
            ids[new] = self._allocate([replace(self.listings[p], venue=venue) for p in new])
        return ids[positions]

    def _table_of(self, day: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Ids known on a day, ascending, and the position that began last for each."""
        table = self._table
        valid = table[(table[:, 1] <= day) & (day < table[:, 2])]
        valid = valid[np.lexsort((valid[:, 1], valid[:, 0]))]
        last = np.append(valid[1:, 0] != valid[:-1, 0], True)[: len(valid)]
        return valid[last, 0].astype(np.uint32), valid[last, 3]

    def _defined(self, definition: dict[str, Any]) -> int | None:
        """Position of a definition's listing; None, counted, where it becomes none."""
        symbol = _text(definition["raw_symbol"])
        reason = _unwanted(symbol, definition)
        if reason is not None:
            self.left_out[reason] += 1
            return None
        make = occ_listing if self.dataset == OPRA else partial(cme_listing, definition)
        position = self._position_of(symbol, make)
        # A symbol that means two things explains no id.
        if position is not None and not _agrees(self.listings[position], definition):
            self.left_out["contradiction"] += 1
            return None
        return position

    def _position_of(self, symbol: str, make: Callable[[str], Listing]) -> int | None:
        """Position of a symbol's listing, made when it is new; None, counted, if there is none."""
        if symbol not in self._position:
            self._position[symbol] = self._add(symbol, make)
        position = self._position[symbol]
        if isinstance(position, str):
            self.left_out[position] += 1
            return None
        return position

    def _add(self, symbol: str, make: Callable[[str], Listing]) -> int | str:
        """Append a listing, or say what keeps the symbol from being one."""
        try:
            listing = make(symbol)
        except SymbolError:
            return "symbol"
        fault = listing_fault(listing)
        if fault is not None:
            return fault.field
        self.listings.append(listing)
        return len(self.listings) - 1


def occ_listing(symbol: str) -> Listing:
    """Listing of an OCC symbol: the name says everything, and is the identity.

    Raises:
        SymbolError: not the name of an option.
    """
    parsed = parse("occ", symbol)
    return Listing(
        venue="opra",
        symbol=symbol,
        kind=ListingKind.OPTION,
        underlying=parsed.underlying,
        multiplier=occ_multiplier(parsed.root),
        price_ccy="USD",
        settle="linear",
        tick=OPRA_TICK,
        expiry_ns=default_expiry_ns(parsed),
        strike_e9=parsed.strike_e9,
        right=parsed.right,
        style="european" if parsed.root in EUROPEAN_ROOTS else "american",
    )


def cme_listing(definition: dict[str, Any], symbol: str) -> Listing:
    """Listing of an option or a future of CME; a field that is undefined becomes a fault of it.

    The underlying of an option is its future (ESM4), not the product (ES): mid-curve options of one
    product, expiry and strike differ in nothing else. Without a future it is the product.
    """
    kind = _text(definition["instrument_class"])
    option = kind != "F"
    underlying = _text(definition["underlying"]) or _text(definition["asset"])
    strike_e9 = definition["strike_price"]
    return Listing(
        venue="glbx",
        symbol=symbol,
        kind=ListingKind.OPTION if option else ListingKind.FUTURE,
        underlying=underlying if option else symbol,
        multiplier=_units(definition["unit_of_measure_qty"]),
        price_ccy=_text(definition["currency"]),
        settle="linear",
        tick=_cme_tick(definition),
        expiry_ns=definition["expiration"],
        strike_e9=(0 if strike_e9 == UNDEF_PRICE else strike_e9) if option else None,
        right=kind if option else None,
        style=STYLES.get(_text(definition["cfi"])[2:3]) if option else None,
    )


def _cme_tick(definition: dict[str, Any]) -> float:
    """Constant tick; for one that varies with the price a step that all of its prices lie on."""
    tick = _units(definition["min_price_increment"])
    if not math.isnan(tick):
        return tick
    # Globex prices are whole numbers of display_factor, but for two of the tick tables.
    return _units(definition["display_factor"]) * FINE_TICK_RULES.get(definition["tick_rule"], 1.0)


def _units(count_e9: int) -> float:
    """A count of 1e-9, NaN where it is undefined or not above 0."""
    return count_e9 / E9 if 0 < count_e9 < UNDEF_PRICE else math.nan


def _unwanted(symbol: str, definition: dict[str, Any]) -> str | None:
    """Why a definition is of nothing that is scanned; None where it may be."""
    if definition["security_update_action"] == b"D":
        return "deleted"
    if definition["user_defined_instrument"] == b"Y" or symbol.startswith("UD:"):
        return "user_defined"
    kind = _text(definition["instrument_class"])
    return None if kind in ("C", "P", "F") else f"class_{kind if kind.isalnum() else 'other'}"


def _agrees(listing: Listing, definition: dict[str, Any]) -> bool:
    """Whether a definition speaks of the contract that the symbol is known for."""
    expiry_ns, known_ns = definition["expiration"], listing.expiry_ns
    # OPRA gives the day of the expiry alone, as its midnight in UTC.
    if known_ns is not None and expiry_ns % DAY_NS == 0:
        expiry_ns, known_ns = expiry_ns // DAY_NS, known_ns // DAY_NS
    found = (expiry_ns, _text(definition["instrument_class"]))
    if listing.kind != ListingKind.OPTION:
        return found == (known_ns, "F")
    return (*found, definition["strike_price"]) == (known_ns, listing.right, listing.strike_e9)


def _text(field: bytes) -> str:
    """A C string."""
    return field.partition(b"\0")[0].decode("ascii", "replace")
