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


BUDGETS: Final[dict[str, Budget]] = {}


def excess(figures: Figures, budget: Budget) -> dict[str, tuple[int, int]]:
    """Figures beyond their bounds, by name, as (found, allowed)."""
    bounds = dict.fromkeys(NOTHING_LOCAL, 0)
    bounds |= {field.name: getattr(budget, field.name) for field in fields(Budget)}
    found = {name: (getattr(figures, name), bound) for name, bound in bounds.items()}
    return {name: pair for name, pair in found.items() if pair[0] > pair[1]}
