"""Sessions with Databento's gateway: a toy client in the place of the package, then the package."""

import asyncio
import functools
import random
import sys
import threading

import numpy as np
import pytest

from feeds.budget import ConnectBudget
from feeds.dbn.gateway import LiveSource, Pipe, Subscription, run_session
from feeds.errors import DbnError, SessionError
from feeds.events import Kind
from tests.feeds.dbn_files import (
    DAY,
    FIVE,
    GLBX,
    MONDAY_NS,
    OPRA,
    gateway_error,
    gateway_system,
    head,
    mapping,
    quote,
)  # fmt: skip
from tests.feeds.test_dbn import numbered

T = MONDAY_NS + 50_000 * 10**9
CENT = 10_000_000
KEY = "db-0123456789abcdefghijklmnopqrs"
OPENING = head(OPRA, "mixed") + mapping(5, FIVE)
SPY = Subscription(OPRA, ("definition", "cbbo-1s", "trades"), ("SPY.OPT",))


def spread(ns: int) -> bytes:
    return quote(192, ns, CENT, 2 * CENT)


class HandClock:
    now = T

    def now_ns(self) -> int:
        return self.now


class ToyClient:
    """Runs one script a session: bytes to write, or what to raise; then stops the source."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.asked = []
        self.source = None
        self.left = threading.Event()  # that the last session was told to end

    def __call__(self, wanted, key, pipe, opened):
        self.asked.append((wanted, key))
        opened(self.left.set)
        if not self.scripts:
            self.source.stop()
            return
        for step in self.scripts.pop(0):
            if isinstance(step, bytes):
                pipe.write(step)
            elif step == "stays":
                self.left.wait()
                self.left.clear()
            else:
                raise step


def source_of(client, *, wanted=SPY, connects=100, clock=None, retry_s=(0.0, 0.0)):
    clock = clock or HandClock()
    client.source = LiveSource(
        wanted, KEY, numbered()[0], clock=clock, budget=ConnectBudget(None, clock, connects, 300),
        retry_s=retry_s, rng=random.Random(1), run=client,
    )  # fmt: skip
    return client.source


def rows_of(source):
    return np.concatenate([chunk.rows for chunk in source.chunks()])


def kinds(rows):
    return [Kind(kind) for kind in rows["kind"].tolist()]


def test_a_session_that_ends_is_followed_by_gaps_and_by_another_session():
    client = ToyClient([OPENING, spread(T)], [OPENING, spread(T + 9)])
    source = source_of(client)
    rows = rows_of(source)
    assert kinds(rows) == 2 * [Kind.QUOTE, Kind.QUOTE, Kind.CLEAR]
    assert rows["rx_ns"].tolist() == [T, T, T, T + 9, T + 9, T + 9]
    assert client.asked == 3 * [(SPY, KEY)]
    assert source.decoder.counts["sessions"] == 3


def test_a_session_that_fails_is_counted_and_tried_again():
    client = ToyClient([SessionError("no route")], [OPENING, SessionError("reset")])
    source = source_of(client)
    troubles = []
    for _ in source.chunks():
        troubles += [source.trouble] if source.trouble not in troubles else []
    assert [text for text in troubles if text] == ["no route", "reset"]
    assert source.decoder.counts["failed_sessions"] == 2


def test_a_bug_of_ours_in_the_session_s_thread_is_not_taken_for_a_lost_connection():
    source = source_of(ToyClient([ZeroDivisionError()]))
    with pytest.raises(ZeroDivisionError):
        list(source.chunks())


def test_a_hopeless_error_ends_the_run_and_the_session():
    client = ToyClient([OPENING, spread(T), gateway_error(5, "bad schema"), "stays"])
    source, rows = source_of(client), []
    with pytest.raises(SessionError, match=r"opra-pillar.*bad schema"):
        rows.extend(chunk.rows for chunk in source.chunks())
    assert len(client.asked) == 1


def test_bytes_that_cannot_be_read_end_the_session_and_not_the_run():
    client = ToyClient([OPENING, spread(T), b"\0\0\0\0", "stays"], [OPENING, spread(T + 9)])
    source = source_of(client)
    assert kinds(rows_of(source)) == 2 * [Kind.QUOTE, Kind.QUOTE, Kind.CLEAR]
    assert source.decoder.counts["damaged_sessions"] == 1


def test_a_new_day_begins_a_new_session_for_opra():
    clock = HandClock()
    tomorrow = spread(T + DAY)
    client = ToyClient([OPENING, spread(T), tomorrow, "stays"], [OPENING, tomorrow])
    source = source_of(client, clock=clock)
    rows = []
    for chunk in source.chunks():
        if source.decoder.outlived:
            clock.now = T + DAY
        rows.append(chunk.rows)
    assert source.decoder.counts["renewed_sessions"] == 1
    # Its own records explain nothing of the new day; those of the next session do.
    assert kinds(np.concatenate(rows)) == 2 * [Kind.QUOTE, Kind.QUOTE, Kind.CLEAR]


def test_the_connect_budget_is_asked_before_every_session():
    clock = HandClock()
    client = ToyClient([OPENING], [OPENING])
    source = source_of(client, connects=1, clock=clock)
    for _ in source.chunks():
        if source.decoder.counts["budget_waits"]:
            assert len(client.asked) == 1
            source.stop()
    assert source.decoder.counts["budget_waits"] == 1
    assert len(client.asked) == 1


def test_sessions_without_a_head_wait_longer_each_time():
    asked = []

    class Patient(LiveSource):
        def _pause(self, seconds):
            asked.append(seconds)
            return iter(())

    class Highest(random.Random):
        def uniform(self, a, b):
            return b

    clock, client = HandClock(), ToyClient([], [], [OPENING], [])
    client.source = Patient(
        SPY, KEY, numbered()[0], clock=clock, budget=ConnectBudget(None, clock, 100, 300),
        retry_s=(1.0, 60.0), rng=Highest(), run=client,
    )  # fmt: skip
    list(client.source.chunks())
    assert asked == [1.0, 2.0, 1.0, 2.0]


def test_a_stop_ends_a_session_that_stays():
    client = ToyClient([OPENING, spread(T), "stays"])
    source = source_of(client)
    for chunk in source.chunks():
        if len(chunk.rows):
            source.stop()
    assert client.asked == [(SPY, KEY)]


def test_the_pipe_makes_the_writer_wait_and_loses_nothing():
    pipe = Pipe(bytes_max=4)
    pipe.write(b"abcd")
    writer = threading.Thread(target=pipe.write, args=(b"ef",))
    writer.start()
    found = b""
    while len(found) < 6:
        found += pipe.read(1.0) or b""
    writer.join()
    pipe.end()
    assert (found, pipe.read(1.0)) == (b"abcdef", None)


def test_a_full_pipe_counts_the_wait_and_a_closed_one_lets_the_writer_go():
    pipe = Pipe(bytes_max=1)
    pipe.write(b"a")
    writer = threading.Thread(target=pipe.write, args=(b"b",))
    writer.start()
    while not pipe.waits:
        assert writer.is_alive()
    pipe.close()
    writer.join()
    assert (pipe.waits, pipe.read(0.0)) == (1, b"a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("XNAS.ITCH", ("definition",), ("X",)), "dataset"),
        ((OPRA, ("definition", "mbo"), ("X",)), "'mbo'"),
        ((OPRA, ("cbbo-1s",), ("X",)), "without definition"),
        ((OPRA, ("definition", "trades", "cmbp-1"), ("X",)), "all prints"),
        ((OPRA, ("definition",), ()), "no symbol"),
    ],
)
def test_a_subscription_that_could_not_be_read_is_refused(arguments, words):
    with pytest.raises(DbnError, match=words):
        Subscription(*arguments)


def test_the_budget_is_kept_by_the_host_the_client_connects_to():
    assert SPY.host == "opra-pillar.lsg.databento.com"
    assert Subscription(GLBX, ("definition",), ("ES.OPT",)).host == "glbx-mdp3.lsg.databento.com"


def test_without_the_package_the_run_ends_and_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "databento", None)

    class Client(ToyClient):
        def __call__(self, *arguments):
            self.asked.append(arguments)
            run_session(*arguments)

    client = Client()
    with pytest.raises(SessionError, match="extra databento"):
        list(source_of(client).chunks())
    assert len(client.asked) == 1


# With the package, where it is installed: it is no dependency of the tests.


class ToyGateway:
    """Speaks the gateway's side of the text protocol, then sends bytes and closes, or stays.

    Source: databento.live.gateway and databento.live.protocol of version 0.88.
    """

    def __init__(self, answer: bytes, data: bytes, *, stays: bool = False) -> None:
        self.heard: list[bytes] = []
        self._answer, self._data, self._stays = answer, data, stays
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._over.wait()

    async def _talk(self, reader, writer):
        writer.write(b"lsg_version=0.1\ncram=challenge\n")
        self.heard.append(await reader.readline())
        writer.write(self._answer)
        while self._data and not self.heard[-1].startswith(b"start_session"):
            self.heard.append(await reader.readline())
        writer.write(self._data)
        await writer.drain()
        if self._stays:
            await reader.read()
        writer.close()


@pytest.fixture
def databento():
    return pytest.importorskip("databento", reason="needs the extra databento")


def at(gateway, databento, monkeypatch):
    monkeypatch.setattr(
        databento, "Live",
        functools.partial(databento.Live, gateway="127.0.0.1", port=gateway.port),
    )  # fmt: skip


def test_the_package_subscribes_and_hands_over_what_the_gateway_sent(databento, monkeypatch):
    data = OPENING + gateway_system(1) + spread(T) + gateway_error(7, "skipped")
    pipe = Pipe()
    with ToyGateway(b"success=1|session_id=1\n", data) as gateway:
        at(gateway, databento, monkeypatch)
        with pytest.raises(SessionError, match="skipped"):
            run_session(SPY, KEY, pipe, lambda stop: None)
    assert pipe.read(0.0) == data
    sent = [line for line in gateway.heard if line.startswith(b"schema=")]
    assert [b"start=0" in line for line in sent] == [True, False, False]
    assert all(b"symbols=SPY.OPT" in line and b"stype_in=parent" in line for line in sent)
    assert b"slow_reader_behavior=skip" in gateway.heard[0]
    assert KEY.encode() not in b"".join(gateway.heard)


def test_the_package_s_refusal_is_an_error_without_the_key(databento, monkeypatch):
    answer = b"success=0|error=no such key " + KEY.encode() + b"\n"
    with ToyGateway(answer, b"") as gateway:
        at(gateway, databento, monkeypatch)
        with pytest.raises(SessionError) as error:
            run_session(SPY, KEY, Pipe(), lambda stop: None)
    assert "no such key" in str(error.value)
    assert KEY not in str(error.value)


def test_the_package_ends_a_session_that_was_stopped_while_it_connected(databento, monkeypatch):
    pipe = Pipe()
    pipe.close()
    with ToyGateway(b"success=1|session_id=1\n", OPENING, stays=True) as gateway:
        at(gateway, databento, monkeypatch)
        run_session(SPY, KEY, pipe, lambda stop: None)


def test_a_stop_ends_the_package_s_session(databento, monkeypatch):
    with ToyGateway(b"success=1|session_id=1\n", OPENING + spread(T), stays=True) as gateway:
        at(gateway, databento, monkeypatch)
        clock = HandClock()
        source = LiveSource(
            SPY, KEY, numbered()[0], clock=clock, budget=ConnectBudget(None, clock, 1, 300),
            rng=random.Random(1),
        )  # fmt: skip
        rows = []
        for chunk in source.chunks():
            rows.append(chunk.rows)
            if len(chunk.rows):
                source.stop()
    assert kinds(np.concatenate(rows)) == [Kind.QUOTE, Kind.QUOTE, Kind.CLEAR]
    assert source.decoder.counts["failed_sessions"] == 0
