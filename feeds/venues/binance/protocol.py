"""Stage 1 of 8: what Binance's sockets of options and of futures share: requests, answers, windows.

Every function is pure; feeds/venues/binance_futures takes them from here.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from feeds.plans import connections, within
from feeds.venue import ChannelOptions, ConnectionPlan, Control, Limits, Request
from feeds.venues.binance import wire

WS_URL: str = "wss://fstream.binance.com"
# A stream on the wrong path is accepted and stays silent.
PUBLIC_PATH: Final = "/public/stream"
MARKET_PATH: Final = "/market/stream"
MARKET_HEADS: tuple[bytes, ...] = (b'{"stream"',)

FIRST_REQUEST_ID: Final = 1001
PING_ID: Final = 1  # below the plan's
WINDOW_DEPTHS: Final = (5, 10, 20)  # the venue offers no other
NOTICE_MAX_CHARS: Final = 512


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


def two_paths(
    venue: str, market: Sequence[str], public: Sequence[str], limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """Cut the streams of both paths, in their order, into requests and connections.

    Raises:
        SessionError: the streams need more connections than the limits allow, or one stream
            alone is longer than a request may be.
    """
    plans = connections(venue, market, limits, subscribing, FIRST_REQUEST_ID,
                        measure=unsubscribing, path=MARKET_PATH)  # fmt: skip
    plans += connections(venue, public, limits, subscribing, FIRST_REQUEST_ID,
                         measure=unsubscribing, path=PUBLIC_PATH,
                         first_connection=len(plans))  # fmt: skip
    return within(venue, plans, limits)


def top_streams(symbol: str, options: ChannelOptions) -> tuple[str, ...]:
    """The stream of one instrument that its best prices come from, none where none is wanted.

    Quotes are needless beside a book. The venue's increments of a book begin at a body fetched over
    HTTP, which a session does not do: `delta` takes the window, whose every frame is whole.
    """
    if options.book != "none":
        depth = next((d for d in WINDOW_DEPTHS if d >= options.book_depth), WINDOW_DEPTHS[-1])
        return (f"{symbol.lower()}@depth{depth}@100ms",)
    return (f"{symbol.lower()}@bookTicker",) if options.quotes else ()


def resync_of(streams: tuple[str, ...], request_id: int) -> tuple[Request, ...]:
    """Give streams back and ask for them again; the second request takes the next id."""
    if not streams:
        return ()
    return (unsubscribing(request_id, streams), subscribing(request_id + 1, streams))


def subscribing(request_id: int, streams: tuple[str, ...]) -> Request:
    """Word a request for streams."""
    return Request(request_id, streams, _text("SUBSCRIBE", request_id, streams))


def unsubscribing(request_id: int, streams: tuple[str, ...]) -> Request:
    """Word a request that gives streams back."""
    return Request(request_id, streams, _text("UNSUBSCRIBE", request_id, streams))


def _text(method: str, request_id: int, streams: Sequence[str]) -> str:
    message = {"method": method, "params": streams, "id": request_id}
    return msgspec.json.encode(message).decode()
