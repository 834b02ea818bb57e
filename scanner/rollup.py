"""Stage 6 of 8: a scan seen by contract, strike, expiry, underlying and venue."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.rows import group as g
from scanner.result import NO_LISTING, SCOPES, RollupResult
from scanner.state import State
from scanner.tick import ids_of
from scanner.universe import NO_CONTRACT, Universe

_UNIT: Final = float(1 << 20)


@dataclass(frozen=True, slots=True)
class Grouping:
    """One way of grouping listings.

    group: int32[listing], -1 = in none. listing: uint32[group], the first listing of each.
    """

    group: NDArray[np.int32]
    listing: NDArray[np.uint32]


class Groupings:
    """Groupings of a universe by scope, kept until the universe changes."""

    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        self._version = -1
        self._known: dict[str, Grouping] = {}

    def of(self, scope: str) -> Grouping:
        """Grouping of all rows by a scope of SCOPES."""
        if self._version != self._universe.version:
            self._version, self._known = self._universe.version, {}
        if scope not in self._known:
            self._known[scope] = self._group(scope)
        return self._known[scope]

    def _group(self, scope: str) -> Grouping:
        count = self._universe.row_count
        columns = self._universe.columns.at(np.arange(count, dtype=np.uint32))
        option = columns.contract_id != NO_CONTRACT
        keys: tuple[NDArray[Any], ...]
        if scope == "contract":
            keys, inside = (columns.contract_id,), option
        elif scope == "strike":
            keys, inside = (columns.underlying_id, columns.strike_e9), option
        elif scope == "expiry":
            keys, inside = (columns.underlying_id, columns.expiry_ns), option
        elif scope == "underlying":
            keys, inside = (columns.underlying_id,), np.ones(count, np.bool_)
        else:
            keys, inside = (columns.venue_id,), np.ones(count, np.bool_)
        rows = np.flatnonzero(inside).astype(np.uint32)
        number = np.zeros(len(rows), np.int64)
        for key in keys:  # Numbers of pairs, of triples: always dense, so no product overflows.
            _, part = np.unique(key[rows], return_inverse=True)
            _, number = np.unique(number * (part.max(initial=0) + 1) + part, return_inverse=True)
        group = np.full(count, -1, np.int32)
        group[rows] = number
        _, first = np.unique(number, return_index=True)
        return Grouping(group, rows[first])


Sums = tuple[NDArray[np.int64], NDArray[np.uint64]]
Compute = Callable[[Grouping], Sums]


class Rollups(Mapping[str, RollupResult]):
    """Rollups by scope, each computed on first access."""

    def __init__(self, groupings: Groupings, compute: Compute, score: NDArray[np.float32]) -> None:
        """Say how; nothing is computed yet.

        Args:
            groupings: of the universe.
            compute: sums and best keys of a grouping, as the rollup shape gives them.
            score: float32[list, listing] of the scan.
        """
        self._groupings, self._compute, self._score = groupings, compute, score
        self._known: dict[str, RollupResult] = {}

    def __getitem__(self, scope: str) -> RollupResult:
        """Compute or borrow one scope's rollup.

        Raises:
            KeyError: no such scope.
        """
        if scope not in SCOPES:
            raise KeyError(scope)
        if scope not in self._known:
            grouping = self._groupings.of(scope)
            sums, best = self._compute(grouping)
            self._known[scope] = _result(grouping, sums, best, self._score)
        return self._known[scope]

    def __iter__(self) -> Iterator[str]:
        return iter(SCOPES)

    def __len__(self) -> int:
        return len(SCOPES)


def rollup_here(grouping: Grouping, now_ns: int, window_ns: int, state: State, device: Any) -> Sums:
    """Sums and best keys of a grouping, on the CPU."""
    groups = len(grouping.listing)
    sums = np.zeros((g.SUM_COUNT, groups), np.int64)
    best = np.zeros((c.LIST_COUNT, groups), np.uint64)
    device.rollup(
        len(grouping.group), now_ns, window_ns, state.columns, state.scores, grouping.group, sums,
        best,
    )  # fmt: skip
    return sums, best


def _result(
    grouping: Grouping, sums: NDArray[np.int64], best: NDArray[np.uint64],
    score: NDArray[np.float32],
) -> RollupResult:  # fmt: skip
    members = sums[g.MEMBERS]
    found = best > 0
    ids = np.where(found, ids_of(best), NO_LISTING).astype(np.uint32)
    with np.errstate(invalid="ignore", divide="ignore"):
        strength = (sums[g.STRENGTH] / _UNIT / members).astype(np.float32)
        pressure = (sums[g.PRESSURE] / _UNIT / sums[g.WITH_PRESSURE]).astype(np.float32)
        cost = np.log10(members).astype(np.float32)
    of_best = np.full(best.shape, np.nan, np.float32)
    for li in range(c.LIST_COUNT):
        of_best[li, found[li]] = score[li, ids[li, found[li]]] - cost[found[li]]
    return RollupResult(
        listing=grouping.listing,
        member_count=members.astype(np.int32),
        observed_count=sums[g.OBSERVED_NOW].astype(np.int32),
        strength=strength,
        pressure=pressure,
        best=ids,
        score=np.maximum(of_best, np.float32(0)),
    )
