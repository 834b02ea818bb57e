"""Stages 2 and 3 of 8: a raw recording as a table recording."""

from pathlib import Path

from feeds.replay import read_journal
from feeds.tables import TableWriter
from scanner.config import ScanConfig
from scanner.intake import Intake
from scanner.pipeline import Pipeline


def write_tables(journal: Path, out: Path, settings: ScanConfig) -> dict[str, int]:
    """Decode a log and write its rows as tables; returns what the format could not hold."""
    pipeline = Pipeline(settings)
    intake = Intake(settings, pipeline)
    with TableWriter(out, [], []) as writer:
        known = 0
        for record in read_journal(journal):
            intake.deliver((record,))
            if len(intake) >= 4096:
                known = _move(intake, pipeline, writer, known)
        _move(intake, pipeline, writer, known)
        writer.flush()
        return dict(writer.dropped)


def _move(intake: Intake, pipeline: Pipeline, writer: TableWriter, known: int) -> int:
    """Write the rows of one drain; returns how many listings the writer knows."""
    intake.drain()
    count = pipeline.universe.row_count
    new = list(range(known, count))
    writer.add_listings([pipeline.universe.listing(row) for row in new], new)
    writer.write(*pipeline.scanner.take_pending())
    return count
