"""Listings that recover from a lost connection: what the log says, and what the handler makes."""

from feeds.record import RecordType
from feeds.recovery import RECOVERING_NS_MAX, Recovery, RecoveryTurn
from tests.feeds.test_handler import CALL, PUT, handler, listed, run
from tests.feeds.toy_venue import Toy

IDS = {"A1": 0, "A2": 1, "B1": 2}


def recovery() -> Recovery:
    return Recovery(Toy().symbol_of_channel)


def lost(turns: list[RecoveryTurn]) -> list[int]:
    assert all(turn.begins for turn in turns)
    return [turn.listing_id for turn in turns]


def regained(turns: list[RecoveryTurn]) -> list[int]:
    assert not any(turn.begins for turn in turns)
    return [turn.listing_id for turn in turns]


def test_listings_of_a_lost_connection_recover_until_it_is_whole():
    one = recovery()
    one.carry(0, ["book.A2", "ticker.A1"])
    one.carry(1, ["book.B1"])
    assert one.lose(0, 5, IDS) == [RecoveryTurn(0, 5, True), RecoveryTurn(1, 5, True)]
    assert one.regain(0, 9, IDS) == [RecoveryTurn(0, 9, False), RecoveryTurn(1, 9, False)]
    assert one.regain(0, 10, IDS) == []


def test_channel_of_a_whole_currency_leaves_every_listing_in_doubt():
    one = recovery()
    one.carry(0, ["trades.all"])
    assert lost(one.lose(0, 5, IDS)) == [0, 1, 2]
    assert regained(one.regain(0, 9, IDS)) == [0, 1, 2]


def test_listing_of_two_lost_connections_recovers_until_both_are_whole():
    one = recovery()
    one.carry(0, ["book.A1"])
    one.carry(1, ["ticker.A1", "ticker.A2"])
    assert (lost(one.lose(0, 5, IDS)), lost(one.lose(1, 5, IDS))) == ([0], [0, 1])
    assert regained(one.regain(1, 8, IDS)) == [1]
    assert regained(one.regain(0, 9, IDS)) == [0]


def test_connection_lost_again_before_it_subscribed_leaves_the_same_in_doubt():
    one = recovery()
    one.carry(0, ["book.A1"])
    assert lost(one.lose(0, 5, IDS)) == [0]
    assert lost(one.lose(0, 6, IDS)) == []
    assert regained(one.regain(0, 9, IDS)) == [0]


def test_listing_that_ended_meanwhile_is_left_out():
    one = recovery()
    one.carry(0, ["book.A1", "book.A2"])
    assert lost(one.lose(0, 5, IDS)) == [0, 1]
    assert regained(one.regain(0, 9, {"A2": 1})) == [1]


def test_log_that_never_says_whole_holds_nothing_for_ever():
    one = recovery()
    one.carry(0, ["trades.all"])
    one.carry(1, ["book.A1"])
    assert one.reopen(0, 3, IDS) == []
    assert (lost(one.lose(0, 5, IDS)), lost(one.lose(1, 6, IDS))) == ([0, 1, 2], [0])
    assert one.reopen(0, 7, IDS) == [
        RecoveryTurn(1, 7 + RECOVERING_NS_MAX, False),
        RecoveryTurn(2, 7 + RECOVERING_NS_MAX, False),
    ]
    assert one.reopen(1, 8, IDS) == [RecoveryTurn(0, 8 + RECOVERING_NS_MAX, False)]
    # Lost once more it is away again, and the other does not end it.
    assert lost(one.lose(1, 9, IDS)) == []
    one.carry(1, ["book.A1"])
    assert lost(one.lose(1, 10, IDS)) == [0]
    assert regained(one.reopen(0, 11, IDS)) == [1, 2]


def test_handler_says_who_recovers_from_when_to_when():
    # The call has a book on connection 0, the put a ticker there and its book on connection 1.
    log = listed().add(RecordType.CONNECTION, "close", b"gone", connection=0)
    log.add(RecordType.CONNECTION, "open", b"", connection=0)
    log.accepted(f"book.{CALL}.100ms", f"ticker.{PUT}.100ms", connection=0)
    log.add(RecordType.TIMER, "recovered", b"whole", connection=0)
    out = run(log)
    closed_ns, latest_ns, whole_ns = log.at(3), log.at(4) + RECOVERING_NS_MAX, log.at(6)
    assert out.recovering == [
        RecoveryTurn(0, closed_ns, True),
        RecoveryTurn(1, closed_ns, True),
        RecoveryTurn(0, latest_ns, False),
        RecoveryTurn(1, latest_ns, False),
        RecoveryTurn(0, whole_ns, False),
        RecoveryTurn(1, whole_ns, False),
    ]


def test_cuts_of_the_log_change_no_turn():
    log = listed().add(RecordType.CONNECTION, "close", b"gone", connection=1)
    log.add(RecordType.TIMER, "recovered", b"whole", connection=1)
    pieces = handler()
    cut = [turn for record in log.records for turn in pieces.consume([record]).recovering]
    assert cut == run(log).recovering
    # trades.option.BTC on that connection is about every listing, the index with it.
    assert [turn.listing_id for turn in cut] == [0, 1, 2, 0, 1, 2]


def test_silence_alone_is_no_lost_connection():
    out = run(listed().add(RecordType.TIMER, "silence", b"", connection=0))
    assert out.recovering == []
