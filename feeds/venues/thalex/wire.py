"""Stage 2 of 8: the shapes of Thalex's messages, as typed decoders of the fields we use.

A frame in the documented shape:

    {"channel_name":"book.BTC-PERPETUAL.none.all.100ms","notification":{
     "trades":[[9120.5,15,"buy",156789.103,false]],"bid_changes":[[9120.5,0,0],[9121,54,53]],
     "total_bid_amount":45,"total_ask_amount":30,"time":1683901254.785744},"snapshot":true}

Numbers are numbers, times are seconds with a fraction. Only the channel's name says which
instrument a frame is about. The limits in the types are the validation: what breaks one is a
msgspec.ValidationError, which decode counts.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from feeds.columns import second_part
from feeds.events import TextLevel

E9: Final = 10**9
MICROS: Final = 1_000_000  # finer is lost in a float of seconds
NS_PER_MICRO: Final = 1_000

Seconds = Annotated[float, Meta(ge=0, le=9e9)]  # fits int64 nanoseconds
# No instrument trades near these; they keep float32 columns and price ticks finite.
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)]  # 0 says that there is none
Amount = Annotated[float, Meta(ge=0, le=1e12)]
TradeAmount = Annotated[float, Meta(gt=0, le=1e12)]
Iv = Annotated[float, Meta(ge=0, le=1e6)]  # a fraction
Delta = Annotated[float, Meta(ge=-1e12, le=1e12)]

Level = tuple[Price, Amount, Amount]  # price, amount, outright amount
Top = Annotated[list[Amount], Meta(max_length=2)]  # price and amount, or nothing


class Book(Struct, gc=False):
    """Notification of book.{instrument}.none.all.{delay}. Its trades are not read."""

    time: Seconds
    total_bid_amount: Amount
    total_ask_amount: Amount
    bid_changes: list[Level] = []
    ask_changes: list[Level] = []

    @property
    def totals(self) -> int:
        """The total amounts as one number, as `checksum` makes it."""
        return _joined(_whole(self.total_bid_amount), _whole(self.total_ask_amount))


class BookMessage(Struct, gc=False):
    """book.{instrument}.none.all.{delay}; without the flag it is what changed."""

    channel_name: str
    notification: Book
    snapshot: bool = False

    @property
    def instrument_name(self) -> str:
        """Second part of the channel's name."""
        return second_part(self.channel_name)

    @property
    def time_ns(self) -> int:
        """When the venue last changed the book."""
        return nanoseconds(self.notification.time)


class Ticker(Struct, gc=False):
    """Notification of ticker.{instrument}.{delay}. Its best prices come late and are not read."""

    mark_price: Price
    mark_timestamp: Seconds
    delta: Delta
    index: Price
    iv: Iv | None = None
    forward: PriceOrNone | None = None
    open_interest: Amount | None = None


class TickerMessage(Struct, gc=False):
    """ticker.{instrument}.{delay}."""

    channel_name: str
    notification: Ticker

    @property
    def instrument_name(self) -> str:
        """Second part of the channel's name."""
        return second_part(self.channel_name)


class Tops(Struct, gc=False):
    """Notification of lwt.{instrument}.{delay}: best prices, without a time."""

    b: Level | None = None
    a: Level | None = None


class TopsMessage(Struct, gc=False):
    """lwt.{instrument}.{delay}."""

    channel_name: str
    notification: Tops

    @property
    def instrument_name(self) -> str:
        """Second part of the channel's name."""
        return second_part(self.channel_name)


class Option(Struct, gc=False, array_like=True):
    """One option of lwt_options.{underlying}.all.{delay}; the price of the last trade follows."""

    time: Seconds
    mark: PriceOrNone
    index: PriceOrNone
    forward: PriceOrNone
    iv: Iv
    bid: Top
    ask: Top

    def __post_init__(self) -> None:
        if 1 in (len(self.bid), len(self.ask)):
            raise ValueError("side of an option had a price and no amount")


class NamedOption(Struct, gc=False):
    """An option with its name, which is a key of the notification."""

    instrument_name: str
    content: Option


class Options(Struct, gc=False):
    """Notification of lwt_options.{underlying}.all.{delay}."""

    tickers: dict[str, Option]


class OptionsMessage(Struct, gc=False):
    """lwt_options.{underlying}.all.{delay}."""

    notification: Options


class Trade(Struct, gc=False, array_like=True):
    """One print of recent_trades.{underlying}.all.

    `implied`: the taker's trade was in another book, and this one is a leg of it.
    """

    price: Price
    amount: TradeAmount
    side: Literal["buy", "sell"]
    time: Seconds
    instrument_name: str
    implied: bool


class KeyedTrade(Struct, gc=False):
    """A print, and the text that tells it from others."""

    instrument_name: str
    content: Trade
    key: str


class TradesMessage(Struct, gc=False):
    """recent_trades.{underlying}.all; a snapshot is of trades from before the subscription."""

    notification: list[Trade]
    snapshot: bool = False


class Index(Struct, gc=False):
    """Notification of price_index.{underlying}."""

    index_name: str
    price: Price
    timestamp: Seconds

    @property
    def instrument_name(self) -> str:
        """The venue's name of the index is ours."""
        return self.index_name


class IndexMessage(Struct, gc=False):
    """price_index.{underlying}."""

    notification: Index


class Named(Struct, gc=False):
    """An instrument, of which name and kind are enough here."""

    instrument_name: str
    type: str


class Turn(Struct, gc=False):
    """An entry of `instruments`: one instrument that came or went."""

    added: Named | None = None
    removed: Named | None = None


class TurnsMessage(Struct, gc=False):
    """instruments; the snapshot names all that are active."""

    notification: list[Turn]
    snapshot: bool = False


class RpcError(Struct, gc=False):
    """Why a request was refused."""

    code: int = 0
    message: str = ""


class Envelope(Struct, gc=False):
    """Any message; the Raws are empty where it carries none."""

    channel_name: str | None = None
    notification: msgspec.Raw = msgspec.Raw()
    id: int | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: RpcError | None = None


class SystemEvent(Struct, gc=False):
    """Notification of `system`."""

    event: str


def nanoseconds(seconds: float) -> int:
    """Whole microseconds of a time, in ns.

    >>> nanoseconds(1683901254.785744)
    1683901254785744000
    """
    return round(seconds * MICROS) * NS_PER_MICRO


def checksum(bids: Sequence[TextLevel], asks: Sequence[TextLevel]) -> int:
    """Total amounts of both sides of a book, in 1e-9, as one number.

    >>> checksum([("9121", "54.5")], [("9130", "0.1"), ("9131", "0.2")]) == (54500000000 << 80) + (
    ...     300000000
    ... )
    True
    """
    return _joined(*(sum(_whole(float(amount)) for _, amount in side) for side in (bids, asks)))


def _whole(amount: float) -> int:
    return round(amount * E9)


def _joined(bids: int, asks: int) -> int:
    return (bids << 80) + asks


read_book: Final = msgspec.json.Decoder(BookMessage).decode
read_ticker: Final = msgspec.json.Decoder(TickerMessage).decode
read_tops: Final = msgspec.json.Decoder(TopsMessage).decode
read_options: Final = msgspec.json.Decoder(OptionsMessage).decode
read_trades: Final = msgspec.json.Decoder(TradesMessage).decode
read_index: Final = msgspec.json.Decoder(IndexMessage).decode
read_turns: Final = msgspec.json.Decoder(TurnsMessage).decode
read_envelope: Final = msgspec.json.Decoder(Envelope).decode
read_names: Final = msgspec.json.Decoder(list[str]).decode
read_event: Final = msgspec.json.Decoder(SystemEvent).decode
