"""What must hold at every quantum: no known book is wrong, none stays unknown, all is counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.soaking.plan import Planted, VenuePlan
from benchmarks.soaking.world import QUANTUM_NS, SECOND_STEPS, SoakWorld
from feeds.contract import ListingKind
from feeds.emulator.faults import FRAME_FAULTS
from feeds.events import ListingState
from feeds.venue import ChainQuoter
from feeds.venues import VENUES
from kernels import columns as c
from scanner.universe import RowState

E9: Final = 10**9
LEVELS: Final = 10  # Of the emulator's books.
# A venue with many channels and one request a second takes so long to be subscribed again, and a
# connection that lives again after its limits of retries comes after a pause of up to a minute.
UNKNOWN_MAX_S: Final = 240.0
# Not every venue tells what it lists; the next discovery does, a quarter of an hour later at most.
UNLISTED_MAX_S: Final = 960.0
# A venue that sends no book to begin with: after a lost connection an option is unknown until its
# book moves, since its quotes are superseded once it had a book. Options that are asleep take long.
NEWS_MAX_S: Final = 1800.0
WITH_STRIKES: Final = FRAME_FAULTS | {"half_open"}
UNSTRUCK_S: Final = 200  # What has met no frame for so long is taken for over.
UNKNOWN: Final = c.GAP | c.NO_STATE | c.EXPIRED


@dataclass(slots=True)
class Violation:
    """Something that must not be."""

    at_s: float
    venue: str
    what: str


@dataclass(slots=True)
class Look:
    """One venue at one quantum. numbers of listings as the market has them."""

    wrong: list[int]
    excused: int  # wrong, and behind a frame that a fault took
    unknown: NDArray[np.int64]
    unlisted: NDArray[np.int64]
    waiting: bool  # for news: the unknown ones are to be known when their books move
    compared: int
    doubted: set[int]

    @property
    def whole(self) -> bool:
        """Whether every book is known, and none wrong that could be right."""
        return not (self.wrong or (len(self.unknown) and not self.waiting))


class VenueCheck:
    """Compares the scanner's books of one venue with the market's."""

    def __init__(self, name: str, world: SoakWorld) -> None:
        self.name, self.world = name, world
        self.server = world.servers[name]
        listings = self.server.market.universe.listings
        self._number = {listing.symbol: n for n, listing in enumerate(listings)}
        kind = self.server.market.universe.kind
        self._expected = kind != ListingKind.INDEX
        # Only a venue that quotes whole chains has quotes at known times.
        self._quotes = isinstance(VENUES[name], ChainQuoter)
        self._unknown_max_s = NEWS_MAX_S if self._quotes else UNKNOWN_MAX_S
        self._version = -1
        self._rows = np.full(len(listings), -1, np.int64)
        self._of_book: dict[str, int] = {}
        self.since_ns = np.zeros(len(listings), np.int64)  # unknown or unlisted since; 0 = neither
        self.touched_ns = np.zeros(len(listings), np.int64)
        self.longest_s = 0.0

    def expect_what_is_listed(self) -> None:
        """Expect no kind of an underlying of which the adapter lists nothing: it is not asked for.

        Binance's perpetuals are a venue of their own, and OKX has options on two coins.
        """
        self._refresh()
        universe = self.server.market.universe
        family = universe.underlying * len(ListingKind) + universe.kind
        self._expected &= np.isin(family, family[self._rows >= 0])

    def look(self) -> Look:
        """Compare every known book."""
        self._refresh()
        market, state = self.server.market, self.world.live.pipeline.scanner.state
        live = np.flatnonzero((market.state == ListingState.LIVE) & self._expected)
        rows = self._rows[live]
        unlisted, live, rows = live[rows < 0], live[rows >= 0], rows[rows >= 0]
        known = state.columns.validity[rows] & UNKNOWN == 0
        deep = known & (state.columns.u8[c.HAS_BOOK, rows] != 0)
        right = self._right_books(live[deep], rows[deep])
        wrong = live[deep][~right]
        compared = int(deep.sum())
        if self._quotes and self.world.index % SECOND_STEPS == 0:
            flat = known & ~deep
            wrong = np.append(wrong, live[flat][~self._right_tops(live[flat], rows[flat])])
            compared += int(flat.sum())
        doubted = self._doubted()
        guilty = [
            n for n in wrong.tolist() if n not in doubted and not self._chain_doubted(n, state)
        ]
        return Look(
            guilty,
            len(wrong) - len(guilty),
            live[~known],
            unlisted,
            self._quotes,
            compared,
            doubted,
        )

    def _refresh(self) -> None:
        universe = self.world.live.pipeline.universe
        if universe.version == self._version:
            return
        self._version = universe.version
        self._rows[:] = -1
        for symbol, row in universe.symbols(self.name).items():
            number = self._number.get(symbol)
            if number is not None and universe.columns.state[row] == RowState.LIVE:
                self._rows[number] = row

    def number(self, symbol: str) -> int:
        """Number of a listing, -1 for none."""
        return self._number.get(symbol, -1)

    def _doubted(self) -> set[int]:
        """Listings that a fault has left behind; a client cannot know it before the next frame."""
        return {n for n in map(self._book_of, self.server.doubts) if n >= 0}

    def _book_of(self, channel: str) -> int:
        """Listing whose book a channel carries, -1 for none."""
        number = self._of_book.get(channel)
        if number is None:
            venue, number = VENUES[self.name], -1
            symbol = venue.symbol_of_channel(channel)
            if symbol is not None:
                options = self.world.live.sessions[self.name].options
                again = venue.resync(symbol, options, 1)
                carries = any(channel in request.channels for request in again)
                number = self._number.get(symbol, -1) if carries else -1
            self._of_book[channel] = number
        return number

    def _chain_doubted(self, number: int, state: object) -> bool:
        """Whether a listing is known by quotes, and a frame of quotes of a chain was lost."""
        row = self._rows[number]
        deep = state.columns.u8[c.HAS_BOOK, row] != 0  # type: ignore[attr-defined]
        return not deep and any(self._book_of(channel) < 0 for channel in self.server.doubts)

    def _true(
        self, live: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> tuple[NDArray, NDArray, NDArray]:  # type: ignore[type-arg]
        """Ticks of the scanner, sizes and counts of levels as they are in the market."""
        books = self.server.market.books
        tick = self.world.live.pipeline.scanner.state.tick_f64[rows]
        prices = books.prices(live, books.ticks[live])
        there = books.lots[live] > 0
        ticks = np.rint(np.where(there, prices, 0.0) / tick[:, None, None])
        sizes = books.sizes(live, books.lots[live]).astype(np.float32)
        return ticks, sizes, there

    def _right_books(self, live: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        state = self.world.live.pipeline.scanner.state
        ticks, sizes, there = self._true(live, rows)
        slots = state.columns.i32[c.SLOT, rows]
        price = state.books.price[slots][:, :, :LEVELS]
        size = state.books.size[slots][:, :, :LEVELS]
        same = ((price == ticks) & (size == sizes)) | ~there
        counts = state.books.levels[slots] == there.sum(axis=2)
        right: NDArray[np.bool_] = same.all(axis=(1, 2)) & counts.all(axis=1)
        return right

    def _right_tops(self, live: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        columns = self.world.live.pipeline.scanner.state.columns
        ticks, sizes, there = self._true(live, rows)
        right = np.ones(len(rows), np.bool_)
        for side, (price, size) in enumerate(((c.BID, c.BID_SIZE), (c.ASK, c.ASK_SIZE))):
            none = ~there[:, side, 0]
            same = (columns.i32[price, rows] == ticks[:, side, 0]) & (
                columns.f32[size, rows] == sizes[:, side, 0]
            )
            right &= np.where(none, columns.i32[price, rows] == c.NO_PRICE, same)
        return right

    def overdue(self, look: Look, now_ns: int) -> list[tuple[int, float]]:
        """Listings that are unknown for too long after the last fault that touched them."""
        away = np.zeros(len(self.since_ns), np.bool_)
        away[look.unknown] = away[look.unlisted] = True
        self.since_ns[~away] = 0
        self.since_ns[away & (self.since_ns == 0)] = now_ns
        waited_s = (now_ns - np.maximum(self.since_ns, self.touched_ns)) / E9
        waited_s[~away] = 0.0
        waited_s[look.unlisted] = (now_ns - self.since_ns[look.unlisted]) / E9
        limit_s = np.full(len(away), self._unknown_max_s)
        limit_s[look.unlisted] = UNLISTED_MAX_S
        if len(look.unknown):
            self.longest_s = max(self.longest_s, float(waited_s[look.unknown].max()))
        return [(n, float(waited_s[n])) for n in np.flatnonzero(waited_s > limit_s).tolist()]

    def touch(self, planted: Planted) -> None:
        """Remember until when a fault may be felt."""
        if planted.wide:
            self.touched_ns[:] = np.maximum(self.touched_ns, planted.end_ns)
        else:
            number = self._number[planted.symbol]
            self.touched_ns[number] = max(self.touched_ns[number], planted.end_ns)

    def describe(self, number: int) -> str:
        """Both books of a listing: their counts of levels, and the first that differs."""
        state, market = self.world.live.pipeline.scanner.state, self.server.market
        row = int(self._rows[number])
        ticks, sizes, there = self._true(np.array([number]), np.array([row]))
        slot, said = int(state.columns.i32[c.SLOT, row]), []
        for side, name in enumerate(("bids", "asks")):
            true = list(zip(ticks[0, side], sizes[0, side], strict=True))[: there[0, side].sum()]
            count = int(state.books.levels[slot, side])
            ours = list(
                zip(state.books.price[slot, side], state.books.size[slot, side], strict=True)
            )[:count]
            differing = [
                (m, a, b) for m, (a, b) in enumerate(zip(ours, true, strict=False)) if a != b
            ]
            if differing or len(ours) != len(true):
                said.append(f"{len(ours)} {name}, expected {len(true)}, level {differing[:1]}")
        return f"book of {market.universe.listings[number].symbol}: {'; '.join(said)}"


@dataclass
class Watch:
    """All checks of a run, one call a quantum.

    Attributes:
        violations: what must not be, in order.
        planted: all faults so far, with when each was over.
    """

    world: SoakWorld
    checks: dict[str, VenueCheck] = field(init=False)
    violations: list[Violation] = field(default_factory=list)
    planted: list[Planted] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    whole: dict[str, bool] = field(default_factory=dict)
    _open: list[Planted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.checks = {name: VenueCheck(name, self.world) for name in self.world.servers}

    def plant_due(self, plans: Mapping[str, VenuePlan]) -> None:
        """Plant the faults whose time has come."""
        for name, plan in plans.items():
            if plan.due(self.world.clock.ns, whole=self.whole[name]):
                planted = plan.plant(self.world)
                if planted is not None:
                    self._follow(planted)

    def _follow(self, planted: Planted) -> None:
        """Watch a fault until it is over."""
        planted.alone = self.whole.get(planted.venue, False)
        for other in self._open:
            if other.venue == planted.venue:
                planted.alone = other.alone = False
        self.planted.append(planted)
        self._open.append(planted)
        planted.struck = self._struck(planted)
        self.checks[planted.venue].touch(planted)

    def look(self) -> None:
        """Check everything."""
        now_ns = self.world.clock.ns
        for name, check in self.checks.items():
            look = check.look()
            self.compared[name] += look.compared
            self.wrong[name] += len(look.wrong)
            self.excused[name] += look.excused
            self.whole[name] = look.whole and not self.world.live.sessions[name].trouble
            if look.wrong:
                said = check.describe(look.wrong[0])
                self.fail(name, f"{len(look.wrong)} wrong; {said}; {self.lately(name)}")
            for number, waited_s in check.overdue(look, now_ns):
                symbol = check.server.market.universe.listings[number].symbol
                self.fail(
                    name,
                    f"{symbol} is unknown {waited_s:.0f} s after the last fault that touched it",
                )
                check.since_ns[number] = check.touched_ns[number] = now_ns  # Told once.
            self._heal(name, look, now_ns)

    def _heal(self, venue: str, look: Look, now_ns: int) -> None:
        """Note which faults of a venue are over."""
        for planted in self._open:
            if planted.venue == venue and self._ended(planted, now_ns):
                behind = self.checks[venue].number(planted.symbol) in look.doubted
                if self.whole[venue] and not behind:
                    planted.healed_ns = now_ns
        self._open = [planted for planted in self._open if not planted.healed_ns]

    def _ended(self, planted: Planted, now_ns: int) -> bool:
        """Whether the cause is over: that of single frames with the last that was hit.

        A half-open connection is one until its silence is noticed.
        """
        if planted.kind in WITH_STRIKES:
            struck = self._struck(planted)
            if struck > planted.struck:
                planted.struck, planted.hit = struck, True
                if planted.kind in FRAME_FAULTS:
                    planted.end_ns = now_ns - QUANTUM_NS
            if not planted.hit and now_ns < planted.at_ns + UNSTRUCK_S * E9:
                return False
            planted.alone &= planted.hit
        return now_ns >= planted.end_ns + QUANTUM_NS

    def _struck(self, planted: Planted) -> int:
        """How often a kind has struck on a venue; half-open connections, how many were lost."""
        if planted.kind == "half_open":
            return self.world.live.sessions[planted.venue].counts.disconnects
        return self.world.servers[planted.venue].faults.struck.get(planted.kind, 0)

    def fail(self, venue: str, what: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(self.world.now_s, venue, what))
        print("VIOLATION", self.violations[-1], flush=True)

    def lately(self, name: str) -> str:
        """The last faults of a venue, for a message."""
        last = [p for p in self.planted if p.venue == name][-4:]
        ago_s = [(self.world.clock.ns - p.at_ns) / E9 for p in last]
        told = [
            f"{p.kind} {p.symbol or 'everywhere'} {s:.1f} s ago"
            for p, s in zip(last, ago_s, strict=True)
        ]
        return "last faults: " + ", ".join(told)

    def state_of(self, name: str) -> str:
        """Why a venue is not whole."""
        look, trouble = self.checks[name].look(), self.world.live.sessions[name].trouble
        return (
            f"{len(look.wrong)} wrong, {look.excused} behind, {len(look.unknown)} unknown, "
            f"{len(look.doubted)} in doubt; {trouble or 'no trouble'}"
        )

    @property
    def unhealed(self) -> list[Planted]:
        """Faults that are not over."""
        return list(self._open)
