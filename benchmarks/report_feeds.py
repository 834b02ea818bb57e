"""The sections of docs/PERFORMANCE.md on feeds, from what benchmarks/run.py found."""

from collections.abc import Callable
from typing import Any

PEERS = ("msgspec", "orjson", "cryptofeed", "ccxt")
LOOPBACK_MUST = 4.0  # times cryptofeed's handler alone
BURST_MUST_MS = 20.0
RATIO_MAX = 1.2  # of msgspec typed, Deribit
VENUES_MUST = 1.5  # times msgspec typed, of every kind

Row = dict[str, Any]


def decode(found: Row) -> list[str]:
    """Deribit's frames."""
    return [
        "## Decode", "",
        "Deribit frames to event rows, batches of 256, processor time of one core, median of 15 interleaved rounds, beside",
        "decoders to float64 columns, msgspec typed (`benchmarks/peers/decode.py`) and orjson typed by hand (`benchmarks/peers/dicts.py`), which",
        "do not build change ids, flags, trade keys or the frame table, and beside the whole handlers of cryptofeed and ccxt pro, which keep",
        "books and call back. Levels, prices and sizes of all were equal before any was timed. `scanned` frames were taken by the byte scanner;",
        "`without` is the time of all of them by msgspec alone (blocks, snapshots, windows, and whatever else the scanner refuses). Floor of",
        f"this version: at most {RATIO_MAX} times the time of msgspec typed. Printed by `benchmarks/run.py decode`.", "",
        f"Peers: {_versions(found)}.", "",
        *_table(found, lambda times: 1 / times <= RATIO_MAX, "floor"), *_absences(found),
    ]  # fmt: skip


def venues(found: Row) -> list[str]:
    """The frames of the others."""
    return [
        "Other venues, frames as their emulators send them, batches of 256 (whole chains one by one), beside the same peers; a venue without",
        f"figures for `scanned` has no byte scanner. Must: {VENUES_MUST} times msgspec typed for each. Prints are rare, so that those there were",
        "are repeated until they fill a batch. Printed by `benchmarks/run.py venues`.", "",
        *_table(found, lambda times: times >= VENUES_MUST, "must"), *_absences(found),
    ]  # fmt: skip


def _table(found: Row, holds: Callable[[float], bool], word: str) -> list[str]:
    lines = [
        f"| frame | bytes | event rows | tickers | us | frames/s | times msgspec | {word} | scanned | without us | msgspec us | orjson us | cryptofeed us | ccxt us |",
        "|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for r in found["cases"]:
        us, times = r["us"], r["times"]["msgspec"]
        scanned = "-" if r["scanned"] is None else f"{r['scanned']:.0%}"
        lines.append(
            f"| {r['kind']} | {r['bytes']:,} | {r['rows']:.1f} | {r['tickers']:.1f} | {us['ours']:.2f} | {1e6 / us['ours']:,.0f} | "
            f"{times:.2f} | {'met' if holds(times) else '**missed**'} | {scanned} | "
            f"{' | '.join(f'{us[name]:.2f}' if name in us else '-' for name in ('alone', *PEERS))} |"
        )
    return [*lines, ""]


def loopback(found: Row) -> list[str]:
    """Receive, decode, apply."""
    us, times = found["us"], found["times"]
    lines = [
        "## Receive, decode and apply", "",
        f"{found['frames']:,} captured frames of the emulated Deribit (books, tickers, trades; {found['bytes']} bytes on average), sent over",
        "loopback as fast as the socket takes them by another process. A whole live run receives, stamps, journals (to memory), decodes, applies",
        "and scans; cryptofeed's handler is given the same frames without a socket and keeps its books. `alone` is a client that receives and",
        "counts, nothing else. Processor time of the whole process, medians of interleaved rounds. Must: 4 times cryptofeed, with our receiving",
        "and without its. Printed by `benchmarks/run.py loopback`.", "",
        f"Libraries: {_versions(found)}. Best prices of {found['books']} books were equal before any time was printed.", "",
        "| what | us a frame | frames/s a core | times cryptofeed | must |", "|---|--:|--:|--:|---|",
    ]  # fmt: skip
    for name, spent in us.items():
        how = f"{times[name]:.1f}" if name in times else "-"
        met = "met" if times.get(name, 0) >= LOOPBACK_MUST else "**missed**"
        verdict = met if name.startswith("live run") and name in times else ""
        lines.append(f"| {name} | {spent:.2f} | {1e6 / spent:,.0f} | {how} | {verdict} |")
    inside = ", ".join(f"{name} {spent:.2f}" for name, spent in found["parts"].items())
    return [*lines, "",
        f"Inside, one after the other without a socket, us a frame: {inside}. The rest of a live run is receiving (`alone`)",
        "and threads that take turns for the interpreter. A call of a venue's handler costs the same for one frame as for some fifty: what several venues",
        "send by turns is decoded in one call each.", "",
        "Why it is not more: of the must, aiohttp alone takes a third and decoding another; the rest is one pass after the other over lists of frames",
        "and stamps in Python, copies, and ticks. What would change it: a client that hands over its buffer, which the scanner would read where it lies,",
        "and a journal that keeps the buffer whole.", "",
    ]  # fmt: skip


def burst(found: Row) -> list[str]:
    """The longest gap of the event loop."""
    met = "met" if found["worst_ms"] <= BURST_MUST_MS else "**missed**"
    return [
        f"**A burst of {found['frames']:,} frames at once**, recorded to disk: the event loop stood still for {found['gap_ms']:.1f} ms at a time at most (median of",
        f"rounds, the worst {found['worst_ms']:.1f}; must {BURST_MUST_MS:g}: {met}), though its own work never took more than {found['own_ms']:.1f} ms of processor time; the rest is",
        f"waiting for the interpreter or for a processor of the machine. All was decoded and applied after {found['all_ms']:.0f} ms. Printed by `benchmarks/run.py burst`.", "",
    ]  # fmt: skip


def _versions(found: Row) -> str:
    return ", ".join(f"{name} {version}" for name, version in found["versions"].items())


def _absences(found: Row) -> list[str]:
    """Why there are dashes."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in found["cases"]:
        for library, reason in row["absent"].items():
            reasons.setdefault((library, reason), []).append(row["kind"])
    if not reasons:
        return []
    words = [f"{library} has no figure for {', '.join(kinds)}: {reason}" for (library, reason), kinds in reasons.items()]  # fmt: skip
    return ["Dashes: " + "; ".join(words) + ".", ""]
