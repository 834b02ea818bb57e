"""Stages 4 to 6 of 8: the device that runs the launch shapes; the only file that asks for a GPU."""

import functools
import importlib
from collections.abc import Callable
from typing import Any, Final

from kernels.errors import DeviceError
from kernels.threads import Threads, is_striped, usable_cores

DEVICES: Final = ("auto", "cpu", "cuda")
# Rows from which a shape is worth a second thread: observe costs some 0.2 us a row,
# apply 0.3. On a machine with no idle core a second thread costs more than it brings.
PARALLEL_ROWS_MIN: Final = {
    "apply": 65_536,
    "apply_tickers": 65_536,
    "observe": 16_384,
    "metrics": 16_384,
    "segment_median_mad": 32_768,
}


class CpuDevice:
    """Launch shapes compiled for the CPU; each is compiled (or loaded from the cache) on first use.

    Attributes:
        name: "cpu".
        reason: why this device was chosen, for people.
        threads: threads that a shape may be shared out over.
    """

    name = "cpu"

    def __init__(self, threads: int, reason: str) -> None:
        self.reason = reason
        self.threads = threads or usable_cores()
        self._threads = Threads(self.threads)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Launch shape by name."""
        shape = _shapes().get(name)
        if shape is None:
            raise AttributeError(name)
        from kernels.compile import compiled  # noqa: PLC0415

        function = compiled(shape)
        if is_striped(shape):
            function = self._in_stripes(function, PARALLEL_ROWS_MIN[name])
        self.__dict__[name] = function
        return function

    def _in_stripes(self, function: Callable[..., Any], rows_min: int) -> Callable[..., Any]:
        """Use more than one thread only where there is work for it.

        Waking a thread on a busy machine can cost a scheduler's slice, milliseconds; a thousand
        rows cost tenths of one.
        """

        def call(rows: Any, *rest: Any) -> None:
            size = rows.rx_ns.size if hasattr(rows, "rx_ns") else rows.size
            self._threads.run(function, self.threads if size >= rows_min else 1, rows, *rest)

        return call


@functools.cache
def _shapes() -> dict[str, Callable[..., Any]]:
    from kernels.cpu import (  # noqa: PLC0415
        apply,
        expire,
        features,
        group,
        histogram,
        liquidity,
        median,
        rank,
        rollup,
        score,
        sort,
        tickers,
    )

    return {
        "activity": liquidity.activity,
        "apply": apply.apply,
        "apply_tickers": tickers.apply_tickers,
        "find_fresh": expire.find_fresh,
        "metrics": features.metrics,
        "group_sums": group.group_sums,
        "group_scores": group.group_scores,
        "name_members": group.name_members,
        "count_blocks": histogram.count_blocks,
        "cumulate": histogram.cumulate,
        "fold_scales": histogram.fold_scales,
        "observe": score.observe,
        "rollup": rollup.rollup,
        "segment_median_mad": median.segment_median_mad,
        "sort_by_listing": sort.sort_by_listing,
        "top_k": rank.top_k,
    }


def open_device(wanted: str = "auto", threads: int = 0) -> Any:
    """Open a device.

    Args:
        wanted: "cpu", "cuda", or "auto" for a GPU where there is one that can be used.
        threads: CPU threads, 0 = one per core.

    Returns:
        A CpuDevice, or a kernels.cuda_device.CudaDevice; `reason` says why.

    Raises:
        DeviceError: `cuda` was asked for and cannot be used, or the name is unknown.
    """
    if wanted not in DEVICES:
        raise DeviceError(f"device was {wanted!r}, expected one of {', '.join(DEVICES)}")
    if wanted == "cpu":
        return CpuDevice(threads, "asked for")
    try:
        return _open_cuda(wanted)
    except DeviceError as error:
        if wanted == "cuda":
            raise
        return CpuDevice(threads, str(error).removeprefix("device was 'cuda': "))


def _open_cuda(wanted: str) -> Any:
    """Open the GPU, if the packages and the driver are there."""
    try:
        importlib.import_module("cuda.core")
    except ImportError as error:
        raise DeviceError(
            f"device was 'cuda': {error}, expected one of the extras gpu-cu12, gpu-cu13"
        ) from error
    from kernels.cuda_device import CudaDevice  # noqa: PLC0415 - imports numba's CUDA target

    return CudaDevice("asked for" if wanted == "cuda" else "there is one")
