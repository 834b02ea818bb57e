"""The scan of the peer harness (scan_spec.py there) out of the product's pieces.

The harness defines a scan of its own, so that every tool can write it; it is not the product's
scan, and the kernel that stands here is none of the product's. What it takes from the product: the
factory that compiles it (no contraction, no fastmath, no reference counts), the medians of
kernels/cpu/median.py, and the layout rules: float32, prices as ticks relative to the mid.

    thread -> blocks of whole groups; block -> tiles of TILE listings, medians, scores, best

A tile's fields lie together, so that a block is one stream through memory. A block's sums and
scores stay in the cache; what is read and written per listing is BYTES.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scan_spec as spec
from numpy.typing import NDArray

from kernels.compile import compiled
from kernels.cpu.median import BUCKETS, LANES, NETWORK_ROWS, median_mad_stripe
from kernels.laws import bits
from kernels.threads import Threads

TILE = 32
BLOCK_ROWS = 16_384
LEVELS = 10
HALF_TICK = 0.00025  # of scan_spec.make_tick
BOOK_FIELDS = 2 + 2 * LEVELS  # mid, signed flow, sizes of bids and asks
STATE_FIELDS = 4 + 8 + 8  # flows, means, variances
MEAN, VARIANCE = 4, 12
BYTES = 4 * BOOK_FIELDS + 2 * 2 * LEVELS + 2 * 4 * STATE_FIELDS
# Score errors of float32 are some 1e-5 where a spread of a few ticks is divided by a MAD.
RTOL = 1e-4

F32 = np.float32
A, KEEP, EPS, CLIP = F32(spec.A), F32(1 - spec.A), F32(spec.EPS), F32(spec.CLIP)
ONE, HALF, UNIT, EIGHTH = F32(1), F32(0.5), F32(HALF_TICK), F32(0.125)
MAD_SCALE, SPIKE, BROAD = F32(1.4826), F32(0.7), F32(0.3)
W = tuple(F32(w) for w in spec.W)
C0, C1, C2, C3, C4, C5, C6, C7 = (F32(c) for c in spec.C)


class Layout(NamedTuple):
    """Where groups and listings lie; every block holds whole groups and is padded to tiles."""

    first_tile: NDArray[np.int64]  # [block + 1]
    first_listing: NDArray[np.int64]  # [block + 1]
    first_group: NDArray[np.int64]  # [block + 1]
    start: NDArray[np.int64]  # [group + block], first row of each group in its block, and the end
    order: NDArray[np.int32]  # [group], groups of each block by ascending size, from 0


class Work(NamedTuple):
    """What each thread keeps for itself, first axis the thread."""

    s: NDArray[np.float32]  # [thread, row]
    q: NDArray[np.float32]
    score: NDArray[np.float32]
    score_bits: NDArray[np.int32]  # The same memory: no score is negative, so bits order them.
    median: NDArray[np.float32]  # [thread, group]
    mad: NDArray[np.float32]
    lanes: NDArray[np.float32]
    count: NDArray[np.int32]
    best: NDArray[np.float32]  # [thread, TOP], descending
    best_listing: NDArray[np.int64]


bits_float = compiled(bits.bits_float)
median_mad = compiled(median_mad_stripe)


@compiled
def fold(x: float, j: int, k: int, state: NDArray[np.float32]) -> float:
    """Clipped z of one feature by the moments before, which are then moved."""
    mean, variance = state[(MEAN + j) * TILE + k], state[(VARIANCE + j) * TILE + k]
    d = x - mean
    z = d / F32(math.sqrt(variance + EPS))
    z = min(CLIP, z)
    state[(MEAN + j) * TILE + k] = mean + A * d
    state[(VARIANCE + j) * TILE + k] = KEEP * (variance + A * d * d)
    return max(-CLIP, z)


@compiled
def decayed(h: int, k: int, decay: float, signed: float, state: NDArray[np.float32]) -> float:
    """Signed flow of one half-life, moved on."""
    flow = state[h * TILE + k] * decay + signed
    state[h * TILE + k] = flow
    return flow


@compiled
def scan_tile(
    book: NDArray[np.float32], distance: NDArray[np.uint16], decay: NDArray[np.float32],
    state: NDArray[np.float32], s: NDArray[np.float32], q: NDArray[np.float32],
) -> None:  # fmt: skip
    """Flows, features, z and their sums of one tile: fields of TILE listings after each other."""
    d0, d1, d2, d3 = decay[0], decay[1], decay[2], decay[3]
    for k in range(TILE):
        bids, asks, slope, total = F32(0), F32(0), F32(0), F32(0)
        for level in range(LEVELS):
            bid = book[(2 + level) * TILE + k]
            ask = book[(2 + LEVELS + level) * TILE + k]
            bids += W[level] * bid
            asks += W[level] * ask
            total += ask + bid
            slope += ask * F32(distance[(LEVELS + level) * TILE + k]) - bid * F32(
                distance[level * TILE + k]
            )
        bid, ask = book[2 * TILE + k], book[(2 + LEVELS) * TILE + k]
        spread = F32(distance[k]) + F32(distance[LEVELS * TILE + k])
        signed = book[TILE + k]
        unit = UNIT / book[k]
        share = ONE / total
        z0 = fold((bids - asks) / (bids + asks), 0, k, state)
        z1 = fold(spread * unit, 1, k, state)
        z2 = fold(HALF * spread * (bid - ask) / (bid + ask) * unit, 2, k, state)
        z3 = fold(slope * unit * share, 3, k, state)
        z4 = fold(decayed(0, k, d0, signed, state) * share, 4, k, state)
        z5 = fold(decayed(1, k, d1, signed, state) * share, 5, k, state)
        z6 = fold(decayed(2, k, d2, signed, state) * share, 6, k, state)
        z7 = fold(decayed(3, k, d3, signed, state) * share, 7, k, state)
        s[k] = C0 * z0 + C1 * z1 + C2 * z2 + C3 * z3 + C4 * z4 + C5 * z5 + C6 * z6 + C7 * z7
        squares = z0 * z0 + z1 * z1 + z2 * z2 + z3 * z3 + z4 * z4 + z5 * z5 + z6 * z6 + z7 * z7
        q[k] = F32(math.sqrt(squares * EIGHTH))


@compiled
def score_group(
    median: float, mad: float, s: NDArray[np.float32], q: NDArray[np.float32],
    score: NDArray[np.float32],
) -> None:  # fmt: skip
    """Scores of one group's members."""
    scale = SPIKE / (MAD_SCALE * mad + EPS)
    for k in range(s.size):
        score[k] = abs(s[k] - median) * scale + BROAD * q[k]


@compiled
def keep_best(
    first_listing: int, score: NDArray[np.float32], score_bits: NDArray[np.int32],
    best: NDArray[np.float32], best_listing: NDArray[np.int64],
) -> None:  # fmt: skip
    """Enter a tile's scores above the least of the best; an earlier listing keeps its place."""
    highest = np.int32(0)
    for k in range(TILE):
        highest = max(highest, score_bits[k])
    last = best.size - 1
    if not bits_float(highest) > best[last]:
        return
    for k in range(TILE):
        if score[k] > best[last]:
            at = last
            while at > 0 and best[at - 1] < score[k]:
                best[at] = best[at - 1]
                best_listing[at] = best_listing[at - 1]
                at -= 1
            best[at] = score[k]
            best_listing[at] = first_listing + k


@compiled
def scan_block(
    block: int, book: NDArray[np.float32], distance: NDArray[np.uint16],
    decay: NDArray[np.float32], state: NDArray[np.float32], layout: Layout, thread: int, work: Work,
) -> None:  # fmt: skip
    """One block from books to its entries among the best."""
    s, q, score = work.s[thread], work.q[thread], work.score[thread]
    first, stop = layout.first_tile[block], layout.first_tile[block + 1]
    for tile in range(first, stop):
        rows = slice((tile - first) * TILE, (tile - first + 1) * TILE)
        scan_tile(book[tile], distance[tile], decay, state[tile], s[rows], q[rows])
    group, groups = layout.first_group[block], layout.first_group[block + 1]
    start = layout.start[group + block : groups + block + 1]
    median, mad = work.median[thread], work.mad[thread]
    median_mad(
        s, start, layout.order[group:groups], 0, 1, work.lanes[thread], work.count[thread],
        median, mad,
    )  # fmt: skip
    for g in range(groups - group):
        rows = slice(start[g], start[g + 1])
        score_group(median[g], mad[g], s[rows], q[rows], score[rows])
    score[start[groups - group] : (stop - first) * TILE] = -ONE
    for tile in range(stop - first):
        rows = slice(tile * TILE, (tile + 1) * TILE)
        keep_best(
            layout.first_listing[block] + tile * TILE, score[rows], work.score_bits[thread][rows],
            work.best[thread], work.best_listing[thread],
        )  # fmt: skip


@compiled
def scan_share(
    stripe: int, stripes: int, book: NDArray[np.float32], distance: NDArray[np.uint16],
    decay: NDArray[np.float32], state: NDArray[np.float32], layout: Layout, work: Work,
) -> None:  # fmt: skip
    """Every stripes-th block; what was found best in them stands in work.best[stripe]."""
    work.best[stripe, :] = -ONE
    for block in range(stripe, layout.first_tile.size - 1, stripes):
        scan_block(block, book, distance, decay, state, layout, stripe, work)


def lay_out(group_start: NDArray[np.int64], threads: int) -> Layout:
    """Cut the groups into blocks of about as many listings, a whole number of them per thread."""
    rows = int(group_start[-1])
    blocks = threads * -(-rows // (threads * BLOCK_ROWS))
    ends = np.searchsorted(group_start, np.arange(1, blocks) * rows / blocks)
    first_group = np.concatenate([[0], ends, [group_start.size - 1]]).astype(np.int64)
    first_listing = group_start[first_group]
    tiles = -(-np.diff(first_listing) // TILE)
    starts, orders = [], []
    for first, stop in pairwise(first_group):
        starts.append(group_start[first : stop + 1] - group_start[first])
        orders.append(np.argsort(np.diff(starts[-1]), kind="stable").astype(np.int32))
    return Layout(
        np.concatenate([[0], np.cumsum(tiles)]).astype(np.int64), first_listing, first_group,
        np.concatenate(starts), np.concatenate(orders),
    )  # fmt: skip


def make_work(layout: Layout, threads: int) -> Work:
    """Working memory, poisoned."""
    rows = int(np.diff(layout.first_tile).max()) * TILE
    groups = int(np.diff(layout.first_group).max())
    single = [np.full((threads, size), np.nan, np.float32)
              for size in (rows, rows, rows, groups, groups, (NETWORK_ROWS + 1) * LANES)]  # fmt: skip
    s, q, score, median, mad, lanes = single
    return Work(
        s, q, score, score.view(np.int32), median, mad, lanes,
        np.full((threads, BUCKETS), -1, np.int32), np.full((threads, spec.TOP), np.nan, np.float32),
        np.full((threads, spec.TOP), -1, np.int64),
    )  # fmt: skip


class ProductScan:
    """The engine that the harness drives."""

    def __init__(
        self, static: dict[str, Any], state: dict[str, Any], ticks: list[dict[str, Any]],
        threads: int,
    ) -> None:  # fmt: skip
        self.threads = Threads(threads)
        self.layout = lay_out(static["gstart"], threads)
        self.work = make_work(self.layout, threads)
        first = self.layout.first_listing
        padded = self.layout.first_tile[:-1] * TILE
        shift = np.repeat(padded - first[:-1], np.diff(first))
        self.rows = np.arange(static["n"]) + shift
        self.state = self.tiled([*state["flow"].T, *state["mean"].T, *state["var"].T], np.float32)
        self.ticks = [self.inputs(tick) for tick in ticks]

    def tiled(self, fields: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
        """[tile, field * TILE] of fields of every listing; 1 where a block is padded."""
        tiles = int(self.layout.first_tile[-1])
        out = np.ones((tiles, len(fields), TILE), dtype)
        for k, values in enumerate(fields):
            out[self.rows // TILE, k, self.rows % TILE] = values
        return out.reshape(tiles, len(fields) * TILE)

    def inputs(self, tick: dict[str, Any]) -> tuple[NDArray[Any], ...]:
        """Books and flow of one tick; refuses prices that are not whole half ticks from the mid."""
        bids, asks = tick["bid_px"], tick["ask_px"]
        mid = 0.5 * (bids[:, 0] + asks[:, 0])
        steps = np.concatenate([mid[:, None] - bids, asks - mid[:, None]], axis=1) / HALF_TICK
        distance = np.rint(steps)
        assert np.abs(steps - distance).max() < 1e-6
        assert distance.min() >= 0
        assert distance.max() < 1 << 16
        book = [mid, tick["sflow"], *tick["bid_sz"].T, *tick["ask_sz"].T]
        decay = (2.0 ** (-tick["dt"] / spec.HL)).astype(np.float32)
        return (
            self.tiled(book, np.float32),
            self.tiled(list(distance.T), np.uint16),
            decay,
        )

    def tick(self, k: int) -> dict[str, NDArray[Any]]:
        """Scan tick k; the 50 largest scores, ties to the lower listing."""
        stripes = self.threads.count
        self.threads.run(scan_share, stripes, *self.ticks[k], self.state, self.layout, self.work)
        score, listing = self.work.best.ravel(), self.work.best_listing.ravel()
        best = np.lexsort((listing, -score))[: spec.TOP]
        return {"idx": listing[best], "score": score[best]}
