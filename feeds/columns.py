"""Stage 2 of 8: a batch of one venue's frames as columns, and the rows they become.

Each channel family adds one block of columns to the batch; the blocks are joined, brought into the
order of the frames, and written as rows, all with a few numpy calls per batch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import compress
from struct import error as struct_error
from struct import pack
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from feeds.errors import FrameError
from feeds.events import (
    EVENT,
    FRAME,
    TICKER,
    BookCheck,
    DecodeOut,
    Flag,
    FrameKind,
    Kind,
    LifecycleNotice,
    joined,
    taken,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Columns of a block of updates. An update is one message of a book or one print, and becomes as
# many rows as it has levels.
FRAME_INDEX, EX_NS, SEQ, SEQ_PREV, LISTING, BID_ROWS, ASK_ROWS, CODE, KEY = range(9)
UPDATE_WIDTH: Final = 9

# An EVENT row is six words of 8 bytes, the fourth of them the price. The last is a code: kind (8
# bits), side (8), flags (16), level (16), aux (16). Before the rows are written, the place of the
# side holds the frame kind.
_WORDS: Final = EVENT.itemsize // 8
assert EVENT.names is not None
assert EVENT.names[-5:] == ("kind", "side", "flags", "level", "aux")
assert EVENT["seq"].isnative  # the words are little-endian
SIDE_SHIFT: Final = 8
FLAGS_SHIFT: Final = 16
LEVEL_SHIFT: Final = 32
AUX_SHIFT: Final = 48
LISTING_SHIFT: Final = 32
KIND_BITS: Final = 0xFF
SIDE_BITS: Final = 0xFF << SIDE_SHIFT
BID: Final = 1 << SIDE_SHIFT  # side +1
ASK: Final = SIDE_BITS  # side -1
LAST: Final = int(Flag.LAST) << FLAGS_SHIFT
BOOK_SNAPSHOT_CODE: Final = int(Kind.BOOK_SNAPSHOT) | FrameKind.SNAPSHOT << SIDE_SHIFT
BOOK_WINDOW_CODE: Final = int(Kind.BOOK_SNAPSHOT) | FrameKind.WINDOW << SIDE_SHIFT
BOOK_DELTA_CODE: Final = int(Kind.BOOK_DELTA) | FrameKind.DELTA << SIDE_SHIFT
BOOK_CHAINED_CODE: Final = int(Kind.BOOK_DELTA) | FrameKind.CHAINED << SIDE_SHIFT
QUOTE_CODE: Final = int(Kind.QUOTE)
TRADE_CODE: Final = int(Kind.TRADE)

# Values of a block of tickers, in this order: what 0 says "none" about first, then what is never
# negative, then the greeks.
TICKER_FIELDS: Final = (
    "mark",
    "iv_bid",
    "iv_ask",
    "iv_mark",
    "forward",
    "index",
    "open_interest",
    "delta",
    "gamma",
    "vega",
    "theta",
)
PRICES_AND_IVS: Final = slice(0, 6)
NEVER_NEGATIVE: Final = slice(0, 7)
IVS: Final = slice(1, 4)

NO_PREVIOUS: Final = -1  # seq_prev where the venue gives none
NS_PER_MS: Final = 1_000_000
TICKER_VALUE_MAX: Final = 1e15  # beyond it a float32 column would lose all meaning
LEVEL_MAX: Final = 65_535  # the level column is u2
BOOK_FAULT: Final = "book levels were not in price order, best first, each with a size"
TICKER_FAULT: Final = "ticker had a negative price, volatility or interest, or one beyond 1e15"
_UNKNOWN: Final = -1


# Writes the rows of blocks of updates and their levels, joined, in the order of their frames.
Writer = Callable[[Ints, Ints, Ints, DecodeOut], list[int]]


class Entry(Protocol):
    """Any message, or entry of one, about one instrument."""

    instrument_name: str


E = TypeVar("E", bound=Entry)


def _unknown_symbol(_: Entry) -> str:
    return "unknown_symbol"


class Batch:
    """The columns of one batch of frames.

    Attributes:
        venue: its name, for messages.
        frames: the frames themselves.
        received: rx_ns of each.
        symbols: listing id of each instrument and index.
        lifecycle: notices, in the order of the frames.
        failures: frame index and what was wrong.
        writer: writes the rows of updates.
    """

    def __init__(
        self,
        venue: str,
        frames: Sequence[bytes],
        rx_ns: Sequence[int],
        symbols: Mapping[str, int],
    ) -> None:
        self.venue = venue
        self.frames = frames
        self.received: Ints = ints(rx_ns)
        self.symbols = symbols
        self.lifecycle: list[LifecycleNotice] = []
        self.failures: list[tuple[int, str]] = []
        self._skipped: dict[str, int] = {}
        self.writer: Writer = write_updates
        self._updates: list[Ints] = []  # [UPDATE_WIDTH or more, update] each
        self._levels: list[Ints] = []  # [price as bits, size as bits, code; level] each
        self._tickers: list[tuple[Ints, NDArray[Any]]] = []  # frame index and row
        self._checks: list[tuple[int, BookCheck]] = []  # by frame index

    def read(
        self, reader: Callable[[bytes], Any], indexes: list[int]
    ) -> tuple[list[Any], list[int], list[tuple[int, str]]]:
        """Read frames; returns the data of the good ones, their indexes, and what ails the others.

        A deeply nested frame ends in a RecursionError; all other complaints are ValueErrors.
        """
        frames = self.frames
        try:
            return [reader(frames[index]).params.data for index in indexes], indexes, []
        except (ValueError, RecursionError):
            pass
        found: list[Any] = []
        refused: list[tuple[int, str]] = []
        for index in indexes:
            try:
                found.append(reader(frames[index]).params.data)
            except (ValueError, RecursionError) as error:
                refused.append((index, str(error)))
        bad = {index for index, _ in refused}
        return found, [index for index in indexes if index not in bad], refused

    def read_or_fail(
        self, reader: Callable[[bytes], Any], indexes: list[int]
    ) -> tuple[list[Any], list[int]]:
        """Read frames and count the bad ones; returns the data of the good ones, their indexes."""
        found, indexes, refused = self.read(reader, indexes)
        self.failures += refused
        return found, indexes

    def messages(
        self, reader: Callable[[bytes], Any], indexes: list[int]
    ) -> tuple[list[Any], list[int]]:
        """Read whole frames and count the bad ones; returns the good messages, their indexes."""
        found, good = [], []
        for index in indexes:
            try:
                found.append(reader(self.frames[index]))
            except (ValueError, RecursionError) as error:
                self.failures.append((index, str(error)))
            else:
                good.append(index)
        return found, good

    def skip(self, reason: str, count: int = 1) -> None:
        """Count messages, or entries of them, that carry nothing for us."""
        if count:
            self._skipped[reason] = self._skipped.get(reason, 0) + count

    def frames_of(self, indexes: list[int], counts: list[int]) -> Ints:
        """Frame index of every entry of some messages, by how many each has.

        A message without any is counted as skipped for `no_entries`.
        """
        self.skip("no_entries", counts.count(0))
        return np.repeat(ints(indexes), ints(counts))

    def known(
        self, entries: list[E], frames: Ints, reason_of: Callable[[E], str] = _unknown_symbol
    ) -> tuple[list[E], Ints, Ints]:
        """Keep entries about listings of ours; returns them, their frames and their listing ids.

        The others are counted as skipped for the reason that `reason_of` gives.
        """
        id_of = self.symbols.get
        ids = ints([id_of(entry.instrument_name, _UNKNOWN) for entry in entries])
        listed = ids >= 0
        if listed.all():
            return entries, frames, ids
        for unlisted in compress(entries, (~listed).tolist()):
            self.skip(reason_of(unlisted))
        return list(compress(entries, listed.tolist())), frames[listed], ids[listed]

    def block(self, frames: Ints, listings: Ints, ex_ns: Ints) -> Ints:
        """Start a block of updates; what is left open is the caller's to fill."""
        block = np.empty((UPDATE_WIDTH, len(frames)), np.int64)
        block[FRAME_INDEX] = frames
        block[LISTING] = listings
        block[EX_NS] = ex_ns
        return block

    def add_updates(
        self, block: Ints, prices: Floats, sizes: Floats, codes: Ints | None = None
    ) -> None:
        """Take a block of updates, and the prices, sizes and codes of their rows, bids first.

        The code of a row is its update's with the side in its place, and LAST where it is.
        """
        levels = np.empty((3, len(prices)), np.int64)
        levels.view(np.float64)[:2] = prices, sizes
        levels[2] = _row_codes(block) if codes is None else codes
        self.add_block(block, levels)

    def add_block(self, block: Ints, levels: Ints) -> None:
        """Take a block of updates, and [price as bits, size as bits, code; level] of their rows."""
        self._updates.append(block)
        self._levels.append(levels)

    def add_ticker_rows(self, frames: Ints, rows: NDArray[Any]) -> None:
        """Take finished TICKER rows, whose array becomes the batch's, and their frame indexes."""
        self._tickers.append((frames, rows))

    def add_checks(self, frames: Ints, checks: Sequence[BookCheck]) -> None:
        """Take what the checksums of books are compared with: one a frame of a book, all of it."""
        self._checks += zip(frames.tolist(), checks, strict=True)

    def add_tickers(
        self, frames: Ints, listings: Ints, ex_ns: Ints, values: Floats, *, percent: bool = False
    ) -> None:
        """Take a block of tickers; those with values out of range are failures.

        Args:
            frames: frame index of each.
            listings: listing id of each.
            ex_ns: the venue's time of each.
            values: float64[TICKER_FIELDS, ticker], updated in place; NaN is none, and so is 0 in
                prices and volatilities.
            percent: the volatilities are percentages.
        """
        negative, huge = values[NEVER_NEGATIVE] < 0, np.abs(values) > TICKER_VALUE_MAX
        if negative.any() or huge.any():
            sound = ~(negative.any(axis=0) | huge.any(axis=0))
            self.failures += [(index, TICKER_FAULT) for index in frames[~sound].tolist()]
            frames, listings, ex_ns = frames[sound], listings[sound], ex_ns[sound]
            values = values[:, sound]
        if percent:
            values[IVS] /= 100.0
        prices = values[PRICES_AND_IVS]
        prices[prices == 0] = np.nan
        rows = np.zeros(len(frames), TICKER)
        rows["rx_ns"] = self.received[frames]
        rows["ex_ns"] = ex_ns
        rows["listing_id"] = listings
        for column, field in enumerate(TICKER_FIELDS):
            rows[field] = values[column]
        rows["oi_ns"] = np.where(np.isnan(rows["open_interest"]), 0, rows["ex_ns"])
        self.add_ticker_rows(frames, rows)

    def write(self, out: DecodeOut) -> None:
        """Append everything to `out`; frames that fail the last checks are counted there."""
        if self._updates:
            updates, levels = _in_frame_order(self._updates, self._levels)
            faulty = self.writer(updates, levels, self.received, out)
            self.failures += [(index, BOOK_FAULT) for index in faulty]
        if self._tickers:
            out.tickers.adopt(_joined_tickers(self._tickers))
        out.lifecycle.extend(self.lifecycle)
        for reason, count in self._skipped.items():
            out.skipped[reason] = out.skipped.get(reason, 0) + count
        failed = {index for index, _ in self.failures} if self._checks else ()
        out.checks += [check for index, check in self._checks if index not in failed]
        for index, message in sorted(self.failures):
            out.fail(FrameError(f"{self.venue}: {message}", self.frames[index]))


def write_updates(updates: Ints, levels: Ints, received: Ints, out: DecodeOut) -> list[int]:
    """Write rows, frame rows and trade keys; returns the frame indexes of faulty snapshots."""
    prices, sizes = levels.view(np.float64)[:2]
    codes = levels[2]
    rows_of = updates[BID_ROWS] + updates[ASK_ROWS]
    kind = updates[CODE] & KIND_BITS
    snapshot = kind == Kind.BOOK_SNAPSHOT
    place, faulty = None, []
    if snapshot.any():
        place, bad = _places_and_faults(updates, prices, sizes, snapshot)
        if bad.any():
            faulty = updates[FRAME_INDEX, bad].tolist()
            good = np.repeat(~bad, rows_of)
            prices, sizes, codes, place = prices[good], sizes[good], codes[good], place[good]
            updates, rows_of, snapshot = updates[:, ~bad], rows_of[~bad], snapshot[~bad]
            kind = kind[~bad]
    begins = np.cumsum(rows_of) - rows_of
    if place is not None:
        codes[begins[snapshot & (rows_of > 0)]] |= int(Flag.SNAPSHOT_START) << FLAGS_SHIFT
        codes |= np.minimum(place, LEVEL_MAX) << LEVEL_SHIFT
    head = np.empty((len(rows_of), _WORDS), np.int64)
    head[:, 0] = received[updates[FRAME_INDEX]]
    head[:, 1] = updates[EX_NS]
    head[:, 2] = updates[SEQ]
    head[:, 4] = updates[LISTING] << LISTING_SHIFT
    words = np.repeat(head, rows_of, axis=0)
    words[:, 5] = codes
    rows = words.view(EVENT)[:, 0]
    rows["price"] = prices
    rows["size"] = sizes
    out.trade_keys.extend(updates[KEY, kind == Kind.TRADE].view(np.uint64).tolist())
    _write_frames(updates, head[:, 0], begins + out.rows.count, out)
    out.rows.extend(rows)
    return faulty


def _write_frames(updates: Ints, received: Ints, row_begin: Ints, out: DecodeOut) -> None:
    kinds = updates[CODE] & SIDE_BITS
    book = kinds != 0
    if not book.any():
        return
    if not book.all():
        updates, kinds, received = updates[:, book], kinds[book], received[book]
        row_begin = row_begin[book]
    frames = np.empty(len(kinds), FRAME)
    frames["listing_id"] = updates[LISTING]
    frames["kind"] = kinds >> SIDE_SHIFT
    frames["seq_first"] = frames["seq_last"] = updates[SEQ]
    frames["seq_prev"] = updates[SEQ_PREV]
    frames["rx_ns"] = received
    frames["row_begin"] = row_begin
    frames["row_end"] = row_begin + updates[BID_ROWS] + updates[ASK_ROWS]
    out.frames.extend(frames)


def second_part(channel: str) -> str:
    """Second part of a channel's name, "" where it has none: no instrument is called so.

    >>> second_part("book.BTC-PERPETUAL.none"), second_part("book")
    ('BTC-PERPETUAL', '')
    """
    return channel.partition(".")[2].partition(".")[0]


def ints(values: Collection[int]) -> Ints:
    """Column of integers that fit int64."""
    return np.frombuffer(bytearray(pack(f"{len(values)}q", *values)), np.int64)


def floats(values: Sequence[float | None]) -> Floats:
    """Column of numbers; None becomes NaN."""
    try:
        # Half the time of np.array, which asks every element what it is.
        return np.frombuffer(bytearray(pack(f"{len(values)}d", *values)))
    except struct_error:
        return np.array(values, np.float64)


def _in_frame_order(blocks: list[Ints], levels: list[Ints]) -> tuple[Ints, Ints]:
    """Join the blocks; each is in the order of its frames, and no frame is in two of them."""
    if len(blocks) == 1:
        return blocks[0], levels[0]
    updates = np.concatenate([block[:UPDATE_WIDTH] for block in blocks], axis=1)
    order = np.argsort(updates[FRAME_INDEX], kind="stable")
    rows_of = updates[BID_ROWS] + updates[ASK_ROWS]
    begins = np.cumsum(rows_of) - rows_of
    updates, rows_of, begins = updates[:, order], rows_of[order], begins[order]
    # The rows of an update began at begins and will begin at new_begins.
    new_begins = np.cumsum(rows_of) - rows_of
    row_order = np.arange(rows_of.sum()) + np.repeat(begins - new_begins, rows_of)
    return updates, np.concatenate(levels, axis=1)[:, row_order]


def _joined_tickers(blocks: list[tuple[Ints, NDArray[Any]]]) -> NDArray[Any]:
    if len(blocks) == 1:
        return blocks[0][1]
    frames = np.concatenate([frames for frames, _ in blocks])
    rows = joined([rows for _, rows in blocks], TICKER)
    return taken(rows, np.argsort(frames, kind="stable"))


def _places_and_faults(
    updates: Ints, prices: Floats, sizes: Floats, snapshot: NDArray[np.bool_]
) -> tuple[Ints, NDArray[np.bool_]]:
    """Place of each row on its side of its snapshot, 0 outside snapshots; and which are faulty.

    A snapshot is faulty if a level is out of price order, there twice, or without a size that is
    one in a row, too: the place of a level means nothing in an unordered book.
    """
    rows_of = updates[BID_ROWS] + updates[ASK_ROWS]
    owner = np.repeat(np.arange(len(rows_of)), rows_of)
    begins = np.cumsum(rows_of) - rows_of
    place = np.arange(len(owner)) - begins[owner]
    bids = updates[BID_ROWS, owner]
    bid = place < bids
    place = np.where(bid, place, place - bids)
    of_snapshot = snapshot[owner]
    bad = np.zeros(len(rows_of), np.bool_)
    bad[owner[of_snapshot & ~(sizes.astype(np.float32) > 0)]] = True
    worse = np.where(bid[1:], prices[1:] < prices[:-1], prices[1:] > prices[:-1])
    bad[owner[1:][of_snapshot[1:] & (place[1:] > 0) & ~worse]] = True
    return np.where(of_snapshot, place, 0), bad


def _row_codes(updates: Ints) -> Ints:
    codes = np.repeat(updates[CODE] & ~SIDE_BITS | BID, 2)
    codes[1::2] |= ASK
    rows_of = updates[BID_ROWS : ASK_ROWS + 1].T.ravel()
    codes = np.repeat(codes, rows_of)
    ends = np.cumsum(rows_of)[1::2]
    codes[ends[np.diff(ends, prepend=0) > 0] - 1] |= LAST
    return codes
