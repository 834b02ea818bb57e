"""Stage 2 of 8: where the fields of Databento's binary records lie, in versions 1 to 3.

Source: the record types of the public `dbn` crate (github.com/databento/dbn, Apache-2.0), checked
byte by byte against recorded files; docs/venues/databento.md says which. Only fields that are read
are named. All numbers are little-endian; prices and strikes count 1e-9.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import numpy as np

VERSIONS: Final = (1, 2, 3)
UNDEF_PRICE: Final = 2**63 - 1
UNDEF_SIZE: Final = 2**32 - 1
UNDEF_TIME: Final = 2**64 - 1
HEADER_BYTES: Final = 16
TS_OUT_BYTES: Final = 8  # A gateway's send time, appended to records of a live session.
MAYBE_BAD_BOOK: Final = 4  # Bit of `flags`: the capture lost packets, so the quote may be wrong.


class RType(IntEnum):
    """Kinds of record that are read."""

    TRADE = 0
    MBP_1 = 1  # schemas mbp-1 and tbbo
    DEFINITION = 19
    ERROR = 21  # This and the next two: a live session's own messages.
    SYMBOL_MAPPING = 22
    SYSTEM = 23
    STATISTICS = 24
    CMBP_1 = 177
    CBBO_1S = 192
    CBBO_1M = 193
    TCBBO = 194
    BBO_1S = 195
    BBO_1M = 196


class Schema(IntEnum):
    """Schemas of a file that matter here, as its metadata number them."""

    MBP_1 = 1
    TBBO = 3
    TRADES = 4
    DEFINITION = 9
    STATISTICS = 10
    CMBP_1 = 14
    TCBBO = 17
    MIXED = 65535


PRINTS: Final = frozenset(
    {Schema.MBP_1, Schema.TBBO, Schema.TRADES, Schema.CMBP_1, Schema.TCBBO}
)  # Each holds every print of its dataset.


# Of records on intervals, `ts_event` and `price` are those of the last print, however old.
QUOTES: Final = frozenset(
    {RType.MBP_1, RType.CMBP_1, RType.TCBBO, RType.CBBO_1S, RType.CBBO_1M, RType.BBO_1S,
     RType.BBO_1M}
)  # fmt: skip
INTERVALS: Final = frozenset({RType.CBBO_1S, RType.CBBO_1M, RType.BBO_1S, RType.BBO_1M})
PER_PUBLISHER: Final = frozenset({RType.MBP_1, RType.BBO_1S, RType.BBO_1M})


def _record(fields: Mapping[str, tuple[str, int]], itemsize: int) -> np.dtype[Any]:
    return np.dtype(
        {
            "names": list(fields),
            "formats": [kind for kind, _ in fields.values()],
            "offsets": [at for _, at in fields.values()],
            "itemsize": itemsize,
        }
    )


_HEADER: Final = {
    "publisher_id": ("<u2", 2), "instrument_id": ("<u4", 4), "ts_event": ("<u8", 8),
}  # fmt: skip
_PRINT: Final = _HEADER | {
    "price": ("<i8", 16), "size": ("<u4", 24), "action": ("u1", 28), "side": ("u1", 29),
    "flags": ("u1", 30), "ts_recv": ("<u8", 32),
}  # fmt: skip
TRADE: Final = _record(_PRINT, 48)
# One layout serves every record with a quote: they differ in fields that are not read.
QUOTE: Final = _record(
    _PRINT | {
        "bid_px": ("<i8", 48), "ask_px": ("<i8", 56), "bid_sz": ("<u4", 64), "ask_sz": ("<u4", 68),
    },
    80,
)  # fmt: skip

_STAT: Final = _HEADER | {"ts_recv": ("<u8", 16), "ts_ref": ("<u8", 24)}
STATISTICS_V1: Final = _record(
    _STAT | {"quantity": ("<i4", 40), "stat_type": ("<u2", 52), "update_action": ("u1", 56)}, 64
)
STATISTICS_V3: Final = _record(
    _STAT | {"quantity": ("<i8", 40), "stat_type": ("<u2", 56), "update_action": ("u1", 60)}, 80
)

_DEFINITION: Final = _HEADER | {
    "ts_recv": ("<u8", 16), "min_price_increment": ("<i8", 24), "display_factor": ("<i8", 32),
    "expiration": ("<u8", 40),
}  # fmt: skip
DEFINITION_V1: Final = _record(
    _DEFINITION | {
        "unit_of_measure_qty": ("<i8", 88), "currency": ("S4", 186), "raw_symbol": ("S22", 200),
        "asset": ("S7", 248), "cfi": ("S7", 255), "underlying": ("S21", 300),
        "instrument_class": ("S1", 325), "strike_price": ("<i8", 328),
        "security_update_action": ("S1", 349), "user_defined_instrument": ("S1", 353),
        "tick_rule": ("u1", 356),
    },
    360,
)  # fmt: skip
DEFINITION_V2: Final = _record(
    _DEFINITION | {
        "unit_of_measure_qty": ("<i8", 88), "strike_price": ("<i8", 112), "currency": ("S4", 186),
        "raw_symbol": ("S71", 200), "asset": ("S7", 297), "cfi": ("S7", 304),
        "underlying": ("S21", 349), "instrument_class": ("S1", 374),
        "security_update_action": ("S1", 382), "user_defined_instrument": ("S1", 386),
        "tick_rule": ("u1", 389),
    },
    400,
)  # fmt: skip
DEFINITION_V3: Final = _record(
    _DEFINITION | {
        "unit_of_measure_qty": ("<i8", 80), "strike_price": ("<i8", 104), "currency": ("S4", 224),
        "raw_symbol": ("S71", 238), "asset": ("S11", 335), "cfi": ("S7", 346),
        "underlying": ("S21", 391), "instrument_class": ("S1", 487),
        "security_update_action": ("S1", 493), "user_defined_instrument": ("S1", 497),
        "tick_rule": ("u1", 500),
    },
    520,
)  # fmt: skip

# A live session's own messages, in version 3, to which the client brings all records.
SYMBOL_MAPPING: Final = _record(_HEADER | {"stype_out_symbol": ("S71", 89)}, 176)
ERROR: Final = _record(_HEADER | {"err": ("S302", 16), "code": ("u1", 318)}, 320)
SYSTEM: Final = _record(_HEADER | {"code": ("u1", 319)}, 320)

_BY_VERSION: Final = {
    RType.DEFINITION: {1: DEFINITION_V1, 2: DEFINITION_V2, 3: DEFINITION_V3},
    RType.STATISTICS: {1: STATISTICS_V1, 2: STATISTICS_V1, 3: STATISTICS_V3},
}


def layout_of(rtype: int, version: int) -> np.dtype[Any] | None:
    """Layout of a kind of record in a version of the format; None where it is not read."""
    if rtype in QUOTES:
        return QUOTE
    if rtype == RType.TRADE:
        return TRADE
    return _BY_VERSION[RType(rtype)][version] if rtype in _BY_VERSION else None


# dataset -> publisher_id -> venue. Source: Databento's list of publishers, as read 2026-11-22;
# tests compare it with the copy in fixtures/databento/publishers.json.
PUBLISHERS: Final[Mapping[str, Mapping[int, str]]] = {
    "GLBX.MDP3": {1: "glbx"},
    "OPRA.PILLAR": {
        20: "amxo", 21: "xbox", 22: "xcbo", 23: "emld", 24: "edgo", 25: "gmni", 26: "xisx",
        27: "mcry", 28: "xmio", 29: "arco", 30: "opra", 31: "mprl", 32: "xndq", 33: "xbxo",
        34: "c2ox", 35: "xphl", 36: "bato", 37: "mxop", 61: "sphr", 108: "mxto", 109: "iexo",
    },
}  # fmt: skip
# The publisher whose listing stands for the whole dataset: the only one, or the consolidator.
CONSOLIDATED: Final[Mapping[str, int]] = {"GLBX.MDP3": 1, "OPRA.PILLAR": 30}
