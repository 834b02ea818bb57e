"""Stage 2 of 8: the shapes of Binance's spot messages, as typed decoders of the fields we use.

Windows name neither their pair nor a time: the pair is in the name of the stream, beside the data.

    {"stream":"bnbbtc@depth10@100ms","data":{"lastUpdateId":160,"bids":[["0.0024","10"]],
     "asks":[["0.0026","100"]]}}
"""

from typing import Final

import msgspec
from msgspec import Struct

from feeds.venues.binance.wire import (
    Amount,
    Level,
    Ms,
    Price,
    PriceOrNone,
    Sequence63,
    TradeAmount,
)


class _Levels(Struct, gc=False, rename={"last_id": "lastUpdateId"}):
    last_id: Sequence63
    bids: list[Level]
    asks: list[Level]


class Window(Struct, gc=False):
    """{symbol}@depth{5,10,20}@100ms: the best levels, whole each time, with the stream's name."""

    stream: str
    data: _Levels

    @property
    def instrument_name(self) -> str:
        """The pair."""
        return self.stream.partition("@")[0].upper()


class Quote(Struct, gc=False, rename={"last_id": "u", "instrument_name": "s", "bid": "b",
        "bid_size": "B", "ask": "a", "ask_size": "A"}):  # fmt: skip
    """{symbol}@bookTicker; it has no time."""

    last_id: Sequence63
    instrument_name: str
    bid: PriceOrNone
    bid_size: Amount
    ask: PriceOrNone
    ask_size: Amount


class Print(Struct, gc=False, rename={"time_ms": "T", "instrument_name": "s", "trade_id": "t",
        "price": "p", "size": "q", "bought_by_maker": "m"}):  # fmt: skip
    """{symbol}@trade: one fill. The taker sold where the buyer was the maker."""

    time_ms: Ms
    instrument_name: str
    trade_id: Sequence63
    price: Price
    size: TradeAmount
    bought_by_maker: bool


class _QuoteMessage(Struct, gc=False):
    data: Quote


class _PrintMessage(Struct, gc=False):
    data: Print


read_window: Final = msgspec.json.Decoder(Window, strict=False).decode
read_quote: Final = msgspec.json.Decoder(_QuoteMessage, strict=False).decode
read_print: Final = msgspec.json.Decoder(_PrintMessage, strict=False).decode
