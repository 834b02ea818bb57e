"""Live runs of the scanner on the emulator: settings, what its scans show, and a recording."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from hashlib import blake2b

import numpy as np

from kernels import columns as c
from kernels.columns import Validity
from scanner.commands.live import ALERTS_NAME
from scanner.config import load
from scanner.pipeline import Pipeline
from scanner.run import LiveHooks, LiveRun
from scanner.sinks import jsonl

WAIT_S = 60.0


class Watch:
    """What the scans of a run show; `until` waits for a scan that satisfies a condition."""

    def __init__(self):
        self.scanned = asyncio.Event()
        self.ever_in_gap: set[str] = set()
        self.ever_recovering: set[str] = set()
        self.scored_in_gap: set[str] = set()
        self.run = None
        self.troubles: list[tuple[str, str]] = []
        self.alerts = 0
        self.digests: list[tuple[int, bytes]] = []

    def on_scan(self, run, alerts):
        self.run = run
        self.alerts += len(alerts)
        result = run.pipeline.last_scan
        # Metrics are computed when they are asked for, and the next tick changes what they say.
        self.last = result.now_ns, result.metrics["obi"].copy()
        self.digests.append((result.now_ns, digest(result)))
        self.ever_in_gap |= self.in_gap()
        self.ever_recovering |= self.with_bits(Validity.RECOVERING)
        scored = np.isfinite(result.score).any(axis=0)
        self.scored_in_gap |= self.named((result.validity & c.GAP != 0) & scored)
        self.scanned.set()

    def on_trouble(self, venue, trouble):
        self.troubles.append((venue, trouble))

    def in_gap(self):
        return self.with_bits(c.GAP)

    def with_bits(self, bits):
        return self.named(self.run.pipeline.last_scan.validity & bits)

    def named(self, chosen):
        universe = self.run.pipeline.universe
        return {universe.listing(int(row)).symbol for row in np.flatnonzero(chosen)}

    async def until(self, what):
        async with asyncio.timeout(WAIT_S):
            while True:
                self.scanned.clear()
                await self.scanned.wait()
                if what():
                    return


def digest(result):
    """A scan's scores and validity, every bit of them, in 16 bytes."""
    said = blake2b(np.ascontiguousarray(result.score).tobytes(), digest_size=16)
    said.update(np.ascontiguousarray(result.validity).tobytes())
    return said.digest()


def settings(emulator, folder, **more):
    """Settings for all venues of an emulator; `more` names its keys with `__` for a point."""
    # Ten scans a second of a market ten times as fast: enough observations in a short test.
    values = {
        "engine.tick_ms": 50,  # Ticks between scans, too.
        "engine.scan_ms": 100,
        "engine.listings_capacity": 1024,
        "engine.depth_slots_capacity": 1024,
        "scoring.p_on": 0.05,
        "scoring.p_off": 0.5,
        "scoring.off_after_s": 1,
        "limits.connect_state_file": str(folder / "connects.json"),
        "limits.connect_backoff_s": 0.1,
        "limits.resync_backoff_s": 0.1,
    }
    for name, addresses in emulator.venues.items():
        values |= {
            f"venues.{name}.underlyings": ["BTC", "ETH", "SOL"],
            f"venues.{name}.rest_url": addresses["rest_url"],
            f"venues.{name}.ws_url": addresses["ws_url"],
            f"venues.{name}.experimental": True,
        }
    return load(None, values | {key.replace("__", "."): value for key, value in more.items()})


def run_live(
    config, folder, scenario: Callable[[Watch, LiveRun], Awaitable[None]]
) -> tuple[LiveRun, Watch]:
    """Scan and record into a folder, alerts beside the log, until a scenario is over."""
    pipeline = Pipeline(config)
    pipeline.scanner.warm_up()

    async def whole():
        watch = Watch()
        sinks = [jsonl.open_sink(str(folder / ALERTS_NAME))]
        hooks = LiveHooks(watch.on_scan, watch.on_trouble, sinks)
        live = LiveRun(config, record_to=folder, hooks=hooks, pipeline=pipeline)
        running = asyncio.create_task(live.run())
        try:
            await scenario(watch, live)
        finally:
            live.stop()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        return live, watch

    return asyncio.run(whole())
