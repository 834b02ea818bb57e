"""Stages 4 and 6 of 8: baselines and reference carried from one run to the next, as one npz file.

    capture(scanner) -> Checkpoint -> write(path)         load(path) -> Checkpoint -> into(scanner)

What is carried: the histograms of the last 25 hours by their age, the common scales, the baselines
of every listing under its name venue:symbol (never a row number), and what a listing without
baselines starts from. What is not: books, decayed sums and scores, which the feeds give anew.
"""

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from feeds.contract import Listing
from kernels import columns as c
from scanner.alert import RULES
from scanner.engine import Scanner
from scanner.errors import CheckpointError
from scanner.state import GROUP_KINDS, HOUR_NS, HOURS, STAGE_2_BINS, Z_BINS, Memory, Reference
from scanner.universe import RowState

FORMAT: Final = 1
PRIOR_COUNT_MIN: Final = 30  # A mean of fewer observations says little about its stratum.
PRIOR_LISTINGS_MIN: Final = 8
# A listing unseen for a week is taken for gone; without a bound the file would keep every option
# that ever expired.
FORGET_NS: Final = 7 * 86_400_000_000_000
MEMBER_BYTES_MAX: Final = 1 << 30  # 2**21 listings need 350 MB; more is no checkpoint.

# Histograms, [hour of age, ...], stored sparsely.
_TABLES: Final[dict[str, tuple[int, ...]]] = {
    "drivers": (HOURS, c.STRATUM_COUNT, c.DRIVER_COUNT, Z_BINS),
    "lists": (HOURS, c.STRATUM_COUNT, c.LIST_COUNT, STAGE_2_BINS),
    "groups": (HOURS, len(GROUP_KINDS), Z_BINS),
    "pooled": (HOURS, 2),
}
_GRID: Final = (c.STRATUM_COUNT, c.DRIVER_COUNT)
_DENSE: Final[dict[str, tuple[type[np.generic], tuple[int, ...]]]] = {
    "scale": (np.float32, _GRID),
    "fold_sum": (np.int64, _GRID),
    "fold_count": (np.int64, _GRID),
    "folded": (np.uint8, _GRID),
    "prior": (np.float32, (2, c.STRATUM_COUNT, c.FEATURE_COUNT)),
}
# Per listing, the listing last.
_MEMORY: Final[dict[str, tuple[type[np.generic], tuple[int, ...]]]] = {
    "baseline": (np.float32, (c.BASELINE_COUNT, c.FEATURE_COUNT)),
    "own_count": (np.int32, ()),
    "stratum": (np.uint8, ()),
    "seen_ns": (np.int64, ()),
}
# What a damaged file can make the zip and array readers raise.
_DAMAGE: Final = (
    OSError, EOFError, ValueError, KeyError, IndexError, RuntimeError, OverflowError, SyntaxError,
    zipfile.BadZipFile, zlib.error, msgspec.MsgspecError,
)  # fmt: skip

Table = NDArray[np.int64]


class Header(msgspec.Struct, forbid_unknown_fields=True):
    """The words of the file."""

    format: int
    rules: str
    saved_ns: int
    notes: dict[str, str]
    listings: list[str]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What one run leaves to the next; arrays are never written to after creation.

    Attributes:
        saved_ns: grid time of the last scan that is in it.
        tables: histograms by name (`drivers`, `lists`, `groups`, `pooled`), int64, the first axis
            the age in hours, 0 the hour of saved_ns.
        scale, fold_sum, fold_count, folded: common scales as in kernels.arrays.Common; `folded`
            says where a scale has ever been folded.
        prior: float32[2, stratum, feature], mean and variance that a listing without baselines
            starts from; NaN throughout where too few listings were known.
        memory: baselines by venue:symbol.
        notes: where it comes from, for people.
    """

    saved_ns: int
    tables: Mapping[str, Table]
    scale: NDArray[np.float32]
    fold_sum: Table
    fold_count: Table
    folded: NDArray[np.uint8]
    prior: NDArray[np.float32]
    memory: Memory
    notes: Mapping[str, str] = field(default_factory=dict)

    def into(self, scanner: Scanner, now_ns: int) -> None:
        """Start a scanner from here at grid time now_ns, its first scan being then or later.

        The newest hour becomes the hour before that of now_ns, whatever the time between the two
        runs; older hours keep their distance, and leave after 24 hours as if they were the run's
        own. The first fold of a scale in the new run is a later fold, now_ns the one before.
        Listings known now or added later find their baselines at the next tick; their first
        observation has no gap, so it is not scored.

        Raises:
            ValueError: the scanner has scanned.
        """
        state = scanner.state
        if state.scan_count:
            raise ValueError(f"restore: scan_count was {state.scan_count}, expected a new scanner")
        # The first scan finds a new hour, and with it renews the cumulated tables.
        state.reference.hour = now_ns // HOUR_NS - 1
        _set_hours(state.reference, self.tables)
        common = state.common
        common.scale[:] = self.scale
        common.fold_sum[:] = self.fold_sum
        common.fold_count[:] = self.fold_count
        common.fold_ns[:] = np.where(self.folded != 0, now_ns, 0)
        common.prior[:] = self.prior
        state.remember(self.memory, scanner.universe)

    def renamed(self, names: Mapping[str, str]) -> "Checkpoint":
        """Copy in which listings have other names; those that `names` lacks keep theirs.

        Raises:
            ValueError: two listings would have one name.
        """
        place = {names.get(name, name): at for name, at in self.memory.place.items()}
        if len(place) < len(self.memory.place):
            lost = len(self.memory.place) - len(place)
            raise ValueError(f"renamed: {lost} names were taken twice, expected 0")
        return replace(self, memory=replace(self.memory, place=place))

    def annotated(self, notes: Mapping[str, str]) -> "Checkpoint":
        """Copy with other notes."""
        return replace(self, notes=dict(notes))

    def write(self, path: Path) -> None:
        """Replace the file as a whole; equal checkpoints give equal bytes.

        Raises:
            CheckpointError: the file cannot be written.
        """
        header = Header(FORMAT, RULES, self.saved_ns, dict(self.notes), list(self.memory.place))
        arrays: dict[str, NDArray[Any]] = {
            "header": np.frombuffer(msgspec.json.encode(header), np.uint8)
        }
        for name in _TABLES:
            table = self.tables[name].ravel()
            where = np.flatnonzero(table)
            arrays[f"{name}_at"], arrays[f"{name}_count"] = where.astype(np.uint32), table[where]
        arrays |= {name: getattr(self, name) for name in _DENSE}
        order = np.fromiter(self.memory.place.values(), np.intp, len(self.memory.place))
        arrays |= {name: getattr(self.memory, name)[..., order] for name in _MEMORY}
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, array in arrays.items():
                # Without a date of its own an entry has the time of writing in it.
                entry = zipfile.ZipInfo(f"{name}.npy")
                entry.compress_type = zipfile.ZIP_DEFLATED
                text = BytesIO()
                np.lib.format.write_array(text, array, allow_pickle=False)
                archive.writestr(entry, text.getvalue())
        _replace(path, packed.getvalue())


def capture(scanner: Scanner) -> Checkpoint:
    """Copy what a scanner has learned, between ticks; nothing of it is borrowed.

    Baselines of an earlier checkpoint whose listings have not come yet are handed on, for a week
    after they were last observed.
    """
    state = scanner.state
    common, now_ns = state.common, state.last_scan_ns
    memory = _memory(scanner)
    return Checkpoint(
        saved_ns=now_ns,
        tables=_hours_by_age(state.reference),
        scale=common.scale.copy(),
        fold_sum=common.fold_sum.copy(),
        fold_count=common.fold_count.copy(),
        folded=(common.fold_ns != c.NEVER).astype(np.uint8),
        prior=_priors(memory, common.prior),
        memory=memory,
    )


def save(scanner: Scanner, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Capture and write.

    Raises:
        CheckpointError: the file cannot be written.
    """
    capture(scanner).annotated(notes or {}).write(path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint whole, or not at all.

    Raises:
        CheckpointError: no such file, a damaged one, or one of another format or other rules.
    """
    try:
        found = _members(path)
        header = msgspec.json.decode(found.pop("header").tobytes(), type=Header)
    except _DAMAGE as error:
        why = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path}: {why}, expected a whole checkpoint file") from error
    if header.format != FORMAT or header.rules != RULES:
        raise CheckpointError(
            f"{path}: format and rules were {header.format} and {header.rules!r}, expected "
            f"{FORMAT} and {RULES!r}: a checkpoint of other rules cannot be used"
        )
    count = len(header.listings)
    if len(set(header.listings)) < count:
        raise CheckpointError(f"{path}: a listing was named twice, expected each once")
    tables = {name: _table(path, name, found) for name in _TABLES}
    dense = {name: _array(path, name, spec, found) for name, spec in _DENSE.items()}
    memory = {
        name: _array(path, name, (dtype, (*shape, count)), found)
        for name, (dtype, shape) in _MEMORY.items()
    }
    place = {name: at for at, name in enumerate(header.listings)}
    return Checkpoint(
        saved_ns=header.saved_ns, tables=tables, notes=header.notes,
        memory=Memory(place=place, **memory), **dense,
    )  # fmt: skip


def emulated_names(listings: Sequence[Listing]) -> dict[str, str]:
    """Names of emulated universes that do not depend on the day: places in a venue's listings.

    Expiries of the emulator are relative to its start, so a symbol means another contract each
    day; the place of a contract in a universe of the same size does not change.
    """
    places: Counter[str] = Counter()
    names = {}
    for one in listings:
        names[f"{one.venue}:{one.symbol}"] = f"{one.venue}:emulated:{places[one.venue]}"
        places[one.venue] += 1
    return names


def _hours_by_age(reference: Reference) -> dict[str, Table]:
    """Copies of the hourly tables, the current hour first."""
    slots = (reference.hour - np.arange(HOURS)) % HOURS
    hours = (hours for _, hours in reference.pairs())
    return {name: table[slots] for name, table in zip(_TABLES, hours, strict=True)}


def _set_hours(reference: Reference, tables: Mapping[str, Table]) -> None:
    """Lay hours of age 0, 1, ... into the ring, the newest into reference.hour."""
    slots = (reference.hour - np.arange(HOURS)) % HOURS
    for name, (total, hours) in zip(_TABLES, reference.pairs(), strict=True):
        hours[slots] = tables[name]
        total[:] = hours.sum(axis=0)


def _memory(scanner: Scanner) -> Memory:
    """Baselines of the live listings, and the remembered ones that have not come yet."""
    state, universe = scanner.state, scanner.universe
    count = universe.row_count
    live = universe.columns.state[:count] == RowState.LIVE
    seen_ns = state.columns.i64[c.OBSERVED_NS, :count].copy()
    names = {int(row): universe.name(int(row)) for row in np.flatnonzero(live)}
    old = state.memory
    for row, name in names.items():
        if seen_ns[row] == c.NEVER and old is not None and name in old.place:
            seen_ns[row] = old.seen_ns[old.place[name]]
    rows = np.flatnonzero(live & (seen_ns != c.NEVER))
    place = {names[int(row)]: at for at, row in enumerate(rows)}
    mine = Memory(
        place=place,
        baseline=state.scores.baseline[:, :, rows],
        own_count=state.columns.i32[c.OWN_COUNT, rows],
        stratum=state.columns.u8[c.STRATUM, rows],
        seen_ns=seen_ns[rows],
    )
    return mine if old is None else _joined(mine, old, state.last_scan_ns - FORGET_NS)


def _joined(mine: Memory, old: Memory, seen_after_ns: int) -> Memory:
    """Mine, and of the old one what I lack and what was seen not too long ago."""
    kept = {
        name: at
        for name, at in old.place.items()
        if name not in mine.place and old.seen_ns[at] > seen_after_ns
    }
    take = np.fromiter(kept.values(), np.intp, len(kept))
    names = (*mine.place, *kept)
    columns = {
        name: np.concatenate([getattr(mine, name), getattr(old, name)[..., take]], axis=-1)
        for name in _MEMORY
    }
    return Memory(place={name: at for at, name in enumerate(names)}, **columns)


def _priors(memory: Memory, before: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the means, and mean of the variances plus the variance of the means, by stratum.

    A stratum that was the last of fewer than 8 listings takes all listings; where even these are
    fewer than 8 the priors of the run stand.
    """
    mean, variance = (memory.baseline[word].astype(np.float64) for word in (c.MEAN, c.VARIANCE))
    known = memory.baseline[c.COUNT] >= PRIOR_COUNT_MIN
    prior = before.copy()
    for s in range(c.STRATUM_COUNT):
        for f in range(c.FEATURE_COUNT):
            which = known[f] & (memory.stratum == s)
            if which.sum() < PRIOR_LISTINGS_MIN:
                which = known[f]
            if which.sum() >= PRIOR_LISTINGS_MIN:
                m = mean[f, which]
                prior[:, s, f] = m.mean(), variance[f, which].mean() + m.var()
    return prior


def _members(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an npz file, each checked against its checksum before it is parsed."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.file_size > MEMBER_BYTES_MAX:
                raise ValueError(f"{entry.filename} has {entry.file_size} bytes")
            member = BytesIO(archive.read(entry))
            name = entry.filename.removesuffix(".npy")
            arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays


def _array(
    path: Path, name: str, spec: tuple[type[np.generic], tuple[int, ...]],
    found: Mapping[str, NDArray[Any]],
) -> NDArray[Any]:  # fmt: skip
    """One array of the file, of the dtype and shape that it must have."""
    dtype, shape = spec
    array = found.get(name)
    if array is None or array.dtype != dtype or array.shape != shape:
        was = "missing" if array is None else f"{array.dtype}{list(array.shape)}"
        expected = f"{np.dtype(dtype)}{list(shape)}"
        raise CheckpointError(f"{path}: {name} was {was}, expected {expected}")
    return array


def _table(path: Path, name: str, found: Mapping[str, NDArray[Any]]) -> Table:
    """One histogram from the places and counts of its filled bins."""
    shape = _TABLES[name]
    size = int(np.prod(shape))
    filled = (len(found.get(f"{name}_at", ())),)
    at = _array(path, f"{name}_at", (np.uint32, filled), found)
    count = _array(path, f"{name}_count", (np.int64, filled), found)
    if (at >= size).any() or (count < 0).any():
        raise CheckpointError(f"{path}: {name} was not a histogram, expected places below {size}")
    table = np.zeros(size, np.int64)
    table[at] = count
    return table.reshape(shape)


def _replace(path: Path, content: bytes) -> None:
    """Write beside the file, then put it in its place; a crash leaves the old or the new one."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error}, expected a writable place") from error
    finally:
        beside.unlink(missing_ok=True)
