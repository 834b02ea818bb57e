"""Stage 2 of 8: how a venue's clock stands against ours, and how late its messages are by it.

    receive time - venue time  =  offset of the clocks + shortest way  +  lag
                                  `---- least over a window -----'

Nobody can tell the two on the left apart from one side. The least over a window takes both, and
what is above it is lag: waiting in queues, at the venue, on the way or here. Minimum filters of
one-way delays: D. Mills, Internet Time Synchronization, IEEE Trans. Comm. 39 (1991), section III.
"""

import math
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

BUCKET_NS: Final = 10 * 10**9
BUCKETS: Final = 60  # Ten minutes: a clock that drifts by 50 ppm moves 30 ms in it.
# A venue's time so far in the future is a mistake, not a clock: one such stamp would set the least.
FUTURE_NS_MAX: Final = 300 * 10**9


class VenueClock:
    """One venue's clock, from the receive and venue times of its rows; pure.

    The offset does not depend on how the rows are cut into calls; the lag is that of the last one.

    Attributes:
        lag_ns: median of what rows of the last call were above the offset, never negative; NaN
            where none had a venue time.
        refused: rows left out because their venue time lay more than FUTURE_NS_MAX ahead.
    """

    def __init__(self) -> None:
        self.lag_ns = math.nan
        self.refused = 0
        self._least: deque[tuple[int, int]] = deque()  # (bucket of the receive time, least ns)

    @property
    def offset_ns(self) -> float:
        """Least receive time less venue time over the window; negative where its clock is ahead.

        NaN before the first row with a venue time.
        """
        return min((least for _, least in self._least), default=math.nan)

    def observe(self, rx_ns: NDArray[np.int64], ex_ns: NDArray[np.int64]) -> bool:
        """Take rows in the order of receipt; those with a venue time of 0 have none.

        Returns:
            Whether any row told something.
        """
        stamped = ex_ns > 0
        rx_ns = rx_ns[stamped]
        behind = rx_ns - ex_ns[stamped]
        sound = behind >= -FUTURE_NS_MAX
        refused = len(sound) - int(np.count_nonzero(sound))
        if refused:
            self.refused += refused
            rx_ns, behind = rx_ns[sound], behind[sound]
        if not len(behind):
            return False
        self._take_all(rx_ns, behind)
        middle = len(behind) // 2
        behind.partition((middle, middle - 1 + len(behind) % 2))
        median = (int(behind[middle]) + int(behind[middle - 1 + len(behind) % 2])) / 2
        self.lag_ns = max(0.0, median - self.offset_ns)
        return True

    def _take_all(self, rx_ns: NDArray[np.int64], behind: NDArray[np.int64]) -> None:
        first, last = int(rx_ns[0]) // BUCKET_NS, int(rx_ns[-1]) // BUCKET_NS
        if first == last:  # Nearly always: a call is about a tick.
            self._take(first, int(behind.min()))
            return
        buckets = rx_ns // BUCKET_NS
        starts = np.flatnonzero(np.diff(buckets, prepend=first - 1))
        least = np.minimum.reduceat(behind, starts)
        for bucket, ns in zip(buckets[starts].tolist(), least.tolist(), strict=True):
            self._take(bucket, ns)

    def _take(self, bucket: int, least_ns: int) -> None:
        if self._least and self._least[-1][0] == bucket:
            least_ns = min(least_ns, self._least.pop()[1])
        self._least.append((bucket, least_ns))
        while self._least[0][0] <= bucket - BUCKETS:
            self._least.popleft()
