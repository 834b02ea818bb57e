"""Stage 2 of 8: the shapes of Binance's option messages, as typed decoders of the fields we use.

A recorded frame, shortened:

    {"stream":"btc-260921-81000-c@depth10@100ms","data":{"e":"depthUpdate","E":1789953408596,
     "T":1789953408491,"s":"BTC-260921-81000-C","U":39895623802,"u":39895623805,
     "pu":39895614552,"b":[["765.000","0.05"]],"a":[["915.000","1.98"]]}}

Numbers come as text; msgspec reads them as numbers, and the limits in the types are the validation.
"""

import math
from enum import Enum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

Ms = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000_000)]  # fits int64 nanoseconds
Sequence63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)]  # "0.000" says that there is none
Amount = Annotated[float, Meta(ge=0, le=1e15)]
TradeAmount = Annotated[float, Meta(gt=0, le=1e15)]
# -1 says that there is none.
Iv = Annotated[float, Meta(ge=-1, le=1e6)]
Rate = Annotated[float, Meta(ge=-10, le=10)]

Level = tuple[Price, Amount]


class Mark(Struct, gc=False, rename={"instrument_name": "s", "mark": "mp", "time_ms": "E",
        "index": "i", "bid": "bo", "ask": "ao", "bid_size": "bq", "ask_size": "aq",
        "iv_bid": "b", "iv_ask": "a", "iv_mark": "vo", "delta": "d", "theta": "t",
        "gamma": "g", "vega": "v", "rate": "rf"}):  # fmt: skip
    """One option of {underlying}@optionMarkPrice; greeks are of one coin, prices of one unit."""

    instrument_name: str
    mark: PriceOrNone
    time_ms: Ms
    index: PriceOrNone
    bid: PriceOrNone
    ask: PriceOrNone
    bid_size: Amount
    ask_size: Amount
    iv_bid: Iv
    iv_ask: Iv
    iv_mark: Iv
    rate: Rate = math.nan
    delta: float = math.nan
    theta: float = math.nan
    gamma: float = math.nan
    vega: float = math.nan


class Depth(Struct, gc=False, rename={"time_ms": "T", "instrument_name": "s", "last_id": "u",
        "bids": "b", "asks": "a"}):  # fmt: skip
    """{symbol}@depth{5,10,20}@100ms: the best levels, whole, each time."""

    time_ms: Ms
    instrument_name: str
    last_id: Sequence63
    bids: list[Level]
    asks: list[Level]


class Quote(Struct, gc=False, rename={"last_id": "u", "instrument_name": "s", "bid": "b",
        "bid_size": "B", "ask": "a", "ask_size": "A", "time_ms": "T"}):  # fmt: skip
    """{symbol}@bookTicker; "0" is an empty side."""

    last_id: Sequence63
    instrument_name: str
    bid: PriceOrNone
    bid_size: Amount
    ask: PriceOrNone
    ask_size: Amount
    time_ms: Ms


class Side(Enum):
    """The aggressor's side of a print."""

    BUY = "BUY"
    SELL = "SELL"


class Trade(Struct, gc=False, rename={"time_ms": "T", "instrument_name": "s", "trade_id": "t",
        "price": "p", "size": "q", "kind": "X", "side": "S"}):  # fmt: skip
    """{underlying}@optionTrade; `side` is the taker's, kind MARKET or BLOCK."""

    time_ms: Ms
    instrument_name: str
    trade_id: Sequence63
    price: Price
    size: TradeAmount
    side: Side
    kind: Literal["MARKET", "BLOCK"] = "MARKET"


class OpenInterest(Struct, gc=False, rename={"time_ms": "E", "instrument_name": "s",
        "contracts": "o"}):  # fmt: skip
    """One option of {underlying}@optionOpenInterest@{YYMMDD}; contracts, not USD."""

    time_ms: Ms
    instrument_name: str
    contracts: Amount


class Index(Struct, gc=False, rename={"time_ms": "E", "pair": "s", "price": "p"}):
    """One pair of !index@arr."""

    time_ms: Ms
    pair: str
    price: Price

    @property
    def instrument_name(self) -> str:
        """Symbol of the index listing."""
        return index_symbol(self.pair)


class NewSymbol(Struct, gc=False, rename={"instrument_name": "s", "status": "cs"}):
    """Entry of !optionSymbol: a whole option, of which name and status are enough."""

    instrument_name: str
    status: str


class _MarkMessage(Struct, gc=False):
    data: list[Mark]


class _DepthMessage(Struct, gc=False):
    data: Depth


class _QuoteMessage(Struct, gc=False):
    data: Quote


class _TradeMessage(Struct, gc=False):
    data: Trade


class _OpenInterestMessage(Struct, gc=False):
    data: list[OpenInterest]


class _IndexMessage(Struct, gc=False):
    data: list[Index]


class _NewSymbolMessage(Struct, gc=False):
    data: NewSymbol


class ErrorBody(Struct, gc=False):
    """Why a request was refused."""

    code: int = 0
    msg: str = ""


class Answer(Struct, gc=False):
    """Any message that is not of a stream."""

    id: int | None = None
    result: list[str] | None = None
    error: ErrorBody | None = None
    code: int | None = None
    msg: str = ""
    stream: Literal[""] = ""  # a stream's message is no answer


def index_symbol(pair: str) -> str:
    """Symbol of the listing of a pair's index: the pair alone is a perpetual of the venue."""
    return f"{pair}/INDEX"


read_marks: Final = msgspec.json.Decoder(_MarkMessage, strict=False).decode
read_depth: Final = msgspec.json.Decoder(_DepthMessage, strict=False).decode
read_quote: Final = msgspec.json.Decoder(_QuoteMessage, strict=False).decode
read_trade: Final = msgspec.json.Decoder(_TradeMessage, strict=False).decode
read_open_interest: Final = msgspec.json.Decoder(_OpenInterestMessage, strict=False).decode
read_indexes: Final = msgspec.json.Decoder(_IndexMessage, strict=False).decode
read_new_symbol: Final = msgspec.json.Decoder(_NewSymbolMessage).decode
read_answer: Final = msgspec.json.Decoder(Answer).decode
