"""Frames of every emulated venue, as its emulator sends them, for the questions about feeds."""

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable
from dataclasses import dataclass, field
from typing import Final

from feeds.contract import Listing
from feeds.emulator.deribit.rpc import result_text
from feeds.emulator.deribit.server import DeribitServer
from feeds.emulator.market import Market
from feeds.emulator.profiles import PROFILES
from feeds.emulator.server import VenueServer
from feeds.emulator.servers import SERVERS
from feeds.venue import ChannelOptions, Stamper, Venue
from feeds.venues import VENUES

SEED: Final = 7
START_NS: Final = 1_790_000_000_000_000_000
LISTINGS: Final = 200
STEPS_MAX: Final = 3_000
USUAL: Final = ChannelOptions()
# venue, what the peer reads, words that the channel of a frame begins with
FAMILIES: Final = (
    ("okx", "okx books", "books:"),
    ("okx", "okx books5", "books5:"),
    ("okx", "okx bbo-tbt", "bbo-tbt:"),
    ("okx", "okx opt-summary", "opt-summary:"),
    ("okx", "okx small opt-summary", "opt-summary:"),
    ("okx", "okx option-trades", "option-trades:"),
    ("bybit", "bybit orderbook.25", "orderbook.25."),
    ("bybit", "bybit ticker", "tickers."),
    ("bybit", "bybit publicTrade", "publicTrade."),
    ("binance", "binance depth10", ""),
    ("binance", "binance bookTicker", ""),
    ("binance", "binance optionTrade", ""),
    ("binance", "binance chain", ""),
    ("binance", "binance small chain", ""),
)
WHOLES: Final = ("okx opt-summary", "okx small opt-summary", "binance chain", "binance small chain")
# The venues' own chains of BTC have some 750 options (docs/venues/binance.md).
LISTINGS_OF: Final = {"binance chain": 2_000, "okx opt-summary": 1_500}
# What is subscribed, one after the other.
_OPTIONS: Final = {
    "okx": (USUAL, ChannelOptions(book="window", quotes=True)),
    "binance": (USUAL, ChannelOptions(book="none", quotes=True)),
}
_ENDS: Final = {
    "binance depth10": "@depth10@100ms",
    "binance bookTicker": "@bookTicker",
    "binance optionTrade": "@optionTrade",
    "binance chain": "@optionMarkPrice",
    "binance small chain": "@optionMarkPrice",
}


@dataclass
class Captured:
    """What a venue sent.

    frames: by family, in order.
    first: what it answered to subscriptions: snapshots of books among it.
    listings: place = listing id.
    """

    frames: dict[str, list[bytes]]
    first: list[bytes]
    listings: tuple[Listing, ...]

    @property
    def ids(self) -> dict[str, int]:
        """Listing ids by symbol."""
        return {listing.symbol: n for n, listing in enumerate(self.listings)}


def capture(venue: str, wanted: dict[str, int], count: int = LISTINGS) -> Captured:
    """Frames by family, as many as wanted of each if the market gives them.

    Args:
        venue: name of an emulated one.
        wanted: family of FAMILIES to the number of frames.
        count: of the market's listings.
    """
    market = Market(SEED, START_NS, count, profile=PROFILES[venue], spots=False)
    found: defaultdict[str, list[bytes]] = defaultdict(list)

    def take(channel: str, content: bytes) -> None:
        family = _family_of(venue, channel, wanted)
        if family and len(found[family]) < wanted[family]:
            found[family].append(content)

    server = tapped(venue, market, take)
    first: list[bytes] = []
    for options in _OPTIONS.get(venue, (USUAL,)):
        first += listen(server, VENUES[venue], options)
    for _ in range(STEPS_MAX):
        server.publish(market.step())
        if all(len(found[family]) >= least for family, least in wanted.items()):
            break
    return Captured(dict(found), first, tuple(market.universe.listings))


def stream(venue: str, words: Collection[str], count: int, start_ns: int) -> Captured:
    """The first frames of a venue whose channels begin with one of the words, as they come.

    Raises:
        AssertionError: the market did not give so many.
    """
    market = Market(SEED, start_ns, LISTINGS, profile=PROFILES[venue], spots=False)
    found: list[bytes] = []

    def take(channel: str, content: bytes) -> None:
        if channel.partition(".")[0] in words:
            found.append(content)

    server = tapped(venue, market, take)
    first = listen(server, VENUES[venue])
    for _ in range(STEPS_MAX):
        if len(found) >= count:
            return Captured({"": found[:count]}, first, tuple(market.universe.listings))
        server.publish(market.step())
    raise AssertionError(f"{venue}: {len(found)} frames, expected {count}")


def deribit_instruments(start_ns: int) -> bytes:
    """The answer that lists the instruments of the same market."""
    server = DeribitServer(Market(SEED, start_ns, LISTINGS), SEED)
    return result_text(1, server.methods.call("public/get_instruments", {}), start_ns)


def tapped(venue: str, market: Market, take: Callable[[str, bytes], None]) -> VenueServer:
    """A server whose frames go to `take`."""

    class Tapped(SERVERS[venue]):  # type: ignore[misc]
        def deliver(self, channel: str, content: bytes) -> None:
            take(channel, content)

    return Tapped(market, SEED)


def listen(server: VenueServer, venue: Venue, options: ChannelOptions = USUAL) -> list[bytes]:
    """Send the server what the adapter would, as if over sockets; returns what it answered."""
    universe = server.market.universe
    listings = universe.listings[: universe.public]
    return [
        answer
        for plan in venue.subscriptions(listings, options, venue.LIMITS)
        for answer in ask(server, venue, [request.text for request in plan.requests], plan.path)
    ]


def ask(server: VenueServer, venue: Venue, texts: Iterable[str], path: str = "") -> list[bytes]:
    """Send the server texts, as if over one socket; returns what it answered."""
    answers: list[bytes] = []
    client = _Client(path=path, put_into=answers)
    for text in texts:
        sent = venue.stamped(text, server.market.now_ns) if isinstance(venue, Stamper) else text
        server.receive(client, sent)  # type: ignore[arg-type]
    return answers


@dataclass(eq=False)
class _Client:
    """What a server needs of a connection that nobody reads."""

    path: str
    put_into: list[bytes]
    channels: set[str] = field(default_factory=set)
    heartbeat_ns: int = 0
    next_beat_ns: int = 0

    def put(self, content: bytes, _now_ns: int) -> bool:
        self.put_into.append(content)
        return True


def _family_of(venue: str, channel: str, wanted: Container[str]) -> str:
    for of, family, begin in FAMILIES:
        if of != venue or family not in wanted:
            continue
        if begin and channel.startswith(begin):
            return family
        if family in _ENDS and channel.endswith(_ENDS[family]):
            return family
    return ""
