"""`scanner databento`, end to end, with a toy client in the place of the package."""

import json
import signal

import pytest

from scanner.__main__ import main
from scanner.commands import databento as command
from tests.feeds.dbn_files import OPRA, head, mapping, quote
from tests.feeds.test_dbn_gateway import CENT, FIVE, KEY, HandClock, T

SECOND = 10**9


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key.toml"
    path.write_text(f'key = "databento"\nsecret = "{KEY}"\n')
    path.chmod(0o600)
    return path


@pytest.fixture
def handlers(monkeypatch, tmp_path):
    """The signal handlers that the command sets; the tests' own are left alone."""
    monkeypatch.setenv("SCANNER_LIMITS__CONNECT_STATE_FILE", str(tmp_path / "connects.json"))
    found = {}
    monkeypatch.setattr(signal, "signal", found.__setitem__)
    return found


def test_quotes_of_the_gateway_are_scanned_until_a_signal(
    capsysbinary, monkeypatch, key_file, handlers
):
    asked = []

    def run(wanted, key, pipe, opened):
        asked.append((wanted.symbols, wanted.schemas, key))
        pipe.write(head(OPRA, "mixed") + mapping(5, FIVE))
        for i in range(5):
            pipe.write(quote(192, T + i * SECOND, (100 + i) * CENT, 110 * CENT))
        while pipe._held:
            assert not pipe.closed
        handlers[signal.SIGTERM](signal.SIGTERM, None)

    monkeypatch.setattr(command, "run_session", run)
    monkeypatch.setattr(command, "SystemClock", HandClock)
    arguments = ("databento", "SPY.OPT", "--key-file", str(key_file), "--json")
    assert main(arguments) == 0
    out, err = capsysbinary.readouterr()
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert asked == [
        (("SPY.OPT",), ("definition", "statistics", "cbbo-1s", "trades"), KEY)
    ]  # fmt: skip
    # Five seconds, the end of the session as a gap in the last, and a scan of each.
    assert {name: summary[name] for name in ("listings", "events", "scans", "dbn_sessions")} == {
        "listings": 1, "events": 11, "scans": 5, "dbn_sessions": 1,
    }  # fmt: skip
    assert KEY.encode() not in out + err


def test_a_key_file_that_others_can_read_is_refused(capsys, key_file, handlers):
    key_file.chmod(0o644)
    assert main(("databento", "SPY.OPT", "--key-file", str(key_file))) == 2
    assert "0600" in capsys.readouterr().err
