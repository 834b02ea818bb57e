"""Stage 2 of 8: the shapes of Bullish's messages, as one typed decoder that reads what we use.

A real frame:

    {"type":"snapshot","dataType":"V1TALevel2","data":{"timestamp":"1777035859490","bids":["94.5190",
     "56.33894018","94.4890","53.70000000"],"asks":["94.9730","6.08000000"],
     "publishedAtTimestamp":"1777035860092","datetime":"2026-04-24T13:04:19.490Z",
     "sequenceNumberRange":[428371450,428371450],"symbol":"AAVEUSDC"}}

Numbers are text; the decoder takes numbers as well. The limits in the types are the validation:
what breaks one is a msgspec.ValidationError, which decode counts. `data` may be null.
"""

import math
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

# Milliseconds, or nanoseconds in some prints; told apart by their size.
Time = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Sequence63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # the frame table is int64
# No instrument trades near these; they keep float32 columns and price ticks finite.
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)]  # 0 says that there is none
Size = Annotated[float, Meta(ge=0, le=1e15)]
TradeSize = Annotated[float, Meta(gt=0, le=1e15)]
Number = float | None  # ranges are checked later, for listed instruments only
Id = str | int | None


class Level2(Struct, gc=False):
    """A book; each side alternates price and size, best first."""

    time: Time = field(name="timestamp")
    bids: list[Size]
    asks: list[Size]
    sequences: tuple[Sequence63, Sequence63] = field(name="sequenceNumberRange")
    instrument_name: str = field(name="symbol")

    def __post_init__(self) -> None:
        """Refuse sides that are not pairs, levels without a price, and a range backwards.

        Raises:
            ValueError: msgspec makes a ValidationError of it.
        """
        if len(self.bids) % 2 or len(self.asks) % 2:
            raise ValueError("book sides had an odd length, expected price and size in turn")
        if not (all(self.bids[::2]) and all(self.asks[::2])):
            raise ValueError("book level had price 0, expected > 0")
        if self.sequences[0] > self.sequences[1]:
            raise ValueError("sequenceNumberRange was not ascending")


class Level1(Struct, gc=False):
    """Best prices and sizes; price 0 with size 0 is a side without orders."""

    time: Time = field(name="timestamp")
    bid: tuple[PriceOrNone, Size]
    ask: tuple[PriceOrNone, Size]
    instrument_name: str = field(name="symbol")


class Trade(Struct, gc=False):
    """One print, told from the side of one of its two orders."""

    instrument_name: str = field(name="symbol")
    trade_id: str = field(name="tradeId")
    price: Price
    size: TradeSize = field(name="quantity")
    order_side: Literal["BUY", "SELL"] = field(name="side")
    taker: bool = field(name="isTaker")
    time: Time = field(name="createdAtTimestamp")
    otc_id: Id = field(name="otcMatchId", default=None)
    auction_id: Id = field(name="auctionId", default=None)

    @property
    def side(self) -> int:
        """The aggressor's: +1 bought, -1 sold, 0 in an auction, which has none."""
        if self.auction_id is not None:
            return 0
        return 1 if (self.order_side == "BUY") == self.taker else -1


class Trades(Struct, gc=False):
    """Prints of one market."""

    trades: list[Trade]


class Tick(Struct, gc=False):
    """Marks of one market; of options also the volatility, a fraction, and greeks in USD a coin.

    `theta` is not read: no unit is documented, and the recorded one is not that of a day.
    """

    time: Time = field(name="createdAtTimestamp")
    instrument_name: str = field(name="symbol")
    mark_price: Number = field(name="markPrice", default=math.nan)
    open_interest: Number = field(name="openInterest", default=math.nan)
    delta: Number = math.nan
    gamma: Number = math.nan
    vega: Number = math.nan
    mark_iv: Number = field(name="impliedVolatility", default=math.nan)


class Index(Struct, gc=False):
    """Price of an asset in USD."""

    price: Price
    instrument_name: str = field(name="assetSymbol")
    time: Time = field(name="updatedAtTimestamp")


Kind = Literal["snapshot", "update"]


class Level2Message(Struct, gc=False, tag="V1TALevel2", tag_field="dataType"):
    """A whole book each time, so far as is known; `update` is documented and was not seen."""

    type: Kind
    data: Level2 | None


class Level1Message(Struct, gc=False, tag="V1TALevel1", tag_field="dataType"):
    """Best prices."""

    type: Kind
    data: Level1 | None


class TradesMessage(Struct, gc=False, tag="V1TAAnonymousTradeUpdate", tag_field="dataType"):
    """New prints, or as a snapshot the last hundred of a market."""

    type: Kind
    data: Trades | None


class TickMessage(Struct, gc=False, tag="V1TATickerResponse", tag_field="dataType"):
    """A tick; snapshots and updates are equally whole."""

    type: Kind
    data: Tick | None


class IndexMessage(Struct, gc=False, tag="V1TAIndexPrice", tag_field="dataType"):
    """An index price."""

    type: Kind
    data: Index | None


class About(Struct, gc=False):
    """What a market frame is about."""

    symbol: str | None = None
    asset: str | None = field(name="assetSymbol", default=None)


class Result(Struct, gc=False):
    """Answer to a request of ours."""

    message: str = ""


class Refusal(Struct, gc=False):
    """Why a request was refused."""

    code: Id = field(name="errorCode", default=None)
    reason: str = field(name="errorCodeName", default="")


class Envelope(Struct, gc=False):
    """Any message, by what it has in its first levels."""

    data_type: str = field(name="dataType", default="")
    data: About | None = None
    id: Id = None
    result: Result | None = None
    error: Refusal | None = None


Message = Level2Message | Level1Message | TradesMessage | TickMessage | IndexMessage

read: Final = msgspec.json.Decoder(Message, strict=False).decode
read_envelope: Final = msgspec.json.Decoder(Envelope).decode
