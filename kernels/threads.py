"""Stages 4 to 6 of 8: a launch shape shared out over threads of our own.

A shape whose first parameters are `stripe` and `stripes` answers for the stripe-th share of its
work alone. It is compiled once, as serial code, and called once per thread, without the
interpreter's lock (docs/decisions/0013-threads-of-our-own.md).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def is_striped(shape: Callable[..., Any]) -> bool:
    """Whether a launch shape can be shared out."""
    return shape.__code__.co_varnames[:2] == ("stripe", "stripes")


def share(stripe: int, stripes: int, count: int) -> tuple[int, int]:
    """First and stop of the rows of one stripe; those of all stripes are 0 to count, in order.

    >>> [share(stripe, 3, 10) for stripe in range(3)]
    [(0, 3), (3, 6), (6, 10)]
    """
    return stripe * count // stripes, (stripe + 1) * count // stripes


class Threads:
    """The caller's thread and count - 1 others, which are started when they are first needed.

    They end with the object. Working memory is one piece a stripe, so one call runs at a time.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None

    def run(self, function: Callable[..., Any], stripes: int, *arguments: Any) -> None:
        """Call function(stripe, stripes, *arguments) for every stripe, the first one here.

        Raises:
            Whatever a stripe raised, after all have ended.
        """
        assert 1 <= stripes <= self.count
        others = [
            self._others().submit(function, stripe, stripes, *arguments)
            for stripe in range(1, stripes)
        ]
        try:
            function(0, stripes, *arguments)
        finally:
            errors = [other.exception() for other in others]  # Waits for each.
        for error in errors:
            if error is not None:
                raise error

    def _others(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.count - 1, thread_name_prefix="kernels")
        return self._pool


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
