"""Bytes that kernels move, counted: their real PTX runs in the interpreter on a full market.

A byte that a kernel reads, however often, counts once, and so does one that it writes: what memory
must move if caches were perfect. The difference between this and what a GPU moves is its caches'.
"""

from typing import NamedTuple
from unittest import mock

import numpy as np

from kernels.gpu import program
from kernels.rows.features import METRIC_NAMES
from scanner.resident import Resident
from tests.gpu.emulated import EmulatedDevice
from tests.gpu.full_market import NOW_NS, full_state, one_quote_each, one_ticker_each
from tests.gpu.ptx import access

COUNTED_LISTINGS = 256
# Bundles whose arrays have a cell for every listing or every row of a batch.
PER_LISTING = ("batch", "tickers", "columns", "books", "scores", "marks", "out")


class Traffic(NamedTuple):
    """Bytes of one launch: of each listing, and of tables whatever the listings."""

    listing_read: float
    listing_written: float
    table_read: int
    table_written: int

    def predicted(self, listing_count):
        """Bytes read and written in a launch over so many listings, all of them touched."""
        return round(
            (self.listing_read + self.listing_written) * listing_count
            + self.table_read + self.table_written
        )  # fmt: skip


class CountingDevice(EmulatedDevice):
    """An emulated device that notes which bytes each kernel touches."""

    def __init__(self):
        super().__init__()
        self.touched = {}

    def launch(self, graph):
        for node in graph:
            marks = {}
            with mock.patch.object(access, "_check", _noting(marks, self.memory)):
                super().launch([node])
            if isinstance(node, program.Launch):
                self.touched[node.kernel] = marks


def _noting(marks, memory):
    check, ours = access._check, {id(a) for a in memory.space.allocations}

    def note(m, kind, piece, dtype, *, reads):
        check(m, kind, piece, dtype, reads=reads)
        allocation, offset, _ = piece
        if id(allocation) not in ours:
            return
        for what, there in (("read", reads), ("written", kind != "read")):
            if there:
                key = (id(allocation), what)
                mask = marks.setdefault(key, np.zeros(len(allocation.bytes), bool))
                mask[(offset[:, None] + np.arange(dtype.itemsize)).reshape(-1)] = True

    return note


def counted_traffic():
    """Traffic of every kernel of a tick, a scan and an export, by name."""
    n = COUNTED_LISTINGS
    state, device = full_state(n), CountingDevice()
    resident = Resident(state, device, host=None)
    resident.apply_tickers(one_ticker_each(n))
    resident.apply(one_quote_each(state, n, 7.0))
    arrays = resident._placed
    resident._set_words(NOW_NS, n, 50, 300_000_000_000, 8, 60_000_000_000)
    out = device.allocate((len(METRIC_NAMES), state.capacity), np.float32)
    activity = device.allocate((state.capacity,), np.float32)
    graph = [
        *program.apply_program(arrays), *program.scan_program(arrays),
        *program.metrics_program(arrays, out), *program.activity_program(arrays, activity),
    ]  # fmt: skip
    resident._launch(graph)
    listing = {id(a) for name in PER_LISTING[:-1] for a in getattr(arrays, name)}
    listing |= {id(out), id(activity)}
    return {name: _traffic(marks, listing) for name, marks in device.touched.items()}


def _traffic(marks, listing):
    def total(what, *, per_listing):
        return sum(
            int(mask.sum()) for (owner, kind), mask in marks.items()
            if kind == what and (owner in listing) == per_listing
        )  # fmt: skip

    n = COUNTED_LISTINGS
    return Traffic(
        total("read", per_listing=True) / n, total("written", per_listing=True) / n,
        total("read", per_listing=False), total("written", per_listing=False),
    )  # fmt: skip
