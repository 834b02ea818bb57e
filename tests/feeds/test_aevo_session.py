"""Aevo's instruments, subscription plan, session frames, and whole logs through the handler."""

import dataclasses
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.contract import Contract, Listing, ListingKind
from feeds.errors import FrameError, SessionError
from feeds.events import Kind
from feeds.handler import HandlerOut, VenueHandler
from feeds.record import Record, RecordType
from feeds.venue import (
    ChainQuoter,
    ChannelOptions,
    Checksummer,
    Control,
    HttpRequest,
    Pinger,
    Unsubscriber,
    is_experimental,
)
from feeds.venues import aevo
from tests.feeds.aevo_frames import (
    AT,
    CALL,
    FRAMES,
    INDEX,
    PERP,
    PUT,
    TICKER,
    book,
    entry,
    perpetual,
    quotes,
    trade,
)
from tests.feeds.venue_frames import frame, tuples

EXPIRY_NS = 1680249600 * 10**9


# ---- instruments ------------------------------------------------------------------------------


def test_documented_option():
    found = aevo.instruments(frame([entry()]))
    option, index = found.listings
    assert option == Listing(
        venue="aevo",
        symbol=CALL,
        kind=ListingKind.OPTION,
        underlying="ETH",
        multiplier=1.0,
        price_ccy="USDC",
        settle="linear",
        tick=0.05,
        expiry_ns=EXPIRY_NS,
        strike_e9=1_350_000_000_000,
        right="C",
        style="european",
        lot=0.1,
        settle_window_s=1800.0,
    )
    assert str(option.contract) == "ETH-20230331T0800Z-1350-C"
    assert (index.symbol, index.kind, index.price_ccy) == (INDEX, ListingKind.INDEX, "USDC")
    assert found.conflicts == []


def test_fractional_strike_is_exact():
    found = aevo.instruments(frame([entry("XRP-31MAR23-0.45-P", underlying_asset="XRP",
                                          strike="0.45")]))  # fmt: skip
    assert found.listings[0].contract == Contract("XRP", EXPIRY_NS, 450_000_000, "P")
    assert found.conflicts == []


def test_perpetual_has_neither_expiry_nor_strike_and_raises_no_question():
    found = aevo.instruments(frame([perpetual()]))
    perp, index = found.listings
    assert (perp.symbol, perp.kind, perp.tick, perp.lot) == (PERP, ListingKind.PERP, 0.01, 0.01)
    assert (perp.expiry_ns, perp.strike_e9, perp.settle_window_s) == (None, None, None)
    assert index.symbol == INDEX
    assert found.further == ()


def test_options_lead_to_the_perpetuals_of_their_assets():
    assert aevo.discovery([]) == (
        HttpRequest("instruments options", "/markets?instrument_type=OPTION"),
    )
    assert aevo.discovery(["ETH", "BTC", "ETH"]) == (
        HttpRequest("instruments ETH option", "/markets?asset=ETH&instrument_type=OPTION"),
        HttpRequest("instruments BTC option", "/markets?asset=BTC&instrument_type=OPTION"),
    )
    body = [entry(), entry(PUT), entry("BTC-31MAR23-20000-C", underlying_asset="BTC",
                                       strike="20000")]  # fmt: skip
    found = aevo.instruments(frame(body))
    assert found.further == (
        HttpRequest("instruments BTC perpetual", "/markets?asset=BTC&instrument_type=PERPETUAL"),
        HttpRequest("instruments ETH perpetual", "/markets?asset=ETH&instrument_type=PERPETUAL"),
    )
    assert [x.symbol for x in found.listings if x.kind == ListingKind.INDEX] == [
        "BTC/INDEX", INDEX,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"option_type": "put"},
        {"underlying_asset": "BTC"},
        {"strike": "1351"},
        {"expiry": "1680336000000000000"},
        {"instrument_name": "ETH-SOON"},
    ],
)
def test_a_name_that_contradicts_the_fields_is_reported(changes):
    found = aevo.instruments(frame([entry(**changes)]))
    assert len(found.listings) == 2
    (conflict,) = found.conflicts
    assert ": fields say " in conflict


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instrument_type": "SPOT"}, "spot"),
        ({"is_active": False}, "inactive"),
        ({"instrument_name": ""}, "malformed"),
        ({"option_type": None}, "malformed"),
        ({"option_type": "straddle"}, "malformed"),
        ({"strike": None}, "malformed"),
        ({"strike": "0"}, "malformed"),
        ({"strike": "-1"}, "malformed"),
        ({"expiry": None}, "malformed"),
        ({"expiry": "soon"}, "malformed"),
        ({"expiry": str(2**63)}, "malformed"),
        ({"price_step": "0"}, "malformed"),
        ({"price_step": None}, "malformed"),
        ({"amount_step": "nan"}, "malformed"),
        ({"quote_asset": ""}, "malformed"),
    ],
)
def test_an_instrument_that_cannot_be_listed_is_left_out_alone(changes, reason):
    found = aevo.instruments(frame([entry(**changes), entry(PUT)]))
    assert [x.symbol for x in found.listings] == [PUT, INDEX]
    assert found.left_out == {reason: 1}


@pytest.mark.parametrize("bad", [b"", b"{}", b"\xff", b'{"error":"RATE_LIMIT_EXCEEDED"}'])
def test_a_body_that_lists_nothing_is_refused(bad):
    with pytest.raises(FrameError, match="aevo markets: "):
        aevo.instruments(bad)


# ---- subscription plan ------------------------------------------------------------------------


def listings() -> list[Listing]:
    return aevo.instruments(frame([entry(), entry(PUT), perpetual()])).listings


def channels(options: ChannelOptions) -> tuple[str, ...]:
    (plan,) = aevo.subscriptions(listings(), options, aevo.LIMITS)
    return plan.channels


def test_plan_has_whole_assets_first_then_each_instrument():
    assert channels(ChannelOptions(quotes=True)) == (
        "book-ticker:ETH:OPTION",
        "index:ETH",
        "ticker-500ms:ETH:OPTION",
        "trades:ETH",
        f"orderbook-100ms:{CALL}",
        f"orderbook-100ms:{PUT}",
        "ticker-500ms:ETH-PERP",
        "book-ticker:ETH-PERP",
        "orderbook-100ms:ETH-PERP",
    )


@pytest.mark.parametrize(
    ("alone", "wanted"),
    [
        ({"quotes": True}, ("book-ticker:ETH:OPTION", "book-ticker:ETH-PERP")),
        ({"tickers": True}, ("ticker-500ms:ETH:OPTION", "ticker-500ms:ETH-PERP")),
        ({"marks": True}, ("ticker-500ms:ETH:OPTION",)),
        ({"trades": True}, ("trades:ETH",)),
        ({"index": True}, ("index:ETH",)),
    ],
)
def test_each_wish_asks_for_its_channels_alone(alone, wanted):
    nothing = {"book": "none", "quotes": False, "tickers": False, "trades": False, "marks": False,
               "index": False}  # fmt: skip
    assert channels(ChannelOptions(**(nothing | alone))) == wanted


def test_windows_are_served_by_changes():
    window = ChannelOptions(book="window", book_depth=50)
    assert channels(window) == channels(ChannelOptions())


def test_request_texts():
    (plan,) = aevo.subscriptions(listings()[:1], ChannelOptions(tickers=False, marks=False),
                                 aevo.LIMITS)  # fmt: skip
    (request,) = plan.requests
    assert request.text == (
        f'{{"op":"subscribe","data":["trades:ETH","orderbook-100ms:{CALL}"],"id":1001}}'
    )
    first, second = aevo.resync(CALL, ChannelOptions(), 7)
    assert first.text == f'{{"op":"unsubscribe","data":["orderbook-100ms:{CALL}"],"id":7}}'
    assert second.text == f'{{"op":"subscribe","data":["orderbook-100ms:{CALL}"],"id":8}}'


def test_resync_asks_for_what_is_a_listing_s_own():
    quoted = ChannelOptions(book="none", quotes=True)
    assert aevo.resync(CALL, quoted, 1) == ()  # the channel is the whole chain's
    assert aevo.resync(PERP, quoted, 1)[1].channels == ("book-ticker:ETH-PERP",)
    assert aevo.resync(PERP, ChannelOptions(book="none"), 1) == ()


def many(count: int) -> list[Listing]:
    model = listings()[0]
    return [dataclasses.replace(model, symbol=f"ETH-31MAR23-{n}-C") for n in range(1, count + 1)]


def test_plan_stays_within_the_limits():
    plans = aevo.subscriptions(many(1500), ChannelOptions(), aevo.LIMITS)
    assert [len(plan.channels) for plan in plans] == [1000, 502]
    for plan in plans:
        assert all(len(r.channels) <= 100 for r in plan.requests)
        assert all(len(r.text) <= aevo.LIMITS.request_bytes_max for r in plan.requests)
        back = aevo.unsubscribe(plan.channels, aevo.LIMITS, 9)
        assert [r.channels for r in back] == [r.channels for r in plan.requests]
    assert len({c for plan in plans for c in plan.channels}) == 1502


def test_more_than_the_limits_allow_is_refused():
    limits = dataclasses.replace(aevo.LIMITS, connections_max=1)
    with pytest.raises(SessionError, match="need 2 connections, expected at most 1"):
        aevo.subscriptions(many(1500), ChannelOptions(), limits)


@given(st.permutations(range(4)))
def test_plan_does_not_depend_on_the_order_of_listings(order):
    some = listings()
    expected = aevo.subscriptions(some, ChannelOptions(quotes=True), aevo.LIMITS)
    shuffled = [some[k] for k in order]
    assert aevo.subscriptions(shuffled, ChannelOptions(quotes=True), aevo.LIMITS) == expected


def test_nothing_is_asked_for_an_empty_universe():
    assert aevo.subscriptions([], ChannelOptions(), aevo.LIMITS) == ()


def test_every_channel_names_its_symbol_its_chain_and_what_it_owes():
    named = {c: aevo.symbol_of_channel(c) for c in channels(ChannelOptions(quotes=True))}
    assert {c for c, symbol in named.items() if symbol is None} == {
        "book-ticker:ETH:OPTION", "ticker-500ms:ETH:OPTION", "trades:ETH",
    }  # fmt: skip
    assert set(named.values()) == {None, CALL, PUT, PERP, INDEX}
    assert [c for c in named if aevo.owes_first_frame(c)] == [
        f"orderbook-100ms:{CALL}", f"orderbook-100ms:{PUT}", "orderbook-100ms:ETH-PERP",
    ]  # fmt: skip
    chains = {c: aevo.quoted_chain(c) for c in named}
    assert {c for c, chain in chains.items() if chain} == {"book-ticker:ETH:OPTION"}
    assert chains["book-ticker:ETH:OPTION"] == ("ETH", "USDC")
    for channel in ("orderbook-100ms:", "index:", "orders", ""):
        assert aevo.symbol_of_channel(channel) is None


# ---- session frames ---------------------------------------------------------------------------


def test_the_module_offers_what_a_session_and_a_handler_look_for():
    for seam in (Pinger, Unsubscriber, ChainQuoter, Checksummer):
        assert isinstance(aevo, seam)
    assert is_experimental(aevo)
    assert json.loads(aevo.ping()) == {"op": "ping", "id": 1}
    assert aevo.LIMITS.ping_s == 20.0
    assert aevo.hello() == ()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"id": 1001, "data": ["trades:ETH"]}, Control(ack=(1001, ("trades:ETH",)))),
        ({"id": 1001, "data": []}, Control(ack=(1001, ()))),
        ({"data": ["trades:ETH"]}, Control(accepted=("trades:ETH",))),
        ({"id": 1001, "error": "no such channel"}, Control(refused=(1001, "no such channel"))),
        (
            {"status": "error", "timestamp": "1664338190185908000",
             "error": "RATE_LIMIT_EXCEEDED", "data": {"retry_after": "4406000000"}},
            Control(notice="RATE_LIMIT_EXCEEDED"),
        ),
        ({"id": 1, "data": {"success": True, "timestamp": "1673436052887313432"}}, Control()),
    ],
)  # fmt: skip
def test_answers(said: Any, meant: Control):
    assert aevo.control(frame(said)) == meant


@pytest.mark.parametrize(
    "content",
    [
        *FRAMES[:6],
        b'{ "channel":"trades:ETH","data":{}}',
        b"",
        b"\xff",
        b"[1]",
        b"[" * 5000,
        b'{"id":1001}',
        b'{"id":1001,"data":{"success":true}}',
        b'{"id":"x","data":[]}',
    ],
)
def test_market_data_and_rubbish_are_no_session_frames(content):
    assert aevo.control(content) is None


# ---- whole logs -------------------------------------------------------------------------------

START_NS = 1_673_000_000 * 10**9
BOOK = f"orderbook-100ms:{CALL}"


class Log:
    """Records of the venue, 1 ms apart; an option (0), another (1), a perpetual (2), its index."""

    def __init__(self, *channels: str) -> None:
        self.records: list[Record] = []
        self.add(RecordType.HTTP, "instruments:x", frame([entry(), entry(PUT), perpetual()]), -1)
        self.subscription("subscribe", *channels)

    def add(self, kind: RecordType, name: str, payload: bytes, connection: int = 0) -> "Log":
        at = START_NS + len(self.records) * 1_000_000
        self.records.append(Record(at, kind, "aevo", connection, name, payload))
        return self

    def subscription(self, name: str, *channels: str) -> "Log":
        return self.add(RecordType.SUBSCRIPTION, name, json.dumps(channels).encode())

    def frames(self, *frames: bytes) -> "Log":
        for content in frames:
            self.add(RecordType.FRAME, "", content)
        return self


def consumed(log: Log, cut: int = 0, **options: Any) -> HandlerOut:
    numbers = itertools.count()
    handler = VenueHandler(aevo, ChannelOptions(**options), lambda _: next(numbers),
                           lambda *_: None)  # fmt: skip
    handler.consume(log.records[:cut])
    return handler.consume(log.records[cut:])


WHOLE = book("snapshot", [["9", "2"]], [["10", "1"]], "9:2:10:1")


def test_log_of_a_lost_update_and_its_mending():
    log = Log(BOOK).frames(
        WHOLE,
        book("update", [["9", "3"]], [], "9:3:10:1", at=AT + 1),
        # An update that added a bid of 8 is lost: the checksum of the next one shows it.
        book("update", [["9", "4"]], [], "9:4:10:1:8:1", at=AT + 3),
        book("update", [["9", "5"]], [], "9:5:10:1:8:1", at=AT + 4),
        trade(),
    )
    out = consumed(log)
    assert out.resync == [CALL]
    told = tuples(out.rows, "kind", "listing_id", "side", "size")
    assert told[:3] == [
        (Kind.BOOK_SNAPSHOT, 0, 1, 2.0), (Kind.BOOK_SNAPSHOT, 0, -1, 1.0),
        (Kind.BOOK_DELTA, 0, 1, 3.0),
    ]  # fmt: skip
    assert [row[:2] for row in told[3:]] == [(Kind.CLEAR, 0), (Kind.TRADE, 1)]
    assert (out.counts["gaps"], out.counts["checksum_failures"]) == (1, 1)
    # The answer of the resync may be stamped earlier: it says what the book is all the same.
    log.frames(book("snapshot", [["9", "5"]], [["10", "1"]], "9:5:10:1", at=AT))
    log.frames(book("update", [], [["10", "0"]], "9:5", at=AT + 5))
    mended = consumed(log)
    assert tuples(mended.rows[len(out.rows) :], "kind", "side", "size") == [
        (Kind.BOOK_SNAPSHOT, 1, 5.0), (Kind.BOOK_SNAPSHOT, -1, 1.0), (Kind.BOOK_DELTA, -1, 0.0),
    ]  # fmt: skip
    assert mended.counts["resyncs"] == 1
    for cut in range(2, len(log.records)):
        assert mended.rows.tobytes().endswith(consumed(log, cut).rows.tobytes())


def test_bids_and_asks_exchanged_do_not_pass():
    swapped = book("snapshot", [["9", "2"]], [["10", "1"]], "10:1:9:2")
    out = consumed(Log(BOOK).frames(swapped))
    assert len(out.rows) == 0
    assert (out.counts["rejected"], out.counts["checksum_failures"]) == (1, 1)


def test_copies_of_an_update_change_nothing_however_late():
    """A late one would be right by its own checksum, and put the book back."""
    first = book("update", [["9", "3"]], [], "9:3:10:1", at=AT + 1)
    second = book("update", [["9", "4"]], [], "9:4:10:1", at=AT + 2)
    plain = consumed(Log(BOOK).frames(WHOLE, first, second))
    for copies in ([first, first, second], [first, second, first], [first, second, second, first]):
        out = consumed(Log(BOOK).frames(WHOLE, *copies))
        assert out.counts["gaps"] == 0
        assert out.counts["duplicates"] == len(copies) - 2
        assert tuples(out.rows, "kind", "side", "size") == tuples(
            plain.rows, "kind", "side", "size"
        )


def test_lost_connection_is_forgotten_and_a_snapshot_stamped_earlier_opens_the_next():
    log = Log(BOOK).frames(WHOLE).add(RecordType.CONNECTION, "close", b"")
    log.subscription("subscribe", BOOK)
    log.frames(book("snapshot", [["8", "2"]], [], "8:2", at=AT - 10**9))
    log.frames(book("update", [["8", "1"]], [], "8:1", at=AT - 10**9 + 1))
    rows = consumed(log).rows
    assert tuples(rows, "kind", "side")[2:] == [
        (Kind.CLEAR, 0), (Kind.BOOK_SNAPSHOT, 1), (Kind.BOOK_DELTA, 1),
    ]  # fmt: skip
    assert consumed(log).counts["gaps"] == 0


def test_empty_book_is_known_to_be_empty():
    out = consumed(Log(BOOK).frames(WHOLE, book("snapshot", at=AT + 1)))
    assert tuples(out.rows, "kind", "side")[2:] == [(Kind.BOOK_SNAPSHOT, 0)]


def test_quotes_of_a_chain_end_with_its_connection():
    chain = "book-ticker:ETH:OPTION"
    log = Log(chain).frames(quotes(TICKER)).add(RecordType.CONNECTION, "close", b"")
    rows = consumed(log, book="none", quotes=True).rows
    assert tuples(rows, "kind", "listing_id") == [
        (Kind.QUOTE, 0), (Kind.QUOTE, 0), (Kind.CLEAR, 0), (Kind.CLEAR, 1),
    ]  # fmt: skip


def test_book_of_an_ended_option_is_kept_no_longer():
    numbers = itertools.count()
    handler = VenueHandler(aevo, ChannelOptions(), lambda _: next(numbers), lambda *_: None)
    handler.consume(Log(BOOK).frames(WHOLE).records)
    assert handler._checked is not None
    assert list(handler._checked._books) == [0]
    late_ns = EXPIRY_NS + 2 * 3600 * 10**9
    body = frame([entry(), perpetual()])
    handler.consume([Record(late_ns, RecordType.HTTP, "aevo", -1, "instruments:x", body)])
    assert handler._checked._books == {}
