"""Small hand-made table recordings, shared by the tests that read and write them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feeds.contract import Listing, ListingKind
from feeds.events import EVENT, Flag, Kind

NAN = math.nan
LAST, START = int(Flag.LAST), int(Flag.SNAPSHOT_START)
QUOTE, BOOK, TRADE = int(Kind.QUOTE), int(Kind.BOOK_SNAPSHOT), int(Kind.TRADE)

OPTION = Listing(
    venue="OPRA",
    symbol="SPY   240119P00340000",
    kind=ListingKind.OPTION,
    underlying="SPY",
    multiplier=100.0,
    price_ccy="USD",
    settle="linear",
    tick=0.01,
    expiry_ns=1_705_698_000_000_000_000,
    strike_e9=340_000_000_000,
    right="P",
    style="american",
)
SHARE = Listing("OPRA", "SPY", ListingKind.EQUITY, "SPY", 1.0, "USD", "linear", 0.01)
COIN = Listing(
    venue="deribit",
    symbol="BTC-27MAR26-100000-C",
    kind=ListingKind.OPTION,
    underlying="BTC",
    multiplier=1.0,
    price_ccy="BTC",
    settle="inverse",
    tick=0.0001,
    expiry_ns=1_774_598_400_000_000_000,
    strike_e9=100_000_000_000_000,
    right="C",
    style="european",
    price_per=2.0,
    lot=0.1,
    tick_table=((0.005, 0.0005),),
    settle_window_s=1800.0,
)

Columns = dict[str, Any]

LISTINGS: Columns = {
    "listing_id": pa.array([7, 3], pa.uint32()),
    "venue": ["OPRA", "OPRA"],
    "symbol": [OPTION.symbol, "SPY"],
    "kind": ["option", "equity"],
    "underlying": ["SPY", "SPY"],
    "expiry_ns": [OPTION.expiry_ns, None],
    "strike_e9": [OPTION.strike_e9, None],
    "right": ["P", None],
    "style": ["american", None],
    "multiplier": [100.0, 1.0],
    "price_ccy": ["USD", "USD"],
    "settle": ["linear", "linear"],
    "tick": [0.01, 0.01],
}
QUOTES: Columns = {
    "rx_ns": [10, 20],
    "listing_id": [7, 3],
    "bid": [1.05, 480.01],
    "bid_size": [11.0, 300.0],
    "ask": [1.1, 480.02],
    "ask_size": [12.0, 400.0],
}
BOOKS: Columns = {
    "rx_ns": [10, 10, 10],
    "listing_id": [7, 7, 7],
    "side": [1, 1, -1],
    "level": [0, 1, 0],
    "price": [1.05, 1.04, 1.1],
    "size": [1.0, 2.0, 3.0],
}
TRADES: Columns = {
    "rx_ns": [10],
    "listing_id": [7],
    "price": [1.1],
    "size": [5.0],
    "side": [-1],
    "flags": [0],
}
GREEKS: Columns = {"rx_ns": [10], "listing_id": [7], "iv_mark": [0.25]}
INTEREST: Columns = {"rx_ns": [10], "listing_id": [7], "oi": [0.0]}


def save(folder: Path, name: str, columns: Columns, *without: str, **changes: Any) -> None:
    merged = {**columns, **changes}
    kept = {key: value for key, value in merged.items() if key not in without}
    pq.write_table(pa.table(kept), folder / f"{name}.parquet")


def new_recording(tmp_path: Path) -> Path:
    """A recording with its two listings and no quotes; a test adds or overwrites files."""
    save(tmp_path, "listings", LISTINGS)
    empty: Columns = {key: pa.array([], pa.float64()) for key in QUOTES}
    whole = {"rx_ns": pa.array([], pa.int64()), "listing_id": pa.array([], pa.uint32())}
    save(tmp_path, "quotes", empty, **whole)
    return tmp_path


def events(*rows: tuple[Any, ...]) -> np.ndarray:
    """Event rows from (rx, ex, seq, price, size, listing, kind, side, flags, level)."""
    return np.array([(*row, 0) for row in rows], EVENT)


def assert_rows(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == wanted.dtype
    assert len(found) == len(wanted)
    for name in found.dtype.names or ():
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
