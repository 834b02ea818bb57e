"""Table recordings that break their format: each error names file, column, row and value."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feeds.errors import TableError
from feeds.tables import read_tables
from tests.feeds.recordings import (
    BOOKS,
    GREEKS,
    INTEREST,
    LISTINGS,
    NAN,
    QUOTES,
    TRADES,
    Columns,
    new_recording,
    save,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_recording(tmp_path)


def broken(name: str, base: Columns, *without: str, **changes: Any) -> Callable[[Path], None]:
    return lambda folder: save(folder, name, base, *without, **changes)


listings, quotes, books = (
    partial(broken, "listings", LISTINGS),
    partial(broken, "quotes", QUOTES),
    partial(broken, "books", BOOKS),
)
trades, greeks, interest = (
    partial(broken, "trades", TRADES),
    partial(broken, "greeks", GREEKS),
    partial(broken, "open_interest", INTEREST),
)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        # listings
        (listings("tick"), "listings.parquet: column tick: missing"),
        (listings(tick=["a", "b"]), "listings.parquet: column tick: type string"),
        (listings(tick=[0.01, 0.0]), "column tick, row 1: 0.0, expected .* > 0"),
        (listings(tick=[-0.01, 0.1]), "column tick, row 0: -0.01, expected"),
        (listings(tick=[0.01, None]), "column tick, row 1: null, expected"),
        (listings(venue=["OPRA", None]), "column venue, row 1: null, expected"),
        (listings(venue=["OPRA", ""]), "column venue, row 1: '', expected"),
        (listings(right=["X", None]), "column right, row 0: 'X', expected C or P"),
        (listings(right=["P", "C"]), "column right, row 1: 'C', expected none"),
        (listings("strike_e9"), "column strike_e9, row 0: None, expected"),
        (listings(kind=["option", "swap"]),
         "column kind, row 1: 'swap', expected one of option, perp, future, spot, index, equity"),
        (listings(settle=["linear", "cash"]), "column settle, row 1: 'cash'"),
        (listings(style=["asian", None]), "column style, row 0: 'asian'"),
        (listings(listing_id=[7, 7]), "column listing_id, row 1: 7, expected an id"),
        (listings(listing_id=[7, 2**32]), "column listing_id, row 1: 4294967296"),
        (listings(listing_id=[7, -1]), "column listing_id, row 1: -1, expected 0"),
        (listings(listing_id=[7.0, 1.0]), "column listing_id: type double"),
        (listings(multiplier=[math.inf, 1.0]), "column multiplier, row 0: inf"),
        (listings(tick_table=["[1]", None]), "column tick_table, row 0: '\\[1\\]'"),
        (listings(tick_table=["[", None]), "column tick_table, row 0: '\\['"),
        (listings(tick_table=["[[2, 1], [1, 1]]", None]), "tick_table, row 0"),
        # quotes
        (quotes("ask"), "quotes.parquet: column ask: missing, expected f64"),
        (quotes(seqnr=[1, 2]), "column seqnr: unknown, the nearest known is seq"),
        (quotes(listing_id=[7, 4]), "column listing_id, row 1: 4, expected an id"),
        (quotes(rx_ns=[1, None]), "column rx_ns, row 1: null, expected"),
        (quotes(rx_ns=[1.0, 2.0]), "column rx_ns: type double, expected i64"),
        (quotes(rx_ns=pa.array([1, 2], pa.timestamp("ns"))), "column rx_ns: type times"),
        (quotes(rx_ns=pa.array([1, 2**63], pa.uint64())), "column rx_ns, row 1: 9223"),
        (quotes(seq=[1, -1]), "column seq, row 1: -1, expected 0 to"),
        (quotes(bid=[None, 1.0]), "column bid, row 0: null, .*missing is NaN"),
        (quotes(bid=["1", "2"]), "column bid: type string, expected f64"),
        (quotes(bid=[1.055, 1.0]), "column bid, row 0: 1.055, .* multiple of the tick"),
        (quotes(bid=[1.05, 480.0102]), "column bid, row 1: 480.0102, .* the tick 0.01"),
        (quotes(ask=[-1.0, 1.0]), "column ask, row 0: -1.0, expected an option's"),
        (quotes(ask=[1.0, 0.0]), "column ask, row 1: 0.0, expected a price, as ask_size"),
        (quotes(ask=[1.0, 1e300]), "column ask, row 1: 1e\\+300, expected"),
        (quotes(bid=[1.0, math.inf]), "column bid, row 1: inf, expected"),
        (quotes(bid=[-math.inf, 1.0]), "column bid, row 0: -inf, expected"),
        (quotes(bid_size=[1.0, -1.0]), "column bid_size, row 1: -1.0, expected 0 to"),
        (quotes(ask_size=[1e39, 1.0]), "column ask_size, row 0: 1e\\+39, expected 0"),
        # books
        (books(level=[0, 1, 256]), "books.parquet: column level, row 2: 256, expected 0"),
        (books(level=[0, 1, -1]), "column level, row 2: -1, expected 0 to 255"),
        (books(level=[0, 2, 0]), "column level, row 1: 2, expected 1, the next level"),
        (books(level=[0, 1, 1]), "column level, row 2: 1, expected 0, .* side -1"),
        (books(level=[1, 2, 0]), "column level, row 0: 1, expected side \\+1, level 0"),
        (books(side=[1, 2, -1]), "column side, row 1: 2, expected -1 to 1"),
        (books(side=[1, 0, -1]), "column side, row 1: 0, expected \\+1"),
        (books(side=[-1, 1, 1]), "column level, row 0: 0, expected side \\+1, level 0"),
        (books(price=[1.04, 1.05, 1.1]), "column price, row 1: 1.05, expected a price"),
        (books(price=[1.04, 1.04, 1.1]), "column price, row 1: 1.04, expected a price"),
        (books(side=[1, -1, -1], level=[0, 0, 1], price=[1.0, 1.2, 1.1]),
         "column price, row 2: 1.1, expected a price beyond 1.2 of the level before, side -1"),
        (books(price=[NAN, 1.04, 1.1]), "column price, row 1: 1.04, expected a price"),
        (books(listing_id=[7, 3, 7]), "column listing_id, row 1: 3, expected that of"),
        (books(rx_ns=[10, 10, 11]), "column rx_ns, row 2: 11, expected that of"),
        (books(seq=[1, 1, 2]), "column seq, row 2: 2, expected that of"),
        # trades
        (trades(side=[2]), "trades.parquet: column side, row 0: 2, expected -1 to 1"),
        (trades(flags=[128]), "column flags, row 0: 128, expected 0 to 127"),
        (trades(price=[NAN]), "column price, row 0: nan, expected the price"),
        (trades(size=[NAN]), "column size, row 0: nan, expected the size"),
        (trades(price=[0.0]), "column price, row 0: 0.0, expected a price"),
        (trades(price=[0.0], size=[0.0]), "column price, row 0: 0.0, expected a price"),
        (trades(price=[1.1025]), "column price, row 0: 1.1025, expected a multiple"),
        (trades(listing_id=[8]), "column listing_id, row 0: 8, expected an id"),
        # greeks, open interest
        (greeks(iv_mark=[-1.0]), "greeks.parquet: column iv_mark, row 0: -1.0"),
        (greeks(delta=[math.inf]), "column delta, row 0: inf, expected"),
        (greeks(gama=[0.1]), "column gama: unknown, the nearest known is gamma"),
        (greeks(listing_id=[8]), "column listing_id, row 0: 8, expected an id"),
        (interest(oi=[-1.0]), "open_interest.parquet: column oi, row 0: -1.0"),
        (interest(oi=[NAN]), "column oi, row 0: nan, expected an open"),
        # files
        (broken("trade", TRADES), "trade.parquet: unknown file, expected listings"),
        (lambda folder: (folder / "quotes.parquet").unlink(), "quotes.parquet: missing"),
        (lambda folder: (folder / "listings.parquet").unlink(), "listings.parquet: missing"),
        (lambda folder: (folder / "books.parquet").write_bytes(b"PAR1"), "books.parquet: .* whole"),
    ],
)  # fmt: skip
def test_recording_that_breaks_the_format_is_refused(
    folder: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(folder)
    with pytest.raises(TableError, match=message):
        read_tables(folder)


def test_error_names_the_part_and_its_own_row(folder: Path) -> None:
    save(folder, "trades-0001", TRADES)
    save(folder, "trades-0002", TRADES, price=[NAN])
    with pytest.raises(TableError, match=r"^trades-0002\.parquet: column price, row 0: nan"):
        read_tables(folder)


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no folder"):
        read_tables(tmp_path / "absent")


def test_later_format_version_is_refused(folder: Path) -> None:
    table = pa.table(TRADES).replace_schema_metadata({b"table_recording": b"2"})
    pq.write_table(table, folder / "trades.parquet")
    with pytest.raises(TableError, match=r"trades.parquet: format version b'2', expected b'1'"):
        read_tables(folder)


def test_negative_price_of_a_share_is_a_price(folder: Path) -> None:
    save(folder, "quotes", QUOTES, bid=[1.05, -37.63])
    assert read_tables(folder).rows["price"][2] == -37.63
