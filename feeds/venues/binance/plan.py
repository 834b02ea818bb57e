"""Stage 1 of 8: what to ask Binance for, within its limits.

Every function is pure: the same listings and options give the same texts.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from feeds.contract import E9, Listing, ListingKind
from feeds.plans import requests
from feeds.venue import ChannelOptions, ConnectionPlan, Limits, Request
from feeds.venues.binance.protocol import resync_of, top_streams, two_paths, unsubscribing
from feeds.venues.binance.universe import NAME, pair_of

LIMITS: Limits = Limits(
    channels_per_request=100,  # ours: a request of 100 names has some 4,000 bytes
    request_bytes_max=8_192,  # ours
    requests_per_s=4.0,  # the venue takes 10 messages a second, pings among them
    request_burst=4,
    channels_per_connection=200,  # "streams"
    connections_max=30,  # ours: the venue names 300 in five minutes
    frame_bytes_max=8_388_608,  # a chain of 752 options has 246,000 bytes
    heartbeat_s=60.0,
    silence_s=150.0,  # two pings and some
    ping_s=60.0,  # the venue's own pings are the socket's, and no frames
    connection_s=86_400.0,
)

_MARK: Final = "@optionMarkPrice"
_PARTS_OF_OPTION: Final = 4
# Streams of the market path, by what follows the first @; the others are of the public path.
_OF_MARKET: Final = ("optionMarkPrice", "openInterest", "optionOpenInterest", "arr", "")
_NEW_SYMBOLS: Final = "!optionSymbol"
# The documentation has both names in one page, the venue's newer clients the first alone. Whichever
# does not exist stays silent.
_OPEN_INTEREST: Final = ("openInterest", "optionOpenInterest")
CHAIN_OPTION: Final = "marks"


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the streams of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: streams of whole chains come first.

    Raises:
        SessionError: the streams need more connections than the limits allow, or one stream
            alone is longer than a request may be.
    """
    streams = _streams(listings, options)
    market = [s for s in streams if is_of_market(s)]
    public = [s for s in streams if not is_of_market(s)]
    return two_paths(NAME, market, public, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again; nothing where the whole chain's stream brings the quotes."""
    return resync_of(top_streams(symbol, options), request_id)


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give streams back, in their order, cut into requests within the limits."""
    return requests(NAME, channels, limits, unsubscribing, request_id)


def symbol_of_channel(channel: str) -> str | None:
    """Option a stream is about; None for streams of whole chains.

    >>> symbol_of_channel("btc-261225-92000-c@depth10@100ms")
    'BTC-261225-92000-C'
    >>> symbol_of_channel("btcusdt@optionTrade") is None
    True
    """
    name = channel.partition("@")[0]
    return name.upper() if len(name.split("-")) == _PARTS_OF_OPTION else None


def quoted_chain(channel: str) -> tuple[str, str] | None:
    """Underlying and currency whose options' best prices come on a stream; None for others.

    >>> quoted_chain("btcusdt@optionMarkPrice")
    ('BTC', 'USDT')
    """
    pair, found, _ = channel.partition(_MARK)
    if not found:
        return None
    quote = next((q for q in ("usdt", "usdc", "usd") if pair.endswith(q)), "")
    return pair.removesuffix(quote).upper(), quote.upper()


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a stream soon: a chain's marks come each second."""
    return channel.endswith(_MARK)


def is_of_market(stream: str) -> bool:
    """Whether a stream is served under the market path."""
    return stream.partition("@")[2].partition("@")[0] in _OF_MARKET


def _streams(listings: Sequence[Listing], options: ChannelOptions) -> list[str]:
    """Every stream once, those of whole chains first."""
    ordered = sorted(
        (one for one in listings if one.kind == ListingKind.OPTION), key=lambda one: one.symbol
    )
    wide: set[str] = {_NEW_SYMBOLS} if ordered and options.notices else set()
    for listing in ordered:
        wide.update(_wide_streams(listing, options))
    own = (stream for one in ordered for stream in top_streams(one.symbol, options))
    return [*sorted(wide), *own]


def _wide_streams(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    pair = pair_of(listing).lower()
    if options.index:
        yield "!index@arr"
    if options.tickers or options.marks:
        yield f"{pair}{_MARK}"
    if options.tickers and listing.expiry_ns is not None:
        day = datetime.fromtimestamp(listing.expiry_ns // E9, UTC)
        for name in _OPEN_INTEREST:
            yield f"{pair}@{name}@{day:%y%m%d}"
    if options.trades:
        yield f"{pair}@optionTrade"
