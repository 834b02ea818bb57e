"""Feed handlers of other libraries, fed frames without a socket: cryptofeed's and ccxt pro's own.

Each does for its user what it does for frames that came over the network: parse, normalise, keep the
books, call back. What a handler came to is read out of it as `Answer`, so that it can be compared.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from feeds.contract import Listing

Levels = dict[float, float]  # price -> size


@dataclass
class Answer:
    """What frames came to: books, best prices or mark prices by symbol, and prints in order."""

    books: dict[str, tuple[Levels, Levels]] = field(default_factory=dict)
    tickers: dict[str, tuple[float, float]] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    trades: list[tuple[str, float, float, float]] = field(default_factory=list)  # price, size, side

    def put_book(self, symbol: str, bids: Levels, asks: Levels) -> None:
        """Take a book that has any level."""
        if bids or asks:
            self.books[symbol] = bids, asks


class Handler(Protocol):
    """One library's handler of one venue."""

    def begin(self, snapshots: Sequence[bytes]) -> None:
        """Forget everything, then take the frames that books begin with."""

    def feed(self, frames: Sequence[bytes]) -> None:
        """Take frames as they would come from the socket."""

    def keep(self) -> None:
        """From here keep what `answer` needs; not while time is measured."""

    def answer(self) -> Answer:
        """What the frames since `begin` came to."""


NO_CRYPTOFEED: Final = {
    "okx books5": "it subscribes whole books",
    "okx bbo-tbt": "it subscribes whole books",
    "okx opt-summary": "it has no such channel",
    "bybit orderbook.25": "it subscribes no options of Bybit",
    "bybit ticker": "it subscribes no options of Bybit",
    "bybit publicTrade": "it subscribes no options of Bybit",
    "binance depth10": "it has no options of Binance",
    "binance bookTicker": "it has no options of Binance",
    "binance optionTrade": "it has no options of Binance",
    "binance chain": "it has no options of Binance",
}
NO_CCXT: Final = {
    "okx opt-summary": "it has no such channel",
    "okx option-trades": "it has no such channel",
    "binance depth10": "it reads windows as changes, which leaves a wrong book",
    "bybit publicTrade": "not driven",
    "binance bookTicker": "not driven",
    "binance optionTrade": "not driven",
}


class Cryptofeed:
    """cryptofeed's `message_handler`, with callbacks that count."""

    def __init__(self, venue: str, listings: Sequence[Listing]) -> None:
        """Name the listings as cryptofeed does; no network."""
        from cryptofeed.defines import L2_BOOK, TICKER, TRADES
        from cryptofeed.exchanges import OKX, Deribit
        from cryptofeed.symbols import Symbols

        logging.getLogger("feedhandler").disabled = True
        kind = {"deribit": Deribit, "okx": OKX}[venue]
        self._names = {_cryptofeed_name(one): one.symbol for one in listings}
        info = {"tick_size": dict.fromkeys(self._names, 0.0005), "instrument_type": dict.fromkeys(self._names, "option")}  # fmt: skip
        Symbols.set(kind.id, self._names, info)
        self.calls = 0
        self._kept: list[Any] | None = None
        self._feed = kind(
            symbols=list(self._names), channels=[L2_BOOK, TICKER, TRADES],
            callbacks=dict.fromkeys((L2_BOOK, TICKER, TRADES), self._called),
            config={"log": {"disabled": True, "filename": "", "level": "ERROR"},
                    "deribit": {"key_id": "none", "key_secret": "none"}},
        )  # fmt: skip
        self._feed.checksum_validation = False
        self._forget = getattr(self._feed, f"_{kind.__name__}__reset")
        self._loop = asyncio.new_event_loop()

    async def _called(self, thing: Any, _received_s: float) -> None:
        self.calls += 1
        if self._kept is not None:
            self._kept.append(thing)

    def keep(self) -> None:
        """Keep what the callbacks are given."""
        self._kept = []

    def begin(self, snapshots: Sequence[bytes]) -> None:
        """Forget all books."""
        self._forget()
        self.feed(snapshots)

    def feed(self, frames: Sequence[bytes]) -> None:
        """Hand frames over one by one, as its connection does."""
        self._loop.run_until_complete(self._take([frame.decode() for frame in frames]))

    async def _take(self, frames: Sequence[str]) -> None:
        handle = self._feed.message_handler
        for frame in frames:
            await handle(frame, _Connection, 0.0)

    def answer(self) -> Answer:
        """Books as they stand; tickers and prints as the callbacks had them."""
        from cryptofeed.types import Ticker, Trade

        found = Answer()
        for name, book in self._feed._l2_book.items():  # noqa: SLF001 - where it keeps them
            sides = book.book.to_dict()
            found.put_book(self._names[name], _plain(sides["bid"]), _plain(sides["ask"]))
        for thing in self._kept or ():
            symbol = self._names.get(thing.symbol)
            if isinstance(thing, Ticker):
                found.tickers[symbol] = float(thing.bid), float(thing.ask)
            elif isinstance(thing, Trade):
                side = 1.0 if thing.side == "buy" else -1.0
                found.trades.append((symbol, float(thing.price), float(thing.amount), side))
        return found


class _Connection:
    """What cryptofeed's handler needs of a connection."""

    uuid = "1"


def _cryptofeed_name(listing: Listing) -> str:
    from cryptofeed.defines import CALL, OPTION, PUT
    from cryptofeed.symbols import Symbol

    if listing.right is None or listing.expiry_ns is None or listing.strike_e9 is None:
        return listing.symbol
    return Symbol(
        listing.underlying, listing.price_ccy, type=OPTION, strike_price=listing.strike_e9 / 1e9,
        option_type=CALL if listing.right == "C" else PUT, expiry_date=listing.expiry_ns / 1e9,
    ).normalized  # fmt: skip


def _plain(levels: Any) -> Levels:
    return {float(price): float(size) for price, size in levels.items()}


class Ccxt:
    """ccxt pro's `handle_message`, after the JSON reader that its own client would take."""

    def __init__(self, venue: str, listings: Sequence[Listing]) -> None:
        """Give it the listings as markets; no network."""
        import ccxt.pro
        from orjson import loads

        self._loads = loads
        self._loop = asyncio.new_event_loop()  # Its caches ask for one.
        asyncio.set_event_loop(self._loop)
        self._venue = getattr(ccxt.pro, venue)({"options": {"watchOrderBook": {"checksum": False}}})
        structure = self._venue.safe_market_structure
        self._venue.set_markets([
            structure({
                "id": one.symbol, "symbol": one.symbol, "base": one.underlying, "baseId": one.underlying,
                "quote": one.price_ccy, "type": "option", "option": True, "contract": True,
                "precision": {"amount": 0.1, "price": one.tick},
            })
            for one in listings
        ])  # fmt: skip
        self._client = _Client()
        self._bare = venue == "binance"  # Its address of options sends frames without envelope.

    def keep(self) -> None:
        """Keep prints, of which its cache of Deribit's holds the last frame's alone."""
        self._client.prints = []

    def begin(self, snapshots: Sequence[bytes]) -> None:
        """Forget all books, tickers and prints."""
        for held in (self._venue.orderbooks, self._venue.tickers, self._venue.trades):
            held.clear()
        self.feed(snapshots)

    def feed(self, frames: Sequence[bytes]) -> None:
        """Hand frames over one by one, as its client does."""
        handle, loads, client, bare = self._venue.handle_message, self._loads, self._client, self._bare  # fmt: skip
        for frame in frames:
            message = loads(frame)
            handle(client, message["data"] if bare else message)

    def answer(self) -> Answer:
        """Books, tickers, mark prices and prints as it holds them."""
        found = Answer()
        for symbol, book in self._venue.orderbooks.items():
            sides = ({level[0]: level[1] for level in book[side]} for side in ("bids", "asks"))
            found.put_book(symbol, *sides)
        for symbol, ticker in self._venue.tickers.items():
            found.tickers[symbol] = ticker["bid"], ticker["ask"]
            found.marks[symbol] = ticker["markPrice"]
        for trade in self._client.prints or ():
            side = 1.0 if trade["side"] == "buy" else -1.0
            found.trades.append((trade["symbol"], trade["price"], trade["amount"], side))
        return found


class _Subscribed(dict[str, Any]):
    """Everything is subscribed: its handlers leave out what is not."""

    def __contains__(self, _message_hash: object) -> bool:
        return True


class _Client:
    """What ccxt's handlers need of a client that nobody waits on."""

    url = "none"

    def __init__(self) -> None:
        self.subscriptions = _Subscribed()
        self.futures: dict[str, Any] = {}
        self.prints: list[Any] | None = None

    def resolve(self, result: Any, message_hash: str) -> Any:
        if self.prints is not None and message_hash.startswith("trades"):
            self.prints.append(result[-1])
        return result

    def reject(self, error: BaseException, _message_hash: str | None = None) -> None:
        raise error
