"""Stage 7 of 8: listings that are coming back are marked, so that what they say first is no news.

While a connection was away the market moved unseen. The first books and tickers after it jump over
what was missed, and a jump looks like an anomaly.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernels.columns import Validity
from scanner.result import ScanResult
from scanner.universe import Universe

FOREVER: Final = 2**63 - 1


class Recovering:
    """Rows that recover, and rows that did so lately.

    A row that recovers carries the bit RECOVERING. A group is held while one of its members
    recovers and for `group_window_ns` after it: so long the member's scores of that time count.
    """

    def __init__(self, universe: Universe, group_window_ns: int) -> None:
        self._universe = universe
        self._group_window_ns = group_window_ns
        self._ended_ns: dict[int, int] = {}  # row -> when it ended to recover, or FOREVER

    def begin(self, row: int) -> None:
        """A connection that carried the row has closed."""
        self._ended_ns[row] = FOREVER

    def end(self, row: int, rx_ns: int) -> None:
        """The connection is whole again since `rx_ns`."""
        self._ended_ns[row] = rx_ns

    def forget(self, row: int) -> None:
        """The listing has ended; its row may become another's."""
        self._ended_ns.pop(row, None)

    def mark(self, result: ScanResult) -> ScanResult:
        """The scan with the bit on its rows and `held` on its groups; itself where none recovers.

        The bits stand in an array of the answer's own: the state keeps what the apply kernel says.
        """
        now_ns = result.now_ns
        since_ns = now_ns - self._group_window_ns
        self._ended_ns = {row: t for row, t in self._ended_ns.items() if t > since_ns}
        if not self._ended_ns:
            return result
        # Records behind this grid time may have been taken already; their rows have not.
        rows = np.array([row for row, t in self._ended_ns.items() if t > now_ns], np.intp)
        validity = result.validity.copy()
        known = rows[(validity[rows] & int(Validity.NO_STATE)) == 0]
        validity[known] |= np.uint16(Validity.RECOVERING)
        return replace(
            result, validity=validity, groups=replace(result.groups, held=self._held(result))
        )

    def _held(self, result: ScanResult) -> NDArray[np.bool_]:
        rows = np.fromiter(self._ended_ns, np.uint32)
        columns, groups = self._universe.columns.at(rows), result.groups
        underlying, expiry_ns = columns.underlying_id.tolist(), columns.expiry_ns.tolist()
        keys = {*zip(underlying, expiry_ns, strict=True), *((name, 0) for name in underlying)}
        of_groups = zip(groups.underlying.tolist(), groups.expiry_ns.tolist(), strict=True)
        return np.array([key in keys for key in of_groups], np.bool_)
