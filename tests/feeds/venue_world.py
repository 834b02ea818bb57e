"""An emulated venue, a session on real sockets and a handler, in a time that moves by hand."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from feeds.budget import ConnectBudget
from feeds.contract import Listing, ListingKind
from feeds.emulator.faults import Fault
from feeds.emulator.ladders import standing
from feeds.emulator.market import STEP_NS, Market
from feeds.emulator.profiles import PROFILES
from feeds.emulator.servers import SERVERS
from feeds.emulator.venues.coincall import Account
from feeds.events import BOOK_GIVEN_BACK, Flag, Kind, ListingState
from feeds.handler import VenueHandler
from feeds.journal import Journal
from feeds.links import LinkState, SessionPolicy
from feeds.record import Record, RecordType
from feeds.session import VenueSession
from feeds.tiers import tiers_of
from feeds.venue import ChannelOptions, Limits
from feeds.venues import VENUES
from tests.feeds.emulator_client import START_NS
from tests.feeds.toy_venue import HandTime

SENTINEL = b'{"sentinel":'
FRAME_BYTES_MAX = 1 << 20
SECOND_STEPS = 10
# These have a channel of best prices, on change.
QUOTED_AT_ONCE = {"deribit", "okx", "delta", "delta_india", "bullish"}
POLICY = SessionPolicy(
    close_s=0.05, retry_cap_s=1.0, resync_cap_s=2.0, stable_s=5.0, first_data_s=5.0,
    discovery_min_s=1.0, discovery_every_s=20.0,
)  # fmt: skip
SILENCE_S = 8.0


@dataclass
class Book:
    """What the rows say of one listing; `known` is False from a gap to the next whole book."""

    known: bool = False
    quoted: bool = True  # by quotes alone: no book came yet, or it was given back
    sides: dict[int, dict[float, float]] = field(default_factory=lambda: {1: {}, -1: {}})

    def take(self, row: Any) -> None:
        kind, side = int(row["kind"]), int(row["side"])
        if kind == Kind.CLEAR:
            self.known = False
            if int(row["level"]) == BOOK_GIVEN_BACK:
                self.quoted, self.sides = True, {1: {}, -1: {}}
        elif kind == Kind.QUOTE and self.quoted:
            self.known = True
            best = {} if np.isnan(row["price"]) else {float(row["price"]): float(row["size"])}
            self.sides[side] = best
        elif kind == Kind.BOOK_SNAPSHOT:
            if int(row["flags"]) & Flag.SNAPSHOT_START:
                self.known, self.quoted, self.sides = True, False, {1: {}, -1: {}}
            if not np.isnan(row["price"]):
                self.sides[side][float(row["price"])] = float(row["size"])
        elif kind == Kind.BOOK_DELTA:
            levels = self.sides[side]
            levels[float(row["price"])] = float(row["size"])
            if row["size"] == 0:
                del levels[float(row["price"])]

    def best(self) -> list[list[tuple[float, float]]]:
        return [
            sorted(self.sides[1].items(), reverse=True), sorted(self.sides[-1].items()),
        ]  # fmt: skip


class VenueWorld:
    """One venue; `run` lets market, sockets and timers go on together, 100 ms a step.

    With `two` tiers an option has depth only while the session was told so by `follow_depth`.
    """

    def __init__(
        self, name: str, *, options: int = 30, seed: int = 3, two: bool = False, **channels: Any
    ) -> None:
        self.name = name
        market = Market(seed, START_NS, options, profile=PROFILES[name])
        self.server = SERVERS[name](market, seed)
        self.time = HandTime(market.now_ns)
        self.records: list[Record] = []
        self.ids: list[Listing] = []
        self.books: dict[str, Book] = {}
        self.retired: list[int] = []
        self.counts: dict[str, int] = {}
        self.trades: list[tuple[str, float, float, int]] = []
        self.tickers: list[Any] = []
        self.stamps: list[tuple[int, int]] = []  # ours and the venue's, of tickers or else prints
        self.ever_unknown: set[str] = set()
        self.channels = ChannelOptions(**({"book_depth": 10} | channels))
        self.tiers = tiers_of(VENUES[name], self.channels, two=two)
        self.handler = VenueHandler(
            VENUES[name], self.tiers.base, self._allocate, lambda i, _: self.retired.append(i),
            depth=self.tiers.depth,
        )  # fmt: skip
        self._pending: list[Record] = []
        self._sentinels = 0
        self._heard = 0

    async def __aenter__(self) -> Self:
        await self.server.start()
        addresses = self.server.addresses("127.0.0.1")
        venue = VENUES[self.name]
        self.session = VenueSession(
            venue,
            rest_url=addresses["rest_url"],
            ws_url=addresses["ws_url"],
            journal=Journal(self.time, None),
            clock=self.time,
            options=self.tiers.base,
            depth=self.tiers.depth,
            limits=self.limits(),
            budget=ConnectBudget(None, self.time, 1000, 60.0),
            deliver=self._deliver,
            underlyings=(),
            rng=random.Random(5),
            policy=POLICY,
            credentials=Account(),
            sleep=self.time.sleep,
        )
        self._task = asyncio.create_task(self.session.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.session.stop()
        self.time.advance(1.0)
        await self._task
        await self.server.stop()

    def limits(self) -> Limits:
        """The venue's, but for a shorter silence, smaller frames and quicker requests."""
        own = VENUES[self.name].LIMITS
        ping_s = None if own.ping_s is None else SILENCE_S / 4
        return replace(
            own, frame_bytes_max=FRAME_BYTES_MAX, silence_s=SILENCE_S, ping_s=ping_s,
            requests_per_s=max(own.requests_per_s, 5.0), request_burst=max(own.request_burst, 20),
        )  # fmt: skip

    # What happens

    async def run(self, steps: int) -> None:
        """Advance market and time by steps, each until all that was sent has arrived."""
        for _ in range(steps):
            await self.server.advance()
            await self._settle()
            self.time.ns = max(self.time.ns, self.server.market.now_ns - STEP_NS)
            self.time.advance(STEP_NS * 1e-9)
            await self._settle()

    async def until(self, what: Callable[[], bool]) -> None:
        """Let the sockets go on, in no time, until something has come about."""
        async with asyncio.timeout(5):
            while not what():  # noqa: ASYNC110 - what sockets do tells nobody
                await asyncio.sleep(0)
        self._consume()

    async def live(self) -> None:
        """Run until every book is subscribed and known."""
        for _ in range(100):
            await self.run(5)
            if self.books and not self.unknown():
                return
        raise AssertionError(f"unknown after 50 s: {self.unknown()[:5]}; {self.session.trouble}")

    async def fault(self, *steps: int, **fault: Any) -> None:
        """Plant a fault and run."""
        assert self.server.faults.add(Fault(**fault))
        await self.run(steps[0] if steps else 1)

    # What is true

    def listed(self) -> list[str]:
        """Names of live instruments with a book."""
        market = self.server.market
        return [
            x.symbol
            for n, x in enumerate(market.universe.listings)
            if x.kind != ListingKind.INDEX and market.state[n] == ListingState.LIVE
        ]

    def followed(self) -> list[str]:
        """Live instruments that the venue's adapter discovered."""
        known = {x.symbol for x in self.ids}
        return [symbol for symbol in self.listed() if symbol in known]

    def unknown(self) -> list[str]:
        return [s for s in self.followed() if not self.books[s].known]

    def wrong(self) -> list[str]:
        """Known books that are not the market's, to the tick and the lot."""
        universe, books = self.server.market.universe, self.server.market.books
        found = []
        for symbol in self.followed():
            sides = standing(books, np.array([universe.ids[symbol]]))[0]
            true = [[(p, float(np.float32(q))) for p, q in side] for side in sides]
            ours = self.books[symbol]
            if ours.quoted:
                by_clock = self.name == "binance" and self.server.market.index % SECOND_STEPS == 0
                if not by_clock and self.name not in QUOTED_AT_ONCE:
                    continue  # Tickers come by their clock; chains are quoted once a second.
                true = [side[:1] for side in true]
            if ours.known and [[(round(p, 9), q) for p, q in s] for s in ours.best()] != [
                [(round(p, 9), q) for p, q in s] for s in true
            ]:
                found.append(symbol)
        return found

    # How

    def _allocate(self, listing: Listing) -> int:
        self.ids.append(listing)
        self.books[listing.symbol] = Book()
        return len(self.ids) - 1

    def _deliver(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.type is RecordType.FRAME and record.payload.startswith(SENTINEL):
                self._heard += 1
            else:
                self._pending.append(record)

    async def _settle(self) -> None:
        """Let everything that was sent arrive: a last frame on each connection says that it has."""
        now_ns = self.server.market.now_ns
        self._sentinels += 1
        told = set()
        before = self._heard
        for connection in tuple(self.server.connections):
            if now_ns >= connection.muted_until_ns and not connection.finished:
                connection.put(SENTINEL + b"%d}" % self._sentinels, now_ns)
                told.add(connection)
        async with asyncio.timeout(5):
            while self._heard - before < len(told & self.server.connections):  # noqa: ASYNC110
                await asyncio.sleep(0)  # Nothing tells when the server learns of a lost client.
        self._consume()

    def _consume(self) -> None:
        records, self._pending = self._pending, []
        self.records += records
        out = self.handler.consume(records)
        for row in out.rows:
            symbol = self.ids[int(row["listing_id"])].symbol
            if row["kind"] == Kind.TRADE:
                self.trades.append(
                    (symbol, float(row["price"]), float(row["size"]), int(row["side"]))
                )
            was = self.books[symbol].known
            self.books[symbol].take(row)
            if was and not self.books[symbol].known:
                self.ever_unknown.add(symbol)
        self.tickers += list(out.tickers)
        stamped = out.tickers if self.tickers else out.rows[out.rows["kind"] == Kind.TRADE]
        self.stamps += zip(stamped["rx_ns"].tolist(), stamped["ex_ns"].tolist(), strict=True)
        for name, count in out.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        if out.resync:
            self.session.request_resync(out.resync)
        if out.discover:
            self.session.request_discovery()

    @property
    def open_links(self) -> int:
        return sum(link.state is LinkState.OPEN for link in self.session.links)
