"""Frames of every emulated venue, as its emulator sends them, for the decode question."""

from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from feeds.emulator.market import Market
from feeds.emulator.profiles import PROFILES
from feeds.emulator.server import VenueServer
from feeds.emulator.servers import SERVERS
from feeds.venue import ChannelOptions, Venue
from feeds.venues import VENUES

START_NS: Final = 1_790_000_000_000_000_000
LISTINGS: Final = 200
STEPS_MAX: Final = 3_000
# venue, what the peer reads, words that the channel of a frame begins with
FAMILIES: Final = (
    ("okx", "okx books", "books:"),
    ("okx", "okx books5", "books5:"),
    ("okx", "okx bbo-tbt", "bbo-tbt:"),
    ("okx", "okx opt-summary", "opt-summary:"),
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
WHOLES: Final = ("okx opt-summary", "binance chain", "binance small chain")
# The venue's own chain of BTC has 752 options (docs/venues/binance.md).
LISTINGS_OF: Final = {"binance chain": 2_000}
# What is subscribed, one after the other.
_OPTIONS: Final = {
    "okx": (ChannelOptions(), ChannelOptions(book="window", quotes=True)),
    "binance": (ChannelOptions(), ChannelOptions(book="none", quotes=True)),
}
_ENDS: Final = {
    "binance depth10": "@depth10@100ms",
    "binance bookTicker": "@bookTicker",
    "binance optionTrade": "@optionTrade",
    "binance chain": "@optionMarkPrice",
    "binance small chain": "@optionMarkPrice",
}


def capture(
    venue: str, wanted: dict[str, int], listings: int = LISTINGS
) -> tuple[dict[str, list[bytes]], dict[str, int]]:
    """Frames by family, as many as wanted of each if the market gives them, and listing ids.

    Args:
        venue: name of an emulated one.
        wanted: family of FAMILIES to the number of frames.
        listings: of the market.
    """
    market = Market(7, START_NS, listings, profile=PROFILES[venue])
    server = SERVERS[venue](market, 7)
    found: defaultdict[str, list[bytes]] = defaultdict(list)

    def take(channel: str, content: bytes) -> None:
        family = _family_of(venue, channel, wanted)
        if family and len(found[family]) < wanted[family]:
            found[family].append(content)

    server.deliver = take  # type: ignore[method-assign]
    for options in _OPTIONS.get(venue, (ChannelOptions(),)):
        _listen(server, VENUES[venue], options)
    for _ in range(STEPS_MAX):
        server.publish(market.step())
        if all(len(found[family]) >= count for family, count in wanted.items()):
            break
    ids = {listing.symbol: n for n, listing in enumerate(market.universe.listings)}
    return dict(found), ids


def _listen(server: VenueServer, venue: Venue, options: ChannelOptions) -> None:
    """Send the server what the adapter would, as if over sockets."""
    universe = server.market.universe
    listings = universe.listings[: universe.public]
    for plan in venue.subscriptions(listings, options, venue.LIMITS):
        client = _Client(path=plan.path)
        for request in plan.requests:
            server.receive(client, request.text)  # type: ignore[arg-type]


@dataclass(eq=False)
class _Client:
    """What a server needs of a connection that nobody reads."""

    path: str
    channels: set[str] = field(default_factory=set)
    heartbeat_ns: int = 0
    next_beat_ns: int = 0

    def put(self, _content: bytes, _now_ns: int) -> bool:
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
