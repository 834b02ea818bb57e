"""Stage 1 of 8: what to ask Deribit for, within its limits, and how to answer its session frames.

Every function is pure: the same listings and options give the same texts.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from feeds.contract import Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.secrets import Credentials
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.deribit import wire
from feeds.venues.deribit.decode import ROUTES
from feeds.venues.deribit.universe import NAME, index_name

WS_URL: str = "wss://www.deribit.com/ws/api/v2"

LIMITS: Limits = Limits(
    channels_per_request=500,  # the venue's advice for one public/subscribe
    request_bytes_max=32_768,  # ours: 500 channels of the longest names are about 25,000 bytes
    requests_per_s=3.0,  # a subscription costs 3,000 credits, 10,000 a second come back
    request_burst=10,  # 30,000 credits
    # Ours: the venue names no limit. A thousand keep a reconnect cheap: two requests.
    channels_per_connection=1000,
    connections_max=24,  # 32 an address, and HTTP requests count; eight stay free for those
    frame_bytes_max=4_194_304,  # ours: the mark prices of a currency take about 100,000 bytes
    heartbeat_s=30.0,
    silence_s=70.0,  # two heartbeats and some
)
MARKET_HEADS: tuple[bytes, ...] = tuple(ROUTES)

HEARTBEAT_S: Final = 30
# Ids below the plan's, so that none is used twice on a connection.
HEARTBEAT_ID: Final = 1
TEST_ID: Final = 2
LOGIN_ID: Final = 3
FIRST_REQUEST_ID: Final = 1001

WINDOW_DEPTHS: Final = (1, 10, 20)  # the venue offers no other
INTERVAL: Final = "100ms"
RAW_INTERVAL: Final = "raw"  # for logged-in connections only (error 13778)
# Matched on another exchange since 2026-09-17: the venue takes a subscription to the prints of such
# a pair and leaves it out of its answer.
SPOT_WITHOUT_PRINTS: Final = "USDC"

# Families whose second part is an instrument or an index; `trades` has it in one of its forms.
_OF_ONE: Final = frozenset({"book", "quote", "ticker", "incremental_ticker", "deribit_price_index"})
NOTICE_MAX_CHARS: Final = 512

_SUBSCRIBE: Final = "public/subscribe"
_UNSUBSCRIBE: Final = "public/unsubscribe"


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
    """Unsubscribe and subscribe again: asking twice for a channel brings no new snapshot.

    The second request takes the id after `request_id`. Where quotes stand in for books, the quote
    channel is asked for again; where neither is subscribed, there is nothing to send.
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
    """Ask for heartbeats, so that a silent connection is known to be dead."""
    return (_text("public/set_heartbeat", HEARTBEAT_ID, {"interval": HEARTBEAT_S}),)


def login(credentials: Credentials) -> Request:
    """Log a connection in by client id and secret: `raw` channels are for such alone."""
    params = {
        "grant_type": "client_credentials",
        "client_id": credentials.key,
        "client_secret": credentials.secret,
    }
    return Request(LOGIN_ID, (), _text("public/auth", LOGIN_ID, params))


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish."""
    if frame.startswith(MARKET_HEADS):
        return None
    try:
        envelope = wire.read_envelope(frame)
    except (ValueError, RecursionError):
        return None
    if envelope.method == "heartbeat":
        asked = envelope.params is not None and envelope.params.type == "test_request"
        return Control(reply=_TEST if asked else None)
    if envelope.method == "subscription":
        return _platform_notice(envelope.params)
    return _answer(envelope) if envelope.method is None else None


def symbol_of_channel(channel: str) -> str | None:
    """Instrument or index a channel is about; None for channels of a whole currency.

    >>> symbol_of_channel("book.BTC-27MAR26-100000-C.100ms")
    'BTC-27MAR26-100000-C'
    >>> symbol_of_channel("trades.option.BTC.100ms") is None
    True
    """
    parts = channel.split(".")
    if len(parts) > 1 and (parts[0] in _OF_ONE or (parts[0] == "trades" and len(parts) == 3)):
        return parts[1]
    return None


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a channel soon: a book's snapshot, a ticker's present state.

    >>> owes_first_frame("book.BTC-27MAR26-100000-C.100ms"), owes_first_frame("quote.BTC-PERPETUAL")
    (True, False)
    """
    return channel.startswith(("book.", "ticker.", "incremental_ticker."))


def _channels(listings: Sequence[Listing], options: ChannelOptions) -> list[str]:
    """Every channel once, those of whole currencies first."""
    ordered = sorted(listings, key=lambda listing: listing.symbol)
    wide: set[str] = {"platform_state"} if ordered and options.notices else set()
    for listing in ordered:
        wide.update(_wide_channels(listing, options))
    own = (
        channel
        for listing in ordered
        if listing.kind != ListingKind.INDEX
        for channel in (*_own_channels(listing.symbol, options), *_own_trades(listing, options))
    )
    return [*sorted(wide), *dict.fromkeys(own)]


def _wide_channels(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    """Channels of a whole currency or index that a listing needs."""
    if listing.kind == ListingKind.SPOT:
        if options.notices:
            yield "instrument.state.spot.any"
        return
    index = index_name(listing)
    if options.index:
        yield f"deribit_price_index.{index}"
    if listing.kind == ListingKind.INDEX:
        return
    option = listing.kind == ListingKind.OPTION
    kind = "option" if option else "future"  # a perpetual is a future here
    # Linear instruments belong to the stablecoin they settle in.
    currency = listing.underlying if listing.settle == "inverse" else listing.price_ccy
    if options.notices:
        yield f"instrument.state.{kind}.{currency}"
    if options.trades:
        yield f"trades.{kind}.{currency}.{_interval(options)}"
    if options.marks and option:
        yield f"markprice.options.{index}"


def _own_channels(symbol: str, options: ChannelOptions) -> Iterator[str]:
    if options.book == "delta":
        yield f"book.{symbol}.{_interval(options)}"
    elif options.book == "window":
        depth = next((d for d in WINDOW_DEPTHS if d >= options.book_depth), WINDOW_DEPTHS[-1])
        yield f"book.{symbol}.none.{depth}.{INTERVAL}"
    if options.quotes:
        yield f"quote.{symbol}"
    if options.tickers:
        yield f"ticker.{symbol}.{_interval(options)}"


def _own_trades(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    """Prints of a spot: there is no channel of all of a currency (reported)."""
    printed = listing.kind == ListingKind.SPOT and listing.price_ccy != SPOT_WITHOUT_PRINTS
    if options.trades and printed:
        yield f"trades.{listing.symbol}.{_interval(options)}"


def _top_channels(symbol: str, options: ChannelOptions) -> Iterator[str]:
    """Channels that the listing's best prices come from."""
    wanted = "quote" if options.book == "none" else "book"
    return (c for c in _own_channels(symbol, options) if c.startswith(wanted))


def _interval(options: ChannelOptions) -> str:
    return RAW_INTERVAL if options.authenticated else INTERVAL


def _subscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text(_SUBSCRIBE, request_id, {"channels": channels}))


def _unsubscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text(_UNSUBSCRIBE, request_id, {"channels": channels}))


def _text(method: str, request_id: int, params: object) -> str:
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    return msgspec.json.encode(message).decode()


_TEST: Final = _text("public/test", TEST_ID, {})


def _platform_notice(params: wire.EnvelopeParams | None) -> Control | None:
    if params is None or params.channel is None or not params.channel.startswith("platform_state"):
        return None
    words = bytes(params.data)[:NOTICE_MAX_CHARS].decode(errors="replace")
    try:
        maintenance = wire.read_platform_state(params.data).maintenance
    except (ValueError, RecursionError):
        maintenance = None
    return Control(notice=words, maintenance=maintenance)


def _answer(envelope: wire.Envelope) -> Control | None:
    """An answer to a request of ours: its acknowledged channels, its refusal, or nothing to do."""
    request_id = envelope.id if isinstance(envelope.id, int) else None
    if envelope.error is not None:
        reason = f"{envelope.error.code} {envelope.error.message}"[:NOTICE_MAX_CHARS]
        if request_id is None:
            return Control(notice=reason)
        return Control(refused=(request_id, reason))
    if not bytes(envelope.result):
        return None
    if request_id is None or request_id == LOGIN_ID:
        return Control() if request_id is None else Control(ack=(LOGIN_ID, ()))
    try:
        accepted = wire.read_channels(envelope.result)
    except (ValueError, RecursionError):
        return Control()  # the answer to a heartbeat or a test is no list of channels
    return Control(ack=(request_id, tuple(accepted)))
