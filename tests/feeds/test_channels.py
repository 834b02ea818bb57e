"""Bookkeeping of channels and resyncs: no sockets, no time of its own."""

from dataclasses import replace

from feeds.channels import (
    Asked,
    ChannelLedger,
    Order,
    Purpose,
    ResyncQueue,
)
from feeds.venue import Request
from tests.feeds.toy_venue import Toy

S = 1_000_000_000
TOY = Toy()


def ledger_with(*channels: str) -> ChannelLedger:
    ledger = ChannelLedger(TOY)
    ledger.carry(Request(7, channels, "text"))
    for order in ledger.opened():
        ledger.sent(replace(order, due_ns=10 * S))
    return ledger


def test_frame_that_comes_before_its_acknowledgement_counts_as_first_data():
    ledger = ledger_with("book.A1", "book.A2")
    ledger.heard(b'{"x":1,"channel":"book.A1","data":"book.A2"}')
    ledger.answered(7, ("book.A1", "book.A2"), 5 * S)
    assert ledger.silent(4 * S) == []
    assert ledger.silent(5 * S) == ["book.A2"]
    assert ledger.silent(9 * S) == []


def test_channel_named_beyond_the_head_of_a_frame_is_not_heard():
    ledger = ledger_with("book.A1")
    ledger.heard(b'{"channel":"other","data":"' + b"x" * 300 + b'","y":"book.A1"}')
    ledger.answered(7, ("book.A1",), 5 * S)
    assert ledger.silent(5 * S) == ["book.A1"]


def test_missing_channel_is_not_waited_for():
    ledger = ledger_with("book.A1", "book.A2")
    answer = ledger.answered(7, ("book.A2",), 5 * S)
    assert answer is not None
    assert (answer.accepted, answer.missing) == (("book.A2",), ("book.A1",))
    assert ledger.silent(99 * S) == ["book.A2"]


def test_late_answer_is_nobodys_once_it_was_given_up():
    ledger = ledger_with("book.A1")
    assert ledger.overdue(10 * S - 1) == []
    assert [answer.missing for answer in ledger.overdue(10 * S)] == [("book.A1",)]
    assert ledger.answered(7, ("book.A1",), 0) is None


def test_repeated_request_asks_nothing_of_what_was_accepted_before():
    ledger = ledger_with("book.A1", "book.A2")
    ledger.answered(7, ("book.A2",), 5 * S)
    ledger.heard(b'{"channel":"book.A2"}')
    ledger.sent(Order(ledger.requests[0]))
    answer = ledger.answered(7, ("book.A1",), 8 * S)
    assert answer is not None
    assert (answer.accepted, answer.missing) == (("book.A1",), ())
    assert ledger.silent(99 * S) == ["book.A1"]


def test_resync_waits_for_a_first_frame_again():
    ledger = ledger_with("book.A1")
    ledger.answered(7, ("book.A1",), 5 * S)
    ledger.heard(b'{"channel":"book.A1"}')
    ledger.sent(Order(Request(8, ("book.A1",), ""), Purpose.UNSUBSCRIBE))
    ledger.sent(Order(Request(9, ("book.A1",), ""), symbol="A1"))
    ended = ledger.answered(8, (), 5 * S)
    assert ended is not None
    assert ended.missing == ()
    again = ledger.answered(9, ("book.A1",), 6 * S)
    assert again is not None
    assert again.order.symbol == "A1"
    assert ledger.silent(6 * S) == ["book.A1"]


def test_requests_with_one_id_are_answered_in_their_order():
    ledger = ChannelLedger(TOY)
    for channel in ("book.A1", "book.A2"):
        ledger.carry(Request(7, (channel,), ""))
    for order in ledger.opened():
        ledger.sent(order)
    answers = [ledger.answered(7, (), 0) for _ in range(3)]
    assert [a and a.missing for a in answers] == [("book.A1",), ("book.A2",), None]


def test_forgotten_channels_leave_no_request_behind_and_are_not_missed():
    ledger = ledger_with("book.A1", "book.A2")
    ledger.carry(Request(8, ("book.A3",), ""))
    ledger.forget(["book.A2", "book.A3"])
    assert [order.request.request_id for order in ledger.opened()] == [7]
    ledger.sent(Order(ledger.requests[0]))
    answer = ledger.answered(7, ("book.A1",), 0)
    assert answer is not None
    assert answer.missing == ()


def queue(waiting_max: int = 10, under_way_max: int = 10) -> ResyncQueue:
    return ResyncQueue(1.0, 8.0, waiting_max, under_way_max)


def starts_after_s(resyncs: ResyncQueue, now_ns: int, symbol: str = "A") -> float:
    """Ask, run and finish one resync; returns how long it had to wait, in seconds."""
    assert resyncs.ask(symbol, now_ns) is Asked.QUEUED
    wait_ns = resyncs.waiting[symbol] - now_ns
    assert resyncs.start(now_ns + wait_ns - 1) == []
    assert resyncs.start(now_ns + wait_ns) == [symbol]
    resyncs.finish(symbol)
    return wait_ns / S


def test_backoff_of_a_listing_doubles_up_to_its_cap():
    resyncs = queue()
    now_ns = 100 * S
    waits = []
    for _ in range(6):
        waits.append(starts_after_s(resyncs, now_ns))
        now_ns += round(waits[-1] * S)
    assert waits == [0, 1, 2, 4, 8, 8]


def test_listing_that_stayed_quiet_begins_at_once_again():
    resyncs = queue()
    assert starts_after_s(resyncs, 100 * S) == 0
    assert starts_after_s(resyncs, 100 * S) == 1
    assert starts_after_s(resyncs, 101 * S + 10 * S + 1) == 0
    assert starts_after_s(resyncs, 111 * S + 1) == 1


def test_one_listing_waits_or_runs_once():
    resyncs = queue()
    assert resyncs.ask("A", 0) is Asked.QUEUED
    assert resyncs.ask("A", 0) is Asked.DUPLICATE
    assert resyncs.start(0) == ["A"]
    assert resyncs.ask("A", 0) is Asked.DUPLICATE
    resyncs.finish("A")
    assert resyncs.ask("A", 0) is Asked.QUEUED


def test_full_queue_refuses_and_running_ones_make_room():
    resyncs = queue(waiting_max=2, under_way_max=1)
    assert [resyncs.ask(s, 0) for s in "ABC"] == [Asked.QUEUED, Asked.QUEUED, Asked.FULL]
    assert resyncs.start(0) == ["A"]
    assert resyncs.start(0) == []
    assert resyncs.ask("C", 0) is Asked.QUEUED
    resyncs.finish("A")
    assert resyncs.start(0) == ["B"]


def test_ended_listing_leaves_nothing_behind():
    resyncs = queue()
    starts_after_s(resyncs, 0)
    resyncs.ask("A", 0)
    resyncs.forget("A")
    assert resyncs.start(99 * S) == []
    assert starts_after_s(resyncs, 0) == 0


def test_channels_answered_one_by_one_answer_their_request_when_the_last_is():
    ledger = ledger_with("book.A1", "book.A2", "trades.all")
    assert ledger.named(["book.A1"], [], 5 * S) == []
    assert ledger.accepted == {"book.A1"}
    assert ledger.named([], ["trades.all"], 6 * S) == []
    (answer,) = ledger.named(["book.A2"], [], 7 * S)
    assert answer.accepted == ("book.A1", "book.A2")
    assert answer.missing == ("trades.all",)
    assert ledger.pending == []
    assert ledger.silent(5 * S) == ["book.A1"]
    assert ledger.silent(7 * S) == ["book.A2"]


def test_channel_denied_by_name_may_be_asked_for_again():
    ledger = ledger_with("book.A1")
    (answer,) = ledger.named([], ["book.A1"], 5 * S)
    assert answer.missing == ("book.A1",)
    ledger.sent(Order(Request(8, ("book.A1",), "text"), due_ns=20 * S))
    assert ledger.named([], [], 6 * S) == []
    (answer,) = ledger.named(["book.A1"], [], 6 * S)
    assert (answer.accepted, answer.missing) == (("book.A1",), ())


def test_channels_never_answered_for_are_missing_and_the_others_are_not():
    ledger = ledger_with("book.A1", "book.A2")
    ledger.named(["book.A1"], [], 5 * S)
    (answer,) = ledger.overdue(10 * S)
    assert answer.missing == ("book.A2",)


def test_one_answer_for_all_channels_accepts_all_of_them():
    ledger = ledger_with("book.A1", "trades.all")
    answer = ledger.answered(7, None, 5 * S)
    assert answer is not None
    assert answer.accepted == ("book.A1", "trades.all")


def test_venue_may_name_the_channel_of_a_frame_itself():
    class Namer(Toy):
        def channel_of(self, frame: bytes) -> str | None:
            return frame.decode().replace("/", ".") if b"/" in frame else None

    ledger = ledger_with("book.A1")
    ledger.venue = Namer()
    ledger.answered(7, ("book.A1",), 5 * S)
    ledger.heard(b"rubbish")
    assert ledger.awaiting
    ledger.heard(b"book/A1")
    assert not ledger.awaiting
