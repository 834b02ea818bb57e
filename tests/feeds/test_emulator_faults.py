"""Every fault of the emulated venue does what it says, and the same for the same seed."""

from typing import Any

import msgspec
import pytest

from feeds.emulator import server
from feeds.emulator.faults import Fault, Faults, is_book
from feeds.emulator.market import Market
from tests.feeds.emulator_client import START_NS, Client, Venue


async def watched(venue: Venue) -> tuple[Client, str, str]:
    """A client of one busy book, its symbol and its channel."""
    client, symbol = await venue.connect(), "BTC-PERPETUAL"
    await client.subscribe(f"book.{symbol}.100ms")
    return client, symbol, f"book.{symbol}.100ms"


async def run(venue: Venue, client: Client, steps: int, **fault: Any) -> None:
    """Ask for a fault, let the market run, read everything."""
    assert "from_step" in await venue.post("/emulator/fault", fault)
    await venue.server.advance(steps)
    await client.settle()


async def test_gap_breaks_the_chain_once_and_a_new_subscription_mends_it() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await run(venue, client, 40, kind="gap", symbol=symbol, count=3)
        assert client.books[symbol].gaps > 0
        assert client.books[symbol].stale
        frames = client.of(channel)
        broken = [
            n
            for n in range(1, len(frames))
            if frames[n]["prev_change_id"] != frames[n - 1]["change_id"]
        ]
        assert broken == [1]  # The three frames after the snapshot are missing, then it goes on.
        await client.call("public/unsubscribe", channels=[channel])
        await client.subscribe(channel)
        await venue.server.advance(10)
        await client.settle()
        assert not client.books[symbol].stale
        assert client.books[symbol].levels() == (await venue.true_books())[symbol]
        assert venue.server.faults.struck == {"gap": 3}


async def test_gap_of_one_listing_leaves_others_whole() -> None:
    async with Venue() as venue:
        client, symbol, _ = await watched(venue)
        await client.subscribe("book.ETH-PERPETUAL.100ms")
        await run(venue, client, 30, kind="gap", symbol=symbol)
        assert client.books[symbol].gaps > 0
        assert client.books["ETH-PERPETUAL"].gaps == 0


async def test_duplicate_sends_a_frame_twice_in_a_row() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await run(venue, client, 20, kind="duplicate", symbol=symbol, count=2)
        frames = client.of(channel)
        assert frames[1] == frames[2]
        assert frames[3] == frames[4]
        assert frames[4] != frames[5]


async def test_reorder_swaps_two_neighbours() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await run(venue, client, 20, kind="reorder", symbol=symbol)
        first, later, earlier, following = client.of(channel)[:4]
        assert earlier["prev_change_id"] == first["change_id"]
        assert later["prev_change_id"] == earlier["change_id"]
        assert following["prev_change_id"] == later["change_id"]


@pytest.mark.parametrize("kind", ["restart", "disconnect"])
async def test_frame_that_was_held_back_is_lost_with_its_connection(kind: str) -> None:
    async with Venue() as venue:
        faults, channel = venue.server.faults, "book.BTC-PERPETUAL.100ms"
        faults.add(Fault("reorder", channel=channel))
        faults.begin_step(1, START_NS)
        assert faults.deliver(channel, b"before") == []
        assert faults.holds(channel)
        await venue.post("/emulator/fault", {"kind": kind, "seconds": 0.1})
        await venue.server.advance(1)
        assert not faults.holds(channel)
        assert faults.deliver(channel, b"after") == [b"after"]


async def test_truncated_frame_is_no_json_and_breaks_the_chain() -> None:
    async with Venue() as venue:
        client, symbol, _ = await watched(venue)
        await run(venue, client, 20, kind="truncate", symbol=symbol)
        assert len(client.bad) == 1
        assert '{"jsonrpc":"2.0","method"'.startswith(client.bad[0][:25])
        assert client.books[symbol].gaps > 0


async def test_garbage_reaches_every_connection_and_breaks_nothing() -> None:
    async with Venue() as venue:
        client, symbol, _ = await watched(venue)
        other = await venue.connect()
        await run(venue, client, 20, kind="garbage", count=3)
        await other.settle()
        assert len(client.bad) == len(other.bad) == 3
        assert client.books[symbol].gaps == 0


async def test_disconnect_drops_all_sockets_and_new_ones_are_welcome() -> None:
    async with Venue() as venue:
        client, symbol, _ = await watched(venue)
        await venue.post("/emulator/fault", {"kind": "disconnect"})
        await venue.server.advance(1)
        assert await client.call("public/test") == {}
        assert not venue.server.connections
        assert not venue.server.listened
        again, _, _ = await watched(venue)
        assert again.books[symbol].levels() == (await venue.true_books())[symbol]


async def test_silence_of_a_channel_lasts_its_time_and_spares_other_channels() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await client.subscribe(f"quote.{symbol}")
        await run(venue, client, 20, kind="silence", channel=channel, seconds=2.0)
        assert len(client.of(channel)) == 1  # The snapshot alone.
        assert len(client.of(f"quote.{symbol}")) > 3
        await venue.server.advance(10)
        await client.settle()
        assert len(client.of(channel)) > 1
        assert client.books[symbol].gaps > 0


async def test_half_open_connection_neither_sends_nor_answers_until_its_time_is_over() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await venue.post("/emulator/fault", {"kind": "half_open", "seconds": 2.0})
        await venue.server.advance(10)
        unheard = await client.send("public/test")
        # The answer over REST proves that the server itself is alive.
        assert "result" in await venue.get("/api/v2/public/get_time")
        await venue.server.advance(15)
        await client.settle()
        assert len(client.of(channel)) < 1 + 10
        assert client.books[symbol].gaps > 0
        assert unheard < client._id


async def test_refused_channel_is_missing_from_the_acknowledgement_once() -> None:
    async with Venue() as venue:
        client = await venue.connect()
        name = f"ticker.{venue.symbol()}.100ms"
        await venue.post("/emulator/fault", {"kind": "refuse", "channel": "ticker."})
        await venue.server.advance(1)
        assert await client.subscribe(name, f"quote.{venue.symbol()}") == [
            f"quote.{venue.symbol()}"
        ]
        assert await client.subscribe(name) == [name]


async def test_skew_shifts_the_venue_s_time_stamps_only() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await run(venue, client, 20, kind="skew", ms=-5_000)
        first, *later = client.of(channel)
        assert all(frame["timestamp"] < first["timestamp"] for frame in later)
        assert later[0]["timestamp"] > START_NS // 1_000_000 - 5_000
        assert client.books[symbol].levels() == (await venue.true_books())[symbol]


async def test_burst_multiplies_frames_and_the_chain_ends_at_the_true_book() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await run(venue, client, 10, kind="burst", symbol=symbol, factor=100, seconds=1.0)
        calm = Market(7, START_NS, 200)
        number = calm.universe.ids[symbol]
        touched = sum(number in calm.step().touched for _ in range(10))
        assert len(client.of(channel)) == 1 + touched * 101
        assert client.books[symbol].gaps == 0
        assert client.books[symbol].levels() == (await venue.true_books())[symbol]
        await venue.server.advance(20)
        await client.settle()
        assert client.books[symbol].gaps == 0


async def test_expired_instrument_says_so_empties_its_book_and_leaves_discovery() -> None:
    async with Venue() as venue:
        client, symbol = await venue.connect(), venue.symbol()
        await client.subscribe(f"book.{symbol}.100ms", "instrument.state.option.BTC")
        await run(venue, client, 5, kind="expire", symbol=symbol)
        states = client.of("instrument.state.option.BTC")
        assert [(s["instrument_name"], s["state"]) for s in states] == [
            (symbol, "settlement"), (symbol, "delivered"),
        ]  # fmt: skip
        book = client.books[symbol]
        assert (book.bids, book.asks, book.gaps) == ({}, {}, 0)
        path = "/api/v2/public/get_instruments?currency=BTC&kind=option"
        names = [x["instrument_name"] for x in (await venue.get(path))["result"]]
        assert symbol not in names
        gone = [x["instrument_name"] for x in (await venue.get(f"{path}&expired=true"))["result"]]
        assert gone == [symbol]
        again = await client.call("public/subscribe", channels=[f"quote.{symbol}"])
        assert again["result"] == []


async def test_listed_instrument_appears_in_notices_discovery_and_books() -> None:
    async with Venue() as venue:
        client = await venue.connect()
        await client.subscribe("instrument.state.option.BTC", "instrument.creation.option.BTC")
        before = await venue.get("/api/v2/public/get_instruments?currency=BTC&kind=option")
        await run(venue, client, 2, kind="list")
        (notice,) = client.of("instrument.state.option.BTC")
        (created,) = client.of("instrument.creation.option.BTC")
        symbol = notice["instrument_name"]
        assert notice["state"] == "open"
        assert created["instrument_name"] == symbol
        after = await venue.get("/api/v2/public/get_instruments?currency=BTC&kind=option")
        assert created in after["result"]
        assert len(after["result"]) == len(before["result"]) + 1
        await client.subscribe(f"book.{symbol}.100ms")
        assert client.books[symbol].levels() == (await venue.true_books())[symbol]
        assert client.books[symbol].asks


async def test_slow_reader_is_cut_and_counted(monkeypatch: Any) -> None:
    monkeypatch.setattr(server, "OUT_BYTES_MAX", 1_000)
    async with Venue() as venue:
        client = await venue.connect()
        await client.send("public/subscribe", channels=["markprice.options.btc_usd"])
        assert await client.call("public/test") == {}
        assert venue.server.counters["slow_reader_cut"] == 1


async def test_fault_waits_for_its_step() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await run(venue, client, 40, kind="gap", symbol=symbol, at_step=20)
        frames = client.of(channel)
        times = [f["timestamp"] for f in frames]
        (late,) = [
            times[n]
            for n in range(1, len(frames))
            if frames[n]["prev_change_id"] != frames[n - 1]["change_id"]
        ]
        assert late >= START_NS // 1_000_000 + 2_000


async def test_huge_frame_holds_its_size_and_its_content() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await venue.post("/emulator/fault", {"kind": "huge", "symbol": symbol, "bytes": 200_000})
        await venue.server.advance(10)
        asked, sizes = await client.send("public/test"), []
        while b'"id":%d' % asked not in (frame := (await client.socket.receive_str()).encode()):
            sizes.append(len(frame))
            assert msgspec.json.decode(frame)["params"]["channel"] == channel
        assert sizes[0] == 200_000
        assert max(sizes[1:]) < 10_000


async def test_unknown_fields_stand_beside_the_known_ones() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await run(venue, client, 10, kind="unknown", symbol=symbol, count=2)
        strange = [
            [key for key in data if key.startswith("unknown_")] for data in client.of(channel)
        ]
        assert [len(keys) for keys in strange[:4]] == [0, 1, 1, 0]
        assert client.books[symbol].levels() == (await venue.true_books())[symbol]


async def test_wrong_types_differ_from_the_frame_that_was_due() -> None:
    async def frames(*faults: dict[str, Any]) -> list[bytes]:
        async with Venue() as venue:
            client = await venue.connect()
            await client.subscribe("quote.BTC-PERPETUAL")
            for fault in faults:
                await venue.post("/emulator/fault", fault)
            await venue.server.advance(10)
            asked, found = await client.send("public/test"), []
            while b'"id":%d' % asked not in (found[-1] if found else b""):
                found.append((await client.socket.receive_str()).encode())
            return found

    fault = {"kind": "wrong_types", "channel": "quote.", "count": 2}
    right, wrong = await frames(), await frames(fault)
    differ = [n for n, (a, b) in enumerate(zip(right, wrong, strict=True)) if a != b]
    assert differ == [0, 1]
    assert wrong == await frames(fault)


async def test_retyped_bids_are_a_number_in_the_next_frame_only() -> None:
    async with Venue() as venue:
        faults = venue.server.faults
        faults.add(Fault("retype", channel="book."))
        faults.begin_step(1, START_NS)
        frame = b'{"data":{"bids":[[1,2]],"asks":[[3,4]]}}'
        assert faults.deliver("book.X", frame) == [
            b'{"data":{"bids":7,"bidsx":[[1,2]],"asks":[[3,4]]}}'
        ]
        assert faults.deliver("book.X", frame) == [frame]


async def test_unknown_kind_joins_the_next_discovery_answer_only() -> None:
    async with Venue(options=60) as venue:
        path = "/api/v2/public/get_instruments?currency=BTC&kind=option"
        before = (await venue.get(path))["result"]
        await venue.post("/emulator/fault", {"kind": "unknown_kind"})
        await venue.server.advance(1)
        assert "result" in await venue.get("/api/v2/public/get_time")  # No list: it waits.
        found = (await venue.get(path))["result"]
        assert found[:-1] == before
        assert found[-1]["kind"] == "moonshot"
        assert found[-1]["instrument_name"] == f"{before[0]['instrument_name']}-MOON"
        assert (await venue.get(path))["result"] == before


@pytest.mark.parametrize("kind", ["truncate", "unknown", "wrong_types", "huge"])
async def test_answers_over_rest_are_altered_where_their_path_is_named(kind: str) -> None:
    async with Venue(options=60) as venue:
        path = "/api/v2/public/get_index_price?index_name=btc_usd"

        async def body() -> bytes:
            async with venue._session.get(path) as answer:
                return await answer.read()

        right = await body()
        await venue.post(
            "/emulator/fault",
            {"kind": kind, "channel": "/api/v2/public/get_index", "bytes": 20_000},
        )
        await venue.server.advance(1)
        instrument = "/api/v2/public/get_instrument?instrument_name=BTC-PERPETUAL"
        assert (await venue.get(instrument))["result"]["kind"] == "future"
        assert venue.server.faults.struck == {}
        wrong = await body()
        assert wrong != right
        if kind == "truncate":
            assert right.startswith(wrong[:10])
        assert venue.server.faults.struck == {kind: 1}
        assert len(await body()) < len(right) + 10


async def test_limit_refuses_a_request_as_the_venue_does_and_ends_the_session() -> None:
    async with Venue(options=60) as venue:
        client = await venue.connect()
        await venue.post("/emulator/fault", {"kind": "limit"})
        await venue.server.advance(1)
        assert "result" in await venue.get("/api/v2/public/get_time")  # Sockets are meant.
        answer = await client.call("public/subscribe", channels=["platform_state"])
        assert answer["error"]["code"] == 10028
        assert await client.call("public/test") == {}
        again = await venue.connect()
        assert "result" in await again.call("public/test")


async def test_limit_of_a_path_is_answered_429_count_times() -> None:
    async with Venue(options=60) as venue:
        await venue.post("/emulator/fault", {"kind": "limit", "channel": "/api", "count": 2})
        await venue.server.advance(1)
        client = await venue.connect()
        assert "result" in await client.call("public/test")
        found = []
        for _ in range(3):
            async with venue._session.get("/api/v2/public/get_time") as answer:
                found.append((answer.status, (await answer.json()).get("error", {}).get("code")))
        assert found == [(429, 10028), (429, 10028), (200, None)]


async def test_clock_steps_there_and_back_beside_a_lasting_skew() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await venue.post("/emulator/fault", {"kind": "skew", "ms": 500})
        await run(venue, client, 30, kind="clock_step", ms=-2_000, seconds=1.0, at_step=11)
        calm = Market(7, START_NS, 200)
        number = calm.universe.ids[symbol]
        touched = [n for n in range(1, 31) if number in calm.step().touched]
        shifts = {n: 500 - 2_000 if 11 <= n <= 20 else 500 for n in touched}
        # Books stand 10 ms before the end of their step.
        assert [frame["timestamp"] for frame in client.of(channel)[1:]] == [
            START_NS // 1_000_000 + 100 * n - 10 + shift for n, shift in shifts.items()
        ]
        assert set(shifts.values()) == {500, -1_500}


async def test_empty_book_is_empty_for_its_time_and_comes_back() -> None:
    async with Venue() as venue:
        client, symbol = await venue.connect(), venue.symbol()
        await client.subscribe(f"book.{symbol}.100ms", f"quote.{symbol}")
        await run(venue, client, 10, kind="empty_book", symbol=symbol, seconds=2.0)
        book = client.books[symbol]
        assert (book.bids, book.asks, book.gaps) == ({}, {}, 0)
        quote = client.of(f"quote.{symbol}")[-1]
        assert (quote["best_bid_price"], quote["best_ask_price"]) == (0.0, 0.0)
        await run(venue, client, 20, kind="empty_book", symbol="BTC-1JAN20-1-C")
        assert book.bids
        assert book.asks
        assert book.levels() == (await venue.true_books())[symbol]
        assert venue.server.counters["fault_without_target"] == 1
        assert await venue.get("/emulator/truth") == []


async def test_crossed_book_is_crossed_for_its_time_and_uncrosses() -> None:
    async with Venue() as venue:
        client, symbol = await venue.connect(), venue.symbol()
        await client.subscribe(f"book.{symbol}.100ms")
        book = client.books[symbol]
        assert max(book.bids) < min(book.asks)
        await run(venue, client, 10, kind="crossed_book", symbol=symbol, seconds=2.0)
        assert max(book.bids) > min(book.asks)
        assert book.levels() == (await venue.true_books())[symbol]
        await venue.server.advance(20)
        await client.settle()
        assert max(book.bids) < min(book.asks)
        assert book.gaps == 0


async def test_overlapping_disturbances_of_one_book_end_with_the_last() -> None:
    async with Venue() as venue:
        symbol = venue.symbol()
        number = venue.market.universe.ids[symbol]
        for seconds in (1.0, 3.0):
            fault = {"kind": "empty_book", "symbol": symbol, "seconds": seconds}
            await venue.post("/emulator/fault", fault)
        await venue.server.advance(20)
        assert not venue.market.books.lots[number].any()
        await venue.server.advance(15)
        assert venue.market.books.lots[number].any()


async def test_restart_drops_everybody_and_begins_its_numbers_anew() -> None:
    async with Venue() as venue:
        client, symbol, channel = await watched(venue)
        await venue.server.advance(50)
        await client.settle()
        before = client.books[symbol].change_id
        await venue.post("/emulator/fault", {"kind": "restart", "seconds": 1.0})
        await venue.server.advance(1)
        assert await client.call("public/test") == {}
        assert not venue.server.connections
        assert not venue.server.listened
        async with venue._session.get("/api/v2/public/get_time") as answer:
            assert answer.status == 503
        async with venue._session.get("/ws/api/v2") as answer:
            assert answer.status == 503
        assert (await venue.get("/emulator/status"))["simulated"] is True
        await venue.server.advance(10)
        again, _, _ = await watched(venue)
        await venue.server.advance(10)
        await again.settle()
        assert again.of(channel)[0]["type"] == "snapshot"
        assert 1_000_000 < again.books[symbol].change_id < before
        assert again.books[symbol].gaps == 0
        assert again.books[symbol].levels() == (await venue.true_books())[symbol]


@pytest.mark.parametrize(
    ("channel", "symbol", "of_book"),
    [
        ("book.BTC-27MAR26-100000-C.100ms", None, True),
        ("book.BTC-27MAR26-100000-C.100ms", "BTC-27MAR26-100000-C", True),
        ("book.BTC-27MAR26-100000-C.100ms", "BTC-27MAR26-10000-C", False),
        ("book.BTC-27MAR26-100000-C.100ms", "TC-27MAR26-100000-C", False),
        ("ticker.BTC-27MAR26-100000-C.100ms", "BTC-27MAR26-100000-C", False),
        ("btc-260925-86000-c@depth10@100ms", "BTC-260925-86000-C", True),
        ("books:BTC-USD-SWAP", "BTC-USD", False),
        ("orderbook.25.BTC-25JUN27-106000-P-USDT", "BTC-25JUN27-106000-P-USDT", True),
        ("l2_updates:C-BTC-90000-310126", None, False),
    ],
)
def test_book_channels_are_known_by_a_word_and_their_whole_symbol(
    channel: str, symbol: str | None, of_book: bool
) -> None:
    assert is_book(channel, symbol) is of_book
    if symbol is None and not of_book:
        assert is_book(channel, symbol, ("l2_",))


def test_unknown_and_excess_faults_are_refused() -> None:
    faults = Faults(1)
    assert all(faults.add(Fault("gap", at_step=9)) for _ in range(1_000))
    assert not faults.add(Fault("gap"))


def test_equal_seeds_and_steps_cut_and_garble_alike() -> None:
    def outcome(seed: int) -> tuple[list[bytes], bytes]:
        faults = Faults(seed)
        faults.add(Fault("truncate", channel="book.", count=5))
        faults.begin_step(12, START_NS)
        frame = bytes(range(32, 127))
        return [faults.deliver("book.X.100ms", frame)[0] for _ in range(5)], faults.garbage()

    assert outcome(3) == outcome(3)
    assert outcome(3) != outcome(4)
    assert all(len(content) < 95 for content in outcome(3)[0])
