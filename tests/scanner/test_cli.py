"""The command line: exit codes, streams, messages, and what is imported when."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import scanner
from feeds.errors import SessionError, TableError
from kernels.errors import DeviceError
from scanner import __main__ as cli
from scanner.commands.arguments import duration_ns, names, speed_factor, write_json
from scanner.errors import InputError, RunError, ScannerError

ROOT = Path(__file__).parents[2]
# What --help must not pay for: each costs 50 ms or more.
HEAVY = ("aiohttp", "asyncio", "numba", "numpy", "pyarrow", "pydantic", "rich", "structlog")


def run(*arguments, **variables):
    environment = {key: value for key, value in os.environ.items() if "SCANNER_" not in key}
    return subprocess.run(
        [sys.executable, "-m", "scanner", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment | variables,
        check=False,
    )


@pytest.fixture
def failing(monkeypatch):
    """Make `check-config` raise an error, in place of doing its work."""

    def fail_with(error):
        def raise_error(path, *, as_json):
            raise error

        monkeypatch.setattr("scanner.commands.check_config.check_config", raise_error)
        return cli.main(["check-config"])

    return fail_with


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch):
    monkeypatch.delenv("SCANNER_TRACEBACK", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # main replaces it; put it back


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from scanner.__main__ import main; assert main(['--help']) == 0; "
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]; "
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_no_arguments_show_the_help(capsys):
    assert cli.main([]) == 0
    assert "check-config" in capsys.readouterr().out


def test_version_is_the_distribution_s(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{scanner.__version__}\n"


def test_module_runs_as_a_program():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{scanner.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'"),
        (["doctor", "--jsn"], "No such option: --jsn"),
        (["check-config", "--config"], "requires an argument"),
    ],
)
def test_bad_usage_is_exit_code_2_and_one_line_on_stderr(capsys, arguments, message):
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("scanner: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a.toml: no"), 2),
        (TableError("quotes.parquet: bid, row 3"), 2),
        (RunError("it broke"), 1),
        (ScannerError("it broke"), 1),
        (SessionError("deribit: refused"), 1),
        (DeviceError("no device"), 1),
        (PermissionError(13, "Permission denied", "/x"), 1),
    ],
)
def test_error_is_one_line_with_its_exit_code(capsys, failing, error, code):
    assert failing(error) == code
    shown = capsys.readouterr()
    assert shown.err == f"scanner: {error}\n"
    assert shown.out == ""


def test_error_shows_its_traceback_on_demand(monkeypatch, failing):
    monkeypatch.setenv("SCANNER_TRACEBACK", "1")
    with pytest.raises(InputError, match="no"):
        failing(InputError("no"))


def test_interrupt_is_exit_code_130_and_silent(capsys, failing):
    assert failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


def test_bug_of_ours_is_one_line(capsys):
    cli._one_line(TypeError, TypeError("odd\nsecond line"), None)
    assert capsys.readouterr().err == (
        "scanner: internal error, TypeError: odd (SCANNER_TRACEBACK=1 shows where)\n"
    )


def test_bug_of_ours_shows_its_traceback_on_demand(capsys, monkeypatch):
    monkeypatch.setenv("SCANNER_TRACEBACK", "1")
    cli._one_line(TypeError, TypeError("odd"), None)
    assert "TypeError: odd" in capsys.readouterr().err


def test_reader_that_leaves_ends_the_command_quietly():
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "scanner", "check-config"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


def test_doctor_prints_one_object_a_line(capsys, tmp_path):
    assert cli.main(["doctor", "--json", "--folder", str(tmp_path)]) == 0
    *checks, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"python", "packages", "cpu", "threads", "cuda", "device"} <= {c["name"] for c in checks}
    assert set(checks[0]) == {"name", "status", "found", "advice"}
    assert sum(last["summary"].values()) == len(checks)
    assert last["summary"]["fail"] == 0


def test_check_config_prints_ok_and_the_effective_values(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[engine]\ntick_ms = 50\n")
    assert cli.main(["check-config", str(path)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("OK, config hash ")
    assert "engine.tick_ms = 50" in lines
    assert "engine.scan_ms = 1000" in lines
    assert 'venues.deribit.underlyings = ["BTC", "ETH"]' in lines


def test_check_config_takes_the_file_as_the_other_commands_do(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[engine]\ntick_ms = 50\n")
    assert cli.main(["check-config", "--config", str(path)]) == 0
    assert "engine.tick_ms = 50" in capsys.readouterr().out.splitlines()
    assert cli.main(["check-config", "a.toml", "--config", "b.toml"]) == 2


def test_check_config_lists_every_problem_and_exits_with_2(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[engine]\ntick_ms = 1\ntop = 3\n")
    assert cli.main(["check-config", str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "mine.toml: engine.tick_ms was 1, expected at least 10",
        "mine.toml: engine.top is not a known key; did you mean engine.top_k?",
    ]


def test_check_config_says_the_same_in_json(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[engine]\ntick_ms = 1\n")
    assert cli.main(["check-config", "--json", str(path)]) == 2
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "problems": ["mine.toml: engine.tick_ms was 1, expected at least 10"],
    }
    assert cli.main(["check-config", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert len(found["config_hash"]) == 32
    assert found["config"]["engine"]["tick_ms"] == 100


def test_check_config_prints_its_schema(capsys):
    assert cli.main(["check-config", "--schema"]) == 0
    assert "EngineSettings" in json.loads(capsys.readouterr().out)["$defs"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10s", 10_000_000_000),
        ("500ms", 500_000_000),
        ("1m", 60_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("0.1s", 100_000_000),
        ("250us", 250_000),
        ("7ns", 7),
        ("2d", 172_800_000_000_000),
        ("9223372036854775807ns", 9_223_372_036_854_775_807),
    ],
)
def test_duration_is_read_exactly(text, expected):
    assert duration_ns("--every", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "10", "s", "10 s", "-1s", "0s", "1.5ns", "1e3s", "10S", "10sec", "1m30s", "٣s"),
        *("9223372036854775808ns", "200000d"),
    ],
)
def test_other_durations_are_refused_by_name(text):
    with pytest.raises(InputError, match=r"^--every was .*, expected a duration with its unit"):
        duration_ns("--every", text)


def test_speed_is_max_or_a_factor():
    assert speed_factor("--speed", "max") == float("inf")
    assert speed_factor("--speed", "2.5") == 2.5
    assert speed_factor("--speed", "10x") == 10.0


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "fast"])
def test_other_speeds_are_refused(text):
    with pytest.raises(InputError, match="--speed was"):
        speed_factor("--speed", text)


def test_names_are_split_at_commas():
    assert names("--columns", "mid, obi") == ("mid", "obi")
    assert names("--columns", None) is None


@pytest.mark.parametrize("text", ["", "a,", "a,,b", "a,a"])
def test_empty_or_repeated_names_are_refused(text):
    with pytest.raises(InputError, match="--columns was"):
        names("--columns", text)


def test_json_line_holds_no_nan(capsys):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"score": float("nan")})
    assert capsys.readouterr().out == ""


def test_lazy_names_of_the_package():
    from scanner.config import ScanConfig
    from scanner.result import ScanResult

    assert scanner.ScanConfig is ScanConfig
    assert scanner.ScanResult is ScanResult
    assert scanner.__version__ == "0.1.0"
    assert dir(scanner) == ["ScanConfig", "ScanResult", "Scanner", "__version__"]
    with pytest.raises(AttributeError, match="no attribute 'Scaner'"):
        _ = scanner.Scaner
