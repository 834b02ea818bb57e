"""Stage 1 of 8: what to ask OKX for, within its limits, and how to read its answers.

A channel is an object on the wire. Its name here is its channel and its subject, such as
`books:BTC-USD-260925-100000-C` or `opt-summary:BTC-USD`.

Every function is pure: the same listings and options give the same texts.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from feeds.contract import Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.okx import wire
from feeds.venues.okx.universe import KINDS, NAME, index_name

WS_URL: str = "wss://ws.okx.com:8443/ws/v5/public"

# Ours. The venue recommends connections of fewer than 30 books that are 50 or 400 levels deep
# (Order book channel), which are 52 for 1,500 options: more than the connect budget grants at once,
# for books that change far less often than those the advice is about.
BOOKS_PER_CONNECTION: Final = 100

LIMITS: Limits = Limits(
    channels_per_request=100,  # ours: a refusal hits no more; a connection starts with three
    request_bytes_max=65_536,  # "cannot exceed 64 KB" (WebSocket, Subscribe)
    # Ours, for all connections together and for their pings: 24 of them ping 1.2 times a second.
    requests_per_s=4.0,
    request_burst=80,
    channels_per_connection=3 * BOOKS_PER_CONNECTION,  # ours: an option has three by default
    # Ours: the venue limits only how fast public connections are opened, to 3 a second. One for
    # whole families and 23 for instruments are 2,300 options.
    connections_max=24,
    frame_bytes_max=4_194_304,  # ours: all perpetuals in one frame are about 400,000 bytes
    heartbeat_s=20.0,
    silence_s=50.0,  # two answers to pings and some
    ping_s=20.0,  # idle for 30 s a connection is cut (WebSocket, Connect)
    requests_per_hour=480,  # "subscribe/unsubscribe/login" (WebSocket, Connect)
)
MARKET_HEADS: tuple[bytes, ...] = (wire.PREFIX,)

FIRST_REQUEST_ID: Final = 1001
ID_DIGITS_MAX: Final = 18
UPGRADE_CODE: Final = "64008"  # the service is upgraded; connections close in 60 s
NOTICE_MAX_CHARS: Final = 512

# The part of the `arg` that holds the subject; of all other channels it is the instrument.
_SUBJECTS: Final = {
    "instruments": "instType",
    "opt-summary": "instFamily",
    "option-trades": "instFamily",
}
_OWING: Final = ("books:", "books5:", "bbo-tbt:")
_INST_TYPES: Final = {kind: name for name, kind in KINDS.items()}
# The words of an error 60018 are such as: wrong URL or channel:books,instId:X doesn't exist.
_NO_CHANNEL: Final = re.compile(r"channel:[^,\s]+(?:,[A-Za-z]+:[^,\s]+)+(?= doesn't exist)")


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the channels of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: channels of whole families come first,
    on connections of their own, then those of each instrument, by name, BOOKS_PER_CONNECTION to a
    connection. Nothing is asked for an empty universe.

    Raises:
        SessionError: the channels need more connections than the limits allow, or one channel
            alone is longer than a request may be.
    """
    ordered = sorted(listings, key=lambda listing: listing.symbol)
    groups = [sorted({c for listing in ordered for c in _wide_channels(listing, options)})]
    instruments = [listing for listing in ordered if listing.kind != ListingKind.INDEX]
    for begin in range(0, len(instruments), BOOKS_PER_CONNECTION):
        part = instruments[begin : begin + BOOKS_PER_CONNECTION]
        own = [c for listing in part for c in _own_channels(listing, options)]
        groups.append(list(dict.fromkeys(own)))
    plans: list[ConnectionPlan] = []
    for channels in groups:
        plans += connections(
            NAME,
            channels,
            limits,
            _subscribe,
            FIRST_REQUEST_ID,
            measure=_unsubscribe,
            first_connection=len(plans),
        )
    return within(NAME, plans, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again; the second request takes the id after `request_id`.

    Where quotes stand in for books, the quote channel is asked for again; where neither is
    subscribed, and for an index, there is nothing to send.
    """
    channels = tuple(_book_channels(symbol, options))[:1]
    if not channels or symbol.endswith(wire.INDEX_SUFFIX):
        return ()
    return (_unsubscribe(request_id, channels), _subscribe(request_id + 1, channels))


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give channels back, in their order, cut into requests within the limits.

    The requests are numbered upwards from `request_id`; no channels need no request.

    Raises:
        SessionError: one channel alone is longer than a request may be.
    """
    return requests(NAME, channels, limits, _unsubscribe, request_id)


def hello() -> tuple[str, ...]:
    """Nothing is said before the first request."""
    return ()


def ping() -> str:
    """Text that the venue answers with `pong`."""
    return "ping"


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish."""
    if frame.startswith(MARKET_HEADS):
        return None
    if frame == wire.PONG:
        return Control()
    try:
        envelope = wire.read_envelope(frame)
    except (ValueError, RecursionError):
        return None
    return None if envelope.event is None else _answer(envelope)


def channel_of(frame: bytes) -> str | None:
    """Channel of a market frame; None for anything else.

    >>> channel_of(b'{"arg":{"channel":"opt-summary","instFamily":"BTC-USD"},"data":[]}')
    'opt-summary:BTC-USD'
    """
    if not frame.startswith(wire.PREFIX):
        return None
    try:
        return _name(wire.read_arg(frame[wire.ARG_BEGIN : frame.find(b"}") + 1]))
    except (ValueError, RecursionError):
        return None


def symbol_of_channel(channel: str) -> str | None:
    """Listing a channel is about; None for channels of a whole family.

    >>> symbol_of_channel("books:BTC-USD-260925-100000-C")
    'BTC-USD-260925-100000-C'
    >>> symbol_of_channel("index-tickers:BTC-USD"), symbol_of_channel("opt-summary:BTC-USD")
    ('BTC-USD/INDEX', None)
    """
    name, _, subject = channel.partition(":")
    if name in _SUBJECTS or not subject:
        return None
    return subject + wire.INDEX_SUFFIX if name == "index-tickers" else subject


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a channel soon: the books and the touch begin with a snapshot.

    >>> owes_first_frame("bbo-tbt:BTC-USD-SWAP"), owes_first_frame("option-trades:BTC-USD")
    (True, False)
    """
    return channel.startswith(_OWING)


def _wide_channels(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    """Channels of a whole family, index or kind that a listing needs."""
    if options.index and listing.kind != ListingKind.SPOT:
        yield f"index-tickers:{index_name(listing)}"
    if listing.kind == ListingKind.INDEX:
        return
    if options.notices:
        yield f"instruments:{_INST_TYPES[listing.kind]}"
    if listing.kind == ListingKind.OPTION:
        family = listing.symbol.rsplit("-", 3)[0]
        if options.tickers:
            yield f"opt-summary:{family}"
        if options.trades:
            yield f"option-trades:{family}"


def _own_channels(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    symbol = listing.symbol
    yield from _book_channels(symbol, options)
    derivative = listing.kind != ListingKind.SPOT
    if options.tickers and derivative:
        yield f"open-interest:{symbol}"
    if options.marks and derivative:
        yield f"mark-price:{symbol}"
    if options.trades and listing.kind != ListingKind.OPTION:
        yield f"trades:{symbol}"


def _book_channels(symbol: str, options: ChannelOptions) -> Iterator[str]:
    """Channels of books and quotes; the first is where the listing's best prices come from."""
    if options.book == "delta":
        yield f"books:{symbol}"
    elif options.book == "window":
        yield f"books5:{symbol}"
    if options.quotes:
        yield f"bbo-tbt:{symbol}"


def _subscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return _request("subscribe", request_id, channels)


def _unsubscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return _request("unsubscribe", request_id, channels)


def _request(op: str, request_id: int, channels: tuple[str, ...]) -> Request:
    message = {"id": str(request_id), "op": op, "args": [_arg(channel) for channel in channels]}
    return Request(request_id, channels, msgspec.json.encode(message).decode())


def _arg(channel: str) -> dict[str, str]:
    name, _, subject = channel.partition(":")
    arg = {"channel": name}
    if name == "option-trades":
        arg["instType"] = "OPTION"
    return {**arg, _SUBJECTS.get(name, "instId"): subject}


def _name(arg: wire.Arg) -> str:
    """The channel's name here; the instrument says more than its family, and that than its type."""
    return f"{arg.channel}:{arg.inst_id or arg.inst_family or arg.uly or arg.inst_type}"


def _answer(envelope: wire.Envelope) -> Control:
    """An answer to a request of ours, which comes for each channel alone, or a notice."""
    text = envelope.id or ""
    request_id = int(text) if text.isdecimal() and len(text) <= ID_DIGITS_MAX else None
    if envelope.event == "subscribe" and envelope.arg is not None:
        return Control(accepted=(_name(envelope.arg),))
    if envelope.event == "unsubscribe" and request_id is not None:
        return Control(ack=(request_id, ()))
    reason = f"{envelope.code} {envelope.msg}"[:NOTICE_MAX_CHARS]
    if envelope.event == "error":
        unknown = _NO_CHANNEL.search(envelope.msg)
        if unknown is not None:
            return Control(denied=(_name_in_words(unknown[0]),))
        if request_id is not None:
            return Control(refused=(request_id, reason))
    if envelope.event in ("error", "notice"):
        upgrade = envelope.code == UPGRADE_CODE
        return Control(notice=reason, maintenance=True if upgrade else None)
    return Control()


def _name_in_words(words: str) -> str:
    """Name of `channel:books,instId:X`."""
    arg = dict(pair.split(":", 1) for pair in words.split(","))
    return _name(msgspec.convert(arg, wire.Arg))
