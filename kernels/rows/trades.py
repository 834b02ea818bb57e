"""Stage 4 of 8: prints into trade flow, counts and premium; the aggressor where none is given."""

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Batch, Columns
from kernels.laws.decay import decay, seconds

ONE = np.float32(1)
RATES = tuple(np.float32(1 / h) for h in (1, 5, 30, 300))
SLOW_RATE = np.float32(1 / 300)
NOT_LIT = 8 | 16 | 32  # BLOCK, COMBO_LEG, RFQ
SIDE_ZERO = 1  # LAST_SIDE holds side + 1, because its column is unsigned.


def apply_trade(i: int, row: int, batch: Batch, columns: Columns, count: NDArray[np.int64]) -> None:
    """Take one print."""
    t, size, ticks = batch.rx_ns[row], batch.size[row], batch.ticks[row]
    f32 = columns.f32
    if ticks == c.NO_PRICE or not size > np.float32(0):
        count[c.ROWS_MALFORMED] += 1
        return
    premium = premium_of(i, ticks, size, columns)
    if batch.flags[row] & NOT_LIT:
        count_one(i, c.BLOCK_PREMIUM, premium, t, columns)
        return
    side = batch.side[row]
    if side == 0:
        side = inferred_side(i, ticks, batch.ex_ns[row], columns)
        if side == 0:
            count[c.SIDES_UNKNOWN] += 1
        else:
            count[c.SIDES_INFERRED] += 1
    columns.i32[c.LAST_TRADE, i] = ticks
    columns.u8[c.LAST_SIDE, i] = side + SIDE_ZERO
    count_one(i, c.TRADES, ONE, t, columns)
    f32[c.CONTRACTS, i] += size  # count_one has brought every count to the same time.
    f32[c.PREMIUM, i] += premium
    if side != 0:
        add_flow(i, side, size, t, columns)


def premium_of(i: int, ticks: int, size: float, columns: Columns) -> float:
    """Native premium of a print; USD where the size counts USD (inverse perpetuals, futures)."""
    units = size * columns.f32[c.MULTIPLIER, i]
    if columns.u8[c.IS_INVERSE, i] and columns.u8[c.IS_OPTION, i] == 0:
        return units
    price = np.float32(ticks) * columns.f32[c.TICK, i]
    return price * units / columns.f32[c.PRICE_PER, i]


def inferred_side(i: int, ticks: int, ex_ns: int, columns: Columns) -> int:
    """Quote rule on the venue's own clock, else tick rule; 0 where neither decides."""
    i32 = columns.i32
    bid, ask = i32[c.BID, i], i32[c.ASK, i]
    quote_ex_ns = columns.i64[c.QUOTE_EX_NS, i]
    if ex_ns != 0 and quote_ex_ns != 0 and quote_ex_ns >= ex_ns:
        bid, ask = i32[c.BID_BEFORE, i], i32[c.ASK_BEFORE, i]
        if columns.i64[c.QUOTE_EX_BEFORE_NS, i] >= ex_ns:
            bid = np.int32(c.NO_PRICE)
    if bid != c.NO_PRICE and ask != c.NO_PRICE:
        twice = 2 * np.int64(ticks) - (np.int64(bid) + np.int64(ask))
        if twice > 0:
            return 1
        if twice < 0:
            return -1
    last = i32[c.LAST_TRADE, i]
    if last == c.NO_PRICE:
        return 0
    if ticks > last:
        return 1
    if ticks < last:
        return -1
    return np.int64(columns.u8[c.LAST_SIDE, i]) - SIDE_ZERO


def add_flow(i: int, side: int, size: float, t: int, columns: Columns) -> None:
    """Add a print to the decayed flow of its side and bring the other side to the same time."""
    dt = seconds(t, columns.i64[c.TRADE_NS, i])
    columns.i64[c.TRADE_NS, i] = t
    buy = size if side > 0 else np.float32(0)
    sell = size if side < 0 else np.float32(0)
    for h in range(c.HALF_LIFE_COUNT):
        d = decay(dt, RATES[h])
        columns.f32[c.TRADE_BUY + h, i] = columns.f32[c.TRADE_BUY + h, i] * d + buy
        columns.f32[c.TRADE_SELL + h, i] = columns.f32[c.TRADE_SELL + h, i] * d + sell


def count_one(i: int, which: int, amount: float, t: int, columns: Columns) -> None:
    """Bring the six decayed counts to time t and add to one of them."""
    d = decay(seconds(t, columns.i64[c.COUNT_NS, i]), SLOW_RATE)
    columns.i64[c.COUNT_NS, i] = t
    for k in range(c.TRADES, c.BLOCK_PREMIUM + 1):
        columns.f32[k, i] = columns.f32[k, i] * d
    columns.f32[which, i] += amount
