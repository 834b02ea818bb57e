"""Stage 1 of 8, simulated: the sockets of Binance, whose protocol options, futures and spot share.

WebSockets at /public/stream and /market/stream, each of which takes the streams of the other
without a word and stays silent on them, as the venue does; those of spot are at one path. Windows
and best prices come as they change; nothing is sent to begin with.
"""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec

from feeds.emulator.books import Ids
from feeds.emulator.ladders import Level, standing
from feeds.emulator.market import STEP_NS, Step
from feeds.emulator.server import Connection, VenueServer

NS_PER_MS: Final = 1_000_000
SECOND_STEPS: Final = 10
DEPTHS: Final = (5, 10, 20)
TOP_STREAMS: Final = frozenset({"bookTicker"} | {f"depth{depth}@100ms" for depth in DEPTHS})
_encode: Final = msgspec.json.Encoder().encode


class _Call(msgspec.Struct):
    method: str
    id: int
    params: list[str] = []


_read_call: Final = msgspec.json.Decoder(_Call).decode


class BinanceSockets(VenueServer):
    """What is alike on all.

    Attributes:
        SIZE_DECIMALS: of the sizes on the wire.
    """

    WS_PATH: ClassVar[str] = ""
    WS_PATHS: ClassVar[tuple[str, ...]] = ("/public/stream", "/market/stream")
    SIZE_DECIMALS: ClassVar[int] = 2

    @abc.abstractmethod
    def is_of_market(self, stream: str) -> bool:
        """Say whether a stream is served under the market path, not the public one."""

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Answer SUBSCRIBE, UNSUBSCRIBE and LIST_SUBSCRIPTIONS."""
        now_ns = self.market.now_ns
        try:
            call = _read_call(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.put(connection, b'{"error":{"code":3,"msg":"Invalid JSON"}}', now_ns)
            return
        result: list[str] | None = None
        if call.method == "SUBSCRIBE":
            of_market = connection.path.startswith("/market")
            self.subscribe(
                connection, [name for name in call.params if self.is_of_market(name) == of_market]
            )
        elif call.method == "UNSUBSCRIBE":
            self.unsubscribe(connection, call.params)
        else:
            result = sorted(connection.channels)
        self.put(connection, _encode({"result": result, "id": call.id}), now_ns)

    def first(self, _channel: str) -> Sequence[bytes]:
        """Nothing: streams wait for news."""
        return ()

    def publish_books(self, touched: Ids, step: Step) -> None:
        """Send the windows and the best prices of the books that changed."""
        listings, books = self.market.universe.listings, self.market.books
        sides = standing(books, touched)
        moved = (books.ticks[touched, :, 0] != step.old_ticks[:, :, 0]) | (
            books.lots[touched, :, 0] != step.old_lots[:, :, 0]
        )
        for number, (bids, asks), best in zip(
            touched.tolist(), sides, moved.any(axis=1), strict=True
        ):
            stem = listings[number].symbol.lower()
            for depth in DEPTHS:
                name = f"{stem}@depth{depth}@100ms"
                if name in self.listened:
                    self.send(name, self.depth(number, bids[:depth], asks[:depth]))
            name = f"{stem}@bookTicker"
            if best and name in self.listened:
                self.send(name, self.ticker(number, bids, asks))

    def send(self, stream: str, content: Any) -> None:
        """Send the data of a stream to those who listen."""
        frame = b'{"stream":"' + stream.encode() + b'","data":' + _encode(content) + b"}"
        for _ in range(self.faults.burst_factor(stream)):
            self.deliver(stream, frame)

    def now_ms(self, before_ns: int = 0) -> int:
        """The venue's time so long ago, ms."""
        return (self.market.now_ns - before_ns) // NS_PER_MS + self.skew_ms

    def depth(self, number: int, bids: list[Level], asks: list[Level]) -> dict[str, Any]:
        """A window, as options and futures have it."""
        last = int(self.market.books.change_id[number])
        return {
            "e": "depthUpdate", "E": self.now_ms(), "T": self.now_ms(STEP_NS // 10),
            "s": self.market.universe.listings[number].symbol, "U": last, "u": last, "pu": last - 1,
            "b": self.texts(bids), "a": self.texts(asks),
        }  # fmt: skip

    def ticker(self, number: int, bids: list[Level], asks: list[Level]) -> dict[str, Any]:
        """Best prices, as options and futures have them."""
        (bid, bid_size), (ask, ask_size) = (self.texts(side)[0] if side else ["0", "0"]
                                            for side in (bids, asks))  # fmt: skip
        now_ms = self.now_ms(STEP_NS // 10)
        return {
            "e": "bookTicker", "u": int(self.market.books.change_id[number]),
            "s": self.market.universe.listings[number].symbol, "b": bid, "B": bid_size,
            "a": ask, "A": ask_size, "T": now_ms, "E": now_ms,
        }  # fmt: skip

    def texts(self, levels: list[Level]) -> list[list[str]]:
        """Prices and sizes as they are written."""
        return [[f"{price:.3f}", f"{size:.{self.SIZE_DECIMALS}f}"] for price, size in levels]
