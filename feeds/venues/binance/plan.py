"""Stage 1 of 8: what to ask Binance for, within its limits, and how to answer its session frames.

Every function is pure: the same listings and options give the same texts.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from feeds.contract import E9, Listing, ListingKind
from feeds.plans import connections, requests, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.binance import wire
from feeds.venues.binance.universe import NAME, pair_of

WS_URL: str = "wss://fstream.binance.com"
# A stream on the wrong path is accepted and stays silent.
PUBLIC_PATH: Final = "/public/stream"
MARKET_PATH: Final = "/market/stream"

LIMITS: Limits = Limits(
    channels_per_request=100,  # ours: a request of 100 names has some 4,000 bytes
    request_bytes_max=8_192,  # ours
    requests_per_s=4.0,  # the venue takes 10 messages a second, pings among them
    request_burst=4,
    channels_per_connection=200,  # "streams"
    connections_max=30,  # ours: the venue names 300 in five minutes
    frame_bytes_max=8_388_608,  # a chain of 752 options has 246,000 bytes
    heartbeat_s=60.0,
    silence_s=150.0,  # two pings and some
    ping_s=60.0,  # the venue's own pings are the socket's, and no frames
    connection_s=86_400.0,
)
MARKET_HEADS: tuple[bytes, ...] = (b'{"stream"',)

FIRST_REQUEST_ID: Final = 1001
PING_ID: Final = 1  # below the plan's
WINDOW_DEPTHS: Final = (5, 10, 20)  # the venue offers no other
NOTICE_MAX_CHARS: Final = 512
_MARK: Final = "@optionMarkPrice"
_PARTS_OF_OPTION: Final = 4
# Streams of the market path, by what follows the first @; the others are of the public path.
_OF_MARKET: Final = ("optionMarkPrice", "openInterest", "optionOpenInterest", "arr", "")
_NEW_SYMBOLS: Final = "!optionSymbol"
# The documentation has both names in one page, the venue's newer clients the first alone. Whichever
# does not exist stays silent.
_OPEN_INTEREST: Final = ("openInterest", "optionOpenInterest")
CHAIN_OPTION: Final = "marks"


def subscriptions(
    listings: Sequence[Listing], options: ChannelOptions, limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the streams of the listings into requests and connections within the limits.

    The plan does not depend on the order of the listings: streams of whole chains come first.

    Raises:
        SessionError: the streams need more connections than the limits allow, or one stream
            alone is longer than a request may be.
    """
    streams = _streams(listings, options)
    market = [s for s in streams if is_of_market(s)]
    public = [s for s in streams if not is_of_market(s)]
    plans = connections(NAME, market, limits, _subscribe, FIRST_REQUEST_ID,
                        measure=_unsubscribe, path=MARKET_PATH)  # fmt: skip
    plans += connections(NAME, public, limits, _subscribe, FIRST_REQUEST_ID,
                         measure=_unsubscribe, path=PUBLIC_PATH,
                         first_connection=len(plans))  # fmt: skip
    return within(NAME, plans, limits)


def resync(symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
    """Unsubscribe and subscribe again; nothing where the whole chain's stream brings the quotes."""
    streams = tuple(_top_streams(symbol, options))
    if not streams:
        return ()
    return (_unsubscribe(request_id, streams), _subscribe(request_id + 1, streams))


def unsubscribe(channels: Sequence[str], limits: Limits, request_id: int) -> tuple[Request, ...]:
    """Give streams back, in their order, cut into requests within the limits."""
    return requests(NAME, channels, limits, _unsubscribe, request_id)


def hello() -> tuple[str, ...]:
    """Nothing: the venue waits for subscriptions."""
    return ()


def ping() -> str:
    """Ask for the list of subscriptions: the answer is a sign of life on a quiet connection."""
    return msgspec.json.encode({"method": "LIST_SUBSCRIPTIONS", "id": PING_ID}).decode()


def control(frame: bytes) -> Control | None:
    """Say what a session must do about a frame; None for market data and rubbish."""
    if frame.startswith(MARKET_HEADS):
        return None
    try:
        answer = wire.read_answer(frame)
    except (ValueError, RecursionError):
        return None
    error = answer.error
    if error is None and answer.code is not None:
        error = wire.ErrorBody(answer.code, answer.msg)
    if error is not None:
        reason = f"{error.code} {error.msg}"[:NOTICE_MAX_CHARS]
        return Control(notice=reason) if answer.id is None else Control(refused=(answer.id, reason))
    if answer.id is None:
        return None
    return Control() if answer.id == PING_ID else Control(ack=(answer.id, None))


def symbol_of_channel(channel: str) -> str | None:
    """Option a stream is about; None for streams of whole chains.

    >>> symbol_of_channel("btc-261225-92000-c@depth10@100ms")
    'BTC-261225-92000-C'
    >>> symbol_of_channel("btcusdt@optionTrade") is None
    True
    """
    name = channel.partition("@")[0]
    return name.upper() if len(name.split("-")) == _PARTS_OF_OPTION else None


def quoted_chain(channel: str) -> tuple[str, str] | None:
    """Underlying and currency whose options' best prices come on a stream; None for others.

    >>> quoted_chain("btcusdt@optionMarkPrice")
    ('BTC', 'USDT')
    """
    pair, found, _ = channel.partition(_MARK)
    if not found:
        return None
    quote = next((q for q in ("usdt", "usdc", "usd") if pair.endswith(q)), "")
    return pair.removesuffix(quote).upper(), quote.upper()


def owes_first_frame(channel: str) -> bool:
    """Whether something comes on a stream soon: a chain's marks come each second."""
    return channel.endswith(_MARK)


def is_of_market(stream: str) -> bool:
    """Whether a stream is served under the market path."""
    return stream.partition("@")[2].partition("@")[0] in _OF_MARKET


def _streams(listings: Sequence[Listing], options: ChannelOptions) -> list[str]:
    """Every stream once, those of whole chains first."""
    ordered = sorted(
        (one for one in listings if one.kind == ListingKind.OPTION), key=lambda one: one.symbol
    )
    wide: set[str] = {_NEW_SYMBOLS} if ordered and options.notices else set()
    for listing in ordered:
        wide.update(_wide_streams(listing, options))
    own = (stream for one in ordered for stream in _top_streams(one.symbol, options))
    return [*sorted(wide), *own]


def _wide_streams(listing: Listing, options: ChannelOptions) -> Iterator[str]:
    pair = pair_of(listing).lower()
    if options.index:
        yield "!index@arr"
    if options.tickers or options.marks:
        yield f"{pair}{_MARK}"
    if options.tickers and listing.expiry_ns is not None:
        day = datetime.fromtimestamp(listing.expiry_ns // E9, UTC)
        for name in _OPEN_INTEREST:
            yield f"{pair}@{name}@{day:%y%m%d}"
    if options.trades:
        yield f"{pair}@optionTrade"


def _top_streams(symbol: str, options: ChannelOptions) -> Iterator[str]:
    """The stream of one option that its best prices come from: quotes are needless beside a book.

    The venue's increments of a book begin at a body fetched over HTTP, which a session does not do:
    `delta` takes the window, whose every frame is whole.
    """
    if options.book != "none":
        depth = next((d for d in WINDOW_DEPTHS if d >= options.book_depth), WINDOW_DEPTHS[-1])
        yield f"{symbol.lower()}@depth{depth}@100ms"
    elif options.quotes:
        yield f"{symbol.lower()}@bookTicker"


def _subscribe(request_id: int, streams: tuple[str, ...]) -> Request:
    return Request(request_id, streams, _text("SUBSCRIBE", request_id, streams))


def _unsubscribe(request_id: int, streams: tuple[str, ...]) -> Request:
    return Request(request_id, streams, _text("UNSUBSCRIBE", request_id, streams))


def _text(method: str, request_id: int, streams: tuple[str, ...]) -> str:
    message = {"method": method, "params": streams, "id": request_id}
    return msgspec.json.encode(message).decode()
