"""Stage 5 of 8: the laws over one listing: six features for scoring, every metric for export."""

import math

import numpy as np
from numpy.typing import NDArray

from kernels import columns as c
from kernels.arrays import Books, Columns
from kernels.laws import METRICS
from kernels.laws.anchored_mid import anchored_move
from kernels.laws.book import imbalance, level_weight
from kernels.laws.decay import decay, mean_now, seconds
from kernels.laws.elementary import LN_2, log2
from kernels.laws.stabilise import asinh, atanh_share

ZERO, HALF = np.float32(0), np.float32(0.5)
NAN = np.float32(np.nan)
RATES = tuple(np.float32(1 / h) for h in (1, 5, 30, 300))
SLOW_RATE = np.float32(1 / 300)
E6 = np.float32(1e-6)
HALF_LIFE_30 = 2  # index in RATES
NEAR_VOL = np.float32(2)  # Vol points: depth farther from the mid is not near.
VOL_PER_TICK_MAX = np.float32(1.5)  # Vol points: a coarser tick hides what volatility does.

METRIC_NAMES = tuple(metric.name for metric in METRICS)
(
    OBI, MICROPRICE_OFFSET, DEPTH_OBI, SPREAD_REL, SPREAD_VOL, VOL_PER_TICK,
    DEPTH_UNDERLYING, DEPTH_USD_VEGA, DEPTH_USD_DELTA, LIQUIDITY_CLASS,
    QUOTE_AGE, UPDATE_RATE, TRADE_RATE,
    OFI, _, _, _, IV_OFI, _, _, _, TFI, _, _, _, FLOW, _, _, _,
    TRADES, CONTRACTS, PREMIUM_USD, UPDATES, REDUCTIONS, BLOCK_PREMIUM_USD,
    DELTA, VEGA, IV_MARK, FORWARD, INDEX, OPEN_INTEREST,
    USD_VEGA, USD_DELTA, USD_PREMIUM, PRESSURE, MID,
) = range(len(METRIC_NAMES))  # fmt: skip


def metrics_of_row(
    r: int, i: int, now_ns: int, columns: Columns, books: Books, out: NDArray[np.float32]
) -> None:
    """Fill one column of `out`."""
    for m in range(out.shape[0]):
        out[m, r] = NAN
    if columns.u8[c.HAS_STATE, i] == 0:
        return
    held_metrics(r, i, columns, out)
    count_metrics(r, i, now_ns, columns, out)
    trade_metrics(r, i, now_ns, columns, out)
    if columns.i64[c.CHANGE_NS, i] != c.NEVER:
        out[QUOTE_AGE, r] = seconds(now_ns, columns.i64[c.CHANGE_NS, i])
    if columns.validity[i] & c.NOT_REGULAR == 0 and not past_expiry(i, now_ns, columns):
        book_metrics(r, i, now_ns, columns, books, out)
        if columns.u8[c.IS_OPTION, i] != 0 and columns.f32[c.VEGA, i] > ZERO:
            vega_metrics(r, i, columns, books, out)
            if not settling(i, now_ns, columns):
                anchored_metrics(r, i, now_ns, columns, out)


def past_expiry(i: int, now_ns: int, columns: Columns) -> bool:
    """Whether the clock has reached the listing's expiry."""
    expiry_ns = columns.i64[c.EXPIRY_NS, i]
    return bool(expiry_ns != 0 and now_ns >= expiry_ns)


def held_metrics(r: int, i: int, columns: Columns, out: NDArray[np.float32]) -> None:
    """Copy what was last received."""
    f32 = columns.f32
    out[DELTA, r] = f32[c.DELTA, i]
    out[VEGA, r] = f32[c.VEGA, i]
    out[IV_MARK, r] = f32[c.IV_MARK, i]
    out[INDEX, r] = f32[c.INDEX, i]
    out[OPEN_INTEREST, r] = f32[c.OPEN_INTEREST, i]
    out[PRESSURE, r] = f32[c.PRESSURE, i]
    if columns.u8[c.LIQUIDITY, i] != 0:
        out[LIQUIDITY_CLASS, r] = np.float32(columns.u8[c.LIQUIDITY, i])
    if columns.i64[c.FORWARD_E6, i] != c.NO_FORWARD:
        out[FORWARD, r] = np.float32(columns.i64[c.FORWARD_E6, i]) * E6


def units_of(i: int, columns: Columns) -> float:
    """Underlying units of one unit of native size.

    An inverse perpetual or future counts USD (docs/venues/deribit.md): coins are USD over its mid.
    """
    units = columns.f32[c.MULTIPLIER, i]
    if columns.u8[c.IS_INVERSE, i] == 0 or columns.u8[c.IS_OPTION, i] != 0:
        return units
    if columns.validity[i] & c.NOT_TWO_SIDED:
        return NAN
    return coins_per_usd(units, mid2_of(i, columns), columns.f32[c.TICK, i])


def coins_per_usd(usd: float, mid2: int, tick: float) -> float:
    """Coins of an amount in USD at a mid of mid2 half ticks; NaN for a mid that is not > 0."""
    return usd / (np.float32(mid2) * (HALF * tick)) if mid2 > 0 else NAN


def usd_factor(i: int, columns: Columns) -> float:
    """USD of one unit of premium, cash sense: the index where premiums are paid in coin."""
    if columns.u8[c.IS_INVERSE, i] and columns.u8[c.IS_OPTION, i]:
        return columns.f32[c.INDEX, i]
    return np.float32(1)


def count_metrics(r: int, i: int, now_ns: int, columns: Columns, out: NDArray[np.float32]) -> None:
    """Decayed counts, read at now_ns."""
    f32 = columns.f32
    d = decay(seconds(now_ns, columns.i64[c.COUNT_NS, i]), SLOW_RATE)
    usd = usd_factor(i, columns)
    out[TRADES, r] = f32[c.TRADES, i] * d
    out[CONTRACTS, r] = f32[c.CONTRACTS, i] * d * units_of(i, columns)
    out[PREMIUM_USD, r] = f32[c.PREMIUM, i] * d * usd
    out[UPDATES, r] = f32[c.UPDATES, i] * d
    out[REDUCTIONS, r] = f32[c.REDUCTIONS, i] * d
    out[BLOCK_PREMIUM_USD, r] = f32[c.BLOCK_PREMIUM, i] * d * usd
    out[UPDATE_RATE, r] = out[UPDATES, r] * (LN_2 * SLOW_RATE)
    out[TRADE_RATE, r] = out[TRADES, r] * (LN_2 * SLOW_RATE)


def trade_metrics(r: int, i: int, now_ns: int, columns: Columns, out: NDArray[np.float32]) -> None:
    """Trade-flow imbalance and signed flow, read at now_ns."""
    f32 = columns.f32
    units = units_of(i, columns)
    dt = seconds(now_ns, columns.i64[c.TRADE_NS, i])
    for h in range(c.HALF_LIFE_COUNT):
        buy, sell = f32[c.TRADE_BUY + h, i], f32[c.TRADE_SELL + h, i]
        out[TFI + h, r] = imbalance(buy, sell)
        out[FLOW + h, r] = (buy - sell) * decay(dt, RATES[h]) * units


def book_metrics(
    r: int, i: int, now_ns: int, columns: Columns, books: Books, out: NDArray[np.float32]
) -> None:
    """Metrics of a regular row's book, and its order-flow imbalance."""
    f32 = columns.f32
    spread, mean_spread, mean_depth = spread_and_means(i, now_ns, columns)
    obi = imbalance(f32[c.BID_SIZE, i], f32[c.ASK_SIZE, i])
    depth_obi, depth = depth_of(i, mean_spread, columns, books)
    tick = f32[c.TICK, i]
    mid = np.float32(mid2_of(i, columns)) * (HALF * tick)
    usd = usd_factor(i, columns) / f32[c.PRICE_PER, i]
    out[OBI, r] = obi
    out[MICROPRICE_OFFSET, r] = HALF * spread * tick * obi
    out[DEPTH_OBI, r] = depth_obi
    if mid > ZERO:
        out[SPREAD_REL, r] = spread * tick / mid
    units = units_of(i, columns)
    out[DEPTH_UNDERLYING, r] = depth * units
    out[MID, r] = mid
    dt = seconds(now_ns, columns.i64[c.OFI_NS, i])
    for h in range(c.HALF_LIFE_COUNT):
        flow = (f32[c.OFI_BUY + h, i] - f32[c.OFI_SELL + h, i]) * decay(dt, RATES[h])
        out[OFI + h, r] = flow / mean_depth
        if h == HALF_LIFE_30:
            size = flow * units
            out[USD_VEGA, r] = size * f32[c.VEGA, i]
            out[USD_DELTA, r] = size * f32[c.DELTA, i] * out[FORWARD, r]
            out[USD_PREMIUM, r] = size * mid * usd


def vega_metrics(r: int, i: int, columns: Columns, books: Books, out: NDArray[np.float32]) -> None:
    """Metrics of a regular option in vol points: its spread, its tick, and the depth nearby."""
    f32 = columns.f32
    vega = f32[c.VEGA, i]
    usd_per_tick = iv_usd_factor(i, columns) / f32[c.PRICE_PER, i] * f32[c.TICK, i]
    spread = np.float32(columns.i32[c.ASK, i] - columns.i32[c.BID, i])
    out[SPREAD_VOL, r] = spread * usd_per_tick / vega
    out[VOL_PER_TICK, r] = step_at(i, mid2_of(i, columns), columns) * usd_per_tick / vega
    if math.isnan(usd_per_tick):
        return  # A distance without a forward is unknown, and so is what lies within it.
    units = depth_within(i, NEAR_VOL * vega / usd_per_tick, columns, books) * units_of(i, columns)
    out[DEPTH_USD_VEGA, r] = units * vega
    out[DEPTH_USD_DELTA, r] = units * abs(f32[c.DELTA, i]) * out[FORWARD, r]


def anchored_metrics(
    r: int, i: int, now_ns: int, columns: Columns, out: NDArray[np.float32]
) -> None:
    """Anchored order-flow imbalance of a regular option, where a tick lets it be seen."""
    f32 = columns.f32
    unknown = math.isnan(f32[c.DELTA, i] + f32[c.THETA, i] + out[FORWARD, r])
    if unknown or not out[VOL_PER_TICK, r] <= VOL_PER_TICK_MAX:
        return
    _, _, mean_depth = spread_and_means(i, now_ns, columns)
    dt = seconds(now_ns, columns.i64[c.OFI_NS, i])
    for h in range(c.HALF_LIFE_COUNT):
        flow = f32[c.IV_OFI_BUY + h, i] - f32[c.IV_OFI_SELL + h, i]
        out[IV_OFI + h, r] = flow * decay(dt, RATES[h]) / mean_depth


def iv_usd_factor(i: int, columns: Columns) -> float:
    """USD of one unit of premium, volatility sense: the forward where premiums are in coin."""
    if columns.u8[c.IS_INVERSE, i] == 0:
        return np.float32(1)
    if columns.i64[c.FORWARD_E6, i] == c.NO_FORWARD:
        return NAN
    return np.float32(columns.i64[c.FORWARD_E6, i]) * E6


def step_at(i: int, ticks2: int, columns: Columns) -> float:
    """Tick that holds at a price (in half ticks), in smallest ticks of the listing."""
    if ticks2 >= 2 * np.int64(columns.i32[c.COARSE_FROM, i]):
        return np.float32(columns.i32[c.STEP, i])
    return np.float32(1)


def depth_within(i: int, ticks_max: float, columns: Columns, books: Books) -> float:
    """Sizes of the used book, both sides, at most ticks_max from the mid; native size."""
    mid2 = mid2_of(i, columns)
    slot = columns.i32[c.SLOT, i]
    if slot == c.NO_SLOT:
        half_spread = np.float32(columns.i32[c.ASK, i] - columns.i32[c.BID, i]) * HALF
        near = half_spread <= ticks_max
        return columns.f32[c.BID_SIZE, i] + columns.f32[c.ASK_SIZE, i] if near else ZERO
    depth = ZERO
    for side in range(2):
        for m in range(min(books.levels[slot, side], c.LEVELS_USED)):
            distance2 = abs(mid2 - 2 * np.int64(books.price[slot, side, m]))
            if np.float32(distance2) * HALF <= ticks_max:
                depth += books.size[slot, side, m]
    return depth


def mid2_of(i: int, columns: Columns) -> int:
    """Bid plus ask, half ticks of the mid; exact."""
    return np.int64(columns.i32[c.BID, i]) + np.int64(columns.i32[c.ASK, i])


def spread_and_means(i: int, now_ns: int, columns: Columns) -> tuple[float, float, float]:
    """(spread now, mean spread, mean top depth) of a regular row; ticks, ticks, native size."""
    f32 = columns.f32
    d = decay(seconds(now_ns, columns.i64[c.UPDATE_NS, i]), SLOW_RATE)
    spread = np.float32(columns.i32[c.ASK, i] - columns.i32[c.BID, i])
    top = (f32[c.BID_SIZE, i] + f32[c.ASK_SIZE, i]) * HALF
    weight = f32[c.REGULAR_WEIGHT, i]
    return (
        spread,
        mean_now(f32[c.SPREAD_SUM, i], weight, spread, d),
        mean_now(f32[c.DEPTH_SUM, i], weight, top, d),
    )


def depth_of(i: int, mean_spread: float, columns: Columns, books: Books) -> tuple[float, float]:
    """(depth-weighted imbalance, plain sum of sizes) of the used book; native size."""
    slot = columns.i32[c.SLOT, i]
    if slot == c.NO_SLOT:
        qb, qa = columns.f32[c.BID_SIZE, i], columns.f32[c.ASK_SIZE, i]
        return imbalance(qb, qa), qb + qa
    mid2 = mid2_of(i, columns)
    bids, asks, depth = ZERO, ZERO, ZERO
    for m in range(min(books.levels[slot, 0], c.LEVELS_USED)):
        distance = np.float32(mid2 - 2 * np.int64(books.price[slot, 0, m])) * HALF
        size = books.size[slot, 0, m]
        bids += level_weight(distance, mean_spread) * size
        depth += size
    for m in range(min(books.levels[slot, 1], c.LEVELS_USED)):
        distance = np.float32(2 * np.int64(books.price[slot, 1, m]) - mid2) * HALF
        size = books.size[slot, 1, m]
        asks += level_weight(distance, mean_spread) * size
        depth += size
    return imbalance(bids, asks), depth


def features_of_row(
    i: int, now_ns: int, columns: Columns, books: Books, value: NDArray[np.float32]
) -> None:
    """Stabilised values of the six scored features of a regular row, into value[feature, i]."""
    f32 = columns.f32
    spread, mean_spread, mean_depth = spread_and_means(i, now_ns, columns)
    depth_obi, depth = depth_of(i, mean_spread, columns, books)
    dt = seconds(now_ns, columns.i64[c.OFI_NS, i])
    flow = f32[c.OFI_BUY + HALF_LIFE_30, i] - f32[c.OFI_SELL + HALF_LIFE_30, i]
    value[0, i] = atanh_share(imbalance(f32[c.BID_SIZE, i], f32[c.ASK_SIZE, i]))
    value[1, i] = atanh_share(depth_obi)
    value[2, i] = log2(spread)
    value[3, i] = log2(depth)
    value[4, i] = anchored_of(i, now_ns, mean_spread, columns)
    value[5, i] = asinh(flow * decay(dt, RATES[HALF_LIFE_30]) / mean_depth)


def anchored_of(i: int, now_ns: int, mean_spread: float, columns: Columns) -> float:
    """Anchored move of the mid since the previous observation; NaN without an anchor."""
    f32, i64 = columns.f32, columns.i64
    if i64[c.OBSERVED_NS, i] == c.NEVER:
        return NAN
    return anchored_since(
        mid2_of(i, columns), np.int64(columns.i32[c.MID2_OBSERVED, i]), f32[c.TICK, i],
        f32[c.PRICE_PER, i], mean_spread, f32[c.DELTA, i], i64[c.FORWARD_E6, i],
        i64[c.FORWARD_BEFORE_E6, i], columns.u8[c.IS_OPTION, i] != 0,
        columns.u8[c.IS_INVERSE, i] != 0, settling(i, now_ns, columns),
    )  # fmt: skip


def anchored_since(
    mid2: int, mid2_before: int, tick: float, price_per: float, mean_spread: float, delta: float,
    forward_e6: int, before_e6: int, option: bool, inverse: bool, settles: bool,
) -> float:  # fmt: skip
    """Anchored move of the mid from one observation to the next, in mean spreads.

    mid2, mid2_before: half ticks. mean_spread: ticks. What is no option has no delta.
    """
    scale = tick / price_per
    mid_move = np.float32(mid2 - mid2_before) * (HALF * scale)
    spread = mean_spread * scale
    if not option:
        return anchored_move(mid_move, ZERO, ZERO, ZERO, ZERO, spread, False)
    if forward_e6 == c.NO_FORWARD or before_e6 == c.NO_FORWARD or settles:
        return NAN
    return anchored_move(
        mid_move, np.float32(mid2_before) * (HALF * scale), delta,
        np.float32(forward_e6 - before_e6) * E6, np.float32(forward_e6) * E6, spread, inverse,
    )  # fmt: skip


def settling(i: int, now_ns: int, columns: Columns) -> bool:
    """Whether an option is inside its settlement averaging, where plain greeks mislead."""
    return settles_within(columns.i64[c.EXPIRY_NS, i], now_ns, columns.i64[c.SETTLE_WINDOW_NS, i])


def settles_within(expiry_ns: int, now_ns: int, window_ns: int) -> bool:
    """Whether less than the averaging window is left before the expiry."""
    return bool(expiry_ns != 0 and expiry_ns - now_ns <= window_ns)
