"""A live run against the emulator with faults: recovery to its true books, and equal replay."""

import json
from functools import partial

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feeds.emulator.process import EmulatorProcess
from kernels import columns as c
from scanner.__main__ import main
from scanner.commands.live import ALERTS_NAME
from scanner.commands.tables_of import write_tables
from tests.scanner.live_runs import run_live, settings


def book_of(pipeline, symbol):
    """Our book of a listing, [(price, size)] a side, best first."""
    row = pipeline.universe.symbols("deribit")[symbol]
    state = pipeline.scanner.state
    slot = state.columns.i32[c.SLOT, row]
    sides = []
    for side in (0, 1):
        n = state.books.levels[slot, side]
        prices = state.books.price[slot, side, :n] * state.tick_f64[row]
        sides.append(
            list(zip(prices.tolist(), state.books.size[slot, side, :n].tolist(), strict=True))
        )
    return sides


async def assert_books_are_true(emulator, watch):
    """Compare every book that stood still while we looked with the emulator's own."""
    before = await emulator.get("deribit", "books")
    for _ in range(5):  # Five scans: whatever was under way before has arrived.
        await watch.until(lambda: True)
    now = await emulator.get("deribit", "books")
    still = [s for s in now if s in before and now[s]["change_id"] == before[s]["change_id"]]
    assert len(still) > 50
    for symbol in still:
        ours = book_of(watch.run.pipeline, symbol)
        for mine, theirs in zip(ours, (now[symbol]["bids"], now[symbol]["asks"]), strict=True):
            assert mine == [
                (pytest.approx(price), pytest.approx(size, rel=1e-6)) for price, size in theirs
            ], symbol
    return len(still)


async def with_faults(emulator, watch, live):
    """Gap one listing, send garbage, cut the connections; wait for each recovery."""
    universe = live.pipeline.universe
    await watch.until(lambda: universe.live_count > 200 and len(watch.with_bits(c.NO_STATE)) < 10)
    await assert_books_are_true(emulator, watch)
    watch.ever_in_gap.clear()
    while not watch.ever_in_gap:  # A gap that opened and healed between two scans shows nowhere.
        await emulator.post(
            "deribit", "fault", [{"kind": "gap", "symbol": "BTC-PERPETUAL", "count": 2}]
        )
        for _ in range(10):
            await watch.until(lambda: True)
    await watch.until(lambda: not watch.in_gap())
    assert watch.ever_in_gap == {"BTC-PERPETUAL"}
    await emulator.post("deribit", "fault", [{"kind": "garbage", "count": 3}])
    await watch.until(lambda: live.intake.totals().get("frame_errors", 0) >= 3)
    assert watch.ever_in_gap == {"BTC-PERPETUAL"}
    await emulator.post("deribit", "fault", [{"kind": "disconnect"}])
    await watch.until(lambda: len(watch.in_gap()) > 100)
    await watch.until(lambda: not watch.in_gap())
    await assert_books_are_true(emulator, watch)
    await watch.until(lambda: watch.alerts > 3)
    assert watch.scored_in_gap == set()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Folder of a live run with faults."""
    folder = tmp_path_factory.mktemp("live")
    with EmulatorProcess(seed=11, listings=300, speed=10.0) as emulator:
        live, watch = run_live(
            settings(emulator, folder), folder / "recording", partial(with_faults, emulator)
        )
    return folder / "recording", live, watch


def test_connections_that_the_run_closes_itself_are_no_trouble(recorded):
    _, live, watch = recorded
    assert all(session.trouble.endswith("stopped") for session in live.sessions.values())
    assert not any("stopped" in trouble for _, trouble in watch.troubles)


def test_only_the_touched_listings_turn_invalid_and_all_recover_to_the_true_book(recorded):
    _, live, _ = recorded
    assert live.journal.lost == 0
    assert live.sessions["deribit"].counts.resyncs >= 1
    assert live.sessions["deribit"].counts.disconnects >= 1


def test_a_replay_of_the_recording_gives_the_same_alert_bytes(recorded, capsysbinary):
    folder, live, _ = recorded
    assert main(["replay", str(folder), "--json"]) == 0
    *alerts, summary = capsysbinary.readouterr().out.splitlines()
    assert alerts == (folder / ALERTS_NAME).read_bytes().splitlines()
    assert len(alerts) > 3
    assert b'"batch_mismatches": 0' in summary
    assert b'"same_config": true' in summary
    assert f'"scans": {live.pipeline.counts.scans}'.encode() in summary


def test_an_alert_of_the_recording_is_explained_by_the_begin_of_its_id(recorded, tmp_path, capsys):
    folder, _, _ = recorded
    first = json.loads((folder / ALERTS_NAME).read_text().splitlines()[0])
    assert main(["explain", first["id"][:12], "--from", str(folder)]) == 0
    said = capsys.readouterr().out
    assert first["scope"] in said
    assert main(["explain", "0" * 32, "--from", str(folder)]) == 2
    assert "0 alerts begin with" in capsys.readouterr().err
    broken = tmp_path / "alerts.jsonl"
    broken.write_text('{}\n{"id":"' + "0" * 32 + '"}\n')
    assert main(["explain", "0" * 32, "--from", str(broken)]) == 2
    assert f"{broken}: line 2: " in capsys.readouterr().err


def test_the_tables_of_the_recording_replay(recorded, tmp_path, capsys):
    folder, live, _ = recorded
    write_tables(folder, tmp_path / "tables", live.config)
    assert main(["replay", str(tmp_path / "tables"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]
    assert summary["events"] > 0.9 * live.summary()["events"]  # Without what a gap made void.
    assert summary["rows_off_grid"] == summary["rows_unknown_listing"] == 0


def test_the_universe_of_the_recording_can_be_listed(recorded, capsys):
    folder, live, _ = recorded
    assert main(["universe", "--from", str(folder), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == live.pipeline.universe.row_count + 1
    assert '"contract": "BTC-' in lines[0]


def test_features_of_the_recording_hold_the_state_of_the_run(recorded, tmp_path):
    folder, live, watch = recorded
    now_ns, obi = watch.last
    out = tmp_path / "f.parquet"
    assert main(["features", str(folder), "--out", str(out), "--every", "100ms"]) == 0
    table = pq.read_table(out, columns=["ts_ns", "symbol", "bid", "ask", "obi"])
    mine = {
        one["symbol"]: one for one in table.filter(pc.equal(table["ts_ns"], now_ns)).to_pylist()
    }
    assert len(mine) > 200
    for symbol, row in live.pipeline.universe.symbols("deribit").items():
        if symbol in mine:
            assert mine[symbol]["obi"] == pytest.approx(float(obi[row]), nan_ok=True)
