"""The section of docs/PERFORMANCE.md on the peers, from what benchmarks/peers/run.py found."""

from collections.abc import Iterable
from typing import Any

# At least, and aimed at; the design's figures for two cores.
SCAN_TARGETS = {10_000: (2.0, 4.0), 100_000: (2.0, 4.0), 1_600_000: (2.0, 5.0)}
ROOF_TARGET = 1.5
SINGLE_BYTES = 336  # Least traffic of a listing in float32, by the harness's count.
MEDIAN_TARGET = (2.0, 5.0)
BOOK_TARGETS = {"numba_segments": (1.5, 2.5), "order_book_C": (60.0, 100.0)}

Row = dict[str, Any]


def section(found: dict[str, Any]) -> list[str]:
    """Tables of the scan, the medians and the books, and where the time goes."""
    lines = ["## Beside peers", ""]
    if "skipped" in found:
        return [*lines, f"Not run: {found['skipped']}.", ""]
    lines += [
        "What a user would pick instead, in interleaved rounds of one run, every answer checked against the first engine's; printed by",
        f"`benchmarks/run.py peers` (seed {found['seed']}). The scan is the harness's own specification, which every tool can write: its kernel",
        "(`benchmarks/peers/scan.py`) is built from the product's pieces and is not the product's scan. Ratios are medians over rounds;",
        "a target reads at least / aimed at.", "",
    ]  # fmt: skip
    machine = found["scan"][0]["machine"]
    lines += [f"Peers' environment: Python {machine['python']}; load {machine['load1']:.2f} at the end of the first scans.", ""]  # fmt: skip
    return [*lines, *_scan(found["scan"]), *_medians(found["medians"]), *_books(found["books"]), *_parts(found), *_book_parts(found["book_parts"])]  # fmt: skip


def verdict(figure: float, target: tuple[float, float]) -> str:
    """What a speed-up is worth against a target."""
    least, aim = target
    if figure >= aim:
        return "aim met"
    return "met" if figure >= least else "**missed**"


def _scan(rows: list[Row]) -> list[str]:
    lines = []
    for listings in sorted({row["n"] for row in rows}):
        some = {row["engine"]: row for row in rows if row["n"] == listings}
        ours, roof = some["product"], some["product"]["roof_gbs"]
        floor_ms = SINGLE_BYTES * listings / roof / 1e6
        ratio = some["numba_par"]["vs best peer"] / ours["vs best peer"]
        least, aim = SCAN_TARGETS[listings]
        of_roof = ours["median ms"] / floor_ms
        lines += [
            f"**Scan of {listings:,} listings**, two threads: {ratio:.1f} times as fast as the user's numba loop (target {least:g} / {aim:g}: "
            f"{verdict(ratio, (least, aim))}); {of_roof:.1f} times the float32 memory roof of the run, {floor_ms:.2f} ms at {roof:.1f} GB/s "
            f"(target {ROOF_TARGET}: {'met' if of_roof <= ROOF_TARGET else '**missed**'}; {ours['best x roof'] * 668 / 336:.1f} at best).", "",
            "| engine | median ms | best ms | cpu ms | times product | answer |", "|---|--:|--:|--:|--:|---|",
        ]  # fmt: skip
        lines += [_scan_row(row, ours) for row in some.values()]
        lines.append("")
    return [
        *lines,
        "Why the product stays above the roof: between its rounds the harness runs the other engines, so its columns come from memory, and",
        "a listing waits for its lines and then costs its exponentials and logarithms (last lines of this section say how much of each). At",
        "10,000 listings the second thread is woken for a fraction of a millisecond of work. What would change it: a second thread that waits",
        "busily, which would take a core from the event loop, or laws that are cheaper than exact to the bit.", "",
    ]  # fmt: skip


def _scan_row(row: Row, ours: Row) -> str:
    if "median ms" not in row:
        return f"| {row['engine']} | | | | | {row['check']} |"
    times = row["vs best peer"] / ours["vs best peer"]
    return (
        f"| {row['engine']} | {row['median ms']:.3f} | {row['best ms']:.3f} | {row['cpu ms']:.3f} | {times:.1f} | {row['check']} |"
    )  # fmt: skip


def _medians(rows: Iterable[Row]) -> list[str]:
    lines = [
        "**Median, MAD and score of every group**, 100,000 listings, beside the user's loop over np.median in numba.", "",
        "| threads | clock | ns a listing | peer's ns | speed-up | target | |", "|--:|---|--:|--:|--:|--:|---|",
    ]  # fmt: skip
    lines += [
        f"| {r['threads']} | {r['clock']} | {r['product_ns']:.1f} | {r['peer_ns']:.1f} | {r['speedup']:.1f} | "
        f"{MEDIAN_TARGET[0]:g} / {MEDIAN_TARGET[1]:g} | {verdict(r['speedup'], MEDIAN_TARGET)} |"
        for r in rows
    ]
    return [*lines, ""]


def _books(rows: list[Row]) -> list[str]:
    ours = next(row for row in rows if row["engine"] == "product")
    lines = [
        "**Books and order-flow imbalance**, 50,000 events over 10,000 listings, best levels of the touched read out; processor time of an update.", "",
        "| engine | cpu ns an update | wall ns | times product, cpu | target | | answer |", "|---|--:|--:|--:|--:|---|---|",
    ]  # fmt: skip
    for row in rows:
        if "updates/cpu-s" not in row:
            lines.append(f"| {row['engine']} | | | | | | {row['check']} |")
            continue
        times = ours["updates/cpu-s"] / row["updates/cpu-s"]
        target = BOOK_TARGETS.get(row["engine"])
        words = f"{target[0]:g} / {target[1]:g} | {verdict(times, target)}" if target else " | "
        lines.append(
            f"| {row['engine']} | {1e9 / row['updates/cpu-s']:.0f} | {row['ns/update']:.0f} | {times:.1f} | {words} | {row['check']} |"
        )
    return [*lines, ""]


def _book_parts(parts: dict[str, float]) -> list[str]:
    """What an update consists of, from loops that hold ever more of it."""
    whole, few = parts["whole batch"], parts["whole batch over 500 books"]
    return [
        f"Of the {whole:.0f} ns of a book's update, on one thread: grouping by listing {parts['grouping by listing']:.0f}, reading out the best levels {parts['reading out']:.0f}, and",
        f"{parts['search, move and flow']:.0f} for the events themselves; a loop that only finds their levels takes {parts['search alone']:.0f}. (The loops are apart, so the sums are not exact.)",
        f"Over 500 books, which the second-level cache holds, an update costs {few:.0f}: {max(0.0, 1 - few / whole):.0%} of it is waiting for memory, since 10,000 books of float64 sizes",
        "are 11 MB. What would change it: the product's own float32 sizes, which the harness forbids, would take a third of those bytes; and fewer",
        "levels in a book's lines (32 of them and 16 unused here, of which 10 are asked for).", "",
    ]  # fmt: skip


def _parts(found: dict[str, Any]) -> list[str]:
    lines = ["**Where the time goes**, processor ns on one thread, caches as a collection of garbage leaves them:", ""]  # fmt: skip
    for what, unit, parts in (
        ("scan", "a listing of 100,000", found["scan_parts"]),
        ("books", "an update", found["book_parts"]),
    ):
        words = ", ".join(f"{name} {ns:.1f}" for name, ns in parts.items())
        lines.append(f"- {what}, {unit}: {words}")
    return [*lines, ""]
