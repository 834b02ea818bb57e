"""Stage 1 of 8: the way to a venue: through which proxy, and whose certificates are believed."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import aiohttp

from feeds.secrets import Credentials

REDIRECTS: Final = (301, 302, 303, 307, 308)  # statuses that clients follow


@dataclass(frozen=True, slots=True)
class Network:
    """How HTTP requests and sockets reach a venue; certificates are always verified.

    What the environment says of proxies is not looked at: a feed takes the way that its
    configuration names.

    proxy: address of an HTTP proxy, without user and password; None goes directly.
    account: what the proxy wants to know; no colon in its key.
    certificates: who is believed; None believes the authorities of the system.
    """

    proxy: str | None = None
    account: Credentials | None = None
    certificates: ssl.SSLContext | None = None

    @property
    def proxy_headers(self) -> dict[str, str] | None:
        """What to tell the proxy with every request; None where it asks for nothing."""
        if self.proxy is None or self.account is None:
            return None
        pair = aiohttp.encode_basic_auth(self.account.key, self.account.secret)
        return {"Proxy-Authorization": pair}

    def open(self) -> aiohttp.ClientSession:
        """A client that takes this way, but for `proxy_headers`; call it within an event loop.

        Its sockets follow no redirect.
        """
        refusal = aiohttp.TraceConfig()
        refusal.on_request_redirect.append(_refuse_of_sockets)
        return aiohttp.ClientSession(
            trace_configs=[refusal],
            # No limit in the connector: there it would make a connection wait in silence.
            connector=aiohttp.TCPConnector(
                limit=0, ssl=True if self.certificates is None else self.certificates
            ),
            proxy=self.proxy,
        )


def redirected(status: int) -> ConnectionError:
    """Why a socket did not come about; where it was to go stays unsaid, for that may be signed.

    A signature is for the venue that it was made for, and a redirect may name anybody. Browsers
    follow none with a socket either (WHATWG WebSockets, opening handshake: redirect mode "error").
    """
    return ConnectionError(f"was redirected ({status}), which no socket follows")


async def _refuse_of_sockets(
    _client: aiohttp.ClientSession,
    _context: SimpleNamespace,
    params: aiohttp.TraceRequestRedirectParams,
) -> None:
    """End a request that is about to be sent on, if it asks for a socket.

    Raises:
        ConnectionError: it does; the client lets it through and closes the connection.
    """
    if aiohttp.hdrs.UPGRADE in params.headers:
        raise redirected(params.response.status)


def certificates_of(ca_file: Path) -> ssl.SSLContext:
    """Believe the authorities of a PEM file beside those of the system.

    Raises:
        OSError: the file cannot be read, or holds no certificate (ssl.SSLError).
    """
    context = ssl.create_default_context()
    context.load_verify_locations(ca_file)
    return context
