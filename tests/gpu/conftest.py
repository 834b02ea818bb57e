"""The stand-in driver, built once, and the table of what kernels cost, printed at the end."""

from pathlib import Path

import pytest

from tests.gpu.standin import build
from tests.gpu.static import Capability, Figures, table

Measured = dict[tuple[str, Capability], Figures]
_MEASURED = pytest.StashKey[Measured]()


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("standin"))


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> Measured:
    """Figures for the table: tests write what they measured of the product's kernels."""
    return pytestconfig.stash.setdefault(_MEASURED, {})


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    found = config.stash.get(_MEASURED, None)
    if found:
        terminalreporter.section("what kernels cost")
        terminalreporter.write(table(found))
