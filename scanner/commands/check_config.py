"""Stages 1 to 8 of 8: `scanner check-config`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from scanner.commands.arguments import write_json, write_line
from scanner.config import config_hash, effective, json_schema, load
from scanner.errors import ConfigError

BAD_INPUT: Final = 2


def check_config(path: Path | None, *, as_json: bool) -> int:
    """Print the effective settings, or every problem; returns the exit code."""
    try:
        config = load(path)
    except ConfigError as error:
        if as_json:
            write_json({"ok": False, "problems": error.problems})
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return BAD_INPUT
    settings = effective(config)
    if as_json:
        write_json({"ok": True, "config_hash": config_hash(config), "config": settings})
        return 0
    write_line(f"OK, config hash {config_hash(config)}")
    for key, value in _flat(settings):
        write_line(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    return 0


def print_schema() -> int:
    """Print the JSON Schema of the configuration file; returns the exit code."""
    write_line(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0


def _flat(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
