"""Stages 4 to 6 of 8: which kernels make a tick, in what order, with how many threads.

A tick is one graph: an ordered list of launches over arrays that stay where they are. What differs
from tick to tick is in the words (kernels.gpu.words) and the inbox, refreshed by the upload.
"""

from typing import Any, Final, NamedTuple

from kernels import columns as c
from kernels.arrays import (
    Batch,
    Books,
    Columns,
    Common,
    GroupColumns,
    I64x1,
    I64x2,
    Marks,
    Ranking,
    Scores,
    Tables,
    Tickers,
)
from kernels.gpu import histogram, rank

ROW_THREADS: Final = 128
APPLY_THREADS: Final = 128
GROUP_THREADS: Final = 64
ROWS_PER_RANK_BLOCK: Final = 4096
ROWS_PER_COUNT_BLOCK: Final = 2048
RANK_BLOCKS_MAX: Final = 128
COUNT_BLOCKS_MAX: Final = 64
NODES_MAX: Final = 12


class Arrays(NamedTuple):
    """Everything that lives on the device, by what it is."""

    tick: I64x1
    batch: Batch
    tickers: Tickers
    columns: Columns
    books: Books
    scores: Scores
    common: Common
    marks: Marks
    groups: GroupColumns
    tables: Tables
    ranking: Ranking
    counters: I64x2  # [warp, counter]


class Launch(NamedTuple):
    """One kernel of a graph."""

    kernel: str
    grid: tuple[int, int]
    threads: int
    arguments: tuple[Any, ...]


class Clear(NamedTuple):
    """One array of a graph that is set to 0."""

    array: Any


Node = Launch | Clear


def apply_program(a: Arrays) -> list[Node]:
    """A tick without a scan: tickers, then rows."""
    tickers = blocks(a.tickers.listing.shape[0], ROW_THREADS)
    warps = a.counters.shape[0]
    return [
        Launch("apply_tickers", (tickers, 1), ROW_THREADS, (a.tick, a.tickers, a.columns)),
        Launch(
            "apply", (warps * 32 // APPLY_THREADS, 1), APPLY_THREADS,
            (a.tick, a.batch, a.columns, a.books, a.counters),
        ),
    ]  # fmt: skip


def scan_program(a: Arrays) -> list[Node]:
    """What follows the rows of a tick that scores: one pass to fresh rows, one to ranked lists."""
    rows = a.columns.validity.shape[0]
    row_grid = (blocks(rows, ROW_THREADS), 1)
    group_grid = (blocks(a.groups.kind.shape[0], GROUP_THREADS), 1)
    count_grid = (
        min(blocks(rows, ROWS_PER_COUNT_BLOCK), COUNT_BLOCKS_MAX), histogram.COLUMN_COUNT
    )  # fmt: skip
    rank_grid = (a.ranking.block_best.shape[1] // rank.K_MAX, c.LIST_COUNT)
    tick, columns, scores = a.tick, a.columns, a.scores
    return [
        Launch("expire", row_grid, ROW_THREADS, (tick, columns)),
        Launch(
            "observe", row_grid, ROW_THREADS, (tick, columns, a.books, scores, a.common, a.marks)
        ),
        Clear(a.groups.sums),
        Clear(a.groups.pooled),
        Launch("group_sums", row_grid, ROW_THREADS, (tick, columns, scores, a.groups)),
        Launch("group_scores", group_grid, GROUP_THREADS, (tick, a.groups, a.tables)),
        Launch("block_top_k", rank_grid, rank.THREADS, (tick, columns, scores, a.ranking)),
        Launch("top_k", (c.LIST_COUNT, 1), rank.THREADS, (tick, a.ranking)),
        Launch("count_marks", count_grid, histogram.THREADS, (tick, a.marks, a.tables, a.common)),
        Launch(
            "cumulate", (histogram.TABLE_ROWS, 1), histogram.THREADS,
            (tick, a.tables, a.groups, a.common),
        ),
    ]  # fmt: skip


def metrics_program(a: Arrays, out: Any) -> list[Node]:
    """Every metric of every row into `out`, float32[metric, row]."""
    grid = (blocks(a.columns.validity.shape[0], ROW_THREADS), 1)
    return [Launch("metrics", grid, ROW_THREADS, (a.tick, a.columns, a.books, out))]


def activity_program(a: Arrays, out: Any) -> list[Node]:
    """Activity of every row into `out`, float32[row]."""
    grid = (blocks(a.columns.validity.shape[0], ROW_THREADS), 1)
    return [Launch("activity", grid, ROW_THREADS, (a.tick, a.columns, out))]


def rollup_program(a: Arrays, group: Any, sums: Any, best: Any) -> list[Node]:
    """One way of grouping the rows, into arrays that are cleared first."""
    grid = (blocks(a.columns.validity.shape[0], ROW_THREADS), 1)
    launch = Launch("rollup", grid, ROW_THREADS, (a.tick, a.columns, a.scores, group, sums, best))
    return [Clear(sums), Clear(best), launch]


def blocks(count: int, per_block: int) -> int:
    """Blocks that cover `count` things, at least one."""
    return max(1, -(-count // per_block))


def rank_blocks(row_count: int) -> int:
    """Blocks of the first ranking launch."""
    return min(blocks(row_count, ROWS_PER_RANK_BLOCK), RANK_BLOCKS_MAX)
