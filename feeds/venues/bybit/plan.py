"""Stage 1 of 8: what to ask Bybit for, within its limits, and how to answer its session frames.

Every function is pure: the same listings and options give the same texts.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from feeds.contract import Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.bybit import wire
from feeds.venues.bybit.decode import PREFIX
from feeds.venues.bybit.universe import NAME, SPOT_SUFFIX

WS_URL: str = "wss://stream.bybit.com/v5/public"
OPTION_PATH: Final = "/option"
LINEAR_PATH: Final = "/linear"
SPOT_PATH: Final = "/spot"
# BTCUSDT is a perpetual on one path and a spot on the other, in channels and frames of one shape.
NAMED_PATHS: Final = frozenset({SPOT_PATH})

LIMITS: Limits = Limits(
    channels_per_request=450,
    request_bytes_max=20_900,  # "args" may have 21,000 characters
    requests_per_s=5.0,  # ours: the venue names none for requests on a socket
    request_burst=10,  # ours
    # The venue takes 2,000 args on a connection of options, but its 21,000 characters may be meant
    # for all args of a connection: 450 of the longest names stay below that too.
    channels_per_connection=450,
    connections_max=64,  # ours: 500 in five minutes may be opened, so that seven reconnects fit
    frame_bytes_max=1_048_576,  # ours: a book of 100 levels a side takes some 5,000 bytes
    heartbeat_s=20.0,
    silence_s=50.0,  # two pings and some
    ping_s=20.0,  # the venue's advice; it cuts a connection without any after ten minutes
)
MARKET_HEADS: tuple[bytes, ...] = (PREFIX,)

FIRST_REQUEST_ID: Final = 1001
# Depths of the channels of changes, shallow and deep. On the option socket, 1 and 50 are accepted
# and stay silent.
OPTION_DEPTHS: Final = (25, 100)
LINEAR_DEPTHS: Final = (50, 200)  # and of spots
SPOT_ARGS_MAX: Final = 10  # "for each subscription request sent to one connection"
NOTICE_MAX_CHARS: Final = 512

_ENDS_OF_OPTION: Final = tuple(r + s for r in ("-C", "-P") for s in ("", "-USDT", "-USDC"))
_ENDS_OF_ONE: Final = ("USDT", "USDC", "PERP", SPOT_SUFFIX)
_PING: Final = '{"op":"ping"}'
# Where a frame names its instrument.
_NAMES: Final = re.compile(rb'("(?:topic|s|symbol)"\s*:\s*"[^"]*)"')
_NAMED: Final = rb"\1" + SPOT_SUFFIX.encode() + b'"'
_KINDS: Final = {
    OPTION_PATH: (ListingKind.OPTION,),
    LINEAR_PATH: (ListingKind.PERP, ListingKind.FUTURE, ListingKind.INDEX),
    SPOT_PATH: (ListingKind.SPOT,),
}


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the channels of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings. On each of the three paths trades come
    first, then tickers, then books.

    Raises:
        SessionError: the channels need more connections than the limits allow, or one channel
            alone is longer than a request may be.
    """
    ordered = sorted(listings, key=lambda listing: listing.symbol)
    plans: tuple[ConnectionPlan, ...] = ()
    for path, kinds in _KINDS.items():
        channels = _channels([one for one in ordered if one.kind in kinds], options)
        plans += connections(
            NAME, channels, _limits_of(channels, limits), _subscribe, FIRST_REQUEST_ID,
            measure=_unsubscribe, path=path, first_connection=len(plans),
        )  # fmt: skip
    return within(NAME, plans, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again, which brings a snapshot.

    The second request takes the id after `request_id`. Where there is no book, the channel that
    the best prices come from is asked for again; where there is none either, there is nothing to
    send.
    """
    channels = tuple(_books(symbol, options) or _quotes(symbol, options))
    if not channels:
        return ()
    return (_unsubscribe(request_id, channels), _subscribe(request_id + 1, channels))


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give channels back, in their order, cut into requests within the limits.

    Raises:
        SessionError: one channel alone is longer than a request may be.
    """
    return requests(NAME, channels, _limits_of(channels, limits), _unsubscribe, request_id)


def named(frame: bytes) -> bytes:
    """A frame of the spot socket with the names of our listings, which end in SPOT_SUFFIX.

    One with an escape, which no name of the venue has, is cut to an error: read, it might name the
    perpetual.

    >>> named(b'{"topic":"orderbook.1.BTCUSDT","data":{"s":"BTCUSDT","u":5}}')
    b'{"topic":"orderbook.1.BTCUSDT/SPOT","data":{"s":"BTCUSDT/SPOT","u":5}}'
    """
    return frame[:1] if b"\\" in frame else _NAMES.sub(_NAMED, frame)


def hello() -> tuple[str, ...]:
    """Nothing: the venue waits for subscriptions."""
    return ()


def ping() -> str:
    """Ask for a sign of life."""
    return _PING


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish.

    The option socket answers with the names of the channels, the others with the request id.
    """
    if frame.startswith(MARKET_HEADS):
        return None
    try:
        answer = wire.read_envelope(frame)
        if answer.topic is not None:
            return None
        if answer.op in ("ping", "pong"):
            return Control()
        if answer.type == "COMMAND_RESP" and bytes(answer.data):
            topics = wire.read_topics(answer.data)
            return Control(accepted=tuple(topics.success_topics), denied=tuple(topics.fail_topics))
    except (ValueError, RecursionError):
        return None
    return _answer(answer) if answer.success is not None else None


def symbol_of_channel(channel: str) -> str | None:
    """Instrument a channel is about; None for the prints of a whole coin.

    >>> symbol_of_channel("orderbook.25.XRP-30OCT26-0.4-P-USDT")
    'XRP-30OCT26-0.4-P-USDT'
    >>> symbol_of_channel("publicTrade.BTC") is None, symbol_of_channel("publicTrade.BTCUSDT")
    (True, 'BTCUSDT')
    >>> symbol_of_channel("publicTrade.BTCUSDT/SPOT")
    'BTCUSDT/SPOT'
    """
    topic, _, rest = channel.partition(".")
    if topic == "orderbook":
        return rest.partition(".")[2] or None
    if topic == "tickers":
        return rest or None
    of_one = "-" in rest or rest.endswith(_ENDS_OF_ONE)
    return rest if topic == "publicTrade" and of_one else None


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a channel soon: a book's snapshot, a ticker's present state.

    >>> owes_first_frame("tickers.BTCUSDT"), owes_first_frame("publicTrade.BTC")
    (True, False)
    """
    return channel.startswith(("orderbook.", "tickers."))


def _channels(listings: Sequence[Listing], options: ChannelOptions) -> list[str]:
    """Every channel of one path once: trades, tickers, best prices, books."""
    tiers: tuple[list[str], ...] = ([], [], [], [])
    trades, tickers, quotes, books = tiers
    for listing in listings:
        symbol, option = listing.symbol, listing.kind == ListingKind.OPTION
        if listing.kind == ListingKind.INDEX:
            if options.index:
                tickers.append(f"tickers.{symbol.partition('/')[0]}")
            continue
        if options.trades:
            trades.append(f"publicTrade.{listing.underlying if option else symbol}")
        wanted = options.tickers or (options.marks and option)
        if wanted and listing.kind != ListingKind.SPOT:  # whose ticker has no mark
            tickers.append(f"tickers.{symbol}")
        if options.quotes:
            quotes += _quotes(symbol, options)
        books += _books(symbol, options)
    return list(dict.fromkeys(channel for tier in tiers for channel in tier))


def _books(symbol: str, options: ChannelOptions) -> list[str]:
    """The channel of a book's changes; it also serves who wants windows, which the venue lacks."""
    if options.book == "none":
        return []
    shallow, deep = OPTION_DEPTHS if _is_option(symbol) else LINEAR_DEPTHS
    return [f"orderbook.{shallow if options.book_depth <= shallow else deep}.{symbol}"]


def _quotes(symbol: str, options: ChannelOptions) -> Iterator[str]:
    """The channel of the best prices: an option's ticker, whatever it is subscribed for."""
    if _is_option(symbol):
        if options.quotes or options.tickers or options.marks:
            yield f"tickers.{symbol}"
    elif options.quotes:
        yield f"orderbook.1.{symbol}"


def _limits_of(channels: Collection[str], limits: Limits) -> Limits:
    """Limits for channels of one path."""
    if not any(channel.endswith(SPOT_SUFFIX) for channel in channels):
        return limits
    most = min(limits.channels_per_request, SPOT_ARGS_MAX)
    return replace(limits, channels_per_request=most)


def _is_option(symbol: str) -> bool:
    return symbol.endswith(_ENDS_OF_OPTION)


def _subscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text("subscribe", request_id, channels))


def _unsubscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return Request(request_id, channels, _text("unsubscribe", request_id, channels))


def _text(op: str, request_id: int, channels: tuple[str, ...]) -> str:
    args = [channel.removesuffix(SPOT_SUFFIX) for channel in channels]
    message = {"req_id": str(request_id), "op": op, "args": args}
    return msgspec.json.encode(message).decode()


def _answer(answer: wire.Envelope) -> Control:
    """An answer to a whole request: its acknowledgement, its refusal, or a complaint."""
    text = str(answer.req_id)
    request_id = int(text) if text.isdecimal() and len(text) <= 18 else None
    if answer.success:
        return Control() if request_id is None else Control(ack=(request_id, None))
    reason = answer.ret_msg[:NOTICE_MAX_CHARS]
    if request_id is None:
        return Control(notice=reason)
    return Control(refused=(request_id, reason))
