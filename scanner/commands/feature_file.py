"""Stage 8 of 8: the Parquet file of `scanner features`."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TYPES: Final = {
    "ts_ns": pa.int64(), "listing_id": pa.uint32(), "contract_id": pa.uint32(),
    "venue": pa.string(), "symbol": pa.string(), "kind": pa.string(), "underlying": pa.string(),
    "expiry_ns": pa.int64(), "strike_e9": pa.int64(), "right": pa.string(),
    "bid": pa.float64(), "bid_size": pa.float64(), "ask": pa.float64(), "ask_size": pa.float64(),
    "mid": pa.float64(), "validity": pa.uint16(),
}  # fmt: skip


class FeatureFile:
    """Writes row groups under a temporary name; `with` renames it when all went well.

    Attributes:
        row_count: rows written so far.
    """

    def __init__(self, out: Path, names: Sequence[str]) -> None:
        """Name the columns; nothing is opened before the first `write`."""
        self._out = out
        self._temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
        bars = {name: pa.float64() for name in names if name.startswith("ofi_bar")}
        fields = [(name, (TYPES | bars).get(name, pa.float32())) for name in names]
        self._schema = pa.schema(fields)
        self._writer: Any = None
        self.row_count = 0

    def __enter__(self) -> Self:
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(self._temporary, self._schema, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._writer.close()
        if kind is None:
            self._temporary.replace(self._out)
        else:
            self._temporary.unlink(missing_ok=True)

    def write(self, frames: Sequence[dict[str, Any]]) -> None:
        """Write the given frames, each a mapping of column name to array, as one row group."""
        if not frames:
            return
        columns = [self._column(field, frames) for field in self._schema]
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._writer.write_table(table)
        self.row_count += table.num_rows

    @staticmethod
    def _column(field: Any, frames: Sequence[dict[str, Any]]) -> Any:
        parts = [frame[field.name] for frame in frames]
        whole = np.ma.concatenate(parts)  # type: ignore[no-untyped-call]
        mask = np.ma.getmaskarray(whole)
        return pa.array(np.ma.getdata(whole), type=field.type, mask=mask if mask.any() else None)
