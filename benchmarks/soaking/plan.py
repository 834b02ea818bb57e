"""What goes wrong, when and where, at random from a seed: every kind, dealt as from a pack."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from benchmarks.soaking.world import FRAME_BYTES_MAX, Observed, SoakWorld
from feeds.emulator.faults import Fault
from feeds.emulator.planted import Plant
from feeds.events import ListingState
from feeds.venues import VENUES

E9: Final = 10**9
# Kinds of the emulator, and two of the soak: "slow" is a burst on a reader that counts as slow,
# "limit_rest" a limit of requests over HTTP.
KINDS: Final = (
    "gap", "duplicate", "reorder", "truncate", "huge", "unknown", "retype", "wrong_types",
    "garbage", "disconnect", "restart", "silence", "half_open", "refuse", "limit",
    "limit_rest", "unknown_kind", "skew", "clock_step", "burst", "slow", "empty_book",
    "crossed_book", "expire", "list",
)  # fmt: skip
# Faults that take whole connections: every book of the venue is touched.
WIDE: Final = frozenset({"disconnect", "restart", "half_open", "refuse", "limit", "slow", "huge"})
QUIET: Final = frozenset({"empty_book", "crossed_book"})  # Orders would take what crosses.
LASTING: Final = QUIET | {"silence", "restart", "burst", "slow", "clock_step"}
ONE_CHANNEL: Final = WIDE | QUIET | {"burst", "expire", "list"}
HALF_OPEN_S: Final = 400.0  # Longer than any venue's silence.


@dataclass(slots=True)
class Planted:
    """One fault.

    end_ns: when its cause has ended; alone: no other met it before it was over; struck: how often
    its kind had struck on the venue when last looked at; hit: whether it has struck since.
    """

    kind: str
    venue: str
    symbol: str
    at_ns: int
    end_ns: int
    alone: bool = True
    healed_ns: int = 0
    struck: int = 0
    hit: bool = False

    @property
    def wide(self) -> bool:
        """Whether it touches every book of its venue."""
        return self.kind in WIDE or not self.symbol


@dataclass(slots=True)
class VenuePlan:
    """When and what next on one venue.

    Two of five pauses are short, so that faults meet; before the others end the venue is whole
    again, so that what one fault does alone can be told.
    """

    name: str
    seed: int
    intensity: float
    kinds: Sequence[str] = KINDS
    pack: list[str] = field(default_factory=list)  # what comes, the last first
    _rng: random.Random = field(init=False)
    _due_ns: int = 0
    _when_whole: bool = False

    def __post_init__(self) -> None:
        self._rng = random.Random(f"{self.seed} faults {self.name}")

    def due(self, now_ns: int, *, whole: bool) -> bool:
        """Whether the next fault is to come now."""
        if not self._due_ns:
            self._pause(now_ns)
        if self._when_whole and not whole:
            self._due_ns = max(self._due_ns, now_ns + 2 * E9)
        return now_ns >= self._due_ns

    def plant(self, world: SoakWorld) -> Planted | None:
        """Plant the next kind of the pack; None where it has no target."""
        if not self.pack:
            self.pack = list(self.kinds)
            self._rng.shuffle(self.pack)
        kind, now_ns = self.pack.pop(), world.clock.ns
        self._pause(now_ns)
        server = world.servers[self.name]
        symbol = self._target(world)
        if not symbol or (kind == "list" and not _spares(server)):
            return None
        if kind not in QUIET:  # A book that moves shows what it lost.
            server.market.planter.add(
                Plant("sweep", symbol, now_ns, 20.0, 20.0, self._rng.choice((-1, 1)))
            )
        channel = VENUES[self.name].resync(symbol, _options(world, self.name), 1)[-1].channels[0]
        # Now and then everything is hit: trades, tickers, notices, whole chains.
        everywhere = self._rng.random() < 0.15 and kind not in ONE_CHANNEL
        faults = self._faults(kind, symbol, "" if everywhere else channel, server)
        for fault in faults:
            assert server.faults.add(fault)
        if kind in ("limit_rest", "unknown_kind"):
            world.live.sessions[self.name].request_discovery()
        seconds = max(fault.seconds for fault in faults) if kind in LASTING else 0.0
        touched = "" if everywhere else symbol
        return Planted(kind, self.name, touched, now_ns, now_ns + round(seconds * E9))

    def _pause(self, now_ns: int) -> None:
        rng = self._rng
        self._when_whole = rng.random() < 0.6
        seconds = rng.uniform(5.0, 25.0) if self._when_whole else rng.expovariate(1 / 12.0)
        self._due_ns = now_ns + round(seconds / self.intensity * E9)

    def _target(self, world: SoakWorld) -> str:
        """A live two-sided option or future that the run has listed; "" where there is none."""
        market = world.servers[self.name].market
        listed = world.live.sessions[self.name].listings
        both = (market.books.lots[:, :, 0] > 0).all(axis=1)
        ends = market.universe.expiry_ns > 0
        live = market.state == ListingState.LIVE
        found = np.flatnonzero(both & live & (ends | ~ends.any()))
        symbols = [market.universe.listings[n].symbol for n in found.tolist()]
        symbols = [symbol for symbol in symbols if symbol in listed]
        return self._rng.choice(symbols) if symbols else ""

    def _faults(self, kind: str, symbol: str, channel: str, server: Observed) -> Sequence[Fault]:
        rng = self._rng
        many = 20 if channel == "" else 3
        if kind == "slow":
            server.slow_until_ns = server.market.now_ns + E9
            return [Fault("burst", channel=channel, seconds=1.0)]
        if kind in ("refuse", "limit"):
            asked = channel if kind == "refuse" else None
            count = 1 if kind == "refuse" else rng.randint(1, 3)
            return [Fault(kind, channel=asked, count=count), Fault("disconnect")]
        if kind == "limit_rest":
            return [Fault("limit", channel="/", count=rng.randint(1, 3))]
        if kind == "half_open":
            return [Fault(kind, seconds=HALF_OPEN_S)]
        # Answers about instruments come by the minute: more of them would outlast the calm.
        counts = {"huge": 1, "wrong_types": 4 * many, "garbage": 5, "unknown_kind": 3}
        return [
            Fault(
                kind,  # type: ignore[arg-type]
                channel=channel,
                symbol=symbol,
                count=counts.get(kind, rng.randint(1, many)),
                seconds=rng.uniform(1.0, 2.0 if kind == "burst" else 8.0),
                ms=rng.choice((-1, 1)) * {"clock_step": 30_000}.get(kind, rng.randint(0, 2000)),
                factor=100,
                bytes=2 * FRAME_BYTES_MAX,
            )
        ]


def deal(
    names: Sequence[str], seed: int, intensity: float, kinds: Sequence[str]
) -> dict[str, VenuePlan]:
    """A plan for each venue. Their first packs begin at different kinds: soon all are dealt."""
    plans = {name: VenuePlan(name, seed, intensity, kinds) for name in names}
    for place, plan in enumerate(plans.values()):
        first = place * len(kinds) // len(plans)
        plan.pack = [*kinds[first:], *kinds[:first]]
    return plans


def _spares(server: Observed) -> bool:
    """Whether a hidden instrument is left to be listed."""
    market = server.market
    return bool((market.state[market.universe.public :] == ListingState.LISTED).any())


def _options(world: SoakWorld, name: str) -> object:
    return world.live.sessions[name].options
