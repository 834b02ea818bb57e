"""Stages 4 to 6 of 8: one tick and one scan, pure functions of (state, batch, grid time).

Nothing here knows the time or a venue; the same calls give the same state bytes and results.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Batch, Tickers
from kernels.device import CpuDevice
from kernels.rows.features import METRIC_NAMES
from scanner.liquidity import classes_after
from scanner.result import LISTS, GroupResult, ScanResult
from scanner.state import State

MEMBERS_NAMED: Final = 8
NOTABLE_P: Final = 0.01  # Of a group whose members are named.
MEMBER_STRENGTH_MIN: Final = 2.0  # -log10 p of a member that is worth naming.
SCALES: Final = tuple(f"common_scale_{s}" for s in range(c.STRATUM_COUNT))
CLASS_FIRST_NS: Final = 60_000_000_000
CLASS_EVERY_NS: Final = 600_000_000_000


def apply_tickers(tickers: Tickers, state: State, device: CpuDevice) -> None:
    """Take over the last word of every ticker field, and roll the anchors' drifts."""
    if len(tickers.listing):
        device.apply_tickers(tickers, state.columns)


def apply_batch(batch: Batch, state: State, device: CpuDevice) -> None:
    """Bring books, flow and decayed sums to the end of the batch."""
    if len(batch.listing):
        device.apply(batch, state.columns, state.books, state.bar, state.per_thread)


def scan(
    now_ns: int, row_count: int, state: State, device: CpuDevice, *,
    top_k: int = 50, hold_ns: int = 300_000_000_000, members_min: int = 8,
    window_ns: int = 60_000_000_000,
) -> ScanResult:  # fmt: skip
    """Score what is fresh at grid time now_ns, rank, then learn from it.

    Raises:
        ValueError: now_ns is not after the scan before.
    """
    if now_ns <= state.last_scan_ns:
        raise ValueError(f"scan: now_ns was {now_ns}, expected more than {state.last_scan_ns}")
    if state.reference.roll(now_ns):
        cumulate(state, device)
    fresh = _find_fresh(now_ns, row_count, state, device)
    assign_classes(now_ns, row_count, state, device)
    reference_count = state.common.above_2[:, 0, 0].copy()
    device.observe(
        fresh.ids, now_ns, state.columns, state.books, state.scores, state.common, state.blocks
    )
    groups = _score_groups(now_ns, row_count, state, device, members_min, window_ns)
    top = {
        name: _top(li, row_count, now_ns - hold_ns, top_k, state, device)
        for li, name in enumerate(LISTS)
    }
    _learn(now_ns, state, device)
    state.last_scan_ns = now_ns
    state.scan_count += 1
    metrics = MetricColumns(lambda: export_metrics(now_ns, row_count, state, device))
    return scan_result(now_ns, row_count, fresh, reference_count, top, groups, state, metrics)


class Fresh(NamedTuple):
    """What is to be scored, and how many rows of the market have a state."""

    ids: NDArray[np.uint32]  # ascending
    with_state: int
    one_sided: int


def _find_fresh(now_ns: int, row_count: int, state: State, device: CpuDevice) -> Fresh:
    """End what has expired, and find what changed since the last scan."""
    ids, states = state.fresh[:row_count], np.zeros(2, np.int64)
    count = device.find_fresh(row_count, now_ns, state.columns, ids, states)
    return Fresh(ids[:count].copy(), *states.tolist())


def assign_classes(now_ns: int, row_count: int, state: State, device: CpuDevice) -> None:
    """Assign liquidity classes when they are due (docs/SCORING.md, section 2)."""
    if state.class_due_ns == 0:
        state.class_due_ns = now_ns + CLASS_FIRST_NS
    if now_ns < state.class_due_ns:
        return
    state.class_due_ns = now_ns + CLASS_EVERY_NS
    activity = np.empty(row_count, np.float32)
    device.activity(row_count, now_ns, state.columns, activity)
    held = state.columns.u8[c.LIQUIDITY, :row_count]
    held[:] = classes_after(activity, held)


def _top(
    li: int, row_count: int, hold_after_ns: int, k: int, state: State, device: CpuDevice
) -> NDArray[np.uint32]:
    best = np.zeros(k, np.uint64)
    observed_ns = state.columns.i64[c.OBSERVED_NS]
    count = device.top_k(row_count, hold_after_ns, state.scores.key[li], observed_ns, best)
    return ids_of(best[:count])


def ids_of(keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Listing ids in rank keys (docs/SCORING.md, section 6)."""
    id_mask = np.uint64((1 << 21) - 1)
    return (id_mask - (keys & id_mask)).astype(np.uint32)


def _learn(now_ns: int, state: State, device: CpuDevice) -> None:
    """Count the scan's rows, for the scans to come."""
    ref = state.reference
    device.count_blocks(
        state.blocks, ref.hours_1[ref.slot], ref.hours_2[ref.slot], ref.total_1, ref.total_2,
        state.common,
    )  # fmt: skip
    device.fold_scales(now_ns, state.common)
    device.cumulate(ref.total_group[:, None, :], state.groups.above)


def cumulate(state: State, device: CpuDevice) -> None:
    """Sum every histogram from the end, for the p-values of the next scan."""
    ref = state.reference
    device.cumulate(ref.total_1, state.common.above_1)
    device.cumulate(ref.total_2, state.common.above_2)
    device.cumulate(ref.total_group[:, None, :], state.groups.above)


def _score_groups(
    now_ns: int, row_count: int, state: State, device: CpuDevice, members_min: int, window_ns: int
) -> GroupResult:
    """Group scores of this scan; their histogram entries count from the next scan on."""
    g, ref = state.groups, state.reference
    n = g.count
    sums, bins = g.sums, g.bins[:n]
    mean = np.float32(ref.pooled_mean)
    pooled = np.zeros(2, np.int64)
    device.group_sums(row_count, now_ns, window_ns, state.columns, state.scores, sums, pooled)
    reference = g.above[:, 0, 0][g.kind[:n]].copy()
    device.group_scores(
        sums, g.kind[:n], mean, members_min, g.above[:, 0], g.statistic[:n], g.p[:n], bins
    )
    ref.hours_pooled[ref.slot] += pooled
    ref.total_pooled += pooled
    fresh = bins >= 0
    np.add.at(ref.hours_group[ref.slot], (g.kind[:n][fresh], bins[fresh]), 1)
    np.add.at(ref.total_group, (g.kind[:n][fresh], bins[fresh]), 1)
    return group_result(now_ns - window_ns, row_count, reference, state, device)


def group_result(
    after_ns: int, row_count: int, reference: NDArray[np.int64], state: State, device: CpuDevice
) -> GroupResult:
    """What a scan says of groups: its own scores and the held ones.

    Args:
        after_ns: members observed since then count.
        row_count: rows in use.
        reference: int64[group], histogram entries before this scan.
        state: whose groups were scored.
        device: that names the members of the notable ones.
    """
    g = state.groups
    n = g.count
    with np.errstate(invalid="ignore"):
        direction = (g.sums[3, :n] / (1 << 20) / g.sums[4, :n]).astype(np.float32)
    p, fresh = g.p[:n].copy(), g.bins[:n] >= 0
    return GroupResult(
        underlying=g.underlying[:n].copy(),
        expiry_ns=g.expiry_ns[:n].copy(),
        fresh=fresh,
        member_count=g.sums[0, :n].astype(np.int32),
        statistic=g.statistic[:n].copy(),
        p=p,
        score=-np.log10(p),
        reference_count=reference,
        members=_members(fresh & (p <= NOTABLE_P), after_ns, row_count, state, device),
        direction=direction,
    )


def _members(
    wanted: NDArray[np.bool_], after_ns: int, row_count: int, state: State, device: CpuDevice
) -> NDArray[np.int32]:
    """Strongest members of the notable groups, padded with -1."""
    named = np.full((len(wanted), MEMBERS_NAMED), -1, np.int32)
    if wanted.any():
        device.name_members(
            row_count, after_ns, MEMBER_STRENGTH_MIN, state.columns, state.scores.score[0], wanted,
            named,
        )  # fmt: skip
    return named


def scan_result(
    now_ns: int, row_count: int, fresh: Fresh, reference_count: NDArray[np.int64],
    top: dict[str, NDArray[np.uint32]], groups: GroupResult, state: State,
    metrics: Mapping[str, NDArray[np.float32]],
) -> ScanResult:  # fmt: skip
    """Borrow the state's columns as what the scan says."""
    n, col, sc = row_count, state.columns, state.scores
    return ScanResult(
        scan_index=state.scan_count - 1,
        now_ns=now_ns,
        fresh=fresh.ids,
        p=sc.p[:, :n],
        score=sc.score[:, :n],
        statistic=sc.statistic[:, :n],
        z=sc.z[:, :n],
        p_feature=sc.p_feature[:, :n],
        value=sc.value[:, :n],
        baseline=sc.mean[:, :n],
        stratum=col.u8[c.STRATUM, :n],
        reference_count=reference_count,
        observed_ns=col.i64[c.OBSERVED_NS, :n],
        validity=col.validity[:n],
        warming=col.i32[c.OWN_COUNT, :n] < 30,
        top=top,
        groups=groups,
        metrics=metrics,
        market=_market(fresh, state),
    )


def _market(fresh: Fresh, state: State) -> dict[str, float]:
    """Market-wide aggregates: activity, withdrawal, and the common scale of each stratum."""
    share = fresh.one_sided / fresh.with_state if fresh.with_state else np.nan
    market = {
        "fresh": float(len(fresh.ids)),
        "with_state": float(fresh.with_state),
        "one_sided_share": share,
    }
    return market | dict(zip(SCALES, state.common.scale.mean(axis=1).tolist(), strict=True))


def export_metrics(
    now_ns: int, row_count: int, state: State, device: CpuDevice
) -> dict[str, NDArray[np.float32]]:
    """Every metric of every row at now_ns, [listing] each (docs/SCORING.md, section 2)."""
    out = np.empty((len(METRIC_NAMES), row_count), np.float32)
    device.metrics(np.arange(row_count, dtype=np.uint32), now_ns, state.columns, state.books, out)
    return dict(zip(METRIC_NAMES, out, strict=True))


class MetricColumns(Mapping[str, NDArray[np.float32]]):
    """Metric columns by name, computed together on first access: most scans need none."""

    def __init__(self, compute: Callable[[], dict[str, NDArray[np.float32]]]) -> None:
        self._compute = compute
        self._columns: dict[str, NDArray[np.float32]] | None = None

    def _filled(self) -> dict[str, NDArray[np.float32]]:
        if self._columns is None:
            self._columns = self._compute()
        return self._columns

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Borrow one metric, [listing]."""
        return self._filled()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(METRIC_NAMES)

    def __len__(self) -> int:
        return len(METRIC_NAMES)
