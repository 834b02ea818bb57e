"""Stage 1 of 8: WebSockets behind one interface, so that a client can be chosen by its speed.

aiohttp is always there. picows (feeds/fast_ws.py, extra `fast-ws`) receives a frame for about a
third of its processor time; docs/PERFORMANCE.md has both.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import suppress
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

    aiohttp gives one message a call, and what it has already it gives at once. So `receive` calls
    until a call would wait, and goes on with that call when it is asked the next time: its caller's
    own work for a read, as against a frame, is then done once for all that has arrived.
    """

    def __init__(self, socket: "aiohttp.ClientWebSocketResponse[bool]") -> None:
        self._socket = socket
        self._waiting: tuple[Coroutine[Any, Any, Any], Any] | None = None  # A call, and for what.
        self._end = ""
        self.send_str = socket.send_str

    async def receive(self) -> list[bytes]:
        """As Socket.receive."""
        frames: list[bytes] = []
        size = 0
        while not self._end and size < READ_BYTES_MAX:
            message = self._at_once() if self._waiting is None else None
            if message is None:
                if frames:
                    return frames
                assert self._waiting is not None
                waiting, self._waiting = self._waiting, None
                message = await _resumed(*waiting)
            if message.type in _DATA:
                frames.append(message.data)
                size += len(message.data)
            else:
                self._end = self._reason(message)
        if not frames:
            raise SocketClosedError(self._end)
        return frames

    def _at_once(self) -> Any:
        """Call for a message that has arrived; None where there is none, and the call waits."""
        call = self._socket.receive()
        try:
            self._waiting = call, call.send(None)
        except StopIteration as done:
            return done.value
        return None

    def _reason(self, message: aiohttp.WSMessage) -> str:
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
        if self._waiting is not None:
            call, _ = self._waiting
            self._waiting = None
            with suppress(asyncio.CancelledError, StopIteration):
                call.throw(asyncio.CancelledError())
        await self._socket.close()


@coroutine
def _resumed(call: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """Go on with a call that was begun and waits for something."""
    while True:
        step: Callable[[Any], Any] = call.send
        try:
            given = yield waits_for
        except BaseException as error:  # noqa: BLE001 - a cancellation, above all: the call's own
            step, given = call.throw, error
        try:
            waits_for = step(given)
        except StopIteration as done:
            return done.value
