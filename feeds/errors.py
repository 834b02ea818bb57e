"""Stages 1 and 2 of 8: what can go wrong between a wire and event rows.

FeedError
├── FrameError      one message of a venue that cannot be read: counted, sampled, never fatal
├── SymbolError     an instrument name outside its venue's grammar
├── TableError      a table recording that breaks its format: says file, column, row
├── JournalError    a raw recording that cannot be read or written
├── SecretError     a key file that cannot be read, or that others can read as well
├── DbnError        a DBN file that cannot be read, or whose ids nothing explains
├── SessionError    a venue that cannot be reached, or refuses what was asked
└── SocketClosedError
                    a connection that gives no further frame, and why: expected, and begun anew
"""


class FeedError(Exception):
    """Anything that went wrong in feeds."""


class FrameError(FeedError):
    """One frame that cannot be turned into rows.

    Attributes:
        frame: the first 512 bytes of the frame, for the sampled log.
    """

    def __init__(self, message: str, frame: bytes = b"") -> None:
        super().__init__(message)
        self.frame = frame[:512]


class SymbolError(FeedError):
    """An instrument name that its venue's grammar does not allow."""


class TableError(FeedError):
    """A table recording that breaks its format; the message says file, column and row."""


class JournalError(FeedError):
    """A raw recording that cannot be read or written."""


class SecretError(FeedError):
    """A key file that cannot be used; the message never holds any of its content."""


class DbnError(FeedError):
    """A DBN file that cannot be read, or data whose instruments nothing defines."""


class SessionError(FeedError):
    """A venue that cannot be reached, or refuses what was asked of it."""


class SocketClosedError(FeedError):
    """A WebSocket that gives no further frame; the message says why."""
