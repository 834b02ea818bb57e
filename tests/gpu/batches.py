"""Rows for the kernels that apply them: every kind, in every order, also such as no feed sends."""

import random

import numpy as np

from kernels import columns as c
from kernels.arrays import Batch, Tickers
from kernels.rows.updates import (
    BOOK_DELTA,
    BOOK_SNAPSHOT,
    CLEAR,
    LAST,
    QUOTE,
    SNAPSHOT_START,
    STATE_CHANGE,
    TRADE,
)
from tests.gpu.worlds import NOW_NS, random_bits
from tests.kernels.market import SECOND

BLOCK = 8
SIZES = [1.0, 2.0, 2.0, 3.5, 0.0, 1e-45, 3e38, float("nan")]
LEVELS = [0, 0, 1, 1, 3, 9, 10, 11, 31, 32, 33, 40]  # Of a snapshot; beyond 32 they are cut.
REST = 64  # Rows of an inbox behind those of the tick: what stands there is of no tick.


class Rows:
    """Rows of one listing around a price, (rx_ns, ex_ns, ticks, size, kind, side, flags, level)."""

    def __init__(self, seed, middle, start_ns=NOW_NS - SECOND):
        self.random, self.middle, self.t_ns = random.Random(seed), middle, start_ns
        self.rows = []

    def update(self):
        """One update of any kind."""
        self.random.choice([
            self.quote, self.quote, self.snapshot, self.delta, self.delta, self.delta, self.mixed,
            self.trade, self.trade, self.clear, self.state_change, self.voided,
        ])()  # fmt: skip
        return self

    def quote(self):
        sides = self.random.choice([[1], [-1], [1, -1]])
        self._add([(QUOTE, side, self._price(side), self._size()) for side in sides])

    def quotes(self):
        """Both sides, a tick apart or three."""
        half = self.random.choice([1, 2])
        self._add([(QUOTE, side, self.middle - side * half, 2.0) for side in (1, -1)])

    def snapshot(self, levels=None, *, start=True):
        made = [(BOOK_SNAPSHOT, 1, c.NO_PRICE, 0.0)] if self.random.random() < 0.2 else []
        for side in (1, -1):
            count = self.random.choice(LEVELS) if levels is None else levels
            price = self.middle - side
            for _ in range(count):
                made.append((BOOK_SNAPSHOT, side, price, self._size(zero=0.05)))
                price -= side * self.random.choice([1, 1, 2])
        self._add(made or [(BOOK_SNAPSHOT, 1, c.NO_PRICE, 0.0)], SNAPSHOT_START if start else 0)

    def delta(self, count=None):
        """Levels set, taken away, put in anywhere, and set twice."""
        made = []
        for _ in range(count or self.random.choice([1, 1, 2, 6])):
            side = self.random.choice([1, -1])
            made.append((BOOK_DELTA, side, self._price(side, 45), self._size()))
            if self.random.random() < 0.2:
                made.append((*made[-1][:3], self._size()))
        self._add(made)

    def mixed(self):
        """A snapshot that does not begin anew, and deltas, as one update."""
        begin = len(self.rows)
        self.snapshot(2, start=False)
        self.rows[-1] = (*self.rows[-1][:6], 0, 0)
        self.delta()
        t_ns = self.rows[-1][0]
        self.rows[begin:] = [(t_ns, *row[1:]) for row in self.rows[begin:]]

    def trade(self):
        flags = self.random.choice([0, 0, 0, BLOCK])
        made = [
            (TRADE, self.random.choice([1, -1, 0, 0]), self._price(1, 4), self._size())
            for _ in range(self.random.choice([1, 1, 3]))
        ]
        self._add(made, flags, all_flags=flags)

    def clear(self, level=None):
        """The book is unknown, and with level BOOK_GIVEN_BACK there is none; by turns."""
        by_turns = c.BOOK_GIVEN_BACK * (len(self.rows) % 2)
        self._add([(CLEAR, 0, c.NO_PRICE, 0.0)], level=by_turns if level is None else level)

    def state_change(self):
        self._add([(STATE_CHANGE, 0, c.NO_PRICE, 0.0)], level=self.random.choice([1, 1, 2, 3]))

    def voided(self):
        kind = self.random.choice([c.VOIDED_QUOTE, c.VOIDED_BOOK])
        side = self.random.choice([1, -1])
        rows = [(kind, side, self._price(side), 1.0), (kind, -side, self._price(-side), 2.0)]
        if kind == c.VOIDED_BOOK:
            self._add([*rows, (BOOK_DELTA, side, self._price(side), 1.0)])
        else:
            self._add(rows)

    def _price(self, side, width=3):
        if self.random.random() < 0.05:
            return c.NO_PRICE
        return self.middle - side * self.random.randrange(-1, width)

    def _size(self, zero=0.25):
        if self.random.random() < zero:
            return 0.0
        return self.random.choice(SIZES)

    def _add(self, made, first_flags=0, *, all_flags=0, level=0):
        self.t_ns += self.random.choice([0, 1, 10**6, 10**8, 10**9])
        ex_ns = self.random.choice([0, self.t_ns, self.t_ns - 10**7])
        # An update may end without LAST, where another kind or the segment's end closes it.
        last = LAST if self.random.random() < 0.9 else 0
        for k, (kind, side, ticks, size) in enumerate(made):
            flags = (first_flags if k == 0 else all_flags) | (last if k == len(made) - 1 else 0)
            self.rows.append((self.t_ns, ex_ns, ticks, size, kind, side, flags, level))


def middle_of(world, listing):
    """About where the prices of a listing are."""
    bid = int(world["columns"].i32[c.BID, listing])
    return bid if abs(bid) < 1 << 20 else 100


def batch_of(rows_of):
    """A batch from the rows of listings; poison behind it."""
    rows = [row for rows in rows_of.values() for row in rows]
    columns = list(zip(*rows, strict=True)) if rows else [()] * 8
    dtypes = (np.int64, np.int64, np.int32, np.float32, np.uint8, np.int8, np.uint16, np.uint16)
    with np.errstate(over="ignore"):
        values = [_with_rest(column, dtype) for column, dtype in zip(columns, dtypes, strict=True)]
    return Batch(*values, *_segments(rows_of))


def tickers_of(listings, seed):
    """A tick's tickers, none to five of a listing."""
    rng = np.random.default_rng(seed)
    counts = {int(listing): [None] * int(rng.integers(1, 6)) for listing in listings}
    rows = sum(len(of_one) for of_one in counts.values()) + REST
    value = rng.normal(0, 1, (rows, len(c.TICKER_FIELDS))).astype(np.float32)
    wild = rng.random(rows) < 0.1
    value[wild] = random_bits(value[wild].shape, rng)
    value[rng.random(value.shape) < 0.4] = np.nan
    forward_e6 = 10**9 + rng.integers(-(10**6), 10**6, rows)
    forward_e6[rng.random(rows) < 0.1] += 10**8
    forward_e6[rng.random(rows) < 0.3] = c.NO_FORWARD
    rx_ns = NOW_NS - SECOND + np.sort(rng.integers(0, SECOND, rows))
    return Tickers(rx_ns, forward_e6, value, *_segments(counts))


def _with_rest(column, dtype):
    rest = np.full(REST, 99, dtype)
    return np.concatenate([np.array(column, dtype), rest])


def _segments(rows_of):
    """Listing of every segment, and where it starts; a listing that there is not behind them."""
    listing = np.full(len(rows_of) + REST, 1 << 30, np.int32)
    listing[: len(rows_of)] = list(rows_of)
    start = np.full(len(rows_of) + REST + 1, 1 << 40, np.int64)
    start[: len(rows_of) + 1] = np.cumsum([0, *map(len, rows_of.values())])
    return listing, start
