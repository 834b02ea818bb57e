"""Stage 1 of 8: what to ask Thalex for, within its limits, and how to read its answers.

Every function is pure: the same listings and options give the same texts.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from feeds.contract import Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.thalex import wire
from feeds.venues.thalex.decode import PREFIX
from feeds.venues.thalex.universe import NAME

WS_URL: str = "wss://thalex.com/ws/api/v2"

LIMITS: Limits = Limits(
    channels_per_request=200,  # ours: the venue names no limit
    request_bytes_max=16_384,  # ours: 200 channels are about 8,000 bytes
    requests_per_s=2.0,  # ours
    request_burst=5,  # ours
    channels_per_connection=1000,  # ours
    connections_max=8,  # ours
    frame_bytes_max=4_194_304,  # ours: a thousand options in one frame take some 120,000 bytes
    heartbeat_s=20.0,
    silence_s=50.0,  # two answers to pings and some
    ping_s=20.0,  # ours
)
MARKET_HEADS: tuple[bytes, ...] = tuple(
    PREFIX + word for word in (b"book.", b"lwt", b"price_index.", b"recent_trades.", b"ticker.")
)

PING_ID: Final = 1
FIRST_REQUEST_ID: Final = 1001  # Ids below it are not the plan's.
REASON_MAX_CHARS: Final = 512

BOOK_DELAY: Final = "100ms"
QUOTE_DELAY: Final = "100ms"
SLOW_DELAY: Final = "1000ms"  # marks that come by the clock
_SYSTEM: Final = PREFIX + b'system"'
_CURRENCY: Final = "USD"  # what every documented index is in
_OPTION_ENDS: Final = ("-C", "-P")
CHAIN_OPTION: Final = "quotes"


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the channels of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: channels of whole underlyings come
    first, then those of each instrument, by name. Nothing is asked for an empty universe.

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
        channels = (_book(symbol),)
    elif options.quotes and not symbol.endswith(_OPTION_ENDS):
        channels = (_tops(symbol),)
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
    """Ask for the system's state; whatever is answered is a sign of life."""
    call = {"method": "public/system_info", "params": {}, "id": PING_ID}
    return msgspec.json.encode(call).decode()


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish."""
    if frame.startswith(PREFIX) and not frame.startswith(_SYSTEM):
        return None
    try:
        envelope = wire.read_envelope(frame)
        if envelope.channel_name is not None:
            system = envelope.channel_name == "system"
            event = wire.read_event(envelope.notification).event if system else None
            return None if event is None else Control(notice=event[:REASON_MAX_CHARS])
        return _answer(envelope)
    except (ValueError, RecursionError):
        return None


def symbol_of_channel(channel: str) -> str | None:
    """Instrument or index a channel is about; None for channels of a whole underlying.

    >>> symbol_of_channel("book.BTC-27MAR26-100000-C.none.all.100ms")
    'BTC-27MAR26-100000-C'
    >>> symbol_of_channel("price_index.BTCUSD"), symbol_of_channel("recent_trades.BTCUSD.all")
    ('BTCUSD', None)
    """
    word, _, rest = channel.partition(".")
    own = word in ("book", "ticker", "lwt", "price_index")
    return rest.partition(".")[0] or None if own else None


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a channel soon: a book's snapshot, marks by the clock.

    >>> owes_first_frame("book.BTC-PERPETUAL.none.all.100ms"), owes_first_frame("instruments")
    (True, True)
    >>> owes_first_frame("recent_trades.BTCUSD.all")
    False
    """
    return channel.startswith(("book.", "ticker.", "lwt", "price_index.")) or (
        channel == "instruments"
    )


def quoted_chain(channel: str) -> tuple[str, str] | None:
    """Coin and currency whose options' best prices come on a channel; None for others.

    >>> quoted_chain("lwt_options.BTCUSD.all.100ms"), quoted_chain("lwt.BTC-PERPETUAL.100ms")
    (('BTC', 'USD'), None)
    """
    word, _, rest = channel.partition(".")
    index = rest.partition(".")[0]
    return (index.removesuffix(_CURRENCY), _CURRENCY) if word == "lwt_options" else None


def _wide_channels(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    """Channels of a whole underlying that a listing needs, and of the venue."""
    if options.notices:
        yield from ("instruments", "system")
    index = listing.underlying + listing.price_ccy
    if listing.kind == ListingKind.INDEX:
        if options.index:
            yield f"price_index.{listing.symbol}"
        return
    if options.trades:
        yield f"recent_trades.{index}.all"
    if listing.kind == ListingKind.OPTION:
        if options.quotes:
            yield f"lwt_options.{index}.all.{QUOTE_DELAY}"
        elif options.marks and not options.tickers:
            yield f"lwt_options.{index}.all.{SLOW_DELAY}"


def _own_channels(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    """Channels of one instrument; there are no windows, and who wants them is served by changes."""
    if listing.kind == ListingKind.INDEX:
        return
    if options.tickers:
        yield f"ticker.{listing.symbol}.{SLOW_DELAY}"
    if options.quotes and listing.kind != ListingKind.OPTION:
        yield _tops(listing.symbol)
    if options.book != "none":
        yield _book(listing.symbol)


def _book(symbol: str) -> str:
    return f"book.{symbol}.none.all.{BOOK_DELAY}"


def _tops(symbol: str) -> str:
    return f"lwt.{symbol}.{QUOTE_DELAY}"


def _subscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text("public/subscribe", request_id, channels))


def _unsubscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text("unsubscribe", request_id, channels))


def _text(method: str, request_id: int, channels: tuple[str, ...]) -> str:
    call = {"method": method, "params": {"channels": channels}, "id": request_id}
    return msgspec.json.encode(call).decode()


def _answer(envelope: wire.Envelope) -> Control:
    """A refusal, a sign of life, or the names of the channels that a request is granted.

    Raises:
        msgspec.ValidationError: none of these.
    """
    if envelope.error is not None:
        reason = f"{envelope.error.code} {envelope.error.message}"[:REASON_MAX_CHARS]
        if envelope.id is None:
            return Control(notice=reason)
        return Control(refused=(envelope.id, reason))
    if envelope.id == PING_ID:
        return Control()
    names = tuple(wire.read_names(envelope.result))
    return Control(accepted=names) if envelope.id is None else Control(ack=(envelope.id, names))
