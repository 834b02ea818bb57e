"""Stages 1 to 3 of 8: `scanner universe`: the contracts and their listings per venue."""

import asyncio
import math
from pathlib import Path
from typing import Any

from feeds.contract import Listing, format_e9
from feeds.dbn import DbnSource
from feeds.replay import SourceKind, journal_kind, read_journal
from feeds.tables import read_tables
from scanner.commands.arguments import write_json, write_line
from scanner.config import from_effective, load
from scanner.errors import InputError
from scanner.intake import Intake
from scanner.pipeline import Pipeline
from scanner.replay import recorded_config
from scanner.run import LiveRun


def universe(config: Path | None, *, source: Path | None, venue: str | None, as_json: bool) -> int:
    """Print every contract once, with its listings, from the venues or from a recording.

    Raises:
        InputError: the venue lists nothing.
    """
    listings = (
        _recorded(source, config) if source else asyncio.run(LiveRun(load(config)).discover())
    )
    chosen = [one for one in listings if venue is None or one.venue == venue]
    if not chosen:
        raise InputError(f"--venue was {venue!r}: no listings of it, expected one that lists some")
    contracts: dict[str, list[Listing]] = {}
    for listing in chosen:
        name = str(listing.contract) if listing.contract else f"{listing.venue}:{listing.symbol}"
        contracts.setdefault(name, []).append(listing)
    show = write_json if as_json else _line
    for name in sorted(contracts):
        show(_row(name, contracts[name]))
    show({"summary": {"contracts": len(contracts), "listings": len(chosen)}})
    return 0


def _recorded(source: Path, config: Path | None) -> list[Listing]:
    kind = journal_kind(source)
    if kind is SourceKind.TABLES:
        return read_tables(source).listings
    if kind is SourceKind.DBN:
        return DbnSource(source).listings
    settings = load(config) if config else from_effective(recorded_config(source), {})
    pipeline = Pipeline(settings)
    intake = Intake(settings, pipeline)
    for record in read_journal(source):
        intake.deliver((record,))
        if intake.full:
            intake.drain()
    intake.drain()
    return [pipeline.universe.listing(row) for row in range(pipeline.universe.row_count)]


def _row(name: str, listings: list[Listing]) -> dict[str, Any]:
    first = listings[0]
    return {
        "contract": name,
        "kind": first.kind.name.lower(),
        "underlying": first.underlying,
        "expiry_ns": first.expiry_ns,
        "strike": None if first.strike_e9 is None else format_e9(first.strike_e9),
        "right": first.right,
        "listings": [
            {
                "venue": one.venue, "symbol": one.symbol, "settle": one.settle,
                "price_ccy": one.price_ccy, "tick": one.tick,
                "multiplier": None if math.isnan(one.multiplier) else one.multiplier,
            }
            for one in listings
        ],
    }  # fmt: skip


def _line(row: dict[str, Any]) -> None:
    if "summary" in row:
        write_line(", ".join(f"{count} {name}" for name, count in row["summary"].items()))
        return
    names = ", ".join(f"{one['venue']}:{one['symbol']}" for one in row["listings"])
    write_line(f"{row['contract']:<36} {row['kind']:<7} {names}")
