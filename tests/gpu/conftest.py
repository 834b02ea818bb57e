"""The stand-in driver, built once for all tests of host code."""

from pathlib import Path

import pytest

from tests.gpu.standin import build


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("standin"))
