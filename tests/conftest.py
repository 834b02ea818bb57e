"""Shared by all tests: the data beside the repository, and hypothesis profiles."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SCANNER_SHARED", ROOT.parent / "shared"))


def shared(path: str) -> Path:
    """Path in the data beside the repository; skips (or, where demanded, fails) if absent."""
    found = SHARED / path
    if not found.exists():
        message = f"{path} is not present beside the repository (SCANNER_SHARED says where)"
        if os.environ.get("SCANNER_REQUIRE_SHARED") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found
