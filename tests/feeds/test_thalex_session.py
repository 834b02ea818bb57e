"""Thalex's instruments, subscription plan, session frames, and whole logs through the handler."""

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
from feeds.venues import thalex
from tests.feeds.thalex_frames import (
    AT,
    CALL,
    FRAMES,
    FUTURE,
    INDEX,
    PERP,
    PUT,
    book,
    entry,
    future,
    message,
    option,
    perpetual,
    trade,
    trades,
    turns,
)
from tests.feeds.venue_frames import frame, tuples

EXPIRY_NS = 1774598400 * 10**9  # 27 March 2026, 08:00 UTC


def body(*entries: Any) -> bytes:
    return frame({"result": entries})


# ---- instruments ------------------------------------------------------------------------------


def test_option_and_its_index():
    found = thalex.instruments(body(entry()))
    option, index = found.listings
    assert option == Listing(
        venue="thalex",
        symbol=CALL,
        kind=ListingKind.OPTION,
        underlying="BTC",
        multiplier=1.0,
        price_ccy="USD",
        settle="linear",
        tick=5.0,
        expiry_ns=EXPIRY_NS,
        strike_e9=10**14,
        right="C",
        style="european",
        lot=0.1,
        settle_window_s=1800.0,
    )
    assert str(option.contract) == "BTC-20260327T0800Z-100000-C"
    assert (index.symbol, index.kind, index.underlying) == (INDEX, ListingKind.INDEX, "BTC")
    assert found.conflicts == []


def test_documented_option_of_2021():
    documented = (
        b'{"result":[{"instrument_name":"BTC-10SEP21-70000-C","product":"OBTCUSD","tick_size":5,'
        b'"volume_tick_size":0.1,"min_order_amount":0.1,"underlying":"BTCUSD","type":"option",'
        b'"option_type":"call","expiry_date":"2021-09-10","expiration_timestamp":1631260800,'
        b'"strike_price":70000,"base_currency":"USD","create_time":1631250800.103645}]}'
    )
    found = thalex.instruments(documented)
    assert str(found.listings[0].contract) == "BTC-20210910T0800Z-70000-C"
    assert found.conflicts == []


def test_fractional_strike_is_exact():
    one = entry("XRP-27MAR26-0.45-P", underlying="XRPUSD", strike_price=0.45)
    assert thalex.instruments(body(one)).listings[0].contract == Contract(
        "XRP", EXPIRY_NS, 450_000_000, "P"
    )


def test_perpetuals_have_no_expiry_and_futures_no_strike():
    perp, dated, index = thalex.instruments(body(perpetual(), future())).listings
    assert (perp.symbol, perp.kind, perp.tick, perp.lot) == (PERP, ListingKind.PERP, 1.0, 0.001)
    assert (perp.expiry_ns, perp.settle_window_s) == (None, None)
    assert (dated.symbol, dated.kind, dated.expiry_ns) == (FUTURE, ListingKind.FUTURE, EXPIRY_NS)
    assert (dated.strike_e9, dated.settle_window_s) == (None, 1800.0)
    assert index.symbol == INDEX


@pytest.mark.parametrize(
    "changes",
    [
        {"option_type": "put"},
        {"underlying": "ETHUSD"},
        {"strike_price": 100001},
        {"expiration_timestamp": 1774684800},
        {"instrument_name": "BTC-SOON"},
    ],
)
def test_a_name_that_contradicts_the_fields_is_reported(changes):
    found = thalex.instruments(body(entry(**changes)))
    assert len(found.listings) == 2
    (conflict,) = found.conflicts
    assert ": fields say " in conflict


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "combination"}, "combination"),
        ({"instrument_name": ""}, "malformed"),
        ({"option_type": None}, "malformed"),
        ({"option_type": "straddle"}, "malformed"),
        ({"strike_price": None}, "malformed"),
        ({"strike_price": "100000"}, "malformed"),
        ({"strike_price": 0}, "malformed"),
        ({"strike_price": -1}, "malformed"),
        ({"expiration_timestamp": None}, "malformed"),
        ({"expiration_timestamp": 2**62}, "malformed"),
        ({"tick_size": 0}, "malformed"),
        ({"volume_tick_size": "0.1"}, "malformed"),
        ({"underlying": "BTCEUR"}, "malformed"),
        ({"underlying": "USD"}, "malformed"),
        ({"base_currency": ""}, "malformed"),
    ],
)
def test_an_instrument_that_cannot_be_listed_is_left_out_alone(changes, reason):
    found = thalex.instruments(body(entry(**changes), entry(PUT)))
    assert [x.symbol for x in found.listings] == [PUT, INDEX]
    assert found.left_out == {reason: 1}


@pytest.mark.parametrize("bad", [b"", b"[]", b"{}", b"\xff", b'{"error":{"code":3,"message":""}}'])
def test_a_body_that_lists_nothing_is_refused(bad):
    with pytest.raises(FrameError, match="thalex public/instruments: "):
        thalex.instruments(bad)


def test_discovery_asks_once_whatever_is_named():
    wanted = (HttpRequest("instruments", "/public/instruments"),)
    assert thalex.discovery([]) == thalex.discovery(["BTC", "ETH"]) == wanted


# ---- subscription plan ------------------------------------------------------------------------


def listings() -> list[Listing]:
    return thalex.instruments(body(entry(), entry(PUT), perpetual(), future())).listings


def channels(options: ChannelOptions) -> tuple[str, ...]:
    (plan,) = thalex.subscriptions(listings(), options, thalex.LIMITS)
    return plan.channels


def test_plan_has_whole_underlyings_first_then_each_instrument():
    assert channels(ChannelOptions(quotes=True)) == (
        "instruments",
        "lwt_options.BTCUSD.all.100ms",
        "price_index.BTCUSD",
        "recent_trades.BTCUSD.all",
        "system",
        f"ticker.{FUTURE}.1000ms",
        f"lwt.{FUTURE}.100ms",
        f"book.{FUTURE}.none.all.100ms",
        f"ticker.{CALL}.1000ms",
        f"book.{CALL}.none.all.100ms",
        f"ticker.{PUT}.1000ms",
        f"book.{PUT}.none.all.100ms",
        f"ticker.{PERP}.1000ms",
        f"lwt.{PERP}.100ms",
        f"book.{PERP}.none.all.100ms",
    )


@pytest.mark.parametrize(
    ("alone", "wanted"),
    [
        ({"quotes": True}, ("lwt_options.BTCUSD.all.100ms", f"lwt.{FUTURE}.100ms",
                            f"lwt.{PERP}.100ms")),
        ({"tickers": True}, (f"ticker.{FUTURE}.1000ms", f"ticker.{CALL}.1000ms",
                             f"ticker.{PUT}.1000ms", f"ticker.{PERP}.1000ms")),
        ({"marks": True}, ("lwt_options.BTCUSD.all.1000ms",)),
        ({"trades": True}, ("recent_trades.BTCUSD.all",)),
        ({"index": True}, ("price_index.BTCUSD",)),
    ],
)  # fmt: skip
def test_each_wish_asks_for_its_channels_alone(alone, wanted):
    nothing = {"book": "none", "quotes": False, "tickers": False, "trades": False, "marks": False,
               "index": False}  # fmt: skip
    found = channels(ChannelOptions(**(nothing | alone)))
    assert tuple(c for c in found if c not in ("instruments", "system")) == wanted
    assert {"instruments", "system"} < set(found)


def test_windows_are_served_by_changes():
    assert channels(ChannelOptions(book="window", book_depth=50)) == channels(ChannelOptions())


def test_request_texts():
    first, second = thalex.resync(CALL, ChannelOptions(), 7)
    name = f"book.{CALL}.none.all.100ms"
    assert first.text == f'{{"method":"unsubscribe","params":{{"channels":["{name}"]}},"id":7}}'
    assert second.text == (
        f'{{"method":"public/subscribe","params":{{"channels":["{name}"]}},"id":8}}'
    )


def test_resync_asks_for_what_is_a_listing_s_own():
    quoted = ChannelOptions(book="none", quotes=True)
    assert thalex.resync(CALL, quoted, 1) == ()  # the channel is the whole chain's
    assert thalex.resync(PERP, quoted, 1)[1].channels == (f"lwt.{PERP}.100ms",)
    assert thalex.resync(FUTURE, quoted, 1)[1].channels == (f"lwt.{FUTURE}.100ms",)
    assert thalex.resync(PERP, ChannelOptions(book="none"), 1) == ()


def many(count: int) -> list[Listing]:
    model = listings()[0]
    return [dataclasses.replace(model, symbol=f"BTC-27MAR26-{n}-C") for n in range(1, count + 1)]


def test_plan_stays_within_the_limits():
    plans = thalex.subscriptions(many(700), ChannelOptions(), thalex.LIMITS)
    assert [len(plan.channels) for plan in plans] == [1000, 403]
    for plan in plans:
        assert all(len(r.channels) <= 200 for r in plan.requests)
        assert all(len(r.text) <= thalex.LIMITS.request_bytes_max for r in plan.requests)
        back = thalex.unsubscribe(plan.channels, thalex.LIMITS, 9)
        assert [r.channels for r in back] == [r.channels for r in plan.requests]
    assert len({c for plan in plans for c in plan.channels}) == 1403


def test_more_than_the_limits_allow_is_refused():
    limits = dataclasses.replace(thalex.LIMITS, connections_max=1)
    with pytest.raises(SessionError, match="need 2 connections, expected at most 1"):
        thalex.subscriptions(many(700), ChannelOptions(), limits)


@given(st.permutations(range(5)))
def test_plan_does_not_depend_on_the_order_of_listings(order):
    some = listings()
    expected = thalex.subscriptions(some, ChannelOptions(quotes=True), thalex.LIMITS)
    shuffled = [some[k] for k in order]
    assert thalex.subscriptions(shuffled, ChannelOptions(quotes=True), thalex.LIMITS) == expected


def test_nothing_is_asked_for_an_empty_universe():
    assert thalex.subscriptions([], ChannelOptions(), thalex.LIMITS) == ()


def test_every_channel_names_its_symbol_its_chain_and_what_it_owes():
    named = {c: thalex.symbol_of_channel(c) for c in channels(ChannelOptions(quotes=True))}
    wide = {"instruments", "lwt_options.BTCUSD.all.100ms", "recent_trades.BTCUSD.all", "system"}
    assert {c for c, symbol in named.items() if symbol is None} == wide
    assert set(named.values()) == {None, CALL, PUT, PERP, FUTURE, INDEX}
    assert {c for c in named if not thalex.owes_first_frame(c)} == {
        "recent_trades.BTCUSD.all", "system",
    }  # fmt: skip
    chains = {c: thalex.quoted_chain(c) for c in named}
    assert {c: chain for c, chain in chains.items() if chain} == {
        "lwt_options.BTCUSD.all.100ms": ("BTC", "USD"),
    }
    for channel in ("book.", "price_index.", "banners", ""):
        assert thalex.symbol_of_channel(channel) is None


# ---- session frames ---------------------------------------------------------------------------


def test_the_module_offers_what_a_session_and_a_handler_look_for():
    for seam in (Pinger, Unsubscriber, ChainQuoter, Checksummer):
        assert isinstance(thalex, seam)
    assert is_experimental(thalex)
    assert json.loads(thalex.ping()) == {"method": "public/system_info", "params": {}, "id": 1}
    assert thalex.LIMITS.ping_s == 20.0
    assert thalex.hello() == ()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"id": 1001, "result": ["instruments"]}, Control(ack=(1001, ("instruments",)))),
        ({"id": 1001, "result": []}, Control(ack=(1001, ()))),
        ({"id": None, "result": ["instruments"]}, Control(accepted=("instruments",))),
        (
            {"id": 1001, "error": {"code": 3, "message": "throttle exceeded"}},
            Control(refused=(1001, "3 throttle exceeded")),
        ),
        ({"id": None, "error": {"code": 3, "message": "no"}}, Control(notice="3 no")),
        ({"id": 1, "result": {"environment": "production"}}, Control()),
        (
            {"channel_name": "system", "notification": {"event": "reconnect"}},
            Control(notice="reconnect"),
        ),
    ],
)
def test_answers(said: Any, meant: Control):
    assert thalex.control(frame(said)) == meant


@pytest.mark.parametrize(
    "content",
    [
        *FRAMES[:9],
        b'{ "channel_name":"recent_trades.BTCUSD.all","notification":[]}',
        message("system", {}),
        b"",
        b"\xff",
        b"[1]",
        b"[" * 5000,
        b'{"id":1001}',
        b'{"id":1001,"result":{"x":1}}',
        b'{"id":"x","result":[]}',
    ],
)
def test_market_data_and_rubbish_are_no_session_frames(content):
    assert thalex.control(content) is None


# ---- whole logs -------------------------------------------------------------------------------

START_NS = 1_683_000_000 * 10**9
BOOK = f"book.{CALL}.none.all.100ms"


class Log:
    """Records of the venue, 1 ms apart; options (0, 1), a perpetual (2), the index (3)."""

    def __init__(self, *channels: str) -> None:
        self.records: list[Record] = []
        self.add(RecordType.HTTP, "instruments:x", body(entry(), entry(PUT), perpetual()), -1)
        self.subscription("subscribe", *channels)

    def add(self, kind: RecordType, name: str, payload: bytes, connection: int = 0) -> "Log":
        at = START_NS + len(self.records) * 1_000_000
        self.records.append(Record(at, kind, "thalex", connection, name, payload))
        return self

    def subscription(self, name: str, *channels: str) -> "Log":
        return self.add(RecordType.SUBSCRIPTION, name, json.dumps(channels).encode())

    def frames(self, *frames: bytes) -> "Log":
        for content in frames:
            self.add(RecordType.FRAME, "", content)
        return self


def consumed(log: Log, cut: int = 0, **options: Any) -> HandlerOut:
    numbers = itertools.count()
    handler = VenueHandler(thalex, ChannelOptions(**options), lambda _: next(numbers),
                           lambda *_: None)  # fmt: skip
    handler.consume(log.records[:cut])
    return handler.consume(log.records[cut:])


WHOLE = book([[9000, 2, 2]], [[9010, 1, 1]], (2, 1), whole=True)


def test_log_of_a_lost_update_and_its_mending():
    log = Log(BOOK).frames(
        WHOLE,
        book([[9000, 3, 3]], [], (3, 1), at=AT + 1),
        # An update that added a bid of 0.5 is lost: the total of the next one shows it.
        book([], [[9010, 2, 2]], (3.5, 2), at=AT + 3),
        book([[9000, 1, 1]], [], (1.5, 2), at=AT + 4),
        trades(trade()),
    )
    out = consumed(log)
    assert out.resync == [CALL]
    told = tuples(out.rows, "kind", "listing_id", "side", "size")
    assert told[:3] == [
        (Kind.BOOK_SNAPSHOT, 0, 1, 2.0), (Kind.BOOK_SNAPSHOT, 0, -1, 1.0),
        (Kind.BOOK_DELTA, 0, 1, 3.0),
    ]  # fmt: skip
    assert [row[:2] for row in told[3:]] == [(Kind.CLEAR, 0), (Kind.TRADE, 0)]
    assert (out.counts["gaps"], out.counts["checksum_failures"]) == (1, 1)
    log.frames(
        book([[9000, 1, 1], [8990, 0.5, 0.5]], [[9010, 2, 2]], (1.5, 2), at=AT + 5, whole=True)
    )
    mended = consumed(log)
    assert tuples(mended.rows[len(out.rows) :], "kind", "side", "price") == [
        (Kind.BOOK_SNAPSHOT, 1, 9000.0), (Kind.BOOK_SNAPSHOT, 1, 8990.0),
        (Kind.BOOK_SNAPSHOT, -1, 9010.0),
    ]  # fmt: skip
    for cut in range(2, len(log.records)):
        assert mended.rows.tobytes().endswith(consumed(log, cut).rows.tobytes())


def test_lost_move_of_an_equal_amount_shows_when_its_level_is_touched_and_no_sooner():
    """The limit of the rule: totals do not say where the amounts are."""
    log = Log(BOOK).frames(
        WHOLE,
        # Lost: the bid moved from 9000 to 9005, and the totals stayed.
        book([], [[9010, 2, 2]], (2, 2), at=AT + 2),
    )
    assert consumed(log).counts["gaps"] == 0
    for touched in ([[9005, 0, 0]], [[9005, 3, 3]], [[9000, 1, 1]]):
        true = {9005: 2.0} | {price: amount for price, amount, _ in touched}
        more = Log(BOOK).frames(*[r.payload for r in log.records[2:]])
        more.frames(book(touched, [], (sum(true.values()), 2), at=AT + 3))
        assert consumed(more).counts["gaps"] == 1


def test_snapshot_with_other_totals_is_no_book():
    out = consumed(Log(BOOK).frames(book([[9000, 2, 2]], [], (3, 0), whole=True)))
    assert len(out.rows) == 0
    assert out.counts["checksum_failures"] == 1


def test_lost_connection_is_forgotten_and_a_snapshot_stamped_earlier_opens_the_next():
    log = Log(BOOK).frames(WHOLE).add(RecordType.CONNECTION, "close", b"")
    log.subscription("subscribe", BOOK)
    log.frames(book([[8000, 2, 2]], [], (2, 0), at=AT - 9, whole=True))
    log.frames(book([[8000, 1, 1]], [], (1, 0), at=AT - 8))
    rows = consumed(log).rows
    assert tuples(rows, "kind", "side")[2:] == [
        (Kind.CLEAR, 0), (Kind.BOOK_SNAPSHOT, 1), (Kind.BOOK_DELTA, 1),
    ]  # fmt: skip


def test_notices_ask_for_instruments_and_end_them():
    log = Log(BOOK).frames(turns({"added": entry("BTC-27MAR26-110000-C")}), WHOLE,
                           turns({"removed": entry()}), WHOLE)  # fmt: skip
    out = consumed(log)
    assert out.discover == ["BTC-27MAR26-110000-C"]
    assert [row[0] for row in tuples(out.rows, "kind")] == [
        Kind.BOOK_SNAPSHOT, Kind.BOOK_SNAPSHOT, Kind.STATE_CHANGE,
    ]  # fmt: skip
    assert (out.counts["retired"], out.counts["skipped.unknown_symbol"]) == (1, 1)


def test_quotes_of_a_chain_end_with_its_connection():
    log = Log("lwt_options.BTCUSD.all.100ms").frames(option())
    log.add(RecordType.CONNECTION, "close", b"")
    rows = consumed(log, book="none", quotes=True).rows
    assert tuples(rows, "kind", "listing_id") == [
        (Kind.QUOTE, 0), (Kind.QUOTE, 0), (Kind.CLEAR, 0), (Kind.CLEAR, 1),
    ]  # fmt: skip
