"""The emulated venue on its wire: discovery, sessions, channels and the chain of change ids."""

import math
from itertools import pairwise
from typing import Any

import pytest

from feeds.contract import E9
from feeds.emulator.market import STEP_NS
from feeds.events import DecodeOut, FrameKind, Kind
from feeds.venues import deribit
from tests.feeds.emulator_client import START_NS, Venue

HEARTBEAT_STEPS = 10 * E9 // STEP_NS


# Discovery


async def test_discovery_read_by_the_venue_gives_the_rows_path_s_listings() -> None:
    async with Venue() as venue:
        found = []
        for currency in ("BTC", "ETH", "USDC"):
            for kind in ("option", "future", "spot"):
                path = f"/api/v2/public/get_instruments?currency={currency}&kind={kind}"
                async with venue._session.get(path) as answer:
                    discovery = deribit.instruments(await answer.read())
                assert not discovery.left_out
                assert not discovery.conflicts
                found += discovery.listings
        public = venue.market.universe.listings[: venue.market.universe.public]
        assert {x.symbol: x for x in found} == {x.symbol: x for x in public}


async def test_instrument_has_the_venue_s_fields() -> None:
    async with Venue(options=1_000) as venue:
        body = await venue.get("/api/v2/public/get_instruments?currency=USDC&kind=option")
        option = next(x for x in body["result"] if x["instrument_name"].endswith("d5-C"))
        assert body["testnet"] is True
        assert option["instrument_type"] == "linear"
        assert option["strike"] % 1 == 0.5
        assert option["option_type"] == "call"
        assert option["expiration_timestamp"] % 86_400_000 == 8 * 3_600_000
        btc = await venue.get("/api/v2/public/get_instrument?instrument_name=BTC-PERPETUAL")
        assert btc["result"]["settlement_period"] == "perpetual"
        assert btc["result"]["instrument_type"] == "reversed"
        coin = await venue.get("/api/v2/public/get_instruments?currency=BTC&kind=option")
        assert coin["result"][0]["tick_size"] == 0.0001
        assert coin["result"][0]["tick_size_steps"] == [{"above_price": 0.005, "tick_size": 0.0005}]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("get_instruments?currency=DOGE", -32602),
        ("get_order_book?instrument_name=BTC-1JAN20-1-C", 13020),
        ("get_order_book?instrument_name=BTC-PERPETUAL&depth=x", -32602),
        ("get_index_price?index_name=doge_usd", -32602),
        ("get_nothing", -32601),
    ],
)
async def test_wrong_requests_are_refused_with_their_code(path: str, code: int) -> None:
    async with Venue(options=60) as venue:
        body = await venue.get(f"/api/v2/public/{path}")
        assert body["error"]["code"] == code


async def test_prices_summaries_and_books_answer_over_rest() -> None:
    async with Venue() as venue:
        index = await venue.get("/api/v2/public/get_index_price?index_name=eth_usd")
        assert 2_500 < index["result"]["index_price"] < 3_500
        path = "/api/v2/public/get_book_summary_by_currency?currency=ETH&kind=option"
        chain = (await venue.get(path))["result"]
        assert len(chain) == 60
        symbol = venue.symbol()
        book = await venue.get(f"/api/v2/public/get_order_book?instrument_name={symbol}&depth=10")
        true = (await venue.true_books())[symbol]
        assert {name: book["result"][name] for name in true} == true
        assert book["result"]["best_bid_price"] == true["bids"][0][0]


async def test_rest_runs_out_of_credits_after_a_hundred_requests() -> None:
    async with Venue(options=60) as venue:
        path = "/api/v2/public/get_time"
        answers = [await venue.get(path) for _ in range(101)]
        assert all("result" in answer for answer in answers[:100])
        assert answers[100]["error"] == {
            "code": 10028, "message": "too_many_requests", "data": None,
        }  # fmt: skip
        await venue.server.advance(1)  # 100 ms bring 1,000 credits: two requests.
        again = [await venue.get(path) for _ in range(3)]
        assert ["result" in answer for answer in again] == [True, True, False]


# Sessions


async def test_acknowledgement_lists_known_channels_and_drops_the_rest_silently() -> None:
    async with Venue() as venue:
        client, symbol = await venue.connect(), venue.symbol()
        asked = [
            f"book.{symbol}.100ms", "book.BTC-1JAN20-1-C.100ms", f"quote.{symbol}", "nonsense",
            f"ticker.{symbol}.agg9", "trades.option.BTC.100ms", "platform_state",
            f"book.{symbol}.none.10.100ms", f"book.{symbol}.none.7.100ms", "book.btc_usd.100ms",
        ]  # fmt: skip
        accepted = await client.subscribe(*asked)
        assert accepted == [asked[0], asked[2], asked[5], asked[6], asked[7]]


async def test_raw_channels_are_refused_for_strangers() -> None:
    async with Venue(options=60) as venue:
        client = await venue.connect()
        names = [f"book.{venue.symbol()}.raw", "trades.option.BTC.100ms"]
        answer = await client.call("public/subscribe", channels=names)
        assert answer["error"]["code"] == 13778
        assert answer["error"]["message"] == "raw_subscriptions_not_available_for_unauthorized"
        assert not venue.server.listened


async def test_eleventh_subscription_at_once_is_refused_and_ends_the_session() -> None:
    async with Venue(options=60) as venue:
        client = await venue.connect()
        for _ in range(10):
            assert "result" in await client.call("public/subscribe", channels=[])
        answer = await client.call("public/subscribe", channels=[])
        assert answer["error"]["code"] == 10028
        assert await client.call("public/test") == {}
        assert client.closed


async def test_credits_come_back_with_simulated_time() -> None:
    async with Venue(options=60) as venue:
        client = await venue.connect()
        for _ in range(10):
            await client.call("public/subscribe", channels=[])
        await venue.server.advance(3)  # 300 ms x 10,000 a second = one subscription.
        assert "result" in await client.call("public/subscribe", channels=[])


async def test_subscribing_again_brings_no_new_snapshot_but_after_unsubscribing_it_does() -> None:
    async with Venue() as venue:
        client = await venue.connect()
        channel = f"book.{venue.symbol()}.100ms"
        await client.subscribe(channel)
        assert await client.subscribe(channel) == [channel]
        assert client.books[venue.symbol()].snapshots == 1
        left = await client.call("public/unsubscribe", channels=[channel, "quote.unknown"])
        assert left["result"] == [channel]
        await venue.server.advance(20)
        await client.subscribe(channel)
        assert client.books[venue.symbol()].snapshots == 2
        assert client.books[venue.symbol()].levels() == (await venue.true_books())[venue.symbol()]


async def test_quiet_client_is_asked_and_cut_when_it_does_not_answer() -> None:
    async with Venue(options=60) as venue:
        client = await venue.connect()
        assert (await client.call("public/set_heartbeat", interval=10))["result"] == "ok"
        await venue.server.advance(HEARTBEAT_STEPS)
        assert (await client.socket.receive_json())["params"] == {"type": "test_request"}
        await venue.server.advance(HEARTBEAT_STEPS)
        assert await client.call("public/test") == {}
        assert venue.server.counters["heartbeat_cut"] == 1


async def test_client_that_answers_keeps_its_connection() -> None:
    async with Venue(options=60) as venue:
        client = await venue.connect()
        await client.call("public/set_heartbeat", interval=10)
        for _ in range(4):
            await venue.server.advance(HEARTBEAT_STEPS)
            await client.settle()
        assert not client.closed
        assert client.beats == ["test_request", "heartbeat", "heartbeat", "heartbeat"]


async def test_too_short_a_heartbeat_and_rubbish_are_refused_without_ending_the_session() -> None:
    async with Venue(options=60) as venue:
        client = await venue.connect()
        assert (await client.call("public/set_heartbeat", interval=9))["error"]["code"] == -32602
        await client.socket.send_str("{rubbish")
        answer = await client.socket.receive_json()
        assert answer["error"]["code"] == -32700
        assert "result" in await client.call("public/test")


async def test_thirty_third_connection_is_refused() -> None:
    async with Venue(options=60) as venue:
        clients = [await venue.connect() for _ in range(32)]
        async with venue._session.get("/ws/api/v2") as answer:
            assert answer.status == 429
        assert len(clients) == 32


# Channels


async def test_books_rebuilt_from_the_wire_equal_the_true_books() -> None:
    async with Venue() as venue:
        client = await venue.connect()
        symbols = [s for s in await venue.true_books() if "PERPETUAL" not in s]
        await client.subscribe(*(f"book.{s}.100ms" for s in symbols), "book.BTC-PERPETUAL.100ms")
        await venue.server.advance(100)
        await client.settle()
        true = await venue.true_books()
        for symbol, book in client.books.items():
            assert book.levels() == true[symbol], symbol
            assert (book.snapshots, book.gaps) == (1, 0)
        assert sum(book.changes for book in client.books.values()) > 300


async def test_change_ids_are_shared_between_instruments_and_skip() -> None:
    async with Venue() as venue:
        client = await venue.connect()
        await client.subscribe("book.BTC-PERPETUAL.100ms", "book.ETH-PERPETUAL.100ms")
        await venue.server.advance(30)
        await client.settle()
        btc = [f["change_id"] for f in client.of("book.BTC-PERPETUAL.100ms")]
        eth = [f["change_id"] for f in client.of("book.ETH-PERPETUAL.100ms")]
        assert not set(btc) & set(eth)
        assert btc == sorted(btc)
        assert max(b - a for a, b in pairwise(btc)) > 1


async def test_windows_are_whole_books_to_their_depth() -> None:
    async with Venue() as venue:
        client, symbol = await venue.connect(), venue.symbol()
        channels = [f"book.{symbol}.none.{depth}.100ms" for depth in (1, 10, 20)]
        await client.subscribe(*channels)
        await venue.server.advance(60)
        await client.settle()
        true = (await venue.true_books())[symbol]
        last = [client.of(channel)[-1] for channel in channels]
        assert [f["bids"] for f in last] == [true["bids"][:1], true["bids"], true["bids"]]
        assert [f["asks"] for f in last] == [true["asks"][:1], true["asks"], true["asks"]]
        assert all(f["change_id"] == true["change_id"] for f in last)


async def test_quote_of_an_empty_side_is_zero_and_zero() -> None:
    async with Venue() as venue:
        lots, universe = venue.market.books.lots, venue.market.universe
        no_bid = next(
            x.symbol
            for n, x in enumerate(universe.listings)
            if x.right and lots[n, 0, 0] == 0 and lots[n, 1, 0] > 0
        )
        client = await venue.connect()
        await client.subscribe(f"quote.{no_bid}", f"ticker.{no_bid}.100ms")
        quote, ticker = client.of(f"quote.{no_bid}")[0], client.of(f"ticker.{no_bid}.100ms")[0]
        assert (quote["best_bid_price"], quote["best_bid_amount"]) == (0.0, 0.0)
        assert quote["best_ask_price"] > 0.0
        assert (ticker["best_bid_price"], ticker["bid_iv"]) == (0.0, 0.0)


async def test_ticker_prices_agree_with_its_volatilities_by_hand() -> None:
    async with Venue() as venue:
        client, symbol = await venue.connect(), venue.symbol()
        await client.subscribe(f"ticker.{symbol}.100ms")
        ticker = client.of(f"ticker.{symbol}.100ms")[0]
        instrument = await venue.get(f"/api/v2/public/get_instrument?instrument_name={symbol}")
        strike = instrument["result"]["strike"]
        expiry_s = instrument["result"]["expiration_timestamp"] / 1000
        years = (expiry_s - START_NS / E9) / (365 * 86_400)

        def premium(percent: float) -> float:
            forward, total = ticker["underlying_price"], percent / 100 * math.sqrt(years)
            d1 = math.log(forward / strike) / total + total / 2
            below = [0.5 * math.erfc(-d / math.sqrt(2)) for d in (d1, d1 - total)]
            call = below[0] - strike / forward * below[1]
            return call if symbol.endswith("C") else call - 1 + strike / forward

        assert symbol.startswith("BTC-")
        # Volatilities are printed to 0.01 percent.
        assert premium(ticker["mark_iv"]) == pytest.approx(ticker["mark_price"], rel=2e-3)
        assert premium(ticker["bid_iv"]) == pytest.approx(ticker["best_bid_price"], rel=2e-3)
        assert premium(ticker["ask_iv"]) == pytest.approx(ticker["best_ask_price"], rel=2e-3)
        assert ticker["bid_iv"] < ticker["mark_iv"] < ticker["ask_iv"]
        assert list(ticker["greeks"]) == ["vega", "theta", "rho", "gamma", "delta"]


async def test_trades_of_a_currency_and_kind_come_in_one_list_a_step() -> None:
    async with Venue() as venue:
        client = await venue.connect()
        channels = [f"trades.future.{c}.100ms" for c in ("BTC", "ETH", "USDC")]
        assert await client.subscribe(*channels) == channels
        await venue.server.advance(100)
        await client.settle()
        trades = [t for c in channels for batch in client.of(c) for t in batch]
        assert len(trades) > 5
        names = {t["instrument_name"] for t in trades}
        assert names == {"BTC-PERPETUAL", "ETH-PERPETUAL", "SOL_USDC-PERPETUAL"}
        assert len({t["trade_id"] for t in trades}) == len(trades)
        assert {t["direction"] for t in trades} == {"buy", "sell"}
        of_btc = [t["trade_seq"] for t in trades if t["instrument_name"] == "BTC-PERPETUAL"]
        assert of_btc == list(range(1, len(of_btc) + 1))


async def test_marks_are_fractions_and_indexes_arrive_once_a_second() -> None:
    async with Venue() as venue:
        client = await venue.connect()
        await client.subscribe("markprice.options.btc_usd", "deribit_price_index.sol_usdc")
        await venue.server.advance(30)
        await client.settle()
        marks = client.of("markprice.options.btc_usd")
        assert len(marks) == 4
        assert len(marks[0]) == 80
        assert all(0.1 < mark["iv"] < 2.0 for mark in marks[0])
        prices = client.of("deribit_price_index.sol_usdc")
        assert [p["index_name"] for p in prices] == ["sol_usdc"] * 4
        assert len({p["price"] for p in prices}) > 1


async def test_the_venue_s_decoder_reads_every_frame() -> None:
    async with Venue() as venue:
        client, symbol = await venue.connect(), venue.symbol()
        symbols = {x.symbol: n for n, x in enumerate(venue.market.universe.listings)}
        await client.subscribe(
            f"book.{symbol}.100ms", f"book.{symbol}.none.10.100ms", f"quote.{symbol}",
            f"ticker.{symbol}.100ms", "book.BTC-PERPETUAL.100ms", "ticker.BTC-PERPETUAL.100ms",
            "trades.future.BTC.100ms", "trades.option.BTC.100ms", "markprice.options.btc_usd",
            "deribit_price_index.btc_usd", "instrument.state.option.BTC",
            "instrument.creation.option.BTC",
        )  # fmt: skip
        await venue.post("/emulator/plant", {"kind": "block", "target": symbol})
        await venue.post(
            "/emulator/fault", [{"kind": "expire", "symbol": symbol}, {"kind": "list"}]
        )
        frames: list[bytes] = []
        await venue.server.advance(40)
        asked = await client.send("public/test")
        while b'"id":%d' % asked not in (frames[-1] if frames else b""):
            frames.append((await client.socket.receive_str()).encode())
        out = DecodeOut()
        deribit.decode(frames, [START_NS] * len(frames), symbols, out)
        assert [str(error) for error in out.errors] == []
        assert out.skipped == {"answer": 1}
        rows = out.rows.view()
        assert {int(kind) for kind in rows["kind"]} >= {Kind.BOOK_DELTA, Kind.TRADE, Kind.QUOTE}
        assert {int(kind) for kind in out.frames.view()["kind"]} == {
            FrameKind.DELTA, FrameKind.WINDOW,
        }  # fmt: skip
        assert {notice.state.name for notice in out.lifecycle} >= {"LIVE", "EXPIRED"}
        assert out.tickers.count > 80


# Control


async def test_plants_and_truth_travel_over_the_control() -> None:
    async with Venue() as venue:
        symbol = venue.symbol()
        ask: dict[str, Any] = {"kind": "pull", "target": symbol, "in_s": 2.0, "side": 0}
        (planted,) = await venue.post("/emulator/plant", ask | {"duration_s": 5.0})
        assert planted["event"] == "E2"
        assert planted["start_ns"] == START_NS + 2 * E9
        assert planted["end_ns"] == START_NS + 7 * E9
        marked = await venue.post("/emulator/mark", {"in_s": 1.0})
        assert [t["event"] for t in marked] == ["E1", "E2", "E4", "E6", "E2"]
        assert min(t["start_ns"] for t in marked) == START_NS + 21 * E9
        assert await venue.get("/emulator/truth") == [planted, *marked]
        before = venue.market.books.lots[venue.market.universe.ids[symbol]].sum()
        await venue.server.advance(25)
        assert venue.market.books.lots[venue.market.universe.ids[symbol]].sum() < 0.3 * before


@pytest.mark.parametrize(
    "content", [{"kind": "storm"}, {"kind": "pull", "target": "X"}, {"colour": 1}, 3]
)
async def test_control_refuses_what_it_cannot_read(content: object) -> None:
    async with Venue(options=60) as venue:
        assert "error" in await venue.post("/emulator/plant", content)
        assert await venue.get("/emulator/truth") == []


async def test_status_says_that_it_is_simulated() -> None:
    async with Venue(options=60) as venue:
        await venue.server.advance(3)
        status = await venue.get("/emulator/status")
        assert status["simulated"] is True
        assert (status["step"], status["now_ns"]) == (3, START_NS + 3 * STEP_NS)
