"""Stage 1 of 8: WebSockets behind one interface, so that a client can be chosen by its speed.

aiohttp is always there. picows (feeds/fast_ws.py, extra `fast-ws`) receives a frame for about a
third of its processor time; docs/PERFORMANCE.md has both.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import aiohttp

from feeds.errors import SessionError, SocketClosedError
from feeds.network import Network

NAMES: Final = ("aiohttp", "picows")


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
        """Open one, without compression.

        Args:
            url: ws or wss.
            http: the session's client of HTTP, which takes the way of `network` already.
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
    """As Socket; aiohttp holds some 128 KiB of frames back before it stops reading."""

    def __init__(self, socket: "aiohttp.ClientWebSocketResponse[bool]") -> None:
        self._socket = socket
        self.send_str = socket.send_str

    async def receive(self) -> tuple[bytes]:
        """As Socket.receive, one at a time."""
        kinds = aiohttp.WSMsgType
        while True:
            message = await self._socket.receive()
            if message.type in (kinds.TEXT, kinds.BINARY):
                return (message.data,)
            if message.type is kinds.CLOSE:
                words = f"venue closed with {message.data} {message.extra or ''}"
                raise SocketClosedError(words.rstrip())
            if message.type is kinds.ERROR:
                raise SocketClosedError(f"broken: {message.data}")
            if message.type in (kinds.CLOSING, kinds.CLOSED):
                raise SocketClosedError(f"closed with {self._socket.close_code}")

    async def close(self) -> None:
        """As Socket.close."""
        await self._socket.close()
