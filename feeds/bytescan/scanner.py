"""Stage 2 of 8: a byte scanner in front of msgspec: one call for a batch, once it is compiled."""

from collections.abc import Callable, Sequence
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

_PADDING: Final = b"\n" * PADDING
_WIDTHS: Final = (records.UPDATE_WORDS, records.ROW_WORDS, records.TICKER_WORDS)


class Found(NamedTuple):
    """What a scan gave, in the records of records.py; names are addresses in the text."""

    text: bytes
    first: int  # its address
    kinds: NDArray[np.int8]
    updates: Ints  # [update, UPDATE_WORDS]
    rows: Ints  # [row, ROW_WORDS]
    tickers: Ints  # [ticker, TICKER_WORDS]

    def name(self, record: Ints, begin: int) -> str:
        """Text whose place stands in two words of a record."""
        at, end = (record[begin : begin + 2] - self.first).tolist()
        return self.text[at:end].decode()


def _key_of_id(_name: str, trade_id: str) -> int:
    return trade_key(trade_id)


class ByteScanner:
    """A venue's scan function over batches of frames, once `warm_up` has compiled it.

    Args:
        scan: the venue's, with the arguments of feeds/venues/deribit/scan.py: it writes the
            records of records.py and says what became of each frame.
        bytes_per: room for records: fewest bytes of frames that an update, a row and a ticker are
            written in. What does not fit is left to msgspec.
        percent: the venue's volatilities are percentages.
        key_of: key of a print from its instrument and the text of its id.
        finish_tickers: does with the records of tickers what the scan function could not.
    """

    def __init__(
        self,
        scan: Callable[..., Any],
        *,
        bytes_per: tuple[int, int, int] = (64, 16, 128),
        percent: bool = False,
        key_of: Callable[[str, str], int] = _key_of_id,
        finish_tickers: Callable[[Floats], None] | None = None,
    ) -> None:
        self.scan = scan
        self.bytes_per = bytes_per
        self.percent = percent
        self.key_of = key_of
        self.finish_tickers = finish_tickers
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
        found = self.found(self.compiled, frames)
        if len(found.updates):
            self._add_updates(found, batch)
        if len(found.tickers):
            self._add_tickers(found, batch)
        return np.flatnonzero(found.kinds == records.LEFT).tolist()

    def found(self, scan: Callable[..., Any], frames: Sequence[bytes]) -> Found:
        """Scan frames with `scan`, which is ours, compiled or plain."""
        text = b"\n".join([*frames, _PADDING])
        kinds = np.empty(len(frames), np.int8)
        # Updates, rows, tickers, in one piece.
        room_words = [
            len(text) // least * width for least, width in zip(self.bytes_per, _WIDTHS, strict=True)
        ]
        room = np.empty(sum(room_words), np.int64)
        # Addresses: what they point at outlives the scan, which writes nowhere else.
        first = np.frombuffer(text, np.uint8).ctypes.data
        update = room.ctypes.data
        row = update + 8 * room_words[0]
        ticker = row + 8 * room_words[1]
        begins = (update, row, ticker)
        places = (first, update, row, row, ticker, ticker, update + room.nbytes)
        behind, *reached = scan(kinds, *map(np.uint64, places))
        if behind - first != len(text) - len(_PADDING) - 1:
            # A frame holds a line feed, so that it is not known which frame anything belongs to.
            kinds[:] = records.LEFT
            reached = begins
        written = [
            room[(begin - update) // 8 : (end - update) // 8].reshape(-1, width)
            for begin, end, width in zip(begins, reached, _WIDTHS, strict=True)
        ]
        return Found(text, first, kinds, *written)

    def _add_updates(self, found: Found, batch: Batch) -> None:
        symbols = Symbols.of(batch.symbols)
        updates, levels = found.updates, found.rows
        kept, rows_kept, keyless, unlisted = compiled(rows.listed_updates)(
            *symbols.table, updates, levels
        )
        batch.skip("unknown_symbol", unlisted)
        updates, levels = updates[:kept], levels[:rows_kept]
        if keyless:
            self._hash_keys(found, updates)
        batch.add_block(updates.T, levels.T)

    def _add_tickers(self, found: Found, batch: Batch) -> None:
        if self.finish_tickers:
            self.finish_tickers(found.tickers.view(np.float64))
        symbols = Symbols.of(batch.symbols)
        listed, unlisted = compiled(rows.listed_tickers)(*symbols.table, found.tickers)
        batch.skip("unknown_symbol", unlisted)
        tickers = found.tickers[:listed]
        written = np.empty(listed, TICKER)
        faulty = np.empty(listed, np.int64)
        good, bad = compiled(rows.write_tickers)(
            tickers, tickers.view(np.float64), batch.received, self.percent, written, faulty
        )
        batch.failures += [(index, TICKER_FAULT) for index in faulty[:bad].tolist()]
        batch.add_ticker_rows(tickers[:good, records.TICKER_FRAME], written[:good])

    def _hash_keys(self, found: Found, updates: Ints) -> None:
        """Give prints whose trade id is no plain number their keys."""
        keyless = (updates[:, CODE] == TRADE_CODE) & (updates[:, KEY] == records.NO_KEY)
        for at in np.flatnonzero(keyless):
            name, trade_id = (
                found.name(updates[at], begin) for begin in (records.NAME_BEGIN, records.ID_BEGIN)
            )
            updates[at, KEY] = np.uint64(self.key_of(name, trade_id)).view(np.int64)


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
