"""Stage 1 of 8: what to ask Delta for, within its limits, and how to answer its session frames.

Every function is pure: the same listings and options give the same texts. A channel's text is its
name, a colon and what it is about (`l2_updates:C-BTC-90000-310126`); a few are about everything and
end with their name. The venue's requests have no ids, and it answers for channels by name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from feeds.contract import Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.delta import wire
from feeds.venues.delta.dialect import LONG, SHORT, Dialect

LIMITS: Limits = Limits(
    channels_per_request=100,  # 101 symbols in one request were seen to work (2026-09-23)
    request_bytes_max=16_384,  # ours: a hundred channels of the longest names take some 4,000
    requests_per_s=5.0,  # ours: the venue names no limit for requests
    request_burst=10,  # ours
    # The venue takes at most 100 symbols of its book channel on a connection. Other channels have
    # no limit, but one number holds for all, so that no later listing can break this one.
    channels_per_connection=100,
    connections_max=60,  # 150 an address in 5 minutes: all may be opened twice
    frame_bytes_max=1_048_576,  # ours: the largest whole book seen has some 10,000 bytes
    heartbeat_s=30.0,  # as documented; every 5 s was seen (2026-09-23)
    silence_s=35.0,  # documented: without a heartbeat for so long the connection is to be renewed
    listing_change_s=(43_200,),  # expiries are at 12:00 UTC
)


HELLO: Final = ('{"type":"enable_heartbeat"}',)
FIRST_REQUEST_ID: Final = 1
# Events of system_status: down on purpose, and back.
MAINTENANCE: Final = {"maintenance_started": True, "maintenance_finished": False}
# Words that stand for all products of a kind, in place of a symbol.
CATEGORIES: Final = {
    ListingKind.OPTION: ("call_options", "put_options"),
    ListingKind.PERP: ("perpetual_futures",),
    ListingKind.FUTURE: ("futures",),
}
_WIDE: Final = frozenset(word for words in CATEGORIES.values() for word in words)
_OWING: Final = tuple(
    f"{name}:"
    for dialect in (LONG, SHORT)
    for name in (dialect.book, dialect.window, dialect.ticker)
)
# What frequent market frames begin with: their keys mostly stand in alphabetical order.
MARKET_HEADS: tuple[bytes, ...] = (
    b'{"a":',
    b'{"action":"update"',
    b'{"action":"snapshot"',
    b'{"ap":',
    b'{"ask_',
    b'{"buy',
    b'{"close":',
    b'{"contract_type":',
    b'{"d":',
    b'{"greeks":',
    b'{"p":',
    b'{"price":',
    b'{"type":"v2/ticker"',
)
NOTICE_MAX_CHARS: Final = 512


def subscriptions(
    venue: str,
    dialect: Dialect,
    listings: Sequence[Listing],
    options: ChannelOptions,
    limits: Limits,
) -> tuple[ConnectionPlan, ...]:
    """Cut the channels of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: channels of whole kinds come first, then
    tickers and quotes by name, then books on connections of their own. Nothing is asked for an
    empty universe.

    Raises:
        SessionError: the channels need more connections than the limits allow, or one channel
            alone is longer than a request may be.
    """
    ordered = sorted(listings, key=lambda listing: listing.symbol)
    traded = [listing.symbol for listing in ordered if listing.kind != ListingKind.INDEX]
    wide = {channel for listing in ordered for channel in _wide(dialect, listing, options)}
    light = (channel for symbol in traded for channel in _light(dialect, symbol, options))
    depth = (channel for symbol in traded for channel in _depth(dialect, symbol, options))
    plans = connections(
        venue,
        [*sorted(wide), *dict.fromkeys(light)],
        limits,
        _subscribe,
        FIRST_REQUEST_ID,
        measure=_unsubscribe,
    )
    room = limits.channels_per_connection
    if options.book == "window":
        room = min(room, dialect.windows_max)
    plans += connections(
        venue,
        list(dict.fromkeys(depth)),
        replace(limits, channels_per_connection=room),
        _subscribe,
        FIRST_REQUEST_ID,
        measure=_unsubscribe,
        first_connection=len(plans),
    )
    return within(venue, plans, limits)


def resync(
    dialect: Dialect, symbol: str, options: ChannelOptions, request_id: int
) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again; the second request takes the id after `request_id`.

    Where quotes stand in for books, the quote channel is asked for again; where neither is
    subscribed, there is nothing to send.
    """
    channels = tuple(_depth(dialect, symbol, options))
    if not channels and options.quotes:
        channels = (f"{dialect.quote}:{symbol}",)
    if not channels:
        return ()
    return (_unsubscribe(request_id, channels), _subscribe(request_id + 1, channels))


def unsubscribe(
    venue: str, channels: Sequence[str], limits: Limits, request_id: int
) -> tuple[Request, ...]:
    """Give channels back, in their order, cut into requests within the limits.

    Raises:
        SessionError: one channel alone is longer than a request may be.
    """
    return requests(venue, channels, limits, _unsubscribe, request_id)


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish.

    A refusal names a channel and no symbols; it is told to the operator, and the request whose
    symbols it was about is asked again when its answer is overdue.
    """
    if frame.startswith(MARKET_HEADS):
        return None
    try:
        envelope = wire.read_envelope(frame)
    except (ValueError, RecursionError):
        return None
    if envelope.action == "error":  # The snapshot of a book that it accepted could not be sent.
        symbols = (envelope.symbol or envelope.sy or "",)
        return Control(resync=symbols, notice=envelope.msg[:NOTICE_MAX_CHARS])
    if envelope.type == "subscriptions":
        return _answer(envelope.channels)
    if envelope.type in ("error", "system_status"):
        text = envelope.message or frame.decode(errors="replace")
        return Control(notice=text[:NOTICE_MAX_CHARS], maintenance=_down(envelope))
    return Control() if envelope.type in ("heartbeat", "pong") else None


def channel_of(frame: bytes) -> str | None:
    """Channel of a market frame, as the plan writes it; None for anything else.

    >>> channel_of(b'{"a":[],"b":[],"sy":"BTCUSD","type":"ob_l2"}')
    'ob_l2:BTCUSD'
    """
    try:
        envelope = wire.read_envelope(frame)
    except (ValueError, RecursionError):
        return None
    return _channel(envelope) if envelope.symbol or envelope.sy else None


def symbol_of_channel(channel: str) -> str | None:
    """Instrument or index a channel is about; None for channels of a whole kind.

    >>> symbol_of_channel("l2_updates:C-BTC-90000-310126")
    'C-BTC-90000-310126'
    >>> symbol_of_channel("all_trades:call_options") is None
    True
    """
    symbol = channel.partition(":")[2]
    return None if not symbol or symbol in _WIDE else symbol


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a channel soon: a book's snapshot, a window, a ticker.

    >>> owes_first_frame("ob_updates:BTCUSD"), owes_first_frame("trades:call_options")
    (True, False)
    """
    return channel.startswith(_OWING)


def _wide(dialect: Dialect, listing: Listing, options: ChannelOptions) -> Iterator[str]:
    """Channels of a whole kind or index that a listing needs."""
    if options.notices:
        yield dialect.status
    if listing.kind == ListingKind.INDEX:
        if options.index:
            yield f"{dialect.index}:{listing.symbol}"
        return
    for category in CATEGORIES[listing.kind]:
        if options.trades:
            yield f"{dialect.trade}:{category}"
        if options.marks:
            yield f"{dialect.mark}:{category}"


def _light(dialect: Dialect, symbol: str, options: ChannelOptions) -> Iterator[str]:
    if options.quotes:
        yield f"{dialect.quote}:{symbol}"
    if options.tickers:
        yield f"{dialect.ticker}:{symbol}"


def _depth(dialect: Dialect, symbol: str, options: ChannelOptions) -> Iterator[str]:
    if options.book == "delta":
        yield f"{dialect.book}:{symbol}"
    elif options.book == "window":
        yield f"{dialect.window}:{symbol}"


def _subscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text("subscribe", channels))


def _unsubscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text("unsubscribe", channels))


def _text(kind: str, channels: Sequence[str]) -> str:
    symbols_of: dict[str, list[str]] = {}
    for channel in channels:
        name, _, symbol = channel.partition(":")
        symbols_of.setdefault(name, []).extend([symbol] if symbol else [])
    named = [
        {"name": name, "symbols": symbols} if symbols else {"name": name}
        for name, symbols in symbols_of.items()
    ]
    return msgspec.json.encode({"type": kind, "payload": {"channels": named}}).decode()


def _answer(channels: Sequence[wire.Named]) -> Control:
    """Channels that were accepted; a refused name stands for itself, its symbols are not told."""
    accepted = [
        f"{channel.name}:{symbol}" for channel in channels for symbol in channel.symbols or ()
    ]
    accepted += [c.name for c in channels if not c.symbols and c.error is None]
    refused = [channel for channel in channels if channel.error is not None]
    reasons = "; ".join(f"{channel.name}: {channel.error}" for channel in refused)
    return Control(
        accepted=tuple(accepted),
        denied=tuple(channel.name for channel in refused),
        notice=reasons[:NOTICE_MAX_CHARS] or None,
    )


def _down(envelope: wire.Envelope) -> bool | None:
    """Whether the venue says that it is down on purpose; None where it says nothing of it.

    A subscription begins with how things stand: whoever was away for the notices hears it there.
    """
    if envelope.event == "snapshot":
        return envelope.status == "maintenance"
    return MAINTENANCE.get(envelope.event)


def _channel(envelope: wire.Envelope) -> str:
    return f"{envelope.type}:{envelope.symbol or envelope.sy}"
