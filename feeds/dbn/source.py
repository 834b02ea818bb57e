"""Stages 1 and 2 of 8: DBN files of one folder, or one file, as one stream of rows in time order.

Definitions are read first and kept; of the data each file has a block in memory. Files are merged
by rx_ns; at one rx_ns prints come behind quotes and statistics behind both, then the files' names
decide. Where blocks are cut does not change a row.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from feeds.contract import Listing
from feeds.dbn.definitions import OPRA, Allocate, Instruments
from feeds.dbn.layout import PRINTS, PUBLISHERS, RType, Schema, layout_of
from feeds.dbn.metadata import read_mappings
from feeds.dbn.rows import NO_ROWS, Decoder
from feeds.dbn.stream import BLOCK_BYTES, DbnFile
from feeds.errors import DbnError
from feeds.events import EVENT, TICKER, EventRows, Flag, in_order, joined
from feeds.replay import dbn_paths
from feeds.tables import Chunk

FAULTS_KEPT: Final = 16
_RANK: Final = {Schema.TRADES: 1, Schema.STATISTICS: 2}


class DbnSource:
    """What one or more files hold.

    Attributes:
        counts: records, and those that gave no rows or other rows, by reason.
        faults: the first files that end in damage, and where; `counts` has all of them.
    """

    def __init__(self, path: Path, block_bytes: int = BLOCK_BYTES) -> None:
        """Open the files and read every definition.

        Args:
            path: a .dbn or .dbn.zst file, or a folder of them.
            block_bytes: what is read of a file at once.

        Raises:
            DbnError: a file that is none, a dataset that is not read, or data that nothing defines.
        """
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        paths = dbn_paths(path) if path.is_dir() else [path]
        self._files = [DbnFile(one, block_bytes) for one in paths]
        self._instruments: dict[str, Instruments] = {}
        for file in self._files:
            dataset = file.metadata.dataset
            if dataset not in PUBLISHERS:
                known = " or ".join(PUBLISHERS)
                raise DbnError(f"{file.path}: dataset was {dataset!r}, expected {known}")
            self._instruments.setdefault(dataset, Instruments(dataset))
        self._define()
        self._data = sorted(
            (f for f in self._files if f.metadata.schema != Schema.DEFINITION),
            key=lambda f: (_RANK.get(f.metadata.schema, 0), f.path.name),  # type: ignore[call-overload]
        )
        self._check_data()

    @property
    def listings(self) -> list[Listing]:
        """Everything defined, at the venue that stands for its dataset."""
        return [one for each in self._instruments.values() for one in each.listings]

    def chunks(self, allocate: Allocate) -> Iterator[Chunk]:
        """All rows in order, under the listing ids that `allocate` gives, `seq` counting updates.

        Listings of single venues are allocated when their first quote comes. Damage ends a file,
        not the stream: all whole records before it are given, and `counts` and `faults` say so.
        """
        for instruments in self._instruments.values():
            instruments.list_all(allocate)
        strands = [_Strand(file, self._decoder(file)) for file in self._data]
        updates, tickers = 0, 0
        for chunk in _merged(strands):
            updates = number(chunk.rows, updates)
            chunk.tickers["seq"] = np.arange(tickers + 1, tickers + 1 + len(chunk.tickers))
            tickers += len(chunk.tickers)
            yield chunk
        for file in self._data:
            self._note_fault(file)

    def _decoder(self, file: DbnFile) -> Decoder:
        return Decoder(file.metadata, self._instruments[file.metadata.dataset], self.counts)

    def _define(self) -> None:
        """Read definitions wherever they may stand, then the mappings of every head."""
        for file in self._files:
            if file.metadata.schema in (Schema.DEFINITION, Schema.MIXED):
                self._read_definitions(file)
        for file in self._files:
            mappings = read_mappings(str(file.path), file.metadata)
            self._instruments[file.metadata.dataset].map(mappings)
        for instruments in self._instruments.values():
            for reason, count in instruments.left_out.items():
                self.counts[f"left_out_{reason}"] += count

    def _read_definitions(self, file: DbnFile) -> None:
        """Take the definitions of a file; what else a mixed one holds is read later, as data."""
        instruments = self._instruments[file.metadata.dataset]
        layout = layout_of(RType.DEFINITION, file.metadata.version)
        assert layout is not None
        alone = file.metadata.schema == Schema.DEFINITION
        for run in file.runs():
            count, width = run.raw.shape
            if run.rtype != RType.DEFINITION:
                if alone:
                    self.counts[f"skipped_rtype_{run.rtype}"] += count
            elif width < layout.itemsize:
                self.counts["malformed"] += count
            else:
                self.counts["definitions"] += count
                instruments.define(run.records(layout))
        if alone:
            self._note_fault(file)

    def _check_data(self) -> None:
        """Refuse data that nothing explains, and prints that would be counted twice."""
        prints: dict[str, DbnFile] = {}
        for file in self._data:
            if not self._instruments[file.metadata.dataset].listings:
                raise DbnError(
                    f"{file.path}: nothing defines its instruments, expected a definition file of "
                    f"{file.metadata.dataset} in the same folder"
                    + (", or OCC symbols in its head" if file.metadata.dataset == OPRA else "")
                )
            if file.metadata.schema in PRINTS:
                other = prints.setdefault(file.metadata.dataset, file)
                if other.metadata.schema != file.metadata.schema:
                    raise DbnError(
                        f"{file.path}: holds the prints of {other.path} in another schema, "
                        "expected one of them in a folder"
                    )

    def _note_fault(self, file: DbnFile) -> None:
        if file.fault is None:
            return
        self.counts["damaged_files"] += 1
        self.counts["lost_bytes"] += file.lost_bytes
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(file.fault)


class _Strand:
    """One file in the merge: rows that wait, and how far in time the file has been read.

    Attributes:
        read_ns: every row that is yet to come is at or after this; None when there is none.
    """

    def __init__(self, file: DbnFile, decoder: Decoder) -> None:
        self.held = NO_ROWS
        self.read_ns: int | None = 0
        self._chunks = map(decoder.decode, file.runs())
        self._decoder = decoder

    def load(self) -> None:
        """Read one more run."""
        chunk = next(self._chunks, None)
        if chunk is None:
            self.read_ns = None
            return
        self.read_ns = self._decoder.last_ns
        self.held = Chunk(
            joined([self.held.rows, chunk.rows], EVENT),
            joined([self.held.tickers, chunk.tickers], TICKER),
        )

    def take(self, before_ns: int | None) -> Chunk:
        """Take what is before a time away; None for everything."""
        if before_ns is None:
            taken, self.held = self.held, NO_ROWS
            return taken
        row, ticker = (int(np.searchsorted(a["rx_ns"], before_ns)) for a in self.held)
        taken = Chunk(self.held.rows[:row], self.held.tickers[:ticker])
        self.held = Chunk(self.held.rows[row:], self.held.tickers[ticker:])
        return taken


def _merged(strands: list[_Strand]) -> Iterator[Chunk]:
    """Chunks in time order: what lies before the place that every file has been read to."""
    while strands:
        ends = [s.read_ns for s in strands if s.read_ns is not None]
        horizon_ns = min(ends, default=None)
        taken = [strand.take(horizon_ns) for strand in strands]
        rows, tickers = map(in_order, zip(*taken, strict=True), (EVENT, TICKER))
        if len(rows) or len(tickers):
            yield Chunk(rows, tickers)
        if horizon_ns is None:
            return
        for strand in strands:
            if strand.read_ns == horizon_ns:
                strand.load()


def number(rows: EventRows, before: int) -> int:
    """Number the updates of rows from `before` + 1 on; returns the last number."""
    if not len(rows):
        return before
    last = (rows["flags"] & np.uint16(Flag.LAST)) != 0
    ends = np.cumsum(last)
    rows["seq"] = before + 1 + ends - last
    return before + int(ends[-1])
