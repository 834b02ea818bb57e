"""`scanner compile`: fills the cache, says what it did, and refuses what it cannot."""

import importlib.util
import json
import os

import pytest

from scanner import __main__ as cli
from scanner.commands import compile as command
from scanner.errors import InputError

HAS_COMPILER = importlib.util.find_spec("numba_cuda") is not None


def test_capability_is_read_as_major_and_minor():
    assert [command.capability_of(t) for t in ("8.0", "9.0", "12.1")] == [(8, 0), (9, 0), (12, 1)]


@pytest.mark.parametrize("text", ["7.5", "9", "sm_90", "9.0a", "", "9.00", "-8.0"])
def test_capability_that_is_none_or_too_old_is_refused(text):
    with pytest.raises(InputError, match="--capability was"):
        command.capability_of(text)


def test_second_run_finds_everything_there(capsys):
    assert cli.main(["compile"]) == 0
    capsys.readouterr()
    assert cli.main(["compile", "--json"]) == 0
    shown = capsys.readouterr()
    *targets, last = map(json.loads, shown.out.splitlines())
    assert [(t["target"], t["compiled"]) for t in targets] == [("cpu", 0), ("venues", 0)]
    assert set(last["summary"]) == {"seconds", "folder"}
    assert shown.err.startswith("compiling: 0 functions in ")


def test_cache_that_cannot_be_written_is_an_error(capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cli.main(["compile"]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(HAS_COMPILER, reason="a compiler of GPU kernels is installed")
def test_gpu_kernels_without_a_compiler_are_refused_before_anything_is_compiled(capsys):
    assert cli.main(["compile", "--capability", "9.0"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "numba-cuda is not installed" in shown.err


def test_bad_capability_is_bad_input(capsys):
    assert cli.main(["compile", "--capability", "9.0", "--capability", "seven"]) == 2
