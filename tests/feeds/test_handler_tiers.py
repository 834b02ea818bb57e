"""The handler where some listings have depth: which loss of a channel makes what unknown."""

from types import SimpleNamespace

import pytest

from feeds.events import BOOK_GIVEN_BACK, Kind
from feeds.handler import HandlerOut, VenueHandler
from feeds.record import RecordType
from feeds.tiers import tiers_of
from feeds.venue import ChannelOptions
from feeds.venues import deribit
from tests.feeds.deribit_frames import tuples
from tests.feeds.test_handler import CALL, PUT, Log, Universe, entry

BOOK, QUOTE = f"book.{CALL}.100ms", f"quote.{CALL}"


class TieredLog(Log):
    """Best prices of a call (id 0) come on connection 0, its depth, where asked for, on 1."""

    def __init__(self) -> None:
        super().__init__()
        self.instruments(entry(CALL), entry(PUT))
        self.accepted(QUOTE, f"quote.{PUT}", connection=0)

    def deep(self) -> "TieredLog":
        self.subscription("subscribe", BOOK, connection=1)
        self.accepted(BOOK, connection=1)
        self.book(CALL, 10, None, ["new", 0.05, 3.0])
        return self

    def lose(self, connection: int) -> "TieredLog":
        self.add(RecordType.CONNECTION, "close", b"gone", connection)
        return self


def run(log: Log) -> HandlerOut:
    universe = Universe()
    base, depth = tiers_of(deribit, ChannelOptions(), two=True)
    return VenueHandler(deribit, base, universe.allocate, universe.retire, depth=depth).consume(
        log.records
    )


def clears(log: Log) -> list[tuple[int, int]]:
    """Listing and level of every row that makes a book unknown."""
    rows = run(log).rows
    return tuples(rows[rows["kind"] == Kind.CLEAR], "listing_id", "level")


def test_best_prices_are_lost_with_their_connection_but_not_where_a_book_stands():
    assert clears(TieredLog().lose(0)) == [(0, BOOK_GIVEN_BACK), (1, BOOK_GIVEN_BACK)]
    assert clears(TieredLog().deep().lose(0)) == [(1, BOOK_GIVEN_BACK)]


def test_a_book_is_lost_with_its_connection_and_one_that_never_came_takes_nothing_along():
    assert clears(TieredLog().deep().lose(1)) == [(0, BOOK_GIVEN_BACK)]
    log = TieredLog()
    log.subscription("subscribe", BOOK, connection=1)
    assert clears(log.lose(1)) == []
    late = TieredLog()
    late.subscription("subscribe", BOOK, connection=1)
    late.add(RecordType.TIMER, "first_data", BOOK.encode(), 1)
    assert clears(late) == []
    late.book(CALL, 10, None, ["new", 0.05, 3.0])
    assert run(late).rows["kind"].tolist() == [Kind.BOOK_SNAPSHOT]  # Late, and welcome.


@pytest.mark.parametrize("name", ["unsubscribe", "missing"])
def test_what_comes_of_a_book_after_it_was_given_back_is_refused_and_counted(name):
    log = TieredLog().deep()
    log.subscription(name, BOOK, connection=1)
    log.book(CALL, 11, 10, ["change", 0.05, 4.0]).book(CALL, 12, None, ["new", 0.06, 1.0])
    out = run(log)
    assert out.rows["kind"].tolist() == [Kind.BOOK_SNAPSHOT, Kind.CLEAR]
    assert (out.counts["unasked"], out.counts["unasked_rows"]) == (2, 2)
    assert out.counts["rejected_rows"] == 0
    assert out.resync == []
    log.subscription("subscribe", BOOK, connection=1)
    log.book(CALL, 13, None, ["new", 0.07, 1.0])
    assert run(log).rows["kind"].tolist()[2:] == [Kind.BOOK_SNAPSHOT]


def test_lost_connection_of_depth_leaves_in_doubt_what_it_carried_at_the_end_alone():
    log = TieredLog().deep()
    log.subscription("unsubscribe", BOOK, connection=1)
    assert run(log.lose(1)).recovering == []
    again = TieredLog().deep()
    again.subscription("unsubscribe", BOOK, connection=1)
    again.subscription("subscribe", BOOK, connection=1)
    assert [turn.listing_id for turn in run(again.lose(1)).recovering] == [0]


def test_a_book_that_nobody_asked_for_is_refused():
    log = TieredLog()
    log.book(CALL, 10, None, ["new", 0.05, 3.0])
    log.book(CALL, 11, 10, ["change", 0.05, 4.0], ["new", 0.04, 1.0])
    out = run(log)
    assert (len(out.rows), out.counts["unasked"], out.counts["unasked_rows"]) == (0, 2, 3)
    assert (out.counts["rejected"], out.counts["rejected_rows"]) == (0, 0)


def test_rows_that_nobody_asked_for_are_told_from_those_behind_a_gap():
    log = TieredLog().deep()
    other = f"book.{PUT}.100ms"
    log.book(PUT, 5, None, ["new", 0.01, 1.0])  # Nobody asked for its book,
    log.book(CALL, 13, 12, ["new", 0.06, 9.0], ["new", 0.07, 9.0])  # and this one has a gap.
    out = run(log)
    assert (out.counts["unasked_rows"], out.counts["rejected_rows"]) == (1, 2)
    log.subscription("subscribe", other, connection=1)
    log.book(PUT, 6, None, ["new", 0.01, 1.0])
    assert run(log).counts["unasked_rows"] == 1


def test_a_gap_gives_the_word_back_to_best_prices():
    log = TieredLog().deep()
    log.book(CALL, 13, 12, ["new", 0.06, 9.0])
    out = run(log)
    assert tuples(out.rows, "kind", "level")[1:] == [(Kind.CLEAR, BOOK_GIVEN_BACK)]
    assert out.resync == [CALL]
    # What is lost already is not lost again, and quotes that came meanwhile stand.
    assert clears(log.lose(1)) == [(0, BOOK_GIVEN_BACK)]


def test_chain_that_is_lost_does_not_make_a_book_forget_its_gap():
    own = {
        "CHAIN_OPTION": "marks",
        "quoted_chain": lambda channel: ("BTC", "BTC") if channel == "chain" else None,
        "symbol_of_channel": lambda c: None if c == "chain" else deribit.symbol_of_channel(c),
    }
    chained = SimpleNamespace(**{**vars(deribit), **own})
    log = TieredLog().deep()
    log.accepted("chain", connection=2)
    log.book(CALL, 13, 12, ["new", 0.06, 9.0]).lose(2)
    log.book(CALL, 12, None, ["new", 0.05, 1.0])  # It does not hold what came with 13.
    log.book(CALL, 14, None, ["new", 0.04, 1.0])
    universe = Universe()
    base, depth = tiers_of(deribit, ChannelOptions(), two=True)
    handler = VenueHandler(chained, base, universe.allocate, universe.retire, depth=depth)
    out = handler.consume(log.records)
    books = out.rows[out.rows["kind"] == Kind.BOOK_SNAPSHOT]
    assert books["seq"].tolist() == [10, 14]
    assert (out.counts["duplicates"], out.counts["clears"]) == (1, 2)


def test_one_tier_clears_without_giving_back():
    log = Log().instruments(entry(CALL))
    log.accepted(BOOK).book(CALL, 10, None, ["new", 0.05, 3.0])
    log.subscription("unsubscribe", BOOK)
    universe = Universe()
    rows = (
        VenueHandler(deribit, ChannelOptions(), universe.allocate, universe.retire)
        .consume(log.records)
        .rows
    )
    assert tuples(rows, "kind", "level")[1:] == [(Kind.CLEAR, 0)]


def relisted(log: TieredLog) -> TieredLog:
    """The call ends, and is listed again under its name (id 3) while its channels go on."""
    log.state(CALL, "delivered")
    log.book(CALL, 20, None, ["new", 0.05, 1.0])  # Of the new one, before anybody knows of it.
    log.instruments(entry(CALL), entry(PUT))
    return log


def test_relisted_option_whose_depth_is_still_subscribed_has_a_book_and_is_asked_for_anew():
    log = relisted(TieredLog().deep())
    out = run(log)
    assert out.resync == [CALL]  # Its snapshot may have come while nobody knew of it.
    log.book(CALL, 21, None, ["new", 0.06, 2.0]).book(CALL, 22, 21, ["new", 0.07, 2.0])
    out = run(log)
    books = out.rows[out.rows["listing_id"] == 3]
    assert tuples(books, "kind", "price") == [
        (Kind.BOOK_SNAPSHOT, 0.06),
        (Kind.BOOK_DELTA, 0.07),
    ]
    assert out.counts["unasked"] == 0
    assert clears(log.lose(1)) == [(3, BOOK_GIVEN_BACK)]


def test_relisted_option_without_depth_is_closed_and_its_best_prices_are_asked_for_anew():
    log = relisted(TieredLog())
    log.book(CALL, 21, None, ["new", 0.06, 2.0])
    out = run(log)
    assert (out.resync, out.counts["unasked"]) == ([CALL], 1)
    assert sorted(clears(log.lose(0))) == [(1, BOOK_GIVEN_BACK), (3, BOOK_GIVEN_BACK)]


@pytest.mark.parametrize("end", ["unsubscribe", "close"])
def test_relisted_option_whose_depth_ended_meanwhile_is_closed(end):
    log = TieredLog().deep().state(CALL, "delivered")
    if end == "close":
        log.lose(1)
    else:
        log.subscription("unsubscribe", BOOK, connection=1)
    log.instruments(entry(CALL), entry(PUT)).book(CALL, 21, None, ["new", 0.06, 2.0])
    assert run(log).counts["unasked"] == 1
