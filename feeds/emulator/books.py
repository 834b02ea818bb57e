"""Stage 1 of 8, simulated: the order books of all listings as one block of integers.

Prices are counted in ticks of the listing's own tick table, so that a ladder can walk over the
place where the tick changes: tick k costs k / per_unit up to the knee and
(knee + 5 (k - knee)) / per_unit above it. Sizes are counted in lots.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.emulator.pricing import Floats
from feeds.emulator.universe import Universe

LEVELS: Final = 10
BID, ASK = 0, 1
COARSE: Final = 5  # The coarse tick is five fine ones (feeds/venues: 0.0001 and 0.0005).
# Fair values land on ticks up to rounding; a price this near to a tick counts as on it.
_SNAP: Final = 1e-7
_FIRST_CHANGE_ID: Final = 1_000_000

Ids = NDArray[np.int64]
Ints = NDArray[np.int64]
Block = NDArray[np.int32]


class Books:
    """Both sides of every listing, best level first, empty levels (0 lots, tick 0) last.

    ticks, lots: int32[listing, side, level]. change_id: int64[listing], of the last change. One
    counter is shared by all instruments, as on the venue, but for spots, which have one of their
    own, so that the numbers of the others are the same without them.
    """

    def __init__(self, universe: Universe) -> None:
        """Start with empty books."""
        count = len(universe.listings)
        self.ticks: Block = np.zeros((count, 2, LEVELS), np.int32)
        self.lots: Block = np.zeros((count, 2, LEVELS), np.int32)
        self.change_id: Ints = np.zeros(count, np.int64)
        self._is_spot = universe.is_beside
        self._next_change_ids = [_FIRST_CHANGE_ID, _FIRST_CHANGE_ID]  # of the others, of spots
        self._per_unit = universe.per_unit
        self._knee = universe.knee
        self._lot_size = universe.lot_size

    def prices(self, ids: Ids, ticks: Block) -> Floats:
        """Native prices of ticks[len(ids), ...]; NaN for an empty level."""
        shape = (len(ids),) + (1,) * (ticks.ndim - 1)
        knee = self._knee[ids].reshape(shape)
        coarse = (knee > 0) & (ticks > knee)
        units = np.where(coarse, knee + COARSE * (ticks - knee), ticks)
        return np.where(ticks > 0, units / self._per_unit[ids].reshape(shape), np.nan)

    def sizes(self, ids: Ids, lots: Block) -> Floats:
        """Native sizes of lots[len(ids), ...], rounded so that 3 lots of 0.1 are 0.3."""
        shape = (len(ids),) + (1,) * (lots.ndim - 1)
        return np.round(lots * self._lot_size[ids].reshape(shape), 9)

    def tick_below(self, ids: Ids, price: Floats) -> Ints:
        """Highest tick not above a native price; may be 0 or less."""
        units = price * self._per_unit[ids]
        knee = self._knee[ids]
        fine = np.floor(units + _SNAP)
        coarse = knee + np.floor((units - knee) / COARSE + _SNAP)
        return np.where((knee > 0) & (units > knee), coarse, fine).astype(np.int64)

    def tick_above(self, ids: Ids, price: Floats) -> Ints:
        """Lowest tick not below a native price."""
        units = price * self._per_unit[ids]
        knee = self._knee[ids]
        fine = np.ceil(units - _SNAP)
        coarse = knee + np.ceil((units - knee) / COARSE - _SNAP)
        return np.where((knee > 0) & (units > knee), coarse, fine).astype(np.int64)

    def tick_size(self, ids: Ids, price: Floats) -> Floats:
        """Native tick that holds at a price."""
        units = price * self._per_unit[ids]
        knee = self._knee[ids]
        return np.where((knee > 0) & (units > knee), COARSE, 1.0) / self._per_unit[ids]

    def take(self, listing: int, side: int, lots: int, levels: int) -> list[tuple[int, int]]:
        """Trade against one side, best level first: (tick, lots) of each fill.

        At most `levels` levels are touched; what is left of `lots` is cancelled.
        """
        fills: list[tuple[int, int]] = []
        rest = self.lots[listing, side]
        for level in range(levels):
            there = int(rest[level])
            if there == 0 or lots == 0:
                break
            filled = min(there, lots)
            fills.append((int(self.ticks[listing, side, level]), filled))
            rest[level] -= filled
            lots -= filled
        if fills and rest[0] == 0:
            gone = next((n for n in range(LEVELS) if rest[n] > 0), LEVELS)
            for block in (self.ticks, self.lots):
                block[listing, side, : LEVELS - gone] = block[listing, side, gone:].copy()
                block[listing, side, LEVELS - gone :] = 0
        return fills

    def clear(self, ids: Ids) -> None:
        """Empty both sides."""
        self.ticks[ids] = 0
        self.lots[ids] = 0

    def number_anew(self) -> None:
        """Begin the numbers of changes again, as a server that was restarted does."""
        self._next_change_ids = [_FIRST_CHANGE_ID, _FIRST_CHANGE_ID]
        every = np.arange(len(self.change_id))
        self.number_changes(every, np.ones(len(every), np.int64))

    def number_changes(self, ids: Ids, changed_levels: Ints) -> Ints:
        """Give each changed listing its next change_id; returns the previous ones.

        The shared counter also moves for every level that changed: never assume steps of one.
        """
        previous = self.change_id[ids]
        apart = self._is_spot[ids]
        for of, part in enumerate((~apart, apart)):
            steps = np.cumsum(np.maximum(changed_levels[part], 1))
            self.change_id[ids[part]] = self._next_change_ids[of] + steps
            if len(steps):
                self._next_change_ids[of] += int(steps[-1])
        return previous
