"""Stages 1 to 5 of 8: `scanner features SOURCE --out F.parquet`: every metric on a time grid."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feeds.dbn import DbnSource
from feeds.events import EventRows, TickerRows
from feeds.replay import SourceKind, journal_kind, read_journal
from feeds.tables import read_tables
from kernels import columns as c
from kernels.rows.features import METRIC_NAMES
from scanner.commands.arguments import write_json, write_line
from scanner.commands.progress import Progress
from scanner.config import ScanConfig, from_effective, load
from scanner.engine import MS_NS, Scanner
from scanner.errors import InputError
from scanner.intake import Intake
from scanner.pipeline import Pipeline, grid_after, take_tables
from scanner.replay import recorded_config
from scanner.tick import assign_classes, export_metrics
from scanner.universe import NO_CONTRACT

IDENTITY: Final = (
    "ts_ns", "listing_id", "contract_id", "venue", "symbol", "kind", "underlying", "expiry_ns",
    "strike_e9", "right",
)  # fmt: skip
BOOK: Final = ("bid", "bid_size", "ask", "ask_size", "mid")
BARS: Final = ("ofi_bar", *(f"ofi_bar_{m}" for m in range(2, c.LEVELS_USED + 1)))
# The engine's mid is float32; the exact one of BOOK takes its place here.
# Pressure is a score's, and nothing is scored here.
METRICS: Final = tuple(name for name in METRIC_NAMES if name not in ("mid", "pressure"))
COLUMNS: Final = (*IDENTITY, *BOOK, *BARS, *METRICS, "validity")
GRID_MAX: Final = 10_000_000  # Eleven days of tenths of a second.
GROUP_ROWS: Final = 262_144  # Rows held before a row group is written: about 100 MB.


def features(
    source: Path, out: Path, *, every_ns: int, columns: tuple[str, ...] | None,
    listings: tuple[str, ...] | None, config: Path | None, device: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Write one row per (grid time, listing with a state).

    Args:
        source: a recording of any kind, which is held in memory.
        out: Parquet file, written under a temporary name and renamed.
        every_ns: grid period, a multiple of the tick.
        columns: names to write, in this order; None for all (COLUMNS).
        listings: "venue:symbol" names; None for all.
        config: TOML file; None for the defaults.
        device: overrides the configured device.
        as_json: print the closing counts as one JSON object.

    Raises:
        InputError: an unknown column or listing, a period off the tick grid or too short for the
            recording, or a place that must not be written.
    """
    settings = load(config, {"engine.device": device})
    tick_ns = settings.engine.tick_ms * MS_NS
    if every_ns % tick_ns:
        raise InputError(
            f"--every was {every_ns} ns, expected a multiple of the tick, {tick_ns} ns"
        )
    names = columns or COLUMNS
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise InputError(
            f"--columns: {unknown[0]!r} is unknown, expected some of {', '.join(COLUMNS)}"
        )
    _check_out(source, out)
    scanner, rows, tickers = _read(source, config, settings)
    wanted = _wanted(scanner, listings)
    scanner.apply(rows, tickers)
    times = (rows["rx_ns"], tickers["rx_ns"])
    first_ns = min((int(t[0]) for t in times if len(t)), default=0)
    last_ns = max((int(t[-1]) for t in times if len(t)), default=-1)
    grid = range(grid_after(first_ns, every_ns), grid_after(last_ns, every_ns) + 1, every_ns)
    if len(grid) > GRID_MAX:
        raise InputError(
            f"--every {every_ns} ns from {first_ns} to {last_ns} ns was {len(grid)} grid times, "
            f"expected at most {GRID_MAX}"
        )
    written = _write(out, names, _frames(scanner, grid, wanted, names))
    counts = {"grid_times": len(grid), "rows": written, "listings": scanner.universe.row_count}
    if as_json:
        write_json({"summary": counts | scanner.row_counts()})
    else:
        write_line(f"{out}: " + ", ".join(f"{name} {value}" for name, value in counts.items()))
    sys.stdout.flush()
    return 0


def _check_out(source: Path, out: Path) -> None:
    """Refuse to replace anything but a plain file, or a part of what is read."""
    if out.exists() and not out.is_file():
        raise InputError(f"--out: {out} is no plain file, expected one, or a name that is free")
    if source.resolve() in (out.resolve(), out.resolve().parent):
        raise InputError(f"--out: {out} is inside {source}, expected a place outside the recording")


def _read(
    source: Path, config: Path | None, settings: ScanConfig
) -> tuple[Scanner, EventRows, TickerRows]:
    """An engine that knows the recording's listings, and all its rows."""
    kind = journal_kind(source)
    if kind is SourceKind.TABLES:
        scanner = Scanner(settings, bars=True)
        return scanner, *take_tables(read_tables(source), scanner)
    if kind is SourceKind.DBN:
        scanner = Scanner(settings, bars=True)
        for rows, tickers in DbnSource(source).chunks(scanner.add):
            scanner.apply(rows, tickers)
        return scanner, *scanner.take_pending()
    if config is None:
        settings = from_effective(recorded_config(source), {})
    pipeline = Pipeline(settings, bars=True)
    # Listings that ended stay: their last states are rows of the file like any other.
    intake = Intake(settings, pipeline, retire=lambda _listing_id, _rx_ns: None)
    for record in read_journal(source):
        intake.deliver((record,))
        if intake.full:
            intake.drain()
    intake.drain()
    return pipeline.scanner, *pipeline.scanner.take_pending()


def _wanted(scanner: Scanner, listings: tuple[str, ...] | None) -> NDArray[np.bool_]:
    """Mask of the listings to write."""
    count = scanner.universe.row_count
    if listings is None:
        return np.ones(count, np.bool_)
    mask = np.zeros(count, np.bool_)
    known = {f"{one.venue}:{one.symbol}": i for i in range(count)
             for one in (scanner.universe.listing(i),)}  # fmt: skip
    for name in listings:
        if name not in known:
            raise InputError(f"--listings: {name!r} is not in the recording, expected venue:symbol")
        mask[known[name]] = True
    return mask


def _frames(
    scanner: Scanner, grid: range, wanted: NDArray[np.bool_], names: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Columns of every grid time that has a listing with a state."""
    scanner.state.sync(scanner.universe)
    scanner.state.begin_bar()
    progress = Progress("features")
    metrics = any(name in METRICS for name in names)
    for k, now_ns in enumerate(grid):
        scanner.tick(now_ns)
        assign_classes(now_ns, len(wanted), scanner.state, scanner.device)
        ids = np.flatnonzero(scanner.state.columns.u8[c.HAS_STATE, : len(wanted)] * wanted)
        if len(ids):
            yield _columns(scanner, now_ns, ids, metrics=metrics)
        scanner.state.begin_bar()
        progress.show(f"{k + 1} of {len(grid)} grid times")
    progress.done(f"{len(grid)} grid times")


def _columns(
    scanner: Scanner, now_ns: int, ids: NDArray[np.intp], *, metrics: bool
) -> dict[str, Any]:
    """Every column of one grid time, [listing with a state]."""
    universe, state = scanner.universe, scanner.state
    static, validity = universe.columns, state.columns.validity[ids].copy()
    option = static.right[ids] != 0
    expires = static.expiry_ns[ids] > 0
    window_ns = static.settle_window_ns[ids]
    expiry_ns = static.expiry_ns[ids]
    validity[expires & (expiry_ns <= now_ns)] |= c.EXPIRED
    validity[option & (expiry_ns > now_ns) & (expiry_ns - now_ns <= window_ns)] |= c.SETTLING
    out: dict[str, Any] = {
        "ts_ns": np.full(len(ids), now_ns, np.int64),
        "listing_id": ids.astype(np.uint32),
        "contract_id": np.ma.masked_equal(static.contract_id[ids], NO_CONTRACT),
        **_names(scanner, ids),
        "expiry_ns": np.ma.MaskedArray(expiry_ns, ~expires),
        "strike_e9": np.ma.MaskedArray(static.strike_e9[ids], ~option),
        "validity": validity,
    }
    out |= _book(scanner, ids)
    bars = np.where(state.bar_had_state[ids, None], state.bar[ids], np.nan)
    has_book = state.columns.i32[c.SLOT, ids] != c.NO_SLOT
    for m, name in enumerate(BARS):
        out[name] = bars[:, m] if m == 0 else np.where(has_book, bars[:, m], np.nan)
    if metrics:
        every = export_metrics(now_ns, universe.row_count, state, scanner.device)
        out |= {name: every[name][ids] for name in METRICS}
    return out


def _names(scanner: Scanner, ids: NDArray[np.intp]) -> dict[str, Any]:
    """Text columns of the listings; a missing right is null."""
    listings = [scanner.universe.listing(int(i)) for i in ids]
    rights = [one.right for one in listings]
    return {
        "venue": np.array([one.venue for one in listings], object),
        "symbol": np.array([one.symbol for one in listings], object),
        "kind": np.array([one.kind.name.lower() for one in listings], object),
        "underlying": np.array([one.underlying for one in listings], object),
        "right": np.ma.MaskedArray(
            np.array([right or "" for right in rights], object), [right is None for right in rights]
        ),
    }


def _book(scanner: Scanner, ids: NDArray[np.intp]) -> dict[str, Any]:
    """Best bid and ask in native quotation, float64, NaN where there is none."""
    col, tick = scanner.state.columns, scanner.state.tick_f64[ids]
    out: dict[str, Any] = {}
    for name, price, size in (("bid", c.BID, c.BID_SIZE), ("ask", c.ASK, c.ASK_SIZE)):
        ticks = col.i32[price, ids]
        there = ticks != c.NO_PRICE
        out[name] = np.where(there, _price(ticks, tick), np.nan)
        out[f"{name}_size"] = np.where(there, col.f32[size, ids].astype(np.float64), np.nan)
    bid, ask = (col.i32[k, ids].astype(np.int64) for k in (c.BID, c.ASK))
    two_sided = (bid != c.NO_PRICE) & (ask != c.NO_PRICE)
    out["mid"] = np.where(two_sided, _price(bid + ask, tick / 2), np.nan)
    return out


def _price(ticks: NDArray[Any], tick: NDArray[np.float64]) -> NDArray[np.float64]:
    """The float nearest the decimal price: 30.88, where 3088 x 0.01 gives 30.880000000000003."""
    per_unit = np.rint(1 / tick)
    exact = np.abs(per_unit * tick - 1) < 1e-12
    return np.where(exact, ticks / np.where(exact, per_unit, 1), ticks * tick)


def _write(out: Path, names: tuple[str, ...], frames: Iterator[dict[str, Any]]) -> int:
    """Write frames as row groups; returns the rows written."""
    from scanner.commands.feature_file import FeatureFile  # noqa: PLC0415 - pyarrow: 0.2 s

    with FeatureFile(out, names) as file:
        held: list[dict[str, Any]] = []
        rows = 0
        for frame in frames:
            held.append(frame)
            rows += len(frame["ts_ns"])
            if rows >= GROUP_ROWS:
                file.write(held)
                held, rows = [], 0
        file.write(held)
        return file.row_count
