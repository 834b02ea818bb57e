"""The product's engines for the harness of peers: its scripts take this file as `--product`."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

SCAN_RTOL = {"product": 1e-4}


def scan_engines() -> dict[str, Callable[..., Any]]:
    """Engines of scan_spec.py."""
    from benchmarks.peers.scan import ProductScan

    return {"product": ProductScan}


def book_engines(given: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Engines of bench_books.py."""
    from benchmarks.peers.books import ProductBooks, ProductBooksThreads

    names = {"product": ProductBooks, "product_2t": ProductBooksThreads}
    return {name: partial(kind, given["INIT"], given["BATCH"]) for name, kind in names.items()}
