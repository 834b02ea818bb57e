"""Stages 1 to 8 of 8: `scanner doctor`."""

from dataclasses import asdict
from pathlib import Path
from typing import Final

from scanner.commands.arguments import write_json, write_line
from scanner.doctor import Check, examine

FAILED: Final = 1


def doctor(folder: Path, *, as_json: bool) -> int:
    """Print all checks; returns the exit code, 1 where one failed."""
    checks = examine(folder)
    report = _print_json if as_json else _print_lines
    report(checks)
    return FAILED if any(check.status == "fail" for check in checks) else 0


def _print_json(checks: tuple[Check, ...]) -> None:
    for check in checks:
        write_json(asdict(check))
    write_json({"summary": _summary(checks)})


def _print_lines(checks: tuple[Check, ...]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        write_line(f"{check.status}  {check.name:<{width}}  {check.found}")
        if check.advice:
            write_line(f"{'':{width + 8}}{check.advice}")
    counts = _summary(checks)
    write_line(", ".join(f"{count} {status}" for status, count in counts.items()))


def _summary(checks: tuple[Check, ...]) -> dict[str, int]:
    statuses = [check.status for check in checks]
    return {status: statuses.count(status) for status in ("pass", "warn", "fail")}
