"""Stage 6 of 8: members' evidence summed per (underlying, expiry) and per underlying."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Columns, Scores
from kernels.rows import group as g
from kernels.rows.group import score_group, signed_pressure, strength_at

CHUNK = 256  # Rows looked at together: few are strong.


def group_sums(
    listing_count: int, now_ns: int, window_ns: int, columns: Columns, scores: Scores,
    sums: NDArray[np.int64], pooled: NDArray[np.int64],
) -> None:  # fmt: skip
    """Sum the spike strengths of the members scored within the window, in fixed point.

    sums: int64[column, group], cleared here; columns: members, strength, observed now, signed
        pressure, members with a pressure. Groups: first all (underlying, expiry), then underlyings.
    pooled: int64[2], strength and count of the rows observed in this very scan, added to.
    """
    sums[:] = 0
    start = np.int64(0)  # A literal would be a type of its own, compiled apart.
    while start < listing_count:
        stop = run_end(start, listing_count, columns)
        sum_run(start, stop, now_ns, window_ns, columns, scores.p[0, start:stop], sums, pooled)
        start = stop


def run_end(start: int, listing_count: int, columns: Columns) -> int:
    """Where rows of the same groups end: listings of an expiry mostly come one after another."""
    expiry, underlying = columns.i32[c.EXPIRY_GROUP], columns.i32[c.UNDERLYING_GROUP]
    option = columns.u8[c.IS_OPTION]
    i = start + 1
    while i < listing_count and (
        (expiry[i] == expiry[start])
        & (underlying[i] == underlying[start])
        & (option[i] == option[start])
    ):
        i += 1
    return i


def sum_run(
    start: int, stop: int, now_ns: int, window_ns: int, columns: Columns, p: NDArray[np.float32],
    sums: NDArray[np.int64], pooled: NDArray[np.int64],
) -> None:  # fmt: skip
    """Add rows of the same groups to their sums; sums of integers have no order."""
    observed_ns = columns.i64[c.OBSERVED_NS, start:stop]
    scored = columns.u8[c.SCORED, start:stop]
    delta, pressures = columns.f32[c.DELTA, start:stop], columns.f32[c.PRESSURE, start:stop]
    members, strength, seen, seen_strength, pressure, known = 0, 0, 0, 0, 0, 0
    for j in range(p.size):
        counted = (scored[j] != 0) & (now_ns - observed_ns[j] < window_ns)
        own = strength_at(p[j]) if counted else 0
        now = counted & (observed_ns[j] == now_ns)
        there = counted & (pressures[j] == pressures[j])
        members += counted
        strength += own
        seen += now
        seen_strength += own if now else 0
        pressure += signed_pressure(pressures[j], delta[j]) if there else 0
        known += there
    pooled[0] += seen_strength
    pooled[1] += seen
    if columns.u8[c.IS_OPTION, start] == 0:
        return
    for which in (c.EXPIRY_GROUP, c.UNDERLYING_GROUP):
        group = columns.i32[which, start]
        sums[g.MEMBERS, group] += members
        sums[g.STRENGTH, group] += strength
        sums[g.OBSERVED_NOW, group] += seen
        sums[g.PRESSURE, group] += pressure
        sums[g.WITH_PRESSURE, group] += known


def name_members(
    listing_count: int, after_ns: int, score_min: float, columns: Columns,
    score: NDArray[np.float32], wanted: NDArray[np.bool_], named: NDArray[np.int32],
) -> None:  # fmt: skip
    """Name the strongest members of the wanted groups, those observed after after_ns.

    score: float32[listing] of the spike list; members at or below score_min are not named.
    wanted: bool[group]. named: int32[group, place], -1 where there is none, filled in order of
        descending score, then ascending listing.
    """
    for start in range(0, listing_count, CHUNK):
        part = score[start : min(start + CHUNK, listing_count)]
        strong = 0
        for j in range(part.size):
            strong += part[j] > score_min
        if strong == 0:
            continue
        for i in range(start, start + part.size):
            recent = columns.u8[c.SCORED, i] != 0 and columns.i64[c.OBSERVED_NS, i] > after_ns
            if not (score[i] > score_min and recent and columns.u8[c.IS_OPTION, i] != 0):
                continue
            for which in (c.EXPIRY_GROUP, c.UNDERLYING_GROUP):
                group = columns.i32[which, i]
                if wanted[group]:
                    name_member(i, score, named[group])


def name_member(i: int, score: NDArray[np.float32], places: NDArray[np.int32]) -> None:
    """Put listing i in its place among the strongest, behind those of the same score."""
    at = places.size
    while at > 0 and (places[at - 1] < 0 or score[places[at - 1]] < score[i]):
        if at < places.size:
            places[at] = places[at - 1]
        at -= 1
    if at < places.size:
        places[at] = i


def group_scores(
    sums: NDArray[np.int64], kind: NDArray[np.uint8], mean: float, members_min: int,
    above: NDArray[np.int64], statistic: NDArray[np.float32], p: NDArray[np.float32],
    bins: NDArray[np.int16],
) -> None:  # fmt: skip
    """Score the groups in which a member was observed in this scan; the others hold.

    above: int64[kind, bin] of the scans before. bins: int16[group], -1 = not scored now.
    """
    for group in range(kind.size):
        score_group(group, sums, kind, mean, members_min, above, statistic, p, bins)
