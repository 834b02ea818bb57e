"""Stage 2 of 8: what a scan found as rows: listing ids, order of books, EVENT, FRAME, TICKER rows.

One pass over a batch where numpy makes thirty. `feeds.columns` has the same in numpy for what was
not scanned; the tests of every scanner compare the two byte by byte.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.bytescan.grammar import Place
from feeds.bytescan.names import UNLISTED, listing_of
from feeds.bytescan.records import (
    NAME_BEGIN,
    NO_KEY,
    OF_TICKER,
    TICKER_FRAME,
    TICKER_NAME_BEGIN,
    TICKER_TIME,
    TICKER_VALUES,
)
from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    CODE,
    EX_NS,
    FLAGS_SHIFT,
    FRAME_INDEX,
    IVS,
    KEY,
    KIND_BITS,
    LEVEL_MAX,
    LEVEL_SHIFT,
    LISTING,
    NEVER_NEGATIVE,
    NS_PER_MS,
    PRICES_AND_IVS,
    QUOTE_CODE,
    SEQ,
    SEQ_PREV,
    SIDE_BITS,
    SIDE_SHIFT,
    TICKER_FIELDS,
    TICKER_VALUE_MAX,
    Floats,
    Ints,
)
from feeds.events import EVENT, Flag, Kind

_SNAPSHOT: Final = int(Kind.BOOK_SNAPSHOT)
_TRADE: Final = int(Kind.TRADE)
_FIRST: Final = int(Flag.SNAPSHOT_START) << FLAGS_SHIFT
_PRICE, _SIZE, _CODE = range(3)
_PRICES_AND_IVS: Final = PRICES_AND_IVS.stop
_NEVER_NEGATIVE: Final = NEVER_NEGATIVE.stop
_FIRST_IV: Final = IVS.start
_BEHIND_IVS: Final = IVS.stop
_FIELDS: Final = len(TICKER_FIELDS)
(
    _MARK, _IV_BID, _IV_ASK, _IV_MARK, _FORWARD, _INDEX, _OPEN_INTEREST, _DELTA, _GAMMA, _VEGA,
    _THETA,
) = range(_FIELDS)  # fmt: skip
# An EVENT row whose last five fields are the code of columns.py.
CODED_EVENT: Final = np.dtype([*EVENT.descr[:-5], ("code", "<i8")])
assert CODED_EVENT.itemsize == EVENT.itemsize


def listed_updates(
    slots: Place, mask: Place, texts: Place, updates: Ints, rows: Ints, received: Ints,
    prints_within_ns: int,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """Give updates their listing ids and nanoseconds; move those that count to the front.

    Args:
        slots: `Symbols.table`, as are the next two.
        mask: see there.
        texts: see there.
        updates: records, [update, UPDATE_WORDS], updated in place.
        rows: their rows, [row, ROW_WORDS], as well.
        received: rx_ns by frame index.
        prints_within_ns: a print longer before its frame is old.

    Returns:
        How many updates and rows are left, how many listed prints were old, how many updates were
        not listed, less the quotes of tickers, and how many prints that are left have no key yet.
    """
    kept, kept_row, row, old, unlisted, keyless = 0, 0, 0, 0, 0, 0
    for at in range(len(updates)):
        count = updates[at, BID_ROWS] + updates[at, ASK_ROWS]
        begin, end = updates[at, NAME_BEGIN], updates[at, NAME_BEGIN + 1]
        listing = listing_of(slots, mask, texts, np.uint64(begin), np.uint64(end))
        ex_ns = updates[at, EX_NS] * NS_PER_MS
        is_print = updates[at, CODE] & KIND_BITS == _TRADE
        if listing == UNLISTED:
            unlisted += updates[at, CODE] != QUOTE_CODE or updates[at, KEY] != OF_TICKER
        elif is_print and received[updates[at, FRAME_INDEX]] - ex_ns > prints_within_ns:
            old += 1
        else:
            if kept != at:
                for word in range(updates.shape[1]):
                    updates[kept, word] = updates[at, word]
                for level in range(count):
                    for word in range(rows.shape[1]):
                        rows[kept_row + level, word] = rows[row + level, word]
            updates[kept, LISTING] = listing
            updates[kept, EX_NS] = ex_ns
            if is_print and updates[kept, KEY] == NO_KEY:
                keyless += 1
            kept += 1
            kept_row += count
        row += count
    return kept, kept_row, old, unlisted, keyless


def write_updates(
    updates: Ints, levels: Ints, values: Floats, received: Ints, first_row: int,
    events: NDArray[Any], frames: NDArray[Any], keys: Ints, faulty: Ints,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Write the rows of updates, and the frame rows and trade keys that go with them.

    Args:
        updates: columns of `feeds.columns`, [update, UPDATE_WIDTH or more].
        levels: their levels, [level, price, size and code].
        values: the same memory as float64, for prices and sizes.
        received: rx_ns by frame index.
        first_row: how many rows there are before these.
        events: CODED_EVENT rows, room for all levels.
        frames: FRAME rows, room for all updates.
        keys: room for all updates.
        faulty: as well, for the frame indexes of snapshots out of order, which leave no row.

    Returns:
        How many events, frames, keys and faulty snapshots were written.
    """
    event, frame, key, bad, level = 0, 0, 0, 0, 0
    for at in range(len(updates)):
        count = updates[at, BID_ROWS] + updates[at, ASK_ROWS]
        code = updates[at, CODE]
        if code & KIND_BITS == _SNAPSHOT and not _in_order(updates[at], values, level):
            faulty[bad] = updates[at, FRAME_INDEX]
            bad += 1
            level += count
            continue
        rx_ns = received[updates[at, FRAME_INDEX]]
        if code & SIDE_BITS:
            _write_frame(frames[frame], updates[at], rx_ns, first_row + event)
            frame += 1
        if code & KIND_BITS == _TRADE:
            keys[key] = updates[at, KEY]
            key += 1
        _write_events(events, event, updates[at], rx_ns, levels, values, level)
        event += count
        level += count
    return event, frame, key, bad


def _in_order(update: Ints, values: Floats, level: int) -> bool:
    """Whether the levels of a snapshot are in price order on each side, each with a size."""
    bids = update[BID_ROWS]
    for place in range(bids + update[ASK_ROWS]):
        if not np.float32(values[level + place, _SIZE]) > 0:  # as the row has it
            return False
        if place != 0 and place != bids:
            price, before = values[level + place, _PRICE], values[level + place - 1, _PRICE]
            if not (price < before if place < bids else price > before):
                return False
    return True


def _write_frame(frame: Any, update: Ints, rx_ns: int, row: int) -> None:
    frame["listing_id"] = update[LISTING]
    frame["kind"] = (update[CODE] & SIDE_BITS) >> SIDE_SHIFT
    frame["seq_first"] = update[SEQ]
    frame["seq_last"] = update[SEQ]
    frame["seq_prev"] = update[SEQ_PREV]
    frame["rx_ns"] = rx_ns
    frame["row_begin"] = row
    frame["row_end"] = row + update[BID_ROWS] + update[ASK_ROWS]


def _write_events(
    events: NDArray[Any], event: int, update: Ints, rx_ns: int, levels: Ints, values: Floats,
    level: int,
) -> None:  # fmt: skip
    snapshot = update[CODE] & KIND_BITS == _SNAPSHOT
    bids = update[BID_ROWS]
    for place in range(bids + update[ASK_ROWS]):
        code = levels[level + place, _CODE]
        if snapshot:
            code |= min(place - bids if place >= bids else place, LEVEL_MAX) << LEVEL_SHIFT
            if place == 0:
                code |= _FIRST
        row = events[event + place]
        row["rx_ns"] = rx_ns
        row["ex_ns"] = update[EX_NS]
        row["seq"] = update[SEQ]
        row["price"] = values[level + place, _PRICE]
        row["size"] = values[level + place, _SIZE]
        row["listing_id"] = update[LISTING]
        row["code"] = code


def write_tickers(
    slots: Place, mask: Place, texts: Place, tickers: Ints, values: Floats, received: Ints,
    percent: bool, rows: NDArray[Any], faulty: Ints,
) -> tuple[int, int, int]:  # fmt: skip
    """Write the rows of tickers whose name is listed.

    Args:
        slots: `Symbols.table`, as are the next two.
        mask: see there.
        texts: see there.
        tickers: records, [ticker, TICKER_WORDS]; the frame indexes of the rows move to the front.
        values: the same memory as float64.
        received: rx_ns by frame index.
        percent: the volatilities are percentages.
        rows: TICKER rows, room for all.
        faulty: receives the frame indexes of tickers with a value out of range, without a row.

    Returns:
        How many rows and faulty tickers were written, and how many were not listed, less those
        behind another ticker.
    """
    written, bad, unlisted = 0, 0, 0
    before = False
    for at in range(len(tickers)):
        begin, end = tickers[at, TICKER_NAME_BEGIN], tickers[at, TICKER_NAME_BEGIN + 1]
        listing = listing_of(slots, mask, texts, np.uint64(begin), np.uint64(end))
        frame, time = tickers[at, TICKER_FRAME], tickers[at, TICKER_TIME]
        listed = listing != UNLISTED
        if time < 0:
            time = ~time
            listed = listed and before
        else:
            before = listed
            unlisted += not listed
        if not listed:
            pass
        elif not _in_range(values[at]):
            faulty[bad] = frame
            bad += 1
        else:
            row = rows[written]
            row["rx_ns"] = received[frame]
            row["ex_ns"] = time * NS_PER_MS
            row["seq"] = 0
            row["listing_id"] = listing
            _write_values(row, values[at], percent)
            row["oi_ns"] = 0 if np.isnan(row["open_interest"]) else row["ex_ns"]
            tickers[written, TICKER_FRAME] = frame
            written += 1
    return written, bad, unlisted


def _in_range(ticker: Floats) -> bool:
    for field in range(_FIELDS):
        value = ticker[TICKER_VALUES + field]
        if abs(value) > TICKER_VALUE_MAX or (field < _NEVER_NEGATIVE and value < 0):
            return False
    return True


def _write_values(row: Any, ticker: Floats, percent: bool) -> None:
    for field in range(_PRICES_AND_IVS):
        if ticker[TICKER_VALUES + field] == 0:
            ticker[TICKER_VALUES + field] = np.nan
    if percent:
        for field in range(_FIRST_IV, _BEHIND_IVS):
            ticker[TICKER_VALUES + field] /= 100.0
    row["mark"] = ticker[TICKER_VALUES + _MARK]
    row["iv_bid"] = ticker[TICKER_VALUES + _IV_BID]
    row["iv_ask"] = ticker[TICKER_VALUES + _IV_ASK]
    row["iv_mark"] = ticker[TICKER_VALUES + _IV_MARK]
    row["forward"] = ticker[TICKER_VALUES + _FORWARD]
    row["index"] = ticker[TICKER_VALUES + _INDEX]
    row["open_interest"] = ticker[TICKER_VALUES + _OPEN_INTEREST]
    row["delta"] = ticker[TICKER_VALUES + _DELTA]
    row["gamma"] = ticker[TICKER_VALUES + _GAMMA]
    row["vega"] = ticker[TICKER_VALUES + _VEGA]
    row["theta"] = ticker[TICKER_VALUES + _THETA]
