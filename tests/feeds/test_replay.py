"""Recordings are read back whole, cut ones to their last whole batch, damaged ones not at all."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from feeds.errors import JournalError
from feeds.journal import Journal, JournalLimits
from feeds.record import Record, RecordType
from feeds.replay import JournalSummary, SourceKind, journal_kind, read_journal
from feeds.segments import COMPACTED, SCHEMA, compact, segment_path


class StepClock:
    ns = 1000

    def now_ns(self) -> int:
        self.ns += 10
        return self.ns


def write(folder: Path, count: int, **limits: int) -> list[Record]:
    journal = Journal(StepClock(), folder, JournalLimits(**limits))
    records = [
        journal.append(RecordType.FRAME, "v", 1, f"n{n}", b"payload %d" % n) for n in range(count)
    ]
    journal.close()
    return records


def write_rows(folder: Path, *rows: tuple) -> None:
    """A segment written by hand, for what a journal would never write."""
    with pa.ipc.new_stream(str(segment_path(folder, 1)), SCHEMA) as stream:
        for row in rows:
            columns = [
                pa.array([value], field.type) for value, field in zip(row, SCHEMA, strict=True)
            ]
            stream.write_batch(pa.record_batch(columns, schema=SCHEMA))


def test_summary_says_what_was_read(tmp_path):
    write(tmp_path, 25, flush_records=10)
    reader = read_journal(tmp_path)
    assert next(reader).name == "n0"
    assert sum(1 for _ in reader) == 25
    assert reader.summary == JournalSummary(
        records=26,
        payload_bytes=10 * 9 + 15 * 10,
        first_ns=1010,
        last_ns=1260,
        closed=True,
        truncated=False,
        lost_bytes=0,
    )


def test_segment_cut_at_every_byte_of_its_last_batch_reads_the_prefix(tmp_path):
    journal = Journal(StepClock(), tmp_path, JournalLimits(flush_records=10))
    path = segment_path(tmp_path, 1)
    records = []
    starts = []
    for n in range(20):
        records.append(journal.append(RecordType.FRAME, "v", 1, "", b"payload %d" % n))
        journal.drain()
        starts.append(path.stat().st_size)
    journal.close()
    whole = path.read_bytes()
    start, end = starts[-1], len(whole) - 8  # The batch of END; 8 bytes end the stream.
    for size in range(start, end):
        path.write_bytes(whole[:size])
        reader = read_journal(tmp_path)
        assert list(reader) == records
        assert reader.summary.lost_bytes == size - start
        assert reader.summary.truncated == (size > start)
        assert reader.summary.closed is False
    path.write_bytes(whole[:end])
    reader = read_journal(tmp_path)
    assert [*records, Record(1210, RecordType.END, "", -1, "", b"")] == list(reader)
    assert reader.summary.closed is True
    assert reader.summary.truncated is False


def test_segment_cut_anywhere_reads_whole_batches(tmp_path):
    records = write(tmp_path, 12, flush_records=4)
    whole = segment_path(tmp_path, 1).read_bytes()
    cut_folder = tmp_path / "cut"
    cut_folder.mkdir()
    lengths = set()
    for size in range(len(whole)):
        segment_path(cut_folder, 1).write_bytes(whole[:size])
        found = list(read_journal(cut_folder))
        assert found[:12] == records[: len(found)]
        lengths.add(len(found))
    assert lengths == {0, 4, 8, 12, 13}


def test_end_of_zeros_after_a_power_cut_is_a_cut(tmp_path):
    records = write(tmp_path, 10)
    path = segment_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-8] + bytes(5000))
    reader = read_journal(tmp_path)
    assert list(reader)[:10] == records
    assert reader.summary.lost_bytes == 5000


def test_cut_segment_before_the_last_is_an_error(tmp_path):
    write(tmp_path, 200, flush_records=5, segment_bytes=4096)
    path = segment_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(JournalError, match=r"segment-000001\.arrows: is cut short although"):
        list(read_journal(tmp_path))


def test_missing_segment_is_an_error(tmp_path):
    write(tmp_path, 200, flush_records=5, segment_bytes=4096)
    segment_path(tmp_path, 2).unlink()
    with pytest.raises(JournalError, match=r"found segment-000003\.arrows, expected segment 2"):
        list(read_journal(tmp_path))


def test_damage_inside_a_segment_is_an_error_or_keeps_whole_batches(tmp_path):
    write(tmp_path, 40, flush_records=10)
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    for offset in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[offset] ^= 0xFF
        path.write_bytes(bytes(damaged))
        try:
            found = list(read_journal(tmp_path))
        except JournalError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            # Arrow has no checksum: what is found unnoticed must at least have the right shape.
            assert all(type(record.payload) is bytes for record in found)
            assert len(found) in {0, 10, 20, 30, 40, 41}


def test_garbage_is_called_not_a_segment(tmp_path):
    segment_path(tmp_path, 1).write_bytes(b"hello, this is a text file of some length")
    with pytest.raises(JournalError, match=r"segment-000001\.arrows: not a segment of a journal"):
        list(read_journal(tmp_path))


def test_arrow_stream_of_others_is_called_not_a_journal(tmp_path):
    schema = pa.schema([("price", pa.float64())])
    with pa.ipc.new_stream(str(segment_path(tmp_path, 1)), schema) as stream:
        stream.write_batch(pa.record_batch([pa.array([1.5])], schema=schema))
    with pytest.raises(JournalError, match=r"not a journal: its schema is \['price'\]"):
        list(read_journal(tmp_path))


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (b"2", "of another version: 1 bytes of its header differ"),
        (b"a-long-version", "journal version was b.a-long-version., expected b.1."),
    ],
)
def test_newer_version_is_named(tmp_path, version, message):
    schema = SCHEMA.with_metadata({**SCHEMA.metadata, b"version": version})
    with pa.ipc.new_stream(str(segment_path(tmp_path, 1)), schema):
        pass
    with pytest.raises(JournalError, match=message):
        list(read_journal(tmp_path))


def test_other_columns_are_named(tmp_path):
    schema = pa.schema([("rx_ns", pa.int64())], metadata=SCHEMA.metadata)
    with pa.ipc.new_stream(str(segment_path(tmp_path, 1)), schema):
        pass
    with pytest.raises(JournalError, match=r"columns were \['rx_ns'\], expected \['rx_ns', 'type'"):
        list(read_journal(tmp_path))


def test_decreasing_stamp_names_record_and_both_values(tmp_path):
    write(tmp_path, 3)
    whole = list(read_journal(tmp_path))
    rows = [(record.rx_ns, 2, "v", 0, "", b"") for record in (whole[0], whole[2], whole[1])]
    for path in tmp_path.iterdir():
        path.unlink()
    write_rows(tmp_path, *rows)
    with pytest.raises(JournalError, match="rx_ns of record 3 was 1020, expected at least 1030"):
        list(read_journal(tmp_path))


def test_decreasing_stamp_inside_a_batch_is_found(tmp_path):
    columns = [[5, 9, 8], [2] * 3, ["v"] * 3, [0] * 3, [""] * 3, [b""] * 3]
    with pa.ipc.new_stream(str(segment_path(tmp_path, 1)), SCHEMA) as stream:
        stream.write_batch(pa.record_batch(columns, schema=SCHEMA))
    with pytest.raises(JournalError, match="rx_ns of record 3 was 8, expected at least 9"):
        list(read_journal(tmp_path))


def test_unknown_record_type_is_named(tmp_path):
    write_rows(tmp_path, (5, 2, "v", 0, "", b""), (6, 99, "v", 0, "", b""))
    with pytest.raises(JournalError, match="type of record 2 was 99, expected 1 to 12"):
        list(read_journal(tmp_path))


def test_damaged_parquet_is_an_error(tmp_path):
    write(tmp_path, 10)
    path = compact(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(JournalError, match=r"journal\.parquet: damaged"):
        list(read_journal(tmp_path))


def test_empty_segment_of_a_run_killed_at_once_reads_as_nothing(tmp_path):
    segment_path(tmp_path, 1).write_bytes(b"")
    reader = read_journal(tmp_path)
    assert list(reader) == []
    assert reader.summary == JournalSummary()


def test_reading_holds_one_batch_at_a_time(tmp_path):
    journal = Journal(StepClock(), tmp_path, JournalLimits(flush_records=4))
    for _ in range(64):
        journal.append(RecordType.FRAME, "v", 0, "", bytes(1 << 18))
    journal.close()  # 16 MB of payload, 1 MB a batch.
    before = pa.total_allocated_bytes()
    peak = 0
    for _ in read_journal(tmp_path):
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 4 << 20


def test_kinds_of_source_are_told_apart(tmp_path):
    recording = tmp_path / "raw"
    write(recording, 1)
    assert journal_kind(recording) is SourceKind.JOURNAL
    compact(recording)
    assert journal_kind(recording) is SourceKind.JOURNAL
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "listings.parquet").write_bytes(b"")
    assert journal_kind(tables) is SourceKind.TABLES
    dbn = tmp_path / "x.dbn"
    dbn.write_bytes(b"DBN\x03rest")
    assert journal_kind(dbn) is SourceKind.DBN
    packed = tmp_path / "x.dbn.zst"
    assert journal_kind(tmp_path) is SourceKind.DBN
    packed.write_bytes(b"\x28\xb5\x2f\xfdrest")
    assert journal_kind(packed) is SourceKind.DBN


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent", None, "does not exist"),
        ("notes.txt", b"x", "is a file, expected the folder of a recording"),
        ("x.zst", b"x", "is a file, expected the folder of a recording"),
        ("x.dbn", b"NOT", "begins with b'NOT', expected b'DBN': not a DBN file"),
        ("x.dbn.zst", b"DBN1", "not a DBN file"),
    ],
)
def test_other_sources_are_refused_with_what_was_found(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(JournalError, match=message):
        journal_kind(tmp_path / name)


def test_folder_of_something_else_is_refused_naming_what_was_expected(tmp_path):
    with pytest.raises(JournalError, match=rf"{COMPACTED}\) nor a table recording"):
        journal_kind(tmp_path)


def test_reading_while_it_is_written_sees_whole_batches(tmp_path):
    journal = Journal(StepClock(), tmp_path, JournalLimits(flush_records=10))
    for n in range(25):
        journal.append(RecordType.FRAME, "v", 0, str(n), b"")
    journal._queue.join()
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(segment_path(tmp_path, 1), copy)
    assert [record.name for record in read_journal(copy)] == [str(n) for n in range(20)]
    journal.close()
