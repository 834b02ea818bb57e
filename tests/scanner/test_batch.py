"""Rows that no listing can have meant: counted, and their book is not believed."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from feeds.events import BOOK_GIVEN_BACK, EVENT, TICKER, Flag, Kind
from kernels.columns import (
    DELTA,
    NO_FORWARD,
    OFI_BUY,
    OFI_SELL,
    REGULAR_WEIGHT,
    SLOT,
    SPREAD_SUM,
    TICKER_FIELDS,
    Validity,
)
from scanner.batch import build_batch, build_tickers
from scanner.engine import Scanner
from tests.kernels.market import SECOND, START_NS, listings

TICK = 0.0005  # of listing 0


def quote(at_s: float, listing_id: int, bid: float, ask: float, size: float = 5.0) -> list[tuple]:
    rx_ns = START_NS + int(at_s * SECOND)
    return [
        (rx_ns, 0, 0, price, size, listing_id, Kind.QUOTE, side, flags, 0, 0)
        for price, side, flags in ((bid, 1, 0), (ask, -1, Flag.LAST))
    ]


def trade(at_s: float, price: float, flags: int = 0) -> tuple:
    rx_ns = START_NS + int(at_s * SECOND)
    return (rx_ns, 0, 0, price, 2.0, 0, Kind.TRADE, 1, Flag.LAST | flags, 0, 0)


def scanned(*rows: list[tuple]) -> tuple[Scanner, int]:
    """A scanner of two listings after the rows, and the validity of the first one."""
    scanner = Scanner()
    scanner.add(listings(2))
    scanner.apply(np.array([row for part in rows for row in part], EVENT), None)
    result = scanner.scan(START_NS + 10 * SECOND)
    return scanner, int(result.validity[0])


GOOD = quote(1, 0, 0.05, 0.052)
OTHER = quote(1, 1, 10.0, 10.1)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (quote(2, 0, 0.0502, 0.052), "rows_off_grid"),
        (quote(2, 0, np.inf, 0.052), "rows_off_grid"),
        (quote(2, 0, 0.05, 2e6), "rows_off_grid"),
        (quote(2, 0, 0.05, 0.052, size=-1.0), "rows_bad_size"),
        (quote(2, 0, 0.05, 0.052, size=np.inf), "rows_bad_size"),
    ],
)
def test_a_bad_quote_makes_its_listing_a_gap_and_no_other(bad, reason):
    scanner, validity = scanned(GOOD, OTHER, bad)
    assert validity & Validity.GAP
    assert scanner.state.columns.validity[1] == 0
    assert scanner.row_counts()[reason] in (1, 2)  # Either side, or both, of the quote.
    assert scanned(GOOD, OTHER, bad, quote(3, 0, 0.05, 0.052))[1] == 0  # The next one heals it.


def test_a_bad_trade_is_counted_and_leaves_the_book_alone():
    scanner, validity = scanned(GOOD, [trade(2, 0.0502), trade(2, 0.0505)])
    assert validity == 0
    assert scanner.row_counts()["rows_off_grid"] == 1
    assert scanner.scan(START_NS + 11 * SECOND).metrics["trades"][0] == pytest.approx(1, rel=0.03)


def test_a_negotiated_print_may_lie_between_ticks():
    scanner, validity = scanned(GOOD, [trade(2, 0.05021, Flag.BLOCK)])
    assert validity == 0
    assert scanner.row_counts()["rows_off_grid"] == 0


def test_rows_of_nobody_and_rejected_rows_are_counted():
    rejected = [(*row[:8], row[8] | Flag.REJECTED, *row[9:]) for row in quote(2, 0, 0.04, 0.06)]
    scanner, _ = scanned(GOOD, quote(2, 2, 0.05, 0.052), rejected)
    counts = scanner.row_counts()
    assert counts["rows_unknown_listing"] == counts["rows_rejected"] == 2
    assert scanner.scan(START_NS + 11 * SECOND).metrics["mid"][0] == pytest.approx(0.051)


def test_rows_are_stable_by_listing_and_an_open_update_waits():
    scanner, _ = scanned(GOOD)
    later, first = quote(5, 1, 10.0, 10.1), quote(5, 0, 0.05, 0.0525)
    rows = np.array([later[0], first[0], first[1], later[1], quote(6, 0, 0.05, 0.053)[0]], EVENT)
    batch, waiting = build_batch(rows, 2, scanner.state, scanner.device, Counter())
    assert batch.listing.tolist() == [1, 0]
    assert batch.start.tolist() == [0, 2, 4]
    assert batch.ticks.tolist() == [200, 202, 100, 105]
    assert batch.side.tolist() == [1, -1, 1, -1]
    assert waiting["listing_id"].tolist() == [0]
    assert waiting["rx_ns"].tolist() == [START_NS + 6 * SECOND]


def test_tickers_are_stable_by_listing_and_say_when_they_came():
    rows = np.zeros(4, TICKER)
    rows["rx_ns"] = START_NS + np.arange(4)
    rows["listing_id"] = [1, 0, 2, 1]  # Nobody is 2.
    rows["delta"] = [0.1, 0.2, 0.3, 0.4]
    rows["forward"] = [50_000.25, np.nan, 1, 0]  # None is 0.
    scanner, _ = scanned(GOOD)
    tickers = build_tickers(rows, 2, scanner.state, scanner.device)
    assert tickers.listing.tolist() == [1, 0]
    assert tickers.start.tolist() == [0, 2, 3]
    assert (tickers.rx_ns - START_NS).tolist() == [0, 3, 1]
    delta = tickers.value[:, TICKER_FIELDS.index("delta")]
    assert delta.tolist() == np.float32([0.1, 0.4, 0.2]).tolist()
    assert tickers.forward_e6.tolist() == [50_000_250_000, NO_FORWARD, NO_FORWARD]


def test_a_retired_listing_stays_ended_whatever_still_arrives():
    scanner, validity = scanned(GOOD)
    assert validity == 0
    scanner.universe.retire(0, START_NS + 11 * SECOND)
    scanner.apply(np.array(quote(12, 0, 0.05, 0.053), EVENT))
    result = scanner.scan(START_NS + 13 * SECOND)
    assert int(result.validity[0]) == Validity.EXPIRED
    assert result.metrics["mid"][0] != result.metrics["mid"][0]


def book(at_s: float, kind: Kind, *levels: tuple[int, float, float]) -> list[tuple]:
    """One book update of listing 0: (side, price, size) rows."""
    rx_ns = START_NS + int(at_s * SECOND)
    made = []
    for n, (side, price, size) in enumerate(levels):
        flags = Flag.SNAPSHOT_START if kind is Kind.BOOK_SNAPSHOT and n == 0 else 0
        flags |= Flag.LAST if n == len(levels) - 1 else 0
        made.append((rx_ns, 0, 0, price, size, 0, kind, side, flags, 0, 0))
    return made


SNAPSHOT = book(1, Kind.BOOK_SNAPSHOT, (1, 0.05, 5.0), (1, 0.0495, 4.0), (-1, 0.052, 7.0))
BAD_SNAPSHOT = book(1, Kind.BOOK_SNAPSHOT, (1, 0.05, 5.0), (1, 0.0492, 4.0), (-1, 0.052, 7.0))


@pytest.mark.parametrize("cut", range(6))
def test_an_update_that_a_tick_cuts_is_the_same_in_order(cut):
    levels = ((1, 0.05, 5.0), (1, 0.0495, 4.0), (1, 0.049, 3.0), (-1, 0.052, 7.0), (-1, 0.053, 6.0))
    rows = np.array(book(1, Kind.BOOK_SNAPSHOT, *levels), EVENT)
    scanner = Scanner()
    scanner.add(listings(2))
    for part, at_s in ((rows[:cut], 2), (rows[cut:], 3)):
        scanner.apply(part)
        scanner.tick(START_NS + at_s * SECOND)
    books, slot = scanner.state.books, scanner.state.columns.i32[SLOT, 0]
    assert books.levels[slot].tolist() == [3, 2]
    assert books.price[slot, 0, :3].tolist() == [100, 99, 98]
    assert books.price[slot, 1, :2].tolist() == [104, 106]


def test_a_bad_first_snapshot_is_a_gap_that_no_delta_mends():
    deltas = book(2, Kind.BOOK_DELTA, (1, 0.04, 1.0), (-1, 0.08, 1.0))
    scanner, validity = scanned(BAD_SNAPSHOT, deltas)
    assert validity & Validity.GAP
    assert np.isnan(scanner.scan(START_NS + 11 * SECOND).metrics["mid"][0])
    assert scanner.row_counts()["deltas_in_gap"] == 2
    assert scanner.take_resyncs() == [0]
    again = book(3, Kind.BOOK_SNAPSHOT, (1, 0.05, 5.0), (-1, 0.052, 7.0))
    assert scanned(BAD_SNAPSHOT, deltas, again)[1] == 0


def test_a_bad_delta_makes_a_gap_and_asks_for_the_book_again():
    scanner, validity = scanned(SNAPSHOT, book(2, Kind.BOOK_DELTA, (1, 0.0492, 3.0)))
    assert validity & Validity.GAP
    assert scanner.take_resyncs() == [0]
    assert scanner.take_resyncs() == []
    assert scanned(SNAPSHOT, book(2, Kind.BOOK_DELTA, (1, 0.0495, 3.0)))[0].take_resyncs() == []


def test_a_bad_quote_of_a_listing_with_a_book_is_ignored_like_a_good_one():
    scanner, validity = scanned(SNAPSHOT, quote(2, 0, 0.0502, 0.052))
    assert validity == 0
    assert scanner.row_counts()["quotes_superseded"] == 1


def cleared(at_s: float, level: int) -> list[tuple]:
    rx_ns = START_NS + round(at_s * SECOND)
    return [(rx_ns, 0, 0, np.nan, 0.0, 0, Kind.CLEAR, 0, Flag.LAST, level, 0)]


def test_quotes_count_again_once_the_book_is_given_back_and_not_before():
    after = quote(3, 0, 0.05, 0.052)
    gapped, validity = scanned(SNAPSHOT, cleared(2, 0), after)
    assert validity & Validity.GAP
    assert gapped.row_counts()["quotes_superseded"] == 1
    quoted, validity = scanned(SNAPSHOT, cleared(2, BOOK_GIVEN_BACK), after)
    assert validity == 0
    assert quoted.row_counts()["quotes_superseded"] == 0
    assert scanned(SNAPSHOT, cleared(2, BOOK_GIVEN_BACK))[1] & Validity.GAP
    again = book(4, Kind.BOOK_SNAPSHOT, (1, 0.05, 5.0), (-1, 0.052, 7.0))
    booked, validity = scanned(
        SNAPSHOT, cleared(2, BOOK_GIVEN_BACK), after, again, quote(5, 0, 0.04, 0.06)
    )
    assert validity == 0
    assert booked.row_counts()["quotes_superseded"] == 1


def test_the_first_book_after_equal_quotes_is_no_flow_and_no_spread_of_zero():
    quotes = [row for k in range(1, 5) for row in quote(k, 0, 0.05, 0.052)]
    first_book = book(6, Kind.BOOK_SNAPSHOT, (1, 0.05, 5.0), (-1, 0.052, 5.0))
    f32 = scanned(quotes, first_book)[0].state.columns.f32
    assert f32[[OFI_BUY, OFI_SELL], 0].tolist() == [0, 0]
    assert f32[SPREAD_SUM, 0] / f32[REGULAR_WEIGHT, 0] == pytest.approx(4, rel=1e-5)


def test_another_tick_makes_the_prices_in_the_old_one_a_gap():
    scanner, validity = scanned(SNAPSHOT)
    assert validity == 0
    scanner.add([replace(listings(1)[0], tick=TICK / 2)])
    result = scanner.scan(START_NS + 11 * SECOND)
    assert int(result.validity[0]) == Validity.GAP | Validity.NO_BID | Validity.NO_ASK
    assert scanner.take_resyncs() == [0]
    later = book(12, Kind.BOOK_SNAPSHOT, (1, 0.05, 5.0), (-1, 0.052, 7.0))
    scanner.apply(np.array(later, EVENT))
    result = scanner.scan(START_NS + 13 * SECOND)
    assert int(result.validity[0]) == 0
    assert result.metrics["mid"][0] == pytest.approx(0.051)
    assert result.metrics["ofi_300s"][0] == 0


def test_tickers_alone_wait_for_a_tick_too():
    scanner = Scanner()
    scanner.add(listings(1))
    assert not scanner.has_pending
    tickers = np.zeros(1, TICKER)
    tickers["rx_ns"], tickers["delta"] = START_NS, 0.25
    scanner.apply(np.empty(0, EVENT), tickers)
    assert scanner.has_pending
    scanner.tick(START_NS)
    assert scanner.state.columns.f32[DELTA, 0] == 0.25
    assert not scanner.has_pending


def test_where_a_batch_is_cut_before_the_first_book_changes_nothing():
    first_book = book(6, Kind.BOOK_SNAPSHOT, (1, 0.05, 5.0), (-1, 0.052, 5.0))
    parts = [quote(2, 0, 0.05, 0.052), quote(3, 0, 0.0505, 0.052), first_book]
    whole, _ = scanned(*parts)
    cut = Scanner()
    cut.add(listings(2))
    for part in parts:
        cut.apply(np.array(part, EVENT))
        cut.tick(part[0][0])
    cut.scan(START_NS + 10 * SECOND)
    for mine, theirs in zip(whole.state.columns, cut.state.columns, strict=True):
        assert mine[..., 0].tobytes() == theirs[..., 0].tobytes()
