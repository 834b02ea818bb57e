"""Anchored order flow in a market of makers who follow the forward at a known volatility.

Prices are rounded to the venue's grid, quotes are late, tickers later still: without friction a
broken formula passes as well. Both the engine and the oracle must see nothing where volatility
stands still, and its direction where it does not.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import pytest

from feeds.contract import Listing, ListingKind
from feeds.events import EVENT, TICKER, Flag, Kind
from scanner.config import load
from scanner.engine import Scanner
from tests.kernels.market import static
from tests.oracles.metrics import OracleListing
from tests.oracles.scoring import OracleScanner

START_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
DAY_S = 86400.0
YEAR_S = 365 * DAY_S
STEP_NS = 100_000_000  # between the makers' looks at the forward
LATENCY_NS = 150_000_000  # from the look to the quote
TICK_NS = 100_000_000
SECONDS = 600
FORWARD = 60_000.0
FORWARD_VOL = 0.5
BID_SIZE, ASK_SIZE = 12.0, 7.0  # Unlike, so that exchanging the sides would show.

erf = np.vectorize(math.erf, otypes=[float])


@dataclass(frozen=True)
class Option:
    """Strike, days to the expiry, right, and the makers' volatility and half spread, points."""

    strike: float
    days: float
    right: str
    settle: str
    vol: float = 50.0
    half: float = 1.0


INVERSE = [
    Option(60_000, 7, "C", "inverse"),
    Option(57_000, 7, "P", "inverse", vol=53.0),
    Option(66_000, 7, "C", "inverse", vol=52.0),  # Below the knee of the tick table.
    Option(70_900, 21, "C", "inverse"),  # At the knee.
    Option(60_000, 30, "P", "inverse"),
    Option(66_000, 30, "C", "inverse"),
    Option(80_000, 30, "C", "inverse", vol=60.0),
    Option(60_000, 1, "C", "inverse", half=4.0),  # A tick of 2.4 vol points hides it.
]
LINEAR = [
    Option(60_000, 7, "C", "linear"),
    Option(62_000, 7, "P", "linear"),
    Option(60_000, 30, "P", "linear"),
    Option(66_000, 30, "C", "linear"),
]
OPTIONS = INVERSE + LINEAR
BLIND = 7
NAMES = ("iv_ofi_300s", "ofi_300s", "vol_per_tick")


def black(forward, vol, seconds, option):
    """Black-76 without interest, of arrays: value, delta, vega per point, theta per day, USD."""
    years = seconds / YEAR_S
    spread = vol / 100 * np.sqrt(years)
    d1 = np.log(forward / option.strike) / spread + spread / 2
    above, below = ((1 + erf(d / math.sqrt(2))) / 2 for d in (d1, d1 - spread))
    density = np.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    call = forward * above - option.strike * below
    put = option.right == "P"
    value, delta = (call - forward + option.strike, above - 1) if put else (call, above)
    vega = forward * density * np.sqrt(years) / 100
    theta = -forward * density * vol / 100 / (2 * np.sqrt(years)) / 365
    return value, delta, vega, theta


def listing(i, option):
    inverse = option.settle == "inverse"
    return Listing(
        venue="toy",
        symbol=f"O-{i}",
        kind=ListingKind.OPTION,
        underlying="BTC",
        multiplier=1.0,
        price_ccy="BTC" if inverse else "USD",
        settle=option.settle,
        tick=0.0001 if inverse else 5.0,
        tick_table=((0.005, 0.0005),) if inverse else (),
        expiry_ns=START_NS + round(option.days * DAY_S) * SECOND,
        strike_e9=round(option.strike * 10**9),
        right=option.right,
        style="european",
    )


def on_grid(price, one):
    """Whole smallest ticks of the nearest price the venue takes."""
    tick = np.full(price.shape, one.tick)
    for above, coarser in one.tick_table:
        tick[price >= above] = coarser
    return np.rint(np.rint(price / tick) * tick / one.tick).astype(int)


class Makers:
    """Ten minutes of quotes and tickers.

    rise: vol points from minute 2.5 to 7.5. sizes_move: whether sizes change by themselves.
    """

    def __init__(self, seed, *, rise=0.0, sizes_move=False):
        self.random = np.random.default_rng(seed)
        self.sizes_move = sizes_move
        self.listings = [listing(i, option) for i, option in enumerate(OPTIONS)]
        self.at_ns = START_NS + np.arange(SECONDS * SECOND // STEP_NS) * STEP_NS
        self.elapsed_s = (self.at_ns - START_NS) / SECOND
        deviation = FORWARD_VOL * math.sqrt(STEP_NS / SECOND / YEAR_S)
        moves = self.random.normal(0, deviation, len(self.at_ns))
        self.forward = FORWARD * np.exp(np.cumsum(moves))
        self.risen = rise * np.clip((self.elapsed_s - 150) / 300, 0, 1)
        rows, tickers = zip(*(self._one(i) for i in range(len(OPTIONS))), strict=True)
        self.rows, self.tickers = in_order(rows), in_order(tickers)

    def _one(self, i):
        """Rows and tickers of one listing."""
        option, one, forward = OPTIONS[i], self.listings[i], self.forward
        left_s = option.days * DAY_S - self.elapsed_s
        vol = option.vol + self.risen
        unit = forward if option.settle == "inverse" else 1.0
        bid, ask = (
            on_grid(black(forward, vol + half, left_s, option)[0] / unit, one)
            for half in (-option.half, option.half)
        )
        assert (bid < ask).all()
        return self._quotes(i, bid, ask), self._tickers(i, black(forward, vol, left_s, option))

    def _quotes(self, i, bid, ask):
        """An update wherever a price or a size is not what it was: a bid row and an ask row."""
        bid_size, ask_size = (self._sizes(mean) for mean in (BID_SIZE, ASK_SIZE))
        quoted = np.array([bid, ask, bid_size, ask_size])
        changed = np.ones(len(bid), bool)
        changed[1:] = (quoted[:, 1:] != quoted[:, :-1]).any(axis=0)
        rows = np.zeros((int(changed.sum()), 2), EVENT)
        rows["rx_ns"] = rows["ex_ns"] = (self.at_ns[changed] + LATENCY_NS)[:, None]
        rows["listing_id"], rows["kind"] = i, Kind.QUOTE
        rows["side"], rows["flags"] = (1, -1), (0, Flag.LAST)
        rows["price"] = np.stack([bid, ask], 1)[changed] * self.listings[i].tick
        rows["size"] = np.stack([bid_size, ask_size], 1)[changed]
        return rows.reshape(-1)

    def _sizes(self, mean):
        if not self.sizes_move:
            return np.full(len(self.at_ns), mean)
        news = self.random.random(len(self.at_ns)) < 0.02
        drawn = mean + np.round(self.random.uniform(-1, 1, int(news.sum()) + 1), 1)
        return drawn[np.cumsum(news)]

    def _tickers(self, i, priced):
        """Each look at the forward, 0 to 100 ms after the quotes it led to."""
        _, delta, vega, theta = priced
        rows = np.zeros(len(self.at_ns), TICKER)
        lag_ns = self.random.integers(0, STEP_NS, len(rows))
        rows["rx_ns"] = rows["ex_ns"] = self.at_ns + LATENCY_NS + lag_ns
        rows["listing_id"] = i
        for name in ("mark", "iv_bid", "iv_ask", "iv_mark", "gamma", "open_interest"):
            rows[name] = np.nan
        rows["forward"] = rows["index"] = np.round(self.forward, 2)
        rows["delta"], rows["vega"], rows["theta"] = delta, vega, theta
        return rows

    def ticks(self, tick_ns):
        """Grid time, rows and tickers, tick by tick."""
        for k in range(1, SECONDS * SECOND // tick_ns + 1):
            t = START_NS + k * tick_ns
            yield t, received(self.rows, t, tick_ns), received(self.tickers, t, tick_ns)


def in_order(parts):
    rows = np.concatenate(parts)
    rows = rows[np.argsort(rows["rx_ns"], kind="stable")]
    rows["seq"] = np.arange(1, len(rows) + 1)
    if rows.dtype == EVENT:
        rows["seq"][1::2] = rows["seq"][0::2]  # A bid row and its ask row share it.
    return rows


def received(rows, t, tick_ns):
    """Those in (t - tick, t]."""
    first, last = np.searchsorted(rows["rx_ns"], (t - tick_ns, t), side="right")
    return rows[first:last]


def through_engine(makers, tick_ns):
    scanner = Scanner(load(None, {"engine.tick_ms": tick_ns // 1_000_000}))
    ids = scanner.add(makers.listings)
    for t, rows, tickers in makers.ticks(tick_ns):
        scanner.apply(rows, tickers)
        if (t - START_NS) % SECOND:
            scanner.tick(t)
            continue
        metrics = scanner.scan(t).metrics
        yield [[float(metrics[name][i]) for i in ids] for name in NAMES]


def through_oracle(makers, tick_ns):
    options = [OracleListing(static(one, i)) for i, one in enumerate(makers.listings)]
    scanner = OracleScanner(options)
    for t, rows, tickers in makers.ticks(tick_ns):
        scanner.tickers(tickers)
        scanner.apply(rows)
        if (t - START_NS) % SECOND == 0:
            metrics = [one.metrics(t) for one in options]
            yield [[one[name] for one in metrics] for name in NAMES]


@functools.cache
def makers_of(seed, rise, sizes_move):
    return Makers(seed, rise=rise, sizes_move=sizes_move)


def measured(through, seed, *, rise=0.0, sizes_move=False, tick_ns=TICK_NS):
    """Per second and option: anchored flow, price flow (NaN where the former is), vol per tick."""
    values = np.array(list(through(makers_of(seed, rise, sizes_move), tick_ns)))
    anchored, by_price, vol_per_tick = (values[:, k] for k in range(len(NAMES)))
    return anchored, np.where(np.isnan(anchored), np.nan, by_price), vol_per_tick


def share(anchored, by_price, options):
    """Mean size of the anchored flow over that of price flow, of these options together."""
    anchored, by_price = anchored[:, options], by_price[:, options]
    known = ~np.isnan(anchored)
    assert known.any(axis=0).all()
    assert np.abs(by_price[known]).mean() > 0.5  # Queues: makers did requote.
    return np.abs(anchored[known]).mean() / np.abs(by_price[known]).mean()


VISIBLE_INVERSE = [i for i in range(len(INVERSE)) if i != BLIND]
VISIBLE_LINEAR = list(range(len(INVERSE), len(OPTIONS)))


@pytest.mark.parametrize("through", [through_engine, through_oracle])
def test_makers_who_follow_the_forward_leave_no_anchored_flow(through):
    anchored, by_price, vol_per_tick = measured(through, 3)
    assert share(anchored, by_price, VISIBLE_INVERSE) <= 0.05
    assert share(anchored, by_price, VISIBLE_LINEAR) <= 0.05
    assert np.isnan(anchored[:, BLIND]).all()
    assert vol_per_tick[-1, BLIND] == pytest.approx(2.4, abs=0.1)


def test_ticks_of_a_second_are_short_enough_for_a_coarse_grid():
    # The drift is that of the tick's end. In the second before it a linear option of this market
    # moves by half of its tick, which is too much; an inverse one by a tenth of its own.
    anchored, by_price, _ = measured(through_engine, 3, tick_ns=SECOND)
    assert share(anchored, by_price, VISIBLE_INVERSE) <= 0.05


@pytest.mark.parametrize(
    ("through", "sign"), [(through_engine, 1), (through_engine, -1), (through_oracle, 1)]
)
def test_volatility_that_moves_three_points_in_five_minutes_is_seen(through, sign):
    anchored, _, vol_per_tick = measured(
        through, 7, rise=3.0 * sign, sizes_move=True, tick_ns=2 * TICK_NS
    )
    seen = np.flatnonzero(np.nanmax(vol_per_tick, axis=0) < 1.5)
    assert len(seen) > 8
    assert np.nanmax(np.abs(anchored[:150, seen])) < 1
    assert (sign * anchored[450:, seen]).min() > 1  # Queues.
    blind = np.isnan(anchored).all(axis=0)
    assert blind.nonzero()[0].tolist() == [BLIND]
