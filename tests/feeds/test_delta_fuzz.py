"""Delta frames broken at random: any bytes give rows or a counted error, whatever the cuts."""

import copy
import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import Kind
from feeds.venues import VENUES
from tests.feeds.delta_frames import (
    AT_US,
    CALL,
    CHANGE,
    IDS,
    INDEX,
    INDIA,
    SNAPSHOT,
    decoded,
    entry,
    frame,
    long_book,
    long_trade,
    short_book,
    short_quote,
    short_ticker,
    short_trade,
    v2_ticker,
)

SHAPES = {
    "delta": [
        long_book("snapshot", 5, **SNAPSHOT),
        long_book("update", 6, **CHANGE),
        frame(
            buy=[{"depth": "9", "limit_price": "5.5", "size": 9}],
            last_sequence_no=7,
            last_updated_at=AT_US,
            sell=[{"depth": "2", "limit_price": "6.5", "size": 2}],
            symbol=CALL,
            timestamp=AT_US,
            type="l2_orderbook",
        ),
        frame(
            ask_qty="1950",
            best_ask="4964.5",
            best_bid=None,
            bid_qty=None,
            last_updated_at=AT_US,
            symbol=CALL,
            type="l1_orderbook",
        ),
        long_trade("maker", "taker"),
        v2_ticker(),
        frame(price="5", symbol=f"MARK:{CALL}", timestamp=AT_US, type="mark_price"),
        frame(price="5", symbol=INDEX, timestamp=AT_US, type="v2/spot_price"),
        frame(product={"symbol": CALL, "trading_status": "operational"}, type="product_updates"),
        frame(channels=[{"name": "l2_updates", "symbols": [CALL]}], type="subscriptions"),
    ],
    INDIA: [
        short_book("snapshot", 5, **SNAPSHOT),
        short_book("update", 6, **CHANGE),
        frame(a=[["6", "1"]], b=[["5", "1"]], lts=AT_US, sy=CALL, ts=AT_US, type="ob_l2"),
        short_quote(),
        short_trade(),
        short_ticker(entry(), entry(CALL)),
        frame(p="5", sy=f"MARK:{CALL}", ts=AT_US, type="mark_price"),
        frame(p=5, sy=INDEX, ts=None, type="spot_price"),
        frame(event="snapshot", status="live", timestamp=AT_US, type="system_status"),
    ],
}
WORDS = st.sampled_from(
    [None, True, -1, 0, 1, 2**63, 2**70, -0.5, 1e300, "", "nan", "-1", "0", "1e5", "update", CALL]
)
VALUES = WORDS | st.lists(WORDS, max_size=3) | st.dictionaries(st.text(max_size=3), WORDS)


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items if isinstance(node, dict | list) else ():
        inner = paths(value, (*path, key)) if isinstance(value, dict | list) else [(*path, key)]
        found += inner
    return found


@st.composite
def broken_frames(draw: st.DrawFn, venue: str) -> bytes:
    shape = copy.deepcopy(json.loads(draw(st.sampled_from(SHAPES[venue]))))
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


def batches() -> st.SearchStrategy[tuple[str, list[bytes]]]:
    return st.sampled_from(list(SHAPES)).flatmap(
        lambda venue: st.tuples(st.just(venue), st.lists(broken_frames(venue), max_size=8))
    )


@given(batches())
def test_any_bytes_give_rows_or_counted_errors_and_nothing_else(batch):
    venue, frames = batch
    out = decoded(frames, IDS, venue=venue)
    rows, tables = out.rows.view(), out.frames.view()
    assert out.error_count <= len(frames)
    assert len(out.trade_keys) == int((rows["kind"] == Kind.TRADE).sum())
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
        VENUES[venue].control(message)
        VENUES[venue].channel_of(message)


@given(batches(), st.integers(0, 8))
def test_decoding_does_not_depend_on_the_cuts(batch, cut):
    venue, frames = batch
    whole = decoded(frames, IDS, venue=venue)
    left = decoded(frames[:cut], IDS, venue=venue)
    right = decoded(frames[cut:], IDS, 1000 + len(frames[:cut]), venue)
    for name in ("rows", "tickers"):
        parts = [getattr(part, name).view().tobytes() for part in (whole, left, right)]
        assert parts[0] == parts[1] + parts[2]
    assert whole.trade_keys == left.trade_keys + right.trade_keys
    assert whole.lifecycle == left.lifecycle + right.lifecycle
    assert whole.error_count == left.error_count + right.error_count
    ends = whole.frames.view()["row_end"].tolist()
    moved = (right.frames.view()["row_end"] + left.rows.count).tolist()
    assert ends == left.frames.view()["row_end"].tolist() + moved
