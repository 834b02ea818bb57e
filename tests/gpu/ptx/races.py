"""Detects races: two threads touch one granule, at least one writes, and nothing orders them.

Per granule three stamps are kept, of the last writer, reader and atomic access. A stamp is (who <<
32) | clock; the clock counts issued instructions. `who` is a thread, or, once several threads read
(or atomically change) the granule with nothing between, the warp, block or grid that they share.

Two accesses are ordered if one thread made both; or if a barrier of the block, or a bar.warp.sync
naming both lanes, lies between. Lanes of one warp are NOT ordered by standing in one instruction:
since compute capability 7.0 they may run apart, and shfl, vote and match promise no order of
memory (PTX ISA 9.0, bar.warp.sync). Threads of different blocks are never ordered within one
launch.
"""

from dataclasses import dataclass

import numpy as np

WARPS, BLOCKS, GRID = 1 << 28, 1 << 29, 1 << 30  # Where the codes for groups of threads begin.
_CLOCK = np.int64(0xFFFFFFFF)
_WHO = np.int64(32)


class Order:
    """What orders the threads of a launch so far.

    block, warp, lane: int64[thread]; block_clock: int64[block], the clock of the last barrier;
    warp_clock: int64[thread, lane], the clock of the last bar.warp.sync that ordered the two.
    """

    def __init__(self, block: np.ndarray, warp: np.ndarray, lane: np.ndarray) -> None:
        self.block, self.warp, self.lane = block, warp, lane
        self.clock = 0
        self.block_clock = np.full(int(block[-1]) + 1, -1, np.int64)
        self.warp_clock: np.ndarray | None = None
        first = np.zeros(int(warp[-1]) + 1, np.int64)
        first[warp[::-1]] = block[::-1]
        self._block_of_warp = first
        self._lanes = np.bincount(warp)

    def barrier(self, blocks: np.ndarray | slice) -> None:
        """All threads of these blocks met."""
        self.block_clock[blocks] = self.clock

    def warp_barrier(self, threads: np.ndarray, masks: np.ndarray) -> None:
        """The lanes named in `masks` (uint32[thread]) of these threads' warps met."""
        if self.warp_clock is None:
            self.warp_clock = np.full((len(self.block), 32), -1, np.int64)
        lanes = (masks[:, None] >> np.arange(32, dtype=np.uint32) & np.uint32(1)).astype(bool)
        known = self.warp_clock[threads]
        whole = bool(lanes.all())
        for group in (
            () if whole else np.unique(self.warp[threads] << _WHO | masks.astype(np.int64))
        ):
            # What one member is ordered after, all members now are.
            member = (self.warp[threads] << _WHO | masks.astype(np.int64)) == group
            known[member] = known[member].max(axis=0)
        self.warp_clock[threads] = np.where(lanes, self.clock, known)

    def unordered(self, stamps: np.ndarray, threads: np.ndarray) -> np.ndarray | None:
        """Which stamps are of another thread with nothing between: bool[thread], or None."""
        who = stamps >> _WHO
        other = (stamps >= 0) & (who != threads)
        if not other.any():
            return None
        spot = np.nonzero(other)[0]
        who, clock, mine = who[spot], stamps[spot] & _CLOCK, threads[spot]
        warp, block = self._group(who)
        after = (block == self.block[mine]) & (self.block_clock[self.block[mine]] > clock)
        if self.warp_clock is not None:
            after |= (warp == self.warp[mine]) & (self._warp_clock(who, mine) > clock)
        if after.all():
            return None
        other[spot[after]] = False
        return other

    def joined(self, who: np.ndarray, threads: np.ndarray) -> np.ndarray:
        """The code of the smallest group that holds both."""
        warp, block = self._group(who)
        own_warp, own_block = self.warp[threads], self.block[threads]
        outer = np.where(block == own_block, BLOCKS + own_block, GRID)
        return np.where(
            who == threads, threads, np.where(warp == own_warp, WARPS + own_warp, outer)
        )

    def already_joined(self, stamps: np.ndarray, threads: np.ndarray) -> bool:
        """Whether every stamp is of a group that holds the thread, since the last barrier.

        A short cut for what several threads read again and again.
        """
        if self.warp_clock is not None or stamps.min() < 0:
            return False
        who, block = stamps >> _WHO, self.block[threads]
        if (stamps & _CLOCK <= self.block_clock[block]).any():
            return False
        inside = (who == GRID) | (who == BLOCKS + block) | (who == WARPS + self.warp[threads])
        return bool((inside | (who == threads)).all())

    def code_of(self, threads: np.ndarray) -> int:
        """The code of the smallest group that holds all of these (sorted) threads."""
        first, last = threads[0], threads[-1]
        if first == last:
            return int(first)
        return int(self.joined(first[None], last[None])[0])

    def _group(self, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The warp and block of a code; -1 where it spans several."""
        single = np.where(who < WARPS, who, 0)
        warp = np.where(who < WARPS, self.warp[single], np.where(who < BLOCKS, who - WARPS, -1))
        of_warp = self._block_of_warp[np.maximum(warp, 0)]
        block = np.where(warp >= 0, of_warp, np.where(who < GRID, who - BLOCKS, -1))
        return warp, block

    def _warp_clock(self, who: np.ndarray, mine: np.ndarray) -> np.ndarray:
        """The last warp barrier between `mine` and a thread, or all the lanes of a warp."""
        assert self.warp_clock is not None
        rows = self.warp_clock[mine]
        single = rows[np.arange(len(mine)), self.lane[np.where(who < WARPS, who, 0)]]
        exists = np.arange(32) < self._lanes[self.warp[mine]][:, None]
        return np.where(who < WARPS, single, np.where(exists, rows, np.int64(1) << 40).min(axis=1))

    def describe(self, stamp: int) -> str:
        """Who stands in a stamp, in words."""
        who = stamp >> 32
        if who < WARPS:
            return f"thread {who} (block {self.block[who]})"
        if who < BLOCKS:
            return f"several lanes of warp {who - WARPS}"
        return f"several threads of block {who - BLOCKS}" if who < GRID else "several blocks"


@dataclass(frozen=True)
class Race:
    """The first race of one access: the thread's position in it, and what the other had done."""

    position: int
    earlier: str
    other: str


class Shadow:
    """The stamps of one allocation in one launch: int64[granule] each, -1 for nobody."""

    def __init__(self, size_bytes: int, granule_bytes: int) -> None:
        self.granule_bytes = granule_bytes
        count = -(-size_bytes // granule_bytes)
        self._stamps = {kind: np.full(count, -1, np.int64) for kind in ("write", "read", "atomic")}
        self._used = dict.fromkeys(self._stamps, False)  # A kind nobody used cannot conflict.

    def access(
        self, kind: str, order: Order, offset: np.ndarray, size_bytes: int, threads: np.ndarray
    ) -> Race | None:
        """Note one instruction's accesses at byte offsets; the first race they make, if any."""
        granules = offset // self.granule_bytes
        for k in range(max(size_bytes // self.granule_bytes, 1)):
            race = self._touch(kind, order, granules + k if k else granules, threads)
            if race is not None:
                return race
        return None

    def _touch(
        self, kind: str, order: Order, granules: np.ndarray, threads: np.ndarray
    ) -> Race | None:
        for earlier, stamps in self._stamps.items():
            compatible = kind == earlier and kind != "write"
            if compatible or not self._used[earlier]:
                continue
            found = stamps[granules]
            bad = order.unordered(found, threads)
            if bad is not None:
                position = int(np.argmax(bad))
                return Race(position, earlier, order.describe(int(found[position])))
        self._used[kind] = True
        if kind == "write":
            return self._note_write(order, granules, threads)
        self._note_shared(self._stamps[kind], order, granules, threads)
        return None

    def _note_write(self, order: Order, granules: np.ndarray, threads: np.ndarray) -> Race | None:
        stamps = self._stamps["write"]
        mine = threads << _WHO | order.clock
        stamps[granules] = mine
        left = stamps[granules]
        if np.array_equal(left, mine):
            return None
        position = int(np.argmax(left != mine))
        return Race(position, "write", order.describe(int(left[position])))

    @staticmethod
    def _note_shared(
        stamps: np.ndarray, order: Order, granules: np.ndarray, threads: np.ndarray
    ) -> None:
        """Reads, or atomics: several threads may touch one granule; it then names their group."""
        if len(threads) > 1 and granules[0] == granules[-1] and (granules == granules[0]).all():
            code, found = order.code_of(threads), int(stamps[granules[0]])
            if found < 0 or found >> 32 == code:
                stamps[granules[0]] = code << 32 | order.clock
                return
        found = stamps[granules]
        if order.already_joined(found, threads):
            stamps[granules] = (found & ~_CLOCK) | order.clock
            return
        who = threads
        apart = order.unordered(found, threads)
        if apart is not None:
            who = np.where(
                apart, order.joined(np.where(apart, found >> _WHO, threads), threads), who
            )
        mine = who << _WHO | order.clock
        stamps[granules] = mine
        left = stamps[granules]
        lost = left != mine
        if lost.any():
            code = order.joined(left[lost] >> _WHO, threads[lost])
            # Groups that hold others have the greater codes.
            np.maximum.at(stamps, granules[lost], code << _WHO | order.clock)
