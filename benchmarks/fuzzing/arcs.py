"""Which steps from line to line some files took: what the search is guided by."""

import dis
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

# File, line before, line: before the first line of a call stands minus the line of its `def`.
Arc = tuple[str, int, int]
_RETURNED = 0
_RAISED = -1


class Arcs:
    """The arcs of some files that calls of `run` take.

    Tracing sees plain Python alone, which is why a byte scanner runs uncompiled here.

    Attributes:
        taken: those of all calls since it was emptied last.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.taken: set[Arc] = set()
        self._files = frozenset(str(path) for path in files)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function; whoever traced before goes on afterwards."""
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            return function(*args)
        finally:
            sys.settrace(before)

    def _called(self, frame: FrameType, _event: str, _arg: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if name not in self._files:
            return None
        add, last = self.taken.add, -frame.f_code.co_firstlineno

        def traced(frame: FrameType, event: str, _arg: Any) -> Callable[..., Any]:
            nonlocal last
            if event == "line":
                line = frame.f_lineno
            else:
                line = _RETURNED if event == "return" else _RAISED
            add((name, last, line))
            last = line
            return traced

        return traced


def lines_of(arcs: Iterable[Arc]) -> set[tuple[str, int]]:
    """The lines that arcs lead to."""
    return {(name, line) for name, _, line in arcs if line > 0}


def lines_in(files: Iterable[Path]) -> set[tuple[str, int]]:
    """The lines of the functions of files: what stands outside them ran when they were imported."""
    found = set()
    for path in files:
        for code in _functions(compile(path.read_text(), str(path), "exec")):
            starts = {line for _, line in dis.findlinestarts(code) if line}
            found |= {(str(path), line) for line in starts - {code.co_firstlineno}}
    return found


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Code of the functions below a module's or a class's."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & inspect.CO_OPTIMIZED:  # a function, and no class
                yield inner
            yield from _functions(inner)
