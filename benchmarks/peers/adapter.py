"""The product's engines for the harness of peers: `bench_scan.py --product` takes this file."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.peers import scan

SCAN_RTOL = {"product": scan.RTOL}


def scan_engines() -> dict[str, Callable[..., Any]]:
    """Engines of scan_spec.py."""
    return {"product": scan.ProductScan}
