"""Stage 2 of 8: one venue's journal records to accepted event rows, live and in replay alike.

The handler sees the log and nothing else: no clock, no socket. What it gives does not depend on
how the log is cut into calls, because the only things that change the symbol table are records
themselves (discovery bodies) and lifecycle frames, and a stretch of frames that holds one of
those is decoded again in halves until the frame stands alone.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from feeds.checksums import CheckedBooks
from feeds.contract import Listing, ListingKind
from feeds.errors import FrameError, JournalError
from feeds.events import (
    BOOK_GIVEN_BACK,
    EVENT,
    TICKER,
    DecodeOut,
    EventRows,
    Flag,
    Kind,
    LifecycleNotice,
    ListingState,
    TickerRows,
    joined,
    taken,
)
from feeds.record import Record, RecordType
from feeds.recovery import Recovery, RecoveryTurn
from feeds.sequence import Change, SequenceState, SequenceTracker, Turn
from feeds.spots import WITHOUT_OPTIONS, is_followed, lists_spot_alone
from feeds.symbols import Symbols
from feeds.tiers import Tiers
from feeds.venue import ChainQuoter, ChannelOptions, Checksummer, PathNamer, Venue

# Frames decoded at once: enough to spread numpy's cost per call, few enough to stay in cache.
RUN_FRAMES_MAX: Final = 1024
# Trades remembered against copies after a reconnect. Venues send at most the last hundred or so
# of each currency again; the busiest hour of a crypto venue has some ten thousand.
TRADE_MEMORY: Final = 65_536
# Discovery retires what is this long past its expiry, in case the notice was missed while the
# connection was down. Venues delist within minutes.
EXPIRY_GRACE_NS: Final = 3600 * 10**9
ERRORS_KEPT: Final = 16  # bad frames a call keeps for the sampled log

_read_channels: Final = msgspec.json.Decoder(list[str]).decode
_type, _rx_ns, _payload = attrgetter("type"), attrgetter("rx_ns"), attrgetter("payload")


@dataclass(slots=True)
class HandlerOut:
    """What a stretch of the log came to.

    rows: accepted EVENT rows in log order, with CLEAR, known-empty and STATE_CHANGE rows in place.
    tickers: TICKER rows in log order.
    resync: symbols that became gapped, or were listed while subscribed, in log order; ask the
        venue for a fresh snapshot.
    discover: symbols that a notice named and discovery has not; fetch the instruments again.
    recovering: listings that begin or end to recover from a lost connection, in log order.
    conflicts: what discovery bodies said twice and differently.
    errors: the first bad frames and bodies; `counts` has them all.
    counts: additions of this stretch, by name.
    """

    rows: EventRows
    tickers: TickerRows
    resync: list[str] = field(default_factory=list)
    discover: list[str] = field(default_factory=list)
    recovering: list[RecoveryTurn] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    errors: list[FrameError] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class VenueHandler:
    """Turns the records of one venue into rows.

    Args:
        venue: the venue's module.
        options: the channels that are subscribed for every listing.
        depth: the channels of depth, where some listings alone have it; see feeds/tiers.py.
        allocate: gives a new listing its dense id; called once per symbol.
        retire: told (listing_id, rx_ns) when a listing has ended; the id must not be given to
            another listing before the caller's grace time is over.
        underlyings: listings of others are left out; empty takes all.
        trade_memory: trade keys remembered, > 0; the oldest is forgotten first.
    """

    def __init__(
        self,
        venue: Venue,
        options: ChannelOptions,
        allocate: Callable[[Listing], int],
        retire: Callable[[int, int], None],
        *,
        depth: ChannelOptions | None = None,
        underlyings: Collection[str] = (),
        trade_memory: int = TRADE_MEMORY,
    ) -> None:
        self.symbols = Symbols()
        self._venue = venue
        self._tiers = Tiers(options, depth)
        self._allocate = allocate
        self._retire = retire
        self._underlyings = frozenset(underlyings)
        self._listings: dict[int, Listing] = {}
        self._spot_alone = lists_spot_alone(venue)
        self._with_options: set[str] = set()  # underlyings that had options listed here
        # Discovered, and not followed; with the expiry, so that it shrinks again.
        self._left_out: dict[str, int | None] = {}
        # symbol -> connection that its best prices come from: its book, or in two tiers whatever
        # the lower one has; and of two tiers the connection that its depth comes from. A channel
        # outlives its listing: it ends with a record of its own, or with its connection.
        self._carrier: dict[str, int] = {}
        self._depth: dict[str, int] = {}
        # (underlying, price currency) -> connection that carries the quotes of its whole chain
        self._chains: dict[tuple[str, str], int] = {}
        self._apart: set[int] = set()  # connections whose frames have names of their path
        self._recovery = Recovery(venue.symbol_of_channel)
        self._tracker = SequenceTracker()
        self._checked = CheckedBooks(venue.checksum) if isinstance(venue, Checksummer) else None
        self._trades = _TradeMemory(trade_memory)

    def consume(self, records: Sequence[Record]) -> HandlerOut:
        """Take the next records of the log: those of this venue, in log order.

        Records that say nothing about a venue (ticks, configuration) may stand between them.

        Raises:
            JournalError: a subscription record does not hold a list of channels.
        """
        stretch, begin, frame = _Stretch(), 0, RecordType.FRAME
        others = [at for at, kind in enumerate(map(_type, records)) if kind is not frame]
        for end in (*others, len(records)):
            for at in range(begin, end, RUN_FRAMES_MAX):
                run = records[at : min(at + RUN_FRAMES_MAX, end)]
                frames = self._named(run) if self._apart else list(map(_payload, run))
                self._decode(frames, list(map(_rx_ns, run)), stretch)
            if end < len(records):
                step = self._STEPS.get(records[end].type)
                if step is not None:
                    step(self, records[end], stretch)
            begin = end + 1
        return stretch.finish()

    def _named(self, run: Sequence[Record]) -> list[bytes]:
        """Frames with the names of our listings, whichever connection they came on."""
        assert isinstance(self._venue, PathNamer)
        named, apart = self._venue.named, self._apart
        return [named(r.payload) if r.connection in apart else r.payload for r in run]

    def _decode(self, frames: Sequence[bytes], rx_ns: Sequence[int], stretch: "_Stretch") -> None:
        decoded, failure = DecodeOut(), None
        try:
            self._venue.decode(frames, rx_ns, self.symbols, decoded)
        except Exception as error:  # noqa: BLE001 - a decoder's own bug, which must not end the feed
            failure = error
        if (failure or decoded.lifecycle) and len(frames) > 1:
            # A notice may change the symbol table under the frames after it. Notices are rare.
            middle = len(frames) // 2
            self._decode(frames[:middle], rx_ns[:middle], stretch)
            self._decode(frames[middle:], rx_ns[middle:], stretch)
            return
        stretch.counts["frames"] += len(frames)
        if failure is not None:
            words = f"{self._venue.NAME}: the decoder failed, which is a bug of ours: {failure!r}"
            stretch.counts["decoder_failures"] += 1
            stretch.fail(FrameError(words, frames[0]), "frame_errors")
            return
        self._take(decoded, stretch)
        for notice in decoded.lifecycle:
            self._lifecycle(notice, stretch)

    def _take(self, decoded: DecodeOut, stretch: "_Stretch") -> None:
        """Let the sequence rule and the trade memory judge, and keep what holds."""
        rows, frames = decoded.rows.view(), decoded.frames.view()
        if self._checked is not None:
            failures = self._checked.failures
            self._checked.link(frames, decoded.checks)
            stretch.counts["checksum_failures"] += self._checked.failures - failures
        before = _counts_of(self._tracker)
        accepted = self._tracker.accept(frames, rows)
        after = _counts_of(self._tracker)
        stretch.counts.update({name: after[name] - before[name] for name in after})
        keep = np.ones(len(rows), np.bool_)
        if accepted.any_rejected:
            keep = (rows["flags"] & int(Flag.REJECTED)) == 0
            refused = int(len(rows) - keep.sum())
            # What still comes of a book that was given back is no trouble of the feed.
            stretch.counts["rejected_rows"] += refused - accepted.unasked_rows
            stretch.counts["unasked_rows"] += accepted.unasked_rows
        if decoded.trade_keys:
            trades = np.flatnonzero(rows["kind"] == Kind.TRADE)
            seen = self._trades.seen(decoded.trade_keys)
            keep[trades[seen]] = False
            stretch.counts["duplicate_trades"] += int(seen.sum())
        stretch.rows.append(self._with_turns(rows, frames, keep, accepted.changes))
        for change in accepted.changes:
            if change.turn == Turn.GAP:
                stretch.resync.append(self._listings[change.listing_id].symbol)
        stretch.add(decoded)

    def _with_turns(
        self,
        rows: EventRows,
        frames: NDArray[Any],
        keep: NDArray[np.bool_],
        changes: Sequence[Change],
    ) -> EventRows:
        """Accepted rows, with a row for every gap and every known-empty book before its frame's."""
        turns = [change for change in changes if change.turn != Turn.LIVE]
        if not turns:
            return rows if keep.all() else taken(rows, keep)
        places = [int(frames["row_begin"][change.frame]) for change in turns]
        added = np.concatenate([self._turn_row(change, frames) for change in turns])
        widened = np.insert(keep, places, np.ones(len(turns), np.bool_))
        return np.insert(rows, places, added)[widened]

    def _turn_row(self, change: Change, frames: NDArray[Any]) -> NDArray[Any]:
        """The row that says a gap, or that a book is known to be empty."""
        frame = frames[change.frame]
        if change.turn == Turn.GAP:
            return self._cleared(change.listing_id, int(frame["rx_ns"]))
        row = _bare_row(change.listing_id, int(frame["rx_ns"]), Kind.BOOK_SNAPSHOT)
        row["seq"] = frame["seq_last"]
        return row

    def _lifecycle(self, notice: LifecycleNotice, stretch: "_Stretch") -> None:
        listing_id = self.symbols.get(notice.symbol)
        ended = notice.state == ListingState.EXPIRED
        if listing_id is not None:
            row = _bare_row(listing_id, notice.rx_ns, Kind.STATE_CHANGE)
            row["level"] = int(notice.state)
            stretch.rows.append(row)
            if ended:
                self._end(notice.symbol, listing_id, notice.rx_ns, stretch)
        elif notice.symbol in self._left_out:
            if ended:
                del self._left_out[notice.symbol]
        elif notice.state in (ListingState.LISTED, ListingState.LIVE):
            stretch.discover.append(notice.symbol)
        else:
            stretch.counts["unknown_notices"] += 1

    def _end(self, symbol: str, listing_id: int, rx_ns: int, stretch: "_Stretch") -> None:
        self._retire(listing_id, rx_ns)
        del self.symbols[symbol]
        del self._listings[listing_id]
        self._tracker.forget(listing_id)
        if self._checked is not None:
            self._checked.forget(listing_id)
        stretch.counts["retired"] += 1

    def _http(self, record: Record, stretch: "_Stretch") -> None:
        if not record.name.startswith("instruments"):
            return
        try:
            discovery = self._venue.instruments(record.payload)
        except FrameError as error:
            stretch.fail(error, "body_errors")
            return
        for reason, count in discovery.left_out.items():
            stretch.counts[f"left_out.{reason}"] += count
        stretch.conflicts += discovery.conflicts
        self._end_overdue(record.rx_ns, stretch)
        for listing in discovery.listings:
            if listing.symbol not in self.symbols:
                self._list(listing, record.rx_ns, stretch)

    def _list(self, listing: Listing, rx_ns: int, stretch: "_Stretch") -> None:
        if self._underlyings and listing.underlying not in self._underlyings:
            self._left_out[listing.symbol] = listing.expiry_ns
            return
        if listing.expiry_ns is not None and listing.expiry_ns <= rx_ns:
            # The body was composed before the expiry, or the venue has not yet delisted it.
            stretch.counts["left_out.expired"] += 1
            return
        if listing.kind == ListingKind.OPTION and self._tiers.base.spots:
            self._with_options.add(listing.underlying)
        if not (self._spot_alone or is_followed(listing, self._with_options)):
            self._left_out[listing.symbol] = None
            stretch.counts[f"left_out.{WITHOUT_OPTIONS}"] += 1
            return
        self._left_out.pop(listing.symbol, None)  # A pair whose underlying has options by now.
        listing_id = self._allocate(listing)
        self.symbols[listing.symbol] = listing_id
        self._listings[listing_id] = listing
        if self._tiers.depth is not None and listing.symbol not in self._depth:
            self._tracker.close(listing_id)
        if listing.symbol in self._depth or listing.symbol in self._carrier:
            # Listed again under its name: what its channels began with came before it was known.
            stretch.resync.append(listing.symbol)
        stretch.counts["listed"] += 1

    def _end_overdue(self, rx_ns: int, stretch: "_Stretch") -> None:
        limit_ns = rx_ns - EXPIRY_GRACE_NS
        self._left_out = {s: e for s, e in self._left_out.items() if e is None or e > limit_ns}
        overdue = [
            (listing.symbol, listing_id)
            for listing_id, listing in self._listings.items()
            if listing.expiry_ns is not None and listing.expiry_ns <= limit_ns
        ]
        for symbol, listing_id in overdue:
            row = _bare_row(listing_id, rx_ns, Kind.STATE_CHANGE)
            row["level"] = int(ListingState.EXPIRED)
            stretch.rows.append(row)
            self._end(symbol, listing_id, rx_ns, stretch)

    def _connection(self, record: Record, stretch: "_Stretch") -> None:
        if record.name == "open":
            self._follow_path(record.connection, record.payload)
            stretch.recovering += self._recovery.reopen(
                record.connection, record.rx_ns, self.symbols
            )
        elif record.name == "close":
            self._clear_connection(record, stretch)
            lost = record.connection
            stretch.recovering += self._recovery.lose(lost, record.rx_ns, self.symbols)
            self._carrier = {s: c for s, c in self._carrier.items() if c != lost}
            self._depth = {s: c for s, c in self._depth.items() if c != lost}
            self._chains = {chain: c for chain, c in self._chains.items() if c != lost}

    def _follow_path(self, connection: int, path: bytes) -> None:
        self._apart.discard(connection)
        venue = self._venue
        if isinstance(venue, PathNamer) and path.decode(errors="replace") in venue.NAMED_PATHS:
            self._apart.add(connection)

    def _timer(self, record: Record, stretch: "_Stretch") -> None:
        if record.name == "recovered":
            stretch.recovering += self._recovery.regain(
                record.connection, record.rx_ns, self.symbols
            )
            return
        if record.name not in ("silence", "first_data"):
            return
        if not record.payload:
            self._clear_connection(record, stretch)
            return
        channel = record.payload.decode(errors="replace")
        source = self._source(channel)
        if source is not None:
            self._lose(*source, record.rx_ns, stretch)
        chain = self._chain_of(channel)
        if chain is not None:
            self._clear_chain(chain, record.rx_ns, stretch)

    def _subscription(self, record: Record, stretch: "_Stretch") -> None:
        try:
            channels = _read_channels(record.payload)
        except ValueError as error:
            raise JournalError(
                f"subscription record of {record.venue} at {record.rx_ns}: {error}"
            ) from error
        if record.name in ("subscribe", "accepted"):
            self._recovery.carry(record.connection, channels)
        for channel in channels:
            chain = self._chain_of(channel)
            if chain is not None:
                self._carry_chain(chain, record, stretch)
            source = self._source(channel)
            if source is None:
                continue
            symbol, carriers = source
            if record.name in ("subscribe", "accepted"):
                carriers[symbol] = record.connection
                if carriers is self._depth and symbol in self.symbols:
                    self._tracker.open(self.symbols[symbol])
            elif carriers.get(symbol) == record.connection:
                del carriers[symbol]
                self._lose(symbol, carriers, record.rx_ns, stretch, unless_gapped=True)
                if carriers is self._depth:
                    self._end_depth(symbol, record.connection)

    def _end_depth(self, symbol: str, connection: int) -> None:
        """Follow the end of a book: it is all that a connection of depth carries of a listing."""
        self._recovery.give_back(connection, symbol)
        if symbol in self.symbols:
            self._tracker.close(self.symbols[symbol])

    def _source(self, channel: str) -> tuple[str, dict[str, int]] | None:
        """Instrument whose best prices come from a channel, and the table of such channels."""
        symbol = self._venue.symbol_of_channel(channel)
        if symbol is None:
            return None
        for options, carriers in (
            (self._tiers.depth, self._depth),
            (self._tiers.base, self._carrier),
        ):
            # What a resync asks for again is, by definition, where the book comes from.
            requests = () if options is None else self._venue.resync(symbol, options, 0)
            if any(channel in request.channels for request in requests):
                return symbol, carriers
        return None

    def _lose(
        self,
        symbol: str,
        carriers: dict[str, int],
        rx_ns: int,
        stretch: "_Stretch",
        *,
        unless_gapped: bool = False,
    ) -> None:
        """Follow the loss of what best prices came from.

        In two tiers a book stands on its own, and where it goes, quotes count again. A book that
        was asked for and has not come, or has a gap, is none: the lower tier quotes the listing.
        """
        listing_id = self.symbols.get(symbol)
        if listing_id is None:
            return
        if self._tiers.depth is None:
            self._clear(symbol, rx_ns, stretch, unless_gapped=unless_gapped)
            return
        live = self._tracker.state(listing_id) == SequenceState.LIVE
        if carriers is self._depth:
            self._wait(listing_id)
        if live == (carriers is self._depth):
            stretch.rows.append(self._cleared(listing_id, rx_ns))
            stretch.counts["clears"] += 1

    def _chain_of(self, channel: str) -> tuple[str, str] | None:
        """Options whose best prices come from one channel for the whole chain, if it is such."""
        venue = self._venue
        return venue.quoted_chain(channel) if isinstance(venue, ChainQuoter) else None

    def _carry_chain(self, chain: tuple[str, str], record: Record, stretch: "_Stretch") -> None:
        if record.name in ("subscribe", "accepted"):
            self._chains[chain] = record.connection
        elif self._chains.get(chain) == record.connection:
            del self._chains[chain]
            self._clear_chain(chain, record.rx_ns, stretch)

    def _clear_chain(self, chain: tuple[str, str], rx_ns: int, stretch: "_Stretch") -> None:
        """Make the quotes of a chain unknown, but for options whose book stands on its own.

        A book that was asked for and has not come yet is no book: the chain quotes the option. Its
        own sequence is not the chain's: a gap still wants a snapshot from behind it.
        """
        for listing_id, listing in self._listings.items():
            if (
                (listing.underlying, listing.price_ccy) == chain
                and listing.kind == ListingKind.OPTION
                and self._tracker.state(listing_id) != SequenceState.LIVE
            ):
                stretch.rows.append(self._cleared(listing_id, rx_ns))
                stretch.counts["clears"] += 1

    def _clear_connection(self, record: Record, stretch: "_Stretch") -> None:
        for chain, connection in self._chains.items():
            if connection == record.connection:
                self._clear_chain(chain, record.rx_ns, stretch)
        for carriers in (self._depth, self._carrier):
            for symbol, connection in carriers.items():
                if connection == record.connection:
                    self._lose(symbol, carriers, record.rx_ns, stretch)

    def _clear(
        self, symbol: str, rx_ns: int, stretch: "_Stretch", *, unless_gapped: bool = False
    ) -> None:
        """Make a listing's book unknown; a gapped one already is, and was said to be."""
        listing_id = self.symbols.get(symbol)
        if listing_id is None:
            return
        if not (unless_gapped and self._tracker.state(listing_id) == SequenceState.GAPPED):
            stretch.rows.append(self._cleared(listing_id, rx_ns))
            stretch.counts["clears"] += 1
        self._wait(listing_id)

    def _wait(self, listing_id: int) -> None:
        """Forget what was seen of a listing's book: it begins with the next snapshot."""
        self._tracker.wait(listing_id)
        if self._checked is not None:
            self._checked.forget(listing_id)

    def _cleared(self, listing_id: int, rx_ns: int) -> NDArray[Any]:
        """The row that makes a book unknown; who is quoted apart from it has the word again."""
        row = _bare_row(listing_id, rx_ns, Kind.CLEAR)
        quoted = self._tiers.depth is not None or isinstance(self._venue, ChainQuoter)
        row["level"] = BOOK_GIVEN_BACK if quoted else 0
        return row

    _STEPS: Final = {
        RecordType.HTTP: _http,
        RecordType.CONNECTION: _connection,
        RecordType.TIMER: _timer,
        RecordType.SUBSCRIPTION: _subscription,
    }


class _TradeMemory:
    """The last trade keys seen, oldest forgotten first."""

    def __init__(self, capacity: int) -> None:
        self._order: deque[int] = deque(maxlen=capacity)
        self._keys: set[int] = set()

    def seen(self, keys: Sequence[int]) -> NDArray[np.bool_]:
        """Mark the keys that were seen before, and remember the others."""
        marks = np.zeros(len(keys), np.bool_)
        for index, key in enumerate(keys):
            if key in self._keys:
                marks[index] = True
                continue
            if len(self._order) == self._order.maxlen:
                self._keys.discard(self._order[0])  # append() below drops it from the order
            self._order.append(key)
            self._keys.add(key)
        return marks


class _Stretch:
    """Collects what one call of `consume` gives."""

    def __init__(self) -> None:
        self.rows: list[EventRows] = []
        self.tickers: list[TickerRows] = []
        self.resync: list[str] = []
        self.discover: list[str] = []
        self.recovering: list[RecoveryTurn] = []
        self.conflicts: list[str] = []
        self.errors: list[FrameError] = []
        self.counts: Counter[str] = Counter()

    def add(self, decoded: DecodeOut) -> None:
        """Take what needs no judging."""
        if decoded.tickers.count:
            self.tickers.append(decoded.tickers.view())
        self.errors += decoded.errors[: ERRORS_KEPT - len(self.errors)]
        self.counts["frame_errors"] += decoded.error_count
        for reason, count in decoded.skipped.items():
            self.counts[f"skipped.{reason}"] += count

    def fail(self, error: FrameError, name: str) -> None:
        """Count a bad body, and keep it while there is room."""
        self.counts[name] += 1
        if len(self.errors) < ERRORS_KEPT:
            self.errors.append(error)

    def finish(self) -> HandlerOut:
        """Join the pieces; the arrays are the caller's."""
        rows, tickers = joined(self.rows, EVENT), joined(self.tickers, TICKER)
        self.counts["rows"] += len(rows)
        self.counts["tickers"] += len(tickers)
        return HandlerOut(
            rows,
            tickers,
            self.resync,
            self.discover,
            self.recovering,
            self.conflicts,
            self.errors,
            +self.counts,  # drops the zeros, whose presence would depend on the cuts
        )


def _bare_row(listing_id: int, rx_ns: int, kind: Kind) -> NDArray[Any]:
    """One row without a price that is an update of its own, as an array of length one.

    Of kind BOOK_SNAPSHOT it says that the book is known to be empty.
    """
    row = np.zeros(1, EVENT)
    row["rx_ns"], row["listing_id"], row["kind"] = rx_ns, listing_id, int(kind)
    row["price"] = np.nan
    row["flags"] = int(Flag.LAST)
    if kind == Kind.BOOK_SNAPSHOT:
        row["flags"] |= int(Flag.SNAPSHOT_START)
    return row


def _counts_of(tracker: SequenceTracker) -> dict[str, int]:
    counts = tracker.counts
    return {
        "snapshots": counts.snapshots,
        "gaps": counts.gaps,
        "duplicates": counts.duplicates,
        "rejected": counts.rejected,
        "resyncs": counts.resyncs,
        "unasked": counts.unasked,
    }
