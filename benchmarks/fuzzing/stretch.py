"""How time and memory grow with an input: parts of what was found, made long."""

import gc
import random
import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.fuzzing.guided import Search
from benchmarks.fuzzing.mutate import elements_of, repeated

SHORT_BYTES: Final = 16_384
LONG_BYTES: Final = 131_072
TEXTS_MAX: Final = 60  # of a search, the newest of the sound ones and the seeds
PARTS_MAX: Final = 3  # of a text
TIMES: Final = 3  # of which the least counts
_NUMBER: Final = re.compile(rb"[0-9]+")
_TEXT: Final = re.compile(rb'"(?=[^"]*")')


@dataclass(frozen=True, slots=True)
class Growth:
    """The worst of a target.

    ns_a_byte: longest time of a long input for its size, and how it was made long.
    growth: most that the time of a long input was of a short one's; LONG_BYTES / SHORT_BYTES is
        plain proportion.
    memory_a_byte: most bytes that Python and numpy held at once, for the input's size.
    """

    inputs: int
    ns_a_byte: tuple[float, str]
    growth: tuple[float, str]
    memory_a_byte: tuple[float, str]


def growth_of(search: Search) -> Growth:
    """Make inputs of a search long, and see what they take."""
    rng = random.Random(search.seed)
    slowest, growth, memory = (0.0, ""), (0.0, ""), (0.0, "")
    inputs = 0
    for kind, texts in search.sound.items():
        for text in (*texts[: TEXTS_MAX // 2], *texts[TEXTS_MAX // 2 :][-TEXTS_MAX // 2 :]):
            for how, short, long in _made_long(text, rng):
                inputs += 1
                words = f"{kind}, {how}"
                seconds = [_least_s(search, kind, content) for content in (short, long)]
                slowest = max(slowest, (seconds[1] * 1e9 / len(long), words))
                growth = max(growth, (seconds[1] / seconds[0], words))
                memory = max(memory, (_peak_bytes(search, kind, long) / len(long), words))
    return Growth(inputs, slowest, growth, memory)


def _made_long(text: bytes, rng: random.Random) -> Iterator[tuple[str, bytes, bytes]]:
    """How, a short and a long form of a text: many copies of a part, or one long word."""
    parts = elements_of(text)
    for begin, end in rng.sample(parts, min(PARTS_MAX, len(parts))):
        short, long = (size // (end - begin + 1) for size in (SHORT_BYTES, LONG_BYTES))
        yield "repeated", repeated(text, begin, end, short), repeated(text, begin, end, long)
    for how, pattern, filler in (("digits", _NUMBER, b"7"), ("characters", _TEXT, b"x")):
        places = [found.end() for found in pattern.finditer(text)]
        if places:
            at = rng.choice(places)
            yield (
                how,
                *(text[:at] + filler * size + text[at:] for size in (SHORT_BYTES, LONG_BYTES)),
            )


def _least_s(search: Search, kind: str, content: bytes) -> float:
    """Seconds without the garbage collector, which looks at all objects there are now and then."""
    gc.disable()
    try:
        return min(search.target.timed(kind, content) for _ in range(TIMES))
    finally:
        gc.enable()


def _peak_bytes(search: Search, kind: str, content: bytes) -> int:
    tracemalloc.start()
    try:
        search.target.timed(kind, content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
