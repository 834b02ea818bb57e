"""Databento's binary files as a target: any bytes give rows, counted damage or a DbnError."""

import random
import struct
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import process_time
from typing import Any, Final

import numpy as np

from benchmarks.fuzzing.arcs import Arcs
from benchmarks.fuzzing.mutate import BYTES_MAX
from benchmarks.fuzzing.seeds import FEEDS
from benchmarks.fuzzing.trial import Result, caught, plain_words
from feeds.contract import Listing, listing_fault
from feeds.dbn.source import BLOCK_BYTES, DbnSource
from feeds.errors import DbnError
from feeds.events import EVENT, TICKER, Kind
from tests.feeds import dbn_files

NAME: Final = "databento"
ODD_BLOCK_BYTES: Final = 97  # Cuts records anywhere.
ROUNDS: Final = (1, 1, 1, 2, 3)
WORDS: Final = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, 10**9, 10**18)
DAY_NS: Final = 50_000 * 10**9
CENT: Final = 10**7
FILES: Final = ("contract.py", "grammar.py")
LIVE: Final = ("gateway", "live")  # of sessions, and of no file


class DbnMutator:
    """Changes files by bytes, by words and by records.

    Args:
        rng: decides everything.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def mutated(self, text: bytes, other: bytes) -> bytes:
        """A changed file; `other` lends it records. What makes it too long is left out."""
        ways = (self._byte, self._byte, self._word, self._word, self._cut, self._lend, self._double)
        for _ in range(self.rng.choice(ROUNDS)):
            changed = self.rng.choice(ways)(text, other)
            if len(changed) <= BYTES_MAX:
                text = changed
        return text

    def _byte(self, text: bytes, _other: bytes) -> bytes:
        if not text:
            return text
        at = self.rng.randrange(len(text))
        new = self.rng.choice((0, 1, 4, 127, 128, 255, text[at] ^ 1 << self.rng.randrange(8)))
        return text[:at] + bytes([new]) + text[at + 1 :]

    def _word(self, text: bytes, _other: bytes) -> bytes:
        """Put a number of 4 or 8 bytes where one may stand."""
        width = self.rng.choice((4, 8))
        at = 4 * self.rng.randrange(len(text) // 4 + 1)
        word = struct.pack("<Q", self.rng.choice((*WORDS, self.rng.randrange(2**64))))[:width]
        return text[:at] + word + text[at + width :]

    def _cut(self, text: bytes, _other: bytes) -> bytes:
        begin, count = self.rng.randrange(len(text) + 1), self.rng.choice((1, 4, 16, 80, 4096))
        return text[:begin] + text[begin + count :]

    def _lend(self, text: bytes, other: bytes) -> bytes:
        """Put what follows a record's beginning in the other file behind one of this file."""
        at, of = self.rng.choice(_records(text)), self.rng.choice(_records(other))
        return text[:at] + other[of : of + self.rng.choice((16, 80, 520, 4096))] + text[at:]

    def _double(self, text: bytes, _other: bytes) -> bytes:
        at = self.rng.choice(_records(text))
        length = 4 * text[at] if at < len(text) else 0
        return text[: at + length] + text[at : at + length] * self.rng.choice((1, 2, 9)) + text[at:]


def _records(text: bytes) -> Sequence[int]:
    """Where records begin, as far as the lengths lead, and where they end."""
    at = 8 + int.from_bytes(text[4:8], "little")
    found = [0]
    while at < len(text):
        found.append(at)
        at += max(4 * text[at], 4)
    return [*found, len(text)]


class DbnTrials:
    """Reads files of whole definitions and data, at once and in odd blocks."""

    def __init__(self) -> None:
        self.seeds = {"file": tuple(_seeds())}
        own = sorted(path for path in (FEEDS / "dbn").glob("*.py") if path.stem not in LIVE)
        self.files = (*own, *(FEEDS / name for name in FILES))
        self.own = self.files[: -len(FILES)]
        self.arcs = Arcs(self.files)
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")

    def mutator(self, rng: random.Random) -> DbnMutator:
        """What makes new inputs."""
        return DbnMutator(rng)

    def keep(self, kind: str, content: bytes) -> None:
        """Nothing stands beside a file."""

    def timed(self, kind: str, content: bytes) -> float:  # noqa: ARG002 - the protocol's
        """Processor time of reading a file."""
        path = self._written(content)
        began = process_time()
        with suppress(DbnError):
            _read(path, BLOCK_BYTES)
        return process_time() - began

    def trial(self, kind: str, content: bytes, rng: random.Random) -> Result:  # noqa: ARG002 - the protocol's
        """Read a file whole and in odd blocks, which must say the same."""
        result, path = Result(), self._written(content)
        self.arcs.taken = set()
        with caught(result.faults, "reading"):
            whole = self.arcs.run(_said, path, BLOCK_BYTES)
            result.features |= self.arcs.taken | {("said", word) for word in whole["words"]}
            result.outcome = whole["outcome"]
            result.faults += whole.pop("faults")
            parts = _said(path, ODD_BLOCK_BYTES)
            parts.pop("faults")
            result.faults += [f"blocks: other {n}" for n in whole if whole[n] != parts[n]]
        result.seconds = self.timed(kind, content)
        return result

    def _written(self, content: bytes) -> Path:
        path = Path(self._folder.name) / "one.dbn"
        path.write_bytes(content)
        return path


def _seeds() -> list[bytes]:
    """Small files of every record that is read, in three versions and of both datasets."""
    at = dbn_files.MONDAY_NS + DAY_NS
    quotes = [dbn_files.quote(rtype, at, CENT, 2 * CENT) for rtype in (177, 192, 193, 194)]
    own = [dbn_files.quote(r, at, CENT, 2 * CENT, publisher=22) for r in (1, 195, 196)]
    print_ = dbn_files.quote(1, at, CENT, 2 * CENT, publisher=22, action="T", price=CENT, size=1)
    data = [*quotes, *own, print_, dbn_files.trade(at, CENT, 1, "B")]
    mapped = [(dbn_files.FIVE, [(20230807, 20230808, 5)])]
    files = [
        dbn_files.head(dbn_files.OPRA, "mixed") + dbn_files.put_340() + b"".join(data),
        dbn_files.head(dbn_files.OPRA, "mixed") + dbn_files.put_340() + dbn_files.open_interest(at, 5),
        dbn_files.head(dbn_files.OPRA, "cmbp-1", mappings=mapped) + quotes[0],
        dbn_files.head(dbn_files.OPRA, "definition") + dbn_files.put_340(),
    ]  # fmt: skip
    for version in (1, 2):
        known = dbn_files.definition(at - 9, dbn_files.FIVE, version=version, strike=34 * 10**10,
                                     expiration=1_705_622_400 * 10**9)  # fmt: skip
        rest = dbn_files.open_interest(at, 7, version=version) + quotes[0]
        files.append(dbn_files.head(dbn_files.OPRA, "mixed", version) + known + rest)
    future = dbn_files.definition(at - 9, "ESZ3", publisher=1, kind="F", asset="ES", tick=25 * CENT,
                                  expiration=1_702_650_600 * 10**9, qty=50 * 10**9, cfi="FFICSX")  # fmt: skip
    priced = dbn_files.quote(1, at, 4500 * 10**9, 4501 * 10**9, publisher=1)
    return [*files, dbn_files.head(dbn_files.GLBX, "mixed") + future + priced]


def _read(path: Path, block_bytes: int) -> tuple[DbnSource, list[Any], list[Listing]]:
    listed: list[Listing] = []

    def allocate(listings: Sequence[Listing]) -> list[int]:
        listed.extend(listings)
        return list(range(len(listed) - len(listings), len(listed)))

    source = DbnSource(path, block_bytes)
    return source, list(source.chunks(allocate)), listed


def _said(path: Path, block_bytes: int) -> dict[str, Any]:
    """Everything that reading a file gave, as values that compare, and the rules that it broke."""
    try:
        source, chunks, listed = _read(path, block_bytes)
    except DbnError as error:
        return {"outcome": "refused", "words": {plain_words(error)}, "rows": b"", "faults": []}
    rows = np.concatenate([np.empty(0, EVENT), *(chunk.rows for chunk in chunks)])
    tickers = np.concatenate([np.empty(0, TICKER), *(chunk.tickers for chunk in chunks)])
    counts = {name: count for name, count in source.counts.items() if count}
    damaged = "damaged" if counts.get("damaged_files") else "read"
    return {
        "outcome": "carried" if len(rows) or len(tickers) else damaged,
        "words": {*counts, *map(plain_words, source.faults)},
        "rows": rows.tobytes() + tickers.tobytes(),
        "counts": counts,
        "listed": [repr(listing) for listing in listed],
        "faults": _faults(rows, tickers, listed),
    }


def _faults(rows: Any, tickers: Any, listed: Sequence[Listing]) -> list[str]:
    """Rules that rows of a file break."""
    size, price, kind = rows["size"], rows["price"], rows["kind"]
    known = all((table["listing_id"] < len(listed)).all() for table in (rows, tickers))
    checks = {
        "listing: of none": known,
        "kind": np.isin(kind, (Kind.QUOTE, Kind.TRADE, Kind.CLEAR)).all(),
        "side": (np.abs(rows["side"]) <= 1).all(),
        "price: infinite": not np.isinf(price).any(),
        "size: infinite or negative": not (np.isinf(size) | (size < 0)).any(),
        "time: goes back": (np.diff(rows["rx_ns"]) >= 0).all(),
        "open interest": np.isfinite(tickers["open_interest"]).all(),
        "listing terms": all(listing_fault(listing) is None for listing in listed),
    }
    return [name for name, holds in checks.items() if not holds]
