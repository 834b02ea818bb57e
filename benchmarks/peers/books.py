"""Event application of the peer harness (bench_books.py there) out of the product's pieces.

The law of order-flow imbalance and the factory that compiles are the product's. Its books are not:
the harness asks for sizes as the float64 it gave, to the last bit, and the product holds float32.
Levels are found and moved by whole vectors here, where kernels/cpu/apply.py walks them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.compile import compiled
from kernels.laws.book import event_ofi
from kernels.threads import Threads, share

LEVELS = 32
CHUNK = 16  # levels looked at together; as many lie unused beyond the last
TOP = 10
NO_BID, NO_ASK = -1, 1 << 30  # what the harness calls an empty side; unused levels hold them too
TRADE = 1


class Books(NamedTuple):
    """Depth and flow of every listing; side 0 bids, 1 asks, best level first."""

    price: NDArray[np.int32]  # [listing, side, level]
    size: NDArray[np.float64]
    levels: NDArray[np.int32]  # [listing, side]
    ofi: NDArray[np.float64]  # [listing]
    flow: NDArray[np.float64]


class Events(NamedTuple):
    """One batch as the harness gives it, first axis the event."""

    listing: NDArray[np.int32]
    kind: NDArray[np.int8]
    side: NDArray[np.int8]
    price: NDArray[np.int32]
    size: NDArray[np.float64]


ofi_of = compiled(event_ofi)


@compiled
def segment(
    listing: NDArray[np.int32], start: NDArray[np.int32], order: NDArray[np.int32],
    touched: NDArray[np.int32],
) -> int:  # fmt: skip
    """Stable counting sort by listing; returns how many are touched, which are listed ascending.

    start: int32[listings + 2]; afterwards listing i has order[start[i]] to order[start[i + 1]].
    """
    start[:] = 0
    for e in range(listing.size):
        start[listing[e] + 2] += 1
    count = 0
    for i in range(start.size - 2):
        touched[count] = i
        count += start[i + 2] != 0
        start[i + 2] += start[i + 1]
    for e in range(listing.size):
        at = start[listing[e] + 1]
        order[at] = e
        start[listing[e] + 1] = at + 1
    return count


@compiled
def place_of(price: NDArray[np.int32], used: int, mask: int, ticks: int) -> int:
    """Level at which a price stands or would stand: how many levels are better.

    All levels in use and some more are compared, because that is vectorised; unused ones are never
    better. mask: -1 turns the order of bids around, 0 leaves that of asks.
    """
    place, wanted = np.int32(0), np.int32(ticks ^ mask)
    for first in range(0, used, CHUNK):
        for level in range(CHUNK):
            place += np.int32(np.int32(price[first + level] ^ mask) < wanted)
    return place


@compiled
def remove_level(at: int, used: int, price: NDArray[np.int32], sizes: NDArray[np.float64]) -> None:
    """Move every level beyond one up by one; below it each is written back as it was."""
    for first in range(0, used, CHUNK):
        for level in range(CHUNK):
            here = first + level
            ticks, size = price[here], sizes[here]
            next_ticks, next_size = price[here + 1], sizes[here + 1]
            price[here] = next_ticks if here >= at else ticks
            sizes[here] = next_size if here >= at else size


@compiled
def make_room(at: int, used: int, price: NDArray[np.int32], sizes: NDArray[np.float64]) -> None:
    """Move every level from one on down by one; above it each is written back as it was."""
    for first in range(used // CHUNK * CHUNK, -1, -CHUNK):
        for level in range(CHUNK - 1, -1, -1):
            here = first + level + 1
            ticks, size = price[here], sizes[here]
            last_ticks, last_size = price[here - 1], sizes[here - 1]
            price[here] = last_ticks if here > at else ticks
            sizes[here] = last_size if here > at else size


@compiled
def set_level(books: Books, i: int, side: int, ticks: int, size: float) -> None:
    """Set one level to an absolute size, 0 removes it."""
    price, sizes = books.price[i, side], books.size[i, side]
    levels = books.levels[i, side]
    at = place_of(price, levels, np.int32(side - 1), ticks)
    if price[at] == ticks:
        if size > 0:
            sizes[at] = size
        else:
            remove_level(at, levels, price, sizes)
            books.levels[i, side] = levels - 1
    elif size > 0 and at < LEVELS:
        make_room(at, levels, price, sizes)
        price[at] = ticks
        sizes[at] = size
        if levels < LEVELS:
            books.levels[i, side] = levels + 1
        else:
            price[LEVELS] = NO_BID if side == 0 else NO_ASK
            sizes[LEVELS] = 0


@compiled
def apply_listing(i: int, events: Events, order: NDArray[np.int32], books: Books) -> None:
    """One listing's events in order; OFI after each."""
    price, sizes = books.price[i], books.size[i]
    ofi, flow = books.ofi[i], books.flow[i]
    for e in order:
        side, size = events.side[e], events.size[e]
        if events.kind[e] == TRADE:
            flow += size if side == 0 else -size
            continue
        bid, ask, bid_size, ask_size = price[0, 0], price[1, 0], sizes[0, 0], sizes[1, 0]
        set_level(books, i, side, events.price[e], size)
        ofi += ofi_of(
            price[0, 0], sizes[0, 0], price[1, 0], sizes[1, 0], bid, bid_size, ask, ask_size
        )
    books.ofi[i], books.flow[i] = ofi, flow


@compiled
def read_top(i: int, books: Books, top: NDArray[np.float64]) -> None:
    """Copy the best levels of one listing out, 0 where there is none; [side, level, price or size]."""
    for side in range(2):
        levels = books.levels[i, side]
        for level in range(TOP):
            there = level < levels
            top[side, level, 0] = books.price[i, side, level] if there else 0
            top[side, level, 1] = books.size[i, side, level] if there else 0


@compiled
def apply_share(
    stripe: int, stripes: int, events: Events, start: NDArray[np.int32], order: NDArray[np.int32],
    touched: NDArray[np.int32], books: Books, top: NDArray[np.float64], ofi: NDArray[np.float64],
    flow: NDArray[np.float64],
) -> None:  # fmt: skip
    """Listings of one thread, each from its events to what is read out of it."""
    first, stop = share(stripe, stripes, touched.size)
    for row in range(first, stop):
        i = touched[row]
        apply_listing(i, events, order[start[i] : start[i + 1]], books)
        read_top(i, books, top[row])
        ofi[row], flow[row] = books.ofi[i], books.flow[i]


class ProductBooks:
    """The engine that the harness drives, on one thread."""

    threads = 1

    def __init__(self, initial: NDArray[np.float64], batches: list[Any]) -> None:
        self.run = Threads(self.threads).run
        listings, _, levels = initial.shape
        price = np.empty((listings, 2, LEVELS + CHUNK), np.int32)
        price[:, 0], price[:, 1] = NO_BID, NO_ASK
        price[:, 0, :levels] = 1000 - np.arange(1, levels + 1)
        price[:, 1, :levels] = 1000 + np.arange(1, levels + 1)
        size = np.zeros((listings, 2, LEVELS + CHUNK))
        size[:, :, :levels] = initial
        self.books = Books(
            price, size, np.full((listings, 2), levels, np.int32),
            np.zeros(listings), np.zeros(listings),
        )  # fmt: skip
        self.batches = [Events(*batch) for batch in batches]
        self.start = np.empty(listings + 2, np.int32)
        self.touched = np.empty(listings + 1, np.int32)
        self.order = np.empty(max(batch.listing.size for batch in self.batches), np.int32)

    def apply(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Apply batch k; top [touched, side, level, (price, size)], OFI and flow of the touched."""
        events = self.batches[k]
        count = segment(events.listing, self.start, self.order, self.touched)
        top, ofi, flow = np.empty((count, 2, TOP, 2)), np.empty(count), np.empty(count)
        rest = (events, self.start, self.order, self.touched[:count], self.books, top, ofi, flow)
        self.run(apply_share, self.threads, *rest)
        return top, ofi, flow


class ProductBooksThreads(ProductBooks):
    """The same on two threads."""

    threads = 2
