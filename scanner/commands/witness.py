"""Stages 6 to 8 of 8: what a run said about events that are known to have been planted.

Nothing here decides anything: it notes, scan by scan, where the listings of an event stood, and
words it afterwards. An event is watched from its start to AFTER_S behind its end, by the clock of
the simulated market, which falls behind ours on a machine that is too busy to step it in time.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import numpy as np

from feeds.contract import Listing
from scanner.alert import SECOND_NS, Alert
from scanner.alerts import LISTING_LISTS
from scanner.commands.live import Shown, consolidated_of
from scanner.consolidated import Consolidated
from scanner.result import ScanResult
from scanner.run import LiveRun
from scanner.view import LiveView
from scanner.view_model import contract_text, expiry_day, scope_text

AFTER_S: Final = 30.0
PRINTS: Final = ("sweep", "block")  # events that are made of trades


@dataclass(slots=True)
class Sighting:
    """One planted event, and what the scans said of its listings meanwhile.

    Attributes:
        kind: of the event. target: as a desk says it. keys: venue:symbol of its listings.
        venues: where it was planted, the one that was asked first.
        start_ns, end_ns: of the cause, by the market's clock. began_ns: start, by ours.
        best_rank: best place of any listing in a list; best_p: least headline p of an observation.
        hits: observations at or below p_on, by (listing id, list).
        alerts: that opened on one of the listings, in order. after_s: start to the first of them.
        crossed_s: start to the first and to the last scan that told one of the contracts crossed.
        edge: the widest of these crosses, bid over ask less 1.
        trades, flow_30s, block_usd: largest of what docs/METRICS.md has under these names.
    """

    kind: str
    venues: tuple[str, ...]
    target: str
    start_ns: int
    end_ns: int
    keys: frozenset[str]
    began_ns: int = 0
    best_rank: int | None = None
    best_p: float = 1.0
    hits: Counter[tuple[int, str]] = field(default_factory=Counter)
    alerts: list[Alert] = field(default_factory=list)
    after_s: float = 0.0
    crossed_s: tuple[float, float] | None = None
    edge: float = 0.0
    trades: float = 0.0
    flow_30s: float = 0.0
    block_usd: float = 0.0
    rows: list[int] = field(default_factory=list)

    def watches(self, now_ns: int) -> bool:
        """Whether a scan counts, now_ns by the market's clock."""
        return self.start_ns <= now_ns <= self.end_ns + AFTER_S * SECOND_NS

    def note(self, result: ScanResult, places: Mapping[int, int], p_on: float) -> None:
        """Take ranks and p of one scan."""
        # A held score of an observation before the event says nothing of it.
        news = [row for row in self.rows if result.observed_ns[row] >= self.began_ns]
        found = [places[row] for row in news if row in places]
        self.best_rank = min([*found, *([self.best_rank] if self.best_rank else [])], default=None)
        fresh = np.intersect1d(np.array(self.rows, np.int64), result.fresh)
        for index, name in enumerate(LISTING_LISTS):
            seen = ~np.isnan(result.score[index][fresh])
            p = np.minimum(1.0, 2.0 * result.p[index][fresh].astype(np.float64))
            self.best_p = min([self.best_p, *p[seen].tolist()])
            self.hits.update((row, name) for row in fresh[seen & (p <= p_on)].tolist())

    def note_prints(self, metrics: Mapping[str, Any]) -> None:
        """Take what is measured of trades, which no score reads."""
        for name, metric in (("trades", "trades"), ("block_usd", "block_premium_usd")):
            values = np.nan_to_num(metrics[metric][self.rows])
            setattr(self, name, max(getattr(self, name), float(values.max(initial=0.0))))
        flows = np.nan_to_num(metrics["flow_30s"][self.rows])
        if len(flows):
            self.flow_30s = max(self.flow_30s, *flows.tolist(), key=abs)

    def note_alerts(self, alerts: Iterable[Alert], since_s: float) -> None:
        """Take the alerts that open, so many seconds after the start."""
        found = [a for a in alerts if a.state == "open" and self.keys & set(a.identity.listings)]
        if found and not self.alerts:
            self.after_s = since_s
        self.alerts += found

    def note_crosses(self, book: Consolidated, contracts: Iterable[int], since_s: float) -> None:
        """Take whether one of the contracts is told crossed, so many seconds after the start."""
        at = np.flatnonzero(book.crossed & np.isin(book.contract_id, list(contracts)))
        if len(at):
            self.crossed_s = (self.crossed_s or (since_s,))[0], since_s
            bid, ask = book.price_usd[:, at]
            self.edge = max(self.edge, float((bid / ask).max()) - 1.0)


class Witness(Shown):
    """Hooks of a run that also watch planted events.

    Attributes:
        sightings: one an event, in the order of their starts.
        lag_ns: how far the market's clock is behind ours; whoever knows it keeps it up to date.
    """

    def __init__(self, view: LiveView | None, p_on: float) -> None:
        super().__init__(view)
        self.sightings: list[Sighting] = []
        self.lag_ns = 0
        self._p_on = p_on

    def watch(self, truths: Sequence[Mapping[str, Any]], listings: Mapping[str, Listing]) -> None:
        """Watch what was planted: truths of feeds/emulator/planted.py, of one event by target."""
        events = sorted(truths, key=_of_one_event)
        found = [_sighting(list(of_one), listings) for _, of_one in groupby(events, _of_one_event)]
        self.sightings = sorted(found, key=lambda one: (one.start_ns, one.kind))

    def note(self, now_ns: int) -> str:
        """What is being planted, for the page."""
        market_ns = now_ns - self.lag_ns
        begun = [one for one in self.sightings if one.start_ns <= market_ns]
        if begun:
            last = begun[-1]
            ago_s = (market_ns - last.start_ns) // SECOND_NS
            return f"planted {ago_s} s ago: {last.kind}, {last.target} on {where(last)}"
        if self.sightings:
            in_s = -(-(self.sightings[0].start_ns - market_ns) // SECOND_NS)
            return f"a quiet market; the first event is planted in {in_s} s"
        return ""

    def on_scan(self, run: LiveRun, alerts: list[Alert]) -> None:
        """Take one scan."""
        super().on_scan(run, alerts)
        result = run.pipeline.last_scan
        assert result is not None
        market_ns = result.now_ns - self.lag_ns
        watched = [one for one in self.sightings if one.watches(market_ns)]
        if not watched:
            return
        universe = run.pipeline.universe
        places, book = _places(result), consolidated_of(run)
        for one in watched:
            one.began_ns = one.began_ns or one.start_ns + self.lag_ns
            since_s = (market_ns - one.start_ns) / SECOND_NS
            named = (key.partition(":") for key in sorted(one.keys))
            rows = [universe.symbols(venue).get(symbol, -1) for venue, _, symbol in named]
            one.rows = [row for row in rows if row >= 0]
            one.note(result, places, self._p_on)
            one.note_alerts(alerts, since_s)
            if one.kind in PRINTS:
                one.note_prints(result.metrics)
            if book is not None:
                one.note_crosses(book, universe.columns.contract_id[one.rows], since_s)


def _of_one_event(truth: Mapping[str, Any]) -> tuple[str, str]:
    return truth["kind"], truth["target"]


def _sighting(of_one: Sequence[Mapping[str, Any]], listings: Mapping[str, Listing]) -> Sighting:
    """An event from its truths on all its venues."""
    keys = frozenset(f"{truth['venue']}:{s}" for truth in of_one for s in truth["symbols"])
    first = of_one[0]
    one = listings.get(f"{first['venue']}:{first['symbols'][0]}")
    target = str(first["target"])
    if one is not None and one.expiry_ns is not None:
        whole = len(first["symbols"]) > 1
        target = f"{one.underlying} {expiry_day(one.expiry_ns)}" if whole else contract_text(one)
    return Sighting(
        kind=first["kind"],
        venues=tuple(truth["venue"] for truth in of_one),
        target=target,
        start_ns=min(truth["start_ns"] for truth in of_one),
        end_ns=max(truth["end_ns"] for truth in of_one),
        keys=keys,
    )


def _places(result: ScanResult) -> dict[int, int]:
    """Best place of each ranked listing in the lists, from 1."""
    places: dict[int, int] = {}
    for ids in result.top.values():
        for place, listing_id in enumerate(ids.tolist(), start=1):
            places[listing_id] = min(place, places.get(listing_id, place))
    return places


def in_words(one: Sighting, p_on: float) -> tuple[str, str]:
    """What became of an event, and with what or why not."""
    if not one.began_ns:
        return "not planted in time", "the run ended before the simulated market came to it"
    rank = f"rank {one.best_rank} at best" if one.best_rank else "unranked"
    if not one.alerts:
        return f"no alert, {rank}", _why_not(one, p_on)
    first = one.alerts[0]
    also = f", the first of {len(one.alerts)}" if len(one.alerts) > 1 else ""
    why = "its members together"
    if first.drivers:
        lead = first.drivers[0]
        over = " over 60 s" if lead.scale == "60s" else ""
        z = "" if lead.z is None else f" z {lead.z:+.1f}"
        why = f"{lead.family} {lead.share:.0%}, {lead.feature}{over}{z}"
    return (
        f"ALERT after {one.after_s:.0f} s, {rank}",
        f"{first.list} alert of {scope_text(first)}{also}: {why}",
    )


def _why_not(one: Sighting, p_on: float) -> str:
    """Why no alert opened on an event, from what was noted."""
    if one.crossed_s is not None and one.kind == "crossed":
        first_s, last_s = one.crossed_s
        return (
            f"under CROSSED on the page after {first_s:.0f} s, for {last_s - first_s:.0f} s, "
            f"{one.edge:.1%} wide; a cross is told, not scored"
        )
    if one.kind == "block":
        return f"prints are measured, not scored: block_premium_usd {one.block_usd:,.0f}"
    if one.kind == "sweep":
        digits = "+,.0f" if abs(one.flow_30s) >= 100.0 else "+.3g"
        flow = f"{one.flow_30s:{digits}} {one.target.partition(' ')[0]}"
        return (
            f"prints are measured, not scored: {one.trades:.0f} trades, flow_30s {flow}; "
            f"book alone: p {one.best_p:.0e}"
        )
    most = max(one.hits.values(), default=0)
    if most:
        times = "in one observation" if most == 1 else f"in {most} observations"
        return f"p {one.best_p:.2e} {times}; an alert takes {p_on:.0e} in two of three"
    return (
        f"p {one.best_p:.2e} at its least; an alert takes {p_on:.0e} in two of three observations"
    )


def where(one: Sighting) -> str:
    """The venues of an event: `okx > bybit` where the bid of the first stands above."""
    if one.kind == "crossed":
        return " > ".join(one.venues)
    if one.kind == "lead":
        return f"{one.venues[0]}, then {len(one.venues) - 1} more"
    return " ".join(one.venues)


def record_of(one: Sighting, p_on: float) -> dict[str, Any]:
    """An event and what was said of it, as plain data."""
    said, how = in_words(one, p_on)
    first = one.alerts[0] if one.alerts else None
    return {
        "event": one.kind,
        "venues": one.venues,
        "target": one.target,
        "start_ns": one.start_ns,
        "end_ns": one.end_ns,
        "found": first is not None,
        "after_s": one.after_s if first else None,
        "list": first.list if first else None,
        "scope": first.scope if first else None,
        "alerts": len(one.alerts),
        "best_rank": one.best_rank,
        "best_p": one.best_p,
        "hits": max(one.hits.values(), default=0),
        "crossed_s": one.crossed_s,
        "said": f"{said}; {how}",
    }
