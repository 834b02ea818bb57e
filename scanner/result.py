"""Stage 6 of 8: what one scan says. Columns are borrowed: they change at the next scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

NO_LISTING: Final = 2**32 - 1
SCOPES: Final = ("contract", "strike", "expiry", "underlying", "venue")
LISTS: Final = ("spike", "broad")  # ACAT (sparse evidence), Fisher (dense evidence)
SCALES: Final = ("instant", "60s")
FEATURES: Final = ("obi", "depth_obi", "log_spread", "log_depth", "anchored_mid", "ofi_30s")
FAMILY: Final = ("imbalance", "imbalance", "liquidity", "liquidity", "price", "imbalance")
# Row of ScanResult.z and .p_feature: 0..5 the features at the instant scale, 6..11 at 60 s.
DRIVERS: Final = tuple((feature, scale) for scale in SCALES for feature in FEATURES)


@dataclass(frozen=True, slots=True)
class GroupResult:
    """Scores of (underlying, expiry) and underlying groups; arrays share their first axis.

    expiry_ns is 0 for a whole underlying. `fresh` says which groups were scored in this scan; the
    others hold their last score. `members` are the listings whose own s_A is above 2, strongest
    first, at most 8, padded with -1. `held` says which may open no alert, since a member
    recovers or did so lately; None says none.
    """

    underlying: NDArray[np.uint16]
    expiry_ns: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    member_count: NDArray[np.int32]
    statistic: NDArray[np.float32]
    p: NDArray[np.float32]
    score: NDArray[np.float32]
    reference_count: NDArray[np.int64]  # histogram entries behind p, per group (by its kind)
    members: NDArray[np.int32]  # [group, 8]
    direction: NDArray[np.float32]  # mean signed 60 s pressure of the members, delta-adjusted
    held: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class RollupResult:
    """Groups of one scope; arrays share their last axis, one entry a group.

    Members are the listings scored within the group window (`scoring.group_window_s`).

    Attributes:
        listing: a listing of the group, to read its identity from.
        member_count: members.
        observed_count: members observed in this very scan.
        strength: mean of min(-log10 p, 4) of the members' spike scores; NaN without members.
        pressure: mean signed 60 s pressure of the members, delta-adjusted; NaN where none has one.
        best: [list, group] listing id of the highest-ranked member, NO_LISTING where there is none.
        score: [list, group] its score less log10 of the number of members (Bonferroni), not below
            0; NaN where there is none.
    """

    listing: NDArray[np.uint32]
    member_count: NDArray[np.int32]
    observed_count: NDArray[np.int32]
    strength: NDArray[np.float32]
    pressure: NDArray[np.float32]
    best: NDArray[np.uint32]
    score: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ScanResult:
    """One scan. Per-listing arrays are indexed by listing_id and have the universe's length.

    Attributes:
        scan_index: scans since the start of the run.
        now_ns: grid time of the scan.
        fresh: ids scored in this scan, ascending; all other rows hold their last score.
        p: [list, listing] recalibrated p of the row's last observation; 1 where never scored.
        score: [list, listing] -log10 p; NaN while the row has no score (never scored, or
            invalid). Rows unobserved longer than the hold time keep it, and leave `top`.
        statistic: [list, listing] ACAT strength -log10 p_A, Fisher statistic -2 sum ln p.
        z: [driver, listing] signed standardised values, NaN = neutral; order of DRIVERS.
        p_feature: [driver, listing] stage-1 p, NaN = neutral.
        value: [feature, listing] stabilised feature value of the last observation.
        baseline: [feature, listing] mean the value was compared with.
        stratum: gap class of the last observation, 0 to 4.
        reference_count: [stratum] stage-2 histogram entries before this scan.
        observed_ns: grid time of the row's last scored observation, 0 = never.
        validity: bits of kernels.columns.Validity.
        warming: the row's baseline has fewer than 30 observations of its own.
        top: list name -> listing ids in rank order, at most k.
        metrics: every exported metric column by name (docs/METRICS.md), computed on first access;
            ask before the next tick.
        market: market-wide aggregates by name.
        rollups: what contracts, strikes, expiries, underlyings and venues say, by scope, computed
            on first access; ask before the next tick.
        on_device: after a scan on a GPU, attributes that it holds, too: name -> (array
            [row, listing] there, the attribute's first row in it); they change at the next tick.
    """

    scan_index: int
    now_ns: int
    fresh: NDArray[np.uint32]
    p: NDArray[np.float32]
    score: NDArray[np.float32]
    statistic: NDArray[np.float32]
    z: NDArray[np.float32]
    p_feature: NDArray[np.float32]
    value: NDArray[np.float32]
    baseline: NDArray[np.float32]
    stratum: NDArray[np.uint8]
    reference_count: NDArray[np.int64]
    observed_ns: NDArray[np.int64]
    validity: NDArray[np.uint16]
    warming: NDArray[np.bool_]
    top: dict[str, NDArray[np.uint32]]
    groups: GroupResult
    metrics: Mapping[str, NDArray[np.float32]]
    market: dict[str, float] = field(default_factory=dict)
    rollups: Mapping[str, RollupResult] = field(default_factory=dict)
    on_device: Mapping[str, tuple[Any, int]] = field(default_factory=dict)

    def to_arrow(self, *, metrics: bool | Sequence[str] = False, copy: bool = True) -> "pa.Table":
        """One table, a row per listing; its columns stand in scanner/result_tables.py.

        Args:
            metrics: True for every exported metric, too, or the names of some; ask for them
                before the next tick.
            copy: False borrows the columns, as this object does: they change at the next scan.

        Returns:
            Table of Arrow; a missing number is NaN, never null.

        Raises:
            InputError: there is no metric of a name.
        """
        from scanner.result_tables import arrow_table  # noqa: PLC0415 - it reads this file

        return arrow_table(self, metrics, copy=copy)

    def to_polars(self, *, metrics: bool | Sequence[str] = False, copy: bool = True) -> Any:
        """The table of `to_arrow` as a DataFrame of polars.

        Raises:
            InputError: polars is not installed, or there is no metric of a name.
        """
        from scanner.result_tables import polars_frame  # noqa: PLC0415 - it reads this file

        return polars_frame(self, metrics, copy=copy)

    def to_cupy(
        self, *, metrics: bool | Sequence[str] = False, copy: bool = True
    ) -> dict[str, Any]:
        """The columns of `to_arrow` as CuPy arrays by name.

        Columns that a GPU scored do not go through the host; with copy=False they are its own
        arrays, which change at the next tick and must not be written to.

        Raises:
            InputError: CuPy is not installed, or there is no metric of a name.
        """
        from scanner.result_tables import cupy_arrays  # noqa: PLC0415 - it reads this file

        return cupy_arrays(self, metrics, copy=copy)

    def to_cudf(self, *, metrics: bool | Sequence[str] = False, copy: bool = True) -> Any:
        """The columns of `to_cupy` as a DataFrame of cuDF.

        Raises:
            InputError: cuDF is not installed, or there is no metric of a name.
        """
        from scanner.result_tables import cudf_frame  # noqa: PLC0415 - it reads this file

        return cudf_frame(self, metrics, copy=copy)
