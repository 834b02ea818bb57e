"""Scans of random columns: every listing fresh, and 2 % of them, beside one another.

    .venv/bin/python benchmarks/scan.py [listings ...]

Times are of `scanner.tick.scan` alone, whatever brought the fresh rows. The fresh rows of a round
are drawn anew, spread over all listings, which is the worst case: each has cache lines of its own.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kernels import columns as c  # noqa: E402
from kernels.compile import compiled  # noqa: E402
from kernels.device import CpuDevice, open_device  # noqa: E402
from kernels.rows.score import visit_row  # noqa: E402
from scanner import tick  # noqa: E402
from scanner.state import State, empty_marks  # noqa: E402

LISTINGS = (10_000, 100_000, 1_600_000)
SHARE = 0.02
ROUNDS = 15
WARM_UP_SCANS = 3
SECOND = 1_000_000_000
START_NS = 1_767_787_200 * SECOND
PER_EXPIRY, PER_UNDERLYING = 40, 480


class Market:
    """Random options, all of them regular, in groups that come one after another; seeded."""

    def __init__(self, count: int, threads: int = 0) -> None:
        self.rng = np.random.default_rng(1)
        self.device: CpuDevice = open_device("cpu", threads)
        self.state = State(count, 1, self.device.threads)
        self.count, self.now_ns = count, START_NS
        self._list()
        self._trade(np.arange(count))
        # What 60 observations would have left, so that every driver is eligible.
        base = self.state.scores.baseline
        for word, value in ((c.COUNT, 60), (c.VARIANCE, 1), (c.SMOOTHED_COUNT, 60),
                            (c.SMOOTHED_VARIANCE, 0.1)):  # fmt: skip
            base[word] = value
        self.state.columns.i64[c.OBSERVED_NS, :count] = START_NS

    def _list(self) -> None:
        n, rng, col = self.count, self.rng, self.state.columns
        number = np.arange(n)
        of = self.state.groups.of
        wholes = np.array([of(u, 0) for u in range(-(-n // PER_UNDERLYING))])
        expiries = np.array(
            [of(k * PER_EXPIRY // PER_UNDERLYING, START_NS + (k + 1) * SECOND)
             for k in range(-(-n // PER_EXPIRY))]
        )  # fmt: skip
        col.i32[c.UNDERLYING_GROUP, :n] = wholes[number // PER_UNDERLYING]
        col.i32[c.EXPIRY_GROUP, :n] = expiries[number // PER_EXPIRY]
        col.i32[c.BID, :n] = rng.integers(50, 4000, n)
        col.validity[:n] = 0
        col.u8[c.HAS_STATE, :n] = col.u8[c.IS_OPTION, :n] = 1
        col.u8[c.IS_INVERSE, :n] = rng.integers(0, 2, n)
        col.i64[c.EXPIRY_NS, :n] = START_NS + rng.integers(1, 400, n) * 86_400 * SECOND
        col.i64[c.FORWARD_E6, :n] = 1_000_000_000 + rng.integers(0, 1_000_000, n)
        f32 = col.f32
        for word, value in ((c.TICK, 0.05), (c.MULTIPLIER, 1), (c.PRICE_PER, 1), (c.INDEX, 1000)):
            f32[word, :n] = value
        f32[c.DELTA, :n], f32[c.VEGA, :n] = rng.uniform(-1, 1, n), rng.random(n) * 5
        f32[c.SPREAD_SUM, :n], f32[c.DEPTH_SUM, :n] = rng.random(n) + 1, rng.random(n) * 50 + 10
        f32[c.REGULAR_WEIGHT, :n] = 0.5

    def _trade(self, ids: NDArray[np.int64]) -> None:
        """New quotes and flow for some listings, which become fresh."""
        rng, col, k = self.rng, self.state.columns, len(ids)
        bid = np.maximum(50, col.i32[c.BID, ids] + rng.integers(-2, 3, k))
        col.i32[c.BID, ids], col.i32[c.ASK, ids] = bid, bid + rng.integers(1, 9, k)
        for word in (c.BID_SIZE, c.ASK_SIZE, c.OFI_BUY + 2, c.OFI_SELL + 2):
            col.f32[word, ids] = rng.integers(1, 100, k)
        for word in (c.UPDATE_NS, c.OFI_NS):
            col.i64[word, ids] = self.now_ns - rng.integers(0, SECOND, k)
        col.i64[c.FORWARD_E6, ids] += rng.integers(-1000, 1000, k)
        col.u8[c.FRESH, ids] = 1

    def next(self, share: float) -> NDArray[np.int64]:
        """Let a second pass in which a share of the listings traded; returns which."""
        self.now_ns += SECOND
        n = self.count
        ids = self.rng.choice(n, max(1, int(n * share)), replace=False) if share < 1 else range(n)
        fresh = np.sort(np.asarray(ids, np.int64))
        self._trade(fresh)
        return fresh

    def scan(self) -> None:
        """Scan what is fresh."""
        tick.scan(self.now_ns, self.count, self.state, self.device)


def timed(market: Market, share: float, rounds: int = ROUNDS) -> dict[str, float]:
    """Wall and processor time of scans with a share of the listings fresh, medians in ms."""
    wall, cpu = [], []
    for k in range(-WARM_UP_SCANS, rounds):
        market.next(share)
        began, cpu_began = time.perf_counter(), time.process_time()
        market.scan()
        if k >= 0:
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - cpu_began)
    return {
        "ms_p50": statistics.median(wall) * 1e3,
        "ms_best": min(wall) * 1e3,
        "cpu_ms_p50": statistics.median(cpu) * 1e3,
    }


def _every_row(n: Any, now_ns: Any, columns: Any, books: Any, scores: Any, common: Any,
               marks: Any) -> None:  # fmt: skip
    for i in range(n):
        if columns.u8[c.FRESH, i] != 0:
            visit_row(i, i, now_ns, columns, books, scores, common, marks)


def changed_equals_full(count: int = 20_000) -> bool:
    """Whether a scan of what changed leaves the bytes of a visit to every row, one by one."""
    markets = [Market(count, 1) for _ in range(2)]
    for market in markets:
        market.next(1.0)
        market.scan()
        market.next(SHARE)
    changed, full = markets
    state, marks = full.state, empty_marks(count)
    compiled(_every_row)(
        count, full.now_ns, state.columns, state.books, state.scores, state.common, marks
    )  # fmt: skip
    changed.scan()
    pairs = (*zip(changed.state.columns, state.columns, strict=True),
             *zip(changed.state.scores, state.scores, strict=True))  # fmt: skip
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def measure(count: int, threads: int = 0) -> dict[str, Any]:
    """All listings fresh and 2 % of them, and how many times faster the second is."""
    market = Market(count, threads)
    full, changed = timed(market, 1.0), timed(market, SHARE)
    return {
        "listings": count,
        "threads": market.device.threads,
        **{f"full_{k}": v for k, v in full.items()},
        **{f"changed_{k}": v for k, v in changed.items()},
        "ratio": full["ms_p50"] / changed["ms_p50"],
        "ratio_cpu": full["cpu_ms_p50"] / changed["cpu_ms_p50"],
    }


def parts(count: int, share: float, threads: int = 1) -> dict[str, float]:
    """Where the scans with a share of the listings fresh spend their time: shape -> median ms.

    `python` is what no shape accounts for: the host's own passes, calls and results.
    """
    market = Market(count, threads)
    found: list[dict[str, float]] = []
    for k in range(-WARM_UP_SCANS, ROUNDS):
        market.next(share)
        if k == 0:
            _time_shapes(market.device, found)
        found.append({})
        began = time.perf_counter()
        market.scan()
        found[-1]["python"] = time.perf_counter() - began - sum(found[-1].values())
    rounds = found[WARM_UP_SCANS:]
    names = {name for of_round in rounds for name in of_round}
    medians = {n: statistics.median(r.get(n, 0.0) for r in rounds) * 1e3 for n in names}
    return dict(sorted(medians.items(), key=lambda item: -item[1]))


def _time_shapes(device: CpuDevice, found: list[dict[str, float]]) -> None:
    """Let every shape that was used add its time to the last entry of `found`."""
    for name, shape in list(vars(device).items()):
        if not callable(shape):
            continue

        def timed_shape(*args: Any, name: str = name, shape: Any = shape) -> Any:
            began = time.perf_counter()
            answer = shape(*args)
            spent = found[-1]
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - began
            return answer

        vars(device)[name] = timed_shape


def main() -> None:
    """Measure the sizes named on the command line, all of them without names."""
    print(f"changed scan leaves the bytes of a full one: {changed_equals_full()}")
    for count in [int(word) for word in sys.argv[1:]] or LISTINGS:
        found = measure(count)
        print(json.dumps({k: round(v, 3) for k, v in found.items()}), flush=True)


if __name__ == "__main__":
    main()
