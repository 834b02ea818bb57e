"""Stage 1 of 8: what to ask Coincall for, within its limits, and how to answer its session frames.

Every function is pure: the same listings and options give the same texts. A channel of ours is the
venue's data type and its subject: `orderBook:BTCUSD-27DEC24-65000-C`, and of the chain of an expiry
`tOption:BTCUSD:1735286400000`.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from feeds.contract import Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.coincall import wire
from feeds.venues.coincall.universe import NAME, NS_PER_MS, root_of

WS_URL: str = "wss://ws.coincall.com/options"

LIMITS: Limits = Limits(
    channels_per_request=1,  # a request names one
    request_bytes_max=1_024,  # ours: the longest has some 150
    # Ours, down to the frame: the venue names none.
    requests_per_s=20.0,
    request_burst=50,
    channels_per_connection=300,
    connections_max=24,
    frame_bytes_max=1_048_576,  # 100 levels a side are some 8,000 bytes, a chain some 40,000
    heartbeat_s=10.0,
    silence_s=25.0,  # two answers to heartbeats; the venue ends what is idle for 30
    ping_s=10.0,
    answers=False,  # an answer says neither to what nor of what
)

FIRST_REQUEST_ID: Final = 1001
BOOK: Final = "orderBook"
VALUES: Final = "bsInfo"
CHAIN: Final = "tOption"
TRADES: Final = "lastTrade"
# What `dt` says a message is.
TYPES: Final = {3: VALUES, 4: CHAIN, 5: BOOK, 6: TRADES}
OF_INSTRUMENT: Final = (BOOK, VALUES, TRADES)
HEARTBEAT: Final = 11  # `c` of its answer
FINE: Final = 1  # `rc` of what was done
_PING: Final = '{"action":"heartbeat"}'
MARKET_HEADS: tuple[bytes, ...] = (b'{"dt":',)


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the channels of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: chains come first, then what each option
    needs, by name.

    Raises:
        SessionError: the channels need more connections than the limits allow, or one channel
            alone is longer than a request may be.
    """
    channels = _channels(listings, options)
    plans = connections(NAME, channels, limits, _subscribe, FIRST_REQUEST_ID, measure=_unsubscribe)
    return within(NAME, plans, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again, which brings a window; the second takes the next id.

    Where there is no book, and for an index, there is nothing to send.
    """
    channels = tuple(_tops(symbol, options)) if not symbol.endswith("/INDEX") else ()
    if not channels:
        return ()
    return (_unsubscribe(request_id, channels), _subscribe(request_id + 1, channels))


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give channels back, in their order, one a request, numbered upwards.

    Raises:
        SessionError: one channel alone is longer than a request may be.
    """
    return requests(NAME, channels, limits, _unsubscribe, request_id)


def hello() -> tuple[str, ...]:
    """Nothing: the address has said who we are."""
    return ()


def ping() -> str:
    """Ask for a sign of life."""
    return _PING


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish.

    An answer does not say to what; one that is not well becomes a notice.
    """
    if frame.startswith(MARKET_HEADS):
        return None
    try:
        envelope = wire.read_envelope(frame)
    except (ValueError, RecursionError):
        return None
    if envelope.dt is not None or envelope.rc is None:
        return None
    if envelope.rc == FINE:
        return Control()
    return Control(notice=f"code {envelope.c}: answer was {envelope.rc}")


def channel_of(frame: bytes) -> str | None:
    """Channel of a market frame about one option; None for anything else.

    >>> channel_of(b'{"dt":5,"c":20,"d":{"s":"X","bids":[]}}')
    'orderBook:X'
    """
    try:
        envelope = wire.read_envelope(frame)
        word = TYPES.get(-1 if envelope.dt is None else envelope.dt)
        if word not in (BOOK, VALUES):
            return None
        return f"{word}:{wire.read_subject(envelope.d).s}"
    except (ValueError, RecursionError):
        return None


def symbol_of_channel(channel: str) -> str | None:
    """Option a channel is about; None for chains.

    >>> symbol_of_channel("orderBook:BTCUSD-27DEC24-65000-C")
    'BTCUSD-27DEC24-65000-C'
    >>> symbol_of_channel("tOption:BTCUSD:1735286400000") is None
    True
    """
    word, _, subject = channel.partition(":")
    return subject if word in OF_INSTRUMENT and subject else None


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a channel soon: a book within 100 ms.

    >>> owes_first_frame("orderBook:X"), owes_first_frame("bsInfo:X")
    (True, False)
    """
    return channel.startswith(BOOK)


def _channels(listings: Sequence[Listing], options: ChannelOptions) -> list[str]:
    """Every channel once: chains, then what each option needs."""
    ordered = sorted(
        (one for one in listings if one.kind == ListingKind.OPTION), key=lambda one: one.symbol
    )
    chains = {_chain(one) for one in ordered} if options.tickers else set()
    own = (channel for one in ordered for channel in _own(one.symbol, options))
    return [*sorted(chains), *own]


def _chain(option: Listing) -> str:
    assert option.expiry_ns is not None
    return f"{CHAIN}:{root_of(option.underlying)}:{option.expiry_ns // NS_PER_MS}"


def _own(symbol: str, options: ChannelOptions) -> Iterator[str]:
    if options.tickers or options.marks:
        yield f"{VALUES}:{symbol}"
    if options.trades:
        yield f"{TRADES}:{symbol}"
    yield from _tops(symbol, options)


def _tops(symbol: str, options: ChannelOptions) -> Iterator[str]:
    """The channel that an option's best prices come from: whole windows, whatever is wanted."""
    if options.book != "none" or options.quotes:
        yield f"{BOOK}:{symbol}"


def _subscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return _request("subscribe", request_id, channels)


def _unsubscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return _request("unSubscribe", request_id, channels)


def _request(action: str, request_id: int, channels: tuple[str, ...]) -> Request:
    """Word a request for one channel; its number is ours alone."""
    word, _, subject = (channels[0] if channels else "").partition(":")
    root, _, end = subject.partition(":")
    payload = {"symbol": root, "end": int(end)} if end else {"symbol": root}
    message = {"action": action, "dataType": word, "payload": payload}
    return Request(request_id, channels, msgspec.json.encode(message).decode())
