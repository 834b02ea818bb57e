"""Stages 5 and 8 of 8, checked: published reference figures, computed from Parquet tables.

Nothing of the product is used: pyarrow reads the tables, numpy does the sums. The two regressions
take a *bars table* (a mapping of numpy arrays `ts_ns`, `listing_id`, `mid`, `ofi_bar`), so that
they judge the bars made here and the Parquet that `scanner features` writes in the same way.

The reading that gives the figures (each other reading tried misses them, see below):

- State at a grid time: the last quote with `rx_ns <= ts_ns`. The grid starts at 09:30 New York.
- `ofi_bar` at `ts_ns`: event OFI of the quotes in (ts_ns - every, ts_ns], native size, summed in
  float64. Every quote row is an event, also those that share their `rx_ns` with others.
- Locked *and* crossed states count, as either member of a pair. IBM: 0.6912; without crossed
  states 0.6791, without both 0.6616. BAC: 0.6890; without both 0.4309.
- A one-sided state breaks the pair on both of its sides. GOOG: 0.7248; where one-sided rows are
  skipped instead, so that the two-sided states around them form a pair, 0.7087; where only
  consecutive minutes of a contract form a pair 0.709.
- `mid` is there for locked and crossed states too. In BAC one grid time of the session is locked.
- A window is the 180 bars whose end lies in (start, start + 30 min]; the first bar of the session
  counts (its start, 09:30, has a state from the pre-market). BAC without the first bar of each
  window: 0.6904.
- GOOG: a bar counts where at least one option has a number in `ofi_bar`, that is a state at the
  bar's start. That drops the first minute (no option quote before 09:31) and leaves 209 bars:
  0.7248. With a 0 for that minute: 0.7240 over 210. Options without a delta in the table (176 of
  2,192) and options with NaN in the bar add nothing. Grid to 13:00, where the session ended.
- The tables hold no size of 0, no price without a size, and no price off the 0.01 grid (BAC, IBM
  exactly, GOOG and MSFT within 4e-12), so rounding to the tick moves nothing.
- MSFT: every row set of `books.parquet` is an event, 107 of them at the time of the one before.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Table = Mapping[str, NDArray[Any]]

SECOND_NS = 10**9
WINDOW_NS = 1800 * SECOND_NS
SESSION_WINDOWS = 13


def read_table(path: Path) -> dict[str, NDArray[Any]]:
    """Columns of one Parquet file as numpy arrays."""
    table = pq.read_table(path)
    return {name: table[name].to_numpy() for name in table.schema.names}


def new_york_ns(year: int, month: int, day: int, hour: int, minute: int) -> int:
    """A New York wall clock time, ns UTC."""
    local = datetime(year, month, day, hour, minute, tzinfo=ZoneInfo("America/New_York"))
    return int(local.timestamp()) * SECOND_NS


def event_ofi(bid: Floats, bid_size: Floats, ask: Floats, ask_size: Floats) -> Floats:
    """Order-flow imbalance of each state against the one before; 0 for the first.

    0 too where either state of the pair lacks a side (NaN price, or size not above 0). Prices
    are compared exactly: give ticks, or prices already on their grid.
    """
    whole = ~np.isnan(bid) & ~np.isnan(ask) & (bid_size > 0) & (ask_size > 0)
    ofi = np.zeros(len(bid))
    for n in np.flatnonzero(whole[1:] & whole[:-1]) + 1:
        e = 0.0
        e += bid_size[n] if bid[n] >= bid[n - 1] else 0.0
        e -= bid_size[n - 1] if bid[n] <= bid[n - 1] else 0.0
        e -= ask_size[n] if ask[n] <= ask[n - 1] else 0.0
        e += ask_size[n - 1] if ask[n] >= ask[n - 1] else 0.0
        ofi[n] = e
    return ofi


def level_ofi(books: Table, level: int, tick: float) -> float:
    """OFI of one level (0 is the best) over all books of one listing, in file order.

    A book starts where (side, level) is (+1, 0) again; every book must hold the level on both
    sides.
    """
    at_level = books["level"] == level
    bid_rows = at_level & (books["side"] == 1)
    ask_rows = at_level & (books["side"] == -1)
    ticks = np.rint(books["price"] / tick)
    size = books["size"]
    ofi = event_ofi(ticks[bid_rows], size[bid_rows], ticks[ask_rows], size[ask_rows])
    return float(ofi.sum())


def bars_of_quotes(quotes: Table, grid_ns: NDArray[np.int64], tick: float) -> dict[str, Any]:
    """Bars table of all listings at the grid times; `mid` in ticks.

    A row where the listing has a state; `ofi_bar` is NaN where it had none one grid time before,
    and at the first grid time.
    """
    columns: dict[str, list[NDArray[Any]]] = {
        "ts_ns": [],
        "listing_id": [],
        "mid": [],
        "ofi_bar": [],
    }
    for listing_id in np.unique(quotes["listing_id"]):
        rows = np.flatnonzero(quotes["listing_id"] == listing_id)
        bid, ask = (np.rint(quotes[name][rows] / tick) for name in ("bid", "ask"))
        ofi = event_ofi(bid, quotes["bid_size"][rows], ask, quotes["ask_size"][rows])
        until = np.searchsorted(quotes["rx_ns"][rows], grid_ns, side="right")
        running = np.concatenate(([0.0], np.cumsum(ofi)))[until]
        bar = np.full(len(grid_ns), np.nan)
        bar[1:] = np.where(until[:-1] > 0, np.diff(running), np.nan)
        has_state = until > 0
        columns["ts_ns"].append(grid_ns[has_state])
        columns["listing_id"].append(np.full(has_state.sum(), listing_id))
        columns["mid"].append(((bid + ask) / 2)[until[has_state] - 1])
        columns["ofi_bar"].append(bar[has_state])
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def r_squared(x: Floats, y: Floats) -> float:
    """Of the straight line through (x, y) with intercept, by least squares."""
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy) / float(dx @ dx)
    residual = dy - slope * dx
    return 1 - float(residual @ residual) / float(dy @ dy)


def mid_changes(bars: Table, listing_id: int, grid_ns: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(change of mid over each bar that ends at grid_ns[1:], ofi_bar of it); NaN where unknown."""
    rows = np.flatnonzero(bars["listing_id"] == listing_id)
    at = {int(bars["ts_ns"][row]): row for row in rows}
    mid, ofi = np.full(len(grid_ns), np.nan), np.full(len(grid_ns), np.nan)
    for index, ts_ns in enumerate(grid_ns.tolist()):
        if ts_ns in at:
            mid[index] = bars["mid"][at[ts_ns]]
            ofi[index] = bars["ofi_bar"][at[ts_ns]]
    return np.diff(mid), ofi[1:]


def half_hour_r_squared(
    bars: Table, listing_id: int, open_ns: int, every_s: int = 10
) -> list[float]:
    """R2 of mid change on `ofi_bar` in each of the 13 half hours from `open_ns`.

    The unit of `mid` does not matter. A bar with an unknown change or flow is left out.
    """
    per_window = WINDOW_NS // (every_s * SECOND_NS)
    grid_ns = open_ns + np.arange(SESSION_WINDOWS * per_window + 1) * every_s * SECOND_NS
    change, ofi = mid_changes(bars, listing_id, grid_ns)
    found = []
    for window in range(SESSION_WINDOWS):
        part = slice(window * per_window, (window + 1) * per_window)
        known = ~np.isnan(change[part]) & ~np.isnan(ofi[part])
        found.append(r_squared(ofi[part][known], change[part][known]))
    return found


def synthesis(
    bars: Table, deltas: Mapping[int, float], share_id: int, grid_ns: NDArray[np.int64]
) -> tuple[float, int]:
    """(correlation, bars) of sum(delta x ofi_bar) over the options with the share's mid change.

    A bar counts where at least one option with a delta has a number, and the share's mid is known
    at both ends.
    """
    position = {ts_ns: index for index, ts_ns in enumerate(grid_ns.tolist())}
    flow, terms = np.zeros(len(grid_ns)), np.zeros(len(grid_ns), np.int64)
    columns = (bars["ts_ns"].tolist(), bars["listing_id"].tolist(), bars["ofi_bar"].tolist())
    for ts_ns, listing_id, ofi in zip(*columns, strict=True):
        delta = deltas.get(listing_id, np.nan)
        if ts_ns in position and listing_id != share_id and not np.isnan(delta * ofi):
            flow[position[ts_ns]] += delta * ofi
            terms[position[ts_ns]] += 1
    change, _ = mid_changes(bars, share_id, grid_ns)
    counted = (terms[1:] > 0) & ~np.isnan(change)
    correlation = np.corrcoef(flow[1:][counted], change[counted])[0, 1]
    return float(correlation), int(counted.sum())


def session_grid(open_ns: int, minutes: int, every_s: int) -> NDArray[np.int64]:
    """Grid times from the opening to `minutes` later, both included."""
    return open_ns + np.arange(minutes * 60 // every_s + 1) * every_s * SECOND_NS
