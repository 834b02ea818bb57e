"""Stage 1 of 8: what to ask Bullish for, within its limits, and how to answer its session frames.

Every function is pure: the same listings and options give the same texts. A channel's text is its
topic, a colon and what it is about (`l2Orderbook:BTC-USDC-20260425-70000-C`). The path of the
address chooses which topics a connection may carry, and a request asks for one channel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from feeds.contract import Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.bullish import wire
from feeds.venues.bullish.universe import NAME

WS_URL: str = "wss://api.exchange.bullish.com"

LIMITS: Limits = Limits(
    channels_per_request=1,  # a request names one topic and one symbol
    request_bytes_max=1024,  # ours: a request has some 150 bytes
    requests_per_s=20.0,  # ours: the venue names no limit of requests on a connection
    request_burst=22,  # as many at once were seen to be answered (2026-09-22, test environment)
    channels_per_connection=200,  # ours: the venue names none; a reconnect takes 10 s of requests
    connections_max=80,  # 100 an address without a login; twenty stay free
    frame_bytes_max=1_048_576,  # ours: a book of 200 levels a side has some 12,000 bytes
    heartbeat_s=20.0,  # our pings; the venue sends no sign of life of its own
    silence_s=50.0,  # two pings without an answer and some
    # Documented: idle connections end after 5 minutes; one ended after 60 s (2026-09-22).
    ping_s=20.0,
)

PING_ID: Final = 0  # below the plan's, so that none is used twice on a connection
FIRST_REQUEST_ID: Final = 1

BOOK, QUOTE, TRADE, TICK, INDEX = (
    "l2Orderbook",
    "l1Orderbook",
    "anonymousTrades",
    "tick",
    "indexPrice",
)
INDEX_PATH: Final = "/trading-api/v1/index-data"
TICK_PATH: Final = "/trading-api/v1/market-data/tick"
TRADE_PATH: Final = "/trading-api/v1/market-data/trades"
BOOK_PATH: Final = "/trading-api/v1/market-data/orderbook"
# Topic of a frame, by its dataType.
TOPICS: Final = {
    "V1TALevel2": BOOK,
    "V1TALevel1": QUOTE,
    "V1TAAnonymousTradeUpdate": TRADE,
    "V1TATickerResponse": TICK,
    "V1TAIndexPrice": INDEX,
}
_OWING: Final = (f"{BOOK}:", f"{QUOTE}:", f"{TICK}:")
# Answers begin with the version of their protocol.
MARKET_HEADS: tuple[bytes, ...] = (b'{"type":',)
NOTICE_MAX_CHARS: Final = 512


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the channels of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: indexes first, then ticks, trades and
    books by name, each path on connections of its own. Nothing is asked for an empty universe.

    Raises:
        SessionError: the channels need more connections than the limits allow, or one channel
            alone is longer than a request may be.
    """
    ordered = sorted(listings, key=lambda listing: listing.symbol)
    traded = [listing.symbol for listing in ordered if listing.kind != ListingKind.INDEX]
    indexes = [listing.symbol for listing in ordered if listing.kind == ListingKind.INDEX]
    by_path = {
        INDEX_PATH: [f"{INDEX}:{asset}" for asset in indexes if options.index],
        TICK_PATH: [f"{TICK}:{s}" for s in traded if options.tickers or options.marks],
        TRADE_PATH: [f"{TRADE}:{symbol}" for symbol in traded if options.trades],
        BOOK_PATH: [channel for symbol in traded for channel in _orderbook(symbol, options)],
    }
    single = replace(limits, channels_per_request=1)
    plans: tuple[ConnectionPlan, ...] = ()
    for path, channels in by_path.items():
        plans += connections(
            NAME,
            list(dict.fromkeys(channels)),
            single,
            _subscribe,
            FIRST_REQUEST_ID,
            measure=_unsubscribe,
            path=path,
            first_connection=len(plans),
        )
    return within(NAME, plans, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again: asking twice for a channel is not even answered.

    The second request takes the id after `request_id`. Where quotes stand in for books, the quote
    channel is asked for again; where neither is subscribed, there is nothing to send.
    """
    channels = tuple(_orderbook(symbol, options))[:1]
    if not channels:
        return ()
    return (_unsubscribe(request_id, channels), _subscribe(request_id + 1, channels))


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give channels back, in their order, one request each, numbered upwards from `request_id`.

    Raises:
        SessionError: one channel alone is longer than a request may be.
    """
    single = replace(limits, channels_per_request=1)
    return requests(NAME, channels, single, _unsubscribe, request_id)


def hello() -> tuple[str, ...]:
    """Nothing: the connection's path says all."""
    return ()


def ping() -> str:
    """Ask for a sign of life."""
    return _text("keepalivePing", PING_ID, {})


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish."""
    if frame.startswith(MARKET_HEADS):
        return None
    try:
        envelope = wire.read_envelope(frame)
    except (ValueError, RecursionError):
        return None
    return _answer(envelope)


def channel_of(frame: bytes) -> str | None:
    """Channel of a market frame, as the plan writes it; None for anything else.

    >>> channel_of(b'{"type":"update","dataType":"V1TAIndexPrice","data":{"assetSymbol":"BTC"}}')
    'indexPrice:BTC'
    """
    try:
        envelope = wire.read_envelope(frame)
    except (ValueError, RecursionError):
        return None
    topic, about = TOPICS.get(envelope.data_type), envelope.data
    name = None if about is None else about.symbol or about.asset
    return None if topic is None or name is None else f"{topic}:{name}"


def symbol_of_channel(channel: str) -> str | None:
    """Instrument or index a channel is about.

    >>> symbol_of_channel("l2Orderbook:BTC-USDC-20260425-70000-C")
    'BTC-USDC-20260425-70000-C'
    """
    return channel.partition(":")[2] or None


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a channel soon: books, quotes and ticks begin with a snapshot.

    >>> owes_first_frame("tick:BTC-USDC-PERP"), owes_first_frame("anonymousTrades:BTC-USDC-PERP")
    (True, False)
    """
    return channel.startswith(_OWING)


def _orderbook(symbol: str, options: ChannelOptions) -> Iterator[str]:
    """Channels of the book's path: the book first, of which the venue has one form."""
    if options.book != "none":
        yield f"{BOOK}:{symbol}"
    if options.quotes:
        yield f"{QUOTE}:{symbol}"


def _subscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _about("subscribe", request_id, channels))


def _unsubscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _about("unsubscribe", request_id, channels))


def _about(method: str, request_id: int, channels: tuple[str, ...]) -> str:
    """Text of a request for at most one channel; none is measured, never sent."""
    topic, _, name = "".join(channels).partition(":")
    key = "assetSymbol" if topic == INDEX else "symbol"
    return _text(method, request_id, {"topic": topic, key: name})


def _text(method: str, request_id: int, params: dict[str, str]) -> str:
    message = {
        "jsonrpc": "2.0",
        "type": "command",
        "method": method,
        "params": params,
        "id": str(request_id),
    }
    return msgspec.json.encode(message).decode()


def _answer(envelope: wire.Envelope) -> Control | None:
    """An answer to a request of ours, which was about one channel; or to a ping."""
    request_id = _request_id(envelope.id)
    if envelope.error is not None:
        reason = f"{envelope.error.code} {envelope.error.reason}"[:NOTICE_MAX_CHARS]
        if request_id is None:
            return Control(notice=reason)
        return Control(refused=(request_id, reason))
    if envelope.result is None:
        return None
    if request_id is None or request_id == PING_ID:
        return Control()
    return Control(ack=(request_id, None))


def _request_id(value: wire.Id) -> int | None:
    """Number of an answer's request; ids are sent and come back as text."""
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None
