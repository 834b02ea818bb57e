"""DBN files written with struct alone, from the format's description: no code of ours."""

import struct
from pathlib import Path

import pyarrow as pa

DAY = 86_400 * 10**9
MONDAY_NS = 1_691_366_400 * 10**9  # 2023-08-07 00:00 UTC
NONE_I8, NONE_U8, NONE_U4 = 2**63 - 1, 2**64 - 1, 2**32 - 1
OPRA, GLBX = "OPRA.PILLAR", "GLBX.MDP3"
SCHEMAS = {
    "mbp-1": 1, "tbbo": 3, "trades": 4, "definition": 9, "statistics": 10, "cmbp-1": 14,
    "cbbo-1s": 15, "tcbbo": 17, "bbo-1s": 18, "mixed": 65535,
}  # fmt: skip
FIVE = "SPY   240119P00340000"
SEVEN = "SPY   240119P00370000"


def cstr(text: str, width: int) -> bytes:
    return text.encode().ljust(width, b"\0")


def head(dataset: str, schema: str, version: int = 3, mappings=(), start_ns=0, end_ns=NONE_U8):
    """Prefix and metadata; mappings are (symbol, [(YYYYMMDD from, until, id), ...])."""
    width = 22 if version == 1 else 71
    body = cstr(dataset, 16) + struct.pack("<HQQQ", SCHEMAS[schema], start_ns, end_ns, 0)
    body += struct.pack("<Q", NONE_U8) if version == 1 else b""
    body += struct.pack("<BBB", 1, 0, 0)
    body += bytes(47) if version == 1 else struct.pack("<H", width) + bytes(53)
    body += struct.pack("<IIIII", 0, 0, 0, 0, len(mappings))
    for symbol, intervals in mappings:
        body += cstr(symbol, width) + struct.pack("<I", len(intervals))
        for first, until, number in intervals:
            body += struct.pack("<II", first, until) + cstr(str(number), width)
    return b"DBN" + bytes([version]) + struct.pack("<I", len(body)) + body


def record(rtype: int, publisher: int, instrument: int, event_ns: int, body: bytes) -> bytes:
    length = (16 + len(body)) // 4
    return struct.pack("<BBHIQ", length, rtype, publisher, instrument, event_ns) + body


def quote(
    rtype: int, ns: int, bid, ask, *, instrument=5, publisher=30, action="M", side="N", price=0,
    size=0, sizes=(10, 20), flags=128, event_ns=None,
) -> bytes:  # fmt: skip
    """Any record with one quote; prices count 1e-9."""
    body = struct.pack(
        "<qIcccBQ8sqqIIII", price, size, action.encode(), side.encode(), bytes([flags]), 0, ns,
        bytes(8), bid, ask, *sizes, 1, 1,
    )  # fmt: skip
    return record(rtype, publisher, instrument, ns - 7 if event_ns is None else event_ns, body)


def trade(ns: int, price: int, size: int, side: str, *, instrument=5, publisher=22, action="T"):
    body = struct.pack(
        "<qIccBBQ8s", price, size, action.encode(), side.encode(), 0, 0, ns, bytes(8)
    )
    return record(0, publisher, instrument, ns - 7, body)


def open_interest(ns, quantity, *, version=3, stat_type=9, ref_ns=NONE_U8, action=1, instrument=5):
    kind = "q" if version == 3 else "i"
    body = struct.pack("<QQq" + kind, ns, ref_ns, NONE_I8, quantity)
    body += struct.pack("<IiHHBB", 0, 0, stat_type, 0, action, 255)
    return record(24, 30, instrument, NONE_U8, body.ljust(64 if version == 3 else 48, b"\0"))


def definition(ns: int, symbol: str, *, instrument=5, version=3, publisher=30, **fields) -> bytes:
    """Fields at the offsets of the format's description, whose undefined values are kept."""
    at = {
        1: (360, 88, 328, 186, 200, 22, 248, 255, 300, 325, 349, 353, 356),
        2: (400, 88, 112, 186, 200, 71, 297, 304, 349, 374, 382, 386, 389),
        3: (520, 80, 104, 224, 238, 71, 335, 346, 391, 487, 493, 497, 500),
    }[version]
    size, qty, strike, currency, raw, width, asset, cfi, underlying, kind, action, user, rule = at
    value = {
        "tick": NONE_I8, "display": NONE_I8, "expiration": NONE_U8, "qty": NONE_I8,
        "strike": NONE_I8, "currency": "USD", "asset": "", "cfi": "", "underlying": "",
        "kind": symbol[12:13], "action": "A", "user": "N", "rule": 255,
    } | fields  # fmt: skip
    body = bytearray(size)
    struct.pack_into("<QqqQ", body, 16, ns, value["tick"], value["display"], value["expiration"])
    struct.pack_into("<q", body, qty, value["qty"])
    struct.pack_into("<q", body, strike, value["strike"])
    for offset, text, room in (
        (currency, value["currency"], 4), (raw, symbol, width), (asset, value["asset"], 7),
        (cfi, value["cfi"], 7), (underlying, value["underlying"], 21), (kind, value["kind"], 1),
        (action, value["action"], 1), (user, value["user"], 1),
    ):  # fmt: skip
        body[offset : offset + room] = cstr(text, room)
    body[rule] = value["rule"]
    return record(19, publisher, instrument, ns, bytes(body[16:]))


def mapping(instrument: int, symbol: str) -> bytes:
    """A live session's word of what an id means, as of a parent symbol."""
    body = bytes([4]) + cstr("SPY.OPT", 71) + bytes([1]) + cstr(symbol, 71)
    return record(22, 0, instrument, NONE_U8, body + struct.pack("<QQ", NONE_U8, NONE_U8))


def gateway_error(code: int, text: str = "") -> bytes:
    return record(21, 0, 0, MONDAY_NS, cstr(text, 302) + bytes([code, 1]))


def gateway_system(code: int) -> bytes:
    return record(23, 0, 0, MONDAY_NS, bytes(303) + bytes([code]))


def put_340(ns: int = MONDAY_NS + 1, **fields) -> bytes:
    """The recorded SPY put of 2024-01-19."""
    known = {"strike": 340 * 10**9, "expiration": 1_705_622_400 * 10**9}
    return definition(ns, FIVE, **(known | fields))


def write(folder: Path, name: str, *parts: bytes) -> Path:
    """Write a file; zstd where its name says so."""
    path, content = folder / name, b"".join(parts)
    if path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as out:
            out.write(content)
    else:
        path.write_bytes(content)
    return path
