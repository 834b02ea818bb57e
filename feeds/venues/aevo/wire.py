"""Stage 2 of 8: the shapes of Aevo's messages, as typed decoders of the fields we use.

A frame in the documented shape:

    {"channel":"orderbook-100ms:ETH-31MAR23-1350-C","data":{"type":"update","instrument_id":"165",
     "instrument_name":"ETH-31MAR23-1350-C","instrument_type":"OPTION","bids":[["1","10","0.75"]],
     "asks":[["10","1","0.85"]],"last_updated":"1673436052887313432","checksum":"1321749405"}}

Numbers are text and times are nanoseconds. The limits in the types are the validation: what breaks
one is a msgspec.ValidationError, which decode counts. Levels stay text, because the checksum is
taken over the text.
"""

import math
import zlib
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from feeds.events import TextLevel

Ns = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# No instrument trades near these; they keep float32 columns and price ticks finite.
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)]  # "0" says that there is none
Amount = Annotated[float, Meta(ge=0, le=1e15)]
TradeAmount = Annotated[float, Meta(gt=0, le=1e15)]
Iv = Annotated[float, Meta(ge=0, le=1e6)]  # a fraction; "0" says that there is none
Greek = Annotated[float, Meta(ge=-1e15, le=1e15)]
# Plain decimals below 1e12 and 1e15; a price has a digit that is not 0.
PriceText = Annotated[str, Meta(pattern=r"\A(?=.*[1-9])[0-9]{1,12}(\.[0-9]{1,18})?\Z")]
AmountText = Annotated[str, Meta(pattern=r"\A[0-9]{1,15}(\.[0-9]{1,18})?\Z")]

CHECKED_LEVELS: Final = 100  # a side


class Level(Struct, gc=False, array_like=True):
    """A level of a book; of options a third element follows, its volatility, which is not read."""

    price: PriceText
    amount: AmountText


class Book(Struct, gc=False):
    """Data of orderbook-100ms:{instrument}."""

    type: Literal["snapshot", "update"]
    instrument_name: str
    bids: list[Level]
    asks: list[Level]
    last_updated: Ns
    checksum: Annotated[int, Meta(ge=0, lt=2**32)]


class BookMessage(Struct, gc=False):
    """orderbook-100ms:{instrument}."""

    data: Book


class Side(Struct, gc=False, frozen=True):
    """A price with what the venue's model makes of it; empty where nobody quotes."""

    price: PriceOrNone = math.nan
    amount: Amount = math.nan
    iv: Iv = math.nan
    delta: Greek = math.nan
    gamma: Greek = math.nan
    vega: Greek = math.nan
    theta: Greek = math.nan


NOBODY: Final = Side()


class Quote(Struct, gc=False):
    """Best prices of one instrument."""

    instrument_name: str
    bid: Side = NOBODY
    ask: Side = NOBODY

    def __post_init__(self) -> None:
        for side in (self.bid, self.ask):
            if math.isnan(side.price) != math.isnan(side.amount):
                raise ValueError("quote had one of the price and the amount of a side, not both")


class Ticker(Struct, gc=False):
    """Marks of one instrument. Its best prices come throttled, and are not used."""

    instrument_name: str
    mark: Side
    bid: Side = NOBODY
    ask: Side = NOBODY


class Quotes(Struct, gc=False):
    """Data of book-ticker:{asset}:{type} and book-ticker:{instrument}."""

    timestamp: Ns
    tickers: list[Quote]


class QuotesMessage(Struct, gc=False):
    """book-ticker:{asset}:{type} and book-ticker:{instrument}."""

    data: Quotes


class Tickers(Struct, gc=False):
    """Data of ticker-500ms:{asset}:{type} and ticker-500ms:{instrument}."""

    timestamp: Ns
    tickers: list[Ticker]


class TickersMessage(Struct, gc=False):
    """ticker-500ms:{asset}:{type} and ticker-500ms:{instrument}."""

    data: Tickers


class Trade(Struct, gc=False):
    """Data of trades:{asset}: one print."""

    trade_id: Annotated[str, Meta(min_length=1)]
    instrument_name: str
    side: Literal["buy", "sell"]
    price: Price
    amount: TradeAmount
    created_timestamp: Ns


class TradeMessage(Struct, gc=False):
    """trades:{asset}."""

    data: Trade


class Index(Struct, gc=False):
    """Data of index:{asset}, whose name is in the channel alone."""

    price: Price
    timestamp: Ns


class IndexMessage(Struct, gc=False):
    """index:{asset}."""

    channel: str
    data: Index

    @property
    def asset(self) -> str:
        """Asset of the index."""
        return self.channel.partition(":")[2]


class IndexPrice(Struct, gc=False):
    """An index price under our name of the index."""

    instrument_name: str
    price: float
    timestamp: int


class Envelope(Struct, gc=False):
    """Any message; `data` is an empty Raw where the message carries none."""

    channel: str | None = None
    id: int | None = None
    error: str | None = None
    data: msgspec.Raw = msgspec.Raw()


def checksum(bids: Sequence[TextLevel], asks: Sequence[TextLevel]) -> int:
    """CRC-32 of `bid price:bid size:ask price:ask size:...`, best first, a hundred levels a side.

    A side that has fewer levels is left out from there on.

    >>> checksum([("9", "2")], [("10", "1")])
    1226559413

    Source: api-docs.aevo.xyz/reference/orderbook-checksum, with the same example.
    """
    pairs = zip_longest(bids[:CHECKED_LEVELS], asks[:CHECKED_LEVELS], fillvalue=())
    return zlib.crc32(":".join(chain.from_iterable(chain.from_iterable(pairs))).encode())


def _reader(shape: type[Any]) -> Any:
    """Decoder of one shape that takes numbers written as text."""
    return msgspec.json.Decoder(shape, strict=False).decode


read_book: Final = _reader(BookMessage)
read_quotes: Final = _reader(QuotesMessage)
read_tickers: Final = _reader(TickersMessage)
read_trade: Final = _reader(TradeMessage)
read_index: Final = _reader(IndexMessage)
read_envelope: Final = msgspec.json.Decoder(Envelope).decode
read_names: Final = msgspec.json.Decoder(list[str]).decode
