"""Stage 1 of 8, simulated: JSON texts made strange or wrong, whatever venue they come from.

Texts that are no JSON come back as they were. Numbers are written as the shortest decimal that
reads back to them, keys keep their order, so nothing but the asked change tells the texts apart.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np

STRANGE_KIND: Final = "moonshot"
STRANGE_NAME: Final = "-MOON"
_WRONG: Final[tuple[Any, ...]] = ({}, [], True, None, "NaN?", -7)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def with_unknown_fields(content: bytes, rng: np.random.Generator) -> bytes:
    """Add a field that no documentation names to every object, anywhere behind its first field.

    What a message is stands first on every venue, and an adapter may tell messages apart by that.
    """
    tree = _tree(content)
    for number, item in enumerate(list(_objects(tree))):
        fields = list(item.items())
        strange = (f"unknown_{number}", {"why": [None, "not documented", 1.5]})
        fields.insert(1 + int(rng.integers(max(1, len(fields)))), strange)
        item.clear()
        item.update(fields)
    return content if tree is None else _encode(tree)


def with_wrong_type(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a value of another type in the place of one number or text, chosen at random."""
    tree = _tree(content)
    leaves = list(_leaves(tree))
    if not leaves:
        return content
    container, key = leaves[int(rng.integers(len(leaves)))]
    right = container[key]
    wrong = [value for value in _WRONG if _kind(value) != _kind(right)]
    container[key] = wrong[int(rng.integers(len(wrong)))]
    return _encode(tree)


def with_strange_entry(body: bytes, kind_field: str, name_field: str) -> bytes:
    """Add an instrument of a kind that nobody knows to the longest list of instruments.

    A `count` beside it that was the list's length still is, as the venue's own would be.
    """
    tree = _tree(body)
    lists = [found for found in _lists(tree) if _is_instrument(found, kind_field, name_field)]
    if not lists:
        return body
    longest = max(lists, key=len)
    for item in _objects(tree):
        if item.get("count") == len(longest):
            item["count"] += 1
    entry = longest[0] | {kind_field: STRANGE_KIND}
    entry[name_field] = f"{entry[name_field]}{STRANGE_NAME}"
    longest.append(entry)
    return _encode(tree)


def _tree(content: bytes) -> Any:
    """The JSON value of a text, None where it is none."""
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _containers(tree: Any) -> Iterator[Any]:
    """Every object and list, outermost first."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (dict, list)):
            yield item
            waiting += item.values() if isinstance(item, dict) else item


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    return (item for item in _containers(tree) if isinstance(item, dict))


def _lists(tree: Any) -> Iterator[list[Any]]:
    return (item for item in _containers(tree) if isinstance(item, list))


def _leaves(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Where the numbers and texts stand: (container, key or index)."""
    for item in _containers(tree):
        for key, value in list(item.items() if isinstance(item, dict) else enumerate(item)):
            if isinstance(value, (str, int, float)):
                yield item, key


def _kind(value: Any) -> type:
    """Type of a JSON value; an int and a float are both numbers."""
    return float if type(value) is int else type(value)


def _is_instrument(found: list[Any], kind_field: str, name_field: str) -> bool:
    return (
        bool(found) and isinstance(found[0], dict) and {kind_field, name_field} <= found[0].keys()
    )
