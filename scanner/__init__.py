"""Stages 3 to 8 of 8: joins feeds and kernels: `from scanner import Scanner, ScanConfig`.

The names below load their module on first use, so that `scanner --help` pays for none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from scanner.config import ScanConfig
    from scanner.engine import Scanner
    from scanner.result import ScanResult

__all__ = ["ScanConfig", "ScanResult", "Scanner", "__version__"]

_HOME: Final = {
    "Scanner": "scanner.engine",
    "ScanConfig": "scanner.config",
    "ScanResult": "scanner.result",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - 15 ms that few callers need

        return version("cross-market-scanner")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
