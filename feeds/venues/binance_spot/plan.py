"""Stage 1 of 8: what to ask Binance's spot market for, within its limits.

Every function is pure: the same listings and options give the same texts.
"""

from collections.abc import Sequence
from typing import Final

from feeds.contract import Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Limits, Request
from feeds.venues.binance.protocol import (
    FIRST_REQUEST_ID,
    resync_of,
    subscribing,
    top_streams,
    unsubscribing,
)
from feeds.venues.binance_spot.universe import NAME

WS_URL: str = "wss://stream.binance.com:9443"
STREAM_PATH: Final = "/stream"

LIMITS: Limits = Limits(
    channels_per_request=100,  # ours
    request_bytes_max=8_192,  # ours
    requests_per_s=2.0,  # the venue takes 5 messages a second, pings and pongs among them
    request_burst=2,
    channels_per_connection=400,  # ours: the venue takes 1,024 streams
    connections_max=10,  # ours: the venue names 300 in five minutes
    frame_bytes_max=1_048_576,  # ours: 20 levels a side are some 1,500 bytes
    heartbeat_s=60.0,
    silence_s=150.0,  # two pings and some
    ping_s=60.0,  # the venue's own pings are the socket's, and no frames
    connection_s=86_400.0,
    accepts_anything=True,
    listing_change_s=(),  # pairs come and go at no set time
)

_TRADE: Final = "@trade"


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the streams of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: prints come first, then books or best
    prices, by name.

    Raises:
        SessionError: the streams need more connections than the limits allow, or one stream
            alone is longer than a request may be.
    """
    symbols = sorted(one.symbol for one in listings if one.kind == ListingKind.SPOT)
    streams = [f"{symbol.lower()}{_TRADE}" for symbol in symbols if options.trades]
    streams += [stream for symbol in symbols for stream in top_streams(symbol, options)]
    plans = connections(NAME, streams, limits, subscribing, FIRST_REQUEST_ID,
                        measure=unsubscribing, path=STREAM_PATH)  # fmt: skip
    return within(NAME, plans, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again, which brings a window within 100 ms of the next change."""
    return resync_of(top_streams(symbol, options), request_id)


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give streams back, in their order, cut into requests within the limits."""
    return requests(NAME, channels, limits, unsubscribing, request_id)


def symbol_of_channel(channel: str) -> str | None:
    """Pair a stream is about.

    >>> symbol_of_channel("btcusdt@depth10@100ms")
    'BTCUSDT'
    """
    name, found, _ = channel.partition("@")
    return name.upper() if found and not name.startswith("!") else None


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a stream soon: windows at the next change.

    >>> owes_first_frame("btcusdt@depth10@100ms"), owes_first_frame("btcusdt@trade")
    (True, False)
    """
    return "@depth" in channel
