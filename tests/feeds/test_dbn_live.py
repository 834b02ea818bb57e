"""Databento's live sessions: bytes to rows, however cut; what is lost is invalid afterwards."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.dbn.live import LiveDecoder
from feeds.events import EVENT, Kind
from feeds.tables import Chunk
from tests.feeds.dbn_files import (
    DAY,
    FIVE,
    GLBX,
    MONDAY_NS,
    NONE_I8,
    OPRA,
    SEVEN,
    definition,
    gateway_error,
    gateway_system,
    head,
    mapping,
    open_interest,
    put_340,
    quote,
    record,
    trade,
)  # fmt: skip
from tests.feeds.test_dbn import numbered
from tests.feeds.test_dbn_rows import opra

T = MONDAY_NS + 50_000 * 10**9
CENT = 10_000_000
HEAD = head(OPRA, "mixed")
CMBP, CBBO = 177, 192
LOST = gateway_error(7, "skipped")


def fresh(dataset=OPRA, now_ns=T):
    allocate, listed = numbered()
    decoder = LiveDecoder(dataset, allocate)
    decoder.begin(now_ns)
    return decoder, listed


def rows_of(chunks):
    return np.concatenate([np.empty(0, EVENT), *(chunk.rows for chunk in chunks)])


def shown(chunks):
    """(listing, kind, side, price) of every row."""
    rows = rows_of(chunks)
    names = ("listing_id", "kind", "side", "price")
    return [tuple(row[name].item() for name in names) for row in rows]


def test_a_session_gives_the_rows_of_a_file_with_the_same_records(tmp_path):
    records = (
        quote(CMBP, T, 100 * CENT, 102 * CENT),
        quote(CMBP, T + 5, 100 * CENT, 103 * CENT, action="T", side="A", price=CENT, size=3),
    )
    from_file = opra(tmp_path, "cmbp-1", *records)[0]
    decoder, listed = fresh()
    live = rows_of(decoder.feed(b"".join([HEAD, put_340(), *records])))
    assert live.tobytes() == from_file.tobytes()
    assert [(one.venue, one.symbol) for one in listed] == [("opra", FIVE)]
    assert decoder.last_ns == T + 5


def test_a_mapping_explains_an_id_of_opra_without_a_definition():
    decoder, listed = fresh()
    chunks = decoder.feed(HEAD + mapping(5, FIVE) + quote(CBBO, T, 3 * CENT, 4 * CENT))
    assert shown(chunks) == [(0, Kind.QUOTE, 1, 0.03), (0, Kind.QUOTE, -1, 0.04)]
    assert [one.symbol for one in listed] == [FIVE]


def test_listings_come_while_the_session_runs():
    decoder, listed = fresh()
    decoder.feed(HEAD + mapping(5, FIVE) + quote(CBBO, T, CENT, 2 * CENT))
    chunks = decoder.feed(mapping(7, SEVEN) + quote(CBBO, T + 1, CENT, 2 * CENT, instrument=7))
    assert {row[0] for row in shown(chunks)} == {1}
    assert [one.symbol for one in listed] == [FIVE, SEVEN]
    chunks = decoder.feed(quote(CBBO, T + 2, CENT, 2 * CENT))
    assert {row[0] for row in shown(chunks)} == {0}


def test_the_last_mapping_of_an_id_holds():
    decoder, _ = fresh()
    # The message between them makes two runs of them.
    decoder.feed(HEAD + mapping(5, FIVE) + gateway_system(0) + mapping(5, SEVEN))
    assert {row[0] for row in shown(decoder.feed(quote(CBBO, T, CENT, 2 * CENT)))} == {1}


def test_a_mapping_of_opra_explains_nothing_on_the_next_day():
    decoder, _ = fresh()
    decoder.feed(HEAD + mapping(5, FIVE))
    assert decoder.feed(quote(CBBO, T + DAY, CENT, 2 * CENT)) == []
    assert decoder.counts["without_definition"] == 1
    assert decoder.outlived


def test_a_session_of_cme_lives_on_at_midnight_and_mappings_alone_define_nothing():
    decoder, listed = fresh(GLBX)
    chunks = decoder.feed(
        head(GLBX, "mixed") + mapping(5, "ESZ3") + quote(1, T, CENT, 2 * CENT, publisher=1)
    )
    assert (chunks, decoder.counts["without_definition"]) == ([], 1)
    chunks = decoder.feed(
        future("ESZ3", 5, T - 5 * DAY) + quote(1, T + DAY, CENT, 2 * CENT, publisher=1)
    )
    assert {row[0] for row in shown(chunks)} == {0}
    assert [(one.venue, one.symbol) for one in listed] == [("glbx", "ESZ3")]
    assert not decoder.outlived


def future(symbol, instrument, ns, expiration=T + 60 * DAY):
    return definition(
        ns, symbol, instrument=instrument, kind="F", tick=CENT, qty=10**9, expiration=expiration
    )


def test_a_mapping_of_cme_told_later_goes_before_a_definition_of_the_day():
    decoder, _ = fresh(GLBX)
    both = future("ESZ3", 5, T + DAY) + future("ESH4", 6, T + DAY, T + 90 * DAY)
    first = quote(1, T + DAY, CENT, 2 * CENT, publisher=1)
    chunks = decoder.feed(head(GLBX, "mixed") + both + first + mapping(5, "ESH4") + first)
    assert [row[0] for row in shown(chunks)] == [0, 0, 1, 1]


def test_a_session_outlasts_the_range_that_its_head_names():
    decoder, _ = fresh()
    opening = head(OPRA, "mixed", start_ns=T - 9 * DAY, end_ns=T - 5 * DAY)
    assert len(rows_of(decoder.feed(opening + mapping(5, FIVE) + quote(CBBO, T, CENT, CENT)))) == 2


def test_skipped_records_make_every_quoted_listing_invalid_and_no_other():
    decoder, _ = fresh()
    decoder.feed(HEAD + mapping(5, FIVE) + mapping(7, SEVEN) + quote(CBBO, T, CENT, 2 * CENT))
    chunks = decoder.feed(LOST + quote(CBBO, T + 1, CENT, 3 * CENT))
    rows = rows_of(chunks)
    assert [(row[0], row[1]) for row in shown(chunks)] == [
        (0, Kind.CLEAR), (0, Kind.QUOTE), (0, Kind.QUOTE),
    ]  # fmt: skip
    assert rows["rx_ns"].tolist() == [T, T + 1, T + 1]
    assert rows["seq"].tolist() == [2, 3, 3]
    assert (decoder.counts["error_skipped_records"], decoder.counts["invalidated"]) == (1, 1)
    assert list(decoder.messages) == ["skipped"]


def test_what_is_invalid_already_is_not_cleared_twice():
    decoder, _ = fresh()
    decoder.feed(HEAD + mapping(5, FIVE) + quote(CBBO, T, CENT, 2 * CENT))
    assert [len(decoder.lose().rows) for _ in range(2)] == [1, 0]


def test_listings_of_single_publishers_are_lost_too():
    decoder, listed = fresh()
    decoder.feed(HEAD + mapping(5, FIVE) + quote(1, T, CENT, 2 * CENT, publisher=22))
    assert [one.venue for one in listed] == ["opra", "xcbo"]
    assert decoder.lose().rows["listing_id"].tolist() == [1]


def test_an_expired_listing_is_not_cleared_since_its_number_may_be_another_s():
    decoder, _ = fresh()
    expired = FIVE.replace("240119", "230807")  # At 20:00 UTC of the first day.
    later_ns = MONDAY_NS + 73_000 * 10**9
    decoder.feed(
        HEAD + mapping(5, expired) + mapping(7, SEVEN)
        + quote(CBBO, T, CENT, 2 * CENT) + quote(CBBO, later_ns, CENT, 2 * CENT, instrument=7)
    )  # fmt: skip
    assert decoder.lose().rows["listing_id"].tolist() == [1]


def test_prints_and_open_interest_are_not_quotes_to_lose():
    decoder, _ = fresh()
    chunks = decoder.feed(HEAD + put_340() + trade(T, CENT, 5, "B") + open_interest(T + 1, 9))
    assert [chunk.tickers["open_interest"].tolist() for chunk in chunks] == [[], [9.0]]
    assert len(decoder.lose().rows) == 0


def test_the_gateway_s_messages_are_counted_by_name():
    decoder, _ = fresh()
    decoder.feed(HEAD + b"".join(gateway_system(code) for code in (0, 0, 1, 2, 3, 77)))
    decoder.feed(gateway_error(3, "limit") + gateway_error(4, "SPZ.OPT") + gateway_error(99))
    found = {name: n for name, n in decoder.counts.items() if name[:6] in ("system", "error_")}
    assert found == {
        "system_heartbeat": 2, "system_subscription_ack": 1, "system_slow_reader_warning": 1,
        "system_replay_completed": 1, "system_other": 1, "error_connection_limit": 1,
        "error_symbol_resolution": 1, "error_other": 1,
    }  # fmt: skip
    assert not decoder.done


@pytest.mark.parametrize("code", [1, 2, 5])
def test_an_error_that_would_come_again_is_hopeless(code):
    decoder, _ = fresh()
    decoder.feed(HEAD + gateway_error(code, "no"))
    assert decoder.hopeless == "no"
    assert decoder.done


def test_the_next_session_goes_on_in_time_and_number():
    decoder, _ = fresh()
    decoder.feed(HEAD + mapping(5, FIVE) + quote(CBBO, T, CENT, 2 * CENT) + b"\x14")
    decoder.begin(T)
    assert not decoder.begun
    rows = rows_of(decoder.feed(HEAD + mapping(5, FIVE) + quote(CBBO, T - 9, CENT, 2 * CENT)))
    assert rows["rx_ns"].tolist() == [T, T]
    assert rows["seq"].tolist() == [2, 2]
    assert decoder.counts["time_set_forward"] == 1


def test_ids_of_another_day_mean_another_thing_after_a_new_session():
    decoder, listed = fresh()
    decoder.feed(HEAD + mapping(5, FIVE) + quote(CBBO, T, CENT, 2 * CENT))
    decoder.begin(T + DAY)
    chunks = decoder.feed(HEAD + mapping(5, SEVEN) + quote(CBBO, T + DAY, CENT, 2 * CENT))
    assert {row[0] for row in shown(chunks)} == {1}
    assert [one.symbol for one in listed] == [FIVE, SEVEN]


def test_what_was_told_twice_or_is_over_is_kept_once_or_not_at_all():
    decoder, _ = fresh()
    for day in range(5):
        decoder.begin(T + day * DAY)
        decoder.feed(HEAD + 3 * mapping(5, FIVE))
    decoder.begin(T + 5 * DAY)
    assert len(decoder._instruments._entries) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HTTP/1.1", "not a DBN file"),
        (head(OPRA, "mixed", version=2), "version 2"),
        (head(GLBX, "mixed"), "dataset was 'GLBX.MDP3'"),
        (b"DBN\x03\xff\xff\xff\xff", "bytes, expected"),
        (HEAD + b"\x01\x00", "a record of 4 bytes"),
    ],
)
def test_bytes_that_cannot_be_read_on_are_a_fault_that_says_why(data, words):
    decoder, _ = fresh()
    assert decoder.feed(data) == []
    assert words in decoder.fault
    assert decoder.done
    assert decoder.counts["damaged_sessions"] == 1
    assert decoder.feed(HEAD) == []
    decoder.begin(T)
    assert decoder.fault is None


def test_records_before_damage_are_given():
    decoder, _ = fresh()
    chunks = decoder.feed(HEAD + mapping(5, FIVE) + quote(CBBO, T, CENT, 2 * CENT) + b"\x02")
    assert len(rows_of(chunks)) == 2
    assert decoder.fault is not None


def test_messages_of_another_length_are_counted_and_change_nothing():
    decoder, _ = fresh()
    decoder.feed(HEAD + b"".join(record(rtype, 0, 5, T, bytes(24)) for rtype in (19, 21, 22, 23)))
    assert (decoder.counts["malformed"], decoder.done) == (4, False)


def test_left_out_names_are_counted_once():
    decoder, _ = fresh()
    decoder.feed(HEAD + mapping(5, "no option"))
    decoder.feed(mapping(6, FIVE))
    assert decoder.counts["left_out_symbol"] == 1


SESSION = b"".join(
    [HEAD, put_340(), mapping(7, SEVEN), gateway_system(1), quote(CMBP, T, CENT, NONE_I8),
     quote(CMBP, T + 1, CENT, 2 * CENT, instrument=7), trade(T + 2, CENT, 1, "A"), LOST,
     open_interest(T + 3, 5), quote(CMBP, T + 4, CENT, 2 * CENT)]
)  # fmt: skip


def joined(chunks: list[Chunk]) -> tuple[bytes, bytes]:
    parts = zip(*((c.rows.tobytes(), c.tickers.tobytes()) for c in chunks), strict=True)
    rows, tickers = (b"".join(part) for part in parts)
    return rows, tickers


@given(st.lists(st.integers(0, len(SESSION)), max_size=20))
def test_where_the_bytes_are_cut_changes_nothing(cuts):
    whole, _ = fresh()
    cut, _ = fresh()
    edges = [0, *sorted(cuts), len(SESSION)]
    pieces = [SESSION[a:b] for a, b in itertools.pairwise(edges)]
    found = [chunk for piece in pieces for chunk in cut.feed(piece)]
    assert joined(found) == joined(whole.feed(SESSION))
    assert cut.counts == whole.counts


@given(st.binary(max_size=400), st.integers(0, len(SESSION)))
def test_any_bytes_give_rows_or_counts_and_never_raise(garbage, at):
    decoder, _ = fresh()
    decoder.feed(SESSION[:at] + garbage + SESSION[at:])
    decoder.lose()
