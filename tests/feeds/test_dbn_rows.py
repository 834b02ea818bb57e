"""DBN records to rows: values by hand, undefined ones, order, damage, and where blocks are cut."""

import contextlib
import math
import shutil
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.dbn import DbnSource
from feeds.errors import DbnError
from feeds.events import EVENT, TICKER, Flag, Kind
from tests.conftest import shared
from tests.feeds.dbn_files import (
    DAY,
    FIVE,
    GLBX,
    MONDAY_NS,
    NONE_I8,
    NONE_U4,
    NONE_U8,
    OPRA,
    definition,
    head,
    open_interest,
    put_340,
    quote,
    record,
    trade,
    write,
)  # fmt: skip
from tests.feeds.test_dbn import ES_NAMES, FOLDER, numbered

T = MONDAY_NS + 50_000 * 10**9  # 13:53:20 UTC, in the session
CENT = 10_000_000
QUOTE, TRADE, CLEAR = int(Kind.QUOTE), int(Kind.TRADE), int(Kind.CLEAR)
LAST = int(Flag.LAST)


def read(path, block_bytes=1 << 20):
    """All rows and tickers, the source, and the listings it asked ids for."""
    source = DbnSource(path, block_bytes)
    allocate, listed = numbered()
    chunks = list(source.chunks(allocate))
    rows = np.concatenate([np.empty(0, EVENT), *(chunk.rows for chunk in chunks)])
    tickers = np.concatenate([np.empty(0, TICKER), *(chunk.tickers for chunk in chunks)])
    return rows, tickers, source, listed


def opra(folder, schema, *records, version=3):
    """Rows of records of the recorded SPY put, whose id is 5."""
    write(folder, "definition.dbn", head(OPRA, "definition"), put_340())
    write(folder, "data.dbn", head(OPRA, schema, version), *records)
    return read(folder)


def shown(rows):
    """(rx, ex, seq, price, size, kind, side, flags) with None for NaN."""
    names = ("rx_ns", "ex_ns", "seq", "price", "size", "kind", "side", "flags")
    return [
        tuple(None if math.isnan(value) else value for value in map(row.__getitem__, names))
        for row in rows
    ]


def test_a_quote_is_a_bid_row_and_an_ask_row_closing_one_update(tmp_path):
    rows, _, source, listed = opra(
        tmp_path, "cmbp-1",
        quote(177, T, 123 * CENT, 130 * CENT, sizes=(11, 12)),
        quote(177, T + 5, 124 * CENT, 130 * CENT, sizes=(7, 12)),
    )  # fmt: skip
    assert shown(rows) == [
        (T, T - 7, 1, 1.23, 11, QUOTE, 1, 0), (T, T - 7, 1, 1.3, 12, QUOTE, -1, LAST),
        (T + 5, T - 2, 2, 1.24, 7, QUOTE, 1, 0), (T + 5, T - 2, 2, 1.3, 12, QUOTE, -1, LAST),
    ]  # fmt: skip
    assert [listed[i].symbol for i in set(rows["listing_id"].tolist())] == [FIVE]
    assert source.counts == {"definitions": 1, "records": 2}


@pytest.mark.parametrize(("rtype", "schema"), [(177, "cmbp-1"), (194, "tcbbo")])
def test_a_print_follows_the_quote_it_comes_with(tmp_path, rtype, schema):
    rows, *_ = opra(
        tmp_path, schema,
        quote(rtype, T, 123 * CENT, 130 * CENT, action="T", side="B", price=130 * CENT, size=3,
              publisher=22),
        quote(rtype, T + 1, 1 * CENT, 2 * CENT, action="T", side="A", price=CENT, size=1),
        quote(rtype, T + 2, 1 * CENT, 2 * CENT, action="T", side="N", price=CENT, size=1),
    )  # fmt: skip
    # The time is the print's; when the quote changed nothing says.
    assert shown(rows[:3]) == [
        (T, 0, 1, 1.23, 10, QUOTE, 1, 0), (T, 0, 1, 1.3, 20, QUOTE, -1, LAST),
        (T, T - 7, 2, 1.3, 3, TRADE, 1, LAST),
    ]  # fmt: skip
    assert rows["side"][rows["kind"] == TRADE].tolist() == [1, -1, 0]
    assert rows["seq"].tolist() == [1, 1, 2, 3, 3, 4, 5, 5, 6]
    assert len(set(rows["listing_id"].tolist())) == 1


def test_quotes_on_intervals_have_no_venue_time_and_no_print(tmp_path):
    rows, *_ = opra(
        tmp_path, "cbbo-1s",
        quote(192, T, CENT, 2 * CENT, action="T", price=CENT, size=4, event_ns=NONE_U8),
        quote(193, T + 1, CENT, 2 * CENT, action="T", price=CENT, size=4, event_ns=T - 10**12),
    )  # fmt: skip
    assert rows["kind"].tolist() == [QUOTE] * 4
    assert rows["ex_ns"].tolist() == [0] * 4


def test_undefined_and_worthless_values_are_missing_and_never_zero(tmp_path):
    sides = [
        (NONE_I8, CENT, 0, 5), (CENT, NONE_I8, 5, NONE_U4), (0, CENT, 0, NONE_U4), (-1, CENT, 3, 4),
    ]  # fmt: skip
    rows, _, source, _ = opra(
        tmp_path, "cmbp-1", *(quote(177, T + k, b, a, sizes=(m, n)) for k, (b, a, m, n) in
                              enumerate(sides)),
    )  # fmt: skip
    assert [row[3:5] for row in shown(rows)] == [
        (None, 0), (0.01, 5), (0.01, 5), (None, 0), (None, 0), (0.01, None), (None, 0), (0.01, 4),
    ]  # fmt: skip
    assert source.counts["zero_or_negative_price"] == 2


def test_prices_are_the_floats_nearest_to_their_decimals(tmp_path):
    prices = [10_000_000, 30_000_000, 1_150_000_000, 999_999_990_000_000, 12_345_678_901]
    rows, *_ = opra(tmp_path, "cmbp-1", *(quote(177, T + k, p, p) for k, p in enumerate(prices)))
    assert rows["price"][::2].tolist() == [0.01, 0.03, 1.15, 999_999.99, 12.345678901]


def test_prints_of_a_trades_file_and_those_that_are_none(tmp_path):
    rows, _, source, _ = opra(
        tmp_path, "trades", trade(T, 130 * CENT, 3, "B"), trade(T + 1, 125 * CENT, 9, "A"),
        trade(T + 2, NONE_I8, 1, "N"), trade(T + 3, CENT, 0, "N"), trade(T + 4, CENT, NONE_U4, "N"),
        trade(T + 5, 0, 1, "N"), trade(T + 6, CENT, 1, "N", action="C"),
    )  # fmt: skip
    assert shown(rows) == [
        (T, T - 7, 1, 1.3, 3, TRADE, 1, LAST), (T + 1, T - 6, 2, 1.25, 9, TRADE, -1, LAST),
    ]  # fmt: skip
    assert source.counts["bad_print"] == 4
    assert source.counts["other_action"] == 1


def test_a_quote_the_capture_cannot_vouch_for_is_a_gap(tmp_path):
    rows, _, source, _ = opra(
        tmp_path, "cmbp-1", quote(177, T, CENT, 2 * CENT),
        quote(177, T + 1, CENT, 2 * CENT, flags=132),
        quote(177, T + 2, CENT, 2 * CENT, flags=4, action="T", side="B", price=CENT, size=1),
        quote(177, T + 3, CENT, 2 * CENT),
    )  # fmt: skip
    assert [(row[0] - T, row[2], row[3], row[5], row[7]) for row in shown(rows)] == [
        (0, 1, 0.01, QUOTE, 0), (0, 1, 0.02, QUOTE, LAST), (1, 2, None, CLEAR, LAST),
        (2, 3, None, CLEAR, LAST), (2, 4, 0.01, TRADE, LAST),
        (3, 5, 0.01, QUOTE, 0), (3, 5, 0.02, QUOTE, LAST),
    ]  # fmt: skip
    assert source.counts["maybe_bad_book"] == 2


@pytest.mark.parametrize("version", [1, 2, 3])
def test_open_interest_is_a_ticker_and_other_statistics_are_counted(tmp_path, version):
    undefined = NONE_I8 if version == 3 else 2**31 - 1
    told = partial(open_interest, version=version)
    rows, tickers, source, _ = opra(
        tmp_path, "statistics",
        told(T, 4_321, ref_ns=T - DAY), told(T + 1, 0), told(T + 2, undefined),
        told(T + 3, 1, stat_type=11), told(T + 4, 8, action=2), version=version,
    )  # fmt: skip
    assert len(rows) == 0
    assert tickers["open_interest"].tolist() == [4321, 0]
    assert tickers["oi_ns"].tolist() == [T - DAY, T + 1]
    assert tickers["rx_ns"].tolist() == [T, T + 1]
    assert tickers["seq"].tolist() == [1, 2]
    nothing = [n for n in TICKER.names if TICKER[n].kind == "f" and n != "open_interest"]
    assert all(np.isnan(tickers[name]).all() for name in nothing)
    assert source.counts["bad_open_interest"] == 2
    assert source.counts["other_statistics"] == 1


def test_quotes_of_one_publisher_belong_to_its_own_listing(tmp_path):
    rows, _, source, listed = opra(
        tmp_path, "mbp-1", *(
            quote(1, T + k, (k + 1) * CENT, 9 * CENT, publisher=p)
            for k, p in enumerate((22, 30, 29, 22, 1))
        ),
    )  # fmt: skip
    names = [(listed[row["listing_id"]].venue, row["price"].item()) for row in rows[::2]]
    assert names == [("xcbo", 0.01), ("opra", 0.02), ("arco", 0.03), ("xcbo", 0.04)]
    assert len({str(one.contract) for one in listed}) == 1
    assert source.counts["unknown_publisher"] == 1


def test_records_at_and_after_the_expiry_are_left_out_and_counted(tmp_path):
    symbol, expiry = "SPY   230807C00450000", MONDAY_NS + 20 * 3600 * 10**9  # 16:00 New York
    known = [(symbol, [(20230807, 20230808, 5)])]
    quotes = (quote(177, t, CENT, CENT) for t in (expiry - 1, expiry, expiry + 1))
    path = write(tmp_path, "q.dbn", head(OPRA, "cmbp-1", 3, known), *quotes)
    rows, _, source, _ = read(path)
    assert rows["rx_ns"].tolist() == [expiry - 1] * 2
    assert source.counts["after_expiry"] == 2


def test_what_cannot_be_placed_is_counted_by_reason(tmp_path):
    write(tmp_path, "d.dbn", head(OPRA, "definition"), put_340())
    write(
        tmp_path, "q.dbn", head(OPRA, "cmbp-1", start_ns=MONDAY_NS, end_ns=MONDAY_NS + DAY),
        quote(177, T, CENT, CENT), quote(177, T - 3, CENT, CENT), quote(177, NONE_U8, CENT, CENT),
        quote(177, 0, CENT, CENT, event_ns=0), quote(177, T + 3 * DAY, CENT, CENT),
        quote(177, T + 1, CENT, CENT, instrument=6), record(177, 30, 5, T, bytes(16)),
        record(18, 30, 5, T, bytes(24)), quote(177, T + 2, CENT, CENT)[:-8] + bytes(8),
    )  # fmt: skip
    rows, _, source, _ = read(tmp_path)
    assert rows["rx_ns"][::2].tolist() == [T, T, T + 2]
    assert source.counts == {
        "definitions": 1, "records": 9, "time_set_forward": 1, "time_outside_file": 3,
        "without_definition": 1, "malformed": 1, "skipped_rtype_18": 1,
    }  # fmt: skip


@pytest.mark.parametrize("block_bytes", [80, 1 << 20])
def test_time_never_goes_back_within_a_file(tmp_path, block_bytes):
    write(tmp_path, "d.dbn", head(OPRA, "definition"), put_340())
    stamps = (T, T - 3, T - 2, T + 1, T)
    records = (quote(177, t, k * CENT, 9 * CENT) for k, t in enumerate(stamps, 1))
    write(tmp_path, "q.dbn", head(OPRA, "cmbp-1"), *records)
    rows, _, source, _ = read(tmp_path, block_bytes)
    assert rows["rx_ns"][::2].tolist() == [T, T, T, T + 1, T + 1]
    assert rows["price"][::2].tolist() == [0.01, 0.02, 0.03, 0.04, 0.05]
    assert source.counts["time_set_forward"] == 3


def test_kinds_of_one_length_are_told_apart(tmp_path):
    told = {"action": "T", "side": "B", "price": CENT, "size": 1}
    records = [quote(r, T, CENT, 2 * CENT, **told) for r in (177, 192, 177, 192)]
    rows, *_ = opra(tmp_path, "mixed", *records)
    assert rows["kind"].tolist() == [QUOTE, QUOTE, TRADE, QUOTE, QUOTE] * 2


def test_a_gateway_s_send_time_behind_a_record_is_passed_over(tmp_path):
    stamped = bytearray(quote(177, T, CENT, 2 * CENT) + bytes(8))
    stamped[0] = 22
    rows, *_ = opra(tmp_path, "cmbp-1", bytes(stamped), bytes(stamped))
    assert rows["price"].tolist() == [0.01, 0.02] * 2


def test_a_future_may_be_quoted_below_zero(tmp_path):
    one = definition(
        MONDAY_NS, "CLZ3", publisher=1, kind="F", qty=1000 * 10**9, tick=CENT,
        expiration=MONDAY_NS + 9 * DAY,
    )  # fmt: skip
    write(tmp_path, "d.dbn", head(GLBX, "definition"), one)
    write(tmp_path, "q.dbn", head(GLBX, "mbp-1"), quote(1, T, -37 * 10**9, 0, publisher=1))
    assert read(tmp_path)[0]["price"].tolist() == [-37.0, 0.0]


# ---- streams -----------------------------------------------------------------------------------


def test_recorded_es_quotes_have_the_recorded_prices(tmp_path):
    for name in ES_NAMES:
        shutil.copy(shared(f"{FOLDER}/{name}"), tmp_path)
    rows, _, source, listed = read(tmp_path)
    put = [i for i, one in enumerate(listed) if one.symbol == "ESM4 P5250"]
    mine = rows[np.isin(rows["listing_id"], put)]
    minute = 60 * 10**9
    assert mine["rx_ns"][::2].tolist() == [1_715_248_500 * 10**9 + k * minute for k in range(10)]
    assert mine["price"][::2].tolist() == [
        108.25, 108.5, 108.5, 108.5, 108.0, 108.0, 108.0, 107.75, 107.5, 107.5,
    ]  # fmt: skip
    assert mine["price"][1::2].tolist() == [
        108.75, 109.0, 109.0, 109.0, 108.5, 108.5, 108.5, 108.25, 108.0, 108.0,
    ]  # fmt: skip
    assert mine["size"][:4].tolist() == [101, 49, 37, 62]
    assert source.counts == {"definitions": 2, "records": 20}


def mixture(folder):
    """Three files over the same half minute, with equal times within and between them."""
    rng = np.random.default_rng(3)
    stamps = np.sort(rng.integers(0, 40, (3, 60)), axis=1) * 10**9 + T
    write(folder, "d.dbn.zst", head(OPRA, "definition"), put_340())
    kinds = {
        "b.dbn": ("cbbo-1s", lambda t, k: quote(192, t, k * CENT, (k + 1) * CENT)),
        "a.dbn.zst": ("trades", lambda t, k: trade(t, k * CENT, k, "AB"[k % 2])),
        "c.dbn": ("statistics", open_interest),
    }
    for (name, (schema, make)), times in zip(kinds.items(), stamps.tolist(), strict=True):
        records = [make(t, k) for k, t in enumerate(times, 1)]
        write(folder, name, head(OPRA, schema), *records)


@pytest.mark.parametrize("block_bytes", [1, 79, 80, 7 * 80, 4096 * 80])
def test_where_blocks_are_cut_changes_no_row(tmp_path, block_bytes):
    mixture(tmp_path)
    rows, tickers, source, _ = read(tmp_path, block_bytes)
    wanted, wanted_tickers, whole, _ = read(tmp_path)
    assert rows.tobytes() == wanted.tobytes()
    assert tickers.tobytes() == wanted_tickers.tobytes()
    assert source.counts == whole.counts
    assert len(rows) == 180


def test_files_are_merged_by_time_quotes_before_prints(tmp_path):
    mixture(tmp_path)
    rows, tickers, *_ = read(tmp_path)
    updates = rows[(rows["flags"] & LAST) != 0]
    keys = list(zip(updates["rx_ns"], updates["kind"] == TRADE, strict=True))
    assert keys == sorted(keys)
    assert updates["seq"].tolist() == list(range(1, 121))
    for kind in (QUOTE, TRADE):  # Each file's own order is kept.
        size = updates["price"][updates["kind"] == kind]
        assert (np.diff(size) > 0).all()
    assert tickers["open_interest"].tolist() == list(range(1, 61))


def test_a_file_of_mixed_kinds_defines_and_quotes(tmp_path):
    parts = []
    for k in range(200):
        parts += [quote(177, T + k, CENT, 2 * CENT), trade(T + k, CENT, 1, "B")][: 1 + k % 2]
    path = write(tmp_path, "x.dbn", head(OPRA, "mixed"), put_340(), *parts)
    rows, _, source, _ = read(path)
    assert (rows["kind"] == QUOTE).sum() == 400
    assert (rows["kind"] == TRADE).sum() == 100
    assert source.counts["records"] == 301


def test_zstd_frames_that_follow_each_other_are_one_file(tmp_path):
    write(tmp_path, "d.dbn", head(OPRA, "definition"), put_340())
    first = write(tmp_path, "1.dbn.zst", head(OPRA, "cmbp-1"), quote(177, T, CENT, 2 * CENT))
    second = write(tmp_path, "2.dbn.zst", quote(177, T + 1, CENT, 3 * CENT))
    content = first.read_bytes() + second.read_bytes()
    second.unlink()
    first.write_bytes(content)
    assert read(tmp_path)[0]["price"].tolist() == [0.01, 0.02, 0.01, 0.03]


@pytest.mark.parametrize("cut", [1, 79, 80, 81, 5 * 80 - 1])
def test_a_truncated_file_gives_its_whole_records_and_says_so(tmp_path, cut):
    write(tmp_path, "d.dbn", head(OPRA, "definition"), put_340())
    content = b"".join(quote(177, T + k, CENT, 2 * CENT) for k in range(9))[:-cut]
    write(tmp_path, "q.dbn", head(OPRA, "cmbp-1"), content)
    rows, _, source, _ = read(tmp_path)
    assert len(rows) == 2 * (len(content) // 80)
    assert source.counts["lost_bytes"] == len(content) % 80
    assert source.counts["damaged_files"] == (len(content) % 80 > 0)
    assert [
        fault for fault in source.faults if "q.dbn: the end of the file" in fault
    ] == source.faults


def test_a_length_of_nothing_ends_a_file_where_it_stands(tmp_path):
    records = [quote(177, T + k, CENT, 2 * CENT) for k in range(3)]
    rows, _, source, _ = opra(tmp_path, "cmbp-1", *records[:2], bytes(80), records[2])
    assert len(rows) == 4
    assert source.counts["lost_bytes"] == 160
    # Prefix 8, metadata 120, two records of 80.
    assert source.faults[0].endswith(
        "a record of 0 bytes at byte 288 of the records' stream, expected a record"
    )
    # All of them, however little is read at once.
    assert read(tmp_path, 90)[2].counts == source.counts


def test_a_truncated_zstd_file_gives_all_that_can_be_decompressed(tmp_path):
    write(tmp_path, "d.dbn", head(OPRA, "definition"), put_340())
    rng = np.random.default_rng(1)
    count = 40_000  # 3 MB: many blocks of zstd, and prices that do not compress away.
    prices = rng.integers(1, 10**6, count).tolist()
    path = write(
        tmp_path, "q.dbn.zst", head(OPRA, "cmbp-1"),
        *(quote(177, T + k, p * CENT, p * CENT) for k, p in enumerate(prices)),
    )  # fmt: skip
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    rows, _, source, _ = read(tmp_path)
    found = len(rows) // 2
    # A block of zstd holds 128 KiB; not more than one of them may be missing.
    assert count * 2 // 3 - 4 * (1 << 17) // 80 < found < count
    assert rows["price"][::2].tolist() == [p / 100 for p in prices[:found]]
    assert source.counts["damaged_files"] == 1
    assert "damaged behind byte" in source.faults[0]
    # Blocks that are read at once must not decide how much is lost.
    assert len(read(tmp_path, 4096)[0]) == len(rows)


RECORDS = st.builds(
    lambda length, rtype, rest: bytes([length, rtype]) + rest.ljust(length * 4, b"\1")[2:],
    st.integers(4, 30), st.sampled_from([0, 1, 18, 19, 24, 177, 192]), st.binary(max_size=99),
)  # fmt: skip


@given(
    st.builds(bytes.__add__, st.lists(RECORDS).map(b"".join), st.binary(max_size=99)),
    st.sampled_from(["cmbp-1", "mixed", "definition"]),
)
def test_any_bytes_behind_a_head_give_rows_or_a_clear_error(tmp_path_factory, content, schema):
    folder = tmp_path_factory.mktemp("dbn")
    write(folder, "d.dbn", head(OPRA, "definition"), put_340())
    write(folder, "q.dbn", head(OPRA, schema), content)
    rows, tickers, source, _ = read(folder)
    at = whole = 0
    while at < len(content) and content[at] >= 4 and at + 4 * content[at] <= len(content):
        at, whole = at + 4 * content[at], whole + 1
    counts = source.counts
    found = counts["records"]
    if schema == "definition":
        names = [name for name in counts if name.startswith("skipped")]
        found = counts["definitions"] - 1 + counts["malformed"] + sum(counts[n] for n in names)
    assert (found, counts["lost_bytes"]) == (whole, len(content) - at)
    assert counts["damaged_files"] == (at < len(content))
    assert (np.diff(rows["rx_ns"]) >= 0).all()
    assert np.isfinite(tickers["open_interest"]).all()


@given(st.data())
def test_a_damaged_file_of_every_kind_gives_rows_or_counts(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("dbn")
    good = b"".join([
        put_340(), quote(177, T, CENT, 2 * CENT), trade(T, CENT, 1, "B"), open_interest(T, 5),
        quote(1, T, CENT, 2 * CENT, action="T", price=CENT, size=1), definition(T, "X", kind="F"),
    ])  # fmt: skip
    content = bytearray(head(OPRA, "mixed") + good)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    write(folder, "q.dbn", bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(DbnError):  # A damaged head may name another version or dataset.
        rows, *_ = read(folder)
        assert (np.diff(rows["rx_ns"]) >= 0).all()
        assert not np.isinf(rows["price"]).any()


@given(st.binary(max_size=200), st.sampled_from(["x.dbn", "x.dbn.zst"]))
def test_any_file_is_read_or_refused_by_name(tmp_path_factory, content, name):
    path = tmp_path_factory.mktemp("dbn") / name
    path.write_bytes(content)
    with pytest.raises(DbnError, match=r"x\.dbn"):
        DbnSource(path)


def test_missing_stays_nan_in_float32_sizes(tmp_path):
    rows, *_ = opra(tmp_path, "cmbp-1", quote(177, T, CENT, CENT, sizes=(NONE_U4, 1)))
    assert math.isnan(rows["size"][0])


def test_a_definition_goes_before_a_mapping_of_the_same_id_and_day(tmp_path):
    other = "SPY   240119P00370000"
    write(tmp_path, "definition.dbn", head(OPRA, "definition"), put_340())
    mappings = [(other, [(20230807, 20230808, 5)])]
    write(tmp_path, "data.dbn", head(OPRA, "cmbp-1", 3, mappings), quote(177, T, CENT, 2 * CENT))
    rows, _, _, listed = read(tmp_path)
    assert {listed[i].symbol for i in rows["listing_id"].tolist()} == {FIVE}
