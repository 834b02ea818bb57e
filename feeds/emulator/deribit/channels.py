"""Stage 1 of 8, simulated: which channels exist, who listens, and what each says.

book.{i}.100ms, book.{i}.none.{1,10,20}.100ms, quote.{i}, ticker.{i}.100ms, trades.{i}.100ms,
trades.{option,future}.{currency}.100ms, markprice.options.{index}, deribit_price_index.{index},
instrument.state.{kind}.{currency}, instrument.creation.{kind}.{currency}, platform_state (silent).
Any other name is left out of an acknowledgement without a word, as the venue does. So are the
prints of all spots of a currency, and those of a spot quoted in USDC, which trades elsewhere.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from feeds.contract import ListingKind
from feeds.emulator.books import ASK, BID, Ids
from feeds.emulator.deribit.wire import KINDS_OF, Level, Wire, frame
from feeds.emulator.market import Market, Step
from feeds.emulator.profiles import DERIBIT
from feeds.emulator.server import VenueServer
from feeds.events import ListingState

WINDOW_DEPTHS: Final = (1, 10, 20)
RAW: Final = ".raw"
_SECOND_STEPS: Final = 10  # marks and indexes are sent once a second
_STATE_WORDS: Final = {
    ListingState.LIVE: ("open",),
    ListingState.EXPIRED: ("settlement", "delivered"),
}


class Channels:
    """Turns steps of the market into frames of the channels that somebody listens to."""

    def __init__(self, market: Market, wire: Wire, server: VenueServer) -> None:
        """Name the channels of all instruments once; frames go to `server`."""
        self._market, self._wire = market, wire
        self._listened, self._faults, self._deliver = (
            server.listened, server.faults, server.deliver,
        )  # fmt: skip
        self._kinds = [self._kind(number) for number in range(len(wire.symbols))]
        self._wide = self._wide_channels()

    def exists(self, channel: str) -> bool:
        """Say whether a channel can be subscribed now."""
        if channel in self._wide:
            return True
        family, _, rest = channel.partition(".")
        symbol, _, tail = rest.partition(".")
        number = self._market.universe.ids.get(symbol, -1)
        if number < 0 or self._market.state[number] != ListingState.LIVE:
            return False
        if self._market.universe.kind[number] == ListingKind.INDEX:
            return False
        if family == "trades" and self._wire.is_routed(number):
            return False
        windows = {f"none.{depth}.100ms" for depth in WINDOW_DEPTHS}
        tails = {
            "book": {"100ms"} | windows,
            "quote": {""},
            "ticker": {"100ms"},
            "trades": {"100ms"},
        }
        return tail in tails.get(family, ())

    def first(self, channel: str) -> bytes | None:
        """What a new subscriber gets at once; None where the channel waits for news."""
        family, _, rest = channel.partition(".")
        symbol, _, tail = rest.partition(".")
        wire = self._wire
        number = self._market.universe.ids.get(symbol, -1)
        if family == "book":
            windowed = tail.startswith("none.")
            depth = int(tail.split(".")[1]) if windowed else 0
            return frame(channel, wire.window(number, depth) if depth else wire.snapshot(number))
        if family == "quote":
            return frame(channel, wire.quote(number))
        if family == "ticker":
            return frame(channel, wire.tickers(np.array([number], np.int64))[0])
        if family == "markprice":
            return frame(channel, wire.marks(rest.partition(".")[2]))
        if family == "deribit_price_index":
            return frame(channel, wire.price_index(rest))
        return None

    def publish(self, step: Step) -> None:
        """Send what a step changed to those who listen."""
        self._publish_states(step)
        self._publish_trades(step)
        self._publish_books(step)
        self._publish_tickers(step)
        if step.index % _SECOND_STEPS == 0:
            for spec in DERIBIT.terms:
                marks, index = f"markprice.options.{spec.index}", spec.index
                self._put(marks, self._wire.marks, index)
                price = f"deribit_price_index.{index}"
                self._put(price, self._wire.price_index, index)

    def _put(self, channel: str, build: Callable[..., Any], *of: Any) -> None:
        """Send one frame, built only if somebody listens."""
        if channel in self._listened:
            self._deliver(channel, frame(channel, build(*of)))

    def _publish_states(self, step: Step) -> None:
        """Lifecycle notices, and the definition of what was listed."""
        for number, state in step.states:
            tail = f"{self._kinds[number]}.{self._wire.spec(number).currency}"
            if state == ListingState.LIVE:
                self._put(f"instrument.creation.{tail}", self._wire.instrument, number)
            for word in _STATE_WORDS[state]:
                self._put(
                    f"instrument.state.{tail}",
                    self._wire.state,
                    number,
                    word,
                )

    def _publish_trades(self, step: Step) -> None:
        """One frame a currency, kind and step, and one an instrument."""
        grouped: dict[str, list[Any]] = {}
        for trade in step.trades:
            number = trade.listing
            currency = self._wire.spec(number).currency
            for name in (
                f"trades.{self._kinds[number]}.{currency}.100ms",
                f"trades.{self._wire.symbols[number]}.100ms",
            ):
                if name in self._listened:
                    grouped.setdefault(name, []).append(trade)
        for name, trades in grouped.items():
            self._put(name, self._wire.trades, trades)

    def _publish_books(self, step: Step) -> None:
        """Changes, windows and quotes of the touched listings."""
        symbols, books = self._wire.symbols, self._market.books
        names = [f"book.{symbols[n]}.100ms" for n in step.touched.tolist()]
        heard = np.array([name in self._listened for name in names], bool)
        ids = step.touched[heard]
        if len(ids):
            changes = self._wire.changes(ids, step.old_ticks[heard], step.old_lots[heard])
            previous_ids = step.previous_change_id[heard].tolist()
            for number, sides, previous in zip(ids.tolist(), changes, previous_ids, strict=True):
                change_id = int(books.change_id[number])
                name = f"book.{symbols[number]}.100ms"
                content = self._wire.change(number, sides, previous, change_id)
                self._deliver(name, frame(name, content))
                self._burst_book(name, number)
        best_moved = (books.ticks[step.touched, :, 0] != step.old_ticks[:, :, 0]) | (
            books.lots[step.touched, :, 0] != step.old_lots[:, :, 0]
        )
        for number, moved in zip(step.touched.tolist(), best_moved.any(axis=1), strict=True):
            for depth in WINDOW_DEPTHS:
                self._put(
                    f"book.{symbols[number]}.none.{depth}.100ms",
                    self._wire.window,
                    number,
                    depth,
                )
            if moved:
                self._put(f"quote.{symbols[number]}", self._wire.quote, number)

    def _burst_book(self, name: str, number: int) -> None:
        """Further changes of one level, there and back, that end at the true book."""
        factor = self._faults.burst_factor(name)
        if factor < 2:
            return
        books = self._market.books
        side = BID if books.lots[number, BID, 0] > 0 else ASK
        levels = self._wire.window(number, 1)["bids" if side == BID else "asks"]
        if not levels:
            return
        price, size = levels[0]
        lot = self._market.universe.listings[number].lot or 1.0
        at: Ids = np.array([number])
        for turn in range(factor // 2):
            for amount in (round(size + lot * (turn + 1), 9), size):
                previous = int(books.number_changes(at, np.ones(1, np.int64))[0])
                level: list[Level] = [("change", price, amount)]
                sides: list[list[Level]] = [level, []] if side == BID else [[], level]
                change_id = int(books.change_id[number])
                content = self._wire.change(number, sides, previous, change_id)
                self._deliver(name, frame(name, content))

    def _publish_tickers(self, step: Step) -> None:
        """Tickers that are due."""
        symbols = self._wire.symbols
        names = [f"ticker.{symbols[n]}.100ms" for n in step.tickers.tolist()]
        heard = np.array([name in self._listened for name in names], bool)
        if not heard.any():
            return
        tickers = self._wire.tickers(step.tickers[heard])
        for content in tickers:
            name = f"ticker.{content['instrument_name']}.100ms"
            packed = frame(name, content)
            for _ in range(self._faults.burst_factor(name)):
                self._deliver(name, packed)

    def _kind(self, number: int) -> str:
        """The venue's kind of an instrument."""
        return KINDS_OF.get(self._market.universe.kind[number], "future")

    def _wide_channels(self) -> frozenset[str]:
        """Channels that are about no single instrument."""
        names: set[str] = {"platform_state", "instrument.state.spot.any"}
        for spec in DERIBIT.terms:
            names |= {f"markprice.options.{spec.index}", f"deribit_price_index.{spec.index}"}
            for kind in ("option", "future"):
                names.add(f"trades.{kind}.{spec.currency}.100ms")
                names.add(f"instrument.state.{kind}.{spec.currency}")
                names.add(f"instrument.creation.{kind}.{spec.currency}")
        return frozenset(names)


def is_raw(channels: Iterable[str]) -> bool:
    """Say whether a request asks for raw channels, which need a login."""
    return any(channel.endswith(RAW) for channel in channels)
