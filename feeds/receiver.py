"""Stage 1 of 8: the frames of one read of a socket: taken down, told apart, obeyed, in one step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from feeds.links import Link, SessionCounts, named
from feeds.record import RecordType
from feeds.recorder import Recorder
from feeds.venue import Control, Headed, Venue


@dataclass(slots=True)
class Receiver:
    """Takes what one venue's sockets give.

    Attributes:
        venue: tells market data from what is about the session.
        recorder: takes the frames down.
        counts: what happened.
        obey: follows what a frame says about the session.
    """

    venue: Venue
    recorder: Recorder
    counts: SessionCounts
    obey: Callable[[Link, Control], None]
    _heads: tuple[bytes, ...] = field(init=False)  # of frames that are market data alone

    def __post_init__(self) -> None:
        self._heads = self.venue.MARKET_HEADS if isinstance(self.venue, Headed) else ()

    def take(self, link: Link, frames: Sequence[bytes]) -> list[str]:
        """Journal, deliver and obey the frames of one read, in one synchronous step.

        Returns:
            Replies, to be sent in this order.
        """
        if len(frames) == 1:  # The usual case of a quiet market, and half as dear by itself.
            reply = self._take_one(link, frames[0])
            return [] if reply is None else [reply]
        begin, replies, heads = 0, [], self._heads
        for end in [at for at, frame in enumerate(frames) if not frame.startswith(heads)]:
            self._keep(link, frames[begin:end])
            replies.append(self._take_one(link, frames[end]))
            begin = end + 1
        self._keep(link, frames[begin:])
        return [reply for reply in replies if reply is not None]

    def _keep(self, link: Link, frames: Sequence[bytes]) -> None:
        """Journal and deliver market data that arrived together; nothing is to be obeyed."""
        if not frames:
            return
        link.last_frame_ns = self.recorder.take_frames(link.connection, frames).rx_ns
        self.counts.frames += len(frames)
        self.counts.bytes += sum(map(len, frames))
        if link.ledger.awaiting:
            for frame in frames:
                link.ledger.heard(named(self.venue, link.path, frame))

    def _take_one(self, link: Link, frame: bytes) -> str | None:
        """Journal, deliver and obey one frame; returns a reply."""
        link.last_frame_ns = self.recorder.take(RecordType.FRAME, link.connection, "", frame).rx_ns
        counts = self.counts
        counts.frames += 1
        counts.bytes += len(frame)
        control = self.venue.control(frame)
        if control is None:
            if link.ledger.awaiting:
                link.ledger.heard(named(self.venue, link.path, frame))
            return None
        counts.notices += control.notice is not None
        counts.replies += control.reply is not None
        self.obey(link, control)
        return control.reply
