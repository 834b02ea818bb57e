"""Builds small scans by hand, one listing at a time, for the tests of stages 7 and 8."""

from dataclasses import dataclass, field

import numpy as np

from feeds.contract import Listing, ListingKind
from scanner.alerts import AlertBook, AlertRules
from scanner.result import DRIVERS, FEATURES, LISTS, GroupResult, ScanResult

SECOND = 1_000_000_000
T0 = 1_774_526_400 * SECOND  # 2026-03-26T12:00:00Z
EXPIRY = 1_774_598_400 * SECOND  # 2026-03-27T08:00:00Z
PLENTY = 10_000_000  # reference entries with which p_on = 1e-4 can be reached


def option(venue, strike=90_000, right="C", underlying="BTC", expiry_ns=EXPIRY):
    return Listing(
        venue=venue,
        symbol=f"{underlying}-27MAR26-{strike}-{right}",
        kind=ListingKind.OPTION,
        underlying=underlying,
        multiplier=1.0,
        price_ccy=underlying,
        settle="inverse",
        tick=0.0001,
        expiry_ns=expiry_ns,
        strike_e9=strike * SECOND,
        right=right,
        style="european",
    )


def perp(venue="deribit", underlying="BTC"):
    return Listing(
        venue=venue,
        symbol=f"{underlying}-PERPETUAL",
        kind=ListingKind.PERP,
        underlying=underlying,
        multiplier=1.0,
        price_ccy="USD",
        settle="inverse",
        tick=0.5,
    )


@dataclass
class Group:
    underlying: int
    expiry_ns: int
    p: float
    fresh: bool = True
    members: tuple[int, ...] = ()
    direction: float = 0.0
    reference_count: int = PLENTY
    lost: bool = False


@dataclass
class Scans:
    """The columns of a universe; `at` makes the scan of a second."""

    count: int
    p: np.ndarray = field(init=False)
    observed_ns: np.ndarray = field(init=False)

    def __post_init__(self):
        n = self.count
        self.p = np.ones((len(LISTS), n))
        self.lost = np.ones(n, bool)
        self.observed_ns = np.zeros(n, np.int64)
        self.z = np.full((len(DRIVERS), n), np.nan, np.float32)
        self.p_feature = np.full((len(DRIVERS), n), np.nan, np.float32)
        self.value = np.full((len(FEATURES), n), np.nan, np.float32)
        self.baseline = np.full((len(FEATURES), n), np.nan, np.float32)
        self.stratum = np.zeros(n, np.uint8)
        self.reference_count = np.full(5, PLENTY, np.int64)
        self.validity = np.zeros(n, np.uint16)
        self.warming = np.zeros(n, bool)
        self.metrics = {}
        self.groups = []
        self.top = {}
        self.scan_index = 0

    def at(self, second, spike=None, broad=None):
        """Scan at T0 + second; the rows named in spike or broad are fresh, with this p."""
        now = T0 + round(second * SECOND)
        for k, seen in enumerate((spike or {}, broad or {})):
            for row, p in seen.items():
                self.p[k, row] = p
                self.lost[row] = False
                self.observed_ns[row] = now
        fresh = sorted({*(spike or {}), *(broad or {})})
        self.scan_index += 1
        score = -np.log10(self.p)
        score[:, self.lost] = np.nan
        return ScanResult(
            scan_index=self.scan_index,
            now_ns=now,
            fresh=np.array(fresh, np.uint32),
            p=self.p.astype(np.float32),
            score=score.astype(np.float32),
            statistic=score.astype(np.float32),
            z=self.z,
            p_feature=self.p_feature,
            value=self.value,
            baseline=self.baseline,
            stratum=self.stratum,
            reference_count=self.reference_count,
            observed_ns=self.observed_ns.copy(),
            validity=self.validity.copy(),
            warming=self.warming,
            top={name: np.array(self.top.get(name, ()), np.uint32) for name in LISTS},
            groups=group_result(self.groups),
            metrics={name: np.asarray(c, np.float32) for name, c in self.metrics.items()},
        )


def group_result(groups):
    p = np.array([g.p for g in groups], np.float64)
    score = np.where([g.lost for g in groups], np.nan, -np.log10(p)) if groups else p
    members = np.full((len(groups), 8), -1, np.int32)
    for k, group in enumerate(groups):
        members[k, : len(group.members)] = group.members
    return GroupResult(
        underlying=np.array([g.underlying for g in groups], np.uint16),
        expiry_ns=np.array([g.expiry_ns for g in groups], np.int64),
        fresh=np.array([g.fresh for g in groups], bool),
        member_count=np.array([max(8, len(g.members)) for g in groups], np.int32),
        statistic=score.astype(np.float32),
        p=p.astype(np.float32),
        score=score.astype(np.float32),
        reference_count=np.array([g.reference_count for g in groups], np.int64),
        members=members,
        direction=np.array([g.direction for g in groups], np.float32),
    )


HIT, MISS, CALM = 1e-6, 1e-3, 0.5  # list p; headline p is twice that
LISTINGS = [
    option("deribit"),
    option("okx"),
    option("deribit", strike=95_000, right="P"),
    perp(),
    option("deribit", strike=100_000),
    option("bybit"),
]


def book_of(**rules):
    return AlertBook(
        AlertRules(config_hash="c0ffee", **rules),
        lambda row: LISTINGS[row] if row < len(LISTINGS) else None,
        lambda underlying: ("BTC", "ETH")[underlying],
    )


def states(alerts):
    return [(alert.state, alert.scope, alert.list) for alert in alerts]


def opened(book, scans, row=0, p=HIT):
    """Open one spike alert at seconds 0 and 1."""
    assert book.update(scans.at(0, spike={row: p})) == []
    return book.update(scans.at(1, spike={row: p}))
