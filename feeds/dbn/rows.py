"""Stage 2 of 8: runs of DBN records as event rows and tickers, a column at a time.

A record with a quote is one update, a bid row and an ask row, as in feeds/tables.py. A print that
comes with a quote follows it: the quote is the one immediately before the print. rx_ns is ts_recv.
"""

import itertools
from collections import Counter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feeds.contract import INT64_MAX
from feeds.dbn.definitions import DAY_NS, Instruments
from feeds.dbn.layout import (
    INTERVALS,
    MAYBE_BAD_BOOK,
    PER_PUBLISHER,
    QUOTES,
    TS_OUT_BYTES,
    UNDEF_PRICE,
    UNDEF_SIZE,
    RType,
    layout_of,
)
from feeds.dbn.metadata import Metadata
from feeds.dbn.stream import Run
from feeds.events import EVENT, TICKER, EventRows, Flag, Kind, TickerRows
from feeds.tables import Chunk

BID: Final = 1
ASK: Final = -1
LAST: Final = np.uint16(Flag.LAST)  # An IntFlag would widen the 16-bit column.
SCALE: Final = 1e9
TRADE_ACTION: Final = ord("T")
OPEN_INTEREST: Final = 9
DELETED: Final = 2  # update_action of a statistic that is taken back
# A print's side is its aggressor's: A sold, B bought, anything else is unknown.
AGGRESSOR: Final = np.zeros(256, np.int8)
AGGRESSOR[[ord("A"), ord("B")]] = ASK, BID
NO_ROWS: Final = Chunk(np.empty(0, EVENT), np.empty(0, TICKER))

Index = slice | NDArray[np.intp]


class _Known(NamedTuple):
    """Records that have a listing, a time and are not late.

    records: [row]; rx_ns: int64[row], never decreasing; listing_id: int64[row];
    option: bool[row].
    """

    records: NDArray[Any]
    rx_ns: NDArray[np.int64]
    listing_id: NDArray[np.int64]
    option: NDArray[np.bool_]


class Decoder:
    """Rows of one file, in its order.

    Attributes:
        counts: what was left out or read as something else; shared by the files of a folder.
        last_ns: rx_ns that the file has come to; what follows is not before it.
    """

    def __init__(self, metadata: Metadata, instruments: Instruments, counts: Counter[str]) -> None:
        self.counts = counts
        self.last_ns = 0
        self._version = metadata.version
        self._instruments = instruments
        # A day of grace: the last interval of a range is stamped with its end.
        self._from_ns = max(1, metadata.start_ns - DAY_NS)
        self._until_ns = min(INT64_MAX - DAY_NS, metadata.end_ns) + DAY_NS

    def decode(self, run: Run) -> Chunk:
        """Rows of a run. Any bytes give rows or counts, never an exception."""
        layout = layout_of(run.rtype, self._version)
        count, width = run.raw.shape
        self.counts["records"] += count
        if layout is None:
            self.counts[f"skipped_rtype_{run.rtype}"] += count
            return NO_ROWS
        if run.rtype == RType.DEFINITION:
            return NO_ROWS  # Read beforehand, by the source.
        if width not in (layout.itemsize, layout.itemsize + TS_OUT_BYTES):
            self.counts["malformed"] += count
            return NO_ROWS
        known = self._known(run.records(layout), run.rtype)
        if run.rtype == RType.STATISTICS:
            return Chunk(NO_ROWS.rows, self._open_interest(known))
        return Chunk(self._events(known, run.rtype), NO_ROWS.tickers)

    def _known(self, records: NDArray[Any], rtype: int) -> _Known:
        """Records that can be placed; the others are counted by reason."""
        stamp = records["ts_recv"]
        timely = (stamp >= np.uint64(self._from_ns)) & (stamp <= np.uint64(self._until_ns))
        records = self._keep(records, timely, "time_outside_file")
        if not len(records):
            none = np.empty(0, np.int64)
            return _Known(records, none, none, np.empty(0, np.bool_))
        stamp = records["ts_recv"].astype(np.int64)
        rx_ns = np.maximum.accumulate(np.maximum(stamp, self.last_ns))
        self.last_ns = int(rx_ns[-1])
        self._note("time_set_forward", int((stamp != rx_ns).sum()))
        position = self._positions(records["instrument_id"], rx_ns)
        publishers = records["publisher_id"] if rtype in PER_PUBLISHER else None
        defined = position >= 0
        alive = (
            defined & (rx_ns < self._instruments.expiry_ns(position)) if defined.any() else defined
        )
        self._note("without_definition", int((~defined).sum()))
        self._note("after_expiry", int((defined & ~alive).sum()))
        if not alive.all():
            records, rx_ns, position = records[alive], rx_ns[alive], position[alive]
            publishers = None if publishers is None else publishers[alive]
        ids = self._instruments.listing_ids(position, publishers)
        of_dataset = ids >= 0
        if not of_dataset.all():
            records, rx_ns = self._keep(records, of_dataset, "unknown_publisher"), rx_ns[of_dataset]
            ids, position = ids[of_dataset], position[of_dataset]
        return _Known(records, rx_ns, ids, self._instruments.is_option(position))

    def _positions(self, ids: NDArray[np.uint32], rx_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Position of each record's instrument on its UTC day."""
        first, last = int(rx_ns[0]) // DAY_NS, int(rx_ns[-1]) // DAY_NS
        if first == last:
            return self._instruments.positions(ids, first)
        day = rx_ns // DAY_NS
        cuts = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), len(ids)]
        pieces = [
            self._instruments.positions(ids[a:b], int(day[a])) for a, b in itertools.pairwise(cuts)
        ]
        return np.concatenate(pieces)

    def _events(self, known: _Known, rtype: int) -> EventRows:
        """Quotes, prints, and a gap in the place of a quote that the capture cannot vouch for."""
        records = known.records
        quoted = rtype in QUOTES
        printed = np.zeros(len(records), np.bool_)
        if rtype not in INTERVALS:
            printed = records["action"] == TRADE_ACTION
            sound = (records["price"] != UNDEF_PRICE) & (records["size"] != UNDEF_SIZE)
            sound &= (records["size"] > 0) & ((records["price"] > 0) | ~known.option)
            self._note("bad_print", int((printed & ~sound).sum()))
            if not quoted:
                self._note("other_action", int((~printed).sum()))
            printed &= sound
        doubtful = (records["flags"] & MAYBE_BAD_BOOK) != 0 if quoted else np.ones_like(printed)
        self._note("maybe_bad_book", int(doubtful.sum()) if quoted else 0)
        width = (2 - doubtful.astype(np.intp) if quoted else 0) + printed
        begin = np.cumsum(width) - width
        out = np.zeros(int(width.sum()), EVENT)
        if quoted:
            self._gaps(out, begin, known, np.flatnonzero(doubtful))
            self._quotes(out, begin, known, None if not doubtful.any() else ~doubtful, rtype)
        rows = np.flatnonzero(printed)
        if len(rows):
            at = begin[rows] + width[rows] - 1
            _stamp(out, at, known, rows, Kind.TRADE)
            out["ex_ns"][at] = _time(records["ts_event"][rows])
            out["price"][at] = records["price"][rows] / SCALE
            out["size"][at] = records["size"][rows]
            out["side"][at] = AGGRESSOR[records["side"][rows]]
            out["flags"][at] = LAST
        return out

    def _gaps(
        self, out: EventRows, begin: NDArray[np.intp], known: _Known, rows: NDArray[np.intp]
    ) -> None:
        if len(rows):
            _stamp(out, begin[rows], known, rows, Kind.CLEAR)
            out["price"][begin[rows]] = np.nan
            out["flags"][begin[rows]] = LAST

    def _quotes(
        self, out: EventRows, begin: NDArray[np.intp], known: _Known,
        which: NDArray[np.bool_] | None, rtype: int,
    ) -> None:  # fmt: skip
        """Write bid and ask rows; `which` records have them, None for all."""
        rows: Index = slice(None) if which is None else np.flatnonzero(which)
        records = known.records
        plain = len(out) == 2 * len(records) and which is None
        bid: Index = slice(0, None, 2) if plain else begin[rows]
        ask: Index = slice(1, None, 2) if plain else begin[rows] + 1
        # The time of a record is its print's, and that of an interval the last print's, however
        # old: only a record that is nothing but a quote says when the quote changed.
        ex_ns = np.zeros(len(records), np.int64)
        if rtype not in INTERVALS:
            ex_ns = np.where(records["action"] == TRADE_ACTION, 0, _time(records["ts_event"]))
        for at, price, size, side in (
            (bid, "bid_px", "bid_sz", BID), (ask, "ask_px", "ask_sz", ASK),
        ):  # fmt: skip
            _stamp(out, at, known, rows, Kind.QUOTE)
            out["ex_ns"][at] = ex_ns[rows]
            out["side"][at] = side
            out["price"][at], out["size"][at] = self._side(
                records[price][rows], records[size][rows], known.option[rows]
            )
        out["flags"][ask] = LAST

    def _side(
        self, price_e9: NDArray[np.int64], size: NDArray[np.uint32], option: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Price and size of a side; NaN and 0 where it is missing, NaN for an undefined size."""
        missing = price_e9 == UNDEF_PRICE
        worthless = option & (price_e9 <= 0)
        self._note("zero_or_negative_price", int(worthless.sum()))
        missing |= worthless
        # Exact below 2**53 e-9, and from there the nearest float or its neighbour.
        price = np.where(missing, np.nan, price_e9 / SCALE)
        sized = size.astype(np.float32)
        sized[size == UNDEF_SIZE] = np.nan
        sized[missing] = 0
        return price, sized

    def _open_interest(self, known: _Known) -> TickerRows:
        """One ticker row for each open interest; other statistics are counted."""
        records = known.records
        is_oi = records["stat_type"] == OPEN_INTEREST
        self._note("other_statistics", int((~is_oi).sum()))
        undefined = np.iinfo(records["quantity"].dtype).max
        told = (records["quantity"] != undefined) & (records["quantity"] >= 0)
        told &= records["update_action"] != DELETED
        self._note("bad_open_interest", int((is_oi & ~told).sum()))
        rows = np.flatnonzero(is_oi & told)
        out = np.zeros(len(rows), TICKER)
        for name in TICKER.names or ():
            if TICKER[name].kind == "f":
                out[name] = np.nan
        out["rx_ns"], out["listing_id"] = known.rx_ns[rows], known.listing_id[rows]
        out["ex_ns"] = _time(records["ts_event"][rows])
        out["open_interest"] = records["quantity"][rows]
        reference_ns = _time(records["ts_ref"][rows])
        # A daily statistic may not say of when it is; the time it was told is the latest it can be.
        out["oi_ns"] = np.where(reference_ns > 0, reference_ns, out["rx_ns"])
        return out

    def _keep(self, records: NDArray[Any], mask: NDArray[np.bool_], reason: str) -> NDArray[Any]:
        if mask.all():
            return records
        self._note(reason, int((~mask).sum()))
        return records[mask]

    def _note(self, what: str, count: int) -> None:
        if count:
            self.counts[what] += count


def _stamp(out: EventRows, at: Index, known: _Known, rows: Index, kind: Kind) -> None:
    out["rx_ns"][at] = known.rx_ns[rows]
    out["listing_id"][at] = known.listing_id[rows]
    out["kind"][at] = kind


def _time(stamp: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Times as int64, 0 where they are undefined."""
    return np.where(stamp > np.uint64(INT64_MAX), 0, stamp.astype(np.int64))
