"""`scanner replay` on table recordings."""

import json

import pytest

from scanner.__main__ import main
from tests.conftest import shared


def replay(capsysbinary, source, *options):
    assert main(["replay", str(source), "--json", *options]) == 0
    return capsysbinary.readouterr().out


def test_the_goog_chain_replays_to_the_same_bytes_twice(capsysbinary):
    source = shared("data/tables/goog_20151224")
    first, second = (replay(capsysbinary, source) for _ in range(2))
    assert first == second
    summary = json.loads(first.splitlines()[-1])["summary"]
    # 275,812 quotes are two rows each, and 1,185 trades.
    assert summary["events"] == 2 * 275_812 + 1_185
    assert summary["rows_off_grid"] == 0
    assert summary["sides_inferred"] + summary["sides_unknown"] == 1_185


def test_a_small_recording_says_what_it_counted(capsysbinary, toy_recording):
    summary = json.loads(replay(capsysbinary, toy_recording))["summary"]
    assert summary["events"] == 12
    assert summary["scans"] == 6
    assert summary["listings"] == 2
    assert summary["alerts"] == {"spike": 0, "broad": 0, "group": 0}


def test_a_recording_in_numbered_parts_is_the_same(capsysbinary, toy_recording):
    whole = replay(capsysbinary, toy_recording)
    for path in list(toy_recording.glob("*.parquet")):
        path.rename(path.with_stem(f"{path.stem}-0000"))
    assert replay(capsysbinary, toy_recording) == whole


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: (folder / "quotes.parquet").unlink(), "quotes.parquet"),
        (lambda folder: (folder / "listings.parquet").write_bytes(b"PAR1"), "listings.parquet"),
    ],
)
def test_a_broken_recording_is_one_clear_line(capsys, toy_recording, make, message):
    make(toy_recording)
    assert main(["replay", str(toy_recording), "--json"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_folder_that_is_no_recording_says_so(capsys, tmp_path):
    assert main(["replay", str(tmp_path)]) == 2
    assert "neither a raw recording" in capsys.readouterr().err
