"""Stage 2 of 8: the shapes of Bybit's messages, as typed decoders of the fields we use.

A frame in the documented shape, shortened:

    {"topic":"orderbook.25.BTC-25JUN27-106000-P-USDT","type":"delta","ts":1790373954406,
     "data":{"s":"BTC-25JUN27-106000-P-USDT","b":[],"a":[["26205","0"],["26200","20.00"]],
     "u":24642,"seq":76572337575},"cts":1790373954401}

Numbers come as text; msgspec reads them as numbers, and the limits in the types are the validation:
what breaks one is a msgspec.ValidationError, which decode counts. Every number has both limits, as
text may also say nan or inf.
"""

import math
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

Ms = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000_000)]  # fits int64 nanoseconds
Sequence63 = Annotated[int, Meta(ge=0, le=2**63 - 2)]  # fits int64, and so does the next
# No instrument trades near these; they keep float32 columns and price ticks finite.
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)]  # "0" says that there is none
Amount = Annotated[float, Meta(ge=0, le=1e15)]
TradeAmount = Annotated[float, Meta(gt=0, le=1e15)]
Iv = Annotated[float, Meta(ge=0, le=1e6)]  # a fraction; "0" says that there is none
Greek = Annotated[float, Meta(ge=-1e15, le=1e15)]

Level = tuple[Price, Amount]  # price, new absolute size


class Book(Struct, gc=False, rename={"instrument_name": "s", "bids": "b", "asks": "a",
        "update_id": "u"}):  # fmt: skip
    """Levels of one message of a book."""

    instrument_name: str
    bids: list[Level]
    asks: list[Level]
    update_id: Sequence63


class BookMessage(Struct, gc=False):
    """orderbook.{depth}.{symbol}; `cts` is the matching engine's time, absent in 2023."""

    type: Literal["snapshot", "delta"]
    ts: Ms
    data: Book
    cts: Ms | None = None

    @property
    def instrument_name(self) -> str:
        """Symbol of the listing."""
        return self.data.instrument_name

    @property
    def time_ms(self) -> int:
        """The matching engine's time where it is given."""
        return self.ts if self.cts is None else self.cts


class TopBook(Book, gc=False):
    """Data of a book of one level a side."""

    def __post_init__(self) -> None:
        if len(self.bids) > 1 or len(self.asks) > 1:
            raise ValueError("book of one level had more than one on a side")


class TopMessage(BookMessage, gc=False):
    """orderbook.1.{symbol} of perpetuals and futures: whole each time."""

    type: Literal["snapshot"]
    data: TopBook


class Ticker(Struct, gc=False, rename={"instrument_name": "symbol", "bid": "bidPrice",
        "bid_size": "bidSize", "iv_bid": "bidIv", "ask": "askPrice", "ask_size": "askSize",
        "iv_ask": "askIv", "mark": "markPrice", "index": "indexPrice", "iv_mark": "markPriceIv",
        "forward": "underlyingPrice", "open_interest": "openInterest"}):  # fmt: skip
    """Data of tickers.{symbol}. What is absent has not changed: NaN.

    Perpetuals and futures have other names for their best prices (bid1Price), which come one by
    one as they change; those are not read.
    """

    instrument_name: str
    bid: PriceOrNone = math.nan
    bid_size: Amount = math.nan
    iv_bid: Iv = math.nan
    ask: PriceOrNone = math.nan
    ask_size: Amount = math.nan
    iv_ask: Iv = math.nan
    mark: PriceOrNone = math.nan
    index: PriceOrNone = math.nan
    iv_mark: Iv = math.nan
    forward: PriceOrNone = math.nan
    open_interest: Amount = math.nan
    delta: Greek = math.nan
    gamma: Greek = math.nan
    vega: Greek = math.nan
    theta: Greek = math.nan

    def __post_init__(self) -> None:
        for price, size in ((self.bid, self.bid_size), (self.ask, self.ask_size)):
            if math.isnan(price) != math.isnan(size):
                raise ValueError("ticker had one of the price and the size of a side, not both")


class TickerMessage(Struct, gc=False):
    """tickers.{symbol}."""

    ts: Ms
    type: Literal["snapshot", "delta"]
    data: Ticker

    @property
    def instrument_name(self) -> str:
        """Symbol of the listing."""
        return self.data.instrument_name


class Trade(Struct, gc=False, rename={"trade_id": "i", "time_ms": "T", "price": "p", "size": "v",
        "side": "S", "cross_sequence": "seq", "instrument_name": "s", "block": "BT"}):  # fmt: skip
    """One print of publicTrade.{coin or symbol}; `S` is the taker's side."""

    trade_id: Annotated[str, Meta(min_length=1)]
    time_ms: Ms
    price: Price
    size: TradeAmount
    side: Literal["Buy", "Sell"]
    instrument_name: str
    block: bool
    cross_sequence: Sequence63 = 0  # absent in 2023


class TradeMessage(Struct, gc=False):
    """publicTrade.{coin} of options, publicTrade.{symbol} of the others."""

    type: Literal["snapshot"]
    data: list[Trade]


class Envelope(Struct, gc=False):
    """Any message; `data` is an empty Raw where the message carries none."""

    topic: str | None = None
    op: str | None = None
    success: bool | None = None
    ret_msg: str = ""
    req_id: str | int | None = None
    type: str | None = None
    data: msgspec.Raw = msgspec.Raw()


class Topics(Struct, gc=False, rename="camel"):
    """Data of an answer of the option socket: it names the channels, not the request."""

    success_topics: list[str]
    fail_topics: list[str]


def _reader(shape: type[Any]) -> Any:
    """Decoder of one shape that takes numbers written as text."""
    return msgspec.json.Decoder(shape, strict=False).decode


read_book: Final = _reader(BookMessage)
read_top: Final = _reader(TopMessage)
read_ticker: Final = _reader(TickerMessage)
read_trades: Final = _reader(TradeMessage)
read_envelope: Final = msgspec.json.Decoder(Envelope).decode
read_topics: Final = msgspec.json.Decoder(Topics).decode
