"""Stages 1 to 3 of 8: journal records to the pipeline, live and in a replay alike.

One inbox for all venues, in log order. `drain` decodes a number of its oldest records, each venue's
together, since a call costs far more than a frame and venues take turns, and brings the rows back
into the order of receipt. The log says how many records each call took, and a replay makes the same
calls, so that listings get the same rows.
"""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby, islice
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.errors import FrameError
from feeds.events import EVENT, TICKER
from feeds.handler import VenueHandler
from feeds.record import Record
from feeds.recovery import RecoveryTurn
from feeds.tiers import Tiers, tiers_of
from feeds.venue import ChannelOptions
from feeds.venue_clock import VenueClock
from feeds.venues import VENUES
from scanner.config import ScanConfig, VenueSettings
from scanner.pipeline import Pipeline

ERRORS_KEPT: Final = 16
# What is decoded at once while a loop waits: a few milliseconds, whichever of the two comes first.
STEP_RECORDS: Final = 1_024
STEP_BYTES: Final = 512 << 10
MEGABYTE: Final = 1 << 20
_venue, _rx_ns, _payload = attrgetter("venue"), attrgetter("rx_ns"), attrgetter("payload")


def channel_tiers(name: str, settings: VenueSettings) -> Tiers:
    """What the handler and the session of a venue subscribe to."""
    options = ChannelOptions(
        book=settings.book,
        quotes=settings.quotes,
        tickers=settings.tickers,
        trades=settings.trades,
        marks=settings.marks,
        index=settings.index,
        book_depth=settings.book_depth,
        authenticated=settings.authenticated,
    )
    return tiers_of(VENUES[name], options, two=settings.depth_listings is not None)


@dataclass(slots=True)
class Wishes:
    """What a drain asks of the sessions, by venue."""

    resync: dict[str, list[str]] = field(default_factory=dict)
    discover: set[str] = field(default_factory=set)


class Intake:
    """Inbox and handlers of all venues.

    Attributes:
        counts: additions of the handlers, by venue.
        clocks: venue -> its clock against ours, and the lag of the last drain that had rows.
        errors: the last bad frames, for the log.
    """

    def __init__(
        self,
        config: ScanConfig,
        pipeline: Pipeline,
        retire: Callable[[int, int], None] | None = None,
    ) -> None:
        """Make one handler per enabled venue.

        Args:
            config: settings.
            pipeline: takes the rows.
            retire: told (listing id, rx_ns) of what has ended; the pipeline's own by default.
        """
        self._pipeline = pipeline
        self._records_max = config.limits.inbox_records
        self._bytes_max = config.limits.inbox_mb * MEGABYTE
        self._inbox: deque[Record] = deque()
        self._bytes = 0
        tiers = {name: channel_tiers(name, settings) for name, settings in config.venues.items()}
        self._handlers = {
            name: VenueHandler(
                VENUES[name],
                tiers[name].base,
                pipeline.universe.add,
                retire or pipeline.retire,
                depth=tiers[name].depth,
                underlyings=settings.underlyings,
                trade_memory=config.limits.trade_keys,
            )
            for name, settings in config.venues.items()
            if settings.enabled
        }
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in self._handlers}
        self.clocks = {name: VenueClock() for name in self._handlers}
        self.errors: deque[FrameError] = deque(maxlen=ERRORS_KEPT)

    def deliver(self, records: Sequence[Record]) -> bool:
        """Put records behind the others; never blocks, never drops.

        Returns:
            Whether the inbox is full now.
        """
        self._inbox.extend(records)
        self._bytes += sum([len(record.payload) for record in records])
        return len(self._inbox) >= self._records_max or self._bytes >= self._bytes_max

    @property
    def full(self) -> bool:
        """Whether the inbox has reached its bound: drain before the next records."""
        return len(self._inbox) >= self._records_max or self._bytes >= self._bytes_max

    def __len__(self) -> int:
        return len(self._inbox)

    def step(self, until_ns: int | None = None) -> int:
        """Number of the oldest records to decode at once, 0 where there are none.

        At most STEP_RECORDS and STEP_BYTES, but for a single larger one, which nothing can cut;
        with until_ns those alone that were received at or before it.
        """
        # No Python for each record: a burst is made of many.
        inbox, count = self._inbox, min(len(self._inbox), STEP_RECORDS)
        if until_ns is not None and count and inbox[count - 1].rx_ns > until_ns:
            count = bisect_right(inbox, until_ns, hi=count, key=_rx_ns)
        if self._bytes > STEP_BYTES:
            sizes = list(accumulate(map(len, map(_payload, islice(inbox, count)))))
            count = min(count, max(1, bisect_right(sizes, STEP_BYTES)))
        return count

    def drain(self, count: int | None = None) -> Wishes:
        """Decode the oldest records, without a count all, and hand their rows to the pipeline.

        Raises:
            JournalError: a subscription record is not what the session writes.
        """
        records = self._take(len(self._inbox) if count is None else count)
        wishes = Wishes()
        rows, tickers = [], []
        for venue, of_venue in groupby(sorted(records, key=_venue), _venue):
            handler = self._handlers.get(venue)
            if handler is None:
                continue
            out = handler.consume(list(of_venue))
            rows.append(out.rows)
            tickers.append(out.tickers)
            self._recover(out.recovering)
            self.counts[venue].update(out.counts)
            self.errors.extend(out.errors)
            if out.resync:
                wishes.resync.setdefault(venue, []).extend(out.resync)
            if out.discover:
                wishes.discover.add(venue)
            clock = self.clocks[venue]
            if not clock.observe(out.rows["rx_ns"], out.rows["ex_ns"]):
                clock.observe(out.tickers["rx_ns"], out.tickers["ex_ns"])
        self._pipeline.apply(_in_order(rows, EVENT), _in_order(tickers, TICKER))
        return wishes

    def _take(self, count: int) -> list[Record]:
        take = self._inbox.popleft
        records = [take() for _ in range(count)]
        self._bytes -= sum(map(len, map(_payload, records)))
        return records

    def _recover(self, turns: list[RecoveryTurn]) -> None:
        recovering = self._pipeline.recovering
        for turn in turns:
            if turn.begins:
                recovering.begin(turn.listing_id)
            else:
                recovering.end(turn.listing_id, turn.rx_ns)

    def totals(self) -> dict[str, int]:
        """Counts of all venues together, for the summary."""
        total: Counter[str] = Counter()
        for counts in self.counts.values():
            total.update(counts)
        return dict(sorted(total.items()))


def _in_order(pieces: list[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Rows of venues, each in the order of its receipt, as one array in that order."""
    pieces = [piece for piece in pieces if len(piece)]
    if len(pieces) <= 1:
        return pieces[0] if pieces else np.empty(0, dtype)
    rows = np.concatenate(pieces)
    order = np.argsort(rows["rx_ns"], kind="stable")  # Merges what is in order already.
    # Moved as raw bytes: numpy copies a structured array field by field, in ten times the time.
    ordered: NDArray[Any] = rows.view(f"V{dtype.itemsize}")[order].view(dtype)
    return ordered
