"""Stage 5 of 8: what a book's prices and sizes say at one moment."""

import numpy as np

from kernels.laws.elementary import exp2_neg
from kernels.laws.scalars import f32

ZERO, HALF = f32(0), f32(0.5)
NAN = f32(np.nan)


def imbalance(bid_size: float, ask_size: float) -> float:
    """Signed share of the size that rests on the bid, in [-1, 1] (M1, M3).

    NaN when neither side shows size: an empty book has no opinion, and 0 would rank it beside a
    perfectly balanced one.

    >>> float(imbalance(f32(30.0), f32(10.0)))
    0.5
    >>> float(imbalance(f32(0.0), f32(0.0)))
    nan

    Source: queue imbalance, Gould and Bonart 2016, equation 1.
    """
    total = bid_size + ask_size
    if not total > ZERO:  # Written so that NaN sizes also end here.
        return NAN
    return (bid_size - ask_size) / total


def level_weight(distance_ticks: float, mean_spread_ticks: float) -> float:
    """Weight of a book level: halves with every mean spread between it and the mid (M3).

    Distance in ticks alone is meaningless across strikes. With a mean spread of 0 only a level at
    the mid itself counts.

    >>> float(level_weight(f32(4), f32(2)))
    0.25

    Source: methods of the project, M3 with h_d = 1.
    """
    if not mean_spread_ticks > ZERO:
        return exp2_neg(-distance_ticks)
    return exp2_neg(-(distance_ticks / mean_spread_ticks))


def event_ofi(
    bid: int, bid_size: float, ask: int, ask_size: float,
    bid_before: int, bid_size_before: float, ask_before: int, ask_size_before: float,
) -> float:  # fmt: skip
    """Order-flow imbalance of one update of one level, native size (M5).

    An unchanged price yields the size difference once, because both of its terms fire.

    >>> float(event_ofi(10, f32(8), 11, f32(7), 10, f32(5), 11, f32(7)))
    3.0
    >>> float(event_ofi(11, f32(4), 12, f32(6), 10, f32(8), 11, f32(3)))
    7.0

    Source: Cont, Kukanov and Stoikov 2014, equation 2.
    """
    e = ZERO
    if bid >= bid_before:
        e = e + bid_size
    if bid <= bid_before:
        e = e - bid_size_before
    if ask <= ask_before:
        e = e - ask_size
    if ask >= ask_before:
        e = e + ask_size_before
    return e
