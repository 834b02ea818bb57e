"""Stages 1 to 3 of 8: journal records to the pipeline, live and in a replay alike.

One inbox for all venues, in log order. `drain` decodes a number of its oldest records, each venue's
together, since a call costs far more than a frame and venues take turns, and brings the rows back
into the order of receipt. The log says how many records each call took, and a replay makes the same
calls, so that listings get the same rows.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from feeds.errors import FrameError
from feeds.events import EVENT, TICKER, in_order
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
        spots=settings.spots,
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
        self._inbox: deque[tuple[Sequence[Record], int]] = deque()  # deliveries, and their bytes
        self._count = 0  # records in them
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

        Args:
            records: of one venue, at one stamp: what one read of a socket brought, or a single one.

        Returns:
            Whether the inbox is full now.
        """
        size = sum([len(record.payload) for record in records])
        self._inbox.append((records, size))
        self._count += len(records)
        self._bytes += size
        return self._count >= self._records_max or self._bytes >= self._bytes_max

    @property
    def full(self) -> bool:
        """Whether the inbox has reached its bound: drain before the next records."""
        return self._count >= self._records_max or self._bytes >= self._bytes_max

    def __len__(self) -> int:
        return self._count

    def step(self, until_ns: int | None = None) -> int:
        """Number of the oldest records to decode at once, 0 where there are none.

        At most STEP_RECORDS and STEP_BYTES, but for a single delivery that is larger; with until_ns
        those alone that were received at or before it.
        """
        count = total = 0
        for records, size in self._inbox:
            count += len(records)
            total += size
            late = until_ns is not None and records[0].rx_ns > until_ns
            if late or ((count > STEP_RECORDS or total > STEP_BYTES) and count > len(records)):
                return count - len(records)
        return count

    def drain(self, count: int | None = None) -> Wishes:
        """Decode the oldest records, without a count all, and hand their rows to the pipeline.

        Raises:
            JournalError: a subscription record is not what the session writes.
        """
        wishes = Wishes()
        rows, tickers = [], []
        for venue, records in sorted(self._take(self._count if count is None else count).items()):
            handler = self._handlers.get(venue)
            if handler is None:
                continue
            out = handler.consume(records)
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
        self._pipeline.apply(in_order(rows, EVENT), in_order(tickers, TICKER))
        return wishes

    def _take(self, count: int) -> dict[str, list[Record]]:
        """Take the oldest records out, by venue."""
        found: dict[str, list[Record]] = {}
        self._count -= count
        while count:
            records, size = self._inbox.popleft()
            if len(records) > count:  # Never in a run, whose steps end where deliveries do.
                rest = records[count:]
                rest_size = sum([len(record.payload) for record in rest])
                self._inbox.appendleft((rest, rest_size))
                records, size = records[:count], size - rest_size
            found.setdefault(records[0].venue, []).extend(records)
            count -= len(records)
            self._bytes -= size
        return found

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
