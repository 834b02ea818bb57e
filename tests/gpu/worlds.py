"""Everything that lives on a device, as host arrays: a market that ran, then made worse by row.

A world is a dict of what kernels take, by the name of their parameter. Its first rows are those of
a toy market after some seconds on the CPU; then every row gets an ailment of its own, so that one
launch meets all of them side by side in a warp.
"""

import functools

import numpy as np

from kernels import columns as c
from kernels.arrays import (
    Books,
    Common,
    GroupColumns,
    Marks,
    Ranking,
    Tables,
    padded,
)
from kernels.gpu import rank, words
from kernels.rows.features import METRIC_NAMES
from scanner.config import load
from scanner.engine import Scanner
from scanner.state import (
    GROUP_KINDS,
    STAGE_2_BINS,
    Z_BINS,
    empty_columns,
    empty_common,
    empty_marks,
    empty_scores,
)
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings

LISTINGS, SECONDS = 1000, 8
NOW_NS = START_NS + (SECONDS + 1) * SECOND
HOURS, HOUR = 3, 1  # A ring as long as a test needs.
GROUPS, EXPIRIES = 150, 110  # Groups in use; those from EXPIRIES on are underlyings.
WINDOW_NS, HOLD_NS = 60 * SECOND, 20 * SECOND
# What no ticker or venue need ever have said.
MAY_BE_NAN = [*range(c.DELTA, c.USD), c.MULTIPLIER, c.STRIKE, c.DRIFT_BID, c.DRIFT_ASK]
# What is only ever added up from sizes, and is finite at first.
SIZES = [*range(c.BID_SIZE, c.TICK), *range(c.IV_OFI_BUY, c.DRIFT_BID)]


@functools.cache
def market():
    """State of a scanner that followed the market; borrowed, never changed."""
    settings = {"listings_capacity": LISTINGS, "depth_slots_capacity": 400, "threads": 1}
    config = load(None, {f"engine.{name}": value for name, value in settings.items()})
    made = listings(LISTINGS)
    scanner, toy = Scanner(config, device="cpu"), ToyMarket(made, 3)
    scanner.add(made)
    for k in range(1, SECONDS + 1):
        scanner.apply(*toy.second(START_NS + k * SECOND))
        scanner.scan(START_NS + k * SECOND)
    return scanner.state


def world(rows, seed=0, *, ailing=True):
    """A world of so many rows; with ailing=False, the market's own."""
    state, rng, size = market(), np.random.default_rng([rows, seed]), padded(max(rows, 1))
    made = {
        "columns": _front(state.columns, size),
        "books": Books(*(np.array(array) for array in state.books)),
        "scores": _front(state.scores, size),
        "common": Common(*(np.array(array) for array in state.common)),
        "marks": poisoned_marks(size, rng),
        "groups": _groups(rng),
        "tables": _tables(rng),
        "ranking": Ranking(
            rng.integers(0, 1 << 60, (c.LIST_COUNT, 3 * rank.K_MAX), np.uint64),
            rng.integers(0, 1 << 60, (c.LIST_COUNT, rank.K_MAX), np.uint64),
        ),
        "tick": words_of(rows),
    }
    _join_groups(made["columns"], rng)
    if ailing:
        _spread_observations(made, rng)
        _make_tables(made["common"], seed, rng)
        _ail(made, rng)
    return made


def empty_world(rows):
    """A world in which nothing was ever heard of."""
    size = padded(max(rows, 1))
    made = world(rows)
    columns = empty_columns(size)
    columns.u8[c.FRESH] = 1
    return made | {"columns": columns, "scores": empty_scores(size), "common": empty_common()}


def words_of(rows, **named):
    """Words of a tick, by name in lower case."""
    mean = int(np.float32(0.42).view(np.int32))
    all_named = {
        "now_ns": NOW_NS, "row_count": rows, "window_ns": WINDOW_NS,
        "hold_after_ns": NOW_NS - HOLD_NS, "members_min": 8, "group_count": GROUPS, "hour": HOUR,
        "top_k": 50, "pooled_mean_bits": mean,
    } | named  # fmt: skip
    tick = np.zeros(words.WORD_COUNT, np.int64)
    for name, value in all_named.items():
        tick[getattr(words, name.upper())] = value
    return tick


def metrics_out(rows, rng):
    """Where metrics go: float32[metric, row], full of what was there before."""
    return random_bits((len(METRIC_NAMES), padded(max(rows, 1))), rng)


def random_bits(shape, rng, *, finite=False):
    """float32 of any bits; finite: not negative and a number."""
    bits = rng.integers(0, 1 << 32, shape, np.uint64).astype(np.uint32)
    if finite:
        bits %= np.uint32(0x7F800000)
    return bits.view(np.float32)


def poisoned_marks(size, rng):
    """Marks that a kernel may not leave as they are."""
    return Marks(
        *(rng.integers(-100, -50, array.shape, array.dtype) for array in empty_marks(size))
    )


def _front(bundle, size):
    return type(bundle)(*(np.array(array[..., :size], order="C") for array in bundle))


def _groups(rng):
    room = GROUPS + 42
    sums = np.zeros((5, room), np.int64)
    return GroupColumns(
        kind=np.where(np.arange(room) < EXPIRIES, 0, 1).astype(np.uint8),
        sums=sums,
        pooled=np.zeros(2, np.int64),
        above=_suffix_sums(rng.integers(0, 5, (len(GROUP_KINDS), Z_BINS), np.int64)),
        statistic=random_bits(room, rng),
        p=random_bits(room, rng),
        bins=rng.integers(-1, 1024, room, np.int16),
    )


def _tables(rng):
    def counts(*shape):
        found = rng.integers(0, 1 << 40, shape, np.int64)
        return np.where(rng.random(shape) < 0.7, 0, found)

    drivers, lists = (c.STRATUM_COUNT, c.DRIVER_COUNT), (c.STRATUM_COUNT, c.LIST_COUNT)
    kinds = len(GROUP_KINDS)
    return Tables(
        counts(HOURS, *drivers, Z_BINS), counts(HOURS, *lists, STAGE_2_BINS),
        counts(HOURS, kinds, Z_BINS), counts(*drivers, Z_BINS), counts(*lists, STAGE_2_BINS),
        counts(kinds, Z_BINS),
    )  # fmt: skip


def _suffix_sums(counts):
    return np.ascontiguousarray(np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1])


def _join_groups(columns, rng):
    """Many rows in one group, some in each of the others; a few pairs of members."""
    size = columns.validity.size
    expiry = rng.integers(0, EXPIRIES, size)
    expiry[rng.random(size) < 0.5] = 7
    columns.i32[c.EXPIRY_GROUP] = expiry
    columns.i32[c.UNDERLYING_GROUP] = rng.integers(EXPIRIES, GROUPS, size)


def _spread_observations(made, rng):
    """Let rows be at every stage of their baselines, and seen at every distance."""
    columns, scores = made["columns"], made["scores"]
    size = columns.validity.size
    gaps_ns = np.array([0, 1, 999, 1000, 1001, 4000, 4001, 15000, 60000, 60001, 10**8]) * 10**6
    seen = NOW_NS - rng.choice(gaps_ns, size)
    columns.i64[c.OBSERVED_NS] = np.where(rng.random(size) < 0.25, c.NEVER, seen)
    counts = np.float32([0, 0, 1, 28, 29, 30, 31, 49, 50, 51, 2000])
    words_ = scores.baseline
    for word in (c.COUNT, c.SMOOTHED_COUNT):
        words_[word] = rng.choice(counts, words_[word].shape)
    for word in (c.MEAN, c.SMOOTHED, c.Z_BEFORE):
        words_[word] = rng.normal(0, 2, words_[word].shape)
    for word in (c.VARIANCE, c.SMOOTHED_VARIANCE):
        drawn = np.exp(rng.normal(-2, 3, words_[word].shape))
        words_[word] = np.where(rng.random(drawn.shape) < 0.1, 0, drawn)
    columns.u8[c.FRESH] = rng.random(size) < 0.7
    columns.u8[c.SCORED] = rng.random(size) < 0.7
    columns.u8[c.LIQUIDITY] = rng.integers(0, 5, size)
    columns.f32[c.PRESSURE] = rng.normal(0, 8, size)
    scores.p[:] = np.float32(10) ** rng.uniform(-6, 0, scores.p.shape).astype(np.float32)
    keys = rng.permutation(np.arange(1, 1 + scores.key.size, dtype=np.uint64))
    scores.key[:] = (keys << np.uint64(30)).reshape(scores.key.shape)


def _make_tables(common, seed, rng):
    """Reference counts from none to many, by stratum; priors for some of the features."""
    for above in (common.above_1, common.above_2):
        counts = rng.integers(0, 9, above.shape, np.int64)
        counts[..., above.shape[-1] // 3 :] = 0
        counts[0] = 0
        counts[1, :, 40:] = 0
        counts[3] *= 10**9  # So many that a p may be smaller than any that is told apart.
        above[:] = _suffix_sums(counts)
    common.scale[:] = rng.uniform(0.2, 3, common.scale.shape)
    common.fold_count[:] = rng.choice([0, 31, 32, 33, 90_000], common.fold_count.shape)
    common.fold_sum[:] = common.fold_count * rng.integers(0, 3 << 20, common.fold_sum.shape)
    before_ns = np.array([NOW_NS, 1, 10**9, 30 * 10**9, 10**15])
    common.fold_ns[:] = NOW_NS - rng.choice(before_ns, common.fold_ns.shape)
    first = seed % 2
    common.prior[0, :, first::2] = rng.normal(0, 1, (c.STRATUM_COUNT, 3))
    common.prior[1, :, first::2] = rng.uniform(0, 2, (c.STRATUM_COUNT, 3))


def _ail(made, rng):
    """Give every row one ailment."""
    size = made["columns"].validity.size
    which = rng.integers(0, len(AILMENTS) + 2, size)  # Two of the numbers stand for a sound row.
    for number, ailment in enumerate(AILMENTS):
        rows = np.flatnonzero(which == number)
        ailment(made["columns"], made["books"], rows, rng)


def one_sided(col, books, rows, rng):
    for k, row in enumerate(rows):
        side, slot = k % 2, col.i32[c.SLOT, row]
        col.i32[c.BID + side, row], col.f32[c.BID_SIZE + side, row] = c.NO_PRICE, 0
        if slot != c.NO_SLOT:
            books.levels[slot, side] = 0
        col.validity[row] = (c.NO_BID, c.NO_ASK)[side]


def in_a_gap(col, books, rows, rng):
    col.validity[rows] |= rng.choice(np.uint16([c.GAP, c.GAP | c.TRUNCATED, c.EXPIRED]), len(rows))


def at_expiry(col, books, rows, rng):
    col.i64[c.EXPIRY_NS, rows] = NOW_NS + rng.integers(-1, 2, len(rows))
    col.u8[c.HALTED, rows] = rng.integers(0, 3, len(rows))


def at_settlement(col, books, rows, rng):
    window_ns = col.i64[c.SETTLE_WINDOW_NS, rows]
    col.i64[c.EXPIRY_NS, rows] = NOW_NS + window_ns + rng.integers(-1, 2, len(rows))


def inverse(col, books, rows, rng):
    col.u8[c.IS_INVERSE, rows] = 1
    col.u8[c.IS_OPTION, rows] = rng.integers(0, 2, len(rows))
    col.f32[c.INDEX, rows] = rng.choice(np.float32([0, -1, 900, np.nan]), len(rows))


def without_greeks(col, books, rows, rng):
    for column in MAY_BE_NAN:
        col.f32[column, rows[rng.random(len(rows)) < 0.5]] = np.nan
    for column in (c.FORWARD_E6, c.FORWARD_BEFORE_E6):
        col.i64[column, rows[rng.random(len(rows)) < 0.5]] = c.NO_FORWARD


def of_wild_greeks(col, books, rows, rng):
    for column in MAY_BE_NAN:
        col.f32[column, rows] = random_bits(len(rows), rng)
    for column in (c.FORWARD_E6, c.FORWARD_BEFORE_E6):
        col.i64[column, rows] = rng.integers(1, 9 * 10**18, len(rows))


def of_wild_sizes(col, books, rows, rng):
    for column in SIZES:
        col.f32[column, rows] = random_bits(len(rows), rng, finite=True)
    slots = col.i32[c.SLOT, rows]
    slots = slots[slots != c.NO_SLOT]
    books.size[slots] = random_bits(books.size[slots].shape, rng, finite=True)


def of_wild_prices(col, books, rows, rng):
    ends = np.int32([-(2**31) + 2, 2**31 - 2, -1, 0, 1])
    for column in (c.BID, c.ASK, c.BID_BEFORE, c.ASK_BEFORE, c.LAST_TRADE, c.MID2_OBSERVED,
                   c.ANCHOR_BID, c.ANCHOR_ASK, c.COARSE_FROM):  # fmt: skip
        col.i32[column, rows] = rng.choice(ends, len(rows))
    col.i32[c.STEP, rows] = rng.choice(np.int32([1, 7, 2**31 - 2]), len(rows))
    col.validity[rows] = rng.choice(np.uint16([0, 0, c.LOCKED, c.CROSSED]), len(rows))


def at_odd_times(col, books, rows, rng):
    ns = np.array([c.NEVER, NOW_NS, NOW_NS + 5, NOW_NS - 1, NOW_NS - 36_000 * SECOND, 1])
    for column in (c.UPDATE_NS, c.CHANGE_NS, c.OFI_NS, c.TRADE_NS, c.COUNT_NS, c.QUOTE_EX_NS,
                   c.QUOTE_EX_BEFORE_NS, c.ROLL_NS):  # fmt: skip
        col.i64[column, rows] = rng.choice(ns, len(rows))


def never_heard_of(col, books, rows, rng):
    blank = empty_columns(1)
    for array, value in zip(col, blank, strict=True):
        array[..., rows] = value
    col.u8[c.FRESH, rows] = rng.integers(0, 2, len(rows))


def of_a_cut_book(col, books, rows, rng):
    slots = col.i32[c.SLOT, rows]
    slots = slots[slots != c.NO_SLOT]
    books.truncated[slots] = rng.integers(0, 2, (len(slots), 2))
    col.u8[c.NEEDS_RESYNC, rows] = rng.integers(0, 2, len(rows))


AILMENTS = (
    one_sided, in_a_gap, at_expiry, at_settlement, inverse, without_greeks, of_wild_greeks,
    of_wild_sizes, of_wild_prices, at_odd_times, never_heard_of, of_a_cut_book,
)  # fmt: skip
