"""Which instructions of the kernels no test reached, and which of them none can reach.

What counts is an effect: memory, an atomic, a barrier, a vote or a float operation. Index
arithmetic and guards of loops are left out; they come and go with the compiler's unrolling.
"""

import re

_EFFECT = re.compile(
    r"(?:@!?%\w+\s+)?(?:ld\.(?!param)|st\.|atom\.|red\.|bar\.|shfl\.|vote\.|redux\.|sqrt\.|"
    r"(?:add|sub|mul|div|fma|min|max|abs|neg)\.(?:rn\.)?f(?:32|64)\b)"
)
# Effects that may be out of reach, and why. More than these is a case that no test makes.
OUT_OF_REACH = {
    "apply": (2, "a superseded quote in the copy for listings without a book"),
    "apply_tickers": (17, "loops over no fields, and over what ten fields leave of a step of four"),
    "metrics": (6, "a perpetual's units in the copy for options; no rest of the metrics by four"),
    "observe": (13, "a z that is NaN; an arc tangent beyond 1; a move before the first mid"),
    "block_top_k": (45, "rounds of loops that every thread goes two or four times"),
    "top_k": (45, "rounds of loops that every thread goes two or four times"),
    "count_marks": (7, "what is left of the bins by a round of four; they are whole rounds"),
    "cumulate": (9, "what is left of a thread's bins by four; they are four or eight"),
}


def unreached_effects(kernel):
    """Effects that no thread of any launch had, as the compiler wrote them."""
    return [text for _, text in kernel.unreached() if _EFFECT.match(text)]


def reach_table(kernels):
    """Kernels with how much of them was reached, and what was not: lines of text."""
    lines = [f"{'kernel':<16}{'instructions':>14}{'unreached':>11}{'effects':>9}"]
    for name, kernel in kernels.items():
        effects, missed = len(unreached_effects(kernel)), len(kernel.unreached())
        reason = OUT_OF_REACH.get(name, (0, ""))[1]
        lines.append(f"{name:<16}{len(kernel.instructions):>14}{missed:>11}{effects:>9}  {reason}")
    return "\n".join(lines) + "\n"
