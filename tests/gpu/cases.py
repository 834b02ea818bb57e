"""Worlds with what one kernel needs, for those who hold it to its twin or break it."""

import numpy as np

from kernels import columns as c
from kernels.arrays import Marks, padded
from kernels.gpu import histogram, rank
from tests.gpu.batches import Rows, batch_of, middle_of
from tests.gpu.worlds import NOW_NS, metrics_out, random_bits, words_of, world


def of_rows(name, made, rows, seed):
    """The world with what the kernel needs beside the columns."""
    rng = np.random.default_rng([rows, seed, 5])
    if name == "metrics":
        made["out"] = metrics_out(rows, rng)
    if name == "activity":
        made["out"] = random_bits(padded(max(rows, 1)), rng)
    return made


def summed(rows, seed=0):
    """A world after the sums."""
    made = world(rows, seed)
    rng = np.random.default_rng(seed)
    sums = made["groups"].sums
    sums[0] = rng.choice([0, 1, 7, 8, 9, 5000], sums.shape[1])
    sums[1] = sums[0] * rng.integers(0, 4 << 20, sums.shape[1])
    sums[2] = np.minimum(sums[0], rng.integers(0, 3, sums.shape[1]))
    return made


def keys_of(kind, shape, rng):
    """Unique keys, or none at all."""
    count = int(np.prod(shape))
    order = np.arange(count, dtype=np.uint64)
    keys = {
        "random": rng.permutation(order) << np.uint64(40),
        "ascending": order + np.uint64(1),
        "descending": order[::-1] + np.uint64(1),
        "of one score": (np.uint64(2302) << np.uint64(42)) | rng.permutation(order),
        "huge": ~rng.permutation(order),
        "none": np.zeros(count, np.uint64),
    }[kind]
    return np.ascontiguousarray(keys.reshape(shape))


KINDS_OF_KEYS = ("random", "ascending", "descending", "of one score", "huge", "none")


def to_rank(rows, blocks, kind="random"):
    """A world whose ranking is empty, and the keys of its rows."""
    made, rng = world(rows), np.random.default_rng(rows)
    best = made["ranking"]._replace(
        block_best=rng.integers(0, 9, (c.LIST_COUNT, blocks * rank.K_MAX), np.uint64)
    )
    keys = keys_of(kind, made["scores"].key.shape, rng)
    return made | {"ranking": best, "scores": made["scores"]._replace(key=keys)}


def marked(rows):
    """A world whose rows mark every stratum, and some none; those behind them are no rows."""
    made, rng = world(rows), np.random.default_rng(rows)
    size = padded(max(rows, 1))
    bins_1 = rng.integers(-1, histogram.STAGE_1_BINS, (size, c.DRIVER_COUNT), np.int16)
    bins_1[rng.random(bins_1.shape) < 0.5] = 17  # Many rows in one bin.
    bins_2 = rng.integers(0, histogram.STAGE_2_BINS, (size, c.LIST_COUNT), np.int16)
    bins_2[:3], bins_2[3:6] = 0, histogram.STAGE_2_BINS - 1
    made["marks"] = Marks(
        rng.integers(-2, c.STRATUM_COUNT, size, np.int8), bins_1, bins_2,
        np.where(bins_1 < 0, -1, rng.integers(0, 3 << 20, bins_1.shape)).astype(np.int32),
    )  # fmt: skip
    return made


def to_apply(rows_of, world_, warps):
    """The world with a batch, and counters at anything."""
    rng = np.random.default_rng(len(rows_of))
    batch = batch_of(rows_of)
    tick = words_of(len(rows_of), segments=len(rows_of))
    counters = rng.integers(0, 1000, (warps, len(c.COUNTER_NAMES)), np.int64)
    return world_ | {"tick": tick, "batch": batch, "counters": counters}


def with_books(made, seed=0):
    """Books of any depth for half of the listings, half of them still without a level or a word."""
    rng, col, books = np.random.default_rng(seed), made["columns"], made["books"]
    count = min(col.validity.size, len(books.levels)) // 2
    rows = rng.permutation(col.validity.size)[:count]
    col.i32[c.SLOT] = c.NO_SLOT
    col.u8[c.HAS_BOOK] = 0
    col.i32[c.SLOT, rows] = rng.permutation(len(books.levels))[:count]
    for k, row in enumerate(rows):
        if k % 4 == 3:
            continue
        slot, middle = col.i32[c.SLOT, row], middle_of(made, row)
        col.u8[c.HAS_BOOK, row] = col.u8[c.HAS_STATE, row] = 1
        for side, sign in ((0, 1), (1, -1)):
            steps = rng.integers(1, 3, c.LEVELS_KEPT)
            books.price[slot, side] = middle - sign * np.cumsum(steps)
            books.size[slot, side] = rng.choice([1, 2, 2.5, 3e38], c.LEVELS_KEPT)
            books.levels[slot, side] = rng.choice([0, 1, 9, 10, 11, 31, 32, 32])
            books.truncated[slot, side] = rng.integers(0, 2)
    return made


def updates_of(made, listing, count, seed):
    rows = Rows(seed, middle_of(made, listing))
    for _ in range(count):
        rows.update()
    return rows.rows


def first_book(before):
    """A listing whose first book follows a quote and another update in one batch."""
    made = with_books(world(33))
    made["columns"].u8[c.HAS_BOOK, 5], made["columns"].i32[c.SLOT, 5] = 0, 0
    rows = Rows(2, 1000)
    rows.quote()
    getattr(rows, before)()
    rows.snapshot(1)
    rows.delta(2)
    return to_apply({5: rows.rows}, made, 1)


def book_given_back(level):
    """A book, a gap with a level, and quotes that count or do not, in one batch."""
    made = with_books(world(33, ailing=False))
    listing = int(np.flatnonzero(made["columns"].u8[c.HAS_BOOK] != 0)[0])
    rows = Rows(3, middle_of(made, listing))
    rows.snapshot(4)
    rows.clear(level)
    rows.quotes()
    rows.quote()
    return to_apply({listing: rows.rows}, made, 1)


def busy_books(listings, updates):
    """Listings with books of every depth, and updates of every kind for them."""
    made = with_books(world(128))
    having = np.flatnonzero(made["columns"].u8[c.HAS_BOOK] != 0)[:listings]
    return to_apply({int(i): updates_of(made, i, updates, int(i)) for i in having}, made, listings)


def full_sides():
    """Forty levels on a side, from the best outwards and inwards; then all but two are removed."""
    made = with_books(world(33))
    made["columns"].i32[c.SLOT, :4] = np.arange(4)
    rows_of = {}
    for i in range(4):
        rows = Rows(i, 1000)
        rows.snapshot(0)
        order = list(range(40))[:: 1 if i % 2 else -1]
        side = 1 if i < 2 else -1
        for away in [*order, *(n for n in order if n > 1)]:
            size = 0.0 if len(rows.rows) > 40 else 1.0
            rows.rows.append((NOW_NS, 0, 1000 - side * away, size, 3, side, 1, 0))
        rows_of[i] = rows.rows
    return to_apply(rows_of, made, 4)
