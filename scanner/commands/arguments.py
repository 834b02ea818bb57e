"""Stages 1 to 8 of 8: how values are written on the command line, and how results are printed."""

import json
import math
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from scanner.errors import InputError

UNIT_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
DURATION_NS_MAX: Final = (1 << 63) - 1
_DURATION: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,18})?)(ns|us|ms|s|m|h|d)", re.ASCII)

SPEED_MIN: Final = 0.001  # A day of recording in three years: slower is a slip.


def duration_ns(option: str, text: str) -> int:
    """Read a duration with its unit, such as 10s, 500ms, 1m or 1.5h.

    A number alone is refused: seconds and milliseconds are both natural here.

    Raises:
        InputError: another form, a duration of 0, or no whole number of nanoseconds.
    """
    match = _DURATION.fullmatch(text.strip())
    value = Decimal(match[1]) * UNIT_NS[match[2]] if match else Decimal(0)
    if not 1 <= value <= DURATION_NS_MAX or value != int(value):
        raise InputError(
            f"{option} was {text!r}, expected a duration with its unit ({', '.join(UNIT_NS)}), "
            "such as 10s or 500ms"
        )
    return int(value)


def speed_factor(option: str, text: str) -> float:
    """Read a replay speed: max (infinity), or a factor of real time such as 1 or 2.5.

    Raises:
        InputError: another form, or a factor below SPEED_MIN.
    """
    if text == "max":
        return math.inf
    try:
        factor = float(text.removesuffix("x"))
    except ValueError:
        factor = math.nan
    if not SPEED_MIN <= factor < math.inf:
        raise InputError(f"{option} was {text!r}, expected max or a number from {SPEED_MIN}")
    return factor


def names(option: str, text: str | None) -> tuple[str, ...] | None:
    """Read a list separated by commas; None where the option was not given.

    Raises:
        InputError: an empty name, or one that stands in the list twice.
    """
    if text is None:
        return None
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len(set(found)) != len(found):
        raise InputError(f"{option} was {text!r}, expected names separated by commas, each once")
    return found


def write_line(text: str) -> None:
    """Write one line to standard output; what it shows later stays in order with logs."""
    sys.stdout.write(f"{text}\n")


def write_json(values: Mapping[str, Any]) -> None:
    """Write one JSON object as one line, at once: a reader may be waiting for it.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not have.
    """
    write_line(json.dumps(values, allow_nan=False, ensure_ascii=False))
    sys.stdout.flush()
