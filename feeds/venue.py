"""Stages 1 and 2 of 8: what one venue file must offer.

A venue is a module of pure functions and constants in feeds/venues; it opens nothing and keeps
no clock. feeds/session.py moves its bytes, feeds/handler.py turns its records into rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from feeds.contract import Listing
from feeds.events import DecodeOut


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One GET that discovery needs; `purpose` names it in the journal."""

    purpose: str
    path: str


@dataclass(frozen=True, slots=True)
class Limits:
    """A venue's published limits, as its documentation gives them; the plan stays inside them."""

    channels_per_request: int
    request_bytes_max: int
    requests_per_s: float  # sustained
    request_burst: int
    channels_per_connection: int
    connections_max: int
    frame_bytes_max: int
    heartbeat_s: float
    silence_s: float  # no frame at all for this long: the connection is dead


@dataclass(frozen=True, slots=True)
class Request:
    """One text frame to send, and the channels it asks for."""

    request_id: int
    channels: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class ConnectionPlan:
    """What one socket carries."""

    connection: int
    requests: tuple[Request, ...]

    @property
    def channels(self) -> tuple[str, ...]:
        """All channels of the connection, in request order."""
        return tuple(channel for request in self.requests for channel in request.channels)


@dataclass(frozen=True, slots=True)
class Control:
    """A frame that is about the session, not the market.

    ack: (request id, accepted channels); refused: (request id, reason); reply: text to send at
    once (heartbeats); notice: maintenance and the like.
    """

    ack: tuple[int, tuple[str, ...]] | None = None
    refused: tuple[int, str] | None = None
    reply: str | None = None
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """Which channels to subscribe for each listing (from the config)."""

    book: str = "delta"  # delta, window or none
    quotes: bool = False
    tickers: bool = True
    trades: bool = True
    marks: bool = True
    index: bool = True
    book_depth: int = 10  # of a window
    authenticated: bool = False


@dataclass(slots=True)
class Discovery:
    """What the discovery bodies of one venue said."""

    listings: list[Listing] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)  # reason -> count
    conflicts: list[str] = field(default_factory=list)


class Venue(Protocol):
    """One venue: a module of feeds/venues satisfies this protocol."""

    NAME: str
    REST_URL: str
    WS_URL: str
    LIMITS: Limits

    def discovery(self, underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
        """GETs whose bodies list the instruments."""
        ...

    def instruments(self, body: bytes) -> Discovery:
        """Read one discovery body; raises FrameError where it is not one."""
        ...

    def subscriptions(
        self, listings: Sequence[Listing], options: ChannelOptions, limits: Limits
    ) -> tuple[ConnectionPlan, ...]:
        """Cut the channels of the listings into requests and connections within the limits."""
        ...

    def resync(self, symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
        """Requests that bring a fresh snapshot of one listing, in sending order."""
        ...

    def hello(self) -> tuple[str, ...]:
        """Texts to send when a connection opens, before any subscription."""
        ...

    def control(self, frame: bytes) -> Control | None:
        """Say what a session must do about a frame; None for market data and rubbish."""
        ...

    def symbol_of_channel(self, channel: str) -> str | None:
        """Instrument a channel is about; None for channels of a whole currency."""
        ...

    def decode(
        self,
        frames: Sequence[bytes],
        rx_ns: Sequence[int],
        symbols: Mapping[str, int],
        out: DecodeOut,
    ) -> None:
        """Turn a batch of frames into rows; bad frames are counted in `out`, never raised."""
        ...


@runtime_checkable
class Unsubscriber(Protocol):
    """A venue that can also give channels back; without it they end with the connection."""

    def unsubscribe(
        self, channels: Sequence[str], limits: Limits, request_id: int
    ) -> tuple[Request, ...]:
        """Requests that end the channels, numbered upwards from `request_id`."""
        ...
