"""Stage 8 of 8: SINKS, the one list of places where alerts go.

Each module of this folder offers `open_sink(target, queue_max)`, which returns a
scanner.alert.Sink; `target` is what the configuration gives it: a path, an address.
"""

from types import ModuleType
from typing import Final

from scanner.sinks import jsonl

SINKS: Final[dict[str, ModuleType]] = {"jsonl": jsonl}
