"""A tiny client of the emulated venue: JSON-RPC, and books rebuilt by dictionary.

It shares no code with the handlers of feeds/: what it rebuilds is compared with the emulator's
true books.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import msgspec

from feeds.emulator.deribit.server import DeribitServer
from feeds.emulator.market import Market

START_NS = 1_790_000_000_000_000_000  # 2026-09-21 14:13:20 UTC, a Monday


@dataclass
class Book:
    """One instrument's book. gaps counts changes that did not follow the last one."""

    bids: dict[float, float] = field(default_factory=dict)
    asks: dict[float, float] = field(default_factory=dict)
    change_id: int = -1
    snapshots: int = 0
    changes: int = 0
    gaps: int = 0
    stale: bool = True

    def apply(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "snapshot":
            self.bids, self.asks, self.stale = {}, {}, False
            self.snapshots += 1
        elif frame["prev_change_id"] != self.change_id:
            self.gaps += 1
            self.stale = True
            return
        else:
            self.changes += 1
        self.change_id = frame["change_id"]
        for side, levels in ((self.bids, frame["bids"]), (self.asks, frame["asks"])):
            for action, price, amount in levels:
                if action == "delete":
                    assert amount == 0.0
                    del side[price]
                else:
                    assert (action == "change") == (price in side)
                    side[price] = amount

    def levels(self) -> dict[str, Any]:
        """As /emulator/books writes it, without the state."""
        return {
            "bids": [[p, self.bids[p]] for p in sorted(self.bids, reverse=True)],
            "asks": [[p, self.asks[p]] for p in sorted(self.asks)],
            "change_id": self.change_id,
        }


class Client:
    """One socket; `notes` are the notifications in order, `bad` the frames that are no JSON."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.notes: list[dict[str, Any]] = []
        self.beats: list[str] = []
        self.bad: list[str] = []
        self.books: dict[str, Book] = {}
        self.closed = False
        self._id = 0

    async def send(self, method: str, **params: Any) -> int:
        self._id += 1
        call = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        await self.socket.send_str(msgspec.json.encode(call).decode())
        return self._id

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request and read up to its answer; {} where the connection ended first."""
        asked = await self.send(method, **params)
        while True:
            message = await self.socket.receive(timeout=10.0)
            if message.type is not aiohttp.WSMsgType.TEXT:
                self.closed = True
                return {}
            try:
                frame = msgspec.json.decode(message.data)
            except msgspec.DecodeError:
                self.bad.append(message.data)
                continue
            if frame.get("id") == asked:
                return frame
            self._note(frame)

    async def settle(self) -> None:
        """Read everything the server had queued: answers keep their place behind it."""
        await self.call("public/test")

    async def subscribe(self, *channels: str) -> list[str]:
        answer = await self.call("public/subscribe", channels=list(channels))
        await self.settle()
        result: list[str] = answer["result"]
        return result

    def of(self, channel: str) -> list[Any]:
        """Data of the notifications of a channel."""
        return [n["params"]["data"] for n in self.notes if n["params"]["channel"] == channel]

    def _note(self, frame: dict[str, Any]) -> None:
        if frame["method"] == "heartbeat":
            self.beats.append(frame["params"]["type"])
            return
        self.notes.append(frame)
        channel, data = frame["params"]["channel"], frame["params"]["data"]
        if channel.startswith("book.") and "type" in data:
            self.books.setdefault(data["instrument_name"], Book()).apply(data)


class Venue:
    """A started server and the sessions of its clients; use as an async context manager."""

    def __init__(self, seed: int = 7, options: int = 200, start_ns: int = START_NS) -> None:
        self.market = Market(seed, start_ns, options)
        self.server = DeribitServer(self.market, seed)

    async def __aenter__(self) -> Self:
        await self.server.start()
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{self.server.port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self.server.stop()

    async def connect(self) -> Client:
        return Client(await self._session.ws_connect("/ws/api/v2", max_msg_size=1 << 24))

    async def get(self, path: str) -> Any:
        async with self._session.get(path) as answer:
            return await answer.json()

    async def post(self, path: str, content: Any) -> Any:
        async with self._session.post(path, json=content) as answer:
            return await answer.json()

    async def true_books(self) -> dict[str, Any]:
        books = await self.get("/emulator/books")
        return {
            symbol: {name: book[name] for name in ("bids", "asks", "change_id")}
            for symbol, book in books.items()
        }

    def symbol(self, activity: int = 0, nth: int = 0) -> str:
        """An option of an activity class whose book has both sides."""
        universe, lots = self.market.universe, self.market.books.lots
        two_sided = (lots[:, :, 0] > 0).all(axis=1) & (universe.activity == activity)
        options = [i for i in range(universe.public) if two_sided[i] and universe.listings[i].right]
        return universe.listings[options[nth]].symbol
