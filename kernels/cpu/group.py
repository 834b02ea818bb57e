"""Stage 6 of 8: members' evidence summed per (underlying, expiry) and per underlying."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Columns, Scores
from kernels.rows import group as g
from kernels.rows.group import is_counted, score_group, signed_pressure_of, strength_of


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
    for i in range(listing_count):
        if not is_counted(i, now_ns, window_ns, columns):
            continue
        strength = strength_of(i, scores)
        now = columns.i64[c.OBSERVED_NS, i] == now_ns
        if now:
            pooled[0] += strength
            pooled[1] += 1
        if columns.u8[c.IS_OPTION, i] == 0:
            continue
        pressure = columns.f32[c.PRESSURE, i]
        for which in (c.EXPIRY_GROUP, c.UNDERLYING_GROUP):
            group = columns.i32[which, i]
            sums[g.MEMBERS, group] += 1
            sums[g.STRENGTH, group] += strength
            sums[g.OBSERVED_NOW, group] += now
            if pressure == pressure:  # noqa: PLR0124 - a number
                sums[g.PRESSURE, group] += signed_pressure_of(i, columns)
                sums[g.WITH_PRESSURE, group] += 1


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
