"""Stage 2 of 8: a byte scanner in front of msgspec: one call for a batch, once it is compiled."""

import threading
from collections.abc import Callable, Sequence
from ctypes import addressof, c_char
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feeds.bytescan import records, rows
from feeds.bytescan.compile import compiled
from feeds.bytescan.grammar import PADDING
from feeds.columns import CODE, KEY, TICKER_FAULT, TRADE_CODE, Batch, Floats, Ints
from feeds.events import TICKER, DecodeOut
from feeds.symbols import Symbols
from feeds.trade_keys import trade_key

_LINE_FEED: Final = bytearray(b"\n")
_PADDING: Final = b"\n" * PADDING
_WORDS_KEPT: Final = 1 << 19  # 4 MB: what a live run's call of 512 KiB of frames may fill


def _new_room(words: int) -> Ints:
    return np.empty(words, np.int64)


class Found(NamedTuple):
    """What a scan gave, in the records of records.py; names are addresses in the text."""

    text: bytearray
    first: int  # its address
    kinds: NDArray[np.int8]
    updates: Ints  # [update, UPDATE_WORDS]
    rows: Ints  # [row, ROW_WORDS]
    tickers: Ints  # [ticker, TICKER_WORDS]


class ByteScanner:
    """A venue's scan function over batches of frames, once `warm_up` has compiled it.

    Args:
        scan: the venue's, with the arguments of feeds/venues/deribit/scan.py: it writes the
            records of records.py and says what became of each frame.
        bytes_per: room for records: fewest bytes of frames that an update, a row and a ticker are
            written in. What does not fit is left to msgspec.
        prints_within_ns: prints longer before their frame are skipped as `cached_trade`.
        percent: the venue's volatilities are percentages.
        finish_tickers: does in numpy what numpy does with other bits, to the records of tickers.
    """

    def __init__(
        self,
        scan: Callable[..., Any],
        *,
        bytes_per: tuple[int, int, int] = (64, 16, 128),
        prints_within_ns: int = 2**63 - 1,
        percent: bool = False,
        finish_tickers: Callable[[Floats], None] | None = None,
    ) -> None:
        self.scan = scan
        self.prints_within_ns = prints_within_ns
        self.bytes_per = bytes_per
        self.percent = percent
        self.finish_tickers = finish_tickers
        self._kept = threading.local()
        # Set by warm_up alone: a decoder must not stop for a compiler.
        self.compiled: Callable[..., Any] | None = None

    def warm_up(self) -> None:
        """Compile the scanner, or load it; batches decoded from now on go through it."""
        if self.compiled is None:
            scan = compiled(self.scan)
            nothing = Batch("", [], [], Symbols())
            found = self.found(scan, [])
            self._add_updates(found, nothing)
            self._add_tickers(found, nothing)
            nothing.writer = write_updates
            nothing.write(DecodeOut())
            self.compiled = scan

    def take(self, batch: Batch) -> Sequence[int]:
        """Add what the scanner understands; returns the indexes of the frames that it left."""
        frames = batch.frames
        if self.compiled is None:
            return range(len(frames))
        batch.writer = write_updates
        found = self.found(self.compiled, frames, self._kept_room)
        if len(found.updates):
            self._add_updates(found, batch)
        if len(found.tickers):
            self._add_tickers(found, batch)
        if records.LEFT not in found.kinds.tobytes():
            return ()
        return np.flatnonzero(found.kinds == records.LEFT).tolist()

    def found(
        self,
        scan: Callable[..., Any],
        frames: Sequence[bytes],
        room_of: Callable[[int], Ints] = _new_room,
    ) -> Found:
        """Scan frames with `scan`, which is ours, compiled or plain, into so many words of room."""
        text = _LINE_FEED.join((*frames, _PADDING))
        kinds = np.empty(len(frames), np.int8)
        # Updates, rows and tickers, in one piece; their first words, and the word behind all.
        update_bytes, row_bytes, ticker_bytes = self.bytes_per
        rows_at = len(text) // update_bytes * records.UPDATE_WORDS
        tickers_at = rows_at + len(text) // row_bytes * records.ROW_WORDS
        words = tickers_at + len(text) // ticker_bytes * records.TICKER_WORDS
        room = room_of(words + 1)
        # Addresses: what they point at outlives the scan, which writes nowhere else.
        first, update = _address(text), _address(room)
        row, ticker = update + 8 * rows_at, update + 8 * tickers_at
        places = (first, update, row, row, ticker, ticker, update + 8 * words)
        end, updates_end, rows_end, tickers_end = scan(kinds, *np.array(places, np.uint64))
        if end - first != len(text) - len(_PADDING) - 1:
            # A frame holds a line feed, so that it is not known which frame anything belongs to.
            kinds[:] = records.LEFT
            updates_end, rows_end, tickers_end = update, row, ticker
        return Found(
            text,
            first,
            kinds,
            room[: (updates_end - update) // 8].reshape(-1, records.UPDATE_WORDS),
            room[rows_at : (rows_end - update) // 8].reshape(-1, records.ROW_WORDS),
            room[tickers_at : (tickers_end - update) // 8].reshape(-1, records.TICKER_WORDS),
        )

    def _kept_room(self, words: int) -> Ints:
        """Memory for the records of a batch, which the thread's next batch writes over.

        Kept, since memory that goes back to the system after every call costs an event loop up to
        8 ms when it is given again (measured in a virtual machine, whose pages the host gives too).
        """
        room: Ints | None = getattr(self._kept, "room", None)
        if room is None or len(room) < words:
            room = _new_room(words)
            if words <= _WORDS_KEPT:
                self._kept.room = room
        return room

    def _add_updates(self, found: Found, batch: Batch) -> None:
        symbols = Symbols.of(batch.symbols)
        updates, levels = found.updates, found.rows
        kept, rows_kept, old, unlisted, keyless = compiled(rows.listed_updates)(
            *symbols.table, updates, levels, batch.received, self.prints_within_ns
        )
        batch.skip("unknown_symbol", unlisted)
        batch.skip("cached_trade", old)
        updates, levels = updates[:kept], levels[:rows_kept]
        if keyless:
            _hash_keys(found, updates)
        batch.add_block(updates.T, levels.T)

    def _add_tickers(self, found: Found, batch: Batch) -> None:
        symbols, tickers = Symbols.of(batch.symbols), found.tickers
        count = len(tickers)
        if self.finish_tickers:
            self.finish_tickers(tickers.view(np.float64))
        written, faulty = np.empty(count, TICKER), np.empty(count, np.int64)
        good, bad, unlisted = compiled(rows.write_tickers)(
            *symbols.table, tickers, tickers.view(np.float64), batch.received, self.percent,
            written, faulty,
        )  # fmt: skip
        batch.skip("unknown_symbol", unlisted)
        batch.failures += [(index, TICKER_FAULT) for index in faulty[:bad].tolist()]
        batch.add_ticker_rows(tickers[:good, records.TICKER_FRAME], written[:good])


def _address(memory: Any) -> int:
    return addressof(c_char.from_buffer(memory))  # in a quarter of the time of `ctypes.data`


def _hash_keys(found: Found, updates: Ints) -> None:
    """Give prints whose trade id is no plain number their keys."""
    ids = records.ID_BEGIN
    for at in np.flatnonzero(
        (updates[:, CODE] == TRADE_CODE) & (updates[:, KEY] == records.NO_KEY)
    ):
        begin, end = (updates[at, ids : ids + 2] - found.first).tolist()
        updates[at, KEY] = np.uint64(trade_key(found.text[begin:end].decode())).view(np.int64)


def write_updates(updates: Ints, levels: Ints, received: Ints, out: DecodeOut) -> list[int]:
    """As `columns.write_updates`, compiled."""
    updates, levels = np.ascontiguousarray(updates.T), np.ascontiguousarray(levels.T)
    count = len(updates)
    events = out.rows.room(len(levels)).view(rows.CODED_EVENT)
    frames = out.frames.room(count)
    keys, faulty = np.empty((2, count), np.int64)
    event, frame, key, bad = compiled(rows.write_updates)(
        updates, levels, levels.view(np.float64), received, out.rows.count,
        events, frames, keys, faulty,
    )  # fmt: skip
    out.rows.count += event
    out.frames.count += frame
    out.trade_keys.extend(keys[:key].view(np.uint64).tolist())
    return list(faulty[:bad].tolist())
