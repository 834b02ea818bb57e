"""Stage 1 of 8: the signature that Coincall wants of whoever opens a socket, public data or not."""

import hmac
from typing import Final

from feeds.secrets import Credentials

NS_PER_MS: Final = 1_000_000
OPEN: Final = 10  # the code of a request for a connection


def path(keys: Credentials, now_ns: int) -> str:
    """What a connection opened now adds to the venue's address; it holds the key, so hide it."""
    return signed_path(keys.key, keys.secret, now_ns // NS_PER_MS, keys.key)


def signed_path(key: str, secret: str, now_ms: int, uuid: str) -> str:
    """Query of a connection: who asks, when, and HMAC-SHA256 of both by the secret, in hex.

    Nothing is percent-encoded: the venue signs what it reads.

    Args:
        key: the half of the account's keys that is shown, printable ASCII.
        secret: the half that is not.
        now_ms: time of the request, ms since the Unix epoch.
        uuid: a name of the client's own; the venue's example gives the key.
    """
    said = f"GET/users/self/verify?uuid={key}&ts={now_ms}"
    sign = hmac.digest(secret.encode(), said.encode(), "sha256").hex().upper()
    return f"?code={OPEN}&uuid={uuid}&ts={now_ms}&sign={sign}&apiKey={key}"
