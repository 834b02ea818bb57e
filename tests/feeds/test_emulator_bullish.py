"""What the emulated Bullish says that the fault battery does not look at."""

import json
from typing import Any

import aiohttp
import numpy as np
import pytest

from feeds.contract import ListingKind
from feeds.emulator.ladders import standing
from feeds.emulator.market import Market
from feeds.emulator.planted import Plant
from feeds.emulator.profiles import PROFILES
from feeds.emulator.venues.bullish import BullishServer
from tests.feeds.emulator_client import START_NS
from tests.feeds.venue_world import VenueWorld

PERP = "BTC-USDC-PERP"
DATA = "/trading-api/v1/market-data"
Socket = aiohttp.ClientWebSocketResponse


async def send(socket: Socket, number: int, method: str, topic: str = "", name: str = "") -> None:
    params = {"topic": topic, "symbol": name} if topic else {}
    call = {"jsonrpc": "2.0", "type": "command", "method": method, "params": params}
    await socket.send_str(json.dumps(call | {"id": str(number)}))


async def told(socket: Socket) -> dict[str, Any]:
    found: dict[str, Any] = await socket.receive_json(timeout=5)
    return found


async def begun(server: BullishServer, client: aiohttp.ClientSession, path: str) -> Socket:
    await server.start()
    return await client.ws_connect(server.addresses("127.0.0.1")["ws_url"] + path)


@pytest.fixture
def server() -> BullishServer:
    return BullishServer(Market(3, START_NS, 30, profile=PROFILES["bullish"]), 3)


async def test_requests_are_answered_by_their_number_and_a_second_one_not_at_all(server):
    async with aiohttp.ClientSession() as client:
        socket = await begun(server, client, f"{DATA}/orderbook")
        await send(socket, 1, "subscribe", "l2Orderbook", PERP)
        assert (await told(socket))["id"] == "1"
        book = await told(socket)
        assert (book["type"], book["dataType"]) == ("snapshot", "V1TALevel2")
        bids, asks = standing(server.market.books, np.array([server.market.universe.ids[PERP]]))[0]
        assert [float(x) for x in book["data"]["bids"]] == [x for level in bids for x in level]
        assert [float(x) for x in book["data"]["asks"]] == [x for level in asks for x in level]
        await send(socket, 2, "subscribe", "l2Orderbook", PERP)
        for number, topic, name in ((3, "tick", PERP), (4, "l2Orderbook", "BTC")):
            await send(socket, number, "subscribe", topic, name)
            refused = await told(socket)
            assert (refused["id"], "error" in refused) == (str(number), True)
        await send(socket, 0, "keepalivePing")
        assert (await told(socket))["result"]["message"] == "Keep alive pong"
        await send(socket, 5, "unsubscribe", "l2Orderbook", PERP)
        assert "result" in await told(socket)
        assert (server.listened, server.counters["asked_twice"]) == ({}, 1)
    await server.stop()


async def test_a_connection_that_asks_for_nothing_ends(server):
    async with aiohttp.ClientSession() as client:
        quiet = await begun(server, client, f"{DATA}/tick")
        kept = await client.ws_connect(server.addresses("127.0.0.1")["ws_url"] + f"{DATA}/tick")
        await server.advance(400)
        await send(kept, 0, "keepalivePing")
        await told(kept)
        await server.advance(300)
        assert (await quiet.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
        assert server.counters["idle_ended"] == 1
        assert not kept.closed
    await server.stop()


async def test_a_new_subscriber_is_told_the_last_prints_and_then_each_once(server):
    async with aiohttp.ClientSession() as client:
        first = await begun(server, client, f"{DATA}/trades")
        await send(first, 1, "subscribe", "anonymousTrades", PERP)
        assert (await told(first))["id"] == "1"
        assert (await told(first))["data"]["trades"] == []
        server.market.planter.add(Plant("sweep", PERP, START_NS, 60.0, 200.0, 1))
        await server.advance(100)
        second = await client.ws_connect(first._response.url)
        await send(second, 1, "subscribe", "anonymousTrades", PERP)
        assert (await told(second))["id"] == "1"
        past = await told(second)
        assert past["type"] == "snapshot"
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1] != past["data"]["trades"][-1]:
            update = await told(first)
            assert update["type"] == "update"
            heard += update["data"]["trades"]
        assert len(heard) > 100
        assert heard[-100:] == past["data"]["trades"]
        assert {trade["isTaker"] for trade in heard} == {True, False}
        assert len({trade["tradeId"] for trade in heard}) == len(heard)
    await server.stop()


async def test_quotes_alone_are_the_market_s_best():
    async with VenueWorld("bullish", book="none", quotes=True) as world:
        await world.live()
        await world.run(50)
        universe, books = world.server.market.universe, world.server.market.books
        for symbol in world.followed():
            sides = standing(books, np.array([universe.ids[symbol]]))[0]
            true = [[(price, float(np.float32(size))) for price, size in s[:1]] for s in sides]
            assert world.books[symbol].best() == true


async def test_ticks_are_the_market_s_in_its_units():
    async with VenueWorld("bullish") as world:
        await world.live()
        market = world.server.market
        seen = set()
        for _ in range(40):
            before = len(world.tickers)
            await world.run(1)
            for row in world.tickers[before:]:
                number = market.universe.ids[world.ids[int(row["listing_id"])].symbol]
                true = market.tickers(np.array([number]))[0]
                kind = market.universe.kind[number]
                seen.add(int(kind))
                names = ["mark", "index"] if kind == ListingKind.INDEX else ["mark"]
                if kind == ListingKind.OPTION:
                    names += ["iv_mark", "delta", "gamma", "vega", "open_interest"]
                if true["mark"] < 5e-5:  # Four decimals on the wire say 0 of it, which is none.
                    assert np.isnan(row["mark"])
                    names.remove("mark")
                for name in names:
                    assert row[name] == pytest.approx(true[name], rel=1e-4, abs=6e-5), name
        assert seen == {ListingKind.OPTION, ListingKind.PERP, ListingKind.INDEX}
