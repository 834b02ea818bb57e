"""Stage 1 of 8: the way to a venue: through which proxy, and whose certificates are believed."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from feeds.secrets import Credentials


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
        """A client that takes this way, but for `proxy_headers`; call it within an event loop."""
        return aiohttp.ClientSession(
            # No limit in the connector: there it would make a connection wait in silence.
            connector=aiohttp.TCPConnector(
                limit=0, ssl=True if self.certificates is None else self.certificates
            ),
            proxy=self.proxy,
        )


def certificates_of(ca_file: Path) -> ssl.SSLContext:
    """Believe the authorities of a PEM file beside those of the system.

    Raises:
        OSError: the file cannot be read, or holds no certificate (ssl.SSLError).
    """
    context = ssl.create_default_context()
    context.load_verify_locations(ca_file)
    return context
