"""The end of a live run: its recording is compacted, and what it learned is kept."""

import asyncio
import gc
import json
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from feeds.clock import Clock
from feeds.journal import Journal
from feeds.record import RecordType
from feeds.replay import read_journal
from feeds.segments import COMPACTED, segment_path, segment_paths
from kernels import columns as c
from scanner import __version__
from scanner.__main__ import main
from scanner.checkpoint import load as load_checkpoint
from scanner.commands.live import compact_recording
from scanner.commands.run import keep_checkpoint
from scanner.config import EngineSettings, ScanConfig, config_hash, load
from scanner.engine import Scanner
from scanner.pipeline import Pipeline
from scanner.replay import replay_journal
from scanner.run import LiveRun
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings

SMALL = ScanConfig(engine=EngineSettings(listings_capacity=128, depth_slots_capacity=64))
COMPACT = load(None, {"record.compact": True})
KEEP = load(None, {"record.compact": False})


class CountingClock:
    """A nanosecond later at every look."""

    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        self.ns += 1
        return self.ns


def recording(folder: Path, clock: Clock) -> Journal:
    """The closed journal of a small recording: two frames and a tick."""
    journal = Journal(clock, folder)
    journal.append(RecordType.START, "", -1, "", b"{}")
    journal.append(RecordType.FRAME, "deribit", 0, "", b'{"bid":1}')
    journal.append(RecordType.FRAME, "deribit", 1, "", b'{"ask":2}')
    journal.append(RecordType.TICK, "", -1, "scan", b"{}")
    journal.close()
    return journal


def test_recording_that_has_ended_becomes_one_file_with_the_same_records(tmp_path, capsys):
    journal = recording(tmp_path, CountingClock())
    before = list(read_journal(tmp_path))
    compact_recording(COMPACT, journal, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [COMPACTED]
    assert list(read_journal(tmp_path)) == before
    assert [(r.connection, r.payload) for r in before if r.type is RecordType.FRAME] == [
        (0, b'{"bid":1}'),
        (1, b'{"ask":2}'),
    ]
    shown = capsys.readouterr()
    assert shown.err == f"{tmp_path}: compacted into journal.parquet\n"
    assert shown.out == ""


def test_segments_stay_where_the_configuration_says_so(tmp_path, capsys):
    journal = recording(tmp_path, CountingClock())
    compact_recording(KEEP, journal, tmp_path)
    assert list(tmp_path.iterdir()) == [segment_path(tmp_path, 1)]
    assert capsys.readouterr().err == ""


async def test_frames_behind_the_last_tick_are_counted_live_and_in_a_replay(tmp_path):
    nowhere = {"rest_url": "http://127.0.0.1:9", "ws_url": "ws://127.0.0.1:9"}
    values = {f"venues.deribit.{key}": url for key, url in nowhere.items()}
    values["limits.connect_state_file"] = str(tmp_path / "connects.json")
    config = load(None, values)
    live = LiveRun(config, record_to=tmp_path)
    running = asyncio.create_task(live.run())
    await asyncio.sleep(0)
    live._deliver([live.journal.append(RecordType.FRAME, "deribit", 0, "", b"no message")])
    live.stop()
    await running
    extra = {}
    assert list(replay_journal(tmp_path, config, Pipeline(config), extra)) == []
    counted = live.intake.totals()
    assert counted["frames"] == counted["frame_errors"] == 1
    assert extra["feed"] == counted


async def test_collections_leave_out_what_a_run_began_with_and_are_whole_again_after_it(tmp_path):
    values = {
        "limits.connect_state_file": str(tmp_path / "connects.json"),
        "venues.deribit.rest_url": "http://127.0.0.1:9",
        "venues.deribit.ws_url": "ws://127.0.0.1:9",
    }
    live = LiveRun(load(None, values))
    assert gc.get_freeze_count() == 0
    running = asyncio.create_task(live.run())
    await asyncio.sleep(0)
    assert gc.get_freeze_count() > 50_000  # The packages alone are more.
    live.stop()
    await running
    assert gc.get_freeze_count() == 0


async def test_the_log_tells_of_the_last_call_though_no_tick_followed_it(tmp_path):
    nowhere = {"rest_url": "http://127.0.0.1:9", "ws_url": "ws://127.0.0.1:9"}
    values = {f"venues.deribit.{key}": url for key, url in nowhere.items()}
    values["limits.connect_state_file"] = str(tmp_path / "connects.json")
    live = LiveRun(load(None, values), record_to=tmp_path)
    running = asyncio.create_task(live.run())
    await asyncio.sleep(0)
    for _ in range(2):
        live._deliver([live.journal.append(RecordType.FRAME, "deribit", 0, "", b"no message")])
    live._decode(1)
    live.stop()
    await running
    told = [record for record in read_journal(tmp_path) if record.type is RecordType.TICK]
    assert [(tick.name, json.loads(tick.payload)["records"]) for tick in told] == [("drain", 1)]
    assert live.intake.totals()["frames"] == 2


def test_run_without_a_recording_has_nothing_to_compact(capsys):
    journal = Journal(CountingClock(), None)
    journal.close()
    compact_recording(COMPACT, journal, None)
    assert capsys.readouterr().err == ""


def test_broken_recording_keeps_its_segments_and_says_why(tmp_path, capsys):
    journal = recording(tmp_path, CountingClock())
    journal.broken = "No space left on device"
    compact_recording(COMPACT, journal, tmp_path)
    assert list(tmp_path.iterdir()) == [segment_path(tmp_path, 1)]
    assert capsys.readouterr().err == (
        f"{tmp_path}: not compacted, since its recording broke: No space left on device\n"
    )


def test_failed_compaction_is_told_and_does_not_fail_the_run(tmp_path, capsys):
    journal = recording(tmp_path, CountingClock())
    segment_path(tmp_path, 1).rename(tmp_path / "elsewhere")
    compact_recording(COMPACT, journal, tmp_path)
    shown = capsys.readouterr().err
    assert shown.startswith("not compacted, the segments are kept: ")
    assert shown.count("\n") == 1


def scanned(seconds: int) -> SimpleNamespace:
    """What `keep_checkpoint` needs of a run that scanned for some seconds of a toy market."""
    market = ToyMarket(listings(40), 5)
    scanner = Scanner(SMALL)
    scanner.add(market.listings)
    for second in range(1, seconds + 1):
        now_ns = START_NS + second * SECOND
        scanner.apply(*market.second(now_ns))
        scanner.scan(now_ns)
    return SimpleNamespace(pipeline=SimpleNamespace(scanner=scanner), config=SMALL)


def test_what_a_run_learned_is_kept_under_the_names_of_its_listings(tmp_path, capsys):
    live = scanned(30)
    path = tmp_path / "end.npz"
    keep_checkpoint(live, path)
    kept, state = load_checkpoint(path), live.pipeline.scanner.state
    assert kept.saved_ns == START_NS + 30 * SECOND
    assert kept.notes == {
        "kind": "scanner run",
        "version": __version__,
        "config_hash": config_hash(SMALL),
    }
    rows = {f"{one.venue}:{one.symbol}": row for row, one in enumerate(listings(40))}
    assert len(kept.memory.place) > 30
    for name, at in kept.memory.place.items():
        theirs = state.scores.baseline[:, :, rows[name]]
        assert kept.memory.baseline[:, :, at].tobytes() == theirs.tobytes()
    assert (kept.memory.baseline[c.COUNT] > 0).any()
    assert capsys.readouterr().err == f"{path}: checkpoint written\n"


def test_run_without_a_place_for_it_leaves_no_checkpoint(capsys):
    keep_checkpoint(scanned(0), None)
    assert capsys.readouterr().err == ""


def test_run_without_a_scan_does_not_replace_what_an_earlier_one_left(tmp_path, capsys):
    path = tmp_path / "end.npz"
    path.write_bytes(b"earlier")
    keep_checkpoint(scanned(0), path)
    assert path.read_bytes() == b"earlier"
    assert "no checkpoint written, since nothing was scanned" in capsys.readouterr().err


@pytest.fixture
def no_venue(tmp_path):
    """Settings of a run that opens no connection, and leaves a checkpoint in a new folder."""
    path = tmp_path / "quiet.toml"
    path.write_text(
        "[engine]\nlistings_capacity = 128\ndepth_slots_capacity = 128\ndevice = 'cpu'\n"
        f"[checkpoint]\nsave_file = '{tmp_path}/kept/end.npz'\n"
        f"[limits]\nconnect_state_file = '{tmp_path}/connects.json'\n"
        "[venues.deribit]\nenabled = false\n"
    )
    return path


def test_run_command_ends_with_both(no_venue, tmp_path, capsys):
    folder = tmp_path / "raw"
    arguments = ["run", "-c", str(no_venue), "--seconds", "0.01", "--out", str(folder), "--json"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "summary" in json.loads(shown.out.splitlines()[-1])
    assert "end.npz: no checkpoint written, since nothing was scanned" in shown.err
    assert f"{folder}: compacted into journal.parquet" in shown.err
    assert segment_paths(folder) == []
    types = [record.type for record in read_journal(folder)]
    assert (types[:2], types[-1]) == ([RecordType.START, RecordType.CONFIG], RecordType.END)
    assert (tmp_path / "kept").is_dir()


def test_record_command_compacts_the_folder_of_its_run(no_venue, tmp_path, capsys):
    out = tmp_path / "recordings"
    arguments = ["record", "-c", str(no_venue), "--seconds", "0.01", "--out", str(out), "--json"]
    assert main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    folder = Path(summary["folder"])
    assert folder.parent == out
    assert [path.name for path in folder.iterdir()] == [COMPACTED]
    assert len(list(read_journal(folder))) == summary["records"]


@pytest.mark.parametrize("wrong", ["", "/quiet.toml/end.npz"])
def test_checkpoint_that_could_not_be_written_ends_the_run_before_it_begins(
    no_venue, tmp_path, capsys, wrong
):
    text = no_venue.read_text().replace(f"{tmp_path}/kept/end.npz", f"{tmp_path}{wrong}")
    no_venue.write_text(text)
    assert main(["run", "-c", str(no_venue), "--out", str(tmp_path / "raw")]) == 2
    shown = capsys.readouterr().err
    assert "expected a place for a checkpoint" in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "raw").exists()


def test_a_venue_that_does_not_answer_is_told_while_the_run_waits(tmp_path, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # Bound and not listening: whoever calls is refused.
        url = f"127.0.0.1:{closed.getsockname()[1]}"
        path = tmp_path / "dead.toml"
        path.write_text(
            f'[venues.deribit]\nrest_url = "http://{url}"\nws_url = "ws://{url}"\n'
            f'[limits]\nconnect_state_file = "{tmp_path}/connects.json"\n'
        )
        assert main(["run", "-c", str(path), "--seconds", "1.5", "--json"]) == 0
    shown = capsys.readouterr()
    assert "feed deribit: http://127.0.0.1" in shown.err
    assert "Connect call failed" in shown.err
    assert json.loads(shown.out)["summary"]["scans"] == 0
