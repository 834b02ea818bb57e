"""The handler on logs of one venue: what it lets through, in which place, whatever the cuts."""

import itertools
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.contract import Listing
from feeds.errors import JournalError
from feeds.events import Flag, Kind, ListingState
from feeds.handler import EXPIRY_GRACE_NS, HandlerOut, VenueHandler
from feeds.record import Record, RecordType
from feeds.venue import ChannelOptions
from feeds.venues import deribit
from tests.conftest import shared
from tests.feeds.deribit_frames import f32, frame_of, tuples

EXPIRY_MS = 1_800_000_000_000
START_NS = 1_700_000_000 * 10**9
CALL, PUT = "BTC-15JAN27-90000-C", "BTC-15JAN27-90000-P"
BOOK = ("kind", "listing_id", "side", "price", "size")


def entry(name: str, expires_ms: int = EXPIRY_MS, base: str = "BTC") -> dict[str, Any]:
    return {
        "instrument_name": name,
        "kind": "option",
        "instrument_type": "reversed",
        "option_type": "call" if name.endswith("C") else "put",
        "strike": 90000.0,
        "base_currency": base,
        "quote_currency": base,
        "tick_size": 0.0001,
        "expiration_timestamp": expires_ms,
    }


class Log:
    """Records of one venue, 1 ms apart."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self.records: list[Record] = []
        self.now_ns = start_ns

    def add(self, kind: RecordType, name: str, payload: bytes, connection: int = 0) -> "Log":
        self.records.append(Record(self.now_ns, kind, "deribit", connection, name, payload))
        self.now_ns += 1_000_000
        return self

    def instruments(self, *entries: dict[str, Any]) -> "Log":
        body = json.dumps({"result": list(entries)}).encode()
        return self.add(RecordType.HTTP, "instruments BTC option", body, -1)

    def accepted(self, *channels: str, connection: int = 0) -> "Log":
        return self.subscription("accepted", *channels, connection=connection)

    def subscription(self, name: str, *channels: str, connection: int = 0) -> "Log":
        payload = json.dumps(channels).encode()
        return self.add(RecordType.SUBSCRIPTION, name, payload, connection)

    def book(
        self, symbol: str, change: int, previous: int | None, *bids: list[Any], asks: Any = ()
    ) -> "Log":
        data = {
            "type": "snapshot" if previous is None else "change",
            "timestamp": 1_700_000_000_000,
            "instrument_name": symbol,
            "change_id": change,
            "bids": bids,
            "asks": asks,
        }
        data |= {} if previous is None else {"prev_change_id": previous}
        return self.frame(f"book.{symbol}.100ms", data)

    def trade(self, symbol: str, trade_id: str) -> "Log":
        data = {
            "timestamp": 1_700_000_000_000,
            "instrument_name": symbol,
            "trade_id": trade_id,
            "price": 0.05,
            "amount": 2.0,
            "direction": "sell",
        }
        return self.frame("trades.option.BTC.100ms", [data])

    def state(self, symbol: str, word: str) -> "Log":
        data = {"timestamp": 1, "state": word, "instrument_name": symbol}
        return self.frame("instrument.state.option.BTC", data)

    def frame(self, channel: str, data: Any) -> "Log":
        return self.add(RecordType.FRAME, "", frame_of(channel, data))

    def at(self, index: int) -> int:
        return self.records[index].rx_ns


class Universe:
    """Gives ids in order and remembers who ended."""

    def __init__(self) -> None:
        self.symbols: list[str] = []
        self.ended: list[tuple[int, int]] = []

    def allocate(self, listing: Listing) -> int:
        self.symbols.append(listing.symbol)
        return len(self.symbols) - 1

    def retire(self, listing_id: int, rx_ns: int) -> None:
        self.ended.append((listing_id, rx_ns))


def handler(universe: Universe | None = None, **options: Any) -> VenueHandler:
    universe = universe or Universe()
    return VenueHandler(deribit, ChannelOptions(), universe.allocate, universe.retire, **options)


def run(log: Log, **options: Any) -> HandlerOut:
    return handler(**options).consume(log.records)


def listed() -> Log:
    """Two options (ids 0 and 1) and their index (2), books on connections 0 and 1."""
    log = Log().instruments(entry(CALL), entry(PUT))
    log.accepted(f"book.{CALL}.100ms", f"ticker.{PUT}.100ms", connection=0)
    return log.accepted(f"book.{PUT}.100ms", "trades.option.BTC.100ms", connection=1)


def test_accepted_updates_come_through_in_log_order():
    log = listed().book(CALL, 10, None, ["new", 0.05, 3.0]).trade(CALL, "1")
    out = run(log.book(CALL, 11, 10, ["change", 0.05, 4.0]))
    assert tuples(out.rows, *BOOK) == [
        (Kind.BOOK_SNAPSHOT, 0, 1, 0.05, 3.0),
        (Kind.TRADE, 0, -1, 0.05, 2.0),
        (Kind.BOOK_DELTA, 0, 1, 0.05, 4.0),
    ]
    assert out.rows["rx_ns"].tolist() == [log.at(3), log.at(4), log.at(5)]
    assert (out.resync, out.discover) == ([], [])


def test_a_frame_that_a_decoder_fails_on_is_counted_and_its_neighbours_come_through():
    class Failing:
        def __getattr__(self, name):
            return getattr(deribit, name)

        def decode(self, frames, rx_ns, symbols, out):
            deribit.decode(frames, rx_ns, symbols, out)
            if any(b'"trade_id":"2"' in frame for frame in frames):
                raise IndexError("a bug")

    log = listed().book(CALL, 10, None, ["new", 0.05, 3.0])
    log.trade(CALL, "1").trade(CALL, "2").trade(CALL, "3")
    universe = Universe()
    broken = VenueHandler(Failing(), ChannelOptions(), universe.allocate, universe.retire)
    out, whole = broken.consume(log.records), run(log)
    assert [row.tobytes() for row in out.rows] == [whole.rows[k].tobytes() for k in (0, 1, 3)]
    assert (out.counts["decoder_failures"], out.counts["frame_errors"]) == (1, 1)
    assert out.counts["frames"] == whole.counts["frames"] == 4
    (error,) = out.errors
    assert "the decoder failed, which is a bug of ours: IndexError('a bug')" in str(error)
    assert b'"trade_id":"2"' in error.frame


def test_a_gap_clears_its_listing_in_its_place_and_asks_for_a_resync():
    log = listed().book(CALL, 10, None, ["new", 0.05, 3.0]).book(PUT, 7, None, ["new", 0.02, 1.0])
    log.book(CALL, 13, 12, ["new", 0.06, 9.0]).book(PUT, 8, 7, ["change", 0.02, 2.0])
    log.book(CALL, 14, 13, ["new", 0.06, 9.0])
    out = run(log)
    kinds = [Kind.BOOK_SNAPSHOT, Kind.BOOK_SNAPSHOT, Kind.CLEAR, Kind.BOOK_DELTA]
    assert out.rows["kind"].tolist() == kinds
    assert out.rows["listing_id"].tolist() == [0, 1, 0, 1]
    clear = out.rows[2]
    assert (clear["rx_ns"], clear["flags"], clear["size"]) == (log.at(5), Flag.LAST, 0.0)
    assert np.isnan(clear["price"])
    assert out.resync == [CALL]
    assert (out.counts["gaps"], out.counts["rejected_rows"]) == (1, 2)


def test_resync_brings_the_listing_back_without_a_second_clear():
    log = listed().book(CALL, 10, None, ["new", 0.05, 3.0]).book(CALL, 13, 12, ["new", 0.06, 9.0])
    log.subscription("unsubscribe", f"book.{CALL}.100ms").accepted(f"book.{CALL}.100ms")
    out = run(log.book(CALL, 2, None, ["new", 0.07, 5.0]).book(CALL, 3, 2, ["new", 0.08, 1.0]))
    assert tuples(out.rows, "kind", "price")[2:] == [
        (Kind.BOOK_SNAPSHOT, 0.07),
        (Kind.BOOK_DELTA, 0.08),
    ]
    assert out.rows["kind"].tolist().count(Kind.CLEAR) == 1
    assert out.counts["resyncs"] == 1


def test_giving_up_a_live_book_clears_it():
    log = listed().book(CALL, 10, None, ["new", 0.05, 3.0])
    out = run(log.subscription("unsubscribe", f"book.{CALL}.100ms").book(CALL, 11, 10))
    assert out.rows["kind"].tolist() == [Kind.BOOK_SNAPSHOT, Kind.CLEAR]
    assert out.counts["rejected"] == 1


def test_an_empty_snapshot_says_that_the_book_is_known_to_be_empty():
    out = run(listed().book(CALL, 10, None).book(CALL, 11, 10, ["new", 0.05, 3.0]))
    known, delta = out.rows
    assert (known["kind"], known["side"], known["size"], known["seq"]) == (
        Kind.BOOK_SNAPSHOT,
        0,
        0.0,
        10,
    )
    assert np.isnan(known["price"])
    assert known["flags"] == Flag.SNAPSHOT_START | Flag.LAST
    assert (delta["kind"], delta["price"]) == (Kind.BOOK_DELTA, 0.05)


def test_the_first_change_of_a_new_instrument_stands_on_an_empty_book():
    out = run(listed().book(CALL, 10, 0, ["new", 0.05, 3.0]))
    assert tuples(out.rows, "kind", "side", "flags", "seq") == [
        (Kind.BOOK_SNAPSHOT, 0, Flag.SNAPSHOT_START | Flag.LAST, 10),
        (Kind.BOOK_DELTA, 1, Flag.LAST, 10),
    ]


def test_a_closed_connection_clears_the_books_it_carried_and_no_others():
    log = listed().book(CALL, 10, None, ["new", 0.05, 3.0]).book(PUT, 7, None, ["new", 0.02, 1.0])
    log.add(RecordType.CONNECTION, "close", b"gone", connection=1)
    log.book(CALL, 11, 10, ["change", 0.05, 4.0]).book(PUT, 8, 7, ["change", 0.02, 2.0])
    out = run(log)
    assert tuples(out.rows, "kind", "listing_id", "rx_ns")[2:] == [
        (Kind.CLEAR, 1, log.at(5)),
        (Kind.BOOK_DELTA, 0, log.at(6)),
    ]
    assert out.resync == []


def test_silence_of_a_book_channel_clears_one_listing_and_of_a_ticker_none():
    log = listed().book(PUT, 7, None, ["new", 0.02, 1.0])
    log.add(RecordType.TIMER, "silence", f"ticker.{PUT}.100ms".encode(), connection=0)
    log.add(RecordType.TIMER, "silence", f"book.{PUT}.100ms".encode(), connection=1)
    out = run(log)
    assert tuples(out.rows, "kind", "listing_id", "rx_ns")[1:] == [(Kind.CLEAR, 1, log.at(5))]


def test_silence_of_a_connection_clears_all_it_carried():
    log = listed().book(CALL, 10, None, ["new", 0.05, 3.0]).book(PUT, 7, None, ["new", 0.02, 1.0])
    out = run(log.add(RecordType.TIMER, "silence", b"", connection=0))
    assert tuples(out.rows, "kind", "listing_id")[2:] == [(Kind.CLEAR, 0)]


def test_missing_channels_carry_nothing():
    log = Log().instruments(entry(CALL)).subscription("subscribe", f"book.{CALL}.100ms")
    log.subscription("missing", f"book.{CALL}.100ms")
    out = run(log.add(RecordType.CONNECTION, "close", b"", connection=0))
    assert out.rows["kind"].tolist() == [Kind.CLEAR]  # of "missing"; the close found nothing


def test_a_trade_sent_again_after_a_reconnect_counts_once():
    log = listed().trade(CALL, "1").trade(CALL, "2").trade(CALL, "1").trade(CALL, "3")
    out = run(log)
    assert out.rows["rx_ns"].tolist() == [log.at(3), log.at(4), log.at(6)]
    assert out.counts["duplicate_trades"] == 1


def test_trade_memory_is_bounded_and_forgets_the_oldest():
    log = listed().trade(CALL, "1").trade(CALL, "2").trade(CALL, "3").trade(CALL, "3")
    out = run(log.trade(CALL, "1"), trade_memory=2)
    assert out.rows["rx_ns"].tolist() == [log.at(3), log.at(4), log.at(5), log.at(7)]


def test_each_symbol_is_allocated_once():
    universe = Universe()
    log = Log().instruments(entry(CALL)).instruments(entry(CALL), entry(PUT))
    out = handler(universe).consume(log.records)
    assert universe.symbols == [CALL, "btc_usd", PUT]
    assert out.counts["listed"] == 3


def test_frames_of_a_new_listing_decode_once_discovery_has_it():
    log = Log().trade(PUT, "1").instruments(entry(PUT)).trade(PUT, "2")
    out = run(log)
    assert out.rows["rx_ns"].tolist() == [log.at(2)]
    assert out.counts["skipped.unknown_symbol"] == 1


def test_a_notice_of_an_unknown_instrument_asks_for_discovery():
    out = run(listed().state("BTC-15JAN27-95000-C", "open"))
    assert out.discover == ["BTC-15JAN27-95000-C"]
    assert len(out.rows) == 0


def test_a_delivered_option_is_retired_and_its_late_frames_are_unknown():
    universe = Universe()
    log = listed().trade(CALL, "1").state(CALL, "delivered").trade(CALL, "2").trade(PUT, "3")
    out = handler(universe).consume(log.records)
    assert tuples(out.rows, "kind", "listing_id", "level", "rx_ns") == [
        (Kind.TRADE, 0, 0, log.at(3)),
        (Kind.STATE_CHANGE, 0, ListingState.EXPIRED, log.at(4)),
        (Kind.TRADE, 1, 0, log.at(6)),
    ]
    assert universe.ended == [(0, log.at(4))]
    assert out.counts["skipped.unknown_symbol"] == 1


def test_option_that_is_listed_again_under_its_name_still_hangs_on_its_connection():
    log = listed().book(CALL, 10, None, ["new", 0.05, 3.0]).state(CALL, "delivered")
    log.instruments(entry(CALL), entry(PUT))
    log.add(RecordType.CONNECTION, "close", b"gone", 0)
    out = run(log)
    assert out.resync == [CALL]  # Or it would wait for a snapshot that came before.
    assert tuples(out.rows[-1:], "kind", "listing_id") == [(Kind.CLEAR, 3)]
    assert run(log.instruments(entry(CALL))).resync == [CALL]  # Listed once, asked for once.


def test_halt_and_reopening_are_state_rows():
    out = run(listed().state(CALL, "locked").state(CALL, "open"))
    assert tuples(out.rows, "kind", "level", "flags") == [
        (Kind.STATE_CHANGE, ListingState.HALTED, Flag.LAST),
        (Kind.STATE_CHANGE, ListingState.LIVE, Flag.LAST),
    ]


def test_an_expiry_whose_notice_was_missed_is_found_by_the_next_discovery():
    universe = Universe()
    expires_ms = START_NS // 1_000_000 + 60_000
    log = Log().instruments(entry(CALL, expires_ms))
    log.now_ns = expires_ms * 1_000_000 + EXPIRY_GRACE_NS - 1
    log.instruments(entry(PUT)).instruments(entry(PUT))
    out = handler(universe).consume(log.records)
    assert universe.ended == [(0, log.at(2))]
    assert tuples(out.rows, "kind", "listing_id", "level", "rx_ns") == [
        (Kind.STATE_CHANGE, 0, ListingState.EXPIRED, log.at(2))
    ]


def test_what_has_expired_is_not_listed_again():
    out = run(Log().instruments(entry(CALL, expires_ms=START_NS // 1_000_000)))
    assert out.counts["left_out.expired"] == 1
    assert out.counts["listed"] == 1  # the index


def test_other_underlyings_are_left_out_and_their_notices_ask_for_nothing():
    universe = Universe()
    sol = "SOL-15JAN27-90-C"
    log = Log().instruments(entry(CALL), entry(sol, base="SOL") | {"strike": 90.0})
    out = handler(universe, underlyings=["BTC"]).consume(log.state(sol, "open").records)
    assert universe.symbols == [CALL, "btc_usd"]
    assert out.discover == []


def test_a_bad_body_and_bad_frames_are_counted_and_kept():
    log = listed().add(RecordType.HTTP, "instruments BTC option", b"<html>", -1)
    out = run(log.add(RecordType.FRAME, "", b"\xff").trade(CALL, "1"))
    assert (out.counts["body_errors"], out.counts["frame_errors"]) == (1, 1)
    assert len(out.errors) == 2
    assert out.rows["kind"].tolist() == [Kind.TRADE]


def test_other_bodies_and_records_change_nothing():
    log = Log().add(RecordType.HTTP, "time", b"{}", -1).add(RecordType.TICK, "tick", b"{}", -1)
    log.add(RecordType.CONNECTION, "open", b"").add(RecordType.TIMER, "reconnect", b"")
    out = run(log)
    assert (len(out.rows), len(out.tickers), out.counts) == (0, 0, Counter())


def test_a_subscription_record_without_channels_is_a_broken_journal():
    log = Log().add(RecordType.SUBSCRIPTION, "accepted", b"{}")
    with pytest.raises(JournalError, match="subscription record of deribit"):
        run(log)


def test_no_records_give_empty_arrays():
    out = run(Log())
    assert (out.rows.shape, out.tickers.shape) == ((0,), (0,))


# ---- the recorded stream ----------------------------------------------------------------------


def stream_log() -> Log:
    """Discovery, the recorded request and answer, and every recorded frame."""
    log = Log(1626993723 * 10**9)  # the day of the recording: nothing has expired yet
    folder = "fixtures/deribit"
    body = shared(f"{folder}/rest_get_instruments_BTC.json").read_bytes()
    log.add(RecordType.HTTP, "instruments BTC option", body, -1)
    eth = entry("ETH-30JUL21-2800-C", 1627632000000, "ETH") | {"strike": 2800.0}
    log.instruments(eth)
    lines = shared(f"{folder}/ws_stream_2021-07-22_options_book_ticker_raw.jsonl").read_text()
    for line in lines.splitlines():
        message = line[line.index('"msg":') + len('"msg":') : -1]
        if '"dir":"in"' in line[:120]:
            log.add(RecordType.FRAME, "", message.encode())
        elif message != "null":
            log.subscription("subscribe", *json.loads(message)["params"]["channels"])
    return log


def test_recorded_stream_is_live_throughout():
    universe = Universe()
    options = ChannelOptions(authenticated=True)
    venue = VenueHandler(deribit, options, universe.allocate, universe.retire)
    out = venue.consume(stream_log().records)
    assert (out.counts["snapshots"], out.counts["gaps"], out.counts["rejected"]) == (5, 0, 0)
    assert (out.counts["frame_errors"], out.resync, out.conflicts) == (0, [], [])
    put = universe.symbols.index("BTC-24SEP21-8000-P")
    last = out.rows[out.rows["listing_id"] == put][-1]
    assert (last["kind"], last["side"], last["price"], last["size"]) == (
        Kind.BOOK_DELTA,
        -1,
        0.001,
        0,
    )
    assert last["seq"] == 33195898166
    coming = out.rows[out.rows["listing_id"] == put][-2]
    assert (coming["price"], coming["size"]) == (0.001, f32(2.6))


def test_a_frame_lost_from_the_stream_gaps_its_listing_alone():
    log = stream_log()
    channel = b'"channel":"book.BTC-24SEP21-8000-P.raw"'
    puts = [record for record in log.records if channel in record.payload[:120]]
    log.records.remove(puts[2])
    universe = Universe()
    venue = VenueHandler(
        deribit, ChannelOptions(authenticated=True), universe.allocate, universe.retire
    )
    out = venue.consume(log.records)
    put = universe.symbols.index("BTC-24SEP21-8000-P")
    assert out.resync == ["BTC-24SEP21-8000-P"]
    rows = out.rows[out.rows["listing_id"] == put]
    assert tuples(rows, "kind", "rx_ns")[-2:] == [
        (Kind.BOOK_DELTA, puts[1].rx_ns),
        (Kind.CLEAR, puts[3].rx_ns),
    ]
    deltas = out.rows[out.rows["kind"] == Kind.BOOK_DELTA]
    assert sorted({universe.symbols[i] for i in deltas["listing_id"]}) == [
        "BTC-24SEP21-8000-P",
        "BTC-31DEC21-300000-C",
        "ETH-30JUL21-2800-C",
    ]


# ---- any log, cut anywhere --------------------------------------------------------------------

NAMES = [CALL, PUT, "BTC-15JAN27-95000-C"]


def add_book(log: Log, draw: st.DrawFn, name: str, change: int) -> None:
    if draw(st.integers(0, 5)) == 0:
        log.book(name, change, None, *draw(st.sampled_from([[], [["new", 0.05, 1.0]]])))
    else:
        previous = change - draw(st.sampled_from([1, 1, 1, 2, 0]))
        log.book(name, change, previous, ["new", 0.05, 1.0], asks=[["new", 0.06, 2.0]])


def add_step(log: Log, draw: st.DrawFn, name: str) -> None:
    connection = draw(st.integers(0, 1))
    step = draw(st.sampled_from(["trade", "state", "list", "close", "leave", "join", "timer", "?"]))
    if step == "trade":
        log.trade(name, str(draw(st.integers(1, 4))))
    elif step == "state":
        log.state(name, draw(st.sampled_from(["open", "delivered", "locked", "nonsense"])))
    elif step == "list":
        log.instruments(*(entry(other) for other in NAMES))
    elif step == "close":
        log.add(RecordType.CONNECTION, "close", b"", connection)
    elif step in ("leave", "join"):
        word = "unsubscribe" if step == "leave" else "accepted"
        log.subscription(word, f"book.{name}.100ms", connection=connection)
    elif step == "timer":
        log.add(RecordType.TIMER, "first_data", f"book.{name}.100ms".encode())
    else:
        log.add(RecordType.FRAME, "", draw(st.binary(max_size=5)))


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    log = listed() if draw(st.booleans()) else Log()
    changes = dict.fromkeys(NAMES, 10)
    for _ in range(draw(st.integers(0, 25))):
        name = draw(st.sampled_from(NAMES))
        if draw(st.booleans()):
            changes[name] += 1
            add_book(log, draw, name, changes[name])
        else:
            add_step(log, draw, name)
    return log.records


@given(logs(), st.lists(st.integers(0, 30), max_size=6))
def test_the_cuts_change_nothing(records, cuts):
    whole_universe, cut_universe = Universe(), Universe()
    whole = handler(whole_universe, trade_memory=3).consume(records)
    venue = handler(cut_universe, trade_memory=3)
    edges = [0, *sorted(min(cut, len(records)) for cut in cuts), len(records)]
    parts = [venue.consume(records[a:b]) for a, b in itertools.pairwise(edges)]
    assert whole.rows.tobytes() == b"".join(part.rows.tobytes() for part in parts)
    assert whole.tickers.tobytes() == b"".join(part.tickers.tobytes() for part in parts)
    assert whole.resync == [symbol for part in parts for symbol in part.resync]
    assert whole.discover == [symbol for part in parts for symbol in part.discover]
    assert whole.counts == sum((part.counts for part in parts), Counter())
    assert whole_universe.symbols == cut_universe.symbols
    assert whole_universe.ended == cut_universe.ended


@given(logs())
def test_a_listing_accepts_changes_only_between_a_snapshot_and_the_next_clear(records):
    known: set[int] = set()
    for row in handler().consume(records).rows:
        if row["flags"] & Flag.SNAPSHOT_START:
            known.add(int(row["listing_id"]))
        elif row["kind"] == Kind.CLEAR:
            known.discard(int(row["listing_id"]))
        elif row["kind"] == Kind.BOOK_DELTA:
            assert int(row["listing_id"]) in known
