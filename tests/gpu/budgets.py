"""What each kernel may cost at most, on every architecture: a change is a reviewed edit here.

`make gpu-check` prints what they cost.
"""

from dataclasses import dataclass, fields
from typing import Final

from tests.gpu.static import Figures

# Never, in any kernel: what the cache was made for goes through memory instead.
NOTHING_LOCAL: Final = (
    "stack_bytes", "spill_store_bytes", "spill_load_bytes", "local_accesses",
)  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """Upper bounds of the figures of the same names."""

    registers: int
    global_loads: int
    global_stores: int
    instructions: int
    shared_bytes: int = 0
    atomics: int = 0
    double: int = 0  # Above 0 only for kernels whose laws are declared float64.


BUDGETS: Final[dict[str, Budget]] = {
    "apply": Budget(208, 330, 200, 3600),
    "apply_tickers": Budget(56, 45, 20, 1200),
    "expire": Budget(40, 16, 10, 500),
    "metrics": Budget(120, 190, 53, 4200),
    "observe": Budget(112, 150, 170, 5100),
    "group_sums": Budget(40, 13, 0, 430, atomics=12),
    "group_scores": Budget(40, 11, 4, 550, atomics=2),
    "block_top_k": Budget(72, 5, 1, 1150, shared_bytes=8196, atomics=1),
    "top_k": Budget(72, 3, 1, 1150, shared_bytes=8196, atomics=1),
    "rollup": Budget(40, 16, 0, 600, atomics=9),
    "count_marks": Budget(48, 28, 0, 2700, shared_bytes=41040, atomics=42),
    "cumulate": Budget(48, 95, 50, 2700, shared_bytes=2048),
    "activity": Budget(40, 20, 1, 580),
    "segment_median_mad": Budget(64, 30, 2, 2100, shared_bytes=1056, atomics=28),
}


def excess(figures: Figures, budget: Budget) -> dict[str, tuple[int, int]]:
    """Figures beyond their bounds, by name, as (found, allowed)."""
    bounds = dict.fromkeys(NOTHING_LOCAL, 0)
    bounds |= {field.name: getattr(budget, field.name) for field in fields(Budget)}
    found = {name: (getattr(figures, name), bound) for name, bound in bounds.items()}
    return {name: pair for name, pair in found.items() if pair[0] > pair[1]}
