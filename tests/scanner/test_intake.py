"""How much of the inbox is decoded at once, and that a replay decodes the same before each tick."""

import asyncio
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.emulator.deribit.rpc import result_text
from feeds.emulator.deribit.server import DeribitServer
from feeds.emulator.market import Market
from feeds.errors import JournalError
from feeds.events import EVENT, TICKER, in_order
from feeds.handler import HandlerOut
from feeds.record import Record, RecordType
from feeds.replay import read_journal
from scanner import intake as module
from scanner.config import VenueSettings, load
from scanner.intake import STEP_BYTES, STEP_RECORDS, Intake, channel_tiers
from scanner.pipeline import Pipeline
from scanner.replay import replay_journal
from scanner.run import LiveRun

RUBBISH = b"{}"  # A frame like any other, until it is decoded.


def config(folder, **more):
    values = {
        "engine.listings_capacity": 256,
        "engine.depth_slots_capacity": 256,
        "limits.connect_state_file": str(folder / "connects.json"),
    }
    return load(None, values | {key.replace("__", "."): value for key, value in more.items()})


def frame(rx_ns: int, payload: bytes = RUBBISH) -> Record:
    return Record(rx_ns, RecordType.FRAME, "deribit", 0, "", payload)


@pytest.fixture
def intake(tmp_path):
    settings = config(tmp_path)
    return Intake(settings, Pipeline(settings))


def fill(intake, records):
    for record in records:
        intake.deliver((record,))


def test_a_step_is_bounded_in_records(intake):
    fill(intake, [frame(k) for k in range(STEP_RECORDS + 10)])
    assert intake.step() == STEP_RECORDS
    intake.drain(STEP_RECORDS)
    assert (len(intake), intake.step()) == (10, 10)
    intake.drain()
    assert (len(intake), intake.step()) == (0, 0)
    assert intake.totals()["frames"] == STEP_RECORDS + 10


def test_a_step_is_bounded_in_bytes_but_for_one_record(intake):
    third = b" " * (STEP_BYTES // 3)
    whole = b" " * (STEP_BYTES + 1)
    fill(
        intake,
        [frame(1, third), frame(2, third), frame(3, third), frame(4, third), frame(5, whole)],
    )
    assert intake.step() == 3
    intake.drain(3)
    assert intake.step() == 1
    intake.drain(1)
    assert intake.step() == 1


def test_a_step_ends_at_the_time_until_which_it_is_asked_for(intake):
    fill(intake, [frame(rx_ns) for rx_ns in (5, 6, 6, 7)])
    assert [intake.step(until_ns) for until_ns in (4, 5, 6, 7)] == [0, 1, 3, 4]
    fill(intake, [frame(8, b" " * (STEP_BYTES + 1))])
    assert [intake.step(until_ns) for until_ns in (4, 8)] == [0, 4]


def test_the_bytes_of_what_was_drained_no_longer_fill_the_inbox(tmp_path):
    settings = config(tmp_path, limits__inbox_mb=1)
    intake = Intake(settings, Pipeline(settings))
    fill(intake, [frame(k, b" " * (1 << 19)) for k in range(2)])
    assert intake.full
    intake.drain(1)
    assert not intake.full


@given(st.lists(st.lists(st.integers(0, 3), max_size=40).map(sorted), max_size=4))
def test_rows_of_venues_are_merged_by_time_and_at_a_tie_by_venue(stamps):
    pieces = []
    for venue, of_venue in enumerate(stamps):
        rows = np.zeros(len(of_venue), EVENT)
        rows["rx_ns"], rows["listing_id"] = of_venue, venue
        rows["seq"] = range(len(of_venue))
        pieces.append(rows)
    merged = in_order(pieces, EVENT)
    expected = sorted(
        (rx_ns, venue, n)
        for venue, of_venue in enumerate(stamps)
        for n, rx_ns in enumerate(of_venue)
    )
    found = zip(*(merged[name].tolist() for name in ("rx_ns", "listing_id", "seq")), strict=True)
    assert list(found) == expected


def test_a_step_ends_between_deliveries_and_a_drain_where_it_is_told(intake, monkeypatch):
    monkeypatch.setattr(module, "STEP_RECORDS", 4)
    intake.deliver([frame(1, b"1"), frame(1, b"22"), frame(1, b"333")])
    intake.deliver([frame(2, b"4"), frame(2, b"5")])
    assert [intake.step(until_ns) for until_ns in (0, 1, 2, None)] == [0, 3, 3, 3]
    intake.drain(2)  # As a replay of a log whose steps were others.
    assert (len(intake), intake._bytes, intake.step()) == (3, 5, 3)
    intake.drain(3)
    assert (len(intake), intake._bytes, intake.step()) == (0, 0, 0)
    intake.deliver([frame(3)] * 5)  # More than a step by itself: nothing cuts it.
    assert intake.step() == 5
    intake.drain()
    assert intake.totals()["frames"] == 10


def test_the_loop_turns_between_the_steps_of_a_burst(tmp_path, monkeypatch):
    live = LiveRun(config(tmp_path))
    records = [
        live.journal.append(RecordType.FRAME, "deribit", 0, "", RUBBISH) for _ in range(3_000)
    ]
    fill(live.intake, records)
    until_ns = records[-500].rx_ns
    drained, turns = [], 0
    drain = live.intake.drain

    def seen(count):
        drained.append((count, turns))
        return drain(count)

    monkeypatch.setattr(live.intake, "drain", seen)

    async def whole():
        async def turn():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        await live._drain(until_ns)
        turning.cancel()

    asyncio.run(whole())
    counts, at_turns = zip(*drained, strict=True)
    assert counts == (STEP_RECORDS, STEP_RECORDS, 2_501 - 2 * STEP_RECORDS)
    assert len(set(at_turns)) == 3
    assert len(live.intake) == 499


def test_a_full_inbox_gives_way_by_a_step_that_the_log_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEP_RECORDS", 100)
    live = LiveRun(config(tmp_path, limits__inbox_records=1_024), record_to=tmp_path / "log")
    for _ in range(1_125):  # Full at 1,024, and once more 100 later.
        live._deliver([live.journal.append(RecordType.FRAME, "deribit", 0, "", RUBBISH)])
    live.journal.close()
    assert (live.forced_drains, len(live.intake)) == (2, 925)
    log = list(read_journal(tmp_path / "log"))
    (place,) = (n for n, record in enumerate(log) if record.type is RecordType.TICK)
    assert place == 1_124  # Before the second step, at the latest.
    assert (log[place].name, json.loads(log[place].payload)["records"]) == ("drain", 100)


def test_the_log_tells_every_step_that_no_tick_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEP_RECORDS", 100)
    live = LiveRun(config(tmp_path), record_to=tmp_path / "log")
    fill(
        live.intake,
        [live.journal.append(RecordType.FRAME, "deribit", 0, "", RUBBISH) for _ in range(250)],
    )
    asyncio.run(live._drain(live.clock.now_ns()))
    live._note_tick("scan", live.clock.now_ns(), 0)
    live._note_drain()  # Nothing is left to tell.
    live.journal.close()
    told = [
        (record.name, json.loads(record.payload)["records"])
        for record in read_journal(tmp_path / "log")
        if record.type is RecordType.TICK
    ]
    assert told == [("drain", 100), ("drain", 100), ("scan", 50)]


class Echo:
    """A handler that makes one row and one ticker of every record."""

    def __init__(self):
        self.calls = []

    def consume(self, records):
        self.calls.append([record.rx_ns for record in records])
        rows, tickers = np.zeros(len(records), EVENT), np.zeros(len(records), TICKER)
        rows["rx_ns"] = tickers["rx_ns"] = self.calls[-1]
        rows["seq"] = [int(record.payload) for record in records]
        return HandlerOut(rows, tickers)


def test_venues_that_take_turns_are_decoded_in_one_call_each(tmp_path):
    settings = config(tmp_path, venues__okx__enabled=True, venues__deribit__enabled=True)
    pipeline = Pipeline(settings)
    intake = Intake(settings, pipeline)
    echoes = {"deribit": Echo(), "okx": Echo()}
    intake._handlers = echoes
    stamps = [(1, "okx"), (2, "deribit"), (2, "okx"), (3, "deribit"), (3, "deribit"), (9, "okx")]
    fill(
        intake,
        [
            Record(rx_ns, RecordType.FRAME, venue, 0, "", b"%d" % n)
            for n, (rx_ns, venue) in enumerate(stamps)
        ],
    )
    intake.drain(5)
    rows, tickers = pipeline.scanner.take_pending()
    assert {name: echo.calls for name, echo in echoes.items()} == {
        "deribit": [[2, 3, 3]], "okx": [[1, 2]],
    }  # fmt: skip
    assert rows["rx_ns"].tolist() == tickers["rx_ns"].tolist() == [1, 2, 2, 3, 3]
    assert rows["seq"].tolist() == [0, 1, 2, 3, 4]  # Venues in the order of their names at a tie.
    intake.drain()
    rows, _ = pipeline.scanner.take_pending()
    assert (rows["rx_ns"].tolist(), rows["seq"].tolist()) == ([9], [5])
    intake.drain()
    assert [len(of) for of in pipeline.scanner.take_pending()] == [0, 0]


def test_a_log_that_counts_more_than_it_holds_is_an_error_that_says_so(tmp_path):
    live = LiveRun(config(tmp_path), record_to=tmp_path / "log")
    live._begin()
    live._drained = 3
    live._note_tick("tick", live.clock.now_ns(), 0)
    live.journal.close()
    settings = config(tmp_path)
    with pytest.raises(JournalError, match="3 records were decoded, expected at most the 0"):
        list(replay_journal(tmp_path / "log", settings, Pipeline(settings), {}))


def bodies(start_ns: int) -> list[bytes]:
    """Two answers of a discovery: an instrument in each."""
    server = DeribitServer(Market(7, start_ns, 60), 7)
    entries = server.methods.call("public/get_instruments", {"currency": "BTC", "kind": "option"})
    return [result_text(1, [entry], start_ns) for entry in entries[-2:]]


def watched(pipeline):
    """Grid time and listings of every tick that a pipeline makes."""
    seen, tick = [], pipeline.tick

    def told(now_ns):
        seen.append((now_ns, pipeline.universe.live_count))
        return tick(now_ns)

    pipeline.tick = told
    return seen


def test_a_replay_decodes_before_a_tick_what_the_run_had_decoded(tmp_path):
    settings = config(tmp_path)
    live = LiveRun(settings, record_to=tmp_path / "log")
    live._begin()
    now_ns = live.clock.now_ns()
    stamps = []
    server = DeribitServer(Market(7, now_ns, 60), 7)
    for body in bodies(now_ns):
        symbol = json.loads(body)["result"][0]["instrument_name"]
        book = server.first(f"book.{symbol}.100ms")[0]
        for kind, name, payload in (
            (RecordType.HTTP, "instruments", body),
            (RecordType.FRAME, "", book),
        ):
            record = live.journal.append(kind, "deribit", 0, name, payload)
            live._deliver([record])
        stamps.append(record.rx_ns)
    # The log has all of it when the first tick is noted, whose time is that of the first book.
    lived = watched(live.pipeline)

    async def ticks():
        for stamp in stamps:
            await live._close(stamp - 1, stamp, 0)

    asyncio.run(ticks())
    live.journal.close()
    extra: dict = {}
    pipeline = Pipeline(settings)
    replayed = watched(pipeline)
    assert list(replay_journal(tmp_path / "log", settings, pipeline, extra)) == []
    listings = [count for _, count in lived]
    assert listings[1] == listings[0] + 1
    assert replayed == lived
    assert extra["batch_mismatches"] == 0
    assert extra["feed"] == live.intake.totals()


def test_a_venue_s_table_leaves_its_spots_out():
    assert channel_tiers("deribit", VenueSettings()).base.spots
    assert not channel_tiers("deribit", VenueSettings(spots=False)).base.spots
