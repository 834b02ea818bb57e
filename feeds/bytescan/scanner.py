"""Stage 2 of 8: a byte scanner in front of msgspec: one call for a batch, once it is compiled."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feeds.bytescan import records
from feeds.bytescan.compile import compiled
from feeds.bytescan.grammar import PADDING
from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    CODE,
    EX_NS,
    KEY,
    LISTING,
    NS_PER_MS,
    TICKER_FIELDS,
    TRADE_CODE,
    UPDATE_WIDTH,
    Batch,
    Ints,
    ints,
)
from feeds.trade_keys import trade_key

# Below this many frames the call costs more than it saves.
FRAMES_MIN: Final = 16
# Room for a batch, and more of it for each frame: what does not fit is left to msgspec. More would
# be asked of the system and given back at every call.
UPDATES_MIN: Final = 64
ROWS_MIN: Final = 256

_PADDING: Final = b"\n" * PADDING


class ByteScanner:
    """A venue's scan function over batches of frames, once `warm_up` has compiled it.

    Args:
        scan: the venue's, with the arguments of feeds/venues/deribit/scan.py: it writes the
            records of records.py and says what became of each frame.
        updates_per_frame, rows_per_frame, tickers_per_frame: room for records, beside UPDATES_MIN
            and ROWS_MIN of a whole batch.
        percent: the venue's volatilities are percentages.
    """

    def __init__(
        self,
        scan: Callable[..., Any],
        *,
        updates_per_frame: int = 2,
        rows_per_frame: int = 8,
        tickers_per_frame: int = 1,
        percent: bool = False,
    ) -> None:
        self.scan = scan
        self.rooms = (updates_per_frame, rows_per_frame, tickers_per_frame)
        self.percent = percent
        # Set by warm_up alone: a decoder must not stop for a compiler.
        self.compiled: Callable[..., Any] | None = None

    def warm_up(self) -> None:
        """Compile the scanner, or load it; batches decoded from now on go through it."""
        if self.compiled is None:
            scan = compiled(self.scan)
            self.found(scan, [])
            self.compiled = scan

    def take(self, batch: Batch) -> Sequence[int]:
        """Add what the scanner understands; returns the indexes of the frames that it left."""
        frames = batch.frames
        if self.compiled is None or len(frames) < FRAMES_MIN:
            return range(len(frames))
        found = self.found(self.compiled, frames)
        if len(found.updates):
            _add_updates(found, batch)
        if len(found.tickers):
            _add_tickers(found, batch, percent=self.percent)
        return np.flatnonzero(found.kinds == records.LEFT).tolist()

    def found(self, scan: Callable[..., Any], frames: Sequence[bytes]) -> "Found":
        """Scan frames with `scan`, which is ours, compiled or plain."""
        count = len(frames)
        text = b"\n".join([*frames, _PADDING])
        kinds = np.empty(count, np.int8)
        updates_per_frame, rows_per_frame, tickers_per_frame = self.rooms
        rooms = (
            np.empty((UPDATES_MIN + updates_per_frame * count, records.UPDATE_WORDS), np.int64),
            np.empty((ROWS_MIN + rows_per_frame * count, records.ROW_WORDS), np.int64),
            np.empty((tickers_per_frame * count + 1, records.TICKER_WORDS), np.int64),
        )
        # Addresses: what they point at outlives the scan, which writes nowhere else.
        first = np.frombuffer(text, np.uint8).ctypes.data
        begins = [room.ctypes.data for room in rooms]
        ends = [begin + room.nbytes for begin, room in zip(begins, rooms, strict=True)]
        places = (first, begins[0], ends[0], begins[1], ends[1], begins[2], ends[2])
        end, *reached = scan(kinds, *map(np.uint64, places))
        if end - first != len(text) - len(_PADDING) - 1:
            # A frame holds a line feed, so that it is not known which frame anything belongs to.
            kinds[:] = records.LEFT
            reached = begins
        updates, rows, tickers = (
            room[: (place - begin) // room.strides[0]]
            for room, place, begin in zip(rooms, reached, begins, strict=True)
        )
        updates[:, records.NAME_BEGIN : records.NAME_BEGIN + 4] -= first
        tickers[:, records.TICKER_NAME_BEGIN : records.TICKER_NAME_BEGIN + 2] -= first
        return Found(text.decode("latin-1"), kinds, updates, rows, tickers)


class Found(NamedTuple):
    """What a scan gave, in the records of records.py; names are places in the text."""

    text: str  # one character a byte
    kinds: NDArray[np.int8]
    updates: Ints  # [update, UPDATE_WORDS]
    rows: Ints  # [row, ROW_WORDS]
    tickers: Ints  # [ticker, TICKER_WORDS]


def _add_updates(found: Found, batch: Batch) -> None:
    text, rows = found.text, found.rows
    updates = np.ascontiguousarray(found.updates.T)
    for at in np.flatnonzero((updates[CODE] == TRADE_CODE) & (updates[KEY] == records.NO_KEY)):
        begin, end = updates[records.ID_BEGIN : records.ID_BEGIN + 2, at]
        updates[KEY, at] = np.uint64(trade_key(text[begin:end])).view(np.int64)
    listings = _listings(text, updates[records.NAME_BEGIN : records.NAME_BEGIN + 2], batch)
    updates[LISTING] = listings
    updates[EX_NS] *= NS_PER_MS  # the scanner writes what the wire says
    updates = updates[:UPDATE_WIDTH]
    known = listings >= 0
    if not known.all():
        rows = rows[np.repeat(known, updates[BID_ROWS] + updates[ASK_ROWS])]
        updates = updates[:, known]
    prices, sizes = rows.view(np.float64).T[:2]
    batch.add_updates(updates, prices, sizes, rows[:, 2])


def _add_tickers(found: Found, batch: Batch, *, percent: bool) -> None:
    tickers = found.tickers
    names = tickers.T[records.TICKER_NAME_BEGIN : records.TICKER_NAME_BEGIN + 2]
    listings = _listings(found.text, names, batch)
    known = listings >= 0
    if not known.all():
        tickers, listings = tickers[known], listings[known]
    values = tickers.view(np.float64)[:, records.TICKER_VALUES :][:, : len(TICKER_FIELDS)]
    frames, ex_ms = tickers.T[:2]
    ex_ns = ex_ms * NS_PER_MS
    batch.add_tickers(frames, listings, ex_ns, np.ascontiguousarray(values.T), percent=percent)


def _listings(text: str, places: Ints, batch: Batch) -> Ints:
    """Listing ids of the names at places [begin and end, name]; -1 and skipped where unlisted."""
    id_of = batch.symbols.get
    begins, ends = places.tolist()
    listings = ints([id_of(text[b:e], -1) for b, e in zip(begins, ends, strict=True)])
    for _ in range(int((listings < 0).sum())):
        batch.skip("unknown_symbol")
    return listings
