"""What a first start compiles where: scans in a second process, everything else here."""

import os
from types import SimpleNamespace

import pytest

from feeds.contract import Listing, ListingKind
from kernels import compile as kernels_compile
from kernels import threads
from scanner import Scanner
from scanner.commands import live, progress
from scanner.config import load

WRITES = "import sys; open({path!r}, 'w').write('compiled'); sys.exit({code})"


class Fake:
    """A Scanner that only notes what it was asked to make ready, and what was there by then."""

    def __init__(self, beside: str, *, cached: bool = False, device: str = "cpu") -> None:
        self.device = SimpleNamespace(name=device)
        self.cached = cached
        self.beside = beside
        self.calls: list[tuple[str, bool]] = []

    def compiled_before(self) -> bool:
        return self.cached

    def warm_up(self, *, rows: bool = True, scans: bool = True) -> None:
        kinds = "rows" * rows + "scans" * scans
        self.calls.append((kinds, os.path.exists(self.beside)))


@pytest.fixture
def beside(tmp_path, monkeypatch):
    path = str(tmp_path / "beside")
    monkeypatch.setattr(progress, "_COMPILE_SCANS", WRITES.format(path=path, code=0))
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    monkeypatch.setattr(kernels_compile, "cache_is_writable", lambda: True)
    return path


def test_scans_are_compiled_beside_and_loaded_when_they_are_done(beside):
    scanner = Fake(beside)
    progress.warm_up(scanner)
    assert [kinds for kinds, _ in scanner.calls] == ["rows", "scans"]
    assert scanner.calls[-1] == ("scans", True)


def test_process_that_fails_costs_nothing_but_time(beside, monkeypatch):
    monkeypatch.setattr(progress, "_COMPILE_SCANS", WRITES.format(path=beside, code=3))
    scanner = Fake(beside)
    progress.warm_up(scanner)
    assert scanner.calls[-1] == ("scans", True)


def test_failure_here_ends_the_other_process(beside, monkeypatch):
    monkeypatch.setattr(progress, "_COMPILE_SCANS", "import time; time.sleep(600)")
    scanner = Fake(beside)
    scanner.warm_up = lambda **_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        progress.warm_up(scanner)


@pytest.mark.parametrize("reason", ["cached", "one core", "no cache", "cuda"])
def test_no_process_where_it_would_bring_nothing(beside, monkeypatch, reason):
    scanner = Fake(beside, cached=reason == "cached", device="cuda" if reason == "cuda" else "cpu")
    if reason == "one core":
        monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    if reason == "no cache":
        monkeypatch.setattr(kernels_compile, "cache_is_writable", lambda: False)
    progress.warm_up(scanner)
    assert [kinds for kinds, _ in scanner.calls] == ["rows", "scans"]
    assert not os.path.exists(beside)


def test_both_halves_together_are_all_a_tick_and_a_scan_use():
    perp = Listing("toy", "A", ListingKind.PERP, "A", 1.0, "USD", "linear", 0.5)
    scanner = Scanner()
    scanner.warm_up(scans=False)
    assert "observe" not in vars(scanner.device)
    scanner.warm_up(rows=False)
    used = set(vars(scanner.device))
    scanner.add([perp])
    scanner.tick(1_000_000_000)
    scanner.scan(2_000_000_000)
    assert set(vars(scanner.device)) == used


def test_a_demonstration_takes_only_the_byte_scanners_that_are_there(monkeypatch):
    asked = []
    monkeypatch.setattr(live, "compiled_before", lambda names: names == ["okx"])
    monkeypatch.setattr(live, "warm_up", lambda _scanner, venues: asked.append(venues))
    config = load(None, {"venues.okx.underlyings": ["BTC"], "venues.bybit.underlyings": ["BTC"]})
    live.prepare(config, at_once=True)
    live.prepare(config)
    assert asked == [["okx"], ["okx", "bybit"]]
