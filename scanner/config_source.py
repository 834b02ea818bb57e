"""Stages 1 to 8 of 8: where settings come from, and how a wrong one is reported.

Knows nothing of pydantic: it merges plain mappings, and turns a problem (as pydantic lists them)
into one line that names the source, the key, the value and the expectation.
"""

import os
import pkgutil
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import feeds
from scanner.errors import ConfigError

PREFIX: Final = "SCANNER_"
NESTED: Final = "__"
FILE_BYTES_MAX: Final = 4_194_304  # 4 MiB: ten thousand venues with every setting spelt out
# How a venue's module says that it was written from documentation alone (feeds/venue.py).
VALUE_CHARS_MAX: Final = 80  # a message stays one readable line whatever was pasted into the file

_ACCOUNT: Final = re.compile(r"//.*@")  # a user and a password in an address

# Kind of problem -> what was expected; {names} are filled from the problem's context.
EXPECTED: Final = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_short": "at least {min_length} characters",
    "string_type": "text",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
    "tuple_type": "a list",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "path_type": "a path",
    "model_type": "a table of settings",
    "mapping_type": "a table of settings",
    "dict_type": "a table of settings",
    "int_parsing_size": "a whole number",
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Settings by source, weakest first; `overrides` has dotted keys, the others are nested."""

    path: Path | None
    file: Mapping[str, Any]
    environment: Mapping[str, Any]
    overrides: Mapping[str, object]

    def merged(self) -> dict[str, Any]:
        """One nested mapping in which the stronger source wins, key by key."""
        whole = _merge(self.file, self.environment)
        for key, value in self.overrides.items():
            nested: Any = value
            for name in reversed(key.split(".")):
                nested = {name: nested}
            whole = _merge(whole, nested)
        return whole

    def name(self, keys: Sequence[str]) -> str:
        """Name of a key with the source that set it: a file, a variable, or an option."""
        dotted = ".".join(keys)
        given = any(f"{key}.".startswith(f"{dotted}.") for key in self.overrides)
        dotted = _one_line(dotted)
        if given:
            return f"option {dotted}"
        if _reaches(self.environment, keys):
            return variable(keys) if len(keys) > 1 else f"environment: {dotted}"
        return f"{self.path.name}: {dotted}" if _reaches(self.file, keys) and self.path else dotted


def variable(keys: Sequence[str]) -> str:
    """Name of the environment variable of a key.

    >>> variable(("engine", "tick_ms"))
    'SCANNER_ENGINE__TICK_MS'
    """
    return PREFIX + NESTED.join(keys).upper()


def unknown_variables(sections: Sequence[str]) -> tuple[str, ...]:
    """Problems of variables that look like settings and name no section.

    Only names with the nesting mark count: SCANNER_SHARED or a container host's SCANNER_PORT
    are none of ours.
    """
    problems = []
    for name in sorted(os.environ):
        section = name.removeprefix(PREFIX).split(NESTED)[0].lower()
        if name.startswith(PREFIX) and NESTED in name and section not in sections:
            near = get_close_matches(section, sections, 1)
            hint = f"; did you mean {name.replace(section.upper(), near[0].upper(), 1)}?"
            problems.append(f"{name} names no known section{hint if near else ''}")
    return tuple(problems)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: it is missing, unreadable, too large, or no TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise ConfigError((f"{path}: larger than {FILE_BYTES_MAX} bytes, expected settings",))
        return tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError((f"{path}: {error.strerror}, expected a TOML file",)) from error
    except (ValueError, RecursionError) as error:
        # ValueError: no TOML, no UTF-8, or a number beyond Python's digit limit.
        raise ConfigError((f"{path}: {error}, expected a TOML file",)) from error


def known_venues() -> tuple[str, ...]:
    """Names of the venues there are, without importing any of their decoders."""
    folders = [f"{folder}/venues" for folder in feeds.__path__]
    return tuple(sorted(m.name for m in pkgutil.iter_modules(folders) if m.name[0] != "_"))


def venues_that_say(word: str) -> tuple[str, ...]:
    """Names of the venues whose module has the line `WORD: bool = True`; nothing is imported."""
    line = f"\n{word}: bool = True\n"
    folders = [Path(folder, "venues") for folder in feeds.__path__]
    texts = {
        name: path
        for name in known_venues()
        for folder in folders
        for path in (folder / f"{name}.py", folder / name / "__init__.py")
        if path.is_file()
    }
    return tuple(name for name, path in texts.items() if line in path.read_text())


def nearest(name: str, known: Sequence[str]) -> str:
    """Hint at the known key nearest to a wrong one; empty where none is near.

    A key of the same section is preferred to a namesake elsewhere.

    >>> nearest("engine.tik_ms", ("engine.tick_ms", "engine.scan_ms"))
    '; did you mean engine.tick_ms?'
    >>> nearest("tick_ms", ("engine.tick_ms", "engine.scan_ms"))
    '; did you mean engine.tick_ms?'
    """
    section = name.rpartition(".")[0]
    siblings = [key for key in known if key.rpartition(".")[0] == section]
    found = get_close_matches(name, siblings, 1)
    if not found:
        by_leaf = {key.rpartition(".")[2]: key for key in reversed(known)}
        found = [by_leaf[leaf] for leaf in get_close_matches(name.rpartition(".")[2], by_leaf, 1)]
    return f"; did you mean {found[0]}?" if found else ""


def describe(problem: Mapping[str, Any], known: Sequence[str], sources: Sources) -> str:
    """One line for one problem; the value of an unknown key is never repeated (a secret?).

    Args:
        problem: `type`, `loc`, `msg`, `input`, `ctx` as in pydantic's list of errors.
        known: all dotted keys; a venue's keys stand under `venues.*`.
        sources: tells which source set the key.
    """
    keys = tuple(str(part) for part in problem["loc"])
    context = problem.get("ctx", {})
    if problem["type"] == "extra_forbidden":
        venue = keys[1] if keys[0] == "venues" and len(keys) > 1 else "*"
        hint = nearest(".".join(keys), [key.replace("*", venue) for key in known])
        return f"{sources.name(keys)} is not a known key{hint}"
    if problem["type"] == "value_error":
        words = str(context["error"])  # of a setting, or of a section that names the setting
        return f"{sources.name(keys)}{' ' if words.startswith('was ') else '.'}{words}"
    expected = EXPECTED.get(problem["type"])
    reason = f"expected {expected.format(**context)}" if expected else problem["msg"]
    return f"{sources.name(keys)} was {_shown(problem['input'])}, {reason}"


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"  # Python refuses to print the longest ones
    return _one_line(_ACCOUNT.sub("//[redacted]@", repr(value)))


def _one_line(text: str) -> str:
    plain = text if text.isprintable() else repr(text)
    return plain if len(plain) <= VALUE_CHARS_MAX else f"{plain[:VALUE_CHARS_MAX]}..."


def _merge(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(weak)
    for key, value in strong.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(below, value) if both and below is not None else value
    return merged


def _reaches(tree: Mapping[str, Any], keys: Sequence[str]) -> bool:
    at: Any = tree
    for key in keys:
        if isinstance(at, Mapping):
            if key not in at:
                return False
            at = at[key]
    return True
