"""Sinks: the table, and a file that fails, rotates, fills up and is torn."""

import asyncio
import errno
import os
from pathlib import Path

import msgspec
import pytest

import scanner.sinks
from scanner.alert import decode, encode
from scanner.sinks import SINKS, jsonl
from scanner.sinks.jsonl import CLOSE_ATTEMPTS, JsonlSink, open_sink
from tests.scanner.test_alert import PLAIN


def alerts(*seqs, state="open"):
    return [
        msgspec.structs.replace(PLAIN, seq=seq, key=f"{PLAIN.id}.{seq}", state=state)
        for seq in seqs
    ]


def seqs(path):
    return [decode(line).seq for line in path.read_bytes().splitlines()]


class Disk:
    """A disk that can be told to fail, in place of os.write."""

    def __init__(self, monkeypatch):
        self.failures, self.partial, self.writes = 0, 0, 0
        self._write = os.write
        monkeypatch.setattr(jsonl.os, "write", self.write)

    def write(self, file, data):
        self.writes += 1
        if self.partial:
            part, self.partial = self.partial, 0
            self.failures = 1
            return self._write(file, data[:part])
        if self.failures:
            self.failures -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(file, data)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


class Pauses:
    """Counts the waits between attempts and does not wait."""

    def __init__(self):
        self.asked = []

    async def __call__(self, seconds):
        self.asked.append(seconds)
        await asyncio.sleep(0)


async def settled(sink):
    """Let the writer finish what is queued."""
    while sink._writer is not None and not sink._writer.done():
        await asyncio.wait([sink._writer])


def test_every_file_of_the_folder_is_in_the_table():
    folder = Path(scanner.sinks.__file__).parent
    names = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert set(SINKS) == names
    assert all(callable(module.open_sink) for module in SINKS.values())


async def test_alerts_arrive_one_object_a_line_in_order(tmp_path):
    path = tmp_path / "deep" / "alerts.jsonl"
    sink = open_sink(str(path))
    await sink.deliver(alerts(1, 2))
    await sink.deliver(alerts(3))
    await sink.close()
    assert path.read_bytes() == b"".join(encode(a) + b"\n" for a in alerts(1, 2, 3))
    assert (sink.counts.delivered, sink.counts.dropped, sink.counts.queued) == (3, 0, 0)


async def test_batch_is_in_the_file_before_the_sink_closes(tmp_path):
    sink = open_sink(str(tmp_path / "a"))
    await sink.deliver(alerts(1))
    await settled(sink)
    assert seqs(tmp_path / "a") == [1]
    await sink.close()


async def test_file_of_an_earlier_run_is_continued(tmp_path):
    for seq in (1, 2):
        sink = open_sink(str(tmp_path / "a"))
        await sink.deliver(alerts(seq))
        await sink.close()
    assert seqs(tmp_path / "a") == [1, 2]


async def test_full_disk_delays_and_loses_nothing(tmp_path, disk):
    disk.failures = 4
    pauses = Pauses()
    sink = JsonlSink(tmp_path / "a", pause=pauses)
    await sink.deliver(alerts(1, 2))
    await settled(sink)
    assert seqs(tmp_path / "a") == [1, 2]
    assert pauses.asked == [0.5, 1.0, 2.0, 4.0]
    assert (sink.counts.failures, sink.counts.dropped) == (4, 0)
    assert sink.counts.last_error.endswith("a: No space left on device")
    await sink.close()


async def test_pause_stops_growing_at_its_bound(tmp_path, disk):
    disk.failures = 9
    pauses = Pauses()
    sink = JsonlSink(tmp_path / "a", pause=pauses)
    await sink.deliver(alerts(1))
    await settled(sink)
    assert pauses.asked[-3:] == [30.0, 30.0, 30.0]
    await sink.close()


async def test_half_written_line_is_cut_off_again(tmp_path, disk):
    disk.partial = 100
    sink = JsonlSink(tmp_path / "a", pause=Pauses())
    await sink.deliver(alerts(1))
    await settled(sink)
    assert seqs(tmp_path / "a") == [1]
    assert sink.counts.failures == 1
    await sink.close()


async def test_short_writes_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(jsonl.os, "write", lambda file, data: write(file, data[:7]))
    sink = open_sink(str(tmp_path / "a"))
    await sink.deliver(alerts(1, 2))
    await sink.close()
    assert seqs(tmp_path / "a") == [1, 2]


async def test_dead_disk_at_close_is_given_up_and_counted(tmp_path, disk):
    disk.failures = 1_000
    sink = JsonlSink(tmp_path / "a", pause=Pauses())
    await sink.deliver(alerts(1, 2))
    await sink.close()
    assert sink.counts.dropped == 2
    assert sink.counts.failures <= CLOSE_ATTEMPTS + 1
    assert (tmp_path / "a").read_bytes() == b""


async def test_path_that_is_a_folder_is_a_visible_failure(tmp_path):
    sink = JsonlSink(tmp_path, pause=Pauses())
    await sink.deliver(alerts(1))
    await sink.close()
    assert sink.counts.dropped == 1
    assert "Is a directory" in sink.counts.last_error


async def test_full_queue_drops_the_oldest_update_before_an_open(tmp_path, disk):
    disk.failures = 1_000
    sink = JsonlSink(tmp_path / "a", queue_max=3, pause=Pauses())
    await sink.deliver(alerts(1) + alerts(2, 3, state="update") + alerts(4))
    assert sink.counts.dropped == 1
    assert [alert.seq for alert in sink._queue] == [1, 3, 4]
    await sink.close()


async def test_full_queue_without_updates_drops_the_oldest(tmp_path):
    sink = JsonlSink(tmp_path / "a", queue_max=2)
    await sink.deliver(alerts(1, 2, 3))
    await sink.close()
    assert seqs(tmp_path / "a") == [2, 3]
    assert sink.counts.dropped == 1


async def test_refused_batch_returns_to_a_queue_that_has_filled_up(tmp_path, disk):
    disk.failures = 1
    sink = JsonlSink(tmp_path / "a", queue_max=2, pause=Pauses())
    await sink.deliver(alerts(1, 2))
    await asyncio.sleep(0)  # the writer has taken both
    await sink.deliver(alerts(3))
    await settled(sink)
    assert seqs(tmp_path / "a") == [2, 3]
    assert sink.counts.dropped == 1
    await sink.close()


async def test_renamed_file_is_left_and_a_new_one_begun(tmp_path):
    path = tmp_path / "a"
    sink = open_sink(str(path))
    await sink.deliver(alerts(1))
    await settled(sink)
    path.rename(tmp_path / "a.1")
    await sink.deliver(alerts(2))
    await settled(sink)
    await sink.deliver(alerts(3))
    await sink.close()
    assert (seqs(tmp_path / "a.1"), seqs(path)) == ([1], [2, 3])
    assert sink.counts.reopened == 1


@pytest.mark.parametrize("length", [1, 15, 18, 200])
async def test_line_torn_by_a_kill_is_cut_at_the_next_start(tmp_path, length):
    path = tmp_path / "a"
    path.write_bytes(encode(alerts(1)[0]) + b"\n" + encode(alerts(2)[0])[:length])
    sink = open_sink(str(path))
    await sink.deliver(alerts(3))
    await sink.close()
    assert seqs(path) == [1, 3]


async def test_foreign_text_without_newline_is_kept(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"a note")
    sink = open_sink(str(path))
    await sink.deliver(alerts(1))
    await sink.close()
    assert path.read_bytes() == b"a note\n" + encode(alerts(1)[0]) + b"\n"


async def test_more_than_a_batch_arrives_in_order(tmp_path):
    sink = open_sink(str(tmp_path / "a"))
    await sink.deliver(alerts(*range(1, 601)))
    await sink.close()
    assert seqs(tmp_path / "a") == list(range(1, 601))


async def test_closing_an_idle_sink_creates_no_file(tmp_path):
    sink = open_sink(str(tmp_path / "a"))
    await sink.deliver([])
    await sink.close()
    assert not (tmp_path / "a").exists()


async def test_deliver_after_close_is_our_bug(tmp_path):
    sink = open_sink(str(tmp_path / "a"))
    await sink.close()
    with pytest.raises(RuntimeError, match="deliver after close"):
        await sink.deliver(alerts(1))
