"""Bullish frames broken at random: any bytes give rows or a counted error, whatever the cuts."""

import copy
import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import Kind
from feeds.venues import bullish
from tests.feeds.bullish_frames import (
    CALL,
    IDS,
    book,
    decoded,
    frame,
    index,
    quote,
    tick,
    trade,
    trades,
)

SHAPES = [
    json.loads(shape)
    for shape in (
        book("snapshot", 5, 6, ["5", "1", "4", "2"], ["6", "3"]),
        book("update", 7, 9, ["5", "0"], ["6", "1"]),
        quote(),
        quote(bid=("0.0000", "0.0000")),
        trades(trade(), trade(tradeId="A-7", isTaker=False, otcMatchId="3")),
        trades(trade(auctionId="9"), kind="update"),
        trades(trade(), kind="snapshot"),
        tick(),
        index(),
        frame("update", "V1TAHeartbeat", {"message": "heartbeat"}),
        b'{"jsonrpc":"2.0","id":"7","result":{"responseCode":"200"}}',
        b'{"jsonrpc":"2.0","id":"8","error":{"code":"-32602","errorCode":"29013"}}',
    )
]
WORDS = st.sampled_from(
    [None, True, -1, 0, 1, 2**63, 2**70, -0.5, 1e300, "", "nan", "-1", "0", "1e5", "update", CALL]
)
VALUES = WORDS | st.lists(WORDS, max_size=3) | st.dictionaries(st.text(max_size=3), WORDS)


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(node, dict | list):
        return []
    items = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for key, value in items:
        found += [(*path, key), *paths(value, (*path, key))]
    return found


@st.composite
def broken_frames(draw: st.DrawFn) -> bytes:
    shape = copy.deepcopy(draw(st.sampled_from(SHAPES)))
    for _ in range(draw(st.integers(0, 2))):
        *parents, key = draw(st.sampled_from(paths(shape)))
        node = shape
        for parent in parents:
            node = node[parent]
        if draw(st.booleans()):
            node[key] = draw(VALUES)
        else:
            del node[key]
        if not paths(shape):
            break
    text = json.dumps(shape, sort_keys=draw(st.booleans())).encode()
    how = draw(st.sampled_from(["whole", "cut", "flip", "random"]))
    if how == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if how == "flip":
        at = draw(st.integers(0, len(text) - 1))
        return text[:at] + draw(st.binary(min_size=1, max_size=3)) + text[at + 1 :]
    return draw(st.binary(max_size=80)) if how == "random" else text


@given(st.lists(broken_frames(), max_size=8))
def test_any_bytes_give_rows_or_counted_errors_and_nothing_else(frames):
    out = decoded(frames, IDS)
    rows, tables = out.rows.view(), out.frames.view()
    assert out.error_count <= len(frames)
    assert len(out.trade_keys) == int((rows["kind"] == Kind.TRADE).sum())
    assert all(0 <= key < 2**64 for key in out.trade_keys)
    quotes = rows["kind"] == Kind.QUOTE
    assert np.isfinite(rows["price"][~quotes]).all()
    assert not (rows["price"] <= 0).any()
    assert (rows["size"][~quotes] >= 0).all()
    assert not np.isinf(rows["size"]).any()
    assert (rows["ex_ns"] >= 0).all()
    assert (tables["row_begin"] <= tables["row_end"]).all()
    assert (tables["row_end"] <= len(rows)).all()
    assert not np.isinf([out.tickers.view()[f] for f in ("mark", "iv_mark", "delta", "vega")]).any()
    for message in frames:
        bullish.control(message)
        bullish.channel_of(message)


@given(st.lists(broken_frames(), max_size=8), st.integers(0, 8))
def test_decoding_does_not_depend_on_the_cuts(frames, cut):
    whole, left = decoded(frames, IDS), decoded(frames[:cut], IDS)
    right = decoded(frames[cut:], IDS, 1000 + len(frames[:cut]))
    for name in ("rows", "tickers"):
        parts = [getattr(part, name).view().tobytes() for part in (whole, left, right)]
        assert parts[0] == parts[1] + parts[2]
    assert whole.trade_keys == left.trade_keys + right.trade_keys
    assert whole.error_count == left.error_count + right.error_count
    ends = whole.frames.view()["row_end"].tolist()
    moved = (right.frames.view()["row_end"] + left.rows.count).tolist()
    assert ends == left.frames.view()["row_end"].tolist() + moved
