"""Stage 2 of 8: event rows and ticker rows written as a table recording (format version 1).

What the format cannot hold, by design of the format:

- CLEAR and STATE_CHANGE rows: dropped and counted. After a CLEAR a listing's book is unknown, and
  its deltas are dropped until the next snapshot.
- Book deltas: the format has snapshots only, so each update of a book writes its best
  `BOOK_LEVELS` levels a side, out of a small book kept here per listing.
- ex_ns of book rows, aux of all rows, mark of ticker rows; oi_ns becomes rx_ns.

Files come in parts, each written under a temporary name, synced and renamed: after a crash the
folder holds whole parts, and lacks at most the rows that were still buffered.
"""

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feeds.contract import Listing, check_listing
from feeds.errors import SymbolError, TableError
from feeds.events import EventRows, Flag, Kind, ListingState, TickerRows
from feeds.table_format import FILES, FLAG_BITS, GREEKS, INTEGERS, NEGOTIATED, VERSION, VERSION_KEY
from feeds.table_listings import ListingTable, listings_table

PART_ROWS: Final = 500_000  # of all files together; about 30 MB buffered
BOOK_LEVELS: Final = 32  # a side, as many as the scanner's depth slots hold
KEPT_LEVELS: Final = 2_000  # a side and listing; a deeper book loses its farthest levels
Book = tuple[dict[float, float], dict[float, float]]  # price -> size of bids and of asks


class TableWriter:
    """Writes one recording into a folder of its own.

    Attributes:
        dropped: reason -> count of rows that are not in the files: `rejected`, `clear`,
            `state_change`, `half_quote` (a bid row without its ask row, or the reverse),
            `delta_without_snapshot`, `deep_levels` (beyond KEPT_LEVELS), `unknown_listing`,
            `price` (negative of an option, 0, or off the tick grid: nobody could read it back),
            `size` (negative or not finite), `empty_ticker` (nothing that has a column).
    """

    def __init__(
        self,
        folder: Path,
        listings: Sequence[Listing],
        listing_ids: Sequence[int] | None = None,
        part_rows: int = PART_ROWS,
    ) -> None:
        """Create the folder with the listings and an empty part of quotes.

        listing_ids: the ids that rows use, in the order of the listings; 0, 1, 2, ... by default.

        Raises:
            TableError: the folder holds Parquet files already, or a listing cannot be one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.glob("*.parquet")):
            raise TableError(f"{folder}: holds Parquet files, expected a folder without")
        self.dropped: Counter[str] = Counter()
        self._folder = folder
        self._part_rows = part_rows
        self._parts: Counter[str] = Counter()
        self._books: dict[int, Book] = {}
        self._buffers: dict[str, list[dict[str, NDArray[Any]]]] = {name: [] for name in FILES}
        self._buffered_rows = 0
        self._table = ListingTable([], np.empty(0, np.uint32))
        self.add_listings(listings, range(len(listings)) if listing_ids is None else listing_ids)
        # A folder without quotes is no recording, even if the process dies before the first part.
        self._write_part("quotes", _arrow("quotes", []))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add_listings(self, listings: Sequence[Listing], listing_ids: Sequence[int]) -> None:
        """Make further listings known, in a part of their own, before any row uses them.

        Raises:
            TableError: an id that is in use (the format knows no second life of an id), or a
                listing that cannot be one.
        """
        known = set(self._table.ids.tolist())
        for listing, listing_id in zip(listings, listing_ids, strict=True):
            if listing_id in known:
                raise TableError(f"listings: listing_id {listing_id}: in use, expected a new one")
            known.add(listing_id)
            try:
                check_listing(listing)
            except SymbolError as error:
                raise TableError(f"listings: {error}") from error
        self._write_part("listings", listings_table(listings, listing_ids))
        ids = np.append(self._table.ids, np.array(listing_ids, np.uint32))
        self._table = ListingTable([*self._table.listings, *listings], ids)

    def write(self, rows: EventRows, tickers: TickerRows) -> None:
        """Take rows in arrival order; both arrays hold whole updates and are copied.

        What is read back is in the order of rx_ns and seq, so at equal rx_ns the seq must rise as
        the vocabulary says it does.
        """
        rows, position = self._usable(rows)
        good = self._readable(rows, position)
        self._take_quotes(rows, good)
        self._take_trades(rows, good)
        self._take_books(rows, good)
        self._take_tickers(tickers[self._table.positions(tickers["listing_id"]) >= 0])
        if self._buffered_rows >= self._part_rows:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered as one more part of each file that has rows."""
        for name, buffer in self._buffers.items():
            if buffer:
                self._write_part(name, _arrow(name, buffer))
                buffer.clear()
        self._buffered_rows = 0

    def close(self) -> None:
        """Flush; the writer may not be used afterwards."""
        self.flush()
        self._books.clear()

    def _usable(self, rows: EventRows) -> tuple[EventRows, NDArray[np.int64]]:
        """Rows that were not refused and have a listing, and its position."""
        rejected = (rows["flags"] & Flag.REJECTED) != 0
        position = self._table.positions(rows["listing_id"])
        self._drop("rejected", int(rejected.sum()))
        self._drop("unknown_listing", int((~rejected & (position < 0)).sum()))
        kept = ~rejected & (position >= 0)
        rows, position = rows[kept], position[kept]
        for kind in (Kind.CLEAR, Kind.STATE_CHANGE):
            self._drop(kind.name.lower(), int((rows["kind"] == kind).sum()))
        return rows, position

    def _readable(self, rows: EventRows, position: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where a row keeps the rules of the reader; counts the others."""
        price, size = rows["price"], rows["size"]
        _, off = self._table.grid.snap(price, position)
        trade = rows["kind"] == Kind.TRADE
        off &= ~(trade & ((rows["flags"] & NEGOTIATED) != 0) & np.isfinite(price))
        bad_price = off | (price == 0) | ((price < 0) & self._table.is_option[position])
        bad_price |= trade & np.isnan(price)
        bad_size = (size < 0) | np.isinf(size) | (trade & np.isnan(size))
        counted = rows["kind"] <= Kind.TRADE
        self._drop("price", int((counted & bad_price).sum()))
        self._drop("size", int((counted & bad_size & ~bad_price).sum()))
        good: NDArray[np.bool_] = ~(bad_price | bad_size)
        return good

    def _take_quotes(self, rows: EventRows, good: NDArray[np.bool_]) -> None:
        quote = rows["kind"] == Kind.QUOTE
        bid, ask = rows[:-1], rows[1:]
        pair = quote[:-1] & quote[1:] & (bid["side"] == 1) & (ask["side"] == -1)
        for name in ("rx_ns", "seq", "listing_id"):
            pair &= bid[name] == ask[name]
        self._drop("half_quote", int(quote.sum()) - 2 * int(pair.sum()))
        pair &= good[:-1] & good[1:]
        bid, ask = bid[pair], ask[pair]
        self._keep(
            "quotes",
            **{name: bid[name] for name in ("rx_ns", "ex_ns", "seq", "listing_id")},
            bid=bid["price"],
            bid_size=_size(bid),
            ask=ask["price"],
            ask_size=_size(ask),
        )

    def _take_trades(self, rows: EventRows, good: NDArray[np.bool_]) -> None:
        trades = rows[(rows["kind"] == Kind.TRADE) & good]
        shape = np.uint16(Flag.LAST | Flag.SNAPSHOT_START)
        names = ("rx_ns", "ex_ns", "seq", "listing_id", "price", "size", "side")
        self._keep(
            "trades",
            **{name: trades[name] for name in names},
            flags=trades["flags"] & np.uint16(FLAG_BITS) & ~shape,
        )

    def _take_books(self, rows: EventRows, good: NDArray[np.bool_]) -> None:
        """Bring the small books up to date, and write one whole book for each closed update."""
        of_book = (rows["kind"] != Kind.QUOTE) & (rows["kind"] != Kind.TRADE)
        rows, good = rows[of_book], good[of_book]
        levels: list[tuple[int, int, int, int, int, float, float]] = []
        names = ("rx_ns", "seq", "listing_id", "kind", "side", "level", "flags", "price", "size")
        for values in zip(*(rows[name].tolist() for name in names), good.tolist(), strict=True):
            rx_ns, seq, listing_id, kind, side, level, flags, price, size, fine = values
            if kind in (Kind.CLEAR, Kind.STATE_CHANGE):
                if kind == Kind.CLEAR or level == ListingState.EXPIRED:
                    self._books.pop(listing_id, None)
                continue
            if flags & Flag.SNAPSHOT_START:
                self._books[listing_id] = ({}, {})
            book = self._books.get(listing_id)
            if book is None:
                self._drop("delta_without_snapshot", 1)
                continue
            if fine and not math.isnan(price):  # NaN: a side without levels
                _set_level(book[side < 0], price, size)
            if flags & Flag.LAST:
                self._drop("deep_levels", _trim(book))
                levels += _levels(book, rx_ns, seq, listing_id)
        columns = list(zip(*levels, strict=True)) or [()] * len(FILES["books"])
        self._keep(
            "books",
            **{
                column.name: np.array(values, INTEGERS.get(column.type, np.float64))
                for column, values in zip(FILES["books"], columns, strict=True)
            },
        )

    def _take_tickers(self, tickers: TickerRows) -> None:
        has_greeks = np.zeros(len(tickers), np.bool_)
        for name in GREEKS:
            has_greeks |= ~np.isnan(tickers[name])
        has_oi = ~np.isnan(tickers["open_interest"])
        self._drop("empty_ticker", int((~has_greeks & ~has_oi).sum()))
        rows = tickers[has_greeks]
        self._keep("greeks", **{name: rows[name] for name in ("rx_ns", "listing_id", *GREEKS)})
        rows = tickers[has_oi]
        self._keep(
            "open_interest",
            rx_ns=rows["rx_ns"],
            listing_id=rows["listing_id"],
            oi=rows["open_interest"],
        )

    def _keep(self, name: str, **columns: NDArray[Any]) -> None:
        count = len(columns["rx_ns"])
        if count:
            # Fields of a structured array are views of it; a copy lets the caller reuse his.
            self._buffers[name].append({key: array.copy() for key, array in columns.items()})
            self._buffered_rows += count

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] += count

    def _write_part(self, name: str, table: Any) -> None:
        part = self._folder / f"{name}-{self._parts[name]:04d}.parquet"
        temporary = self._folder / f".{part.name}.tmp"
        schema = table.schema.with_metadata({VERSION_KEY: VERSION})
        with temporary.open("wb") as file:
            pq.write_table(table.cast(schema), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(part)
        self._parts[name] += 1


def _size(side: EventRows) -> NDArray[np.float64]:
    """Sizes of one side, NaN where it has no price."""
    size: NDArray[np.float64] = np.where(np.isnan(side["price"]), np.nan, side["size"])
    return size


def _set_level(side: dict[float, float], price: float, size: float) -> None:
    if size == 0:
        side.pop(price, None)
    else:
        side[price] = size


def _trim(book: Book) -> int:
    """Forget the farthest levels of a side deeper than KEPT_LEVELS; returns how many."""
    gone = 0
    for side, farthest in ((book[0], min), (book[1], max)):
        while len(side) > KEPT_LEVELS:
            del side[farthest(side)]
            gone += 1
    return gone


def _levels(
    book: Book, rx_ns: int, seq: int, listing_id: int
) -> list[tuple[int, int, int, int, int, float, float]]:
    """Rows of books.parquet for one whole book; without bids it starts with a bid of no price."""
    bids, asks = book
    rows = [
        (rx_ns, seq, listing_id, 1, level, price, bids[price])
        for level, price in enumerate(sorted(bids, reverse=True)[:BOOK_LEVELS])
    ] or [(rx_ns, seq, listing_id, 1, 0, np.nan, 0.0)]
    rows += [
        (rx_ns, seq, listing_id, -1, level, price, asks[price])
        for level, price in enumerate(sorted(asks)[:BOOK_LEVELS])
    ]
    return rows


def _arrow(name: str, buffer: list[dict[str, NDArray[Any]]]) -> Any:
    """One Arrow table of the format's types; an ex_ns of 0 becomes null."""
    columns = {}
    for column in FILES[name]:
        empty = np.empty(0, INTEGERS.get(column.type, np.float64))
        values = np.concatenate([empty, *(part[column.name] for part in buffer)], dtype=empty.dtype)
        absent = values == 0 if column.name == "ex_ns" else None
        columns[column.name] = pa.array(values, mask=absent)
    return pa.table(columns)
