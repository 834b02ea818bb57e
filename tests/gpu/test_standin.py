"""The stand-in driver under the unmodified cuda.core: what host code may rely on, its errors."""

import threading

import numpy as np
import pytest

from tests.gpu.standin import Launch, counted, launches, recorded, run

pytest.importorskip("cuda.core", reason="make gpu-check installs the CUDA packages")
pytestmark = pytest.mark.gpu_check

BYTES = 1024
PTX = """
.version 9.0
.target sm_90
.address_size 64
.visible .entry first(.param .u64 a) { ret; }
.visible .entry second(.param .u64 a) { ret; }
"""


class Card:
    """A device with a stream, a buffer on it and a pinned one beside it, and two kernels."""

    def __init__(self) -> None:
        from cuda.core import Device, LegacyPinnedMemoryResource, ObjectCode

        self.device = Device(0)
        self.device.set_current()
        self.stream = self.device.create_stream()
        self.memory = self.device.allocate(BYTES, stream=self.stream)
        self.pinned = LegacyPinnedMemoryResource().allocate(BYTES)
        self.host = np.from_dlpack(self.pinned).view(np.uint8)
        self.code = ObjectCode.from_ptx(PTX.encode(), name="two")
        self.first, self.second = map(self.code.get_kernel, ("first", "second"))

    def launch(self, stream, kernel, grid, block, shared_bytes=0) -> None:
        from cuda.core import LaunchConfig, launch

        config = LaunchConfig(grid=grid, block=block, shmem_size=shared_bytes)
        launch(stream, config, kernel, np.intp(int(self.memory.handle)))

    def capture(self):
        """A graph: the pinned bytes go up, two kernels run, the bytes come down."""
        builder = self.stream.create_graph_builder()
        builder.begin_building()
        self.memory.copy_from(self.pinned, stream=builder)
        self.launch(builder, self.first, 8, 128)
        self.launch(builder, self.second, (3, 2), 64, 16)
        self.memory.copy_to(self.pinned, stream=builder)
        return builder.end_building().complete()


def error_of(work) -> str:
    from cuda.core._utils.cuda_utils import CUDAError

    try:
        work()
    except CUDAError as error:
        return str(error).split(":")[0]
    return "none"


# What runs on the stand-in.


def graph_of_two_kernels() -> list[list[str]]:
    card, graphs = Card(), []
    event = card.device.create_event()
    captured = recorded(lambda: graphs.append(card.capture()))

    def tick() -> None:
        card.host[:] = 7
        graphs[0].launch(card.stream)
        card.stream.record(event)
        assert event.is_done

    return [captured, recorded(tick)]


def test_a_replayed_graph_is_one_call_that_runs_its_kernels_in_order(driver):
    captured, tick = run(graph_of_two_kernels, driver)
    assert counted(tick) == {"cuGraphLaunch": 1, "cuEventRecord": 1, "cuEventQuery": 1}
    assert launches(tick) == [
        Launch("first", (8, 1, 1), (128, 1, 1), 0),
        Launch("second", (3, 2, 1), (64, 1, 1), 16),
    ]
    assert counted(captured)["cuLaunchKernelEx"] == 2
    assert launches(captured) == []


def bytes_through_the_graph() -> list[list[int]]:
    card = Card()
    card.host[:] = 1
    card.memory.fill(2, stream=card.stream)
    graph = card.capture()
    card.memory.copy_to(card.pinned, stream=card.stream)
    before = card.host[:2].tolist()
    card.host[:] = 3
    graph.launch(card.stream)
    card.host[:] = 0
    card.memory.copy_to(card.pinned, stream=card.stream)
    return [before, card.host[:2].tolist()]


def test_copies_move_bytes_when_the_graph_is_replayed_and_not_when_it_is_captured(driver):
    assert run(bytes_through_the_graph, driver) == [[2, 2], [3, 3]]


def direct_launches() -> list[str]:
    card = Card()
    return recorded(lambda: [card.launch(card.stream, card.second, n, 32) for n in (5, 4)])


def test_direct_launches_are_recorded_in_order(driver):
    lines = run(direct_launches, driver)
    assert counted(lines) == {"cuLaunchKernelEx": 2}
    assert [launch.grid[0] for launch in launches(lines)] == [5, 4]


def unwritten_memory() -> int:
    card = Card()
    card.host[:] = 0
    card.memory.copy_to(card.pinned, stream=card.stream)
    return int(np.count_nonzero(card.host))


def test_memory_nobody_wrote_is_no_zero(driver):
    assert run(unwritten_memory, driver) == BYTES


def allocations_and_waits() -> list[str]:
    card = Card()

    def work() -> None:
        card.device.allocate(BYTES, stream=card.stream).close()
        card.stream.sync()

    return recorded(work)


def test_allocations_and_waits_are_counted(driver):
    counts = counted(run(allocations_and_waits, driver))
    assert counts == {"cuMemAllocFromPoolAsync": 1, "cuMemFreeAsync": 1, "cuStreamSynchronize": 1}


def properties() -> list[object]:
    device = Card().device
    return [device.name, *device.compute_capability, device.properties.multiprocessor_count]


def test_the_card_is_of_compute_capability_9(driver):
    assert run(properties, driver) == ["stand-in", 9, 0, 132]


# What it refuses.


def misuses() -> list[str]:
    card, found = Card(), []
    other = threading.Thread(
        target=lambda: found.append(error_of(lambda: card.launch(card.stream, card.first, 1, 32)))
    )
    other.start()
    other.join()
    builder = card.stream.create_graph_builder()
    builder.begin_building()
    works = (
        lambda: card.launch(card.stream, card.first, 1, 2048),
        lambda: card.code.get_kernel("third"),
        builder.stream.sync,
    )
    return found + [error_of(work) for work in works]


def test_misuse_fails_as_the_driver_would_fail(driver):
    assert run(misuses, driver) == [
        "STANDIN_ERROR_201",  # A thread that never called set_current.
        "STANDIN_ERROR_1",  # More threads than a block holds.
        "STANDIN_ERROR_500",  # No such kernel in the code.
        "STANDIN_ERROR_900",  # Waiting for a stream that is captured.
    ]


def copy_beyond_the_end() -> str:
    from cuda.core import Buffer

    card = Card()
    beyond = Buffer.from_handle(int(card.memory.handle) + 1, BYTES, owner=card.memory)
    return error_of(lambda: beyond.copy_from(card.pinned, stream=card.stream))


def test_a_copy_beyond_the_end_of_memory_is_refused(driver):
    assert run(copy_beyond_the_end, driver) == "STANDIN_ERROR_1"


# Errors on demand.


def three_replays() -> list[str]:
    card = Card()
    graph = card.capture()
    return [error_of(lambda: graph.launch(card.stream)) for _ in range(3)]


def test_the_call_that_is_named_fails_and_no_other(driver):
    assert run(three_replays, driver) == ["none"] * 3
    errors = run(three_replays, driver, fail="cuGraphLaunch:2:700,cuGraphLaunch:9:1")
    assert errors == ["none", "STANDIN_ERROR_700", "none"]


def test_a_card_out_of_memory_is_an_error_of_the_allocation(driver):
    with pytest.raises(RuntimeError, match="STANDIN_ERROR_2"):
        run(three_replays, driver, fail="cuMemAllocFromPoolAsync:1:2")
