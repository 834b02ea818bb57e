"""Stage 1 of 8: what to ask Derive for, within its limits, and how to read its answers.

Every function is pure: the same listings and options give the same texts.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from feeds.contract import Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.derive import wire
from feeds.venues.derive.universe import NAME, index_name

WS_URL: str = "wss://api.lyra.finance/ws"

LIMITS: Limits = Limits(
    channels_per_request=200,  # ours: the venue names no limit
    request_bytes_max=32_768,  # ours: 200 channels are about 9,000 bytes
    # Ours: 5 a second with a burst of 25 are for clients that log in, the others have a "reduced
    # rate" without a number (docs.derive.xyz, Rate Limits).
    requests_per_s=1.0,
    request_burst=5,
    # Ours: the venue names no limit. All 2,200 options, with a book and a ticker each, need 4,500.
    channels_per_connection=2000,
    connections_max=4,  # an address (docs.derive.xyz, Rate Limits)
    frame_bytes_max=1_048_576,  # ours: an answer that names 2,000 subscriptions is about 100,000
    heartbeat_s=15.0,
    silence_s=40.0,  # two answers to pings and some
    ping_s=15.0,
)
MARKET_HEADS: tuple[bytes, ...] = (wire.PREFIX,)

PING_ID: Final = 1
FIRST_REQUEST_ID: Final = 1001  # Ids below it are not the plan's.

GROUP: Final = 1  # ticks a level: the book as it is
DEPTHS: Final = (1, 10, 20, 100)  # the venue offers no other
SLOW_INTERVAL: Final = "1000"  # ms; this ticker comes by the clock

TRADE_KINDS: Final = {ListingKind.OPTION: "option", ListingKind.PERP: "perp"}
REASON_MAX_CHARS: Final = 512
ACCEPTED: Final = "ok"


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the channels of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: channels of whole currencies come
    first, then those of each instrument, by name. Nothing is asked for an empty universe.

    Raises:
        SessionError: the channels need more connections than the limits allow, or one channel
            alone is longer than a request may be.
    """
    channels = _channels(listings, options)
    plans = connections(NAME, channels, limits, _subscribe, FIRST_REQUEST_ID, measure=_unsubscribe)
    return within(NAME, plans, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again; the second request takes the id after `request_id`.

    Where quotes stand in for books, the channel that brings them is asked for again; where neither
    is subscribed, there is nothing to send.
    """
    channels = tuple(_top_channels(symbol, options))
    if not channels:
        return ()
    return (
        _unsubscribe(request_id, channels),
        _subscribe(request_id + 1, channels),
    )


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give channels back, in their order, cut into requests within the limits.

    The requests are numbered upwards from `request_id`; no channels need no request.

    Raises:
        SessionError: one channel alone is longer than a request may be.
    """
    return requests(NAME, channels, limits, _unsubscribe, request_id)


def hello() -> tuple[str, ...]:
    """Nothing: market data needs no login."""
    return ()


def ping() -> str:
    """Ask for the time; whatever is answered is a sign of life."""
    return _text("public/get_time", PING_ID, {})


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish."""
    if frame.startswith(MARKET_HEADS):
        return None
    try:
        envelope = wire.read_envelope(frame)
    except (ValueError, RecursionError):
        return None
    return _answer(envelope) if envelope.method is None else None


def symbol_of_channel(channel: str) -> str | None:
    """Instrument or index a channel is about; None for channels of a whole currency.

    >>> symbol_of_channel("orderbook.ETH-20260627-2400_5-C.1.10")
    'ETH-20260627-2400_5-C'
    >>> symbol_of_channel("spot_feed.ETH"), symbol_of_channel("trades.option.ETH")
    ('ETH-USD', None)
    """
    word, *parts = channel.split(".")
    if word == "spot_feed" and len(parts) == 1:
        return index_name(parts[0])
    own = (word == "orderbook" and len(parts) == 3) or (word == "ticker_slim" and len(parts) == 2)
    return parts[0] if own else None


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a channel soon: books and tickers come each second at least.

    >>> owes_first_frame("orderbook.ETH-PERP.1.10"), owes_first_frame("trades.option.ETH")
    (True, False)
    """
    return channel.startswith(("orderbook.", "ticker_slim."))


def _channels(listings: Sequence[Listing], options: ChannelOptions) -> list[str]:
    """Every channel once, those of whole currencies first."""
    ordered = sorted(listings, key=lambda listing: listing.symbol)
    wide = {channel for listing in ordered for channel in _wide_channels(listing, options)}
    own = (
        channel
        for listing in ordered
        if listing.kind != ListingKind.INDEX
        for channel in _own_channels(listing.symbol, options)
    )
    return [*sorted(wide), *dict.fromkeys(own)]


def _wide_channels(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    """Channels of a whole currency that a listing needs."""
    if options.index:
        yield f"spot_feed.{listing.underlying}"
    if options.trades and listing.kind in TRADE_KINDS:
        yield f"trades.{TRADE_KINDS[listing.kind]}.{listing.underlying}"


def _own_channels(symbol: str, options: ChannelOptions) -> Iterator[str]:
    if options.book != "none":
        yield _book_channel(symbol, options.book_depth)
    if options.quotes:
        yield _quote_channel(symbol)  # it is a ticker as well
    elif options.tickers:
        yield f"ticker_slim.{symbol}.{SLOW_INTERVAL}"


def _top_channels(symbol: str, options: ChannelOptions) -> Iterator[str]:
    """Channels that the listing's best prices come from."""
    if options.book != "none":
        yield _book_channel(symbol, options.book_depth)
    elif options.quotes:
        yield _quote_channel(symbol)


def _book_channel(symbol: str, depth: int) -> str:
    """Window of at least so many levels, if the venue has one; there are no deltas."""
    offered = next((d for d in DEPTHS if d >= depth), DEPTHS[-1])
    return f"orderbook.{symbol}.{GROUP}.{offered}"


def _quote_channel(symbol: str) -> str:
    return f"ticker_slim.{symbol}.{wire.QUOTES_INTERVAL}"


def _subscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text("subscribe", request_id, {"channels": channels}))


def _unsubscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text("unsubscribe", request_id, {"channels": channels}))


def _text(method: str, request_id: int, params: object) -> str:
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    return msgspec.json.encode(message).decode()


def _answer(envelope: wire.Envelope) -> Control | None:
    """An answer to a request of ours: what was accepted, its refusal, or nothing to do."""
    request_id = envelope.id if isinstance(envelope.id, int) else None
    if envelope.error is not None:
        return _refusal(envelope.error, request_id)
    if not bytes(envelope.result):
        return None
    try:
        status = wire.read_subscribed(envelope.result).status
    except (ValueError, RecursionError):
        return Control()  # the answer to a ping has no status
    accepted = tuple(channel for channel, word in status.items() if word == ACCEPTED)
    if request_id is None:
        return Control(accepted=accepted, denied=tuple(c for c in status if c not in accepted))
    return Control(ack=(request_id, accepted))


def _refusal(error: wire.RpcError, request_id: int | None) -> Control:
    words = f"{error.code} {error.message} {bytes(error.data).decode(errors='replace')}"
    reason = words.rstrip()[:REASON_MAX_CHARS]
    if request_id is None:
        return Control(notice=reason)
    return Control(refused=(request_id, reason))
