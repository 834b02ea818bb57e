"""Stage 1 of 8: what to ask Gate for, within its limits, and how to answer its session frames.

Every function is pure: the same listings and options give the same texts. A channel of ours is the
venue's word and its subject: `options.ul_trades:BTC_USDT`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

import msgspec

from feeds.contract import Listing, ListingKind
from feeds.plans import requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.gate import wire
from feeds.venues.gate.universe import NAME, QUOTE, index_symbol

WS_URL: str = "wss://op-ws.gateio.live/v4/ws"

LIMITS: Limits = Limits(
    # Ours, all but the frame's size: the venue names no limit but that there is one on what an
    # underlying expands to, which is not asked for.
    channels_per_request=100,
    request_bytes_max=8_192,  # 100 of the longest names have some 4,000 bytes
    requests_per_s=10.0,
    request_burst=20,
    channels_per_connection=400,
    connections_max=24,
    frame_bytes_max=1_048_576,  # a book of 20 levels a side has some 1,500 bytes
    heartbeat_s=15.0,
    silence_s=40.0,  # two pongs and some
    ping_s=15.0,  # the server's own pings are the socket's, and no frames
)

FIRST_REQUEST_ID: Final = 1001
BOOK: Final = "options.order_book"
QUOTES: Final = "options.book_ticker"
TICKERS: Final = "options.contract_tickers"
TRADES: Final = "options.ul_trades"
INDEX: Final = "options.ul_price"
OF_INSTRUMENT: Final = (BOOK, QUOTES, TICKERS)
# Levels a side of a whole book: the most that both of the documentation's lists have.
BOOK_LEVELS: Final = "20"
BOOK_ACCURACY: Final = "0"  # prices as they are; the venue offers no other
PONG: Final = "options.pong"
NOTICE_MAX_CHARS: Final = 512

_HEAD_BYTES: Final = 192  # where a market frame has said what it is
_MARKET_EVENTS: Final = (b'"event":"update"', b'"event":"all"')
_UNSTAMPED: Final = '{"time":0,'
_PING: Final = _UNSTAMPED + '"channel":"options.ping"}'


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the channels of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: channels of whole underlyings come
    first, then tickers, quotes and books, by name. A book has a request of its own.

    Raises:
        SessionError: the channels need more connections than the limits allow, or one channel
            alone is longer than a request may be.
    """
    channels = _channels(listings, options)
    room = limits.channels_per_connection
    plans = tuple(
        ConnectionPlan(number, _requests(channels[begin : begin + room], limits, FIRST_REQUEST_ID))
        for number, begin in enumerate(range(0, len(channels), room))
    )
    return within(NAME, plans, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again, which brings a whole book; quotes stand in for books.

    The second request takes the id after `request_id`. Where neither is subscribed, and for an
    index, there is nothing to send.
    """
    channels = tuple(_tops(symbol, options)) if _is_option(symbol) else ()
    if not channels:
        return ()
    return (_unsubscribe(request_id, channels), _subscribe(request_id + 1, channels))


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give channels back, cut into requests of one kind each, numbered upwards.

    Raises:
        SessionError: one channel alone is longer than a request may be.
    """
    return _requests(sorted(channels, key=_word_of), limits, request_id, "unsubscribe")


def hello() -> tuple[str, ...]:
    """Nothing: market data needs no login."""
    return ()


def ping() -> str:
    """Ask for a sign of life."""
    return _PING


def stamped(text: str, now_ns: int) -> str:
    """A request with the time at which it is sent, in seconds: the venue requires one.

    >>> stamped('{"time":0,"channel":"options.ping"}', 1_630_566_602_900_000_000)
    '{"time":1630566602,"channel":"options.ping"}'
    """
    return f'{{"time":{now_ns // 10**9},{text.removeprefix(_UNSTAMPED)}'


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish."""
    head = frame[:_HEAD_BYTES]
    if any(event in head for event in _MARKET_EVENTS):
        return None
    try:
        envelope = wire.read_envelope(frame)
    except (ValueError, RecursionError):
        return None
    if envelope.channel == PONG:
        return Control()
    return _answer(envelope) if envelope.event in ("subscribe", "unsubscribe") else None


def channel_of(frame: bytes) -> str | None:
    """Channel of a market frame about one instrument; None for anything else.

    >>> channel_of(b'{"channel":"options.book_ticker","event":"update","result":{"s":"X"}}')
    'options.book_ticker:X'
    """
    try:
        envelope = wire.read_envelope(frame)
        if envelope.channel not in OF_INSTRUMENT or envelope.event not in ("update", "all"):
            return None
        subject = wire.read_subject(envelope.result)
    except (ValueError, RecursionError):
        return None
    return _channel(envelope.channel, subject.contract or subject.name or subject.s)


def symbol_of_channel(channel: str) -> str | None:
    """Listing a channel is about; None for the prints of an underlying.

    >>> symbol_of_channel("options.order_book:BTC_USDT-20211130-50000-C")
    'BTC_USDT-20211130-50000-C'
    >>> symbol_of_channel("options.ul_price:BTC_USDT"), symbol_of_channel("options.ul_trades:X")
    ('BTC_USDT/INDEX', None)
    """
    word, _, subject = channel.partition(":")
    if word == INDEX:
        return index_symbol(subject)
    return subject if word in OF_INSTRUMENT and subject else None


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a channel soon: a whole book within 250 ms, a ticker each second.

    >>> owes_first_frame("options.order_book:X"), owes_first_frame("options.ul_trades:BTC_USDT")
    (True, False)
    """
    return channel.startswith((BOOK, TICKERS))


def _channels(listings: Sequence[Listing], options: ChannelOptions) -> list[str]:
    """Every channel once: those of underlyings, then tickers, quotes and books."""
    tiers: tuple[list[str], ...] = ([], [], [])
    wide, tickers, tops = tiers
    for listing in sorted(listings, key=lambda one: one.symbol):
        underlying = f"{listing.underlying}_{QUOTE}"
        if options.index:
            wide.append(_channel(INDEX, underlying))
        if listing.kind != ListingKind.OPTION:
            continue
        if options.trades:
            wide.append(_channel(TRADES, underlying))
        if options.tickers or options.marks:
            tickers.append(_channel(TICKERS, listing.symbol))
        tops += _tops(listing.symbol, options)
    return [*sorted(set(wide)), *tickers, *sorted(tops, key=_word_of)]


def _tops(symbol: str, options: ChannelOptions) -> Iterator[str]:
    """The channel of one option that its best prices come from: quotes are needless beside a book.

    The venue's increments of a book begin at a body fetched over HTTP, which a session does not do:
    `delta` and `window` both take whole books.
    """
    if options.book != "none":
        yield _channel(BOOK, symbol)
    elif options.quotes:
        yield _channel(QUOTES, symbol)


def _is_option(symbol: str) -> bool:
    return not symbol.endswith("/INDEX")


def _channel(word: str, subject: str) -> str:
    return f"{word}:{subject}"


def _word_of(channel: str) -> str:
    return channel.partition(":")[0]


def _requests(
    channels: Sequence[str], limits: Limits, first_id: int, event: str = "subscribe"
) -> tuple[Request, ...]:
    """Cut channels, in their order, into requests of one word each, a book in each of its own."""
    found: tuple[Request, ...] = ()
    word = _subscribe if event == "subscribe" else _unsubscribe
    for kind, group in groupby(channels, _word_of):
        some = replace(limits, channels_per_request=1) if kind == BOOK else limits
        found += requests(
            NAME, list(group), some, word, first_id + len(found), measure=_unsubscribe
        )
    return found


def _subscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return _request("subscribe", request_id, channels)


def _unsubscribe(request_id: int, channels: tuple[str, ...]) -> Request:
    return _request("unsubscribe", request_id, channels)


def _request(event: str, request_id: int, channels: tuple[str, ...]) -> Request:
    """Word a request for channels of one word; its time is put in when it is sent."""
    word = _word_of(channels[0]) if channels else ""
    payload = [channel.partition(":")[2] for channel in channels]
    if word == BOOK:
        payload += [BOOK_LEVELS, BOOK_ACCURACY]
    message = {"time": 0, "id": request_id, "channel": word, "event": event, "payload": payload}
    return Request(request_id, channels, msgspec.json.encode(message).decode())


def _answer(envelope: wire.Envelope) -> Control:
    """An answer to a request: for all of its channels, or why for none."""
    if envelope.error is None:
        return Control() if envelope.id is None else Control(ack=(envelope.id, None))
    reason = f"{envelope.error.code} {envelope.error.message}"[:NOTICE_MAX_CHARS]
    if envelope.id is None:
        return Control(notice=reason)
    return Control(refused=(envelope.id, reason))
