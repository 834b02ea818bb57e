"""A small random market of event rows, for tests that compare the engine with the oracles."""

import random
from dataclasses import dataclass

import numpy as np

from feeds.contract import Listing, ListingKind
from feeds.events import EVENT, TICKER, Flag, Kind

START_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
EXPIRY_NS = START_NS + 5 * 3600 * SECOND
FORWARDS = {"AAA": 1000.0, "BBB": 50.0}
TICKS_PER_VEGA = (0.37, 0.9, 2.3)  # vol points of a smallest tick: seen, seen, hidden
KNEE = 200  # of a tick table, in smallest ticks; from there on a step is three of them


def listings(count: int) -> list[Listing]:
    """Inverse and linear options of one expiry, every seventh a perpetual.

    Every fourth one, in another order than the kinds, has a tick table.
    """
    made = []
    for i in range(count):
        inverse = i % 3 == 0
        option = i % 7 != 6
        tick = 0.0005 if inverse else 0.05
        made.append(
            Listing(
                venue="toy",
                symbol=f"T-{i}",
                kind=ListingKind.OPTION if option else ListingKind.PERP,
                underlying="AAA" if i % 2 else "BBB",
                multiplier=(1.0, 0.1, 100.0)[i % 3],
                price_ccy="AAA",
                settle="inverse" if inverse else "linear",
                tick=tick,
                expiry_ns=EXPIRY_NS if option else None,
                strike_e9=(1000 + i) * 10**9 if option else None,
                right=("P" if i % 5 == 0 else "C") if option else None,
                style="european" if option else None,
                price_per=10.0 if i % 3 == 2 else 1.0,
                tick_table=((KNEE * tick, 2 * tick), (1.5 * KNEE * tick, 3 * tick))
                if i % 4 == 2
                else (),
                settle_window_s=1800.0 if option else None,
            )
        )
    return made


def static(listing: Listing, listing_id: int) -> dict[str, object]:
    """The same facts in the words of the oracle."""
    return {
        "tick": listing.tick,
        "multiplier": listing.multiplier,
        "price_per": listing.price_per,
        "inverse": listing.settle == "inverse",
        "is_option": listing.kind == ListingKind.OPTION,
        "expiry_ns": listing.expiry_ns,
        "settle_window_s": listing.settle_window_s,
        "underlying": listing.underlying,
        "listing_id": listing_id,
        "strike": None if listing.strike_e9 is None else listing.strike_e9 / 10**9,
        "tick_table": listing.tick_table,
    }


@dataclass
class ToyMarket:
    """Random walks of quotes, books, prints, gaps, forwards and greeks; seeded.

    Quotes do not follow the forward, so that sides stand, rise and fall beyond their drift, which
    is from a tenth of a tick to some twenty ticks a second, by listing.
    """

    listings: list[Listing]
    seed: int
    trade_rate: float = 0.1
    gap_rate: float = 0.002
    jump_rate: float = 1 / 60  # of a forward, by more than 1 %, per second

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.greeks = random.Random(self.seed + 1000)
        count = len(self.listings)
        self.mid = [self.random.randrange(60, 400) for _ in range(count)]
        for i, one in enumerate(self.listings):
            if one.tick_table:
                self.mid[i] = KNEE + self.greeks.randrange(-5, 6)
        self.size = [[20.0, 20.0] for _ in range(count)]
        self.pace = [self.random.choice([1.5, 0.8, 0.3, 0.1, 0.03]) for _ in range(count)]
        self.tiers = random.Random(self.seed + 2000)
        self.given_back: set[int] = set()
        self.has_book = [i % 4 == 1 for i in range(count)]
        self.forward = dict(FORWARDS)
        self.delta = [self.greeks.uniform(0.2, 0.8) for _ in range(count)]
        self.seq = 0

    def second(self, t_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Event rows and ticker rows received in (t - 1 s, t]."""
        rows: list[tuple] = []
        tickers: list[tuple] = []
        for name in self.forward:
            move = self.random.gauss(0, 2e-4)
            if self.greeks.random() < self.jump_rate:
                move = self.greeks.choice([-1, 1]) * self.greeks.uniform(0.012, 0.03)
            self.forward[name] = round(self.forward[name] * (1 + move), 4)
        moments = sorted(
            (t_ns - self.random.randrange(SECOND), i)
            for i in range(len(self.listings))
            for _ in range(self._events(i))
        )
        for rx_ns, i in moments:
            self.seq += 1
            rows += self._event(i, rx_ns)
            if self.random.random() < 0.3:
                tickers.append(self._ticker(i, rx_ns))
        return np.array(rows, EVENT), np.array(tickers, TICKER)

    def _events(self, i: int) -> int:
        pace = self.pace[i]
        return int(pace) + (self.random.random() < pace % 1)

    def _event(self, i: int, rx_ns: int) -> list[tuple]:
        draw = self.random.random()
        if draw < self.trade_rate:
            return [self._trade(i, rx_ns)]
        if draw < self.trade_rate + self.gap_rate:
            given_back = self.has_book[i] and self.tiers.random() < 0.5
            if given_back:
                self.given_back.add(i)
                self.has_book[i] = False
            gap = (rx_ns, 0, self.seq, np.nan, 0, i, Kind.CLEAR, 0, Flag.LAST, given_back, 0)
            return [gap, *self._update(i, rx_ns)]
        return self._update(i, rx_ns)

    def _update(self, i: int, rx_ns: int) -> list[tuple]:
        rnd = self.random
        if i in self.given_back and self.tiers.random() < 0.3:  # until then quotes are its top
            self.given_back.remove(i)
            self.has_book[i] = True
        self.mid[i] = max(40, self.mid[i] + rnd.choice([-1, 0, 0, 0, 1]))
        for side in (0, 1):
            if rnd.random() < 0.5:
                self.size[i][side] = max(0.5, round(self.size[i][side] * rnd.uniform(0.6, 1.6), 1))
        half = rnd.choice([1, 1, 2, 3])
        sides = []
        for k, side in enumerate((1, -1)):
            depth = 1 if not self.has_book[i] else rnd.choice([0, 1, 4, 12]) or 3
            if rnd.random() < 0.04:
                depth = 0
            for level in range(depth):
                ticks = self.mid[i] - side * (
                    half + level * rnd.choice([1, 2]) * (level > 0) + level
                )
                sides.append((side, level, ticks, self.size[i][k] * (1 + level)))
        return self._rows(i, rx_ns, sides)

    def _rows(self, i: int, rx_ns: int, sides: list[tuple]) -> list[tuple]:
        tick, ex_ns = self.listings[i].tick, rx_ns - 5_000_000
        if self.has_book[i]:
            kind = Kind.BOOK_SNAPSHOT
            seen: set[tuple[int, int]] = set()
            sides = [s for s in sides if not ((s[0], s[2]) in seen or seen.add((s[0], s[2])))]
            sides = sides or [(0, 0, None, 0.0)]
        else:
            kind = Kind.QUOTE
            there = {s[0]: s for s in sides}
            sides = [there.get(side, (side, 0, None, 0.0)) for side in (1, -1)]
        made = []
        for n, (side, level, ticks, size) in enumerate(sides):
            flags = (Flag.SNAPSHOT_START if n == 0 and self.has_book[i] else 0) | (
                Flag.LAST if n == len(sides) - 1 else 0
            )
            price = np.nan if ticks is None else ticks * tick
            made.append((rx_ns, ex_ns, self.seq, price, size, i, kind, side, flags, level, 0))
        return made

    def _trade(self, i: int, rx_ns: int) -> tuple:
        rnd = self.random
        price = (self.mid[i] + rnd.choice([-2, -1, 0, 1, 2])) * self.listings[i].tick
        flags = Flag.LAST | (Flag.BLOCK if rnd.random() < 0.1 else 0)
        ex_ns = rx_ns - rnd.choice([0, 5, 50]) * 1_000_000
        size = round(rnd.uniform(0.1, 9), 1)
        side = rnd.choice([1, -1, 0])
        return (rx_ns, ex_ns, self.seq, price, size, i, Kind.TRADE, side, flags, 0, 0)

    def _ticker(self, i: int, rx_ns: int) -> tuple:
        listing, rnd, nan = self.listings[i], self.random, np.nan
        self.delta[i] = min(0.8, max(0.2, self.delta[i] + rnd.uniform(-0.04, 0.04)))
        delta = self.delta[i] * (-1 if listing.right == "P" else 1)
        forward = index = self.forward[listing.underlying]
        tick_usd = usd_of_tick(listing)
        vega = tick_usd / TICKS_PER_VEGA[i // 3 % 3] * self.greeks.uniform(0.99, 1.01)
        theta = -tick_usd * 86400 / 20 * self.greeks.uniform(0.9, 1.1)  # a tick in 20 s
        draw = rnd.random()
        if draw < 0.1:
            delta, forward = nan, nan
        elif draw < 0.2:
            theta = nan
        return (
            rx_ns, rx_ns, self.seq, i, nan, nan, nan, 0.5, delta, 0.01, vega, theta, forward,
            index, 10.0, rx_ns,
        )  # fmt: skip


def usd_of_tick(listing: Listing) -> float:
    """What the smallest tick is worth at the first forward, per underlying unit."""
    factor = FORWARDS[listing.underlying] if listing.settle == "inverse" else 1.0
    return listing.tick * factor / listing.price_per
