"""Table rows through the grid: which scans there are, and what each of them has seen."""

import numpy as np
import pytest

from feeds.events import EVENT, TICKER, Flag, Kind
from kernels.columns import IV_OFI_BUY
from scanner.config import load
from scanner.engine import Scanner
from scanner.pipeline import Pipeline, scan_tables
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings

BID, ASK = 1, -1


def quote(rx_ns: int, bid: int, ask: int, tick: float) -> list[tuple]:
    return [
        (rx_ns, 0, 0, price * tick, 5.0, 0, Kind.QUOTE, side, flags, 0, 0)
        for price, side, flags in ((bid, BID, 0), (ask, ASK, Flag.LAST))
    ]


def test_a_row_is_first_seen_by_the_scan_at_or_after_it():
    pipeline = Pipeline(load())
    (listing,) = members = listings(1)
    pipeline.scanner.add(members)
    # On the grid, a nanosecond behind it, and half way: a grid time sees what came until then.
    times = {START_NS: 100, START_NS + SECOND + 1: 102, START_NS + 5 * SECOND // 2: 104}
    rows = np.array(
        [row for t, bid in times.items() for row in quote(t, bid, bid + 2, listing.tick)], EVENT
    )
    seen = []
    for t, alerts in scan_tables(rows, np.empty(0, TICKER), pipeline):
        assert alerts == []
        ticks = float(pipeline.last_scan.metrics["mid"][0]) / listing.tick
        seen.append(((t - START_NS) / SECOND, round(ticks)))
    assert pipeline.scan_ns == SECOND
    assert seen == [(0.0, 101), (2.0, 103), (3.0, 105)]


def test_one_late_tick_leaves_the_same_state_as_the_ticks_it_spans():
    members = listings(21)
    one, many = Scanner(), Scanner()
    for scanner in (one, many):
        scanner.add(members)
    market = ToyMarket(members, 7)
    for k in range(1, 31):
        t = START_NS + k * SECOND
        rows, tickers = market.second(t)
        for scanner in (one, many):
            scanner.apply(rows, tickers)
        one.tick(t)
        for tenth in range(9, -1, -1):
            many.tick(t - tenth * SECOND // 10)
    assert np.isfinite(one.state.columns.f32[IV_OFI_BUY, :21]).all()
    assert one.state.columns.f32[IV_OFI_BUY, :21].any()
    for mine, theirs in zip(one.state.columns, many.state.columns, strict=True):
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("skew_s", [-3_600, 3_600])
def test_no_age_no_decay_and_no_score_depends_on_the_venue_s_clock(skew_s):
    members = listings(21)
    ours, theirs = Scanner(), Scanner()
    for scanner in (ours, theirs):
        scanner.add(members)
    market = ToyMarket(members, 7)
    for k in range(1, 151):
        t = START_NS + k * SECOND
        rows, tickers = market.second(t)
        for scanner, ahead_s in ((ours, 0), (theirs, skew_s)):
            for events in (rows, tickers):
                events["ex_ns"] = events["rx_ns"] + ahead_s * SECOND
            scanner.apply(rows.copy(), tickers.copy())
        mine, other = ours.scan(t), theirs.scan(t)
        assert mine.score.tobytes() == other.score.tobytes()
        for name, column in mine.metrics.items():
            assert column.tobytes() == other.metrics[name].tobytes(), name
    assert np.nanmin(mine.metrics["quote_age_s"]) >= 0.0
    assert np.isfinite(mine.score).any()
