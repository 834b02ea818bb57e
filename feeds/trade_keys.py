"""Stage 2 of 8: what a print is known by: the key of its trade, the number of its structure."""

from hashlib import blake2b
from typing import Final

import msgspec
import numpy as np

from feeds.columns import AUX_SHIFT, FLAGS_SHIFT, Ints, ints
from feeds.symbols import name_hash

DECIMAL_KEY_DIGITS: Final = 19  # 10**19 - 1 is below 2**64
STRUCTURE_COUNT: Final = 65_535  # aux is u2 and 0 means none


def structure_code(flags: int, name: str) -> int:
    """Flags and structure number of a print, in their places of an update's code, as int64.

    All prints of one structure have one `name`, and so one number: a hash, so that it does not
    depend on how the log is cut. Two structures share one by chance once in 65,535 pairs.
    """
    code = flags << FLAGS_SHIFT | (_hash64(name) % STRUCTURE_COUNT + 1) << AUX_SHIFT
    return code - 2**64 if code >= 2**63 else code


def trade_keys(trade_ids: list[str]) -> Ints:
    """64-bit keys of trade ids, as int64: a decimal id is its own key, any other text is hashed.

    Ids of BTC are decimal, those of other currencies carry a prefix (`ETH-12345`). A bare number
    is free of collisions and costs a tenth of a hash, if all are read at once as a JSON list; int()
    of each takes 0.18 us.
    """
    listed = ",".join(trade_ids).encode()
    if listed.replace(b",", b"").isdigit():
        try:
            keys = _read_ints(b"[" + listed + b"]")
        except ValueError:
            keys = []  # leading zeros, empty ids
        if len(keys) == len(trade_ids) and max(keys) < 2**63:
            return ints(keys)
    return np.array([trade_key(trade_id) for trade_id in trade_ids], np.uint64).view(np.int64)


def trade_key(trade_id: str) -> int:
    """Key of one trade id."""
    if trade_id.isdecimal() and len(trade_id) <= DECIMAL_KEY_DIGITS:
        return int(trade_id)
    return _hash64(trade_id)


def key_within(symbol: str, trade_id: str) -> int:
    """Key of a trade whose id counts within its instrument; byte scanners compute the same."""
    return name_hash(trade_id.encode(), name_hash(symbol.encode()))


def keys_within(trades: list[tuple[str, str]]) -> Ints:
    """Keys of (symbol, trade id) pairs, as int64."""
    return np.array([key_within(*trade) for trade in trades], np.uint64).view(np.int64)


def _hash64(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


_read_ints: Final = msgspec.json.Decoder(list[int]).decode
