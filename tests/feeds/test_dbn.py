"""DBN: identities out of definitions and symbol mappings, against recorded files and literals."""

import csv
import json
import math
import re
import shutil
import struct
from collections import defaultdict
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from feeds.contract import ListingKind
from feeds.dbn import DbnSource
from feeds.dbn.definitions import Instruments, cme_listing
from feeds.dbn.layout import CONSOLIDATED, PUBLISHERS, QUOTE
from feeds.dbn.metadata import read_mappings
from feeds.dbn.stream import DbnFile
from feeds.errors import DbnError
from tests.conftest import shared
from tests.feeds.dbn_files import (
    DAY,
    FIVE,
    GLBX,
    MONDAY_NS,
    NONE_I8,
    OPRA,
    SEVEN,
    definition,
    head,
    put_340,
    quote,
    write,
)  # fmt: skip

FOLDER = "fixtures/databento"
SPY = f"{FOLDER}/opra_pillar_SPY.OPT_definition_2023-08.v1.dbn.zst"
ES_NAMES = (
    "glbx_ES_options_definition_2024-05-09.v1.dbn.zst",
    "glbx_ES_options_bbo-1m_2024-05-09.v1.dbn.zst",
)
FORMATS = {
    "bbo-1s": (195, 80, 4), "cbbo-1s": (192, 80, 2), "cmbp-1": (177, 80, 2), "mbp-1": (1, 80, 2),
    "statistics": (24, 80, 2), "status": (18, 40, 4), "trades": (0, 48, 2),
}  # fmt: skip


def numbered():
    """An allocator that counts, and the listings it was given."""
    given = []

    def allocate(listings):
        given.extend(listings)
        return list(range(len(given) - len(listings), len(given)))

    return allocate, given


@pytest.mark.parametrize(("schema", "wanted"), FORMATS.items(), ids=list(FORMATS))
def test_every_format_sample_is_walked_to_its_end(schema, wanted):
    file = DbnFile(shared(f"{FOLDER}/format_{schema}.v3.dbn.zst"))
    found = [(run.rtype, run.raw.shape[1], len(run.raw)) for run in file.runs()]
    assert found == [wanted]
    assert (file.fault, file.metadata.version, file.metadata.dataset) == (None, 3, GLBX)


def test_fields_of_a_sample_lie_where_a_reader_by_hand_finds_them():
    path = shared(f"{FOLDER}/format_mbp-1.v3.dbn.zst")
    raw = pa.input_stream(str(path), compression="zstd").read()
    begin = 8 + struct.unpack_from("<I", raw, 4)[0]
    # Header, price, size, action, side, flags, depth, ts_recv, delta, sequence, the quote.
    wanted = struct.unpack_from("<xBHIQqIBBBBQiIqqII", raw, begin)
    (run,) = DbnFile(path).runs()
    (first, _) = run.records(QUOTE).tolist()
    rtype, *fields = wanted
    assert rtype == run.rtype == 1
    publisher, instrument, event, price, size, action, side, flags, _, recv, _, _, *top = fields
    assert first == (
        publisher, instrument, event, price, size, action, side, flags, recv, *top
    )  # fmt: skip
    assert (price, chr(action), chr(side), top) == (
        3_720_500_000_000, "A", "A", [3_720_250_000_000, 3_720_500_000_000, 24, 11],
    )  # fmt: skip


def test_publishers_are_those_of_the_published_list():
    listed = defaultdict(dict)
    for row in json.loads(shared(f"{FOLDER}/publishers.json").read_text()):
        listed[row["dataset"]][row["publisher_id"]] = row["venue"].lower()
    assert dict(PUBLISHERS) == {name: listed[name] for name in (GLBX, OPRA)}
    assert {d: PUBLISHERS[d][p] for d, p in CONSOLIDATED.items()} == {OPRA: "opra", GLBX: "glbx"}


# ---- identities --------------------------------------------------------------------------------


def test_recorded_es_puts_have_the_identity_their_definitions_say():
    source = DbnSource(shared(f"{FOLDER}/{ES_NAMES[0]}"))
    found = {one.symbol: one for one in source.listings}
    assert list(found) == ["ESM4 P5250", "ESM4 P5230"]
    put = found["ESM4 P5250"]
    # 2024-06-21 13:30 UTC is 08:30 in Chicago: the opening that quarterly options settle to.
    assert put.expiry_ns == 1_718_976_600 * 10**9
    assert str(put.contract) == "ESM4-20240621T1330Z-5250-P"
    assert (put.venue, put.multiplier, put.price_ccy, put.style) == ("glbx", 50, "USD", "american")
    assert str(found["ESM4 P5230"].contract) == "ESM4-20240621T1330Z-5230-P"


def test_recorded_definitions_of_version_3_read_alike():
    source = DbnSource(shared(f"{FOLDER}/glbx_option_definition_2026-06.v3.dbn.zst"))
    assert [(str(one.contract), one.multiplier) for one in source.listings] == [
        ("ESU6-20260918T1330Z-9600-C", 50), ("ESU6-20260918T1330Z-6575-P", 50),
    ]  # fmt: skip


def test_every_recorded_spy_symbol_expires_at_four_in_new_york():
    source = DbnSource(shared(SPY))
    with shared(f"{FOLDER}/opra_SPY_symbology_2023-08_first_two_days_per_symbol.csv").open() as f:
        symbols = {row["raw_symbol"] for row in csv.DictReader(f)}
    assert {one.symbol for one in source.listings} == symbols
    assert len(symbols) == 13_492
    name = re.compile(r"SPY   (\d\d)(\d\d)(\d\d)([CP])(\d{8})")
    hours = set()
    for one in source.listings:
        year, month, day, right, strike = name.fullmatch(one.symbol).groups()
        at = datetime.fromtimestamp(one.expiry_ns // 10**9, ZoneInfo("America/New_York"))
        assert at.date() == date(2000 + int(year), int(month), int(day))
        assert (one.right, one.strike_e9) == (right, int(strike) * 10**6)
        assert (at.hour, at.minute) == (16, 0)
        hours.add(datetime.fromtimestamp(one.expiry_ns // 10**9, ZoneInfo("UTC")).hour)
    assert hours == {20, 21}  # Summer and winter time.
    assert {(o.underlying, o.multiplier, o.style) for o in source.listings} == {
        ("SPY", 100.0, "american")
    }


@pytest.mark.parametrize(
    ("symbol", "underlying", "style", "multiplier", "expiry"),
    [
        ("SPXW  231124C04500000", "SPX", "european", 100, "2023-11-24T18:00+00:00"),  # half day
        ("SPX   240119C04500000", "SPX", "european", 100, "2024-01-19T14:30+00:00"),  # opening
        ("XSP   240719P00450500", "XSP", "european", 100, "2024-07-19T20:00+00:00"),
        ("AAPL1 240719P00150000", "AAPL1", "american", math.nan, "2024-07-19T20:00+00:00"),
    ],
)
def test_occ_names_follow_the_rules_of_their_root(
    tmp_path, symbol, underlying, style, multiplier, expiry
):
    mapping = [(symbol, [(20230801, 20230901, 5)])]
    (one,) = DbnSource(write(tmp_path, "x.dbn", head(OPRA, "cmbp-1", 2, mapping))).listings
    assert (one.underlying, one.style, one.venue) == (underlying, style, "opra")
    assert one.multiplier == pytest.approx(multiplier, nan_ok=True)
    assert one.expiry_ns == datetime.fromisoformat(expiry).timestamp() * 10**9


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_cme_option_and_its_future_in_every_version(tmp_path, version):
    option = definition(
        MONDAY_NS, "LOZ3 C7550", version=version, publisher=1, kind="C", asset="LO",
        underlying="CLZ3", cfi="OCEFPS", qty=1000 * 10**9, strike=75_500_000_000,
        expiration=MONDAY_NS + 99 * DAY + 5, tick=10_000_000,
    )  # fmt: skip
    future = definition(
        MONDAY_NS, "CLZ3", version=version, publisher=1, instrument=6, kind="F", asset="CL",
        cfi="FCEPS", qty=1000 * 10**9, expiration=MONDAY_NS + 102 * DAY, tick=10_000_000,
    )  # fmt: skip
    path = write(tmp_path, "x.dbn", head(GLBX, "definition", version), option, future)
    put, under = DbnSource(path).listings
    assert (put.kind, put.underlying, put.style) == (ListingKind.OPTION, "CLZ3", "european")
    assert (put.strike_e9, put.right, put.tick) == (75_500_000_000, "C", 0.01)
    assert (put.multiplier, put.expiry_ns) == (1000.0, MONDAY_NS + 99 * DAY + 5)
    assert (under.kind, under.underlying, under.style) == (ListingKind.FUTURE, "CLZ3", None)
    assert under.expiry_ns == MONDAY_NS + 102 * DAY


@pytest.mark.parametrize(("rule", "tick"), [(255, 0.01), (15, 0.01), (12, 0.0025), (2, 0.005)])
def test_a_variable_tick_becomes_a_step_that_all_prices_lie_on(rule, tick):
    fields = dict.fromkeys(("currency", "asset", "cfi", "underlying"), b"X")
    numbers = {
        "min_price_increment": NONE_I8, "display_factor": 10_000_000, "tick_rule": rule,
        "unit_of_measure_qty": NONE_I8, "strike_price": 1, "expiration": 1,
    }  # fmt: skip
    found = cme_listing(fields | numbers | {"instrument_class": b"P"}, "X P1")
    assert found.tick == tick
    assert math.isnan(found.multiplier)


def test_what_is_no_option_of_ours_is_left_out_and_counted(tmp_path):
    def cme(symbol, kind, **fields):
        known = {"qty": 10**9, "tick": 10**7, "expiration": MONDAY_NS + DAY + 1, "strike": 10**9}
        return definition(
            MONDAY_NS, symbol, publisher=1, kind=kind, **(known | {"underlying": "ESU3"} | fields)
        )

    path = write(
        tmp_path, "x.dbn", head(GLBX, "definition"),
        cme("ESU3 C1", "C"),
        cme("UD:1V: GN 1", "M"), cme("ESU3 C2", "C", user="Y"), cme("ESU3-ESZ3", "S"),
        cme("ESU3 C3", "C", action="D"), cme("ESU3 C4", "C", strike=NONE_I8),
        cme("ESU3 C5", "C", tick=NONE_I8), cme("ESU3 C1", "C", strike=2 * 10**9),
        cme("ESU3 C6", "C", currency=""),
    )  # fmt: skip
    source = DbnSource(path)
    assert [one.symbol for one in source.listings] == ["ESU3 C1"]
    assert source.counts == {
        "definitions": 9, "left_out_user_defined": 2, "left_out_class_S": 1,
        "left_out_deleted": 1, "left_out_strike_e9": 1, "left_out_tick": 1,
        "left_out_contradiction": 1, "left_out_price_ccy": 1,
    }  # fmt: skip


def test_an_opra_definition_that_contradicts_its_name_explains_no_id(tmp_path):
    wrong = (
        put_340(strike=341 * 10**9),
        put_340(kind="C"),
        put_340(expiration=1_705_708_800 * 10**9),
    )
    write(tmp_path, "d.dbn", head(OPRA, "definition"), *wrong)
    write(tmp_path, "q.dbn", head(OPRA, "cmbp-1"), quote(177, MONDAY_NS + 9, 10**9, 2 * 10**9))
    source = DbnSource(tmp_path)
    assert [chunk for chunk in source.chunks(numbered()[0]) if len(chunk.rows)] == []
    assert source.counts["left_out_contradiction"] == 3
    assert source.counts["without_definition"] == 1


# ---- ids by day --------------------------------------------------------------------------------


def test_recorded_ids_mean_the_symbol_of_their_day():
    file = DbnFile(shared(SPY))
    instruments = Instruments(OPRA)
    instruments.map(read_mappings("spy", file.metadata))
    instruments.list_all(numbered()[0])
    meant = defaultdict(dict)
    with shared(f"{FOLDER}/opra_SPY_symbology_2023-08_first_two_days_per_symbol.csv").open() as f:
        for row in csv.DictReader(f):
            day = date.fromisoformat(row["date"]).toordinal() - date(1970, 1, 1).toordinal()
            meant[day][int(row["instrument_id"])] = row["raw_symbol"]
    assert sum(map(len, meant.values())) == 26_574
    for day, symbols in meant.items():
        found = instruments.positions(np.array(list(symbols), np.uint32), day)
        assert [instruments.listings[p].symbol for p in found] == list(symbols.values())
    # One id, two contracts within a week.
    early, late = (date(2023, 8, d).toordinal() - date(1970, 1, 1).toordinal() for d in (1, 4))
    one = np.array([603_981_191], np.uint32)
    symbols = [instruments.listings[instruments.positions(one, d)[0]].symbol for d in (early, late)]
    assert symbols == ["SPY   230731C00370000", "SPY   230922C00365000"]


def symbols_of_quotes(source):
    allocate, given = numbered()
    rows = [row for chunk in source.chunks(allocate) for row in chunk.rows.tolist()]
    return [given[row[5]].symbol for row in rows[::2]]


def test_an_opra_definition_holds_on_its_own_day_alone(tmp_path):
    write(
        tmp_path, "d.dbn", head(OPRA, "definition"),
        put_340(MONDAY_NS + 10**13),
        definition(MONDAY_NS + DAY + 9, SEVEN, strike=370 * 10**9,
                   expiration=1_705_622_400 * 10**9),
    )  # fmt: skip
    stamps = [MONDAY_NS - 1, MONDAY_NS, MONDAY_NS + DAY - 1, MONDAY_NS + DAY, MONDAY_NS + 2 * DAY]
    write(tmp_path, "q.dbn", head(OPRA, "cmbp-1"), *(quote(177, t, 1, 2) for t in stamps))
    source = DbnSource(tmp_path)
    # The definition of a day explains its records from midnight on, also those before its own time.
    assert symbols_of_quotes(source) == [FIVE, FIVE, SEVEN]
    assert source.counts["without_definition"] == 2


def test_a_cme_definition_holds_until_the_next_of_its_id(tmp_path):
    def cme(day, symbol):
        return definition(
            MONDAY_NS + day * DAY, symbol, publisher=1, kind="C", underlying="ESU3", qty=10**9,
            tick=10**7, expiration=MONDAY_NS + 9 * DAY + 1, strike=10**9,
        )  # fmt: skip

    write(tmp_path, "d.dbn", head(GLBX, "definition"), cme(0, "ESU3 C1"), cme(2, "ESU3 C2"))
    stamps = [MONDAY_NS + k * DAY for k in range(-1, 4)]
    records = (quote(1, t, 10**9, 2 * 10**9, publisher=1) for t in stamps)
    write(tmp_path, "q.dbn", head(GLBX, "mbp-1"), *records)
    source = DbnSource(tmp_path)
    assert symbols_of_quotes(source) == ["ESU3 C1", "ESU3 C1", "ESU3 C2", "ESU3 C2"]
    assert source.counts["without_definition"] == 1


# ---- what is refused ---------------------------------------------------------------------------


def test_data_that_nothing_defines_are_refused_naming_what_is_missing(tmp_path):
    for name in ES_NAMES[1:]:
        shutil.copy(shared(f"{FOLDER}/{name}"), tmp_path)
    with pytest.raises(DbnError, match=r"expected a definition file of GLBX\.MDP3 in the same"):
        DbnSource(tmp_path)
    path = write(tmp_path, "x.dbn", head(OPRA, "cmbp-1"), quote(177, MONDAY_NS, 1, 2))
    with pytest.raises(DbnError, match="or OCC symbols in its head"):
        DbnSource(path)


def test_prints_that_two_files_hold_are_refused(tmp_path):
    write(tmp_path, "d.dbn", head(OPRA, "definition"), put_340())
    write(tmp_path, "a.dbn", head(OPRA, "cmbp-1"))
    write(tmp_path, "b.dbn", head(OPRA, "trades"))
    with pytest.raises(DbnError, match=r"holds the prints of .*a\.dbn in another schema"):
        DbnSource(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"DBN", "ends after 3 bytes, expected the head of a DBN file"),
        (b"XYZ\x03" + bytes(200), "begins with b'XYZ'"),
        (b"DBN\x04" + bytes(200), "format version was 4, expected 1 to 3"),
        (b"DBN\x03\x10\0\0\0" + bytes(200), "length of the metadata was 16"),
        (head(OPRA, "cmbp-1")[:60], "metadata end after 52 bytes, expected 120"),
        (head("XNAS.ITCH", "mbp-1"), "dataset was 'XNAS.ITCH', expected"),
        (head(OPRA, "mbp-1", 1, [(FIVE, [(20231301, 20230901, 5)])]), "mapping was 20231301"),
        (head(OPRA, "mbp-1")[:-4] + b"\xff\0\0\0", "metadata speak of"),
    ],
)
def test_a_head_that_cannot_be_read_says_what_is_wrong(tmp_path, content, message):
    with pytest.raises(DbnError, match=re.escape(message)):
        DbnSource(write(tmp_path, "x.dbn", content))
