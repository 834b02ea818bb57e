"""Stage 4 of 8: one listing's tickers into the held columns, and what they say to the anchors."""

import math

import numpy as np

from kernels import columns as c
from kernels.arrays import Columns, Tickers
from kernels.laws.anchored_flow import constant_vol_move, drift_after
from kernels.laws.decay import seconds

NAN = np.float32(np.nan)
E6 = np.float32(1e-6)


def apply_listing_tickers(
    i: int, start: int, stop: int, tickers: Tickers, columns: Columns
) -> None:
    """Walk one listing's tickers; a field that is no number is no news."""
    delta, theta = columns.f32[c.DELTA, i], columns.f32[c.THETA, i]
    forward_e6 = columns.i64[c.FORWARD_E6, i]
    for k in range(start, stop):
        for field in range(tickers.value.shape[1]):
            value = tickers.value[k, field]
            if not math.isnan(value):
                columns.f32[c.DELTA + field, i] = value
        if tickers.forward_e6[k] != c.NO_FORWARD:
            columns.i64[c.FORWARD_E6, i] = tickers.forward_e6[k]
    if columns.u8[c.IS_OPTION, i] != 0:
        roll(i, tickers.rx_ns[stop - 1], delta, theta, forward_e6, columns)


def roll(i: int, t: int, delta: float, theta: float, forward_e6: int, columns: Columns) -> None:
    """Bring both drifts from the greeks and the forward before to those held now, at time t."""
    f32, i64 = columns.f32, columns.i64
    elapsed_s = seconds(t, i64[c.ROLL_NS, i])
    known = i64[c.ROLL_NS, i] != c.NEVER
    i64[c.ROLL_NS, i] = t
    if not known or forward_e6 == c.NO_FORWARD:  # No forward is forgotten: there is one now, too.
        f32[c.DRIFT_BID, i] = NAN
        f32[c.DRIFT_ASK, i] = NAN
        return
    forward_move = np.float32(i64[c.FORWARD_E6, i] - forward_e6) * E6
    forward = np.float32(i64[c.FORWARD_E6, i]) * E6
    move = constant_vol_move(
        delta, f32[c.DELTA, i], theta, f32[c.THETA, i], forward_move, forward, elapsed_s
    )
    ticks_per_price = f32[c.PRICE_PER, i] / f32[c.TICK, i]
    inverse = columns.u8[c.IS_INVERSE, i] != 0
    for side in range(2):
        f32[c.DRIFT_BID + side, i] = drift_after(
            f32[c.DRIFT_BID + side, i], np.float32(columns.i32[c.ANCHOR_BID + side, i]),
            move, forward_move, forward, ticks_per_price, inverse,
        )  # fmt: skip
