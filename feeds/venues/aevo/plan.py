"""Stage 1 of 8: what to ask Aevo for, within its limits, and how to read its answers.

Every function is pure: the same listings and options give the same texts.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from feeds.contract import Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.aevo import wire
from feeds.venues.aevo.decode import PREFIX
from feeds.venues.aevo.universe import NAME, index_symbol

WS_URL: str = "wss://ws.aevo.xyz"

LIMITS: Limits = Limits(
    channels_per_request=100,  # ours: the venue names none, and one wrong name may refuse them all
    request_bytes_max=16_384,  # ours: 100 channels are about 4,000 bytes
    # Ours: the venue limits operations, and does not say to how many.
    requests_per_s=2.0,
    request_burst=5,
    channels_per_connection=1000,  # ours: the venue names no limit
    connections_max=8,  # ours
    frame_bytes_max=4_194_304,  # ours: a ticker of a thousand options takes some 700,000 bytes
    heartbeat_s=20.0,
    silence_s=50.0,  # two answers to pings and some
    ping_s=20.0,  # ours: the venue cuts after 15 minutes without any; pings cost nothing
)
MARKET_HEADS: tuple[bytes, ...] = (PREFIX,)

PING_ID: Final = 1
FIRST_REQUEST_ID: Final = 1001  # Ids below it are not the plan's.
REASON_MAX_CHARS: Final = 512

_BOOK: Final = "orderbook-100ms"
_QUOTES: Final = "book-ticker"
_TICKERS: Final = "ticker-500ms"
_OF_OPTIONS: Final = "OPTION"
# Of assets whose options are quoted in it: all that are documented.
_QUOTE_ASSET: Final = "USDC"
CHAIN_OPTION: Final = "quotes"


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the channels of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: channels of whole assets come first,
    then those of each instrument, by name. Nothing is asked for an empty universe.

    Raises:
        SessionError: the channels need more connections than the limits allow, or one channel
            alone is longer than a request may be.
    """
    ordered = sorted(listings, key=lambda listing: listing.symbol)
    wide = {channel for listing in ordered for channel in _wide_channels(listing, options)}
    own = (channel for listing in ordered for channel in _own_channels(listing, options))
    channels = [*sorted(wide), *own]
    plans = connections(NAME, channels, limits, _subscribe, FIRST_REQUEST_ID, measure=_unsubscribe)
    return within(NAME, plans, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again, which brings a snapshot.

    The second request takes the id after `request_id`. Nothing where one channel quotes the whole
    chain: it belongs to the others as well.
    """
    if options.book != "none":
        channels = (f"{_BOOK}:{symbol}",)
    elif options.quotes and symbol.endswith("-PERP"):
        channels = (f"{_QUOTES}:{symbol}",)
    else:
        return ()
    return (_unsubscribe(request_id, channels), _subscribe(request_id + 1, channels))


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give channels back, in their order, cut into requests within the limits.

    Raises:
        SessionError: one channel alone is longer than a request may be.
    """
    return requests(NAME, channels, limits, _unsubscribe, request_id)


def hello() -> tuple[str, ...]:
    """Nothing: market data needs no login."""
    return ()


def ping() -> str:
    """Ask for a sign of life."""
    return msgspec.json.encode({"op": "ping", "id": PING_ID}).decode()


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish."""
    if frame.startswith(MARKET_HEADS):
        return None
    try:
        answer = wire.read_envelope(frame)
        return None if answer.channel is not None else _answer(answer)
    except (ValueError, RecursionError):
        return None


def symbol_of_channel(channel: str) -> str | None:
    """Instrument or index a channel is about; None for channels of a whole asset.

    >>> symbol_of_channel("orderbook-100ms:ETH-31MAR23-1350-C"), symbol_of_channel("index:ETH")
    ('ETH-31MAR23-1350-C', 'ETH/INDEX')
    >>> symbol_of_channel("book-ticker:ETH:OPTION"), symbol_of_channel("trades:ETH")
    (None, None)
    """
    word, _, rest = channel.partition(":")
    if word == "index":
        return index_symbol(rest) if rest else None
    own = word in (_BOOK, _QUOTES, _TICKERS) and ":" not in rest
    return rest or None if own else None


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a channel soon: a book's snapshot; the rest comes on change.

    >>> owes_first_frame("orderbook-100ms:ETH-PERP"), owes_first_frame("ticker-500ms:ETH:OPTION")
    (True, False)
    """
    return channel.startswith(f"{_BOOK}:")


def quoted_chain(channel: str) -> tuple[str, str] | None:
    """Asset and currency whose options' best prices come on a channel; None for others.

    >>> quoted_chain("book-ticker:ETH:OPTION"), quoted_chain("book-ticker:ETH-PERP")
    (('ETH', 'USDC'), None)
    """
    word, _, rest = channel.partition(":")
    asset, _, kind = rest.partition(":")
    return (asset, _QUOTE_ASSET) if word == _QUOTES and kind == _OF_OPTIONS else None


def _wide_channels(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    """Channels of a whole asset that a listing needs."""
    asset = listing.underlying
    if listing.kind == ListingKind.INDEX:
        if options.index:
            yield f"index:{asset}"
        return
    if options.trades:
        yield f"trades:{asset}"
    if listing.kind != ListingKind.OPTION:
        return
    if options.tickers or options.marks:
        yield f"{_TICKERS}:{asset}:{_OF_OPTIONS}"
    if options.quotes:
        yield f"{_QUOTES}:{asset}:{_OF_OPTIONS}"


def _own_channels(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    """Channels of one instrument; there are no windows, and who wants them is served by changes."""
    if listing.kind == ListingKind.INDEX:
        return
    if listing.kind != ListingKind.OPTION:
        if options.tickers:
            yield f"{_TICKERS}:{listing.symbol}"
        if options.quotes:
            yield f"{_QUOTES}:{listing.symbol}"
    if options.book != "none":
        yield f"{_BOOK}:{listing.symbol}"


def _subscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text("subscribe", request_id, channels))


def _unsubscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text("unsubscribe", request_id, channels))


def _text(op: str, request_id: int, channels: tuple[str, ...]) -> str:
    return msgspec.json.encode({"op": op, "data": channels, "id": request_id}).decode()


def _answer(answer: wire.Envelope) -> Control:
    """A refusal, a sign of life, or the names of the channels that a request is granted.

    Raises:
        msgspec.ValidationError: none of these.
    """
    if answer.error is not None:
        reason = answer.error[:REASON_MAX_CHARS]
        return Control(notice=reason) if answer.id is None else Control(refused=(answer.id, reason))
    if answer.id == PING_ID:
        return Control()
    names = tuple(wire.read_names(answer.data))
    return Control(accepted=names) if answer.id is None else Control(ack=(answer.id, names))
