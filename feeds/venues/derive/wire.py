"""Stage 2 of 8: the shapes of Derive's messages, as typed decoders that read the fields we use.

A real frame, shortened:

    {"method":"subscription","params":{"channel":"orderbook.BTC-20260305-69500-P.1.10",
     "data":{"timestamp":1772624842966,"instrument_name":"BTC-20260305-69500-P",
     "publish_id":56593,"bids":[["340","0.4"]],"asks":[["420","0.4"]]}}}

Prices and amounts are decimal text, which the decoders turn into numbers; a field in which the
venue would one day send a number reads the same. The limits in the types are the validation, and
they refuse the words `nan` and `inf` as well.
"""

import math
from typing import Annotated, Final, Literal, Protocol

import msgspec
from msgspec import Meta, Struct, field

from feeds.columns import second_part

# Every notification begins with these bytes; what follows is the channel's name.
PREFIX: Final = b'{"method":"subscription","params":{"channel":"'

QUOTES_INTERVAL: Final = "100"  # ms; this ticker follows the best prices

Ms = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000_000)]  # fits int64 nanoseconds
# No instrument trades near these; they keep float32 columns and price ticks finite.
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)]  # 0 says that there is none
Amount = Annotated[float, Meta(ge=0, le=1e15)]
TradeAmount = Annotated[float, Meta(gt=0, le=1e15)]
IvFraction = Annotated[float, Meta(ge=0, le=1e6)]
Greek = Annotated[float, Meta(ge=-1e12, le=1e12)]
TickerChannel = Annotated[str, Meta(pattern=r"^ticker_slim\.[^.]+\.[0-9]+$")]


class Timed(Protocol):
    """Any message, or entry of one, with the venue's time."""

    @property
    def timestamp(self) -> int:
        """Milliseconds."""
        ...


class Book(Struct, gc=False):
    """orderbook.{instrument}.{group}.{depth}: the whole window each time, best first."""

    timestamp: Ms
    instrument_name: str
    bids: list[tuple[Price, Amount]]
    asks: list[tuple[Price, Amount]]


class Pricing(Struct, gc=False, frozen=True):
    """The venue's model of an option: vega per 0.01, theta per day, volatilities as fractions."""

    delta: Greek | None = field(name="d", default=math.nan)
    theta: Greek | None = field(name="t", default=math.nan)
    gamma: Greek | None = field(name="g", default=math.nan)
    vega: Greek | None = field(name="v", default=math.nan)
    iv_mark: IvFraction | None = field(name="i", default=math.nan)
    forward: PriceOrNone | None = field(name="f", default=math.nan)
    iv_bid: IvFraction | None = field(name="bi", default=math.nan)
    iv_ask: IvFraction | None = field(name="ai", default=math.nan)


class Stats(Struct, gc=False, frozen=True):
    """Of the last day, but for the open interest."""

    open_interest: Amount | None = field(name="oi", default=math.nan)


NO_PRICING: Final = Pricing()
NO_STATS: Final = Stats()


class TickerValues(Struct, gc=False, kw_only=True):
    """The ticker itself. Its letter f, the funding rate of a perpetual, is not read."""

    ask_amount: Amount | None = field(name="A", default=math.nan)
    ask_price: PriceOrNone | None = field(name="a", default=math.nan)
    bid_amount: Amount | None = field(name="B", default=math.nan)
    bid_price: PriceOrNone | None = field(name="b", default=math.nan)
    option_pricing: Pricing | None = NO_PRICING
    index: PriceOrNone | None = field(name="I", default=math.nan)
    mark: PriceOrNone | None = field(name="M", default=math.nan)
    stats: Stats | None = NO_STATS


class _TickerBody(Struct, gc=False):
    timestamp: Ms
    instrument_ticker: TickerValues


class Ticker(Struct, gc=False):
    """Parameters of ticker_slim.{instrument}.{interval}; only the channel names the instrument."""

    channel: TickerChannel
    body: _TickerBody = field(name="data")

    @property
    def data(self) -> "Ticker":
        """The whole: where other channels have their data, this one needs its name as well."""
        return self

    @property
    def timestamp(self) -> int:
        """Milliseconds."""
        return self.body.timestamp

    @property
    def values(self) -> TickerValues:
        """The ticker itself."""
        return self.body.instrument_ticker

    @property
    def instrument_name(self) -> str:
        """Second part of the channel's name."""
        return second_part(self.channel)

    @property
    def follows_quotes(self) -> bool:
        """Whether it comes at each change of the best prices, not by the clock alone."""
        return self.channel.endswith(f".{QUOTES_INTERVAL}")


class Trade(Struct, gc=False, kw_only=True):
    """One print of trades.{kind}.{currency}.

    `direction` is the taker's, unless `liquidity_role` says that it is the maker's: that field is
    in the shapes that list a fill once for either party.
    """

    trade_id: str
    instrument_name: str
    timestamp: Ms
    trade_price: Price
    trade_amount: TradeAmount
    direction: Literal["buy", "sell"]
    quote_id: str | None = None
    rfq_id: str | None = None
    liquidity_role: str | None = None


class _SpotPrice(Struct, gc=False):
    price: Price


class SpotFeeds(Struct, gc=False):
    """spot_feed.{currency}: the price of the coin in USD, by currency."""

    timestamp: Ms
    feeds: dict[str, _SpotPrice]


class IndexPrice(Struct, gc=False):
    """One price of a spot feed under the name of its index."""

    instrument_name: str
    timestamp: int
    price: float


class EnvelopeParams(Struct, gc=False):
    """Parameters of any notification."""

    channel: str


class RpcError(Struct, gc=False):
    """Why a request was refused."""

    code: int = 0
    message: str = ""
    data: msgspec.Raw = msgspec.Raw()


class Envelope(Struct, gc=False):
    """Any message; `result` is an empty Raw where the message carries none."""

    method: str | None = None
    params: EnvelopeParams | None = None
    id: int | float | str | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: RpcError | None = None


class Subscribed(Struct, gc=False):
    """Result of subscribe and unsubscribe: `ok` or what is wrong, by channel."""

    status: dict[str, str]


class _BookParams(Struct, gc=False):
    data: Book


class _BookMessage(Struct, gc=False):
    params: _BookParams


class _TickerMessage(Struct, gc=False):
    params: Ticker


class _TradesParams(Struct, gc=False):
    data: list[Trade]


class _TradesMessage(Struct, gc=False):
    params: _TradesParams


class _SpotParams(Struct, gc=False):
    data: SpotFeeds


class _SpotMessage(Struct, gc=False):
    params: _SpotParams


# Not strict: numbers are read from their text.
read_book: Final = msgspec.json.Decoder(_BookMessage, strict=False).decode
read_ticker: Final = msgspec.json.Decoder(_TickerMessage, strict=False).decode
read_trades: Final = msgspec.json.Decoder(_TradesMessage, strict=False).decode
read_spot_feeds: Final = msgspec.json.Decoder(_SpotMessage, strict=False).decode
read_envelope: Final = msgspec.json.Decoder(Envelope).decode
read_subscribed: Final = msgspec.json.Decoder(Subscribed).decode
