"""Stage 1 of 8, simulated: random numbers of listings, those of spots from a stream of their own.

A venue lists some spots beside its options. Whatever they draw, the options of a seed are the same
with them and without.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Draws:
    """Generators of one purpose.

    main: of all listings but spots. spots: of those. is_spot: bool[listing].
    """

    main: np.random.Generator
    spots: np.random.Generator
    is_spot: NDArray[np.bool_]

    def of(
        self,
        ids: NDArray[np.int64],
        draw: Callable[[np.random.Generator, NDArray[np.int64]], NDArray[Any]],
    ) -> NDArray[Any]:
        """Numbers of listings, each from its stream; `draw` gives those of a part of `ids`."""
        apart = self.is_spot[ids]
        if not apart.any():
            return draw(self.main, ids)
        first, second = draw(self.main, ids[~apart]), draw(self.spots, ids[apart])
        found = np.empty((len(ids), *first.shape[1:]), first.dtype)
        found[~apart], found[apart] = first, second
        return found

    def generator(self, listing: int) -> np.random.Generator:
        """The stream of one listing."""
        return self.spots if self.is_spot[listing] else self.main
