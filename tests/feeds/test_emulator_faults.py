"""Every fault of the emulated venue does what it says, and the same for the same seed."""

from typing import Any

from feeds.emulator import server
from feeds.emulator.faults import Fault, Faults
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
