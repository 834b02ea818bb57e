"""The emulator's process: it says where it listens, serves, and never outlives its parent."""

import asyncio
import json
import signal
import sys
from typing import Any

import aiohttp
import pytest

from feeds.emulator.__main__ import MonotonicClock, arguments
from tests.conftest import ROOT


async def started(*options: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    """A running emulator and its ready line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "feeds.emulator", "--listings", "60", *options,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    return process, json.loads(await asyncio.wait_for(process.stdout.readline(), 30))


async def test_process_serves_and_ends_when_its_input_closes() -> None:
    process, ready = await started("--events", "demo", "--start-ns", "1790000000000000000")
    assert ready["simulated"] is True
    venue = ready["venues"]["deribit"]
    assert ready["start_ns"] == 1_790_000_000_000_000_000
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{venue['rest_url']}/public/get_instruments?currency=any") as got:
            found = (await got.json())["result"]
        async with session.get(f"{venue['control_url']}/truth") as got:
            truth = await got.json()
        async with session.ws_connect(venue["ws_url"]) as socket:
            await socket.send_json({"jsonrpc": "2.0", "id": 5, "method": "public/test"})
            answer = await socket.receive_json()
    assert len(found) == venue["listings"] - 3  # Indexes are no instruments.
    assert len(truth) == 5
    assert answer["id"] == 5
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_process_ends_on_sigterm() -> None:
    process, _ = await started()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 30) == 0


def test_clock_runs_forward_from_its_start_and_can_skip() -> None:
    clock = MonotonicClock(1_000_000_000, 2.0)
    first = clock.now_ns()
    assert first >= 1_000_000_000
    assert clock.now_ns() >= first
    clock.skip(500_000_000)
    assert clock.now_ns() < first + 60_000_000_000


def test_arguments_have_the_documented_defaults() -> None:
    found = arguments([])
    assert (found.host, found.venues, found.seed, found.listings) == (
        "127.0.0.1",
        ["deribit"],
        7,
        1_000,
    )
    assert (found.speed, found.events) == (1.0, "none")
    with pytest.raises(SystemExit):
        arguments(["--events", "storm"])
