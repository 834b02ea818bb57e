"""The burst question: 50,000 frames handed to a live run at once, and for how long its loop stands still.

    .venv/bin/python -m benchmarks.burst

A task that only yields looks at the loop's time whenever it gets its turn: the longest gap is the
longest that any socket, timer or page had to wait. Handing over is the harness's own step and does
not count. The run records to disk; nothing comes over a socket. Prints JSON.
"""

import asyncio
import gc
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import scanner
from benchmarks.venue_frames import deribit_instruments, stream

# Where the package is not installed it cannot say its version itself.
scanner.__version__ = "measured"  # type: ignore[attr-defined]

FRAMES: Final = 50_000
ROUNDS: Final = 5
CHANNELS: Final = ("book", "ticker", "trades")
WAIT_S: Final = 60.0


class Gaps:
    """Gaps between two turns of a task that only yields: seconds, and processor seconds of the loop.

    What a gap has beyond its processor time, the loop waited for: for the interpreter, which the
    journal and the tick take turns with, or for a processor of the machine.
    """

    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    async def watch(self, done: asyncio.Event) -> None:
        """Yield until done."""
        loop = asyncio.get_running_loop()
        last, last_own = loop.time(), time.thread_time()
        while not done.is_set():
            await asyncio.sleep(0)
            now, own = loop.time(), time.thread_time()
            self.found.append((now - last, own - last_own))
            last, last_own = now, own


async def burst(frames: list[bytes], first: list[bytes], body: bytes, folder: Path) -> dict[str, float]:  # fmt: skip
    """One run: milliseconds of the longest gap, and until all was applied."""
    from feeds.record import RecordType
    from feeds.venues import deribit
    from scanner.config import load
    from scanner.run import LiveRun

    deribit.warm_up()
    settings = {"engine.device": "cpu", "limits.connect_state_file": str(folder / "connects.json")}
    run = LiveRun(load(None, settings), record_to=folder / "recording")
    run.pipeline.scanner.warm_up()
    run._begin()  # noqa: SLF001 - the sessions, which would open sockets, stay out
    ticks = asyncio.create_task(run._ticks())  # noqa: SLF001

    def hand_over(record_type: RecordType, name: str, payload: bytes) -> None:
        run._deliver([run.journal.append(record_type, "deribit", 0, name, payload)])  # noqa: SLF001

    async def rest() -> None:
        async with asyncio.timeout(WAIT_S):
            while run._running or len(run.intake) or run.pipeline.scanner.has_pending:  # noqa: SLF001, ASYNC110
                await asyncio.sleep(0.02)

    hand_over(RecordType.HTTP, "instruments", body)
    for frame in first:
        hand_over(RecordType.FRAME, "", frame)
    await rest()
    gc.collect()
    done, gaps = asyncio.Event(), Gaps()
    for frame in frames:
        hand_over(RecordType.FRAME, "", frame)
    began = time.perf_counter()
    watching = asyncio.create_task(gaps.watch(done))
    await rest()
    seconds = time.perf_counter() - began
    done.set()
    await watching
    run.stop()
    await ticks
    run.journal.close()
    counts = run.intake.totals()
    assert counts["frames"] == len(frames) + len(first), counts
    assert not counts.get("gaps"), counts
    gap_s, own_s = (max(of) for of in zip(*gaps.found, strict=True))
    return {"gap_ms": gap_s * 1e3, "own_ms": own_s * 1e3, "all_ms": seconds * 1e3, "forced_drains": run.forced_drains}  # fmt: skip


def measure() -> dict[str, Any]:
    """Every round's longest gap."""
    start_ns = time.time_ns()
    captured = stream("deribit", CHANNELS, FRAMES, start_ns)
    body = deribit_instruments(start_ns)
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(
                asyncio.run(burst(captured.frames[""], captured.first, body, Path(folder)))
            )
    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    return {"frames": FRAMES, "worst_ms": max(one["gap_ms"] for one in rounds), **middle}


if __name__ == "__main__":
    print(json.dumps(measure()))
