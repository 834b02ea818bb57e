"""Stage 1 of 8: keys of accounts: read from files of their owner alone, and never shown."""

import os
import stat
import tomllib
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feeds.errors import SecretError

FILE_BYTES_MAX: Final = 65_536
SECRET_CHARS_MAX: Final = 8_192
# What is shorter is found in ordinary data: it could not be redacted without harm.
HIDDEN_CHARS_MIN: Final = 8
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What an account is known by, printable ASCII both; shown nowhere, its repr included.

    key: the public half: a client id, a user name. secret: the other half.
    """

    key: str
    secret: str

    def __repr__(self) -> str:
        return "Credentials([redacted])"

    def hidden(self) -> tuple[str, ...]:
        """Texts that no output may hold: both halves, and the pair as HTTP's Basic scheme has it.

        A key shorter than HIDDEN_CHARS_MIN is not among them.
        """
        pair = b64encode(f"{self.key}:{self.secret}".encode()).decode()
        keys = (self.key,) if len(self.key) >= HIDDEN_CHARS_MIN else ()
        return (*keys, self.secret, pair)


def read_credentials(path: Path) -> Credentials:
    """Read a key file: TOML with the texts `key` and `secret` and nothing else.

    TOML and not two bare lines, because those can be swapped and nothing would notice.

    Raises:
        SecretError: the file is missing, is readable by others than its owner (chmod 600), or is
            not such a file. The message never holds any of its content.
    """
    try:
        content = _content_of(path)
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}, expected a key file") from None
    try:
        values = tomllib.loads(content.decode())
    except (ValueError, RecursionError):
        # The parser's own words, and what it was parsing, may hold a piece of the secret.
        raise SecretError(f"{path}: not TOML, expected the texts key and secret") from None
    if set(values) != {"key", "secret"} or not all(map(_is_text, values.values())):
        raise SecretError(
            f"{path}: expected key and secret alone, both printable ASCII of 1 to "
            f"{SECRET_CHARS_MAX} characters"
        )
    if len(values["secret"]) < HIDDEN_CHARS_MIN:
        raise SecretError(f"{path}: secret is shorter than {HIDDEN_CHARS_MIN} characters")
    return Credentials(values["key"], values["secret"])


def _content_of(path: Path) -> bytes:
    """Bytes of a key file; looks at the file that was opened, not at whatever has its name now."""
    # Not blocking: a pipe in place of the file would hold the start up for ever.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SecretError(f"{path}: not a file, expected a key file")
        if status.st_mode & _OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise SecretError(f"{path}: mode was {mode:04o}, expected 0600 (chmod 600)")
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise SecretError(f"{path}: larger than {FILE_BYTES_MAX} bytes, expected a key file")
    return content


def _is_text(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= SECRET_CHARS_MAX
        and value.isascii()
        and value.isprintable()
    )
