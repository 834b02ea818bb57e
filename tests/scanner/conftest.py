"""Small recordings for the commands; an alert book and its scans, fresh for every test."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scanner.scans import LISTINGS, Scans, book_of

SECOND = 1_000_000_000


@pytest.fixture
def toy_recording(tmp_path):
    """One option and its share: three minutes' worth of quotes in 20 seconds."""
    folder = tmp_path / "toy"
    folder.mkdir()
    listings = {
        "listing_id": pa.array([7, 9], pa.uint32()),
        "venue": ["toy", "toy"],
        "symbol": ["AAA-C", "SHARE"],
        "kind": ["option", "equity"],
        "underlying": ["AAA", "AAA"],
        "expiry_ns": pa.array([5_000 * SECOND, None], pa.int64()),
        "strike_e9": pa.array([100 * 10**9, None], pa.int64()),
        "right": pa.array(["C", None], pa.string()),
        "style": pa.array(["european", None], pa.string()),
        "multiplier": [100.0, 1.0],
        "price_ccy": ["USD", "USD"],
        "settle": ["linear", "linear"],
        "tick": [0.05, 0.01],
    }
    nan = float("nan")
    quotes = [
        (1_000, 7, 1.0, 5, 1.1, 7),
        (1_004, 7, 1.0, 8, 1.1, 7),
        (1_008, 9, 99.99, 300, 100.01, 100),
        (1_010, 7, 1.0, 8, 1.1, 3),
        (1_015, 7, 1.0, 8, nan, nan),
        (1_020, 9, 99.98, 300, 100.01, 100),
    ]
    names = ("rx_ns", "listing_id", "bid", "bid_size", "ask", "ask_size")
    columns = dict(zip(names, zip(*quotes, strict=True), strict=True))
    types = (pa.int64(), pa.uint32(), *[pa.float64()] * 4)
    columns["rx_ns"] = [s * SECOND for s in columns["rx_ns"]]
    pq.write_table(pa.table(listings), folder / "listings.parquet")
    arrays = [pa.array(list(columns[n]), t) for n, t in zip(names, types, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, names), folder / "quotes.parquet")
    return folder


@pytest.fixture
def book():
    return book_of()


@pytest.fixture
def scans():
    return Scans(len(LISTINGS))
