"""Stage 1 of 8: what a session needs beside its plan to reach a venue: keys, way, redaction."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from feeds.network import Network, certificates_of
from feeds.record import Redactor
from feeds.secrets import Credentials, read_credentials
from feeds.venue import Authenticator
from feeds.venues import VENUES
from scanner.config import DIRECT, ScanConfig
from scanner.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Access:
    """How one venue is reached; `redact` knows every secret in it, None where there is none."""

    credentials: Credentials | None
    network: Network
    redact: Redactor | None


def access_of(config: ScanConfig, name: str) -> Access:
    """Read the files that a venue's settings name.

    Raises:
        SecretError: a key file cannot be read, or others can read it as well.
        ConfigError: the certificates cannot be read, or there is nothing to log in with.
    """
    settings = config.venues[name]
    credentials = _credentials(settings.key_file)
    _check_login(name, credentials, wanted=settings.authenticated)
    proxy, key_file = config.network.proxy, config.network.proxy_key_file
    if settings.proxy is not None:
        # The account of one proxy is never told to another.
        proxy, key_file = settings.proxy, settings.proxy_key_file
    if proxy == DIRECT:
        proxy = None
    account = None if proxy is None else _credentials(key_file)
    if account is not None and ":" in account.key:
        raise ConfigError((f"{key_file}: key held a colon, which no proxy's user may",))
    network = Network(proxy, account, _certificates(config.network.ca_file))
    hidden = [text for one in (credentials, account) if one is not None for text in one.hidden()]
    return Access(credentials, network, Redactor(hidden) if hidden else None)


def _credentials(path: Path | None) -> Credentials | None:
    return None if path is None else read_credentials(path)


def _certificates(path: Path | None) -> ssl.SSLContext | None:
    if path is None:
        return None
    try:
        return certificates_of(path)
    except OSError as error:
        words = error.strerror or "holds no PEM certificate"
        raise ConfigError((f"network.ca_file was {path}: {words}",)) from error


def _check_login(name: str, credentials: Credentials | None, *, wanted: bool) -> None:
    if wanted and credentials is None:
        raise ConfigError((f"venues.{name}.authenticated needs venues.{name}.key_file",))
    if wanted and not isinstance(VENUES[name], Authenticator):
        raise ConfigError((f"venues.{name}.authenticated was true: there is no login to it",))
