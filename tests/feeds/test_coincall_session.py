"""Coincall's discovery, plan, signature, session frames and emulator; expected values by hand."""

import json

import aiohttp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.channels import ChannelLedger, Order
from feeds.contract import E9, Contract, Listing, ListingKind
from feeds.emulator.market import Market
from feeds.emulator.profiles import PROFILES
from feeds.emulator.venues.coincall import Account, CoincallServer
from feeds.errors import FrameError, SessionError
from feeds.handler import VenueHandler
from feeds.venue import (
    ChannelNamer,
    ChannelOptions,
    Control,
    HttpRequest,
    Limits,
    Pinger,
    Signer,
    Unsubscriber,
    is_experimental,
)
from feeds.venues import VENUES, coincall
from tests.conftest import shared
from tests.feeds.coincall_frames import (
    CALL,
    PUT,
    body,
    book,
    chain,
    entry,
    instrument,
    trade,
    trades,
    values,
)
from tests.feeds.emulator_client import START_NS
from tests.feeds.test_venue_battery import busy, printed, received
from tests.feeds.venue_frames import frame
from tests.feeds.venue_world import Book, VenueWorld

NAME = "BTCUSD-14SEP23-22500-C"


# ---- the signature -----------------------------------------------------------------------------

# The key of the documentation's example; the secret is ours. The signature was computed with
#   printf 'GET/users/self/verify?uuid=<key>&ts=1687326076897' |
#       openssl dgst -sha256 -hmac 'a secret of nobody'
KEY = "7PvIEreC1g5Kd17S7Ei1mEd3ppyuoixhqlzqM0Rqfhw="
SIGN = "18112173823114D5FD294A8280AF231D68C6D27C5BA05659E0D68B98256D9C93"


def test_signature_is_the_hmac_of_key_and_time_by_the_secret():
    path = coincall.path(Account(KEY, "a secret of nobody"), 1_687_326_076_897_999_999)
    assert path == f"?code=10&uuid={KEY}&ts=1687326076897&sign={SIGN}&apiKey={KEY}"


def test_signature_holds_no_secret_and_changes_with_everything_it_is_of():
    paths = {
        coincall.path(Account(key, secret), at_ns)
        for key in ("key one", "key two")
        for secret in ("secret one", "secret two")
        for at_ns in (0, 10**6)
    }
    assert len({path.split("sign=")[1].partition("&")[0] for path in paths}) == 8
    assert not any("secret" in path for path in paths)


# ---- discovery ---------------------------------------------------------------------------------


def test_coins_are_asked_for_one_by_one():
    assert coincall.discovery(["SOL", "SOL"]) == (
        HttpRequest("instruments SOL", "/open/option/getInstruments/SOL"),
    )
    assert [q.purpose for q in coincall.discovery([])] == [
        "instruments BTC", "instruments ETH", "instruments SOL",
    ]  # fmt: skip
    assert coincall.discovery(["A/B?"])[0].path == "/open/option/getInstruments/A%2FB%3F"


def test_documented_instruments_are_listings_in_coins():
    text = shared("fixtures/coincall/rest_docexample_getInstruments.json").read_bytes()
    found = coincall.instruments(text)
    assert (found.left_out, found.conflicts, found.following) == ({}, [], None)
    assert [x.symbol for x in found.listings] == [
        NAME, "BTCUSD-14SEP23-22500-P", "BTCUSD-14SEP23-23000-C", "BTCUSD-14SEP23-23000-P",
        "BTCUSD/INDEX",
    ]  # fmt: skip
    assert found.listings[0] == Listing(
        venue="coincall", symbol=NAME, kind=ListingKind.OPTION, underlying="BTC", multiplier=1.0,
        price_ccy="USD", settle="linear", tick=0.1, expiry_ns=1694678400 * E9,
        strike_e9=22_500 * E9, right="C", style="european", lot=0.01, settle_window_s=1800.0,
    )  # fmt: skip
    assert found.listings[3].contract == Contract.parse("BTC-20230914T0800Z-23000-P")
    index = found.listings[-1]
    assert (index.kind, index.underlying, index.price_ccy) == (ListingKind.INDEX, "BTC", "USD")


@pytest.mark.parametrize(
    ("name", "strike", "strike_e9"),
    [
        ("KASUSD-31MAY24-0.1250-C", 0.125, 125_000_000),
        ("ICPUSD-31MAY24-7.75-C", "7.750", 7_750_000_000),
    ],
)
def test_fractional_strikes_are_exact(name, strike, strike_e9):
    coin = name[:3]
    said = {"symbolName": name, "strike": strike, "baseCurrency": coin}
    found = coincall.instruments(body(instrument(**said, expirationTimestamp=1717142400000)))
    assert (found.listings[0].strike_e9, found.listings[0].underlying) == (strike_e9, coin)
    assert found.conflicts == []


@pytest.mark.parametrize(
    "said", [{"strike": 22501}, {"baseCurrency": "ETH"}, {"expirationTimestamp": 1694851200000}]
)
def test_fields_are_trusted_and_names_that_contradict_them_reported(said):
    found = coincall.instruments(body(instrument(**said)))
    assert len(found.conflicts) == 1
    option = found.listings[0]
    assert option.strike_e9 == said.get("strike", 22500) * E9
    assert option.underlying == said.get("baseCurrency", "BTC")
    assert option.expiry_ns == said.get("expirationTimestamp", 1694678400000) * 1_000_000


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"isActive": False}, "inactive"),
        ({"symbolName": "BTCUSD"}, "malformed"),
        ({"strike": 0}, "malformed"),
        ({"strike": None}, "malformed"),
        ({"expirationTimestamp": 0}, "malformed"),
        ({"expirationTimestamp": 2**63}, "malformed"),
        ({"minQty": 0}, "malformed"),
        ({"tickSize": "inf"}, "malformed"),
        ({"baseCurrency": ""}, "malformed"),
        ({"isActive": None}, "malformed"),
    ],
)
def test_instrument_that_cannot_be_is_counted_and_the_rest_listed(said, reason):
    found = coincall.instruments(body(instrument(**said), instrument()))
    assert [x.symbol for x in found.listings] == [NAME, "BTCUSD/INDEX"]
    assert found.left_out == {reason: 1}


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"[" * 100_000, frame({"code": 401, "msg": "sign", "data": []}),
     frame({"code": 0, "data": None})],
)  # fmt: skip
def test_body_that_is_no_list_is_an_error(text):
    with pytest.raises(FrameError, match="coincall getInstruments"):
        coincall.instruments(text)


# ---- subscription plan -------------------------------------------------------------------------


def option(symbol: str = CALL, underlying: str = "BTC") -> Listing:
    return Listing(
        "coincall", symbol, ListingKind.OPTION, underlying, 1.0, "USD", "linear", 0.1,
        expiry_ns=1688457600 * E9, strike_e9=27_000 * E9, right="C",
    )  # fmt: skip


def test_plan_asks_for_chains_then_for_each_option_one_channel_a_request():
    index = Listing("coincall", "BTCUSD/INDEX", ListingKind.INDEX, "BTC", 1.0, "USD", "linear", 0.1)
    (plan,) = coincall.subscriptions([option(PUT), index, option()], ChannelOptions(), ROOMY)
    assert [json.loads(request.text) for request in plan.requests] == [
        {"action": "subscribe", "dataType": word, "payload": payload}
        for word, payload in [
            ("tOption", {"symbol": "BTCUSD", "end": 1688457600000}),
            *(
                (word, {"symbol": name})
                for name in (CALL, PUT)
                for word in ("bsInfo", "lastTrade", "orderBook")
            ),
        ]
    ]


ROOMY = coincall.LIMITS


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({}, ["tOption", "bsInfo", "orderBook"]),
        ({"book": "window", "marks": False}, ["tOption", "bsInfo", "orderBook"]),
        ({"book": "none"}, ["tOption", "bsInfo"]),
        ({"book": "none", "quotes": True}, ["tOption", "bsInfo", "orderBook"]),
        ({"book": "none", "tickers": False}, ["bsInfo"]),
        ({"book": "none", "tickers": False, "marks": False}, []),
        ({"book": "none", "tickers": False, "marks": False, "trades": True}, ["lastTrade"]),
    ],
)
def test_options_choose_the_channels(chosen, words):
    options = ChannelOptions(**({"trades": False} | chosen))
    plans = coincall.subscriptions([option()], options, ROOMY)
    asked = [channel.partition(":")[0] for plan in plans for channel in plan.channels]
    assert asked == words


def test_a_universe_beyond_the_connections_is_refused():
    small = Limits(1, 4000, 3.0, 10, 2, 3, 2**22, 30.0, 70.0)
    with pytest.raises(SessionError, match="need 4 connections, expected at most 3"):
        coincall.subscriptions([option(), option(PUT)], ChannelOptions(), small)


@given(
    names=st.sets(st.text("ABC-0123456789.", min_size=1, max_size=12), min_size=1, max_size=40),
    per_connection=st.integers(1, 50),
    order=st.randoms(use_true_random=False),
)
def test_plan_holds_every_channel_once_and_breaks_no_limit(names, per_connection, order):
    limits = Limits(1, 300, 3.0, 10, per_connection, 1000, 2**22, 30.0, 70.0)
    listings = [option(name) for name in sorted(names)]
    plans = coincall.subscriptions(listings, ChannelOptions(), limits)
    order.shuffle(listings)
    assert coincall.subscriptions(listings, ChannelOptions(), limits) == plans
    asked = [channel for plan in plans for channel in plan.channels]
    own = {f"{word}:{n}" for n in names for word in ("bsInfo", "lastTrade", "orderBook")}
    assert sorted(asked) == sorted(own | {"tOption:BTCUSD:1688457600000"})
    for plan in plans:
        assert 0 < len(plan.channels) <= per_connection
        assert all(len(r.channels) == 1 and len(r.text) <= 300 for r in plan.requests)


def test_resync_gives_a_window_back_and_asks_for_it_again():
    first, second = coincall.resync(CALL, ChannelOptions(), 5)
    assert (first.request_id, second.request_id) == (5, 6)
    assert first.channels == second.channels == (f"orderBook:{CALL}",)
    assert [json.loads(r.text)["action"] for r in (first, second)] == ["unSubscribe", "subscribe"]
    assert coincall.resync(CALL, ChannelOptions(book="none", quotes=True), 5) == (first, second)
    assert coincall.resync(CALL, ChannelOptions(book="none"), 5) == ()
    assert coincall.resync("BTCUSD/INDEX", ChannelOptions(), 5) == ()


def test_channels_are_given_back_one_a_request():
    names = [f"orderBook:{CALL}", "tOption:BTCUSD:1688457600000"]
    requests = coincall.unsubscribe(names, ROOMY, 40)
    assert [(r.request_id, json.loads(r.text)["payload"]) for r in requests] == [
        (40, {"symbol": CALL}), (41, {"symbol": "BTCUSD", "end": 1688457600000}),
    ]  # fmt: skip


# ---- session frames ----------------------------------------------------------------------------


def test_the_module_keeps_the_seams_it_means_to():
    for seam in (ChannelNamer, Pinger, Signer, Unsubscriber):
        assert isinstance(coincall, seam)
    assert [name for name, venue in VENUES.items() if isinstance(venue, Signer)] == ["coincall"]
    assert is_experimental(coincall)
    assert coincall.hello() == ()
    assert json.loads(coincall.ping()) == {"action": "heartbeat"}
    assert not coincall.LIMITS.answers


def test_answers_are_signs_of_life_and_bad_ones_notices():
    assert coincall.control(frame({"c": 11, "rc": 1})) == Control()
    assert coincall.control(frame({"c": 20, "rc": 0})) == Control(notice="code 20: answer was 0")


@pytest.mark.parametrize(
    "content", [book(), values(), chain(entry()), trades(trade()), b"", b"[]", b'{"c":20}']
)
def test_market_data_and_rubbish_are_no_control(content):
    assert coincall.control(content) is None


def test_first_window_ends_the_wait_for_it():
    ledger = ChannelLedger(coincall)
    (_, request) = coincall.resync(CALL, ChannelOptions(), 5)
    ledger.carry(request)
    ledger.sent(Order(request))
    ledger.answered(6, None, 1000)
    for other in (book(name=PUT), values(), chain(entry()), trades(trade()), b"", b'{"dt":5}'):
        ledger.heard(other)
    assert list(ledger.awaiting) == [f"orderBook:{CALL}".encode()]
    ledger.heard(book())
    assert ledger.silent(1000) == []


# ---- the emulator ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "status"),
    [(Account(), 101), (Account(secret="of another"), 403), (Account(key="of another"), 403)],  # noqa: S106
)
async def test_emulator_admits_its_account_alone(account, status):
    server = CoincallServer(Market(3, START_NS, 30, profile=PROFILES["coincall"]), 3)
    await server.start()
    url = server.addresses("127.0.0.1")["ws_url"]
    try:
        async with aiohttp.ClientSession() as client:
            if status == 101:
                async with client.ws_connect(url + coincall.path(account, START_NS)) as socket:
                    await socket.send_str(coincall.ping())
                    assert await socket.receive_json(timeout=5) == {"c": 11, "rc": 1}
            else:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await client.ws_connect(url + coincall.path(account, START_NS))
                assert refused.value.status == status
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await client.ws_connect(url)
    finally:
        await server.stop()


async def test_recording_replays_to_the_rows_and_books_of_the_run():
    async with VenueWorld("coincall") as world:
        await world.live()
        await world.run(40)
        await world.fault(1, kind="disconnect")
        await world.run(60)
        records, books = world.records, world.books
    assert any(kinds := {record.type for record in records})
    assert len(kinds) >= 4
    whole, pieces, names = [], [], []
    for cut, rows in ((len(records), whole), (7, pieces)):
        names = []
        handler = VenueHandler(
            coincall, world.channels, lambda x, n=names: n.append(x) or len(n) - 1,
            lambda *_: None,
        )  # fmt: skip
        for begin in range(0, len(records), cut):
            rows.append(handler.consume(records[begin : begin + cut]).rows)
    rows = np.concatenate(whole)
    assert rows.tobytes() == np.concatenate(pieces).tobytes()
    replayed = {listing.symbol: Book() for listing in names}
    for row in rows:
        replayed[names[int(row["listing_id"])].symbol].take(row)
    assert {s: (b.known, b.best()) for s, b in replayed.items()} == {
        s: (b.known, b.best()) for s, b in books.items()
    }


async def test_prints_told_again_after_a_lost_connection_are_not_counted_twice():
    async with VenueWorld("coincall") as world:
        await world.live()
        symbol = busy(world)
        true = printed(world, symbol)
        since = len(world.trades)
        await world.run(30)
        told = len(received(world, symbol, since))
        assert told > 5
        assert world.counts.get("duplicate_trades", 0) == 0
        await world.fault(1, kind="disconnect")
        await world.run(150)  # A request for each channel takes its time.
        assert world.session.counts.connects > len(world.session.links)
        assert world.counts["duplicate_trades"] > 0
        found = received(world, symbol, since)
        assert len(found) > told
        # In the market's order, none twice; of what nobody listened to, the last hundred.
        rest = iter(true)
        assert all(one in rest for one in found)
