"""Stage 2 of 8: table recordings (Parquet folders, format version 1) read as event rows.

A recording is anybody's history in native units: listings, quotes, books, trades, greeks and open
interest. Reading checks every value, merges all files into one order, and holds the whole
recording in memory: 48 bytes an event row (a quote is two rows, a trade or a book level one) and
about twice that while it is merged, so one folder should hold about a day.

Order: by rx_ns; at equal rx_ns rows with seq first, by seq; then rows without, in the order books,
quotes, trades, greeks, open interest; then file order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feeds.contract import Listing
from feeds.events import EVENT, TICKER, EventRows, Flag, Kind, TickerRows, in_order, joined, taken
from feeds.table_format import FILES, GREEKS, NEGOTIATED, Part, part_files, read_part
from feeds.table_listings import ListingTable, read_listings
from feeds.table_writer import TableWriter

__all__ = ["Chunk", "TableRecording", "TableWriter", "read_tables"]

CHUNK_ROWS: Final = 65_536  # 3 MB of event rows: fits a core's cache, and few calls for a day
BID: Final = 1
ASK: Final = -1
# As numpy scalars: an IntFlag would widen the 16-bit column to 64 bits.
LAST: Final = np.uint16(Flag.LAST)
SNAPSHOT_START: Final = np.uint16(Flag.SNAPSHOT_START)


class Chunk(NamedTuple):
    """A stretch of a recording. Both arrays borrow from it and are not to be written.

    rows: EVENT rows of whole updates, in the merged order.
    tickers: TICKER rows; each comes after the event rows of its rx_ns and before later ones.
    """

    rows: EventRows
    tickers: TickerRows


@dataclass(frozen=True, slots=True)
class TableRecording:
    """One recording, read and merged.

    listing_ids: uint32[listing], the file's id of each listing; `rows` and `tickers` refer to it.
    rows: EVENT rows in merged order. seq is the file's, or where the file has none the number of
        the update in this order, from 1. ex_ns is 0 where the file has none.
    tickers: TICKER rows in merged order; a NaN says "no news", not "unknown from now on".
    notes: what was read as something else, and how often: `zero_price` (0 with no size: taken as
        missing), `size_without_price` (dropped), `padding_levels` (book rows without a price).
    """

    listings: list[Listing]
    listing_ids: NDArray[np.uint32]
    rows: EventRows
    tickers: TickerRows
    notes: dict[str, int]

    def chunks(self, rows_max: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """Cut the recording into stretches of at most `rows_max` event rows and tickers each.

        An update is never cut, so one larger than `rows_max` is a chunk by itself. An empty
        recording has no chunks.

        Raises:
            ValueError: rows_max below 1.
        """
        if rows_max < 1:
            raise ValueError(f"rows_max was {rows_max}, expected at least 1")
        ends = np.flatnonzero(self.rows["flags"] & LAST) + 1
        # Event rows that come before each ticker; it stands behind all of the same rx_ns.
        before = np.searchsorted(self.rows["rx_ns"], self.tickers["rx_ns"], side="right")
        row, ticker = 0, 0
        while row < len(self.rows) or ticker < len(self.tickers):
            row_end = _cut(ends, row, rows_max)
            ticker_end = int(np.searchsorted(before, row_end, side="right"))
            if ticker_end - ticker > rows_max:
                ticker_end = ticker + rows_max
                row_end = int(before[ticker_end - 1])
            yield Chunk(self.rows[row:row_end], self.tickers[ticker:ticker_end])
            row, ticker = row_end, ticker_end


def _cut(ends: NDArray[np.int64], row: int, rows_max: int) -> int:
    """Last end of an update within `rows_max` rows of `row`, or the end of a larger one there."""
    last = int(np.searchsorted(ends, row + rows_max, side="right")) - 1
    if last >= 0 and ends[last] > row:
        return int(ends[last])
    return int(ends[last + 1]) if last + 1 < len(ends) else row


def read_tables(folder: Path) -> TableRecording:
    """Read, check and merge a table recording.

    Raises:
        TableError: the first thing that breaks the format; names file, column and row.
    """
    parts = part_files(folder)
    read = {
        name: [read_part(path, columns) for path in parts[name]] for name, columns in FILES.items()
    }
    reader = _Reader(read_listings(read["listings"]))
    blocks = [reader.book(part) for part in read["books"]]
    blocks += [reader.quotes(part) for part in read["quotes"]]
    blocks += [reader.trades(part) for part in read["trades"]]
    tickers = [reader.greeks(part) for part in read["greeks"]]
    tickers += [reader.open_interest(part) for part in read["open_interest"]]
    return TableRecording(
        reader.table.listings,
        reader.table.ids,
        _merge_events(blocks),
        _merge_tickers(tickers),
        reader.notes,
    )


class _Block(NamedTuple):
    """Event rows of one part, in file order, and where their seq is the file's."""

    rows: EventRows
    has_seq: NDArray[np.bool_]


class _Reader:
    """Turns checked parts into rows, with the listings at hand."""

    def __init__(self, table: ListingTable) -> None:
        self.table = table
        self.notes: dict[str, int] = {}

    def quotes(self, part: Part) -> _Block:
        """A bid row and an ask row for each quote; the ask row closes the update."""
        position = self._positions(part)
        rows = np.zeros((part.row_count, 2), EVENT)
        seq, has_seq = part.optional("seq")
        for side, name in ((0, "bid"), (1, "ask")):
            half = rows[:, side]
            self._stamp(half, part, Kind.QUOTE, seq)
            half["price"], half["size"] = self._prices(part, name, f"{name}_size", position)
        rows["side"][:, 0] = BID
        rows["side"][:, 1] = ASK
        rows["flags"][:, 1] = LAST
        return _Block(rows.reshape(-1), np.repeat(has_seq, 2))

    def trades(self, part: Part) -> _Block:
        """One closing row for each print."""
        position = self._positions(part)
        values = part.values
        part.refuse(np.isnan(values["price"]), "price", "the price of a trade")
        part.refuse(np.isnan(values["size"]), "size", "the size of a trade")
        part.refuse((values["price"] == 0) & (values["size"] == 0), "price", "a price, not 0")
        rows = np.zeros(part.row_count, EVENT)
        seq, has_seq = part.optional("seq")
        self._stamp(rows, part, Kind.TRADE, seq)
        loose = (values["flags"] & NEGOTIATED) != 0
        rows["price"], rows["size"] = self._prices(part, "price", "size", position, loose)
        rows["side"] = values["side"]
        rows["flags"] = values["flags"] | LAST
        return _Block(rows, has_seq)

    def book(self, part: Part) -> _Block:
        """One row for each level; a snapshot is one update.

        Levels without price and size are padding and fall away, except the first of a snapshot:
        it says that the book has no bids.
        """
        position = self._positions(part)
        start = (part.values["side"] == BID) & (part.values["level"] == 0)
        seq, has_seq = part.optional("seq")
        _check_snapshots(part, start, seq)
        price, size = self._prices(part, "price", "size", position)
        _check_levels(part, start, price)
        rows = np.zeros(part.row_count, EVENT)
        self._stamp(rows, part, Kind.BOOK_SNAPSHOT, seq)
        rows["price"], rows["size"] = price, size
        rows["side"], rows["level"] = part.values["side"], part.values["level"]
        rows["flags"] = np.where(start, SNAPSHOT_START, np.uint16(0))
        kept = start | ~np.isnan(price)
        self._note("padding_levels", len(rows) - int(kept.sum()))
        rows, start, has_seq = rows[kept], start[kept], has_seq[kept]
        rows["flags"][np.append(start[1:], True)[: len(rows)]] |= LAST
        return _Block(rows, has_seq)

    def greeks(self, part: Part) -> TickerRows:
        """One ticker row for each row; columns that are absent stay NaN."""
        rows = self._tickers(part)
        for name in GREEKS:
            if name in part.values:
                rows[name] = part.values[name]
        return rows

    def open_interest(self, part: Part) -> TickerRows:
        """One ticker row for each row, with open_interest and oi_ns alone."""
        rows = self._tickers(part)
        part.refuse(np.isnan(part.values["oi"]), "oi", "an open interest; 0 is a value")
        rows["open_interest"] = part.values["oi"]
        rows["oi_ns"] = part.values["rx_ns"]
        return rows

    def _positions(self, part: Part) -> NDArray[np.int64]:
        position = self.table.positions(part.values["listing_id"])
        part.refuse(position < 0, "listing_id", "an id that listings.parquet has")
        return position

    def _tickers(self, part: Part) -> TickerRows:
        self._positions(part)
        rows = np.zeros(part.row_count, TICKER)
        for name in ("mark", "open_interest", *GREEKS):
            rows[name] = np.nan
        rows["rx_ns"], rows["listing_id"] = part.values["rx_ns"], part.values["listing_id"]
        return rows

    def _stamp(self, rows: EventRows, part: Part, kind: Kind, seq: NDArray[Any]) -> None:
        """Fill the columns that every kind has; a nullable time or seq is 0 where it is absent."""
        rows["rx_ns"], rows["ex_ns"] = part.values["rx_ns"], part.optional("ex_ns")[0]
        rows["seq"], rows["listing_id"] = seq, part.values["listing_id"]
        rows["kind"] = kind

    def _prices(
        self,
        part: Part,
        price_name: str,
        size_name: str,
        position: NDArray[np.int64],
        loose: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Checked prices on their grid and their sizes; a missing side is price NaN, size 0.

        loose: where a price off the grid is kept as it is.
        """
        price, size = part.values[price_name], part.values[size_name]
        part.refuse(
            (price < 0) & self.table.is_option[position], price_name, "an option's price >= 0"
        )
        zero = price == 0
        part.refuse(
            zero & (size > 0), price_name, f"a price, as {size_name} is > 0; missing is NaN"
        )
        snapped, off = self.table.grid.snap(price, position)
        if loose is not None:
            snapped, off = np.where(loose & off, price, snapped), off & ~loose
        if off.any():
            row = int(off.argmax())
            tick = self.table.grid.tick(float(price[row]), int(position[row]))
            raise part.fault(price_name, row, price[row], f"a multiple of the tick {tick:g}")
        missing = zero | np.isnan(price)
        self._note("zero_price", int(zero.sum()))
        self._note("size_without_price", int((np.isnan(price) & (size > 0)).sum()))
        return np.where(missing, np.nan, snapped), np.where(missing, 0.0, size)

    def _note(self, what: str, count: int) -> None:
        if count:
            self.notes[what] = self.notes.get(what, 0) + count


def _check_snapshots(part: Part, start: NDArray[np.bool_], seq: NDArray[Any]) -> None:
    """Refuse a row that is not of the snapshot begun last; its rows share rx_ns, seq, listing."""
    values = part.values
    part.refuse(values["side"] == 0, "side", "+1 (bid) or -1 (ask)")
    if not part.row_count:
        return
    if not start[0]:
        raise part.fault(
            "level", 0, values["level"][0], "side +1, level 0: a snapshot starts there"
        )
    follows = ~start[1:]
    for name, column in (("listing_id", values["listing_id"]), ("rx_ns", values["rx_ns"])):
        torn = np.append(False, follows & (column[1:] != column[:-1]))
        part.refuse(torn, name, "that of the row before, or a new snapshot at side +1, level 0")
    torn = np.append(False, follows & (seq[1:] != seq[:-1]))
    if torn.any():
        row = int(torn.argmax())
        raise part.fault("seq", row, seq[row], "that of the row before, of the same snapshot")


def _check_levels(part: Part, start: NDArray[np.bool_], price: NDArray[np.float64]) -> None:
    """Refuse levels that are not 0, 1, 2, ... or not sorted from the best price outwards."""
    snapshot = np.cumsum(start)
    for side in (BID, ASK):
        rows = np.flatnonzero(part.values["side"] == side)
        level = part.values["level"][rows].astype(np.int64)
        first = np.append(True, snapshot[rows][1:] != snapshot[rows][:-1])[: len(rows)]
        wanted = np.where(first, 0, np.append(0, level[:-1] + 1)[: len(rows)])
        if (level != wanted).any():
            at = int((level != wanted).argmax())
            expectation = f"{wanted[at]}, the next level of side {side:+d}"
            raise part.fault("level", int(rows[at]), level[at], expectation)
        outward = price[rows] * -side
        # A NaN behind a price is padding; a price behind a NaN is out of place.
        step = np.append(np.nan, outward[:-1])[: len(rows)]
        bad = ~first & ~np.isnan(outward) & ~(outward > step)
        if bad.any():
            at = int(bad.argmax())
            expectation = f"a price beyond {abs(step[at]):g} of the level before, side {side:+d}"
            raise part.fault("price", int(rows[at]), abs(outward[at]), expectation)


def _merge_events(blocks: list[_Block]) -> EventRows:
    """One array in merged order; updates without a seq are numbered by their place in it."""
    rows = joined([block.rows for block in blocks], EVENT)
    has_seq = np.concatenate([np.empty(0, np.bool_), *(block.has_seq for block in blocks)])
    rx_ns, seq = np.ascontiguousarray(rows["rx_ns"]), np.ascontiguousarray(rows["seq"])
    # The sort is stable, so blocks and file order settle what is equal in all three keys.
    order = np.lexsort((seq, rx_ns) if has_seq.all() else (seq, ~has_seq, rx_ns))
    rows, has_seq = taken(rows, order), has_seq[order]
    if not has_seq.all():
        begins = np.append(True, (rows["flags"][:-1] & LAST) != 0)[: len(rows)]
        rows["seq"] = np.where(has_seq, rows["seq"], np.cumsum(begins, dtype=np.uint64))
    return rows


def _merge_tickers(blocks: list[TickerRows]) -> TickerRows:
    """One array in merged order, numbered from 1."""
    rows = in_order(blocks, TICKER)
    rows["seq"] = np.arange(1, len(rows) + 1, dtype=np.uint64)
    return rows
