"""Stage 7 of 8: scans become alerts.

AlertBook watches three lists (spike, broad, group), keeps one episode per row and one alert per
scope: a contract on five venues is one alert with five listings in it; the first listing opens
it, the last one closes it. Same scans, same configuration: same alerts, byte for byte.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from feeds.contract import Listing
from scanner.alert import (
    NO_SKILL,
    RULES,
    SECOND_NS,
    Alert,
    AlertList,
    Identity,
    Reason,
    State,
    alert_id,
    six_digits,
)
from scanner.episodes import (
    Episode,
    EpisodeList,
    GroupLane,
    Lane,
    ListingLane,
    Thresholds,
    seconds_ns,
)
from scanner.evidence import (
    Subject,
    group_evidence,
    group_members,
    group_subject,
    listing_evidence,
    listing_subject,
    validity_names,
)
from scanner.result import GroupResult, ScanResult

LISTING_LISTS: Final[tuple[AlertList, ...]] = ("spike", "broad")
RECENT_MAX: Final = 32  # Opens and closes kept for the views; two screens of them.
REACH_RATIO: Final = 3.0  # No alert while the smallest reachable p is above p_on / 3.


@dataclass(frozen=True, slots=True)
class AlertRules:
    """When alerts begin, change and end. Times in seconds of grid time.

    Attributes:
        p_on: headline p at which an observation counts as a hit.
        p_off: headline p above which an episode is on its way out.
        off_s: how long it must stand above p_off.
        score_hold_s: how long an unobserved row keeps its score and its episode.
        update_every_s: least time between two messages of one open alert.
        update_score_step: change of score worth a message, or worth another's place.
        cooldown_s: how long a closed scope stays silent, unless it is stronger than it ever was.
        open_max: open episodes per list; the strongest stay, the others are counted.
        cooldowns_max: scopes remembered as cooling; beyond it the oldest is forgotten, counted.
        rules: version of the scoring rules, part of every id.
        config_hash: names the configuration in every alert.
    """

    p_on: float = 1e-4
    p_off: float = 1e-2
    off_s: float = 60.0
    score_hold_s: float = 300.0
    update_every_s: float = 10.0
    update_score_step: float = 0.5
    cooldown_s: float = 60.0
    open_max: int = 1_000
    cooldowns_max: int = 8_192
    rules: str = RULES
    config_hash: str = ""

    def __post_init__(self) -> None:
        if not 0.0 < self.p_on <= self.p_off < 1.0:
            raise ValueError(
                f"alert rules: p_on was {self.p_on}, p_off {self.p_off}; "
                "expected 0 < p_on <= p_off < 1"
            )
        if self.open_max < 1 or self.cooldowns_max < 1:
            raise ValueError(
                f"alert rules: open_max was {self.open_max}, cooldowns_max "
                f"{self.cooldowns_max}; expected both >= 1"
            )

    @property
    def thresholds(self) -> Thresholds:
        """The part that episodes need, in nanoseconds."""
        return Thresholds(
            p_on=self.p_on,
            p_off=self.p_off,
            off_ns=seconds_ns(self.off_s),
            hold_ns=seconds_ns(self.score_hold_s),
            open_max=self.open_max,
        )


@dataclass(slots=True)
class AlertCounts:
    """What became of the wishes to alert since the start.

    A wish (a row that has its two hits and is not open) counts once until it ends, under the
    first reason that kept it from opening.
    """

    opened: Counter[str] = field(default_factory=Counter)  # alerts, by list
    closed: Counter[str] = field(default_factory=Counter)  # alerts, by reason
    updates: int = 0
    held: int = 0  # reference too short for p_on, or the venue was just coming back
    suppressed_cooldown: int = 0
    suppressed_limit: int = 0  # open_max reached by stronger ones
    displaced: int = 0  # open episodes that gave way to stronger ones
    unknown_listing: int = 0  # ids that the universe did not know
    cooldowns_dropped: int = 0


@dataclass(slots=True)
class OpenAlert:
    """One alert between its open and its close."""

    list_name: AlertList
    subject: Subject
    id: str
    start_ns: int
    episodes: list[Episode] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    observations: int = 0  # of listings whose episode has ended
    notable: int = 0
    peak_score: float = 0.0
    seq: int = 0
    latest: Alert | None = None  # the last message sent

    @property
    def lead(self) -> Episode:
        """The strongest open episode; ties: the lower listing id."""
        return min(self.episodes, key=lambda episode: (episode.p, episode.row))

    def persistence(self) -> float:
        """Fraction of all observations with p <= p_off."""
        seen = self.observations + sum(e.observations for e in self.episodes)
        notable = self.notable + sum(e.notable for e in self.episodes)
        return notable / seen

    def end(self, episode: Episode) -> None:
        """Take an ended episode's numbers over."""
        self.episodes.remove(episode)
        self.observations += episode.observations
        self.notable += episode.notable


class AlertBook:
    """All open alerts, and the only place where one begins or ends."""

    def __init__(
        self,
        config: AlertRules,
        listing_of: Callable[[int], Listing | None],
        underlying_name: Callable[[int], str],
    ) -> None:
        self.rules = config
        self.counts = AlertCounts()
        self.next_deadline_ns: int | None = None
        self.recent: deque[Alert] = deque(maxlen=RECENT_MAX)
        self._listing_of = listing_of
        self._underlying_name = underlying_name
        self._lists = {name: EpisodeList(config.thresholds) for name in (*LISTING_LISTS, "group")}
        self._alerts: dict[tuple[str, str], OpenAlert] = {}
        self._cooling: dict[tuple[str, str], tuple[int, float]] = {}  # until_ns, peak score
        self._group_keys: tuple[NDArray[np.uint16], NDArray[np.int64]] | None = None
        self._leavers: list[int] = []
        self._sent: list[Alert] = []

    @property
    def open_alerts(self) -> list[Alert]:
        """The last message of every open alert, strongest first."""
        return sorted(
            (alert.latest for alert in self._alerts.values() if alert.latest is not None),
            key=_by_rank_key,
        )

    def forget(self, listing_ids: Iterable[int]) -> None:
        """Say that ids stop meaning what they meant; their episodes close at the next scan."""
        self._leavers.extend(listing_ids)

    def update(self, result: ScanResult) -> list[Alert]:
        """Take one scan in and return its messages, strongest first, closed ones by last score.

        Call it for every scan, in order, and at the first grid time >= next_deadline_ns.
        """
        self._sent = []
        now_ns = result.now_ns
        self._end_leavers(result)
        self._align_groups(result)
        self._forget_cooled(now_ns)
        for name, lane in self._lanes(result):
            episodes = self._lists[name]
            wishes = episodes.observe(lane, now_ns)
            for episode, reason in episodes.endings(lane, now_ns):
                self._end(name, episode, reason, result)
            if len(wishes):
                self._open(name, lane, wishes, result)
        self._send_changes(result)
        self._sent.sort(key=_by_rank_key)
        self.recent.extend(alert for alert in self._sent if alert.state != "update")
        return self._sent

    def _lanes(self, result: ScanResult) -> list[tuple[AlertList, Lane]]:
        lanes: list[tuple[AlertList, Lane]] = [("group", GroupLane(result.groups))]
        lanes.extend((name, ListingLane(result, k)) for k, name in enumerate(LISTING_LISTS))
        return lanes

    # Beginnings.

    def _open(
        self, name: AlertList, lane: Lane, wishes: NDArray[np.intp], result: ScanResult
    ) -> None:
        episodes, limit = self._lists[name], self.rules.open_max
        allowed = (lane.reach(wishes) <= self.rules.p_on / REACH_RATIO) & ~lane.held(wishes)
        self.counts.held += episodes.count_suppressed(wishes[~allowed].tolist())
        wishes = wishes[allowed]
        self.counts.suppressed_limit += episodes.count_suppressed(wishes[limit:].tolist())
        wishes = wishes[:limit]
        full = len(episodes.open) + len(wishes) > limit
        weakest = iter(episodes.weakest_first() if full else ())
        for row, p in zip(wishes.tolist(), lane.p(wishes).tolist(), strict=True):
            subject = self._subject(name, row, result)
            if subject is None or self._cooling_down(name, subject.scope, row, p):
                continue
            if len(episodes.open) >= limit:
                weaker = next(weakest, None)
                if weaker is None or weaker.p < p * 10.0**self.rules.update_score_step:
                    self.counts.suppressed_limit += episodes.count_suppressed([row])
                    continue
                self.counts.displaced += 1
                self._end(name, weaker, "displaced", result)
            self._start(name, subject, row, p, result)

    def _start(
        self, name: AlertList, subject: Subject, row: int, p: float, result: ScanResult
    ) -> None:
        key = (name, subject.scope)
        alert = self._alerts.get(key)
        if alert is None:
            identity = alert_id(subject.scope, name, result.now_ns, self.rules.rules)
            alert = OpenAlert(name, subject, identity, result.now_ns)
            self._alerts[key] = alert
            self._cooling.pop(key, None)
            self.counts.opened[name] += 1
        episode = self._lists[name].start(row, p, result.now_ns, subject.scope)
        alert.episodes.append(episode)
        if subject.name:
            alert.names.add(subject.name)

    def _cooling_down(self, name: AlertList, scope: str, row: int, p: float) -> bool:
        """Whether a closed scope must stay silent; one stronger than its last peak need not."""
        cooling = self._cooling.get((name, scope))
        if cooling is None or (name, scope) in self._alerts or -math.log10(p) > cooling[1]:
            return False
        self.counts.suppressed_cooldown += self._lists[name].count_suppressed([row])
        return True

    def _subject(self, name: AlertList, row: int, result: ScanResult) -> Subject | None:
        if name == "group":
            groups = result.groups
            underlying = self._underlying_name(int(groups.underlying[row]))
            return group_subject(underlying, int(groups.expiry_ns[row]))
        listing = self._listing_of(row)
        if listing is None:
            self.counts.unknown_listing += self._lists[name].count_suppressed([row])
            return None
        return listing_subject(listing)

    # Changes.

    def _send_changes(self, result: ScanResult) -> None:
        """Send opens and due updates; leave in next_deadline_ns when the next one is due."""
        every_ns, thresholds = seconds_ns(self.rules.update_every_s), self.rules.thresholds
        ranks = {name: _ranks(result, name) for name in LISTING_LISTS}
        lanes = dict(self._lanes(result))
        deadlines: list[int] = []
        for alert in self._alerts.values():
            lead = alert.lead
            score = -math.log10(lead.p)
            alert.peak_score = max(alert.peak_score, score)
            rank = _rank(result, ranks, alert.list_name, lead.row)
            deadlines.extend(episode.deadline_ns(thresholds) for episode in alert.episodes)
            if not self._changed(alert, score, rank):
                continue
            due_ns = alert.latest.ts_ns + every_ns if alert.latest is not None else result.now_ns
            if due_ns <= result.now_ns:
                self._send(alert, lanes[alert.list_name], rank, result)
            else:
                deadlines.append(due_ns)
        self.next_deadline_ns = min(deadlines, default=None)

    def _changed(self, alert: OpenAlert, score: float, rank: int | None) -> bool:
        latest = alert.latest
        if latest is None or latest.score is None:
            return True
        return rank != latest.rank or abs(score - latest.score) >= self.rules.update_score_step

    def _send(self, alert: OpenAlert, lane: Lane, rank: int | None, result: ScanResult) -> None:
        lead = alert.lead
        if alert.list_name == "group":
            evidence = group_evidence(result, lead.row)
            listings = self._member_names(result, lead.row)
        else:
            rows = sorted(episode.row for episode in alert.episodes)
            evidence = listing_evidence(
                result, alert.list_name, lead.row, rows, is_option=alert.subject.is_option
            )
            listings = tuple(sorted(alert.names))
        reach = float(lane.reach(np.array([lead.row]))[0])
        trusted = reach <= self.rules.p_on / REACH_RATIO and not lane.warming(lead.row)
        state: State = "update" if alert.seq else "open"
        self._emit(
            alert,
            Alert(
                id=alert.id,
                seq=alert.seq + 1,
                key=f"{alert.id}.{alert.seq + 1}",
                state=state,
                ts_ns=result.now_ns,
                start_ns=alert.start_ns,
                scope_kind=alert.subject.kind,
                scope=alert.subject.scope,
                list=alert.list_name,
                identity=msgspec.structs.replace(alert.subject.identity, listings=listings),
                score=six_digits(-math.log10(lead.p)),
                p=six_digits(lead.p),
                rank=rank,
                peak_score=six_digits(alert.peak_score) or 0.0,
                duration_s=_seconds(result.now_ns - alert.start_ns),
                persistence=six_digits(alert.persistence()) or 0.0,
                impact=NO_SKILL,
                calibration="ok" if trusted else "warming",
                rules=self.rules.rules,
                config=self.rules.config_hash,
                direction=evidence.direction,
                direction_vol=evidence.direction_vol,
                magnitude_usd_vega=evidence.magnitude_usd_vega,
                magnitude_usd_delta=evidence.magnitude_usd_delta,
                premium_usd=evidence.premium_usd,
                liquidity=evidence.liquidity,
                drivers=evidence.drivers,
                families=evidence.families,
                validity=evidence.validity,
            ),
        )
        self.counts.updates += state == "update"

    def _member_names(self, result: ScanResult, group: int) -> tuple[str, ...]:
        found = (self._listing_of(row) for row in group_members(result, group))
        return tuple(f"{one.venue}:{one.symbol}" for one in found if one is not None)

    def _emit(self, alert: OpenAlert, message: Alert) -> None:
        alert.seq = message.seq
        alert.latest = message
        self._sent.append(message)

    # Ends.

    def _end(self, name: AlertList, episode: Episode, reason: Reason, result: ScanResult) -> None:
        alert = self._alerts[name, episode.scope]
        self._lists[name].end(episode.row)
        alert.end(episode)
        if alert.episodes:
            return
        del self._alerts[name, episode.scope]
        self._cool(name, alert, result.now_ns)
        self.counts.closed[reason] += 1
        self._emit(alert, self._closing(alert, episode, reason, result))

    def _closing(
        self, alert: OpenAlert, episode: Episode, reason: Reason, result: ScanResult
    ) -> Alert:
        """The last message: what was said last, with the end's own numbers.

        An invalid or vanished row has no p. Drivers and flows stay those of the last message,
        because at the end there is nothing unusual left to explain.
        """
        has_p = reason not in ("invalid", "delisted")
        rows = () if alert.list_name == "group" else (episode.row,)
        assert alert.latest is not None
        return msgspec.structs.replace(
            alert.latest,
            seq=alert.seq + 1,
            key=f"{alert.id}.{alert.seq + 1}",
            state="close",
            reason=reason,
            ts_ns=result.now_ns,
            score=six_digits(-math.log10(episode.p)) if has_p else None,
            p=six_digits(episode.p) if has_p else None,
            rank=None,
            identity=self._closing_identity(alert, alert.latest),
            peak_score=six_digits(alert.peak_score) or 0.0,
            duration_s=_seconds(result.now_ns - alert.start_ns),
            persistence=six_digits(alert.persistence()) or 0.0,
            validity=validity_names(result, rows),
        )

    def _closing_identity(self, alert: OpenAlert, latest: Alert) -> Identity:
        """With every listing that took part; a group keeps the members that were named last."""
        if alert.list_name == "group":
            return latest.identity
        return msgspec.structs.replace(latest.identity, listings=tuple(sorted(alert.names)))

    def _cool(self, name: AlertList, alert: OpenAlert, now_ns: int) -> None:
        until_ns = now_ns + seconds_ns(self.rules.cooldown_s)
        self._cooling[name, alert.subject.scope] = (until_ns, alert.peak_score)
        if len(self._cooling) > self.rules.cooldowns_max:
            del self._cooling[next(iter(self._cooling))]
            self.counts.cooldowns_dropped += 1

    def _forget_cooled(self, now_ns: int) -> None:
        """Drop what has cooled; entries stand in the order of their ends."""
        cooled = []
        for key, (until_ns, _) in self._cooling.items():
            if until_ns > now_ns:
                break
            cooled.append(key)
        for key in cooled:
            del self._cooling[key]

    def _end_leavers(self, result: ScanResult) -> None:
        for row in self._leavers:
            for name in LISTING_LISTS:
                episode = self._lists[name].open.get(row)
                if episode is not None:
                    self._end(name, episode, "delisted", result)
                self._lists[name].forget(row)
        self._leavers.clear()

    def _align_groups(self, result: ScanResult) -> None:
        """Follow the groups to their rows of this scan; those that are gone end."""
        groups, old = result.groups, self._group_keys
        if old is not None and _same_keys(old, groups):
            return
        # Copies: the scan's arrays are borrowed and change at the next one.
        self._group_keys = (groups.underlying.copy(), groups.expiry_ns.copy())
        if old is None:
            return
        place = {key: row for row, key in enumerate(_keys(*self._group_keys))}
        moved = {row: place[key] for row, key in enumerate(_keys(*old)) if key in place}
        episodes = self._lists["group"]
        for row in sorted(set(episodes.open) - moved.keys()):
            self._end("group", episodes.open[row], "unobserved", result)
        episodes.remap(moved, len(groups.p))


def _seconds(duration_ns: int) -> float:
    return six_digits(duration_ns / SECOND_NS) or 0.0


def _by_rank_key(alert: Alert) -> tuple[float, str, str]:
    score = -1.0 if alert.score is None else alert.score
    return (-score, alert.scope, alert.list)


def _ranks(result: ScanResult, name: str) -> dict[int, int]:
    top: Sequence[int] = result.top[name].tolist() if name in result.top else ()
    return {row: place for place, row in enumerate(top, start=1)}


def _rank(
    result: ScanResult, ranks: dict[AlertList, dict[int, int]], name: AlertList, row: int
) -> int | None:
    """Place of a row in its list; groups are few, so every group has one."""
    if name != "group":
        return ranks[name].get(row)
    return 1 + int(np.count_nonzero(result.groups.score > result.groups.score[row]))


def _keys(underlying: NDArray[np.uint16], expiry_ns: NDArray[np.int64]) -> list[tuple[int, int]]:
    return list(zip(underlying.tolist(), expiry_ns.tolist(), strict=True))


def _same_keys(keys: tuple[NDArray[np.uint16], NDArray[np.int64]], groups: GroupResult) -> bool:
    return np.array_equal(keys[0], groups.underlying) and np.array_equal(keys[1], groups.expiry_ns)
