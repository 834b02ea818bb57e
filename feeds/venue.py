"""Stages 1 and 2 of 8: what one venue file must offer.

A venue is a module of pure functions and constants in feeds/venues; it opens nothing and keeps
no clock. feeds/session.py moves its bytes, feeds/handler.py turns its records into rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from feeds.contract import Listing
from feeds.events import DecodeOut, TextLevel
from feeds.secrets import Credentials


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One question that discovery needs; `purpose` names it in the journal.

    A GET, or a POST of `body` as JSON where there is one.
    """

    purpose: str
    path: str
    body: bytes | None = None


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
    ping_s: float | None = None  # the client sends `ping()` of the venue's Pinger so often
    # The venue cuts a connection of this age; it is renewed before, each a little earlier than
    # the one opened with it, so that not all of a venue are down at once.
    connection_s: float | None = None
    # False: nothing says whether a subscription was accepted. It counts as accepted when it is
    # sent, and a book whose first frame stays away is asked for again.
    answers: bool = True
    # True: a request is accepted whatever it names, so that an answer vouches for no channel, and a
    # book whose first frame stays away is asked for again all the same.
    accepts_anything: bool = False
    requests_per_hour: int | None = None  # on one connection: subscribes, unsubscribes and logins
    # When what is listed changes, seconds of the UTC day: expiries end, new ones come.
    listing_change_s: tuple[int, ...] = (28_800,)


@dataclass(frozen=True, slots=True)
class Request:
    """One text frame to send, and the channels it asks for."""

    request_id: int
    channels: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class ConnectionPlan:
    """What one socket carries; `path` is added to the venue's WebSocket address."""

    connection: int
    requests: tuple[Request, ...]
    path: str = ""

    @property
    def channels(self) -> tuple[str, ...]:
        """All channels of the connection, in request order."""
        return tuple(channel for request in self.requests for channel in request.channels)


@dataclass(frozen=True, slots=True)
class Control:
    """A frame that is about the session, not the market.

    ack: (request id, accepted channels), None in place of the channels where the venue answers
    for all of them at once. accepted, denied: channels that the venue answered for by name, some
    or all of a request's. refused: (request id, reason); reply: text to send at once
    (heartbeats); notice: maintenance and the like. maintenance: True where the venue says that it
    will be down on purpose, False where it says that it is back. resync: symbols whose books the
    venue says must be asked for again.
    """

    ack: tuple[int, tuple[str, ...] | None] | None = None
    accepted: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    refused: tuple[int, str] | None = None
    reply: str | None = None
    notice: str | None = None
    maintenance: bool | None = None
    resync: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """Which channels to subscribe for each listing (from the config)."""

    book: str = "delta"  # delta, window or none
    quotes: bool = False
    tickers: bool = True
    trades: bool = True
    marks: bool = True
    index: bool = True
    notices: bool = True  # listings, halts and ends, where the venue tells them
    book_depth: int = 10  # of a window
    authenticated: bool = False  # the connections log in, where the venue has more for such
    spots: bool = True  # follow the spot pairs of feeds/spots.py


@dataclass(slots=True)
class Discovery:
    """What a discovery body of one venue said.

    following: the question for the next page, where the venue gives its instruments in pages.
    further: questions that the body raises, where it only names what there is to be asked for.
    unread: entries that cannot be read, as they came; `left_out` counts them as `malformed`.
    """

    listings: list[Listing] = field(default_factory=list)
    following: HttpRequest | None = None
    further: tuple[HttpRequest, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)  # reason -> count
    conflicts: list[str] = field(default_factory=list)
    unread: list[bytes] = field(default_factory=list)

    def leave_out(self, reason: str) -> None:
        """Count an entry that was read, and is no listing for us."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def fail(self, entry: bytes) -> None:
        """Count and keep an entry that cannot be read: it may be about a listing that is there."""
        self.leave_out("malformed")
        self.unread.append(entry)


class Venue(Protocol):
    """One venue: a module of feeds/venues satisfies this protocol."""

    NAME: str
    REST_URL: str
    WS_URL: str
    LIMITS: Limits

    def discovery(self, underlyings: Sequence[str], /) -> tuple[HttpRequest, ...]:
        """Questions whose answers list the instruments."""
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

    def owes_first_frame(self, channel: str) -> bool:
        """Whether the venue sends something on a channel soon after it accepted it.

        Books begin with a snapshot and most tickers with the present state, however quiet the
        listing; trades, quotes on change and channels of whole currencies may stay silent.
        """
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


def is_experimental(venue: Venue) -> bool:
    """Whether a venue was written from documentation alone: no frame of it was ever recorded.

    Its module then has the line `EXPERIMENTAL: bool = True`, and a configuration takes it only with
    `experimental = true` beside its name.
    """
    return bool(getattr(venue, "EXPERIMENTAL", False))


@runtime_checkable
class Unsubscriber(Protocol):
    """A venue that can also give channels back; without it they end with the connection."""

    def unsubscribe(
        self, channels: Sequence[str], limits: Limits, request_id: int
    ) -> tuple[Request, ...]:
        """Requests that end the channels, numbered upwards from `request_id`."""
        ...


@runtime_checkable
class Authenticator(Protocol):
    """A venue that has channels for connections that are logged in."""

    def login(self, credentials: Credentials) -> Request:
        """What to send after the hellos; `control` gives its answer as an ack or a refusal."""
        ...


@runtime_checkable
class Pinger(Protocol):
    """A venue whose clients must ask for signs of life, every `Limits.ping_s`."""

    def ping(self) -> str:
        """Text to send."""
        ...


@runtime_checkable
class Stamper(Protocol):
    """A venue whose requests must say when they are sent."""

    def stamped(self, text: str, now_ns: int) -> str:
        """A request's text with the time in it."""
        ...


@runtime_checkable
class Signer(Protocol):
    """A venue whose sockets are for accounts alone, though what they carry is public."""

    def path(self, keys: Credentials, now_ns: int) -> str:
        """What a connection opened at a time adds to its address; it is journaled nowhere."""
        ...


@runtime_checkable
class Headed(Protocol):
    """A venue whose market data is told by how a frame begins.

    Attributes:
        MARKET_HEADS: of a frame that begins with one of them, `control` says None.
    """

    MARKET_HEADS: tuple[bytes, ...]


@runtime_checkable
class ChannelNamer(Protocol):
    """A venue whose frames do not hold the channel's name as one JSON string in their head."""

    def channel_of(self, frame: bytes) -> str | None:
        """Channel of a market frame; None for anything else."""
        ...


@runtime_checkable
class PathNamer(Protocol):
    """A venue that gives different instruments one name, each on sockets of its own path.

    Their listings here have names of their own, in which channels are asked for, too.

    Attributes:
        NAMED_PATHS: paths whose frames must be named before anything else reads them.
    """

    NAMED_PATHS: frozenset[str]

    def named(self, frame: bytes) -> bytes:
        """A frame of such a path with our names in place of the venue's; rubbish stays rubbish."""
        ...


@runtime_checkable
class Scanned(Protocol):
    """A venue with a byte scanner, which `decode` uses once it is compiled."""

    def warm_up(self) -> None:
        """Compile the scanner, or load it."""
        ...


@runtime_checkable
class ChainQuoter(Protocol):
    """A venue that has best prices of whole option chains on one channel.

    Attributes:
        CHAIN_OPTION: the field of ChannelOptions that asks for that channel.
    """

    CHAIN_OPTION: str

    def quoted_chain(self, channel: str) -> tuple[str, str] | None:
        """Underlying and price currency of the options a channel quotes; None for others."""
        ...


@runtime_checkable
class Checksummer(Protocol):
    """A venue whose books are chained by checksums; decode gives a BookCheck for every frame."""

    def checksum(self, bids: Sequence[TextLevel], asks: Sequence[TextLevel]) -> int:
        """Checksum of a book whose levels are given best first, each side whole."""
        ...
