"""Stage 5 of 8: what is said about a metric beside its formula."""

from dataclasses import dataclass
from typing import Literal

Parity = Literal["delta-odd", "vega-even", "unsigned"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One exported metric, or one scored feature.

    Attributes:
        name: of its column in `ScanResult.metrics`, or of the feature in an alert's drivers.
        reads: columns of kernels.columns.COLUMNS that its value depends on; "books" are the
            levels of a listing that has depth. The columns that decide whether there is a value
            at all (has_state, validity, expiry_ns) are not named again.
        unit: of the value.
        range: smallest and largest value.
        parity: "delta-odd": positive means pressure to a higher price of this listing, so a put's
            sign is flipped to speak of the underlying. "vega-even": the sign means the same for
            calls and puts. "unsigned": it has no direction.
        since: version that brought it.
        meaning: one clause; the formula stands in docs/SCORING.md.
    """

    name: str
    reads: tuple[str, ...]
    unit: str
    range: str
    parity: Parity
    since: str
    meaning: str
