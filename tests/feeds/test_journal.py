"""The journal keeps one order, never blocks, and survives kills, full disks and compaction."""

import io
import random
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.errors import JournalError
from feeds.journal import Journal, JournalLimits
from feeds.record import Record, RecordType, Redactor
from feeds.replay import read_journal
from feeds.segments import COMPACTED, SegmentWriter, compact, segment_path, segment_paths

START_NS = 1_700_000_000_000_000_000
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class ListClock:
    """Gives the stamps of a list, then repeats the last."""

    stamps: list[int] = field(default_factory=lambda: [START_NS])
    asked: int = 0

    def now_ns(self) -> int:
        self.asked += 1
        return self.stamps[min(self.asked, len(self.stamps)) - 1]


class StepClock:
    def __init__(self, step_ns: int = 1) -> None:
        self.ns = START_NS
        self.step_ns = step_ns

    def now_ns(self) -> int:
        self.ns += self.step_ns
        return self.ns


def fill(journal: Journal, count: int, size: int = 20) -> list[Record]:
    """Append frames whose bytes are not text, so that nothing can pass them through a str."""
    return [
        journal.append(RecordType.FRAME, "v", n % 3, "", bytes([n % 256, 0xFF, 0]) * (size // 3))
        for n in range(count)
    ]


def test_records_come_back_as_they_were_appended(tmp_path):
    journal = Journal(ListClock([5, 5, 9, 9, 12]), tmp_path)
    appended = [
        journal.append(RecordType.START, "", -1, "", b'{"checkpoint":"cold"}'),
        journal.append(RecordType.CONNECTION, "deribit", 0, "open", b""),
        journal.append(RecordType.FRAME, "deribit", 0, "", b"\x00\xff\xfe not utf-8"),
        journal.append(RecordType.HTTP, "okx", -1, "instruments:BTC-ü", b"x" * 70_000),
    ]
    journal.close()
    assert appended[2] == Record(9, RecordType.FRAME, "deribit", 0, "", b"\x00\xff\xfe not utf-8")
    end = Record(12, RecordType.END, "", -1, "", b"")
    assert list(read_journal(tmp_path)) == [*appended, end]


def test_clock_that_goes_back_is_raised_and_counted():
    journal = Journal(ListClock([10, 7, 8, 11]), None)
    stamps = [journal.append(RecordType.FRAME, "v", 0, "", b"").rx_ns for _ in range(4)]
    assert stamps == [10, 10, 10, 11]
    assert journal.counts.clamped == 2


def test_journal_without_a_folder_stores_nothing_and_starts_no_thread():
    before = threading.active_count()
    journal = Journal(StepClock(), None)
    fill(journal, 10_000)
    assert threading.active_count() == before
    assert journal.counts.records == 10_000
    assert (journal.lost, journal.broken) == (0, None)
    journal.close()


@pytest.mark.parametrize(
    ("limits", "step_ns", "batches"),
    [
        (JournalLimits(flush_records=10), 1, 10),
        (JournalLimits(flush_bytes=200), 1, 12),  # Payloads of 18 bytes: 12 reach 200.
        (JournalLimits(flush_s=1.0), 100_000_000, 9),  # Stamps 0.1 s apart: 11 span 1 s.
    ],
)
def test_batches_are_cut_by_records_bytes_and_time(tmp_path, limits, step_ns, batches):
    journal = Journal(StepClock(step_ns), tmp_path, limits)
    expected = {10: 10, 12: 8, 9: 9}[batches]  # Whole batches among 100 records.
    fill(journal, 100)
    journal._queue.join()
    assert journal.counts.batches_written == expected
    journal.close()
    assert journal.counts.records_written == 101


def test_segments_rotate_by_size_and_read_back_in_order(tmp_path):
    limits = JournalLimits(flush_records=5, segment_bytes=4096)
    journal = Journal(StepClock(), tmp_path, limits)
    appended = fill(journal, 200, size=300)
    journal.close()
    assert len(segment_paths(tmp_path)) >= 4
    assert journal.counts.segments == len(segment_paths(tmp_path))
    assert list(read_journal(tmp_path))[:-1] == appended


def test_closing_twice_writes_one_end_and_appending_after_is_refused(tmp_path):
    journal = Journal(StepClock(), tmp_path)
    journal.close()
    journal.close()
    assert [record.type for record in read_journal(tmp_path)] == [RecordType.END]
    with pytest.raises(JournalError, match="FRAME 'x' to a closed"):
        journal.append(RecordType.FRAME, "v", 0, "x", b"")


def test_folder_of_another_run_is_refused(tmp_path):
    Journal(StepClock(), tmp_path).close()
    with pytest.raises(JournalError, match="already holds a recording"):
        Journal(StepClock(), tmp_path)


def test_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(JournalError, match="cannot be made"):
        Journal(StepClock(), tmp_path / "x")


def test_two_journals_cannot_write_one_folder(tmp_path):
    first = Journal(StepClock(), tmp_path)
    with pytest.raises(JournalError, match="still being written"):
        Journal(StepClock(), tmp_path)
    first.close()


class FullDisk(io.FileIO):
    """A file on a disk that has room for so many bytes: it takes what fits, then fails."""

    room = 6000

    def write(self, data) -> int:
        piece = bytes(data)[: max(0, self.room - self.tell())]
        if not piece:
            raise OSError(28, "No space left on device")
        return super().write(piece)


def open_full_disk(path: Path) -> io.BufferedWriter:
    return io.BufferedWriter(FullDisk(path, "xb"))


def test_full_disk_breaks_the_journal_visibly_and_leaves_a_readable_prefix(tmp_path):
    told: list[str] = []
    limits = JournalLimits(flush_records=10)
    journal = Journal(
        StepClock(), tmp_path, limits, on_broken=told.append, open_file=open_full_disk
    )
    appended = fill(journal, 100, size=600)
    journal.drain()
    appended += fill(journal, 50)
    journal.close()
    assert journal.broken is not None
    assert "No space left on device" in journal.broken
    assert "segment-000001.arrows" in journal.broken
    assert told == [journal.broken]
    kept = list(read_journal(tmp_path))
    assert 0 < len(kept) < 100
    assert kept == appended[: len(kept)]
    assert journal.lost == 151 - len(kept)  # 150 frames and END.


def test_disk_full_at_the_last_write_is_told_by_close(tmp_path):
    journal = Journal(StepClock(), tmp_path, open_file=open_full_disk)
    journal.append(RecordType.HTTP, "v", -1, "", random.Random(1).randbytes(20_000))
    journal.close()
    assert journal.broken is not None
    assert journal.lost == 2


class StuckDisk(io.FileIO):
    """Takes nothing until it is released."""

    released: threading.Event

    def write(self, data) -> int:
        self.released.wait()
        return super().write(data)


def test_disk_that_stands_still_never_blocks_the_caller(tmp_path):
    released = threading.Event()
    limits = JournalLimits(flush_records=1, queue_batches=4)

    def open_stuck(path: Path) -> io.BufferedWriter:
        file = StuckDisk(path, "xb")
        file.released = released
        return io.BufferedWriter(file)

    journal = Journal(StepClock(), tmp_path, limits, open_file=open_stuck)
    fill(journal, 1000)
    assert journal.broken == "the disk is 4 batches behind: queue full"
    assert journal.lost == 1000
    released.set()  # One batch was in the thread's hands or still queued, and four waited.
    journal.drain()
    assert journal.lost == 1000 - journal.counts.records_written
    assert journal.counts.records_written in {4, 5}
    journal.close()


KILLED = """
import sys
from pathlib import Path
from feeds.journal import Journal, JournalLimits
from feeds.record import RecordType

class Clock:
    ns = 0
    def now_ns(self):
        Clock.ns += 1000
        return Clock.ns

journal = Journal(Clock(), Path(sys.argv[1]), JournalLimits(flush_records=50))
for n in range(1230):
    journal.append(RecordType.FRAME, "v", 0, str(n), b"%d;" % n * 20)
journal._queue.join()
sys.stdout.write("written\\n")
sys.stdout.flush()
while True:
    journal.append(RecordType.FRAME, "v", 0, "later", b"y" * 100)
"""


def test_kill_in_the_middle_of_writing_keeps_every_flushed_batch(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    reader = read_journal(tmp_path)
    records = list(reader)
    assert [record.name for record in records[:1200]] == [str(n) for n in range(1200)]
    assert all(record.payload == b"%d;" % n * 20 for n, record in enumerate(records[:1200]))
    assert len(records) % 50 == 0  # Whole batches alone.
    assert reader.summary.closed is False


def test_compaction_keeps_every_record_and_removes_the_segments(tmp_path):
    journal = Journal(StepClock(), tmp_path, JournalLimits(flush_records=7, segment_bytes=4096))
    fill(journal, 300, size=90)
    journal.close()
    before = list(read_journal(tmp_path))
    assert compact(tmp_path) == tmp_path / COMPACTED
    assert segment_paths(tmp_path) == []
    reader = read_journal(tmp_path)
    assert list(reader) == before
    assert reader.summary.closed
    metadata = pq.read_metadata(str(tmp_path / COMPACTED))
    assert metadata.row_group(0).column(5).compression == "ZSTD"
    assert metadata.num_rows == 301


def test_crash_between_compaction_and_removal_gives_no_record_twice(tmp_path):
    journal = Journal(StepClock(), tmp_path, JournalLimits(flush_records=7, segment_bytes=4096))
    fill(journal, 300, size=90)
    journal.close()
    before = list(read_journal(tmp_path))
    kept = {path: path.read_bytes() for path in segment_paths(tmp_path)}
    compact(tmp_path)
    for path in list(kept)[1:]:  # The crash came after the first segment was removed.
        path.write_bytes(kept[path])
    assert list(read_journal(tmp_path)) == before
    compact(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / COMPACTED]
    assert list(read_journal(tmp_path)) == before


def test_crash_while_compacting_leaves_the_segments_in_charge(tmp_path):
    journal = Journal(StepClock(), tmp_path)
    fill(journal, 30)
    journal.close()
    before = list(read_journal(tmp_path))
    (tmp_path / f"{COMPACTED}.tmp").write_bytes(b"PAR1 half a file")
    assert list(read_journal(tmp_path)) == before
    compact(tmp_path)
    assert list(read_journal(tmp_path)) == before


def test_compaction_of_a_cut_recording_remembers_what_was_lost(tmp_path):
    journal = Journal(StepClock(), tmp_path, JournalLimits(flush_records=10))
    appended = fill(journal, 30)
    journal.close()
    path = segment_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-600])
    before = read_journal(tmp_path)
    kept = list(before)
    compact(tmp_path)
    after = read_journal(tmp_path)
    assert list(after) == kept == appended[: len(kept)]
    assert after.summary == before.summary
    assert after.summary.truncated


def test_compaction_refuses_a_recording_that_is_still_written(tmp_path):
    journal = Journal(StepClock(), tmp_path)
    fill(journal, 3)
    with pytest.raises(JournalError, match="still being written"):
        compact(tmp_path)
    journal.close()
    compact(tmp_path)


def test_compaction_of_an_empty_folder_says_what_is_missing(tmp_path):
    with pytest.raises(JournalError, match=r"holds no recording, expected segment-000001\.arrows"):
        compact(tmp_path)
    with pytest.raises(JournalError, match="cannot be opened"):
        compact(tmp_path / "absent")


def test_writer_gives_its_reason_when_the_file_cannot_be_opened(tmp_path):
    def refuse(path: Path):
        raise PermissionError(13, "Permission denied", str(path))

    journal = Journal(StepClock(), tmp_path, open_file=refuse)
    writer = journal._writer
    assert isinstance(writer, SegmentWriter)
    fill(journal, 3)
    journal.drain()
    assert journal.broken is not None
    assert "Permission denied" in journal.broken
    journal.close()


def test_secrets_are_replaced_plain_and_as_json_strings():
    redact = Redactor(['key"1', "tok/en", "", "token/long/tok/en"])
    assert redact(b"no secret here") == b"no secret here"
    assert redact.count == 0
    assert redact(rb'{"a":"key\"1","b":"tok\/en","c":"tok/en"}') == (
        rb'{"a":"[redacted]","b":"[redacted]","c":"[redacted]"}'
    )
    assert redact(b"token/long/tok/en!") == b"[redacted]!"
    assert redact.count == 2


records_drawn = st.lists(
    st.tuples(
        st.sampled_from([kind for kind in RecordType if kind is not RecordType.END]),
        st.text(max_size=5),
        st.integers(-(2**31), 2**31 - 1),
        st.text(max_size=20),
        st.binary(max_size=200),
    ),
    max_size=40,
)


@given(records_drawn, st.integers(1, 7), st.booleans())
def test_any_record_survives_both_forms(tmp_path_factory, drawn, flush_records, compacted):
    drawn = [row for row in drawn if not has_surrogate(row[1] + row[3])]
    folder = tmp_path_factory.mktemp("journal")
    limits = JournalLimits(flush_records=flush_records, segment_bytes=2000)
    journal = Journal(StepClock(), folder, limits)
    for row in drawn:
        journal.append(*row)
    journal.close()
    if compacted:
        compact(folder)
    found = [msgspec.structs.astuple(record) for record in read_journal(folder)]
    assert [row[1:] for row in found[:-1]] == drawn
    assert [row[0] for row in found] == [START_NS + 1 + n for n in range(len(drawn) + 1)]


def has_surrogate(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def test_frames_of_one_read_share_a_stamp_and_are_stored_like_any_others(tmp_path):
    limits = JournalLimits(flush_bytes=20)
    journal = Journal(ListClock([10, 7, 30]), tmp_path, limits)
    first = journal.append_frames("v", 2, [b"one", b"\xff two"])
    assert [(r.rx_ns, r.payload) for r in first] == [(10, b"one"), (10, b"\xff two")]
    second = journal.append_frames("w", 3, [b"three", b"four", b"five"])  # 12 + 13 bytes: flushed.
    assert {r.rx_ns for r in second} == {10}
    journal._queue.join()
    assert (journal.counts.batches_written, journal.counts.records_written) == (1, 5)
    assert (journal.counts.records, journal.counts.clamped) == (5, 1)
    assert journal.counts.payload_bytes == 8 + 13
    journal.close()
    assert list(read_journal(tmp_path))[:5] == [*first, *second]
    assert first[0] == Record(10, RecordType.FRAME, "v", 2, "", b"one")
    with pytest.raises(JournalError, match="append of 2 frames to a closed journal"):
        journal.append_frames("v", 2, [b"one", b"two"])
