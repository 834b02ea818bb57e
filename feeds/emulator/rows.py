"""Stage 2 of 8, simulated: the market as event rows and ticker rows, without a wire between.

For long quiet calibrations and tests: the same market as the server's (market.py) without its
spots, on which no option hangs, written straight into the dtypes of feeds/events.py. Listing ids
are positions in `listings`, which are the instruments that discovery lists, followed by the indexes
(tickers only) and the spares.

Times inside a 100 ms step: lifecycle rows first, then trades against the standing books (from
5 ms), then the books as they stand at the end of the step (from 45 ms), then tickers (from 97 ms).
The simulated venue stamps whole milliseconds, and rows arrive 2 ms after its stamp.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feeds.contract import E9, Listing
from feeds.emulator.books import ASK, BID, LEVELS, Block, Ids
from feeds.emulator.flow import Trade
from feeds.emulator.market import HABITS, STEP_NS, Market, Step
from feeds.emulator.planted import Plant, Truth
from feeds.events import EVENT, TICKER, EventRows, Flag, Kind, ListingState, TickerRows

MS: Final = 1_000_000
STRUCTURES: Final = 65_535
_TRADES_AT, _TRADES_FOR = 5 * MS, 35 * MS
_BOOKS_AT, _BOOKS_FOR = 45 * MS, 50 * MS
_TICKERS_AT, _TICKERS_FOR = 97 * MS, 2 * MS
_STATES_AT: Final = MS
_LATENCY_NS: Final = 2 * MS

Times = NDArray[np.int64]
Second = tuple[int, EventRows, TickerRows]


class RowSimulation:
    """A simulated run; iterating it moves the market and yields one period after the other.

    Each item is (grid_ns, EVENT rows, TICKER rows) with the rows of (grid_ns - period, grid_ns],
    in the order of rx_ns and seq; the arrays belong to the caller. The first item has
    grid_ns = the start and a snapshot of every book and ticker.
    """

    def __init__(
        self, market: Market, seconds: int, period_ns: int, quote_activity: frozenset[int]
    ) -> None:
        """Take a market that has not moved yet; see `simulate_rows`."""
        self.market = market
        self.listings: tuple[Listing, ...] = market.universe.listings
        self._periods = seconds * E9 // period_ns
        self._steps = period_ns // STEP_NS
        self._seq = 0
        has_depth = ~np.isin(market.universe.activity, list(quote_activity))
        self._has_depth = has_depth | np.isnan(market.universe.strike)

    @property
    def truth(self) -> tuple[Truth, ...]:
        """What was planted."""
        return tuple(self.market.planter.truth)

    def __iter__(self) -> Iterator[Second]:
        """Run the market to its end."""
        yield self._opening()
        for _ in range(self._periods):
            events: list[EventRows] = []
            tickers: list[TickerRows] = []
            for _ in range(self._steps):
                step = self.market.step()
                events += self._events(step)
                tickers.append(self._tickers(step.tickers, step.now_ns))
            yield (
                self.market.now_ns,
                np.concatenate(events) if events else np.zeros(0, EVENT),
                np.concatenate(tickers),
            )

    def _opening(self) -> Second:
        """Snapshots and tickers of everything, at the start itself."""
        market = self.market
        shown = np.flatnonzero((market.books.lots > 0).any(axis=(1, 2)))
        at_ns = np.full(len(shown), market.now_ns, np.int64)
        events = self._books(shown, np.zeros((len(shown), 2, LEVELS), np.int32), at_ns)
        live = np.flatnonzero(market.state == ListingState.LIVE)
        return market.now_ns, np.concatenate(events), self._tickers(live, market.now_ns + STEP_NS)

    def _events(self, step: Step) -> list[EventRows]:
        """Event rows of one step."""
        begin_ns = step.now_ns - STEP_NS
        rows = [self._states(step.states, begin_ns + _STATES_AT)] if step.states else []
        if step.trades:
            rows.append(self._trades(step.trades, begin_ns))
        touched = step.touched
        if len(touched):
            rx_ns = _spread(begin_ns + _BOOKS_AT, _BOOKS_FOR, len(touched))
            rows += self._books(touched, step.old_ticks, rx_ns, step.old_lots)
        return rows

    def _books(
        self, ids: Ids, old_ticks: Block, rx_ns: Times, old_lots: Block | None = None
    ) -> list[EventRows]:
        """Book rows of listings that changed: whole snapshots, or best quotes."""
        books = self.market.books
        ticks, lots = books.ticks[ids], books.lots[ids]
        deep = self._has_depth[ids]
        empty = ~(lots > 0).any(axis=(1, 2))
        snapshot = np.flatnonzero(deep & ~empty)
        moved = (ticks[:, :, 0] != old_ticks[:, :, 0]).any(axis=1)
        if old_lots is not None:
            moved |= (lots[:, :, 0] != old_lots[:, :, 0]).any(axis=1)
        quote = np.flatnonzero(~deep & moved)
        gone = np.flatnonzero(deep & empty)
        seq = self._seq + 1 + np.arange(len(ids))
        self._seq += len(ids)
        pieces = []
        if len(snapshot):
            pieces.append(self._snapshots(ids, ticks, lots, rx_ns, seq, snapshot))
        if len(quote):
            pieces.append(self._quotes(ids, ticks, lots, rx_ns, seq, quote))
        if len(gone):
            pieces.append(self._deletions(ids, old_ticks, rx_ns, seq, gone))
        if len(pieces) < 2:
            return pieces
        joined = np.concatenate(pieces)
        return [joined[np.argsort(joined["seq"], kind="stable")]]

    def _snapshots(
        self, ids: Ids, ticks: Block, lots: Block, rx_ns: Times, seq: Times, which: Ids
    ) -> EventRows:
        """One row a level, bids best first, then asks."""
        update, side, level = np.nonzero(lots[which] > 0)
        at = which[update]
        rows = _stamped(len(update), ids[at], rx_ns[at], seq[at])
        books = self.market.books
        rows["price"] = books.prices(ids[at], ticks[at, side, level])
        rows["size"] = books.sizes(ids[at], lots[at, side, level])
        rows["kind"] = Kind.BOOK_SNAPSHOT
        rows["side"] = np.where(side == BID, 1, -1)
        rows["level"] = level
        first = np.empty(len(update), bool)
        first[:1] = True
        first[1:] = update[1:] != update[:-1]
        last = np.roll(first, -1)
        rows["flags"] = np.where(first, int(Flag.SNAPSHOT_START), 0) | np.where(
            last, int(Flag.LAST), 0
        )
        return rows

    def _quotes(
        self, ids: Ids, ticks: Block, lots: Block, rx_ns: Times, seq: Times, which: Ids
    ) -> EventRows:
        """A bid row and an ask row an update; NaN where a side shows nothing."""
        at = np.repeat(which, 2)
        side = np.tile([BID, ASK], len(which))
        rows = _stamped(len(at), ids[at], rx_ns[at], seq[at])
        books = self.market.books
        rows["price"] = books.prices(ids[at], ticks[at, side, 0])
        sizes = books.sizes(ids[at], lots[at, side, 0])
        rows["size"] = np.where(sizes > 0.0, sizes, np.nan)
        rows["kind"] = Kind.QUOTE
        rows["side"] = np.where(side == BID, 1, -1)
        rows["flags"] = np.where(side == ASK, int(Flag.LAST), 0)
        return rows

    def _deletions(
        self, ids: Ids, old_ticks: Block, rx_ns: Times, seq: Times, which: Ids
    ) -> EventRows:
        """Removal of every level of books that are empty now; a snapshot has no row to say so."""
        update, side, level = np.nonzero(old_ticks[which] > 0)
        at = which[update]
        rows = _stamped(len(update), ids[at], rx_ns[at], seq[at])
        rows["price"] = self.market.books.prices(ids[at], old_ticks[at, side, level])
        rows["kind"] = Kind.BOOK_DELTA
        rows["side"] = np.where(side == BID, 1, -1)
        last = np.ones(len(update), bool)
        last[:-1] = update[1:] != update[:-1]
        rows["flags"] = np.where(last, int(Flag.LAST), 0)
        return rows

    def _trades(self, trades: Sequence[Trade], begin_ns: int) -> EventRows:
        """One row a fill."""
        ids = np.array([trade.listing for trade in trades], np.int64)
        rx_ns = _spread(begin_ns + _TRADES_AT, _TRADES_FOR, len(trades))
        rows = _stamped(len(trades), ids, rx_ns, self._seq + 1 + np.arange(len(trades)))
        self._seq += len(trades)
        books = self.market.books
        rows["price"] = books.prices(ids, np.array([t.tick for t in trades], np.int32))
        rows["size"] = books.sizes(ids, np.array([t.lots for t in trades], np.int32))
        rows["kind"] = Kind.TRADE
        rows["side"] = [trade.side for trade in trades]
        rows["flags"] = [trade.flags | int(Flag.LAST) for trade in trades]
        # Each block is a structure of its own; only its trades are told apart by this number.
        rows["aux"] = [t.trade_id % STRUCTURES + 1 if t.flags & Flag.BLOCK else 0 for t in trades]
        return rows

    def _states(self, states: Sequence[tuple[int, ListingState]], at_ns: int) -> EventRows:
        """One row a listing that was listed or expired."""
        ids = np.array([listing for listing, _ in states], np.int64)
        seq = self._seq + 1 + np.arange(len(states))
        self._seq += len(states)
        rows = _stamped(len(states), ids, np.full(len(states), at_ns, np.int64), seq)
        rows["price"] = np.nan
        rows["kind"] = Kind.STATE_CHANGE
        rows["flags"] = int(Flag.LAST)
        rows["level"] = [int(state) for _, state in states]
        return rows

    def _tickers(self, ids: Ids, end_ns: int) -> TickerRows:
        """Ticker rows of the listings that are due in the step that ends at end_ns."""
        if not len(ids):
            return np.zeros(0, TICKER)
        rows = self.market.tickers(ids)
        now_ns = self.market.now_ns
        rx_ns = _spread(end_ns - STEP_NS + _TICKERS_AT, _TICKERS_FOR, len(ids))
        rows["rx_ns"] = np.minimum(rx_ns, now_ns)
        rows["ex_ns"] = _venue_time(rows["rx_ns"])
        rows["seq"] = self._seq + 1 + np.arange(len(ids))
        self._seq += len(ids)
        return rows


def simulate_rows(
    seed: int,
    start_ns: int,
    seconds: int,
    listings: int = 1_000,
    *,
    plants: Sequence[Plant] = (),
    period_ns: int = E9,
    quote_activity: frozenset[int] = frozenset(),
    habits: int = HABITS,
) -> RowSimulation:
    """Prepare a simulated run of `seconds`, quiet unless events are planted.

    Args:
        seed: decides everything but the universe and the habits.
        start_ns: ns UTC, cut to a whole period; expiries are relative to it.
        seconds: simulated length.
        listings: about how many options.
        plants: events to plant; their times are absolute.
        period_ns: grid period; a multiple of 100 ms.
        quote_activity: activity classes (0 to 3) of options that give best quotes without depth.
        habits: decides how wide, deep and busy each listing is (market.py).

    Raises:
        ValueError: the period is no positive multiple of 100 ms.
        SymbolError: a plant has an unknown target.
    """
    if period_ns <= 0 or period_ns % STEP_NS:
        raise ValueError(f"period_ns was {period_ns}, expected a positive multiple of {STEP_NS}")
    begin_ns = start_ns - start_ns % period_ns
    market = Market(seed, begin_ns, listings, plants, habits, spots=False)
    return RowSimulation(market, seconds, period_ns, quote_activity)


def _stamped(count: int, ids: Ids, rx_ns: Times, seq: Times) -> EventRows:
    """Zeroed event rows with identity, times and order filled in."""
    rows = np.zeros(count, EVENT)
    rows["listing_id"] = ids
    rows["rx_ns"] = rx_ns
    rows["ex_ns"] = _venue_time(rx_ns)
    rows["seq"] = seq
    return rows


def _spread(from_ns: int, for_ns: int, count: int) -> Times:
    """Receive times of `count` updates, evenly over a part of the step, ascending."""
    return from_ns + np.arange(count, dtype=np.int64) * (for_ns // max(count, 1))


def _venue_time(rx_ns: Times) -> Times:
    """The simulated venue's stamp: whole milliseconds, a little earlier."""
    sent = rx_ns - _LATENCY_NS
    return sent - sent % MS
