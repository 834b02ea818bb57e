"""Stage 2 of 8: the columns of a table recording, format version 1, checked part by part.

The reader (feeds/tables.py) and the writer (feeds/table_writer.py) share what stands here: the
names and types of the columns and the ranges they must keep. A part that breaks the format is
refused as a whole: a TableError names file, column and row (0-based, in that file), the value, and
what was expected.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feeds.errors import TableError
from feeds.events import Flag

VERSION_KEY: Final = b"table_recording"  # in the Parquet metadata of what the writer writes
VERSION: Final = b"1"
# Float32 columns hold products of such numbers without turning infinite or losing them to zero.
VALUE_MIN, VALUE_MAX = 1e-12, 1e15
F64_MAX: Final = float(np.finfo(np.float64).max)
FLAG_BITS: Final = 0x7F  # all bits of feeds.events.Flag

# Blocks, combo legs and requests for quote print at negotiated prices, which need not lie on the
# book's grid; they are kept as they are.
NEGOTIATED: Final = int(Flag.BLOCK | Flag.COMBO_LEG | Flag.RFQ)

INTEGERS: Final[dict[str, type[np.integer[Any]]]] = {
    "i8": np.int8,
    "u8": np.uint8,
    "u16": np.uint16,
    "u32": np.uint32,
    "i64": np.int64,
    "u64": np.uint64,
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file.

    type: a key of INTEGERS, or f64, text, ticks.
    required: the column must be there. nullable: it may hold nulls; of numbers null means NaN.
    low, high: inclusive range; the defaults are those of the type. NaN is within every range.
    """

    name: str
    type: str
    required: bool = True
    nullable: bool = False
    low: float | None = None
    high: float | None = None


def _optional(name: str, type_: str, low: float | None = None, high: float | None = None) -> Column:
    return Column(name, type_, required=False, nullable=True, low=low, high=high)


def _size(name: str) -> Column:
    """Size in native units."""
    return Column(name, "f64", low=0.0, high=VALUE_MAX)


def _positive(name: str) -> Column:
    return _optional(name, "f64", VALUE_MIN, VALUE_MAX)


# 0 stands for "never"; times beyond the year 2116 leave no room to count with.
_RX: Final = Column("rx_ns", "i64", low=1, high=1 << 62)
_ID: Final = Column("listing_id", "u32")
_EX: Final = _optional("ex_ns", "i64")
_SEQ: Final = _optional("seq", "u64")

FILES: Final[dict[str, tuple[Column, ...]]] = {
    "listings": (
        _ID,
        Column("venue", "text"),
        Column("symbol", "text"),
        Column("kind", "text"),
        Column("underlying", "text"),
        _optional("expiry_ns", "i64"),
        _optional("strike_e9", "i64"),
        _optional("right", "text"),
        _optional("style", "text"),
        Column("multiplier", "f64", low=VALUE_MIN, high=VALUE_MAX),
        _positive("price_per"),
        _positive("lot"),
        Column("price_ccy", "text"),
        Column("settle", "text"),
        Column("tick", "f64"),
        _optional("tick_table", "ticks"),
        _optional("settle_window_s", "f64"),
    ),
    "quotes": (
        _RX,
        _EX,
        _SEQ,
        _ID,
        Column("bid", "f64"),
        _size("bid_size"),
        Column("ask", "f64"),
        _size("ask_size"),
    ),
    "books": (
        _RX,
        _SEQ,
        _ID,
        Column("side", "i8", low=-1, high=1),
        Column("level", "u8"),
        Column("price", "f64"),
        _size("size"),
    ),
    "trades": (
        _RX,
        _EX,
        _SEQ,
        _ID,
        Column("price", "f64"),
        _size("size"),
        Column("side", "i8", low=-1, high=1),
        Column("flags", "u16", low=0, high=FLAG_BITS),
    ),
    "greeks": (
        _RX,
        _ID,
        *(_optional(name, "f64", 0.0, VALUE_MAX) for name in ("iv_mark", "iv_bid", "iv_ask")),
        *(
            _optional(name, "f64", -VALUE_MAX, VALUE_MAX)
            for name in ("delta", "gamma", "vega", "theta")
        ),
        *(_positive(name) for name in ("forward", "index")),
    ),
    "open_interest": (_RX, _ID, _size("oi")),
}
GREEKS: Final = tuple(column.name for column in FILES["greeks"][2:])

_PART: Final = re.compile(r"([a-z_]+?)(?:-([0-9]+))?\.parquet")


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file, its columns checked and brought to their types.

    values: numbers as arrays of the format's type; texts and tick tables as lists.
    valid: for nullable integers, where a row has a value; the value is 0 elsewhere.
    """

    name: str
    row_count: int
    values: dict[str, Any]
    valid: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def fault(self, column: str, row: int, value: object, expectation: str) -> TableError:
        """The error of one row."""
        return TableError(
            f"{self.name}: column {column}, row {row}: {value}, expected {expectation}"
        )

    def refuse(self, bad: NDArray[np.bool_], column: str, expectation: str) -> None:
        """Raise the error of the first row where `bad` is true, if there is one."""
        if bad.any():
            row = int(bad.argmax())
            raise self.fault(column, row, self.values[column][row], expectation)

    def optional(self, column: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """A nullable integer column and where it has values; nowhere if the file has none."""
        if column in self.values:
            return self.values[column], self.valid[column]
        return np.zeros(self.row_count, np.int64), np.zeros(self.row_count, np.bool_)


def part_files(folder: Path) -> dict[str, list[Path]]:
    """Parts of each file of a recording, in order: `quotes.parquet`, then by number.

    Raises:
        TableError: no folder, a Parquet file of no known name, or no listings or quotes.
    """
    if not folder.is_dir():
        raise TableError(f"{folder}: no folder, expected one with listings.parquet")
    parts: dict[str, list[tuple[int, str]]] = {name: [] for name in FILES}
    for path in folder.glob("*.parquet"):
        match = _PART.fullmatch(path.name)
        if match is None or match[1] not in FILES:
            known = ", ".join(FILES)
            raise TableError(
                f"{path.name}: unknown file, expected {known} (or -0001 parts of them)"
            )
        parts[match[1]].append((int(match[2] or -1), path.name))
    for name in ("listings", "quotes"):
        if not parts[name]:
            raise TableError(
                f"{name}.parquet: missing in {folder.name}, expected in every recording"
            )
    return {name: [folder / text for _, text in sorted(found)] for name, found in parts.items()}


def read_part(path: Path, columns: Sequence[Column]) -> Part:
    """Read one file and check names, types, nulls and ranges of its columns.

    Raises:
        TableError: the first thing that breaks the format.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())  # Parquet's words come in several lines.
        raise TableError(f"{path.name}: {said}, expected a whole Parquet file") from error
    _check_names(path.name, table, columns)
    part = Part(path.name, table.num_rows, {})
    for column in columns:
        array = table[column.name] if column.name in table.column_names else None
        if array is not None and not (column.nullable and pa.types.is_null(array.type)):
            _load(part, column, array)
    return part


def _check_names(name: str, table: Any, columns: Sequence[Column]) -> None:
    version = (table.schema.metadata or {}).get(VERSION_KEY, VERSION)
    if version != VERSION:
        raise TableError(f"{name}: format version {version!r}, expected {VERSION!r}")
    found, known = table.column_names, [column.name for column in columns]
    for column in columns:
        if column.required and column.name not in found:
            raise TableError(f"{name}: column {column.name}: missing, expected {column.type}")
    for text in found:
        if text not in known:
            near = difflib.get_close_matches(text, known, n=1, cutoff=0.0)
            raise TableError(f"{name}: column {text}: unknown, the nearest known is {near[0]}")
        if found.count(text) > 1:
            raise TableError(f"{name}: column {text}: given twice, expected once")


def _load(part: Part, column: Column, array: Any) -> None:
    """Put one column into the part, in the format's type."""
    _check_type(part, column, array.type)
    if array.null_count and not column.nullable:
        row = int(array.is_null().to_numpy().argmax())
        meaning = "; missing is NaN" if column.type == "f64" else ""
        raise part.fault(column.name, row, "null", f"a value of type {column.type}{meaning}")
    if column.type in ("text", "ticks"):
        part.values[column.name] = array.to_pylist()
        return
    if column.type == "f64":
        values = array.to_numpy().astype(np.float64, copy=False)  # A null comes out as NaN.
    else:
        if column.nullable:
            part.valid[column.name] = array.is_valid().to_numpy()
        values = (array.fill_null(0) if array.null_count else array).to_numpy()
    _check_range(part, column, values)
    target = np.float64 if column.type == "f64" else INTEGERS[column.type]
    part.values[column.name] = values.astype(target, copy=False)


def _check_type(part: Part, column: Column, found: Any) -> None:
    types = pa.types
    if column.type == "text":
        plain = found.value_type if types.is_dictionary(found) else found
        fits = types.is_string(plain) or types.is_large_string(plain)
    elif column.type == "ticks":
        texts = types.is_string(found) or types.is_large_string(found)
        fits = texts or types.is_list(found) or types.is_large_list(found)
    elif column.type == "f64":
        fits = types.is_floating(found) or types.is_integer(found)
    else:
        fits = types.is_integer(found)
    if not fits:
        raise TableError(f"{part.name}: column {column.name}: type {found}, expected {column.type}")


def _check_range(part: Part, column: Column, values: NDArray[Any]) -> None:
    if column.type == "f64":
        low, high = column.low, column.high
        low, high = (-F64_MAX if low is None else low), (F64_MAX if high is None else high)
        shown = f"{low:.9g} to {high:.9g}, or NaN"
    else:
        limits = np.iinfo(INTEGERS[column.type])
        low = limits.min if column.low is None else column.low
        high = limits.max if column.high is None else column.high
        shown = f"{low} to {high}"
    bad = (values < low) | (values > high)
    if bad.any():
        row = int(bad.argmax())
        raise part.fault(column.name, row, values[row], shown)
