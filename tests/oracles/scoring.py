"""Stage 6 of 8, checked: baselines, scores, groups and ranking, in plain float64.

Follows docs/SCORING.md sections 3 to 6 line by line: the listings and their metrics come from
`tests/oracles/metrics.py`, histograms and combinations from `tests/oracles/evidence.py`. Where
the text leaves a choice, the comment at the place says which one was taken.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.oracles.evidence import (
    DRIVER_BINS,
    FIXED_POINT,
    STRENGTH_BINS,
    HistogramRing,
    MeanRing,
    acat_bin,
    acat_strength,
    driver_bin,
    fisher_bin,
    fisher_statistic,
    fixed_point,
)
from tests.oracles.liquidity import LiquidityClasses
from tests.oracles.metrics import NAN, SETTLING, OracleListing, decay, seconds

LISTS = ("spike", "broad")
OBI, DEPTH_OBI, LOG_SPREAD, LOG_DEPTH, ANCHORED_MID, OFI_30S = range(6)
FEATURE_COUNT = 6
STRATUM_EDGES_S = (1, 4, 15, 60)
OBSERVATIONS_NEEDED = 30
PRIOR_OBSERVATIONS = 20
HUBER = 0.9950073
Z_MOST = 65535.0
GROUP_FEWEST = 8
MEMBER_NS = 60 * 10**9
HOLD_NS = 300 * 10**9

Prior = Mapping[tuple[int, int], tuple[float, float]]  # (stratum, feature) -> (mean, variance)
GroupKey = tuple[str, int]  # (underlying, expiry_ns, or 0 for the whole underlying)


def stratum_of(dt_s: float) -> int:
    return sum(dt_s > edge for edge in STRATUM_EDGES_S)


def clip(x: float, bound: float) -> float:
    return max(-bound, min(bound, x))


def standardised(r: float, scale: float) -> float:
    """`r / scale` clipped to +-65535; without a scale 0 where r = 0, else the clip."""
    if scale > 0:
        return clip(r / scale, Z_MOST)
    return 0.0 if r == 0 else math.copysign(Z_MOST, r)


def learning_rate(dt_s: float, n: int) -> float:
    a = max(1 - decay(dt_s, 3600), 1 / n)
    return min(a, 1 / 50) if n > 50 else a


def huberised(r: float, scale: float) -> float:
    return clip(r, 3 * scale) if scale > 0 else r


@dataclass
class Baseline:
    """What one feature of one listing usually is (m, v, n), and its smoothed z (s, vs, ns)."""

    m: float = NAN
    v: float = 0.0
    n: int = 0
    s: float = 0.0
    vs: float = 0.0
    ns: int = 0
    z_before: float = 0.0

    def start(self, x: float) -> None:
        self.m, self.v, self.n = x, 0.0, 1

    def judge(self, x: float, dt_s: float) -> float:
        """Step B: z against the past, then learn. NaN while fewer than 30 were seen."""
        scale = math.sqrt(self.v)
        r = x - self.m
        z = standardised(r, scale) if self.n >= OBSERVATIONS_NEEDED else NAN
        self.n += 1
        a, rc = learning_rate(dt_s, self.n), huberised(r, scale)
        self.m += a * rc
        self.v += a * (rc * rc / HUBER - self.v)
        return z

    def smooth(self, z: float, dt_s: float) -> float:
        """Step D: the 60 s scale of an eligible z. NaN while fewer than 30 were seen."""
        zc, k = clip(z, 10), max(dt_s, 1.0)
        gap, one = decay(k - 1, 60), decay(1, 60)
        self.s = (self.s * gap + self.z_before * (1 - gap)) * one + zc * (1 - one)
        self.z_before = zc
        scale = math.sqrt(self.vs)
        y = standardised(self.s, scale) if self.ns >= OBSERVATIONS_NEEDED else NAN
        self.ns += 1
        rc = huberised(self.s, scale)
        self.vs += learning_rate(dt_s, self.ns) * (rc * rc / HUBER - self.vs)
        return y


@dataclass
class CommonScale:
    """C2 of one (stratum, driver): what |z| is at present, over its normal mean."""

    g: float = 1.0
    units: int = 0
    count: int = 0
    folded_ns: int | None = None

    def add(self, z: float) -> None:
        self.units += fixed_point(min(abs(z), 3.0))
        self.count += 1

    def fold(self, now_ns: int) -> None:
        """At the end of a scan, once 32 entries have gathered."""
        if self.count < 32:
            return
        mean = self.units / FIXED_POINT / self.count / 0.778
        if self.folded_ns is not None:
            d = decay(seconds(now_ns, self.folded_ns), 30)
            mean = self.g * d + mean * (1 - d)
        self.g, self.folded_ns, self.units, self.count = max(mean, 0.2), now_ns, 0, 0


def nans(count: int) -> list[float]:
    return [NAN] * count


@dataclass
class OracleRow:
    """Outputs of one listing. Held between observations; p is 1 where there is no score."""

    p: list[float] = field(default_factory=lambda: [1.0, 1.0])
    score: list[float] = field(default_factory=lambda: nans(2))
    statistic: list[float] = field(default_factory=lambda: nans(2))
    excess: list[int] = field(default_factory=lambda: [0, 0])  # e of the rank key
    z: list[float] = field(default_factory=lambda: nans(12))
    p_feature: list[float] = field(default_factory=lambda: nans(12))
    value: list[float] = field(default_factory=lambda: nans(6))
    baseline: list[float] = field(default_factory=lambda: nans(6))
    usd: float = 0.0  # of the rank key, as it was at the observation
    stratum: int = 0
    observed: bool = False  # in this very scan
    observed_ns: int = 0  # of the last observation, 0 = never

    @property
    def has_score(self) -> bool:
        return not math.isnan(self.score[0])


@dataclass
class OracleScan:
    """One scan: rows by listing_id, groups (those in `groups_fresh` scored now), rankings."""

    now_ns: int
    rows: dict[int, OracleRow]
    groups: dict[GroupKey, tuple[int, float, float]]
    groups_fresh: set[GroupKey]
    top: dict[str, list[int]]
    reference_count: list[int]  # [stratum], of the spike list, before this scan
    own_observations: dict[int, int]


@dataclass
class Track:
    """What the scanner remembers of a listing beside its book and its baselines."""

    baselines: list[Baseline] = field(
        default_factory=lambda: [Baseline() for _ in range(FEATURE_COUNT)]
    )
    row: OracleRow = field(default_factory=OracleRow)
    observations: int = 0
    at_ns: int = 0
    mid: float = NAN
    forward: float = NAN


def features(
    listing: OracleListing, track: Track, metrics: Mapping[str, float], now_ns: int
) -> list[float]:
    """The six values of a regular row, in the order of the scored features."""
    state = listing.state
    sizes = sum(size for _, size in state.bids + state.asks)
    return [
        math.atanh(0.98 * metrics["obi"]),
        math.atanh(0.98 * metrics["depth_obi"]),
        math.log2(state.spread),
        math.log2(sizes),
        anchored_mid(listing, track, now_ns),
        math.asinh(metrics["ofi_30s"]),
    ]


def mid_price(listing: OracleListing) -> float:
    return listing.state.mid * float(listing.static["tick"])


def anchored_mid(listing: OracleListing, track: Track, now_ns: int) -> float:
    """Move of the mid since the previous observation beyond delta x forward, in mean spreads."""
    static = listing.static
    if track.observations == 0:
        return NAN
    price_per = float(static["price_per"])
    mid, mid_p = mid_price(listing) / price_per, track.mid / price_per
    s = listing.mean_spread_at(now_ns) * float(static["tick"]) / price_per
    if not static["is_option"]:
        return (mid - mid_p) / s
    if listing.validity(now_ns) & SETTLING:
        return NAN
    # The delta is the one held now; only the forward of the previous observation is needed.
    delta = listing.tick_values.get("delta", NAN)
    forward = listing.tick_values.get("forward", NAN)
    move = forward - track.forward
    if static["inverse"]:
        return ((mid - mid_p) + (mid_p - delta) * move / forward) / s
    return ((mid - mid_p) - delta * move) / s


class OracleScanner:
    """All listings together: rows and tickers in, scans out.

    prior: (stratum, feature) -> (mean, variance) of a checkpoint's classes, or None.
    """

    def __init__(
        self, listings: Sequence[OracleListing], k: int = 50, prior: Prior | None = None
    ) -> None:
        self.listings = {listing.listing_id: listing for listing in listings}
        self.k = k
        self.prior = dict(prior or {})
        self.tracks = {listing_id: Track() for listing_id in self.listings}
        self.scales: dict[tuple[int, int], CommonScale] = {}  # (stratum, driver)
        self.driver_histograms = HistogramRing(DRIVER_BINS)
        self.list_histograms = HistogramRing(STRENGTH_BINS)
        self.group_histograms = HistogramRing(DRIVER_BINS)
        self.member_mean = MeanRing()
        self.groups: dict[GroupKey, tuple[int, float, float]] = {}
        self.liquidity = LiquidityClasses()

    def apply(self, rows: Iterable[Any]) -> None:
        for row in rows:
            listing_id = row[5] if isinstance(row, tuple) else int(row["listing_id"])
            self.listings[listing_id].apply((row,))

    def tickers(self, rows: Iterable[Any]) -> None:
        """All tickers of one tick, before its rows: anchors move once a tick."""
        heard = set()
        for row in rows:
            listing_id = int(row["listing_id"])
            self.listings[listing_id].ticker(row)
            heard.add(listing_id)
        for listing_id in heard:
            self.listings[listing_id].roll()

    def scan(self, now_ns: int) -> OracleScan:
        """Score every fresh row; everything read is as it stood before this scan."""
        rings = (self.driver_histograms, self.list_histograms, self.group_histograms)
        for ring in (*rings, self.member_mean):
            ring.roll(now_ns)
        self._classify(now_ns)
        references = [self.list_histograms.total((stratum, 0)) for stratum in range(5)]
        scored = []
        for listing_id, listing in self.listings.items():
            track = self.tracks[listing_id]
            track.row = replace(track.row, observed=False)
            # Expiry is no update, but an expired row must lose its score all the same.
            expired_now = listing.advance(now_ns)
            if (listing.fresh or expired_now) and not listing.regular(now_ns):
                track.row = OracleRow(observed_ns=track.row.observed_ns)
                listing.pressure = NAN
            elif listing.fresh:
                self._observe(listing, track, now_ns)
                if track.row.has_score:
                    scored.append(track)
            listing.clear_fresh()
        groups_fresh = self._score_groups(now_ns)
        self._learn(scored, now_ns, groups_fresh)
        return OracleScan(
            now_ns,
            {i: self._held(track.row, now_ns) for i, track in self.tracks.items()},
            dict(self.groups),
            groups_fresh,
            {name: self._top(index, now_ns) for index, name in enumerate(LISTS)},
            references,
            {i: track.observations for i, track in self.tracks.items()},
        )

    def _classify(self, now_ns: int) -> None:
        """Liquidity classes, as of before this scan's scores."""
        if not self.liquidity.due(now_ns):
            return
        activity = {i: listing.activity_usd(now_ns) for i, listing in self.listings.items()}
        self.liquidity.assign(activity, now_ns)
        for listing_id, class_ in self.liquidity.classes.items():
            self.listings[listing_id].liquidity_class = class_

    # --- one listing ----------------------------------------------------------------------

    def _observe(self, listing: OracleListing, track: Track, now_ns: int) -> None:
        """Steps 1 to 7 for one fresh and regular row."""
        metrics = listing.metrics(now_ns)
        x = features(listing, track, metrics, now_ns)
        row = OracleRow(value=x, observed=True, observed_ns=now_ns)
        if track.observations == 0:
            self._first(track, x)
        else:
            dt_s = seconds(now_ns, track.at_ns)
            row.stratum = stratum_of(dt_s)
            row.baseline, row.z = self._standardise(track, x, dt_s)
            self._combine(row)
            signed = [row.z[6 + f] for f in (OBI, DEPTH_OBI, OFI_30S)]
            known = [y for y in signed if not math.isnan(y)]
            listing.pressure = sum(known) / len(known) if known else NAN
            row.usd = usd_of(metrics)
        track.row = row
        track.observations += 1
        track.at_ns, track.mid = now_ns, mid_price(listing)
        track.forward = listing.tick_values.get("forward", NAN)

    def _first(self, track: Track, x: Sequence[float]) -> None:
        """The first observation fills empty baselines.

        With a prior they stay empty: the prior is chosen by the stratum, so it can only come
        with the second observation, and it would never come to a baseline already begun.
        """
        for f, baseline in enumerate(track.baselines):
            has_prior = any(feature == f for _, feature in self.prior)
            if baseline.n == 0 and not has_prior and not math.isnan(x[f]):
                baseline.start(x[f])

    def _standardise(
        self, track: Track, x: Sequence[float], dt_s: float
    ) -> tuple[list[float], list[float]]:
        """Steps 2 to 5: the means compared with, and the twelve drivers."""
        stratum = stratum_of(dt_s)
        means, instant, smooth = nans(6), nans(6), nans(6)
        for f, baseline in enumerate(track.baselines):
            if baseline.n == 0 and (stratum, f) in self.prior:
                baseline.m, baseline.v = self.prior[stratum, f]
                baseline.n = PRIOR_OBSERVATIONS
            if baseline.n > 0:
                means[f] = baseline.m
            if math.isnan(x[f]):
                continue
            if baseline.n == 0:
                baseline.start(x[f])
                continue
            z = baseline.judge(x[f], dt_s)
            if math.isnan(z):
                continue
            instant[f] = self._common_scaled(stratum, f, z)
            y = baseline.smooth(instant[f], dt_s)
            if not math.isnan(y):
                smooth[f] = self._common_scaled(stratum, FEATURE_COUNT + f, y)
        return means, instant + smooth

    def _common_scaled(self, stratum: int, driver: int, z: float) -> float:
        """C2: note |z|, divide by the scale as it stood before this scan."""
        scale = self.scales.setdefault((stratum, driver), CommonScale())
        scale.add(z)
        return z / scale.g

    def _combine(self, row: OracleRow) -> None:
        """Steps 6 and 7: p of each driver, both statistics, p and score of each list."""
        if all(math.isnan(z) for z in row.z):
            return
        row.p_feature = [
            NAN if math.isnan(z) else self.driver_histograms.p((row.stratum, k), driver_bin(z))
            for k, z in enumerate(row.z)
        ]
        row.statistic = [acat_strength(row.p_feature), fisher_statistic(row.p_feature)]
        for index, bin_ in enumerate(list_bins(row)):
            key = (row.stratum, index)
            row.p[index] = self.list_histograms.p(key, bin_)
            row.score[index] = abs(-math.log10(row.p[index]))  # abs turns -0 into 0.
            largest = self.list_histograms.largest(key)
            # Without any reference value nothing lies beyond the largest one.
            if largest is not None and bin_ > largest:
                row.excess[index] = min(bin_ - largest, 99)

    def _held(self, row: OracleRow, now_ns: int) -> OracleRow:
        """A copy for the outside: a score older than the hold time is not shown."""
        if now_ns - row.observed_ns > HOLD_NS:
            return replace(row, score=nans(2))
        return replace(row)

    # --- all listings ---------------------------------------------------------------------

    def _score_groups(self, now_ns: int) -> set[GroupKey]:
        """Section 5, with the members' p of this scan and everything else of before."""
        members: dict[GroupKey, list[Track]] = {}
        for listing_id, listing in self.listings.items():
            track = self.tracks[listing_id]
            recent = track.row.has_score and now_ns - track.row.observed_ns < MEMBER_NS
            if listing.static["is_option"] and recent and listing.regular(now_ns):
                underlying = listing.static["underlying"]
                for expiry_ns in (listing.static["expiry_ns"], 0):
                    members.setdefault((underlying, expiry_ns), []).append(track)
        c = self.member_mean.mean(1000, 0.42)
        fresh: set[GroupKey] = set()
        for key, tracks in members.items():
            m = len(tracks)
            if m < GROUP_FEWEST or not any(track.row.observed for track in tracks):
                continue
            total = sum(member_units(track.row) for track in tracks)
            g = (total / FIXED_POINT - m * c) / math.sqrt(m)
            p = self.group_histograms.p(group_kind(key), driver_bin(max(g, 0.0)))
            self.groups[key] = (m, g, p)
            fresh.add(key)
        return fresh

    def _learn(self, scored: list[Track], now_ns: int, groups_fresh: set[GroupKey]) -> None:
        """Step 8: after all rows, this scan enters the references."""
        for track in scored:
            row = track.row
            for k, z in enumerate(row.z):
                if not math.isnan(z):
                    self.driver_histograms.count((row.stratum, k), driver_bin(z))
            for index, bin_ in enumerate(list_bins(row)):
                self.list_histograms.count((row.stratum, index), bin_)
            self.member_mean.add(member_units(row))
        for key in groups_fresh:
            g = self.groups[key][1]
            self.group_histograms.count(group_kind(key), driver_bin(max(g, 0.0)))
        for scale in self.scales.values():
            scale.fold(now_ns)

    def _top(self, index: int, now_ns: int) -> list[int]:
        """Section 6: listing ids by descending key."""
        keyed = []
        for listing_id, listing in self.listings.items():
            row = self.tracks[listing_id].row
            held = row.has_score and now_ns - row.observed_ns <= HOLD_NS
            if held and listing.regular(now_ns):
                key = rank_key(row.score[index], row.excess[index], row.usd, listing_id)
                keyed.append((key, listing_id))
        return [listing_id for _, listing_id in sorted(keyed, reverse=True)[: self.k]]


def list_bins(row: OracleRow) -> tuple[int, int]:
    return acat_bin(row.statistic[0]), fisher_bin(row.statistic[1])


def member_units(row: OracleRow) -> int:
    """`s` of a group member: score on the spike list, at most 4, fixed point."""
    return fixed_point(min(row.score[0], 4.0))


def group_kind(key: GroupKey) -> Hashable:
    return "underlying" if key[1] == 0 else "expiry"


def usd_of(metrics: Mapping[str, float]) -> float:
    """|USD vega|, else |premium|, else 0."""
    for name in ("ofi_30s_usd_vega", "ofi_30s_usd_premium"):
        if not math.isnan(metrics[name]):
            return abs(metrics[name])
    return 0.0


def rank_key(score: float, excess: int, usd: float, listing_id: int) -> int:
    """Score, then USD, then the smaller listing_id; all three in one whole number."""
    first = min(math.floor(1000 * score) + excess, 2**22 - 1)
    second = min(math.floor(65536 * math.log2(1 + usd)), 2**21 - 1)
    return first << 42 | second << 21 | (2**21 - 1 - listing_id)
