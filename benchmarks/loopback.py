"""The loopback question: receive, journal, decode and apply, as a live run does it, over a socket.

    .venv-bench/bin/python -m benchmarks.loopback

A local server (`benchmarks.loopback serve`, another process, which ends with its standard input)
holds frames of the emulated Deribit back until it is asked for, and then sends them as fast as the
socket takes them. A whole LiveRun takes them; cryptofeed's handler takes the same without a socket.
Best prices of all are compared before any time is printed. Prints JSON.
"""

import asyncio
import gc
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import numpy as np
from aiohttp import web

import scanner
from benchmarks.venue_frames import LISTINGS, SEED, Captured, deribit_instruments, stream
from benchmarks.wire import versions
from feeds.emulator.deribit.server import DeribitServer
from feeds.emulator.market import Market
from kernels import columns as c

# The package is not installed here, so that it cannot say its version itself.
scanner.__version__ = "measured"  # type: ignore[attr-defined]

FRAMES: Final = 40_000
ROUNDS: Final = 7
SINGLES: Final = 4_000  # frames that come one by one, in the question of what each part costs
READ_FRAMES: Final = 256  # what a busy read brings
CHANNELS: Final = ("book", "ticker", "trades")
PIECE_BYTES: Final = 1 << 18
WAITING_BYTES_MAX: Final = 1 << 20
WAIT_S: Final = 60.0
Prices = dict[str, tuple[float, float]]  # best bid and ask by symbol
Receiver = Callable[[dict[str, str]], Coroutine[Any, Any, float]]
PACKAGES: Final = ("aiohttp", "picows", "cryptofeed", "msgspec", "numba", "numpy")


class Replayer(DeribitServer):
    """The emulated Deribit; its market stands still, and /flood sends what was captured."""

    def __init__(self, market: Market, frames: list[bytes]) -> None:
        """Take the frames that follow the market's state."""
        super().__init__(market, SEED)
        self._wire_bytes = b"".join(map(_framed, frames))

    def routes(self) -> list[web.RouteDef]:
        """Those of Deribit, and the flood."""
        return [web.get("/flood", self._flood), *super().routes()]

    def _pay(self, pool: Any) -> None:
        """Nothing: credits come back with the market's time, which stands still."""

    async def _flood(self, _request: web.Request) -> web.Response:
        """Send every frame to every connection; all is under way when this is answered."""
        data = memoryview(self._wire_bytes)
        for connection in tuple(self.connections):
            transport = connection._transport  # noqa: SLF001 - past the queue, which is slower
            for at in range(0, len(data), PIECE_BYTES):
                transport.write(data[at : at + PIECE_BYTES])
                while transport.get_write_buffer_size() > WAITING_BYTES_MAX:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        return web.Response()


def _framed(text: bytes) -> bytes:
    """A text frame of a server: not masked, in one piece."""
    size = len(text)
    if size < 126:
        return bytes((0x81, size)) + text
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81\x7f" + size.to_bytes(8, "big") + text


async def serve(frames: list[bytes], start_ns: int, listings: int) -> None:
    """Serve until standard input ends."""
    server = Replayer(Market(SEED, start_ns, listings), frames)
    await server.start()
    sys.stdout.write(json.dumps(server.addresses("127.0.0.1")) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


class Server:
    """The server's process; a context manager that gives its addresses."""

    def __init__(self, captured: Captured, start_ns: int, listings: int) -> None:
        """Write the frames where the process finds them."""
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "frames"
        file.write_bytes(msgspec.msgpack.encode(captured.frames[""]))
        self._command = [sys.executable, "-m", "benchmarks.loopback", "serve", str(file),
                         str(start_ns), str(listings)]  # fmt: skip

    def __enter__(self) -> dict[str, str]:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        found: dict[str, str] = json.loads(self._process.stdout.readline())
        return found

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._folder.cleanup()


async def flood(addresses: dict[str, str]) -> None:
    """Ask for the frames."""
    host, port = addresses["ws_url"].split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /flood HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200"), answer[:80]
    writer.close()


async def until(what: Callable[[], bool]) -> None:
    """Wait for something, looking every 20 ms."""
    async with asyncio.timeout(WAIT_S):
        while not what():  # noqa: ASYNC110 - an event would be work of the measured
            await asyncio.sleep(0.02)


async def timed(addresses: dict[str, str], done: Callable[[], bool]) -> float:
    """Processor seconds from the flood until all of it is done."""
    gc.collect()
    began = time.process_time()
    asking = asyncio.create_task(flood(addresses))
    await until(done)
    spent = time.process_time() - began
    await asking
    return spent


async def live(
    addresses: dict[str, str], folder: Path, setting: dict[str, object]
) -> tuple[float, Prices]:
    """One whole run: processor seconds of the flood, and the best prices it left."""
    from feeds.venues import deribit
    from scanner.config import load
    from scanner.run import LiveRun

    deribit.warm_up()
    values: dict[str, object] = {
        "engine.device": "cpu",
        "limits.connect_state_file": str(folder / "connects.json"),
        "limits.connect_budget": 10_000,
        "venues.deribit.underlyings": ["BTC", "ETH", "SOL"],
        "venues.deribit.rest_url": addresses["rest_url"],
        "venues.deribit.ws_url": addresses["ws_url"],
    }
    run = LiveRun(load(None, values | setting))
    session, pipeline = run.sessions["deribit"], run.pipeline
    pipeline.scanner.warm_up()
    running = asyncio.create_task(run.run())
    wanted = lambda: {name for link in session.links for name in link.ledger.wanted}  # noqa: E731
    await until(lambda: session.counts.accepted > 0 and session.counts.accepted >= len(wanted()))
    await until(lambda: at_rest(run))
    assert len(session.links) == 1, f"{len(session.links)} connections, expected 1"
    before = session.counts.frames

    def done() -> bool:
        return session.counts.frames - before >= FRAMES and at_rest(run)

    spent = await timed(addresses, done)
    best = best_prices(pipeline)  # Before the connection ends, which makes all books unknown.
    run.stop()
    await running
    assert run.intake.totals().get("gaps", 0) == 0, run.intake.totals()
    return spent, best


def at_rest(run: Any) -> bool:
    """Whether all that has arrived is decoded and applied."""
    ticking = run._running is not None  # noqa: SLF001 - it has the rows by then
    return not (ticking or len(run.intake) or run.pipeline.scanner.has_pending)


def best_prices(pipeline: Any) -> Prices:
    """Best bid and ask of every listing, NaN where there is none."""
    columns, universe = pipeline.scanner.state.columns, pipeline.universe
    found = {}
    for row in range(universe.row_count):
        listing = universe.listing(row)
        ticks = columns.i32[[c.BID, c.ASK], row]
        prices = np.where(ticks == c.NO_PRICE, np.nan, ticks * listing.tick)
        found[listing.symbol] = tuple(np.round(prices, 9).tolist())
    return found


async def receive_aiohttp(addresses: dict[str, str]) -> float:
    """Receive and count, as feeds/session.py asks for it, and nothing else."""
    count = 0

    async def read(socket: Any) -> None:
        nonlocal count
        while count < FRAMES:
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.TEXT, message
            count += 1

    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(addresses["ws_url"], max_msg_size=1 << 24, compress=0, decode_text=False) as socket,
    ):  # fmt: skip
        reading = asyncio.create_task(read(socket))
        spent = await timed(addresses, reading.done)
        await reading
    return spent


async def receive_picows(addresses: dict[str, str]) -> float:
    """The same by picows, which calls back for every frame."""
    import picows

    class Counting(picows.WSListener):  # type: ignore[misc]
        count = 0

        def on_ws_frame(self, _transport: Any, frame: Any) -> None:
            frame.get_payload_as_bytes()
            self.count += 1

    transport, listener = await picows.ws_connect(Counting, addresses["ws_url"])
    spent = await timed(addresses, lambda: listener.count >= FRAMES)
    transport.disconnect()
    return spent


def parts(captured: Captured, start_ns: int) -> dict[str, float]:
    """Processor microseconds a frame of what a live run does after receiving, one by one."""
    from feeds.channels import ChannelLedger
    from feeds.links import Link
    from feeds.record import RecordType
    from feeds.venues import deribit
    from scanner.config import load
    from scanner.intake import STEP_RECORDS
    from scanner.run import LiveRun

    run = LiveRun(load(None, {"engine.device": "cpu"}))
    run.pipeline.scanner.warm_up()
    deribit.warm_up()
    frames = captured.frames[""]
    take, link = run.sessions["deribit"].receiver.take, Link(0, ChannelLedger(deribit))
    found: dict[str, float] = {}

    def spend(name: str, count: int, work: Callable[[], Any]) -> None:
        began = time.process_time()
        work()
        found[name] = (time.process_time() - began) / count * 1e6

    def drain(count: int) -> None:
        while len(run.intake):
            run.intake.drain(min(count, len(run.intake)))

    body = deribit_instruments(start_ns)
    run._deliver([run.journal.append(RecordType.HTTP, "deribit", -1, "instruments", body)])  # noqa: SLF001
    take(link, captured.first)
    run.intake.drain()
    run.pipeline.tick(run.clock.now_ns())
    alone, together = frames[:SINGLES], frames[SINGLES:]
    reads = [together[at : at + READ_FRAMES] for at in range(0, len(together), READ_FRAMES)]
    spend(
        "take down, a read for each frame", len(alone), lambda: [take(link, [one]) for one in alone]
    )
    spend("decode and judge, a call for each", len(alone), lambda: drain(1))
    run.pipeline.tick(run.clock.now_ns())
    spend(
        f"take down, {READ_FRAMES} frames a read",
        len(together),
        lambda: [take(link, read) for read in reads],
    )
    spend(f"decode and judge, {STEP_RECORDS:,} a call", len(together), lambda: drain(STEP_RECORDS))
    spend("apply and scan", len(together), lambda: run.pipeline.scan(run.clock.now_ns() + 10**9))
    assert run.intake.totals()["frames"] >= len(frames), run.intake.totals()
    assert not run.intake.totals().get("gaps"), run.intake.totals()
    return found


def handler_alone(captured: Captured) -> tuple[float, Prices]:
    """cryptofeed: processor seconds, and best prices of the books it kept."""
    from benchmarks.peers.handlers import Cryptofeed

    handler = Cryptofeed("deribit", captured.listings)
    handler.begin([one for one in captured.first if b'"channel":"book.' in one])
    gc.collect()
    began = time.process_time()
    handler.feed(captured.frames[""])
    spent = time.process_time() - began
    books = handler.answer().books
    return spent, {symbol: (max(bids, default=np.nan), min(asks, default=np.nan)) for symbol, (bids, asks) in books.items()}  # fmt: skip


def compare(ours: Prices, theirs: Prices) -> int:
    """Number of books with the same best prices.

    Raises:
        AssertionError: one differs, or there are none.
    """
    for symbol, prices in theirs.items():
        assert np.array_equal(np.round(prices, 9), ours[symbol], equal_nan=True), (
            f"{symbol}: cryptofeed {prices}, ours {ours[symbol]}"
        )
    assert theirs, "no books to compare"
    return len(theirs)


def measure() -> dict[str, Any]:
    """Microseconds of processor time a frame of every engine, medians of interleaved rounds."""
    start_ns = time.time_ns()
    captured = stream("deribit", CHANNELS, FRAMES, start_ns)
    receivers: dict[str, Receiver] = {"aiohttp": receive_aiohttp}
    if importlib.util.find_spec("picows"):
        receivers["picows"] = receive_picows
    cryptofeed = importlib.util.find_spec("cryptofeed") is not None
    spent: dict[str, list[float]] = {}
    ours: dict[str, Prices] = {}
    books = 0
    with tempfile.TemporaryDirectory() as scratch, Server(captured, start_ns, LISTINGS) as addresses:  # fmt: skip
        for _ in range(ROUNDS):
            for name, receive in receivers.items():
                setting = {"venues.deribit.transport": name}
                seconds, ours[name] = asyncio.run(live(addresses, Path(scratch), setting))
                spent.setdefault(f"live run, {name}", []).append(seconds)
                spent.setdefault(f"{name} alone", []).append(asyncio.run(receive(addresses)))
            if cryptofeed:
                seconds, theirs = handler_alone(captured)
                spent.setdefault("cryptofeed", []).append(seconds)
                books = min(compare(prices, theirs) for prices in ours.values())
    sizes = [len(one) for one in captured.frames[""]]
    return {
        "parts": parts(captured, start_ns), "versions": versions(PACKAGES), "frames": FRAMES, "bytes": round(statistics.mean(sizes)), "books": books,
        "us": {name: statistics.median(some) / FRAMES * 1e6 for name, some in spent.items()},
        "times": {name: statistics.median(other / own for other, own in zip(spent["cryptofeed"], some, strict=True))
                  for name, some in spent.items()} if cryptofeed else {},
    }  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        captured_frames = msgspec.msgpack.decode(Path(sys.argv[2]).read_bytes())
        asyncio.run(serve(captured_frames, int(sys.argv[3]), int(sys.argv[4])))
    else:
        print(json.dumps(measure()))
