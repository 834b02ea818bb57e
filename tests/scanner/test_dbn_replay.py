"""The command line on DBN files: replay, universe and features, end to end."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from feeds.tables import Chunk
from scanner.__main__ import main
from scanner.config import load
from scanner.pipeline import Pipeline, scan_chunks, scan_tables
from tests.conftest import shared
from tests.feeds.dbn_files import MONDAY_NS, OPRA, head, open_interest, put_340, quote, write
from tests.feeds.test_dbn import ES_NAMES, FOLDER, SPY
from tests.kernels.market import SECOND, START_NS, ToyMarket, listings

CENT = 10_000_000


@pytest.fixture
def es(tmp_path):
    folder = tmp_path / "es"
    folder.mkdir()
    for name in ES_NAMES:
        shutil.copy(shared(f"{FOLDER}/{name}"), folder)
    return folder


def run(capsysbinary, *arguments):
    assert main([str(one) for one in arguments]) == 0
    return capsysbinary.readouterr().out


def lines(output):
    return [json.loads(line) for line in output.splitlines()]


def test_recorded_es_quotes_replay_to_the_same_bytes_twice(capsysbinary, es):
    first, second = (run(capsysbinary, "replay", es, "--json") for _ in range(2))
    assert first == second
    summary = lines(first)[-1]["summary"]
    found = {name: summary[name] for name in ("events", "ticks", "scans", "listings")}
    assert found == {"events": 40, "ticks": 10, "scans": 10, "listings": 2}
    assert (summary["rows_off_grid"], summary["dbn_records"], summary["dbn_definitions"]) == (
        0,
        20,
        2,
    )


def test_recorded_es_quotes_become_features_with_their_prices(capsysbinary, es, tmp_path):
    out = tmp_path / "f.parquet"
    run(capsysbinary, "features", es, "--out", out, "--every", "1m")
    table = pq.read_table(out).to_pylist()
    mine = [row for row in table if row["symbol"] == "ESM4 P5230"]
    assert [(row["bid"], row["ask"], row["bid_size"], row["ask_size"]) for row in mine[-2:]] == [
        (96.75, 97.25, 77, 58), (97.0, 97.5, 16, 75),
    ]  # fmt: skip
    assert {(row["venue"], row["underlying"], row["strike_e9"], row["right"]) for row in mine} == {
        ("glbx", "ESM4", 5_230 * 10**9, "P")
    }


def test_definitions_alone_list_a_universe_and_scan_nothing(capsysbinary):
    source = shared(SPY)
    summary = lines(run(capsysbinary, "replay", source, "--json"))[-1]["summary"]
    assert (summary["listings"], summary["scans"], summary["events"]) == (13_492, 0, 0)
    *contracts, last = lines(run(capsysbinary, "universe", "--from", source, "--json"))
    assert last["summary"] == {"contracts": 13_492, "listings": 13_492}
    (put,) = (one for one in contracts if one["contract"] == "SPY-20240119T2100Z-340-P")
    assert put["listings"] == [
        {"venue": "opra", "symbol": "SPY   240119P00340000", "settle": "linear",
         "price_ccy": "USD", "multiplier": 100.0, "tick": 0.01},
    ]  # fmt: skip


def test_an_unknown_multiplier_is_null(capsysbinary, tmp_path):
    known = [("AAPL1 240719P00150000", [(20230801, 20230901, 5)])]
    path = write(tmp_path, "x.dbn", head(OPRA, "cmbp-1", 2, known))
    first, _ = lines(run(capsysbinary, "universe", "--from", path, "--json"))
    assert first["listings"][0]["multiplier"] is None


def test_data_without_definitions_are_one_clear_line(capsys, es):
    (es / ES_NAMES[0]).unlink()
    assert main(["replay", str(es)]) == 2
    error = capsys.readouterr().err
    assert "expected a definition file of GLBX.MDP3 in the same folder" in error
    assert "Traceback" not in error


def test_a_damaged_file_is_replayed_to_the_damage_and_told(capsys, tmp_path):
    noon = MONDAY_NS + 12 * 3600 * SECOND
    write(tmp_path, "d.dbn", head(OPRA, "definition"), put_340())
    quotes = (quote(177, noon + k * SECOND, CENT, 2 * CENT) for k in range(3))
    write(tmp_path, "q.dbn", head(OPRA, "cmbp-1"), *quotes, b"\x14")
    write(tmp_path, "s.dbn", head(OPRA, "statistics"), open_interest(noon + 9 * SECOND, 5))
    assert main(["replay", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert (summary["events"], summary["tickers"], summary["scans"]) == (6, 1, 4)
    assert (summary["dbn_damaged_files"], summary["dbn_lost_bytes"]) == (1, 1)
    assert "q.dbn: the end of the file within a record" in err


def test_features_never_replace_what_they_read(capsys, es):
    before = (es / ES_NAMES[0]).read_bytes()
    assert main(["features", str(es / ES_NAMES[0]), "--out", str(es / ES_NAMES[0])]) == 2
    assert (es / ES_NAMES[0]).read_bytes() == before


@pytest.mark.parametrize("stretch", [1, 3, 1000])
def test_rows_in_stretches_scan_like_rows_at_once(stretch):
    members = listings(5)
    whole, pieces = Pipeline(load()), Pipeline(load())
    market = ToyMarket(members, 7)
    seconds = [market.second(START_NS + k * SECOND) for k in range(1, 21)]
    rows, tickers = (np.concatenate(part) for part in zip(*seconds, strict=True))
    for pipeline in (whole, pieces):
        pipeline.scanner.add(members)
    wanted = list(scan_tables(rows, tickers, whole))
    assert len(tickers) > 0
    assert list(scan_chunks(_cut(rows, tickers, stretch), pieces)) == wanted
    assert len(wanted) == 20
    for mine, theirs in zip(pieces.scanner.state.columns, whole.scanner.state.columns, strict=True):
        assert mine.tobytes() == theirs.tobytes()


def _cut(rows, tickers, stretch):
    """Stretches of the rows, each with the tickers that are not after its last row."""
    taken = 0
    for at in range(0, len(rows), stretch):
        piece = rows[at : at + stretch]
        end = np.searchsorted(tickers["rx_ns"], piece["rx_ns"][-1], side="right")
        yield Chunk(piece, tickers[taken:end])
        taken = end
    yield Chunk(rows[:0], tickers[taken:])
