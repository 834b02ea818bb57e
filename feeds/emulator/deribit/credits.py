"""Stage 1 of 8, simulated: the venue's request budget.

Public requests draw on one pool of the caller's address: 30,000 credits, 3,000 a subscription,
10,000 back a second, so a burst of 10 and 3.3 requests a second; everything else draws 500 from a
pool of 50,000 (docs.deribit.com, rate limits). An empty pool answers error 10028 and ends the
session.
"""

from dataclasses import dataclass
from typing import Final

from feeds.contract import E9

REFILL_PER_S: Final = 10_000.0


@dataclass(slots=True)
class Pool:
    """A leaky bucket on the simulated clock. refused: requests that found it empty."""

    credits_max: float
    cost: float
    credits: float
    updated_ns: int
    refused: int = 0

    @classmethod
    def full(cls, credits_max: float, cost: float, now_ns: int) -> "Pool":
        """Start with all credits."""
        return cls(credits_max, cost, credits_max, now_ns)

    def draw(self, now_ns: int) -> bool:
        """Pay for one request; False, and nothing is paid, where the pool is too low."""
        elapsed_s = (now_ns - self.updated_ns) / E9
        self.credits = min(self.credits_max, self.credits + REFILL_PER_S * elapsed_s)
        self.updated_ns = now_ns
        if self.credits < self.cost:
            self.refused += 1
            return False
        self.credits -= self.cost
        return True
