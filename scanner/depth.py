"""Stage 7 of 8: which options of a venue get depth, from the last scan; pure but for its memory.

Where a venue has two tiers (`depth_listings`), every option comes at its best prices, and those
that matter have their whole books, too: what a scan flagged, what is near the money, what is
traded. What the session makes of it is in the journal, so that a replay needs no decision.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import ListingKind
from scanner.result import ScanResult
from scanner.universe import RowState, Universe

SECOND_NS: Final = 1_000_000_000
EVERY_NS: Final = 5 * SECOND_NS
HOLD_NS: Final = 60 * SECOND_NS
# Giving back costs the requests of a resync for each; growing, one request for a hundred.
GIVEN_BACK_MAX: Final = 16
# Who has depth keeps it down to this much behind the last place, so that two that change places
# with each tick are not subscribed with each tick.
KEEP_WITHIN: Final = 1.25
FLAG_SCORE: Final = 4.0  # -log10 p
NEAR_FOR_ONE_TRADED: Final = 3
YEAR_NS: Final = 365.25 * 86_400 * SECOND_NS

FLAGGED, NEAR, TRADED, KEPT = "flagged", "near the money", "traded", "kept"


@dataclass(frozen=True, slots=True)
class Candidates:
    """Options of one venue; the arrays share their axis.

    Attributes:
        symbols: their names there.
        score: the larger of the last scan's two, -log10 p; NaN where it has none.
        distance: |ln(strike / forward)| over the root of the years left; NaN without a forward.
        trades_per_s: prints, half-life 300 s.
    """

    symbols: list[str]
    score: NDArray[np.float32]
    distance: NDArray[np.float64]
    trades_per_s: NDArray[np.float32]


def candidates(
    result: ScanResult, universe: Universe, venue: str, refused: Collection[str] = ()
) -> Candidates:
    """The live options of a venue; asks the result for metrics, so before the next tick.

    What was listed since the scan, by a drain of a full inbox, is not among them, nor what the
    venue `refused` depth.
    """
    symbols = universe.symbols(venue)
    rows = np.fromiter(symbols.values(), np.int64, len(symbols))
    names = np.array(list(symbols), np.object_)
    columns = universe.columns.at(rows.astype(np.uint32))
    live = (columns.kind == ListingKind.OPTION) & (columns.state == RowState.LIVE)
    live &= rows < result.score.shape[1]
    live &= np.fromiter((name not in refused for name in symbols), np.bool_, len(symbols))
    rows, names = rows[live], names[live]
    columns = universe.columns.at(rows.astype(np.uint32))
    forward = result.metrics["forward"][rows].astype(np.float64)
    years = (columns.expiry_ns - result.now_ns) / YEAR_NS
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(np.log(columns.strike_e9 * 1e-9 / forward)) / np.sqrt(years)
    return Candidates(
        names.tolist(),
        np.fmax.reduce(result.score[:, rows]),
        distance,
        result.metrics["trade_rate"][rows],
    )


def ranked(of: Candidates) -> dict[str, str]:
    """Symbols that deserve depth, best first, and why.

    First what is flagged, by score; then three near the money for each one that is traded.
    """
    flagged = np.flatnonzero(of.score >= FLAG_SCORE)
    near = np.flatnonzero(np.isfinite(of.distance))
    traded = np.flatnonzero(of.trades_per_s > 0)
    by_near = iter(near[np.argsort(of.distance[near], kind="stable")].tolist())
    by_traded = iter(traded[np.argsort(-of.trades_per_s[traded], kind="stable")].tolist())
    order: dict[str, str] = {}
    for row in flagged[np.argsort(-of.score[flagged], kind="stable")].tolist():
        order[of.symbols[row]] = FLAGGED
    while True:
        turn = [(row, NEAR) for row in islice(by_near, NEAR_FOR_ONE_TRADED)]
        turn += [(row, TRADED) for row in islice(by_traded, 1)]
        if not turn:
            return order
        for row, why in turn:
            order.setdefault(of.symbols[row], why)


@dataclass(slots=True)
class DepthChooser:
    """Chooses for one venue, with the patience that its limits of requests ask for.

    Args:
        listings_max: options with depth at once.

    Attributes:
        since_ns: symbol -> when it was given depth.
    """

    listings_max: int
    since_ns: dict[str, int] = field(default_factory=dict)
    _next_ns: int = 0

    def due(self, now_ns: int) -> bool:
        """Whether it is time to choose again."""
        return now_ns >= self._next_ns

    def choose(self, of: Candidates, now_ns: int) -> Mapping[str, str]:
        """Symbols that shall have depth from now on, and why.

        Who has it and is still a candidate keeps it, until somebody better needs the place and it
        had it for HOLD_NS; what is flagged need not wait for that. At most GIVEN_BACK_MAX places
        change hands at a time.
        """
        self._next_ns = now_ns + EVERY_NS
        listed = set(of.symbols)
        held = {symbol: since for symbol, since in self.since_ns.items() if symbol in listed}
        order = ranked(of)
        place = {symbol: n for n, symbol in enumerate(order)}
        worst_first = sorted(held, key=lambda symbol: -place.get(symbol, len(order)))
        keep = KEEP_WITHIN * self.listings_max
        # What is flagged takes any place that is not; the others one that is to be had.
        for_flagged = [symbol for symbol in worst_first if order.get(symbol) != FLAGGED]
        for_others = [
            symbol
            for symbol in for_flagged
            if place.get(symbol, len(order)) >= keep and now_ns - held[symbol] >= HOLD_NS
        ]
        given_back = 0
        for symbol in islice(order, self.listings_max):
            if symbol in held:
                continue
            if len(held) >= self.listings_max:
                leavers = for_flagged if order[symbol] == FLAGGED else for_others
                leaver = next((one for one in leavers if one in held), None)
                if leaver is None or given_back == GIVEN_BACK_MAX:
                    continue
                del held[leaver]
                given_back += 1
            held[symbol] = now_ns
        self.since_ns = held
        return {symbol: order.get(symbol, KEPT) for symbol in held}
