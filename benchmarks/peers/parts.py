"""Parts of the product's engines: group medians beside the peer's loop, and where the time goes.

Run in the environment of the peers with the harness on the path; prints one JSON object.
"""

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import scan_engines
import scan_spec as spec
from numpy.typing import NDArray

from benchmarks.peers import books, scan
from kernels.compile import compiled
from kernels.cpu.median import BUCKETS, LANES, NETWORK_ROWS, segment_median_mad
from kernels.threads import Threads, share

Ints = NDArray[np.int32]
ROUNDS = 25
LISTINGS = 100_000
SEED = int(sys.argv[1])

median_mad = compiled(segment_median_mad)


@compiled
def score_stripe(
    stripe: int, stripes: int, start: NDArray[np.int64], median: NDArray[np.float32],
    mad: NDArray[np.float32], s: NDArray[np.float32], q: NDArray[np.float32],
    score: NDArray[np.float32],
) -> None:  # fmt: skip
    first, stop = share(stripe, stripes, median.size)
    for g in range(first, stop):
        rows = slice(start[g], start[g + 1])
        scan.score_group(median[g], mad[g], s[rows], q[rows], score[rows])


def timed(works: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, Any]:
    """Wall and processor seconds of every work in interleaved rounds, caches as left by others."""
    found: dict[str, Any] = {name: {"wall": [], "cpu": []} for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            gc.collect()
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            found[name]["wall"].append(time.perf_counter() - wall)
            found[name]["cpu"].append(time.process_time() - cpu)
    return found


def medians(threads: int) -> dict[str, Any]:
    """The group half of the scan: medians, MADs and scores of 100,000 listings."""
    run = Threads(threads).run
    numba.set_num_threads(threads)  # The peer's.
    start = spec.make_static(LISTINGS, SEED)["gstart"]
    rng = np.random.default_rng(SEED)
    s, q = rng.normal(size=LISTINGS), rng.random(LISTINGS)
    peer_score, score = np.full(LISTINGS, np.nan), np.full(LISTINGS, np.nan, np.float32)
    single_s, single_q = s.astype(np.float32), q.astype(np.float32)
    order = np.argsort(np.diff(start), kind="stable").astype(np.int32)
    median, mad = np.full((2, order.size), np.nan, np.float32)
    lanes = np.full((threads, (NETWORK_ROWS + 1) * LANES), np.nan, np.float32)
    count = np.full((threads, BUCKETS), -1, np.int32)
    per_group = scan_engines._numba_kernels(threads > 1)[1]  # noqa: SLF001 - the peer itself

    def ours() -> None:
        run(median_mad, threads, single_s, start, order, lanes, count, median, mad)
        run(score_stripe, threads, start, median, mad, single_s, single_q, score)

    found = timed({"product": ours, "peer": lambda: per_group(start, s, q, peer_score)})
    np.testing.assert_allclose(score, peer_score, rtol=1e-3)
    clock = "cpu" if threads == 1 else "wall"
    mine, other = found["product"][clock], found["peer"][clock]
    return {
        "threads": threads, "clock": clock, "groups": order.size,
        "product_ns": statistics.median(mine) / LISTINGS * 1e9,
        "peer_ns": statistics.median(other) / LISTINGS * 1e9,
        "speedup": statistics.median(b / a for a, b in zip(mine, other, strict=True)),
    }  # fmt: skip


@compiled
def tiles(
    book: NDArray[np.float32], distance: NDArray[np.uint16], decay: NDArray[np.float32],
    state: NDArray[np.float32], s: NDArray[np.float32], q: NDArray[np.float32],
) -> None:  # fmt: skip
    for tile in range(book.shape[0]):
        scan.scan_tile(book[tile], distance[tile], decay, state[tile], s, q)


def scan_parts() -> dict[str, float]:
    """Processor nanoseconds a listing of the scan's parts, one thread, from memory and from cache."""
    static, ticks = spec.make_static(LISTINGS, SEED), [spec.make_tick(LISTINGS, SEED, 0)]
    engine = scan.ProductScan(static, spec.make_state(LISTINGS, SEED), ticks, 1)
    book, distance, decay = engine.ticks[0]
    s, q = np.empty(scan.TILE, np.float32), np.empty(scan.TILE, np.float32)
    few = 1024 // scan.TILE
    again = engine.state[:few].copy()

    def from_cache() -> None:
        again[:] = engine.state[:few]  # Unmoved inputs would wear the variances to subnormals.
        for _ in range(LISTINGS // 1024):
            tiles(book[:few], distance[:few], decay, again, s, q)

    return per_unit(
        {
            "per listing, from memory": lambda: tiles(book, distance, decay, engine.state, s, q),
            "per listing, from cache": from_cache,
            "whole scan": lambda: engine.tick(0),
        },
        LISTINGS,
    )


@compiled
def search(events: books.Events, start: Ints, order: Ints, touched: Ints, of: books.Books) -> int:
    """Only find the level of each change, from the books and events in the order of the whole."""
    found = 0
    for i in touched:
        for e in order[start[i] : start[i + 1]]:
            side = events.side[e]
            if events.kind[e] != books.TRADE:
                mask = np.int32(side - 1)
                found += books.place_of(
                    of.price[i, side], of.levels[i, side], mask, events.price[e]
                )
    return found


@compiled
def follow(events: books.Events, start: Ints, order: Ints, touched: Ints, of: books.Books) -> None:
    """Everything but the reading of the best levels."""
    for i in touched:
        books.apply_listing(i, events, order[start[i] : start[i + 1]], of)


@compiled
def read(touched: Ints, of: books.Books, top: NDArray[np.float64]) -> None:
    for row in range(touched.size):
        books.read_top(touched[row], of, top[row])


def book_parts() -> dict[str, float]:
    """Processor nanoseconds an update of the parts of applying events, one thread.

    Each part is a loop of its own over the same batch, so that it finds the caches as the part
    before it would leave them in the whole; the later ones hold the earlier. The last has as many
    books as fit the second-level cache: what is left then is not memory.
    """
    events = 50_000
    engine, few = book_engine(10_000, events), book_engine(500, events)
    given = engine.batches[0]
    count = books.segment(given.listing, engine.start, engine.order, engine.touched)
    touched = engine.touched[:count].copy()
    grouped = (given, engine.start, engine.order, touched, engine.books)
    top = np.empty((count, 2, books.TOP, 2))
    return per_unit(
        {
            "grouping by listing": lambda: books.segment(
                given.listing, engine.start, engine.order, engine.touched
            ),
            "search alone": lambda: search(*grouped),
            "search, move and flow": lambda: follow(*grouped),
            "reading out": lambda: read(touched, engine.books, top),
            "whole batch": lambda: engine.apply(0),
            "whole batch over 500 books": lambda: few.apply(0),
        },
        events,
    )


def book_engine(listings: int, events: int) -> books.ProductBooks:
    """Books of so many listings, and one batch of events over them as the harness makes it."""
    rng = np.random.default_rng(SEED)
    listing = np.minimum((listings * rng.random(events) ** 3).astype(np.int32), listings - 1)
    side = rng.integers(0, 2, events).astype(np.int8)
    away = np.minimum(rng.geometric(0.18, events), 20)
    price = np.where(side == 0, 1000 - away, 1000 + away).astype(np.int32)
    kind = (rng.random(events) < 0.1).astype(np.int8)
    size = np.where(rng.random(events) < 0.25, 0.0, rng.lognormal(2, 1, events))
    batch = (listing, kind, side, price, size)
    return books.ProductBooks(rng.lognormal(2, 1, (listings, 2, 12)), [batch])


def per_unit(works: dict[str, Callable[[], Any]], units: int) -> dict[str, float]:
    found = timed(works)
    return {name: statistics.median(found[name]["cpu"]) / units * 1e9 for name in works}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({
        "medians": [medians(1), medians(2)], "scan_parts": scan_parts(), "book_parts": book_parts(),
    }))  # fmt: skip
