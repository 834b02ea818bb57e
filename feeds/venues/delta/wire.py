"""Stage 2 of 8: the shapes of Delta's messages, as one typed decoder that reads what we use.

The venue says the same in two dialects, told apart by `type`: a long one with whole words and a
short one. Fields that mean the same have one name here, so that both are taken by one function.
Real frames, shortened:

    {"action":"update","asks":[["704.80","1836"]],"bids":[["668.30","0"]],"cs":2728204214,
     "sequence_no":3660224,"symbol":"C-ETH-1900-280423","timestamp":1680307203771239,
     "type":"l2_updates"}
    {"a":[],"action":"update","b":[["4338.70","2423"]],"cs":3657398415,"seq":326035,
     "sy":"PAXGUSDT","ts":1790137077548989,"type":"ob_updates"}

Numbers come as text or as numbers, so the decoder takes both; NaN, infinities and text that is no
JSON number are refused by the limits. The limits in the types are the validation: what breaks one
is a msgspec.ValidationError, which decode counts.
"""

import math
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct, field

# Microseconds, or milliseconds where it is small; both fit int64 nanoseconds.
Time = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1000)]
Sequence63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # the frame table is int64
# No instrument trades near these; they keep float32 columns and price ticks finite.
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)] | None  # null and 0 say that there is none
Size = Annotated[float, Meta(ge=0, le=1e15)]
SizeOrNone = Size | None
TradeSize = Annotated[float, Meta(gt=0, le=1e15)]
Number = float | None  # ranges are checked later, for listed instruments only

Level = tuple[Price, Size]  # price, new absolute size
MARK_PREFIX: Final = "MARK:"


class L2Updates(Struct, gc=False, tag="l2_updates"):
    """A whole book, or the levels of it that changed; sizes are absolute, 0 removes."""

    action: Literal["snapshot", "update"]
    asks: list[Level]
    bids: list[Level]
    sequence: Sequence63 = field(name="sequence_no")
    instrument_name: str = field(name="symbol")
    time: Time = field(name="timestamp")


class ObUpdates(Struct, gc=False, tag="ob_updates"):
    """The same in the short dialect."""

    asks: list[Level] = field(name="a")
    action: Literal["snapshot", "update"]
    bids: list[Level] = field(name="b")
    sequence: Sequence63 = field(name="seq")
    instrument_name: str = field(name="sy")
    time: Time = field(name="ts")


class SideLevel(Struct, gc=False):
    """One level of a window in the long dialect; its `depth` is the sum from the best."""

    price: Price = field(name="limit_price")
    size: Size


class L2Orderbook(Struct, gc=False, tag="l2_orderbook", kw_only=True):
    """A whole window. `last_updated_at` is when the book changed; frames of 2020 lack times."""

    buy: list[SideLevel]
    sequence: Sequence63 = field(name="last_sequence_no")
    changed: Time | None = field(name="last_updated_at", default=None)
    sell: list[SideLevel]
    instrument_name: str = field(name="symbol")
    published: Time | None = field(name="timestamp", default=None)

    @property
    def time(self) -> int:
        """When the book changed, else when it was sent; 0 where neither is said."""
        return self.changed or self.published or 0

    @property
    def bids(self) -> list[Level]:
        """Levels of the bid side, best first."""
        return [(level.price, level.size) for level in self.buy]

    @property
    def asks(self) -> list[Level]:
        """Levels of the ask side, best first."""
        return [(level.price, level.size) for level in self.sell]


class ObL2(Struct, gc=False, tag="ob_l2"):
    """The best 15 levels of each side; `lts` is when the book changed, `ts` orders the windows."""

    asks: list[Level] = field(name="a")
    bids: list[Level] = field(name="b")
    time: Time = field(name="lts")
    instrument_name: str = field(name="sy")
    sequence: Time = field(name="ts")


class L1Orderbook(Struct, gc=False, tag="l1_orderbook"):
    """Best prices; null is a side without orders."""

    ask_size: SizeOrNone = field(name="ask_qty")
    ask: PriceOrNone = field(name="best_ask")
    bid: PriceOrNone = field(name="best_bid")
    bid_size: SizeOrNone = field(name="bid_qty")
    time: Time = field(name="last_updated_at")
    instrument_name: str = field(name="symbol")


class ObL1(Struct, gc=False, tag="ob_l1"):
    """The same in the short dialect."""

    ask: PriceOrNone = field(name="ap")
    ask_size: SizeOrNone = field(name="as")
    bid: PriceOrNone = field(name="bp")
    bid_size: SizeOrNone = field(name="bs")
    time: Time = field(name="lts")
    instrument_name: str = field(name="sy")


Role = Literal["maker", "taker"]


class AllTrades(Struct, gc=False, tag="all_trades"):
    """One print; it has no id. In auctions both sides are takers."""

    buyer: Role = field(name="buyer_role")
    price: Price
    seller: Role = field(name="seller_role")
    size: TradeSize
    instrument_name: str = field(name="symbol")
    time: Time = field(name="timestamp")

    @property
    def side(self) -> int:
        """The aggressor's: +1 bought, -1 sold, 0 where not one of the two was the taker."""
        return (self.buyer == "taker") - (self.seller == "taker")


class Trades(Struct, gc=False, tag="trades"):
    """The same in the short dialect, which tells the buyer's role alone."""

    price: Price = field(name="p")
    buyer: Literal["m", "t"] = field(name="r")
    size: TradeSize = field(name="s")
    instrument_name: str = field(name="sy")
    time: Time = field(name="t")

    @property
    def side(self) -> int:
        """The aggressor's: +1 bought, -1 sold."""
        return 1 if self.buyer == "t" else -1


class Quotes(Struct, gc=False, frozen=True):
    """Volatilities of a ticker, as fractions; its best prices are not read."""

    ask_iv: Number = math.nan
    bid_iv: Number = math.nan
    mark_iv: Number = math.nan


class Greeks(Struct, gc=False, frozen=True):
    """Black-Scholes in USD a coin: vega per volatility point, theta per day."""

    delta: Number = math.nan
    gamma: Number = math.nan
    theta: Number = math.nan
    vega: Number = math.nan


NO_QUOTES: Final = Quotes()
NO_GREEKS: Final = Greeks()


class V2Ticker(Struct, gc=False, tag="v2/ticker", kw_only=True):
    """Every 5 s. `oi` is in coins and not read; `oi_contracts` is in the unit of sizes."""

    oi_contracts: Number = math.nan
    time: Time = field(name="timestamp")
    greeks: Greeks | None = NO_GREEKS
    instrument_name: str = field(name="symbol")
    quotes: Quotes | None = NO_QUOTES
    mark_price: Number = math.nan
    spot_price: Number = math.nan


class TickerEntry(Struct, gc=False):
    """One instrument of a ticker of the short dialect.

    greeks: delta, gamma, rho, theta, vega. ivs: ask, bid, mark. interest: contracts, change.
    """

    greeks: tuple[Number, Number, Number, Number, Number] = field(name="g")
    mark_price: Number = field(name="m")
    interest: tuple[Number, Number] = field(name="oi")
    ivs: tuple[Number, Number, Number] = field(name="qiv")
    instrument_name: str = field(name="s")


class Ticker(Struct, gc=False, tag="ticker"):
    """Every 5 s: one instrument, or all options of an expiry."""

    entries: list[TickerEntry] = field(name="d")
    spot_price: Number = field(name="sp")
    time: Time = field(name="ts")


class LongMarkPrice(Struct, gc=False, tag="mark_price"):
    """Every 2 s; the name is `MARK:` and the instrument's."""

    price: PriceOrNone
    instrument_name: str = field(name="symbol")
    time: Time = field(name="timestamp")

    def __post_init__(self) -> None:
        """Leave the instrument's own name."""
        self.instrument_name = self.instrument_name.removeprefix(MARK_PREFIX)


class ShortMarkPrice(Struct, gc=False, tag="mark_price"):
    """The same in the short dialect."""

    price: PriceOrNone = field(name="p")
    instrument_name: str = field(name="sy")
    time: Time = field(name="ts")

    def __post_init__(self) -> None:
        """Leave the instrument's own name."""
        self.instrument_name = self.instrument_name.removeprefix(MARK_PREFIX)


class V2SpotPrice(Struct, gc=False, tag="v2/spot_price"):
    """Price of an index, every second."""

    price: PriceOrNone
    instrument_name: str = field(name="symbol")
    time: Time | None = field(name="timestamp", default=None)


class SpotPrice(Struct, gc=False, tag="spot_price"):
    """The same in the short dialect, whose time may be null."""

    price: PriceOrNone = field(name="p")
    instrument_name: str = field(name="sy")
    time: Time | None = field(name="ts", default=None)


class ProductState(Struct, gc=False):
    """What a product update says of a product."""

    symbol: str
    trading_status: str


class ProductUpdates(Struct, gc=False, tag="product_updates"):
    """A market was disrupted, is in an auction, or trades again."""

    product: ProductState


class Named(Struct, gc=False):
    """A channel of an acknowledgement; with `error` it was refused, whatever the symbols were."""

    name: str
    symbols: list[str] | None = None
    error: str | None = None


class Envelope(Struct, gc=False):
    """Any message, by what it has in its first level."""

    type: str = ""
    action: str = ""
    event: str = ""
    status: str = ""
    symbol: str = ""
    sy: str = ""
    channels: list[Named] = []
    message: str = ""
    msg: str = ""


Long = (
    L2Updates
    | L2Orderbook
    | L1Orderbook
    | AllTrades
    | V2Ticker
    | LongMarkPrice
    | V2SpotPrice
    | ProductUpdates
)
Short = ObUpdates | ObL2 | ObL1 | Trades | Ticker | ShortMarkPrice | SpotPrice

LONG_TYPES: Final = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Long))
SHORT_TYPES: Final = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Short))

read_long: Final = msgspec.json.Decoder(Long, strict=False).decode
read_short: Final = msgspec.json.Decoder(Short, strict=False).decode
read_envelope: Final = msgspec.json.Decoder(Envelope).decode
