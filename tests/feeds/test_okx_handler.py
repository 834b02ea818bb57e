"""The handler over logs of OKX: chains and what breaks them, prints, notices, whatever the cuts."""

import json

import pytest

from feeds.contract import Listing
from feeds.events import Kind, ListingState
from feeds.handler import HandlerOut, VenueHandler
from feeds.record import Record, RecordType
from feeds.venue import ChannelOptions
from feeds.venues import okx
from tests.feeds.deribit_frames import tuples
from tests.feeds.okx_frames import (
    OPTION,
    PERP,
    PUT,
    SWAP,
    body,
    book,
    entry,
    frame_of,
    state,
    trade,
    trades,
)

START_NS = 1_700_000_000 * 10**9


class Log:
    """Records of the venue, 1 ms apart."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, kind: RecordType, name: str, payload: bytes, connection: int = 0) -> "Log":
        rx_ns = START_NS + 1_000_000 * len(self.records)
        self.records.append(Record(rx_ns, kind, "okx", connection, name, payload))
        return self

    def listed(self) -> "Log":
        """Two options (ids 0 and 1), a perpetual (2) and their index (3), books subscribed."""
        answer = body(entry(), entry(PUT), SWAP)
        self.add(RecordType.HTTP, "instruments:underlyings OPTION", body(["BTC-USD"]), -1)
        self.add(RecordType.HTTP, "instruments:BTC-USD OPTION", answer, -1)
        return self.channels("accepted", OPTION, PUT, PERP)

    def channels(self, name: str, *symbols: str) -> "Log":
        payload = json.dumps([f"books:{symbol}" for symbol in symbols]).encode()
        return self.add(RecordType.SUBSCRIPTION, name, payload)

    def frames(self, *frames: bytes) -> "Log":
        for frame in frames:
            self.add(RecordType.FRAME, "", frame)
        return self


class Universe:
    def __init__(self) -> None:
        self.symbols: list[str] = []
        self.ended: list[int] = []

    def allocate(self, listing: Listing) -> int:
        self.symbols.append(listing.symbol)
        return len(self.symbols) - 1

    def retire(self, listing_id: int, rx_ns: int) -> None:
        self.ended.append(listing_id)


def run(log: Log, universe: Universe | None = None) -> HandlerOut:
    universe = universe or Universe()
    handler = VenueHandler(okx, ChannelOptions(), universe.allocate, universe.retire)
    return handler.consume(log.records)


SNAPSHOT = book("snapshot", 10, -1, [("0.05", "3")], [("0.06", "4")])
FOLLOWING = book("update", 15, 10, [("0.051", "1")], [])
ALIVE = book("update", 15, 15, [], [])
RESET = book("update", 3, 15, [("0.051", "0")], [])
AFTER_RESET = book("update", 5, 3, [("0.05", "7")], [])
SHOWN = ("kind", "listing_id", "side", "price", "size")
SNAPSHOT_ROWS = [(Kind.BOOK_SNAPSHOT, 0, 1, 0.05, 3.0), (Kind.BOOK_SNAPSHOT, 0, -1, 0.06, 4.0)]


def test_handler_follows_the_chain_of_the_documentation():
    universe = Universe()
    log = Log().listed().frames(SNAPSHOT, FOLLOWING, ALIVE, RESET, AFTER_RESET)
    out = run(log, universe)
    assert universe.symbols == [OPTION, PUT, PERP, "BTC-USD/INDEX"]
    assert tuples(out.rows, *SHOWN) == [
        *SNAPSHOT_ROWS,
        (Kind.BOOK_DELTA, 0, 1, 0.051, 1.0),
        (Kind.BOOK_DELTA, 0, 1, 0.051, 0.0),
        (Kind.BOOK_DELTA, 0, 1, 0.05, 7.0),
    ]
    assert out.resync == []
    assert (out.counts["gaps"], out.counts["duplicates"], out.counts["rejected"]) == (0, 0, 0)


@pytest.mark.parametrize(
    "stray",
    [
        pytest.param([book("update", 20, 19, [("0.07", "1")], [])], id="gap"),
        pytest.param([book("update", 20, 20, [], [])], id="sign of life after a gap"),
        pytest.param([AFTER_RESET], id="the reset itself was lost"),
        pytest.param([FOLLOWING], id="copy"),
        pytest.param([book("snapshot", 9, -1, [("0.07", "1")], [])], id="older snapshot"),
        pytest.param([book("update", None, None, [("0.07", "1")], [])], id="no number"),
        pytest.param(
            [book("update", 25, 20, [("0.07", "1")], []), book("update", 20, 15, [], [])],
            id="out of order",
        ),
    ],
)
def test_what_does_not_follow_clears_the_book_until_a_snapshot_of_its_resync(stray):
    log = Log().listed().frames(SNAPSHOT, FOLLOWING, *stray)
    gapped = run(log)
    assert gapped.resync == [OPTION]
    assert tuples(gapped.rows, "kind", "listing_id")[3:] == [(Kind.CLEAR, 0)]
    log.frames(book("update", 30, 25, [("0.08", "1")], []))
    log.channels("unsubscribe", OPTION).channels("accepted", OPTION)
    log.frames(book("snapshot", 4, -1, [("0.05", "9")], []))
    log.frames(book("update", 8, 4, [], [("0.09", "2")]))
    out = run(log)
    assert tuples(out.rows, *SHOWN)[4:] == [
        (Kind.BOOK_SNAPSHOT, 0, 1, 0.05, 9.0),
        (Kind.BOOK_DELTA, 0, -1, 0.09, 2.0),
    ]
    assert out.rows["kind"].tolist().count(Kind.CLEAR) == 1
    assert (out.counts["gaps"], out.counts["resyncs"]) == (1, 1)


def test_a_change_before_the_snapshot_is_rejected_even_from_0():
    out = run(Log().listed().frames(book("update", 4, 0, [("0.05", "3")], [])))
    assert (len(out.rows), out.resync, out.counts["rejected"]) == (0, [], 1)


def test_an_empty_snapshot_is_a_known_empty_book():
    out = run(Log().listed().frames(book("snapshot", 10, -1, [], [])))
    assert tuples(out.rows, "kind", "listing_id", "side") == [(Kind.BOOK_SNAPSHOT, 0, 0)]


def test_a_closed_connection_clears_its_books_and_a_print_is_counted_once():
    log = Log().listed().frames(SNAPSHOT, trades(trade(ts="1700000000000")))
    log.add(RecordType.CONNECTION, "close", b"stopped").frames(trades(trade(ts="1700000000000")))
    out = run(log)
    assert out.rows["kind"].tolist() == [
        Kind.BOOK_SNAPSHOT, Kind.BOOK_SNAPSHOT, Kind.TRADE, Kind.CLEAR, Kind.CLEAR, Kind.CLEAR,
    ]  # fmt: skip
    assert sorted(out.rows["listing_id"][3:].tolist()) == [0, 1, 2]
    assert out.counts["duplicate_trades"] == 1


def test_an_expired_option_ends_and_a_new_one_is_discovered():
    universe = Universe()
    new = "BTC-USD-261225-90000-P"
    notice = frame_of("instruments:OPTION", state(OPTION, "expired"), state(new, "preopen"))
    out = run(Log().listed().frames(SNAPSHOT, notice, FOLLOWING), universe)
    assert (universe.ended, out.discover) == ([0], [new])
    (ended,) = out.rows[out.rows["kind"] == Kind.STATE_CHANGE]
    assert (ended["listing_id"], ended["level"]) == (0, ListingState.EXPIRED)
    assert out.counts["skipped.unknown_symbol"] == 1


def test_what_the_handler_gives_does_not_depend_on_the_cuts():
    log = Log().listed().frames(SNAPSHOT, FOLLOWING, ALIVE, FOLLOWING, RESET, AFTER_RESET)
    whole = run(log).rows
    universe = Universe()
    handler = VenueHandler(okx, ChannelOptions(), universe.allocate, universe.retire)
    single = [handler.consume([record]).rows for record in log.records]
    assert b"".join(rows.tobytes() for rows in single) == whole.tobytes()
