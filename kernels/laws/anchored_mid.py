"""Stage 5 of 8: the move of an option's mid that its underlying does not explain."""

import numpy as np

from kernels.laws.scalars import f32

ZERO = f32(0)
NAN = f32(np.nan)


def anchored_move(
    mid_move: float, mid_before: float, delta: float, forward_move: float, forward: float,
    spread: float, inverse: bool,
) -> float:  # fmt: skip
    """Change of (mid - delta x forward) between two observations, in mean spreads.

    Linear: mid_move - delta forward_move, over spread. Inverse (mids in coin): the change of
    mid x forward - delta x forward, over spread x forward. NaN where the spread is not positive.

    >>> float(anchored_move(f32(5), f32(50), f32(0.5), f32(8),
    ...                     f32(1000), f32(2), False))
    0.5
    >>> round(float(anchored_move(f32(0.01), f32(0.2), f32(0.5),
    ...                           f32(20), f32(1000), f32(0.001), True)), 4)
    4.0

    Source: methods of the project, section 00.3 (anchored mid).
    """
    if not spread > ZERO:
        return NAN
    if inverse:
        return (mid_move + (mid_before - delta) * (forward_move / forward)) / spread
    return (mid_move - delta * forward_move) / spread
