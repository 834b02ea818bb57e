"""Stage 2 of 8: the shapes of Coincall's messages, as typed decoders of the fields we use.

A frame in the documented shape:

    {"dt":5,"c":20,"d":{"s":"BTCUSD-4JUL23-27000-C","asks":[{"pr":"4038.58","sz":"1"}],
     "bids":[{"pr":"1","sz":"0.2"}],"ts":1688453641701}}

Numbers come as numbers or as text, and where there is none perhaps as null (others who wrote
clients saw all three); the limits in the types are the validation: what breaks one is a
msgspec.ValidationError, which decode counts.
"""

import math
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

Ms = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000_000)]  # fits int64 nanoseconds
# No instrument trades near these; they keep float32 columns and price ticks finite.
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)]  # 0 says that there is none
Amount = Annotated[float, Meta(ge=0, le=1e15)]  # coins
TradeAmount = Annotated[float, Meta(gt=0, le=1e15)]
Iv = Annotated[float, Meta(ge=0, le=1e6)]  # a fraction; 0 says that there is none
Greek = Annotated[float, Meta(ge=-1e15, le=1e15)]
Name = Annotated[str, Meta(min_length=1)]


class Envelope(Struct, gc=False):
    """Any message: `dt` says what `d` is, `rc` is the answer to something that was asked."""

    dt: int | None = None
    c: int | None = None
    rc: int | None = None
    d: msgspec.Raw = msgspec.Raw()


class Level(Struct, gc=False):
    """One price of a book."""

    pr: Price
    sz: Amount


class Book(Struct, gc=False, rename={"instrument_name": "s", "time_ms": "ts"}):
    """orderBook, dt 5: the best 100 levels of both sides, best first."""

    instrument_name: Name
    time_ms: Ms
    bids: list[Level]
    asks: list[Level]


class Values(Struct, gc=False, rename={"instrument_name": "s", "time_ms": "ts", "mark": "mp",
        "index": "ip", "forward": "up", "iv_mark": "iv", "open_interest": "oi"}):  # fmt: skip
    """bsInfo, dt 3: what is computed of one option. What is absent is NaN."""

    instrument_name: Name
    time_ms: Ms
    mark: PriceOrNone | None = math.nan
    index: PriceOrNone | None = math.nan
    forward: PriceOrNone | None = math.nan
    iv_mark: Iv | None = math.nan
    open_interest: Amount | None = math.nan
    delta: Greek | None = math.nan
    gamma: Greek | None = math.nan
    vega: Greek | None = math.nan
    theta: Greek | None = math.nan


class ChainEntry(Struct, gc=False, rename={"instrument_name": "s", "time_ms": "ts", "mark": "mp",
        "forward": "up", "iv_bid": "biv", "iv_ask": "aiv", "open_interest": "oi"}):  # fmt: skip
    """One option of tOption, dt 4, the chain of an expiry; it has no index and no mark's iv."""

    instrument_name: Name
    time_ms: Ms
    bid: PriceOrNone | None = 0.0
    ask: PriceOrNone | None = 0.0
    mark: PriceOrNone | None = math.nan
    forward: PriceOrNone | None = math.nan
    iv_bid: Iv | None = math.nan
    iv_ask: Iv | None = math.nan
    open_interest: Amount | None = math.nan
    delta: Greek | None = math.nan
    gamma: Greek | None = math.nan
    vega: Greek | None = math.nan
    theta: Greek | None = math.nan


class Trade(Struct, gc=False, rename={"instrument_name": "s", "time_ms": "ts", "price": "pr",
        "size": "q", "side": "sd"}):  # fmt: skip
    """One print of lastTrade, dt 6; it has no number of its own."""

    instrument_name: Name
    time_ms: Ms
    price: Price
    size: TradeAmount
    side: Literal[1, 2]  # bought, sold


class Subject(Struct, gc=False):
    """Where the data of one option name it."""

    s: str = ""


def _reader(shape: Any) -> Any:
    """Decoder of one shape that takes numbers written as text."""
    return msgspec.json.Decoder(shape, strict=False).decode


read_envelope: Final = _reader(Envelope)
read_book: Final = _reader(Book)
read_values: Final = _reader(Values)
read_chain: Final = _reader(list[ChainEntry])
read_trades: Final = _reader(list[Trade])
read_subject: Final = msgspec.json.Decoder(Subject).decode
