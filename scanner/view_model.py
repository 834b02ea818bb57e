"""Stage 8 of 8: what the terminal view shows, as plain data: built from a scan, drawn elsewhere."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np

from feeds.contract import Listing, ListingKind, format_e9
from kernels import columns as c
from scanner.alert import SECOND_NS, Alert
from scanner.alerts import LISTING_LISTS, REACH_RATIO, AlertBook
from scanner.consolidated import Consolidated
from scanner.evidence import Evidence, listing_evidence
from scanner.result import ScanResult

STRATA: Final = ("≤1s", "2-4s", "5-15s", "16-60s", ">60s")
CROSSED_MAX: Final = 3
ANOMALIES_MAX: Final = 40  # More than a page shows, so that a row may fall behind and stay steady.
_FAMILY_SHORT: Final = {"imbalance": "imb", "liquidity": "liq", "price": "prc"}
_FEATURE_SHORT: Final = {
    "obi": "obi",
    "depth_obi": "dobi",
    "log_spread": "sprd",
    "log_depth": "depth",
    "anchored_mid": "mid",
    "ofi_30s": "ofi",
}


@dataclass(frozen=True, slots=True)
class VenueHealth:
    """How one venue's feed does; counts since the start of the run."""

    venue: str
    connections: int
    connections_planned: int
    messages_per_s: float
    gaps: int
    resyncs: int
    rejected: int
    lag_ms: float  # of recent rows against the venue's clock, a median; NaN where unknown
    # Receive time less venue time when nothing waits: how far the venue's clock is behind ours, and
    # the way to us. Negative: it is ahead. NaN where unknown.
    offset_ms: float = math.nan
    maintenance: bool = False  # down on purpose, as it said or as the configuration does
    recovering: int = 0  # connections that were lost and are not yet as they were before
    deep: int | None = None  # listings with depth at once; None where the venue has one tier


@dataclass(frozen=True, slots=True)
class Rates:
    """What goes through the scanner."""

    messages_per_s: float = math.nan
    rows_per_s: float = math.nan
    scan_ms: float = math.nan


@dataclass(frozen=True, slots=True)
class AnomalyRow:
    """One listing that is unusual now."""

    key: str  # venue:symbol
    contract: str
    venue: str
    list_name: str
    score: float  # headline, -log10 min(1, 2 min(p_spike, p_broad))
    p: float
    direction: int
    direction_vol: int
    usd_vega: float
    spread_rel: float
    quote_age_s: float
    duration_s: float  # of its open alert; NaN where it has none
    driver: str
    warming: bool


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One open alert, or one that closed a short while ago."""

    key: str  # id of the alert
    ts_ns: int
    open: bool
    list_name: str
    scope: str
    listing_count: int
    score: float
    peak_score: float
    direction: int
    direction_vol: int
    usd_vega: float
    duration_s: float
    note: str  # driver while open, reason once closed
    warming: bool


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One (underlying, expiry) group, or a whole underlying."""

    key: str
    score: float
    p: float
    direction: int
    member_count: int


@dataclass(frozen=True, slots=True)
class CrossRow:
    """One contract whose best bid stands above its best ask, on two venues."""

    contract: str
    bid_venue: str
    ask_venue: str
    bid_usd: float
    ask_usd: float


@dataclass(frozen=True, slots=True)
class Across:
    """Contracts over all venues: how many, how many that two or more quote, locked, crossed."""

    contract_count: int
    shared_count: int
    locked_count: int
    crossed_count: int
    widest: tuple[CrossRow, ...] = ()  # the crossed ones by how far, in parts of the ask


@dataclass(frozen=True, slots=True)
class ViewModel:
    """One picture. Ratios of calibration are 1 where alerts may open, below it while warming."""

    now_ns: int
    scan_index: int
    listing_count: int
    fresh_count: int
    rates: Rates
    calibration: tuple[tuple[str, float], ...]  # (stratum or "groups", reference / needed)
    anomalies: tuple[AnomalyRow, ...] = ()
    alerts: tuple[AlertRow, ...] = ()
    groups: tuple[GroupRow, ...] = ()
    venues: tuple[VenueHealth, ...] = ()
    across: Across | None = None
    counts: dict[str, int] = field(default_factory=dict)
    note: str = ""  # a line of whoever runs the scan


def view_model(
    result: ScanResult,
    book: AlertBook,
    listing_of: Callable[[int], Listing | None],
    underlying_name: Callable[[int], str],
    venues: Sequence[VenueHealth] = (),
    rates: Rates | None = None,
    across: Across | None = None,
) -> ViewModel:
    """Build the picture of one scan, before the next tick; the picture itself outlives it."""
    open_alerts = book.open_alerts
    return ViewModel(
        now_ns=result.now_ns,
        scan_index=result.scan_index,
        listing_count=int(np.count_nonzero((result.validity & (c.NO_STATE | c.EXPIRED)) == 0)),
        fresh_count=len(result.fresh),
        rates=rates or Rates(),
        calibration=_calibration(result, book.rules.p_on),
        anomalies=_anomalies(result, open_alerts, listing_of),
        alerts=_alert_rows(open_alerts, book, result.now_ns),
        groups=_group_rows(result, underlying_name),
        venues=tuple(venues),
        across=across,
        counts=_counts(book, len(open_alerts)),
    )


def across_venues(book: Consolidated, listing_of: Callable[[int], Listing | None]) -> Across:
    """What the view says of a consolidated book."""
    crossed = np.flatnonzero(book.crossed)
    bid, ask = book.price_usd[:, crossed]
    widest = crossed[np.argsort((ask - bid) / ask, kind="stable")][:CROSSED_MAX]
    rows = []
    for place in widest.tolist():
        buyer, seller = (listing_of(int(row)) for row in book.listing_id[:, place])
        if buyer is not None and seller is not None:
            prices = book.price_usd[:, place].tolist()
            rows.append(CrossRow(contract_text(buyer), buyer.venue, seller.venue, *prices))
    return Across(
        contract_count=len(book.contract_id),
        shared_count=int((book.venue_count > 1).sum()),
        locked_count=int(book.locked.sum()),
        crossed_count=len(crossed),
        widest=tuple(rows),
    )


def contract_text(listing: Listing) -> str:
    """How a desk says it: `BTC 27MAR26 90000 C`; the symbol for anything but an option."""
    expiry_ns, strike_e9 = listing.expiry_ns, listing.strike_e9
    if listing.kind is not ListingKind.OPTION or expiry_ns is None or strike_e9 is None:
        return listing.symbol
    strike = format_e9(strike_e9)
    return f"{listing.underlying} {expiry_day(expiry_ns)} {strike} {listing.right}"


def expiry_day(expiry_ns: int) -> str:
    """Day of an expiry.

    >>> expiry_day(1774598400_000000000)
    '27MAR26'
    """
    return datetime.fromtimestamp(expiry_ns // SECOND_NS, UTC).strftime("%d%b%y").upper()


def _hour(expiry_ns: int) -> str:
    return datetime.fromtimestamp(expiry_ns // SECOND_NS, UTC).strftime("%H:%M")


def driver_text(feature: str, scale: str, z: float, family: str, share: float) -> str:
    """Family with its share, and the strongest feature with its z, in at most 23 characters.

    >>> driver_text("log_depth", "60s", 8.12, "liquidity", 0.71)
    'liq 71% depth/60s +8.1'
    """
    name = _FEATURE_SHORT.get(feature, feature)
    slow = "/60s" if scale == "60s" else ""
    size = "" if math.isnan(z) else f" {z:+.1f}" if abs(z) < 10 else f" {z:+.0f}"
    return f"{_FAMILY_SHORT.get(family, family)} {100 * share:.0f}% {name}{slow}{size}"


def _anomalies(
    result: ScanResult,
    open_alerts: Sequence[Alert],
    listing_of: Callable[[int], Listing | None],
) -> tuple[AnomalyRow, ...]:
    """Rows of both top lists, each under the list where it is stronger, strongest first."""
    started: dict[tuple[str, str], int] = {
        (alert.list, name): alert.start_ns
        for alert in open_alerts
        for name in alert.identity.listings
    }
    rows = {row for name in LISTING_LISTS for row in result.top[name].tolist()}
    strongest = sorted(rows, key=lambda row: (result.p[:, row].min(), row))[:ANOMALIES_MAX]
    found = []
    for row in strongest:
        listing = listing_of(row)
        if listing is not None and not np.isnan(result.score[:, row]).all():
            found.append(_anomaly(result, row, listing, started))
    return tuple(sorted(found, key=lambda anomaly: (-anomaly.score, anomaly.key)))


def _anomaly(
    result: ScanResult, row: int, listing: Listing, started: dict[tuple[str, str], int]
) -> AnomalyRow:
    index = int(result.p[1, row] < result.p[0, row])
    name, key = LISTING_LISTS[index], f"{listing.venue}:{listing.symbol}"
    p = min(1.0, 2.0 * float(result.p[index, row]))
    is_option = listing.kind is ListingKind.OPTION
    evidence = listing_evidence(result, name, row, [row], is_option=is_option)
    starts = [started[k, key] for k in LISTING_LISTS if (k, key) in started]
    book = evidence.liquidity
    return AnomalyRow(
        key=key,
        contract=contract_text(listing),
        venue=listing.venue,
        list_name=name,
        score=-math.log10(p) + 0.0,
        p=p,
        direction=evidence.direction,
        direction_vol=evidence.direction_vol,
        usd_vega=_known(evidence.magnitude_usd_vega),
        spread_rel=_known(book.spread_rel if book else None),
        quote_age_s=_known(book.quote_age_s if book else None),
        duration_s=(result.now_ns - min(starts)) / SECOND_NS if starts else math.nan,
        driver=_driver(evidence),
        warming=bool(result.warming[row]),
    )


def _driver(evidence: Evidence | Alert) -> str:
    """The leading family and the strongest feature in it."""
    if not evidence.families:
        return ""
    family, share = max(evidence.families.items(), key=lambda item: item[1])
    lead = next((d for d in evidence.drivers if d.family == family), None)
    if lead is None:
        return ""
    return driver_text(lead.feature, lead.scale, _known(lead.z), family, share)


def _alert_rows(open_alerts: Sequence[Alert], book: AlertBook, now_ns: int) -> tuple[AlertRow, ...]:
    """Open alerts strongest first, then the closed ones latest first."""
    closed = [alert for alert in reversed(book.recent) if alert.state == "close"]
    return tuple(_alert_row(alert, now_ns) for alert in (*open_alerts, *closed))


def _alert_row(alert: Alert, now_ns: int) -> AlertRow:
    is_open = alert.state != "close"
    return AlertRow(
        key=alert.id,
        ts_ns=alert.start_ns if is_open else alert.ts_ns,
        open=is_open,
        list_name=alert.list,
        scope=scope_text(alert),
        listing_count=len(alert.identity.listings),
        score=_known(alert.score),
        peak_score=alert.peak_score,
        direction=alert.direction,
        direction_vol=alert.direction_vol,
        usd_vega=_known(alert.magnitude_usd_vega),
        duration_s=(now_ns - alert.start_ns) / SECOND_NS if is_open else alert.duration_s,
        note=_driver(alert) if is_open else f"closed: {alert.reason}",
        warming=alert.calibration == "warming",
    )


def scope_text(alert: Alert) -> str:
    """A contract or expiry as a desk says it; any other scope as it is."""
    who = alert.identity
    if alert.scope_kind not in ("contract", "expiry") or who.expiry_ns is None:
        return alert.scope
    day = expiry_day(who.expiry_ns)
    strike = f" {who.strike} {who.right}" if alert.scope_kind == "contract" else ""
    return f"{who.underlying} {day}{strike}"


def _group_rows(result: ScanResult, underlying_name: Callable[[int], str]) -> tuple[GroupRow, ...]:
    """Groups that have a score, strongest first."""
    groups = result.groups
    names = [
        f"{underlying_name(of)} {expiry_day(expiry_ns) if expiry_ns else 'all'}"
        for of, expiry_ns in zip(groups.underlying.tolist(), groups.expiry_ns.tolist(), strict=True)
    ]
    # Venues that expire at different hours of a day have a group each.
    uses = Counter(names)
    found = []
    for row in np.flatnonzero(~np.isnan(groups.score)).tolist():
        name, expiry_ns = names[row], int(groups.expiry_ns[row])
        pressure = float(groups.direction[row])
        found.append(
            GroupRow(
                key=f"{name} {_hour(expiry_ns)}" if uses[name] > 1 else name,
                score=float(groups.score[row]) + 0.0,  # never -0.00
                p=float(groups.p[row]),
                direction=(pressure >= 0.5) - (pressure <= -0.5),
                member_count=int(groups.member_count[row]),
            )
        )
    return tuple(sorted(found, key=lambda group: (-group.score, group.key)))


def _calibration(result: ScanResult, p_on: float) -> tuple[tuple[str, float], ...]:
    """How much of the reference that p_on needs is there: 1 means alerts may open."""
    bound = p_on / REACH_RATIO
    listings = [
        (name, min(1.0, bound * (1.0 + int(count)) / 2.0))
        for name, count in zip(STRATA, result.reference_count, strict=True)
    ]
    counts = result.groups.reference_count
    if not len(counts):
        return tuple(listings)
    # The kinds (expiries, underlyings) have references of their own; the shortest one is shown.
    return (*listings, ("groups", min(1.0, bound * (1.0 + int(counts.min())))))


def _counts(book: AlertBook, open_count: int) -> dict[str, int]:
    counts = book.counts
    return {
        "open": open_count,
        "opened": counts.opened.total(),
        "closed": counts.closed.total(),
        "suppressed": counts.suppressed_cooldown + counts.suppressed_limit,
        "held": counts.held,
    }


def _known(number: float | None) -> float:
    return math.nan if number is None else number
