"""The stand-in driver, built once, and tables printed at the end: costs and coverage of kernels."""

from pathlib import Path

import pytest

from tests.gpu.ptx import Kernel
from tests.gpu.reach import reach_table
from tests.gpu.standin import build
from tests.gpu.static import Capability, Figures, table

Measured = dict[tuple[str, Capability], Figures]
_MEASURED = pytest.StashKey[Measured]()
_REACHED = pytest.StashKey[dict[str, Kernel]]()
_MUTANTS = pytest.StashKey[dict[str, tuple[str, str, str]]]()
LAST = "test_every_effect_of_every_kernel_was_reached"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever the order of the others, coverage is judged after them."""
    items.sort(key=lambda item: item.name == LAST)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("standin"))


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> Measured:
    """Figures for the table: tests write what they measured of the product's kernels."""
    return pytestconfig.stash.setdefault(_MEASURED, {})


@pytest.fixture(scope="session")
def reached(pytestconfig: pytest.Config) -> dict[str, Kernel]:
    """Kernels for the table, with what their launches have reached."""
    return pytestconfig.stash.setdefault(_REACHED, {})


@pytest.fixture(scope="session")
def mutants(pytestconfig: pytest.Config) -> dict[str, tuple[str, str, str]]:
    """Mutations for the table: kernel, check, and what the check said; empty where it was green."""
    return pytestconfig.stash.setdefault(_MUTANTS, {})


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    found = config.stash.get(_MEASURED, None)
    if found:
        terminalreporter.section("what kernels cost")
        terminalreporter.write(table(found))
    kernels = config.stash.get(_REACHED, None)
    if kernels:
        terminalreporter.section("what the tests reached of the kernels")
        terminalreporter.write(reach_table(kernels))
    mutants = config.stash.get(_MUTANTS, None)
    if mutants:
        terminalreporter.section("what noticed the mutations")
        for name, (kernel, by, said) in mutants.items():
            words = " ".join(said.split()) or "NOTHING"
            terminalreporter.write(f"{name:<52}{kernel:<15}{by:<14}{words[:120]}\n")
