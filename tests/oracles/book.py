"""Stage 4 of 8, checked: an order book as two dictionaries.

Slow and obviously right. It serves two readers: `tests/oracles/metrics.py` (prices in ticks,
32 levels a side) and the tests of venues' published checksums (prices in whatever type the
checksum needs, no capacity).
"""

from typing import Generic, Protocol, TypeVar


class Ordered(Protocol):
    """A price: hashable and comparable with its own kind."""

    def __lt__(self, other, /) -> bool: ...  # type: ignore[no-untyped-def]

    def __hash__(self) -> int: ...


Price = TypeVar("Price", bound=Ordered)

BID = 1
ASK = -1


class DictionaryBook(Generic[Price]):
    """Price -> size for each side; a size that is not above 0 removes the price.

    capacity: most levels kept a side; the worst one beyond it is forgotten and `truncated` says
    so for that side until `clear`. None keeps everything.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.sides: dict[int, dict[Price, float]] = {BID: {}, ASK: {}}
        self.truncated: dict[int, bool] = {BID: False, ASK: False}

    def clear(self) -> None:
        """Forget both sides, and that levels were pushed out."""
        self.sides = {BID: {}, ASK: {}}
        self.truncated = {BID: False, ASK: False}

    def set(self, side: int, price: Price, size: float) -> None:
        """Set one level to an absolute size; removing a price that is not there does nothing."""
        levels = self.sides[side]
        if not size > 0:
            levels.pop(price, None)
            return
        levels[price] = size
        if self.capacity is not None and len(levels) > self.capacity:
            worst = min(levels) if side == BID else max(levels)
            del levels[worst]
            self.truncated[side] = True

    def levels(self, side: int, count: int | None = None) -> list[tuple[Price, float]]:
        """(price, size), best first, at most `count` of them; a copy."""
        ordered = sorted(self.sides[side].items(), reverse=side == BID)
        return ordered[:count]
