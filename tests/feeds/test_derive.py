"""Derive's recorded frames, instruments and logs; expected values are typed in from their text.

The fixtures lie beside the repository (fixtures/derive) and are never copied here. They hold the
data of a message alone, so that the tests put the notification around it.
"""

import json
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from feeds import grammar
from feeds.contract import Contract, Listing, ListingKind
from feeds.errors import FrameError
from feeds.events import Flag, FrameKind, Kind
from feeds.handler import HandlerOut, VenueHandler
from feeds.record import Record, RecordType
from feeds.venue import ChannelOptions
from feeds.venues import derive
from feeds.venues.derive.universe import next_page, page_size
from tests.conftest import ROOT, shared
from tests.feeds.deribit_frames import f32, tuples
from tests.feeds.derive_frames import AT_MS, CALL, book, clean, fixture, notification, trade, trades

FIXTURES = "fixtures/derive/nautilus_"

# ---- recorded frames --------------------------------------------------------------------------


def test_recorded_ticker_values_are_fractions_dollars_and_coins():
    frame = notification("ticker_slim.X.1000", fixture("ws_ticker_slim_eth_call"))
    out = clean([frame], {"X": 7})
    assert out.rows.count == 0  # by the clock: the book says the prices
    (row,) = out.tickers.view()
    at_ns = 1779953796231000000
    assert (row["rx_ns"], row["ex_ns"], row["listing_id"]) == (1000, at_ns, 7)
    assert (row["mark"], row["forward"], row["index"]) == (398.1, 1992.6, 1991.7)
    assert math.isnan(row["iv_bid"])  # "0" is none
    assert row["iv_ask"] == np.float32(0.88815)
    assert row["iv_mark"] == np.float32(0.67698)
    assert row["delta"] == np.float32(0.95222)
    assert row["gamma"] == np.float32(0.00036344)
    assert row["vega"] == np.float32(0.40175)
    assert row["theta"] == np.float32(-0.90562)
    assert (row["open_interest"], row["oi_ns"]) == (0.0, at_ns)  # 0 is a value


def test_recorded_ticker_that_follows_the_quotes_brings_both_sides():
    frame = notification("ticker_slim.X.100", fixture("ws_ticker_slim_eth_call"))
    out = clean([frame], {"X": 7})
    at_ns = 1779953796231000000
    assert tuples(out.rows.view(), "kind", "side", "price", "size", "flags", "ex_ns") == [
        (Kind.QUOTE, 1, 383.0, f32(150.62), 0, at_ns),
        (Kind.QUOTE, -1, 409.8, f32(13.72), Flag.LAST, at_ns),
    ]
    assert out.tickers.view()["mark"].tolist() == [398.1]
    assert out.frames.count == 0


def test_worked_example_of_the_page_is_the_recorded_bid_in_dollars():
    frame = notification("ticker_slim.X.100", fixture("ws_ticker_slim_eth_call"))
    bid = clean([frame], {"X": 0}).rows.view()[0]
    premium = bid["price"] * bid["size"] * OPTION.multiplier
    assert premium == pytest.approx(57_687.46, abs=0.005)
    page = (ROOT / "docs" / "venues" / "derive.md").read_text()
    assert f"{premium:,.2f} USDC in all" in page


def test_recorded_greeks_are_black_scholes_per_hundredth_and_per_day():
    """Delta gives d1, vega and gamma the time; gamma and theta then follow from nothing else."""
    forward, iv, delta, gamma, vega, theta = 1992.6, 0.67698, 0.95222, 0.00036344, 0.40175, -0.90562
    d1 = NormalDist().inv_cdf(delta)
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    years = 100 * vega / (forward * forward * gamma * iv)
    assert years == pytest.approx(15 / 365, rel=0.01)
    assert density / (forward * iv * math.sqrt(years)) == pytest.approx(gamma, rel=0.003)
    decay = -forward * density * iv / (2 * math.sqrt(years))
    assert decay / 365 == pytest.approx(theta, rel=0.003)


def test_recorded_book_of_a_perpetual_is_a_window_ordered_by_its_time():
    frame = notification("orderbook.ETH-PERP.1.10", fixture("ws_orderbook_perp_eth"))
    out = clean([frame], {"ETH-PERP": 3})
    fields = ("kind", "side", "level", "price", "size", "seq", "ex_ns", "flags")
    at_ms, at_ns = 1700000000000, 1700000000000000000
    snapshot = Kind.BOOK_SNAPSHOT
    assert tuples(out.rows.view(), *fields) == [
        (snapshot, 1, 0, 3500.0, 1.0, at_ms, at_ns, Flag.SNAPSHOT_START),
        (snapshot, -1, 0, 3501.0, 2.0, at_ms, at_ns, Flag.LAST),
    ]
    assert out.frames.view().tolist() == [(3, FrameKind.WINDOW, at_ms, at_ms, -1, 1000, 0, 2)]


def test_recorded_print_is_a_purchase_of_one_coin():
    frame = notification("trades.option.ETH", [fixture("ws_trade_option_eth")])
    out = clean([frame], {CALL: 5})
    fields = ("kind", "side", "price", "size", "ex_ns", "flags", "aux")
    assert tuples(out.rows.view(), *fields) == [
        (Kind.TRADE, 1, 3500.0, 1.0, 1700000000001000000, Flag.LAST, 0)
    ]
    assert len(out.trade_keys) == 1


def test_recorded_answer_tells_accepted_channels_from_refused_ones():
    frame = shared(f"{FIXTURES}ws_subscribe_ack.json").read_bytes()
    answer = derive.control(frame)
    assert answer is not None
    # Its id is a text, which none of ours is, so that the channels count by name.
    assert answer.ack is None
    assert sorted(answer.accepted) == [
        "orderbook.ETH-USDC.1.10",
        "ticker_slim.ETH-USDC.1000",
        "trades.ETH-USDC",
        "trades.erc20.ETH",
    ]
    assert answer.denied == ("trades.spot.ETH",)
    assert clean([frame], {}).skipped == {"answer": 1}


# ---- instruments ------------------------------------------------------------------------------

OPTION = Listing(
    venue="derive",
    symbol=CALL,
    kind=ListingKind.OPTION,
    underlying="ETH",
    multiplier=1.0,
    price_ccy="USDC",
    settle="linear",
    tick=1.0,
    expiry_ns=1782000000_000_000_000,
    strike_e9=3500_000_000_000,
    right="C",
    style="european",
    lot=0.01,
    settle_window_s=1800.0,
)


def test_recorded_instruments_are_a_perpetual_an_option_and_their_index():
    found = derive.instruments(shared(f"{FIXTURES}http_get_instruments_eth_all.json").read_bytes())
    perpetual, option, index = found.listings
    assert perpetual == Listing(
        "derive", "ETH-PERP", ListingKind.PERP, "ETH", 1.0, "USDC", "linear", 0.01, lot=0.001
    )
    assert option == OPTION
    assert (index.symbol, index.kind, index.underlying) == ("ETH-USD", ListingKind.INDEX, "ETH")
    assert (found.left_out, found.following) == ({}, None)
    # The name says 2026-06-27, the field 2026-06-21: hand-made, and a proof that it is reported.
    assert found.conflicts == [f"derive {CALL}: fields say ETH-20260621T0000Z-3500-C"]


def test_recorded_single_instrument_is_the_same_option():
    entry = fixture("instrument_option_eth")
    assert derive.instruments(json.dumps({"result": [entry]}).encode()).listings[0] == OPTION


@pytest.mark.parametrize("name", [CALL, "HYPE-20260904-77_5-C", "ETH-20240914-2400-P"])
def test_names_read_and_print_back(name):
    assert grammar.print_symbol(grammar.parse("derive", name)) == name


def instrument(name: str = "ETH-20260627-2400_5-P", **changes: Any) -> dict[str, Any]:
    details = {
        "expiry": 1782547200,
        "index": "ETH-USD",
        "option_type": "P",
        "settlement_price": None,
        "strike": "2400.5",
    }
    return {
        "instrument_name": name,
        "instrument_type": "option",
        "is_active": True,
        "base_currency": "ETH",
        "quote_currency": "USDC",
        "tick_size": "0.1",
        "amount_step": "0.01",
        "option_details": details | changes.pop("details", {}),
        "perp_details": None,
    } | changes


def body_of(*entries: Any) -> bytes:
    return json.dumps({"id": 1, "result": list(entries)}).encode()


@pytest.mark.parametrize("text", ["2400.5", "2400_5", "2400.500"])
def test_a_fractional_strike_is_exact_in_either_spelling(text):
    found = derive.instruments(body_of(instrument(details={"strike": text})))
    contract = Contract("ETH", 1782547200_000_000_000, 2_400_500_000_000, "P")
    assert (found.listings[0].contract, found.conflicts) == (contract, [])
    assert str(contract) == "ETH-20260627T0800Z-2400.5-P"


def test_options_on_shares_expire_at_their_own_hour_without_a_conflict():
    details = {"expiry": 1782504000, "strike": "600", "index": "SPY-USD"}  # 16:00 New York
    entry = instrument("SPY-20260626-600-P", base_currency="SPY", details=details)
    found = derive.instruments(body_of(entry))
    assert str(found.listings[0].contract) == "SPY-20260626T2000Z-600-P"
    assert found.conflicts == []


@pytest.mark.parametrize(
    ("name", "details"),
    [
        ("ETH-20260627-2400_5-C", {}),
        ("ETH-20260627-2400-P", {}),
        ("ETH-20260628-2400_5-P", {}),
        ("BTC-20260627-2400_5-P", {}),
        ("ETH-27JUN26-2400_5-P", {}),
        ("ETH-20260627-2400_5-P", {"index": "ETH-EUR"}),
    ],
)
def test_fields_are_trusted_over_what_contradicts_them(name, details):
    found = derive.instruments(body_of(instrument(name, details=details)))
    assert found.listings[0].strike_e9 == 2_400_500_000_000
    assert [text.split(":")[0] for text in found.conflicts] == [f"derive {name}"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instrument_type": "erc20"}, "erc20"),
        ({"is_active": False}, "inactive"),
        ({"option_details": None}, "malformed"),
        ({"details": {"strike": "-1"}}, "malformed"),
        ({"details": {"strike": 2400.5}}, "malformed"),
        ({"details": {"strike": "0"}}, "malformed"),
        ({"details": {"strike": "1e99"}}, "malformed"),
        ({"details": {"expiry": 1782547200000}}, "malformed"),
        ({"details": {"option_type": "call"}}, "malformed"),
        ({"tick_size": "0"}, "malformed"),
        ({"tick_size": None}, "malformed"),
        ({"tick_size": "nan"}, "malformed"),
        ({"base_currency": ""}, "malformed"),
        ({"instrument_name": 5}, "malformed"),
        ({"instrument_type": None}, "malformed"),
    ],
)
def test_what_cannot_be_listed_is_left_out_alone_and_counted(changes, reason):
    found = derive.instruments(body_of(instrument(**changes), instrument()))
    assert [x.symbol for x in found.listings] == ["ETH-20260627-2400_5-P", "ETH-USD"]
    assert found.left_out == {reason: 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"result":5}',
        b'{"id":1,"error":{"code":-32000,"message":"Rate limit exceeded"}}',
        b'{"result":{"instruments":[]}}',
        b"\xff",
        b"[" * 5000,
    ],
)
def test_a_body_that_lists_nothing_is_refused(body):
    with pytest.raises(FrameError, match="derive get_all_instruments"):
        derive.instruments(body)


def test_discovery_asks_for_the_first_page_of_options_and_of_perpetuals():
    asked = derive.discovery(["ETH"])
    assert [r.purpose for r in asked] == ["instruments option page 1", "instruments perp page 1"]
    assert {r.path for r in asked} == {"/public/get_all_instruments"}
    assert [json.loads(r.body or b"") for r in asked] == [
        {"expired": False, "instrument_type": kind, "page": 1, "page_size": 1000}
        for kind in ("option", "perp")
    ]


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 1998, 1999, 2166, 2994, 2995, 5000])
def test_pages_hold_every_instrument_and_end(count):
    """A server that knows pages alone, asked as our answers to its answers say."""
    every = [
        instrument(f"ETH-20260627-{n + 1}-P", details={"strike": str(n + 1)}) for n in range(3)
    ]
    page, seen = 1, set[int]()
    for _ in range(10):
        size = page_size(page)
        held = range(count)[(page - 1) * size : page * size]
        seen.update(held)
        result = {
            "instruments": [every[n % 3] for n in held],
            "pagination": {"count": count, "num_pages": -(-count // size)},
        }
        found = derive.instruments(json.dumps({"result": result}).encode())
        if found.following is None:
            break
        asked = json.loads(found.following.body or b"")
        assert asked["instrument_type"] == "option"
        page += 1
        assert (asked["page"], asked["page_size"]) == (page, page_size(page))
    else:
        pytest.fail("no last page")
    assert seen == set(range(count))


def test_a_full_last_page_asks_for_no_other():
    assert next_page(1000, 1000) is None
    assert next_page(999, 1998) is None


def test_a_page_of_a_size_nobody_asked_for_is_refused():
    """As from a server that gives less than it is asked for: no rest is lost in silence."""
    with pytest.raises(FrameError, match="a page had 100 of 2166 instruments"):
        next_page(100, 2166)


def test_a_full_page_without_a_readable_instrument_is_refused():
    result = {"instruments": [{}] * 1000, "pagination": {"count": 1001}}
    with pytest.raises(FrameError, match="no instrument could be read"):
        derive.instruments(json.dumps({"result": result}).encode())


# ---- the handler ------------------------------------------------------------------------------

START_NS = 1_700_000_000 * 10**9
BOOK = f"orderbook.{CALL}.1.10"


def handled(*steps: tuple[RecordType, str, bytes]) -> tuple[HandlerOut, list[Record]]:
    """What a handler makes of a log of one connection that begins with the recorded instruments."""
    body = shared(f"{FIXTURES}http_get_instruments_eth_all.json").read_bytes()
    asked = json.dumps([BOOK, "trades.option.ETH"]).encode()
    log = [
        (RecordType.HTTP, "instruments:option", body),
        (RecordType.SUBSCRIPTION, "subscribe", asked),
        (RecordType.SUBSCRIPTION, "accepted", asked),
        *steps,
    ]
    records = [
        Record(START_NS + n * 10**6, kind, "derive", 0, name, payload)
        for n, (kind, name, payload) in enumerate(log)
    ]
    listings: list[Listing] = []

    def allocate(listing: Listing) -> int:
        listings.append(listing)
        return len(listings) - 1

    handler = VenueHandler(derive, ChannelOptions(), allocate, lambda *_: None)
    return handler.consume(records), records


def frame(payload: bytes) -> tuple[RecordType, str, bytes]:
    return (RecordType.FRAME, "", payload)


def window(price: str, at_ms: int) -> tuple[RecordType, str, bytes]:
    return frame(book([[price, "2"]], [["9000", "1"]], at_ms))


def test_windows_replace_each_other_and_an_older_one_is_dropped():
    out, records = handled(
        window("100", AT_MS),
        window("101", AT_MS + 100),
        window("99", AT_MS + 50),
        window("102", AT_MS + 100),  # the same millisecond: in the order of arrival
    )
    bids = out.rows[out.rows["side"] == 1]
    assert tuples(bids, "listing_id", "price") == [(1, 100.0), (1, 101.0), (1, 102.0)]
    assert bids["rx_ns"].tolist() == [records[n].rx_ns for n in (3, 4, 6)]
    assert (out.counts["duplicates"], out.counts["gaps"], out.resync) == (1, 0, [])


def test_a_lost_connection_clears_the_book_and_the_next_window_brings_it_back():
    out, records = handled(
        window("100", AT_MS),
        frame(trades(trade())),
        (RecordType.CONNECTION, "close", b"gone"),
        frame(trades(trade(), trade(trade_id="2", direction="sell"))),
        window("101", AT_MS - 5000),  # another machine of the venue, whose clock is behind
    )
    assert tuples(out.rows, "kind", "side", "price")[:4] == [
        (Kind.BOOK_SNAPSHOT, 1, 100.0),
        (Kind.BOOK_SNAPSHOT, -1, 9000.0),
        (Kind.TRADE, 1, 2485.2),
        (Kind.CLEAR, 0, pytest.approx(math.nan, nan_ok=True)),
    ]
    assert out.rows["rx_ns"][3] == records[5].rx_ns
    # The print that was sent again counts once.
    assert tuples(out.rows, "kind", "side", "price")[4:] == [
        (Kind.TRADE, -1, 2485.2),
        (Kind.BOOK_SNAPSHOT, 1, 101.0),
        (Kind.BOOK_SNAPSHOT, -1, 9000.0),
    ]
    assert out.counts["duplicate_trades"] == 1


def test_a_resync_clears_once_and_the_fresh_window_is_live():
    leave, join = derive.resync(CALL, ChannelOptions(), 50)
    out, _ = handled(
        window("100", AT_MS),
        (RecordType.SUBSCRIPTION, "unsubscribe", json.dumps(leave.channels).encode()),
        (RecordType.SUBSCRIPTION, "accepted", json.dumps(join.channels).encode()),
        window("101", AT_MS + 100),
    )
    assert out.rows["kind"].tolist() == [
        *[Kind.BOOK_SNAPSHOT] * 2,
        Kind.CLEAR,
        *[Kind.BOOK_SNAPSHOT] * 2,
    ]


def test_an_empty_window_says_that_the_book_is_known_to_be_empty():
    out, _ = handled(window("100", AT_MS), frame(book([], [], AT_MS + 100)))
    known = out.rows[-1]
    assert (known["kind"], known["side"]) == (Kind.BOOK_SNAPSHOT, 0)
    assert np.isnan(known["price"])
    assert known["flags"] == Flag.SNAPSHOT_START | Flag.LAST
