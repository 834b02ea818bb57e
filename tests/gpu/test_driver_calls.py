"""What a tick asks of the driver: the product's own host code on the stand-in driver."""

import numpy as np
import pytest

from tests.gpu.standin import counted, launches, recorded, run

pytest.importorskip("cuda.core", reason="make gpu-check installs the CUDA packages")
pytestmark = pytest.mark.gpu_check

SCANNED = ["apply_tickers", "apply", "expire", "observe", "group_sums", "group_scores",
           "block_top_k", "top_k", "count_marks", "cumulate"]  # fmt: skip
NODES_MAX = 12


def scanner_on_the_stand_in():
    """A Scanner on 'cuda' that has scanned twice, and a market to go on with."""
    from scanner.config import load
    from scanner.engine import Scanner
    from tests.kernels.market import SECOND, START_NS, ToyMarket, listings

    members = listings(30)
    config = load(None, {"engine.tick_ms": 1000, "engine.listings_capacity": 128})
    scanner = Scanner(config, device="cuda")
    scanner.add(members)
    market = ToyMarket(members, 3, gap_rate=0)
    for k in range(1, 20):
        scanner.apply(*market.second(START_NS + k * SECOND))
        scanner.scan(START_NS + k * SECOND)
    return scanner, market, START_NS + 20 * SECOND


def a_scan():
    scanner, market, now_ns = scanner_on_the_stand_in()
    scanner.apply(*market.second(now_ns))
    return recorded(lambda: scanner.scan(now_ns))


def a_tick_between_scans():
    from tests.kernels.market import SECOND

    scanner, market, now_ns = scanner_on_the_stand_in()

    def two_ticks():
        for k in range(2):
            scanner.apply(*market.second(now_ns + k * SECOND))
            scanner.tick(now_ns + k * SECOND)

    return recorded(two_ticks)


def a_scan_in_another_thread():
    import threading

    scanner, _, now_ns = scanner_on_the_stand_in()
    done = []
    thread = threading.Thread(target=lambda: done.append(scanner.scan(now_ns).now_ns))
    thread.start()
    thread.join()
    return done == [now_ns]


def a_borrowed_array():
    """A vector of another stream, in a kernel of ours."""
    from kernels.cuda_device import CudaDevice
    from kernels.gpu.program import Launch

    device = CudaDevice("asked for")
    other = device._device.create_stream()
    ours = [device.allocate((3,), dtype) for dtype in (np.float32, np.int64, *[np.float32] * 2)]

    class Lent:
        __cuda_array_interface__ = ours[0].__cuda_array_interface__ | {"stream": int(other.handle)}

    borrowed = []
    calls = recorded(lambda: borrowed.append(device.borrow(Lent(), np.float32)))
    graph = device.graph([Launch("segment_median_mad", (1, 1), 256, (borrowed[0], *ours[1:]))])
    quiet = recorded(lambda: device.borrow(ours[0], np.float32))
    return (
        calls,
        quiet,
        recorded(lambda: device.launch(graph)),
        borrowed[0].pointer,
        ours[0].pointer,
    )


def flattened_arguments():
    """Of ours and of numba's own launcher, for a named tuple of arrays."""
    from numba import cuda

    from kernels.arrays import Marks
    from kernels.cuda_device import DeviceArray, flattened

    arrays = Marks(
        cuda.to_device(np.zeros(5, np.int8)), cuda.to_device(np.zeros((5, 12), np.int16)),
        cuda.to_device(np.zeros((5, 2), np.int16)), cuda.to_device(np.zeros((5, 12), np.int32)),
    )  # fmt: skip
    kernel = cuda.jit(lambda marks: None)
    kernel[1, 1](arrays)
    (compiled,) = kernel.overloads.values()
    theirs = []
    for kind, value in zip(compiled.argument_types, [arrays], strict=True):
        compiled._prepare_args(kind, value, cuda.default_stream(), [], theirs)
    ours = [
        Marks(*(DeviceArray(a.device_ctypes_pointer.value, a.shape, a.dtype, a) for a in arrays))
    ]
    return [int(word) for word in flattened(ours)], [_number(word) for word in theirs]


def _number(word):
    return int(getattr(word, "value", word) or 0)


def error_of_opening():
    from kernels.device import open_device
    from kernels.errors import DeviceError

    try:
        open_device("cuda")
    except DeviceError as error:
        return str(error), open_device("auto").name
    return "", ""


def error_of_a_scan():
    from kernels.errors import DeviceError

    try:
        scanner_on_the_stand_in()
    except DeviceError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def scan(driver):
    return run(a_scan, driver)


def test_a_steady_scan_is_one_graph_launch_of_at_most_twelve_nodes(scan):
    (graph,) = (line for line in scan if line.startswith("cuGraphLaunch"))
    assert [node.kernel for node in launches(scan)] == SCANNED
    assert len(SCANNED) < len(graph.split()[1:]) <= NODES_MAX  # Some arrays are cleared, too.


def test_a_steady_scan_neither_allocates_nor_synchronises(scan):
    names = set(counted(scan))
    assert not {name for name in names if "Alloc" in name or "Synchronize" in name}
    assert names == {
        "cuGraphLaunch", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuEventRecord",
        "cuEventQuery",
    }  # fmt: skip


def test_a_tick_between_scans_is_one_launch_of_two_kernels(driver):
    lines = run(a_tick_between_scans, driver)
    # The second tick waits for what follows: a scan would take it along.
    assert counted(lines)["cuGraphLaunch"] == 1
    assert [node.kernel for node in launches(lines)] == ["apply_tickers", "apply"]


def test_a_scan_may_run_in_another_thread_than_the_one_that_opened(driver):
    assert run(a_scan_in_another_thread, driver)


def test_a_borrowed_array_is_waited_for_on_the_device_alone(driver):
    calls, quiet, launch, pointer, lent = run(a_borrowed_array, driver)
    assert pointer == lent
    assert counted(calls) == {"cuEventCreate": 1, "cuEventRecord": 1, "cuStreamWaitEvent": 1,
                              "cuEventDestroy": 1}  # fmt: skip
    assert quiet == []
    assert [node.kernel for node in launches(launch)] == ["segment_median_mad"]


def test_arguments_are_flattened_as_the_compiler_s_own_launcher_does(driver):
    ours, theirs = run(flattened_arguments, driver)
    assert len(ours) == 7 + 3 * 9  # A vector and three tables.
    assert ours == theirs


@pytest.mark.parametrize("call", ["cuInit", "cuStreamCreateWithPriority"])
def test_a_driver_that_fails_is_told_of_and_auto_takes_the_cpu(driver, call):
    message, chosen = run(error_of_opening, driver, fail=f"{call}:1:999,{call}:2:999")
    assert message.startswith("device was 'cuda': ")
    assert chosen == "cpu"


@pytest.mark.parametrize(
    ("call", "where"),
    [
        ("cuMemAllocFromPoolAsync:3:2", "device memory: "),
        ("cuGraphLaunch:4:719", "graph: "),
        ("cuMemcpyHtoDAsync:50:719", "copy: "),
        ("cuEventQuery:5:719", "waiting for the device: "),
    ],
)
def test_a_device_that_fails_later_is_told_of_with_the_place(driver, call, where):
    assert run(error_of_a_scan, driver, fail=call).startswith(where)
