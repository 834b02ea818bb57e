"""The decode and venues questions: frames to columns, and whole handlers, on the same frames.

    .venv-bench/bin/python -m benchmarks.wire decode|venues

Prints JSON: {"versions": of the libraries, "cases": [...]}. Peers whose library is absent are left out with the reason; an answer that differs from
the others ends the run before any time is printed.
"""

import gc
import importlib
import importlib.util
import json
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from unittest import mock

import numpy as np

from benchmarks import frames
from benchmarks.peers import decode as msgspec_peer
from benchmarks.peers.venues import PEERS as MSGSPEC
from benchmarks.venue_frames import FAMILIES, LISTINGS, LISTINGS_OF, WHOLES, capture
from feeds.columns import Batch
from feeds.contract import Listing, ListingKind
from feeds.events import DecodeOut
from feeds.symbols import Symbols
from feeds.venues import VENUES, warm_up

BATCH: Final = 256
ROUNDS: Final = 15
START_NS: Final = 1_767_787_200_000_000_000
FRAMES_OF_CHAIN: Final = 64  # one has all options of an underlying
PACKAGES: Final = ("msgspec", "numba", "numpy", "orjson", "cryptofeed", "ccxt")
Work = Callable[[list[bytes]], None]


@dataclass
class Case:
    """Frames of one family, and what reads them."""

    venue: str
    family: str
    frames: list[bytes]
    listings: Sequence[Listing]
    columns: Callable[[list[bytes], dict[str, int]], np.ndarray]
    snapshots: list[bytes] = field(default_factory=list)

    @property
    def ids(self) -> dict[str, int]:
        """Listing ids by symbol."""
        return {listing.symbol: n for n, listing in enumerate(self.listings)}

    @property
    def scanner(self) -> Any:
        """The venue's byte scanner, None where it has none."""
        return getattr(
            importlib.import_module(f"feeds.venues.{self.venue}.decode"), "SCANNER", None
        )

    @property
    def batches(self) -> list[list[bytes]]:
        """The frames as they are handed to a decoder."""
        size = 1 if self.family in WHOLES else BATCH
        return [self.frames[i : i + size] for i in range(0, len(self.frames), size)]


def deribit_cases() -> list[Case]:
    """Seeded frames, shaped as recorded."""
    rng = random.Random(1)
    names = frames.symbols(200)
    listings = [
        Listing("deribit", name, ListingKind.OPTION, "BTC", 1.0, "BTC", "inverse", 0.0005,
                START_NS + 10**16, int(name.split("-")[2]) * 10**9, name[-1])
        for name in names
    ]  # fmt: skip
    snapshots, changes = frames.books(rng, names, 4096)
    return [
        Case("deribit", "book change", changes, listings, msgspec_peer.book_columns, snapshots),
        Case("deribit", "ticker", frames.tickers(rng, names, 4096), listings, msgspec_peer.ticker_columns),
        Case("deribit", "trades", frames.trades(rng, names, 4096), listings, msgspec_peer.trade_columns),
    ]  # fmt: skip


SNAPSHOTS: Final = {
    "okx books": (b'{"arg":{"channel":"books"', b'"snapshot"'),
    "bybit orderbook.25": (b'{"topic":"orderbook.25.', b'"snapshot"'),
}  # family -> what the answer to a subscription holds if it is one of its snapshots


def venue_cases() -> list[Case]:
    """Frames of the other venues, as their emulators send them."""
    cases = []
    markets: defaultdict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for venue, family, _ in FAMILIES:
        market = (venue, LISTINGS_OF.get(family, LISTINGS))
        markets[market][family] = FRAMES_OF_CHAIN if family in WHOLES else 2048
    for (venue, listings), wanted in markets.items():
        found = capture(venue, wanted, listings)
        for family in wanted:
            marks = SNAPSHOTS.get(family)
            first = [f for f in found.first if marks and all(mark in f for mark in marks)]
            some = found.frames[family]
            if len(some) < BATCH and family not in WHOLES:
                # Prints are rare: the same again fill a batch, and no more than one.
                some = (some * -(-BATCH // len(some)))[:BATCH]
            cases.append(Case(venue, family, some, found.listings, MSGSPEC[family], first))
    return cases


def decoded(case: Case) -> DecodeOut:
    """What the product makes of all frames; a frame that it does not take ends the run."""
    out = DecodeOut()
    times = [START_NS + n for n in range(len(case.frames))]
    VENUES[case.venue].decode(case.frames, times, Symbols(case.ids), out)
    assert out.error_count == 0, out.errors[:1]
    assert not out.skipped, out.skipped
    return out


def works_of(case: Case) -> dict[str, Work]:
    """Decoders to rows or columns, by name."""
    ids, symbols, times = case.ids, Symbols(case.ids), [START_NS] * BATCH

    def ours(batch: list[bytes]) -> None:
        VENUES[case.venue].decode(batch, times[: len(batch)], symbols, DecodeOut())

    def alone(batch: list[bytes]) -> None:
        with mock.patch.object(case.scanner, "compiled", None):
            ours(batch)

    works: dict[str, Work] = {
        "ours": ours,
        "msgspec": lambda batch: _ignore(case.columns(batch, ids)),
    }
    if case.scanner is not None:
        works["alone"] = alone
    if _present("orjson"):
        from benchmarks.peers.dicts import PEERS as ORJSON

        other = ORJSON.get(case.family.replace("small ", ""))
        if other is not None:
            works["orjson"] = lambda batch: _ignore(other(batch, ids))
    return works


def _ignore(_columns: np.ndarray) -> None:
    """Drop what was made; it was compared before."""


def _present(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of the packages that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def handlers_of(case: Case) -> tuple[dict[str, Any], dict[str, str]]:
    """Handlers by library, and why a library has none."""
    from benchmarks.peers.handlers import NO_CCXT, NO_CRYPTOFEED, Ccxt, Cryptofeed

    found, absent = {}, {}
    for library, kind, reasons in (
        ("cryptofeed", Cryptofeed, NO_CRYPTOFEED), ("ccxt", Ccxt, NO_CCXT),
    ):  # fmt: skip
        if not _present(library):
            absent[library] = "it is not installed"
        elif (family := case.family.replace("small ", "")) in reasons:
            absent[library] = reasons[family]
        else:
            found[library] = kind(case.venue, case.listings)
    return found, absent


def measure(case: Case) -> dict[str, Any]:
    """Processor time of a frame, every engine in every round, after all answers were compared."""
    from benchmarks.peers.answers import compare

    out = decoded(case)
    works = works_of(case)
    handlers, absent = handlers_of(case)
    compare(case, out, handlers)
    spent: dict[str, list[float]] = {name: [] for name in (*works, *handlers)}
    for _ in range(ROUNDS):
        for name, work in works.items():
            spent[name].append(_cpu(work, case.batches))
        for name, handler in handlers.items():
            handler.begin(case.snapshots)
            spent[name].append(_cpu(handler.feed, case.batches))
    count = len(case.frames)
    return {
        "kind": case.family, "frames": count, "bytes": round(statistics.mean(map(len, case.frames))),
        "rows": out.rows.count / count, "tickers": out.tickers.count / count,
        "us": {name: statistics.median(some) / count * 1e6 for name, some in spent.items()},
        "times": {name: statistics.median(theirs / mine for theirs, mine in zip(some, spent["ours"], strict=True))
                  for name, some in spent.items()},
        "absent": absent, "scanned": scanned(case),
    }  # fmt: skip


def _cpu(work: Work, batches: list[list[bytes]]) -> float:
    # Garbage of others is not collected at somebody's expense.
    gc.collect()
    gc.disable()
    began = time.process_time()
    for batch in batches:
        work(batch)
    spent = time.process_time() - began
    gc.enable()
    return spent


def scanned(case: Case) -> float | None:
    """Share of the frames that the byte scanner takes."""
    if case.scanner is None:
        return None
    left = case.scanner.take(
        Batch(case.venue, case.frames, [START_NS] * len(case.frames), Symbols(case.ids))
    )
    return 1 - len(left) / len(case.frames)


QUESTIONS: Final = {"decode": deribit_cases, "venues": venue_cases}

if __name__ == "__main__":
    warm_up()
    cases = [measure(case) for case in QUESTIONS[sys.argv[1]]()]
    print(json.dumps({"versions": versions(PACKAGES), "cases": cases}))
