"""The table of metrics says the truth: what each reads, and what exchanging bid and ask does."""

import numpy as np
import pytest

from kernels import columns as c
from kernels.laws import METRICS, SCORED
from kernels.rows.features import METRIC_NAMES, features_of_row, metrics_of_row
from scanner.result import FEATURES
from scanner.state import State

NOW_NS = 1_800_000_000_000_000_000
SECOND_NS = 1_000_000_000
PERPETUAL_ROW, COARSE_ROW = 3, 2
ROWS = 8  # The odd ones have depth, every other pair is inverse.
LEVELS = 5
GATES = {"has_state", "validity", "expiry_ns"}
INTEGER_STEP = 12_345_678_901  # 12 s as a time, a visible move as a forward.


def market() -> State:
    """Regular rows with a value in every column, so that any dependence shows."""
    rng = np.random.default_rng(20261122)
    state = State(c.PAD, ROWS, 1)
    col, books = state.columns, state.books
    rows = slice(0, ROWS)
    col.f32[:, rows] = rng.uniform(0.5, 2.0, (c.F32_COUNT, ROWS))
    col.f32[c.REGULAR_WEIGHT, rows] = 0.5
    col.f32[c.SPREAD_SUM, rows] = rng.uniform(1.0, 4.0, ROWS)
    col.i64[:, rows] = NOW_NS - rng.integers(1, 40, (c.I64_COUNT, ROWS)) * SECOND_NS
    col.i64[c.FORWARD_E6, rows] = 50_000_000_000
    col.i64[c.FORWARD_BEFORE_E6, rows] = 49_000_000_000
    col.i64[c.EXPIRY_NS, rows] = NOW_NS + 86_400 * SECOND_NS
    col.i64[c.SETTLE_WINDOW_NS, rows] = 1_800 * SECOND_NS
    col.i32[c.BID, rows] = 1_000
    col.i32[c.ASK, rows] = 1_006
    col.i32[c.MID2_OBSERVED, rows] = 1_990
    col.i32[c.SLOT, rows] = [-1, 0, -1, 1, -1, 2, -1, 3]
    col.u8[c.HAS_STATE, rows] = 1
    col.u8[c.IS_OPTION, rows] = [1, 1, 1, 0, 1, 1, 1, 1]  # Row 3: an inverse perpetual.
    col.u8[c.IS_INVERSE, rows] = [0, 0, 1, 1, 0, 0, 1, 1]
    col.validity[rows] = 0
    set_vol_per_tick(state)
    steps = 2 * np.arange(LEVELS)
    books.levels[:] = LEVELS
    books.price[:, 0, :LEVELS] = 1_000 - steps
    books.price[:, 1, :LEVELS] = 1_006 + steps
    books.size[:, :, :LEVELS] = rng.uniform(0.5, 2.0, (ROWS, 2, LEVELS))
    for slot, row in enumerate(range(1, ROWS, 2)):
        col.f32[[c.BID_SIZE, c.ASK_SIZE], row] = books.size[slot, :, 0]
    return state


def set_vol_per_tick(state: State) -> None:
    """Let a tick be worth 1.2 vol points, but 1.8, so that OFI*_h has no value, in one row.

    The price of that row is just on the threshold of its tick table, that of others is a little
    below theirs, so that ticks and thresholds show.
    """
    f32, i32 = state.columns.f32[:, :ROWS], state.columns.i32[:, :ROWS]
    i32[c.STEP] = 5
    i32[c.COARSE_FROM] = [500, 500, 1003, 500, 1004, 1004, 500, 500]
    step = np.where(i32[c.COARSE_FROM] == 1004, 1, 5)
    forward = np.where(state.columns.u8[c.IS_INVERSE, :ROWS], 50_000, 1)
    usd_per_step = f32[c.TICK] / f32[c.PRICE_PER] * forward * step
    f32[c.VEGA] = usd_per_step / np.where(np.arange(ROWS) == COARSE_ROW, 1.8, 1.2)
    state.columns.u8[c.LIQUIDITY, :ROWS] = 4


def measured(state: State) -> dict[str, np.ndarray]:
    """Every metric ("m.") and scored feature ("f.") of the rows, in plain Python."""
    metrics = np.full((len(METRIC_NAMES), ROWS), np.nan, np.float32)
    values = np.full((c.FEATURE_COUNT, ROWS), np.nan, np.float32)
    with np.errstate(all="ignore"):
        for row in range(ROWS):
            metrics_of_row(row, row, NOW_NS, state.columns, state.books, metrics)
            features_of_row(row, NOW_NS, state.columns, state.books, values)
    named = {f"m.{name}": metrics[k] for k, name in enumerate(METRIC_NAMES)}
    return named | {f"f.{name}": values[k] for k, name in enumerate(FEATURES)}


def disturb(state: State, name: str) -> None:
    """Change one column of every row, or the sizes of the books."""
    if name == "books":
        state.books.size[:, :, :LEVELS] *= [[[1.3]], [[0.6]]] * (len(state.books.size) // 2)
        return
    column = next(column for column in c.COLUMNS if column.name == name)
    rows = slice(column.first, column.first + column.count)
    if name == "theta":
        state.columns.f32[rows, :ROWS] = np.nan  # Only whether it is known matters.
    elif column.dtype == "f4":
        state.columns.f32[rows, :ROWS] *= np.float32(1.37)
        if name == "delta":
            state.columns.f32[rows, 0] = np.nan
    elif column.dtype == "u1":
        state.columns.u8[rows, :ROWS] ^= 1
    elif name == "slot":
        state.columns.i32[rows, :ROWS] = [0, -1, 1, -1, 2, -1, 3, -1]
    elif column.dtype == "i4":
        state.columns.i32[rows, :ROWS] -= 3
    elif name == "settle_window_ns":
        state.columns.i64[rows, :ROWS] = 2 * 86_400 * SECOND_NS
    elif name == "observed_ns":
        state.columns.i64[rows, :ROWS] = c.NEVER
    else:
        state.columns.i64[rows, :ROWS] -= INTEGER_STEP


BASE = measured(market())
TABLE = {f"m.{m.name}": m for m in METRICS} | {f"f.{f.name}": f for f in SCORED}
READABLE = [one.name for one in c.COLUMNS if one.name not in GATES] + ["books"]


def test_every_metric_has_a_value_here():
    for name, values in BASE.items():
        missing = np.flatnonzero(np.isnan(values)).tolist()
        of_options = name.startswith(("m.iv_ofi", "m.depth_usd")) or name in (
            "m.vol_per_tick", "m.spread_vol",
        )  # fmt: skip
        expected = [PERPETUAL_ROW] if of_options else []
        assert missing == sorted(expected + [COARSE_ROW] * name.startswith("m.iv_ofi")), name


@pytest.mark.parametrize("column", READABLE)
def test_a_metric_depends_on_what_it_reads_and_on_nothing_else(column):
    state = market()
    disturb(state, column)
    after = measured(state)
    changed = {name for name in BASE if after[name].tobytes() != BASE[name].tobytes()}
    assert changed == {name for name, metric in TABLE.items() if column in metric.reads}


def test_exchanging_the_sides_turns_the_sign_of_what_has_one_and_nothing_else():
    # Prices lie evenly around the mid, so that only sizes and flows are exchanged.
    state = market()
    f32 = state.columns.f32
    for left, right, count in (
        (c.BID_SIZE, c.ASK_SIZE, 1), (c.OFI_BUY, c.OFI_SELL, 4), (c.TRADE_BUY, c.TRADE_SELL, 4),
        (c.IV_OFI_BUY, c.IV_OFI_SELL, 4),
    ):  # fmt: skip
        swapped = f32[left : left + count].copy()
        f32[left : left + count] = f32[right : right + count]
        f32[right : right + count] = swapped
    state.books.size[:] = state.books.size[:, ::-1].copy()
    f32[c.PRESSURE] *= -1
    after = measured(state)
    # The anchored mid turns with prices and forward, not with sizes.
    signed = [n for n, m in TABLE.items() if m.parity != "unsigned" and n != "f.anchored_mid"]
    for name in signed:
        np.testing.assert_allclose(after[name], -BASE[name], rtol=1e-5, err_msg=name)
    for name in TABLE.keys() - set(signed):
        np.testing.assert_allclose(after[name], BASE[name], rtol=1e-5, err_msg=name)
