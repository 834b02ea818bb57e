"""What must hold of everything that a decoder says, whatever bytes it was given."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import listing_fault
from feeds.events import TICKER, DecodeOut, Flag, FrameKind, Kind, ListingState
from feeds.venue import ChannelOptions, Control, Discovery, HttpRequest, Venue

U64_MAX: Final = 2**64 - 1
BOOKS: Final = (Kind.BOOK_SNAPSHOT, Kind.BOOK_DELTA)
KINDS: Final = (Kind.QUOTE, *BOOKS, Kind.TRADE)  # what decoders make; the rest is the handler's
FLAGS: Final = 0xFFFF & ~int(sum(Flag)) | int(Flag.REJECTED)  # bits that no decoder sets
WHOLE: Final = (FrameKind.SNAPSHOT, FrameKind.WINDOW)
FLOATS: Final = tuple(n for n in TICKER.names or () if TICKER[n].kind == "f")
NEVER_NEGATIVE: Final = ("mark", "iv_bid", "iv_ask", "iv_mark", "forward", "index", "open_interest")
LISTINGS_ASKED: Final = 8  # of a discovery body, whose channels are then asked for
OPTIONS: Final = ChannelOptions(quotes=True)

# A rule, where it is broken: the name of the rule stands before the colon.
Faults = Iterator[str]


def outcome_of(out: DecodeOut) -> str:
    """What became of one frame that was decoded alone; "" where nothing did."""
    if out.error_count:
        return "failed"
    if out.rows.count or out.tickers.count or out.frames.count or out.lifecycle:
        return "carried"
    return "skipped" if sum(out.skipped.values()) else ""


def faults_of(out: DecodeOut, received: Sequence[int], listings: int) -> Faults:
    """Rules that what was decoded breaks, of frames received at some rx_ns and so many listings."""
    rows, tickers, frames = out.rows.view(), out.tickers.view(), out.frames.view()
    for name, table in (("rows", rows), ("tickers", tickers), ("frames", frames)):
        if len(table) and (table["listing_id"] >= listings).any():
            yield f"listing: {name} of a listing that is none"
        if len(table) and not np.isin(table["rx_ns"], received).all():
            yield f"time: {name} with an rx_ns of no frame"
    if len(rows):
        yield from _row_faults(rows)
        yield from _update_faults(rows)
    if len(frames):
        yield from _frame_faults(frames, rows)
    if len(tickers):
        yield from _ticker_faults(tickers)
    yield from _list_faults(out)


def _list_faults(out: DecodeOut) -> Faults:
    """Rules of what is no table."""
    rows, frames = out.rows.view(), out.frames.view()
    trades = int((rows["kind"] == Kind.TRADE).sum())
    if len(out.trade_keys) != trades or not all(0 <= key <= U64_MAX for key in out.trade_keys):
        yield f"trade keys: {out.trade_keys[:4]} of {trades} prints"
    if out.checks and len(out.checks) != len(frames):
        yield f"checks: {len(out.checks)} of {len(frames)} frames"
    if any(count <= 0 for count in out.skipped.values()):
        yield f"skipped: {out.skipped}"
    for notice in out.lifecycle:
        if notice.state not in ListingState or not _is_text(notice.symbol):
            yield f"notice: {notice!r}"


def _row_faults(rows: NDArray[Any]) -> Faults:
    """Rules of single rows."""
    kind, side, price, size = rows["kind"], rows["side"], rows["price"], rows["size"]
    quote, trade, whole = (kind == k for k in (Kind.QUOTE, Kind.TRADE, Kind.BOOK_SNAPSHOT))
    if not np.isin(kind, KINDS).all():
        yield f"kind: {kind.tolist()[:4]}"
    if not (np.isin(side, (-1, 1)) | trade & (side == 0)).all():
        yield f"side: {side.tolist()[:4]}"
    if (rows["flags"] & FLAGS).any():
        yield f"flags: {rows['flags'].tolist()[:4]}"
    if not (np.isfinite(price) & (price > 0) | quote & np.isnan(price)).all():
        yield f"price: {price.tolist()[:4]}"
    # A print or a change may have a size that float32 has as 0.
    sound = np.where(whole, size > 0, size >= 0) & np.isfinite(size)
    if not (sound | quote & np.isnan(size)).all():
        yield f"size: {size.tolist()[:4]}"
    if (rows["ex_ns"] < 0).any():
        yield f"ex_ns: {rows['ex_ns'].tolist()[:4]}"


def _update_faults(rows: NDArray[Any]) -> Faults:
    """Rules of updates: the rows up to one with LAST are of one thing, bids first."""
    last = (rows["flags"] & Flag.LAST) != 0
    if not last[-1]:
        yield "last: the rows of an update have no end"
    same = ~last[:-1]
    for name in ("listing_id", "kind", "seq", "ex_ns", "rx_ns"):
        if (rows[name][1:] != rows[name][:-1])[same].any():
            yield f"update: rows of one update differ in {name}"
    if (rows["side"][1:] > rows["side"][:-1])[same].any():
        yield "update: asks before bids"


def _frame_faults(frames: NDArray[Any], rows: NDArray[Any]) -> Faults:
    """Rules of the frame table and of the rows that it points at."""
    begins, ends = frames["row_begin"].astype(np.int64), frames["row_end"].astype(np.int64)
    if not np.isin(frames["kind"], list(FrameKind)).all():
        yield f"frame kind: {frames['kind'].tolist()[:4]}"
    if (begins > ends).any() or (ends > len(rows)).any() or (begins[1:] < ends[:-1]).any():
        yield f"frame rows: {begins.tolist()[:4]} to {ends.tolist()[:4]} of {len(rows)}"
        return
    if (frames["seq_first"] > frames["seq_last"]).any():
        yield "frame numbers: the first is above the last"
    in_frames = np.zeros(len(rows) + 1, np.int64)
    np.add.at(in_frames, begins, 1)
    np.add.at(in_frames, ends, -1)
    if (np.isin(rows["kind"], BOOKS) != (np.cumsum(in_frames)[:-1] > 0)).any():
        yield "frame rows: rows of books and no others are those of frames"
    for frame, begin, end in zip(frames, begins.tolist(), ends.tolist(), strict=True):
        part = rows[begin:end]
        starts = (part["flags"] & Flag.SNAPSHOT_START) != 0
        if (part["listing_id"] != frame["listing_id"]).any():
            yield "frame rows: of another listing"
        if starts[1:].any() or (len(part) and bool(starts[0]) != (frame["kind"] in WHOLE)):
            yield f"snapshot start: {starts.tolist()[:4]} of frame kind {frame['kind']}"
        if ((part["flags"] & Flag.LAST) != 0)[:-1].any():
            yield "last: before the end of a frame"


def _ticker_faults(tickers: NDArray[Any]) -> Faults:
    for name in FLOATS:
        if np.isinf(tickers[name]).any():
            yield f"ticker {name}: {tickers[name].tolist()[:4]}"
    for name in NEVER_NEGATIVE:
        if (tickers[name] < 0).any():
            yield f"ticker {name}: {tickers[name].tolist()[:4]}"
    if (tickers["ex_ns"] < 0).any() or (tickers["oi_ns"] < 0).any():
        yield f"ticker times: {tickers['ex_ns'].tolist()[:4]}, {tickers['oi_ns'].tolist()[:4]}"


def control_faults(control: Any, channel: Any) -> Faults:
    """Rules of what a session is told about a frame."""
    if channel is not None and not _is_text(channel):
        yield f"channel: {channel!r}"
    if control is None:
        return
    if not isinstance(control, Control):
        yield f"control: {control!r}"
        return
    named = (
        *control.accepted,
        *control.denied,
        *control.resync,
        *((control.ack or (0, ()))[1] or ()),
    )
    said = (control.reply, control.notice, control.refused and control.refused[1])
    if not all(map(_is_text, named)) or not all(text is None or _is_text(text) for text in said):
        yield f"control texts: {control!r}"
    ids = [part[0] for part in (control.ack, control.refused) if part is not None]
    if not all(type(number) is int for number in ids):
        yield f"control id: {ids}"


def discovery_faults(venue: Venue, found: Discovery) -> Faults:
    """Rules of what a discovery body said, and that its listings can be asked for."""
    for listing in found.listings:
        fault = listing_fault(listing)
        if fault is not None or listing.venue != venue.NAME or not _is_text(listing.symbol):
            yield f"listing terms: {listing.symbol!r} {fault}"
    if any(count <= 0 for count in found.left_out.values()):
        yield f"left out: {found.left_out}"
    for asked in (found.following, *found.further):
        if asked is not None and not (isinstance(asked, HttpRequest) and _is_path(asked.path)):
            yield f"further question: {asked!r}"
    for plan in venue.subscriptions(found.listings[:LISTINGS_ASKED], OPTIONS, venue.LIMITS):
        for request in plan.requests:
            try:
                json.loads(request.text.encode())
            except ValueError:
                yield f"request: {request.text[:200]!r}"


def _is_path(text: str) -> bool:
    return text.startswith("/") and text.isascii() and text.isprintable() and " " not in text


def _is_text(text: Any) -> bool:
    """Whether it is a text that can be written down: half a character beyond 16 bits cannot."""
    try:
        return isinstance(text, str) and text.encode() is not None
    except UnicodeEncodeError:
        return False
