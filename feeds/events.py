"""Stage 2 of 8: the vocabulary of event rows, ticker rows and the frame table.

Every venue decoder, table reader and simulator speaks these dtypes; nothing behind them
knows a venue. docs/SEMANTICS.md says what each field means when it is empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feeds.errors import FrameError

EVENT: Final = np.dtype(
    [
        ("rx_ns", "<i8"),  # our receive time, ns since the Unix epoch, UTC
        ("ex_ns", "<i8"),  # the venue's time of the change, ns UTC; 0 where it gives none
        ("seq", "<u8"),  # orders the updates of a run; the rows of one update share it
        ("price", "<f8"),  # native quotation; NaN = no price on this side
        ("size", "<f4"),  # native size; book_delta: the new absolute size, 0 removes
        ("listing_id", "<u4"),
        ("kind", "u1"),  # Kind
        ("side", "i1"),  # +1 bid or buy aggressor, -1 ask or sell aggressor, 0 unknown
        ("flags", "<u2"),  # Flag
        ("level", "<u2"),  # books: 0 is the best; state_change: the state; clear: 1 = given back
        ("aux", "<u2"),  # structure number within the run, 0 none
    ]
)
assert EVENT.itemsize == 48

TICKER: Final = np.dtype(
    [
        ("rx_ns", "<i8"),
        ("ex_ns", "<i8"),
        ("seq", "<u8"),
        ("listing_id", "<u4"),
        ("mark", "<f8"),  # native quotation
        ("iv_bid", "<f4"),  # fraction, 0.55 = 55 %
        ("iv_ask", "<f4"),
        ("iv_mark", "<f4"),
        ("delta", "<f4"),  # Black-Scholes delta (delta_bs), not premium-adjusted
        ("gamma", "<f4"),
        ("vega", "<f4"),  # per 0.01 of volatility
        ("theta", "<f4"),  # per day
        ("forward", "<f8"),  # the venue's forward of this expiry, USD
        ("index", "<f8"),  # the venue's index, USD
        ("open_interest", "<f8"),  # native size; 0 is a value
        ("oi_ns", "<i8"),  # time of the open interest; 0 where there is none
    ]
)

FRAME: Final = np.dtype(
    [
        ("listing_id", "<u4"),
        ("kind", "u1"),  # FrameKind
        ("seq_first", "<i8"),
        ("seq_last", "<i8"),
        ("seq_prev", "<i8"),  # -1 where the venue gives none
        ("rx_ns", "<i8"),
        ("row_begin", "<u4"),  # range in DecodeOut.rows; empty for an empty snapshot
        ("row_end", "<u4"),
    ]
)

EventRows = NDArray[np.void]
TickerRows = NDArray[np.void]
FrameRows = NDArray[np.void]


class Kind(IntEnum):
    """What an event row says."""

    QUOTE = 1  # best bid or best ask; an update is a bid row and an ask row
    BOOK_SNAPSHOT = 2  # one level of a whole book; the first row carries SNAPSHOT_START
    BOOK_DELTA = 3  # one level set to an absolute size, 0 removes it
    TRADE = 4  # one print; side is the aggressor's
    CLEAR = 5  # the book is unknown until the next snapshot, or quote if level is BOOK_GIVEN_BACK
    STATE_CHANGE = 6  # level holds the new ListingState


BOOK_GIVEN_BACK: Final = 1  # level of a CLEAR row: no book comes any more, quotes count again


class Flag(IntFlag):
    """Bits of an event row; a row may carry several."""

    LAST = 1  # closes an atomic update: order-flow imbalance is evaluated here
    SNAPSHOT_START = 2  # first row of a snapshot: the old book is forgotten here
    REJECTED = 4  # the sequence rule refused the row; the scanner drops and counts it
    BLOCK = 8
    COMBO_LEG = 16
    RFQ = 32
    AGGRESSOR_INFERRED = 64


class ListingState(IntEnum):
    """Life of a listing."""

    LISTED = 0
    LIVE = 1
    HALTED = 2
    EXPIRED = 3


class FrameKind(IntEnum):
    """How a frame enters a listing's sequence."""

    SNAPSHOT = 1  # replaces the book and starts the chain at seq_last
    DELTA = 2  # must follow: seq_prev equals the last seq_last
    WINDOW = 3  # whole window each time, no chain; older than the last is dropped
    CHAINED = 4  # must follow as a DELTA, but its number may fall or stay: seq_prev alone decides


@dataclass(slots=True)
class Rows:
    """Growing array of packed rows; `view` borrows until the next call that adds rows."""

    dtype: np.dtype[Any]
    count: int = 0
    array: NDArray[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.array = _no_rows(self.dtype)

    def extend(self, rows: "list[tuple[Any, ...]] | NDArray[Any]") -> None:
        """Append rows, given as tuples in field order or as an array of the dtype."""
        room = self.room(len(rows))
        if isinstance(rows, np.ndarray) and rows.dtype == self.dtype:
            raw = _raw(self.dtype)
            room.view(raw)[:] = rows.view(raw)
        elif len(rows):
            room[:] = rows
        self.count += len(rows)

    def adopt(self, rows: NDArray[Any]) -> None:
        """As `extend`, of an array that nobody else keeps: the first is not copied."""
        if self.count:
            self.extend(rows)
        else:
            self.array, self.count = rows, len(rows)

    def room(self, count: int) -> NDArray[Any]:
        """Borrow the places of the next rows; who writes them there raises `count`."""
        need = self.count + count
        if need > len(self.array):
            grown = np.empty(max(need, 2 * len(self.array)), self.dtype)
            if self.count:
                raw = _raw(self.dtype)
                grown.view(raw)[: self.count] = self.array.view(raw)[: self.count]
            self.array = grown
        return self.array[self.count : need]

    def view(self) -> NDArray[Any]:
        """Borrow the filled part."""
        return self.array[: self.count]


def joined(pieces: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Packed rows of all pieces as one array, without a copy where only one has rows."""
    some = [piece for piece in pieces if len(piece)]
    if len(some) < 2:
        return some[0] if some else _no_rows(dtype)
    raw = _raw(dtype)
    rows: NDArray[Any] = np.concatenate([piece.view(raw) for piece in some]).view(dtype)
    return rows


def in_order(pieces: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """As `joined`, by rx_ns, of pieces that are; at equal times by the order of the pieces."""
    rows = joined(pieces, dtype)
    if sum(len(piece) > 0 for piece in pieces) < 2:
        return rows
    return taken(rows, np.argsort(rows["rx_ns"], kind="stable"))


def taken(rows: NDArray[Any], which: NDArray[Any]) -> NDArray[Any]:
    """Packed rows by index or mask, in the order of the indexes."""
    found: NDArray[Any] = rows.view(_raw(rows.dtype))[which].view(rows.dtype)
    return found


@cache
def _no_rows(dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.empty(0, dtype)


@cache
def _raw(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Rows as bytes: numpy copies a structured array by fields, in ten times as long."""
    return np.dtype((np.void, dtype.itemsize))


@dataclass(frozen=True, slots=True)
class LifecycleNotice:
    """A venue's word that an instrument was listed, went live, halted or ended."""

    rx_ns: int
    symbol: str
    state: ListingState


# Price and size of a level as the venue wrote them: its checksums are taken over text.
TextLevel = tuple[str, str]


class BookCheck(NamedTuple):
    """The levels of one frame of a book as text, and the checksum of the whole book after it."""

    bids: Sequence[TextLevel]  # a size of 0 removes
    asks: Sequence[TextLevel]
    checksum: int


@dataclass(slots=True)
class DecodeOut:
    """What a batch of frames became; a decoder only ever appends.

    rows: EVENT rows, in the order of the frames.
    tickers: TICKER rows.
    trade_keys: u64 hash of the venue's trade id, one per trade row, in row order.
    frames: FRAME rows, one per book frame.
    checks: of a venue that chains its books by checksums, one per FRAME row, in their order.
    lifecycle: notices in the order of the frames.
    errors: the first `errors_kept` bad frames; `error_count` counts all of them.
    skipped: reason -> count of frames that are valid and carry nothing for us
        (acknowledgements, heartbeats, an instrument kind that is not scanned; `no_entries`: a
        message that lists nothing).
    """

    errors_kept: int = 16
    rows: Rows = field(default_factory=lambda: Rows(EVENT))
    tickers: Rows = field(default_factory=lambda: Rows(TICKER))
    trade_keys: list[int] = field(default_factory=list)
    frames: Rows = field(default_factory=lambda: Rows(FRAME))
    checks: list[BookCheck] = field(default_factory=list)
    lifecycle: list[LifecycleNotice] = field(default_factory=list)
    errors: list[FrameError] = field(default_factory=list)
    error_count: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def fail(self, error: FrameError) -> None:
        """Count one bad frame and keep it while there is room."""
        self.error_count += 1
        if len(self.errors) < self.errors_kept:
            self.errors.append(error)

    def skip(self, reason: str) -> None:
        """Count one frame that is fine and carries no rows for us."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
