"""Stage 1 of 8: WebSockets behind one interface, so that a client can be chosen by its speed.

aiohttp is always there. picows (feeds/fast_ws.py, extra `fast-ws`) receives a frame for about a
third of its processor time; docs/PERFORMANCE.md has both.
"""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from inspect import CORO_CLOSED, getcoroutinestate
from types import coroutine
from typing import Any, Final, Protocol

import aiohttp

from feeds.errors import SessionError, SocketClosedError
from feeds.network import Network

NAMES: Final = ("aiohttp", "picows")
READ_BYTES_MAX: Final = 256 << 10  # Given at once, but for the last frame.
_DATA: Final = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)


class Socket(Protocol):
    """One open WebSocket. Pings of the venue are answered without anybody's help."""

    async def receive(self) -> Sequence[bytes]:
        """The whole text and binary frames that have arrived, in order, at least one.

        Raises:
            SocketClosedError: there is no further one, and why.
        """

    async def send_str(self, text: str) -> None:
        """Send a text frame.

        Raises:
            OSError, aiohttp.ClientError: the connection is gone.
        """

    async def close(self) -> None:
        """Say goodbye, wait for the answer within the time given to `connect`; drop the rest."""


class Transport(Protocol):
    """Opens WebSockets."""

    async def connect(
        self,
        url: str,
        http: aiohttp.ClientSession,
        network: Network,
        *,
        frame_bytes_max: int,
        close_s: float,
    ) -> Socket:
        """Open one, without compression; a redirect is refused.

        Args:
            url: ws or wss.
            http: the session's client of HTTP, `network.open()`.
            network: which proxy to take, and whose certificates to believe.
            frame_bytes_max: a longer frame ends the connection.
            close_s: longest wait for the answer to our goodbye.

        Raises:
            OSError, TimeoutError, aiohttp.ClientError: it did not come about.
        """


def open_transport(name: str, network: Network) -> Transport:
    """A transport by its name in NAMES, that can take the way of `network`.

    Raises:
        SessionError: its package is not installed, or it knows no proxies.
    """
    if name == "aiohttp":
        return AiohttpTransport()
    try:
        from feeds.fast_ws import PicowsTransport  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SessionError(
            "transport picows is not installed, expected the extra fast-ws: "
            "pip install 'cross-market-scanner[fast-ws]'"
        ) from error
    if network.proxy is not None:
        raise SessionError(
            "transport picows takes no proxy here, expected aiohttp where there is one"
        )
    return PicowsTransport()


class AiohttpTransport:
    """WebSockets of the session's own client of HTTP."""

    async def connect(
        self,
        url: str,
        http: aiohttp.ClientSession,
        network: Network,
        *,
        frame_bytes_max: int,
        close_s: float,
    ) -> "AiohttpSocket":
        """As Transport.connect."""
        socket = await http.ws_connect(
            url,
            timeout=aiohttp.ClientWSTimeout(ws_close=close_s),
            max_msg_size=frame_bytes_max,
            compress=0,  # It costs more than the socket itself (measured: 5.8 us a frame).
            decode_text=False,
            proxy_headers=network.proxy_headers,
        )
        return AiohttpSocket(socket)


class AiohttpSocket:
    """As Socket; aiohttp holds some 128 KiB of frames back before it stops reading.

    aiohttp gives one message a call, and what it has already it gives at once. So a coroutine calls
    for one after the other, and whenever a call would wait, `receive` gives what it has collected,
    and waits with it the next time: what a read costs is then spent once for all that has arrived.
    """

    def __init__(self, socket: "aiohttp.ClientWebSocketResponse[bool]") -> None:
        self._socket = socket
        self._frames: list[bytes] = []
        self._bytes = 0
        self._end = ""
        self._collecting = self._collect()
        self._waits_for: Any = None  # What the collecting one waits for; None: to be asked.
        self.send_str = socket.send_str

    @coroutine
    def receive(self) -> Generator[Any, Any, list[bytes]]:
        """As Socket.receive."""
        while not self._frames:
            if self._end:
                raise SocketClosedError(self._end)
            step: Callable[[Any], Any] = self._collecting.send
            given = None
            if self._waits_for is not None:
                try:
                    given = yield self._waits_for
                except BaseException as error:  # noqa: BLE001 - a cancellation: the call's own
                    step, given = self._collecting.throw, error
            with suppress(StopIteration):  # It has come to the end.
                self._waits_for = step(given)
        frames, self._frames, self._bytes = self._frames, [], 0
        return frames

    async def _collect(self) -> None:
        """Collect frames until there is no further one, no more than READ_BYTES_MAX at a time."""
        while not self._end:
            message = await self._socket.receive()
            if message.type in _DATA:
                self._frames.append(message.data)
                self._bytes += len(message.data)
                if self._bytes >= READ_BYTES_MAX:
                    await _pause()
            else:
                self._end = self._reason(message)

    def _reason(self, message: Any) -> str:
        """Why there is no further frame; "" where there may be one."""
        kinds = aiohttp.WSMsgType
        if message.type is kinds.CLOSE:
            return f"venue closed with {message.data} {message.extra or ''}".rstrip()
        if message.type is kinds.ERROR:
            return f"broken: {message.data}"
        closed = message.type in (kinds.CLOSING, kinds.CLOSED)
        return f"closed with {self._socket.close_code}" if closed else ""

    async def close(self) -> None:
        """As Socket.close."""
        if getcoroutinestate(self._collecting) != CORO_CLOSED:
            with suppress(asyncio.CancelledError, StopIteration):
                self._collecting.throw(asyncio.CancelledError())
        await self._socket.close()


@coroutine
def _pause() -> Generator[None, Any, None]:
    """Go back to who drives a coroutine, waiting for nothing."""
    yield
