"""Stage 1 of 8: WebSockets by picows (extra `fast-ws`), which hands over each frame as it arrives.

bytes ──> picows ──on_ws_frame──> frames ──receive──> session
             ^                      │
             └──── pause, resume ───┘   at WAITING_BYTES_MAX, and at half of it
"""

import asyncio
from typing import Any, Final

import aiohttp
import picows

from feeds.errors import SocketClosedError
from feeds.network import REDIRECTS, Network, redirected

WAITING_BYTES_MAX: Final = 256 << 10  # Beside what one read of the socket still brings.
_DATA: Final = (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION)


class PicowsTransport:
    """As feeds.transport.Transport."""

    async def connect(
        self,
        url: str,
        http: aiohttp.ClientSession,
        network: Network,
        *,
        frame_bytes_max: int,
        close_s: float,
    ) -> "PicowsSocket":
        """As Transport.connect; nothing of `http` is used, and no proxy."""
        del http
        try:
            _, socket = await picows.ws_connect(
                lambda: PicowsSocket(frame_bytes_max, close_s), url, max_frame_size=frame_bytes_max,
                ssl_context=network.certificates if url.startswith("wss:") else None,
                websocket_handshake_timeout=None,  # The session has a time for all of it.
                max_redirects=0,
            )  # fmt: skip
        except (picows.WSInvalidURL, ValueError):
            raise ConnectionError("is no address") from None  # Its words may hold a signature.
        except picows.WSHandshakeError as error:
            if error.response is not None and error.response.status in REDIRECTS:
                raise redirected(int(error.response.status)) from None
            raise ConnectionError(str(error)) from error
        except picows.WSError as error:
            raise ConnectionError(str(error)) from error
        assert isinstance(socket, PicowsSocket)
        return socket


class PicowsSocket(picows.WSListener):  # type: ignore[misc]
    """As feeds.transport.Socket."""

    def __init__(self, frame_bytes_max: int, close_s: float) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._close_s = close_s
        self._transport: Any = None
        self._frames: list[bytes] = []
        self._bytes = 0
        self._parts: list[bytes] = []  # of a frame that comes in several
        self._paused = False
        self._end = ""
        self._news: asyncio.Future[None] | None = None

    # What picows calls.

    def on_ws_connected(self, transport: Any) -> None:
        """Keep the connection."""
        self._transport = transport

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        """Queue a frame, or note the venue's goodbye; pings are answered by picows."""
        kind = frame.msg_type
        if kind in _DATA:
            payload = frame.get_payload_as_bytes()
            if self._parts or not frame.fin:
                self._join(payload, whole=frame.fin)
            else:
                self._put(payload)
        elif kind == picows.WSMsgType.CLOSE:
            code, reason = int(frame.get_close_code()), frame.get_close_reason() or ""
            self._finish(self._refused() or f"venue closed with {code} {reason}".rstrip())
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, _transport: Any) -> None:
        """Nothing more will come."""
        self._finish(self._refused() or "closed with 1006")

    def _refused(self) -> str:
        """Why picows itself ended the connection, "" where it did not."""
        sent = self._transport.close_handshake and self._transport.close_handshake.sent
        return f"broken: {int(sent.code)} {sent.reason}" if sent else ""

    def _join(self, payload: bytes, *, whole: bool) -> None:
        self._parts.append(payload)
        size = sum(map(len, self._parts))
        if size > self._frame_bytes_max:
            self._finish(
                f"broken: a frame of {size} bytes, expected at most {self._frame_bytes_max}"
            )
            self._transport.disconnect(False)
        elif whole:
            self._put(b"".join(self._parts))
            self._parts.clear()

    def _put(self, payload: bytes) -> None:
        self._frames.append(payload)
        self._bytes += len(payload)
        if self._bytes > WAITING_BYTES_MAX and not self._paused:
            self._paused = True
            self._transport.underlying_transport.pause_reading()
        if self._news is not None:  # Of the first frame of a read alone.
            self._wake()

    def _finish(self, reason: str) -> None:
        self._end = self._end or reason
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    # What the session calls.

    async def receive(self) -> list[bytes]:
        """As Socket.receive; what came before the end is given first."""
        while not self._frames:
            if self._end:
                raise SocketClosedError(self._end)
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        frames, self._frames, self._bytes = self._frames, [], 0
        if self._paused:
            self._paused = False
            if not self._transport.is_disconnected:
                self._transport.underlying_transport.resume_reading()
        return frames

    async def send_str(self, text: str) -> None:
        """As Socket.send_str."""
        if self._end or self._transport.is_disconnected:
            raise ConnectionError(self._end or "not connected")
        self._transport.send(picows.WSMsgType.TEXT, text.encode())

    async def close(self) -> None:
        """As Socket.close."""
        if not self._transport.is_disconnected:
            if self._paused:  # Or the answer would never be read.
                self._transport.underlying_transport.resume_reading()
            self._transport.send_close(picows.WSCloseCode.OK)
        try:
            async with asyncio.timeout(self._close_s):
                await self._transport.wait_disconnected()
        except (TimeoutError, picows.WSError):
            self._transport.disconnect(False)
