"""Stage 1 of 8, simulated: events planted on purpose, and the list of what is true about them.

| kind        | event | what happens, with intensity x                                            |
|-------------|-------|---------------------------------------------------------------------------|
| sweep       | E1    | aggressive orders of one sign at x times max(own rate, 0.1 a second)      |
| pull        | E2    | depth falls to 0.2 / x of normal, no trades; a contract or a whole slice  |
| dislocation | E4    | quotes of one contract move x half-spreads off the smile                  |
| block       | E6    | one block print of 20 x times the listing's median order, off the book    |
| pressure    | E7    | sizes of a slice tilt by 0.5 x (log), orders at x max(own, 0.02 a second), |
|             |       | calls one way and puts the other                                          |
| crossed     | E5    | quotes of one contract move 1 + x half-spreads: up on one venue and down  |
|             |       | on another, so that the bid there stands above the ask here (across.py)   |
| lead        | E10   | volatility of a slice moves x points; on other venues later (across.py)   |

side: +1 buys, or the bid is pulled; -1 sells, or the ask is pulled; 0 (pull only) both sides. For
a dislocation, crossed and lead +1 is up. A target is an instrument name, a slice as the venue
spells it (`BTC-27MAR26`), or a slice or contract in canonical text (`BTC-20260327T0800Z`).
"""

from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from feeds.contract import E9, Listing
from feeds.emulator.books import ASK, BID, Books
from feeds.emulator.flow import BUY, SELL, Flow, Order
from feeds.emulator.makers import Makers
from feeds.emulator.universe import Universe
from feeds.errors import SymbolError

Kind = Literal["sweep", "pull", "dislocation", "block", "pressure", "crossed", "lead"]
EVENT_IDS: Final[dict[str, str]] = {
    "sweep": "E1", "pull": "E2", "dislocation": "E4", "block": "E6", "pressure": "E7",
    "crossed": "E5", "lead": "E10",
}  # fmt: skip
REQUOTED: Final = ("pull", "dislocation", "pressure", "crossed", "lead")
Disturbance = Literal["empty_book", "crossed_book"]
PLANTS_MAX: Final = 10_000  # of one run; more are refused
_SWEEP_FLOOR_PER_S: Final = 0.1
_PRESSURE_FLOOR_PER_S: Final = 0.02
_PULL_KEEPS: Final = 0.2
_BLOCK_MEDIANS: Final = 20.0


class Plant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One event to plant; times in ns UTC of the simulated clock."""

    kind: Kind
    target: str
    start_ns: int
    duration_s: float = 15.0
    intensity: float = 4.0
    side: Literal[-1, 0, 1] = 1

    @property
    def end_ns(self) -> int:
        """Instant at which the cause ends."""
        return self.start_ns + int(self.duration_s * E9)


class Truth(msgspec.Struct, frozen=True):
    """What was planted: the listings it touches and when."""

    id: int
    venue: str
    event: str
    kind: Kind
    target: str
    symbols: tuple[str, ...]
    side: int
    intensity: float
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class Planter:
    """Starts and ends planted events; the market calls `step` once a step."""

    universe: Universe
    books: Books
    makers: Makers
    flow: Flow
    truth: list[Truth] = field(default_factory=list)
    _waiting: list[tuple[Plant, NDArray[np.int64]]] = field(default_factory=list)
    _active: list[tuple[Plant, NDArray[np.int64]]] = field(default_factory=list)
    _disturbed: list[tuple[Disturbance, int, int]] = field(default_factory=list)

    def add(self, plant: Plant) -> Truth:
        """Plant an event; it starts at the first step that ends at or after its start.

        Raises:
            SymbolError: the target is no instrument and no slice, or the list is full.
        """
        if len(self.truth) >= PLANTS_MAX:
            raise SymbolError(f"plant: {PLANTS_MAX} events were planted, expected no more")
        if not plant.intensity > 0.0 or not plant.duration_s > 0.0:
            raise SymbolError(
                f"plant {plant.target}: intensity was {plant.intensity} and duration "
                f"{plant.duration_s} s, expected both > 0"
            )
        ids = self._listings(plant.target)
        truth = Truth(
            id=len(self.truth) + 1,
            venue=self.universe.profile.venue,
            event=EVENT_IDS[plant.kind],
            kind=plant.kind,
            target=plant.target,
            symbols=tuple(self.universe.listings[i].symbol for i in ids),
            side=plant.side,
            intensity=plant.intensity,
            start_ns=plant.start_ns,
            end_ns=plant.end_ns,
        )
        self.truth.append(truth)
        self._waiting.append((plant, ids))
        return truth

    def disturb(self, kind: Disturbance, symbol: str, until_ns: int) -> None:
        """Break one book at once and until then: a fault, no event, so no truth is told.

        Raises:
            SymbolError: no such instrument, or the list is full.
        """
        number = self.universe.ids.get(symbol, -1)
        if number < 0 or len(self._disturbed) >= PLANTS_MAX:
            raise SymbolError(f"{kind}: instrument was {symbol!r}, expected one with a book")
        self._disturbed.append((kind, number, until_ns))
        self._break_books({number})

    def step(self, now_ns: int) -> list[Order]:
        """Start and end what is due; returns the block prints of this step."""
        mended = {number for _, number, until_ns in self._disturbed if until_ns <= now_ns}
        if mended:
            self._disturbed = [entry for entry in self._disturbed if entry[2] > now_ns]
            self._break_books(mended)
        started = [entry for entry in self._waiting if entry[0].start_ns <= now_ns]
        ended = [entry for entry in self._active if entry[0].end_ns <= now_ns]
        if not started and not ended:
            return []
        self._waiting = [entry for entry in self._waiting if entry[0].start_ns > now_ns]
        self._active = [entry for entry in self._active if entry[0].end_ns > now_ns]
        self._active += [entry for entry in started if entry[0].kind != "block"]
        self._restore()
        for plant, ids in started + ended:
            if plant.kind in REQUOTED:
                self.makers.at_once(ids)
        return [self._block(plant, int(i)) for plant, ids in started for i in ids
                if plant.kind == "block"]  # fmt: skip

    def _break_books(self, changed: set[int]) -> None:
        """Tell the makers which books are broken; they requote the changed ones at once."""
        makers, ids = self.makers, np.array(sorted(changed), np.int64)
        makers.hidden[ids] = makers.crossed[ids] = False
        for kind, number, _ in self._disturbed:
            (makers.hidden if kind == "empty_book" else makers.crossed)[number] = True
        makers.at_once(ids)

    def _restore(self) -> None:
        """Set the levers from the active events alone, so that overlaps leave no residue."""
        makers, flow = self.makers, self.flow
        makers.keep[:] = 1.0
        makers.shift[:] = 0.0
        makers.iv_push[:] = 0.0
        makers.push[:] = 0.0
        flow.extra[:] = 0.0
        for plant, ids in self._active:
            self._apply(plant, ids)

    def _apply(self, plant: Plant, ids: NDArray[np.int64]) -> None:
        """Pull the levers of one active event."""
        if plant.kind == "pull":
            sides = [BID, ASK] if plant.side == 0 else [BID if plant.side > 0 else ASK]
            for side in sides:
                self.makers.keep[ids, side] *= _PULL_KEEPS / plant.intensity
        elif plant.kind == "dislocation":
            self.makers.shift[ids] += plant.side * plant.intensity
        elif plant.kind == "crossed":
            self.makers.shift[ids] += plant.side * (1.0 + plant.intensity)
        elif plant.kind == "lead":
            self.makers.iv_push[ids] += 0.01 * plant.side * plant.intensity
        elif plant.kind == "sweep":
            self._press(ids, np.full(len(ids), plant.side), plant.intensity, _SWEEP_FLOOR_PER_S)
        elif plant.kind == "pressure":
            sign = np.where(self.universe.is_call[ids], plant.side, -plant.side)
            self.makers.push[ids] += 0.5 * plant.intensity * sign
            self._press(ids, sign, plant.intensity, _PRESSURE_FLOOR_PER_S)

    def _press(
        self, ids: NDArray[np.int64], sign: NDArray[np.int64], times: float, floor_per_s: float
    ) -> None:
        """Add aggressive orders of a sign."""
        rate = times * np.maximum(self.flow.mean_rate[ids], floor_per_s)
        self.flow.extra[np.where(sign > 0, BUY, SELL), ids] += rate

    def _block(self, plant: Plant, listing: int) -> Order:
        """The one print of a block event."""
        lots = plant.intensity * _BLOCK_MEDIANS * self.flow.median_trade_lots(listing)
        return Order(listing, plant.side or 1, max(1, round(lots)), block=True)

    def _listings(self, target: str) -> NDArray[np.int64]:
        """Listing ids of a target, ascending."""
        if target in self.universe.ids:
            return np.array([self.universe.ids[target]], np.int64)
        ids = self.universe.options_of(target)
        if not len(ids):
            raise SymbolError(f"plant: target was {target!r}, expected an instrument or a slice")
        return ids


def demo_schedule(universe: Universe, books: Books, from_ns: int) -> tuple[Plant, ...]:
    """Events for a one-minute demonstration, 20 to 40 s after `from_ns`.

    Targets are two-sided options of the busier classes, the same for every seed as far as their
    books allow: a sweep, a pulled slice, a pulled contract, a dislocated strike and a block. On a
    venue without options there is nothing to plant.
    """
    if np.isnan(universe.strike).all():
        return ()
    two_sided = (books.lots[:, :, 0] > 0).all(axis=1)

    def listing(slice_number: int, activity: int, nth: int) -> Listing:
        of_slice = (universe.slice == slice_number) & ~np.isnan(universe.strike)
        wanted = np.flatnonzero(of_slice & two_sided & (universe.activity <= activity))
        # A small universe may have no busy two-sided option here: then any of the slice.
        found = wanted if len(wanted) else np.flatnonzero(of_slice)
        return universe.listings[int(found[nth % len(found)])]

    def contract(slice_number: int, activity: int, nth: int) -> str:
        return listing(slice_number, activity, nth).symbol

    per_underlying = universe.expiry_count + 1
    near, month = 3, 4
    eth_week, eth_month = per_underlying + 3, per_underlying + 4
    slice_name = str(listing(eth_week, 3, 0).contract).rsplit("-", 2)[0]

    def at(seconds: float) -> int:
        return from_ns + int(seconds * E9)

    return (
        Plant("sweep", contract(near, 1, 5), at(20.0), 20.0, 10.0, 1),
        Plant("pull", slice_name, at(24.0), 14.0, 4.0, 0),
        Plant("dislocation", contract(month, 1, 9), at(27.0), 12.0, 4.0, 1),
        Plant("block", contract(2, 1, 3), at(30.0), 1.0, 4.0, -1),
        Plant("pull", contract(eth_month, 1, 7), at(32.0), 8.0, 4.0, -1),
    )
