"""Stage 2 of 8: listings.parquet of a table recording, and the tick grid it lays over prices.

`tick_table` is written as list<struct<above_price: double, tick: double>>; a JSON text
`[[above_price, tick], ...]` and lists of pairs are read too.
"""

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feeds.contract import Listing, ListingKind, listing_fault
from feeds.table_format import Part

TICK_TOLERANCE: Final = 0.01  # of a tick; the format rounds prices that are nearer to their grid
KINDS: Final = {kind.name.lower(): kind for kind in ListingKind}
EXACT: Final = 2**53  # integers up to here are exact in float64


class ListingTable:
    """The listings of a recording.

    ids: uint32[listing], the file's listing_id of each; rows refer to listings by it.
    is_option: bool[listing].
    grid: their tick grid.
    """

    def __init__(self, listings: Sequence[Listing], ids: NDArray[np.uint32]) -> None:
        self.listings = list(listings)
        self.ids = ids
        self.is_option = np.array([one.kind == ListingKind.OPTION for one in listings], np.bool_)
        self.grid = TickGrid(listings)
        self._order = np.argsort(ids)

    def positions(self, ids: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Position in `listings` of each id, -1 where there is none."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        found = np.searchsorted(self.ids, ids, sorter=self._order)
        position = self._order[np.minimum(found, len(self._order) - 1)]
        return np.where(self.ids[position] == ids, position, -1)


def read_listings(parts: Sequence[Part]) -> ListingTable:
    """Build the listings, in file order.

    Raises:
        TableError: a listing that cannot be one, or an id or a name given twice.
    """
    listings: list[Listing] = []
    seen: set[int] = set()
    named: set[tuple[str, str]] = set()
    for part in parts:
        for row in range(part.row_count):
            listing_id = int(part.values["listing_id"][row])
            if listing_id in seen:
                raise part.fault("listing_id", row, listing_id, "an id that no other row has")
            seen.add(listing_id)
            listing = _listing(part, row)
            name = (listing.venue, listing.symbol)
            if name in named:
                raise part.fault("symbol", row, repr(listing.symbol), "one row a listing")
            named.add(name)
            fault = listing_fault(listing)
            if fault is not None:
                raise part.fault(fault.field, row, repr(fault.value), fault.expectation)
            listings.append(listing)
    ids = [part.values["listing_id"] for part in parts]
    return ListingTable(listings, np.concatenate([*ids, np.empty(0, np.uint32)]))


def _listing(part: Part, row: int) -> Listing:
    values = part.values

    def text(name: str) -> str | None:
        return values[name][row] if name in values else None

    def integer(name: str) -> int | None:
        return int(values[name][row]) if name in values and part.valid[name][row] else None

    def number(name: str) -> float | None:
        found = float(values[name][row]) if name in values else math.nan
        return None if math.isnan(found) else found

    kind = values["kind"][row]
    if kind not in KINDS:
        raise part.fault("kind", row, repr(kind), f"one of {', '.join(KINDS)}")
    price_per = number("price_per")
    return Listing(
        venue=values["venue"][row],
        symbol=values["symbol"][row],
        kind=KINDS[kind],
        underlying=values["underlying"][row],
        multiplier=float(values["multiplier"][row]),
        price_ccy=values["price_ccy"][row],
        settle=values["settle"][row],
        tick=float(values["tick"][row]),
        expiry_ns=integer("expiry_ns"),
        strike_e9=integer("strike_e9"),
        right=text("right"),
        style=text("style"),
        price_per=1.0 if price_per is None else price_per,
        lot=number("lot"),
        tick_table=_tick_table(part, row),
        settle_window_s=number("settle_window_s"),
    )


def _tick_table(part: Part, row: int) -> tuple[tuple[float, float], ...]:
    if "tick_table" not in part.values:
        return ()
    found = part.values["tick_table"][row]
    try:
        bands = json.loads(found) if isinstance(found, str) else found
        pairs = [(b["above_price"], b["tick"]) if isinstance(b, dict) else b for b in bands or ()]
        return tuple((float(above), float(tick)) for above, tick in pairs)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        wanted = "pairs of above_price and tick"
        raise part.fault("tick_table", row, repr(found)[:80], wanted) from error


def listings_table(listings: Sequence[Listing], ids: Sequence[int]) -> Any:
    """Arrow table of the listings, in the types of the format."""
    bands = pa.list_(pa.struct([("above_price", pa.float64()), ("tick", pa.float64())]))
    return pa.table(
        {
            "listing_id": pa.array(ids, pa.uint32()),
            "venue": pa.array([one.venue for one in listings], pa.string()),
            "symbol": pa.array([one.symbol for one in listings], pa.string()),
            "kind": pa.array([ListingKind(one.kind).name.lower() for one in listings], pa.string()),
            "underlying": pa.array([one.underlying for one in listings], pa.string()),
            "expiry_ns": pa.array([one.expiry_ns for one in listings], pa.int64()),
            "strike_e9": pa.array([one.strike_e9 for one in listings], pa.int64()),
            "right": pa.array([one.right for one in listings], pa.string()),
            "style": pa.array([one.style for one in listings], pa.string()),
            "multiplier": pa.array([one.multiplier for one in listings], pa.float64()),
            "price_per": pa.array([one.price_per for one in listings], pa.float64()),
            "lot": pa.array([one.lot for one in listings], pa.float64()),
            "price_ccy": pa.array([one.price_ccy for one in listings], pa.string()),
            "settle": pa.array([one.settle for one in listings], pa.string()),
            "tick": pa.array([one.tick for one in listings], pa.float64()),
            "tick_table": pa.array(
                [
                    [{"above_price": above, "tick": tick} for above, tick in one.tick_table]
                    for one in listings
                ],
                bands,
            ),
            "settle_window_s": pa.array([one.settle_window_s for one in listings], pa.float64()),
        }
    )


class TickGrid:
    """Every listing's ticks, for whole columns of prices at once.

    A band is a stretch of prices with one tick; a listing without a tick table has one band. Its
    tick is kept as the fraction that its shortest decimal is (0.01 = 1/100), so that a snapped
    price is the float nearest to the decimal, not a multiple of a rounded tick.
    """

    def __init__(self, listings: Sequence[Listing]) -> None:
        ticks: list[float] = []
        self._first_band = np.zeros(len(listings), np.int64)
        self._table_of = np.full(len(listings), -1, np.int64)
        tables: dict[tuple[tuple[float, float], ...], int] = {}
        bands: dict[tuple[float, tuple[tuple[float, float], ...]], int] = {}
        for position, listing in enumerate(listings):
            key = (listing.tick, listing.tick_table)
            if key not in bands:
                bands[key] = len(ticks)
                ticks += [listing.tick, *(tick for _, tick in listing.tick_table)]
            self._first_band[position] = bands[key]
            if listing.tick_table:
                self._table_of[position] = tables.setdefault(listing.tick_table, len(tables))
        self._tables = [np.array([above for above, _ in table]) for table in tables]
        self._tick = np.array(ticks, np.float64)
        fractions = [_fraction(tick) for tick in ticks]
        self._numerator = np.array([pair[0] for pair in fractions], np.float64)
        self._denominator = np.array([pair[1] for pair in fractions], np.float64)

    def snap(
        self, prices: NDArray[np.float64], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Nearest grid price of each price, and where the price is off the grid.

        prices: float64[row], native; NaN stays NaN and is never off the grid.
        positions: int64[row], each row's position among the listings.
        """
        band = self._first_band[positions]
        for table, starts in enumerate(self._tables):
            rows = np.flatnonzero(self._table_of[positions] == table)
            band[rows] += np.searchsorted(starts, prices[rows], side="right")
        with np.errstate(over="ignore", invalid="ignore"):
            count = prices / self._tick[band]
            nearest = np.rint(count)
            # Beyond 2**53 ticks every float is a whole count, which says nothing about the grid.
            near = (np.abs(count - nearest) <= TICK_TOLERANCE) & (np.abs(count) < EXACT)
            snapped = nearest * self._numerator[band] / self._denominator[band]
        return snapped, ~near & ~np.isnan(prices)

    def tick(self, price: float, position: int) -> float:
        """Tick at one price, for messages."""
        table = self._table_of[position]
        band = np.searchsorted(self._tables[table], price, side="right") if table >= 0 else 0
        return float(self._tick[self._first_band[position] + band])


def _fraction(tick: float) -> tuple[float, float]:
    numerator, denominator = Decimal(repr(tick)).as_integer_ratio()
    return (numerator, denominator) if max(numerator, denominator) < EXACT else (tick, 1.0)
