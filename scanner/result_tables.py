"""Stage 6 of 8: a scan as one table, a row per listing, for those who analyse.

    listing_id, fresh, observed_ns, warming, validity, stratum
    score_<list>, p_<list>, statistic_<list>
    value_<feature>, baseline_<feature>
    z_<feature>_<scale>, p_<feature>_<scale>
    metrics by their names, where they are asked for

A missing number is NaN in every kind of table and never null: a column's bytes are those of the
scan, so it needs no copy, and no two libraries see different holes.
"""

import importlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.device_array import row_of
from scanner.errors import InputError
from scanner.result import DRIVERS, FEATURES, LISTS, ScanResult

if TYPE_CHECKING:
    import pyarrow as pa

_DRIVER_NAMES: Final = tuple(f"{feature}_{scale}" for feature, scale in DRIVERS)
# Names of the columns that the rows of a ScanResult's attribute become; a vector is one row.
_NAMES: Final = {
    "observed_ns": ("observed_ns",),
    "warming": ("warming",),
    "validity": ("validity",),
    "stratum": ("stratum",),
    "score": tuple(f"score_{name}" for name in LISTS),
    "p": tuple(f"p_{name}" for name in LISTS),
    "statistic": tuple(f"statistic_{name}" for name in LISTS),
    "value": tuple(f"value_{name}" for name in FEATURES),
    "baseline": tuple(f"baseline_{name}" for name in FEATURES),
    "z": tuple(f"z_{name}" for name in _DRIVER_NAMES),
    "p_feature": tuple(f"p_{name}" for name in _DRIVER_NAMES),
}


def columns_of(result: ScanResult, metrics: bool | Sequence[str]) -> dict[str, NDArray[Any]]:
    """Columns of the table by name, [listing] each; all but listing_id and fresh are borrowed.

    Args:
        result: of one scan.
        metrics: True for every exported metric, or the names of some.

    Raises:
        InputError: there is no metric of a name.
    """
    count = len(result.observed_ns)
    fresh = np.zeros(count, np.bool_)
    fresh[result.fresh] = True
    table = {"listing_id": np.arange(count, dtype=np.uint32), "fresh": fresh}
    for attribute, names in _NAMES.items():
        rows = np.atleast_2d(getattr(result, attribute))
        table |= dict(zip(names, rows, strict=True))
    return table | _metric_columns(result, metrics)


def _metric_columns(result: ScanResult, metrics: bool | Sequence[str]) -> dict[str, NDArray[Any]]:
    known = result.metrics
    names = (list(known) if metrics else []) if isinstance(metrics, bool) else metrics
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"metrics: there is no {', '.join(unknown)}, expected names of docs/METRICS.md"
        )
    return {name: known[name] for name in names}


def arrow_table(result: ScanResult, metrics: bool | Sequence[str], *, copy: bool) -> "pa.Table":
    """Table of Arrow; without a copy its columns lie on the scan's arrays, flags excepted."""
    import pyarrow as pa  # noqa: PLC0415 - 50 ms that a scan does not need

    columns = columns_of(result, metrics)
    # Arrow packs flags into bits, which is a copy already.
    return pa.table(
        {name: pa.array(column.copy() if copy else column) for name, column in columns.items()}
    )


def polars_frame(result: ScanResult, metrics: bool | Sequence[str], *, copy: bool) -> Any:
    """DataFrame of polars over Arrow's memory."""
    polars = _module("polars", "polars")
    return polars.from_arrow(arrow_table(result, metrics, copy=copy), rechunk=False)


def cupy_arrays(result: ScanResult, metrics: bool | Sequence[str], *, copy: bool) -> dict[str, Any]:
    """Columns as CuPy arrays: the GPU's own where the scan ran on one, else sent there."""
    cupy = _module("cupy", "gpu-cu13")
    columns = columns_of(result, metrics) | dict(_columns_there(result))
    arrays = {
        # None is CuPy's word for a copy only where one is needed.
        name: cupy.asarray(column, copy=True if copy else None)
        for name, column in columns.items()
    }
    # CuPy copies behind the caller's back, and the next scan would overtake it.
    cupy.cuda.get_current_stream().synchronize()
    return arrays


def _columns_there(result: ScanResult) -> Iterator[tuple[str, Any]]:
    """Columns that the GPU holds, by name."""
    for attribute, (matrix, first) in result.on_device.items():
        for k, name in enumerate(_NAMES[attribute]):
            yield name, row_of(matrix, first + k, len(result.observed_ns))


def cudf_frame(result: ScanResult, metrics: bool | Sequence[str], *, copy: bool) -> Any:
    """DataFrame of cuDF over the CuPy arrays."""
    cudf = _module("cudf", "rapids")
    # Its own default makes a null of every NaN.
    return cudf.DataFrame(cupy_arrays(result, metrics, copy=copy), nan_as_null=False)


def _module(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"to_{name}: {error}, expected the extra {extra}: "
            f"pip install 'cross-market-scanner[{extra}]'"
        ) from error
