"""A whole Scanner says the same on a device as on the CPU, and keeps the same state."""

from dataclasses import fields

import numpy as np
import pytest

from feeds.events import EVENT, Flag, Kind
from kernels import columns as c
from kernels.errors import DeviceError
from kernels.gpu import program
from scanner import resident
from scanner.checkpoint import capture
from scanner.config import load
from scanner.engine import Scanner
from scanner.result import SCOPES, RollupResult
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings

pytest.importorskip("numba_cuda", reason="make gpu-check installs the CUDA packages")
pytestmark = pytest.mark.gpu_check

from tests.gpu.emulated import EmulatedDevice  # noqa: E402 - after the skip
from tests.gpu.twins import differing  # noqa: E402

HOUR_NS = 3600 * SECOND
# Of a device alone, compared otherwise, or computed when asked for.
LAZY = ("metrics", "top", "groups", "rollups", "on_device")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few warps, and an inbox that soon is too small."""
    monkeypatch.setattr(resident, "APPLY_WARPS", 16)
    monkeypatch.setattr(resident, "INBOX_ROWS", 16)


class Pair:
    """The same scanner on the CPU and on an emulated device, fed alike and compared all along.

    The market knows all listings from the start; rows of those not yet added are refused.
    """

    def __init__(self, count, added, *, seed=1, **settings):
        settings = {"threads": 1, "listings_capacity": 8, "depth_slots_capacity": 1} | settings
        config = load(None, {f"engine.{name}": value for name, value in settings.items()})
        self.cpu = Scanner(config, device="cpu")
        self.gpu = Scanner(config, device=EmulatedDevice())
        self.both = (self.cpu, self.gpu)
        self.listings, self.market = listings(count), ToyMarket(listings(count), seed)
        self.now_ns = START_NS
        self.add(added)

    def add(self, count):
        begun = self.cpu.universe.row_count
        for scanner in self.both:
            scanner.add(self.listings[begun : begun + count])

    def receive(self, seconds=1):
        """Let a second pass whose rows wait for a tick; seconds: before it, silent ones."""
        self.now_ns += seconds * SECOND
        rows, tickers = self.market.second(self.now_ns)
        for scanner in self.both:
            scanner.apply(rows.copy(), tickers.copy())

    def scan(self, *, metrics=False):
        """Scan both and compare what they say."""
        expected, found = (scanner.scan(self.now_ns) for scanner in self.both)
        assert different_results(expected, found) == []
        if metrics:
            ours, theirs = expected.metrics, found.metrics
            assert [name for name in ours if _differ(ours[name], theirs[name])] == []
            assert different_rollups(expected.rollups, found.rollups) == []
        return found

    def run(self, scans, *, metrics=False):
        for _ in range(scans):
            self.receive()
            self.scan(metrics=metrics)

    def scan_nothing(self):
        """A second in which nobody said anything."""
        self.now_ns += SECOND
        return self.scan()

    def compare_states(self):
        """Compare everything that outlives a scan; brings the state home."""
        assert different_states(*(scanner.state for scanner in self.both)) == []
        assert self.cpu.row_counts() == self.gpu.row_counts()

    def seasoned(self):
        """Baselines as after half a minute, so that rows are scored."""
        for scanner in self.both:
            baseline = scanner.state.scores.baseline
            baseline[c.COUNT], baseline[c.SMOOTHED_COUNT] = 40, 40
            baseline[c.VARIANCE], baseline[c.SMOOTHED_VARIANCE] = 1, 1
        return self


def _differ(expected, found):
    a, b = np.asarray(expected), np.asarray(found)
    return a.dtype != b.dtype or a.shape != b.shape or bool(differing(a, b).any())


def different_results(expected, found):
    """Names of what differs between two scans, metrics aside."""
    names = [one.name for one in fields(expected) if one.name not in LAZY]
    wrong = [n for n in names if n != "market" and _differ(getattr(expected, n), getattr(found, n))]
    wrong += [n for n in expected.market if _differ(expected.market[n], found.market[n])]
    wrong += [n for n in expected.top if _differ(expected.top[n], found.top[n])]
    groups = [one.name for one in fields(expected.groups)]
    return wrong + [
        n for n in groups if _differ(getattr(expected.groups, n), getattr(found.groups, n))
    ]


def different_rollups(expected, found):
    """Scopes and names of what differs between the rollups of two scans."""
    assert tuple(found) == SCOPES
    return [
        (scope, one.name)
        for scope in SCOPES
        for one in fields(RollupResult)
        if _differ(getattr(expected[scope], one.name), getattr(found[scope], one.name))
    ]


def different_states(expected, found):
    """Names of arrays that differ between two states, work space aside."""
    wrong = [
        f"{bundle}.{name}"
        for bundle in ("columns", "books", "scores", "common")
        for name in getattr(expected, bundle)._fields
        if _differ(getattr(getattr(expected, bundle), name), getattr(getattr(found, bundle), name))
    ]
    for bundle in ("reference", "groups"):
        ours, theirs = getattr(expected, bundle), getattr(found, bundle)
        names = [one.name for one in fields(ours) if one.name != "number"]
        wrong += [n for n in names if _differ(getattr(ours, n), getattr(theirs, n))]
    for name in ("last_scan_ns", "scan_count", "class_due_ns", "tick_f64"):
        if _differ(getattr(expected, name), getattr(found, name)):
            wrong.append(name)
    return wrong


def test_scans_of_a_market_with_ranks_groups_and_metrics():
    pair = Pair(45, 45)
    pair.run(2)
    pair.seasoned().run(8)
    pair.run(1, metrics=True)
    result = pair.scan_nothing()
    scored = pair.cpu.state.columns.u8[c.SCORED, :45].sum()
    assert scored > 10
    assert len(result.top["spike"]) == scored
    assert (result.groups.member_count >= 8).any()
    pair.compare_states()


def test_ticks_without_a_scan_and_scans_without_a_row():
    pair = Pair(12, 12)
    pair.run(2)
    pair.seasoned()
    for _ in range(3):
        pair.receive()
        for before_ns in (600_000_000, 250_000_000):
            applied = {scanner.tick(pair.now_ns - before_ns) for scanner in pair.both}
            assert len(applied) == 1
        pair.scan()
    for _ in range(4):  # A tick that stops at each second that has tickers.
        pair.receive()
    pair.scan()
    pair.scan_nothing()
    pair.compare_states()
    pair.receive()
    for scanner in pair.both:
        scanner.tick(pair.now_ns)
    pair.compare_states()  # What was staged is applied on the way home.


def test_first_books_while_running():
    pair = Pair(12, 12)
    books, pair.market.has_book = pair.market.has_book, [False] * 12
    pair.run(3)
    assert not pair.gpu.state.columns.u8[c.HAS_BOOK].any()
    pair.market.has_book = books
    pair.seasoned().run(4)
    assert pair.gpu.state.columns.u8[c.HAS_BOOK].any()
    pair.compare_states()


def test_listings_come_go_and_come_again_and_the_columns_grow():
    pair = Pair(140, 4)
    pair.run(2)
    pair.seasoned()
    pair.add(5)
    pair.run(2)
    for scanner in pair.both:
        scanner.universe.retire(2, pair.now_ns)
    pair.run(1)
    for scanner in pair.both:
        scanner.universe.advance(pair.now_ns + HOUR_NS)
        assert scanner.add([pair.listings[9]]) == [2]  # Another contract in the same row.
    pair.run(2)
    before = pair.gpu.state.capacity
    for scanner in pair.both:
        scanner.add(pair.listings[10:])
    pair.run(3)
    assert pair.gpu.state.capacity > before
    pair.compare_states()


def test_a_minute_for_the_classes_and_an_hour_for_the_tables():
    pair = Pair(12, 12)
    pair.run(2)
    pair.seasoned().run(1)
    pair.receive(seconds=61)
    pair.scan(metrics=True)
    assert set(pair.cpu.state.columns.u8[c.LIQUIDITY, :12]) > {0, 4}
    for hours in (1, 1, 26):
        hour = pair.cpu.state.reference.hour
        pair.receive(seconds=hours * 3600)
        pair.scan()
        assert pair.gpu.state.reference.hour == hour + hours
    pair.compare_states()


def test_a_checkpoint_goes_from_one_device_to_the_other():
    pair = Pair(12, 12)
    pair.run(2)
    pair.seasoned().run(4)
    mine, theirs = (capture(scanner) for scanner in pair.both)
    for name in ("scale", "fold_sum", "fold_count", "folded", "prior"):
        assert not _differ(getattr(mine, name), getattr(theirs, name)), name
    assert [n for n in mine.tables if _differ(mine.tables[n], theirs.tables[n])] == []
    assert not _differ(mine.memory.baseline, theirs.memory.baseline)
    after = Pair(12, 9, seed=2)
    for scanner, checkpoint in zip(after.both, (theirs, mine), strict=True):
        checkpoint.into(scanner, after.now_ns)
    after.run(3)
    after.add(3)
    after.run(2)
    after.compare_states()


def test_a_book_that_lost_a_piece_asks_for_a_new_one_once():
    pair = Pair(12, 12)
    pair.run(3)
    book = int(np.flatnonzero(pair.cpu.state.columns.u8[c.HAS_BOOK])[0])
    pair.receive()
    bad = pair.market._update(book, pair.now_ns)[:1]
    rows = np.array([(*bad[0][:3], 0.123456, *bad[0][4:])], EVENT)
    rows["kind"], rows["flags"] = Kind.BOOK_DELTA, Flag.LAST
    for scanner in pair.both:
        scanner.apply(rows.copy())
    pair.scan()
    assert [scanner.take_resyncs() for scanner in pair.both] == [[book], [book]]
    assert [scanner.take_resyncs() for scanner in pair.both] == [[], []]
    pair.run(1)
    pair.compare_states()


def test_a_scan_that_is_not_after_the_last_one_is_refused():
    pair = Pair(2, 2)
    pair.run(1)
    with pytest.raises(ValueError, match="now_ns was"):
        pair.gpu.scan(pair.now_ns)


def test_bars_are_refused():
    with pytest.raises(DeviceError, match="bars"):
        Scanner(load(None, {}), bars=True, device=EmulatedDevice())


def without_clears(nodes):
    return [node for node in nodes if not isinstance(node, program.Clear)]


def counted_last(nodes):
    """The tables summed before this scan's rows are in them."""
    return [*nodes[:-2], nodes[-1], nodes[-2]]


@pytest.mark.parametrize("mutation", [without_clears, counted_last])
def test_a_program_of_a_scan_that_is_wrong_is_noticed(mutation, monkeypatch):
    of_scan = program.scan_program
    monkeypatch.setattr(program, "scan_program", lambda arrays: mutation(of_scan(arrays)))
    pair = Pair(12, 12)
    pair.run(1)
    pair.seasoned()
    with pytest.raises(AssertionError):
        pair.run(4)
