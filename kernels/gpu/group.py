"""Stage 6 of 8: members' evidence summed per (underlying, expiry) and per underlying.

thread -> one row, then one group; sums of integers are the same in any order
"""

from numba import cuda

from kernels import columns as c
from kernels.arrays import Columns, GroupColumns, I64x1, Scores, Tables
from kernels.gpu import words
from kernels.laws.bits import bits_float
from kernels.laws.scalars import i32
from kernels.rows.group import (
    MEMBERS,
    OBSERVED_NOW,
    PRESSURE,
    STRENGTH,
    WITH_PRESSURE,
    is_counted,
    score_group,
    signed_pressure_of,
    strength_of,
)


def group_sums(tick: I64x1, columns: Columns, scores: Scores, groups: GroupColumns) -> None:
    """Add the members scored within the window to sums that were cleared before."""
    now_ns = tick[words.NOW_NS]
    for i in range(cuda.grid(1), tick[words.ROW_COUNT], cuda.gridsize(1)):
        if is_counted(i, now_ns, tick[words.WINDOW_NS], columns):
            strength = strength_of(i, scores)
            now = columns.i64[c.OBSERVED_NS, i] == now_ns
            if now:
                cuda.atomic.add(groups.pooled, 0, strength)
                cuda.atomic.add(groups.pooled, 1, 1)
            if columns.u8[c.IS_OPTION, i] != 0:
                add_member(i, columns.i32[c.EXPIRY_GROUP, i], strength, now, columns, groups)
                add_member(i, columns.i32[c.UNDERLYING_GROUP, i], strength, now, columns, groups)


def add_member(
    i: int, group: int, strength: int, now: bool, columns: Columns, groups: GroupColumns
) -> None:
    """Add one row to one of its groups."""
    cuda.atomic.add(groups.sums, (MEMBERS, group), 1)
    cuda.atomic.add(groups.sums, (STRENGTH, group), strength)
    if now:
        cuda.atomic.add(groups.sums, (OBSERVED_NOW, group), 1)
    pressure = columns.f32[c.PRESSURE, i]
    if pressure == pressure:  # noqa: PLR0124 - a number
        cuda.atomic.add(groups.sums, (PRESSURE, group), signed_pressure_of(i, columns))
        cuda.atomic.add(groups.sums, (WITH_PRESSURE, group), 1)


def group_scores(tick: I64x1, groups: GroupColumns, tables: Tables) -> None:
    """Score the groups in which a member was observed in this scan, and count them."""
    mean = bits_float(i32(tick[words.POOLED_MEAN_BITS]))
    for group in range(cuda.grid(1), tick[words.GROUP_COUNT], cuda.gridsize(1)):
        score_group(
            group, groups.sums, groups.kind, mean, tick[words.MEMBERS_MIN], groups.above,
            groups.statistic, groups.p, groups.bins,
        )  # fmt: skip
        b = groups.bins[group]
        if b >= 0:
            kind = groups.kind[group]
            cuda.atomic.add(tables.hours_group, (tick[words.HOUR], kind, b), 1)
            cuda.atomic.add(tables.total_group, (kind, b), 1)
