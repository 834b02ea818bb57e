"""An HTTP proxy of a few lines on the loopback: CONNECT, and requests for whole addresses."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class ToyProxy:
    """Passes bytes on and remembers what it was asked for.

    Attributes:
        refusal: the answer to `refuses`, in place of a connection; "" passes everything on.
        refuses: methods.
        asked: first line and headers of the first request of each connection, as one text.
        sent: all that clients sent after it.
    """

    refusal: str = ""
    refuses: tuple[str, ...] = ("CONNECT", "GET")
    asked: list[str] = field(default_factory=list)
    sent: bytearray = field(default_factory=bytearray)
    address: str = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client: read its first request, connect, and carry bytes until either side ends."""
        ends = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ends):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.decode())
            method, target, _ = head.decode().split(" ", 2)
            if self.refusal and method in self.refuses:
                writer.write(self.refusal.encode())
            elif method == "CONNECT":
                host, _, port = target.partition(":")
                await self._carry(reader, writer, host, int(port), b"")
            else:
                parts = urlsplit(target)
                asked = head.replace(target.encode(), (parts.path or "/").encode(), 1)
                await self._carry(reader, writer, str(parts.hostname), parts.port or 80, asked)
        writer.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int,
        first: bytes,
    ) -> None:  # fmt: skip
        there, back = await asyncio.open_connection(host, port)
        if first:
            back.write(first)
        else:
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(_copy(reader, back, self.sent), _copy(there, writer, bytearray()))


async def _copy(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, seen: bytearray
) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(65_536):
            seen += piece
            target.write(piece)
            await target.drain()
    target.close()


@contextlib.asynccontextmanager
async def toy_proxy(
    refusal: str = "", refuses: tuple[str, ...] = ("CONNECT", "GET")
) -> AsyncIterator[ToyProxy]:
    """A running proxy; its `address` is what a client is told."""
    proxy = ToyProxy(refusal, refuses)
    server = await asyncio.start_server(proxy.take, "127.0.0.1", 0)
    proxy.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
