"""Stages 1 and 2 of 8: one platform of Delta Exchange, as a venue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from feeds.contract import Listing
from feeds.events import DecodeOut
from feeds.venue import (
    ChannelOptions,
    ConnectionPlan,
    Control,
    Discovery,
    HttpRequest,
    Limits,
    Request,
)
from feeds.venues.delta import decode, plan, universe
from feeds.venues.delta.dialect import Dialect


@dataclass(slots=True, eq=False)
class DeltaExchange:
    """A venue (feeds.venue.Venue) made of the functions of this package; it keeps nothing."""

    NAME: str
    REST_URL: str
    WS_URL: str
    dialect: Dialect
    LIMITS: Limits = plan.LIMITS
    MARKET_HEADS: tuple[bytes, ...] = plan.MARKET_HEADS

    def discovery(self, underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:  # noqa: ARG002 - the protocol's
        """One list of all products; the venue has no filter by underlying."""
        return universe.discovery()

    def instruments(self, body: bytes) -> Discovery:
        """Read one page of products; raises FrameError where it is not one."""
        return universe.instruments(self.NAME, body)

    def subscriptions(
        self, listings: Sequence[Listing], options: ChannelOptions, limits: Limits
    ) -> tuple[ConnectionPlan, ...]:
        """Cut the channels of the listings into requests and connections within the limits."""
        return plan.subscriptions(self.NAME, self.dialect, listings, options, limits)

    def resync(self, symbol: str, options: ChannelOptions, request_id: int) -> tuple[Request, ...]:
        """Unsubscribe and subscribe again: asking twice for a channel brings no new snapshot."""
        return plan.resync(self.dialect, symbol, options, request_id)

    def unsubscribe(
        self, channels: Sequence[str], limits: Limits, request_id: int
    ) -> tuple[Request, ...]:
        """Requests that end the channels, numbered upwards from `request_id`."""
        return plan.unsubscribe(self.NAME, channels, limits, request_id)

    def hello(self) -> tuple[str, ...]:
        """Ask for heartbeats, so that a silent connection is known to be dead."""
        return plan.HELLO

    def control(self, frame: bytes) -> Control | None:
        """Say what a session must do about a frame; None for market data and rubbish."""
        return plan.control(frame)

    def symbol_of_channel(self, channel: str) -> str | None:
        """Instrument or index a channel is about; None for channels of a whole kind."""
        return plan.symbol_of_channel(channel)

    def owes_first_frame(self, channel: str) -> bool:
        """Books begin with a snapshot, tickers come every 5 s; the others may stay silent."""
        return plan.owes_first_frame(channel)

    def channel_of(self, frame: bytes) -> str | None:
        """Channel of a market frame; None for anything else."""
        return plan.channel_of(frame)

    def decode(
        self,
        frames: Sequence[bytes],
        rx_ns: Sequence[int],
        symbols: Mapping[str, int],
        out: DecodeOut,
    ) -> None:
        """Turn a batch of frames into rows; bad frames are counted in `out`, never raised."""
        decode.decode(self.NAME, self.dialect, frames, rx_ns, symbols, out)
