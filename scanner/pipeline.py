"""Stages 3 to 7 of 8: engine and alerts on the grid; the part that live runs and replays share.

It reads no clock: whoever drives it says which grid time has come. Live, the driver is
scanner/run.py; in a replay it is the log, or the times of a table recording.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feeds.contract import Listing
from feeds.events import EventRows, TickerRows
from feeds.tables import Chunk, TableRecording
from scanner.alert import Alert
from scanner.alerts import AlertBook, AlertRules
from scanner.config import ScanConfig, config_hash
from scanner.engine import MS_NS, Scanner
from scanner.recovering import Recovering
from scanner.result import ScanResult


def alert_rules(config: ScanConfig) -> AlertRules:
    """The alert book's part of the configuration."""
    scoring, alerts = config.scoring, config.alerts
    return AlertRules(
        p_on=scoring.p_on,
        p_off=scoring.p_off,
        off_s=scoring.off_after_s,
        score_hold_s=scoring.score_hold_s,
        update_every_s=alerts.update_every_s,
        update_score_step=alerts.score_step,
        cooldown_s=alerts.cooldown_s,
        open_max=alerts.open_max,
        cooldowns_max=alerts.cooldowns_max,
        rules=alerts.rules,
        config_hash=config_hash(config)[:16],
    )


def grid_after(now_ns: int, period_ns: int) -> int:
    """The first grid time at or after now_ns."""
    return -(-now_ns // period_ns) * period_ns


@dataclass(slots=True)
class PipelineCounts:
    """What a run came to, counts only."""

    events: int = 0
    tickers: int = 0
    ticks: int = 0
    scans: int = 0
    alerts: Counter[str] = field(default_factory=Counter)  # messages, by list and state


class Pipeline:
    """Scanner and AlertBook, stepped along the grid.

    Attributes:
        scanner: the engine.
        book: open alerts and their counts.
        counts: what has come through.
        recovering: listings that are coming back.
        last_scan: the last result, None before the first; borrowed until the next step.
    """

    def __init__(self, config: ScanConfig, *, bars: bool = False) -> None:
        """Allocate for the configured capacity; raises DeviceError where there is no device.

        bars: also keep plain order-flow sums per bar (`scanner features`).
        """
        self.config = config
        self.scanner = Scanner(config, bars=bars)
        self.universe = self.scanner.universe
        self.book = AlertBook(alert_rules(config), self.listing_of, self.underlying_name)
        self.counts = PipelineCounts()
        self.last_scan: ScanResult | None = None
        self.scan_ns = config.engine.scan_ms * MS_NS
        window_ns = round(config.scoring.group_window_s * 1e9)
        self.recovering = Recovering(self.universe, window_ns)
        self._retired: list[tuple[int, int]] = []  # (scan count at retirement, row)
        self._rows_since_scan = False
        self._universe_ns = 0

    def listing_of(self, listing_id: int) -> Listing | None:
        """Listing of a row, None where it is free."""
        try:
            return self.universe.listing(listing_id)
        except KeyError:
            return None

    def underlying_name(self, underlying_id: int) -> str:
        """Name of an underlying."""
        return self.universe.underlyings.keys[underlying_id]

    def apply(self, rows: EventRows, tickers: TickerRows) -> None:
        """Hand over rows in the order of receipt; they wait for their tick."""
        self.counts.events += len(rows)
        self.counts.tickers += len(tickers)
        self.scanner.apply(rows, tickers)

    def retire(self, listing_id: int, now_ns: int) -> None:
        """End a listing: its score goes at the next scan, its row after the grace time."""
        # A notice received just after a grid time may be taken before the scan of that time.
        self._universe_ns = max(self._universe_ns, now_ns)
        self.universe.retire(listing_id, self._universe_ns)
        self.recovering.forget(listing_id)
        self._retired.append((self.counts.scans, listing_id))
        self._rows_since_scan = True

    def tick(self, now_ns: int) -> int:
        """Apply what was received up to grid time now_ns; returns the rows applied."""
        applied = self.scanner.tick(now_ns)
        self.counts.ticks += bool(applied)
        self._rows_since_scan |= bool(applied)
        return applied

    def due(self, now_ns: int) -> bool:
        """Whether a scan at grid time now_ns has anything to say: rows, or a deadline."""
        if self._rows_since_scan or self.scanner.pending_rows:
            return True
        deadline_ns = self.next_deadline_ns
        return deadline_ns is not None and deadline_ns <= now_ns

    @property
    def next_deadline_ns(self) -> int | None:
        """Earliest time at which something happens without an event; None = never."""
        times = [t for t in (self.book.next_deadline_ns, self.universe.next_expiry_ns) if t]
        return min(times, default=None)

    def scan(self, now_ns: int) -> list[Alert]:
        """Tick and scan at grid time now_ns, and say what the alerts became."""
        self.tick(now_ns)
        self._retire_expired(now_ns)
        result = self.recovering.mark(self.scanner.scan(now_ns))
        alerts = self.book.update(result)
        self.last_scan = result
        self.counts.scans += 1
        self.counts.alerts.update(f"{alert.list}.{alert.state}" for alert in alerts)
        self._rows_since_scan = False
        self._forget(now_ns)
        return alerts

    def skip(self, now_ns: int) -> list[Alert]:
        """What a recording does in place of a scan: the universe moves on, the rows are dropped."""
        self._retire_expired(now_ns)
        self.scanner.take_pending()
        self.counts.scans += 1
        self._rows_since_scan = False
        self._forget(now_ns)
        return []

    def _retire_expired(self, now_ns: int) -> None:
        for row in self.universe.expired(now_ns):
            self.retire(int(row), now_ns)

    def _forget(self, now_ns: int) -> None:
        """Free rows whose grace is over; the scan after a retirement has closed their episodes."""
        gone = [row for scans, row in self._retired if scans < self.counts.scans]
        if gone:
            self.book.forget(gone)
            self._retired = [(s, row) for s, row in self._retired if s >= self.counts.scans]
        self._universe_ns = max(self._universe_ns, now_ns)
        self.universe.advance(self._universe_ns)

    def summary(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Counts of the run, in a fixed order."""
        rows = self.scanner.row_counts()
        alerts = self.counts.alerts
        return {
            "events": self.counts.events,
            "tickers": self.counts.tickers,
            "ticks": self.counts.ticks,
            "scans": self.counts.scans,
            "listings": self.universe.live_count,
            "alerts": {name: alerts[f"{name}.open"] for name in ("spike", "broad", "group")},
            "messages": sum(alerts.values()),
            "held": self.book.counts.held,
            "suppressed": self.book.counts.suppressed_cooldown + self.book.counts.suppressed_limit,
            **{name: count for name, count in sorted(rows.items()) if name != "rows_applied"},
            **(extra or {}),
        }


def take_tables(recording: TableRecording, scanner: Scanner) -> tuple[EventRows, TickerRows]:
    """Add a recording's listings to the engine; returns its rows under the engine's ids."""
    engine_ids = np.array(scanner.add(recording.listings), np.uint32)
    order = np.argsort(recording.listing_ids)
    file_ids = recording.listing_ids[order]
    rows, tickers = recording.rows.copy(), recording.tickers.copy()
    for events in (rows, tickers):
        at = np.searchsorted(file_ids, events["listing_id"])
        events["listing_id"] = engine_ids[order[at]] if len(at) else 0
    return rows, tickers


def scan_tables(
    rows: EventRows, tickers: TickerRows, pipeline: Pipeline
) -> Iterator[tuple[int, list[Alert]]]:
    """Scan recorded rows on the grid; yields (grid time, alerts) of every scan that ran.

    Grid times without rows and without a deadline are skipped: they would change nothing. The end
    of the recording closes nothing.
    """
    return scan_chunks([Chunk(rows, tickers)], pipeline)


def scan_chunks(chunks: Iterable[Chunk], pipeline: Pipeline) -> Iterator[tuple[int, list[Alert]]]:
    """As `scan_tables`, of rows that come a stretch at a time: no row before one of the last.

    Where a stretch is cut changes nothing: a grid time is scanned when a later row has come.
    """
    period_ns = pipeline.scan_ns
    now_ns = waiting_ns = 0
    for chunk in chunks:
        pipeline.apply(*chunk)
        times = np.concatenate([chunk.rows["rx_ns"], chunk.tickers["rx_ns"]])
        for t in np.unique(-(-times // period_ns) * period_ns).tolist():
            if 0 < waiting_ns < t:
                yield from _scan_until(waiting_ns, now_ns, pipeline)
                now_ns = waiting_ns
            waiting_ns = t
    if waiting_ns:
        yield from _scan_until(waiting_ns, now_ns, pipeline)


def _scan_until(t: int, now_ns: int, pipeline: Pipeline) -> Iterator[tuple[int, list[Alert]]]:
    """Scan at grid time t and, since the scan at now_ns, wherever a deadline wants one."""
    period_ns = pipeline.scan_ns
    while now_ns and (deadline_ns := pipeline.next_deadline_ns) is not None:
        due_ns = max(grid_after(deadline_ns, period_ns), now_ns + period_ns)
        if due_ns >= t:
            break
        yield due_ns, pipeline.scan(due_ns)
        now_ns = due_ns
    yield t, pipeline.scan(t)
