"""What the tests of venues share: fixture frames, decoding whatever the cuts, mutated frames."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from feeds.events import DecodeOut
from feeds.venue import Scanned, Venue
from tests.conftest import shared
from tests.feeds import both_ways
from tests.feeds.both_ways import contents

RX_NS = 1_790_000_000_000_000_000


def fixture(path: str) -> list[bytes]:
    """Received messages of a fixture file, as the text that stands there."""
    frames = []
    for line in shared(f"fixtures/{path}").read_text().splitlines():
        entry = json.loads(line)
        if entry.get("dir") != "in":
            continue
        text = entry["msg"]
        frames.append((text if isinstance(text, str) else _compact(text)).encode())
    return frames


def _compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def frame(content: Any) -> bytes:
    """A message as venues write it."""
    return _compact(content).encode()


def decoded(
    venue: Venue, frames: Sequence[bytes], symbols: Mapping[str, int], first_rx_ns: int = RX_NS
) -> DecodeOut:
    """Decode frames at once, scanned and not, and see that one by one says the same."""
    rx_ns = [first_rx_ns + k for k in range(len(frames))]
    out, parts = DecodeOut(), DecodeOut()
    if isinstance(venue, Scanned):
        out = both_ways.decoded(venue, frames, symbols, first_rx_ns)
    else:
        venue.decode(frames, rx_ns, symbols, out)
    for content, at in zip(frames, rx_ns, strict=True):
        venue.decode([content], [at], symbols, parts)
    assert contents(out) == contents(parts)
    return out


def clean(venue: Venue, frames: Sequence[bytes], symbols: Mapping[str, int]) -> DecodeOut:
    out = decoded(venue, frames, symbols)
    assert out.errors == []
    return out


def tuples(rows: np.ndarray, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(row[field].item() for field in fields) for row in rows]


def f32(value: float) -> float:
    return float(np.float32(value))


def same(found: Any, wanted: Any) -> bool:
    """Equal, and NaN equals itself."""
    return bool(np.array_equal(np.array(found, float), np.array(wanted, float), equal_nan=True))


_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["", "0", "-1", "nan", "inf", "1e400", "∞", "9" * 40]),
    st.just([]), st.just({}), st.just([[[]]]),
)  # fmt: skip


@st.composite
def mutated(draw: Any, samples: Sequence[bytes]) -> bytes:
    """A sample with one part of its structure dropped, doubled, renamed or replaced; or cut."""
    text = draw(st.sampled_from(samples))
    how = draw(st.sampled_from(["tree", "cut", "bytes"]))
    if how == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if how == "bytes":
        at = draw(st.integers(0, len(text) - 1))
        return text[:at] + draw(st.binary(max_size=4)) + text[at + 1 :]
    tree = json.loads(text)
    places = list(_places(tree))
    if not places:
        return text
    parent, key = draw(st.sampled_from(places))
    action = draw(st.sampled_from(["drop", "replace", "rename", "double", "wrap"]))
    if action == "drop":
        del parent[key]
    elif action == "replace":
        parent[key] = draw(_LEAVES)
    elif action == "wrap":
        parent[key] = [parent[key]]
    elif isinstance(parent, list):
        parent.insert(key, parent[key])
    else:
        parent[draw(st.text(max_size=4))] = parent.pop(key) if action == "rename" else parent[key]
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )


def _places(tree: Any) -> Any:
    """Every place of a tree: its container and its key."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)
