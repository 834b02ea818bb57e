"""Stage 1 of 8: what to ask Binance's futures for, within its limits.

Every function is pure: the same listings and options give the same texts.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from feeds.contract import Listing, ListingKind
from feeds.plans import requests
from feeds.venue import ChannelOptions, ConnectionPlan, Limits, Request
from feeds.venues.binance.protocol import resync_of, top_streams, two_paths, unsubscribing
from feeds.venues.binance_futures.universe import NAME

LIMITS: Limits = Limits(
    channels_per_request=100,  # ours
    request_bytes_max=8_192,  # ours: 100 of the longest names have some 4,000
    requests_per_s=4.0,  # the venue takes 10 messages a second, pings among them
    request_burst=4,
    channels_per_connection=200,  # "streams"; some pages say 1,024
    connections_max=10,  # ours: the venue names 300 in five minutes, and the options share them
    frame_bytes_max=1_048_576,  # ours: 20 levels a side are some 1,500 bytes
    heartbeat_s=60.0,
    silence_s=150.0,  # two pings and some
    ping_s=60.0,  # the venue's own pings are the socket's, and no frames
    connection_s=86_400.0,
    accepts_anything=True,
)

CONTRACTS: Final = "!contractInfo"
_MARK: Final = "@markPrice@1s"
_TRADE: Final = "@aggTrade"


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the streams of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: notices come first, then what each
    listing needs, by name.

    Raises:
        SessionError: the streams need more connections than the limits allow, or one stream
            alone is longer than a request may be.
    """
    symbols = sorted(one.symbol for one in listings if one.kind != ListingKind.INDEX)
    market = [CONTRACTS] if symbols and options.notices else []
    market += [stream for symbol in symbols for stream in _market_streams(symbol, options)]
    public = [stream for symbol in symbols for stream in top_streams(symbol, options)]
    return two_paths(NAME, market, public, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again, which brings a window within 100 ms of the next change.

    For an index, and where neither books nor quotes are wanted, there is nothing to send.
    """
    streams = () if symbol.endswith("/INDEX") else top_streams(symbol, options)
    return resync_of(streams, request_id)


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give streams back, in their order, cut into requests within the limits."""
    return requests(NAME, channels, limits, unsubscribing, request_id)


def symbol_of_channel(channel: str) -> str | None:
    """Instrument a stream is about; None for notices.

    >>> symbol_of_channel("btcusdt_261225@depth10@100ms")
    'BTCUSDT_261225'
    >>> symbol_of_channel("!contractInfo") is None
    True
    """
    name, found, _ = channel.partition("@")
    return name.upper() if found and not name.startswith("!") else None


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a stream soon: marks each second, windows at the next change.

    A stream that was asked for on the wrong path, or does not exist, is accepted all the same: what
    owes and stays silent is asked for again, and told.

    >>> owes_first_frame("btcusdt@depth10@100ms"), owes_first_frame("btcusdt@aggTrade")
    (True, False)
    """
    return channel.endswith(_MARK) or "@depth" in channel


def _market_streams(symbol: str, options: ChannelOptions) -> Iterator[str]:
    """Streams of the market path that one instrument needs: one brings its mark and its index."""
    if options.tickers or options.marks or options.index:
        yield f"{symbol.lower()}{_MARK}"
    if options.trades:
        yield f"{symbol.lower()}{_TRADE}"
