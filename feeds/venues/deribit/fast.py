"""Stage 2 of 8: the byte scanner in front of msgspec: one call for a batch, once it is compiled."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from feeds.venues.deribit import scan

# Below this many frames the call costs more than it saves.
FRAMES_MIN: Final = 16
# Room for a batch: what does not fit is left to msgspec. More would be asked of the system and
# given back at every call.
UPDATES_MIN, UPDATES_PER_FRAME = 64, 2
ROWS_MIN, ROWS_PER_FRAME = 256, 8

_PADDING: Final = b"\n" * PADDING

# The compiled scanner, once warm_up has run: a decoder must not stop for a compiler.
_scanners: Final[list[Callable[..., Any]]] = []


def warm_up() -> None:
    """Compile the scanner, or load it; batches decoded from now on go through it."""
    if not _scanners:
        scanner = compiled(scan.scan)
        _scan(scanner, [])
        _scanners.append(scanner)


def take(batch: Batch) -> Sequence[int]:
    """Add what the scanner understands; returns the indexes of the frames that it left."""
    frames = batch.frames
    if not _scanners or len(frames) < FRAMES_MIN:
        return range(len(frames))
    found = _scan(_scanners[0], frames)
    if len(found.updates):
        _add_updates(found, batch)
    if len(found.tickers):
        _add_tickers(found, batch)
    return np.flatnonzero(found.kinds == scan.LEFT).tolist()


class _Found(NamedTuple):
    """What a scan gave, in the records of scan.py; names are places in the text."""

    text: str  # one character a byte
    kinds: NDArray[np.int8]
    updates: Ints  # [update, UPDATE_WORDS]
    rows: Ints  # [row, ROW_WORDS]
    tickers: Ints  # [ticker, TICKER_WORDS]


def _scan(scanner: Callable[..., Any], frames: Sequence[bytes]) -> _Found:
    count = len(frames)
    text = b"\n".join([*frames, _PADDING])
    kinds = np.empty(count, np.int8)
    rooms = (
        np.empty((UPDATES_MIN + UPDATES_PER_FRAME * count, scan.UPDATE_WORDS), np.int64),
        np.empty((ROWS_MIN + ROWS_PER_FRAME * count, scan.ROW_WORDS), np.int64),
        np.empty((count + 1, scan.TICKER_WORDS), np.int64),
    )
    # Addresses: what they point at outlives the scan, which writes nowhere else.
    first = np.frombuffer(text, np.uint8).ctypes.data
    begins = [room.ctypes.data for room in rooms]
    ends = [begin + room.nbytes for begin, room in zip(begins, rooms, strict=True)]
    places = (first, begins[0], ends[0], begins[1], ends[1], begins[2])
    end, *reached = scanner(kinds, *map(np.uint64, places))
    if end - first != len(text) - len(_PADDING) - 1:
        # A frame holds a line feed, so that it is not known which frame anything belongs to.
        kinds[:] = scan.LEFT
        reached = begins
    updates, rows, tickers = (
        room[: (place - begin) // room.strides[0]]
        for room, place, begin in zip(rooms, reached, begins, strict=True)
    )
    updates[:, scan.NAME_BEGIN : scan.NAME_BEGIN + 4] -= first
    tickers[:, scan.TICKER_NAME_BEGIN : scan.TICKER_NAME_BEGIN + 2] -= first
    return _Found(text.decode("latin-1"), kinds, updates, rows, tickers)


def _add_updates(found: _Found, batch: Batch) -> None:
    text, rows = found.text, found.rows
    updates = np.ascontiguousarray(found.updates.T)
    for at in np.flatnonzero((updates[CODE] == TRADE_CODE) & (updates[KEY] == scan.NO_KEY)):
        begin, end = updates[scan.ID_BEGIN : scan.ID_BEGIN + 2, at]
        updates[KEY, at] = np.uint64(trade_key(text[begin:end])).view(np.int64)
    listings = _listings(text, updates[scan.NAME_BEGIN : scan.NAME_BEGIN + 2], batch)
    updates[LISTING] = listings
    updates[EX_NS] *= NS_PER_MS  # the scanner writes what the wire says
    updates = updates[:UPDATE_WIDTH]
    known = listings >= 0
    if not known.all():
        rows = rows[np.repeat(known, updates[BID_ROWS] + updates[ASK_ROWS])]
        updates = updates[:, known]
    prices, sizes = rows.view(np.float64).T[:2]
    batch.add_updates(updates, prices, sizes, rows[:, 2])


def _add_tickers(found: _Found, batch: Batch) -> None:
    tickers = found.tickers
    names = tickers.T[scan.TICKER_NAME_BEGIN : scan.TICKER_NAME_BEGIN + 2]
    listings = _listings(found.text, names, batch)
    known = listings >= 0
    if not known.all():
        tickers, listings = tickers[known], listings[known]
    values = tickers.view(np.float64)[:, scan.TICKER_VALUES :][:, : len(TICKER_FIELDS)]
    frames, ex_ms = tickers.T[:2]
    ex_ns = ex_ms * NS_PER_MS
    batch.add_tickers(frames, listings, ex_ns, np.ascontiguousarray(values.T), percent=True)


def _listings(text: str, places: Ints, batch: Batch) -> Ints:
    """Listing ids of the names at places [begin and end, name]; -1 and skipped where unlisted."""
    id_of = batch.symbols.get
    begins, ends = places.tolist()
    listings = ints([id_of(text[b:e], -1) for b, e in zip(begins, ends, strict=True)])
    for _ in range(int((listings < 0).sum())):
        batch.skip("unknown_symbol")
    return listings
