"""A scan as a table: names, bytes, borrowing, and what is handed to libraries that are not here."""

import ctypes
import sys
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from kernels.rows.features import METRIC_NAMES
from scanner.config import load
from scanner.engine import Scanner
from scanner.errors import InputError
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings
from tests.scanner.scans import Scans

COUNT = 40
FEATURES = ["obi", "depth_obi", "log_spread", "log_depth", "anchored_mid", "ofi_30s"]


@pytest.fixture(scope="module")
def toy():
    """A scanner on the CPU after 40 scans, and its last one."""
    scanner, result = scanned("cpu", 40)
    return scanner, result


def scanned(device, seconds):
    members = listings(COUNT)
    config = load(None, {"engine.tick_ms": 1000, "engine.listings_capacity": 128})
    scanner = Scanner(config, device=device)
    scanner.add(members)
    market = ToyMarket(members, 3)
    result = None
    for k in range(1, seconds + 1):
        scanner.apply(*market.second(START_NS + k * SECOND))
        result = scanner.scan(START_NS + k * SECOND)
    return scanner, result


@pytest.fixture
def result(toy):
    return toy[1]


def address(column: pa.ChunkedArray) -> int:
    (chunk,) = column.chunks
    assert chunk.offset == 0
    return chunk.buffers()[1].address


def expected_names() -> list[str]:
    """Written out by hand where short, else by the rule that the document states."""
    names = ["listing_id", "fresh", "observed_ns", "warming", "validity", "stratum",
             "score_spike", "score_broad", "p_spike", "p_broad",
             "statistic_spike", "statistic_broad"]  # fmt: skip
    names += [f"value_{f}" for f in FEATURES] + [f"baseline_{f}" for f in FEATURES]
    for prefix in ("z", "p"):
        names += [f"{prefix}_{f}_{scale}" for scale in ("instant", "60s") for f in FEATURES]
    return names


# Arrow.


def test_the_table_has_a_row_per_listing_and_a_column_per_number(result):
    table = result.to_arrow()
    assert table.column_names == expected_names()
    assert table.num_rows == COUNT
    assert table["listing_id"].to_pylist() == list(range(COUNT))
    kinds = {"listing_id": pa.uint32(), "fresh": pa.bool_(), "observed_ns": pa.int64(),
             "warming": pa.bool_(), "validity": pa.uint16(), "stratum": pa.uint8()}  # fmt: skip
    assert {n: table.schema.field(n).type for n in table.column_names} == {
        n: kinds.get(n, pa.float32()) for n in expected_names()
    }


def test_columns_are_the_rows_of_the_scan_s_arrays(result):
    table = result.to_arrow()
    rows = {
        "score_broad": result.score[1], "p_spike": result.p[0],
        "statistic_broad": result.statistic[1], "value_log_depth": result.value[3],
        "baseline_ofi_30s": result.baseline[5], "z_obi_instant": result.z[0],
        "z_ofi_30s_60s": result.z[11], "p_obi_60s": result.p_feature[6],
        "validity": result.validity, "observed_ns": result.observed_ns,
        "stratum": result.stratum, "warming": result.warming,
    }  # fmt: skip
    for name, row in rows.items():
        assert table[name].to_numpy().tobytes() == row.tobytes(), name
    fresh = table["fresh"].to_numpy()
    assert np.flatnonzero(fresh).tolist() == result.fresh.tolist()
    assert 0 < fresh.sum() < COUNT


def test_a_missing_number_is_nan_and_never_null(result):
    table = result.to_arrow(metrics=True)
    assert {name: table[name].null_count for name in table.column_names} == dict.fromkeys(
        table.column_names, 0
    )
    assert np.isnan(table["score_spike"].to_numpy()).sum() == np.isnan(result.score[0]).sum() > 0


def test_metrics_are_columns_where_they_are_asked_for(result):
    some = result.to_arrow(metrics=["mid", "obi"])
    assert some.column_names == [*expected_names(), "mid", "obi"]
    assert some["mid"].to_numpy().tobytes() == result.metrics["mid"].tobytes()
    names = result.to_arrow(metrics=True).column_names
    assert names == [*expected_names(), *METRIC_NAMES]
    assert len(set(names)) == len(names)


def test_a_metric_that_is_not_there_is_named(result):
    with pytest.raises(InputError, match=r"metrics: there is no nonsense, expected names of"):
        result.to_arrow(metrics=["mid", "nonsense"])


def test_without_a_copy_columns_lie_on_the_scan_s_arrays(result):
    table = result.to_arrow(copy=False)
    matrices = {"score_spike": result.score[0], "z_log_depth_60s": result.z[9],
                "p_broad": result.p[1], "baseline_obi": result.baseline[0]}  # fmt: skip
    vectors = {"observed_ns": result.observed_ns, "validity": result.validity,
               "stratum": result.stratum}  # fmt: skip
    for name, row in (matrices | vectors).items():
        assert address(table[name]) == row.ctypes.data, name


def test_a_copy_outlives_the_next_scan_and_what_is_borrowed_does_not():
    scanner, result = scanned("cpu", 2)
    kept, borrowed = result.to_arrow(), result.to_arrow(copy=False)
    before = result.observed_ns.tolist()
    scanner.state.columns.i64[:] = 7
    assert kept["observed_ns"].to_pylist() == before
    assert borrowed["observed_ns"].to_pylist() == [7] * COUNT


def test_a_scan_of_no_listing_is_a_table_of_no_row():
    result = Scans(0).at(0)
    assert result.to_arrow().num_rows == 0
    assert result.to_arrow().column_names == expected_names()


# Libraries that are not installed here.


class Recorder(ModuleType):
    """Stands where a library would stand and keeps what it is given."""

    def __init__(self, name):
        super().__init__(name)
        self.given = []
        self.synchronised = 0
        self.cuda = self

    def from_arrow(self, table, *, rechunk):
        self.given.append((table, rechunk))
        return self

    def asarray(self, column, *, copy):
        self.given.append((column, copy))
        return ("cupy", column)

    def get_current_stream(self):
        return self

    def synchronize(self):
        self.synchronised = len(self.given)

    def DataFrame(self, columns, *, nan_as_null):  # noqa: N802 - cuDF's name
        self.given.append((columns, nan_as_null))
        return self


@pytest.fixture
def library(monkeypatch):
    """Put a recorder in the place of a library."""

    def stand(name):
        recorder = Recorder(name)
        monkeypatch.setitem(sys.modules, name, recorder)
        return recorder

    return stand


@pytest.mark.parametrize(
    ("name", "extra"), [("polars", "polars"), ("cupy", "gpu-cu13"), ("cudf", "rapids")]
)
def test_a_library_that_is_missing_is_told_with_its_extra(result, monkeypatch, name, extra):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"to_{name}: .*expected the extra {extra}: pip install"):
        getattr(result, f"to_{name}")()


@pytest.mark.parametrize("copy", [True, False])
def test_polars_gets_arrow_s_table_as_it_is(result, library, copy):
    polars = library("polars")
    assert result.to_polars(metrics=["mid"], copy=copy) is polars
    ((table, rechunk),) = polars.given
    assert table.column_names == [*expected_names(), "mid"]
    assert rechunk is False
    assert (address(table["score_spike"]) == result.score[0].ctypes.data) is not copy


@pytest.mark.parametrize(("copy", "word"), [(True, True), (False, None)])
def test_cupy_gets_every_column_and_is_waited_for(result, library, copy, word):
    cupy = library("cupy")
    arrays = result.to_cupy(metrics=["mid"], copy=copy)
    assert list(arrays) == [*expected_names(), "mid"]
    assert [given for _, given in cupy.given] == [word] * len(arrays)
    assert cupy.synchronised == len(arrays)
    assert arrays["z_obi_60s"][1].ctypes.data == result.z[6].ctypes.data


def test_cudf_gets_the_arrays_of_cupy_and_keeps_nan(result, library):
    library("cupy")
    cudf = library("cudf")
    assert result.to_cudf() is cudf
    ((columns, nan_as_null),) = cudf.given
    assert list(columns) == expected_names()
    assert {kind for kind, _ in columns.values()} == {"cupy"}
    assert nan_as_null is False


# A scan on a GPU.


class HostArray:
    """An array of FakeDevice."""

    def __init__(self, shape, dtype):
        self.host = np.zeros(shape, dtype)
        self.shape, self.dtype = self.host.shape, self.host.dtype
        self.pointer = self.host.ctypes.data


class FakeDevice:
    """A device whose memory is the host's and whose kernels leave random numbers."""

    name = "cuda"

    def __init__(self):
        self.arrays = []

    def allocate(self, shape, dtype):
        self.arrays.append(HostArray(shape, dtype))
        return self.arrays[-1]

    def upload(self, pairs):
        for array, host in pairs:
            array.host.reshape(-1)[: host.size] = host.reshape(-1)

    def fetch(self, pairs):
        for array, host in pairs:
            there = ctypes.string_at(array.pointer, host.nbytes)  # Of an array or of its row.
            host.reshape(-1)[:] = np.frombuffer(there, host.dtype)

    def graph(self, nodes):
        return nodes

    def launch(self, graph):
        rng = np.random.default_rng(5)
        for array in self.arrays:
            if array.dtype == np.float32 and len(array.shape) == 2:
                array.host[:] = rng.random(array.shape)
            elif array.dtype == np.uint16 or (array.dtype == np.uint8 and len(array.shape) == 2):
                array.host[:] = rng.integers(0, 100, array.shape)
            elif array.shape[0] == 13:  # The columns of 64 bits.
                array.host[:] = rng.integers(0, 1 << 40, array.shape)


def bytes_at(array):
    said = array.__cuda_array_interface__
    assert said["strides"] is None
    return ctypes.string_at(said["data"][0], array.nbytes)


def test_columns_of_a_gpu_s_scan_are_its_own_arrays(library):
    library("cupy")
    _, result = scanned(FakeDevice(), 2)
    arrays = {name: array for name, (_, array) in result.to_cupy(copy=False).items()}
    there = {name for name, array in arrays.items() if not isinstance(array, np.ndarray)}
    # The rest is made on the host.
    assert set(arrays) - there == {"listing_id", "fresh", "warming"}
    table = result.to_arrow()
    for name in there:
        column = table[name].to_numpy()
        assert (arrays[name].shape, arrays[name].dtype) == (column.shape, column.dtype)
        assert bytes_at(arrays[name]) == column.tobytes(), name
    # Else the bytes of one might pass for those of another.
    assert len({bytes_at(arrays[name]) for name in there}) == len(there)
