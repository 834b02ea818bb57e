"""Stage 2 of 8: the shapes of Deribit's messages, as typed decoders that read the fields we use.

A real frame, shortened:

    {"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-24SEP21-8000-P.raw",
     "data":{"type":"change","timestamp":1626993724318,"prev_change_id":33195894164,
     "instrument_name":"BTC-24SEP21-8000-P","change_id":33195894355,
     "bids":[],"asks":[["new",0.001,2.6]]}}}

The limits in the types are the validation: what breaks one is a msgspec.ValidationError, which
decode counts. NaN, infinities and numbers beyond float64 are refused by the JSON grammar itself.

Fields stand in the order in which the venue sends them: msgspec looks for the next key where the
last one was found, so that another order costs up to 4 % of the reading.
"""

import math
from enum import Enum
from typing import Annotated, Final, Literal, Protocol, Self

import msgspec
from msgspec import Meta, Struct

# Every notification begins with these bytes; what follows is the channel's name.
PREFIX: Final = b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"'

Ms = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000_000)]  # fits int64 nanoseconds
Sequence63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # the frame table is int64
# No instrument trades near these; they keep float32 columns and price ticks finite.
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)]  # 0 says that there is none
Amount = Annotated[float, Meta(ge=0, le=1e15)]
TradeAmount = Annotated[float, Meta(gt=0, le=1e15)]
IvFraction = Annotated[float, Meta(ge=0, le=1e6)]


class _Worded(float, Enum):
    """Words of the wire that stand for numbers, and go into arrays of floats as they are."""

    def __new__(cls, word: str, number: float) -> Self:
        member = float.__new__(cls, number)
        member._value_ = word
        return member

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class Share(_Worded):
    """What a level's action leaves of its amount: all, or nothing where the level is deleted."""

    NEW = ("new", 1.0)
    CHANGE = ("change", 1.0)
    DELETE = ("delete", 0.0)


class Direction(_Worded):
    """Side of a print, the aggressor's: +1 bought, -1 sold."""

    BUY = ("buy", 1.0)
    SELL = ("sell", -1.0)


class Timed(Protocol):
    """Any message, or entry of one, with the venue's time."""

    timestamp: int


# One entry of a book channel: action, price, new absolute amount.
Level = tuple[Share, Price, Amount]
WindowLevel = tuple[Price, Amount]


class Book(Struct, gc=False, kw_only=True):
    """book.{instrument}.{interval}. `type` is absent before 2020."""

    timestamp: Ms
    type: Literal["snapshot", "change"] | None = None
    prev_change_id: Sequence63 | None = None
    instrument_name: str
    change_id: Sequence63
    bids: list[Level]
    asks: list[Level]


class Window(Struct, gc=False):
    """book.{instrument}.{group}.{depth}.{interval}: the whole window each time."""

    timestamp: Ms
    instrument_name: str
    change_id: Sequence63
    bids: list[WindowLevel]
    asks: list[WindowLevel]


class Quote(Struct, gc=False):
    """quote.{instrument}; price 0 with amount 0 is an empty side."""

    timestamp: Ms
    instrument_name: str
    best_bid_price: PriceOrNone
    best_bid_amount: Amount
    best_ask_price: PriceOrNone
    best_ask_amount: Amount


class Greeks(Struct, gc=False, frozen=True):
    """In USD: vega per volatility point, theta per day, delta without premium adjustment."""

    delta: float | None = math.nan
    gamma: float | None = math.nan
    vega: float | None = math.nan
    theta: float | None = math.nan


NO_GREEKS: Final = Greeks()


class Ticker(Struct, gc=False, kw_only=True):
    """ticker.{instrument}.{interval}; volatilities in percent.

    Absent is NaN; null is None. Ranges are checked later, for listed instruments only: combos have
    negative volatilities.
    """

    timestamp: Ms
    greeks: Greeks | None = NO_GREEKS
    index_price: float | None = math.nan
    instrument_name: str
    open_interest: float | None = math.nan
    mark_price: float | None = math.nan
    mark_iv: float | None = math.nan
    bid_iv: float | None = math.nan
    ask_iv: float | None = math.nan
    underlying_price: float | None = math.nan


class Trade(Struct, gc=False, kw_only=True):
    """One print of trades.{kind}.{currency}.{interval}; `direction` is the aggressor's."""

    timestamp: Ms
    price: Price
    amount: TradeAmount
    direction: Direction
    instrument_name: str
    trade_seq: Sequence63 = 0
    trade_id: str
    block_trade_id: str | int | None = None
    block_rfq_id: str | int | None = None
    combo_id: str | None = None
    combo_trade_id: str | int | None = None
    legs: msgspec.Raw = msgspec.Raw()


class Mark(Struct, gc=False):
    """One option of markprice.options.{index}; `iv` is a fraction here, not a percentage."""

    timestamp: Ms
    instrument_name: str
    mark_price: PriceOrNone
    iv: IvFraction


class PriceIndex(Struct, gc=False):
    """deribit_price_index.{index}."""

    timestamp: Ms
    instrument_name: str = msgspec.field(name="index_name")
    price: Price


class InstrumentState(Struct, gc=False):
    """instrument.state.{kind}.{currency}; the words of `state` changed on 2026-01-13."""

    instrument_name: str
    state: str


class InstrumentCreation(Struct, gc=False):
    """instrument.creation.{kind}.{currency}: a whole instrument, of which the name is enough."""

    instrument_name: str


class EnvelopeParams(Struct, gc=False):
    """Parameters of any message the venue sends on its own."""

    channel: str | None = None
    type: str | None = None
    data: msgspec.Raw = msgspec.Raw()


class PlatformState(Struct, gc=False):
    """platform_state; other states than maintenance (a locked index) have other fields."""

    maintenance: bool | None = None


class RpcError(Struct, gc=False):
    """Why a request was refused."""

    code: int = 0
    message: str = ""


class Envelope(Struct, gc=False):
    """Any message; `result` is an empty Raw where the message carries none."""

    jsonrpc: Literal["2.0"]
    method: str | None = None
    params: EnvelopeParams | None = None
    id: int | float | str | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: RpcError | None = None


class _BookParams(Struct, gc=False):
    data: Book


class _BookMessage(Struct, gc=False):
    params: _BookParams


class _WindowParams(Struct, gc=False):
    data: Window


class _WindowMessage(Struct, gc=False):
    params: _WindowParams


class _QuoteParams(Struct, gc=False):
    data: Quote


class _QuoteMessage(Struct, gc=False):
    params: _QuoteParams


class _TickerParams(Struct, gc=False):
    data: Ticker


class _TickerMessage(Struct, gc=False):
    params: _TickerParams


class _TradesParams(Struct, gc=False):
    data: list[Trade]


class _TradesMessage(Struct, gc=False):
    params: _TradesParams


class _MarksParams(Struct, gc=False):
    data: list[Mark]


class _MarksMessage(Struct, gc=False):
    params: _MarksParams


class _PriceIndexParams(Struct, gc=False):
    data: PriceIndex


class _PriceIndexMessage(Struct, gc=False):
    params: _PriceIndexParams


read_book: Final = msgspec.json.Decoder(_BookMessage).decode
read_window: Final = msgspec.json.Decoder(_WindowMessage).decode
read_quote: Final = msgspec.json.Decoder(_QuoteMessage).decode
read_ticker: Final = msgspec.json.Decoder(_TickerMessage).decode
read_trades: Final = msgspec.json.Decoder(_TradesMessage).decode
read_marks: Final = msgspec.json.Decoder(_MarksMessage).decode
read_price_index: Final = msgspec.json.Decoder(_PriceIndexMessage).decode
read_envelope: Final = msgspec.json.Decoder(Envelope).decode
# The rare channels are read in two steps, from the data part of the envelope.
read_instrument_state: Final = msgspec.json.Decoder(InstrumentState).decode
read_instrument_creation: Final = msgspec.json.Decoder(InstrumentCreation).decode
read_platform_state: Final = msgspec.json.Decoder(PlatformState).decode
read_channels: Final = msgspec.json.Decoder(list[str]).decode
