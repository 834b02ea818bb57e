"""Stage 2 of 8: the shapes of Gate's messages, as typed decoders of the fields we use.

A frame in the documented shape, shortened:

    {"time":1630650445,"channel":"options.order_book","event":"all","result":
     {"t":1541500161123,"contract":"BTC_USDT-20211130-50000-C","id":93973511,
      "asks":[{"p":"97.2","s":2245}],"bids":[{"p":"97.1","s":2245}]}}

Numbers may come as text; msgspec reads them as numbers, and the limits in the types are the
validation: what breaks one is a msgspec.ValidationError, which decode counts. Every number has both
limits, as text may also say nan or inf.
"""

import math
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

Seconds = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000_000_000)]  # fits int64 nanoseconds
Ms = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000_000)]
Number63 = Annotated[int, Meta(ge=0, le=2**63 - 2)]  # fits int64, and so does the next
ChangeNumber = Annotated[int, Meta(ge=1, le=2**63 - 2)]
# No instrument trades near these; they keep float32 columns and price ticks finite.
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)]  # "0" says that there is none
Amount = Annotated[float, Meta(ge=0, le=1e15)]  # contracts
Iv = Annotated[float, Meta(ge=0, le=1e6)]  # a fraction; "0" says that there is none
Greek = Annotated[float, Meta(ge=-1e15, le=1e15)]
Signed = Annotated[float, Meta(ge=-1e15, le=1e15)]  # contracts; the sign is the side
Nothing = Literal[""]  # how a price that there is none of is written
Name = Annotated[str, Meta(min_length=1)]


class RequestError(Struct, gc=False):
    """Why a request was refused; 2 is `invalid argument`."""

    code: int = 0
    message: str = ""


class Envelope(Struct, gc=False):
    """Any message. `time_ms` is documented for the venue's other sockets, `id` echoes a request."""

    channel: str
    event: str = ""
    time: Seconds = 0
    time_ms: Ms | None = None
    id: int | None = None
    error: RequestError | None = None
    result: msgspec.Raw = msgspec.Raw()

    @property
    def at_ms(self) -> int:
        """The time of the message, to the second where it says no more."""
        return self.time * 1000 if self.time_ms is None else self.time_ms


class Level(Struct, gc=False):
    """One price of a whole book."""

    p: Price
    s: Amount


class Book(Struct, gc=False, rename={"instrument_name": "contract", "number": "id",
        "time_ms": "t"}):  # fmt: skip
    """options.order_book, event `all`: the best levels of both sides, best first."""

    instrument_name: Name
    number: Number63
    time_ms: Ms
    bids: list[Level]
    asks: list[Level]


class BookChange(Struct, gc=False, rename={"instrument_name": "c", "number": "id"}):
    """One entry of options.order_book, event `update`: a price and what now stands there.

    Bids are positive, asks negative, 0 is nothing; there is no time.
    """

    instrument_name: Name
    number: ChangeNumber
    p: Price
    s: Signed


class Quote(Struct, gc=False, rename={"instrument_name": "s", "time_ms": "t", "number": "u",
        "bid": "b", "bid_size": "B", "ask": "a", "ask_size": "A"}):  # fmt: skip
    """options.book_ticker: a side without orders has an empty price and size 0."""

    instrument_name: Name
    time_ms: Ms
    number: Number63
    bid: PriceOrNone | Nothing
    bid_size: Amount
    ask: PriceOrNone | Nothing
    ask_size: Amount


class Ticker(Struct, gc=False, rename={"instrument_name": "name", "mark": "mark_price",
        "index": "index_price", "open_interest": "position_size", "iv_mark": "mark_iv",
        "iv_bid": "bid_iv", "iv_ask": "ask_iv"}):  # fmt: skip
    """options.contract_tickers. What is absent or empty is NaN; best prices are not read."""

    instrument_name: Name
    mark: PriceOrNone | Nothing = math.nan
    index: PriceOrNone | Nothing = math.nan
    iv_mark: Iv | Nothing = math.nan
    iv_bid: Iv | Nothing = math.nan
    iv_ask: Iv | Nothing = math.nan
    open_interest: Amount = math.nan
    delta: Greek | Nothing = math.nan
    gamma: Greek | Nothing = math.nan
    vega: Greek | Nothing = math.nan
    theta: Greek | Nothing = math.nan


class Trade(Struct, gc=False, rename={"instrument_name": "contract", "trade_id": "id",
        "time_ms": "create_time_ms"}):  # fmt: skip
    """One print of options.ul_trades; a negative size is a taker that sold."""

    instrument_name: Name
    trade_id: int
    time_ms: Ms
    price: Price
    size: Signed

    def __post_init__(self) -> None:
        if self.size == 0:
            raise ValueError("trade had size 0")


class UnderlyingPrice(Struct, gc=False):
    """options.ul_price: the index of an underlying."""

    underlying: Name
    price: Price
    time_ms: Ms


class Subject(Struct, gc=False):
    """Where the results of the channels of one instrument name it."""

    contract: str = ""
    name: str = ""
    s: str = ""


def _reader(shape: Any) -> Any:
    """Decoder of one shape that takes numbers written as text."""
    return msgspec.json.Decoder(shape, strict=False).decode


read_book: Final = _reader(Book)
read_changes: Final = _reader(Annotated[list[BookChange], Meta(min_length=1)])
read_quote: Final = _reader(Quote)
read_ticker: Final = _reader(Ticker)
read_trades: Final = _reader(list[Trade])
read_price: Final = _reader(UnderlyingPrice)
read_envelope: Final = _reader(Envelope)
read_subject: Final = msgspec.json.Decoder(Subject).decode
